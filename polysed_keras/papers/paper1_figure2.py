"""Paper 1's Figure 2: what the subnets of a trained network attend to in an input, and how far their masks lie apart."""
import dataclasses

import keras
import numpy as np
import pandas as pd

from polysed_keras.datasets import load_dataset
from polysed_keras.display import plot_attention
from polysed_keras.errors import InputError
from polysed_keras.events import event_roll_to_event_list
from polysed_keras.models import subnet_masks
from polysed_keras.papers.variants import run_folder
from polysed_keras.specs import LogMelSpec, task_labels
from polysed_keras.training import load_best_model, load_recordings, load_run, new_model


@dataclasses.dataclass(frozen=True, eq=False)
class AttentionExample:
    """An input and what subnets attend to in it (paper 1, Figure 2).

    Attributes:
        name: of the recording. onset: of the input in it, seconds. features: of the network.
        log_mel: (frames, n_mels). events: event list. labels: tuple.
        masks, untrained_masks: {label: (time_frequency, channel)} of detection.subnet_masks, of the subnet of the label's task.
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
        """Figure 2 of the subnets of some labels: a matplotlib Figure."""
        return plot_attention(self.log_mel, self.events, self.labels, {label: self.masks[label] for label in shown},
                              self.features.time_resolution, title=f"{self.name}, from {self.onset:.2f} s",
                              frequency_range=(self.features.fmin, self.features.fmax))


def attention_example(recipe, wanted, num_events=4):
    """The masks of Figure 2: of a run of `figure2_recipe`, on a test segment with so many events.

    Args:
        recipe: Paper1Recipe whose runs are there.
        wanted: labels that the segment has as many of as any does.

    Raises:
        InputError: no test segment with so many events.
    """
    run = run_folder(recipe.out, next(iter(recipe.experiments)), recipe.seeds[0])
    experiment = load_run(run)
    labels, dataset, spec = task_labels(experiment.tasks), load_dataset(recipe.data), experiment.features
    train, test = (load_recordings(dataset, part, labels, spec, progress=False) for part in ("train", "test"))
    networks = [load_best_model(experiment, run)]
    keras.utils.set_random_seed(experiment.training.seed)  # so that the other has the weights that the training began with
    networks.append(new_model(experiment, train, steps_per_epoch=1))
    recording, first, events = _find_input(test, labels, wanted, num_events, experiment)
    frames = experiment.training.segment_frames
    log_mel = recording.log_mel[first:first + frames]
    masks = []
    for network in networks:
        found = subnet_masks(network, log_mel, experiment.tasks, frames)
        masks.append({label: found[task.name] for task in experiment.tasks for label in task.labels})
    return AttentionExample(recording.name, first * spec.time_resolution, spec, log_mel, events, labels, *masks)


def _find_input(recordings, labels, wanted, num_events, experiment):
    """Of the segments with so many events the one that has the most of the wanted labels, and of these for the longest; its
    first frame and its events."""
    frames, resolution, found = experiment.training.segment_frames, experiment.features.time_resolution, []
    for recording in recordings:
        for first in range(0, len(recording.log_mel) - frames + 1, frames):
            events = event_roll_to_event_list(recording.event_roll[first:first + frames], labels, resolution)
            if len(events) == num_events:
                found.append((recording, first, events))
    if not found:
        raise InputError(f"num_events: expected a number that a test segment of {frames} frames has. Received: {num_events}.")
    return max(found, key=lambda each: _presence(each[2], wanted))


def _presence(events, wanted):
    """How many of the wanted labels there are, and how long the one that sounds the least does, in seconds."""
    wanted = events[events["event_label"].isin(wanted)]
    seconds = (wanted["offset"] - wanted["onset"]).groupby(wanted["event_label"]).sum()
    return len(seconds), seconds.min() if len(seconds) else 0.0


def mask_differences(example, shown):
    """How far the masks of tasks lie apart: the mean absolute difference, of masks from 0 to 1.

    Args:
        example: AttentionExample. shown: two labels.

    Returns:
        DataFrame, a row a kind of mask; for untrained and trained weights the two shown, and the mean of all pairs.
    """
    rows = {}
    for kind, name in enumerate(("time-frequency mask", "channel mask")):
        rows[name] = {}
        for when, masks in (("untrained", example.untrained_masks), ("trained", example.masks)):
            stack = {label: masks[label][kind] for label in masks}
            pairs = {(a, b): np.abs(stack[a] - stack[b]).mean() for a in stack for b in stack if a != b}
            rows[name] |= {f"{when}, {' and '.join(shown)}": pairs[tuple(shown)],
                           f"{when}, all pairs": np.mean(list(pairs.values()))}
    return pd.DataFrame(rows).T.astype(float).round(3)
