"""Ingredients of mixtures by partition: a soundbank, distractors, backgrounds, rooms, and a reader of their files."""
import dataclasses
import functools
import os
import pathlib

import numpy as np

from polysed_keras.audio import search_folder
from polysed_keras.datasets import PARTITIONS
from polysed_keras.errors import InputError, expect
from polysed_keras.synthesis.acoustics import NOISE_COLOURS, draw_room
from polysed_keras.synthesis.activity import measure_soundbank
from polysed_keras.synthesis.soundbank import Instance, Soundbank, partition_soundbank, recording_reader

ROLES = ("soundbank", "distractors", "background", "impulse_responses")
ROOMS, POSITIONS = 8, 6  # simulated rooms per partition and places per room; each simulation takes up to a second
OWN_PARTS = {"train": (0.0, 0.6), "validate": (0.6, 0.8), "test": (0.8, 1.0)}  # of the time of a recording
SHARED_SECONDS = 10.0  # shorter recordings are not cut
FAINTEST_DBFS = -150.0  # of backgrounds
_ROOM_SEED = 2 ** 20  # keeps rooms apart from the seeds of mixtures


@dataclasses.dataclass(frozen=True)
class Sounds:
    """All sounds for the mixtures of a partition; instances are measured.

    Attributes:
        soundbank: Soundbank of the partition.
        distractors: tuple of Instance with the label "".
        beds: tuple of Instance with the label "", recordings for the background.
        rooms: tuple per room of its impulse responses, each a Room or the path of a recorded one.
    """
    soundbank: Soundbank
    distractors: tuple = ()
    beds: tuple = ()
    rooms: tuple = ()


def reader(soundbank_folder, spec):
    """Return a function of (recording, role, speed) that reads a waveform, float32 (samples,).

    Recordings are relative to the soundbank's folder, or to the spec's folder for one of the other ROLES.
    """
    folders = {"soundbank": soundbank_folder} | {role: spec.root(role) for role in ROLES[1:]}
    readers = {role: recording_reader(folder, spec.sample_rate) for role, folder in folders.items() if folder}
    return lambda recording, role="soundbank", speed=1.0: readers[role](recording, speed)


def gather_sounds(partitions, names, spec, seed):
    """Measure all sounds of some partitions.

    Distractors, backgrounds and recorded rooms are divided at random as a soundbank's labels are, each folder alone.
    If it has fewer than three sources, every partition has its own part of each recording that lasts long enough, and
    they share the others. Simulated rooms are drawn for each partition.

    Args:
        partitions: dict of partition to Soundbank.
        names: list of the partitions to gather.
        spec: SoundscapeSpec.
        seed: int.

    Returns:
        dict of partition to Sounds, and the function that reads their recordings (see `reader`).

    Raises:
        InputError: a folder without sounds, sounds that are unreadable or silent, rules with unknown labels.
    """
    labels = partitions["train"].labels
    unknown = sorted({label for rule in spec.together for label in rule[:2]}.union(*spec.apart) - set(labels))
    expect(not unknown, "together, apart", f"labels of the soundbank ({', '.join(labels)})", unknown)
    read = reader(partitions["train"].folder, spec)
    extra = {role: [_divide(folder, spec.root(role), role, seed) for folder in spec.folders(role)]
             for role in ROLES[1:]}

    def measured(role, bank):
        # a quiet background is as good as a loud one, because its level is drawn anyway
        floor = FAINTEST_DBFS if role == "background" else spec.floor_dbfs
        return measure_soundbank(bank, functools.partial(read, role=role), dataclasses.replace(spec, floor_dbfs=floor))

    def others(role, name):
        for divided in extra[role]:
            shared = divided["train"] is divided["test"]
            yield from (_own_part(instance, name) if shared else instance
                        for instance in measured(role, divided[name]).instances)

    def sounds(name):
        distractors, beds = (tuple(others(role, name)) for role in ("distractors", "background"))
        rooms = tuple(room for divided in extra["impulse_responses"] for room in _group_rooms(divided[name], read))
        if spec.rt60_seconds:
            rng = np.random.default_rng((seed, PARTITIONS.index(name), _ROOM_SEED))
            rooms = tuple(draw_room(rng, spec.rt60_seconds, POSITIONS) for _ in range(ROOMS))
        return Sounds(measured("soundbank", partitions[name]), distractors, beds, rooms)

    return {name: sounds(name) for name in names}, read


def _divide(folder, root, role, seed):
    """Divide a folder of sounds without labels below a root: dict of partition to Soundbank."""
    folder = pathlib.Path(folder if folder == root else os.path.abspath(folder))
    paths = search_folder(folder) if folder.is_dir() else []
    colours = f", or one of {', '.join(NOISE_COLOURS)}" if role == "background" else ""
    expect(paths, role, f"a folder with audio files{colours}", str(folder))
    instances = tuple(Instance(path, "", path.relative_to(folder).parts[0]) for path in paths)
    bank = Soundbank(pathlib.Path(root), ("",), instances)
    few = len({instance.source for instance in instances}) < 3
    return dict.fromkeys(PARTITIONS, bank) if few else partition_soundbank(bank, seed=seed)


def _own_part(instance, name):
    """Return the part of a long recording that belongs to one partition alone."""
    if instance.duration < SHARED_SECONDS:
        return instance
    begin, end = OWN_PARTS[name]
    return dataclasses.replace(instance, onset=instance.onset + begin * instance.duration,
                               duration=(end - begin) * instance.duration)


def _group_rooms(bank, read):
    """Return impulse responses by room, which is a folder or a single file. All are read once, to be checked."""
    rooms = {}
    for instance in bank.instances:
        path = instance.path.relative_to(bank.folder).as_posix()
        if not np.any(read(path, "impulse_responses")):
            raise InputError(f"{instance.path}: expected an impulse response. Received: digital silence. Remove it.")
        rooms.setdefault(instance.source, []).append(path)
    return tuple(tuple(paths) for paths in rooms.values())
