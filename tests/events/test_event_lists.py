"""Event lists and rolls: reading with every defect that annotations have, and the way there and back."""
import logging

import numpy as np
import pandas as pd
import pytest

from polysed_keras.errors import InputError
from polysed_keras.events.event_lists import (
    COLUMNS,
    clip_events,
    event_list_to_event_roll,
    event_roll_to_event_list,
    joint_activity,
    merge_events,
    polyphony,
    read_events,
    write_events,
)

LABELS = ["bird", "cat", "dog"]


def as_events(*rows):
    return pd.DataFrame(rows, columns=COLUMNS)


def rows_of(events):
    return [tuple(row) for row in events.itertuples(index=False)]


@pytest.fixture
def annotation(tmp_path):
    def write(content):
        path = tmp_path / "annot.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path
    return write


@pytest.mark.parametrize("content", [
    "1.5\t2.5\tcat\n0.25\t4\tdog\n",                            # tabs, unsorted
    "1.5 2.5 cat\n0.25   4 dog",                                # spaces, no newline at the end
    "0.25\t4\tdog\r\n1.5\t2.5\tcat\r\n",                        # Windows
    b"\xef\xbb\xbf0.25\t4\tdog\n1.5\t2.5\tcat\n",               # byte-order mark
    "\n  \n0.25\t4\tdog\n\n1.5\t2.5\tcat\n\n",                  # blank lines
    "onset\toffset\tevent_label\n0.25\t4\tdog\n1.5\t2.5\tcat",  # header
    b"\xef\xbb\xbfonset offset event_label\r\n0.25 4 dog\r\n1.5 2.5 cat\r\n",
    "0.25 \t 4.0\t dog \n1.5\t\t25e-1\tcat\n",                  # mixed blanks
])
def test_every_way_to_write_the_same_events(annotation, content):
    assert rows_of(read_events(annotation(content), LABELS)) == [(0.25, 4.0, "dog"), (1.5, 2.5, "cat")]


def test_a_label_may_hold_spaces_after_a_tab(annotation):
    assert rows_of(read_events(annotation("0\t1\tcat meowing\n"))) == [(0.0, 1.0, "cat meowing")]


def test_events_are_sorted_by_onset_offset_label(annotation):
    events = read_events(annotation("1 3 cat\n1 2 dog\n1 2 bird\n0 9 dog\n"))
    assert rows_of(events) == [(0, 9, "dog"), (1, 2, "bird"), (1, 3, "cat")]  # dog 1-2 lies in dog 0-9
    assert list(events.index) == [0, 1, 2]


@pytest.mark.parametrize("content", ["", "\n\n", "onset\toffset\tevent_label\n"])
def test_a_file_without_events_is_an_empty_list(annotation, content):
    events = read_events(annotation(content), LABELS, duration=10)
    assert list(events.columns) == COLUMNS and len(events) == 0
    assert event_list_to_event_roll(events, LABELS, 4, 0.02).sum() == 0


@pytest.mark.parametrize("line, complaint", [
    ("1,2,cat", "separated by tabs"),
    ("1;2;cat", "separated by tabs"),
    ("1, 2, cat", "separated by tabs"),
    ("1,5\t2,5\tcat", "decimal point"),
    ("1 2", "separated by tabs"),
    ("1\t2\t", "separated by tabs"),
    ("1 2 cat meowing", "separated by tabs"),
    ("one 2 cat", "separated by tabs"),
    ("onset offset event_label", "separated by tabs"),  # a header in the middle is none
    ("nan 2 cat", "finite"),
    ("1 inf cat", "finite"),
    ("-1 2 cat", "0 <= onset < offset"),
    ("2 2 cat", "0 <= onset < offset"),
    ("3 2 cat", "0 <= onset < offset"),
    ("1 2 cow", "unknown label 'cow'. Known labels: bird, cat, dog."),
    ("1 2 Cat", "unknown label 'Cat'"),
])
def test_a_broken_line_is_named(annotation, line, complaint):
    path = annotation(f"0 1 dog\n\n{line}\n")
    with pytest.raises(InputError) as error:
        read_events(path, LABELS)
    assert f"{path}, line 3: " in str(error.value)
    assert complaint in str(error.value)


def test_another_header_is_no_header(annotation):
    with pytest.raises(InputError, match="line 1: .*decimal point"):
        read_events(annotation("start\tstop\tlabel\n0\t1\tcat\n"))


def test_unreadable_files_are_named(tmp_path, annotation):
    with pytest.raises(InputError, match="nowhere.txt"):
        read_events(tmp_path / "nowhere.txt")
    with pytest.raises(InputError, match="annot.txt.*UTF-8"):
        read_events(annotation("0\t1\tcaf\u00e9\n".encode("latin-1")))
    with pytest.raises(InputError, match="annot.txt.*UTF-8"):
        read_events(annotation("0\t1\tcat\n".encode("utf-16")))


def test_events_beyond_the_end_are_clipped_or_dropped_with_a_warning(annotation, caplog):
    path = annotation("0 1 cat\n8 12 dog\n10 11 bird\n13 14 cat\n")
    with caplog.at_level(logging.WARNING):
        events = read_events(path, LABELS, duration=10.0)
    assert rows_of(events) == [(0, 1, "cat"), (8, 10, "dog")]
    assert [message.rsplit(": ", 1)[1] for message in caplog.messages] == ["clipped to 10 s.", "dropped.", "dropped."]
    assert all(str(path) in message for message in caplog.messages)


def test_an_end_rounded_by_the_file_is_no_reason_to_warn(annotation, caplog):
    events = read_events(annotation("0 3.333334 cat\n"), duration=10 / 3)
    assert rows_of(events) == [(0, 10 / 3, "cat")]
    assert not caplog.records


def test_events_are_clipped_to_a_duration():
    events = as_events((0, 1, "cat"), (8, 12, "dog"), (9, 10, "cat"), (10, 11, "bird"))
    assert rows_of(clip_events(events, 10)) == [(0, 1, "cat"), (8, 10, "dog"), (9, 10, "cat")]


@pytest.mark.parametrize("rows, gap, merged", [
    ([(0, 2, "cat"), (1, 3, "cat")], 0, [(0, 3, "cat")]),                       # overlap
    ([(0, 2, "cat"), (2, 3, "cat")], 0, [(0, 3, "cat")]),                       # touch
    ([(0, 0.1 + 0.2, "cat"), (0.3, 1, "cat")], 0, [(0, 1, "cat")]),
    ([(0, 0.3, "cat"), (0.1 + 0.2, 1, "cat")], 0, [(0, 1, "cat")]),             # touch but for float noise
    ([(0, 9, "cat"), (1, 2, "cat"), (5, 6, "cat")], 0, [(0, 9, "cat")]),        # inside a longer one
    ([(0, 2, "cat"), (1, 3, "dog")], 0, [(0, 2, "cat"), (1, 3, "dog")]),        # another label
    ([(0, 2, "cat"), (2.5, 3, "cat")], 0, [(0, 2, "cat"), (2.5, 3, "cat")]),
    ([(0, 2, "cat"), (2.5, 3, "cat")], 0.5, [(0, 3, "cat")]),
    ([(0, 2, "cat"), (2.5, 3, "cat")], 0.4, [(0, 2, "cat"), (2.5, 3, "cat")]),
    ([(4, 5, "cat"), (2, 3, "dog"), (0, 1, "cat"), (1, 4, "cat")], 0, [(0, 5, "cat"), (2, 3, "dog")]),
    ([], 1, []),
])
def test_merge_events(rows, gap, merged):
    assert rows_of(merge_events(as_events(*rows), gap)) == merged


def test_merging_equals_the_roll_of_all_events():
    rng = np.random.default_rng(1)
    for _ in range(20):
        onsets = rng.integers(0, 80, 30)
        events = pd.DataFrame({"onset": onsets, "offset": onsets + rng.integers(1, 12, 30),
                               "event_label": rng.choice(LABELS, 30)})
        expected = event_roll_to_event_list(event_list_to_event_roll(events, LABELS, 100, 1.0), LABELS, 1.0)
        pd.testing.assert_frame_equal(merge_events(events), expected)


def test_onset_is_rounded_down_and_offset_up():
    events = as_events((0.0, 0.02, "bird"), (0.03, 0.05, "cat"), (0.039, 0.041, "dog"))
    expected = [[1, 0, 0], [0, 1, 1], [0, 1, 1], [0, 0, 0]]
    event_roll = event_list_to_event_roll(events, LABELS, 4, 0.02)
    assert event_roll.dtype == np.uint8
    np.testing.assert_array_equal(event_roll, expected)


def test_edges_on_a_frame_stay_on_it_in_spite_of_float_noise():
    frames = np.arange(1, 200_000)
    for resolution in (0.02, 0.01, 512 / 44100):
        seconds = frames * resolution
        summed = np.cumsum(np.full(len(frames), resolution))
        for values in (seconds, np.nextafter(seconds, np.inf), np.nextafter(seconds, 0), summed):
            pick = np.random.default_rng(0).choice(len(frames), 40, replace=False)
            events = pd.DataFrame({"onset": values[pick], "offset": values[pick] + resolution, "event_label": "cat"})
            event_roll = event_list_to_event_roll(events, ["cat"], 200_001, resolution)
            np.testing.assert_array_equal(np.flatnonzero(event_roll[:, 0]), np.sort(frames[pick]))


def test_what_lies_outside_the_roll_is_cut_off():
    events = as_events((0.5, 1e300, "cat"), (7.0, 8.0, "dog"))
    np.testing.assert_array_equal(event_list_to_event_roll(events, LABELS, 2, 0.5), [[0, 0, 0], [0, 1, 0]])


def test_roll_refuses_an_unknown_label():
    with pytest.raises(InputError, match="unknown label 'cow'. Known labels: bird, cat, dog"):
        event_list_to_event_roll(as_events((0, 1, "cow")), LABELS, 2, 0.5)


def test_roll_to_list_by_hand():
    event_roll = [[1, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 1]]
    events = event_roll_to_event_list(event_roll, LABELS, 0.5)
    assert rows_of(events) == [(0, 0.5, "dog"), (0, 1, "bird"), (1, 2, "dog")]
    with pytest.raises(InputError, match="expected 2 columns"):
        event_roll_to_event_list(event_roll, LABELS[:2], 0.5)


@pytest.mark.parametrize("resolution", [0.02, 0.01, 1.0, 512 / 44100, 160 / 16000])
def test_roll_to_file_to_roll(tmp_path, resolution):
    rng = np.random.default_rng(2)
    for num_frames in (0, 1, 2, 500):
        event_roll = (rng.random((num_frames, 3)) < 0.5).astype(np.uint8)
        events = event_roll_to_event_list(event_roll, LABELS, resolution)
        write_events(events, tmp_path / "events.tsv")
        back = read_events(tmp_path / "events.tsv", LABELS, duration=num_frames * resolution)
        np.testing.assert_array_equal(event_list_to_event_roll(back, LABELS, num_frames, resolution), event_roll)
        np.testing.assert_allclose(back[["onset", "offset"]], events[["onset", "offset"]], atol=5e-7)


def test_written_file_by_the_byte(tmp_path):
    events = as_events((0, 1 / 3, "cat meowing"), (12.5, 600, 'say "caf\u00e9", 2'))
    write_events(events, tmp_path / "new" / "events.tsv")
    expected = '0.000000\t0.333333\tcat meowing\n12.500000\t600.000000\tsay "caf\u00e9", 2\n'
    assert (tmp_path / "new" / "events.tsv").read_bytes() == expected.encode()


def test_a_failed_write_leaves_nothing(tmp_path):
    (tmp_path / "events.tsv").write_text("old")
    with pytest.raises(KeyError):
        write_events(pd.DataFrame({"onset": [0.0]}), tmp_path / "events.tsv")
    with pytest.raises(InputError, match="cannot be written"):
        write_events(as_events((0, 1, "cat")), tmp_path / "events.tsv" / "deeper.tsv")
    assert [path.name for path in tmp_path.iterdir()] == ["events.tsv"]
    assert (tmp_path / "events.tsv").read_text() == "old"


def test_polyphony_counts_labels():
    assert polyphony(np.array([[0, 0, 0], [1, 0, 1], [1, 1, 1]], np.uint8)).tolist() == [0, 2, 3]
    assert polyphony(np.ones((2, 300), np.uint8)).tolist() == [300, 300]  # no overflow of uint8


def test_joint_activity_counts_frames_of_two_labels():
    roll = np.array([[0, 0, 0], [1, 0, 1], [1, 1, 1], [1, 0, 0]], np.uint8)
    assert joint_activity(roll).tolist() == [[3, 1, 2], [1, 1, 1], [2, 1, 2]]
    assert joint_activity(np.ones((300, 2), np.uint8)).tolist() == [[300, 300], [300, 300]]  # no overflow of uint8
    assert joint_activity(roll[:0]).tolist() == [[0] * 3] * 3
