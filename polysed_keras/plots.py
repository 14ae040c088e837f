"""Pictures: a mixture with its events, detections against the reference, a training curve. No pyplot state is used."""
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from polysed_keras.events import event_list_to_event_roll, event_roll_to_event_list, polyphony
from polysed_keras.files import atomic_file

REFERENCE, ESTIMATED, NEUTRAL = "#0072B2", "#E69F00", "#666666"  # Okabe and Ito's: told apart with any colour vision
DYNAMIC_RANGE = 80  # dB below the loudest point: the floor of digital silence would take half of the colours
MEASURES = {"val_f1": "F1, overall", "val_accuracy": "macro accuracy", "val_lwlrap": "lwlrap"}
FREQUENCY_TICKS = (100, 500, 1000, 2000, 4000, 8000, 16000)  # Hz


def plot_soundscape(log_mel, events, labels, time_resolution, *, frequency_range=None, title=None):
    """Draw a mixture's log-mel spectrogram, under it its events by label, and its polyphony.

    Args:
        log_mel: array (frames, n_mels), dB.
        events: event list (seconds), or event roll (frames, labels).
        labels: labels in the order of the rows, from the top.
        time_resolution: seconds a frame.
        frequency_range: (fmin, fmax) of the mels in Hz; the axis counts mel bands where it is None.
        title: over the figure.

    Returns:
        matplotlib Figure.
    """
    events = _as_event_list(events, labels, time_resolution)
    figure, (top, middle, bottom) = _figure([2.6, 0.25 * len(labels) + 0.3, 1.0], title)
    _draw_log_mel(figure, top, log_mel, time_resolution, frequency_range)
    _draw_events(middle, events, labels, 0.0, 0.8, REFERENCE, None)
    _style_lanes(middle, labels, len(log_mel) * time_resolution)
    degree = polyphony(event_list_to_event_roll(events, labels, len(log_mel), time_resolution))
    bottom.stairs(degree, np.arange(len(degree) + 1) * time_resolution, fill=True, color=NEUTRAL)
    bottom.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    bottom.set_ylim(0, max(degree, default=0) + 0.5)
    bottom.set_ylabel("polyphony\n(active labels)")
    bottom.set_xlabel("time (s)")
    return figure


def plot_detections(log_mel, reference, estimated, labels, time_resolution, *, frequency_range=None, title=None):
    """Draw a log-mel spectrogram and under it, label by label, the reference events above the estimated ones.

    Args:
        reference, estimated: event lists (seconds), or event rolls (frames, labels).
        log_mel, labels, time_resolution, frequency_range, title: as in `plot_soundscape`.

    Returns:
        matplotlib Figure.
    """
    figure, (top, bottom) = _figure([2.6, 0.36 * len(labels) + 0.5], title)
    _draw_log_mel(figure, top, log_mel, time_resolution, frequency_range)
    reference, estimated = (_as_event_list(events, labels, time_resolution) for events in (reference, estimated))
    _draw_events(bottom, reference, labels, -0.2, 0.36, REFERENCE, "reference")
    _draw_events(bottom, estimated, labels, 0.2, 0.36, ESTIMATED, "estimated")
    _style_lanes(bottom, labels, len(log_mel) * time_resolution)
    bottom.set_xlabel("time (s)")
    figure.legend(*bottom.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def plot_training(history, title=None, measure="val_f1"):
    """Draw the losses and a measure of the validation by epoch, with the epoch of its best marked.

    Args:
        history: DataFrame with the columns epoch, loss, val_loss and `measure` (0..1), a line an epoch.
        title: over the figure.
        measure: a key of MEASURES.

    Returns:
        matplotlib Figure.
    """
    figure, (top, bottom) = _figure([2.4, 2.4], title, width=7)
    epochs, best = history["epoch"], history.loc[history[measure].idxmax()]
    top.plot(epochs, history["loss"], "o-", color=REFERENCE, markersize=4, label="training")
    top.plot(epochs, history["val_loss"], "s--", color=ESTIMATED, markersize=4, label="validation")
    top.set_ylabel("cross-entropy loss (nats)")
    bottom.plot(epochs, 100 * history[measure], "s--", color=ESTIMATED, markersize=4)
    bottom.plot(best["epoch"], 100 * best[measure], "*", color=NEUTRAL, markersize=12, linestyle="none",
                label=f"best: epoch {best['epoch']:.0f}, {100 * best[measure]:.1f} %")
    bottom.set_ylabel(f"validation {MEASURES[measure]} (%)")
    bottom.set_xlabel("epoch")
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (top, bottom):
        axes.axvline(best["epoch"], color=NEUTRAL, linewidth=1, linestyle=":")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    return figure


def plot_sweep(table, axis, *, baselines=(), title=None):
    """Draw accuracy and lwlrap over the points of a sweep: every seed's, their mean, and the baselines' (paper 2's figures).

    Args:
        table: DataFrame point (numbers or names), seed, accuracy, lwlrap (0..1, NaN where there is none), a line a training.
        axis: what the points are.
        baselines: points that are drawn as a line over all of the others, with the range of their seeds.
        title: over the figure.

    Returns:
        matplotlib Figure.
    """
    figure, panels = _figure([2.6, 2.0], title, width=8)
    points = table[~table["point"].isin(baselines)]
    values = list(dict.fromkeys(points["point"]))
    numbers = all(isinstance(value, (int, float, np.number)) for value in values)
    place = {value: value if numbers else index for index, value in enumerate(values)}
    for axes, (measure, name) in zip(panels, (("accuracy", "scenes: macro accuracy (%)"), ("lwlrap", "events: lwlrap (%)"))):
        for baseline, color in zip(baselines, (NEUTRAL, ESTIMATED)):
            scores = 100 * table.loc[table["point"] == baseline, measure].dropna()
            if len(scores):
                axes.axhline(scores.mean(), color=color, linestyle="--", linewidth=1.2, label=baseline)
                axes.axhspan(scores.min(), scores.max(), color=color, alpha=0.15, linewidth=0)
        known = points.dropna(subset=[measure])
        axes.plot(known["point"].map(place), 100 * known[measure], "o", color=REFERENCE, markersize=3.5, alpha=0.5,
                  label="a seed")
        means = 100 * known.groupby("point", sort=False)[measure].mean()
        axes.plot([place[value] for value in means.index], means, "D-" if numbers else "D", color=REFERENCE, markersize=6,
                  label="mean over seeds")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
    if not numbers:
        panels[-1].set_xticks(range(len(values)), values)
        panels[-1].set_xlim(-0.5, len(values) - 0.5)
    panels[-1].set_xlabel(axis)
    known = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(known.values(), known.keys(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def save_figure(figure, path):
    """Write a figure as PNG, atomically; the same figure gives the same bytes.

    Raises:
        InputError: the file cannot be written.
    """
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, metadata={"Software": None})


def _figure(heights, title, width=11):
    """Panels of the given heights (inches) above each other, with one axis of time or epochs."""
    figure = Figure(figsize=(width, sum(heights) + 0.8), layout="constrained")
    panels = figure.subplots(len(heights), sharex=True, height_ratios=heights)
    figure.suptitle(title)
    return figure, panels


def _as_event_list(events, labels, time_resolution):
    return events if isinstance(events, pd.DataFrame) else event_roll_to_event_list(events, labels, time_resolution)


def _draw_log_mel(figure, axes, log_mel, time_resolution, frequency_range):
    log_mel = np.asarray(log_mel)
    num_frames, n_mels = log_mel.shape
    image = axes.imshow(log_mel.T, origin="lower", aspect="auto", cmap="magma", vmin=log_mel.max() - DYNAMIC_RANGE,
                        vmax=log_mel.max(), extent=(0, num_frames * time_resolution, 0, n_mels))
    figure.colorbar(image, ax=axes, pad=0.01, label="power (dB)")
    if frequency_range is None:
        axes.set_ylabel("mel band")
    else:
        ticks = [hertz for hertz in FREQUENCY_TICKS if frequency_range[0] <= hertz <= frequency_range[1]]
        axes.set_yticks(_band_of(np.array(ticks), *frequency_range, n_mels), [f"{hertz / 1000:g}" for hertz in ticks])
        axes.set_ylabel("frequency (kHz, mel scale)")
    axes.set_ylim(0, n_mels)  # ticks at fmin or fmax themselves lie half a band outside


def _band_of(hertz, fmin, fmax, n_mels):
    """Where a frequency lies on an axis on which mel band i is centred at i + 0.5."""
    low, high = _mel(np.array([fmin, fmax]))
    return (_mel(hertz) - low) / (high - low) * (n_mels + 1) - 0.5


def _mel(hertz):
    """Slaney's mel scale: linear to 1 kHz, logarithmic above."""
    return np.where(hertz < 1000, hertz * 3 / 200, 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4))


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
