"""Learning from corrections, judged on corrections that were not learnt from, and thresholds by them."""
import dataclasses

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

from polysed_keras.audio import audio_info
from polysed_keras.evaluation.calibration import DEFAULT_ALARMS
from polysed_keras.events import (
    ALARMS_PER_HOUR,
    CALIBRATED,
    Alarms,
    calibrated_rule,
    choose_thresholds,
    posteriors_to_events,
)
from polysed_keras.files import atomic_directory, write_json
from polysed_keras.models import compile_model
from polysed_keras.specs import EXPERIMENT, task_labels
from polysed_keras.training import CALIBRATION, Checkpoints, Corrector, add_labels, check_learnable, load_reviewed

FOLDS = 5
FEWEST_ANSWERS = 5  # of a label, yes and no, for a threshold of its own
UNCALIBRATED = 0.5  # threshold of a model without a calibration


@dataclasses.dataclass(frozen=True, eq=False)
class Learnt:
    """What was learnt from corrections.

    Attributes:
        table: DataFrame with a row per answer that is yes or no, on which the network that judged it was not fitted:
            recording, label, onset, offset, there (bool), before, after (confidences) and reported_before,
            reported_after (bool, by the thresholds before, and by those that the other answers gave).
        seconds: length of the reviewed recordings.
        calibration: dict of calibrate_run, with the thresholds that all answers gave.
        new_labels: list of the labels that the network did not know.
    """

    table: pd.DataFrame
    seconds: float
    calibration: dict
    new_labels: list


def learn_corrections(experiment, network, answers, recordings, run, *, calibration=None, extra=None):
    """Fit the last layers of a network to corrections, choose thresholds anew, and write a run.

    The answers are divided into five parts, by recordings, or by segments if there are fewer recordings. The network is
    fitted to four parts and judges the fifth, in turn; so each answer is judged by a network and by thresholds that do
    not know it. Then the network is fitted to all. Nothing depends on chance: the same corrections give the same run.

    Labels with at least five answers get new thresholds, with which the refused events among the answers are at most as
    many per hour of the reviewed recordings as the calibration allows, of these labels together. Others keep theirs.

    Args:
        experiment: Experiment with resolved tasks.
        network: its trained network; it is changed.
        answers: list of events.Answer, as of merge_corrections.
        recordings: {name: path}, as of events.find_recordings.
        run: the new run's folder.
        calibration: dict of calibrate_run; None if there is none, which leaves thresholds at 0.5.
        extra: dict of other keys of experiment.json.

    Returns:
        Learnt.

    Raises:
        InputError: a model that cannot learn so, a folder that cannot be written, unreadable audio.
    """
    check_learnable(experiment)
    known = task_labels(experiment.tasks)
    new_labels = sorted({answer.label for answer in answers if answer.answer == "yes"} - set(known))
    reviewed_answers = [answer for answer in answers if answer.label in {*known, *new_labels}]
    seconds = max(1.0, sum(audio_info(path).duration or 0.0 for path in recordings.values()))
    with atomic_directory(run) as folder:
        experiment, network = add_labels(experiment, network, new_labels)
        labels = list(task_labels(experiment.tasks))
        calibration = _with_new_labels(calibration, labels, new_labels, seconds)
        reviewed = load_reviewed(experiment, reviewed_answers, recordings)
        corrector = Corrector(experiment, network, reviewed, new_labels)
        judged = [answer for answer in reviewed_answers if answer.answer in ("yes", "no")]
        before = corrector.predict()
        after, parts = before.copy(), _parts(reviewed)
        for part in np.unique(parts):
            corrector.fit(parts != part)
            after[parts == part] = corrector.predict()[parts == part]
            corrector.reset()
        corrector.fit(np.ones(len(parts), bool))
        rule = calibrated_rule(calibration, calibration["alarms_per_hour"], labels)
        confidences = {name: _confidences(posteriors, reviewed, judged, labels, experiment, rule)
                       for name, posteriors in (("before", before), ("after", after))}
        table = pd.DataFrame([(answer.recording, answer.label, answer.onset, answer.offset, answer.answer == "yes")
                              for answer in judged], columns=["recording", "label", "onset", "offset", "there"])
        table = table.assign(**confidences, part=_part_of_answers(judged, reviewed, parts, experiment))
        table = _judge(table, labels, calibration, seconds)
        calibration = _recalibrated(table, labels, calibration, seconds)
        _write_run(experiment, network, calibration, table, folder, extra or {})
    return Learnt(table.drop(columns="part"), seconds, calibration, new_labels)


def _with_new_labels(calibration, labels, new_labels, seconds):
    """Return a calibration of all labels; new ones have the medians of the others' settings, and 0.5 as threshold."""
    if calibration is None:
        numbers = [f"{number:g}" for number in ALARMS_PER_HOUR]
        return {"labels": labels, "alarms_per_hour": f"{DEFAULT_ALARMS:g}", "hours": seconds / 3600,
                "thresholds": {number: [UNCALIBRATED] * len(labels) for number in numbers}}
    calibration = dict(calibration, labels=[*calibration["labels"], *new_labels])
    calibration["thresholds"] = {number: [*values, *[UNCALIBRATED] * len(new_labels)]
                                 for number, values in calibration["thresholds"].items()}
    for name in set(CALIBRATED) & set(calibration):
        values = calibration[name]
        middle = sorted(values)[len(values) // 2]  # one of them, so that a whole number stays one
        calibration[name] = [*values, *[middle] * len(new_labels)]
    return calibration


def _parts(reviewed):
    """Return the part of each segment, int array; 0 for all if they cannot be divided."""
    groups = np.unique(reviewed.recordings, return_inverse=True)[1]
    if groups.max() + 1 < FOLDS:
        pairs = list(zip(reviewed.recordings, reviewed.indices))
        groups = np.array([sorted(set(pairs)).index(pair) for pair in pairs])
    number = min(FOLDS, groups.max() + 1)
    parts = np.zeros(len(groups), int)
    if number > 1:
        for part, (_, held_out) in enumerate(GroupKFold(number).split(groups, groups=groups)):
            parts[held_out] = part
    return parts


def _part_of_answers(answers, reviewed, parts, experiment):
    """Return the part of the segment in which each answer's event begins."""
    length = experiment.training.segment_frames * experiment.features.hop_length / experiment.features.sample_rate
    by_place = dict(zip(zip(reviewed.recordings, reviewed.indices.tolist()), parts.tolist()))
    return [by_place.get((answer.recording, int(answer.onset / length)), 0) for answer in answers]


def _confidences(posteriors, reviewed, answers, labels, experiment, rule):
    """Return the highest confidence of the events of posteriors that overlap each answer's, 0 without one."""
    resolution, outputs, found = experiment.time_resolution, posteriors.shape[1], np.zeros(len(answers), np.float32)
    for name in set(reviewed.recordings):
        chosen = [index for index, each in enumerate(reviewed.recordings) if each == name]
        track = np.zeros(((reviewed.indices[chosen].max() + 1) * outputs, len(labels)), np.float32)
        for index in chosen:
            begin = reviewed.indices[index] * outputs
            track[begin:begin + outputs] = posteriors[index]
        events = posteriors_to_events(track, labels, resolution, **rule | {"threshold": 0.0, "min_duration": 0.0})
        by_label = {label: rows for label, rows in events.groupby("event_label")}
        for index, answer in enumerate(answers):
            if answer.recording == name and answer.label in by_label:
                rows = by_label[answer.label]
                touching = (rows["onset"] < answer.offset) & (answer.onset < rows["offset"])
                found[index] = rows["confidence"][touching].max() if touching.any() else 0.0
    return found


def _thresholds(table, labels, thresholds, number, seconds):
    """Return thresholds by the answers of a table; labels with too few answers keep those given."""
    counts = table["label"].value_counts()
    enough = [label for label in labels if counts.get(label, 0) >= FEWEST_ANSWERS]
    if not enough:
        return list(thresholds)
    of_label = [table[table["label"] == label] for label in enough]
    alarms = Alarms(*(tuple(rows["after"][rows["there"] == there].to_numpy(np.float32) for rows in of_label)
                      for there in (True, False)), seconds)
    chosen = dict(zip(enough, choose_thresholds([alarms], number).tolist()))
    return [chosen.get(label, before) for label, before in zip(labels, thresholds)]


def _judge(table, labels, calibration, seconds):
    """Return the table with what was reported before, and what is after, by thresholds of the other parts' answers."""
    number = calibration["alarms_per_hour"]
    order = [calibration["labels"].index(label) for label in labels]
    thresholds = [calibration["thresholds"][number][index] for index in order]
    by_label = dict(zip(labels, thresholds))
    reported, parts = np.zeros(len(table), bool), table["part"].unique()
    for part in parts:
        inside = table["part"] == part
        others = table[~inside] if len(parts) > 1 else table
        share = (~inside).sum() / len(table) if len(parts) > 1 else 1.0
        chosen = dict(zip(labels, _thresholds(others, labels, thresholds, float(number), share * seconds)))
        reported[inside] = table["after"][inside] >= table["label"][inside].map(chosen)
    return table.assign(reported_before=table["before"] >= table["label"].map(by_label), reported_after=reported)


def _recalibrated(table, labels, calibration, seconds):
    order = [calibration["labels"].index(label) for label in labels]
    aligned = dict(calibration, labels=labels)
    for name in set(CALIBRATED) & set(calibration):
        aligned[name] = [calibration[name][index] for index in order]
    aligned["thresholds"] = {number: _thresholds(table, labels, [values[index] for index in order], float(number),
                                                 seconds)
                             for number, values in calibration["thresholds"].items()}
    return aligned


def _write_run(experiment, network, calibration, table, folder, extra):
    compile_model(network, experiment.tasks, learning_rate=experiment.training.learning_rate)
    write_json(experiment.to_dict() | extra, folder / EXPERIMENT, sealed=True)
    there = table["there"]
    score = float(table["reported_after"][there].mean()) if there.any() else 0.0
    Checkpoints(folder, [], experiment.measure, network).on_epoch_end(0, {experiment.measure: score})
    write_json(calibration, folder / CALIBRATION, sealed=True)


def format_learnt(learnt, resamples=1000, seed=0):
    """Format what was learnt as a text: what was reported before and after, by label, with 95 % intervals for all.

    Args:
        learnt: Learnt.
        resamples: number of bootstrap resamples over answers.
        seed: of the resampling.
    """
    table, hours = learnt.table, learnt.seconds / 3600
    rows = {label: _row(part) for label, part in table.groupby("label")}
    rows["all"] = _row(table)
    text = pd.DataFrame(rows.values(), index=rows).to_string()
    rng, lines = np.random.default_rng(seed), []
    draws = rng.integers(0, len(table), (resamples, len(table)))
    there = table["there"].to_numpy()
    for when in ("before", "after"):
        reported = table[f"reported_{when}"].to_numpy()
        found = _interval(reported & there, there, draws, 100)
        false = (reported & ~there)[draws].sum(axis=1) / hours
        low, high = np.percentile(false, [2.5, 97.5])
        lines.append(f"{when}: {found} of the events found, {(reported & ~there).sum() / hours:.1f} "
                     f"[{low:.1f}, {high:.1f}] refused events reported per hour")
    return "\n".join([f"{len(table)} answers of {hours:.2f} hours, each judged by a network that did not learn from it",
                      text, "", *lines])


def _row(table):
    there = table["there"]
    return {"there": int(there.sum()), "found before": int((table["reported_before"] & there).sum()),
            "after": int((table["reported_after"] & there).sum()), "not there": int((~there).sum()),
            "reported before": int((table["reported_before"] & ~there).sum()),
            "after ": int((table["reported_after"] & ~there).sum())}


def _interval(hits, base, draws, scale):
    if not base.any():
        return "none"
    shares = hits[draws].sum(axis=1) / np.maximum(1, base[draws].sum(axis=1))
    low, high = scale * np.percentile(shares, [2.5, 97.5])
    return f"{scale * hits.sum() / base.sum():.0f} % [{low:.0f}, {high:.0f}]"
