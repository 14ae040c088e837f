"""Networks by Keras's functional API: a backbone, a head, and one output per task."""
import dataclasses

import keras
from keras import layers

from polysed_keras.errors import InputError, expect
from polysed_keras.models import backbones, heads, yamnet  # noqa: F401 - they register their functions
from polysed_keras.models.compiling import compile_model, task_weights
from polysed_keras.models.prior import WithPrior, apply_prior, prior_task, rare_bias
from polysed_keras.models.yamnet import class_names
from polysed_keras.specs import (
    CLASS_SCORES,
    Experiment,
    LogMelSpec,
    ModelSpec,
    Task,
    TrainSpec,
    find,
    frame_backbones,
    get_preset,
    is_clip_head,
    is_pretrained,
    resolve_tasks,
)

NORMALIZATION = "normalization"


def _check_fit(spec, frames):
    """Heads of clips take maps of any size; heads of frames need a backbone that keeps frames."""
    keeping = spec.backbone in frame_backbones()
    if not keeping and not is_clip_head(spec.head):
        raise InputError(f"model.backbone: expected {' or '.join(frame_backbones())} with the head {spec.head!r}, "
                         f"which tells frames apart. Received: {spec.backbone!r}. Set model.head=pooled for a network "
                         "of clips.")
    expect(keeping or tuple(spec.stem_strides) == (1, 1), "model.stem_strides",
           f"(1, 1), because {spec.backbone} strides by itself", spec.stem_strides)
    expect(is_pretrained(spec.backbone) or not spec.freeze_backbone, "model.freeze_backbone",
           f"False, because {spec.backbone} is not pretrained", spec.freeze_backbone)
    expect(is_clip_head(spec.head) or frames % spec.stem_strides[0] == 0, "training.segment_frames",
           f"a multiple of the stem's time stride {spec.stem_strides[0]}", frames)
    expect(frames % spec.output_stride == 0, "training.segment_frames",
           f"a multiple of model.output_stride, {spec.output_stride}", frames)


def build_model(design, tasks=None, input_shape=None, *, labels=None, use_cudnn="auto"):
    """Build a network that turns log-mel segments or clips into the posteriors of every task.

    Args:
        design: a preset's name, the path of a JSON file that holds an Experiment, an Experiment, or a ModelSpec.
        tasks: tuple of Task, for a ModelSpec only; default: one `multi_label` task "events" with `labels`.
        input_shape: (frames, n_mels) of a segment or clip, for a ModelSpec only; default: (128, 64).
        labels: list of all event labels; for presets of clips {"scene": labels, "events": labels}. Not needed if the
            tasks have labels already, or for the head class_scores, whose labels are YAMNet's classes.
        use_cudnn: passed to every GRU; False for a graph that must run without a GPU.

    Returns:
        keras.Model: log_mel (batch, frames, n_mels) in dB -> {task.name: (batch, frames / output_stride,
        task.num_outputs)}, or {task.name: (batch, task.num_outputs)} for heads of clips, such as `pooled`. The network
        of a preset or Experiment is compiled with its learning rate and loss weights; that of a ModelSpec is not.

    Raises:
        InputError: missing labels, an unknown preset, backbone or head, or parts that do not fit together.

    Example:
        >>> model = ps.build_model("multilabel_small", labels=["rain", "wind"])
        >>> log_mel, events = np.zeros((2, 128, 64)), np.zeros((2, 128, 2))
        >>> history = model.fit(log_mel, {"events": events}, verbose=0)
    """
    if isinstance(design, ModelSpec):
        expect(tasks or labels, "labels", 'tasks, or a list of labels, such as ["rain", "wind"]', labels)
        tasks = tuple(tasks or (Task("events", tuple(labels), "multi_label"),))
        return _build(design, tasks, input_shape or (TrainSpec().segment_frames, LogMelSpec().n_mels), use_cudnn)
    expect(tasks is None and input_shape is None, "tasks and input_shape", "none, except with a ModelSpec", design)
    experiment = design if isinstance(design, Experiment) else get_preset(design)
    experiment = with_labels(experiment, labels)
    model = _build(experiment.model, experiment.tasks, experiment.input_shape, use_cudnn)
    return compile_model(model, experiment.tasks, learning_rate=experiment.training.learning_rate,
                         loss_weights=task_weights(experiment))


def with_labels(experiment, labels=None):
    """Return an Experiment with its tasks resolved.

    Args:
        experiment: Experiment.
        labels: as of build_model.

    Raises:
        InputError: missing labels, or labels that do not fit the tasks.
    """
    if labels is None and not experiment.learns:
        labels = class_names()
    return dataclasses.replace(experiment, tasks=resolve_tasks(experiment.tasks, labels))


def _build(spec, tasks, input_shape, use_cudnn):
    backbone, head = find("backbone", spec.backbone, "model.backbone"), find("head", spec.head, "model.head")
    _check_fit(spec, input_shape[0])
    log_mel = keras.Input(input_shape, name="log_mel")
    x = layers.Normalization(axis=-1, name=NORMALIZATION)(log_mel)
    maps, outputs = backbone(x, spec, use_cudnn), {}
    maps, log_scores, embeddings = maps if is_pretrained(spec.backbone) else (maps, None, None)
    if spec.head == CLASS_SCORES:
        (posteriors,), (task,) = head(log_scores, tasks, spec, use_cudnn), tasks
        outputs[task.name] = _repeat_outputs(posteriors, input_shape[0] // spec.output_stride, spec, task)
        return keras.Model(log_mel, outputs, name=f"{spec.backbone}_{spec.head}")
    for task, x in zip(tasks, head(maps, tasks, spec, use_cudnn)):
        # float32 outputs keep the softmax and the loss exact under mixed precision
        x = layers.Dense(task.num_outputs, activation=task.activation, dtype="float32", name=f"{task.name}_output",
                         bias_initializer="zeros" if log_scores is None else rare_bias(task))(x)
        if not is_clip_head(spec.head):
            rows = input_shape[0] // spec.output_stride
            x = _repeat_outputs(x, rows, spec, task)
            if log_scores is not None:
                prior = _repeat_outputs(apply_prior(log_scores, embeddings, task), rows, spec, prior_task(task))
                x = WithPrior(task, name=f"{task.name}_with_prior")(x, prior)
        outputs[task.name] = x
    return keras.Model(log_mel, outputs, name=f"{spec.backbone}_{spec.head}")


def _repeat_outputs(x, number, spec, task):
    """Repeat (batch, T', outputs) to (batch, number, outputs)."""
    expect(x.ndim == 3 and number % x.shape[1] == 0, f"model.backbone {spec.backbone} and model.head {spec.head}",
           f"(batch, {number}, channels), or a whole fraction of these {number} frames", tuple(x.shape))
    if x.shape[1] == number:
        return x
    return layers.UpSampling1D(number // x.shape[1], dtype="float32", name=f"{task.name}_repeat")(x)
