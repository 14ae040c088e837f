"""The part of what a pretrained backbone knows of whole patches in the posteriors of a task.

A head that learns from few recordings is exact in time, but takes unknown sounds for its labels. The backbone's class
scores and embeddings know many sounds, but not when. Two dense layers map them to the labels: the prior. Head and prior
learn by losses of their own, and the network multiplies both, to powers 1 - weight and weight. Validation chooses the
weight.
"""
import keras
from keras import layers, ops

from polysed_keras.models.compiling import task_losses, task_weights
from polysed_keras.specs import Task, is_pretrained

PRIOR_WEIGHTS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.75)  # which validation chooses from
# The least where false events count. Validation would choose less, because it holds the places that the head learnt
# from, and the prior protects from those that it did not.
FIELD_WEIGHT = 0.25
UNITS, INPUT_DROPOUT, DROPOUT = 512, 0.3, 0.5  # of the prior's hidden layer, before and after it
RARE = -4.0  # logit of labels that are active 2 % of the time


class WithPrior(layers.Layer):
    """Layer that multiplies the posteriors of a Task and a prior of its labels; `weight` is a variable of it."""

    def __init__(self, task, name):
        super().__init__(name=name, dtype="float32")
        self.task = task
        constant = keras.initializers.Constant(FIELD_WEIGHT)
        self.weight = self.add_weight(shape=(), initializer=constant, trainable=False, name="weight")

    def call(self, posteriors, prior):
        """Return posteriors of the shape of `posteriors`, (batch, T', outputs); `prior` is (batch, T', labels)."""
        return self.task.with_prior(posteriors, prior, self.weight)


def prior_task(task):
    """Return the Task by which the prior of a task learns."""
    return Task(f"{task.name}_prior", task.labels, "multi_label")


def apply_prior(log_scores, embeddings, task):
    """Apply the layers that map what a backbone knows of its patches to the prior of a task's labels.

    Args:
        log_scores: logarithms of class scores, (batch, patches, classes), as of yamnet.log_scores.
        embeddings: (batch, patches, channels), standardised.
        task: Task.

    Returns:
        (batch, patches, labels), 0 to 1. Nothing of it trains the backbone.
    """
    task = prior_task(task)
    # halved, the logarithms go from 0 to 3, as far as most embeddings do
    x = ops.concatenate([ops.stop_gradient(embeddings), ops.stop_gradient(log_scores) / 2], axis=-1)
    x = layers.Dropout(INPUT_DROPOUT, name=f"{task.name}_input_dropout")(x)
    x = layers.Dense(UNITS, activation="relu", name=f"{task.name}_hidden")(x)
    x = layers.Dropout(DROPOUT, name=f"{task.name}_dropout")(x)
    return layers.Dense(len(task.labels), activation="sigmoid", kernel_initializer="zeros", name=task.name,
                        bias_initializer=rare_bias(task), dtype="float32")(x)


def rare_bias(task):
    """Return the initializer of a task's output bias with which its labels begin as rare as they are in the field.

    Begun at 0.5, the first steps push all posteriors down by whatever they can, which left an F1 of 0.1.
    """
    return lambda shape, dtype=None: keras.ops.convert_to_tensor(task.rare_logits(RARE), dtype)


def has_prior(experiment):
    """Return whether an Experiment's network has priors: a pretrained backbone, and a head of frames that learns."""
    return is_pretrained(experiment.model.backbone) and not experiment.clip_level and experiment.learns


def learning_tasks(experiment):
    """Return the Experiment's tasks and the tasks of their priors, if it has any."""
    return experiment.tasks + (tuple(map(prior_task, experiment.tasks)) if has_prior(experiment) else ())


def separate_priors(model):
    """Return a network with the layers of `model` whose outputs are those of the Experiment's learning_tasks.

    Args:
        model: network of build_model for an Experiment with priors.

    Returns:
        keras.Model: log_mel -> {task name: ..., "TASK_prior": (batch, T', labels)}.
    """
    outputs = {}
    for layer in model.layers:
        if isinstance(layer, WithPrior):
            posteriors, prior = layer.input
            outputs |= {layer.task.name: posteriors, prior_task(layer.task).name: prior}
    return keras.Model(model.input, outputs)


def learning_losses(experiment):
    """Return losses and loss_weights, {task name: ...}, of the Experiment's learning_tasks, for Model.compile."""
    weights = task_weights(experiment)
    weights |= {prior_task(task).name: weights[task.name] for task in experiment.tasks} if has_prior(experiment) else {}
    return task_losses(learning_tasks(experiment)), weights


def set_prior_weight(model, weight):
    """Set the weight of the prior in all tasks of a network."""
    for layer in model.layers:
        if isinstance(layer, WithPrior):
            layer.weight.assign(weight)


def mix_priors(outputs, tasks, weight):
    """Return the posteriors {task name: array} of outputs of separate_priors, with the prior's weight."""
    return {task.name: keras.ops.convert_to_numpy(task.with_prior(outputs[task.name], outputs[prior_task(task).name],
                                                                  weight)) for task in tasks}
