"""Events of audio that arrives block after block: those of the whole recording, each as soon as it has closed."""
import collections
import dataclasses

import numpy as np

from polysed_keras.errors import InputError
from polysed_keras.events import COLUMNS, PRECISION, median_filter

Event = collections.namedtuple("Event", [*COLUMNS, "confidence"])  # onset and offset in seconds


class EventStream:
    """The events of Detector.detect, of audio that arrives in blocks of any size and for any time.

    An event has closed when nothing that follows can change it. That is so at the latest `latency` seconds of audio
    after its offset: a segment, the window's reach beyond it, half the median filter, and the gap over which events are
    merged::

        (segment_frames * hop_length + win_length - hop_length) / sample_rate
        + (median_frames // 2 + floor(max_gap / time_resolution)) * time_resolution

    The size of the blocks and the time that the network computes come on top. Memory does not grow with time: it holds
    a segment, the frames that the filter waits for, and an open event a label.

    Args:
        detector: detection.Detector of a model that detects events.
        threshold, labels: as in Detector.detect.
        postprocessing: as in events.posteriors_to_events.

    Attributes:
        latency: seconds.

    Raises:
        InputError: as Detector.detect, of its arguments.
    """

    def __init__(self, detector, *, threshold=None, labels=None, **postprocessing):
        detector.detect(np.zeros(0, np.float32), threshold=threshold, labels=labels, **postprocessing)  # checks them
        self._posteriors = PosteriorStream(detector)
        self._tracker = _EventTracker(detector.labels, detector.time_resolution, threshold, **postprocessing)
        self._labels = labels or detector.labels
        self.latency = self._posteriors.latency + self._tracker.latency

    def feed(self, samples):
        """Take more audio.

        Args:
            samples: float (samples,) at the model's rate, from -1 to 1, any number of them.

        Returns:
            list of Event(onset, offset, event_label, confidence) that have closed, sorted; seconds since the first
            sample.

        Raises:
            InputError: samples of another shape or type, NaN or infinity; the stream was closed.
        """
        return self._wanted(self._tracker.follow(*self._posteriors.feed(samples)))

    def close(self):
        """The end of the audio: what feed returns, and what is open ends here. The stream takes no more."""
        return self._wanted(self._tracker.follow(*self._posteriors.close(), last=True))

    def _wanted(self, events):
        return sorted(event for event in events if event.event_label in self._labels)


class PosteriorStream:
    """The posteriors of Detector.posteriors, of audio that arrives in blocks: of each segment once its samples and those
    of right context that its last frame reaches into are there. Arguments and methods as EventStream; methods return
    posteriors float32 and activity uint8, both (frames, labels), of the segments that have become whole.
    """

    def __init__(self, detector):
        self._detector, self._segment_frames = detector, detector.description["segment_frames"]
        self._blocks, self._waiting = [], 0
        self._nothing = detector.posteriors(np.zeros(0, np.float32))
        self.latency = (detector.segment_samples + detector.context_samples) / detector.sample_rate

    def feed(self, samples):
        samples = self._checked(samples)
        self._blocks.append(samples.copy())  # the caller may use its buffer again
        self._waiting += len(samples)
        segments = (self._waiting - self._detector.context_samples) // self._detector.segment_samples
        if segments < 1:
            return self._nothing
        waveform, done = np.concatenate(self._blocks), segments * self._detector.segment_samples
        parts = self._detector.posteriors(waveform[:done + self._detector.context_samples])
        self._blocks, self._waiting = [waveform[done:].copy()], len(waveform) - done
        return tuple(part[:segments * self._segment_frames] for part in parts)

    def close(self):
        waveform = np.concatenate([self._checked(np.zeros(0, np.float32)), *self._blocks])
        self._blocks = None
        return self._detector.posteriors(waveform)

    def _checked(self, samples):
        if self._blocks is None:
            raise InputError("samples: expected an open stream. Received: one that was closed. Make another.")
        samples = np.asarray(samples)
        if samples.ndim != 1 or samples.dtype.kind != "f" or not np.isfinite(samples).all():
            raise InputError("samples: expected finite floats from -1 to 1 of shape (samples,). Received: "
                             f"{samples.dtype} of shape {samples.shape}"
                             f"{', with NaN or infinity' if samples.dtype.kind == 'f' else ''}.")
        return samples.astype(np.float32, copy=False)


@dataclasses.dataclass
class _OpenEvent:
    """Frames, and the sum of the label's posteriors before them; `offset` is None while the label is active."""

    onset: int
    sum_at_onset: float
    offset: int | None = None
    sum_at_offset: float = 0.0


class _EventTracker:
    """The events of events.posteriors_to_events, of posteriors that arrive in parts."""

    def __init__(self, labels, time_resolution, threshold=None, *, median_frames=1, min_duration=0.0, max_gap=0.0):
        self._labels, self._time_resolution, self._threshold = labels, time_resolution, threshold
        self._half, self._min_duration, self._max_gap = median_frames // 2, min_duration, max_gap
        self.latency = (self._half + float(np.floor((max_gap + PRECISION) / time_resolution))) * time_resolution
        self._unfiltered = np.zeros((0, len(labels)), bool)  # after as many filtered frames as the filter reaches back
        self._posteriors = np.zeros((0, len(labels)), np.float32)
        self._frame, self._sums, self._active = 0, np.zeros(len(labels)), np.zeros(len(labels), bool)
        self._open, self._closed = {}, []

    def follow(self, posteriors, activity, last=False):
        """The events that have closed: list of Event, of all labels."""
        if self._threshold is not None:
            activity = posteriors >= np.asarray(self._threshold, np.float32)
        event_roll = self._filter(activity > 0, last)
        self._posteriors = np.concatenate([self._posteriors, posteriors])
        self._track(event_roll, self._posteriors[:len(event_roll)])
        self._posteriors = self._posteriors[len(event_roll):]
        for column, event in list(self._open.items()):
            if last and event.offset is None:
                self._end(column, self._frame, self._sums[column])
            if last or self._is_over(event, self._frame):
                self._close(column)
        closed, self._closed = self._closed, []
        return closed

    def _filter(self, activity, last):
        """The frames whose neighbours are known; the first and the last frame have their like for neighbours beyond."""
        if not len(self._unfiltered):
            self._unfiltered = activity[:1].repeat(self._half, axis=0)
        frames = np.concatenate([self._unfiltered, activity])
        if last:
            frames = np.concatenate([frames, frames[-1:].repeat(self._half, axis=0)])
        ready = max(0, len(frames) - 2 * self._half)
        self._unfiltered = frames[ready:]
        return median_filter(frames, 2 * self._half + 1)[self._half:self._half + ready]

    def _track(self, event_roll, posteriors):
        sums = np.cumsum(np.concatenate([self._sums[None], posteriors]), axis=0)  # before each frame
        changes = np.diff(event_roll, axis=0, prepend=self._active[None])
        for index, column in np.argwhere(changes).tolist():
            if event_roll[index, column]:
                self._begin(column, self._frame + index, sums[index, column])
            else:
                self._end(column, self._frame + index, sums[index, column])
        self._active = np.concatenate([self._active[None], event_roll])[-1]
        self._frame, self._sums = self._frame + len(event_roll), sums[-1]

    def _begin(self, column, frame, posterior_sum):
        if column in self._open and self._is_over(self._open[column], frame):
            self._close(column)
        self._open.setdefault(column, _OpenEvent(frame, posterior_sum)).offset = None

    def _end(self, column, frame, posterior_sum):
        self._open[column].offset, self._open[column].sum_at_offset = frame, posterior_sum

    def _is_over(self, event, frame):
        """Whether one of the same label that begins at `frame` or later would be another."""
        if event.offset is None:
            return False
        return frame * self._time_resolution > event.offset * self._time_resolution + self._max_gap + PRECISION

    def _close(self, column):
        event = self._open.pop(column)
        onset, offset = event.onset * self._time_resolution, event.offset * self._time_resolution
        if offset - onset >= self._min_duration - PRECISION:
            confidence = (event.sum_at_offset - event.sum_at_onset) / (event.offset - event.onset)
            self._closed.append(Event(onset, offset, self._labels[column], float(confidence)))
