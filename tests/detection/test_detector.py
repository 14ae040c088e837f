"""Long audio in segments and blocks: what a network is given, and that the parts join to the whole."""
import dataclasses
import weakref

import keras
import numpy as np
import pandas as pd
import pytest
import soundfile
import tensorflow as tf
from scipy.special import expit

from polysed_keras.audio.log_mel import compute_log_mel
from polysed_keras.datasets.loading import load_dataset
from polysed_keras.detection import detector as inference
from polysed_keras.detection.detector import Detector
from polysed_keras.detection.streaming import EventStream
from polysed_keras.errors import InputError
from polysed_keras.events.decoding import posteriors_to_events
from polysed_keras.events.event_lists import event_list_to_event_roll, read_events
from polysed_keras.events.metrics import f_score, frame_counts
from polysed_keras.export.saved_model import load_saved_model
from polysed_keras.models.network import build_model
from polysed_keras.models.predict import cut_segments, decode_activity, predict_posteriors, subnet_masks
from polysed_keras.models.yamnet import embed
from polysed_keras.specs.experiment import SILENCE_DB
from polysed_keras.specs.tasks import Task

from fixtures import FEATURES, HOP, LABELS, MULTI_LABEL, POWERSET, RATE, shared_corpus, shared_export, shared_run

WINDOW, SEGMENT = 320, 32
DESCRIPTION = {"labels": ["energy", "segment"], "sample_rate": RATE, "hop_length": HOP, "win_length": WINDOW,
               "segment_frames": SEGMENT, "time_resolution": HOP / RATE, "experiment": MULTI_LABEL.to_dict()}


def waveform_of(samples, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


# Segments

@pytest.mark.parametrize("frames, segments", [(0, 0), (1, 1), (31, 1), (32, 1), (33, 2), (64, 2), (10 * 32 + 17, 11)])
def test_segments_are_the_recording_and_silence(frames, segments):
    log_mel = np.random.default_rng(0).normal(0, 1, (frames, 3)).astype(np.float32)
    cut = cut_segments(log_mel, 32)
    assert cut.shape == (segments, 32, 3) and cut.dtype == np.float32
    np.testing.assert_array_equal(cut.reshape(-1, 3)[:frames], log_mel)
    assert (cut.reshape(-1, 3)[frames:] == SILENCE_DB).all()


class FirstMels:
    """A network whose posteriors are its input, for two tasks."""

    def __init__(self):
        self.seen = []

    def predict(self, segments, batch_size, verbose):
        self.seen.append((segments.shape, batch_size))
        return {"b": segments[..., 2:3], "a": segments[..., :2]}


@pytest.mark.parametrize("frames", [1, 32, 75])
def test_posteriors_are_joined_and_cropped(frames):
    log_mel, model = np.random.default_rng(0).random((frames, 3), np.float32), FirstMels()
    tasks = [Task("a", "xy", "multi_label"), Task("b", "z", "multi_label")]
    posteriors = predict_posteriors(model, log_mel, tasks, 32, 7)
    assert list(posteriors) == ["a", "b"]
    np.testing.assert_array_equal(posteriors["a"], log_mel[:, :2])
    np.testing.assert_array_equal(posteriors["b"], log_mel[:, 2:])
    assert model.seen == [((-(-frames // 32), 32, 3), 7)]


def test_tasks_are_decoded_side_by_side():
    tasks = (Task("a", "xy", "powerset"), Task("b", "z", "multi_label"), Task("c", "vw", "multi_class"))
    posteriors = {"c": np.array([[0.9, 0.1]]), "a": np.array([[0.1, 0.2, 0.3, 0.4]]), "b": np.array([[0.6]])}
    assert decode_activity(posteriors, tasks).tolist() == [[1, 1, 1, 1, 0]]
    assert decode_activity(posteriors, tasks, threshold=0.7).tolist() == [[1, 1, 0, 1, 0]]


# Masks

TASKS = (Task("x", ("whistle", "beep"), "powerset"), Task("y", ("hum", "hiss"), "powerset"))


@pytest.mark.parametrize("strides, repeats", [((1, 1), (1, 1)), ((4, 2), (4, 2))])
def test_masks_are_those_of_the_papers_figure(strides, repeats):
    spec = dataclasses.replace(POWERSET.model, stem_strides=strides, filters=(4, 6))
    model = build_model(spec, TASKS, (32, 16))
    log_mel = np.random.default_rng(0).normal(0, 1, (75, 16)).astype(np.float32)
    squeeze = model.get_layer("channel_masks1_squeeze")
    squeeze.set_weights([squeeze.get_weights()[0], np.full(4, 0.3)])  # so that no unit is silent by chance
    masks = subnet_masks(model, log_mel, TASKS, 32)
    features = keras.Model(model.inputs, model.get_layer("channel_masks1_pooled").input)
    m1 = features.predict(cut_segments(log_mel, 32), verbose=0)
    kernel, bias = model.get_layer("time_frequency_masks1").get_weights()  # figure 1c, by hand
    by_hand = expit(np.stack([m1.mean(axis=-1), m1.max(axis=-1)], axis=-1) @ kernel[0, 0] + bias)
    by_hand = by_hand.repeat(repeats[0], axis=1).repeat(repeats[1], axis=2).reshape(96, 16, 2)[:75]
    squeezed = np.maximum(m1.mean(axis=(1, 2)) @ squeeze.get_weights()[0] + 0.3, 0).reshape(3, 2, 2)  # and figure 1d
    kernel, bias = model.get_layer("channel_masks1").get_weights()
    for index, task in enumerate(TASKS):
        time_frequency, channel = masks[task.name]
        np.testing.assert_allclose(time_frequency, by_hand[..., index], atol=1e-5)
        np.testing.assert_allclose(channel, expit(squeezed[:, index] @ kernel[index] + bias[index]), atol=1e-5)
    assert channel.shape == (3, 4) and np.abs(masks["x"][1] - masks["y"][1]).max() > 1e-3
    assert subnet_masks(model, log_mel, TASKS, 32, level=2)["y"][1].shape == (3, 6)


@pytest.mark.parametrize("experiment, level, words", [(POWERSET, 2, r"1\. Received: 2"), (MULTI_LABEL, 1, "none")])
def test_masks_that_a_network_has_not_are_refused(experiment, level, words):
    model = build_model(experiment.model, TASKS, (32, 16))
    with pytest.raises(InputError, match=f"level: .*{words}"):
        subnet_masks(model, np.zeros((32, 16)), TASKS, 32, level=level)


# Blocks: a detector whose answers say which samples and which segment a frame was made of

class Recorder:
    """Serves what the exported graph would: frames of the window's energy, and its mean over the segment."""

    def __init__(self):
        self.lengths = []

    def __call__(self, waveform):
        self.lengths.append(waveform.shape[1])
        frames = -(-waveform.shape[1] // HOP)
        padded = np.pad(waveform[0], (0, frames * HOP + WINDOW - waveform.shape[1]))
        energy = np.array([np.square(padded[HOP * index:HOP * index + WINDOW]).sum() for index in range(frames)])
        filled = np.pad(energy, (0, -frames % SEGMENT)).reshape(-1, SEGMENT)
        means = filled.mean(axis=1).repeat(SEGMENT)[:frames]
        posteriors = np.stack([energy, means], axis=1)[None].astype(np.float32)
        return {"posteriors": tf.constant(posteriors), "activity": tf.cast(posteriors > 5, tf.uint8)}


LENGTHS = [1, HOP, HOP + 1, SEGMENT * HOP - 1, SEGMENT * HOP, SEGMENT * HOP + 1, 2 * SEGMENT * HOP + WINDOW - HOP,
           (10 * 128 + 17) * HOP, 50_001]


@pytest.mark.parametrize("samples", LENGTHS)
@pytest.mark.parametrize("segments_per_block", [1, 2, 7])
def test_blocks_of_a_waveform_join_to_the_whole(samples, segments_per_block):
    serve, waveform = Recorder(), waveform_of(samples)
    posteriors, activity = Detector(serve, DESCRIPTION).posteriors(waveform, segments_per_block=segments_per_block)
    assert posteriors.shape == activity.shape == (-(-samples // HOP), 2)
    assert max(serve.lengths) <= segments_per_block * SEGMENT * HOP + WINDOW - HOP
    whole = Recorder()(waveform[None])
    np.testing.assert_array_equal(posteriors, whole["posteriors"][0])
    np.testing.assert_array_equal(activity, whole["activity"][0])


def test_the_seconds_heard_so_far_are_told_after_each_block():
    detector, told = Detector(Recorder(), DESCRIPTION), []
    detector.progress = told.append
    detector.posteriors(waveform_of(5 * SEGMENT * HOP + 1), segments_per_block=2)
    assert told == pytest.approx([frames * HOP / RATE for frames in (2 * SEGMENT, 4 * SEGMENT, 5 * SEGMENT + 1)])


@pytest.mark.parametrize("block_samples", [1, 97, 5000, 10_241, 10**6])
def test_streams_of_any_blocks_join_to_the_whole(block_samples, tmp_path, monkeypatch):
    waveform = waveform_of(21_003)
    monkeypatch.setattr(inference, "audio_blocks", lambda path, rate: (
        waveform[first:first + block_samples] for first in range(0, len(waveform), block_samples)))
    posteriors, _ = Detector(Recorder(), DESCRIPTION).posteriors(tmp_path / "any.wav", segments_per_block=2)
    np.testing.assert_array_equal(posteriors, Recorder()(waveform[None])["posteriors"][0])


def test_a_stream_is_read_block_by_block(tmp_path, monkeypatch):
    serve, served_before = Recorder(), []

    def blocks(path, rate):
        for _ in range(8):
            served_before.append(len(serve.lengths))
            yield waveform_of(SEGMENT * HOP)

    monkeypatch.setattr(inference, "audio_blocks", blocks)
    Detector(serve, DESCRIPTION).posteriors("any.wav", segments_per_block=1)
    assert served_before == [0, 0, 1, 2, 3, 4, 5, 6]


def test_no_samples_have_no_frames():
    posteriors, activity = Detector(Recorder(), DESCRIPTION).posteriors(np.zeros(0, np.float32))
    assert posteriors.shape == activity.shape == (0, 2)
    events = Detector(Recorder(), DESCRIPTION).detect(np.zeros(0, np.float32))
    assert len(events) == 0 and list(events.columns) == ["onset", "offset", "event_label", "confidence"]


@pytest.mark.parametrize("audio, sample_rate, message", [
    (np.zeros((2, 100)), None, r"waveform: expected finite floats from -1 to 1 of shape \(samples,\).*\(2, 100\)"),
    (np.array([0, np.nan]), None, "NaN or infinity"),
    (np.array([0, np.inf]), None, "NaN or infinity"),
    (np.zeros(100), 44100, "sample_rate: expected 8000 Hz. Received: 44100"),
    ("missing.wav", None, "missing.wav.*nothing there"),
])
def test_unusable_audio_is_an_error(audio, sample_rate, message):
    with pytest.raises(InputError, match=message):
        Detector(Recorder(), DESCRIPTION).detect(audio, sample_rate=sample_rate)


@pytest.mark.parametrize("dtype", ["int16", "int32", "int64", "uint8", "uint16", "bool", "complex64"])
def test_samples_that_are_no_floats_are_refused_whatever_reads_them(dtype):
    """Taken as they are, loud events would be found in the quietest sound."""
    samples, detector = np.full(2000, 7).astype(dtype), Detector(Recorder(), DESCRIPTION)
    for read in (detector.detect, detector.tag, detector.posteriors, EventStream(detector).feed, embed):
        with pytest.raises(InputError, match=f"finite floats from -1 to 1.*Received: {dtype} of shape .2000,.*32768"):
            read(samples)
    for read in (detector.detect, EventStream(detector).feed):
        with pytest.raises(InputError, match="float32 of shape .2000,., with values up to 23145.*32768"):
            read(np.full(2000, -23145, np.float32))
        read(np.full(2000, 1.5).tolist())  # An MP3 may decode to a little more than 1.
        read(np.zeros(2000, np.float16))


def endless(waveform):
    """Answer with one event per label that lasts as long as the frames."""
    posteriors = np.full((1, -(-waveform.shape[1] // HOP), 2), 0.9, np.float32)
    return {"posteriors": posteriors, "activity": np.ones(posteriors.shape, np.uint8)}


@pytest.mark.parametrize("samples", [1, HOP - 1, HOP, HOP + 1, SEGMENT * HOP + 7, 50_001])
def test_no_event_and_no_tag_ends_after_the_audio(samples, tmp_path):
    waveform = np.full(samples, 0.9, np.float32)
    tasks = [{"name": "events", "labels": ["energy", "segment"], "encoding": "multi_label"}]
    description = DESCRIPTION | {"experiment": MULTI_LABEL.to_dict() | {"tasks": tasks}}
    detector = Detector(endless, description)
    stream = EventStream(detector, threshold=0)
    soundfile.write(tmp_path / "a.wav", waveform, RATE, subtype="FLOAT")
    for audio in (waveform, tmp_path / "a.wav"):
        events = detector.detect(audio, threshold=0)
        assert events.offset.tolist() == [samples / RATE] * 2 and (events.onset < events.offset).all()
        assert detector.tag(audio).offset.tolist() == [samples / RATE]
    assert [event.offset for event in stream.feed(waveform) + stream.close()] == [samples / RATE] * 2
    clips = Detector(endless, description | {"time_resolution": SEGMENT * HOP / RATE})
    assert clips.tag(waveform).offset.tolist()[-1] == samples / RATE


def test_an_event_at_the_end_may_be_as_short_as_a_sample_and_counts_as_a_frame():
    """The least duration is of the frames that the network hears, so that it does not depend on where a file ends."""
    events = Detector(endless, DESCRIPTION).detect(np.zeros(HOP + 1, np.float32), threshold=0, min_duration=0.04)
    assert events.offset.tolist() == [(HOP + 1) / RATE] * 2


def test_plug_ins_that_are_not_imported_are_no_hindrance():
    experiment = MULTI_LABEL.to_dict() | {"tasks": [{"name": "a", "labels": ["energy"], "encoding": "of_a_plug_in"},
                                                    {"name": "b", "labels": ["segment"], "encoding": "multi_class"}]}
    experiment["model"] |= {"backbone": "of_a_plug_in", "head": "of_a_plug_in"}
    detector = Detector(Recorder(), DESCRIPTION | {"experiment": experiment})
    assert [(task.name, task.labels, task.encoding) for task in detector.tasks] == [
        ("a", ("energy",), "of_a_plug_in"), ("b", ("segment",), "multi_class")]
    assert not detector.clip_level and list(detector.detect(waveform_of(500)).columns)[:2] == ["onset", "offset"]
    seconds = DESCRIPTION["segment_frames"] * DESCRIPTION["hop_length"] / DESCRIPTION["sample_rate"]
    clips = Detector(Recorder(), DESCRIPTION | {"experiment": experiment, "time_resolution": seconds})
    assert clips.clip_level and clips.tag(waveform_of(HOP)).scene.tolist() == ["segment"]


# A trained detector

@pytest.fixture(scope="module", params=[MULTI_LABEL, POWERSET], ids=lambda experiment: experiment.name)
def detector(request):
    return load_saved_model(shared_export(request.param))


@pytest.fixture(scope="module")
def recording():
    return load_dataset(shared_corpus()).partitions["test"][0]


def test_a_detector_says_what_it_needs(detector):
    assert sorted(detector.labels) == sorted(LABELS)
    assert (detector.sample_rate, detector.time_resolution) == (RATE, 0.02)


@pytest.mark.parametrize("samples", [1, SEGMENT * HOP, (10 * 128 + 17) * HOP, 50_001])
def test_blocks_of_a_detector_are_the_graphs_whole(detector, samples):
    waveform = waveform_of(samples)
    serve = detector.saved_model.signatures["serving_default"]
    whole = serve(waveform=tf.constant(waveform[None]))
    for segments_per_block in (2, 5):
        posteriors, activity = detector.posteriors(waveform, segments_per_block=segments_per_block)
        np.testing.assert_allclose(posteriors, whole["posteriors"][0], rtol=0, atol=1e-5)
        np.testing.assert_array_equal(activity, whole["activity"][0])


def test_events_are_those_of_the_recording(detector, recording):
    """Tones and noise that a network learnt in seconds: far from chance, which is about 0.3."""
    events = detector.detect(recording.audio)
    frames = FEATURES.num_frames(soundfile.info(recording.audio).frames)
    rolls = [event_list_to_event_roll(events_of, LABELS, frames, 0.02)
             for events_of in (read_events(recording.annotation), events)]
    assert f_score(frame_counts(*rolls).sum(axis=0)) > 0.6
    assert events.confidence.between(0, 1).all()


def test_a_file_is_its_waveform(detector, recording):
    waveform = soundfile.read(recording.audio, dtype="float32")[0]
    pd.testing.assert_frame_equal(detector.detect(str(recording.audio)), detector.detect(waveform, sample_rate=RATE))


def test_a_file_of_another_rate_and_six_channels_is_nearly_its_waveform(detector, recording, tmp_path):
    waveform = soundfile.read(recording.audio, dtype="float32")[0]
    import soxr
    wide = np.tile(soxr.resample(waveform, RATE, 48000)[:, None], 6)
    soundfile.write(tmp_path / "a.wav", wide, 48000, subtype="FLOAT")
    posteriors, _ = detector.posteriors(tmp_path / "a.wav")
    expected, _ = detector.posteriors(waveform)
    assert np.abs(posteriors - expected[:len(posteriors)]).mean() < 0.05


def test_labels_threshold_and_duration_choose_events(detector, recording):
    posteriors, activity = detector.posteriors(recording.audio)
    everything = detector.detect(recording.audio)
    chosen = detector.detect(recording.audio, labels=["hum", "beep"])
    expected = everything[everything.event_label.isin(["hum", "beep"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(chosen, expected)
    decoded = event_list_to_event_roll(everything, detector.labels, len(activity), 0.02)
    np.testing.assert_array_equal(decoded, activity)
    peaks, sure = (detector.detect(recording.audio, threshold=threshold) for threshold in (0, 0.8))
    pd.testing.assert_frame_equal(sure, peaks[peaks.confidence >= np.float32(0.8)].reset_index(drop=True))
    assert 0 < len(sure) < len(peaks)
    for event in sure.itertuples():
        frames = posteriors[round(event.onset / 0.02):int(np.ceil(event.offset / 0.02 - 1e-6)),
                            detector.labels.index(event.event_label)]
        assert frames.min() >= frames.max() / 2 and frames.mean() == pytest.approx(event.confidence)
    long = detector.detect(recording.audio, min_duration=0.5)
    assert (long.offset - long.onset >= 0.5 - 1e-6).all() and 0 < len(long) <= len(everything)


@pytest.mark.parametrize("samples", [1, 50_001])
def test_tags_of_a_recording_are_its_mean_posteriors(detector, samples):
    """One row as long as the recording, whatever the tasks are."""
    waveform = waveform_of(samples)
    mean = detector.posteriors(waveform)[0].mean(axis=0)
    tags = detector.tag(waveform, threshold=mean.mean())
    assert tags.onset.tolist() == [0] and tags.offset.tolist() == [samples / RATE]
    expected = sorted((label for label, value in zip(detector.labels, mean) if value >= mean.mean()),
                      key=lambda label: -mean[detector.labels.index(label)])
    assert tags.tags[0].split(";") == expected and 0 < len(expected) < len(LABELS)
    assert tags.scene.tolist() == [""] and len(detector.tag(np.zeros(0, np.float32))) == 0


def test_unknown_labels_are_an_error(detector):
    with pytest.raises(InputError, match="labels: expected some of.*'bark'"):
        detector.detect(np.zeros(100, np.float32), labels=["hum", "bark"])


@pytest.mark.parametrize("experiment", [MULTI_LABEL, POWERSET], ids=lambda experiment: experiment.name)
def test_a_detector_is_the_run_on_features(experiment, recording):
    from polysed_keras.training.fit import load_best_model
    from polysed_keras.training.runs import load_run
    resolved = load_run(shared_run(experiment))
    log_mel = compute_log_mel(soundfile.read(recording.audio, dtype="float32")[0], FEATURES)
    outputs = predict_posteriors(load_best_model(resolved, shared_run(experiment)), log_mel, resolved.tasks, SEGMENT)
    posteriors, activity = load_saved_model(shared_export(experiment)).posteriors(recording.audio)
    expected = np.concatenate([task.label_posteriors(outputs[task.name]) for task in resolved.tasks], axis=1)
    np.testing.assert_allclose(posteriors, expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(activity, decode_activity(outputs, resolved.tasks))


def test_detecting_takes_no_more_memory_for_longer_audio(monkeypatch):
    """Parts of posteriors are let go once their events are found; events are those of all of them at once."""
    detector = load_saved_model(shared_export(MULTI_LABEL))
    rng, kept, most = np.random.default_rng(0), [], 0

    def serve(waveform):
        nonlocal most
        frames = -(-waveform.shape[1] // detector.samples_per_output)
        outputs = {"posteriors": rng.random((1, frames, len(detector.labels)), np.float32) ** 4,
                   "activity": np.zeros((1, frames, len(detector.labels)), np.uint8)}
        kept.append(weakref.ref(outputs["posteriors"]))
        most = max(most, sum(reference() is not None for reference in kept))
        return outputs

    monkeypatch.setattr(detector, "_serve", serve)
    seconds = 40 * 16 * detector.segment_samples / detector.sample_rate
    waveform = np.zeros(int(seconds * detector.sample_rate), np.float32)
    events = detector.detect(waveform, threshold=0.3, median_frames=5, max_gap=0.1)
    assert len(kept) >= 40 and most <= 4
    rng = np.random.default_rng(0)
    posteriors, _ = detector.posteriors(waveform)
    pd.testing.assert_frame_equal(events, posteriors_to_events(
        posteriors, detector.labels, detector.time_resolution, threshold=0.3, median_frames=5, max_gap=0.1))
