"""The field recipe: what recordings hold besides the labels, divided between partitions, and made again to the byte."""
import dataclasses
import json
import logging

import numpy as np
import pytest
import soundfile

from polysed_keras.cli.main import main
from polysed_keras.errors import InputError
from polysed_keras.synthesis.corpus import rebuild, synthesize
from polysed_keras.synthesis.drawing import FIELD, SoundscapeSpec, draw_mixture
from polysed_keras.synthesis.ingredients import gather_sounds
from polysed_keras.synthesis.rendering import render_mixture
from polysed_keras.synthesis.soundbank import partition_soundbank, read_soundbank

from fixtures import RATE, tone, write_bank

LABELS = ("beep", "hum", "ring")
SMALL = dataclasses.replace(FIELD, sample_rate=RATE, duration_seconds=6.0, rt60_seconds=())


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """Three labels, an hour's worth of background in one recording, two noises, and another sound."""
    folder = write_bank(tmp_path_factory.mktemp("field") / "bank", LABELS)
    rng = np.random.default_rng(1)
    for name, seconds in (("background/street", 40), ("Noise/fan", 3), ("Noise/rain", 3), ("other/knock", 2)):
        path = folder / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, 0.05 * rng.standard_normal(round(seconds * RATE)), RATE)
    return folder


def gathered(bank, spec=SMALL, names=("train", "validate", "test")):
    partitions = partition_soundbank(read_soundbank(bank), seed=0)
    spec = spec.with_folders(**partitions["train"].besides)
    return *gather_sounds(partitions, names, spec, 0), spec


def test_folders_of_backgrounds_and_other_sounds_are_no_labels(bank, caplog):
    with caplog.at_level(logging.INFO):
        soundbank = read_soundbank(bank)
    assert soundbank.labels == LABELS and "passed over" not in caplog.text
    assert {role: [path.name for path in paths] for role, paths in soundbank.besides.items()} == {
        "background": ["Noise", "background"], "distractors": ["other"]}


def test_a_quiet_background_may_be_quieter_than_any_sound(bank, tmp_path):
    soundfile.write(tmp_path / "night.flac", 2e-5 * np.random.default_rng(3).standard_normal(2 * RATE), RATE, "PCM_24")
    sounds, _, _ = gathered(bank, SMALL.with_folders(background=[tmp_path]), ["train"])
    assert any("night" in bed.recording for bed in sounds["train"].beds)


def test_a_soundbank_of_backgrounds_alone_has_no_labels(tmp_path):
    (tmp_path / "noise").mkdir()
    soundfile.write(tmp_path / "noise" / "a.wav", tone(1), RATE)
    with pytest.raises(InputError, match="no label folders"):
        read_soundbank(tmp_path)


def test_no_time_of_a_long_recording_is_in_two_partitions(bank):
    sounds, _, _ = gathered(bank)
    spans = {}
    for name, part in sounds.items():
        street, = (bed for bed in part.beds if "street" in bed.recording)
        spans[name] = street.onset, street.onset + street.duration
        assert len(part.beds) == 3 and len(part.distractors) == 1  # short ones are shared
    assert spans["train"][1] == pytest.approx(spans["validate"][0]) == pytest.approx(24, abs=0.1)
    assert spans["validate"][1] == pytest.approx(spans["test"][0]) == pytest.approx(32, abs=0.1)


def test_mixtures_of_the_field_recipe(bank):
    sounds, read, spec = gathered(bank, dataclasses.replace(SMALL, duration_seconds=30.0), ["train"])
    mixtures = [draw_mixture(np.random.default_rng(seed), sounds["train"], spec) for seed in range(300)]
    empty = sum(not any(piece.event_label for piece in mixture.pieces) for mixture in mixtures)
    assert 39 < empty < 100  # a fifth, give or take three deviations, and some whose only label would begin too late
    kinds = [mixture.noise_colour for mixture in mixtures]
    assert 110 < kinds.count(None) < 190 and all(20 < kinds.count(colour) < 90 for colour in ("white", "pink", "brown"))
    assert all((mixture.noise_colour is None) == bool(mixture.beds) for mixture in mixtures)
    levels = [mixture.background_dbfs for mixture in mixtures]
    assert -75 <= min(levels) < -72 and -28 < max(levels) <= -25
    for mixture in mixtures[:20]:
        waveform = render_mixture(dataclasses.replace(mixture, pieces=()), read, spec).waveform
        assert 20 * np.log10(waveform.std()) == pytest.approx(mixture.background_dbfs, abs=0.1)
        if not mixture.beds:  # recordings may pause
            assert np.abs(waveform.reshape(300, -1)).max(axis=1).min() > 0


@pytest.mark.parametrize("stretch", [(), (4.0, 4.0)])
def test_silences_are_stretched(bank, stretch):
    sounds, _, spec = gathered(bank, dataclasses.replace(
        SMALL, duration_seconds=60.0, silence_stretch=stretch, labels_per_mixture=(3, 3), empty_share=0.0), ["train"])
    pieces = [len(draw_mixture(np.random.default_rng(seed), sounds["train"], spec).pieces) for seed in range(20)]
    assert (np.mean(pieces) > 15) == (not stretch)


def test_a_corpus_is_made_again_to_the_byte(bank, tmp_path):
    negatives = tmp_path / "negatives"
    negatives.mkdir()
    soundfile.write(negatives / "yard.wav", 0.1 * np.random.default_rng(2).standard_normal(20 * RATE), RATE)
    spec = dataclasses.replace(SMALL, background=str(bank / "background")).with_negatives(negatives)
    partitions = partition_soundbank(read_soundbank(bank), seed=0)
    synthesize(partitions, tmp_path / "data", spec, (20, 2, 2))
    content = json.loads((tmp_path / "data" / "soundscapes.json").read_text())
    assert content["labels"] == list(LABELS)
    assert {path.rpartition("/")[2] for path in content["recordings"]["background"]} >= {"yard.wav", "street.wav"}
    rebuild(tmp_path / "data", bank, tmp_path / "again")
    written = sorted(path.relative_to(tmp_path / "data") for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert len(written) == 2 * 24 + 6
    for path in written:
        assert (tmp_path / "data" / path).read_bytes() == (tmp_path / "again" / path).read_bytes()


def test_the_command_takes_the_recipe_that_is_asked_for(bank, tmp_path):
    small = ["--mixtures", "1", "1", "1", "--set", f"sample_rate={RATE}", "rt60_seconds=[]"]
    specs = {}
    for name, arguments in (("field", []), ("paper", ["--recipe", "paper", "--duration", "5"])):
        assert main(["synthesize", "--soundbank", str(bank), "--out", str(tmp_path / name), *arguments, *small]) == 0
        specs[name] = json.loads((tmp_path / name / "soundscapes.json").read_text())["spec"]
    assert specs["field"]["duration_seconds"] == FIELD.duration_seconds
    assert specs["field"]["background"].startswith("white+pink+brown+")
    assert specs["paper"]["duration_seconds"] == 5 and specs["paper"]["empty_share"] == 0


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="empty_share: expected a share from 0 to 1"):
        SoundscapeSpec(empty_share=1.5)
    with pytest.raises(InputError, match="silence_stretch: expected two numbers"):
        SoundscapeSpec(silence_stretch=(0, 2))
