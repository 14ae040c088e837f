"""Inputs that once ended in tracebacks, gigabytes or files elsewhere: exit code 2 and one line, at once, and no file.

They are read below the folder that POLYSED_TEST_DATA names, in cases/fuzz/. tests/test_fuzz.py makes others of their
kinds.
"""
import json
import os
import pathlib
import shutil
import time

import pytest
import soundfile

from polysed_keras.cli.main import main
from polysed_keras.errors import InputError
from polysed_keras.models import build_model
from polysed_keras.serving.batch import RECORD
from polysed_keras.training.runs import load_run

from fixtures import MULTI_LABEL, RATE, shared_corpus, shared_export, tone

CASES = pathlib.Path(os.environ.get("POLYSED_TEST_DATA", "none"), "cases", "fuzz")
MOST_SECONDS = 10.0


def soundbank(case):
    """A soundbank in ESC-50's layout with the table of a case."""
    for part in ("meta", "audio"):
        pathlib.Path("bank", part).mkdir(parents=True)
    shutil.copy(case, "bank/meta/esc50.csv")
    for name in "ab":
        soundfile.write(f"bank/audio/{name}.wav", tone(1), RATE)
    return [["synthesize", "--soundbank", "bank", "--out", "out"]]


def instructions(case):
    """The instructions of mixtures, one of which names the folder of the test in a label."""
    pathlib.Path("soundscapes.json").write_text(case.read_text().replace("/ABSOLUTE", os.getcwd()))
    return [["synthesize", "--from", "soundscapes.json", "--soundbank", CASES.parents[1] / "esc10", "--out", "a/b/out"]]


def export(case):
    version = pathlib.Path("models/a/1")
    version.mkdir(parents=True)
    shutil.copy(case, version / "card.json")
    (version / "saved_model.pb").touch()
    soundfile.write("a.wav", tone(1), RATE)
    return [["serve-config", "models", "--out", "out"], ["detect", "a.wav", "--model", "models/a"],
            ["detect", "a.wav", "--server", "localhost:1", "--model", "models/a"]]


def experiment(case):
    shutil.copy(case, "a.json")
    return [["train", "a.json", "--data", shared_corpus(), "--out", "out"]]


def run(case):
    """A run's folder, with weights if its experiment can be read."""
    pathlib.Path("run").mkdir()
    for name, content in json.loads(case.read_text()).items():
        pathlib.Path("run", name).write_text(json.dumps(content))
    try:
        build_model(load_run("run")).save_weights("run/best.weights.h5")
    except InputError:
        pass
    commands = [["evaluate", "run", "--data", shared_corpus(), "--out", "out"],
                ["train", "multilabel_small", "--data", shared_corpus(), "--out", "run", "--resume"]]
    reads_no_combinations = ["export", "run", "--out", "out"]
    return commands if "unseen" in case.name else [*commands, reads_no_combinations]


def settings(case):
    number, text = json.loads(case.read_text())
    command = (["train", "multilabel_small", "--data", shared_corpus()], ["synthesize", "--procedural"],
               ["standin", "--procedural"])[number]
    return [[*command, "--out", "out", "--set", text]]


def search(case):
    return [["tune", case, "--data", shared_corpus(), "--out", "out"]]


def audio(case):
    return [["detect", case, "--model", shared_export(MULTI_LABEL), "--out", "out"]]


def files_in(folder):
    """All files and their content, but for the notes of detect on what audio it has read."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.parent.name != RECORD}


KINDS = {"esc50": soundbank, "from": instructions, "json_card": export, "json_exp": experiment, "json_run": run,
         "json_set": settings, "search": search, "rate": audio, "x.raw": audio}


@pytest.mark.skipif(not CASES.is_dir(), reason="POLYSED_TEST_DATA names no folder with cases/fuzz/")
@pytest.mark.parametrize("name", sorted(os.listdir(CASES)) if CASES.is_dir() else [])
def test_an_input_is_refused_in_one_line(name, tmp_path, monkeypatch, capsys):
    place = tmp_path / "deep" / "place"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    arrange = next(arrange for kind, arrange in KINDS.items() if name.startswith(kind))
    for arguments in arrange(CASES / name):
        before, start = files_in(tmp_path), time.process_time()
        capsys.readouterr()
        assert main(list(map(str, arguments))) == 2, arguments
        assert time.process_time() - start < MOST_SECONDS
        lines = capsys.readouterr().err.splitlines()
        assert [line for line in lines if line.startswith("polysed: ")] == lines[-1:], arguments
        assert not any("Traceback" in line for line in lines)
        assert files_in(tmp_path) == before, arguments
