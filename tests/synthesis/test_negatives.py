"""Recordings that come with the package: their files, whose they are, and which are left out for which labels."""
import itertools
import re

import numpy as np
import pytest
import soundfile

from polysed_keras.audio.files import load_audio
from polysed_keras.synthesis import negatives
from polysed_keras.synthesis.negatives import NEGATIVES, mean_scores, shipped_negatives, write_scores
from polysed_keras.synthesis.soundbank import read_soundbank

from fixtures import write_bank

CLASSES, OF_CLASSES = (lambda stored: (stored["classes"], stored["scores"].astype(np.float32)))(
    np.load(NEGATIVES / "scores.npz"))
FILES = sorted(NEGATIVES.rglob("*.ogg"))
MADE = {"speech", "voices", "music"}  # not of ESC-50


@pytest.fixture
def heard_as(monkeypatch, tmp_path):
    """Return a function of labels and the scores of each of their three recordings; the result of shipped_negatives."""
    def choose(**scores):
        given = {f"{label}/{index}.wav": row for label, rows in scores.items() for index, row in enumerate(rows)}
        monkeypatch.setattr(negatives, "mean_scores", lambda path: given["/".join(path.parts[-2:])])
        bank = write_bank(tmp_path / "-".join(scores), tuple(scores), 3)
        return shipped_negatives(read_soundbank(bank))
    return choose


def of(name):
    """The stored scores of the recordings of a class."""
    return OF_CLASSES[name == CLASSES]


def names(folders):
    return {role: [folder.name for folder in paths] for role, paths in folders.items()}


def everything():
    return {role: sorted(path.name for path in (NEGATIVES / part).iterdir())
            for part, role in (("background", "background"), ("other", "distractors"))}


# Which are left out

def test_a_class_that_sounds_like_a_label_is_left_out(heard_as):
    folders, left_out = heard_as(woof=of("dog")[:3], drizzle=of("rain")[:3])
    assert {"dog", "rain"} <= set(left_out) and len(left_out) < 10
    expected = everything()
    assert names(folders) == {role: [name for name in expected[role] if name not in left_out] for role in expected}
    assert all(path.is_dir() for path in sum(folders.values(), []))


def test_one_recording_that_is_taken_for_another_class_leaves_nothing_out(heard_as, monkeypatch, tmp_path):
    """Of fifteen neighbours one is less than an eighth, and two are more."""
    like_none = np.eye(521, dtype=np.float32)[[0] * 20]
    for number, expected in ((1, []), (2, ["siren"])):
        folder = tmp_path / str(number)
        for part in ("background/hum", "other/siren"):
            (folder / part).mkdir(parents=True)
        np.savez(folder / "scores.npz", classes=["hum"] * 20 + ["siren"] * number,
                 scores=np.concatenate([like_none, of("siren")[:number]]))
        monkeypatch.setattr(negatives, "NEGATIVES", folder)
        folders, left_out = heard_as(**{f"mine{number}": [like_none[0], like_none[0], of("siren")[0]]})
        assert [name for name in left_out if name != "hum"] == expected
        assert names(folders) == {"background": [], "distractors": [] if expected else ["siren"]}


def test_a_class_with_the_name_of_a_label_is_left_out_whatever_it_sounds_like(heard_as):
    folders, left_out = heard_as(**{"Church Bells": of("keyboard_typing")[:3]})
    assert "church_bells" in left_out and "keyboard_typing" in left_out
    assert "church_bells" not in names(folders)["distractors"]


def test_left_out_are_only_classes_of_the_package(heard_as):
    _, left_out = heard_as(my_own_machine=of("clapping")[:3])
    assert "my_own_machine" not in left_out and set(left_out) <= set(CLASSES)


# What YAMNet makes of a recording

def test_scores_are_of_the_loudest_half(monkeypatch, tmp_path):
    scores = np.array([[-9.0, -9.0], [-1.0, -3.0], [-8.0, -8.0], [-3.0, -1.0], [-9.0, -8.0]])
    monkeypatch.setattr("polysed_keras.models.embed", lambda waveform: (None, scores[:len(waveform)]))
    monkeypatch.setattr(negatives, "load_audio", lambda path, rate: np.zeros(int(path)))
    assert mean_scores("4").tolist() == [-2, -2]
    assert mean_scores("5").tolist() == [-4, -4]  # three of five
    assert mean_scores("1").tolist() == [-9, -9]


def test_scores_are_written_for_each_recording(monkeypatch, tmp_path):
    for name in ("background/rain/a", "background/rain/heavy/b", "other/dog/c"):
        path = tmp_path / f"{name}.ogg"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(16000), 16000)
    monkeypatch.setattr(negatives, "mean_scores", lambda path: np.full(521, ord(path.stem), float))
    write_scores(tmp_path)
    with np.load(tmp_path / "scores.npz") as stored:
        assert stored["classes"].tolist() == ["rain", "rain", "dog"]
        assert stored["scores"][:, 0].tolist() == [97, 98, 99]


@pytest.mark.parametrize("path", [FILES[0], FILES[200], FILES[-1]], ids=lambda path: path.parent.name)
def test_stored_scores_are_those_of_the_recordings(path):
    """So that a class is told by its own recordings."""
    index = FILES.index(path)
    assert CLASSES[index] == path.relative_to(NEGATIVES).parts[1]
    np.testing.assert_allclose(mean_scores(path), OF_CLASSES[index], atol=0.05, rtol=0.01)


# The files

def test_recordings_are_mono_short_and_few():
    assert len(FILES) == len(CLASSES) > 300
    assert sum(path.stat().st_size for path in NEGATIVES.rglob("*") if path.is_file()) < 10e6
    for path in FILES:
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "VORBIS") and 0 < info.duration < 60
    for (part, name), paths in itertools.groupby(FILES, lambda path: path.relative_to(NEGATIVES).parts[:2]):
        assert part in ("background", "other") and 1 <= len(list(paths)) <= (30 if name in MADE else 8), name


@pytest.mark.parametrize("path", FILES[::40], ids=lambda path: path.stem)
def test_recordings_can_be_read_and_are_heard(path):
    waveform = load_audio(path, 16000)
    assert np.isfinite(waveform).all() and 1e-3 < np.abs(waveform).max() < 2  # Vorbis exceeds 1


def test_whose_they_are_is_said_for_each():
    text = (NEGATIVES / "ATTRIBUTION.txt").read_text()
    credited = re.findall(r"^(\S+\.ogg): (.+)$", text, re.M)
    assert sorted(name for name, _ in credited) == sorted(path.name for path in FILES)
    for name, credit in credited:
        assert re.search(r"CC0|CC[- ]BY|public domain", credit) and "NC" not in credit.split()[-1], name
        assert " by " in credit or "freesound.org/people/" in credit
    readme = (NEGATIVES / "README.md").read_text()
    assert str(len(FILES)) in readme and "ATTRIBUTION.txt" in readme
    folds = {path.name[0] for path in FILES if not {"ambience", *MADE} & set(path.parts)}
    assert folds == {"1", "2", "3"}  # 4 and 5 are for tests
