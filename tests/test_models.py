"""Networks: sizes and shapes of paper 1, masks and equation 1 against plain numpy, and that they can learn."""
import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import f1_score

from polysed_keras.errors import InputError
from polysed_keras.inference import decode_activity
from polysed_keras.models import build_model
from polysed_keras.models.backbones import conv_blocks
from polysed_keras.models.blocks import channel_masks, time_frequency_masks
from polysed_keras.presets import PRESETS, get_preset
from polysed_keras.specs import ModelSpec
from polysed_keras.tasks import decompose, resolve_tasks, task_labels
from polysed_keras.training import compile_model

LABELS = tuple("abcdefghijklmnop")
TINY = ModelSpec(head="attention", filters=(4, 6, 8), recurrent_units=5, dense_units=(7, 6), dropout=0.3)
TASKS = decompose("abcde", 2)  # of 3 and 2 labels
NORMALIZATION_PARAMETERS = 2 * 64 + 1


def preset_model(name, frames=128, labels=LABELS, **changes):
    experiment = get_preset(name)
    return build_model(dataclasses.replace(experiment.model, **changes), resolve_tasks(experiment.tasks, labels), (frames, 64))


def randomize(model, seed=0):
    """Weights, biases and batch statistics that all matter, so that a wrong place of one shows."""
    rng = np.random.default_rng(seed)
    model.set_weights([(rng.uniform(0.5, 1.5, weight.shape) if "var" in weight.path or "gamma" in weight.path
                        else rng.normal(0, 0.3, weight.shape)).astype(weight.dtype) for weight in model.weights])
    model.get_layer("normalization").finalize_state()
    return model


# Sizes and shapes

@pytest.mark.parametrize("name, parameters", [
    ("multilabel", 3_233_360), ("mcmt_2", 8_866_014), ("mcmt_4", 15_722_428), ("mcmt_8", 29_878_488),
    ("mcmt_16", 58_223_440)])
def test_parameters_of_the_papers_networks(name, parameters):
    assert preset_model(name).count_params() - NORMALIZATION_PARAMETERS == parameters


def test_feature_maps_of_the_papers_backbone():
    """Paper 1, section 3.1: T x 32 x 64, T x 16 x 64, T x 8 x 128, T x 4 x 128, T x 2 x 256 after pooling."""
    maps = conv_blocks(keras.Input((128, 64)), ModelSpec())
    assert [pooled.shape[1:] for _, _, pooled in maps] == [
        (128, 32, 64), (128, 16, 64), (128, 8, 128), (128, 4, 128), (128, 2, 256)]
    for m1, m2, pooled in maps:
        assert m1.shape == m2.shape == (None, 128, 2 * pooled.shape[2], pooled.shape[3])


def test_a_strided_stem_comes_before_the_blocks():
    spec = ModelSpec(filters=(8, 16), stem_strides=(4, 2))
    assert [m1.shape[1:] for m1, _, _ in conv_blocks(keras.Input((128, 64)), spec)] == [(32, 32, 8), (32, 16, 16)]


@pytest.mark.parametrize("name", ["multilabel_small", "mcmt_5_small"])
def test_small_networks_give_every_frame_the_posteriors_of_every_task(name):
    model, tasks = preset_model(name, 16), resolve_tasks(PRESETS[name].tasks, LABELS)
    outputs = model(np.random.default_rng(0).normal(-30, 20, (3, 16, 64)).astype(np.float32))
    assert {key: output.shape for key, output in outputs.items()} == {
        task.name: (3, 16, task.num_outputs) for task in tasks}
    for task in tasks:
        values = outputs[task.name].numpy()
        assert (0 <= values).all() and (values <= 1).all()
        np.testing.assert_array_equal(values[:, ::4], values[:, 3::4])
        if task.activation == "softmax":
            np.testing.assert_allclose(values.sum(axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("head", ["recurrent", "attention"])
def test_dropout_is_for_training(head):
    model = build_model(dataclasses.replace(TINY, head=head, dropout=0.5), TASKS, (8, 16))
    log_mel = np.random.default_rng(0).normal(0, 1, (2, 8, 16)).astype(np.float32)
    calm = [model(log_mel, training=False)["task_1"].numpy() for _ in range(2)]
    trained = [model(log_mel, training=True)["task_1"].numpy() for _ in range(2)]
    np.testing.assert_array_equal(*calm)
    assert np.abs(trained[0] - trained[1]).max() > 1e-3


def test_outputs_are_float32_under_mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = build_model(TINY, TASKS, (8, 16))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    outputs = model(np.zeros((1, 8, 16), np.float32))
    assert {output.dtype for output in outputs.values()} == {tf.float32}
    assert model.get_layer("dense1").compute_dtype == "float16"


# Masks and equation 1

def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def mask_model(masks, shape=(6, 5, 8), num_tasks=3):
    m1 = keras.Input(shape)
    model = keras.Model(m1, masks(m1, num_tasks, "masks"))
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(0, 1, weight.shape) for weight in model.weights])
    return model, rng.normal(0, 1, (2, *shape)).astype(np.float32)


def test_time_frequency_masks_by_hand():
    """Paper 1, figure 1c: mean and maximum over channels, a 1x1 convolution, a sigmoid."""
    model, m1 = mask_model(time_frequency_masks)
    kernel, bias = model.get_layer("masks").get_weights()
    pooled = np.stack([m1.mean(axis=-1), m1.max(axis=-1)], axis=-1)
    assert kernel.shape == (1, 1, 2, 3)
    np.testing.assert_allclose(model(m1), sigmoid(pooled @ kernel[0, 0] + bias), atol=1e-6)


def test_channel_masks_by_hand():
    """Paper 1, figure 1d: mean over time and frequency, C / 2 and ReLU, C and a sigmoid."""
    model, m1 = mask_model(channel_masks)
    squeeze, squeeze_bias = model.get_layer("masks_squeeze").get_weights()
    excite, excite_bias = model.get_layer("masks").get_weights()
    for task in range(3):
        own = slice(4 * task, 4 * (task + 1))
        squeezed = np.maximum(m1.mean(axis=(1, 2)) @ squeeze[:, own] + squeeze_bias[own], 0)
        expected = sigmoid(squeezed @ excite[task] + excite_bias[task])
        np.testing.assert_allclose(model(m1)[:, task], expected, atol=1e-6)


def conv_bn_relu_pool(x, model, name):
    """A subnet block's [convolution, batch normalisation, ReLU] and pooling, from the layers' weights."""
    gamma, beta, mean, variance = model.get_layer(f"{name}_bn").get_weights()
    x = tf.nn.conv2d(x, model.get_layer(f"{name}_conv").get_weights()[0], 1, "SAME").numpy()
    x = np.maximum((x - mean) / np.sqrt(variance + model.get_layer(f"{name}_bn").epsilon) * gamma + beta, 0)
    return np.maximum(x[:, :, 0:x.shape[2] // 2 * 2:2], x[:, :, 1::2])


def masked_maps(model, m1, m2, level, task):
    """M* of equation 1 for one task: [m_tf * M2; m_c * M2]."""
    kernel, bias = (weight[..., task] for weight in model.get_layer(f"time_frequency_masks{level}").get_weights())
    time_frequency = sigmoid(m1.mean(axis=-1) * kernel[0, 0, 0] + m1.max(axis=-1) * kernel[0, 0, 1] + bias)
    squeeze, squeeze_bias = model.get_layer(f"channel_masks{level}_squeeze").get_weights()
    excite, excite_bias = model.get_layer(f"channel_masks{level}").get_weights()
    own = slice(task * (m1.shape[-1] // 2), (task + 1) * (m1.shape[-1] // 2))
    squeezed = np.maximum(m1.mean(axis=(1, 2)) @ squeeze[:, own] + squeeze_bias[own], 0)
    channel = sigmoid(squeezed @ excite[task] + excite_bias[task])
    return np.concatenate([time_frequency[..., None] * m2, channel[:, None, None] * m2], axis=-1)


def separate_subnet(model, maps, task, name):
    """One task's subnet alone (paper 1, section 3.2), from its share of the weights."""
    x = None
    for level, (m1, m2) in enumerate(maps, start=1):
        kernel, bias = model.get_layer(f"{name}_block{level}_reduce").get_weights()
        m = masked_maps(model, m1, m2, level, task) @ kernel[0, 0] + bias
        m = m if x is None else np.concatenate([m, x], axis=-1)
        x = conv_bn_relu_pool(m.astype(np.float32), model, f"{name}_block{level}")
    x = model.get_layer(f"{name}_gru")(x.reshape(*x.shape[:2], -1)).numpy()
    for index in (1, 2):
        kernel, bias = model.get_layer(f"dense{index}").get_weights()
        x = np.maximum(x @ kernel[task] + bias[task], 0)
    kernel, bias = model.get_layer(f"{name}_output").get_weights()
    logits = np.exp(x @ kernel + bias)
    return logits / logits.sum(axis=-1, keepdims=True)


def test_what_tasks_share_is_computed_as_separate_subnets_would():
    """Paper 1, equation 1 and figure 1: every task's output from its own share of the weights, one task at a time."""
    model = randomize(build_model(TINY, TASKS, (12, 16)))
    log_mel = np.random.default_rng(2).normal(0, 1, (3, 12, 16)).astype(np.float32)
    names = [f"backbone_block{level}_{part}_dropout" for level in (1, 2, 3) for part in (1, 2)]
    backbone = keras.Model(model.input, [model.get_layer(name).output for name in names])
    maps = [output.numpy() for output in backbone(log_mel)]
    outputs = model(log_mel)
    for index, task in enumerate(TASKS):
        expected = separate_subnet(model, list(zip(maps[::2], maps[1::2])), index, task.name)
        assert expected.std() > 0.01
        np.testing.assert_allclose(outputs[task.name], expected, atol=1e-6)


def test_the_backbone_by_hand():
    model = randomize(build_model(TINY, TASKS, (12, 16)))
    log_mel = np.random.default_rng(2).normal(0, 1, (1, 12, 16)).astype(np.float32)
    mean, variance, _ = model.get_layer("normalization").get_weights()
    x = ((log_mel - mean) / np.sqrt(variance))[..., None]
    for part in (1, 2):
        gamma, beta, mean, variance = model.get_layer(f"backbone_block1_{part}_bn").get_weights()
        x = tf.nn.conv2d(x, model.get_layer(f"backbone_block1_{part}_conv").get_weights()[0], 1, "SAME").numpy()
        x = np.maximum((x - mean) / np.sqrt(variance + 1e-3) * gamma + beta, 0)
    m2 = keras.Model(model.input, model.get_layer("backbone_block1_2_dropout").output)(log_mel)
    np.testing.assert_allclose(m2, x, atol=1e-5)


# Learning

def overfitting_batch(tasks, segments=4, frames=32):
    """Noise whose events last 8 frames; nothing but memory tells which."""
    rng = np.random.default_rng(0)
    activity = rng.integers(0, 2, (segments, frames // 8, len(task_labels(tasks)))).repeat(8, axis=1)
    return rng.normal(0, 1, (segments, frames, 64)).astype(np.float32), activity


@pytest.mark.parametrize("name", ["multilabel_small", "mcmt_2_small"])
def test_small_networks_overfit_one_batch(name):
    keras.utils.set_random_seed(0)
    tasks, labels = resolve_tasks(PRESETS[name].tasks, "abcd"), tuple("abcd")
    model = compile_model(preset_model(name, 32, "abcd", dropout=0.0), tasks, learning_rate=1e-2)
    log_mel, activity = overfitting_batch(tasks)
    targets = {task.name: task.encode(activity[..., [labels.index(label) for label in task.labels]]) for task in tasks}

    def score():
        outputs = {key: output.numpy() for key, output in model(log_mel, training=False).items()}
        return f1_score(activity.reshape(-1, 4), decode_activity(outputs, tasks).reshape(-1, 4), average="micro")

    assert score() < 0.8
    data = tf.data.Dataset.from_tensors((log_mel, targets)).repeat()
    for _ in range(10):
        model.fit(data, steps_per_epoch=50, verbose=0, shuffle=False)
        if score() >= 0.95:
            break
    assert score() >= 0.95


# What cannot be built

@pytest.mark.parametrize("changes, shape, message", [
    ({"backbone": "transformer"}, (128, 64), "model.backbone: expected one of.*conv_blocks.*'transformer'"),
    ({"head": "linear"}, (128, 64), "model.head: expected one of.*attention.*recurrent.*'linear'"),
    ({"stem_strides": (4, 2)}, (130, 64), "training.segment_frames: expected a multiple.*4. Received: 130"),
    ({}, (128, 7), "features.n_mels"),
    ({"stem_strides": (1, 4)}, (128, 16), "features.n_mels"),
])
def test_networks_that_do_not_fit_are_refused(changes, shape, message):
    with pytest.raises(InputError, match=message):
        build_model(dataclasses.replace(TINY, **changes), TASKS, shape)


def test_layers_have_names_that_tensorflow_can_store():
    assert not [layer.name for layer in preset_model("mcmt_2_small").layers if "/" in layer.name]
