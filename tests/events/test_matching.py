"""Counts of two event lists against sed_eval and sed_scores_eval, and by hand where those are undefined.

Edges on a grid of 1/64 s are exact in binary, so that ties are ties for everyone. On a grid of 1/100 s they are not:
there sed_eval misses events exactly a collar away, and counts a segment too many, which is tested on both sides.
"""
import numpy as np
import pytest

from polysed_keras.events.event_lists import event_list_to_event_roll, merge_events
from polysed_keras.events.matching import event_counts, intersection_counts, match_pairs
from polysed_keras.events.metrics import error_counts, error_rate, error_rates, f_score, precision, recall

from event_pairs import LABELS, SECONDS, event_list, pairs, sed_eval_of

MEASURES = {"f_measure": f_score, "precision": precision, "recall": recall}
RATES = ["error_rate", "substitution_rate", "deletion_rate", "insertion_rate"]


def assert_equals_sed_eval(counts, metrics):
    """Compare all that sed_eval defines: not F1 of a label on one side only, nor rates without a reference."""
    overall, by_label = metrics.results_overall_metrics(), metrics.results_class_wise_metrics()
    rates = error_rates(counts)
    for name, measure in MEASURES.items():
        scores = measure(counts[:-1, :3], None)
        for score, label in zip([*scores, measure(counts[:-1, :3])], [*LABELS, None]):
            theirs = (by_label[label] if label else overall)["f_measure"][name]
            assert score == pytest.approx(theirs, abs=1e-9) or np.isnan(theirs) and (np.isnan(score) or score == 0)
    for row, label in enumerate([*LABELS, None]):
        theirs = (by_label[label] if label else overall)["error_rate"]
        if counts[row, 0] + counts[row, 2]:
            expected = [theirs.get(name, 0) for name in RATES]
            np.testing.assert_allclose(rates[row], expected, atol=1e-9)
        else:
            assert np.isnan(rates[row]).all()


def rolls_of(pair, resolution):
    return [event_list_to_event_roll(events, LABELS, int(np.ceil(SECONDS / resolution)), resolution) for events in pair]


# Against sed_eval

def check_segments(number, grid, resolution):
    for pair in pairs(number, grid):
        metrics = sed_eval_of("SegmentBasedMetrics", [pair], time_resolution=resolution, length=SECONDS)
        assert_equals_sed_eval(error_counts(*rolls_of(pair, resolution)), metrics)


def check_events(number, grid, collar, offset_share):
    for pair in pairs(number, grid):
        metrics = sed_eval_of("EventBasedMetrics", [pair], t_collar=collar, percentage_of_length=offset_share)
        assert_equals_sed_eval(event_counts(*pair, LABELS, collar=collar, offset_share=offset_share), metrics)


@pytest.mark.parametrize("grid, resolution", [(None, 1.0), (None, 0.02), (64, 1.0), (64, 0.25)])
def test_segments_equal_sed_eval(grid, resolution):
    check_segments(30, grid, resolution)


@pytest.mark.parametrize("grid, collar, offset_share", [(None, 0.2, 0.5), (64, 0.25, 0.5), (64, 0.5, 0.25),
                                                        (64, 1.0, 0.0)])
def test_events_equal_sed_eval(grid, collar, offset_share):
    check_events(60, grid, collar, offset_share)


def test_exact_multiples_of_a_decimal_resolution():
    """From 0.3 to 0.7 s are 4 segments of 0.1 s: 0.3 / 0.1 is 2.9999999999999996, so sed_eval counts 5."""
    pair = event_list((0.3, 0.7, "dog")), event_list((0.3, 0.7, "dog"))
    metrics = sed_eval_of("SegmentBasedMetrics", [pair], time_resolution=0.1, length=SECONDS)
    assert error_counts(*rolls_of(pair, 0.1))[2].tolist() == [4, 0, 0, 0]
    assert metrics.results_class_wise_metrics()["dog"]["count"]["Nref"] == 5


@pytest.mark.parametrize("resolution", [0.1, 0.02])
def test_decimal_edges_equal_sed_eval_once_they_are_off_the_multiples(resolution):
    """Onsets a tenth of a millisecond later and offsets earlier: what is meant, told so that sed_eval gets it right."""
    for pair in pairs(20, 100):
        inside = [events.assign(onset=events.onset + 1e-4, offset=events.offset - 1e-4) for events in pair]
        inside = [events[events.offset > events.onset] for events in inside]
        metrics = sed_eval_of("SegmentBasedMetrics", [inside], time_resolution=resolution, length=SECONDS)
        lasting = [events[events.offset > events.onset] for events in pair]
        assert_equals_sed_eval(error_counts(*rolls_of(lasting, resolution)), metrics)


def test_edges_exactly_a_collar_away():
    """1.1 - 0.9 is 0.20000000000000018, so sed_eval finds nothing within 0.2 s; with a microsecond more it does."""
    pair = event_list((0.9, 2.9, "dog")), event_list((1.1, 2.9, "dog"))
    assert event_counts(*pair, LABELS)[-1].tolist() == [1, 0, 0, 0]
    assert sed_eval_of("EventBasedMetrics", [pair]).overall["Ntp"] == 0
    assert sed_eval_of("EventBasedMetrics", [pair], t_collar=0.2 + 1e-6).overall["Ntp"] == 1
    for pair in pairs(60, 100):
        metrics = sed_eval_of("EventBasedMetrics", [pair], t_collar=0.2 + 1e-6, percentage_of_length=0.0)
        assert_equals_sed_eval(event_counts(*pair, LABELS, offset_share=0), metrics)


def test_labels_of_one_side_here_and_in_sed_eval():
    """Cat is only in the reference, dog only estimated: F1 is 0 here and undefined in sed_eval, as the average says."""
    pair = (event_list((1, 2, "bird"), (3, 4, "bird"), (5, 6, "cat")), event_list((1, 2, "bird"), (7, 7.5, "dog")))
    counts, metrics = event_counts(*pair, LABELS), sed_eval_of("EventBasedMetrics", [pair])
    np.testing.assert_equal(f_score(counts[:-1, :3], None), [2 / 3, 0, 0, np.nan])
    assert f_score(counts[:-1, :3], "macro") == pytest.approx(2 / 9)
    assert metrics.results_class_wise_average_metrics()["f_measure"]["f_measure"] == pytest.approx(2 / 3)
    np.testing.assert_equal(error_rates(counts)[:, 0], [0.5, 1, np.nan, np.nan, 1])
    assert metrics.results_class_wise_metrics()["dog"]["error_rate"]["error_rate"] > 1e15  # 1 / 2.2e-16


# Against sed_scores_eval

def scores_of(events, edges, labels):
    """A table of scores that is 1 in events and 0 elsewhere, with a frame between any two edges."""
    middles = (edges[1:] + edges[:-1]) / 2
    active = (events.onset.to_numpy() < middles[:, None]) & (middles[:, None] < events.offset.to_numpy())
    return np.stack([active[:, events.event_label == label].any(axis=1) for label in labels], axis=1).astype(float)


def check_intersections(number, grid, shares):
    pytest.importorskip("sed_scores_eval", reason="sed_scores_eval cannot be imported here")
    from sed_scores_eval.base_modules.cy_detection import onset_offset_curves
    from sed_scores_eval.intersection_based.intermediate_statistics import statistics_fn
    for reference, estimated in pairs(number, grid):
        counts = intersection_counts(reference, estimated, LABELS, detection_share=shares[0], reference_share=shares[1])
        edges = np.unique([0, SECONDS, *estimated.onset, *estimated.offset])
        reference = merge_events(reference[reference.offset > reference.onset])  # no others are allowed
        scores = scores_of(estimated, edges, LABELS)
        for column, label in enumerate(LABELS):
            own = reference[reference.event_label == label]
            _, onsets, offsets = onset_offset_curves(scores[:, column].copy(), edges, np.array([0.5]))
            theirs = statistics_fn(onsets, offsets, own.onset.to_numpy(), own.offset.to_numpy(), {}, {}, *shares, None)
            assert counts[column].tolist() == [theirs["tps"][0], theirs["fps"][0], len(own) - theirs["tps"][0], 0]
        assert counts[-1].tolist() == counts[:-1].sum(axis=0).tolist()


@pytest.mark.parametrize("grid", [None, 100, 4])
@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.7, 0.7), (0.1, 0.1)])
def test_intersections_equal_sed_scores_eval(grid, shares):
    check_intersections(40, grid, shares)


def test_events_without_a_length_here_and_in_sed_scores_eval():
    """A reference event of no length is found by nothing at all there; here it does not count."""
    fn = pytest.importorskip("sed_scores_eval").intersection_based.intermediate_statistics.statistics_fn
    point, none = np.array([2.0]), np.zeros((1, 1))
    assert fn(none, none, point, point, {}, {}, 0.5, 0.5, None)["tps"].tolist() == [1]
    assert intersection_counts(event_list((2, 2, "dog")), event_list(), LABELS).sum() == 0


# By hand

def test_events_are_matched_as_often_as_possible():
    """The first estimate fits both references, the second only the first one."""
    reference = event_list((1.0, 2.0, "dog"), (1.3, 2.0, "dog"))
    estimated = event_list((1.15, 2.0, "dog"), (0.9, 2.0, "dog"))
    assert event_counts(reference, estimated, LABELS)[-1].tolist() == [2, 0, 0, 0]
    assert match_pairs(np.array([[True, True], [True, False]])) == {0: 1, 1: 0}


@pytest.mark.parametrize("density", [0.05, 0.2, 0.6])
def test_matchings_are_as_large_as_scipys(density):
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import maximum_bipartite_matching
    rng = np.random.default_rng(1)
    for _ in range(50):
        allowed = rng.random(rng.integers(1, 25, 2)) < density
        matches = match_pairs(allowed)
        assert all(allowed[pair] for pair in matches.items()) and len(set(matches.values())) == len(matches)
        assert len(matches) == (maximum_bipartite_matching(csr_matrix(allowed)) >= 0).sum()


def test_substitutions_by_hand():
    """Dog for cat within the collar; rain for nothing; bird missed."""
    reference = event_list((1, 2, "cat"), (4, 5, "bird"))
    estimated = event_list((1.1, 2.1, "dog"), (7, 8, "rain"))
    assert event_counts(reference, estimated, LABELS).tolist() == [
        [0, 0, 1, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 2, 2, 1]]
    np.testing.assert_allclose(error_rates(event_counts(reference, estimated, LABELS))[-1], [1.5, 0.5, 0.5, 0.5])


def test_intersections_by_hand():
    """Half of the first estimate is covered; it covers 40 % of the reference, and the second one 20 % more."""
    reference = event_list((0, 5, "dog"), (6, 6, "dog"))
    estimated = event_list((3, 7, "dog"), (0, 1, "dog"), (2, 2, "dog"), (5, 6, "cat"))
    assert intersection_counts(reference, estimated, LABELS)[1:3].tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]
    assert intersection_counts(reference, estimated, LABELS, reference_share=0.7)[2].tolist() == [0, 0, 1, 0]
    assert intersection_counts(reference, estimated, LABELS, detection_share=0.6)[2].tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("count", [event_counts, intersection_counts])
def test_empty_sides(count):
    dog, nothing = event_list((1, 2, "dog")), event_list()
    assert count(nothing, nothing, LABELS).sum() == 0
    assert count(dog, nothing, LABELS)[-1].tolist() == [0, 0, 1, 0]
    assert count(nothing, dog, LABELS)[2].tolist() == [0, 1, 0, 0]
    assert count(dog, dog, ["cat"]).tolist() == [[0, 0, 0, 0]] * 2


def test_error_rate_is_the_first_of_the_rates():
    reference, estimated = np.random.default_rng(2).integers(0, 2, (2, 50, 4))
    rates = error_rates(error_counts(reference, estimated))[-1]
    assert error_rate(reference, estimated) == rates[0] == pytest.approx(rates[1:].sum())
