"""False alarms: events and time that a run reports without a cause, and what it finds at a given number of them."""
import logging

import numpy as np

from polysed_keras.evaluation.tables import check_comparable, compare_runs
from polysed_keras.events import alarm_counts

logger = logging.getLogger(__name__)

ALARMS_PER_HOUR = (2, 20, 60)
# One threshold for all labels, from 0.0025 to 1 - 8e-7 in even steps of the logit.
THRESHOLDS = 1 / (1 + np.exp(-np.arange(-6, 14.01, 0.4)))
SILENT_SHARE = 0.05


def count_alarms(reference, posteriors, activity, time_resolution):
    """Count the alarms of a recording, decoded as the run decodes and at each of THRESHOLDS.

    Args:
        reference: activity, array (frames, labels) of 0 and 1.
        posteriors: float array (frames, labels).
        activity: decoded activity, (frames, labels) of 0 and 1.
        time_resolution: seconds per frame.

    Returns:
        float64 array (1 + thresholds, labels + 1, 7): events.alarm_counts, and the seconds of the recording.
    """
    counts = np.stack([alarm_counts(reference, estimated, time_resolution) for estimated in
                       (activity, *(posteriors >= np.float32(threshold) for threshold in THRESHOLDS))])
    seconds = np.full((*counts.shape[:-1], 1), len(reference) * time_resolution)
    return np.concatenate([counts, seconds], axis=-1)


def false_events_per_hour(counts):
    """Return the false events per hour of summed counts (..., 7) of count_alarms."""
    return 3600 * counts[..., 2] / counts[..., 6]


def recall_at_alarms(counts, alarms_per_hour):
    """Return the share of events that is found at the best threshold with at most so many false events per hour.

    Args:
        counts: summed counts of count_alarms, (..., 1 + thresholds, labels + 1, 7).
        alarms_per_hour: number, of all labels together.

    Returns:
        float64 array (..., labels + 1), the last for all labels; 0 where every threshold has more false events.
    """
    swept = counts[..., 1:, :, :]
    found, events = swept[..., 0], swept[..., 1]
    recall = np.divide(found, events, out=np.full(found.shape, np.nan), where=events > 0)
    allowed = false_events_per_hour(swept[..., -1, :]) <= alarms_per_hour
    best = np.where(allowed, recall[..., -1], -1).argmax(axis=-1)
    chosen = np.take_along_axis(recall, best[..., None, None], axis=-2)[..., 0, :]
    return np.where(allowed.any(axis=-1)[..., None] | np.isnan(chosen), chosen, 0)


def alarm_tables(results, *, resamples=1000, seed=0):
    """Return false events per hour, the share of time active outside events, and recall at a number of false events.

    The first two are by label and for all labels, of events as the run decodes them. The third is for all labels, at
    the best common threshold in hindsight. Recordings without labels count in all three.

    Args:
        results: list of RunResult of recordings.
        resamples: number of bootstrap resamples over recordings.
        seed: of the resampling.

    Returns:
        List of three DataFrames as of class_wise_table.
    """
    check_comparable(results)
    rows, parts = [*results[0].labels, "overall"], [result.alarm_part for result in results]

    def active_outside(counts):
        return counts[..., 0, :, 4] / np.maximum(counts[..., 0, :, 5], 1)

    def recalls(counts):
        return np.stack([recall_at_alarms(counts, alarms)[..., -1] for alarms in ALARMS_PER_HOUR], axis=-1)

    return [compare_runs(parts, "false_events_per_hour", rows,
                         lambda counts: false_events_per_hour(counts[..., 0, :, :]), resamples, seed, per_cent=False),
            compare_runs(parts, "active_outside_events", rows, active_outside, resamples, seed),
            compare_runs(parts, "recall_at_false_events", [f"{alarms} per hour" for alarms in ALARMS_PER_HOUR], recalls,
                         resamples, seed)]


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
