"""One command from a soundbank to a calibrated detector, at a tiny size, and its mistakes."""
import json

import numpy as np
import pytest
import soundfile

from polysed_keras.cli.main import main
from polysed_keras.datasets.loading import load_dataset
from polysed_keras.synthesis import recipes
from polysed_keras.synthesis.drawing import FIELD

from fixtures import RATE, shared_corpus, write_bank

LABELS = ("beep", "hum")
TINY = ("--mixtures", "2", "1", "1", "--duration", "9.6", "--mix", "rt60_seconds=[]", "labels_per_mixture=[2,2]",
        "empty_share=0", "silence_stretch=[0.2,0.2]", "--set", "model.filters=[4,4,4,8]", "model.recurrent_units=4",
        "model.dense_units=[4]", "training.epochs=1", "training.batch_size=4")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    write_bank(folder / "sounds", LABELS, 5)
    (folder / "place").mkdir()
    soundfile.write(folder / "place" / "yard.wav", 0.05 * np.random.default_rng(0).standard_normal(30 * RATE), RATE)
    return folder


def train(folder, run, *options):
    return ["train", "yamnet", "--soundbank", str(folder / "sounds"), "--out", str(run), *options]


def mistake(arguments, capsys):
    """The line that a mistake gets."""
    assert main([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_one_command_makes_a_detector(sounds, tmp_path, capsys, caplog):
    run = tmp_path / "run"
    assert main(train(sounds, run, "--negatives", str(sounds / "place"), *TINY)) == 0
    printed = capsys.readouterr().out
    assert f"{run}: best epoch 1 of 1, validation mean of F1 and recall" in printed
    for words in ("What to expect", "allowed false events per hour", "20 per hour", *LABELS):
        assert words in printed
    spec = json.loads((run / "data" / "soundscapes.json").read_text())["spec"]
    assert spec["sample_rate"] == 16000 and spec["distractors"] == str(sounds / "place")
    assert spec["speed"] == list(FIELD.speed)  # the recipe field, without being asked for
    assert {name: len(part) for name, part in load_dataset(run / "data").partitions.items()} == {
        "train": 2, "validate": 1, "test": 1}
    calibration = json.loads((run / "calibration.json").read_text())
    assert calibration["alarms_per_hour"] == "20" and calibration["labels"] == list(LABELS)

    weights, mixtures = (run / "best.weights.h5").stat().st_mtime_ns, (run / "data").stat().st_mtime_ns
    assert mistake(train(sounds, run, *TINY), capsys).startswith(f"polysed: {run}: holds a run already")
    assert main(train(sounds, run, "--resume", "--alarms-per-hour", "40", *TINY)) == 0  # goes on with what is missing
    assert ((run / "best.weights.h5").stat().st_mtime_ns, (run / "data").stat().st_mtime_ns) == (weights, mixtures)
    assert json.loads((run / "calibration.json").read_text())["alarms_per_hour"] == "40"
    assert "40 per hour" in capsys.readouterr().out

    recording = load_dataset(run / "data").partitions["test"][0].audio
    assert main(["detect", str(recording), "--model", str(run), "--alarms-per-hour", "2"]) == 0
    assert main(["detect", str(recording), "--model", str(run), "--threshold", "0"]) == 0
    assert any(label in capsys.readouterr().out for label in LABELS)
    assert main(["calibrate", str(run), "--negatives", str(sounds / "place"), "--alarms-per-hour", "7"]) == 0
    assert "7 per hour" in capsys.readouterr().out
    assert "holds a run" in mistake(train(sounds, run, "--alarms-per-hour", "7", *TINY), capsys)


def test_a_network_that_is_not_pretrained_draws_new_mixtures_of_the_field(sounds, tmp_path, capsys):
    run = tmp_path / "run"
    arguments = ["train", "multilabel_small", *train(sounds, run)[2:], "--recipe", "field", "--negatives",
                 str(sounds / "place"), *TINY[:11], "--set", "model.filters=[8,8]", "training.epochs=1"]
    assert main(arguments) == 0
    stored = json.loads((run / "experiment.json").read_text())["mixing"]
    assert stored["spec"]["distractors"] == str(sounds / "place") and stored["mixtures"] == 2
    assert len(load_dataset(run / "data").partitions["train"]) == 0
    assert "What to expect" in capsys.readouterr().out and (run / "calibration.json").exists()


def test_mistakes_are_told_before_anything_is_made(sounds, tmp_path, capsys):
    run = tmp_path / "run"
    data = ["train", "yamnet", "--data", shared_corpus(), "--out", run]
    assert "--negatives: expected --soundbank beside it" in mistake([*data, "--negatives", sounds / "place"], capsys)
    assert "polysed synthesize, which makes DATA" in mistake([*data, "--negatives", sounds / "place"], capsys)
    for number in ("0", "-3", "nan"):
        line = mistake(train(sounds, run, "--alarms-per-hour", number, *TINY), capsys)
        assert line.startswith("polysed: alarms_per_hour: expected a number above 0")
    line = mistake(train(sounds, run, "--negatives", tmp_path / "no", *TINY), capsys)
    assert "negatives: expected a folder of recordings without the labels" in line and str(tmp_path / "no") in line
    assert not run.exists()


def test_mixtures_of_other_sounds_are_not_trained_on(sounds, tmp_path, capsys):
    other = write_bank(tmp_path / "other", ("ring", "wail"), 4)
    recipes.mix_soundbank(other, tmp_path / "run" / "data", recipe="paper",
                          mixtures=(1, 1, 1), duration=3.0, settings=["sample_rate=16000"])
    line = mistake(train(sounds, tmp_path / "run", *TINY), capsys)
    assert "sounds: expected the soundbank that" in line and "ring, wail" in line and "another folder" in line
