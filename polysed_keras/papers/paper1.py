"""What the notebooks of paper 1 run, as it has it or at demo size, and its numbers to put beside ours."""
import dataclasses
import io
import pathlib

import numpy as np
import pandas as pd

from polysed_keras.datasets import load_dataset
from polysed_keras.models import experiment_cost, with_num_labels
from polysed_keras.papers.demo import make_data
from polysed_keras.papers.variants import run_variants
from polysed_keras.specs import decompose, get_preset, set_fields
from polysed_keras.synthesis import PROCEDURES

DEMO = "demo"  # in place of a folder of data: sounds that the program makes

# Paper 1 at demo size. Of a network with many subnets nearly all of the time is until its first step, so few have any.
DEMO_SOUNDS = {"instances": 5, "mixtures": (6, 2, 3), "duration_seconds": 60.0}
FEW_LABELS = ("alarms_and_sirens", "dog_barking", "mixer", "rain")
DEMO_NETWORK = ("model.filters=[8,8]", "model.recurrent_units=8", "model.dense_units=[16]", "training.learning_rate=0.01",
                "training.batch_size=8", "training.segment_hop=128")
DEMO_EPOCHS, FIGURE2_EPOCHS = "training.epochs=10", "training.epochs=20"  # masks are learnt later than events
NUM_TASKS, DEMO_NUM_TASKS = (2, 4, 8, 16), (2, 4)

# Columns of evaluation's tables, and what a cell of them looks like.
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
                               for number in NUM_TASKS}, index=PAPER1_LABELS)


@dataclasses.dataclass(frozen=True)
class Paper1Recipe:
    """How networks of paper 1 are trained and tested.

    Attributes:
        data: folder of the corpus. out: of the runs. seeds: trainings of each.
        experiments: {name: Experiment}, under the paper's names of columns.
    """

    data: pathlib.Path
    out: pathlib.Path
    experiments: dict
    seeds: tuple


def paper1_recipe(data, out, *, num_tasks=None, seeds=None, settings=None):
    """The recipe of Tables 2 and 3: at demo size, where `data` is "demo", or the paper's.

    Args:
        data: folder of TUT-SED Synthetic 2016, or of another corpus; "demo" makes mixtures of sixteen labels.
        out: folder of all that is made.
        num_tasks: of the networks beside the multi-label one; None for the paper's 2, 4, 8, 16 (demo: 2 and 4).
        seeds: trainings of each network; None for one, as the paper says nothing of more.
        settings: more changes of the presets, as `--set` makes them.

    Raises:
        InputError: the folder of the demo cannot be written.
    """
    numbers = num_tasks or (DEMO_NUM_TASKS if data == DEMO else NUM_TASKS)
    presets = {MULTI_LABEL: "multilabel", **{f"{number} tasks": f"mcmt_{number}" for number in numbers}}
    return _recipe(data, out, presets, seeds, settings)


def figure2_recipe(data, out, *, seeds=None, settings=None):
    """The recipe of Figure 2, one task a label; arguments and errors as in `paper1_recipe`. With the sixteen labels of
    TUT-SED Synthetic 2016 its training is the one of Table 2's 16 tasks; the demo has four labels."""
    if data == DEMO:
        settings = (FIGURE2_EPOCHS, *(settings or ()))
        return _recipe(data, out, {f"{len(FEW_LABELS)} tasks": "mcmt_4"}, seeds, settings, FEW_LABELS, "four_labels")
    number = len(load_dataset(data).labels)
    return _recipe(data, out, {f"{number} tasks": "mcmt_16"}, seeds, (f"tasks.num_tasks={number}", *(settings or ())))


def _recipe(data, out, presets, seeds, settings, labels=tuple(PROCEDURES), name="sixteen_labels"):
    demo = data == DEMO
    settings = [*((*DEMO_NETWORK, DEMO_EPOCHS) if demo else ()), *(settings or ())]
    experiments = {column: set_fields(get_preset(preset + ("_small" if demo else "")), settings)
                   for column, preset in presets.items()}
    out = pathlib.Path(out)
    folder = make_demo_data(out, labels, name) if demo else pathlib.Path(data)
    return Paper1Recipe(folder, (out / name if demo else out) / "runs", experiments, tuple(seeds or (0,)))


def make_demo_data(folder, labels=tuple(PROCEDURES), name="sixteen_labels"):
    """The folder of the demo's mixtures, made where they are not there yet. Raises InputError: it cannot be written."""
    return make_data(pathlib.Path(folder) / name, progress=_quiet, **DEMO_SOUNDS, labels=labels)


def _quiet(text):
    """Notebooks say the same whether their data were there already or not."""


def run_paper1(recipe):
    """Train and test what a Paper1Recipe says; what is there already is not trained again.

    Returns:
        list of evaluation.RunResult, for class_wise_table and polyphony_table.

    Raises:
        InputError: as papers.run_variants.
    """
    return run_variants(recipe.experiments, recipe.data, recipe.out, seeds=recipe.seeds)


def score_table(table):
    """A table of evaluation.class_wise_table or polyphony_table as scores with intervals, in per cent: text, a column a run."""
    return pd.DataFrame({run: _cells(rows, *SCORES) for run, rows in _by_run(table)})


def beside_paper1(table, paper):
    """Our scores with their intervals beside the paper's, in per cent.

    Args:
        table: of evaluation.class_wise_table or polyphony_table.
        paper: PAPER1_TABLE_2 or PAPER1_TABLE_3.

    Returns:
        DataFrame of text, a row a label or polyphony, with the columns (run, ours or paper).
    """
    return _side_by_side(score_table(table), paper, "{:.1f}", table)


def differences_beside_paper1(table, paper):
    """The paired differences to the first run beside the paper's, in points; arguments and result as in `beside_paper1`."""
    ours = {run: _cells(rows, *DIFFERENCES) for run, rows in _by_run(table) if run != table["run"].iloc[0]}
    return _side_by_side(ours, paper.drop(columns=MULTI_LABEL).sub(paper[MULTI_LABEL], axis=0), "{:+.1f}", table)


def _by_run(table):
    return ((run, rows.set_index("row")) for run, rows in table.groupby("run", sort=False))


def _cells(rows, columns, layout):
    """The first number alone where there is no interval, "-" where nothing is defined."""
    values = (100 * rows[columns]).to_numpy()
    return pd.Series(["-" if np.isnan(line[0]) else (layout.split(" ")[0] if np.isnan(line).any() else layout).format(*line)
                      for line in values], rows.index)


def _side_by_side(ours, paper, layout, table):
    index = [*dict.fromkeys([*table["row"], *(paper.index if set(paper.index) & set(table["row"]) else ())])]
    columns = {}
    for run in dict.fromkeys([*ours, *paper]):
        if run in ours:
            columns[run, "ours [95 %]"] = ours[run].reindex(index)
        if run in paper:
            columns[run, "paper"] = paper[run].map(layout.format).reindex(index)
    return pd.DataFrame(columns, index).fillna("-")


def paper1_labels(data):
    """The labels of a corpus; of "demo" those of the paper, and no corpus is made."""
    return PAPER1_LABELS if data == DEMO else load_dataset(data).labels


def paper1_table_1(labels, num_tasks=NUM_TASKS):
    """The number of the task that each label is in, a column a decomposition (paper 1, Table 1).

    Raises:
        InputError: more tasks than labels.
    """
    return pd.DataFrame({f"{number} tasks": {label: place for place, task in enumerate(decompose(labels, number), start=1)
                                             for label in task.labels} for number in num_tasks}).loc[list(labels)]


def paper1_costs(labels, presets):
    """What the networks of presets cost for so many labels.

    Returns:
        DataFrame, a row a preset: tasks, labels a task, classes a task, classes in all (outputs, for the multi-label
        network), weights and multiply-adds a second, both in millions.
    """
    return pd.DataFrame({name: _cost(with_num_labels(get_preset(name), len(labels))) for name in presets}).T


def _cost(experiment):
    cost, tasks = experiment_cost(experiment), experiment.tasks
    outputs = [task.num_outputs for task in tasks]
    return {"tasks": len(tasks), "labels a task": _span([len(task.labels) for task in tasks]),
            "classes a task": "-" if tasks[0].encoding == "multi_label" else _span(outputs), "outputs": sum(outputs),
            "million weights": round(cost.weights / 1e6, 2),
            "million multiply-adds a second": round(cost.multiply_adds / 1e6, 1)}


def _span(numbers):
    return " to ".join(map(str, sorted({min(numbers), max(numbers)})))
