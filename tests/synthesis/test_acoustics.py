"""Rooms and noise, against Schroeder's integral of another library and the slopes of spectra."""
import numpy as np
import pytest
import scipy.signal
from pyroomacoustics.experimental import measure_rt60

from polysed_keras.synthesis.acoustics import (
    NOISE_COLOURS,
    Room,
    coloured_noise,
    draw_room,
    reverberate,
    reverberation_time,
    simulate_room,
    trim_impulse_response,
)

RATE = 16000


@pytest.mark.parametrize("rt60", [0.1, 0.3, 0.8])
def test_the_reverberation_time_of_a_decay(rt60):
    time = np.arange(2 * RATE) / RATE
    decay = np.random.default_rng(0).standard_normal(len(time)) * 10 ** (-3 * time / rt60)
    assert reverberation_time(decay, RATE) == pytest.approx(rt60, rel=0.06)
    assert reverberation_time(decay, RATE) == pytest.approx(measure_rt60(decay, RATE, decay_db=20), rel=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_rooms_have_the_reverberation_time_asked_for(seed):
    places = draw_room(np.random.default_rng(seed), (0.15, 0.5), 4)
    asked = places[0].rt60_seconds
    measured = [measure_rt60(simulate_room(place, RATE), RATE, decay_db=20) for place in places]
    assert 0.15 <= asked <= 0.5 and np.mean(measured) == pytest.approx(asked, rel=0.2)
    assert len({(place.size, place.microphone, place.rt60_seconds) for place in places}) == 1
    assert len({place.source for place in places}) == 4
    for place in places:
        assert all(0 < position < length for position, length in zip(place.source, place.size))


def test_a_room_sounds_the_same_every_time():
    room = Room((5.0, 4.0, 2.5), 0.3, (1.0, 1.0, 1.0), (3.0, 2.0, 1.5))
    first = simulate_room(room, RATE).copy()
    simulate_room.cache_clear()
    np.testing.assert_array_equal(simulate_room(room, RATE), first)


def test_the_nearer_source_is_drier():
    near, far = (simulate_room(Room((8.0, 6.0, 3.0), 0.5, (x, 2.0, 1.5), (1.0, 2.0, 1.5)), RATE) for x in (1.6, 7.0))
    direct = [np.sum(response[:80] ** 2) for response in (near, far)]  # 5 ms
    assert direct[0] > 2 * direct[1]


def test_a_response_begins_at_its_peak_and_has_the_energy_one():
    response = np.concatenate([np.zeros(500), [0.5], np.zeros(99), [0.1]])
    trimmed = trim_impulse_response(response)
    assert np.argmax(trimmed) == 40 and np.sum(trimmed ** 2) == pytest.approx(1.0, rel=1e-6)
    sound = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    np.testing.assert_allclose(reverberate(sound, trimmed), np.convolve(sound, trimmed), atol=1e-5)


@pytest.mark.parametrize("colour, db_per_octave", [("white", 0.0), ("pink", -3.01), ("brown", -6.02)])
def test_noise_falls_as_its_colour(colour, db_per_octave):
    noise = coloured_noise(colour, 2 ** 20, RATE, 0)
    frequencies, power = scipy.signal.welch(noise, RATE, nperseg=8192)
    octaves = [10 * np.log10(power[(frequencies >= low) & (frequencies < 2 * low)].mean()) for low in (125, 500, 2000)]
    assert np.diff(octaves) / 2 == pytest.approx([db_per_octave] * 2, abs=0.2)
    assert noise.dtype == np.float32 and noise.std() == pytest.approx(1.0, rel=1e-3)


def test_noise_is_seeded_and_of_any_length():
    assert set(NOISE_COLOURS) == {"white", "pink", "brown"}
    long = coloured_noise("pink", 2 ** 20 + 1000, RATE, 5)
    np.testing.assert_array_equal(long[:1000], coloured_noise("pink", 1000, RATE, 5))
    np.testing.assert_array_equal(long[2 ** 20:], long[:1000])  # it goes round
    assert not np.array_equal(long[:1000], coloured_noise("pink", 1000, RATE, 6))
    assert abs(long[2 ** 20] - long[2 ** 20 - 1]) < 6 * np.abs(np.diff(long)).std()  # without a click
