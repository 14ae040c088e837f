"""Scores of runs as tables: runs side by side, with intervals over mixtures or clips and the spread over seeds."""
import dataclasses

import numpy as np
import pandas as pd

from polysed_keras.errors import InputError, expect_known
from polysed_keras.events import f_score, precision, recall, share
from polysed_keras.files import atomic_file

SCORES = {"f_score": f_score, "precision": precision, "recall": recall}
# The name of the score of clips, its last row, and how that sums up the labels.
CLIP_SCORES = {"multi_class": ("accuracy", "average", "macro"), "multi_label": ("lwlrap", "overall", "micro")}
MAX_WIDTH = 120  # characters per line of a terminal


def _check_counts(name, counts, expected):
    if np.shape(counts) != expected:
        raise InputError(f"counts of {name}: expected shape {expected}, received {np.shape(counts)}.")


@dataclasses.dataclass(frozen=True, eq=False)
class TaskResult:
    """Counts of one task of a network that labels clips.

    Attributes:
        name: of the run; runs of one name are the seeds of one preset.
        seed: of the training.
        task: name of the task.
        encoding: `multi_class`, scored by macro accuracy, or `multi_label`, scored by lwlrap.
        labels: of the task.
        clips: names of the clips.
        counts: float64 array (clips, labels, 2) of events.recognised (`multi_class`) or events.retrieved.

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

    def __post_init__(self):
        _check_counts(self.name, self.counts, (len(self.clips), len(self.labels), 2))

    @property
    def reference(self):
        """The clips' labels, (clips, labels)."""
        return self.counts[..., 1]

    @property
    def measure(self):
        """`accuracy` or `lwlrap`."""
        return CLIP_SCORES[self.encoding][0]

    @property
    def score(self):
        """Macro accuracy or lwlrap (paper 2, section 3.2), in 0..1."""
        return float(_clip_scores(self.encoding)(self.counts.sum(axis=0))[-1])


@dataclasses.dataclass(frozen=True, eq=False)
class RunResult:
    """Counts of one trained network on a partition.

    Attributes:
        name: of the run; runs of one name are the seeds of one preset.
        seed: of the training.
        labels: of recordings, in the corpus's order.
        mixtures: names of the recordings.
        counts: int64 array (mixtures, labels + 1, labels, 3) of events.frame_counts.
        unseen: one evaluation.UnseenCounts per SeenCombinations that was asked about.
        tasks: of a network that labels clips, one TaskResult per task; labels, mixtures and counts are empty then.
        alarm_counts: float64 array (recordings, labels + 1, 7) of evaluation.alarms.count_alarms, of the mixtures and
            of recordings without labels; None if alarms were not counted.
        alarms: one events.Alarms per recording of alarm_counts.
        silent_share: of the time of the mixtures, how much is digital silence.

    Raises:
        InputError: the shape of `counts` does not fit `labels` and `mixtures`.
    """

    name: str
    seed: int
    labels: tuple = ()
    mixtures: tuple = ()
    counts: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 1, 0, 3), int))
    unseen: tuple = ()
    tasks: tuple = ()
    alarm_counts: np.ndarray | None = None
    alarms: tuple = ()
    silent_share: float = 0.0
    unit = "mixtures"  # intervals are over these

    def __post_init__(self):
        _check_counts(self.name, self.counts, (len(self.mixtures), len(self.labels) + 1, len(self.labels), 3))

    @property
    def reference(self):
        """Active frames of the reference: (mixtures, polyphony, labels)."""
        return self.counts[..., 0] + self.counts[..., 2]


def class_wise_table(results, *, measure="f_score", resamples=1000, seed=0):
    """Return scores by label, their average, and overall, which pools frames and labels (Phan et al. 2022, Table 2).

    Args:
        results: list of RunResult; those of one name are averaged as seeds of one preset.
        measure: "f_score", "precision" or "recall".
        resamples: number of bootstrap resamples over mixtures, the same ones for all runs.
        seed: of the resampling.

    Returns:
        DataFrame with a line per row and run: table, row, run, seeds (their number), value (mean over seeds), low and
        high (95 % percentile interval of that mean over the resamples that define it; NaN for a single mixture), spread
        (standard deviation over seeds), seed_min, seed_max (NaN for a single seed), difference (to the first run),
        difference_low, difference_high (paired: from the same resamples). All scores in 0..1.

    Raises:
        InputError: no runs, runs that cannot be compared (the message says why), or an unknown measure.
    """
    first, score = check_comparable(results), _measure(measure)

    def scores(counts):
        counts = counts.sum(axis=-3)
        averages = [score(counts, average)[..., None] for average in ("macro", "micro")]
        return np.concatenate([score(counts, None), *averages], axis=-1)

    rows = [*first.labels, "average", "overall"]
    return compare_runs(results, f"class_wise_{measure}", rows, scores, resamples, seed)


def polyphony_table(results, *, measure="f_score", resamples=1000, seed=0):
    """Return scores by polyphony of the reference frame, from 1 up, pooled over labels (Phan et al. 2022, Table 3).

    Silent frames are in no row. Arguments, result and errors as of `class_wise_table`.
    """
    first, score = check_comparable(results), _measure(measure)
    highest = max(np.flatnonzero(first.reference.sum(axis=(0, 2))), default=0)

    def scores(counts):
        return score(counts[..., 1:highest + 1, :, :], "micro")

    return compare_runs(results, f"polyphony_{measure}", range(1, highest + 1), scores, resamples, seed)


def clip_table(results, *, resamples=1000, seed=0):
    """Return scores of one task by label and as a whole: macro accuracy (`average`) or lwlrap (`overall`).

    Paper 2, section 3.2.

    Args:
        results: list of TaskResult of one task; those of one name are averaged as seeds of one preset.
        resamples: number of bootstrap resamples over clips.
        seed: of the resampling.

    Returns:
        DataFrame as of class_wise_table.

    Raises:
        InputError: no runs, or runs that cannot be compared.
    """
    first = check_comparable(results)
    measure, row, _ = CLIP_SCORES[first.encoding]
    return compare_runs(results, f"class_wise_{measure}", [*first.labels, row], _clip_scores(first.encoding), resamples,
                        seed)


def _clip_scores(encoding):
    """Return a function from summed counts (..., labels, 2) to a score per label, then overall: (..., labels + 1)."""
    *_, average = CLIP_SCORES[encoding]
    return lambda counts: np.concatenate([share(counts, None), share(counts, average)[..., None]], axis=-1)


def clip_tables(results, **arguments):
    """Return one clip_table per task.

    Args:
        results: list of RunResult of networks that label clips; each task's table holds the runs that have the task.
        arguments: `resamples` and `seed` of clip_table.
    """
    found = [part for result in results for part in result.tasks]
    return [clip_table([part for part in found if part.task == task], **arguments)
            for task in dict.fromkeys(part.task for part in found)]


def format_tables(*tables):
    """Return tables as text for a terminal: per cent, one decimal, runs side by side, "-" if a score is undefined."""
    return "\n\n".join(_format_table(table) for table in tables if len(table))


def write_table(table, path):
    """Write a table as CSV to a path, atomically."""
    with atomic_file(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6f", lineterminator="\n")


def _measure(name):
    expect_known(name, SCORES, "measure")
    return SCORES[name]


def check_comparable(results):
    """Return the first of runs; raise InputError if there are none, one twice, or other labels, data or references.

    Args:
        results: list of RunResult, or of TaskResult.
    """
    if not results:
        raise InputError("runs: expected at least one, received none.")
    first, seen = results[0], set()
    for other in results:
        if (other.name, other.seed) in seen:
            raise InputError(f"runs: {other.name} with seed {other.seed} is there twice. Give each run of a preset "
                             "once, with a seed of its own.")
        seen.add((other.name, other.seed))
        for what in ("labels", first.unit):
            _check_same(what, first.name, getattr(first, what), other.name, getattr(other, what))
        differs = (first.reference != other.reference).any(axis=tuple(range(1, first.reference.ndim)))
        if differs.any():
            raise InputError(f"runs {first.name} and {other.name}: the reference of {first.unit[:-1]} "
                             f"{getattr(first, first.unit)[differs.argmax()]} differs. Evaluate both on the same data "
                             "with the same time resolution.")
    return first


def _check_same(what, name, values, other_name, other_values):
    if tuple(values) != tuple(other_values):
        only = [f"{', '.join(sorted(set(a) - set(b))) or 'nothing'} only in {run}"
                for run, a, b in ((name, values, other_values), (other_name, other_values, values))]
        detail = "another order" if set(values) == set(other_values) else " and ".join(only)
        raise InputError(f"runs {name} and {other_name}: expected the same {what}, received {detail}. "
                         "Evaluate runs of the same data together.")


def compare_runs(results, table, rows, scores, resamples, seed, *, per_cent=True):
    """Return a DataFrame as of class_wise_table, with a line per row and run.

    Args:
        results: list of objects with `name`, `unit` and `counts`, an array whose first axis is resampled.
        table: the table's name.
        rows: names of the rows.
        scores: function from summed counts to an array (..., rows).
        resamples: number of bootstrap resamples.
        seed: of the resampling.
        per_cent: whether texts give the scores in per cent.
    """
    first, *_ = results
    weights = resample_weights(len(first.counts), resamples, seed)
    by_run = {name: [(scores(result.counts.sum(axis=0)), scores(np.tensordot(weights, result.counts, axes=1)))
                     for result in results if result.name == name]
              for name in dict.fromkeys(result.name for result in results)}
    return compare_scores(by_run, table, rows, unit=first.unit, per_cent=per_cent)


def compare_scores(by_run, table, rows, *, unit, per_cent=True):
    """Return a DataFrame as of class_wise_table, with a line per row and run.

    Args:
        by_run: dict of a run's name to a list, one per seed, of its scores (rows,) and those of resamples (resamples,
            rows), the same ones for all runs.
        table: the table's name.
        rows: names of the rows.
        unit: what is resampled.
        per_cent: whether texts give the scores in per cent.
    """
    first = first_resampled = np.nan  # the first run has no difference to itself
    blocks = []
    for name, runs in by_run.items():
        by_seed = pd.DataFrame([scores for scores, _ in runs])
        value = by_seed.mean().to_numpy()
        by_resample = np.ma.masked_invalid([resampled for _, resampled in runs])
        resampled = by_resample.mean(axis=0).filled(np.nan)  # the mean over seeds that define the score
        low, high = _interval(resampled)
        spread, seed_min, seed_max = (np.stack([by_seed.std(), by_seed.min(), by_seed.max()]) if len(runs) > 1
                                      else np.full((3, len(value)), np.nan))
        difference_low, difference_high = _interval(resampled - first_resampled)
        blocks.append(pd.DataFrame({
            "table": table, "row": rows, "run": name, "seeds": len(runs), "value": value, "low": low, "high": high,
            "spread": spread, "seed_min": seed_min, "seed_max": seed_max, "difference": value - first,
            "difference_low": difference_low, "difference_high": difference_high}))
        if len(blocks) == 1:
            first, first_resampled = value, resampled
    joined = pd.concat(blocks, ignore_index=True)
    joined.attrs |= {"unit": unit, "scale": 100 if per_cent else 1}
    return joined


def resample_weights(num_mixtures, resamples, seed):
    """Return how often each mixture is in each resample: float array (resamples, mixtures)."""
    if num_mixtures == 1:
        return np.full((resamples, 1), np.nan)  # one mixture says nothing about the spread over mixtures
    rng = np.random.default_rng(seed)
    return rng.multinomial(num_mixtures, np.full(num_mixtures, 1 / num_mixtures), size=resamples).astype(float)


def _interval(resampled):
    return pd.DataFrame(resampled).quantile([0.025, 0.975]).to_numpy()


def _format_table(table):
    first, columns, spreads = table["run"].iloc[0], [], []
    scale, decimals = table.attrs.get("scale", 100), table.attrs.get("decimals", 1)
    number, signed = f"{{:.{decimals}f}}", f"{{:+.{decimals}f}}"
    percent = " in %" if scale == 100 else ""
    (name,) = table["table"].unique()
    title = f"{name}{percent} [95 % interval over {table.attrs.get('unit', 'mixtures')}]"
    for run, lines in table.groupby("run", sort=False):
        columns.append(_column(run, lines, f"{number} [{number}, {number}]", ["value", "low", "high"], scale))
        if run != first:
            columns.append(_column("difference", lines, f"{signed} [{signed}, {signed}]",
                                   ["difference", "difference_low", "difference_high"], scale))
        seeds = lines["seeds"].max()
        if seeds > 1:
            spreads.append(_column(f"{run}, {seeds} seeds", lines, f"{number} ({number} to {number})",
                                   ["spread", "seed_min", "seed_max"], scale))
    if len(columns) > 1:
        title += f"; difference: to {first}, paired"
    text = f"{title}\n{_side_by_side(columns)}"
    if spreads:
        text += f"\n\nspread over seeds{percent}: standard deviation (lowest to highest)\n{_side_by_side(spreads)}"
    return text


def _column(header, lines, layout, names, scale):
    return percent_cells((scale * lines[names]).set_axis(lines["row"].to_numpy()), layout).rename(header)


def percent_cells(scores, layout):
    """Format a score and its range per row, such as "57.2 [50.1, 60.0]".

    Args:
        scores: DataFrame of three columns in per cent: score, low, high.
        layout: str of three fields, such as "{:.1f} [{:.1f}, {:.1f}]".

    Returns:
        Series of text with the rows' index: the score alone if it has no range, "-" if it is not defined.
    """
    def text(row):
        if np.isnan(row[0]):
            return "-"
        return (layout.split(" ")[0] if np.isnan(row).any() else layout).format(*row)

    return pd.Series([text(row) for row in scores.to_numpy(float)], scores.index)


def _side_by_side(columns):
    return pd.concat(columns, axis=1).to_string(line_width=MAX_WIDTH)
