"""Segments: what is in them, how often and in what order they come, and that they are cut as they are asked for."""
import dataclasses
import itertools
import logging
import math
import resource

import numpy as np
import pytest
import tensorflow as tf

from polysed_keras.datasets.loading import Dataset, Recording, load_dataset
from polysed_keras.errors import InputError
from polysed_keras.specs.experiment import SILENCE_DB
from polysed_keras.specs.tasks import Task
from polysed_keras.training.recordings import (
    RecordingFeatures,
    from_service,
    load_recordings,
    num_batches,
    segment_dataset,
)

from fixtures import FEATURES, LABELS, MULTI_LABEL, shared_corpus, write_corpus

TASKS = (Task("first", ("a", "b"), "powerset"), Task("second", ("c",), "multi_label"),
         Task("third", ("d", "e"), "multi_class"))


def recordings_of(*lengths, n_mels=2, seed=0):
    """Recordings whose first mel counts frames over all of them, so that a segment tells where it is from."""
    rng, first, recordings = np.random.default_rng(seed), 0, []
    for index, length in enumerate(lengths):
        log_mel = rng.normal(-30, 5, (length, n_mels)).astype(np.float32)
        log_mel[:, 0] = first + np.arange(length)
        recordings.append(RecordingFeatures(f"r{index}", log_mel, rng.integers(0, 2, (length, 5)).astype(np.uint8)))
        first += length
    return recordings


def experiment_of(**training):
    training = {"segment_frames": 8, "segment_hop": 1, "batch_size": 4, "seed": 0} | training
    return dataclasses.replace(MULTI_LABEL, tasks=TASKS, training=dataclasses.replace(MULTI_LABEL.training, **training))


def batches(recordings, epochs=1, first_epoch=0, **training):
    """The batches of some epochs, as arrays."""
    experiment = experiment_of(**training)
    dataset = segment_dataset(recordings, experiment, first_epoch)
    return list(dataset.take(epochs * num_batches(recordings, experiment.training)).as_numpy_iterator())


def starts_of(made):
    """The first frame of every segment, in the order that they come."""
    return [int(segment[0, 0]) for log_mel, _ in made for segment in log_mel]


def slices(recordings, segment_frames, segment_hop):
    """{first frame: (log_mel, event_roll)} of all segments by plain slicing."""
    found = {}
    for recording in recordings:
        for start in range(0, len(recording.log_mel) - segment_frames + 1, segment_hop):
            end = start + segment_frames
            found[int(recording.log_mel[start, 0])] = recording.log_mel[start:end], recording.event_roll[start:end]
    return found


@pytest.mark.parametrize("segment_frames, segment_hop", [(8, 1), (8, 3), (8, 8), (1, 1), (8, 100), (20, 7)])
def test_segments_are_slices_of_single_recordings_and_targets_their_encoded_activity(segment_frames, segment_hop):
    recordings = recordings_of(20, 33, 28)
    expected = slices(recordings, segment_frames, segment_hop)
    seen = []
    for log_mel, targets in batches(recordings, segment_frames=segment_frames, segment_hop=segment_hop):
        assert log_mel.dtype == np.float32 and set(targets) == {"first", "second", "third"}
        for index, segment in enumerate(log_mel):
            cut, activity = expected[int(segment[0, 0])]
            seen.append(int(segment[0, 0]))
            np.testing.assert_array_equal(segment, cut)
            for task, columns in zip(TASKS, ([0, 1], [2], [3, 4])):
                np.testing.assert_array_equal(targets[task.name][index], task.encode(activity[:, columns]))
    assert sorted(seen) == sorted(expected)


@pytest.mark.parametrize("segment_hop", [1, 4, 8])
def test_every_segment_comes_once_an_epoch(segment_hop):
    recordings = recordings_of(30, 8, 17)
    made = batches(recordings, epochs=3, segment_hop=segment_hop)
    per_epoch = len(made) // 3
    for epoch in range(3):
        starts = starts_of(made[epoch * per_epoch:(epoch + 1) * per_epoch])
        assert sorted(starts) == sorted(slices(recordings, 8, segment_hop))


@pytest.mark.parametrize("lengths", [(8,), (9, 8), (50, 11, 64), (3, 40)])
@pytest.mark.parametrize("segment_hop, batch_size", [(1, 1), (1, 7), (5, 4), (8, 32)])
def test_batches_of_an_epoch_are_counted_before(lengths, segment_hop, batch_size):
    recordings = recordings_of(*lengths)
    segments = sum(len(range(0, max(length, 8) - 7, segment_hop)) for length in lengths)
    counted = num_batches(recordings, experiment_of(segment_hop=segment_hop, batch_size=batch_size).training)
    assert counted == math.ceil(segments / batch_size)
    sizes = [len(log_mel) for log_mel, _ in batches(recordings, segment_hop=segment_hop, batch_size=batch_size)]
    assert sizes[:-1] == [batch_size] * (counted - 1) and sum(sizes) == segments


# Order

def test_the_order_depends_on_seed_and_epoch_alone():
    recordings = recordings_of(60, 40)
    epochs = {(seed, epoch): starts_of(batches(recordings, first_epoch=epoch, seed=seed))
              for seed, epoch in itertools.product((0, 1), (0, 1, 5))}
    assert all(sorted(starts) == sorted(epochs[0, 0]) for starts in epochs.values())
    assert len(set(map(tuple, epochs.values()))) == 6
    again = starts_of(batches(recordings_of(60, 40, seed=9), first_epoch=5, seed=1))
    assert again == epochs[1, 5]


def test_a_resumed_training_sees_what_an_unbroken_one_sees():
    recordings = recordings_of(60, 40)
    unbroken, resumed = batches(recordings, epochs=4), batches(recordings, epochs=2, first_epoch=2)
    half = len(unbroken) // 2
    for (log_mel, targets), (other_log_mel, other_targets) in zip(unbroken[half:], resumed, strict=True):
        np.testing.assert_array_equal(log_mel, other_log_mel)
        for name in targets:
            np.testing.assert_array_equal(targets[name], other_targets[name])


def test_segments_are_shuffled_over_all_recordings():
    starts = starts_of(batches(recordings_of(500, 500)))
    changes = sum((first < 500) != (second < 500) for first, second in zip(starts, starts[1:]))
    assert changes > 0.4 * len(starts)  # half of them when well shuffled, one when not at all
    assert np.mean(np.diff(starts) == 1) < 0.02


# Short recordings, and none

def test_short_recordings_are_filled_with_silence():
    recording, = recordings_of(5)
    (log_mel, targets), = batches([recording])
    np.testing.assert_array_equal(log_mel[0, :5], recording.log_mel)
    np.testing.assert_array_equal(log_mel[0, 5:], np.full((3, 2), SILENCE_DB))
    np.testing.assert_array_equal(targets["first"][0, :5], TASKS[0].encode(recording.event_roll[:, :2]))
    assert not targets["first"][0, 5:].any() and not targets["second"][0, 5:].any()


def test_no_recordings_are_an_error():
    with pytest.raises(InputError, match="at least one to train on"):
        segment_dataset([], experiment_of())


# Memory

def test_segments_are_cut_when_they_are_asked_for():
    """With hop 1 and segments of 128 frames, all segments at once would be 128 times the features: 3.3 GB here."""
    recordings = recordings_of(50_000, 50_000, n_mels=64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    dataset = segment_dataset(recordings, experiment_of(segment_frames=128, batch_size=32))
    made = list(dataset.take(3))
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    features = sum(recording.log_mel.nbytes for recording in recordings)
    assert made[0][0].shape == (32, 128, 64)
    assert grown < 10 * features
    assert features <= graph_bytes(dataset) < 2 * features


def graph_bytes(dataset):
    """What the dataset itself holds: its captured tensors and the tensors of its input datasets."""
    seen, total, pending = set(), 0, [dataset]
    while pending:
        node = pending.pop()
        pending += node._inputs()
        for function in node._functions():
            for tensor in function.function.captured_inputs:
                if id(tensor) not in seen and tensor.dtype not in (tf.variant, tf.resource):
                    seen.add(id(tensor))
                    total += tensor.numpy().nbytes
    return total


# From a corpus

def test_recordings_of_a_corpus(tmp_path):
    dataset = load_dataset(shared_corpus())
    labels = ("hum", "beep", "whistle", "hiss")
    loaded = load_recordings(dataset, "validate", labels, FEATURES, progress=False)
    assert [recording.name for recording in loaded] == ["validate0", "validate1", "validate2"]
    for recording, source in zip(loaded, dataset.partitions["validate"]):
        assert recording.log_mel.shape == (len(recording.event_roll), 16)
        expected = np.zeros((len(recording.log_mel), 4))
        for line in source.annotation.read_text().splitlines():
            onset, offset, label = line.split("\t")
            first, last = math.floor(float(onset) / 0.02 + 1e-6), math.ceil(float(offset) / 0.02 - 1e-6)
            expected[first:last, labels.index(label)] = 1
        np.testing.assert_array_equal(recording.event_roll, expected)
    assert list((dataset.folder / "features").glob(f"validate0-{FEATURES.digest()}-*.npy"))


def test_annotations_are_read_before_features_are_made(tmp_path):
    folder = write_corpus(tmp_path / "corpus")
    (folder / "meta" / "train2.txt").write_text("0.5\t0.2\tbeep\n")
    with pytest.raises(InputError, match="train2.txt, line 1"):
        load_recordings(load_dataset(folder), "train", LABELS, FEATURES, progress=False)
    assert not (folder / "features").exists()


def test_events_beyond_the_end_are_clipped_with_a_warning(tmp_path, caplog):
    folder = write_corpus(tmp_path / "corpus", recordings=1)
    (folder / "meta" / "train0.txt").write_text("1.0\t100.0\tbeep\n")
    with caplog.at_level(logging.WARNING):
        recording, = load_recordings(load_dataset(folder), "train", LABELS, FEATURES, progress=False)
    assert "train0.txt" in caplog.text and "clipped" in caplog.text
    np.testing.assert_array_equal(recording.event_roll[:, 0], np.arange(len(recording.log_mel)) >= 50)


def test_recordings_that_bring_their_events(tmp_path, caplog):
    """Rows stand for the annotation, which is a table that no event list reader takes, and are clipped like it."""
    folder = write_corpus(tmp_path / "corpus", recordings=1)
    (folder / "table.tsv").write_text("filename\tonset\toffset\tevent_label\n")
    audio = folder / "audio" / "train0.wav"
    recording = Recording("train0", audio, folder / "table.tsv", ((1.0, 100.0, "beep"), (0.5, 1.0, "beep")))
    with caplog.at_level(logging.WARNING):
        loaded, = load_recordings(Dataset(folder, LABELS, {"train": (recording,)}), "train", LABELS, FEATURES,
                                  progress=False)
    assert "table.tsv, train0: event beep at 1-100 s ends beyond" in caplog.text
    np.testing.assert_array_equal(loaded.event_roll[:, LABELS.index("beep")], np.arange(len(loaded.log_mel)) >= 25)


def test_a_partition_without_recordings_is_an_error():
    with pytest.raises(InputError, match="expected recordings in partition 'dev'.*'train': 3"):
        load_recordings(load_dataset(shared_corpus()), "dev", LABELS, FEATURES)


# tf.data's service

@pytest.fixture
def served():
    """A function of a number of workers and a dataset that returns its batches as they make them."""
    servers = []

    def start(workers, dataset):
        service, dispatcher = tf.data.experimental.service, tf.data.experimental.service.DispatchServer()
        address = dispatcher.target.partition("://")[2]
        config = service.WorkerConfig(dispatcher_address=address, heartbeat_interval_ms=100)
        servers.extend([dispatcher, *(service.WorkerServer(config) for _ in range(workers))])
        return from_service(dataset, address).as_numpy_iterator()

    yield start
    for server in reversed(servers):
        server._stop()


@pytest.mark.slow
def test_two_workers_hand_out_every_batch_of_an_epoch_once(served):
    recordings, experiment = recordings_of(60, 40, 33), experiment_of()
    expected = {(epoch, number): batch for epoch in range(20)
                for number, batch in enumerate(batches(recordings, first_epoch=epoch))}
    names, order = {tuple(starts_of([batch])): name for name, batch in expected.items()}, []
    missing = {name for name in expected if name[0] < 4}
    for log_mel, targets in served(2, segment_dataset(recordings, experiment)):
        name = names[tuple(starts_of([(log_mel, targets)]))]
        order.append(name)
        np.testing.assert_array_equal(log_mel, expected[name][0])
        for task, target in targets.items():
            np.testing.assert_array_equal(target, expected[name][1][task])
        missing.discard(name)
        if not missing:
            break
    assert len(set(order)) == len(order)
    # Each worker keeps to the order of its epochs, which come mixed.
    assert all(sorted(numbers) == numbers for epoch in range(4)
               for numbers in [[number for at, number in order if at == epoch]])
    assert order != sorted(order)


@pytest.mark.slow
def test_the_order_of_one_worker_is_the_one_without_the_service(served):
    recordings, experiment = recordings_of(60, 40, 33), experiment_of()
    expected = batches(recordings, epochs=2, first_epoch=3)
    made = served(1, segment_dataset(recordings, experiment, first_epoch=3))
    for batch in expected:
        assert starts_of([batch]) == starts_of([next(made)])
