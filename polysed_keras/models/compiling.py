"""Compile a network with Adam and the weighted losses of its tasks."""
import keras
import numpy as np

from polysed_keras.errors import expect


def task_losses(tasks):
    """Return the losses of the tasks, {task.name: keras.losses.Loss}.

    Each loss is averaged over the rows of its own task; other rows have sample weight 0.
    """
    losses = {}
    for task in tasks:
        loss = getattr(keras.losses, task.loss, None) if isinstance(task.loss, str) else task.loss
        expect(loss, f"loss of encoding {task.encoding!r}", "a class of keras.losses or its name", task.loss)
        losses[task.name] = loss(reduction="mean_with_sample_weight")
    return losses


def compile_model(model, tasks, *, learning_rate, loss_weights=None, jit_compile=False):
    """Compile a network with Adam and the weighted sum of the losses of its tasks.

    Args:
        model: network of build_model for `tasks`.
        tasks: tuple of Task.
        learning_rate: float, or a Keras schedule.
        loss_weights: {task.name: float}; None for 1 / N each (paper 1, section 3.2).
        jit_compile: bool, whether XLA compiles it, which is slower on a CPU for networks of several tasks.

    Returns:
        The model.
    """
    model.compile(keras.optimizers.Adam(learning_rate), task_losses(tasks),
                  loss_weights=loss_weights or {task.name: 1 / len(tasks) for task in tasks}, jit_compile=jit_compile)
    # If fit has to make the optimizer's variables or the losses' means, it traces the network twice.
    model.optimizer.build(model.trainable_variables)
    posteriors = {name: np.ones((1, *output.shape[1:]), "float32") for name, output in model.output.items()}
    silence = {task.name: task.encode(np.zeros((*posteriors[task.name].shape[:-1], len(task.labels))))
               for task in tasks}
    model.compute_loss(y=silence, y_pred=posteriors)
    model.reset_metrics()
    return model


def task_weights(experiment):
    """Return the weights of the losses of an Experiment's tasks, {task.name: float}.

    They are 1 - alpha for scenes and alpha for events (paper 2, equation 1), or 1 / N if there are not both.
    """
    tasks, alpha = experiment.tasks, experiment.training.alpha
    if alpha is None or {task.encoding for task in tasks} != {"multi_class", "multi_label"}:
        return {task.name: 1 / len(tasks) for task in tasks}
    return {task.name: alpha if task.encoding == "multi_label" else 1 - alpha for task in tasks}
