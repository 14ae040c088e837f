"""Tables of networks that label clips, against scikit-learn and by hand."""
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, label_ranking_average_precision_score

from polysed_keras.errors import InputError
from polysed_keras.evaluation.reports import write_report
from polysed_keras.evaluation.tables import RunResult, TaskResult, clip_table, clip_tables, format_tables
from polysed_keras.events.metrics import recognised, retrieved

SCENES, EVENTS = ("bus", "park", "tram"), ("a", "b", "c", "d")


def scene_result(name="x", seed=0, clips=60, right=0.6):
    rng, reference = np.random.default_rng(seed), np.random.default_rng(9).integers(3, size=clips)
    estimated = np.where(rng.random(clips) < right, reference, rng.integers(3, size=clips))
    counts = recognised(np.eye(3)[reference], np.eye(3)[estimated])
    result = TaskResult(name, seed, "scene", "multi_class", SCENES, tuple(map(str, range(clips))), counts)
    return result, reference, estimated


def event_result(name="x", seed=0, clips=50):
    reference = np.random.default_rng(8).random((clips, 4)) < 0.4
    scores = np.random.default_rng(seed).random((clips, 4))
    counts = retrieved(reference, scores)
    result = TaskResult(name, seed, "events", "multi_label", EVENTS, tuple(map(str, range(clips))), counts)
    return result, reference, scores


def test_scenes_are_scored_by_macro_accuracy():
    result, reference, estimated = scene_result()
    table = clip_table([result]).set_index("row")
    assert table.value["average"] == pytest.approx(balanced_accuracy_score(reference, estimated)) == result.score
    assert table.value["park"] == pytest.approx(np.mean(estimated[reference == 1] == 1))
    assert set(table.table) == {"class_wise_accuracy"}


def test_events_are_scored_by_lwlrap():
    result, reference, scores = event_result()
    weights = reference.sum(axis=1)
    kept = weights > 0
    expected = label_ranking_average_precision_score(reference[kept], scores[kept], sample_weight=weights[kept])
    assert clip_table([result]).set_index("row").value["overall"] == pytest.approx(expected) == result.score


def test_intervals_hold_the_accuracy_of_many_new_samples():
    """The interval of one set of clips covers the true accuracy about as often as it says."""
    covered = 0
    for seed in range(200):
        reference = np.repeat(np.arange(3), 40)
        right = np.random.default_rng(seed).random(120) < 0.7
        counts = recognised(np.eye(3)[reference], np.eye(3)[np.where(right, reference, (reference + 1) % 3)])
        result = TaskResult("x", 0, "scene", "multi_class", SCENES, tuple(range(120)), counts)
        table = clip_table([result], resamples=200)
        covered += table.low.iloc[-1] <= 0.7 <= table.high.iloc[-1]
    assert 178 <= covered <= 199  # 95 % of 200, and four standard errors less


def test_seeds_and_differences_side_by_side():
    joint = [scene_result("joint", seed, right=0.9)[0] for seed in (2, 3)]
    table = clip_table([scene_result("base", seed)[0] for seed in (0, 1)] + joint)
    last = table[table.row == "average"].set_index("run")
    assert last.seeds.tolist() == [2, 2]
    assert last.difference["joint"] == pytest.approx(last.value["joint"] - last.value["base"])
    assert last.difference_low["joint"] > 0
    text = format_tables(table)
    assert text.startswith("class_wise_accuracy in % [95 % interval over clips]; difference: to base, paired")


def test_a_table_a_task_and_files(tmp_path):
    runs = [RunResult("joint", 0, tasks=(scene_result("joint")[0], event_result("joint")[0])),
            RunResult("base", 1, tasks=(scene_result("base", 1)[0],))]
    tables = write_report(runs, tmp_path)
    assert [table.table.iloc[0] for table in tables] == ["class_wise_accuracy", "class_wise_lwlrap"]
    assert list(dict.fromkeys(tables[0].run)) == ["joint", "base"] and set(tables[1].run) == {"joint"}
    written = pd.read_csv(tmp_path / "class_wise_lwlrap.csv")
    pd.testing.assert_frame_equal(written, tables[1], atol=1e-6, check_dtype=False)
    report = json.loads((tmp_path / "report.json").read_text())["runs"]
    assert [run["task"] for run in report] == ["scene", "events", "scene"]
    assert report[1]["lwlrap"] == runs[0].tasks[1].score and report[0]["clips"] == 60
    assert len(clip_tables([runs[1]])) == 1


@pytest.mark.parametrize("changes, message", [
    ({"labels": ("bus", "park", "plane")}, "the same labels"),
    ({"clips": tuple(map(str, range(1, 61)))}, "the same clips"),
    ({"counts": np.zeros((60, 3, 2))}, "the reference of clip 0 differs")])
def test_runs_that_cannot_be_compared(changes, message):
    import dataclasses
    first = scene_result("a")[0]
    with pytest.raises(InputError, match=message):
        clip_table([first, dataclasses.replace(first, name="b", **changes)])


def test_counts_of_another_shape():
    with pytest.raises(InputError, match=r"expected shape \(2, 3, 2\), received \(2, 3\)"):
        TaskResult("x", 0, "scene", "multi_class", SCENES, ("a", "b"), np.zeros((2, 3)))
