"""Recordings that come with the package, for mixtures of one's own sounds: backgrounds, and sounds of other classes.

negative_recordings/background and negative_recordings/other hold a folder of recordings per class, at 16 kHz (its
README.md says whose they are), and scores.npz what YAMNet makes of each.
"""
import collections
import pathlib

import numpy as np

from polysed_keras.audio import load_audio
from polysed_keras.specs import YAMNET_FEATURES

NEGATIVES = pathlib.Path(__file__).parent / "negative_recordings"
ROLES = {"background": "background", "other": "distractors"}  # folder: role in a mixture
SCORES = "scores.npz"
NEIGHBOURS = 5  # recordings of the package that a recording is compared with
SAME_SHARE = 0.12  # share of a label's neighbours from which a class may be the label itself


def shipped_negatives(soundbank):
    """Choose the recordings of the package that do not sound like a soundbank's labels.

    A class is left out if it may hold a label's sound, because it would teach a detector to keep silent there: if it
    has the label's name, or if at least an eighth of the nearest neighbours of the label's recordings, by YAMNet's
    class scores, are of that class.

    Args:
        soundbank: Soundbank.

    Returns:
        {"background": list of folders, "distractors": list of folders}, for SoundscapeSpec.with_folders, and the sorted
        names of the classes that are left out.
    """
    left_out = {label.casefold().replace(" ", "_") for label in soundbank.labels}
    with np.load(NEGATIVES / SCORES) as stored:
        classes, known = stored["classes"], stored["scores"].astype(np.float32)
    recordings = collections.defaultdict(list)
    for instance in soundbank.instances:
        recordings[instance.event_label].append(mean_scores(instance.path))
    for scores in recordings.values():
        nearest = np.argsort(-_unit(np.stack(scores)) @ _unit(known).T, axis=1)[:, :NEIGHBOURS]
        names, numbers = np.unique(classes[nearest], return_counts=True)
        left_out |= set(names[numbers >= SAME_SHARE * nearest.size].tolist())
    folders = {role: [folder for folder in sorted((NEGATIVES / part).iterdir()) if folder.name not in left_out]
               for part, role in ROLES.items()}
    return folders, sorted(left_out & set(classes.tolist()))


def mean_scores(path):
    """Return the mean of YAMNet's log scores over a recording's loudest half, float32 (521,)."""
    from polysed_keras.models import embed  # needs TensorFlow, as nothing else in this package does
    _, scores = embed(load_audio(path, YAMNET_FEATURES.sample_rate))
    loudest = np.argsort(-scores.sum(axis=1))[:-(-len(scores) // 2)]
    return scores[loudest].mean(axis=0)


def write_scores(folder=NEGATIVES):
    """Write SCORES of a folder with the layout of NEGATIVES."""
    folder = pathlib.Path(folder)
    paths = sorted(folder.rglob("*.ogg"))
    np.savez_compressed(folder / SCORES, classes=np.array([path.relative_to(folder).parts[1] for path in paths]),
                        scores=np.stack([mean_scores(path) for path in paths]).astype(np.float16))


def _unit(scores):
    return scores / np.maximum(np.linalg.norm(scores, axis=1, keepdims=True), 1e-9)
