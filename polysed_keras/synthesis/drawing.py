"""Draw seeded polyphonic mixtures from a soundbank; `rendering` makes their sound and `corpus` writes them.

The defaults follow TUT-SED Synthetic 2016. 4 to 9 labels are drawn per mixture; each has its own track: a silence, a
random piece of a random recording, a silence, a piece, and so on (E. Cakir et al., IEEE/ACM TASLP 25(6), 2017). The
tracks are summed; events are annotated by signal energy (`activity.active_spans`). With recordings of 5 s, the default
silences give about 12 % of the frames no event, 29 % one, 30 % two, 29 % more, and a highest polyphony of 6 to 8;
longer recordings overlap more.
"""
import collections
import copy
import dataclasses
import functools
import os
import pathlib

import numpy as np

from polysed_keras.errors import expect
from polysed_keras.synthesis.acoustics import NOISE_COLOURS, Room

SLOWEST, FASTEST = 0.25, 16.0  # speeds of a piece
SPEEDS = 5  # few enough to keep each recording in memory at every speed; resampling costs more than mixing
STRETCHES = (-8.0, 6.0)  # powers of 2 that silences may be stretched by for a mean polyphony


@dataclasses.dataclass(frozen=True)
class SoundscapeSpec:
    """How mixtures are made. Pairs are the ends of uniform distributions; "" and () turn a feature off.

    Silence before and after the sound of a recording is cut away (clips of ESC-50 are filled up with it), and the RMS
    of its loudest 400 ms (the window of momentary loudness) is brought to `level_dbfs` before the random gain, because
    recordings differ by far more than sounds in one place do. A recording whose loudest 20 ms are below `floor_dbfs`
    counts as silent. `threshold_db`, `floor_dbfs`, `bridge_seconds` and `burst_seconds` are for the annotation
    (`activity.active_spans`). The attributes below are not in the paper's recipe.

    Attributes:
        background: white, pink or brown noise, or a folder of recordings, with an RMS of `background_dbfs`; of several,
            joined by "+", each mixture has one.
        background_level_dbfs: level of the background of each mixture, in place of `background_dbfs`.
        event_to_background_db: level of a piece's loudest 400 ms over the background, in place of `level_dbfs` and
            `gain_db`.
        rt60_seconds: reverberation time of simulated rooms; a mixture has one room, with a place for every track.
        impulse_responses: a folder of recorded rooms instead; a folder in it is one room.
        speed: every piece is played slower or faster, and so lower or higher, by one of SPEEDS factors from the first
            to the second number.
        gain_change_db: how much a piece's gain changes from its beginning to its end.
        distractors: a folder of sounds without a label, or several joined by "+", for `distractor_tracks` tracks per
            mixture.
        room_share: share of the mixtures that are in a room, if there are rooms; the others stay dry.
        empty_share: share of the mixtures that hold no label.
        few_labels: bool, whether the number of labels is drawn with an even logarithm, so that few are more frequent.
        silence_stretch: factor of all silences of a mixture, drawn with an even logarithm.
        mean_polyphony: mean number of active labels; silences are stretched and labels added to reach it.
        together: (label, other, probability) each: how likely the other label joins the label.
        apart: groups of labels that exclude each other.
        stems: bool, whether the tracks of every label, the distractors and the background are written too.

    Raises:
        InputError: values that no mixture can be made with.

    Example:
        >>> SoundscapeSpec(duration_seconds=60.0, background="pink", event_to_background_db=(6, 20))
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
    background_level_dbfs: tuple[float, ...] = ()
    event_to_background_db: tuple[float, ...] = ()
    rt60_seconds: tuple[float, ...] = ()
    impulse_responses: str = ""
    speed: tuple[float, ...] = ()
    gain_change_db: tuple[float, ...] = ()
    distractors: str = ""
    distractor_tracks: tuple[int, int] = (1, 3)
    room_share: float = 1.0
    empty_share: float = 0.0
    few_labels: bool = False
    silence_stretch: tuple[float, ...] = ()
    mean_polyphony: tuple[float, ...] = ()
    together: tuple[tuple[str, str, float], ...] = ()
    apart: tuple[tuple[str, ...], ...] = ()
    stems: bool = False

    def __post_init__(self):
        for name in ("sample_rate", "duration_seconds", "threshold_db"):
            expect(getattr(self, name) > 0, name, "a number above 0", getattr(self, name))
        expect(self.bit_depth in (16, 24, 32), "bit_depth", "16, 24 or 32", self.bit_depth)
        least = {"labels_per_mixture": 0, "piece_seconds": 0.1, "silence_seconds": 0.0, "gain_db": -120.0,
                 "distractor_tracks": 0}
        optional = {"event_to_background_db": -60.0, "rt60_seconds": 0.1, "speed": SLOWEST, "gain_change_db": -120.0,
                    "mean_polyphony": 0.0, "background_level_dbfs": -120.0, "silence_stretch": 0.01}
        for name, low in (least | optional).items():
            value = tuple(getattr(self, name))
            if name not in ("labels_per_mixture", "distractor_tracks"):
                value = tuple(map(float, value))
            object.__setattr__(self, name, value)  # A list, or whole numbers, becomes the same spec.
            expect(len(value) == 2 and low <= value[0] <= value[1] or value == () and name in optional, name,
                   f"two numbers, {low:g} <= low <= high", value)
        for name in ("empty_share", "room_share"):
            expect(0 <= getattr(self, name) <= 1, name, "a share from 0 to 1", getattr(self, name))
        for name in ("together", "apart"):
            object.__setattr__(self, name, tuple(map(tuple, getattr(self, name))))
        expect(all(len(rule) == 3 and 0 <= rule[2] <= 1 for rule in self.together), "together",
               "(label, other label, probability from 0 to 1) each", self.together)
        expect(not self.event_to_background_db or self.background, "event_to_background_db", "a background too",
               self.event_to_background_db)
        expect(not (self.rt60_seconds and self.impulse_responses), "impulse_responses", "no rt60_seconds beside it",
               self.impulse_responses)

    @property
    def noise_colours(self):
        """The colours of noise among the backgrounds, a tuple."""
        return tuple(part for part in _parts(self.background) if part in NOISE_COLOURS)

    def folders(self, role):
        """Return the folders of distractors, background or impulse_responses, a tuple."""
        return tuple(part for part in _parts(getattr(self, role)) if part not in NOISE_COLOURS)

    def root(self, role):
        """Return the folder that the recordings of a role are relative to, or None if it has no folders."""
        folders = self.folders(role)
        return os.path.commonpath(list(map(os.path.abspath, folders))) if len(folders) > 1 else (folders or (None,))[0]

    def with_folders(self, **folders):
        """Return the spec with more folders per role: lists of paths by `background` or `distractors`."""
        joined = {role: "+".join(dict.fromkeys([*_parts(getattr(self, role)), *map(str, paths)]))
                  for role, paths in folders.items()}
        return dataclasses.replace(self, **joined)

    def with_negatives(self, folder):
        """Return the spec with a folder of recordings without the labels, as backgrounds and as other sounds."""
        return self.with_folders(background=[folder], distractors=[folder])


def _parts(text):
    """Split what "+" joins, except for the path of a folder."""
    return [] if not text else [text] if pathlib.Path(text).is_dir() else text.split("+")


# What a place may sound like, so that a detector learns what is none of its labels: noise or recordings as background
# at any level, few events or many or none, other sounds, rooms.
FIELD = SoundscapeSpec(
    duration_seconds=28.8, labels_per_mixture=(1, 9), few_labels=True, piece_seconds=(1.0, 10.0),
    silence_stretch=(0.2, 1.5), empty_share=0.2, background="white+pink+brown", background_level_dbfs=(-75.0, -25.0),
    event_to_background_db=(3.0, 30.0), rt60_seconds=(0.1, 0.5), room_share=0.3, speed=(0.85, 1.18),
    distractor_tracks=(0, 2))
RECIPES = {"paper": SoundscapeSpec(), "field": FIELD}


@dataclasses.dataclass(frozen=True)
class Piece:
    """A cut of a recording in a mixture.

    Attributes:
        event_label: "" for a distractor or a background.
        recording: path relative to the soundbank, or to the folder of distractors or backgrounds.
        recording_dbfs: level of the recording's loudest 20 ms, which the annotation refers to.
        start: seconds in the recording, at a speed of 1.
        duration, onset: seconds in the mixture; the cut takes speed * duration seconds of the recording.
        gain_db: gain of the samples; comes on top of the gain for `event_to_background_db` if that is given.
        impulse_response: None, a Room, or a path relative to the folder of impulse responses.
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

    def __post_init__(self):
        for name in ("start", "onset", "duration"):
            expect(0 <= getattr(self, name) < float("inf"), name, "0 or more seconds", getattr(self, name))
        expect(SLOWEST <= self.speed <= FASTEST, "speed", f"{SLOWEST} to {FASTEST}", self.speed)


@dataclasses.dataclass(frozen=True)
class Mixture:
    """The full instruction of a mixture. The background is noise from a seed, or beds that follow each other.

    Its colour and level are the spec's, unless they are given. It has a name when it is written.
    """
    name: str = dataclasses.field(default="", kw_only=True)
    pieces: tuple[Piece, ...]
    noise_seed: int | None = None
    beds: tuple[Piece, ...] = ()
    noise_colour: str | None = None
    background_dbfs: float | None = None


def draw_mixture(rng, sounds, spec):
    """Draw a mixture.

    Args:
        rng: numpy Generator.
        sounds: Sounds of a partition (`gather_sounds`).
        spec: SoundscapeSpec.

    Returns:
        Mixture; the pieces of a label follow each other in time.

    Example:
        >>> sounds, read = gather_sounds(partitions, ["train"], spec, seed=0)
        >>> rendering = render_mixture(draw_mixture(rng, sounds["train"], spec), read, spec)
    """
    by_label = collections.defaultdict(list)
    for instance in sounds.soundbank.instances:
        by_label[instance.event_label].append(instance)
    empty = spec.empty_share and rng.random() < spec.empty_share
    labels = [] if empty else _draw_labels(rng, sorted(by_label), spec)
    stretch = float(np.exp(rng.uniform(*np.log(spec.silence_stretch)))) if spec.silence_stretch else 1.0
    room = sounds.rooms[rng.integers(len(sounds.rooms))] if sounds.rooms else ()
    if spec.room_share < 1 and rng.random() >= spec.room_share:
        room = ()
    if spec.mean_polyphony and not empty:
        pieces = _draw_polyphonic(rng, labels, by_label, room, spec)
    else:
        pieces = [piece for label in labels for piece in _draw_track(rng, by_label[label], room, spec, stretch)]
    if sounds.distractors:
        for _ in range(rng.integers(spec.distractor_tracks[0], spec.distractor_tracks[1] + 1)):
            pieces += _draw_track(rng, sounds.distractors, room, spec, stretch)
    return Mixture(tuple(pieces), **_draw_background(rng, sounds.beds, spec))


def _draw_background(rng, recordings, spec):
    """Draw the fields of a Mixture that make its background: half of them recordings if there are noises too."""
    colours, fields = spec.noise_colours, {}
    kinds = [*colours, *[None] * (max(1, len(colours)) if recordings else 0)]
    colour = kinds[rng.integers(len(kinds))] if len(kinds) > 1 else (kinds or [None])[0]
    if len(kinds) > 1:
        fields["noise_colour"] = colour
    if spec.background_level_dbfs:
        fields["background_dbfs"] = round(rng.uniform(*spec.background_level_dbfs), 2)
    if colour:
        return fields | {"noise_seed": int(rng.integers(2 ** 32))}
    return fields | {"beds": tuple(_draw_beds(rng, recordings, spec))}


def _draw_labels(rng, known, spec):
    fewest, most = (min(number, len(known)) for number in spec.labels_per_mixture)
    if spec.few_labels:
        number = int(np.exp(rng.uniform(*np.log([max(fewest, 1), most + 1]))))
    else:
        number = rng.integers(fewest, most + 1)
    labels = rng.choice(known, size=number, replace=False).tolist()
    for label, other, probability in spec.together:
        if label in labels and other in known and other not in labels and rng.random() < probability:
            labels.append(other)
    return _keep_apart(labels, spec)


def _keep_apart(labels, spec):
    """Keep the label that was drawn first in each group of labels that exclude each other."""
    for group in spec.apart:
        for label in [label for label in labels if label in group][1:]:
            labels.remove(label)
    return labels


@functools.cache
def _speeds(slowest, fastest):
    return np.geomspace(slowest, fastest, SPEEDS).round(4)


def _draw_track(rng, instances, room, spec, stretch=1.0):
    # A silence comes first, because otherwise all tracks of a mixture would begin together.
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
    """Draw tracks with silences stretched to a random mean polyphony; labels are added if that is not enough."""
    target = rng.uniform(*spec.mean_polyphony)
    others = rng.permutation([label for label in sorted(by_label) if label not in labels]).tolist()
    while True:
        instances = [by_label[label] for label in labels]
        pieces, polyphony = _stretch_to(target, rng.spawn(len(labels)), instances, room, spec)
        if polyphony >= 0.95 * target or not others:
            return pieces
        labels, others = _keep_apart([*labels, others[0]], spec), others[1:]


def _stretch_to(target, generators, instances, room, spec):
    """Return pieces and their mean polyphony, by bisection: equal generators draw the same pieces at every stretch."""
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
    """Draw recordings that follow each other to the end, each cross-faded with the next for a second."""
    onset, beds = 0.0, []
    while instances and onset < spec.duration_seconds:
        instance = instances[rng.integers(len(instances))]
        beds.append(Piece("", instance.recording, instance.loudest_dbfs, instance.onset, instance.duration, onset,
                          -instance.level_dbfs))
        onset += max(instance.duration - 1.0, 1.0)
    return beds
