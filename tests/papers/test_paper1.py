"""What the notebooks of paper 1 run, and the paper's numbers beside ours."""
import pathlib

import numpy as np
import pandas as pd
import pytest

from polysed_keras.evaluation.tables import RunResult, class_wise_table
from polysed_keras.events.metrics import frame_counts
from polysed_keras.papers import demo, paper1 as recipes
from polysed_keras.papers.paper1 import (
    MULTI_LABEL,
    PAPER1_LABELS,
    PAPER1_TABLE_1,
    PAPER1_TABLE_2,
    PAPER1_TABLE_3,
    beside_paper1,
    differences_beside_paper1,
    figure2_recipe,
    paper1_costs,
    paper1_labels,
    paper1_recipe,
    paper1_table_1,
    score_table,
)
from polysed_keras.specs.presets import PAPER_OVERALL_F1, get_preset

from fixtures import write_bank, write_corpus


def test_the_papers_tables_agree_with_themselves():
    labels = PAPER1_TABLE_2.iloc[:-2]
    # the averages are rounded, of scores that were rounded: within a tenth
    assert (labels.mean() - PAPER1_TABLE_2.loc["average"]).abs().max() < 0.1
    assert PAPER1_TABLE_2.loc["overall"].tolist() == list(PAPER_OVERALL_F1.values())
    assert PAPER1_TABLE_3.columns.equals(PAPER1_TABLE_2.columns) and len(labels) == 16
    assert (PAPER1_TABLE_3.diff().iloc[1:] < 0).all(axis=None)  # section 4.5: F1 falls with every label more


def test_table_1_is_the_papers():
    table = paper1_table_1(PAPER1_LABELS)
    assert table.equals(PAPER1_TABLE_1)
    assert table.loc["footsteps"].tolist() == [2, 3, 5, 9]
    assert [table[column].value_counts().unique().tolist() for column in table] == [[8], [4], [2], [1]]
    assert paper1_table_1("abc", [2])["2 tasks"].tolist() == [1, 1, 2]


def test_costs_are_of_the_presets():
    costs = paper1_costs(PAPER1_LABELS, ["multilabel_small", "mcmt_4_small"])
    assert costs["outputs"].tolist() == [16, 64] and costs["classes a task"].tolist() == ["-", "16"]
    assert costs["labels a task"].tolist() == ["16", "4"]
    assert costs["million weights"].astype(float).is_monotonic_increasing


def result(name, estimated):
    """A run on two mixtures of three frames of a dog and rain; `estimated`: of the first."""
    reference = np.array([[1, 0], [1, 1], [0, 0]])
    counts = np.stack([frame_counts(reference, each) for each in (np.array(estimated), reference)])
    return RunResult(name, 0, ("dog_barking", "rain"), ("a", "b"), counts)


def test_of_another_corpus_the_papers_labels_are_left_out():
    reference, labels = np.array([[1, 0], [1, 1]]), ("siren", "rain")
    table = class_wise_table([RunResult("2 tasks", 0, labels, ("a",), frame_counts(reference, reference)[None])])
    both = beside_paper1(table, PAPER1_TABLE_2)
    assert both.index.tolist() == [*labels, "average", "overall"]
    assert both["2 tasks", "paper"].tolist() == ["-", "69.7", "61.6", "64.3"]


def test_ours_is_beside_the_papers():
    results = [result(MULTI_LABEL, [[1, 0], [0, 0], [0, 0]]), result("2 tasks", [[1, 0], [1, 1], [0, 1]])]
    table = class_wise_table(results)
    both = beside_paper1(table, PAPER1_TABLE_2)
    assert both.index[:4].tolist() == ["dog_barking", "rain", "average", "overall"]
    # dog: 3 of 4 frames, no other; rain: 1 of 2
    assert both[MULTI_LABEL, "ours [95 %]"]["dog_barking"].startswith("85.7 [")
    assert both[MULTI_LABEL, "paper"]["rain"] == "77.9"
    assert both["16 tasks", "paper"]["overall"] == "65.9" and ("16 tasks", "ours [95 %]") not in both
    assert both["2 tasks", "ours [95 %]"]["thunder"] == "-"
    differences = differences_beside_paper1(table, PAPER1_TABLE_2)
    assert MULTI_LABEL not in differences.columns.get_level_values(0)
    assert differences["2 tasks", "ours [95 %]"]["dog_barking"].startswith("+14.3 [")
    assert differences["2 tasks", "paper"]["rain"] == "-8.2"
    assert score_table(table)["2 tasks"]["dog_barking"] == "100.0 [100.0, 100.0]"


def test_a_score_of_one_mixture_has_no_interval():
    one = result("2 tasks", [[1, 0], [1, 1], [0, 1]])
    one = RunResult(one.name, 0, one.labels, ("a",), one.counts[:1])
    assert score_table(class_wise_table([one]))["2 tasks"].tolist() == ["100.0", "66.7", "83.3", "85.7"]


def test_a_corpus_selects_the_papers_training(tmp_path):
    corpus = write_corpus(tmp_path / "corpus", 1)
    recipe = paper1_recipe(corpus, tmp_path / "out")
    assert (recipe.data, recipe.out, recipe.seeds) == (corpus, tmp_path / "out" / "runs", (0,))
    assert recipe.experiments == {MULTI_LABEL: get_preset("multilabel"),
                                  **{f"{number} tasks": get_preset(f"mcmt_{number}") for number in (2, 4, 8, 16)}}
    chosen = paper1_recipe(corpus, tmp_path / "out", num_tasks=[4], seeds=[1, 2], settings=["training.epochs=3"])
    assert list(chosen.experiments) == [MULTI_LABEL, "4 tasks"] and chosen.seeds == (1, 2)
    assert {experiment.training.epochs for experiment in chosen.experiments.values()} == {3}
    figure = figure2_recipe(corpus, tmp_path / "out")
    assert figure.experiments["4 tasks"].tasks.num_tasks == 4  # the corpus has four labels
    assert paper1_labels(corpus) == ("beep", "hiss", "hum", "whistle") and not (tmp_path / "out").exists()


@pytest.mark.parametrize("small, preset", [(False, "mcmt_16"), (True, "mcmt_16_small")])
def test_figure_2_shares_the_training_of_sixteen_tasks(tmp_path, monkeypatch, small, preset):
    monkeypatch.setattr(recipes, "load_dataset", lambda data: type("Dataset", (), {"labels": PAPER1_LABELS}))
    tables, figure = (make(tmp_path, tmp_path / "out", small=small) for make in (paper1_recipe, figure2_recipe))
    assert figure.experiments == {"16 tasks": tables.experiments["16 tasks"]} and figure.out == tables.out
    assert figure.experiments["16 tasks"].name == preset


def test_a_demo_makes_its_data_once(tmp_path, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(demo, "write_soundbank",
                        lambda folder, instances, labels: made.append(labels) or write_bank(folder))
    monkeypatch.setattr(demo, "DEMO_SOUNDS", {"instances": 6, "mixtures": (1, 1, 1), "duration_seconds": 5.0})
    recipe = paper1_recipe("demo", tmp_path)
    assert recipe.data.is_dir() and list(recipe.experiments) == [MULTI_LABEL, "2 tasks", "4 tasks"]
    assert paper1_recipe(pathlib.Path("demo"), tmp_path) == recipe and made == [tuple(sorted(PAPER1_LABELS))]
    assert paper1_labels("demo") == paper1_labels(pathlib.Path("demo")) == PAPER1_LABELS
    assert figure2_recipe(pathlib.Path("demo"), tmp_path) == figure2_recipe("demo", tmp_path)
    assert figure2_recipe("demo", tmp_path).experiments["4 tasks"].training.epochs == 20
    assert made[1] == ("alarms_and_sirens", "dog_barking", "mixer", "rain")
    assert capsys.readouterr().out == ""


def test_the_table_of_polyphony_ends_where_both_do():
    table = pd.DataFrame({"row": [1, 7], "run": "2 tasks", "value": 0.5, "low": 0.4, "high": 0.6})
    both = beside_paper1(table, PAPER1_TABLE_3)
    assert both["2 tasks", "paper"].tolist() == ["71.4", "-", "58.2", "49.0", "42.2", "36.1", "28.1"]


def test_more_tasks_than_labels_say_so():
    with pytest.raises(ValueError, match="number of tasks"):
        paper1_table_1("abc", [4])
