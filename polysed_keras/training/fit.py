"""Fit: model.fit on tf.data, with checkpoints to resume from."""
import dataclasses
import pathlib
from typing import Callable

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from polysed_keras.audio import SILENCE_DB
from polysed_keras.errors import InputError
from polysed_keras.events import f_score, frame_counts, lwlrap, macro_accuracy
from polysed_keras.models import (
    NORMALIZATION,
    build_model,
    compile_model,
    decode_activity,
    predict_posteriors,
    task_losses,
    task_weights,
)
from polysed_keras.specs import task_activity, task_labels
from polysed_keras.training.checkpoints import BEST_WEIGHTS, Checkpoints, Progress, Validation, restore_checkpoint
from polysed_keras.training.clips import epoch_steps, joint_dataset, predict_clips
from polysed_keras.training.recordings import fresh_segment_dataset, num_batches, segment_dataset


def set_normalization(model, recordings):
    """Store the training set's mean and variance per mel band in the model's Normalization layer.

    Frames of digital silence are left out: at -100 dB they would make up most of the variance, and squeeze what is heard
    into a fraction of it.

    Args:
        recordings: list of training.RecordingFeatures.
    """
    frames = np.concatenate([recording.log_mel for recording in recordings])
    heard = frames[frames.max(axis=1) > SILENCE_DB]
    heard = heard if len(heard) else frames
    mean, variance = heard.mean(axis=0, dtype=np.float64), heard.var(axis=0, dtype=np.float64)
    layer = model.get_layer(NORMALIZATION)
    layer.adapt_mean.assign(mean.astype(np.float32))
    layer.adapt_variance.assign(np.maximum(variance, 1e-6).astype(np.float32))
    layer.finalize_state()


def validate(model, recordings, tasks, segment_frames):
    """Mean loss over tasks and frames, overall F1 (0..1), of a list of RecordingFeatures: {"val_loss", "val_f1"}."""
    labels, losses = task_labels(tasks), task_losses(tasks)
    counts, posteriors = 0, []
    for recording in recordings:
        posteriors.append(predict_posteriors(model, recording.log_mel, tasks, segment_frames))
        counts = counts + frame_counts(recording.event_roll, decode_activity(posteriors[-1], tasks))
    event_roll = np.concatenate([recording.event_roll for recording in recordings])
    loss = np.mean([losses[task.name](task.encode(task_activity(event_roll, labels, task)),
                                      np.concatenate([part[task.name] for part in posteriors])) for task in tasks])
    return {"val_loss": float(loss), "val_f1": float(f_score(counts.sum(axis=0)))}


def validate_clips(model, clips, tasks, weights):
    """The weighted loss of clips and, task by task, its loss, and macro accuracy or lwlrap.

    Args:
        clips: {task name: ClipFeatures}; weights: {task name: weight of its loss}.

    Returns:
        dict val_loss, val_<task>_loss, and val_accuracy for a `multi_class` task, val_lwlrap for a `multi_label` one.
    """
    losses, result = task_losses(tasks), {"val_loss": 0.0}
    for task in tasks:
        activity, posteriors = clips[task.name].activity, predict_clips(model, clips[task.name])[task.name]
        loss = float(losses[task.name](task.encode(activity), posteriors))
        result |= {f"val_{task.name}_loss": loss, "val_loss": result["val_loss"] + weights[task.name] * loss}
        if task.encoding == "multi_class":
            result["val_accuracy"] = macro_accuracy(activity.argmax(axis=-1), posteriors.argmax(axis=-1))
        else:
            result["val_lwlrap"] = lwlrap(activity, posteriors)
    return result


@dataclasses.dataclass(frozen=True, eq=False)
class Feed:
    """What a training is fed with: recordings to normalise by, steps of an epoch, batches, validation of a network."""

    recordings: list
    steps: int
    dataset: tf.data.Dataset
    validate: Callable


def _segment_feed(experiment, recordings, validation, done):
    spec, tasks = experiment.training, experiment.tasks
    first = recordings(done) if callable(recordings) else recordings
    segments = {"segment_frames": spec.segment_frames, "segment_hop": spec.segment_hop, "batch_size": spec.batch_size}
    order = {"seed": spec.seed, "first_epoch": done}
    if callable(recordings):
        dataset = fresh_segment_dataset(lambda epoch: first if epoch == done else recordings(epoch), tasks, **segments,
                                        **order, epochs=spec.epochs, n_mels=experiment.features.n_mels)
    else:
        dataset = segment_dataset(recordings, tasks, **segments, **order)
    return Feed(first, num_batches(first, **segments), dataset,
                lambda model: validate(model, validation, tasks, spec.segment_frames))


def _clip_feed(experiment, clips, validation, done):
    """An epoch is a pass over the clips of the first task: paper 2's scenes, where there are any."""
    spec, tasks, weights = experiment.training, experiment.tasks, task_weights(experiment)
    batch_sizes = {task.name: spec.event_batch_size if index else spec.batch_size for index, task in enumerate(tasks)}
    steps = epoch_steps(clips[tasks[0].name], spec.batch_size)
    dataset = joint_dataset(clips, tasks, batch_sizes, spec=experiment.augment, seed=spec.seed, first_step=done * steps)
    sampled = [recording for task in tasks for recording in clips[task.name].sample()]
    return Feed(sampled, steps, dataset, lambda model: validate_clips(model, validation, tasks, weights))


def fit_model(experiment, recordings, validation, directory, *, history=(), jit_compile=False, strategy=None,
              progress=True, pretrained=None, last_epoch=None):
    """Train a network, keep its best epoch by `experiment.measure`, and be able to go on after an interruption.

    Args:
        experiment: Experiment whose tasks are resolved.
        recordings: list of RecordingFeatures to train on, or a function of the epoch (0, 1, ...) that returns one; for an
            experiment of clips {task name: training.ClipFeatures}.
        validation: the same to select the epoch by, but no function.
        directory: the run's folder, which exists.
        history: of the epochs that the folder's last checkpoint comes after, to go on from there.
        strategy: a tf.distribute.Strategy; None for the default device.
        pretrained: a network to begin with the weights of, but for what belongs to tasks.
        last_epoch: stop after it, as if interrupted: learning rates stay those of all epochs. None trains all.

    Returns:
        DataFrame epoch, loss (one per task too), val_loss, the measures of the validation.

    Raises:
        InputError: no recordings, or a checkpoint that cannot be read.
    """
    directory, spec = pathlib.Path(directory), experiment.training
    keras.utils.set_random_seed(spec.seed)
    for half_written in directory.glob(".*-????????.*"):  # what a kill left of files.atomic_file
        half_written.unlink()
    done, epochs, history = len(history), min(last_epoch or spec.epochs, spec.epochs), list(history)
    feed = (_clip_feed if experiment.clip_level else _segment_feed)(experiment, recordings, validation, done)
    with (strategy or tf.distribute.get_strategy()).scope():
        model = new_model(experiment, feed.recordings, steps_per_epoch=feed.steps, jit_compile=jit_compile)
        if pretrained is not None:
            copy_shared_weights(pretrained, model, experiment.tasks)
        if done:
            restore_checkpoint(model, directory)
    callbacks = [Validation(feed.validate), keras.callbacks.TensorBoard(directory / "tensorboard", write_graph=False),
                 Checkpoints(directory, history, experiment.measure)]
    if progress:
        callbacks.append(Progress(epochs, feed.steps, done, experiment.measure))
    # the dataset shuffles itself, by (seed, epoch)
    model.fit(feed.dataset, steps_per_epoch=feed.steps, initial_epoch=done, epochs=epochs, verbose=0, shuffle=False,
              callbacks=callbacks)
    return pd.DataFrame(history)


def new_model(experiment, recordings, *, steps_per_epoch, jit_compile=False):
    """A compiled network with fresh weights and the training set's normalisation."""
    spec, learning_rate = experiment.training, experiment.training.learning_rate
    if spec.learning_rate_schedule == "cosine":
        learning_rate = keras.optimizers.schedules.CosineDecay(learning_rate, spec.epochs * steps_per_epoch)
    model = build_model(experiment.model, experiment.tasks, (spec.segment_frames, experiment.features.n_mels))
    set_normalization(model, recordings)
    return compile_model(model, experiment.tasks, learning_rate=learning_rate, loss_weights=task_weights(experiment),
                         jit_compile=jit_compile)


def copy_shared_weights(source, target, tasks):
    """Give a network another's weights, layer by layer, but for the layers that are named after its tasks.

    Raises:
        InputError: a layer that the other network lacks or has in another shape.
    """
    for layer in target.layers:
        if not layer.weights or layer.name.startswith(tuple(f"{task.name}_" for task in tasks)):
            continue
        try:
            layer.set_weights(source.get_layer(layer.name).get_weights())
        except ValueError as error:
            raise InputError(f"pre-trained network: expected the same backbone. Received: {error}. Choose a run of the "
                             "same preset family with the same --set model values.") from error
    target.get_layer(NORMALIZATION).finalize_state()


def load_best_model(experiment, directory, *, use_cudnn="auto"):
    """Rebuild a run's network from its spec and load the weights of its best epoch.

    Raises:
        InputError: the run has no finished epoch, or weights of another network.
    """
    path = pathlib.Path(directory) / BEST_WEIGHTS
    if not path.is_file():
        raise InputError(f"{directory}: expected a trained run with {BEST_WEIGHTS}. Received: none. Train it first.")
    shape = (experiment.training.segment_frames, experiment.features.n_mels)
    model = build_model(experiment.model, experiment.tasks, shape, use_cudnn=use_cudnn)
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: expected the weights of {experiment.name}. Received: {error}.") from error
    return model
