"""Groups of labels that become tasks: near-equal ones, those of the highest affinity, and two affinities of labels."""
import numpy as np

STARTS = 32  # searches of group_by_affinity


def near_equal_groups(order, num_groups):
    """Cut label indices, in their order, into groups whose sizes differ by one at most, the larger ones first.

    Returns:
        List of sorted tuples of int; of groups of one size the one with the lowest index comes first.
    """
    groups = [tuple(sorted(map(int, group))) for group in np.array_split(np.asarray(order), num_groups)]
    return sorted(groups, key=lambda group: (-len(group), group))


def group_by_affinity(affinity, num_groups):
    """Near-equal groups within which the affinities of all pairs sum to as much as can be found.

    From STARTS divisions, the contiguous one and fixed random ones, the two labels of different groups are swapped that
    raise the sum most, until no swap does; the best end wins. The same affinity gives the same groups.

    Args:
        affinity: finite matrix (labels, labels), of which both directions count and the diagonal does not.
        num_groups: from 1 to the number of labels.

    Returns:
        As near_equal_groups.
    """
    affinity = np.add(affinity, np.transpose(affinity), dtype=float)
    np.fill_diagonal(affinity, 0)
    affinity /= np.abs(affinity).max() or 1  # so that a gain can be told from rounding
    rng, ends = np.random.default_rng(0), []
    place = np.concatenate([np.full(len(part), group) for group, part in
                            enumerate(np.array_split(np.arange(len(affinity)), num_groups))])
    for start in range(STARTS):
        ends.append(_swap(affinity, rng.permutation(place) if start else place, num_groups))
    sums = np.round([affinity[end[:, None] == end].sum() for end in ends], 6)
    return near_equal_groups(np.argsort(ends[sums.argmax()], kind="stable"), num_groups)


def _swap(affinity, place, num_groups):
    """Improve the group numbers of labels, (labels,), by swaps until none helps."""
    place = place.copy()
    while True:
        to_groups = affinity @ np.eye(num_groups)[place]
        moved = to_groups[:, place]  # [i, j]: what label i shares with the group of j, j included
        stays = np.diag(moved)
        gains = moved + moved.T - stays[:, None] - stays - 2 * affinity
        gains[place[:, None] == place] = 0
        swap = np.unravel_index(gains.argmax(), gains.shape)
        if not gains[swap] > 1e-9:
            return place
        place[list(swap)] = place[list(swap)[::-1]]


def cooccurrence(joint):
    """How much labels sound together: frames in which both sound over frames in which either does (Jaccard's index).

    Args:
        joint: int array (labels, labels), a sum of events.joint_activity over recordings.

    Returns:
        float64 (labels, labels) in 0..1; 0 for labels that never sound.
    """
    active = np.diag(joint)
    either = active[:, None] + active - joint
    return np.divide(joint, either, out=np.zeros(joint.shape), where=either > 0)


def confusion(substitutions, joint):
    """How much a detector takes labels for each other: the substitutions of either by the other, over the frames in
    which exactly one of them sounds, as a substitution needs.

    Args:
        substitutions: float array (labels, labels), a sum of events.substitutions over recordings.
        joint: of the same recordings, as for cooccurrence.

    Returns:
        Symmetric float64 (labels, labels) in 0..1, with a diagonal of 0.
    """
    active = np.diag(joint)
    one = active[:, None] + active - 2 * joint
    return np.divide(substitutions + substitutions.T, one, out=np.zeros(joint.shape), where=one > 0)
