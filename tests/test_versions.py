"""Files of older versions are read, and those of a newer one are refused by name.

tests/data/format_1 holds the files of a run, an export, a corpus and a search, as the version before wrote them that
numbered no formats: they stay as they are.
"""
import json
import pathlib
import shutil

import pytest

from polysed_keras import files
from polysed_keras.cli.main import main
from polysed_keras.errors import InputError
from polysed_keras.files import check_checksums, read_json, write_json
from polysed_keras.search.trials import read_result
from polysed_keras.serving.deployment import find_exports
from polysed_keras.specs import Task, get_preset, task_labels
from polysed_keras.synthesis.corpus import read_instructions
from polysed_keras.training.checkpoints import best_epoch, read_calibration
from polysed_keras.training.runs import load_run
from polysed_keras.training.seen import read_seen

from fixtures import shared_corpus

OLDER = pathlib.Path(__file__).parent / "data" / "format_1"
TASKS = (Task("task_1", ("whistle", "beep"), "powerset"), Task("task_2", ("hum", "hiss"), "powerset"))


def write_search(folder):
    """Write a search file, and the experiment that it is of, and return its path."""
    write_json(json.loads((OLDER / "search" / "best.json").read_text()), folder / "tiny.json")
    kept = ("preset", "ranges", "objective", "direction", "algorithm", "trials", "epochs", "seeds")
    content = json.loads((OLDER / "search" / "search.json").read_text())
    write_json({key: content[key] for key in kept} | {"preset": str(folder / "tiny.json")}, folder / "new.json")
    return folder / "new.json"


def test_runs_without_a_format_are_read():
    run = OLDER / "run"
    experiment = load_run(run)
    assert (experiment.name, experiment.tasks, experiment.features.hop_length) == ("tiny_tasks", TASKS, 160)
    assert best_epoch(run, "val_f1")["epoch"] == 3
    assert read_seen(run / "combinations.json", TASKS) == {"task_1": [0, 1, 2, 3], "task_2": [0, 1, 2, 3]}
    assert read_json(run / "checksums.json")["epoch-3.weights.h5"] == "26b8eeed892c"
    assert read_calibration(run, task_labels(TASKS))["min_duration"] == [0.475, 0.338, 0.163, 0.341]


def test_exports_without_a_format_are_read(tmp_path):
    shutil.copytree(OLDER / "saved_models", tmp_path, dirs_exist_ok=True)
    (tmp_path / "tiny" / "1" / "saved_model.pb").touch()
    with pytest.raises(InputError, match="checksums.json has the digest of"):  # It was read, and the graph is empty.
        check_checksums(tmp_path / "tiny" / "1")
    (tmp_path / "tiny" / "1" / "checksums.json").unlink()
    card = find_exports(tmp_path)["tiny"][1]
    assert card["labels"] == ["whistle", "beep", "hum", "hiss"] and card["time_resolution"] == 0.02


def test_mixtures_without_a_format_are_read():
    content = read_instructions(OLDER / "corpus")
    assert content.seed == 3 and content.spec.sample_rate == 16000
    assert [mixture.name for mixture in content.mixtures["train"]] == ["TUT-SED-synthetic-2016-mix-0"]


def test_searches_without_a_format_are_read():
    assert read_result(OLDER / "search" / "trials" / "0" / "result.json")["objective"] == pytest.approx(0.38392857)
    assert get_preset(str(OLDER / "search" / "best.json")).model.filters == (4, 8)


COMMANDS = {
    "run/experiment.json": ["export", "run", "--out", "out"],
    "saved_models/tiny/1/card.json": ["serve-config", "saved_models", "--out", "out"],
    "saved_models/tiny/1/checksums.json": ["detect", "a.wav", "--model", "saved_models/tiny"],
    "corpus/soundscapes.json": ["synthesize", "--from", "corpus", "--out", "out"],
    "search/search.json": ["tune", "new.json", "--data", "data", "--out", "search"],
    "search/best.json": ["train", "search/best.json", "--data", "data", "--out", "out"],
}


@pytest.mark.parametrize("path", COMMANDS)
def test_a_newer_file_is_refused_by_name(path, tmp_path, monkeypatch, capsys):
    shutil.copytree(OLDER, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for name in ("saved_models/tiny/1/saved_model.pb", "a.wav"):
        (tmp_path / name).touch()
    shutil.copytree(shared_corpus(), "data")
    write_search(tmp_path)
    if path.endswith("card.json"):
        (tmp_path / path).with_name("checksums.json").unlink()  # Files that they are of are not there.
    before = sorted(tmp_path.rglob("*"))
    # A newer version may have other keys, and another way to make the digest.
    (tmp_path / path).write_text(json.dumps({"polysed_format": 3, "novel": [], "sha256": "otherwise"}))
    assert main(COMMANDS[path]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(
        f"{path}: expected a file of format 1 or older. Received: 3. If a newer version of polysed_keras wrote it, "
        "update this one.")
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_read_back_says_its_format(tmp_path):
    for options in ({"versioned": True}, {"sealed": True}):
        write_json({"a": [1]}, tmp_path / "a.json", **options)
        stored = json.loads((tmp_path / "a.json").read_text())
        assert stored["polysed_format"] == files.FORMAT == 1 and ("sha256" in stored) == ("sealed" in options)
        assert read_json(tmp_path / "a.json") == {"a": [1]}
    write_json({"a": 1}, tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text()) == {"a": 1}


@pytest.mark.parametrize("version", [0, -1, 2, 1.0, True, "1", None, [1], 2 ** 62])
def test_no_other_formats_are_read(version, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"a": 1, "polysed_format": version}))
    with pytest.raises(InputError, match="a.json: expected a file of format 1 or older. Received: "):
        read_json(tmp_path / "a.json")


def test_files_of_every_format_so_far_are_read(tmp_path, monkeypatch):
    write_json({"a": 1}, tmp_path / "a.json", sealed=True)
    monkeypatch.setattr(files, "FORMAT", 2)
    assert read_json(tmp_path / "a.json") == {"a": 1}
    write_json({"a": 1}, tmp_path / "b.json", sealed=True)
    assert '"polysed_format": 2' in (tmp_path / "b.json").read_text() and read_json(tmp_path / "b.json") == {"a": 1}


def test_a_changed_format_breaks_the_seal(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "FORMAT", 2)
    write_json({"a": 1}, tmp_path / "a.json", sealed=True)
    text = (tmp_path / "a.json").read_text()
    (tmp_path / "a.json").write_text(text.replace('"polysed_format": 2', '"polysed_format": 1'))
    with pytest.raises(InputError, match="the content that its sha256 is of"):
        read_json(tmp_path / "a.json")
