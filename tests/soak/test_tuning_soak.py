"""Searches in processes of their own: killed at random moments, with two workers, and for their memory. Minutes."""
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from polysed_keras.files import write_json

from fixtures import MULTI_LABEL, free_port, shared_corpus

ROOT = pathlib.Path(__file__).parents[2]
RATE, DROPOUT, TASKS = "training.learning_rate", "model.dropout", "tasks.num_tasks"


@pytest.fixture
def start(tmp_path):
    """A function that starts a search of the given keys in a folder; a subprocess.Popen."""
    write_json(MULTI_LABEL.to_dict(), tmp_path / "tiny.json")
    running = []

    def start(name, *options, role=(), **keys):
        search = {"preset": str(tmp_path / "tiny.json"), "objective": "val_f1", "direction": "max",
                  "algorithm": "random", "epochs": 1, "seeds": [0], **keys}
        (tmp_path / "search.json").write_text(json.dumps(search))
        # one thread adds up in one order: the same weights, killed or not
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_NUM_INTRAOP_THREADS": "1",
                       "TF_NUM_INTEROP_THREADS": "1", **dict(role)}
        log = open(tmp_path / f"{name}.log", "a")
        command = [sys.executable, "-m", "polysed_keras", "tune", str(tmp_path / "search.json"), "--data",
                   str(shared_corpus()), "--out", str(tmp_path / name), *options]
        running.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


def finish(process, folder):
    """Wait for the end of a search; its table."""
    code = process.wait(900)
    assert code == 0, folder.with_suffix(".log").read_text()
    return pd.read_csv(folder / "trials.csv")


def children(pid):
    """All processes below one."""
    below = [int(child) for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children")
             for child in path.read_text().split()]
    return below + [further for child in below for further in children(child)]


def spawned_below(pid):
    """The processes that train trials for one."""
    return [below for below in children(pid) if b"spawn_main" in pathlib.Path(f"/proc/{below}/cmdline").read_bytes()]


def is_there(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(process):
    """kill -9 of a search; what it had started ends by itself."""
    below = children(process.pid)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while any(map(is_there, below)):
        assert time.monotonic() < deadline, "the processes of a killed search go on"
        time.sleep(0.05)


def wait_for(process, happened):
    """Wait until something has happened; False where the search ended first."""
    while not happened():
        if process.poll() is not None:
            return False
        time.sleep(0.02)
    return True


def assert_same(table, expected, scores=1e-6):
    """The same trials with the same results; seconds are other ones."""
    pd.testing.assert_frame_equal(table.drop(columns="seconds"), expected.drop(columns="seconds"), atol=scores, rtol=0)


def test_kills_within_trials_and_between_them_lose_and_double_nothing(start, tmp_path, record_property):
    keys = {"epochs": 6, "trials": 4, "ranges": {RATE: {"low": 1e-3, "high": 1e-1, "sampling": "log"}, TASKS: [1, 2]}}
    unbroken = finish(start("unbroken", **keys), tmp_path / "unbroken")
    assert unbroken.trial.tolist() == [0, 1, 2, 3] and unbroken.status.eq("completed").all()
    out, moments = tmp_path / "killed", []
    for trial in range(3):
        folder = out / "trials" / str(trial)
        for name, marker in (("within", folder / "history.csv"), ("between", folder / "result.json")):
            process = start("killed", **keys)
            if wait_for(process, marker.exists):
                delay = random.uniform(0, 1)
                time.sleep(delay)
                moments.append(f"{name} trial {trial} + {delay:.3f} s, "
                               f"{len(pd.read_csv(folder / 'history.csv'))} epochs finished")
            kill(process)
    print(*moments, sep="\n")
    assert len(moments) == 6
    assert_same(finish(start("killed", **keys), out), unbroken)
    assert json.loads((out / "best.json").read_text()) == json.loads((tmp_path / "unbroken" / "best.json").read_text())


def test_a_killed_trial_process_is_started_again(start, tmp_path):
    keys = {"epochs": 4, "trials": 1, "ranges": {TASKS: [1]}}
    unbroken = finish(start("unbroken", **keys), tmp_path / "unbroken")
    process = start("killed", **keys)
    assert wait_for(process, (tmp_path / "killed" / "trials" / "0" / "history.csv").exists)
    spawned = spawned_below(process.pid)
    assert len(spawned) == 1
    os.kill(spawned[0], signal.SIGKILL)
    assert_same(finish(process, tmp_path / "killed"), unbroken)


def test_two_workers_finish_a_space_and_run_nothing_twice(start, tmp_path):
    """With one trial's process, and then the search, killed on the way."""
    keys = {"epochs": 3, "trials": 30, "ranges": {DROPOUT: [0.0, 0.1, 0.2], TASKS: [1, 2, 5]}}
    out = tmp_path / "workers"
    def trials_with(file):  # which of them have five tasks, and fail, is a matter of who asks first
        return len(list((out / "trials").glob(f"*/{file}")))

    process = start("workers", "--workers", "2", **keys)
    assert wait_for(process, lambda: trials_with("experiment.json") >= 2)
    spawned = spawned_below(process.pid)
    assert 1 <= len(spawned) <= 2
    os.kill(min(spawned), signal.SIGKILL)
    assert wait_for(process, lambda: trials_with("result.json") >= 6)
    kill(process)
    table = finish(start("workers", "--workers", "2", **keys), out)
    assert len(table) == 9 == len(set(zip(table[DROPOUT], table[TASKS]))) and table.trial.tolist() == list(range(9))
    assert table[table[TASKS] == 5].status.eq("failed").all() and table[table[TASKS] != 5].status.eq("completed").all()
    histories = [pd.read_csv(path) for path in (out / "trials").glob("*/history.csv")]
    assert len(histories) == 6 and all(history.epoch.tolist() == [1, 2, 3] for history in histories)
    states = [json.loads(path.read_text())["status"] for path in (out / "oracle").glob("trial_*/trial.json")]
    assert sorted(states) == ["COMPLETED"] * 6 + ["FAILED"] * 3


def test_a_worker_of_a_chief_is_killed_and_started_again_under_its_name(start, tmp_path):
    """Three commands with KerasTuner's variables, as on three machines: the table is that of an unbroken one."""
    keys = {"epochs": 3, "trials": 5, "ranges": {RATE: {"low": 1e-3, "high": 1e-1, "sampling": "log"}}}
    unbroken = finish(start("unbroken", **keys), tmp_path / "unbroken")
    address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(free_port())}

    def start_as(name):
        return start("shared", role=address | {"KERASTUNER_TUNER_ID": name}, **keys)

    chief, workers = start_as("chief"), {name: start_as(name) for name in ("worker0", "worker1")}
    trials = tmp_path / "shared" / "trials"
    training = []
    assert wait_for(chief, lambda: any(trials.glob("*/history.csv")) and training.extend(
        name for name in workers if spawned_below(workers[name].pid)) or training)
    killed = training[0]
    kill(workers[killed])
    workers[killed] = start_as(killed)
    assert_same(finish(chief, tmp_path / "shared"), unbroken)
    assert [worker.wait(300) for worker in workers.values()] == [0, 0]
    histories = [pd.read_csv(path).epoch.tolist() for path in trials.glob("*/history.csv")]
    assert histories == [[1, 2, 3]] * 5  # none was trained twice


def resident(pid):
    """MiB of a process."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def test_memory_stays_flat(start, tmp_path):
    process = start("memory", trials=12, ranges={RATE: {"low": 1e-3, "high": 1e-1, "sampling": "log"}})
    used = {}
    for trial in range(12):
        # the next trial's folder is there only after all that followed the end of this one
        after = tmp_path / "memory" / "trials" / str(trial + 1)
        wait_for(process, after.exists if trial < 11 else (tmp_path / "memory" / "best.json").exists)
        used[trial + 1] = resident(process.pid)
    print("MiB after each trial:", *(f"{number:.1f}" for number in used.values()))
    assert len(finish(process, tmp_path / "memory")) == 12
    assert used[12] < 1.1 * used[2]
