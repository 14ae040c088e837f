"""Every preset is built, fitted for one step, saved, reloaded, exported, and its export gives the same posteriors."""
import dataclasses
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from polysed_keras.audio.log_mel import compute_log_mel
from polysed_keras.export.saved_model import export_saved_model, load_saved_model
from polysed_keras.models.network import build_model
from polysed_keras.models.predict import cut_segments, decode_activity
from polysed_keras.models.yamnet import PATCH_FRAMES
from polysed_keras.specs.plugins import is_pretrained
from polysed_keras.specs.presets import PRESETS
from polysed_keras.specs.tasks import resolve_tasks, task_labels
from polysed_keras.training.fit import compile_model

from contract import check_operations, promised, signatures, wav_bytes


def _experiment(name):
    """The preset with sixteen labels and short segments: time changes no weight, and tracing stays quick."""
    preset, labels = PRESETS[name], [f"label_{index}" for index in range(16)]
    frames = PATCH_FRAMES if is_pretrained(preset.model.backbone) else 8
    by_task = {"scene": labels[:6], "events": labels[6:]}
    tasks = resolve_tasks(preset.tasks, by_task if preset.clip_level else labels)
    training = dataclasses.replace(preset.training, segment_frames=frames)
    return dataclasses.replace(preset, tasks=tasks, training=training)


def _targets(experiment, rng):
    """Of two clips, or of the frames of one segment; one label at a time where a task takes no more."""
    shape = (2,) if experiment.clip_level else (1, experiment.training.segment_frames // experiment.model.output_stride)

    def activity(number, encoding):
        one = np.eye(number)[rng.integers(0, number, shape)]
        return one if encoding == "multi_class" else rng.integers(0, 2, (*shape, number))

    return {task.name: task.encode(activity(len(task.labels), task.encoding)) for task in experiment.tasks}


def _posteriors(model, log_mel, experiment):
    """By a plain call: tracing a graph for one prediction would take most of the time."""
    frames = experiment.training.segment_frames
    outputs = model(cut_segments(log_mel, frames, experiment.features.silence), training=False)
    rows = -(-len(log_mel) // (frames if experiment.clip_level else experiment.model.output_stride))
    return {task.name: outputs[task.name].numpy().reshape(-1, task.num_outputs)[:rows] for task in experiment.tasks}


def _answers(saved_model, waveform, recording, sample_rate):
    """Of the other signatures that run the network: posteriors and activity."""
    inputs = {"detect_wav": {"wav_bytes": tf.constant([wav_bytes(waveform, sample_rate, subtype="FLOAT")])},
              "log_mel": {"log_mel": tf.constant(recording[None])}}
    answers = [saved_model.signatures[name](**tensors) for name, tensors in inputs.items()]
    return [(answer["posteriors"][0].numpy(), answer["activity"][0].numpy()) for answer in answers]


# One network of each kind goes the whole way among the fast tests, and one of each other kind and full size among the
# slow ones. The others have more of the same layers and take up to a minute; `make soak` takes them too.
FAST = {"multilabel_small", "mcmt_2_small", "scene_event_joint_small"}
SLOW = {"multilabel", "mcmt_2", "mcmt_4_small", "yamnet", "yamnet_mcmt_2", "scene_baseline", "event_baseline_small",
        "event_tagger_densenet"}
TRIED = set(PRESETS) if os.environ.get("POLYSED_SOAK_PRESETS") else FAST | SLOW


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in FAST)) for name, preset in PRESETS.items()
             if preset.learns and name in TRIED])  # one does not learn: tests/export/test_yamnet_audioset.py
def test_preset_goes_the_whole_way(name, tmp_path):
    keras.utils.set_random_seed(0)  # some networks' rounding errors are ten times those of others
    experiment, rng = _experiment(name), np.random.default_rng(0)
    tasks, features = experiment.tasks, experiment.features
    model = build_model(experiment.model, tasks, experiment.input_shape)
    compile_model(model, tasks, learning_rate=experiment.training.learning_rate)
    model.run_eagerly = True  # one step: tracing its graph would take longer than the step
    targets = _targets(experiment, rng)
    loudness = (0, 2) if features.log_offset else (-30, 10)
    log_mel = rng.normal(*loudness, (len(targets[tasks[0].name]), *experiment.input_shape)).astype(np.float32)
    before = [weight.numpy() for weight in model.trainable_weights]
    loss = model.train_on_batch(log_mel, targets)
    assert np.isfinite(loss).all()
    changed = [not np.array_equal(old, new.numpy()) for old, new in zip(before, model.trainable_weights, strict=True)]
    assert sum(changed) > len(before) / 2

    waveform = rng.normal(0, 0.1, features.hop_length * 21 + 5).astype(np.float32)
    recording = compute_log_mel(waveform, features)
    assert len(recording) == 22 and recording.max() > features.silence
    expected = _posteriors(model, recording, experiment)

    model.save_weights(tmp_path / "model.weights.h5")
    reloaded = build_model(experiment.model, tasks, experiment.input_shape)
    reloaded.load_weights(tmp_path / "model.weights.h5")
    for weight, same in zip(reloaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, same)

    exported = export_saved_model(reloaded, experiment, tmp_path / name)
    assert signatures(exported) == promised(len(task_labels(tasks)), features.n_mels)
    check_operations(exported)
    detector = load_saved_model(tmp_path / name)
    assert detector.labels == task_labels(tasks)
    answers = [detector.posteriors(waveform),
               *_answers(detector.saved_model, waveform, recording, features.sample_rate)]
    by_label = np.concatenate([task.label_posteriors(expected[task.name]) for task in tasks], axis=-1)
    for posteriors, activity in answers:
        # clips of 8 frames, or frames
        assert len(posteriors) == (3 if experiment.clip_level else -(-22 // experiment.model.output_stride))
        np.testing.assert_allclose(posteriors, by_label, atol=1e-5)
        np.testing.assert_array_equal(activity, decode_activity(expected, tasks))
