"""Corpora of polyphonic recordings: one module a corpus, all read into the same two dataclasses."""
import dataclasses
import importlib
import pathlib

from polysed_keras.errors import InputError

# A corpus is one module with `load_dataset(folder) -> Dataset` and one row here.
CORPORA = {"tut_sed_synthetic_2016": "polysed_keras.datasets.tut_sed_synthetic_2016"}
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


def load_dataset(folder, corpus="tut_sed_synthetic_2016"):
    """Read the file lists of a corpus; no audio is opened.

    Args:
        folder: the corpus's folder.
        corpus: a name of `CORPORA`. The default also reads the mixtures of `soundscapes.synthesize` and any recordings
            laid out as they are.

    Raises:
        InputError: the name is unknown, or the folder does not have the corpus's layout.
    """
    if corpus not in CORPORA:
        raise InputError(f"corpus: expected one of {', '.join(CORPORA)}. Received: {corpus!r}.")
    return importlib.import_module(CORPORA[corpus]).load_dataset(pathlib.Path(folder))
