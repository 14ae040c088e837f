"""False alarms: events and time that a run reports without a cause, and what it finds at a given number of them."""
import logging
import types

import numpy as np

from polysed_keras.evaluation.tables import check_comparable, compare_runs
from polysed_keras.events import ALARMS_PER_HOUR, alarm_counts, join_alarms, share

logger = logging.getLogger(__name__)

LEVELS = 1000  # Thresholds of a curve, at most.
SILENT_SHARE = 0.05


def count_alarms(reference, activity, time_resolution):
    """Count the alarms of a recording, decoded as the run decodes.

    Args:
        reference: activity, array (frames, labels) of 0 and 1.
        activity: decoded activity of the same shape.
        time_resolution: seconds per frame.

    Returns:
        float64 array (labels + 1, 7): events.alarm_counts, and the seconds of the recording.
    """
    counts = alarm_counts(reference, activity, time_resolution)
    return np.column_stack([counts, np.full(len(counts), len(reference) * time_resolution)])


def false_events_per_hour(counts):
    """Return the false events per hour of summed counts (..., 7) of count_alarms."""
    return 3600 * counts[..., 2] / counts[..., 6]


def alarm_curve(alarms):
    """Count found and false events of all labels per recording, above falling levels of confidence.

    The levels are confidences of false events, so that each number of false events of all recordings up to 70 is
    met, and higher ones to 1.5 % if there are at most a million; the last level is 0.

    Args:
        alarms: list of events.Alarms, one per recording.

    Returns:
        float64 array (recordings, levels, 4): found, reference and false events, and seconds; counts can be added.
    """
    false = np.sort(np.concatenate(join_alarms(alarms).false))[::-1]
    ranks = np.unique(np.geomspace(1, max(1, len(false)), LEVELS).round().astype(int)) - 1
    levels = np.append(false[ranks[ranks < len(false)]], 0)

    def above(parts):
        confidences = np.sort(np.concatenate(parts))
        return len(confidences) - np.searchsorted(confidences, levels, side="right")

    return np.array([np.stack(np.broadcast_arrays(above(each.found), sum(map(len, each.found)), above(each.false),
                                                  each.seconds), axis=-1) for each in alarms], float)


def recall_of_curve(counts, alarms_per_hour):
    """Return the share of events found, as of events.recall_at_alarms for all labels, from summed counts of a curve.

    Args:
        counts: sums over recordings of alarm_curve, (..., levels, 4).
        alarms_per_hour: number, of all labels together.

    Returns:
        float64 array (...); NaN without reference events.
    """
    allowed = 3600 * counts[..., 2] <= alarms_per_hour * counts[..., 3] + 1e-6
    lowest = allowed.sum(axis=-1) - 1  # More events are false, level by level, and none above the first level.
    return share(np.take_along_axis(counts[..., :2], lowest[..., None, None], axis=-2).squeeze(axis=-2), None)


def alarm_tables(results, *, resamples=1000, seed=0):
    """Return false events per hour, the share of time active outside events, and recall at a number of false events.

    The first two are by label and for all labels, of events as the run decodes them. The third is for all labels, of
    peaks of the posteriors at the lowest common threshold in hindsight (see alarm_curve for its resolution). Recordings
    without labels count in all three.

    Args:
        results: list of RunResult of recordings.
        resamples: number of bootstrap resamples over recordings.
        seed: of the resampling.

    Returns:
        List of three DataFrames as of class_wise_table.
    """
    first = check_comparable(results)
    decoded = decoded_alarm_tables([_part(result, result.alarm_counts) for result in results], first.labels, resamples,
                                   seed)
    curves = [_part(result, alarm_curve(result.alarms)) for result in results]

    def recalls(counts):
        return np.stack([recall_of_curve(counts, number) for number in ALARMS_PER_HOUR], axis=-1)

    return [*decoded, compare_runs(curves, "recall_at_false_events",
                                   [f"{number} per hour" for number in ALARMS_PER_HOUR], recalls, resamples, seed)]


def decoded_alarm_tables(results, labels, resamples, seed):
    """Return false events per hour, and the share of time active outside events, by label and for all labels.

    Args:
        results: list of objects with `name`, `unit` and `counts`, an array (recordings, labels + 1, 7) of count_alarms.
        labels: of the counts.
        resamples: number of bootstrap resamples over recordings.
        seed: of the resampling.

    Returns:
        List of two DataFrames as of class_wise_table.
    """
    def active_outside(counts):
        return counts[..., 4] / np.maximum(counts[..., 5], 1)

    rows = [*labels, "overall"]
    return [compare_runs(results, "false_events_per_hour", rows, false_events_per_hour, resamples, seed,
                         per_cent=False),
            compare_runs(results, "active_outside_events", rows, active_outside, resamples, seed)]


def _part(result, counts):
    return types.SimpleNamespace(name=result.name, unit="recordings", counts=counts)


def silent_share(recordings, silence):
    """Return the share of the time of RecordingFeatures that is digital silence, of log-mel `silence`."""
    silent = sum((recording.log_mel.max(axis=1) <= silence).sum() for recording in recordings)
    return silent / max(1, sum(len(recording.log_mel) for recording in recordings))


def warn_without_background(results, folder):
    """Warn of data with digital silence: a detector that fires at every sound has good scores there.

    Args:
        results: list of RunResult.
        folder: name of the data, for the message.
    """
    share = max(result.silent_share for result in results)
    if share > SILENT_SHARE:
        logger.warning("%s: %.0f %% of the time is digital silence, so the scores tell nothing about false alarms in "
                       "real recordings. Add recordings without the labels: --negatives FOLDER.", folder, 100 * share)
