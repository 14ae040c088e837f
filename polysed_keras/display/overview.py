"""A picture of a recording of any length with its detected events, in rows below each other."""
import math
import pathlib

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator, FuncFormatter, MultipleLocator

from polysed_keras.audio import audio_info, coarse_log_mel, decibels
from polysed_keras.display.recordings import DYNAMIC_RANGE, plot_events, plot_log_mel
from polysed_keras.events import tags_to_events
from polysed_keras.specs import LogMelSpec

MOST_ROWS = 6
ROW_SECONDS = 60  # A longer recording has several rows, and more than MOST_ROWS such rows are made longer.
MOST_LANES = 20  # per row
COLUMNS = 1200  # of the spectrogram per row
STEPS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400)  # seconds


def plot_recording(audio, detector, events=None, *, title=None):
    """Draw the spectrogram of a recording and below it its events, in lanes for the labels that occur.

    A recording of more than a minute is drawn in up to six rows of equal length, an hour in six of ten minutes. A row
    has lanes for the labels of its own events, for the twenty that last longest if there are more, which it says.
    Memory is bounded for recordings of any length.

    Args:
        audio: path of an audio file.
        detector: detection.Detector.
        events: DataFrame of Detector.detect or Detector.tag; None to detect them, or to tag clips.
        title: text over the figure; None for the name of the file.

    Returns:
        matplotlib Figure.

    Raises:
        InputError: unreadable audio.

    Example:
        >>> save_figure(plot_recording("street.wav", detector), "street.png")
    """
    if events is None:
        events = detector.tag(audio) if detector.clip_level else detector.detect(audio)
    events = events if "event_label" in events else tags_to_events(events)
    features = LogMelSpec(**detector.description["experiment"]["features"])
    log_mel, resolution = coarse_log_mel(audio, features, MOST_ROWS * COLUMNS)
    duration = audio_info(audio).duration
    span = row_seconds(duration)
    starts = np.arange(0, duration, span)
    lanes = [_lanes(events, start, start + span, detector.labels) for start in starts]
    heights = [height for shown, _ in lanes for height in (1.4, 0.22 * max(len(shown), 1) + 0.1)]
    figure = Figure(figsize=(14, sum(heights) + 0.4 * len(starts) + 0.7), layout="constrained")
    panels = figure.subplots(len(heights), height_ratios=heights)
    colours = {"frequency_range": (features.fmin, features.fmax),
               "top": max(log_mel.max(), decibels(features.silence, features) + DYNAMIC_RANGE)}
    for place, (start, (shown, left_out)) in enumerate(zip(starts, lanes)):
        top, bottom = panels[2 * place:2 * place + 2]
        first, last = int(start / resolution), math.ceil((start + span) / resolution)
        plot_log_mel(log_mel[first:last], resolution, axes=top, start=first * resolution, **colours)
        plot_events(events[events["event_label"].isin(shown)], shown or ["no events"], duration, axes=bottom)
        _share_times(top, bottom, start, start + span)
        bottom.set_xlabel(f"{left_out} more labels have events here" if left_out else "")
    _name_times(panels[1::2], duration)
    name = pathlib.Path(audio).name.encode("utf-8", "replace").decode() if title is None else title
    figure.suptitle(name.replace("$", r"\$"))
    return figure


def row_seconds(duration):
    """Return the seconds per row of a recording: all of it up to a minute, else 10 s or minutes, as it comes out."""
    if duration <= ROW_SECONDS:
        return duration
    rows = min(MOST_ROWS, math.ceil(duration / ROW_SECONDS))
    unit = 10 if duration / rows <= 60 else 60
    return unit * math.ceil(round(duration / rows / unit, 6))


def _lanes(events, start, end, labels):
    """Return the labels of a row's lanes in the order of `labels`, and how many labels there is no lane for."""
    inside = (np.minimum(events["offset"], end) - np.maximum(events["onset"], start)).clip(lower=0)
    inside = inside[(events["offset"] > start) & (events["onset"] < end)]
    lasting = inside.groupby(events["event_label"]).sum().sort_values(ascending=False, kind="stable")
    kept = set(lasting.index[:MOST_LANES])
    known = [*labels, *sorted(kept - set(labels))]
    return [label for label in known if label in kept], len(lasting) - len(kept)


def _share_times(top, bottom, start, end):
    """Let both panels of a row show the same seconds, named below the lower one."""
    step = next((step for step in STEPS if step >= (end - start) / 15), STEPS[-1])
    for axes in (top, bottom):
        axes.set_xlim(start, end)
        axes.xaxis.set_major_locator(AutoLocator() if end - start < 5 else MultipleLocator(step))
    top.set_xlabel("")
    top.tick_params(axis="x", labelbottom=False)


def _name_times(panels, duration):
    """Write times as seconds, or of more than a minute as minutes and seconds, or of more than an hour with hours."""
    unit = "s" if duration <= ROW_SECONDS else "min:s" if duration <= 3600 else "h:min:s"

    def text(seconds, _):
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes}:{rest:02d}" if unit == "min:s" else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"

    for axes in panels:
        if unit != "s":
            axes.xaxis.set_major_formatter(FuncFormatter(text))
    panels[-1].set_xlabel("; ".join(filter(None, [f"time ({unit})", panels[-1].get_xlabel()])))
