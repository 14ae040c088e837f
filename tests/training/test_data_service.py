"""Trainings whose batches workers of tf.data's service make; which these are, test_recordings.py tests."""
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest

from polysed_keras.cli.main import main
from polysed_keras.errors import InputError
from polysed_keras.files import write_json
from polysed_keras.training.recordings import from_service

from fixtures import MULTI_LABEL, free_port, shared_clips, shared_corpus

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "guides" / "many-machines.md"


def test_a_dispatcher_that_does_not_answer_is_a_line():
    for address in ("127.0.0.1:9", "nowhere", "127.0.0.1:one", "127.0.0.1:99999"):
        with pytest.raises(InputError, match=f"--data-service: expected the HOST:PORT.*Received: {address}"):
            from_service(None, address)


@pytest.mark.parametrize("preset, data", [("scene_baseline_small", shared_clips)])
def test_what_python_makes_is_refused(preset, data, tmp_path, capsys):
    assert main(["train", preset, "--data", str(data()), "--out", str(tmp_path / "run"), "--data-service", "a:1"]) == 2
    assert "--data-service: expected a preset of recordings" in capsys.readouterr().err


def test_a_dispatcher_is_looked_for_before_the_data(tmp_path, capsys):
    assert main(["train", "multilabel_small", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "run"),
                 "--data-service", "127.0.0.1:9"]) == 2
    assert "--data-service: expected the HOST:PORT" in capsys.readouterr().err


@pytest.mark.slow
def test_a_training_takes_its_batches_from_the_scripts_of_the_guide_though_a_worker_is_killed(tmp_path):
    dispatcher, worker = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    write_json(MULTI_LABEL.to_dict(), tmp_path / "tiny.json")
    address, running = f"127.0.0.1:{free_port()}", []

    def start(script, *arguments):
        with open(tmp_path / "log", "a") as log:
            running.append(subprocess.Popen([sys.executable, "-c", script, *arguments], stderr=log))

    try:
        start(dispatcher, address)
        for _ in range(2):
            start(worker, address, f"127.0.0.1:{free_port()}")
        command = [sys.executable, "-m", "polysed_keras", "train", str(tmp_path / "tiny.json"), "--data",
                   str(shared_corpus()), "--out", str(tmp_path / "run"), "--data-service", address]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        while not (tmp_path / "run" / "history.csv").exists():
            assert running[-1].poll() is None, running[-1].stdout.read()
        os.kill(running[1].pid, signal.SIGKILL)
        said, _ = running[-1].communicate(timeout=300)
        assert running[-1].returncode == 0, said
        assert "best epoch" in said
    finally:
        for process in running:
            process.kill()
            process.wait()
