"""A detector of one's own classes in Python: from a soundbank to events, at a size that only shows that it works."""
import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile

import polysed_keras as ps
from polysed_keras.errors import InputError
from polysed_keras.export.saved_model import load_saved_model
from polysed_keras.files import read_json
from polysed_keras.papers import own_classes
from polysed_keras.papers.own_classes import Detector
from polysed_keras.specs.presets import get_preset
from polysed_keras.synthesis import drawing, recipes

from fixtures import RATE, write_bank

LABELS = ("beep", "hum")
TINY = ("model.filters=[4,4,4,8]", "model.recurrent_units=4", "model.dense_units=[4]", "training.epochs=1",
        "training.batch_size=4")


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return write_bank(tmp_path_factory.mktemp("own") / "sounds", LABELS, 5)


@pytest.fixture(scope="module")
def negatives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    soundfile.write(folder / "yard.wav", 0.05 * np.random.default_rng(0).standard_normal(30 * RATE), RATE)
    return folder


@pytest.fixture(scope="module")
def short():
    """Mixtures of the field recipe that last 9.6 s, without rooms, which take time to simulate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(drawing.RECIPES, "field", dataclasses.replace(drawing.FIELD, duration_seconds=9.6,
                                                                    rt60_seconds=()))
        yield


@pytest.fixture(scope="module")
def fitted(bank, negatives, short, tmp_path_factory):
    detector = ps.Detector.from_preset("yamnet", settings=TINY)
    run = tmp_path_factory.mktemp("runs") / "own"
    assert detector.fit(bank, run, negatives=negatives, mixtures=(2, 1, 1), alarms_per_hour=30,
                        progress=False) is detector
    return detector


def test_a_run_holds_mixtures_weights_and_a_calibration(fitted):
    names = {path.name for path in fitted.run.iterdir()}
    assert names >= {"data", "experiment.json", "best.weights.h5", "history.csv", "calibration.json"}
    assert {name: len(part) for name, part in ps.load_dataset(fitted.run / "data").partitions.items()} == {
        "train": 2, "validate": 1, "test": 1}
    assert read_json(fitted.run / "data" / "soundscapes.json")["spec"]["sample_rate"] == 16000
    calibration = read_json(fitted.run / "calibration.json")
    assert calibration["labels"] == list(LABELS) and calibration["alarms_per_hour"] == "30"
    table, by_label = fitted.expectation
    assert table.alarms_per_hour.tolist() == [2, 20, 30, 60] and by_label.index.tolist() == list(LABELS)


def test_it_detects_what_its_run_and_its_export_do(fitted, tmp_path):
    recording = ps.load_dataset(fitted.run / "data").partitions["test"][0].audio
    events = fitted.detect(recording, threshold=0.0)
    assert list(events.columns) == ["onset", "offset", "event_label", "confidence"] and len(events)
    pd.testing.assert_frame_equal(events, ps.load_detector(fitted.run).detect(recording, threshold=0.0))
    version = fitted.export(tmp_path / "mine")
    assert version == tmp_path / "mine" / "1"
    assert load_saved_model(version).description["calibration"] == read_json(fitted.run / "calibration.json")
    waveform = soundfile.read(recording, dtype="float32")[0]
    for options in ({}, {"alarms_per_hour": 60}, {"labels": ["hum"], "min_duration": 0.1}):
        pd.testing.assert_frame_equal(fitted.detect(waveform, sample_rate=16000, **options),
                                      load_saved_model(version).detect(recording, **options), atol=1e-4)


def test_a_run_that_is_there_needs_no_fit(fitted):
    again = Detector(get_preset("yamnet"), run=str(fitted.run))
    silence = np.zeros(16000, np.float32)
    pd.testing.assert_frame_equal(again.detect(silence, threshold=0), fitted.detect(silence, threshold=0))
    assert again.expectation is None


def test_a_finished_fit_is_not_trained_again(fitted, bank, negatives, short, tmp_path):
    run = tmp_path / "own"
    shutil.copytree(fitted.run, run)
    (run / "calibration.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.suffix in (".h5", ".wav")}
    detector = Detector.from_preset("yamnet", ["hum", "beep"], TINY).fit(bank, run, mixtures=(2, 1, 1), progress=False)
    assert read_json(run / "calibration.json")["alarms_per_hour"] == "20"
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.suffix in (".h5", ".wav")} == before
    assert detector.expectation[0].alarms_per_hour.tolist() == [2, 20, 60]


def test_an_interrupted_fit_goes_on(bank, negatives, short, tmp_path, monkeypatch):
    """Mixtures are made once, and the training goes on after the last finished epoch."""
    calls = []
    monkeypatch.setattr(own_classes, "run_experiment", lambda experiment, data, run, **options: calls.append(
        options["resume"]))
    monkeypatch.setattr(own_classes, "calibrate_run", lambda run, **options: calls.append(options["alarms_per_hour"]))
    monkeypatch.setattr(own_classes, "expect_alarms", lambda run, **_: "what to expect")
    monkeypatch.chdir(tmp_path)
    detector = Detector.from_preset(settings=TINY)
    for finished, epochs in ((False, []), (True, [{"epoch": 1}])):
        monkeypatch.setattr(own_classes, "read_history", lambda run, epochs=epochs: epochs)
        detector.fit(bank, negatives=negatives, mixtures=(1, 1, 0), progress=False)
        assert calls == [finished, 20] and detector.expectation == "what to expect"
        calls.clear()
        monkeypatch.setattr(recipes, "mix_soundbank", lambda *_, **__: pytest.fail("the mixtures are there"))
    assert detector.run.as_posix() == "runs/sounds"  # the soundbank's name


def test_embeddings_are_of_files_and_waveforms(tmp_path):
    waveform = np.sin(np.arange(32000) / 5).astype(np.float32) / 2
    soundfile.write(tmp_path / "tone.wav", waveform, 16000, "FLOAT")
    maps = Detector.embed(tmp_path / "tone.wav")
    assert maps.shape == (3, 1024) and maps.dtype == np.float32
    np.testing.assert_allclose(ps.Detector.embed(waveform), maps, atol=1e-5)


def test_mistakes_are_told_before_anything_is_made(bank, fitted, short, tmp_path):
    with pytest.raises(InputError, match="preset: expected one with a pretrained backbone.*multilabel_small"):
        Detector.from_preset("multilabel_small")
    detector, run = Detector.from_preset(settings=TINY), tmp_path / "run"
    for use in (lambda: detector.detect(np.zeros(100)), lambda: detector.export(tmp_path / "mine")):
        with pytest.raises(InputError, match="a detector after fit"):
            use()
    with pytest.raises(InputError, match=r"labels: expected those of .*sounds, \['beep', 'hum'\].*\['hum'\]"):
        Detector.from_preset(labels=["hum"]).fit(bank, run)
    with pytest.raises(InputError, match="alarms_per_hour: expected a number above 0. Received: 0"):
        detector.fit(bank, run, alarms_per_hour=0)
    with pytest.raises(InputError, match="no such folder"):
        detector.fit(tmp_path / "no", run)
    with pytest.raises(InputError, match="other: expected the soundbank that .* was made of"):
        detector.fit(write_bank(tmp_path / "other", ("beep", "ring"), 3), fitted.run)
    with pytest.raises(InputError, match="holds another experiment"):
        Detector.from_preset(settings=["model.dense_units=[8]"]).fit(bank, fitted.run, progress=False)
    assert not run.exists() and detector.run is None
