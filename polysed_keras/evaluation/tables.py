"""Reports: counts of several runs as tables side by side, with intervals over mixtures and the spread over seeds."""
import dataclasses
import pathlib

import numpy as np
import pandas as pd

from polysed_keras.errors import InputError
from polysed_keras.events import f_score, precision, recall
from polysed_keras.files import atomic_file, write_json

MEASURES = {"f_score": f_score, "precision": precision, "recall": recall}
MAX_WIDTH = 120  # characters of a terminal's line


@dataclasses.dataclass(frozen=True, eq=False)
class RunResult:
    """What one trained network scored: `counts` is an int64 array (mixtures, labels + 1, labels, 3) of `frame_counts`.

    Runs of one `name` are the seeds of one preset. `unseen` holds an evaluation.UnseenCounts for every SeenCombinations
    that was asked about.

    Raises:
        InputError: the shape of `counts` does not fit `labels` and `mixtures`.
    """

    name: str
    seed: int
    labels: tuple
    mixtures: tuple
    counts: np.ndarray
    unseen: tuple = ()
    unit = "mixtures"  # what intervals are over

    @property
    def reference(self):
        """Active frames of the reference: (mixtures, polyphony, labels)."""
        return self.counts[..., 0] + self.counts[..., 2]

    def __post_init__(self):
        expected = (len(self.mixtures), len(self.labels) + 1, len(self.labels), 3)
        if np.shape(self.counts) != expected:
            raise InputError(f"counts of {self.name}: expected shape {expected}, received {np.shape(self.counts)}.")


def class_wise_table(results, *, measure="f_score", resamples=1000, seed=0):
    """Scores by label, their average, and overall, which pools frames and labels (Phan et al. 2022, Table 2).

    Args:
        results: RunResult objects; those of one name are averaged as seeds of one preset.
        measure: "f_score", "precision" or "recall".
        resamples: bootstrap resamples over mixtures, the same ones for all runs.
        seed: of the resampling.

    Returns:
        DataFrame, a line for each row and run: table, row, run, seeds (their number), value (mean over seeds), low and
        high (95 % percentile interval of that mean over the resamples where it is defined; NaN for a single mixture),
        spread (standard deviation over seeds), seed_min, seed_max (NaN for a single seed), difference (to the first
        run), difference_low, difference_high (paired: from the same resamples). All scores in 0..1.

    Raises:
        InputError: no runs, runs that cannot be compared (the message says why), or an unknown measure.
    """
    check_comparable(results)
    score = _measure(measure)

    def scores(counts):
        counts = counts.sum(axis=-3)
        averages = [score(counts, average)[..., None] for average in ("macro", "micro")]
        return np.concatenate([score(counts, None), *averages], axis=-1)

    rows = [*results[0].labels, "average", "overall"]
    return compare_runs(results, f"class_wise_{measure}", rows, scores, resamples, seed)


def polyphony_table(results, *, measure="f_score", resamples=1000, seed=0):
    """Scores by polyphony of the reference frame, 1 to the highest there is, pooled over labels (Table 3).

    Silent frames are in no row. Arguments, result and errors as in `class_wise_table`.
    """
    check_comparable(results)
    score = _measure(measure)
    highest = max(np.flatnonzero(results[0].reference.sum(axis=(0, 2))), default=0)

    def scores(counts):
        return score(counts[..., 1:highest + 1, :, :], "micro")

    return compare_runs(results, f"polyphony_{measure}", range(1, highest + 1), scores, resamples, seed)


def format_tables(*tables):
    """Lay tables out for a terminal: per cent, one decimal, runs side by side, "-" where a score is not defined."""
    return "\n\n".join(_format_table(table) for table in tables if len(table))


def write_report(results, directory, *, resamples=1000, seed=0):
    """Write class_wise.csv, polyphony.csv (F1) and report.json (F1, precision, recall, counts per run).

    Returns:
        The two tables, so that they can be shown.

    Raises:
        InputError: as in `class_wise_table`, or `directory` cannot be written.
    """
    tables = [make(results, resamples=resamples, seed=seed) for make in (class_wise_table, polyphony_table)]
    report = {"labels": list(results[0].labels), "mixtures": list(results[0].mixtures),
              "runs": [_report_run(run) for run in results]}
    write_json(report, pathlib.Path(directory) / "report.json")
    for table, name in zip(tables, ("class_wise.csv", "polyphony.csv")):
        write_table(table, pathlib.Path(directory) / name)
    return tables


def write_table(table, path):
    """Write a table as CSV, atomically."""
    with atomic_file(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6f", lineterminator="\n")


def _measure(name):
    if name not in MEASURES:
        raise InputError(f"measure: expected one of {', '.join(MEASURES)}, received {name!r}.")
    return MEASURES[name]


def check_comparable(results):
    """Raises InputError where there are no runs, a run twice, or runs of other labels, data or references."""
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
        for index in np.flatnonzero(differs)[:1]:
            raise InputError(f"runs {first.name} and {other.name}: the reference of {first.unit[:-1]} "
                             f"{getattr(first, first.unit)[index]} "
                             "differs. Evaluate both on the same data with the same time resolution.")


def _check_same(what, name, values, other_name, other_values):
    if tuple(values) != tuple(other_values):
        only = [f"{', '.join(sorted(set(a) - set(b))) or 'nothing'} only in {run}"
                for run, a, b in ((name, values, other_values), (other_name, other_values, values))]
        detail = "another order" if set(values) == set(other_values) else " and ".join(only)
        raise InputError(f"runs {name} and {other_name}: expected the same {what}, received {detail}. "
                         "Evaluate runs of the same data together.")


def compare_runs(results, table, rows, scores, resamples, seed):
    """A table as class_wise_table's, of one line per row and run; `scores` maps sums of counts to (..., rows)."""
    weights = _resample_weights(len(results[0].counts), resamples, seed)
    first = first_resampled = np.nan  # the first run has no difference to itself
    blocks = []
    for name in dict.fromkeys(result.name for result in results):
        runs = [result.counts for result in results if result.name == name]
        by_seed = pd.DataFrame([scores(counts.sum(axis=0)) for counts in runs])
        value = by_seed.mean().to_numpy()
        resampled = _mean([scores(np.tensordot(weights, counts, axes=1)) for counts in runs])
        low, high = _interval(resampled)
        spread, seed_min, seed_max = _spread(by_seed) if len(runs) > 1 else np.full((3, len(value)), np.nan)
        difference_low, difference_high = _interval(resampled - first_resampled)
        blocks.append(pd.DataFrame({
            "table": table, "row": rows, "run": name, "seeds": len(runs), "value": value, "low": low, "high": high,
            "spread": spread, "seed_min": seed_min, "seed_max": seed_max, "difference": value - first,
            "difference_low": difference_low, "difference_high": difference_high}))
        if len(blocks) == 1:
            first, first_resampled = value, resampled
    joined = pd.concat(blocks, ignore_index=True)
    joined.attrs["unit"] = results[0].unit
    return joined


def _resample_weights(num_mixtures, resamples, seed):
    """How often each mixture is in each resample: float array (resamples, mixtures)."""
    if num_mixtures == 1:
        return np.full((resamples, 1), np.nan)  # one mixture says nothing about the spread over mixtures
    rng = np.random.default_rng(seed)
    return rng.multinomial(num_mixtures, np.full(num_mixtures, 1 / num_mixtures), size=resamples).astype(float)


def _mean(values):
    """Mean over the first axis without NaN."""
    return np.ma.masked_invalid(values).mean(axis=0).filled(np.nan)


def _spread(by_seed):
    return [measure.to_numpy() for measure in (by_seed.std(), by_seed.min(), by_seed.max())]


def _interval(resampled):
    return pd.DataFrame(resampled).quantile([0.025, 0.975]).to_numpy()


def _format_table(table):
    first, columns, spreads = table["run"].iloc[0], [], []
    title = f"{table['table'].iloc[0]} in % [95 % interval over {table.attrs.get('unit', 'mixtures')}]"
    for run, lines in table.groupby("run", sort=False):
        columns.append(_column(run, lines, "{:.1f} [{:.1f}, {:.1f}]", ["value", "low", "high"]))
        if run != first:
            columns.append(_column("difference", lines, "{:+.1f} [{:+.1f}, {:+.1f}]",
                                   ["difference", "difference_low", "difference_high"]))
        seeds = lines["seeds"].iloc[0]
        if seeds > 1:
            spreads.append(_column(f"{run}, {seeds} seeds", lines, "{:.1f} ({:.1f} to {:.1f})",
                                   ["spread", "seed_min", "seed_max"]))
    if len(columns) > 1:
        title += f"; difference: to {first}, paired"
    text = f"{title}\n{_side_by_side(columns)}"
    if spreads:
        text += f"\n\nspread over seeds in %: standard deviation (lowest to highest)\n{_side_by_side(spreads)}"
    return text


def _column(header, lines, layout, names):
    """Three percentages a cell; only the first where the others are not defined, and "-" where none is."""
    cells = []
    for numbers in (100 * lines[names]).to_numpy():
        known = layout.split(" ", 1)[0] if np.isnan(numbers).any() else layout
        cells.append("-" if np.isnan(numbers[0]) else known.format(*numbers))
    return pd.Series(cells, index=lines["row"].to_numpy(), name=header)


def _side_by_side(columns):
    return pd.concat(columns, axis=1).to_string(line_width=MAX_WIDTH)


def _report_run(run):
    counts = run.counts.sum(axis=0)
    average = {name: _json_number(measure(counts.sum(axis=0), "macro")) for name, measure in MEASURES.items()}
    class_wise = {label: _report_counts(row) for label, row in zip(run.labels, counts.sum(axis=0))}
    degrees = {str(degree): _report_counts(row) for degree, row in enumerate(counts.sum(axis=1)) if row.any()}
    return {"name": run.name, "seed": run.seed, "overall": _report_counts(counts.sum(axis=(0, 1))), "average": average,
            "class_wise": class_wise, "polyphony": degrees}


def _report_counts(counts):
    scores = {name: _json_number(measure(counts[None])) for name, measure in MEASURES.items()}
    return {**scores, **{name: int(count) for name, count in zip(("tp", "fp", "fn"), counts)}}


def _json_number(score):
    return None if np.isnan(score) else float(score)
