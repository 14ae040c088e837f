"""Search files: the hyperparameters, their ranges and the objective, and how drawn values become an Experiment.

TensorFlow is not imported here, so that a mistake in a search file is reported at once.
"""
import contextlib
import dataclasses
import functools
import json
import math
import pathlib

from polysed_keras.errors import InputError, expect, expect_known
from polysed_keras.files import read_json, shipped_search
from polysed_keras.specs import get_preset, set_fields

ALGORITHMS, DIRECTIONS, SAMPLINGS = ("random", "bayesian", "hyperband"), ("max", "min"), ("linear", "log")
OWN_KEYS = {"training.epochs": "epochs", "training.seed": "seeds"}  # fields that a key of the file sets
NOT_IN_FILE = ("name", "assignments")
MOST = 10_000  # trials, epochs and values of a range: more is a slip, and would take all memory
HYPERBAND_FACTOR = 3  # the best third of a hyperband round goes on to the next round


@dataclasses.dataclass(frozen=True)
class Search:
    """A checked search file.

    Attributes:
        name: the file's name without its suffix.
        preset: a preset's name, or the path of a JSON file with an Experiment.
        ranges: {field: list of choices, or {low, high, sampling, step}}; fields are named as `--set` names them.
        objective: a column of a run's history; the value of a trial's best epoch counts.
        direction: `max` or `min`.
        algorithm: one of ALGORITHMS.
        trials: the largest number of trials; hyperband runs as many whole iterations as fit into it.
        epochs: epochs per trial.
        seeds: tuple of int; the first one seeds the trials and the oracle, all of them the trainings of the best trial.
        assignments: changes of the preset that the file does not hold, as `--set` makes them.
    """

    name: str
    preset: str
    ranges: dict
    objective: str
    direction: str
    algorithm: str
    trials: int
    epochs: int
    seeds: tuple
    assignments: tuple = ()

    @functools.cached_property
    def experiment(self):
        """The Experiment whose fields the ranges change."""
        return set_fields(get_preset(self.preset), [*self.assignments, f"training.epochs={self.epochs}",
                                                    f"training.seed={self.seeds[0]}"])

    def to_dict(self):
        """Return the content of the search file."""
        fields = json.loads(json.dumps(dataclasses.asdict(self)))
        return {key: value for key, value in fields.items() if key not in NOT_IN_FILE}


def read_search(path, assignments=()):
    """Read a search file and check everything that can be checked without data.

    Args:
        path: the JSON file, or the name of a search that comes with the package, such as mcmt_small.
        assignments: changes of the preset, such as `training.segment_hop=64`.

    Returns:
        Search.

    Raises:
        InputError: the file is unreadable; a key is missing or unknown; the preset, a field, the objective or the
            algorithm is unknown; a range is malformed, or the field does not take its values; an assignment sets what
            the file sets. The message names the file and the key.

    Example:
        >>> search = read_search("tuning/mcmt_small.json")
    """
    path = shipped_search(path)
    data = read_json(path, dict)
    keys = [field.name for field in dataclasses.fields(Search) if field.name not in NOT_IN_FILE]
    expect(sorted(data) == sorted(keys), str(path), f"the keys {', '.join(keys)}", ", ".join(data))
    with _prefixing(path):
        _check_types(data)
        data["seeds"], ranges = tuple(data["seeds"]), data["ranges"]
        expect(isinstance(ranges, dict) and ranges, "ranges", "fields with their ranges", ranges)
        search = Search(pathlib.Path(path).stem, **data, assignments=tuple(assignments))
        with _prefixing("preset"):
            get_preset(search.preset)
    experiment = search.experiment
    with _prefixing(path):
        for key, known in (("objective", objectives(experiment)), ("direction", DIRECTIONS), ("algorithm", ALGORITHMS)):
            expect_known(data[key], known, key)
    repeated = {assignment.split("=")[0] for assignment in assignments} & {*OWN_KEYS, *search.ranges}
    if repeated:
        raise InputError(f"--set: expected fields that {path} says nothing of. Received: "
                         f"{', '.join(sorted(repeated))}.")
    with _prefixing(path):
        for field, values in search.ranges.items():
            _check_range(experiment, field, values)
        expect(planned_epochs(search), "trials", f"at least {len(hyperband_iteration(search.epochs))}, an iteration of "
               f"hyperband over {search.epochs} epochs", search.trials)
    return search


@contextlib.contextmanager
def _prefixing(place):
    """Put the file or key in front of the message of an InputError that the block raises."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {str(error).removeprefix('--set').lstrip(': ')}") from error


def _check_types(data):
    for key in ("preset", "objective", "direction", "algorithm"):
        expect(isinstance(data[key], str), key, "a text", data[key])
    for key in ("trials", "epochs"):
        expect(type(data[key]) is int and 0 < data[key] <= MOST, key, f"a whole number from 1 to {MOST}", data[key])
    seeds = data["seeds"]
    expect(isinstance(seeds, list) and seeds and len(set(map(str, seeds))) == len(seeds)
           and all(type(seed) is int and 0 <= seed < 2 ** 31 for seed in seeds),
           "seeds", "a list of different whole numbers, such as [0, 1, 2]", seeds)


def objectives(experiment):
    """Return the columns of a run's history that a search may optimise: every measure and loss of validation."""
    if not experiment.clip_level:
        others = () if experiment.training.measure == "f1" else ("val_recall", "val_f1_and_recall")
        return ("val_f1", *others, "val_loss")
    encodings = {task.encoding for task in experiment.tasks}
    measures = [f"val_{measure}" for encoding, measure in (("multi_class", "accuracy"), ("multi_label", "lwlrap"))
                if encoding in encodings]
    return (*measures, "val_loss", *(f"val_{task.name}_loss" for task in experiment.tasks))


def _check_range(experiment, field, values):
    key = f"ranges {field}"
    expect(field not in OWN_KEYS, key, f"the file's key `{OWN_KEYS.get(field)}` to say it", field)
    bounded = isinstance(values, dict)
    if bounded:
        _check_bounds(key, values)
    else:
        expect(isinstance(values, list) and len(set(map(json.dumps, values))) == len(values) > 0, key,
               'a list of different choices, or {"low": ..., "high": ..., "sampling": "linear" or "log"}', values)
    with _prefixing(key):
        for value in (values["low"], values["high"]) if bounded else values:
            apply_values(experiment, {field: value})
        choices(experiment, field, values)
    if bounded and is_whole(experiment, field):
        expect(isinstance(values.get("step", 1), int) or values.get("sampling") == "log", f"{key} step",
               "a whole number, as the field is", values.get("step"))


def _check_bounds(key, bounds):
    """Check a range's bounds in the words of the file: KerasTuner names other keys, and takes equal bounds."""
    expect({"low", "high"} <= set(bounds) <= {"low", "high", "sampling", "step"}, key,
           "the keys low, high, sampling and, if values are to be so far apart, step", bounds)
    for name in ("low", "high", "step"):
        value = bounds.get(name, 1)
        expect(type(value) in (int, float) and math.isfinite(value), f"{key} {name}", "a number", value)
    sampling = bounds.get("sampling", "linear")
    expect(sampling in SAMPLINGS, f"{key} sampling", "linear or log", sampling)
    logarithmic = sampling == "log"
    expect(bounds["low"] > 0 or not logarithmic, f"{key} low", "a positive number, as sampling is log", bounds["low"])
    expect(bounds["low"] < bounds["high"], key, "low below high", bounds)
    expect(bounds.get("step", math.inf) > logarithmic, f"{key} step",
           "a factor above 1, as sampling is log" if logarithmic else "a positive number", bounds.get("step"))


def is_whole(experiment, field):
    """Return whether a field, such as `training.batch_size`, holds whole numbers."""
    part, name = field.split(".")
    return type(getattr(getattr(experiment, part), name)) is int


def _short(value):
    """Round to four digits: more say nothing about a number drawn at random, and the names of runs hold it."""
    return float(f"{value:.4g}")


def choices(experiment, field, values):
    """Return the values of a range as a list, or None if it has infinitely many (neither choices nor a step)."""
    if isinstance(values, list):
        return values
    if "step" not in values:
        return None
    low, high, step, logarithmic = values["low"], values["high"], values["step"], values.get("sampling") == "log"
    steps = math.log(high / low) / math.log(step) if logarithmic else (high - low) / step
    expect(steps < MOST, "step", f"one with which there are at most {MOST} values", step)
    # KerasTuner's own steps lose the upper end to rounding: 0.4 // 0.05 is 7
    found = [low * step ** index if logarithmic else low + index * step
             for index in range(math.floor(steps + 1e-9) + 1)]
    return list(map(round if is_whole(experiment, field) else _short, found))


def suggest(hp, experiment, ranges):
    """Register every range with KerasTuner's hyperparameters, empty or of a trial, and return their {field: value}."""
    values = {}
    for field, value in ranges.items():
        finite = choices(experiment, field, value)
        if finite:  # as text, because KerasTuner's choices are all of one type, and no lists
            values[field] = json.loads(hp.Choice(field, [json.dumps(choice) for choice in finite], ordered=False))
        else:
            whole = is_whole(experiment, field)
            drawn = (hp.Int if whole else hp.Float)(field, value["low"], value["high"],
                                                    sampling=value.get("sampling", "linear"))
            # when a Gaussian process proposes the upper end of a whole logarithmic range, KerasTuner returns one more
            values[field] = min(drawn, value["high"]) if whole else _short(drawn)
    return values


def apply_values(experiment, values):
    """Return the Experiment with fields {name: value} set as `--set` sets them.

    Raises:
        InputError: a field does not take its value, or the values do not go together.
    """
    return set_fields(experiment, [f"{field}={value if isinstance(value, str) else json.dumps(value)}"
                                   for field, value in values.items()])


def planned_epochs(search):
    """Return the epochs that each trial of a whole search trains.

    A trial of hyperband that goes on from another one counts its added epochs. The list is empty if the search has too
    few trials for one iteration of hyperband.
    """
    if search.algorithm != "hyperband":
        return [search.epochs] * search.trials
    iteration = hyperband_iteration(search.epochs)
    return iteration * (search.trials // len(iteration))


def hyperband_iteration(epochs):
    """Return the added epochs of each trial of one iteration of hyperband, as KerasTuner's oracle plans them."""
    depth, planned = math.log(epochs, HYPERBAND_FACTOR), []
    for bracket in range(math.floor(depth + 1e-9) + 1):
        before = 0
        for left in range(bracket, -1, -1):  # rounds that are still to come
            until = math.ceil(epochs / HYPERBAND_FACTOR ** left)
            planned += [until - before] * math.ceil(math.ceil(1 + depth) / (bracket + 1) * HYPERBAND_FACTOR ** left)
            before = until
    return planned
