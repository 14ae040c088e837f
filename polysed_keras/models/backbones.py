"""Backbones: from log-mel segments or clips to feature maps that heads take from. One function, one row of BACKBONES.

Every backbone takes normalised log-mel (batch, T, F), the ModelSpec and `use_cudnn` for its GRUs, and returns a list of
tuples of maps, of which the last is its output. `spec.filters` are the channels that its stages end with.
"""
from keras import layers

from polysed_keras.errors import InputError
from polysed_keras.models.blocks import (
    basic_block,
    bidirectional_gru,
    bn_relu,
    conv,
    conv_bn_relu,
    dense_layer,
    flatten_frequency,
    pool_frequency,
    transition,
)


def _with_channel(x, name):
    return layers.Reshape((*x.shape[1:], 1), name=f"{name}_channel")(x)


def conv_blocks(x, spec, use_cudnn="auto", name="backbone"):
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
    x = _with_channel(x, name)
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


def _stem(x, filters, name):
    """A strided 7x7 convolution and a strided 3x3 max-pooling: (batch, T, F) -> (batch, T / 4, F / 4, filters)."""
    x = bn_relu(conv(_with_channel(x, name), filters, name, kernel_size=7, strides=2), name)
    return layers.MaxPooling2D(3, strides=2, padding="same", name=f"{name}_pool")(x)


def resnet18(x, spec, use_cudnn="auto", name="backbone"):
    """Paper 2, section 2: ResNet-18. Stages of two basic blocks, all but the first halve time and frequency.

    Returns:
        [(map,)], with filters (64, 128, 256, 512) of (batch, T / 32, F / 32, 512).
    """
    x = _stem(x, spec.filters[0], f"{name}_stem")
    for stage, filters in enumerate(spec.filters, start=1):
        x = basic_block(x, filters, 1 if stage == 1 else 2, f"{name}_stage{stage}_1")
        x = basic_block(x, filters, 1, f"{name}_stage{stage}_2")
    return [(x,)]


def densenet(x, spec, use_cudnn="auto", name="backbone"):
    """A DenseNet, which tags events in paper 2, section 4.2: dense blocks, and transitions between them.

    The growth rate is an eighth of filters[0], so that the first block has six layers, as all published DenseNets have;
    the other blocks have the layers that bring them to their filters. DenseNet-121 is (256, 512, 1024, 1024).

    Returns:
        [(map,)] of (batch, T / 4 / 2 ** (stages - 1), F / 4 / 2 ** (stages - 1), filters[-1]).

    Raises:
        InputError: filters that no whole number of layers brings about.
    """
    growth_rate = spec.filters[0] // 8
    before = (2 * growth_rate, *(filters // 2 for filters in spec.filters[:-1]))
    if spec.filters[0] % 8 or any(to <= of or (to - of) % growth_rate for of, to in zip(before, spec.filters)):
        raise InputError("model.filters: expected for a densenet first a multiple of 8, then half of the number before "
                         "and some times an eighth of the first, such as (256, 512, 1024, 1024) for DenseNet-121. "
                         f"Received: {spec.filters}.")
    x = _stem(x, before[0], f"{name}_stem")
    for block, (of, to) in enumerate(zip(before, spec.filters), start=1):
        if block > 1:
            x = transition(x, f"{name}_transition{block}")
        for layer in range((to - of) // growth_rate):
            x = dense_layer(x, growth_rate, f"{name}_block{block}_{layer + 1}")
    return [(bn_relu(x, f"{name}_last"),)]


def _conv_stages(x, spec, pools, name):
    """Two 3x3 convolutions and a max-pooling a stage."""
    x = _with_channel(x, name)
    for stage, (filters, pool) in enumerate(zip(spec.filters, pools), start=1):
        for part in (f"{name}_stage{stage}_1", f"{name}_stage{stage}_2"):
            x = bn_relu(conv(x, filters, part), part)
        x = layers.MaxPooling2D(pool, padding="same", name=f"{name}_stage{stage}_pool")(x)
    return x


def vgg(x, spec, use_cudnn="auto", name="backbone"):
    """A VGG network, which paper 2 tried (section 3.3): stages of two 3x3 convolutions and a 2x2 max-pooling.

    Returns:
        [(map,)] of (batch, T / 2 ** stages, F / 2 ** stages, filters[-1]), rounded up a stage.
    """
    return [(_conv_stages(x, spec, [(2, 2)] * len(spec.filters), name),)]


def crnn(x, spec, use_cudnn="auto", name="backbone"):
    """A CRNN, which paper 2 tried (section 3.3): convolutions as in vgg, and a bidirectional GRU over time.

    Every stage halves frequency, the first two halve time also: a GRU's steps cannot run side by side.

    Returns:
        [(map,)] of (batch, T / 4, 1, 2 * recurrent_units).
    """
    x = _conv_stages(x, spec, [(2, 2) if stage < 2 else (1, 2) for stage in range(len(spec.filters))], name)
    x = flatten_frequency(x, f"{name}_flatten")
    x = bidirectional_gru(x, spec.recurrent_units, 0.0, f"{name}_gru", use_cudnn=use_cudnn)
    return [(layers.Reshape((x.shape[1], 1, x.shape[2]), name=f"{name}_map")(x),)]


BACKBONES = {"conv_blocks": conv_blocks, "resnet18": resnet18, "vgg": vgg, "crnn": crnn, "densenet": densenet}
