"""Seeded polyphonic mixtures from a soundbank, made as TUT-SED Synthetic 2016 was.

Per mixture 4 to 9 labels are drawn; each has a track of its own: a silence, a random piece of a random recording, a
silence, a piece, and so on (E. Cakir et al., IEEE/ACM TASLP 25(6), 2017). The tracks are summed; events are annotated
by signal energy (`activity.active_spans`). The default silences give recordings of 5 s about 12 % of the frames without
an event, 29 % with one, 30 % with two, 29 % with more, and a highest polyphony of 6 to 8; longer recordings overlap more.

What is drawn (`draw_mixture`) is apart from how it sounds (`render_mixture`, a function of the drawn pieces and the
recordings alone).
"""
import collections
import dataclasses

import numpy as np
import pandas as pd
import soundfile

from polysed_keras.datasets import PARTITIONS
from polysed_keras.datasets.activity import active_spans, measure_soundbank
from polysed_keras.datasets.soundbank import recording_reader
from polysed_keras.datasets.statistics import count_recording, summarize
from polysed_keras.datasets.tut_sed_synthetic_2016 import ANNOTATION_NAME, MIXTURE_NAME, write_file_lists
from polysed_keras.errors import InputError
from polysed_keras.events import merge_events, write_events
from polysed_keras.files import atomic_directory, write_json

_WRITTEN_ORDER = ("test", "validate", "train")  # the corpus numbers its mixtures so


@dataclasses.dataclass(frozen=True)
class SoundscapeSpec:
    """How mixtures are made. Pairs are the ends of uniform distributions.

    Silence before and after the sound of a recording is cut away (ESC-50 fills its clips up with it), and the RMS of its
    loudest 400 ms (the window of momentary loudness) is brought to `level_dbfs` before the random gain, because
    recordings differ by far more than sounds of one place do. A recording whose loudest 20 ms are below `floor_dbfs`
    counts as silent.
    `threshold_db`, `floor_dbfs`, `bridge_seconds` and `burst_seconds` are the annotation's (`activity.active_spans`).
    """
    sample_rate: int = 44100
    bit_depth: int = 16
    duration_seconds: float = 340.0
    labels_per_mixture: tuple[int, int] = (4, 9)
    piece_seconds: tuple[float, float] = (3.0, 15.0)
    silence_seconds: tuple[float, float] = (1.0, 15.0)
    level_dbfs: float = -26.0
    gain_db: tuple[float, float] = (-10.0, 0.0)
    fade_seconds: float = 0.005
    threshold_db: float = 20.0
    floor_dbfs: float = -70.0
    bridge_seconds: float = 0.5
    burst_seconds: float = 0.04

    def __post_init__(self):
        """Raises InputError for values that no mixture can be made with."""
        for name in ("sample_rate", "duration_seconds", "threshold_db"):
            _expect(getattr(self, name) > 0, name, "a number above 0", self)
        _expect(self.bit_depth in (16, 24, 32), "bit_depth", "16, 24 or 32", self)
        least = {"labels_per_mixture": 1, "piece_seconds": 0.1, "silence_seconds": 0.0, "gain_db": -120.0}
        for name, low in least.items():
            value = tuple(getattr(self, name))
            object.__setattr__(self, name, value)  # a list, as JSON has it, becomes the same spec
            _expect(len(value) == 2 and low <= value[0] <= value[1], name, f"two numbers, {low:g} <= low <= high", self)


def _expect(condition, name, expected, spec):
    if not condition:
        raise InputError(f"{name}: expected {expected}. Received: {getattr(spec, name)}.")


@dataclasses.dataclass(frozen=True)
class Piece:
    """A cut of a recording in a mixture: seconds, and the gain applied to the recording's samples.

    `recording` is relative to the soundbank; `recording_dbfs` is the level of its loudest 20 ms, which the annotation
    refers to.
    """
    event_label: str
    recording: str
    recording_dbfs: float
    start: float
    duration: float
    onset: float
    gain_db: float


def draw_mixture(rng, soundbank, spec):
    """Draw the pieces of one mixture.

    Args:
        rng: numpy Generator.
        soundbank: a Soundbank whose instances are measured (`measure_soundbank`).
        spec: SoundscapeSpec.

    Returns:
        list of Piece; those of a label follow each other in time.
    """
    by_label = collections.defaultdict(list)
    for instance in soundbank.instances:
        by_label[instance.event_label].append(instance)
    fewest, most = (min(number, len(by_label)) for number in spec.labels_per_mixture)
    labels = rng.choice(sorted(by_label), size=rng.integers(fewest, most + 1), replace=False)
    return [piece for label in labels for piece in _draw_track(rng, by_label[label], soundbank.folder, spec)]


def _draw_track(rng, instances, folder, spec):
    # A silence first: otherwise all tracks of a mixture would begin together.
    track, onset = [], rng.uniform(0, spec.silence_seconds[1])
    while onset + spec.fade_seconds < spec.duration_seconds:
        instance = instances[rng.integers(len(instances))]
        duration = min(instance.duration, rng.uniform(*spec.piece_seconds))
        start = instance.onset + rng.uniform(0, instance.duration - duration)
        gain_db = spec.level_dbfs - instance.level_dbfs + rng.uniform(*spec.gain_db)
        recording = instance.path.relative_to(folder).as_posix()
        track.append(Piece(instance.event_label, recording, instance.loudest_dbfs, start,
                           min(duration, spec.duration_seconds - onset), onset, gain_db))
        onset += duration + rng.uniform(*spec.silence_seconds)
    return track


def render_mixture(pieces, read, spec):
    """Render drawn pieces.

    Args:
        pieces: list of Piece.
        read: function of Piece.recording that returns float32 (samples,) at spec.sample_rate.
        spec: SoundscapeSpec.

    Returns:
        waveform: float32 (samples,); lowered as a whole where the sum would clip, so pieces keep their relation.
        events: DataFrame of onset, offset (seconds), event_label.
    """
    waveform = np.zeros(round(spec.duration_seconds * spec.sample_rate), np.float32)
    rows = []
    for piece in pieces:
        start, length, onset = (round(seconds * spec.sample_rate)
                                for seconds in (piece.start, piece.duration, piece.onset))
        cut = read(piece.recording)[start:start + length][:len(waveform) - onset]
        waveform[onset:onset + len(cut)] += _fade_edges(cut, spec) * np.float32(10 ** (piece.gain_db / 20))
        rows += [(onset / spec.sample_rate + begin, onset / spec.sample_rate + end, piece.event_label)
                 for begin, end in active_spans(cut, piece.recording_dbfs, spec)]
    peak = float(np.max(np.abs(waveform), initial=0.0))
    if peak > 0.999:
        waveform *= np.float32(0.999 / peak)
    # Six decimals are what an event list file holds: what is returned is what will be read.
    return waveform, merge_events(pd.DataFrame(rows, columns=["onset", "offset", "event_label"]).round(6))


def _fade_edges(cut, spec):
    length = min(round(spec.fade_seconds * spec.sample_rate), len(cut) // 2)
    ramp = np.linspace(0, 1, length, endpoint=False, dtype=np.float32)
    faded = cut.copy()
    faded[:length] *= ramp
    faded[len(cut) - length:] *= ramp[::-1]
    return faded


def synthesize(partitions, out, spec=SoundscapeSpec(), mixtures=(60, 20, 20), seed=0, progress=None):
    """Write a corpus of mixtures in the layout of TUT-SED Synthetic 2016, with soundscapes.json and statistics.json.

    Mixture i of a partition depends on the seed, the partition and i alone, not on how many are asked for.

    Args:
        partitions: dict of "train", "validate", "test" to Soundbank (`soundbank.partition_soundbank`).
        out: the new folder; it appears when all is done.
        spec: SoundscapeSpec.
        mixtures: numbers of mixtures for train, validate and test.
        seed: int, 0 or above.
        progress: None or a function of (mixtures done, mixtures in all).

    Returns:
        dict of partition to its statistics (`statistics.summarize`).

    Raises:
        InputError: a partition that shall have mixtures has no instances, recordings are not usable, `out` is not empty
            or cannot be written.
    """
    numbers = dict(zip(PARTITIONS, mixtures))
    _check_request(partitions, mixtures, seed)
    with atomic_directory(out) as folder:
        read = recording_reader(partitions["train"].folder, spec.sample_rate)
        banks = {name: measure_soundbank(partitions[name], read, spec) for name in PARTITIONS if numbers[name]}
        labels = partitions["train"].labels
        mixtures = _write_mixtures(folder, banks, numbers, read, spec, seed, progress)
        stems = {name: [mixture["name"] for mixture in drawn] for name, drawn in mixtures.items()}
        write_file_lists(folder, stems, labels)
        statistics = {name: summarize([mixture.pop("counts") for mixture in drawn], labels)
                      for name, drawn in mixtures.items()}
        write_json({"seed": seed, "spec": dataclasses.asdict(spec), "mixtures": mixtures}, folder / "soundscapes.json")
        write_json(statistics, folder / "statistics.json")
    return statistics


def _check_request(partitions, mixtures, seed):
    if len(mixtures) != 3 or min(mixtures) < 0 or not sum(mixtures):
        raise InputError("mixtures: expected three numbers (train, validate, test), not all 0. "
                         f"Received: {tuple(mixtures)}.")
    if seed < 0:
        raise InputError(f"seed: expected 0 or a positive integer. Received: {seed}.")
    for name, number in zip(PARTITIONS, mixtures):
        if number and not partitions[name].instances:
            raise InputError(f"{partitions[name].folder}: no recordings for the {name} partition. Add sources (three "
                             "of a label fill every partition), or ask for 0 mixtures of it.")


def _write_mixtures(folder, banks, numbers, read, spec, seed, progress):
    for part in ("audio", "meta"):
        (folder / part).mkdir()
    mixtures, done = {name: [] for name in banks}, 0
    for name in (name for name in _WRITTEN_ORDER if name in banks):
        for index in range(numbers[name]):
            rng = np.random.default_rng(np.random.SeedSequence((seed, PARTITIONS.index(name), index)))
            pieces = draw_mixture(rng, banks[name], spec)
            counts = _write_mixture(folder, done, render_mixture(pieces, read, spec), banks[name].labels, spec)
            mixtures[name].append({"name": MIXTURE_NAME.format(done), "counts": counts,
                                   "pieces": [dataclasses.asdict(piece) for piece in pieces]})
            done += 1
            if progress:
                progress(done, sum(numbers.values()))
    return mixtures


def _write_mixture(folder, number, mixture, labels, spec):
    waveform, events = mixture
    audio = folder / "audio" / f"{MIXTURE_NAME.format(number)}.wav"
    soundfile.write(audio, waveform, spec.sample_rate, f"PCM_{spec.bit_depth}")
    write_events(events, folder / "meta" / f"{ANNOTATION_NAME.format(number)}.txt")
    return count_recording(events, labels, spec.duration_seconds)
