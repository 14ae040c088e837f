"""The files of an export by themselves.

They are run through TensorFlow's C API in a process without its Python, with hostile requests as well; by
saved_model_cli; and on the other lane of dependencies.
"""
import os

import numpy as np
import pytest

from polysed_keras.audio.log_mel import compute_log_mel
from polysed_keras.export.saved_model import load_saved_model

from contract import ask, evaluated, wav_bytes
from fixtures import CLIPS, HOP, MULTI_LABEL, POWERSET, RATE, run_python, shared_export, shared_run

INVALID_ARGUMENT = 3
NAN = np.float32("nan")


def noise(samples, seed=0):
    """A waveform that a 16-bit file keeps, with a tone."""
    rng = np.random.default_rng(seed)
    waveform = 0.1 * rng.standard_normal(samples) + 0.3 * np.sin(np.arange(samples) * rng.uniform(0.2, 2))
    return (np.round(32768 * waveform) / 32768).astype(np.float32)


WAVEFORM, SHORT, LONG = noise(33_333), noise(700, 1), noise(30 * 60 * RATE, 2)
FRAMES = -(-len(WAVEFORM) // HOP)


def ordinary(experiment):
    """A request to each signature that runs the network."""
    files = [wav_bytes(WAVEFORM, RATE), wav_bytes(SHORT, RATE, subtype="FLOAT")]
    return [("serving_default", WAVEFORM[None]), ("detect_wav", files),
            ("log_mel", compute_log_mel(WAVEFORM, experiment.features)[None])]


def check_ordinary(answers, experiment):
    posteriors, activity = evaluated(experiment, WAVEFORM)
    assert [answer["message"] for answer in answers] == [""] * 3
    for answer in answers:
        np.testing.assert_allclose(answer["outputs"]["posteriors"][0], posteriors, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(answer["outputs"]["activity"][0], activity)
    short, files = evaluated(experiment, SHORT)[0], answers[1]["outputs"]
    assert files["num_frames"].tolist() == [len(posteriors), len(short)]
    np.testing.assert_allclose(files["posteriors"][1, :len(short)], short, rtol=0, atol=1e-5)


HOSTILE = {
    "NaN": ("serving_default", np.r_[SHORT, NAN][None], "waveform: expected finite samples"),
    "infinity": ("serving_default", np.r_[SHORT, -np.float32("inf")][None], "waveform: expected finite samples"),
    "too_loud": ("serving_default", 1e30 * SHORT[None], "expected finite features, as of samples from -1 to 1"),
    "one_axis": ("serving_default", SHORT, ""),
    "three_axes": ("serving_default", SHORT[None, None], ""),
    "whole_numbers": ("serving_default", np.zeros((1, 700), np.int32), "to be float"),
    "text_for_samples": ("serving_default", [b"text"], "to be float"),
    "NaN_features": ("log_mel", np.full((1, 40, 16), NAN), "expected finite features"),
    "other_mels": ("log_mel", np.zeros((1, 32, 17), np.float32), ""),
    "twice_the_mels": ("log_mel", np.zeros((1, 32, 32), np.float32), ""),
    "no_wav": ("detect_wav", [bytes(range(256))], "wav_bytes: expected a WAV file. Received: 256 bytes that are none."),
    "one_of_two": ("detect_wav", [wav_bytes(SHORT, RATE), b"RIFF"], "expected a WAV file. Received: 4 bytes"),
    "another_rate": ("detect_wav", [wav_bytes(SHORT, 44100)],
                     "wav_bytes: expected the rate of the model, 8000 Hz. Received: 44100 Hz. Resample it."),
    "no_samples": ("detect_wav", [wav_bytes(SHORT[:0], RATE)], "expected audio. Received: a file"),
    "truncated": ("detect_wav", [wav_bytes(SHORT, RATE)[:-9]], "Received: 1391 of 1400 bytes. It is truncated."),
    "NaN_in_a_file": ("detect_wav", [wav_bytes(np.r_[SHORT, NAN], RATE, subtype="FLOAT")],
                      "wav_bytes: expected finite samples"),
    "no_list": ("detect_wav", np.zeros(1, np.float32), "to be string"),
}
EMPTY = {
    "no_waveforms": ("serving_default", np.zeros((0, 700), np.float32), (0, 5)),
    "no_samples_in_two": ("serving_default", np.zeros((2, 0), np.float32), (2, 0)),
    "no_files": ("detect_wav", [], (0, 0)),
    "no_features": ("log_mel", np.zeros((0, 33, 16), np.float32), (0, 33)),
    "no_frames": ("log_mel", np.zeros((3, 0, 16), np.float32), (3, 0)),
    "one_sample": ("serving_default", np.ones((2, 1), np.float32), (2, 1)),
    "one_sample_in_a_file": ("detect_wav", [wav_bytes(SHORT[:1], RATE)], (1, 1)),
    "one_frame": ("log_mel", np.zeros((1, 1, 16), np.float32), (1, 1)),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """One session that is asked everything, and something ordinary at the beginning and at the end."""
    named = {key: request[:2] for key, request in (HOSTILE | EMPTY).items()}
    asked = [*ordinary(POWERSET), *named.values(), ("serving_default", LONG[None]),
             ("detect_wav", [wav_bytes(LONG, RATE)]),
             ("describe", np.zeros(1, np.int32)), *ordinary(POWERSET)]
    answered = ask(shared_export(POWERSET) / "1", asked, tmp_path_factory.mktemp("answers"))
    return dict(zip(["first"] * 3 + [*named, "long", "long_file", "description"], answered)) | {
        "first": answered[:3], "last": answered[-3:]}


def test_the_c_api_gives_the_posteriors_of_evaluate(answers):
    check_ordinary(answers["first"], POWERSET)


@pytest.mark.parametrize("experiment", [MULTI_LABEL, CLIPS], ids=lambda experiment: experiment.name)
def test_the_c_api_runs_networks_of_other_kinds(experiment, tmp_path):
    check_ordinary(ask(shared_export(experiment) / "1", ordinary(experiment), tmp_path), experiment)


def test_the_c_api_gives_the_description(answers):
    description = load_saved_model(shared_export(POWERSET)).description
    received = answers["description"]["outputs"]
    assert set(received) == set(description)
    assert [label.decode() for label in received["labels"][0]] == description["labels"]
    assert (received["sample_rate"][0], received["name"][0].decode()) == (RATE, description["name"])
    assert received["time_resolution"].dtype == np.float64
    assert received["time_resolution"][0] == description["time_resolution"]


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_answered_is_an_error_that_says_why(answers, name):
    _, _, message = HOSTILE[name]
    assert answers[name]["code"] == INVALID_ARGUMENT and message in answers[name]["message"]


@pytest.mark.parametrize("name", EMPTY)
def test_little_or_nothing_is_answered_at_its_length(answers, name):
    signature, _, shape = EMPTY[name]
    assert answers[name]["message"] == ""
    outputs = answers[name]["outputs"]
    assert outputs["posteriors"].shape == outputs["activity"].shape == (*shape, 4)
    assert np.isfinite(outputs["posteriors"]).all()
    assert signature != "detect_wav" or outputs["num_frames"].tolist() == [shape[1]] * shape[0]


def test_half_an_hour_is_answered_as_its_blocks_are(answers):
    posteriors, activity = load_saved_model(shared_export(POWERSET)).posteriors(LONG)
    for answer in (answers["long"], answers["long_file"]):
        assert answer["message"] == ""
        np.testing.assert_allclose(answer["outputs"]["posteriors"][0], posteriors, rtol=0, atol=1e-5)
        assert (answer["outputs"]["activity"][0] == activity).mean() > 0.9999
    assert answers["long_file"]["outputs"]["num_frames"] == [30 * 60 * 50]


def test_nothing_of_it_ends_the_process(answers):
    check_ordinary(answers["last"], POWERSET)


# saved_model_cli

COMMAND_LINE = """
import os, sys
from tensorflow.python.tools import saved_model_cli   # once, for the processes that run its commands
for arguments in map(str.split, sys.argv[1:]):
    if os.fork() == 0:
        sys.argv[1:] = arguments
        saved_model_cli.main()
    assert os.wait()[1] == 0, arguments
"""


@pytest.mark.slow
def test_saved_model_cli_shows_runs_and_scans(tmp_path):
    model = shared_export(POWERSET) / "1"
    np.save(tmp_path / "waveform.npy", WAVEFORM[None])
    printed = run_python(COMMAND_LINE, f"show --dir {model} --all",
                         f"run --dir {model} --tag_set serve --signature_def serving_default --outdir {tmp_path} "
                         f"--inputs waveform={tmp_path}/waveform.npy", f"scan --dir {model} --tag_set serve")
    for signature in ("serving_default", "detect_wav", "log_mel", "describe"):
        assert f"signature_def['{signature}']" in printed
    assert "does not contain the default denylisted ops" in printed
    posteriors, activity = evaluated(POWERSET, WAVEFORM)
    np.testing.assert_allclose(np.load(tmp_path / "posteriors.npy")[0], posteriors, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(np.load(tmp_path / "activity.npy")[0], activity)


# The other lane

EXPORT = """
import sys
from polysed_keras.export import export_run
export_run(sys.argv[1], sys.argv[2])
"""


@pytest.fixture
def other_python():
    if not os.environ.get("POLYSED_OTHER_PYTHON"):
        pytest.skip("POLYSED_OTHER_PYTHON is unset: it names the Python of an environment of the other lane")
    return os.environ["POLYSED_OTHER_PYTHON"]


@pytest.mark.parametrize("experiment", [MULTI_LABEL, POWERSET, CLIPS], ids=lambda experiment: experiment.name)
def test_an_export_of_this_lane_runs_on_the_other(experiment, other_python, tmp_path):
    check_ordinary(ask(shared_export(experiment) / "1", ordinary(experiment), tmp_path, other_python), experiment)


def test_an_export_of_the_other_lane_runs_on_this_one(other_python, tmp_path):
    run_python(EXPORT, shared_run(POWERSET), tmp_path / "other", python=other_python)
    check_ordinary(ask(tmp_path / "other" / "1", ordinary(POWERSET), tmp_path), POWERSET)
    assert load_saved_model(tmp_path / "other").description["name"] == "other"
