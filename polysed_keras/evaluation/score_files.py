"""Files of sed_scores_eval's scores: of runs and their reference, and what can be told of scores at all thresholds."""
import functools
import importlib.util
import logging
import pathlib
import types
import warnings

import numpy as np
import pandas as pd

from polysed_keras.errors import expect
from polysed_keras.evaluation.tables import compare_runs, compare_scores, resample_weights
from polysed_keras.events import (
    calibration_error,
    confidence_counts,
    event_roll_to_event_list,
    merge_events,
    write_score_file,
)
from polysed_keras.files import atomic_file, short_name

logger = logging.getLogger(__name__)

MEASURES = ("psds_1", "psds_2", "pipsds_1", "pipsds_2", "best_event_based_f_score", "best_segment_based_f_score",
            "best_intersection_based_f_score", "mpauc")
BEST_THRESHOLDS = ("best_event_based_threshold", "best_segment_based_threshold", "best_intersection_based_threshold")
PSDS = {1: {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "alpha_st": 1.0},  # of DCASE 2021 to 2024, task 4
        2: {"dtc_threshold": 0.1, "gtc_threshold": 0.1, "cttc_threshold": 0.3, "alpha_ct": 0.5, "alpha_st": 1.0}}
MAX_EFPR = 100.0  # false events per hour, up to which PSD-ROC curves go
MEDIAN_FILTERS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)  # seconds; with none, piPSDS takes the best of them for each rate
MAX_FPR = 0.1  # of mpAUC
MOST_FRAMES = 10_000
LONGEST_NAME = 200  # bytes of a system's or a recording's name in names of files


def write_run_scores(estimates, names, labels, time_resolution, folder, *, system):
    """Write a run's posteriors, with the reference and the durations, for polysed score and sed_scores_eval.

    They are FOLDER/SYSTEM/NAME.tsv, FOLDER/reference.tsv and FOLDER/durations.tsv.

    Args:
        estimates: list with the `reference` and the `posteriors` of each recording, arrays (frames, labels).
        names: of the recordings.
        labels: labels in the order of the columns.
        time_resolution: seconds per frame, to which the reference is rounded too.
        folder: where to.
        system: name of the run.
    """
    folder = pathlib.Path(folder)
    names = [short_name(name, LONGEST_NAME) for name in names]
    events, durations = ["filename\tonset\toffset\tevent_label\n"], ["filename\tduration\n"]
    for name, estimate in zip(names, estimates, strict=True):
        write_score_file(estimate.posteriors, labels, time_resolution,
                         folder / short_name(system, LONGEST_NAME) / f"{name}.tsv")
        rows = event_roll_to_event_list(estimate.reference, labels, time_resolution).itertuples(index=False)
        events += [f"{name}.wav\t{onset:.6f}\t{offset:.6f}\t{label}\n" for onset, offset, label in rows] or [
            f"{name}.wav\t\t\t\n"]
        durations.append(f"{name}.wav\t{len(estimate.reference) * time_resolution:.6f}\n")
    for file, lines in (("reference.tsv", events), ("durations.tsv", durations)):
        with atomic_file(folder / file) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8", newline="\n")


class _Scores(pd.DataFrame):
    """Scores in arrays that can be written to, as the compiled parts of sed_scores_eval ask for; pandas 3's cannot."""

    @property
    def _constructor(self):
        return _Scores

    def to_numpy(self, *arguments, **settings):
        return np.array(super().to_numpy(*arguments, **settings))


def _writable(scores, lists, labels):
    """Return {recording: _Scores} of a system, with the columns of some labels."""
    return {recording: _Scores(scores[recording][["onset", "offset", *labels]]) for recording in lists.recordings}


def _import_quietly():
    """Import sed_scores_eval without the warning of sed_eval's dcase_util that pkg_resources is deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sed_scores_eval
        import sed_scores_eval.base_modules.postprocessing
    return sed_scores_eval


def can_score_files():
    """Return whether sed_scores_eval is installed."""
    return importlib.util.find_spec("sed_scores_eval") is not None


def score_file_tables(lists, matching, *, resamples=100, seed=0):
    """Return what sed_scores_eval computes of the systems with files of scores, over all thresholds.

    MEASURES are PSDS 1 and 2 with DCASE's parameters, both with the best of MEDIAN_FILTERS at each rate (piPSDS), the
    F1 at the best threshold of each label, and the area under the ROC curve of segments up to a false positive rate of
    MAX_FPR, over that (mpAUC). BEST_THRESHOLDS are those thresholds, NaN if all or no frames are best to be events.
    Labels without reference events are left out, and so are resamples that lack one.

    Args:
        lists: evaluation.EventLists, with scores.
        matching: evaluation.Matching.
        resamples: number of bootstrap resamples over recordings.
        seed: of the resampling.

    Returns:
        List of DataFrames as of class_wise_table, one per measure. The last row is the PSDS of all labels, or the mean
        over the labels; thresholds have none.

    Raises:
        InputError: sed_scores_eval is not installed, or there is no label to score.
    """
    expect(can_score_files(), "sed_scores_eval", "to be installed, as PSDS is taken from it", "no such package",
           "pip install 'polysed_keras[scores]', which needs a C++ compiler and Python's headers.")
    labels, truth = _ground_truth(lists)
    weights = resample_weights(len(lists.recordings), resamples, seed)
    by_run = {measure: {} for measure in (*MEASURES, *BEST_THRESHOLDS)}
    for name, scores in lists.scores.items():
        _check_scores(name, scores, labels)
        for deltas, compute in _system_parts(_writable(scores, lists, labels), truth, lists.durations, matching):
            draws = [_rows_of_resample(numbers, deltas, compute, lists, truth, labels)
                     for numbers in (np.ones(len(weights.T)), *weights)]
            nothing = np.full(len(labels) + 1, np.nan)
            for measure in draws[0]:
                resampled = np.stack([draw.get(measure, nothing) for draw in draws[1:]])
                by_run[measure][name] = [(draws[0][measure], resampled)]
    return [_table_of(measure, runs, labels) for measure, runs in by_run.items()]


def _table_of(measure, runs, labels):
    if measure in MEASURES:
        return compare_scores(runs, measure, [*labels, "overall"], unit="recordings")
    runs = {name: [(values[:-1], resampled[:, :-1])] for name, [(values, resampled)] in runs.items()}
    table = compare_scores(runs, measure, labels, unit="recordings", per_cent=False)
    table.attrs["decimals"] = 3
    return table


def psd_roc_curves(lists):
    """Return the PSD-ROC curves of each system with files of scores, by sed_scores_eval.

    Args:
        lists: evaluation.EventLists, with scores.

    Returns:
        Dict of psds_1, psds_2, pipsds_1 and pipsds_2 to a dict of a system's name to arrays of false events per hour,
        rising up to MAX_EFPR, and the effective true positive rates from each on. The area below, over MAX_EFPR, is the
        score.
    """
    (labels, truth), curves = _ground_truth(lists), {}
    for name, scores in lists.scores.items():
        for measure, deltas, function in _psds_deltas(_writable(scores, lists, labels), truth):
            rates, false = function(truth, lists.durations, deltas)[2]
            curves.setdefault(measure, {})[name] = false, rates
    return curves


def roc_curves(lists, matching):
    """Return the ROC curve of segments of each system with files of scores, the mean over labels by sed_scores_eval.

    Args:
        lists: evaluation.EventLists, with scores.
        matching: evaluation.Matching.

    Returns:
        Dict of a system's name to arrays of false positive rates, rising, and the true positive rates from each on.
    """
    (labels, truth), curves = _ground_truth(lists), {}
    segment_based = _import_quietly().segment_based
    for name, scores in lists.scores.items():
        found = [each[:2] for each in segment_based.roc_curve(_writable(scores, lists, labels), truth, lists.durations,
                                                              segment_length=matching.segment).values()]
        rates = np.unique(np.concatenate([false for _, false in found]))
        curves[name] = rates, np.mean([[true[false <= rate].max() for rate in rates] for true, false in found], axis=0)
    return curves


def calibration_table(lists, *, resamples=1000, seed=0):
    """Return the expected calibration error of the systems with files of scores, by label, average and overall.

    A frame is active if an event of the label lies over its middle. Overall pools the labels.

    Args:
        lists: evaluation.EventLists, with scores in 0..1.
        resamples: number of bootstrap resamples over recordings.
        seed: of the resampling.

    Returns:
        DataFrame as of class_wise_table.
    """
    labels = [label for label in lists.labels
              if all(label in next(iter(scores.values())).columns for scores in lists.scores.values())]

    def count(recording, table):
        middles, events = table[["onset", "offset"]].to_numpy().mean(axis=1), lists.reference[recording]
        over = (events["onset"].to_numpy() <= middles[:, None]) & (middles[:, None] < events["offset"].to_numpy())
        names = events["event_label"].to_numpy()
        return confidence_counts(np.stack([over[:, names == label].any(axis=1) for label in labels], axis=1),
                                 table[labels].to_numpy())

    def errors(counts):
        by_label = calibration_error(counts)
        return np.concatenate([by_label, by_label.mean(axis=-1)[..., None],
                               calibration_error(counts.sum(axis=-3))[..., None]], axis=-1)

    results = [types.SimpleNamespace(name=name, unit="recordings", counts=np.stack(
        [count(recording, scores[recording]) for recording in lists.recordings]))
        for name, scores in lists.scores.items()]
    return compare_runs(results, "calibration_error", [*labels, "average", "overall"], errors, resamples, seed)


def _ground_truth(lists):
    """Return the labels that have reference events, and {recording: [(onset, offset, label)]} without touching ones."""
    lasting = {name: merge_events(events[events["offset"] > events["onset"]])
               for name, events in lists.reference.items()}
    found = {label for events in lasting.values() for label in events["event_label"]}
    labels = [label for label in lists.labels if label in found]
    expect(labels, "reference", "events of some label", "none")
    return labels, {name: [(float(onset), float(offset), label) for onset, offset, label in events.itertuples(
        index=False)] for name, events in lasting.items()}


def _check_scores(name, scores, labels):
    table = next(iter(scores.values()))
    expect(set(labels) <= set(table.columns), name, f"scores of the labels {', '.join(labels)}",
           ", ".join(table.columns[2:]), "Choose labels by --labels.")
    longest = max(map(len, scores.values()))
    if longest > MOST_FRAMES:
        logger.warning("%s: has recordings of up to %d frames. sed_scores_eval is made for clips of seconds, and its "
                       "memory grows with the square of their frames.", name, longest)


def _system_parts(scores, truth, durations, matching):
    """Yield (deltas, function of deltas, truth and durations to {measure: (scores by label, score of all)})."""
    for measure, deltas, function in _psds_deltas(scores, truth):
        yield deltas, functools.partial(_psds, measure, function)
    package = _import_quietly()
    collar = {"onset_collar": matching.collar, "offset_collar": matching.collar,
              "offset_collar_rate": matching.offset_share}
    shares = {"dtc_threshold": matching.detection_share, "gtc_threshold": matching.reference_share}
    segment = {"segment_length": matching.segment}
    for name, room, timed, criteria in (("event", package.collar_based, False, collar),
                                        ("intersection", package.intersection_based, False, shares),
                                        ("segment", package.segment_based, True, segment)):
        deltas = room.intermediate_statistics.intermediate_statistics_deltas(
            scores, truth, *([durations] if timed else []), **criteria)
        yield deltas, functools.partial(_best, name, room.best_fscore, timed, criteria)
    yield deltas, functools.partial(_mpauc, package.segment_based.auroc, segment)


def _psds_deltas(scores, truth):
    """Yield (measure, deltas, function of truth, durations and deltas to what sed_scores_eval returns)."""
    package = _import_quietly()
    own = package.intersection_based
    filtered = [{name: _Scores(package.base_modules.postprocessing.medfilt({name: table}, seconds)[name])
                 for name, table in scores.items()} for seconds in MEDIAN_FILTERS]
    for number, criteria in PSDS.items():
        if len(next(iter(scores.values())).columns) == 3:  # of a single label there are no cross triggers
            criteria = {name: value for name, value in criteria.items() if name not in ("cttc_threshold", "alpha_ct")}
        shares = {name: value for name, value in criteria.items() if name.endswith("_threshold")}
        deltas = [own.intermediate_statistics_deltas(tables, truth, **shares) for tables in (scores, *filtered)]

        def psds(truth, durations, deltas, criteria=criteria):
            return own.psds(None, truth, durations, deltas=deltas, max_efpr=MAX_EFPR, **criteria)

        def pipsds(truth, durations, deltas, criteria=criteria):
            return own.postprocessing_independent_psds(None, truth, durations, postprocessing_functions=None,
                                                       deltas=deltas, max_efpr=MAX_EFPR, **criteria)

        yield f"psds_{number}", deltas[0], psds
        yield f"pipsds_{number}", deltas, pipsds


def _psds(measure, function, deltas, truth, durations):
    whole, by_label, *_ = function(truth, durations, deltas)
    return {measure: (by_label, whole)}


def _best(name, function, timed, criteria, deltas, truth, durations):
    found = function(None, truth, *([durations] if timed else []), deltas=deltas, **criteria)
    by_label, thresholds = found[0], {label: value if np.isfinite(value) else np.nan
                                      for label, value in found[3].items()}
    return {f"best_{name}_based_f_score": (by_label, by_label["macro_average"]),
            f"best_{name}_based_threshold": (thresholds, np.nan)}


def _mpauc(function, segment, deltas, truth, durations):
    by_label = function(None, truth, durations, deltas=deltas, max_fpr=MAX_FPR, **segment)[0]
    return {"mpauc": (by_label, by_label["mean"])}


def _rows_of_resample(numbers, deltas, compute, lists, truth, labels):
    """Return {measure: scores (labels + 1,)} if each recording is there as often as `numbers` says.

    It is empty if a label is not there, or if there is but one recording.
    """
    if np.isnan(numbers).any():
        return {}
    copies = {f"{name} {copy}": name for name, number in zip(lists.recordings, numbers) for copy in range(int(number))}

    def drawn(values):
        return {copy: values[name] for copy, name in copies.items()}

    own = drawn(truth)
    if {label for events in own.values() for _, _, label in events} < set(labels):
        return {}
    parts = [drawn(each) for each in deltas] if isinstance(deltas, list) else drawn(deltas)
    return {measure: np.array([*(by_label[label] for label in labels), whole], float)
            for measure, (by_label, whole) in compute(parts, own, drawn(lists.durations)).items()}
