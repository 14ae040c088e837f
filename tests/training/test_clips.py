"""Clips on disk, joint batches of scenes and events, and the losses of paper 2."""
import dataclasses
import logging

import numpy as np
import pytest
import soundfile

from polysed_keras.audio.log_mel import compute_log_mel
from polysed_keras.datasets.loading import Clip, ClipDataset, load_clips
from polysed_keras.errors import InputError
from polysed_keras.models.network import build_model
from polysed_keras.specs.experiment import SILENCE_DB, AugmentSpec
from polysed_keras.specs.tasks import Task
from polysed_keras.training.clips import ClipFeatures, epoch_steps, joint_dataset, load_clip_features, predict_clips
from polysed_keras.training.fit import compile_model, task_weights

from clip_fixtures import EVENTS, SCENES
from fixtures import CLIPS, RATE, shared_clips, tone

TASKS = (Task("scene", SCENES, "multi_class"), Task("events", ("a", "b", "c", "d"), "multi_label"))
SIZES = {"scene": 64, "events": 128}
NO_AUGMENTATION = AugmentSpec()
FRAMES, MELS = 25, 32


def stored_clips(folder, number, labels, seed, one_hot):
    """ClipFeatures of random features: the first frame's first mel is the clip's number / 1000."""
    rng, paths = np.random.default_rng(seed), []
    folder.mkdir(exist_ok=True)
    for index in range(number):
        log_mel = rng.normal(0, 1, (FRAMES, MELS)).astype(np.float32)
        log_mel[0, 0] = index / 1000
        paths.append(folder / f"{index}.npy")
        np.save(paths[-1], log_mel)
    active = np.eye(labels)[rng.integers(labels, size=number)] if one_hot else rng.random((number, labels)) < 0.4
    return ClipFeatures(tuple(map(str, range(number))), tuple(paths), active.astype(np.uint8), FRAMES, MELS)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    return {"scene": stored_clips(folder / "scenes", 100, 3, 0, True),
            "events": stored_clips(folder / "events", 300, 4, 1, False)}


def batches(clips, number, spec=NO_AUGMENTATION, **arguments):
    dataset = joint_dataset(clips, TASKS, SIZES, spec=spec, seed=3, **arguments)
    return [tuple({name: value.numpy() for name, value in part.items()} if isinstance(part, dict) else part.numpy()
                  for part in batch) for batch in dataset.take(number)]


def test_a_batch_has_64_scene_clips_and_128_event_clips_with_weights_of_their_own_rows(clips):
    log_mel, targets, weights = batches(clips, 1)[0]
    assert log_mel.shape == (192, FRAMES, MELS)
    assert targets["scene"].shape == (192, 3) and targets["events"].shape == (192, 4)
    np.testing.assert_array_equal(weights["scene"], np.repeat([1, 0], [64, 128]))
    np.testing.assert_array_equal(weights["events"], np.repeat([0, 1], [64, 128]))
    numbers = np.round(1000 * log_mel[:, 0, 0]).astype(int)
    np.testing.assert_array_equal(targets["scene"][:64], clips["scene"].activity[numbers[:64]])
    np.testing.assert_array_equal(targets["events"][64:], clips["events"].activity[numbers[64:]])
    assert not targets["scene"][64:].any() and not targets["events"][:64].any()
    np.testing.assert_array_equal(log_mel[0], np.load(clips["scene"].paths[numbers[0]]))


def test_every_clip_comes_once_a_pass_and_passes_differ(clips):
    first = np.concatenate([log_mel[:64, 0, 0] for log_mel, *_ in batches(clips, 25)])  # 16 passes of 100
    numbers = np.round(1000 * first).astype(int)
    passes = numbers[:1600].reshape(16, 100)
    assert all(sorted(order) == list(range(100)) for order in passes)
    assert len({tuple(order) for order in passes}) == 16
    assert epoch_steps(clips["scene"], 64) == 2 and epoch_steps(clips["events"], 100) == 3


def test_a_resumed_training_gets_the_batches_that_an_unbroken_one_gets(clips):
    spec = AugmentSpec(time_masks=1, time_mask_frames=9, frequency_masks=1, frequency_mask_mels=9, mixup=0.3)
    unbroken, resumed = batches(clips, 7, spec), batches(clips, 2, spec, first_step=5)
    for (log_mel, targets, _), (other, other_targets, _) in zip(unbroken[5:], resumed, strict=True):
        np.testing.assert_array_equal(log_mel, other)
        np.testing.assert_array_equal(targets["events"], other_targets["events"])
    assert not np.array_equal(unbroken[0][0], resumed[0][0])


def small_model(alpha):
    """A compiled network whose outputs are far from 0 and 1, where logarithms are exact in single precision."""
    experiment = dataclasses.replace(CLIPS, tasks=TASKS, training=dataclasses.replace(CLIPS.training, alpha=alpha))
    model = build_model(CLIPS.model, TASKS, (FRAMES, MELS))
    for task in TASKS:
        kernel = model.get_layer(f"{task.name}_output").kernel
        kernel.assign(kernel * 0.02)
    return compile_model(model, TASKS, learning_rate=1e-3, loss_weights=task_weights(experiment))


def cross_entropies(targets, posteriors):
    """The two losses by their formulas in double precision: means over scene rows, and over event rows and labels."""
    scene, events = (posteriors[name].astype(float) for name in ("scene", "events"))
    y = targets["events"][64:].astype(float)
    return (-np.mean(np.sum(targets["scene"][:64] * np.log(scene[:64]), axis=1)),
            -np.mean(y * np.log(events[64:]) + (1 - y) * np.log(1 - events[64:])))


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_losses_are_those_computed_by_hand(clips, mixup):
    model = small_model(0.95)
    log_mel, targets, weights = batches(clips, 1, AugmentSpec(mixup=mixup))[0]
    scene, events = cross_entropies(targets, model.predict_on_batch(log_mel))
    losses = model.test_on_batch(log_mel, targets, sample_weight=weights, return_dict=True)
    assert losses["loss"] == pytest.approx(0.95 * events + 0.05 * scene, abs=1e-6)
    assert losses["scene_loss"] == pytest.approx(scene, abs=1e-6)
    assert losses["events_loss"] == pytest.approx(events, abs=1e-6)
    soft = np.any((targets["scene"] > 0) & (targets["scene"] < 1))
    assert soft == (mixup > 0)
    np.testing.assert_allclose(targets["scene"][:64].sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("alpha, still, moving", [(0.0, "events", "scene"), (1.0, "scene", "events")])
def test_the_head_of_a_loss_without_weight_gets_no_gradient(clips, alpha, still, moving):
    import tensorflow as tf
    model = small_model(alpha)
    log_mel, targets, weights = batches(clips, 1)[0]
    with tf.GradientTape() as tape:
        loss = model.compute_loss(log_mel, targets, model(log_mel, training=True), sample_weight=weights)
    gradients = dict(zip((variable.path for variable in model.trainable_variables),
                         tape.gradient(loss, model.trainable_variables)))
    heads = {name: [gradient for path, gradient in gradients.items() if path.startswith(f"{name}_output")]
             for name in (still, moving)}
    assert all(gradient is None or not np.any(gradient) for gradient in heads[still]) and len(heads[still]) == 2
    assert all(np.abs(gradient).max() > 1e-5 for gradient in heads[moving])


def test_weights_of_tasks():
    joint = dataclasses.replace(CLIPS, training=dataclasses.replace(CLIPS.training, alpha=0.9))
    assert task_weights(joint) == pytest.approx({"scene": 0.1, "events": 0.9})
    assert task_weights(dataclasses.replace(joint, tasks=joint.tasks[:1])) == {"scene": 1.0}


def test_predictions_of_all_clips_in_their_order(clips):
    model = build_model(CLIPS.model, TASKS, (FRAMES, MELS))
    posteriors = predict_clips(model, clips["scene"], batch_size=32)
    assert {name: value.shape for name, value in posteriors.items()} == {"scene": (100, 3), "events": (100, 4)}
    alone = model.predict_on_batch(clips["scene"].read([77]))
    np.testing.assert_allclose(posteriors["events"][77], alone["events"][0], atol=1e-5)


def test_features_of_a_corpus():
    dataset, spec = load_clips(shared_clips(), CLIPS.dataset)["events"], CLIPS.features
    features = load_clip_features(dataset, "validate", EVENTS, spec, 30, progress=False)
    clip = dataset.partitions["validate"][5]
    assert features.names[5] == clip.name
    assert features.activity[5].tolist() == [label in clip.labels for label in EVENTS]
    expected = compute_log_mel(soundfile.read(clip.audio, dtype="float32")[0], spec)
    read = features.read([5, 6])
    np.testing.assert_allclose(read[0, :25], expected, atol=1e-4)
    assert read.shape == (2, 30, 32) and (read[:, 25:] == SILENCE_DB).all()  # the clip is 25 frames long
    assert [recording.log_mel.shape for recording in features.sample(3)] == [(30, 32)] * 3


def test_clips_without_the_labels_are_left_out():
    dataset = load_clips(shared_clips(), CLIPS.dataset)["events"]
    features = load_clip_features(dataset, "train", EVENTS[1:2], CLIPS.features, 25, progress=False)
    expected = [clip.name for clip in dataset.partitions["train"] if EVENTS[1] in clip.labels]
    assert list(features.names) == expected and 0 < len(expected) < 24 and features.activity.all()
    with pytest.raises(InputError, match="clips of Barking in partition 'train'"):
        load_clip_features(dataset, "train", ("Barking",), CLIPS.features, 25)


def test_fewer_hours_are_a_part_of_more_hours():
    dataset = load_clips(shared_clips(), CLIPS.dataset)["events"]

    def names(hours, seed=0):
        return load_clip_features(dataset, "train", EVENTS, CLIPS.features, 25, hours=hours, seed=seed,
                                  progress=False).names

    six, twelve = names(12 / 3600), names(24 / 3600)  # clips of 2 s
    assert len(six) == 6 and len(twelve) == 12 and set(six) < set(twelve)
    assert set(names(12 / 3600, seed=1)) != set(six)
    with pytest.raises(InputError, match=r"at most 0.0133, the hours of clips.*Received: 1\."):
        names(1.0)


def test_unreadable_clips_are_counted_and_training_goes_on_without_them(tmp_path, caplog):
    (tmp_path / "broken.wav").write_bytes(b"RIFF....")
    soundfile.write(tmp_path / "whole.wav", tone(2.0), RATE)
    listed = tuple(Clip(name, tmp_path / f"{name}.wav", ("Speech",)) for name in ("broken", "whole", "absent"))
    dataset = ClipDataset(tmp_path, ("Speech",), {"train": listed, "test": listed[:1]})
    with caplog.at_level(logging.WARNING):
        features = load_clip_features(dataset, "train", ("Speech",), CLIPS.features, 25, progress=False)
    assert features.names == ("whole",) and "2 of 3 clips are left out" in caplog.text and "broken.wav" in caplog.text
    with pytest.raises(InputError, match="expected clips that can be read"):
        load_clip_features(dataset, "test", ("Speech",), CLIPS.features, 25, progress=False)
