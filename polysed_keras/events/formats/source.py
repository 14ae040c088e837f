"""An annotation file as text, lines and rows of fields, whatever its encoding, separator, quoting and decimal mark."""
import collections
import csv
import dataclasses
import functools
import itertools
import math
import pathlib
import re
import unicodedata

from polysed_keras.audio import AUDIO_SUFFIXES
from polysed_keras.errors import InputError, expect

EVENT = ("onset", "offset", "event_label")
# Names of columns in lower case without blanks and signs; a unit of time may follow the first three.
_NAMES = {
    "onset": ("onset", "eventonset", "start", "starttime", "eventstart", "begin", "begintime", "from", "tmin", "xmin",
              "tstart", "beginn", "anfang", "startzeit", "anfangszeit"),
    "offset": ("offset", "eventoffset", "end", "endtime", "eventend", "stop", "stoptime", "to", "tmax", "xmax", "tend",
               "ende", "endzeit"),
    "duration": ("duration", "eventduration", "length", "dur", "dauer"),
    "filename": ("filename", "file", "audiofilename", "audiofile", "audio", "filepath", "path", "recording",
                 "segmentid", "beginfile", "beginpath", "infile", "soundfile", "wavfile", "wav", "notatedpath", "datei",
                 "dateiname", "audiodatei"),
}
# Columns that may hold labels. Of several, the first one is taken that holds words, else the first that is filled.
LABEL_NAMES = ("eventlabel", "eventlabels", "annotation", "species", "label", "labels", "commonname", "speciescode",
               "class", "type", "tag", "classname", "classlabel", "category", "event", "soundclass", "scientificname",
               "manualid", "autoid", "top1match", "sound", "soundevent", "eventclass", "eventtype", "text", "klasse",
               "bezeichnung", "ereignis")
# Units of time, and how many of them a second has; the longer ones are those of ELAN.
_UNITS = {r"(?:in)?(?:s|secs?|seconds?|sek|sekunden)?|ssmsec|hhmmss(?:ms)?": 1,
          r"(?:in)?(?:ms|msecs?|millis|milliseconds?|millisekunden)": 1000}
_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:e[+-]?\d+)?|[+-]?(?:nan|inf(?:inity)?)", re.IGNORECASE)
_CLOCK = re.compile(r"(?:\d+:[0-5]?\d|\d+):[0-5]?\d(?:[.,]\d*)?")  # minutes:seconds or hours:minutes:seconds
_QUOTED = re.compile(r'"((?:[^"]|"")*)"', re.DOTALL)
_UNSEEN = re.compile("[\u00ad\u200b\u200e\u200f\u2060]")  # a soft hyphen, a blank without width, signs of direction
_ROW_NAME = re.compile(r'"\d+"')  # R's write.table puts it before each row, and nothing over it
_SEPARATORS = ("\t", ";", ",", "|", " ")
_NOTHING = {"", "na", "n/a", "nan", "none", "null"}  # how R, pandas and people write that nothing is there
# How files begin that are no text, and what they are.
_NO_TEXT = {b"ooBinaryFile": "a binary file of Praat. Save it as text file there",
            b"PK\3\4": "a ZIP file, such as a workbook of Excel. Save it as CSV there",
            b"\xd0\xcf\x11\xe0": "a workbook of Excel. Save it as CSV there", b"%PDF": "a PDF. Save it as text",
            b"SQLite format 3": "a data base. Save its table as CSV"}
_PEEK = 50  # rows by which the separator is found


@dataclasses.dataclass(frozen=True)
class Row:
    """One event as text.

    Attributes:
        place: file and line, for messages.
        recording: the name of its recording, None for the one that the file is named after.
        onset, offset, label: its fields.
        begin: the onset in the recording, if `onset` and `offset` count from somewhere else; else None.
        units: how many of the units of the onset (or of `begin`, if there is one) and of the offset a second has.
    """
    place: str
    recording: str | None
    onset: str
    offset: str
    label: str
    begin: str | None = None
    units: tuple[int, int] = (1, 1)

    @property
    def times(self):
        """Tuple of the fields that have to be times."""
        return (self.onset, self.offset) if self.begin is None else (self.begin, self.onset, self.offset)

    @property
    def is_no_event(self):
        """Whether it says of a recording that it has no events, by empty fields or by words such as NA."""
        words = {field.lower() for field in (self.onset if self.begin is None else self.begin, self.offset, self.label)}
        return words <= _NOTHING and (self.recording is not None or words != {""})


@dataclasses.dataclass(frozen=True)
class Source:
    """The text of an annotation file, and what can be made of it without knowing its format."""
    path: pathlib.Path
    text: str

    @functools.cached_property
    def lines(self):
        """List of (place for messages, line) of the lines that are not blank and no comments."""
        lines = [(f"{self.path}, line {number}", line) for number, line in enumerate(
            map(_without_comment, self.text.split("\n")), start=1) if line.strip()]
        return lines[1:] if lines and re.fullmatch(r"sep=.\s*", lines[0][1]) else lines  # Excel's hint

    @functools.cached_property
    def separator(self):
        """The separator of fields: a tab, a semicolon, a comma, a vertical bar, or blanks."""
        return _find_separator(self.lines)

    @functools.cached_property
    def rows(self):
        """List of (place, fields) of the rows with a filled field; empty fields at the end are left out."""
        rows = ((place, strip_end(fields)) for place, fields in _split(self.lines, self.separator))
        rows = [(place, fields) for place, fields in rows if fields]
        if all(_ROW_NAME.match(line) for _, line in self.lines[1:]) and all(
                len(fields) == len(rows[0][1]) + 1 for _, fields in rows[1:]):
            rows[1:] = [(place, fields[1:]) for place, fields in rows[1:]]
        return rows

    @functools.cached_property
    def header(self):
        """Tuple of plain names of the columns (see `plain`), empty if the first row is no header."""
        return tuple(plain(field) for field in self.rows[0][1]) if self.rows and is_header(self.rows[0][1]) else ()


def read_source(path, encoding=None):
    """Read a text file in Unicode, or in the encoding given if it is in another one.

    Raises:
        InputError: the file cannot be read, or not as text.
    """
    path = pathlib.Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a text file. Received: {error.strerror}. Check the path.") from error
    for begin, what in _NO_TEXT.items():
        if data.startswith(begin):
            raise InputError(f"{path}: expected text. Received: {what}.")
    try:
        text = data.decode(_unicode(data))
    except UnicodeDecodeError as error:
        text = _decode(path, data, encoding, error)
    text = text.rstrip("\0\x1a")  # what is left where a disk was full, and the end of files of DOS
    return Source(path, text.replace("\ufeff", "").replace("\r\n", "\n").replace("\r", "\n"))


def _unicode(data):
    if data.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    begin = data[:1000].rstrip(b"\0")
    shares = [part.count(0) / max(1, len(part)) for part in (begin[::2], begin[1::2])]
    if max(shares) < 0.5:  # UTF-16 without a mark has a zero in every second byte, but for letters of other scripts
        return "utf-8"
    return "utf-16-be" if shares[0] > shares[1] else "utf-16-le"


def _decode(path, data, encoding, error):
    place = f"{path}, line {data.count(10, 0, error.start) + 1}"
    hint = "Save it as UTF-8, or say the encoding, such as --encoding windows-1252."
    expect(encoding, place, "text in UTF-8", data[max(0, error.start - 20):error.start + 10], hint)
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError) as failure:
        raise InputError(f"{place}: expected text in {encoding}. Received: {failure}. {hint}") from failure


def plain(name):
    """Return the name of a column in lower case, without blanks and signs: "Begin Time (s)" is "begintimes"."""
    return re.sub(r"[\W_]+", "", name.lower())


def role(name):
    """Return what a column of this plain name holds: a key of _NAMES, "event_label", or "" for anything else."""
    return column(name)[0]


@functools.lru_cache(1024)
def column(name):
    """Return of a column of this plain name its role, its name without a unit, and how many units a second has."""
    for found, names in _NAMES.items():
        for unit, number in _UNITS.items() if found != "filename" else [("", 1)]:
            if match := re.fullmatch(f"({'|'.join(names)})(?:{unit})", name):
                return found, match[1], number
    return "event_label" if name in LABEL_NAMES else "", name, 1


def is_number(text):
    """Say whether a text is a number, with a decimal point or a decimal comma."""
    return bool(_NUMBER.fullmatch(text))


def is_clock(text):
    """Say whether a text is a time as minutes:seconds or hours:minutes:seconds."""
    return bool(_CLOCK.fullmatch(text))


def is_time(text):
    """Say whether a text is a number, or a time with colons."""
    return is_number(text) or is_clock(text)


def is_header(fields):
    """Say whether fields name columns of events, strong or weak."""
    if any(map(is_time, fields)):
        return False
    roles = {role(plain(field)) for field in fields}
    return roles == {"filename"} or len(roles & {"onset", "offset", "duration", "event_label", "filename"}) > 1


def find_times(fields):
    """Return the place of the onset in a row without a header, None if it has none.

    File and scene may stand before it. A number is a label only if it is the last field.
    """
    for place in range(min(3, len(fields) - 2)):
        onset, offset, label = fields[place:place + 3]
        if is_time(onset) and is_time(offset) and label and (not is_time(label) or len(fields) == place + 3):
            return place
    return None


def _without_comment(line):
    """Return a line; of a comment behind # nothing, unless it is an event, the header or a file's name."""
    if not line.lstrip().startswith("#") or re.match(r"\s*#\S", line) and any(
            suffix in line.lower() for suffix in AUDIO_SUFFIXES):
        return line
    rest = line.lstrip().lstrip("#").lstrip()
    for separator in _SEPARATORS:
        try:
            (_, fields), *_ = _split([("", line)], separator)
            (_, columns), *_ = _split([("", rest)], separator)
        except (InputError, ValueError):  # quotes; nothing
            continue
        if len(columns) > 1 and is_header(columns) and all(role(plain(column)) for column in columns):
            return rest
        if separator != " " and find_times(fields) is not None:
            return line
    return ""


def _find_separator(lines):
    """Return the separator with which the most of the first rows have events, else the likeliest one."""
    first = [line for line in lines if not line[1].startswith("\\")][:_PEEK]
    if first and "\t" in first[0][1] and is_header(first[0][1].split("\t")):
        return "\t"

    def fitting(separator):
        try:
            rows = [[field for field in fields if field] for _, fields in _split(first, separator)]
        except InputError:  # a quoted field that does not end among the first rows, or only by this separator
            return 0
        return sum(find_times(fields) is not None or is_header(fields) and len(fields) > 1 for fields in rows)
    counts = {separator: fitting(separator) for separator in _SEPARATORS}
    best = max(counts, key=counts.get)
    if counts[best]:
        return best
    text = "".join(line for _, line in lines)
    mark = max(";,|", key=text.count)
    return "\t" if "\t" in text else mark if mark in text else " "


def _split(lines, separator):
    """Yield (place, fields) of every row, without the quotes around fields."""
    if separator in ";,|":
        yield from _split_csv(lines, separator)
        return
    for place, line in lines:
        parts = line.split("\t") if separator == "\t" else re.findall(r'"(?:[^"]|"")*"(?=\s|$)|\S+', line)
        yield place, [unquote(part) for part in parts]


def _split_csv(lines, separator):
    reader = csv.reader((f"{line}\n" for _, line in lines), delimiter=separator, skipinitialspace=True, strict=True)
    while True:
        place = lines[min(reader.line_num, len(lines) - 1)][0] if lines else ""  # a quoted field may hold line breaks
        try:
            yield place, [field.strip() for field in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f'{place}: expected fields separated by "{separator}", and quotes around whole fields or '
                             f"not at all. Received: {error}. Correct the quotes.") from error


def unquote(field):
    """Return a field without blanks around it, and without the quotes of CSV if it has both."""
    quoted = _QUOTED.fullmatch(field.strip())
    return quoted[1].replace('""', '"').strip() if quoted else field.strip()


def quote(field):
    """Return a field so that `unquote` gives it back: in the quotes of CSV if it has quotes on both sides."""
    return '"' + field.replace('"', '""') + '"' if _QUOTED.fullmatch(field) else field


def strip_end(fields):
    """Return a list of fields without the empty ones at its end."""
    while fields and not fields[-1]:
        fields = fields[:-1]
    return fields


def fit(columns, fields, place):
    """Return {column: field} of a row; several separators may stand for one. Raise InputError if it is too long."""
    filled = [field for field in fields if field]
    if len(fields) > len(columns) == len(filled):
        fields = filled
    if len(fields) > len(columns):
        raise InputError(f"{place}: expected {len(columns)} fields ({', '.join(columns)}). Received: {len(fields)}. "
                         "Correct the line.")
    row = {}
    for name, field in itertools.zip_longest(columns, fields, fillvalue=""):
        row.setdefault(name, field)  # of two columns of one name, the first
    return row


def collect(rows):
    """Return {recording or None: list of (onset, offset, label)} of a list of Row; {None: []} if there is no Row.

    Times are numbers, or have colons between hours, minutes and seconds. They have a decimal point, or a decimal comma
    if no time of the file has a point. A Row with nothing but a recording says that this has no events.

    Raises:
        InputError: times or labels are wrong; the message has the place.
    """
    found, commas = collections.defaultdict(list), _decimal_commas(rows)
    for row in rows:
        events = found[row.recording and unicodedata.normalize("NFC", row.recording)]
        if not row.is_no_event:
            events.append(_event(row, commas))
    return dict(found) or {None: []}


def _decimal_commas(rows):
    point = next((row for row in rows if any("." in time for time in row.times)), None)
    comma = next((row for row in rows if any("," in time for time in row.times)), None)
    if point and comma:
        raise InputError(f"{comma.place}: expected seconds with a decimal point, as in {point.place}. Received: a "
                         f"comma, {' and '.join(comma.times)}. Write all numbers with points, or all with commas.")
    return comma is not None


def _event(row, commas):
    if not all(map(is_time, row.times)):
        fields = ", ".join(field or "(nothing)" for field in (*row.times, row.label))
        raise InputError(f"{row.place}: expected onset, offset (seconds, decimal point) and label. Received: {fields}. "
                         "Correct the line.")
    *begin, onset, offset = (_seconds(time.replace(",", ".") if commas else time) for time in row.times)
    first, last = row.units
    if begin:
        onset, offset = begin[0] / first, begin[0] / first + (offset - onset) / last
    else:
        onset, offset = onset / first, offset / last
    return check_event(onset, offset, row.label, row.place)


def _seconds(time):
    """Return a number, or seconds of a time with colons."""
    seconds = 0.0
    for part in time.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


def check_event(onset, offset, label, place):
    """Return (onset, offset, label) with the label in composed Unicode and single blanks.

    Times that are wrong by less than a nanosecond, as computed ones may be, are put right.

    Raises:
        InputError: not 0 <= onset <= offset in finite seconds, or no label.
    """
    label = clean(label)
    if -1e-9 < onset <= 0:
        onset = 0.0
    if onset - 1e-9 < offset < onset:
        offset = onset
    if not (math.isfinite(offset) and 0 <= onset <= offset and label):
        raise InputError(f"{place}: expected finite seconds with 0 <= onset <= offset, and a label. Received: onset "
                         f"{onset:g}, offset {offset:g}, label {label!r}. Correct or remove the line.")
    return onset, offset, label


def clean(text):
    """Return a label or name as equal ones are equal: with composed letters (NFC), single blanks and nothing unseen."""
    return " ".join(_UNSEEN.sub("", unicodedata.normalize("NFC", text)).split())
