"""Event lists against each other: events matched by their edges, or by how much of them intersects."""
import numpy as np

from polysed_keras.events.event_lists import COLUMNS, PRECISION, merge_events
from polysed_keras.events.metrics import join_counts

DECIMALS = 6  # Seconds are rounded so before intersections are compared, as sed_scores_eval does.


def event_counts(reference, estimated, labels, *, collar=0.2, offset_share=0.5):
    """Count events whose edges match, as sed_eval does.

    Two events of one label match if their onsets are at most `collar` apart, and their offsets at most `collar` or
    `offset_share` of the reference event's length, whichever is more. Each event is matched once, as many as possible.
    A reference event without a match is substituted by an estimated one without, of another label, whose edges match.
    Events of one label that overlap or touch stay as they are. Edges are compared with a tolerance of a microsecond.

    Args:
        reference: DataFrame with columns onset, offset (seconds), event_label.
        estimated: DataFrame with the same columns.
        labels: the known labels, in the order of the rows; other events are not counted.
        collar: seconds.
        offset_share: 0 to 1.

    Returns:
        int64 array (labels + 1, 4) as of error_counts. Counts of several recordings can be added.

    Example:
        >>> error_rates(event_counts(reference, estimated, ["dog", "car"]))
    """
    (onsets, offsets, names), (begins, ends, others) = (_columns(events, labels) for events in (reference, estimated))
    reach = np.maximum(collar, offset_share * (offsets - onsets)) + PRECISION
    close = ((np.abs(onsets[:, None] - begins) <= collar + PRECISION)
             & (np.abs(offsets[:, None] - ends) <= reach[:, None]))
    matches = match_pairs(close & (names[:, None] == others))
    found, right = np.zeros(len(names), bool), np.zeros(len(others), bool)
    found[list(matches)], right[list(matches.values())] = True, True
    replaced, left = 0, ~right
    for row in close[~found]:  # in sed_eval's order: each missed event by the first that is left
        places = np.flatnonzero(row & left)[:1]
        replaced, left[places] = replaced + len(places), False
    tp, number, wanted = (np.bincount(columns, minlength=len(labels)) for columns in (names[found], others, names))
    return join_counts(tp, number - tp, wanted - tp, replaced)


def intersection_counts(reference, estimated, labels, *, detection_share=0.5, reference_share=0.5):
    """Count events that intersect, as sed_scores_eval and psds_eval do (Bilen et al. 2020).

    An estimated event is relevant if reference events of its label cover at least `detection_share` of it, and false
    otherwise. A reference event is found if relevant events of its label cover at least `reference_share` of it. Events
    of one label that overlap or touch count as one, and events without a length do not count.

    Args:
        reference: DataFrame with columns onset, offset (seconds), event_label.
        estimated: DataFrame with the same columns.
        labels: the known labels, in the order of the rows; other events are not counted.
        detection_share: 0 to 1, the detection tolerance criterion (DTC).
        reference_share: 0 to 1, the ground truth intersection criterion (GTC).

    Returns:
        int64 array (labels + 1, 4) as of error_counts, without substitutions: tp and fn are reference events, fp are
        estimated ones. Counts of several recordings can be added.
    """
    (onsets, offsets, names), (begins, ends, others) = (
        _columns(merge_events(events[events["offset"] > events["onset"]]), labels) for events in (reference, estimated))
    common = np.minimum(offsets[:, None], ends) - np.maximum(onsets[:, None], begins)
    common = np.where(names[:, None] == others, np.maximum(common, 0), 0)
    relevant = common.sum(axis=0).round(DECIMALS) >= (detection_share * (ends - begins)).round(DECIMALS)
    covered = (common * relevant).sum(axis=1).round(DECIMALS)
    found = covered >= (reference_share * (offsets - onsets)).round(DECIMALS)
    tp, fp, fn = (np.bincount(columns, minlength=len(labels))
                  for columns in (names[found], others[~relevant], names[~found]))
    return join_counts(tp, fp, fn, 0)


def match_pairs(allowed):
    """Match as many rows with columns as possible, each once, by Hopcroft and Karp's algorithm.

    Several matchings may be as large. Which one is taken depends on the order alone, as in sed_eval (and mir_eval).

    Args:
        allowed: bool array (rows, columns), which pairs may be matched.

    Returns:
        Dict of row to column.
    """
    rows_of = {}
    for row, column in np.argwhere(allowed).tolist():
        rows_of.setdefault(column, []).append(row)
    matches = {}
    for column, rows in rows_of.items():
        row = next((row for row in rows if row not in matches), None)
        if row is not None:
            matches[row] = column
    while _augment(matches, rows_of):
        pass
    return matches


def _augment(matches, rows_of):
    """Enlarge the matches {row: column} by the shortest paths that alternate, and return whether there were any."""
    matched = set(matches.values())
    came_from = {column: None for column in rows_of if column not in matched}  # to its matched row, None at the ends
    layer, columns_to, free = list(came_from), {}, []
    while layer and not free:
        reached = {}
        for column in layer:
            for row in rows_of[column]:
                if row not in columns_to:
                    reached.setdefault(row, []).append(column)
        columns_to |= reached
        free = [row for row in reached if row not in matches]
        layer = [matches[row] for row in reached if row in matches]
        came_from |= {matches[row]: row for row in reached if row in matches}

    def follow(row):
        for column in columns_to.pop(row, ()):
            if column in came_from:
                before = came_from.pop(column)
                if before is None or follow(before):
                    matches[row] = column
                    return True
        return False

    for row in free:
        follow(row)
    return bool(free)


def _columns(events, labels):
    """Return the onsets, offsets and places of the labels of events as arrays (events,), those of `labels` alone."""
    onsets, offsets, names = (events[column].to_numpy() for column in COLUMNS)
    places = {label: place for place, label in enumerate(labels)}
    names = np.array([places.get(name, -1) for name in names], int)
    known = names >= 0
    return onsets[known].astype(float), offsets[known].astype(float), names[known]
