"""Warm-up requests, which TensorFlow Serving sends a model first, so that no client waits for the slow first answer."""
import pathlib

import tensorflow as tf

REQUESTS = pathlib.Path("assets.extra", "tf_serving_warmup_requests")  # where TensorFlow Serving looks


def write_warmup_requests(experiment, name, directory):
    """Write a TFRecord of PredictionLog: one segment of silence for each signature that runs the network.

    A single value stands for each tensor, so that the file stays small. The numbers of the messages' fields are those
    in the .proto files of tensorflow-serving-api, which need not be installed.
    """
    features, (frames, n_mels) = experiment.features, experiment.input_shape
    wav = tf.audio.encode_wav(tf.zeros([features.hop_length, 1]), features.sample_rate).numpy()
    silence = {
        "serving_default": ("waveform", tf.make_tensor_proto(0.0, tf.float32, [1, frames * features.hop_length])),
        "detect_wav": ("wav_bytes", tf.make_tensor_proto([wav])),
        "log_mel": ("log_mel", tf.make_tensor_proto(features.silence, tf.float32, [1, frames, n_mels])),
    }
    path = pathlib.Path(directory) / REQUESTS
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, (key, tensor) in silence.items():
            model_spec = _message((1, name.encode()), (3, signature.encode()))
            request = _message((1, model_spec), (2, _message((1, key.encode()), (2, tensor.SerializeToString()))))
            writer.write(_message((6, _message((1, request)))))  # PredictionLog(predict_log=PredictLog(request))


def _message(*fields):
    """Encode fields (number, bytes) as a protocol buffer: strings, entries of maps, and messages look alike in it."""
    return b"".join(bytes([number << 3 | 2]) + _varint(len(content)) + content for number, content in fields)


def _varint(number):
    low, high = number & 127, number >> 7
    return bytes([low | 128]) + _varint(high) if high else bytes([low])
