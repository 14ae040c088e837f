"""A search of hyperparameters from its file to its report, and the best trial to its export."""
import pathlib

from keras_tuner.src.distribute.oracle_chief import start_server

from polysed_keras.datasets import load_clips, load_dataset
from polysed_keras.errors import InputError
from polysed_keras.export import export_run
from polysed_keras.files import check_writable, read_json, write_json
from polysed_keras.search.oracles import make_oracle
from polysed_keras.search.report import (
    TRIALS,
    best_experiment,
    best_trial,
    format_progress,
    read_trials,
    write_report,
    write_table,
)
from polysed_keras.search.space import search_space, suggest
from polysed_keras.search.trials import COMPLETED, locked, record_failure, run_trial
from polysed_keras.search.workers import TUNER_ID, role, run_worker, run_workers, work_for_chief
from polysed_keras.specs import set_fields

SEARCH = "search.json"


def run_search(search, data, out, *, workers=1, progress=print):
    """Run a search, or go on with it: what its folder has is not done again.

    The environment's KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT make this process the chief
    ("chief" is in its id), which has the oracle and trains nothing, or one of its workers, which may be on other machines
    that see the same folders.

    Args:
        search: search.Search; data: folder of the corpus.
        out: folder for trials/ (a run a trial), oracle/, tensorboard/, trials.csv, trials.png, best.json.
        workers: processes on this machine that train trials side by side.
        progress: called with a line of text after each trial.

    Returns:
        search.read_trials's table; of a worker None.

    Raises:
        InputError: unusable data; another search in the folder, or one that still runs; none of the trials succeeded.
    """
    here, out = role(), pathlib.Path(out)
    if workers < 1 or (workers > 1 and here):
        raise InputError(f"--workers: expected at least 1, and no more where {TUNER_ID} is set. Received: {workers}.")
    check_writable(out)
    if here == "worker":
        _work(search, data, out)
        return None
    with locked(out / ".lock", f"{out}: expected a folder that no other process searches in. Received: one that does."):
        _check_data(search.experiment, data)
        _check_same(search, data, out)
        oracle = make_oracle(search, out)
        oracle.report = lambda: _report(search, out, len(oracle.tuner_ids), progress)
        oracle.report()  # of what was done before
        if here == "chief":
            start_server(oracle)
        elif workers > 1:
            run_workers(oracle, workers, _work, search, data, out)
        else:
            run_worker(oracle, "worker0", _trainer(search, data, out), search.objective)
        table = read_trials(search, out)
        write_report(search, table, out)
        return table


def _work(search, data, out):
    work_for_chief(_trainer(search, data, out), search.objective)


def _check_data(experiment, data):
    """Without data every trial would fail, one by one."""
    (load_clips if experiment.clip_level else load_dataset)(data, experiment.dataset)


def _check_same(search, data, out):
    """A folder has one search; more trials than it had are more of the same."""
    content = search.to_dict() | {"data": str(pathlib.Path(data).resolve()), "experiment": search.experiment.to_dict()}
    path = out / SEARCH
    stored = read_json(path) if path.exists() else content
    for key in content:
        if key != "trials" and stored.get(key) != content[key]:
            raise InputError(f"{path}: expected the same search of the same data. Received: another {key}. Choose another "
                             "folder.")
    write_json(content, path)


def _report(search, out, workers, progress):
    table = read_trials(search, out)
    if len(table):
        write_table(search, table, out)
        progress(format_progress(search, table, max(workers, 1)))


def _trainer(search, data, out):
    """A function that trains a trial of KerasTuner's and returns its result."""
    experiment, trials = search.experiment, out / TRIALS

    def train(trial):
        values, hp = trial.hyperparameters.values, trial.hyperparameters
        last_epoch, first_epoch = values.get("tuner/epochs"), values.get("tuner/initial_epoch", 0)  # hyperband's
        record = {"trial": int(trial.trial_id), "values": suggest(hp, experiment, search.ranges),
                  "planned": (last_epoch or search.epochs) - first_epoch}
        directory, begin = trials / str(record["trial"]), values.get("tuner/trial_id")
        try:
            changed = search_space(hp, experiment, search.ranges)
        except InputError as error:
            return record_failure(directory, record, str(error))
        return run_trial(changed, data, directory, record, search.objective, last_epoch=last_epoch,
                         begin=begin and trials / str(int(begin)))

    return train


def export_best(search, data, out, *, progress=print):
    """Train the best trial's Experiment with all seeds of a search, in OUT/best, and export the best of these runs.

    Returns:
        the folder of the new version, in OUT/saved_models/NAME.

    Raises:
        InputError: none of the trials, or none of these trainings, succeeded.
    """
    out = pathlib.Path(out)
    table = read_trials(search, out)
    experiment, results = best_experiment(search, table), {}
    trial = int(best_trial(search, table)["trial"])
    for seed in search.seeds:
        run = out / "best" / f"seed{seed}"
        result = run_trial(set_fields(experiment, [f"training.seed={seed}"]), data, run, {"trial": trial, "seed": seed},
                           search.objective, begin=out / TRIALS / str(trial) if seed == search.seeds[0] else None)
        if result["status"] == COMPLETED:
            results[run] = result["objective"]
        progress(f"{run}: {result['status']}, {search.objective} {result['objective']}{result['reason']}")
    if not results:
        raise InputError(f"{out / 'best'}: expected a training that succeeds. Received: none; see log.txt in its runs.")
    return export_run((max if search.direction == "max" else min)(results, key=results.get), out / "saved_models" / search.name)
