"""The workers of a search: one in the oracle's own process, or several that ask it by KerasTuner's chief/worker protocol."""
import contextlib
import multiprocessing.connection
import os
import socket
import threading
import time

import grpc
from keras_tuner.src.distribute.oracle_chief import start_server
from keras_tuner.src.distribute.oracle_client import OracleClient

from polysed_keras.errors import InputError
from polysed_keras.search.trials import COMPLETED, start_process

IDLE_SECONDS = 1.0
MAX_DEATHS = 3  # of workers: their trials go on in new ones
# Who this process is, and where the chief listens.
TUNER_ID, ORACLE_IP, ORACLE_PORT = "KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"


def role():
    """What the environment makes of this process: `chief`, which has the oracle, `worker`, or None where it says nothing.

    Raises:
        InputError: one of KerasTuner's three variables is set and another is not.
    """
    if not os.environ.get(ORACLE_IP):
        return None
    missing = [name for name in (TUNER_ID, ORACLE_PORT) if not os.environ.get(name)]
    if missing:
        raise InputError(f"{missing[0]}: expected to be set, as {ORACLE_IP} is. Received: nothing. Set all three, or none.")
    return "chief" if "chief" in os.environ[TUNER_ID] else "worker"


def run_worker(oracle, tuner_id, train, objective):
    """Train what an oracle hands out until it has no more.

    Args:
        oracle: of make_oracle, or KerasTuner's client of one in another process.
        tuner_id: the worker's own name; one that was restarted under it gets its trial again.
        train: function of a trial that returns its result; objective: the name of what is reported of it.
    """
    while True:
        trial = oracle.create_trial(tuner_id)
        if trial.status == "STOPPED":
            return
        if trial.status == "IDLE":  # hyperband waits for the end of a round
            time.sleep(IDLE_SECONDS)
            continue
        result = train(trial)
        if result["status"] == COMPLETED:
            oracle.update_trial(trial.trial_id, {objective: result["objective"]})
        trial.status, trial.message = result["status"].upper(), result["reason"]
        oracle.end_trial(trial)


def work_for_chief(train, objective):
    """Train what the chief that the environment names hands out, until it has no more; as run_worker.

    Raises:
        InputError: no chief answers, for an hour, or it ended.
    """
    try:
        run_worker(OracleClient(None), os.environ[TUNER_ID], train, objective)
    except grpc.RpcError as error:
        raise InputError(f"{os.environ[ORACLE_IP]}:{os.environ[ORACLE_PORT]}: expected the chief of the search. Received: "
                         f"{error.code().name}. Start it, then this worker again under the same {TUNER_ID}.") from error


def run_workers(oracle, number, target, *arguments):
    """Run workers on this machine as they would run on others, while the oracle's server listens in a thread.

    Args:
        target: function of the arguments that each process runs, with the environment of a worker.

    Raises:
        InputError: the server cannot listen, or workers die again and again.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    failures = []

    def serve():
        try:
            start_server(oracle)
        except Exception as error:  # for the thread that waits for the workers, who would wait for the server
            failures.append(error)

    # trials are to share a GPU, and no proxy is to be asked for what is on this machine
    with _environment({TUNER_ID: "chief", ORACLE_IP: "127.0.0.1", ORACLE_PORT: port, "no_grpc_proxy": "127.0.0.1",
                       "TF_FORCE_GPU_ALLOW_GROWTH": os.environ.get("TF_FORCE_GPU_ALLOW_GROWTH", "true")}):
        # it looks every 20 s whether it may end: nobody waits for that
        threading.Thread(target=serve, daemon=True).start()
        _supervise([f"worker{index}" for index in range(number)], failures, target, arguments)


def _supervise(names, failures, target, arguments):
    """Run worker processes to their ends; one that dies is started again under its name, and goes on with its trial."""
    def start(name):
        return start_process(_named_worker, name, target, *arguments)

    processes, deaths = {name: start(name) for name in names}, 0
    try:
        while processes:
            multiprocessing.connection.wait([process.sentinel for process in processes.values()], timeout=1)
            for name in [name for name, process in processes.items() if process.exitcode is not None]:
                died = processes.pop(name).exitcode != 0
                deaths += died
                if died and deaths <= MAX_DEATHS:
                    processes[name] = start(name)
            if failures or deaths > MAX_DEATHS:
                raise InputError(f"--workers: expected processes that train to the end. Received: "
                                 f"{failures[0] if failures else f'{deaths} that died'}. The same command goes on.")
    finally:
        for process in processes.values():
            process.kill()
            process.join()


def _named_worker(name, target, *arguments):
    os.environ[TUNER_ID] = name
    target(*arguments)


@contextlib.contextmanager
def _environment(variables):
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
