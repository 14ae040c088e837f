"""Presets: what the papers say of them, that their parts fit, and that the small ones are small."""
import dataclasses

import pytest

from polysed_keras.datasets.loading import CLIP_CORPORA
from polysed_keras.errors import InputError
from polysed_keras.files import write_json
from polysed_keras.specs.experiment import (
    RUN_KEYS,
    YAMNET_FEATURES,
    AugmentSpec,
    Experiment,
    LogMelSpec,
    ModelSpec,
    TrainSpec,
)
from polysed_keras.specs.presets import PRESETS, get_preset, list_presets
from polysed_keras.specs.tasks import Decomposition

FULL = ("scene_baseline", "event_baseline", "scene_event_joint", "event_tagger_densenet")
CLIPS = [name for name, experiment in PRESETS.items() if experiment.clip_level]


def test_there_is_a_small_one_of_each():
    assert sorted(CLIPS) == sorted([*FULL, *(f"{name}_small" for name in FULL)])


@pytest.mark.parametrize("name", CLIPS)
def test_tasks_are_those_of_the_corpora(name):
    experiment = get_preset(name)
    corpora = experiment.dataset.split("+")
    assert [task.name for task in experiment.tasks] == [CLIP_CORPORA[corpus] for corpus in corpora]
    assert all(task.labels == () for task in experiment.tasks)  # they are the data's
    assert {task.name: task.encoding for task in experiment.tasks}.items() <= {
        "scene": "multi_class", "events": "multi_label"}.items()


@pytest.mark.parametrize("name", CLIPS)
def test_a_clip_is_ten_seconds(name):
    """Paper 2, section 2."""
    experiment = get_preset(name)
    assert experiment.training.segment_frames * experiment.features.time_resolution == pytest.approx(10)


def test_numbers_of_the_paper():
    """Section 2: 64 scene clips and 128 event clips a batch; section 4.1: alpha 0.95; 3.3 and 1: 68 % and 5 points."""
    joint = get_preset("scene_event_joint")
    assert (joint.training.batch_size, joint.training.event_batch_size, joint.training.alpha) == (64, 128, 0.95)
    assert get_preset("scene_baseline").training.batch_size == 64
    assert get_preset("event_baseline").training.batch_size == 128
    assert "68 %" in get_preset("scene_baseline").reference and "5 points" in joint.reference
    for name in CLIPS:
        assert "2206.13476" in get_preset(name).reference
        assert get_preset(name).training.alpha == (0.95 if "joint" in name else None)


def test_baselines_differ_from_the_joint_network_in_tasks_and_batches_only():
    joint = get_preset("scene_event_joint")
    for baseline in map(get_preset, ("scene_baseline", "event_baseline")):
        assert (baseline.features, baseline.model, baseline.augment) == (joint.features, joint.model, joint.augment)
        assert baseline.training.epochs == joint.training.epochs


@pytest.mark.parametrize("name", CLIPS)
def test_clips_are_augmented_within_their_size(name):
    experiment = get_preset(name)
    augment = experiment.augment
    assert augment != AugmentSpec() and augment.mixup > 0
    # a clip keeps most of itself
    assert augment.time_masks * augment.time_mask_frames < experiment.training.segment_frames / 2
    assert augment.frequency_masks * augment.frequency_mask_mels < experiment.features.n_mels / 2


@pytest.mark.parametrize("name", FULL)
def test_small_ones_have_a_quarter_of_the_width_and_half_of_the_frames(name):
    full, small = get_preset(name), get_preset(f"{name}_small")
    assert all(4 * narrow <= wide for narrow, wide in zip(small.model.filters, full.model.filters, strict=True))
    assert full.features == LogMelSpec() and 2 * small.training.segment_frames == full.training.segment_frames
    assert 2 * small.augment.time_mask_frames == full.augment.time_mask_frames
    assert small.training.epochs < full.training.epochs
    assert small.reference.endswith(full.reference)


# Settings, written out once more: who changes one changes the meaning of results that were published with it.

def test_presets_of_paper_1_say_their_row_of_its_table_2():
    scores = {"multilabel": 63.1, "mcmt_2": 64.3, "mcmt_4": 66.0, "mcmt_8": 66.8, "mcmt_16": 65.9}
    for name in ("multilabel", *(f"mcmt_{number}" for number in (2, 4, 5, 8, 10, 16))):
        full, small = get_preset(name), get_preset(f"{name}_small")
        number = int(name.partition("_")[2] or 1)
        assert full == Experiment(
            name, "arXiv 2201.12557, Table 2" + (f": overall F1 {scores[name]} %" if name in scores else
                                                 " (a decomposition not in it)"),
            tasks=Decomposition(number, encoding="powerset" if number > 1 else "multi_label"),
            model=ModelSpec(head="attention" if number > 1 else "recurrent"))
        assert (small.dataset, small.features, small.tasks) == (full.dataset, full.features, full.tasks)
        assert small.model == ModelSpec("conv_blocks", full.model.head, (16, 16, 32, 32, 64), 64, (128, 128), 0.1,
                                        (4, 2))
        assert small.training == TrainSpec(32, 8, 2e-3, 128, 32, learning_rate_schedule="cosine")


def test_pretrained_presets_have_an_output_every_40_ms():
    for name, filters in (("yamnet", (64, 64, 128, 256)), *((f"yamnet_mcmt_{number}", (32, 32, 64, 128))
                                                           for number in (2, 4, 5, 8))):
        preset, number = get_preset(name), int(name.rpartition("_")[2]) if "mcmt" in name else 1
        assert preset.features == YAMNET_FEATURES and preset.time_resolution == pytest.approx(0.04)
        assert preset.tasks == Decomposition(number, encoding="powerset" if number > 1 else "multi_label")
        assert preset.model == ModelSpec("yamnet", "attention" if number > 1 else "recurrent", filters, 128, (256,),
                                         0.25, (1, 1), 4, True)
        assert preset.training == TrainSpec(64, 12, 3e-3, 960, 528, learning_rate_schedule="cosine",
                                            measure="f1_and_recall")
    scores = get_preset("yamnet_audioset")
    assert (scores.dataset, scores.model.head, scores.learns) == ("audioset", "class_scores", False)
    assert scores.time_resolution == pytest.approx(0.96) and scores.training.segment_frames == 2 * 96
    assert scores.tasks == Decomposition(1, encoding="multi_label") and scores.features == YAMNET_FEATURES


def test_settings_of_clips():
    full, small = get_preset("scene_event_joint"), get_preset("scene_event_joint_small")
    assert full.model == ModelSpec("resnet18", "pooled", (64, 128, 256, 512), dropout=0.0)
    assert small.model == ModelSpec("resnet18", "pooled", (16, 32, 64, 128), 64, dropout=0.0)
    assert full.training == TrainSpec(64, 50, 1e-3, 500, 1, 0.95, 0, "cosine", 128)
    assert small.training == dataclasses.replace(full.training, epochs=12, segment_frames=250)
    assert full.augment == AugmentSpec(2, 50, 2, 8, 0.2) and small.features == LogMelSpec(hop_length=2 * 882)
    dense = get_preset("event_tagger_densenet"), get_preset("event_tagger_densenet_small")
    assert [each.model.filters for each in dense] == [(256, 512, 1024, 1024), (64, 64, 64, 64)]
    assert {(each.model.backbone, each.training.batch_size) for each in dense} == {("densenet", 128)}


# By name or from a file

def test_presets_are_listed_by_name_and_read_from_files(tmp_path):
    assert list_presets() == tuple(PRESETS) and get_preset("mcmt_8") is PRESETS["mcmt_8"]
    path = tmp_path / "best.json"
    write_json({**PRESETS["mcmt_8"].to_dict(), **dict.fromkeys(RUN_KEYS, "more")}, path)
    assert get_preset(path) == get_preset(str(path)) == PRESETS["mcmt_8"]  # a run's experiment.json says more
    for content in ({"name": "x", "colour": "red"}, {}, {"name": "x", "model": {"dropout": 2}}):
        write_json(content, path)
        with pytest.raises(InputError, match="best.json: expected an Experiment"):
            get_preset(path)
