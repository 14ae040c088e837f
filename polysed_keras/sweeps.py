"""Paper 2's experiments: many trainings of one family, several seeds a point, resumable, to a CSV and the paper's figure."""
import dataclasses
import pathlib
import re

import numpy as np
import pandas as pd

from polysed_keras.callbacks import STATE
from polysed_keras.clips import HOUR_SECONDS
from polysed_keras.datasets import load_clips
from polysed_keras.datasets.audioset import CLASS_LABELS, read_class_labels
from polysed_keras.errors import InputError
from polysed_keras.experiments import balanced_alpha, evaluate_run, load_run, run_experiment
from polysed_keras.files import atomic_file, check_writable, read_json, write_json
from polysed_keras.plots import plot_sweep, save_figure
from polysed_keras.presets import get_preset
from polysed_keras.specs import Experiment, set_fields
from polysed_keras.tagging import choose_events, load_tagger, mean_scores, rank_labels

RESULT = "result.json"
SCENE, EVENT, JOINT = "scene_baseline", "event_baseline", "scene_event_joint"
UNREGULARIZED = ("augment.time_masks=0", "augment.frequency_masks=0", "augment.mixup=0")
ABUNDANT = ("Speech", "Music")  # paper 2, section 4.4: the events of k = 2


@dataclasses.dataclass(frozen=True)
class Point:
    """One training of a sweep, but for its seed: `value` is what the figure shows it at; `pretrained`, what it begins
    with."""

    value: float | str
    experiment: Experiment
    pretrained: Experiment | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """What the points of a sweep share.

    Attributes:
        labels: of the event corpus. k: how many of them a point has, where the sweep says nothing else.
        choice: how they are chosen: a strategy of tagging.choose_events.
        scores: {label: a tagger's mean score over the scene clips}; None without a tagger.
        small: the `_small` presets.
        assignments: changes of the presets, as `--set` makes them.
    """

    labels: tuple
    k: int
    choice: str = "random"
    scores: dict | None = None
    small: bool = False
    assignments: tuple = ()

    def events(self, k=None, choice=None):
        """The event labels of a point. Two are speech and music, where the corpus has them (paper 2, section 4.4)."""
        k = self.k if k is None else k
        if k == len(ABUNDANT) and choice is None and set(ABUNDANT) <= set(self.labels):
            return tuple(label for label in self.labels if label in ABUNDANT)
        return choose_events(choice or self.choice, self.labels, k, scores=self.scores)

    def experiment(self, name, *assignments, k=None, choice=None):
        """A preset with changes, of which the last of a field holds, and with the study's events, or k others."""
        last = {assignment.split("=")[0]: assignment for assignment in (*self.assignments, *assignments)}
        experiment = set_fields(get_preset(name + ("_small" if self.small else "")), last.values())
        if name == SCENE:
            return experiment
        events = self.events(k, choice)
        tasks = tuple(dataclasses.replace(task, labels=events) if task.name == "events" else task
                      for task in experiment.tasks)
        return dataclasses.replace(experiment, tasks=tasks, name=f"{experiment.name} k={len(events)} {choice or self.choice}")


def _alpha(study, values):
    return [Point(EVENT, study.experiment(EVENT)),
            *(Point(alpha, study.experiment(JOINT, f"training.alpha={alpha}")) for alpha in values)]


def _events(study, values):
    return [Point(choice, study.experiment(JOINT, choice=choice))
            for choice in values]


def _hours(study, values):
    return [Point(hours, study.experiment(JOINT, f"training.event_hours={hours}")) for hours in values]


def _k(study, values):
    return [Point(int(k), study.experiment(JOINT, k=int(k))) for k in values]


def _transfer(study, values):
    points = {"pre-training": Point("pre-training", study.experiment(SCENE), study.experiment(EVENT)),
              "joint": Point("joint", study.experiment(JOINT))}
    return [points[value] for value in values]


def _regularizers(study, values):
    none, dropout = UNREGULARIZED, "model.dropout=0.5"
    points = {"none": study.experiment(SCENE, *none), "SpecAugment": study.experiment(SCENE, none[2]),
              "MixUp": study.experiment(SCENE, *none[:2]), "Dropout": study.experiment(SCENE, *none, dropout),
              "auxiliary task": study.experiment(JOINT, *none), "all": study.experiment(JOINT, dropout)}
    return [Point(value, points[value]) for value in values]


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A row of SWEEPS: its points as a function of (Study, values), default values, the figure's axis, and its title."""

    points: object
    values: tuple
    axis: str
    title: str
    numbers: bool = True


ALPHAS = (*(round(0.1 * step, 2) for step in range(9)), *(round(0.9 + 0.01 * step, 2) for step in range(11)))
SWEEPS = {
    "alpha": Sweep(_alpha, ALPHAS, "alpha, the weight of the event loss", "Joint training with different alpha"),
    "events": Sweep(_events, ("random", "correlated", "uncorrelated"), "choice of events", "Choice of events", False),
    "hours": Sweep(_hours, (11.0, 22.0, 45.0, 90.0, 180.0, 360.0), "hours of event clips", "Size of the event data"),
    "k": Sweep(_k, (2, 5, 10, 20, 35, 70, 115), "number of events k", "Number of events"),
    "transfer": Sweep(_transfer, ("pre-training", "joint"), "training", "Pre-training against joint training", False),
    "regularizers": Sweep(_regularizers, ("none", "SpecAugment", "MixUp", "Dropout", "auxiliary task", "all"),
                          "regularization", "Regularizers against each other", False),
}


def build_study(data, values, *, small=False, k=35, choice="random", tagger=None, endpoint=None, assignments=()):
    """The Study of a data folder; where a choice of events needs a tagger, it scores the scenes' training clips first.

    Args:
        data: folder with both corpora of clips; the tagger's scores are kept in it.
        values: of the sweep's points.
        k: events of a point; fewer where the corpus has not so many.
        tagger: folder of a SavedModel; endpoint: of it, see taggers.load_tagger.
        small, choice, assignments: as in Study.

    Raises:
        InputError: unusable data or tagger, or a choice by a tagger without one.
    """
    datasets, scores = load_clips(data, get_preset(JOINT).dataset), None
    if {choice, *values} & {"correlated", "uncorrelated"}:
        if not tagger:
            raise InputError("--tagger: expected a SavedModel that scores the scenes' clips, because events are chosen by it. "
                             "Received: none. Give YAMNet's folder, or leave `correlated` and `uncorrelated` out.")
        model = load_tagger(tagger, endpoint)
        means = mean_scores(datasets["scene"].partitions["train"], model, pathlib.Path(data) / "tagger_scores.json")
        mids = {name: mid for mid, name in read_class_labels(datasets["events"].folder / CLASS_LABELS).items()}
        labels = datasets["events"].labels
        scores = rank_labels(labels, [mids[label] for label in labels], model, means)
    labels = datasets["events"].labels
    return Study(labels, min(k, len(labels)), choice, scores, small, tuple(assignments))


def parse_values(name, texts):
    """The values of a sweep's points, from text. Raises InputError for an unknown name or numbers that are none."""
    sweep = SWEEPS[name]
    if not texts:
        return sweep.values
    if not sweep.numbers:
        unknown = sorted(set(texts) - set(sweep.values))
        if unknown:
            raise InputError(f"--points: expected some of {', '.join(sweep.values)}. Received: {', '.join(unknown)}.")
        return tuple(texts)
    try:
        return tuple(float(text) for text in texts)
    except ValueError as error:
        raise InputError(f"--points: expected numbers, such as {sweep.values[:3]}. Received: {texts}.") from error


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
    points = [Point(SCENE, study.experiment(SCENE)), *SWEEPS[name].points(study, values)]
    for point in points:
        _check_hours(point.experiment, data)
    rows = []
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


def _title(sweep, table):
    """With Pearson's correlation of a number and the accuracy over points (paper 2, sections 4.3 and 4.4)."""
    means = table[~table.point.isin((SCENE, EVENT))].groupby("point", sort=False).accuracy.mean()
    if sweep.axis.startswith("alpha") or not sweep.numbers or len(means) < 3:
        return sweep.title
    return f"{sweep.title}: Pearson's rho {np.corrcoef(means.index.astype(float), means)[0, 1]:.2f}"


def _check_hours(experiment, data):
    hours, tasks = experiment.training.event_hours, {task.name: task for task in experiment.tasks}
    if hours is None or "events" not in tasks:
        return
    wanted, corpus = set(tasks["events"].labels), load_clips(data, experiment.dataset)["events"]
    clips = sum(not wanted.isdisjoint(clip.labels) for clip in corpus.partitions["train"])
    there = clips * experiment.training.segment_frames * experiment.features.time_resolution / HOUR_SECONDS
    if round(hours * HOUR_SECONDS) > round(there * HOUR_SECONDS):
        raise InputError(f"hours: expected at most {there:.3g} h, what {corpus.folder} has of {len(wanted)} events. "
                         f"Received: {hours:g}.")


def _run_point(point, seed, data, runs):
    """Train and test, or read what an earlier call found."""
    experiment, pretrained = _with_seed(point.experiment, seed), None
    if point.pretrained:
        pretrained = runs / _slug(point.pretrained.name, seed)
        _train(_with_seed(point.pretrained, seed), data, pretrained)
    run = runs / _slug(experiment.name + (" pre-trained" if pretrained else ""), seed)
    _train(experiment, data, run, pretrained)
    if not (run / RESULT).exists():
        scores = {result.measure: result.score for result in evaluate_run(run, data, progress=False)}
        history = pd.DataFrame(read_json(run / STATE)["history"])
        best = history.loc[history[load_run(run).measure].idxmax()]
        write_json(scores | {key: best[key] for key in best.index if re.fullmatch("val_.+_loss", key)}, run / RESULT)
    found = read_json(run / RESULT)
    columns = ("accuracy", "lwlrap", "val_scene_loss", "val_events_loss")
    return {column: found.get(column, np.nan) for column in columns} | {"run": run.name}


def _train(experiment, data, run, pretrained=None):
    import keras
    keras.backend.clear_session()  # a sweep is many networks in one process
    run_experiment(experiment, data, run, pretrained=pretrained, resume=True, progress=False)


def _with_seed(experiment, seed):
    return dataclasses.replace(experiment, training=dataclasses.replace(experiment.training, seed=seed))


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
