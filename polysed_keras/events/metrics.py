"""Measures of detection and tagging: counts first, then pure functions of them."""
import numpy as np

from polysed_keras.errors import InputError


def frame_counts(reference, estimated):
    """Count true positives, false positives and false negatives by polyphony of the reference frame and by label.

    Counts of recordings add up. Sum over axis 0 for class-wise, average and overall scores, which hold silent frames
    too; take row p for the score at polyphony p (Phan et al. 2022, Tables 2 and 3).

    Args:
        reference, estimated: activity, arrays (frames, labels) of 0 and 1.

    Returns:
        int64 array (labels + 1, labels, 3): [polyphony, label, (tp, fp, fn)].

    Raises:
        InputError: the shapes differ.
    """
    reference, estimated = _activity_pair(reference, estimated)
    num_labels = reference.shape[1]
    degree = reference.sum(axis=1)[:, None]
    cell = degree * num_labels + np.arange(num_labels)

    def count(mask):
        return np.bincount(cell[mask], minlength=(num_labels + 1) * num_labels).reshape(num_labels + 1, num_labels)

    masks = reference & estimated, ~reference & estimated, reference & ~estimated
    return np.stack([count(mask) for mask in masks], axis=-1)


def f_score(counts, average="micro"):
    """F1 = 2 tp / (2 tp + fp + fn).

    Args:
        counts: array (..., labels, 3) of (tp, fp, fn).
        average: "micro" pools the counts of all labels, "macro" is the mean over labels, None gives one score a label.

    Returns:
        float64 array (...), or (..., labels) where average is None. A label that is neither in the reference nor
        estimated has NaN and is left out of the mean; one that is in only one of them has 0 (sed_eval gives NaN there,
        too).

    Raises:
        InputError: `average` is none of the three.
    """
    return _score(counts, average, (2, 1, 1))


def precision(counts, average="micro"):
    """tp / (tp + fp), NaN where nothing was estimated; arguments and result as in `f_score`."""
    return _score(counts, average, (1, 1, 0))


def recall(counts, average="micro"):
    """tp / (tp + fn), NaN where the reference holds nothing; arguments and result as in `f_score`."""
    return _score(counts, average, (1, 0, 1))


def error_rate(reference, estimated):
    """(substitutions + deletions + insertions) over active reference labels, frame by frame (Mesaros et al. 2016).

    Args:
        reference, estimated: activity, arrays (frames, labels) of 0 and 1.

    Returns:
        float, 0 or more; NaN where the reference holds no event.
    """
    reference, estimated = _activity_pair(reference, estimated)
    missed = (reference & ~estimated).sum(axis=1)
    false = (~reference & estimated).sum(axis=1)
    errors = np.maximum(missed, false).sum()  # min(missed, false) substitutions, the rest deletions or insertions
    return float(_ratio(errors, reference.sum()))


def substitutions(reference, estimated):
    """The substitutions of `error_rate` by the label that was missed and the label that was estimated in its place.

    A frame with m missed and f false labels has min(m, f) substitutions, as there; which label stands for which cannot
    be told, so each of the m f pairs gets an equal part of them.

    Args:
        reference, estimated: activity, arrays (frames, labels) of 0 and 1.

    Returns:
        float64 array (labels, labels): [missed label, false label], which sums to the substitutions; additive over
        recordings.
    """
    reference, estimated = _activity_pair(reference, estimated)
    missed, false = reference & ~estimated, ~reference & estimated
    larger = np.maximum(missed.sum(axis=1), false.sum(axis=1))[:, None]  # min(m, f) / (m f) is 1 / max(m, f)
    return missed.T.astype(float) @ (false / np.maximum(larger, 1))


def unseen_frames(combinations, seen):
    """Count the frames whose combination was not seen.

    Args:
        combinations: int array (frames, groups): the combination of every group's labels.
        seen: for every group, the combinations that were seen.

    Returns:
        bool array (frames, groups); int64 array (groups + 1, 2) of (unseen frames, frames), first of any group, then
        group by group, which `share` turns into shares; additive over recordings.
    """
    combinations = np.asarray(combinations)
    unseen = np.stack([~np.isin(column, known) for column, known in zip(combinations.T, seen, strict=True)], axis=1)
    frames = np.append(unseen.any(axis=1).sum(), unseen.sum(axis=0))
    return unseen, np.stack([frames, np.full(len(frames), len(combinations))], axis=1)


def lwlrap(reference, scores):
    """Label-weighted label-ranking average precision: the mean over (clip, label) pairs of the precision at that rank.

    Args:
        reference: array (clips, labels) of 0 and 1; clips without labels count nothing.
        scores: array (clips, labels), higher is more likely; tied labels share the worst of their ranks.

    Returns:
        float in 0..1; NaN where no clip has a label. Random scores for one label of k get (1 + 1/2 + ... + 1/k) / k.

    Raises:
        InputError: the shapes differ or a score is NaN.
    """
    return float(share(retrieved(reference, scores).sum(axis=0)))


def macro_accuracy(reference, estimated):
    """Mean over the classes in the reference of the part of their clips that was recognised.

    Args:
        reference, estimated: class indices or names, arrays (clips,).

    Returns:
        float in 0..1; NaN without clips.

    Raises:
        InputError: the shapes differ.
    """
    reference, estimated = np.asarray(reference), np.asarray(estimated)
    _check_shapes(reference, estimated)
    classes = np.unique(reference)
    counts = recognised(reference[:, None] == classes, estimated[:, None] == classes)
    return float(share(counts.sum(axis=0), "macro"))


def recognised(reference, estimated):
    """What macro accuracy is made of, clip by clip; sums over clips add up.

    Args:
        reference, estimated: one-hot arrays (clips, classes) of 0 and 1.

    Returns:
        float64 array (clips, classes, 2): (1 where the clip's class was recognised, 1 at the clip's class).
    """
    reference, estimated = _activity_pair(reference, estimated)
    return np.stack([reference & estimated, reference], axis=-1).astype(float)


def retrieved(reference, scores):
    """What lwlrap is made of, clip by clip; sums over clips add up. Arguments and errors as in `lwlrap`.

    Returns:
        float64 array (clips, labels, 2): (the precision at the label's rank, 1) at the clip's labels, else zeros.
    """
    reference, scores = np.asarray(reference) > 0, np.asarray(scores)
    _check_shapes(reference, scores)
    if np.isnan(scores).any():
        raise InputError("scores: expected numbers, received NaN. Check the model's output.")
    clips, labels = np.nonzero(reference)
    counts = np.zeros((*reference.shape, 2))
    ahead = scores[clips] >= scores[clips, labels][:, None]  # (pairs, labels)
    counts[clips, labels, 0] = (ahead & reference[clips]).sum(axis=1) / ahead.sum(axis=1)
    counts[clips, labels, 1] = 1
    return counts


def share(counts, average="micro"):
    """The first of `counts` over the second.

    Args:
        counts: array (..., labels, 2), sums over clips of `recognised` or `retrieved`.
        average: "micro" pools the labels, "macro" is the mean over the labels that there are, None gives one a label.

    Returns:
        float64 array (...), or (..., labels) where average is None; NaN where nothing is counted.
    """
    counts = np.asarray(counts)
    if average == "micro":
        counts = counts.sum(axis=-2)
    return _average(_ratio(counts[..., 0], counts[..., 1]), average)


def _activity_pair(reference, estimated):
    reference, estimated = np.asarray(reference) > 0, np.asarray(estimated) > 0
    _check_shapes(reference, estimated)
    return reference, estimated


def _check_shapes(reference, estimated):
    if reference.shape != estimated.shape:
        raise InputError("reference and estimated: expected equal shapes, "
                         f"received {reference.shape} and {estimated.shape}.")


def _score(counts, average, weights):
    """weights[0] tp / (weights . counts): F1, precision and recall differ in nothing else."""
    counts = np.asarray(counts)
    if average == "micro":
        counts = counts.sum(axis=-2)
    return _average(_ratio(weights[0] * counts[..., 0], counts @ np.array(weights)), average)


def _average(scores, average):
    if average == "macro":
        present = ~np.isnan(scores)
        return _ratio(np.where(present, scores, 0).sum(axis=-1), present.sum(axis=-1))
    if average not in ("micro", None):
        raise InputError(f"average: expected 'micro', 'macro' or None, received {average!r}.")
    return scores


def _ratio(part, whole):
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    return np.divide(part, whole, out=np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan), where=whole > 0)
