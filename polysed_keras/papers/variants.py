"""Many trainings of one family, several seeds a point, resumable: paper 2's experiments, to a CSV and the paper's figure;
and any experiments on recordings, to be compared."""
import dataclasses
import logging
import pathlib
import re

import numpy as np
import pandas as pd

from polysed_keras.display import plot_sweep, save_figure
from polysed_keras.evaluation import evaluate_run, load_seen_combinations
from polysed_keras.files import atomic_file, check_writable, read_json, write_json
from polysed_keras.papers.paper2_points import EVENT, SCENE, SWEEPS, balanced_alpha, draw_points
from polysed_keras.specs import set_fields
from polysed_keras.training import best_epoch, load_run, run_experiment

RESULT = "result.json"


def run_sweep(name, study, values, data, out, *, seeds=4, progress=print):
    """Train and test every point of a sweep with every seed; what is there already is not done again.

    Sweeps of one folder share their runs: a point that two of them have is trained once.

    Args:
        name: a key of SWEEPS; study: Study; values: of the points.
        data: folder with both corpora of clips.
        out: folder for runs/, NAME.csv and NAME.png.
        seeds: trainings a point, with the seeds 0, 1, ...
        progress: called with a line of text before each training.

    Returns:
        DataFrame, a line a training: point, seed, accuracy, lwlrap (of the test partition, 0..1; NaN where the network has
        no such task), val_scene_loss, val_events_loss, run.

    Raises:
        InputError: points that the data do not have, before the first training; as run_experiment.
    """
    out = pathlib.Path(out)
    check_writable(out)
    points, rows = draw_points(name, study, values, data), []
    for seed in range(seeds):
        for point in points:
            progress(f"{name}: training {len(rows) + 1} of {len(points) * seeds}: {point.value}, seed {seed}")
            rows.append({"point": point.value, "seed": seed, **_run_point(point, seed, data, out / "runs")})
            table = pd.DataFrame(rows)
            with atomic_file(out / f"{name}.csv") as temporary:
                table.to_csv(temporary, index=False, float_format="%.6f", lineterminator="\n")
    save_figure(draw_sweep(name, table), out / f"{name}.png")
    return table


def run_variants(variants, data, out, *, seeds=(0,), partition="test", progress=print):
    """Train and test experiments on recordings with every seed; what is there already is not trained again.

    Args:
        variants: {name: Experiment}; data: folder of the corpus.
        out: folder of the runs, `<name>-seed<seed>`.
        partition: to test on.
        progress: called with a line of text before each training.

    Returns:
        List of evaluation.RunResult under the names of the variants, for evaluation.compare_runs and the tables.

    Raises:
        InputError: as run_experiment and evaluate_run.
    """
    runs = {}
    for name, experiment in variants.items():
        for seed in seeds:
            run = run_folder(out, name, seed)
            progress(f"training {len(runs) + 1} of {len(variants) * len(seeds)}: {name}, seed {seed}")
            _train(set_fields(experiment, [f"training.seed={seed}"]), data, run)
            runs[run] = name
    seen = load_seen_combinations(runs, runs.values())
    return [dataclasses.replace(evaluate_run(run, data, partition, seen=seen, progress=False), name=name)
            for run, name in runs.items()]


def draw_sweep(name, table):
    """The paper's figure of a table of run_sweep(name, ...), with Pearson's rho where `correlation` has one."""
    sweep, rho = SWEEPS[name], correlation(name, table)
    title = sweep.title if rho is None else f"{sweep.title}: Pearson's rho {rho:.2f}"
    return plot_sweep(table, sweep.axis, baselines=(SCENE, EVENT), title=title)


def correlation(name, table):
    """Pearson's correlation of a number and the mean accuracy over points (paper 2, sections 4.3 and 4.4); None of sweeps
    that the paper has none of, or of fewer than three points."""
    means = table[~table.point.isin((SCENE, EVENT))].groupby("point", sort=False).accuracy.mean()
    if name not in ("hours", "k") or len(means) < 3:
        return None
    return float(np.corrcoef(means.index.astype(float), means)[0, 1])


def _run_point(point, seed, data, runs):
    """Train and test, or read what an earlier call found."""
    seeded = [f"training.seed={seed}"]
    experiment, pretrained = set_fields(point.experiment, seeded), None
    if point.pretrained:
        pretrained = run_folder(runs, point.pretrained.name, seed)
        _train(set_fields(point.pretrained, seeded), data, pretrained)
    run = run_folder(runs, experiment.name + (f" after {point.pretrained.name}" if pretrained else ""), seed)
    _train(experiment, data, run, pretrained)
    if not (run / RESULT).exists():
        write_json(_test(run, data), run / RESULT)
    found = read_json(run / RESULT)
    columns = ("accuracy", "lwlrap", "val_scene_loss", "val_events_loss")
    return {column: found.get(column, np.nan) for column in columns} | {"run": run.name}


def _test(run, data):
    """Scores of the test partition, and the validation losses of the epoch that has them."""
    scores = {result.measure: result.score for result in evaluate_run(run, data, progress=False).tasks}
    best = best_epoch(run, load_run(run).measure)
    return scores | {key: value for key, value in best.items() if re.fullmatch("val_.+_loss", key)}


def _train(experiment, data, run, pretrained=None):
    import keras
    keras.backend.clear_session()  # a sweep is many networks in one process
    logging.getLogger("tensorflow").addFilter(_is_no_retracing)
    run_experiment(experiment, data, run, pretrained=pretrained, resume=True, progress=False)


def _is_no_retracing(record):
    """Every network is traced anew, as it should be: TensorFlow takes it for a mistake, once every few."""
    return "retracing" not in record.getMessage()


def run_folder(out, name, seed):
    """The folder of a run, in the folder of runs of run_variants or of a sweep."""
    return pathlib.Path(out) / re.sub("[^a-zA-Z0-9_.=-]+", "-", f"{name} seed{seed}")


def sweep_alpha(table):
    """Equation 3's alpha from the two baselines' losses in a table of run_sweep("alpha"), mean over seeds."""
    losses = table.groupby("point").mean(numeric_only=True)
    return balanced_alpha(losses.val_scene_loss[SCENE], losses.val_events_loss[EVENT])


def sweep_table(table):
    """A line a point of a table of run_sweep: accuracy and lwlrap in per cent, mean (lowest to highest over seeds), and
    the difference of accuracy to the scene baseline, seed by seed.

    Returns:
        DataFrame point, accuracy, difference, lwlrap, all text.
    """
    baseline, rows = table[table.point == SCENE].set_index("seed").accuracy, []
    for value, part in table.groupby("point", sort=False):
        differences = part.set_index("seed").accuracy - baseline
        rows.append({"point": str(value), "accuracy": _cell(part.accuracy),
                     "difference": "-" if value == SCENE else _cell(differences, "+"), "lwlrap": _cell(part.lwlrap)})
    return pd.DataFrame(rows)


def _cell(values, sign=""):
    values = 100 * values.dropna()
    if values.empty:
        return "-"
    return f"{values.mean():{sign}.1f} ({values.min():{sign}.1f} to {values.max():{sign}.1f})"


def format_sweep(table):
    """sweep_table's lines for the terminal."""
    return sweep_table(table).to_string(index=False)
