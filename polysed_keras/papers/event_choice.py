"""The choice of events (paper 2, section 4.2): those that a tagger finds most, or least, in the clips of scenes."""
import dataclasses
import hashlib
import itertools
import logging
import pathlib
import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import tensorflow as tf

from polysed_keras.audio import audio_digest, load_audio
from polysed_keras.errors import InputError, expect, expect_known
from polysed_keras.export import load_graph, load_saved_model
from polysed_keras.files import check_writable, read_json, write_json
from polysed_keras.progress import progress_bar

logger = logging.getLogger(__name__)

EVENT_CHOICES = ("random", "correlated", "uncorrelated")
TAGGER_RATE = 16000  # Hz, of others' taggers that are trained on AudioSet
PROBE_SECONDS = 2  # of silence that shows what an endpoint returns
KERAS_INTERNALS = {"call_and_return_all_conditional_losses", "keras_api"}


@dataclasses.dataclass(frozen=True, eq=False)
class Tagger:
    """A network that scores event labels."""

    labels: tuple[str, ...]  # display names
    mids: tuple[str, ...] | None  # AudioSet's identifiers of the labels
    sample_rate: int  # Hz
    score: Callable  # a mono waveform (samples,) -> float (labels,), the mean over patches or frames
    digest: str  # tells models apart, for caches


def load_tagger(directory, endpoint=None):
    """Load a Tagger from a SavedModel that scores event labels.

    Args:
        directory: folder of an export of ours, whose scenes are left out; or of any SavedModel, such as YAMNet, from
            waveforms of any length at 16 kHz, (samples,) or (batch, samples), to scores of the classes of a CSV in its
            folder assets (columns index, mid, display_name).
        endpoint: str, what to call in a model of others: `__call__` for the model itself, or the name of an attribute
            or signature. None takes the first one with an output of as many values as there are classes.

    Raises:
        InputError: no SavedModel or class map there, an unknown endpoint, or none that gives scores of the classes.
    """
    directory = pathlib.Path(directory)
    if not (directory / "saved_model.pb").is_file():
        return _own_tagger(directory)  # the versions of an export; if there is nothing, its loader says so
    loaded = load_graph(directory)
    if "describe" in loaded.signatures:
        return _own_tagger(directory)
    mids, labels = _read_class_map(directory)
    name, function = _find_endpoint(loaded, len(labels), endpoint, directory)
    return Tagger(labels, mids, TAGGER_RATE, lambda waveform: _scores(
        function(tf.constant(waveform, tf.float32)), len(labels)).mean(axis=0), _digest(directory, name))


def _own_tagger(directory):
    detector = load_saved_model(directory)
    tasks = detector.description["experiment"]["tasks"]
    scenes = {label for task in tasks if task["encoding"] == "multi_class" for label in task["labels"]}
    kept = [index for index, label in enumerate(detector.labels) if label not in scenes]
    if not kept:
        raise InputError(f"{directory}: expected a network with event labels. Received: scenes only. Take another.")
    return Tagger(tuple(detector.labels[index] for index in kept), None, detector.sample_rate,
                  lambda waveform: detector.posteriors(waveform)[0].mean(axis=0)[kept], _digest(directory))


def _digest(directory, endpoint=""):
    digest = hashlib.sha256(endpoint.encode())
    for path in sorted([*directory.rglob("saved_model.pb"), *directory.rglob("variables.*")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _read_class_map(directory):
    """Return mids and display names of the first CSV that has them, in the order of its indices."""
    for path in sorted((directory / "assets").glob("*.csv")):
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        if {"index", "mid", "display_name"} <= set(table):
            table = table.sort_values("index", key=lambda index: index.astype(int), kind="stable")
            return tuple(table["mid"]), tuple(table["display_name"])
    raise InputError(f"{directory / 'assets'}: expected a CSV of the tagger's classes with the columns index, mid and "
                     "display_name. Received: none. Put the class map that the tagger comes with there.")


def _endpoints(loaded):
    """Return what can be called in a SavedModel: {name: function of a waveform}."""
    found = {"__call__": loaded} if callable(loaded) else {}
    found |= {name: getattr(loaded, name) for name in dir(loaded) if not name.startswith("_")
              and callable(getattr(loaded, name)) and name not in KERAS_INTERNALS}
    for name, signature in loaded.signatures.items():
        inputs = list(signature.structured_input_signature[1])
        if len(inputs) == 1:
            found.setdefault(name, lambda waveform, call=signature, key=inputs[0]: call(**{key: waveform}))
    return found


def _find_endpoint(loaded, classes, wanted, directory):
    """Return the name of an endpoint that scores the classes, and a function of a waveform (samples,) that calls it."""
    endpoints = _endpoints(loaded)
    expect(wanted is None or wanted in endpoints, "endpoint",
           f"one of {', '.join(endpoints)}, which are in {directory}", wanted, "Choose one of them, or none.")
    for name, batched in itertools.product(endpoints if wanted is None else [wanted], (False, True)):
        try:
            function = _traced(endpoints[name], batched)
            if _scores(function(tf.zeros([PROBE_SECONDS * TAGGER_RATE])), classes) is not None:
                return name, function
        except (TypeError, ValueError, tf.errors.OpError) as error:  # it does not take such a waveform
            logger.debug("%s: endpoint %s, batched %s: %s", directory, name, batched, error)
    raise InputError(f"{directory}: expected an endpoint that gives {classes} scores, one a class of its class map, "
                     f"for a waveform (samples,) or (batch, samples). Received: none from "
                     f"{wanted or ', '.join(endpoints)}. Endpoints there: {', '.join(endpoints) or 'none'}. "
                     "Name another, or put its own class map into assets.")


def _traced(endpoint, batched):
    """Return a function of a waveform (samples,) that is traced once, not once per length."""
    function = tf.function(lambda waveform: endpoint(waveform[None] if batched else waveform), autograph=False)
    return function.get_concrete_function(tf.TensorSpec([None], tf.float32))


def _scores(outputs, classes):
    """Return the scores (patches, classes) among outputs: probabilities if several fit, None if none does."""
    fitting = [output.numpy().reshape(-1, classes) for output in tf.nest.flatten(outputs)
               if output.dtype.is_floating and output.shape.rank and output.shape[-1] == classes]
    return next((scores for scores in fitting if scores.min() >= 0 and scores.max() <= 1), *fitting[:1] or [None])


def mean_scores(clips, tagger, cache=None, *, progress=True):
    """Average a Tagger's scores over datasets.Clips: float64 (labels,), in the order of tagger.labels.

    The JSON file `cache` keeps the scores. It is replaced if they are of other clips or of another tagger.
    Clips that cannot be read or scored are left out and logged. InputError is raised if no clip can, or if the cache
    cannot be read or written.
    """
    if cache is not None:
        key = _cache_key(clips, tagger, pathlib.Path(cache).parent)
        kept = read_json(cache, dict) if pathlib.Path(cache).is_file() else {}
        if kept.get("key") == key:
            return np.array(kept["scores"])
        check_writable(pathlib.Path(cache).parent)
    scores, failures = [], []
    for clip in progress_bar(clips, "scores of events", unit="clip", shown=progress):
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
        write_json({"key": key, "clips": len(scores), "labels": tagger.labels, "scores": means.tolist()}, cache,
                   versioned=True)
    return means


def _score(clip, tagger):
    scores = tagger.score(load_audio(clip.audio, tagger.sample_rate))
    if not np.isfinite(scores).all():
        raise InputError(f"{clip.audio}: expected finite scores of the tagger. Received: NaN or infinity. Remove it.")
    return scores


def _cache_key(clips, tagger, folder):
    """Return a digest of the tagger and of the clips' names and content; notes of the content are in a folder."""
    digest = hashlib.sha256(tagger.digest.encode())
    for clip in clips:
        digest.update(f"\n{clip.name} {audio_digest(clip.audio, folder)}".encode())
    return digest.hexdigest()


def rank_labels(labels, mids, tagger, scores):
    """Return {label: score} of a corpus's labels, from a Tagger's scores as mean_scores returns them.

    A label is found by its AudioSet identifier if `mids` has them, else by its display name without regard to case and
    punctuation. Labels that the tagger does not know are left out and logged.
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
    """Choose k of a corpus's labels (paper 2, section 4.2), as a tuple in their order.

    The strategy `correlated` takes the highest of the scores {label: score}, `uncorrelated` the lowest; of equal scores
    the labels that come first. `random` needs no scores; its choice for a smaller k is a part of that for a larger k.
    InputError is raised for an unknown strategy, missing scores, or k beyond the labels (with scores).
    """
    expect_known(strategy, EVENT_CHOICES, "strategy")
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
