"""KerasTuner's oracles, which draw the values of trials, made to survive a kill at any moment."""
import pathlib

import keras_tuner
import numpy as np
from keras_tuner import oracles

from polysed_keras.files import write_json
from polysed_keras.search.space import HYPERBAND_FACTOR, hyperband_iteration, suggest

STATE = "oracle.json"


class _Durable:
    """What oracles of KerasTuner 1.4 lack, put before any of their classes.

    Their files are overwritten in place; and a trial is stored before the state that knows of it, so that a process killed
    in between leaves one that nobody runs; the state that is stored as a trial ends has it among the running ones still.
    `report` is called after every end of a trial.
    """

    report = None

    def save(self):
        write_json(self.get_state(), self._get_oracle_fname())

    def _save_trial(self, trial):
        write_json(trial.get_state(), pathlib.Path(self._get_trial_dir(trial.trial_id)) / "trial.json")

    def end_trial(self, trial):
        # where the chief was restarted, a worker may end what waits to be handed out again
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
    """Also: its random state goes on after a reload, and what has been tried is not proposed again."""

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
    """The oracle of a search, as it was left in a folder, or a new one.

    Args:
        search: search.Search; out: folder of the search, in which the oracle has `oracle/`.
    """
    space = keras_tuner.HyperParameters()
    suggest(space, search.experiment, search.ranges)
    # KerasTuner takes the seed 0 for none; a trial that fails fails again, and stops nothing
    common = {"objective": keras_tuner.Objective(search.objective, search.direction), "hyperparameters": space,
              "seed": search.seeds[0] + 1, "max_retries_per_trial": 0, "max_consecutive_failed_trials": None}
    if search.algorithm == "hyperband":
        oracle = _Hyperband(max_epochs=search.epochs, factor=HYPERBAND_FACTOR, **common)
    else:
        oracle = {"random": _Random, "bayesian": _Bayesian}[search.algorithm](max_trials=search.trials, **common)
    oracle.verbose = 0
    oracle._max_collisions = 1000  # KerasTuner takes a space for exhausted after 20 draws of what was tried
    oracle._set_project_dir(str(out), "oracle")
    if (pathlib.Path(out) / "oracle" / STATE).exists():
        oracle.reload()
    if search.algorithm == "hyperband":  # a search may go on with more trials than it had
        oracle.hyperband_iterations = search.trials // len(hyperband_iteration(search.epochs))
    return oracle
