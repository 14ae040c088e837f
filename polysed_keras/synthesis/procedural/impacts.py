"""Synthetic blows, blasts and drops: footsteps, glass_smash, gun_shot, horsewalk, rain, thunder."""
import numpy as np
import scipy.signal

from polysed_keras.synthesis.procedural.building_blocks import (
    add_room,
    band_noise,
    band_pass,
    drift,
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
    steps = []
    for number, start in enumerate(random_onsets(rng, seconds, 0.96 * pace, 1.04 * pace)):
        loudness, side = rng.uniform(0.6, 1), 1 + 0.06 * (number % 2)
        steps.append((loudness * _heel(rng, rate, modes * side, hardness), start))
        steps.append((loudness * weight * _sole(rng, rate, softness), start + roll * rng.uniform(0.8, 1.2)))
    sound = place(steps, seconds, rate)
    walk = add_room(rng, sound, rate, rng.uniform(0.08, 0.11), rng.uniform(0.02, 0.03), rng.uniform(2100, 2800))
    air = band_noise(rng, seconds, rate, 40, 11500)
    return walk / np.abs(walk).max() + rng.uniform(0.003, 0.0065) * scaled(air)


def glass_smash(rng, rate):
    """Make a pane that breaks, then shards that fall and ring: free plates, so their modes are not harmonic."""
    seconds, pieces = rng.uniform(2.5, 5), []
    for start in random_onsets(rng, seconds, 1.5, 3, 1.2):
        pieces.append((1.5 * band_noise(rng, 0.15, rate, 1000, 15000) * envelope(0.15, rate, 0.001, 0.02), start))
        spread = rng.uniform(0.08, 0.3)
        for _ in range(rng.integers(40, 90)):
            modes, ring = rng.uniform(2500, 13000, 3), rng.uniform(0.01, 0.12)
            partials = np.sin(2 * np.pi * modes[:, None] * time_axis(0.4, rate)).sum(axis=0)
            shard = partials * envelope(0.4, rate, 0.0005, ring) * rng.exponential(0.15)
            pieces.append((shard, start + rng.exponential(spread)))
    return add_room(rng, place(pieces, seconds, rate), rate, rng.uniform(0.05, 0.3), 0.03)


def gun_shot(rng, rate):
    """Make shots or bursts: Friedlander's blast wave, gas from the muzzle, an echo and a tail."""
    seconds, burst = rng.uniform(3, 7), rng.random() < 0.3
    pressure = rng.uniform(0.0003, 0.002)
    tail, echo, shots = rng.uniform(0.15, 0.5), rng.uniform(0.05, 0.25), []
    for start in random_onsets(rng, seconds, 1.5, 3, 1.0):
        time = time_axis(4 * tail, rate)
        blast = (1 - time / pressure) * np.exp(-time / pressure)
        gas = band_noise(rng, 4 * tail, rate, 60, rng.uniform(2500, 7000)) * np.exp(-time / rng.uniform(0.02, 0.06))
        field = band_noise(rng, 4 * tail, rate, 60, rng.uniform(500, 1500)) * np.exp(-time / tail)
        shot = (blast + gas + 0.3 * field) * np.minimum((4 * tail - time) / 0.01, 1)
        for number in range(rng.integers(3, 7) if burst else 1):
            shots += [(shot, start + 0.09 * number), (0.15 * shot, start + 0.09 * number + echo)]
    return place(shots, seconds, rate)


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
    hooves, clops = log_uniform(rng, 980, 1150) * rng.uniform(0.85, 1.2, 4), []
    softest = rng.uniform(0.4, 0.8)
    for start in np.arange(rng.uniform(0.05, 0.3), seconds - 0.6, stride):
        for hoof, delay in zip(hooves, (0, lag, 0.5, 0.5 + lag)):
            onset = start + stride * delay + rng.uniform(0, 0.04)
            clops.append((_clop(rng, rate, hoof * rng.uniform(0.93, 1.07)) * rng.uniform(softest, 1), onset))
    road = add_room(rng, place(clops, seconds, rate), rate, rng.uniform(0.16, 0.25), rng.uniform(0.02, 0.06), 2700)
    air = band_noise(rng, seconds, rate, 40, 7000)
    return road / np.abs(road).max() + rng.uniform(0.002, 0.007) * scaled(air)


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
