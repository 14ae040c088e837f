"""Event taggers: SavedModels that score the labels of a waveform, our own exports or those of others such as YAMNet."""
import dataclasses
import hashlib
import itertools
import logging
import pathlib
from collections.abc import Callable

import pandas as pd
import tensorflow as tf

from polysed_keras.errors import InputError, expect
from polysed_keras.export import load_saved_model

logger = logging.getLogger(__name__)

TAGGER_RATE = 16000  # Hz, of others' taggers that are trained on AudioSet
PROBE_SECONDS = 2  # of silence that shows what an endpoint returns
KERAS_INTERNALS = {"call_and_return_all_conditional_losses", "keras_api"}


@dataclasses.dataclass(frozen=True, eq=False)
class Tagger:
    """A network that scores event labels.

    Attributes:
        labels: display names.
        mids: AudioSet's identifiers of the labels, or None.
        sample_rate: Hz.
        score: function of a mono waveform (samples,) to float (labels,), the mean over patches or frames.
        digest: str that tells models apart, for caches.
    """

    labels: tuple[str, ...]
    mids: tuple[str, ...] | None
    sample_rate: int
    score: Callable
    digest: str


def load_tagger(directory, endpoint=None):
    """Load a SavedModel that scores event labels.

    Args:
        directory: folder of an export of ours, whose scenes are left out; or of any SavedModel, such as YAMNet, from
            waveforms of any length at 16 kHz, (samples,) or (batch, samples), to scores of the classes of a CSV in its
            folder assets (columns index, mid, display_name).
        endpoint: str, what to call in a model of others: `__call__` for the model itself, or the name of an attribute
            or signature. None takes the first one with an output of as many values as there are classes.

    Returns:
        Tagger.

    Raises:
        InputError: no SavedModel or class map there, an unknown endpoint, or none that gives scores of the classes.
    """
    directory = pathlib.Path(directory)
    if not (directory / "saved_model.pb").is_file():
        return _own_tagger(directory)  # the versions of an export; if there is nothing, its loader says so
    try:
        loaded = tf.saved_model.load(str(directory))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise InputError(f"{directory}: expected a SavedModel. Received: {error}. Copy or export it again.") from error
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
