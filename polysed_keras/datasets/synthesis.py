"""Building blocks of synthetic sounds: sources, resonances, envelopes, repetition, room.

Times are in seconds and frequencies in Hz; `rate` is the sample rate; sounds are float64 (samples,).
"""
import numpy as np
import scipy.signal


def time_axis(seconds, rate):
    """Time of every sample."""
    return np.arange(round(seconds * rate)) / rate


def band_noise(rng, seconds, rate, low, high):
    """White noise between two frequencies."""
    white = rng.standard_normal(round(seconds * rate))
    band = scipy.signal.butter(2, (low, min(high, 0.45 * rate)), "bandpass", fs=rate, output="sos")
    return scipy.signal.sosfilt(band, white)


def resonate(excitation, rate, frequencies, decay, gains=None):
    """Sum of resonances (two-pole) that ring for `decay` seconds (to 37 %)."""
    ringing = np.zeros_like(excitation)
    for frequency, gain in zip(frequencies, np.ones(len(frequencies)) if gains is None else gains):
        radius, angle = np.exp(-1 / (decay * rate)), 2 * np.pi * frequency / rate
        poles = [1, -2 * radius * np.cos(angle), radius ** 2]
        ringing += scipy.signal.lfilter([gain * (1 - radius)], poles, excitation)
    return ringing


def drift(rng, seconds, rate, points_per_second, low, high):
    """A smooth random curve between two values."""
    knots = rng.uniform(low, high, max(int(seconds * points_per_second), 1) + 3)
    return np.interp(time_axis(seconds, rate) * points_per_second, np.arange(len(knots)), knots)


def harmonics(frequency, rate, amplitudes):
    """Sum of harmonics of a frequency curve."""
    phase = 2 * np.pi * np.cumsum(frequency) / rate
    return sum(amplitude * np.sin(number * phase) for number, amplitude in enumerate(amplitudes, start=1))


def envelope(seconds, rate, attack, decay):
    """Rise for `attack` seconds, then fall exponentially (to 37 % in `decay`), reaching 0 at the end."""
    time = time_axis(seconds, rate)
    fall = np.exp(-np.maximum(time - attack, 0) / decay)
    return np.minimum(time / attack, 1) * fall * np.minimum((seconds - time) / 0.01, 1)


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


def add_room(rng, sound, rate, decay, amount):
    """Add reverberation: an exponentially decaying noise as impulse response."""
    tail = band_noise(rng, 3 * decay, rate, 150, 5000) * np.exp(-time_axis(3 * decay, rate) / decay)
    wet = scipy.signal.fftconvolve(sound, tail)[:len(sound)]
    return sound + amount * wet * np.max(np.abs(sound)) / np.max(np.abs(wet))
