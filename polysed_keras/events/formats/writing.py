"""Writers of annotations in lines and tables. Each makes the text of a file of a list of Detected."""
import csv
import io
import typing

import pandas as pd

from polysed_keras.errors import expect
from polysed_keras.events.formats.source import clean, quote

_EVENT_HEADER = ("onset", "offset", "event_label", "confidence")
_RAVEN_HEADER = ("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)",
                 "Begin Path", "Begin File", "File Offset (s)", "Annotation", "Confidence")
_BIRDNET_HEADER = ("Start (s)", "End (s)", "Scientific name", "Common name", "Confidence", "File")


class Detected(typing.NamedTuple):
    """The events of one recording, to be written.

    Attributes:
        events: DataFrame with columns onset, offset (seconds), event_label and, if it is known, confidence.
        audio: str, path of the audio file.
        seconds: duration of the recording, None if it is not known.
        highest_frequency: half of its sample rate, in Hz.
    """
    events: pd.DataFrame
    audio: str = ""
    seconds: float | None = None
    highest_frequency: float = 22050.0

    @property
    def end(self):
        """Seconds to the end of the recording, or to that of the last event if this is later."""
        return max([self.seconds or 0.0, *self.events.offset])

    def rows(self):
        """Return a list of (onset, offset, label, confidence); the confidence of an annotation is 1.

        Labels have no tabs and line breaks, which would divide them in most formats.
        """
        confidences = self.events.get("confidence", pd.Series(1.0, index=self.events.index))
        return list(zip(self.events.onset.tolist(), self.events.offset.tolist(), map(clean, self.events.event_label),
                        confidences.tolist()))


def check_named(found):
    """Raise InputError if a recording has no name, for formats that need it."""
    expect(all(detected.audio for detected in found), "audio", "the path of the audio file, which the format names", "")


def write_tsv(found):
    """Write onset, offset and label of one recording, separated by tabs, without a header."""
    (detected,) = found
    return _tabbed([(*_seconds(*row[:2]), row[2]) for row in detected.rows()])


def write_tsv_table(found):
    """Write file name, onset, offset and label separated by tabs, after a header, as DESED's lists are."""
    check_named(found)
    lines = [("filename", *_EVENT_HEADER[:3])]
    for detected in found:
        lines += [(detected.audio, *_seconds(*row[:2]), row[2]) for row in detected.rows()] or [
            (detected.audio, "", "", "")]
    return _tabbed(lines)


def write_csv(found):
    """Write onset, offset, label and confidence of one recording, separated by commas, after a header."""
    (detected,) = found
    return _csv(_EVENT_HEADER, [_fields(row) for row in detected.rows()])


def write_csv_table(found):
    """Write file name, onset, offset, label and confidence separated by commas, after a header."""
    check_named(found)
    rows = []
    for detected in found:
        rows += [(detected.audio, *_fields(row)) for row in detected.rows()] or [(detected.audio, "", "", "", "")]
    return _csv(("filename", *_EVENT_HEADER), rows)


def write_raven(found):
    """Write a selection table; the times of several recordings run on, as when Raven opens them one after the other."""
    check_named(found)
    rows, begin = [], 0.0
    for detected in found:
        for onset, offset, label, confidence in detected.rows():
            rows.append((f"{len(rows) + 1}", "Spectrogram 1", "1", *_seconds(begin + onset, begin + offset), "0.000",
                         f"{detected.highest_frequency:.3f}", detected.audio,
                         detected.audio.rpartition("/")[2], f"{onset:.6f}", label, f"{confidence:.6f}"))
        begin += detected.end
    return _tabbed([_RAVEN_HEADER, *rows])


def write_birdnet(found):
    """Write BirdNET's table of results; a recording without events has a row that says nocall."""
    check_named(found)
    rows = []
    for detected in found:
        events = [(*_seconds(onset, offset), label, label, f"{confidence:.4f}", detected.audio)
                  for onset, offset, label, confidence in detected.rows()]
        rows += events or [(*_seconds(0, detected.end), "nocall", "nocall", "1.0000", detected.audio)]
    return _csv(_BIRDNET_HEADER, rows)


def _seconds(onset, offset):
    return f"{onset:.6f}", f"{offset:.6f}"


def _fields(row):
    return (*_seconds(*row[:2]), row[2], f"{row[3]:.6f}")


def _tabbed(rows):
    return "".join("\t".join(map(quote, row)) + "\n" for row in rows)


def _csv(header, rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()
