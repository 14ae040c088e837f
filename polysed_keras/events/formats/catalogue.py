"""The formats of annotations: what each is told by, how it is read and how it is written. A new format is one entry."""
import dataclasses
import logging
import pathlib
import typing

from polysed_keras.audio import AUDIO_SUFFIXES
from polysed_keras.errors import InputError, expect_known
from polysed_keras.events.formats import tables, writing
from polysed_keras.events.formats.label_studio import is_label_studio, read_label_studio, write_label_studio
from polysed_keras.events.formats.source import find_times, read_source, role
from polysed_keras.events.formats.textgrid import read_textgrid, write_textgrid
from polysed_keras.events.formats.writing import Detected
from polysed_keras.files import atomic_file

SUFFIXES = (".txt", ".tsv", ".csv", ".ann", ".textgrid", ".json")
NO_ANNOTATIONS = ("readme", "license", "birdnet_analysis_params", "birdnet.analyze-params")  # beginnings of file names
URBAN_SED_FOLDERS = ("train", "validate", "test")
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of annotation files.

    Attributes:
        description: str, what its files are.
        read: function of a Source and a label column or None: {recording or None: list of (onset, offset, label)}.
        is_it: function of a Source that says whether it is in this format; the default is for formats that another
            one reads too.
        write: function of a list of one Detected that returns the text of its file; None if it is not written.
        write_table: the same of several Detected for one file; None if a file holds one recording.
        suffix: of files that are written.
        needs_length: bool, whether a file that is written tells how long its recording is.
    """
    description: str
    read: typing.Callable
    is_it: typing.Callable = lambda source: False
    write: typing.Callable | None = None
    write_table: typing.Callable | None = None
    suffix: str = ".txt"
    needs_length: bool = False


def _roles(source):
    return set(map(role, source.header))


def _is_event_list(source):
    if "onset" in _roles(source) or {"offset", "duration"} <= _roles(source) or _roles(source) == {"filename"}:
        return True
    if "filename" in _roles(source):  # weak labels, which the reader refuses
        return True
    return any(find_times([field for field in fields if field]) is not None for _, fields in source.rows) or (
        bool(source.rows) and all(len(fields) == 1 and fields[0].lower().endswith(AUDIO_SUFFIXES)
                                  for _, fields in source.rows))


# The first that a file is told to be is taken, so that the special ones stand before the general ones.
FORMATS = {
    "textgrid": Format("Praat's TextGrid, long or short: intervals and points with a text, in tiers", read_textgrid,
                       lambda source: source.path.suffix.lower() == ".textgrid" or "ooTextFile" in source.text[:40],
                       write_textgrid, suffix=".TextGrid", needs_length=True),
    "label_studio": Format("Label Studio's JSON, JSON-MIN or CSV; written as predictions to import there",
                           read_label_studio, is_label_studio, write_label_studio, write_label_studio, ".json"),
    "birdnet": Format("BirdNET's results: its CSV, its table for R, its selection table; nocall is no event",
                      tables.read_birdnet, lambda source: {"commonname", "confidence"} <= set(source.header),
                      writing.write_birdnet, writing.write_birdnet, ".csv", needs_length=True),
    "raven": Format("a selection table of Raven; several files need File Offset (s)", tables.read_raven,
                    lambda source: {"begintimes", "endtimes"} <= set(source.header), writing.write_raven,
                    writing.write_raven, needs_length=True),
    "audioset_strong": Format("AudioSet's strong lists: segment_id, start_time_seconds, end_time_seconds, label",
                              tables.read_audioset_strong, lambda source: "segmentid" in source.header),
    "dcase_bioacoustic": Format("tables of DCASE's few-shot bioacoustic task: a column per class with POS, NEG or UNK",
                                tables.read_bioacoustic, tables.is_bioacoustic),
    "desed": Format("a list with the header filename, onset, offset, event_label and tabs", tables.read_desed,
                    lambda source: "filename" in source.header and {"eventlabel", "eventlabels"} & set(source.header)
                    and "\t" in source.lines[0][1]),
    "elan": Format("ELAN's tab-delimited text: tier, participant, begin, end, duration, annotation", tables.read_elan,
                   tables.is_elan),
    "audacity": Format("an exported label track: start, end and label separated by tabs, with frequencies or without",
                       tables.read_audacity, lambda source: any(line.startswith("\\") for _, line in source.lines),
                       writing.write_tsv),
    "urban_sed": Format("train/, validate/ and test/ with a file per recording: start, end, label",
                        tables.read_urban_sed,
                        lambda source: source.path.parent.name in URBAN_SED_FOLDERS and not source.header
                        and any(find_times(fields) == 0 for _, fields in source.rows)),
    "sed_eval": Format("event lists of one or several recordings, with a header or without", tables.read_event_list,
                       _is_event_list),
    "tsv": Format("an event list separated by tabs", tables.read_event_list, write=writing.write_tsv,
                  write_table=writing.write_tsv_table, suffix=".tsv"),
    "csv": Format("an event list separated by commas, with confidences", tables.read_event_list,
                  write=writing.write_csv, write_table=writing.write_csv_table, suffix=".csv"),
}
ANNOTATION_FORMATS = tuple(FORMATS)
DETECTION_FORMATS = {name: format.suffix for name, format in FORMATS.items() if format.write}
LENGTH_FORMATS = tuple(name for name, format in FORMATS.items() if format.needs_length)
TABLE_FORMATS = tuple(name for name, format in FORMATS.items() if format.write_table)


@dataclasses.dataclass(frozen=True)
class Annotation:
    """The events of one recording, as the annotation has them.

    Attributes:
        recording: the audio file's name as the source gives it, else the annotation file's without its suffix.
        events: (onset, offset, event_label) each, 0 <= onset <= offset in seconds; both are equal for a point.
        source: the annotation file.
        partition: the folder of urban_sed, None for other formats.
    """
    recording: str
    events: tuple[tuple[float, float, str], ...]
    source: pathlib.Path
    partition: str | None = None


def read_annotations(path, format=None, *, label_column=None, encoding=None):
    """Read a file of annotations, or all files in a folder and its subfolders with one of SUFFIXES.

    Hidden files, READMEs, licences, BirdNET's parameters and JSON that is no annotations are passed over.

    Args:
        path: file or folder.
        format: a name of ANNOTATION_FORMATS; None to find it out from the content.
        label_column: the column (TextGrid: tier; Label Studio: control tag) that holds the labels; None to find it.
        encoding: of files that are neither UTF-8 nor UTF-16.

    Returns:
        The name of the format, and a list of Annotation.

    Raises:
        InputError: no annotations, several formats, or something in a file, whose line is named, is wrong.
    """
    expect_known([] if format is None else format, ANNOTATION_FORMATS, "format")
    path = pathlib.Path(path)
    paths = [path] if path.is_file() else _find_files(path)
    if not paths:
        received = "a folder without any" if path.is_dir() else "nothing there"
        raise InputError(f"{path}: expected a file of annotations, or a folder of them ({', '.join(SUFFIXES)}). "
                         f"Received: {received}. Check the path.")
    sources = [read_source(file, encoding) for file in paths]
    if len(sources) > 1:
        sources = [source for source in sources if _is_meant(source)]
    format = format or _find_format(sources)
    annotations = []
    for source in sources:
        folder = source.path.parent.name
        partition = folder if format == "urban_sed" and folder in URBAN_SED_FOLDERS else None
        annotations += [Annotation(name or source.path.stem, tuple(events), source.path, partition)
                        for name, events in FORMATS[format].read(source, label_column).items()]
    return format, annotations


def _find_files(folder):
    return sorted(
        file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and not file.name.lower().startswith(NO_ANNOTATIONS) and file.name not in tables.CLASS_NAMES)


def _is_meant(source):
    """Say whether a file of a folder may hold annotations: any but JSON that is no export of Label Studio."""
    meant = source.path.suffix.lower() != ".json" or any(
        f'"{key}"' in source.text for key in ("annotations", "predictions", "completions", "start"))
    if not meant:
        _log.info("%s: passed over, as it holds no annotations.", source.path)
    return meant


def _find_format(sources):
    """Find the one format of all files. Raise InputError if they have none, or several."""
    found = {}
    for source in sources:
        if source.lines:  # empty files say nothing
            name = next((name for name, format in FORMATS.items() if format.is_it(source)), None)
            if name is None:
                _refuse(source)
            found.setdefault(name, source.path)
    if set(found) == {"audacity", "sed_eval"} and not any(source.header for source in sources):
        # tracks with frequencies, and tracks without
        found.pop("sed_eval")
    if len(found) != 1:
        received = " and ".join(f"{name} ({file})" for name, file in found.items()) or (
            f"empty files only ({sources[0].path})")
        raise InputError(f"annotations: expected files of one format. Received: {received}. Choose the format: "
                         f"{', '.join(ANNOTATION_FORMATS)}; or move files that are no annotations elsewhere.")
    return next(iter(found))


def _refuse(source):
    """Raise InputError with what is wrong with a file as an event list, the most general format."""
    hint = (f"No format was told, so it was read as sed_eval. Choose the format: {', '.join(ANNOTATION_FORMATS)}; or "
            "move files that are no annotations elsewhere.")
    try:
        tables.read_event_list(source)
    except InputError as error:
        raise InputError(f"{error} {hint}") from error
    raise InputError(f"{source.lines[0][0]}: expected an event or a header. Received: {source.lines[0][1].strip()}. "
                     f"{hint}")


def write_detections(detected, path, format="tsv"):
    """Write the events of one recording to a file, atomically.

    Args:
        detected: Detected, or a DataFrame from posteriors_to_events for formats that name no audio file.
        path: file to write.
        format: a name of DETECTION_FORMATS.

    Raises:
        InputError: the format is unknown or names the audio file; or the file cannot be written.
    """
    expect_known(format, DETECTION_FORMATS, "format")
    detected = detected if isinstance(detected, Detected) else Detected(detected)
    _write(FORMATS[format].write([detected]), path)


def write_table(found, path, format="tsv"):
    """Write the events of several recordings to one file, atomically.

    Args:
        found: list of Detected.
        path: file to write.
        format: a name of DETECTION_FORMATS.

    Raises:
        InputError: the format is unknown, or holds one recording per file; or the file cannot be written.
    """
    expect_known(format, TABLE_FORMATS, "format", "Write a file per recording.",
                 expected="one of {}, which hold several recordings")
    _write(FORMATS[format].write_table(found), path)


def _write(text, path):
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
