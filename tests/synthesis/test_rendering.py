"""How a drawn mixture sounds, against sums made by hand."""
import dataclasses

import numpy as np
import pytest

from polysed_keras.synthesis.drawing import Mixture, Piece, SoundscapeSpec
from polysed_keras.synthesis.rendering import render_mixture

from fixtures import RATE, tone

SPEC = SoundscapeSpec(sample_rate=RATE, duration_seconds=20.0, piece_seconds=(0.5, 3.0), silence_seconds=(0.2, 4.0))


def render(pieces, recordings, mixture=None, **changes):
    """Waveform and events of pieces of recordings in memory."""
    rendering = render_all(pieces, recordings, mixture, **changes)
    return rendering.waveform, rendering.events


def render_all(pieces, recordings, mixture=None, **changes):
    def read(recording, role, speed):
        waveform = recordings[recording].astype(np.float32)
        return np.interp(np.arange(0, len(waveform), speed), np.arange(len(waveform)), waveform).astype(np.float32)

    return render_mixture(Mixture(tuple(pieces), **mixture or {}), read, dataclasses.replace(SPEC, **changes))


def level(waveform):
    return 10 * np.log10(np.mean(np.square(waveform, dtype=np.float64)))


def test_rendering_against_a_sum_by_hand():
    recordings = {"a": tone(2.0).astype(np.float32), "b": tone(1.0, 1000).astype(np.float32)}
    pieces = [Piece("x", "a", -13.5, 0.5, 1.0, 3.0, -6.0), Piece("y", "b", -13.5, 0.0, 1.0, 3.5, 2.0)]
    waveform, events = render(pieces, recordings)
    expected = np.zeros(20 * RATE)
    expected[3 * RATE:4 * RATE] += recordings["a"][RATE // 2:3 * RATE // 2] * 10 ** (-6 / 20)
    expected[7 * RATE // 2:9 * RATE // 2] += recordings["b"] * 10 ** (2 / 20)
    inner = np.ones(len(expected), bool)
    for edge in (3.0, 3.5, 4.0, 4.5):  # 5 ms of fade on either side of a cut
        inner[round((edge - 0.005) * RATE):round((edge + 0.005) * RATE)] = False
    np.testing.assert_allclose(waveform[inner], expected[inner], atol=1e-6)
    assert np.all(np.abs(waveform[~inner]) <= np.abs(expected[~inner]) + 0.6) and waveform[3 * RATE] == 0
    assert events.values.tolist() == [[3.0, 4.0, "x"], [3.5, 4.5, "y"]]


def test_no_clipping_and_relative_gains_stay():
    recordings = {"a": tone(1.0).astype(np.float32)}
    pieces = [Piece("x", "a", -13.5, 0.0, 1.0, 2.0, 40.0), Piece("y", "a", -13.5, 0.0, 1.0, 5.0, 28.0)]
    waveform, _ = render(pieces, recordings)
    loud, quiet = np.abs(waveform[2 * RATE:3 * RATE]).max(), np.abs(waveform[5 * RATE:6 * RATE]).max()
    assert loud == pytest.approx(0.999, abs=1e-4)
    assert 20 * np.log10(loud / quiet) == pytest.approx(12.0, abs=1e-3)


def test_cuts_do_not_click():
    constant = {"a": np.full(RATE, 0.3, np.float32)}  # the hardest cut: from 0 to full scale at once
    waveform, _ = render([Piece("x", "a", -13.5, 0.2, 0.5, 1.0, 0.0)], constant)
    assert np.abs(np.diff(waveform)).max() <= 0.3 / (0.005 * RATE) + 1e-6


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_a_faster_recording_is_higher_and_shorter(speed):
    recordings = {"a": np.concatenate([tone(2.0, 400), tone(2.0, 1000)])}
    piece = Piece("x", "a", -13.5, 1.0, 2.0 / speed, 3.0, 0.0, speed=speed)  # a second of each tone
    waveform, events = render([piece], recordings)
    np.testing.assert_allclose(events.values.tolist()[0][:2], [3.0, 3.0 + 2.0 / speed], atol=0.02)
    for begin, frequency in ((3.1, 400), (3.1 + 1 / speed, 1000)):
        sound = waveform[round(begin * RATE):round((begin + 0.5) * RATE)]
        peak = np.argmax(np.abs(np.fft.rfft(sound * np.hanning(len(sound))))) * RATE / len(sound)
        assert peak == pytest.approx(speed * frequency, abs=3)


def test_a_gain_moves_in_equal_steps_of_db():
    recordings = {"a": np.full(4 * RATE, 0.01)}
    waveform, _ = render([Piece("x", "a", -13.5, 0.0, 4.0, 1.0, 0.0, gain_change_db=12.0)], recordings)
    for seconds, expected in ((1, 3), (2, 6), (3, 9)):
        assert 20 * np.log10(waveform[(1 + seconds) * RATE] / 0.01) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("ratio", [0.0, 12.5, 30.0])
@pytest.mark.parametrize("background", ["white", "pink", "brown", "beds"])
def test_the_loudest_400_ms_are_as_far_above_the_background_as_asked(ratio, background):
    rng = np.random.default_rng(0)
    recordings = {"a": np.concatenate([tone(1.0, amplitude=0.01), tone(0.4, amplitude=0.5), tone(1.0, amplitude=0.02)]),
                  "bed": 0.2 * rng.standard_normal(7 * RATE)}
    beds = tuple(Piece("", "bed", -10.0, 0.0, 7.0, onset, 3.0) for onset in (0.0, 6.0, 12.0, 18.0))
    pieces = [Piece("x", "a", -9.0, 0.0, 2.4, 5.0, 0.0, event_to_background_db=ratio)]
    rendering = render_all(pieces, recordings, {"noise_seed": 1, "beds": beds if background == "beds" else ()},
                           background=background, background_dbfs=-40.0, stems=True)
    assert level(rendering.stems["background"]) == pytest.approx(-40.0, abs=0.01)
    assert level(rendering.stems["x"][6 * RATE:round(6.4 * RATE)]) == pytest.approx(-40.0 + ratio, abs=0.1)
    assert rendering.stems["background"][10 * RATE:].std() > 0.005  # the beds go on to the end


def test_distractors_are_heard_and_not_annotated():
    recordings = {"a": tone(1.0)}
    waveform, events = render([Piece("", "a", -13.5, 0.0, 1.0, 2.0, 0.0)], recordings)
    assert np.abs(waveform[2 * RATE:3 * RATE]).max() > 0.2 and events.empty


def test_a_room_adds_a_tail_that_is_not_annotated():
    response = np.zeros(RATE)
    response[0], response[RATE // 2] = 1.0, 0.5  # an echo after half a second
    recordings = {"a": tone(1.0), "echo.wav": response}
    dry = tone(1.0)
    waveform, events = render([Piece("x", "a", -13.5, 0.0, 1.0, 2.0, 0.0, impulse_response="echo.wav")], recordings)
    scale = 1 / np.sqrt(1.25)  # the energy of the response is brought to 1
    inner = slice(round(0.6 * RATE), round(0.9 * RATE))
    expected = scale * (dry[inner] + 0.5 * dry[inner.start - RATE // 2:inner.stop - RATE // 2])
    np.testing.assert_allclose(waveform[2 * RATE:][inner], expected, atol=1e-4)
    tail = slice(round(1.1 * RATE), round(1.4 * RATE))
    expected = scale * 0.5 * dry[tail.start - RATE // 2:tail.stop - RATE // 2]
    np.testing.assert_allclose(waveform[2 * RATE:][tail], expected, atol=1e-4)
    assert events.values.tolist() == [[2.0, 3.0, "x"]]


def test_stems_sum_to_the_mixture():
    recordings = {"a": tone(2.0), "b": tone(1.0, 1000)}
    pieces = [Piece("x", "a", -13.5, 0.0, 2.0, 3.0, 10.0), Piece("y", "b", -13.5, 0.0, 1.0, 3.5, 10.0),
              Piece("", "b", -13.5, 0.0, 1.0, 9.0, 0.0), Piece("x", "a", -13.5, 0.0, 2.0, 9.0, 0.0)]
    rendering = render_all(pieces, recordings, {"noise_seed": 3}, background="pink", stems=True)
    assert set(rendering.stems) == {"x", "y", "distractors", "background"}
    assert np.abs(rendering.waveform).max() == pytest.approx(0.999, abs=1e-5)  # it was lowered, and its stems with it
    np.testing.assert_allclose(sum(rendering.stems.values()), rendering.waveform, atol=1e-6)
    plain = render_all(pieces, recordings, {"noise_seed": 3}, background="pink")
    np.testing.assert_allclose(plain.waveform, rendering.waveform, atol=1e-6)


def test_nothing_is_silence():
    waveform, events = render([], {})
    assert len(waveform) == 20 * RATE and not waveform.any() and events.empty
