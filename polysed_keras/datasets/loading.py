"""Choose and read a corpus: recordings with event lists (paper 1), or clips that are labelled as a whole (paper 2)."""
import dataclasses
import hashlib
import importlib
import logging
import pathlib

from polysed_keras.errors import InputError, expect
from polysed_keras.specs import registered

# A corpus of recordings is one module with `load_dataset(folder) -> Dataset`, and one row here.
CORPORA = {"tut_sed_synthetic_2016": "polysed_keras.datasets.tut_sed_synthetic_2016"}
# A corpus of clips is one module with `load_clips(folder) -> ClipDataset`, and one row here with the task it is for.
CLIP_CORPORA = {"tut_urban_acoustic_scenes_2018": "scene", "audioset": "events"}
PARTITIONS = ("train", "validate", "test")
logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Recording:
    """A long audio file and the event list file that annotates it."""
    name: str
    audio: pathlib.Path
    annotation: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Recordings by partition ("train", "validate", "test", each possibly empty), and the ordered labels."""
    folder: pathlib.Path
    labels: tuple[str, ...]
    partitions: dict[str, tuple[Recording, ...]]


@dataclasses.dataclass(frozen=True)
class Clip:
    """A short audio file that is labelled as a whole.

    Clips of one `source` (a location, a video) sound alike and stay in one partition. `seconds` is the length that the
    corpus states.
    """
    name: str
    audio: pathlib.Path
    labels: tuple[str, ...]
    source: str = ""
    seconds: float = 10.0


@dataclasses.dataclass(frozen=True)
class ClipDataset:
    """Clips by partition ("train", "validate", "test", each possibly empty), and the ordered labels.

    `missing` has the names of clips that the corpus lists but whose audio is not there.
    """
    folder: pathlib.Path
    labels: tuple[str, ...]
    partitions: dict[str, tuple[Clip, ...]]
    missing: tuple[str, ...] = ()


def content_digest(*datasets):
    """Return 12 hexadecimal digits that identify the content of datasets, wherever their folders are.

    The digest depends on labels and on each partition's names and annotations; no audio is opened.

    Args:
        *datasets: Dataset or ClipDataset.
    """
    digest = hashlib.sha256()
    for dataset in datasets:
        digest.update(repr(dataset.labels).encode())
        for partition, items in sorted(dataset.partitions.items()):
            for item in items:
                annotation = item.labels if isinstance(item, Clip) else item.annotation.read_bytes()
                digest.update(repr((partition, item.name, annotation)).encode())
    return digest.hexdigest()[:12]


def load_dataset(folder, corpus="tut_sed_synthetic_2016"):
    """Read the file lists of a corpus of recordings, without opening audio.

    Args:
        folder: the corpus's folder.
        corpus: a name of `CORPORA`. The default also reads the mixtures of `synthesis.synthesize` and your own
            recordings in the same layout.

    Returns:
        Dataset.

    Raises:
        InputError: the name is unknown, or the folder does not have the corpus's layout.

    Example:
        >>> dataset = ps.load_dataset("data")
        >>> dataset.labels, len(dataset.partitions["train"])
        (('beep', 'hiss', 'hum', 'whistle'), 3)
    """
    if corpus in CORPORA:  # a plug-in does not take the place of a published corpus
        return importlib.import_module(CORPORA[corpus]).load_dataset(pathlib.Path(folder))
    plugins = registered("corpus")
    expect(corpus in plugins, "corpus", f"one of {', '.join([*CORPORA, *plugins])}", corpus)
    return plugins[corpus](pathlib.Path(folder))


def load_clips(data, dataset):
    """Read the file lists of one or two corpora of clips, without opening audio.

    Args:
        data: folder that holds a folder named as each corpus; for one corpus, that corpus's own folder will do.
        dataset: names of `CLIP_CORPORA`, joined by "+".

    Returns:
        dict of task name to ClipDataset, in the order of the names.

    Raises:
        InputError: an unknown name, or a folder that does not have its corpus's layout.

    Example:
        >>> load_clips("data", "tut_urban_acoustic_scenes_2018+audioset")["scene"].labels
    """
    names, data = dataset.split("+"), pathlib.Path(data)
    unknown = [name for name in names if name not in CLIP_CORPORA]
    if unknown:
        raise InputError(f"corpus: expected some of {', '.join(CLIP_CORPORA)}. Received: {', '.join(unknown)}.")
    folders = [data / name if len(names) > 1 or (data / name).is_dir() else data for name in names]
    return {CLIP_CORPORA[name]: importlib.import_module(f"polysed_keras.datasets.{name}").load_clips(folder)
            for name, folder in zip(names, folders)}


def numbered_lines(path):
    """Yield (place, text) of the lines of a UTF-8 text file that are not blank; the place is for messages.

    Lines are read one after the other, so that long lists take no memory. A byte-order mark and carriage returns are
    tolerated. Raises InputError if the file is missing or is no UTF-8 text.
    """
    try:
        with open(path, encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.isspace():
                    yield f"{path}, line {number}", line.rstrip("\n")
    except OSError as error:
        raise InputError(f"{path}: expected a list of the corpus. Received: {error.strerror}. Put the corpus's own "
                         "file there.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8 text. Received: {error}. Save it as UTF-8.") from error


def check_folder(path, expected):
    """Raise InputError if a folder does not exist; `expected` describes it in the message."""
    if not path.is_dir():
        raise InputError(f"{path}: expected {expected}. Received: no such folder. Check --data.")


def collect_clips(folder, labels, listed, names):
    """Return the ClipDataset of all listed clips whose audio exists, and log the missing ones in one line.

    `listed` is {partition: list of Clip}, with `audio` None if the file is missing. Raises InputError if the audio of
    every clip is missing; `names` then says how the files in audio/ are named.
    """
    folder_of_audio, num_listed = folder / "audio", sum(map(len, listed.values()))
    missing = tuple(clip.name for clips in listed.values() for clip in clips if clip.audio is None)
    if len(missing) == num_listed:
        raise InputError(f"{folder_of_audio}: expected clips of the lists, named {names}. Received: none of "
                         f"{num_listed}. Add the audio or check --data.")
    if missing:
        logger.warning("%s: %d of %d listed clips (%.1f %%) are not there and are left out: %s%s", folder_of_audio,
                       len(missing), num_listed, 100 * len(missing) / num_listed, ", ".join(missing[:5]),
                       ", ..." if len(missing) > 5 else "")
    partitions = {name: tuple(clip for clip in clips if clip.audio) for name, clips in listed.items()}
    return ClipDataset(folder, labels, partitions, missing)
