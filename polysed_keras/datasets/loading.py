"""Corpora, one module each: recordings with event lists (paper 1), or clips that are labelled as a whole (paper 2)."""
import dataclasses
import hashlib
import importlib
import pathlib

from polysed_keras.errors import InputError
from polysed_keras.specs import registered

# A corpus is one module with `load_dataset(folder) -> Dataset` and one row here.
CORPORA = {"tut_sed_synthetic_2016": "polysed_keras.datasets.tut_sed_synthetic_2016"}
# A corpus of clips is one module with `load_clips(folder) -> ClipDataset` and one row here, with the task that it is for.
CLIP_CORPORA = {"tut_urban_acoustic_scenes_2018": "scene", "audioset": "events"}
PARTITIONS = ("train", "validate", "test")


@dataclasses.dataclass(frozen=True)
class Recording:
    """A long audio file and the event list file of what is heard in it."""
    name: str
    audio: pathlib.Path
    annotation: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Recordings by partition ("train", "validate", "test": each possibly empty), and their labels in order."""
    folder: pathlib.Path
    labels: tuple[str, ...]
    partitions: dict[str, tuple[Recording, ...]]


@dataclasses.dataclass(frozen=True)
class Clip:
    """A short audio file and the labels of the whole of it. Clips of one `source` (a location, a video) sound alike and
    stay in one partition."""
    name: str
    audio: pathlib.Path
    labels: tuple[str, ...]
    source: str = ""


@dataclasses.dataclass(frozen=True)
class ClipDataset:
    """Clips by partition ("train", "validate", "test": each possibly empty), their labels in order, and the names of the
    clips that the corpus lists and that are not there."""
    folder: pathlib.Path
    labels: tuple[str, ...]
    partitions: dict[str, tuple[Clip, ...]]
    missing: tuple[str, ...] = ()


def content_digest(*datasets):
    """A short name for what Datasets or ClipDatasets hold, wherever they are: labels, and the names and annotations of each
    partition's recordings or clips. No audio is opened."""
    digest = hashlib.sha256()
    for dataset in datasets:
        digest.update(repr(dataset.labels).encode())
        for partition, items in sorted(dataset.partitions.items()):
            for item in items:
                annotation = item.labels if isinstance(item, Clip) else item.annotation.read_bytes()
                digest.update(repr((partition, item.name, annotation)).encode())
    return digest.hexdigest()[:12]


def load_dataset(folder, corpus="tut_sed_synthetic_2016"):
    """Read the file lists of a corpus; no audio is opened.

    Args:
        folder: the corpus's folder.
        corpus: a name of `CORPORA`. The default also reads the mixtures of `synthesis.synthesize` and any recordings
            laid out as they are.

    Raises:
        InputError: the name is unknown, or the folder does not have the corpus's layout.
    """
    if corpus not in CORPORA:
        if corpus not in registered("corpus"):
            raise InputError(f"corpus: expected one of {', '.join([*CORPORA, *registered('corpus')])}. Received: {corpus!r}.")
        return registered("corpus")[corpus](pathlib.Path(folder))
    return importlib.import_module(CORPORA[corpus]).load_dataset(pathlib.Path(folder))


def load_clips(data, dataset):
    """Read the file lists of one or two corpora of clips; no audio is opened.

    Args:
        data: folder with a folder named as each corpus; where it is one corpus, also that corpus's own folder.
        dataset: names of `CLIP_CORPORA`, joined by "+".

    Returns:
        {task name: ClipDataset}, in the order of the names.

    Raises:
        InputError: an unknown name, or a folder that does not have its corpus's layout.
    """
    names, data = dataset.split("+"), pathlib.Path(data)
    unknown = [name for name in names if name not in CLIP_CORPORA]
    if unknown:
        raise InputError(f"corpus: expected some of {', '.join(CLIP_CORPORA)}. Received: {', '.join(unknown)}.")
    folders = [data / name if len(names) > 1 or (data / name).is_dir() else data for name in names]
    return {CLIP_CORPORA[name]: importlib.import_module(f"polysed_keras.datasets.{name}").load_clips(folder)
            for name, folder in zip(names, folders)}
