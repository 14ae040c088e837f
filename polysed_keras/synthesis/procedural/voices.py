"""Synthetic voices of people and animals, and clapping hands: babies, crowds, birds, cats, dogs."""
import numpy as np
import scipy.signal

from polysed_keras.synthesis.procedural.building_blocks import (
    add_room,
    band_noise,
    band_pass,
    curve,
    drift,
    envelope,
    glottis,
    harmonics,
    log_uniform,
    place,
    random_onsets,
    resonate,
    scaled,
    swell,
    throat,
    time_axis,
)


def _cry(rng, rate, length, height, hoarse):
    """Make one cry: the pitch rises and falls; an infant's tract of 8 cm resonates near 1.1, 3.3 and 5.5 kHz."""
    arch = (rng.uniform(0.75, 0.9), 1, rng.uniform(0.97, 1.1), rng.uniform(0.9, 1.05), rng.uniform(0.65, 0.85))
    pitch = height * curve(arch, length, rate)
    vibrato = 1 + 0.015 * np.sin(2 * np.pi * rng.uniform(5, 9) * time_axis(length, rate))
    sound = glottis(rng, rate, pitch * vibrato, 0.05 + hoarse, rng.uniform(0.6, 0.9), 0.01 + 0.05 * hoarse)
    # As in "la": the tongue is low, then the mouth closes.
    formants = rng.uniform(0.9, 1.1) * np.array([(900, 1150, 1200, 1150, 900), (2000, 1900, 1900, 1900, 1800),
                                                 (3400, 3500, 3500, 3500, 3300), (5400, 5600, 5600, 5600, 5400)])
    return throat(sound, rate, formants, (1, 0.7, 0.6, 0.2), 0.12) * swell(length, rate, 0.08, rng.uniform(0.1, 0.3))


def baby_crying(rng, rate):
    """Make cries of about a second with short gasps for air, and longer pauses between bouts."""
    seconds, height = rng.uniform(5, 12), log_uniform(rng, 380, 520)
    hoarse, pace = rng.uniform(0, 0.25), rng.uniform(0.6, 1.1)
    cries, start = [], rng.uniform(0.05, 0.4)
    while start < seconds - 0.6:
        for _ in range(rng.integers(3, 8)):
            length = pace * rng.uniform(0.7, 1.3)
            cry = rng.uniform(0.7, 1) * _cry(rng, rate, length, height * rng.uniform(0.93, 1.1), hoarse)
            gasp = rng.uniform(0.12, 0.22)
            breath = 0.04 * scaled(band_noise(rng, gasp, rate, 800, 6000)) * swell(gasp, rate, gasp / 2, gasp / 3)
            cries += [(cry, start), (breath, start + length + 0.06)]
            start += length + gasp + rng.uniform(0.08, 0.2)
        start += rng.uniform(0.2, 1.0)
    return add_room(rng, place(cries, seconds, rate), rate, rng.uniform(0.1, 0.35), rng.uniform(0.02, 0.1))


def _clap(rng, rate):
    """Make one clap: a blow of milliseconds on the air between the palms, deeper if they are cupped, and a hiss."""
    blow = rng.standard_normal(round(0.06 * rate)) * envelope(0.06, rate, 0.0005, rng.uniform(0.01, 0.03))
    hands = rng.uniform(900, 2700)
    body = resonate(blow, rate, hands * np.array((1, 1.9)), rng.uniform(1, 1.2) / hands, (1, 0.5))
    hiss = band_pass(blow, rate, 2500, 10000)
    return scaled(body) + rng.uniform(0.2, 0.35) * scaled(hiss)


def _audience(rng, rate, seconds, people, far):
    """Make the claps of many people, each with their own hands, pace and distance (1 to `far`)."""
    shapes, claps = [_clap(rng, rate) for _ in range(24)], []
    for _ in range(people):
        gap, loudness, shape = 1 / rng.uniform(2.7, 4.9), 1 / log_uniform(rng, 1, far), shapes[rng.integers(24)]
        begin, end = rng.exponential(0.3), seconds - rng.exponential(0.3)
        times = begin + np.cumsum(gap * (1 + 0.08 * rng.standard_normal(int(seconds / gap))))
        times = times[(times < end) & (times > 0)]
        weights = loudness * rng.uniform(0.6, 1, len(times))
        claps += [(weight * shape, time) for weight, time in zip(weights, times)]
    return place(claps, seconds, rate)


def crowd_applause(rng, rate):
    """Make applause: near claps are heard one by one, far ones and the hall's echoes make a wash."""
    seconds, people = rng.uniform(5, 11), int(log_uniform(rng, 45, 90))
    sound = _audience(rng, rate, seconds, people, rng.uniform(2.8, 4.6))
    hall = add_room(rng, sound, rate, rng.uniform(0.5, 1.0), rng.uniform(0.2, 0.35), rng.uniform(2900, 4000), 700)
    return hall * curve((rng.uniform(0.4, 1), 1, 1, 1, rng.uniform(0.4, 0.9)), seconds, rate)


VOWELS = {"a": (800, 1250, 2700, 3800), "e": (550, 1900, 2600, 3800), "o": (500, 850, 2600, 3600),
          "u": (350, 750, 2400, 3500)}


def _shout(rng, rate):
    """Make a shout at the top of a voice's range, on one or two vowels: "woo", "yeah", "hey", "aah"."""
    size = rng.choice((1.0, 1.17, 1.3))  # man, woman, child
    length, height = rng.uniform(0.45, 1.2), size * rng.uniform(440, 880)
    pitch = height * curve((rng.uniform(0.75, 1), 1.05, 1.1, 1, rng.uniform(0.6, 1)), length, rate)
    pitch *= 1 + rng.uniform(0.003, 0.014) * np.sin(2 * np.pi * rng.uniform(4, 8) * time_axis(length, rate))
    sound = glottis(rng, rate, pitch, rng.uniform(0.06, 0.1), rng.uniform(1.3, 1.5), 0.006)
    spoken = [VOWELS[vowel] for vowel in rng.choice(("uu", "ea", "ee", "aa", "ao"))]
    formants = rng.uniform(0.95, 1.14) * size * np.array(spoken).T
    shout = throat(sound, rate, formants, (1, 0.8, 0.5, 0.4), rng.uniform(0.07, 0.1)) * swell(length, rate, 0.07, 0.3)
    return scaled(shout)


def _whistle(rng, rate):
    length = rng.uniform(0.3, 1.0)
    pitch = rng.uniform(1800, 3500) * curve((0.8, 1.1, 1, 0.8), length, rate)
    return harmonics(pitch, rate, (1, 0.05)) * swell(length, rate, 0.05, 0.1)


def crowd_cheering(rng, rate):
    """Make a crowd's shouts, near ones over a roar of far ones, with claps and sometimes a whistle."""
    seconds, half = rng.uniform(5, 11), rate // 2
    voices, number = [_shout(rng, half) for _ in range(14)], int(seconds * rng.uniform(8, 13))
    chosen = rng.integers(len(voices), size=number)
    loudness, onsets = 1 / log_uniform(rng, 1, rng.uniform(4, 5), number), rng.uniform(-0.8, seconds - 0.3, number)
    shouts = (weight * voices[index] for weight, index in zip(loudness, chosen))
    near = place(zip(shouts, onsets.clip(0)), seconds, half)
    roar = throat(rng.standard_normal(len(near)), half, 0.7 * np.array(VOWELS["a"])[:, None], (1, 0.7, 0.4, 0.3), 0.4)
    roar *= drift(rng, seconds, half, rng.uniform(2, 6), 0.5, 1)
    voiced = scaled(near) + rng.uniform(0.2, 0.29) * scaled(roar)
    sound = np.resize(scipy.signal.resample_poly(voiced, 2, 1), round(seconds * rate))
    sound /= sound.std()
    claps = _audience(rng, rate, seconds, rng.integers(10, 26), 6)
    whistles = [0.4 * _whistle(rng, rate) for _ in range(rng.poisson(0.5))]
    sound += rng.uniform(0.1, 0.18) * scaled(claps)
    sound += place(zip(whistles, rng.uniform(0, seconds - 1, len(whistles))), seconds, rate)
    hall = add_room(rng, sound, rate, rng.uniform(0.15, 0.2), rng.uniform(0.02, 0.04), rng.uniform(3500, 5000))
    return hall * curve((rng.uniform(0.6, 1), 1, 1, rng.uniform(0.6, 1)), seconds, rate)


def _syllable(rng, rate, center):
    """Make a note of a bird: the syrinx whistles almost without harmonics, bends the pitch, and may trill."""
    length, bend = rng.uniform(0.04, 0.22), rng.uniform(-0.35, 0.35)
    time = time_axis(length, rate)
    pitch = center * rng.uniform(0.75, 1.35) * np.exp(bend * (2 * time / length - 1))
    pitch *= 1 + rng.uniform(0, 0.1) * (rng.random() < 0.4) * np.sin(2 * np.pi * rng.uniform(25, 60) * time)
    return harmonics(pitch, rate, (1, rng.uniform(0.02, 0.15), 0.03)) * swell(length, rate, 0.3 * length, 0.5 * length)


def bird_singing(rng, rate):
    """Make motifs of whistled syllables: each bird repeats a few, and others answer from afar."""
    seconds, song = rng.uniform(5, 12), []
    for distance in (1.0, 0.25, 0.12)[:rng.integers(1, 4)]:
        center = log_uniform(rng, 2300, 5500)
        motifs = [[_syllable(rng, rate, center) for _ in range(rng.integers(1, 4))] for _ in range(rng.integers(2, 5))]
        gap = rng.uniform(0.02, 0.08)
        for start in random_onsets(rng, seconds, 0.9, 2.4, 0.8):
            for syllable in motifs[rng.integers(len(motifs))] * rng.integers(1, 6):
                song.append((distance * rng.uniform(0.7, 1) * syllable, start))
                start += len(syllable) / rate + gap
    return add_room(rng, place(song, seconds, rate), rate, rng.uniform(0.1, 0.4), rng.uniform(0.03, 0.15), 9000)


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
    meows = [(rng.uniform(0.6, 1) * _meow(rng, rate, size), onset) for onset in onsets]
    return add_room(rng, place(meows, seconds, rate), rate, rng.uniform(0.04, 0.12), rng.uniform(0.03, 0.1), 8000)


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
    barks = []
    for start in random_onsets(rng, seconds, 1.0, 2.8):
        gap = rng.uniform(0.3, 0.5)
        for number in range(rng.integers(1, 6)):
            bark = _bark(rng, rate, size) * rng.uniform(0.7, 1)
            barks.append((bark, start + number * gap * rng.uniform(0.9, 1.1)))
    return add_room(rng, place(barks, seconds, rate), rate, rng.uniform(0.09, 0.18), rng.uniform(0.12, 0.3))
