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


def build_model(spec, tasks, input_shape, *, use_cudnn="auto"):
    """Build a network that takes log-mel segments and returns the posteriors of every task.

    Args:
        spec: ModelSpec.
        tasks: tuple of Task.
        input_shape: (frames, n_mels) of a segment; frames must be a multiple of spec.stem_strides[0].
        use_cudnn: passed to every GRU; False where a graph must run without a GPU.

    Returns:
        keras.Model: log_mel (batch, frames, n_mels) in dB -> {task.name: (batch, frames, task.num_outputs)}.

    Raises:
        InputError: an unknown backbone or head, or a segment that the stem does not divide.
    """
    frames, stride = input_shape[0], spec.stem_strides[0]
    backbone, head = _choose(BACKBONES, spec.backbone, "model.backbone"), _choose(HEADS, spec.head, "model.head")
    if frames % stride:
        raise InputError(f"training.segment_frames: expected a multiple of the stem's time stride {stride}. "
                         f"Received: {frames}.")
    log_mel = keras.Input(input_shape, name="log_mel")
    x = layers.Normalization(axis=-1, name=NORMALIZATION)(log_mel)
    outputs = {}
    for task, x_task in zip(tasks, head(backbone(x, spec), tasks, spec, use_cudnn)):
        # float32 outputs keep the softmax and the loss exact under mixed precision
        output = layers.Dense(task.num_outputs, activation=task.activation, dtype="float32",
                              name=f"{task.name}_output")(x_task)
        outputs[task.name] = layers.UpSampling1D(stride, name=f"{task.name}_repeat")(output) if stride > 1 else output
    return keras.Model(log_mel, outputs, name=f"{spec.backbone}_{spec.head}")
