"""Readers of annotations in lines and tables: event lists, label tracks, selection tables, results of detectors.

Each reader gets a Source and the name of a label column or None. It returns {recording or None: list of (onset, offset,
label)}, None for the one that the file is named after, and raises InputError with file and line.
"""
import collections
import csv
import dataclasses

from polysed_keras.errors import InputError, expect
from polysed_keras.events.formats.source import (
    EVENT,
    LABEL_NAMES,
    Row,
    collect,
    column,
    find_times,
    fit,
    is_clock,
    is_header,
    is_number,
    is_time,
    plain,
    role,
    strip_end,
    unquote,
)

NO_EVENT = "nocall"  # BirdNET's label for a file or a segment without any
CLASS_NAMES = ("mid_to_display_name.tsv", "class_labels_indices.csv")  # AudioSet's, beside a strong list
_PREFIXES = ((), ("filename",), ("filename", "scene_label"))
_SUFFIXES = (("confidence",), ("source", "identifier"), ("source", "identifier"))
_RAVEN = "a selection table's header with Begin Time (s), End Time (s) and a column of labels"


def read_event_list(source, label_column=None):
    """Read events of one or several recordings, with a header or without.

    With a header, `source.role` says what its columns hold; a duration may stand in place of the offset. Without one, a
    row is onset, offset, label[, confidence], filename, onset, offset, label[, identifier], or filename, scene_label,
    onset, offset, label[, source[, identifier]]. A filename alone has no events.
    """
    if source.header:
        return collect(_table_rows(source, label_column))
    expect(label_column is None, source.path, f"a header with the column {label_column}", "a table without a header")
    _check_header(source)
    shape, rows = _shape(source), []
    for place, fields in source.rows:
        row = fit(shape, fields, place)
        _check_file(row, place)
        if is_number(row.get("filename", "")) and is_number(row.get("scene_label", "")):
            raise InputError(f"{place}: expected filename, scene, onset, offset and label. Received: "
                             f"{', '.join(fields)}. If these are decimal commas, separate fields by ; or tabs.")
        rows.append(Row(place, row.get("filename"), *(row.get(name, "") for name in EVENT)))
    return collect(rows)


def _check_header(source):
    """Raise InputError if the first row seems to be a header whose names are not known."""
    place, names = source.rows[0] if len(source.rows) > 1 else ("", ())
    if len(names) > 2 and not any(map(is_time, names)) and sum(map(is_time, source.rows[1][1])) > 1:
        raise InputError(f"{place}: expected events, or a header with names such as onset (start, begin), offset (end, "
                         "stop) or duration, in seconds or milliseconds (ms), and label (class, species). Received: "
                         f"{', '.join(names)}. Rename the columns.")


def _shape(source):
    """Return the columns of rows without a header: those of the most rows that have an onset and an offset.

    After the label, blanks separate no fields but words of a label, which is refused.
    """
    found = collections.Counter()
    for _, fields in source.rows:
        fields = fields if find_times(fields) is not None else [field for field in fields if field]
        place = find_times(fields)
        extra = fields[(place or 0) + 3:]
        fits = source.separator != " " and (place or is_confidence(*extra[:1])) if extra else True
        if place is not None and fits and len(extra) <= len(_SUFFIXES[place]):
            found[_PREFIXES[place] + EVENT + _SUFFIXES[place][:len(extra)]] += 1
    if found:
        return found.most_common(1)[0][0]
    longest = max((len(fields) for _, fields in source.rows), default=1)
    return ("filename",) if longest == 1 else _PREFIXES[min(max(longest - 3, 0), 2) if longest < 6 else 0] + EVENT


def is_confidence(field):
    """Say whether a field is a number with decimals in 0..1."""
    return is_number(field) and not field.isdigit() and 0 <= float(field.replace(",", ".")) <= 1


def _check_file(row, place):
    if not row.get("filename", "its own"):
        raise InputError(f"{place}: expected a file name. Received: none. Correct or remove the line.")


def _table_rows(source, label_column=None):
    """Return a list of Row of a table with a header."""
    columns = _columns(source, label_column)
    rows = []
    for place, row in _records(source):
        filename = row[columns["filename"]] if "filename" in columns else None
        _check_file({"filename": filename} if "filename" in columns else {}, place)
        onset, label = row[columns["onset"]], row[columns["event_label"]]
        last = columns["offset" if "offset" in columns else "duration"]
        units = column(columns["onset"])[2], column(last)[2]
        if "offset" in columns:
            rows.append(Row(place, filename, onset, row[last], label, units=units))
        else:
            rows.append(Row(place, filename, "0" if row[last] else "", row[last], label, begin=onset, units=units))
    return rows


def _records(source):
    """Yield (place, {plain column: field}) of the rows after the header, which may come again in another order."""
    columns = source.header
    for place, fields in source.rows[1:]:
        if is_header(fields):
            columns = tuple(map(plain, fields))
            expect(set(columns) == set(source.header), place, f"the columns of {source.rows[0][0]}", ", ".join(fields),
                   "Divide the file here.")
        else:
            yield place, fit(columns, fields, place)


def _columns(source, label_column):
    """Return {"onset": plain name of its column, ...} of a table with a header."""
    names = collections.defaultdict(list)
    for name in source.header:
        names[role(name)].append(name)
    if "onset" not in names and {"offset", "duration"} <= set(names):  # Kaleidoscope's offset in the file
        names["onset"] = names.pop("offset")
    label = find_label(source, label_column)
    if "onset" not in names or not {"offset", "duration"} & set(names) or label is None:
        hint = ("Weak labels, which do not say when, cannot be imported." if label else
                "Name the column of labels by --label-column.")
        raise InputError(f"{source.rows[0][0]}: expected strong labels, the columns onset, offset (or duration) in "
                         f"seconds and event_label. Received: {', '.join(source.rows[0][1])}. {hint}")
    columns = {found: _choose(found, there, source) for found, there in names.items()
               if found != "duration" or "offset" not in names}
    return columns | {"event_label": label}


def _choose(found, names, source):
    """Return the name of the one of several columns that holds something, in seconds if it is there in several units.

    ELAN writes each time in up to three units. Times of several kinds, such as start and onset, are refused.
    """
    if found in ("onset", "offset", "duration"):
        expect(len(set(names)) == len(names) and len({column(name)[1] for name in names}) == 1, source.rows[0][0],
               f"one column of each time, here of {found}", ", ".join(source.rows[0][1]), "Remove the others.")
    return min(names, key=lambda name: column(name)[2])


def find_label(source, label_column=None):
    """Return the plain name of the column of labels, or None if there is none. See LABEL_NAMES."""
    if label_column is not None:
        place, fields = source.rows[0] if source.rows else (source.path, ())
        expect(plain(label_column) in source.header, place, f"the column {label_column}", ", ".join(fields),
               "Choose one of these.")
        return plain(label_column)
    names = [name for name in LABEL_NAMES if name in source.header]
    if len(names) < 2:
        return next(iter(names), None)
    fields = {(name, field) for _, row in source.rows[1:] if not is_header(row)
              for name, field in zip(source.header, row) if field and name in names}
    words, filled = {name for name, field in fields if not is_number(field)}, {name for name, _ in fields}
    return next((name for found in (words, filled, names) for name in names if name in found), None)


def read_audacity(source, label_column=None):
    """Read a label track of Audacity; a fourth field, BirdNET's confidence, is passed over."""
    rows = []
    for place, line in source.lines:
        if rows and line.startswith("\\"):
            continue
        fields = [unquote(field) for field in line.split("\t")]
        fields = fields[:-1] if len(fields) == 4 and is_confidence(fields[3]) else fields
        row = fit(EVENT, strip_end(fields), place)
        rows.append(Row(place, None, *(row[name] for name in EVENT)))
    return collect(rows)


def read_elan(source, label_column=None):
    """Read ELAN's tab-delimited text without a header: tier, participant, begin, end, duration, annotation."""
    expect(is_elan(source) or not source.rows, source.lines[0][0] if source.lines else source.path,
           "tier, participant, begin, end and duration as hh:mm:ss.ms, and annotation, separated by tabs",
           source.text[:80], "Export it again with these.")
    tiers = {fields[0] for _, fields in source.rows}
    expect(label_column is None or label_column in tiers, source.path, f"the tier {label_column}", ", ".join(tiers),
           "Choose one of these.")
    return collect([Row(place, None, fields[2], fields[3], fields[5]) for place, fields in source.rows
                    if label_column in (None, fields[0])])


def is_elan(source):
    """Say whether all rows have the fields of ELAN's tab-delimited text."""
    return bool(source.rows) and all(len(fields) > 5 and all(map(is_clock, fields[2:5])) for _, fields in source.rows)


def read_raven(source, label_column=None):
    """Read a selection table of Raven for one or several sound files; a selection of several views is one event."""
    if not source.lines:
        return {None: []}
    header, label = source.header, find_label(source, label_column)
    if label is None or not {"begintimes", "endtimes"} <= set(header):
        raise InputError(f"{source.lines[0][0]}: expected {_RAVEN} ({', '.join(LABEL_NAMES[2:8])}, ...). Received: "
                         f"{source.lines[0][1].strip()}. Name another column of labels by --label-column.")
    file = next((name for name in ("beginpath", "beginfile") if name in header), None)
    rows, seen, files = [], set(), set()
    for place, row in _records(source):
        files.add(row.get(file))
        event = Row(place, row.get(file), row["begintimes"], row["endtimes"], row[label],
                    begin=row.get("fileoffsets") if file else None)
        key = row.get("selection", place), dataclasses.replace(event, place="")
        if key not in seen:
            rows.append(event)
        seen.add(key)
    if len(files) > 1 and "fileoffsets" not in header:
        raise InputError(f"{source.path}: names {len(files)} files, so expected the measurement File Offset (s). "
                         "Received: a table without it. Add it in Raven and save the table again.")
    return collect_calls(rows)


def read_birdnet(source, label_column=None):
    """Read results of BirdNET: its CSV, its table for R, or its selection table. `nocall` is no event."""
    if "begintimes" in source.header:
        return read_raven(source, label_column)
    if source.lines and not source.header:
        raise InputError(f"{source.lines[0][0]}: expected BirdNET's header, such as Start (s),End (s),Scientific "
                         f"name,Common name,Confidence. Received: {source.lines[0][1].strip()}.")
    return collect_calls(_table_rows(source, label_column) if source.lines else [])


def collect_calls(rows):
    """Return what `collect` does; events that are called NO_EVENT are none, but their recordings are there."""
    return collect(_without(rows, lambda row: row.label.lower() == NO_EVENT))


def _without(rows, is_none):
    """Return rows; of those that are no events, only the recording is left if they name one."""
    return [Row(row.place, row.recording, "", "", "") if is_none(row) else row
            for row in rows if row.recording is not None or not is_none(row)]


def read_urban_sed(source, label_column=None):
    """Read a file of URBAN-SED: start, end and label on a line, without a header."""
    rows = []
    for place, fields in source.rows:
        filled = [field for field in fields if field]
        expect(len(filled) <= 3, place, "onset, offset (seconds) and label", ", ".join(filled), "Correct the line.")
        rows.append(Row(place, None, *(fit(EVENT, filled, place)[name] for name in EVENT)))
    return collect(rows)


def read_desed(source, label_column=None):
    """Read a strong-label list of DESED: filename, onset, offset, event_label with a header."""
    if "filename" not in map(role, source.header):
        place, line = source.lines[0] if source.lines else (source.path, "")
        expect(False, place, "the header filename, onset, offset, event_label, separated by tabs", line,
               "Correct the line, or choose another format.")
    return read_event_list(source, label_column)


def read_audioset_strong(source, label_column=None):
    """Read a strong list of AudioSet: segment_id, start_time_seconds, end_time_seconds, label[, present].

    Labels are written out if mid_to_display_name.tsv or class_labels_indices.csv lies beside the file; rows that say
    NOT_PRESENT are no events. A recording is named after its segment.
    """
    expect("segmentid" in source.header, source.lines[0][0] if source.lines else source.path,
           "the header segment_id, start_time_seconds, end_time_seconds, label", source.text[:80])
    names = _class_names(source.path.parent)
    absent = set()
    if "present" in source.header:
        absent = {place for place, row in _records(source) if row["present"].upper() == "NOT_PRESENT"}
    rows = [dataclasses.replace(row, label=names.get(row.label, row.label))
            for row in _table_rows(source, label_column)]
    return collect(_without(rows, lambda row: row.place in absent))


def _class_names(folder):
    """Return {machine identifier: display name}, empty if no list of CLASS_NAMES lies in the folder."""
    path = next((folder / name for name in CLASS_NAMES if (folder / name).is_file()), None)
    if path is None:
        return {}
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        return {row[-2]: row[-1] for row in rows if len(row) > 1}


def read_bioacoustic(source, label_column=None):
    """Read DCASE's bioacoustic tables: Audiofilename, Starttime, Endtime, and a column per class with POS, NEG or UNK.

    A class is an event where it says POS; UNK, which annotators were not sure of, is none.
    """
    classes = [name for name in source.rows[0][1] if not role(plain(name))] if source.rows else []
    expect(classes and _has_bioacoustic_columns(source), source.lines[0][0] if source.lines else source.path,
           "the header Audiofilename, Starttime, Endtime and a column per class", source.text[:80])
    rows = []
    for place, row in _records(source):
        rows.append(Row(place, row["audiofilename"], "", "", ""))
        for name in classes:
            expect(row[plain(name)].upper() in ("POS", "NEG", "UNK"), place, f"POS, NEG or UNK for {name}",
                   row[plain(name)], "Correct the line.")
            if row[plain(name)].upper() == "POS":
                rows.append(Row(place, row["audiofilename"], row["starttime"], row["endtime"], name))
    return collect(rows)


def is_bioacoustic(source):
    """Say whether a Source has the columns, and in its first row the words, of DCASE's bioacoustic tables."""
    return _has_bioacoustic_columns(source) and bool({"POS", "NEG", "UNK"} & set(source.rows[1][1]))


def _has_bioacoustic_columns(source):
    return {"audiofilename", "starttime", "endtime"} <= set(source.header) and len(source.rows) > 1
