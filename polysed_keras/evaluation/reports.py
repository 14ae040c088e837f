"""Reports of runs: their tables, for recordings or for clips, as files and for the terminal."""
import pathlib

import numpy as np
import pandas as pd

from polysed_keras.evaluation.alarms import alarm_tables
from polysed_keras.evaluation.tables import SCORES, class_wise_table, clip_tables, polyphony_table, write_table
from polysed_keras.evaluation.unseen import unseen_tables
from polysed_keras.events import share
from polysed_keras.files import write_json


def report_tables(results, *, resamples=1000, seed=0):
    """Return all tables of runs: by class, polyphony, false alarms, unseen combinations; or of clips by class and task.

    Args:
        results: list of RunResult, all of recordings or all of clips.
        resamples: number of bootstrap resamples over mixtures or clips.
        seed: of the resampling.

    Returns:
        List of DataFrames as of class_wise_table, for format_tables.

    Raises:
        InputError: no runs, or runs that cannot be compared.
    """
    return [table for tables in _tables_by_file(results, resamples, seed).values() for table in tables]


def write_report(results, out, *, resamples=1000, seed=0):
    """Write the tables of runs as CSV, and report.json with scores by run and label.

    Tables of recordings are class_wise.csv, polyphony.csv, alarms.csv, and unseen.csv if a run has powersets; tables of
    clips are class_wise_accuracy.csv and class_wise_lwlrap.csv. Result and errors are those of `report_tables`.

    Args:
        results: list of RunResult.
        out: folder of the report.
        resamples: number of bootstrap resamples.
        seed: of the resampling.
    """
    files = _tables_by_file(results, resamples, seed)
    first, *_ = results
    if first.tasks:
        content = {"runs": [_describe_task(part) for result in results for part in result.tasks]}
    else:
        content = {"labels": list(first.labels), "mixtures": list(first.mixtures),
                   "runs": [_describe_run(result) for result in results]}
    write_json(content, pathlib.Path(out) / "report.json")
    for name, tables in files.items():
        write_table(pd.concat(tables), pathlib.Path(out) / name)
    return [table for tables in files.values() for table in tables]


def _tables_by_file(results, resamples, seed):
    arguments = {"resamples": resamples, "seed": seed}
    if any(result.tasks for result in results):
        return {f"{name}.csv": [table] for table in clip_tables(results, **arguments)
                for name in table["table"].unique()}
    files = {"class_wise.csv": [class_wise_table(results, **arguments)],
             "polyphony.csv": [polyphony_table(results, **arguments)],
             "alarms.csv": (alarm_tables(results, **arguments)
                            if all(result.alarm_counts is not None for result in results) else []),
             "unseen.csv": unseen_tables(results, **arguments)}
    return {name: tables for name, tables in files.items() if tables}


def _describe_task(result):
    scores = share(result.counts.sum(axis=0), None).tolist()
    return {"name": result.name, "seed": result.seed, "task": result.task, "clips": len(result.clips),
            result.measure: result.score,
            "class_wise": {label: _json_number(score) for label, score in zip(result.labels, scores)}}


def _describe_run(run):
    counts = run.counts.sum(axis=0)
    average = {name: _json_number(score(counts.sum(axis=0), "macro")) for name, score in SCORES.items()}
    class_wise = {label: _describe_counts(row) for label, row in zip(run.labels, counts.sum(axis=0))}
    degrees = {str(degree): _describe_counts(row) for degree, row in enumerate(counts.sum(axis=1)) if row.any()}
    return {"name": run.name, "seed": run.seed, "overall": _describe_counts(counts.sum(axis=(0, 1))),
            "average": average, "class_wise": class_wise, "polyphony": degrees}


def _describe_counts(counts):
    scores = {name: _json_number(score(counts[None])) for name, score in SCORES.items()}
    return {**scores, **{name: int(count) for name, count in zip(("tp", "fp", "fn"), counts)}}


def _json_number(score):
    return None if np.isnan(score) else float(score)
