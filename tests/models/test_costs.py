"""What networks cost: against TensorFlow's profiler and by hand; and widened networks against all others."""
import dataclasses

import keras
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from polysed_keras.errors import InputError
from polysed_keras.models.costs import (
    experiment_cost,
    format_widening,
    learning_values,
    multiply_adds,
    widen,
    with_example_labels,
    with_num_labels,
)
from polysed_keras.models.network import build_model
from polysed_keras.specs.experiment import ModelSpec
from polysed_keras.specs.overrides import set_fields
from polysed_keras.specs.presets import get_preset
from polysed_keras.specs.tasks import Task, decompose

TINY = ModelSpec(filters=(4, 6, 8), recurrent_units=5, dense_units=(7, 6), stem_strides=(4, 2))
CLIP_TASKS = (Task("scene", "abc", "multi_class"), Task("events", "vwxyz", "multi_label"))


def profiled_multiply_adds(model, shape):
    """Of convolutions and matrix products outside of loops, by TensorFlow's profiler; two operations a multiply-add."""
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(tf.TensorSpec((1, *shape)))
    graph = convert_variables_to_constants_v2(function, lower_control_flow=False).graph
    builder = tf.compat.v1.profiler.ProfileOptionBuilder
    options = builder(builder.float_operation()).with_empty_output().build()
    kinds, nodes = {operation.name: operation.type for operation in graph.get_operations()}, []

    def visit(node):
        nodes.append(node)
        for child in node.children:
            visit(child)
    visit(tf.compat.v1.profiler.profile(graph, options=options))
    return sum(node.float_ops for node in nodes if kinds.get(node.name) in ("Conv2D", "MatMul")) // 2


# Of 16 frames and 32 mels, 4 and 16 behind the stem. The profiler leaves out the GRUs' loops and the einsums.
GRU = 4 * 2 * 3 * 5 * 5  # steps, directions, gates, units, the state's
CHANNEL_MASKS = 2 * (2 * 4 + 3 * 6 + 4 * 8)  # tasks, excitations of half of the channels to all
DENSE = 4 * 2 * (10 * 7 + 7 * 6)  # steps, tasks, both directions to 7 to 6 units


@pytest.mark.parametrize("head, left_out", [("recurrent", GRU), ("attention", 2 * GRU + CHANNEL_MASKS + DENSE)])
def test_multiply_adds_are_the_profilers(head, left_out):
    model = build_model(dataclasses.replace(TINY, head=head), decompose("abcde", 2), (16, 32), use_cudnn=False)
    assert multiply_adds(model) == profiled_multiply_adds(model, (16, 32)) + left_out


def test_multiply_adds_of_a_network_of_clips():
    spec = ModelSpec(backbone="vgg", head="pooled", filters=(4, 6, 8), dropout=0.0)
    model = build_model(spec, CLIP_TASKS, (40, 32))
    assert multiply_adds(model) == profiled_multiply_adds(model, (40, 32))


@pytest.mark.parametrize("name, weights", [("multilabel", 3_233_360), ("mcmt_2", 8_866_014)])
def test_weights_of_the_papers_networks(name, weights):
    """Without the normalisation's, as the zoo has them."""
    assert experiment_cost(with_num_labels(get_preset(name), 16)).weights == weights


def test_cost_is_of_a_second():
    """A second is 50 frames of 20 ms, whatever a segment is; masks of channels are made once a segment."""
    small = with_num_labels(get_preset("multilabel_small"), 10)
    longer = dataclasses.replace(small, training=dataclasses.replace(small.training, segment_frames=256))
    model = build_model(small.model, small.tasks, (128, 64))
    assert experiment_cost(small).multiply_adds == pytest.approx(multiply_adds(model) / 128 * 50)
    assert experiment_cost(longer).multiply_adds == pytest.approx(experiment_cost(small).multiply_adds)


def scaled(experiment, width):
    """multilabel_small of a width: 16 is the preset's."""
    model = dataclasses.replace(experiment.model, filters=(width, width, 2 * width, 2 * width, 4 * width),
                                recurrent_units=4 * width, dense_units=(8 * width, 8 * width))
    return dataclasses.replace(experiment, model=model)


def test_values_that_a_step_keeps_are_those_of_the_outputs_that_learn():
    """By hand: a frozen part is let go but for its ends, and what follows a layer that learns is kept."""
    log_mel = keras.Input((4, 3))
    frozen = keras.layers.Dense(7, trainable=False)(log_mel)
    learnt = keras.layers.Dense(5)(frozen)
    model = keras.Model(log_mel, keras.layers.ReLU()(learnt) + keras.layers.Dense(5, trainable=False)(frozen))
    assert learning_values(model) == (3, 4 * (5 + 5 + 5) + 4 * (7 + 5))


def test_memory_of_a_training_grows_with_the_batch_by_its_values():
    cost = experiment_cost(with_example_labels(get_preset("multilabel_small")))
    assert cost.training_memory(64) - cost.training_memory(32) == 32 * 4 * cost.values
    frozen = experiment_cost(with_example_labels(get_preset("yamnet")))
    whole = experiment_cost(with_example_labels(set_fields(get_preset("yamnet"), ["model.freeze_backbone=false"])))
    assert whole.multiply_adds == frozen.multiply_adds and whole.values > 3 * frozen.values


def test_no_width_is_nearer():
    preset = with_num_labels(get_preset("multilabel_small"), 10)
    target = experiment_cost(with_num_labels(get_preset("mcmt_5_small"), 10))
    wider = widen(preset, target)
    width = wider.model.filters[0]
    assert wider == scaled(preset, width) and width > 16
    differences = [abs(experiment_cost(scaled(preset, width + step)).multiply_adds - target.multiply_adds)
                   for step in (-1, 0, 1)]
    assert min(differences) == differences[1] < 0.05 * target.multiply_adds


def test_nothing_is_narrower_than_one():
    preset = with_num_labels(get_preset("multilabel_small"), 2)
    tiny = experiment_cost(scaled(preset, 1))
    assert widen(preset, dataclasses.replace(tiny, multiply_adds=0.1)).model == scaled(preset, 1).model


def test_the_fields_to_set_are_printed():
    presets = [with_num_labels(get_preset(name), 10) for name in ("multilabel_small", "mcmt_2_small")]
    lines = format_widening(*presets).splitlines()
    assert [line.split()[0] for line in lines] == ["multilabel_small", "mcmt_2_small", "widened", "--set"]
    assert lines[-1] == "--set model.filters=[27,27,54,54,108] model.recurrent_units=108 model.dense_units=[216,216]"
    assert set_fields(presets[0], lines[-1].split()[1:]).model == scaled(presets[0], 27).model


def test_networks_of_clips_are_refused():
    with pytest.raises(InputError, match="expected one of recordings.*scene_baseline"):
        with_num_labels(get_preset("scene_baseline"), 10)
