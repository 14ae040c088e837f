"""YAMNet as a backbone: a network that was trained on the two million clips of AudioSet, with its weights.

The network is Google's (github.com/tensorflow/models, research/audioset/yamnet; Apache-2.0, see models/pretrained): a
MobileNet (Howard et al., arXiv 1704.04861) on 64 mel bands. Its front end is specs.YAMNET_FEATURES.
"""
import functools
import pathlib

import keras
import numpy as np
from keras import layers, ops

from polysed_keras.audio import check_waveform, compute_log_mel, load_audio
from polysed_keras.errors import expect
from polysed_keras.models.blocks import pool_frequency
from polysed_keras.models.predict import cut_segments
from polysed_keras.specs import YAMNET_FEATURES, register

# Strides in time and frequency, and channels, of the first convolution and of the depthwise-separable ones after it.
CONVOLUTIONS = ((2, 32), (1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), (1, 512), (1, 512), (1, 512),
                (1, 512), (1, 512), (2, 1024), (1, 1024))
LEVELS = ((3, 4), (5, 6), (7, 12), (13, 14))  # the first and last convolution at strides of 4, 8, 16 and 32
# YAMNet hears 0.96 s at a time, and so must every use of it: on longer input its last maps grow a hundredfold, because
# the middle of a long sound looks like nothing that it was trained on, and it takes rain for nothing at all.
PATCH_FRAMES = 96
LOG_UNIT, LOG_RANGE = 2.0, 6.0  # logarithms of scores from -12 to 0 become 0 to 6
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


def _convolution(layer, x, patches):
    layer.patches = patches  # for models.costs: the layer's output has the shape of one patch
    return _apply(layer, x)


def _bn_relu(x, name):
    # Never trainable, so that means and variances stay AudioSet's: those of a few recordings are far worse. A network
    # that is trained overrides the argument training=False of a call.
    normalization = layers.BatchNormalization(scale=False, epsilon=1e-4, trainable=False, name=f"{name}_bn")
    return layers.ReLU(name=f"{name}_relu")(_apply(normalization, x))


def convolve(x, *, trainable):
    """Apply the convolutions of YAMNet to patches of 0.96 s.

    Args:
        x: log-mel of specs.YAMNET_FEATURES, (batch, T, 64); T is a multiple of 96.
        trainable: bool, whether training changes the kernels.

    Returns:
        List of the outputs of the 14 convolutions, with the patches joined again; the last is (batch, T / 32, 2, 1024).
    """
    patches, maps = x.shape[1] // PATCH_FRAMES, []
    x = ops.reshape(x, (-1, PATCH_FRAMES, x.shape[2], 1))
    for index, (stride, channels) in enumerate(CONVOLUTIONS, start=1):
        name = f"yamnet_{index}"
        settings = {"padding": "same", "use_bias": False, "trainable": trainable}
        if index == 1:
            x = _convolution(layers.Conv2D(channels, 3, strides=stride, name=name, **settings), x, patches)
        else:
            depthwise = layers.DepthwiseConv2D(3, strides=stride, name=f"{name}_depthwise", **settings)
            x = _bn_relu(_convolution(depthwise, x, patches), f"{name}_depthwise")
            x = _convolution(layers.Conv2D(channels, 1, name=name, **settings), x, patches)
        x = _bn_relu(x, name)
        maps.append(ops.reshape(x, (-1, patches * x.shape[1], *x.shape[2:])))
    return maps


def level_maps(convolutions):
    """Choose what heads learn from, of the outputs of `convolve`.

    Returns:
        {"levelN_1", "levelN_2": outputs of the first and the last convolution of level N, (batch, T', F', C),
        "levelN_pooled": means and maxima over frequency of the last one, (batch, T', 1, 2 C)}.
    """
    maps = {}
    for level, convolved in enumerate(LEVELS, start=1):
        first, last = (convolutions[index - 1] for index in convolved)
        pooled = [ops.mean(last, axis=2, keepdims=True), ops.max(last, axis=2, keepdims=True)]
        maps |= {f"level{level}_1": first, f"level{level}_2": last,
                 f"level{level}_pooled": ops.concatenate(pooled, axis=-1)}
    return maps


def log_scores(x):
    """Compute 6 + ln(s) / 2, at least 0, of YAMNet's class scores s of each patch of 0.96 s.

    Args:
        x: output of the last convolution, (batch, T / 32, 2, 1024).

    Returns:
        (batch, T / 96, 521), from 0 to 6, a range that a linear layer learns from.
    """
    x = layers.AveragePooling1D(3, name="yamnet_patch")(ops.mean(x, axis=2))
    x = _apply(layers.Dense(len(class_names()), trainable=False, name="yamnet_classes"), x)
    return ops.relu(LOG_RANGE + ops.log_sigmoid(x) / LOG_UNIT)


def _repeat(x, times, name):
    return x if times == 1 else layers.UpSampling2D((times, 1), name=f"{name}_repeat")(x)


def _standardise(x, name):
    # Channels differ a hundredfold: a head learns twice as fast from channels of mean 0 and deviation 1. They are those
    # of many sounds, not of the batch: batch normalisation of few recordings doubled the loss in inference.
    means, deviations = (read_weights()[f"{name}/{each}"] for each in ("mean", "deviation"))
    return layers.Normalization(mean=means, variance=deviations ** 2, name=f"yamnet_{name}_standardised")(x)


def _adapt(x, filters, dropout, name):
    x = layers.Conv2D(filters, 1, activation="relu", name=f"{name}_conv")(x)
    return layers.Dropout(dropout, name=f"{name}_dropout")(x)


@register("backbone", frames=True, pretrained=True)
def yamnet(x, spec, use_cudnn="auto", name="yamnet"):
    """YAMNet's maps at 40, 80, 160 and 320 ms, joined at 40 ms.

    Args:
        x: log-mel of specs.YAMNET_FEATURES, (batch, T, 64); T is a multiple of 96.
        spec: ModelSpec; `filters` are four numbers of channels, to which 1x1 convolutions reduce the maps of each
            level, and the last one those of all levels together. With `freeze_backbone`, only they learn.
        use_cudnn: not used here, since there is no GRU.
        name: str, with which all layers' names begin.

    Returns:
        The maps, the logarithms of YAMNet's class scores of each patch, (batch, T / 96, 521), as of log_scores, and its
        standardised embeddings, (batch, T / 96, 1024). The maps are a list of (M1, M2, output) per level. M1 and M2 are
        reduced from the outputs of the level's first and last convolution, (batch, T / 4, 16 or 8 or 4 or 2, filters).
        The last output holds the means and maxima over frequency of all levels, reduced and added: (batch, T / 4, 1,
        filters[-1]). The other outputs are the pooled M2.

    Raises:
        InputError: another front end's frames, or other than four filters.
    """
    expect(x.shape[2] == 64 and x.shape[1] % PATCH_FRAMES == 0, "training.segment_frames and features.n_mels",
           f"a multiple of {PATCH_FRAMES} frames of 64 mels, as of the preset yamnet", tuple(x.shape[1:]))
    expect(len(spec.filters) == len(LEVELS), "model.filters", "four numbers, for maps of 40, 80, 160 and 320 ms",
           spec.filters)
    convolutions = convolve(x, trainable=not spec.freeze_backbone)
    levels, maps, parts = {key: _standardise(x, key) for key, x in level_maps(convolutions).items()}, [], []
    for level, filters in enumerate(spec.filters, start=1):
        times, part = 2 ** (level - 1), f"{name}_level{level}"
        # reduced before they are repeated, which costs less and gives the same
        pooled = layers.Dropout(spec.dropout, noise_shape=(None, 1, 1, None), name=f"{part}_pooled_dropout")(
            levels[f"level{level}_pooled"])
        pooled = layers.Conv2D(spec.filters[-1], 1, use_bias=level == 1, name=f"{part}_pooled")(pooled)
        parts.append(_repeat(pooled, times, f"{part}_pooled"))
        m1, m2 = (_repeat(_adapt(levels[f"level{level}_{which}"], filters, spec.dropout, f"{part}_{which}"), times,
                          f"{part}_{which}") for which in (1, 2))
        maps.append((m1, m2, pool_frequency(m2, part)))
    output = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_joined")(parts))
    maps[-1] = (*maps[-1][:2], layers.Dropout(spec.dropout, name=f"{name}_dropout")(output))
    means = levels["level4_pooled"][:, :, 0, :CONVOLUTIONS[-1][1]]
    embeddings = layers.AveragePooling1D(PATCH_FRAMES // 32, name=f"{name}_embeddings")(means)
    return maps, log_scores(convolutions[-1]), embeddings


@functools.cache
def _listener():
    patch = keras.Input((PATCH_FRAMES, YAMNET_FEATURES.n_mels))
    last = convolve(patch, trainable=False)[-1]
    return keras.Model(patch, [ops.mean(last, axis=(1, 2)), log_scores(last)[:, 0]])


def embed(waveform):
    """Compute what YAMNet makes of a waveform, per patch of 0.96 s; the last patch is filled with silence.

    Args:
        waveform: floats (samples,) from -1 to 1, at 16 kHz.

    Returns:
        Embeddings float32 (patches, 1024), means over the last map, and log scores (patches, 521) as of log_scores.
    """
    log_mel = compute_log_mel(check_waveform(waveform), YAMNET_FEATURES)
    patches = cut_segments(log_mel, PATCH_FRAMES, YAMNET_FEATURES.silence)
    return tuple(_listener().predict(patches, batch_size=64, verbose=0))


def measure_maps(paths):
    """Measure the mean and deviation of each channel of level_maps over recordings.

    Args:
        paths: list of audio files, of many kinds of sounds.

    Returns:
        {"NAME/mean", "NAME/deviation": float32 (channels,)}; deviations are at least a fiftieth of their mean.
    """
    patch = keras.Input((PATCH_FRAMES, YAMNET_FEATURES.n_mels))
    network = keras.Model(patch, level_maps(convolve(patch, trainable=False)))
    sums = {}
    for path in paths:
        log_mel = compute_log_mel(load_audio(path, YAMNET_FEATURES.sample_rate), YAMNET_FEATURES)
        patches = cut_segments(log_mel, PATCH_FRAMES, YAMNET_FEATURES.silence)
        for name, x in network.predict(patches, verbose=0).items():
            x = x.reshape(-1, x.shape[-1]).astype(float)
            moments = np.stack([np.full(x.shape[1], len(x)), x.sum(axis=0), (x ** 2).sum(axis=0)])
            sums[name] = sums.get(name, 0) + moments
    arrays = {}
    for name, (number, total, squares) in sums.items():
        deviation = np.sqrt(np.maximum(squares / number - (total / number) ** 2, 0))
        arrays |= {f"{name}/mean": (total / number).astype(np.float32),
                   f"{name}/deviation": np.maximum(deviation, 0.02 * deviation.mean()).astype(np.float32)}
    return arrays


def convert_yamnet(checkpoint, class_map, recordings, folder=PRETRAINED):
    """Convert YAMNet's published SavedModel into the two files that this module reads.

    Args:
        checkpoint: path of its variables, FOLDER/variables/variables.
        class_map: path of its list of classes, FOLDER/assets/yamnet_class_map.csv.
        recordings: list of audio files for measure_maps; those of synthesis/negative_recordings were taken.
        folder: folder of the files.

    Example:
        >>> convert_yamnet("yamnet/variables/variables", "yamnet/assets/yamnet_class_map.csv", find_audio(["sounds"]))
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
    path = pathlib.Path(folder) / "yamnet.npz"
    np.savez_compressed(path, **arrays)
    read_weights.cache_clear()
    np.savez_compressed(path, **arrays, **measure_maps(recordings))
    read_weights.cache_clear()
    classes = pd.read_csv(class_map)["display_name"]
    (pathlib.Path(folder) / "yamnet_classes.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")
