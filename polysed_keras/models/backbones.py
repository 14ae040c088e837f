"""Backbones: from normalised log-mel to the feature maps that heads use. One registered function each.

Every backbone takes normalised log-mel (batch, T, F), the ModelSpec and `use_cudnn` for its GRUs, and returns a list of
tuples of maps (batch, T', F', C); the last map is its output. `spec.filters` are the channels after each stage. With
`frames=True`, T' is T divided by a whole number, so that heads of frames can use the maps.
"""
from keras import layers

from polysed_keras.errors import InputError, expect
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
from polysed_keras.specs import register


def _with_channel(x, name):
    return layers.Reshape((*x.shape[1:], 1), name=f"{name}_channel")(x)


@register("backbone", frames=True)
def conv_blocks(x, spec, use_cudnn="auto", name="backbone"):
    """Blocks of two 3x3 convolutions and a 1x2 max-pooling (paper 1, section 3.1).

    Args:
        x: normalised log-mel, (batch, T, F).
        spec: ModelSpec; with `stem_strides` other than (1, 1), a strided convolution precedes the blocks.
        use_cudnn: not used here, since there is no GRU.
        name: str, with which all layers' names begin.

    Returns:
        List of (M1, M2, pooled M2) per block: the outputs of the convolutions, (batch, T', F', filters), and
        (batch, T', F' // 2, filters). T' is T / stem_strides[0].

    Raises:
        InputError: too few mels for the stem and the poolings.
    """
    least = spec.stem_strides[1] * 2 ** len(spec.filters)
    expect(x.shape[2] >= least, "features.n_mels", f"at least {least}, because the stem divides them by "
           f"{spec.stem_strides[1]} and {len(spec.filters)} blocks halve them", x.shape[2])
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
    """Strided 7x7 convolution and strided 3x3 max-pooling: (batch, T, F) -> (batch, T / 4, F / 4, filters)."""
    x = bn_relu(conv(_with_channel(x, name), filters, name, kernel_size=7, strides=2), name)
    return layers.MaxPooling2D(3, strides=2, padding="same", name=f"{name}_pool")(x)


@register("backbone")
def resnet18(x, spec, use_cudnn="auto", name="backbone"):
    """ResNet-18 (paper 2, section 2): stages of two basic blocks, of which all but the first halve time and frequency.

    Returns:
        [(map,)]; with four stages, (batch, T / 32, F / 32, filters[-1]).
    """
    x = _stem(x, spec.filters[0], f"{name}_stem")
    for stage, filters in enumerate(spec.filters, start=1):
        x = basic_block(x, filters, 1 if stage == 1 else 2, f"{name}_stage{stage}_1")
        x = basic_block(x, filters, 1, f"{name}_stage{stage}_2")
    return [(x,)]


@register("backbone")
def densenet(x, spec, use_cudnn="auto", name="backbone"):
    """DenseNet: dense blocks with transitions between them. It tags events in paper 2, section 4.2.

    The growth rate is filters[0] / 8, so that the first block has six layers, as in all published DenseNets. The other
    blocks have as many layers as their filters take. DenseNet-121 has filters (256, 512, 1024, 1024).

    Returns:
        [(map,)] of (batch, T / 4 / 2 ** (stages - 1), F / 4 / 2 ** (stages - 1), filters[-1]).

    Raises:
        InputError: filters that no whole number of layers can reach.
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
    """Two 3x3 convolutions and a max-pooling per stage."""
    x = _with_channel(x, name)
    for stage, (filters, pool) in enumerate(zip(spec.filters, pools), start=1):
        for part in (f"{name}_stage{stage}_1", f"{name}_stage{stage}_2"):
            x = bn_relu(conv(x, filters, part), part)
        x = layers.MaxPooling2D(pool, padding="same", name=f"{name}_stage{stage}_pool")(x)
    return x


@register("backbone")
def vgg(x, spec, use_cudnn="auto", name="backbone"):
    """VGG network: stages of two 3x3 convolutions and a 2x2 max-pooling. Paper 2 tried it (section 3.3).

    Returns:
        [(map,)] of (batch, T / 2 ** stages, F / 2 ** stages, filters[-1]), rounded up in every stage.
    """
    return [(_conv_stages(x, spec, [(2, 2)] * len(spec.filters), name),)]


@register("backbone")
def crnn(x, spec, use_cudnn="auto", name="backbone"):
    """CRNN: the convolutions of `vgg` and a bidirectional GRU over time. Paper 2 tried it (section 3.3).

    Every stage halves frequency. The first two also halve time, because the steps of a GRU cannot run in parallel.

    Returns:
        [(map,)] of (batch, T / 4, 1, 2 * recurrent_units).
    """
    x = _conv_stages(x, spec, [(2, 2) if stage < 2 else (1, 2) for stage in range(len(spec.filters))], name)
    x = flatten_frequency(x, f"{name}_flatten")
    x = bidirectional_gru(x, spec.recurrent_units, 0.0, f"{name}_gru", use_cudnn=use_cudnn)
    return [(layers.Reshape((x.shape[1], 1, x.shape[2]), name=f"{name}_map")(x),)]
