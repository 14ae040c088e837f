"""Run or resume a search of hyperparameters by KerasTuner's oracles on several workers, and export its best trial."""
import concurrent.futures
import functools
import logging
import os
import pathlib
import threading
import time

import grpc
import keras_tuner
import numpy as np
from keras_tuner import oracles
from keras_tuner.src.distribute.oracle_chief import start_server
from keras_tuner.src.distribute.oracle_client import OracleClient

from polysed_keras.datasets import content_digest, load_clips, load_dataset
from polysed_keras.errors import InputError
from polysed_keras.export import export_run
from polysed_keras.files import check_writable, locked, read_json, write_json
from polysed_keras.search.report import (
    TRIALS,
    best_experiment,
    best_trial,
    format_progress,
    read_trials,
    write_report,
    write_table,
)
from polysed_keras.search.space import HYPERBAND_FACTOR, apply_values, hyperband_iteration, suggest
from polysed_keras.search.trials import COMPLETED, record_failure, run_trial
from polysed_keras.specs import DATA_DIGEST, set_fields

SEARCH = "search.json"
IDLE_SECONDS = 1.0
# KerasTuner's environment variables: the name of this process, and the address where the chief listens.
TUNER_ID, ORACLE_IP, ORACLE_PORT = "KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"
logger = logging.getLogger(__name__)


def run_search(search, data, out, *, workers=1, progress=True):
    """Run a search, or resume it: the trials that its folder holds are not trained again.

    The environment's KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT make this process the chief
    ("chief" is in its id), which holds the oracle and trains nothing, or one of its workers, which may run on other
    machines that see the same folders.

    Args:
        search: Search, from read_search.
        data: folder of the corpus.
        out: folder for trials/ (one run per trial), oracle/, tensorboard/, trials.csv, trials.png, best.json.
        workers: number of trials that train side by side on this machine.
        progress: whether a line is printed after each trial.

    Returns:
        DataFrame of the trials, as read_trials returns it; None if this process is a worker of a chief.

    Raises:
        InputError: the data are unusable; the folder holds another search, or one that still runs; all trials failed;
            no chief answers.

    Example:
        >>> table = run_search(read_search("tuning/mcmt_small.json"), "data/esc10", "searches/mcmt", workers=2)
    """
    here, out = role(), pathlib.Path(out)
    if workers < 1 or (workers > 1 and here):
        raise InputError(f"--workers: expected at least 1, and no more where {TUNER_ID} is set. Received: {workers}.")
    check_writable(out)
    train = functools.partial(train_trial, search, data, out)
    if here == "worker":
        try:
            run_trials(OracleClient(None), [os.environ[TUNER_ID]], train, search.objective)
        except grpc.RpcError as error:
            raise InputError(f"{os.environ[ORACLE_IP]}:{os.environ[ORACLE_PORT]}: expected the chief of the search. "
                             f"Received: {error.code().name}. Start it, then this worker again under the same "
                             f"{TUNER_ID}.") from error
        return None
    with locked(out):
        # without data every trial would fail, one by one
        if search.experiment.clip_level:
            datasets = load_clips(data, search.experiment.dataset).values()
        else:
            datasets = [load_dataset(data, search.experiment.dataset)]
        _check_same(search, data, content_digest(*datasets, progress=progress), out)
        oracle = make_oracle(search, out)

        def report():
            table = read_trials(search, out)
            if len(table):
                write_table(search, table, out)
                if progress:
                    print(format_progress(search, table, max(len(oracle.tuner_ids), 1)))

        report()  # on the trials of earlier runs
        oracle.report = report
        if here == "chief":
            start_server(oracle)
        else:
            if workers > 1:  # they share a GPU
                os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
            run_trials(oracle, [f"worker{index}" for index in range(workers)], train, search.objective)
        table = read_trials(search, out)
        write_report(search, table, out)
        return table


def role():
    """Return what the environment makes of this process: `chief`, `worker`, or None if it says nothing."""
    if not os.environ.get(ORACLE_IP):
        return None
    for name in (TUNER_ID, ORACLE_PORT):
        if not os.environ.get(name):
            raise InputError(f"{name}: expected to be set, as {ORACLE_IP} is. Received: nothing. Set all three, or "
                             "none.")
    return "chief" if "chief" in os.environ[TUNER_ID] else "worker"


def run_trials(oracle, names, train, objective):
    """Train the trials that an oracle hands out, one per worker at a time, until it has no more.

    Each worker is a thread that waits for its trial's process; this thread alone talks to the oracle. KerasTuner's own
    loop (BaseTuner.search) trains one trial at a time, and takes any error, such as a full disk, for a failed trial.

    Args:
        oracle: from make_oracle, or KerasTuner's client of an oracle in another process.
        names: the workers' names; a worker that is restarted under its name gets its trial again.
        train: function of a KerasTuner trial and a threading.Event, set to end it, that returns the trial's result.
        objective: the name under which the oracle is told a trial's objective.
    """
    stop, free, running = threading.Event(), list(names), {}
    with concurrent.futures.ThreadPoolExecutor(len(free)) as pool:
        try:
            while free or running:
                for name in list(free):
                    trial = oracle.create_trial(name)
                    if trial.status == "RUNNING":
                        running[pool.submit(train, trial, stop)] = name, trial
                    if trial.status != "IDLE":  # hyperband waits for the end of a round
                        free.remove(name)
                if not running and free:
                    time.sleep(IDLE_SECONDS)
                for future in concurrent.futures.wait(running, return_when="FIRST_COMPLETED").done:
                    name, trial = running.pop(future)
                    result = future.result()
                    if result["status"] == COMPLETED:
                        oracle.update_trial(trial.trial_id, {objective: result["objective"]})
                    trial.status, trial.message = result["status"].upper(), result["reason"]
                    oracle.end_trial(trial)
                    free.append(name)
        finally:
            stop.set()  # after Ctrl-C or an error the processes of other trials end, and the same command goes on


def train_trial(search, data, out, trial, stop):
    """Train a trial of KerasTuner's in OUT/trials and return its result, as run_trial does."""
    drawn = trial.hyperparameters.values
    last_epoch, first_epoch = drawn.get("tuner/epochs"), drawn.get("tuner/initial_epoch", 0)  # hyperband's
    record = {"trial": int(trial.trial_id), "values": suggest(trial.hyperparameters, search.experiment, search.ranges),
              "planned": (last_epoch or search.epochs) - first_epoch}
    run, begin = out / TRIALS / str(record["trial"]), drawn.get("tuner/trial_id")
    try:
        experiment = apply_values(search.experiment, record["values"])
    except InputError as error:
        return record_failure(run, record, str(error))
    return run_trial(experiment, data, run, record, search.objective, last_epoch=last_epoch,
                     begin=begin and out / TRIALS / str(int(begin)), stop=stop)


def _check_same(search, data, digest, out):
    """Check that a folder's search is this one, which may have more trials than it had, and data in another place."""
    content = search.to_dict() | {"data": str(pathlib.Path(data).resolve()), DATA_DIGEST: digest,
                                  "experiment": search.experiment.to_dict()}
    path = out / SEARCH
    stored = read_json(path, dict) if path.exists() else content
    if DATA_DIGEST not in stored:
        logger.warning("%s: does not say what its data were, because an older version wrote it. Those in the same "
                       "folder are taken for the same. If they were changed since, choose another folder.", path)
    free = {"trials", "data" if DATA_DIGEST in stored else DATA_DIGEST}
    for key in content:
        if key not in free and stored.get(key) != content[key]:
            what = "data (labels, partitions, annotations, audio)" if key == DATA_DIGEST else key
            raise InputError(f"{path}: expected the same search of the same data. Received: another {what}. Choose "
                             "another folder.")
    write_json(content, path, versioned=True)


def export_best(search, data, out, *, progress=True):
    """Train the best trial's Experiment with all seeds of a search, in OUT/best, and export the best of these runs.

    Args:
        search: Search, which run_search has run.
        data: folder of the corpus.
        out: folder of the search.
        progress: whether a line is printed after each training.

    Returns:
        the folder of the new version, in OUT/saved_models/NAME.

    Raises:
        InputError: all trials, or all of these trainings, failed.
    """
    out = pathlib.Path(out)
    table = read_trials(search, out)
    experiment, results = best_experiment(search, table), {}
    best = best_trial(search, table)
    trial = int(best["trial"])
    record = {"trial": trial, "values": best["values"], "planned": search.epochs}
    for seed in search.seeds:
        run = out / "best" / f"seed{seed}"
        result = run_trial(set_fields(experiment, [f"training.seed={seed}"]), data, run, record | {"seed": seed},
                           search.objective, begin=out / TRIALS / str(trial) if seed == search.seeds[0] else None)
        if result["status"] == COMPLETED:
            results[run] = result["objective"]
        if progress:
            print(f"{run}: {result['status']}, {search.objective} {result['objective']}{result['reason']}")
    if not results:
        raise InputError(f"{out / 'best'}: expected a training that succeeds. Received: none; see log.txt in its runs.")
    choose = max if search.direction == "max" else min
    return export_run(choose(results, key=results.get), out / "saved_models" / search.name)


class _Durable:
    """Mixin that lets oracles of KerasTuner 1.4 survive a kill at any moment: atomic saves and a consistent reload.

    KerasTuner overwrites the files of its oracles in place. It stores a trial before the state that knows the trial, so
    that a process killed in between leaves a trial that nobody runs; and the state that it stores when a trial ends
    still counts the trial among the running ones.
    """

    report = None  # function without arguments that is called after the end of each trial

    def save(self):
        write_json(self.get_state(), self._get_oracle_fname())

    def _save_trial(self, trial):
        write_json(trial.get_state(), pathlib.Path(self._get_trial_dir(trial.trial_id)) / "trial.json")

    def end_trial(self, trial):
        # after a restart of the chief, a worker may end a trial that waits to be handed out again
        self._retry_queue = [trial_id for trial_id in self._retry_queue if trial_id != trial.trial_id]
        super().end_trial(trial)
        if self.report:
            self.report()

    def reload(self):
        super().reload()
        self.trials = {trial_id: self.trials[trial_id] for trial_id in self.start_order}
        self._retry_queue = [trial_id for trial_id in self._retry_queue if self.trials[trial_id].status == "RUNNING"]


class _Random(_Durable, oracles.RandomSearchOracle):
    pass


class _Hyperband(_Durable, oracles.HyperbandOracle):
    pass


class _Bayesian(_Durable, oracles.BayesianOptimizationOracle):
    """The oracle by Gaussian processes, whose random state survives a reload and which proposes nothing twice."""

    def populate_space(self, trial_id):
        response = super().populate_space(trial_id)
        if response["status"] == "RUNNING" and self._duplicate(response["values"]):
            return self._random_populate_space()
        return response

    def get_state(self):
        name, keys, *rest = self._random_state.get_state()
        return super().get_state() | {"random_state": [name, keys.tolist(), *rest]}

    def set_state(self, state):
        super().set_state(state)
        name, keys, *rest = state["random_state"]
        self._random_state.set_state((name, np.array(keys, np.uint32), *rest))


def make_oracle(search, out):
    """Return the KerasTuner oracle of a search, as an earlier run left it in OUT/oracle, or a new one."""
    space = keras_tuner.HyperParameters()
    suggest(space, search.experiment, search.ranges)
    # KerasTuner takes the seed 0 for none; a trial that fails would fail again, and stops nothing
    common = {"objective": keras_tuner.Objective(search.objective, search.direction), "hyperparameters": space,
              "seed": search.seeds[0] + 1, "max_retries_per_trial": 0, "max_consecutive_failed_trials": None}
    if search.algorithm == "hyperband":
        oracle = _Hyperband(max_epochs=search.epochs, factor=HYPERBAND_FACTOR, **common)
    else:
        oracle = {"random": _Random, "bayesian": _Bayesian}[search.algorithm](max_trials=search.trials, **common)
    oracle.verbose = 0
    oracle._max_collisions = 1000  # KerasTuner takes a space for exhausted after 20 draws of what was tried
    oracle._set_project_dir(str(out), "oracle")
    if (pathlib.Path(out) / "oracle" / "oracle.json").exists():
        oracle.reload()
    if search.algorithm == "hyperband":  # a search may be resumed with more trials than it had
        oracle.hyperband_iterations = search.trials // len(hyperband_iteration(search.epochs))
    return oracle
