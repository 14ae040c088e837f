"""A search of hyperparameters: what its JSON file says, and how values that an oracle draws become an Experiment. No
TensorFlow here: a mistake in the file is told at once."""
import contextlib
import dataclasses
import functools
import json
import math
import pathlib

from polysed_keras.errors import InputError
from polysed_keras.files import read_json, shipped_search
from polysed_keras.specs import get_preset, set_fields

ALGORITHMS, DIRECTIONS, SAMPLINGS = ("random", "bayesian", "hyperband"), ("max", "min"), ("linear", "log")
OWN_KEYS = {"training.epochs": "epochs", "training.seed": "seeds"}
NOT_IN_FILE = ("name", "assignments")
HYPERBAND_FACTOR = 3  # of a round, the best third trains on


@dataclasses.dataclass(frozen=True)
class Search:
    """A search file, checked.

    Attributes:
        name: of the file, without its suffix.
        preset: a preset's name, or the path of a JSON file with an Experiment.
        ranges: {field: list of choices, or {low, high, sampling, step}}; fields are named as `--set` names them.
        objective: a column of a run's history, of which the best epoch's value counts; direction: `max` or `min`.
        algorithm: of ALGORITHMS. trials: at most so many; of hyperband as many whole iterations as they are enough for.
        epochs: of a trial; seeds: the first is the trials' and the oracle's, all of them are for the best one's training.
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
        """The Experiment that ranges change."""
        return set_fields(get_preset(self.preset), [*self.assignments, f"training.epochs={self.epochs}",
                                                    f"training.seed={self.seeds[0]}"])

    def to_dict(self):
        """What the file says."""
        fields = json.loads(json.dumps(dataclasses.asdict(self)))
        return {key: value for key, value in fields.items() if key not in NOT_IN_FILE}


def read_search(path, assignments=()):
    """Read a search file and check all of it that can be checked without data.

    Args:
        assignments: changes of the preset, such as `training.segment_hop=64`.

    Raises:
        InputError: an unreadable file; a missing or unknown key; an unknown preset, field, objective or algorithm; a range
            that is none, or whose values the field does not take; assignments to what the file says. It names the file and
            the key.
    """
    path = shipped_search(path)
    data = read_json(path)
    keys = [field.name for field in dataclasses.fields(Search) if field.name not in NOT_IN_FILE]
    if not isinstance(data, dict) or sorted(data) != sorted(keys):
        raise InputError(f"{path}: expected the keys {', '.join(keys)}. Received: "
                         f"{', '.join(data) if isinstance(data, dict) else data!r}.")
    _check_numbers(path, data)
    search = Search(pathlib.Path(path).stem, **data | {"seeds": tuple(data["seeds"])}, assignments=tuple(assignments))
    with _naming(path, "preset"):
        get_preset(search.preset)
    experiment = search.experiment
    for key, known in (("objective", objectives(experiment)), ("direction", DIRECTIONS), ("algorithm", ALGORITHMS)):
        _check(data[key] in known, path, key, f"one of {', '.join(known)}", data[key])
    _check(isinstance(search.ranges, dict) and search.ranges, path, "ranges", "fields with their ranges", search.ranges)
    said = {assignment.split("=")[0] for assignment in assignments} & {*OWN_KEYS, *search.ranges}
    if said:
        raise InputError(f"--set: expected fields that {path} says nothing of. Received: {', '.join(sorted(said))}.")
    for field, values in search.ranges.items():
        _check_range(path, experiment, field, values)
    _check(planned_epochs(search), path, "trials", f"at least {len(hyperband_iteration(search.epochs))}, an iteration of "
           f"hyperband over {search.epochs} epochs", search.trials)
    return search


def _check(condition, path, key, expected, received):
    if not condition:
        raise InputError(f"{path}: {key}: expected {expected}. Received: {received!r}.")


@contextlib.contextmanager
def _naming(path, key):
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {key}: {str(error).removeprefix('--set').lstrip(': ')}") from error


def _check_numbers(path, data):
    for key in ("trials", "epochs"):
        _check(type(data[key]) is int and data[key] > 0, path, key, "a positive whole number", data[key])
    seeds = data["seeds"]
    _check(isinstance(seeds, list) and seeds and len(set(map(str, seeds))) == len(seeds)
           and all(type(seed) is int and 0 <= seed < 2 ** 31 for seed in seeds),
           path, "seeds", "a list of different whole numbers, such as [0, 1, 2]", seeds)


def objectives(experiment):
    """The columns of a run's history that a search may have as its objective: all that validation says."""
    if not experiment.clip_level:
        return ("val_f1", "val_loss")
    encodings = {task.encoding for task in experiment.tasks}
    return (*(["val_accuracy"] if "multi_class" in encodings else []), *(["val_lwlrap"] if "multi_label" in encodings else []),
            "val_loss", *(f"val_{task.name}_loss" for task in experiment.tasks))


def _check_range(path, experiment, field, values):
    key = f"ranges {field}"
    _check(field not in OWN_KEYS, path, key, f"the file's key `{OWN_KEYS.get(field)}` to say it", field)
    if isinstance(values, dict):
        _check_bounds(path, key, values)
        tried = [values["low"], values["high"]]
    else:
        _check(isinstance(values, list) and len(set(map(json.dumps, values))) == len(values) > 0, path, key,
               'a list of different choices, or {"low": ..., "high": ..., "sampling": "linear" or "log"}', values)
        tried = values
    with _naming(path, key):
        for value in tried:
            set_fields(experiment, [_assignment(field, value)])
    if isinstance(values, dict) and is_whole(experiment, field):
        _check(isinstance(values.get("step", 1), int) or values.get("sampling") == "log", path, f"{key} step",
               "a whole number, as the field is", values.get("step"))


def _check_bounds(path, key, bounds):
    _check(set(bounds) >= {"low", "high"} and set(bounds) <= {"low", "high", "sampling", "step"}, path, key,
           "the keys low, high, sampling and, if values are to be so far apart, step", bounds)
    for name in ("low", "high", "step"):
        value = bounds.get(name, 1)
        _check(type(value) in (int, float) and math.isfinite(value), path, f"{key} {name}", "a number", value)
    sampling = bounds.get("sampling", "linear")
    _check(sampling in SAMPLINGS, path, f"{key} sampling", "linear or log", sampling)
    logarithmic = sampling == "log"
    _check(bounds["low"] > 0 or not logarithmic, path, f"{key} low", "a positive number, as sampling is log", bounds["low"])
    _check(bounds["low"] < bounds["high"], path, key, "low below high", bounds)
    _check(bounds.get("step", math.inf) > logarithmic, path, f"{key} step",
           "a factor above 1, as sampling is log" if logarithmic else "a positive number", bounds.get("step"))


def is_whole(experiment, field):
    """Whether a field holds whole numbers."""
    part, name = field.split(".")
    return type(getattr(getattr(experiment, part), name)) is int


def _assignment(field, value):
    return f"{field}={value if isinstance(value, str) else json.dumps(value)}"


def _short(value):
    """Four digits say enough of a number that was drawn at random, and names of runs hold it."""
    return float(f"{value:.4g}")


def choices(experiment, field, values):
    """The values of a range that has finitely many, as a list; None for one without choices or a step."""
    if isinstance(values, list):
        return values
    if "step" not in values:
        return None
    low, high, step = values["low"], values["high"], values["step"]
    if values.get("sampling") == "log":
        number = math.floor(math.log(high / low) / math.log(step) + 1e-9) + 1
        found = [low * step ** index for index in range(number)]
    else:
        found = [low + index * step for index in range(math.floor((high - low) / step + 1e-9) + 1)]
    return [round(value) for value in found] if is_whole(experiment, field) else [_short(value) for value in found]


def suggest(hp, experiment, ranges):
    """Register every range with KerasTuner's hyperparameters and take the values that they have.

    Args:
        hp: keras_tuner.HyperParameters, empty or of a trial.

    Returns:
        {field: value}, as in the ranges.
    """
    values = {}
    for field, value in ranges.items():
        finite = choices(experiment, field, value)
        if finite:  # as text, because KerasTuner's choices are all of one type, and no lists
            values[field] = json.loads(hp.Choice(field, [json.dumps(choice) for choice in finite], ordered=False))
        else:
            whole = is_whole(experiment, field)
            drawn = (hp.Int if whole else hp.Float)(field, value["low"], value["high"],
                                                    sampling=value.get("sampling", "linear"))
            # a Gaussian process that proposes the upper end of a logarithmic whole range gets one more from KerasTuner
            values[field] = min(drawn, value["high"]) if whole else _short(drawn)
    return values


def search_space(hp, experiment, ranges):
    """The Experiment of the values that KerasTuner's hyperparameters have.

    Args:
        hp: keras_tuner.HyperParameters, empty or of a trial.
        experiment: Experiment to change; ranges: as in Search.

    Raises:
        InputError: values that do not go together.
    """
    return apply_values(experiment, suggest(hp, experiment, ranges))


def apply_values(experiment, values):
    """The Experiment with fields {name: value} set, as `--set` does it."""
    return set_fields(experiment, [_assignment(field, value) for field, value in values.items()])


def planned_epochs(search):
    """The epochs that each trial of a whole search trains: of hyperband, where a trial goes on from another, the added
    ones; empty where `trials` are not enough for an iteration of it."""
    if search.algorithm != "hyperband":
        return [search.epochs] * search.trials
    iteration = hyperband_iteration(search.epochs)
    return iteration * (search.trials // len(iteration))


def hyperband_iteration(epochs):
    """The added epochs of all trials of an iteration of hyperband, by KerasTuner's numbers of trials and epochs."""
    brackets, planned = math.floor(math.log(epochs, HYPERBAND_FACTOR) + 1e-9) + 1, []
    for bracket in range(brackets):
        before = 0
        for left in range(bracket, -1, -1):  # rounds that are still to come
            size = math.ceil(math.ceil(1 + math.log(epochs, HYPERBAND_FACTOR)) / (bracket + 1) * HYPERBAND_FACTOR ** left)
            until = math.ceil(epochs / HYPERBAND_FACTOR ** left)
            planned += [until - before] * size
            before = until
    return planned
