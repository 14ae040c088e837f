"""What `detect` and `listen` do with odd names, places that cannot be written, and streams that are closed."""
import io
import os
import subprocess
import sys
import types

import numpy as np
import pandas as pd
import pytest
import soundfile

from polysed_keras.cli.main import main
from polysed_keras.errors import InputError
from polysed_keras.files import atomic_directory, atomic_file, short_name

from fixtures import take_detector

RATE = 16000
EVENTS = pd.DataFrame({"onset": [0.5], "offset": [1.25], "event_label": ["dog"], "confidence": [0.75]})


class Fake:
    """A detector that finds one event in every file, and refuses those whose name says so."""
    clip_level, sample_rate, time_resolution, labels, description = False, RATE, 0.02, ("dog",), {}

    def detect(self, path, **options):
        if "broken" in path.name:
            raise InputError(f"{path}: expected audio. Received: none.")
        if "interrupt" in path.name:
            raise KeyboardInterrupt
        return EVENTS


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    take_detector(monkeypatch, Fake())


ENCODINGS = pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252"])


def terminal(encoding, monkeypatch):
    """Put stdout into a stream of an encoding that raises errors."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    return stream


def lines_of(stream):
    stream.flush()
    return stream.buffer.getvalue().decode(stream.encoding).splitlines()


NAMES = [b"a.wav", b"caf\xe9.wav", "日本語 café.wav".encode(), "\U0001f415.wav".encode(), b"tab\there\nand there.wav",
         b"z.wav"]


@pytest.mark.parametrize("options", [[], ["--out", "events"]])
@ENCODINGS
def test_names_of_any_bytes_are_escaped_and_all_files_done(options, encoding, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = terminal(encoding, monkeypatch)
    (tmp_path / "in").mkdir()
    for name in NAMES:
        (tmp_path / "in" / os.fsdecode(name)).write_bytes(b"x")
    assert main(["detect", "in", *options]) == 0
    lines = lines_of(output)
    if options:
        assert {os.fsencode(path.name) for path in (tmp_path / "events").glob("[!.]*")} == {
            name.replace(b".wav", b".tsv") for name in NAMES}
        assert len(lines) >= len(NAMES)
    else:
        shown = [line.split("\t") for line in lines]
        assert len(shown) == len(NAMES) and all(fields[1:] == ["0.500", "1.250", "dog", "0.750"] for fields in shown)
        names = {fields[0] for fields in shown}
        assert {"in/a.wav", "in/z.wav", "in/tab\\there\\nand there.wav"} < names
        assert "in/caf\\udce9.wav" in names  # the byte, as Python writes it
        assert ("in/日本語 café.wav" in names) == (output.encoding == "utf-8")


@ENCODINGS
def test_errors_with_names_of_any_bytes_are_lines(encoding, tmp_path, monkeypatch, capsys):
    output = terminal(encoding, monkeypatch)
    (tmp_path / os.fsdecode(b"broken \xff.wav")).write_bytes(b"x")
    (tmp_path / "good.wav").write_bytes(b"x")
    assert main(["detect", str(tmp_path)]) == 2
    assert "polysed: " in (errors := capsys.readouterr().err) and "broken \\udcff.wav: expected audio" in errors
    assert len(lines_of(output)) == 1


@pytest.mark.parametrize("stem", ["a" * 246, "é" * 123, "x." + "y" * 240, "a.b." * 61, "." * 0 + "日" * 82])
@pytest.mark.parametrize("format, suffix", [("tsv", ".tsv"), ("csv", ".csv"), ("audacity", ".txt")])
def test_names_as_long_as_file_systems_take_are_written(stem, format, suffix, tmp_path):
    (tmp_path / f"{stem}.wav").write_bytes(b"x")
    assert main(["detect", str(tmp_path), "--out", str(tmp_path / "out"), "--format", format]) == 0
    written, = (tmp_path / "out").glob("[!.]*")
    assert written.name == stem + suffix and "dog" in written.read_text()


@pytest.mark.parametrize("make", [
    lambda out: (out / "b.tsv").mkdir(parents=True), lambda out: None], ids=["a folder in its place", "too long"])
def test_a_failed_write_is_a_line_and_the_loop_goes_on(make, tmp_path, capsys):
    make(tmp_path / "out")
    bad = "b" if (tmp_path / "out").exists() else "b" * 252  # with .tsv it is 256 bytes
    for stem in ("a", "broken", bad, "c"):
        (tmp_path / f"{stem}.au").write_bytes(b"x")
    assert main(["detect", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    errors = captured.err.splitlines()
    reason = "it is a folder" if bad == "b" else os.strerror(36)
    assert len(errors) == 2 and errors[0].endswith(f"{bad}.tsv: cannot be written ({reason}).")
    assert "broken.au: expected audio" in errors[1]
    assert (tmp_path / "out" / "a.tsv").is_file() and (tmp_path / "out" / "c.tsv").is_file()


def test_pictures_stand_beside_the_events_and_a_failed_one_is_a_line(tmp_path, capsys, monkeypatch):
    from matplotlib.figure import Figure

    drawn = []

    def plot(path, detector, events):
        drawn.append((path.name, len(events)))
        return Figure(figsize=(1, 1))

    monkeypatch.setattr("polysed_keras.display.plot_recording", plot)  # as the loop takes it
    (tmp_path / "out" / "b.png").mkdir(parents=True)
    for stem in ("a", "b", "broken", "x.y"):
        (tmp_path / f"{stem}.au").write_bytes(b"x")
    assert main(["detect", str(tmp_path), "--out", str(tmp_path / "out"), "--format", "csv", "--plot"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and errors[0].endswith("b.png: cannot be written (it is a folder).")
    assert drawn == [("a.au", 1), ("b.au", 1), ("x.y.au", 1)]
    assert {path.name for path in (tmp_path / "out").glob("[!.]*")} == {
        "a.csv", "a.png", "b.csv", "b.png", "x.y.csv", "x.y.png"}
    assert (tmp_path / "out" / "x.y.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("options, received", [([], "no --out"), (["--out", "out", "--format", "scores"], "scores")])
def test_pictures_need_files_of_events(options, received, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.au").write_bytes(b"x")
    assert main(["detect", "a.au", "--plot", *options]) == 2
    assert f"--plot: expected --out, and a format of events. Received: '{received}'" in capsys.readouterr().err


def test_an_interrupt_keeps_the_errors_so_far(tmp_path, capsys):
    for name in ("broken", "interrupt", "z"):
        (tmp_path / f"{name}.wav").write_bytes(b"x")
    assert main(["detect", str(tmp_path)]) == 130
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and "broken.wav: expected audio" in errors[0] and "interrupted" in errors[1]


def test_temporary_names_of_any_target_are_short_enough(tmp_path):
    for name in ("a" * 255, "é" * 127, "a" + ".b" * 127, "a." + "b" * 250, "." + "a" * 254, os.fsdecode(b"\xff" * 255)):
        with atomic_file(tmp_path / name) as temporary:
            temporary.write_text("x")
        assert (tmp_path / name).read_text() == "x"
        (tmp_path / name).unlink()
        with atomic_directory(tmp_path / name) as folder:
            (folder / "a").touch()
        (tmp_path / name / "a").unlink()
        (tmp_path / name).rmdir()
    with atomic_file(tmp_path / "best.weights.h5") as temporary:
        assert temporary.name.endswith(".weights.h5")
        temporary.touch()


def test_short_names_are_different():
    assert short_name("street") == "street"
    names = {short_name("é" * 200 + letter) for letter in "abc"}
    assert len(names) == 3 and all(len(name.encode()) <= 100 for name in names)


def polysed(*arguments, **streams):
    return subprocess.run([sys.executable, "-m", "polysed_keras", *arguments], stderr=subprocess.PIPE, text=True,
                          timeout=300, **streams)


def test_a_closed_stdin_is_one_line():
    command = f"exec {sys.executable} -m polysed_keras listen - <&-"
    result = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=300)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.splitlines() == ["polysed: stdin: expected audio from a pipe. Received: a closed one. Pipe "
                                          "16-bit PCM or a WAV file in."]


def without_reader():
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_nobody_reads_is_a_quiet_end(unbuffered):
    """A short output is written at the exit."""
    writing = without_reader()
    result = polysed("presets", stdout=writing, env=os.environ | {"PYTHONUNBUFFERED": unbuffered})
    os.close(writing)
    assert (result.returncode, result.stderr) == (0, "")


def test_events_that_nobody_reads_are_a_quiet_end(tmp_path, monkeypatch, capsys):
    """Detection stops there, and tells the errors so far."""
    for name in ("a", "broken", "c", "d"):
        (tmp_path / f"{name}.wav").write_bytes(b"x")
    with os.fdopen(without_reader(), "w", buffering=1) as output:
        monkeypatch.setattr(sys, "stdout", output)
        assert main(["detect", str(tmp_path / "broken.wav"), str(tmp_path)]) == 0
    assert capsys.readouterr().err.splitlines() == [f"{tmp_path}/broken.wav: expected audio. Received: none."]


def test_listening_for_nobody_ends_quietly(monkeypatch, capsys):
    from polysed_keras.detection import Detector

    def serve(waveform):
        posteriors = np.zeros((1, -(-waveform.shape[1] // 320), 1), np.float32)
        posteriors[0, 10:20] = 0.9
        return {"posteriors": posteriors, "activity": (posteriors > 0).astype(np.uint8)}

    description = {"labels": ["dog"], "sample_rate": RATE, "hop_length": 320, "win_length": 320, "segment_frames": 50,
                   "time_resolution": 0.02, "experiment": {}}
    monkeypatch.setattr("polysed_keras.serving.load_detector", lambda model, runtime: Detector(serve, description))
    stdin = types.SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(bytes(2 * RATE * 60))))
    monkeypatch.setattr(sys, "stdin", stdin)
    with os.fdopen(without_reader(), "w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        assert main(["listen", "-", "--rate", str(RATE)]) == 0
    errors = capsys.readouterr().err
    assert "listening" in errors and "Errno" not in errors and "Traceback" not in errors


def test_a_bar_grows_within_a_recording_and_over_all(tmp_path, monkeypatch, capsys):
    """By bytes, three quarters of which are the first recording's; a detector tells the seconds within one."""
    import tqdm
    shown = []

    class Bar(tqdm.tqdm):
        def __init__(self, **options):
            super().__init__(**options | {"disable": False, "delay": 0, "file": io.StringIO()})

        def update(self, n=1):
            super().update(n)
            shown.append((round(self.n / self.total, 3), self.postfix))

    def detect(path, **options):
        for part in (1, 2):
            fake.progress(part * soundfile.info(path).duration / 2)
        return EVENTS

    fake = Fake()
    fake.detect = detect
    take_detector(monkeypatch, fake)
    monkeypatch.setattr(tqdm, "tqdm", Bar)
    for name, hours in (("a", 0.6), ("b", 0.2)):
        with soundfile.SoundFile(tmp_path / f"{name}.wav", "w", 1000, 1, "PCM_U8") as file:
            file.write(np.zeros(round(hours * 3.6e6)))
    assert main(["detect", str(tmp_path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert shown == [(0.375, "0 of 2 recordings, 0.3 h"), (0.75, "0 of 2 recordings, 0.6 h"),
                     (0.75, "1 of 2 recordings, 0.6 h"), (0.875, "1 of 2 recordings, 0.7 h"),
                     (1.0, "1 of 2 recordings, 0.8 h"), (1.0, "2 of 2 recordings, 0.8 h")]


def test_a_broken_pipe_that_is_not_the_output_is_an_error(tmp_path, monkeypatch, capsys):
    """As of a server that goes away."""
    (tmp_path / "a.wav").write_bytes(b"x")

    def gone(*arguments, **options):
        raise BrokenPipeError(32, "gone")

    monkeypatch.setattr(Fake, "detect", gone)
    assert main(["detect", str(tmp_path)]) == 2
    assert "gone" in capsys.readouterr().err


def test_a_mac_file_beside_a_recording_is_passed_over(tmp_path, capsys):
    soundfile.write(tmp_path / "a.mp3", np.zeros(RATE), RATE)
    (tmp_path / "._a.mp3").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(4000))
    assert main(["detect", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{tmp_path}/a.mp3\t0.500\t1.250\tdog\t0.750"]
