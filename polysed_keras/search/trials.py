"""One trial of a search: a training in a process of its own, and the record that it leaves."""
import contextlib
import fcntl
import multiprocessing
import os
import pathlib
import shutil
import sys
import threading
import time
import traceback

import numpy as np

from polysed_keras.errors import InputError
from polysed_keras.files import atomic_directory, read_json, write_json

RESULT, LOG = "result.json", "log.txt"
COMPLETED, FAILED = "completed", "failed"
STARTS = 2  # of a process that is killed: it goes on from its last epoch, once


def run_trial(experiment, data, directory, record, objective, *, last_epoch=None, begin=None):
    """Train an experiment in a process of its own, or go on with it, or read what it has led to already.

    Args:
        experiment: Experiment; data: folder of its corpus.
        directory: the run's folder; result.json and log.txt come beside the run's own files.
        record: dict of what is known of the trial, which its result repeats.
        objective: a column of the history.
        last_epoch: to train until; all epochs by default.
        begin: folder of another trial of the same experiment, with fewer epochs, to go on from; None or missing for none.

    Returns:
        dict: the record, status (`completed` or `failed`), objective (of the best epoch; None where it failed), epochs (of
        the run), seconds (of the process that ended it), reason (why it failed).
    """
    directory = pathlib.Path(directory)
    # an oracle that was restarted may hand out what another worker has not stopped to train
    with locked(directory.with_name(f".{directory.name}.lock")):
        if not (directory / RESULT).exists():
            if begin is not None and pathlib.Path(begin).is_dir() and not directory.exists():
                _copy_run(begin, directory)
            directory.mkdir(parents=True, exist_ok=True)
            _train_apart(experiment, data, directory, record, objective, last_epoch)
        return read_json(directory / RESULT)


def record_failure(directory, record, reason):
    """Leave the result of a trial that cannot be trained; the result."""
    result = record | {"status": FAILED, "objective": None, "epochs": 0, "seconds": 0.0, "reason": reason}
    write_json(result, pathlib.Path(directory) / RESULT)
    return result


@contextlib.contextmanager
def locked(path, busy=None):
    """Hold a file locked while the block runs. However the process ends, the system unlocks it.

    Raises:
        InputError: another process holds it and there is a text `busy`; without one, it is waited for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError as error:
            raise InputError(busy) from error
        yield


def start_process(target, *arguments):
    """Start a Python process that ends with this one, even where this one is killed; a multiprocessing.Process.

    It is spawned, not forked: TensorFlow's threads do not survive a fork, and a fresh process gives all memory back.
    """
    process = multiprocessing.get_context("spawn").Process(target=_run_child, args=(target, *arguments))
    process.start()
    return process


def _run_child(target, *arguments):
    def end_with_parent():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        target(*arguments)
    except KeyboardInterrupt:
        sys.exit(130)


def _copy_run(source, directory):
    with atomic_directory(directory) as temporary:
        shutil.copytree(source, temporary, dirs_exist_ok=True, ignore=shutil.ignore_patterns(RESULT, LOG))


def _train_apart(experiment, data, directory, record, objective, last_epoch):
    """A process a trial: what Keras and TensorFlow keep of a network is gone with it, and a crash stops nothing else."""
    for _ in range(STARTS):
        process = start_process(_train, experiment, data, directory, record, objective, last_epoch)
        try:
            process.join()
        finally:
            process.kill()  # where waiting was interrupted
            process.join()
        exit_code = process.exitcode
        process.close()
        if (directory / RESULT).exists():
            return
    died = f"was killed by signal {-exit_code}" if exit_code < 0 else f"ended with exit code {exit_code}"
    record_failure(directory, record, f"its process {died}, {STARTS} times; out of memory? See {LOG}")


def _train(experiment, data, directory, record, objective, last_epoch):
    _print_to(directory / LOG)
    begin = time.monotonic()
    try:
        from polysed_keras.training import run_experiment  # TensorFlow's messages go to the log, too
        history = run_experiment(experiment, data, directory, resume=True, progress=False, last_epoch=last_epoch)
        reason = _not_finite(history, experiment.measure, objective)
    except Exception as error:  # whatever a combination of values leads to is the matter of this trial only
        traceback.print_exc()
        history, reason = [], _reason(error)
    best = None if reason else float(history.loc[history[experiment.measure].idxmax(), objective])
    write_json(record | {"status": FAILED if reason else COMPLETED, "objective": best, "epochs": len(history),
                         "seconds": round(time.monotonic() - begin, 1), "reason": reason}, directory / RESULT)


def _print_to(path):
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)


def _not_finite(history, measure, objective):
    """What is NaN or infinite first in a history, among losses and what decides; empty where nothing is."""
    columns = [column for column in history if column.endswith("loss") or column in (measure, objective)]
    bad = ~np.isfinite(history[columns])
    if not bad.to_numpy().any():
        return ""
    row = bad.any(axis=1).to_numpy().argmax()
    column = columns[bad.iloc[row].to_numpy().argmax()]
    return f"{column} is {history[column].iloc[row]} in epoch {int(history['epoch'].iloc[row])}"


def _reason(error):
    text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:500]
