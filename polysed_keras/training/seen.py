"""Label combinations that the powersets of a run were trained on, written into the run's folder."""
import pathlib

import numpy as np

from polysed_keras.files import read_json, write_json
from polysed_keras.specs import task_activity, task_labels

COMBINATIONS = "combinations.json"  # in a run's folder: {task name: combinations, as Task.encode numbers them}


def powersets(tasks):
    return tuple(task for task in tasks if task.encoding == "powerset")


def frame_combinations(event_roll, labels, tasks):
    return np.stack([task.encode(task_activity(event_roll, labels, task)) for task in tasks], axis=1)


def record_combinations(recordings, tasks, path, *, resume=False):
    """Write down which combinations a training's frames hold, for networks of powersets.

    Args:
        recordings: list of training.RecordingFeatures, or a function of the epoch that draws one: what it draws is
            noted as it is drawn. The columns of their event rolls are the tasks' labels in order.
        tasks: tuple of Task; those that are no powersets are left out.
        path: the JSON file.
        resume: add to what is there.

    Returns:
        What is to be trained on in place of `recordings`.
    """
    labels, tasks, path = task_labels(tasks), powersets(tasks), pathlib.Path(path)
    if not tasks:
        return recordings
    seen = read_json(path) if resume and path.exists() else {task.name: [] for task in tasks}

    def note(recordings):
        for recording in recordings:
            columns = frame_combinations(recording.event_roll, labels, tasks).T
            for task, column in zip(tasks, columns):
                seen[task.name] = np.union1d(seen[task.name], column).astype(int).tolist()
        write_json(seen, path)
        return recordings

    return (lambda epoch: note(recordings(epoch))) if callable(recordings) else note(recordings)
