"""Praat's TextGrid: intervals and points with a text, in tiers that each cover the whole recording.

Praat reads free-standing numbers and texts in quotes and nothing else, so that its long and its short form are one.
"""
import re

from polysed_keras.errors import expect
from polysed_keras.events.formats.source import check_event, is_number

_TOKEN = re.compile(r'"(?:[^"]|"")*"|![^\n]*|\S+')
_TIMES = {'"IntervalTier"': 2, '"TextTier"': 1}  # an interval has two times, a point one


def read_textgrid(source, label_column=None):
    """Read the intervals and points that have a text, of all tiers or of the one called `label_column`.

    Returns:
        {None: list of (onset, offset, label)}; both times are equal for a point.
    """
    tokens = _Tokens(source)
    tokens.take('"ooTextFile"', ('"ooTextFile"', '"ooTextFile short"').__contains__)  # the latter of old versions
    tokens.take('"TextGrid"', '"TextGrid"'.__eq__)
    tokens.take_numbers(2)
    events, names = [], []
    for _ in range(tokens.take_count() if tokens.take("<exists> or <absent>", "<exists> <absent>".split().__contains__)
                   == "<exists>" else 0):
        times = _TIMES[tokens.take(" or ".join(_TIMES), _TIMES.__contains__)]
        names.append(tokens.take_text())
        tokens.take_numbers(2)
        found = [(tokens.take_numbers(times), tokens.place, tokens.take_text()) for _ in range(tokens.take_count())]
        if label_column in (None, names[-1]):
            events += [check_event(onsets[0], onsets[-1], text, place) for onsets, place, text in found if text.strip()]
    expect(label_column is None or label_column in names, source.path, f"the tier {label_column}", ", ".join(names),
           "Choose one of these.")
    return {None: sorted(events)}


class _Tokens:
    """The free-standing numbers, texts and flags of a TextGrid, one after the other.

    Attributes:
        place: file and line of the token that was taken last.
    """

    def __init__(self, source):
        self._source, self.place, self._line, self._end = source, f"{source.path}, line 1", 1, 0
        self._tokens = (match for match in _TOKEN.finditer(source.text)
                        if match[0][0] in '"<' or is_number(match[0]))

    def take(self, expected, fits):
        """Return the next token. Raise InputError unless it fits."""
        match = next(self._tokens, None)
        token = match[0] if match else "the end of the file"
        if match:
            self._line += self._source.text.count("\n", self._end, match.start())
            self._end, self.place = match.start(), f"{self._source.path}, line {self._line}"
        expect(match and fits(token), self.place, f"a TextGrid as Praat saves it as text, here {expected}", token,
               "Save it again in Praat.")
        return token

    def take_numbers(self, number):
        """Return a list of the next numbers."""
        return [float(self.take("a number", lambda token: is_number(token) and "," not in token))
                for _ in range(number)]

    def take_count(self):
        """Return the next number, how many of something follow."""
        return int(self.take("a whole number", str.isdecimal))

    def take_text(self):
        """Return the next text without its quotes."""
        return self.take("a text in quotes", lambda token: token[0] == '"' and len(token) > 1)[1:-1].replace('""', '"')


def write_textgrid(found):
    """Return the text of a TextGrid, in the long form, of one Detected: a tier per label."""
    (detected,) = found
    events = detected.events
    end = detected.end or 1.0  # Praat has no empty time
    lanes = [(label, lane) for label in dict.fromkeys(sorted(events.event_label))
             for lane in _lanes(events[events.event_label == label])] or [("events", [])]
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end:.6f}",
             "tiers? <exists>", f"size = {len(lanes)}", "item []:"]
    for number, (label, lane) in enumerate(lanes, start=1):
        intervals = _intervals(lane, f"{end:.6f}")
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f"        name = {_quote(label)}",
                  "        xmin = 0", f"        xmax = {end:.6f}", f"        intervals: size = {len(intervals)}"]
        for place, (onset, offset, text) in enumerate(intervals, start=1):
            lines += [f"        intervals [{place}]:", f"            xmin = {onset}", f"            xmax = {offset}",
                      f"            text = {_quote(text)}"]
    return "\n".join(lines) + "\n"


def _lanes(events):
    """Divide events of one label into lists of (onset, offset, label) without overlaps, as Praat's tiers are."""
    lanes = []
    for event in events.sort_values("onset")[["onset", "offset", "event_label"]].itertuples(index=False, name=None):
        lane = next((lane for lane in lanes if lane[-1][1] <= event[0]), None)
        if lane is None:
            lanes.append(lane := [])
        lane.append(event)
    return lanes


def _intervals(lane, end):
    """Return intervals from 0 to the end, as (onset, offset, text): the events of a lane, and empty ones between."""
    intervals, reached = [], "0"
    for onset, offset, label in lane:
        onset, offset = f"{onset:.6f}", f"{offset:.6f}"
        if float(onset) > float(reached):
            intervals.append((reached, onset, ""))
        intervals.append((onset, offset, label))
        reached = offset
    return intervals + [(reached, end, "")] * (float(reached) < float(end))


def _quote(text):
    return '"' + text.replace('"', '""') + '"'
