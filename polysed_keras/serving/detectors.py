"""One function that loads a detector from wherever its network is."""
import pathlib
import re

from polysed_keras.errors import InputError, expect
from polysed_keras.export import default_model, load_export
from polysed_keras.specs import EXPERIMENT


def load_detector(source=None, *, runtime=None, model=None, **options):
    """Load a detector from the shipped model, an exported model, a training run or a server.

    Args:
        source: saved_models/NAME, saved_models/NAME/VERSION, a run's folder, or the address of a TensorFlow Serving:
            HOST:PORT for gRPC, http://HOST:PORT for REST. None for the model that comes with the project.
        runtime: of an exported model only: str, as of export.load_export.
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
        expect(runtime is None, "runtime", "none for a server, which has its own", runtime)
        if model is None:  # TensorFlow Serving does not list its models
            raise InputError(f"{source}: expected the name of one of the server's models. Received: none. Name it: "
                             f"load_detector({str(source)!r}, model='NAME').")
        from polysed_keras.serving.client import connect
        return connect(source, model, **options)
    expect(model is None and not options, "source", "HOST:PORT or http://HOST:PORT, which model and options are for",
           source)
    source = pathlib.Path(source or default_model())
    if (source / EXPERIMENT).is_file():
        from polysed_keras.export import load_run_detector
        expect(runtime in (None, "tensorflow"), "runtime", "tensorflow for a run", runtime, "Export it for others.")
        return load_run_detector(source)
    return load_export(source, runtime)


def _is_address(source):
    return re.fullmatch(r"\w+://.*|[^/]+:\d+", str(source)) and not pathlib.Path(source).exists()
