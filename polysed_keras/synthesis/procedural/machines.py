"""Synthetic machines: alarms_and_sirens, bus, mixer, motorcycle."""
import numpy as np
import scipy.signal

from polysed_keras.synthesis.procedural.building_blocks import (
    add_room,
    band_noise,
    band_pass,
    curve,
    drift,
    envelope,
    harmonics,
    log_uniform,
    place,
    resonate,
    scaled,
    strokes,
    time_axis,
)


def alarms_and_sirens(rng, rate):
    """Make two tones, a wail, a yelp or a beeper, through an overdriven horn."""
    seconds, low = rng.uniform(5, 14), rng.uniform(450, 900)
    time, high = time_axis(seconds, rate), low * rng.uniform(1.4, 2.2)
    kind = rng.choice(["two tones", "wail", "yelp", "beeper"])
    beat = rng.uniform(*{"two tones": (0.6, 1.3), "wail": (0.15, 0.4), "yelp": (2.5, 5), "beeper": (1.2, 5)}[kind])
    if kind == "beeper":
        tone, cycle = np.full(len(time), rng.uniform(1500, 3500)), time * beat % 1
        gate = np.clip(30 * np.minimum(cycle, rng.uniform(0.4, 0.6) - cycle), 0, 1)
        sound = harmonics(tone, rate, (1, 0.2, 0.2)) * gate
    else:
        angle = 2 * np.pi * beat * time
        sweep = scipy.signal.square(angle) if kind == "two tones" else scipy.signal.sawtooth(angle, 0.5)
        sound = harmonics(low + (high - low) * (sweep + 1) / 2, rate, (1, 0.5, 0.6, 0.3, 0.2, 0.1))
    return add_room(rng, np.tanh(rng.uniform(1, 3) * sound), rate, rng.uniform(0.1, 0.5), rng.uniform(0.05, 0.3))


def _engine(rng, rate, firing, cylinders, pipe, ringing, tilt, sharpness, turbulence):
    """Make firing pulses of unequal cylinders through the resonances of a pipe whose gains follow a power."""
    weights = 1 + rng.uniform(0.1, 0.3) * rng.uniform(-1, 1, cylinders)
    pulses = strokes(rng, rate, firing, weights, rng.uniform(0.05, 0.2), sharpness)
    pulses += turbulence * rng.standard_normal(len(pulses)) * pulses ** 2
    ratios = np.array((1, 2.1, 4, 7.5, 13))
    modes = pipe * ratios * rng.uniform(0.85, 1.15, 5)
    return scaled(resonate(pulses - pulses.mean(), rate, modes, ringing, ratios ** tilt))


def _gears(rng, seconds, rate):
    """Draw an engine's speed, from idling (0) to its highest (1): it idles, or pulls through the gears, or both."""
    knots = [0.0] * rng.integers(2, 30)
    for _ in range(rng.integers(0, 4)):
        top = rng.uniform(0.6, 1)
        knots += list(np.linspace(rng.uniform(0.2, 0.4), top, rng.integers(10, 25))) + [0.6 * top, 0.4 * top]
    return curve(knots, seconds, rate)


def bus(rng, rate):
    """Make a six-cylinder Diesel engine: slow firing pulses, their knock on the block, gears, tyres, air brakes."""
    seconds = rng.uniform(7, 14)
    speed = _gears(rng, seconds, rate)
    firing = rng.uniform(21, 27) * (1 + rng.uniform(0.3, 0.8) * speed) * drift(rng, seconds, rate, 20, 0.995, 1.005)
    exhaust = _engine(rng, rate, firing, 6, rng.uniform(59, 66), rng.uniform(0.0055, 0.009), rng.uniform(-0.8, -0.2),
                      rng.uniform(6, 11), rng.uniform(0.02, 0.08))
    strike = strokes(rng, rate, firing, rng.uniform(0.6, 1.4, 6), 0.15, 5)
    knock = band_noise(rng, seconds, rate, rng.uniform(500, 580), rng.uniform(2900, 3200)) * (0.38 + 0.62 * strike)
    block = resonate(knock, rate, rng.uniform(390, 430) * np.array((1, 1.6, 2.4)), 0.004)
    knock = scaled(scaled(knock) + rng.uniform(0.75, 1.2) * scaled(block))
    road = scaled(band_pass(np.cumsum(rng.standard_normal(len(speed))), rate, 40, 3000)) * (0.8 + 0.2 * speed)
    sound = exhaust + rng.uniform(1.1, 1.5) * knock + rng.uniform(0.42, 0.6) * road
    sound = np.tanh(rng.uniform(0.7, 1) * sound) * (0.8 + 0.2 * speed)
    hiss = scaled(band_noise(rng, 0.9, rate, 1500, 9000) * envelope(0.9, rate, 0.02, rng.uniform(0.1, 0.25)))
    brake = place([(hiss, rng.uniform(0, seconds - 1))], seconds, rate)
    return sound + rng.uniform(0, 0.2) * (rng.random() < 0.5) * brake


def mixer(rng, rate):
    """Make a kitchen mixer: a motor runs up, its shaft buzzes, its gear whines, food whirls, the bowl resonates."""
    seconds, speed = rng.uniform(6, 14), log_uniform(rng, 110, 240)
    time = time_axis(seconds, rate)
    run_up = (1 - np.exp(-time / rng.uniform(0.1, 0.4))) * np.minimum((seconds - time) / 0.4, 1) ** 0.5
    unrest = rng.uniform(0.006, 0.03)
    turns = speed * run_up * drift(rng, seconds, rate, rng.uniform(0.5, 4), 1 - unrest, 1 + unrest) + 1
    buzz = harmonics(turns, rate, rng.uniform(0.3, 1, 40) / np.arange(1, 41) ** rng.uniform(0.2, 0.5))
    teeth = rng.integers(6, 16)
    whine = harmonics(teeth * turns, rate, rng.uniform(0.3, 1, 4) / np.arange(1, 5))
    whirl = band_noise(rng, seconds, rate, rng.uniform(280, 400), rng.uniform(3600, 5200))
    whirl *= 1 + rng.uniform(0.1, 0.45) * np.sin(2 * np.pi * np.cumsum(turns) * rng.uniform(0.05, 0.1) / rate)
    whirl *= drift(rng, seconds, rate, rng.uniform(2, 15), rng.uniform(0.6, 0.85), 1)
    sound = scaled(buzz) + rng.uniform(0.05, 0.15) * scaled(whine) + rng.uniform(1.4, 2.6) * scaled(whirl)
    bowl = resonate(sound, rate, rng.uniform(390, 450) * np.array((1, 2.3, 4.1)), 0.003)
    return run_up * (sound + rng.uniform(1.6, 2) * scaled(bowl))


def motorcycle(rng, rate):
    """Make one to four cylinders that fire unevenly into a short pipe, with a rider who plays with the throttle."""
    seconds = rng.uniform(6, 14)
    throttle = np.maximum(drift(rng, seconds, rate, rng.uniform(0.3, 0.6), -0.5, 1), 0)
    firing = rng.uniform(15, 27) * (1 + rng.uniform(1.5, 2.8) * throttle)
    firing *= drift(rng, seconds, rate, 20, 0.975, 1.025)  # no two cycles are alike
    exhaust = _engine(rng, rate, firing, rng.integers(1, 5), rng.uniform(230, 290), rng.uniform(0.0028, 0.0045),
                      rng.uniform(-1.45, -1.1), rng.uniform(2, 3), rng.uniform(0.1, 0.35))
    intake = band_noise(rng, seconds, rate, rng.uniform(120, 300), 1600)
    intake = scaled(intake * (0.5 + 0.5 * strokes(rng, rate, firing, np.ones(1), 0.1, 5)))
    sound = np.tanh(rng.uniform(0.3, 0.65) * (exhaust + rng.uniform(0.05, 0.15) * intake))
    return sound * (1 - rng.uniform(0.1, 0.4) * (1 - throttle))
