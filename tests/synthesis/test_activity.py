"""Where a recording sounds: levels, spans, what is measured of a soundbank."""
import dataclasses

import numpy as np
import pytest
import soundfile

from polysed_keras.synthesis.activity import active_spans, frame_levels, measure_soundbank
from polysed_keras.synthesis.drawing import SoundscapeSpec
from polysed_keras.synthesis.soundbank import read_soundbank, recording_reader

from fixtures import RATE, tone, write_bank

SPEC = SoundscapeSpec(sample_rate=RATE, duration_seconds=20.0, piece_seconds=(0.5, 3.0), silence_seconds=(0.2, 4.0))


def test_measured_durations_and_levels(tmp_path):
    bank = read_soundbank(write_bank(tmp_path, ["beep", "hum"], 3))
    for instance in measure_soundbank(bank, recording_reader(bank.folder, RATE), SPEC).instances:
        samples, rate = soundfile.read(instance.path)
        blocks = [samples[i:i + 160] for i in range(0, len(samples), 160)]  # 20 ms
        levels = np.array([20 * np.log10(max(block.std(), 1e-10)) for block in blocks])
        assert instance.loudest_dbfs == pytest.approx(levels.max(), abs=2e-3)
        active = [i for i, level in enumerate(levels) if level >= levels.max() - SPEC.threshold_db]
        powers = [block.var() for block in blocks]
        loudest = max(sum(powers[i:i + 20]) / 20 for i in range(len(powers)))  # 400 ms, less at the recording's end
        assert instance.level_dbfs == pytest.approx(10 * np.log10(loudest), abs=2e-3)
        assert instance.recording == instance.path.relative_to(tmp_path).as_posix()
        assert instance.spans == tuple(active_spans(samples, instance.loudest_dbfs, SPEC))
        assert instance.onset == active[0] * 160 / rate
        end = min((active[-1] + 1) * 160, len(samples)) / rate
        assert instance.onset + instance.duration == pytest.approx(end)


def test_annotation_of_two_bursts():
    # 0.5 s silence, 0.3 s tone, 0.6 s silence, 0.2 s tone, 0.1 s silence (bridged), 0.2 s tone, 0.5 s silence
    silence = [np.zeros(round(s * RATE)) for s in (0.5, 0.6, 0.1, 0.5)]
    piece = np.concatenate([silence[0], tone(0.3), silence[1], tone(0.2), silence[2], tone(0.2), silence[3]])
    spans = active_spans(piece, frame_levels(piece, RATE).max(), SPEC)
    np.testing.assert_allclose(spans, [[0.5, 0.8], [1.4, 1.9]], atol=1e-9)


@pytest.mark.parametrize("level_db, active", [(-19.0, True), (-21.0, False)])
def test_annotation_is_relative_to_the_recording(level_db, active):
    quiet = tone(0.5) * 10 ** (level_db / 20)
    reference = frame_levels(tone(0.5), RATE).max()
    assert active_spans(quiet, reference, SPEC) == ([(0.0, 0.5)] if active else [])


@pytest.mark.parametrize("seconds, gap, expected", [
    (0.02, 1.0, 0), (0.04, 1.0, 2),   # bursts of one frame are dropped, of two kept
    (0.3, 0.5, 1), (0.3, 0.52, 2)])   # gaps up to 0.5 s are bridged
def test_short_bursts_and_gaps(seconds, gap, expected):
    piece = np.concatenate([tone(seconds), np.zeros(round(gap * RATE)), tone(seconds)])
    assert len(active_spans(piece, frame_levels(piece, RATE).max(), SPEC)) == expected


def test_annotation_ignores_offset_and_noise_below_the_floor():
    constant = np.full(RATE, 0.5, np.float32)
    assert active_spans(constant, -10.0, dataclasses.replace(SPEC, threshold_db=90.0)) == []
    faint = 10 ** (-75 / 20) * np.random.default_rng(0).standard_normal(RATE)
    assert active_spans(faint, -60.0, SPEC) == []
    assert active_spans(np.zeros(0), -10.0, SPEC) == []


def test_annotation_ends_with_the_piece():
    piece = tone(0.333)
    assert active_spans(piece, frame_levels(piece, RATE).max(), SPEC) == [(0.0, 0.333)]
