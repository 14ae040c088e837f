"""Export the best epoch of a run, or load it as a detector without an export."""
import pathlib

import tensorflow as tf

from polysed_keras.export.saved_model import export_saved_model, make_detector
from polysed_keras.export.signatures import build_signatures, describe
from polysed_keras.training import best_epoch, load_best_model, load_run


def export_run(run, out):
    """Export the best epoch of a run as the next version of a model.

    Args:
        run: the run's folder.
        out: saved_models/NAME; a folder 1, 2, ... is made in it.

    Returns:
        Path of the version's folder.

    Raises:
        InputError: no trained run there, or `out` cannot be written.

    Example:
        >>> ps.export_run("runs/mine", "saved_models/mine").name
        '1'
    """
    experiment = load_run(run)
    model = load_best_model(experiment, run)
    best = best_epoch(run, experiment.measure)
    measure = experiment.measure.replace("val_", "validation_")
    return export_saved_model(model, experiment, out, {"best_epoch": best["epoch"], measure: best[experiment.measure]})


def load_run_detector(run):
    """Load the best epoch of a run as a detector that answers like the run's export; nothing is written.

    Args:
        run: the run's folder.

    Returns:
        detection.Detector.

    Raises:
        InputError: no trained run there.
    """
    experiment, name = load_run(run), pathlib.Path(run).resolve().name
    model = load_best_model(experiment, run, use_cudnn=False)
    serve, spec = build_signatures(model, experiment, name, 1)["serving_default"]
    return make_detector(tf.function(serve, input_signature=[spec]), describe(experiment, name, 1))
