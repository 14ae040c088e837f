"""One function that loads a detector from wherever its network is."""
import pathlib
import re

from polysed_keras.errors import InputError, expect
from polysed_keras.export import default_model, load_run_detector, load_saved_model
from polysed_keras.serving.client import connect
from polysed_keras.training import EXPERIMENT


def load_detector(source=None, *, model=None, **options):
    """Load a detector from the shipped model, an exported model, a training run or a server.

    Args:
        source: saved_models/NAME, saved_models/NAME/VERSION, a run's folder, or the address of a TensorFlow Serving:
            HOST:PORT for gRPC, http://HOST:PORT for REST. None for the model that comes with the project.
        model: with a server's address only: the model there, as in `connect`.
        options: with a server's address only: timeout and in_flight, as in `connect`.

    Returns:
        detection.Detector.

    Raises:
        InputError: no model, run or server there; a server's address without a model, or a model without an address.
        ConnectionError, TimeoutError: as `connect`.

    Example:
        >>> events = ps.load_detector().detect("street.wav")
        >>> list(events.columns)
        ['onset', 'offset', 'event_label', 'confidence']
        >>> ps.load_detector("localhost:8500", model="mine").detect("street.wav")    # doctest: +SKIP
    """
    if _is_address(source):
        if model is None:  # TensorFlow Serving does not list its models
            raise InputError(f"{source}: expected the name of one of the server's models. Received: none. Name it: "
                             f"load_detector({str(source)!r}, model='NAME').")
        return connect(source, model, **options)
    expect(model is None and not options, "source", "HOST:PORT or http://HOST:PORT, which model and options are for",
           source)
    source = pathlib.Path(source or default_model())
    return load_run_detector(source) if (source / EXPERIMENT).is_file() else load_saved_model(source)


def _is_address(source):
    return re.fullmatch(r"\w+://.*|[^/]+:\d+", str(source)) and not pathlib.Path(source).exists()
