"""Trainings with a frozen backbone: its maps are computed once, and only what follows it is run in every epoch."""
import contextlib
import dataclasses
import hashlib
import itertools
import json
import logging
import math
import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf

from polysed_keras.errors import InputError
from polysed_keras.files import atomic_directory, check_writable, read_json, write_json
from polysed_keras.models import build_model, cut_segments, learning_tasks, separate_priors
from polysed_keras.progress import progress_bar
from polysed_keras.specs import task_activity, task_labels

_INDEX = "index.json"
logger = logging.getLogger(__name__)


def split_frozen(model, dropout=True):
    """Split a network where learning begins.

    Args:
        model: functional keras.Model with layers that do not learn.
        dropout: whether layers with dropout belong to the second part, as in trainings.

    Returns:
        Two keras.Models that share its layers: from its input to a list of maps, of which none depends on a weight that
        learns or on dropout, and from these maps to its outputs.
    """
    frozen, maps = {id(tensor) for tensor in model.inputs}, {}
    for operation in model.operations:
        inputs = keras.tree.flatten(operation.input)
        if operation.output in model.inputs:
            continue
        learns = (getattr(operation, "trainable_variables", ())
                  or dropout and hasattr(operation, "seed_generator"))
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
    for recording in progress_bar(recordings, "maps of the backbone", unit="recording", shown=progress):
        for begin in range(0, frames, hop):
            segments = cut_segments(recording.log_mel[begin:], frames, experiment.features.silence)
            maps = trunk.predict(segments, batch_size=8, verbose=0)
            roll = cut_segments(recording.event_roll[begin // stride:], frames // stride, 0)
            yield [part.astype(np.float16) for part in maps], roll
            if begin + hop >= len(recording.log_mel):
                break


@dataclasses.dataclass(frozen=True, eq=False)
class KeptMaps:
    """The maps of recordings in files, of which only what is used is in memory.

    Attributes:
        maps: list of float16 arrays (segments, ...), which are the inputs of the second part of split_frozen.
        event_roll: uint8 (segments, outputs, labels).
        segments: list of int, the number of segments of each part that frozen_maps yielded.
        folder: what has to stay as long as the arrays are used.
    """

    maps: list
    event_roll: np.ndarray
    segments: list[int]
    folder: object = None

    def parts(self):
        """Yield what frozen_maps yielded."""
        for begin, end in itertools.pairwise(np.cumsum([0, *self.segments])):
            yield [part[begin:end] for part in self.maps], self.event_roll[begin:end]


def keep_maps(trunk, experiment, recordings, cache, *, segment_hop=None, progress=True):
    """Compute frozen_maps and keep them in files, unless they are there.

    An hour of audio takes about a gigabyte on the disk. The folder is named by a digest of all that the maps are made
    from: trainings with other heads, rates and seeds, and those that go on, find them there.

    Args:
        trunk: as of frozen_maps.
        experiment: as of frozen_maps.
        recordings: as of frozen_maps.
        cache: folder in which they are kept; if it cannot be written, they are kept in a temporary one.
        segment_hop: as of frozen_maps.
        progress: as of frozen_maps.

    Returns:
        KeptMaps.
    """
    # Heads differ in which maps they take, by trunks with the same weights.
    layers = [type(layer).__name__ for layer in trunk.layers], [tensor.shape for tensor in trunk.outputs]
    digest = hashlib.sha256(json.dumps([experiment.training.segment_frames, experiment.model.output_stride,
                                        segment_hop, experiment.features.digest(), layers]).encode())
    for array in itertools.chain(trunk.get_weights(), *((recording.log_mel, recording.event_roll)
                                                        for recording in recordings)):
        digest.update(str(array.shape).encode() + np.ascontiguousarray(array).data)
    folder, temporary = pathlib.Path(cache) / f"maps-{digest.hexdigest()[:12]}", None
    if not folder.is_dir():
        parts = frozen_maps(trunk, experiment, recordings, segment_hop=segment_hop, progress=progress)
        try:
            check_writable(cache)
        except InputError as error:
            logger.warning("maps of the backbone are not kept: %s", error)
            temporary = tempfile.TemporaryDirectory()
            folder = pathlib.Path(temporary.name) / "maps"
        try:
            with atomic_directory(folder) as writing:
                _write_maps(parts, writing)
        except OSError:
            if not folder.is_dir():  # Another training may have made them meanwhile.
                raise
        size = sum(path.stat().st_size for path in folder.iterdir())
        logger.info("%s: %.1f GB of maps of the backbone, for further trainings; it may be removed", folder, size / 1e9)
    content = read_json(folder / _INDEX, _Index)
    arrays = [np.memmap(folder / str(number), dtype, "r", shape=(sum(content.segments), *shape))
              for number, (dtype, shape) in enumerate(zip(content.dtypes, content.shapes))]
    return KeptMaps(arrays[:-1], arrays[-1], content.segments, temporary)


@dataclasses.dataclass(frozen=True)
class _Index:
    """The content of the index of a folder of maps; the last array is the event roll."""

    dtypes: list[str]
    shapes: list[list[int]]
    segments: list[int]


def _write_maps(parts, folder):
    segments, arrays = [], []
    with contextlib.ExitStack() as files:
        opened = []
        for maps, roll in parts:
            arrays = [*maps, roll]
            opened = opened or [files.enter_context(open(folder / str(number), "wb")) for number in range(len(arrays))]
            for file, array in zip(opened, arrays):
                file.write(np.ascontiguousarray(array).data)
            segments.append(len(roll))
    index = _Index([str(array.dtype) for array in arrays], [list(array.shape[1:]) for array in arrays], segments)
    write_json(dataclasses.asdict(index), folder / _INDEX)


def predict_from_maps(learner, maps, rows):
    """Predict outputs {task name: (rows, outputs)} from a recording's maps by the second part of split_frozen."""
    outputs = learner.predict([part.astype(np.float32) for part in maps], batch_size=32, verbose=0)
    return {name: output.reshape(-1, output.shape[-1])[:rows] for name, output in outputs.items()}


def map_dataset(maps, experiment, first_epoch=0):
    """Make endless batches of the maps of segments, shuffled anew every epoch by (seed, epoch).

    Args:
        maps: KeptMaps of at least one recording.
        experiment: Experiment with resolved tasks.
        first_epoch: number of epochs that are left out.

    Returns:
        Number of batches per epoch, and a tf.data.Dataset of tuple of maps, {name of a learning task: target}.
    """
    spec, tasks, labels = experiment.training, learning_tasks(experiment), task_labels(experiment.tasks)
    event_roll = maps.event_roll

    def batch(rows):
        return tuple(part[rows].astype(np.float32) for part in maps.maps), {
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
