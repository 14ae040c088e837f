"""Posteriors, attention masks and activity of whole recordings, from networks that take segments."""
import re

import numpy as np

from polysed_keras.audio import SILENCE_DB
from polysed_keras.errors import InputError


def cut_segments(log_mel, segment_frames):
    """Cut log_mel (frames, n_mels) into segments that do not overlap, the last one filled with silence.

    Silence here is what the front end makes of zeros appended to the waveform, so an exported graph agrees.

    Returns:
        (segments, segment_frames, n_mels).
    """
    segments = -(-len(log_mel) // segment_frames)
    padding = segments * segment_frames - len(log_mel)
    padded = np.pad(log_mel, ((0, padding), (0, 0)), constant_values=SILENCE_DB)
    return padded.reshape(segments, segment_frames, log_mel.shape[1])


def predict_posteriors(model, log_mel, tasks, segment_frames, batch_size=32):
    """Posteriors of a whole recording (paper 1, section 4.2: test segments without overlap).

    Args:
        model: a network of build_model for `tasks`, a tuple of Task.
        log_mel: (frames, n_mels), dB.
        segment_frames: frames of a segment; batch_size: segments at a time.

    Returns:
        {task.name: float32 (frames, task.num_outputs)}.
    """
    outputs = model.predict(cut_segments(log_mel, segment_frames), batch_size=batch_size, verbose=0)
    return {task.name: outputs[task.name].reshape(-1, task.num_outputs)[:len(log_mel)] for task in tasks}


def subnet_masks(model, log_mel, tasks, segment_frames, level=1):
    """The attention masks of task-specific subnets for a recording (paper 1, section 3.2 and figure 2).

    Args:
        model: a network of build_model with the head `attention`, for `tasks`.
        log_mel: (frames, n_mels), dB.
        level: of the subnets' blocks, from 1.

    Returns:
        {task.name: (time_frequency, channel)}: float32 (frames, n_mels), repeated where strides and poolings before the
        block have made its map smaller, and float32 (segments, channels), because channel attention pools over a
        segment; both from 0 to 1.

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
    # the rows and columns of the map that frames and mels fell into
    n_mels = log_mel.shape[1]
    rows, columns = (np.arange(size) * part // size for size, part in zip((segment_frames, n_mels), maps.shape[1:3]))
    maps = maps[:, rows][:, :, columns].reshape(-1, n_mels, len(tasks))[:len(log_mel)]
    return {task.name: (maps[..., index], channel[:, index]) for index, task in enumerate(tasks)}


def decode_activity(posteriors, tasks, threshold=0.5):
    """Decode posteriors {task.name: (frames, outputs)}: activity of all tasks side by side, uint8 (frames, labels)."""
    return np.concatenate([task.decode(posteriors[task.name], threshold) for task in tasks], axis=-1)
