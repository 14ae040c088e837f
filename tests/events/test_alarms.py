"""Counts of found and false events against a loop over event lists, and by hand."""
import numpy as np
import pytest

from polysed_keras.errors import InputError
from polysed_keras.events.event_lists import event_roll_to_event_list, merge_events
from polysed_keras.events.metrics import alarm_counts

LABELS = ["a", "b", "c"]


def roll(*events, frames=500):
    """Activity of 20 ms frames from (column, onset, offset) in seconds."""
    activity = np.zeros((frames, len(LABELS)), int)
    for column, onset, offset in events:
        activity[round(onset * 50):round(offset * 50), column] = 1
    return activity


def test_alarms_by_hand():
    reference = roll((0, 1, 2), (0, 2.3, 3), (1, 5, 6))  # a sounds once: the pause is shorter than 0.5 s
    estimated = roll((0, 1.5, 1.6), (0, 3.4, 3.44), (0, 8, 8.2), (0, 8.4, 8.5), (1, 4, 4.48))
    counts = alarm_counts(reference, estimated, 0.02)
    # at 3.4 s a is within 0.5 s of its event, and so counts as the estimate's own second event; 8 to 8.5 s are one
    assert counts[0].tolist() == [1, 1, 1, 3, 15, 500 - 150]  # 0.5 to 3.5 s are near
    assert counts[1].tolist() == [0, 1, 1, 1, 24, 500 - 100]
    assert counts[2].tolist() == [0, 0, 0, 0, 0, 500]
    assert counts[3].tolist() == [1, 2, 2, 4, 39, 500]


def slow_counts(reference, estimated, tolerance):
    rows = []
    lists = [merge_events(event_roll_to_event_list(each, LABELS, 0.02), tolerance - 0.015)
             for each in (reference, estimated)]
    for label in LABELS:
        true, found = ([(event.onset, event.offset) for event in each[each.event_label == label].itertuples()]
                       for each in lists)
        column = LABELS.index(label)
        hit = sum(estimated[round(a * 50):round(b * 50), column].any() for a, b in true)
        false = sum(all(end <= a - tolerance + 1e-6 or begin >= b + tolerance - 1e-6 for a, b in true)
                    for begin, end in found)
        rows.append([hit, len(true), false, len(found)])
    return np.array(rows)


@pytest.mark.parametrize("density", [0.005, 0.02])
@pytest.mark.parametrize("tolerance", [0.1, 0.5])
def test_alarms_are_those_of_a_loop_over_event_lists(density, tolerance):
    rng = np.random.default_rng(0)
    for _ in range(20):
        reference, estimated = (np.maximum.accumulate(rng.random((500, 3)) < density, axis=0)
                                & (rng.random((500, 3)) < 0.9) & (np.sin(np.arange(500) / 13)[:, None] > rng.random())
                                for _ in range(2))
        counts = alarm_counts(reference, estimated, 0.02, tolerance=tolerance)
        np.testing.assert_array_equal(counts[:-1, :4], slow_counts(reference, estimated, tolerance))
        np.testing.assert_array_equal(counts[-1, :4], counts[:-1, :4].sum(axis=0))


def test_nothing_and_everything():
    nothing, everything = np.zeros((100, 3)), np.ones((100, 3))
    assert alarm_counts(nothing, everything, 0.02)[-1].tolist() == [0, 0, 3, 3, 100, 100]
    assert alarm_counts(everything, everything, 0.02)[-1].tolist() == [3, 3, 0, 3, 0, 100]
    assert alarm_counts(everything, nothing, 0.02)[-1].tolist() == [0, 3, 0, 0, 0, 100]
    assert alarm_counts(nothing[:0], nothing[:0], 0.02)[-1].tolist() == [0] * 6


def test_other_shapes_are_refused():
    with pytest.raises(InputError, match="expected equal shapes"):
        alarm_counts(np.zeros((3, 2)), np.zeros((3, 1)), 0.02)
