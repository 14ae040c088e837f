"""Blocks that networks are made of: functions f(x, ..., name) -> x."""
from keras import layers, ops


def conv_bn_relu(x, filters, dropout, name, *, kernel_size=3, strides=1):
    """Convolution without bias, batch normalisation, ReLU and dropout: (batch, T, F, C) -> (batch, T', F', filters).

    Paper 1, section 3.1; decision: no bias in front of a batch normalisation.
    """
    x = layers.Conv2D(filters, kernel_size, strides=strides, padding="same", use_bias=False,
                      kernel_initializer="he_normal", name=f"{name}_conv")(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    x = layers.ReLU(name=f"{name}_relu")(x)
    return layers.Dropout(dropout, name=f"{name}_dropout")(x)


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
