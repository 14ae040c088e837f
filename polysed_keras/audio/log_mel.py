"""Log-mel features: one layer for training, evaluation and exported graphs, and a cache on disk."""
import functools
import logging
import math
import pathlib

import keras
import librosa
import numpy as np
import tensorflow as tf

from polysed_keras.audio.digests import audio_digest
from polysed_keras.audio.files import audio_blocks, audio_info, load_audio
from polysed_keras.errors import InputError, expect
from polysed_keras.files import atomic_file, short_name

logger = logging.getLogger(__name__)


@functools.cache
def mel_matrix(spec):
    """Return the mel filters of a LogMelSpec: float32 (n_fft // 2 + 1, n_mels)."""
    if spec.mel_scale == "htk":
        with tf.init_scope():  # a constant, even while a graph is traced
            return tf.signal.linear_to_mel_weight_matrix(spec.n_mels, spec.n_fft // 2 + 1, spec.sample_rate, spec.fmin,
                                                         spec.fmax).numpy()
    return librosa.filters.mel(sr=spec.sample_rate, n_fft=spec.n_fft, n_mels=spec.n_mels, fmin=spec.fmin,
                               fmax=spec.fmax).T.astype(np.float32)


@keras.saving.register_keras_serializable("polysed_keras")
class LogMelSpectrogram(keras.layers.Layer):
    """Keras layer from waveforms to log-mel features (paper 1, section 4.2).

    Frame i covers the samples [hop i, hop i + win_length); zeros are appended at the end. The steps are a periodic Hann
    window, the power spectrogram, mels and a logarithm, as the spec says. No value depends on the rest of the clip or
    batch.

    Args:
        spec: LogMelSpec.

    Input shape: float32 (batch, samples).
    Output shape: float32 (batch, ceil(samples / hop_length), n_mels), in dB.
    """

    def __init__(self, spec, **kwargs):
        super().__init__(trainable=False, dtype="float32", **kwargs)
        self.spec = spec

    def call(self, waveform):
        """Compute the log-mel features of a batch of waveforms."""
        spec = self.spec
        num_samples = tf.shape(waveform)[1]
        padded = spec.num_frames(num_samples) * spec.hop_length + spec.win_length - spec.hop_length
        waveform = tf.pad(waveform, [[0, 0], [0, padded - num_samples]])
        spectrum = tf.signal.stft(waveform, spec.win_length, spec.hop_length, spec.n_fft)
        power = tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))
        return log_of_mels((power if spec.power == 2 else tf.sqrt(power)) @ mel_matrix(spec), spec)


def log_of_mels(mels, spec):
    """Take the logarithm of mel energies, a tensor of any shape, as a LogMelSpec says."""
    if spec.log_offset:
        return tf.math.log(mels + spec.log_offset)
    return 10.0 / math.log(10.0) * tf.math.log(tf.maximum(mels, 10.0 ** (spec.silence / 10.0)))


def decibels(log_mel, spec):
    """Convert log-mel features to decibels for pictures: those of a LogMelSpec with `log_offset` are no decibels."""
    return log_mel * (20.0 / spec.power / math.log(10.0)) if spec.log_offset else log_mel


@functools.cache
def _log_mel_function(spec):
    layer = LogMelSpectrogram(spec)
    return tf.function(lambda waveform: layer(waveform), input_signature=[tf.TensorSpec([None, None], tf.float32)])


def compute_log_mel(waveform, spec, chunk_frames=4096):
    """Compute the log-mel features of one waveform, in chunks so that memory stays bounded.

    Args:
        waveform: float32 (samples,) at spec.sample_rate.
        spec: LogMelSpec.
        chunk_frames: frames that are computed at a time.

    Returns:
        float32 (ceil(samples / hop_length), n_mels), in dB.

    Example:
        >>> log_mel = compute_log_mel(load_audio("street.wav"), LogMelSpec())
    """
    function, num_frames = _log_mel_function(spec), spec.num_frames(len(waveform))
    chunks = []
    for start in range(0, num_frames, chunk_frames):
        frames = min(chunk_frames, num_frames - start)
        begin = start * spec.hop_length
        samples = waveform[begin:begin + (frames - 1) * spec.hop_length + spec.win_length]
        chunks.append(function(samples[None])[0, :frames].numpy())
    return np.concatenate(chunks) if chunks else np.zeros((0, spec.n_mels), np.float32)


def coarse_log_mel(path, spec, most_frames):
    """Compute the log-mel features of an audio file of any length for a picture, in bounded memory.

    Args:
        path: audio file.
        spec: LogMelSpec.
        most_frames: about how many frames are wanted; as many neighbours as that takes are joined by their maximum.

    Returns:
        float32 (frames, n_mels), in dB whatever the spec says; and the seconds per frame.

    Raises:
        InputError: see audio_blocks.
    """
    joined = max(1, math.ceil(audio_info(path).duration / spec.time_resolution / most_frames))
    frames, coarse = np.zeros((0, spec.n_mels), np.float32), []
    for block in _log_mel_blocks(path, spec):
        frames = np.concatenate([frames, block])
        whole = len(frames) // joined * joined
        coarse.append(frames[:whole].reshape(-1, joined, spec.n_mels).max(axis=1))
        frames = frames[whole:]
    if len(frames):
        coarse.append(frames.max(axis=0, keepdims=True))
    return decibels(np.concatenate(coarse), spec), joined * spec.time_resolution


def _log_mel_blocks(path, spec):
    """Yield the features of an audio file in blocks; compute_log_mel returns their concatenation."""
    pending = np.zeros(0, np.float32)
    for block in audio_blocks(path, spec.sample_rate):
        pending = np.concatenate([pending, block])
        whole = (len(pending) - spec.win_length) // spec.hop_length + 1  # frames whose samples are all there
        if whole > 0:
            yield compute_log_mel(pending[:(whole - 1) * spec.hop_length + spec.win_length], spec)[:whole]
            pending = pending[whole * spec.hop_length:]
    yield compute_log_mel(pending, spec)


def _features_file(path, spec, cache):
    """Return the file in a cache for the features of an audio file's content, None if the audio cannot be read."""
    digest = audio_digest(path, cache)
    name = short_name(pathlib.Path(path).stem, 150)
    return digest and pathlib.Path(cache) / f"{name}-{spec.digest()}-{digest}.npy"


def _keep(log_mel, file):
    with atomic_file(file) as temporary:
        with open(temporary, "wb") as opened:  # np.save does not say why the data cannot be written.
            np.lib.format.write_array_header_1_0(opened, np.lib.format.header_data_from_array_1_0(log_mel))
            opened.write(np.ascontiguousarray(log_mel).data)


def cached_log_mel(path, spec, cache):
    """Load the log-mel features of an audio file from a cache, or compute and keep them.

    Features are those of the audio's content (audio_digest), whatever its times are and wherever it lies. A cache that
    cannot be written costs time but not the result: a warning is logged.

    Args:
        path: audio file.
        spec: LogMelSpec.
        cache: folder for the features, which are kept as STEM-DIGEST-DIGEST.npy, of the spec and of the audio.

    Returns:
        float32 (frames, n_mels), in dB.

    Raises:
        InputError: see load_audio.
    """
    file = _features_file(path, spec, cache)
    if file and file.is_file():
        try:
            return np.load(file)
        except (OSError, ValueError, EOFError):
            logger.warning("%s: unreadable features are made anew.", file)
    log_mel = compute_log_mel(load_audio(path, spec.sample_rate), spec)
    if file and file == _features_file(path, spec, cache):  # Otherwise the audio was replaced meanwhile.
        try:
            _keep(log_mel, file)
        except InputError as error:
            logger.warning("features are not kept: %s", error)
    return log_mel


def store_log_mel(path, spec, cache):
    """Keep the log-mel features of an audio file in a cache and return the cache file; arguments as cached_log_mel.

    Raises:
        InputError: see load_audio; the audio was replaced while it was read; or the cache cannot be written.
    """
    file = _features_file(path, spec, cache)
    if not (file and file.is_file()):
        log_mel = compute_log_mel(load_audio(path, spec.sample_rate), spec)
        expect(file and file == _features_file(path, spec, cache), path, "audio that stays as it is while it is read",
               "audio that was replaced", "Begin again when all of it is written.")
        _keep(log_mel, file)
    return file


def read_log_mel(path, frames, n_mels):
    """Read the first frames of a file that store_log_mel wrote.

    np.load parses the header as Python code, which sometimes fails in Python 3.11 if another thread parses too (CPython
    issue 106905), and TensorFlow traces a network while its clips are read.

    Args:
        path: file of features.
        frames: number of frames to read.
        n_mels: mel bands of the features.

    Returns:
        float32 (at most `frames`, n_mels), in dB.
    """
    with open(path, "rb") as file:
        file.seek(8)  # The length of the header stands behind the magic string and the version.
        header_bytes = int.from_bytes(file.read(2), "little")
        return np.fromfile(file, np.float32, frames * n_mels, offset=header_bytes).reshape(-1, n_mels)
