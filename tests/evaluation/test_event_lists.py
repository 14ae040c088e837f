"""Event lists of systems and of the reference, by name, from any format."""
import dataclasses

import numpy as np
import pytest

from polysed_keras.errors import InputError
from polysed_keras.evaluation.event_lists import load_event_lists, read_durations, read_lists
from polysed_keras.events.score_files import write_score_file


def write(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_a_folder_of_another_format_is_read_by_its_content(tmp_path):
    for name in "ab":
        write(tmp_path / "csv" / f"{name}.csv", "event_label,offset,onset\ncat,2.5,1.5\ndog,1.0,0.5\n")
    lists = read_lists(tmp_path / "csv")
    assert sorted(lists) == ["a", "b"]
    assert lists["b"].values.tolist() == [[0.5, 1.0, "dog"], [1.5, 2.5, "cat"]]


def test_files_without_anything_in_them_are_lists_without_events(tmp_path):
    write(tmp_path / "empty" / "a.txt", "")
    assert len(read_lists(tmp_path / "empty")["a"]) == 0


def test_lists_of_some_labels_are_numbered_anew_and_cannot_be_replaced(tmp_path):
    reference = write(tmp_path / "r" / "a.txt", "0\t1\tdog\n1\t2\tcat\n3\t4\tcat\n").parent
    lists = load_event_lists(reference, [reference], labels=["cat"])
    events = lists.reference["a"]
    assert events.index.tolist() == [0, 1] and events.columns.tolist() == ["onset", "offset", "event_label"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        lists.labels = ()


def test_scores_above_a_half_are_events_unless_another_threshold_is_given(tmp_path):
    reference = write(tmp_path / "r" / "a.txt", "0\t1\tdog\n").parent
    posteriors = np.array([[0.3, 0.6, 0.6, 0.3]]).T
    write_score_file(posteriors, ["dog"], 0.5, tmp_path / "scores" / "a.tsv")
    for options, expected in (({}, [0.5, 1.5]), ({"threshold": 0.2}, [0.0, 2.0])):
        lists = load_event_lists(reference, [tmp_path / "scores"], **options)
        assert lists.systems["scores"]["a"][["onset", "offset"]].values.tolist() == [expected]


def test_a_recording_has_a_length(tmp_path):
    with pytest.raises(InputError, match="seconds above 0"):
        read_durations(write(tmp_path / "d" / "durations.tsv", "a.wav\t5\nb.wav\t0\n"))


def test_the_first_recording_that_a_list_lacks_is_named(tmp_path, caplog):
    for name in "abc":
        write(tmp_path / "r" / f"{name}.txt", "0\t1\tdog\n")
    write(tmp_path / "e" / "b.txt", "0\t1\tdog\n")
    load_event_lists(tmp_path / "r", [tmp_path / "e"])
    assert "has no list of 2 of the 3 recordings" in caplog.text and "such as a, which" in caplog.text
