"""Networks, built from a ModelSpec and tasks by Keras's functional API: a backbone, a head, an output per task."""
import keras
from keras import layers

from polysed_keras.errors import InputError
from polysed_keras.models.backbones import BACKBONES
from polysed_keras.models.heads import HEADS

NORMALIZATION = "normalization"


def _choose(table, key, field):
    if key not in table:
        raise InputError(f"{field}: expected one of {sorted(table)}. Received: {key!r}.")
    return table[key]


def _check_fit(spec, frames):
    """Heads of clips take maps of any size; the others need every frame of conv_blocks, which the stem may stride."""
    if spec.backbone != "conv_blocks" and spec.head != "pooled":
        raise InputError(f"model.backbone: expected conv_blocks with the head {spec.head!r}, which tells frames apart. "
                         f"Received: {spec.backbone!r}. Set model.head=pooled for a network of clips.")
    if spec.backbone != "conv_blocks" and tuple(spec.stem_strides) != (1, 1):
        raise InputError(f"model.stem_strides: expected (1, 1), because {spec.backbone} strides by itself. "
                         f"Received: {spec.stem_strides}.")
    if spec.head != "pooled" and frames % spec.stem_strides[0]:
        raise InputError("training.segment_frames: expected a multiple of the stem's time stride "
                         f"{spec.stem_strides[0]}. Received: {frames}.")


def build_model(spec, tasks, input_shape, *, use_cudnn="auto"):
    """Build a network that takes log-mel segments or clips and returns the posteriors of every task.

    Args:
        spec: ModelSpec.
        tasks: tuple of Task.
        input_shape: (frames, n_mels) of a segment or clip.
        use_cudnn: passed to every GRU; False where a graph must run without a GPU.

    Returns:
        keras.Model: log_mel (batch, frames, n_mels) in dB -> {task.name: (batch, frames, task.num_outputs)}; with the
        head `pooled` of clips, (batch, task.num_outputs).

    Raises:
        InputError: an unknown backbone or head, two that do not fit, or a segment that the stem does not divide.
    """
    backbone, head = _choose(BACKBONES, spec.backbone, "model.backbone"), _choose(HEADS, spec.head, "model.head")
    _check_fit(spec, input_shape[0])
    log_mel = keras.Input(input_shape, name="log_mel")
    x = layers.Normalization(axis=-1, name=NORMALIZATION)(log_mel)
    outputs = {}
    for task, x_task in zip(tasks, head(backbone(x, spec, use_cudnn), tasks, spec, use_cudnn)):
        # float32 outputs keep the softmax and the loss exact under mixed precision
        x = layers.Dense(task.num_outputs, activation=task.activation, dtype="float32",
                         name=f"{task.name}_output")(x_task)
        if spec.head != "pooled" and spec.stem_strides[0] > 1:
            x = layers.UpSampling1D(spec.stem_strides[0], name=f"{task.name}_repeat")(x)
        outputs[task.name] = x
    return keras.Model(log_mel, outputs, name=f"{spec.backbone}_{spec.head}")
