"""Pictures of results: trainings, sweeps, polyphony, reliability. As in plots, no pyplot state is used."""
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from polysed_keras.display.recordings import ESTIMATED, NEUTRAL, REFERENCE, new_axes, new_figure
from polysed_keras.errors import InputError

MEASURES = {"val_f1": "F1, overall", "val_accuracy": "macro accuracy", "val_lwlrap": "lwlrap"}
COLOURS = (REFERENCE, ESTIMATED, NEUTRAL, "#009E73", "#CC79A7")  # Okabe and Ito's too
HATCHES = ("", "//", "..", "xx", "\\\\")


def plot_training(history, title=None, measure="val_f1"):
    """Draw the losses and a measure of the validation by epoch, with the epoch of its best marked.

    Args:
        history: DataFrame with the columns epoch, loss, val_loss and `measure` (0..1), a line an epoch.
        title: over the figure.
        measure: a key of MEASURES.

    Returns:
        matplotlib Figure.
    """
    figure, (top, bottom) = new_figure([2.4, 2.4], title, width=7)
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
    """Draw accuracy and lwlrap over the points of a sweep (paper 2's figures): two panels of `plot_points`.

    Args:
        table: DataFrame point (numbers or names), seed, accuracy, lwlrap (0..1, NaN where there is none), a line a training.
        axis: what the points are.
        baselines: points that are drawn as a line over all of the others, with the range of their seeds.
        title: over the figure.

    Returns:
        matplotlib Figure.
    """
    figure, panels = new_figure([2.6, 2.0], title, width=8)
    for axes, measure, name in zip(panels, ("accuracy", "lwlrap"), ("scenes: macro accuracy (%)", "events: lwlrap (%)")):
        plot_points(table, measure, baselines=baselines, axes=axes).set_ylabel(name)
    panels[-1].set_xlabel(axis)
    known = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels())}
    names = sorted(known, key=lambda name: name not in baselines)  # baselines in one column
    figure.legend([known[name] for name in names], names, loc="outside lower center", ncols=3, frameon=False)
    return figure


def plot_points(table, measure, *, baselines=(), axes=None):
    """Draw a measure over the points of a sweep: every seed's, their mean, and a band over the range of the seeds.

    Args:
        table, baselines: as in `plot_sweep`; measure: a column of the table.
        axes: matplotlib Axes; None for new ones.

    Returns:
        The axes, in per cent.
    """
    axes, points = new_axes(axes, 3, width=8), table[~table["point"].isin(baselines)]
    values = list(dict.fromkeys(points["point"]))
    numbers = all(isinstance(value, (int, float, np.number)) for value in values)
    for baseline, color in zip(baselines, (NEUTRAL, ESTIMATED)):
        scores = 100 * table.loc[table["point"] == baseline, measure].dropna()
        if len(scores):
            axes.axhline(scores.mean(), color=color, linestyle="--", linewidth=1.2, label=baseline)
            axes.axhspan(scores.min(), scores.max(), color=color, alpha=0.15, linewidth=0)
    known = points.dropna(subset=[measure])
    place = known["point"] if numbers else known["point"].map(values.index)
    axes.plot(place, 100 * known[measure], "o", color=REFERENCE, markersize=3.5, alpha=0.5, label="a seed")
    seeds = (100 * known[measure]).groupby(place.astype(float)).agg(["mean", "min", "max"])
    axes.plot(seeds.index, seeds["mean"], "D-" if numbers else "D", color=REFERENCE, markersize=6, label="mean over seeds")
    if numbers:
        axes.fill_between(seeds.index, seeds["min"], seeds["max"], color=REFERENCE, alpha=0.2, linewidth=0,
                          label="range over seeds")
        if all(isinstance(value, (int, np.integer)) for value in values):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        axes.vlines(seeds.index, seeds["min"], seeds["max"], color=REFERENCE, alpha=0.2, linewidth=8,
                    label="range over seeds")
        axes.set_xticks(range(len(values)), values)
        axes.set_xlim(-0.5, len(values) - 0.5)
    axes.set_ylabel(f"{measure} (%)")
    axes.grid(alpha=0.3)
    return axes


def plot_polyphony(statistics, axes=None):
    """Draw how many labels are active at a time: the share of frames by polyphony, side by side for every partition.

    Args:
        statistics: what a corpus's statistics.json holds, {partition: {"polyphony": {degree: share}, ...}}.
        axes: matplotlib Axes; None for new ones.

    Returns:
        The axes.
    """
    axes, width = new_axes(axes, 3, width=7), 0.8 / len(statistics)
    for index, (name, part) in enumerate(statistics.items()):
        degrees = np.array([int(degree) for degree in part["polyphony"]])
        shares = [100 * share for share in part["polyphony"].values()]
        axes.bar(degrees + (index - (len(statistics) - 1) / 2) * width, shares, width, color=COLOURS[index % len(COLOURS)],
                 hatch=HATCHES[index % len(HATCHES)], edgecolor="white", linewidth=0, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="polyphony (active labels)", ylabel="frames (%)")
    axes.legend(frameon=False)
    return axes


def plot_polyphony_scores(table, paper=None):
    """Draw F1 by polyphony of several runs with their intervals, and the paper's beside it (paper 1, Table 3).

    Args:
        table: of evaluation.polyphony_table.
        paper: DataFrame in per cent, a row a polyphony, a column a run; names that `table` has too are of one colour.

    Returns:
        matplotlib Figure.
    """
    runs = list(dict.fromkeys(table["run"]))
    names = runs if paper is None else [*runs, *(name for name in paper if name not in runs)]
    styles = {name: {"color": color, "marker": marker, "markersize": 5, "label": name}
              for name, color, marker in zip(names, COLOURS, "osD^v")}
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    axes = figure.subplots(1, 1 if paper is None else 2, sharey=True, squeeze=False)[0]
    for index, name in enumerate(runs):
        rows = 100 * table[table["run"] == name].set_index("row")[["value", "low", "high"]].astype(float)
        place = rows.index.astype(float) + 0.08 * (index - (len(runs) - 1) / 2)  # so that intervals lie beside each other
        axes[0].plot(place, rows["value"], **styles[name])
        axes[0].vlines(place, rows["low"], rows["high"], color=styles[name]["color"], linewidth=1.2)
    axes[0].set(title="ours, 95 % intervals over mixtures", ylabel="F1 (%)")
    if paper is not None:
        for name in paper:
            axes[1].plot(paper.index, paper[name], **styles[name])
        axes[1].set_title("the paper's")
    for each in axes:
        each.set_xlabel("polyphony (active labels)")
        each.xaxis.set_major_locator(MaxNLocator(integer=True))
        each.grid(alpha=0.3)
        each.legend(frameon=False)
    return figure


def plot_reliability(posteriors, activity, *, bins=10, axes=None):
    """Draw how often labels are active where the posterior says so, against the posterior: a reliability diagram.

    Args:
        posteriors: array (frames, labels), or of any shape, 0..1.
        activity: array of the same shape, 0 or 1: the reference.
        bins: of equal widths.
        axes: matplotlib Axes; None for new ones.

    Returns:
        The axes, in per cent; the legend has the expected calibration error, the mean distance to the diagonal over all
        frames and labels.

    Raises:
        InputError: shapes that differ, or nothing in them.
    """
    mean, share, count = _reliability(np.asarray(posteriors, float), np.asarray(activity, float), bins)
    axes, used = new_axes(axes, 4.5, width=4.8), count > 0
    error = (count[used] * np.abs(mean - share)[used]).sum() / count.sum()
    axes.bar((np.arange(bins) + 0.5) * 100 / bins, 100 * count / count.sum(), 90 / bins, color="0.85",
             label="share of all values")
    axes.plot([0, 100], [0, 100], "--", color=NEUTRAL, linewidth=1.2, label="perfectly calibrated")
    axes.plot(100 * mean[used], 100 * share[used], "o-", color=REFERENCE, label=f"calibration error {100 * error:.1f} %")
    axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="posterior (%)", ylabel="active in the reference (%)")
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="upper left")
    return axes


def _reliability(posteriors, activity, bins):
    """Mean posterior, share of active values (0..1, NaN of none) and number of values in every bin."""
    if posteriors.shape != activity.shape or posteriors.size == 0:
        raise InputError(f"activity: expected the shape of posteriors, {posteriors.shape}, and something in it. "
                         f"Received: {activity.shape}.")
    index = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], posteriors.ravel())
    count, mean, share = (np.bincount(index, weights, bins) for weights in (None, posteriors.ravel(), activity.ravel()))
    with np.errstate(invalid="ignore"):
        return mean / count, share / count, count
