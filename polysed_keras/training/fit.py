"""Fit a network: Keras's own losses and model.fit on tf.data, with checkpoints to resume from."""
import pathlib

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from polysed_keras.errors import InputError, brief
from polysed_keras.models import (
    NORMALIZATION,
    build_model,
    compile_model,
    has_prior,
    learning_losses,
    separate_priors,
    set_prior_weight,
    task_weights,
)
from polysed_keras.specs import SILENCE_DB, is_pretrained
from polysed_keras.training.checkpoints import (
    BEST_WEIGHTS,
    Checkpoints,
    Progress,
    check_weights,
    restore_checkpoint,
)
from polysed_keras.training.frozen import split_frozen


def set_normalization(model, recordings, silence=SILENCE_DB):
    """Store the training set's mean and variance per mel band in the network's Normalization layer.

    Frames of digital silence are left out: at -100 dB they would make up most of the variance, and squeeze all audible
    sounds into a fraction of it.

    Args:
        model: network of build_model.
        recordings: list of training.RecordingFeatures.
        silence: log-mel of silence.
    """
    frames = np.concatenate([recording.log_mel for recording in recordings])
    heard = frames[frames.max(axis=1) > silence]
    heard = heard if len(heard) else frames
    mean, variance = heard.mean(axis=0, dtype=np.float64), heard.var(axis=0, dtype=np.float64)
    layer = model.get_layer(NORMALIZATION)
    layer.adapt_mean.assign(mean.astype(np.float32))
    layer.adapt_variance.assign(np.maximum(variance, 1e-6).astype(np.float32))
    layer.finalize_state()


def fit_model(experiment, feed, run, *, history=(), last_epoch=None, pretrained=None, progress=True, jit_compile=False,
              strategy=None):
    """Train a network and keep its best epoch by `experiment.measure`; after an interruption the training can go on.

    Args:
        experiment: Experiment with resolved tasks.
        feed: function of the number of finished epochs that returns a training.Feed.
        run: the run's folder, which exists.
        history: list of one dict per finished epoch; the folder's checkpoint comes after the last of them.
        last_epoch: stop after this epoch, as if interrupted: learning rates stay those of all epochs. None trains all.
        pretrained: (network, its tasks) to begin with the weights of, except for layers of tasks that it lacks.
        progress: whether a bar and a line per epoch are shown.
        jit_compile: compile by XLA.
        strategy: tf.distribute.Strategy; None for the default device.

    Returns:
        DataFrame with a row per epoch: epoch, loss (and one per task), val_loss, the measures of the validation.

    Raises:
        InputError: no recordings, or a checkpoint that cannot be read.
    """
    run, spec = pathlib.Path(run), experiment.training
    keras.utils.set_random_seed(spec.seed)
    done, epochs, history = len(history), min(last_epoch or spec.epochs, spec.epochs), list(history)
    feed = feed(done)
    with (strategy or tf.distribute.get_strategy()).scope():
        model = new_model(experiment, feed.recordings, steps_per_epoch=feed.steps, jit_compile=jit_compile)
        if pretrained is not None:
            network, known = pretrained
            copy_shared_weights(network, model, [task for task in experiment.tasks if task not in known])
        if done:
            restore_checkpoint(model, run)
        learner = separate_priors(model) if has_prior(experiment) else model
        if feed.frozen:
            _, learner = split_frozen(learner)
        if learner is not model:
            losses, loss_weights = learning_losses(experiment)
            learner.compile(model.optimizer, losses, loss_weights=loss_weights, jit_compile=jit_compile)

    def validate(_, logs):
        """Add to the logs, which the callbacks after this one write down."""
        logs.update(feed.validate(learner))
        set_prior_weight(model, logs.get("prior_weight"))

    validation = keras.callbacks.LambdaCallback(on_epoch_end=validate)
    callbacks = [validation, keras.callbacks.TensorBoard(run / "tensorboard", write_graph=False),
                 Checkpoints(run, history, experiment.measure, model)]
    if progress:
        callbacks.append(Progress(epochs, feed.steps, done, experiment.measure))
    # The dataset shuffles itself, by (seed, epoch).
    learner.fit(feed.dataset, steps_per_epoch=feed.steps, initial_epoch=done, epochs=epochs, verbose=0, shuffle=False,
                callbacks=callbacks)
    return pd.DataFrame(history)


def new_model(experiment, recordings, *, steps_per_epoch, jit_compile=False):
    """Build and compile a network with fresh weights and the normalisation of the training set.

    Args:
        experiment: Experiment with resolved tasks.
        recordings: list of RecordingFeatures to normalise by.
        steps_per_epoch: number of batches per epoch, for the schedule of the learning rate.
        jit_compile: compile by XLA.
    """
    spec, learning_rate = experiment.training, experiment.training.learning_rate
    if spec.learning_rate_schedule == "cosine":
        learning_rate = keras.optimizers.schedules.CosineDecay(learning_rate, spec.epochs * steps_per_epoch)
    model = build_model(experiment.model, experiment.tasks, experiment.input_shape)
    if not is_pretrained(experiment.model.backbone):
        set_normalization(model, recordings, experiment.features.silence)
    return compile_model(model, experiment.tasks, learning_rate=learning_rate, loss_weights=task_weights(experiment),
                         jit_compile=jit_compile)


def copy_shared_weights(source, target, tasks):
    """Copy the weights of a network layer by layer, except for the layers of some tasks.

    Args:
        source: network to copy from.
        target: network to copy to.
        tasks: list of Task of `target` that `source` lacks.

    Raises:
        InputError: `source` lacks a layer or has it in another shape.
    """
    for layer in target.layers:
        if not layer.weights or layer.name.startswith(tuple(f"{task.name}_" for task in tasks)):
            continue
        try:
            layer.set_weights(source.get_layer(layer.name).get_weights())
        except ValueError as error:
            raise InputError(f"pre-trained network: expected the same backbone. Received: {brief(error)}. Choose a run "
                             "of the same preset family with the same --set model values.") from error
    target.get_layer(NORMALIZATION).finalize_state()


def load_best_model(experiment, run, *, use_cudnn="auto"):
    """Rebuild a run's network from its Experiment and load the weights of its best epoch.

    Args:
        experiment: Experiment of the run.
        run: the run's folder.
        use_cudnn: as of keras.layers.GRU.

    Returns:
        keras.Model, not compiled.

    Raises:
        InputError: the run has no finished epoch, or weights that were changed or are of another network.
    """
    path = pathlib.Path(run) / BEST_WEIGHTS
    if not path.is_file():
        raise InputError(f"{run}: expected a trained run with {BEST_WEIGHTS}. Received: none. Train it first.")
    check_weights(run, BEST_WEIGHTS)
    model = build_model(experiment.model, experiment.tasks, experiment.input_shape, use_cudnn=use_cudnn)
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: expected the weights of {experiment.name}. Received: {brief(error)}.") from error
    return model
