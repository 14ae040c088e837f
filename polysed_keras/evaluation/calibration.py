"""Calibration: thresholds per label that keep to a promised number of false alarms per hour, from validation data."""
import pathlib

import numpy as np
import pandas as pd

from polysed_keras.errors import expect
from polysed_keras.evaluation.runs import estimate_recordings
from polysed_keras.evaluation.tables import percent_cells
from polysed_keras.events import (
    ALARMS_PER_HOUR,
    alarm_counts,
    choose_thresholds,
    event_list_to_event_roll,
    find_alarms,
    find_posterior_alarms,
    join_alarms,
    merged_runs,
    posteriors_to_events,
    share,
)
from polysed_keras.files import read_json, write_json
from polysed_keras.training import CALIBRATION, RecordingSource, load_negatives, load_run

DEFAULT_ALARMS = 20  # false alarms per hour that detectors keep to unless another number is asked for
MEDIAN_SECONDS = (0.0, 0.2, 0.4, 0.8)  # lengths of the median filter that are tried
SHORTEST = 0.5  # the minimum duration, as a share of that of the shortest reference events (their 5th percentile)
TAIL = 20  # false events per label from which rarer ones are foretold
BORROWED = 0.25  # share with which the events of all labels stand for the few of each label
CAUTION = 0.5  # share of the promised number that thresholds use up on the recordings that they are chosen on


def calibrate_run(run, data=None, *, negatives=None, alarms_per_hour=DEFAULT_ALARMS, progress=True):
    """Choose thresholds, median filters and minimum durations of a run on validation data, and keep them in its folder.

    Exports of the run carry them, and `detect` uses them. For each label the median filter is the one with which most
    events are found, the minimum duration half of that of short reference events, and the thresholds find as many
    events as they can with so many false events of all labels together: events.choose_thresholds.

    Args:
        run: folder of a trained run on recordings.
        data: folder of the corpus whose partition `validate` is used; None for the run's own, RUN/data.
        negatives: folder of recordings without the labels, whose false events count too; None for none.
        alarms_per_hour: number of false events per hour that detectors keep to by default. Thresholds for 2, 20 and 60
            are kept too.
        progress: whether bars are shown.

    Returns:
        dict, as in calibration.json: labels, alarms_per_hour, thresholds {alarms per hour: list}, median_frames and
        min_duration (seconds), lists by label, and hours of the recordings.

    Raises:
        InputError: a run on clips, no corpus, a number that is not above 0; as training.RecordingSource.
    """
    check_alarms_per_hour(alarms_per_hour)
    source, estimates = _estimates(run, data, "validate", negatives, progress)
    labels, resolution = source.datasets[0].labels, source.experiment.time_resolution
    alarms = [[find_posterior_alarms(each.reference, each.posteriors, labels, resolution, median_frames=frames)
               for each in estimates] for frames in _medians(resolution)]
    best = np.argmax([_found(each) for each in alarms], axis=0)
    shortest = [_shortest([each.reference[:, column] for each in estimates], resolution)
                for column in range(len(labels))]
    decoding = {"median_frames": [_medians(resolution)[index] for index in best], "min_duration": shortest}
    chosen = [find_posterior_alarms(each.reference, each.posteriors, labels, resolution, **decoding)
              for each in estimates]
    thresholds = {
        f"{number:g}": choose_thresholds(chosen, CAUTION * number, tail=TAIL, borrowed=BORROWED).tolist()
        for number in sorted({*ALARMS_PER_HOUR, alarms_per_hour})}
    calibration = {"labels": list(labels), "alarms_per_hour": f"{alarms_per_hour:g}", "thresholds": thresholds,
                   **decoding, "hours": join_alarms(chosen).seconds / 3600}
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
    recordings, labels = source.load(partition), source.datasets[0].labels
    if negatives is not None:
        recordings += load_negatives(negatives, labels, experiment.features, experiment.time_resolution,
                                     progress=progress)
    return source, estimate_recordings(source, run, recordings, experiment.time_resolution)


def _medians(resolution):
    return [2 * round(seconds / resolution / 2) + 1 for seconds in MEDIAN_SECONDS]


def _found(alarms):
    """Return per label how many events are found above as many false events as its part of ALARMS_PER_HOUR, in sum."""
    joined = join_alarms(alarms)
    return [sum((found > _level(false, number * joined.seconds / 3600 / len(joined.found))).sum()
                for number in ALARMS_PER_HOUR) for found, false in zip(joined.found, joined.false)]


def _level(false, allowed):
    return np.sort(false)[::-1][int(allowed)] if len(false) > allowed else 0.0


def _shortest(activity, resolution):
    """Return the minimum duration, in seconds, of a label with this activity in each recording; 0 if it has none."""
    durations = np.concatenate([offsets - onsets for column in activity
                                for _, onsets, offsets in [merged_runs(column[:, None] > 0, 1)]])
    return float(round(SHORTEST * np.percentile(durations, 5) * resolution, 3)) if len(durations) else 0.0


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
    path = pathlib.Path(run) / CALIBRATION
    expect(path.is_file(), str(run), "a run with a calibration (polysed calibrate)", "none")
    calibration = read_json(path)
    source, estimates = _estimates(run, data, partition, negatives, progress)
    resolution, rows, by_label = source.experiment.time_resolution, [], {}
    labels = source.datasets[0].labels  # in the order of the estimates, which another corpus may have
    order = [calibration["labels"].index(label) for label in labels]
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(estimates), (resamples, len(estimates)))
    for number, thresholds in calibration["thresholds"].items():
        rule = {name: calibration[name] for name in ("median_frames", "min_duration")} | {"threshold": thresholds}
        rule = {name: [values[index] for index in order] for name, values in rule.items()}
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
