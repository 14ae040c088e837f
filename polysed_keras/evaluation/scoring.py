"""Scores of event lists: frame-based, segment-based, event-based and intersection-based, with intervals."""
import dataclasses
import pathlib
import types

import numpy as np
import pandas as pd

from polysed_keras.errors import expect
from polysed_keras.evaluation.alarms import count_alarms, decoded_alarm_tables
from polysed_keras.evaluation.score_files import BEST_THRESHOLDS, MEASURES
from polysed_keras.evaluation.tables import SCORES, compare_runs, write_table
from polysed_keras.events import (
    error_counts,
    error_rates,
    event_counts,
    event_list_to_event_roll,
    intersection_counts,
)
from polysed_keras.files import write_json

ERRORS = ("error_rate", "substitution_rate", "deletion_rate", "insertion_rate")
KINDS = ("frame_based", "segment_based", "event_based", "intersection_based")


@dataclasses.dataclass(frozen=True)
class Matching:
    """The rules by which events count as correct.

    Attributes:
        time_resolution: seconds per frame, of frame-based scores and false events per hour.
        segment: seconds per segment, of segment-based scores.
        collar: seconds, as of events.event_counts.
        offset_share: 0 to 1, as of events.event_counts.
        detection_share: 0 to 1, as of events.intersection_counts.
        reference_share: 0 to 1, as of events.intersection_counts.

    Raises:
        InputError: a number is out of its range.
    """

    time_resolution: float = 0.02
    segment: float = 1.0
    collar: float = 0.2
    offset_share: float = 0.5
    detection_share: float = 0.5
    reference_share: float = 0.5

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            is_share = name.endswith("share")
            expect(0 <= value <= 1 if is_share else value >= 0 if name == "collar" else value > 0, name,
                   "a share in 0..1" if is_share else "seconds, more than none", value)


def count_lists(lists, matching=Matching()):
    """Count what systems found, missed and reported falsely.

    Args:
        lists: evaluation.EventLists.
        matching: Matching.

    Returns:
        Dict of a kind of KINDS, and `alarms` if durations are known, to a list of one result per system: its `name`,
        `unit` and `counts`, an array (recordings, labels + 1, 4) of events.error_counts or, of alarms, of
        evaluation.alarms.count_alarms.
    """
    kinds = (*KINDS, "alarms") if lists.durations else KINDS
    results = {kind: [] for kind in kinds}
    for name, system in lists.systems.items():
        counts = [_count_recording(lists, recording, system[recording], matching) for recording in lists.recordings]
        for kind in kinds:
            results[kind].append(types.SimpleNamespace(name=name, unit="recordings",
                                                       counts=np.stack([each[kind] for each in counts])))
    return results


def _count_recording(lists, recording, estimated, matching):
    reference, labels = lists.reference[recording], lists.labels
    end = lists.durations[recording] if lists.durations else max(
        (events["offset"].max() for events in (reference, estimated) if len(events)), default=0)

    def rolls(resolution):
        number = int(np.ceil(round(end / resolution, 6)))
        return [event_list_to_event_roll(events, labels, number, resolution) for events in (reference, estimated)]

    frames = rolls(matching.time_resolution)
    return {"frame_based": error_counts(*frames), "segment_based": error_counts(*rolls(matching.segment)),
            "event_based": event_counts(reference, estimated, labels, collar=matching.collar,
                                        offset_share=matching.offset_share),
            "intersection_based": intersection_counts(reference, estimated, labels,
                                                      detection_share=matching.detection_share,
                                                      reference_share=matching.reference_share),
            "alarms": count_alarms(*frames, matching.time_resolution)}


def score_tables(lists, matching=Matching(), *, resamples=1000, seed=0):
    """Return the scores of systems by label, their average, and overall.

    A label that is on one side only has an F1 of 0, and one that is on none has none and is left out of the average;
    sed_eval leaves both out. Error rates are over what the reference holds, and those of a label that it lacks are not
    defined. False events per hour, if durations are known, are those of evaluation.alarms.

    Args:
        lists: evaluation.EventLists.
        matching: Matching.
        resamples: number of bootstrap resamples over recordings, the same ones for all systems.
        seed: of the resampling.

    Returns:
        List of DataFrames as of evaluation.class_wise_table, called KIND_MEASURE, such as event_based_f_score.
    """
    results, tables = count_lists(lists, matching), []
    rows = [*lists.labels, "average", "overall"]
    measures = [*SCORES, *ERRORS]
    for kind in KINDS:
        joined = compare_runs(results[kind], kind, range(len(measures) * len(rows)), _all_scores, resamples, seed)
        for place, measure in enumerate(measures):
            if (kind, measure) == ("intersection_based", "substitution_rate"):
                continue  # there are none
            own = joined[joined["row"] // len(rows) == place]
            own = own.assign(table=f"{kind}_{measure}", row=[rows[row % len(rows)] for row in own["row"]])
            own.attrs |= joined.attrs
            tables.append(own.reset_index(drop=True))
    return tables + (decoded_alarm_tables(results["alarms"], lists.labels, resamples, seed)
                     if "alarms" in results else [])


def _all_scores(counts):
    """Return SCORES and ERRORS of summed counts (..., labels + 1, 4), each by label, average and overall, in a row."""
    parts = []
    for score in SCORES.values():
        of_labels = counts[..., :-1, :3]
        parts += [score(of_labels, None), *(score(of_labels, average)[..., None] for average in ("macro", "micro"))]
    rates = error_rates(counts)
    defined = ~np.isnan(rates[..., :-1, :])
    number = defined.sum(axis=-2, keepdims=True)
    average = np.where(defined, rates[..., :-1, :], 0).sum(axis=-2, keepdims=True) / np.where(number, number, np.nan)
    rates = np.concatenate([rates[..., :-1, :], average, rates[..., -1:, :]], axis=-2)
    return np.concatenate([*parts, *np.moveaxis(rates, -1, 0)], axis=-1)


def summarize_tables(tables):
    """Return what fits a terminal: F1 by label, overall error rates, false events, and what holds at all thresholds.

    Args:
        tables: list of score_tables and of evaluation.score_file_tables.
    """
    by_name = {name: table for table in tables for name in table["table"].unique()}
    known = [table for name, table in by_name.items() if name.startswith(KINDS) and name.endswith("_f_score")]
    others = [table for name, table in by_name.items()
              if not name.startswith(KINDS) and name not in (*MEASURES, *BEST_THRESHOLDS)]
    summary = [*known, _overall_rows("overall error rates", {name: table for name, table in by_name.items()
                                                             if name.endswith("_rate")}), *others]
    if set(MEASURES) <= set(by_name):
        summary += [_overall_rows("at all thresholds", {name: by_name[name] for name in MEASURES}),
                    *(by_name[name] for name in BEST_THRESHOLDS)]
    return summary


def _overall_rows(title, tables):
    joined = pd.concat([table[table["row"] == "overall"].assign(row=name, table=title)
                        for name, table in tables.items()], ignore_index=True)
    joined.attrs |= next(iter(tables.values())).attrs
    return joined


def write_scores(tables, lists, matching, out):
    """Write scores.csv, a line per table, row and system, and scores.json, which says what was scored and how.

    Args:
        tables: as of summarize_tables.
        lists: evaluation.EventLists.
        matching: Matching.
        out: folder.
    """
    out, joined = pathlib.Path(out), pd.concat(tables)
    scores = {}
    for line in joined.itertuples():
        table = scores.setdefault(line.run, {}).setdefault(line.table, {})
        table[str(line.row)] = {name: None if np.isnan(value) else float(value) for name, value in
                                (("value", line.value), ("low", line.low), ("high", line.high))}
    write_json({"matching": dataclasses.asdict(matching), "labels": list(lists.labels),
                "recordings": list(lists.recordings), "systems": scores}, out / "scores.json")
    write_table(joined, out / "scores.csv")
