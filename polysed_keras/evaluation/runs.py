"""From runs' folders to their scores, and to the groups of labels that a run's errors suggest."""
import collections
import dataclasses
import os
import pathlib
import re

import numpy as np

from polysed_keras.datasets import load_dataset
from polysed_keras.errors import InputError, expect
from polysed_keras.evaluation.alarms import count_alarms, silent_share
from polysed_keras.evaluation.score_files import write_run_scores
from polysed_keras.evaluation.tables import RunResult, TaskResult
from polysed_keras.evaluation.unseen import count_unseen, read_combinations
from polysed_keras.events import (
    find_posterior_alarms,
    frame_counts,
    joint_activity,
    recognised,
    retrieved,
    substitutions,
)
from polysed_keras.models import decode_activity, join_label_posteriors, predict_posteriors
from polysed_keras.specs import confusion, resolve_tasks, task_labels
from polysed_keras.training import (
    ClipSource,
    RecordingSource,
    label_affinity,
    load_best_model,
    load_negatives,
    load_run,
    predict_clips,
    source_class,
)

TIME_RESOLUTION = 0.02  # seconds, paper 1's frames


def find_groups(data, decomposition, run=None, *, corpus="tut_sed_synthetic_2016", progress=True):
    """Find the groups that a Decomposition divides a corpus's labels into.

    Args:
        data: folder of the corpus.
        decomposition: Decomposition.
        run: folder of a trained run, whose confusions the strategy `confusion` goes by; other strategies need none.
        corpus: a name of datasets.CORPORA, or a plug-in's.
        progress: whether a bar counts the recordings that are loaded.

    Returns:
        A tuple of groups, each a tuple of labels.

    Raises:
        InputError: as training.label_affinity, run_confusion and specs.decompose.
    """
    dataset = load_dataset(data, corpus)
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
    if source_class(experiment) is ClipSource:
        raise InputError(f"{run}: expected a run on recordings, whose frames are compared. Received one on clips.")
    source = RecordingSource(experiment, dataset.folder, progress=progress)
    estimates = estimate_recordings(source, run, source.load(partition), experiment.time_resolution)
    pairs = [(estimate.reference, estimate.activity) for estimate in estimates]
    return confusion(sum(substitutions(*pair) for pair in pairs), sum(joint_activity(roll) for roll, _ in pairs))


def load_seen_combinations(runs, names=()):
    """Load the label combinations that runs with powersets were trained on.

    Args:
        runs: folders of runs.
        names: names in place of those of the Experiments, one per run.

    Returns:
        Tuple of evaluation.SeenCombinations.
    """
    experiments = [load_run(run) for run in runs]
    if names:
        experiments = [dataclasses.replace(experiment, name=name)
                       for experiment, name in zip(experiments, names, strict=True)]
    return read_combinations(zip(runs, experiments))


def evaluate_runs(runs, data, partition="test", *, negatives=None, time_resolution=TIME_RESOLUTION, scores=None,
                  progress=True):
    """Score runs on the same data, for tables side by side.

    Args:
        runs: folders of runs, all on recordings or all on clips.
        data: folder of a corpus with the runs' labels.
        partition: to score.
        negatives: folder of audio without the labels, whose false alarms are counted too; None for none.
        time_resolution: seconds per frame of the scores, for runs of different time resolution.
        scores: folder for files of the posteriors, as of evaluation.write_run_scores; None for none.
        progress: whether bars are shown.

    Returns:
        List of RunResult, named by the runs' folders as of name_runs; frames with a combination that a run with
        powersets was not trained on are counted apart.

    Raises:
        InputError: runs of both kinds; as evaluate_run.
    """
    if len({source_class(load_run(run)) for run in runs}) > 1:
        raise InputError("runs: expected all of recordings, or all of clips. Received both. Evaluate them apart.")
    names = name_runs(runs)
    seen = load_seen_combinations(runs, names)
    results = [evaluate_run(run, data, partition, seen=seen, negatives=negatives, time_resolution=time_resolution,
                            scores=scores, progress=progress) for run in runs]
    return [dataclasses.replace(result, name=name,
                                tasks=tuple(dataclasses.replace(task, name=name) for task in result.tasks))
            for result, name in zip(results, names)]


def name_runs(runs):
    """Name runs as the columns of tables: each by its folder; those that differ in their seeds alone by one name.

    This is what their folders' names begin with, such as "mcmt_8" of mcmt_8_seed0 and mcmt_8_seed1, or that of their
    Experiment if they have nothing in common. Folders of one name are told apart by those that they are in.

    Args:
        runs: folders of runs.

    Returns:
        List of str.
    """
    paths, experiments = [pathlib.Path(run).resolve() for run in runs], [load_run(run) for run in runs]
    by_preset, owners = collections.defaultdict(list), collections.defaultdict(set)
    for index, experiment in enumerate(experiments):
        by_preset[experiment.name].append(index)
    columns, names = list(range(len(runs))), [path.name for path in paths]
    for preset, indices in by_preset.items():
        if len({experiments[index].training.seed for index in indices}) == len(indices) > 1:
            begin = os.path.commonprefix([paths[index].name for index in indices])
            for index in indices:
                columns[index], names[index] = preset, re.sub(r"[-_. ]*(seed)?[-_. ]*\d*$", "", begin) or preset
    for name, column in zip(names, columns):
        owners[name].add(column)
    return [name if len(owners[name]) == 1 else f"{path.parent.name}/{name}" for name, path in zip(names, paths)]


def evaluate_run(run, data, partition="test", *, seen=(), negatives=None, time_resolution=TIME_RESOLUTION,
                 scores=None, progress=True):
    """Score a run's best epoch on all recordings or clips of a partition, decoded as its tasks say.

    Args:
        run: the run's folder.
        data: folder of a corpus with the run's labels.
        partition: to score.
        seen: of load_seen_combinations; frames of recordings with a combination that is not in it are counted apart.
        negatives: as of evaluate_runs; not for runs on clips.
        time_resolution: as of evaluate_runs.
        scores: as of evaluate_runs; not for runs on clips.
        progress: whether bars are shown.

    Returns:
        evaluation.RunResult, with labels in the corpus's order; for a run on clips it holds one result per task.

    Raises:
        InputError: no trained run, other labels, or unreadable data.

    Example:
        >>> result = ps.evaluate_run("runs/mine", "data", progress=False)
        >>> result.counts.shape == (len(result.mixtures), len(result.labels) + 1, len(result.labels), 3)
        True
    """
    expect(time_resolution > 0, "time_resolution", "seconds above 0", time_resolution)
    experiment = load_run(run)
    source = source_class(experiment)(experiment, data, progress=progress)
    if isinstance(source, ClipSource):
        expect(negatives is None, "negatives", "none for a run on clips", negatives)
        expect(scores is None, "scores", "none for a run on clips", scores)
        return _score_clips(source, run, partition)
    return _score_recordings(source, run, partition, seen, negatives, time_resolution, scores, progress)


def _score_recordings(source, run, partition, seen, negatives, time_resolution, scores, progress):
    experiment, labels = source.experiment, source.dataset.labels
    recordings = source.load(partition, time_resolution)
    others = [] if negatives is None else load_negatives(negatives, labels, experiment.features, time_resolution,
                                                         progress=progress)
    estimates = estimate_recordings(source, run, recordings + others, time_resolution)
    if scores is not None:
        write_run_scores(estimates, [recording.name for recording in recordings + others], labels, time_resolution,
                         scores, system=f"{experiment.name} {experiment.training.seed}")
    references, activities = zip(*((each.reference, each.activity) for each in estimates[:len(recordings)]))
    return RunResult(
        experiment.name, experiment.training.seed, labels, tuple(recording.name for recording in recordings),
        np.stack([frame_counts(*pair) for pair in zip(references, activities)]),
        tuple(count_unseen(each, labels, references, activities) for each in seen),
        alarm_counts=np.stack([count_alarms(each.reference, each.activity, time_resolution) for each in estimates]),
        alarms=tuple(find_posterior_alarms(each.reference, each.posteriors, labels, time_resolution)
                     for each in estimates),
        silent_share=silent_share(recordings, experiment.features.silence))


@dataclasses.dataclass(frozen=True, eq=False)
class Estimate:
    """Reference and estimate of one recording, arrays (frames, labels) in the order of the corpus's labels."""

    reference: np.ndarray
    posteriors: np.ndarray
    activity: np.ndarray


def estimate_recordings(source, run, recordings, time_resolution):
    """Predict recordings with a run's best epoch.

    Args:
        source: training.RecordingSource of the run's Experiment.
        run: the run's folder.
        recordings: list of RecordingFeatures, whose event rolls have rows of `time_resolution`.
        time_resolution: seconds.

    Returns:
        List of Estimate, one per recording.
    """
    experiment, dataset = source.experiment, source.dataset
    labels, tasks, features = task_labels(experiment.tasks), experiment.tasks, experiment.features
    expect(sorted(labels) == sorted(dataset.labels), dataset.folder, f"the labels of {run}, {list(labels)}",
           list(dataset.labels))
    model = load_best_model(experiment, run)
    columns, estimates = [labels.index(label) for label in dataset.labels], []
    for recording in recordings:
        outputs = predict_posteriors(model, recording.log_mel, tasks, experiment.training.segment_frames,
                                     silence=features.silence)
        posteriors = join_label_posteriors(outputs, tasks)
        # the output that is there in the middle of each frame
        middles = (np.arange(len(recording.event_roll)) + 0.5) * time_resolution / experiment.time_resolution
        rows = np.minimum(middles.astype(int), len(posteriors) - 1)
        estimates.append(Estimate(recording.event_roll[:, columns], posteriors[rows][:, columns],
                                   decode_activity(outputs, tasks)[rows][:, columns]))
    return estimates


def _score_clips(source, run, partition):
    experiment, clips, results = source.experiment, source.load(partition), []
    model = load_best_model(experiment, run)
    for task in experiment.tasks:
        activity, posteriors = clips[task.name].activity, predict_clips(model, clips[task.name])[task.name]
        counts = (recognised(activity, task.decode(posteriors)) if task.encoding == "multi_class"
                  else retrieved(activity, task.label_posteriors(posteriors)))
        results.append(TaskResult(experiment.name, experiment.training.seed, task.name, task.encoding, task.labels,
                                  clips[task.name].names, counts))
    return RunResult(experiment.name, experiment.training.seed, tasks=tuple(results))
