"""Recipes: what a soundbank becomes by each, what is said about it, and whose mixtures a folder holds."""
import json
import logging
import os
import shutil

import numpy as np
import pytest
import soundfile

from polysed_keras.errors import InputError
from polysed_keras.synthesis import recipes
from polysed_keras.synthesis.drawing import RECIPES
from polysed_keras.synthesis.recipes import ensure_mixtures, mix_soundbank
from polysed_keras.synthesis.soundbank import count_recordings, partition_soundbank, read_soundbank

from fixtures import RATE, write_bank

SETTINGS = (f"sample_rate={RATE}", "rt60_seconds=[]")


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """A label with ten recordings, one with four, and one with a single one."""
    folder = write_bank(tmp_path_factory.mktemp("recipes") / "bank", ("beep", "hum", "ring"), 10)
    for label, kept in (("hum", 4), ("ring", 1)):
        for path in sorted((folder / label).iterdir())[kept:]:
            path.unlink()
    return folder


@pytest.fixture(scope="module")
def yard(tmp_path_factory):
    folder = tmp_path_factory.mktemp("negatives")
    soundfile.write(folder / "yard.wav", 0.05 * np.random.default_rng(0).standard_normal(20 * RATE), RATE)
    return folder


def instructions(data):
    return json.loads((data / "soundscapes.json").read_text())


def mix(bank, out, **changes):
    return mix_soundbank(bank, out, **{"mixtures": (2, 1, 1), "duration": 4.0, "settings": SETTINGS} | changes)


def test_the_partitions_are_told_and_labels_with_few_recordings_warned_of(bank, yard, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        mix(bank, tmp_path / "data", negatives=yard)
    table = count_recordings(partition_soundbank(read_soundbank(bank)))
    assert table.loc["hum"].tolist() == [2, 1, 1] and table.loc["ring"].tolist() == [1, 0, 0]
    told, = [record for record in caplog.records if "recordings of each label" in record.message]
    assert told.levelname == "INFO" and told.message.splitlines()[1:] == table.to_string().splitlines()
    warned, = [record for record in caplog.records if "to learn from" in record.message]
    assert warned.levelname == "WARNING" and warned.message.startswith("hum, ring: fewer than 3 recordings")
    caplog.clear()
    only = tmp_path / "beeps"
    shutil.copytree(bank / "beep", only / "beep")
    mix(only, tmp_path / "other", negatives=yard)
    assert "to learn from" not in caplog.text


def test_negatives_of_ones_own_take_the_place_of_those_of_the_package(bank, yard, tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "shipped_negatives", lambda _: pytest.fail("they are not asked for"))
    mix(bank, tmp_path / "data", negatives=yard)
    spec = instructions(tmp_path / "data")["spec"]
    assert spec["distractors"] == str(yard) and spec["background"].split("+")[-1] == str(yard)


def test_the_recordings_of_the_package_are_taken_without(bank, yard, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(recipes, "shipped_negatives", lambda soundbank: (
        {"background": [yard], "distractors": []}, ["clock_tick", "rain"]))
    caplog.set_level(logging.INFO)
    mix(bank, tmp_path / "data")
    spec = instructions(tmp_path / "data")["spec"]
    assert spec["background"].endswith(f"+{yard}") and spec["distractors"] == ""
    assert "come with the program, but for clock_tick, rain, which may hold your labels" in caplog.text
    caplog.clear()
    monkeypatch.setattr(recipes, "shipped_negatives", lambda soundbank: ({"background": [yard]}, []))
    mix(bank, tmp_path / "none_left_out")
    assert "come with the program" in caplog.text and "but for" not in caplog.text


def test_the_papers_recipe_has_the_labels_alone(bank, tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "shipped_negatives", lambda _: pytest.fail("they are not asked for"))
    statistics = mix(bank, tmp_path / "data", recipe="paper", duration=None,
                     settings=[f"sample_rate={RATE}", "duration_seconds=5"], mixtures=(1, 0, 0))
    content = instructions(tmp_path / "data")
    assert list(statistics) == ["train"] and content["spec"]["duration_seconds"] == 5
    assert content["spec"]["background"] == content["spec"]["distractors"] == ""
    assert content["soundbank"] == str(bank) and content["folds"] is None


def test_each_recipe_has_its_numbers_and_its_length(bank, yard, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(recipes, "synthesize", lambda partitions, out, spec, mixtures, **_: given.append((
        spec.duration_seconds, mixtures)))
    for recipe in RECIPES:
        mix_soundbank(bank, tmp_path / recipe, recipe=recipe, negatives=yard)
        mix_soundbank(bank, tmp_path / recipe, recipe=recipe, negatives=yard, duration=7.0, mixtures=[3, 2, 1])
    for index, recipe in enumerate(RECIPES):
        assert given[2 * index] == (RECIPES[recipe].duration_seconds, recipes.MIXTURES[recipe])
        assert given[2 * index + 1] == (7.0, (3, 2, 1))


# Whose mixtures they are

def test_mixtures_of_another_soundbank_are_told(bank, yard, tmp_path):
    mix(bank, tmp_path / "data", negatives=yard)
    ensure_mixtures(bank, tmp_path / "data")
    more = tmp_path / "more"
    shutil.copytree(bank, more)
    soundfile.write(more / "ring" / "new.wav", 0.1 * np.ones(RATE), RATE)
    ensure_mixtures(more, tmp_path / "data")  # what was heard is still there
    used = more / sorted(instructions(tmp_path / "data")["recordings"]["soundbank"])[0]
    content, before = used.read_bytes(), used.stat()
    used.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(used, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(InputError, match=f"more: expected .* with other audio in {used.parent.name}/{used.name}"):
        ensure_mixtures(more, tmp_path / "data")
    used.write_bytes(content)
    ensure_mixtures(more, tmp_path / "data")
    for path in (more / "ring").iterdir():
        path.rename(path.with_name(f"other_{path.name}"))
    for path in (more / "beep").iterdir():
        path.rename(path.with_name(f"other_{path.name}"))
    with pytest.raises(InputError, match="more: expected the soundbank that .*of.*ring.*one without (beep|ring)/"):
        ensure_mixtures(more, tmp_path / "data")
    with pytest.raises(InputError, match=r"Received: \['wail'\]. Choose another folder for the run"):
        ensure_mixtures(write_bank(tmp_path / "wails", ("wail",), 2), tmp_path / "data")
