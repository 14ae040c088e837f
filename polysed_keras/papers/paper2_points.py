"""The points of paper 2's sweeps: which experiments a sweep trains, and what they share."""
import dataclasses
import logging
import pathlib
from collections.abc import Callable

import numpy as np

from polysed_keras.datasets import CLASS_LABELS, load_clips, read_class_labels
from polysed_keras.errors import InputError, expect
from polysed_keras.papers.event_choice import EVENT_CHOICES, choose_events, load_tagger, mean_scores, rank_labels
from polysed_keras.specs import Experiment, get_preset, set_fields
from polysed_keras.training import HOUR_SECONDS

logger = logging.getLogger(__name__)

SCENE, EVENT, JOINT = "scene_baseline", "event_baseline", "scene_event_joint"
# Settings that single-task baselines ignore; dropping them keeps a baseline from being retrained under a second name.
UNUSED = {SCENE: ("training.alpha", "training.event_batch_size", "training.event_hours"),
          EVENT: ("training.alpha", "training.event_batch_size"), JOINT: ()}
ABUNDANT = ("Speech", "Music")  # paper 2, section 4.4: the events of k = 2
BY_TAGGER = {"correlated", "uncorrelated"}  # choices of events that need a tagger's scores


@dataclasses.dataclass(frozen=True)
class Point:
    """One training of a sweep or a recipe, but for its seed."""

    value: float | str  # the place in a figure or the name in a table
    experiment: Experiment
    pretrained: Experiment | None = None  # trained first, and its weights are those that this one begins with
    folder: str | None = None  # what its run is called; None for the names of its experiments


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """Settings that the points of a sweep share, as build_study makes them."""

    labels: tuple  # of the event corpus
    k: int  # number of labels of a point unless the sweep varies it
    choice: str = "random"  # how they are chosen: a strategy of event_choice.choose_events
    scores: dict | None = None  # {label: a tagger's mean score over the scene clips}; None without a tagger
    small: bool = False  # whether the `_small` presets are taken
    assignments: tuple = ()  # changes of the presets, as `--set` takes them

    def events(self, k=None, choice=None):
        """Return the event labels of a point; two are speech and music if there are these (paper 2, section 4.4)."""
        k = self.k if k is None else k
        if k == len(ABUNDANT) and choice is None and self.choice == "random" and set(ABUNDANT) <= set(self.labels):
            return tuple(label for label in self.labels if label in ABUNDANT)
        return choose_events(choice or self.choice, self.labels, k, scores=self.scores)

    def experiment(self, name, *assignments, k=None, choice=None):
        """Return a preset with changes, the last of each field, and with the study's events or k others."""
        last = {assignment.split("=")[0]: assignment for assignment in (*self.assignments, *assignments)}
        used = [assignment for field, assignment in last.items() if field not in UNUSED[name]]
        experiment = set_fields(get_preset(name + ("_small" if self.small else "")), used)
        if name == SCENE:
            return experiment
        events = self.events(k, choice)
        tasks = tuple(dataclasses.replace(task, labels=events) if task.name == "events" else task
                      for task in experiment.tasks)
        name = f"{experiment.name} k={len(events)} {choice or self.choice}"
        return dataclasses.replace(experiment, tasks=tasks, name=name)


def _joint(field):
    """Return a function that puts a point's value into a field of joint training."""
    return lambda study, value: Point(value, study.experiment(JOINT, f"{field}={value}"))


def _transfer(study, way):
    if way == "joint":
        return Point(way, study.experiment(JOINT))
    return Point(way, study.experiment(SCENE), study.experiment(EVENT))


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep of paper 2."""

    point: Callable  # (Study, value) -> Point
    values: tuple  # the paper's, unless others are given
    axis: str  # text below the figure
    title: str  # text over the figure
    same_hours: bool = False  # whether all points get as many hours of event clips
    event_baseline: bool = False  # whether a network of events alone is a point too

    def points(self, study, values):
        """Return the Points of values, after the event baseline if the sweep has one."""
        baseline = [Point(EVENT, study.experiment(EVENT))] if self.event_baseline else []
        return baseline + [self.point(study, value) for value in values]


ALPHAS = (*(round(0.1 * step, 2) for step in range(9)), *(round(0.9 + 0.01 * step, 2) for step in range(11)))
NO_MASKS, NO_MIXUP = ("augment.time_masks=0", "augment.frequency_masks=0"), ("augment.mixup=0",)
REGULARIZERS = {"none": (SCENE, *NO_MASKS, *NO_MIXUP), "SpecAugment": (SCENE, *NO_MIXUP), "MixUp": (SCENE, *NO_MASKS),
                "Dropout": (SCENE, *NO_MASKS, *NO_MIXUP, "model.dropout=0.5"),
                "auxiliary task": (JOINT, *NO_MASKS, *NO_MIXUP), "all": (JOINT, "model.dropout=0.5")}
SWEEPS = {
    "alpha": Sweep(_joint("training.alpha"), ALPHAS, "alpha, the weight of the event loss",
                   "Joint training with different alpha", event_baseline=True),
    "events": Sweep(lambda study, choice: Point(choice, study.experiment(JOINT, choice=choice)),
                    EVENT_CHOICES, "choice of events", "Choice of events", same_hours=True),
    "hours": Sweep(_joint("training.event_hours"), (11.0, 22.0, 45.0, 90.0, 180.0, 360.0), "hours of event clips",
                   "Size of the event data"),
    "k": Sweep(lambda study, k: Point(int(k), study.experiment(JOINT, k=int(k))), (2, 5, 10, 20, 35, 70, 115),
               "number of events k", "Number of events", same_hours=True),
    "transfer": Sweep(_transfer, ("pre-training", "joint"), "training", "Pre-training against joint training"),
    "regularizers": Sweep(lambda study, name: Point(name, study.experiment(*REGULARIZERS[name])), tuple(REGULARIZERS),
                          "regularization", "Regularizers against each other"),
}


def build_study(data, values, *, small=False, k=35, choice="random", tagger=None, endpoint=None, assignments=(),
                progress=True):
    """Return the Study of a data folder; a tagger scores the scenes' training clips if a choice of events needs it.

    Args:
        data: folder with both corpora of clips; the tagger's scores are kept in it.
        values: of the sweep's points.
        small: bool, whether the `_small` presets are taken.
        k: int, events of a point; fewer if the corpus has not so many.
        choice: str, how they are chosen: a strategy of event_choice.choose_events.
        tagger: folder of a SavedModel, as of event_choice.load_tagger.
        endpoint: str, of the tagger, as of event_choice.load_tagger.
        assignments: changes of the presets, as `--set` takes them.
        progress: bool, whether a bar of the clips that are scored is shown.

    Raises:
        InputError: unusable data or tagger, or a choice by a tagger without one.
    """
    datasets, scores = load_clips(data, get_preset(JOINT).dataset), None
    labels = datasets["events"].labels
    if {choice, *values} & BY_TAGGER:
        if not tagger:
            raise InputError("--tagger: expected a SavedModel that scores the scenes' clips, because events are chosen "
                             "by it. Received: none. Give YAMNet's folder, or leave `correlated` and `uncorrelated` "
                             "out.")
        model = load_tagger(tagger, endpoint)
        means = mean_scores(datasets["scene"].partitions["train"], model, pathlib.Path(data) / "tagger_scores.json",
                            progress=progress)
        mids = list(read_class_labels(datasets["events"].folder / CLASS_LABELS))  # in the order of the corpus's labels
        scores = rank_labels(labels, mids, model, means)
    return Study(labels, min(k, len(labels)), choice, scores, small, tuple(assignments))


def parse_values(name, texts):
    """Return the values of a sweep's points from text.

    Args:
        name: str, a key of SWEEPS.
        texts: list of str; None or empty for the paper's values.

    Raises:
        InputError: an unknown name of a point, or text that is not a number.
    """
    sweep = SWEEPS[name]
    if not texts:
        return sweep.values
    if isinstance(sweep.values[0], str):
        unknown = sorted(set(texts) - set(sweep.values))
        if unknown:
            raise InputError(f"--points: expected some of {', '.join(sweep.values)}. Received: {', '.join(unknown)}.")
        return tuple(texts)
    try:
        values = tuple(float(text) for text in texts)
    except ValueError as error:
        raise InputError(f"--points: expected numbers, such as {sweep.values[:3]}. Received: {texts}.") from error
    expect(name != "k" or all(value.is_integer() for value in values), "--points", "whole numbers of events", texts)
    return values


def draw_points(name, study, values, data):
    """Return the points of a sweep, the scene baseline first.

    If the events vary, all points get as many hours of them as the one with the fewest has (paper 2: the same T),
    unless `event_hours` is set. More hours than the events of a point have raise InputError.
    """
    sweep = SWEEPS[name]
    points = sweep.points(study, values)
    clips = load_clips(data, get_preset(JOINT).dataset)["events"]
    there = {point.value: _hours_there(point.experiment, clips) for point in points}
    if sweep.same_hours and not any(point.experiment.training.event_hours for point in points):
        hours = min(there.values())
        logger.info("%s: all points have %.3g hours of event clips, as many as the one with the fewest.", name, hours)
        points = [dataclasses.replace(point, experiment=set_fields(point.experiment, [f"training.event_hours={hours}"]))
                  for point in points]
    for point in points:
        hours = point.experiment.training.event_hours
        if hours and round(hours * HOUR_SECONDS) > round(there[point.value] * HOUR_SECONDS):
            raise InputError(f"hours: expected at most {there[point.value]:.3g} h, what {clips.folder} has of the "
                             f"events of {point.value}. Received: {hours:g}.")
    return [Point(SCENE, study.experiment(SCENE)), *points]


def _hours_there(experiment, clips):
    """Return the hours of training clips with an event of the experiment; 0 if it has none."""
    wanted = {label for task in experiment.tasks if task.name == "events" for label in task.labels}
    number = sum(not wanted.isdisjoint(clip.labels) for clip in clips.partitions["train"])
    return number * experiment.training.segment_frames * experiment.features.time_resolution / HOUR_SECONDS


def balanced_alpha(scene_loss, event_loss):
    """Return the alpha that weighs the baselines' converged losses the same (paper 2, equation 3).

    It is L_scene / (L_scene + L_events). Losses that are negative or not finite, or both 0, raise InputError.
    """
    losses = np.array([scene_loss, event_loss], float)
    if not np.isfinite(losses).all() or losses.min() < 0 or losses.sum() == 0:
        raise InputError("losses: expected two numbers of at least 0, not both 0. "
                         f"Received: {scene_loss}, {event_loss}.")
    return float(losses[0] / losses.sum())
