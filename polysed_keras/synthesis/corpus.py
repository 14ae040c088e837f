"""Write corpora of mixtures in the layout of TUT-SED Synthetic 2016, from a soundbank or from earlier instructions."""
import dataclasses
import pathlib
import zlib

import numpy as np

from polysed_keras.audio import write_audio
from polysed_keras.datasets import (
    ANNOTATION_NAME,
    MIXTURE_NAME,
    PARTITIONS,
    count_recording,
    summarize,
    write_file_lists,
)
from polysed_keras.errors import InputError, expect
from polysed_keras.events import write_events
from polysed_keras.files import atomic_directory, check_label, path_inside, read_json, short_name, write_json
from polysed_keras.progress import progress_bar
from polysed_keras.synthesis.drawing import Mixture, SoundscapeSpec, draw_mixture
from polysed_keras.synthesis.ingredients import ROLES, gather_sounds, reader
from polysed_keras.synthesis.rendering import render_mixture

INSTRUCTIONS, STATISTICS = "soundscapes.json", "statistics.json"
@dataclasses.dataclass(frozen=True)
class Instructions:
    """The content of soundscapes.json: of what, and how, the mixtures of a corpus were made.

    Attributes:
        seed: int.
        soundbank: its folder, or {"procedural_seed": int} of sounds that the program makes.
        folds: of its partitions, as of partition_soundbank.
        labels: tuple of str.
        spec: SoundscapeSpec.
        recordings: CRC-32 of every file that is used, {role: {path: number}}.
        mixtures: {partition: tuple of Mixture}.
    """

    seed: int
    soundbank: str | dict[str, int]
    folds: tuple[tuple[int, ...], ...] | None
    labels: tuple[str, ...]
    spec: SoundscapeSpec
    recordings: dict[str, dict[str, int]]
    mixtures: dict[str, tuple[Mixture, ...]]

    def __post_init__(self):
        for label in self.labels:
            check_label(label, "labels")
            path_inside("stems", label, "labels")
        for partition, mixtures in self.mixtures.items():
            expect(partition in PARTITIONS, "mixtures", f"partitions of {', '.join(PARTITIONS)}", partition)
            for piece in (piece for mixture in mixtures for piece in mixture.pieces):
                expect(piece.event_label in ("", *self.labels), "event_label", "one of the labels, or none",
                       piece.event_label)
                expect(piece.onset <= self.spec.duration_seconds, "onset", "one within the mixture", piece.onset)


_WRITTEN_ORDER = ("test", "validate", "train")  # as TUT-SED Synthetic 2016 numbers its mixtures


def mixture_generator(seed, partition, *index):
    """Return the random generator of a mixture, which depends on these arguments alone.

    Args:
        seed: int, 0 or above.
        partition: "train", "validate" or "test".
        *index: int, one or more.

    Returns:
        numpy Generator.
    """
    return np.random.default_rng((seed, PARTITIONS.index(partition), *index))


def synthesize(partitions, out, spec=None, mixtures=(60, 20, 20), *, seed=0, origin=None, progress=False):
    """Write a corpus of mixtures, with soundscapes.json (their instructions) and statistics.json.

    Mixture i of a partition depends on the seed, the partition and i alone, not on how many are asked for.

    Args:
        partitions: dict of "train", "validate", "test" to Soundbank (`synthesis.partition_soundbank`).
        out: the new folder; it appears when all is done.
        spec: SoundscapeSpec; None for its defaults.
        mixtures: three int, numbers of mixtures for train, validate and test.
        seed: int, 0 or above.
        origin: dict of `soundbank` and `folds`, for soundscapes.json; None for the soundbank's folder and no folds.
        progress: bool, whether bars and lines of progress are shown.

    Returns:
        dict of partition to its statistics (`statistics.summarize`).

    Raises:
        InputError: a partition of which mixtures are wanted has no instances, sounds are not usable, `out` is not empty
            or cannot be written.

    Example:
        >>> partitions = partition_soundbank(read_soundbank("esc10"))
        >>> statistics = synthesize(partitions, "data", mixtures=(3, 1, 1), seed=1)
    """
    spec = (spec or SoundscapeSpec()).with_folders(**partitions["train"].besides)
    numbers = dict(zip(PARTITIONS, mixtures))
    expect(len(mixtures) == 3 and min(mixtures) >= 0 and sum(mixtures), "mixtures",
           "three numbers (train, validate, test), not all 0", tuple(mixtures))
    expect(seed >= 0, "seed", "0 or a positive integer", seed)
    for name, number in numbers.items():
        if number and not partitions[name].instances:
            raise InputError(f"{partitions[name].folder}: no recordings for the {name} partition. Add sources (three "
                             "of a label fill every partition), or ask for 0 mixtures of it.")
    with atomic_directory(out) as folder:
        names = [name for name in PARTITIONS if numbers[name]]
        sounds, read = gather_sounds(partitions, names, spec, seed)
        drawn = {name: [draw_mixture(mixture_generator(seed, name, index), sounds[name], spec)
                        for index in range(numbers[name])] for name in names}
        bank = partitions["train"]
        origin = origin or {"soundbank": str(bank.folder), "folds": None}
        content = {"seed": seed, **origin, "labels": list(bank.labels), "spec": dataclasses.asdict(spec),
                   "recordings": _checksums(drawn, bank.folder, spec)}
        return _write_corpus(folder, content, drawn, read, spec, progress)


def rebuild(instructions, soundbank, out, *, progress=False):
    """Write a corpus again, with the same bytes, from its instructions and the folder of its soundbank.

    The instructions are read by `read_instructions`; `out`, `progress` and the result are those of `synthesize`.

    Raises:
        InputError: broken instructions, recordings that are missing or changed, or a folder that cannot be written.
    """
    content = read_instructions(instructions)
    spec, drawn = content.spec, content.mixtures
    found = _checksums(drawn, soundbank, spec)
    changed = [path for role in found for path, number in found[role].items()
               if number != content.recordings.get(role, {}).get(path)]
    if changed:
        raise InputError(f"{instructions}: expected the recordings that it was made of. Received {len(changed)} others:"
                         f" {', '.join(changed[:3])}. Name the right folder by --soundbank.")
    with atomic_directory(out) as folder:
        return _write_corpus(folder, dataclasses.asdict(dataclasses.replace(content, mixtures={})), drawn,
                             reader(soundbank, spec), spec, progress)


def read_instructions(path):
    """Read the instructions of a corpus.

    Args:
        path: path of soundscapes.json, or of its corpus.

    Returns:
        Instructions.

    Raises:
        InputError: the file is missing or broken.
    """
    path = pathlib.Path(path)
    return read_json(path / INSTRUCTIONS if path.is_dir() else path, Instructions)


def _checksums(drawn, soundbank, spec):
    """Return the CRC-32 of every file that the mixtures use: {role: {path: number}}."""
    used = {role: set() for role in ROLES}
    for mixture in (mixture for mixtures in drawn.values() for mixture in mixtures):
        for piece in mixture.pieces:
            used["soundbank" if piece.event_label else "distractors"].add(piece.recording)
            if isinstance(piece.impulse_response, str):
                used["impulse_responses"].add(piece.impulse_response)
        used["background"].update(bed.recording for bed in mixture.beds)
    folders = {role: soundbank if role == "soundbank" else spec.root(role) for role in used}
    return {role: {path: recording_checksum(path_inside(folders[role], path, INSTRUCTIONS)) for path in sorted(paths)}
            for role, paths in used.items() if paths}


def recording_checksum(path):
    """Return the CRC-32 of a recording's file; raise InputError if it cannot be read."""
    try:
        return zlib.crc32(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: expected a recording that the mixtures use. Received: {error.strerror}. Name the "
                         "right folder by --soundbank.") from error


def _write_corpus(folder, content, drawn, read, spec, progress):
    """Write everything; `content` is that of soundscapes.json but for the mixtures."""
    labels = tuple(content["labels"])
    for part in ("audio", "meta"):
        (folder / part).mkdir()
    instructions, counts = ({partition: [] for partition in drawn} for _ in range(2))
    mixtures = [(partition, mixture) for partition in _WRITTEN_ORDER for mixture in drawn.get(partition, ())]
    bar = progress_bar(mixtures, "mixtures", unit="mixture", shown=progress)
    for number, (partition, mixture) in enumerate(bar):
        instructions[partition].append(
            dataclasses.asdict(dataclasses.replace(mixture, name=MIXTURE_NAME.format(number))))
        counts[partition].append(_write_mixture(folder, number, render_mixture(mixture, read, spec), labels, spec))
    statistics = {partition: summarize(counts[partition], labels) for partition in drawn}
    files = {partition: [f"{mixture['name']}.wav" for mixture in part] for partition, part in instructions.items()}
    write_file_lists(folder, files, labels)
    write_json(content | {"mixtures": instructions}, folder / INSTRUCTIONS, versioned=True)
    write_json(statistics, folder / STATISTICS)
    return statistics


def _write_mixture(folder, number, rendering, labels, spec):
    name = MIXTURE_NAME.format(number)
    # Stems add up to the mixture only if neither is rounded to 16 bits; float files would store when they were written.
    subtype = f"PCM_{32 if spec.stems else spec.bit_depth}"
    write_audio(folder / "audio" / f"{name}.wav", rendering.waveform, spec.sample_rate, subtype)
    if spec.stems:
        (folder / "stems" / name).mkdir(parents=True)
        for stem, waveform in rendering.stems.items():
            write_audio(folder / "stems" / name / f"{short_name(stem)}.wav", waveform, spec.sample_rate, subtype)
    write_events(rendering.events, folder / "meta" / f"{ANNOTATION_NAME.format(number)}.txt")
    return count_recording(rendering.events, labels, spec.duration_seconds)
