"""The exported artefact: the same numbers as in Python, core ops only, everything needed to use it inside, no halves."""
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from fixtures import FEATURES, LABELS, MULTI_LABEL, POWERSET, TRAINING, shared_export, shared_run
from polysed_keras.errors import InputError
from polysed_keras.experiments import export_run, load_run
from polysed_keras.export import describe, export_saved_model, find_saved_model, load_saved_model
from polysed_keras.features import compute_log_mel
from polysed_keras.inference import decode_activity, predict_posteriors
from polysed_keras.specs import Experiment
from polysed_keras.training import load_best_model

SEGMENT = TRAINING.segment_frames * FEATURES.hop_length
EXPERIMENTS = pytest.mark.parametrize("experiment", [MULTI_LABEL, POWERSET], ids=lambda experiment: experiment.name)


def noise(samples, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def expected_of(experiment, waveform):
    """Posteriors per label and activity as evaluate_run computes them."""
    run = shared_run(experiment)
    tasks, model = load_run(run).tasks, load_best_model(load_run(run), run)
    posteriors = predict_posteriors(model, compute_log_mel(waveform, FEATURES), tasks, TRAINING.segment_frames)
    by_label = [task.label_posteriors(posteriors[task.name]) for task in tasks]
    return np.concatenate(by_label, axis=-1), decode_activity(posteriors, tasks)


@EXPERIMENTS
@pytest.mark.parametrize("samples", [1, SEGMENT, (10 * TRAINING.segment_frames + 17) * FEATURES.hop_length,
                                     3 * SEGMENT + 41])
def test_equals_evaluation_at_any_length(experiment, samples):
    posteriors, activity = expected_of(experiment, noise(samples))
    detector = load_saved_model(shared_export(experiment))
    for segments_per_block in (1, 16):
        exported = detector.posteriors(noise(samples), segments_per_block=segments_per_block)
        np.testing.assert_allclose(exported[0], posteriors, atol=1e-5)
        np.testing.assert_array_equal(exported[1], activity)


@EXPERIMENTS
def test_batches(experiment):
    serve = tf.saved_model.load(str(shared_export(experiment) / "1")).signatures["serving_default"]
    waveforms = np.stack([noise(40 * SEGMENT + 7, seed) for seed in range(3)])  # more segments than one step takes
    outputs = serve(waveform=tf.constant(waveforms))
    assert outputs["posteriors"].dtype == tf.float32 and outputs["activity"].dtype == tf.uint8
    for index, waveform in enumerate(waveforms):
        posteriors, activity = expected_of(experiment, waveform)
        np.testing.assert_allclose(outputs["posteriors"][index], posteriors, atol=1e-5)
        np.testing.assert_array_equal(outputs["activity"][index], activity)


@pytest.mark.parametrize("shape, frames", [((0, 4000), 25), ((2, 0), 0), ((1, 161), 2)])
def test_unusual_shapes(shape, frames):
    serve = tf.saved_model.load(str(shared_export(POWERSET) / "1")).signatures["serving_default"]
    outputs = serve(waveform=tf.zeros(shape))
    assert outputs["posteriors"].shape == outputs["activity"].shape == (shape[0], frames, len(LABELS))


@EXPERIMENTS
def test_only_core_ops(experiment):
    saved = saved_model_pb2.SavedModel.FromString((shared_export(experiment) / "1" / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    ops = {node.op for node in graph.node} | {node.op for function in graph.library.function
                                              for node in function.node_def}
    assert {"RFFT", "Conv2D"} <= ops  # the walk sees the network
    functions = {function.signature.name for function in graph.library.function}
    known = set(tf.raw_ops.__dict__) | functions
    assert not [op for op in ops - known if not op.startswith("_")]
    assert not [op for op in ops if "PyFunc" in op or "Cudnn" in op or op.startswith("IO>")]


@EXPERIMENTS
def test_everything_travels_inside(experiment):
    detector = load_saved_model(shared_export(experiment))
    stored = load_run(shared_run(experiment))
    expected = describe(stored)
    assert detector.description.pop("time_resolution") == pytest.approx(expected.pop("time_resolution"))
    assert {**detector.description, "experiment": 0} == {**expected, "experiment": 0}
    assert Experiment.from_dict(detector.description["experiment"]) == stored
    assert detector.sample_rate == FEATURES.sample_rate and detector.time_resolution == pytest.approx(0.02)
    card = json.loads((shared_export(experiment) / "1" / "card.json").read_text())
    assert card["labels"] == list(detector.labels) and 1 <= card["best_epoch"] <= TRAINING.epochs


def test_no_python_of_ours_is_needed(tmp_path):
    waveform = noise(2 * SEGMENT + 5)
    np.save(tmp_path / "waveform.npy", waveform)
    program = ("import sys, numpy as np, tensorflow as tf\n"
               f"model = tf.saved_model.load({str(shared_export(POWERSET) / '1')!r})\n"
               f"waveform = tf.constant(np.load({str(tmp_path / 'waveform.npy')!r})[None])\n"
               "outputs = model.signatures['serving_default'](waveform=waveform)\n"
               f"np.save({str(tmp_path / 'posteriors.npy')!r}, outputs['posteriors'][0])\n"
               "assert not [name for name in sys.modules if name.startswith('polysed')]\n")
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "posteriors.npy"), expected_of(POWERSET, waveform)[0], atol=1e-5)


def test_versions_count_up_and_the_highest_is_loaded(tmp_path):
    run, folder = shared_run(MULTI_LABEL), tmp_path / "name"
    assert [export_run(run, folder).name for _ in range(2)] == ["1", "2"]
    (folder / "notes").mkdir()
    (folder / "2" / "saved_model.pb").unlink()  # not a model any more
    assert load_saved_model(folder).labels == LABELS
    assert find_saved_model(tmp_path) == folder


def test_nothing_half_written_when_it_fails(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("disk full")
    monkeypatch.setattr("polysed_keras.export.write_json", fail)
    run = shared_run(MULTI_LABEL)
    with pytest.raises(RuntimeError, match="disk full"):
        export_saved_model(load_best_model(load_run(run), run), load_run(run), tmp_path / "name")
    assert list((tmp_path / "name").iterdir()) == []


def test_errors(tmp_path):
    with pytest.raises(InputError, match="polysed export"):
        load_saved_model(tmp_path / "no")
    with pytest.raises(InputError, match="no models"):
        find_saved_model(tmp_path)
    other = tf.Module()
    other.double = tf.function(lambda x: 2 * x, input_signature=[tf.TensorSpec([None])])
    tf.saved_model.save(other, str(tmp_path / "other"))
    with pytest.raises(InputError, match="describe"):
        load_saved_model(tmp_path / "other")
