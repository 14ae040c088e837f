"""Random pairs of lists, from files to tables, against sed_eval, sed_scores_eval and scikit-learn.

POLYSED_SOAK_PAIRS says how many pairs there are in the slow tests; `make soak` takes a thousand.

They are scored in sets of 5 recordings, and scores at all thresholds in sets of 25. Edges are on a grid of 1/64 s,
which is exact in binary, or anywhere. On a decimal grid sed_eval counts a segment too many, and misses events exactly a
collar away, which tests/events/test_matching.py tests.
"""
import os

import numpy as np
import pandas as pd
import pytest

from polysed_keras.evaluation import score_files
from polysed_keras.evaluation.event_lists import load_event_lists
from polysed_keras.evaluation.score_files import score_file_tables
from polysed_keras.evaluation.scoring import ERRORS, Matching, score_tables
from polysed_keras.events import merge_events, write_score_file

from event_pairs import COLUMNS, LABELS, SECONDS, pairs, sed_eval_of

PAIRS = int(os.environ.get("POLYSED_SOAK_PAIRS", 250))
MEASURES = {"f_score": "f_measure", "precision": "precision", "recall": "recall"}
numbers_of_pairs = pytest.mark.parametrize("number", [50, pytest.param(PAIRS, marks=pytest.mark.slow)])


def sets_of(number, grid, size=5):
    found = pairs(number, grid, seed=1)
    return [found[place:place + size] for place in range(0, number, size)]


def write_lists(folder, pairs):
    """Write both sides as a list of all recordings each, and the durations."""
    for name, lists in zip(("reference", "estimated"), zip(*pairs)):
        lines = ["\t".join(["filename", *COLUMNS])]
        for number, events in enumerate(lists):
            lines += [f"{number}.wav\t{onset!r}\t{offset!r}\t{label}" for onset, offset, label in events.itertuples(
                index=False)] or [f"{number}.wav\t\t\t"]
        (folder / f"{name}.tsv").write_text("\n".join(lines))
    (folder / "durations.tsv").write_text("".join(f"{number}\t{SECONDS}\n" for number in range(len(pairs))))
    return folder


def scores_of(folder, matching, labels=LABELS):
    """{(table, row): value} of polysed score."""
    lists = load_event_lists(folder / "reference.tsv", [folder / "estimated.tsv"], durations=folder / "durations.tsv",
                             labels=labels)
    return pd.concat(score_tables(lists, matching, resamples=2)).set_index(["table", "row"])["value"]


def labels_of(pairs, side):
    return {label for pair in pairs for label in pair[side]["event_label"]}


@numbers_of_pairs
@pytest.mark.parametrize("grid, segment, collar", [(None, 1.0, 0.2), (64, 0.125, 0.25)])
def test_segments_and_events_equal_sed_eval(tmp_path, number, grid, segment, collar):
    one_sided = 0
    for recordings in sets_of(number, grid):
        scores = scores_of(write_lists(tmp_path, recordings), Matching(segment=segment, collar=collar))
        for kind, metrics in {
                "segment_based": sed_eval_of("SegmentBasedMetrics", recordings, SECONDS, time_resolution=segment),
                "event_based": sed_eval_of("EventBasedMetrics", recordings, t_collar=collar)}.items():
            by_label, overall = metrics.results_class_wise_metrics(), metrics.results_overall_metrics()
            for measure, name in MEASURES.items():
                table = scores[f"{kind}_{measure}"]
                theirs = pd.Series({label: by_label[label]["f_measure"][name] for label in LABELS})
                one_sided += (theirs.isna() & table[LABELS].notna()).sum()  # These are NaN there, and 0 here.
                np.testing.assert_allclose(table[LABELS].fillna(0), theirs.fillna(0), atol=1e-9)
                np.testing.assert_allclose(table["average"], theirs[table[LABELS].notna()].fillna(0).mean(), atol=1e-9)
                np.testing.assert_allclose(table["overall"], overall["f_measure"][name], atol=1e-9)
            for measure in ERRORS:
                table = scores[f"{kind}_{measure}"]
                assert table["overall"] == pytest.approx(overall["error_rate"][measure], abs=1e-9)
                for label in labels_of(recordings, 0):
                    expected = by_label[label]["error_rate"].get(measure, 0)
                    assert table[label] == pytest.approx(expected, abs=1e-9)
                assert table[list(set(LABELS) - labels_of(recordings, 0))].isna().all()
    assert one_sided


@numbers_of_pairs
def test_frames_and_segments_equal_scikit_learn(tmp_path, number):
    """Edges at exact multiples of 10 ms, in whole numbers: frames of 20 ms begin at every second one."""
    metrics = pytest.importorskip("sklearn.metrics")
    for recordings in sets_of(number, 100):
        lasting = [[events[events.offset > events.onset] for events in pair] for pair in recordings]
        scores = scores_of(write_lists(tmp_path, lasting), Matching())
        for kind, hundredths in (("frame_based", 2), ("segment_based", 100)):
            rolls = np.zeros((2, len(recordings), SECONDS * 100 // hundredths, len(LABELS)), int)
            for recording, pair in enumerate(lasting):
                for side, events in enumerate(pair):
                    for onset, offset, label in events.itertuples(index=False):
                        first, end = round(100 * onset) // hundredths, -(-round(100 * offset) // hundredths)
                        rolls[side, recording, first:end, LABELS.index(label)] = 1
            for rows, average in ((LABELS, None), ("average", "macro"), ("overall", "micro")):
                expected = metrics.precision_recall_fscore_support(
                    *rolls.reshape(2, -1, len(LABELS)), average=average, zero_division=np.nan)
                for measure, value in zip(("precision", "recall", "f_score"), expected):
                    np.testing.assert_allclose(scores[f"{kind}_{measure}"][rows], value, atol=1e-9)


def as_scores(events):
    """Scores that are 1 in events and 0 elsewhere, with a frame between any two edges."""
    edges = np.unique([0, SECONDS, *events.onset, *events.offset]).astype(float)
    middles = (edges[1:] + edges[:-1]) / 2
    active = (events.onset.to_numpy() < middles[:, None]) & (middles[:, None] < events.offset.to_numpy())
    return score_files._Scores({"onset": edges[:-1], "offset": edges[1:], **{
        label: active[:, events.event_label == label].any(axis=1).astype(float) for label in LABELS}})


def without_touching(events):
    """The reference as sed_scores_eval takes it: events last, and those of a label neither touch nor overlap."""
    return [tuple(row) for row in merge_events(events[events.offset > events.onset]).itertuples(index=False)]


@pytest.mark.parametrize("number, grid, shares", [(25, 10, (0.5, 0.5)), (25, None, (0.7, 0.3)), pytest.param(
    PAIRS, 10, (0.5, 0.5), marks=pytest.mark.slow)])
def test_intersections_equal_sed_scores_eval(tmp_path, number, grid, shares):
    package = pytest.importorskip("sed_scores_eval", reason="sed_scores_eval cannot be imported here")
    for recordings in sets_of(number, grid):
        truth = {str(place): without_touching(reference) for place, (reference, _) in enumerate(recordings)}
        labels = sorted({label for events in truth.values() for *_, label in events})
        matching = Matching(detection_share=shares[0], reference_share=shares[1])
        scores = scores_of(write_lists(tmp_path, recordings), matching, labels)
        expected = package.intersection_based.fscore(
            {str(place): as_scores(estimated)[["onset", "offset", *labels]]
             for place, (_, estimated) in enumerate(recordings)},
            truth, 0.5, dtc_threshold=shares[0], gtc_threshold=shares[1])
        for measure, theirs in zip(MEASURES, expected):
            table = scores[f"intersection_based_{measure}"]
            found = table[labels].fillna(1)  # Without any detection the precision is 1 there, and not defined here.
            np.testing.assert_allclose(found, [theirs[label] for label in labels], atol=1e-9)
            if table[labels].notna().all():
                assert table["average"] == pytest.approx(theirs["macro_average"], abs=1e-9)
            assert table["overall"] == pytest.approx(theirs["micro_average"], abs=1e-9)


def write_score_files(folder, recordings, rng):
    """Write the estimates as scores of 0.25 s with noise, in steps of 1/16, and return them by recording."""
    tables = {}
    for number, (_, estimated) in enumerate(recordings):
        starts = np.arange(0, SECONDS, 0.25)[:, None]
        over = (estimated.onset.to_numpy() < starts + 0.25) & (starts < estimated.offset.to_numpy())
        active = np.stack([over[:, estimated.event_label == label].any(axis=1) for label in LABELS], axis=1)
        posteriors = np.round(16 * (0.3 + 0.4 * active + rng.normal(0, 0.15, active.shape)).clip(0, 1)) / 16
        write_score_file(posteriors, LABELS, 0.25, folder / "system" / f"{number}.tsv")
        tables[str(number)] = score_files._Scores(np.hstack([starts, starts + 0.25, posteriors]),
                                                  columns=["onset", "offset", *LABELS])
    return tables


@pytest.mark.parametrize("number", [25, pytest.param(PAIRS, marks=pytest.mark.slow)])
def test_scores_at_all_thresholds_equal_sed_scores_eval(tmp_path, monkeypatch, number):
    package = pytest.importorskip("sed_scores_eval", reason="sed_scores_eval cannot be imported here")
    filtering = package.base_modules.postprocessing
    made = filtering.create_score_dataframe  # The tables it makes cannot be written to with pandas 3.
    monkeypatch.setattr(filtering, "create_score_dataframe", lambda *given: score_files._Scores(made(*given)))
    monkeypatch.setattr(score_files, "MEDIAN_FILTERS", (0.8,))  # All of them take six times as long.
    filters = {"median_filter_lengths_in_sec": [0, 0.8], "alpha_st": 1.0}
    one, two = {"dtc_threshold": 0.7, "gtc_threshold": 0.7}, {"dtc_threshold": 0.1, "gtc_threshold": 0.1}
    rng, durations = np.random.default_rng(2), {str(place): float(SECONDS) for place in range(25)}
    for recordings in sets_of(number, 10, 25):
        truth = {str(place): without_touching(reference) for place, (reference, _) in enumerate(recordings)}
        labels = sorted({label for events in truth.values() for *_, label in events})
        tables = write_score_files(write_lists(tmp_path, recordings), recordings, rng)
        tables = {name: table[["onset", "offset", *labels]] for name, table in tables.items()}
        expected = {
            "psds_1": package.intersection_based.psds(tables, truth, durations, **one, alpha_st=1.0)[:2],
            "psds_2": package.intersection_based.psds(tables, truth, durations, **two, cttc_threshold=0.3, alpha_ct=0.5,
                                                      alpha_st=1.0)[:2],
            "pipsds_1": package.intersection_based.median_filter_independent_psds(
                tables, truth, durations, **one, **filters)[:2],
            "pipsds_2": package.intersection_based.median_filter_independent_psds(
                tables, truth, durations, **two, cttc_threshold=0.3, alpha_ct=0.5, **filters)[:2],
            "best_event_based_f_score": package.collar_based.best_fscore(
                tables, truth, onset_collar=0.2, offset_collar=0.2, offset_collar_rate=0.5)[0],
            "best_segment_based_f_score": package.segment_based.best_fscore(
                tables, truth, durations, segment_length=1.0)[0],
            "best_intersection_based_f_score": package.intersection_based.best_fscore(
                tables, truth, dtc_threshold=0.5, gtc_threshold=0.5)[0],
            "mpauc": package.segment_based.auroc(tables, truth, durations, segment_length=1.0, max_fpr=0.1)[0]}
        lists = load_event_lists(tmp_path / "reference.tsv", [tmp_path / "system"])
        found = {table["table"].iloc[0]: table.set_index("row")["value"]
                 for table in score_file_tables(lists, Matching(), resamples=2)}
        for measure, theirs in expected.items():
            whole, by_label = theirs if isinstance(theirs, tuple) else (
                theirs["mean" if measure == "mpauc" else "macro_average"], theirs)
            np.testing.assert_allclose(found[measure][labels], [by_label[label] for label in labels], atol=1e-9)
            assert found[measure]["overall"] == pytest.approx(whole, abs=1e-9)
