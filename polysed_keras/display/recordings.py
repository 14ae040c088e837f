"""Pictures of recordings: spectrograms, events, posteriors, attention masks. No pyplot state is used.

`plot_x(..., axes=None)` draws into matplotlib's axes, or into those of a new Figure, and returns them; what puts several
together returns the Figure.
"""
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator, MaxNLocator

from polysed_keras.events import event_list_to_event_roll, event_roll_to_event_list, polyphony
from polysed_keras.files import atomic_file

REFERENCE, ESTIMATED, NEUTRAL = "#0072B2", "#E69F00", "#666666"  # Okabe and Ito's: told apart with any colour vision
DYNAMIC_RANGE = 80  # dB below the loudest point: the floor of digital silence would take half of the colours
SHARE_COLOURS = "cividis"  # of what is from 0 to 1


def plot_log_mel(log_mel, time_resolution, frequency_range=None, axes=None):
    """Draw a log-mel spectrogram, by librosa.

    Args:
        log_mel: array (frames, n_mels), dB.
        time_resolution: seconds a frame.
        frequency_range: (fmin, fmax) of the mels in Hz; the axis counts mel bands where it is None.
        axes: matplotlib Axes; None for new ones.

    Returns:
        The axes.
    """
    top = np.max(log_mel)
    return _draw_bands(log_mel, time_resolution, frequency_range, axes, "power (dB)", cmap="magma",
                       vmin=top - DYNAMIC_RANGE, vmax=top)


def plot_mask(mask, time_resolution, frequency_range=None, axes=None, limits=(0, 1)):
    """Draw a time-frequency mask (frames, n_mels) from 0 to 1, as detection.subnet_masks gives it; else as plot_log_mel.
    `limits`: of the colours."""
    return _draw_bands(mask, time_resolution, frequency_range, axes, "mask", cmap=SHARE_COLOURS, vmin=limits[0], vmax=limits[1])


def plot_channel_masks(masks, axes=None, limits=(0, 1)):
    """Draw channel masks {name: array (channels,) from 0 to 1} below each other; returns the axes. `limits`: of the colours."""
    return _draw_rows(np.stack(list(masks.values())), list(masks), masks[next(iter(masks))].size, axes, "mask", "channel", limits)


def plot_posteriors(posteriors, labels, time_resolution, axes=None):
    """Draw posteriors (frames, labels) from 0 to 1, a row a label; returns the axes. Times are seconds."""
    posteriors = np.asarray(posteriors)
    return _draw_rows(posteriors.T, labels, len(posteriors) * time_resolution, axes, "posterior", "time (s)")


def plot_events(reference, labels, duration, *, estimated=None, axes=None):
    """Draw events as bars in a lane a label; where there are two lists, reference events above estimated ones.

    Args:
        reference, estimated: event lists (seconds).
        labels: labels in the order of the lanes, from the top.
        duration: seconds that the axis shows.
        axes: matplotlib Axes; None for new ones.

    Returns:
        The axes.
    """
    axes = new_axes(axes, 0.36 * len(labels) + 0.8)
    if estimated is None:
        _draw_events(axes, reference, labels, 0.0, 0.8, REFERENCE, None)
    else:
        _draw_events(axes, reference, labels, -0.2, 0.36, REFERENCE, "reference")
        _draw_events(axes, estimated, labels, 0.2, 0.36, ESTIMATED, "estimated")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, borderaxespad=0.2)
    _style_lanes(axes, labels, duration)
    axes.set_xlabel("time (s)")
    return axes


def plot_soundscape(log_mel, events, labels, time_resolution, *, frequency_range=None, title=None):
    """Draw a mixture's log-mel spectrogram, under it its events by label, and its polyphony.

    Args:
        log_mel, time_resolution, frequency_range: as in `plot_log_mel`.
        events: event list (seconds), or event roll (frames, labels).
        labels: labels in the order of the lanes, from the top.
        title: over the figure.

    Returns:
        matplotlib Figure.
    """
    events = _as_event_list(events, labels, time_resolution)
    figure, (top, middle, bottom) = new_figure([2.6, 0.25 * len(labels) + 0.3, 1.0], title)
    plot_log_mel(log_mel, time_resolution, frequency_range, top)
    plot_events(events, labels, len(log_mel) * time_resolution, axes=middle)
    degree = polyphony(event_list_to_event_roll(events, labels, len(log_mel), time_resolution))
    bottom.stairs(degree, np.arange(len(degree) + 1) * time_resolution, fill=True, color=NEUTRAL)
    bottom.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    bottom.set_ylim(0, max(degree, default=0) + 0.5)
    bottom.set_ylabel("polyphony\n(active labels)")
    bottom.set_xlabel("time (s)")
    return _label_outer(figure, (top, middle, bottom))


def plot_detections(log_mel, reference, estimated, labels, time_resolution, *, frequency_range=None, title=None):
    """Draw a log-mel spectrogram and under it, label by label, the reference events above the estimated ones.

    Args:
        reference, estimated: event lists (seconds), or event rolls (frames, labels).
        log_mel, labels, time_resolution, frequency_range, title: as in `plot_soundscape`.

    Returns:
        matplotlib Figure.
    """
    figure, (top, bottom) = new_figure([2.6, 0.36 * len(labels) + 0.5], title)
    plot_log_mel(log_mel, time_resolution, frequency_range, top)
    reference, estimated = (_as_event_list(events, labels, time_resolution) for events in (reference, estimated))
    plot_events(reference, labels, len(log_mel) * time_resolution, estimated=estimated, axes=bottom)
    return _label_outer(figure, (top, bottom))


def plot_attention(log_mel, events, labels, masks, time_resolution, *, frequency_range=None, title=None):
    """Draw what the subnets of some tasks attend to in an input (paper 1, figure 2).

    Args:
        log_mel, events, labels, time_resolution, frequency_range, title: as in `plot_soundscape`.
        masks: {task: (time_frequency, channel)} of detection.subnet_masks, of the tasks that are wanted; channel masks of
            several segments are averaged.

    Returns:
        matplotlib Figure: log-mel spectrogram, events, a time-frequency mask a task, the channel masks. Of both kinds the
        colours reach from the lowest to the highest value of all tasks shown, because masks may lie close together.
    """
    lanes = 0.25 * len(labels) + 0.3
    figure, panels = new_figure([2.0, lanes, *[2.0] * len(masks), 0.3 * len(masks) + 0.4], title, sharex=False)
    plot_log_mel(log_mel, time_resolution, frequency_range, panels[0])
    plot_events(_as_event_list(events, labels, time_resolution), labels, len(log_mel) * time_resolution, axes=panels[1])
    limits = _range(time_frequency for time_frequency, _ in masks.values())
    for axes, (task, (time_frequency, _)) in zip(panels[2:], masks.items()):
        plot_mask(time_frequency, time_resolution, frequency_range, axes, limits).set_title(f"time-frequency mask of {task}")
    channels = {task: channel.mean(axis=0) for task, (_, channel) in masks.items()}
    plot_channel_masks(channels, panels[-1], _range(channels.values()))
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
    """The axes given, or those of a new Figure of so many inches."""
    return Figure(figsize=(width, height), layout="constrained").subplots() if axes is None else axes


def new_figure(heights, title, width=11, sharex=True):
    """A Figure with panels of the given heights (inches) above each other, with one x-axis; and the panels."""
    figure = Figure(figsize=(width, sum(heights) + 0.8), layout="constrained")
    panels = figure.subplots(len(heights), sharex=sharex, height_ratios=heights)
    figure.suptitle(title)
    return figure, panels


def _range(arrays):
    values = np.concatenate([np.ravel(array) for array in arrays])
    return values.min(), values.max()


def _label_outer(figure, panels):
    """The axis of time is the lowest panel's, and all show the same seconds."""
    for axes in panels[:-1]:
        axes.set_xlabel("")
        axes.set_xlim(panels[-1].get_xlim())
        axes.tick_params(axis="x", labelbottom=False)
    return figure


def _as_event_list(events, labels, time_resolution):
    return events if isinstance(events, pd.DataFrame) else event_roll_to_event_list(events, labels, time_resolution)


def _draw_bands(values, time_resolution, frequency_range, axes, name, **colours):
    """Values (frames, n_mels) over seconds and Hz."""
    from librosa import display, mel_frequencies  # imports pyplot
    values, axes = np.asarray(values), new_axes(axes, 3)
    num_frames, n_mels = values.shape
    bands, y_axis = np.arange(n_mels + 1), None
    if frequency_range is not None:  # a band's centre is librosa's, its edges are half-way to its neighbours' in mels
        fmin, fmax = frequency_range
        bands, y_axis = mel_frequencies(2 * n_mels + 3, fmin=fmin, fmax=fmax)[1::2], "mel"
    image = display.specshow(values.T, x_coords=np.arange(num_frames + 1) * time_resolution, y_coords=bands, x_axis="s",
                             y_axis=y_axis, ax=axes, **colours)
    axes.figure.colorbar(image, ax=axes, pad=0.01, label=name)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_locator(AutoLocator())
    if y_axis is None:
        axes.yaxis.set_major_locator(AutoLocator())
    axes.set(xlabel="time (s)", ylabel="mel band" if y_axis is None else "frequency (Hz)")
    return axes


def _draw_rows(values, names, end, axes, name, xlabel, limits=(0, 1)):
    """Values (rows, columns) from 0 to 1 as an image, from 0 to `end` on the x-axis."""
    axes = new_axes(axes, 0.3 * len(names) + 0.9)
    image = axes.imshow(values, aspect="auto", interpolation="none", cmap=SHARE_COLOURS, vmin=limits[0], vmax=limits[1],
                        extent=(0, end, len(names) - 0.5, -0.5))
    axes.figure.colorbar(image, ax=axes, pad=0.01, label=name)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(xlabel)
    return axes


def _draw_events(axes, events, labels, offset, height, color, name):
    """Bars at the lanes 0, 1, ... of `labels`; the thin edge keeps short events visible in long recordings."""
    for lane, label in enumerate(labels):
        own = events[events["event_label"] == label]
        spans = list(zip(own["onset"], own["offset"] - own["onset"]))
        axes.broken_barh(spans, (lane + offset - height / 2, height), facecolors=color, edgecolors=color, linewidth=0.6,
                         label=name if lane == 0 else None)


def _style_lanes(axes, labels, duration):
    axes.set_xlim(0, duration)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)
    axes.grid(axis="x", alpha=0.3)
    for lane in range(0, len(labels), 2):
        axes.axhspan(lane - 0.5, lane + 0.5, color="0.95", zorder=0)
