"""Pictures of results: trainings, sweeps, polyphony; `axes` as in recordings."""
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.special import ndtri

from polysed_keras.display.recordings import ESTIMATED, NEUTRAL, REFERENCE, new_axes, new_figure

MEASURE_NAMES = {"val_f1": "F1, overall", "val_recall": "recall at 20 false events per hour",
                 "val_f1_and_recall": "mean of F1 and recall at 20 false events per hour",
                 "val_accuracy": "macro accuracy", "val_lwlrap": "lwlrap"}
COLOURS = (REFERENCE, ESTIMATED, NEUTRAL, "#009E73", "#CC79A7")  # Okabe and Ito's too.
HATCHES = ("", "//", "..", "xx", "\\\\")
BEST = "at the best threshold"


def plot_training(history, *, title=None, measure="val_f1"):
    """Draw the losses and a measure of the validation over epochs, and mark the best epoch.

    Args:
        history: DataFrame with columns epoch, loss, val_loss and `measure` (0 to 1), one row per epoch.
        title: text over the figure.
        measure: key of MEASURE_NAMES.

    Returns:
        matplotlib Figure.

    Example:
        >>> plot_training(pandas.read_csv("runs/mine/history.csv"), title="mine")
    """
    figure, (top, bottom) = new_figure([2.4, 2.4], title, width=7)
    epochs, best = history["epoch"], history.loc[history[measure].idxmax()]
    top.plot(epochs, history["loss"], "o-", color=REFERENCE, markersize=4, label="training")
    top.plot(epochs, history["val_loss"], "s--", color=ESTIMATED, markersize=4, label="validation")
    top.set_ylabel("cross-entropy loss (nats)")
    bottom.plot(epochs, 100 * history[measure], "s--", color=ESTIMATED, markersize=4)
    bottom.plot(best["epoch"], 100 * best[measure], "*", color=NEUTRAL, markersize=12, linestyle="none",
                label=f"best: epoch {best['epoch']:.0f}, {100 * best[measure]:.1f} %")
    bottom.set_ylabel(f"validation {MEASURE_NAMES[measure]} (%)")
    bottom.set_xlabel("epoch")
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (top, bottom):
        axes.axvline(best["epoch"], color=NEUTRAL, linewidth=1, linestyle=":")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    return figure


def plot_sweep(table, axis, *, baselines=(), title=None):
    """Draw accuracy and lwlrap over the points of a sweep, as the figures of paper 2 do.

    Args:
        table: DataFrame with columns point (numbers or names), seed, accuracy, lwlrap (0 to 1, NaN for none), one row
            per training.
        axis: text below the points.
        baselines: points that are drawn as a horizontal line with the range of their seeds.
        title: text over the figure.

    Returns:
        matplotlib Figure.
    """
    figure, panels = new_figure([2.6, 2.0], title, width=8)
    names = {"accuracy": "scenes: macro accuracy (%)", "lwlrap": "events: lwlrap (%)"}
    for axes, (measure, name) in zip(panels, names.items()):
        plot_points(table, measure, baselines=baselines, axes=axes).set_ylabel(name)
    panels[-1].set_xlabel(axis)
    known = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels())}
    names = sorted(known, key=lambda name: name not in baselines)  # Baselines in one column.
    figure.legend([known[name] for name in names], names, loc="outside lower center", ncols=3, frameon=False)
    return figure


def plot_points(table, measure, *, baselines=(), axes=None):
    """Draw a column of plot_sweep's table in per cent over the points: each seed, and their mean and range."""
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
    axes.plot(seeds.index, seeds["mean"], "D-" if numbers else "D", color=REFERENCE, markersize=6,
              label="mean over seeds")
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


def plot_polyphony(statistics, *, axes=None):
    """Draw the share of frames by polyphony, the number of active labels, side by side for every partition.

    Args:
        statistics: content of the statistics.json of a corpus, {partition: {"polyphony": {degree: share}, ...}}.
        axes: see the module.
    """
    axes, width = new_axes(axes, 3, width=7), 0.8 / len(statistics)
    for index, (name, part) in enumerate(statistics.items()):
        degrees = np.array([int(degree) for degree in part["polyphony"]])
        shares = [100 * share for share in part["polyphony"].values()]
        axes.bar(degrees + (index - (len(statistics) - 1) / 2) * width, shares, width, label=name, linewidth=0,
                 color=COLOURS[index % len(COLOURS)], hatch=HATCHES[index % len(HATCHES)], edgecolor="white")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="polyphony (active labels)", ylabel="frames (%)")
    axes.legend(frameon=False)
    return axes


def plot_roc(curves, *, title=None):
    """Draw ROC curves, and beside them the same as detection error tradeoff (DET) on axes of normal quantiles.

    Args:
        curves: dict of a system's name to arrays of false positive rates, rising, and true positive rates, as of
            evaluation.roc_curves.
        title: text over the figure.

    Returns:
        matplotlib Figure.
    """
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    (roc, det), ticks = figure.subplots(1, 2), np.array([0.1, 1, 5, 20, 50, 80, 95, 99])
    for index, (name, (false, true)) in enumerate(curves.items()):
        style = {"color": COLOURS[index % len(COLOURS)], "label": name}
        roc.step(100 * false, 100 * true, where="post", **style)
        det.step(ndtri(np.clip(false, 1e-4, 0.9999)), ndtri(np.clip(1 - true, 1e-4, 0.9999)), where="post", **style)
    det.set_xticks(ndtri(ticks / 100), [f"{tick:g}" for tick in ticks])
    det.set_yticks(ndtri(ticks / 100), [f"{tick:g}" for tick in ticks])
    roc.set(xlabel="false positive rate (%)", ylabel="true positive rate (%)", title="ROC")
    det.set(xlabel="false positive rate (%)", ylabel="false negative rate (%)", title="DET")
    for axes in (roc, det):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.suptitle(title)
    return figure


def plot_psd_roc(curves, *, title=None):
    """Draw PSD-ROC curves: PSDS 1 and 2 beside each other, dashed with the best median filter at each rate (piPSDS).

    Args:
        curves: dict of psds_1, psds_2, pipsds_1 and pipsds_2 to a dict of a system's name to arrays of false events per
            hour, rising, and effective true positive rates, as of evaluation.psd_roc_curves.
        title: text over the figure.

    Returns:
        matplotlib Figure.
    """
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for number, axes in enumerate(panels, start=1):
        for measure, linestyle in ((f"psds_{number}", "-"), (f"pipsds_{number}", "--")):
            for index, (name, (false, true)) in enumerate(curves[measure].items()):
                axes.step(false, 100 * true, linestyle, where="post", color=COLOURS[index % len(COLOURS)],
                          label=name if linestyle == "-" else f"{name}, best filters")
        axes.set(xlabel="effective false events per hour", title=f"PSDS {number}", ylim=(0, 100),
                 xlim=(0, max(false[-1] for false, _ in curves[f"psds_{number}"].values())))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("effective true positive rate (%)")
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(title)
    return figure


def plot_f_scores(tables, *, title=None):
    """Draw F1 by label, average and overall with intervals: a panel per kind, the systems as bars below each other.

    A diamond is the F1 at the best threshold, if the tables hold it.

    Args:
        tables: list of DataFrames of evaluation.score_tables and evaluation.score_file_tables.
        title: text over the figure.

    Returns:
        matplotlib Figure.
    """
    by_name = {table["table"].iloc[0]: table for table in tables if len(table)}
    kinds = [name for name in by_name if name.endswith("_based_f_score") and not name.startswith("best_")]
    first = by_name[kinds[0]]
    rows, runs = list(dict.fromkeys(first["row"])), list(dict.fromkeys(first["run"]))
    figure = Figure(figsize=(2.9 * len(kinds) + 1.5, (0.16 * len(runs) + 0.12) * len(rows) + 1.4), layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, kind in zip(panels, kinds):
        _draw_f_scores(axes, by_name[kind], by_name.get(f"best_{kind}"), rows, runs)
        axes.set(xlabel="F1 (%)", title=kind.removesuffix("_f_score").replace("_", "-"), xlim=(0, 100),
                 ylim=(len(rows) - 0.5, -0.5))
    panels[0].set_yticks(range(len(rows)), rows)
    for axes in panels:
        axes.tick_params(axis="y", length=0)
    known = {name: handle for axes in panels for handle, name in zip(*axes.get_legend_handles_labels())}
    names = sorted(known, key=[*runs, BEST].index)
    figure.legend([known[name] for name in names], names, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(title)
    return figure


def _draw_f_scores(axes, table, best, rows, runs):
    height, whole = 0.8 / len(runs), rows.index("average")
    for index, run in enumerate(runs):
        places = np.arange(len(rows)) + (index - (len(runs) - 1) / 2) * height
        scores = 100 * table[table["run"] == run].set_index("row")[["value", "low", "high"]].astype(float).loc[rows]
        axes.barh(places, scores["value"], height, color=COLOURS[index % len(COLOURS)], label=run, linewidth=0,
                  hatch=HATCHES[index % len(HATCHES)], edgecolor="white")
        axes.hlines(places, scores["low"], scores["high"], color="black", linewidth=1)
        if best is not None:  # its last row is the mean over labels
            own = 100 * best[best["run"] == run].set_index("row")["value"].rename({"overall": "average"}).reindex(rows)
            axes.plot(own, places, "D", color="black", markerfacecolor="white", markersize=3.5, linestyle="none",
                      label=BEST if index == len(runs) - 1 else None)
    axes.axhline(whole - 0.5, color=NEUTRAL, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.grid(axis="x", alpha=0.3)


def plot_polyphony_scores(table, paper=None):
    """Draw F1 by polyphony of several runs with intervals, beside the values of the paper (paper 1, Table 3).

    Args:
        table: DataFrame from evaluation.polyphony_table.
        paper: DataFrame in per cent, one row per polyphony and one column per run; equal names have equal colours.

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
        place = rows.index.astype(float) + 0.08 * (index - (len(runs) - 1) / 2)  # Intervals lie beside each other.
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
