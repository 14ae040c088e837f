"""Event lists (onset, offset in seconds, event_label), event rolls (frames, labels) of 0 and 1, and conversions."""
import logging
import pathlib
import re

import numpy as np
import pandas as pd

from polysed_keras.errors import InputError, expect
from polysed_keras.files import atomic_file

COLUMNS = ["onset", "offset", "event_label"]
PRECISION = 1e-6  # Seconds: event list files hold six decimals, so edges closer than this are the same.
_log = logging.getLogger(__name__)


def read_events(path, labels=None, duration=None):
    """Read an event list file: onset, offset (seconds) and label per line, separated by tabs or spaces, no header.

    A byte-order mark, blank lines, carriage returns and a header line "onset offset event_label" are tolerated. A label
    may hold spaces if the separator is a tab. Events of one label that overlap or touch become one.

    Args:
        path: text file in UTF-8.
        labels: the known labels; None accepts any.
        duration: seconds; events are clipped to it, or dropped if they start beyond it, with a warning.

    Returns:
        DataFrame with columns onset, offset, event_label, sorted by all three.

    Raises:
        InputError: the file cannot be read, or a line, which the message names, is not an event.
    """
    rows = []
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        fields = re.split(r"\t+" if "\t" in line.strip() else r"\s+", line.strip())
        is_header = not rows and [field.strip().lower() for field in fields] == COLUMNS
        if line.strip() and not is_header:
            rows.append(_parse_event(fields, labels, f"{path}, line {number}"))
    return make_events(rows, path, duration=duration)


def make_events(rows, name, labels=None, duration=None):
    """Make an event list of events that are read already; as read_events makes one of the lines of a file.

    Args:
        rows: sequence of (onset, offset, event_label), in seconds.
        name: what holds them, for messages.
        labels: the known labels; None accepts any.
        duration: seconds; events are clipped to it, or dropped if they start beyond it, with a warning.

    Returns:
        DataFrame with columns onset, offset, event_label, sorted by all three.

    Raises:
        InputError: an unknown label.
    """
    unknown = sorted({label for _, _, label in rows}.difference(labels)) if labels is not None else ()
    if unknown:
        raise InputError(f"{name}: unknown label {unknown[0]!r}. Known labels: {', '.join(labels)}.")
    events = _event_list(*(zip(*rows) if rows else ([], [], [])))
    return merge_events(events if duration is None else _clip_with_warnings(events, duration, name))


def write_events(events, path):
    """Write an event list atomically: onset TAB offset TAB event_label per line (seconds, six decimals, no header)."""
    rows = events[COLUMNS].itertuples(index=False)
    lines = [f"{onset:.6f}\t{offset:.6f}\t{label}\n" for onset, offset, label in rows]
    with atomic_file(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8", newline="\n")


def merge_events(events, gap=0.0):
    """Merge events of one label that overlap, touch, or are at most `gap` seconds apart.

    Returns:
        DataFrame with columns onset, offset, event_label, sorted by all three.
    """
    merged = []  # A plain loop takes a tenth of the time of pandas' groups on short lists, which are most.
    for label, onset, offset in sorted(zip(*(events[column].tolist() for column in ("event_label", *COLUMNS[:2])))):
        if merged and merged[-1][2] == label and onset <= merged[-1][1] + gap + PRECISION:
            merged[-1][1] = max(merged[-1][1], offset)
        else:
            merged.append([onset, offset, label])
    return _event_list(*(zip(*sorted(merged)) if merged else ([], [], [])))


def clip_events(events, duration):
    """Clip events to a duration in seconds, and drop those that begin after it."""
    begins, ends = events["onset"].to_numpy() < duration, events["offset"].to_numpy()
    if begins.all() and (ends <= duration).all():
        return events  # as nearly always, without the milliseconds that a new table takes
    return events[begins].assign(offset=np.minimum(ends[begins], duration))


def event_list_to_event_roll(events, labels, num_frames, time_resolution):
    """Mark the frames that each event touches: the onset is rounded down, the offset up, and the offset is exclusive.

    Args:
        events: event list in seconds; parts outside the roll are cut off.
        labels: labels in the order of the columns.
        num_frames: frames of the roll.
        time_resolution: seconds per frame.

    Returns:
        uint8 array (num_frames, labels), 0 or 1.

    Raises:
        InputError: an event has a label that is not in `labels`.
    """
    columns = {label: column for column, label in enumerate(labels)}
    names = events["event_label"].tolist()
    unknown = sorted(set(names) - set(columns))
    if unknown:
        raise InputError(f"events: unknown label {unknown[0]!r}. Known labels: {', '.join(columns)}.")
    onsets = np.clip(np.floor(_in_frames(events["onset"], time_resolution)), 0, num_frames).astype(int)
    offsets = np.clip(np.ceil(_in_frames(events["offset"], time_resolution)), 0, num_frames).astype(int)
    event_roll = np.zeros((num_frames, len(columns)), np.uint8)
    for onset, offset, name in zip(onsets.tolist(), offsets.tolist(), names):
        event_roll[onset:offset, columns[name]] = 1
    return event_roll


def event_roll_to_event_list(event_roll, labels, time_resolution):
    """Turn every run of ones into an event, from the start of its first frame to the end of its last frame.

    Args:
        event_roll: array (frames, labels), 0 or 1.
        labels: labels in the order of the columns.
        time_resolution: seconds per frame.

    Returns:
        DataFrame with columns onset, offset (seconds), event_label, sorted by all three.
    """
    num_columns = np.shape(event_roll)[-1]
    expect(num_columns == len(labels), "event_roll", f"{len(labels)} columns, one a label", num_columns)
    columns, onsets, offsets = active_runs(event_roll)
    events = _event_list(onsets * time_resolution, offsets * time_resolution, [labels[column] for column in columns])
    return events.sort_values(COLUMNS).reset_index(drop=True)


def active_runs(event_roll):
    """Find the runs of ones in an event roll (frames, labels).

    Returns:
        int arrays of column, first frame and end (exclusive) per run, sorted by column and frame.
    """
    edges = np.diff((np.asarray(event_roll).T > 0).astype(np.int8), axis=1, prepend=0, append=0)
    return *np.nonzero(edges == 1), np.nonzero(edges == -1)[1]


def polyphony(event_roll):
    """Count the active labels per frame: (frames, labels) to int64 (frames,)."""
    return np.sum(event_roll, axis=1, dtype=np.int64)


def joint_activity(event_roll):
    """Count the frames in which two labels are active: (frames, labels) to int64 (labels, labels).

    The diagonal holds the frames of each label. Counts of several recordings can be added.
    """
    active = np.asarray(event_roll).astype(np.int64)
    return active.T @ active


def _event_list(onsets, offsets, labels):
    return pd.DataFrame({"onset": np.asarray(onsets, float), "offset": np.asarray(offsets, float),
                         "event_label": pd.Series(list(labels), dtype=str)})


def _read_text(path):
    try:
        return pathlib.Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: expected an event list file. Received: {error.strerror}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text in UTF-8. Received: other bytes. Save the file as UTF-8.") from error


def _parse_event(fields, labels, place):
    try:
        onset, offset, label = fields
        onset, offset = float(onset), float(offset)
    except ValueError as error:
        raise InputError(f"{place}: expected onset, offset (seconds, decimal point) and label, separated by tabs or "
                         f"spaces. Received: {' '.join(fields)!r}. Replace other separators by tabs.") from error
    if not (np.isfinite([onset, offset]).all() and 0 <= onset < offset):
        raise InputError(f"{place}: expected finite seconds with 0 <= onset < offset. Received: onset {onset:g} "
                         f"and offset {offset:g}. Correct or remove the line.")
    if labels is not None and label.strip() not in labels:
        raise InputError(f"{place}: unknown label {label.strip()!r}. Known labels: {', '.join(labels)}.")
    return onset, offset, label.strip()


def _clip_with_warnings(events, duration, path):
    if events["offset"].to_numpy().max(initial=0.0) <= duration:
        return events
    for event in events[events["offset"] > duration + PRECISION].itertuples():
        repair = "dropped" if event.onset >= duration else f"clipped to {duration:g} s"
        _log.warning("%s: event %s at %g-%g s ends beyond the recording of %g s: %s.", path, event.event_label,
                     event.onset, event.offset, duration, repair)
    return clip_events(events, duration)


def _in_frames(seconds, time_resolution):
    """Convert seconds to frames, and round to a whole number if it is at most a microsecond away."""
    frames = np.asarray(seconds, float) / time_resolution
    whole = np.round(frames)
    return np.where(np.abs(frames - whole) <= max(PRECISION / time_resolution, PRECISION), whole, frames)
