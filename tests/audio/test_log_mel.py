"""Log-mel features against librosa, what a frame depends on, and the cache."""
import dataclasses
import hashlib
import logging
import os
import shutil

import librosa
import numpy as np
import pytest
import soundfile
import tensorflow as tf

from polysed_keras.audio import log_mel as log_mel_module
from polysed_keras.audio.log_mel import (
    LogMelSpectrogram,
    cached_log_mel,
    coarse_log_mel,
    compute_log_mel,
    decibels,
    mel_matrix,
    read_log_mel,
    store_log_mel,
)
from polysed_keras.errors import InputError
from polysed_keras.specs.experiment import SILENCE_DB, LogMelSpec

SPEC = LogMelSpec()
SMALL = LogMelSpec(sample_rate=8000, win_length=320, hop_length=160, n_fft=512, n_mels=20, fmin=0.0, fmax=4000.0)


def noise(samples, seed=0, amplitude=0.5):
    return (amplitude * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def sine(samples, frequency=1000.0):
    return np.sin(2 * np.pi * frequency / 44100 * np.arange(samples)).astype(np.float32)


def chirp(samples):
    return librosa.chirp(fmin=60, fmax=20_000, sr=44100, length=samples).astype(np.float32)


def librosa_log_mel(waveform, spec):
    """librosa centres the window in n_fft, ours stands at the left: zeros in front move it there."""
    frames = -(-len(waveform) // spec.hop_length)
    front = (spec.n_fft - spec.win_length) // 2
    end = frames * spec.hop_length + spec.n_fft - len(waveform)
    power = librosa.feature.melspectrogram(
        y=np.pad(waveform.astype(np.float64), (front, end)), sr=spec.sample_rate, n_fft=spec.n_fft,
        hop_length=spec.hop_length,
        win_length=spec.win_length, window="hann", center=False, power=2.0, n_mels=spec.n_mels, fmin=spec.fmin,
        fmax=spec.fmax)
    return librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None).T[:frames]


# Against librosa

def assert_librosas(received, waveform, spec):
    """To 1e-3 dB; bands over 70 dB below the loudest of their frame are float32's rounding noise there."""
    expected = librosa_log_mel(waveform, spec)
    assert received.dtype == np.float32
    heard = expected > expected.max(axis=1, keepdims=True) - 70
    np.testing.assert_allclose(received[heard], expected[heard], rtol=0, atol=1e-3)
    assert np.abs(received - expected).max() < 1


@pytest.mark.parametrize("samples", [1, 881, 882, 883, 1764, 5000, 44100, 100_003])
@pytest.mark.parametrize("make", [noise, sine, chirp])
def test_log_mel_is_librosas(make, samples):
    assert_librosas(compute_log_mel(make(samples), SPEC), make(samples), SPEC)


@pytest.mark.parametrize("spec", [SMALL, LogMelSpec(n_fft=1764), LogMelSpec(n_mels=40, fmin=0.0, fmax=16000.0),
                                  LogMelSpec(16000, 640, 320, 1024, 64, 20.0, 8000.0)], ids=str)
def test_log_mel_of_other_specs_is_librosas(spec):
    assert_librosas(compute_log_mel(noise(20_000), spec), noise(20_000), spec)


@pytest.mark.parametrize("amplitude", [1e-4, 1.0])
def test_quiet_and_loud_sounds_are_librosas(amplitude):
    waveform = noise(10_000, amplitude=amplitude)
    assert_librosas(compute_log_mel(waveform, SPEC), waveform, SPEC)


def test_twice_the_amplitude_is_6_decibel():
    waveform = noise(20_000)
    np.testing.assert_allclose(compute_log_mel(2 * waveform, SPEC) - compute_log_mel(waveform, SPEC),
                               20 * np.log10(2), atol=1e-3)


def test_a_sine_is_loudest_in_its_band():
    peaks = librosa.mel_frequencies(66, fmin=50, fmax=22050)[1:-1]
    for frequency in (200.0, 1000.0, 9000.0):
        loudest = compute_log_mel(sine(44100, frequency), SPEC)[:-2].mean(axis=0).argmax()
        assert loudest == np.abs(peaks - frequency).argmin()


def test_mel_filters_are_slaneys():
    assert mel_matrix(SPEC).shape == (1025, 64)
    expected = librosa.filters.mel(sr=44100, n_fft=2048, n_mels=64, fmin=50, fmax=22050, htk=False, norm="slaney")
    np.testing.assert_allclose(mel_matrix(SPEC), expected.T)


# Frames

@pytest.mark.parametrize("samples, frames", [
    (0, 0), (1, 1), (159, 1), (160, 1), (161, 2), (320, 2), (321, 3), (8000, 50)])
def test_there_is_a_frame_for_every_hop_begun(samples, frames):
    assert compute_log_mel(noise(samples), SMALL).shape == (frames, 20)
    graph = tf.function(LogMelSpectrogram(SMALL), input_signature=[tf.TensorSpec([None, None])])
    assert graph(np.zeros((3, samples), np.float32)).shape == (3, frames, 20)
    assert graph(np.zeros((0, samples), np.float32)).shape == (0, frames, 20)


def test_silence_is_minus_100_decibel():
    np.testing.assert_allclose(compute_log_mel(np.zeros(10_000, np.float32), SPEC), SILENCE_DB, atol=1e-4)
    assert SILENCE_DB == -100.0


def test_frame_i_is_the_window_from_sample_hop_times_i():
    waveform = np.zeros(3200, np.float32)
    waveform[800:1120] = noise(320)  # the window of frame 5
    heard = (compute_log_mel(waveform, SMALL) > SILENCE_DB + 1).any(axis=1)
    assert np.flatnonzero(heard).tolist() == [4, 5, 6]


def test_a_frame_depends_on_its_window_alone():
    waveform = noise(16_000)
    changed = waveform.copy()
    changed[:1600] *= 100.0
    changed[3200:] = 0.0
    frames = slice(10, 18)  # frame 18 is samples 2880 .. 3199
    np.testing.assert_array_equal(compute_log_mel(changed, SMALL)[frames], compute_log_mel(waveform, SMALL)[frames])


def test_a_waveform_does_not_depend_on_the_batch():
    layer, waveforms = LogMelSpectrogram(SMALL), np.stack([noise(4000, 1), 1000 * noise(4000, 2), np.zeros(4000)])
    together = layer(waveforms.astype(np.float32)).numpy()
    for waveform, log_mel in zip(waveforms, together):
        np.testing.assert_allclose(layer(waveform[None].astype(np.float32))[0], log_mel, atol=1e-4)


@pytest.mark.parametrize("chunk_frames", [1, 2, 7, 99, 100, 101, 4096])
def test_chunks_make_the_same_features(chunk_frames):
    waveform = noise(16_000 - 3)
    assert_librosas(compute_log_mel(waveform, SMALL, chunk_frames), waveform, SMALL)
    np.testing.assert_allclose(compute_log_mel(waveform, SMALL, chunk_frames), compute_log_mel(waveform, SMALL),
                               rtol=0, atol=1e-4)


# The cache

@pytest.fixture
def audio(tmp_path):
    path = tmp_path / "mix.wav"
    soundfile.write(path, noise(8000, amplitude=0.1), 8000)
    return path


def features_in(folder):
    return sorted(path for path in folder.iterdir() if path.suffix == ".npy")


def test_features_are_kept_and_read_again(audio, tmp_path):
    first = cached_log_mel(audio, SMALL, tmp_path / "features")
    kept, = features_in(tmp_path / "features")
    assert kept.name == f"mix-{SMALL.digest()}-{hashlib.sha256(audio.read_bytes()).hexdigest()[:12]}.npy"
    np.testing.assert_array_equal(first, compute_log_mel(soundfile.read(audio, dtype="float32")[0], SMALL))
    np.save(kept, first + 1)
    np.testing.assert_array_equal(cached_log_mel(audio, SMALL, tmp_path / "features"), first + 1)


@pytest.mark.parametrize("seconds", [-1e5, -1e-6, 0, 1e-6, 1e5])
@pytest.mark.parametrize("samples", [4000, 8000])
def test_audio_that_was_replaced_is_read_again(seconds, samples, audio, tmp_path):
    """By newer or older audio of any length, or by some of the same time and size."""
    for keep in (cached_log_mel, lambda *arguments: np.load(store_log_mel(*arguments))):
        first = keep(audio, SMALL, tmp_path / "features")
        before = audio.stat()
        soundfile.write(audio, np.zeros(samples), 8000)
        os.utime(audio, ns=(before.st_atime_ns, before.st_mtime_ns + round(seconds * 1e9)))
        received = keep(audio, SMALL, tmp_path / "features")
        np.testing.assert_allclose(received, np.full((samples // 160, 20), -100), atol=1e-4)
        soundfile.write(audio, noise(8000, amplitude=0.1), 8000)
        np.testing.assert_array_equal(keep(audio, SMALL, tmp_path / "features"), first)


@pytest.mark.parametrize("keep", [cached_log_mel, store_log_mel])
def test_a_copied_folder_needs_no_new_features(keep, audio, tmp_path, monkeypatch):
    keep(audio, SMALL, tmp_path / "features")
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "features", copy / "features")
    shutil.copyfile(audio, copy / "mix.wav")
    os.utime(copy / "mix.wav", (0, 0))
    monkeypatch.setattr(log_mel_module, "load_audio", lambda *_: pytest.fail("the audio is decoded again"))
    keep(copy / "mix.wav", SMALL, copy / "features")
    assert len(features_in(copy / "features")) == 1


def test_recordings_of_one_name_have_features_each(audio, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "mix.wav"
    soundfile.write(other, np.zeros(8000), 8000)
    found = {path: store_log_mel(path, SMALL, tmp_path / "features") for path in (audio, other)}
    assert len(set(found.values())) == 2
    monkeypatch.setattr(log_mel_module, "load_audio", lambda *_: pytest.fail("one took the place of the other"))
    assert found == {path: store_log_mel(path, SMALL, tmp_path / "features") for path in (audio, other)}


def test_audio_that_is_replaced_while_it_is_read_is_not_taken_for_what_it_was(audio, tmp_path, monkeypatch):
    first, before = audio.read_bytes(), compute_log_mel(noise(8000, amplitude=0.1), SMALL)

    def replaced(path, rate):
        soundfile.write(audio, np.zeros(8000), 8000)
        return load_audio(path, rate)

    load_audio = log_mel_module.load_audio
    with monkeypatch.context() as patch:
        patch.setattr(log_mel_module, "load_audio", replaced)
        assert cached_log_mel(audio, SMALL, tmp_path / "features").max() < -99
        audio.write_bytes(first)
        with pytest.raises(InputError, match="mix.wav: expected audio that stays as it is while it is read"):
            store_log_mel(audio, SMALL, tmp_path / "features")
    audio.write_bytes(first)
    np.testing.assert_allclose(cached_log_mel(audio, SMALL, tmp_path / "features"), before, atol=0.1)


def test_features_of_audio_with_a_long_name_are_kept(audio, tmp_path):
    """And those of two whose names begin alike are two."""
    stored = set()
    for letter in "ab":
        path = audio.rename(tmp_path / f"{'é' * 120}{letter}.wav")
        stored.add(store_log_mel(path, SMALL, tmp_path / "features"))
        audio = path
    assert len(stored) == 2 and all(path.is_file() for path in stored)


def test_other_specs_have_features_of_their_own(audio, tmp_path):
    cached_log_mel(audio, SMALL, tmp_path / "features")
    other = cached_log_mel(audio, LogMelSpec(8000, 320, 160, 512, 30, 0.0, 4000.0), tmp_path / "features")
    assert other.shape == (50, 30)
    assert len(features_in(tmp_path / "features")) == 2


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x01\x00", None],
                         ids=["empty", "text", "header", "cut"])
def test_broken_features_are_made_anew(content, audio, tmp_path, caplog):
    first = cached_log_mel(audio, SMALL, tmp_path / "features")
    kept, = features_in(tmp_path / "features")
    kept.write_bytes(kept.read_bytes()[:1000] if content is None else content)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(cached_log_mel(audio, SMALL, tmp_path / "features"), first)
    assert f"{kept}: unreadable features are made anew" in caplog.text
    np.testing.assert_array_equal(np.load(kept), first)


def test_a_cache_that_cannot_be_written_is_said_and_left_out(audio, tmp_path, caplog):
    (tmp_path / "features").write_text("a file in the folder's place")
    with caplog.at_level(logging.WARNING):
        received = cached_log_mel(audio, SMALL, tmp_path / "features")
    np.testing.assert_array_equal(received, compute_log_mel(soundfile.read(audio, dtype="float32")[0], SMALL))
    assert "features are not kept" in caplog.text and str(tmp_path / "features") in caplog.text


def test_broken_audio_leaves_no_features(tmp_path):
    (tmp_path / "a.wav").write_text("text")
    with pytest.raises(InputError, match="a.wav"):
        cached_log_mel(tmp_path / "a.wav", SMALL, tmp_path / "features")
    assert not (tmp_path / "features").exists()


@pytest.mark.parametrize("seconds", [0.02, 0.5, 130])
def test_stored_features_are_read_without_parsing_python(seconds, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", noise(round(seconds * 8000)), 8000)
    stored = store_log_mel(tmp_path / "a.wav", SMALL, tmp_path / "features")
    log_mel = np.load(stored)
    assert log_mel.shape == (round(seconds * 50), 20)
    monkeypatch.setattr("ast.parse", None)
    for frames in (1, len(log_mel), len(log_mel) + 7):
        np.testing.assert_array_equal(read_log_mel(stored, frames, 20), log_mel[:frames])


def test_missing_audio_is_an_error_though_its_features_are_there(audio, tmp_path):
    cached_log_mel(audio, SMALL, tmp_path / "features")
    audio.unlink()
    with pytest.raises(InputError, match="nothing there"):
        cached_log_mel(audio, SMALL, tmp_path / "features")


# Features of pictures

@pytest.mark.parametrize("seconds, most, joined", [(25.03, 10_000, 1), (25.03, 100, 13), (0.01, 100, 1)])
def test_coarse_features_are_the_highest_of_neighbours(tmp_path, seconds, most, joined):
    """25.03 s at 8 kHz, in steps of 20 ms, are 1252 frames, which are read in several blocks."""
    samples = np.random.default_rng(0).normal(0, 0.1, int(8000 * seconds)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    fine = compute_log_mel(samples, SMALL)
    coarse, resolution = coarse_log_mel(tmp_path / "a.wav", SMALL, most)
    expected = [fine[start:start + joined].max(axis=0) for start in range(0, len(fine), joined)]
    np.testing.assert_allclose(coarse, expected, atol=1e-4)
    assert resolution == pytest.approx(0.02 * joined) and len(coarse) <= most


def test_natural_logarithms_of_magnitudes_become_decibels():
    spec = dataclasses.replace(SMALL, power=1, log_offset=0.001)
    assert decibels(np.log(10.0), spec) == pytest.approx(20) and decibels(spec.silence, spec) == pytest.approx(-60)
    assert decibels(-30.0, SMALL) == -30
