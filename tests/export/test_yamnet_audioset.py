"""The preset of YAMNet's own class scores: exported without a training, it gives the published network's scores."""
import csv
import os
import pathlib

import keras
import numpy as np
import pandas as pd
import pytest
import soundfile
import tensorflow as tf

from polysed_keras.audio.files import load_audio
from polysed_keras.audio.log_mel import compute_log_mel
from polysed_keras.cli.main import main
from polysed_keras.errors import InputError
from polysed_keras.events.decoding import TAG_COLUMNS
from polysed_keras.export.runs import export_run
from polysed_keras.export.saved_model import load_saved_model
from polysed_keras.files import read_json
from polysed_keras.models.costs import experiment_cost, with_num_labels
from polysed_keras.models.network import build_model, with_labels
from polysed_keras.models.prior import has_prior
from polysed_keras.models.yamnet import class_names, convolve, read_weights
from polysed_keras.specs.experiment import YAMNET_FEATURES, ModelSpec
from polysed_keras.specs.presets import get_preset
from polysed_keras.specs.tasks import Task
from polysed_keras.training.runs import run_experiment

from contract import check_operations, promised, signatures

DATA = os.environ.get("POLYSED_TEST_DATA")
RATE, PATCH, REACH = 16000, 15360, 240  # Hz; samples of 0.96 s, and of the last window beyond them
# Categories of ESC-50 and the class of AudioSet of the same sound.
CATEGORIES = {"dog": "Dog", "rain": "Rain", "clock_tick": "Tick-tock", "cat": "Cat",
              "crying_baby": "Baby cry, infant cry", "siren": "Siren", "church_bells": "Bell",
              "helicopter": "Helicopter", "engine": "Engine", "snoring": "Snoring"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return export_run("yamnet_audioset", tmp_path_factory.mktemp("exports") / "yamnet_audioset")


@pytest.fixture(scope="module")
def detector(exported):
    return load_saved_model(exported)


def noise(seconds):
    """Noise that gets louder, so that every patch is another."""
    samples = round(seconds * RATE)
    return (np.random.default_rng(0).normal(0, 1, samples) * np.geomspace(1e-3, 0.3, samples)).astype(np.float32)


def patches(waveform):
    """Cut into (patches, samples), the last one filled up with zeros, as YAMNet's front end needs them."""
    number = -(-len(waveform) // PATCH)
    padded = np.pad(waveform, (0, number * PATCH + REACH - len(waveform)))
    return np.stack([padded[index * PATCH:(index + 1) * PATCH + REACH] for index in range(number)])


def test_there_is_nothing_to_train():
    experiment = with_labels(get_preset("yamnet_audioset"))
    model = build_model("yamnet_audioset")
    assert [(task.name, task.labels, task.encoding) for task in experiment.tasks] == [
        ("events", class_names(), "multi_label")]
    assert not experiment.learns and not has_prior(experiment) and not model.trainable_weights
    assert model.output["events"].shape == (None, 2, 521)


def test_it_costs_what_its_authors_say():
    """Their README: 3.7 million weights, and 69.2 million multiplications per patch."""
    cost = experiment_cost(with_num_labels(get_preset("yamnet_audioset"), 16))
    assert round(cost.weights / 1e6, 2) == 3.75 and round(cost.multiply_adds * 0.96 / 1e6, 1) == 69.2


def test_the_export_keeps_the_contract(exported, detector):
    card = read_json(exported / "card.json")
    assert signatures(exported) == promised(521, 64)
    check_operations(exported)
    assert (card["name"], card["version"], card["labels"]) == ("yamnet_audioset", 1, list(class_names()))
    assert card["experiment"]["model"]["head"] == "class_scores" and "best_epoch" not in card
    assert detector.labels == class_names() and detector.time_resolution == 0.96 and not detector.clip_level
    saved = [path for path in exported.rglob("*") if path.is_file() and path.suffix != ".tflite"]
    assert sum(path.stat().st_size for path in saved) < 20 * 2 ** 20


def test_posteriors_are_the_scores_of_each_patch(detector):
    """By the convolutions and the published weights alone, of 3 1/3 patches: a segment, and a part of another."""
    waveform, log_mel = noise(3.2), keras.Input((96, 64))
    features = np.stack([compute_log_mel(patch, YAMNET_FEATURES)[:96] for patch in patches(waveform)])
    last = keras.Model(log_mel, convolve(log_mel, trainable=False)[-1])(features).numpy()
    weights = read_weights()
    logits = last.mean(axis=(1, 2)) @ weights["classes/kernel"] + weights["classes/bias"]
    posteriors, activity = detector.posteriors(waveform)
    assert posteriors.shape == (4, 521)
    np.testing.assert_allclose(posteriors, 1 / (1 + np.exp(-logits)), atol=5e-5)
    np.testing.assert_array_equal(activity, posteriors >= 0.5)


@pytest.mark.skipif(not DATA, reason="POLYSED_TEST_DATA is not set")
def test_tags_are_those_of_the_published_network(detector):
    published = getattr(tf.saved_model.load(str(pathlib.Path(DATA, "yamnet"))), "layer-1")
    with open(pathlib.Path(DATA, "esc50", "meta", "esc50.csv"), encoding="utf-8") as file:
        clips = {row["category"]: row["filename"] for row in csv.DictReader(file) if row["fold"] == "1"}
    right = []
    for category, label in CATEGORIES.items():
        path = pathlib.Path(DATA, "esc50", "audio", clips[category]).with_suffix(".ogg")
        waveform = load_audio(path, RATE)
        scores = np.mean([published(patch[None])["scores"][0, 0] for patch in patches(waveform)], axis=0)
        tags = detector.tag(waveform, threshold=0)
        (names,), (confidences,) = (tags[column].str.split(";") for column in ("tags", "tag_confidences"))
        assert sorted(names) == sorted(class_names()) and tags.offset.tolist() == [len(waveform) / RATE]
        own = [scores[class_names().index(name)] for name in names]
        np.testing.assert_allclose(np.array(confidences, float), own, atol=1e-4 + 5e-4)  # printed with three digits
        np.testing.assert_allclose(detector.posteriors(waveform)[0].mean(axis=0), scores, atol=1e-4)
        right.append(label in names[:5])
    assert len(right) == 10 and sum(right) >= 8, dict(zip(CATEGORIES, right))


def test_a_recording_without_samples_has_no_row(detector):
    tags = detector.tag(np.zeros(0, np.float32))
    assert tuple(tags.columns) == TAG_COLUMNS and not len(tags)


def test_detect_writes_events_or_one_line_of_tags(exported, detector, tmp_path, capsys):
    audio = tmp_path / "a.wav"
    soundfile.write(audio, noise(3.2), RATE, subtype="FLOAT")
    labels = ["Crackle", "Static", "Child speech, kid speaking"]
    detect = ["detect", str(audio), "--model", str(exported.parent), "--threshold", "0", "--out", str(tmp_path)]
    assert main([*detect, "--tags", "--format", "csv", "--labels", *labels]) == 0
    assert "1 clips" in capsys.readouterr().out
    tags, = pd.read_csv(tmp_path / "a.csv").itertuples()
    expected = detector.posteriors(audio)[0].mean(axis=0)
    order = sorted(labels, key=lambda label: -expected[class_names().index(label)])
    assert (tags.onset, tags.offset, tags.tags.split(";")) == (0, 3.2, order)
    np.testing.assert_allclose([float(value) for value in tags.tag_confidences.split(";")],
                               [expected[class_names().index(label)] for label in order], atol=6e-4)
    assert main([*detect, "--format", "csv"]) == 0
    events = pd.read_csv(tmp_path / "a.csv")
    assert len(events) > 3 and set(events.event_label) <= set(class_names())
    assert np.allclose(events.onset / 0.96 % 1, 0)
    assert np.allclose(events.offset[events.offset < 3.2] / 0.96 % 1, 0) and events.offset.max() <= 3.2


def test_joined_tags_can_be_parted_again():
    """By ";", and in files by tabs, or by commas outside of quotes."""
    assert not [name for name in class_names() if any(mark in name for mark in ';\t"')]
    assert len(set(class_names())) == 521


@pytest.mark.parametrize("preset, message", [
    ("mcmt_8", "mcmt_8: expected the folder of a run. Received: a preset.*polysed train mcmt_8"),
    ("mcmt_9", "mcmt_9: expected the folder of a run, with experiment.json")])
def test_other_presets_are_not_exported(preset, message, tmp_path):
    with pytest.raises(InputError, match=message):
        export_run(preset, tmp_path / "export")


def test_a_folder_named_as_the_preset_is_a_run(tmp_path, monkeypatch):
    (tmp_path / "yamnet_audioset").mkdir()
    (tmp_path / "yamnet_audioset" / "experiment.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="experiment: expected the field `name`"):
        export_run("yamnet_audioset", tmp_path / "export")


@pytest.mark.parametrize("spec, tasks, message", [
    (ModelSpec("conv_blocks", "class_scores", output_stride=96), (Task("events", class_names(), "multi_label"),),
     "model.backbone: expected yamnet, with the head 'class_scores'"),
    (None, (Task("events", ("rain", "wind"), "multi_label"),), "labels: expected the 521 classes.*preset yamnet"),
    (None, (Task("events", class_names(), "multi_class"),), "labels: expected the 521 classes")])
def test_what_the_head_does_not_fit_is_refused(spec, tasks, message):
    with pytest.raises(InputError, match=message):
        build_model(spec or get_preset("yamnet_audioset").model, tasks, (96, 64))


def test_it_is_not_trained(tmp_path):
    with pytest.raises(InputError, match="preset: expected one that is trained.*polysed export yamnet_audioset"):
        run_experiment(get_preset("yamnet_audioset"), tmp_path, tmp_path / "run")
