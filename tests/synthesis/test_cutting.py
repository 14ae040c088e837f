"""Soundbanks that are cut out of recordings by what people have confirmed."""
import json

import numpy as np
import pytest
import soundfile

from polysed_keras.cli.main import main
from polysed_keras.errors import InputError
from polysed_keras.events.corrections import Answer
from polysed_keras.synthesis.cutting import cut_events
from polysed_keras.synthesis.soundbank import read_soundbank

RATE = 8000


def answer(label, onset, offset, said, asked=True, recording="street.wav"):
    return Answer(recording, label, onset, offset, said, (0.0, 10.0), (onset, offset) if asked else None)


ANSWERS = [answer("dog", 1.0, 2.0, "yes"), answer("dog", 1.5, 2.5, "yes"), answer("cat", 1.0, 2.0, "no"),
           answer("dog", 5.0, 6.0, "no"), answer("dog", 7.0, 8.0, "unsure"), answer("dog", 8.0, 9.0, "open"),
           answer("owl", 9.5, 10.0, "yes", asked=False)]


@pytest.fixture
def street(tmp_path):
    """Ten seconds whose samples tell their time."""
    path = tmp_path / "street.wav"
    soundfile.write(path, np.linspace(0, 0.9, 10 * RATE), RATE, subtype="FLOAT")
    return path


def test_confirmed_events_become_a_soundbank(street, tmp_path):
    assert cut_events(ANSWERS, {"street.wav": street}, tmp_path / "bank") == {"dog": 1, "other": 1, "owl": 1}
    bank = read_soundbank(tmp_path / "bank")
    assert bank.labels == ("dog", "owl") and {each.source for each in bank.instances} == {"dog/street", "owl/street"}
    assert [path.name for path in bank.besides["distractors"]] == ["other"]
    samples, rate = soundfile.read(tmp_path / "bank" / "dog" / "street" / "00001.00.wav")
    expected = soundfile.read(street)[0][round(0.9 * RATE):round(2.6 * RATE)]
    assert rate == RATE
    np.testing.assert_allclose(samples, expected, atol=1e-4)
    owl, _ = soundfile.read(tmp_path / "bank" / "owl" / "street" / "00009.50.wav")
    assert len(owl) == round(0.6 * RATE)  # to the end of the recording


def test_a_soundbank_grows(street, tmp_path):
    for _ in range(2):
        cut_events(ANSWERS, {"street.wav": street}, tmp_path / "bank")
    assert len(read_soundbank(tmp_path / "bank").instances) == 2
    cut_events([answer("dog", 3.0, 4.0, "yes")], {"street.wav": street}, tmp_path / "bank")
    assert len(read_soundbank(tmp_path / "bank").instances) == 3


@pytest.mark.parametrize("label", ["../dog", "/dog", "a/b", "other", "..", "Noise"])
def test_labels_lead_nowhere_else(label, street, tmp_path):
    with pytest.raises(InputError):
        cut_events([answer(label, 1.0, 2.0, "yes")], {"street.wav": street}, tmp_path / "bank")
    assert not (tmp_path / "bank").exists() and not (tmp_path / "dog").exists()


def test_nothing_was_confirmed(street, tmp_path):
    with pytest.raises(InputError, match="expected events that are there"):
        cut_events(ANSWERS[2:6], {"street.wav": street}, tmp_path / "bank")


def test_the_command_cuts_what_files_of_corrections_say(street, tmp_path, capsys):
    for name, said in (("a", "yes"), ("b", "yes"), ("c", "no")):
        answers = [{"recording": "street.wav", "label": "dog", "onset": 1.0, "offset": 2.0, "asked": [1.0, 2.0],
                    "answer": said, "heard": [0.0, 3.0]}]
        (tmp_path / f"{name}.json").write_text(json.dumps(
            {"kind": "polysed corrections", "reviewer": name, "answers": answers}))
    files = [str(tmp_path / f"{name}.json") for name in "abc"]
    assert main(["cut", *files, "--audio", str(tmp_path), "--out", str(tmp_path / "bank")]) == 0
    printed = capsys.readouterr().out
    assert "people disagree" in printed and f"dog: 1 recordings -> {tmp_path / 'bank' / 'dog'}" in printed
    assert main(["cut", files[2], "--audio", str(tmp_path), "--out", str(tmp_path / "bank")]) == 2
    assert main(["cut", *files, "--audio", str(tmp_path / "bank"), "--out", str(tmp_path / "bank")]) == 2
    assert "none of the name street.wav" in capsys.readouterr().err
