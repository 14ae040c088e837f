"""What people have said of events: reading, merging, and what is known of recordings by it."""
import dataclasses
import json

import numpy as np
import pytest

from polysed_keras.errors import InputError
from polysed_keras.events.corrections import (
    Answer,
    Corrections,
    confirmed_events,
    find_recordings,
    known_activity,
    logit_distance,
    merge_corrections,
    read_corrections,
)
from polysed_keras.files import file_digest

KIND = "polysed corrections"


def asked(label, onset, offset, answer, recording="a.wav", heard=(0.0, 10.0), **fields):
    return Answer(recording, label, onset, offset, answer, heard, **{"asked": (onset, offset)} | fields)


def corrections(*answers, reviewer=""):
    return Corrections(KIND, list(answers), reviewer=reviewer)


def written(tmp_path, *answers, **fields):
    content = {"polysed_format": 1, "kind": KIND, "model": "m", "reviewer": "Ann",
               "answers": [dataclasses.asdict(answer) for answer in answers]} | fields
    path = tmp_path / "c.json"
    path.write_text(json.dumps(content))
    return path


def test_a_file_is_read_as_it_was_written(tmp_path):
    answers = [asked("dog", 1.0, 2.0, "yes", confidence=0.5, digest="0" * 12),
               asked("cat", 1.0, 2.0, "yes", asked=None), asked("cow", 3, 4, "open")]
    read = read_corrections(written(tmp_path, *answers))
    assert read == Corrections(KIND, answers, "m", "Ann")


@pytest.mark.parametrize("change, message", [
    ({"kind": "polysed run"}, "kind"),
    ({"kind": None}, "kind"),
    ({"polysed_format": 99}, "format"),
    ({"answers": []}, "expected at least one answer. Received: 0 events"),
    ({"answers": 7}, "answers"),
    ({"more": 1}, "no other fields"),
])
def test_other_files_are_refused(change, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        read_corrections(written(tmp_path, asked("dog", 1.0, 2.0, "yes"), **change))
    assert str(caught.value).startswith(str(tmp_path / "c.json")) and "\n" not in str(caught.value)


@pytest.mark.parametrize("change, message", [
    ({"label": "a\tb"}, "label"), ({"label": ""}, "label"), ({"recording": ""}, "recording"),
    ({"answer": "maybe"}, "answer"), ({"onset": 2.0}, "a begin before its end"), ({"onset": -1.0}, "onset"),
    ({"heard": (3.0, 3.0)}, "a begin before its end"), ({"heard": (3.0,)}, "heard"), ({"asked": (5.0, 4.0)}, "begin"),
    ({"offset": float("inf")}, "c.json"), ({"confidence": "high"}, "confidence")])
def test_answers_that_cannot_be_are_refused(change, message, tmp_path):
    path = written(tmp_path, dataclasses.replace(asked("dog", 1.0, 2.0, "yes"), **change))
    with pytest.raises(InputError, match=message):
        read_corrections(path)


def test_nothing_was_answered(tmp_path):
    with pytest.raises(InputError, match="at least one answer. Received: 2 events without one"):
        read_corrections(written(tmp_path, asked("dog", 1.0, 2.0, "open"), asked("dog", 3.0, 4.0, "open")))


def test_most_people_decide_and_disagreement_is_told():
    said = [("yes", "no", "yes"), ("yes", "no", "open"), ("unsure", "no", "open"), ("open", "open", "unsure"),
            ("open", "open", "open")]
    people = [corrections(*(asked("dog", 2.0 * event, 2.0 * event + 1, votes[person])
                            for event, votes in enumerate(said)), reviewer=f"p{person}") for person in range(3)]
    merged, disagreements = merge_corrections(people)
    assert [answer.answer for answer in merged] == ["yes", "unsure", "no", "unsure", "open"]
    assert disagreements.values.tolist() == [["a.wav", "dog", 0.0, 1.0, 2, 1], ["a.wav", "dog", 2.0, 3.0, 1, 1]]


def test_edges_are_the_medians_of_those_who_said_yes():
    people = [corrections(asked("dog", onset, 5.0, answer, asked=(1.0, 5.0)), reviewer=str(onset))
              for onset, answer in ((1.0, "yes"), (1.2, "yes"), (4.0, "yes"), (0.0, "no"))]
    (answer,), _ = merge_corrections(people)
    assert (answer.answer, answer.onset, answer.offset) == ("yes", 1.2, 5.0)


def test_added_events_that_overlap_are_one():
    people = [corrections(asked("cat", onset, onset + 1, "yes", asked=None, heard=heard), reviewer=str(onset))
              for onset, heard in ((1.0, (0.0, 3.0)), (1.5, (1.0, 4.0)), (2.5, (1.0, 4.0)))]
    merged, _ = merge_corrections(people)
    assert [(answer.onset, answer.offset, answer.heard) for answer in merged] == [
        (1.0, 2.5, (0.0, 4.0)), (2.5, 3.5, (1.0, 4.0))]


def test_a_file_that_is_given_twice_counts_once():
    once = corrections(asked("dog", 1.0, 2.0, "no"), reviewer="Ann")
    other = corrections(asked("dog", 1.0, 2.0, "yes"), reviewer="Bob")
    assert [answer.answer for answer in merge_corrections([once, once, other])[0]] == ["unsure"]
    assert merge_corrections([once, once, other])[1][["yes", "no"]].values.tolist() == [[1, 1]]


def test_frames_that_are_known_by_hand():
    """Ten frames of a second. Dog is asked about in the seconds 0 to 6, but for an open event; cow was added."""
    answers = [asked("dog", 1.0, 3.0, "yes", heard=(0.0, 6.0)), asked("dog", 4.0, 5.0, "open", heard=(3.0, 8.0)),
               asked("cat", 7.4, 9.0, "no", heard=(6.6, 10.0)), asked("cow", 2.0, 3.0, "yes", asked=None),
               asked("pig", 2.0, 3.0, "yes"), asked("dog", 0.0, 9.0, "yes", recording="b.wav")]
    known, active = known_activity(answers, "a.wav", ["dog", "cat", "cow"], 10, 1.0)
    assert np.flatnonzero(known[:, 0]).tolist() == [0, 1, 2, 3, 5] and np.flatnonzero(active[:, 0]).tolist() == [1, 2]
    assert np.flatnonzero(known[:, 1]).tolist() == [7, 8, 9] and not active[:, 1].any()
    assert np.flatnonzero(known[:, 2]).tolist() == np.flatnonzero(active[:, 2]).tolist() == [2]


def test_what_is_active_is_known_even_beside_an_unsure_event():
    answers = [asked("dog", 1.0, 3.0, "yes"), asked("dog", 2.0, 4.0, "unsure")]
    known, active = known_activity(answers, "a.wav", ["dog"], 10, 1.0)
    assert np.flatnonzero(active[:, 0]).tolist() == [1, 2]
    assert np.flatnonzero(~known[:, 0]).tolist() == [3]


def test_confirmed_events_of_a_label_that_overlap_are_one():
    answers = [asked("dog", 1.0, 3.0, "yes"), asked("dog", 2.0, 4.0, "yes", asked=None), asked("cat", 0.0, 1.0, "no")]
    assert confirmed_events(answers, "a.wav").values.tolist() == [[1.0, 4.0, "dog"]]
    assert confirmed_events(answers, "b.wav").empty


def test_recordings_are_found_by_name_and_content(tmp_path):
    for name, content in (("x/a.wav", b"a"), ("b.wav", b"b")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    answers = [asked("dog", 1, 2, "yes", digest=file_digest(tmp_path / "x" / "a.wav")),
               asked("dog", 1, 2, "yes", recording="b.wav")]
    assert find_recordings(answers, tmp_path) == {"a.wav": tmp_path / "x" / "a.wav", "b.wav": tmp_path / "b.wav"}
    with pytest.raises(InputError, match="none of the name c.wav"):
        find_recordings([*answers, asked("dog", 1, 2, "yes", recording="c.wav")], tmp_path)
    (tmp_path / "a.wav").write_bytes(b"a")
    with pytest.raises(InputError, match="one file a.wav"):
        find_recordings(answers, tmp_path)
    (tmp_path / "a.wav").unlink()
    (tmp_path / "x" / "a.wav").write_bytes(b"other")
    with pytest.raises(InputError, match="the recording that was reviewed. Received: another content"):
        find_recordings(answers, tmp_path)


def test_distances_are_of_logits_and_stay_finite():
    """log 9 is the logit of 0.9, and log 9999 that of 0.9999, which is taken for 1."""
    assert logit_distance(0.9, 0.5) == -logit_distance(0.5, 0.9) == pytest.approx(np.log(9))
    np.testing.assert_allclose(logit_distance([1.0, 0.0], [0.5, 0.5]), [np.log(9999), -np.log(9999)])


def test_an_answer_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Answer("a.wav", "dog", 0.0, 1.0, "yes", (0.0, 1.0)).answer = "no"
