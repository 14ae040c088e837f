"""Rooms and noise: impulse responses, simulated or recorded, and coloured noise."""
import dataclasses
import functools

import numpy as np
import scipy.signal

NOISE_COLOURS = {"white": 0.0, "pink": 1.0, "brown": 2.0}  # power falls with frequency to this exponent
ROOM_METRES = ((3.0, 3.0, 2.4), (10.0, 8.0, 4.0))  # smallest and largest length, width, height
WALL_METRES = 0.4  # least distance of sources and microphones from a wall
# Places of a source and a microphone, as shares of a room's size, where its reverberation is measured.
_PLACES = (((0.2, 0.3, 0.4), (0.75, 0.6, 0.55)), ((0.8, 0.25, 0.6), (0.35, 0.7, 0.45)),
           ((0.3, 0.8, 0.5), (0.55, 0.3, 0.4)))
NOISE_SAMPLES = 2 ** 20  # noise repeats after so many samples (24 s at 44.1 kHz), without a seam


@dataclasses.dataclass(frozen=True)
class Room:
    """A rectangular room with a source and a microphone, all in metres from a corner.

    `rt60_seconds` is its reverberation time: how long a sound takes to fall by 60 dB.
    """
    size: tuple[float, float, float]
    rt60_seconds: float
    source: tuple[float, float, float]
    microphone: tuple[float, float, float]

    def __post_init__(self):
        for name in ("size", "source", "microphone"):
            object.__setattr__(self, name, tuple(getattr(self, name)))


def draw_room(rng, rt60_seconds, positions):
    """Draw a random room: a tuple with a Room per position of the source, equal but for that.

    The reverberation time is drawn uniformly between the ends `rt60_seconds`.
    """
    rt60 = rng.uniform(*rt60_seconds)
    size = rng.uniform(*ROOM_METRES)
    # Sabine: with walls that absorb everything, RT60 is 0.161 s/m times volume by surface. These absorb 80 % at most,
    # so a room that is too large for its RT60 is made smaller.
    shortest = 0.161 * np.prod(size) / (2 * (size[0] * size[1] + size[0] * size[2] + size[1] * size[2]))
    size *= min(1.0, 0.8 * rt60 / shortest)
    microphone, *sources = rng.uniform(WALL_METRES, size - WALL_METRES, (positions + 1, 3)).round(3).tolist()
    return tuple(Room(size.round(3).tolist(), round(rt60, 4), source, microphone) for source in sources)


@functools.lru_cache(maxsize=512)
def simulate_room(room, sample_rate):
    """Simulate the impulse response of a Room by image sources; trimmed by `trim_impulse_response`."""
    absorption, order = _absorption(room.size, room.rt60_seconds)
    return trim_impulse_response(_image_sources(room, sample_rate, absorption, order))


@functools.lru_cache(maxsize=512)
def _absorption(size, rt60_seconds):
    """Return the walls' absorption that gives a room the reverberation time, and the order of image sources.

    Sabine's formula is wrong by up to a half in flat rooms, so its result is corrected by measured times.
    """
    import pyroomacoustics
    absorption, order = pyroomacoustics.inverse_sabine(rt60_seconds, size)
    rooms = [Room(size, rt60_seconds, *(np.multiply(size, place).tolist() for place in places)) for places in _PLACES]
    for _ in range(3):
        times = [reverberation_time(_image_sources(room, 8000, absorption, order), 8000) for room in rooms]
        ratio = np.mean(times) / rt60_seconds
        # Eyring: the time goes with 1 / -log(1 - absorption)
        absorption = float(np.clip(1 - (1 - absorption) ** ratio, 1e-3, 0.99))
    return absorption, order


def _image_sources(room, sample_rate, absorption, order):
    import pyroomacoustics
    pyroomacoustics.constants.set("num_threads", 1)  # more threads would add up in another order, with other bytes
    shoebox = pyroomacoustics.ShoeBox(room.size, fs=sample_rate, materials=pyroomacoustics.Material(absorption),
                                      max_order=order)
    shoebox.add_source(room.source)
    shoebox.add_microphone(room.microphone)
    shoebox.compute_rir()
    return shoebox.rir[0][0]


def trim_impulse_response(response):
    """Trim an impulse response to 40 samples before its peak and scale its energy to 1.

    A sound in such a room keeps its time and level. The result is float32 (samples,).
    """
    trimmed = response[max(int(np.argmax(np.abs(response))) - 40, 0):]
    return (trimmed / np.sqrt(np.sum(np.square(trimmed, dtype=np.float64)))).astype(np.float32)


def reverberation_time(response, sample_rate):
    """Return the reverberation time (s) of an impulse response from its fall between -5 and -25 dB (ISO 3382, T20)."""
    energy = np.cumsum(np.square(response[::-1], dtype=np.float64))[::-1]
    level = 10 * np.log10(np.maximum(energy / energy[0], 1e-12))
    return 3 * (np.argmax(level < -25) - np.argmax(level < -5)) / sample_rate


def reverberate(waveform, response):
    """Convolve a sound (samples,) with an impulse response (taps,): float32 (samples + taps - 1,), with the tail."""
    return scipy.signal.oaconvolve(waveform, response).astype(np.float32)


def coloured_noise(colour, num_samples, sample_rate, seed):
    """Make noise above 20 Hz of one of NOISE_COLOURS with an RMS of 1, float32 (num_samples,).

    It repeats after `NOISE_SAMPLES` without a seam, because the inverse transform of a spectrum is periodic.
    """
    rng = np.random.default_rng(seed)
    frequencies = np.fft.rfftfreq(NOISE_SAMPLES, 1 / sample_rate)
    spectrum = rng.standard_normal(len(frequencies)) + 1j * rng.standard_normal(len(frequencies))
    spectrum *= np.maximum(frequencies, 20.0) ** (-NOISE_COLOURS[colour] / 2) * (frequencies >= 20.0)
    period = np.fft.irfft(spectrum, NOISE_SAMPLES)
    return np.resize((period / period.std()).astype(np.float32), num_samples)
