"""The signatures of an exported network: functions of waveforms, WAV files or features, and its description.

They hold core TensorFlow operations alone. saved_models/README.md is their contract.
"""
import json
import math

import keras
import numpy as np
import tensorflow as tf

from polysed_keras.audio import LogMelSpectrogram
from polysed_keras.errors import expect
from polysed_keras.export.description import cut_samples
from polysed_keras.export.wav_bytes import decode_wav
from polysed_keras.models import NORMALIZATION

SEGMENTS_PER_STEP = 32  # bounds the memory of one request of any length
OUTPUTS = {"posteriors": tf.float32, "activity": tf.uint8}


def build_signatures(model, experiment, description):
    """Return the functions that an export of a network without cuDNN's kernels is made of, with what `describe` says.

    Returns:
        {signature: (function of a tensor that returns a dict of tensors, TensorSpec of the tensor)}.
    """
    functions = _Signatures(model, experiment, description)
    return {
        "serving_default": (functions.waveform, tf.TensorSpec([None, None], name="waveform")),
        "detect_wav": (functions.wav_bytes, tf.TensorSpec([None], tf.string, name="wav_bytes")),
        "log_mel": (functions.log_mel, tf.TensorSpec([None, None, experiment.features.n_mels], name="log_mel")),
        "describe": (functions.describe, tf.TensorSpec([None], tf.int32, name="query")),
    }


def read_exported_weights(network, folder):
    """Give a network of build_model the weights of its export, which hold them as one variable.

    Args:
        network: keras.Model of the export's Experiment.
        folder: the version's folder, whose checksums were checked.

    Raises:
        InputError: the export is of another network, or of an older version that had many variables.
    """
    reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    weights = _float_weights(network)
    shape = [sum(math.prod(weight.shape) for weight in weights)]
    names = [name for name, found in reader.get_variable_to_shape_map().items() if found == shape]
    expect(len(names) == 1, str(folder), f"one variable with the {shape[0]:,} weights of its network",
           f"{len(names)} of that size", "Give the run that was exported, or export it again.")
    parts = np.split(reader.get_tensor(names[0]), np.cumsum([math.prod(weight.shape) for weight in weights])[:-1])
    for weight, part in zip(weights, parts):
        weight.assign(part.reshape(weight.shape))
    network.get_layer(NORMALIZATION).finalize_state()  # which the layer's constants are made of


def _float_weights(model):
    model.get_layer(NORMALIZATION).finalize_state()
    return [weight for weight in model.weights if weight.dtype == "float32"]


def join_tasks(outputs, tasks):
    """Join a network's outputs {task name: tensor}, task by task, to posteriors float32 and activity uint8."""
    posteriors = tf.concat([task.label_posteriors(outputs[task.name]) for task in tasks], axis=-1)
    return posteriors, tf.concat([task.decode(outputs[task.name]) for task in tasks], axis=-1)


class _Signatures:
    """The functions of all signatures, which share one traced network and the sizes of a segment."""

    def __init__(self, model, experiment, description):
        self.experiment, self.description = experiment, description
        self.frames, self.labels = experiment.training.segment_frames, len(description["labels"])
        # rows of the answer to a segment
        self.rows = 1 if experiment.clip_level else self.frames // experiment.model.output_stride
        self.segment_samples = self.frames * experiment.features.hop_length
        self.cut_samples = cut_samples(experiment)  # more: the window of the last frame reaches beyond the segment
        self.front_end = LogMelSpectrogram(experiment.features)
        self.network = self._trace_network(model)
        self.listen = tf.compat.v1.wrap_function(self._listen, [tf.TensorSpec([None, self.cut_samples])])

    def _trace_network(self, model):
        """Return a function of segments of features that gives posteriors and activity, both (segments, rows, labels).

        Tracing a network of many tasks takes most of an export's time, and Keras traces each signature twice. This
        function is traced once, for all signatures. Its weights are one variable, because every function around it
        would otherwise be given every variable that it reads: 780 for 16 tasks.
        """
        weights = _float_weights(model)
        sizes = [math.prod(weight.shape) for weight in weights]
        joined = tf.Variable(tf.concat([tf.reshape(weight, [-1]) for weight in weights], axis=0), name="weights")

        def predict(segments):
            # Not only checked at the end, because max-pooling may lose a NaN.
            segments = tf.debugging.check_numerics(segments, "expected finite features, as of samples from -1 to 1")
            values = [tf.reshape(part, weight.shape) for weight, part in zip(weights, tf.split(joined, sizes))]
            with keras.StatelessScope(zip(weights, values)):
                outputs = model(segments, training=False)
            posteriors, activity = join_tasks(outputs, self.experiment.tasks)
            posteriors = tf.debugging.check_numerics(posteriors, "expected features in dB that give finite posteriors")
            shape = [-1, self.rows, self.labels]
            return tf.reshape(posteriors, shape), tf.reshape(activity, shape)

        return tf.compat.v1.wrap_function(predict, [tf.TensorSpec([None, *self.experiment.input_shape])])

    def _listen(self, cut):
        """Predict segments of samples, (segments, cut_samples)."""
        return self._in_steps(lambda part: self.network(self.front_end(part)[:, :self.frames]), cut)

    def _in_steps(self, predict, segments):
        """Predict a few segments per step and join the answers, so that memory holds only one step."""
        def step(index, *done):
            parts = predict(segments[index:index + SEGMENTS_PER_STEP])
            return (index + SEGMENTS_PER_STEP, *(tf.concat(pair, axis=0) for pair in zip(done, parts)))

        none_yet = [tf.zeros([0, self.rows, self.labels], dtype) for dtype in OUTPUTS.values()]
        shapes = [tf.TensorShape([]), *[tf.TensorShape([None, self.rows, self.labels])] * len(none_yet)]
        _, *parts = tf.while_loop(lambda index, *_: index < tf.shape(segments)[0], step, [0, *none_yet], shapes,
                                  parallel_iterations=1)
        return parts

    def _cut(self, waveform):
        """Cut (batch, samples) into (batch, segments, cut_samples), with zeros appended."""
        return tf.signal.frame(waveform, self.cut_samples, self.segment_samples, pad_end=True)

    def _num_rows(self, length, segment_length):
        """Return the rows of the answer to a length of input, of which `segment_length` make a segment."""
        return -(-length // (segment_length // self.rows))

    def _answers(self, predict, segments, rows):
        """Return the first rows of the answers to segments (batch, segments, ...): {output: (batch, rows, labels)}."""
        batch, number = tf.shape(segments)[0], tf.shape(segments)[1]
        parts = predict(tf.reshape(segments, [batch * number, *segments.shape[2:]]))
        shape = [batch, number * self.rows, self.labels]
        return {name: tf.reshape(part, shape)[:, :rows] for name, part in zip(OUTPUTS, parts)}

    def waveform(self, waveform):
        waveform = tf.debugging.check_numerics(waveform, "waveform: expected finite samples")
        rows = self._num_rows(tf.shape(waveform)[1], self.segment_samples)
        return self._answers(self.listen, self._cut(waveform), rows)

    def log_mel(self, log_mel):
        segments = tf.signal.frame(log_mel, self.frames, self.frames, pad_end=True,
                                   pad_value=self.experiment.features.silence, axis=1)
        rows = self._num_rows(tf.shape(log_mel)[1], self.frames)
        return self._answers(lambda parts: self._in_steps(self.network, parts), segments, rows)

    def wav_bytes(self, wav_bytes):
        """Join the segments of files, so that a short file costs no more beside a long one."""
        def read(content):
            waveform = decode_wav(content, self.experiment.features.sample_rate)
            return self._cut(waveform[None])[0], tf.size(waveform)

        spec = tf.RaggedTensorSpec([None, self.cut_samples], tf.float32, ragged_rank=0), tf.TensorSpec([], tf.int32)
        cut, num_samples = tf.map_fn(read, wav_bytes, fn_output_signature=spec)
        num_frames = self._num_rows(num_samples, self.segment_samples)
        inside = tf.sequence_mask(num_frames)
        answer = {"num_frames": num_frames}
        for name, part in zip(OUTPUTS, self.listen(cut.values)):
            padded = cut.with_values(part).to_tensor()
            shape = [tf.shape(padded)[0], tf.shape(padded)[1] * self.rows, self.labels]
            padded = tf.reshape(padded, shape)[:, :tf.shape(inside)[1]]
            answer[name] = tf.where(inside[..., None], padded, tf.zeros([], padded.dtype))
        return answer

    def describe(self, query):
        """Answer each row of a query. A server neither calls a signature without an input nor batches one without rows.

        With a resolution of float32 the times of frames would differ from those of a reference.
        """
        constants = {key: tf.constant(json.dumps(value) if isinstance(value, dict) else value,
                                      tf.float64 if key == "time_resolution" else None)
                     for key, value in self.description.items()}
        return {key: tf.repeat(value[None], tf.shape(query)[0], axis=0) for key, value in constants.items()}
