"""Pipes and microphones: the samples of what is piped in, whatever its pieces and header, and what is no sound."""
import fcntl
import io
import itertools
import logging
import os
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import types

import numpy as np
import pytest
import soundfile

from polysed_keras.audio.live import open_microphone, open_pipe, until_interrupted
from polysed_keras.cli.main import main
from polysed_keras.errors import InputError

from fixtures import MULTI_LABEL, RATE, shared_corpus, shared_export, shared_run


class Pipe(io.BytesIO):
    """A pipe that has a few bytes at a time: read waits for all, read1 does not."""

    def __init__(self, content, sizes=(1, 7, 4096)):
        super().__init__(content)
        self._sizes = itertools.cycle(sizes)

    def read1(self, size=-1):
        return super().read(min(size, next(self._sizes)))

    def seek(self, *arguments):
        raise io.UnsupportedOperation("a pipe")


def samples_of(number, channels=1):
    return np.random.default_rng(0).integers(-32768, 32768, (number, channels)).astype("<i2")


def wav(samples, rate=RATE, size=None, before=b"", after=b"", layout=None):
    """A WAV file by its specification, with any size in its header and any chunks around its samples."""
    channels, content = samples.shape[1], samples.tobytes()
    layout = layout or struct.pack("<HHIIHH", 1, channels, rate, 2 * channels * rate, 2 * channels, 16)
    size = len(content) if size is None else size
    return b"".join([b"RIFF", struct.pack("<I", 0xFFFFFFFF), b"WAVEfmt ", struct.pack("<I", len(layout)), layout,
                     before, b"data", struct.pack("<I", size), content, after])


def heard(*arguments):
    rate, blocks = open_pipe(*arguments)
    return rate, np.concatenate(list(blocks))


EXTENSIBLE = struct.pack("<HHIIHHHHI", 0xFFFE, 2, RATE, 4 * RATE, 4, 16, 22, 16, 3) + b"\1\0" + bytes(14)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("sizes", [(1,), (65536,), (1, 7, 4096)])
def test_raw_samples_are_heard(channels, sizes):
    samples = samples_of(1000, channels)
    rate, waveform = heard(Pipe(samples.tobytes(), sizes), 22050, channels)
    assert rate == 22050 and waveform.dtype == np.float32
    np.testing.assert_allclose(waveform, (samples / 32768).mean(axis=1), atol=1e-7)


LIST = b"LIST" + struct.pack("<I", 5) + b"INFOx\0"


@pytest.mark.parametrize("header", [
    {}, {"size": 0xFFFFFFFF}, {"size": 0x7FFFF024}, {"size": 0}, {"before": LIST}, {"after": LIST},
    {"layout": EXTENSIBLE}],
    ids=["sized", "ffmpeg's size", "sox's size", "no size", "list before", "list after", "extensible"])
def test_wav_files_are_heard(header):
    samples = samples_of(3000, 2)
    content = wav(samples, **header)
    rate, waveform = heard(Pipe(content), None)
    assert rate == RATE
    np.testing.assert_array_equal(waveform, (samples.astype(np.float32) / 32768).mean(axis=1))
    assert heard(Pipe(content), RATE, 2)[0] == RATE


@pytest.mark.parametrize("channels, subtype", [(1, "PCM_16"), (3, "PCM_16")])
def test_a_wav_file_of_libsndfile_is_what_it_reads_itself(channels, subtype, tmp_path):
    soundfile.write(tmp_path / "a.wav", samples_of(1000, channels), 16000, subtype=subtype)
    rate, waveform = heard(Pipe((tmp_path / "a.wav").read_bytes()), None)
    expected, expected_rate = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)
    assert rate == expected_rate
    np.testing.assert_allclose(waveform, expected.mean(axis=1), atol=1e-7)


def test_half_a_sample_at_the_end_is_left_out(caplog):
    with caplog.at_level(logging.WARNING):
        _, waveform = heard(Pipe(samples_of(10, 2).tobytes()[:-1]), RATE, 2)
    assert len(waveform) == 9 and "inside a sample" in caplog.text


def test_a_block_does_not_wait_for_the_next():
    """What has been written is heard before more is."""
    reading, writing = os.pipe()
    with open(reading, "rb") as stream, open(writing, "wb", buffering=0) as pipe:
        pipe.write(samples_of(6).tobytes())
        _, blocks = open_pipe(stream, RATE)
        assert len(next(blocks)) == 6
        pipe.write(samples_of(100).tobytes())
        assert len(next(blocks)) == 100


@pytest.mark.parametrize("content, arguments, words", [
    (b"", (RATE,), "Received: nothing"), (b"fLaC" + bytes(100), (RATE,), "fLaC"),
    (b"RF64" + bytes(100), (RATE,), "RF64"), (b"riff\x2e\x91" + bytes(100), (RATE,), "riff"),
    (b"ID3\4" + bytes(100), (RATE,), "ID3"), (b"\0\0\0\x20ftypM4A " + bytes(100), (RATE,), "Convert it"),
    (b"\x1aE\xdf\xa3" + bytes(100), (RATE,), "Convert it"),
    (bytes(100), (1,), "stdin: expected a rate from 1000 to 1000000 Hz. Received: 1"),
    (bytes(100), (2 ** 31 - 1,), "stdin: expected a rate from 1000 to 1000000 Hz. Received: 2147483647"),
    (wav(samples_of(10), rate=1), (None,), "stdin: expected a rate from 1000 to 1000000 Hz. Received: 1"),
    (wav(samples_of(10), rate=2_000_000), (None,), "stdin: expected a rate from 1000 to 1000000 Hz. Received: 2000000"),
    (bytes(100), (None,), "--rate.*None"), (bytes(100), (0,), "--rate.*0"), (bytes(100), (RATE, 0), "--channels.*0"),
    (wav(samples_of(10)), (44100,), "--rate: expected the WAV file's, 8000.*44100"),
    (wav(samples_of(10)), (None, 2), "--channels: expected the WAV file's, 1.*2"),
    (wav(samples_of(10))[:30], (None,), "ends in its header"),
    (wav(samples_of(10))[:40], (None,), "ends in its header"),
    (wav(samples_of(10), layout=struct.pack("<HHIIHH", 1, 1, RATE, 3 * RATE, 3, 24)), (None,), "format 1 of 24 bits"),
    (wav(samples_of(10), layout=struct.pack("<HHIIHH", 3, 1, RATE, 4 * RATE, 4, 32)), (None,), "format 3 of 32 bits"),
    (wav(samples_of(10), layout=struct.pack("<HHIIHH", 1, 0, RATE, 0, 0, 16)), (None,), "0 channels"),
    (wav(samples_of(10), layout=b"\1\0"), (None,), "expected a WAV file of 16-bit PCM")])
def test_what_is_no_pcm_is_an_error(content, arguments, words):
    with pytest.raises(InputError, match=words):
        open_pipe(Pipe(content), *arguments)


def test_a_closed_stdin_is_an_error():
    with pytest.raises(InputError, match="stdin: expected audio from a pipe. Received: a closed one"):
        open_pipe(None, RATE)


def test_a_terminal_is_an_error(monkeypatch):
    stream = Pipe(bytes(100))
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    with pytest.raises(InputError, match="a terminal"):
        open_pipe(stream, RATE)


# Ctrl-C

def test_interrupted_while_it_waits():
    def sounds():
        yield 1
        signal.raise_signal(signal.SIGINT)  # as while a read waits
        yield 2

    before = signal.getsignal(signal.SIGINT)
    assert list(until_interrupted(sounds())) == [1]
    assert signal.getsignal(signal.SIGINT) == before


def test_interrupted_while_a_block_is_worked_on_it_is_done_with_first():
    done = []
    for block in until_interrupted(iter(range(5))):
        if block == 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        done.append(block)
    assert done == [0, 1, 2]


def test_uninterrupted_blocks_pass():
    assert list(until_interrupted(iter(range(5)))) == [0, 1, 2, 3, 4]


# Microphones

class Microphone:
    """Stands in for the module sounddevice: a stream calls back with blocks of rising numbers while it is open."""

    class PortAudioError(Exception):
        pass

    def __init__(self, blocks=3, status=""):
        self.blocks, self.status, self.opened = blocks, status, None

    def query_devices(self, device, kind):
        if device == "none":
            raise ValueError("No input device matching 'none'")
        return {"default_samplerate": 48000.0}

    def InputStream(self, callback, samplerate, device, blocksize, **options):
        if samplerate == 7:
            raise self.PortAudioError("Invalid sample rate")
        self.opened = options | {"samplerate": samplerate, "device": device}
        self._callback, self._size = callback, blocksize
        return self

    def __enter__(self):
        for number in range(self.blocks):
            self._callback(np.full((self._size, 1), number, np.float32), self._size, None, self.status)

    def __exit__(self, *error):
        self.opened = None


@pytest.mark.parametrize("arguments, rate, device", [
    ((), 48000, None), ((16000,), 16000, None), ((None, "2"), 48000, 2), ((None, "usb"), 48000, "usb")])
def test_a_microphone_is_heard(arguments, rate, device, monkeypatch):
    microphone = Microphone()
    monkeypatch.setitem(sys.modules, "sounddevice", microphone)
    opened_rate, blocks = open_microphone(*arguments)
    assert opened_rate == rate
    assert microphone.opened == {"channels": 1, "dtype": "float32", "samplerate": rate, "device": device}
    for number in range(3):
        np.testing.assert_array_equal(next(blocks), np.full(rate // 10, number, np.float32))
    blocks.close()
    assert microphone.opened is None


def test_a_network_that_falls_behind_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", Microphone(blocks=601))
    with pytest.raises(InputError, match="faster than the sound. Received: 60 s"):
        next(open_microphone()[1])


def test_lost_samples_are_told(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "sounddevice", Microphone(status="input overflow"))
    next(open_microphone()[1])
    assert "input overflow" in caplog.text


@pytest.mark.parametrize("arguments, words", [((7,), "at 7 Hz. Received: Invalid sample rate"),
                                              ((None, "none"), "No input device")])
def test_a_microphone_that_is_not_there_is_an_error(arguments, words, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", Microphone())
    with pytest.raises(InputError, match=words):
        open_microphone(*arguments)


def test_a_missing_package_or_library_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(InputError, match=r"pip install 'polysed_keras\[microphone\]'"):
        open_microphone()

    def find_spec(name, *_):
        if name == "sounddevice":
            raise OSError("PortAudio library not found")

    finder = types.SimpleNamespace(find_spec=find_spec)
    monkeypatch.delitem(sys.modules, "sounddevice")
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    with pytest.raises(InputError, match="PortAudio library not found.*libportaudio2"):
        open_microphone()


# The command

def lines_of(events):
    return sorted(f"{onset:.3f}\t{offset:.3f}\t{label}\t{confidence:.3f}"
                  for onset, offset, label, confidence in events)


def test_listen_prints_events_as_they_close_and_ends_at_ctrl_c():
    """A pipe that stays open: its events come while it is, and the open ones at the interrupt."""
    from polysed_keras.export.saved_model import load_saved_model
    model = shared_export(MULTI_LABEL)
    paths = sorted((shared_corpus() / "audio").glob("*.wav"))
    samples = np.concatenate([soundfile.read(path, dtype="int16")[0] for path in paths])
    expected = load_saved_model(model).detect(samples.astype(np.float32) / 32768)
    arguments = ["listen", "-", "--model", str(model), "--rate", str(RATE)]
    process = subprocess.Popen([sys.executable, "-m", "polysed_keras", *arguments], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    watchdog = threading.Timer(200, process.kill)  # where an event does not come, readline waits
    watchdog.start()
    process.stdin.write(samples.tobytes())
    process.stdin.flush()
    closed = expected[expected.offset < len(samples) / RATE - 2 * 0.66]
    printed = [process.stdout.readline().decode() for _ in range(len(closed))]
    while struct.unpack("i", fcntl.ioctl(process.stdin, termios.FIONREAD, bytes(4)))[0]:  # bytes that are still unread
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate()
    watchdog.cancel()
    assert process.returncode == 0 and b"Traceback" not in errors and b"0.66 s after its end" in errors
    assert sorted("".join([*printed, rest.decode()]).splitlines()) == lines_of(expected.itertuples(index=False))


def listen(monkeypatch, capsys, content, *arguments):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=Pipe(content)))
    capsys.readouterr()
    code = main(["listen", "-", *map(str, arguments)])
    return code, capsys.readouterr()


def test_listen_hears_in_a_wav_file_of_another_rate_what_detect_hears(monkeypatch, capsys, tmp_path):
    path = tmp_path / "a.wav"
    waveform, _ = soundfile.read(shared_corpus() / "audio" / "test0.wav")
    soundfile.write(path, np.stack([waveform, 0.5 * waveform], axis=1), 11025)
    options = ["--model", str(shared_run(MULTI_LABEL)), "--threshold", "0.4", "--min-duration", "0.1",
               "--labels", "hum", "hiss"]
    assert main(["detect", str(path), *options]) == 0
    expected = sorted(line.split("\t", 1)[1] for line in capsys.readouterr().out.splitlines())
    code, printed = listen(monkeypatch, capsys, path.read_bytes(), *options)
    assert code == 0 and len(expected) > 1 and sorted(printed.out.splitlines()) == expected


@pytest.mark.parametrize("content, arguments, words", [
    (b"", [], "Received: nothing"), (bytes(100), [], "--rate"),
    (bytes(100), ["--rate", "8000", "--model", "no"], "polysed export"),
    (bytes(100), ["--rate", "8000", "--model", "EXPORT", "--labels", "cow"], "cow"),
    (bytes(100), ["--rate", "8000", "--model", "EXPORT", "--threshold", "2"], "threshold")])
def test_mistakes_of_listening(content, arguments, words, monkeypatch, capsys):
    arguments = [shared_export(MULTI_LABEL) if argument == "EXPORT" else argument for argument in arguments]
    code, printed = listen(monkeypatch, capsys, content, *arguments)
    assert code == 2 and words in printed.err and printed.err.splitlines()[-1].startswith("polysed: ")
    assert printed.out == "" and "Traceback" not in printed.err


def test_listening_without_a_microphone_is_a_mistake(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["listen"]) == 2
    assert "polysed_keras[microphone]" in capsys.readouterr().err


def test_listening_to_silence_has_no_events(monkeypatch, capsys):
    code, printed = listen(monkeypatch, capsys, bytes(2 * RATE), "--rate", RATE, "--model", shared_export(MULTI_LABEL),
                           "--threshold", "1.0")
    assert (code, printed.out) == (0, "")
