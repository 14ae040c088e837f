"""Posteriors and events for audio of any length: always whole segments, because channel attention pools over time."""
import collections
import logging
import pathlib

import numpy as np

from polysed_keras.audio import audio_blocks
from polysed_keras.errors import InputError
from polysed_keras.events import posteriors_to_events, posteriors_to_tags
from polysed_keras.specs import Experiment

logger = logging.getLogger(__name__)

SEGMENTS_PER_BLOCK = 16  # of what the network is given at a time


class Detector:
    """A loaded SavedModel: waveforms, files and streams in; posteriors and events out.

    Attributes:
        labels: tuple of event labels.
        sample_rate: Hz.
        time_resolution: seconds an output: a frame, or a whole clip.
        tasks: tuple of Task, whose labels `labels` joins.
        clip_level: whether it labels clips: `tag` is for these, `detect` for the others.
        segment_samples, context_samples: a segment's, and those after it that its last frame reaches into.
        description: the dict that travels in the model, with the whole Experiment.
    """

    def __init__(self, serve, description, each=map):
        """serve: {"posteriors", "activity"} (1, outputs, labels) of a waveform (1, samples).
        each: `map`, or what does as it does and has several waveforms under way."""
        self._serve, self._each = serve, each
        self.description = description
        self.labels = tuple(description["labels"])
        self.sample_rate = description["sample_rate"]
        self.time_resolution = description["time_resolution"]
        experiment = Experiment.from_dict(description["experiment"])
        self.tasks, self.clip_level = experiment.tasks, experiment.clip_level
        self._samples_per_output = round(self.time_resolution * self.sample_rate)
        self.context_samples = description["win_length"] - description["hop_length"]
        self.segment_samples = description["segment_frames"] * description["hop_length"]

    def posteriors(self, audio, sample_rate=None, segments_per_block=SEGMENTS_PER_BLOCK):
        """Posteriors and activity of a file or waveform, in bounded memory: blocks of whole segments and the samples
        of right context that their last frame reaches into.

        Args:
            audio: path of an audio file, or a mono waveform (samples,) at the model's sample rate.
            sample_rate: of the waveform, Hz; other than the model's is an error.

        Returns:
            posteriors float32 (frames, labels), activity uint8 (frames, labels); of a model that labels clips (clips, labels).

        Raises:
            InputError: unreadable audio, a waveform that is not (samples,), not finite, or of another rate.
        """
        blocks, num_outputs = self._waveform_blocks(audio, sample_rate), collections.deque()

        def waveforms():
            for waveform, number in self._cut(blocks, segments_per_block):
                num_outputs.append(number)
                yield waveform[None]

        parts = [self._joinable(outputs, num_outputs.popleft()) for outputs in self._each(self._serve, waveforms())]
        if not parts:
            parts = [(np.zeros((0, len(self.labels)), np.float32), np.zeros((0, len(self.labels)), np.uint8))]
        return tuple(np.concatenate(part) for part in zip(*parts))

    def detect(self, audio, *, sample_rate=None, threshold=None, labels=None, **postprocessing):
        """Detect the events of a file or waveform.

        Args:
            audio, sample_rate: as of posteriors.
            threshold: of the label posteriors; None takes the decoded activity (0.5 per label for `multi_label`, the
                likeliest combination for a powerset).
            labels: the labels wanted; None for all.
            postprocessing: as in events.posteriors_to_events.

        Returns:
            DataFrame onset, offset (seconds), event_label, confidence.

        Raises:
            InputError: as posteriors; unknown labels; a model that labels clips.
        """
        if self.clip_level:
            raise InputError("detect: expected a model that detects events. Received one that labels clips. Use tag.")
        self._check_labels(labels)
        posteriors, activity = self.posteriors(audio, sample_rate)
        events = posteriors_to_events(posteriors, self.labels, self.time_resolution,
                                      activity=activity if threshold is None else None,
                                      threshold=0.5 if threshold is None else threshold, **postprocessing)
        return events[events.event_label.isin(labels)].reset_index(drop=True) if labels else events

    def tag(self, audio, *, sample_rate=None, threshold=0.5, labels=None):
        """Label the clips of a file or waveform: its scene and its events, each 10 s (or what the model was trained on).

        Args:
            audio, sample_rate: as of posteriors.
            threshold: of the posteriors of events.
            labels: the events wanted; None for all.

        Returns:
            DataFrame as events.posteriors_to_tags, a line a clip; the last one is filled up with silence.

        Raises:
            InputError: as posteriors; unknown labels; a model that detects events.
        """
        if not self.clip_level:
            raise InputError("tag: expected a model that labels clips. Received one that detects events. Use detect.")
        self._check_labels(labels)
        posteriors, _ = self.posteriors(audio, sample_rate)
        return posteriors_to_tags(posteriors, self.tasks, self.time_resolution, threshold, labels)

    def _check_labels(self, labels):
        unknown = sorted(set(labels or ()) - set(self.labels))
        if unknown:
            raise InputError(f"labels: expected some of {list(self.labels)}. Received: {unknown}.")

    def _waveform_blocks(self, audio, sample_rate):
        if isinstance(audio, (str, pathlib.Path)):
            return audio_blocks(audio, self.sample_rate)
        waveform = np.asarray(audio, np.float32)
        if waveform.ndim != 1 or not np.isfinite(waveform).all():
            raise InputError(f"waveform: expected finite samples of shape (samples,). Received: shape {waveform.shape}"
                             f"{'' if np.isfinite(waveform).all() else ' with NaN or infinity'}.")
        if sample_rate not in (None, self.sample_rate):
            raise InputError(f"sample_rate: expected {self.sample_rate} Hz. Received: {sample_rate}. Resample first.")
        return [waveform]

    def _cut(self, blocks, segments_per_block):
        step = segments_per_block * self.segment_samples
        pending = np.zeros(0, np.float32)
        for block in blocks:
            pending = np.concatenate([pending, block])
            while len(pending) >= step + self.context_samples:
                yield pending[:step + self.context_samples], step // self._samples_per_output
                pending = pending[step:]
        if len(pending):
            yield pending, -(-len(pending) // self._samples_per_output)

    @staticmethod
    def _joinable(outputs, number):
        return tuple(np.asarray(outputs[name])[0, :number] for name in ("posteriors", "activity"))
