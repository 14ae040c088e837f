"""A soundbank made by synthesis, so that the entire chain runs without a download.

Ten labels of TUT-SED Synthetic 2016, each a small physical model with random parameters: a source (glottal pulses, a
blast, a motor, drops) excites resonances under an envelope and is repeated as the real sound is, in the manner of
A. Farnell, "Designing Sound" (MIT Press, 2010). They are for demonstrations, not for results.
"""
import pathlib
import zlib

import numpy as np
import scipy.signal
import soundfile

from polysed_keras.datasets.synthesis import (add_room, band_noise, drift, envelope, harmonics, place, random_onsets,
                                              resonate, time_axis)
from polysed_keras.errors import InputError
from polysed_keras.files import atomic_directory

SAMPLE_RATE = 44100


def write_soundbank(folder, instances=12, seed=0, labels=None):
    """Write a soundbank: a folder per label with `instances` FLAC files of 2 to 14 s (44.1 kHz, mono, 16 bit).

    Instance i of a label depends on the seed, the label and i alone.

    Args:
        folder: the new folder; it appears when all is done.
        instances: recordings a label.
        seed: int, 0 or above.
        labels: names of PROCEDURES; None for all.

    Raises:
        InputError: a label is unknown, a number is out of range, the folder exists or cannot be written.
    """
    labels = tuple(PROCEDURES) if labels is None else tuple(labels)
    unknown = sorted(set(labels) - set(PROCEDURES))
    if unknown or not labels:
        raise InputError(f"labels: expected some of {', '.join(PROCEDURES)}. Received: {', '.join(unknown) or 'none'}.")
    if instances < 1 or seed < 0:
        raise InputError(f"expected at least one instance and a seed of 0 or above. Received: {instances} and {seed}.")
    with atomic_directory(folder) as temporary:
        for label in labels:
            (temporary / label).mkdir()
            for index in range(instances):
                path = temporary / label / f"{label}-{index:02d}.flac"
                soundfile.write(path, make_instance(label, index, seed), SAMPLE_RATE, "PCM_16")
    return pathlib.Path(folder)


def make_instance(label, index, seed=0, sample_rate=SAMPLE_RATE):
    """One recording of a label: float32 (samples,), its peak between 0.3 and 0.9."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, zlib.crc32(label.encode()), index)))
    waveform = PROCEDURES[label](rng, sample_rate)
    return (waveform * (rng.uniform(0.3, 0.9) / np.max(np.abs(waveform)))).astype(np.float32)


# One procedure a label: (rng, sample_rate) -> waveform.

def _alarms_and_sirens(rng, rate):
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


def _bird_singing(rng, rate):
    seconds, center = rng.uniform(5, 12), rng.uniform(2500, 5500)
    motifs = []
    for _ in range(rng.integers(2, 5)):  # a bird has a few motifs and repeats each
        length, bend, trill = rng.uniform(0.05, 0.25), rng.uniform(-1500, 1500), rng.uniform(0, 600)
        time = time_axis(length, rate)
        curve = center * rng.uniform(0.8, 1.25) + bend * (time / length - 0.5)
        curve += trill * np.sin(2 * np.pi * rng.uniform(15, 60) * time)
        motifs.append(harmonics(curve, rate, (1, 0.15, 0.05)) * np.hanning(len(time)) * rng.uniform(0.5, 1))
    sounds, onsets = [], []
    for start in random_onsets(rng, seconds, 0.8, 2.2, 0.8):
        motif, repeats = motifs[rng.integers(len(motifs))], rng.integers(2, 9)
        sounds += [motif] * repeats
        onsets += list(start + np.arange(repeats) * (len(motif) / rate + rng.uniform(0.02, 0.08)))
    return add_room(rng, place(sounds, onsets, seconds, rate), rate, rng.uniform(0.1, 0.4), 0.05)


def _dog_barking(rng, rate):
    seconds, size = rng.uniform(4, 9), rng.uniform(0.7, 1.6)  # small size: a large dog
    sounds, onsets = [], []
    for start in random_onsets(rng, seconds, 1.0, 2.5):
        for number in range(rng.integers(1, 5)):
            length = rng.uniform(0.14, 0.3)
            shape = np.sin(np.pi * time_axis(length, rate) / length) ** 0.7
            pitch = size * rng.uniform(220, 320) * (1 + rng.uniform(0.5, 1.0) * shape)
            glottis = harmonics(pitch, rate, 1 / np.arange(1, 16))
            breath = rng.uniform(0.1, 0.5) * rng.standard_normal(len(shape))
            throat = resonate(glottis + breath, rate, size * np.array((550, 1150, 2400)), 0.003, (1, 0.8, 0.4))
            sounds.append(throat * envelope(length, rate, 0.015, length / 2) * rng.uniform(0.7, 1))
            onsets.append(start + number * rng.uniform(0.35, 0.5))
    return add_room(rng, place(sounds, onsets, seconds, rate), rate, rng.uniform(0.08, 0.3), rng.uniform(0.02, 0.1))


def _footsteps(rng, rate):
    seconds, pace = rng.uniform(5, 12), rng.uniform(0.38, 0.65)
    ground = rng.integers(3)  # wood, stone, gravel
    low, high, ringing = ((60, 900, 0.02), (500, 4000, 0.004), (1500, 9000, 0.002))[ground]
    modes = np.exp(rng.uniform(np.log(low), np.log(high), 6))
    sounds, onsets = [], []
    for number, start in enumerate(random_onsets(rng, seconds, 0.95 * pace, 1.05 * pace)):
        for delay, weight in ((0, 1.0), (rng.uniform(0.06, 0.12), rng.uniform(0.3, 0.7))):  # heel, then toe
            contact = (0.012, 0.008, 0.09)[ground] * rng.uniform(0.7, 1.4)
            blow = rng.standard_normal(round(0.25 * rate)) * np.exp(-time_axis(0.25, rate) / contact)
            if ground == 2:  # grains that slide
                blow *= rng.random(len(blow)) < 0.02
            side = 1 + 0.2 * (number % 2)  # the left shoe is not the right one
            sounds.append(weight * resonate(blow, rate, modes * side, ringing) * envelope(0.25, rate, 0.001, 0.2))
            onsets.append(start + delay)
    return add_room(rng, place(sounds, onsets, seconds, rate), rate, rng.uniform(0.05, 0.3), rng.uniform(0.01, 0.08))


def _glass_smash(rng, rate):
    seconds = rng.uniform(2.5, 5)
    sounds, onsets = [], []
    for start in random_onsets(rng, seconds, 1.5, 3, 1.2):
        sounds.append(1.5 * band_noise(rng, 0.15, rate, 1000, 15000) * envelope(0.15, rate, 0.001, 0.02))
        onsets.append(start)
        spread = rng.uniform(0.08, 0.3)
        for _ in range(rng.integers(40, 90)):  # shards: free plates, so their modes are not harmonic
            modes, ring = rng.uniform(2500, 13000, 3), rng.uniform(0.01, 0.12)
            partials = np.sin(2 * np.pi * modes[:, None] * time_axis(0.4, rate)).sum(axis=0)
            sounds.append(partials * envelope(0.4, rate, 0.0005, ring) * rng.exponential(0.15))
            onsets.append(start + rng.exponential(spread))
    return add_room(rng, place(sounds, onsets, seconds, rate), rate, rng.uniform(0.05, 0.3), 0.03)


def _gun_shot(rng, rate):
    seconds, burst = rng.uniform(3, 7), rng.random() < 0.3
    pressure = rng.uniform(0.0003, 0.002)
    tail, echo = rng.uniform(0.15, 0.5), rng.uniform(0.05, 0.25)
    sounds, onsets = [], []
    for start in random_onsets(rng, seconds, 1.5, 3, 1.0):
        time = time_axis(4 * tail, rate)
        blast = (1 - time / pressure) * np.exp(-time / pressure)  # Friedlander's wave
        gas = band_noise(rng, 4 * tail, rate, 60, rng.uniform(2500, 7000)) * np.exp(-time / rng.uniform(0.02, 0.06))
        field = band_noise(rng, 4 * tail, rate, 60, rng.uniform(500, 1500)) * np.exp(-time / tail)
        shot = (blast + gas + 0.3 * field) * np.minimum((4 * tail - time) / 0.01, 1)
        for number in range(rng.integers(3, 7) if burst else 1):
            sounds += [shot, 0.15 * shot]
            onsets += [start + 0.09 * number, start + 0.09 * number + echo]
    return place(sounds, onsets, seconds, rate)


def _rain(rng, rate):
    seconds = rng.uniform(8, 14)
    samples = round(seconds * rate)
    wash = band_noise(rng, seconds, rate, rng.uniform(400, 1500), rng.uniform(7000, 15000))
    drops = rng.exponential(1, samples) * (rng.random(samples) < rng.uniform(30, 250) / rate)
    splashes = resonate(drops, rate, rng.uniform(1200, 7000, 5), rng.uniform(0.001, 0.003))
    splashes *= rng.uniform(0.3, 1.2) * wash.std() / splashes.std()
    return (wash + splashes) * drift(rng, seconds, rate, 0.7, 0.6, 1.0)


def _thunder(rng, rate):
    seconds = rng.uniform(5, 12)
    time, strike = time_axis(seconds, rate), rng.uniform(0.05, 0.8)
    claps = np.zeros(len(time))
    for _ in range(rng.integers(4, 12)):  # parts of the channel at growing distance: each later and duller
        since = time - strike - rng.exponential(0.8)
        claps += rng.uniform(0.2, 1) * np.clip(since / 0.03, 0, 1) * np.exp(-since.clip(0) / rng.uniform(0.2, 0.9))
    crack = band_noise(rng, seconds, rate, 300, 5000) * (time > strike) * np.exp(-(time - strike).clip(0) / 0.1)
    rumble = band_noise(rng, seconds, rate, 25, rng.uniform(90, 250)) * claps * drift(rng, seconds, rate, 6, 0.4, 1.0)
    fade = np.minimum((seconds - time) / 1.0, 1)
    return fade * (rumble / rumble.std() + rng.uniform(0.0, 1.0) * crack / crack.std())


def _mixer(rng, rate):
    seconds, speed = rng.uniform(6, 14), rng.uniform(90, 200)
    time = time_axis(seconds, rate)
    run_up = (1 - np.exp(-time / rng.uniform(0.1, 0.4))) * np.minimum((seconds - time) / 0.4, 1) ** 0.5
    turns = speed * run_up * drift(rng, seconds, rate, 2, 0.93, 1.03)
    hum = harmonics(turns, rate, rng.uniform(0.2, 1, 8) / np.arange(1, 9))
    blades = rng.integers(11, 24)  # commutator bars or gear teeth: the whine
    whine = harmonics(blades * turns, rate, rng.uniform(0.2, 0.8, 3))
    whirl = band_noise(rng, seconds, rate, 1500, 9000) * (1 + 0.5 * np.sin(2 * np.pi * np.cumsum(turns / 8) / rate))
    return run_up * (hum + rng.uniform(0.3, 0.8) * whine + rng.uniform(0.2, 0.7) * whirl / whirl.std())


def _motorcycle(rng, rate):
    seconds = rng.uniform(6, 14)
    throttle = np.maximum(drift(rng, seconds, rate, rng.uniform(0.4, 1.2), -0.5, 1), 0)
    firing = rng.uniform(22, 40) * (1 + rng.uniform(1, 3) * throttle)
    firing *= drift(rng, seconds, rate, 25, 0.96, 1.04)  # no two cycles are alike
    cycle = np.cumsum(firing) / rate % 1
    pulses = np.exp(-cycle * rng.uniform(8, 14)) * (1 + 0.15 * rng.standard_normal(len(cycle)))
    pipe = rng.uniform((80, 180, 380, 800), (150, 350, 700, 1600))
    exhaust = resonate(pulses - pulses.mean(), rate, pipe, 0.006, (1, 1, 0.7, 0.5))
    rattle = band_noise(rng, seconds, rate, 800, 5000) * pulses
    return (exhaust / exhaust.std() + rng.uniform(0.1, 0.4) * rattle / rattle.std()) * (0.4 + 0.6 * throttle)


PROCEDURES = {"alarms_and_sirens": _alarms_and_sirens, "bird_singing": _bird_singing, "dog_barking": _dog_barking,
              "footsteps": _footsteps, "glass_smash": _glass_smash, "gun_shot": _gun_shot, "mixer": _mixer,
              "motorcycle": _motorcycle, "rain": _rain, "thunder": _thunder}
