"""Paper 2's experiments on tiny corpora: what points are, that nothing is done twice, tables and figures."""
import dataclasses
import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest

from polysed_keras.datasets.loading import load_clips
from polysed_keras.errors import InputError
from polysed_keras.evaluation.runs import evaluate_run
from polysed_keras.papers import paper2_points as studies, variants as sweeps
from polysed_keras.papers.event_choice import Tagger
from polysed_keras.papers.paper2_points import (
    EVENT,
    JOINT,
    SCENE,
    SWEEPS,
    Study,
    balanced_alpha,
    build_study,
    draw_points,
    parse_values,
)
from polysed_keras.papers.variants import Recipe, format_sweep, run_recipe, run_sweep, sweep_alpha
from polysed_keras.specs import presets
from polysed_keras.specs.experiment import AugmentSpec
from polysed_keras.specs.overrides import set_fields

from clip_fixtures import EVENTS, MIDS, RATE
from fixtures import CLIPS, MULTI_LABEL, shared_clips, shared_corpus

LABELS = ("Speech", "Dog", "Music", "Rain", "Bus", "Cat")


@pytest.fixture
def tiny_presets(monkeypatch):
    """The three presets at the size of the tests' clips."""
    base = dataclasses.replace(CLIPS, training=dataclasses.replace(CLIPS.training, epochs=2, alpha=0.95),
                               augment=AugmentSpec(1, 4, 1, 4, 0.2))
    scene, events = CLIPS.tasks
    for name, dataset, tasks in ((SCENE, "tut_urban_acoustic_scenes_2018", (scene,)), (EVENT, "audioset", (events,)),
                                 (JOINT, CLIPS.dataset, (scene, events))):
        monkeypatch.setitem(presets.PRESETS, name, dataclasses.replace(base, name=name, dataset=dataset, tasks=tasks))


def study(**changes):
    return Study(**{"labels": LABELS, "k": 3, **changes})


def points(name, values=None, **changes):
    sweep = SWEEPS[name]
    return sweep.points(study(**changes), values or sweep.values)


def test_alpha_is_the_papers_grid_beside_both_baselines():
    found = points("alpha")
    assert [point.value for point in found[1:]] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.91, 0.92, 0.93,
                                                    0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 1.0]
    assert [point.experiment.training.alpha for point in found[1:]] == [point.value for point in found[1:]]
    assert found[0].value == EVENT and len({point.experiment.name for point in found}) == len(found)


def event_labels(point):
    return {task.name: task.labels for task in point.experiment.tasks}["events"]


def test_points_of_events_and_their_number():
    scores = dict(zip(LABELS, (0.9, 0.1, 0.5, 0.8, 0.2, 0.3)))
    chosen = {point.value: event_labels(point) for point in points("events", scores=scores)}
    assert chosen["correlated"] == ("Speech", "Music", "Rain") and chosen["uncorrelated"] == ("Dog", "Bus", "Cat")
    assert len(chosen["random"]) == 3
    numbers = {point.value: event_labels(point) for point in points("k", (2, 4, 6))}
    assert numbers[2] == ("Speech", "Music")  # paper 2, section 4.4
    assert len(numbers[4]) == 4 and numbers[6] == LABELS
    assert numbers[4] == event_labels(points("hours", (1.0,), k=4)[0])  # the same events wherever k is the same


def test_hours_transfer_and_regularizers():
    assert [point.experiment.training.event_hours for point in points("hours", (0.5, 2.0))] == [0.5, 2.0]
    pretrained, joint = points("transfer")
    assert pretrained.pretrained.tasks[0].name == "events" and len(pretrained.experiment.tasks) == 1
    assert joint.pretrained is None and len(joint.experiment.tasks) == 2
    found = {point.value: point.experiment for point in points("regularizers")}
    spec = {name: (e.augment.time_masks > 0, e.augment.frequency_masks > 0, e.augment.mixup > 0, e.model.dropout > 0,
                   len(e.tasks) == 2) for name, e in found.items()}
    assert spec == {"none": (False,) * 5, "SpecAugment": (True, True, False, False, False),
                    "MixUp": (False, False, True, False, False), "Dropout": (False, False, False, True, False),
                    "auxiliary task": (False, False, False, False, True), "all": (True,) * 5}


def test_changes_hold_for_every_point_and_a_points_own_are_stronger():
    found = points("alpha", (0.3,), small=True, assignments=("training.epochs=3", "training.alpha=0.7"))
    assert {point.experiment.training.epochs for point in found} == {3}
    assert [point.experiment.training.alpha for point in found[:-1]] == [None]  # the event baseline has no use for it
    assert found[-1].experiment.training.alpha == 0.3
    assert found[-1].experiment.model.filters == presets.PRESETS["scene_event_joint_small"].model.filters


@pytest.mark.parametrize("name, texts, values", [
    ("alpha", ["0", "0.95"], (0.0, 0.95)), ("events", ["random"], ("random",)),
    ("transfer", None, ("pre-training", "joint"))])
def test_values_from_text(name, texts, values):
    assert parse_values(name, texts) == values


def test_two_events_are_speech_and_music_where_no_other_choice_was_made():
    assert study().events(2) == ("Speech", "Music")
    scores = dict(zip(LABELS, (0.1, 0.9, 0.2, 0.8, 0.7, 0.3)))
    assert set(study(choice="correlated", scores=scores).events(2)) == {"Dog", "Rain"}


@pytest.mark.parametrize("name, texts, message", [
    ("hours", ["many"], "expected numbers"), ("k", ["2.9"], "expected whole numbers"),
    ("k", ["inf"], "expected whole numbers"),
    ("events", ["best"], "expected some of random, correlated, uncorrelated")])
def test_values_that_are_none(name, texts, message):
    with pytest.raises(InputError, match=message):
        parse_values(name, texts)


@pytest.mark.slow
def test_a_sweep_ends_in_a_table_and_a_figure_and_does_nothing_twice(tiny_presets, tmp_path, monkeypatch, capsys):
    build = build_study(shared_clips(), (0.5,), k=35)
    assert build.labels == EVENTS and build.k == 3  # the corpus has no more
    table = run_sweep("alpha", build, (0.5,), shared_clips(), tmp_path, seeds=(0,))
    assert table.point.tolist() == [SCENE, EVENT, 0.5]
    assert table.accuracy.notna().tolist() == [True, False, True]
    assert table.lwlrap.notna().tolist() == [False, True, True]
    stored = pd.read_csv(tmp_path / "alpha.csv")
    np.testing.assert_allclose(stored.accuracy, table.accuracy, atol=1e-6)
    assert (tmp_path / "alpha.png").stat().st_size > 10000
    assert capsys.readouterr().out.splitlines() == [
        f"alpha: training {number} of 3: {value}, seed 0" for number, value in enumerate((SCENE, EVENT, 0.5), start=1)]
    losses = table.groupby("point").mean(numeric_only=True)
    scene, events = losses.val_scene_loss[SCENE], losses.val_events_loss[EVENT]
    assert sweep_alpha(table) == pytest.approx(scene / (scene + events))

    def no_training(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr("polysed_keras.training.fit.new_model", no_training)
    copy = shutil.copytree(shared_clips(), tmp_path / "copy", copy_function=shutil.copyfile)  # with other times
    for data in (shared_clips(), copy):
        again = run_sweep("alpha", build, (0.5,), data, tmp_path, seeds=(0,))
        pd.testing.assert_frame_equal(again, table)
    path = load_clips(copy, CLIPS.dataset)["scene"].partitions["test"][0].audio
    content, before = path.read_bytes(), path.stat()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns - 10 ** 12))
    with pytest.raises(InputError, match="differs in the audio of data_digest"):
        run_sweep("alpha", build, (0.5,), copy, tmp_path, seeds=(0,))


def test_seeds_and_fine_tuning_are_trained_in_order(tiny_presets, tmp_path, monkeypatch):
    trained = []

    def run_experiment(experiment, data, run, *, pretrained, **_):
        trained.append((experiment.name.split()[0], experiment.training.seed, pretrained and pretrained.name))

    monkeypatch.setattr(sweeps, "run_experiment", run_experiment)
    monkeypatch.setattr(sweeps, "_test", lambda run, data: {"accuracy": len(trained) / 10})
    table = run_sweep("transfer", build_study(shared_clips(), ()), ("pre-training",), shared_clips(), tmp_path,
                      seeds=(0, 1), progress=False)
    first, second = [(SCENE, seed, None) for seed in (0, 1)], [
        [(EVENT, seed, None), (SCENE, seed, f"event_baseline-k=3-random-seed{seed}")] for seed in (0, 1)]
    assert trained == [first[0], *second[0], first[1], *second[1]]
    assert table.seed.tolist() == [0, 0, 1, 1] and table.accuracy.tolist() == [0.1, 0.3, 0.4, 0.6]
    assert len(set(table.run)) == 4
    assert "scene_baseline-after-event_baseline-k=3-random-seed0" in set(table.run)  # pre-trainings differ


def test_more_hours_than_there_are_stop_before_the_first_training(tiny_presets, tmp_path):
    with pytest.raises(InputError, match=r"hours: expected at most 0.0133 h"):
        run_sweep("hours", build_study(shared_clips(), ()), (0.005, 3.0), shared_clips(), tmp_path, seeds=(0,))
    assert not list(tmp_path.glob("runs/*"))


def test_points_of_other_events_have_the_same_hours(tiny_presets):
    clips = load_clips(shared_clips(), CLIPS.dataset)["events"].partitions["train"]
    chosen = draw_points("k", build_study(shared_clips(), ()), (1, 3), shared_clips())[1:]
    with_event = sum(event_labels(chosen[0])[0] in clip.labels for clip in clips)
    assert with_event < len(clips)
    assert [point.experiment.training.event_hours for point in chosen] == [pytest.approx(with_event * 2 / 3600)] * 2
    fixed = build_study(shared_clips(), (), assignments=["training.event_hours=0.001"])
    own = draw_points("k", fixed, (1, 3), shared_clips())
    assert [point.experiment.training.event_hours for point in own[1:]] == [0.001] * 2


def test_a_choice_by_a_tagger_needs_one():
    with pytest.raises(InputError, match="--tagger: expected a SavedModel"):
        build_study(shared_clips(), ("random", "correlated"))


def test_a_tagger_scores_the_scenes_once_and_chooses_events(tmp_path, monkeypatch):
    data, heard = shutil.copytree(shared_clips(), tmp_path / "data"), []

    def score(waveform):
        heard.append(np.std(waveform))
        return heard[-1] * np.array([1.0, 9.0, 4.0, 2.0])

    tagger = Tagger(("Vehicle", "male singing", "Male speech, man speaking", "Speech"),
                    ("/m/07yv9", None, MIDS[1], MIDS[0]), RATE, score, "digest")
    monkeypatch.setattr(studies, "load_tagger", lambda folder, endpoint: tagger)
    found = build_study(data, ("random", "correlated", "uncorrelated"), k=2, tagger="somewhere")
    assert len(heard) == len(load_clips(data, CLIPS.dataset)["scene"].partitions["train"])
    expected = dict(zip(EVENTS, np.mean(heard) * np.array([2.0, 4.0, 9.0])))
    assert found.labels == EVENTS and found.scores == pytest.approx(expected)
    assert found.events(choice="correlated") == EVENTS[1:] and found.events(choice="uncorrelated") == EVENTS[:2]
    assert build_study(data, (), k=2, choice="correlated", tagger="somewhere").events() == EVENTS[1:]
    assert len(heard) == json.loads((data / "tagger_scores.json").read_text())["clips"]  # not scored again


@pytest.mark.slow
def test_variants_are_trained_once_with_every_seed_and_tested_under_their_names(tmp_path, monkeypatch, capsys):
    short = set_fields(MULTI_LABEL, ["training.epochs=1", "training.segment_hop=32"])
    results = run_recipe(Recipe(shared_corpus(), tmp_path, {"hot one": short}, (3, 4)))
    assert [(result.name, result.seed) for result in results] == [("hot one", 3), ("hot one", 4)]
    assert capsys.readouterr().out == "training 1 of 2: hot one, seed 3\ntraining 2 of 2: hot one, seed 4\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hot-one-seed3", "hot-one-seed4"]
    evaluated = evaluate_run(tmp_path / "hot-one-seed4", shared_corpus(), progress=False)
    np.testing.assert_array_equal(results[1].counts, evaluated.counts)
    monkeypatch.setattr("polysed_keras.training.fit.new_model", None)  # what is there is not trained
    (validated,) = run_recipe(Recipe(shared_corpus(), tmp_path, {}, (3,)), {"hot one": short}, partition="validate",
                              progress=False)
    assert capsys.readouterr().out == ""
    assert validated.mixtures[0] == "validate0"


def test_balanced_alpha_is_equation_3():
    assert balanced_alpha(20, 1) == pytest.approx(20 / 21)  # paper 2, section 4.1: L_events is about L_scene / 20
    for losses in ((0, 0), (-1, 1), (float("nan"), 1)):
        with pytest.raises(InputError, match="losses: expected two numbers"):
            balanced_alpha(*losses)


def test_lines_for_the_terminal():
    table = pd.DataFrame({"point": [SCENE, 0.9] * 2, "seed": [0, 0, 1, 1], "accuracy": [0.5, 0.6, 0.6, 0.8],
                          "lwlrap": [np.nan, 0.3, np.nan, 0.4]})
    first, baseline, point = format_sweep(table).split("\n")
    assert first.split() == ["point", "accuracy", "difference", "lwlrap"]
    assert baseline.split() == [SCENE, "55.0", "(50.0", "to", "60.0)", "-", "-"]
    assert point.split() == ["0.9", "70.0", "(60.0", "to", "80.0)", "+15.0", "(+10.0", "to", "+20.0)", "35.0", "(30.0",
                             "to", "40.0)"]
