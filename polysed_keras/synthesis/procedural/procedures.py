"""A soundbank made by synthesis, so that the entire chain runs without a download.

Each of the 16 labels of TUT-SED Synthetic 2016 is a small physical model with random parameters: a source (glottal
pulses, a blast, a motor, drops) excites resonances under an envelope and is repeated as the real sound is, after
A. Farnell, "Designing Sound" (MIT Press, 2010). `benchmarks/procedural_labels.py` has a tagger judge them.
"""
import pathlib
import zlib

import numpy as np

from polysed_keras.audio import write_audio
from polysed_keras.errors import InputError
from polysed_keras.files import atomic_directory
from polysed_keras.synthesis.procedural import impacts, machines, voices

PROCEDURAL_SAMPLE_RATE = 44100
# One procedure per label: (rng, sample_rate) -> waveform, float64 (samples,).
PROCEDURES = {
    "alarms_and_sirens": machines.alarms_and_sirens, "baby_crying": voices.baby_crying,
    "bird_singing": voices.bird_singing, "bus": machines.bus, "cat_meowing": voices.cat_meowing,
    "crowd_applause": voices.crowd_applause, "crowd_cheering": voices.crowd_cheering,
    "dog_barking": voices.dog_barking, "footsteps": impacts.footsteps, "glass_smash": impacts.glass_smash,
    "gun_shot": impacts.gun_shot, "horsewalk": impacts.horsewalk, "mixer": machines.mixer,
    "motorcycle": machines.motorcycle, "rain": impacts.rain, "thunder": impacts.thunder,
}


def write_soundbank(folder, instances=12, seed=0, labels=None):
    """Write a soundbank: a folder per label with `instances` FLAC files of 2 to 14 s (44.1 kHz, mono, 16 bit).

    Instance i of a label depends on the seed, the label and i alone.

    Args:
        folder: the new folder; it appears when all is done.
        instances: int, recordings per label.
        seed: int, 0 or above.
        labels: names of PROCEDURES; None for all.

    Returns:
        pathlib.Path of the folder.

    Raises:
        InputError: a label is unknown, a number is out of range, the folder exists or cannot be written.

    Example:
        >>> write_soundbank("soundbank", instances=3, labels=["rain", "dog_barking"])
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
                write_audio(path, make_instance(label, index, seed), PROCEDURAL_SAMPLE_RATE, "PCM_16")
    return pathlib.Path(folder)


def make_instance(label, index, seed=0, sample_rate=PROCEDURAL_SAMPLE_RATE):
    """Make a recording of a label.

    Args:
        label: a name of PROCEDURES.
        index: int, which recording.
        seed: int, 0 or above.
        sample_rate: Hz.

    Returns:
        float32 (samples,), with a peak between 0.3 and 0.9.
    """
    rng = np.random.default_rng((seed, zlib.crc32(label.encode()), index))
    waveform = PROCEDURES[label](rng, sample_rate)
    return (waveform * (rng.uniform(0.3, 0.9) / np.max(np.abs(waveform)))).astype(np.float32)
