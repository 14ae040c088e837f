"""The study of decompositions: which labels share a group, and what of the gain is the powerset's (paper 1 leaves both open)."""
import dataclasses
import pathlib

import pandas as pd

from polysed_keras.datasets import load_dataset
from polysed_keras.evaluation import class_wise_table
from polysed_keras.models import experiment_cost, widen, with_num_labels
from polysed_keras.papers.paper1 import DEMO, DEMO_NETWORK, FEW_LABELS, make_demo_data
from polysed_keras.specs import Decomposition, Experiment, get_preset, set_fields
from polysed_keras.training import load_run

CRNN, WIDE_CRNN, ONE_SUBNET, SUBNETS = "crnn", "wide_crnn", "one_subnet_sigmoids", "subnets_sigmoids"
CONTIGUOUS = "contiguous"


@dataclasses.dataclass(frozen=True)
class StudyRecipe:
    """What the study trains.

    Attributes:
        data: folder of the corpus. out: of the runs. num_labels: of the corpus.
        crnn, powersets: Experiments of the multi-label CRNN and of the contiguous powersets.
        num_tasks: N. seeds: of each network. epochs, screening_epochs: of a training, and of one that only chooses.
    """

    data: pathlib.Path
    out: pathlib.Path
    num_labels: int
    crnn: Experiment
    powersets: Experiment
    num_tasks: int
    seeds: tuple
    epochs: int
    screening_epochs: int

    @property
    def runs(self):
        """Folder of the runs."""
        return self._runs(self.epochs)

    @property
    def screening_runs(self):
        """Folder of the screening's runs: that of the others where they are as long, so that they are trained once."""
        return self._runs(self.screening_epochs)

    def _runs(self, epochs):
        return self.out / f"{epochs}_epochs"


def study_recipe(data, out, *, small=False, num_tasks=None, settings=None, seeds=None, epochs=None, screening_epochs=None):
    """The recipe of the study: tiny networks on sounds that the program makes, where `data` is "demo", or the paper's networks.

    Args:
        data: folder of a corpus, or "demo".
        out: folder of all that is made.
        small: take the `_small` presets.
        num_tasks: N; None for 8, the paper's best (demo: 2).
        settings: more changes of the presets, as `--set` makes them.
        seeds: None for three (demo: one).
        epochs: None for the presets' (demo: 1). screening_epochs: None for a quarter of them.

    Raises:
        InputError: no corpus there, or a folder that cannot be written.
    """
    demo, data, out = str(data) == DEMO, pathlib.Path(data), pathlib.Path(out)
    if demo:
        data, out = make_demo_data(out, FEW_LABELS, "four_labels"), out / "study"
    suffix, own = "_small" * (small or demo), [*(DEMO_NETWORK if demo else ()), *(settings or ())]
    num_tasks = num_tasks or (2 if demo else 8)
    crnn = set_fields(get_preset(f"multilabel{suffix}"), own)
    powersets = set_fields(get_preset(f"mcmt_2{suffix}"), [*own, f"tasks.num_tasks={num_tasks}"])
    epochs = epochs or (1 if demo else crnn.training.epochs)
    return StudyRecipe(data, out, len(load_dataset(data).labels), crnn, powersets, num_tasks,
                       tuple(seeds or ((0,) if demo else (0, 1, 2))), epochs, screening_epochs or max(1, epochs // 4))


def capacity_controls(crnn, powersets, num_labels):
    """Networks that lack what the powersets have beside their encoding: size, attention, more than one subnet.

    Args:
        crnn: Experiment of the multi-label CRNN; powersets: of a network with a softmax over all combinations a task.
        num_labels: of the corpus.

    Returns:
        {name: Experiment}: the CRNN; the CRNN widened to the powersets' multiply-adds; one attention subnet with a sigmoid
        for each label; as many subnets as the powersets, with sigmoids.

    Raises:
        InputError: more tasks than labels, or networks of clips.
    """
    cost = experiment_cost(with_num_labels(powersets, num_labels))
    wide = widen(with_num_labels(crnn, num_labels), cost).model
    return {CRNN: crnn, WIDE_CRNN: dataclasses.replace(crnn, model=wide),
            ONE_SUBNET: set_fields(powersets, ["tasks.num_tasks=1", "tasks.encoding=multi_label"]),
            SUBNETS: set_fields(powersets, ["tasks.encoding=multi_label"])}


def grouping_strategies(powersets, confusion_groups, unequal_groups=None):
    """The powersets over other groups of labels.

    Args:
        powersets: as in capacity_controls, over contiguous groups.
        confusion_groups: of training.find_groups by the strategy `confusion`.
        unequal_groups: a list of lists of labels; None for none.

    Returns:
        {name: Experiment}, the contiguous groups first; random ones by two seeds.
    """
    given = {"confusion": confusion_groups, **({"unequal": unequal_groups} if unequal_groups else {})}
    return {CONTIGUOUS: powersets,
            **{f"random{seed}": set_fields(powersets, ["tasks.strategy=random", f"tasks.seed={seed}"]) for seed in (0, 1)},
            **{name: set_fields(powersets, [f"tasks.strategy={name}"]) for name in ("cooccurrence", "anti_cooccurrence")},
            **{name: dataclasses.replace(powersets, tasks=Decomposition(groups=groups)) for name, groups in given.items()}}


def with_epochs(variants, epochs):
    """{name: Experiment} trained for so many epochs."""
    return {name: set_fields(experiment, [f"training.epochs={epochs}"]) for name, experiment in variants.items()}


def best_strategies(results, number=2):
    """The names of the strategies beside the contiguous one that score highest overall; of equal ones the first.

    Args:
        results: RunResults of grouping_strategies' networks.
    """
    scores = overall_scores(results)["F1"].drop(CONTIGUOUS)
    return list(scores.sort_values(ascending=False, kind="stable").index[:number])


def overall_scores(results, against=None):
    """Overall frame-based F1 in per cent, with 95 % intervals over recordings, a row a network.

    Args:
        results: RunResults.
        against: name of the network to which the paired differences are; None for the first.

    Returns:
        DataFrame F1, its interval (low, high), lowest and highest of the seeds, and difference with its interval.
    """
    ordered = sorted(results, key=lambda result: against not in (None, result.name))  # stable: the first is compared with
    table = class_wise_table(ordered).query("row == 'overall'").set_index("run")
    columns = {"value": "F1", "low": "low", "high": "high", "seed_min": "lowest seed", "seed_max": "highest seed",
               "difference": "difference", "difference_low": "low of difference", "difference_high": "high of difference"}
    return (100 * table[list(columns)].rename(columns=columns)).astype(float).round(1)


def run_costs(runs):
    """What networks cost, a row each.

    Args:
        runs: {name: folder of a run}.

    Returns:
        DataFrame of million multiply-adds a second of audio, and million weights.

    Raises:
        InputError: a folder without a run.
    """
    found = {name: experiment_cost(load_run(run)) for name, run in runs.items()}
    return pd.DataFrame({"million multiply-adds a second": [round(cost.multiply_adds / 1e6, 1) for cost in found.values()],
                         "million weights": [round(cost.weights / 1e6, 2) for cost in found.values()]}, index=list(found))
