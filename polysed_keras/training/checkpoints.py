"""What happens after an epoch: validation, checkpoints that an interrupted training resumes from, progress."""
import pathlib
import shutil
import sys

import keras
import pandas as pd
from tqdm import tqdm

from polysed_keras.errors import InputError
from polysed_keras.files import atomic_file, read_json, write_json

EXPERIMENT, STATE, BEST_WEIGHTS, HISTORY = "experiment.json", "state.json", "best.weights.h5", "history.csv"


class Validation(keras.callbacks.Callback):
    """Puts what a function of the network returns, val_loss and others, into the logs of an epoch, for callbacks after it."""

    def __init__(self, validate):
        super().__init__()
        self._validate = validate

    def on_epoch_end(self, epoch, logs=None):
        logs.update(self._validate(self.model))


def _seed_states(model):
    """The random states of dropout, which Keras's own files leave out."""
    return [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]


class Checkpoints(keras.callbacks.Callback):
    """After every epoch: the whole state to resume from, the history, and the weights of the best epoch by `measure`.

    state.json names the checkpoint that belongs to it, and is written last: a kill leaves the epoch before.

    Args:
        directory: the run's folder.
        history: list of a dict an epoch, which grows; of a resumed training the epochs before.
        measure: key of the logs whose highest value is the best.
    """

    def __init__(self, directory, history, measure):
        super().__init__()
        self.directory, self.history, self.measure = pathlib.Path(directory), history, measure

    def on_epoch_end(self, epoch, logs=None):
        best = max((row[self.measure] for row in self.history), default=-1.0)
        self.history.append({"epoch": epoch + 1, **{key: float(value) for key, value in logs.items()}})
        checkpoint = f"epoch-{epoch + 1}.weights.h5"
        with atomic_file(self.directory / checkpoint) as temporary:
            self.model.save_weights(temporary)
        if logs[self.measure] > best:
            with atomic_file(self.directory / BEST_WEIGHTS) as temporary:
                shutil.copyfile(self.directory / checkpoint, temporary)
        write_json({"checkpoint": checkpoint, "history": self.history,
                    "seeds": [state.numpy().tolist() for state in _seed_states(self.model)]}, self.directory / STATE)
        with atomic_file(self.directory / HISTORY) as temporary:
            pd.DataFrame(self.history).to_csv(temporary, index=False)
        for old in self.directory.glob("epoch-*.weights.h5"):
            if old.name != checkpoint:
                old.unlink()


class Progress(keras.callbacks.Callback):
    """A bar over all steps of a training with the time left, and a line an epoch."""

    def __init__(self, epochs, steps_per_epoch, first_epoch, measure):
        super().__init__()
        # a log file wants fewer lines than a terminal
        self._bar = tqdm(total=epochs * steps_per_epoch, initial=first_epoch * steps_per_epoch, unit="step",
                         mininterval=1.0 if sys.stderr.isatty() else 30.0, smoothing=0.05)
        self._epochs, self._names = epochs, ("loss", "val_loss", measure)

    def on_train_batch_end(self, batch, logs=None):
        self._bar.update()

    def on_epoch_end(self, epoch, logs=None):
        values = "  ".join(f"{name} {logs[name]:.4f}" for name in self._names)
        self._bar.write(f"epoch {epoch + 1}/{self._epochs}  {values}")

    def on_train_end(self, logs=None):
        self._bar.close()


def read_history(directory):
    """The finished epochs of a run's folder, a dict each; an empty list where there are none."""
    path = pathlib.Path(directory) / STATE
    return read_json(path)["history"] if path.exists() else []


def best_epoch(directory, measure):
    """The epoch, a dict, whose weights a run's folder keeps: the first of those with the highest measure."""
    return max(read_history(directory), key=lambda epoch: epoch[measure])


def restore_checkpoint(model, directory):
    """Give a compiled network the state of the last finished epoch: weights, optimiser, and dropout's random state.

    Networks are always built from their spec: Keras's load_model tells the objects of a config apart by id(), and has
    given two Bidirectional layers one GRU where a temporary layer was collected in between.

    Raises:
        InputError: the checkpoint is missing or broken, or another network's.
    """
    state = read_json(pathlib.Path(directory) / STATE)
    path = pathlib.Path(directory) / state["checkpoint"]
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: expected the checkpoint that {STATE} names, of {model.name} with the same options. "
                         f"Received: {error}. Train anew in another folder.") from error
    for variable, seed in zip(_seed_states(model), state["seeds"], strict=True):
        variable.assign(seed)
