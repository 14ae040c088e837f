"""Divide labels into near-equal groups, in order or by affinity, and measure two affinities of labels."""
import numpy as np

STARTS = 32  # divisions from which group_by_affinity searches


def near_equal_groups(order, num_groups):
    """Cut label indices, in the given order, into groups whose sizes differ by at most one.

    The groups are sorted tuples of int, larger groups first, groups of equal size by their lowest index.
    """
    groups = [tuple(sorted(map(int, group))) for group in np.array_split(np.asarray(order), num_groups)]
    return sorted(groups, key=lambda group: (-len(group), group))


def group_by_affinity(affinity, num_groups):
    """Divide labels into near-equal groups so that the sum of affinities of all pairs within groups is high.

    The search starts from the contiguous division and from fixed random ones. In each it swaps the two labels whose
    swap raises the sum most, until no swap does; the best result wins. The same affinity always gives the same groups.
    The affinity is a finite array (labels, labels); both directions count, the diagonal does not. The groups are as
    `near_equal_groups` returns them.
    """
    affinity = np.add(affinity, np.transpose(affinity), dtype=float)
    np.fill_diagonal(affinity, 0)
    affinity /= np.abs(affinity).max() or 1  # so that the bound below tells a gain from rounding
    rng, ends = np.random.default_rng(0), []
    place = np.concatenate([np.full(len(part), group) for group, part in
                            enumerate(np.array_split(np.arange(len(affinity)), num_groups))])
    for start in range(STARTS):
        ends.append(_swap(affinity, rng.permutation(place) if start else place, num_groups))
    sums = np.round([affinity[end[:, None] == end].sum() for end in ends], 6)
    return near_equal_groups(np.argsort(ends[sums.argmax()], kind="stable"), num_groups)


def _swap(affinity, place, num_groups):
    """Swap group numbers of labels, int (labels,), until no swap raises the sum."""
    place = place.copy()
    while True:
        to_groups = affinity @ np.eye(num_groups)[place]
        moved = to_groups[:, place]  # [i, j]: affinity of label i to the group of j, j included
        stays = np.diag(moved)
        gains = moved + moved.T - stays[:, None] - stays - 2 * affinity
        gains[place[:, None] == place] = 0
        swap = np.unravel_index(gains.argmax(), gains.shape)
        if not gains[swap] > 1e-9:
            return place
        place[list(swap)] = place[list(swap)[::-1]]


def cooccurrence(joint):
    """Measure how often labels sound together: frames with both over frames with either (Jaccard index).

    Args:
        joint: int array (labels, labels), the sum of events.joint_activity over recordings.

    Returns:
        float64 (labels, labels) in 0..1; 0 for labels that never sound.
    """
    active = np.diag(joint)
    either = active[:, None] + active - joint
    return np.divide(joint, either, out=np.zeros(joint.shape), where=either > 0)


def confusion(substitutions, joint):
    """Measure how often a detector confuses two labels.

    It is the substitutions of either by the other, over the frames in which exactly one of them sounds.

    Args:
        substitutions: float array (labels, labels), the sum of events.substitutions over recordings.
        joint: int array (labels, labels) of the same recordings, as for `cooccurrence`.

    Returns:
        Symmetric float64 (labels, labels) in 0..1, with a diagonal of 0.
    """
    active = np.diag(joint)
    one = active[:, None] + active - 2 * joint
    return np.divide(substitutions + substitutions.T, one, out=np.zeros(joint.shape), where=one > 0)
