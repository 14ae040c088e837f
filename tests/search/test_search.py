"""Searches of hyperparameters: their files, what oracles draw, kills, failures, workers, and what is reported."""
import dataclasses
import functools
import json
import multiprocessing
import os
import pathlib
import shutil
import signal
import threading
import time

import keras_tuner
import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata

from polysed_keras.cli.main import main
from polysed_keras.errors import InputError
from polysed_keras.files import locked, read_json, write_json
from polysed_keras.search import report as search_report, trials, tuner
from polysed_keras.search.report import best_experiment, best_trial, format_progress, plot_search, read_trials
from polysed_keras.search.space import (
    apply_values,
    choices,
    hyperband_iteration,
    objectives,
    planned_epochs,
    read_search,
    suggest,
)
from polysed_keras.search.tuner import make_oracle, run_search
from polysed_keras.specs.presets import PRESETS, get_preset
from polysed_keras.training.runs import load_run, run_experiment

from fixtures import CLIPS, MULTI_LABEL, free_port, shared_corpus, shared_run

FILES = sorted((pathlib.Path(__file__).parents[2] / "tuning").glob("*.json"))
RATE, DROPOUT, TASKS = "training.learning_rate", "model.dropout", "tasks.num_tasks"
CONTENT = {"preset": "multilabel_small", "objective": "val_f1", "direction": "max", "algorithm": "random", "trials": 4,
           "epochs": 2, "seeds": [0, 1],
           "ranges": {RATE: {"low": 1e-3, "high": 1e-1, "sampling": "log"}, DROPOUT: [0.0, 0.2]}}


def write_search(folder, **changes):
    """The path of a search file; a change of None leaves the key out."""
    content = {key: value for key, value in (CONTENT | changes).items() if value is not None}
    path = folder / "search.json"
    path.write_text(json.dumps(content))
    return path


def tiny_search(folder, **changes):
    """A search on the network of the tests, which is of a file."""
    write_json(MULTI_LABEL.to_dict(), folder / "tiny.json")
    return read_search(write_search(folder, preset=str(folder / "tiny.json"), **changes))


def score(values):
    """An objective that has its maximum at a learning rate of 0.01 without dropout."""
    return 1 - abs(np.log10(values.get(RATE, 0.01)) + 2) - values.get(DROPOUT, 0)


@pytest.fixture
def trained(monkeypatch):
    """Trials that train nothing, and report nothing but a table; the list of those that were begun."""
    begun = []

    def train(experiment, data, directory, record, objective, last_epoch, stop):
        begun.append((record["trial"], last_epoch, directory.joinpath("state.json").exists()))
        (directory / "state.json").touch()
        values = record["values"]
        if values.get(TASKS) == 5:
            trials.record_failure(directory, record, "too many tasks")
            return
        write_json(record | {"status": "completed", "objective": score(values), "epochs": last_epoch or 2,
                             "seconds": 3.0, "reason": ""}, directory / "result.json")

    monkeypatch.setattr(trials, "_train_apart", train)
    monkeypatch.setattr(tuner, "write_report", lambda *_: None)
    return begun


def search_in(folder, search, **options):
    return run_search(search, shared_corpus(), folder / "out", progress=False, **options)


# Search files

@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_searches_that_come_along_are_whole(path):
    search = read_search(path)
    assert search.preset in PRESETS and search.to_dict() == json.loads(path.read_text())
    assert search.experiment.training.epochs == search.epochs and len(planned_epochs(search)) == search.trials
    ends = {field: values if isinstance(values, list) else [values["low"], values["high"]]
            for field, values in search.ranges.items()}
    lowest, highest = (apply_values(search.experiment, {field: values[index] for field, values in ends.items()})
                       for index in (0, -1))
    assert lowest != highest and lowest.name != highest.name


def test_there_is_a_search_for_either_paper():
    found = {path.stem: read_search(path) for path in FILES}
    assert found["mcmt_small"].ranges[TASKS] == [2, 5] and {DROPOUT, RATE} < set(found["mcmt_small"].ranges)
    assert {"training.alpha", DROPOUT, RATE} == set(found["joint_small"].ranges)
    assert "multilabel_small" in found


def test_the_preset_can_be_changed_beside_the_file(tmp_path):
    path = write_search(tmp_path)
    search = read_search(path, ["training.segment_hop=64"])
    assert search.experiment.training.segment_hop == 64 and "segment_hop=64" in search.experiment.name
    assert search.to_dict() == json.loads(path.read_text())
    for assignment, words in [(f"{RATE}=0.1", f"says nothing of. Received: {RATE}"),
                              ("training.seed=1", "Received: training.seed"), ("training.hop=1", "training.hop")]:
        with pytest.raises(InputError, match=words):
            read_search(path, [assignment])


@pytest.mark.parametrize("changes, words", [
    ({"preset": "crnn"}, ["preset", "crnn", "multilabel_small"]), ({"preset": 3}, ["preset", "3"]),
    ({"epochs": None}, ["expected the keys preset", "epochs"]), ({"patience": 3}, ["patience"]),
    ({"objective": "val_accuracy"}, ["objective", "val_f1, val_loss", "val_accuracy"]),
    ({"preset": "scene_event_joint_small", "objective": "val_f1"}, ["objective", "val_scene_loss", "val_f1"]),
    ({"direction": "up"}, ["direction", "max, min", "up"]), ({"algorithm": "grid"}, ["algorithm", "bayesian", "grid"]),
    ({"trials": 0}, ["trials", "from 1 to 10000", "0"]), ({"trials": True}, ["trials", "True"]),
    ({"epochs": 1.5}, ["epochs", "1.5"]), ({"seeds": []}, ["seeds", "[0, 1, 2]"]), ({"seeds": [1, 1]}, ["seeds"]),
    ({"seeds": [-1]}, ["seeds", "-1"]), ({"seeds": 3}, ["seeds", "3"]),
    ({"algorithm": "hyperband", "epochs": 8, "trials": 9}, ["trials", "at least 10", "hyperband", "9"]),
    ({"ranges": {}}, ["ranges", "{}"]), ({"ranges": {"model.width": [1]}}, ["ranges model.width", "model.filters"]),
    ({"ranges": {"dropout": [0.1]}}, ["ranges dropout", "model.dropout"]),
    ({"ranges": {"training.epochs": [1, 2]}}, ["training.epochs", "`epochs`"]),
    ({"ranges": {"training.seed": [1, 2]}}, ["training.seed", "`seeds`"]),
    ({"ranges": {DROPOUT: []}}, [f"ranges {DROPOUT}", "different choices"]),
    ({"ranges": {DROPOUT: [0.1, 0.1]}}, ["different choices", "0.1"]),
    ({"ranges": {DROPOUT: 0.1}}, ["different choices", "0.1"]),
    ({"ranges": {DROPOUT: [0.1, 1.5]}}, [f"ranges {DROPOUT}", "below 1", "1.5"]),
    ({"ranges": {DROPOUT: {"low": 0.1, "high": 1.5}}}, ["below 1", "1.5"]),
    ({"ranges": {DROPOUT: {"low": 0.1}}}, ["low, high", "0.1"]),
    ({"ranges": {DROPOUT: {"min": 0, "low": 0, "high": 0.5}}}, ["low, high", "min"]),
    ({"ranges": {DROPOUT: {"low": 0.3, "high": 0.1}}}, ["low below high"]),
    ({"ranges": {DROPOUT: {"low": "0", "high": 0.1}}}, [f"{DROPOUT} low", "a number", "'0'"]),
    ({"ranges": {DROPOUT: {"low": 0, "high": float("inf")}}}, [f"{DROPOUT} high", "a number", "inf"]),
    ({"ranges": {DROPOUT: {"low": 0, "high": 0.1, "sampling": "sqrt"}}}, ["sampling", "linear or log", "sqrt"]),
    ({"ranges": {DROPOUT: {"low": 0, "high": 0.1, "sampling": "log"}}}, [f"{DROPOUT} low", "positive", "log"]),
    ({"ranges": {DROPOUT: {"low": 0.1, "high": 0.4, "step": -1}}}, [f"{DROPOUT} step", "positive"]),
    ({"ranges": {RATE: {"low": 0.1, "high": 0.4, "step": 0.5, "sampling": "log"}}}, [f"{RATE} step", "factor above 1"]),
    ({"ranges": {"training.batch_size": {"low": 1.5, "high": 4}}}, ["training.batch_size", "1.5"]),
    ({"ranges": {"training.batch_size": {"low": 1, "high": 4, "step": 0.5}}}, ["batch_size step", "whole", "0.5"]),
    ({"trials": 10 ** 9}, ["trials", "from 1 to 10000"]), ({"epochs": 10 ** 12}, ["epochs", "from 1 to 10000"]),
    ({"ranges": {RATE: {"low": 0.0001, "high": 0.01, "step": 1e-12}}}, [f"ranges {RATE}: step", "at most 10000"]),
    ({"ranges": {RATE: {"low": 0.0001, "high": 0.01, "step": 1 + 1e-9, "sampling": "log"}}}, ["at most 10000"]),
    ({"ranges": {"model.filters": {"low": 1, "high": 4}}}, ["ranges model.filters", "1"]),
])
def test_a_mistake_in_a_search_file_is_named(tmp_path, changes, words):
    path = write_search(tmp_path, **changes)
    with pytest.raises(InputError) as caught:
        read_search(path)
    for word in (str(path), *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "3", "{", '"multilabel"'])
def test_what_is_no_search_file_is_refused(tmp_path, text):
    (tmp_path / "no.json").write_text(text)
    with pytest.raises(InputError, match="no.json: expected"):
        read_search(tmp_path / "no.json")


@pytest.mark.parametrize("name, experiment", [("multilabel_small", MULTI_LABEL), ("scene_event_joint_small", CLIPS)])
def test_objectives_are_what_validation_says(name, experiment):
    """The columns of real runs."""
    run = shared_run(experiment)
    columns = {column for column in pd.read_csv(run / "history.csv") if column.startswith("val_")}
    assert set(objectives(get_preset(name))) == columns


# Values

def test_ranges_become_the_fields_of_an_experiment():
    hp, preset = keras_tuner.HyperParameters(), get_preset("mcmt_2_small")
    ranges = {TASKS: [2, 5, 10], DROPOUT: {"low": 0.0, "high": 0.4}, "model.filters": [[8, 8], [16, 16]],
              "training.learning_rate_schedule": ["cosine", "constant"], "training.alpha": [None, 0.5],
              "training.batch_size": {"low": 8, "high": 64, "step": 2, "sampling": "log"}}
    # the first of all, before an oracle has said anything
    assert apply_values(preset, suggest(hp, preset, ranges)).tasks.num_tasks == 2
    hp.values |= {TASKS: "5", DROPOUT: 0.123456789, "model.filters": "[16, 16]", "training.alpha": "0.5",
                  "training.learning_rate_schedule": '"constant"', "training.batch_size": "32"}
    experiment = apply_values(preset, suggest(hp, preset, ranges))
    assert (experiment.tasks.num_tasks, experiment.model.dropout, experiment.model.filters) == (5, 0.1235, (16, 16))
    assert (experiment.training.alpha, experiment.training.batch_size) == (0.5, 32)
    assert experiment.training.learning_rate_schedule == "constant"
    unchanged = dataclasses.replace(experiment, name=preset.name, tasks=preset.tasks, model=preset.model,
                                    training=preset.training)
    assert unchanged == preset
    assert experiment.name == ("mcmt_2_small num_tasks=5 dropout=0.1235 filters=[16, 16] "
                               "learning_rate_schedule=constant alpha=0.5")  # a batch of 32 is the preset's


@pytest.mark.parametrize("field, values, found", [
    (DROPOUT, {"low": 0.1, "high": 0.4, "step": 0.1}, [0.1, 0.2, 0.3, 0.4]),
    (DROPOUT, {"low": 0, "high": 0.45, "step": 0.2}, [0.0, 0.2, 0.4]),
    (RATE, {"low": 1e-4, "high": 1e-1, "step": 10, "sampling": "log"}, [1e-4, 1e-3, 1e-2, 1e-1]),
    ("training.batch_size", {"low": 8, "high": 65, "step": 2, "sampling": "log"}, [8, 16, 32, 64]),
    ("training.batch_size", {"low": 8, "high": 20, "step": 4}, [8, 12, 16, 20]), (DROPOUT, [0.3, 0.1], [0.3, 0.1]),
    (DROPOUT, {"low": 0.1, "high": 0.4}, None)])
def test_a_step_makes_choices(field, values, found):
    known = choices(get_preset("multilabel_small"), field, values)
    assert known == found and [type(value) for value in known or []] == [type(value) for value in found or []]


@pytest.mark.parametrize("values", [{"low": 2, "high": 9, "sampling": "log"}, {"low": 2, "high": 9}])
def test_whole_numbers_stay_within_their_range_at_its_ends(values):
    hp, preset = keras_tuner.HyperParameters(), get_preset("multilabel_small")
    suggest(hp, preset, {"training.batch_size": values})
    drawn = []
    for probability in (0.0, 0.5, 1.0):  # 1.0 is what a Gaussian process may propose
        hp.values["training.batch_size"] = hp.space[0].prob_to_value(probability)
        drawn.append(suggest(hp, preset, {"training.batch_size": values})["training.batch_size"])
    assert drawn[0] == 2 and drawn[2] == 9 and all(type(value) is int for value in drawn)


@pytest.mark.parametrize("epochs", [1, 2, 3, 8, 9, 10, 27])
def test_an_iteration_of_hyperband_is_kerastuners(epochs):
    """Its trials are those that KerasTuner's oracle hands out."""
    space = keras_tuner.HyperParameters()
    space.Float("x", 0, 1)
    oracle, added = keras_tuner.oracles.HyperbandOracle(keras_tuner.Objective("y", "max"), epochs, seed=1,
                                                        hyperparameters=space), []
    oracle.verbose, oracle.save, oracle._save_trial = 0, lambda: None, lambda trial: None
    while (trial := oracle.create_trial("a")).status == "RUNNING":
        added.append(trial.hyperparameters["tuner/epochs"] - trial.hyperparameters["tuner/initial_epoch"])
        oracle.update_trial(trial.trial_id, {"y": trial.hyperparameters["x"]})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    assert sorted(hyperband_iteration(epochs)) == sorted(added)


# Kills

class Killed(BaseException):
    """What no code catches."""


def killed_search(folder, search, monkeypatch, write):
    """Run a search until just before its `write`th file is put in its place; whether it came so far."""
    count, replace = iter(range(10 ** 6)), os.replace

    def replace_or_die(*paths):
        if next(count) == write:
            raise Killed
        replace(*paths)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace_or_die)
        try:
            search_in(folder, search)
        except Killed:
            return True
    return False


ONE_RANGE = {RATE: CONTENT["ranges"][RATE]}
KILLS = {"random": ({"trials": 4, "ranges": CONTENT["ranges"] | {TASKS: [1, 5]}}, range(100)),
         "hyperband": ({"trials": 6, "epochs": 3, "ranges": ONE_RANGE}, range(0, 100, 3)),
         "bayesian": ({"trials": 5, "ranges": ONE_RANGE}, [24])}  # after its first proposal, which takes a second


@pytest.mark.parametrize("algorithm", KILLS)
@pytest.mark.filterwarnings("ignore:The optimal value found")  # scikit-learn's, of few points
def test_a_search_that_is_killed_goes_on_as_if_it_was_not(algorithm, trained, tmp_path, monkeypatch):
    """Killed before each of the files that it writes, but for its table, in one folder after another."""
    monkeypatch.setattr(tuner, "write_table", lambda *_: None)
    changes, writes = KILLS[algorithm]
    search, kills = tiny_search(tmp_path, algorithm=algorithm, **changes), 0
    unbroken = search_in(tmp_path, search)
    assert len(unbroken) == search.trials and unbroken[RATE].nunique() >= 4
    for write in writes:
        folder, begun = tmp_path / str(write), len(trained)
        if not killed_search(folder, search, monkeypatch, write):
            break
        kills += 1
        pd.testing.assert_frame_equal(search_in(folder, search), unbroken)
        # one whose result was not in its place yet is gone on with
        assert len(trained) - begun <= search.trials + 1
        assert len(list((folder / "out" / "trials").glob("*/"))) == search.trials
    assert kills > search.trials or kills == len(writes)
    begun = len(trained)
    pd.testing.assert_frame_equal(search_in(tmp_path, search), unbroken)
    assert len(trained) == begun  # what is there is not done again


@pytest.mark.filterwarnings("ignore:The optimal value found")
def test_the_draws_of_a_gaussian_process_go_on(trained, tmp_path):
    """Where it begins to look for the best values, which the best values need not show."""
    search = tiny_search(tmp_path, algorithm="bayesian", trials=4, ranges=ONE_RANGE)
    running = make_oracle(search, tmp_path / "out")
    tuner.run_trials(running, ["a"], functools.partial(tuner.train_trial, search, shared_corpus(), tmp_path / "out"),
                     search.objective)
    again = make_oracle(search, tmp_path / "out")
    fresh = np.random.RandomState(search.seeds[0] + 1)
    assert running._random_state.uniform() == again._random_state.uniform() != fresh.uniform()


def test_a_killed_trial_is_gone_on_with(trained, tmp_path, monkeypatch):
    search = tiny_search(tmp_path)
    write_result = trials.write_json

    def die(data, path):
        if data["trial"] == 2:
            raise Killed
        write_result(data, path)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setitem(globals(), "write_json", die)
        search_in(tmp_path, search)
    search_in(tmp_path, search)
    assert [(trial, again) for trial, _, again in trained] == [(0, False), (1, False), (2, False), (2, True),
                                                               (3, False)]


def test_draws_are_the_seeds(trained, tmp_path):
    tables = []
    for name, seeds in (("a", [0]), ("b", [0]), ("c", [1])):
        tables.append(search_in(tmp_path / name, tiny_search(tmp_path, seeds=seeds)))
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert set(tables[0][RATE]).isdisjoint(tables[2][RATE])


def test_a_search_goes_on_with_more_trials(trained, tmp_path, capsys):
    few, more = (tiny_search(tmp_path, trials=trials) for trials in (3, 12))
    first, second = search_in(tmp_path, few), search_in(tmp_path, more)
    assert len(second) == 12 and len(trained) == 12
    pd.testing.assert_frame_equal(second[:3], first)
    capsys.readouterr()
    run_search(more, shared_corpus(), tmp_path / "out")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and "12 of 12 trials done" in lines[0]  # none is handed out again
    short, long = (tiny_search(tmp_path, trials=trials, algorithm="hyperband") for trials in (2, 5))
    assert [make_oracle(search, tmp_path / "h").hyperband_iterations for search in (short, long)] == [1, 2]


@pytest.mark.parametrize("algorithm", ["random", "bayesian"])
def test_a_space_of_choices_is_run_out_without_a_repetition(algorithm, trained, tmp_path):
    table = search_in(tmp_path, tiny_search(tmp_path, algorithm=algorithm, trials=30, ranges={
        DROPOUT: {"low": 0, "high": 0.2, "step": 0.1}, RATE: [0.001, 0.01]}))
    assert len(table) == 6 == len(set(zip(table[DROPOUT], table[RATE])))
    assert (table.iloc[table.val_f1.idxmax()][[DROPOUT, RATE]] == [0.0, 0.01]).all()


def test_hyperband_trains_on_from_the_earlier_round(trained, tmp_path, monkeypatch):
    begins, run_trial = [], tuner.run_trial

    def note(experiment, data, run, record, objective, *, last_epoch, begin, stop):
        begins.append((run.name, begin and begin.name, last_epoch))
        return run_trial(experiment, data, run, record, objective, last_epoch=last_epoch, begin=begin, stop=stop)

    monkeypatch.setattr(tuner, "run_trial", note)
    table = search_in(tmp_path, tiny_search(tmp_path, algorithm="hyperband", trials=6, epochs=3, ranges=ONE_RANGE))
    promoted = [(int(name), int(begin)) for name, begin, epochs in begins if begin]
    first = table[table.epochs == 1]
    assert [begin for _, begin in promoted] == [first.val_f1.idxmax()] and len(first) == 3
    assert [again for trial, _, again in trained if trial == promoted[0][0]] == [True]  # the other's state was there
    assert table.planned.tolist().count(2) == 1 and sum(table.planned) == sum(hyperband_iteration(3))


@pytest.mark.slow
def test_more_epochs_in_parts_are_the_same_training(tmp_path):
    """What hyperband's rounds rely on: a training that stops and goes on is the unbroken one."""
    first = run_experiment(MULTI_LABEL, shared_corpus(), tmp_path, progress=False, last_epoch=1)
    assert len(first) == 1 and read_json(tmp_path / "experiment.json")["training"]["epochs"] == 3
    again = run_experiment(MULTI_LABEL, shared_corpus(), tmp_path, progress=False, last_epoch=1, resume=True)
    pd.testing.assert_frame_equal(again, first)
    whole = run_experiment(MULTI_LABEL, shared_corpus(), tmp_path, progress=False, resume=True, last_epoch=9)
    unbroken = pd.read_csv(shared_run(MULTI_LABEL) / "history.csv")
    np.testing.assert_allclose(whole[unbroken.columns], unbroken, rtol=1e-3, atol=2e-3)


# Failures

def train_here(tmp_path, monkeypatch, epochs=1, **fields):
    """A real trial in this process; its result."""
    monkeypatch.setattr(trials, "_print_to", lambda path: None)
    experiment = apply_values(MULTI_LABEL, {"training.epochs": epochs} | fields)
    trials._train(experiment, shared_corpus(), tmp_path, {"trial": 0, "values": {}, "planned": epochs}, "val_f1", None)
    return read_json(tmp_path / "result.json")


def test_a_loss_that_is_no_number_fails_the_trial(tmp_path, monkeypatch):
    result = train_here(tmp_path, monkeypatch, **{RATE: 1e38})
    assert result["status"] == "failed" and result["objective"] is None and result["epochs"] == 1
    assert "loss is nan in epoch 1" in result["reason"]


def test_values_that_the_data_do_not_allow_fail_the_trial(tmp_path, monkeypatch, capfd):
    result = train_here(tmp_path, monkeypatch, **{TASKS: 5})
    assert (result["status"], result["epochs"]) == ("failed", 0) and "expected 1 to 4" in result["reason"]
    assert "Traceback" in capfd.readouterr().err  # which is in the trial's log


def test_the_best_epoch_counts(tmp_path, monkeypatch):
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.0], "val_loss": [1.0, 2.0, 3.0],
                            "val_f1": [0.1, 0.6, 0.4]})
    monkeypatch.setattr("polysed_keras.training.run_experiment", lambda *_, **__: history)
    monkeypatch.setattr(trials, "_print_to", lambda path: None)
    for objective, value in (("val_f1", 0.6), ("val_loss", 2.0)):  # of the epoch whose weights are kept
        trials._train(MULTI_LABEL, "data", tmp_path, {}, objective, None)
        assert read_json(tmp_path / "result.json")["objective"] == value
    for column, losses, words in (("val_f1", [0.1, np.nan, 0.4], "val_f1 is nan in epoch 2"),
                                  ("loss", [3.0, 1.0, np.inf], "loss is inf in epoch 3")):
        assert trials._not_finite(history.assign(**{column: losses}), "val_f1", "val_f1") == words


def test_failing_trials_stop_nothing(trained, tmp_path):
    """More of them in a row than KerasTuner puts up with."""
    table = search_in(tmp_path, tiny_search(tmp_path, trials=11, ranges={TASKS: [5], DROPOUT: {"low": 0, "high": 0.5}}))
    assert table.status.tolist() == ["failed"] * 11 and set(table.reason) == {"too many tasks"}
    assert table.val_f1.isna().all() and best_trial(tiny_search(tmp_path), table) is None
    with pytest.raises(InputError, match="expected a trial that succeeds. Received: the first failed: too many tasks"):
        best_experiment(tiny_search(tmp_path), table)


def test_values_that_do_not_go_together_fail_the_trial(trained, tmp_path):
    ranges = {"features.win_length": [320, 400], "features.n_fft": [512, 360]}
    table = search_in(tmp_path, tiny_search(tmp_path, trials=4, ranges=ranges))
    failed = table[table.status == "failed"]
    assert failed[list(ranges)].to_numpy().tolist() == [[400, 360]] and "win_length" in failed.reason.iloc[0]


def test_a_trial_is_a_process_of_its_own_that_may_be_killed(tmp_path, monkeypatch):
    """The first is killed, the second goes on."""
    start, pids = trials.start_process, []

    def start_and_kill(*arguments):
        process = start(*arguments)
        pids.append(process.pid)
        if len(pids) == 1:
            process.kill()
        return process

    monkeypatch.setattr(trials, "start_process", start_and_kill)
    experiment, record = apply_values(MULTI_LABEL, {"training.epochs": 1}), {"trial": 3, "values": {}, "planned": 1}
    result = trials.run_trial(experiment, shared_corpus(), tmp_path / "3", record, "val_f1")
    assert result["status"] == "completed" and 0 < result["objective"] <= 1 and result["trial"] == 3
    assert len(set(pids)) == 2 and os.getpid() not in pids
    assert load_run(tmp_path / "3").training.epochs == 1 and (tmp_path / "3" / "log.txt").exists()
    assert trials.run_trial(experiment, shared_corpus(), tmp_path / "3", record, "val_f1") == result and len(pids) == 2


def test_a_process_that_dies_again_fails_the_trial(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "start_process", lambda *_: exiting_process(3))
    result = trials.run_trial(MULTI_LABEL, "data", tmp_path / "0", {"trial": 0, "values": {}, "planned": 1}, "val_f1")
    assert result["status"] == "failed" and "ended with exit code 3, 2 times" in result["reason"]


def exiting_process(code):
    process = multiprocessing.get_context("spawn").Process(target=os._exit, args=(code,))
    process.start()
    return process


# Workers

start_process, train_apart = trials.start_process, trials._train_apart  # before tests replace them


def test_two_workers_share_an_oracle_and_run_nothing_twice(trained, tmp_path, monkeypatch):
    """Over KerasTuner's server, all in threads of this process."""
    search = tiny_search(tmp_path, trials=30, ranges={DROPOUT: {"low": 0, "high": 0.5, "step": 0.1}, TASKS: [1, 5]})
    out, handed = tmp_path / "out", {"a": [], "b": []}
    oracle = make_oracle(search, out)
    for name, value in ((tuner.TUNER_ID, "chief"), (tuner.ORACLE_IP, "127.0.0.1"), (tuner.ORACLE_PORT, free_port())):
        monkeypatch.setenv(name, str(value))
    both = threading.Barrier(2, timeout=60)

    def work(name):
        def note(trial, stop):
            handed[name].append(trial.trial_id)
            if len(handed[name]) == 1:
                both.wait()  # neither ends its first before the other has one
            return tuner.train_trial(search, shared_corpus(), out, trial, stop)

        tuner.run_trials(tuner.OracleClient(None), [name], note, search.objective)

    threading.Thread(target=tuner.start_server, args=(oracle,), daemon=True).start()
    threads = [threading.Thread(target=work, args=(name,)) for name in handed]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    table = read_trials(search, out)
    assert len(table) == 12 == len(set(zip(table[DROPOUT], table[TASKS]))) == len(trained)
    assert sorted(handed["a"] + handed["b"]) == [f"{trial:02}" for trial in range(12)] and handed["a"] and handed["b"]
    assert (table.status == "failed").sum() == 6 and set(table.reason) == {"", "too many tasks"}
    assert sorted(trial.status for trial in oracle.trials.values()) == ["COMPLETED"] * 6 + ["FAILED"] * 6


def test_a_chief_and_a_worker_find_what_one_process_finds(trained, tmp_path, monkeypatch):
    """By KerasTuner's variables; both in threads of this process, which is what `role` is told apart by."""
    search = tiny_search(tmp_path)
    alone = search_in(tmp_path / "alone", search)
    for name, value in ((tuner.TUNER_ID, "worker0"), (tuner.ORACLE_IP, "127.0.0.1"), (tuner.ORACLE_PORT, free_port())):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(tuner, "role", lambda: threading.current_thread().name)
    found = {}

    def run():
        found[threading.current_thread().name] = search_in(tmp_path, search)

    threads = [threading.Thread(target=run, name=name, daemon=True) for name in ("chief", "worker")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found["worker"] is None and len(trained) == 2 * search.trials
    pd.testing.assert_frame_equal(found["chief"], alone)


def test_a_worker_may_end_its_trial_at_a_chief_that_was_restarted(tmp_path):
    search = tiny_search(tmp_path, trials=2)
    running = make_oracle(search, tmp_path).create_trial("a")
    oracle = make_oracle(search, tmp_path)
    oracle.update_trial(running.trial_id, {"val_f1": 0.5})
    running.status = "COMPLETED"
    oracle.end_trial(running)
    assert oracle.create_trial("a").trial_id == "1"
    assert make_oracle(search, tmp_path).create_trial("b").trial_id == "1"  # handed out again: nobody has ended it
    assert oracle.create_trial("a").trial_id == "1"  # a worker of the same name gets what it had


def test_what_the_environment_makes_of_a_process(tmp_path, monkeypatch):
    search = tiny_search(tmp_path)
    for name in (tuner.TUNER_ID, tuner.ORACLE_IP, tuner.ORACLE_PORT):
        monkeypatch.delenv(name, raising=False)
    assert tuner.role() is None
    monkeypatch.setenv(tuner.ORACLE_IP, "127.0.0.1")
    monkeypatch.setenv(tuner.ORACLE_PORT, "9")
    with pytest.raises(InputError, match=f"{tuner.TUNER_ID}: expected to be set"):
        tuner.role()
    roles = {}
    for name in ("chief", "worker3"):
        monkeypatch.setenv(tuner.TUNER_ID, name)
        roles[name] = tuner.role()
    assert roles == {"chief": "chief", "worker3": "worker"}
    with pytest.raises(InputError, match=f"--workers: expected at least 1, and no more where {tuner.TUNER_ID} is set"):
        search_in(tmp_path, search, workers=2)


@pytest.mark.parametrize("algorithm", ["random", "hyperband"])
def test_workers_find_what_one_worker_finds(algorithm, trained, tmp_path):
    search = tiny_search(tmp_path, algorithm=algorithm, trials=6, epochs=3, ranges=ONE_RANGE)
    alone, together = (search_in(tmp_path / str(workers), search, workers=workers) for workers in (1, 3))
    if algorithm == "hyperband":  # rounds wait for one another, so that trials are numbered in another order
        alone, together = (table.sort_values(["planned", RATE], ignore_index=True).drop(columns="trial")
                           for table in (alone, together))
    pd.testing.assert_frame_equal(together, alone)
    assert len(trained) == 12


@pytest.fixture
def processes(monkeypatch):
    """A function that makes trials start the process that a function of (run, record) returns; the list of them."""
    started = []

    def start_with(run_process):
        def start(target, experiment, data, run, record, objective, last_epoch):
            started.append((record["trial"], run_process(run, record)))
            return started[-1][1]

        monkeypatch.setattr(trials, "start_process", start)
        monkeypatch.setattr(tuner, "write_report", lambda *_: None)
        return started

    return start_with


def test_a_killed_process_of_a_worker_is_started_again(processes, tmp_path):
    search = tiny_search(tmp_path, trials=4, ranges=ONE_RANGE)
    killed = set()

    def train(run, record):
        if record["trial"] in (0, 2) and record["trial"] not in killed:
            killed.add(record["trial"])
            return exiting_process(9)
        write_json(record | {"status": "completed", "objective": score(record["values"]), "epochs": 2, "seconds": 3.0,
                             "reason": ""}, run / "result.json")
        return exiting_process(0)

    started = processes(train)
    table = search_in(tmp_path, search, workers=2)
    assert table.status.tolist() == ["completed"] * 4 and killed == {0, 2}
    assert sorted(trial for trial, _ in started) == [0, 0, 1, 2, 2, 3]


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_the_processes_and_fails_no_trial(workers, processes, trained, tmp_path, monkeypatch):
    search, pids = tiny_search(tmp_path, ranges=ONE_RANGE), []
    unbroken = search_in(tmp_path / "unbroken", search)

    def wait(run, record):
        process = start_process(time.sleep, 600)
        pids.append(process.pid)
        if len(pids) == workers:
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        return process

    # A shell ignores Ctrl-C for what it starts in the background, this test run perhaps.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(trials, "_train_apart", train_apart)
            processes(wait)
            search_in(tmp_path, search, workers=workers)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert len(pids) == workers and not any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids)
    assert not list(tmp_path.glob("out/trials/*/result.json")) and not multiprocessing.active_children()
    pd.testing.assert_frame_equal(search_in(tmp_path, search, workers=workers), unbroken)


def test_an_error_of_one_worker_ends_the_search_and_the_others(trained, tmp_path, monkeypatch):
    """Such as a full disk: the trial has not failed, and the same command goes on."""
    search = tiny_search(tmp_path)
    unbroken = search_in(tmp_path / "unbroken", search)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(trials, "read_json", lambda *_: (_ for _ in ()).throw(OSError("no space")))
        search_in(tmp_path, search, workers=2)
    pd.testing.assert_frame_equal(search_in(tmp_path, search, workers=2), unbroken)


# Folders

def test_a_folder_has_one_search_at_a_time(trained, tmp_path):
    search_in(tmp_path, tiny_search(tmp_path))
    assert json.loads((tmp_path / "out" / "search.json").read_text())["polysed_format"] == 1
    with pytest.raises(InputError, match="search.json: expected the same search of the same data. Received: another "
                                         "epochs"):
        search_in(tmp_path, tiny_search(tmp_path, epochs=3))
    other = shutil.copytree(shared_corpus(), tmp_path / "other")
    run_search(tiny_search(tmp_path), other, tmp_path / "out", progress=False)  # the same data, moved
    before = (other / "audio" / "train0.wav").stat()
    content = (other / "audio" / "train0.wav").read_bytes()
    (other / "audio" / "train0.wav").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(other / "audio" / "train0.wav", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(InputError, match=r"Received: another data \(labels, partitions, annotations, audio\)"):
        run_search(tiny_search(tmp_path), other, tmp_path / "out")
    with locked(tmp_path / "out"):
        with pytest.raises(InputError, match="expected no other process at work in it"):
            search_in(tmp_path, tiny_search(tmp_path))
    assert len(trained) == 4


def test_a_search_of_an_older_version_is_known_by_the_folder_of_its_data(trained, tmp_path, caplog):
    search_in(tmp_path, tiny_search(tmp_path))
    content = read_json(tmp_path / "out" / "search.json", dict)
    assert len(content.pop("data_digest")) == 25
    write_json(content, tmp_path / "out" / "search.json")
    other = shutil.copytree(shared_corpus(), tmp_path / "other")
    with pytest.raises(InputError, match="Received: another data. Choose"):
        run_search(tiny_search(tmp_path), other, tmp_path / "out")
    caplog.clear()
    search_in(tmp_path, tiny_search(tmp_path))
    assert "search.json: does not say what its data were" in caplog.text and len(trained) == 4
    assert read_json(tmp_path / "out" / "search.json", dict)["data_digest"]


def test_nothing_is_tried_without_data(trained, tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        run_search(tiny_search(tmp_path), tmp_path / "nowhere", tmp_path / "out")
    assert not trained


# Reports

RANGES = {RATE: CONTENT["ranges"][RATE], "training.learning_rate_schedule": ["cosine", "constant"], TASKS: [2, 5, 10]}
TABLE = pd.DataFrame({
    "trial": range(4), "status": ["completed", "failed", "completed", "completed"], RATE: [1e-3, 1e-2, 1e-1, 3e-2],
    "training.learning_rate_schedule": ["cosine", "constant", "constant", "cosine"], TASKS: [2, 5, 10, 2],
    "val_f1": [0.5, np.nan, 0.7, 0.6], "epochs": [2, 0, 1, 2], "seconds": [30.0, 5.0, 20.0, 33.0],
    "reason": ["", "nan", "", ""], "planned": [2] * 4})
TABLE["values"] = TABLE[list(RANGES)].to_dict("records")


def points(axes, marker):
    return [tuple(xy) for line in axes.lines if line.get_marker() == marker
            for xy in np.round(line.get_xydata(), 6).tolist()]


def test_the_picture_shows_every_trial_over_every_range(tmp_path):
    figure = plot_search(tiny_search(tmp_path, ranges=RANGES), TABLE)
    rate, schedule, tasks = figure.axes
    assert sorted(points(rate, "o")) == [(0.001, 50.0), (0.03, 60.0), (0.1, 70.0)]
    assert points(rate, "*") == [(0.1, 70.0)] and rate.get_ylabel() == "validation F1, overall (%)"
    assert rate.get_xscale() == "log" and tasks.get_xscale() == "linear"
    assert [text.get_text() for text in schedule.get_xticklabels()] == ["constant", "cosine"]
    assert tasks.get_xticks().tolist() == [2, 5, 10]
    assert sorted(points(schedule, "o")) == [(0.0, 70.0), (1.0, 50.0), (1.0, 60.0)]
    assert [axes.get_xlabel() for axes in figure.axes] == list(RANGES)
    for axes, place in ((rate, 0.01), (schedule, 0.0), (tasks, 5.0)):
        crosses = [line for line in axes.lines if line.get_marker() == "X"]
        assert len(crosses) == 1 and crosses[0].get_xdata().tolist() == [place]
        assert crosses[0].get_transform() == axes.get_xaxis_transform() and 0 < crosses[0].get_ydata()[0] < 0.1
    hollow = [line for line in tasks.lines if line.get_markerfacecolor() == "none"]
    assert [line.get_xdata().tolist() for line in hollow] == [[10]]  # of one epoch
    names = {text.get_text() for text in figure.legends[0].get_texts()}
    assert names == {"a trial", "a trial of fewer epochs", "failed", "best: trial 2"}


@pytest.mark.parametrize("objective, label", [
    ("val_loss", "validation loss (nats)"), ("val_lwlrap", "validation lwlrap (%)"),
    ("val_scene_loss", "validation scene loss (nats)")])
def test_a_picture_of_one_range_and_of_failures_only(objective, label, tmp_path):
    table = TABLE.rename(columns={"val_f1": objective})
    search = dataclasses.replace(tiny_search(tmp_path), objective=objective, ranges={TASKS: [2, 5, 10]})
    axes = plot_search(search, table).axes
    assert len(axes) == 1 and axes[0].get_ylabel() == label and points(axes[0], "*")
    assert points(axes[0], "o")[0][1] == (0.5 if "nats" in label else 50.0)
    search = dataclasses.replace(search, ranges={TASKS: [2, 5], "features.fmin": [50.0]})
    figure = plot_search(search, table[1:2].assign(**{"features.fmin": 50.0}))
    assert figure.axes[1].get_xlabel() == "features.fmin (Hz)"
    assert not points(figure.axes[0], "*")  # none is the best of failures
    search_report.save_figure(figure, tmp_path / "failed.png")
    assert (tmp_path / "failed.png").stat().st_size > 5000


def read_session(folder):
    """What HParams is told of a trial: its values, its status, and the events."""
    events = EventAccumulator(str(folder)).Reload()
    tags = {tag: found.plugin_data.content for tag, found in events.summary_metadata.items()}
    begin = metadata.parse_session_start_info_plugin_data(tags[metadata.SESSION_START_INFO_TAG])
    end = metadata.parse_session_end_info_plugin_data(tags[metadata.SESSION_END_INFO_TAG])
    values = {name: getattr(value, value.WhichOneof("kind")) for name, value in begin.hparams.items()}
    return values, end.status, events


def test_tensorboard_has_the_trials(tmp_path):
    search = tiny_search(tmp_path, ranges=RANGES)
    for table in (TABLE[:2], TABLE):  # as trials end
        search_report.write_table(search, table, tmp_path)
    assert pd.read_csv(tmp_path / "trials.csv").columns.tolist() == ["trial", "status", *RANGES, "val_f1", "epochs",
                                                                     "seconds", "reason"]
    folder = tmp_path / "tensorboard"
    assert len(list(folder.glob("**/events*"))) == 5  # one a trial, and what they have in common
    for index, status in ((1, api_pb2.STATUS_FAILURE), (2, api_pb2.STATUS_SUCCESS)):
        values, found, events = read_session(folder / str(index))
        assert values == TABLE["values"][index] and found == status
    assert events.Tensors("val_f1")[0].tensor_proto.float_val[0] == pytest.approx(0.7)
    experiment = EventAccumulator(str(folder)).Reload().summary_metadata[metadata.EXPERIMENT_TAG]
    content = metadata.parse_experiment_plugin_data(experiment.plugin_data.content)
    assert [info.name for info in content.hparam_infos] == list(RANGES)
    assert [info.name.tag for info in content.metric_infos] == ["val_f1"]


def test_choices_of_several_types_are_shown(tmp_path):
    ranges = {"training.event_hours": [None, 0.5], DROPOUT: [0, 0.5]}
    values = [{"training.event_hours": None, DROPOUT: 0}, {"training.event_hours": 0.5, DROPOUT: 0.5}]
    table = TABLE[:2].drop(columns=list(RANGES)).assign(values=values, **pd.DataFrame(values))
    search = tiny_search(tmp_path, ranges=ranges)
    search_report.write_table(search, table, tmp_path)
    assert read_session(tmp_path / "tensorboard" / "0")[0] == {"training.event_hours": "null", DROPOUT: 0.0}
    hours = plot_search(search, table).axes[0]
    assert [text.get_text() for text in hours.get_xticklabels()] == ["0.5", "none"]
    assert points(hours, "o") == [(1.0, 50.0)]


def test_progress_in_a_line(tmp_path):
    search = tiny_search(tmp_path, ranges=RANGES, trials=8, epochs=2)
    line = format_progress(search, TABLE, workers=2)
    assert line == ("search: 4 of 8 trials done, 1 failed; best: trial 2, val_f1 0.7000 (training.learning_rate=0.1 "
                    "training.learning_rate_schedule=constant tasks.num_tasks=10); about 44 s left")
    # (30 + 5 + 20 + 33) / 2
    assert "best" not in format_progress(search, TABLE[1:2])
    assert "about 2 min left" in format_progress(search, TABLE.assign(seconds=30.0))
    lowest = dataclasses.replace(search, direction="min")
    assert best_trial(lowest, TABLE)["trial"] == 0 and best_experiment(lowest, TABLE).training.learning_rate == 1e-3


# The command line

@pytest.fixture
def trained_here(monkeypatch):
    """Trials in this process, which takes a start of TensorFlow less."""
    monkeypatch.setattr(trials, "_print_to", lambda path: None)
    monkeypatch.setattr(trials, "_train_apart", lambda *arguments: trials._train(*arguments[:-1]))


@pytest.mark.slow
def test_tune_ends_in_a_report_an_experiment_and_an_export(trained_here, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny_search(tmp_path, trials=2, epochs=1, seeds=[1, 2], ranges={TASKS: [1, 5]})
    command = ["tune", "search.json", "--data", str(shared_corpus()), "--out", "out", "--export"]
    assert main(command) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "2 of 2 trials done, 1 failed; best: trial" in printed[1] and printed[-1] == "out/saved_models/search/1"
    table = pd.read_csv(tmp_path / "out" / "trials.csv").set_index(TASKS)
    assert table.status.to_dict() == {1: "completed", 5: "failed"} and "expected 1 to 4" in table.reason[5]
    run = tmp_path / "out" / "trials" / str(table.trial[1])
    assert table.val_f1[1] == pytest.approx(pd.read_csv(run / "history.csv").val_f1.max())
    assert (tmp_path / "out" / "trials.png").read_bytes().startswith(b"\x89PNG")
    best = get_preset("out/best.json")
    assert best == dataclasses.replace(MULTI_LABEL, name="tiny epochs=1", training=dataclasses.replace(
        MULTI_LABEL.training, epochs=1, seed=1))
    assert read_json("out/best/seed1/state.json") == read_json(run / "state.json")  # trained already
    scores = {seed: pd.read_csv(f"out/best/seed{seed}/history.csv").val_f1.max() for seed in (1, 2)}
    card = read_json("out/saved_models/search/1/card.json")
    assert card["validation_f1"] == pytest.approx(max(scores.values()))
    command = ["train", "out/best.json", "--data", str(shared_corpus()), "--out", "again", "--set", "training.seed=2"]
    assert main(command) == 0
    assert pd.read_csv("again/history.csv").val_f1.max() == pytest.approx(scores[2], abs=2e-3)


def test_mistakes_at_the_command_line(tmp_path, capsys, monkeypatch):
    def assert_mistake(arguments, *words):
        assert main([str(argument) for argument in arguments]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("polysed: ") and all(str(word) in error for word in words)

    path = write_search(tmp_path, objective="val_f2")
    assert_mistake(["tune", path, "--data", tmp_path, "--out", tmp_path / "out"], path, "objective", "val_f2")
    assert_mistake(["tune", tmp_path / "no.json", "--data", tmp_path, "--out", tmp_path / "out"], "no.json")
    path = write_search(tmp_path)
    assert_mistake(["tune", path, "--data", tmp_path / "no", "--out", tmp_path / "out"], tmp_path / "no")
    assert_mistake(["tune", path, "--data", tmp_path, "--out", tmp_path / "out", "--workers", "0"], "--workers", "0")
    assert_mistake(["tune", path, "--data", tmp_path, "--out", path / "out"], "cannot be written")
    for content, word in (("[]", "expected `object`. Received: `array`."), ('{"name": "x", "width": 3}', "width"),
                          ("{", "readable JSON")):
        (tmp_path / "best.json").write_text(content)
        assert_mistake(["train", tmp_path / "best.json", "--data", tmp_path, "--out", tmp_path / "r"], "best.json",
                       word)
    assert not (tmp_path / "r").exists()
