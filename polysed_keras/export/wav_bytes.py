"""Decode WAV files in a graph of core operations, and encode them.

TensorFlow's own DecodeWav refuses files that other readers take (floats, a chunk of odd length, the extensible format).
Its messages quote the file's bytes, so that they are not text.
"""
import io

import numpy as np
import tensorflow as tf
from scipy.io import wavfile

CHUNKS = 64  # read at most, because a hostile file could hold millions
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE


def encode_wav(waveform, sample_rate):
    """Return the bytes of a WAV file of 32-bit floats that holds a mono waveform (samples,) unchanged."""
    file = io.BytesIO()
    wavfile.write(file, sample_rate, np.asarray(waveform, np.float32))
    return file.getvalue()


def decode_wav(content, sample_rate):
    """Decode a WAV file of 16-bit PCM or 32-bit floats.

    Args:
        content: string tensor (), the file's bytes.
        sample_rate: int, the rate that the file must have, Hz.

    Returns:
        float32 (samples,), channels averaged.

    Raises:
        tf.errors.InvalidArgumentError: when the graph runs, for a file that is no WAV file, is truncated, or has
            another format, another rate, no samples, NaN or infinity.
    """
    octets = tf.io.decode_raw(content, tf.uint8)
    length = tf.size(octets, tf.int64)
    form, data = _find_chunks(octets, length)
    code, channels, rate, bits = (_number(octets, form + at, size) for at, size in ((0, 2), (2, 2), (4, 4), (14, 2)))
    code = tf.where(code == EXTENSIBLE, _number(octets, form + 24, 2), code)
    size, received = _number(octets, data - 4, 4), length - data
    samples = size // tf.maximum(channels * bits // 8, 1)
    checks = [
        (_is_text(octets, 0, "RIFF") & _is_text(octets, 8, "WAVE"), "a WAV file. Received:", length,
         "bytes that are none."),
        ((form > 0) & (received >= 0),
         f"a format, then samples, among its first {CHUNKS} chunks. Received: a file without."),
        (((code == PCM) & (bits == 16) | (code == FLOAT) & (bits == 32)) & (channels > 0),
         "16-bit PCM (format 1) or 32-bit floats (format 3). Received: format", code, "of", bits, "bits and", channels,
         "channels. Convert it."),
        (rate == sample_rate, f"the rate of the model, {sample_rate} Hz. Received:", rate, "Hz. Resample it."),
        (size <= received, "all samples that its header tells of. Received:", received, "of", size,
         "bytes. It is truncated."),
        (samples > 0, "audio. Received: a file whose header tells of 0 samples."),
    ]
    with tf.control_dependencies(_assert_in_order(checks)):
        content = octets[data:data + samples * channels * bits // 8]
    waveform = tf.reduce_mean(_samples(content, code, [samples, channels]), axis=1)
    return tf.debugging.check_numerics(waveform, "wav_bytes: expected finite samples")


def _samples(octets, code, shape):
    """Return bytes as float32 samples of a shape."""
    def of_type(dtype):
        return tf.cast(tf.bitcast(tf.reshape(octets, tf.stack([*shape, dtype.size])), dtype), tf.float32)

    return tf.cond(code == FLOAT, lambda: of_type(tf.float32), lambda: of_type(tf.int16) / 32768.0)


def _find_chunks(octets, length):
    """Return the positions after the headers of the format chunk (0 if missing) and of the samples (beyond the end)."""
    def is_before_samples(position, _):
        return (position + 8 <= length) & ~_is_text(octets, position, "data")

    def step(position, form):
        size = _number(octets, position + 4, 4)
        return position + 8 + size + size % 2, tf.where(_is_text(octets, position, "fmt "), position + 8, form)

    position, form = tf.while_loop(is_before_samples, step, [tf.constant(12, tf.int64), tf.constant(0, tf.int64)],
                                   maximum_iterations=CHUNKS)
    return form, tf.where(_is_text(octets, position, "data"), position, length) + 8


def _octets_at(octets, position, number):
    """Return a number of bytes, zeros beyond the end."""
    return tf.concat([octets[position:position + number], tf.zeros([number], tf.uint8)], axis=0)[:number]


def _number(octets, position, size):
    """Return a little-endian number of `size` bytes, int64."""
    digits = tf.cast(_octets_at(octets, position, size), tf.int64)
    return tf.reduce_sum(digits * [256 ** power for power in range(size)])


def _is_text(octets, position, text):
    return tf.reduce_all(_octets_at(octets, position, len(text)) == tf.constant(list(text.encode()), tf.uint8))


def _assert_in_order(checks):
    """Return the last of assertions that wait for each other, so that the first mistake is the one reported."""
    done = []
    for condition, *message in checks:
        parts = [part if isinstance(part, str) else tf.strings.as_string(part) for part in message]
        with tf.control_dependencies(done):
            done = [tf.debugging.Assert(condition, [tf.strings.join(["wav_bytes: expected", *parts], " ")])]
    return done
