"""Building blocks of synthetic sounds: sources, resonances, envelopes, repetition, room.

Times are in seconds and frequencies in Hz; `rate` is the sample rate; sounds are float64 (samples,).
"""
import numpy as np
import scipy.signal


def time_axis(seconds, rate):
    """Time of every sample."""
    return np.arange(round(seconds * rate)) / rate


def log_uniform(rng, low, high, size=None):
    """Random numbers whose logarithms are uniform: frequencies, sizes, distances."""
    return np.exp(rng.uniform(np.log(low), np.log(high), size))


def curve(values, seconds, rate):
    """Straight lines between values that are equally far apart in time."""
    time = time_axis(seconds, rate)
    return np.interp(time, np.linspace(0, seconds, len(values)), values)


def drift(rng, seconds, rate, points_per_second, low, high):
    """A random curve between two values."""
    knots = rng.uniform(low, high, max(int(seconds * points_per_second), 1) + 3)
    return np.interp(time_axis(seconds, rate) * points_per_second, np.arange(len(knots)), knots)


# Sources

def band_noise(rng, seconds, rate, low, high):
    """White noise between two frequencies."""
    return band_pass(rng.standard_normal(round(seconds * rate)), rate, low, high)


def harmonics(frequency, rate, amplitudes):
    """Sum of harmonics of a frequency curve; those above 0.45 of the sample rate are left out."""
    phase = 2 * np.pi * np.cumsum(frequency) / rate
    top = 0.45 * rate / np.min(frequency)
    before, now, twice = np.zeros(len(phase)), np.sin(phase), 2 * np.cos(phase)
    total = np.zeros(len(phase))
    for number, amplitude in enumerate(amplitudes, start=1):
        if number > top:
            break
        total += amplitude * now * np.clip((0.45 * rate / number - frequency) / 50 + 1, 0, 1)
        before, now = now, twice * now - before  # sin((n + 1) x) = 2 cos(x) sin(n x) - sin((n - 1) x)
    return total


def glottis(rng, rate, pitch, breath=0.1, tilt=1.0, jitter=0.01):
    """Pulses of vocal folds, of -6 dB an octave (tilt 1) as they leave the mouth, and breath in time with them."""
    seconds = len(pitch) / rate
    pitch = pitch * (1 + drift(rng, seconds, rate, 60, -1, 1) * jitter)
    pulses = harmonics(pitch, rate, 1 / np.arange(1, min(int(0.35 * rate / pitch.min()), 60) + 1) ** tilt)
    opening = 1 + np.sin(2 * np.pi * np.cumsum(pitch) / rate)
    return pulses * drift(rng, seconds, rate, 40, 0.8, 1) + breath * opening * rng.standard_normal(len(pitch))


def strokes(rng, rate, turns, weights, variation, sharpness):
    """Pulses of an engine: one a turn of `turns` (Hz, curve), a steep rise and an exponential fall.

    The weights are those of the cylinders, in turn; no two pulses are alike, by `variation`.
    """
    phase = np.cumsum(turns) / rate
    number = phase.astype(int)
    sizes = np.resize(weights, number[-1] + 1) * (1 + variation * rng.standard_normal(number[-1] + 1))
    return sizes[number] * np.exp(-(phase - number) * sharpness)


def scaled(sound):
    """A sound at a root mean square of 1, to be weighted."""
    return sound / sound.std()


# Resonances

def band_pass(sound, rate, low, high, order=2):
    """Butterworth filter between two frequencies."""
    band = scipy.signal.butter(order, (low, min(high, 0.45 * rate)), "bandpass", fs=rate, output="sos")
    return scipy.signal.sosfilt(band, sound)


def resonate(excitation, rate, frequencies, decay, gains=None):
    """Sum of resonances (two poles, zeros at both ends of the spectrum) of unit peaks.

    They ring for `decay` seconds (to 37 %; a number, or one a frequency).
    """
    ringing, ones = np.zeros_like(excitation), np.ones(len(frequencies))
    for frequency, duration, gain in zip(frequencies, decay * ones, ones if gains is None else gains):
        radius, angle = np.exp(-1 / (duration * rate)), 2 * np.pi * frequency / rate
        peak = gain * (1 - radius)
        ringing += scipy.signal.lfilter([peak, 0, -peak], [1, -2 * radius * np.cos(angle), radius ** 2], excitation)
    return ringing


def throat(sound, rate, formants, gains, bandwidth=0.1):
    """Shape a sound by moving formants.

    Args:
        formants: a row a formant with its frequencies at equally distant times.
        gains: height of each formant's peak.
        bandwidth: width of a formant over its frequency.
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
    """Rise for `attack` seconds, then fall exponentially (to 37 % in `decay`), reaching 0 at the end."""
    time = time_axis(seconds, rate)
    fall = np.exp(-np.maximum(time - attack, 0) / decay)
    return np.minimum(time / attack, 1) * fall * np.minimum((seconds - time) / 0.01, 1)


def swell(seconds, rate, attack, release):
    """Rise for `attack` seconds, stay, and fall for `release` seconds, both along a cosine."""
    time = time_axis(seconds, rate)
    edge = np.minimum(np.minimum(time / attack, (seconds - time) / release), 1)
    return 0.5 - 0.5 * np.cos(np.pi * edge)


# Repetition

def place(sounds, onsets, seconds, rate):
    """Sum of sounds that begin at `onsets`; what passes the end is cut off."""
    total = np.zeros(round(seconds * rate))
    for sound, onset in zip(sounds, onsets):
        start = round(onset * rate)
        sound = sound[:max(len(total) - start, 0)]
        total[start:start + len(sound)] += sound
    return total


def random_onsets(rng, seconds, low, high, last=0.5):
    """Times with gaps between `low` and `high`, at least one, until `last` seconds before the end."""
    onsets = rng.uniform(0.02, 0.3) + np.cumsum(rng.uniform(low, high, int(seconds / low) + 1)) - low
    return onsets[:max(np.sum(onsets < seconds - last), 1)]


# Room

def add_room(rng, sound, rate, decay, amount, high=5000, low=150):
    """Add reverberation: an exponentially decaying noise as impulse response; `amount` is its peak over the sound's."""
    tail = band_noise(rng, 3 * decay, rate, low, high) * np.exp(-time_axis(3 * decay, rate) / decay)
    wet = scipy.signal.fftconvolve(sound, tail)[:len(sound)]
    return sound + amount * wet * np.max(np.abs(sound)) / np.max(np.abs(wet))
