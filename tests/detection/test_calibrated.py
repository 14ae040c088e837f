"""A model with a calibration: which thresholds, filters and durations `detect` and streams take."""
import numpy as np
import pandas as pd
import pytest

from polysed_keras.detection.detector import Detector
from polysed_keras.detection.streaming import EventStream
from polysed_keras.errors import InputError
from polysed_keras.events.decoding import posteriors_to_events

from fixtures import HOP, MULTI_LABEL, RATE

LABELS = ("loud", "quiet", "louder")
SEGMENT = 32 * HOP
DESCRIPTION = {"labels": list(LABELS), "sample_rate": RATE, "hop_length": HOP, "win_length": HOP, "segment_frames": 32,
               "time_resolution": HOP / RATE, "experiment": MULTI_LABEL.to_dict()}
# Its labels are in another order than the network's.
CALIBRATION = {"labels": ["louder", "loud", "quiet"], "alarms_per_hour": "20", "hours": 1.0,
               "thresholds": {"2": [0.6, 0.8, 0.7], "20": [0.3, 0.5, 0.2], "60": [0.1, 0.2, 0.15]},
               "median_frames": [1, 5, 3], "min_duration": [0.0, 0.1, 0.06]}
IN_ORDER = {"threshold": {"2": [0.8, 0.7, 0.6], "20": [0.5, 0.2, 0.3], "60": [0.2, 0.15, 0.1]},
            "median_frames": [5, 3, 1], "min_duration": [0.1, 0.06, 0.0]}


# A calibration with all settings; the one above is as older ones, which have no more.
NEWER = CALIBRATION | {"max_gap": [0.1, 0.0, 0.04], "edge": [0.2, 0.5, 0.7], "step_filter": [0.3, 0.1, 0.0]}
NEWER_IN_ORDER = {"max_gap": [0.0, 0.04, 0.1], "edge": [0.5, 0.7, 0.2], "step_filter": [0.1, 0.0, 0.3]}


def serve(waveform):
    """Answer with posteriors that are the level of each frame, a lower and a higher one."""
    level = np.abs(waveform[0, ::HOP])
    posteriors = np.stack([level, level ** 2, level ** 0.5], axis=1).astype(np.float32)
    return {"posteriors": posteriors[None], "activity": (posteriors[None] > 0.5).astype(np.uint8)}


def detector(calibration=CALIBRATION):
    return Detector(serve, DESCRIPTION | {"calibration": calibration})


@pytest.fixture(scope="module")
def waveform():
    """Levels from 0 to 1 that stay for 1 to 30 frames."""
    rng = np.random.default_rng(0)
    levels = rng.uniform(0, 1, 400) * rng.integers(0, 2, 400)
    return levels.repeat(rng.integers(1, 30, 400)).repeat(HOP).astype(np.float32)


def expected(waveform, **rule):
    posteriors = serve(waveform[None])["posteriors"][0]
    return posteriors_to_events(posteriors, LABELS, HOP / RATE, **rule)


def by_default(number="20"):
    return IN_ORDER | {"threshold": IN_ORDER["threshold"][number]}


@pytest.mark.parametrize("options, rule", [
    ({}, by_default()), ({"alarms_per_hour": 2}, by_default("2")), ({"alarms_per_hour": 20.0}, by_default()),
    ({"alarms_per_hour": 19}, by_default("2")), ({"alarms_per_hour": 1e9}, by_default("60")),
    ({"threshold": 0.65}, by_default() | {"threshold": 0.65}),
    ({"threshold": [0.1, 0.2, 0.9]}, by_default() | {"threshold": [0.1, 0.2, 0.9]}),
    ({"alarms_per_hour": 60, "min_duration": 0.3}, by_default("60") | {"min_duration": 0.3}),
    ({"median_frames": 1, "max_gap": 0.1}, by_default() | {"median_frames": 1, "max_gap": 0.1})], ids=str)
def test_what_is_given_goes_before_the_calibration(options, rule, waveform):
    events = detector().detect(waveform, **options)
    assert set(events.event_label) == set(LABELS)
    pd.testing.assert_frame_equal(events, expected(waveform, **rule))


@pytest.mark.parametrize("options", [{}, {"edge": 0.4}, {"step_filter": 0}, {"max_gap": 0.1, "alarms_per_hour": 60}],
                         ids=str)
def test_gaps_edges_and_step_filters_are_the_calibrations(options, waveform):
    number = str(options.get("alarms_per_hour", 20))
    given = {name: value for name, value in options.items() if name != "alarms_per_hour"}
    events = detector(NEWER).detect(waveform, **options)
    assert len(events) > 20
    pd.testing.assert_frame_equal(events, expected(waveform, **by_default(number) | NEWER_IN_ORDER | given))
    stream = EventStream(detector(NEWER), **options)
    found = [event for begin in range(0, len(waveform), 9973) for event in stream.feed(waveform[begin:begin + 9973])]
    found = pd.DataFrame(sorted([*found, *stream.close()]), columns=list(events.columns))
    assert found.iloc[:, :3].values.tolist() == events.iloc[:, :3].values.tolist()


def test_the_number_that_it_was_calibrated_for_is_the_default(waveform):
    other = detector(CALIBRATION | {"alarms_per_hour": "2"})
    pd.testing.assert_frame_equal(other.detect(waveform), expected(waveform, **by_default("2")))
    numbers = [len(detector().detect(waveform, alarms_per_hour=number)) for number in (2, 20, 60)]
    assert numbers == sorted(set(numbers))


def test_labels_that_are_wanted_keep_their_thresholds(waveform):
    whole = detector().detect(waveform)
    for labels in (["louder"], ["quiet", "loud"]):
        events = detector().detect(waveform, labels=labels)
        pd.testing.assert_frame_equal(events, whole[whole.event_label.isin(labels)].reset_index(drop=True))


@pytest.mark.parametrize("calibration", [{}, None])
def test_without_a_calibration_the_decoded_activity_tells(calibration, waveform):
    model = detector(calibration)
    activity = serve(waveform[None])["activity"][0]
    pd.testing.assert_frame_equal(model.detect(waveform), expected(waveform, activity=activity))
    with pytest.raises(InputError, match="alarms_per_hour: expected a model with a calibration .polysed calibrate"):
        model.detect(waveform, alarms_per_hour=20)


@pytest.mark.parametrize("options, message", [
    ({"alarms_per_hour": 1.5}, r"alarms_per_hour: expected at least 2, the lowest.*Received: 1.5. polysed calibrate"),
    ({"alarms_per_hour": float("nan")}, "alarms_per_hour: expected at least 2"),
    ({"alarms_per_hour": 20, "threshold": 0.5}, "alarms_per_hour: expected no threshold beside it. Received: 20"),
    ({"threshold": [0.5, 0.5]}, "threshold"), ({"labels": ["early"]}, "labels: expected some of.*early"),
    ({"median_frames": 2}, "median_frames")])
def test_mistakes_are_told_by_files_and_streams(options, message, waveform):
    with pytest.raises(InputError, match=message):
        detector().detect(waveform, **options)
    with pytest.raises(InputError, match=message):
        EventStream(detector(), **options)


@pytest.mark.parametrize("size", [1, 997, SEGMENT, 7 * SEGMENT + 3])
@pytest.mark.parametrize("options", [{}, {"alarms_per_hour": 2}, {"labels": ["louder", "loud"]}, {"threshold": 0.4},
                                     {"alarms_per_hour": 60, "max_gap": 0.06, "min_duration": 0.2}], ids=str)
def test_a_stream_finds_what_is_found_in_the_whole(size, options, waveform):
    waveform = waveform[:40 * SEGMENT + 77 if size > 1 else 3 * SEGMENT]
    stream, whole = EventStream(detector(), **options), detector().detect(waveform, **options)
    found = [event for begin in range(0, len(waveform), size) for event in stream.feed(waveform[begin:begin + size])]
    found = pd.DataFrame(sorted([*found, *stream.close()]), columns=list(whole.columns))
    assert len(whole) > 2
    assert found.iloc[:, :3].values.tolist() == whole.iloc[:, :3].values.tolist()
    np.testing.assert_allclose(found.confidence.astype(float), whole.confidence, rtol=0, atol=1e-6)


def test_a_stream_waits_for_the_longest_filter_of_the_labels_it_finds():
    plain, filtered, one = (EventStream(detector(calibration), labels=labels).latency for calibration, labels in (
        ({}, None), (CALIBRATION, None), (CALIBRATION, ["louder"])))
    assert filtered - plain == pytest.approx(2 * HOP / RATE) and one == plain
