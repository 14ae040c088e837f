"""Clips of a stand-in: draw them, render them, and list them as TUT Urban Acoustic Scenes 2018 and AudioSet do."""
import base64
import dataclasses
import hashlib
import itertools
import urllib.parse
import zlib

import numpy as np

from polysed_keras.datasets import CLASS_LABELS, LISTS, PARTITIONS
from polysed_keras.synthesis.drawing import Mixture, Piece, SoundscapeSpec
from polysed_keras.synthesis.rendering import render_mixture
from polysed_keras.synthesis.standin.scenes import (
    Background,
    background_noise,
    draw_background,
    draw_location,
    draw_scenes,
)

SCENE_CORPUS, EVENT_CORPUS = "tut_urban_acoustic_scenes_2018", "audioset"
# AudioSet's classes for labels of ESC-10 and of the procedural soundbank.
MIDS = {
    "chainsaw": "/m/01j4z9", "clock_tick": "/m/07qjznt", "crackling_fire": "/m/07pzfmf", "crying_baby": "/t/dd00002",
    "dog": "/m/0bt9lr", "helicopter": "/m/09ct_", "rain": "/m/06mb1", "rooster": "/m/09b5t", "sea_waves": "/m/034srq",
    "sneezing": "/m/01hsr_",
    "alarms_and_sirens": "/m/03kmc9", "baby_crying": "/t/dd00002", "bird_singing": "/m/020bb7", "bus": "/m/01bjv",
    "cat_meowing": "/m/07qrkrw", "crowd_applause": "/m/028ght", "crowd_cheering": "/m/053hz1",
    "dog_barking": "/m/05tny_", "footsteps": "/m/07pbtc8", "glass_smash": "/m/07rn7sz", "gun_shot": "/m/032s66",
    "horsewalk": "/m/07rv9rh", "mixer": "/m/02pjr4", "motorcycle": "/m/04_sv", "thunder": "/m/0ngt1",
}


@dataclasses.dataclass(frozen=True)
class ClipInstruction:
    """The full instruction of a clip.

    Attributes:
        source: the location of a scene clip, or the video of an event clip.
        background_kind: index of a background that the scenes share, None for an event clip.
        pieces: the recordings that are heard, and when.
    """
    name: str
    source: str
    labels: tuple[str, ...]
    background_kind: int | None
    background: Background
    noise_seed: int
    pieces: tuple[Piece, ...]


def generator(seed, *keys):
    """Return a numpy Generator that depends on the seed (int) and the keys (str or int) alone."""
    return np.random.default_rng((seed, *(zlib.crc32(str(key).encode()) for key in keys)))


def draw_clips(sounds, labels, spec, seed):
    """Draw the scenes and all clips.

    `labels` are those of each corpus (`choose_labels`); `sounds` are measured instances by partition, corpus and label.

    Returns:
        dict of backgrounds, scenes and (by partition) locations; and dict of corpus to dict of partition to a list of
        ClipInstruction.
    """
    rng = generator(seed, SCENE_CORPUS)
    backgrounds = [draw_background(rng, spec) for _ in range(spec.backgrounds)]
    scenes = draw_scenes(rng, len(labels[SCENE_CORPUS]), spec)
    clips, places = {SCENE_CORPUS: {}, EVENT_CORPUS: {}}, {}
    for partition, scene_clips, event_clips in zip(PARTITIONS, *spec.clips()):
        places[partition] = _draw_locations(scenes, partition, spec, seed)
        turns = itertools.islice(itertools.cycle(places[partition]), scene_clips)
        clips[SCENE_CORPUS][partition] = [_draw_scene_clip(
            generator(seed, SCENE_CORPUS, partition, index), f"{location.name}-{index}-a", location, backgrounds,
            sounds[partition][SCENE_CORPUS], spec) for index, location in enumerate(turns)]
        clips[EVENT_CORPUS][partition] = [_draw_event_clip(
            generator(seed, EVENT_CORPUS, partition, index), _video(seed, partition, index),
            sounds[partition][EVENT_CORPUS], spec) for index in range(event_clips)]
    return {"backgrounds": backgrounds, "scenes": scenes, "locations": places}, clips


def _draw_locations(scenes, partition, spec, seed):
    """Draw the first location of every scene, then the second, and so on. Each has a number of its own."""
    column, places = PARTITIONS.index(partition), []
    for turn, (number, scene) in itertools.product(range(spec.locations[column]), enumerate(scenes)):
        name = f"{scene.name}-standin-{len(PARTITIONS) * (len(scenes) * turn + number) + column}"
        places.append(draw_location(generator(seed, name), scene, name, spec))
    return places


def _video(seed, partition, index):
    """Return a name like those of YouTube: 11 of 64 characters."""
    return base64.urlsafe_b64encode(hashlib.sha256(f"{seed} {partition} {index}".encode()).digest())[:11].decode()


def _draw_scene_clip(rng, name, location, backgrounds, sounds, spec):
    """Draw a clip of a location. The labels of `sounds` are in the order of the location's shares."""
    kind = int(rng.choice(len(backgrounds), p=location.background_shares))
    bands_db = np.add(backgrounds[kind].bands_db, location.bands_db).round(2).tolist()
    background = dataclasses.replace(backgrounds[kind], bands_db=tuple(bands_db),
                                     dbfs=backgrounds[kind].dbfs + location.gain_db)
    labels = rng.choice(list(sounds), rng.poisson(location.events_per_clip), p=location.label_shares).tolist()
    scene = location.name.partition("-")[0]
    return ClipInstruction(name, location.name, (scene,), kind, background, int(rng.integers(2 ** 32)),
                           tuple(_draw_piece(rng, sounds[label], spec) for label in labels))


def _draw_event_clip(rng, name, sounds, spec):
    """Draw a clip of a few labels, each heard once, over a background of its own."""
    fewest, most = (min(number, len(sounds)) for number in spec.labels_per_event_clip)
    labels = sorted(rng.choice(list(sounds), rng.integers(fewest, most + 1), replace=False).tolist())
    return ClipInstruction(name, name, tuple(labels), None, draw_background(rng, spec), int(rng.integers(2 ** 32)),
                           tuple(_draw_piece(rng, sounds[label], spec) for label in labels))


def _draw_piece(rng, instances, spec):
    """Draw a piece that begins in a span in which its recording sounds, at a random time and level."""
    instance = instances[rng.integers(len(instances))]
    duration, (begin, end) = rng.uniform(*spec.piece_seconds), instance.spans[rng.integers(len(instance.spans))]
    start = rng.uniform(begin, max(begin, end - duration))
    duration = min(duration, instance.onset + instance.duration - start)
    onset = rng.uniform(0, spec.clip_seconds - duration)
    return Piece(instance.event_label, instance.recording, instance.loudest_dbfs, start, duration, onset, 0.0,
                 event_to_background_db=rng.uniform(*spec.event_to_background_db))


def render_clip(clip, read, spec):
    """Return the Rendering of a ClipInstruction; recordings are read by the function `read` (`recording_reader`)."""
    noise = background_noise(clip.background, round(spec.clip_seconds * spec.sample_rate), spec.sample_rate,
                             clip.noise_seed)
    bed = Piece("", "", 0.0, 0.0, spec.clip_seconds, 0.0, clip.background.dbfs)  # rendered as a sound without a label
    soundscape = SoundscapeSpec(sample_rate=spec.sample_rate, duration_seconds=spec.clip_seconds,
                                background_dbfs=clip.background.dbfs)
    return render_mixture(Mixture((bed, *clip.pieces)),
                          lambda recording, role, speed: read(recording) if recording else noise, soundscape)


def write_scene_lists(folder, clips):
    """Write the lists of TUT Urban Acoustic Scenes 2018 for clips by partition, into the corpus's folder."""
    files = {partition: [(f"audio/{clip.name}.wav", clip.labels[0], clip.source) for clip in clips[partition]]
             for partition in PARTITIONS}
    listed = {"train": files["train"] + files["validate"], "validate": files["validate"], "evaluate": files["test"]}
    meta = [(file, scene, source.partition("-")[2], "a") for part in files.values() for file, scene, source in part]
    _write_rows(folder / "meta.csv", [("filename", "scene_label", "identifier", "source_label"), *meta])
    (folder / "evaluation_setup").mkdir()
    for name, rows in listed.items():
        _write_rows(folder / "evaluation_setup" / f"fold1_{name}.txt", [row[:2] for row in rows])
    _write_rows(folder / "evaluation_setup" / "fold1_test.txt", [row[:1] for row in files["test"]])


def _write_rows(path, rows):
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def class_mids(labels):
    """Return {label: mid}: from MIDS, or "/standin/" and the label if it is not there or its mid is taken already."""
    mids = {}
    for label in labels:
        mid = MIDS.get(label)
        mids[label] = mid if mid and mid not in mids.values() else f"/standin/{urllib.parse.quote(label, safe='')}"
    return mids


def write_event_lists(folder, clips, labels, clip_seconds):
    """Write the lists of AudioSet for clips by partition, into the corpus's folder."""
    mids = class_mids(labels)
    names = (label.replace('"', '""') for label in labels)
    rows = [f'{index},{mids[label]},"{name}"\n' for index, (label, name) in enumerate(zip(labels, names))]
    (folder / CLASS_LABELS).write_text("index,mid,display_name\n" + "".join(rows), encoding="utf-8")
    for partition in PARTITIONS:
        part = clips[partition]
        heard = [label for clip in part for label in clip.labels]
        head = ("# Segments csv created by polysed standin\n"
                f"# num_ytids={len(part)}, num_segs={len(part)}, num_unique_labels={len(set(heard))}, "
                f"num_positive_labels={len(heard)}\n# YTID, start_seconds, end_seconds, positive_labels\n")
        lines = [f'{clip.name}, 0.000, {clip_seconds:.3f}, "{",".join(mids[label] for label in clip.labels)}"\n'
                 for clip in part]
        (folder / LISTS[partition][0]).write_text(head + "".join(lines), encoding="utf-8")
