"""Synthetic voices of animals: bird_singing, cat_meowing, dog_barking."""
import numpy as np

from polysed_keras.synthesis.procedural.synthesis import (
    add_room,
    curve,
    envelope,
    glottis,
    harmonics,
    log_uniform,
    place,
    random_onsets,
    swell,
    throat,
    time_axis,
)


def _syllable(rng, rate, center):
    """Make a note of a bird: the syrinx whistles almost without harmonics, bends the pitch, and may trill."""
    length, bend = rng.uniform(0.04, 0.22), rng.uniform(-0.35, 0.35)
    time = time_axis(length, rate)
    pitch = center * rng.uniform(0.75, 1.35) * np.exp(bend * (2 * time / length - 1))
    pitch *= 1 + rng.uniform(0, 0.1) * (rng.random() < 0.4) * np.sin(2 * np.pi * rng.uniform(25, 60) * time)
    return harmonics(pitch, rate, (1, rng.uniform(0.02, 0.15), 0.03)) * swell(length, rate, 0.3 * length, 0.5 * length)


def bird_singing(rng, rate):
    """Make motifs of whistled syllables: each bird repeats a few, and others answer from afar."""
    seconds, sounds, onsets = rng.uniform(5, 12), [], []
    for distance in (1.0, 0.25, 0.12)[:rng.integers(1, 4)]:
        center = log_uniform(rng, 2300, 5500)
        motifs = [[_syllable(rng, rate, center) for _ in range(rng.integers(1, 4))] for _ in range(rng.integers(2, 5))]
        gap = rng.uniform(0.02, 0.08)
        for start in random_onsets(rng, seconds, 0.9, 2.4, 0.8):
            for syllable in motifs[rng.integers(len(motifs))] * rng.integers(1, 6):
                sounds.append(distance * rng.uniform(0.7, 1) * syllable)
                onsets.append(start)
                start += len(syllable) / rate + gap
    sound = place(sounds, onsets, seconds, rate)
    return add_room(rng, sound, rate, rng.uniform(0.1, 0.4), rng.uniform(0.03, 0.15), 9000)


def _meow(rng, rate, size):
    """Make a meow: the mouth opens and closes (m, i, a, u); the vocal tract has 6 cm, a third of a man's."""
    length, height, peak = rng.uniform(0.6, 1), size * rng.uniform(480, 600), rng.uniform(1.2, 1.43)
    pitch = height * curve((0.9, peak * 0.95, peak, 0.97 * peak, 0.9 * peak, rng.uniform(0.65, 0.9)), length, rate)
    sound = glottis(rng, rate, pitch, rng.uniform(0.35, 0.5), rng.uniform(0.32, 0.5), rng.uniform(0.01, 0.035))
    opening = size ** 0.3 * rng.uniform(1.32, 1.42)
    formants = opening * np.array([(500, 900, 1500, 1500, 1200, 900, 650), (2900, 3100, 2600, 2200, 1900, 1600, 1400),
                                   (4000, 4400, 4400, 4200, 4000, 3700, 3500)])
    mouth = curve((0.1, 0.4, 1, 1, 0.7, 0.4, 0.15), length, rate) * swell(length, rate, 0.06, 0.25)
    return throat(sound, rate, formants, (1, rng.uniform(0.9, 2), 0.11), rng.uniform(0.06, 0.077)) * mouth


def cat_meowing(rng, rate):
    """Make meows of one cat, seconds apart."""
    seconds, size = rng.uniform(4, 9), rng.uniform(0.9, 1.2)
    onsets = random_onsets(rng, seconds, 1.2, 2.0, 1.0)
    sound = place([rng.uniform(0.6, 1) * _meow(rng, rate, size) for _ in onsets], onsets, seconds, rate)
    return add_room(rng, sound, rate, rng.uniform(0.04, 0.12), rng.uniform(0.03, 0.1), 8000)


def _bark(rng, rate, size):
    """Make a bark: a hoarse burst as the mouth opens and closes, rising in 40 ms and over in 0.1 to 0.2 s."""
    length = rng.uniform(0.24, 0.36)
    since = time_axis(length, rate) - 0.04
    pitch = size * rng.uniform(480, 620) * (1 + rng.uniform(0.3, 0.5) * np.exp(-np.abs(since) / rng.uniform(0.08, 0.2)))
    sound = glottis(rng, rate, pitch, rng.uniform(0.6, 0.9), rng.uniform(0.45, 0.65), rng.uniform(0.03, 0.1))
    formants = 0.8 * size * np.array([(700, 950, 800, 600, 500), (1300, 1700, 1500, 1200, 1100),
                                      (2600, 2900, 2700, 2500, 2500)])
    mouth = throat(sound, rate, formants, (rng.uniform(0.2, 0.6), 1, rng.uniform(0.4, 0.7)), rng.uniform(0.08, 0.11))
    return mouth * envelope(length, rate, 0.04, length / rng.uniform(5.5, 10))


def dog_barking(rng, rate):
    """Make bouts of one to five barks of one dog; a larger dog has a smaller `size`, hence a lower pitch."""
    seconds, size = rng.uniform(4, 9), log_uniform(rng, 0.75, 1.25)
    sounds, onsets = [], []
    for start in random_onsets(rng, seconds, 1.0, 2.8):
        gap = rng.uniform(0.3, 0.5)
        for number in range(rng.integers(1, 6)):
            sounds.append(_bark(rng, rate, size) * rng.uniform(0.7, 1))
            onsets.append(start + number * gap * rng.uniform(0.9, 1.1))
    return add_room(rng, place(sounds, onsets, seconds, rate), rate, rng.uniform(0.09, 0.18), rng.uniform(0.12, 0.3))
