"""From an Experiment and a data folder to a run's folder, and back."""
import dataclasses
import functools
import logging
import pathlib
import shutil

import pandas as pd

from polysed_keras.datasets import content_digest
from polysed_keras.errors import InputError, expect
from polysed_keras.files import (
    as_type,
    atomic_file,
    file_digest,
    locked,
    path_inside,
    read_json,
    write_json,
)
from polysed_keras.specs import DATA_DIGEST, EXPERIMENT, PLUGINS, RUN_KEYS, Experiment, load_plugin
from polysed_keras.training.checkpoints import BEST_WEIGHTS, STATE, read_history
from polysed_keras.training.fit import fit_model, load_best_model
from polysed_keras.training.recordings import check_service, from_service
from polysed_keras.training.sources import source_class

logger = logging.getLogger(__name__)


def run_experiment(experiment, data, run, *, mixing=None, pretrained=None, plugins=(), resume=False, progress=True,
                   last_epoch=None, data_service=None, **runtime):
    """Train an experiment on a corpus; the run's folder holds all that evaluation and export need.

    Args:
        experiment: Experiment, such as a preset; its tasks are resolved with the labels of the data.
        data: folder of the corpus.
        run: the run's folder.
        mixing: training.Mixing, to draw training mixtures anew every epoch in place of the corpus's.
        pretrained: folder of a run whose weights the network begins with, except for those of tasks that it lacks.
        plugins: paths of the plug-in files that the experiment needs. They are copied into the run's folder, and run
            whenever the run is loaded.
        resume: go on from the last finished epoch of the same experiment.
        progress: whether bars and a line per epoch are shown.
        last_epoch: stop after this epoch, as if interrupted; None trains all.
        data_service: HOST:PORT of a dispatcher of tf.data's service, whose workers make the batches; None makes them
            here.
        runtime: `jit_compile` and `strategy` of training.fit_model.

    Returns:
        DataFrame of the history, a row per epoch.

    Raises:
        InputError: anything wrong with data, labels, decomposition or folder, before the training begins.

    Example:
        >>> history = ps.run_experiment(ps.get_preset("multilabel_small"), "data", "runs/new", progress=False)
        >>> "val_f1" in history
        True
    """
    expect(experiment.learns, "preset", "one that is trained", experiment.name,
           "Export it as it is: polysed export yamnet_audioset --out saved_models/yamnet_audioset.")
    if data_service:
        by_python = experiment.clip_level or experiment.model.freeze_backbone or mixing  # which no worker runs
        expect(not by_python, "--data-service", "a preset of recordings that is not pretrained, and no new mixtures "
               "every epoch", experiment.name)
        check_service(data_service)
    # Reports tell runs apart by their names.
    name = [experiment.name, *([mixing.name] if mixing else []), *(["pre-trained"] if pretrained else [])]
    experiment, extra, begin = dataclasses.replace(experiment, name=" ".join(name)), {}, None
    for path in plugins:
        load_plugin(path)
    extra |= plugin_digests(plugins)
    if pretrained:
        other = load_run(pretrained)
        begin = load_best_model(other, pretrained), other.tasks
        extra["pretrained"] = file_digest(pathlib.Path(pretrained) / BEST_WEIGHTS)
    if mixing:
        extra["mixing"] = mixing.to_dict()
    source = source_class(experiment)(experiment, data, mixing, progress)
    experiment = source.experiment
    with locked(run):
        extra[DATA_DIGEST] = content_digest(*source.datasets, sounds=source.sounds, progress=progress)
        _prepare_folder(experiment, extra, run, resume)
        copy_plugins(plugins, run)
        history = read_history(run) if resume else []
        if len(history) >= (last_epoch or experiment.training.epochs):
            return pd.DataFrame(history)
        recordings, validation = source.load_training(run, resume=resume), source.load("validate")
        feed = functools.partial(source.feed, experiment, recordings, validation, progress=progress,
                                 cache=source.datasets[0].folder / "features")
        if data_service:
            feed = _served(feed, data_service)
        return fit_model(experiment, feed, run, history=history, last_epoch=last_epoch, pretrained=begin,
                         progress=progress, **runtime)


def _served(feed, address):
    """Return a function as `feed` whose batches the workers of tf.data's service make."""
    def served(done):
        made = feed(done)
        return dataclasses.replace(made, dataset=from_service(made.dataset, address))

    return served


def _prepare_folder(experiment, extra, run, resume):
    path, content = pathlib.Path(run) / EXPERIMENT, experiment.to_dict() | extra
    if path.exists():
        if not resume and (path.parent / STATE).exists():
            raise InputError(f"{run}: holds a run already. Add --resume to go on with it, or choose another folder.")
        stored, digest = read_json(path, dict), content[DATA_DIGEST]
        lists = digest.partition("-")[0]
        known = stored.setdefault(DATA_DIGEST, "")
        if known in ("", lists):  # Runs of version 0.1 have none, and later ones had one without the audio.
            if resume:
                logger.warning("%s: does not say what its audio was, because an older version trained it. The audio of "
                               "the data is taken for the same. If it was replaced since, train anew in another "
                               "folder.", run)
            stored[DATA_DIGEST] = digest
        # Older runs lack the fields that have been added since.
        stored |= Experiment.from_dict({key: stored[key] for key in experiment.to_dict() if key in stored}).to_dict()
        if resume and stored != content:
            differing = sorted(key for key in stored | content if stored.get(key) != content.get(key))
            if DATA_DIGEST in differing and str(known).startswith(lists):
                differing[differing.index(DATA_DIGEST)] = f"the audio of {DATA_DIGEST}"
            raise InputError(f"{run}: holds another experiment than asked for ({stored.get('name')}; {EXPERIMENT} "
                             f"differs in {', '.join(differing)}). Resume with the same preset, --set values, data "
                             "(labels, partitions, annotations, audio) and pre-training, or choose another folder.")
    write_json(content, path, sealed=True)


def plugin_digests(paths):
    """Return what experiment.json says of plug-ins: {"plugins": {file name: digest}}, or {} of none.

    Raises:
        InputError: two files have one name.
    """
    digests = {pathlib.Path(path).name: file_digest(path) for path in paths}
    expect(len(digests) == len(paths), "plugins", "files with different names", list(map(str, paths)))
    return {PLUGINS: digests} if digests else {}


def run_plugins(run):
    """Return the paths of the plug-ins that a run's folder holds; none of another folder, such as an export's."""
    return sorted(pathlib.Path(run, PLUGINS).glob("*.py")) if pathlib.Path(run, EXPERIMENT).is_file() else []


def copy_plugins(paths, run):
    """Copy plug-ins into a run's folder, so that it can be loaded without the originals."""
    for path in paths:
        with atomic_file(pathlib.Path(run, PLUGINS, pathlib.Path(path).name)) as temporary:
            shutil.copyfile(path, temporary)


def load_run(run):
    """Return the Experiment of a run.

    A run that was trained with plug-ins holds their code, which this function runs: load only runs that you trust.

    Args:
        run: the run's folder.

    Raises:
        InputError: the folder holds no run, or a plug-in that is missing or was changed.
    """
    path = pathlib.Path(run) / EXPERIMENT
    if not path.is_file():
        raise InputError(f"{run}: expected the folder of a run, with {EXPERIMENT}. Received: none there. "
                         "Train one first: polysed train PRESET --data DATA --out RUN.")
    content = read_json(path, dict)
    for name, digest in as_type(content.get(PLUGINS, {}), dict[str, str], f"{path}: {PLUGINS}").items():
        plugin = path_inside(path.parent / PLUGINS, name, path)
        expect(not plugin.is_file() or file_digest(plugin) == digest, str(plugin),
               f"the plug-in that {EXPERIMENT} has the digest of", "another", "Bring it back from a copy.")
        load_plugin(plugin)
    return Experiment.from_dict({key: value for key, value in content.items()
                                 if key not in RUN_KEYS})
