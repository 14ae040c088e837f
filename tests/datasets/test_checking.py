"""The check of a corpus's audio: damaged folders, whose every fault is counted by hand."""
import json
import logging
import struct
import sys
import threading
import tracemalloc

import numpy as np
import pytest
import soundfile

from polysed_keras.datasets import checking
from polysed_keras.datasets.checking import KINDS, check_corpus, format_check
from polysed_keras.errors import InputError
from polysed_keras.files import write_json

from clip_fixtures import noise_wav, tut_list, wav_bytes, write_audioset, write_files, write_tut
from fixtures import RATE, shared_corpus

TUT, AUDIOSET, TUT_SED = "tut_urban_acoustic_scenes_2018", "audioset", "tut_sed_synthetic_2016"
TRAIN = [f"{scene}-paris-{location}-{location}-a" for scene in ("bus", "park") for location in range(4)]
TEST = ["bus-paris-90-1-a", "park-paris-91-1-a"]
VALIDATE = {"evaluation_setup/fold1_validate.txt": tut_list([TRAIN[0], TRAIN[4]])}
MIX, ANNOT = "TUT-SED-synthetic-2016-mix-{}", "TUT-SED-synthetic-2016-annot-{}"


@pytest.fixture(scope="module")
def whole_clip():
    """A clip as TUT Urban has them: 10 s, 48 kHz, 24 bit, two channels."""
    return noise_wav(10, 48000, 2, 24)


def line(video, labels="/m/09x0r", start=30, end=40):
    return f'{video}, {start:.3f}, {end:.3f}, "{labels}"\n'


def faults(report):
    return {kind: list(report[kind]) for kind in KINDS if report[kind]}


def mixtures(folder, files):
    """Original mixtures without lists: number -> (audio, annotation)."""
    return write_files(folder, {f"audio/{MIX.format(number)}.wav": audio for number, (audio, _) in files.items()}
                       | {f"meta/{ANNOT.format(number)}.txt": text for number, (_, text) in files.items()})


# TUT Urban

def test_a_whole_corpus_is_ok(tmp_path, whole_clip):
    write_files(write_tut(tmp_path, TRAIN, TEST, whole_clip), VALIDATE)
    report = check_corpus(TUT, tmp_path)
    assert report["ok"] is True and faults(report) == {} and report["clips"] == 10 and report["corpus"] == TUT
    assert report["rates"] == {48000: 10} and report["formats"] == {"PCM_24, 2 channels": 10}
    assert report["partitions"] == {"train": 6, "validate": 2, "test": 2}
    assert report["labels"] == {"train": {"bus": 3, "park": 3}, "validate": {"bus": 1, "park": 1},
                                "test": {"bus": 1, "park": 1}}
    assert "Nothing is missing" in format_check(report)


def test_every_fault_is_of_its_kind(tmp_path, whole_clip):
    write_files(write_tut(tmp_path, TRAIN, TEST, whole_clip), VALIDATE)
    write_files(tmp_path / "audio", {
        f"{TRAIN[0]}.wav": b"", f"{TRAIN[1]}.wav": "no audio\n" * 99,
        f"{TRAIN[2]}.wav": noise_wav(9.89, 48000, 2, 24), f"{TRAIN[3]}.wav": noise_wav(9.91, 48000, 2, 24),
        f"{TRAIN[4]}.wav": wav_bytes(np.full((480000, 2), 2 ** 23 // 20000), 48000, 24),
        f"{TRAIN[5]}.wav": noise_wav(10, 44100, 2, 24), f"{TRAIN[6]}.wav": noise_wav(10, 48000, 1, 16),
        f"{TEST[0]}.wav": whole_clip[:len(whole_clip) // 2]})
    (tmp_path / "audio" / f"{TRAIN[7]}.wav").unlink()
    report = check_corpus(TUT, tmp_path)
    assert faults(report) == {"missing": [TRAIN[7]], "corrupt": [TRAIN[1], TRAIN[0]], "short": [TRAIN[2], TEST[0]],
                              "silent": [TRAIN[4]], "other_rate": [TRAIN[5]], "other_format": [TRAIN[6]]}
    assert "0 bytes" in report["corrupt"][TRAIN[0]] and "Convert it" in report["corrupt"][TRAIN[1]]
    assert "expected a clip, 10 s. Received: 9.89 s" in report["short"][TRAIN[2]]
    assert report["other_rate"] == {TRAIN[5]: 44100} and report["other_format"] == {TRAIN[6]: "PCM_16, 1 channel"}
    assert report["rates"] == {48000: 6, 44100: 1} and report["clips"] == 10 and report["ok"] is False
    assert report["partitions"] == {"train": 4, "validate": 1, "test": 2}  # without the missing and the corrupt ones
    assert report["labels"]["train"] == {"bus": 2, "park": 2}


# AudioSet

def test_seven_of_a_hundred_missing_and_two_corrupt(tmp_path):
    videos = [f"-_{number:08}_" for number in range(100)]
    labels = ["/m/09x0r", "/m/09x0r,/m/05zppz", "/t/dd00003"]
    lines = [line(video, labels[number % 3]) for number, video in enumerate(videos)]
    audio = noise_wav(10, 1000)
    files = {f"{video}.wav": audio for number, video in enumerate(videos) if number % 14}
    files |= {f"{videos[1]}.wav": audio[:20], f"{videos[2]}.wav": b"\0" * 1000}
    files[f"{videos[98]}_30.wav"] = audio
    write_audioset(tmp_path, {"balanced_train": "".join(lines[:60]), "validate": "".join(lines[60:80]),
                              "eval": "".join(lines[80:])}, files)
    report = check_corpus(AUDIOSET, tmp_path)
    assert report["missing"] == [f"{videos[number]}_30" for number in (0, 14, 28, 42, 56, 70, 84)]
    assert faults(report).keys() == {"missing", "corrupt"} and not report["ok"] and report["clips"] == 100
    assert set(report["corrupt"]) == {f"{videos[1]}_30", f"{videos[2]}_30"}
    assert report["partitions"] == {"train": 53, "validate": 19, "test": 19} and report["rates"] == {1000: 91}
    kept = set(range(60)) - {0, 14, 28, 42, 56, 1, 2}
    assert report["labels"]["train"] == {"Speech": sum(number % 3 < 2 for number in kept),
                                         "Male speech, man speaking": sum(number % 3 == 1 for number in kept),
                                         "Male singing": sum(number % 3 == 2 for number in kept)}


def test_formats_rates_and_listed_lengths_of_audioset(tmp_path):
    lines = "".join(map(line, ["whole", "m4a", "short", "mp3", "nan"]))
    write_audioset(tmp_path, {"eval": lines + line("end of video", start=2, end=9)}, {
        "whole.wav": noise_wav(10, 16000), "m4a.m4a": b"\0\0\0\x20ftypM4A \0\0\0\0" + b"\0" * 999,
        "short.wav": noise_wav(9.5), "end of video.wav": noise_wav(7)})
    soundfile.write(tmp_path / "audio" / "mp3.mp3", np.random.default_rng(0).uniform(-0.5, 0.5, 441000), 44100)
    soundfile.write(tmp_path / "audio" / "nan.wav", np.full(80000, np.nan), 8000, subtype="FLOAT")
    report = check_corpus(AUDIOSET, tmp_path)
    assert faults(report) == {"corrupt": ["m4a_30", "nan_30"], "short": ["short_30"]}
    assert "m4a.m4a" in report["corrupt"]["m4a_30"] and "AAC. Convert it" in report["corrupt"]["m4a_30"]
    assert "NaN" in report["corrupt"]["nan_30"]
    assert report["rates"] == {8000: 2, 16000: 1, 44100: 1}
    assert report["formats"] == {"PCM_16, 1 channel": 3, "MPEG_LAYER_III, 1 channel": 1}


# Recordings

def test_recordings_that_end_before_their_events(tmp_path):
    audio = noise_wav(2, 44100)
    mixtures(tmp_path, {0: (audio, "0\t2.09\train\n"), 20: (audio, "0\t2.11\train\n1\t2\tbus\n"), 40: (audio, ""),
                        41: (audio[:len(audio) // 2], "0\t0.5\tbus\n"), 42: (audio[:100000], "1.5\t1.9\tbus\n")})
    report = check_corpus(TUT_SED, tmp_path)
    assert set(report["short"]) == {MIX.format(20), MIX.format(42)} and report["rates"] == {44100: 5}
    assert "the last event, 2.11 s. Received: 2 s" in report["short"][MIX.format(20)]
    assert report["labels"] == {"train": {"bus": 2, "rain": 0}, "validate": {"bus": 1, "rain": 1},
                                "test": {"bus": 0, "rain": 1}}
    assert report["clips"] == 100 and len(report["missing"]) == 95 and MIX.format(99) in report["missing"]


def test_own_recordings_at_another_rate():
    report = check_corpus(TUT_SED, shared_corpus())
    assert report["ok"] and report["missing"] == [] and report["partitions"] == {"train": 3, "validate": 3, "test": 3}
    assert report["rates"] == {RATE: 9} and set(report["other_rate"].values()) == {RATE} and report["clips"] == 9


def test_recordings_that_cannot_be_read(tmp_path):
    mixtures(tmp_path, {0: (noise_wav(1, 44100), "0\t1\train\n"), 1: (b"RIFF", "0\t1\train\n")})
    report = check_corpus(TUT_SED, tmp_path)
    assert list(report["corrupt"]) == [MIX.format(1)] and not report["ok"]


@pytest.mark.parametrize("suffix", ["wav", "aiff", "au"])
def test_a_truncated_file_is_warned_of_once(tmp_path, caplog, suffix):
    mixtures(tmp_path, {0: (b"", "0\t0.1\train\n")})
    path = (tmp_path / "audio" / f"{MIX.format(0)}.wav").with_suffix(f".{suffix}")
    path.with_suffix(".wav").unlink()
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 44100), 44100)
    path.write_bytes(path.read_bytes()[:50000])
    with caplog.at_level(logging.WARNING):
        check_corpus(TUT_SED, tmp_path)
    assert caplog.text.count("shorter than its header") == 1


def test_a_long_recording_takes_little_memory(tmp_path):
    """20 minutes of digital silence: 212 MB as a waveform."""
    data = 1200 * 44100 * 2
    path = mixtures(tmp_path, {0: (noise_wav(0.001, 44100)[:44], "")}) / "audio" / f"{MIX.format(0)}.wav"
    write_files(tmp_path, {"labels.txt": "rain\n"})
    with path.open("r+b") as file:
        file.write(struct.pack("<4sI", b"RIFF", 36 + data))
        file.seek(40)
        file.write(struct.pack("<I", data))
        file.truncate(44 + data)
    tracemalloc.start()
    report = check_corpus(TUT_SED, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report["silent"] == [MIX.format(0)] and not report["short"] and peak < 40e6


# The whole

def test_progress_and_more_files_than_are_taken_at_a_time(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(checking, "_AT_A_TIME", 4)
    write_tut(tmp_path, TRAIN, TEST, noise_wav(0.1))
    threads = set()
    measure = checking._measure
    monkeypatch.setattr(checking, "_measure", lambda path: (threads.add(threading.get_ident()), measure(path))[1])
    report = check_corpus(TUT, tmp_path, progress=True)
    assert "files: " in (shown := capsys.readouterr().err) and "10/10" in shown
    assert set(report["short"]) == {*TRAIN, *TEST}
    assert threads and threading.get_ident() not in threads


def test_a_report_is_json(tmp_path, capsys):
    write_tut(tmp_path, TRAIN, TEST, noise_wav(0.1))
    write_json(report := check_corpus(TUT, tmp_path), tmp_path / "report.json")
    assert capsys.readouterr().err == ""  # no bar unless it is asked for
    read = json.loads((tmp_path / "report.json").read_text())
    assert read["short"] == report["short"] and read["rates"] == {"8000": 10}


def test_a_report_as_text(tmp_path, whole_clip):
    write_files(write_tut(tmp_path, TRAIN, TEST, noise_wav(0.1)), VALIDATE)
    write_files(tmp_path / "audio", {f"{TRAIN[0]}.wav": whole_clip, f"{TRAIN[2]}.wav": whole_clip,
                                    f"{TRAIN[1]}.wav": b"?"})
    (tmp_path / "audio" / f"{TRAIN[3]}.wav").unlink()
    lines = format_check(check_corpus(TUT, tmp_path)).splitlines()
    words = [" ".join(row.split()) for row in lines]
    few = ", ".join([*TRAIN[5:], TRAIN[4], TEST[0]])
    assert words[:7] == [
        f"{TUT} in {tmp_path}: 10 listed, of which can be read: 4 train, 2 validate, 2 test",
        f"missing 1 10.0% {TRAIN[3]}", f"corrupt 1 10.0% {TRAIN[1]}", f"short 6 60.0% {few}, ...", "silent 0 0.0%",
        f"other rate 6 60.0% {few}, ...", f"other format 6 60.0% {few}, ..."]
    assert words[7].startswith(f"{tmp_path / 'audio' / TRAIN[1]}.wav: expected audio")
    assert words[8:] == ["rates 8000: 6, 48000: 2", "formats PCM_16, 1 channel: 6, PCM_24, 2 channels: 2",
                         "labels 2, in training from 1 (bus) to 3 (park)", "Not all of it can be used: see above."]


@pytest.mark.parametrize("corpus, message", [("dcase", "corpus: expected one of tut_sed_synthetic_2016, urban_sed"),
                                             (TUT, "no such folder"), (AUDIOSET, "no such folder"),
                                             (TUT_SED, "no such folder")])
def test_what_is_no_corpus_is_an_error(corpus, message, tmp_path):
    with pytest.raises(InputError, match=message):
        check_corpus(corpus, tmp_path / "nothing")


def test_a_folder_with_both_corpora(tmp_path, whole_clip, caplog):
    write_tut(tmp_path / TUT, TRAIN, TEST, whole_clip)
    write_audioset(tmp_path / AUDIOSET, {"eval": line("a") + line("b")}, {"a.wav": noise_wav(10)})
    with caplog.at_level(logging.WARNING):
        assert check_corpus(TUT, tmp_path)["ok"]
        assert check_corpus(AUDIOSET, str(tmp_path))["missing"] == ["b_30"]
    assert "1 of 2 listed files (50.0 %)" in caplog.text
