"""The trained models that come with the project keep the contract, run on either lane and hear real recordings."""
import csv
import math
import pathlib
import re

import numpy as np
import pandas as pd
import pytest
import soundfile

from polysed_keras.audio import load_audio
from polysed_keras.cli.main import main
from polysed_keras.export.description import DEFAULT_MODEL
from polysed_keras.export.runtimes import load_export
from polysed_keras.export.saved_model import load_saved_model
from polysed_keras.export.warmup import REQUESTS
from polysed_keras.files import read_json

from contract import ask, check_operations, promised, signatures, wav_bytes

FOLDER = pathlib.Path(__file__).parents[2] / "saved_models"
MODELS = sorted({path.parents[1] for path in FOLDER.glob("*/*/saved_model.pb")})
MAX_BYTES = 25 * 2 ** 20  # of each form of the network: SavedModel, LiteRT
FOLD = 4  # of ESC-50: no model was trained on it


@pytest.fixture(params=MODELS, ids=lambda path: path.name)
def model(request):
    return request.param


def test_the_default_is_among_them():
    assert DEFAULT_MODEL in MODELS


def test_a_model_keeps_the_contract(model, tmp_path):
    """Answered by TensorFlow's C API: the same from samples and from a file."""
    version, = (path for path in model.iterdir() if path.name.isdecimal())
    card = read_json(version / "card.json")
    labels, rate = card["labels"], card["sample_rate"]
    check_operations(version)
    assert signatures(version) == promised(len(labels), card["experiment"]["features"]["n_mels"])
    assert (version / REQUESTS).is_file()
    noise = np.random.default_rng(0).integers(-3000, 3000, 2 * rate).astype(np.int16)
    described, heard, read = ask(version, [("describe", np.zeros(1, np.int32)),
                                           ("serving_default", noise[None] / np.float32(32768)),
                                           ("detect_wav", [wav_bytes(noise, rate)])], tmp_path)
    assert [label.decode() for label in described["outputs"]["labels"][0]] == labels
    assert heard["outputs"]["posteriors"].shape == (1, math.ceil(2 / card["time_resolution"]), len(labels))
    np.testing.assert_allclose(heard["outputs"]["posteriors"], read["outputs"]["posteriors"], rtol=0, atol=1e-6)


def test_a_model_is_small_and_has_a_card(model):
    files = [path for path in model.rglob("*") if path.is_file()]
    litert = [path for path in files if path.suffix == ".tflite"]
    assert sum(path.stat().st_size for path in set(files) - set(litert)) < MAX_BYTES
    assert sum(path.stat().st_size for path in litert) < MAX_BYTES
    card = (model / "README.md").read_text()
    titles = re.findall(r"^## (.+)$", card, re.M)
    assert titles == ["What it hears", "Data and licence", "Recipe", "Scores", "Known failures", "Cost"]
    described = read_json(next(model.glob("*/card.json")))
    lists = [(model / path).read_text().splitlines() for path in re.findall(r"\]\((\S+_classes\.txt)\)", card)]
    assert described["labels"] in lists or all(f"`{label}`" in card for label in described["labels"])
    assert f"{described['sample_rate']} Hz" in card and "polysed export" in card and "/work" not in card
    assert re.search(r"[Cc]ommits? [0-9a-f]{7}", card)


def test_litert_detects_the_events_of_the_saved_model(esc50):
    """In two minutes of recordings with sounds; the posteriors that decide them are equal to 1e-4."""
    litert, reference = load_export(DEFAULT_MODEL), load_saved_model(DEFAULT_MODEL)
    paths = sorted((esc50 / "audio").iterdir())[::80]
    waveform = np.concatenate([load_audio(path, litert.sample_rate) for path in paths[:24]])
    np.testing.assert_allclose(litert.posteriors(waveform)[0], reference.posteriors(waveform)[0], rtol=0, atol=1e-4)
    events, expected = litert.detect(waveform), reference.detect(waveform)
    assert len(expected) > 5
    pd.testing.assert_frame_equal(events, expected, rtol=0, atol=1e-4)


def test_detect_takes_the_default_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    soundfile.write("silence.wav", np.zeros(44100), 44100)
    assert main(["detect", "silence.wav", "--out", "events"]) == 0
    assert "saved_models/everyday" in capsys.readouterr().err and pathlib.Path("events/silence.tsv").is_file()


@pytest.mark.slow
def test_the_default_hears_recordings_that_it_was_not_trained_on(esc50):
    """The label with the highest posterior is its category in two thirds of them, fifty labels being there."""
    with open(esc50 / "meta" / "esc50.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["fold"] == str(FOLD)]
    detector, chosen = load_saved_model(DEFAULT_MODEL), rows[::5]
    found = [detector.labels[detector.posteriors(esc50 / "audio" / row["filename"])[0].max(axis=0).argmax()]
             for row in chosen]
    right = [label == row["category"] for label, row in zip(found, chosen)]
    assert len(chosen) > 70 and np.mean(right) > 2 / 3, list(zip(found, (row["category"] for row in chosen)))
