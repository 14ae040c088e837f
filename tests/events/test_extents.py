"""Where events begin and end: shares of a peak's height by hand, boxes by hand and against plain loops, and streams."""
import itertools
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from polysed_keras.errors import InputError
from polysed_keras.events.decoding import event_finders, posteriors_to_events
from polysed_keras.events.extents import find_boxes, step_changes

LABELS = ["bird", "cat", "dog"]


def extents_of(posteriors, **rule):
    events = posteriors_to_events(np.reshape(posteriors, (-1, 1)), ["cat"], 1.0, **{"threshold": 0} | rule)
    return [(int(event.onset), int(event.offset)) for event in events.itertuples()]


def noisy_steps(frames, labels, seed):
    """Posteriors that stay, rise and fall, with noise on them; some are 0, 1 or equal."""
    rng = np.random.default_rng(seed)
    levels = rng.uniform(-0.4, 1.3, (frames, labels)).repeat(rng.integers(1, 12, frames), axis=0)[:frames]
    posteriors = np.clip(levels + rng.normal(0, 0.1 * (seed % 3), levels.shape), 0, 1)
    return np.round(posteriors, 1 + 5 * (seed % 2)).astype(np.float32)


# Shares of a peak's height

@pytest.mark.parametrize("edge, expected", [
    (0.5, [(1, 3), (5, 7)]),        # 0.4 is less than half of 0.9, and the lowest, 0.3, less than half of 0.7
    (0.4, [(1, 4)]),                # down to 0.36; 0.7 and 0.3 are one with it or none: 0.3 is not below 0.28
    (0.2, [(1, 7)]),                # down to 0.18
    (0.05, [(0, 8)]),
    (1.0, [(2, 3), (6, 7)]),        # the highest frames alone
])
def test_the_edge_is_a_share_of_the_height_by_hand(edge, expected):
    assert extents_of([0.05, 0.5, 0.9, 0.4, 0.3, 0.5, 0.7, 0.1], edge=edge) == expected


def test_a_low_edge_keeps_together_what_a_high_one_divides():
    posteriors = noisy_steps(600, 1, 1)
    numbers = [len(extents_of(posteriors, edge=edge)) for edge in (0.9, 0.5, 0.2, 0.05)]
    assert numbers == sorted(set(numbers), reverse=True)


def test_gaps_edges_and_filters_may_differ_by_label():
    posteriors = noisy_steps(400, 3, 2)
    rule = {"max_gap": [0.0, 0.1, 0.04], "edge": [0.2, 0.5, 0.8], "step_filter": [0.2, 0.0, 0.08]}
    events = posteriors_to_events(posteriors, LABELS, 0.02, threshold=0, **rule)
    alone = [posteriors_to_events(posteriors[:, [column]], [label], 0.02, threshold=0,
                                  **{name: values[column] for name, values in rule.items()})
             for column, label in enumerate(LABELS)]
    assert min(map(len, alone)) > 5
    pd.testing.assert_frame_equal(
        events, pd.concat(alone).sort_values(["onset", "offset", "event_label"]).reset_index(drop=True))


# Boxes

@pytest.mark.parametrize("values, half, expected", [
    ([0, 0, 1, 1, 1, 0, 0], 1, [(2, 5)]), ([0, 0, 1, 1, 1, 0, 0], 2, [(2, 5)]), ([0, 0, 1, 1, 1, 0, 0], 9, [(2, 5)]),
    ([1, 1, 0, 0, 0, 1, 1], 2, [(0, 2), (5, 7)]), ([1], 3, [(0, 1)]), ([0, 0], 1, []), ([], 2, []),
    # it rises most from 0.2 to 0.7 and falls most from 0.8 to 0.3
    ([0.1, 0.2, 0.7, 0.8, 0.3, 0.1], 1, [(2, 4)]),
    # the second step down is steeper, but counts only if the first one stays above half of 0.9; of equal ones the first
    ([0, 0.9, 0.9, 0.5, 0.5, 0.5, 0.0, 0], 1, [(1, 6)]), ([0, 0.9, 0.9, 0.5, 0.5, 0.5, 0.1, 0], 1, [(1, 3)]),
    ([0, 0.9, 0.9, 0.44, 0.44, 0.44, 0, 0], 1, [(1, 3)]), ([0, 0.88, 0.88, 0.44, 0.44, 0.43, 0, 0], 1, [(1, 3)]),
    # the gap, 0.5, is at least half of 0.9, and is not half of 1.0 if it is 0.49
    ([0, 0.9, 0.5, 0.8, 0], 1, [(1, 4)]), ([0, 0.8, 0.49, 1.0, 0], 1, [(1, 2), (3, 4)]),
    ([0, 0.8, 0.5, 1.0, 0], 1, [(1, 4)]), ([0, 0.2, 0.12, 0.2, 0, 0], 1, [(1, 4)]),
])
def test_boxes_by_hand(values, half, expected):
    assert extents_of(values, step_filter=2 * half) == expected


def test_the_change_is_the_mean_after_less_the_mean_before():
    values = np.random.default_rng(0).random(30)
    for half in (1, 4, 40):
        padded = np.pad(values, half)
        expected = [padded[frame + half:frame + 2 * half].mean() - padded[frame:frame + half].mean()
                    for frame in range(31)]
        np.testing.assert_allclose(step_changes(values, half) / 2 ** 24 / half, expected, atol=1e-7)


def slow_boxes(values, half, edge):
    """The definition read out for values (frames,), in fractions: rises, falls, boxes, then what joins them."""
    values = [Fraction(value) if value >= np.float32(1e-3) else Fraction(0) for value in values.tolist()]
    whole = [Fraction(round(value * 2 ** 24)) for value in values]
    edge = Fraction(edge)

    def change(frame):
        return sum(whole[frame:frame + half]) - sum(whole[max(0, frame - half):frame])

    changes = [(frame, change(frame)) for frame in range(len(values) + 1)]
    stretches = [(sign, [frame for frame, _ in group]) for sign, group in itertools.groupby(
        (each for each in changes if each[1]), lambda each: each[1] > 0)]
    boxes = []
    for (rises, rise), (_, fall) in itertools.pairwise(stretches):
        if not rises:
            continue
        onset = max(rise, key=lambda frame: (change(frame), frame))
        last = next((frame for frame in range(fall[0], len(values))
                     if values[frame] < edge * max(values[onset:frame])), len(values))
        offset = min((frame for frame in fall if frame <= last), key=lambda frame: (change(frame), frame))
        boxes.append([onset, offset, max(values[onset:offset])])
    joined = boxes[:1]
    for onset, offset, height in boxes[1:]:
        before = joined[-1]
        if min(values[before[1]:onset]) >= edge * max(before[2], height):
            joined[-1] = [before[0], offset, max(before[2], height)]
        else:
            joined.append([onset, offset, height])
    return [(onset, offset) for onset, offset, _ in joined]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("half, edge", [(1, 0.5), (3, 0.25), (8, 0.5), (8, 0.75)])
def test_boxes_equal_plain_loops(seed, half, edge):
    posteriors = noisy_steps(300, 1, seed)
    expected = slow_boxes(posteriors[:, 0], half, edge)
    assert len(expected) > 5
    assert extents_of(posteriors, step_filter=2 * half, edge=edge) == expected


def test_boxes_keep_apart_and_confidences_are_means():
    posteriors = noisy_steps(2000, 1, 4)
    events = posteriors_to_events(posteriors, ["cat"], 1.0, threshold=0, step_filter=6)
    assert (events["onset"].to_numpy()[1:] > events["offset"].to_numpy()[:-1]).all()
    np.testing.assert_allclose(events["confidence"], [posteriors[int(event.onset):int(event.offset)].mean(dtype=float)
                                                      for event in events.itertuples()])


def test_a_box_is_told_once_its_gap_is_deep_enough():
    values = [0.0, 0.8, 0.8, 0.5, 0.5, 0.5, 0.3]
    changes = step_changes(np.array(values, np.float32), 1)[:-1].tolist()
    for frames in range(1, 7):
        assert find_boxes(values[:frames], changes[:frames]) == ([], 1)  # 0.5 is not below half of 0.8
    assert find_boxes(values, changes) == ([(1, 3)], 7)


def test_a_stream_tells_a_box_as_soon_as_the_posterior_is_low_and_the_filter_has_seen_it():
    posteriors = np.array([0.0, 0.8, 0.8, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3], np.float32)
    for half in (1, 2, 3):
        finder, = event_finders(["cat"], 1.0, threshold=0, step_filter=2 * half)
        told = [len(finder.follow(posteriors[frame:frame + 1], posteriors[frame:frame + 1])) for frame in range(10)]
        assert finder.reach == half and told == [0] * (6 + half) + [1] + [0] * (3 - half)


# Both

RULES = [{"edge": 0.2}, {"edge": [0.1, 0.9, 0.5], "max_gap": [0.1, 0.0, 0.06]}, {"step_filter": 0.2},
         {"step_filter": [0.04, 0.0, 0.6], "edge": [0.8, 0.3, 0.2], "max_gap": [0.0, 0.1, 0.06],
          "median_frames": [1, 5, 3], "min_duration": [0.0, 0.04, 0.1]}]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_raising_the_threshold_only_drops_events(seed, rule):
    posteriors = noisy_steps(500, 3, seed)
    of_all = posteriors_to_events(posteriors, LABELS, 0.02, threshold=0, **rule)
    assert len(of_all) > 20
    for threshold in np.append(np.arange(0, 1.01, 0.1), of_all["confidence"].iloc[:5]):
        events = posteriors_to_events(posteriors, LABELS, 0.02, threshold=threshold, **rule)
        kept = of_all["confidence"].astype(np.float32) >= np.float32(threshold)
        pd.testing.assert_frame_equal(events, of_all[kept].reset_index(drop=True))


@pytest.mark.parametrize("seed", range(6))
def test_parts_of_any_size_have_the_events_of_the_whole(seed):
    rng = np.random.default_rng(seed)
    posteriors = noisy_steps(600, 1, seed)[:, 0]
    rule = {"threshold": 0.01, "median_frames": int(rng.choice([1, 3, 9])), "max_gap": float(rng.integers(0, 4)),
            "edge": rng.uniform(0.05, 1), "step_filter": float(rng.integers(0, 20)), "min_duration": 1.0}
    for values in (posteriors, posteriors > 0.4):
        (finder,), (whole,) = event_finders(["cat"], 1.0, **rule), event_finders(["cat"], 1.0, **rule)
        found, frame = [], 0
        while frame < 600:
            size = rng.integers(0, 9)
            found += finder.follow(posteriors[frame:frame + size], values[frame:frame + size])
            frame = min(600, frame + size)
        found += finder.follow(posteriors[:0], values[:0], last=True)
        assert found == whole.follow(posteriors, values, last=True) and len(found) > 5


def test_frames_of_past_boxes_are_forgotten():
    finder, = event_finders(["cat"], 1.0, step_filter=10)
    posteriors = np.tile(np.repeat(np.array([0.0, 0.9, 0.05], np.float32), 20), 50)
    for _ in range(5):
        assert len(finder.follow(posteriors, posteriors)) >= 49
        assert len(finder._values) < 100


@pytest.mark.parametrize("rule, complaint", [
    ({"edge": 0}, "edge: expected a share above 0"), ({"edge": 1.1}, "edge: expected a share above 0"),
    ({"edge": [0.5, 0.5]}, "edge: .*one a label"), ({"edge": float("nan")}, "edge: expected"),
    ({"max_gap": [0, 0, -1]}, "max_gap: expected 0 or more seconds"), ({"max_gap": [1, 1]}, "max_gap: .*one a label"),
    ({"step_filter": -0.1}, "step_filter: expected 0 or more seconds"),
    ({"step_filter": float("inf")}, "step_filter: .*no infinity"),
    ({"step_filter": [0.1]}, "step_filter: .*one a label"),
])
def test_mistakes_are_told(rule, complaint):
    with pytest.raises(InputError, match=complaint):
        posteriors_to_events(np.zeros((4, 3)), LABELS, 0.02, **rule)
