"""Unseen combinations: what a training writes down, and tables by hand and against plain loops."""
import dataclasses
import json
import logging

import numpy as np
import pandas as pd
import pytest

from polysed_keras.datasets.loading import load_dataset
from polysed_keras.evaluation.reports import write_report
from polysed_keras.evaluation.runs import load_seen_combinations
from polysed_keras.evaluation.tables import RunResult, format_tables
from polysed_keras.evaluation.unseen import (
    SeenCombinations,
    count_unseen,
    read_combinations,
    unseen_tables,
)
from polysed_keras.events.metrics import frame_counts
from polysed_keras.files import read_json
from polysed_keras.specs.experiment import Experiment
from polysed_keras.specs.overrides import set_fields
from polysed_keras.specs.tasks import Task, decompose, task_labels
from polysed_keras.training.recordings import RecordingFeatures, load_recordings
from polysed_keras.training.runs import load_run
from polysed_keras.training.seen import record_combinations

from fixtures import POWERSET, shared_corpus, shared_run

TASKS = decompose("abcd", 2, groups=["ca", "db"])
SEEN = SeenCombinations("powerset", TASKS, ((0, 1, 2), (0, 3)))  # never c with a; of d and b both or none


def recording(*rows):
    return RecordingFeatures("name", None, np.array(rows, np.uint8))


def test_what_is_trained_on_is_written_down(tmp_path):
    """The columns are the tasks' labels in order: c, a, d, b."""
    recordings = [recording([0, 0, 1, 1], [1, 0, 1, 1]), recording([0, 0, 1, 1], [1, 0, 0, 0], [0, 1, 0, 0])]
    path = tmp_path / "combinations.json"
    assert record_combinations(recordings, TASKS, path) is recordings
    assert read_json(path) == {"task_1": [0, 1, 2], "task_2": [0, 3]}


def test_what_is_drawn_is_written_down_epoch_by_epoch(tmp_path):
    epochs = [[recording([0, 0, 0, 0])], [recording([1, 1, 0, 0])], [recording([0, 0, 0, 1])]]
    path = tmp_path / "combinations.json"

    def written():
        return list(read_json(path).values())

    draw = record_combinations(epochs.__getitem__, TASKS, path)
    assert not path.exists()
    assert draw(0) is epochs[0] and written() == [[0], [0]]
    assert draw(1) is epochs[1] and written() == [[0, 3], [0]]
    record_combinations(epochs.__getitem__, TASKS, path, resume=True)(2)
    assert written() == [[0, 3], [0, 2]]
    record_combinations(epochs.__getitem__, TASKS, path)(2)  # begun anew
    assert written() == [[0], [2]]


def test_networks_without_powersets_write_nothing(tmp_path):
    tasks = decompose("abcd", 2, encoding="multi_label")
    record_combinations([recording([0, 0, 0, 0])], tasks, tmp_path / "combinations.json")
    assert not list(tmp_path.iterdir())


def test_a_run_holds_the_combinations_of_its_training_partition():
    experiment = load_run(shared_run(POWERSET))
    labels = task_labels(experiment.tasks)
    recordings = load_recordings(load_dataset(shared_corpus()), "train", labels, experiment.features, progress=False)
    seen, = read_combinations([(shared_run(POWERSET), experiment)])
    assert seen.name == "tiny_tasks" and seen.tasks == experiment.tasks
    for columns, combinations in zip((slice(0, 2), slice(2, 4)), seen.seen):
        pairs = {tuple(frame) for recording in recordings for frame in recording.event_roll[:, columns].tolist()}
        assert {(combination % 2, combination // 2) for combination in combinations} == pairs


def write_run(folder, seen):
    folder.mkdir()
    (folder / "combinations.json").write_text(json.dumps(seen))
    return folder


def test_equal_combinations_are_read_once(tmp_path, caplog):
    experiment = Experiment("powerset", tasks=TASKS)
    others = [set_fields(experiment, [f"training.seed={seed}"]) for seed in (1, 2)]
    multi_label = Experiment("multi_label", tasks=decompose("abcd", 1, encoding="multi_label"))
    same, less = {"task_1": [0, 1, 2], "task_2": [0, 3]}, {"task_1": [0], "task_2": [0]}
    runs = [(tmp_path, multi_label), (write_run(tmp_path / "a", same), experiment),
            (write_run(tmp_path / "b", same), others[0]), (write_run(tmp_path / "c", less), others[1])]
    with caplog.at_level(logging.WARNING):
        assert read_combinations(runs) == (SEEN, SeenCombinations("powerset seed 2", TASKS, ((0,), (0,))))
        assert not caplog.records
        assert read_combinations([(tmp_path, experiment)]) == ()
    assert "holds no combinations.json" in caplog.text


# Tables

def result_of(references, estimates, name="powerset", seed=0, seen=(SEEN,)):
    return RunResult(name, seed, tuple("abcd"), tuple(f"mix-{index}" for index in range(len(references))),
                     np.stack([frame_counts(*pair) for pair in zip(references, estimates)]),
                     tuple(count_unseen(each, tuple("abcd"), references, estimates) for each in seen))


def test_tables_by_hand():
    """Frames: a and c (unseen in task_1), b (in task_2), a and c and d (in both), b and d, silence."""
    references = [np.array([[1, 0, 1, 0], [0, 1, 0, 0]]), np.array([[1, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0]])]
    estimates = [np.array([[1, 0, 0, 0], [0, 1, 0, 0]]), np.array([[1, 1, 0, 1], [0, 1, 0, 1], [1, 0, 0, 0]])]
    result = result_of(references, estimates)
    assert result.unseen[0].counts[0].tolist() == [[[1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]], [[0, 0, 0]] * 4]
    shares, scores = unseen_tables([result])
    assert shares.set_index("row")["value"].to_dict() == pytest.approx(
        {"powerset, any task": 3 / 5, "powerset, task_1": 2 / 5, "powerset, task_2": 2 / 5})
    assert scores.set_index("row")["value"].to_dict() == pytest.approx(
        {"powerset: unseen": 2 * 4 / (2 * 4 + 1 + 2), "powerset: others": 2 * 2 / (2 * 2 + 1)})


def naive_f1(references, estimates, chosen):
    """Overall F1 of the chosen frames, in a plain loop."""
    hits = wrong = 0
    for sounds, says, wanted in zip(np.concatenate(references), np.concatenate(estimates), chosen):
        hits += wanted * np.sum(sounds & says)
        wrong += wanted * np.sum(sounds != says)
    return 2 * hits / (2 * hits + wrong)


def test_tables_of_several_runs_equal_a_loop():
    rng = np.random.default_rng(0)
    whole = SeenCombinations("whole", (Task("events", tuple("abcd"), "powerset"),), (tuple(range(0, 16, 3)),))
    references = [rng.random((rng.integers(30, 90), 4)) < 0.4 for _ in range(5)]
    estimates = {run: [roll ^ (rng.random(roll.shape) < wrong) for roll in references]
                 for run, wrong in ((("multi_label", 0), 0.3), (("multi_label", 1), 0.2), (("powerset", 0), 0.1))}
    results = [result_of(references, rolls, *run, (SEEN, whole)) for run, rolls in estimates.items()]
    shares, scores = unseen_tables(results)
    frames = np.concatenate(references).tolist()
    unseen = {"powerset": np.array([(a and c) or b != d for a, b, c, d in frames]),
              "whole": np.array([(a + 2 * b + 4 * c + 8 * d) % 3 != 0 for a, b, c, d in frames])}
    for name, chosen in unseen.items():
        assert shares.set_index("row").loc[f"{name}, any task", "value"] == pytest.approx(chosen.mean())
        for what, frames in (("unseen", chosen), ("others", ~chosen)):
            expected = {run: naive_f1(references, rolls, frames) for run, rolls in estimates.items()}
            found = scores[scores["row"] == f"{name}: {what}"].set_index("run")["value"]
            assert found["powerset"] == pytest.approx(expected["powerset", 0])
            assert found["multi_label"] == pytest.approx((expected["multi_label", 0] + expected["multi_label", 1]) / 2)


def test_the_report_holds_both_tables(tmp_path):
    roll = [np.eye(4, dtype=int), np.ones((3, 4), int)]
    tables = write_report([result_of(roll, roll, "multi_label"), result_of(roll, roll)], tmp_path)[2:]
    written = pd.read_csv(tmp_path / "unseen.csv")
    pd.testing.assert_frame_equal(written, pd.concat(tables).reset_index(drop=True), atol=1e-6, check_dtype=False)
    assert written.groupby("table").run.unique().map(list).to_dict() == {
        "unseen_share": ["frames"], "unseen_f_score": ["multi_label", "powerset"]}
    assert all(row in format_tables(*tables) for row in ("powerset, task_2", "powerset: unseen", "powerset: others"))


def test_without_powersets_there_are_no_tables(tmp_path):
    roll = [np.eye(4, dtype=int)]
    results = [result_of(roll, roll, seen=())]
    assert unseen_tables(results) == [] and len(write_report(results, tmp_path)) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["class_wise.csv", "polyphony.csv", "report.json"]


def test_combinations_that_were_all_seen_are_not_scored():
    roll = [np.eye(4, dtype=int)]
    everything = dataclasses.replace(SEEN, name="everything", seen=(range(4), range(4)))
    shares, = unseen_tables([result_of(roll, roll, seen=(everything,))])
    assert (shares["value"] == 0).all() and len(shares) == 3
    shares, scores = unseen_tables([result_of(roll, roll, seen=(everything, SEEN))])
    assert len(shares) == 6 and scores["row"].tolist() == ["powerset: unseen", "powerset: others"]


def test_combinations_unseen_in_one_task_alone_are_scored():
    """Of a and c both sound in the first, of b and d one in the second."""
    for frame in ([1, 0, 1, 0], [0, 1, 0, 0]):
        _, scores = unseen_tables([result_of([np.array([frame])] * 2, [np.array([frame])] * 2)])
        np.testing.assert_array_equal(scores["value"], [1, np.nan])


def test_seen_combinations_take_names_in_place_of_the_experiments():
    run = shared_run(POWERSET)
    with pytest.raises(ValueError, match="zip"):
        load_seen_combinations([run], ["one", "two"])
    assert [seen.name for seen in load_seen_combinations([run])] == [POWERSET.name]
    assert [seen.name for seen in load_seen_combinations({run: "contiguous"}, ["contiguous"])] == ["contiguous"]
