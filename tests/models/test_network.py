"""Networks: the papers' sizes and shapes, masks, equation 1 and blocks against plain numpy, and that they can learn."""
import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import f1_score

from polysed_keras.errors import InputError
from polysed_keras.models.backbones import conv_blocks, densenet
from polysed_keras.models.blocks import GRU, basic_block, channel_masks, time_frequency_masks
from polysed_keras.models.network import build_model
from polysed_keras.models.predict import decode_activity
from polysed_keras.specs.experiment import ModelSpec
from polysed_keras.specs.plugins import registered
from polysed_keras.specs.presets import PRESETS, get_preset
from polysed_keras.specs.tasks import Task, decompose, resolve_tasks, task_labels
from polysed_keras.training.fit import compile_model

LABELS = tuple("abcdefghijklmnop")
TINY = ModelSpec(head="attention", filters=(4, 6, 8), recurrent_units=5, dense_units=(7, 6), dropout=0.3)
TASKS = decompose("abcde", 2)  # of 3 and 2 labels
NORMALIZATION_PARAMETERS = 2 * 64 + 1
CLIP_TASKS = (Task("scene", "abc", "multi_class"), Task("events", "vwxyz", "multi_label"))
RESNET18 = ModelSpec(backbone="resnet18", head="pooled", filters=(64, 128, 256, 512), dropout=0.0)
CLIP_BACKBONES = sorted(registered("backbone").keys() - {"conv_blocks", "yamnet"})  # tests/models/test_yamnet.py


def preset_model(name, frames=128, labels=LABELS, **changes):
    experiment = get_preset(name)
    spec = dataclasses.replace(experiment.model, **changes)
    return build_model(spec, resolve_tasks(experiment.tasks, labels), (frames, 64))


def randomize(model, seed=0):
    """Weights, biases and batch statistics that all matter, so that a wrong place of one shows."""
    rng = np.random.default_rng(seed)
    model.set_weights([(rng.uniform(0.5, 1.5, weight.shape) if "var" in weight.path or "gamma" in weight.path
                        else rng.normal(0, 0.3, weight.shape)).astype(weight.dtype) for weight in model.weights])
    for layer in model.layers:
        if layer.name == "normalization":
            layer.finalize_state()
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


@pytest.mark.parametrize("strides, shape", [((1, 1), (8, 16)), ((4, 2), (8, 32))])
def test_outputs_are_float32_under_mixed_precision(strides, shape):
    """Also if they are repeated to the frame rate behind a strided stem: softmax sums to 1 closer than float16 can."""
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = build_model(dataclasses.replace(TINY, stem_strides=strides), TASKS, shape)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    outputs = model(np.random.default_rng(0).normal(0, 1, (1, *shape)).astype(np.float32))
    assert {output.dtype for output in outputs.values()} == {tf.float32}
    for task in TASKS:
        if task.activation == "softmax":
            np.testing.assert_allclose(outputs[task.name].numpy().sum(axis=-1), 1, atol=1e-6)
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


@pytest.mark.slow
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
    for _ in range(20):
        model.fit(data, steps_per_epoch=25, verbose=0, shuffle=False)
        if score() >= 0.95:
            break
    assert score() >= 0.95


# Networks of clips (paper 2)

def clip_model(backbone, shape=(32, 16), **changes):
    filters = (16, 24, 20) if backbone == "densenet" else (4, 6, 8)
    spec = dataclasses.replace(RESNET18, backbone=backbone, filters=filters, recurrent_units=5)
    return build_model(dataclasses.replace(spec, **changes), CLIP_TASKS, shape)


def resnet18_parameters(channels):
    """Kernels and two numbers a channel of every batch normalisation, counted from the published table."""
    convolutions = [(7, channels, 64), *[(3, 64, 64)] * 4]
    for before, filters in ((64, 128), (128, 256), (256, 512)):
        convolutions += [(3, before, filters), *[(3, filters, filters)] * 3, (1, before, filters)]
    return sum(kernel ** 2 * before * filters + 2 * filters for kernel, before, filters in convolutions)


def test_resnet18_is_the_published_one():
    """11,689,512 parameters with 3 channels in and 1000 classes out; paper 2's clips of 500 x 64 take 2.24 GFLOP."""
    assert resnet18_parameters(channels=3) == 11_689_512 - 513 * 1000
    model = build_model(RESNET18, CLIP_TASKS, (500, 64))
    heads = 513 * 3 + 513 * 5
    assert sum(np.prod(weight.shape) for weight in model.trainable_weights) - heads == resnet18_parameters(channels=1)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    multiplications = sum(np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:3]) for layer in convolutions)
    assert len(convolutions) == 20 and round(2 * multiplications / 1e9, 2) == 2.24
    stages = [model.get_layer(f"backbone_stage{stage}_2_relu").output.shape[1:] for stage in (1, 2, 3, 4)]
    assert stages == [(125, 16, 64), (63, 8, 128), (32, 4, 256), (16, 2, 512)]


def normalized_by(x, layer):
    gamma, beta, mean, variance = layer.get_weights()
    return (x - mean) / np.sqrt(variance + layer.epsilon) * gamma + beta


def convolved_by(x, model, name, strides=1):
    """A convolution padded on both sides by hand, and its batch normalisation."""
    kernel = model.get_layer(f"{name}_conv").get_weights()[0]
    size = [-(-length // strides) for length in x.shape[1:3]]
    total = [max((out - 1) * strides + len(kernel) - length, 0) for out, length in zip(size, x.shape[1:3])]
    x = np.pad(x, [(0, 0), *((part // 2, part - part // 2) for part in total), (0, 0)])
    y = np.zeros((len(x), *size, kernel.shape[-1]))
    for row, column in np.ndindex(*size):
        patch = x[:, row * strides:row * strides + len(kernel), column * strides:column * strides + len(kernel)]
        y[:, row, column] = np.einsum("btfc,tfcd->bd", patch, kernel)
    return normalized_by(y, model.get_layer(f"{name}_bn"))


@pytest.mark.parametrize("filters, strides", [(3, 1), (5, 1), (3, 2), (5, 2)])
def test_a_basic_block_by_hand(filters, strides):
    """He et al., figure 5: F(x) + x, or F(x) + a projection of x where the shapes differ."""
    x = keras.Input((7, 6, 3))
    model = randomize(keras.Model(x, basic_block(x, filters, strides, "block")))
    x = np.random.default_rng(1).normal(0, 1, (2, 7, 6, 3)).astype(np.float32)
    inner = np.maximum(convolved_by(x, model, "block_1", strides), 0)
    shortcut = x if (filters, strides) == (3, 1) else convolved_by(x, model, "block_shortcut", strides)
    expected = np.maximum(convolved_by(inner, model, "block_2") + shortcut, 0)
    assert (expected > 0).mean() > 0.2
    np.testing.assert_allclose(model(x), expected, atol=1e-4)


def test_a_densenet_of_121_layers_is_kerass():
    """keras.applications pads strided layers on the left where this pads on the right: flipped, they are one."""
    log_mel = keras.Input((64, 32))
    own = keras.Model(log_mel, densenet(log_mel, ModelSpec(filters=(256, 512, 1024, 1024)))[-1][-1])
    theirs = randomize(keras.applications.DenseNet121(include_top=False, weights=None, input_shape=(64, 32, 1)))
    assert own.count_params() == theirs.count_params() == 7_037_504 - 2 * 7 * 7 * 64
    layers = [[layer for layer in model.layers if layer.weights] for model in (own, theirs)]
    for ours, layer in zip(*layers, strict=True):
        weights = layer.get_weights()
        if isinstance(layer, keras.layers.Conv2D):
            kernel = weights[0] / np.sqrt(np.prod(weights[0].shape[:-1]))  # else numbers grow over 121 layers
            layer.set_weights([kernel])
            ours.set_weights([kernel[::-1, ::-1]])
        else:
            ours.set_weights([*weights[:3], weights[3] + layer.epsilon - ours.epsilon])
    x = np.random.default_rng(2).normal(0, 1, (1, 64, 32)).astype(np.float32)
    expected = theirs(x[:, ::-1, ::-1, None]).numpy()[:, ::-1, ::-1]
    assert expected.shape == (1, 2, 1, 1024) and 0.1 < expected.std() < 100
    np.testing.assert_allclose(own(x), expected, atol=1e-3 * expected.std())


@pytest.mark.parametrize("backbone, filters, shape, expected", [
    ("vgg", (64, 128, 256, 512), (500, 64), [(250, 32, 64), (125, 16, 128), (63, 8, 256), (32, 4, 512)]),
    ("crnn", (64, 128, 256, 512), (500, 64), [(250, 32, 64), (125, 16, 128), (125, 8, 256), (125, 4, 512)]),
    ("crnn", (4, 6), (9, 5), [(5, 3, 4), (3, 2, 6)])])
def test_vgg_and_crnn_pool_stage_by_stage(backbone, filters, shape, expected):
    model = clip_model(backbone, shape, filters=filters)
    assert [model.get_layer(f"backbone_stage{stage + 1}_pool").output.shape[1:]
            for stage in range(len(filters))] == expected
    last = model.get_layer("pooled").input.shape[1:]
    assert last == (expected[-1] if backbone == "vgg" else (expected[-1][0], 1, 10))


def test_a_crnns_gru_goes_over_time():
    model = randomize(clip_model("crnn"))
    log_mel = np.random.default_rng(3).normal(0, 1, (2, 32, 16)).astype(np.float32)
    inner = keras.Model(model.input, [model.get_layer("backbone_stage3_pool").output, model.get_layer("pooled").input])
    before, after = (output.numpy() for output in inner(log_mel))
    assert before.shape == (2, 8, 2, 8) and after.shape == (2, 8, 1, 10)
    frames = [frame.reshape(2, 16) for frame in before.swapaxes(0, 1)]
    expected = model.get_layer("backbone_gru")(np.stack(frames, axis=1))
    np.testing.assert_allclose(after[:, :, 0], expected, atol=1e-6)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("policy, tolerance", [("float32", 1e-6), ("mixed_float16", 2e-3)])
def test_a_gru_is_kerass(backwards, policy, tolerance, tmp_path):
    """Outputs, gradients and the files of weights, though the inputs are multiplied all at once."""
    x = np.random.default_rng(0).normal(0, 1, (3, 12, 5)).astype(np.float32)
    networks, gradients = [], []
    for kind in (keras.layers.GRU, GRU):
        log_mel = keras.Input((12, 5))
        output = kind(4, return_sequences=True, go_backwards=backwards, use_cudnn=False, dtype=policy)(log_mel)
        networks.append(keras.Model(log_mel, output))
    theirs, ours = networks
    for weight in theirs.weights:
        weight.assign(np.random.default_rng(1).normal(0, 0.5, weight.shape))
    theirs.save_weights(tmp_path / "gru.weights.h5")
    ours.load_weights(tmp_path / "gru.weights.h5")
    for network in networks:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(tf.cast(network(x), tf.float32)))
        gradients.append(tape.gradient(loss, [weight.value for weight in network.trainable_weights]))
    np.testing.assert_allclose(ours(x), theirs(x), rtol=0, atol=tolerance)
    for here, there in zip(*gradients, strict=True):
        np.testing.assert_allclose(here, there, rtol=20 * tolerance, atol=20 * tolerance)


@pytest.mark.parametrize("use_cudnn", ["auto", False])
def test_cudnn_is_left_out_of_every_gru_where_it_is_asked_for(use_cudnn):
    crnn = dataclasses.replace(RESNET18, backbone="crnn", filters=(4,), recurrent_units=3)
    for spec, tasks, name in ((crnn, CLIP_TASKS, "backbone_gru"), (TINY, TASKS, "task_2_gru"),
                              (dataclasses.replace(TINY, head="recurrent"), TASKS, "gru")):
        gru = build_model(spec, tasks, (8, 16), use_cudnn=use_cudnn).get_layer(name)
        assert gru.forward_layer.use_cudnn == gru.backward_layer.use_cudnn == use_cudnn


@pytest.mark.parametrize("backbone, changes", [
    *((name, {}) for name in CLIP_BACKBONES), ("conv_blocks", {"filters": (4, 8)}),
    ("conv_blocks", {"filters": (4, 8), "stem_strides": (4, 2)})])
def test_a_clip_has_one_posterior_a_label_from_the_mean_of_its_last_map(backbone, changes):
    model = randomize(clip_model(backbone, (30, 16), **changes))
    log_mel = np.random.default_rng(4).normal(0, 1, (3, 30, 16)).astype(np.float32)
    last = keras.Model(model.input, model.get_layer("pooled").input)(log_mel).numpy()
    logits = {task.name: last.mean(axis=(1, 2)) @ model.get_layer(f"{task.name}_output").get_weights()[0]
              + model.get_layer(f"{task.name}_output").get_weights()[1] for task in CLIP_TASKS}
    exponentials = np.exp(logits["scene"] - logits["scene"].max(axis=-1, keepdims=True))
    outputs = model(log_mel)
    assert {name: output.shape for name, output in outputs.items()} == {"scene": (3, 3), "events": (3, 5)}
    np.testing.assert_allclose(outputs["scene"], exponentials / exponentials.sum(axis=-1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(outputs["events"], sigmoid(logits["events"]), atol=1e-5)


def test_dropout_of_clips_is_before_the_outputs():
    model = randomize(clip_model("resnet18", dropout=0.5))
    log_mel = np.random.default_rng(5).normal(0, 1, (2, 32, 16)).astype(np.float32)
    trained = [model(log_mel, training=True)["events"].numpy() for _ in range(2)]
    assert np.abs(trained[0] - trained[1]).max() > 1e-3
    np.testing.assert_array_equal(*(model(log_mel)["events"] for _ in range(2)))


@pytest.mark.parametrize("backbone", CLIP_BACKBONES)
def test_running_means_follow_a_short_training(backbone):
    """A tenth of the way a step, so 60 steps leave 0.2 % of where they began; by Keras's default they leave 55 %."""
    model = clip_model(backbone)
    log_mel = np.random.default_rng(6).normal(3, 2, (4, 32, 16)).astype(np.float32)
    means = [weight for weight in model.weights if weight.path.endswith("moving_mean")]
    model(log_mel, training=True)
    first = [weight.numpy() for weight in means]
    model(log_mel, training=True)
    assert len(means) >= 6 and all(np.abs(mean).max() > 1e-3 for mean in first)
    for before, mean in zip(first, means):
        np.testing.assert_allclose(mean, before * 1.9, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_network_of_clips_learns_both_tasks_at_once():
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(7)
    model = compile_model(clip_model("resnet18", filters=(8, 16, 32)), CLIP_TASKS, learning_rate=3e-3)
    log_mel = rng.normal(0, 1, (24, 32, 16)).astype(np.float32)
    activity = {"scene": np.eye(3)[rng.integers(0, 3, 24)], "events": rng.integers(0, 2, (24, 5))}
    targets = {task.name: task.encode(activity[task.name]) for task in CLIP_TASKS}

    def right():
        outputs = model(log_mel, training=False)
        return [(task.decode(outputs[task.name].numpy()) == activity[task.name]).mean() for task in CLIP_TASKS]

    assert max(right()) < 0.9
    data = tf.data.Dataset.from_tensors((log_mel, targets)).repeat()
    model.fit(data, steps_per_epoch=80, verbose=0, shuffle=False)
    assert min(right()) > 0.95


# What cannot be built

@pytest.mark.parametrize("changes, shape, message", [
    ({"backbone": "transformer"}, (128, 64), "model.backbone: expected one of.*conv_blocks.*'transformer'"),
    ({"head": "linear"}, (128, 64), "model.head: expected one of.*attention.*recurrent.*'linear'"),
    ({"stem_strides": (4, 2)}, (130, 64), "training.segment_frames: expected a multiple.*4. Received: 130"),
    ({}, (128, 7), "features.n_mels"),
    ({"stem_strides": (1, 4)}, (128, 16), "features.n_mels"),
    ({"backbone": "resnet18"}, (128, 64), "model.backbone: expected conv_blocks .*'attention'.*'resnet18'.*pooled"),
    ({"backbone": "crnn", "head": "recurrent"}, (128, 64),
     "conv_blocks or yamnet with the head 'recurrent'.*'crnn'"),
    ({"backbone": "vgg", "head": "pooled", "stem_strides": (4, 2)}, (128, 64), "model.stem_strides: .*vgg.*4, 2"),
    ({"backbone": "densenet", "head": "pooled"}, (128, 64), "model.filters.*DenseNet-121. Received: .4, 6, 8"),
    ({"backbone": "densenet", "head": "pooled", "filters": (64, 32)}, (128, 64), "model.filters.*64, 32"),
    ({"backbone": "densenet", "head": "pooled", "filters": (64, 67)}, (128, 64), "model.filters.*64, 67"),
])
def test_networks_that_do_not_fit_are_refused(changes, shape, message):
    with pytest.raises(InputError, match=message):
        build_model(dataclasses.replace(TINY, **changes), TASKS, shape)


def test_layers_have_names_that_tensorflow_can_store():
    models = [preset_model("mcmt_2_small"), *map(clip_model, CLIP_BACKBONES)]
    assert not [layer.name for model in models for layer in model.layers if "/" in layer.name]
