"""Recordings of a corpus as features and event rolls, and tf.data batches of their segments."""
import concurrent.futures
import contextlib
import dataclasses
import math
import socket
import sys

import numpy as np
import pandas as pd
import tensorflow as tf

from polysed_keras.audio import cached_log_mel, compute_log_mel, find_audio, load_audio, store_log_mel
from polysed_keras.errors import InputError
from polysed_keras.events import COLUMNS, PRECISION, event_list_to_event_roll
from polysed_keras.models import learning_tasks
from polysed_keras.progress import progress_bar
from polysed_keras.specs import task_activity, task_labels

CONNECT_SECONDS = 10


@dataclasses.dataclass(frozen=True, eq=False)
class RecordingFeatures:
    """A recording as a network learns from it.

    Attributes:
        name: of the recording.
        log_mel: float32 (frames, n_mels), dB; in memory, or a file's content that is read as it is used.
        event_roll: uint8 (rows, labels), 0/1; as many rows as outputs of the network, or as evaluation asks for.
    """

    name: str
    log_mel: np.ndarray
    event_roll: np.ndarray


def load_recordings(dataset, partition, labels, spec, *, time_resolution=None, mapped=False, progress=True):
    """Load a partition's recordings; features are made once and kept in the data's folder `features`.

    All annotations are read before the first feature is made, so that their mistakes show at once.

    Args:
        dataset: datasets.Dataset.
        partition: `train`, `validate` or `test`.
        labels: of the columns of the event rolls.
        spec: LogMelSpec.
        time_resolution: seconds per row of the event rolls; None for a row per frame of the features.
        mapped: leave the features in their files, if they can be kept, so that memory does not grow with the audio.
        progress: whether a bar is shown.

    Returns:
        List of RecordingFeatures.

    Raises:
        InputError: an empty partition, unreadable audio, or a broken annotation.
    """
    recordings = dataset.partitions.get(partition, ())
    if not recordings:
        raise InputError(f"{dataset.folder}: expected recordings in partition {partition!r}. Received: none. "
                         f"Partitions: { {name: len(part) for name, part in dataset.partitions.items()} }.")
    for recording in recordings:
        recording.read_events(labels)
    loaded = []
    for recording in progress_bar(recordings, f"features of {partition}", unit="recording", shown=progress):
        log_mel = (_mapped_log_mel if mapped else cached_log_mel)(recording.audio, spec, dataset.folder / "features")
        events = recording.read_events(labels, duration=len(log_mel) * spec.time_resolution)
        loaded.append(recording_features(recording.name, log_mel, events, labels, spec, time_resolution))
    return loaded


def _mapped_log_mel(path, spec, cache):
    try:
        return np.load(store_log_mel(path, spec, cache), mmap_mode="r")
    except (InputError, OSError, ValueError, EOFError):
        return cached_log_mel(path, spec, cache)  # which says what is wrong, and mends what it can


def recording_features(name, log_mel, events, labels, spec, time_resolution=None):
    """Join log-mel and an event list to RecordingFeatures; other arguments as of load_recordings."""
    time_resolution = time_resolution or spec.time_resolution
    rows = math.ceil(len(log_mel) * spec.time_resolution / time_resolution - PRECISION)
    return RecordingFeatures(name, log_mel, event_list_to_event_roll(events, labels, rows, time_resolution))


def load_negatives(folder, labels, spec, time_resolution, *, progress=True):
    """Load recordings that hold none of the labels.

    Args:
        folder: folder of audio, in any folders.
        labels: of the columns of the event rolls.
        spec: LogMelSpec.
        time_resolution: seconds per row of the event rolls.
        progress: whether a bar is shown.

    Returns:
        List of RecordingFeatures with empty event rolls.

    Raises:
        InputError: no audio in the folder, or unreadable audio.
    """
    none = pd.DataFrame({column: [] for column in COLUMNS})
    return [recording_features(path.stem, compute_log_mel(load_audio(path, spec.sample_rate), spec), none, labels, spec,
                               time_resolution)
            for path in progress_bar(find_audio([folder]), "features of negatives", unit="recording", shown=progress)]


def pad_frames(array, num_frames, value):
    """Append rows of `value` to an array (frames, ...) until it has at least `num_frames`."""
    return np.pad(array, ((0, max(0, num_frames - len(array))), (0, 0)), constant_values=value)


def _segment_starts(lengths, segment_frames, segment_hop):
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return np.concatenate([offset + np.arange(0, length - segment_frames + 1, segment_hop)
                           for offset, length in zip(offsets, lengths)])


def num_batches(recordings, spec):
    """Return the number of batches per epoch of segment_dataset, with the sizes of a TrainSpec."""
    segments = sum(max(0, len(recording.log_mel) - spec.segment_frames) // spec.segment_hop + 1
                   for recording in recordings)
    return math.ceil(segments / spec.batch_size)


def segment_dataset(recordings, experiment, first_epoch=0):
    """Make endless batches of segments, shuffled over all recordings anew every epoch (paper 1, section 4.2).

    Segments are cut when a batch is made, from one copy of the features, so memory does not grow with their overlap.
    The order of an epoch depends on (seed, epoch) alone, so a resumed training sees the batches of an unbroken one.
    The last batch of an epoch may hold fewer segments than the others.

    Args:
        recordings: list of RecordingFeatures; the event rolls' columns are the tasks' labels in order. Recordings
            shorter than a segment are padded with silence.
        experiment: Experiment with resolved tasks.
        first_epoch: number of epochs that are left out.

    Returns:
        tf.data.Dataset of log_mel (batch, segment_frames, n_mels) and, for each of the learning_tasks, {task.name:
        target (batch, segment_frames / output_stride, ...)}.

    Raises:
        InputError: no recordings.
    """
    starts, features, targets = _join(recordings, experiment)
    features, targets = tf.constant(features), {name: tf.constant(target) for name, target in targets.items()}

    def epoch(index):
        order = tf.random.experimental.stateless_shuffle(tf.constant(starts), seed=[experiment.training.seed, index])
        return _batches(order, features, targets, experiment)

    return tf.data.Dataset.range(first_epoch, np.iinfo(np.int32).max).flat_map(epoch).prefetch(4)


def _batches(order, features, targets, experiment):
    """Return a Dataset of batches of the segments that begin at the frames `order`."""
    spec, stride = experiment.training, experiment.model.output_stride

    def cut(batch_starts):
        frames = batch_starts[:, None] + tf.range(spec.segment_frames, dtype=tf.int64)
        rows = frames[:, ::stride] // stride
        return tf.gather(features, frames), {name: tf.gather(target, rows) for name, target in targets.items()}

    batches = tf.data.Dataset.from_tensor_slices(order).batch(spec.batch_size)
    return batches.map(cut, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def from_service(dataset, address):
    """Have the batches of segment_dataset made by the workers of tf.data's service, which has the features from here.

    Each worker makes the batches of whole epochs, in their order, and hands them out beside the others: with two
    workers those of two epochs come mixed, each of them once. If a worker ends, the rest of its epoch does not come.

    Args:
        dataset: tf.data.Dataset of segment_dataset.
        address: of the service's dispatcher, HOST:PORT.

    Raises:
        InputError: as check_service.
    """
    check_service(address)
    service = tf.data.experimental.service
    return dataset.apply(service.distribute(service.ShardingPolicy.DYNAMIC, f"grpc://{address}"))


def check_service(address):
    """Raise InputError unless something answers at the address of a dispatcher of tf.data's service, HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"--data-service: expected the HOST:PORT of a dispatcher of tf.data's service. Received: "
                         f"{address}: {error}. Start it, then its workers, before the training.") from error


def _join(recordings, experiment):
    """Return the segments' first frames, all features as one array, and all targets as one array per task."""
    if not recordings:
        raise InputError("recordings: expected at least one to train on. Received: none.")
    spec, stride = experiment.training, experiment.model.output_stride
    # as many frames as the rows of the event roll stand for
    rolls = [pad_frames(recording.event_roll, spec.segment_frames // stride, 0) for recording in recordings]
    log_mels = [pad_frames(recording.log_mel, len(roll) * stride, experiment.features.silence)
                for recording, roll in zip(recordings, rolls)]
    event_roll, labels = np.concatenate(rolls), task_labels(experiment.tasks)
    starts = _segment_starts([len(log_mel) for log_mel in log_mels], spec.segment_frames, spec.segment_hop)
    return starts, np.concatenate(log_mels), {task.name: task.encode(task_activity(event_roll, labels, task))
                                              for task in learning_tasks(experiment)}


@contextlib.contextmanager
def _prompt_threads():
    """Let Python's threads take turns every 0.2 ms; at the usual 5 ms each training step waits for the drawing."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(2e-4)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def fresh_segment_dataset(draw, experiment, first_epoch=0):
    """Make batches as segment_dataset does, of recordings drawn anew for each epoch in a thread beside the training.

    Args:
        draw: function of the epoch (0, 1, ...) that returns a list of RecordingFeatures, all of one length.
        experiment: Experiment with resolved tasks; drawing ends at its last epoch.
        first_epoch: the first epoch that is drawn.
    """
    spec = experiment.training

    def epoch_arrays():
        with _prompt_threads(), concurrent.futures.ThreadPoolExecutor(1) as pool:
            upcoming = pool.submit(draw, first_epoch)
            for epoch in range(first_epoch, spec.epochs):
                starts, features, targets = _join(upcoming.result(), experiment)
                if epoch + 1 < spec.epochs:
                    upcoming = pool.submit(draw, epoch + 1)
                yield np.random.default_rng((spec.seed, epoch)).permutation(starts), features, targets

    empty = {task.name: task.encode(np.zeros((1, len(task.labels)))) for task in learning_tasks(experiment)}
    signature = (tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, experiment.features.n_mels], tf.float32),
                 {name: tf.TensorSpec([None, *target.shape[1:]], target.dtype) for name, target in empty.items()})
    # Only whole epochs pass through Python: batches are cut without its lock, which the drawing thread often holds.
    return tf.data.Dataset.from_generator(epoch_arrays, output_signature=signature).flat_map(
        lambda order, *arrays: _batches(order, *arrays, experiment)).prefetch(4)
