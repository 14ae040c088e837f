"""PRESETS: every named experiment, with the table of the paper that it belongs to.

Paper 1 is Phan, Nguyen, Koch, Mertins, "Polyphonic audio event detection: multi-label or multi-class multi-task
classification problem?", ICASSP 2022, arXiv 2201.12557. Numbers are its overall frame-based F1 on the test partition
of TUT-SED Synthetic 2016 (Table 2): `polysed train NAME --data TUT-SED-synthetic-2016 --out runs/NAME`.

Ours to choose, because the paper leaves it open: n_fft 2048, Slaney mels, where dropout sits in the head, the epoch
selected by validation overall F1; and everything of the `_small` presets, which are for a CPU.
"""
import dataclasses

from polysed_keras.errors import InputError
from polysed_keras.specs import Experiment, ModelSpec, TrainSpec
from polysed_keras.tasks import Decomposition

PAPER_OVERALL_F1 = {1: 63.1, 2: 64.3, 4: 66.0, 8: 66.8, 16: 65.9}
NUM_TASKS = (2, 4, 5, 8, 10, 16)

# Quarter width; time strided by 4 and frequency by 2, because blocks at full resolution are nearly all of the cost.
# Dropout of 0.25 on so few channels leaves even the training mixtures unlearnt.
SMALL_MODEL = {"filters": (16, 16, 32, 32, 64), "recurrent_units": 64, "dense_units": (128, 128), "stem_strides": (4, 2),
               "dropout": 0.1}
SMALL_TRAINING = TrainSpec(epochs=8, learning_rate=2e-3, learning_rate_schedule="cosine", segment_hop=32)


def _reference(num_tasks):
    result = PAPER_OVERALL_F1.get(num_tasks)
    return "arXiv 2201.12557, Table 2" + (f": overall F1 {result} %" if result else " (a decomposition not in it)")


def _with_small(experiment):
    small = dataclasses.replace(
        experiment, name=f"{experiment.name}_small", reference="a CPU-sized network after " + experiment.reference,
        model=dataclasses.replace(experiment.model, **SMALL_MODEL), training=SMALL_TRAINING)
    return {experiment.name: experiment, small.name: small}


PRESETS = _with_small(Experiment(
    name="multilabel", reference=_reference(1), tasks=Decomposition(1, encoding="multi_label"),
    model=ModelSpec(head="recurrent")))
for _n in NUM_TASKS:
    PRESETS |= _with_small(Experiment(
        name=f"mcmt_{_n}", reference=_reference(_n), tasks=Decomposition(_n), model=ModelSpec(head="attention")))


def get_preset(name):
    """The Experiment of a name. Raises InputError, listing the names, for an unknown one."""
    if name not in PRESETS:
        raise InputError(f"preset: expected one of {', '.join(PRESETS)}. Received: {name!r}.")
    return PRESETS[name]
