"""Reports of networks that label whole clips: macro accuracy of scenes and lwlrap of events, with intervals over clips."""
import dataclasses
import pathlib

import numpy as np

from polysed_keras.errors import InputError
from polysed_keras.evaluation.tables import check_comparable, compare_runs, write_table
from polysed_keras.events import share
from polysed_keras.files import write_json

MEASURES = {"multi_class": ("accuracy", "average"), "multi_label": ("lwlrap", "overall")}  # name, and its last row


@dataclasses.dataclass(frozen=True, eq=False)
class ClipResult:
    """What one trained network scored in one task: `counts` is a float64 array (clips, labels, 2) of `events.recognised`
    (`multi_class`) or `events.retrieved` (`multi_label`).

    Raises:
        InputError: the shape of `counts` does not fit `labels` and `clips`.
    """

    name: str
    seed: int
    task: str
    encoding: str
    labels: tuple
    clips: tuple
    counts: np.ndarray
    unit = "clips"

    @property
    def reference(self):
        """The clips' labels, (clips, labels)."""
        return self.counts[..., 1]

    @property
    def measure(self):
        """accuracy or lwlrap."""
        return MEASURES[self.encoding][0]

    @property
    def score(self):
        """Macro accuracy, or lwlrap (paper 2, section 3.2), in 0..1."""
        return float(_scores(self.encoding)(self.counts.sum(axis=0))[-1])

    def __post_init__(self):
        expected = (len(self.clips), len(self.labels), 2)
        if np.shape(self.counts) != expected:
            raise InputError(f"counts of {self.name}: expected shape {expected}, received {np.shape(self.counts)}.")


def _scores(encoding):
    """A function of sums of counts (..., labels, 2) to a score a label, and the whole one: (..., labels + 1)."""
    average = "macro" if encoding == "multi_class" else "micro"
    return lambda counts: np.concatenate([share(counts, None), share(counts, average)[..., None]], axis=-1)


def clip_table(results, *, resamples=1000, seed=0):
    """Scores of one task by label and as a whole: macro accuracy (`average`), or lwlrap (`overall`; paper 2, section 3.2).

    Args:
        results: ClipResult objects of one task; those of one name are averaged as seeds of one preset.
        resamples, seed: of the bootstrap over clips.

    Returns:
        DataFrame as evaluation.class_wise_table's.

    Raises:
        InputError: no runs, or runs that cannot be compared.
    """
    check_comparable(results)
    measure, row = MEASURES[results[0].encoding]
    return compare_runs(results, f"class_wise_{measure}", [*results[0].labels, row], _scores(results[0].encoding),
                        resamples, seed)


def clip_tables(runs, **arguments):
    """A clip_table for every task, of the runs that have it; `runs`: tuples of ClipResult."""
    tasks = dict.fromkeys(result.task for run in runs for result in run)
    return [clip_table([result for run in runs for result in run if result.task == task], **arguments) for task in tasks]


def write_clip_report(runs, directory, **arguments):
    """Write <measure>.csv for every task and report.json (scores by label and run).

    Returns:
        The tables, so that they can be shown.

    Raises:
        InputError: as in `clip_table`, or `directory` cannot be written.
    """
    tables = clip_tables(runs, **arguments)
    report = [{"name": result.name, "seed": result.seed, "task": result.task, "clips": len(result.clips),
               result.measure: result.score,
               "class_wise": {label: None if np.isnan(score) else score for label, score in
                              zip(result.labels, share(result.counts.sum(axis=0), None).tolist())}}
              for run in runs for result in run]
    write_json({"runs": report}, pathlib.Path(directory) / "report.json")
    for table in tables:
        write_table(table, pathlib.Path(directory) / f"{table['table'].iloc[0]}.csv")
    return tables
