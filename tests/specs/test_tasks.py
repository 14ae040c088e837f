"""Tasks: encoding and decoding of every label combination, label posteriors, and the division of labels into groups."""
import itertools

import numpy as np
import pytest
import tensorflow as tf

from polysed_keras.errors import InputError
from polysed_keras.specs.tasks import (
    ENCODINGS,
    STRATEGIES,
    Decomposition,
    Task,
    decompose,
    resolve_tasks,
    task_activity,
    task_labels,
)

# The 16 labels of paper 1 in the order of its Table 1.
LABELS = ("alarms_and_sirens", "baby_crying", "bird_singing", "bus", "cat_meowing", "crowd_applause", "crowd_cheering",
          "dog_barking", "footsteps", "glass_smash", "gun_shot", "horsewalk", "mixer", "motorcycle", "rain", "thunder")


def letters(number):
    return tuple("abcdefghijkl"[:number])


def all_activity(encoding, number):
    """Every 0/1 combination of `number` labels; one label at a time for `multi_class`."""
    if encoding == "multi_class":
        return np.eye(number, dtype=np.uint8)
    return np.array(list(itertools.product((0, 1), repeat=number)), np.uint8)


def certain_posteriors(task, target):
    """Posteriors of a network that is nearly sure of the target."""
    if task.encoding != "powerset":
        return np.where(target > 0.5, 0.9, 0.1).astype(np.float32)
    return (0.9 * np.eye(task.num_outputs)[target] + 0.1 / task.num_outputs).astype(np.float32)


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_was_encoded_is_decoded(encoding, number):
    task = Task("events", letters(number), encoding)
    activity = all_activity(encoding, number)
    posteriors = certain_posteriors(task, task.encode(activity))
    assert posteriors.shape == (len(activity), task.num_outputs)
    decoded = task.decode(posteriors)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, activity)


@pytest.mark.parametrize("number", range(1, 9))
def test_every_combination_has_a_class_of_its_own(number):
    targets = Task("events", letters(number), "powerset").encode(all_activity("powerset", number))
    assert targets.dtype == np.int32
    assert sorted(targets) == list(range(2 ** number))


@pytest.mark.parametrize("encoding, target, dtype", [
    ("multi_label", [[1, 0, 1], [0, 1, 0]], np.float32), ("powerset", [5, 2], np.int32),
    ("multi_class", [[1, 0, 1], [0, 1, 0]], np.float32)])
def test_targets_by_hand(encoding, target, dtype):
    encoded = Task("events", letters(3), encoding).encode([[1, 0, 1], [0, 1, 0]])
    assert encoded.dtype == dtype
    np.testing.assert_array_equal(encoded, target)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_targets_keep_the_leading_axes(encoding):
    task, activity = Task("events", letters(3), encoding), np.random.default_rng(0).integers(0, 2, (4, 5, 3))
    expected = np.array([task.encode(row) for row in activity])
    np.testing.assert_array_equal(task.encode(activity), expected)
    assert expected.shape == ((4, 5) if encoding == "powerset" else (4, 5, 3))


@pytest.mark.parametrize("encoding, outputs, activation", [
    ("multi_label", 5, "sigmoid"), ("multi_class", 5, "softmax"), ("powerset", 32, "softmax")])
def test_outputs_and_activation(encoding, outputs, activation):
    task = Task("events", letters(5), encoding)
    assert (task.num_outputs, task.activation) == (outputs, activation)


def random_posteriors(task, shape, seed=0):
    values = np.random.default_rng(seed).random((*shape, task.num_outputs)).astype(np.float32)
    return values if task.activation == "sigmoid" else values / values.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("number", [1, 3, 8])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_tensors_and_arrays_are_decoded_alike(encoding, number):
    task = Task("events", letters(number), encoding)
    posteriors = random_posteriors(task, (2, 50))
    tensor = tf.constant(posteriors)
    decoded = task.decode(tensor, 0.7)
    assert tf.is_tensor(decoded) and decoded.dtype == tf.uint8
    np.testing.assert_array_equal(decoded, task.decode(posteriors, 0.7))
    np.testing.assert_allclose(task.label_posteriors(tensor), task.label_posteriors(posteriors), atol=1e-6)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_decoding_in_a_graph_of_unknown_shape(encoding):
    task = Task("events", letters(3), encoding)
    function = tf.function(lambda posteriors: (task.decode(posteriors), task.label_posteriors(posteriors)),
                           input_signature=[tf.TensorSpec([None, None, task.num_outputs])])
    posteriors = random_posteriors(task, (2, 7))
    activity, label_posteriors = function(posteriors)
    np.testing.assert_array_equal(activity, task.decode(posteriors))
    np.testing.assert_allclose(label_posteriors, task.label_posteriors(posteriors), atol=1e-6)


@pytest.mark.parametrize("number", range(1, 9))
def test_label_posteriors_sum_the_combinations_that_hold_a_label(number):
    task = Task("events", letters(number), "powerset")
    posteriors = random_posteriors(task, (6,))
    expected = np.zeros((6, number))
    for activity in all_activity("powerset", number):
        for label in np.flatnonzero(activity):
            expected[:, label] += posteriors[:, task.encode(activity)]
    np.testing.assert_allclose(task.label_posteriors(posteriors), expected, atol=1e-6)


@pytest.mark.parametrize("encoding", ["multi_label", "multi_class"])
def test_label_posteriors_of_one_output_a_label_are_the_outputs(encoding):
    task = Task("events", letters(4), encoding)
    posteriors = random_posteriors(task, (6,))
    np.testing.assert_array_equal(task.label_posteriors(posteriors), posteriors)


def test_the_likeliest_combination_and_the_likely_labels_can_differ():
    task = Task("events", ("a", "b"), "powerset")
    posteriors = np.array([[0.4, 0.3, 0.0, 0.3]], np.float32)  # nothing 0.4, a 0.3, b 0.0, both 0.3
    assert task.decode(posteriors).tolist() == [[0, 0]]
    np.testing.assert_allclose(task.label_posteriors(posteriors), [[0.6, 0.3]], atol=1e-6)


@pytest.mark.parametrize("threshold, decoded", [(0.5, [1, 1, 0]), (0.6, [0, 1, 0]), (0.2, [1, 1, 1])])
def test_a_threshold_is_for_multi_label_and_is_reached_by_itself(threshold, decoded):
    posteriors = np.array([0.5, 0.9, 0.2], np.float32)
    assert Task("events", letters(3), "multi_label").decode(posteriors, threshold).tolist() == decoded
    assert Task("events", letters(3), "multi_class").decode(posteriors, threshold).tolist() == [0, 1, 0]


@pytest.mark.parametrize("arguments, message", [
    (("events", ("a",), "one_hot"), "encoding of task 'events'.*'one_hot'"),
    (("events", ("a", "b", "a"), "powerset"), "each label once"),
    (("events", letters(12) + ("m",), "powerset"), "13 labels has 8192 classes"),
])
def test_impossible_tasks_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Task(*arguments)


# Division into groups

@pytest.mark.parametrize("num_tasks", [2, 4, 8, 16])
def test_groups_of_table_1(num_tasks):
    """Paper 1, Table 1: the 16 labels, in their order, in groups of 16 / N."""
    tasks = decompose(LABELS, num_tasks)
    size = 16 // num_tasks
    assert [task.labels for task in tasks] == [LABELS[first:first + size] for first in range(0, 16, size)]
    assert {task.encoding for task in tasks} == {"powerset"}
    assert {task.num_outputs for task in tasks} == {2 ** size}
    assert [task.name for task in tasks] == [f"task_{index}" for index in range(1, num_tasks + 1)]


@pytest.mark.parametrize("number, num_tasks, sizes", [
    (10, 4, [3, 3, 2, 2]), (10, 5, [2] * 5), (7, 2, [4, 3]), (3, 3, [1, 1, 1]), (5, 1, [5])])
def test_groups_are_near_equal_and_in_order(number, num_tasks, sizes):
    tasks = decompose(letters(number), num_tasks)
    assert [len(task.labels) for task in tasks] == sizes
    assert task_labels(tasks) == letters(number)


def test_one_task_is_called_events():
    assert decompose("abc", 1, encoding="multi_label") == (Task("events", ("a", "b", "c"), "multi_label"),)


def test_explicit_groups_in_an_order_of_their_own():
    tasks = decompose("abcd", 99, groups=[["d", "a"], ["c"], ["b"]])
    assert [task.labels for task in tasks] == [("d", "a"), ("c",), ("b",)]
    assert task_labels(tasks) == ("d", "a", "c", "b")
    assert Decomposition(groups=[["d", "a"], ["c"], ["b"]]).tasks("abcd") == tasks


@pytest.mark.parametrize("arguments, message", [
    ({"num_tasks": 5}, "expected 1 to 4.*Received: 5.*fewer tasks"),
    ({"num_tasks": 0}, "expected 1 to 4.*Received: 0"),
    ({"num_tasks": 2, "strategy": "by_height"}, "contiguous.*'by_height'"),
    ({"num_tasks": 2, "strategy": "cooccurrence"}, r"affinity: expected a matrix \(4, 4\).*'cooccurrence'.*none"),
    ({"num_tasks": 2, "strategy": "confusion", "affinity": np.eye(3)}, r"\(4, 4\).*'confusion'.*shape \(3, 3\)"),
    ({"num_tasks": 2, "strategy": "random", "seed": -1}, "seed.*0 or more. Received: -1"),
    ({"num_tasks": 2, "groups": [["a", "b"], ["c"]]}, "exactly one group"),
    ({"num_tasks": 2, "groups": [["a", "b"], ["b", "c", "d"]]}, "exactly one group"),
    ({"num_tasks": 2, "groups": [["a", "b", "c", "d"], []]}, "exactly one group"),
    ({"num_tasks": 2, "groups": [["a", "b", "c"], ["e"]]}, "exactly one group"),
    ({"num_tasks": 2, "groups": [["a", "b", "c"], [4]]}, "exactly one group"),
    ({"num_tasks": 2, "encoding": "bits"}, "encoding"),
])
def test_impossible_divisions_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        decompose("abcd", **arguments)


def test_tasks_are_resolved_with_the_labels_of_the_data_once():
    resolved = resolve_tasks(Decomposition(2), "abcd")
    assert resolved == decompose("abcd", 2)
    assert resolve_tasks(resolved, "something else") == resolved


CLIP_TASKS = Task("scene", (), "multi_class"), Task("events", (), "multi_label"), Task("own", ("x", "y"), "powerset")


def test_tasks_without_labels_get_those_of_their_name():
    scene, events, own = resolve_tasks(CLIP_TASKS, {"scene": ["bus", "park"], "events": ["a", "b", "c"], "own": ["z"]})
    assert (scene, events) == (Task("scene", ("bus", "park"), "multi_class"), Task("events", "abc", "multi_label"))
    assert own is CLIP_TASKS[2] and resolve_tasks((own,), None) == (own,)


@pytest.mark.parametrize("labels", [{"scene": ["bus", "park"]}, {}, ["scene", "events"], None])
def test_labels_that_are_missing_or_of_the_wrong_kind_are_refused(labels):
    with pytest.raises(InputError, match="labels: expected a dict with the labels of scene and events"):
        resolve_tasks(CLIP_TASKS, labels)
    if not isinstance(labels, list):
        with pytest.raises(InputError, match="labels: expected a list of labels"):
            resolve_tasks(Decomposition(1), labels)


PAIRS = np.array([[0, 1, 9, 2], [1, 0, 3, 8], [9, 3, 0, 1], [2, 8, 1, 0]])  # a and c, b and d


@pytest.mark.parametrize("strategy, groups", [
    ("contiguous", [("a", "b"), ("c", "d")]), ("cooccurrence", [("a", "c"), ("b", "d")]),
    ("confusion", [("a", "c"), ("b", "d")]), ("anti_cooccurrence", [("a", "b"), ("c", "d")])])
def test_groups_of_a_strategy_by_hand(strategy, groups):
    """The three divisions have 1 + 1, 9 + 8 and 2 + 3 within groups."""
    tasks = decompose("abcd", 2, strategy, affinity=PAIRS)
    assert [task.labels for task in tasks] == groups
    assert resolve_tasks(Decomposition(2, strategy), "abcd", PAIRS) == tasks


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("num_tasks", [1, 4, 10])
def test_every_strategy_makes_groups_of_the_same_sizes(strategy, num_tasks):
    labels, affinity = letters(10), np.random.default_rng(0).random((10, 10))
    tasks = decompose(labels, num_tasks, strategy, affinity=affinity, encoding="multi_label")
    assert [len(task.labels) for task in tasks] == [len(task.labels) for task in decompose(labels, num_tasks,
                                                                                           encoding="multi_label")]
    assert sorted(task_labels(tasks)) == list(labels)
    assert all(list(task.labels) == sorted(task.labels) for task in tasks)


def test_random_groups_are_those_of_their_seed():
    divisions = {Decomposition(5, "random", seed=seed).tasks(letters(10)) for seed in range(20)}
    assert len(divisions) > 15 and decompose(letters(10), 5) not in divisions
    assert decompose(letters(10), 5, "random", seed=7) == Decomposition(5, "random", seed=7).tasks(letters(10))


def test_columns_of_a_task():
    event_roll = np.arange(12).reshape(3, 4)
    tasks = decompose("abcd", 2, groups=[["c", "a"], ["d", "b"]])
    np.testing.assert_array_equal(task_activity(event_roll, "abcd", tasks[0]), event_roll[:, [2, 0]])
    np.testing.assert_array_equal(task_activity(event_roll, "abcd", tasks[1]), event_roll[:, [3, 1]])
