"""The prior from what a pretrained backbone knows: who learns by what, and its weights."""
import dataclasses
import os
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, softmax

from polysed_keras.audio.files import find_audio, load_audio
from polysed_keras.audio.log_mel import compute_log_mel
from polysed_keras.export.saved_model import export_saved_model, load_saved_model
from polysed_keras.models.compiling import compile_model
from polysed_keras.models.network import build_model
from polysed_keras.models.predict import cut_segments
from polysed_keras.models.prior import (
    FIELD_WEIGHT,
    PRIOR_WEIGHTS,
    has_prior,
    learning_losses,
    learning_tasks,
    mix_priors,
    separate_priors,
    set_prior_weight,
)
from polysed_keras.models.yamnet import (
    LOG_RANGE,
    LOG_UNIT,
    PATCH_FRAMES,
    class_names,
    convolve,
    log_scores,
    read_weights,
    yamnet,
)
from polysed_keras.specs.experiment import YAMNET_FEATURES, Experiment, ModelSpec, TrainSpec
from polysed_keras.specs.presets import PRESETS, get_preset
from polysed_keras.specs.tasks import Task
from polysed_keras.training.sources import validate

DATA = os.environ.get("POLYSED_TEST_DATA")
TASKS = (Task("first", ("a", "b"), "powerset"), Task("second", ("c", "d"), "multi_label"),
         Task("third", ("e", "f", "g"), "multi_class"))
EXPERIMENT = Experiment(
    "tiny", features=YAMNET_FEATURES, tasks=TASKS, training=TrainSpec(segment_frames=192),
    model=ModelSpec("yamnet", filters=(4, 4, 4, 8), recurrent_units=4, dense_units=(8,), dropout=0.0, output_stride=4,
                    freeze_backbone=True))


# The network

@pytest.fixture(scope="module")
def log_mel():
    return np.random.default_rng(0).normal(-2, 2, (3, 192, 64)).astype(np.float32)


@pytest.fixture
def model():
    """A network whose prior knows something: trained for nothing, it would begin at kernels of zeros."""
    keras.utils.set_random_seed(0)
    model = build_model(EXPERIMENT.model, TASKS, EXPERIMENT.input_shape)
    for task in TASKS:
        layer = model.get_layer(f"{task.name}_prior")
        assert not layer.kernel.numpy().any()
        layer.kernel.assign(np.random.default_rng(1).normal(0, 0.05, layer.kernel.shape))
    return model


def targets(rng):
    """Of three segments, for all learning tasks."""
    activity = {task.name: rng.integers(0, 2, (3, 48, len(task.labels))) for task in TASKS}
    activity["third"] = np.eye(3)[rng.integers(0, 3, (3, 48))]
    return {task.name: task.encode(activity[task.name.removesuffix("_prior")]) for task in learning_tasks(EXPERIMENT)}


def test_separate_outputs_are_those_of_the_learning_tasks(model, log_mel):
    tasks, learner = learning_tasks(EXPERIMENT), separate_priors(model)
    assert [(task.name, task.labels, task.encoding) for task in tasks[3:]] == [
        ("first_prior", ("a", "b"), "multi_label"), ("second_prior", ("c", "d"), "multi_label"),
        ("third_prior", ("e", "f", "g"), "multi_label")]
    assert {name: output.shape for name, output in learner.output.items()} == {
        task.name: (None, 48, task.num_outputs) for task in tasks}
    outputs = {name: output.numpy() for name, output in learner(log_mel).items()}
    for weight in (0.0, 0.5, 1.0):
        set_prior_weight(model, weight)
        mixed = mix_priors(outputs, TASKS, weight)
        for task in TASKS:
            np.testing.assert_allclose(model(log_mel)[task.name], mixed[task.name], atol=1e-6)
            posteriors, prior = (outputs[name].reshape(144, -1) for name in (task.name, f"{task.name}_prior"))
            np.testing.assert_allclose(mixed[task.name].reshape(144, -1),
                                       task.with_prior(posteriors, prior, weight), atol=1e-5)


def test_outputs_begin_rare(log_mel):
    """Labels are active 2 % of the time before anything is learnt; of a class among others nothing is known."""
    outputs = separate_priors(build_model(EXPERIMENT.model, TASKS, EXPERIMENT.input_shape))
    for name in ("first_prior", "second_prior", "third_prior"):
        np.testing.assert_allclose(outputs(log_mel)[name], expit(-4), atol=1e-6)
    biases = {task.name: outputs.get_layer(f"{task.name}_output").bias.numpy() for task in TASKS}
    np.testing.assert_allclose(biases["first"], [0, -4, -4, -8])
    np.testing.assert_allclose(TASKS[0].label_posteriors(softmax(biases["first"])), expit(-4), atol=1e-6)
    np.testing.assert_allclose(biases["second"], [-4, -4])
    np.testing.assert_allclose(biases["third"], [0, 0, 0])


@pytest.mark.parametrize("frozen", [True, False])
def test_each_loss_trains_its_own_layers_alone(frozen, log_mel):
    """A prior's loss trains its two layers, and never the head or the backbone."""
    spec = dataclasses.replace(EXPERIMENT.model, freeze_backbone=frozen)
    learner = separate_priors(build_model(spec, TASKS, EXPERIMENT.input_shape))
    for task in TASKS:  # kernels of zeros would hide the hidden layer from the loss
        kernel = learner.get_layer(f"{task.name}_prior").kernel
        kernel.assign(np.random.default_rng(1).normal(0, 0.05, kernel.shape))
    losses, weights = learning_losses(EXPERIMENT)
    assert losses.keys() == weights.keys() == learner.output.keys()
    expected, heads = targets(np.random.default_rng(2)), set()
    with tf.GradientTape(persistent=True) as tape:
        outputs = learner(log_mel)
        values = {name: losses[name](expected[name], outputs[name]) for name in losses}
    for name, value in values.items():
        gradients = tape.gradient(value, [variable.value for variable in learner.trainable_variables])
        trained = {variable.path for variable, gradient in zip(learner.trainable_variables, gradients)
                   if gradient is not None and np.abs(gradient).max() > 0}
        if not name.endswith("_prior"):
            assert f"{name}_output/kernel" in trained and not any("_prior" in path for path in trained)
            heads |= trained
            continue
        assert trained == {f"{layer}/{weight}" for layer in (name, f"{name}_hidden") for weight in ("kernel", "bias")}
    assert {variable.path for variable in learner.trainable_variables} - heads == {
        f"{task.name}_prior{layer}/{weight}" for task in TASKS for layer in ("", "_hidden")
        for weight in ("kernel", "bias")}


def test_which_networks_have_priors():
    assert [name for name, experiment in PRESETS.items() if has_prior(experiment)] == [
        "yamnet", *(f"yamnet_mcmt_{number}" for number in (2, 4, 5, 8))]
    clips = dataclasses.replace(EXPERIMENT, model=dataclasses.replace(EXPERIMENT.model, head="pooled"))
    assert not has_prior(clips) and learning_tasks(clips) == TASKS
    multilabel = dataclasses.replace(get_preset("multilabel_small"), tasks=TASKS)
    assert learning_tasks(multilabel) == TASKS
    assert learning_losses(multilabel)[1] == pytest.approx({task.name: 1 / 3 for task in TASKS})


# The weight

def test_validation_chooses_the_weight():
    """A head that knows nothing and a prior that knows all: the more of it, the better; and the other way round."""
    experiment = dataclasses.replace(EXPERIMENT, tasks=TASKS[1:2])
    roll = np.random.default_rng(3).integers(0, 2, (200, 2)).astype(np.uint8)
    knowing, unknowing = np.where(roll, 0.9, 0.1), np.random.default_rng(4).uniform(0.05, 0.95, roll.shape)
    for posteriors, prior, expected in ((unknowing, knowing, {PRIOR_WEIGHTS[-1]}),
                                        (knowing, unknowing, set(PRIOR_WEIGHTS[:4]))):
        result = validate([{"second": posteriors, "second_prior": prior}], [roll], experiment)
        assert result["prior_weight"] in expected and result["val_f1"] > 0.9
        mixed = experiment.tasks[0].with_prior(posteriors.astype(np.float32), prior.astype(np.float32),
                                               result["prior_weight"]).numpy()
        tp = ((mixed >= 0.5) & (roll == 1)).sum()
        assert result["val_f1"] == pytest.approx(2 * tp / ((mixed >= 0.5).sum() + roll.sum()))
        entropy = -np.log(np.where(roll, mixed, 1 - mixed)).mean()
        assert result["val_loss"] == pytest.approx(entropy, rel=1e-4)


def test_where_false_events_count_the_prior_keeps_a_part():
    roll = np.random.default_rng(3).integers(0, 2, (200, 2)).astype(np.uint8)
    outputs = [{"second": np.where(roll, 0.9, 0.1), "second_prior": 0.5 + 0.3 * (0.5 - roll)}]  # a prior that misleads
    weights = []
    for measure in ("f1", "f1_and_recall"):
        training = dataclasses.replace(EXPERIMENT.training, measure=measure)
        experiment = dataclasses.replace(EXPERIMENT, tasks=TASKS[1:2], training=training)
        weights.append(validate(outputs, [roll], experiment)["prior_weight"])
    assert weights == [0.0, FIELD_WEIGHT]


def test_the_weight_travels_with_the_weights_and_the_export(model, log_mel, tmp_path):
    set_prior_weight(model, 0.75)
    expected = {name: output.numpy() for name, output in model(log_mel).items()}
    model.save_weights(tmp_path / "model.weights.h5")
    again = build_model(EXPERIMENT.model, TASKS, EXPERIMENT.input_shape)
    assert {again.get_layer(f"{task.name}_with_prior").weight.numpy() for task in TASKS} == {0.25}
    again.load_weights(tmp_path / "model.weights.h5")
    assert {again.get_layer(f"{task.name}_with_prior").weight.numpy() for task in TASKS} == {0.75}
    for name, output in again(log_mel).items():
        np.testing.assert_allclose(output, expected[name], atol=1e-6)

    exported = export_saved_model(again, EXPERIMENT, tmp_path / "tiny")
    answer = load_saved_model(exported).saved_model.signatures["log_mel"](log_mel=tf.constant(log_mel))
    for weight, equal in ((0.75, True), (0.25, False)):
        set_prior_weight(model, weight)
        outputs = model(log_mel)
        by_label = np.concatenate([task.label_posteriors(outputs[task.name]) for task in TASKS], axis=-1)
        assert np.allclose(answer["posteriors"], by_label, atol=1e-5) == equal


def test_the_weight_is_not_trained(model, log_mel):
    compile_model(model, TASKS, learning_rate=0.1)
    assert not any("with_prior" in weight.path for weight in model.trainable_weights)
    expected = targets(np.random.default_rng(5))
    model.train_on_batch(log_mel, {task.name: expected[task.name] for task in TASKS})
    assert {model.get_layer(f"{task.name}_with_prior").weight.numpy() for task in TASKS} == {0.25}


# What the backbone knows

def test_embeddings_are_standardised_means_of_the_last_map_of_each_patch(log_mel):
    x, patch = keras.Input((192, 64)), keras.Input((PATCH_FRAMES, 64))
    _, _, embeddings = yamnet(x, EXPERIMENT.model)
    last = keras.Model(patch, convolve(patch, trainable=False)[-1])(log_mel.reshape(6, PATCH_FRAMES, 64)).numpy()
    mean, deviation = (read_weights()[f"level4_pooled/{each}"][:1024] for each in ("mean", "deviation"))
    np.testing.assert_allclose(keras.Model(x, embeddings)(log_mel).numpy().reshape(6, 1024),
                               (last.mean(axis=(1, 2)) - mean) / deviation, atol=1e-3)


@pytest.mark.skipif(not DATA, reason="POLYSED_TEST_DATA is not set")
def test_log_scores_are_the_published_networks(log_mel):
    """Of each patch of 0.96 s of a segment; scores below exp(-12), 6e-6, are raised to it."""
    published = getattr(tf.saved_model.load(str(pathlib.Path(DATA, "yamnet"))), "layer-1")
    x = keras.Input((5 * PATCH_FRAMES, 64))
    network = keras.Model(x, log_scores(convolve(x, trainable=False)[-1]))
    for path in find_audio([pathlib.Path(DATA, "esc50", "audio")])[::400]:
        waveform = load_audio(path, 16000)[:4 * 15360 + 15600]
        segment, = cut_segments(compute_log_mel(waveform, YAMNET_FEATURES)[:5 * PATCH_FRAMES], 5 * PATCH_FRAMES)
        logarithms = network(segment[None]).numpy()[0]
        theirs = np.stack([published(waveform[None, start:start + 15600])["scores"][0, 0].numpy()
                           for start in range(0, 5 * 15360, 15360)])
        assert logarithms.shape == theirs.shape == (5, len(class_names()))
        assert (logarithms >= 0).all() and (logarithms <= LOG_RANGE).all()
        np.testing.assert_allclose(np.exp(LOG_UNIT * (logarithms - LOG_RANGE)), theirs, atol=6.2e-6, rtol=1e-3)
        heard = theirs > 2e-5
        assert heard.sum() > 50
        np.testing.assert_allclose(LOG_UNIT * (logarithms[heard] - LOG_RANGE), np.log(theirs[heard]), atol=1e-3)
