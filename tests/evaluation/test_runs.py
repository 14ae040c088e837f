"""Decompositions from annotations and from a run's confusions, and capacity controls, through a run's whole life."""
import dataclasses
import json
import pathlib
import shutil
import types

import numpy as np
import pytest

from polysed_keras.datasets.loading import load_dataset
from polysed_keras.errors import InputError
from polysed_keras.evaluation import runs as evaluation_runs
from polysed_keras.evaluation.reports import report_tables
from polysed_keras.evaluation.runs import (
    estimate_recordings,
    evaluate_run,
    evaluate_runs,
    find_groups,
    name_runs,
    run_confusion,
)
from polysed_keras.evaluation.tables import format_tables
from polysed_keras.events.event_lists import event_list_to_event_roll, read_events
from polysed_keras.export.runs import export_run
from polysed_keras.export.saved_model import load_saved_model
from polysed_keras.models.predict import predict_posteriors
from polysed_keras.specs.overrides import set_fields
from polysed_keras.specs.presets import get_preset
from polysed_keras.specs.tasks import Decomposition, task_labels
from polysed_keras.training import runs as experiments
from polysed_keras.training.fit import load_best_model
from polysed_keras.training.runs import load_run, run_experiment
from polysed_keras.training.sources import RecordingSource, label_affinity

from clip_fixtures import write_files
from fixtures import CLIPS, LABELS, MULTI_LABEL, POWERSET, shared_clips, shared_corpus, shared_run, write_corpus

PAIRS = "0.5\t2\tbeep\n0.6\t2\thum\n3\t4\thiss\n3\t4.5\twhistle\n"  # beep with hum, hiss with whistle


@pytest.fixture(scope="module")
def paired(tmp_path_factory):
    """A corpus in whose training partition beep sounds with hum, and hiss with whistle; elsewhere as ever."""
    folder = write_corpus(tmp_path_factory.mktemp("paired") / "data")
    for path in (folder / "meta").glob("train*.txt"):
        path.write_text(PAIRS)
    return folder


@pytest.mark.parametrize("strategy, groups", [
    ("contiguous", (("beep", "hiss"), ("hum", "whistle"))), ("cooccurrence", (("beep", "hum"), ("hiss", "whistle"))),
    ("anti_cooccurrence", (("beep", "hiss"), ("hum", "whistle")))])
def test_groups_come_from_the_training_annotations(strategy, groups, paired, tmp_path, monkeypatch):
    assert find_groups(paired, Decomposition(2, strategy)) == groups
    monkeypatch.setattr(experiments, "fit_model", lambda *_, **__: None)
    run_experiment(dataclasses.replace(POWERSET, tasks=Decomposition(2, strategy)), paired, tmp_path, progress=False)
    assert tuple(task.labels for task in load_run(tmp_path).tasks) == groups


@pytest.mark.parametrize("strategy", ["contiguous", "cooccurrence", "anti_cooccurrence"])
def test_a_run_is_asked_for_its_confusions_alone(strategy, paired):
    """Other strategies do not read it, and nor do groups that are given."""
    assert find_groups(paired, Decomposition(2, strategy), "no such run") == find_groups(
        paired, Decomposition(2, strategy))
    groups = (("beep", "hiss"), ("hum", "whistle"))
    assert find_groups(paired, Decomposition(2, "confusion", groups=groups), "no such run") == groups


def test_cooccurrence_of_annotations_by_hand(paired):
    """Of beep and hum 70 of 75 frames of 20 ms, of hiss and whistle 50 of 75."""
    expected = np.eye(4)
    expected[0, 2] = expected[2, 0] = 70 / 75
    expected[1, 3] = expected[3, 1] = 50 / 75
    np.testing.assert_allclose(label_affinity(Decomposition(2, "cooccurrence"), load_dataset(paired)), expected)


def test_groups_of_another_corpus(tmp_path):
    """Dogs bark while guns are shot, and no other labels sound together."""
    name = "train/soundscape_train_bimodal0"
    write_files(tmp_path, {f"audio/{name}.wav": b"", f"annotations/{name}.txt": "0\t2\tdog_bark\n1\t2\tgun_shot\n"})
    groups = find_groups(tmp_path, Decomposition(5, "cooccurrence"), corpus="urban_sed")
    assert ("dog_bark", "gun_shot") in groups and sum(map(len, groups)) == 10


def test_annotations_without_events_have_no_cooccurrence(tmp_path):
    folder = write_corpus(tmp_path / "data")
    for path in (folder / "meta").glob("train*.txt"):
        path.write_text("")
    with pytest.raises(InputError, match="expected annotated events in partition 'train'.*Received: none"):
        find_groups(folder, Decomposition(2, "cooccurrence"))


def test_confusion_is_of_the_validation_partition(tmp_path):
    """In its annotations beep is called hum and hum beep, so that a run that hears right takes them for each other."""
    folder = write_corpus(tmp_path / "data")
    for path in (folder / "meta").glob("validate*.txt"):
        path.write_text(path.read_text().replace("beep", "?").replace("hum", "beep").replace("?", "hum"))
    spec = Decomposition(2, "confusion")
    affinity = run_confusion(shared_run(POWERSET), load_dataset(folder), progress=False)
    others = affinity[~np.isin(np.arange(16).reshape(4, 4), (2, 8))]
    assert affinity[0, 2] == affinity[2, 0] > 0.5 and others.max() < 0.1
    assert find_groups(folder, spec, shared_run(POWERSET), progress=False) == (("beep", "hum"), ("hiss", "whistle"))


def test_confusion_needs_a_run_on_recordings(tmp_path):
    with pytest.raises(InputError, match="'confusion' needs the errors of a trained run.*polysed decompose"):
        find_groups(shared_corpus(), Decomposition(2, "confusion"))
    (tmp_path / "experiment.json").write_text(json.dumps(CLIPS.to_dict()))
    with pytest.raises(InputError, match="expected a run on recordings"):
        find_groups(shared_corpus(), Decomposition(2, "confusion"), tmp_path)
    groups = (("beep", "hum"), ("hiss", "whistle"))
    assert find_groups(shared_corpus(), Decomposition(2, "confusion", groups=groups)) == groups  # given is given


# Capacity controls

@pytest.mark.parametrize("name", ["mcmt_2", "mcmt_2_small"])
def test_controls_have_the_attention_subnets_of_a_preset_and_sigmoids(name):
    for num_tasks, groups in ((2, [LABELS[:2], LABELS[2:]]), (1, [LABELS])):
        control = set_fields(get_preset(name), ["tasks.encoding=multi_label", f"tasks.num_tasks={num_tasks}"])
        assert control.model == get_preset(name).model and control.model.head == "attention"
        tasks = control.tasks.tasks(LABELS)
        assert [task.labels for task in tasks] == groups
        assert [(task.num_outputs, task.activation) for task in tasks] == [(len(group), "sigmoid") for group in groups]


@pytest.mark.slow
def test_a_control_of_a_strategy_is_trained_resumed_evaluated_and_exported(paired, tmp_path):
    short = dataclasses.replace(POWERSET.training, epochs=1)
    control = set_fields(dataclasses.replace(POWERSET, training=short, tasks=Decomposition(2)),
                         ["tasks.encoding=multi_label", "tasks.strategy=cooccurrence"])
    run = tmp_path / "run"
    history = run_experiment(control, paired, run, progress=False)
    assert run_experiment(control, paired, run, resume=True, progress=False).equals(history)
    stored = json.loads((run / "experiment.json").read_text())["tasks"]
    assert [(task["labels"], task["encoding"]) for task in stored] == [(["beep", "hum"], "multi_label"),
                                                                       (["hiss", "whistle"], "multi_label")]
    assert not (run / "combinations.json").exists()
    result = evaluate_run(run, paired, progress=False)
    dataset = load_dataset(paired)
    first = dataset.partitions["test"][0]
    roll = event_list_to_event_roll(read_events(first.annotation), LABELS, 600, 0.02)
    assert result.labels == LABELS and result.reference[0].sum(axis=0).tolist() == roll.sum(axis=0).tolist()
    detector = load_saved_model(export_run(run, tmp_path / "model"))
    assert detector.labels == ("beep", "hum", "hiss", "whistle") == task_labels(detector.tasks)
    posteriors, activity = detector.posteriors(first.audio)
    np.testing.assert_array_equal(activity, posteriors >= 0.5)


@pytest.mark.parametrize("runs, names", [
    ({"runs/new": ("a", 0), "runs/old": ("a x=1", 0)}, ["new", "old"]),
    ({"mcmt_8_seed0": ("a", 0), "mcmt_8_seed1": ("a", 1), "best": ("b", 0)}, ["mcmt_8", "mcmt_8", "best"]),
    ({"mcmt_8-10": ("a", 0), "mcmt_8-11": ("a", 1)}, ["mcmt_8"] * 2),
    ({"mcmt_8_seed0": ("a", 0), "mcmt_5_seed0": ("b", 0)}, ["mcmt_8_seed0", "mcmt_5_seed0"]),  # one of each is a run
    ({"x_8-0": ("a", 0), "x_8-1": ("a", 1)}, ["x_8"] * 2),
    ({"first": ("a b=2", 0), "second": ("a b=2", 1)}, ["a b=2", "a b=2"]),  # nothing in common
    ({"first": ("a", 0), "second": ("a", 0)}, ["first", "second"]),  # of one seed: perhaps of other data
    ({"one/run": ("a", 0), "two/run": ("b", 0), "other": ("c", 0)}, ["one/run", "two/run", "other"]),
    ({"one/run-0": ("a", 0), "one/run-1": ("a", 1), "two/run": ("b", 0)}, ["one/run", "one/run", "two/run"])])
def test_columns_are_named_by_folders(runs, names, monkeypatch):
    experiments = {pathlib.Path(path).resolve(): dataclasses.replace(
        MULTI_LABEL, name=name, training=dataclasses.replace(MULTI_LABEL.training, seed=seed))
        for path, (name, seed) in runs.items()}
    monkeypatch.setattr(evaluation_runs, "load_run", lambda run: experiments[pathlib.Path(run).resolve()])
    assert name_runs(list(runs)) == names


def test_there_may_be_no_runs_and_time_goes_on():
    assert evaluate_runs([], "no data") == []
    for resolution in (0, -1):
        with pytest.raises(InputError, match="time_resolution: expected seconds above 0"):
            evaluate_run("no run", "no data", time_resolution=resolution)


@pytest.mark.parametrize("labels", [("beep", "hiss", "hum", "owl"), ("beep", "hiss", "hum", "zip"), LABELS[:3]])
def test_runs_of_other_labels_are_refused(labels):
    run = shared_run(MULTI_LABEL)
    source = types.SimpleNamespace(experiment=load_run(run), dataset=types.SimpleNamespace(
        labels=labels, folder="data"))
    with pytest.raises(InputError, match="data: expected the labels of .*whistle"):
        estimate_recordings(source, run, [], 0.02)


def test_frames_have_the_output_that_is_there_in_their_middle(tmp_path):
    """Frames of half the length have each output twice, those of twice the length the second of two; and at the end of
    a recording its last output goes on."""
    run = shared_run(MULTI_LABEL)
    source = RecordingSource(load_run(run), shared_corpus(), progress=False)
    recording, *_ = source.load("test", 0.02)
    recording = dataclasses.replace(recording, log_mel=recording.log_mel[:301], event_roll=recording.event_roll[:301])
    outputs, = estimate_recordings(source, run, [recording], 0.02)
    assert len(outputs.posteriors) == 301
    np.testing.assert_array_equal(outputs.activity, outputs.posteriors >= 0.5)
    model = load_best_model(source.experiment, run)
    expected = predict_posteriors(model, recording.log_mel, source.experiment.tasks, 32)
    np.testing.assert_allclose(outputs.posteriors, expected["events"], rtol=1e-5)
    assert (np.abs(np.diff(outputs.posteriors[-2:], axis=0)) > 1e-3 * outputs.posteriors[-1]).any()
    roll = recording.event_roll
    for resolution, frames, rows in ((0.01, 2 * len(roll), np.repeat(np.arange(len(roll)), 2)),
                                     (0.04, len(roll) // 2, np.arange(1, len(roll), 2)),
                                     (0.02, len(roll) + 3, [*range(len(roll)), *[len(roll) - 1] * 3])):
        other = dataclasses.replace(recording, event_roll=np.zeros((frames, 4), np.uint8))
        estimate, = estimate_recordings(source, run, [other], resolution)
        np.testing.assert_array_equal(estimate.posteriors, outputs.posteriors[rows[:frames]])


def test_tables_have_these_columns(tmp_path):
    runs = [shutil.copytree(shared_run(experiment), tmp_path / name)
            for name, experiment in (("mine", MULTI_LABEL), ("theirs", POWERSET))]
    results = evaluate_runs(runs, shared_corpus(), progress=False)
    header = format_tables(*report_tables(results, resamples=10)).splitlines()
    assert [result.name for result in results] == ["mine", "theirs"] and any(
        {"mine", "theirs"} <= set(line.split()) for line in header)
    tables = [[table.low.tolist() for table in report_tables(results, resamples=10, **seed)]
              for seed in ({}, {"seed": 0}, {"seed": 1})]
    assert str(tables[0]) == str(tables[1]) != str(tables[2])
    clips = shutil.copytree(shared_run(CLIPS), tmp_path / "clips")
    (result,) = evaluate_runs([clips], shared_clips(), progress=False)
    assert {task.name for task in result.tasks} == {"clips"}
