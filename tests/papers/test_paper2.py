"""What the notebooks run: the papers' recipes, the demo's, and the papers' numbers beside a table."""
import pathlib

import numpy as np
import pandas as pd
import pytest

from polysed_keras.papers import paper2 as recipes
from polysed_keras.papers.paper2 import DEMO_CLIP_SOUNDS, DEMO_CLIPS, PAPER2, beside_paper2, paper2_recipe, run_paper2
from polysed_keras.papers.paper2_points import ALPHAS, EVENT, SCENE, SWEEPS, Study
from polysed_keras.specs.overrides import set_fields
from polysed_keras.specs.presets import PRESETS
from polysed_keras.synthesis.standin.corpora import choose_labels

from fixtures import write_bank

FIGURES = ("alpha", "events", "hours", "k", "transfer")
LABELS = tuple("ABCDEF")


@pytest.mark.parametrize("name, points, hours", [
    ("alpha", ALPHAS, ("training.event_hours=170.0",)), ("hours", (11.0, 22.0, 45.0, 90.0, 180.0, 360.0), ()),
    ("k", (2, 5, 10, 20, 35, 70, 115), ()), ("transfer", ("pre-training", "joint"), ("training.event_hours=170.0",))])
def test_a_folder_of_data_selects_the_papers_recipe(tmp_path, name, points, hours):
    recipe = paper2_recipe(name, tmp_path / "corpora", tmp_path)
    assert (recipe.data, recipe.points, recipe.settings) == (tmp_path / "corpora", points, hours)
    assert (recipe.seeds, recipe.k, recipe.demo, recipe.tagger) == ((0, 1, 2, 3), 35, False, None)


def test_what_is_given_is_stronger_than_the_recipe():
    recipe = paper2_recipe("alpha", "corpora", "out", points=[0.3], seeds=[1], settings=["training.event_hours=9"])
    assert (recipe.points, recipe.seeds) == ((0.3,), (1,))
    experiment = Study(LABELS, 3, assignments=recipe.settings).experiment(EVENT)
    assert experiment.training.event_hours == 9 and "event_hours=170" not in experiment.name


def test_small_networks_take_the_hours_that_there_are():
    recipe = paper2_recipe("events", "corpora", "out", small=True, k=5)
    assert (recipe.small, recipe.demo, recipe.settings, recipe.k) == (True, False, (), 5)
    assert recipe.tagger == "event_tagger_densenet_small"


@pytest.mark.parametrize("data, points, tagger, expected", [
    ("demo", None, None, "event_baseline_small"), ("corpora", None, None, "event_tagger_densenet"),
    ("corpora", None, "yamnet", "yamnet"), ("corpora", ["random"], None, None)])
def test_a_choice_of_events_has_a_tagger(data, points, tagger, expected):
    assert paper2_recipe("events", data, "out", points=points, tagger=tagger).tagger == expected


def demo_runs(name):
    """{point: names of the runs} of a demo recipe."""
    recipe = paper2_recipe(name, "demo", "demo")
    assert recipe == paper2_recipe(name, pathlib.Path("demo"), "demo")
    study = Study(LABELS, recipe.k, scores=dict(zip(LABELS, range(6))), small=recipe.demo, assignments=recipe.settings)
    return {point.value: [e.name for e in (point.pretrained, point.experiment) if e]
            for point in SWEEPS[name].points(study, recipe.points)}


def test_demo_sweeps_share_the_runs_that_they_have_in_common():
    runs = {name: demo_runs(name) for name in FIGURES}
    joint = runs["transfer"]["joint"]
    assert joint == runs["alpha"][0.95] == runs["events"]["random"] == runs["hours"][0.02] == runs["k"][3]
    assert runs["transfer"]["pre-training"][0] == runs["alpha"][EVENT][0]
    assert len({name for found in runs.values() for names in found.values() for name in names}) == 12


def test_the_demos_sounds_suffice_for_its_clips():
    labels = choose_labels(DEMO_CLIP_SOUNDS, DEMO_CLIPS, seed=0)
    assert len(labels["audioset"]) == max(recipes.DEMO_SWEEPS["k"])
    assert [DEMO_CLIPS.clips()[1][0] * DEMO_CLIPS.clip_seconds / 3600] == [pytest.approx(DEMO_CLIPS.event_hours[0])]
    assert round(DEMO_CLIPS.clip_seconds / PRESETS[f"{EVENT}_small"].features.time_resolution) == 90  # segment_frames


@pytest.fixture
def calls(monkeypatch):
    """What run_paper2 calls, in order: (function, arguments)."""
    found = []

    def record(name, result=None):
        monkeypatch.setattr(recipes, name, lambda *args, **options: found.append((name, args, options)) or result)

    record("make_standin")
    record("run_experiment")
    record("build_study", "the study")
    record("run_sweep", "the table")
    monkeypatch.setattr(recipes, "write_soundbank", lambda folder, takes, labels: write_bank(folder, labels, takes))
    monkeypatch.setattr(recipes, "export_run", lambda run, out: out.mkdir(parents=True))
    return found


def test_the_demo_makes_clips_trains_a_tagger_and_runs_the_sweep(tmp_path, calls):
    recipe = paper2_recipe("events", "demo", tmp_path)
    assert run_paper2(recipe) == "the table"
    assert [name for name, _, _ in calls] == ["make_standin", "run_experiment", "build_study", "run_sweep"]
    (_, made, _), (_, (tagger, data, run), _), (_, _, study), (_, sweep, seeds) = calls
    assert made[1:] == (tmp_path / "clips", DEMO_CLIPS) and data == tmp_path / "clips"
    assert tagger == set_fields(PRESETS["event_baseline_small"], recipes.DEMO_CLIP_NETWORK)
    assert study["tagger"] == tmp_path / "sweeps" / "saved_models" / "tagger" and study["small"] and study["k"] == 3
    assert sweep == ("events", "the study", recipe.points, recipe.data, tmp_path / "sweeps")
    assert seeds == {"seeds": (0, 1)}


def test_corpora_are_not_made_and_a_tagger_that_is_given_is_taken(tmp_path, calls):
    run_paper2(paper2_recipe("events", tmp_path, tmp_path / "out", tagger="yamnet"))
    assert [name for name, _, _ in calls] == ["build_study", "run_sweep"] and calls[0][2]["tagger"] == "yamnet"


def test_clips_that_are_there_are_not_made_again(tmp_path, calls):
    (tmp_path / "clips").mkdir()
    recipes.make_demo_clips(tmp_path / "clips")
    assert calls == []


def table_of(points, accuracy):
    return pd.DataFrame({"point": [SCENE, *points], "seed": 0, "accuracy": [0.5, *accuracy], "lwlrap": np.nan})


@pytest.mark.parametrize("name, points, said", [
    ("alpha", [0.0, 0.1, 0.5, 0.95, 1.0], ["lwlrap 10", "-", "lwlrap about 76", "up to +5", "at chance"]),
    ("events", ["random", "uncorrelated"], ["as the other two"] * 2), ("hours", [0.5, 22.0], ["-", "more with more"]),
    ("k", [2, 70], ["above", "hardly more"]), ("transfer", ["pre-training", "joint"], ["above", "marginally"]),
    ("regularizers", ["none"], ["-"])])
def test_what_the_paper_says_of_points(name, points, said):
    shown = beside_paper2(name, table_of(points, [0.6] * len(points)))
    assert shown.index[:len(points) + 1].tolist() == [SCENE, *map(str, points)]
    for expected, found in zip(["accuracy 68", *said], shown["in the paper"]):
        assert expected in found and len(found) <= 50  # what pandas shows of a cell
    assert shown.accuracy.iloc[1] == "60.0 (60.0 to 60.0)" and shown.difference.iloc[1] == "+10.0 (+10.0 to +10.0)"


@pytest.mark.parametrize("name, points, here, paper", [
    ("hours", [1.0, 2.0, 3.0], "1.00", "0.89"), ("k", [6, 4, 2], "-1.00", "0.24"), ("k", [2, 4], "-", "0.24")])
def test_rho_is_beside_the_papers(name, points, here, paper):
    last = beside_paper2(name, table_of(points, [0.6, 0.7, 0.8][:len(points)])).loc["Pearson's rho"]
    assert (last.accuracy, last["in the paper"]) == (here, paper)


def test_points_of_the_papers_words_are_the_sweeps():
    assert set(PAPER2) == set(FIGURES)
    for name, said in PAPER2.items():
        for first, last, _ in said:
            assert {first, last} <= set(SWEEPS[name].values) | {36}
