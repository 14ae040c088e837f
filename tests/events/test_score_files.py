"""Files of scores: written and read as sed_scores_eval does, to the bit, and what mistakes get."""
import numpy as np
import pandas as pd
import pytest

from polysed_keras.errors import InputError
from polysed_keras.events.score_files import is_score_file, read_score_file, scores_to_events, write_score_file

LABELS = ["cat", "dog barking"]


@pytest.fixture
def path(tmp_path):
    posteriors = np.random.default_rng(0).random((500, 2)).astype(np.float32)
    posteriors[:3] = [[1e-7, 1 - 1e-7], [3e-12, 1], [0, 0.5]]
    write_score_file(posteriors, LABELS, 1024 / 44100, tmp_path / "street.tsv")
    return tmp_path / "street.tsv", posteriors


def test_posteriors_come_back_to_the_bit(path):
    table = read_score_file(path[0])
    assert list(table.columns) == ["onset", "offset", *LABELS]
    np.testing.assert_array_equal(table[LABELS].to_numpy().astype(np.float32), path[1])
    np.testing.assert_allclose(table["offset"], np.arange(1, 501) * 1024 / 44100, atol=1e-7)


def test_sed_scores_eval_reads_what_is_written_and_finds_the_same_events(path):
    io = pytest.importorskip("sed_scores_eval", reason="sed_scores_eval cannot be imported here").io
    from sed_scores_eval.base_modules.detection import scores_to_event_list
    theirs = io.read_sed_scores(path[0])  # validates the frames
    pd.testing.assert_frame_equal(read_score_file(path[0]), theirs)
    for threshold in (0.5, {"cat": 0.3, "dog barking": 0.9}):
        events = scores_to_events(theirs, threshold)
        assert list(events.itertuples(index=False, name=None)) == scores_to_event_list(theirs, threshold)


def test_what_sed_scores_eval_writes_is_read(tmp_path):
    io = pytest.importorskip("sed_scores_eval", reason="sed_scores_eval cannot be imported here").io
    scores = np.random.default_rng(1).random((20, 2))
    io.write_sed_scores(scores, tmp_path / "a.tsv", timestamps=np.arange(21) * 0.1, event_classes=LABELS)
    np.testing.assert_array_equal(read_score_file(tmp_path / "a.tsv")[LABELS], scores)


def test_event_lists_are_no_score_files(tmp_path):
    for number, text in enumerate(("onset\toffset\tevent_label\n", "0.5\t1\tdog\n", "", "onset,offset,dog\n")):
        (tmp_path / f"{number}.tsv").write_text(text)
        assert not is_score_file(tmp_path / f"{number}.tsv")
    assert not is_score_file(tmp_path / "none")


@pytest.mark.parametrize("text, words", [
    ("onset\toffset\tdog\n0\t1\t0.5\n1.5\t2\t0.5\n", "gaps"), ("onset\toffset\tdog\n0\t1\thigh\n", "numbers"),
    ("onset\toffset\tdog\n", "none"), ("onset\toffset\tdog\n0\t1\t\n", "missing"), ("0\t1\t0.5\n", "header"),
    ("onset\toffset\tdog\n0\t0\t0.1\n", "without a length")])
def test_other_files_are_refused(tmp_path, text, words):
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(InputError, match=words):
        read_score_file(tmp_path / "a.tsv")


def test_a_label_that_is_no_column_is_refused(tmp_path):
    with pytest.raises(InputError, match="labels.*dog"):
        write_score_file(np.zeros((2, 1)), ["dog\tbark"], 0.02, tmp_path / "a.tsv")
    assert not (tmp_path / "a.tsv").exists()
