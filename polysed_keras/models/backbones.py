"""Backbones: from a log-mel segment to feature maps that heads take from. One function, one row of BACKBONES."""
from keras import layers

from polysed_keras.errors import InputError
from polysed_keras.models.blocks import conv_bn_relu, pool_frequency


def conv_blocks(x, spec, name="backbone"):
    """Paper 1, section 3.1: blocks of two 3x3 convolutions and a 1x2 max-pooling.

    Args:
        x: normalised log-mel, (batch, T, F).
        spec: ModelSpec; `stem_strides` other than (1, 1) put a strided convolution in front.

    Returns:
        The list of (M1, M2, pooled M2) of every block, each (batch, T', F', filters).

    Raises:
        InputError: too few mels for the stem and the poolings.
    """
    least = spec.stem_strides[1] * 2 ** len(spec.filters)
    if x.shape[2] < least:
        raise InputError(f"features.n_mels: expected at least {least}, because the stem divides them by "
                         f"{spec.stem_strides[1]} and {len(spec.filters)} blocks halve them. Received: {x.shape[2]}.")
    x = layers.Reshape((*x.shape[1:], 1), name=f"{name}_channel")(x)
    if tuple(spec.stem_strides) != (1, 1):
        kernel_size = tuple(2 * stride - 1 for stride in spec.stem_strides)
        x = conv_bn_relu(x, spec.filters[0], 0.0, f"{name}_stem", kernel_size=kernel_size, strides=spec.stem_strides)
    maps = []
    for index, filters in enumerate(spec.filters, start=1):
        m1 = conv_bn_relu(x, filters, spec.dropout, f"{name}_block{index}_1")
        m2 = conv_bn_relu(m1, filters, spec.dropout, f"{name}_block{index}_2")
        x = pool_frequency(m2, f"{name}_block{index}")
        maps.append((m1, m2, x))
    return maps


BACKBONES = {"conv_blocks": conv_blocks}
