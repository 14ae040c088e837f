"""Counts of found and false events, and thresholds chosen by them, against slow loops, and by hand."""
import itertools
import time

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from polysed_keras.errors import InputError
from polysed_keras.events.alarms import (
    LEAST_THRESHOLD as LEAST,
    Alarms,
    choose_thresholds,
    find_alarms,
    find_posterior_alarms,
    join_alarms,
    recall_at_alarms,
)
from polysed_keras.events.decoding import posteriors_to_events
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


# Alarms of events with confidences

def events_of(*rows):
    return pd.DataFrame(rows, columns=["onset", "offset", "event_label", "confidence"])


def assert_alarms(alarms, found, false, seconds):
    assert alarms.seconds == pytest.approx(seconds)
    for parts, expected in ((alarms.found, found), (alarms.false, false)):
        assert len(parts) == len(expected) and all(part.dtype == np.float32 for part in parts)
        for part, values in zip(parts, expected):
            np.testing.assert_array_equal(np.sort(part), np.sort(np.array(values, np.float32)))


def test_found_and_false_events_by_hand():
    reference = roll((0, 1, 2), (0, 2.3, 3), (0, 5, 5.2), (1, 5, 6), (1, 8, 9))
    events = events_of((0.8, 1.02, "a", 0.3), (2.1, 2.2, "a", 0.7), (3.4, 4.4, "a", 0.9),  # the pause is of the event
                       (7, 7.1, "a", 0.2), (7.4, 7.5, "a", 0.6), (7.8, 7.9, "a", 0.5), (8.4, 8.5, "a", 0.6),
                       (5, 5.02, "b", 0.4), (5.98, 7.0, "b", 0.8), (1, 2, "c", 1.0))
    alarms = find_alarms(reference, events, LABELS, 0.02)
    assert_alarms(alarms, [[0.7, 0], [0.8, 0], []], [[0.6, 0.6], [], [1.0]], 10)
    assert_alarms(find_alarms(reference, events[:0], LABELS, 0.02), [[0, 0], [0, 0], []], [[], [], []], 10)
    near = events_of((3.5, 3.6, "a", 0.5), (3.48, 3.5, "a", 0.4), (0.4, 0.5, "a", 0.1))
    assert_alarms(find_alarms(reference, near, LABELS, 0.02), [[0, 0], [0, 0], []], [[0.5, 0.1], [], []], 10)
    assert_alarms(find_alarms(reference, near, LABELS, 0.02, tolerance=0), [[0, 0, 0], [0, 0], []],
                  [[0.5, 0.4, 0.1], [], []], 10)


def random_recording(rng, frames=1500):
    noise = rng.normal(0, 1, (frames + 9, 3))
    logits = np.stack([np.convolve(column, np.ones(10), "valid") for column in noise.T], axis=1)
    posteriors = (1 / (1 + np.exp(4 - logits))).astype(np.float32)
    reference = np.repeat(rng.random((frames // 50, 3)) < 0.15, 50, axis=0)
    return reference, posteriors, posteriors_to_events(posteriors, LABELS, 0.02, threshold=0)


@pytest.mark.parametrize("seed", range(5))
def test_alarms_at_every_threshold_are_those_of_the_events_above_it(seed):
    """Found events as alarm_counts has them; false ones as a loop has them, and never fewer than in alarm_counts."""
    reference, _, events = random_recording(np.random.default_rng(seed))
    alarms, before = find_alarms(reference, events, LABELS, 0.02), None
    for threshold in np.arange(0.01, 1, 0.03, dtype=np.float32):
        kept = events[events.confidence.astype(np.float32) >= threshold]
        activity = roll(*zip(kept.event_label.map(LABELS.index), kept.onset, kept.offset), frames=len(reference))
        counts = alarm_counts(reference, activity, 0.02)[:-1]
        found, false = ([(part >= threshold).sum() for part in parts] for parts in (alarms.found, alarms.false))
        np.testing.assert_array_equal(found, counts[:, 0])
        assert list(map(len, alarms.found)) == counts[:, 1].tolist()
        at_the_threshold = find_alarms(reference, kept, LABELS, 0.02)
        np.testing.assert_array_equal(false, list(map(len, at_the_threshold.false)))
        assert (np.array(false) >= counts[:, 2]).all()
        assert before is None or (np.array([found, false]) <= before).all()
        before = np.array([found, false])
    assert sum(map(len, alarms.false)) > 10


def slow_false(reference, events, label, tolerance=0.5):
    true = merge_events(event_roll_to_event_list(reference, LABELS, 0.02), tolerance - 0.015)
    true = true[true.event_label == label]
    own = [event for event in events[events.event_label == label].itertuples()
           if all(event.offset <= other.onset - tolerance + 1e-6 or event.onset >= other.offset + tolerance - 1e-6
                  for other in true.itertuples())]
    def close(event, other):
        return max(event.onset - other.offset, other.onset - event.offset) < tolerance - 1e-6
    return sorted(np.float32(event.confidence) for event in own
                  if not any(other.confidence > event.confidence and close(event, other) for other in own))


@pytest.mark.parametrize("seed", range(5))
def test_false_events_are_those_of_a_loop(seed):
    reference, _, events = random_recording(np.random.default_rng(seed))
    alarms = find_alarms(reference, events, LABELS, 0.02)
    for label, false in zip(LABELS, alarms.false):
        np.testing.assert_array_equal(np.sort(false), np.array(slow_false(reference, events, label), np.float32))


def test_alarms_of_posteriors_are_those_of_their_events_at_every_confidence():
    reference, posteriors, events = random_recording(np.random.default_rng(0))
    alarms = find_posterior_alarms(reference, posteriors, LABELS, 0.02)
    expected = find_alarms(reference, events, LABELS, 0.02)
    assert_alarms(alarms, expected.found, expected.false, 30)
    decoding = {"threshold": 0.5, "median_frames": 9}
    alarms = find_posterior_alarms(reference, posteriors, LABELS, 0.02, **decoding)
    expected = find_alarms(reference, posteriors_to_events(posteriors, LABELS, 0.02, **decoding), LABELS, 0.02)
    assert_alarms(alarms, expected.found, expected.false, 30)
    assert 0 < sum(map(len, alarms.false)) and min(part.min() for part in alarms.false if len(part)) >= 0.5


def test_other_labels_are_refused():
    with pytest.raises(InputError, match=r"reference: expected shape \(frames, 3\)"):
        find_alarms(np.zeros((10, 2)), events_of(), LABELS, 0.02)


# Recall at a number of false events

def alarms_of(found, false, seconds=3600.0):
    return Alarms(*(tuple(np.array(part, np.float32) for part in parts) for parts in (found, false)), seconds)


def test_recall_at_alarms_by_hand():
    """One event at 0.9, and two false events at 0.8 and 0.95 in an hour of two labels."""
    alarms = [alarms_of([[0.9], []], [[0.95], []], 1800), alarms_of([[], []], [[], [0.8]], 1800)]
    assert [recall_at_alarms(alarms, number)[-1] for number in (0, 0.99, 1, 2, 100)] == [0, 0, 1, 1, 1]
    assert recall_at_alarms(alarms, 1)[0] == 1 and np.isnan(recall_at_alarms(alarms, 1)[1])
    assert recall_at_alarms([alarms_of([[0.5, 0], [0.5]], [[], []])], 0).tolist() == [0.5, 1, 2 / 3]
    assert recall_at_alarms([alarms_of([[0.5]], [[0.5]])], 0).tolist() == [0, 0]  # no threshold is between them
    with pytest.raises(InputError, match="alarms_per_hour: expected 0 or more"):
        recall_at_alarms(alarms, -1)


def random_alarms(rng, labels=3, most=6, digits=1, recordings=2):
    """Few confidences of few digits, many of which are equal, and some labels without events."""
    def confidences():
        return [np.round(rng.uniform(0.1, 0.95, rng.integers(0, most)), digits) for _ in range(labels)]
    return [alarms_of([part * (rng.random(len(part)) < 0.8) for part in confidences()], confidences(),
                      3600 / recordings) for _ in range(recordings)]


def counts_at(joined, thresholds):
    """Found and false events of each label at a threshold each."""
    return [[int((part >= np.float32(threshold)).sum()) for part, threshold in zip(parts, thresholds)]
            for parts in (joined.found, joined.false)]


@pytest.mark.parametrize("seed", range(30))
def test_recall_equals_the_best_of_all_common_thresholds(seed):
    alarms = random_alarms(np.random.default_rng(seed))
    joined = join_alarms(alarms)
    thresholds = np.unique(np.concatenate([*joined.found, *joined.false, [1]]))
    for number in range(8):
        allowed = [threshold for threshold in thresholds[thresholds > 0]
                   if sum(counts_at(joined, [threshold] * 3)[1]) <= number]
        found = counts_at(joined, [min(allowed)] * 3)[0]
        expected = [each / len(part) if len(part) else np.nan for each, part in zip(found, joined.found)]
        np.testing.assert_allclose(recall_at_alarms(alarms, number)[:3], expected)
        assert recall_at_alarms(alarms, number)[3] == pytest.approx(sum(found) / sum(map(len, joined.found)))


# Thresholds

def between(lower, upper):
    odds = np.sqrt(lower / (1 - lower) * upper / (1 - upper))
    return odds / (1 + odds)


def test_thresholds_by_hand():
    alarms = [alarms_of([[0.9, 0.8, 0.5, 0.4], [0.7, 0.6], [], [0.3, 0.02], [0]],
                        [[0.85, 0.45, 0.1], [0.65, 0.62], [0.5, 0.7], [], []])]
    always = [between(0.7, 1 - 1e-6), LEAST, 0.5]  # never there; without a false event; never found
    # a: 1 event, then 2 more for 1 false event, then 1 more for another; b: 1 event, then 1 more for 2 false ones
    for number, first, second in ((0, between(0.85, 0.9), between(0.65, 0.7)),
                                  (1, between(0.45, 0.5), between(0.65, 0.7)),
                                  (2, between(0.1, 0.4), between(0.65, 0.7)),
                                  (3, between(0.1, 0.4), between(0.65, 0.7)),
                                  (4, between(0.1, 0.4), 0.6)):
        np.testing.assert_allclose(choose_thresholds(alarms, number), [first, second, *always], rtol=1e-6)
    kept = alarms_of([[0.3, 0.02]], [[]]), alarms_of([[0.3, 0.2]], [[]])
    assert [choose_thresholds([each], 0).item() for each in kept] == [LEAST, pytest.approx(0.2)]


def combinations_of(joined):
    """Found events and false ones of every combination of thresholds."""
    options = []
    for found, false in zip(joined.found, joined.false):
        option = set()
        for threshold in {*found[found > 0].tolist(), 1.0}:
            number = int((false >= np.float32(threshold)).sum())
            option.add((int((found >= np.float32(threshold)).sum()), number))
        options.append(option)
    return [tuple(map(sum, zip(*combination))) for combination in itertools.product(*options)]


@pytest.mark.parametrize("seed", range(40))
def test_thresholds_keep_to_the_number_and_leave_less_than_a_step(seed):
    """Any combination of thresholds with as few false events finds as many at most, and the events of a step."""
    rng = np.random.default_rng(seed)
    alarms = random_alarms(rng, digits=int(rng.integers(1, 4)))
    joined = join_alarms(alarms)
    every, most = combinations_of(joined), max(map(len, joined.found))
    for number in range(14):
        thresholds = choose_thresholds(alarms, number)
        assert ((0 < thresholds) & (thresholds <= 1)).all()
        found, false = counts_at(joined, thresholds)
        assert sum(false) <= number
        assert sum(found) >= max(gain for gain, cost in every if cost <= number) - most
    everything = counts_at(joined, choose_thresholds(alarms, 1000))[0]
    assert everything == [(part > 0).sum() for part in joined.found]


@pytest.mark.parametrize("seed", range(40))
def test_thresholds_of_one_label_are_the_best_ones_at_what_they_spend(seed):
    alarms = random_alarms(np.random.default_rng(seed), labels=1, most=9)
    every = combinations_of(join_alarms(alarms))
    for number in range(12):
        (found,), (false,) = counts_at(join_alarms(alarms), choose_thresholds(alarms, number))
        assert found == max(gain for gain, cost in every if cost <= false)


@pytest.mark.parametrize("seed", range(40))
def test_thresholds_are_the_best_ones_at_every_price(seed):
    """Of all combinations, the one that is worth most at a price per false event is chosen at its number of them."""
    alarms = random_alarms(np.random.default_rng(seed))
    joined = join_alarms(alarms)
    every = combinations_of(joined)
    for price in (0.2, 1 / 3, 0.5, 0.7, 1, 1.5, 2.1):
        value = max(gain - price * cost for gain, cost in every)
        gain, cost = max(each for each in every if each[0] - price * each[1] > value - 1e-9)
        found, false = counts_at(joined, choose_thresholds(alarms, cost))
        assert (sum(found), sum(false)) == (gain, cost)


def test_chosen_thresholds_give_the_counted_events():
    references, posteriors, events = zip(*(random_recording(np.random.default_rng(seed)) for seed in range(4)))
    alarms = [find_alarms(*pair, LABELS, 0.02) for pair in zip(references, events)]
    for number in (0, 60, 600):  # 0, 2 and 20 in two minutes
        thresholds = choose_thresholds(alarms, number)
        detected = [posteriors_to_events(each, LABELS, 0.02, threshold=thresholds) for each in posteriors]
        again = join_alarms([find_alarms(*pair, LABELS, 0.02) for pair in zip(references, detected)])
        assert [[int((part > 0).sum()) for part in parts] for parts in (again.found, again.false)] == counts_at(
            join_alarms(alarms), thresholds)
        assert sum(map(len, again.false)) <= number / 30
    assert sum(map(len, again.false)) >= 10 and sum((part > 0).sum() for part in again.found) > 0


def test_thousands_of_events_take_little_time():
    rng = np.random.default_rng(0)
    alarms = [alarms_of([rng.beta(2, 1, 20) for _ in range(10)], [rng.beta(1, 3, 300) for _ in range(10)], 600)
              for _ in range(60)]
    begin = time.process_time()
    joined, thresholds = join_alarms(alarms), choose_thresholds(alarms, 20, tail=20)
    recall = recall_at_alarms(alarms, 20)[-1]
    assert time.process_time() - begin < 5  # it takes 0.1
    found, false = counts_at(joined, thresholds)
    assert sum(false) <= 200 and sum(found) / 12_000 > recall - 0.02 > 0.15


def test_rare_false_events_are_foretold_from_those_seen():
    """Thresholds that are chosen on one hour, of exponential logits, let fewer false events pass in 200 others."""
    def hours(seed, number):
        rng = np.random.default_rng(seed)
        found = [expit(rng.normal(2, 2, 60)).astype(np.float32) for _ in range(3)]
        return [Alarms(tuple(found), tuple(expit(rng.exponential(1.5, 100) - 3).astype(np.float32) for _ in range(3)),
                       3600.0) for _ in range(number)]

    def per_hour(tail):
        numbers = []
        for seed in range(20):
            thresholds = choose_thresholds(hours(seed, 1), 6, tail=tail)
            numbers.append(sum(counts_at(join_alarms(hours(100 + seed, 200)), thresholds)[1]) / 200)
        return np.mean(numbers)

    assert per_hour(tail=20) < 8 < 10 < per_hour(tail=0)


def test_what_is_foretold_by_hand():
    """Of logits 3, 2, 1 and 0 the two above 1 are 1.5 higher on average: 2 exp(-(x - 1) / 1.5) false ones from x on."""
    alarms = [alarms_of([expit([6, 4])], [expit([3, 2, 1, 0])])]
    for number, expected in ((0.0713, None), (0.0714, 5), (0.2706, 5), (0.2707, 3.5), (1, 3.5)):
        threshold = between(expit(6), 1 - 1e-6) if expected is None else expit(expected)
        assert choose_thresholds(alarms, number, tail=2).item() == pytest.approx(threshold, abs=1e-6)
    assert choose_thresholds(alarms, 0, tail=0).item() == pytest.approx(expit(3.5), abs=1e-6)
    for false in ([3, 2], [3, 3, 3, 3]):  # nothing can be fitted to two, nor to equal ones
        alarms = [alarms_of([expit([6, 4])], [expit(false)])]
        assert choose_thresholds(alarms, 0, tail=2).item() == pytest.approx(expit(3.5), abs=1e-6)


def test_borrowed_events_count_as_many_as_the_label_has():
    """The only event of a brings 0.5 + 0.5 / 5 for a false one; it would bring 0.5 * 4 / 5 to b, which has four."""
    alarms = [alarms_of([[0.2], [0.9] * 4], [[0.5], [0.5]])]
    assert choose_thresholds(alarms, 1, borrowed=0.5) == pytest.approx([0.2, 0.75], abs=1e-6)
    assert choose_thresholds(alarms, 2, borrowed=0.5) == pytest.approx([0.2, 0.2], abs=1e-6)


def test_labels_with_few_events_borrow_from_the_others():
    """The one event of a is not heard. By b's events, which lie at 0.9, one of a's is found above the false one."""
    alarms = [alarms_of([[0.1], [0.9] * 4], [[0.5], []])]
    assert choose_thresholds(alarms, 0)[0] > 0.99
    borrowed = choose_thresholds(alarms, 0, borrowed=0.5)
    # logits of 0.5 and 0.9 are 0 and log 9; b has no false event down to where a has its own
    assert borrowed == pytest.approx([0.75, 0.1], abs=1e-6)


def test_what_is_borrowed_keeps_to_the_number_too():
    for seed in range(20):
        alarms = random_alarms(np.random.default_rng(seed))
        for number in range(5):
            thresholds = choose_thresholds(alarms, number, borrowed=0.5)
            assert sum(counts_at(join_alarms(alarms), thresholds)[1]) <= number
