"""The networks of paper 1 in PyTorch, with the weights of a Keras network: the peer of benchmarks/networks.py.

Written as one would by hand, with what tasks share computed once, as here: masks by one convolution, dense layers of
all tasks stacked. Layers are named as those of Keras, so that weights are copied by name.
"""
import numpy as np
import torch
from torch import nn
from torch.nn import functional


def _tensor(array):
    return nn.Parameter(torch.tensor(np.asarray(array)))


class _Stacked(nn.Module):
    """A dense layer per task: (batch, T, tasks, C) -> (batch, T, tasks, units)."""

    def __init__(self, kernel, bias):
        super().__init__()
        self.kernel, self.bias = _tensor(kernel), _tensor(bias)

    def forward(self, x):
        return torch.einsum("btnc,ncd->btnd", x, self.kernel) + self.bias


def _twin(layer):
    """Return the layer of PyTorch with the weights of a layer of Keras."""
    kind, weights = type(layer).__name__, [np.asarray(weight) for weight in layer.weights]
    if kind == "Conv2D":
        height, width, of, to = weights[0].shape
        twin = nn.Conv2d(of, to, (height, width), layer.strides, bias=layer.use_bias,
                         padding="same" if layer.strides == (1, 1) else 0)
        twin.weight = _tensor(weights[0].transpose(3, 2, 0, 1))
        if layer.use_bias:
            twin.bias = _tensor(weights[1])
    elif kind == "BatchNormalization":
        twin = nn.BatchNorm2d(len(weights[0]), layer.epsilon, 1 - layer.momentum)
        twin.weight, twin.bias = _tensor(weights[0]), _tensor(weights[1])
        twin.running_mean, twin.running_var = torch.tensor(weights[2]), torch.tensor(weights[3])
    elif kind == "Dense":
        twin = nn.Linear(*weights[0].shape)
        twin.weight, twin.bias = _tensor(weights[0].T), _tensor(weights[1])
    elif kind == "EinsumDense":
        twin = _Stacked(*weights)
    else:  # Bidirectional: Keras's gates stand as (update, reset, candidate), PyTorch's as (reset, update, candidate)
        units = weights[1].shape[0]
        order = np.concatenate([np.arange(units, 2 * units), np.arange(units), np.arange(2 * units, 3 * units)])
        twin = nn.GRU(weights[0].shape[0], units, batch_first=True, bidirectional=True)
        for suffix, (kernel, recurrent, bias) in (("", weights[:3]), ("_reverse", weights[3:])):
            setattr(twin, f"weight_ih_l0{suffix}", _tensor(kernel.T[order]))
            setattr(twin, f"weight_hh_l0{suffix}", _tensor(recurrent.T[order]))
            setattr(twin, f"bias_ih_l0{suffix}", _tensor(bias[0][order]))
            setattr(twin, f"bias_hh_l0{suffix}", _tensor(bias[1][order]))
    return twin


class Network(nn.Module):
    """conv_blocks with the head `attention` or `recurrent`: log_mel (batch, T, F) -> list of logits, one per task.

    Args:
        model: the network of build_model.
        experiment: its Experiment, with resolved tasks.
    """

    def __init__(self, model, experiment):
        super().__init__()
        self.spec, self.tasks = experiment.model, experiment.tasks
        normalization = model.get_layer("normalization")
        normalization.finalize_state()
        self.register_buffer("mean", torch.tensor(np.asarray(normalization.mean)))
        self.register_buffer("deviation", torch.tensor(np.sqrt(np.asarray(normalization.variance))))
        self.layers = nn.ModuleDict({layer.name: _twin(layer) for layer in model.layers
                                     if layer.weights and layer is not normalization})
        self.dropout = nn.Dropout(self.spec.dropout)

    def _conv_bn_relu(self, x, name):
        return torch.relu(self.layers[f"{name}_bn"](self.layers[f"{name}_conv"](x)))

    def forward(self, log_mel):
        x = ((log_mel - self.mean) / self.deviation)[:, None]
        strides = self.spec.stem_strides
        if strides != (1, 1):  # TensorFlow's "same" pads more behind than before
            padding = []
            for size, stride in zip(x.shape[:1:-1], strides[::-1]):
                total = max((-(-size // stride) - 1) * stride + 2 * stride - 1 - size, 0)
                padding += [total // 2, total - total // 2]
            x = self._conv_bn_relu(functional.pad(x, padding), "backbone_stem")
        maps = []
        for level in range(1, len(self.spec.filters) + 1):
            m1 = self.dropout(self._conv_bn_relu(x, f"backbone_block{level}_1"))
            m2 = self.dropout(self._conv_bn_relu(m1, f"backbone_block{level}_2"))
            maps.append((m1, m2))
            if level < len(self.spec.filters) or self.spec.head == "recurrent":
                x = functional.max_pool2d(m2, (1, 2))
        outputs = self._attention(maps) if self.spec.head == "attention" else self._recurrent(x)
        return [output.repeat_interleave(strides[0], dim=1) for output in outputs] if strides[0] > 1 else outputs

    def _gru(self, x, name):
        x = x.permute(0, 2, 3, 1).flatten(2)  # (batch, C, T, F) -> (batch, T, F * C)
        return self.dropout(self.layers[name](x)[0])

    def _recurrent(self, x):
        x = self._gru(x, "gru")
        for index in range(1, len(self.spec.dense_units) + 1):
            x = self.dropout(torch.relu(self.layers[f"dense{index}"](x)))
        return [self.layers[f"{task.name}_output"](x) for task in self.tasks]

    def _attention(self, maps):
        xs = [None] * len(self.tasks)
        for level, (m1, m2) in enumerate(maps, 1):
            pooled = torch.cat([m1.mean(1, keepdim=True), m1.amax(1, keepdim=True)], 1)
            time_frequency = torch.sigmoid(self.layers[f"time_frequency_masks{level}"](pooled))
            squeezed = torch.relu(self.layers[f"channel_masks{level}_squeeze"](m1.mean((2, 3))))
            squeezed = squeezed.unflatten(1, (1, len(self.tasks), -1))
            channel = torch.sigmoid(self.layers[f"channel_masks{level}"](squeezed))[:, 0, :, :, None, None]
            for index, task in enumerate(self.tasks):
                name = f"{task.name}_block{level}"
                m = torch.cat([time_frequency[:, index:index + 1] * m2, channel[:, index] * m2], 1)
                m = self.layers[f"{name}_reduce"](m)
                if xs[index] is not None:
                    m = torch.cat([m, xs[index]], 1)
                xs[index] = functional.max_pool2d(self.dropout(self._conv_bn_relu(m, name)), (1, 2))
        x = torch.stack([self._gru(x, f"{task.name}_gru") for x, task in zip(xs, self.tasks)], 2)
        for index in range(1, len(self.spec.dense_units) + 1):
            x = self.dropout(torch.relu(self.layers[f"dense{index}"](x)))
        return [self.layers[f"{task.name}_output"](x[:, :, index]) for index, task in enumerate(self.tasks)]

    def posteriors(self, log_mel):
        """Return {task.name: posteriors}, as the network of Keras does."""
        return {task.name: logits.softmax(-1) if task.activation == "softmax" else logits.sigmoid()
                for task, logits in zip(self.tasks, self(log_mel))}

    def loss(self, log_mel, targets):
        """Return the mean of the tasks' losses for targets {task.name: tensor}."""
        return sum(functional.cross_entropy(logits.flatten(0, 1), targets[task.name].flatten().long())
                   if task.activation == "softmax" else
                   functional.binary_cross_entropy_with_logits(logits, targets[task.name].float())
                   for task, logits in zip(self.tasks, self(log_mel))) / len(self.tasks)
