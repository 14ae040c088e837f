"""Seeded polyphonic mixtures from a soundbank: what is drawn. `rendering` says how it sounds, `corpora` writes it.

The defaults make mixtures as TUT-SED Synthetic 2016 was made. Per mixture 4 to 9 labels are drawn; each has a track of
its own: a silence, a random piece of a random recording, a silence, a piece, and so on (E. Cakir et al., IEEE/ACM TASLP
25(6), 2017). The tracks are summed; events are annotated by signal energy (`synthesis.active_spans`). The default
silences give recordings of 5 s about 12 % of the frames without an event, 29 % with one, 30 % with two, 29 % with more,
and a highest polyphony of 6 to 8; longer recordings overlap more.
"""
import collections
import copy
import dataclasses
import functools

import numpy as np

from polysed_keras.errors import InputError
from polysed_keras.synthesis.acoustics import COLOURS, Room

SPEEDS = 5  # speeds of a recording: a few are kept in memory, others each time anew would cost more than to mix them
STRETCHES = (-8.0, 6.0)  # powers of 2 that silences may be stretched by, for a mean polyphony


@dataclasses.dataclass(frozen=True)
class SoundscapeSpec:
    """How mixtures are made. Pairs are the ends of uniform distributions; "" and () leave out what they are for.

    Silence before and after the sound of a recording is cut away (ESC-50 fills its clips up with it), and the RMS of its
    loudest 400 ms (the window of momentary loudness) is brought to `level_dbfs` before the random gain, because
    recordings differ by far more than sounds of one place do. A recording whose loudest 20 ms are below `floor_dbfs`
    counts as silent. `threshold_db`, `floor_dbfs`, `bridge_seconds` and `burst_seconds` are the annotation's
    (`synthesis.active_spans`). The fields below are not in the paper's recipe.

    Attributes:
        background: white, pink or brown noise, or a folder of recordings, at an RMS of `background_dbfs`.
        event_to_background_db: level of a piece's loudest 400 ms over the background, in place of `level_dbfs` and
            `gain_db`.
        rt60_seconds: reverberation time of simulated rooms, one a mixture with a place for every track;
            impulse_responses: a folder of recorded ones instead, where a folder in it is a room.
        speed: every piece is played slower or faster, and so lower or higher, by one of SPEEDS factors from the one given
            to the other.
        gain_change_db: by how much a piece's gain moves from its beginning to its end.
        distractors: a folder of sounds without a label, in `distractor_tracks` tracks a mixture.
        mean_polyphony: mean number of active labels of a mixture; silences are stretched and labels added for it.
        together: (label, other, probability) of the other to join the label; apart: groups of labels that exclude
            each other.
        stems: write the tracks of every label, the distractors and the background too.
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
    background: str = ""
    background_dbfs: float = -50.0
    event_to_background_db: tuple = ()
    rt60_seconds: tuple = ()
    impulse_responses: str = ""
    speed: tuple = ()
    gain_change_db: tuple = ()
    distractors: str = ""
    distractor_tracks: tuple[int, int] = (1, 3)
    mean_polyphony: tuple = ()
    together: tuple = ()
    apart: tuple = ()
    stems: bool = False

    def __post_init__(self):
        """Raises InputError for values that no mixture can be made with."""
        for name in ("sample_rate", "duration_seconds", "threshold_db"):
            _expect(getattr(self, name) > 0, name, "a number above 0", self)
        _expect(self.bit_depth in (16, 24, 32), "bit_depth", "16, 24 or 32", self)
        least = {"labels_per_mixture": 0, "piece_seconds": 0.1, "silence_seconds": 0.0, "gain_db": -120.0,
                 "distractor_tracks": 0}
        optional = {"event_to_background_db": -60.0, "rt60_seconds": 0.1, "speed": 0.25, "gain_change_db": -120.0,
                    "mean_polyphony": 0.0}
        for name, low in (least | optional).items():
            value = tuple(getattr(self, name))
            object.__setattr__(self, name, value)  # a list, as JSON has it, becomes the same spec
            _expect(len(value) == 2 and low <= value[0] <= value[1] or value == () and name in optional, name,
                    f"two numbers, {low:g} <= low <= high", self)
        for name in ("together", "apart"):
            object.__setattr__(self, name, tuple(map(tuple, getattr(self, name))))
        _expect(all(len(rule) == 3 and 0 <= rule[2] <= 1 for rule in self.together), "together",
                "(label, other label, probability from 0 to 1) each", self)
        _expect(not self.event_to_background_db or self.background, "event_to_background_db", "a background too", self)
        _expect(not (self.rt60_seconds and self.impulse_responses), "impulse_responses", "no rt60_seconds beside it",
                self)


def _expect(condition, name, expected, spec):
    if not condition:
        raise InputError(f"{name}: expected {expected}. Received: {getattr(spec, name)!r}.")


@dataclasses.dataclass(frozen=True)
class Piece:
    """A cut of a recording in a mixture: `start` in the recording, `onset` and `duration` in the mixture, seconds, and
    the gain applied to the recording's samples. At another `speed` it is as many times as long in the recording.

    `recording` is relative to the soundbank, or, where `event_label` is "", to the distractors' or the background's
    folder; `recording_dbfs` is the level of its loudest 20 ms, which the annotation refers to. With an
    `event_to_background_db`, `gain_db` is on top of the gain that gives it. `impulse_response` is a Room, or a path
    relative to their folder.
    """
    event_label: str
    recording: str
    recording_dbfs: float
    start: float
    duration: float
    onset: float
    gain_db: float
    event_to_background_db: float | None = None
    speed: float = 1.0
    gain_change_db: float = 0.0
    impulse_response: Room | str | None = None


@dataclasses.dataclass(frozen=True)
class Mixture:
    """The full instruction of a mixture. The background is noise of a seed, or beds that follow each other."""
    pieces: tuple[Piece, ...]
    noise_seed: int | None = None
    beds: tuple[Piece, ...] = ()

    @classmethod
    def from_dict(cls, fields):
        """From what dataclasses.asdict made of it, by way of JSON."""
        def piece(values):
            response = values["impulse_response"]
            return Piece(**values | {"impulse_response": Room(**response) if isinstance(response, dict) else response})
        return cls(tuple(map(piece, fields["pieces"])), fields["noise_seed"], tuple(map(piece, fields["beds"])))


def draw_mixture(rng, sounds, spec):
    """Draw one mixture.

    Args:
        rng: numpy Generator.
        sounds: synthesis.Sounds of a partition.
        spec: SoundscapeSpec.

    Returns:
        Mixture; the pieces of a label follow each other in time.
    """
    by_label = collections.defaultdict(list)
    for instance in sounds.soundbank.instances:
        by_label[instance.event_label].append(instance)
    labels = _draw_labels(rng, sorted(by_label), spec)
    room = sounds.rooms[rng.integers(len(sounds.rooms))] if sounds.rooms else ()
    if spec.mean_polyphony:
        pieces = _draw_polyphonic(rng, labels, by_label, room, spec)
    else:
        pieces = [piece for label in labels for piece in _draw_track(rng, by_label[label], room, spec)]
    if sounds.distractors:
        for _ in range(rng.integers(spec.distractor_tracks[0], spec.distractor_tracks[1] + 1)):
            pieces += _draw_track(rng, sounds.distractors, room, spec)
    noise_seed = int(rng.integers(2 ** 32)) if spec.background in COLOURS else None
    return Mixture(tuple(pieces), noise_seed, tuple(_draw_beds(rng, sounds.beds, spec)))


def _draw_labels(rng, known, spec):
    fewest, most = (min(number, len(known)) for number in spec.labels_per_mixture)
    labels = rng.choice(known, size=rng.integers(fewest, most + 1), replace=False).tolist()
    for label, other, probability in spec.together:
        if label in labels and other in known and other not in labels and rng.random() < probability:
            labels.append(other)
    return _keep_apart(labels, spec)


def _keep_apart(labels, spec):
    """Of each group that excludes each other, the label that was drawn first stays."""
    for group in spec.apart:
        for label in [label for label in labels if label in group][1:]:
            labels.remove(label)
    return labels


@functools.cache
def _speeds(slowest, fastest):
    return np.geomspace(slowest, fastest, SPEEDS).round(4)


def _draw_track(rng, instances, room, spec, stretch=1.0):
    # A silence first: otherwise all tracks of a mixture would begin together.
    track, onset = [], stretch * rng.uniform(0, spec.silence_seconds[1])
    response = room[rng.integers(len(room))] if room else None
    while onset + spec.fade_seconds < spec.duration_seconds:
        instance = instances[rng.integers(len(instances))]
        speed = rng.choice(_speeds(*spec.speed)).item() if spec.speed else 1.0
        duration = min(instance.duration / speed, rng.uniform(*spec.piece_seconds))
        start = instance.onset + rng.uniform(0, max(instance.duration - speed * duration, 0.0))
        if spec.event_to_background_db:
            level = {"gain_db": 0.0, "event_to_background_db": rng.uniform(*spec.event_to_background_db)}
        else:
            level = {"gain_db": spec.level_dbfs - instance.level_dbfs + rng.uniform(*spec.gain_db)}
        if spec.gain_change_db:
            level["gain_change_db"] = rng.uniform(*spec.gain_change_db)
        track.append(Piece(instance.event_label, instance.recording, instance.loudest_dbfs, start,
                           min(duration, spec.duration_seconds - onset), onset, speed=speed,
                           impulse_response=response, **level))
        onset += duration + stretch * rng.uniform(*spec.silence_seconds)
    return track


def _draw_polyphonic(rng, labels, by_label, room, spec):
    """Tracks whose silences are stretched until the mean polyphony is what was drawn; where they can't, a label more."""
    target = rng.uniform(*spec.mean_polyphony)
    others = rng.permutation([label for label in sorted(by_label) if label not in labels]).tolist()
    while True:
        instances = [by_label[label] for label in labels]
        pieces, polyphony = _stretch_to(target, rng.spawn(len(labels)), instances, room, spec)
        if polyphony >= 0.95 * target or not others:
            return pieces
        labels, others = _keep_apart([*labels, others[0]], spec), others[1:]


def _stretch_to(target, generators, instances, room, spec):
    low, high = STRETCHES
    spans = {instance.recording: instance.spans for group in instances for instance in group}
    for _ in range(14):
        middle = (low + high) / 2
        pieces = [piece for generator, group in zip(generators, instances)
                  for piece in _draw_track(copy.deepcopy(generator), group, room, spec, 2 ** middle)]
        polyphony = sum(_active_seconds(piece, spans[piece.recording]) for piece in pieces) / spec.duration_seconds
        low, high = (middle, high) if polyphony > target else (low, middle)
    return pieces, polyphony


def _active_seconds(piece, spans):
    end = piece.start + piece.speed * piece.duration
    return sum(max(min(offset, end) - max(onset, piece.start), 0.0) for onset, offset in spans) / piece.speed


def _draw_beds(rng, instances, spec):
    """Recordings that follow each other to the end, each crossed with the next for a second."""
    onset, beds = 0.0, []
    while instances and onset < spec.duration_seconds:
        instance = instances[rng.integers(len(instances))]
        beds.append(Piece("", instance.recording, instance.loudest_dbfs, instance.onset, instance.duration, onset,
                          -instance.level_dbfs))
        onset += max(instance.duration - 1.0, 1.0)
    return beds
