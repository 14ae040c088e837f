"""Learning from corrections, judged on corrections that were not learnt from, and thresholds by them."""
import dataclasses

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from polysed_keras.audio import audio_info
from polysed_keras.errors import InputError
from polysed_keras.evaluation.calibration import DEFAULT_ALARMS
from polysed_keras.events import (
    ALARMS_PER_HOUR,
    CALIBRATED,
    FAINTEST_ASKED,
    Alarms,
    calibrated_rule,
    choose_thresholds,
    logit_distance,
    posteriors_to_events,
)
from polysed_keras.files import atomic_directory, write_json
from polysed_keras.models import compile_model
from polysed_keras.specs import EXPERIMENT, task_labels
from polysed_keras.training import (
    CALIBRATION,
    Checkpoints,
    Corrector,
    add_labels,
    check_learnable,
    copy_plugins,
    load_reviewed,
    plugin_digests,
    reset_random_states,
)

FOLDS = 5
FEWEST_ANSWERS = 5  # of a label, yes and no, for a threshold of its own
FAR = 2.0  # distance in logits from a threshold at which an event is expected to be there, or not
UNCALIBRATED = 0.5  # threshold of a model without a calibration


@dataclasses.dataclass(frozen=True, eq=False)
class Learnt:
    """Result of learning from corrections.

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


def learn_corrections(experiment, network, answers, recordings, run, *, calibration=None, extra=None, plugins=()):
    """Fit the last layers of a network to corrections, choose thresholds anew, and write a run.

    The answers are divided into five parts, by recordings, or by segments if there are fewer recordings. The network is
    fitted to four parts and judges the fifth, in turn; so each answer is judged by a network and by thresholds that do
    not know it. Then the network is fitted to all. Nothing depends on chance: the same corrections give the same run.

    Labels with at least five answers get new thresholds, with which false events of these labels together are expected
    to be at most as many per hour of the recordings as the calibration allows. What was answered says how likely the
    events are that nobody was asked about. Other labels keep their thresholds.

    Args:
        experiment: Experiment with resolved tasks.
        network: its trained network; it is changed.
        answers: list of events.Answer, as of merge_corrections.
        recordings: {name: path}, as of events.find_recordings.
        run: the new run's folder.
        calibration: dict of calibrate_run; None if there is none, which leaves thresholds at 0.5.
        extra: dict of other keys of experiment.json.
        plugins: paths of the plug-ins that the experiment needs, which are copied, as of training.run_plugins.

    Returns:
        Learnt.

    Raises:
        InputError: a model that cannot learn so, no answer that is yes or no, a folder that cannot be written,
            unreadable audio.
    """
    check_learnable(experiment)
    known = task_labels(experiment.tasks)
    new_labels = sorted({answer.label for answer in answers if answer.answer == "yes"} - set(known))
    reviewed_answers = [answer for answer in answers if answer.label in {*known, *new_labels}]
    if not any(answer.answer in ("yes", "no") for answer in reviewed_answers):
        raise InputError("corrections: expected answers that are yes or no. Received: none, or people say both of each "
                         "event. Answer more.")
    seconds = sum(audio_info(path).duration for path in recordings.values())
    with atomic_directory(run) as folder:
        experiment, network = add_labels(experiment, network, new_labels)
        labels = list(task_labels(experiment.tasks))
        calibration = _with_new_labels(calibration, labels, new_labels, seconds)
        reviewed = load_reviewed(experiment, reviewed_answers, recordings)
        corrector = Corrector(experiment, network, reviewed, new_labels)
        before = corrector.predict()
        after, parts = before.copy(), _parts(reviewed)
        for part in np.unique(parts):
            corrector.fit(parts != part)
            after[parts == part] = corrector.predict()[parts == part]
            corrector.reset()
        corrector.fit(np.ones(len(parts), bool))
        table, events = _judge(reviewed_answers, before, after, parts, reviewed, experiment, calibration, seconds)
        calibration = _recalibrated(calibration, labels, events, seconds)
        _write_run(experiment, network, calibration, table, folder, (extra or {}) | plugin_digests(plugins))
        copy_plugins(plugins, folder)
    return Learnt(table, seconds, calibration, new_labels)


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
    names, groups = np.unique(reviewed.recordings, return_inverse=True)
    if len(names) < FOLDS:
        groups = np.arange(len(groups))
    number = min(FOLDS, len(set(groups)))
    parts = np.zeros(len(groups), int)
    if number > 1:
        for part, (_, held_out) in enumerate(GroupKFold(number).split(groups, groups=groups)):
            parts[held_out] = part
    return parts


def _judge(answers, before, after, parts, reviewed, experiment, calibration, seconds):
    """Return the table of Learnt, and the events after it with what was answered on them (_thresholds).

    `after` are posteriors of networks that did not learn from the part of the segment. What was answered in a part says
    nothing for the thresholds by which this part is judged.
    """
    labels, number = list(task_labels(experiment.tasks)), calibration["alarms_per_hour"]
    rule = calibrated_rule(calibration, number, labels)
    thresholds = rule.pop("threshold")
    judged = [answer for answer in answers if answer.answer in ("yes", "no")]
    table = pd.DataFrame([(answer.recording, answer.label, answer.onset, answer.offset, answer.answer == "yes")
                          for answer in judged], columns=["recording", "label", "onset", "offset", "there"])
    part_of_answer = np.array(_part_at(table["recording"], table["onset"], reviewed, parts, experiment), int)
    rows, found = table[["recording", "label", "onset", "offset"]], {}
    for name, posteriors in (("before", before), ("after", after)):
        found[name] = _find_events(posteriors, reviewed, labels, experiment, rule)
        touched = list(_overlaps(rows.itertuples(index=False), found[name]))
        table[name] = _highest(found[name], touched)
    events = found["after"]
    places = events[["recording", "event_label", "onset", "offset"]].itertuples(index=False)
    before = _highest(found["before"], _overlaps(places, found["before"]))
    events = events.assign(there=np.nan, part=np.nan, before=before)
    for answer, part, each in zip(judged, part_of_answer, touched):
        events.loc[each, "part"] = part
        # Where edges were moved, an event may overlap the answer and not what was asked about.
        events.loc[each, "before"] = np.fmax(events["before"][each], answer.confidence or 0.0)
        events.loc[each, "there"] = np.fmax(events["there"][each], float(answer.answer == "yes"))
    reported = np.zeros(len(table), bool)
    for part in np.unique(part_of_answer):
        inside = part_of_answer == part
        others = events.assign(there=events["there"].mask(events["part"] == part))
        chosen = dict(zip(labels, _thresholds(others, labels, thresholds, float(number), seconds)))
        reported[inside] = table["after"][inside] >= table["label"][inside].map(chosen)
    reported_before = table["before"] >= table["label"].map(dict(zip(labels, thresholds)))
    return table.assign(reported_before=reported_before, reported_after=reported), events


def _part_at(recordings, onsets, reviewed, parts, experiment):
    """Return the part of the segment in which each of some events begins."""
    length = experiment.training.segment_frames * experiment.features.hop_length / experiment.features.sample_rate
    by_place = dict(zip(zip(reviewed.recordings, reviewed.indices.tolist()), parts.tolist()))
    return [by_place.get((recording, int(onset / length)), 0) for recording, onset in zip(recordings, onsets)]


def _find_events(posteriors, reviewed, labels, experiment, rule):
    """Return the events of all recordings, those that are not reported too: recording and posteriors_to_events."""
    found = []
    for name in dict.fromkeys(reviewed.recordings):  # whose segments follow each other
        track = posteriors[[each == name for each in reviewed.recordings]].reshape(-1, len(labels))
        events = posteriors_to_events(track, labels, experiment.time_resolution, **rule | {"threshold": FAINTEST_ASKED})
        found.append(events.assign(recording=name))
    return pd.concat(found, ignore_index=True)


def _overlaps(rows, events):
    """Yield for each row (recording, label, onset, offset) the positions of the events of its label that overlap it."""
    groups = {key: (group.index.to_numpy(), group["onset"].to_numpy(), group["offset"].to_numpy())
              for key, group in events.groupby(["recording", "event_label"])}
    nothing = [np.array([], int)] * 3
    for recording, label, onset, offset in rows:
        positions, onsets, offsets = groups.get((recording, label), nothing)
        yield positions[(onsets < offset) & (onset < offsets)]


def _highest(events, chosen):
    """Return the highest confidence of each choice of events, 0 of none."""
    confidences = events["confidence"].to_numpy()
    return [confidences[each].max(initial=0.0) for each in chosen]


def _thresholds(events, labels, thresholds, number, seconds):
    """Choose thresholds of labels by the answers that were given on events, and what they say of the other events.

    How likely an event is there is estimated by a logistic regression on how far its logit is from the threshold
    before, and on its label. Each label begins with half an event that is there, far above the threshold, and half a
    one that is not, far below. Of the events that nobody was asked about, so many count as false as are expected; all
    do that were fainter than every answered one of their label, before anything was learnt, as nobody was asked about
    such events.

    Args:
        events: DataFrame with event_label, confidence, before (the confidence of the network before, 0 if it found no
            event there) and there: 1, 0, or NaN for events without an answer.
        labels: labels in the order of the thresholds.
        thresholds: list, those before.
        number: false events per hour that are allowed.
        seconds: length of the recordings.

    Returns:
        List; labels with fewer than FEWEST_ANSWERS answers keep theirs.
    """
    answers = events["event_label"][events["there"].notna()].tolist()
    enough = [label for label in labels if answers.count(label) >= FEWEST_ANSWERS]
    if not enough:
        return list(thresholds)
    events = events[events["event_label"].isin(enough)]
    before = dict(zip(labels, thresholds))
    distance = logit_distance(events["confidence"], events["event_label"].map(before))
    inputs = np.column_stack([distance, *(events["event_label"] == label for label in enough)])
    answered = events["there"].notna().to_numpy()
    begin = np.concatenate([np.column_stack([np.full(len(enough), far), np.eye(len(enough))]) for far in (FAR, -FAR)])
    model = LogisticRegression().fit(
        np.concatenate([inputs[answered], begin]),
        np.concatenate([events["there"][answered], np.repeat([1.0, 0.0], len(enough))]),
        np.concatenate([np.ones(answered.sum()), np.full(len(begin), 0.5)]))
    faintest = events["event_label"].map(events[answered].groupby("event_label")["before"].min())
    false = np.where(events["before"] < faintest, 1.0, model.predict_proba(inputs)[:, 0])
    false = np.where(answered, 1.0 - events["there"], false)
    found, wrong = [], []
    for label in enough:
        rows = (events["event_label"] == label).to_numpy()
        order = np.argsort(-events["confidence"][rows].to_numpy(), kind="stable")
        confidences = events["confidence"][rows].to_numpy(np.float32)[order]
        expected = np.floor(np.cumsum(false[rows][order]) + 0.5)
        is_false = np.diff(expected, prepend=0.0) > 0
        found.append(confidences[~is_false])
        wrong.append(confidences[is_false])
    chosen = dict(zip(enough, choose_thresholds([Alarms(tuple(found), tuple(wrong), seconds)], number).tolist()))
    return [chosen.get(label, threshold) for label, threshold in before.items()]


def _recalibrated(calibration, labels, events, seconds):
    """Return a calibration with its labels in an order, and with thresholds by answers."""
    thresholds = {}
    for number in calibration["thresholds"]:
        rule = calibrated_rule(calibration, number, labels)
        thresholds[number] = _thresholds(events, labels, rule.pop("threshold"), float(number), seconds)
    return calibration | rule | {"labels": labels, "thresholds": thresholds}


def _write_run(experiment, network, calibration, table, folder, extra):
    compile_model(network, experiment.tasks, learning_rate=experiment.training.learning_rate)
    write_json(experiment.to_dict() | extra, folder / EXPERIMENT, sealed=True)
    reset_random_states(network, experiment.training.seed)  # A network is built with others each time.
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
        found = _percent(reported & there, there, draws)
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


def _percent(hits, base, draws):
    if not base.any():
        return "none"
    low, high = 100 * np.percentile(hits[draws].sum(axis=1) / np.maximum(1, base[draws].sum(axis=1)), [2.5, 97.5])
    return f"{100 * hits.sum() / base.sum():.0f} % [{low:.0f}, {high:.0f}]"
