"""From posteriors to events and tags, and the files that they are written to."""
import numpy as np
import pandas as pd

from polysed_keras.errors import InputError, expect
from polysed_keras.events.event_lists import COLUMNS, PRECISION, write_events
from polysed_keras.events.extents import EDGE, find_boxes, find_peaks, step_changes
from polysed_keras.files import atomic_file

TAG_COLUMNS = ("onset", "offset", "scene", "confidence", "tags", "tag_confidences")
FAINTEST = 1e-3  # Posteriors below it count as 0 where events are searched.
CALIBRATED = ("median_frames", "min_duration", "max_gap", "edge", "step_filter")  # besides thresholds, per label


def posteriors_to_events(posteriors, labels, time_resolution, *, activity=None, **rule):
    """Turn posteriors into events: peaks of the posteriors, or runs of the activity that is decoded already.

    An event is a peak of a label's posterior. It lasts as long as the posterior stays at or above a share of the peak's
    height, the `edge`, and two peaks are two events only if the posterior falls below this share of the lower one
    between them. With a `step_filter`, events are boxes between the steepest rises and falls (extents.find_boxes).
    Neither depends on `threshold`, which only drops the events whose confidence is lower: raising it never makes more.
    The steps are: median filter, filling of gaps, peaks or boxes, minimum duration, confidence, threshold.

    Args:
        posteriors: array (frames, labels), 0 to 1. Posteriors below FAINTEST make no events.
        labels: labels in the order of the columns.
        time_resolution: seconds per frame.
        activity: array (frames, labels) of 0 and 1, decoded already (as from a powerset), whose runs of ones are the
            events in place of peaks; `threshold` is not used then.
        rule: threshold, median_frames, min_duration, max_gap, edge and step_filter of event_finders.

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
    values = posteriors if activity is None else np.asarray(activity) > 0
    _check_shape("activity", values.shape, posteriors.shape)
    return find_events([(posteriors, values)], labels, time_resolution,
                       **rule | ({} if activity is None else {"threshold": 0.0}))


def find_events(parts, labels, time_resolution, **rule):
    """Find events in posteriors that come part by part, without keeping the parts, as posteriors_to_events does.

    Args:
        parts: iterable of (posteriors, values), float32 (frames, labels): values are the posteriors, or activity of 0
            and 1, in which events are searched.
        labels: as of posteriors_to_events.
        time_resolution: as of posteriors_to_events.
        rule: as of event_finders.

    Returns:
        DataFrame of posteriors_to_events.
    """
    finders = list(zip(range(len(labels)), labels, event_finders(labels, time_resolution, **rule)))
    parts, rows = iter(parts), []
    latest = next(parts, (np.zeros((0, len(labels)), np.float32),) * 2)
    for part in parts:
        rows += closed_events(finders, time_resolution, *latest)
        latest = part
    rows += closed_events(finders, time_resolution, *latest, last=True)
    onsets, offsets, names, confidences = zip(*sorted(rows)) if rows else ((), (), (), ())
    return pd.DataFrame({"onset": np.array(onsets, float), "offset": np.array(offsets, float),
                         "event_label": pd.Series(names, dtype=str), "confidence": np.array(confidences, float)})


def closed_events(finders, time_resolution, posteriors, values, last=False):
    """Yield the events that the next frames close: (onset, offset, label, confidence), in seconds.

    Args:
        finders: list of (column, label, EventFinder).
        time_resolution: seconds per frame.
        posteriors: float32 array (frames, labels).
        values: likewise, as of find_events.
        last: whether no more frames follow.
    """
    for column, label, finder in finders:
        for onset, offset, confidence in finder.follow(posteriors[:, column], values[:, column], last):
            yield onset * time_resolution, offset * time_resolution, label, confidence


def event_finders(labels, time_resolution, *, threshold=0.5, median_frames=1, min_duration=0.0, max_gap=0.0,
                  edge=EDGE, step_filter=0.0):
    """Return a list of an EventFinder per label, by the rule of posteriors_to_events.

    Args:
        labels: labels in the order of the columns.
        time_resolution: seconds per frame.
        threshold: number or one number per label; events whose confidence is at least this are kept.
        median_frames: odd length of the median filter over time, or one per label; 1 filters nothing.
        min_duration: seconds, or one number per label; shorter events are dropped.
        max_gap: seconds, or one number per label; events of one label at most this far apart become one: where a
            posterior sinks for at most so long, events are searched as if it had not sunk below the lower one of the
            two sides.
        edge: share of a peak's height, or one per label, above 0 and at most 1, that the posterior must fall below for
            the event to end. A low one keeps together what a high one divides (hysteresis).
        step_filter: seconds, or one number per label, over which the filter averages that finds the steepest rises and
            falls: the change at a time is the mean of the half after it, less that of the half before. 0 finds peaks.

    Returns:
        List of EventFinder.

    Raises:
        InputError: as of posteriors_to_events.
    """
    def seconds(name, value):
        return _per_label(name, value, labels, "0 or more seconds", lambda values: values >= 0)

    # Compared in the type of the posteriors, so that 0.7 is at least 0.7.
    thresholds = _per_label("threshold", threshold, labels, "a number in 0..1",
                            lambda values: (0 <= values) & (values <= 1)).astype(np.float32)
    medians = _per_label("median_frames", median_frames, labels, "an odd number, 1 or more",
                         lambda values: (values >= 1) & (values % 2 == 1)).astype(int)
    durations = (seconds("min_duration", min_duration) - PRECISION) / time_resolution
    gaps = np.floor((seconds("max_gap", max_gap) + PRECISION) / time_resolution)
    edges = _per_label("edge", edge, labels, "a share above 0, at most 1", lambda values: (0 < values) & (values <= 1))
    halves = _per_label("step_filter", step_filter, labels, "0 or more seconds, and no infinity",
                        lambda values: (0 <= values) & np.isfinite(values)) / time_resolution / 2
    halves = np.where(halves > 0, np.maximum(1, np.round(halves)), 0).astype(int)
    return [EventFinder(threshold, median, duration, gap if np.isinf(gap) else int(gap), edge, half)
            for threshold, median, duration, gap, edge, half in zip(
                thresholds, medians.tolist(), durations, gaps.tolist(), edges.tolist(), halves.tolist())]


def calibrated_rule(calibration, number, labels):
    """Return the arguments of event_finders by a calibration, per label.

    Args:
        calibration: dict of evaluation.calibrate_run, whose labels may stand in another order. Settings that it lacks,
            as older ones do, are left out.
        number: str, the false events per hour whose thresholds are taken.
        labels: labels in the order wanted.

    Returns:
        dict of lists by label: `threshold`, and those of CALIBRATED that the calibration has.
    """
    order = [calibration["labels"].index(label) for label in labels]
    values = {"threshold": calibration["thresholds"][number]} | {
        name: calibration[name] for name in CALIBRATED if name in calibration}
    return {name: [each[index] for index in order] for name, each in values.items()}


class EventFinder:
    """Find the events of one label in frames that arrive in parts, by the rule of posteriors_to_events.

    It keeps the frames that can still change an event: those since the posterior was lowest after the last event, or
    since the last rise, and `reach` frames before.

    Args:
        threshold: lowest confidence, float32.
        median_frames: odd length of the median filter.
        min_frames: float, least frames per event.
        gap_frames: int or infinity, longest gap that is filled.
        edge: share of an event's height, which the posterior falls below at its end.
        half_step: frames of half the step filter; 0 finds peaks, not boxes.

    Attributes:
        reach: how many frames before and after a frame are needed to tell whether an event begins or ends there.
    """

    def __init__(self, threshold, median_frames, min_frames, gap_frames, edge, half_step):
        self._threshold, self._median_frames, self._min_frames = threshold, median_frames, min_frames
        self._gap_frames, self._edge, self._half_step = gap_frames, edge, half_step
        self.reach = median_frames // 2 + gap_frames + half_step
        self._posteriors = self._values = np.zeros(0, np.float32)
        self._first, self._rest, self._lowest = 0, 0, 0.0  # See follow: the first frame that is kept, and find_peaks.

    def follow(self, posteriors, values, last=False):
        """Take the next frames and return the events that nothing can change any more.

        Args:
            posteriors: float32 array (frames,), of which the confidence is the mean.
            values: array (frames,), in which events are searched: the posteriors, or activity of 0 and 1.
            last: whether no more frames follow.

        Returns:
            List of (first frame, frame after the last one, confidence), counted from the first frame of all.
        """
        self._posteriors = np.concatenate([self._posteriors, posteriors])
        self._values = np.concatenate([self._values, values.astype(np.float32)])
        if last and (self._posteriors.max(initial=0) < self._threshold or self._values.max(initial=0) < FAINTEST):
            return []  # No mean is above the highest one. Most labels of a short recording are like this.
        known = len(self._values) if last else max(self._rest, len(self._values) - self.reach)
        extents, done = self._search(_smooth(self._values, self._median_frames, self._gap_frames), known, last)
        events = [(onset, offset, _confidence(self._posteriors[onset:offset]))
                  for onset, offset in (np.array(extents, int).reshape(-1, 2) + self._rest).tolist()
                  if offset - onset >= self._min_frames]
        events = [(self._first + onset, self._first + offset, confidence) for onset, offset, confidence in events
                  if np.float32(confidence) >= self._threshold]
        self._forget(self._rest + done)
        return events

    def _search(self, values, known, last):
        """Return the extents of events in the values from the rest on, and how many of these are done with."""
        end = [0.0] * last  # It closes what is open.
        if not self._half_step:
            peaks, done, self._lowest = find_peaks([*values[self._rest:known].tolist(), *end], self._lowest, self._edge)
            return peaks, done
        changes = step_changes(values, self._half_step)[self._rest:known + last]
        return find_boxes([*values[self._rest:known].tolist(), *end], changes.tolist(), self._edge)

    def _forget(self, rest):
        cut = max(0, rest - self.reach)
        self._posteriors, self._values = self._posteriors[cut:], self._values[cut:]
        self._first, self._rest = self._first + cut, rest - cut


def _smooth(values, median_frames, gap_frames):
    """Return values (frames,) after the median filter, with gaps filled, and 0 in place of what is below FAINTEST.

    Edge frames are repeated beyond the edges for the median. A gap is filled up to the lower one of its sides (a grey
    closing). Of 0 and 1 this is the majority, and the merging of runs of ones.
    """
    if len(values) and median_frames > 1:
        from scipy import ndimage  # takes a third of the time in which a detection starts
        values = ndimage.median_filter(values, median_frames, mode="nearest")
    values = np.where(values >= FAINTEST, values, np.float32(0))
    gap_frames = min(gap_frames, len(values))
    if not gap_frames:
        return values
    from scipy import ndimage
    return ndimage.grey_closing(np.pad(values, gap_frames), gap_frames + 1)[gap_frames:-gap_frames]


def _confidence(posteriors):
    """Return the confidence of an event from the posteriors (frames,) from its onset to its offset."""
    return float(posteriors.mean(dtype=float))


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
    """Write the tags of clips to a file, atomically; `tags_to_events` is the way to the other formats.

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


def tags_to_events(tags):
    """Return the tags of clips (DataFrame from posteriors_to_tags) as events that last as long as the clip."""
    rows = []
    for tag in tags.itertuples():
        rows += [(tag.onset, tag.offset, tag.scene, tag.confidence)] if tag.scene else []
        rows += [(tag.onset, tag.offset, label, float(confidence)) for label, confidence in zip(
            filter(None, tag.tags.split(";")), filter(None, tag.tag_confidences.split(";")))]
    return pd.DataFrame(rows, columns=[*COLUMNS, "confidence"])


def _check_shape(name, shape, expected):
    expect(shape == expected, name, f"shape {expected}, (frames, labels)", shape)


def _per_label(name, values, labels, expected, fits):
    """Return a float64 array of one number per label from one number or one per label."""
    numbers = np.asarray(values, float)
    if numbers.shape not in ((), (len(labels),)) or not fits(numbers).all():
        raise InputError(f"{name}: expected {expected}, or {len(labels)}, one a label. "
                         f"Received: {numbers.tolist()}.")
    return np.broadcast_to(numbers, len(labels))
