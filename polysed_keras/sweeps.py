"""Many trainings of one family, several seeds a point, resumable: paper 2's experiments, to a CSV and the paper's figure;
and any experiments on recordings, to be compared."""
import dataclasses
import pathlib
import re

import numpy as np
import pandas as pd

from polysed_keras.callbacks import STATE
from polysed_keras.curves import plot_sweep
from polysed_keras.experiments import balanced_alpha, evaluate_run, load_run, load_seen_combinations, run_experiment
from polysed_keras.files import atomic_file, check_writable, read_json, write_json
from polysed_keras.plots import save_figure
from polysed_keras.specs import set_fields
from polysed_keras.studies import EVENT, SCENE, SWEEPS, draw_points

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
    sweep = SWEEPS[name]
    save_figure(plot_sweep(table, sweep.axis, baselines=(SCENE, EVENT), title=_title(sweep, table)), out / f"{name}.png")
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
    seen = load_seen_combinations(runs)
    return [dataclasses.replace(evaluate_run(run, data, partition, seen=seen, progress=False), name=name)
            for run, name in runs.items()]


def _title(sweep, table):
    """With Pearson's correlation of a number and the accuracy over points (paper 2, sections 4.3 and 4.4)."""
    means = table[~table.point.isin((SCENE, EVENT))].groupby("point", sort=False).accuracy.mean()
    if sweep.axis.startswith("alpha") or not sweep.numbers or len(means) < 3:
        return sweep.title
    return f"{sweep.title}: Pearson's rho {np.corrcoef(means.index.astype(float), means)[0, 1]:.2f}"


def _run_point(point, seed, data, runs):
    """Train and test, or read what an earlier call found."""
    seeded = [f"training.seed={seed}"]
    experiment, pretrained = set_fields(point.experiment, seeded), None
    if point.pretrained:
        pretrained = runs / _slug(point.pretrained.name, seed)
        _train(set_fields(point.pretrained, seeded), data, pretrained)
    run = runs / _slug(experiment.name + (" pre-trained" if pretrained else ""), seed)
    _train(experiment, data, run, pretrained)
    if not (run / RESULT).exists():
        write_json(_test(run, data), run / RESULT)
    found = read_json(run / RESULT)
    columns = ("accuracy", "lwlrap", "val_scene_loss", "val_events_loss")
    return {column: found.get(column, np.nan) for column in columns} | {"run": run.name}


def _test(run, data):
    """Scores of the test partition, and the validation losses of the epoch that has them."""
    scores = {result.measure: result.score for result in evaluate_run(run, data, progress=False)}
    history = pd.DataFrame(read_json(run / STATE)["history"])
    best = history.loc[history[load_run(run).measure].idxmax()]
    return scores | {key: best[key] for key in best.index if re.fullmatch("val_.+_loss", key)}


def _train(experiment, data, run, pretrained=None):
    import keras
    keras.backend.clear_session()  # a sweep is many networks in one process
    run_experiment(experiment, data, run, pretrained=pretrained, resume=True, progress=False)


def run_folder(out, name, seed):
    """The folder of a run of run_variants."""
    return pathlib.Path(out) / _slug(name, seed)


def _slug(name, seed):
    return re.sub("[^a-zA-Z0-9_.=-]+", "-", f"{name} seed{seed}")


def sweep_alpha(table):
    """Equation 3's alpha from the two baselines' losses in a table of run_sweep("alpha"), mean over seeds."""
    losses = table.groupby("point").mean(numeric_only=True)
    return balanced_alpha(losses.val_scene_loss[SCENE], losses.val_events_loss[EVENT])


def format_sweep(table):
    """A line a point: accuracy and lwlrap in per cent, mean (lowest to highest over seeds), difference to the scene
    baseline seed by seed."""
    baseline = table[table.point == SCENE].set_index("seed").accuracy
    lines = [f"{'point':20} {'accuracy':>24} {'difference':>24} {'lwlrap':>24}"]
    for value, rows in table.groupby("point", sort=False):
        differences = rows.set_index("seed").accuracy - baseline
        cells = [_cell(values) for values in (rows.accuracy, differences if value != SCENE else differences * np.nan,
                                              rows.lwlrap)]
        lines.append(f"{value!s:20} " + " ".join(f"{cell:>24}" for cell in cells))
    return "\n".join(lines)


def _cell(values):
    values = 100 * values.dropna()
    return f"{values.mean():.1f} ({values.min():.1f} to {values.max():.1f})" if len(values) else "-"
