"""Sources of training data: one class for recordings and one for clips, with the same methods.

A source opens the data of an Experiment, resolves its tasks with their labels, loads partitions and feeds trainings.
`source_class` alone tells experiments on recordings (paper 1) and on clips (paper 2) apart.
"""
import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from polysed_keras.datasets import joint_frames, load_clips, load_dataset
from polysed_keras.errors import InputError
from polysed_keras.events import (
    f_score,
    find_posterior_alarms,
    frame_counts,
    lwlrap,
    macro_accuracy,
    recall_at_alarms,
)
from polysed_keras.models import (
    FIELD_WEIGHT,
    PRIOR_WEIGHTS,
    decode_activity,
    has_prior,
    join_label_posteriors,
    learning_tasks,
    mix_priors,
    predict_posteriors,
    task_losses,
    task_weights,
)
from polysed_keras.specs import Decomposition, cooccurrence, resolve_tasks, task_activity, task_labels
from polysed_keras.training.clips import epoch_steps, joint_dataset, load_clip_features, predict_clips
from polysed_keras.training.fresh_mixtures import fresh_recordings
from polysed_keras.training.frozen import frozen_trunk, keep_maps, map_dataset, predict_from_maps
from polysed_keras.training.recordings import fresh_segment_dataset, load_recordings, num_batches, segment_dataset
from polysed_keras.training.seen import COMBINATIONS, record_combinations

MEASURED_ALARMS = 20  # false events per hour of val_recall


@dataclasses.dataclass(frozen=True, eq=False)
class Feed:
    """The input of one training.

    Attributes:
        recordings: list of RecordingFeatures, by which the network's input is normalised.
        steps: number of batches per epoch.
        dataset: tf.data.Dataset of batches, endless or until the last epoch.
        validate: function of the network that returns a dict of val_loss and measures.
        frozen: whether batches hold the maps of a frozen backbone, for the second part of split_frozen.
    """

    recordings: list
    steps: int
    dataset: tf.data.Dataset
    validate: Callable
    frozen: bool = False


def recording_feed(experiment, recordings, validation, first_epoch=0, *, cache, progress=True):
    """Return the Feed of a training on recordings.

    Args:
        experiment: Experiment with resolved tasks.
        recordings: list of RecordingFeatures, or a function of the epoch (0, 1, ...) that returns one.
        validation: list of RecordingFeatures.
        first_epoch: number of epochs that are finished already.
        cache: folder in which the maps of a frozen backbone are kept.
        progress: whether a bar is shown while the maps of a frozen backbone are computed.

    Raises:
        InputError: no recordings.
    """
    if experiment.model.freeze_backbone and not callable(recordings):
        return _frozen_feed(experiment, recordings, validation, first_epoch, cache, progress)
    if callable(recordings):
        first = recordings(first_epoch)
        dataset = fresh_segment_dataset(lambda epoch: first if epoch == first_epoch else recordings(epoch), experiment,
                                        first_epoch)
    else:
        first, dataset = recordings, segment_dataset(recordings, experiment, first_epoch)
    tasks, frames = learning_tasks(experiment), experiment.training.segment_frames
    rolls = [recording.event_roll for recording in validation]
    return Feed(first, num_batches(first, experiment.training), dataset, lambda learner: validate(
        [predict_posteriors(learner, recording.log_mel, tasks, frames, silence=experiment.features.silence)
         for recording in validation], rolls, experiment))


def _frozen_feed(experiment, recordings, validation, first_epoch, cache, progress):
    trunk, rolls = frozen_trunk(experiment), [part.event_roll for part in validation]
    maps = keep_maps(trunk, experiment, recordings, cache, segment_hop=experiment.training.segment_hop,
                     progress=progress)
    validation_maps = keep_maps(trunk, experiment, validation, cache, progress=progress)
    steps, dataset = map_dataset(maps, experiment, first_epoch)
    return Feed(recordings, steps, dataset, lambda learner: validate(
        [predict_from_maps(learner, parts, len(roll)) for (parts, _), roll in zip(validation_maps.parts(), rolls)],
        rolls, experiment), frozen=True)


def clip_feed(experiment, clips, validation, first_epoch=0, *, cache=None, progress=True):
    """Return the Feed of a training on clips.

    An epoch is one pass over the clips of the first task: paper 2's scenes, if there are any.

    Args:
        experiment: Experiment with resolved tasks.
        clips: {task name: ClipFeatures} to train on.
        validation: {task name: ClipFeatures}.
        first_epoch: number of epochs that are finished already.
        cache: not used here, since nothing is computed first.
        progress: not used here either.
    """
    spec, tasks, weights = experiment.training, experiment.tasks, task_weights(experiment)
    batch_sizes = {task.name: spec.event_batch_size if index else spec.batch_size for index, task in enumerate(tasks)}
    steps = epoch_steps(clips[tasks[0].name], spec.batch_size)
    dataset = joint_dataset(clips, tasks, batch_sizes, spec=experiment.augment, seed=spec.seed,
                            first_step=first_epoch * steps)
    sampled = [recording for task in tasks for recording in clips[task.name].sample()]
    return Feed(sampled, steps, dataset, lambda model: validate_clips(model, validation, tasks, weights))


def validate(outputs, rolls, experiment):
    """Return the mean loss over tasks and frames and the overall F1 (0..1), {"val_loss", "val_f1"}, of a validation.

    If training.measure asks for it, val_recall and val_f1_and_recall too. With priors, "prior_weight" is the one of
    PRIOR_WEIGHTS with the best measure, FIELD_WEIGHT or more unless the measure is F1 alone; the scores are those with
    it.

    Args:
        outputs: list of {name of a learning task: array (rows, outputs)} per recording.
        rolls: list of their event rolls, (rows, labels).
        experiment: Experiment with resolved tasks.
    """
    if not has_prior(experiment):
        return _scores(outputs, rolls, experiment)
    least = 0.0 if experiment.training.measure == "f1" else FIELD_WEIGHT
    scores = [_scores([mix_priors(each, experiment.tasks, weight) for each in outputs], rolls, experiment)
              | {"prior_weight": weight} for weight in PRIOR_WEIGHTS if weight >= least]
    return max(scores, key=lambda each: each[experiment.measure])


def _scores(posteriors, rolls, experiment):
    """Return the scores of the posteriors {task name: array} and the event roll of each recording."""
    tasks = experiment.tasks
    labels, losses = task_labels(tasks), task_losses(tasks)
    counts = sum(frame_counts(roll, decode_activity(part, tasks)) for roll, part in zip(rolls, posteriors))
    event_roll = np.concatenate(rolls)
    loss = np.mean([losses[task.name](task.encode(task_activity(event_roll, labels, task)),
                                      np.concatenate([part[task.name] for part in posteriors])) for task in tasks])
    # Without an event to find there is no score, but the best epoch must be one: 0 stands for it.
    scores = {"val_loss": float(loss), "val_f1": float(np.nan_to_num(f_score(counts.sum(axis=0))))}
    if experiment.training.measure != "f1":
        alarms = [find_posterior_alarms(roll, join_label_posteriors(part, tasks), labels, experiment.time_resolution)
                  for roll, part in zip(rolls, posteriors)]
        scores["val_recall"] = float(np.nan_to_num(recall_at_alarms(alarms, MEASURED_ALARMS)[-1]))
        scores["val_f1_and_recall"] = (scores["val_f1"] + scores["val_recall"]) / 2
    return scores


def validate_clips(model, clips, tasks, weights):
    """Return the weighted loss of clips and the loss and measure of each task.

    Args:
        model: network of `tasks`.
        clips: {task name: ClipFeatures}.
        tasks: tuple of Task.
        weights: {task name: weight of its loss}.

    Returns:
        dict of val_loss, val_<task>_loss, val_accuracy of a `multi_class` task and val_lwlrap of a `multi_label` task.
    """
    losses, result = task_losses(tasks), {"val_loss": 0.0}
    for task in tasks:
        activity, posteriors = clips[task.name].activity, predict_clips(model, clips[task.name])[task.name]
        loss = float(losses[task.name](task.encode(activity), posteriors))
        result |= {f"val_{task.name}_loss": loss, "val_loss": result["val_loss"] + weights[task.name] * loss}
        if task.encoding == "multi_class":
            result["val_accuracy"] = macro_accuracy(activity.argmax(axis=-1), posteriors.argmax(axis=-1))
        else:
            result["val_lwlrap"] = lwlrap(activity, task.label_posteriors(posteriors))
    return result


class RecordingSource:
    """A corpus of recordings, which are labelled frame by frame.

    Args:
        experiment: Experiment.
        data: folder of the corpus.
        mixing: Mixing, if training mixtures are drawn anew every epoch.
        progress: whether bars are shown.

    Attributes:
        experiment: the Experiment with its tasks resolved.
        dataset: the corpus; of clips there may be several.
        datasets: the corpora, a list.
        sounds: {name: path} of the audio that training mixtures are drawn from.

    Raises:
        InputError: unusable data, or tasks or a mixing that do not fit them.
    """

    feed = staticmethod(recording_feed)

    def __init__(self, experiment, data, mixing=None, progress=True):
        dataset = load_dataset(data, experiment.dataset)
        tasks = resolve_tasks(experiment.tasks, dataset.labels, label_affinity(experiment.tasks, dataset))
        self.experiment, self.dataset = dataclasses.replace(experiment, tasks=tasks), dataset
        self.datasets = [dataset]
        self._draw, self.sounds = fresh_recordings(mixing, dataset, self.experiment) if mixing else (None, {})
        self._progress = progress

    def load(self, partition, time_resolution=None):
        """Return a partition as a list of RecordingFeatures; event rolls have the tasks' labels in order.

        Args:
            partition: name of the partition.
            time_resolution: seconds per row of the event rolls; None for the network's.
        """
        labels = task_labels(self.experiment.tasks)
        return load_recordings(self.dataset, partition, labels, self.experiment.features,
                               time_resolution=time_resolution or self.experiment.time_resolution,
                               mapped=self.experiment.model.freeze_backbone, progress=self._progress)

    def load_training(self, run, *, resume):
        """Return what `feed` takes to train on; label combinations are noted in the run's folder."""
        return record_combinations(self._draw or self.load("train"), self.experiment.tasks,
                                   pathlib.Path(run) / COMBINATIONS, resume=resume)


class ClipSource:
    """Corpora of clips, which are labelled as a whole. Arguments, attributes and errors as of RecordingSource."""

    feed = staticmethod(clip_feed)

    def __init__(self, experiment, data, mixing=None, progress=True):
        if mixing:
            raise InputError(f"--soundbank: expected a preset of recordings. Received: {experiment.name}, a preset of "
                             "clips. Make a corpus of clips by polysed standin.")
        self._clips, self._progress, self.sounds = load_clips(data, experiment.dataset), progress, {}
        labels = {name: dataset.labels for name, dataset in self._clips.items()}
        self.experiment = dataclasses.replace(experiment, tasks=resolve_tasks(experiment.tasks, labels))
        self.datasets = list(self._clips.values())
        for task in self.experiment.tasks:
            unknown = sorted(set(task.labels) - set(labels[task.name]))
            if unknown:
                raise InputError(f"{self._clips[task.name].folder}: expected the labels of task {task.name}. "
                                 f"Received a corpus without {', '.join(unknown)}.")

    def load(self, partition):
        """Return a partition as {task name: ClipFeatures}."""
        spec, tasks = self.experiment.training, self.experiment.tasks
        return {task.name: load_clip_features(
            self._clips[task.name], partition, task.labels, self.experiment.features, spec.segment_frames,
            hours=spec.event_hours if partition == "train" and task.name == "events" else None,
            seed=spec.seed, progress=self._progress) for task in tasks}

    def load_training(self, run, *, resume):
        """Return what `feed` takes to train on."""
        return self.load("train")


def source_class(experiment):
    """Return RecordingSource or ClipSource, as an Experiment needs."""
    return ClipSource if experiment.clip_level else RecordingSource


def label_affinity(tasks, dataset):
    """Return the affinity of labels by which a Decomposition's strategy groups them; None if it takes none.

    Args:
        tasks: Decomposition, or a tuple of Task.
        dataset: datasets.Dataset; labels that sound together are those of its training annotations.

    Returns:
        float64 array (labels, labels) in 0..1, or None.

    Raises:
        InputError: the strategy `confusion`, whose groups are made from a run by evaluation.find_groups; no annotated
            events.
    """
    strategy = tasks.strategy if isinstance(tasks, Decomposition) and tasks.groups is None else None
    if strategy in ("cooccurrence", "anti_cooccurrence"):
        return cooccurrence(joint_frames(dataset, "train"))
    if strategy == "confusion":
        raise InputError("strategy: 'confusion' needs the errors of a trained run. Received: none. Make groups by "
                         f"polysed decompose {dataset.folder} --num-tasks N --strategy confusion --run RUN --out "
                         "groups.json, and train with --set tasks.groups=groups.json.")
    return None
