"""A client of TensorFlow Serving: a Detector that reads and cuts audio here and has the network run by a server."""
import collections
import itertools
import json
import pathlib
import random
import time

import numpy as np

from polysed_keras.detection import Card, Detector
from polysed_keras.errors import InputError
from polysed_keras.export import describe, encode_wav, version_directory
from polysed_keras.files import read_json
from polysed_keras.serving.transports import Refused, open_transport
from polysed_keras.specs import Experiment

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds until an unavailable server is asked again
COMPARED = ("labels", "sample_rate", "hop_length", "win_length", "segment_frames", "time_resolution")  # with the card


def connect(server, model, *, timeout=60.0, in_flight=4):
    """Connect to a model on a server and return a detector that answers like the export itself.

    Args:
        server: HOST:PORT for gRPC, http://HOST:PORT for REST; grpcs://HOST:PORT or https://HOST:PORT for a server with
            TLS, whose certificate must be of an authority that the system knows (docs/security.md).
        model: saved_models/NAME or saved_models/NAME/VERSION, the export that the server is expected to have; or only
            the name of a model on the server, of which the highest version is taken.
        timeout: seconds that an answer may take, and that the server may be unavailable.
        in_flight: int, requests at a time; memory holds as many blocks of audio.

    Returns:
        detection.Detector. It stays with the version that it found, and may raise ConnectionError and TimeoutError too.

    Raises:
        InputError: no address, no such model there, other labels, rate or version than expected, gRPC without packages.
        ConnectionError: the server was unavailable for too long, or what it answered is not an answer of its model.
        TimeoutError: no answer in time.

    Example:
        >>> connect("localhost:8500", "saved_models/mine").detect("street.wav")
    """
    if timeout <= 0 or in_flight < 1:
        raise InputError(f"timeout, in_flight: expected more than 0, and 1 or more. Received: {timeout}, {in_flight}.")
    name, wanted, expected = _expectation(model)
    transport = open_transport(server, name, timeout)

    def ask(start):
        return _wait(start, start(), server, timeout)

    version = _choose_version(ask(transport.versions), wanted, server, name)
    description = _describe(ask(lambda: transport.predict(version, "describe", "query", [0])), server, name, version)
    for key in COMPARED:
        if key in expected and description[key] != expected[key]:
            raise InputError(f"{server}: expected the {key} of {model}, {expected[key]}. Received: {description[key]}. "
                             "The server has another model of that name and version.")

    def send(waveform):
        return transport.predict(version, "detect_wav", "wav_bytes",
                                 [encode_wav(waveform[0], description["sample_rate"])])

    def each(send, waveforms):
        waiting = collections.deque()

        def next_answer():
            waveform, pending = waiting.popleft()
            outputs = _wait(lambda: send(waveform), pending, server, timeout)
            rows = -(-waveform.shape[1] // round(description["time_resolution"] * description["sample_rate"]))
            return _checked(outputs, rows, len(description["labels"]), server)

        try:
            for waveform in waveforms:
                if len(waiting) == in_flight:
                    yield next_answer()
                waiting.append((waveform, send(waveform)))
            while waiting:
                yield next_answer()
        finally:
            for _, pending in waiting:
                pending.cancel()

    return Detector(send, description, each)


def _expectation(model):
    """Return name, version (None for any) and card ({} if unknown) of the model that a server should have."""
    path = pathlib.Path(model)
    if len(path.parts) == 1 and not path.is_dir():
        return str(model), None, {}
    folder = version_directory(path).absolute()
    card = read_json(folder / "card.json", Card, others=True)
    if folder.name.isdecimal():
        return folder.parent.name, int(folder.name), card
    return folder.name, card.get("version"), card


def _choose_version(available, wanted, server, name):
    """Return the version that is wanted, or the highest one if that is None; raise InputError if it is not there."""
    if not available or wanted not in (None, *available):
        raise InputError(f"{server}: expected {'a version' if wanted is None else f'version {wanted}'} of the model "
                         f"{name!r}. Received: {', '.join(map(str, sorted(available))) or 'none'} available there. "
                         "Serve it, or name another: --model saved_models/NAME/VERSION, or "
                         "--model NAME for the server's newest.")
    return max(available) if wanted is None else wanted


def _describe(outputs, server, name, version):
    """Return the description of a server's model, made from the experiment, because JSON may round numbers."""
    try:
        texts = {key: json.loads(np.asarray(outputs[key]).reshape(-1)[0]) for key in ("experiment", "calibration")
                 if key in outputs}  # exports of version 0.1 have no calibration
        return describe(Experiment.from_dict(texts["experiment"]), name, version, texts.get("calibration"))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"{server}: expected the model {name!r} to be an export of this program, which describes "
                         f"itself. Received: {error!r}. Export the run again.") from error


def _checked(outputs, rows, labels, server):
    """Return the outputs for a file as arrays of the contract's types, or raise ConnectionError if it is broken."""
    checked = {}
    for name, dtype, shape, low, high in (("num_frames", np.int32, (1,), rows, rows),
                                          ("posteriors", np.float32, (1, rows, labels), 0, 1 + 1e-5),
                                          ("activity", np.uint8, (1, rows, labels), 0, 1)):
        received = np.asarray(outputs.get(name, ()))
        is_number = received.shape == shape and received.dtype.kind in "fiu"
        if not is_number or not ((low <= received) & (received <= high)).all():
            has_nan = " with NaN" * bool((received != received).any())
            raise ConnectionError(f"{server}: expected {name} of shape {shape}, from {low} to {high}. Received: shape "
                                  f"{received.shape}{has_nan}, or other values. What answers there is broken.")
        checked[name] = received.astype(dtype)
    return checked


def _wait(start, pending, server, timeout):
    """Wait for an answer. An unavailable server (restarting, or its queue is full) is asked again for `timeout` s."""
    deadline, pause = time.monotonic() + timeout, FIRST_PAUSE
    try:
        for tries in itertools.count(1):
            try:
                return pending.result()
            except Refused as error:
                # A server that ends cancels what it has begun. The invalid file may be another client's, which the
                # server had put into the same batch.
                again = error.code in ("UNAVAILABLE", "CANCELLED") or error.code == "INVALID_ARGUMENT" and tries < 3
                if not again:
                    raise _explained(error, server, timeout) from error
                if time.monotonic() + pause > deadline:
                    raise ConnectionError(f"{server}: expected a server that is available within {timeout:g} s. "
                                          f"Received: {error.message}. Start it, or raise --timeout.") from error
            time.sleep(pause * random.uniform(0.5, 1))  # so that clients do not all come back at the same time
            pause = min(2 * pause, LONGEST_PAUSE)
            pending = start()
    except BaseException:  # also KeyboardInterrupt
        pending.cancel()
        raise


def _explained(error, server, timeout):
    if error.code == "DEADLINE_EXCEEDED":
        return TimeoutError(f"{server}: expected an answer within {timeout:g} s. Received: none. Raise --timeout.")
    received = f"expected an answer of the model. Received: {' '.join(str(error).split())[:500]}."
    if error.code == "NOT_FOUND":
        return InputError(f"{server}: {received} Check --model, and whether the server has dropped its version.")
    return (InputError if error.code == "INVALID_ARGUMENT" else ConnectionError)(f"{server}: {received}")
