"""What mixtures are made of: a soundbank, distractors, backgrounds and rooms, by partition, and the reading of them."""
import dataclasses
import functools
import pathlib

import numpy as np

from polysed_keras.audio import search_folder
from polysed_keras.datasets import PARTITIONS
from polysed_keras.errors import InputError
from polysed_keras.synthesis.acoustics import COLOURS, draw_room
from polysed_keras.synthesis.activity import measure_soundbank
from polysed_keras.synthesis.soundbank import Instance, Soundbank, partition_soundbank, recording_reader

ROLES = ("soundbank", "distractors", "background", "impulse_responses")
ROOMS, POSITIONS = 8, 6  # simulated rooms of a partition, and places in each: a simulation takes up to a second
_ROOM_SEED = 2 ** 20  # apart from the seeds of mixtures


@dataclasses.dataclass(frozen=True)
class Sounds:
    """What the mixtures of a partition are made of; instances are measured.

    Attributes:
        soundbank: Soundbank of the partition.
        distractors, beds: tuples of Instance with the label "".
        rooms: a tuple per room of its impulse responses: synthesis.Room, or paths of recorded ones.
    """
    soundbank: Soundbank
    distractors: tuple = ()
    beds: tuple = ()
    rooms: tuple = ()


def reader(soundbank_folder, spec):
    """A function of (recording, role, speed) that returns the waveform, float32 (samples,); see
    synthesis.recording_reader."""
    folders = {"soundbank": soundbank_folder} | {role: getattr(spec, role) for role in ROLES[1:]}
    readers = {role: recording_reader(folder, spec.sample_rate) for role, folder in folders.items() if folder}
    return lambda recording, role="soundbank", speed=1.0: readers[role](recording, speed)


def gather_sounds(partitions, names, spec, seed):
    """Measure all sounds of some partitions.

    Distractors, backgrounds and recorded rooms are divided at random as a soundbank's labels are, but where there are
    fewer than three, all partitions have them all. Simulated rooms are drawn for each partition.

    Args:
        partitions: dict of partition to Soundbank.
        names: the partitions wanted.
        spec: SoundscapeSpec.
        seed: int.

    Returns:
        dict of partition to Sounds, and the function that reads their recordings (`reader`).

    Raises:
        InputError: a folder without sounds, sounds that are unreadable or silent, rules with labels that are not there.
    """
    _check_rules(partitions["train"].labels, spec)
    read = reader(partitions["train"].folder, spec)
    extra = {role: _divide(getattr(spec, role), role, seed) for role in ROLES[1:]
             if getattr(spec, role) and getattr(spec, role) not in COLOURS}

    def measured(role, bank):
        return measure_soundbank(bank, functools.partial(read, role=role), spec)

    def sounds(name):
        distractors, beds = (measured(role, extra[role][name]).instances if role in extra else ()
                             for role in ("distractors", "background"))
        rooms = _group_rooms(extra["impulse_responses"][name], read) if "impulse_responses" in extra else ()
        if spec.rt60_seconds:
            rng = np.random.default_rng(np.random.SeedSequence((seed, PARTITIONS.index(name), _ROOM_SEED)))
            rooms = tuple(draw_room(rng, spec.rt60_seconds, POSITIONS) for _ in range(ROOMS))
        return Sounds(measured("soundbank", partitions[name]), distractors, beds, rooms)

    return {name: sounds(name) for name in names}, read


def _check_rules(labels, spec):
    named = [label for rule in spec.together for label in rule[:2]] + [label for group in spec.apart for label in group]
    unknown = sorted(set(named) - set(labels))
    if unknown:
        raise InputError(f"together, apart: expected labels of the soundbank ({', '.join(labels)}). Received: {unknown}.")


def _divide(folder, role, seed):
    """A folder of sounds without labels as a dict of partition to Soundbank."""
    folder = pathlib.Path(folder)
    paths = search_folder(folder) if folder.is_dir() else []
    if not paths:
        colours = f", or one of {', '.join(COLOURS)}" if role == "background" else ""
        raise InputError(f"{role}: expected a folder with audio files{colours}. Received: {str(folder)!r}.")
    instances = tuple(Instance(path, "", path.relative_to(folder).parts[0]) for path in paths)
    bank = Soundbank(folder, ("",), instances)
    if len({instance.source for instance in instances}) < 3:
        return dict.fromkeys(PARTITIONS, bank)
    return partition_soundbank(bank, seed=seed)


def _group_rooms(bank, read):
    """Impulse responses by room: those of one folder, or each file for itself. All are read once, to be checked."""
    rooms = {}
    for instance in bank.instances:
        path = instance.path.relative_to(bank.folder).as_posix()
        if not np.any(read(path, "impulse_responses")):
            raise InputError(f"{instance.path}: expected an impulse response. Received: digital silence. Remove it.")
        rooms.setdefault(instance.source, []).append(path)
    return tuple(tuple(paths) for paths in rooms.values())
