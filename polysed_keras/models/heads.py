"""Heads: from a backbone's feature maps to the posteriors of every task. One function, one row of HEADS."""
from keras import layers, ops

from polysed_keras.models.blocks import (
    bidirectional_gru,
    channel_masks,
    conv_bn_relu,
    flatten_frequency,
    pool_frequency,
    time_frequency_masks,
)


def recurrent(maps, tasks, spec, use_cudnn):
    """The multi-label CRNN of paper 1, section 4.3: BiGRU and dense layers on the last feature map, shared by all tasks.

    Returns:
        (batch, frames, dense_units[-1]) for every task: the same tensor.
    """
    x = flatten_frequency(maps[-1][-1], "flatten")
    x = bidirectional_gru(x, spec.recurrent_units, spec.dropout, "gru", use_cudnn=use_cudnn)
    for index, units in enumerate(spec.dense_units, start=1):
        x = layers.Dense(units, activation="relu", name=f"dense{index}")(x)
        x = layers.Dropout(spec.dropout, name=f"dense{index}_dropout")(x)
    return [x] * len(tasks)


def _subnet_block(x, m2, time_frequency_mask, channel_mask, filters, dropout, name):
    """One attention-convolution block (paper 1, equation 1 and figure 1b)."""
    m = layers.Concatenate(name=f"{name}_masked")([time_frequency_mask * m2, channel_mask * m2])
    m = layers.Conv2D(filters, 1, name=f"{name}_reduce")(m)
    if x is not None:
        m = layers.Concatenate(name=f"{name}_joined")([m, x])
    return pool_frequency(conv_bn_relu(m, filters, dropout, name), name)


def attention(maps, tasks, spec, use_cudnn):
    """The task-specific subnets of paper 1, section 3.2: masks from M1 applied to M2 in every block, BiGRU, dense layers.

    What tasks share (the pooled inputs of the masks) is computed once, and their equal dense layers are stacked as
    (tasks, ...); the weights and results are those of separate subnets.

    Returns:
        (batch, frames, dense_units[-1]) for every task.
    """
    xs = [None] * len(tasks)
    for level, (filters, (m1, m2, _)) in enumerate(zip(spec.filters, maps), start=1):
        time_frequency = time_frequency_masks(m1, len(tasks), f"time_frequency_masks{level}")
        channel = channel_masks(m1, len(tasks), f"channel_masks{level}")
        for index, task in enumerate(tasks):
            xs[index] = _subnet_block(xs[index], m2, time_frequency[..., index:index + 1],
                                      channel[:, None, None, index], filters, spec.dropout, f"{task.name}_block{level}")
    xs = [bidirectional_gru(flatten_frequency(x, f"{task.name}_flatten"), spec.recurrent_units, spec.dropout,
                            f"{task.name}_gru", use_cudnn=use_cudnn) for x, task in zip(xs, tasks)]
    x = ops.stack(xs, axis=2)
    for index, units in enumerate(spec.dense_units, start=1):
        x = layers.EinsumDense("btnc,ncd->btnd", (x.shape[1], len(tasks), units), bias_axes="nd", activation="relu",
                               name=f"dense{index}")(x)
        x = layers.Dropout(spec.dropout, name=f"dense{index}_dropout")(x)
    return [x[:, :, index] for index in range(len(tasks))]


def pooled(maps, tasks, spec, use_cudnn):
    """Paper 2, figure 1: the mean of the last map over time and frequency, shared by all tasks: (batch, C)."""
    x = layers.GlobalAveragePooling2D(name="pooled")(maps[-1][-1])
    return [layers.Dropout(spec.dropout, name="pooled_dropout")(x)] * len(tasks)


HEADS = {"recurrent": recurrent, "attention": attention, "pooled": pooled}
