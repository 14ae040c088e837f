"""Random pairs of event lists with edge cases, and what sed_eval says of them."""
import numpy as np
import pandas as pd
import pytest

LABELS = ["bird", "cat", "dog", "rain"]
SECONDS = 8
COLUMNS = ["onset", "offset", "event_label"]


def event_list(*rows):
    return pd.DataFrame(rows, columns=COLUMNS).astype({"onset": float, "offset": float, "event_label": str})


def random_pair(rng, grid):
    """Edges at multiples of 1 / `grid` s, or anywhere if it is None; the estimate holds shifted reference events.

    Sides may be empty, events may touch, overlap or have no length, and labels may be on one side only.
    """
    def side(number):
        onsets = rng.uniform(0, SECONDS - 3, number)
        lengths = rng.exponential(0.6, number).clip(max=2.5)
        labels = rng.choice(LABELS[:rng.integers(1, 5)], number)
        return np.stack([onsets, onsets + lengths], axis=1), labels

    reference, names = side(rng.integers(0, 9))
    kept = rng.random(len(names)) < 0.8
    shifts = rng.choice([0, 0.1, 0.2, 0.25, 0.5], (kept.sum(), 2))
    shifts += (grid is None) * rng.normal(0, 0.01, shifts.shape)
    shifted = np.sort((reference[kept] + shifts).clip(0), axis=1)
    swapped = np.where(rng.random(kept.sum()) < 0.3, rng.choice(LABELS, kept.sum()), names[kept])
    other, others = side(rng.integers(0, 5))
    lists = []
    for edges, labels in ((reference, names), (np.concatenate([shifted, other]), np.concatenate([swapped, others]))):
        edges = edges if grid is None else np.round(edges * grid) / grid
        lists.append(event_list(*zip(*edges.T, labels)).sort_values(COLUMNS).reset_index(drop=True))
    return lists


def pairs(number, grid, seed=0):
    rng = np.random.default_rng(seed)
    return [random_pair(rng, grid) for _ in range(number)]


def sed_eval_of(metric, pairs, length=None, **arguments):
    """Return a metric of sed_eval that was given pairs of lists, one per recording."""
    sound_event = pytest.importorskip("sed_eval", reason="sed_eval cannot be imported here").sound_event
    metrics = getattr(sound_event, metric)(LABELS, **arguments)
    for number, pair in enumerate(pairs):
        lists = [[{"event_onset": onset, "event_offset": offset, "event_label": label, "file": str(number)}
                  for onset, offset, label in events.itertuples(index=False)] for events in pair]
        metrics.evaluate(*lists, **({} if length is None else {"evaluated_length_seconds": length}))
    return metrics
