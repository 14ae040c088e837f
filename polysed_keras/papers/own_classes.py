"""The recipe of the notebooks for beginners: from a folder of sounds to a detector of their classes."""
import dataclasses
import pathlib

import pandas as pd

from polysed_keras.papers.demo import DEMO_EPOCHS, DEMO_SOUNDS, FEW_LABELS, is_demo, plot_beginning, sized_preset
from polysed_keras.specs import Experiment
from polysed_keras.synthesis import partition_soundbank, read_soundbank, write_soundbank


@dataclasses.dataclass(frozen=True)
class ClassesRecipe:
    """The folders and the experiment on the way from sounds to a detector of one's own classes.

    Attributes:
        sounds: Path of a soundbank.
        data: Path of its mixtures.
        mixtures, duration_seconds: as of papers.make_mixtures.
        experiment: Experiment that is trained.
        run: Path of its run.
        saved_model: Path of the export.
    """

    sounds: pathlib.Path
    data: pathlib.Path
    mixtures: tuple
    duration_seconds: float
    experiment: Experiment
    run: pathlib.Path
    saved_model: pathlib.Path

    def sounds_by_label(self):
        """Return {label: list of the paths of its recordings}."""
        instances = read_soundbank(self.sounds).instances
        return {label: [each.path for each in instances if each.event_label == label]
                for label in dict.fromkeys(each.event_label for each in instances)}

    def partition_table(self):
        """Count the recordings of each label (row) in each partition (column): a DataFrame."""
        parts = partition_soundbank(read_soundbank(self.sounds))
        counts = {name: pd.Series([each.event_label for each in bank.instances]).value_counts()
                  for name, bank in parts.items()}
        return pd.DataFrame(counts).fillna(0).astype(int)

    def plot_detections(self, recording, estimated, seconds=30.0):
        """Draw the beginning of a datasets.Recording with its reference and an estimated event list."""
        return plot_beginning(self.data, recording, self.experiment.features, estimated, seconds)


def classes_recipe(sounds, out, *, mixtures=(24, 6, 20), duration_seconds=300.0, settings=None):
    """Return the recipe of a detector of the classes of a folder of sounds, or of four labels if `sounds` is "demo".

    Args:
        sounds: folder of a soundbank, with a folder of recordings per label; or "demo", which makes few sounds.
        out: folder of all that is made.
        mixtures: int, int, int: number for train, validate and test; the demo has its own.
        duration_seconds: float, of each mixture; the demo has its own.
        settings: changes of the preset `multilabel_small`, as `--set` takes them.

    Raises:
        InputError: the folder of the demo cannot be written.
    """
    demo = is_demo(sounds)
    experiment = sized_preset("multilabel", sounds, [*[DEMO_EPOCHS] * demo, *(settings or ())], small=True)
    folder = pathlib.Path(out) / ("four_labels" if demo else "own_classes")
    if demo:
        sounds = folder / "soundbank"
        mixtures, duration_seconds = DEMO_SOUNDS["mixtures"], DEMO_SOUNDS["duration_seconds"]
        if not sounds.exists():
            write_soundbank(sounds, DEMO_SOUNDS["instances"], labels=FEW_LABELS)
    return ClassesRecipe(pathlib.Path(sounds), folder / "data", tuple(mixtures), duration_seconds,
                         dataclasses.replace(experiment, name="detector"), folder / "runs" / "detector",
                         folder / "saved_models" / "detector")
