"""TUT Urban Acoustic Scenes 2018, development dataset: clips of 10 s, each recorded in one scene.

Facts: 8,640 clips (24 h; 48 kHz, 24 bit, stereo) of airport, bus, metro, metro_station, park, public_square,
shopping_mall, street_pedestrian, street_traffic and tram, 864 each, recorded in six cities; a location has several
clips. The one official fold has 6,122 for training and 2,518 for test. Layout::

    audio/{scene}-{city}-{location}-{segment}-{device}.wav    or the same names as flac, ogg, ...
    meta.csv                                 tabs; header filename, scene_label, identifier, source_label; optional,
                                             but the lists have to agree with it
    evaluation_setup/fold1_train.txt         audio/NAME TAB scene
    evaluation_setup/fold1_evaluate.txt      the same: the test partition
    evaluation_setup/fold1_test.txt          audio/NAME; not read, because fold1_evaluate.txt has the same clips
    evaluation_setup/fold1_validate.txt      not of the corpus, optional: the lines of fold1_train.txt that are for
                                             validation; without it, whole locations with about 20 % of each scene's
                                             training clips, always the same ones

Licence: free for non-commercial use; it is on the corpus's page, https://zenodo.org/record/1228142: read it first.
Citation: A. Mesaros, T. Heittola, T. Virtanen, "A multi-device dataset for urban acoustic scene classification", DCASE
Workshop 2018, arXiv 1807.09840.
"""
import logging
import re
import typing
import zlib

import numpy as np

from polysed_keras.datasets.loading import (
    Clip,
    ClipDataset,
    check_folder,
    index_audio,
    numbered_lines,
    take_present,
)
from polysed_keras.errors import InputError, expect

NAME = "{scene}-{city}-{location}-{segment}-{device}"
SAMPLE_RATE, SAMPLE_FORMAT = 48000, "PCM_24, 2 channels"
VALIDATION_SHARE = 0.2
logger = logging.getLogger(__name__)


class _Entry(typing.NamedTuple):
    label: str
    source: str
    place: str  # file and line, for messages


def load_clips(folder):
    """Read the layout above into a ClipDataset, without opening audio.

    A clip's name is its file's stem, its source scene-city-location; labels are the sorted scenes of the lists. Raises
    InputError if the folder, audio/ or a list is missing; a line is broken; a clip has two scenes or is in two
    partitions; a clip for validation is not in the training list, or its location is also trained on; no clip has
    audio.
    """
    check_folder(folder, "the folder of TUT Urban Acoustic Scenes 2018, with audio/ and evaluation_setup/")
    check_folder(folder / "audio", "the corpus's recordings")
    audio = index_audio(folder / "audio")
    listed = {partition: [Clip(name, audio.get(name), (entry.label,), entry.source) for name, entry in entries.items()]
              for partition, entries in _read_partitions(folder).items()}
    labels = sorted({label for clips in listed.values() for clip in clips for label in clip.labels})
    return ClipDataset(folder, tuple(labels), *take_present(folder / "audio", listed, f"{NAME}.wav"))


def _read_partitions(folder):
    """Return {partition: {clip name: _Entry}}, checked."""
    setup = folder / "evaluation_setup"
    train, test = (_read_list(setup / f"fold1_{part}.txt") for part in ("train", "evaluate"))
    for name in test:
        if name in train:
            raise InputError(f"{test[name].place}: expected clips for test only. Received: {name}, which "
                             f"{train[name].place} has for training. Leave it in one.")
    if (folder / "meta.csv").is_file():
        _check_against_meta(train | test, folder / "meta.csv")
    own = setup / "fold1_validate.txt"
    validate = _read_validation(own, train) if own.is_file() else _hold_out(train)
    train = {name: entry for name, entry in train.items() if name not in validate}
    shared = {entry.source for entry in (train | validate).values()} & {entry.source for entry in test.values()}
    if shared:
        logger.warning("%s: %d locations are in training and in test: %s. Results on such a test are too good.", setup,
                       len(shared), ", ".join(sorted(shared)[:5]))
    return {"train": train, "validate": validate, "test": test}


def _read_list(path):
    entries = {}
    for place, line in numbered_lines(path):
        columns = [column.strip() for column in line.split("\t")]
        expect(len(columns) == 2 and all(columns), place, "audio/NAME.wav, a tab and the scene", line,
               "Correct the line.")
        name = _clip_name(columns[0])
        expect(name.count("-") >= 4, place, f"a file named {NAME}.wav", columns[0],
               "Rename it: clips of a location stay together.")
        _add(entries, name, _Entry(columns[1], name.rsplit("-", 2)[0], place))
    return entries


def _clip_name(file):
    """Return the stem of a file as the lists name it."""
    return re.sub(r"^(\./)?(audio/)?", "", file.replace("\\", "/")).rpartition(".")[0]


def _add(entries, name, entry):
    other = entries.setdefault(name, entry)
    if other.label != entry.label:
        raise InputError(f"{entry.place}: expected one scene for {name}, as in {other.place}, which says {other.label}."
                         f" Received: {entry.label}. Correct one of the lines.")


def _check_against_meta(entries, path):
    """Raise InputError if meta.csv is broken, lacks a clip of the lists or says another scene."""
    rows = ((place, [field.strip() for field in line.split("\t")]) for place, line in numbered_lines(path))
    place, header = next(rows, (f"{path}, line 1", []))
    expect({"filename", "scene_label"} <= set(header), place,
           "the columns filename, scene_label, identifier, source_label, separated by tabs", header,
           "Put the corpus's own file there, or remove it.")
    scenes = {}
    for place, fields in rows:
        row = dict(zip(header, fields))
        expect(len(fields) == len(header) and row["filename"] and row["scene_label"], place,
               f"{len(header)} columns, separated by tabs", fields, "Correct the line.")
        _add(scenes, _clip_name(row["filename"]), _Entry(row["scene_label"], "", place))
    for name, entry in entries.items():
        if name not in scenes:
            raise InputError(f"{entry.place}: expected clips of {path}. Received: {name}, which it has no line for. "
                             "Add the line, or remove this one.")
        if entry.label != scenes[name].label:
            raise InputError(f"{entry.place}: expected {scenes[name].label} for {name}, as {scenes[name].place} says. "
                             f"Received: {entry.label}. Correct one of the lines.")


def _read_validation(path, train):
    """Return the entries of fold1_validate.txt: lines of the training list, all of their locations."""
    validate = _read_list(path)
    trained = {entry.source: name for name, entry in train.items() if name not in validate}
    for name, entry in validate.items():
        if name not in train or train[name].label != entry.label:
            raise InputError(f"{entry.place}: expected a line of fold1_train.txt. Received: {name}, {entry.label}. "
                             "Take it from there.")
        if entry.source in trained:
            raise InputError(f"{entry.place}: expected all training clips of a location, or none. Received: {name}, "
                             f"but not {trained[entry.source]}. Add the others of {entry.source}, or remove this one.")
    return validate


def _hold_out(train):
    """Return entries of whole locations: about VALIDATION_SHARE of the clips of each scene, and never all of them.

    Each location in turn is taken if that comes nearer to the share; if none does, the smallest one is.
    """
    locations = {}
    for name, entry in train.items():
        locations.setdefault(entry.label, {}).setdefault(entry.source, []).append(name)
    held_out = set()
    for label, clips in sorted(locations.items()):
        if len(clips) == 1:
            logger.warning("Scene %s has one location for training, so none for validation.", label)
            continue
        # Seeded by the scene, so that scenes can come and go without a change for this one.
        order = np.random.default_rng(zlib.crc32(label.encode())).permutation(sorted(clips)).tolist()
        target, taken = VALIDATION_SHARE * sum(map(len, clips.values())), []
        for location in order:
            if abs(len(taken) + len(clips[location]) - target) < abs(len(taken) - target):
                taken += clips[location]
        held_out.update(taken or min((clips[location] for location in order), key=len))
    return {name: entry for name, entry in train.items() if name in held_out}
