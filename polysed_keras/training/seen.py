"""Record the label combinations that the powersets of a run are trained on, in the run's folder."""
import pathlib

import numpy as np

from polysed_keras.errors import expect
from polysed_keras.files import read_json, write_json
from polysed_keras.specs import task_activity, task_labels

COMBINATIONS = "combinations.json"  # in a run's folder: {task name: combinations, as Task.encode numbers them}


def powersets(tasks):
    """Return the tasks of the encoding `powerset`, a tuple."""
    return tuple(task for task in tasks if task.encoding == "powerset")


def frame_combinations(event_roll, labels, tasks):
    """Return the combination of each frame and powerset, as Task.encode numbers them.

    Args:
        event_roll: (frames, labels) of 0/1.
        labels: of its columns.
        tasks: tuple of Task, all powersets.

    Returns:
        int array (frames, tasks).
    """
    return np.stack([task.encode(task_activity(event_roll, labels, task)) for task in tasks], axis=1)


def record_combinations(recordings, tasks, path, *, resume=False):
    """Write the combinations in the frames of training recordings to a file, for tasks that are powersets.

    Args:
        recordings: list of RecordingFeatures, or a function of the epoch that draws one, whose frames are noted as they
            are drawn. The columns of the event rolls are the tasks' labels in order.
        tasks: tuple of Task; other encodings than powersets are left out.
        path: of the JSON file.
        resume: add to the combinations in the file.

    Returns:
        The same recordings, or a function that draws the same, to train on in place of `recordings`.
    """
    labels, tasks, path = task_labels(tasks), powersets(tasks), pathlib.Path(path)
    if not tasks:
        return recordings
    seen = read_seen(path, tasks) if resume and path.exists() else {task.name: [] for task in tasks}

    def note(recordings):
        for recording in recordings:
            columns = frame_combinations(recording.event_roll, labels, tasks).T
            for task, column in zip(tasks, columns):
                seen[task.name] = np.union1d(seen[task.name], column).astype(int).tolist()
        write_json(seen, path, sealed=True)
        return recordings

    return (lambda epoch: note(recordings(epoch))) if callable(recordings) else note(recordings)


def read_seen(path, tasks):
    """Return the combinations of a run, {task name: list of int}, from its combinations.json.

    Raises InputError if the file is broken or lacks one of the tasks.
    """
    seen = read_json(path, dict[str, list[int]])
    lacking = [task.name for task in tasks if task.name not in seen]
    expect(not lacking, str(path), f"the combinations of the tasks {', '.join(lacking)}", list(seen))
    return seen
