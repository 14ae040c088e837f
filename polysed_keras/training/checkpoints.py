"""Keras callbacks for resumable checkpoints and progress, and the files that they write."""
import pathlib
import shutil
import typing

import keras
import numpy as np
import pandas as pd

from polysed_keras.errors import InputError, brief, expect
from polysed_keras.events import CALIBRATED
from polysed_keras.files import (
    CHECKSUMS,
    Checksums,
    atomic_file,
    check_room,
    file_digest,
    path_inside,
    read_json,
    write_json,
)
from polysed_keras.progress import progress_bar

STATE, BEST_WEIGHTS, HISTORY = "state.json", "best.weights.h5", "history.csv"
CALIBRATION = "calibration.json"  # thresholds of a run, which evaluation.calibrate_run chooses


def _save_weights(network, path):
    """Save weights, if there is room: HDF5 does not survive a disk that gets full while it writes."""
    variables = network.variables + network.optimizer.variables
    check_room(path, sum(int(np.prod(variable.shape)) * 4 + 8192 for variable in variables))  # and its own tables
    network.save_weights(path)


class State(typing.TypedDict):
    """The content of state.json: the last finished epoch, all epochs, and the random states of dropout."""

    checkpoint: str
    history: list[dict[str, int | float]]
    seeds: list[list[int]]


class Calibration(typing.TypedDict):
    """The content of calibration.json, as evaluation.calibrate_run returns it: lists are per label."""

    labels: list[str]
    alarms_per_hour: str
    thresholds: dict[str, list[float]]
    hours: float
    min_duration: typing.NotRequired[list[float]]
    median_frames: typing.NotRequired[list[int]]
    max_gap: typing.NotRequired[list[float]]
    edge: typing.NotRequired[list[float]]
    step_filter: typing.NotRequired[list[float]]


def read_calibration(run, labels):
    """Read the calibration of a run.

    Args:
        run: the run's folder.
        labels: of the run, in any order.

    Returns:
        Calibration; None if the run has none.

    Raises:
        InputError: the file is broken, or of other labels.
    """
    path = pathlib.Path(run) / CALIBRATION
    if not path.is_file():
        return None
    found = read_json(path, Calibration)
    expect(sorted(found["labels"]) == sorted(labels), str(path), f"the labels {', '.join(sorted(labels))}",
           found["labels"])
    expect(found["alarms_per_hour"] in found["thresholds"], str(path),
           "thresholds for the alarms_per_hour that are the default", list(found["thresholds"]))
    for number in found["thresholds"]:
        expect(_is_rate(number), f"{path}: thresholds", "numbers of false events per hour", number)
    for name, values in (found["thresholds"] | {name: found[name] for name in CALIBRATED if name in found}).items():
        expect(len(values) == len(labels), f"{path}: {name}", f"a value per label, {len(labels)}", len(values))
    return found


def _is_rate(text):
    """Return whether a text is a number above 0 as calibrations have it, such as 20 or 0.5."""
    try:
        return 0 < float(text) < float("inf") and text == f"{float(text):g}"
    except ValueError:
        return False


def _seed_states(model):
    """Return the random states of dropout, which Keras's own files leave out."""
    return [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]


def reset_random_states(model, seed):
    """Set the random states of a network's layers to those of a seed, in place of what they were built with."""
    for place, state in enumerate(_seed_states(model)):
        state.assign([seed, place])


class Checkpoints(keras.callbacks.Callback):
    """Callback that writes, after each epoch, the state to resume from, the history, and the best epoch's weights.

    state.json names its checkpoint and is written last: after a kill it still names the epoch before.

    Args:
        run: the run's folder.
        history: list of one dict per epoch, which grows; a resumed training begins with the finished epochs.
        measure: key of the logs; the epoch with its highest value is the best.
        network: the whole network, of which a part may be what is fitted.
    """

    def __init__(self, run, history, measure, network):
        super().__init__()
        self.run, self.history, self.measure, self.network = pathlib.Path(run), history, measure, network

    def on_epoch_end(self, epoch, logs=None):
        """Write the files of an epoch."""
        best = max((row[self.measure] for row in self.history), default=-1.0)
        self.history.append({"epoch": epoch + 1, **{key: float(value) for key, value in logs.items()}})
        checkpoint = f"epoch-{epoch + 1}.weights.h5"
        with atomic_file(self.run / checkpoint) as temporary:
            _save_weights(self.network, temporary)
        self._note_digest(checkpoint)
        if logs[self.measure] > best:
            with atomic_file(self.run / BEST_WEIGHTS) as temporary:
                shutil.copyfile(self.run / checkpoint, temporary)
        write_json({"checkpoint": checkpoint, "history": self.history,
                    "seeds": [state.numpy().tolist() for state in _seed_states(self.network)]}, self.run / STATE,
                   sealed=True)
        with atomic_file(self.run / HISTORY) as temporary:
            pd.DataFrame(self.history).to_csv(temporary, index=False)
        for old in self.run.glob("epoch-*.weights.h5"):
            if old.name != checkpoint:
                old.unlink()


    def _note_digest(self, checkpoint):
        """Add the digest of a checkpoint to those of all epochs, of which one is that of the best weights."""
        path = self.run / CHECKSUMS
        digests = read_json(path, Checksums) if path.exists() else {}
        write_json(digests | {checkpoint: file_digest(self.run / checkpoint)}, path, sealed=True)


def check_weights(run, name):
    """Raise InputError if a file of weights is none that the training of a run wrote; older runs have no checksums."""
    path = pathlib.Path(run) / CHECKSUMS
    if path.is_file():
        expect(file_digest(path.parent / name) in read_json(path, Checksums).values(), str(path.parent / name),
               "weights that the training of this run wrote", "others",
               "The file was damaged or changed: bring it back from a copy, or train again.")


class Progress(keras.callbacks.Callback):
    """Callback that shows a bar over all steps of a training with the time left, and a line per epoch."""

    def __init__(self, epochs, steps_per_epoch, first_epoch, measure):
        super().__init__()
        self._bar = progress_bar(total=epochs * steps_per_epoch, initial=first_epoch * steps_per_epoch, unit="step",
                                 mininterval=1.0, smoothing=0.05)
        self._epochs, self._names = epochs, ("loss", "val_loss", measure)

    def on_train_batch_end(self, batch, logs=None):
        """Move the bar by one step."""
        self._bar.update()

    def on_epoch_end(self, epoch, logs=None):
        """Print the line of an epoch."""
        values = "  ".join(f"{name} {logs[name]:.4f}" for name in self._names)
        self._bar.write(f"epoch {epoch + 1}/{self._epochs}  {values}")

    def on_train_end(self, logs=None):
        """Close the bar."""
        self._bar.close()


def read_history(run):
    """Return the finished epochs of a run's folder, a list of dicts; empty if there are none."""
    path = pathlib.Path(run) / STATE
    return read_json(path, State)["history"] if path.exists() else []


def best_epoch(run, measure):
    """Return the epoch, a dict, whose weights a run's folder keeps: the first with the highest measure.

    Raises InputError if the run has no finished epoch with this measure.
    """
    history = read_history(run)
    expect(history and all(measure in epoch for epoch in history), str(pathlib.Path(run) / STATE),
           f"finished epochs with their {measure}", f"{len(history)} epochs")
    return max(history, key=lambda epoch: epoch[measure])


def restore_checkpoint(model, run):
    """Load the last finished epoch into a compiled network: weights, optimiser, and dropout's random state.

    The network must be built from its spec. Keras's load_model tells the objects of a config apart by id(), and once
    gave two Bidirectional layers one GRU because a temporary layer had been collected in between.

    Args:
        model: compiled network of the run's Experiment.
        run: the run's folder.

    Raises:
        InputError: the checkpoint is missing, broken, or of another network.
    """
    state = read_json(pathlib.Path(run) / STATE, State)
    path = path_inside(run, state["checkpoint"], pathlib.Path(run) / STATE)
    try:
        check_weights(run, path.name)
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: expected the checkpoint that {STATE} names, of {model.name} with the same options. "
                         f"Received: {brief(error)}. Train anew in another folder.") from error
    states = _seed_states(model)
    expect([variable.shape for variable in states] == [(len(seed),) for seed in state["seeds"]],
           str(pathlib.Path(run) / STATE), f"the random states of {len(states)} layers", len(state["seeds"]))
    for variable, seed in zip(states, state["seeds"]):
        variable.assign(seed)
