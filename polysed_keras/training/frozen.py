"""Trainings with a frozen backbone: its maps are computed once, and only what follows it is run in every epoch."""
import itertools
import math

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from polysed_keras.models import build_model, cut_segments, learning_tasks, separate_priors
from polysed_keras.specs import task_activity, task_labels


def split_frozen(model):
    """Split a network where learning begins.

    Args:
        model: functional keras.Model with layers that do not learn.

    Returns:
        Two keras.Models that share its layers: from its input to a list of maps, of which none depends on a weight that
        learns or on dropout, and from these maps to its outputs.
    """
    frozen, maps = {id(tensor) for tensor in model.inputs}, {}
    for operation in model.operations:
        inputs = keras.tree.flatten(operation.input)
        if operation.output in model.inputs:
            continue
        learns = getattr(operation, "trainable_variables", ()) or hasattr(operation, "seed_generator")
        if learns or not all(id(tensor) in frozen for tensor in inputs):
            maps |= {id(tensor): tensor for tensor in inputs if id(tensor) in frozen}
        else:
            frozen |= {id(tensor) for tensor in keras.tree.flatten(operation.output)}
    return keras.Model(model.inputs, list(maps.values())), keras.Model(list(maps.values()), model.output)


def frozen_trunk(experiment):
    """Return the first part of split_frozen of an Experiment's network, whose weights are the pretrained ones."""
    return split_frozen(separate_priors(build_model(experiment.model, experiment.tasks, experiment.input_shape)))[0]


def frozen_maps(trunk, experiment, recordings, *, segment_hop=None, progress=True):
    """Compute what a frozen backbone makes of recordings, by the segments that evaluation and export cut as well.

    Args:
        trunk: of frozen_trunk.
        experiment: Experiment with resolved tasks and model.freeze_backbone.
        recordings: list of RecordingFeatures.
        segment_hop: number of frames from one segment to the next; None for segments without overlap.
        progress: whether a bar is shown.

    Yields:
        (maps, event_roll), once or more for each recording: a list of float16 arrays (segments, ...), which are the
        inputs of the second part of split_frozen, and uint8 (segments, outputs, labels).
    """
    frames, stride = experiment.training.segment_frames, experiment.model.output_stride
    hop = segment_hop or frames
    for recording in tqdm(recordings, desc="maps of the backbone", unit="recording", disable=not progress):
        for begin in range(0, frames, hop):
            segments = cut_segments(recording.log_mel[begin:], frames, experiment.features.silence)
            maps = trunk.predict(segments, batch_size=8, verbose=0)
            roll = cut_segments(recording.event_roll[begin // stride:], frames // stride, 0)
            yield [part.astype(np.float16) for part in maps], roll
            if begin + hop >= len(recording.log_mel):
                break


def predict_from_maps(learner, maps, rows):
    """Predict outputs {task name: (rows, outputs)} from a recording's maps by the second part of split_frozen."""
    outputs = learner.predict([part.astype(np.float32) for part in maps], batch_size=32, verbose=0)
    return {name: output.reshape(-1, output.shape[-1])[:rows] for name, output in outputs.items()}


def map_dataset(maps, experiment, first_epoch=0):
    """Make endless batches of the maps of segments, shuffled anew every epoch by (seed, epoch).

    Args:
        maps: of frozen_maps, at least one.
        experiment: Experiment with resolved tasks.
        first_epoch: number of epochs that are left out.

    Returns:
        Number of batches per epoch, and a tf.data.Dataset of tuple of maps, {name of a learning task: target}.
    """
    spec, tasks, labels = experiment.training, learning_tasks(experiment), task_labels(experiment.tasks)
    kinds, rolls, features = None, [], []
    for parts, roll in maps:
        kinds = kinds or [[] for _ in parts]
        for kind, part in zip(kinds, parts):
            kind.append(part)
        rolls.append(roll)
    while kinds:  # freed one by one as they are joined, because memory may not hold all of them twice
        features.append(np.concatenate(kinds.pop(0)))
    event_roll = np.concatenate(rolls)

    def batch(rows):
        return tuple(part[rows].astype(np.float32) for part in features), {
            task.name: task.encode(task_activity(event_roll[rows], labels, task)) for task in tasks}

    def batches():
        for epoch in itertools.count(first_epoch):
            order = np.random.default_rng((spec.seed, epoch)).permutation(len(event_roll))
            for begin in range(0, len(order), spec.batch_size):
                yield batch(order[begin:begin + spec.batch_size])

    # A generator, because tf.data copies tensors that its functions refer to.
    signature = keras.tree.map_structure(lambda part: tf.TensorSpec([None, *part.shape[1:]], part.dtype), batch([0]))
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(4)
    return math.ceil(len(event_roll) / spec.batch_size), dataset
