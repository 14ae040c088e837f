"""Audio block by block: the posteriors and events of the whole recording, no later than said, in memory that stays."""
import gc
import itertools
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import soundfile
import tensorflow as tf

from polysed_keras.audio.files import load_audio, resample_blocks
from polysed_keras.detection.detector import Detector
from polysed_keras.detection.streaming import EventStream, PosteriorStream
from polysed_keras.errors import InputError
from polysed_keras.export.saved_model import load_saved_model

from fixtures import CLIPS, HOP, MULTI_LABEL, POWERSET, RATE, shared_corpus, shared_export

WINDOW, FRAMES = 320, 32
SEGMENT = FRAMES * HOP
DESCRIPTION = {"labels": ["loud", "louder", "steady"], "sample_rate": RATE, "hop_length": HOP, "win_length": WINDOW,
               "segment_frames": FRAMES, "time_resolution": HOP / RATE, "experiment": MULTI_LABEL.to_dict()}


def loudness(waveform):
    """Serves what an exported graph would: each window's loudness, alone, beside its segment's mean, and that mean."""
    waveform = np.asarray(waveform[0])
    frames = -(-len(waveform) // HOP)
    padded = np.abs(np.pad(waveform, (0, frames * HOP + WINDOW - HOP - len(waveform))))
    by_hop = padded.reshape(-1, HOP).mean(axis=1)
    loud = np.minimum(by_hop[:-1] + by_hop[1:], 1) if frames else by_hop[:0]
    means = np.pad(loud, (0, -frames % FRAMES)).reshape(-1, FRAMES).mean(axis=1).repeat(FRAMES)[:frames]
    posteriors = np.stack([loud, np.clip(0.5 + loud - means, 0, 1), means], axis=1).astype(np.float32)
    activity = (posteriors > 0.45).astype(np.uint8)
    return {"posteriors": tf.constant(posteriors[None]), "activity": tf.constant(activity[None])}


def fake_detector():
    return Detector(loudness, DESCRIPTION)


def sounds_of(samples, seed=0):
    """Noise whose level changes every few frames, for events of all lengths."""
    rng = np.random.default_rng(seed)
    levels = rng.uniform(0, 0.7, samples // 400 + 2).repeat(rng.integers(1, 1200, samples // 400 + 2))[:samples]
    return (np.resize(levels, samples) * rng.uniform(-1, 1, samples)).astype(np.float32)


def blocks_of(waveform, sizes):
    """The waveform in blocks of these sizes, again and again."""
    begin = 0
    for size in itertools.cycle(sizes):
        if begin >= len(waveform):
            return
        yield waveform[begin:begin + size]
        begin += size


def streamed(stream, waveform, sizes):
    parts = [stream.feed(block) for block in blocks_of(waveform, sizes)]
    return [*parts, stream.close()]


def assert_same_events(parts, expected):
    """All parts together, in any order, are the expected DataFrame; each is sorted."""
    assert all(part == sorted(part) for part in parts)
    events = pd.DataFrame(sorted(itertools.chain(*parts)), columns=list(expected.columns))
    assert events[["onset", "offset", "event_label"]].values.tolist() == expected.iloc[:, :3].values.tolist()
    np.testing.assert_allclose(events.confidence.astype(float), expected.confidence, rtol=0, atol=1e-5)


RANDOM = tuple(np.random.default_rng(1).integers(0, 3 * SEGMENT, 50).tolist())
SIZES = pytest.mark.parametrize("sizes", [
    (1,), (HOP,), (997, 89, 0, 2), (SEGMENT,), (SEGMENT + WINDOW - HOP,), (3 * SEGMENT + 7,), RANDOM, (10**9,)],
    ids=lambda sizes: str(sizes[:3]))
LENGTHS = [0, 1, HOP + 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, SEGMENT + WINDOW - HOP, 3 * SEGMENT + WINDOW - HOP - 1,
           3 * SEGMENT + WINDOW - HOP, 4 * SEGMENT + 777]


# Any blocks

@SIZES
def test_posteriors_of_any_blocks_are_those_of_the_whole(sizes):
    for samples in LENGTHS:
        waveform, detector = sounds_of(samples), fake_detector()
        parts = streamed(PosteriorStream(detector), waveform, sizes)
        for part, whole in zip(zip(*parts), detector.posteriors(waveform)):
            np.testing.assert_array_equal(np.concatenate(part), whole)
            assert part[0].dtype == whole.dtype


EACH = {"threshold": [0.1, 0.55, 0.2], "median_frames": [1, 5, 9], "min_duration": [0.0, 0.1, 0.2], "max_gap": 0.04}
OPTIONS = [{}, {"threshold": 0.3}, {"threshold": 0.0}, {"threshold": [0.2, 0.55, 0.35]}, {"median_frames": 3},
           {"median_frames": 101}, {"min_duration": 0.1}, {"max_gap": 0.06}, {"max_gap": float("inf")}, EACH,
           {name: EACH[name] for name in ("median_frames", "min_duration")}, {"labels": ["louder"]},
           {"threshold": 0, "max_gap": float("inf")}, {"threshold": 0.02, "median_frames": 7, "max_gap": 0.06},
           {"step_filter": [0.2, 0.0, 0.6], "edge": 0.3},
           {"threshold": 0.1, "step_filter": 0.1, "max_gap": [0.1, 0.0, 0.06]},
           {"threshold": 0.4, "median_frames": 7, "min_duration": 0.14, "max_gap": 0.1, "labels": ["steady", "loud"]}]


@SIZES
def test_events_of_any_blocks_are_those_of_the_whole(sizes):
    for samples in LENGTHS:
        waveform, detector = sounds_of(samples), fake_detector()
        for options in OPTIONS if sizes == RANDOM else OPTIONS[-1:]:
            parts = streamed(EventStream(detector, **options), waveform, sizes)
            assert_same_events(parts, detector.detect(waveform, **options))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_events_of_a_minute_are_those_of_the_whole(options):
    waveform, detector = sounds_of(60 * RATE, seed=3), fake_detector()
    expected = detector.detect(waveform, **options)
    assert len(expected) > 5 or options.get("max_gap") == float("inf")
    assert_same_events(streamed(EventStream(detector, **options), waveform, RANDOM), expected)


def test_a_buffer_that_is_used_again_does_no_harm():
    waveform, buffer, stream = sounds_of(5 * SEGMENT), np.zeros(100, np.float32), EventStream(fake_detector())
    parts = []
    for block in blocks_of(waveform, [100]):
        buffer[:len(block)] = block
        parts.append(stream.feed(buffer[:len(block)]))
        buffer[:] = 9.0
    assert_same_events([*parts, stream.close()], fake_detector().detect(waveform))


# Latency and memory

@pytest.mark.parametrize("options, expected", [
    ({}, (SEGMENT + WINDOW - HOP) / RATE), ({"median_frames": 9}, (SEGMENT + WINDOW - HOP) / RATE + 4 * 0.02),
    ({"max_gap": 0.06}, (SEGMENT + WINDOW - HOP) / RATE + 3 * 0.02),
    ({"max_gap": 0.05, "median_frames": 3}, (SEGMENT + WINDOW - HOP) / RATE + 3 * 0.02),
    ({"threshold": 0}, (SEGMENT + WINDOW - HOP) / RATE),
    ({"threshold": 0.1, "median_frames": 9}, (SEGMENT + WINDOW - HOP) / RATE + 4 * 0.02),
    ({"threshold": 0.05, "max_gap": 0.05, "median_frames": [3, 1, 1]}, (SEGMENT + WINDOW - HOP) / RATE + 3 * 0.02)])
def test_events_come_within_the_latency_and_some_no_earlier(options, expected):
    waveform, stream = sounds_of(40 * SEGMENT, seed=5), EventStream(fake_detector(), **options)
    assert stream.latency == pytest.approx(expected)
    waits = [(HOP * (index + 1)) / RATE - event.offset for index, block in enumerate(blocks_of(waveform, [HOP]))
             for event in stream.feed(block)]
    assert len(waits) > 30 and max(waits) == pytest.approx(stream.latency)


@pytest.mark.slow
def test_memory_does_not_grow_with_time():
    waveform, stream = sounds_of(15 * SEGMENT), EventStream(fake_detector(), threshold=[0.2, 0.0, 0.3], max_gap=0.1)
    sizes, found = [], set()
    tracemalloc.start()
    try:
        for _ in range(36):
            for block in blocks_of(waveform, [1600]):
                found |= {event.event_label for event in stream.feed(block)}
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    # NumPy's own caches fill up for long, by 12,000 bytes in the second half; kept posteriors would be 100,000
    assert max(sizes[18:]) < max(sizes[:18]) + 20_000
    assert found == set(DESCRIPTION["labels"])


# Networks

@pytest.fixture(scope="module", params=[MULTI_LABEL, POWERSET], ids=lambda experiment: experiment.name)
def detector(request):
    return load_saved_model(shared_export(request.param))


@pytest.fixture(scope="module")
def recordings():
    return [soundfile.read(path, dtype="float32")[0] for path in sorted((shared_corpus() / "audio").glob("test*.wav"))]


PROCESSED = {"threshold": [0.3, 0.5, 0.6, 0.4], "median_frames": 5, "max_gap": 0.1, "min_duration": 0.1}


@pytest.mark.parametrize("options", [{}, PROCESSED], ids=["as it is", "post-processed"])
def test_a_network_hears_in_blocks_what_it_hears_in_the_whole(detector, recordings, options):
    found = 0
    for index, waveform in enumerate([*recordings, recordings[0][:4 * SEGMENT], recordings[1][:2 * SEGMENT + 1]]):
        sizes = np.random.default_rng(index).integers(1, 2 * SEGMENT, 30).tolist()
        expected = detector.detect(waveform, **options)
        assert_same_events(streamed(EventStream(detector, **options), waveform, sizes), expected)
        found += len(expected)
        posteriors = np.concatenate([part for part, _ in streamed(PosteriorStream(detector), waveform, sizes)])
        np.testing.assert_allclose(posteriors, detector.posteriors(waveform)[0], rtol=0, atol=1e-5)
    assert found > 5


def test_blocks_of_another_rate_are_the_resampled_file(recordings, tmp_path):
    soundfile.write(tmp_path / "a.wav", recordings[0], 11025)
    waveform, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    blocks = list(resample_blocks(blocks_of(waveform, (1, 997, 5000)), 11025, RATE))
    assert len(blocks) > 5
    np.testing.assert_allclose(np.concatenate(blocks), load_audio(tmp_path / "a.wav", RATE), atol=1e-6)


# Mistakes

@pytest.mark.parametrize("samples, words", [
    (np.zeros((10, 2), np.float32), r"\(10, 2\)"), (np.zeros(10, np.int16), "int16"), (np.array([0.1, np.nan]), "NaN"),
    (np.array([np.inf]), "infinity"), (0.5, r"shape \(\)")])
def test_unusable_samples_are_an_error_and_change_nothing(samples, words):
    waveform, stream = sounds_of(3 * SEGMENT), EventStream(fake_detector())
    parts = [stream.feed(waveform[:SEGMENT])]
    with pytest.raises(InputError, match=f"samples: expected finite floats.*{words}"):
        stream.feed(samples)
    assert_same_events([*parts, stream.feed(waveform[SEGMENT:]), stream.close()], fake_detector().detect(waveform))


def test_a_network_that_fails_once_loses_nothing():
    waveform, failures = sounds_of(5 * SEGMENT), [True]

    def fails_once(samples):
        if failures:
            failures.pop()
            raise InputError("no answer")
        return loudness(samples)

    stream = EventStream(Detector(fails_once, DESCRIPTION))
    with pytest.raises(InputError, match="no answer"):
        stream.feed(waveform[:2 * SEGMENT])
    assert_same_events([stream.feed(waveform[2 * SEGMENT:]), stream.close()], fake_detector().detect(waveform))


def test_a_closed_stream_takes_no_more():
    stream = EventStream(fake_detector())
    assert stream.close() == []
    for act in (stream.close, lambda: stream.feed(np.zeros(1, np.float32))):
        with pytest.raises(InputError, match="closed"):
            act()


@pytest.mark.parametrize("options, message", [
    ({"median_frames": 4}, "median_frames"), ({"threshold": 2}, "threshold"), ({"threshold": [0.5]}, "one a label"),
    ({"labels": ["bark"]}, "labels: expected some of.*bark"), ({"max_gap": -1}, "max_gap"),
    ({"min_duration": -1}, "min_duration")])
def test_arguments_are_checked_before_any_audio(options, message):
    with pytest.raises(InputError, match=message):
        EventStream(fake_detector(), **options)


def test_models_of_clips_have_no_events():
    detector = Detector(loudness, DESCRIPTION)
    detector.clip_level = CLIPS.clip_level
    with pytest.raises(InputError, match="labels clips"):
        EventStream(detector)

