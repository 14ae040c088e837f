"""Files of scores: PSDS from its definition, sed_scores_eval and scikit-learn, resamples, and what mistakes get."""
import types

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.stats import norm

from polysed_keras.cli.main import main
from polysed_keras.display import plot_roc
from polysed_keras.errors import InputError
from polysed_keras.evaluation import score_files
from polysed_keras.evaluation.event_lists import EventLists, load_event_lists, read_durations
from polysed_keras.evaluation.score_files import calibration_table, score_file_tables, write_run_scores
from polysed_keras.evaluation.scoring import Matching
from polysed_keras.evaluation.tables import format_tables
from polysed_keras.events import f_score, intersection_counts, scores_to_events

LABELS, RESOLUTION, FRAMES = ["cat", "dog"], 2.0, 150  # 300 s a recording, so that a false event is few per hour


def estimates(noise, number=4):
    rng, found = np.random.default_rng(7), []
    for _ in range(number):
        reference = np.zeros((FRAMES, 2), int)
        for label in (0, 1, 1):
            onset = rng.integers(0, FRAMES - 30)
            reference[onset:onset + rng.integers(5, 30), label] = 1
        own = np.random.default_rng(int(noise * 10 + onset))
        slow = gaussian_filter1d(own.normal(0, 1, reference.shape), 3, axis=0)
        posteriors = 1 / (1 + np.exp(2 - 4 * reference - noise * slow))
        found.append(types.SimpleNamespace(  # of twenty levels, none of them at the edge of a bin
            reference=reference, posteriors=np.floor(20 * posteriors) / 20 + 0.025))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two systems in the layout of `evaluate --scores`."""
    folder = tmp_path_factory.mktemp("scores")
    for system, noise in (("quiet", 6.0), ("noisy", 12.0)):
        names = [f"r{index}" for index in range(4)]
        write_run_scores(estimates(noise), names, LABELS, RESOLUTION, folder, system=system)
    return folder


@pytest.fixture
def lists(folder):
    return load_event_lists(folder / "reference.tsv", [folder / "quiet", folder / "noisy"])


def test_each_recording_has_a_name(tmp_path):
    with pytest.raises(ValueError, match="zip"):
        write_run_scores(estimates(6.0, 3), ["a", "b"], LABELS, RESOLUTION, tmp_path, system="run")


def test_recordings_of_more_frames_than_are_good_are_told(caplog, monkeypatch):
    scores = {"a": pd.DataFrame({"onset": [0.0, 1.0], "offset": [1.0, 2.0], "cat": 0.5})}
    score_files._check_scores("mine", scores, ["cat"])
    assert not caplog.records
    with pytest.raises(InputError, match="mine: expected scores of the labels cow. Received: 'cat'. Choose"):
        score_files._check_scores("mine", scores, ["cow"])
    for frames, words in ((10_000, ""), (10_001, "mine: has recordings of up to 10001 frames")):
        tables = scores | {"b": pd.DataFrame({"onset": np.zeros(frames), "offset": 1.0, "cat": 0.5})}
        score_files._check_scores("mine", tables, ["cat"])
        assert words in caplog.text and bool(words) == bool(caplog.records)


def test_names_of_up_to_200_bytes_are_kept(tmp_path):
    names = ["a" * 200, "b" * 201]
    write_run_scores(estimates(6.0, 2), names, LABELS, RESOLUTION, tmp_path, system="x" * 200)
    kept, cut = sorted(path.stem for path in (tmp_path / ("x" * 200)).iterdir())
    assert kept == names[0] and len(cut) == 200 and cut.startswith("bb")


def test_what_is_written_beside_the_scores(tmp_path):
    """A recording without events has a line, and frames of 2 s make up the lengths."""
    silent = types.SimpleNamespace(reference=np.zeros((7, 2), int), posteriors=np.zeros((7, 2)))
    write_run_scores([silent, *estimates(6.0, 1)], ["silent", "r0"], LABELS, RESOLUTION, tmp_path, system="run")
    assert read_durations(tmp_path / "durations.tsv") == {"silent": 14.0, "r0": 300.0}
    lists = load_event_lists(tmp_path / "reference.tsv", [tmp_path / "reference.tsv"])
    assert lists.recordings == ("r0", "silent") and len(lists.reference["silent"]) == 0


def test_filters_are_each_twice_as_long_as_the_one_before():
    assert score_files.MEDIAN_FILTERS == pytest.approx(np.geomspace(0.1, 3.2, 6))


def test_events_that_do_not_last_are_no_truth():
    events = pd.DataFrame({"onset": [1.0, 2.0], "offset": [1.0, 3.0], "event_label": ["cat", "dog"]})
    lists = EventLists(("a",), ("cat", "dog"), {"a": 5.0}, {"a": events}, {})
    assert score_files._ground_truth(lists) == (["dog"], {"a": [(2.0, 3.0, "dog")]})


def test_calibration_error_by_hand():
    """An event lies over the middle of the first frame, at which it begins, and not over that at which it ends."""
    events = pd.DataFrame({"onset": [0.5], "offset": [1.5], "event_label": ["cat"]})
    scores = pd.DataFrame({"onset": [0.0, 1.0, 2.0], "offset": [1.0, 2.0, 3.0], "cat": [0.75, 0.25, 0.35],
                           "dog": [0.05, 0.0, 0.0]})
    lists = EventLists(("a",), ("cat", "dog"), {"a": 3.0}, {"a": events}, {}, {"mine": {"a": scores}})
    table = calibration_table(lists).set_index("row")
    errors = {"cat": (0.25 + 0.25 + 0.35) / 3, "dog": 0.05 / 3}  # one frame is sure by 0.75, and none of the others is
    assert table["value"].to_dict() == pytest.approx(errors | {
        "average": sum(errors.values()) / 2, "overall": (0.25 + 0.25 + 0.35 + 0.05) / 6})
    assert table["low"].isna().all()


def test_recordings_of_folders_stay_apart(tmp_path):
    write_run_scores(estimates(6.0, 2), ["a/b", "a_b"], LABELS, RESOLUTION, tmp_path, system="../runs/mine")
    folder, = (path for path in tmp_path.iterdir() if path.is_dir())
    written = {path.stem for path in folder.iterdir()}
    assert len(written) == 2 and "a_b" in written and not (tmp_path.parent / "runs").exists()
    for table in ("reference.tsv", "durations.tsv"):
        named = {line.split(".wav")[0] for line in (tmp_path / table).read_text().splitlines()[1:]}
        assert named == written
    assert set(load_event_lists(tmp_path / "reference.tsv", [folder]).recordings) == written


def needs_sed_scores_eval():
    return pytest.importorskip("sed_scores_eval", reason="sed_scores_eval cannot be imported here")


def overall(tables, measure, run):
    table, = (table for table in tables if table["table"].iloc[0] == measure)
    return table[(table["run"] == run) & (table["row"] == "overall")].iloc[0]


def psds_by_definition(lists, scores, share, alpha_st):
    """The area of Bilen et al. 2020, from the events at every threshold."""
    hours, rates = sum(lists.durations.values()) / 3600, []
    for place, label in enumerate(LABELS):
        points = [(0.0, 0.0)]
        for level in np.unique(np.concatenate([table[label] for table in scores.values()])):
            counts = sum(intersection_counts(lists.reference[name], scores_to_events(table, np.nextafter(level, -1)),
                                             LABELS, detection_share=share, reference_share=share)
                         for name, table in scores.items())[place]
            points.append((counts[1] / hours, counts[0] / (counts[0] + counts[2])))
        rates.append(points)
    steps = np.unique([rate for points in rates for rate, _ in points if rate < 100])
    found = np.array([[max(share for other, share in points if other <= rate) for rate in steps] for points in rates])
    effective = np.maximum(found.mean(axis=0) - alpha_st * found.std(axis=0), 0)
    return (effective * np.diff([*steps, 100])).sum() / 100


def test_psds_1_is_what_its_definition_says(lists):
    needs_sed_scores_eval()
    tables = score_file_tables(lists, Matching(), resamples=2)
    for run in ("quiet", "noisy"):
        expected = psds_by_definition(lists, lists.scores[run], 0.7, 1.0)
        assert 0 < expected < 1
        assert overall(tables, "psds_1", run)["value"] == pytest.approx(expected, abs=1e-9)
        assert overall(tables, "pipsds_1", run)["value"] >= expected


def test_measures_equal_sed_scores_eval_on_the_files(folder, lists, monkeypatch):
    """Given the same folders by itself; its frames are made writable, which pandas 3's are not."""
    other = needs_sed_scores_eval()
    read = pd.read_csv
    monkeypatch.setattr(pd, "read_csv", lambda *given, **settings: score_files._Scores(read(*given, **settings)))
    made = other.base_modules.postprocessing.create_score_dataframe
    monkeypatch.setattr(other.base_modules.postprocessing, "create_score_dataframe",
                        lambda *given: score_files._Scores(made(*given)))
    files, package = (folder / "noisy", folder / "reference.tsv", folder / "durations.tsv"), other.intersection_based
    one = {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "alpha_st": 1.0}
    two = {"dtc_threshold": 0.1, "gtc_threshold": 0.1, "cttc_threshold": 0.3, "alpha_ct": 0.5, "alpha_st": 1.0}
    filters = {"median_filter_lengths_in_sec": [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2]}
    best = {"event": other.collar_based.best_fscore(*files[:2], onset_collar=3.0, offset_collar=3.0,
                                                    offset_collar_rate=0.5),
            "segment": other.segment_based.best_fscore(*files, segment_length=10.0),
            "intersection": package.best_fscore(*files[:2], dtc_threshold=0.4, gtc_threshold=0.6)}
    areas = other.segment_based.auroc(*files, segment_length=10.0, max_fpr=0.1)[0]
    expected = {
        "psds_1": package.psds(*files, **one)[1::-1], "psds_2": package.psds(*files, **two)[1::-1],
        "pipsds_1": package.median_filter_independent_psds(*files, **one, **filters)[1::-1],
        "pipsds_2": package.median_filter_independent_psds(*files, **two, **filters)[1::-1],
        **{f"best_{kind}_based_f_score": (found[0], found[0]["macro_average"]) for kind, found in best.items()},
        "mpauc": (areas, areas["mean"])}
    matching = Matching(segment=10.0, collar=3.0, detection_share=0.4, reference_share=0.6)
    tables = {table["table"].iloc[0]: table[table["run"] == "noisy"].set_index("row")["value"]
              for table in score_file_tables(lists, matching, resamples=2)}
    assert set(tables) - set(expected) == set(score_files.BEST_THRESHOLDS)
    for measure, (by_label, whole) in expected.items():
        assert [tables[measure][label] for label in LABELS] == pytest.approx([by_label[label] for label in LABELS],
                                                                             abs=1e-9)
        assert tables[measure]["overall"] == pytest.approx(whole, abs=1e-9)
    for kind, found in best.items():
        thresholds = [value if np.isfinite(value) else np.nan for value in (found[3][label] for label in LABELS)]
        assert list(tables[f"best_{kind}_based_threshold"]) == pytest.approx(thresholds, abs=1e-9, nan_ok=True)


def test_the_best_threshold_gives_the_best_score(folder, lists):
    """The events above it have the F1 of the table, and those above other thresholds have less."""
    needs_sed_scores_eval()
    tables = {table["table"].iloc[0]: table for table in score_file_tables(lists, Matching(), resamples=2)}
    best, threshold = (table[table["run"] == "noisy"].set_index("row")["value"]["dog"] for table in (
        tables[f"best_intersection_based_{name}"] for name in ("f_score", "threshold")))
    scores = {level: f_score(sum(intersection_counts(
        lists.reference[name], scores_to_events(table, level), LABELS)[1:2, :3] for name, table in
        lists.scores["noisy"].items())) for level in (threshold, *np.linspace(0.1, 0.9, 9))}
    assert f" {threshold:.3f} [" in format_tables(tables["best_intersection_based_threshold"])
    assert scores[threshold] == pytest.approx(best) and max(scores.values()) == pytest.approx(best)
    assert min(scores.values()) < best


def test_a_resample_is_a_set_in_which_recordings_are_there_twice(lists):
    """Weights 2, 0, 1, 1 against lists with a copy of the first recording and without the second."""
    needs_sed_scores_eval()
    parts = {"r0": "r0", "r0 again": "r0", "r2": "r2", "r3": "r3"}

    def drawn(values):
        return {name: values[original] for name, original in parts.items()}

    twice = EventLists(tuple(parts), lists.labels, drawn(lists.durations), drawn(lists.reference), {},
                       {"noisy": drawn(lists.scores["noisy"])})
    expected = score_file_tables(twice, Matching(), resamples=2)
    labels, truth = score_files._ground_truth(lists)
    scores = {name: score_files._Scores(table) for name, table in lists.scores["noisy"].items()}
    found = {}
    for deltas, compute in score_files._system_parts(scores, truth, lists.durations, Matching()):
        found |= score_files._rows_of_resample([2, 0, 1, 1], deltas, compute, lists, truth, labels)
    assert set(found) == {*score_files.MEASURES, *score_files.BEST_THRESHOLDS}
    for measure in score_files.MEASURES:
        assert found[measure][-1] == pytest.approx(overall(expected, measure, "noisy")["value"], abs=1e-12)


def test_the_area_under_the_mean_roc_curve_is_mpauc(lists):
    needs_sed_scores_eval()
    tables = score_file_tables(lists, Matching(segment=10.0), resamples=2)
    curves = score_files.roc_curves(lists, Matching(segment=10.0))
    for name, (false, true) in curves.items():
        kept = false < 0.1
        area = (true[kept] * np.diff([*false[kept], 0.1])).sum() / 0.1
        assert area == pytest.approx(overall(tables, "mpauc", name)["value"], abs=1e-9)
    roc, det = plot_roc(curves).axes
    assert [line.get_label() for line in roc.lines] == ["quiet", "noisy"]
    np.testing.assert_allclose(roc.lines[0].get_ydata(), 100 * curves["quiet"][1])
    np.testing.assert_allclose(norm.cdf(det.lines[1].get_xdata()), curves["noisy"][0].clip(1e-4, 0.9999))


def test_the_area_under_the_psd_roc_curve_is_psds(lists):
    needs_sed_scores_eval()
    tables, curves = score_file_tables(lists, Matching(), resamples=2), score_files.psd_roc_curves(lists)
    assert set(curves) == {"psds_1", "psds_2", "pipsds_1", "pipsds_2"}
    for measure, by_system in curves.items():
        for name, (false, true) in by_system.items():
            area = (true * np.diff([*false, 100])).sum() / 100
            assert area == pytest.approx(overall(tables, measure, name)["value"], abs=1e-9)


def test_intervals_and_differences(lists):
    needs_sed_scores_eval()
    row = overall(score_file_tables(lists, Matching(), resamples=30), "psds_1", "noisy")
    assert row["low"] < row["high"] and row["difference_low"] <= row["difference_high"] < 0 and row["difference"] < 0


def test_labels_without_reference_events_are_left_out(folder, lists):
    needs_sed_scores_eval()
    reference = {name: events[events.event_label == "dog"] for name, events in lists.reference.items()}
    only = EventLists(lists.recordings, lists.labels, lists.durations, reference, lists.systems, lists.scores)
    tables = score_file_tables(only, Matching(), resamples=1)
    assert list(tables[0]["row"]) == ["dog", "overall"] * 2
    assert (tables[0]["low"] == tables[0]["high"]).all() and (tables[0]["low"] != tables[0]["value"]).any()


def test_a_single_recording_has_scores_and_no_intervals(lists):
    needs_sed_scores_eval()
    name, scores = lists.recordings[0], lists.scores["quiet"]
    one = EventLists((name,), lists.labels, {name: lists.durations[name]}, {name: lists.reference[name]}, {},
                     {"quiet": {name: scores[name]}})
    for table in score_file_tables(one, Matching(), resamples=3):
        assert table["low"].isna().all() and len(table) == 2 + (table["table"].iloc[0] in score_files.MEASURES)
        assert table["value"].notna().all() or table["table"].iloc[0] in score_files.BEST_THRESHOLDS


def test_scores_above_the_threshold_are_events(folder):
    for threshold in (0.3, 0.8):
        lists = load_event_lists(folder / "reference.tsv", [folder / "quiet"], threshold=threshold)
        active = sum((events["offset"] - events["onset"]).sum() for events in lists.systems["quiet"].values())
        assert active == sum((table[LABELS].to_numpy() > threshold).sum() * RESOLUTION
                             for table in lists.scores["quiet"].values())
    assert lists.durations == {f"r{index}": 300 for index in range(4)}


def test_calibration_error_equals_scikit_learn(lists):
    """The mean distance of scikit-learn's curve, weighted by its bins, of each label and of all frames together."""
    calibration_curve = pytest.importorskip("sklearn.calibration").calibration_curve
    table = calibration_table(lists, resamples=2)
    rows = table[table["run"] == "quiet"].set_index("row")["value"]
    reference, posteriors = (np.concatenate([getattr(each, name) for each in estimates(6.0)])
                             for name in ("reference", "posteriors"))
    for row, columns in (("cat", [0]), ("dog", [1]), ("overall", [0, 1])):
        truth, scores = reference[:, columns].ravel(), posteriors[:, columns].ravel()
        shares, confidences = calibration_curve(truth, scores, n_bins=10)
        numbers = np.bincount(np.minimum((scores * 10).astype(int), 9), minlength=10)
        expected = (np.abs(shares - confidences) * numbers[numbers > 0]).sum() / len(scores)
        assert rows[row] == pytest.approx(expected, abs=1e-9)
    assert rows["average"] == pytest.approx((rows["cat"] + rows["dog"]) / 2)


@pytest.mark.parametrize("installed", [True, False])
def test_the_command(folder, tmp_path, capsys, monkeypatch, installed):
    if installed:
        needs_sed_scores_eval()
    monkeypatch.setattr("polysed_keras.evaluation.can_score_files", lambda: installed)  # as the command takes it
    files = folder / "reference.tsv", folder / "quiet", folder / "noisy"
    assert main(["score", *map(str, files), "--resamples", "20", "--out", str(tmp_path),
                 "--durations", str(folder / "durations.tsv")]) == 0
    text = capsys.readouterr().out
    assert "calibration_error" in text and ("psds_1" in text) == installed
    assert ("pip install 'polysed_keras[scores]'" in text) != installed
    assert (tmp_path / "f_scores.png").exists() and ("best_event_based_threshold [" in text) == installed
    assert all((tmp_path / name).exists() == installed for name in ("roc.png", "psd_roc.png"))
    assert ("psds_2" in set(pd.read_csv(tmp_path / "scores.csv")["table"])) == installed


def test_mistakes(folder, tmp_path, lists, monkeypatch):
    with pytest.raises(InputError, match="a file of scores for each recording.*r9"):
        (tmp_path / "more.tsv").write_text("".join(f"r{index}\t300\n" for index in (0, 1, 2, 3, 9)))
        load_event_lists(folder / "reference.tsv", [folder / "quiet"], durations=tmp_path / "more.tsv")
    monkeypatch.setattr(score_files, "can_score_files", lambda: False)
    with pytest.raises(InputError, match="sed_scores_eval.*pip install"):
        score_file_tables(lists, Matching())
