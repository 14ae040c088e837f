"""Pictures of recordings: spectrograms, events, posteriors, attention masks.

A function with the argument `axes` draws into these matplotlib Axes, or into those of a new Figure if None, and returns
them. A function that draws several panels returns the Figure. No pyplot state is used.
"""
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator, MaxNLocator

from polysed_keras.events import event_list_to_event_roll, event_roll_to_event_list, polyphony
from polysed_keras.files import atomic_file

REFERENCE, ESTIMATED, NEUTRAL = "#0072B2", "#E69F00", "#666666"  # Okabe and Ito's colours, for any colour vision.
DYNAMIC_RANGE = 80  # dB below the loudest point; down to digital silence, half of the colours would be lost.
SHARE_COLOURS = "cividis"  # The colours of values from 0 to 1.


def plot_log_mel(log_mel, time_resolution, *, frequency_range=None, axes=None, top=None, start=0.0):
    """Draw a log-mel spectrogram (frames, n_mels) in dB; without a range (fmin, fmax in Hz) the axis counts bands.

    The brightest colour is `top` in dB, or the loudest point if it is None. Its first frame begins at `start` seconds.
    """
    top = np.max(log_mel) if top is None else top
    return _draw_bands(log_mel, time_resolution, frequency_range, axes, "power (dB)", start, cmap="magma",
                       vmin=top - DYNAMIC_RANGE, vmax=top)


def plot_mask(mask, time_resolution, *, frequency_range=None, axes=None, limits=(0, 1)):
    """Draw a time-frequency mask (frames, n_mels) of models.subnet_masks, with colours from `limits`."""
    return _draw_bands(mask, time_resolution, frequency_range, axes, "mask", cmap=SHARE_COLOURS, vmin=limits[0],
                       vmax=limits[1])


def plot_channel_masks(masks, *, axes=None, limits=(0, 1)):
    """Draw channel masks {name: (channels,)} below each other, with colours from `limits`."""
    values = np.stack(list(masks.values()))
    return _draw_rows(values, list(masks), values.shape[1], axes, "mask", "channel", limits)


def plot_posteriors(posteriors, labels, time_resolution, *, axes=None):
    """Draw posteriors, one row per label.

    Args:
        posteriors: array (frames, labels), 0 to 1.
        labels: labels in the order of the columns.
        time_resolution: seconds per frame.
        axes: see the module.

    Example:
        >>> plot_posteriors(posteriors, detector.labels, detector.time_resolution).figure
    """
    posteriors = np.asarray(posteriors)
    return _draw_rows(posteriors.T, labels, len(posteriors) * time_resolution, axes, "posterior", "time (s)")


def plot_events(reference, labels, duration, *, estimated=None, axes=None):
    """Draw event lists as bars, one lane per label from the top, reference events above estimated ones."""
    axes = new_axes(axes, 0.36 * len(labels) + 0.8)
    if estimated is None:
        _draw_events(axes, reference, labels, 0.0, 0.8, REFERENCE, None)
    else:
        _draw_events(axes, reference, labels, -0.2, 0.36, REFERENCE, "reference")
        _draw_events(axes, estimated, labels, 0.2, 0.36, ESTIMATED, "estimated")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, borderaxespad=0.2)
    _name_rows(axes, labels)
    axes.set(xlabel="time (s)", xlim=(0, duration), ylim=(len(labels) - 0.5, -0.5))
    axes.set_axisbelow(True)
    axes.grid(axis="x", alpha=0.3)
    for lane in range(0, len(labels), 2):
        axes.axhspan(lane - 0.5, lane + 0.5, color="0.95", zorder=0)
    return axes


def plot_soundscape(log_mel, events, labels, time_resolution, *, frequency_range=None, title=None):
    """Draw the log-mel spectrogram of a mixture, its events by label and its polyphony.

    Args:
        log_mel: array (frames, n_mels), dB.
        events: event list (seconds) or event roll (frames, labels).
        labels: labels in the order of the lanes, from the top.
        time_resolution: seconds per frame.
        frequency_range: (fmin, fmax) of the mels in Hz; None for an axis that counts mel bands.
        title: text over the figure.
    """
    events = _as_event_list(events, labels, time_resolution)
    figure, (top, middle, bottom) = new_figure([2.6, 0.25 * len(labels) + 0.3, 1.0], title)
    plot_log_mel(log_mel, time_resolution, frequency_range=frequency_range, axes=top)
    plot_events(events, labels, len(log_mel) * time_resolution, axes=middle)
    degree = polyphony(event_list_to_event_roll(events, labels, len(log_mel), time_resolution))
    bottom.stairs(degree, np.arange(len(degree) + 1) * time_resolution, fill=True, color=NEUTRAL)
    bottom.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    bottom.set_ylim(0, max(degree, default=0) + 0.5)
    bottom.set_ylabel("polyphony\n(active labels)")
    bottom.set_xlabel("time (s)")
    return _label_outer(figure, (top, middle, bottom))


def plot_detections(log_mel, reference, estimated, labels, time_resolution, *, frequency_range=None, title=None):
    """Draw a log-mel spectrogram and below it, in one lane per label, reference events above estimated ones.

    Args:
        log_mel: array (frames, n_mels), dB.
        reference: event list (seconds) or event roll (frames, labels).
        estimated: event list (seconds) or event roll (frames, labels).
        labels: labels in the order of the lanes, from the top.
        time_resolution: seconds per frame.
        frequency_range: (fmin, fmax) of the mels in Hz; None for an axis that counts mel bands.
        title: text over the figure.

    Example:
        >>> plot_detections(log_mel, read_events("a.tsv"), detector.detect("a.wav"), detector.labels, 0.02)
    """
    figure, (top, bottom) = new_figure([2.6, 0.36 * len(labels) + 0.5], title)
    plot_log_mel(log_mel, time_resolution, frequency_range=frequency_range, axes=top)
    reference, estimated = (_as_event_list(events, labels, time_resolution) for events in (reference, estimated))
    plot_events(reference, labels, len(log_mel) * time_resolution, estimated=estimated, axes=bottom)
    return _label_outer(figure, (top, bottom))


def plot_attention(log_mel, events, labels, masks, time_resolution, *, frequency_range=None, title=None):
    """Draw the attention masks of some tasks below the log-mel spectrogram and its events (paper 1, figure 2).

    The colours of each kind of mask reach from the lowest to the highest value of all tasks, because masks may differ
    little.

    Args:
        log_mel: array (frames, n_mels), dB.
        events: event list (seconds) or event roll (frames, labels).
        labels: labels in the order of the lanes, from the top.
        masks: {task: (time_frequency, channel)} from models.subnet_masks; channel masks are averaged over segments.
        time_resolution: seconds per frame.
        frequency_range: (fmin, fmax) of the mels in Hz; None for an axis that counts mel bands.
        title: text over the figure.
    """
    lanes = 0.25 * len(labels) + 0.3
    figure, panels = new_figure([2.0, lanes, *[2.0] * len(masks), 0.3 * len(masks) + 0.4], title, sharex=False)
    plot_log_mel(log_mel, time_resolution, frequency_range=frequency_range, axes=panels[0])
    plot_events(_as_event_list(events, labels, time_resolution), labels, len(log_mel) * time_resolution, axes=panels[1])
    limits = _range(time_frequency for time_frequency, _ in masks.values())
    for axes, (task, (time_frequency, _)) in zip(panels[2:], masks.items()):
        plot_mask(time_frequency, time_resolution, frequency_range=frequency_range, axes=axes, limits=limits)
        axes.set_title(f"time-frequency mask of {task}")
    channels = {task: channel.mean(axis=0) for task, (_, channel) in masks.items()}
    plot_channel_masks(channels, axes=panels[-1], limits=_range(channels.values()))
    panels[-1].set_title("channel masks")
    return _label_outer(figure, panels[:-1])


def save_figure(figure, path):
    """Write a figure as PNG, atomically; the same figure gives the same bytes.

    Raises:
        InputError: the file cannot be written.
    """
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, metadata={"Software": None})


def new_axes(axes, height, width=11):
    """Return the axes given, or those of a new Figure whose size is in inches."""
    return Figure(figsize=(width, height), layout="constrained").subplots() if axes is None else axes


def new_figure(heights, title, width=11, sharex=True):
    """Return a Figure, and its panels of the given heights (inches) below each other, which share the x-axis."""
    figure = Figure(figsize=(width, sum(heights) + 0.8), layout="constrained")
    panels = figure.subplots(len(heights), sharex=sharex, height_ratios=heights)
    figure.suptitle(title)
    return figure, panels


def _range(arrays):
    values = np.concatenate([np.ravel(array) for array in arrays])
    return values.min(), values.max()


def _label_outer(figure, panels):
    """Leave the time axis to the lowest panel, and let all panels show the same seconds."""
    for axes in panels[:-1]:
        axes.set_xlabel("")
        axes.set_xlim(panels[-1].get_xlim())
        axes.tick_params(axis="x", labelbottom=False)
    return figure


def _as_event_list(events, labels, time_resolution):
    return events if isinstance(events, pd.DataFrame) else event_roll_to_event_list(events, labels, time_resolution)


def _draw_bands(values, time_resolution, frequency_range, axes, name, start=0.0, **colours):
    """Draw values (frames, n_mels) over seconds and Hz, by librosa."""
    from librosa import display, mel_frequencies  # This imports pyplot, so not at the top.
    values, axes = np.asarray(values), new_axes(axes, 3)
    num_frames, n_mels = values.shape
    bands, y_axis = np.arange(n_mels + 1), None
    if frequency_range is not None:  # librosa gives the centres of bands; edges are half-way between them in mels.
        fmin, fmax = frequency_range
        bands, y_axis = mel_frequencies(2 * n_mels + 3, fmin=fmin, fmax=fmax)[1::2], "mel"
    image = display.specshow(values.T, x_coords=start + np.arange(num_frames + 1) * time_resolution, y_coords=bands,
                             x_axis="s", y_axis=y_axis, ax=axes, **colours)
    axes.figure.colorbar(image, ax=axes, pad=0.01, label=name)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_locator(AutoLocator())
    if y_axis is None:
        axes.yaxis.set_major_locator(AutoLocator())
    axes.set(xlabel="time (s)", ylabel="mel band" if y_axis is None else "frequency (Hz)")
    return axes


def _draw_rows(values, names, end, axes, name, xlabel, limits=(0, 1)):
    """Draw values (rows, columns) from 0 to 1 as an image, from 0 to `end` on the x-axis."""
    axes = new_axes(axes, 0.3 * len(names) + 0.9)
    image = axes.imshow(values, aspect="auto", interpolation="none", cmap=SHARE_COLOURS, vmin=limits[0], vmax=limits[1],
                        extent=(0, end, len(names) - 0.5, -0.5))
    axes.figure.colorbar(image, ax=axes, pad=0.01, label=name)
    _name_rows(axes, names)
    axes.set_xlabel(xlabel)
    return axes


def _name_rows(axes, names):
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)


def _draw_events(axes, events, labels, offset, height, color, name):
    """Draw bars in the lanes 0, 1, ... of `labels`; a thin edge keeps short events visible in long recordings."""
    for lane, label in enumerate(labels):
        own = events[events["event_label"] == label]
        spans = list(zip(own["onset"], own["offset"] - own["onset"]))
        axes.broken_barh(spans, (lane + offset - height / 2, height), facecolors=color, edgecolors=color, linewidth=0.6,
                         label=name if lane == 0 else None)
