"""Warm-up requests, which TensorFlow Serving sends a model first, so that no client waits for the slow first answer."""
import pathlib

import tensorflow as tf

from polysed_keras.audio import SILENCE_DB

REQUESTS = pathlib.Path("assets.extra", "tf_serving_warmup_requests")  # where TensorFlow Serving looks


def write_warmup_requests(experiment, name, directory):
    """Write a TFRecord of PredictionLog: one segment of silence for each signature that runs the network.

    Args:
        experiment: Experiment of the exported network.
        name: str, the model's.
        directory: folder of the SavedModel.
    """
    path = pathlib.Path(directory) / REQUESTS
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, tensors in _silence(experiment).items():
            writer.write(_prediction_log(name, signature, tensors))


def _silence(experiment):
    """Return {signature: {input: TensorProto}}. A single value stands for a whole tensor: the file stays small."""
    features, frames = experiment.features, experiment.training.segment_frames
    wav = tf.audio.encode_wav(tf.zeros([features.hop_length, 1]), features.sample_rate).numpy()
    return {
        "serving_default": {"waveform": tf.make_tensor_proto(0.0, tf.float32, [1, frames * features.hop_length])},
        "detect_wav": {"wav_bytes": tf.make_tensor_proto([wav])},
        "log_mel": {"log_mel": tf.make_tensor_proto(SILENCE_DB, tf.float32, [1, frames, features.n_mels])},
    }


def _prediction_log(name, signature, tensors):
    """Return the bytes of PredictionLog(predict_log=PredictLog(request=PredictRequest(model_spec, inputs))).

    The numbers are those of the fields in tensorflow-serving-api's .proto files. That package need not be installed.
    """
    model_spec = _message((1, name.encode()), (3, signature.encode()))
    inputs = [(2, _message((1, key.encode()), (2, tensor.SerializeToString()))) for key, tensor in tensors.items()]
    return _message((6, _message((1, _message((1, model_spec), *inputs)))))


def _message(*fields):
    """Encode fields (number, bytes) as a protocol buffer: strings, entries of maps, and messages look alike in it."""
    return b"".join(bytes([number << 3 | 2]) + _varint(len(content)) + content for number, content in fields)


def _varint(number):
    low, high = number & 127, number >> 7
    return bytes([low | 128]) + _varint(high) if high else bytes([low])
