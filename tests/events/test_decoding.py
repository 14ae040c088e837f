"""Posteriors to events: peaks against SciPy and the definition read out slowly, runs against sed_scores_eval."""
import itertools
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy import signal

from polysed_keras.errors import InputError
from polysed_keras.events.decoding import (
    calibrated_rule,
    event_finders,
    posteriors_to_events,
    posteriors_to_tags,
    tags_to_events,
    write_tags,
)
from polysed_keras.events.event_lists import event_list_to_event_roll, read_events
from polysed_keras.events.formats.catalogue import DETECTION_FORMATS, write_detections
from polysed_keras.events.formats.writing import Detected
from polysed_keras.specs.tasks import Task

LABELS = ["bird", "cat", "dog"]


def rows_of(events):
    return [tuple(row) for row in events[["onset", "offset", "event_label"]].itertuples(index=False)]


def one_label(pattern):
    """'.#' pattern -> posteriors (frames, 1) of 0 and 0.9; one frame is a second."""
    return np.array([[0.9 if mark == "#" else 0] for mark in pattern]).reshape(-1, 1)


def smooth_posteriors(frames, labels, seed, width=15):
    """Posteriors that rise and fall, as a network's do, for `width` 1 those of noise; some are 0 and 1, or equal."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 1, (frames + width - 1, labels))
    logits = np.stack([np.convolve(column, np.ones(width), "valid") for column in noise.T], axis=1)
    posteriors = (1 / (1 + np.exp(2 - logits))).astype(np.float32)
    return np.round(posteriors, 1) if seed % 3 == 0 else posteriors


def pattern_of(events, num_frames):
    return "".join(".#"[value] for value in event_list_to_event_roll(events, ["cat"], num_frames, 1.0)[:, 0])


def test_events_by_hand():
    posteriors = [[0.6, 0.2, 0.1], [0.8, 0.5, 0.1], [0.1, 0.7, 0.1], [0.9, 0.4, 0.1]]
    events = posteriors_to_events(posteriors, LABELS, 0.5)
    assert list(events.columns) == ["onset", "offset", "event_label", "confidence"]
    assert rows_of(events) == [(0, 1, "bird"), (0.5, 2, "cat"), (1.5, 2, "bird")]
    np.testing.assert_allclose(events["confidence"], [0.7, 1.6 / 3, 0.9], atol=1e-6)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.2])
def test_runs_of_activity_equal_sed_scores_eval(threshold):
    pytest.importorskip("sed_scores_eval", reason="sed_scores_eval cannot be imported here")
    from sed_scores_eval.base_modules.detection import scores_to_event_list
    from sed_scores_eval.base_modules.scores import create_score_dataframe
    rng = np.random.default_rng(0)
    posteriors = rng.random((300, 3)).astype(np.float32)
    activity = posteriors >= np.float32(threshold)
    scores = create_score_dataframe(posteriors, np.arange(301) * 0.02, LABELS)
    expected = sorted((onset, offset, label) for onset, offset, label in scores_to_event_list(scores, threshold))
    events = rows_of(posteriors_to_events(posteriors, LABELS, 0.02, activity=activity))
    assert [event[2] for event in events] == [event[2] for event in expected]
    np.testing.assert_allclose([event[:2] for event in events], [event[:2] for event in expected])


def test_a_confidence_at_the_threshold_is_enough_in_any_float_type():
    for dtype in (np.float32, np.float64):
        for threshold in (0.1, 0.3, 0.7, 0.9):
            posteriors = np.full((2, 1), threshold, dtype)
            assert len(posteriors_to_events(posteriors, ["cat"], 1.0, threshold=threshold)) == 1


def test_a_threshold_per_label():
    posteriors = np.full((4, 3), 0.4)
    events = posteriors_to_events(posteriors, LABELS, 1.0, threshold=[0.3, 0.5, 0.4])
    assert rows_of(events) == [(0, 4, "bird"), (0, 4, "dog")]


def test_decoded_activity_is_used_instead_of_the_threshold():
    posteriors = np.array([[0.4, 0.9], [0.45, 0.9], [0.1, 0.9]])
    activity = np.array([[1, 0], [1, 0], [0, 0]], np.uint8)
    events = posteriors_to_events(posteriors, ["cat", "dog"], 1.0, activity=activity)
    assert rows_of(events) == [(0, 2, "cat")]
    assert events["confidence"].item() == pytest.approx(0.425)


@pytest.mark.parametrize("pattern, arguments, expected", [
    ("#.#..#...", {"max_gap": 1}, "###..#..."),
    ("#.#..#...", {"max_gap": 2}, "######..."),
    ("#.#..#...", {"max_gap": 1.9}, "###..#..."),
    ("#.##.#..#", {"min_duration": 2}, "..##....."),
    ("#.##.#..#", {"min_duration": 1}, "#.##.#..#"),
    ("#.#.#...#", {"min_duration": 3, "max_gap": 1}, "#####...."),   # gaps are merged before short events go
    ("#...#...#", {"min_duration": 2, "max_gap": 1}, "........."),
    ("#.##.#..#", {"median_frames": 3}, "#####...#"),                # edge frames are repeated beyond the edge
    ("..#..##..", {"median_frames": 3}, ".....##.."),
    ("..#.#.#..", {"median_frames": 5}, "....#...."),
    ("#########", {"min_duration": 9, "median_frames": 5}, "#########"),
    (".........", {"max_gap": 9}, "........."),
    ("", {"max_gap": 1, "median_frames": 3}, ""),
])
def test_filtering_and_merging_by_hand(pattern, arguments, expected):
    posteriors = one_label(pattern)
    for activity in (None, posteriors > 0.5):
        events = posteriors_to_events(posteriors, ["cat"], 1.0, activity=activity, threshold=0, **arguments)
        assert pattern_of(events, len(pattern)) == expected
        assert len(events) == len(expected.replace(".", " ").split())


def test_confidence_spans_a_merged_gap():
    events = posteriors_to_events([[0.9], [0.3], [0.6]], ["cat"], 0.02, max_gap=0.02)
    assert rows_of(events) == [(0, pytest.approx(0.06), "cat")]
    assert events["confidence"].item() == pytest.approx(0.6)


@pytest.mark.parametrize("median_frames", [1, 3, 7, 27])
def test_median_filter_equals_scipy(median_frames):
    posteriors = np.random.default_rng(1).random((400, 3))
    events = posteriors_to_events(posteriors, LABELS, 0.02, activity=posteriors >= 0.5, median_frames=median_frames)
    half = median_frames // 2
    padded = np.pad((posteriors >= 0.5).astype(float), ((half, half), (0, 0)), mode="edge")
    expected = np.stack([signal.medfilt(column, median_frames) for column in padded.T], axis=1)[half:half + 400]
    np.testing.assert_array_equal(event_list_to_event_roll(events, LABELS, 400, 0.02), expected)


@pytest.mark.parametrize("seed", range(5))
def test_merging_equals_a_slow_loop_on_frames(seed):
    """Consecutive detections: hops of 0.02 s have no exact float, gaps and durations of whole hops count anyway."""
    rng = np.random.default_rng(seed)
    activity = np.repeat(rng.random((120, 1)) < 0.4, rng.integers(1, 5, 120), axis=0)
    gap, shortest = rng.integers(1, 6, 2)
    runs = []
    for frame in np.flatnonzero(activity[:, 0]).tolist():
        if runs and frame - runs[-1][1] <= gap:
            runs[-1][1] = frame + 1
        else:
            runs.append([frame, frame + 1])
    expected = [(onset, offset) for onset, offset in runs if offset - onset >= shortest]
    events = posteriors_to_events(activity, ["cat"], 0.02, activity=activity, max_gap=gap * 0.02,
                                  min_duration=shortest * 0.02)
    np.testing.assert_allclose(events[["onset", "offset"]] / 0.02, expected)


# Peaks

@pytest.mark.parametrize("posteriors, expected", [
    ([0.1, 0.4, 0.8, 0.6, 0.39, 0.1], [(1, 4)]),               # 0.4 is half of 0.8, and 0.39 is less
    ([0.8, 0.4, 0.6], [(0, 3)]),                               # it never falls below half of the lower one, 0.3
    ([0.8, 0.3, 0.6], [(0, 1)]), ([0.8, 0.29, 0.6], [(0, 1), (2, 3)]),
    ([0.6, 0.29, 0.8], [(0, 1), (2, 3)]),
    ([0.9, 0.9, 0.5, 0.9, 0.9], [(0, 5)]),                     # two plateaus of one height, one event
    ([0.2, 0.9, 0.2, 0.05, 0.05, 0.2, 0.2, 0.01], [(1, 2), (5, 7)]),
    ([0.05, 0.06, 0.1, 0.5, 1.0, 0.5, 0.1, 0.06], [(3, 6)]),   # at both edges it is low, but no event of its own
    ([0.9, 0.46, 0.4, 0.3, 0.29, 0.28], [(0, 2)]),             # a slow fall is no event after the event
    ([1e-3, 2e-3], [(0, 2)]),
    ([9e-4, 4e-3, 2.5e-3, 9e-4], [(1, 3)]),
    ([9e-4, 9.9e-4, 0.0], []),                                 # below FAINTEST
    ([0.7], [(0, 1)]), ([0.3, 0.3, 0.3], [(0, 3)]), ([], []),
])
def test_peaks_by_hand(posteriors, expected):
    posteriors = np.array(posteriors, np.float32).reshape(-1, 1)
    events = posteriors_to_events(posteriors, ["cat"], 1.0, threshold=0)
    assert [row[:2] for row in rows_of(events)] == expected
    means = [posteriors[onset:offset].mean(dtype=float) for onset, offset in expected]
    np.testing.assert_allclose(events["confidence"], means)


def test_a_gap_is_filled_to_the_lower_one_of_its_sides():
    def found(posteriors, max_gap):
        events = posteriors_to_events(np.reshape(posteriors, (-1, 1)), ["cat"], 1.0, threshold=0, max_gap=max_gap)
        return [row[:2] for row in rows_of(events)]

    assert found([0.9, 0.1, 0.1, 0.6, 0.1], 1) == [(0, 1), (3, 4)]
    assert found([0.9, 0.1, 0.1, 0.6, 0.1], 2) == [(0, 4)]
    assert found([0.9, 0.1, 0.1, 0.3, 0.1], 2) == [(0, 1)]  # it becomes one that is never at half of 0.9 again
    assert found([0.3, 0.1, 0.1, 0.9, 0.1], 2) == [(3, 4)]
    assert found([0.1, 0.9, 0.1], 9) == [(1, 2)] and found([0.9, 0, 0, 0, 0.9], float("inf")) == [(0, 5)]


def slow_events(posteriors):
    """The definition read out for posteriors (frames,): every frame that nothing before or beside it takes for itself.

    A frame is a peak if the posterior falls below half of it to both sides before it exceeds it, or the recording ends;
    the first one of equal height counts.
    """
    posteriors = np.where(posteriors >= np.float32(1e-3), posteriors, 0).tolist()
    edges = []
    for frame, height in enumerate(posteriors):
        before = next((other for other in reversed(range(frame))
                       if posteriors[other] < height / 2 or posteriors[other] >= height), None)
        after = next((other for other in range(frame + 1, len(posteriors))
                      if posteriors[other] < height / 2 or posteriors[other] > height), None)
        if height > 0 and all(end is None or posteriors[end] < height / 2 for end in (before, after)):
            edges.append((0 if before is None else before + 1, len(posteriors) if after is None else after))
    return edges


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("width", [1, 4, 15])
def test_peaks_equal_the_definition(seed, width):
    posteriors = smooth_posteriors(400, 3, seed, width)
    expected = sorted((onset, offset, label) for label, column in zip(LABELS, posteriors.T)
                      for onset, offset in slow_events(column))
    assert rows_of(posteriors_to_events(posteriors, LABELS, 1.0, threshold=0)) == expected
    assert len(expected) > 20


@pytest.mark.parametrize("width", [1, 4, 15])
def test_peaks_are_those_of_scipy(width):
    """Prominent peaks of the logarithm, and their widths down to half, of posteriors without equal values."""
    posteriors = 0.01 + 0.98 * smooth_posteriors(1500, 1, 1, width)
    logs = np.pad(np.log(posteriors[:, 0].astype(float)), 1, constant_values=-100)
    peaks, properties = signal.find_peaks(logs, prominence=np.log(2))
    to_half = np.full(len(peaks), np.log(2)), properties["left_bases"], properties["right_bases"]
    _, _, left, right = signal.peak_widths(logs, peaks, 1.0, to_half)
    events = posteriors_to_events(posteriors, ["cat"], 1.0, threshold=0)
    assert len(peaks) > 10
    np.testing.assert_array_equal(events["onset"], np.ceil(left) - 1)
    np.testing.assert_array_equal(events["offset"], np.floor(right))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("arguments", [
    {}, {"median_frames": 5}, {"max_gap": 0.06}, {"min_duration": 0.1},
    {"median_frames": [1, 3, 9], "max_gap": 0.1, "min_duration": [0.1, 0.0, 0.04]}], ids=str)
def test_raising_the_threshold_only_drops_events(seed, arguments):
    posteriors = smooth_posteriors(500, 3, seed, width=1 + 4 * seed)
    of_all = posteriors_to_events(posteriors, LABELS, 0.02, threshold=0, **arguments)
    assert len(of_all) > 10
    for threshold in np.append(np.arange(0, 1.01, 0.1), of_all["confidence"].iloc[:5]):
        events = posteriors_to_events(posteriors, LABELS, 0.02, threshold=threshold, **arguments)
        kept = of_all["confidence"].astype(np.float32) >= np.float32(threshold)
        pd.testing.assert_frame_equal(events, of_all[kept].reset_index(drop=True))
    a_label_each = posteriors_to_events(posteriors, LABELS, 0.02, threshold=[0.2, 0.95, 0.4], **arguments)
    least = of_all["event_label"].map(dict(zip(LABELS, np.array([0.2, 0.95, 0.4], np.float32))))
    kept = of_all["confidence"].astype(np.float32) >= least
    pd.testing.assert_frame_equal(a_label_each, of_all[kept].reset_index(drop=True))
    assert not kept.all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("gap", [0, 1, 5])
def test_events_of_a_label_keep_apart(seed, gap):
    """By more than the gap, and so by at least a frame, in which the posterior is below half of either confidence."""
    posteriors = smooth_posteriors(800, 3, seed, width=1 + 3 * seed)
    events = posteriors_to_events(posteriors, LABELS, 1.0, threshold=0, max_gap=gap)
    for label in LABELS:
        own = events[events["event_label"] == label]
        assert len(own) > 3 and (own["onset"].to_numpy()[1:] - own["offset"].to_numpy()[:-1] > gap).all()
        for event, other in itertools.pairwise(own.itertuples()):
            between = posteriors[int(event.offset):int(other.onset), LABELS.index(label)]
            assert between.min() < min(event.confidence, other.confidence)


def test_settings_per_label_are_those_of_each_label_alone():
    posteriors = smooth_posteriors(500, 3, 1)
    settings = {"threshold": [0.1, 0.3, 0.5], "median_frames": [1, 5, 9], "min_duration": [0.2, 0.0, 0.1]}
    for activity in (None, posteriors > 0.4):
        events = posteriors_to_events(posteriors, LABELS, 0.02, activity=activity, max_gap=0.04, **settings)
        alone = [posteriors_to_events(posteriors[:, [index]], [label], 0.02, max_gap=0.04,
                                      activity=None if activity is None else activity[:, [index]],
                                      **{name: values[index] for name, values in settings.items()})
                 for index, label in enumerate(LABELS)]
        assert min(map(len, alone)) > 0
        pd.testing.assert_frame_equal(
            events, pd.concat(alone).sort_values(["onset", "offset", "event_label"]).reset_index(drop=True))


def test_a_calibration_is_read_by_label_and_by_number_of_alarms():
    calibration = {"labels": ["bird", "cat", "dog"], "alarms_per_hour": "2", "hours": 1.5, "edge": [0.4, 0.5, 0.6],
                   "thresholds": {"2": [0.9, 0.8, 0.7], "20": [0.3, 0.2, 0.1]}, "median_frames": [1, 3, 5]}
    assert calibrated_rule(calibration, "20", ["dog", "bird"]) == {
        "threshold": [0.1, 0.3], "median_frames": [5, 1], "edge": [0.6, 0.4]}
    every = {"min_duration": [0.1, 0.2, 0.3], "max_gap": [0.0, 0.1, 0.2], "step_filter": [0.5, 0.6, 0.7]}
    assert calibrated_rule(calibration | every, "2", ["bird", "cat", "dog"]) == {
        "threshold": [0.9, 0.8, 0.7], "median_frames": [1, 3, 5], "edge": [0.4, 0.5, 0.6], **every}


@pytest.mark.parametrize("median_frames", [3, 7])
def test_peaks_are_of_posteriors_after_the_median_filter_and_confidences_are_not(median_frames):
    posteriors = smooth_posteriors(300, 1, 2, width=3)
    half = median_frames // 2
    padded = np.pad(posteriors[:, 0], half, mode="edge")
    filtered = np.array([np.median(padded[frame:frame + median_frames]) for frame in range(300)])
    events = posteriors_to_events(posteriors, ["cat"], 1.0, threshold=0, median_frames=median_frames)
    assert [row[:2] for row in rows_of(events)] == slow_events(filtered)
    expected = [posteriors[int(onset):int(offset)].mean(dtype=float) for onset, offset, _ in rows_of(events)]
    np.testing.assert_allclose(events["confidence"], expected)


@pytest.mark.parametrize("seed", range(8))
def test_parts_of_any_size_have_the_events_of_the_whole(seed):
    """And events come as soon as nothing can change them: `reach` frames and one after their end."""
    rng = np.random.default_rng(seed)
    posteriors = smooth_posteriors(3000, 1, seed, width=2 + seed)
    settings = {"threshold": 0.01, "median_frames": int(rng.choice([1, 3, 9])), "max_gap": float(rng.integers(0, 5)),
                "min_duration": float(rng.integers(0, 4))}
    for values in (posteriors[:, 0], posteriors[:, 0] > 0.4):
        finder, = event_finders(["cat"], 1.0, **settings)
        whole, = event_finders(["cat"], 1.0, **settings)
        found, waits, frame = [], [], 0
        while frame < 3000:
            size = rng.integers(0, 9)
            events = finder.follow(posteriors[frame:frame + size, 0], values[frame:frame + size])
            found, frame = found + events, min(3000, frame + size)
            waits += [frame - offset - size for _, offset, _ in events]
        found += finder.follow(posteriors[:0, 0], values[:0], last=True)
        expected = whole.follow(posteriors[:, 0], values, last=True)
        assert found == expected and len(found) > 5
        assert max(waits) <= finder.reach


def test_memory_is_of_frames_that_can_still_change_an_event():
    """Silence is forgotten; an event that goes on keeps its frames, two floats each, and no more once it has ended."""
    finder, = event_finders(["cat"], 1.0, median_frames=9, max_gap=5)
    silence, sound = np.full(1000, 1e-4, np.float32), np.full(1000, 0.5, np.float32)
    sizes = []
    tracemalloc.start()
    try:
        for part in (*[silence] * 20, *[sound] * 20, silence, silence):
            found = finder.follow(part, part)
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert max(sizes[19], sizes[-1]) < sizes[0] + 10_000
    assert 19_000 * 8 < sizes[39] - sizes[19] < 22_000 * 8
    assert found == [] and finder.follow(silence[:0], silence[:0], last=True) == []


@pytest.mark.parametrize("arguments, complaint", [
    ({"posteriors": np.zeros((4, 2))}, r"posteriors: expected shape \(4, 3\).*\(4, 2\)"),
    ({"posteriors": np.zeros(4)}, "posteriors: expected shape"),
    ({"activity": np.zeros((5, 3))}, r"activity: expected shape \(4, 3\).*\(5, 3\)"),
    ({"threshold": [0.5, 0.5]}, "threshold: .*one a label"),
    ({"threshold": 50}, "threshold: expected a number in 0..1"),
    ({"threshold": float("nan")}, "threshold: expected a number in 0..1"),
    ({"median_frames": 4}, "median_frames: expected an odd number"),
    ({"median_frames": 0}, "median_frames: expected an odd number"),
    ({"median_frames": [3, 4, 5]}, "median_frames: expected an odd number"),
    ({"median_frames": [3, 5]}, "median_frames: .*one a label"),
    ({"min_duration": [0, 0, -1]}, "min_duration: expected 0 or more seconds"),
    ({"min_duration": [0, 0]}, "min_duration: .*one a label"),
    ({"max_gap": -0.1}, "max_gap: expected 0 or more seconds"),
    ({"max_gap": float("nan")}, "max_gap: expected 0 or more seconds"),
])
def test_bad_arguments_are_refused(arguments, complaint):
    with pytest.raises(InputError, match=complaint):
        posteriors_to_events(**{"posteriors": np.zeros((4, 3)), "labels": LABELS, "time_resolution": 0.02, **arguments})


EVENTS = pd.DataFrame({"onset": [0.0, 1.25], "offset": [0.5, 600.0], "event_label": ["cat meowing", "rain, heavy"],
                       "confidence": [0.75, 2 / 3]})


@pytest.mark.parametrize("format, content", [
    ("tsv", "0.000000\t0.500000\tcat meowing\n1.250000\t600.000000\train, heavy\n"),
    ("audacity", "0.000000\t0.500000\tcat meowing\n1.250000\t600.000000\train, heavy\n"),
    ("csv", "onset,offset,event_label,confidence\n0.000000,0.500000,cat meowing,0.750000\n"
            '1.250000,600.000000,"rain, heavy",0.666667\n'),
])
def test_written_detections_by_the_byte(tmp_path, format, content):
    path = tmp_path / f"detections{DETECTION_FORMATS[format]}"
    write_detections(EVENTS, path, format)
    assert path.read_bytes() == content.encode()


@pytest.mark.parametrize("format", ["tsv", "csv", "audacity"])
def test_no_detections_are_a_valid_file(tmp_path, format):
    write_detections(posteriors_to_events(np.zeros((5, 3)), LABELS, 0.02), tmp_path / "none", format)
    header = "onset,offset,event_label,confidence\n" if format == "csv" else ""
    assert (tmp_path / "none").read_text() == header


def test_written_detections_are_read_back(tmp_path):
    posteriors = np.random.default_rng(2).random((200, 3))
    events = posteriors_to_events(posteriors, LABELS, 0.02)
    write_detections(events, tmp_path / "events.tsv")
    write_detections(events, tmp_path / "events.csv", "csv")
    back = read_events(tmp_path / "events.tsv", LABELS)
    np.testing.assert_allclose(back[["onset", "offset"]], events[["onset", "offset"]])
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "events.csv"), events, atol=1e-6, check_dtype=False)


def test_unusable_outputs_are_refused(tmp_path):
    with pytest.raises(InputError, match="format: expected one of .*tsv.* Received: 'json'"):
        write_detections(EVENTS, tmp_path / "events.json", "json")
    (tmp_path / "file").write_text("")
    for format in DETECTION_FORMATS:
        with pytest.raises(InputError, match="cannot be written"):
            write_detections(Detected(EVENTS, "a.wav"), tmp_path / "file" / "events", format)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# Tags of clips

TASKS = (Task("animals", ("cow", "dog"), "multi_label"), Task("scene", ("bus", "park", "tram"), "multi_class"),
         Task("weather", ("rain", "wind", "hail"), "powerset"))
CLIPS = np.array([[0.5, 0.9, 0.2, 0.5, 0.3, 0.1, 0.95, 0.5],    # dog before cow, and wind before hail
                  [0.1, 0.2, 0.6, 0.3, 0.1, 0.4, 0.49, 0.3],    # nothing but a scene
                  [0.8, 0.8, 0.1, 0.1, 0.8, 0.8, 0.25, 0.8]])   # equal ones in the order of the labels
TAGS = pd.DataFrame({"onset": [0.0, 2.5, 5.0], "offset": [2.5, 5.0, 7.5], "scene": ["park", "bus", "tram"],
                     "confidence": [0.5, 0.6, 0.8], "tags": ["dog;cow;wind;hail", "", "cow;dog;rain;hail"],
                     "tag_confidences": ["0.900;0.500;0.950;0.500", "", "0.800;0.800;0.800;0.800"]})


def test_tags_by_hand():
    pd.testing.assert_frame_equal(posteriors_to_tags(CLIPS, TASKS, 2.5), TAGS)
    assert posteriors_to_tags(CLIPS, TASKS, 2.5, 0.2).tags.tolist() == [
        "dog;cow;wind;hail", "dog;wind;rain;hail", "cow;dog;rain;hail;wind"]
    assert posteriors_to_tags(CLIPS, TASKS, 2.5, 0.3, ["rain", "cow"]).tags.tolist() == ["cow", "rain", "cow;rain"]
    events = posteriors_to_tags(CLIPS[:, :2], TASKS[:1], 2.5)
    assert events.scene.tolist() == [""] * 3 and events.confidence.isna().all()
    assert events.tags.tolist() == ["dog;cow", "", "cow;dog"]
    assert posteriors_to_tags(CLIPS[:0], TASKS, 2.5).columns.tolist() == TAGS.columns.tolist()


@pytest.mark.parametrize("format, content", [
    ("tsv", "0.000000\t2.500000\tpark\t0.500000\tdog;cow;wind;hail\t0.900;0.500;0.950;0.500\n"
            "2.500000\t5.000000\tbus\t0.600000\t\t\n"),
    ("csv", "onset,offset,scene,confidence,tags,tag_confidences\n"
            "0.000000,2.500000,park,0.500000,dog;cow;wind;hail,0.900;0.500;0.950;0.500\n"
            "2.500000,5.000000,bus,0.600000,,\n"),
    ("audacity", "0.000000\t2.500000\tpark: dog;cow;wind;hail\n2.500000\t5.000000\tbus:\n"),
])
def test_written_tags_by_the_byte(tmp_path, format, content):
    write_tags(TAGS[:2], tmp_path / "tags", format)
    assert (tmp_path / "tags").read_bytes() == content.encode()


def test_audacity_labels_of_events_alone(tmp_path):
    write_tags(TAGS[:1].assign(scene=""), tmp_path / "x.txt", "audacity")
    assert (tmp_path / "x.txt").read_text() == "0.000000\t2.500000\tdog;cow;wind;hail\n"


def test_tags_are_events_as_long_as_their_clip():
    assert tags_to_events(TAGS[:2]).to_numpy().tolist() == [
        [0, 2.5, "park", 0.5], [0, 2.5, "dog", 0.9], [0, 2.5, "cow", 0.5], [0, 2.5, "wind", 0.95],
        [0, 2.5, "hail", 0.5], [2.5, 5, "bus", 0.6]]
    assert tags_to_events(TAGS[1:2].assign(scene="")).columns.tolist() == list(EVENTS.columns)
