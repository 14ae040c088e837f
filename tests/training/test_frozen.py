"""Trainings with a frozen backbone against the whole network, and their resumption."""
import dataclasses
import tracemalloc

import keras
import numpy as np
import pytest
import soundfile

from polysed_keras.datasets.loading import Dataset, Recording, load_dataset
from polysed_keras.models.network import build_model
from polysed_keras.models.predict import predict_posteriors
from polysed_keras.models.prior import learning_tasks, separate_priors
from polysed_keras.specs.experiment import YAMNET_FEATURES, Experiment, ModelSpec, TrainSpec
from polysed_keras.specs.tasks import Decomposition, decompose
from polysed_keras.training import frozen
from polysed_keras.training.fit import load_best_model
from polysed_keras.training.frozen import (
    frozen_maps,
    frozen_trunk,
    keep_maps,
    map_dataset,
    predict_from_maps,
    split_frozen,
)
from polysed_keras.training.recordings import RecordingFeatures, load_recordings
from polysed_keras.training.runs import load_run, run_experiment
from polysed_keras.training.sources import RecordingSource, validate

from fixtures import FEATURES, LABELS, shared_corpus

FROZEN = Experiment(
    "frozen", features=YAMNET_FEATURES, tasks=Decomposition(1, encoding="multi_label"),
    model=ModelSpec("yamnet", filters=(4, 4, 4, 16), recurrent_units=8, dense_units=(16,), output_stride=4,
                    freeze_backbone=True),
    training=TrainSpec(batch_size=4, epochs=3, learning_rate=1e-2, segment_frames=192, segment_hop=96))


@pytest.fixture(scope="module", params=["recurrent", pytest.param("attention", marks=pytest.mark.slow)])
def experiment(request):
    encoding = "multi_label" if request.param == "recurrent" else "powerset"
    return dataclasses.replace(FROZEN, tasks=decompose(LABELS, 2, encoding=encoding),
                               model=dataclasses.replace(FROZEN.model, head=request.param))


def recordings(*lengths):
    rng = np.random.default_rng(0)
    return [RecordingFeatures(str(length), rng.normal(-2, 2, (length, 64)).astype(np.float32),
                              rng.integers(0, 2, (-(-length // 4), len(LABELS))).astype(np.uint8))
            for length in lengths]


def test_both_parts_are_the_network(experiment):
    model = build_model(experiment.model, experiment.tasks, experiment.input_shape)
    whole = separate_priors(model)
    trunk, learner = split_frozen(whole)
    assert not trunk.trainable_weights
    assert {id(weight) for weight in learner.trainable_weights} == {id(weight) for weight in model.trainable_weights}
    assert not any(isinstance(layer, keras.layers.DepthwiseConv2D) for layer in learner.layers)
    for recording, (maps, roll) in zip(recordings(300, 192), frozen_maps(trunk, experiment, recordings(300, 192),
                                                                         progress=False), strict=True):
        expected = predict_posteriors(whole, recording.log_mel, learning_tasks(experiment), 192,
                                      silence=YAMNET_FEATURES.silence)
        parts = predict_from_maps(learner, maps, len(recording.event_roll))
        assert parts.keys() == expected.keys()
        for name, posteriors in expected.items():
            np.testing.assert_allclose(parts[name], posteriors, atol=2e-3)  # maps are kept as float16
        np.testing.assert_array_equal(roll.reshape(-1, len(LABELS))[:len(recording.event_roll)], recording.event_roll)


def test_batches_are_the_segments_in_an_order_of_their_epoch(experiment, tmp_path):
    trunk, options = frozen_trunk(experiment), {"segment_hop": 96, "progress": False}
    maps = list(frozen_maps(trunk, experiment, recordings(300, 192), **options))
    assert [len(roll) for _, roll in maps] == [2, 2, 1, 1]  # from 0 and from 96 frames on
    kept = keep_maps(trunk, experiment, recordings(300, 192), tmp_path, **options)
    steps, dataset = map_dataset(kept, experiment)
    assert steps == 2
    batches = list(dataset.take(4).as_numpy_iterator())
    assert [len(inputs[0]) for inputs, _ in batches] == [4, 2, 4, 2]
    expected = np.concatenate([parts[0] for parts, _ in maps]).astype(np.float32)
    epochs = [np.concatenate([inputs[0] for inputs, _ in batches[index:index + 2]]) for index in (0, 2)]
    assert (epochs[0] != epochs[1]).any()
    for epoch in epochs:
        sums = [np.sort(each.reshape(len(each), -1).sum(axis=1)) for each in (epoch, expected)]
        np.testing.assert_array_equal(*sums)
    _, later = map_dataset(kept, experiment, first_epoch=1)
    np.testing.assert_array_equal(next(later.as_numpy_iterator())[0][0], batches[2][0][0])


def test_maps_are_computed_once_for_the_same_recordings(tmp_path, monkeypatch, caplog):
    experiment = dataclasses.replace(FROZEN, tasks=decompose(LABELS, 1, encoding="multi_label"))
    trunk, computed = frozen_trunk(experiment), []

    def compute(*arguments, **options):
        computed.append(options["segment_hop"])
        return frozen_maps(*arguments, **options)

    monkeypatch.setattr(frozen, "frozen_maps", compute)
    with caplog.at_level("INFO"):
        first = keep_maps(trunk, experiment, recordings(300, 192), tmp_path, segment_hop=96, progress=False)
    assert "GB of maps of the backbone" in caplog.text
    again = keep_maps(trunk, experiment, recordings(300, 192), tmp_path, segment_hop=96, progress=False)
    assert computed == [96] and len(list(tmp_path.iterdir())) == 1
    expected = list(frozen_maps(trunk, experiment, recordings(300, 192), segment_hop=96, progress=False))
    for kept in (first, again):
        for (parts, roll), (others, other) in zip(kept.parts(), expected, strict=True):
            np.testing.assert_array_equal(roll, other)
            for part, each in zip(parts, others, strict=True):
                assert isinstance(part, np.memmap) and part.dtype == np.float16  # only what is used is in memory
                np.testing.assert_array_equal(part, each)

    changed = recordings(300, 192)
    changed[1].log_mel[5, 3] += 1e-3
    keep_maps(trunk, experiment, changed, tmp_path, segment_hop=96, progress=False)
    keep_maps(trunk, experiment, changed, tmp_path, segment_hop=None, progress=False)
    trunk.layers[3].set_weights([weight + 1e-3 for weight in trunk.layers[3].get_weights()])
    keep_maps(trunk, experiment, changed, tmp_path, segment_hop=None, progress=False)
    assert computed == [96, 96, None, None]


def test_heads_that_take_other_maps_of_the_same_backbone_keep_their_own(tmp_path):
    tasks = decompose(LABELS, 1, encoding="multi_label")
    for head in ("recurrent", "attention"):
        experiment = dataclasses.replace(FROZEN, tasks=tasks, model=dataclasses.replace(FROZEN.model, head=head))
        trunk = frozen_trunk(experiment)
        kept = keep_maps(trunk, experiment, recordings(200), tmp_path, progress=False)
        assert [part.shape[1:] for part in kept.maps] == [tensor.shape[1:] for tensor in trunk.outputs]


class TinyTrunk:
    """In place of a backbone: maps of which an hour takes little."""

    layers = outputs = ()

    def get_weights(self):
        return []

    def predict(self, segments, **_):
        return [segments[:, ::8, :2]]


def peak_of(folder, recordings):
    """The most memory, in bytes, that loading a corpus of half-minute recordings and keeping its maps takes."""
    for part in ("audio", "meta"):
        (folder / part).mkdir(parents=True)
    parts = []
    for number in range(recordings):
        audio, table = folder / "audio" / f"{number}.wav", folder / "meta" / f"{number}.txt"
        soundfile.write(audio, np.random.default_rng(number).normal(0, 0.1, 30 * 16000), 16000)
        table.write_text("0.5\t1.0\thum\n")
        parts.append(Recording(str(number), audio, table))
    tracemalloc.start()
    try:
        loaded = load_recordings(Dataset(folder, LABELS, {"train": tuple(parts)}), "train", LABELS, YAMNET_FEATURES,
                                 time_resolution=0.04, mapped=True, progress=False)
        kept = keep_maps(TinyTrunk(), FROZEN, loaded, folder, progress=False)
        assert len(kept.segments) == len(loaded) == recordings and not kept.folder
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_hours_of_audio(tmp_path):
    peak_of(tmp_path / "first", 1)  # what is imported and kept once
    few, many = peak_of(tmp_path / "few", 2), peak_of(tmp_path / "many", 12)
    assert many - few < 4 * 3000 * 64 / 2  # half of the features of one more recording, of ten


def test_mapped_features_are_those_in_memory_though_they_cannot_be_kept(tmp_path):
    dataset = load_dataset(shared_corpus())
    blocked = dataclasses.replace(dataset, folder=tmp_path / "file" / "features")
    (tmp_path / "file").write_text("")
    in_memory, mapped, unkept = ([recording.log_mel for recording in load_recordings(
        each, "test", LABELS, FEATURES, mapped=way, progress=False)]
        for each, way in ((dataset, False), (dataset, True), (blocked, True)))
    for plain, others in zip(in_memory, zip(mapped, unkept, strict=True), strict=True):
        assert isinstance(others[0], np.memmap) and not isinstance(others[1], np.memmap)
        for other in others:
            np.testing.assert_array_equal(plain, other)


def test_maps_are_kept_for_a_while_where_the_cache_cannot_be_written(tmp_path, caplog):
    experiment = dataclasses.replace(FROZEN, tasks=decompose(LABELS, 1, encoding="multi_label"))
    (tmp_path / "file").write_text("")
    kept = keep_maps(frozen_trunk(experiment), experiment, recordings(200), tmp_path / "file", progress=False)
    assert "maps of the backbone are not kept" in caplog.text
    assert kept.segments == [2] and all(np.isfinite(part).all() for part in kept.maps)


@pytest.mark.slow
def test_a_run_is_the_whole_network_and_can_be_resumed(tmp_path):
    history = run_experiment(FROZEN, shared_corpus(), tmp_path / "whole", progress=False)
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    run_experiment(FROZEN, shared_corpus(), tmp_path / "parts", progress=False, last_epoch=2)
    resumed = run_experiment(FROZEN, shared_corpus(), tmp_path / "parts", progress=False, resume=True)
    np.testing.assert_allclose(resumed.drop(columns="epoch"), history.drop(columns="epoch"), rtol=1e-3)

    experiment = load_run(tmp_path / "whole")
    model = load_best_model(experiment, tmp_path / "whole")
    validation = RecordingSource(experiment, shared_corpus(), progress=False).load("validate")
    best = history.loc[history["val_f1"].idxmax()]
    outputs = [predict_posteriors(separate_priors(model), recording.log_mel, learning_tasks(experiment), 192,
                                  silence=YAMNET_FEATURES.silence) for recording in validation]
    again = validate(outputs, [recording.event_roll for recording in validation], experiment)
    assert again["val_f1"] == pytest.approx(best.val_f1, abs=5e-3)
    assert model.get_layer("events_with_prior").weight.numpy() == again["prior_weight"] == best.prior_weight
    untouched = build_model(experiment.model, experiment.tasks, experiment.input_shape)
    for name in ("yamnet_1", "yamnet_14", "yamnet_14_bn"):
        for ours, theirs in zip(model.get_layer(name).get_weights(), untouched.get_layer(name).get_weights()):
            np.testing.assert_array_equal(ours, theirs)
