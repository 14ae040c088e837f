"""Synthetic weather: rain, thunder."""
import numpy as np
import scipy.signal

from polysed_keras.synthesis.procedural.synthesis import band_noise, drift, log_uniform, resonate, scaled, time_axis


def _impulses(rng, samples, per_sample, peakiness=1.0):
    """Draw drops of random sizes at random times."""
    return rng.exponential(1, samples) ** peakiness * (rng.random(samples) < per_sample)


def rain(rng, rate):
    """Make drops at three distances: a wash, a patter of splashes of milliseconds, and single drops that ring."""
    seconds, low, high = rng.uniform(8, 14), log_uniform(rng, 600, 1100), rng.uniform(9000, 13000)
    samples = round(seconds * rate)
    wash = scaled(band_noise(rng, seconds, rate, low, high))
    hits = _impulses(rng, samples, log_uniform(rng, 500, 1500) / rate)
    splash = np.sqrt(scipy.signal.lfilter([1], [1, -np.exp(-1 / (rng.uniform(0.003, 0.005) * rate))], hits))
    patter = scaled(band_noise(rng, seconds, rate, low, high) * splash)
    near = _impulses(rng, samples, log_uniform(rng, 40, 500) / rate, rng.uniform(1, 2)) * rng.choice((-1, 1), samples)
    drops = scaled(resonate(near, rate, rng.uniform(2000, 6500, 6), rng.uniform(0.0005, 0.001)))
    gutter = scaled(band_noise(rng, seconds, rate, 60, rng.uniform(250, 900)))
    sound = wash + rng.uniform(1.5, 3) * patter + rng.uniform(0.4, 0.9) * drops + rng.uniform(0.05, 0.15) * gutter
    return sound * drift(rng, seconds, rate, 0.7, 0.65, 1.0)


def thunder(rng, rate):
    """Make the claps of a lightning channel: farther parts are later and duller; near ones begin with a crack."""
    seconds = rng.uniform(6, 13)
    time, strike = time_axis(seconds, rate), rng.uniform(0.05, 0.6)
    claps, bright, spread = np.zeros(len(time)), np.zeros(len(time)), rng.uniform(0.5, 1.3)
    for _ in range(rng.integers(14, 28)):
        delay, decay = rng.exponential(spread), rng.uniform(0.9, 2.5)
        since = time - strike - delay
        clap = rng.uniform(0.2, 1) * np.clip(since / rng.uniform(0.05, 0.2), 0, 1) * np.exp(-since.clip(0) / decay)
        claps += clap
        bright += clap * np.exp(-delay / rng.uniform(0.2, 0.9))  # air absorbs high frequencies over distance
    claps *= drift(rng, seconds, rate, rng.uniform(4.5, 6.5), 0.12, 1)
    edge = rng.uniform(180, 290)
    rumble = scaled(band_noise(rng, seconds, rate, rng.uniform(30, 60), edge) * claps)
    crackle = scaled(band_noise(rng, seconds, rate, edge, 3800) * bright * drift(rng, seconds, rate, 30, 0.2, 1))
    crack = band_noise(rng, seconds, rate, 500, 6000) * (time > strike)
    crack = scaled(crack * np.exp(-(time - strike).clip(0) / rng.uniform(0.04, 0.15)))
    sound = rumble + rng.uniform(0.04, 0.12) * crackle + log_uniform(rng, 0.005, 0.2) * crack
    return sound * np.minimum((seconds - time) / 1.5, 1)
