"""Many recordings: resumed by content, the same from several processes and a cluster, and nothing lost by a kill."""
import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pandas as pd
import pytest
import soundfile

from polysed_keras.cli.main import main
from polysed_keras.errors import InputError
from polysed_keras.export import runtimes
from polysed_keras.files import write_checksums
from polysed_keras.serving import batch, load_detector
from polysed_keras.serving.batch import FINISHED, RECORD, Request, detect_recordings, unfinished

from fixtures import MULTI_LABEL, POWERSET, RATE, shared_export

ROOT = pathlib.Path(__file__).parents[2]


def write_clip(path, seed, seconds=0.7):
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * RATE)) / RATE
    tone = 0.4 * np.sin(2 * np.pi * rng.uniform(300, 3000) * times) * (times > seconds / 3)
    soundfile.write(path, tone + rng.normal(0, 0.01, len(times)), RATE, subtype="PCM_16")


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(5):
        write_clip(folder / f"{number}.wav", number)
    return folder


@pytest.fixture
def model(tmp_path):
    """A model of one's own, to be changed."""
    shutil.copytree(shared_export(POWERSET), tmp_path / "model")
    return tmp_path / "model"


def detect(clips, model, out, *options):
    batch.open_detector.cache_clear()  # as in a new process
    return main(["detect", str(clips), "--model", str(model), "--out", str(out), *options])


def contents(out):
    return {path.name: path.read_bytes() for path in out.glob("*.*") if path.is_file()}


def done(capsys):
    """The recordings that were detected, and what was said."""
    captured = capsys.readouterr()
    return [pathlib.Path(line.split(":")[0]).name for line in captured.out.splitlines()], captured.err


def test_what_is_there_is_not_detected_again(clips, model, tmp_path, capsys):
    out = tmp_path / "events"
    assert detect(clips, model, out) == 0
    first = contents(out)
    assert done(capsys)[0] == [f"{number}.wav" for number in range(5)] and len(first) == 5
    assert detect(clips, model, out) == 0
    assert done(capsys) == ([], f"5 of 5 recordings are detected already, by the same model and options; their files "
                                f"in {out} stay\n")
    write_clip(clips / "new.wav", 9)
    assert detect(clips, model, out) == 0
    assert done(capsys)[0] == ["new.wav"]
    assert contents(out).items() >= first.items()


def replace_audio(clips, model, out):
    """Put another recording in place of one, with its size and times, as rsync and cp -p do."""
    status = (clips / "3.wav").stat()
    write_clip(clips / "3.wav", 33)
    os.utime(clips / "3.wav", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (clips / "3.wav").stat().st_size == status.st_size


def remove_output(clips, model, out):
    (out / "3.tsv").unlink()


def break_note(clips, model, out):
    lines = (out / RECORD / FINISHED).read_text().strip().splitlines()
    (out / RECORD / FINISHED).write_text("\n".join([*lines[:3], lines[3][:20], lines[4]]))


def change_model(clips, model, out):
    path = model / "1" / "variables" / "variables.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    (model / "1" / "checksums.json").unlink()
    write_checksums(model / "1")


def forget(clips, model, out):
    shutil.rmtree(out / RECORD)


@pytest.mark.parametrize("change, again", [
    (replace_audio, ["3.wav"]), (remove_output, ["3.wav"]), (break_note, ["3.wav"]),
    (change_model, [f"{number}.wav" for number in range(5)]), (forget, [f"{number}.wav" for number in range(5)])],
    ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_of_something_else_is_detected_again(change, again, clips, model, tmp_path, capsys):
    assert detect(clips, model, tmp_path / "events") == 0
    change(clips, model, tmp_path / "events")
    done(capsys)
    assert detect(clips, model, tmp_path / "events") == 0
    assert done(capsys)[0] == again
    assert detect(clips, model, tmp_path / "events") == 0
    assert done(capsys)[0] == []


@pytest.mark.parametrize("options", [["--threshold", "0.2"], ["--labels", "whistle"], ["--min-duration", "0.3"]])
def test_other_options_are_other_events(options, clips, model, tmp_path, capsys):
    assert detect(clips, model, tmp_path / "events") == 0
    done(capsys)
    assert detect(clips, model, tmp_path / "events", *options) == 0
    assert len(done(capsys)[0]) == 5


def test_another_runtime_finds_the_same_and_detects_nothing_again(clips, model, tmp_path, capsys):
    assert detect(clips, model, tmp_path / "events") == 0
    done(capsys)
    assert detect(clips, model, tmp_path / "events", "--runtime", "tensorflow") == 0
    assert done(capsys)[0] == []


def test_a_process_that_goes_on_notices_another_model(clips, model, tmp_path):
    """As the workers of a cluster do, which load a model once."""
    path, request = clips / "1.wav", Request(str(model))
    [(_, first)] = detect_recordings(request, [path])
    shutil.rmtree(model)
    shutil.copytree(shared_export(MULTI_LABEL), model)
    [(_, second)] = detect_recordings(request, [path])
    alone = load_detector(shared_export(MULTI_LABEL)).detect(path)
    pd.testing.assert_frame_equal(second, alone)
    assert not first.equals(second)


def test_audio_that_is_replaced_while_it_is_heard_is_not_noted(clips, tmp_path, monkeypatch):
    request = Request(str(shared_export(POWERSET)), out=str(tmp_path / "events"))
    write = batch._write_events
    monkeypatch.setattr(batch, "_write_events", lambda detector, path, request: (
        write(detector, path, request), path.name == "1.wav" and write_clip(path, 11))[0])
    paths = [clips / "0.wav", clips / "1.wav"]
    assert unfinished(request, paths) == paths
    assert "1.tsv" in dict(detect_recordings(request, paths))[paths[1]]
    assert unfinished(request, paths) == paths[1:]


def test_audio_of_which_nothing_is_there_is_not_read_before_it_is_heard(clips, tmp_path, monkeypatch):
    request = Request(str(shared_export(POWERSET)), out=str(tmp_path / "events"))
    paths, read = sorted(clips.iterdir()), []
    list(detect_recordings(request, paths[:2]))
    monkeypatch.setattr(batch, "audio_digest", lambda path, folder: read.append(path))
    unfinished(request, paths)
    assert read == paths[:2]


def test_failed_recordings_are_tried_again_and_the_others_are_not(clips, model, tmp_path, capsys):
    (clips / "2.wav").write_bytes(b"no audio")
    for others in (4, 0):
        assert detect(clips, model, tmp_path / "events") == 2
        names, error = done(capsys)
        assert len(names) == others and "2.wav" in error.splitlines()[-1]


# Processes

def test_processes_find_what_one_finds(clips, tmp_path, capsys):
    (clips / "2.wav").write_bytes(b"no audio")
    model = shared_export(POWERSET)
    assert detect(clips, model, tmp_path / "one") == 2
    expected = done(capsys)
    assert detect(clips, model, tmp_path / "two", "--workers", "2") == 2
    received = done(capsys)
    assert received[0] == expected[0] == ["0.wav", "1.wav", "3.wav", "4.wav"]
    assert received[1] == expected[1]
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert main(["detect", str(clips), "--model", str(model), "--workers", "0"]) == 2
    assert "--workers: expected at least 1. Received: 0" in capsys.readouterr().err


class Pool:
    """An executor in this process, which a recording named poison ends."""

    def submit(self, function, request, path):
        future = concurrent.futures.Future()
        future.set_result(path.name) if path.name != "poison" else future.set_exception(BrokenProcessPool("ended"))
        if path.name == "poison":
            self.submit = self.refuse
        return future

    def shutdown(self):
        pass

    def refuse(self, function, request, path):
        future = concurrent.futures.Future()
        future.set_exception(BrokenProcessPool("ended"))
        return future


def test_a_recording_that_ends_its_process_costs_no_other(monkeypatch):
    sizes = []

    @contextlib.contextmanager
    def pool(request, processes):
        sizes.append(processes)
        yield Pool()

    monkeypatch.setattr(batch, "_pool", pool)
    paths = [pathlib.Path(name) for name in ("a", "b", "poison", "c", "d", "e")]
    results = dict(detect_recordings(Request("model", weights="known"), paths, workers=3))
    assert isinstance(results[pathlib.Path("poison")], InputError)
    assert "the process that detected in it has ended" in str(results.pop(pathlib.Path("poison")))
    assert {str(path): name for path, name in results.items()} == {name: name for name in "abcde"}
    assert sizes == [3, 1, 1, 1, 1]  # poison, c and d by themselves, then the rest


@pytest.fixture
def many(tmp_path):
    """Many recordings, the first of them long, and a command that takes seconds for them."""
    folder = tmp_path / "many"
    folder.mkdir()
    write_clip(folder / "00.wav", 0, seconds=1200)
    for number in range(1, 60):
        write_clip(folder / f"{number:02d}.wav", number, seconds=8)
    command = [sys.executable, "-m", "polysed_keras", "detect", str(folder), "--model", str(shared_export(POWERSET)),
               "--out", str(tmp_path / "events"), "--workers", "2"]
    return lambda: subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def children(process):
    return [int(child) for path in pathlib.Path(f"/proc/{process.pid}/task").glob("*/children")
            for child in path.read_text().split()]


def wait_for(happened, process):
    deadline = time.monotonic() + 60
    while not happened():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def workers_of(process):
    return [child for child in children(process)
            if b"spawn_main" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.skipif(not pathlib.Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
def test_a_killed_process_loses_nothing(many, tmp_path):
    process, out = many(), tmp_path / "events"
    wait_for(lambda: len(list(out.glob("*.tsv"))) > 4, process)
    os.kill(workers_of(process)[0], signal.SIGKILL)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert len(list(out.glob("*.tsv"))) == 60


@pytest.mark.skipif(not pathlib.Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
def test_a_terminated_command_leaves_no_processes_and_goes_on(many, tmp_path):
    process, out = many(), tmp_path / "events"
    wait_for(lambda: len(list(out.glob("*.tsv"))) > 4, process)
    below = children(process)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert not list(out.glob("*.partial")) and not list(out.glob(".*.partial"))
    deadline = time.monotonic() + 10
    while any(pathlib.Path(f"/proc/{child}").exists() for child in below):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tsv")}
    assert "00.tsv" not in before  # What is done is noted though the first is not.
    process = many()
    printed, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tsv")}
    kept = [name for name in before if after[name] == before[name]]
    assert len(after) == 60 and len(kept) >= len(before) - 2  # A worker may have ended before it noted its last.
    assert len(printed.splitlines()) == 60 - len(kept)


def test_processes_share_the_cores(monkeypatch):
    """One recording has all cores, however many workers are allowed."""
    begun = []
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setattr(batch.concurrent.futures, "ProcessPoolExecutor",
                        lambda processes, context, begin, arguments: begun.append((processes, arguments[0])) or Pool())
    for number in (1, 2, 9):
        list(detect_recordings(Request("model", weights="known"), [pathlib.Path("a")] * number, workers=8))
    assert begun == [(1, 6), (2, 3), (8, 1)]


def test_threads_share_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert runtimes.num_threads() == min(runtimes.MOST_THREADS, len(os.sched_getaffinity(0)))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert runtimes.num_threads() == 3


# A cluster

def test_without_a_scheduler_a_line_says_so(clips, monkeypatch, capsys):
    pytest.importorskip("distributed", reason="distributed is not installed: pip install -e '.[cluster]'")
    monkeypatch.setattr(batch, "CONNECT_SECONDS", 1)
    options = ["detect", str(clips), "--model", str(shared_export(POWERSET)), "--scheduler"]
    for address in ("tcp://127.0.0.1:9", "nonsense://x"):
        assert main([*options, address]) == 2
        assert f"scheduler: expected a Dask scheduler at {address}" in capsys.readouterr().err.splitlines()[-1]
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main([*options, "tcp://127.0.0.1:9"]) == 2
    assert "pip install 'polysed_keras[cluster]'" in capsys.readouterr().err


def test_a_cluster_finds_what_one_machine_finds_though_a_worker_is_killed(many, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed",
                                      reason="distributed is not installed: pip install -e '.[cluster]'")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    request = Request(str(shared_export(POWERSET)), out=str(tmp_path / "cluster"))
    paths = sorted((tmp_path / "many").iterdir())
    (tmp_path / "cluster").mkdir()
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        pids = [worker.process.process.pid for worker in cluster.workers.values()]
        results = []
        for path, result in detect_recordings(request, paths, scheduler=cluster.scheduler_address):
            if len(results) == 4:
                os.kill(pids[0], signal.SIGKILL)
            results.append((path, result))
    assert [path for path, _ in results] == paths
    assert not [result for _, result in results if isinstance(result, InputError)]
    alone = dataclasses.replace(request, out=str(tmp_path / "alone"))
    (tmp_path / "alone").mkdir()
    list(detect_recordings(alone, paths[::6]))
    for path in (tmp_path / "alone").glob("*.tsv"):
        assert (tmp_path / "cluster" / path.name).read_bytes() == path.read_bytes()
