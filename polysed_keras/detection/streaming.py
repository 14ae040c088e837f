"""Events of audio that arrives block by block: the same events as of the whole recording, each soon after its end."""
import collections

import numpy as np

from polysed_keras.errors import InputError
from polysed_keras.events import COLUMNS, PRECISION, active_runs, median_filter

Event = collections.namedtuple("Event", [*COLUMNS, "confidence"])  # Onset and offset are seconds.


class EventStream:
    """Detect events in audio that arrives in blocks of any size and for any time, as Detector.detect does in a whole.

    An event has closed when nothing that follows can change it. This happens at most `latency` seconds of audio after
    its offset: a segment, the reach of the window beyond it, half the median filter, and the gap that is merged over::

        (segment_frames * hop_length + win_length - hop_length) / sample_rate
        + (median_frames // 2 + floor(max_gap / time_resolution)) * time_resolution

    The size of the blocks and the computing time of the network come on top. Memory does not grow with time: it holds a
    segment, the frames that the median filter waits for, and one open event per label.

    Args:
        detector: Detector of a model that detects events.
        threshold: see Detector.detect.
        labels: see Detector.detect.
        postprocessing: median_frames, min_duration and max_gap of events.posteriors_to_events.

    Attributes:
        latency: seconds.

    Raises:
        InputError: an argument that Detector.detect refuses.

    Example:
        >>> stream = EventStream(detector, threshold=0.7)
        >>> events = [*stream.feed(waveform[:8000]), *stream.feed(waveform[8000:]), *stream.close()]
    """

    def __init__(self, detector, *, threshold=None, labels=None, **postprocessing):
        # Detecting in no samples checks the arguments.
        detector.detect(np.zeros(0, np.float32), threshold=threshold, labels=labels, **postprocessing)
        self._posteriors = PosteriorStream(detector)
        self._tracker = _EventTracker(detector.labels, detector.time_resolution, threshold, **postprocessing)
        self._labels = labels or detector.labels
        self.latency = self._posteriors.latency + self._tracker.latency

    def feed(self, samples):
        """Take more audio and return the events that have closed.

        Args:
            samples: float (samples,) from -1 to 1 at the rate of the model, any number of them.

        Returns:
            Sorted list of Event(onset, offset, event_label, confidence), in seconds since the first sample.

        Raises:
            InputError: samples of another shape or type, NaN or infinity; the stream was closed.
        """
        return self._wanted(self._tracker.follow(*self._posteriors.feed(samples)))

    def close(self):
        """End the audio and return the remaining events as feed does; open events end here."""
        return self._wanted(self._tracker.follow(*self._posteriors.close(), last=True))

    def _wanted(self, events):
        return sorted(event for event in events if event.event_label in self._labels)


class PosteriorStream:
    """Compute the posteriors of Detector.posteriors for audio that arrives in blocks, segment by segment.

    A segment is computed once its samples and those that its last frame reaches into have arrived. `latency` is in
    seconds.
    """

    def __init__(self, detector):
        self._detector = detector
        self._segment_outputs = detector.segment_samples // detector.samples_per_output
        self._blocks, self._waiting = [], 0
        self._nothing = detector.posteriors(np.zeros(0, np.float32))
        self.latency = (detector.segment_samples + detector.context_samples) / detector.sample_rate

    def feed(self, samples):
        """Take more audio; return posteriors and activity, both (frames, labels), of segments that are now whole."""
        samples = self._checked(samples)
        self._blocks.append(samples.copy())  # The caller may use its buffer again.
        self._waiting += len(samples)
        segments = (self._waiting - self._detector.context_samples) // self._detector.segment_samples
        if segments < 1:
            return self._nothing
        waveform, done = np.concatenate(self._blocks), segments * self._detector.segment_samples
        parts = self._detector.posteriors(waveform[:done + self._detector.context_samples])
        self._blocks, self._waiting = [waveform[done:].copy()], len(waveform) - done
        return tuple(part[:segments * self._segment_outputs] for part in parts)

    def close(self):
        """End the audio and return the remaining frames as feed does."""
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


class _EventTracker:
    """The rule of events.posteriors_to_events for posteriors that arrive in parts.

    Per label it keeps one open event: the onset and offset in frames, and the sums of the posteriors before both, from
    which the confidence follows. An active label's event reaches to the last frame so far; the next run continues it.
    """

    def __init__(self, labels, time_resolution, threshold=None, *, median_frames=1, min_duration=0.0, max_gap=0.0):
        self._labels, self._time_resolution, self._threshold = labels, time_resolution, threshold
        self._median_frames, self._min_duration, self._max_gap = median_frames, min_duration, max_gap
        self.latency = (median_frames // 2 + float(np.floor((max_gap + PRECISION) / time_resolution))) * time_resolution
        self._activity = np.zeros((0, len(labels)), bool)  # Half a filter of settled frames, and the unsettled ones.
        self._settled = 0  # How many of them are settled.
        self._posteriors = np.zeros((0, len(labels)), np.float32)  # Those of the unsettled frames.
        self._frame, self._sums, self._open = 0, np.zeros(len(labels)), {}

    def follow(self, posteriors, activity, last=False):
        """Take the next frames and return the events that have closed, of all labels."""
        if self._threshold is not None:
            activity = posteriors >= np.asarray(self._threshold, np.float32)
        event_roll = self._filter(activity > 0, last)
        posteriors = np.concatenate([self._posteriors, posteriors])
        self._posteriors = posteriors[len(event_roll):]
        sums = np.cumsum(np.concatenate([self._sums[None], posteriors[:len(event_roll)]]), axis=0)  # Before each frame.
        closed = []
        for column, begin, end in np.transpose(active_runs(event_roll)).tolist():
            closed += self._close(column, self._frame + begin)
            onset = self._open.get(column, (self._frame + begin, sums[begin, column]))[:2]
            self._open[column] = *onset, self._frame + end, sums[end, column]
        self._frame, self._sums = self._frame + len(event_roll), sums[-1]
        for column in list(self._open):
            closed += self._close(column, None if last else self._frame)
        return closed

    def _filter(self, activity, last):
        """Return the filtered frames whose neighbours are known; the filter itself repeats the first and last frame."""
        frames, half = np.concatenate([self._activity, activity]), self._median_frames // 2
        settled = len(frames) if last else max(self._settled, len(frames) - half)
        event_roll = median_filter(frames, self._median_frames)[self._settled:settled]
        kept = max(0, settled - half)
        self._activity, self._settled = frames[kept:], settled - kept
        return event_roll

    def _close(self, column, frame):
        """Close a label's event if an event from `frame` on would be another, or if `frame` is None.

        Returns:
            list of the event, empty if none has closed or it is too short.
        """
        if column not in self._open:
            return []
        onset, sum_at_onset, offset, sum_at_offset = self._open[column]
        begin, end = onset * self._time_resolution, offset * self._time_resolution
        if frame is not None and frame * self._time_resolution <= end + self._max_gap + PRECISION:
            return []
        del self._open[column]
        if end - begin < self._min_duration - PRECISION:
            return []
        return [Event(begin, end, self._labels[column], float((sum_at_offset - sum_at_onset) / (offset - onset)))]
