"""Annotations as other tools write them, read into one form.

There is one function per format, in ANNOTATION_FORMATS::

    sed_eval   lines onset, offset, event_label; or a list of several recordings: filename, onset, offset, event_label,
               or filename, scene_label, onset, offset, event_label[, source[, identifier]]; a filename alone has no
               events. Separated by tabs, semicolons, commas or spaces, with or without a header.
    audacity   an exported label track: start TAB end TAB label, possibly followed by a line with a backslash and the
               lowest and highest frequency, which is passed over.
    raven      a selection table: a header, tabs. Labels are in the first column of RAVEN_LABELS that there is. A
               selection has a line for every view (waveform, spectrogram) that was saved; it is one event. If Begin
               File or Begin Path is there, File Offset (s) is the onset in that file.
    urban_sed  train/, validate/ and test/ with a file per recording: start, end, label separated by tabs or spaces.
    desed      lists with the header filename, onset, offset, event_label and tabs; a recording without events has a
               line with the other fields empty.

Sources: the manuals of sed_eval, dcase_util, Audacity and Raven Pro; the READMEs of URBAN-SED and DESED.
"""
import collections
import csv
import dataclasses
import itertools
import math
import pathlib
import re

from polysed_keras.audio import AUDIO_SUFFIXES
from polysed_keras.datasets.loading import PARTITIONS
from polysed_keras.errors import InputError, expect

SUFFIXES = (".txt", ".tsv", ".csv", ".ann")
RAVEN_LABELS = ("annotation", "species", "label", "common name", "species code", "class", "type", "tag")
_RAVEN_TIMES = ("begin time (s)", "end time (s)")
_EVENT = ("onset", "offset", "event_label")
_ALIASES = {"file": "filename", "event_onset": "onset", "event_offset": "offset", "label": "event_label"}
_SCENE = ("filename", "scene_label", *_EVENT, "source", "identifier")
_SHAPES = {3: _EVENT, 4: ("filename", *_EVENT), 5: _SCENE[:5], 6: _SCENE[:6], 7: _SCENE}  # without a header


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


def read_annotations(path, format=None):
    """Return the name of the format, and a list of Annotation, of a file or of all files in a folder.

    In a folder and its subfolders, files with one of SUFFIXES are read, but no hidden files and READMEs. Without a
    format, the content has to say which it is.
    """
    expect(format is None or format in ANNOTATION_FORMATS, "format", f"one of {', '.join(ANNOTATION_FORMATS)}", format)
    path = pathlib.Path(path)
    paths = [path] if path.is_file() else sorted(
        file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
        and not file.name.lower().startswith(("readme", "license")))
    if not paths:
        received = "a folder without any" if path.is_dir() else "nothing there"
        raise InputError(f"{path}: expected a file of annotations, or a folder of them ({', '.join(SUFFIXES)}). "
                         f"Received: {received}. Check the path.")
    texts = {file: read_lines(file) for file in paths}
    format = format or _find_format(texts)
    annotations = []
    for file, lines in texts.items():
        partition = file.parent.name if format == "urban_sed" and file.parent.name in PARTITIONS else None
        annotations += [Annotation(name or file.stem, tuple(events), file, partition)
                        for name, events in ANNOTATION_FORMATS[format](lines, file).items()]
    return format, annotations


def _find_format(texts):
    """Find the one format of all files, {path: lines}. Raise InputError if they have none, or several."""
    found = {_guess_format(path, lines): path for path, lines in texts.items()}
    found.pop(None, None)  # empty files say nothing
    if set(found) == {"audacity", "sed_eval"}:  # tracks with frequencies, and tracks without
        found.pop("sed_eval")
    if len(found) != 1 or "unknown" in found:
        received = " and ".join(f"{name} ({file})" for name, file in found.items()) or (
            f"empty files only ({next(iter(texts))})")
        raise InputError(f"annotations: expected a format that can be told. Received: {received}. Choose the format: "
                         f"{', '.join(ANNOTATION_FORMATS)}; or move files that are no annotations elsewhere.")
    return next(iter(found))


def read_lines(path):
    """Return [(place for messages, line)] of the lines that are not blank. Raise InputError if it is not UTF-8."""
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a text file in UTF-8. Received: {error}. Save it as UTF-8.") from error
    return [(f"{path}, line {number}", line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


# The module's docstring describes the formats. Each function gets the lines of a file, with their places, and its path.
# It returns a dict of recording (None for the one that the file is named after) to a list of events, and raises
# InputError, with file and line, for a line in another format.
def read_sed_eval(lines, path):
    """Read a sed_eval event list of one or several recordings: {recording or None: events}."""
    rows = _split_lines([line for _, line in lines])
    header = _header(rows[0], lines[0][0]) if rows else None
    lengths = [len(fields) for fields in rows if len(fields) > 1]
    shape = header or (_SHAPES.get(lengths[0], _EVENT) if lengths else ("filename",))
    found = collections.defaultdict(list)
    for (place, _), fields in list(zip(lines, rows))[1 if header else 0:]:
        row = _row(shape, fields, place)
        if not row.get("filename", "its own"):
            raise InputError(f"{place}: expected a file name. Received: none. Correct or remove the line.")
        events = found[row.get("filename")]
        if "filename" not in row or any(row.get(name) for name in _EVENT):
            events.append(_event([row[name] for name in _EVENT], place))
    return dict(found) or {None: []}


def read_audacity(lines, path):
    """Read a label track of Audacity: {None: events}."""
    events = []
    for place, line in lines:
        if not (events and line.startswith("\\")):
            events.append(_event(line.split("\t"), place))
    return {None: events}


def read_raven(lines, path):
    """Read a selection table of Raven for one or several sound files: {recording or None: events}."""
    if not lines:
        return {None: []}
    header = _lower(lines[0][1].split("\t"))
    label, file = (next((name for name in names if name in header), None)
                   for names in (RAVEN_LABELS, ("begin file", "begin path")))
    if label is None or not set(_RAVEN_TIMES) <= set(header):
        raise InputError(f"{lines[0][0]}: expected a selection table's header with Begin Time (s), End Time (s) and a "
                         f"column of labels ({', '.join(RAVEN_LABELS)}). Received: {', '.join(header)}.")
    found = collections.defaultdict(dict)  # dicts keep the order, and one event per selection
    for place, line in lines[1:]:
        row = _row(header, line.split("\t"), place)
        event = _event([*(row[name] for name in _RAVEN_TIMES), row[label]], place)
        if file and "file offset (s)" in header:
            onset, _, _ = _event([row["file offset (s)"], row["file offset (s)"], event[2]], place)
            event = onset, onset + event[1] - event[0], event[2]
        found[row[file] if file else None][row.get("selection", place), event] = event
    if len(found) > 1 and "file offset (s)" not in header:
        raise InputError(f"{path}: names {len(found)} files, so expected the measurement File Offset (s). Received: a "
                         "table without it. Add it in Raven and save the table again.")
    return {name: list(events.values()) for name, events in found.items()} or {None: []}


def read_urban_sed(lines, path):
    """Read a file of URBAN-SED, start, end and label on a line: {None: events}."""
    return {None: [_event(re.split(r"\t+" if "\t" in line else r"\s+", line.strip()), place)
                   for place, line in lines]}


def read_desed(lines, path):
    """Read a strong-label list of DESED: {recording: events}."""
    place, line = lines[0] if lines else (path, "")
    expect("filename" in (_header(line.split("\t"), place) or ()), place,
           "the header filename, onset, offset, event_label, separated by tabs", line,
           "Correct the line, or choose another format.")
    return read_sed_eval(lines, path)


ANNOTATION_FORMATS = {"sed_eval": read_sed_eval, "audacity": read_audacity, "raven": read_raven,
                      "urban_sed": read_urban_sed, "desed": read_desed}


def _guess_format(path, lines):
    """Return the format of a file, "unknown", or None if it is empty.

    Three columns without a header are urban_sed's in a folder of PARTITIONS, else sed_eval's, which reads a plain label
    track of Audacity too.
    """
    if not lines:
        return None
    header = set(_lower(re.split("[\t;,]", lines[0][1])))
    if header >= set(_RAVEN_TIMES):
        return "raven"
    if "filename" in header and header & {"event_label", "event_labels"}:
        return "desed" if "\t" in lines[0][1] else "sed_eval"
    if any(line.startswith("\\") for _, line in lines):
        return "audacity"
    try:
        (name, events), = read_sed_eval(lines[:1], path).items()
    except InputError:
        return "unknown"
    if name is None and path.parent.name in PARTITIONS and "onset" not in header:
        return "urban_sed"
    return "sed_eval" if name is None or events or name.lower().endswith(AUDIO_SUFFIXES) else "unknown"


def _split_lines(lines):
    """Return the fields of every line.

    They are separated by tabs, else by the more frequent of ; and , (labels may be quoted), else by spaces.
    """
    text = "".join(lines)
    mark = max(";,", key=text.count)
    if "\t" in text or mark not in text:
        return [[field.strip() for field in line.split("\t" if "\t" in text else None)] for line in lines]
    return [[field.strip() for field in next(csv.reader([line], delimiter=mark))] for line in lines]


def _header(fields, place):
    """Return the columns, by the names of _SHAPES, of a header; None for a line of data."""
    names = tuple(_ALIASES.get(name, name) for name in _lower(fields))
    if not {"onset", "event_labels"} & set(names) and names != ("filename",):
        return None
    if not set(_EVENT) <= set(names):
        raise InputError(f"{place}: expected strong labels, the columns onset, offset and event_label. Received: "
                         f"{', '.join(names)}. Weak labels, which do not say when, cannot be imported.")
    return names


def _lower(fields):
    return tuple(field.strip().lower() for field in fields)


def _row(columns, fields, place):
    if len(fields) > len(columns):
        raise InputError(f"{place}: expected {len(columns)} fields ({', '.join(columns)}). Received: {len(fields)}.")
    return {name: field.strip() for name, field in itertools.zip_longest(columns, fields, fillvalue="")}


def _event(fields, place):
    try:
        onset, offset, label = fields
        onset, offset = float(onset), float(offset)
    except ValueError as error:
        raise InputError(f"{place}: expected onset, offset (seconds, decimal point) and label. Received: "
                         f"{', '.join(fields)}. Correct the line.") from error
    label = " ".join(label.split())
    if not (math.isfinite(offset) and 0 <= onset <= offset and label):
        raise InputError(f"{place}: expected finite seconds with 0 <= onset <= offset, and a label. Received: onset "
                         f"{onset:g}, offset {offset:g}, label {label!r}. Correct or remove the line.")
    return onset, offset, label
