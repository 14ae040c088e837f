"""Training: losses, normalisation, validation, what a run's folder holds, and going on after an interruption."""
import dataclasses
import functools
import json
import os
import pathlib
import random
import shutil
import time

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, log_loss

from polysed_keras.datasets.loading import load_dataset
from polysed_keras.errors import InputError
from polysed_keras.events.alarms import find_alarms, recall_at_alarms
from polysed_keras.events.decoding import posteriors_to_events
from polysed_keras.files import locked
from polysed_keras.models.compiling import compile_model, task_losses
from polysed_keras.models.network import build_model
from polysed_keras.models.predict import decode_activity, predict_posteriors
from polysed_keras.specs.presets import get_preset
from polysed_keras.specs.tasks import Task, task_labels
from polysed_keras.training import checkpoints, runs as experiments, sources
from polysed_keras.training.checkpoints import BEST_WEIGHTS, read_history
from polysed_keras.training.fit import (
    fit_model,
    load_best_model,
    new_model,
    restore_checkpoint,
    set_normalization,
)
from polysed_keras.training.recordings import RecordingFeatures, load_recordings
from polysed_keras.training.runs import load_run, run_experiment
from polysed_keras.training.sources import recording_feed, validate

from fixtures import FEATURES, MULTI_LABEL, POWERSET, run_python, shared_corpus, shared_run, start_python

TASKS = (Task("first", ("a", "b"), "powerset"), Task("second", ("c", "d", "e"), "multi_label"))
CLIP_TASKS = (Task("scene", ("street", "park", "metro"), "multi_class"), Task("events", ("a", "b"), "multi_label"))
EPOCHS = 6


def tiny_model(tasks=TASKS, shape=(8, 16)):
    keras.utils.set_random_seed(0)
    return build_model(MULTI_LABEL.model, tasks, shape)


def random_recordings(*lengths, labels=5, n_mels=16, seed=0):
    rng = np.random.default_rng(seed)
    return [RecordingFeatures(f"r{index}", rng.normal(-40, 10, (length, n_mels)).astype(np.float32),
                              rng.integers(0, 2, (length, labels)).astype(np.uint8))
            for index, length in enumerate(lengths)]


def load_checkpoint(folder, experiment=None):
    """The network of a run's last epoch, compiled; `experiment` where the folder holds none."""
    experiment = experiment or load_run(folder)
    shape = (experiment.training.segment_frames, experiment.features.n_mels)
    model = build_model(experiment.model, experiment.tasks, shape)
    compile_model(model, experiment.tasks, learning_rate=experiment.training.learning_rate)
    restore_checkpoint(model, folder)
    return model


def validated(model, recordings, experiment):
    """The scores of a network, as training computes them after an epoch."""
    return validate([predict_posteriors(model, recording.log_mel, experiment.tasks, experiment.training.segment_frames)
                     for recording in recordings], [recording.event_roll for recording in recordings], experiment)


def cross_entropies(activity, posteriors):
    """Mean cross-entropy of each task of TASKS, by scikit-learn."""
    first = log_loss(activity[:, 0] + 2 * activity[:, 1], posteriors["first"].astype(float), labels=range(4))
    second = np.mean([log_loss(activity[:, 2 + label], posteriors["second"][:, label].astype(float), labels=[0, 1])
                      for label in range(3)])
    return np.array([first, second])


# Losses

@pytest.mark.parametrize("weights", [None, {"first": 0.9, "second": 0.1}])
def test_the_loss_is_the_weighted_cross_entropy_of_the_tasks(weights):
    model = compile_model(tiny_model(), TASKS, learning_rate=1e-3, loss_weights=weights)
    recording, = random_recordings(8)
    set_normalization(model, [recording])
    log_mel, activity = recording.log_mel[None], recording.event_roll[None]
    targets = {"first": TASKS[0].encode(activity[..., :2]), "second": TASKS[1].encode(activity[..., 2:])}
    posteriors = {name: output.numpy().reshape(8, -1) for name, output in model(log_mel).items()}
    expected = cross_entropies(recording.event_roll, posteriors) @ (list(weights.values()) if weights else [0.5, 0.5])
    assert model.test_on_batch(log_mel, targets, return_dict=True)["loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("spec, tasks, shape", [
    (MULTI_LABEL.model, TASKS, (8, 16)), (get_preset("scene_event_joint").model, CLIP_TASKS, (32, 16))],
    ids=["frames", "clips"])
def test_training_traces_the_network_once(spec, tasks, shape, monkeypatch):
    traced, train_step = [], keras.Model.train_step
    monkeypatch.setattr(keras.Model, "train_step", lambda model, data: traced.append(1) or train_step(model, data))
    model = compile_model(build_model(dataclasses.replace(spec, filters=spec.filters[:2]), tasks, shape), tasks,
                          learning_rate=1e-3)
    assert set(map(float, model.get_metrics_result().values())) == {0.0}
    activity = {name: np.zeros((2, *output.shape[1:-1], len(task.labels)))
                for (name, output), task in zip(model.output.items(), tasks, strict=True)}
    targets = {task.name: task.encode(activity[task.name]) for task in tasks}
    model.fit(np.zeros((2, *shape), "float32"), targets, verbose=0)
    assert len(traced) == 1


def test_rows_of_weight_zero_do_not_count():
    loss = task_losses(TASKS)["first"]
    targets, posteriors = np.array([[0], [3]]), np.array([[[0.7, 0.1, 0.1, 0.1]], [[0.2, 0.2, 0.2, 0.4]]])
    weighted = loss(targets, posteriors, sample_weight=np.array([[1.0], [0.0]]))
    assert float(weighted) == pytest.approx(-np.log(0.7), rel=1e-5)
    assert float(loss(targets, posteriors)) == pytest.approx(-np.log([0.7, 0.4]).mean(), rel=1e-5)


# Normalisation and validation

def test_normalisation_is_the_mean_and_variance_of_all_frames():
    recordings, model = random_recordings(50, 7, 1000), tiny_model()
    set_normalization(model, recordings)
    frames = np.concatenate([recording.log_mel for recording in recordings]).astype(np.float64)
    mean, variance = model.get_layer("normalization").get_weights()[:2]
    np.testing.assert_allclose(mean.ravel(), frames.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(variance.ravel(), frames.var(axis=0), rtol=1e-5)
    normalised = model.get_layer("normalization")(frames[None].astype(np.float32)).numpy()[0]
    np.testing.assert_allclose([normalised.mean(axis=0), normalised.std(axis=0)], [[0] * 16, [1] * 16], atol=1e-4)


def test_normalisation_leaves_digital_silence_out():
    model, recordings = tiny_model(), random_recordings(40, 60)
    set_normalization(model, recordings)
    expected = model.get_layer("normalization").get_weights()
    silence = RecordingFeatures("silence", np.full((50, 16), -100, np.float32), np.zeros((50, 5), np.uint8))
    set_normalization(model, [recordings[0], silence, recordings[1]])
    for weight, same in zip(model.get_weights()[:2], expected):
        np.testing.assert_allclose(weight, same, rtol=1e-6)


def test_normalisation_of_a_silent_band_is_finite():
    model = tiny_model()
    set_normalization(model, [RecordingFeatures("silence", np.full((9, 16), -100, np.float32), np.zeros((9, 5)))])
    assert np.isfinite(model.get_layer("normalization")(np.full((1, 8, 16), -60.0))).all()


def test_validation_is_scikit_learns():
    model, recordings = tiny_model(), random_recordings(30, 8, 21)
    set_normalization(model, recordings)
    model.set_weights([weight * (1.5 if weight.ndim > 1 else 1) for weight in model.get_weights()])  # far from 1 / 2
    model.get_layer("normalization").finalize_state()
    parts = [predict_posteriors(model, recording.log_mel, TASKS, 8) for recording in recordings]
    posteriors = {task.name: np.concatenate([part[task.name] for part in parts]) for task in TASKS}
    activity = np.concatenate([recording.event_roll for recording in recordings])
    result = validate(parts, [recording.event_roll for recording in recordings],
                      dataclasses.replace(MULTI_LABEL, tasks=TASKS))
    assert set(result) == {"val_loss", "val_f1"}
    assert result["val_f1"] == pytest.approx(f1_score(activity, decode_activity(posteriors, TASKS), average="micro"))
    assert result["val_loss"] == pytest.approx(cross_entropies(activity, posteriors).mean(), rel=1e-4)


def test_validation_counts_what_is_found_with_few_false_events(monkeypatch):
    """Of an hour: ten events at 0.9 and ten at 0.4; 15 false ones at 0.6 and 15 at 0.5, of which 20 may be."""
    monkeypatch.setattr(sources, "MEASURED_ALARMS", 20)
    features = dataclasses.replace(FEATURES, win_length=4000, hop_length=4000, n_fft=4096)
    experiment = dataclasses.replace(MULTI_LABEL, features=features, tasks=(Task("events", ("a", "b"), "multi_label"),))
    roll, posteriors = np.zeros((7200, 2), np.uint8), np.full((7200, 2), 0.01, np.float32)
    for begin, number, label, posterior, is_there in ((0, 10, 0, 0.9, 1), (2000, 10, 1, 0.4, 1), (4000, 15, 0, 0.6, 0),
                                                      (5000, 15, 1, 0.5, 0)):
        for first in range(begin, begin + 20 * number, 20):
            roll[first:first + 4, label], posteriors[first:first + 4, label] = is_there, posterior
    halves = [({"events": posteriors[part]}, roll[part]) for part in (slice(3000), slice(3000, None))]
    results = {measure: validate(*zip(*halves), dataclasses.replace(
        experiment, training=dataclasses.replace(experiment.training, measure=measure)))
        for measure in ("f1", "recall", "f1_and_recall")}
    assert set(results["f1"]) == {"val_loss", "val_f1"}
    assert results["recall"] == results["f1_and_recall"]
    found = results["recall"]
    assert found["val_recall"] == 0.5 and found["val_f1"] == results["f1"]["val_f1"]
    assert found["val_f1_and_recall"] == pytest.approx((found["val_f1"] + 0.5) / 2)
    events = posteriors_to_events(posteriors, "ab", 0.5, threshold=0.0)
    assert found["val_recall"] == recall_at_alarms([find_alarms(roll, events, "ab", 0.5)], 20)[-1]
    monkeypatch.setattr(sources, "MEASURED_ALARMS", 30)
    assert validate(*zip(*halves), dataclasses.replace(experiment, training=dataclasses.replace(
        experiment.training, measure="recall")))["val_recall"] == 1


def test_validation_without_events_has_the_lowest_scores():
    """So that there is a best epoch all the same."""
    experiment = dataclasses.replace(MULTI_LABEL, tasks=(Task("events", ("a", "b"), "multi_label"),),
                                     training=dataclasses.replace(MULTI_LABEL.training, measure="f1_and_recall"))
    for posteriors in (np.full((50, 2), 0.1, np.float32), np.full((50, 2), 0.9, np.float32)):
        result = validate([{"events": posteriors}], [np.zeros((50, 2), np.uint8)], experiment)
        assert result["val_f1"] == result["val_recall"] == result["val_f1_and_recall"] == 0


# A run's folder

def test_a_run_is_learnt_and_written_down():
    folder = shared_run(MULTI_LABEL)
    history = pd.read_csv(folder / "history.csv")
    assert list(history.epoch) == [1, 2, 3]
    assert {"loss", "val_loss", "val_f1"} <= set(history.columns) and np.isfinite(history).all(axis=None)
    assert history.loss.iloc[-1] < history.loss.iloc[0]
    state = json.loads((folder / "state.json").read_text())
    assert state["checkpoint"] == "epoch-3.weights.h5"
    pd.testing.assert_frame_equal(pd.DataFrame(state["history"]), history)
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.weights.h5", "checksums.json", "epoch-3.weights.h5", "experiment.json", "history.csv", "state.json",
        "tensorboard"]
    assert list((folder / "tensorboard").rglob("events.out.tfevents.*"))
    assert load_run(folder).tasks == (Task("events", ("beep", "hiss", "hum", "whistle"), "multi_label"),)


@pytest.mark.parametrize("experiment", [MULTI_LABEL, POWERSET], ids=lambda experiment: experiment.name)
def test_the_best_epoch_is_kept(experiment):
    folder = shared_run(experiment)
    resolved, history = load_run(folder), pd.read_csv(folder / "history.csv")
    recordings = load_recordings(load_dataset(shared_corpus()), "validate", task_labels(resolved.tasks), FEATURES,
                                 progress=False)
    result = validated(load_best_model(resolved, folder), recordings, resolved)
    best = history.loc[history.val_f1.idxmax()]
    assert result["val_f1"] == pytest.approx(best.val_f1, abs=1e-6)
    assert result["val_loss"] == pytest.approx(best.val_loss, abs=1e-5)
    latest = validated(load_checkpoint(folder), recordings, resolved)
    assert latest["val_f1"] == pytest.approx(history.val_f1.iloc[-1], abs=1e-6)


def test_an_earlier_best_epoch_stays(tmp_path, monkeypatch):
    scores = iter([0.2, 0.6, 0.4])
    monkeypatch.setattr(sources, "validate", lambda *_: {"val_loss": 1.0, "val_f1": next(scores)})
    kept = []

    def to_csv(_, path, **__):
        kept.append(best_bytes(tmp_path))
        path.write_text("")

    monkeypatch.setattr(checkpoints.pd.DataFrame, "to_csv", to_csv)
    fit_tiny(tmp_path, epochs=3)
    assert kept[0] != kept[1] == kept[2]


def best_bytes(folder):
    return [weight.tobytes() for weight in load_best_model(resolved_tiny(3), folder).get_weights()]


def resolved_tiny(epochs):
    return dataclasses.replace(MULTI_LABEL, tasks=(Task("events", tuple("abcde"), "multi_label"),),
                               training=dataclasses.replace(MULTI_LABEL.training, epochs=epochs))


def fit_tiny(folder, epochs, **arguments):
    recordings, experiment = random_recordings(200, 100), resolved_tiny(epochs)
    feed = functools.partial(recording_feed, experiment, recordings, recordings, cache=folder / "features")
    return fit_model(experiment, feed, folder, progress=False, **arguments)


def test_the_learning_rate_loss_and_normalisation_are_the_experiments():
    recordings = random_recordings(50)
    model = new_model(resolved_tiny(1), recordings, steps_per_epoch=1)
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-2)
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    np.testing.assert_allclose(model.get_layer("normalization").get_weights()[0].ravel(),
                               recordings[0].log_mel.mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize("broken", [None, b"", b"not a file of weights"])
def test_a_run_without_weights_is_an_error(broken, tmp_path):
    if broken is not None:
        (tmp_path / "best.weights.h5").write_bytes(broken)
    with pytest.raises(InputError, match=str(tmp_path)):
        load_best_model(resolved_tiny(1), tmp_path)


def test_weights_of_another_network_are_an_error():
    with pytest.raises(InputError, match="expected the weights of tiny"):
        load_best_model(resolved_tiny(1), shared_run(POWERSET))


@pytest.mark.parametrize("broken", [None, b"", b"not a network"])
def test_a_checkpoint_that_cannot_be_read_is_an_error(broken, tmp_path):
    (tmp_path / "state.json").write_text('{"checkpoint": "epoch-1.weights.h5", "history": [], "seeds": []}')
    if broken is not None:
        (tmp_path / "epoch-1.weights.h5").write_bytes(broken)
    with pytest.raises(InputError, match="epoch-1.weights.h5: expected the checkpoint"):
        load_checkpoint(tmp_path, resolved_tiny(1))


@pytest.mark.parametrize("state, message", [
    ('[]', "expected `object`"), ('{"history": []}', "the field `checkpoint`"),
    ('{"checkpoint": "../a.weights.h5", "history": [], "seeds": []}', "expected names of files in"),
    ('{"checkpoint": "epoch-1.weights.h5", "history": [{"epoch": "x"}], "seeds": []}', "expected `int | float`"),
    ('{"checkpoint": "epoch-1.weights.h5", "history": [], "seeds": [[1, 2], [3, 4]]}', "the random states of")])
def test_a_tampered_state_is_an_error(state, message, tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1), keras.layers.Dropout(0.5)])
    model.save_weights(tmp_path / "epoch-1.weights.h5")
    (tmp_path / "state.json").write_text(state)
    with pytest.raises(InputError, match=f"state.json.*{message}"):
        restore_checkpoint(model, tmp_path)


def test_damaged_weights_are_refused(tmp_path):
    """tests/test_pipeline.py flips bits of every file of a run."""
    run = shutil.copytree(shared_run(POWERSET), tmp_path / "run")
    experiment = load_run(run)
    (run / BEST_WEIGHTS).write_bytes((run / BEST_WEIGHTS).read_bytes() + b"0")
    with pytest.raises(InputError, match="best.weights.h5: expected weights that the training of this run wrote"):
        load_best_model(experiment, run)


def test_a_checkpoint_of_another_network_is_an_error(tmp_path):
    fit_tiny(tmp_path, 1)
    other = dataclasses.replace(resolved_tiny(1), model=dataclasses.replace(MULTI_LABEL.model, recurrent_units=16))
    with pytest.raises(InputError, match="epoch-1.weights.h5: expected the checkpoint"):
        load_checkpoint(tmp_path, other)


# Interruptions

LONGER = dataclasses.replace(MULTI_LABEL, training=dataclasses.replace(MULTI_LABEL.training, epochs=EPOCHS))
TRAIN = f"""
import sys, dataclasses
from fixtures import MULTI_LABEL
from polysed_keras.training import run_experiment
spec = dataclasses.replace(MULTI_LABEL.training, epochs={EPOCHS})
run_experiment(dataclasses.replace(MULTI_LABEL, training=spec), sys.argv[1], sys.argv[2], resume=True, progress=False)
"""


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The folder of a run of 6 epochs that nothing interrupted."""
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    run_experiment(LONGER, shared_corpus(), folder, progress=False)
    return folder


def assert_same_runs(first, second):
    """History, last checkpoint with its optimiser, and best weights to 1e-6."""
    histories = [json.loads((folder / "state.json").read_text())["history"] for folder in (first, second)]
    pd.testing.assert_frame_equal(*map(pd.DataFrame, histories), rtol=0, atol=1e-6)
    models = [load_checkpoint(folder) for folder in (first, second)]
    bests = [load_best_model(load_run(folder), folder) for folder in (first, second)]
    for one, other in (models, bests):
        for weight, same in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_allclose(weight, same, rtol=0, atol=1e-6)
    for state, same in zip(*(model.optimizer.variables for model in models), strict=True):
        np.testing.assert_allclose(state, same, rtol=0, atol=1e-6)


def kill_after_first_epoch(folder):
    """Start the training and kill it (-9) at some moment after its first checkpoint; the moment, for the report."""
    process, delay = start_python(TRAIN, shared_corpus(), folder), random.uniform(0, 0.7)
    while not (folder / "state.json").exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(delay)
    process.kill()
    process.communicate()
    assert process.returncode == -9
    return delay


@pytest.mark.slow
def test_a_killed_and_resumed_training_equals_an_unbroken_one(unbroken, tmp_path):
    delay = kill_after_first_epoch(tmp_path / "run")
    finished = len(json.loads((tmp_path / "run" / "state.json").read_text())["history"])
    print(f"killed {delay:.3f} s after the first checkpoint, {finished} epochs finished")
    assert 1 <= finished < EPOCHS
    run_python(TRAIN, shared_corpus(), tmp_path / "run")
    assert_same_runs(unbroken, tmp_path / "run")
    files = [{path.name for path in folder.iterdir()} for folder in (unbroken, tmp_path / "run")]
    assert files[0] == files[1]  # nothing half-written is left


@pytest.fixture(scope="module")
def unbroken_history(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    return fit_tiny(folder, 4)


@pytest.mark.slow
@pytest.mark.parametrize("step, finished", [
    ("state.json", 2), ("history.csv", 3)])
def test_an_interruption_before_any_file_of_a_checkpoint_loses_an_epoch_at_most(step, finished, unbroken_history,
                                                                                tmp_path, monkeypatch):
    replace = os.replace

    def interrupt(source, target):
        if target == tmp_path / step and epochs_of(tmp_path) >= finished:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("os.replace", interrupt)
        fit_tiny(tmp_path, 4)
    assert epochs_of(tmp_path) == finished
    resumed = fit_tiny(tmp_path, 4, history=read_history(tmp_path))
    pd.testing.assert_frame_equal(resumed, unbroken_history, rtol=0, atol=1e-6)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "history.csv"), resumed)
    assert sorted(path.name for path in tmp_path.glob("[!t]*")) == [
        "best.weights.h5", "checksums.json", "epoch-4.weights.h5", "history.csv", "state.json"]


def epochs_of(folder):
    state = folder / "state.json"
    return len(json.loads(state.read_text())["history"]) if state.exists() else 0


def test_a_finished_run_is_not_trained_further_and_reads_no_audio(monkeypatch):
    folder = shared_run(MULTI_LABEL)
    monkeypatch.setattr(sources, "load_recordings", None)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != "experiment.json"}
    history = run_experiment(MULTI_LABEL, shared_corpus(), folder, resume=True, progress=False)
    assert list(history.epoch) == [1, 2, 3]
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != "experiment.json"} == before


def test_another_experiment_is_not_resumed():
    other = dataclasses.replace(MULTI_LABEL, training=dataclasses.replace(MULTI_LABEL.training, learning_rate=0.5))
    for experiment in (POWERSET, other, LONGER):  # the schedule of the learning rate ends with the epochs asked for
        with pytest.raises(InputError, match="holds another experiment than asked for \\(tiny"):
            run_experiment(experiment, shared_corpus(), shared_run(MULTI_LABEL), resume=True, progress=False)
    assert load_run(shared_run(MULTI_LABEL)).training.learning_rate == 1e-2


def test_a_run_has_one_training_at_a_time(tmp_path):
    with locked(tmp_path), pytest.raises(InputError, match="expected no other process at work in it"):
        run_experiment(MULTI_LABEL, shared_corpus(), tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


def test_other_data_are_not_resumed_with(tmp_path):
    run = shutil.copytree(shared_run(MULTI_LABEL), tmp_path / "run")
    data = shutil.copytree(shared_corpus(), tmp_path / "data")
    assert len(run_experiment(MULTI_LABEL, data, run, resume=True, progress=False)) == 3  # the same data, moved
    state = (run / "state.json").read_bytes()
    (data / "meta" / "train0.txt").write_text("")
    with pytest.raises(InputError, match="holds another experiment .* differs in data_digest.*annotations"):
        run_experiment(MULTI_LABEL, data, run, resume=True, progress=False)
    assert (run / "state.json").read_bytes() == state


@pytest.mark.parametrize("seconds", [-1e6, 0, 1e6], ids=["older", "same time", "newer"])
def test_other_audio_is_not_resumed_with(seconds, tmp_path):
    run = shutil.copytree(shared_run(MULTI_LABEL), tmp_path / "run")
    data = shutil.copytree(shared_corpus(), tmp_path / "data")
    path = data / "audio" / "train0.wav"
    content, before = path.read_bytes(), path.stat()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + int(seconds * 1e9)))
    for _ in range(2):  # a refusal leaves nothing that would be accepted
        with pytest.raises(InputError, match="differs in the audio of data_digest.*annotations, audio"):
            run_experiment(MULTI_LABEL, data, run, resume=True, progress=False)
    path.write_bytes(content)
    assert len(run_experiment(MULTI_LABEL, data, run, resume=True, progress=False)) == 3


@pytest.mark.parametrize("digest", ["lists", None], ids=["of the lists alone", "none"])
def test_a_run_of_an_older_version_is_read_and_what_it_does_not_know_is_said(digest, tmp_path, caplog):
    """Its labels and annotations are compared, if it knows them; from now on its audio is too."""
    run = shutil.copytree(shared_run(MULTI_LABEL), tmp_path / "run")
    data = shutil.copytree(shared_corpus(), tmp_path / "data")
    older = json.loads((run / "experiment.json").read_text())
    older.pop("sha256")
    older["features"].pop("mel_scale")  # a field that was added later
    lists = older.pop("data_digest").split("-")[0]
    (run / "experiment.json").write_text(json.dumps(older | ({"data_digest": lists} if digest else {})))
    if digest:
        annotation = (data / "meta" / "train0.txt").read_text()
        (data / "meta" / "train0.txt").write_text("")
        with pytest.raises(InputError, match="differs in data_digest"):
            run_experiment(MULTI_LABEL, data, run, resume=True, progress=False)
        (data / "meta" / "train0.txt").write_text(annotation)
    assert len(run_experiment(MULTI_LABEL, data, run, resume=True, progress=False)) == 3
    warned, = [record.getMessage() for record in caplog.records if "older version" in record.getMessage()]
    assert warned.startswith(f"{run}: ") and "train anew in another folder" in warned
    caplog.clear()
    assert len(run_experiment(MULTI_LABEL, data, run, resume=True, progress=False)) == 3
    assert "older version" not in caplog.text
    shutil.copyfile(data / "audio" / "train1.wav", data / "audio" / "train0.wav")
    with pytest.raises(InputError, match="differs in the audio of data_digest"):
        run_experiment(MULTI_LABEL, data, run, resume=True, progress=False)


@pytest.mark.parametrize("digest", [3, [], {}, "", None, "0" * 12, "x-y"])
def test_a_tampered_digest_of_data_is_no_traceback(digest, tmp_path):
    run = shutil.copytree(shared_run(MULTI_LABEL), tmp_path / "run")
    content = json.loads((run / "experiment.json").read_text()) | {"data_digest": digest}
    content.pop("sha256")
    (run / "experiment.json").write_text(json.dumps(content))
    if digest == "":  # as if there were none
        assert len(run_experiment(MULTI_LABEL, shared_corpus(), run, resume=True, progress=False)) == 3
    else:
        with pytest.raises(InputError, match="differs in data_digest"):
            run_experiment(MULTI_LABEL, shared_corpus(), run, resume=True, progress=False)


def test_a_run_is_not_overwritten():
    state = (shared_run(MULTI_LABEL) / "state.json").read_bytes()
    with pytest.raises(InputError, match="holds a run already. Add --resume"):
        run_experiment(MULTI_LABEL, shared_corpus(), shared_run(MULTI_LABEL), progress=False)
    assert (shared_run(MULTI_LABEL) / "state.json").read_bytes() == state


def test_a_run_that_finished_no_epoch_is_begun_anew(tmp_path, monkeypatch):
    (tmp_path / "experiment.json").write_text(json.dumps(dataclasses.replace(POWERSET, tasks=()).to_dict()))
    monkeypatch.setattr(experiments, "fit_model", lambda experiment, *_, **__: experiment)
    assert run_experiment(MULTI_LABEL, shared_corpus(), tmp_path, progress=False) == load_run(tmp_path)
    assert load_run(tmp_path).name == "tiny"


# Options

MIRRORED = """
import sys, numpy as np, tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import pathlib
sys.path.insert(0, sys.argv[2])
import test_fit
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
history = test_fit.fit_tiny(pathlib.Path(sys.argv[1]), 1, strategy=strategy)
with strategy.scope():
    resumed = test_fit.load_checkpoint(sys.argv[1], test_fit.resolved_tiny(1))
assert resumed.optimizer.iterations.numpy() == 15  # the steps of an epoch
print(history.to_json())
"""


@pytest.mark.slow
def test_two_devices_train_together(tmp_path):
    history = pd.DataFrame(json.loads(run_python(MIRRORED, tmp_path, pathlib.Path(__file__).parent).splitlines()[-1]))
    assert list(history.epoch) == [1] and np.isfinite(history).all(axis=None)
    assert len(load_best_model(resolved_tiny(1), tmp_path).get_weights()) > 10


# Each half of the batch has the same segments, because batch normalisation takes the statistics of a device's half.
STEPS = """
import sys, dataclasses, numpy as np, tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
sys.path.insert(0, sys.argv[1])
import test_fit
from polysed_keras.training.fit import new_model
experiment = test_fit.resolved_tiny(1)
experiment = dataclasses.replace(experiment, model=dataclasses.replace(experiment.model, dropout=0.0))
recordings, rng = test_fit.random_recordings(200), np.random.default_rng(0)
log_mel = np.tile(rng.normal(-40, 10, (4, *experiment.input_shape)).astype(np.float32), (2, 1, 1))
for strategy in tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = new_model(experiment, recordings, steps_per_epoch=1)
    outputs = [*model.output.values()][0].shape[1]
    activity = np.random.default_rng(1).integers(0, 2, (4, outputs, len(experiment.tasks[0].labels)))
    targets = {experiment.tasks[0].name: experiment.tasks[0].encode(np.tile(activity, (2, 1, 1)))}
    batch = tf.data.Dataset.from_tensors((log_mel, targets)).repeat()
    losses = model.fit(batch, steps_per_epoch=1, epochs=3, verbose=0, shuffle=False).history["loss"]
    print(strategy.num_replicas_in_sync, *losses)
"""


@pytest.mark.slow
def test_steps_on_two_devices_have_the_losses_of_one():
    """The loss of the second and third step tell whether the gradients of both devices were averaged."""
    (one, *alone), (two, *together) = (map(float, line.split()) for line in
                                       run_python(STEPS, pathlib.Path(__file__).parent).splitlines()[-2:])
    assert (one, two) == (1, 2) and together == pytest.approx(alone, rel=1e-5)
    assert len(set(alone)) == 3


def test_a_mixed_precision_run_is_evaluated_in_float32(tmp_path):
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        history = fit_tiny(tmp_path, 1)
        assert load_checkpoint(tmp_path, resolved_tiny(1)).get_layer("dense1").compute_dtype == "float16"
    finally:
        keras.mixed_precision.set_global_policy("float32")
    recordings = random_recordings(200, 100)
    result = validated(load_best_model(resolved_tiny(1), tmp_path), recordings, resolved_tiny(1))
    assert result["val_loss"] == pytest.approx(history.val_loss.iloc[0], abs=1e-2)
