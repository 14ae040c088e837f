"""Tasks, the outputs of a network (a name, labels and their encoding), and the division of labels into tasks.

Paper 1 (arXiv 2201.12557, section 2) divides the labels into groups and makes each a `powerset` task.
"""
import dataclasses

import numpy as np

from polysed_keras.errors import InputError, expect, expect_known
from polysed_keras.specs.encodings import ENCODINGS
from polysed_keras.specs.grouping import group_by_affinity, near_equal_groups
from polysed_keras.specs.plugins import find


@dataclasses.dataclass(frozen=True)
class Task:
    """One output of a network.

    Attributes:
        name: str, the key of the output in the network's dict.
        labels: tuple of str.
        encoding: `multi_label` (sigmoids), `multi_class` (softmax), `powerset` (softmax over all label combinations, of
            which number c holds label i if bit i of c is set), or a plug-in's.

    Raises:
        InputError: an unknown encoding, a label twice, or a powerset of more than 12 labels.

    Example:
        >>> task = ps.Task("weather", ("rain", "wind"), "powerset")
        >>> task.encode([[1, 1], [0, 1]])
        array([3, 2], dtype=int32)
    """

    name: str
    labels: tuple[str, ...]
    encoding: str

    def __post_init__(self):
        object.__setattr__(self, "labels", tuple(self.labels))
        find("encoding", self.encoding, f"encoding of task {self.name!r}")
        if len(set(self.labels)) != len(self.labels):
            raise InputError(f"labels of task {self.name!r}: expected each label once. Received: {self.labels}.")
        try:
            self._encoding()
        except InputError as error:
            raise InputError(f"labels of task {self.name!r}: {error}") from error

    def _encoding(self):
        return ENCODINGS[self.encoding](len(self.labels))

    num_outputs = property(lambda self: self._encoding().num_outputs, doc="Number of outputs: 2^labels for a powerset.")
    activation = property(lambda self: self._encoding().activation, doc="Name of the output layer's activation.")
    loss = property(lambda self: self._encoding().loss, doc="Class of keras.losses, or its name.")

    def encode(self, activity):
        """Turn 0/1 activity (..., labels) into the training target.

        Returns:
            int32 (...), the number of the combination, for a powerset; float32 (..., labels) for the other built-in
            encodings.
        """
        return self._encoding().encode(np.asarray(activity))

    def decode(self, posteriors, threshold=0.5):
        """Turn posteriors into activity. Arrays and TensorFlow tensors are decoded alike.

        Args:
            posteriors: (..., num_outputs).
            threshold: for `multi_label` only; softmax encodings take the class or combination of the highest posterior.

        Returns:
            uint8 (..., labels).
        """
        activity = self._encoding().decode(posteriors, threshold)
        if isinstance(activity, (np.ndarray, np.generic)):
            return activity.astype(np.uint8)
        import tensorflow as tf
        return tf.cast(activity, tf.uint8)

    def label_posteriors(self, posteriors):
        """Turn posteriors (..., num_outputs) into one per label, (..., labels).

        For a powerset it is the sum over the combinations that hold the label.
        """
        return self._encoding().label_posteriors(posteriors)

    def rare_logits(self, logit):
        """Return the logits of the outputs, float32 (num_outputs,), if each label by itself has this logit."""
        return self._encoding().rare_logits(logit)

    def with_prior(self, posteriors, prior, weight):
        """Multiply posteriors (..., num_outputs)^(1 - weight) and a prior of each label, (..., labels)^weight."""
        return self._encoding().with_prior(posteriors, prior, weight)


STRATEGIES = ("contiguous", "random", "cooccurrence", "anti_cooccurrence", "confusion")


@dataclasses.dataclass(frozen=True)
class Decomposition:
    """How to divide labels into tasks once they are known; the fields are arguments of `decompose`.

    Attributes:
        seed: int, for the strategy `random` only. It is not the training's seed, so that trainings with several seeds
            share one division.
    """

    num_tasks: int = 1
    strategy: str = "contiguous"
    encoding: str = "powerset"
    groups: tuple[tuple[str, ...], ...] | None = None
    seed: int = 0

    def __post_init__(self):
        if self.groups is not None:
            expect(all(isinstance(group, (list, tuple)) for group in self.groups), "groups", "lists of labels",
                   self.groups)
            object.__setattr__(self, "groups", tuple(map(tuple, self.groups)))

    def tasks(self, labels, affinity=None):
        """Return the tuple of Task that covers `labels` (see `decompose`)."""
        return decompose(labels, self.num_tasks, self.strategy, encoding=self.encoding, groups=self.groups,
                         affinity=affinity, seed=self.seed)


def decompose(labels, num_tasks, strategy="contiguous", *, encoding="powerset", groups=None, affinity=None, seed=0):
    """Divide labels into tasks (paper 1, section 2, which leaves the choice of groups open).

    Strategies make groups of near-equal sizes, because these have the fewest combinations, in total and in the largest
    task. Give `groups` for other sizes.

    Args:
        labels: all labels, in order.
        num_tasks: int N, from 1 to the number of labels; ignored if `groups` is given.
        strategy: "contiguous", in the order of the labels, larger groups first (paper 1, Table 1); "random";
            "cooccurrence" and "confusion", labels of high affinity share a group; "anti_cooccurrence", they do not.
        encoding: str, of every task.
        groups: lists of labels that hold each label once; None to divide by the strategy.
        affinity: matrix (labels, labels) for the last three strategies, such as `cooccurrence` returns.
        seed: int, for "random".

    Returns:
        Tuple of Task. A single one is called `events`, several are called `task_1`, `task_2`, ...

    Raises:
        InputError: more tasks than labels, an unknown strategy, a missing affinity, or groups that do not hold each
            label once.

    Example:
        >>> [task.labels for task in ps.decompose(["rain", "wind", "dog"], 2)]
        [('rain', 'wind'), ('dog',)]
    """
    labels = tuple(labels)
    if groups is None:
        expect_known(strategy, STRATEGIES, "strategy")
        expect(1 <= num_tasks <= len(labels), "number of tasks", f"1 to {len(labels)}, the number of labels", num_tasks,
               "Choose a preset with fewer tasks.")
        groups = [tuple(labels[index] for index in group)
                  for group in _group_indices(len(labels), num_tasks, strategy, affinity, seed)]
    grouped = [label for group in groups for label in group]
    expect(sorted(grouped, key=str) == sorted(labels, key=str) and all(groups), "groups",
           f"each of {list(labels)} in exactly one group", groups)
    names = ["events"] if len(groups) == 1 else [f"task_{index + 1}" for index in range(len(groups))]
    return tuple(Task(name, group, encoding) for name, group in zip(names, groups))


def _group_indices(num_labels, num_tasks, strategy, affinity, seed):
    if strategy == "contiguous":
        return near_equal_groups(range(num_labels), num_tasks)
    if strategy == "random":
        expect(seed >= 0, "seed of a random division", "0 or more", seed)
        return near_equal_groups(np.random.default_rng(seed).permutation(num_labels), num_tasks)
    if np.shape(affinity) != (num_labels, num_labels):
        raise InputError(f"affinity: expected a matrix ({num_labels}, {num_labels}) for the strategy {strategy!r}. "
                         f"Received: {'none' if affinity is None else f'shape {np.shape(affinity)}'}.")
    return group_by_affinity(np.negative(affinity) if strategy == "anti_cooccurrence" else affinity, num_tasks)


def resolve_tasks(tasks, labels, affinity=None):
    """Fill the labels of the data into the tasks of an Experiment.

    Args:
        tasks: Decomposition, or tuple of Task.
        labels: list of all labels, for a Decomposition; {task name: labels} for tasks that have none yet.
        affinity: matrix (labels, labels), if the Decomposition's strategy needs one.

    Returns:
        Tuple of Task. Tasks that have labels stay as they are.

    Raises:
        InputError: labels that are missing, or of the wrong kind; as `decompose`.
    """
    if isinstance(tasks, Decomposition):
        expect(labels is not None and not isinstance(labels, dict), "labels",
               'a list of labels, such as ["rain", "wind"]', labels)
        return tasks.tasks(labels, affinity)
    missing = [task.name for task in tasks if not task.labels]
    expect(not missing or isinstance(labels, dict) and set(missing) <= set(labels), "labels",
           f"a dict with the labels of {' and '.join(missing)}, such as "
           f"{{{', '.join(f'{name!r}: [...]' for name in missing)}}}", labels)
    return tuple(task if task.labels else dataclasses.replace(task, labels=labels[task.name]) for task in tasks)


def task_labels(tasks):
    """Return all labels of the tasks, in the tasks' order."""
    return tuple(label for task in tasks for label in task.labels)


def task_activity(event_roll, labels, task):
    """Select the columns of a task from activity (..., labels) whose columns are `labels`: (..., task labels)."""
    return event_roll[..., [labels.index(label) for label in task.labels]]
