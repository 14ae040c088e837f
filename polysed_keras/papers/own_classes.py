"""What the notebooks for beginners run: from a folder of sounds to a detector of their classes."""
import dataclasses
import pathlib

import pandas as pd

from polysed_keras.audio import cached_log_mel
from polysed_keras.datasets import load_dataset
from polysed_keras.display import plot_detections
from polysed_keras.events import clip_events, read_events
from polysed_keras.papers.paper1 import DEMO, DEMO_EPOCHS, DEMO_NETWORK, DEMO_SOUNDS, FEW_LABELS
from polysed_keras.specs import Experiment, get_preset, set_fields
from polysed_keras.synthesis import partition_soundbank, read_soundbank, write_soundbank


@dataclasses.dataclass(frozen=True)
class ClassesRecipe:
    """From sounds to a detector of one's own classes.

    Attributes:
        sounds: folder of a soundbank. data: of its mixtures; mixtures, duration_seconds: as of papers.make_mixtures.
        experiment: what is trained. run: its folder. saved_model: folder of the export.
    """

    sounds: pathlib.Path
    data: pathlib.Path
    mixtures: tuple
    duration_seconds: float
    experiment: Experiment
    run: pathlib.Path
    saved_model: pathlib.Path

    def sounds_by_label(self):
        """{label: list of the paths of its recordings}."""
        instances = read_soundbank(self.sounds).instances
        return {label: [each.path for each in instances if each.event_label == label]
                for label in dict.fromkeys(each.event_label for each in instances)}

    def partition_table(self):
        """How many recordings of each label are in each partition: a DataFrame."""
        parts = partition_soundbank(read_soundbank(self.sounds))
        counts = {name: pd.Series([each.event_label for each in bank.instances]).value_counts()
                  for name, bank in parts.items()}
        return pd.DataFrame(counts).fillna(0).astype(int)

    def plot_detections(self, recording, estimated, seconds=30.0):
        """The beginning of a datasets.Recording with its reference and an estimated event list: a matplotlib Figure."""
        features, labels = self.experiment.features, load_dataset(self.data).labels
        log_mel = cached_log_mel(recording.audio, features, self.data / "features")[:round(seconds / features.time_resolution)]
        seconds = len(log_mel) * features.time_resolution
        shown = [clip_events(events, seconds) for events in (read_events(recording.annotation, labels), estimated)]
        return plot_detections(log_mel, *shown, labels, features.time_resolution, title=recording.name,
                               frequency_range=(features.fmin, features.fmax))


def classes_recipe(sounds, out, *, mixtures=(24, 6, 20), duration_seconds=300.0, settings=None):
    """A detector of the classes of a folder of sounds; "demo" makes sounds of four labels, and few, short mixtures.

    Args:
        sounds: folder of a soundbank, a folder of recordings a label.
        out: folder of all that is made.
        mixtures, duration_seconds: of train, validate, test, where the sounds are one's own.
        settings: changes of the preset `multilabel_small`, as `--set` makes them.

    Raises:
        InputError: the folder of the demo cannot be written.
    """
    folder, own = pathlib.Path(out) / "own_classes", list(settings or ())
    if sounds == DEMO:
        folder, own = pathlib.Path(out) / "four_labels", [*DEMO_NETWORK, DEMO_EPOCHS, *own]
        sounds, mixtures, duration_seconds = folder / "soundbank", DEMO_SOUNDS["mixtures"], DEMO_SOUNDS["duration_seconds"]
        if not sounds.exists():
            write_soundbank(sounds, DEMO_SOUNDS["instances"], labels=FEW_LABELS)
    experiment = dataclasses.replace(set_fields(get_preset("multilabel_small"), own), name="detector")
    return ClassesRecipe(pathlib.Path(sounds), folder / "data", tuple(mixtures), duration_seconds, experiment,
                         folder / "runs" / "detector", folder / "saved_models" / "detector")
