"""TUT-SED Synthetic 2016, and every corpus laid out as it is.

Facts: 100 mixtures (566 minutes, 44.1 kHz, 32 bit) of 994 isolated recordings of 16 event labels; 60 are for training,
20 for validation and 20 for test, and no isolated recording is in two partitions. Events were annotated by
signal energy. Layout::

    audio/TUT-SED-synthetic-2016-mix-{i}.wav     i = 0..99; your own recordings: audio/<stem>.<wav, flac, ogg, ...>
    meta/TUT-SED-synthetic-2016-annot-{i}.txt    onset, offset (seconds), event_label; your own: meta/<stem>.txt
    evaluation_setup/{train,validate,test}.txt   a recording per line; without them the original's 40-99, 20-39, 0-19
    labels.txt                                   a label per line; without it the sorted labels of all annotations

Licence: on the corpus's page, http://www.cs.tut.fi/sgn/arg/taslp2017-crnn-sed/tut-sed-synthetic-2016; read it first.
Citation: E. Cakir, G. Parascandolo, T. Heittola, H. Huttunen, T. Virtanen, "Convolutional recurrent neural networks for
polyphonic sound event detection", IEEE/ACM TASLP 25(6), 2017.
"""
import logging
import re

from polysed_keras.audio import is_audio
from polysed_keras.datasets.loading import PARTITIONS, Dataset, Recording, numbered_lines
from polysed_keras.errors import InputError

MIXTURE_NAME = "TUT-SED-synthetic-2016-mix-{}"
ANNOTATION_NAME = "TUT-SED-synthetic-2016-annot-{}"
SAMPLE_RATE = 44100
ORIGINAL_PARTITIONS = {"train": range(40, 100), "validate": range(20, 40), "test": range(20)}
_ORIGINAL = re.compile(re.escape(MIXTURE_NAME).replace(r"\{\}", r"(\d+)") + "$")


def load_dataset(folder):
    """Read the layout above into a Dataset, without opening audio.

    Raises InputError if the folder, audio/, meta/ or an annotation is missing; a partition names a recording that does
    not exist or that another partition names too; recordings other than the original's have no evaluation_setup/.
    """
    for part in (folder, folder / "audio", folder / "meta"):
        if not part.is_dir():
            raise InputError(f"{part}: no such folder. Expected a folder of recordings with audio/ and meta/.")
    audio = _audio_by_stem(folder / "audio")
    stems = _partition_stems(folder, audio)
    _check_disjoint(stems, folder)
    partitions = {name: tuple(_recording(folder, audio[stem]) for stem in stems[name]) for name in PARTITIONS}
    unused = len(audio) - sum(map(len, stems.values()))
    if unused:
        logging.getLogger(__name__).warning("%s: %d of %d recordings are in no partition and are ignored.", folder,
                                            unused, len(audio))
    # A corpus with lists does not load without its files.
    missing = () if _has_lists(folder) else [name for name in map(MIXTURE_NAME.format, range(100)) if name not in audio]
    return Dataset(folder, _read_labels(folder, partitions), partitions, tuple(missing))


def write_file_lists(folder, files, labels):
    """Write the lists of evaluation_setup/ and labels.txt.

    Args:
        folder: pathlib.Path of the corpus.
        files: dict of partition to the names of its files in audio/.
        labels: sequence of str, in the order of the network's outputs.
    """
    (folder / "evaluation_setup").mkdir()
    lists = {f"evaluation_setup/{name}.txt": [f"audio/{file}" for file in files.get(name, ())] for name in PARTITIONS}
    for path, lines in (lists | {"labels.txt": labels}).items():
        (folder / path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _audio_by_stem(folder):
    found = {}
    for path in sorted(filter(is_audio, folder.iterdir())):
        if path.stem in found:
            raise InputError(f"{path}: {found[path.stem].name} has the same stem, so meta/{path.stem}.txt is of both. "
                             "Rename one.")
        found[path.stem] = path
    if not found:
        raise InputError(f"{folder}: expected recordings (wav, flac, ogg, ...). Received: none.")
    return found


def _has_lists(folder):
    return any((folder / "evaluation_setup" / f"{name}.txt").is_file() for name in PARTITIONS)


def _partition_stems(folder, audio):
    if _has_lists(folder):
        setup = {name: folder / "evaluation_setup" / f"{name}.txt" for name in PARTITIONS}
        # In the files' order; some corpora have a line per event of a recording.
        return {name: tuple(dict.fromkeys(_find_stem(line, audio, path) for _, line in numbered_lines(path)))
                if path.is_file() else () for name, path in setup.items()}
    numbered = []
    for stem, path in audio.items():
        match = _ORIGINAL.match(stem)
        if not (match and int(match[1]) < 100):
            raise InputError(f"{folder}: evaluation_setup/ is missing, and {path.name} is not one of the original 100 "
                             "mixtures. Write evaluation_setup/train.txt, validate.txt and test.txt, each with the "
                             "audio file names of its recordings, one a line.")
        numbered.append((int(match[1]), stem))
    return {name: tuple(stem for number, stem in sorted(numbered) if number in numbers)
            for name, numbers in ORIGINAL_PARTITIONS.items()}


def _find_stem(line, audio, path):
    line = line.strip()
    # A file name may hold spaces, so the tab-separated column is tried first.
    for column in (line.split("\t")[0].strip(), line.split()[0]):
        name = re.sub(r"^(\./)?(audio/)?", "", column.replace("\\", "/"))
        stem = name if name in audio else name.rpartition(".")[0]
        if stem in audio and name in (stem, audio[stem].name):
            return stem
    raise InputError(f"{path}: names {line!r}, which is not in audio/. Add the recording or remove the line.")


def _check_disjoint(stems, folder):
    home = {}
    for name, names in stems.items():
        for stem in names:
            if home.setdefault(stem, name) != name:
                raise InputError(f"{folder / 'evaluation_setup'}: {stem} is in {home[stem]}.txt and in {name}.txt. "
                                 "Leave it in one.")


def _recording(folder, audio):
    match = _ORIGINAL.match(audio.stem)
    names = [audio.stem] + ([ANNOTATION_NAME.format(match[1])] if match else [])
    paths = [folder / "meta" / f"{name}.txt" for name in names]
    for path in paths:
        if path.is_file():
            return Recording(audio.stem, audio, path)
    raise InputError(f"{audio}: has no annotation. Expected {paths[-1]} (onset, offset, event_label a line; an empty "
                     "file where nothing sounds).")


def _read_labels(folder, partitions):
    path = folder / "labels.txt"
    if path.is_file():
        labels = [line.strip() for _, line in numbered_lines(path)]
        if len(set(labels)) < len(labels):
            raise InputError(f"{path}: a label stands there twice. Expected each label on one line.")
    else:
        recordings = [recording for name in PARTITIONS for recording in partitions[name]]
        labels = sorted({label for recording in recordings for label in recording.read_events().event_label})
    if not labels:
        raise InputError(f"{folder}: no labels. Expected labels.txt, a label a line, or annotations with events.")
    return tuple(labels)
