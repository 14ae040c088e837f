"""YAMNet's features and scores against its published SavedModel, and its maps as a backbone."""
import os
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from polysed_keras.audio.files import find_audio, load_audio
from polysed_keras.audio.log_mel import compute_log_mel
from polysed_keras.errors import InputError
from polysed_keras.models.network import build_model
from polysed_keras.models.yamnet import CONVOLUTIONS, PATCH_FRAMES, class_names, convolve, read_weights
from polysed_keras.specs.experiment import YAMNET_FEATURES, ModelSpec
from polysed_keras.specs.presets import get_preset
from polysed_keras.specs.tasks import Task

DATA = os.environ.get("POLYSED_TEST_DATA")
# The SavedModel's five highest scores, in the mean over its patches, of the rising tone below.
SWEEP_SCORES = {"Synthesizer": 0.62858, "Keyboard (musical)": 0.5012, "Musical instrument": 0.24046, "Music": 0.17233,
                "Sampler": 0.12571}


def sweep():
    seconds = np.arange(32000) / 16000
    return (0.3 * np.sin(2 * np.pi * (200 + 400 * seconds) * seconds)).astype(np.float32)


@pytest.fixture(scope="module")
def scores_of():
    patch = keras.Input((PATCH_FRAMES, 64))
    x = keras.layers.GlobalAveragePooling2D()(convolve(patch, trainable=False)[-1])
    dense = keras.layers.Dense(521, activation="sigmoid")
    network = keras.Model(patch, dense(x))
    dense.set_weights([read_weights()["classes/kernel"], read_weights()["classes/bias"]])

    def scores(waveform):
        log_mel = compute_log_mel(waveform, YAMNET_FEATURES)
        starts = range(0, len(log_mel) - PATCH_FRAMES + 1, PATCH_FRAMES // 2)
        return network.predict(np.stack([log_mel[start:start + PATCH_FRAMES] for start in starts]), verbose=0)

    return scores


def test_scores_of_a_rising_tone(scores_of):
    mean = scores_of(sweep()).mean(axis=0)
    best = [class_names()[index] for index in np.argsort(-mean)[:5]]
    assert best == list(SWEEP_SCORES)
    np.testing.assert_allclose(np.sort(mean)[:-6:-1], list(SWEEP_SCORES.values()), atol=1e-4)


@pytest.mark.skipif(not DATA, reason="POLYSED_TEST_DATA is not set")
def test_scores_are_those_of_the_saved_model(scores_of):
    published = getattr(tf.saved_model.load(str(pathlib.Path(DATA, "yamnet"))), "layer-1")
    for path in find_audio([pathlib.Path(DATA, "esc50", "audio")])[::70][:20]:
        waveform = load_audio(path, 16000)
        ours, theirs = scores_of(waveform), published(waveform[None])["scores"][0].numpy()
        assert len(ours) >= 9
        np.testing.assert_allclose(ours, theirs[:len(ours)], atol=1e-4)


def test_the_classes_are_audiosets():
    assert len(class_names()) == 521 and class_names()[:2] == ("Speech", "Child speech, kid speaking")


@pytest.mark.parametrize("head, frozen", [("recurrent", True), ("attention", False)])
def test_maps_of_a_backbone(head, frozen):
    model = build_model(ModelSpec("yamnet", head, filters=(4, 4, 8, 8), recurrent_units=8, dense_units=(8,),
                                  output_stride=2, freeze_backbone=frozen), labels=["a", "b"], input_shape=(96, 64))
    assert model.output["events"].shape == (None, 48, 2)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.DepthwiseConv2D)]
    assert len(convolutions) == len(CONVOLUTIONS) - 1
    assert all(layer.trainable != frozen for layer in convolutions)
    np.testing.assert_array_equal(convolutions[0].get_weights()[0], read_weights()["2_depthwise/kernel"])
    assert not [layer.name for layer in model.layers if "/" in layer.name]  # TensorFlow cannot store it
    assert np.isfinite(model(np.full((1, 96, 64), YAMNET_FEATURES.silence, np.float32))["events"]).all()


def test_patches_do_not_hear_each_other():
    log_mel = np.random.default_rng(0).normal(-2, 2, (2, 3 * PATCH_FRAMES, 64)).astype(np.float32)
    whole, alone = keras.Input((3 * PATCH_FRAMES, 64)), keras.Input((PATCH_FRAMES, 64))
    convolved = keras.Model(whole, convolve(whole, trainable=False))(log_mel)
    apart = keras.Model(alone, convolve(alone, trainable=False))(log_mel.reshape(6, PATCH_FRAMES, 64))
    assert convolved[-1].shape == (2, 9, 2, 1024)
    for joined, patches in zip(convolved, apart, strict=True):
        np.testing.assert_allclose(joined, tf.reshape(patches, joined.shape), atol=1e-4)


def test_clips_are_labelled_by_the_mean_of_the_last_map():
    tasks = (Task("events", ("a", "b"), "multi_label"),)
    model = build_model(ModelSpec("yamnet", "pooled", filters=(4, 4, 8, 8), dropout=0.0), tasks, (96, 64))
    log_mel = np.random.default_rng(0).normal(-2, 2, (3, 96, 64)).astype(np.float32)
    last = keras.Model(model.input, model.get_layer("pooled").input)(log_mel).numpy()
    dense = model.get_layer("events_output")
    assert last.shape == (3, 24, 1, 8)
    expected = 1 / (1 + np.exp(-(last.mean(axis=(1, 2)) @ dense.kernel.numpy() + dense.bias.numpy())))
    np.testing.assert_allclose(model(log_mel)["events"], expected, rtol=1e-5)


def test_the_moving_means_stay_those_of_audioset():
    model = build_model(ModelSpec("yamnet", filters=(4, 4, 8, 8), recurrent_units=8, dense_units=(8,), output_stride=4),
                        labels=["a"], input_shape=(96, 64))
    model.compile("adam", "binary_crossentropy")
    before = {layer.name: layer.get_weights() for layer in model.layers if layer.name.startswith("yamnet_1")}
    model.fit(np.random.default_rng(0).normal(size=(4, 96, 64)), {"events": np.ones((4, 24, 1))}, verbose=0)
    assert (model.get_layer("yamnet_1").get_weights()[0] != before["yamnet_1"][0]).any()
    for old, new in zip(before["yamnet_1_bn"][1:], model.get_layer("yamnet_1_bn").get_weights()[1:], strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("changes, shape, message", [
    ({"filters": (4, 4)}, (96, 64), "model.filters: expected four numbers"),
    ({}, (64, 64), "expected a multiple of 96 frames of 64 mels"),
    ({"output_stride": 5}, (96, 64), "a multiple of model.output_stride, 5"),
    ({"backbone": "conv_blocks"}, (96, 64), "model.freeze_backbone: expected False, because conv_blocks is not")])
def test_what_does_not_fit_is_refused(changes, shape, message):
    spec = {"backbone": "yamnet", "filters": (4, 4, 8, 8), "freeze_backbone": True} | changes
    with pytest.raises(InputError, match=message):
        build_model(ModelSpec(**spec), labels=["a"], input_shape=shape)


def test_presets_have_outputs_every_40_ms():
    assert get_preset("yamnet").time_resolution == get_preset("yamnet_mcmt_5").time_resolution == 0.04
