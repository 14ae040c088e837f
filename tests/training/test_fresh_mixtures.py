"""Mixtures that are drawn while a network trains: what is drawn, what it is trained on, resuming, and mistakes."""
import dataclasses
import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile

from polysed_keras.cli.main import main
from polysed_keras.datasets.loading import load_dataset
from polysed_keras.errors import InputError
from polysed_keras.evaluation.runs import load_seen_combinations
from polysed_keras.specs.tasks import Decomposition, resolve_tasks
from polysed_keras.synthesis.corpus import synthesize
from polysed_keras.synthesis.drawing import SoundscapeSpec
from polysed_keras.synthesis.soundbank import partition_soundbank, read_soundbank
from polysed_keras.training import runs as experiments
from polysed_keras.training.fresh_mixtures import fresh_recordings, resolve_mixing
from polysed_keras.training.recordings import fresh_segment_dataset, num_batches
from polysed_keras.training.runs import load_run, run_experiment

from fixtures import FEATURES, MULTI_LABEL, POWERSET, RATE, write_bank

LABELS = ("beep", "hum", "knock", "wail")
SPEC = SoundscapeSpec(sample_rate=RATE, duration_seconds=10.0, piece_seconds=(0.5, 3.0), silence_seconds=(0.2, 2.0),
                      background="pink")
GROUPED = dataclasses.replace(POWERSET, tasks=Decomposition(groups=(("wail", "knock"), ("beep", "hum"))))
SEGMENTS = {"segment_frames": 32, "segment_hop": 32, "batch_size": 8, "seed": 3}


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return write_bank(tmp_path_factory.mktemp("bank"), LABELS)


@pytest.fixture(scope="module")
def data(bank, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixing") / "data"
    partitions = partition_soundbank(read_soundbank(bank), seed=5)
    synthesize(partitions, folder, SPEC, (3, 1, 1), seed=5)
    return folder


def resolved(experiment, **training):
    return dataclasses.replace(experiment, tasks=resolve_tasks(experiment.tasks, LABELS),
                               training=dataclasses.replace(experiment.training, **training))


def drawing(bank, data, experiment=None, **changes):
    mixing = dataclasses.replace(resolve_mixing(bank, data), **changes)
    return fresh_recordings(mixing, load_dataset(data), experiment or resolved(MULTI_LABEL))[0]


# What is drawn

def test_a_corpus_says_how_its_like_are_made(bank, data, tmp_path):
    mixing = resolve_mixing(bank, data)
    assert (mixing.spec, mixing.mixtures, mixing.seed, mixing.whole) == (SPEC, 3, 5, False)
    changed = resolve_mixing(bank, data, 7, ["background=brown", "event_to_background_db=[0, 9]"])
    assert changed.mixtures == 7 and changed.spec.event_to_background_db == (0, 9)
    assert resolve_mixing(bank, tmp_path).whole


def test_every_epoch_is_new_and_depends_on_seed_and_epoch_alone(bank, data):
    first, again = drawing(bank, data), drawing(bank, data)
    epochs = [first(epoch) for epoch in (0, 1)]
    for one, other in zip(epochs[1], again(1), strict=True):  # without epoch 0
        np.testing.assert_array_equal(one.log_mel, other.log_mel)
        np.testing.assert_array_equal(one.event_roll, other.event_roll)
    everything = [recording.log_mel for epoch in epochs for recording in epoch]
    everything += [recording.log_mel for recording in drawing(bank, data, resolved(MULTI_LABEL, seed=1))(0)]
    assert len(everything) == 9 and all(log_mel.shape == (500, 16) for log_mel in everything)
    assert not any(np.array_equal(everything[i], everything[j]) for i in range(9) for j in range(i))


def test_a_mixture_is_kept_for_as_many_epochs_as_asked(bank, data):
    draw = drawing(bank, data, mixtures=5, kept_epochs=3)
    epochs = [draw(epoch) for epoch in range(8)]
    for index in range(5):
        log_mels = [epoch[index].log_mel for epoch in epochs]
        renewed = {epoch for epoch in range(1, 8) if not np.array_equal(log_mels[epoch], log_mels[epoch - 1])}
        assert renewed == set(range(index % 3, 8, 3)) - {0}
    late = drawing(bank, data, mixtures=5, kept_epochs=3)(7)  # as a resumed training draws it
    for one, other in zip(late, epochs[7], strict=True):
        np.testing.assert_array_equal(one.log_mel, other.log_mel)


def test_only_training_recordings_are_heard(bank, data):
    """The labels' tones are at known frequencies: a band sounds where the roll says so."""
    recording = drawing(bank, data, mixtures=1, spec=dataclasses.replace(SPEC, background=""))(0)[0]
    heard = {label: recording.log_mel[recording.event_roll[:, column] == 1].mean(axis=0)
             for column, label in enumerate(LABELS) if recording.event_roll[:, column].any()}
    silent = recording.log_mel[~recording.event_roll.any(axis=1)].mean(axis=0)
    assert heard and all(np.max(levels - silent) > 20 for levels in heard.values())


def test_rolls_have_the_order_of_the_tasks(bank, data):
    recordings, plain = (drawing(bank, data, resolved(each))(0) for each in (GROUPED, MULTI_LABEL))
    for one, other in zip(recordings, plain, strict=True):
        np.testing.assert_array_equal(one.event_roll, other.event_roll[:, [3, 2, 0, 1]])


def test_an_epoch_holds_every_segment_once(bank, data):
    draw, experiment = drawing(bank, data), resolved(GROUPED, **SEGMENTS, epochs=2)
    for first in (0, 1):
        dataset = fresh_segment_dataset(draw, experiment, first)
        batches = list(dataset.as_numpy_iterator())
        expected = np.concatenate([recording.log_mel[:480].reshape(-1, 32, 16)  # 500 frames: 15 segments and a rest
                                   for epoch in range(first, 2) for recording in draw(epoch)])
        segments = np.concatenate([log_mel for log_mel, _ in batches])
        assert len(batches) == (2 - first) * num_batches(draw(0), experiment.training)
        np.testing.assert_array_equal(np.sort(segments.sum(axis=(1, 2))), np.sort(expected.sum(axis=(1, 2))))
        assert not np.array_equal(segments, expected)  # shuffled
        assert [target.shape for target in batches[0][1].values()] == [(8, 32), (8, 32)]


def test_targets_belong_to_their_segments(bank, data):
    draw, experiment = drawing(bank, data), resolved(MULTI_LABEL, **SEGMENTS, epochs=1)
    rolls = {recording.log_mel[i:i + 32].tobytes(): recording.event_roll[i:i + 32]
             for recording in draw(0) for i in range(0, 469, 32)}
    dataset = fresh_segment_dataset(draw, experiment)
    for log_mel, targets in dataset.as_numpy_iterator():
        for segment, target in zip(log_mel, targets["events"], strict=True):
            np.testing.assert_array_equal(target, rolls[segment.tobytes()])


# Training

@pytest.mark.slow
def test_an_interrupted_training_goes_on_with_the_same_mixtures(bank, data, tmp_path, monkeypatch):
    mixing = resolve_mixing(bank, data, kept_epochs=2)
    unbroken = run_experiment(MULTI_LABEL, data, tmp_path / "unbroken", mixing=mixing, progress=False)
    assert json.loads((tmp_path / "unbroken" / "experiment.json").read_text())["mixing"] == mixing.to_dict()
    assert load_run(tmp_path / "unbroken").tasks[0].labels == LABELS
    from polysed_keras.training import fresh_mixtures as module
    draw_recording, drawn = module.draw_recording, []

    def stop(*arguments):
        drawn.append(arguments)
        if len(drawn) == 6:  # 3 mixtures in the first epoch, 1 in the second, 2 in the third
            raise KeyboardInterrupt
        return draw_recording(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, "draw_recording", stop)
        with pytest.raises(BaseException):  # noqa: B017 - TensorFlow may wrap the interruption
            run_experiment(MULTI_LABEL, data, tmp_path / "broken", mixing=mixing, progress=False)
    finished = len(json.loads((tmp_path / "broken" / "state.json").read_text())["history"])
    assert 0 < finished < 3
    resumed = run_experiment(MULTI_LABEL, data, tmp_path / "broken", mixing=mixing, resume=True, progress=False)
    pd.testing.assert_frame_equal(resumed, unbroken, rtol=0, atol=1e-6)


def test_the_sounds_are_those_of_all_folders_that_mixtures_are_drawn_of(bank, data, tmp_path):
    soundfile.write(tmp_path / "yard.wav", 0.1 * np.random.default_rng(0).standard_normal(8000), RATE)
    mixing = resolve_mixing(bank, data, assignments=[f"background=pink+{tmp_path}"])
    _, sounds = fresh_recordings(mixing, load_dataset(data), resolved(MULTI_LABEL))
    assert sorted(sounds.values()) == sorted([*bank.rglob("*.wav"), tmp_path / "yard.wav"])
    assert not any(str(tmp_path) in name or str(bank) in name for name in sounds)  # wherever they are


@pytest.mark.slow
def test_sounds_that_were_replaced_are_other_data(bank, data, tmp_path):
    sounds = shutil.copytree(bank, tmp_path / "sounds")
    experiment = dataclasses.replace(MULTI_LABEL, training=dataclasses.replace(MULTI_LABEL.training, epochs=1))
    mixing = resolve_mixing(sounds, data)
    run_experiment(experiment, data, tmp_path / "run", mixing=mixing, progress=False)
    run_experiment(experiment, data, tmp_path / "run", mixing=mixing, progress=False, resume=True)
    path = next(sounds.rglob("*.wav"))
    content, before = path.read_bytes(), path.stat()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(InputError, match="differs in the audio of data_digest"):
        run_experiment(experiment, data, tmp_path / "run", mixing=mixing, progress=False, resume=True)


@pytest.mark.slow
def test_other_mixtures_are_another_experiment(bank, data, tmp_path):
    experiment = dataclasses.replace(MULTI_LABEL, training=dataclasses.replace(MULTI_LABEL.training, epochs=1))
    run_experiment(experiment, data, tmp_path / "run", mixing=resolve_mixing(bank, data), progress=False)
    for mixing in (resolve_mixing(bank, data, 2), None):
        with pytest.raises(InputError, match="another experiment"):
            run_experiment(experiment, data, tmp_path / "run", mixing=mixing, resume=True, progress=False)


def test_the_command_line_makes_what_it_validates_with(tmp_path, bank, monkeypatch, capsys):
    train = ["train", "multilabel_small", "--soundbank", str(bank), "--mixtures", "1", "1", "1", "--duration", "10",
             "--recipe", "paper", "--out", str(tmp_path / "run"), "--set", "training.epochs=1", "model.filters=[8,8]",
             "--mix", "background=pink"]
    assert main(train) == 0
    stored = json.loads((tmp_path / "run" / "experiment.json").read_text())["mixing"]
    assert stored["mixtures"] == 1 and stored["spec"]["background"] == "pink" and not stored["whole"]
    assert {name: len(part) for name, part in load_dataset(tmp_path / "run" / "data").partitions.items()} == {
        "train": 0, "validate": 1, "test": 1}
    assert main([*train, "--resume"]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(tmp_path / "run" / "data")]) == 0
    assert main(["train", "multilabel_small", "--out", str(tmp_path / "other")]) == 2
    assert "--data DATA, --soundbank DIR" in capsys.readouterr().err


def test_combinations_are_noted_as_they_are_drawn(bank, data, tmp_path, monkeypatch):
    drawn = []

    def fit_model(experiment, feed, *_, **__):
        draw = feed.args[1]
        drawn.extend(draw(0) + draw(1))

    monkeypatch.setattr(experiments, "fit_model", fit_model)
    run_experiment(GROUPED, data, tmp_path, mixing=resolve_mixing(bank, data), progress=False)
    seen, = load_seen_combinations([tmp_path])
    for task, columns, combinations in zip(seen.tasks, (slice(0, 2), slice(2, 4)), seen.seen, strict=True):
        encoded = np.concatenate([task.encode(recording.event_roll[:, columns]) for recording in drawn])
        assert combinations == tuple(sorted(set(encoded.tolist())))
        assert len(combinations) > 1


# Mistakes

def test_another_soundbank_is_refused(bank, data, tmp_path):
    with pytest.raises(InputError, match="heard in its other partitions"):
        drawing(bank, data, seed=6)
    other = write_bank(tmp_path / "other", ("beep", "hum"))
    with pytest.raises(InputError, match="expected the labels of"):
        drawing(other, data)


@pytest.mark.parametrize("change, words", [
    ({"spec": dataclasses.replace(SPEC, sample_rate=16000)}, "sample_rate: expected that of the features, 8000 Hz"),
    ({"mixtures": 0}, "mixtures: expected at least one"),
    ({"kept_epochs": 0}, "kept_epochs: expected at least one"), ({"soundbank": "no/such"}, "no such folder")])
def test_mixing_mistakes(change, words, bank, data):
    assert FEATURES.sample_rate == 8000
    with pytest.raises(InputError, match=words):
        drawing(bank, data, **change)
