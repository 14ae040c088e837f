"""Files of sed_scores_eval's scores: frames with onset and offset in seconds, and a score per label; tabs, a header."""
import pathlib

import numpy as np
import pandas as pd

from polysed_keras.errors import InputError, expect
from polysed_keras.events.event_lists import COLUMNS, active_runs
from polysed_keras.files import atomic_file

_TIMES = ["onset", "offset"]


def write_score_file(posteriors, labels, time_resolution, path):
    """Write posteriors as a file of scores, atomically, with the nine digits that a float32 needs.

    Args:
        posteriors: array (frames, labels).
        labels: labels in the order of the columns.
        time_resolution: seconds per frame.
        path: file to write, such as street.tsv.

    Raises:
        InputError: a label that cannot be a column, or the file cannot be written.
    """
    for label in labels:
        expect(label not in _TIMES and not set(label) & set("\t\n\\\""), "labels",
               "names without tabs, quotes and backslashes, and not onset or offset", label)
    edges = np.arange(len(posteriors) + 1) * time_resolution
    table = pd.DataFrame(np.column_stack([edges[:-1], edges[1:], posteriors]), columns=[*_TIMES, *labels])
    with atomic_file(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False, float_format="%.9g", lineterminator="\n")


def is_score_file(path):
    """Return whether a file begins with the header of a file of scores."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            header = file.readline().rstrip("\r\n").split("\t")
    except (OSError, UnicodeDecodeError):
        return False
    return len(header) > 2 and header[:2] == _TIMES and COLUMNS[2] not in header


def read_score_file(path):
    """Read a file of scores.

    Args:
        path: file, as write_score_file or sed_scores_eval.io.write_sed_scores writes it.

    Returns:
        DataFrame of float64 with columns onset, offset (seconds), and one per label; a row per frame.

    Raises:
        InputError: it is no such file, or its frames do not follow each other.
    """
    expect(pathlib.Path(path).is_file() and is_score_file(path), path,
           "a file of scores, with the header onset, offset and labels, separated by tabs", "something else")
    try:
        table = pd.read_csv(path, sep="\t", encoding="utf-8-sig", float_precision="round_trip").astype(float)
    except ValueError as error:
        raise InputError(f"{path}: expected numbers below the header. Received: {error}.") from error
    values = table.to_numpy()
    expect(len(table) and not np.isnan(values).any(), path, "frames with a number for each label",
           "none" if not len(table) else "missing numbers")
    follows = (table["offset"] > table["onset"]).all() and (
        table["offset"].to_numpy()[:-1] == table["onset"].to_numpy()[1:]).all()
    expect(follows, path, "frames that begin where the one before ends", "gaps, overlaps or frames without a length")
    return table


def scores_to_events(scores, threshold):
    """Return the runs of frames whose scores are above a threshold, as sed_scores_eval's scores_to_event_list does.

    Args:
        scores: DataFrame of read_score_file.
        threshold: number, or dict of label to number.

    Returns:
        DataFrame with columns onset, offset (seconds), event_label, sorted by all three.
    """
    labels = list(scores.columns[2:])
    thresholds = [threshold[label] for label in labels] if isinstance(threshold, dict) else threshold
    columns, first, end = active_runs(scores[labels].to_numpy() > thresholds)
    events = pd.DataFrame({"onset": scores["onset"].to_numpy()[first], "offset": scores["offset"].to_numpy()[end - 1],
                           "event_label": pd.Series([labels[column] for column in columns], dtype=str)})
    return events.sort_values(COLUMNS).reset_index(drop=True)
