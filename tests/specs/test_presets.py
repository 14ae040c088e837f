"""Presets of clips: what paper 2 says of them, that their parts fit, and that the small ones are small."""
import pytest

from polysed_keras.datasets.loading import CLIP_CORPORA
from polysed_keras.specs.experiment import AugmentSpec, LogMelSpec
from polysed_keras.specs.presets import PRESETS, get_preset

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
