"""Label combinations that a network of powersets was never trained on: how many frames hold one, and the scores there.

Paper 1, section 2, divides the labels because one powerset of all of them would not generalise to mixtures that
training lacks; it does not measure how well the smaller ones do.
"""
import dataclasses
import logging
import pathlib
import types

import numpy as np

from polysed_keras.evaluation.tables import compare_runs
from polysed_keras.events import f_score, frame_counts, share, unseen_frames
from polysed_keras.training import COMBINATIONS, frame_combinations, powersets, read_seen

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class SeenCombinations:
    """The label combinations that the powersets of a run were trained on.

    Attributes:
        name: of the run.
        tasks: tuple of Task, the powersets.
        seen: for each task a tuple of combinations, as Task.encode numbers them, in ascending order.
    """

    name: str
    tasks: tuple
    seen: tuple


@dataclasses.dataclass(frozen=True, eq=False)
class UnseenCounts:
    """Counts of a run's frames with and without combinations that SeenCombinations lack.

    Attributes:
        seen: SeenCombinations.
        frames: int64 array (mixtures, tasks + 1, 2) of events.unseen_frames.
        counts: int64 array (mixtures, 2, labels, 3) of (tp, fp, fn): of the frames with a combination unseen in any
            task, then of the others.
    """

    seen: SeenCombinations
    frames: np.ndarray
    counts: np.ndarray


def read_combinations(runs):
    """Return a tuple of the SeenCombinations of runs; equal ones stand there once, runs without powersets have none.

    Args:
        runs: pairs of a run's folder and its Experiment.
    """
    found = {}
    for run, experiment in runs:
        tasks, path = powersets(experiment.tasks), pathlib.Path(run) / COMBINATIONS
        if tasks and not path.is_file():
            logger.warning("%s: holds no %s, and is left out of the tables of unseen combinations. Trained by an older "
                           "version; training with --resume writes it.", run, COMBINATIONS)
        elif tasks:
            seen = read_seen(path, tasks)
            key = tasks, tuple(tuple(seen[task.name]) for task in tasks)
            taken = experiment.name in {other.name for other in found.values()}  # by a seed with other mixtures
            name = f"{experiment.name} seed {experiment.training.seed}" if taken else experiment.name
            found.setdefault(key, SeenCombinations(name, *key))
    return tuple(found.values())


def count_unseen(seen, labels, references, estimates):
    """Return the UnseenCounts of a run.

    Args:
        seen: SeenCombinations, of this run or another.
        labels: of the columns of the activity.
        references: list of reference activity (frames, labels), one array per mixture.
        estimates: list of estimated activity (frames, labels), likewise.
    """
    frames, counts = [], []
    for reference, estimated in zip(references, estimates):
        unseen, counted = unseen_frames(frame_combinations(reference, labels, seen.tasks), seen.seen)
        chosen = unseen.any(axis=1)
        frames.append(counted)
        counts.append([frame_counts(reference[part], estimated[part]).sum(axis=0) for part in (chosen, ~chosen)])
    return UnseenCounts(seen, np.stack(frames), np.array(counts))


def unseen_tables(results, *, resamples=1000, seed=0):
    """Return the share of frames with a combination unseen in training, and F1 on those frames and on the others.

    Shares are given for any task of a run with powersets and for each task; F1 is overall, for all runs.

    Args:
        results: list of evaluation.RunResult of the same data and the same SeenCombinations.
        resamples: number of bootstrap resamples over mixtures.
        seed: of the resampling.

    Returns:
        List of two DataFrames as of class_wise_table; without the second if all combinations were seen, and empty if no
        run has powersets.
    """
    first, *_ = results
    parts = first.unseen
    if not parts:
        return []
    frames = types.SimpleNamespace(name="frames", unit=first.unit,
                                   counts=np.concatenate([part.frames for part in parts], axis=1))
    rows = [f"{part.seen.name}, {name}" for part in parts
            for name in ("any task", *(task.name for task in part.seen.tasks))]
    shares = compare_runs([frames], "unseen_share", rows, lambda counts: share(counts, None), resamples, seed)
    scored = [index for index, part in enumerate(parts) if part.frames[:, 0, 0].any()]
    if not scored:
        return [shares]
    runs = [types.SimpleNamespace(name=result.name, unit=result.unit,
                                  counts=np.concatenate([result.unseen[index].counts for index in scored], axis=1))
            for result in results]
    rows = [f"{parts[index].seen.name}: {part}" for index in scored for part in ("unseen", "others")]
    return [shares, compare_runs(runs, "unseen_f_score", rows, f_score, resamples, seed)]
