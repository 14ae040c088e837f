"""Networks that label clips, by the command line: from a corpus to a run, tables, an export, and a line a clip."""
import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import soundfile

from polysed_keras.cli.main import main
from polysed_keras.datasets.loading import load_clips
from polysed_keras.errors import InputError
from polysed_keras.evaluation.runs import evaluate_run
from polysed_keras.events.formats.catalogue import read_annotations
from polysed_keras.events.metrics import lwlrap, macro_accuracy
from polysed_keras.export.saved_model import load_saved_model
from polysed_keras.specs import presets
from polysed_keras.training.clips import load_clip_features, predict_clips
from polysed_keras.training.fit import copy_shared_weights, load_best_model
from polysed_keras.training.runs import load_run, run_experiment

from clip_fixtures import EVENTS, SCENES, tone_wav
from fixtures import CLIPS, MULTI_LABEL, RATE, shared_clips, shared_export, shared_run, write_bank


@pytest.fixture(scope="module")
def detector():
    return load_saved_model(shared_export(CLIPS))


@pytest.fixture(scope="module")
def clip():
    return load_clips(shared_clips(), CLIPS.dataset)["scene"].partitions["test"][-1]


@pytest.fixture(scope="module")
def posteriors_of_test():
    """Of the test partition: {task: (activity, posteriors)}."""
    resolved, datasets = load_run(shared_run(CLIPS)), load_clips(shared_clips(), CLIPS.dataset)
    model, found = load_best_model(resolved, shared_run(CLIPS)), {}
    for task in resolved.tasks:
        clips = load_clip_features(datasets[task.name], "test", task.labels, CLIPS.features, 25, progress=False)
        found[task.name] = clips.activity, predict_clips(model, clips)[task.name]
    return found


def test_both_tasks_are_learnt_and_scored_as_the_metrics_say(posteriors_of_test):
    scene, events = evaluate_run(shared_run(CLIPS), shared_clips(), progress=False).tasks
    activity, posteriors = posteriors_of_test["scene"]
    assert scene.score == pytest.approx(macro_accuracy(activity.argmax(1), posteriors.argmax(1))) and scene.score > 0.6
    assert events.score == pytest.approx(lwlrap(*posteriors_of_test["events"])) and events.score > 0.75
    assert scene.labels == SCENES and events.labels == EVENTS and len(scene.clips) == 12


def test_the_best_epoch_is_chosen_by_scene_accuracy_or_by_lwlrap_where_alpha_is_1():
    assert CLIPS.measure == "val_accuracy" and MULTI_LABEL.measure == "val_f1"
    assert dataclasses.replace(CLIPS, training=dataclasses.replace(CLIPS.training, alpha=1.0)).measure == "val_lwlrap"
    assert dataclasses.replace(CLIPS, tasks=CLIPS.tasks[1:]).measure == "val_lwlrap"
    history = pd.read_csv(shared_run(CLIPS) / "history.csv")
    assert {"val_accuracy", "val_lwlrap", "val_scene_loss", "val_events_loss", "val_loss"} <= set(history)
    expected = 0.5 * history.val_scene_loss + 0.5 * history.val_events_loss
    np.testing.assert_allclose(history.val_loss, expected, atol=1e-6)


def test_an_export_gives_the_posteriors_of_evaluate(detector, posteriors_of_test):
    assert detector.time_resolution == 2.0 and detector.clip_level and detector.labels == SCENES + EVENTS
    for index, clip in enumerate(load_clips(shared_clips(), CLIPS.dataset)["scene"].partitions["test"]):
        posteriors, activity = detector.posteriors(clip.audio)
        assert posteriors.shape == activity.shape == (1, 6)
        np.testing.assert_allclose(posteriors[0, :3], posteriors_of_test["scene"][1][index], atol=1e-4)
        assert activity[0, :3].argmax() == posteriors[0, :3].argmax() and activity[0, :3].sum() == 1


def test_long_audio_has_a_line_a_clip_and_blocks_do_not_show(detector, clip, tmp_path):
    waveform = np.concatenate([soundfile.read(clip.audio, dtype="float32")[0]] * 5)[:int(8.5 * RATE)]
    whole, blocks = detector.posteriors(waveform)[0], detector.posteriors(waveform, segments_per_block=2)[0]
    assert whole.shape == (5, 6)
    np.testing.assert_allclose(blocks, whole, atol=1e-5)
    tags = detector.tag(waveform)
    assert tags.onset.tolist() == [0, 2, 4, 6, 8] and tags.offset.tolist() == [2, 4, 6, 8, 8.5]
    assert tags.scene[0] == SCENES[whole[0, :3].argmax()] and tags.confidence[0] == pytest.approx(whole[0, :3].max())


def test_what_a_detector_of_clips_cannot_do_is_an_error(detector):
    with pytest.raises(InputError, match="detect: expected a model that detects events.*Use tag"):
        detector.detect(np.zeros(RATE))
    with pytest.raises(InputError, match="labels: expected some of"):
        detector.tag(np.zeros(RATE), labels=["cow"])


@pytest.mark.parametrize("file_format, suffix, first", [
    ("tsv", ".tsv", "0.000000\t2.000000\t"), ("csv", ".csv", "onset,offset,scene,confidence,tags,tag_confidences"),
    ("audacity", ".txt", "0.000000\t2.000000\t")])
def test_detect_writes_a_line_a_clip(file_format, suffix, first, clip, tmp_path, capsys):
    arguments = ["detect", str(clip.audio), "--model", str(shared_export(CLIPS)), "--out", str(tmp_path), "--format",
                 file_format]
    assert main(arguments) == 0
    lines = (tmp_path / f"{clip.name}{suffix}").read_text().splitlines()
    assert lines[0].startswith(first) and len(lines) == (2 if file_format == "csv" else 1)
    assert f"{clip.name}.wav: 1 clips" in capsys.readouterr().out


def test_detect_prints_scene_tags_and_confidences(clip, capsys):
    assert main(["detect", str(clip.audio), "--model", str(shared_export(CLIPS)), "--threshold", "0"]) == 0
    path, onset, offset, scene, confidence, tags, confidences = capsys.readouterr().out.strip().split("\t")
    assert (path, onset, offset) == (str(clip.audio), "0.000", "2.000")
    assert scene in SCENES and 0.3 < float(confidence) <= 1
    assert sorted(tags.split(";")) == sorted(EVENTS) and len(confidences.split(";")) == 3


def test_tags_are_events_of_the_length_of_the_clip_in_other_formats(clip, tmp_path, capsys):
    arguments = ["detect", str(clip.audio), "--model", str(shared_export(CLIPS)), "--threshold", "0"]
    assert main([*arguments, "--table", str(tmp_path / "t.txt"), "--format", "raven"]) == 0
    _, (annotation,) = read_annotations(tmp_path / "t.txt")
    assert {(onset, offset) for onset, offset, _ in annotation.events} == {(0.0, 2.0)}
    (scene,) = {label for *_, label in annotation.events} - set(EVENTS)
    assert scene in SCENES and len(annotation.events) == 1 + len(EVENTS)


@pytest.fixture
def tiny_preset(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "tiny_clips", dataclasses.replace(
        CLIPS, training=dataclasses.replace(CLIPS.training, epochs=2)))


def test_train_evaluate_resume_and_fine_tune(tiny_preset, tmp_path, capsys):
    train = ["train", "tiny_clips", "--data", str(shared_clips()), "--out", str(tmp_path / "run")]
    assert main(train) == 0 and "validation macro accuracy" in capsys.readouterr().out
    assert (tmp_path / "run" / "training.png").exists()
    assert main([*train, "--resume"]) == 0
    tuned = ["train", "tiny_clips", "--data", str(shared_clips()), "--out", str(tmp_path / "tuned"), "--set",
             "training.epochs=1", "--pretrained", str(tmp_path / "run")]
    assert main(tuned) == 0
    assert json.loads((tmp_path / "tuned" / "experiment.json").read_text())["name"] == "tiny_clips epochs=1 pre-trained"
    (tmp_path / "moved").symlink_to(tmp_path / "run")
    assert main([*tuned[:-1], str(tmp_path / "moved"), "--resume"]) == 0
    assert main([*tuned[:-1], str(tmp_path / "tuned"), "--resume"]) == 2
    assert "differs in pretrained" in capsys.readouterr().err
    capsys.readouterr()
    runs = [str(tmp_path / "run"), str(tmp_path / "tuned")]
    assert main(["evaluate", *runs, "--data", str(shared_clips()), "--out", str(tmp_path / "report")]) == 0
    text = capsys.readouterr().out
    assert "class_wise_accuracy in %" in text and "class_wise_lwlrap in %" in text and "difference" in text
    names = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert names == ["class_wise_accuracy.csv", "class_wise_lwlrap.csv", "report.json"]


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(tmp_path):
    def train(epochs, folder, resume=False):
        experiment = dataclasses.replace(CLIPS, training=dataclasses.replace(CLIPS.training, epochs=epochs))
        return run_experiment(experiment, shared_clips(), folder, resume=resume, progress=False)

    unbroken = train(3, tmp_path / "a")
    train(2, tmp_path / "b")
    content = json.loads((tmp_path / "b" / "experiment.json").read_text())
    content.pop("sha256")
    content["training"]["epochs"] = 3  # as if the training of three had been cut
    (tmp_path / "b" / "experiment.json").write_text(json.dumps(content))
    pd.testing.assert_frame_equal(train(3, tmp_path / "b", resume=True), unbroken, rtol=1e-5, atol=1e-5)


def test_fine_tuning_takes_the_shared_layers_only(tmp_path):
    resolved = load_run(shared_run(CLIPS))
    source = load_best_model(resolved, shared_run(CLIPS))
    target = load_best_model(resolved, shared_run(CLIPS))
    target.set_weights([np.full_like(weight, 7) for weight in target.get_weights()])
    copy_shared_weights(source, target, resolved.tasks[:1])
    for layer in target.layers:
        if layer.weights:
            expected = [np.full_like(w, 7) for w in layer.get_weights()] if layer.name == "scene_output" else \
                source.get_layer(layer.name).get_weights()
            for value, wanted in zip(layer.get_weights(), expected, strict=True):
                np.testing.assert_array_equal(value, wanted)


def test_fine_tuning_keeps_the_outputs_of_tasks_that_stay_the_same(tmp_path):
    before = load_best_model(load_run(shared_run(CLIPS)), shared_run(CLIPS))
    slow = dataclasses.replace(CLIPS, training=dataclasses.replace(CLIPS.training, epochs=1, learning_rate=1e-9))
    events = dataclasses.replace(slow.tasks[1], labels=load_run(shared_run(CLIPS)).tasks[1].labels[:2])
    for tasks, kept in ((slow.tasks, True), ((slow.tasks[0], events), False)):
        run = tmp_path / f"kept {kept}"
        run_experiment(dataclasses.replace(slow, tasks=tasks), shared_clips(), run, pretrained=shared_run(CLIPS),
                       progress=False)
        after = load_best_model(load_run(run), run)
        name = f"{events.name}_output"
        same = [np.array_equal(np.shape(a), np.shape(b)) and np.allclose(a, b, atol=1e-6) for a, b in
                zip(before.get_layer(name).get_weights(), after.get_layer(name).get_weights(), strict=True)]
        assert all(same) == kept
        np.testing.assert_allclose(before.get_layer("scene_output").get_weights()[0],
                                   after.get_layer("scene_output").get_weights()[0], atol=1e-6)


def test_fine_tuning_another_network_is_an_error(tiny_preset, tmp_path, capsys):
    assert main(["train", "tiny_clips", "--data", str(shared_clips()), "--out", str(tmp_path / "run"), "--pretrained",
                 str(shared_run(CLIPS)), "--set", "model.filters=[8,32]"]) == 2
    assert "expected the same backbone" in capsys.readouterr().err


def test_runs_of_two_kinds_are_not_compared(capsys):
    assert main(["evaluate", str(shared_run(CLIPS)), str(shared_run(MULTI_LABEL)), "--data", str(shared_clips())]) == 2
    assert "expected all of recordings, or all of clips" in capsys.readouterr().err


def test_clips_are_not_mixed_from_a_soundbank(tiny_preset, tmp_path, capsys):
    assert main(["train", "tiny_clips", "--data", str(shared_clips()), "--out", str(tmp_path / "run"), "--soundbank",
                 str(write_bank(tmp_path / "bank"))]) == 2
    assert "polysed standin" in capsys.readouterr().err


def test_check_says_what_is_wrong(tmp_path, capsys):
    from shutil import copytree
    folder = copytree(shared_clips() / "tut_urban_acoustic_scenes_2018", tmp_path / "tut")
    names = sorted((folder / "audio").iterdir())
    names[0].unlink()
    names[1].write_bytes(tone_wav([440])[:100])
    report = tmp_path / "report.json"
    assert main(["check", "tut_urban_acoustic_scenes_2018", "--data", str(folder), "--out", str(report)]) == 1
    text = capsys.readouterr().out
    assert "missing" in text and names[0].stem in text and "short" in text
    assert len(json.loads(report.read_text())["missing"]) == 1
    assert main(["check", "tut_urban_acoustic_scenes_2018", "--data", str(tmp_path / "nothing")]) == 2


def test_augmentation_of_recordings_is_refused(capsys, tmp_path):
    assert main(["train", "multilabel_small", "--data", str(tmp_path), "--out", str(tmp_path / "run"), "--set",
                 "augment.mixup=0.2"]) == 2
    assert "augment: expected none, but for networks of clips" in capsys.readouterr().err
