"""The demo, at a size that only shows that every step hands over to the next."""
import pathlib
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile

from polysed_keras.datasets.loading import load_dataset
from polysed_keras.display.results import plot_polyphony
from polysed_keras.errors import InputError
from polysed_keras.events.event_lists import read_events
from polysed_keras.export.saved_model import load_saved_model
from polysed_keras.papers import demo
from polysed_keras.serving.detectors import load_detector
from polysed_keras.specs.presets import get_preset
from polysed_keras.synthesis.soundbank import read_soundbank

from fixtures import write_bank


@pytest.mark.slow
def test_demo_makes_everything_it_says_and_can_be_repeated(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "MIXTURES", (2, 1, 1))
    monkeypatch.setattr(demo, "DURATION_SECONDS", 20.0)
    monkeypatch.setattr(demo, "SETTINGS", ("training.epochs=1", "model.filters=[8,8]", "model.dense_units=[16]"))
    monkeypatch.setattr("polysed_keras.synthesis.procedural.procedures.write_soundbank.__defaults__",
                        (3, 0, None))  # three recordings per label
    folder = tmp_path / "demo"
    demo.run_demo(folder)
    printed = capsys.readouterr().out
    assert "overall" in printed and "multilabel_small" in printed and "mcmt_2_small" in printed
    for picture in ("soundscape.png", "detections.png", "runs/multilabel_small/training.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    table = pd.read_csv(folder / "report" / "class_wise.csv")
    assert table.groupby("run").row.nunique().tolist() == [18, 18]  # sixteen labels, average, overall
    detections, = (folder / "detections").iterdir()
    exported, = (folder / "saved_models").iterdir()
    detector = load_saved_model(exported)
    if detections.stat().st_size:  # one epoch may detect nothing
        assert set(read_events(detections).event_label) <= set(detector.labels)
    weights = (folder / "runs" / "mcmt_2_small" / "best.weights.h5").stat().st_mtime_ns
    demo.run_demo(folder)  # what is there is not made again
    assert (folder / "runs" / "mcmt_2_small" / "best.weights.h5").stat().st_mtime_ns == weights


def test_sounds_are_those_of_a_folder_or_few_of_four_labels(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(demo, "write_soundbank",
                        lambda folder, takes, labels: made.append(labels) or folder.mkdir(parents=True))
    assert demo.find_sounds("sounds", tmp_path).as_posix() == "sounds" and not made
    folders = {demo.find_sounds(name, tmp_path) for name in ("demo", pathlib.Path("demo"))}
    assert folders == {tmp_path / "four_labels" / "soundbank"}
    assert made == [("alarms_and_sirens", "dog_barking", "mixer", "rain")]


def test_the_shipped_model_hears_what_the_example_is_made_of(tmp_path):
    """Sounds that it has learnt from; the example is to show detections."""
    path = demo.make_example(tmp_path / "street.wav")
    assert soundfile.info(path).duration == 30 and demo.make_example(path) == path
    events = load_detector().detect(path)
    assert tuple(events.event_label) == demo.EXAMPLE_LABELS
    assert np.abs(events.onset - (3 + 6.5 * np.arange(4))).max() < 1


def test_the_examples_sounds_are_a_soundbank(tmp_path):
    bank = read_soundbank(demo.find_example_sounds("demo", tmp_path))
    assert bank.labels == tuple(sorted(demo.EXAMPLE_LABELS)) and len(bank.instances) >= 4 * 8
    assert demo.find_example_sounds("mine", tmp_path).as_posix() == "mine"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    demo.make_mixtures(write_bank(folder / "sounds"), folder / "data", [2, 1, 1], 8.0)
    return folder / "data"


def test_mixtures_are_made_once(data):
    before = (data / "statistics.json").stat().st_mtime_ns
    statistics = demo.make_mixtures(data.parent / "sounds", data, (9, 9, 9), 1.0)
    assert (data / "statistics.json").stat().st_mtime_ns == before
    assert statistics["train"]["recordings"] == 2 and plot_polyphony(statistics).containers


def test_mixtures_of_sounds_that_were_replaced_are_not_taken(data, tmp_path):
    sounds = shutil.copytree(data.parent / "sounds", tmp_path / "sounds")
    demo.make_mixtures(sounds, data, (2, 1, 1), 8.0)
    for label in sounds.iterdir():
        for path in label.iterdir():
            path.write_bytes(path.read_bytes()[:-2] + b"\1\1")
    with pytest.raises(InputError, match="with other audio in beep/"):
        demo.make_mixtures(sounds, data, (2, 1, 1), 8.0)


def test_a_picture_of_the_beginning_ends_there(data):
    recording, features = load_dataset(data).partitions["test"][0], get_preset("multilabel_small").features
    events = read_events(recording.annotation)
    for seconds, end in ((5, 5), (60, 8)):
        for estimated in (events, None):
            figure = demo.plot_beginning(data, recording, features, estimated, seconds)
            assert figure.axes[1].get_xlim() == (0, end) and figure.get_suptitle() == recording.name
