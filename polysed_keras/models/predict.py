"""Posteriors, attention masks and activity of whole recordings, by networks that take segments."""
import re

import numpy as np

from polysed_keras.errors import InputError
from polysed_keras.specs import SILENCE_DB


def cut_segments(log_mel, segment_frames, silence=SILENCE_DB):
    """Cut a recording into segments that do not overlap, the last one filled with silence.

    Silence is the log-mel of zeros appended to the waveform, so that an exported graph agrees.

    Args:
        log_mel: (frames, n_mels), dB.
        segment_frames: int, frames per segment.
        silence: float, the log-mel of silence, LogMelSpec.silence.

    Returns:
        (segments, segment_frames, n_mels), dB.
    """
    segments = -(-len(log_mel) // segment_frames)
    padding = segments * segment_frames - len(log_mel)
    padded = np.pad(log_mel, ((0, padding), (0, 0)), constant_values=silence)
    return padded.reshape(segments, segment_frames, log_mel.shape[1])


def predict_posteriors(model, log_mel, tasks, segment_frames, batch_size=32, silence=SILENCE_DB):
    """Predict the posteriors of a whole recording, by segments without overlap (paper 1, section 4.2).

    Args:
        model: network of build_model for `tasks`.
        log_mel: (frames, n_mels), dB.
        tasks: tuple of Task.
        segment_frames: int, frames per segment.
        batch_size: int, segments at a time.
        silence: float, the log-mel of silence, LogMelSpec.silence.

    Returns:
        {task.name: float32 (frames / output_stride, task.num_outputs)}, rounded up.
    """
    outputs = model.predict(cut_segments(log_mel, segment_frames, silence), batch_size=batch_size, verbose=0)
    return {task.name: _join_segments(outputs[task.name], len(log_mel), segment_frames) for task in tasks}


def _join_segments(output, num_frames, segment_frames):
    """Join outputs (segments, outputs per segment, channels) to one per output_stride frames of the recording."""
    stride = segment_frames // output.shape[1]
    return output.reshape(-1, output.shape[-1])[:-(-num_frames // stride)]


def subnet_masks(model, log_mel, tasks, segment_frames, level=1):
    """Compute the attention masks of task-specific subnets for a recording (paper 1, section 3.2 and figure 2).

    Args:
        model: network of build_model with the head `attention`, for `tasks`.
        log_mel: (frames, n_mels), dB.
        tasks: tuple of Task.
        segment_frames: int, frames per segment.
        level: int from 1, the block of the subnets.

    Returns:
        {task.name: (time_frequency, channel)}, both from 0 to 1. The first is float32 (frames, n_mels), with values
        repeated because strides and poolings make the block's map smaller; the second is float32 (segments, channels),
        because channel attention pools over a segment.

    Raises:
        InputError: a network without such masks.
    """
    import keras
    names = [f"time_frequency_masks{level}", f"channel_masks{level}"]
    layers = {layer.name: layer for layer in model.layers}
    if not set(names) <= set(layers):
        levels = [name.removeprefix("channel_masks") for name in layers if re.fullmatch(r"channel_masks\d+", name)]
        raise InputError(f"level: expected one of the network's blocks of attention, {', '.join(levels) or 'none'}. "
                         f"Received: {level}.")
    network = keras.Model(model.inputs, [layers[name].output for name in names])
    maps, channel = network.predict(cut_segments(log_mel, segment_frames), verbose=0)
    # rows and columns of the map that frames and mels belong to
    n_mels = log_mel.shape[1]
    rows, columns = (np.arange(size) * part // size for size, part in zip((segment_frames, n_mels), maps.shape[1:3]))
    maps = maps[:, rows][:, :, columns].reshape(-1, n_mels, len(tasks))[:len(log_mel)]
    return {task.name: (maps[..., index], channel[:, index]) for index, task in enumerate(tasks)}


def join_label_posteriors(posteriors, tasks):
    """Join posteriors {task.name: (..., task.num_outputs)} to those of the labels of all tasks, (..., labels)."""
    return np.concatenate([task.label_posteriors(posteriors[task.name]) for task in tasks], axis=-1)


def decode_activity(posteriors, tasks, threshold=0.5):
    """Decode posteriors {task.name: (..., task.num_outputs)} into the activity of all tasks, uint8 (..., labels)."""
    return np.concatenate([task.decode(posteriors[task.name], threshold) for task in tasks], axis=-1)
