"""From posteriors to events and tags, and the files that they are written to."""
import numpy as np
import pandas as pd
from scipy import ndimage

from polysed_keras.errors import InputError, expect
from polysed_keras.events.event_lists import COLUMNS, PRECISION, event_roll_to_event_list, merge_events, write_events
from polysed_keras.files import atomic_file

TAG_COLUMNS = ("onset", "offset", "scene", "confidence", "tags", "tag_confidences")
DETECTION_FORMATS = {"tsv": ".tsv", "csv": ".csv", "audacity": ".txt"}  # Formats of write_detections: usual suffix.


def posteriors_to_events(posteriors, labels, time_resolution, *, activity=None, threshold=0.5, median_frames=1,
                         min_duration=0.0, max_gap=0.0):
    """Turn posteriors into events: apply thresholds and a median filter, merge over gaps, then drop short events.

    Args:
        posteriors: array (frames, labels), 0 to 1.
        labels: labels in the order of the columns.
        time_resolution: seconds per frame.
        activity: array (frames, labels) of 0 and 1, decoded already (as from a powerset), in place of `threshold`.
        threshold: number or one number per label; a label is active if its posterior is at least this.
        median_frames: odd length of the median filter over time; 1 leaves the activity as it is.
        min_duration: seconds; shorter events are dropped.
        max_gap: seconds; events of one label at most this far apart become one.

    Returns:
        DataFrame with columns onset, offset (seconds), event_label and confidence (the mean posterior from onset to
        offset), sorted by onset, offset and label.

    Raises:
        InputError: an argument does not fit the others or is out of its range.

    Example:
        >>> events = posteriors_to_events(posteriors, ["dog", "car"], 0.02, threshold=0.7, min_duration=0.1)
    """
    posteriors = np.asarray(posteriors, np.float32)
    _check_shape("posteriors", posteriors.shape, (len(posteriors), len(labels)))
    if activity is None:
        activity = posteriors >= _checked_threshold(threshold, labels)
    _check_shape("activity", np.shape(activity), posteriors.shape)
    for name, seconds in (("min_duration", min_duration), ("max_gap", max_gap)):
        expect(seconds >= 0, name, "0 or more seconds", seconds)
    event_roll = median_filter(np.asarray(activity), median_frames)
    events = merge_events(event_roll_to_event_list(event_roll, labels, time_resolution), max_gap)
    events = events[events["offset"] - events["onset"] >= min_duration - PRECISION].reset_index(drop=True)
    columns = [list(labels).index(label) for label in events["event_label"]]
    edges = np.round(events[["onset", "offset"]].to_numpy() / time_resolution).astype(int)
    return events.assign(confidence=[posteriors[onset:offset, column].mean(dtype=float)
                                     for (onset, offset), column in zip(edges, columns)])


def median_filter(activity, median_frames):
    """Return the median over time of activity (frames, labels), as bool; edge frames are repeated beyond the edges.

    Raises:
        InputError: median_frames is not odd, or below 1.
    """
    expect(median_frames >= 1 and median_frames % 2, "median_frames", "an odd number, 1 or more", median_frames)
    # The median of an odd number of zeros and ones tells which are the majority; a running mean tells it faster.
    return ndimage.uniform_filter1d((activity > 0).astype(float), median_frames, axis=0, mode="nearest") > 0.5


def write_detections(events, path, format="tsv"):
    """Write detected events to a file, atomically.

    Args:
        events: DataFrame from posteriors_to_events.
        path: file to write.
        format: "tsv" (onset, offset, label without a header, as sed_eval reads it), "csv" (with a header and the
            confidence as fourth column) or "audacity" (a label track for File > Import > Labels; columns as "tsv").

    Raises:
        InputError: the format is unknown or the file cannot be written.
    """
    expect(format in DETECTION_FORMATS, "format", f"one of {', '.join(DETECTION_FORMATS)}", format)
    if format != "csv":
        return write_events(events, path)
    with atomic_file(path) as temporary:
        events[[*COLUMNS, "confidence"]].to_csv(temporary, index=False, float_format="%.6f", lineterminator="\n")


def posteriors_to_tags(posteriors, tasks, clip_seconds, threshold=0.5, labels=None):
    """Turn posteriors of clips into tags: the scene of a `multi_class` task, and the events of the other tasks.

    Args:
        posteriors: array (clips, labels), the labels of all tasks side by side.
        tasks: objects with labels and an encoding, such as Task.
        clip_seconds: seconds per clip.
        threshold: an event is a tag if its posterior is at least this.
        labels: the events wanted; None for all.

    Returns:
        DataFrame with columns onset, offset (seconds), scene, confidence, tags and tag_confidences, one row per clip.
        Tags and their confidences are joined by ";", the likeliest first. Columns without a task are empty.
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
    """Write the tags of clips to a file, atomically.

    Args:
        tags: DataFrame from posteriors_to_tags.
        path: file to write.
        format: "tsv" (without a header), "csv" (with a header) or "audacity" (scene and tags as one label per clip).
    """
    if format == "audacity":
        labels = [" ".join(filter(None, [f"{tag.scene}:" if tag.scene else "", tag.tags])) for tag in tags.itertuples()]
        return write_events(tags[["onset", "offset"]].assign(event_label=labels), path)
    with atomic_file(path) as temporary:
        tags.to_csv(temporary, index=False, float_format="%.6f", lineterminator="\n", header=format == "csv",
                    sep="," if format == "csv" else "\t")


def _check_shape(name, shape, expected):
    expect(shape == expected, name, f"shape {expected}, (frames, labels)", shape)


def _checked_threshold(threshold, labels):
    threshold = np.asarray(threshold, np.float32)  # The type of the posteriors, so that 0.7 is at least 0.7.
    if threshold.shape not in ((), (len(labels),)) or not ((0 <= threshold) & (threshold <= 1)).all():
        raise InputError(f"threshold: expected a number in 0..1, or {len(labels)}, one a label. "
                         f"Received: {threshold.tolist()}.")
    return threshold
