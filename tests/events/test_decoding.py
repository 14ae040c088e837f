"""Posteriors to events: thresholds against sed_scores_eval, the median filter against SciPy, merging by a slow loop."""
import numpy as np
import pandas as pd
import pytest
from scipy import signal

from polysed_keras.errors import InputError
from polysed_keras.events.decoding import DETECTION_FORMATS, posteriors_to_events, write_detections
from polysed_keras.events.event_lists import event_list_to_event_roll, read_events

LABELS = ["bird", "cat", "dog"]


def rows_of(events):
    return [tuple(row) for row in events[["onset", "offset", "event_label"]].itertuples(index=False)]


def one_label(pattern):
    """'.#' pattern -> posteriors (frames, 1) of 0.1 and 0.9; one frame is a second."""
    return np.array([[0.9 if mark == "#" else 0.1] for mark in pattern])


def pattern_of(events, num_frames):
    return "".join(".#"[value] for value in event_list_to_event_roll(events, ["cat"], num_frames, 1.0)[:, 0])


def test_events_by_hand():
    posteriors = [[0.6, 0.2, 0.1], [0.8, 0.5, 0.1], [0.1, 0.7, 0.1], [0.9, 0.4, 0.1]]
    events = posteriors_to_events(posteriors, LABELS, 0.5)
    assert list(events.columns) == ["onset", "offset", "event_label", "confidence"]
    assert rows_of(events) == [(0, 1, "bird"), (0.5, 1.5, "cat"), (1.5, 2, "bird")]
    np.testing.assert_allclose(events["confidence"], [0.7, 0.6, 0.9], atol=1e-6)


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.2])
def test_thresholds_equal_sed_scores_eval(threshold):
    pytest.importorskip("sed_scores_eval", reason="sed_scores_eval cannot be imported here")
    from sed_scores_eval.base_modules.detection import scores_to_event_list
    from sed_scores_eval.base_modules.scores import create_score_dataframe
    rng = np.random.default_rng(0)
    posteriors = rng.random((300, 3)).astype(np.float32)
    scores = create_score_dataframe(posteriors, np.arange(301) * 0.02, LABELS)
    expected = sorted((onset, offset, label) for onset, offset, label in scores_to_event_list(scores, threshold))
    events = rows_of(posteriors_to_events(posteriors, LABELS, 0.02, threshold=threshold))
    assert [event[2] for event in events] == [event[2] for event in expected]
    np.testing.assert_allclose([event[:2] for event in events], [event[:2] for event in expected])


def test_a_posterior_at_the_threshold_is_active_in_any_float_type():
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
    events = posteriors_to_events(one_label(pattern).reshape(-1, 1), ["cat"], 1.0, **arguments)
    assert pattern_of(events, len(pattern)) == expected


def test_confidence_spans_a_merged_gap():
    events = posteriors_to_events([[0.9], [0.3], [0.6]], ["cat"], 0.02, max_gap=0.02)
    assert rows_of(events) == [(0, pytest.approx(0.06), "cat")]
    assert events["confidence"].item() == pytest.approx(0.6)


@pytest.mark.parametrize("median_frames", [1, 3, 7, 27])
def test_median_filter_equals_scipy(median_frames):
    posteriors = np.random.default_rng(1).random((400, 3))
    events = posteriors_to_events(posteriors, LABELS, 0.02, median_frames=median_frames)
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
    events = posteriors_to_events(activity, ["cat"], 0.02, max_gap=gap * 0.02, min_duration=shortest * 0.02)
    np.testing.assert_allclose(events[["onset", "offset"]] / 0.02, expected)


@pytest.mark.parametrize("arguments, complaint", [
    ({"posteriors": np.zeros((4, 2))}, r"posteriors: expected shape \(4, 3\).*\(4, 2\)"),
    ({"posteriors": np.zeros(4)}, "posteriors: expected shape"),
    ({"activity": np.zeros((5, 3))}, r"activity: expected shape \(4, 3\).*\(5, 3\)"),
    ({"threshold": [0.5, 0.5]}, "threshold: .*one a label"),
    ({"threshold": 50}, "threshold: expected a number in 0..1"),
    ({"threshold": float("nan")}, "threshold: expected a number in 0..1"),
    ({"median_frames": 4}, "median_frames: expected an odd number"),
    ({"median_frames": 0}, "median_frames: expected an odd number"),
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


@pytest.mark.parametrize("format", DETECTION_FORMATS)
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
    with pytest.raises(InputError, match="format: expected one of tsv, csv, audacity. Received: 'json'"):
        write_detections(EVENTS, tmp_path / "events.json", "json")
    (tmp_path / "file").write_text("")
    for format in DETECTION_FORMATS:
        with pytest.raises(InputError, match="cannot be written"):
            write_detections(EVENTS, tmp_path / "file" / "events", format)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
