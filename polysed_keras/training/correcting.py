"""Learning from corrections: what people have said of events changes the last layers of a network, and nothing else."""
import dataclasses

import keras
import numpy as np
import tensorflow as tf
from scipy.optimize import minimize
from scipy.special import expit

from polysed_keras.audio import compute_log_mel, load_audio
from polysed_keras.errors import expect
from polysed_keras.events import known_activity
from polysed_keras.models import NORMALIZATION, RARE, build_model, cut_segments, join_label_posteriors, prior_task
from polysed_keras.specs import task_labels
from polysed_keras.training.frozen import split_frozen

KEPT = 0.1  # weight of a frame and label of which nothing is known, beside 1 of one that is
ANCHOR = 1e-2  # weight of the squared distance of each weight from where it was
EVERY = 4  # Of the segments in which nothing is known, one of so many is learnt from.
STEPS = 60


@dataclasses.dataclass(frozen=True, eq=False)
class ReviewedAudio:
    """The segments of recordings of which something was answered.

    Attributes:
        recordings: list of names, one per segment.
        indices: int array (segments,), the number of each segment in its recording.
        log_mel: float32 (segments, frames, n_mels).
        known, active: bool (segments, outputs, labels), as of events.known_activity.
    """

    recordings: list
    indices: np.ndarray
    log_mel: np.ndarray
    known: np.ndarray
    active: np.ndarray


def load_reviewed(experiment, answers, recordings):
    """Load all segments of the recordings, as the network hears them; an hour takes 90 MB of memory for 64 mels.

    Args:
        experiment: Experiment with resolved tasks.
        answers: list of events.Answer.
        recordings: {name: path}.

    Returns:
        ReviewedAudio.

    Raises:
        InputError: unreadable audio.
    """
    spec, frames = experiment.features, experiment.training.segment_frames
    outputs, labels = frames // experiment.model.output_stride, list(task_labels(experiment.tasks))
    names, indices, parts = [], [], []
    for name, path in recordings.items():
        log_mel = compute_log_mel(load_audio(path, spec.sample_rate), spec)
        segments = cut_segments(log_mel, frames, spec.silence)
        activity = known_activity(answers, name, labels, len(segments) * outputs, experiment.time_resolution)
        parts.append((segments, *(each.reshape(len(segments), outputs, len(labels)) for each in activity)))
        names += [name] * len(segments)
        indices += range(len(segments))
    return ReviewedAudio(names, np.array(indices), *map(np.concatenate, zip(*parts)))


def add_labels(experiment, network, labels):
    """Return an Experiment and its network with more labels, of which the network knows nothing yet.

    Args:
        experiment: Experiment with one task, `multi_label`.
        network: its network.
        labels: list of the new labels.

    Returns:
        Experiment, keras.Model; those given if there is no new label.
    """
    if not labels:
        return experiment, network
    (task,) = experiment.tasks
    wider = dataclasses.replace(experiment, tasks=(dataclasses.replace(task, labels=(*task.labels, *labels)),))
    grown = build_model(wider.model, wider.tasks, wider.input_shape)
    for before, weight in zip(network.weights, grown.weights, strict=True):
        value = keras.ops.convert_to_numpy(before)
        if value.shape != weight.shape:  # the last axis is that of the labels
            begin = RARE if weight.path.endswith("bias") else 0.0
            value = np.concatenate([value, np.full((*value.shape[:-1], len(labels)), begin, value.dtype)], axis=-1)
        weight.assign(value)
    grown.get_layer(NORMALIZATION).finalize_state()  # which the layer's constants are made of
    return wider, grown


def check_learnable(experiment):
    """Raise InputError unless corrections can change an Experiment's network: events, a posterior per label."""
    expect(not experiment.clip_level, "MODEL", "one that detects events", "one that labels clips")
    expect(experiment.learns and len(experiment.tasks) == 1 and experiment.tasks[0].encoding == "multi_label", "MODEL",
           "one task with a posterior per label (multi_label), as of the presets yamnet and multilabel",
           ", ".join(f"{task.name} ({task.encoding})" for task in experiment.tasks))


class Corrector:
    """Fit the last layers of a network to what is known of segments.

    The loss is the mean binary cross-entropy of the posteriors that `detect` uses: with what was answered, where it is
    known; elsewhere with the posteriors of the network before, by a tenth of the weight, so that what nobody has
    corrected stays. The squared distance of the weights from those before is added, because few answers would
    otherwise be learnt by heart. All that comes before the last layers is computed once.

    Args:
        experiment: Experiment of check_learnable.
        network: its network, whose last layers `fit` changes.
        reviewed: ReviewedAudio.
        new_labels: the labels that the network does not know, as of add_labels; unknown frames count as without them.
    """

    def __init__(self, experiment, network, reviewed, new_labels=()):
        (self._task,) = experiment.tasks
        last = {f"{self._task.name}_output", prior_task(self._task).name}
        layers = [layer for layer in network.layers if layer.name in last]
        trainable = {layer: layer.trainable for layer in network.layers}
        try:
            for layer in network.layers:
                layer.trainable = layer in layers
            trunk, self._learner = split_frozen(network, dropout=False)
        finally:
            for layer, before in trainable.items():
                layer.trainable = before
        self._variables = [weight for layer in layers for weight in layer.weights]
        self._begin = [np.array(keras.ops.convert_to_numpy(variable)) for variable in self._variables]
        self._maps = keras.tree.flatten(trunk.predict(reviewed.log_mel, batch_size=8, verbose=0))
        before = self.predict()
        new = np.isin(task_labels(experiment.tasks), list(new_labels))
        before[..., new] = expit(RARE)
        self._known = reviewed.known
        self._targets = np.where(reviewed.known, reviewed.active, before).astype(np.float32)

    def predict(self):
        """Return the posteriors of all segments, (segments, outputs, labels)."""
        outputs = self._learner.predict(self._maps, batch_size=32, verbose=0)
        return join_label_posteriors(outputs, (self._task,))

    def fit(self, segments):
        """Fit to some segments, from the weights before; the result does not depend on chance.

        Args:
            segments: bool array (segments,), those to learn from.
        """
        # An hour has hundreds of segments of which nothing is known, and all cost the same.
        known_of = self._known.any(axis=(1, 2))
        segments = segments & (known_of | (np.cumsum(~known_of) % EVERY == 0))
        maps = [tf.constant(part[segments]) for part in self._maps]
        targets = tf.constant(self._targets[segments])
        known = self._known[segments]
        weights = np.where(known, 1.0, KEPT).astype(np.float32) / max(1, known.sum())
        anchors = [tf.constant(value) for value in self._begin]

        @tf.function
        def loss_and_gradients():
            values = [variable.value for variable in self._variables]
            with tf.GradientTape() as tape:
                tape.watch(values)
                posteriors = self._learner(maps, training=False)[self._task.name]
                losses = keras.ops.binary_crossentropy(targets, posteriors)
                moved = tf.add_n([tf.reduce_sum(tf.square(value - anchor)) for value, anchor in zip(values, anchors)])
                loss = tf.reduce_sum(losses * weights) + ANCHOR * moved
            return loss, tape.gradient(loss, values)

        def evaluate(vector):
            self._assign(vector)
            loss, gradients = loss_and_gradients()
            return float(loss), np.concatenate([np.ravel(part) for part in gradients]).astype(float)

        begin = np.concatenate([value.ravel() for value in self._begin]).astype(float)
        self._assign(minimize(evaluate, begin, jac=True, method="L-BFGS-B", options={"maxiter": STEPS}).x)

    def reset(self):
        """Take back what `fit` has learnt."""
        for variable, value in zip(self._variables, self._begin):
            variable.assign(value)

    def _assign(self, vector):
        for variable in self._variables:
            size = int(np.prod(variable.shape))
            variable.assign(np.reshape(vector[:size], variable.shape).astype(np.float32))
            vector = vector[size:]
