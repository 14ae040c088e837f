"""Acoustic scenes as distributions over events and backgrounds.

A scene is an unordered collection of events (paper 2, section 1): the mean number of events in a clip, the share of
each label in them, and the share of each background. Scenes share labels and backgrounds, so that neither a single
event nor the background tells them apart. A location is a variation of a scene; `clips` draws clips from locations.
"""
import dataclasses
import itertools
import numbers

import numpy as np
import scipy.fft

from polysed_keras.errors import expect

OCTAVES = 62.5 * 2.0 ** np.arange(9)  # Hz, the frequencies at which the spectrum of a background is given
CANDIDATES = 50  # sets of scenes that are drawn; the one whose two closest scenes differ most is taken
# How many numbers a field has, and the least value of each: an int if they have to be whole numbers.
_FIELDS = {"scenes": (1, 2), "locations": (3, 1), "scene_hours": (3, 0.0), "event_hours": (3, 0.0), "k": (1, 0),
           "correlation": (1, 0.0), "scene_labels": (1, 0), "backgrounds": (1, 1), "concentration": (1, 0.01),
           "location_concentration": (1, 0.1), "events_per_clip": (2, 0.0), "labels_per_event_clip": (2, 1),
           "piece_seconds": (2, 0.1), "event_to_background_db": (2, -60.0), "background_dbfs": (2, -120.0),
           "sample_rate": (1, 1000), "clip_seconds": (1, 0.5)}


@dataclasses.dataclass(frozen=True)
class StandinSpec:
    """How a stand-in is made. Triples are for train, validate and test; pairs are the ends of uniform distributions.

    Attributes:
        scenes: number of scenes.
        locations: numbers of locations per scene.
        scene_hours, event_hours: hours of scene clips and of event clips.
        k: number of event labels; 0 for as many as `correlation` allows.
        correlation: share of the event labels, 0 to 1, that are heard in scenes too.
        scene_labels: number of labels heard in scenes; 0 for half of the soundbank's, rounded up.
        backgrounds: number of backgrounds that the scenes share.
        concentration: of the Dirichlet distribution of scenes; a lower one gives a scene fewer labels and backgrounds.
        location_concentration: a higher one makes a scene's locations more alike.
        events_per_clip: mean number of events per clip of a scene.
        labels_per_event_clip: number of labels of an event clip, each heard once.
        piece_seconds: length of an event.
        event_to_background_db: level of an event's loudest 400 ms over the background.
        background_dbfs: RMS of a background.

    Raises:
        InputError: values that no stand-in can be made with.
    """
    scenes: int = 6
    locations: tuple[int, int, int] = (10, 4, 8)
    scene_hours: tuple[float, float, float] = (0.8333, 0.3333, 0.6667)
    event_hours: tuple[float, float, float] = (1.6667, 0.3333, 0.6667)
    k: int = 0
    correlation: float = 0.5
    scene_labels: int = 0
    backgrounds: int = 4
    concentration: float = 0.5
    location_concentration: float = 20.0
    events_per_clip: tuple[float, float] = (2.0, 6.0)
    labels_per_event_clip: tuple[int, int] = (1, 3)
    piece_seconds: tuple[float, float] = (0.5, 4.0)
    event_to_background_db: tuple[float, float] = (3.0, 23.0)
    background_dbfs: tuple[float, float] = (-52.0, -40.0)
    sample_rate: int = 44100
    clip_seconds: float = 10.0

    def __post_init__(self):
        for name, (count, low) in _FIELDS.items():
            value = getattr(self, name)
            values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
            kind = "whole number" if isinstance(low, int) else "number"
            self._check(len(values) == count and all(_is_number(part, low) for part in values), name,
                         f"{count} {kind}{'s' * (count > 1)} of at least {low:g}")
            if count > 1:
                object.__setattr__(self, name, values)  # a list, as JSON has it, becomes the same spec
            self._check(count != 2 or values[0] <= values[-1], name, "the lower number first")
        self._check(self.correlation <= 1, "correlation", "0 to 1")
        self._check(self.piece_seconds[1] <= self.clip_seconds, "piece_seconds", "no more than clip_seconds")
        for name, counts in zip(("scene_hours", "event_hours"), self.clips()):
            self._check(min(counts) > 0, name, "time for a clip (of each scene) in each partition")

    def _check(self, condition, name, expected):
        expect(condition, name, expected, getattr(self, name))

    def clips(self):
        """Return the numbers of scene clips, equally many per scene, and of event clips by partition: two tuples."""
        scene, event = ([hours * 3600 / self.clip_seconds for hours in triple]
                        for triple in (self.scene_hours, self.event_hours))
        return tuple(self.scenes * round(number / self.scenes) for number in scene), tuple(map(round, event))


def _is_number(value, low):
    return isinstance(value, numbers.Integral if isinstance(low, int) else numbers.Real) and low <= value < float("inf")


@dataclasses.dataclass(frozen=True)
class Background:
    """Noise with a spectrum of `bands_db` (power per hertz, at OCTAVES), an RMS of `dbfs` and a swinging gain.

    The gain swings by `swing_db`, `swing_hz` times per second.
    """
    bands_db: tuple[float, ...]
    dbfs: float
    swing_db: float
    swing_hz: float


@dataclasses.dataclass(frozen=True)
class Scene:
    """A scene, or a location of one.

    Attributes:
        events_per_clip: mean number of events.
        label_shares: share of each label in the events.
        background_shares: share of each background in the clips.
        bands_db, gain_db: what a location adds to the spectrum and level of backgrounds.
    """
    name: str
    events_per_clip: float
    label_shares: tuple[float, ...]
    background_shares: tuple[float, ...]
    bands_db: tuple[float, ...] = (0.0,) * len(OCTAVES)
    gain_db: float = 0.0


def draw_scenes(rng, num_labels, spec):
    """Draw a tuple of Scene that share labels and backgrounds.

    Of several sets, the one is taken whose two closest scenes differ most. `num_labels` are heard in scenes.
    """
    sets = [[rng.dirichlet([spec.concentration] * number, spec.scenes) for number in (num_labels, spec.backgrounds)]
            for _ in range(CANDIDATES)]
    shares = max(sets, key=_least_difference)
    means, digits = rng.uniform(*spec.events_per_clip, spec.scenes).tolist(), len(str(spec.scenes - 1))
    return tuple(Scene(f"scene{number:0{digits}}", means[number], *(tuple(part[number].tolist()) for part in shares))
                 for number in range(spec.scenes))


def _least_difference(shares):
    return min(sum(np.abs(part[one] - part[other]).sum() for part in shares)
               for one, other in itertools.combinations(range(len(shares[0])), 2))


def draw_location(rng, scene, name, spec):
    """Draw a location of a scene: a Scene with another name, everything a little different and no share of 0."""
    shares = (rng.dirichlet(spec.location_concentration * np.array(part) + 0.1).tolist()
              for part in (scene.label_shares, scene.background_shares))
    return Scene(name, scene.events_per_clip * rng.lognormal(0, 0.2), *map(tuple, shares),
                 tuple(rng.normal(0, 2, len(OCTAVES)).round(2).tolist()), round(rng.normal(0, 3), 2))


def draw_background(rng, spec):
    """Draw a random Background for a StandinSpec; it falls by 1 to 6 dB per octave, with some dB of deviation."""
    bands = rng.uniform(-6, -1) * np.arange(len(OCTAVES)) + rng.normal(0, 4, len(OCTAVES))
    return Background(tuple(bands.round(2).tolist()), round(rng.uniform(*spec.background_dbfs), 2), rng.uniform(0, 8),
                      rng.uniform(0.05, 0.5))


def background_noise(background, num_samples, sample_rate, seed):
    """Make noise with a Background's spectrum and swing, and an RMS of 1: float32 (num_samples,)."""
    rng = np.random.default_rng(seed)
    length = scipy.fft.next_fast_len(num_samples, real=True)
    frequencies = scipy.fft.rfftfreq(length, 1 / sample_rate)
    bands_db = np.interp(np.log2(np.maximum(frequencies, 1.0)), np.log2(OCTAVES), background.bands_db)
    bands_db[frequencies < 20.0] = -200.0  # not audible
    spectrum = rng.standard_normal((length // 2 + 1, 2), np.float32) * _amplitude(bands_db)[:, None]
    noise = scipy.fft.irfft(spectrum.view(np.complex64)[:, 0], length)[:num_samples]
    phase = np.linspace(0, 2 * np.pi * background.swing_hz * num_samples / sample_rate, num_samples, dtype=np.float32)
    noise *= _amplitude(background.swing_db / 2 * np.sin(phase + np.float32(2 * np.pi * rng.random())))
    return noise / np.sqrt(np.mean(np.square(noise)))


def _amplitude(level_db):
    # exp of float32 is many times faster than a power of 10.
    return np.exp(np.asarray(level_db, np.float32) * np.float32(np.log(10) / 20))
