"""The results of a search: its table, its picture, TensorBoard's HParams, the best Experiment."""
import json
import pathlib
import time

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter

from polysed_keras.display import ESTIMATED, MEASURE_NAMES, NEUTRAL, REFERENCE, save_figure
from polysed_keras.errors import InputError
from polysed_keras.files import atomic_file, write_json
from polysed_keras.search.space import apply_values, choices, is_whole, planned_epochs
from polysed_keras.search.trials import COMPLETED, TRIAL_RESULT, read_result

UNITS = {"training.segment_frames": "frames", "training.segment_hop": "frames", "training.event_hours": "h",
         "augment.time_mask_frames": "frames", "augment.frequency_mask_mels": "mels", "features.sample_rate": "Hz",
         "features.win_length": "samples", "features.hop_length": "samples", "features.n_fft": "samples",
         "features.fmin": "Hz", "features.fmax": "Hz"}
TRIALS, TABLE, PICTURE, BEST = "trials", "trials.csv", "trials.png", "best.json"


def read_trials(search, out):
    """Read the trials that have ended of a search in its folder.

    Returns:
        DataFrame with one row per trial: trial, status, one column per range, the objective (NaN if the trial failed),
        epochs, seconds, reason, planned (epochs that it had to train) and values ({field: value}).
    """
    results = sorted((read_result(path) for path in pathlib.Path(out, TRIALS).glob(f"*/{TRIAL_RESULT}")),
                     key=lambda result: result["trial"])
    columns = ["trial", "status", *search.ranges, search.objective, "epochs", "seconds", "reason", "planned", "values"]
    return pd.DataFrame([result | result["values"] | {search.objective: result["objective"]} for result in results],
                        columns=columns).astype({search.objective: float})


def best_trial(search, table):
    """Return the row of the best trial, the first of equal ones, or None if all trials failed."""
    scores = table.loc[table["status"] == COMPLETED, search.objective]
    return table.loc[scores.idxmax() if search.direction == "max" else scores.idxmin()] if len(scores) else None


def best_experiment(search, table):
    """Return the Experiment of the best trial, with all epochs of the search.

    Raises:
        InputError: all trials failed.
    """
    best = best_trial(search, table)
    if best is None:
        reason = f"the first failed: {table['reason'].iloc[0]}" if len(table) else "there are none"
        raise InputError(f"{search.name}: expected a trial that succeeds. Received: {reason}. See {TABLE}.")
    return apply_values(search.experiment, best["values"])


def format_progress(search, table, workers=1):
    """Return a line with the number of trials that have ended, the best of them, and about how long the others take."""
    planned, done = planned_epochs(search), table["planned"].sum()
    left = max(sum(planned) - done, 0) * table["seconds"].sum() / max(done, 1) / workers
    best = best_trial(search, table)
    words = f"{len(table)} of {len(planned)} trials done, {(table['status'] != COMPLETED).sum()} failed"
    if best is not None:
        settings = " ".join(f"{field}={value}" for field, value in best["values"].items())
        words += f"; best: trial {best['trial']}, {search.objective} {best[search.objective]:.4f} ({settings})"
    return f"{search.name}: {words}; about {_duration(left)} left"


def _duration(seconds):
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def write_table(search, table, out):
    """Write trials.csv, and TensorBoard's logs of the trials that have none yet."""
    with atomic_file(pathlib.Path(out) / TABLE) as temporary:
        table.drop(columns=["planned", "values"]).to_csv(temporary, index=False, lineterminator="\n")
    _log_hparams(search, table, pathlib.Path(out) / "tensorboard")


def write_report(search, table, out):
    """Write trials.csv, trials.png and best.json.

    Raises:
        InputError: all trials failed.
    """
    write_table(search, table, out)
    save_figure(plot_search(search, table), pathlib.Path(out) / PICTURE)
    write_json(best_experiment(search, table).to_dict(), pathlib.Path(out) / BEST, versioned=True)


def plot_search(search, table):
    """Draw the objective of a search's trials over each hyperparameter, as a matplotlib Figure.

    The best trial is a star, trials of fewer epochs than the search's are hollow, and failed ones are crosses at the
    lower edge. `table` is as read_trials returns it.
    """
    objective, best = search.objective, best_trial(search, table)
    columns = min(len(search.ranges), 3)
    rows = -(-len(search.ranges) // columns)
    figure = Figure(figsize=(1.0 + 3.6 * columns, 1.0 + 3.0 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    if objective in MEASURE_NAMES:
        scale, label = 100, f"validation {MEASURE_NAMES[objective]} (%)"
    else:
        scale, label = 1, f"validation {objective.removeprefix('val_').replace('_', ' ')} (nats)"
    for axes, (field, values) in zip(panels.flat, search.ranges.items()):
        place = _places(axes, table[field])
        _draw_trials(axes, table, place, scale * table[objective], search.epochs)
        if best is not None:
            axes.plot(place[best.name], scale * best[objective], "*", color=ESTIMATED, markersize=15, linestyle="none",
                      markeredgecolor="black", markeredgewidth=0.6, label=f"best: trial {best['trial']}")
        if isinstance(values, dict) and values.get("sampling") == "log":
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(field + (f" ({UNITS[field]})" if field in UNITS else ""))
        axes.margins(y=0.1)  # keeps the trials above the crosses
        axes.grid(alpha=0.3)
    for axes in panels[:, 0]:
        axes.set_ylabel(label)
    for axes in panels.flat[len(search.ranges):]:
        axes.set_axis_off()
    known = {name: handle for axes in panels.flat for handle, name in zip(*axes.get_legend_handles_labels())}
    figure.legend(known.values(), known.keys(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(f"{search.name}: {search.preset}")
    return figure


def _places(axes, values):
    """Return the places of values on an axis: numbers at themselves, other values in the order of their texts."""
    if pd.api.types.is_numeric_dtype(values) and values.notna().all():
        if pd.api.types.is_integer_dtype(values):  # few whole numbers are choices
            known = sorted(set(values))
            axes.xaxis.set_major_locator(FixedLocator(known) if len(known) < 8 else MaxNLocator(integer=True))
        return values
    texts = values.map(lambda value: "none" if value is None or value != value else str(value))
    names = sorted(set(texts))
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)
    return texts.map(names.index)


def _draw_trials(axes, table, place, scores, epochs):
    completed = table["status"] == COMPLETED
    whole = completed & (table["epochs"] >= epochs)
    for rows, face, name in ((whole, REFERENCE, "a trial"), (completed & ~whole, "none", "a trial of fewer epochs")):
        if rows.any():
            axes.plot(place[rows], scores[rows], "o", color=REFERENCE, markerfacecolor=face, markersize=6, alpha=0.7,
                      label=name)
    if (~completed).any():  # at the lower edge, because they have no score
        axes.plot(place[~completed], np.full((~completed).sum(), 0.03), "X", color=NEUTRAL, markersize=7,
                  linestyle="none", transform=axes.get_xaxis_transform(), label="failed")


def _log_hparams(search, table, folder):
    """Write TensorBoard's HParams without TensorFlow, which would take a GPU's memory away from the trials."""
    from tensorboard.plugins.hparams import api_pb2, summary, summary_v2
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb
    domains = {field: _domain(summary_v2, search, field) for field in search.ranges}
    if not folder.exists():
        known = [summary_v2.HParam(field, domain) for field, (domain, _) in domains.items()]
        _write_events(folder, [summary_v2.hparams_config_pb(known, [summary_v2.Metric(search.objective)])])
    for row in table.to_dict("records"):
        name, succeeded = str(row["trial"]), row["status"] == COMPLETED
        if not (folder / name).exists():
            values = {field: domains[field][1](value) for field, value in row["values"].items()}
            _write_events(folder / name, [
                summary_v2.hparams_pb(values, trial_id=name),
                *([scalar_pb(search.objective, row[search.objective])] if succeeded else []),
                summary.session_end_pb(api_pb2.STATUS_SUCCESS if succeeded else api_pb2.STATUS_FAILURE)], row["epochs"])


def _domain(summary, search, field):
    """Return the domain of a range and the function that turns a value into one of it.

    A domain of TensorBoard holds numbers or texts, not both.
    """
    values = search.ranges[field]
    finite = choices(search.experiment, field, values)
    if finite:
        types = set(map(type, finite))
        plain = int if types == {int} else float if types <= {int, float} else _text
        return summary.Discrete(list(map(plain, finite))), plain
    plain = int if is_whole(search.experiment, field) else float
    interval = summary.IntInterval if plain is int else summary.RealInterval
    return interval(plain(values["low"]), plain(values["high"])), plain


def _text(value):
    return value if isinstance(value, str) else json.dumps(value)


def _write_events(folder, summaries, step=0):
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
    writer = EventFileWriter(str(folder))
    for summary in summaries:  # some are of TensorFlow's class of the same name
        summary = Summary.FromString(summary.SerializeToString())
        writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
    writer.close()
