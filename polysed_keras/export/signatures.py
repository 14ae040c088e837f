"""The signatures of an exported network: functions of waveforms, WAV files or features, and its description.

They hold core TensorFlow operations alone. saved_models/README.md is their contract.
"""
import dataclasses
import json
import math

import keras
import tensorflow as tf

from polysed_keras.audio import SILENCE_DB, LogMelSpectrogram
from polysed_keras.export.wav_bytes import decode_wav
from polysed_keras.models import NORMALIZATION
from polysed_keras.specs import task_labels

SEGMENTS_PER_STEP = 32  # bounds the memory of one request of any length
OUTPUTS = {"posteriors": tf.float32, "activity": tf.uint8}


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Sizes of a segment and of the answer to it."""

    segment_frames: int
    segment_samples: int
    cut_samples: int  # more than segment_samples, because the window of the last frame reaches beyond the segment
    outputs: int  # rows of the answer per segment: its frames, or 1 if clips are labelled as a whole
    labels: int


def cut_samples(experiment):
    """Return the number of samples from the begin of a segment's first window to the end of its last one."""
    return (experiment.training.segment_frames - 1) * experiment.features.hop_length + experiment.features.win_length


def _layout_of(experiment):
    features, frames = experiment.features, experiment.training.segment_frames
    return _Layout(frames, frames * features.hop_length, cut_samples(experiment),
                   1 if experiment.clip_level else frames, len(task_labels(experiment.tasks)))


def describe(experiment, name, version):
    """Return the description that travels inside an export and in its card.json.

    Args:
        experiment: Experiment whose tasks are resolved.
        name: str, of the model's folder.
        version: int, of the version's folder.

    Returns:
        dict: name, version, labels, sample_rate (Hz), hop_length and win_length (samples), segment_frames,
        time_resolution (seconds per output: a frame, or a clip if clips are labelled as a whole), experiment (a dict).
    """
    features, layout = experiment.features, _layout_of(experiment)
    return {
        "name": name, "version": version,
        "labels": list(task_labels(experiment.tasks)), "sample_rate": features.sample_rate,
        "hop_length": features.hop_length, "win_length": features.win_length, "segment_frames": layout.segment_frames,
        "time_resolution": features.time_resolution * (layout.segment_frames // layout.outputs),
        "experiment": experiment.to_dict(),
    }


def build_signatures(model, experiment, name, version):
    """Return the functions that an export is made of.

    Args:
        model: a network of build_model without cuDNN's kernels.
        experiment: Experiment whose tasks are resolved.
        name: str, of the model's folder.
        version: int, of the version's folder.

    Returns:
        {signature: (function of a tensor that returns a dict of tensors, TensorSpec of the tensor)}.
    """
    layout, features = _layout_of(experiment), experiment.features
    network = _network_function(model, experiment, layout)
    listen = _listen_function(network, features, layout)
    return {
        "serving_default": (_waveform_function(listen, layout), tf.TensorSpec([None, None], name="waveform")),
        "detect_wav": (_wav_function(listen, layout, features.sample_rate),
                       tf.TensorSpec([None], tf.string, name="wav_bytes")),
        "log_mel": (_log_mel_function(lambda segments: _in_steps(network, segments, layout), layout),
                    tf.TensorSpec([None, None, features.n_mels], name="log_mel")),
        "describe": (_describe_function(describe(experiment, name, version)),
                     tf.TensorSpec([None], tf.int32, name="query")),
    }


def _network_function(model, experiment, layout):
    """Return a function of segments of features that gives posteriors and activity, both (segments, outputs, labels).

    Tracing a network of many tasks takes most of an export's time, and Keras traces each signature twice. This function
    is traced once, for all signatures. Its weights are one variable, because every function around it would otherwise
    be given every variable that it reads: 780 for 16 tasks.
    """
    model.get_layer(NORMALIZATION).finalize_state()
    tasks, shape = experiment.tasks, [-1, layout.outputs, layout.labels]
    weights = [weight for weight in model.weights if weight.dtype == "float32"]
    sizes = [math.prod(weight.shape) for weight in weights]
    joined = tf.Variable(tf.concat([tf.reshape(weight, [-1]) for weight in weights], axis=0), name="weights")

    def predict(segments):
        # Not only checked at the end, because max-pooling may lose a NaN.
        segments = tf.debugging.check_numerics(segments, "expected finite features, as of samples from -1 to 1")
        values = [tf.reshape(part, weight.shape) for weight, part in zip(weights, tf.split(joined, sizes))]
        with keras.StatelessScope(zip(weights, values)):
            outputs = model(segments, training=False)
        posteriors, activity = join_tasks(outputs, tasks)
        posteriors = tf.debugging.check_numerics(posteriors, "expected features in dB that give finite posteriors")
        return tf.reshape(posteriors, shape), tf.reshape(activity, shape)

    segments = tf.TensorSpec([None, layout.segment_frames, experiment.features.n_mels])
    return tf.compat.v1.wrap_function(predict, [segments])


def join_tasks(outputs, tasks):
    """Join a network's outputs {task name: tensor}, task by task, to posteriors float32 and activity uint8."""
    posteriors = tf.concat([task.label_posteriors(outputs[task.name]) for task in tasks], axis=-1)
    return posteriors, tf.concat([task.decode(outputs[task.name]) for task in tasks], axis=-1)


def _listen_function(network, features, layout):
    """Return the network's function behind its front end: it takes segments of samples, (segments, cut_samples)."""
    front_end = LogMelSpectrogram(features)

    def listen(cut):
        return _in_steps(lambda part: network(front_end(part)[:, :layout.segment_frames]), cut, layout)

    return tf.compat.v1.wrap_function(listen, [tf.TensorSpec([None, layout.cut_samples])])


def _in_steps(predict, segments, layout):
    """Predict a few segments per step and join the answers, so that memory holds only one step."""
    def step(index, *done):
        parts = predict(segments[index:index + SEGMENTS_PER_STEP])
        return (index + SEGMENTS_PER_STEP, *(tf.concat(pair, axis=0) for pair in zip(done, parts)))

    none_yet = [tf.zeros([0, layout.outputs, layout.labels], dtype) for dtype in OUTPUTS.values()]
    shapes = [tf.TensorShape([]), *[tf.TensorShape([None, layout.outputs, layout.labels])] * len(none_yet)]
    _, *parts = tf.while_loop(lambda index, *_: index < tf.shape(segments)[0], step, [0, *none_yet], shapes,
                              parallel_iterations=1)
    return parts


def _cut_waveform(waveform, layout):
    """Cut (batch, samples) into (batch, segments, cut_samples), with zeros appended."""
    return tf.signal.frame(waveform, layout.cut_samples, layout.segment_samples, pad_end=True)


def _answers(predict, segments, rows, layout):
    """Return the first rows of the answers to segments (batch, segments, ...): {output: (batch, rows, labels)}."""
    batch, number = tf.shape(segments)[0], tf.shape(segments)[1]
    parts = predict(tf.reshape(segments, [batch * number, *segments.shape[2:]]))
    shape = [batch, number * layout.outputs, layout.labels]
    return {name: tf.reshape(part, shape)[:, :rows] for name, part in zip(OUTPUTS, parts)}


def _waveform_function(listen, layout):
    def serve(waveform):
        waveform = tf.debugging.check_numerics(waveform, "waveform: expected finite samples")
        rows = _ceil_divide(tf.shape(waveform)[1], layout.segment_samples // layout.outputs)
        return _answers(listen, _cut_waveform(waveform, layout), rows, layout)

    return serve


def _log_mel_function(predict, layout):
    def serve(log_mel):
        rows = _ceil_divide(tf.shape(log_mel)[1], layout.segment_frames // layout.outputs)
        segments = tf.signal.frame(log_mel, layout.segment_frames, layout.segment_frames, pad_end=True,
                                   pad_value=SILENCE_DB, axis=1)
        return _answers(predict, segments, rows, layout)

    return serve


def _ceil_divide(number, divisor):
    return -(-number // divisor)


def _wav_function(listen, layout, sample_rate):
    """Return the function of WAV files. It joins their segments: a short file costs no more beside a long one."""
    spec = tf.RaggedTensorSpec([None, layout.cut_samples], tf.float32, ragged_rank=0), tf.TensorSpec([], tf.int32)

    def read(content):
        waveform = decode_wav(content, sample_rate)
        return _cut_waveform(waveform[None], layout)[0], tf.size(waveform)

    def serve(wav_bytes):
        cut, num_samples = tf.map_fn(read, wav_bytes, fn_output_signature=spec)
        num_frames = _ceil_divide(num_samples, layout.segment_samples // layout.outputs)
        inside = tf.sequence_mask(num_frames)
        answer = {"num_frames": num_frames}
        for name, part in zip(OUTPUTS, listen(cut.values)):
            padded = cut.with_values(part).to_tensor()
            shape = [tf.shape(padded)[0], tf.shape(padded)[1] * layout.outputs, layout.labels]
            padded = tf.reshape(padded, shape)[:, :tf.shape(inside)[1]]
            answer[name] = tf.where(inside[..., None], padded, tf.zeros([], padded.dtype))
        return answer

    return serve


def _describe_function(description):
    """Return the function of `describe`, which answers each row of a query.

    The query is there because a server neither calls a signature without an input, nor batches one without rows.
    """
    def serve(query):
        # With a resolution of float32 the times of frames would differ from those of a reference.
        constants = {key: tf.constant(json.dumps(value) if key == "experiment" else value,
                                      tf.float64 if key == "time_resolution" else None)
                     for key, value in description.items()}
        return {key: tf.repeat(value[None], tf.shape(query)[0], axis=0) for key, value in constants.items()}

    return serve
