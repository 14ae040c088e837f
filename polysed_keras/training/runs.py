"""From an Experiment and a data folder to a run folder."""
import dataclasses
import pathlib
import shutil

import pandas as pd

from polysed_keras.datasets import content_digest, joint_frames, load_clips, load_dataset
from polysed_keras.errors import InputError, expect
from polysed_keras.files import atomic_file, file_digest, read_json, write_json
from polysed_keras.specs import (
    DATA_DIGEST,
    Decomposition,
    Experiment,
    cooccurrence,
    load_plugin,
    resolve_tasks,
    task_labels,
)
from polysed_keras.training.checkpoints import BEST_WEIGHTS, EXPERIMENT, STATE, read_history
from polysed_keras.training.clips import load_clip_features
from polysed_keras.training.fit import fit_model, load_best_model
from polysed_keras.training.fresh_mixtures import fresh_recordings
from polysed_keras.training.recordings import load_recordings
from polysed_keras.training.seen import COMBINATIONS, record_combinations

PLUGINS = "plugins"  # folder of a run with its plug-ins, and key of experiment.json with their {file name: digest}


def _prepare_directory(experiment, extra, directory, resume):
    path, content = pathlib.Path(directory) / EXPERIMENT, experiment.to_dict() | extra
    if path.exists():
        if not resume and (path.parent / STATE).exists():
            raise InputError(f"{directory}: holds a run already. Add --resume to go on with it, or choose another folder.")
        stored = {DATA_DIGEST: content[DATA_DIGEST]} | read_json(path)  # runs of version 0.1 do not know their data
        if resume and stored != content:
            differing = sorted(key for key in stored | content if stored.get(key) != content.get(key))
            raise InputError(f"{directory}: holds another experiment than asked for ({stored.get('name')}; {EXPERIMENT} differs "
                             f"in {', '.join(differing)}). Resume with the same preset, --set values, data (labels, "
                             "partitions, annotations) and pre-training, or choose another folder.")
    write_json(content, path)


def _copy_plugins(paths, directory):
    """Copy plug-ins into a run's folder, so that it can be loaded without them."""
    for path in paths:
        with atomic_file(pathlib.Path(directory, PLUGINS, pathlib.Path(path).name)) as temporary:
            shutil.copyfile(path, temporary)


def run_experiment(experiment, data, directory, *, mixing=None, pretrained=None, plugins=(), resume=False, progress=True,
                   last_epoch=None, **runtime):
    """Train an experiment on a corpus; the run's folder holds all that evaluate and export need.

    Args:
        experiment: Experiment, such as a preset; its tasks are resolved with the labels of the data.
        data: folder of the corpus.
        directory: the run's folder.
        mixing: training.Mixing, for training mixtures that are drawn anew every epoch in place of the corpus's.
        pretrained: folder of a run whose weights the network begins with, but for those of its tasks.
        plugins: paths of the plug-in files that the experiment needs. They are copied into the run's folder, and run
            whenever the run is loaded.
        resume: go on from the last finished epoch of the same experiment.
        last_epoch, and runtime (jit_compile, strategy): as in training.fit_model.

    Returns:
        DataFrame of the history, a row an epoch.

    Raises:
        InputError: anything wrong with data, labels, decomposition or folder, before the training begins.
    """
    # reports tell runs apart by their names
    name = [experiment.name, *([mixing.name] if mixing else []), *(["pre-trained"] if pretrained else [])]
    experiment, extra, network = dataclasses.replace(experiment, name=" ".join(name)), {}, None
    for path in plugins:
        load_plugin(path)
    if plugins:
        extra[PLUGINS] = {pathlib.Path(path).name: file_digest(path) for path in plugins}
        expect(len(extra[PLUGINS]) == len(plugins), "plugins", "files with different names", list(map(str, plugins)))
    if pretrained:
        network = load_best_model(load_run(pretrained), pretrained)
        extra["pretrained"] = file_digest(pathlib.Path(pretrained) / BEST_WEIGHTS)
    if mixing:
        extra["mixing"] = mixing.to_dict()
    prepare = clip_data if experiment.clip_level else recording_data
    experiment, datasets, load = prepare(experiment, data, mixing, progress)
    _prepare_directory(experiment, extra | {DATA_DIGEST: content_digest(*datasets)}, directory, resume)
    _copy_plugins(plugins, directory)
    history = read_history(directory) if resume else []
    if len(history) >= (last_epoch or experiment.training.epochs):
        return pd.DataFrame(history)
    recordings = load("train")
    if not experiment.clip_level:
        combinations = pathlib.Path(directory) / COMBINATIONS
        recordings = record_combinations(recordings, experiment.tasks, combinations, resume=resume)
    return fit_model(experiment, recordings, load("validate"), directory, history=history, progress=progress,
                     pretrained=network, last_epoch=last_epoch, **runtime)


def recording_data(experiment, data, mixing, progress):
    """The experiment with its tasks resolved, its corpora, and a function that loads a partition."""
    dataset = load_dataset(data, experiment.dataset)
    affinity = label_affinity(experiment.tasks, dataset)
    experiment = dataclasses.replace(experiment, tasks=resolve_tasks(experiment.tasks, dataset.labels, affinity))
    draw = fresh_recordings(mixing, dataset, experiment) if mixing else None

    def load(partition):
        if draw and partition == "train":
            return draw
        return load_recordings(dataset, partition, task_labels(experiment.tasks), experiment.features, progress=progress)

    return experiment, [dataset], load


def label_affinity(tasks, dataset):
    """The affinity of labels that a Decomposition's strategy groups them by; None where it takes none.

    Args:
        tasks: Decomposition, or a tuple of Task.
        dataset: datasets.Dataset; labels that sound together are those of its training annotations.

    Raises:
        InputError: the strategy `confusion`, whose groups are made from a run by evaluation.find_groups; no annotated
            events.
    """
    strategy = tasks.strategy if isinstance(tasks, Decomposition) and tasks.groups is None else None
    if strategy in ("cooccurrence", "anti_cooccurrence"):
        return cooccurrence(joint_frames(dataset, "train"))
    if strategy == "confusion":
        raise InputError("strategy: 'confusion' needs the errors of a trained run. Received: none. Make groups by "
                         f"polysed decompose {dataset.folder} --num-tasks N --strategy confusion --run RUN --out "
                         "groups.json, and train with --set tasks.groups=groups.json.")
    return None


def clip_data(experiment, data, mixing, progress):
    """As recording_data, for corpora of clips."""
    if mixing:
        raise InputError(f"--soundbank: expected a preset of recordings. Received: {experiment.name}, a preset of clips. "
                         "Make a corpus of clips by polysed standin.")
    datasets = load_clips(data, experiment.dataset)
    labels = {name: dataset.labels for name, dataset in datasets.items()}
    experiment = dataclasses.replace(experiment, tasks=resolve_tasks(experiment.tasks, labels))
    for task in experiment.tasks:
        unknown = sorted(set(task.labels) - set(labels[task.name]))
        if unknown:
            raise InputError(f"{datasets[task.name].folder}: expected the labels of task {task.name}. Received a corpus "
                             f"without {', '.join(unknown)}.")

    def load(partition):
        return {task.name: load_clip_features(
            datasets[task.name], partition, task.labels, experiment.features, experiment.training.segment_frames,
            hours=experiment.training.event_hours if partition == "train" and task.name == "events" else None,
            seed=experiment.training.seed, progress=progress) for task in experiment.tasks}

    return experiment, datasets.values(), load


def load_run(directory):
    """The Experiment of a run's folder. Raises InputError where the folder holds no run.

    A run that was trained with plug-ins holds their code, which this function runs: load only runs that you trust.
    """
    path = pathlib.Path(directory) / EXPERIMENT
    if not path.is_file():
        raise InputError(f"{directory}: expected the folder of a run, with {EXPERIMENT}. Received: none there. "
                         "Train one first: polysed train PRESET --data DATA --out RUN.")
    content = read_json(path)
    for name in content.get(PLUGINS, ()):
        load_plugin(path.parent / PLUGINS / name)
    return Experiment.from_dict({key: value for key, value in content.items()
                                 if key not in (DATA_DIGEST, "mixing", "pretrained", PLUGINS)})
