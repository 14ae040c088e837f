"""Blocks that networks are made of: functions f(x, ..., name) -> x."""
from keras import layers, ops

# Networks of clips take tens of steps an epoch, those of segments hundreds: running means have to follow faster.
CLIP_MOMENTUM = 0.9


def conv(x, filters, name, *, kernel_size=3, strides=1):
    """Convolution, padded to ceil(size / strides): (batch, T, F, C) -> (batch, T', F', filters).

    Decision: no bias in front of a batch normalisation.
    """
    return layers.Conv2D(filters, kernel_size, strides=strides, padding="same", use_bias=False,
                         kernel_initializer="he_normal", name=f"{name}_conv")(x)


def batch_norm(x, name, momentum=CLIP_MOMENTUM):
    """Batch normalisation; shape unchanged. `momentum` is of the moving mean and variance."""
    return layers.BatchNormalization(momentum=momentum, name=f"{name}_bn")(x)


def bn_relu(x, name, momentum=CLIP_MOMENTUM):
    """Batch normalisation and ReLU; shape unchanged."""
    return layers.ReLU(name=f"{name}_relu")(batch_norm(x, name, momentum))


def conv_bn_relu(x, filters, dropout, name, *, kernel_size=3, strides=1):
    """Convolution, batch normalisation, ReLU and dropout (paper 1, section 3.1): shapes as conv."""
    x = bn_relu(conv(x, filters, name, kernel_size=kernel_size, strides=strides), name, momentum=0.99)
    return layers.Dropout(dropout, name=f"{name}_dropout")(x)


def basic_block(x, filters, strides, name):
    """Two 3x3 convolutions beside a shortcut, which a strided 1x1 convolution projects where shapes differ.

    He et al., "Deep residual learning for image recognition", figure 5 and section 3.3, option B:
    (batch, T, F, C) -> (batch, T', F', filters).
    """
    shortcut = x
    if strides != 1 or x.shape[-1] != filters:
        shortcut = conv(x, filters, f"{name}_shortcut", kernel_size=1, strides=strides)
        shortcut = batch_norm(shortcut, f"{name}_shortcut")
    x = bn_relu(conv(x, filters, f"{name}_1", strides=strides), f"{name}_1")
    x = batch_norm(conv(x, filters, f"{name}_2"), f"{name}_2")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu")(x)


def dense_layer(x, growth_rate, name):
    """Append `growth_rate` channels to a map: (batch, T, F, C) -> (batch, T, F, C + growth_rate).

    Huang et al., "Densely connected convolutional networks", section 3, with bottleneck (DenseNet-B).
    """
    new = conv(bn_relu(x, f"{name}_1"), 4 * growth_rate, f"{name}_1", kernel_size=1)
    new = conv(bn_relu(new, f"{name}_2"), growth_rate, f"{name}_2")
    return layers.Concatenate(name=f"{name}_joined")([x, new])


def transition(x, name):
    """Halve channels, time and frequency between two dense blocks (DenseNet-C):
    (batch, T, F, C) -> (batch, T / 2, F / 2, C / 2)."""
    x = conv(bn_relu(x, name), x.shape[-1] // 2, name, kernel_size=1)
    return layers.AveragePooling2D(2, padding="same", name=f"{name}_pool")(x)


def pool_frequency(x, name):
    """Halve the frequency axis by its maximum: (batch, T, F, C) -> (batch, T, F // 2, C)."""
    return layers.MaxPooling2D((1, 2), name=f"{name}_pool")(x)


def flatten_frequency(x, name):
    """(batch, T, F, C) -> (batch, T, F * C)."""
    return layers.Reshape((x.shape[1], x.shape[2] * x.shape[3]), name=name)(x)


def bidirectional_gru(x, units, dropout, name, *, use_cudnn="auto"):
    """Both directions of a GRU, concatenated, and dropout: (batch, T, C) -> (batch, T, 2 * units)."""
    gru = layers.GRU(units, return_sequences=True, use_cudnn=use_cudnn)
    x = layers.Bidirectional(gru, name=name)(x)
    return layers.Dropout(dropout, name=f"{name}_dropout")(x)


def time_frequency_masks(m1, num_tasks, name):
    """One mask per task over time and frequency (paper 1, figure 1c).

    Tasks share the mean and the maximum over channels, so all their 1x1 convolutions are one.

    Args:
        m1: the first feature map of a backbone block, (batch, T, F, C).

    Returns:
        (batch, T, F, num_tasks), from 0 to 1.
    """
    pooled = layers.Concatenate(name=f"{name}_pooled")([ops.mean(m1, axis=-1, keepdims=True),
                                                        ops.max(m1, axis=-1, keepdims=True)])
    return layers.Conv2D(num_tasks, 1, activation="sigmoid", name=name)(pooled)


def channel_masks(m1, num_tasks, name):
    """One mask per task over channels, by squeeze to C / 2 and excitation (paper 1, figure 1d).

    Args:
        m1: the first feature map of a backbone block, (batch, T, F, C).

    Returns:
        (batch, num_tasks, C), from 0 to 1.
    """
    channels = m1.shape[-1]
    squeezed = layers.GlobalAveragePooling2D(name=f"{name}_pooled")(m1)
    squeezed = layers.Dense(num_tasks * (channels // 2), activation="relu", name=f"{name}_squeeze")(squeezed)
    squeezed = layers.Reshape((num_tasks, channels // 2), name=f"{name}_split")(squeezed)
    return layers.EinsumDense("bnc,ncd->bnd", (num_tasks, channels), bias_axes="nd", activation="sigmoid",
                              name=name)(squeezed)
