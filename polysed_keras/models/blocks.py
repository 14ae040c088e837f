"""Building blocks of backbones and heads: functions of a tensor, their sizes and a name, which return a tensor."""
import keras
from keras import layers, ops

# Networks of clips take tens of steps per epoch, networks of segments hundreds: running means must follow faster.
CLIP_MOMENTUM = 0.9


def conv(x, filters, name, *, kernel_size=3, strides=1):
    """Convolve, padded to ceil(size / strides): (batch, T, F, C) -> (batch, T', F', filters).

    There is no bias, because batch normalisation follows.
    """
    return layers.Conv2D(filters, kernel_size, strides=strides, padding="same", use_bias=False,
                         kernel_initializer="he_normal", name=f"{name}_conv")(x)


def batch_norm(x, name, momentum=CLIP_MOMENTUM):
    """Normalise by batch statistics; `momentum` is that of the moving mean and variance. The shape stays."""
    return layers.BatchNormalization(momentum=momentum, name=f"{name}_bn")(x)


def bn_relu(x, name, momentum=CLIP_MOMENTUM):
    """Apply batch normalisation and ReLU. The shape stays."""
    return layers.ReLU(name=f"{name}_relu")(batch_norm(x, name, momentum))


def conv_bn_relu(x, filters, dropout, name, *, kernel_size=3, strides=1):
    """Apply convolution, batch normalisation, ReLU and dropout (paper 1, section 3.1), with the shapes of `conv`."""
    x = bn_relu(conv(x, filters, name, kernel_size=kernel_size, strides=strides), name, momentum=0.99)
    return layers.Dropout(dropout, name=f"{name}_dropout")(x)


def basic_block(x, filters, strides, name):
    """Add two 3x3 convolutions and a shortcut, with a strided 1x1 convolution in it if shapes differ.

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
    """Halve channels, time and frequency between dense blocks (DenseNet-C).

    (batch, T, F, C) -> (batch, T / 2, F / 2, C / 2), rounded up.
    """
    x = conv(bn_relu(x, name), x.shape[-1] // 2, name, kernel_size=1)
    return layers.AveragePooling2D(2, padding="same", name=f"{name}_pool")(x)


def pool_frequency(x, name):
    """Halve the frequency axis by max-pooling: (batch, T, F, C) -> (batch, T, F // 2, C)."""
    return layers.MaxPooling2D((1, 2), name=f"{name}_pool")(x)


def flatten_frequency(x, name):
    """Join frequency and channels: (batch, T, F, C) -> (batch, T, F * C)."""
    return layers.Reshape((x.shape[1], x.shape[2] * x.shape[3]), name=name)(x)


class _ProjectedCell(layers.GRUCell):
    """The step of a GRU, for inputs that were multiplied by its kernel already: (batch, 3 * units)."""

    def call(self, inputs, states, training=False):
        """Return the next state twice, as GRUCell does (Cho et al. 2014; the reset gate after the product)."""
        (state, *_), (x_update, x_reset, x) = states, ops.split(inputs, 3, axis=-1)
        update, reset, new = ops.split(ops.matmul(state, self.recurrent_kernel) + self.bias[1], 3, axis=-1)
        update, reset = ops.sigmoid(x_update + update), ops.sigmoid(x_reset + reset)
        state = update * state + (1 - update) * ops.tanh(x + reset * new)
        return state, [state]


class _ProjectingLoop(layers.RNN):
    """The loop that keras.layers.GRU goes through where cuDNN is not used."""

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """Multiply the inputs of all steps by the kernel at once, and go through the steps."""
        projected = ops.matmul(sequences, self.cell.kernel) + self.cell.bias[0]
        return super().inner_loop(projected, initial_state, mask, training=training)


@keras.saving.register_keras_serializable("polysed_keras")
class GRU(layers.GRU, _ProjectingLoop):
    """keras.layers.GRU with one product for the inputs of all steps on a CPU; weights and outputs are the same.

    Keras multiplies each step's input by itself there, which reads the kernel again for every step: of `mcmt_8`, for
    one segment, that took half the time. It has no activations of its own choice, no dropout, and always a bias.

    Args:
        units: int.
        options: other arguments of keras.layers.GRU.
    """

    def __init__(self, units, **options):
        super().__init__(units, **options)
        cell = self.cell
        del self.cell
        self.cell = _ProjectedCell.from_config(cell.get_config())


def bidirectional_gru(x, units, dropout, name, *, use_cudnn="auto"):
    """Concatenate both directions of a GRU and apply dropout: (batch, T, C) -> (batch, T, 2 * units)."""
    gru = GRU(units, return_sequences=True, use_cudnn=use_cudnn)
    x = layers.Bidirectional(gru, name=name)(x)
    return layers.Dropout(dropout, name=f"{name}_dropout")(x)


def time_frequency_masks(m1, num_tasks, name):
    """Compute one mask per task over time and frequency (paper 1, figure 1c).

    Tasks share the mean and the maximum over channels, so that their 1x1 convolutions are one convolution.

    Args:
        m1: (batch, T, F, C), the first feature map of a block of the backbone.
        num_tasks: int.
        name: str, of the layer, and the beginning of its helpers' names.

    Returns:
        (batch, T, F, num_tasks), from 0 to 1.
    """
    pooled = layers.Concatenate(name=f"{name}_pooled")([ops.mean(m1, axis=-1, keepdims=True),
                                                        ops.max(m1, axis=-1, keepdims=True)])
    return layers.Conv2D(num_tasks, 1, activation="sigmoid", name=name)(pooled)


def channel_masks(m1, num_tasks, name):
    """Compute one mask per task over channels, by squeeze to C / 2 and excitation (paper 1, figure 1d).

    Args:
        m1: (batch, T, F, C), the first feature map of a block of the backbone.
        num_tasks: int.
        name: str, of the layer, and the beginning of its helpers' names.

    Returns:
        (batch, num_tasks, C), from 0 to 1.
    """
    channels = m1.shape[-1]
    squeezed = layers.GlobalAveragePooling2D(name=f"{name}_pooled")(m1)
    squeezed = layers.Dense(num_tasks * (channels // 2), activation="relu", name=f"{name}_squeeze")(squeezed)
    squeezed = layers.Reshape((num_tasks, channels // 2), name=f"{name}_split")(squeezed)
    return layers.EinsumDense("bnc,ncd->bnd", (num_tasks, channels), bias_axes="nd", activation="sigmoid",
                              name=name)(squeezed)
