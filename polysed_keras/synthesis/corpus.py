"""Corpora of mixtures, laid out as TUT-SED Synthetic 2016: from a soundbank, or again from their instructions."""
import dataclasses
import pathlib
import zlib

import numpy as np
import soundfile

from polysed_keras.datasets import (
    ANNOTATION_NAME,
    MIXTURE_NAME,
    PARTITIONS,
    count_recording,
    summarize,
    write_file_lists,
)
from polysed_keras.errors import InputError
from polysed_keras.events import write_events
from polysed_keras.files import atomic_directory, read_json, write_json
from polysed_keras.synthesis.drawing import Mixture, SoundscapeSpec, draw_mixture
from polysed_keras.synthesis.ingredients import ROLES, gather_sounds, reader
from polysed_keras.synthesis.rendering import render_mixture

INSTRUCTIONS, STATISTICS = "soundscapes.json", "statistics.json"
_WRITTEN_ORDER = ("test", "validate", "train")  # the corpus numbers its mixtures so


def mixture_generator(seed, partition, *index):
    """The random generator of a mixture: it depends on the seed, the partition and the index alone."""
    return np.random.default_rng(np.random.SeedSequence((seed, PARTITIONS.index(partition), *index)))


def synthesize(partitions, out, spec=SoundscapeSpec(), mixtures=(60, 20, 20), seed=0, progress=None, origin=None):
    """Write a corpus of mixtures, with soundscapes.json (their instructions) and statistics.json.

    Mixture i of a partition depends on the seed, the partition and i alone, not on how many are asked for.

    Args:
        partitions: dict of "train", "validate", "test" to Soundbank (`synthesis.partition_soundbank`).
        out: the new folder; it appears when all is done.
        spec: SoundscapeSpec.
        mixtures: numbers of mixtures for train, validate and test.
        seed: int, 0 or above.
        progress: None or a function of (mixtures done, mixtures in all).
        origin: what soundscapes.json says of where the partitions came from: a dict of `soundbank` and `folds`; None for
            the soundbank's folder and no folds.

    Returns:
        dict of partition to its statistics (`statistics.summarize`).

    Raises:
        InputError: a partition that shall have mixtures has no instances, sounds are not usable, `out` is not empty or
            cannot be written.
    """
    numbers = dict(zip(PARTITIONS, mixtures))
    _check_request(partitions, mixtures, seed)
    with atomic_directory(out) as folder:
        names = [name for name in PARTITIONS if numbers[name]]
        sounds, read = gather_sounds(partitions, names, spec, seed)
        drawn = {name: [draw_mixture(mixture_generator(seed, name, index), sounds[name], spec)
                        for index in range(numbers[name])] for name in names}
        bank = partitions["train"]
        origin = origin or {"soundbank": str(bank.folder), "folds": None}
        head = {"seed": seed, **origin, "labels": list(bank.labels)}
        recordings = _checksums(drawn, bank.folder, spec)
        return _write_corpus(folder, head, recordings, drawn, read, spec, progress)


def rebuild(instructions, out, soundbank, progress=None):
    """Write a corpus again, to the byte, from the instructions in its soundscapes.json.

    Args:
        instructions: path of soundscapes.json, or of its corpus.
        out: the new folder; it appears when all is done.
        soundbank: folder of the soundbank.

    Returns, and `progress`: as for synthesize.

    Raises:
        InputError: broken instructions, recordings that are not there or not the same, or a folder that cannot be written.
    """
    content = read_instructions(instructions)
    head = {key: content[key] for key in ("seed", "soundbank", "folds", "labels")}
    recordings = content["recordings"]
    try:
        spec = SoundscapeSpec(**content["spec"])
        drawn = {name: [Mixture.from_dict(mixture) for mixture in mixtures]
                 for name, mixtures in content["mixtures"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{instructions}: expected the {INSTRUCTIONS} of this version. Received one with a wrong "
                         f"{error!s}.") from error
    found = _checksums(drawn, soundbank, spec)
    changed = [path for role in found for path in found[role] if found[role][path] != recordings.get(role, {}).get(path)]
    if changed:
        raise InputError(f"{instructions}: expected the recordings that it was made of. Received {len(changed)} others: "
                         f"{', '.join(changed[:3])}. Name the right folder by --soundbank.")
    with atomic_directory(out) as folder:
        return _write_corpus(folder, head, recordings, drawn, reader(soundbank, spec), spec, progress)


def read_instructions(path):
    """What a soundscapes.json (or a corpus's) holds, as a dict. Raises InputError where it is missing or broken."""
    path = pathlib.Path(path)
    content = read_json(path / INSTRUCTIONS if path.is_dir() else path)
    missing = {"seed", "soundbank", "folds", "labels", "spec", "recordings", "mixtures"} - set(content)
    if missing:
        raise InputError(f"{path}: expected a {INSTRUCTIONS} of this version. Received one without {sorted(missing)}.")
    return content


def _check_request(partitions, mixtures, seed):
    """Raises InputError for numbers of mixtures that cannot be, a negative seed, or a partition without recordings."""
    if len(mixtures) != 3 or min(mixtures) < 0 or not sum(mixtures):
        raise InputError("mixtures: expected three numbers (train, validate, test), not all 0. "
                         f"Received: {tuple(mixtures)}.")
    if seed < 0:
        raise InputError(f"seed: expected 0 or a positive integer. Received: {seed}.")
    for name, number in zip(PARTITIONS, mixtures):
        if number and not partitions[name].instances:
            raise InputError(f"{partitions[name].folder}: no recordings for the {name} partition. Add sources (three "
                             "of a label fill every partition), or ask for 0 mixtures of it.")


def _checksums(drawn, soundbank, spec):
    """CRC-32 of every file that the mixtures use: dict of role to dict of path to number."""
    used = {role: set() for role in ROLES}
    for mixture in (mixture for mixtures in drawn.values() for mixture in mixtures):
        for piece in mixture.pieces:
            used["soundbank" if piece.event_label else "distractors"].add(piece.recording)
            if isinstance(piece.impulse_response, str):
                used["impulse_responses"].add(piece.impulse_response)
        used["background"].update(bed.recording for bed in mixture.beds)
    folders = {role: soundbank if role == "soundbank" else getattr(spec, role) for role in used}
    return {role: {path: _checksum(pathlib.Path(folders[role]) / path) for path in sorted(paths)}
            for role, paths in used.items() if paths}


def _checksum(path):
    try:
        return zlib.crc32(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: expected a recording that the mixtures use. Received: {error.strerror}. Name the "
                         "right folder by --soundbank.") from error


def _write_corpus(folder, head, recordings, drawn, read, spec, progress):
    labels, total = tuple(head["labels"]), sum(map(len, drawn.values()))
    for part in ("audio", "meta"):
        (folder / part).mkdir()
    names, statistics, done = {}, {}, 0
    for partition in (name for name in _WRITTEN_ORDER if name in drawn):
        counts, names[partition] = [], []
        for mixture in drawn[partition]:
            names[partition].append(MIXTURE_NAME.format(done))
            counts.append(_write_mixture(folder, done, render_mixture(mixture, read, spec), labels, spec))
            done += 1
            if progress:
                progress(done, total)
        statistics[partition] = summarize(counts, labels)
    statistics = {name: statistics[name] for name in drawn}
    write_file_lists(folder, names, labels)
    mixtures = {partition: [{"name": name} | dataclasses.asdict(mixture)
                            for name, mixture in zip(names[partition], drawn[partition])] for partition in drawn}
    write_json(head | {"spec": dataclasses.asdict(spec), "recordings": recordings, "mixtures": mixtures},
               folder / INSTRUCTIONS)
    write_json(statistics, folder / STATISTICS)
    return statistics


def _write_mixture(folder, number, rendering, labels, spec):
    name = MIXTURE_NAME.format(number)
    # Stems add up to the mixture only where neither is rounded; float files would hold the time they were written at.
    subtype = f"PCM_{32 if spec.stems else spec.bit_depth}"
    soundfile.write(folder / "audio" / f"{name}.wav", rendering.waveform, spec.sample_rate, subtype)
    if spec.stems:
        (folder / "stems" / name).mkdir(parents=True)
        for stem, waveform in rendering.stems.items():
            soundfile.write(folder / "stems" / name / f"{stem}.wav", waveform, spec.sample_rate, subtype)
    write_events(rendering.events, folder / "meta" / f"{ANNOTATION_NAME.format(number)}.txt")
    return count_recording(rendering.events, labels, spec.duration_seconds)
