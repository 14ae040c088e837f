"""The choice of events (paper 2, section 4.2): those that a tagger finds most, or least, in the clips of scenes."""
import hashlib
import logging
import pathlib
import re

import numpy as np
from tqdm import tqdm

from polysed_keras.audio import load_audio
from polysed_keras.errors import InputError, expect
from polysed_keras.files import check_writable, read_json, write_json

logger = logging.getLogger(__name__)

EVENT_CHOICES = ("random", "correlated", "uncorrelated")


def mean_scores(clips, tagger, cache=None, *, progress=True):
    """Average a tagger's scores over clips; clips that cannot be read or scored are left out and logged.

    Args:
        clips: sequence of datasets.Clip.
        tagger: taggers.Tagger.
        cache: JSON file that keeps the scores, replaced if they are of other clips or another tagger; None for none.
        progress: bool, whether a bar is shown.

    Returns:
        float64 (labels,), in the order of tagger.labels.

    Raises:
        InputError: no clip can be read and scored, or the cache cannot be read or written.
    """
    key = _cache_key(clips, tagger)
    if cache is not None:
        kept = read_json(cache) if pathlib.Path(cache).is_file() else {}
        if kept.get("key") == key:
            return np.array(kept["scores"])
        check_writable(pathlib.Path(cache).parent)
    scores, failures = [], []
    for clip in tqdm(clips, desc="scores of events", unit="clip", disable=not progress):
        try:
            scores.append(_score(clip, tagger))
        except InputError as error:
            failures.append(str(error))
    if not scores:
        raise InputError(f"clips: expected some that can be read and scored. Received: {len(clips)}, none of which "
                         f"can. {''.join(failures[:1])}")
    if failures:
        logger.warning("%d of %d clips cannot be read or scored and are left out: %s", len(failures), len(clips),
                       "; ".join(failures[:5]))
    means = np.mean(scores, axis=0, dtype=np.float64)
    if cache is not None:
        write_json({"key": key, "clips": len(scores), "labels": tagger.labels, "scores": means.tolist()}, cache)
    return means


def _score(clip, tagger):
    scores = tagger.score(load_audio(clip.audio, tagger.sample_rate))
    if not np.isfinite(scores).all():
        raise InputError(f"{clip.audio}: expected finite scores of the tagger. Received: NaN or infinity. Remove it.")
    return scores


def _cache_key(clips, tagger):
    """Return a digest of the tagger and of the clips' names, sizes and times."""
    digest = hashlib.sha256(tagger.digest.encode())
    for clip in clips:
        path = pathlib.Path(clip.audio)
        status = path.stat() if path.is_file() else None
        digest.update(f"\n{clip.name} {status and (status.st_size, status.st_mtime_ns)}".encode())
    return digest.hexdigest()


def rank_labels(labels, mids, tagger, scores):
    """Find the scores of a corpus's labels: by mid, else by display name without regard to case and punctuation.

    Args:
        labels: of the corpus.
        mids: AudioSet's identifiers of the labels, or None.
        tagger: taggers.Tagger.
        scores: float (tagger's labels,), as of mean_scores.

    Returns:
        {label: score} in the order of `labels`; labels that the tagger does not know are left out and logged.
    """
    by_name = dict(zip(map(_normalised, tagger.labels), scores, strict=True))
    by_mid = dict(zip(tagger.mids or (), scores))
    found = {label: by_mid.get(mid, by_name.get(_normalised(label)))
             for label, mid in zip(labels, mids or [None] * len(labels), strict=True)}
    unknown = [label for label, score in found.items() if score is None]
    if unknown:
        logger.warning("%d of %d labels have no score of the tagger and are left out: %s", len(unknown), len(found),
                       ", ".join(unknown[:10]))
    return {label: float(score) for label, score in found.items() if score is not None}


def _normalised(name):
    return re.sub(r"[\W_]+", " ", name.casefold()).strip()


def choose_events(strategy, labels, k, *, seed=0, scores=None):
    """Choose k event labels (paper 2, section 4.2).

    Args:
        strategy: `random`; `correlated`, the highest scores; or `uncorrelated`, the lowest. Of equal scores the labels
            that come first are taken.
        labels: of the corpus.
        k: int.
        seed: int, of `random`, whose choice for a smaller k is a part of that for a larger k.
        scores: {label: score}, as of rank_labels; `random` needs none.

    Returns:
        Tuple of k labels in the order of `labels`.

    Raises:
        InputError: an unknown strategy, missing scores, or k beyond the labels (with scores).
    """
    expect(strategy in EVENT_CHOICES, "strategy", f"one of {', '.join(EVENT_CHOICES)}", strategy)
    if strategy == "random":
        scores = dict(zip(labels, np.random.default_rng(seed).random(len(labels))))
    if not scores:
        raise InputError(f"scores: expected scores of labels, for the strategy {strategy!r}. Received: none. "
                         "Give an event tagger and clips to score.")
    known = [label for label in labels if label in scores]
    expect(1 <= k <= len(known), "k", f"1 to {len(known)}, the labels that have scores of {len(labels)} in all", k,
           "Choose fewer events.")
    chosen = set(sorted(known, key=scores.get, reverse=strategy == "correlated")[:k])
    return tuple(label for label in labels if label in chosen)
