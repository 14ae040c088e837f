"""PRESETS: all named experiments, with the table of the paper that each belongs to.

Paper 1 is Phan, Nguyen, Koch, Mertins, "Polyphonic audio event detection: multi-label or multi-class multi-task
classification problem?", ICASSP 2022, arXiv 2201.12557. Numbers are its overall frame-based F1 on the test partition
of TUT-SED Synthetic 2016 (Table 2): `polysed train NAME --data TUT-SED-synthetic-2016 --out runs/NAME`.

Paper 2 is "Impact of acoustic event tagging on scene classification in a multi-task learning framework", Interspeech
2022, arXiv 2206.13476. Numbers are its macro-average accuracy on TUT Urban Acoustic Scenes 2018 (sections 1 and 3.3):
`polysed train NAME --data DATA --out runs/NAME`, where DATA holds a folder named as each corpus.

The papers leave some choices open. Ours are, for paper 1: n_fft 2048, Slaney mels, the places of dropout in the head,
and the selection of the epoch by validation overall F1. For paper 2: paper 1's features, Adam with its learning rate
and schedule, the number of epochs, and the strengths of SpecAugment and MixUp. The `_small` presets are ours, and so
are those of the pretrained backbone YAMNet, which has one output every 40 ms. `yamnet_audioset` is not trained, only
exported: its posteriors are YAMNet's scores of its 521 classes, one output for each 0.96 s.
"""
import dataclasses

from polysed_keras.errors import InputError, expect_known
from polysed_keras.files import read_json
from polysed_keras.specs.experiment import (
    CLASS_SCORES,
    RUN_KEYS,
    YAMNET_FEATURES,
    AugmentSpec,
    Experiment,
    LogMelSpec,
    ModelSpec,
    TrainSpec,
)
from polysed_keras.specs.tasks import Decomposition, Task

PAPER_OVERALL_F1 = {1: 63.1, 2: 64.3, 4: 66.0, 8: 66.8, 16: 65.9}
NUM_TASKS = (2, 4, 5, 8, 10, 16)

# A quarter of the width. Time is strided by 4 and frequency by 2, because blocks at full resolution are nearly all of
# the cost. With dropout of 0.25, networks this narrow do not even learn the training mixtures.
SMALL_MODEL = {"filters": (16, 16, 32, 32, 64), "recurrent_units": 64, "dense_units": (128, 128),
               "stem_strides": (4, 2), "dropout": 0.1}
SMALL_TRAINING = TrainSpec(epochs=8, learning_rate=2e-3, learning_rate_schedule="cosine", segment_hop=32)

SCENES, EVENTS = Task("scene", (), "multi_class"), Task("events", (), "multi_label")  # their labels are the data's
CLIP_TRAINING = TrainSpec(epochs=50, learning_rate=1e-3, learning_rate_schedule="cosine", segment_frames=500)  # 10 s
CLIP_AUGMENT = AugmentSpec(time_masks=2, time_mask_frames=50, frequency_masks=2, frequency_mask_mels=8, mixup=0.2)
RESNET18 = ModelSpec(backbone="resnet18", head="pooled", filters=(64, 128, 256, 512), dropout=0.0)
DENSENET121 = dataclasses.replace(RESNET18, backbone="densenet", filters=(256, 512, 1024, 1024))
# Frames do not overlap: half as many frames, at half the cost.
SMALL_CLIP_FEATURES = LogMelSpec(hop_length=1764)
SMALL_CLIP_TRAINING = {"epochs": 12, "segment_frames": 250}
SMALL_CLIP_AUGMENT = dataclasses.replace(CLIP_AUGMENT, time_mask_frames=25)
SMALL_FILTERS = {"resnet18": (16, 32, 64, 128), "densenet": (64, 64, 64, 64)}


def _with_small(experiment, **changes):
    small = dataclasses.replace(experiment, name=f"{experiment.name}_small", **changes,
                                reference="a CPU-sized network after " + experiment.reference)
    return {experiment.name: experiment, small.name: small}


def _segments(name, num_tasks, model, encoding="powerset"):
    result = PAPER_OVERALL_F1.get(num_tasks)
    reference = "arXiv 2201.12557, Table 2" + (f": overall F1 {result} %" if result else " (a decomposition not in it)")
    experiment = Experiment(name, reference, tasks=Decomposition(num_tasks, encoding=encoding), model=model)
    return _with_small(experiment, model=dataclasses.replace(model, **SMALL_MODEL), training=SMALL_TRAINING)


def _clips(name, reference, dataset, tasks, model=RESNET18, **training):
    experiment = Experiment(name, "arXiv 2206.13476, " + reference, dataset, tasks=tasks, model=model,
                            training=dataclasses.replace(CLIP_TRAINING, **training), augment=CLIP_AUGMENT)
    return _with_small(
        experiment, features=SMALL_CLIP_FEATURES, augment=SMALL_CLIP_AUGMENT,
        model=dataclasses.replace(model, filters=SMALL_FILTERS[model.backbone], recurrent_units=64),
        training=dataclasses.replace(experiment.training, **SMALL_CLIP_TRAINING))


YAMNET = ModelSpec("yamnet", "recurrent", filters=(64, 64, 128, 256), recurrent_units=128, dense_units=(256,),
                   output_stride=4, freeze_backbone=True)
# Segments of 9.6 s. YAMNet hears patches of 96 frames; a second pass begins half a patch later.
YAMNET_TRAINING = TrainSpec(batch_size=64, epochs=12, learning_rate=3e-3, learning_rate_schedule="cosine",
                            segment_frames=960, segment_hop=528, measure="f1_and_recall")


def _pretrained(name, num_tasks, encoding, **model):
    return {name: Experiment(name, "YAMNet's convolutions and the head of arXiv 2201.12557",
                             features=YAMNET_FEATURES, tasks=Decomposition(num_tasks, encoding=encoding),
                             model=dataclasses.replace(YAMNET, **model), training=YAMNET_TRAINING)}


PRESETS = _segments("multilabel", 1, ModelSpec(head="recurrent"), encoding="multi_label")
for _n in NUM_TASKS:
    PRESETS |= _segments(f"mcmt_{_n}", _n, ModelSpec(head="attention"))
PRESETS |= _pretrained("yamnet", 1, "multi_label")
for _n in (2, 4, 5, 8):  # half the filters, which halves a step: all levels of every subnet have an output every 40 ms
    PRESETS |= _pretrained(f"yamnet_mcmt_{_n}", _n, "powerset", head="attention", filters=(32, 32, 64, 128))
# A segment of two patches, because with one patch alone an output would be a whole clip.
PRESETS["yamnet_audioset"] = Experiment(
    "yamnet_audioset", "YAMNet's own scores of its 521 classes", dataset="audioset", features=YAMNET_FEATURES,
    tasks=Decomposition(1, encoding="multi_label"), training=TrainSpec(segment_frames=192),
    model=dataclasses.replace(YAMNET, head=CLASS_SCORES, output_stride=96))
PRESETS |= _clips("scene_baseline", "section 3.3: scene accuracy 68 %", "tut_urban_acoustic_scenes_2018", (SCENES,),
                  batch_size=64)
PRESETS |= _clips("event_baseline", "section 3.3: lwlrap depends on the subset of AudioSet", "audioset", (EVENTS,),
                  batch_size=128)
PRESETS |= _clips("scene_event_joint", "section 1: scene accuracy up to 5 points over the baseline's 68 %",
                  "tut_urban_acoustic_scenes_2018+audioset", (SCENES, EVENTS), batch_size=64, event_batch_size=128,
                  alpha=0.95)
PRESETS |= _clips("event_tagger_densenet", "section 4.2: ranks events (theirs knew 203 classes of data not public)",
                  "audioset", (EVENTS,), DENSENET121, batch_size=128)


def list_presets():
    """List the names of all presets; `get_preset` returns the Experiment of one.

    Returns:
        Tuple of str.

    Example:
        >>> "mcmt_8" in ps.list_presets()
        True
    """
    return tuple(PRESETS)


def get_preset(name):
    """Return the Experiment of a preset or of a JSON file, such as a search's best.json.

    Args:
        name: a key of PRESETS, or the path of a .json file.

    Returns:
        Experiment.

    Raises:
        InputError: an unknown name, or a file that holds no Experiment.

    Example:
        >>> ps.get_preset("mcmt_8").training.epochs
        10
    """
    if str(name).endswith(".json"):
        data = read_json(name, dict)
        try:
            return Experiment.from_dict({key: value for key, value in data.items()
                                         if key not in RUN_KEYS})
        except InputError as error:
            raise InputError(f"{name}: expected an Experiment, such as a search's best.json. "
                             f"Received: {error}") from error
    expect_known(name, PRESETS, "preset", expected="a path of a .json file, or one of {}")
    return PRESETS[name]
