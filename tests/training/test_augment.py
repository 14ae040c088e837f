"""Augmentation: where masks lie and how often, what they are filled with, MixUp's weights and partners, seeds."""
import dataclasses

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from polysed_keras.specs.experiment import AugmentSpec
from polysed_keras.training.augment import augment, mixup, spec_augment

SEED = tf.constant([7, 3])
BOTH = AugmentSpec(time_masks=2, time_mask_frames=6, frequency_masks=1, frequency_mask_mels=4, mixup=0.4)


def clips(batch, frames, n_mels, seed=0):
    """Noise in dB: no value equals its clip's mean."""
    return np.random.default_rng(seed).normal(-40, 10, (batch, frames, n_mels)).astype(np.float32)


def masked_places(batch, frames, n_mels, seed=SEED, **masks):
    """Which places spec_augment changes: bool (batch, frames, n_mels)."""
    log_mel = clips(batch, frames, n_mels)
    return spec_augment(log_mel, AugmentSpec(**masks), seed).numpy() != log_mel


def widths_and_starts(masks):
    """Width of each row's only mask, and its first place (0 where it is empty); fails where it has gaps."""
    widths, starts = masks.sum(axis=1), masks.argmax(axis=1)
    ends = masks.shape[1] - masks[:, ::-1].argmax(axis=1)
    assert np.array_equal((ends - starts)[widths > 0], widths[widths > 0])
    return widths, starts


def covered(size, max_width, masks):
    """The probability that each place is masked, from all widths and positions of a mask."""
    once = np.zeros(size)
    for width in range(max_width + 1):
        for start in range(size - width + 1):
            once[start:start + width] += 1 / (max_width + 1) / (size - width + 1)
    return 1 - (1 - once) ** masks


# SpecAugment

@pytest.mark.parametrize("direction", ["time", "frequency"])
def test_one_mask_has_a_uniform_width_and_position(direction):
    batch, size, max_width = 6000, 12, 4
    if direction == "time":
        places = masked_places(batch, size, 2, time_masks=1, time_mask_frames=max_width)
    else:
        places = masked_places(batch, 2, size, frequency_masks=1, frequency_mask_mels=max_width).transpose(0, 2, 1)
    assert np.array_equal(places[..., 0], places[..., 1])  # across the whole of the other axis
    widths, starts = widths_and_starts(places[..., 0])
    counts = np.bincount(widths, minlength=max_width + 1)
    assert len(counts) == max_width + 1
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    for width in range(1, max_width + 1):
        positions = np.bincount(starts[widths == width], minlength=size - width + 1)
        assert len(positions) == size - width + 1
        assert scipy.stats.chisquare(positions).pvalue > 1e-3


@pytest.mark.parametrize("masks, max_width", [(1, 5), (2, 5), (3, 9)])
def test_share_of_masked_frames(masks, max_width):
    batch, frames = 6000, 10
    places = masked_places(batch, frames, 1, time_masks=masks, time_mask_frames=max_width)[..., 0]
    expected = covered(frames, max_width, masks)
    assert np.abs(places.mean(axis=0) - expected).max() < 4 * np.sqrt(0.25 / batch)
    share = places.mean(axis=1)
    assert abs(share.mean() - expected.mean()) < 4 * share.std() / np.sqrt(batch)
    if masks == 1:
        assert expected.mean() == pytest.approx(max_width / 2 / frames)


def test_masks_in_time_and_frequency_are_independent_bands():
    places = masked_places(3000, 6, 5, time_masks=1, time_mask_frames=3, frequency_masks=2, frequency_mask_mels=2)
    frames, mels = places.all(axis=2), places.all(axis=1)
    assert np.array_equal(places, frames[:, :, None] | mels[:, None, :])
    expected = covered(6, 3, 1)[:, None] + (1 - covered(6, 3, 1)[:, None]) * covered(5, 2, 2)
    assert np.abs(places.mean(axis=0) - expected).max() < 4 * np.sqrt(0.25 / 3000)


def test_masked_values_are_the_mean_and_others_are_untouched():
    log_mel = clips(50, 20, 8)
    result = spec_augment(log_mel, BOTH, SEED).numpy()
    changed = result != log_mel
    assert 0.1 < changed.mean() < 0.9 and result.dtype == np.float32
    means = np.broadcast_to(log_mel.astype(np.float64).mean(axis=(1, 2), keepdims=True), log_mel.shape)
    np.testing.assert_allclose(result[changed], means[changed], rtol=1e-5)


def test_masks_wider_than_the_clip_are_cut_to_it():
    widths, _ = widths_and_starts(masked_places(2000, 3, 2, time_masks=1, time_mask_frames=100)[..., 0])
    assert scipy.stats.chisquare(np.bincount(widths, minlength=4)).pvalue > 1e-3 and widths.max() == 3


# MixUp

def one_hot_mix(batch, concentration, seed):
    """The share of each clip (columns) in each mix (rows): one-hot clips and targets, which must come out alike."""
    features, targets = (part.numpy() for part in mixup(
        np.eye(batch, dtype=np.float32)[:, None, :], np.eye(batch, dtype=np.float32), concentration, seed))
    np.testing.assert_array_equal(features[:, 0], targets)
    return targets


def weights_and_partners(batch, concentration, seed):
    """The weight of each clip that did not meet itself, and all partners (seen where all weights are about 0.5)."""
    shares = one_hot_mix(batch, concentration, seed)
    weights, even = np.diag(shares), one_hot_mix(batch, 1e4, seed)
    others = even - np.diag(np.diag(even))
    partners = np.where(others.any(axis=1), others.argmax(axis=1), np.arange(batch))
    met = partners != np.arange(batch)
    np.testing.assert_allclose(shares[met, partners[met]], 1 - weights[met], atol=1e-6)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    return weights[met], partners


def test_mixed_clips_and_targets_have_the_same_weights():
    log_mel, targets = clips(16, 5, 4), np.random.default_rng(1).integers(0, 2, (16, 3)).astype(np.float32)
    names = np.eye(16, dtype=np.float32)
    mixed, shares = (part.numpy() for part in mixup(log_mel, names, 0.8, SEED))
    _, mixed_targets = mixup(log_mel, targets, 0.8, SEED)
    np.testing.assert_allclose(mixed, np.einsum("bc,cfm->bfm", shares, log_mel), atol=1e-4)
    np.testing.assert_allclose(mixed_targets, shares @ targets, atol=1e-6)
    assert ((shares > 0) & (shares < 1)).sum() > 16


def test_partners_are_a_permutation():
    orders = [weights_and_partners(10, 1.0, [seed, 0])[1] for seed in range(100)]
    assert all(np.array_equal(np.sort(order), np.arange(10)) for order in orders)
    counts = np.bincount([order[0] for order in orders], minlength=10)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("concentration", [0.1, 0.4, 1.0, 3.0])
def test_weights_are_of_the_beta_distribution(concentration):
    weights = np.concatenate([weights_and_partners(300, concentration, [seed, 1])[0] for seed in range(60)])
    weights = weights.astype(np.float64)
    number, variance = len(weights), 1 / (4 * (2 * concentration + 1))
    assert number > 17_000
    assert abs(weights.mean() - 0.5) < 4 * np.sqrt(variance / number)
    squares = (weights - 0.5) ** 2
    assert abs(squares.mean() - variance) < 4 * squares.std() / np.sqrt(number)
    for weight in (0.001, 0.1, 0.3, 0.5, 0.7, 0.95):
        expected = scipy.stats.beta.cdf(weight, concentration, concentration)
        assert abs((weights <= weight).mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / number)


@pytest.mark.parametrize("concentration", [1e-6, 1e-3, 0.01, 0.1, 1.0, 1e4])
def test_no_concentration_gives_nan(concentration):
    """A float32 gamma of 0.001 is 0 in nine draws of ten, and 0 / (0 + 0) is NaN."""
    weights = np.concatenate([weights_and_partners(500, concentration, [seed, 2])[0] for seed in range(10)])
    assert np.isfinite(weights).all() and weights.min() >= 0 and weights.max() <= 1
    assert abs(weights.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(weights))


# Both

def test_off_gives_the_same_tensors():
    log_mel, targets = tf.constant(clips(4, 5, 3)), tf.ones([4, 2])
    for spec in (AugmentSpec(), AugmentSpec(time_masks=2), AugmentSpec(frequency_mask_mels=3)):
        same_log_mel, same_targets = augment(log_mel, targets, spec, SEED)
        assert same_log_mel is log_mel and same_targets is targets


def test_each_part_works_alone_and_both_together():
    log_mel, targets = clips(32, 20, 8), np.eye(32, dtype=np.float32)
    _, kept = augment(log_mel, targets, AugmentSpec(time_masks=1, time_mask_frames=5), SEED)
    np.testing.assert_array_equal(kept, targets)
    mixed, shares = augment(log_mel, targets, AugmentSpec(mixup=0.4), SEED)
    np.testing.assert_allclose(mixed, np.einsum("bc,cfm->bfm", shares, log_mel), atol=1e-4)
    both, same_shares = augment(log_mel, targets, BOTH, SEED)
    np.testing.assert_array_equal(same_shares, shares)
    masked = both.numpy() != mixed.numpy()
    means = np.broadcast_to(mixed.numpy().mean(axis=(1, 2), keepdims=True), masked.shape)
    assert masked.any() and not masked.all()
    np.testing.assert_allclose(both.numpy()[masked], means[masked], rtol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"mixup": 0.0}, {"time_masks": 0}, {"frequency_masks": 0},
                                     {"time_masks": 0, "frequency_masks": 0}])
def test_seeds_decide_on_every_part(changes):
    log_mel, targets, spec = clips(16, 20, 8), np.eye(16, dtype=np.float32), dataclasses.replace(BOTH, **changes)
    first, again, other = ([part.numpy() for part in map(tf.constant, augment(
        log_mel, targets, spec, tf.constant(seed, tf.int64)))] for seed in ([1, 2], [1, 2], [1, 3]))
    assert all(np.array_equal(part, same) for part, same in zip(first, again))
    assert not np.array_equal(first[0], other[0])
    assert np.array_equal(first[1], other[1]) == (spec.mixup == 0)


def test_clips_have_masks_and_weights_of_their_own():
    places = masked_places(64, 40, 16, time_masks=1, time_mask_frames=10, frequency_masks=1, frequency_mask_mels=5)
    assert len(np.unique(places.all(axis=2), axis=0)) > 30 and len(np.unique(places.all(axis=1), axis=0)) > 15
    weights, _ = weights_and_partners(64, 1.0, SEED)
    assert len(np.unique(weights)) == len(weights)


def test_batches_of_any_size_in_a_graph():
    log_mel, targets = clips(7, 20, 8), np.eye(7, 3, dtype=np.float32)
    data = tf.data.Dataset.from_tensor_slices((log_mel, targets)).batch(4).enumerate()
    data = data.map(lambda step, batch: augment(*batch, BOTH, tf.stack([tf.constant(5, tf.int64), step])))
    assert [tuple(part.shape) for part in data.element_spec] == [(None, 20, 8), (None, 3)]
    for step, (batch_log_mel, batch_targets) in enumerate(data):
        expected = augment(log_mel[4 * step:4 * step + 4], targets[4 * step:4 * step + 4], BOTH,
                           tf.constant([5, step], tf.int64))
        np.testing.assert_allclose(batch_log_mel, expected[0], rtol=1e-5)
        np.testing.assert_allclose(batch_targets, expected[1], rtol=1e-5)
