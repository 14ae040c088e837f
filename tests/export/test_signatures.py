"""The signatures of an export: their names, shapes and types, their numbers, and how they are described."""
import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from polysed_keras.audio.files import load_audio
from polysed_keras.audio.log_mel import compute_log_mel
from polysed_keras.errors import InputError
from polysed_keras.export.description import describe
from polysed_keras.export.saved_model import load_saved_model
from polysed_keras.specs.tasks import task_labels
from polysed_keras.training.runs import load_run

from contract import evaluated, promised, signatures, wav_bytes
from fixtures import CLIPS, HOP, LABELS, MULTI_LABEL, POWERSET, RATE, shared_export, shared_run

LENGTHS = [1, HOP, 32 * HOP, 32 * HOP + 1, 33_333]
EXPERIMENTS = pytest.mark.parametrize("experiment", [MULTI_LABEL, POWERSET, CLIPS],
                                      ids=lambda experiment: experiment.name)


@functools.cache
def loaded(experiment):
    return tf.saved_model.load(str(shared_export(experiment) / "1"))


def call(experiment, signature, value):
    """A signature's answer to its input: {output: array}."""
    function = loaded(experiment).signatures[signature]
    (name,) = function.structured_input_signature[1]
    return {key: output.numpy() for key, output in function(**{name: tf.constant(value)}).items()}


def noise(samples, seed=0):
    """A waveform that a 16-bit file keeps, with a tone."""
    rng = np.random.default_rng(seed)
    waveform = 0.1 * rng.standard_normal(samples) + 0.3 * np.sin(np.arange(samples) * rng.uniform(0.2, 2))
    return (np.round(32768 * waveform) / 32768).astype(np.float32)


@EXPERIMENTS
def test_names_shapes_and_types_are_as_promised(experiment):
    labels = task_labels(load_run(shared_run(experiment)).tasks)
    assert signatures(shared_export(experiment) / "1") == promised(len(labels), experiment.features.n_mels)


# Files

@EXPERIMENTS
def test_files_of_unequal_length_are_answered_as_each_alone(experiment):
    waveforms = [noise(samples, seed) for seed, samples in enumerate(LENGTHS)]
    answer = call(experiment, "detect_wav", [wav_bytes(waveform, RATE) for waveform in waveforms])
    expected = [evaluated(experiment, waveform) for waveform in waveforms]
    rows = [len(posteriors) for posteriors, _ in expected]
    assert answer["num_frames"].tolist() == rows and len(set(rows)) > 1
    assert answer["posteriors"].shape == answer["activity"].shape == (5, max(rows), expected[0][0].shape[1])
    for index, (posteriors, activity) in enumerate(expected):
        np.testing.assert_allclose(answer["posteriors"][index, :rows[index]], posteriors, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(answer["activity"][index, :rows[index]], activity)
        assert not answer["posteriors"][index, rows[index]:].any() and not answer["activity"][index, rows[index]:].any()


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_averaged_as_load_audio_does(channels, tmp_path):
    content = wav_bytes(np.stack([noise(9_000, seed) for seed in range(channels)], axis=1), RATE)
    (tmp_path / "a.wav").write_bytes(content)
    expected = call(POWERSET, "serving_default", load_audio(tmp_path / "a.wav", RATE)[None])
    np.testing.assert_allclose(call(POWERSET, "detect_wav", [content])["posteriors"], expected["posteriors"], atol=1e-6)


def test_a_file_that_cannot_be_read_is_an_error_of_the_batch():
    for content, message in ((b"text", "wav_bytes: expected a WAV file. Received: 4 bytes"),
                             (wav_bytes(noise(100), 44100),
                              "expected the rate of the model, 8000 Hz. Received: 44100 Hz")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            call(POWERSET, "detect_wav", [wav_bytes(noise(100), RATE), content])


# Features and description

@EXPERIMENTS
@pytest.mark.parametrize("samples", LENGTHS)
def test_features_are_answered_as_their_waveform(experiment, samples):
    answer = call(experiment, "log_mel", compute_log_mel(noise(samples), experiment.features)[None])
    posteriors, activity = evaluated(experiment, noise(samples))
    np.testing.assert_allclose(answer["posteriors"][0], posteriors, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(answer["activity"][0], activity)


def test_a_description_comes_with_every_row_of_a_query():
    expected = describe(load_run(shared_run(POWERSET)), "tiny_tasks-export", 1)
    expected |= {key: json.dumps(expected[key]) for key in ("experiment", "calibration")}
    answer = call(POWERSET, "describe", [0, 7])
    assert set(answer) == set(expected) and set(call(POWERSET, "describe", np.zeros(0, np.int32))) == set(expected)
    for key, value in expected.items():
        rows = np.char.decode(answer[key].astype(bytes)) if answer[key].dtype == object else answer[key]
        assert rows.tolist() == [value, value], key


class Old(tf.Module):
    """Served as exports of version 0.1.0 were: no rows, name and version in the description, no other signatures."""

    def __init__(self, description):
        super().__init__()
        self.description = description

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, "waveform")])
    def serve(self, waveform):
        ones = tf.ones([tf.shape(waveform)[0], -(-tf.shape(waveform)[1] // HOP), len(LABELS)])
        return {"posteriors": ones, "activity": tf.cast(ones, tf.uint8)}

    @tf.function(input_signature=[])
    def describe(self):
        return {key: tf.constant(value, tf.float64 if key == "time_resolution" else None)
                for key, value in self.description.items()}


def save_old(description, directory):
    old = Old({key: json.dumps(value) if key == "experiment" else value for key, value in description.items()})
    tf.saved_model.save(old, str(directory), {"serving_default": old.serve, "describe": old.describe})


def test_an_export_of_an_older_version_is_loaded(tmp_path):
    description = describe(load_run(shared_run(POWERSET)), "", 0)
    del description["name"], description["version"], description["calibration"]
    save_old(description, tmp_path)
    detector = load_saved_model(tmp_path)
    assert detector.description == description
    assert detector.posteriors(noise(2 * HOP))[0].tolist() == [[1.0] * 4] * 2


def test_a_description_without_what_is_needed_is_an_error(tmp_path):
    save_old({"labels": list(LABELS), "experiment": MULTI_LABEL.to_dict()}, tmp_path)
    with pytest.raises(InputError, match="expected a SavedModel with the signatures "
                       "serving_default and describe.*rate"):
        load_saved_model(tmp_path)
