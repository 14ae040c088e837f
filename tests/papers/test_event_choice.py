"""Event taggers of several kinds, their scores over clips, the cache of them, and the events that are chosen."""
import dataclasses
import gc
import json
import logging
import os
import pathlib
import shutil

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from polysed_keras.audio.files import load_audio
from polysed_keras.datasets.loading import Clip
from polysed_keras.errors import InputError
from polysed_keras.export.saved_model import export_saved_model, load_saved_model
from polysed_keras.models.network import build_model
from polysed_keras.papers.event_choice import Tagger, choose_events, load_tagger, mean_scores, rank_labels
from polysed_keras.specs.tasks import Task

from fixtures import MULTI_LABEL, RATE

CLASSES = {"/m/1": "Speech", "/m/2": "Dog", "/m/3": "Bow-wow", "/m/4": "Rain, drizzle", "/m/5": "Silence"}
WEIGHTS = np.array([0.2, 1.0, 0.5, 0.1, 0.0], np.float32)
PATCH = 8000
WAVEFORM = np.repeat([0.1, 0.3, 0.8], PATCH).astype(np.float32)  # its patches score 0.1, 0.3 and 0.8 times the weights


def patch_scores(waveform):
    """(..., samples) -> (..., patches, classes): the mean of each patch's samples times the weights."""
    return tf.reduce_mean(tf.abs(tf.signal.frame(waveform, PATCH, PATCH)), axis=-1)[..., None] * WEIGHTS


class Hub(tf.Module):
    """As YAMNet on TF-Hub: waveform (samples,) -> (scores, embeddings, log_mel)."""

    def __init__(self):
        super().__init__()
        self.scale = tf.Variable(1.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def __call__(self, waveform):
        scores = patch_scores(waveform) * self.scale
        return scores, tf.zeros([tf.shape(scores)[0], 7]), tf.zeros([10, 64])

    @tf.function(input_signature=[])
    def class_map_path(self):
        return tf.constant("class_map.csv")


class Named(tf.Module):
    """As YAMNet here: batches at a layer, of which the model itself and its signature give the best class only."""

    def __init__(self):
        super().__init__()
        self.network = Batched()

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="audio")])
    def __call__(self, waveform):
        return {"best": tf.cast(tf.argmax(tf.reduce_mean(patch_scores(waveform), axis=1), axis=-1), tf.float32)}


class Batched(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32)])
    def __call__(self, waveform):
        scores = patch_scores(waveform)
        return {"logits": 20 * scores - 10, "scores": scores, "spectrogram": tf.zeros([tf.shape(waveform)[0], 10, 64])}


class Served(tf.Module):
    """Nothing but a signature, that gives clips' scores."""

    def __init__(self):
        super().__init__()
        self.scale = tf.Variable(1.0)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="audio")])
    def serve(self, audio):
        return {"probabilities": self.scale * tf.reduce_mean(patch_scores(audio), axis=1), "frames": tf.constant(3)}


def write_class_map(folder, rows=None, name="class_map.csv"):
    (folder / "assets").mkdir(parents=True, exist_ok=True)
    rows = rows or [f'{index},{mid},"{label}"' for index, (mid, label) in enumerate(CLASSES.items())]
    (folder / "assets" / name).write_text("\n".join(["index,mid,display_name", *rows]) + "\n")


def save(folder, kind):
    module = {"hub": Hub, "named": Named, "served": Served}[kind]()
    signatures = {"named": lambda: module.__call__, "served": lambda: module.serve}.get(kind, lambda: None)()
    tf.saved_model.save(module, str(folder), signatures=signatures)
    write_class_map(folder)
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folder of the stand-ins for taggers of three kinds, by name."""
    folder = tmp_path_factory.mktemp("taggers")
    for kind in ("hub", "named", "served"):
        save(folder / kind, kind)
    return folder


@pytest.fixture(scope="session")
def yamnet(esc10):
    folder = esc10.parent / "yamnet"
    if not folder.is_dir():
        pytest.skip(f"{folder}: no such folder; it holds YAMNet as a SavedModel")
    return load_tagger(folder)


# Taggers

@pytest.mark.parametrize("kind, endpoint", [("hub", None), ("hub", "__call__"), ("named", None), ("named", "network"),
                                            ("served", None), ("served", "serving_default"), ("served", "serve")])
def test_scores_are_the_mean_over_patches(saved, kind, endpoint):
    tagger = load_tagger(saved / kind, endpoint)
    gc.collect()  # what is loaded must live as long as the tagger
    assert (tagger.labels, tagger.mids, tagger.sample_rate) == (tuple(CLASSES.values()), tuple(CLASSES), 16000)
    np.testing.assert_allclose(tagger.score(WAVEFORM), 0.4 * WEIGHTS, atol=1e-6)
    np.testing.assert_allclose(tagger.score(WAVEFORM[:PATCH].astype(np.float64)), 0.1 * WEIGHTS, atol=1e-6)


def test_classes_are_in_the_order_of_their_indices(tmp_path):
    save(tmp_path, "served")
    write_class_map(tmp_path, ["1,b,Dog", "0,a,Speech", "3,d,Rain", "2,c,Cat", "4,e,Silence"])
    (tmp_path / "assets" / "a.csv").write_text("name,other\n1,2\n")  # no class map
    assert load_tagger(tmp_path).labels == ("Speech", "Dog", "Cat", "Rain", "Silence")


def test_digest_tells_models_and_endpoints_apart(saved, tmp_path):
    digests = [load_tagger(saved / "served", endpoint).digest for endpoint in ("serve", "serving_default")]
    module = Hub()
    for value in (1.0, 0.5):  # the same graph with other weights
        module.scale.assign(value)
        tf.saved_model.save(module, str(tmp_path / str(value)))
        write_class_map(tmp_path / str(value))
        digests.append(load_tagger(tmp_path / str(value)).digest)
    assert len(set(digests)) == 4
    assert load_tagger(tmp_path / "0.5").digest == digests[-1]


def test_no_endpoint_that_fits(tmp_path):
    save(tmp_path, "named")
    write_class_map(tmp_path, ["0,a,Speech", "1,b,Dog"])
    for endpoint, tried in ((None, "from __call__, network, serving_default."), ("network", "from network.")):
        with pytest.raises(InputError, match="gives 2 scores") as error:
            load_tagger(tmp_path, endpoint)
        assert tried in str(error.value) and "Endpoints there: __call__, network, serving_default." in str(error.value)


def test_mistakes(saved, tmp_path):
    with pytest.raises(InputError, match="expected one of __call__, network, serving_default.*'layer-1'"):
        load_tagger(saved / "named", "layer-1")
    with pytest.raises(InputError, match="gives 5 scores.*from serving_default"):
        load_tagger(saved / "named", "serving_default")
    with pytest.raises(InputError, match="saved_model.pb"):
        load_tagger(tmp_path / "nothing")
    save(tmp_path / "a", "served")
    (tmp_path / "a" / "assets" / "class_map.csv").unlink()
    with pytest.raises(InputError, match="assets: expected a CSV of the tagger's classes"):
        load_tagger(tmp_path / "a")
    (tmp_path / "a" / "saved_model.pb").write_bytes(b"not a model")
    with pytest.raises(InputError, match="expected a SavedModel"):
        load_tagger(tmp_path / "a")


def test_own_exports_without_their_scenes(tmp_path, monkeypatch):
    experiment = dataclasses.replace(MULTI_LABEL, tasks=(
        Task("scene", ("bus", "park"), "multi_class"), Task("events", ("Bus", "Dog"), "multi_label")))
    shape, folder = (experiment.training.segment_frames, experiment.features.n_mels), tmp_path / "joint"
    export_saved_model(build_model(experiment.model, experiment.tasks, shape), experiment, folder)
    detector, waveform = load_saved_model(folder), np.random.default_rng(0).normal(0, 0.1, 9000).astype(np.float32)
    assert detector.labels == ("bus", "park", "Bus", "Dog")
    for directory in (folder, folder / "1"):
        tagger = load_tagger(directory)
        gc.collect()
        assert (tagger.labels, tagger.mids, tagger.sample_rate) == (("Bus", "Dog"), None, RATE)
        expected = detector.posteriors(waveform)[0][:, 2:].mean(axis=0)
        np.testing.assert_allclose(tagger.score(waveform), expected, atol=1e-6)
    detector.labels = ("bus", "park")
    monkeypatch.setattr("polysed_keras.papers.event_choice.load_saved_model", lambda directory: detector)
    with pytest.raises(InputError, match="scenes only"):
        load_tagger(folder)


# Scores over clips

def write_clips(folder, levels):
    """Clips of constant amplitude, whose score of label i is a level times WEIGHTS[i]."""
    clips = []
    for index, level in enumerate(levels):
        soundfile.write(folder / f"{index}.wav", np.full(2 * PATCH, level), 16000, subtype="FLOAT")
        clips.append(Clip(str(index), folder / f"{index}.wav", ()))
    return tuple(clips)


def counting(tagger, calls):
    """The same tagger, that notes its calls."""
    return Tagger(tagger.labels, tagger.mids, tagger.sample_rate,
                  lambda waveform: calls.append(1) or tagger.score(waveform), tagger.digest)


def test_mean_over_clips_without_the_unreadable(saved, tmp_path, caplog):
    clips = write_clips(tmp_path, [0.2, 0.6, 0.7, 0.9])
    (tmp_path / "2.wav").write_bytes(b"RIFF nothing")
    (tmp_path / "3.wav").unlink()
    with caplog.at_level(logging.WARNING):
        scores = mean_scores(clips, load_tagger(saved / "hub"), progress=False)
    np.testing.assert_allclose(scores, 0.4 * WEIGHTS, atol=1e-6)
    assert scores.dtype == np.float64
    assert [record.getMessage()[:12] for record in caplog.records] == ["2 of 4 clips"]


@pytest.mark.parametrize("score", [np.nan, np.inf])
def test_clips_without_a_finite_score_are_left_out(tmp_path, score):
    tagger = Tagger(("Dog",), None, 16000, lambda waveform: np.array([score if waveform[0] > 0.5 else 0.25]), "x")
    assert mean_scores(write_clips(tmp_path, [0.1, 0.9]), tagger, progress=False).tolist() == [0.25]
    with pytest.raises(InputError, match="Received: 1, none of which can.*finite scores"):
        mean_scores(write_clips(tmp_path, [0.9]), tagger, progress=False)


@pytest.mark.parametrize("clips", [(), (Clip("a", pathlib.Path("nowhere/a.wav"), ()),)])
def test_no_clip_that_can_be_read(saved, clips):
    with pytest.raises(InputError, match=f"Received: {len(clips)}, none"):
        mean_scores(clips, load_tagger(saved / "hub"), progress=False)


def test_another_rate_is_converted(saved, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full((44100, 2), 0.5), 44100)
    seen = []
    tagger = Tagger(("Dog",), None, 16000, lambda waveform: seen.append(waveform.shape) or np.zeros(1), "x")
    mean_scores([Clip("a", tmp_path / "a.wav", ())], tagger, progress=False)
    assert seen == [(16000,)]


def test_cache(saved, tmp_path):
    clips, cache, calls = write_clips(tmp_path, [0.2, 0.6]), tmp_path / "scores" / "scores.json", []
    hub, served = (counting(load_tagger(saved / kind), calls) for kind in ("hub", "served"))

    def scored(clips, tagger):
        before = len(calls)
        return mean_scores(clips, tagger, cache, progress=False), len(calls) - before

    scores, number = scored(clips, hub)
    again, none = scored(clips, hub)
    assert (number, none) == (2, 0) and np.array_equal(scores, again) and again.dtype == np.float64
    content = json.loads(cache.read_text())
    assert content["labels"] == list(CLASSES.values()) and content["clips"] == 2
    assert scored(clips, served)[1] == 2  # another tagger
    assert scored(clips[:1], served)[1] == 1  # other clips
    soundfile.write(clips[0].audio, np.full(3 * PATCH, 0.8), 16000, subtype="FLOAT")
    replaced, number = scored(clips[:1], served)  # another file
    assert number == 1
    np.testing.assert_allclose(replaced, 0.8 * WEIGHTS, atol=1e-5)
    assert mean_scores(clips, hub, progress=False).shape == (5,) and scored(clips[:1], served)[1] == 0


def test_scores_are_those_of_the_clips_content(saved, tmp_path):
    calls = []
    (tmp_path / "data").mkdir()
    clips = write_clips(tmp_path / "data", [0.2, 0.6])
    tagger = counting(load_tagger(saved / "hub"), calls)
    scores = mean_scores(clips, tagger, tmp_path / "data" / "scores.json", progress=False)
    copy = shutil.copytree(tmp_path / "data", tmp_path / "copy", copy_function=shutil.copyfile)
    moved = [dataclasses.replace(clip, audio=copy / clip.audio.name) for clip in clips]
    assert np.array_equal(mean_scores(moved, tagger, copy / "scores.json", progress=False), scores) and len(calls) == 2
    before = clips[0].audio.stat()
    soundfile.write(clips[0].audio, np.full(2 * PATCH, 0.8), 16000, subtype="FLOAT")
    os.utime(clips[0].audio, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert clips[0].audio.stat().st_size == before.st_size
    replaced = mean_scores(clips, tagger, tmp_path / "data" / "scores.json", progress=False)
    assert len(calls) == 4
    np.testing.assert_allclose(replaced, (0.8 + 0.6) / 2 * WEIGHTS, atol=1e-5)


def test_broken_or_unwritable_cache_is_said_before_the_work(saved, tmp_path):
    calls, clips = [], write_clips(tmp_path, [0.2])
    tagger = counting(load_tagger(saved / "hub"), calls)
    (tmp_path / "broken.json").write_text("{")
    for cache in (tmp_path / "broken.json", tmp_path / "0.wav" / "scores.json"):
        with pytest.raises(InputError, match=cache.parent.name):
            mean_scores(clips, tagger, cache, progress=False)
    assert not calls


# Labels of a corpus

def tagger_of(labels, mids=None):
    return Tagger(tuple(labels), mids, 16000, None, "x")


def test_labels_are_matched_by_mid_then_by_name(caplog):
    tagger = tagger_of(["Speech", "Dog", "Bow-wow", "Rain, drizzle"], ("/m/1", "/m/2", "/m/3", "/m/4"))
    labels = ("Hound", "bow wow", "Speech", "Unicorn", "RAIN (drizzle)")
    mids = ("/m/2", "/m/9", "/m/1", "/m/8", "/m/7")
    with caplog.at_level(logging.WARNING):
        scores = rank_labels(labels, mids, tagger, np.array([0.4, 0.3, 0.2, 0.1]))
    assert list(scores.items()) == [("Hound", 0.3), ("bow wow", 0.2), ("Speech", 0.4), ("RAIN (drizzle)", 0.1)]
    assert [record.getMessage() for record in caplog.records] == [
        "1 of 5 labels have no score of the tagger and are left out: Unicorn"]


def test_the_mid_goes_before_the_name():
    """Names are not identifiers: another class may have the name."""
    tagger = tagger_of(["Bass", "Low"], ("/m/fish", "/m/sound"))
    assert rank_labels(("Bass",), ("/m/sound",), tagger, [0.9, 0.2]) == {"Bass": 0.2}


@pytest.mark.parametrize("mids, tagger_mids", [(None, None), (None, ("a", "b")), (("a", "b"), None)])
def test_labels_are_matched_by_name_where_mids_are_missing(mids, tagger_mids):
    tagger = tagger_of(["dog_barking", "Rain"], tagger_mids)
    assert rank_labels(("Rain", "Dog barking"), mids, tagger, [0.5, 0.25]) == {"Rain": 0.25, "Dog barking": 0.5}


def test_scores_of_another_tagger_are_refused():
    with pytest.raises(ValueError):
        rank_labels(("Rain",), None, tagger_of(["Rain", "Dog"]), [0.5])


# The choice

CORPUS = ("a", "b", "c", "d", "e", "f")
SCORES = {"f": 0.5, "a": 0.1, "c": 0.9, "d": 0.1, "b": 0.5, "other": 1.0}  # none of e; `other` is not in the corpus


@pytest.mark.parametrize("strategy, k, chosen", [
    ("correlated", 1, "c"), ("correlated", 2, "bc"), ("correlated", 3, "bcf"), ("correlated", 4, "abcf"),
    ("correlated", 5, "abcdf"), ("uncorrelated", 1, "a"), ("uncorrelated", 2, "ad"), ("uncorrelated", 3, "abd"),
    ("uncorrelated", 4, "abdf"), ("uncorrelated", 5, "abcdf")])
def test_highest_and_lowest_scores(strategy, k, chosen):
    assert choose_events(strategy, CORPUS, k, scores=SCORES) == tuple(chosen)


def test_random_choice():
    choices = [choose_events("random", CORPUS, 2, seed=seed) for seed in range(600)]
    assert all(len(set(pair)) == 2 and pair == tuple(sorted(pair)) for pair in choices)
    counts = [sum(label in pair for pair in choices) for label in CORPUS]
    assert max(abs(count - 200) for count in counts) < 4 * np.sqrt(600 * 2 / 9)  # a label is in a third of the pairs
    assert choose_events("random", CORPUS, 2, seed=3) == choices[3]
    assert choose_events("random", CORPUS, 6) == CORPUS
    assert choose_events("random", CORPUS, 2, seed=3, scores=SCORES) == choices[3]


def test_random_choices_of_one_seed_are_nested():
    for seed in range(20):
        choices = [set(choose_events("random", CORPUS, k, seed=seed)) for k in range(1, 7)]
        assert all(small < large for small, large in zip(choices, choices[1:]))


@pytest.mark.parametrize("arguments, message", [
    ({"strategy": "best", "k": 2}, "random, correlated, uncorrelated.*'best'"),
    ({"strategy": "random", "k": 7}, "expected 1 to 6, the labels that have scores of 6.*Received: 7"),
    ({"strategy": "random", "k": 0}, "Received: 0"),
    ({"strategy": "correlated", "k": 6, "scores": SCORES}, "expected 1 to 5, the labels that have scores of 6"),
    ({"strategy": "uncorrelated", "k": 6, "scores": SCORES}, "expected 1 to 5"),
    ({"strategy": "correlated", "k": 2}, "expected scores"),
    ({"strategy": "uncorrelated", "k": 2, "scores": {}}, "expected scores")])
def test_choices_that_cannot_be_made(arguments, message):
    with pytest.raises(InputError, match=message):
        choose_events(labels=CORPUS, **arguments)


# The real tagger

def recordings(esc10, code, number=4):
    return tuple(Clip(path.stem, path, ()) for path in sorted((esc10 / "audio").glob(f"*-{code}.ogg"))[:number])


def test_yamnet_scores_are_its_own(yamnet, esc10):
    network = getattr(tf.saved_model.load(str(esc10.parent / "yamnet")), "layer-1")
    waveform = load_audio(recordings(esc10, 0)[0].audio, 16000)
    expected = network(waveform[None])["scores"].numpy()[0]
    assert len(yamnet.labels) == 521 and expected.shape[1] == 521 and len(expected) > 3
    np.testing.assert_allclose(yamnet.score(waveform), expected.mean(axis=0), atol=1e-5)


def test_yamnet_hears_dogs(yamnet, esc10):
    scores = rank_labels(yamnet.labels, yamnet.mids, yamnet, mean_scores(recordings(esc10, 0), yamnet, progress=False))
    order = sorted(scores, key=scores.get, reverse=True)
    assert {"Dog", "Animal"} <= set(order[:5])
    assert order.index("Chainsaw") > 100
    assert "Dog" in choose_events("correlated", yamnet.labels, 5, scores=scores)
    assert not {"Dog", "Animal", "Bark"} & set(choose_events("uncorrelated", yamnet.labels, 300, scores=scores))


def test_yamnet_tells_saws_from_dogs(yamnet, esc10):
    dogs, saws = (mean_scores(recordings(esc10, code), yamnet, progress=False) for code in (0, 41))
    dog, saw = yamnet.labels.index("Dog"), yamnet.labels.index("Chainsaw")
    assert dogs[dog] > 10 * saws[dog] and saws[saw] > 10 * dogs[saw]
