"""Specs: to dict and back, fields set by name, what is refused, and the frames of a waveform."""
import dataclasses
import json
import math
import re

import pytest

from polysed_keras.errors import InputError
from polysed_keras.specs.experiment import YAMNET_FEATURES, AugmentSpec, Experiment, LogMelSpec, ModelSpec, TrainSpec
from polysed_keras.specs.overrides import set_fields, set_spec_fields
from polysed_keras.specs.presets import PRESETS, get_preset
from polysed_keras.specs.tasks import Decomposition, Task, resolve_tasks

LABELS = tuple("abcdefghijklmnop")


def through_json(experiment):
    return Experiment.from_dict(json.loads(json.dumps(experiment.to_dict())))


# To a dict and back

@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name):
    assert through_json(PRESETS[name]) == PRESETS[name]


@pytest.mark.parametrize("name", PRESETS)
def test_resolved_presets_survive_json(name):
    labels = {"scene": LABELS[:6], "events": LABELS} if PRESETS[name].clip_level else LABELS
    resolved = dataclasses.replace(PRESETS[name], tasks=resolve_tasks(PRESETS[name].tasks, labels))
    restored = through_json(resolved)
    assert restored == resolved
    assert sum(len(task.labels) for task in restored.tasks) in (16, 6, 22)


def test_explicit_groups_survive_json():
    experiment = Experiment("mine", tasks=Decomposition(groups=[["b", "a"], ["c"]]))
    restored = through_json(experiment)
    assert restored == experiment
    assert [task.labels for task in restored.tasks.tasks("abc")] == [("b", "a"), ("c",)]


def test_a_dict_is_made_of_what_json_has():
    def check(value):
        assert isinstance(value, (dict, list, str, int, float, type(None)))
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            check(part)
    check(get_preset("mcmt_4_small").to_dict())


@pytest.mark.parametrize("change", [
    {"colour": "red"}, {"features": {"hop": 882}}, {"training": {"epoch": 3}}, {"tasks": [{"name": "events"}]},
    {"tasks": {"number": 2}}, {"model": 3}])
def test_dicts_of_another_program_are_refused(change):
    with pytest.raises(InputError, match="experiment: .*expected"):
        Experiment.from_dict({**get_preset("multilabel").to_dict(), **change})


def test_a_dict_without_a_name_is_refused():
    with pytest.raises(InputError, match="name"):
        Experiment.from_dict({})


def test_equal_specs_are_equal_whether_given_lists_or_tuples():
    assert ModelSpec(filters=[4, 8], stem_strides=[4, 2]) == ModelSpec(filters=(4, 8), stem_strides=(4, 2))
    assert hash(ModelSpec(filters=[4, 8])) == hash(ModelSpec(filters=(4, 8)))


# Fields by name

@pytest.mark.parametrize("assignment, part, field, value", [
    ("training.epochs=3", "training", "epochs", 3),
    ("training.learning_rate=1e-3", "training", "learning_rate", 1e-3),
    ("training.learning_rate=1", "training", "learning_rate", 1.0),
    ("training.alpha=0.5", "training", "alpha", 0.5),
    ("training.alpha=null", "training", "alpha", None),
    ("model.dropout=0", "model", "dropout", 0.0),
    ("model.filters=[4, 8]", "model", "filters", (4, 8)),
    ("model.stem_strides=[4,2]", "model", "stem_strides", (4, 2)),
    ("model.head=attention", "model", "head", "attention"),
    ("model.head=\"attention\"", "model", "head", "attention"),
    ("tasks.num_tasks=3", "tasks", "num_tasks", 3),
    ("tasks.strategy=cooccurrence", "tasks", "strategy", "cooccurrence"),
    ("tasks.seed=4", "tasks", "seed", 4),
    ("tasks.groups=[[\"a\"],[\"b\",\"c\"]]", "tasks", "groups", (("a",), ("b", "c"))),
    ("features.n_mels=40", "features", "n_mels", 40),
])
def test_a_field_is_set(assignment, part, field, value):
    changed = getattr(set_fields(get_preset("multilabel"), [assignment]), part)
    received = getattr(changed, field)
    assert received == value and type(received) is type(value)
    assert dataclasses.replace(changed, **{field: getattr(getattr(PRESETS["multilabel"], part), field)}) == getattr(
        PRESETS["multilabel"], part)


def test_groups_are_read_from_a_file(tmp_path):
    path = tmp_path / "groups.json"
    path.write_text('[["a", "c"], ["b"]]')
    changed = set_fields(get_preset("mcmt_2"), [f"tasks.groups={path}"])
    assert changed.tasks.groups == (("a", "c"), ("b",)) and changed.name == f"mcmt_2 groups={path}"
    path.write_text('{"a": 1}')
    with pytest.raises(InputError, match="--set tasks.groups.*groups.json"):
        set_fields(get_preset("mcmt_2"), [f"tasks.groups={path}"])
    with pytest.raises(InputError, match="nothing.json: expected a readable JSON file"):
        set_fields(get_preset("mcmt_2"), [f"tasks.groups={tmp_path / 'nothing.json'}"])


def test_several_fields_are_set_and_the_preset_stays_as_it_was():
    before = get_preset("multilabel_small").to_dict()
    assignments = ["training.epochs=3", "model.dropout=0.1", "training.epochs=4"]
    changed = set_fields(get_preset("multilabel_small"), assignments)
    assert (changed.training.epochs, changed.model.dropout) == (4, 0.1)
    assert get_preset("multilabel_small").to_dict() == before
    assert set_fields(get_preset("multilabel_small"), []) == get_preset("multilabel_small")


def test_the_name_says_what_was_changed_but_for_the_seed():
    changed = set_fields(get_preset("multilabel"), ["training.seed=5", "model.dropout=0.3", "training.epochs=10"])
    assert changed.training.seed == 5
    assert changed.name == "multilabel dropout=0.3"
    assert set_fields(get_preset("multilabel"), ["training.segment_hop=3"]).name == "multilabel segment_hop=3"


def test_fields_of_one_spec_are_set():
    assert set_spec_fields(TrainSpec(), ["epochs=3", "alpha=0.5"]) == TrainSpec(epochs=3, alpha=0.5)
    with pytest.raises(InputError, match="--set: expected one of batch_size, .*'training.epochs'"):
        set_spec_fields(TrainSpec(), ["training.epochs=3"])


@pytest.mark.parametrize("assignment, message", [
    ("training.epochs", "--set: expected FIELD=VALUE.*'training.epochs'"),
    ("epochs=3", "--set: expected one of.*training.epochs.*'epochs'"),
    ("training.epoch=3", "expected one of.*'training.epoch'"),
    ("optimizer.rate=3", "expected one of.*'optimizer.rate'"),
    ("name=other", "expected one of.*'name'"),
    ("training=3", "expected one of.*'training'"),
    ("training.epochs.more=3", "expected one of"),
    ("=3", "expected one of"),
    ("training.epochs=", "--set training.epochs: expected a value such as 10. Received: ''"),
    ("training.epochs=many", "--set training.epochs.*such as 10.*'many'"),
    ("training.epochs=2.5", "--set training.epochs"),
    ("training.epochs=true", "--set training.epochs"),
    ("training.epochs=null", "--set training.epochs"),
    ("training.epochs=0", "training.epochs: expected at least 1"),
    ("training.batch_size=0", "training.batch_size: expected at least 1"),
    ("training.segment_hop=-1", "training.segment_hop"),
    ("training.segment_frames=0", "training.segment_frames"),
    ("training.learning_rate=0", "training.learning_rate: expected a positive number"),
    ("training.learning_rate=NaN", "training.learning_rate: expected a positive number"),
    ("training.learning_rate=Infinity", "training.learning_rate"),
    ("training.alpha=2", "training.alpha: expected 0 to 1"),
    ("training.alpha=half", "--set training.alpha"),
    ("model.dropout=1", "model.dropout: expected a rate"),
    ("model.dropout=-0.1", "model.dropout: expected a rate"),
    ("model.filters=[]", "model.filters: expected positive"),
    ("model.filters=[4,0]", "model.filters: expected positive"),
    ("model.filters=64", "--set model.filters"),
    ("model.filters=[\"a\"]", "model.filters"),
    ("model.filters=[4.5]", "model.filters"),
    ("model.stem_strides=[1,1,1]", "model.stem_strides: expected two numbers"),
    ("model.dense_units=[0]", "model.dense_units"),
    ("model.recurrent_units=0", "model.recurrent_units"),
    ("model.stem_strides=[4]", "model.stem_strides"),
    ("model.stem_strides=[0,1]", "model.stem_strides"),
    ("model.head=3", "--set model.head"),
    ("features.n_mels=0", "features.n_mels"),
    ("features.fmax=50000", "features.fmax: expected fmin < fmax"),
    ("features.fmin=-1", "features.fmax: expected fmin < fmax"),
    ("features.hop_length=0", "features.win_length: expected hop_length <= win_length"),
    ("features.win_length=4096", "features.win_length: expected hop_length <= win_length"),
    ("tasks.groups=[1,2]", r"--set tasks.groups='\[1,2\]'.*expected `array`"),
    ("training.seed=-1", "training.seed"),
    ("tasks.encoding=one_hot", "encoding"),
    ("tasks.strategy=by_height", "strategy: expected one of contiguous, random"),
    ("tasks.seed=1.5", "--set tasks.seed"),
    ("training.learning_rate=" + "9" * 400, "--set training.learning_rate.*such as 0.0001. Received: '9{200}[.]{3}'"),
    ("training.event_hours=" + "[" * 5000, "--set training.event_hours.*expected `float"),
    ("model.filters=[[4]]", "--set model.filters"),
])
def test_wrong_assignments_are_refused(assignment, message):
    with pytest.raises(InputError, match=message):
        experiment = set_fields(get_preset("multilabel"), [assignment])
        resolve_tasks(experiment.tasks, LABELS)


@pytest.mark.parametrize("value", ["my_corpus", "tut_urban_acoustic_scenes_2018+audioset"])
def test_the_corpus_is_set(value):
    changed = set_fields(get_preset("multilabel"), [f"dataset={value}", "training.epochs=3"])
    assert changed.dataset == value and changed.name == f"multilabel dataset={value} epochs=3"
    with pytest.raises(InputError, match="--set dataset"):
        set_fields(get_preset("multilabel"), ["dataset=3"])


# Validation and frames

@pytest.mark.parametrize("make, message", [
    (lambda: LogMelSpec(hop_length=2000), "features.win_length"),
    (lambda: LogMelSpec(n_fft=1024), "features.win_length"),
    (lambda: LogMelSpec(sample_rate=16000), "features.fmax"),
    (lambda: ModelSpec(dropout=1.0), "model.dropout"),
    (lambda: TrainSpec(batch_size=0), "training.batch_size"),
    (lambda: TrainSpec(learning_rate=-1.0), "training.learning_rate"),
    (lambda: TrainSpec(alpha=1.5), "training.alpha"),
    (lambda: LogMelSpec(hop_length=0), "features.win_length"),
    (lambda: LogMelSpec(fmin=100, fmax=100), "features.fmax"),
    (lambda: LogMelSpec(fmax=22050.5), "features.fmax"),
    (lambda: LogMelSpec(n_mels=0), "features.n_mels"),
    (lambda: LogMelSpec(mel_scale="bark"), "features.mel_scale"),
    (lambda: LogMelSpec(power=3), "features.power"),
    (lambda: LogMelSpec(power=0), "features.power"),
    (lambda: LogMelSpec(log_offset=1), "features.log_offset"),
    (lambda: LogMelSpec(log_offset=-0.001), "features.log_offset"),
    (lambda: ModelSpec(recurrent_units=0), "model.recurrent_units"),
    (lambda: ModelSpec(output_stride=0), "model.output_stride"),
    (lambda: ModelSpec(filters=8), "model.filters"),
    (lambda: ModelSpec(stem_strides=(2,)), "model.stem_strides"),
    (lambda: TrainSpec(epochs=0), "training.epochs"),
    (lambda: TrainSpec(event_batch_size=0), "training.event_batch_size"),
    (lambda: TrainSpec(learning_rate=0.0), "training.learning_rate"),
    (lambda: TrainSpec(learning_rate=float("inf")), "training.learning_rate"),
    (lambda: TrainSpec(seed=2 ** 31), "training.seed"),
    (lambda: TrainSpec(seed=-1), "training.seed"),
    (lambda: TrainSpec(alpha=-0.1), "training.alpha"),
    (lambda: TrainSpec(event_hours=0.0), "training.event_hours"),
    (lambda: TrainSpec(learning_rate_schedule="steps"), "training.learning_rate_schedule"),
    (lambda: TrainSpec(measure="loss"), "training.measure"),
    (lambda: AugmentSpec(time_masks=-1), "augment.time_masks"),
    (lambda: AugmentSpec(mixup=float("inf")), "augment.mixup"),
    (lambda: Experiment("frames", augment=AugmentSpec(mixup=0.2)), "augment"),
    (lambda: Experiment("clips", model=ModelSpec(head="pooled")), "tasks"),
])
def test_impossible_specs_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("spec, arguments", [
    (LogMelSpec, {"hop_length": 2048, "win_length": 2048, "n_fft": 2048}), (LogMelSpec, {"hop_length": 1, "n_mels": 1}),
    (LogMelSpec, {"fmin": 0.0, "fmax": 22050.0}), (LogMelSpec, {"log_offset": 0.999, "power": 1, "mel_scale": "htk"}),
    (ModelSpec, {"dropout": 0.0, "recurrent_units": 1, "output_stride": 1, "filters": (1,), "dense_units": ()}),
    (TrainSpec, dict.fromkeys(("batch_size", "epochs", "segment_frames", "segment_hop", "event_batch_size"), 1)),
    (TrainSpec, {"seed": 0, "alpha": 0.0}), (TrainSpec, {"seed": 2 ** 31 - 1, "alpha": 1.0, "event_hours": 0.1}),
    (AugmentSpec, dict.fromkeys(("time_masks", "time_mask_frames", "frequency_masks", "frequency_mask_mels"), 0)),
])
def test_the_last_possible_values_are_taken(spec, arguments):
    assert {name: getattr(spec(**arguments), name) for name in arguments} == arguments


@pytest.mark.parametrize("spec", [LogMelSpec(), ModelSpec(), TrainSpec(), AugmentSpec(), Experiment("mine")])
def test_specs_cannot_be_changed(spec):
    for field in dataclasses.fields(spec):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(spec, field.name, getattr(spec, field.name))
    assert len({spec, dataclasses.replace(spec)}) == 1


def test_features_of_yamnet_are_those_of_its_authors():
    """TensorFlow's model garden, yamnet/params.py: windows of 25 ms every 10 ms, 64 bands of 125 to 7500 Hz, 0.001."""
    features = YAMNET_FEATURES
    assert (features.sample_rate, features.win_length, features.hop_length) == (16000, 0.025 * 16000, 0.010 * 16000)
    assert features.n_fft == 2 ** 9 and (features.n_mels, features.fmin, features.fmax) == (64, 125.0, 7500.0)
    assert (features.mel_scale, features.power, features.log_offset) == ("htk", 1, 0.001)


def test_silence_is_the_logarithm_of_the_least_there_is():
    assert LogMelSpec().silence == pytest.approx(10 * math.log10(1e-10))
    assert YAMNET_FEATURES.silence == pytest.approx(math.log(1e-3))


def test_what_follows_from_an_experiment():
    frames = Experiment("frames", model=ModelSpec(output_stride=4), training=TrainSpec(segment_frames=100))
    assert frames.input_shape == (100, 64) and frames.time_resolution == pytest.approx(4 * 0.02)
    assert frames.measure == "val_f1" and frames.learns and not frames.clip_level
    recalled = dataclasses.replace(frames, training=TrainSpec(measure="recall"))
    assert recalled.measure == "val_recall"
    assert not dataclasses.replace(frames, model=ModelSpec(head="class_scores")).learns


@pytest.mark.parametrize("alpha, tasks, measure", [
    (None, ("scene",), "val_accuracy"), (None, ("events",), "val_lwlrap"), (0.9, ("scene", "events"), "val_accuracy"),
    (0.0, ("scene", "events"), "val_accuracy"), (1.0, ("scene", "events"), "val_lwlrap")])
def test_the_best_epoch_of_clips_is_that_of_scenes_if_they_are_learnt(alpha, tasks, measure):
    tasks = tuple(Task(name, (), "multi_class" if name == "scene" else "multi_label") for name in tasks)
    experiment = Experiment("clips", tasks=tasks, model=ModelSpec(head="pooled"), training=TrainSpec(alpha=alpha))
    assert experiment.measure == measure and experiment.clip_level


@pytest.mark.parametrize("samples, frames", [(0, 0), (1, 1), (881, 1), (882, 1), (883, 2), (1764, 2), (44100, 50),
                                             (44101, 51), (340 * 44100, 17000)])
def test_frames_of_a_waveform(samples, frames):
    assert LogMelSpec().num_frames(samples) == frames


def test_defaults_are_the_papers():
    """Paper 1, section 4.2: 40 ms frames, 50 % overlap, 64 mels; batches of 32, 10 epochs, Adam 1e-4, dropout 0.25."""
    assert LogMelSpec().time_resolution == pytest.approx(0.02)
    assert LogMelSpec().win_length == 2 * LogMelSpec().hop_length
    assert (LogMelSpec().n_mels, LogMelSpec().fmin, LogMelSpec().fmax) == (64, 50.0, 22050.0)
    assert LogMelSpec() == LogMelSpec(44100, 1764, 882, 2048, 64, 50.0, 22050.0, "slaney", 2, 0.0)
    assert TrainSpec() == TrainSpec(32, 10, 1e-4, 128, 1, None, 0, "constant", 128, None, "f1")
    assert ModelSpec() == ModelSpec("conv_blocks", "recurrent", (64, 64, 128, 128, 256), 256, (512, 512), 0.25, (1, 1),
                                    1, False)
    assert AugmentSpec() == AugmentSpec(0, 0, 0, 0, 0.0)


def test_digests_tell_features_apart():
    specs = [LogMelSpec(), LogMelSpec(fmin=0.0), LogMelSpec(hop_length=441), LogMelSpec(n_mels=40)]
    assert len({spec.digest() for spec in specs}) == 4
    assert LogMelSpec().digest() == LogMelSpec(sample_rate=44100).digest()
    assert re.fullmatch("[0-9a-f]{12}", LogMelSpec().digest())


def test_unknown_presets_are_refused_by_a_list_of_the_known():
    with pytest.raises(InputError, match="multilabel, multilabel_small, mcmt_2.*'mcmt_3'"):
        get_preset("mcmt_3")


def test_presets_are_the_papers_with_a_small_one_each_and_pretrained_ones():
    expected = ["multilabel"] + [f"mcmt_{number}" for number in (2, 4, 5, 8, 10, 16)] + [
        "scene_baseline", "event_baseline", "scene_event_joint", "event_tagger_densenet"]
    pretrained = ["yamnet", *(f"yamnet_mcmt_{number}" for number in (2, 4, 5, 8)), "yamnet_audioset"]
    assert sorted(PRESETS) == sorted(expected + [f"{name}_small" for name in expected] + pretrained)
    assert all(name == experiment.name for name, experiment in PRESETS.items())
