"""Recipes of mixtures: what a soundbank, the recordings without labels and a few words become."""
import dataclasses
import logging
import pathlib

from polysed_keras.errors import expect
from polysed_keras.specs import set_spec_fields
from polysed_keras.synthesis.corpus import read_instructions, recording_checksum, synthesize
from polysed_keras.synthesis.drawing import RECIPES
from polysed_keras.synthesis.negatives import shipped_negatives
from polysed_keras.synthesis.soundbank import count_recordings, partition_soundbank, read_soundbank

# Numbers of mixtures for training, validation and test by recipe; the paper's are those of TUT-SED Synthetic 2016.
MIXTURES = {"paper": (60, 20, 20), "field": (200, 60, 60)}
ANOTHER_RUN = "Choose another folder for the run."
FEW = 3  # recordings of a label to learn from, below which a warning is given
logger = logging.getLogger(__name__)


def mix_soundbank(soundbank, out, *, labels=None, recipe="field", mixtures=None, negatives=None, duration=None,
                  settings=(), folds=None, seed=0, source=None, progress=False):
    """Write a corpus of mixtures of a soundbank by a recipe.

    How many recordings of each label go to which partition is logged, with a warning of labels with few.

    Args:
        soundbank: its folder.
        out: the new folder.
        labels: list of the soundbank's labels to take, in this order; None for all, sorted.
        recipe: "paper", dense mixtures of the labels alone, or "field", few events, many or none, always a background,
            other sounds, rooms.
        mixtures: three int, numbers for training, validation and test; None for the recipe's.
        negatives: folder of recordings without the labels, as backgrounds and as other sounds. None takes, for the
            recipe "field", those that come with the package, but for classes that sound like the labels.
        duration: seconds of a mixture; None for the recipe's.
        settings: list of "FIELD=VALUE", changes of the SoundscapeSpec.
        folds: as of partition_soundbank.
        seed: int, 0 or above.
        source: what soundscapes.json says of where the soundbank is; None for its folder.
        progress: whether bars are shown.

    Returns:
        dict of partition to its statistics, as of corpus.synthesize.

    Raises:
        InputError: as of read_soundbank, partition_soundbank and corpus.synthesize.

    Example:
        >>> statistics = mix_soundbank("sounds", "data", mixtures=(20, 5, 5))
    """
    spec, bank = recipe_spec(recipe, duration, settings), read_soundbank(soundbank, labels)
    partitions = partition_soundbank(bank, folds=folds, seed=seed)
    _tell_partitions(partitions)
    if negatives:
        expect(pathlib.Path(negatives).is_dir(), "negatives", "a folder of recordings without the labels",
               str(negatives))
        spec = spec.with_negatives(negatives)
    elif recipe == "field":
        folders, left_out = shipped_negatives(bank)
        logger.info("negatives: the recordings that come with the program%s",
                    f", but for {', '.join(left_out)}, which may hold your labels" if left_out else "")
        spec = spec.with_folders(**folders)
    return synthesize(partitions, out, spec, tuple(mixtures or MIXTURES[recipe]), seed=seed, progress=progress,
                      origin={"soundbank": source or str(soundbank), "folds": folds})


def recipe_spec(recipe, duration=None, settings=()):
    """Return the SoundscapeSpec of a recipe; arguments and errors are those of mix_soundbank."""
    spec = RECIPES[recipe] if duration is None else dataclasses.replace(RECIPES[recipe], duration_seconds=duration)
    return set_spec_fields(spec, settings)


def ensure_mixtures(soundbank, out, **options):
    """Write a corpus as mix_soundbank does, or check that the corpus of an interrupted training is of the soundbank.

    Args:
        soundbank: its folder.
        out: folder of the corpus, which is checked if it exists.
        options: as of mix_soundbank; a corpus that exists keeps its own.

    Raises:
        InputError: as of check_mixtures and mix_soundbank.
    """
    if pathlib.Path(out).exists():
        check_mixtures(soundbank, out)
    else:
        mix_soundbank(soundbank, out, **options)


def check_mixtures(soundbank, out):
    """Check that a corpus was made of a soundbank, which may have got more recordings since.

    Args:
        soundbank: its folder.
        out: folder of the corpus.

    Raises:
        InputError: the corpus has other labels, or recordings that the soundbank lacks or has with another content; as
            of read_soundbank and read_instructions.
    """
    content, bank = read_instructions(out), read_soundbank(soundbank)
    known = {instance.path.relative_to(bank.folder).as_posix() for instance in bank.instances}
    expected = f"the soundbank that {out} was made of, with the labels {', '.join(content.labels)}"
    expect(content.labels == bank.labels, str(soundbank), expected, list(bank.labels), ANOTHER_RUN)
    used = content.recordings.get("soundbank", {})
    lacking = sorted(set(used) - known)
    expect(not lacking, str(soundbank), expected, f"one without {', '.join(lacking[:3])}", ANOTHER_RUN)
    changed = [name for name in sorted(used) if recording_checksum(bank.folder / name) != used[name]]
    expect(not changed, str(soundbank), expected, f"one with other audio in {', '.join(changed[:3])}", ANOTHER_RUN)


def _tell_partitions(partitions):
    table = count_recordings(partitions)
    logger.info("recordings of each label that go to training, validation and test:\n%s", table.to_string())
    few = table.index[table["train"] < FEW].tolist()
    if few:
        logger.warning("%s: fewer than %d recordings to learn from. Add some of other sources, at best 10 or more per "
                       "label.", ", ".join(few), FEW)
