"""Describe exports, find their versions, and name the model that comes with the project."""
import logging
import pathlib

from polysed_keras.errors import InputError
from polysed_keras.files import shipped_folder
from polysed_keras.specs import task_labels

DEFAULT_MODEL = shipped_folder("saved_models", "saved_models") / "everyday"


def default_model():
    """Return the folder of the model that comes with the project, and log that it was taken.

    Raises:
        InputError: it is missing.
    """
    if not DEFAULT_MODEL.is_dir():
        raise InputError(f"--model: expected a choice. Received: none, and the project's own is not there: "
                         f"{DEFAULT_MODEL} (the installation is incomplete). Export a run, or name a model.")
    logging.getLogger(__name__).info("no --model: taking %s, whose labels its README.md says", DEFAULT_MODEL)
    return DEFAULT_MODEL


def list_versions(directory):
    """Return the names of the versions of a model, in no order."""
    return [path.name for path in pathlib.Path(directory).glob("*") if path.name.isdecimal()]


def version_directory(directory):
    """Return the folder of a model's highest version, or the folder itself if it holds a SavedModel.

    Raises:
        InputError: no SavedModel in either place.
    """
    directory = pathlib.Path(directory)
    folders = [directory, *(directory / name for name in sorted(list_versions(directory), key=int, reverse=True))]
    found = next((folder for folder in folders if (folder / "saved_model.pb").is_file()), None)
    if not found:
        raise InputError(f"{directory}: expected saved_models/NAME or saved_models/NAME/VERSION with a saved_model.pb. "
                         "Received: none there. Export a run first: polysed export RUN --out saved_models/NAME.")
    return found


def cut_samples(experiment):
    """Return the number of samples from the begin of a segment's first window to the end of its last one."""
    return (experiment.training.segment_frames - 1) * experiment.features.hop_length + experiment.features.win_length


def describe(experiment, name, version, calibration=None):
    """Return the description that travels inside an export and in its card.json.

    Args:
        experiment: Experiment whose tasks are resolved.
        name: str, of the model's folder.
        version: int, of the version's folder.
        calibration: dict of evaluation.calibrate_run, with the labels in any order; None for none.

    Returns:
        dict: name, version, labels, sample_rate (Hz), hop_length and win_length (samples), segment_frames,
        time_resolution (seconds per output: a frame, or a clip if clips are labelled as a whole), experiment (a dict),
        calibration (a dict; empty for none).
    """
    features, frames = experiment.features, experiment.training.segment_frames
    return {
        "name": name, "version": version,
        "labels": list(task_labels(experiment.tasks)), "sample_rate": features.sample_rate,
        "hop_length": features.hop_length, "win_length": features.win_length, "segment_frames": frames,
        "time_resolution": features.time_resolution * frames if experiment.clip_level else experiment.time_resolution,
        "experiment": experiment.to_dict(), "calibration": calibration or {},
    }
