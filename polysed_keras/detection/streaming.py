"""Events of audio that arrives block by block: the same events as of the whole recording, each soon after its end."""
import collections

import numpy as np

from polysed_keras.audio import check_waveform
from polysed_keras.errors import InputError
from polysed_keras.events import COLUMNS, closed_events, event_finders

Event = collections.namedtuple("Event", [*COLUMNS, "confidence"])  # Onset and offset are seconds.


class EventStream:
    """Detect events in audio that arrives in blocks of any size and for any time, as Detector.detect does in a whole.

    An event has closed when nothing that follows can change it. This happens at most `latency` seconds of audio after
    its offset: a segment, the reach of the window beyond it, half the median filter, the gap that is merged over, and
    half the step filter, in whole frames::

        (segment_frames * hop_length + win_length - hop_length) / sample_rate
        + (median_frames // 2 + floor(max_gap / time_resolution)) * time_resolution + step_filter / 2

    With a step filter it counts from when the posterior has sunk below `edge` of the event's height.

    The size of the blocks and the computing time of the network come on top. Memory does not grow with time while
    events end: per label it holds the frames since its posterior was lowest after its last event, and those that the
    filters and the gap wait for. A label whose posterior never falls below `edge` of its height keeps its frames
    until it does: 1.4 MB per hour at 20 ms per frame.

    Args:
        detector: Detector of a model that detects events.
        threshold: see Detector.detect.
        alarms_per_hour: see Detector.detect.
        labels: see Detector.detect.
        postprocessing: median_frames, min_duration, max_gap, edge and step_filter of events.event_finders.

    Attributes:
        latency: seconds, of the label that waits longest.

    Raises:
        InputError: an argument that Detector.detect refuses.

    Example:
        >>> stream = EventStream(detector, threshold=0.7)
        >>> events = [*stream.feed(waveform[:8000]), *stream.feed(waveform[8000:]), *stream.close()]
    """

    def __init__(self, detector, *, threshold=None, alarms_per_hour=None, labels=None, **postprocessing):
        rule = detector.event_rule(threshold, alarms_per_hour, **postprocessing)
        # Detecting in no samples checks the arguments.
        detector.detect(np.zeros(0, np.float32), labels=labels, **rule)
        self._posteriors, self._time_resolution = PosteriorStream(detector), detector.time_resolution
        self._decoded = "threshold" not in rule
        finders = event_finders(detector.labels, detector.time_resolution, **{"threshold": 0.0} | rule)
        self._finders = [(column, label, finder) for column, (label, finder) in enumerate(zip(detector.labels, finders))
                         if label in (labels or detector.labels)]
        reach = max(finder.reach for *_, finder in self._finders)
        self.latency = self._posteriors.latency + reach * detector.time_resolution

    def feed(self, samples):
        """Take more audio and return the events that have closed.

        Args:
            samples: float (samples,) from -1 to 1 at the rate of the model, any number of them.

        Returns:
            Sorted list of Event(onset, offset, event_label, confidence), in seconds since the first sample.

        Raises:
            InputError: samples of another shape or type, NaN or infinity; the stream was closed.
        """
        return self._follow(*self._posteriors.feed(samples))

    def close(self):
        """End the audio and return the remaining events as feed does; open events end with the audio."""
        return self._follow(*self._posteriors.close(), last=True)

    def _follow(self, posteriors, activity, last=False):
        values, end = activity if self._decoded else posteriors, self._posteriors.seconds
        return sorted(Event(onset, min(offset, end), label, confidence) for onset, offset, label, confidence
                      in closed_events(self._finders, self._time_resolution, posteriors, values, last))


class PosteriorStream:
    """Compute the posteriors of Detector.posteriors for audio that arrives in blocks, segment by segment.

    A segment is computed once its samples and those that its last frame reaches into have arrived.

    Attributes:
        latency: seconds.
    """

    def __init__(self, detector):
        self._detector = detector
        self._segment_outputs = detector.segment_samples // detector.samples_per_output
        self._blocks, self._waiting, self._num_samples = [], 0, 0
        self._nothing = detector.posteriors(np.zeros(0, np.float32))
        self.latency = (detector.segment_samples + detector.context_samples) / detector.sample_rate

    @property
    def seconds(self):
        """Seconds of audio that have arrived."""
        return self._num_samples / self._detector.sample_rate

    def feed(self, samples):
        """Take more audio; return posteriors and activity, both (frames, labels), of segments that are now whole."""
        samples = self._checked(samples)
        self._blocks.append(samples.copy())  # The caller may use its buffer again.
        self._waiting, self._num_samples = self._waiting + len(samples), self._num_samples + len(samples)
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
        return check_waveform(samples, "samples")
