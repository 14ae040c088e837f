"""Calibration: post-processing, and thresholds that keep to a promised number of false alarms, from validation data."""
import pathlib

import numpy as np
import pandas as pd

from polysed_keras.errors import expect
from polysed_keras.evaluation.postprocessing import cautious_thresholds, choose_postprocessing, least_durations
from polysed_keras.evaluation.runs import estimate_recordings
from polysed_keras.evaluation.tables import percent_cells
from polysed_keras.events import (
    ALARMS_PER_HOUR,
    alarm_counts,
    calibrated_rule,
    event_list_to_event_roll,
    find_alarms,
    find_posterior_alarms,
    join_alarms,
    posteriors_to_events,
    share,
)
from polysed_keras.files import write_json
from polysed_keras.specs import task_labels
from polysed_keras.training import CALIBRATION, RecordingSource, load_negatives, load_run, read_calibration

DEFAULT_ALARMS = 20  # false alarms per hour that detectors keep to unless another number is asked for


def calibrate_run(run, data=None, *, negatives=None, alarms_per_hour=DEFAULT_ALARMS, progress=True):
    """Choose thresholds and post-processing of a run on validation data, and keep them in its folder.

    Exports of the run carry them, and `detect` uses them. For each label the minimum duration is half of that of short
    reference events, and the thresholds find as many events as they can with so many false events of all labels
    together: events.choose_thresholds. The other settings are those of postprocessing.choose_postprocessing.

    Args:
        run: folder of a trained run on recordings.
        data: folder of the corpus whose partition `validate` is used; None for the run's own, RUN/data.
        negatives: folder of recordings without the labels, whose false events count too; None for none.
        alarms_per_hour: number of false events per hour that detectors keep to by default. Thresholds for 2, 20 and 60
            are kept too.
        progress: whether bars are shown.

    Returns:
        dict, as in calibration.json: labels, alarms_per_hour, thresholds {alarms per hour: list}, lists by label of
        median_frames, min_duration, max_gap and step_filter (seconds) and edge, and hours of the recordings.

    Raises:
        InputError: a run on clips, no corpus, a number that is not above 0; as training.RecordingSource.
    """
    check_alarms_per_hour(alarms_per_hour)
    source, estimates = _estimates(run, data, "validate", negatives, progress)
    labels, resolution = source.dataset.labels, source.experiment.time_resolution
    shortest = least_durations(estimates, resolution)
    chosen = choose_postprocessing(estimates, labels, resolution, alarms_per_hour, min_duration=shortest)
    decoding = {"min_duration": shortest} | {name: [value] * len(labels) for name, value in chosen.items()}
    alarms = [find_posterior_alarms(each.reference, each.posteriors, labels, resolution, **decoding)
              for each in estimates]
    thresholds = {f"{number:g}": cautious_thresholds(alarms, number).tolist()
                  for number in sorted({*ALARMS_PER_HOUR, alarms_per_hour})}
    calibration = {"labels": list(labels), "alarms_per_hour": f"{alarms_per_hour:g}", "thresholds": thresholds,
                   **decoding, "hours": join_alarms(alarms).seconds / 3600}
    write_json(calibration, pathlib.Path(run) / CALIBRATION, sealed=True)
    return calibration


def check_alarms_per_hour(number):
    """Raise InputError unless a number of false events per hour is one that calibrate_run takes."""
    expect(0 < number < float("inf"), "alarms_per_hour", "a number above 0", number)


def _estimates(run, data, partition, negatives, progress):
    """Return the RecordingSource of a run's data, and its estimates for a partition and for negatives."""
    experiment, data = load_run(run), pathlib.Path(data or pathlib.Path(run) / "data")
    expect(not experiment.clip_level, "RUN", "a run on recordings, which detects events", str(run))
    expect(data.is_dir(), "--data", "the folder of the corpus, which is not in the run's own folder", str(data))
    source = RecordingSource(experiment, data, progress=progress)
    recordings = source.load(partition)
    if negatives is not None:
        recordings += load_negatives(negatives, source.dataset.labels, experiment.features, experiment.time_resolution,
                                     progress=progress)
    return source, estimate_recordings(source, run, recordings, experiment.time_resolution)


def expect_alarms(run, data=None, partition="test", *, negatives=None, resamples=1000, seed=0, progress=True):
    """Measure what a calibrated run finds, and its false events, on recordings that neither trained nor calibrated it.

    Args:
        run: folder of a run with a calibration.
        data: as of calibrate_run.
        partition: of the corpus.
        negatives: folder of recordings without the labels, which did not calibrate it either; None for none.
        resamples: number of bootstrap resamples over recordings, for 95 % intervals.
        seed: of the resampling.
        progress: whether bars are shown.

    Returns:
        DataFrame with a row per number of false events per hour of the calibration, and the columns alarms_per_hour,
        false_events_per_hour, active_outside (share of the time) and recall (share of events), the last three with
        their NAME_low and NAME_high; and a DataFrame of the recall of each label, by number.

    Raises:
        InputError: a run without a calibration; as calibrate_run.
    """
    calibration = read_calibration(run, task_labels(load_run(run).tasks))
    expect(calibration, str(run), "a run with a calibration (polysed calibrate)", "none")
    source, estimates = _estimates(run, data, partition, negatives, progress)
    labels = source.dataset.labels  # in the order of the estimates, which another corpus may have
    resolution, rows, by_label = source.experiment.time_resolution, [], {}
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(estimates), (resamples, len(estimates)))
    for number in calibration["thresholds"]:
        rule = calibrated_rule(calibration, number, labels)
        parts = [_outcome(estimate, labels, resolution, rule) for estimate in estimates]
        counts, found = (np.stack(each) for each in zip(*parts))
        low, high = np.percentile(_rates(counts[draws].sum(axis=1)), [2.5, 97.5], axis=0)
        rates = _rates(counts.sum(axis=0))
        rows.append({"alarms_per_hour": float(number)} | {
            name + suffix: value for suffix, values in (("", rates), ("_low", low), ("_high", high))
            for name, value in zip(("false_events_per_hour", "active_outside", "recall"), values)})
        by_label[number] = share(found.sum(axis=0), None)
    return pd.DataFrame(rows), pd.DataFrame(by_label, index=list(labels))


def _outcome(estimate, labels, resolution, rule):
    """Return (false events, seconds, active seconds outside, found, events), and (found, events) per label."""
    events = posteriors_to_events(estimate.posteriors, labels, resolution, **rule)
    alarms = find_alarms(estimate.reference, events, labels, resolution)
    roll = event_list_to_event_roll(events, labels, len(estimate.reference), resolution)
    outside = alarm_counts(estimate.reference, roll, resolution)[-1, 4] * resolution
    found = np.array([((each > 0).sum(), len(each)) for each in alarms.found])
    return np.array([sum(map(len, alarms.false)), alarms.seconds, outside, *found.sum(axis=0)]), found


def _rates(counts):
    """Return false events per hour, the share of time active outside events, and recall of sums of _outcome."""
    false, seconds, outside = np.moveaxis(counts[..., :3], -1, 0)
    return np.stack([3600 * false / seconds, outside / seconds, share(counts[..., 3:], None)], axis=-1)


def format_expectation(expectation):
    """Format the result of expect_alarms as a text."""
    table, by_label = expectation
    rows = {"allowed false events per hour": table["alarms_per_hour"].map("{:g}".format)}
    for name, title, scale, layout in (("false_events_per_hour", "false events per hour", 1, "{:.1f} [{:.1f}, {:.1f}]"),
                                       ("active_outside", "time active without cause (%)", 100,
                                        "{:.2f} [{:.2f}, {:.2f}]"),
                                       ("recall", "events found (%)", 100, "{:.0f} [{:.0f}, {:.0f}]")):
        rows[title] = percent_cells(scale * table[[name, f"{name}_low", f"{name}_high"]], layout)
    found = (100 * by_label).map(lambda value: "-" if np.isnan(value) else f"{value:.0f}")
    found = found.rename(columns=lambda number: f"{number} per hour")
    return ("What to expect, on test recordings [95 % interval]\n" + pd.DataFrame(rows).to_string(index=False)
            + "\n\nevents found by label (%), with so many false events allowed\n" + found.to_string())
