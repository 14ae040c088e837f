"""The study's networks: each differs from the powersets by what its name says, and its tables by hand."""
import dataclasses
import pathlib

import numpy as np
import pytest

from polysed_keras.errors import InputError
from polysed_keras.evaluation.tables import RunResult
from polysed_keras.events.metrics import f_score
from polysed_keras.models.costs import experiment_cost, with_num_labels
from polysed_keras.papers import decompositions
from polysed_keras.papers.decompositions import (
    CONTIGUOUS,
    CRNN,
    ONE_SUBNET,
    SUBNETS,
    WIDE_CRNN,
    best_strategies,
    capacity_controls,
    grouping_strategies,
    overall_scores,
    run_costs,
    study_recipe,
)
from polysed_keras.papers.variants import Recipe, run_recipe
from polysed_keras.specs.overrides import set_fields
from polysed_keras.specs.presets import get_preset
from polysed_keras.specs.tasks import resolve_tasks
from polysed_keras.training.runs import load_run

from fixtures import MULTI_LABEL, POWERSET, shared_corpus, shared_run

SMALL = ["model.filters=[4,4]", "model.recurrent_units=4", "model.dense_units=[8]", "training.segment_frames=16"]
NETWORKS = set_fields(get_preset("multilabel_small"), SMALL), set_fields(get_preset("mcmt_2_small"), SMALL)


def encodings(experiment):
    return [(task.encoding, len(task.labels)) for task in resolve_tasks(experiment.tasks, range(6))]


def test_a_folder_of_data_selects_the_papers_networks(tmp_path):
    study, screening = study_recipe(shared_corpus(), tmp_path)
    crnn, powersets = study.experiments[CRNN], study.experiments[CONTIGUOUS]
    assert crnn == get_preset("multilabel") and powersets.model == get_preset("mcmt_8").model
    assert powersets.tasks.num_tasks == 8 and study.data == screening.data == shared_corpus()
    assert (study.out.parent, study.seeds, study.epochs) == (tmp_path, (0, 1, 2), crnn.training.epochs)
    assert screening.epochs == study.epochs // 4
    assert screening.seeds == (0,) and screening.experiments == study.experiments
    small, screening = study_recipe(shared_corpus(), tmp_path, small=True, num_tasks=2, settings=["model.dropout=0.3"],
                                    seeds=[5], epochs=3)
    crnn, powersets = small.experiments[CRNN], small.experiments[CONTIGUOUS]
    assert crnn.model.stem_strides == (4, 2) and powersets.model.dropout == 0.3
    assert (powersets.tasks.num_tasks, small.seeds, small.epochs, screening.epochs) == (2, (5,), 3, 1)
    assert small.out != screening.out
    equal, same = study_recipe(shared_corpus(), tmp_path, small=True, num_tasks=2, epochs=1)
    assert equal.out == same.out == screening.out  # trained as long: trained once
    with pytest.raises(InputError):
        study_recipe(tmp_path / "nothing", tmp_path)


def test_a_demo_of_the_study_is_one_training_of_tiny_networks(tmp_path, monkeypatch):
    monkeypatch.setattr(decompositions, "make_demo_data", lambda folder, labels: shared_corpus())
    study, screening = study_recipe("demo", tmp_path)
    assert (study, screening) == study_recipe(pathlib.Path("demo"), tmp_path)
    assert (study.epochs, study.seeds, study.out.parent) == (1, (0,), tmp_path / "study") and study.out == screening.out
    assert study.experiments[CONTIGUOUS].tasks.num_tasks == 2 and study.experiments[CRNN].model.filters == (8, 8)


def recipe_of_networks():
    """A Recipe whose corpus has six labels."""
    crnn, powersets = NETWORKS
    return Recipe(pathlib.Path(), pathlib.Path(), {CRNN: crnn, CONTIGUOUS: powersets}, (0,), 7)


def test_controls_lack_what_their_names_say(monkeypatch):
    crnn, powersets = NETWORKS
    monkeypatch.setattr(decompositions, "load_dataset", lambda data: type("Dataset", (), {"labels": tuple("abcdef")}))
    controls = capacity_controls(recipe_of_networks())
    assert encodings(powersets) == [("powerset", 3)] * 2
    assert encodings(controls[SUBNETS]) == [("multi_label", 3)] * 2
    assert encodings(controls[ONE_SUBNET]) == [("multi_label", 6)]
    for name in (SUBNETS, ONE_SUBNET):
        assert controls[name].model == powersets.model and controls[name].training == powersets.training
    wide, goal = controls[WIDE_CRNN], experiment_cost(with_num_labels(powersets, 6)).multiply_adds
    assert controls[CRNN] == crnn and wide == dataclasses.replace(crnn, model=wide.model)
    near, far = (abs(experiment_cost(with_num_labels(each, 6)).multiply_adds - goal) for each in (wide, crnn))
    assert near < 0.2 * goal < far


def test_strategies_divide_the_same_labels_otherwise(monkeypatch):
    labels, confused, unequal = list("abcdef"), [["a", "f"], ["b", "c", "d", "e"]], [["a"], ["b", "c", "d", "e", "f"]]
    strategies = grouping_strategies(recipe_of_networks(), confused, unequal)
    assert list(strategies) == [CONTIGUOUS, "random0", "random1", "cooccurrence", "anti_cooccurrence", "confusion",
                                "unequal"]
    assert list(grouping_strategies(recipe_of_networks(), confused)) == list(strategies)[:-1]
    groups = {name: [list(task.labels) for task in resolve_tasks(strategies[name].tasks, labels)]
              for name in (CONTIGUOUS, "random0", "random1", "confusion", "unequal")}
    assert groups["confusion"] == confused and groups["unequal"] == unequal
    assert groups[CONTIGUOUS] == [list("abc"), list("def")]
    assert groups["random0"] != groups["random1"]
    names = {"cooccurrence", "anti_cooccurrence"}
    assert {strategies[name].tasks.strategy for name in names} == names
    assert {experiment.model for experiment in strategies.values()} == {NETWORKS[1].model}
    trained = []
    monkeypatch.setattr("polysed_keras.papers.variants._train_all", lambda jobs, *arguments: trained.extend(jobs) or ())
    run_recipe(recipe_of_networks(), strategies)
    assert [point.value for point, _ in trained] == list(strategies)
    assert {point.experiment.training.epochs for point, _ in trained} == {7}


def result(name, seed, hits):
    """Two recordings of ten active frames, of which so many are found."""
    counts = np.zeros((2, 2, 1, 3), int)  # recordings, polyphony, labels, (tp, fp, fn)
    counts[:, 1, 0, 0], counts[:, 1, 0, 2] = hits, 10 - hits
    return RunResult(name, seed, ("bell",), ("a", "b"), counts)


def test_scores_by_hand():
    """F1 of h hits and 10 - h misses is 2 h / (h + 10)."""
    results = [result(CONTIGUOUS, 0, 5), result(CONTIGUOUS, 1, 6), result("random0", 0, 8), result("random1", 0, 10),
               result("confusion", 0, 8)]
    assert f_score(results[0].counts.sum(axis=(0, 1))) == pytest.approx(10 / 15)
    table = overall_scores(results, against="random1")
    assert list(table.index) == ["random1", CONTIGUOUS, "random0", "confusion"]
    five, six = 200 * 5 / 15, 200 * 6 / 16
    assert table.loc[CONTIGUOUS, ["F1", "lowest seed", "highest seed", "difference"]].tolist() == pytest.approx(
        [(five + six) / 2, five, six, (five + six) / 2 - 100], abs=0.06)
    assert np.isnan(table.difference["random1"])
    assert best_strategies(results) == ["random1", "random0"] and best_strategies(results, 3)[2] == "confusion"


@pytest.mark.slow
def test_costs_are_of_the_runs():
    table = run_costs({"one": shared_run(MULTI_LABEL), "two": shared_run(POWERSET)})
    cost = experiment_cost(load_run(shared_run(POWERSET)))
    assert list(table.index) == ["one", "two"]
    assert table.loc["two"].tolist() == [round(cost.multiply_adds / 1e6, 1), round(cost.weights / 1e6, 2)]
