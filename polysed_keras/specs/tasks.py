"""A task is one output of a network: a name, its labels and their encoding, which fixes everything else about the output.

Paper 1 (arXiv 2201.12557, section 2) divides the labels into groups and makes each a `powerset` task.
"""
import dataclasses

import numpy as np

from polysed_keras.errors import InputError
from polysed_keras.specs.grouping import group_by_affinity, near_equal_groups

ENCODINGS = ("multi_label", "multi_class", "powerset")
MAX_POWERSET_LABELS = 12


def _argmax(posteriors):
    if isinstance(posteriors, np.ndarray):
        return posteriors.argmax(axis=-1)
    import tensorflow as tf
    return tf.argmax(posteriors, axis=-1, output_type=tf.int32)  # LiteRT divides no int64


def _as_uint8(activity):
    if isinstance(activity, np.ndarray):
        return activity.astype(np.uint8)
    import tensorflow as tf
    return tf.cast(activity, tf.uint8)


@dataclasses.dataclass(frozen=True)
class Task:
    """One output: `multi_label` (sigmoids), `multi_class` (softmax) or `powerset` (softmax over all label combinations).

    Combination c of a powerset holds label i where bit i of c is set. Arrays and TensorFlow tensors are decoded alike,
    so that an exported graph and Python say the same.

    Raises:
        InputError: an unknown encoding, a label twice, or a powerset of more than 12 labels.
    """

    name: str
    labels: tuple
    encoding: str

    def __post_init__(self):
        object.__setattr__(self, "labels", tuple(self.labels))
        if self.encoding not in ENCODINGS:
            raise InputError(f"encoding of task {self.name!r}: expected one of {ENCODINGS}. Received: {self.encoding!r}.")
        if len(set(self.labels)) != len(self.labels):
            raise InputError(f"labels of task {self.name!r}: expected each label once. Received: {self.labels}.")
        if self.encoding == "powerset" and len(self.labels) > MAX_POWERSET_LABELS:
            raise InputError(f"labels of task {self.name!r}: a powerset of {len(self.labels)} labels has "
                             f"{2 ** len(self.labels)} classes, more than 2^{MAX_POWERSET_LABELS}. Use more tasks.")

    @property
    def num_outputs(self):
        """2^labels for a powerset, else the number of labels."""
        return 2 ** len(self.labels) if self.encoding == "powerset" else len(self.labels)

    @property
    def activation(self):
        """The output layer's activation."""
        return "sigmoid" if self.encoding == "multi_label" else "softmax"

    @property
    def _bit_values(self):
        return 2 ** np.arange(len(self.labels))

    def encode(self, activity):
        """Turn 0/1 activity (..., labels) into the training target.

        Returns:
            int32 (...), the index of the combination, for a powerset; otherwise float32 (..., labels), which MixUp may mix.
        """
        activity = np.asarray(activity)
        if self.encoding != "powerset":
            return activity.astype(np.float32)
        return (activity.astype(np.int64) @ self._bit_values).astype(np.int32)

    def decode(self, posteriors, threshold=0.5):
        """Turn posteriors (..., num_outputs) into uint8 activity (..., labels).

        `threshold` is for `multi_label` only; the others take the class or combination of the highest posterior.
        """
        if self.encoding == "multi_label":
            return _as_uint8(posteriors >= threshold)
        index = _argmax(posteriors)[..., None]
        if self.encoding == "multi_class":
            return _as_uint8(index == np.arange(len(self.labels)))
        return _as_uint8(index // self._bit_values % 2)

    def label_posteriors(self, posteriors):
        """Turn posteriors (..., num_outputs) into one per label (..., labels): a powerset's sum over combinations."""
        if self.encoding != "powerset":
            return posteriors
        combinations = np.arange(self.num_outputs)[:, None] // self._bit_values % 2
        return posteriors @ combinations.astype(np.float32)


STRATEGIES = ("contiguous", "random", "cooccurrence", "anti_cooccurrence", "confusion")


@dataclasses.dataclass(frozen=True)
class Decomposition:
    """How to divide labels that are not known yet: into `num_tasks` groups by a strategy, or into explicit `groups`.

    `seed` is of the strategy `random` alone, so that the seeds of a training share one division.
    """

    num_tasks: int = 1
    strategy: str = "contiguous"
    encoding: str = "powerset"
    groups: tuple | None = None
    seed: int = 0

    def __post_init__(self):
        if self.groups is not None:
            if not all(isinstance(group, (list, tuple)) for group in self.groups):
                raise InputError(f"groups: expected lists of labels. Received: {self.groups}.")
            object.__setattr__(self, "groups", tuple(map(tuple, self.groups)))

    def tasks(self, labels, affinity=None):
        """The tuple of Task that covers `labels` (see decompose)."""
        return decompose(labels, self.num_tasks, self.strategy, encoding=self.encoding, groups=self.groups,
                         affinity=affinity, seed=self.seed)


def decompose(labels, num_tasks, strategy="contiguous", *, encoding="powerset", groups=None, affinity=None, seed=0):
    """Divide labels into tasks (paper 1, section 2, which leaves the choice of groups open).

    A strategy makes groups of near-equal sizes: of all divisions into N groups these have the fewest classes, in all
    and in the largest task, which is what a division is for. Other sizes are given as `groups`.

    Args:
        labels: all labels, in order.
        num_tasks: N, from 1 to the number of labels; ignored where `groups` is given.
        strategy: `contiguous`, in the order of the labels, the larger groups first (paper 1, Table 1); `random`;
            `cooccurrence` and `confusion`, labels of high affinity share a group; `anti_cooccurrence`, they do not.
        encoding: of every task.
        groups: explicit groups of labels, which must hold each label once.
        affinity: matrix (labels, labels) for the last three strategies, such as specs.cooccurrence makes.
        seed: of `random`.

    Returns:
        A tuple of Task: a single one is called `events`, several `task_1`, `task_2`, ...

    Raises:
        InputError: more tasks than labels, an unknown strategy, a missing affinity, or groups that do not cover the
            labels once.
    """
    labels = tuple(labels)
    if groups is None:
        if strategy not in STRATEGIES:
            raise InputError(f"strategy: expected one of {', '.join(STRATEGIES)}. Received: {strategy!r}.")
        if not 1 <= num_tasks <= len(labels):
            raise InputError(f"number of tasks: expected 1 to {len(labels)}, the number of labels. "
                             f"Received: {num_tasks}. Choose a preset with fewer tasks.")
        groups = [tuple(labels[index] for index in group)
                  for group in _group_indices(len(labels), num_tasks, strategy, affinity, seed)]
    grouped = [label for group in groups for label in group]
    if sorted(grouped, key=str) != sorted(labels, key=str) or not all(groups):
        raise InputError(f"groups: expected each of {list(labels)} in exactly one group. Received: {groups}.")
    names = ["events"] if len(groups) == 1 else [f"task_{index + 1}" for index in range(len(groups))]
    return tuple(Task(name, group, encoding) for name, group in zip(names, groups))


def _group_indices(num_labels, num_tasks, strategy, affinity, seed):
    if strategy == "contiguous":
        return near_equal_groups(range(num_labels), num_tasks)
    if strategy == "random":
        if seed < 0:
            raise InputError(f"seed of a random division: expected 0 or more. Received: {seed}.")
        return near_equal_groups(np.random.default_rng(seed).permutation(num_labels), num_tasks)
    if np.shape(affinity) != (num_labels, num_labels):
        raise InputError(f"affinity: expected a matrix ({num_labels}, {num_labels}) for the strategy {strategy!r}. "
                         f"Received: {'none' if affinity is None else f'shape {np.shape(affinity)}'}.")
    return group_by_affinity(np.negative(affinity) if strategy == "anti_cooccurrence" else affinity, num_tasks)


def resolve_tasks(tasks, labels, affinity=None):
    """Fill the labels of the data into an Experiment's `tasks`.

    Args:
        tasks: a Decomposition, or a tuple of Task.
        labels: all labels; or, for corpora of clips, {task name: labels}, which tasks without labels take.
        affinity: of the labels, where the Decomposition's strategy takes one.
    """
    if isinstance(tasks, Decomposition):
        return tasks.tasks(labels, affinity)
    return tuple(task if task.labels else dataclasses.replace(task, labels=labels[task.name]) for task in tasks)


def task_labels(tasks):
    """All labels of the tasks, in the tasks' order."""
    return tuple(label for task in tasks for label in task.labels)


def task_activity(event_roll, labels, task):
    """The columns of an event roll (frames, labels) that belong to a task: (frames, task labels)."""
    return event_roll[:, [labels.index(label) for label in task.labels]]
