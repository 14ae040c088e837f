"""Measures against sed_eval, scikit-learn, slow loops and the paper's own table."""
import numpy as np
import pandas as pd
import pytest

from polysed_keras.errors import InputError
from polysed_keras.events.event_lists import event_list_to_event_roll
from polysed_keras.events.metrics import (
    calibration_error,
    confidence_counts,
    error_counts,
    error_rate,
    error_rates,
    f_score,
    frame_counts,
    lwlrap,
    macro_accuracy,
    precision,
    recall,
    share,
    substitutions,
    unseen_frames,
)

LABELS = ["bird", "cat", "dog", "rain"]
RESOLUTION, NUM_FRAMES = 0.02, 400


def random_events(rng, labels=LABELS, num_events=12):
    """Edges a quarter of a frame inside: sed_eval rounds exact multiples of the resolution up to one frame too many."""
    onsets = rng.integers(0, NUM_FRAMES - 80, num_events)
    offsets = onsets + rng.integers(1, 80, num_events)
    return pd.DataFrame({"onset": (onsets + 0.25) * RESOLUTION, "offset": (offsets - 0.25) * RESOLUTION,
                         "event_label": rng.choice(labels, num_events)})


def rolls_of(recordings):
    return [[event_list_to_event_roll(events, LABELS, NUM_FRAMES, RESOLUTION) for events in pair]
            for pair in recordings]


def sed_eval_of(recordings):
    sed_eval = pytest.importorskip("sed_eval", reason="sed_eval cannot be imported here")
    metrics = sed_eval.sound_event.SegmentBasedMetrics(event_label_list=LABELS, time_resolution=RESOLUTION)
    for pair in recordings:
        lists = [[{"event_onset": onset, "event_offset": offset, "event_label": label, "file": "a"}
                  for onset, offset, label in events.itertuples(index=False)] for events in pair]
        metrics.evaluate(*lists, evaluated_length_seconds=NUM_FRAMES * RESOLUTION)
    return metrics


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_sed_eval(seed):
    rng = np.random.default_rng(seed)
    recordings = [(random_events(rng), random_events(rng)) for _ in range(3)]
    oracle = sed_eval_of(recordings)
    class_wise, overall = oracle.results_class_wise_metrics(), oracle.results_overall_metrics()
    average = oracle.results_class_wise_average_metrics()
    rolls = rolls_of(recordings)
    counts = sum(frame_counts(*pair) for pair in rolls).sum(axis=0)
    for name, measure in [("f_measure", f_score), ("precision", precision), ("recall", recall)]:
        expected = [class_wise[label]["f_measure"][name] for label in LABELS]
        np.testing.assert_allclose(measure(counts, None), expected, atol=1e-12)
        np.testing.assert_allclose(measure(counts, "macro"), average["f_measure"][name], atol=1e-12)
        np.testing.assert_allclose(measure(counts, "micro"), overall["f_measure"][name], atol=1e-12)
    joined = [np.concatenate(side) for side in zip(*rolls)]
    np.testing.assert_allclose(error_rate(*joined), overall["error_rate"]["error_rate"], atol=1e-12)


def test_absent_classes_here_and_in_sed_eval():
    """bird in both, cat only in the reference, dog only estimated, rain in neither: sed_eval drops three, we one."""
    rng = np.random.default_rng(4)
    recordings = [(random_events(rng, ["bird", "cat"]), random_events(rng, ["bird", "dog"]))]
    (reference, estimated), = rolls_of(recordings)
    counts = frame_counts(reference, estimated).sum(axis=0)
    class_wise = f_score(counts, None)
    assert 0 < class_wise[0] < 1 and class_wise[1] == 0 and class_wise[2] == 0 and np.isnan(class_wise[3])
    assert f_score(counts, "macro") == pytest.approx(class_wise[0] / 3)

    oracle = sed_eval_of(recordings)
    theirs = [oracle.results_class_wise_metrics()[label]["f_measure"]["f_measure"] for label in LABELS]
    np.testing.assert_allclose(theirs, [class_wise[0], np.nan, np.nan, np.nan])
    assert oracle.results_class_wise_average_metrics()["f_measure"]["f_measure"] == pytest.approx(class_wise[0])
    assert f_score(counts) == pytest.approx(oracle.results_overall_metrics()["f_measure"]["f_measure"])


def test_absent_classes_by_hand():
    counts = np.array([[3, 1, 1], [0, 0, 5], [0, 2, 0], [0, 0, 0]])
    np.testing.assert_equal(f_score(counts, None), [0.75, 0, 0, np.nan])
    np.testing.assert_equal(precision(counts, None), [0.75, np.nan, 0, np.nan])
    np.testing.assert_equal(recall(counts, None), [0.75, 0, np.nan, np.nan])
    assert (f_score(counts, "macro"), precision(counts, "macro"), recall(counts, "macro")) == (0.25, 0.375, 0.375)
    assert (f_score(counts), precision(counts), recall(counts)) == (6 / 15, 3 / 6, 3 / 9)


@pytest.mark.parametrize("counts, expected", [
    ((1, 0, 0), (1, 1, 1)), ((0, 1, 0), (0, 0, np.nan)), ((0, 0, 1), (0, np.nan, 0))])
def test_a_single_frame_is_enough_for_a_score(counts, expected):
    np.testing.assert_equal([measure(np.array([counts])) for measure in (f_score, precision, recall)], expected)


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_nothing_anywhere_is_nan(average):
    for measure in (f_score, precision, recall):
        assert np.isnan(measure(np.zeros((4, 3), int), average))
    assert np.isnan(error_rate(np.zeros((5, 2)), np.ones((5, 2))))


def test_counts_by_polyphony_equal_a_slow_loop():
    rng = np.random.default_rng(5)
    reference, estimated = rng.integers(0, 2, (2, 300, 5))
    expected = np.zeros((6, 5, 3), int)
    for reference_frame, estimated_frame in zip(reference.tolist(), estimated.tolist()):
        for label, pair in enumerate(zip(reference_frame, estimated_frame)):
            for kind, wanted in enumerate([(1, 1), (0, 1), (1, 0)]):
                expected[sum(reference_frame), label, kind] += pair == wanted
    counts = frame_counts(reference, estimated)
    assert counts.dtype == np.int64 and counts.shape == (6, 5, 3)
    np.testing.assert_array_equal(counts, expected)
    assert counts[0, :, 1].sum() > 0  # false positives of silent frames: in no row of Table 3, but in overall


@pytest.mark.parametrize("frames, labels, stay", [(0, 3, 0.5), (1, 3, 0.5), (400, 1, 0.9), (400, 5, 0.95),
                                                  (400, 20, 0.0), (300, 2, 1.0), (7, 0, 0.5)])
def test_counts_of_runs_of_equal_frames_are_sums_over_single_frames(frames, labels, stay):
    """Rolls whose frames are mostly those before, never, or always: each frame by itself has no equal neighbour."""
    rng = np.random.default_rng(11)
    rolls = rng.integers(0, 2, (2, frames, labels)).astype(np.uint8)
    for roll in rolls:
        for frame in range(1, frames):
            if rng.random() < stay:
                roll[frame] = roll[frame - 1]
    for count, shape in ((frame_counts, (labels + 1, labels, 3)), (error_counts, (labels + 1, 4))):
        singles = sum((count(*rolls[:, frame:frame + 1]) for frame in range(frames)), np.zeros(shape, np.int64))
        counts = count(*rolls)
        assert counts.dtype == np.int64
        np.testing.assert_array_equal(counts, singles)


# Substitutions and unseen combinations

def test_substitutions_are_as_many_as_in_sed_eval():
    rng = np.random.default_rng(8)
    recordings = [(random_events(rng), random_events(rng)) for _ in range(3)]
    total = sum(substitutions(*pair) for pair in rolls_of(recordings))
    assert total.shape == (4, 4) and (np.diag(total) == 0).all() and (total > 0).sum() == 12
    rate = sed_eval_of(recordings).results_overall_metrics()["error_rate"]["substitution_rate"]
    assert total.sum() / sum(reference.sum() for reference, _ in rolls_of(recordings)) == pytest.approx(rate)


def test_substitutions_by_hand():
    """Bird for cat; bird and cat for dog and rain; bird for cat or dog; nothing where only one kind is wrong."""
    reference = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]])
    estimated = np.array([[0, 1, 0, 0], [0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]])
    expected = np.array([[0, 1 + 0.5, 0.5 + 0.5, 0.5], [0, 0, 0.5, 0.5], [0] * 4, [0] * 4])
    np.testing.assert_allclose(substitutions(reference, estimated), expected)


def test_unseen_frames_by_hand():
    """Two groups in five frames; the first has seen 0, 1 and 3, the second 0 alone."""
    unseen, counts = unseen_frames([[0, 0], [2, 0], [3, 1], [2, 1], [1, 0]], [[0, 1, 3], [0]])
    assert unseen.tolist() == [[False, False], [True, False], [False, True], [True, True], [False, False]]
    assert counts.tolist() == [[3, 5], [2, 5], [2, 5]]
    np.testing.assert_allclose(share(counts, None), [0.6, 0.4, 0.4])


def test_unseen_frames_equal_a_loop_and_add_up():
    rng = np.random.default_rng(9)
    combinations = rng.integers(0, [8, 4, 16], (500, 3))
    seen = [rng.choice(size, size // 2, replace=False) for size in (8, 4, 16)]
    expected = [[combination not in known.tolist() for combination, known in zip(frame, seen)]
                for frame in combinations.tolist()]
    unseen, counts = unseen_frames(combinations, seen)
    assert unseen.tolist() == expected
    assert counts.tolist() == [[sum(map(any, expected)), 500], *([sum(column), 500] for column in zip(*expected))]
    parts = [unseen_frames(part, seen)[1] for part in np.split(combinations, [100, 100, 300])]
    np.testing.assert_array_equal(sum(parts), counts)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_counts_add_up_over_recordings_for_any_type(dtype):
    rng = np.random.default_rng(6)
    reference, estimated = rng.integers(0, 2, (2, 200, 3)).astype(dtype)
    spans = slice(0, 50), slice(50, 50), slice(50, None)
    parts = sum(frame_counts(reference[span], estimated[span]) for span in spans)
    np.testing.assert_array_equal(parts, frame_counts(reference, estimated))


def test_scores_broadcast_over_leading_axes():
    counts = np.random.default_rng(7).integers(0, 9, (4, 3, 5, 3))
    for average, shape in [("micro", (4, 3)), ("macro", (4, 3)), (None, (4, 3, 5))]:
        scores = f_score(counts, average)
        assert scores.shape == shape
        np.testing.assert_array_equal(scores[2, 1], f_score(counts[2, 1], average))


def test_paper_1_average_is_the_mean_of_class_wise_scores():
    """Phan et al. 2022, Table 2: class-wise F1 in per mille (multi-label, 8, 16 tasks) and the average in per cent."""
    columns = {
        60.8: [651, 523, 494, 537, 284, 709, 696, 741, 453, 801, 797, 447, 699, 508, 779, 601],
        64.5: [732, 548, 483, 650, 441, 731, 711, 782, 518, 826, 824, 443, 755, 557, 739, 587],
        64.6: [670, 553, 458, 588, 480, 733, 748, 784, 505, 839, 839, 442, 709, 552, 825, 613],
    }
    for average, class_wise in columns.items():
        counts = np.array([(f1, 1000 - f1, 1000 - f1) for f1 in class_wise])  # has an F1 of f1 / 1000
        np.testing.assert_allclose(f_score(counts, None), np.array(class_wise) / 1000)
        assert 100 * f_score(counts, "macro") == pytest.approx(average, abs=0.051)


def test_error_rate_by_hand():
    reference = [[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0]]
    estimated = [[0, 1, 0], [1, 0, 0], [1, 0, 1], [1, 0, 0]]  # a substitution, a deletion, two insertions, nothing
    assert error_rate(reference, estimated) == 4 / 4
    assert error_rate(reference, reference) == 0


@pytest.mark.parametrize("levels", [1000, 3])  # 3: many ties
def test_lwlrap_equals_scikit_learn(levels):
    ranking = pytest.importorskip("sklearn.metrics").label_ranking_average_precision_score
    rng = np.random.default_rng(8)
    reference = rng.random((50, 7)) < 0.3
    reference[:5] = False
    scores = rng.integers(0, levels, (50, 7)) / levels
    labelled = reference.any(axis=1)
    expected = ranking(reference[labelled], scores[labelled], sample_weight=reference[labelled].sum(axis=1))
    assert lwlrap(reference, scores) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("num_labels", [5, 35])
def test_lwlrap_of_random_scores(num_labels):
    rng = np.random.default_rng(9)
    reference = np.eye(num_labels)[rng.integers(0, num_labels, 20_000)]
    expected = np.sum(1 / np.arange(1, num_labels + 1)) / num_labels
    assert lwlrap(reference, rng.random((20_000, num_labels))) == pytest.approx(expected, abs=0.005)


def test_lwlrap_by_hand():
    assert lwlrap([[1, 0, 1]], [[0.9, 0.5, 0.1]]) == pytest.approx((1 + 2 / 3) / 2)
    assert np.isnan(lwlrap(np.zeros((2, 3)), np.ones((2, 3))))


def test_macro_accuracy_equals_scikit_learn():
    balanced_accuracy_score = pytest.importorskip("sklearn.metrics").balanced_accuracy_score
    rng = np.random.default_rng(10)
    reference = rng.choice(5, 200, p=[0.5, 0.2, 0.2, 0.05, 0.05])
    estimated = np.where(rng.random(200) < 0.6, reference, rng.integers(0, 5, 200))
    expected = balanced_accuracy_score(reference, estimated)
    assert macro_accuracy(reference, estimated) == pytest.approx(expected, abs=1e-12)


def test_macro_accuracy_takes_names_and_counts_classes_of_the_reference_only():
    assert macro_accuracy(["bus", "bus", "park"], ["bus", "tram", "park"]) == 0.75
    assert np.isnan(macro_accuracy([], []))


# Calibration of posteriors

@pytest.mark.parametrize("bins", [10, 4])
def test_calibration_errors_equal_scikit_learn(bins):
    calibration_curve = pytest.importorskip("sklearn.calibration").calibration_curve
    rng = np.random.default_rng(11)
    posteriors = rng.random((500, 3)) ** 2
    reference = rng.random((500, 3)) < posteriors * [1, 0.5, 0.2]

    def expected(reference, posteriors):
        active, mean = calibration_curve(reference, posteriors, n_bins=bins)
        return np.abs(active - mean) @ np.histogram(posteriors, bins, (0, 1))[0] / len(posteriors)

    counts = confidence_counts(reference, posteriors, *([] if bins == 10 else [bins]))
    np.testing.assert_allclose(calibration_error(counts), [expected(*each) for each in zip(reference.T, posteriors.T)])
    assert calibration_error(counts.sum(axis=0)) == pytest.approx(expected(reference.ravel(), posteriors.ravel()))
    np.testing.assert_allclose(sum(confidence_counts(reference[part], posteriors[part], bins)
                                   for part in (slice(50), slice(50, 50), slice(50, None))), counts)


def test_confidence_counts_by_hand():
    """Edges belong to the range above them, and 1 to the last one."""
    counts = confidence_counts([[1, 0], [0, 1], [1, 1]], [[0, 0.5], [0.5, 1], [0.75, 0.25]], 2)
    assert counts.tolist() == [[[0, 1, 1], [1.25, 1, 2]], [[0.25, 1, 1], [1.5, 1, 2]]]
    assert calibration_error(counts).tolist() == [1.25 / 3, 1.25 / 3]
    assert np.isnan(calibration_error(confidence_counts(np.zeros((0, 2)), np.zeros((0, 2))))).all()
    for beyond in (-0.01, 1.01, np.nan):
        with pytest.raises(InputError, match=r"posteriors: expected numbers in 0..1"):
            confidence_counts([[0, 1]], [[0.5, beyond]])


def test_parts_of_the_error_rate_by_hand():
    """Two labels are found, missed and false, with a substitution; then one that is not in the reference at all."""
    counts = np.array([[6, 1, 2, 0], [0, 3, 0, 0], [6, 4, 2, 1]])
    np.testing.assert_array_equal(error_rates(counts), [
        [3 / 8, 0, 2 / 8, 1 / 8], [np.nan] * 4, [5 / 8, 1 / 8, 1 / 8, 3 / 8]])
    np.testing.assert_array_equal(error_rates(np.stack([counts, 2 * counts])), [error_rates(counts)] * 2)
    reference, estimated = [[1, 0, 0], [1, 1, 0], [0, 1, 1]], [[0, 1, 0], [1, 0, 1], [0, 0, 0]]
    assert error_counts(reference, estimated).tolist() == [[1, 0, 1, 0], [0, 1, 2, 0], [0, 1, 1, 0], [1, 2, 4, 2]]


@pytest.mark.parametrize("call", [frame_counts, error_rate, lwlrap, macro_accuracy])
def test_different_shapes_are_refused(call):
    with pytest.raises(InputError, match=r"Received: \(4, 3\) and \(5, 3\)"):
        call(np.zeros((4, 3)), np.zeros((5, 3)))


def test_bad_arguments_are_refused():
    with pytest.raises(InputError, match="average: .*'weighted'"):
        f_score(np.ones((2, 3)), "weighted")
    with pytest.raises(InputError, match="NaN"):
        lwlrap(np.ones((1, 2)), [[np.nan, 1.0]])
