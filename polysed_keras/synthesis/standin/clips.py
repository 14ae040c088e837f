"""Clips of a stand-in: what is drawn, and how it sounds."""
import base64
import dataclasses
import hashlib
import itertools
import zlib

import numpy as np

from polysed_keras.datasets import PARTITIONS
from polysed_keras.synthesis.drawing import Mixture, Piece, SoundscapeSpec
from polysed_keras.synthesis.rendering import render_mixture
from polysed_keras.synthesis.standin.scenes import (
    Background,
    background_noise,
    draw_background,
    draw_location,
    draw_scenes,
)

SCENES, EVENTS = "tut_urban_acoustic_scenes_2018", "audioset"


@dataclasses.dataclass(frozen=True)
class ClipInstruction:
    """All that a clip is made of.

    Its `source` is a location or, of a clip of events, a video; `background_kind` is the number of the scenes' kind of
    background, or None; what it is made of and where is in `pieces`.
    """
    name: str
    source: str
    labels: tuple[str, ...]
    background_kind: int | None
    background: Background
    noise_seed: int
    pieces: tuple[Piece, ...]


def generator(seed, *keys):
    """A numpy Generator that depends on the seed and some names and numbers alone."""
    return np.random.default_rng(np.random.SeedSequence((seed, *(zlib.crc32(str(key).encode()) for key in keys))))


def draw_clips(sounds, labels, spec, seed):
    """Draw the scenes and all clips.

    Args:
        sounds: dict of partition to dict of corpus to dict of label to instances that are measured.
        labels: dict of corpus to its labels (choose_labels).

    Returns:
        dict of backgrounds, scenes and, by partition, locations; and dict of corpus to dict of partition to
        ClipInstructions.
    """
    rng = generator(seed, SCENES)
    backgrounds = [draw_background(rng, spec) for _ in range(spec.backgrounds)]
    scenes = draw_scenes(rng, len(labels[SCENES]), spec)
    clips, places = {SCENES: {}, EVENTS: {}}, {}
    for partition, scene_clips, event_clips in zip(PARTITIONS, *spec.clips()):
        places[partition] = _draw_locations(scenes, partition, spec, seed)
        turns = itertools.islice(itertools.cycle(places[partition]), scene_clips)
        clips[SCENES][partition] = [draw_scene_clip(
            generator(seed, SCENES, partition, index), f"{location.name}-{index}-a", location, backgrounds,
            sounds[partition][SCENES], spec) for index, location in enumerate(turns)]
        clips[EVENTS][partition] = [draw_event_clip(
            generator(seed, EVENTS, partition, index), _video(seed, partition, index), sounds[partition][EVENTS], spec)
            for index in range(event_clips)]
    return {"backgrounds": backgrounds, "scenes": scenes, "locations": places}, clips


def _draw_locations(scenes, partition, spec, seed):
    """The first location of every scene, the second of every scene, and so on. Numbers are of one location each."""
    column, places = PARTITIONS.index(partition), []
    for turn, (number, scene) in itertools.product(range(spec.locations[column]), enumerate(scenes)):
        name = f"{scene.name}-standin-{len(PARTITIONS) * (len(scenes) * turn + number) + column}"
        places.append(draw_location(generator(seed, name), scene, name, spec))
    return places


def _video(seed, partition, index):
    """A name such as YouTube's: 11 of 64 characters."""
    return base64.urlsafe_b64encode(hashlib.sha256(f"{seed} {partition} {index}".encode()).digest())[:11].decode()


def draw_scene_clip(rng, name, location, backgrounds, sounds, spec):
    """Draw a clip of a location.

    Args:
        rng: numpy Generator.
        name: the clip's.
        location: synthesis.Scene whose name begins with that of its scene.
        backgrounds: the kinds, each a synthesis.Background.
        sounds: dict of label, in the order of the location's shares, to instances that are measured.
        spec: StandinSpec.

    Returns:
        ClipInstruction.
    """
    kind = int(rng.choice(len(backgrounds), p=location.background_shares))
    bands_db = np.add(backgrounds[kind].bands_db, location.bands_db).round(2).tolist()
    background = dataclasses.replace(backgrounds[kind], bands_db=tuple(bands_db),
                                     dbfs=backgrounds[kind].dbfs + location.gain_db)
    labels = rng.choice(list(sounds), rng.poisson(location.events_per_clip), p=location.label_shares).tolist()
    scene = location.name.partition("-")[0]
    return ClipInstruction(name, location.name, (scene,), kind, background, int(rng.integers(2 ** 32)),
                           tuple(_draw_piece(rng, sounds[label], spec) for label in labels))


def draw_event_clip(rng, name, sounds, spec):
    """Draw a clip of a few labels, each heard once, over a background of its own. As draw_scene_clip."""
    fewest, most = (min(number, len(sounds)) for number in spec.labels_per_event_clip)
    labels = sorted(rng.choice(list(sounds), rng.integers(fewest, most + 1), replace=False).tolist())
    return ClipInstruction(name, name, tuple(labels), None, draw_background(rng, spec), int(rng.integers(2 ** 32)),
                           tuple(_draw_piece(rng, sounds[label], spec) for label in labels))


def _draw_piece(rng, instances, spec):
    """A piece of a recording that begins where it sounds, at a random time and level."""
    instance = instances[rng.integers(len(instances))]
    duration, (begin, end) = rng.uniform(*spec.piece_seconds), instance.spans[rng.integers(len(instance.spans))]
    start = rng.uniform(begin, max(begin, end - duration))
    duration = min(duration, instance.onset + instance.duration - start)
    onset = rng.uniform(0, spec.clip_seconds - duration)
    return Piece(instance.event_label, instance.recording, instance.loudest_dbfs, start, duration, onset, 0.0,
                 event_to_background_db=rng.uniform(*spec.event_to_background_db))


def render_clip(clip, read, spec):
    """Render a drawn clip.

    Args:
        clip: ClipInstruction.
        read: function of a recording that returns float32 (samples,) at spec.sample_rate: `synthesis.recording_reader`.
        spec: StandinSpec.

    Returns:
        synthesis.Rendering; its events are where the recordings sound.
    """
    noise = background_noise(clip.background, round(spec.clip_seconds * spec.sample_rate), spec.sample_rate,
                             clip.noise_seed)
    bed = Piece("", "", 0.0, 0.0, spec.clip_seconds, 0.0, clip.background.dbfs)  # to rendering a sound without a label
    soundscape = SoundscapeSpec(sample_rate=spec.sample_rate, duration_seconds=spec.clip_seconds,
                                background_dbfs=clip.background.dbfs)
    return render_mixture(Mixture((bed, *clip.pieces)),
                          lambda recording, role, speed: read(recording) if recording else noise, soundscape)
