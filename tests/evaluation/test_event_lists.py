"""Event lists of systems and of the reference, by name, from any format."""
import numpy as np
import pytest
import soundfile

from polysed_keras.errors import InputError
from polysed_keras.evaluation.event_lists import load_event_lists, read_durations, read_lists, read_scores
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
    lines = ('File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", "1", "<exists>", "1", '"IntervalTier"',
             '"events"', "0", "1", "2", "0", "0.5", '""', "0.5", "1", '"dog"')
    assert read_lists(write(tmp_path / "praat" / "a.TextGrid", "\n".join(lines)))["a"].values.tolist() == [
        [0.5, 1.0, "dog"]]


def test_files_without_anything_in_them_are_lists_without_events(tmp_path):
    write(tmp_path / "empty" / "a.txt", "")
    assert len(read_lists(tmp_path / "empty")["a"]) == 0


def test_lists_of_some_labels_are_numbered_anew(tmp_path):
    reference = write(tmp_path / "r" / "a.txt", "0\t1\tdog\n1\t2\tcat\n3\t4\tcat\n").parent
    lists = load_event_lists(reference, [reference], labels=["cat"])
    events = lists.reference["a"]
    assert events.index.tolist() == [0, 1] and events.columns.tolist() == ["onset", "offset", "event_label"]


def test_scores_above_a_half_are_events_unless_another_threshold_is_given(tmp_path):
    reference = write(tmp_path / "r" / "a.txt", "0\t1\tdog\n").parent
    posteriors = np.array([[0.3, 0.6, 0.6, 0.3]]).T
    write_score_file(posteriors, ["dog"], 0.5, tmp_path / "scores" / "a.tsv")
    for options, expected in (({}, [0.5, 1.5]), ({"threshold": 0.2}, [0.0, 2.0])):
        lists = load_event_lists(reference, [tmp_path / "scores"], **options)
        assert lists.systems["scores"]["a"][["onset", "offset"]].values.tolist() == [expected]


def test_a_recording_has_a_length(tmp_path):
    for text in ("a.wav\t5\nb.wav\t0\n", "a.wav\t5\nb.wav\t-1\n"):
        with pytest.raises(InputError, match="seconds above 0"):
            read_durations(write(tmp_path / "d" / "durations.tsv", text))
    short = write(tmp_path / "d" / "short.tsv", "filename\tduration\na.wav\t0.5\n")
    assert read_durations(short) == {"a": 0.5}


def test_the_first_recording_that_a_list_lacks_is_named(tmp_path, caplog):
    for name in "abc":
        write(tmp_path / "r" / f"{name}.txt", "0\t1\tdog\n")
    write(tmp_path / "e" / "b.txt", "0\t1\tdog\n")
    load_event_lists(tmp_path / "r", [tmp_path / "e"])
    assert "has no list of 2 of the 3 recordings" in caplog.text and "such as a, which" in caplog.text


def test_lists_of_other_recordings_are_told_with_what_names_the_recordings(tmp_path):
    reference = write(tmp_path / "r" / "a.txt", "0\t1\tdog\n").parent
    other = write(tmp_path / "e" / "b.txt", "0\t1\tdog\n").parent
    durations = write(tmp_path / "d" / "durations.tsv", "a.wav\t5\n")
    soundfile.write(write(tmp_path / "audio" / "a.wav", ""), np.zeros(8000), 8000)
    for options, named in (({}, "r"), ({"durations": durations}, "durations.tsv"),
                           ({"audio": tmp_path / "audio"}, "audio")):
        with pytest.raises(InputError, match=rf"lists of the recordings of \S*{named}. Received: .1 others"):
            load_event_lists(reference, [other], **options)
        assert load_event_lists(reference, [reference], **options).durations == {
            "r": None, "durations.tsv": {"a": 5.0}, "audio": {"a": 1.0}}[named]


def test_systems_of_one_name_are_told_apart_by_their_folders(tmp_path):
    reference = write(tmp_path / "r" / "a.txt", "0\t1\tdog\n").parent
    paths = [tmp_path / name / "best" for name in ("mine", "theirs")]
    for path in paths:
        path.parent.mkdir()
        write(path / "a.txt", "0\t1\tdog\n")
    assert list(load_event_lists(reference, paths).systems) == list(map(str, paths))
    assert list(load_event_lists(reference, [reference, paths[0]]).systems) == ["r", "best"]
    with pytest.raises(InputError, match="ESTIMATED: expected different"):
        load_event_lists(reference, [])


def test_files_of_scores_have_the_same_labels(tmp_path):
    """The first tells what they are: then each is one."""
    posteriors, reference = np.zeros((4, 1)), write(tmp_path / "r" / "a.txt", "0\t1\tdog\n").parent
    for name, label in (("a", "dog"), ("b", "cat")):
        write_score_file(posteriors, [label], 0.5, tmp_path / "scores" / f"{name}.tsv")
    with pytest.raises(InputError, match="scores: expected files of scores of the same labels. Received: .2 diff"):
        load_event_lists(reference, [tmp_path / "scores"])
    write(tmp_path / "scores" / "b.tsv", "0\t1\tdog\n")
    with pytest.raises(InputError, match="b.tsv"):
        read_scores(tmp_path / "scores")
    assert list(read_scores(tmp_path / "scores" / "a.tsv")) == ["a"]
