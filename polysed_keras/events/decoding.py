"""From posteriors to event lists: thresholds, median filters, merging; and the files that detections are written to."""
import numpy as np
import pandas as pd
from scipy import ndimage

from polysed_keras.errors import InputError
from polysed_keras.events.event_lists import COLUMNS, PRECISION, event_roll_to_event_list, merge_events, write_events
from polysed_keras.files import atomic_file

TAG_COLUMNS = ("onset", "offset", "scene", "confidence", "tags", "tag_confidences")
FORMATS = {"tsv": ".tsv", "csv": ".csv", "audacity": ".txt"}  # format of write_detections -> its usual suffix


def posteriors_to_events(posteriors, labels, time_resolution, *, activity=None, threshold=0.5, median_frames=1,
                         min_duration=0.0, max_gap=0.0):
    """Turn posteriors into events: threshold, median filter, merge over gaps, then drop what is still too short.

    Args:
        posteriors: array (frames, labels), 0..1.
        labels: labels in the order of the columns.
        time_resolution: seconds a frame.
        activity: array (frames, labels) of 0 and 1, decoded already (powerset: argmax); used instead of `threshold`.
        threshold: a label is active where its posterior is at least this; a number, or one a label.
        median_frames: odd length of the median filter over time; 1 leaves the activity as it is.
        min_duration: seconds; shorter events are dropped.
        max_gap: seconds; events of one label at most this far apart become one.

    Returns:
        DataFrame with columns onset, offset (seconds), event_label, confidence (mean posterior from onset to offset),
        sorted by onset, offset and label.

    Raises:
        InputError: an argument does not fit the others or is out of its range.
    """
    posteriors = np.asarray(posteriors, np.float32)
    _check_shape("posteriors", posteriors.shape, (len(posteriors), len(labels)))
    if activity is None:
        activity = posteriors >= _checked_threshold(threshold, labels)
    _check_shape("activity", np.shape(activity), posteriors.shape)
    for name, seconds in (("min_duration", min_duration), ("max_gap", max_gap)):
        if not seconds >= 0:
            raise InputError(f"{name}: expected 0 or more seconds, received {seconds}.")
    event_roll = median_filter(np.asarray(activity), median_frames)
    events = merge_events(event_roll_to_event_list(event_roll, labels, time_resolution), gap=max_gap)
    events = events[events["offset"] - events["onset"] >= min_duration - PRECISION].reset_index(drop=True)
    return events.assign(confidence=_confidence(events, posteriors, labels, time_resolution))


def median_filter(activity, median_frames):
    """Median over time of activity (frames, labels): bool. Beyond the ends is what is at them.

    Raises:
        InputError: median_frames is not odd, or below 1.
    """
    if median_frames < 1 or median_frames % 2 == 0:
        raise InputError(f"median_frames: expected an odd number, 1 or more, received {median_frames}.")
    # The median of an odd number of zeros and ones says which of them are more: a running mean finds it faster.
    return ndimage.uniform_filter1d((activity > 0).astype(float), median_frames, axis=0, mode="nearest") > 0.5


def write_detections(events, path, format="tsv"):
    """Write detected events to a file, atomically.

    Args:
        events: DataFrame as from `posteriors_to_events`, seconds.
        path: file to write.
        format: "tsv" (onset, offset, label; no header; sed_eval's), "csv" (header, and the confidence as fourth
            column), or "audacity" (a label track for File > Import > Labels: the same three columns as "tsv").

    Raises:
        InputError: the format is unknown or the file cannot be written.
    """
    if format not in FORMATS:
        raise InputError(f"format: expected one of {', '.join(FORMATS)}, received {format!r}.")
    if format != "csv":
        return write_events(events, path)
    with atomic_file(path) as temporary:
        events[[*COLUMNS, "confidence"]].to_csv(temporary, index=False, float_format="%.6f", lineterminator="\n")


def posteriors_to_tags(posteriors, tasks, clip_seconds, threshold=0.5, labels=None):
    """What clips are labelled with: a scene each, of a `multi_class` task, and any number of events of a `multi_label` one.

    Args:
        posteriors: array (clips, labels), the tasks' labels side by side.
        tasks: tuple of Task; clip_seconds: of a clip.
        threshold: an event's posterior is at least this.
        labels: the events wanted; None for all.

    Returns:
        DataFrame onset, offset (seconds), scene, confidence, tags, tag_confidences: the last two joined by ";", the
        likeliest first. What the model has no task for is empty.
    """
    rows = []
    for index, row in enumerate(np.asarray(posteriors)):
        scene, confidence, tags, column = "", np.nan, [], 0
        for task in tasks:
            own, column = row[column:column + len(task.labels)], column + len(task.labels)
            if task.encoding == "multi_class":
                scene, confidence = task.labels[own.argmax()], float(own.max())
            else:
                tags += [(float(own[place]), task.labels[place]) for place in np.argsort(-own, kind="stable")
                         if own[place] >= threshold and (labels is None or task.labels[place] in labels)]
        rows.append((index * clip_seconds, (index + 1) * clip_seconds, scene, confidence,
                     ";".join(label for _, label in tags), ";".join(f"{value:.3f}" for value, _ in tags)))
    return pd.DataFrame(rows, columns=TAG_COLUMNS)


def write_tags(tags, path, format="tsv"):
    """Write the lines of `posteriors_to_tags` to a file, atomically; formats as in `write_detections`: "tsv" without a
    header, "csv" with one, "audacity" with scene and tags as a clip's label."""
    if format == "audacity":
        labels = [" ".join(filter(None, [f"{tag.scene}:" if tag.scene else "", tag.tags])) for tag in tags.itertuples()]
        return write_events(pd.DataFrame({"onset": tags.onset, "offset": tags.offset, "event_label": labels}), path)
    with atomic_file(path) as temporary:
        tags.to_csv(temporary, index=False, float_format="%.6f", lineterminator="\n", header=format == "csv",
                    sep="," if format == "csv" else "\t")


def _check_shape(name, shape, expected):
    if shape != expected:
        raise InputError(f"{name}: expected shape {expected}, (frames, labels), received {shape}.")


def _checked_threshold(threshold, labels):
    threshold = np.asarray(threshold, np.float32)  # the posteriors' type, so that 0.7 is at least 0.7
    if threshold.shape not in ((), (len(labels),)) or not ((0 <= threshold) & (threshold <= 1)).all():
        raise InputError(f"threshold: expected a number in 0..1, or {len(labels)}, one a label, "
                         f"received {threshold.tolist()}.")
    return threshold


def _confidence(events, posteriors, labels, time_resolution):
    columns = [list(labels).index(label) for label in events["event_label"]]
    edges = np.round(events[["onset", "offset"]].to_numpy() / time_resolution).astype(int)
    return [posteriors[onset:offset, column].mean(dtype=float) for (onset, offset), column in zip(edges, columns)]
