"""Run an experiment from a preset and a data folder to a run folder."""
import dataclasses
import pathlib

from polysed_keras.datasets import load_dataset
from polysed_keras.errors import InputError
from polysed_keras.files import read_json, write_json
from polysed_keras.pipeline import load_recordings
from polysed_keras.specs import Experiment
from polysed_keras.tasks import resolve_tasks, task_labels
from polysed_keras.training import EXPERIMENT, STATE, fit_model


def _prepare_directory(experiment, directory, resume):
    path = pathlib.Path(directory) / EXPERIMENT
    if not path.exists():
        write_json(experiment.to_dict(), path)
        return
    if not resume and (path.parent / STATE).exists():
        raise InputError(f"{directory}: holds a run already. Add --resume to go on with it, or choose another folder.")
    stored = Experiment.from_dict(read_json(path))
    same_epochs = dataclasses.replace(stored.training, epochs=experiment.training.epochs)
    if resume and dataclasses.replace(stored, training=same_epochs) != experiment:
        raise InputError(f"{directory}: holds another experiment than asked for ({stored.name}, see {EXPERIMENT}). "
                         "Resume with the same preset, --set values and data.")
    write_json(experiment.to_dict(), path)


def run_experiment(experiment, data, directory, *, resume=False, progress=True, **runtime):
    """Train an experiment on a corpus; the run's folder holds all that evaluate and export need.

    Args:
        experiment: Experiment, such as a preset; its tasks are resolved with the labels of the data.
        data: folder of the corpus.
        directory: the run's folder.
        resume: go on from the last finished epoch; more epochs than before may be asked for.
        runtime: jit_compile, strategy, as in training.fit_model.

    Returns:
        DataFrame of the history, a row an epoch.

    Raises:
        InputError: anything wrong with data, labels, decomposition or folder, before the training begins.
    """
    dataset = load_dataset(data, experiment.dataset)
    experiment = dataclasses.replace(experiment, tasks=resolve_tasks(experiment.tasks, dataset.labels))
    _prepare_directory(experiment, directory, resume)
    labels = task_labels(experiment.tasks)
    recordings, validation = (load_recordings(dataset, partition, labels, experiment.features, progress=progress)
                              for partition in ("train", "validate"))
    return fit_model(experiment, recordings, validation, directory, resume=resume, progress=progress, **runtime)
