"""YAMNet as a backbone: a network that was trained on the two million clips of AudioSet, with its weights.

The network is Google's (github.com/tensorflow/models, research/audioset/yamnet; Apache-2.0, see models/pretrained): a
MobileNet (Howard et al., arXiv 1704.04861) on 64 mel bands. Its front end is specs.YAMNET_FEATURES.
"""
import functools
import pathlib

import numpy as np
from keras import layers, ops

from polysed_keras.errors import expect
from polysed_keras.models.blocks import conv_bn_relu, pool_frequency
from polysed_keras.specs import register

# Strides in time and frequency, and channels, of the first convolution and of the depthwise-separable ones after it.
CONVOLUTIONS = ((2, 32), (1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), (1, 512), (1, 512), (1, 512),
                (1, 512), (1, 512), (2, 1024), (1, 1024))
LEVELS = ((3, 4), (5, 6), (7, 12), (13, 14))  # the first and last convolution at strides of 4, 8, 16 and 32
TIME_STRIDE, LEAST_FRAMES = 4, 32  # maps of 40 ms; a segment is a multiple of 32 frames, 320 ms
PRETRAINED = pathlib.Path(__file__).parent / "pretrained"


@functools.cache
def read_weights():
    """Read the file that convert_yamnet wrote: {"LAYER/WEIGHT": array}."""
    with np.load(PRETRAINED / "yamnet.npz") as arrays:
        return dict(arrays)


def class_names():
    """Return the names of YAMNet's 521 classes, a tuple, in the order of its outputs."""
    return tuple((PRETRAINED / "yamnet_classes.txt").read_text(encoding="utf-8").splitlines())


def _apply(layer, x):
    """Call a layer of the backbone and give it YAMNet's weights."""
    x = layer(x)
    name = layer.name.removeprefix("yamnet_")
    layer.set_weights([read_weights()[f"{name}/{weight.name}"] for weight in layer.weights])
    return x


def _bn_relu(x, name):
    # Never trainable, so that means and variances stay AudioSet's: those of a few recordings are far worse. A network
    # that is trained overrides the argument training=False of a call.
    normalization = layers.BatchNormalization(scale=False, epsilon=1e-4, trainable=False, name=f"{name}_bn")
    return layers.ReLU(name=f"{name}_relu")(_apply(normalization, x))


def convolve(x, *, trainable):
    """Apply the convolutions of YAMNet.

    Args:
        x: log-mel of specs.YAMNET_FEATURES, (batch, T, 64).
        trainable: bool, whether training changes the kernels.

    Returns:
        List of the outputs of the 14 convolutions; the last is (batch, T / 32, 2, 1024).
    """
    x, maps = layers.Reshape((*x.shape[1:], 1), name="yamnet_channel")(x), []
    for index, (stride, channels) in enumerate(CONVOLUTIONS, start=1):
        name = f"yamnet_{index}"
        settings = {"padding": "same", "use_bias": False, "trainable": trainable}
        if index == 1:
            x = _apply(layers.Conv2D(channels, 3, strides=stride, name=name, **settings), x)
        else:
            depthwise = layers.DepthwiseConv2D(3, strides=stride, name=f"{name}_depthwise", **settings)
            x = _bn_relu(_apply(depthwise, x), f"{name}_depthwise")
            x = _apply(layers.Conv2D(channels, 1, name=name, **settings), x)
        x = _bn_relu(x, name)
        maps.append(x)
    return maps


def _repeat(x, times, name):
    return x if times == 1 else layers.UpSampling2D((times, 1), name=f"{name}_repeat")(x)


@register("backbone", frames=True, pretrained=True)
def yamnet(x, spec, use_cudnn="auto", name="yamnet"):
    """YAMNet's maps at 40, 80, 160 and 320 ms, joined at 40 ms.

    Args:
        x: log-mel of specs.YAMNET_FEATURES, (batch, T, 64); T is a multiple of 32.
        spec: ModelSpec; `filters` are four numbers of channels, to which 1x1 convolutions reduce the maps of each
            level, and the last one those of all levels together. With `freeze_backbone`, only they learn.
        use_cudnn: not used here, since there is no GRU.
        name: str, with which all layers' names begin.

    Returns:
        List of (M1, M2, output) per level. M1 and M2 are reduced from the outputs of the level's first and last
        convolution, (batch, T / 4, 16 or 8 or 4 or 2, filters). The last output holds the means and maxima over
        frequency of all levels, reduced and added: (batch, T / 4, 1, filters[-1]). The other outputs are the pooled M2.

    Raises:
        InputError: another front end's frames, or other than four filters.
    """
    expect(x.shape[2] == 64 and x.shape[1] % LEAST_FRAMES == 0, "training.segment_frames and features.n_mels",
           f"a multiple of {LEAST_FRAMES} frames of 64 mels, as of the preset yamnet", tuple(x.shape[1:]))
    expect(len(spec.filters) == len(LEVELS), "model.filters", "four numbers, for maps of 40, 80, 160 and 320 ms",
           spec.filters)
    convolutions = convolve(x, trainable=not spec.freeze_backbone)
    maps, parts = [], []
    for level, (filters, convolved) in enumerate(zip(spec.filters, LEVELS), start=1):
        first, last = (convolutions[index - 1] for index in convolved)
        times, part = 2 ** (level - 1), f"{name}_level{level}"
        # reduced before they are repeated, which costs less and gives the same
        pooled = ops.concatenate([ops.mean(last, axis=2, keepdims=True), ops.max(last, axis=2, keepdims=True)],
                                 axis=-1)
        pooled = layers.Conv2D(spec.filters[-1], 1, use_bias=False, name=f"{part}_pooled")(pooled)
        parts.append(_repeat(pooled, times, f"{part}_pooled"))
        m1, m2 = (_repeat(conv_bn_relu(each, filters, 0.0, f"{part}_{which}", kernel_size=1), times, f"{part}_{which}")
                  for which, each in ((1, first), (2, last)))
        maps.append((m1, m2, pool_frequency(m2, part)))
    output = layers.Add(name=f"{name}_joined")(parts)
    output = layers.ReLU(name=f"{name}_relu")(layers.BatchNormalization(name=f"{name}_bn")(output))
    maps[-1] = (*maps[-1][:2], layers.Dropout(spec.dropout, name=f"{name}_dropout")(output))
    return maps


def convert_yamnet(checkpoint, class_map, folder=PRETRAINED):
    """Convert YAMNet's published SavedModel into the two files that this module reads.

    Args:
        checkpoint: path of its variables, FOLDER/variables/variables.
        class_map: path of its list of classes, FOLDER/assets/yamnet_class_map.csv.
        folder: folder of the files.

    Example:
        >>> convert_yamnet("yamnet/variables/variables", "yamnet/assets/yamnet_class_map.csv")
    """
    import pandas as pd
    import tensorflow as tf
    reader, arrays = tf.train.load_checkpoint(str(checkpoint)), {}
    names = ["1", "1_bn"]
    for index in range(2, len(CONVOLUTIONS) + 1):
        names += [f"{index}_depthwise", f"{index}_depthwise_bn", str(index), f"{index}_bn"]
    for number, name in enumerate([*names, "classes"]):
        prefix = f"layer-1/layer/_func/_yamnet/layer_with_weights-{number}/"
        for key in sorted(reader.get_variable_to_shape_map()):
            if key.startswith(prefix):
                weight = key.removeprefix(prefix).split("/")[0].replace("depthwise_kernel", "kernel")
                arrays[f"{name}/{weight}"] = reader.get_tensor(key)
    np.savez_compressed(pathlib.Path(folder) / "yamnet.npz", **arrays)
    classes = pd.read_csv(class_map)["display_name"]
    (pathlib.Path(folder) / "yamnet_classes.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")
