"""Bars: where somebody sees them move, and nowhere else."""
import io

import pytest

from polysed_keras import progress
from polysed_keras.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream, shown, seen", [(Terminal, True, True), (Terminal, False, False),
                                                 (io.StringIO, True, False)])
def test_a_bar_is_seen_in_a_terminal(monkeypatch, stream, shown, seen):
    monkeypatch.setattr("sys.stderr", stream())
    assert list(progress_bar(range(3), "recordings", shown=shown)) == [0, 1, 2]
    assert ("recordings: 100%" in progress.sys.stderr.getvalue()) == seen
    if not seen:
        assert not progress.sys.stderr.getvalue()


def test_nothing_fails_without_standard_error(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    assert list(progress_bar(range(3))) == [0, 1, 2]
