"""Clips of corpora as features on disk, and tf.data batches of one task's clips or of two tasks' clips side by side."""
import concurrent.futures
import dataclasses
import logging
import math
import os

import numpy as np
import tensorflow as tf

from polysed_keras.audio import read_log_mel, store_log_mel
from polysed_keras.errors import InputError
from polysed_keras.progress import progress_bar
from polysed_keras.specs import SILENCE_DB
from polysed_keras.training.augment import augment
from polysed_keras.training.recordings import RecordingFeatures, pad_frames

logger = logging.getLogger(__name__)

HOUR_SECONDS = 3600.0
SAMPLED_CLIPS = 512  # per corpus, for the normalisation


@dataclasses.dataclass(frozen=True, eq=False)
class ClipFeatures:
    """Clips of one length whose features stay on disk, so that memory holds one batch at a time.

    Attributes:
        names: tuple of the clips' names.
        paths: tuple of the features' paths, .npy of (frames, n_mels) in dB.
        activity: uint8 (clips, labels), 0/1.
        frames: number of frames of a clip; shorter ones are filled up with silence, longer ones cut at the end.
        n_mels: number of mel bands of the features.
        silence: log-mel of silence.
    """

    names: tuple
    paths: tuple
    activity: np.ndarray
    frames: int
    n_mels: int
    silence: float = SILENCE_DB

    def read(self, indices):
        """Return the log_mel of the clips with these indices, float32 (len(indices), frames, n_mels)."""
        clips = (read_log_mel(self.paths[index], self.frames, self.n_mels) for index in indices)
        return np.stack([pad_frames(clip, self.frames, self.silence) for clip in clips])

    def sample(self, number=SAMPLED_CLIPS, seed=0):
        """Return `number` clips, drawn at random by `seed`, as a list of RecordingFeatures."""
        indices = np.sort(np.random.default_rng(seed).permutation(len(self.names))[:number])
        return [RecordingFeatures(self.names[index], self.read([index])[0], self.activity[index:index + 1])
                for index in indices]


def load_clip_features(dataset, partition, labels, spec, frames, *, hours=None, seed=0, progress=True):
    """Load a partition's clips; features are made once and kept in the data's folder `features`.

    Clips without any of `labels` are left out (paper 2, section 3.1: event sets of k labels are subsets of AudioSet).
    So are unreadable clips, which are counted and logged.

    Args:
        dataset: datasets.ClipDataset.
        partition: `train`, `validate` or `test`.
        labels: of the columns of the activity.
        spec: LogMelSpec.
        frames: number of frames per clip.
        hours: take clips in a random order (by `seed`) until they last so long; fewer hours are a part of more hours.
            None takes all clips.
        seed: of the random order.
        progress: whether a bar is shown.

    Returns:
        ClipFeatures.

    Raises:
        InputError: no clips with these labels, fewer hours than asked for, or no readable clip.
    """
    wanted, partitions = set(labels), dataset.partitions
    clips = [clip for clip in partitions.get(partition, ()) if not wanted.isdisjoint(clip.labels)]
    if not clips:
        raise InputError(f"{dataset.folder}: expected clips of {', '.join(labels)} in partition {partition!r}. "
                         f"Received: none. Partitions: { {name: len(part) for name, part in partitions.items()} }.")
    clips = _first_hours(clips, hours, frames * spec.time_resolution, seed, dataset.folder)
    clips, paths = _make_features(clips, spec, dataset.folder / "features", f"features of {partition}", progress)
    activity = np.array([[label in clip.labels for label in labels] for clip in clips], np.uint8)
    return ClipFeatures(tuple(clip.name for clip in clips), tuple(paths), activity, frames, spec.n_mels,
                        spec.silence)


def _first_hours(clips, hours, clip_seconds, seed, folder):
    if hours is None:
        return clips
    number = max(1, round(hours * HOUR_SECONDS / clip_seconds))
    if number > len(clips):
        raise InputError(f"training.event_hours: expected at most {len(clips) * clip_seconds / HOUR_SECONDS:.3g}, the "
                         f"hours of clips with these labels in {folder}. Received: {hours:g}.")
    return [clips[index] for index in np.sort(np.random.default_rng(seed).permutation(len(clips))[:number])]


def _make_features(clips, spec, cache, description, progress):
    """Return the readable clips and the paths of their features."""
    def make(clip):
        try:
            return store_log_mel(clip.audio, spec, cache)
        except InputError as error:
            return error

    unreadable, kept = [], []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        made = progress_bar(pool.map(make, clips), description, len(clips), unit="clip", shown=progress)
        for clip, path in zip(clips, made):
            if isinstance(path, InputError):
                unreadable.append(str(path))
            else:
                kept.append((clip, path))
    if unreadable:
        logger.warning("%s: %d of %d clips are left out: %s", cache.parent, len(unreadable), len(clips),
                       "; ".join(unreadable[:5]))
    if not kept:
        raise InputError(f"{cache.parent}: expected clips that can be read. Received: {unreadable[0]}")
    return zip(*kept)


def epoch_steps(clips, batch_size):
    """Return the number of batches that show every clip once; the last one goes on with the next pass."""
    return math.ceil(len(clips.names) / batch_size)


def _clip_batches(clips, batch_size, spec, seed, first_step):
    """Return an endless Dataset of (log_mel, target) of one corpus, in whole batches, shuffled by (seed, pass)."""
    number = len(clips.names)
    first_pass, skipped = divmod(first_step * batch_size, number)
    order = tf.data.Dataset.range(first_pass, np.iinfo(np.int32).max).flat_map(
        lambda index: tf.data.Dataset.from_tensor_slices(
            tf.random.experimental.stateless_shuffle(tf.range(number), seed=[seed, index])))
    activity = tf.constant(clips.activity, tf.float32)

    def read(step, indices):
        log_mel = tf.ensure_shape(tf.numpy_function(clips.read, [indices], tf.float32),
                                  [batch_size, clips.frames, clips.n_mels])
        return augment(log_mel, tf.gather(activity, indices), spec, tf.stack([tf.constant(seed, tf.int64), step]))

    batches = order.skip(skipped).batch(batch_size, drop_remainder=True).enumerate(first_step)
    return batches.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def joint_dataset(clips, tasks, batch_sizes, *, spec, seed, first_step=0):
    """Make endless batches with a fixed number of clips per task (paper 2, section 2: 64 scene and 128 event clips).

    Rows of other tasks have sample weight 0, so that each loss is the mean over its own rows. Clips are augmented
    within a task. Passes over a corpus depend on (seed, pass) alone, so a resumed training sees the batches of an
    unbroken one.

    Args:
        clips: {task name: ClipFeatures}.
        tasks: tuple of Task.
        batch_sizes: {task name: number of clips per batch}.
        spec: AugmentSpec.
        seed: of the order and the augmentation.
        first_step: number of batches that are left out.

    Returns:
        tf.data.Dataset of log_mel (batch, frames, n_mels), {task name: target (batch, outputs)},
        {task name: sample weight (batch,)}; the rows of a batch are in the order of the tasks.
    """
    streams = tuple(_clip_batches(clips[task.name], batch_sizes[task.name], spec, seed + index, first_step)
                    for index, task in enumerate(tasks))
    rows = [batch_sizes[task.name] for task in tasks]

    def join(*parts):
        targets = {task.name: tf.pad(parts[index][1], [[sum(rows[:index]), sum(rows[index + 1:])], [0, 0]])
                   for index, task in enumerate(tasks)}
        weights = {task.name: tf.repeat([1.0 if other is task else 0.0 for other in tasks], rows) for task in tasks}
        return tf.concat([log_mel for log_mel, _ in parts], axis=0), targets, weights

    return tf.data.Dataset.zip(streams).map(join, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(4)


def predict_clips(model, clips, batch_size=64):
    """Return the posteriors of all tasks for ClipFeatures: {task name: float32 (clips, outputs)}."""
    parts = [model.predict_on_batch(clips.read(range(first, min(first + batch_size, len(clips.names)))))
             for first in range(0, len(clips.names), batch_size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
