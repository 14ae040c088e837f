"""The part of a pretrained backbone's own class scores in the posteriors of a task.

A head that learns from few recordings is exact in time, but takes unknown sounds for its labels. The class scores of
the backbone know many sounds, but not when. A linear layer maps their logarithms to the labels: the prior. Each learns
by its own loss, and the network multiplies both, to powers 1 - weight and weight. Validation chooses the weight.
"""
import keras
from keras import layers

from polysed_keras.models.compiling import task_losses, task_weights
from polysed_keras.specs import Task, is_pretrained

PRIOR_WEIGHTS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.75)  # which validation chooses from
DECAY = 5e-3  # of the prior's weights, per label; that of the best logistic regressions on class scores
RARE = -4.0  # logit of labels that are active 2 % of the time


class WithPrior(layers.Layer):
    """Layer that multiplies the posteriors of a Task and a prior of its labels; `weight` is a variable of it."""

    def __init__(self, task, name):
        super().__init__(name=name, dtype="float32")
        self.task = task
        constant = keras.initializers.Constant(PRIOR_WEIGHTS[2])
        self.weight = self.add_weight(shape=(), initializer=constant, trainable=False, name="weight")

    def call(self, posteriors, prior):
        """Return posteriors of the shape of `posteriors`, (batch, T', outputs); `prior` is (batch, T', labels)."""
        return self.task.with_prior(posteriors, prior, self.weight)


def prior_task(task):
    """Return the Task by which the prior of a task learns."""
    return Task(f"{task.name}_prior", task.labels, "multi_label")


def prior_layer(task):
    """Return the layer that maps logarithms of class scores, (batch, T', classes), to the prior of a task's labels."""
    return layers.Dense(len(task.labels), activation="sigmoid", kernel_initializer="zeros", name=prior_task(task).name,
                        bias_initializer=rare_bias(prior_task(task)), dtype="float32",
                        kernel_regularizer=keras.regularizers.L2(DECAY / len(task.labels)))


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
