"""Measures of detection and tagging: counts that can be added over recordings, and scores computed from them."""
import numpy as np

from polysed_keras.errors import InputError, expect


def frame_counts(reference, estimated):
    """Count true positives, false positives and false negatives per polyphony of the reference and per label.

    Counts of several recordings can be added. Sum over axis 0 for class-wise, average and overall scores, which include
    silent frames; take row p for the score at polyphony p (Phan et al. 2022, Tables 2 and 3).

    Args:
        reference: activity, array (frames, labels) of 0 and 1.
        estimated: activity of the same shape.

    Returns:
        int64 array (labels + 1, labels, 3): [polyphony, label, (tp, fp, fn)].

    Raises:
        InputError: the shapes differ.

    Example:
        >>> f_score(frame_counts(reference, estimated).sum(axis=0))
    """
    reference, estimated, lengths = _equal_frames(*_activity_pair(reference, estimated))
    num_labels = reference.shape[1]
    degree = reference.sum(axis=1)[:, None]
    cell, lengths = degree * num_labels + np.arange(num_labels), np.broadcast_to(lengths[:, None], reference.shape)

    def count(mask):
        frames = np.bincount(cell[mask], lengths[mask], (num_labels + 1) * num_labels)
        return frames.astype(np.int64).reshape(num_labels + 1, num_labels)

    masks = reference & estimated, ~reference & estimated, reference & ~estimated
    return np.stack([count(mask) for mask in masks], axis=-1)


def f_score(counts, average="micro"):
    """Compute F1 = 2 tp / (2 tp + fp + fn).

    Args:
        counts: array (..., labels, 3) of (tp, fp, fn).
        average: "micro" pools the counts of all labels, "macro" is the mean over labels, None gives a score per label.

    Returns:
        float64 array (...), or (..., labels) if average is None. A label that is neither in the reference nor estimated
        has NaN and is left out of the mean; one that is in only one of them has 0 (sed_eval gives NaN there, too).

    Raises:
        InputError: `average` is none of the three.
    """
    return _score(counts, average, (2, 0, 0), (2, 1, 1))


def precision(counts, average="micro"):
    """Compute tp / (tp + fp), NaN if nothing was estimated; arguments and result as in f_score."""
    return _score(counts, average, (1, 0, 0), (1, 1, 0))


def recall(counts, average="micro"):
    """Compute tp / (tp + fn), NaN if the reference is empty; arguments and result as in f_score."""
    return _score(counts, average, (1, 0, 0), (1, 0, 1))


def error_counts(reference, estimated):
    """Count true positives, false positives, false negatives and substitutions, per label and for all labels.

    In a frame with m missed and f false labels, min(m, f) are substitutions (Mesaros et al. 2016).

    Args:
        reference: activity, array (frames, labels) of 0 and 1; frames may be segments of any length.
        estimated: activity of the same shape.

    Returns:
        int64 array (labels + 1, 4): (tp, fp, fn, substitutions) per label, which have no substitutions, and for all
        labels. Counts of several recordings can be added.

    Raises:
        InputError: the shapes differ.
    """
    reference, estimated, lengths = _equal_frames(*_activity_pair(reference, estimated))
    missed, false = reference & ~estimated, ~reference & estimated
    replaced = lengths @ np.minimum(missed.sum(axis=1), false.sum(axis=1))
    return join_counts(lengths @ (reference & estimated), lengths @ false, lengths @ missed, replaced)


def join_counts(tp, fp, fn, replaced):
    """Join counts per label, arrays (labels,), and the number of substitutions to an array as of error_counts."""
    counts = np.stack([tp, fp, fn, np.zeros_like(tp)], axis=-1)
    return np.concatenate([counts, [[*counts[:, :3].sum(axis=0), replaced]]]).astype(np.int64)


def error_rates(counts):
    """Compute the error rate and its parts (Mesaros et al. 2016).

    Args:
        counts: array (..., labels + 1, 4) of error_counts, events.event_counts or events.intersection_counts.

    Returns:
        float64 array (..., labels + 1, 4), 0 or more: the error rate, substitutions, deletions and insertions over the
        reference, per label and for all labels; NaN if the reference is empty.
    """
    tp, fp, fn, replaced = np.moveaxis(np.asarray(counts), -1, 0)
    parts = np.stack([replaced, fn - replaced, fp - replaced], axis=-1)
    return _ratio(np.concatenate([parts.sum(axis=-1, keepdims=True), parts], axis=-1), (tp + fn)[..., None])


def error_rate(reference, estimated):
    """Compute the frame-based error rate: a float of error_rates for all labels; arguments as of error_counts."""
    return float(error_rates(error_counts(reference, estimated))[-1, 0])


def substitutions(reference, estimated):
    """Count the substitutions of error_rate by missed label and by the label that was estimated in its place.

    A frame with m missed and f false labels has min(m, f) substitutions. Which label replaced which is unknown, so each
    of the m * f pairs gets an equal part of them.

    Args:
        reference: activity, array (frames, labels) of 0 and 1.
        estimated: activity of the same shape.

    Returns:
        float64 array (labels, labels): [missed label, false label]; counts of several recordings can be added.
    """
    reference, estimated = _activity_pair(reference, estimated)
    missed, false = reference & ~estimated, ~reference & estimated
    larger = np.maximum(missed.sum(axis=1), false.sum(axis=1))[:, None]  # min(m, f) / (m * f) is 1 / max(m, f).
    return missed.T.astype(float) @ (false / np.maximum(larger, 1))


def unseen_frames(combinations, seen):
    """Count the frames whose combination of labels was not seen in training.

    Args:
        combinations: int array (frames, groups), the combination of labels in each group.
        seen: a list per group of the combinations that were seen.

    Returns:
        bool array (frames, groups), whether each combination is unseen; and int64 array (groups + 1, 2) of (unseen
        frames, frames), in the first row for any group and then per group, for `share`. Counts can be added.
    """
    combinations = np.asarray(combinations)
    unseen = np.stack([~np.isin(column, known) for column, known in zip(combinations.T, seen, strict=True)], axis=1)
    frames = np.append(unseen.any(axis=1).sum(), unseen.sum(axis=0))
    return unseen, np.stack([frames, np.full(len(frames), len(combinations))], axis=1)


ALARM_COUNTS = ("found", "events", "false", "estimated", "active_outside", "outside")


def alarm_counts(reference, estimated, time_resolution, *, tolerance=0.5):
    """Count found and false events, and the time that is active outside the reference.

    Events of one label less than `tolerance` apart count as one, in the reference as in the estimate. A reference event
    is found if an active frame of its label lies in it. An estimated event is false if it keeps more than `tolerance`
    away from every reference event of its label; so is activity.

    Args:
        reference: activity, array (frames, labels) of 0 and 1.
        estimated: activity of the same shape.
        time_resolution: seconds per frame.
        tolerance: seconds.

    Returns:
        int64 array (labels + 1, 6) of ALARM_COUNTS: found, reference, false and estimated events; frames that are
        active outside, and frames outside. The last row is that of all labels: sums of events, frames in which any
        label is active outside, and all frames. Counts of several recordings can be added.

    Raises:
        InputError: the shapes differ.
    """
    reference, estimated = _activity_pair(reference, estimated)
    frames, labels = reference.shape
    reach = round(tolerance / time_resolution)
    columns, onsets, offsets = merged_runs(reference, reach)
    near = np.zeros((frames + 1, labels), int)  # +1 where a reference event's neighbourhood begins, -1 where it ends
    np.add.at(near, (np.maximum(onsets - reach, 0), columns), 1)
    np.add.at(near, (np.minimum(offsets + reach, frames), columns), -1)
    near = near[:-1].cumsum(axis=0) > 0
    counts = np.zeros((labels + 1, 6), int)
    for (of, begin, end), mask, place in (((columns, onsets, offsets), estimated, 0),
                                          (merged_runs(estimated, reach), near, 2)):
        before = np.concatenate([np.zeros((1, labels), int), mask.cumsum(axis=0)])
        touched = before[end, of] > before[begin, of]
        counts[:-1, place] = np.bincount(of[touched if place == 0 else ~touched], minlength=labels)
        counts[:-1, place + 1] = np.bincount(of, minlength=labels)
    outside = estimated & ~near
    counts[:-1, 4:] = np.stack([outside.sum(axis=0), (~near).sum(axis=0)], axis=1)
    counts[-1] = [*counts[:-1, :4].sum(axis=0), outside.any(axis=1).sum(), frames]
    return counts


def merged_runs(activity, gap):
    """Find the runs of ones in activity (frames, labels), merged if less than `gap` frames lie between.

    Returns:
        int arrays of column, first frame and end (exclusive) per run, sorted by column and frame.
    """
    padded = np.pad(activity.T.astype(np.int8), ((0, 0), (1, 1)))
    change = np.diff(padded, axis=1)
    (columns, onsets), (_, offsets) = np.nonzero(change == 1), np.nonzero(change == -1)
    begins = np.ones(len(columns), bool)
    begins[1:] = (columns[1:] != columns[:-1]) | (onsets[1:] - offsets[:-1] >= max(gap, 1))
    ends = np.append(begins[1:], True) if len(begins) else begins
    return columns[begins], onsets[begins], offsets[ends]


def confidence_counts(reference, posteriors, bins=10):
    """Count what the expected calibration error is computed from, for sums over recordings.

    Args:
        reference: activity, array (frames, labels) of 0 and 1.
        posteriors: array (frames, labels), 0 to 1.
        bins: number of ranges of equal width that posteriors are divided into.

    Returns:
        float64 array (labels, bins, 3): the sum of the posteriors, active frames and frames.

    Raises:
        InputError: the shapes differ, or a posterior is not in 0..1.
    """
    reference, posteriors = np.asarray(reference) > 0, np.asarray(posteriors, float)
    _check_shapes(reference, posteriors)
    expect(((posteriors >= 0) & (posteriors <= 1)).all(), "posteriors", "numbers in 0..1",
           [posteriors.min(initial=1), posteriors.max(initial=0)])
    labels = reference.shape[1]
    cells = np.minimum((posteriors * bins).astype(int), bins - 1) + bins * np.arange(labels)
    return np.stack([np.bincount(cells.ravel(), weights.ravel(), labels * bins).reshape(labels, bins)
                     for weights in (posteriors, reference, np.ones_like(posteriors))], axis=-1)


def calibration_error(counts):
    """Compute the expected calibration error: how far posteriors are from the share of active frames (Guo et al. 2017).

    Args:
        counts: array (..., bins, 3) of confidence_counts, sums over recordings, and over labels for all of them.

    Returns:
        float64 array (...), 0 to 1: the mean over frames of the distance in each bin; NaN without frames.
    """
    counts = np.asarray(counts)
    return _ratio(np.abs(counts[..., 0] - counts[..., 1]).sum(axis=-1), counts[..., 2].sum(axis=-1))


def lwlrap(reference, scores):
    """Compute label-weighted label-ranking average precision: the mean over (clip, label) pairs of precision at rank.

    Args:
        reference: array (clips, labels) of 0 and 1; clips without labels are not counted.
        scores: array (clips, labels), higher is more likely; tied labels share the worst of their ranks.

    Returns:
        float, 0 to 1; NaN if no clip has a label. Random scores for one of k labels get (1 + 1/2 + ... + 1/k) / k.

    Raises:
        InputError: the shapes differ or a score is NaN.
    """
    return float(share(retrieved(reference, scores).sum(axis=0)))


def macro_accuracy(reference, estimated):
    """Compute the accuracy per class of the reference, and return their mean.

    Args:
        reference: class indices or names, array (clips,).
        estimated: class indices or names, array (clips,).

    Returns:
        float, 0 to 1; NaN if there are no clips.

    Raises:
        InputError: the shapes differ.
    """
    reference, estimated = np.asarray(reference), np.asarray(estimated)
    _check_shapes(reference, estimated)
    classes = np.unique(reference)
    counts = recognised(reference[:, None] == classes, estimated[:, None] == classes)
    return float(share(counts.sum(axis=0), "macro"))


def recognised(reference, estimated):
    """Count per clip what macro accuracy is computed from, for sums over clips and `share`.

    Args:
        reference: one-hot array (clips, classes) of 0 and 1.
        estimated: one-hot array of the same shape.

    Returns:
        float64 array (clips, classes, 2): (1, 1) at the class of a recognised clip, (0, 1) at that of others, else 0.
    """
    reference, estimated = _activity_pair(reference, estimated)
    return np.stack([reference & estimated, reference], axis=-1).astype(float)


def retrieved(reference, scores):
    """Count per clip what lwlrap is computed from, for sums over clips and `share`; arguments and errors as in lwlrap.

    Returns:
        float64 array (clips, labels, 2): (precision at the rank of the label, 1) at the labels of a clip, else zeros.
    """
    reference, scores = np.asarray(reference) > 0, np.asarray(scores)
    _check_shapes(reference, scores)
    if np.isnan(scores).any():
        raise InputError("scores: expected numbers. Received: NaN. Check the model's output.")
    clips, labels = np.nonzero(reference)
    counts = np.zeros((*reference.shape, 2))
    ahead = scores[clips] >= scores[clips, labels][:, None]  # (pairs, labels)
    counts[clips, labels, 0] = (ahead & reference[clips]).sum(axis=1) / ahead.sum(axis=1)
    counts[clips, labels, 1] = 1
    return counts


def share(counts, average="micro"):
    """Divide the first column of counts by the second.

    Args:
        counts: array (..., labels, 2), sums over clips of `recognised` or `retrieved`, or the counts of unseen_frames.
        average: "micro" pools the labels, "macro" is the mean over labels with counts, None gives one share per label.

    Returns:
        float64 array (...), or (..., labels) if average is None; NaN if nothing is counted.
    """
    return _score(counts, average, (1, 0), (0, 1))


def _activity_pair(reference, estimated):
    reference, estimated = np.asarray(reference) > 0, np.asarray(estimated) > 0
    _check_shapes(reference, estimated)
    return reference, estimated


def _equal_frames(reference, estimated):
    """Join neighbouring frames that are equal in both rolls, because events last for many frames.

    Returns:
        The first frame of each run of equal frames in both rolls, and the int64 lengths of the runs.
    """
    frames, labels = reference.shape
    begins = np.zeros(frames, bool)
    begins[:1] = True
    for roll in (reference, estimated):
        begins[np.flatnonzero(roll[1:] != roll[:-1]) // max(labels, 1) + 1] = True
    first, = np.nonzero(begins)
    return reference[first], estimated[first], np.diff(first, append=frames)


def _check_shapes(reference, estimated):
    if reference.shape != estimated.shape:
        raise InputError("reference and estimated: expected equal shapes. "
                         f"Received: {reference.shape} and {estimated.shape}.")


def _score(counts, average, part, whole):
    """Divide one weighted sum of the last axis by another, and average as f_score says."""
    expect(average in ("micro", "macro", None), "average", "'micro', 'macro' or None", average)
    counts = np.asarray(counts)
    if average == "micro":
        counts = counts.sum(axis=-2)
    scores = _ratio(counts @ np.array(part), counts @ np.array(whole))
    if average != "macro":
        return scores
    present = ~np.isnan(scores)
    return _ratio(np.where(present, scores, 0).sum(axis=-1), present.sum(axis=-1))


def _ratio(part, whole):
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    return np.divide(part, whole, out=np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan), where=whole > 0)
