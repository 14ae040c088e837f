"""Choose and read a corpus: recordings with event lists (paper 1), or clips that are labelled as a whole (paper 2)."""
import concurrent.futures
import csv
import dataclasses
import hashlib
import importlib
import logging
import os
import pathlib

from polysed_keras.audio import audio_digest, is_audio
from polysed_keras.errors import InputError, expect, expect_known
from polysed_keras.events import make_events, read_events
from polysed_keras.progress import progress_bar
from polysed_keras.specs import registered

# A corpus of recordings is a module of its name with `load_dataset(folder) -> Dataset`, and a name here.
CORPORA = ("tut_sed_synthetic_2016", "urban_sed", "desed", "maestro_real")
# A corpus of clips is one with `load_clips(folder) -> ClipDataset`, and a row here with the task it is for.
CLIP_CORPORA = {"tut_urban_acoustic_scenes_2018": "scene", "audioset": "events", "esc50": "scene"}
PARTITIONS = ("train", "validate", "test")
logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Recording:
    """An audio file and its events.

    Attributes:
        name: str, which no other recording of the partition has.
        audio: path of the audio file.
        annotation: path of the file with its events: an event list of this recording alone, unless there are `rows`.
        rows: tuple of (onset, offset, event_label), the events, if the file has those of several recordings or another
            format. Whoever makes the Dataset reads such a file once.
    """
    name: str
    audio: pathlib.Path
    annotation: pathlib.Path
    rows: tuple | None = None

    def read_events(self, labels=None, duration=None):
        """Return the events as a DataFrame; arguments and errors as of events.read_events."""
        if self.rows is None:
            return read_events(self.annotation, labels, duration)
        return make_events(self.rows, f"{self.annotation}, {self.name}", labels, duration)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Recordings by partition ("train", "validate", "test", each possibly empty), and the ordered labels.

    `missing` has the names of recordings that the corpus lists but whose audio is not there.
    """
    folder: pathlib.Path
    labels: tuple[str, ...]
    partitions: dict[str, tuple[Recording, ...]]
    missing: tuple[str, ...] = ()


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


def content_digest(*datasets, sounds=None, progress=False):
    """Return the digest that identifies the content of datasets, wherever their folders are.

    The digest has two parts of 12 hexadecimal digits: one of the labels and of each partition's names and annotations,
    and one of the audio, which is read only if it is new or was changed (audio.audio_digest).

    Args:
        *datasets: Dataset or ClipDataset.
        sounds: {name: path} of more audio, such as a soundbank's; None for none.
        progress: whether a bar is shown if it takes long.

    Returns:
        str, such as "0b5c3f0b6a2e-9e107d9d372b".
    """
    lists, audio = hashlib.sha256(), []
    for dataset in datasets:
        lists.update(repr(dataset.labels).encode())
        for partition, items in sorted(dataset.partitions.items()):
            for item in items:
                annotation = (item.labels if isinstance(item, Clip) else
                              item.annotation.read_bytes() if item.rows is None else item.rows)
                lists.update(repr((partition, item.name, annotation)).encode())
                audio.append((item.audio, dataset.folder / "features"))
    audio += [(path, datasets[0].folder / "features") for path in (sounds or {}).values()]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        digests = list(progress_bar(pool.map(lambda each: audio_digest(*each), audio), "digests of audio", len(audio),
                                    unit="file", delay=2, shown=progress))
    content = hashlib.sha256(repr((digests, list(sounds or ()))).encode())
    return f"{lists.hexdigest()[:12]}-{content.hexdigest()[:12]}"


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
        return corpus_module(corpus).load_dataset(pathlib.Path(folder))
    plugins = registered("corpus")
    expect_known(corpus, [*CORPORA, *plugins], "corpus")
    return plugins[corpus](pathlib.Path(folder))


def load_clips(data, dataset):
    """Read the file lists of one or two corpora of clips, without opening audio.

    Args:
        data: folder that holds a folder named as each corpus; for one corpus, that corpus's own folder will do.
        dataset: names of `CLIP_CORPORA`, joined by "+".

    Returns:
        dict of task name to ClipDataset, in the order of the names.

    Raises:
        InputError: an unknown name, two corpora of one task, or a folder that does not have its corpus's layout.

    Example:
        >>> load_clips("data", "tut_urban_acoustic_scenes_2018+audioset")["scene"].labels
    """
    names, data = dataset.split("+"), pathlib.Path(data)
    unknown = [name for name in names if name not in CLIP_CORPORA]
    if unknown:
        raise InputError(f"corpus: expected some of {', '.join(CLIP_CORPORA)}. Received: {', '.join(unknown)}.")
    tasks = [CLIP_CORPORA[name] for name in names]
    expect(len(set(tasks)) == len(tasks), "corpus", "corpora of different tasks", dataset, "Train on one of them.")
    folders = [data / name if len(names) > 1 or (data / name).is_dir() else data for name in names]
    return {task: corpus_module(name).load_clips(folder) for task, name, folder in zip(tasks, names, folders)}


def corpus_module(corpus):
    """Return the module of a corpus of CORPORA or CLIP_CORPORA.

    Beside its loader it may have facts that all files of the corpus share: SAMPLE_RATE (Hz), SAMPLE_FORMAT (as
    check_corpus reports it) and SECONDS (the length of each recording).
    """
    return importlib.import_module(f"polysed_keras.datasets.{corpus}")


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


def table_rows(path, columns):
    """Yield (place, {column: field}) of the rows of a CSV file; the place is for messages.

    Args:
        path: file with a header.
        columns: names that the header has to have; rows have to be filled in these.

    Raises:
        InputError: the file is missing or no UTF-8 text; a column is missing; a row is not filled.
    """
    header = None
    for place, line in numbered_lines(path):
        fields = next(csv.reader([line]))
        if header is None:
            header = fields
            expect(set(columns) <= set(header), place, f"a header with {', '.join(columns)}", ", ".join(header),
                   "Put the corpus's own file there.")
        else:
            row = dict(zip(header, map(str.strip, fields)))
            expect(all(row.get(column) for column in columns), place, f"a row with {', '.join(columns)}", line,
                   "Correct or remove the row.")
            yield place, row


def check_folder(path, expected):
    """Raise InputError if a folder does not exist; `expected` describes it in the message."""
    if not path.is_dir():
        raise InputError(f"{path}: expected {expected}. Received: no such folder. Check --data.")


def index_audio(folder):
    """Return {stem: path} of the audio files in a folder, {} if there is no such folder; of two suffixes .wav."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else ()  # sorted: .wav is the last of the usual ones
    return {path.stem: path for path in paths if is_audio(path)}


def take_present(folder, listed, names):
    """Return what a Dataset or ClipDataset has of listed items: those whose audio exists, and the others' names.

    The others are logged in one line.

    Args:
        folder: path that the audio is below.
        listed: {partition: list of Recording or Clip}, with `audio` None if the file is missing.
        names: str, how the files are named.

    Returns:
        partitions, {name: tuple of items} of all PARTITIONS; and missing, a tuple of names.

    Raises:
        InputError: the audio of every item is missing.
    """
    num_listed = sum(map(len, listed.values()))
    missing = tuple(item.name for items in listed.values() for item in items if item.audio is None)
    if len(missing) == num_listed:
        raise InputError(f"{folder}: expected audio of the lists, named {names}. Received: none of {num_listed} files. "
                         "Add the audio or check --data.")
    if missing:
        logger.warning("%s: %d of %d listed files (%.1f %%) are not there and are left out: %s%s", folder,
                       len(missing), num_listed, 100 * len(missing) / num_listed, ", ".join(missing[:5]),
                       ", ..." if len(missing) > 5 else "")
    return {name: tuple(item for item in listed.get(name, ()) if item.audio) for name in PARTITIONS}, missing
