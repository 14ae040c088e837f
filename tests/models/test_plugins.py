"""Plug-ins: a backbone, head, corpus and encoding from outside, all the way to an export that needs them no more."""
import dataclasses
import json

import keras
import numpy as np
import pytest

from polysed_keras.cli.main import main
from polysed_keras.datasets.loading import load_dataset
from polysed_keras.errors import InputError
from polysed_keras.export.runs import export_run
from polysed_keras.models.network import build_model
from polysed_keras.specs import plugins
from polysed_keras.specs.experiment import Experiment, ModelSpec, TrainSpec
from polysed_keras.specs.presets import get_preset
from polysed_keras.specs.tasks import Decomposition, Task, decompose
from polysed_keras.training.runs import load_run, run_experiment

from fixtures import CLIPS, LABELS, MULTI_LABEL, run_python, shared_clips, shared_corpus

BACKBONE = '''
from keras import layers
from polysed_keras.specs import register

@register("backbone", frames=True)
def halved(x, spec, use_cudnn):
    x = layers.Reshape((*x.shape[1:], 1), name="halved_channel")(x)
    return [(layers.Conv2D(spec.filters[-1], 3, strides=(2, 4), padding="same", activation="relu", name="halved")(x),)]
'''
HEAD = '''
from keras import layers
from polysed_keras.specs import register

@register("head", clips=True)
def loudest(maps, tasks, spec, use_cudnn):
    return [layers.GlobalMaxPooling2D(name="loudest")(maps[-1][-1])] * len(tasks)
'''
CORPUS = '''
from polysed_keras.datasets import load_dataset
from polysed_keras.specs import register

@register("corpus")
def backwards(folder):
    dataset = load_dataset(folder)
    partitions = {name: recordings[::-1] for name, recordings in dataset.partitions.items()}
    return type(dataset)(dataset.folder, dataset.labels, partitions)
'''
ENCODING = '''
import numpy as np
from polysed_keras.specs import Encoding, likeliest, register

@register("encoding")
class first_or_none(Encoding):
    """The first active label, or none: the last class."""
    loss = "SparseCategoricalCrossentropy"
    num_outputs = property(lambda self: self.num_labels + 1)

    def encode(self, activity):
        return np.where(activity.any(axis=-1), activity.argmax(axis=-1), self.num_labels).astype(np.int32)

    def decode(self, posteriors, threshold):
        return likeliest(posteriors)[..., None] == np.arange(self.num_labels)

    def label_posteriors(self, posteriors):
        return posteriors[..., :-1]
'''
ONE_EPOCH = TrainSpec(batch_size=16, epochs=1, learning_rate=1e-2, segment_frames=32, segment_hop=16)


def write(folder, name, code):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(code)
    return folder / f"{name}.py"


def detect(saved_model, audio, folder):
    """Posteriors by a new process, which has no plug-ins."""
    run_python("""
import sys, numpy as np
from polysed_keras.serving import load_detector
from polysed_keras.specs import registered
posteriors, activity = load_detector(sys.argv[1]).posteriors(sys.argv[2])
assert not [name for name in sys.modules if name.startswith("polysed_plugin_")]
np.savez(sys.argv[3], posteriors=posteriors, activity=activity)
""", saved_model, audio, folder / "answer.npz")
    answer = np.load(folder / "answer.npz")
    return answer["posteriors"], answer["activity"]


# All the way

@pytest.mark.slow
def test_a_backbone_is_trained_evaluated_exported_and_detects_without_its_file(tmp_path):
    assert len(BACKBONE.strip().splitlines()) < 20 and BACKBONE.count("@") == 1
    preset, plugin = tmp_path / "preset.json", write(tmp_path / "mine", "halved", BACKBONE)
    tasks = Decomposition(2)  # powersets: the head and encodings of the package
    experiment = dataclasses.replace(MULTI_LABEL, training=ONE_EPOCH, tasks=tasks)
    preset.write_text(json.dumps(experiment.to_dict()))
    run, saved_model, data = tmp_path / "run", tmp_path / "saved_models" / "mine", shared_corpus()
    main(["train", str(preset), "--data", str(data), "--out", str(run), "--plugin", str(plugin),
          "--set", "model.backbone=halved"])
    plugin.unlink()
    assert (run / "plugins" / "halved.py").read_text() == BACKBONE
    assert not list(run.rglob("__pycache__"))
    assert list(json.loads((run / "experiment.json").read_text())["plugins"]) == ["halved.py"]
    assert get_preset(run / "experiment.json").model.backbone == "halved"  # a run's experiment is a preset
    main(["evaluate", str(run), "--data", str(data)])
    main(["export", str(run), "--out", str(saved_model)])
    audio = next(data.glob("audio/test*.wav"))
    posteriors, activity = detect(saved_model, audio, tmp_path)
    assert posteriors.shape == activity.shape and posteriors.shape[1] == len(LABELS)
    np.testing.assert_array_equal(posteriors[0::2][:len(posteriors) // 2], posteriors[1::2])  # repeated to all frames


def test_a_run_in_a_new_process_brings_its_plugins(tmp_path):
    run = tmp_path / "run"
    experiment = dataclasses.replace(MULTI_LABEL, training=ONE_EPOCH,
                                     model=dataclasses.replace(MULTI_LABEL.model, backbone="halved"))
    run_experiment(experiment, shared_corpus(), run, plugins=[write(tmp_path / "mine", "halved", BACKBONE)],
                   progress=False)
    run_python("""
import sys
from polysed_keras.training import load_best_model, load_run
assert load_best_model(load_run(sys.argv[1]), sys.argv[1]).get_layer("halved")
""", run)
    with open(run / "plugins" / "halved.py", "a") as file:
        file.write("# changed")
    with pytest.raises(InputError, match="halved.py: expected the plug-in that experiment.json has the digest of"):
        load_run(run)
    (run / "plugins" / "halved.py").unlink()
    with pytest.raises(InputError, match="--plugin: expected a Python file.*halved.py"):
        load_run(run)


def test_a_head_of_clips(tmp_path):
    experiment = dataclasses.replace(CLIPS, training=dataclasses.replace(CLIPS.training, epochs=1))
    with pytest.raises(InputError, match="augment"):  # before the head is known, the network is one of frames
        dataclasses.replace(get_preset("scene_baseline"), model=ModelSpec(head="loudest"))
    plugin = write(tmp_path / "mine", "loudest", HEAD)
    plugins.load_plugin(plugin)
    experiment = dataclasses.replace(experiment, model=dataclasses.replace(CLIPS.model, head="loudest"))
    assert experiment.clip_level
    history = run_experiment(experiment, shared_clips(), tmp_path / "run", plugins=[plugin], progress=False)
    assert np.isfinite(history.val_accuracy).all()
    assert load_run(tmp_path / "run").clip_level


def test_a_corpus(tmp_path):
    with pytest.raises(InputError, match="corpus: expected one of tut_sed_synthetic_2016, .*Received: 'backwards'"):
        load_dataset(shared_corpus(), "backwards")
    plugins.load_plugin(write(tmp_path, "corpus", CORPUS))
    dataset = load_dataset(shared_corpus(), "backwards")
    assert [recording.name for recording in dataset.partitions["test"]] == ["test2", "test1", "test0"]
    plugin = str(tmp_path / "corpus.py")
    assert main(["check", "backwards", "--data", str(shared_corpus()), "--plugin", plugin]) == 0
    preset = tmp_path / "preset.json"
    preset.write_text(json.dumps(dataclasses.replace(MULTI_LABEL, training=ONE_EPOCH).to_dict()))
    main(["train", str(preset), "--data", str(shared_corpus()), "--out", str(tmp_path / "run"),
          "--plugin", plugin, "--set", "dataset=backwards", "model.stem_strides=[8,2]"])
    run = load_run(tmp_path / "run")
    assert run.dataset == "backwards" and run.name == "tiny dataset=backwards stem_strides=[8,2]"


def test_an_encoding(tmp_path):
    with pytest.raises(InputError, match="encoding of task 'events'.*'first_or_none'.*--plugin FILE.py"):
        Task("events", ("a", "b"), "first_or_none")
    plugin = write(tmp_path / "mine", "encoding", ENCODING)
    plugins.load_plugin(plugin)
    task = Task("events", ("a", "b"), "first_or_none")
    activity = np.array([[0, 1], [0, 0], [1, 1]])
    assert task.num_outputs == 3 and task.encode(activity).tolist() == [1, 2, 0]
    assert task.decode(np.eye(3)[[1, 2, 0]]).tolist() == [[0, 1], [0, 0], [1, 0]]
    experiment = dataclasses.replace(MULTI_LABEL, training=ONE_EPOCH, tasks=Decomposition(1, encoding="first_or_none"))
    history = run_experiment(experiment, shared_corpus(), tmp_path / "run", plugins=[plugin], progress=False)
    assert 0 <= history.val_f1[0] <= 1
    assert load_run(tmp_path / "run").tasks[0].num_outputs == len(LABELS) + 1
    assert (export_run(tmp_path / "run", tmp_path / "saved_model") / "saved_model.pb").is_file()


# Mistakes

def test_a_plugin_that_fails_takes_nothing_of_the_package_with_it(tmp_path):
    write(tmp_path, "mine", "import polysed_keras.models.network\n" + BACKBONE + "1 / 0")
    run_python("""
import sys
from polysed_keras.errors import InputError
from polysed_keras.specs import load_plugin, registered
try:
    load_plugin(sys.argv[1])
except InputError:
    assert "conv_blocks" in registered("backbone") and "halved" not in registered("backbone")
    load_plugin.__globals__["_MARKED"].remove(("backbone", "conv_blocks"))
else:
    raise AssertionError
""", tmp_path / "mine.py")


def test_a_function_is_registered_where_it_is():
    for _ in range(2):  # as a notebook's cell that runs twice
        @plugins.register("backbone", "flat", frames=True)
        def flat(x, spec, use_cudnn):
            return [(keras.layers.Reshape((*x.shape[1:], 1))(x),)]
    model = build_model(ModelSpec(backbone="flat", recurrent_units=3, dense_units=(4,)), labels=["a", "b"])
    assert {name: output.shape for name, output in model.output.items()} == {"events": (None, 128, 2)}
    with pytest.raises(InputError, match=r"\(M1, M2, pooled M2\).*'attention'.*'flat'.*model.head=recurrent"):
        build_model(ModelSpec(backbone="flat", head="attention"), decompose("abcd", 2))


def test_maps_of_another_number_of_frames_are_refused():
    @plugins.register("backbone", frames=True)
    def cropped(x, spec, use_cudnn):
        return [(keras.layers.Reshape((*x.shape[1:], 1))(x)[:, 3:],)]
    with pytest.raises(InputError, match=r"model.backbone cropped.*these 128 frames. Received: \(None, 125, 2\)"):
        build_model(ModelSpec(backbone="cropped", recurrent_units=3, dense_units=(4,)), labels=["a", "b"])


# A network of a preset, by its name

@pytest.mark.slow
def test_a_presets_network_is_fitted_and_saved(tmp_path, capsys):
    labels = ["rain", "wind", "dog"]
    model = build_model("mcmt_2_small", labels=labels)
    model.summary()
    assert "task_2_output" in capsys.readouterr().out
    assert model.input_shape == (None, 128, 64) and float(model.optimizer.learning_rate) == pytest.approx(2e-3)
    tasks, activity = decompose(labels, 2), np.random.default_rng(0).integers(0, 2, (2, 128, 3))
    targets = {task.name: task.encode(activity[..., [labels.index(label) for label in task.labels]]) for task in tasks}
    log_mel = np.random.default_rng(1).normal(-30, 10, (2, 128, 64)).astype(np.float32)
    assert np.isfinite(model.fit(log_mel, targets, verbose=0).history["loss"]).all()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for name, output in loaded(log_mel).items():
        np.testing.assert_allclose(output, model(log_mel)[name], atol=1e-6)


def test_a_network_of_clips_weighs_its_losses():
    model = build_model("scene_event_joint_small", labels={"scene": ["bus", "park"], "events": ["dog", "rain", "wind"]})
    assert {name: output.shape for name, output in model.output.items()} == {"scene": (None, 2), "events": (None, 3)}
    assert model._compile_loss._user_loss_weights == pytest.approx({"scene": 0.05, "events": 0.95})


def test_designs_of_every_kind_give_the_same_network(tmp_path):
    experiment = dataclasses.replace(MULTI_LABEL, tasks=decompose(LABELS, 1, encoding="multi_label"))
    (tmp_path / "tiny.json").write_text(json.dumps(experiment.to_dict()))
    networks = [build_model(experiment), build_model(str(tmp_path / "tiny.json")),
                build_model(MULTI_LABEL, labels=LABELS), build_model(tmp_path / "tiny.json", labels=None)]
    spec = build_model(experiment.model, experiment.tasks, (32, 16))
    assert all(network.compiled for network in networks) and not spec.compiled
    for network in networks:
        assert [(layer.name, layer.output.shape) for layer in network.layers] == [
            (layer.name, layer.output.shape) for layer in spec.layers]


@pytest.mark.parametrize("design, arguments, message", [
    ("mcmt_8", {}, "labels: expected a list of labels"),
    ("mcmt_8", {"labels": ["a", "b"]}, "number of tasks: expected 1 to 2"),
    ("mcmt_9", {"labels": ["a"]}, "preset: expected a path.*'mcmt_9'"),
    ("scene_event_joint", {"labels": ["a", "b"]}, "labels: expected a dict with the labels of scene and events"),
    ("scene_event_joint", {"labels": {"scene": ["a"]}}, "labels: expected a dict"),
    (ModelSpec(), {}, "labels: expected tasks, or a list of labels"),
    (Experiment("mine"), {"tasks": decompose("ab", 1)}, "tasks and input_shape: expected none, except with a Model"),
])
def test_what_build_model_lacks_is_said(design, arguments, message):
    with pytest.raises(InputError, match=message):
        build_model(design, **arguments)
