r"""What each step of post-processing gains, with settings chosen on validation data and measured on other recordings.

    python benchmarks/field_test.py make data/esc50 --fold 5 --ambience ambience --out data/field \
        --labels LABEL ...
    python benchmarks/post_processing.py runs/everyday --data data/field --without train wind

RUN is a run on recordings with its corpus in RUN/data, of which the partition `validate` chooses the settings and the
thresholds. --data is a folder of field_test.py: its `field` has events, its `quiet` has none. Rows are each step alone,
then what `polysed calibrate` chooses, and the settings of RUN/calibration.json, if there is one. The last two have
least durations by label.
"""
import argparse
import os
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # the package need not be installed
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
from polysed_keras.evaluation.postprocessing import (  # noqa: E402
    CHOICES,
    cautious_thresholds,
    choose_postprocessing,
    events_above,
    least_durations,
)
from polysed_keras.events import (  # noqa: E402
    calibrated_rule,
    event_counts,
    event_list_to_event_roll,
    event_roll_to_event_list,
    f_score,
    find_alarms,
    intersection_counts,
    join_alarms,
    posteriors_to_events,
    recall_at_alarms,
)

ROWS = {"nothing": {}, "median filter": {"median_frames": CHOICES["median_frames"]},
        "hysteresis": {"edge": CHOICES["edge"]}, "merging by gap": {"max_gap": CHOICES["max_gap"]},
        "boxes": {"step_filter": (0.64, 0.32, 1.28), "edge": CHOICES["edge"]}, "calibrate": CHOICES}
NUMBERS = (20, 60)  # false events per hour


def find_all(estimates, labels, resolution, rule):
    """All events of each recording, whatever their confidence, and their Alarms."""
    events = [posteriors_to_events(each.posteriors, labels, resolution, **rule | {"threshold": 0.0})
              for each in estimates]
    return events, [find_alarms(each.reference, found, labels, resolution) for each, found in zip(estimates, events)]


def share_found(alarms, thresholds):
    """The share of the events that is found above thresholds, and false events per hour."""
    joined, levels = join_alarms(alarms), np.float32(thresholds)
    found = np.concatenate([part >= level for part, level in zip(joined.found, levels)])
    false = sum((part >= level).sum() for part, level in zip(joined.false, levels))
    return {"found": found.mean() if len(found) else np.nan, "false": 3600 * false / joined.seconds}


def count_kept(estimates, events, labels, resolution, thresholds):
    """F1 counts per recording of the events above thresholds, and the share of the time active outside events."""
    counts, outside = [], 0
    for each, found in zip(estimates, events):
        kept = events_above(found, labels, thresholds)
        reference = event_roll_to_event_list(each.reference, labels, resolution)
        counts.append([count(reference, kept, labels)[-1, :3] for count in (event_counts, intersection_counts)])
        roll = event_list_to_event_roll(kept, labels, len(each.reference), resolution)
        outside += ((roll > 0) & (each.reference == 0)).any(axis=1).sum()
    return np.array(counts), outside / sum(len(each.reference) for each in estimates)


def measure(validate, tests, labels, resolution, rule):
    """What a rule finds in each of the tests, in hindsight and with thresholds chosen on the validation data."""
    _, alarms = find_all(validate, labels, resolution, rule)
    thresholds = {number: cautious_thresholds(alarms, number) for number in NUMBERS}
    results = {}
    for name, estimates in tests.items():
        events, alarms = find_all(estimates, labels, resolution, rule)
        results[name] = {number: {"hindsight": recall_at_alarms(alarms, number)[-1]}
                         | share_found(alarms, thresholds[number]) for number in NUMBERS}
        results[name] |= dict(zip(("counts", "outside"), count_kept(estimates, events, labels, resolution,
                                                                    thresholds[max(NUMBERS)])))
    return results


def f1_cells(counts, base, draws):
    """Event-based and intersection-based F1 in %, with the 95 % interval of the difference to the base row."""
    def scores(counts):
        return 100 * np.nan_to_num(f_score(counts[..., None, :], "micro"))

    drawn, before = (scores(each[draws].sum(axis=1)) for each in (counts, base))
    low, high = np.percentile(drawn - before, [2.5, 97.5], axis=0)
    return [f"{value:.1f} [{least:+.1f}, {most:+.1f}]" for value, least, most in zip(
        scores(counts.sum(axis=0)), low, high)]


def report(validate, tests, labels, resolution, calibration=None, out=print):
    """Print the table; estimates are objects with `reference` and `posteriors`, of `labels`."""
    base, rows = {}, ROWS | ({"as calibrated before": None} if calibration else {})
    out("| post-processing | data | % found in hindsight, at 20 / 60 | % found, promised 20 / 60 | "
        "false events per hour | % of the time outside events, at 60 | event-based F1 | intersection-based F1 |\n"
        "|---|---|---|---|---|---|---|---|")
    for name, choices in rows.items():
        if choices is None:
            rule, shown = calibrated_rule(calibration, next(iter(calibration["thresholds"])), labels), "by label"
        else:
            durations = {"min_duration": least_durations(validate, resolution)} if name == "calibrate" else {}
            rule = choose_postprocessing(validate, labels, resolution, max(NUMBERS), choices=choices, **durations)
            shown, rule = ", ".join(f"{key} {value:g}" for key, value in rule.items()), rule | durations
        for data, result in measure(validate, tests, labels, resolution, rule).items():
            base.setdefault(data, result["counts"])
            draws = np.random.default_rng(0).integers(0, len(base[data]), (1000, len(base[data])))
            cells = [" / ".join(f"{scale * result[number][key]:.{digits}f}" for number in NUMBERS)
                     for key, scale, digits in (("hindsight", 100, 1), ("found", 100, 1), ("false", 1, 0))]
            cells.append(f"{100 * result['outside']:.1f}")
            out(f"| {name} ({shown}) | {data} | " + " | ".join(
                cells + f1_cells(result["counts"], base[data], draws)) + " |")


def load_folder(detector, folder, without, labels):
    """Estimates of the recordings of a folder of field_test.py."""
    from field_test import read_folder, reference_roll

    from polysed_keras.evaluation.runs import Estimate
    columns, estimates = [detector.labels.index(label) for label in labels], []
    for _, path, events in read_folder(folder, without):
        posteriors, activity = detector.posteriors(path)
        estimates.append(Estimate(reference_roll(posteriors, events, labels, detector.time_resolution),
                                  posteriors[:, columns], activity[:, columns]))
    return estimates


def main(run, data, without):
    from polysed_keras.evaluation.runs import estimate_recordings
    from polysed_keras.files import read_json
    from polysed_keras.serving import load_detector
    from polysed_keras.training import CALIBRATION, RecordingSource, load_run
    source = RecordingSource(load_run(run), run / "data", progress=True)
    labels, resolution = source.dataset.labels, source.experiment.time_resolution
    validate = estimate_recordings(source, run, source.load("validate"), resolution)
    detector = load_detector(run)
    tests = {kind: load_folder(detector, data / kind, without, labels) for kind in ("field", "quiet")}
    calibration = run / CALIBRATION
    report(validate, tests, list(labels), resolution, read_json(calibration) if calibration.exists() else None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--without", nargs="*", default=[], metavar="PLACE",
                        help="ambience that is left out because it holds a label's sound, such as train")
    main(**vars(parser.parse_args()))
