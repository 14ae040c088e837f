"""A study of what paper 1 leaves open: which labels share a group, and how much of the gain is the powerset's."""
import dataclasses
import pathlib

import pandas as pd

from polysed_keras.datasets import load_dataset
from polysed_keras.evaluation import class_wise_table
from polysed_keras.models import experiment_cost, widen, with_num_labels
from polysed_keras.papers.demo import FEW_LABELS, is_demo, make_demo_data, sized_preset
from polysed_keras.papers.variants import Recipe
from polysed_keras.specs import Decomposition, set_fields
from polysed_keras.training import load_run

CRNN, WIDE_CRNN, ONE_SUBNET, SUBNETS = "crnn", "wide_crnn", "one_subnet_sigmoids", "subnets_sigmoids"
CONTIGUOUS = "contiguous"


def study_recipe(data, out, *, small=False, num_tasks=None, settings=None, seeds=None, epochs=None,
                 screening_epochs=None):
    """Return the Recipes of the study and of its screening: the paper's networks, or tiny ones if `data` is "demo".

    Their experiments are "crnn", multi-label, and "contiguous", powersets over contiguous groups.

    Args:
        data: folder of a corpus; or "demo", which makes mixtures of four labels.
        out: folder of all that is made. Trainings of as many epochs share a folder in it, so that none is done twice.
        small: bool, whether the `_small` presets are taken.
        num_tasks: int, N; None for 8, the paper's best (demo: 2).
        settings: more changes of both presets, as `--set` takes them.
        seeds: tuple of int; None for 0, 1, 2 (demo: 0). The screening has the first.
        epochs: int, of each training of the study; None for the presets' (demo: 1).
        screening_epochs: int, of each training of the screening; None for a quarter of `epochs`.

    Raises:
        InputError: no corpus there, or a folder that cannot be written.
    """
    demo, out, settings = is_demo(data), pathlib.Path(out), list(settings or ())
    crnn = sized_preset("multilabel", data, settings, small=small)
    tasks = f"tasks.num_tasks={num_tasks or (2 if demo else 8)}"
    powersets = sized_preset("mcmt_2", data, [*settings, tasks], small=small)
    if demo:
        data, out = make_demo_data(out / "four_labels", FEW_LABELS), out / "study"
    load_dataset(data)  # to fail before the first training
    epochs = epochs or (1 if demo else crnn.training.epochs)
    seeds = tuple(seeds or ((0,) if demo else (0, 1, 2)))
    study = Recipe(pathlib.Path(data), out / f"{epochs}_epochs", {CRNN: crnn, CONTIGUOUS: powersets}, seeds, epochs)
    number = screening_epochs or max(1, epochs // 4)
    return study, dataclasses.replace(study, out=out / f"{number}_epochs", seeds=seeds[:1], epochs=number)


def capacity_controls(recipe):
    """Return networks that lack what powersets have beside their encoding: size, attention, more than one subnet.

    Args:
        recipe: Recipe of study_recipe.

    Returns:
        {name: Experiment}: the CRNN; the CRNN widened to the powersets' multiply-adds; one attention subnet with a
        sigmoid per label; as many subnets as the powersets, with sigmoids.

    Raises:
        InputError: more tasks than labels, or networks of clips.
    """
    crnn, powersets = recipe.experiments[CRNN], recipe.experiments[CONTIGUOUS]
    num_labels = len(load_dataset(recipe.data).labels)
    cost = experiment_cost(with_num_labels(powersets, num_labels))
    wide = widen(with_num_labels(crnn, num_labels), cost).model
    return {CRNN: crnn, WIDE_CRNN: dataclasses.replace(crnn, model=wide),
            ONE_SUBNET: set_fields(powersets, ["tasks.num_tasks=1", "tasks.encoding=multi_label"]),
            SUBNETS: set_fields(powersets, ["tasks.encoding=multi_label"])}


def grouping_strategies(recipe, confusion_groups, unequal_groups=None):
    """Return the powersets over other groups of labels.

    Args:
        recipe: Recipe of study_recipe.
        confusion_groups: lists of labels, of evaluation.find_groups by the strategy `confusion`.
        unequal_groups: lists of labels of unequal length; None for none.

    Returns:
        {name: Experiment}, the contiguous groups first; random ones by two seeds.
    """
    powersets = recipe.experiments[CONTIGUOUS]
    found = {CONTIGUOUS: powersets}
    for seed in (0, 1):
        found[f"random{seed}"] = set_fields(powersets, ["tasks.strategy=random", f"tasks.seed={seed}"])
    for name in ("cooccurrence", "anti_cooccurrence"):
        found[name] = set_fields(powersets, [f"tasks.strategy={name}"])
    for name, groups in {"confusion": confusion_groups, "unequal": unequal_groups}.items():
        if groups:
            found[name] = dataclasses.replace(powersets, tasks=Decomposition(groups=groups))
    return found


def best_strategies(results, number=2):
    """Name the strategies beside the contiguous one that score highest overall; of equal ones the first.

    Args:
        results: RunResults of the networks of grouping_strategies.
        number: int, of names.
    """
    scores = overall_scores(results)["F1"].drop(CONTIGUOUS)
    return list(scores.sort_values(ascending=False, kind="stable").index[:number])


def overall_scores(results, against=None):
    """Tabulate overall frame-based F1 in per cent, with 95 % intervals over recordings.

    Args:
        results: RunResults.
        against: str, name of the network to which the paired differences are; None for the first.

    Returns:
        DataFrame, a row per network: F1, its interval (low, high), lowest and highest of the seeds, and the difference
        with its interval.
    """
    ordered = sorted(results, key=lambda result: against not in (None, result.name))  # differences are to the first
    table = class_wise_table(ordered).query("row == 'overall'").set_index("run")
    columns = {"value": "F1", "low": "low", "high": "high", "seed_min": "lowest seed", "seed_max": "highest seed",
               "difference": "difference", "difference_low": "low of difference",
               "difference_high": "high of difference"}
    return (100 * table[list(columns)].rename(columns=columns)).astype(float).round(1)


def run_costs(runs):
    """Tabulate what trained networks cost.

    Args:
        runs: {name: folder of a run}.

    Returns:
        DataFrame, a row per run: million multiply-adds per second of audio, and million weights.

    Raises:
        InputError: a folder without a run.
    """
    costs = {name: experiment_cost(load_run(run)) for name, run in runs.items()}
    return pd.DataFrame({name: {"million multiply-adds a second": round(cost.multiply_adds / 1e6, 1),
                                "million weights": round(cost.weights / 1e6, 2)} for name, cost in costs.items()}).T
