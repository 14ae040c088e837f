"""Audio files: every format, channel count and rate as a mono waveform, broken files, and the search of folders."""
import logging
import os
import pathlib
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile

from polysed_keras.audio import streams
from polysed_keras.audio.files import (
    AUDIO_SUFFIXES,
    audio_blocks,
    decode_with_tensorflow_io,
    find_audio,
    is_audio,
    load_audio,
    search_folder,
    walk_files,
    write_audio,
)
from polysed_keras.cli.main import main
from polysed_keras.datasets.importing.pairs import find_recordings
from polysed_keras.errors import InputError
from polysed_keras.synthesis.soundbank import read_soundbank

from fixtures import take_detector

RATE = 44100


def sine(seconds, frequency=440.0, rate=RATE, amplitude=0.5):
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(shape, seed=0):
    return np.random.default_rng(seed).uniform(-0.9, 0.9, shape).astype(np.float32)


def write(path, samples, rate=RATE, **options):
    soundfile.write(path, samples, rate, **options)
    return path


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[:int(len(content) * share)])
    return path


# Formats and channels

@pytest.mark.parametrize("suffix, subtype, step", [
    (".wav", "PCM_16", 2 ** -15), (".wav", "PCM_24", 2 ** -23), (".wav", "PCM_32", 1e-7), (".wav", "FLOAT", 0.0),
    (".wav", "DOUBLE", 0.0), (".wav", "PCM_U8", 2 ** -6), (".flac", "PCM_16", 2 ** -15), (".flac", "PCM_24", 2 ** -23),
    (".aiff", "PCM_16", 2 ** -15), (".w64", "PCM_16", 2 ** -15)])
def test_lossless_formats_keep_the_samples(suffix, subtype, step, tmp_path):
    samples = noise(10_000)
    received = load_audio(write(tmp_path / f"a{suffix}", samples, subtype=subtype))
    assert received.dtype == np.float32 and received.shape == samples.shape
    np.testing.assert_allclose(received, samples, rtol=0, atol=step)


@pytest.mark.parametrize("suffix", [".ogg", ".mp3"])
def test_lossy_formats_keep_the_sound(suffix, tmp_path):
    samples = sine(1.0)
    received = load_audio(write(tmp_path / f"a{suffix}", samples))
    assert abs(len(received) - len(samples)) <= 4000
    lag = np.argmax([received[shift:shift + 20_000] @ samples[1000:21_000] for shift in range(1000, 1100)])
    np.testing.assert_allclose(received[lag + 1000:lag + 21_000], samples[1000:21_000], atol=0.02)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_channels_are_averaged(suffix, channels, tmp_path):
    samples = noise((5000, channels))
    received = load_audio(write(tmp_path / f"a{suffix}", samples, subtype="PCM_16"))
    np.testing.assert_allclose(received, samples.astype(np.float64).mean(axis=1), atol=2 ** -15)


def test_opposite_channels_cancel(tmp_path):
    path = write(tmp_path / "a.wav", np.stack([sine(0.5), -sine(0.5)], axis=1), subtype="FLOAT")
    assert np.abs(load_audio(path)).max() == 0.0


def test_silence_is_audio(tmp_path):
    assert not load_audio(write(tmp_path / "a.wav", np.zeros(1000))).any()


# Rates

@pytest.mark.parametrize("rate", [8000, 11025, 22050, 48000, 96000])
def test_another_rate_keeps_length_frequency_and_level(rate, tmp_path):
    received = load_audio(write(tmp_path / "a.wav", sine(2.0, 1000.0, rate), rate, subtype="FLOAT"))
    assert abs(len(received) - 2 * RATE) <= 1
    inner = received[RATE // 2:RATE // 2 + RATE]  # a second, so that a bin is a hertz
    spectrum = np.abs(np.fft.rfft(inner)) / (RATE / 2)
    assert spectrum.argmax() == 1000
    assert spectrum[1000] == pytest.approx(0.5, rel=1e-3)
    np.testing.assert_allclose(inner, sine(2.0, 1000.0)[RATE // 2:RATE // 2 + RATE], atol=2e-3)


def test_what_the_target_rate_cannot_hold_is_filtered_out(tmp_path):
    received = load_audio(write(tmp_path / "a.wav", sine(1.0, 6000.0, 44100), subtype="FLOAT"), 8000)
    assert np.abs(received[800:-800]).max() < 1e-3


@pytest.mark.parametrize("samples", [1, 2, 7])
def test_a_few_samples_of_another_rate(samples, tmp_path):
    received = load_audio(write(tmp_path / "a.wav", noise(samples), 8000), RATE)
    assert abs(len(received) - samples * RATE / 8000) <= 1


# Blocks

@pytest.mark.parametrize("rate", [8000, 44100, 48000])
@pytest.mark.parametrize("suffix, tolerance", [(".wav", 0.0), (".flac", 0.0), (".ogg", 0.0), (".mp3", 2e-6)])
def test_blocks_of_any_size_are_the_whole(suffix, tolerance, rate, tmp_path):
    path = write(tmp_path / f"a{suffix}", noise((round(1.5 * rate) + 7, 2)), rate)
    whole = load_audio(path)
    for block_seconds in (0.0013, 0.02, 0.5, 1.0, 1.5, 60.0):
        blocks = list(audio_blocks(path, block_seconds=block_seconds))
        assert all(len(block) and block.dtype == np.float32 for block in blocks[:-1])
        np.testing.assert_allclose(np.concatenate(blocks), whole, rtol=0, atol=tolerance)


def test_blocks_are_read_as_they_are_asked_for(tmp_path):
    path = write(tmp_path / "a.wav", noise(100_000))
    lengths = [len(block) for block in audio_blocks(path, block_seconds=0.5)]
    assert lengths == [22050] * 4 + [100_000 - 4 * 22050]


def test_of_a_short_file_no_long_block_is_asked_for(tmp_path, monkeypatch):
    """libsndfile would fill up the block with zeros, which takes milliseconds."""
    asked, read = [], streams.SequentialFile.read
    monkeypatch.setattr(streams.SequentialFile, "read",
                        lambda file, frames, **options: asked.append(frames) or read(file, frames, **options))
    samples = noise(1000)
    np.testing.assert_array_equal(load_audio(write(tmp_path / "a.wav", samples, subtype="FLOAT")), samples)
    assert asked == [1000, 1000]


# What is wrong with files

def not_finite(value):
    samples = noise(1000)
    samples[990] = value
    return samples


BROKEN = {
    "missing": (lambda path: None, "nothing there"),
    "folder": (lambda path: path.mkdir(), "nothing there|folder"),
    "no bytes": (lambda path: path.write_bytes(b""), "empty file"),
    "text": (lambda path: path.write_text("this is not audio\n" * 100), "libsndfile"),
    "half a header": (lambda path: path.write_bytes(write(path, noise(10)).read_bytes()[:30]), "libsndfile"),
    "no samples": (lambda path: write(path, np.zeros(0)), "0 samples"),
    "no samples, six channels": (lambda path: write(path, np.zeros((0, 6))), "0 samples"),
    "no samples, another rate": (lambda path: write(path, np.zeros(0), 8000), "0 samples"),
    "only a header": (lambda path: path.write_bytes(write(path, noise(1000)).read_bytes()[:44]), "0 samples"),
    "NaN": (lambda path: write(path, not_finite(np.nan), subtype="FLOAT"), "NaN or infinity"),
    "infinity": (lambda path: write(path, not_finite(-np.inf), subtype="FLOAT"), "NaN or infinity"),
    "NaN, another rate": (lambda path: write(path, not_finite(np.nan), 8000, subtype="FLOAT"), "NaN or infinity"),
}


@pytest.mark.parametrize("make, message", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_one_error_that_names_it(make, message, tmp_path):
    path = tmp_path / "speech 1.wav"
    make(path)
    for read in (load_audio, lambda path: list(audio_blocks(path))):
        with pytest.raises(InputError, match=message) as raised:
            read(path)
        assert str(raised.value).startswith(f"{path}: expected ")
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_flac_is_an_error(subtype, share, tmp_path):
    path = cut(write(tmp_path / "a.flac", noise(RATE), subtype=subtype), share)
    with pytest.raises(InputError, match=f"{path}.*truncated or corrupt"):
        load_audio(path)


@pytest.mark.parametrize("share", [0.6, 0.95, 0.999])
def test_of_a_truncated_ogg_whole_pages_are_used_with_a_warning(share, tmp_path, caplog):
    path = write(tmp_path / "a.ogg", noise(RATE))
    whole = load_audio(path)
    cut(path, share)
    with caplog.at_level(logging.WARNING):
        received = load_audio(path)
    assert f"{path}: is shorter than its header says" in caplog.text
    assert 0.3 * RATE < len(received) < RATE
    np.testing.assert_array_equal(received, whole[:len(received)])


def test_an_ogg_of_its_header_alone_is_an_error(tmp_path):
    path = cut(write(tmp_path / "a.ogg", noise(RATE)), 0.1)
    with pytest.raises(InputError, match=str(path)):
        load_audio(path)


@pytest.mark.parametrize("subtype, size", [("PCM_16", 2), ("PCM_24", 3), ("FLOAT", 4)])
def test_of_a_truncated_wav_what_is_there_is_used_with_a_warning(subtype, size, tmp_path, caplog):
    samples = noise(RATE)
    path = cut(write(tmp_path / "a.wav", samples, subtype=subtype), 0.5)
    with caplog.at_level(logging.WARNING):
        received = load_audio(path)
    assert f"{path}: is shorter than its header says" in caplog.text
    assert abs(len(received) - RATE / 2) <= 100 / size
    np.testing.assert_allclose(received, samples[:len(received)], atol=2 ** -15)


def test_of_a_truncated_mp3_what_is_there_is_used_and_nothing_else(tmp_path, caplog):
    path = write(tmp_path / "a.mp3", sine(20.0))
    whole = load_audio(path)
    cut(path, 0.5)
    with caplog.at_level(logging.WARNING):
        received = load_audio(path)
    assert "is shorter than its header says" in caplog.text
    assert 0.3 * len(whole) < len(received) < 0.6 * len(whole)
    np.testing.assert_allclose(received[:-5000], whole[:len(received) - 5000], atol=1e-5)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_whole_files_are_read_without_a_warning(suffix, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        load_audio(write(tmp_path / f"a{suffix}", sine(3.0)))
    assert caplog.text == ""


# Finding files

def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def names_of(paths, folder):
    return [path.relative_to(folder).as_posix() for path in paths]


def test_folders_are_searched_for_audio_and_files_taken_as_they_are(tmp_path):
    touch(tmp_path, "b/2.flac", "b/1.WAV", "b/deep/3.ogg", "b/notes.txt", "odd.name")
    found = find_audio([tmp_path / "odd.name", str(tmp_path / "b")])
    assert names_of(found, tmp_path) == ["odd.name", "b/1.WAV", "b/2.flac", "b/deep/3.ogg"]


@pytest.mark.parametrize("suffix", AUDIO_SUFFIXES)
def test_every_suffix_counts_as_audio_in_any_case(suffix, tmp_path):
    touch(tmp_path, f"a{suffix}", f"b{suffix.upper()}", f"._a{suffix}", f"c{suffix}.part")
    (tmp_path / f"folder{suffix}").mkdir()
    assert names_of(filter(is_audio, sorted(tmp_path.iterdir())), tmp_path) == [f"a{suffix}", f"b{suffix.upper()}"]


def test_hidden_files_and_folders_are_passed_over_and_counted_in_one_line(tmp_path, caplog):
    touch(tmp_path, "a.wav", "b/1.wav", "._x.wav", ".DS_Store", "b/.DS_Store", ".trash/2.wav", "b/.old/deep/3.flac",
          "README.md", "LICENSE")
    with caplog.at_level(logging.INFO):
        found = search_folder(tmp_path)
    assert names_of(found, tmp_path) == ["a.wav", "b/1.wav"]
    assert caplog.messages == [f"{tmp_path}: 7 files are passed over, which are hidden or no recordings "
                               "(2 .DS_Store, 1 .flac, 1 .md, 2 .wav, 1 LICENSE)."]


def test_nothing_passed_over_is_not_mentioned(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        assert names_of(search_folder(touch(tmp_path, "a.wav")), tmp_path) == ["a.wav"]
    assert caplog.text == ""


def test_a_hidden_folder_that_is_asked_for_is_searched(tmp_path):
    assert names_of(find_audio([touch(tmp_path, ".cache/a.wav") / ".cache"]), tmp_path) == [".cache/a.wav"]


def test_a_linked_folder_is_entered_once(tmp_path):
    """Under its own name if it lies in the folder, else under the name of a link."""
    outside, folder = touch(tmp_path / "outside", "1.wav"), touch(tmp_path / "folder", "b/2.wav")
    (folder / "a").symlink_to(folder / "b")
    (folder / "c").symlink_to(outside)
    (folder / "b" / "again").symlink_to(outside)
    found = names_of(walk_files(folder), folder)
    assert len(found) == 2 and "b/2.wav" in found and {"c/1.wav", "b/again/1.wav"} & set(found)


def test_linked_files_are_found(tmp_path):
    folder = touch(tmp_path / "folder", "1.wav")
    (folder / "2.wav").symlink_to(touch(tmp_path / "outside", "x.wav") / "x.wav")
    assert names_of(search_folder(folder), folder) == ["1.wav", "2.wav"]


def test_of_two_links_to_one_folder_the_first_is_followed(tmp_path):
    touch(tmp_path, "elsewhere/a.wav", "bank/notes.txt")
    for name in ("c", "b", "d"):
        (tmp_path / "bank" / name).symlink_to(tmp_path / "elsewhere")
    assert names_of(search_folder(tmp_path / "bank"), tmp_path) == ["bank/b/a.wav"]


def test_a_folder_that_cannot_be_read_is_passed_over_with_a_warning(tmp_path, monkeypatch, caplog):
    touch(tmp_path, "open/a.wav", "shut/b.wav")
    iterdir = pathlib.Path.iterdir

    def guarded(path):
        if path.name == "shut":
            raise PermissionError
        return iterdir(path)

    monkeypatch.setattr(pathlib.Path, "iterdir", guarded)
    assert names_of(search_folder(tmp_path), tmp_path) == ["open/a.wav"]
    assert "shut: cannot be read" in caplog.text


def test_links_to_parents_end(tmp_path):
    touch(tmp_path, "a/b/1.wav")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    assert names_of(search_folder(tmp_path), tmp_path) == ["a/b/1.wav"]


def test_links_to_nothing_are_no_error_but_told(tmp_path, caplog):
    (touch(tmp_path, "1.wav") / "2.wav").symlink_to(tmp_path / "missing.wav")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    (tmp_path / ".hidden.wav").symlink_to(tmp_path / "missing.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    with caplog.at_level(logging.INFO):
        assert names_of(find_audio([tmp_path]), tmp_path) == ["1.wav"]
    assert caplog.messages == [f"{tmp_path}: 3 links to nothing, or special files, are passed over (such as 2.wav)."]


def test_a_folder_of_everything_is_read_or_counted(tmp_path, caplog):
    """What a field recorder, a Mac and a phone leave together, a part of it elsewhere."""
    folder = touch(tmp_path / "folder", "._a.mp3", "b.m4a", "c.M4A", "d.mp4", "._e.m4a", "notes.txt")
    (tmp_path / "elsewhere").mkdir()
    expected = {}
    for name, format in (("a.mp3", "MP3"), ("site1/b.rf64", "RF64"), ("site1/c.aifc", "AIFF"), ("d.bwf", "WAV"),
                         ("../elsewhere/e.opus", "OGG"), ("f.w64", "W64"), ("g.caf", "CAF"), ("h.nist", "NIST")):
        (folder / name).parent.mkdir(exist_ok=True)
        subtype = "OPUS" if format == "OGG" else None
        write(folder / name, sine(0.1, rate=48000), 48000, format=format, subtype=subtype)
        expected[name.replace("../elsewhere", "site2")] = 0.1 * RATE
    (folder / "site2").symlink_to(tmp_path / "elsewhere")
    with caplog.at_level(logging.INFO):
        found = find_audio([folder])
    assert names_of(found, folder) == sorted(expected)
    assert all(len(load_audio(path)) == pytest.approx(0.1 * RATE, abs=2) for path in found)
    assert caplog.messages == [
        f"{folder}: 3 files are passed over, which are hidden or no recordings (1 .m4a, 1 .mp3, 1 .txt).",
        f"{folder}: 3 files are passed over, whose sound libsndfile does not read (2 .m4a, 1 .mp4). Convert them, for "
        "example by ffmpeg."]


def test_detect_import_and_soundbanks_pass_over_the_same_files(tmp_path, monkeypatch):
    heard = []

    class Deaf:
        clip_level = False

        def detect(self, path, **options):
            heard.append(path)
            return pd.DataFrame(columns=["onset", "offset", "event_label", "confidence"])

    touch(tmp_path, "rain/a.wav", "rain/._a.wav", "rain/.DS_Store", "rain/.old/b.wav")
    take_detector(monkeypatch, Deaf())
    assert main(["detect", str(tmp_path)]) == 0
    imported = {path for paths in find_recordings(tmp_path).values() for path in paths}
    drawn = [instance.path for instance in read_soundbank(tmp_path).instances]
    assert names_of(heard, tmp_path) == names_of(imported, tmp_path) == names_of(drawn, tmp_path) == ["rain/a.wav"]


@pytest.mark.parametrize("name, message", [("missing.wav", "nothing there"), ("", "a folder without any")])
def test_nothing_to_find_is_an_error(name, message, tmp_path):
    with pytest.raises(InputError, match=message):
        find_audio([tmp_path / name])


# tensorflow-io

@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("suffix, tolerance", [(".wav", 0.0), (".flac", 0.0), (".ogg", 1e-4)])
def test_tensorflow_io_decodes_the_same_samples(suffix, tolerance, channels, tmp_path):
    pytest.importorskip("tensorflow_io", reason="tensorflow-io is installed on Python 3.11 and 3.12 only")
    path = write(tmp_path / f"a{suffix}", noise((20_000, channels)) / 2)
    decoded = decode_with_tensorflow_io(path)
    assert decoded.dtype == np.float32 and decoded.shape == (20_000, channels)
    np.testing.assert_allclose(decoded.mean(axis=1), load_audio(path), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name, subtype", [("a.wav", "PCM_24"), ("a.flac", "PCM_24"), ("a.wav", "FLOAT")])
def test_tensorflow_io_decodes_other_bits(name, subtype, tmp_path):
    pytest.importorskip("tensorflow_io", reason="tensorflow-io is installed on Python 3.11 and 3.12 only")
    soundfile.write(tmp_path / name, noise((20_000, 2)) / 2, 44100, subtype)
    np.testing.assert_array_equal(decode_with_tensorflow_io(tmp_path / name).mean(axis=1), load_audio(tmp_path / name))
    soundfile.write(tmp_path / "b.wav", noise(100), 44100, "PCM_32")
    with pytest.raises(InputError, match="Received: PCM_32"):
        decode_with_tensorflow_io(tmp_path / "b.wav")


def test_tensorflow_io_refuses_other_suffixes(tmp_path):
    pytest.importorskip("tensorflow_io", reason="tensorflow-io is installed on Python 3.11 and 3.12 only")
    with pytest.raises(InputError, match=".aiff"):
        decode_with_tensorflow_io(write(tmp_path / "a.aiff", noise(100)))


def test_without_tensorflow_io_one_line_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_io", None)
    with pytest.raises(InputError, match="tensorflow-io: expected on Python 3.11 and 3.12 only"):
        decode_with_tensorflow_io(tmp_path / "a.wav")


@pytest.mark.parametrize("suffix, subtype", [("wav", "PCM_16"), ("wav", "PCM_32"), ("flac", "PCM_24")])
def test_what_is_written_is_what_soundfile_writes(suffix, subtype, tmp_path):
    waveform = 0.1 * np.random.default_rng(0).standard_normal((5000, 2))
    soundfile.write(tmp_path / f"a.{suffix}", waveform, RATE, subtype)
    write_audio(tmp_path / f"b.{suffix}", waveform, RATE, subtype)
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_a_full_disk_is_an_error_of_the_system(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("/dev/full, a disk that is always full, is not there")
    (tmp_path / "a.wav").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        write_audio(tmp_path / "a.wav", np.zeros(5000), RATE, "PCM_16")
