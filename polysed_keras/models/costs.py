"""Cost of networks, and widening of a network to the cost of another: the control for gains by size alone."""
import dataclasses
import json
import math

import keras
import numpy as np
from keras import layers

from polysed_keras.errors import InputError
from polysed_keras.models.network import build_model, with_labels
from polysed_keras.models.prior import WithPrior

# Of the papers' corpora: TUT-SED Synthetic 2016, TUT Urban Acoustic Scenes 2018, and the event sets of paper 2.
NUM_LABELS, NUM_SCENES, NUM_EVENTS = 16, 10, 35
PROCESS_BYTES, OPERATION_BYTES = 670e6, 1.25e6  # of Python with TensorFlow; of each operation that is traced
WEIGHT_BYTES, VALUE_BYTES = 16, 4  # a weight, its gradient and Adam's two moments; and a value that is kept


def _outputs(layer):
    """Count the places at which a layer applies its kernel: its output's size without channels."""
    return math.prod(layer.output.shape[1:-1])


def _einsum_outputs(layer):
    """Multiply the sizes of the output's axes that the kernel lacks: time t, for "btnc,ncd->btnd"."""
    _, kernel, output = layer.equation.replace("->", ",").split(",")
    return math.prod(size for axis, size in zip(output[1:], layer.output.shape[1:]) if axis not in kernel)


def _recurrent_multiply_adds(layer):
    cells = layer.forward_layer.cell, layer.backward_layer.cell
    return layer.output.shape[1] * sum(math.prod(kernel.shape) for cell in cells
                                       for kernel in (cell.kernel, cell.recurrent_kernel))


MULTIPLY_ADDS = {
    layers.Conv2D: lambda layer: _outputs(layer) * math.prod(layer.kernel.shape),
    layers.DepthwiseConv2D: lambda layer: _outputs(layer) * math.prod(layer.kernel.shape),
    layers.Dense: lambda layer: _outputs(layer) * math.prod(layer.kernel.shape),
    layers.EinsumDense: lambda layer: _einsum_outputs(layer) * math.prod(layer.kernel.shape),
    layers.Bidirectional: _recurrent_multiply_adds,
    WithPrior: lambda layer: 0, layers.BatchNormalization: lambda layer: 0, layers.Normalization: lambda layer: 0,
}


def multiply_adds(model):
    """Count the multiply-adds of a network of build_model for one segment or clip.

    Convolutions, dense and recurrent layers count. Layers without a kernel (masks, pooling, ...) cost far less
    and are left out. The attribute `patches` of a layer says into how many parts a segment was cut for it.
    """
    return sum(MULTIPLY_ADDS[type(layer)](layer) * getattr(layer, "patches", 1)
               for layer in model.layers if layer.weights)


def learning_values(model):
    """Count what a training step keeps of a network for its gradients.

    An operation learns if it has weights that learn, or if it follows one that does. Its inputs and outputs are kept;
    what lies between others, such as within a frozen backbone, is let go.

    Args:
        model: network of build_model.

    Returns:
        Number of operations that learn, and number of values in their inputs and outputs for one segment or clip.
    """
    learnt, kept, operations = set(), {}, 0
    for operation in model.operations:
        inputs, outputs = (keras.tree.flatten(tensors) for tensors in (operation.input, operation.output))
        if getattr(operation, "trainable_variables", ()) or any(id(tensor) in learnt for tensor in inputs):
            learnt |= set(map(id, outputs))
            operations += 1
            parts = getattr(operation, "patches", 1)
            kept |= {id(tensor): math.prod(tensor.shape[1:]) * parts for tensor in inputs + outputs}
    return operations, sum(kept.values())


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cost of a network.

    Attributes:
        multiply_adds: float, per second of audio.
        weights: int, without the input normalisation's.
        operations, values: int, of learning_values.
    """

    multiply_adds: float
    weights: int
    operations: int
    values: int

    def training_memory(self, batch_size=32):
        """Estimate the bytes that a process needs for training steps of so many segments or clips, on a CPU.

        It is a sum of Python with TensorFlow, the traced graph, the weights with their gradients and Adam's moments,
        and the inputs and outputs of all operations that learn. The training data come on top.
        """
        return (PROCESS_BYTES + OPERATION_BYTES * self.operations + WEIGHT_BYTES * self.weights +
                VALUE_BYTES * self.values * batch_size)


def experiment_cost(experiment):
    """Build the network of an Experiment whose tasks are resolved, and return its Cost."""
    frames, n_mels = experiment.input_shape
    model = build_model(experiment.model, experiment.tasks, (frames, n_mels))
    seconds = frames * experiment.features.time_resolution
    return Cost(multiply_adds(model) / seconds, model.count_params() - (2 * n_mels + 1), *learning_values(model))


def with_example_labels(experiment):
    """Return an Experiment with as many labels as the papers' corpora have, called by numbers.

    Those are NUM_LABELS for networks of recordings, and NUM_SCENES and NUM_EVENTS for networks of clips.
    """
    labels = [f"label_{index}" for index in range(NUM_LABELS)]
    if experiment.clip_level:
        labels = {"scene": [f"scene_{index}" for index in range(NUM_SCENES)],
                  "events": [f"event_{index}" for index in range(NUM_EVENTS)]}
    return with_labels(experiment, labels if experiment.learns else None)


def with_num_labels(experiment, num_labels):
    """Resolve the tasks of an Experiment with numbers in place of labels, unless it knows its labels.

    Raises:
        InputError: more tasks than labels, or a network of clips, whose tasks have different labels.
    """
    if experiment.clip_level:
        raise InputError("preset: expected one of recordings, such as multilabel. Received one of clips: "
                         f"{experiment.name}.")
    return with_labels(experiment, range(num_labels) if experiment.learns else None)


def widen(experiment, cost):
    """Widen or narrow a network until its multiply-adds are as near as possible to those of another.

    All widths (filters, recurrent_units, dense_units) are scaled by one factor, so that they stay whole and in
    proportion.

    Args:
        experiment: Experiment whose tasks are resolved, such as the multi-label baseline.
        cost: Cost of the other network.

    Returns:
        The Experiment with other widths.
    """
    spec = experiment.model
    unit = math.gcd(*spec.filters, spec.recurrent_units, *spec.dense_units)

    def of_width(width):
        filters, dense_units = (tuple(number // unit * width for number in numbers)
                                for numbers in (spec.filters, spec.dense_units))
        model = dataclasses.replace(spec, filters=filters, dense_units=dense_units,
                                    recurrent_units=spec.recurrent_units // unit * width)
        return dataclasses.replace(experiment, model=model)

    # Every kernel's size is linear or quadratic in the width: the costs of three narrow networks give all others.
    polynomial = np.polyfit((2, 4, 6), [experiment_cost(of_width(width)).multiply_adds for width in (2, 4, 6)], 2)
    root = max(np.roots(polynomial - [0, 0, cost.multiply_adds]).real)
    return of_width(min((max(1, int(root)), max(1, int(root) + 1)),
                        key=lambda width: abs(np.polyval(polynomial, width) - cost.multiply_adds)))


def format_widening(experiment, other):
    """Format the costs of two Experiments with resolved tasks, and of the first one widened to the cost of the other.

    The last line is the --set option that widens the first one.
    """
    cost = experiment_cost(other)
    wider = widen(experiment, cost)
    costs = {experiment.name: experiment_cost(experiment), other.name: cost, "widened": experiment_cost(wider)}
    lines = [f"{name:20} {cost.multiply_adds / 1e6:10.1f} million multiply-adds a second "
             f"{cost.weights / 1e6:8.2f} million weights" for name, cost in costs.items()]
    fields = {field: getattr(wider.model, field) for field in ("filters", "recurrent_units", "dense_units")}
    return "\n".join(lines + ["--set " + " ".join(f"model.{field}={json.dumps(width, separators=(',', ':'))}"
                                                  for field, width in fields.items())])
