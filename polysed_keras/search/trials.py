"""One trial of a search: a training in a process of its own that leaves result.json in its run folder."""
import concurrent.futures
import contextlib
import multiprocessing.connection
import os
import pathlib
import shutil
import sys
import threading
import time
import traceback
import typing

import filelock
import numpy as np

from polysed_keras.errors import InputError
from polysed_keras.files import atomic_directory, lock_file, read_json, write_json

TRIAL_RESULT, LOG = "result.json", "log.txt"
COMPLETED, FAILED = "completed", "failed"
STARTS = 2  # a trial's process that was killed is started once more, and goes on from its last epoch
POLL_SECONDS = 0.2
NEVER = threading.Event()
# Starting a process also collects the exit codes of others, and one code must not be collected by two threads.
_COLLECTING = threading.Lock()


class Result(typing.TypedDict):
    """The content of a trial's result.json."""

    trial: int
    seed: typing.NotRequired[int]  # of a training of the best trial
    values: dict[str, typing.Any]
    planned: int
    status: str
    objective: float | None
    epochs: int
    seconds: float
    reason: str


def run_trial(experiment, data, run, record, objective, *, last_epoch=None, begin=None, stop=NEVER):
    """Train an experiment in a process of its own, go on with it, or read the result that is there already.

    Args:
        experiment: Experiment.
        data: folder of its corpus.
        run: the run's folder, to which result.json and log.txt are added.
        record: dict of what is known about the trial; the result repeats it.
        objective: a column of the history.
        last_epoch: the epoch to train until; all epochs by default.
        begin: folder of another trial of the same experiment, with fewer epochs, to go on from; it may be missing.
        stop: threading.Event; when another thread sets it, the process is killed and CancelledError is raised.

    Returns:
        dict: the record, status (`completed` or `failed`), objective (the value of the best epoch; None if it failed),
        epochs (of the run), seconds (of the process that ended it), reason (why it failed).
    """
    run = pathlib.Path(run)
    # an oracle that was restarted may hand out a trial that another worker has not stopped to train
    with _alone_with(run.with_name(f".{run.name}.lock"), stop):
        if not (run / TRIAL_RESULT).exists():
            if begin is not None and pathlib.Path(begin).is_dir() and not run.exists():
                others = shutil.ignore_patterns(TRIAL_RESULT, LOG)
                with atomic_directory(run) as temporary:
                    shutil.copytree(begin, temporary, dirs_exist_ok=True, ignore=others)
            run.mkdir(parents=True, exist_ok=True)
            _train_apart(experiment, data, run, record, objective, last_epoch, stop)
        return read_result(run / TRIAL_RESULT)


def read_result(path):
    """Return the result of a trial, as of run_trial. Raises InputError if the file is broken."""
    return read_json(path, Result)


def record_failure(run, record, reason):
    """Write and return the result of a trial that cannot be trained."""
    result = record | {"status": FAILED, "objective": None, "epochs": 0, "seconds": 0.0, "reason": reason}
    write_json(result, pathlib.Path(run) / TRIAL_RESULT, versioned=True)
    return result


@contextlib.contextmanager
def _alone_with(path, stop):
    """Hold the lock of a file while the block runs; wait for it until the threading.Event `stop` is set."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(lock_file(path))
                break
            except filelock.Timeout as error:
                if stop.wait(POLL_SECONDS):
                    raise concurrent.futures.CancelledError from error
        yield


def start_process(target, *arguments):
    """Start and return a multiprocessing.Process that ends when this process ends, even if this one is killed.

    It is spawned, not forked: TensorFlow's threads do not survive a fork, and a fresh process gives all memory back.
    """
    process = multiprocessing.get_context("spawn").Process(target=_run_child, args=(target, *arguments))
    with _COLLECTING:
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


def _train_apart(experiment, data, run, record, objective, last_epoch, stop):
    """Train in a process of its own, so that a crash stops nothing else and TensorFlow's memory is given back."""
    for _ in range(STARTS):
        process = start_process(_train, experiment, data, run, record, objective, last_epoch)
        try:
            while not (multiprocessing.connection.wait([process.sentinel], POLL_SECONDS) or stop.is_set()):
                pass
        finally:
            with _COLLECTING:
                process.kill()  # if waiting was interrupted or stopped
                process.join()
                exit_code = process.exitcode
                process.close()
        if (run / TRIAL_RESULT).exists():
            return
        if stop.is_set():  # Ctrl-C ends the trial's process as well: that is no failure
            raise concurrent.futures.CancelledError
    died = f"was killed by signal {-exit_code}" if exit_code < 0 else f"ended with exit code {exit_code}"
    record_failure(run, record, f"its process {died}, {STARTS} times; out of memory? See {LOG}")


def _train(experiment, data, run, record, objective, last_epoch):
    _print_to(run / LOG)
    begin = time.monotonic()
    try:
        from polysed_keras.training import run_experiment  # here, so that TensorFlow's messages go to the log, too
        history = run_experiment(experiment, data, run, resume=True, progress=False, last_epoch=last_epoch)
        reason = _not_finite(history, experiment.measure, objective)
    except Exception as error:  # whatever a combination of values leads to fails this trial only
        traceback.print_exc()
        text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        history, reason = [], " ".join(text.split())[:500]
    best = None if reason else float(history.loc[history[experiment.measure].idxmax(), objective])
    write_json(record | {"status": FAILED if reason else COMPLETED, "objective": best, "epochs": len(history),
                         "seconds": round(time.monotonic() - begin, 1), "reason": reason}, run / TRIAL_RESULT,
               versioned=True)


def _print_to(path):
    for descriptor in (1, 2):  # standard output and error, of libraries in C++ as well
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), descriptor)


def _not_finite(history, measure, objective):
    """Name the first NaN or infinity of a history's losses, measure and objective; "" if there is none."""
    columns = [column for column in history if column.endswith("loss") or column in (measure, objective)]
    bad = ~np.isfinite(history[columns])
    if not bad.to_numpy().any():
        return ""
    row = bad.any(axis=1).to_numpy().argmax()
    column = columns[bad.iloc[row].to_numpy().argmax()]
    return f"{column} is {history[column].iloc[row]} in epoch {int(history['epoch'].iloc[row])}"
