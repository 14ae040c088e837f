"""Paper 1's Figure 2: what the subnets of a network attend to in an input, and how far their masks lie apart."""
import dataclasses

import keras
import numpy as np
import pandas as pd

from polysed_keras.datasets import load_dataset
from polysed_keras.display import plot_attention
from polysed_keras.errors import expect
from polysed_keras.events import event_roll_to_event_list
from polysed_keras.models import subnet_masks
from polysed_keras.papers.variants import run_folder
from polysed_keras.specs import LogMelSpec, task_labels
from polysed_keras.training import load_best_model, load_recordings, load_run, new_model


@dataclasses.dataclass(frozen=True, eq=False)
class AttentionExample:
    """An input and the masks of subnets on it (paper 1, Figure 2).

    Attributes:
        name: str, of the recording.
        onset: float, seconds from the beginning of the recording to the input.
        features: LogMelSpec of the network.
        log_mel: float (frames, n_mels).
        events: event list of the input.
        labels: tuple of str.
        masks: {label: (time_frequency, channel)} of models.subnet_masks, of the subnet of the label's task.
        untrained_masks: the same before the training.
    """

    name: str
    onset: float
    features: LogMelSpec
    log_mel: np.ndarray
    events: pd.DataFrame
    labels: tuple
    masks: dict
    untrained_masks: dict

    def plot(self, shown):
        """Draw Figure 2 for the subnets of some labels: a matplotlib Figure."""
        return plot_attention(self.log_mel, self.events, self.labels, {label: self.masks[label] for label in shown},
                              self.features.time_resolution, title=f"{self.name}, from {self.onset:.2f} s",
                              frequency_range=(self.features.fmin, self.features.fmax))


def attention_example(recipe, wanted, num_events=4):
    """Return the masks of Figure 2, on the test segment that shows most of the wanted labels for the longest.

    Args:
        recipe: Recipe of figure2_recipe whose runs are there.
        wanted: labels.
        num_events: int, of the segment.

    Returns:
        AttentionExample.

    Raises:
        InputError: no test segment with so many events.
    """
    run = run_folder(recipe.out, next(iter(recipe.experiments)), recipe.seeds[0])
    experiment = load_run(run)
    labels, dataset, spec = task_labels(experiment.tasks), load_dataset(recipe.data), experiment.features
    train, test = (load_recordings(dataset, part, labels, spec, progress=False) for part in ("train", "test"))
    trained = load_best_model(experiment, run)
    keras.utils.set_random_seed(experiment.training.seed)  # the weights that the training began with
    untrained = new_model(experiment, train, steps_per_epoch=1)
    recording, first, events = _find_input(test, labels, wanted, num_events, experiment)
    frames = experiment.training.segment_frames
    log_mel = recording.log_mel[first:first + frames]

    def masks(network):
        found = subnet_masks(network, log_mel, experiment.tasks, frames)
        return {label: found[task.name] for task in experiment.tasks for label in task.labels}

    return AttentionExample(recording.name, first * spec.time_resolution, spec, log_mel, events, labels, masks(trained),
                            masks(untrained))


def _find_input(recordings, labels, wanted, num_events, experiment):
    """Return the recording, first frame and events of the segment that attention_example shows."""
    frames, resolution, found = experiment.training.segment_frames, experiment.features.time_resolution, []
    for recording in recordings:
        for first in range(0, len(recording.log_mel) - frames + 1, frames):
            events = event_roll_to_event_list(recording.event_roll[first:first + frames], labels, resolution)
            if len(events) == num_events:
                found.append((recording, first, events))
    expect(found, "num_events", f"a number that a test segment of {frames} frames has", num_events)
    return max(found, key=lambda each: _presence(each[2], wanted))


def _presence(events, wanted):
    """Count the wanted labels that are there; with it the seconds of the one that sounds the least."""
    wanted = events[events["event_label"].isin(wanted)]
    seconds = (wanted["offset"] - wanted["onset"]).groupby(wanted["event_label"]).sum()
    return len(seconds), seconds.min() if len(seconds) else 0.0


def mask_differences(example, shown):
    """Measure how far the masks of tasks lie apart: the mean absolute difference of masks, which are from 0 to 1.

    Args:
        example: AttentionExample.
        shown: two labels.

    Returns:
        DataFrame, a row per kind of mask; for untrained and trained weights the two shown, and the mean of all pairs.
    """
    rows = {name: {} for name in ("time-frequency mask", "channel mask")}
    for kind, row in enumerate(rows.values()):
        for when, masks in (("untrained", example.untrained_masks), ("trained", example.masks)):
            pairs = {(a, b): np.abs(masks[a][kind] - masks[b][kind]).mean() for a in masks for b in masks if a != b}
            row[f"{when}, {' and '.join(shown)}"] = pairs[tuple(shown)]
            row[f"{when}, all pairs"] = np.mean(list(pairs.values()))
    return pd.DataFrame(rows).T.astype(float).round(3)
