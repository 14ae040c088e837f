"""From a folder of sounds to a detector, as the notebooks for beginners have it."""
import pathlib

import pytest

from polysed_keras.datasets.loading import load_dataset
from polysed_keras.display.results import plot_polyphony
from polysed_keras.events.event_lists import read_events
from polysed_keras.papers import demo as examples
from polysed_keras.papers.demo import classes_recipe, make_mixtures, plot_beginning

from fixtures import write_bank


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    sounds = str(write_bank(folder / "sounds"))
    recipe = classes_recipe(sounds, folder / "out", mixtures=[2, 1, 1], duration_seconds=8.0)
    make_mixtures(recipe.sounds, recipe.data, recipe.mixtures, recipe.duration_seconds)
    return recipe


def test_own_sounds_are_mixed_and_trained_on_as_the_readme_has_it(tmp_path):
    recipe = classes_recipe("sounds", tmp_path)
    assert (recipe.mixtures, recipe.duration_seconds) == ((24, 6, 20), 300.0)
    assert recipe.experiment.training.epochs == 8 and recipe.experiment.name == "detector"
    assert recipe.sounds.as_posix() == "sounds" and not list(tmp_path.iterdir())
    assert classes_recipe("sounds", tmp_path, settings=["training.epochs=3"]).experiment.training.epochs == 3


def test_a_demo_makes_few_sounds(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(examples, "write_soundbank",
                        lambda folder, takes, labels: made.append(labels) or folder.mkdir(parents=True))
    recipes = [classes_recipe(demo, tmp_path) for demo in ("demo", pathlib.Path("demo"))]
    assert recipes[0] == recipes[1] and made == [("alarms_and_sirens", "dog_barking", "mixer", "rain")]
    assert sum(recipes[0].mixtures) * recipes[0].duration_seconds < 15 * 60


def test_sounds_and_partitions_are_counted(recipe):
    paths = recipe.sounds_by_label()
    assert list(paths) == ["beep", "hiss", "hum", "knock", "ring", "wail"]
    assert all(len(each) == 6 for each in paths.values())
    table = recipe.partition_table()
    assert table.sum(axis=1).eq(6).all() and (table > 0).all(axis=None) and list(table) == ["train", "validate", "test"]


def test_mixtures_are_made_once(recipe):
    before = (recipe.data / "statistics.json").stat().st_mtime_ns
    statistics = make_mixtures(recipe.sounds, recipe.data, (9, 9, 9), 1.0)
    assert (recipe.data / "statistics.json").stat().st_mtime_ns == before
    assert statistics["train"]["recordings"] == 2 and plot_polyphony(statistics).containers


def test_a_picture_of_the_beginning_ends_there(recipe):
    recording = load_dataset(recipe.data).partitions["test"][0]
    figure = recipe.plot_detections(recording, read_events(recording.annotation), seconds=5)
    assert figure.axes[1].get_xlim() == (0, 5) and figure.get_suptitle() == recording.name
    assert recipe.plot_detections(recording, read_events(recording.annotation), seconds=60).axes[1].get_xlim() == (0, 8)
    alone = plot_beginning(recipe.data, recording, recipe.experiment.features, seconds=5)  # without estimated events
    assert alone.axes[1].get_xlim() == (0, 5) and alone.get_suptitle() == recording.name
