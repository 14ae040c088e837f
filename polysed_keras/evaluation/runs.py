"""From a run folder to its scores, and to the groups of labels that its errors suggest."""
import dataclasses

import numpy as np

from polysed_keras.datasets import load_dataset
from polysed_keras.errors import InputError
from polysed_keras.evaluation.clip_tables import ClipResult
from polysed_keras.evaluation.tables import RunResult
from polysed_keras.evaluation.unseen import count_unseen, read_combinations
from polysed_keras.events import frame_counts, joint_activity, recognised, retrieved, substitutions
from polysed_keras.models import decode_activity, predict_posteriors
from polysed_keras.specs import confusion, resolve_tasks, task_labels
from polysed_keras.training import clip_data, label_affinity, load_best_model, load_recordings, load_run, predict_clips


def find_groups(data, decomposition, run=None, *, progress=True):
    """Find the groups that a Decomposition divides a corpus's labels into.

    Args:
        data: folder of the corpus.
        decomposition: Decomposition.
        run: folder of a trained run, whose confusions the strategy `confusion` goes by; other strategies need none.
        progress: whether a bar counts the recordings that are loaded.

    Returns:
        A tuple of groups, each a tuple of labels.

    Raises:
        InputError: as training.label_affinity, run_confusion and specs.decompose.
    """
    dataset = load_dataset(data)
    if decomposition.strategy == "confusion" and decomposition.groups is None and run is not None:
        affinity = run_confusion(run, dataset, progress=progress)
    else:
        affinity = label_affinity(decomposition, dataset)
    return tuple(task.labels for task in resolve_tasks(decomposition, dataset.labels, affinity))


def run_confusion(run, dataset, partition="validate", *, progress=True):
    """Measure how often a run takes labels for each other on a partition of a corpus.

    Args:
        run: folder of a trained run.
        dataset: datasets.Dataset with the run's labels.
        partition: whose recordings are compared.
        progress: whether a bar counts the recordings that are loaded.

    Returns:
        float64 (labels, labels) in 0..1 of specs.confusion, in the order of the corpus's labels.

    Raises:
        InputError: a run on clips; as evaluate_run.
    """
    experiment = load_run(run)
    if experiment.clip_level:
        raise InputError(f"{run}: expected a run on recordings, whose frames are compared. Received one on clips.")
    _, recordings, estimates = _estimate(experiment, run, dataset.folder, partition, progress)
    rolls = [recording.event_roll for recording in recordings]
    return confusion(sum(map(substitutions, rolls, estimates)), sum(map(joint_activity, rolls)))


def load_seen_combinations(directories, names=()):
    """What runs with powersets were trained on: a tuple of evaluation.SeenCombinations, under names in place of the Experiments'."""
    experiments = [load_run(directory) for directory in directories]
    if names:
        experiments = [dataclasses.replace(experiment, name=name) for experiment, name in zip(experiments, names, strict=True)]
    return read_combinations(zip(directories, experiments))


def evaluate_run(directory, data, partition="test", *, seen=(), progress=True):
    """What a run's best epoch scores on every recording or clip of a partition, decoded as its tasks say.

    Args:
        directory: the run's folder.
        data: folder of a corpus with the run's labels.
        seen: of load_seen_combinations; of recordings, frames with a combination that is not in it are counted apart.

    Returns:
        evaluation.RunResult, whose labels are in the corpus's order; of a run on clips a tuple of
        evaluation.ClipResult, one a task.

    Raises:
        InputError: no trained run, other labels, or unreadable data.
    """
    experiment = load_run(directory)
    if experiment.clip_level:
        return _evaluate_clips(experiment, directory, data, partition, progress)
    labels, recordings, estimates = _estimate(experiment, directory, data, partition, progress)
    references = [recording.event_roll for recording in recordings]
    names = tuple(recording.name for recording in recordings)
    return RunResult(experiment.name, experiment.training.seed, labels, names,
                     np.stack([frame_counts(*pair) for pair in zip(references, estimates)]),
                     tuple(count_unseen(each, labels, references, estimates) for each in seen))


def _estimate(experiment, directory, data, partition, progress):
    """The corpus's labels, a partition's recordings, and the activity that a run's best epoch estimates in each."""
    dataset = load_dataset(data, experiment.dataset)
    labels, spec = task_labels(experiment.tasks), experiment.training
    if sorted(labels) != sorted(dataset.labels):
        raise InputError(f"{data}: expected the labels of {directory}, {list(labels)}. "
                         f"Received: {list(dataset.labels)}.")
    model = load_best_model(experiment, directory)
    columns = [labels.index(label) for label in dataset.labels]
    recordings = load_recordings(dataset, partition, dataset.labels, experiment.features, progress=progress)
    estimates = [decode_activity(predict_posteriors(model, recording.log_mel, experiment.tasks, spec.segment_frames),
                                 experiment.tasks)[:, columns] for recording in recordings]
    return dataset.labels, recordings, estimates


def _evaluate_clips(experiment, directory, data, partition, progress):
    experiment, _, load = clip_data(experiment, data, None, progress)
    clips, model, results = load(partition), load_best_model(experiment, directory), []
    for task in experiment.tasks:
        activity, posteriors = clips[task.name].activity, predict_clips(model, clips[task.name])[task.name]
        counts = (recognised(activity, task.decode(posteriors)) if task.encoding == "multi_class"
                  else retrieved(activity, posteriors))
        results.append(ClipResult(experiment.name, experiment.training.seed, task.name, task.encoding, task.labels,
                                  clips[task.name].names, counts))
    return tuple(results)
