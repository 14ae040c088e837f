"""Encodings: how a task's labels become a network's outputs, their loss and target, and activity again."""
import numpy as np

from polysed_keras.errors import InputError
from polysed_keras.specs.plugins import register, registered

MAX_POWERSET_LABELS = 12
ENCODINGS = registered("encoding")


def likeliest(posteriors):
    """Return the index of the highest posterior: (..., outputs) -> (...), an array or a TensorFlow tensor alike."""
    if isinstance(posteriors, np.ndarray):
        return posteriors.argmax(axis=-1)
    import tensorflow as tf
    return tf.argmax(posteriors, axis=-1, output_type=tf.int32)  # LiteRT divides no int64


class Encoding:
    """Base class of encodings: one output per label.

    Its methods treat arrays and TensorFlow tensors alike, so that an exported graph and Python agree.

    Attributes:
        activation: of the output layer, by Keras's name.
        loss: a class of keras.losses, or its name.
        num_labels: int, of the task.
    """

    activation = "softmax"
    loss = "CategoricalCrossentropy"

    def __init__(self, num_labels):
        self.num_labels = num_labels

    num_outputs = property(lambda self: self.num_labels, doc="Number of outputs of the network.")

    def encode(self, activity):
        """Turn 0/1 activity (..., labels), an array, into the target of the loss: float32, which MixUp may mix."""
        return activity.astype(np.float32)

    def decode(self, posteriors, threshold):
        """Turn posteriors (..., num_outputs) into 0/1 or boolean activity (..., labels); a threshold may be ignored."""
        raise NotImplementedError

    def label_posteriors(self, posteriors):
        """Turn posteriors (..., num_outputs) into one per label, (..., labels)."""
        return posteriors

    def rare_logits(self, logit):
        """Return the logits of the outputs, float32 (num_outputs,), if each label by itself has this logit."""
        return np.zeros(self.num_outputs, np.float32)

    def with_prior(self, posteriors, prior, weight):
        """Multiply posteriors and prior, to the powers 1 - weight and weight, as tensors; the sum of a softmax stays 1.

        Args:
            posteriors: (..., num_outputs).
            prior: posterior of each label by itself, (..., labels).
            weight: float or scalar, 0 to 1.
        """
        from keras import ops
        return ops.softmax((1 - weight) * _log(posteriors) + weight * self._log_prior(prior))

    def _log_prior(self, prior):
        """Return the logarithm of the prior of each output, up to a constant, (..., num_outputs)."""
        return _log(prior)


def _log(posteriors):
    from keras import ops
    return ops.log(ops.maximum(posteriors, 1e-7))


@register("encoding", "multi_label")
class MultiLabel(Encoding):
    """Any labels at once: a sigmoid per label."""

    activation = "sigmoid"
    loss = "BinaryCrossentropy"

    def decode(self, posteriors, threshold):
        """Labels are active from the threshold on."""
        return posteriors >= threshold

    def rare_logits(self, logit):
        """As of Encoding."""
        return np.full(self.num_outputs, logit, np.float32)

    def with_prior(self, posteriors, prior, weight):
        """As of Encoding, for the two outcomes of each label."""
        from keras import ops
        logit, other = (_log(each) - _log(1 - each) for each in (posteriors, prior))
        return ops.sigmoid((1 - weight) * logit + weight * other)


@register("encoding", "multi_class")
class MultiClass(Encoding):
    """Exactly one label: a softmax over them."""

    def decode(self, posteriors, threshold):
        """The likeliest label is active."""
        return likeliest(posteriors)[..., None] == np.arange(self.num_labels)


@register("encoding", "powerset")
class Powerset(Encoding):
    """Any labels at once: a softmax over all 2^labels combinations (paper 1, section 2).

    Combination number c holds label i if bit i of c is set.
    """

    loss = "SparseCategoricalCrossentropy"

    def __init__(self, num_labels):
        super().__init__(num_labels)
        if num_labels > MAX_POWERSET_LABELS:
            raise InputError(f"a powerset of {num_labels} labels has {2 ** num_labels} classes, more than "
                             f"2^{MAX_POWERSET_LABELS}. Use more tasks.")
        self._bit_values = 2 ** np.arange(num_labels)

    num_outputs = property(lambda self: 2 ** self.num_labels, doc="Number of combinations.")

    def encode(self, activity):
        """The number of the combination: int32 (...)."""
        return (activity.astype(np.int64) @ self._bit_values).astype(np.int32)

    def decode(self, posteriors, threshold):
        """The labels of the likeliest combination are active."""
        return likeliest(posteriors)[..., None] // self._bit_values % 2

    def label_posteriors(self, posteriors):
        """The sum over the combinations that hold a label."""
        return posteriors @ self._combinations()

    def rare_logits(self, logit):
        """As of Encoding."""
        return logit * self._combinations().sum(axis=-1)

    def _combinations(self):
        """Return the labels of each combination, float32 (combinations, labels) of 0 and 1."""
        return (np.arange(self.num_outputs)[:, None] // self._bit_values % 2).astype(np.float32)

    def _log_prior(self, prior):
        from keras import ops
        return ops.matmul(_log(prior) - _log(1 - prior), self._combinations().T)
