"""Heads: from a backbone's feature maps to one tensor per task, for its output layer. One registered function each.

Every head takes the backbone's list of tuples of maps, the tuple of Task, the ModelSpec and `use_cudnn` for its GRUs.
It returns a list with (batch, T', channels) per task; with `clips=True`, (batch, channels). `class_scores` differs.
"""
from keras import layers, ops

from polysed_keras.errors import expect
from polysed_keras.models.blocks import (
    bidirectional_gru,
    channel_masks,
    conv_bn_relu,
    flatten_frequency,
    pool_frequency,
    time_frequency_masks,
)
from polysed_keras.models.yamnet import LOG_RANGE, LOG_UNIT, class_names
from polysed_keras.specs import CLASS_SCORES, register


@register("head")
def recurrent(maps, tasks, spec, use_cudnn):
    """BiGRU and dense layers on the last map, shared by all tasks (the multi-label CRNN of paper 1, section 4.3).

    Returns:
        List with the same tensor (batch, T', dense_units[-1]) for every task.
    """
    x = flatten_frequency(maps[-1][-1], "flatten")
    x = bidirectional_gru(x, spec.recurrent_units, spec.dropout, "gru", use_cudnn=use_cudnn)
    for index, units in enumerate(spec.dense_units, start=1):
        x = layers.Dense(units, activation="relu", name=f"dense{index}")(x)
        x = layers.Dropout(spec.dropout, name=f"dense{index}_dropout")(x)
    return [x] * len(tasks)


def _subnet_block(x, m2, time_frequency_mask, channel_mask, filters, dropout, name):
    """Apply one attention-convolution block (paper 1, equation 1 and figure 1b)."""
    m = layers.Concatenate(name=f"{name}_masked")([time_frequency_mask * m2, channel_mask * m2])
    m = layers.Conv2D(filters, 1, name=f"{name}_reduce")(m)
    if x is not None:
        m = layers.Concatenate(name=f"{name}_joined")([m, x])
    return pool_frequency(conv_bn_relu(m, filters, dropout, name), name)


@register("head")
def attention(maps, tasks, spec, use_cudnn):
    """Task-specific subnets (paper 1, section 3.2): attention masks in every block, BiGRU and dense layers.

    In every block, masks computed from M1 are applied to M2. The pooled inputs of the masks are computed once for all
    tasks, and the dense layers of all tasks are stacked as (tasks, ...). Weights and results equal those of separate
    subnets.

    Returns:
        List of (batch, T', dense_units[-1]), one per task.

    Raises:
        InputError: a backbone that does not give (M1, M2, pooled M2) per block.
    """
    expect([len(level) for level in maps] == [3] * len(spec.filters), "model.backbone",
           "maps (M1, M2, pooled M2) for each of model.filters, which the head 'attention' masks, as of conv_blocks",
           spec.backbone, "Set model.head=recurrent.")
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


@register("head", clips=True)
def pooled(maps, tasks, spec, use_cudnn):
    """Average the last map over time and frequency (paper 2, figure 1): the same tensor (batch, C) for every task."""
    x = layers.GlobalAveragePooling2D(name="pooled")(maps[-1][-1])
    return [layers.Dropout(spec.dropout, name="pooled_dropout")(x)] * len(tasks)


@register("head", CLASS_SCORES)
def class_scores(log_scores, tasks, spec, use_cudnn):
    """YAMNet's own class scores. Nothing here learns, and no output layer follows.

    Args:
        log_scores: in place of maps, the logarithms of the class scores, as of yamnet.log_scores; None if the backbone
            has none.
        tasks: tuple of one `multi_label` Task, whose labels are yamnet.class_names().
        spec: ModelSpec.
        use_cudnn: not used here, since there is no GRU.

    Returns:
        List with the posteriors, (batch, T / 96, 521).

    Raises:
        InputError: another backbone than yamnet, or other tasks.
    """
    expect(log_scores is not None, "model.backbone", "yamnet, with the head 'class_scores'", spec.backbone)
    expect([(task.labels, task.encoding) for task in tasks] == [(class_names(), "multi_label")], "labels",
           f"the {len(class_names())} classes of YAMNet, which the head 'class_scores' knows and no other, as one "
           "multi_label task", f"{len(tasks)} tasks of {sum(len(task.labels) for task in tasks)} labels",
           "Choose the preset yamnet for labels of your own.")
    return [ops.exp(LOG_UNIT * (log_scores - LOG_RANGE))]
