"""Train and test many experiments with several seeds, resumably: recipes on recordings, and the sweeps of paper 2."""
import dataclasses
import logging
import pathlib
import re

import numpy as np
import pandas as pd

from polysed_keras.display import plot_sweep, save_figure
from polysed_keras.evaluation import evaluate_run, load_seen_combinations, percent_cells, write_table
from polysed_keras.files import check_writable, read_json, write_json
from polysed_keras.papers.paper2_points import EVENT, SCENE, SWEEPS, Point, balanced_alpha, draw_points
from polysed_keras.specs import set_fields
from polysed_keras.training import best_epoch, load_run, run_experiment

SWEEP_RESULT = "result.json"  # in the folder of a run of a sweep


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Experiments on recordings as a paper has them, at demo size, or one's own.

    Attributes:
        data: Path of the corpus.
        out: Path of the folder of the runs.
        experiments: {name: Experiment}.
        seeds: tuple of int, one training of each experiment per seed.
        epochs: int, of every training; None for what the experiments say.
    """

    data: pathlib.Path
    out: pathlib.Path
    experiments: dict
    seeds: tuple
    epochs: int | None = None


def run_recipe(recipe, experiments=None, *, partition="test", progress=True):
    """Train and test experiments with every seed; a network that is trained already is not trained again.

    Args:
        recipe: Recipe.
        experiments: {name: Experiment} in place of the recipe's own.
        partition: str, to test on.
        progress: bool, whether a line per training is shown.

    Returns:
        List of evaluation.RunResult under the names of the experiments, for the tables of evaluation.

    Raises:
        InputError: as run_experiment and evaluate_run.
    """
    changes = [f"training.epochs={recipe.epochs}"] * bool(recipe.epochs)
    jobs = [(Point(name, set_fields(experiment, changes), folder=name), seed)
            for name, experiment in (experiments or recipe.experiments).items() for seed in recipe.seeds]
    runs = {run: point.value for point, _, run in _train_all(jobs, recipe.data, recipe.out, "", progress)}
    seen = load_seen_combinations(runs, runs.values())
    return [dataclasses.replace(evaluate_run(run, recipe.data, partition, seen=seen, progress=False), name=name)
            for run, name in runs.items()]


def run_sweep(name, study, values, data, out, *, seeds=(0, 1, 2, 3), progress=True):
    """Train and test every point of a sweep of paper 2 with every seed; what is there already is not done again.

    Sweeps in one folder share their runs: a point that two of them have is trained once.

    Args:
        name: str, a key of SWEEPS.
        study: Study.
        values: of the points.
        data: folder with both corpora of clips.
        out: folder for `runs`, NAME.csv and NAME.png.
        seeds: tuple of int, one training of each point per seed.
        progress: bool, whether a line per training is shown.

    Returns:
        DataFrame with a row per training: point, seed, accuracy, lwlrap (of the test partition, 0..1; NaN if the
        network has no such task), val_scene_loss, val_events_loss, run.

    Raises:
        InputError: points that the data do not have, before the first training; as run_experiment.
    """
    out = pathlib.Path(out)
    check_writable(out)
    points, rows = draw_points(name, study, values, data), []
    jobs = [(point, seed) for seed in seeds for point in points]
    for point, seed, run in _train_all(jobs, data, out / "runs", f"{name}: ", progress):
        rows.append({"point": point.value, "seed": seed, **_sweep_result(run, data)})
        table = pd.DataFrame(rows)
        write_table(table, out / f"{name}.csv")
    save_figure(draw_sweep(name, table), out / f"{name}.png")
    return table


def run_folder(out, name, seed):
    """Return the Path of a run in the folder of runs of a recipe or of a sweep."""
    return pathlib.Path(out) / re.sub("[^a-zA-Z0-9_.=-]+", "-", f"{name} seed{seed}")


def _train_all(jobs, data, out, title, progress):
    """Train each (Point, seed) unless it is trained, and yield them with the folder of the run."""
    for number, (point, seed) in enumerate(jobs, start=1):
        if progress:
            print(f"{title}training {number} of {len(jobs)}: {point.value}, seed {seed}")
        name, pretrained = point.folder or point.experiment.name, None
        if point.pretrained:
            name += f" after {point.pretrained.name}"
            pretrained = run_folder(out, point.pretrained.name, seed)
            _train(point.pretrained, seed, data, pretrained)
        run = run_folder(out, name, seed)
        _train(point.experiment, seed, data, run, pretrained)
        yield point, seed, run


def _train(experiment, seed, data, run, pretrained=None):
    import keras
    keras.backend.clear_session()  # one process builds many networks
    logging.getLogger("tensorflow").addFilter(_is_no_retracing)
    run_experiment(set_fields(experiment, [f"training.seed={seed}"]), data, run, pretrained=pretrained, resume=True,
                   progress=False)


def _is_no_retracing(record):
    """Return whether a log record is not TensorFlow's warning of retracing: each new network must be traced anew."""
    return "retracing" not in record.getMessage()


def _sweep_result(run, data):
    if not (run / SWEEP_RESULT).exists():
        write_json(_test(run, data), run / SWEEP_RESULT, versioned=True)
    found = read_json(run / SWEEP_RESULT, dict[str, float])
    columns = ("accuracy", "lwlrap", "val_scene_loss", "val_events_loss")
    return {column: found.get(column, np.nan) for column in columns} | {"run": run.name}


def _test(run, data):
    """Return the scores of the test partition, and the validation losses of the epoch that has them."""
    scores = {result.measure: result.score for result in evaluate_run(run, data, progress=False).tasks}
    best = best_epoch(run, load_run(run).measure)
    return scores | {key: value for key, value in best.items() if re.fullmatch("val_.+_loss", key)}


def draw_sweep(name, table):
    """Draw a table of run_sweep(name, ...) as the paper's matplotlib Figure, with Pearson's rho if it has one."""
    sweep, rho = SWEEPS[name], correlation(name, table)
    title = sweep.title if rho is None else f"{sweep.title}: Pearson's rho {rho:.2f}"
    return plot_sweep(table, sweep.axis, baselines=(SCENE, EVENT), title=title)


def correlation(name, table):
    """Return Pearson's correlation of a sweep's number and mean accuracy over points (paper 2, sections 4.3 and 4.4).

    None for sweeps for which the paper has none, and for fewer than three points.
    """
    means = table[~table.point.isin((SCENE, EVENT))].groupby("point", sort=False).accuracy.mean()
    if name not in ("hours", "k") or len(means) < 3:
        return None
    return float(np.corrcoef(means.index.astype(float), means)[0, 1])


def sweep_alpha(table):
    """Return equation 3's alpha from the baselines' losses, means over seeds, in a table of run_sweep("alpha")."""
    losses = table.groupby("point").mean(numeric_only=True)
    return balanced_alpha(losses.val_scene_loss[SCENE], losses.val_events_loss[EVENT])


def sweep_table(table):
    """Return a DataFrame of text, in per cent, with a line per point: mean (lowest to highest over seeds).

    `table` is one of run_sweep. The columns are point, accuracy, difference (of accuracy to the scene baseline of the
    same seed), and lwlrap.
    """
    baseline = table[table.point == SCENE].set_index("seed").accuracy
    difference = (table.accuracy - table.seed.map(baseline)).where(table.point != SCENE)
    shown = (100 * table[["accuracy", "lwlrap"]]).assign(difference=100 * difference).groupby(table.point, sort=False)
    texts = {column: percent_cells(shown[column].agg(["mean", "min", "max"]), layout) for column, layout in (
        ("accuracy", "{:.1f} ({:.1f} to {:.1f})"), ("difference", "{:+.1f} ({:+.1f} to {:+.1f})"),
        ("lwlrap", "{:.1f} ({:.1f} to {:.1f})"))}
    return pd.DataFrame(texts).rename_axis("point").reset_index().astype(str)


def format_sweep(table):
    """Return a table of run_sweep as text for a terminal: the lines of `sweep_table`."""
    return sweep_table(table).to_string(index=False)
