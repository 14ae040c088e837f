"""Choice of the post-processing of posteriors from validation data, by how well events and their edges fit."""
import numpy as np

from polysed_keras.events import (
    active_runs,
    choose_thresholds,
    event_counts,
    event_roll_to_event_list,
    f_score,
    find_alarms,
    posteriors_to_events,
)

# Settings of events.event_finders in the order in which they are chosen, with the values that are tried; of the median
# filter in seconds. The first ones change nothing.
CHOICES = {"edge": (0.5, 0.3, 0.2), "median_frames": (0.0, 0.2, 0.4, 0.8), "step_filter": (0.0, 0.32, 0.64, 1.28),
           "max_gap": (0.0, 0.2, 0.4, 0.8)}
SHORTEST = 0.5  # the minimum duration, as a share of that of the shortest reference events (their 5th percentile)
MARGIN = 0.005  # gain of F1 below which a setting stays as it was
TAIL = 20  # false events per label from which rarer ones are foretold
BORROWED = 0.25  # share with which the events of all labels stand for the few of each label
CAUTION = 0.5  # share of the promised number that thresholds use up on the recordings that they are chosen on


def cautious_thresholds(alarms, alarms_per_hour):
    """Choose thresholds by events.choose_thresholds that keep to a number of false events on other recordings too."""
    return choose_thresholds(alarms, CAUTION * alarms_per_hour, tail=TAIL, borrowed=BORROWED)


def least_durations(estimates, time_resolution):
    """Return the minimum duration of each label, in seconds: half of that of short reference events; 0 without any."""
    first, *_ = estimates
    durations = [[] for _ in first.reference.T]
    for estimate in estimates:
        for column, onset, offset in zip(*active_runs(estimate.reference)):
            durations[column].append(offset - onset)
    return [float(round(SHORTEST * np.percentile(each, 5) * time_resolution, 3)) if each else 0.0 for each in durations]


def choose_postprocessing(estimates, labels, time_resolution, alarms_per_hour, *, choices=CHOICES, **rule):
    """Choose, one after the other, the settings with which detected events fit the reference best.

    A setting is the same for all labels, because a choice by label fits the few events of each, and finds no more in
    other recordings. Events are those that are kept by thresholds for a number of false events per hour.

    Args:
        estimates: list of evaluation.runs.Estimate.
        labels: labels in the order of the columns.
        time_resolution: seconds per frame.
        alarms_per_hour: number, of all labels together.
        choices: dict of settings to the values that are tried, as CHOICES.
        rule: other arguments of events.event_finders.

    Returns:
        dict of the settings of `choices`, arguments of events.event_finders.
    """
    references = [event_roll_to_event_list(each.reference, labels, time_resolution) for each in estimates]

    def fit(settings):
        return fit_of_rule(estimates, references, labels, time_resolution, alarms_per_hour, **rule | settings)

    if "median_frames" in choices:
        frames = [2 * round(seconds / time_resolution / 2) + 1 for seconds in choices["median_frames"]]
        choices = choices | {"median_frames": list(dict.fromkeys(frames))}
    chosen = {name: values[0] for name, values in choices.items()}
    best = fit(chosen)
    for name, (_, *others) in choices.items():
        for value, score in [(value, fit(chosen | {name: value})) for value in others]:
            if score > best + MARGIN:
                chosen[name], best = value, score
    return chosen


def events_above(events, labels, thresholds):
    """Return the events whose confidence reaches the threshold of their label, compared as the float32 of posteriors.

    Args:
        events: DataFrame of events.posteriors_to_events.
        labels: list of str.
        thresholds: numbers in the order of the labels.
    """
    least = events["event_label"].map(dict(zip(labels, np.float32(thresholds)))).astype(np.float32)
    return events[events["confidence"].astype(np.float32) >= least]


def fit_of_rule(estimates, references, labels, time_resolution, alarms_per_hour, **rule):
    """Return how well the events of a rule fit the references: the overall event-based F1, 0 to 1.

    Unlike the number of events found it asks for their edges (events.event_counts): by that number alone, the longest
    events are best, because they overlap most.
    """
    found = [posteriors_to_events(each.posteriors, labels, time_resolution, **rule | {"threshold": 0.0})
             for each in estimates]
    alarms = [find_alarms(each.reference, events, labels, time_resolution) for each, events in zip(estimates, found)]
    thresholds, counts = cautious_thresholds(alarms, alarms_per_hour), 0
    for reference, events in zip(references, found):
        counts = counts + event_counts(reference, events_above(events, labels, thresholds), labels)
    return float(np.nan_to_num(f_score(counts[-1:, :3], "micro")))
