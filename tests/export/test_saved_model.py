"""SavedModels: the numbers that `evaluate` uses, the contents of the graph and of the folder, versions and mistakes."""
import functools
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import multilabel_confusion_matrix

from polysed_keras.datasets.loading import load_dataset
from polysed_keras.errors import InputError
from polysed_keras.evaluation.runs import evaluate_run
from polysed_keras.events.event_lists import event_list_to_event_roll, read_events
from polysed_keras.export.description import default_model, describe
from polysed_keras.export.runs import export_run
from polysed_keras.export.saved_model import export_saved_model, load_saved_model
from polysed_keras.files import check_checksums
from polysed_keras.specs.experiment import Experiment
from polysed_keras.specs.tasks import task_labels
from polysed_keras.training.runs import load_run

from contract import best_model, check_operations, evaluated, nodes
from fixtures import CLIPS, FEATURES, HOP, LABELS, MULTI_LABEL, POWERSET, RATE, shared_corpus, shared_export, shared_run

SEGMENT = MULTI_LABEL.training.segment_frames
EXPERIMENTS = pytest.mark.parametrize("experiment", [MULTI_LABEL, POWERSET], ids=lambda experiment: experiment.name)


def waveforms_of(batch, samples, seed=0):
    """Noise with a tone, so that posteriors are not all alike."""
    rng = np.random.default_rng(seed)
    tone = np.sin(np.arange(samples) * rng.uniform(0.2, 2, (batch, 1)))
    return (0.1 * rng.standard_normal((batch, samples)) + 0.3 * tone).astype(np.float32)


@functools.cache
def loaded(experiment):
    """The export, by TensorFlow alone; once, because it takes a second."""
    return tf.saved_model.load(str(shared_export(experiment) / "1"))


def serve(experiment, waveforms):
    """The default signature of the export, by TensorFlow alone."""
    return loaded(experiment).signatures["serving_default"](waveform=tf.constant(waveforms))


# The numbers

@EXPERIMENTS
@pytest.mark.parametrize("samples", [1, HOP, SEGMENT * HOP, SEGMENT * HOP + 1, (10 * 128 + 17) * HOP, 33_333])
@pytest.mark.parametrize("batch", [1, 3])
def test_posteriors_are_those_of_evaluate(experiment, batch, samples):
    waveforms = waveforms_of(batch, samples)
    outputs = serve(experiment, waveforms)
    shape = (batch, FEATURES.num_frames(samples), len(LABELS))
    assert outputs["posteriors"].shape == outputs["activity"].shape == shape
    assert (outputs["posteriors"].dtype, outputs["activity"].dtype) == (tf.float32, tf.uint8)
    for index, waveform in enumerate(waveforms):
        posteriors, activity = evaluated(experiment, waveform)
        np.testing.assert_allclose(outputs["posteriors"][index], posteriors, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(outputs["activity"][index], activity)


@pytest.mark.parametrize("batch, samples", [(0, 0), (0, 1000), (2, 0)])
def test_nothing_in_is_nothing_out(batch, samples):
    outputs = serve(POWERSET, np.zeros((batch, samples), np.float32))
    assert outputs["posteriors"].shape == outputs["activity"].shape == (
        batch, FEATURES.num_frames(samples), len(LABELS))


def test_silence_and_extremes_are_finite():
    waveforms = np.stack([np.zeros(10_000), np.full(10_000, 1e-30), np.full(10_000, 1e6)]).astype(np.float32)
    assert np.isfinite(serve(POWERSET, waveforms)["posteriors"]).all()


# What travels

@pytest.mark.parametrize("experiment", [MULTI_LABEL, POWERSET, CLIPS], ids=lambda experiment: experiment.name)
def test_only_core_operations_are_in_the_graph(experiment):
    check_operations(shared_export(experiment) / "1")


@EXPERIMENTS
def test_the_network_is_there_once_for_all_signatures(experiment):
    kernels = [weight for weight in best_model(experiment).weights if len(weight.shape) == 4]
    assert len([node for node in nodes(shared_export(experiment) / "1") if node.op == "Conv2D"]) == len(kernels)


@EXPERIMENTS
def test_everything_needed_to_use_it_is_inside(experiment):
    resolved = load_run(shared_run(experiment))
    loaded = tf.saved_model.load(str(shared_export(experiment) / "1"))
    constants = {key: value.numpy()[0] for key, value in loaded.signatures["describe"](query=tf.constant([0])).items()}
    described = describe(resolved, shared_export(experiment).name, 1)
    assert set(constants) == set(described) and constants["version"] == 1
    assert tuple(label.decode() for label in constants["labels"]) == task_labels(resolved.tasks)
    assert (constants["sample_rate"], constants["hop_length"], constants["win_length"]) == (RATE, 160, 320)
    assert (constants["segment_frames"], constants["time_resolution"]) == (SEGMENT, pytest.approx(0.02))
    assert Experiment.from_dict(json.loads(constants["experiment"])) == resolved
    detector = load_saved_model(shared_export(experiment))
    assert detector.description == {**described, "time_resolution": pytest.approx(0.02)}


def test_the_card_says_what_was_exported():
    card = json.loads((shared_export(POWERSET) / "1" / "card.json").read_text())
    history = json.loads((shared_run(POWERSET) / "state.json").read_text())["history"]
    best = max(history, key=lambda row: row["val_f1"])
    resolved = load_run(shared_run(POWERSET))
    assert card == {**describe(resolved, "tiny_tasks-export", 1), "best_epoch": best["epoch"],
                    "validation_f1": best["val_f1"], "polysed_format": 1}


# Labels in another order

def test_groups_in_another_order_are_evaluated_label_by_label():
    result = evaluate_run(shared_run(POWERSET), shared_corpus(), progress=False)
    assert task_labels(load_run(shared_run(POWERSET)).tasks) != LABELS and result.labels == LABELS
    detector, test = load_saved_model(shared_export(POWERSET)), load_dataset(shared_corpus()).partitions["test"]
    assert result.mixtures == tuple(recording.name for recording in test)
    for counts, recording in zip(result.counts, test):
        _, activity = detector.posteriors(recording.audio)
        estimated = activity[:, [detector.labels.index(label) for label in LABELS]]
        reference = event_list_to_event_roll(read_events(recording.annotation), LABELS, len(activity), 0.02)
        confusion = multilabel_confusion_matrix(reference, estimated)  # (labels, 2, 2): [[tn, fp], [fn, tp]]
        np.testing.assert_array_equal(counts.sum(axis=0), confusion[:, [1, 0, 1], [1, 1, 0]])


def test_data_of_other_labels_is_not_evaluated(tmp_path):
    shutil.copytree(shared_corpus(), tmp_path / "corpus")
    (tmp_path / "corpus" / "labels.txt").write_text("beep\nhiss\nhum\nwhistle\nbark\n")
    with pytest.raises(InputError, match="expected the labels of.*'bark'"):
        evaluate_run(shared_run(MULTI_LABEL), tmp_path / "corpus", progress=False)


# Folders

def test_versions_count_up(tmp_path):
    for name in ("9", "2", "notes"):
        (tmp_path / name).mkdir()
    assert export_run(shared_run(MULTI_LABEL), tmp_path) == tmp_path / "10"
    assert {path.name for path in tmp_path.iterdir()} == {"2", "9", "10", "notes"}
    description = load_saved_model(tmp_path).description
    assert (description["name"], description["version"]) == (tmp_path.name, 10)
    assert description["labels"] == list(LABELS)


def test_the_highest_version_is_taken(tmp_path):
    shutil.copytree(shared_export(MULTI_LABEL) / "1", tmp_path / "9")
    shutil.copytree(shared_export(POWERSET) / "1", tmp_path / "10")
    (tmp_path / "11").mkdir()  # without a saved_model.pb
    assert load_saved_model(tmp_path).labels == ("whistle", "beep", "hum", "hiss")
    assert load_saved_model(str(tmp_path / "9")).labels == LABELS


def test_a_default_model_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr("polysed_keras.export.description.DEFAULT_MODEL", tmp_path / "everyday")
    with pytest.raises(InputError, match="--model: expected a choice. Received: none, .*everyday "
                       ".*Export a run, or name a model"):
        default_model()


@pytest.mark.parametrize("step", ["write_out", "write_json"])
def test_an_export_that_fails_leaves_nothing(step, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no space left")

    if step == "write_json":
        monkeypatch.setattr("polysed_keras.export.saved_model.write_json", fail)
    else:
        archive = type(keras.export.ExportArchive())
        write_out = archive.write_out
        monkeypatch.setattr(archive, "write_out",
                            lambda *arguments, **options: (write_out(*arguments, **options), fail()))
    with pytest.raises(RuntimeError, match="no space left"):
        export_saved_model(best_model(MULTI_LABEL), load_run(shared_run(MULTI_LABEL)), tmp_path / "saved_models")
    assert not list(tmp_path.rglob("*.pb")) and not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not list((tmp_path / "saved_models").iterdir())


def test_an_export_below_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        export_run(shared_run(MULTI_LABEL), tmp_path / "file" / "name")


@pytest.mark.parametrize("make, message", [
    (lambda path: None, "expected saved_models/NAME or saved_models/NAME/VERSION"),
    (lambda path: path.mkdir(), "expected saved_models/NAME or saved_models/NAME/VERSION"),
    (lambda path: (path / "latest").mkdir(parents=True), "none there. Export a run first"),
    (lambda path: path.write_text("a file"), "expected saved_models/NAME"),
    (lambda path: (path.mkdir(), (path / "saved_model.pb").write_bytes(b"not a graph")), "expected a SavedModel"),
    (lambda path: (path.mkdir(), (path / "saved_model.pb").write_bytes(b"")), "expected a SavedModel"),
    (lambda path: tf.saved_model.save(tf.Module(), str(path)), "signatures serving_default and describe"),
])
def test_what_is_not_an_export_is_an_error(make, message, tmp_path):
    make(tmp_path / "model")
    with pytest.raises(InputError, match=message) as raised:
        load_saved_model(tmp_path / "model")
    assert str(tmp_path / "model") in str(raised.value)


def test_damaged_exports_are_refused(tmp_path):
    """tests/test_pipeline.py flips bits of every file of an export."""
    version = shutil.copytree(shared_export(MULTI_LABEL) / "1", tmp_path / "1")
    check_checksums(version)
    (version / "fingerprint.pb").write_bytes(b"")
    with pytest.raises(InputError, match="fingerprint.pb: expected the file that checksums.json has the digest of"):
        load_saved_model(version)


@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.index",
                                  "variables/variables.data-00000-of-00001"])
@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_truncated_model_without_checksums_is_an_error(name, share, tmp_path):
    """As of version 0.1, or of others: TensorFlow raises exceptions of many kinds."""
    version = shutil.copytree(shared_export(MULTI_LABEL) / "1", tmp_path / "1")
    (version / "checksums.json").unlink()
    content = (version / name).read_bytes()
    (version / name).write_bytes(content[:int(share * len(content))])
    with pytest.raises(InputError, match="expected a SavedModel") as raised:
        load_saved_model(version)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 600


def test_an_export_without_its_weights_is_an_error(tmp_path):
    shutil.copytree(shared_export(MULTI_LABEL) / "1", tmp_path / "1")
    shutil.rmtree(tmp_path / "1" / "variables")
    with pytest.raises(InputError, match="variables.*checksums.json has the digest of. Received: 'none'"):
        load_saved_model(tmp_path)
    (tmp_path / "1" / "checksums.json").unlink()  # as exports of version 0.1 have none
    with pytest.raises(InputError, match="expected a SavedModel"):
        load_saved_model(tmp_path)


@pytest.mark.parametrize("content", [None, "{", "{}", '{"name": 3, "colour": 4}'])
def test_a_folder_without_a_run_is_not_exported(content, tmp_path):
    if content is not None:
        (tmp_path / "experiment.json").write_text(content)
    with pytest.raises(InputError):
        export_run(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_without_an_epoch_is_not_exported(tmp_path):
    shutil.copy(shared_run(MULTI_LABEL) / "experiment.json", tmp_path)
    with pytest.raises(InputError, match="expected a trained run"):
        export_run(tmp_path, tmp_path / "out")
