"""Groups of labels against brute force over all divisions, and affinities by hand and by loops over frames."""
import itertools

import numpy as np
import pytest

from polysed_keras.events.event_lists import joint_activity
from polysed_keras.events.metrics import substitutions
from polysed_keras.specs.grouping import confusion, cooccurrence, group_by_affinity, near_equal_groups


def divisions(items, sizes):
    """Every division of items into groups of these sizes, each once."""
    if not sizes:
        yield []
        return
    for size in set(sizes):
        for others in itertools.combinations(items[1:], size - 1):
            group, left = (items[0], *others), list(sizes)
            left.remove(size)
            for rest in divisions([item for item in items if item not in group], left):
                yield [group, *rest]


def affinity_within(affinity, groups):
    return sum(affinity[pair] for group in groups for pair in itertools.combinations(group, 2))


def random_affinity(num_labels, seed):
    """Symmetric; with many ties, or negative, for some seeds."""
    values = np.random.default_rng(seed).random((num_labels, num_labels)) - (seed % 3 == 0)
    return np.round(3 * (values + values.T)) if seed % 2 else values + values.T


@pytest.mark.parametrize("num_labels, num_groups", [(8, 2), (8, 3), (8, 4), (9, 4), (10, 5), (7, 7), (5, 1)])
def test_no_division_has_more_affinity_within_groups(num_labels, num_groups):
    for seed in range(6):
        affinity = random_affinity(num_labels, seed)
        groups = group_by_affinity(affinity, num_groups)
        sizes = [len(group) for group in near_equal_groups(range(num_labels), num_groups)]
        assert [len(group) for group in groups] == sizes and sorted(sum(groups, ())) == list(range(num_labels))
        best = max(affinity_within(affinity, each) for each in divisions(range(num_labels), sizes))
        assert affinity_within(affinity, groups) == pytest.approx(best)


def test_pairs_that_were_put_in_are_found():
    """16 labels of paper 1, in 8 groups: far too many divisions to try."""
    order, affinity = np.random.default_rng(0).permutation(16), 0.5 * random_affinity(16, 4)
    pairs = sorted(tuple(sorted(map(int, pair))) for pair in order.reshape(8, 2))
    for pair in pairs:
        affinity[pair] = affinity[pair[::-1]] = 5
    assert group_by_affinity(affinity, 8) == pairs


def test_groups_depend_on_nothing_but_the_affinity():
    affinity = random_affinity(12, 2)
    np.random.seed(1)
    first = group_by_affinity(affinity, 4)
    np.random.seed(2)
    assert group_by_affinity(1e-7 * affinity + np.diag(np.arange(12)), 4) == first  # neither its scale nor its diagonal
    with np.errstate(all="raise"):
        assert group_by_affinity(np.zeros((5, 5)), 2) == [(0, 1, 2), (3, 4)]  # nothing to choose by: contiguous


def test_one_direction_is_enough():
    affinity = np.triu(random_affinity(9, 2))
    assert group_by_affinity(affinity, 3) == group_by_affinity(affinity + affinity.T, 3)


def test_near_equal_groups_by_hand():
    assert near_equal_groups([4, 0, 3, 1, 2], 2) == [(0, 3, 4), (1, 2)]
    assert near_equal_groups([3, 2, 1, 0], 2) == [(0, 1), (2, 3)]
    assert near_equal_groups(range(7), 3) == [(0, 1, 2), (3, 4), (5, 6)]


# Affinities

def random_rolls(seed, labels=5, frames=200):
    rng = np.random.default_rng(seed)
    reference = rng.random((frames, labels)) < [0.5, 0.3, 0.2, 0.4, 0.0][:labels]
    return reference, reference ^ (rng.random((frames, labels)) < 0.3)


def test_cooccurrence_by_hand():
    """Rain sounds in frames 0 to 3, thunder in 2 to 5: 2 frames of 6; a dog never does."""
    roll = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0]], np.uint8)
    expected = [[1, 2 / 6, 0], [2 / 6, 1, 0], [0, 0, 0]]
    np.testing.assert_allclose(cooccurrence(joint_activity(roll)), expected)
    np.testing.assert_array_equal(cooccurrence(joint_activity(roll[:1])), [[1, 0, 0], [0, 0, 0], [0, 0, 0]])


def test_cooccurrence_is_the_jaccard_index_of_all_recordings():
    rolls = [random_rolls(seed)[0] for seed in (0, 1)]
    affinity = cooccurrence(sum(map(joint_activity, rolls)))
    frames = [{(index, frame) for index, roll in enumerate(rolls) for frame in np.flatnonzero(roll[:, label])}
              for label in range(5)]
    for first, second in itertools.product(range(5), repeat=2):
        either = len(frames[first] | frames[second])
        assert affinity[first, second] == pytest.approx(len(frames[first] & frames[second]) / either if either else 0)


def test_confusion_by_hand():
    """Dog for cat, cat for dog, both right, dog right, dog for cat and rain, half each; dog or cat alone: 4."""
    reference = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0]])  # dog, cat, rain
    estimated = np.array([[0, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 1, 1]])
    dog_cat, dog_rain = (1 + 1 + 0.5) / 4, 0.5 / 4  # frames that hold dog or rain alone: those with a dog
    expected = [[0, dog_cat, dog_rain], [dog_cat, 0, 0], [dog_rain, 0, 0]]
    np.testing.assert_allclose(confusion(substitutions(reference, estimated), joint_activity(reference)), expected)


def test_confusion_equals_a_loop_over_frames_and_pairs():
    reference, estimated = random_rolls(3)
    taken, chances = np.zeros((5, 5)), np.zeros((5, 5))
    for sounds, says in zip(reference, estimated):
        missed, false = np.flatnonzero(sounds & ~says), np.flatnonzero(says & ~sounds)
        for one, other in itertools.product(range(5), repeat=2):
            chances[one, other] += sounds[one] != sounds[other]
        for one, other in itertools.product(missed, false):
            share = min(len(missed), len(false)) / (len(missed) * len(false))
            taken[one, other] += share
            taken[other, one] += share
    affinity = confusion(substitutions(reference, estimated), joint_activity(reference))
    np.testing.assert_allclose(affinity, taken / np.where(chances > 0, chances, 1))
    assert 0 < affinity.max() <= 1 and (np.diag(affinity) == 0).all()


def test_labels_that_never_sound_have_no_confusion():
    silence = np.zeros((10, 2), int)
    assert (confusion(substitutions(silence, silence + 1), joint_activity(silence)) == 0).all()
