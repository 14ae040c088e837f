"""False alarms by confidence: what is found at a number of them per hour, and the thresholds that keep to it."""
import dataclasses
import heapq

import numpy as np
from scipy.special import expit, logit

from polysed_keras.errors import expect
from polysed_keras.events.decoding import posteriors_to_events
from polysed_keras.events.metrics import merged_runs

ALARMS_PER_HOUR = (2, 20, 60)
LEAST_THRESHOLD = 0.05  # Of labels below whose threshold nothing is known.
SHARES = np.linspace(0, 1, 101)  # of all labels' events, whose confidences are tried as thresholds of each label
ROUNDING = 1e-9  # Of a number of false events, as the product of a rate and a time.


@dataclasses.dataclass(frozen=True, eq=False)
class Alarms:
    """The found and the false events of one recording, or of several.

    Attributes:
        found: a float32 array per label: the confidence at which each reference event is found, 0 if it never is.
        false: a float32 array per label: the confidences of the false events.
        seconds: length of the recording.
    """

    found: tuple
    false: tuple
    seconds: float


def find_alarms(reference, events, labels, time_resolution, *, tolerance=0.5):
    """Find the confidences at which reference events are found, and those of false events.

    A reference event is found by the events of its label that overlap it, at the highest of their confidences;
    reference events of one label less than `tolerance` apart count as one. An event is false if it keeps more than
    `tolerance` away from every reference event of its label. A false event less than `tolerance` away from a false one
    of higher confidence (or an earlier one of the same) is not counted, so that raising a threshold never makes more.

    Args:
        reference: activity, array (frames, labels) of 0 and 1.
        events: DataFrame of posteriors_to_events with threshold 0; events of one label do not overlap.
        labels: labels in the order of the columns.
        time_resolution: seconds per frame.
        tolerance: seconds.

    Returns:
        Alarms.
    """
    reference, reach = np.asarray(reference) > 0, round(tolerance / time_resolution)
    expect(reference.ndim == 2 and reference.shape[1] == len(labels), "reference",
           f"shape (frames, {len(labels)})", reference.shape)
    columns, onsets, offsets = merged_runs(reference, reach)
    events = events.sort_values("onset")  # one table for each of fifty labels would take 16 times as long
    names, confidences = events["event_label"].to_numpy(object), events["confidence"].to_numpy(np.float32)
    edges = np.round(events[["onset", "offset"]].to_numpy(float) / time_resolution).astype(int)
    found, false = [], []
    for column, label in enumerate(labels):
        of_label, own = columns == column, names == label
        alarms = _label_alarms(onsets[of_label], offsets[of_label], *edges[own].T, confidences[own], reach)
        for part, each in zip((found, false), alarms):
            part.append(np.array(each, np.float32))
    return Alarms(tuple(found), tuple(false), len(reference) * time_resolution)


def find_posterior_alarms(reference, posteriors, labels, time_resolution, **decoding):
    """Find the Alarms of posteriors (frames, labels); `decoding` are arguments of posteriors_to_events."""
    events = posteriors_to_events(posteriors, labels, time_resolution, **{"threshold": 0.0} | decoding)
    return find_alarms(reference, events, labels, time_resolution)


def join_alarms(alarms):
    """Join a list of Alarms of the same labels to one."""
    found, false = (tuple(np.concatenate(parts) for parts in zip(*(getattr(each, name) for each in alarms)))
                    for name in ("found", "false"))
    return Alarms(found, false, sum(each.seconds for each in alarms))


def recall_at_alarms(alarms, alarms_per_hour):
    """Return the share of events that is found with at most so many false events per hour.

    Args:
        alarms: list of Alarms of the same labels, one per recording.
        alarms_per_hour: number, of all labels together.

    Returns:
        float64 array (labels + 1,), per label and then for all labels, at the lowest threshold common to all labels.
        NaN without reference events.
    """
    joined = join_alarms(alarms)
    false = np.sort(np.concatenate(joined.false))[::-1]
    allowed = int(_allowed(alarms_per_hour, joined))
    level = false[allowed] if allowed < len(false) else 0  # The threshold is just above it.
    return np.array([np.mean(each > level) if len(each) else np.nan
                     for each in (*joined.found, np.concatenate(joined.found))])


def choose_thresholds(alarms, alarms_per_hour, *, tail=0, borrowed=0.0):
    """Choose a threshold per label so that many events are found with few false ones of all labels together.

    Per label, lower thresholds find more events with more false ones. From thresholds without false events, the label
    whose threshold brings the most found events per false one is lowered, again and again while the false events are no
    more than allowed (steps along the concave hull of each label's curve, as by a Lagrange multiplier).

    Args:
        alarms: list of Alarms of the same labels, one per recording.
        alarms_per_hour: number, of all labels together.
        tail: number of a label's highest false events from which the rarer ones are foretold, in place of counting
            them alone: where none was seen in a few recordings, some come in others. The logits of the highest
            confidences of noise fall off exponentially, above any high enough one. 0 counts alone.
        borrowed: share from 0 to 1 with which the events of all labels stand for those of each label. A few recordings
            of a label say little of how surely others of it are found, and all labels' together say more. 0 counts the
            label's own alone.

    Returns:
        float64 array (labels,), each half way (in the logit) between the lowest confidence that is kept and the next
        one. Where there is none lower, it is the lowest that is kept, and at least LEAST_THRESHOLD; where nothing is
        kept it lies above all false events, and at 0.5 if there are none. Confidences of 1 cannot be excluded.
    """
    joined = join_alarms(alarms)
    everything = np.concatenate(joined.found)
    curves = [_hull(*_label_curve(found, false, tail, everything, borrowed))
              for found, false in zip(joined.found, joined.false)]
    left, chosen = _allowed(alarms_per_hour, joined), [0] * len(curves)
    steps = [_next_step(curve, label, 0) for label, curve in enumerate(curves) if len(curve[0]) > 1]
    heapq.heapify(steps)
    while steps:
        _, label, index, cost = heapq.heappop(steps)
        if cost <= left:
            chosen[label], left = index, left - cost
            if index + 1 < len(curves[label][0]):
                heapq.heappush(steps, _next_step(curves[label], label, index))
    return np.array([_threshold(levels[index], found, false) for (levels, _, _), index, found, false
                     in zip(curves, chosen, joined.found, joined.false)], float)


def _allowed(alarms_per_hour, joined):
    expect(alarms_per_hour >= 0, "alarms_per_hour", "0 or more", alarms_per_hour)
    return alarms_per_hour * joined.seconds / 3600 + ROUNDING


def _label_alarms(onsets, offsets, begins, ends, confidences, reach):
    """Return the confidences of find_alarms for one label: a list of those of reference events, and of false ones.

    Args:
        onsets: first frames of the reference events.
        offsets: frames after their last ones.
        begins: first frames of the estimated events, in order.
        ends: frames after their last ones.
        confidences: of the estimated events.
        reach: frames of the tolerance.
    """
    def touching(starts, stops):
        pairs = np.searchsorted(ends, starts, side="right"), np.searchsorted(begins, stops, side="left")
        return [slice(*pair) for pair in np.transpose(pairs).tolist()]

    found, near = [confidences[each].max(initial=0) for each in touching(onsets, offsets)], np.zeros(len(begins), bool)
    for each in touching(onsets - reach, offsets + reach):
        near[each] = True
    begins, ends, confidences = begins[~near], ends[~near], confidences[~near]
    besides = touching(begins - reach, ends + reach)
    highest = [beside.start + confidences[beside].argmax() for beside in besides]
    return found, confidences[np.equal(highest, np.arange(len(highest)))]


def _label_curve(found, false, tail, everything, borrowed):
    """Return levels (points,), falling, and how much is false and how many events are found at or above each."""
    def number(confidences):
        return len(confidences) - np.searchsorted(np.sort(confidences), levels, side="left")

    steps = [found, np.quantile(everything, SHARES, method="nearest")] if borrowed and len(found) else [found]
    steps = np.concatenate(steps)
    levels = np.append(np.inf, np.unique(steps[steps > 0])[::-1])
    gains = (1 - borrowed) * number(found) + borrowed * number(everything) * len(found) / max(1, len(everything))
    return levels, np.maximum(number(false), _foretold(levels, false, tail)), gains


def _foretold(levels, false, tail):
    """Return the number of false events at or above each level by an exponential fit to the `tail` highest logits."""
    highest = _logit(np.sort(false)[::-1][:tail + 1])
    if tail == 0 or len(highest) < 3 or highest[0] == highest[-1]:
        return np.zeros(len(levels))
    number, base = len(highest) - 1, highest[-1]
    rate = 1 / (highest[:-1] - base).mean()
    return np.where(np.isinf(levels), 0, number * np.exp(-rate * np.maximum(_logit(np.minimum(levels, 1)) - base, 0)))


def _logit(confidences):
    return logit(np.clip(np.asarray(confidences, float), 1e-6, 1 - 1e-6))


def _hull(levels, costs, gains):
    """Return the points of a curve on its concave hull, from the last one that costs nothing."""
    points = [np.flatnonzero(costs == 0)[-1]]
    while (last := points[-1]) < len(levels) - 1:
        steps = np.maximum(costs[last + 1:] - costs[last], ROUNDING)
        points.append(last + 1 + np.argmax((gains[last + 1:] - gains[last]) / steps))
    return levels[points], costs[points], gains[points]


def _next_step(curve, label, index):
    """Return the step from a point of a hull to the next, the most found events per false one first when sorted."""
    _, costs, gains = curve
    cost, gain = costs[index + 1] - costs[index], gains[index + 1] - gains[index]
    return -gain / max(cost, ROUNDING), label, index + 1, cost


def _threshold(kept, found, false):
    """Return the threshold between the lowest confidence that is kept, or infinity, and the next lower one."""
    seen = np.concatenate([found[found > 0], false])
    if not (seen < kept).any():
        return max(kept, LEAST_THRESHOLD) if np.isfinite(kept) else 0.5
    lower, upper = seen[seen < kept].max(), np.float32(min(kept, 1))
    middle = np.float32(expit(_logit([lower, upper]).mean()))
    return middle if lower < middle <= upper else upper
