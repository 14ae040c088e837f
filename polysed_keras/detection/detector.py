"""Posteriors and events of audio of any length, in whole segments, because channel attention pools over time."""
import collections
import pathlib
import types
import typing

import numpy as np

from polysed_keras.audio import audio_blocks, check_waveform
from polysed_keras.errors import InputError, expect, expect_known
from polysed_keras.events import calibrated_rule, clip_events, find_events, posteriors_to_tags

SEGMENTS_PER_BLOCK = 16  # The network is given at most so many at a time.


class Card(typing.TypedDict, total=False):
    """The description of an export in card.json and in its graph."""

    name: str
    version: int
    labels: list[str]
    sample_rate: int
    hop_length: int
    win_length: int
    segment_frames: int
    time_resolution: float
    experiment: dict
    calibration: dict


class Detector:
    """A loaded model that turns files and waveforms into posteriors, events or tags; made by load_detector.

    Args:
        serve: function from a waveform (1, samples) to {"posteriors", "activity"}, both (1, outputs, labels).
        description: dict that travels in the model, with the experiment as plain dicts.
        each: `map`, or a function like it that works on several waveforms at a time.

    Attributes:
        labels: tuple of str, the labels of all tasks.
        sample_rate: Hz.
        time_resolution: seconds per output, which is a frame or a whole clip.
        clip_level: whether the model labels clips; otherwise it detects events, and has `detect` beside `tag`.
        segment_samples: samples per segment.
        samples_per_output: samples per output.
        context_samples: samples after a segment that its last frame reaches into.
        description: as given.
        progress: function that is called with the seconds of audio that were detected in so far, after each block, to
            show how far a long recording is; None for none.

    Example:
        >>> detector = load_detector("saved_models/mine")
        >>> events = detector.detect("street.wav", threshold=0.7)
    """

    def __init__(self, serve, description, each=map):
        self._serve, self._each = serve, each
        self.description, self.progress = description, None
        self.labels = tuple(description["labels"])
        self.sample_rate = description["sample_rate"]
        self.time_resolution = description["time_resolution"]
        # The experiment stays plain dicts: an Experiment would need the plug-ins that the model was trained with.
        # An output per segment, not per frame, tells models of clips, whatever their head is called.
        self.clip_level = description["segment_frames"] > 1 and (
            round(self.time_resolution * self.sample_rate) == description["segment_frames"] * description["hop_length"])
        self.samples_per_output = round(self.time_resolution * self.sample_rate)
        self.context_samples = description["win_length"] - description["hop_length"]
        self.segment_samples = description["segment_frames"] * description["hop_length"]

    @property
    def tasks(self):
        """The tasks of the model: tuple of objects with name, labels and encoding."""
        return tuple(types.SimpleNamespace(**task | {"labels": tuple(task["labels"])})
                     for task in self.description["experiment"]["tasks"])

    def posteriors(self, audio, sample_rate=None, segments_per_block=SEGMENTS_PER_BLOCK):
        """Compute the posteriors and activity of a file or waveform, in bounded memory.

        Args:
            audio: path of an audio file, or a mono waveform at the sample rate of the model: floats (samples,) from -1
                to 1. Integers are refused, because their type does not say what their full scale is (samples of 24 bits
                stand in int32, those of 8 bits are centred at 128); divide those of 16 bits by 32768.
            sample_rate: rate of the waveform in Hz; an error if it is not that of the model.
            segments_per_block: segments that the network is given at a time.

        Returns:
            posteriors float32 and activity uint8, both (frames, labels), or (clips, labels) if the model labels clips.

        Raises:
            InputError: the audio is unreadable; or a waveform is not (samples,), no floats from -1 to 1, not finite or
                of another rate.
        """
        return self._listen(audio, sample_rate, segments_per_block)[:2]

    def _listen(self, audio, sample_rate, segments_per_block=SEGMENTS_PER_BLOCK):
        """Return what `posteriors` returns, and the seconds of the audio."""
        blocks = _Counted(self._waveform_blocks(audio, sample_rate))
        nothing = np.zeros((0, len(self.labels)), np.float32), np.zeros((0, len(self.labels)), np.uint8)
        parts = list(self._parts(blocks, segments_per_block)) or [nothing]
        return *(np.concatenate(part) for part in zip(*parts)), blocks.num_samples / self.sample_rate

    def _parts(self, blocks, segments_per_block=SEGMENTS_PER_BLOCK):
        """Yield (posteriors, activity) of the audio in blocks, part by part."""
        num_outputs, heard = collections.deque(), 0

        def waveforms():
            for waveform, number in self._cut(blocks, segments_per_block):
                num_outputs.append(number)
                yield waveform[None]

        for outputs in self._each(self._serve, waveforms()):
            number = num_outputs.popleft()
            heard += number
            if self.progress is not None:
                self.progress(heard * self.time_resolution)
            yield tuple(np.asarray(outputs[name])[0, :number] for name in ("posteriors", "activity"))

    def detect(self, audio, *, sample_rate=None, threshold=None, alarms_per_hour=None, labels=None, **postprocessing):
        """Detect events in a file or waveform of any length, in bounded memory.

        Args:
            audio: see posteriors.
            sample_rate: see posteriors.
            threshold: number or one number per label that the confidence of an event must reach, which is then a peak
                of the label's posterior; None for the model's own: the thresholds of its calibration, or without one
                the runs of the decoded activity (0.5 per label for `multi_label`, the likeliest combination for
                `powerset`).
            alarms_per_hour: number of false events per hour whose thresholds are taken, of a model with a calibration;
                None for the number that it was calibrated for.
            labels: the labels wanted; None for all.
            postprocessing: median_frames, min_duration, max_gap, edge and step_filter of events.event_finders;
                posteriors_to_events says what an event is.

        Returns:
            DataFrame with columns onset, offset (seconds), event_label, confidence (the mean posterior). An event whose
            last frame reaches beyond the end of the audio ends with the audio.

        Raises:
            InputError: see posteriors; or unknown labels, or the model labels clips, or has no such calibration.
        """
        if self.clip_level:
            raise InputError("detect: expected a model that detects events. Received one that labels clips. Use tag.")
        self._check_labels(labels)
        rule = self.event_rule(threshold, alarms_per_hour, **postprocessing)
        blocks = _Counted(self._waveform_blocks(audio, sample_rate))
        searched = 0 if "threshold" in rule else 1  # posteriors, or activity
        parts = ((part[0], part[searched]) for part in self._parts(blocks))
        events = find_events(parts, self.labels, self.time_resolution, **{"threshold": 0.0} | rule)
        events = clip_events(events, blocks.num_samples / self.sample_rate)
        return events[events.event_label.isin(labels)].reset_index(drop=True) if labels else events

    def event_rule(self, threshold=None, alarms_per_hour=None, **postprocessing):
        """Return the arguments of events.posteriors_to_events that `detect` uses; without threshold, it uses activity.

        Arguments and errors are those of `detect`. What is given goes before the calibration.
        """
        calibration = self.description.get("calibration") or {}
        given = postprocessing | ({} if threshold is None else {"threshold": threshold})
        if alarms_per_hour is not None:
            expect(threshold is None, "alarms_per_hour", "no threshold beside it", alarms_per_hour)
            expect(calibration, "alarms_per_hour", "a model with a calibration (polysed calibrate)", alarms_per_hour)
        if not calibration:
            return given
        kept = sorted(map(float, calibration["thresholds"]))
        wanted = float(calibration["alarms_per_hour"] if alarms_per_hour is None else alarms_per_hour)
        expect(wanted >= kept[0], "alarms_per_hour", f"at least {kept[0]:g}, the lowest that the model was calibrated "
               "for", wanted, "polysed calibrate takes others.")
        number = max(each for each in kept if each <= wanted)  # keeps the promise
        return calibrated_rule(calibration, f"{number:g}", self.labels) | given

    def tag(self, audio, *, sample_rate=None, threshold=0.5, labels=None):
        """Label each clip of a file or waveform with its scene and its events.

        For a model that labels clips, a clip is as long as in the training. The network hears the last one filled up
        with silence; its offset is the end of the audio.
        For a model that detects events, the whole recording is one clip, with the mean of the posteriors over time.

        Args:
            audio: see posteriors.
            sample_rate: see posteriors.
            threshold: number that the posteriors of events must reach.
            labels: the events wanted; None for all.

        Returns:
            DataFrame of events.posteriors_to_tags with one row per clip; without audio there is no row.

        Raises:
            InputError: see posteriors; or unknown labels.
        """
        self._check_labels(labels)
        posteriors, _, seconds = self._listen(audio, sample_rate)
        clip_seconds = self.time_resolution
        if not self.clip_level and len(posteriors):
            clip_seconds *= len(posteriors)
            posteriors = posteriors.mean(axis=0, dtype=float, keepdims=True)
        return clip_events(posteriors_to_tags(posteriors, self.tasks, clip_seconds, threshold, labels), seconds)

    def _check_labels(self, labels):
        expect_known(labels or (), self.labels, "labels", expected="some of {}")

    def _waveform_blocks(self, audio, sample_rate):
        if isinstance(audio, (str, pathlib.Path)):
            return audio_blocks(audio, self.sample_rate)
        waveform = check_waveform(audio)
        expect(sample_rate in (None, self.sample_rate), "sample_rate", f"{self.sample_rate} Hz", sample_rate,
               "Resample first.")
        return [waveform]

    def _cut(self, blocks, segments_per_block):
        """Yield waveforms of whole segments and the context of their last frame, and the number of their outputs."""
        step = segments_per_block * self.segment_samples
        pending = np.zeros(0, np.float32)
        for block in blocks:
            pending = np.concatenate([pending, block])
            while len(pending) >= step + self.context_samples:
                yield pending[:step + self.context_samples], step // self.samples_per_output
                pending = pending[step:]
        if len(pending):
            yield pending, -(-len(pending) // self.samples_per_output)


class _Counted:
    """Blocks of samples whose number is known when they have been taken."""

    def __init__(self, blocks):
        self._blocks, self.num_samples = blocks, 0

    def __iter__(self):
        for block in self._blocks:
            self.num_samples += len(block)
            yield block
