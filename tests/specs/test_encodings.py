"""Encodings: posteriors with a prior by hand, and outputs that give each label a posterior of its own."""
import itertools

import numpy as np
import pytest
from scipy.special import expit, log_softmax, logit, softmax

from polysed_keras.specs.tasks import Task

LABELS = ("a", "b", "c")


def random_posteriors(task, rows=5, seed=0):
    """Posteriors of the task's outputs, and the prior of its labels, float32."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (rows, task.num_outputs))
    posteriors = expit(logits) if task.activation == "sigmoid" else softmax(logits, axis=-1)
    return posteriors.astype(np.float32), expit(rng.normal(-2, 2, (rows, len(task.labels)))).astype(np.float32)


def with_prior_by_hand(task, posteriors, prior, weight):
    """In float64, output by output."""
    if task.encoding == "multi_label":
        return expit((1 - weight) * logit(posteriors.astype(float)) + weight * logit(prior.astype(float)))
    of_outputs = np.zeros(posteriors.shape)
    for output in range(task.num_outputs):
        if task.encoding == "multi_class":
            of_outputs[:, output] = np.log(prior[:, output])
        else:  # each label of the combination is there and not absent
            of_outputs[:, output] = sum(np.log(prior[:, bit] / (1 - prior[:, bit].astype(float)))
                                        for bit in range(len(task.labels)) if output >> bit & 1)
    return np.exp(log_softmax((1 - weight) * np.log(posteriors.astype(float)) + weight * of_outputs, axis=-1))


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.6, 1.0])
@pytest.mark.parametrize("encoding", ["multi_label", "multi_class", "powerset"])
def test_posteriors_with_a_prior_by_hand(encoding, weight):
    task = Task("events", LABELS, encoding)
    posteriors, prior = random_posteriors(task)
    mixed = np.array(task.with_prior(posteriors, prior, weight))
    np.testing.assert_allclose(mixed, with_prior_by_hand(task, posteriors, prior, weight), atol=1e-5)


@pytest.mark.parametrize("encoding", ["multi_label", "multi_class", "powerset"])
def test_a_weight_of_0_is_the_posteriors_and_of_1_the_prior(encoding):
    task = Task("events", LABELS, encoding)
    posteriors, prior = random_posteriors(task)
    np.testing.assert_allclose(task.with_prior(posteriors, prior, 0.0), posteriors, atol=1e-5)
    alone = task.label_posteriors(np.array(task.with_prior(posteriors, prior, 1.0)))
    expected = prior / prior.sum(axis=-1, keepdims=True) if encoding == "multi_class" else prior
    np.testing.assert_allclose(alone, expected, atol=1e-5)


@pytest.mark.parametrize("weight", [0.25, 0.5])
def test_a_powerset_of_independent_labels_is_the_multi_label_product(weight):
    powerset, multi_label = (Task("events", LABELS, encoding) for encoding in ("powerset", "multi_label"))
    of_labels, prior = random_posteriors(multi_label)
    of_combinations = np.stack([np.prod(np.where(bits, of_labels, 1 - of_labels), axis=-1) for bits in
                                (bits[::-1] for bits in itertools.product((0, 1), repeat=3))], axis=-1)
    np.testing.assert_allclose(powerset.label_posteriors(of_combinations), of_labels, atol=1e-6)
    mixed = powerset.label_posteriors(np.array(powerset.with_prior(of_combinations, prior, weight)))
    np.testing.assert_allclose(mixed, multi_label.with_prior(of_labels, prior, weight), atol=1e-5)


@pytest.mark.parametrize("encoding", ["multi_label", "multi_class", "powerset"])
def test_posteriors_of_0_and_1_stay_finite(encoding):
    task = Task("events", LABELS, encoding)
    posteriors = np.eye(task.num_outputs, dtype=np.float32)
    for prior in (np.zeros((len(posteriors), 3), np.float32), np.ones((len(posteriors), 3), np.float32)):
        mixed = np.array(task.with_prior(posteriors, prior, 0.5))
        assert np.isfinite(mixed).all() and (0 <= mixed).all() and (mixed <= 1).all()


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("encoding, outputs", [("multi_label", expit), ("powerset", softmax)])
def test_rare_logits_give_each_label_its_posterior(encoding, outputs, number):
    task = Task("events", LABELS[:number], encoding)
    logits = task.rare_logits(-4.0)
    assert logits.dtype == np.float32 and logits.shape == (task.num_outputs,)
    np.testing.assert_allclose(task.label_posteriors(outputs(logits)), np.full(number, expit(-4)), atol=1e-6)


def test_rare_logits_of_one_of_several_classes_prefer_none():
    logits = Task("scene", LABELS, "multi_class").rare_logits(-4.0)
    assert logits.dtype == np.float32 and logits.tolist() == [0, 0, 0]


@pytest.mark.parametrize("encoding, loss", [
    ("multi_label", "BinaryCrossentropy"), ("multi_class", "CategoricalCrossentropy"),
    ("powerset", "SparseCategoricalCrossentropy")])
def test_losses_of_the_encodings(encoding, loss):
    assert Task("events", LABELS, encoding).loss == loss
