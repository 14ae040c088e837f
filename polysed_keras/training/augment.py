"""Augmentation of batches of training clips: SpecAugment's masks and MixUp (paper 2, section 2).

These are TensorFlow functions for tf.data. All randomness comes from `seed`, so a resumed training sees the same clips.
"""
import tensorflow as tf


def augment(log_mel, targets, spec, seed):
    """Apply MixUp, then SpecAugment, each if the spec asks for it; masks hide the same places of both clips of a mix.

    Args:
        log_mel: float32 (batch, frames, n_mels), dB, clips of one task.
        targets: float32 (batch, outputs).
        spec: specs.AugmentSpec; if it is off, the same tensors come back.
        seed: int32 or int64 (2,).

    Returns:
        log_mel and targets of the same shapes.
    """
    mixup_seed, mask_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    if spec.mixup > 0:
        log_mel, targets = mixup(log_mel, targets, spec.mixup, mixup_seed)
    return spec_augment(log_mel, spec, mask_seed), targets


def spec_augment(log_mel, spec, seed):
    """Replace random bands of frames and of mels by the clip's mean (Park et al. 2019, section 2; arXiv 1904.08779).

    Every clip has its own spec.time_masks and spec.frequency_masks, which may overlap. A mask's width is uniform from 0
    to spec.time_mask_frames (frequency_mask_mels), at most the clip's; its position is uniform within the clip. There
    is no time warping, which that paper found to matter least.

    Args:
        log_mel: float32 (batch, frames, n_mels), dB.
        spec: specs.AugmentSpec.
        seed: int32 or int64 (2,).

    Returns:
        float32 (batch, frames, n_mels); the same tensor if no masks are asked for.
    """
    in_time = spec.time_masks * spec.time_mask_frames > 0
    in_frequency = spec.frequency_masks * spec.frequency_mask_mels > 0
    if not (in_time or in_frequency):
        return log_mel
    batch, frames, n_mels = tf.unstack(tf.shape(log_mel))
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    masked = tf.zeros([batch, frames, n_mels], tf.bool)
    if in_time:
        masked |= _masks(batch, frames, spec.time_masks, spec.time_mask_frames, seeds[0])[:, :, None]
    if in_frequency:
        masked |= _masks(batch, n_mels, spec.frequency_masks, spec.frequency_mask_mels, seeds[1])[:, None, :]
    return tf.where(masked, tf.reduce_mean(log_mel, axis=[1, 2], keepdims=True), log_mel)


def _masks(batch, size, number, max_width, seed):
    """Return which of `size` places lie in one of `number` random masks: bool (batch, size)."""
    width_seed, start_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    widths = tf.random.stateless_uniform([batch, number], width_seed, 0, tf.minimum(max_width, size) + 1, tf.int32)
    # Whole numbers can be drawn from one range only, and each mask has another: fractions are scaled to its range.
    room = tf.cast(size - widths + 1, tf.float32)
    starts = tf.cast(tf.random.stateless_uniform([batch, number], start_seed) * room, tf.int32)
    places = tf.range(size)[None, :, None]
    inside = (places >= starts[:, None]) & (places < (starts + widths)[:, None])
    return tf.reduce_any(inside, axis=-1)


def mixup(log_mel, targets, concentration, seed):
    """Mix every clip with another of the batch (MixUp, Zhang et al. 2018, equation 1; arXiv 1710.09412).

    A mix is weight * clip + (1 - weight) * partner, with one weight per clip from Beta(concentration, concentration).
    As in that paper either clip may dominate: there is no max(weight, 1 - weight). Partners are a random permutation of
    the batch, so a clip may meet itself.

    Args:
        log_mel: float32 (batch, frames, n_mels), dB.
        targets: float32 (batch, outputs).
        concentration: number above 0; the smaller it is, the nearer is a mix to one of its two clips.
        seed: int32 or int64 (2,).

    Returns:
        log_mel and targets of the same shapes, mixed by the same weights.
    """
    weight_seed, partner_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    batch = tf.shape(log_mel)[0]
    weights = _beta(batch, concentration, weight_seed)[:, None]
    partners = tf.random.experimental.stateless_shuffle(tf.range(batch), partner_seed)
    targets = weights * targets + (1 - weights) * tf.gather(targets, partners)
    weights = weights[:, None]
    return weights * log_mel + (1 - weights) * tf.gather(log_mel, partners), targets


def _beta(number, concentration, seed):
    """Return draws of Beta(c, c), float32 (number,), by the logarithms of gammas, because gammas underflow.

    Beta is g1 / (g1 + g2), and Gamma(c) is Gamma(c + 1) * U^(1/c) with a uniform U (Marsaglia & Tsang 2000, section 6).
    """
    gamma_seed, uniform_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    gammas = tf.math.log(tf.random.stateless_gamma([2, number], gamma_seed, concentration + 1.0))
    uniforms = tf.math.log(1 - tf.random.stateless_uniform([2, number], uniform_seed))  # 0 < 1 - U
    return tf.sigmoid(gammas[0] - gammas[1] + (uniforms[0] - uniforms[1]) / concentration)
