"""Paper 1's tables and Figure 2: recipes at the paper's or at demo size, and the paper's numbers to put beside ours."""
import dataclasses
import io
import pathlib

import keras
import numpy as np
import pandas as pd

from polysed_keras.datasets import load_dataset
from polysed_keras.display import plot_attention
from polysed_keras.errors import expect
from polysed_keras.evaluation import percent_cells
from polysed_keras.events import event_roll_to_event_list
from polysed_keras.models import experiment_cost, subnet_masks, with_num_labels
from polysed_keras.papers.demo import DEMO_EPOCHS, FEW_LABELS, is_demo, make_demo_data, sized_preset
from polysed_keras.papers.variants import Recipe, run_folder
from polysed_keras.specs import LogMelSpec, decompose, get_preset, task_labels
from polysed_keras.synthesis import PROCEDURES
from polysed_keras.training import load_best_model, load_recordings, load_run, new_model

PAPER1_NUM_TASKS = (2, 4, 8, 16)
# Columns of evaluation's tables, and the layout of a cell of them.
SCORES = ["value", "low", "high"], "{:.1f} [{:.1f}, {:.1f}]"
DIFFERENCES = ["difference", "difference_low", "difference_high"], "{:+.1f} [{:+.1f}, {:+.1f}]"
MULTI_LABEL = "multi-label"
PAPER1_TABLE_2 = pd.read_csv(io.StringIO("""label,multi-label,2 tasks,4 tasks,8 tasks,16 tasks
alarms_and_sirens,65.1,68.4,70.8,73.2,67.0
baby_crying,52.3,56.5,49.1,54.8,55.3
bird_singing,49.4,50.5,52.0,48.3,45.8
bus,53.7,53.9,58.4,65.0,58.8
cat_meowing,28.4,46.8,49.0,44.1,48.0
crowd_applause,70.9,70.2,73.5,73.1,73.3
crowd_cheering,69.6,73.9,75.1,71.1,74.8
dog_barking,74.1,76.6,77.3,78.2,78.4
footsteps,45.3,48.8,50.7,51.8,50.5
glass_smash,80.1,77.0,82.0,82.6,83.9
gun_shot,79.7,67.9,76.3,82.4,83.9
horsewalk,44.7,44.6,45.6,44.3,44.2
mixer,69.9,80.9,75.9,75.5,70.9
motorcycle,50.8,43.2,46.1,55.7,55.2
rain,77.9,69.7,77.7,73.9,82.5
thunder,60.1,56.9,62.2,58.7,61.3
average,60.8,61.6,63.9,64.5,64.6
overall,63.1,64.3,66.0,66.8,65.9"""), index_col=0)
PAPER1_TABLE_3 = pd.read_csv(io.StringIO("""polyphony,multi-label,2 tasks,4 tasks,8 tasks,16 tasks
1,70.5,71.4,73.8,74.0,73.4
2,56.7,58.2,59.8,60.3,62.0
3,48.9,49.0,52.1,53.7,52.8
4,44.9,42.2,43.7,48.1,47.1
5,34.5,36.1,39.9,38.0,36.0
6,26.7,28.1,34.0,32.0,30.5"""), index_col=0)
PAPER1_LABELS = tuple(PAPER1_TABLE_2.index[:-2])
# Table 1's horizontal lines lie below every 8th, 4th, 2nd label, and below each.
PAPER1_TABLE_1 = pd.DataFrame({f"{number} tasks": [place // (16 // number) + 1 for place in range(16)]
                               for number in PAPER1_NUM_TASKS}, index=PAPER1_LABELS)


def paper1_recipe(data, out, *, num_tasks=None, seeds=None, settings=None, small=False):
    """Return the recipe of Tables 2 and 3 under the paper's names of columns.

    Args:
        data: folder of TUT-SED Synthetic 2016 or of another corpus; or "demo", which makes mixtures of sixteen labels
            and narrows the networks.
        out: folder of all that is made.
        num_tasks: of the networks beside the multi-label one; None for the paper's 2, 4, 8, 16 (demo: 2 and 4).
        seeds: tuple of int; None for one, because the paper does not speak of more.
        settings: more changes of the presets, as `--set` takes them.
        small: bool, whether the `_small` presets are taken; the demo always takes them.

    Raises:
        InputError: the folder of the demo cannot be written.
    """
    numbers = num_tasks or ((2, 4) if is_demo(data) else PAPER1_NUM_TASKS)
    presets = {MULTI_LABEL: "multilabel", **{f"{number} tasks": f"mcmt_{number}" for number in numbers}}
    return _recipe(data, out, presets, seeds, settings or (), small, tuple(PROCEDURES), "sixteen_labels")


def figure2_recipe(data, out, *, seeds=None, settings=None, small=False):
    """Return the recipe of Figure 2, one task per label; arguments and errors as in `paper1_recipe`.

    With the labels of TUT-SED Synthetic 2016 its training is that of Table 2's 16 tasks; the demo has four labels.
    """
    if is_demo(data):
        number, preset = len(FEW_LABELS), "mcmt_4"
        own = "training.epochs=20"  # masks are learnt later than events
    else:
        number, preset = len(load_dataset(data).labels), "mcmt_16"
        own = f"tasks.num_tasks={number}"
    settings = (own, *(settings or ()))
    return _recipe(data, out, {f"{number} tasks": preset}, seeds, settings, small, FEW_LABELS, "four_labels")


def _recipe(data, out, presets, seeds, settings, small, demo_labels, demo_name):
    demo, out = is_demo(data), pathlib.Path(out)
    experiments = {column: sized_preset(preset, data, [*[DEMO_EPOCHS] * demo, *settings], small=small)
                   for column, preset in presets.items()}
    if demo:
        out = out / demo_name
        data = make_demo_data(out, demo_labels)
    return Recipe(pathlib.Path(data), out / "runs", experiments, tuple(seeds or (0,)))


def score_table(table):
    """Format the scores of a table of evaluation with their intervals, in per cent.

    Args:
        table: DataFrame of evaluation.class_wise_table or polyphony_table.

    Returns:
        DataFrame of text, a row per label or polyphony, a column per run.
    """
    return pd.DataFrame(_columns(table, *SCORES))


def beside_paper1(table, paper):
    """Put our scores with their intervals beside the paper's, in per cent.

    Args:
        table: DataFrame of evaluation.class_wise_table or polyphony_table.
        paper: PAPER1_TABLE_2 or PAPER1_TABLE_3.

    Returns:
        DataFrame of text, a row per label or polyphony, with the columns (run, ours or paper).
    """
    return _side_by_side(_columns(table, *SCORES), paper, "{:.1f}", table)


def differences_beside_paper1(table, paper):
    """Put our paired differences to the first run beside the paper's; arguments and result as in `beside_paper1`."""
    ours = _columns(table[table["run"] != table["run"].iloc[0]], *DIFFERENCES)
    return _side_by_side(ours, paper.drop(columns=MULTI_LABEL).sub(paper[MULTI_LABEL], axis=0), "{:+.1f}", table)


def _columns(table, numbers, layout):
    """Return {run: Series of text} of three columns of a table."""
    return {run: percent_cells(100 * rows.set_index("row")[numbers], layout)
            for run, rows in table.groupby("run", sort=False)}


def _side_by_side(ours, paper, layout, table):
    rows = dict.fromkeys(table["row"])
    of_another_corpus = any(isinstance(row, str) and row not in paper.index for row in rows)
    index = list(rows if of_another_corpus else rows | dict.fromkeys(paper.index))
    columns = {}
    for run in dict.fromkeys([*ours, *paper]):
        if run in ours:
            columns[run, "ours [95 %]"] = ours[run].reindex(index)
        if run in paper:
            columns[run, "paper"] = paper[run].map(layout.format).reindex(index)
    return pd.DataFrame(columns, index).fillna("-")


def paper1_labels(data):
    """Return the labels of a corpus, or the paper's if `data` is "demo", in which case nothing is made."""
    return PAPER1_LABELS if is_demo(data) else load_dataset(data).labels


def paper1_table_1(labels, num_tasks=PAPER1_NUM_TASKS):
    """Number the task that each label is in, one column per decomposition (paper 1, Table 1).

    Args:
        labels: tuple of str.
        num_tasks: numbers of tasks.

    Raises:
        InputError: more tasks than labels.
    """
    places = {f"{number} tasks": {label: place for place, task in enumerate(decompose(labels, number), start=1)
                                  for label in task.labels} for number in num_tasks}
    return pd.DataFrame(places).loc[list(labels)]


def paper1_costs(labels, presets):
    """Compare what the networks of presets cost for these labels.

    Args:
        labels: tuple of str, of which only the number counts.
        presets: names of presets.

    Returns:
        DataFrame, a row per preset: tasks, labels per task, classes per task, classes in all (outputs, for the
        multi-label network), weights and multiply-adds per second, both in millions.
    """
    def span(numbers):
        return " to ".join(map(str, sorted({min(numbers), max(numbers)})))

    rows = {}
    for name in presets:
        experiment = with_num_labels(get_preset(name), len(labels))
        cost, tasks = experiment_cost(experiment), experiment.tasks
        outputs = [task.num_outputs for task in tasks]
        rows[name] = {"tasks": len(tasks), "labels a task": span([len(task.labels) for task in tasks]),
                      "classes a task": "-" if tasks[0].encoding == "multi_label" else span(outputs),
                      "outputs": sum(outputs), "million weights": round(cost.weights / 1e6, 2),
                      "million multiply-adds a second": round(cost.multiply_adds / 1e6, 1)}
    return pd.DataFrame(rows).T


@dataclasses.dataclass(frozen=True, eq=False)
class AttentionExample:
    """An input and the masks of subnets on it (paper 1, Figure 2)."""

    name: str  # of the recording
    onset: float  # seconds from the beginning of the recording to the input
    features: LogMelSpec
    log_mel: np.ndarray  # (frames, n_mels)
    events: pd.DataFrame  # event list of the input
    labels: tuple
    masks: dict  # {label: (time_frequency, channel)} of models.subnet_masks, of the subnet of the label's task
    untrained_masks: dict  # the same before the training

    def plot(self, shown):
        """Draw Figure 2 for the subnets of some labels: a matplotlib Figure."""
        return plot_attention(self.log_mel, self.events, self.labels, {label: self.masks[label] for label in shown},
                              self.features.time_resolution, title=f"{self.name}, from {self.onset:.2f} s",
                              frequency_range=(self.features.fmin, self.features.fmax))


def attention_example(recipe, wanted, num_events=4):
    """Return the AttentionExample of the test segment that shows most of the wanted labels for the longest.

    Args:
        recipe: Recipe of figure2_recipe whose runs are there.
        wanted: labels.
        num_events: int, of the segment.

    Raises:
        InputError: no test segment with so many events.
    """
    run = run_folder(recipe.out, next(iter(recipe.experiments)), recipe.seeds[0])
    experiment = load_run(run)
    labels, dataset, spec = task_labels(experiment.tasks), load_dataset(recipe.data), experiment.features
    train, test = (load_recordings(dataset, part, labels, spec, progress=False) for part in ("train", "test"))
    trained = load_best_model(experiment, run)
    keras.utils.set_random_seed(experiment.training.seed)  # the weights that the training began with
    untrained = new_model(experiment, train, steps_per_epoch=1)
    recording, first, events = _find_input(test, labels, wanted, num_events, experiment)
    frames = experiment.training.segment_frames
    log_mel = recording.log_mel[first:first + frames]

    def masks(network):
        found = subnet_masks(network, log_mel, experiment.tasks, frames)
        return {label: found[task.name] for task in experiment.tasks for label in task.labels}

    return AttentionExample(recording.name, first * spec.time_resolution, spec, log_mel, events, labels, masks(trained),
                            masks(untrained))


def _find_input(recordings, labels, wanted, num_events, experiment):
    """Return the recording, first frame and events of the segment that attention_example shows."""
    frames, resolution, found = experiment.training.segment_frames, experiment.features.time_resolution, []
    for recording in recordings:
        for first in range(0, len(recording.log_mel) - frames + 1, frames):
            events = event_roll_to_event_list(recording.event_roll[first:first + frames], labels, resolution)
            if len(events) == num_events:
                found.append((recording, first, events))
    expect(found, "num_events", f"a number that a test segment of {frames} frames has", num_events)

    def presence(segment):
        """Count the wanted labels that are there; with it the seconds of the one that sounds the least."""
        shown = segment[2][segment[2]["event_label"].isin(wanted)]
        seconds = (shown["offset"] - shown["onset"]).groupby(shown["event_label"]).sum()
        return len(seconds), seconds.min() if len(seconds) else 0.0

    return max(found, key=presence)


def mask_differences(example, shown):
    """Measure how far the masks of tasks lie apart: the mean absolute difference of masks, which are from 0 to 1.

    Args:
        example: AttentionExample.
        shown: two labels.

    Returns:
        DataFrame, a row per kind of mask; for untrained and trained weights the two shown, and the mean of all pairs.
    """
    rows = {name: {} for name in ("time-frequency mask", "channel mask")}
    for kind, row in enumerate(rows.values()):
        for when, masks in (("untrained", example.untrained_masks), ("trained", example.masks)):
            pairs = {(a, b): np.abs(masks[a][kind] - masks[b][kind]).mean() for a in masks for b in masks if a != b}
            row[f"{when}, {' and '.join(shown)}"] = pairs[tuple(shown)]
            row[f"{when}, all pairs"] = np.mean(list(pairs.values()))
    return pd.DataFrame(rows).T.astype(float).round(3)
