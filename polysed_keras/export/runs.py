"""Export the best epoch of a run, and load a detector from an exported model or a run."""
import pathlib
import tempfile

from polysed_keras.export.saved_model import default_model, export_saved_model, load_saved_model
from polysed_keras.training import EXPERIMENT, best_epoch, load_best_model, load_run


def load_detector(directory=None):
    """Load an exported model, or the best epoch of a run, which is exported for it.

    Args:
        directory: saved_models/NAME, saved_models/NAME/VERSION or a run's folder; None for
            export.DEFAULT_MODEL.

    Returns:
        detection.Detector.

    Raises:
        InputError: neither a model nor a run there; none given, and no DEFAULT_MODEL.
    """
    directory = pathlib.Path(directory or default_model())
    if not (directory / EXPERIMENT).is_file():
        return load_saved_model(directory)
    with tempfile.TemporaryDirectory() as temporary:
        return load_saved_model(export_run(directory, pathlib.Path(temporary, directory.resolve().name)))


def export_run(directory, out):
    """Export the best epoch of a run as the next version of saved_models/NAME; returns the version's folder."""
    experiment = load_run(directory)
    model = load_best_model(experiment, directory)
    best = best_epoch(directory, experiment.measure)
    measure = experiment.measure.replace("val_", "validation_")
    return export_saved_model(model, experiment, out, {"best_epoch": best["epoch"], measure: best[experiment.measure]})
