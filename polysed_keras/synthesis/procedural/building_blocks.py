"""Building blocks of synthetic sounds: sources, resonances, envelopes, repetition, room.

Arguments mean the same in all functions: times and `seconds` are in seconds, frequencies, `low`, `high` and `pitch` in
Hz, `rate` is the sample rate in Hz, `rng` a numpy Generator. Sounds and curves are float64 (samples,).
"""
import numpy as np
import scipy.signal


def time_axis(seconds, rate):
    """Return the time of every sample."""
    return np.arange(round(seconds * rate)) / rate


def log_uniform(rng, low, high, size=None):
    """Draw random numbers whose logarithms are uniform, for frequencies, sizes and distances."""
    return np.exp(rng.uniform(np.log(low), np.log(high), size))


def curve(values, seconds, rate):
    """Make a curve of straight lines between values at equal distances in time."""
    return np.interp(time_axis(seconds, rate), np.linspace(0, seconds, len(values)), values)


def drift(rng, seconds, rate, points_per_second, low, high):
    """Draw a random curve between two values, with straight lines between points."""
    knots = rng.uniform(low, high, max(int(seconds * points_per_second), 1) + 3)
    return np.interp(time_axis(seconds, rate) * points_per_second, np.arange(len(knots)), knots)


# Sources

def band_noise(rng, seconds, rate, low, high):
    """Make white noise between two frequencies."""
    return band_pass(rng.standard_normal(round(seconds * rate)), rate, low, high)


def harmonics(frequency, rate, amplitudes):
    """Sum up harmonics of a frequency curve, without those above 0.45 of the sample rate."""
    phase = 2 * np.pi * np.cumsum(frequency) / rate
    top = 0.45 * rate / np.min(frequency)
    before, now, twice, total = np.zeros(len(phase)), np.sin(phase), 2 * np.cos(phase), np.zeros(len(phase))
    for number, amplitude in enumerate(amplitudes, start=1):
        if number > top:
            break
        total += amplitude * now * np.clip((0.45 * rate / number - frequency) / 50 + 1, 0, 1)
        before, now = now, twice * now - before  # sin((n + 1) x) = 2 cos(x) sin(n x) - sin((n - 1) x)
    return total


def glottis(rng, rate, pitch, breath=0.1, tilt=1.0, jitter=0.01):
    """Make pulses of vocal folds that fall by 6 dB per octave (tilt 1), with breath in time with them."""
    seconds = len(pitch) / rate
    pitch = pitch * (1 + drift(rng, seconds, rate, 60, -1, 1) * jitter)
    pulses = harmonics(pitch, rate, 1 / np.arange(1, min(int(0.35 * rate / pitch.min()), 60) + 1) ** tilt)
    opening = 1 + np.sin(2 * np.pi * np.cumsum(pitch) / rate)
    return pulses * drift(rng, seconds, rate, 40, 0.8, 1) + breath * opening * rng.standard_normal(len(pitch))


def strokes(rng, rate, turns, weights, variation, sharpness):
    """Make pulses of an engine, one per turn of a curve in Hz, with a steep rise and an exponential fall.

    Weights are those of the cylinders, in turn; `variation` makes every pulse different.
    """
    phase = np.cumsum(turns) / rate
    number = phase.astype(int)
    sizes = np.resize(weights, number[-1] + 1) * (1 + variation * rng.standard_normal(number[-1] + 1))
    return sizes[number] * np.exp(-(phase - number) * sharpness)


def scaled(sound):
    """Scale a sound to a standard deviation of 1, before it is weighted."""
    return sound / sound.std()


# Resonances

def band_pass(sound, rate, low, high, order=2):
    """Filter a sound by a Butterworth band-pass between two frequencies."""
    band = scipy.signal.butter(order, (low, min(high, 0.45 * rate)), "bandpass", fs=rate, output="sos")
    return scipy.signal.sosfilt(band, sound)


def resonate(excitation, rate, frequencies, decay, gains=None):
    """Excite resonances (two poles, zeros at both ends of the spectrum) of unit peaks and sum them up.

    They ring for `decay` seconds (to 37 %), a number or one per frequency.
    """
    ringing, ones = np.zeros_like(excitation), np.ones(len(frequencies))
    for frequency, duration, gain in zip(frequencies, decay * ones, ones if gains is None else gains):
        radius, angle = np.exp(-1 / (duration * rate)), 2 * np.pi * frequency / rate
        peak = gain * (1 - radius)
        ringing += scipy.signal.lfilter([peak, 0, -peak], [1, -2 * radius * np.cos(angle), radius ** 2], excitation)
    return ringing


def throat(sound, rate, formants, gains, bandwidth=0.1):
    """Shape a sound by moving formants, each a row of its frequencies at equal distances in time.

    `gains` are the heights of their peaks; `bandwidth` is the width of a formant over its frequency.
    """
    length = 1024 if rate > 30000 else 512
    frequency, time, spectrum = scipy.signal.stft(sound, rate, nperseg=length, noverlap=3 * length // 4)
    frequency = frequency[:, None] + 1
    response = 0.0
    for values, gain in zip(formants, gains):
        center = np.interp(time, np.linspace(0, len(sound) / rate, np.size(values)), np.atleast_1d(values))
        detuning = (frequency / center - center / frequency) / bandwidth
        response = response + gain / np.sqrt(1 + detuning ** 2)
    return scipy.signal.istft(spectrum * response, rate, nperseg=length, noverlap=3 * length // 4)[1][:len(sound)]


# Envelopes

def envelope(seconds, rate, attack, decay):
    """Make a curve that rises for `attack` seconds, then falls exponentially (to 37 % in `decay`) to 0 at the end."""
    time = time_axis(seconds, rate)
    fall = np.exp(-np.maximum(time - attack, 0) / decay)
    return np.minimum(time / attack, 1) * fall * np.minimum((seconds - time) / 0.01, 1)


def swell(seconds, rate, attack, release):
    """Make a curve that rises for `attack` seconds, stays, and falls for `release` seconds, both along a cosine."""
    time = time_axis(seconds, rate)
    edge = np.minimum(np.minimum(time / attack, (seconds - time) / release), 1)
    return 0.5 - 0.5 * np.cos(np.pi * edge)


# Repetition

def place(sounds, seconds, rate):
    """Sum up pairs of a sound and its onset, cut off at the end."""
    total = np.zeros(round(seconds * rate))
    for sound, onset in sounds:
        start = round(onset * rate)
        sound = sound[:max(len(total) - start, 0)]
        total[start:start + len(sound)] += sound
    return total


def random_onsets(rng, seconds, low, high, last=0.5):
    """Draw times with gaps between `low` and `high`, at least one, until `last` seconds before the end."""
    onsets = rng.uniform(0.02, 0.3) + np.cumsum(rng.uniform(low, high, int(seconds / low) + 1)) - low
    return onsets[:max(np.sum(onsets < seconds - last), 1)]


# Room

def add_room(rng, sound, rate, decay, amount, high=5000, low=150):
    """Add reverberation by a decaying noise as impulse response; `amount` is its peak over the sound's."""
    tail = band_noise(rng, 3 * decay, rate, low, high) * np.exp(-time_axis(3 * decay, rate) / decay)
    wet = scipy.signal.fftconvolve(sound, tail)[:len(sound)]
    return sound + amount * wet * np.max(np.abs(sound)) / np.max(np.abs(wet))
