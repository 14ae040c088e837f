"""Synthetic blows and blasts: footsteps, glass_smash, gun_shot, horsewalk."""
import numpy as np

from polysed_keras.synthesis.procedural.synthesis import (
    add_room,
    band_noise,
    band_pass,
    envelope,
    log_uniform,
    place,
    random_onsets,
    resonate,
    scaled,
    time_axis,
)


def _heel(rng, rate, modes, hardness):
    """Make the knock of a heel: it gives way for 12 ms, so shoe and floor ring for a few milliseconds only."""
    blow = rng.standard_normal(round(0.2 * rate)) * envelope(0.2, rate, 0.012 / hardness, rng.uniform(0.0015, 0.004))
    knock = resonate(blow, rate, modes * rng.uniform(0.95, 1.05, len(modes)), 0.0026)
    thud = band_pass(blow, rate, 40, 200)
    return knock / np.abs(knock).max() + rng.uniform(0.02, 0.1) * thud / np.abs(thud).max()


def _sole(rng, rate, softness):
    sole = band_noise(rng, 0.2, rate, 120, rng.uniform(1500, 2100)) * envelope(0.2, rate, softness, 0.015)
    return sole / np.abs(sole).max()


def footsteps(rng, rate):
    """Make steps in a corridor: a heel knocks, then the sole rolls down; left and right shoe differ."""
    seconds, pace = rng.uniform(5, 12), rng.uniform(0.45, 0.56)
    modes, hardness = log_uniform(rng, 280, 340) * rng.uniform(1, 1.7, 6), rng.uniform(0.95, 1.25)
    weight, roll, softness = rng.uniform(0.08, 0.15), rng.uniform(0.052, 0.066), rng.uniform(0.02, 0.04)
    sounds, onsets = [], []
    for number, start in enumerate(random_onsets(rng, seconds, 0.96 * pace, 1.04 * pace)):
        loudness, side = rng.uniform(0.6, 1), 1 + 0.06 * (number % 2)
        sounds += [loudness * _heel(rng, rate, modes * side, hardness), loudness * weight * _sole(rng, rate, softness)]
        onsets += [start, start + roll * rng.uniform(0.8, 1.2)]
    sound = place(sounds, onsets, seconds, rate)
    walk = add_room(rng, sound, rate, rng.uniform(0.08, 0.11), rng.uniform(0.02, 0.03), rng.uniform(2100, 2800))
    air = band_noise(rng, seconds, rate, 40, 11500)
    return walk / np.abs(walk).max() + rng.uniform(0.003, 0.0065) * scaled(air)


def glass_smash(rng, rate):
    """Make a pane that breaks, then shards that fall and ring: free plates, so their modes are not harmonic."""
    seconds = rng.uniform(2.5, 5)
    sounds, onsets = [], []
    for start in random_onsets(rng, seconds, 1.5, 3, 1.2):
        sounds.append(1.5 * band_noise(rng, 0.15, rate, 1000, 15000) * envelope(0.15, rate, 0.001, 0.02))
        onsets.append(start)
        spread = rng.uniform(0.08, 0.3)
        for _ in range(rng.integers(40, 90)):
            modes, ring = rng.uniform(2500, 13000, 3), rng.uniform(0.01, 0.12)
            partials = np.sin(2 * np.pi * modes[:, None] * time_axis(0.4, rate)).sum(axis=0)
            sounds.append(partials * envelope(0.4, rate, 0.0005, ring) * rng.exponential(0.15))
            onsets.append(start + rng.exponential(spread))
    return add_room(rng, place(sounds, onsets, seconds, rate), rate, rng.uniform(0.05, 0.3), 0.03)


def gun_shot(rng, rate):
    """Make shots or bursts: Friedlander's blast wave, gas from the muzzle, an echo and a tail."""
    seconds, burst = rng.uniform(3, 7), rng.random() < 0.3
    pressure = rng.uniform(0.0003, 0.002)
    tail, echo = rng.uniform(0.15, 0.5), rng.uniform(0.05, 0.25)
    sounds, onsets = [], []
    for start in random_onsets(rng, seconds, 1.5, 3, 1.0):
        time = time_axis(4 * tail, rate)
        blast = (1 - time / pressure) * np.exp(-time / pressure)
        gas = band_noise(rng, 4 * tail, rate, 60, rng.uniform(2500, 7000)) * np.exp(-time / rng.uniform(0.02, 0.06))
        field = band_noise(rng, 4 * tail, rate, 60, rng.uniform(500, 1500)) * np.exp(-time / tail)
        shot = (blast + gas + 0.3 * field) * np.minimum((4 * tail - time) / 0.01, 1)
        for number in range(rng.integers(3, 7) if burst else 1):
            sounds += [shot, 0.15 * shot]
            onsets += [start + 0.09 * number, start + 0.09 * number + echo]
    return place(sounds, onsets, seconds, rate)


def _clop(rng, rate, hoof):
    """Make a hoof's clop: its hollow resonates like half a coconut, with iron and a thud."""
    blow = rng.standard_normal(round(0.15 * rate)) * envelope(0.15, rate, 0.0078, rng.uniform(0.009, 0.017))
    hollow = resonate(blow, rate, hoof * np.array((1, 1.7, 2.6)), rng.uniform(0.6, 1.2) / hoof, (1, 0.2, 0.3))
    iron, thud = band_pass(blow, rate, 2000, 9000), band_pass(blow, rate, 60, 300)
    total = scaled(hollow) + rng.uniform(0.02, 0.18) * scaled(iron)
    return (total + rng.uniform(0.3, 0.6) * scaled(thud)) * envelope(0.15, rate, 0.0005, 0.1)


def horsewalk(rng, rate):
    """Make a horse on a road outdoors: four hooves in turn; the two on a side follow closer the faster it goes."""
    seconds, stride, lag = rng.uniform(5, 12), rng.uniform(0.54, 0.66), rng.uniform(0.11, 0.2)
    hooves, sounds, onsets = log_uniform(rng, 980, 1150) * rng.uniform(0.85, 1.2, 4), [], []
    softest = rng.uniform(0.4, 0.8)
    for start in np.arange(rng.uniform(0.05, 0.3), seconds - 0.6, stride):
        for hoof, delay in zip(hooves, (0, lag, 0.5, 0.5 + lag)):
            onsets.append(start + stride * delay + rng.uniform(0, 0.04))
            sounds.append(_clop(rng, rate, hoof * rng.uniform(0.93, 1.07)) * rng.uniform(softest, 1))
    sound = place(sounds, onsets, seconds, rate)
    road = add_room(rng, sound, rate, rng.uniform(0.16, 0.25), rng.uniform(0.02, 0.06), 2700)
    air = band_noise(rng, seconds, rate, 40, 7000)
    return road / np.abs(road).max() + rng.uniform(0.002, 0.007) * scaled(air)
