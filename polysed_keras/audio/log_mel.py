"""Log-mel features: one layer for training, evaluation and the exported graph; and their cache."""
import functools
import logging
import math
import pathlib

import keras
import librosa
import numpy as np
import tensorflow as tf

from polysed_keras.audio.files import load_audio
from polysed_keras.errors import InputError
from polysed_keras.files import atomic_file

logger = logging.getLogger(__name__)

SILENCE_DB = -100.0  # log-mel of digital silence


@functools.cache
def mel_matrix(spec):
    """Slaney mel filters from fmin to fmax of a LogMelSpec, float32 (n_fft // 2 + 1, n_mels)."""
    return librosa.filters.mel(sr=spec.sample_rate, n_fft=spec.n_fft, n_mels=spec.n_mels, fmin=spec.fmin,
                               fmax=spec.fmax).T.astype(np.float32)


@keras.saving.register_keras_serializable("polysed_keras")
class LogMelSpectrogram(keras.layers.Layer):
    """Waveform (batch, samples) -> log_mel (batch, ceil(samples / hop_length), n_mels) in dB.

    Frame i is samples [hop i, hop i + win_length), zeros appended at the end; periodic Hann window, power spectrogram,
    Slaney mels, 10 * log10(max(x, 1e-10)). Nothing depends on the rest of a clip or batch (paper 1, section 4.2).
    """

    def __init__(self, spec, **kwargs):
        super().__init__(trainable=False, dtype="float32", **kwargs)
        self.spec = spec

    def call(self, waveform):
        spec = self.spec
        num_samples = tf.shape(waveform)[1]
        padded = spec.num_frames(num_samples) * spec.hop_length + spec.win_length - spec.hop_length
        waveform = tf.pad(waveform, [[0, 0], [0, padded - num_samples]])
        spectrum = tf.signal.stft(waveform, spec.win_length, spec.hop_length, spec.n_fft)
        power = tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))
        decibel = 10.0 / math.log(10.0)
        return decibel * tf.math.log(tf.maximum(power @ mel_matrix(spec), 10.0 ** (SILENCE_DB / 10.0)))


@functools.cache
def _log_mel_function(spec):
    layer = LogMelSpectrogram(spec)
    return tf.function(lambda waveform: layer(waveform), input_signature=[tf.TensorSpec([None, None], tf.float32)])


def compute_log_mel(waveform, spec, chunk_frames=4096):
    """Log-mel features of one waveform, in chunks so that memory stays bounded.

    Args:
        waveform: float32 (samples,) at spec.sample_rate.

    Returns:
        float32 (ceil(samples / hop_length), n_mels), dB.
    """
    function, num_frames = _log_mel_function(spec), spec.num_frames(len(waveform))
    chunks = []
    for start in range(0, num_frames, chunk_frames):
        frames = min(chunk_frames, num_frames - start)
        begin = start * spec.hop_length
        samples = waveform[begin:begin + (frames - 1) * spec.hop_length + spec.win_length]
        chunks.append(function(samples[None])[0, :frames].numpy())
    return np.concatenate(chunks) if chunks else np.zeros((0, spec.n_mels), np.float32)


def _cache_path(path, spec, cache):
    return pathlib.Path(cache) / f"{pathlib.Path(path).stem}-{spec.digest()}.npy"


def _is_current(target, path):
    return target.is_file() and path.is_file() and target.stat().st_mtime_ns >= path.stat().st_mtime_ns


def cached_log_mel(path, spec, cache):
    """Log-mel features of an audio file, kept as `cache`/<stem>-<spec>.npy and made anew when the file is newer.

    A cache that cannot be written costs time, not the result: it is said and left out.

    Raises:
        InputError: as load_audio.
    """
    path, target = pathlib.Path(path), _cache_path(path, spec, cache)
    if _is_current(target, path):
        try:
            return np.load(target)
        except (OSError, ValueError, EOFError):
            logger.warning("%s: unreadable features are made anew.", target)
    log_mel = compute_log_mel(load_audio(path, spec.sample_rate), spec)
    try:
        with atomic_file(target) as temporary:
            np.save(temporary, log_mel)
    except InputError as error:
        logger.warning("features are not kept: %s", error)
    return log_mel


def store_log_mel(path, spec, cache):
    """As cached_log_mel, but what is returned is where the features are kept.

    Raises:
        InputError: as load_audio, and where the cache cannot be written.
    """
    path, target = pathlib.Path(path), _cache_path(path, spec, cache)
    if not _is_current(target, path):
        log_mel = compute_log_mel(load_audio(path, spec.sample_rate), spec)
        with atomic_file(target) as temporary:
            np.save(temporary, log_mel)
    return target


def read_log_mel(path, frames, n_mels):
    """The first frames of what store_log_mel wrote, float32 (at most `frames`, n_mels) in dB.

    np.load parses the header as Python, which fails now and then in Python 3.11 where another thread parses too (CPython's
    issue 106905): TensorFlow traces a network while its clips are read.
    """
    with open(path, "rb") as file:
        file.seek(8)  # behind the format's magic string and version: the length of the header
        header_bytes = int.from_bytes(file.read(2), "little")
        return np.fromfile(file, np.float32, frames * n_mels, offset=header_bytes).reshape(-1, n_mels)
