"""Mixtures: what is drawn, how it is rendered and annotated, what is written, and what stops it."""
import dataclasses
import hashlib
import json
import os

import numpy as np
import pytest
import soundfile

from polysed_keras.datasets import load_dataset
from polysed_keras.datasets.activity import active_spans, frame_levels
from polysed_keras.datasets.soundbank import partition_soundbank, read_soundbank, recording_reader
from polysed_keras.datasets.soundscapes import (Piece, SoundscapeSpec, draw_mixture, measure_soundbank, render_mixture,
                                                synthesize)
from polysed_keras.datasets.statistics import format_statistics
from polysed_keras.datasets.tut_sed_synthetic_2016 import read_reference
from polysed_keras.errors import InputError

RATE = 8000
SPEC = SoundscapeSpec(sample_rate=RATE, duration_seconds=20.0, piece_seconds=(0.5, 3.0), silence_seconds=(0.2, 4.0))


def tone(seconds, frequency=440.0, amplitude=0.3, rate=RATE):
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


@pytest.fixture(scope="module")
def bank_folder(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("bank"), np.random.default_rng(0)
    for number, label in enumerate(["beep", "hiss", "hum", "knock", "ring", "wail"]):
        (folder / label).mkdir()
        for index in range(6):
            sound = tone(rng.uniform(0.3, 4), 150 * 1.6 ** number, rng.uniform(0.01, 0.9))
            gap = np.zeros(rng.integers(0, 4000))
            soundfile.write(folder / label / f"{index}.wav", np.concatenate([gap, sound, gap, sound[:2000]]), RATE)
    return folder


@pytest.fixture(scope="module")
def partitions(bank_folder):
    return partition_soundbank(read_soundbank(bank_folder))


@pytest.fixture(scope="module")
def corpus(partitions, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora") / "corpus"
    return folder, synthesize(partitions, folder, SPEC, (4, 2, 3), seed=7)


def digests(folder):
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


# What is drawn

def measured(bank):
    return measure_soundbank(bank, recording_reader(bank.folder, RATE), SPEC)


def test_measured_durations_and_levels(partitions):
    for instance in measured(partitions["test"]).instances:
        samples, rate = soundfile.read(instance.path)
        blocks = [samples[i:i + 160] for i in range(0, len(samples), 160)]  # 20 ms
        levels = np.array([20 * np.log10(max(block.std(), 1e-10)) for block in blocks])
        assert instance.loudest_dbfs == pytest.approx(levels.max(), abs=2e-3)
        active = [i for i, level in enumerate(levels) if level >= levels.max() - SPEC.threshold_db]
        powers = [block.var() for block in blocks]
        loudest = max(sum(powers[i:i + 20]) / 20 for i in range(len(powers)))  # 400 ms, less at the recording's end
        assert instance.level_dbfs == pytest.approx(10 * np.log10(loudest), abs=2e-3)
        assert instance.onset == active[0] * 160 / rate
        end = min((active[-1] + 1) * 160, len(samples)) / rate
        assert instance.onset + instance.duration == pytest.approx(end)


def test_draws_keep_their_ranges(partitions):
    bank = measured(partitions["train"])
    by_path = {instance.path.relative_to(bank.folder).as_posix(): instance for instance in bank.instances}
    spec, numbers, gains = dataclasses.replace(SPEC, labels_per_mixture=(2, 4)), set(), []
    for seed in range(40):
        pieces = draw_mixture(np.random.default_rng(seed), bank, spec)
        tracks = {label: [p for p in pieces if p.event_label == label] for label in {p.event_label for p in pieces}}
        numbers.add(len(tracks))
        for track in tracks.values():
            for piece in track:
                instance = by_path[piece.recording]
                assert piece.event_label == instance.event_label
                end = instance.onset + instance.duration
                assert instance.onset <= piece.start and piece.start + piece.duration <= end + 1e-9  # never looped
                assert piece.duration <= 3.0 and piece.onset + piece.duration <= spec.duration_seconds + 1e-9
                gains.append(piece.gain_db + instance.level_dbfs - spec.level_dbfs)
            # A piece is min(recording, U(0.5, 3)) seconds but for the last, which the mixture's end may cut.
            assert all(p.duration >= min(0.5, by_path[p.recording].duration) for p in track[:-1])
            ends = [p.onset + p.duration for p in track]
            assert all(0.2 <= p.onset - end <= 4.0 for p, end in zip(track[1:], ends))
            assert track[0].onset <= 4.0 and ends[-1] + 4.0 >= spec.duration_seconds
    assert numbers == {2, 3, 4}
    assert -10 <= min(gains) < -9 and -1 < max(gains) <= 0


def test_as_many_labels_as_there_are(partitions):
    bank = measured(partitions["train"])
    few = dataclasses.replace(bank, instances=tuple(i for i in bank.instances if i.event_label in ("hum", "ring")))
    assert {piece.event_label for piece in draw_mixture(np.random.default_rng(0), few, SPEC)} == {"hum", "ring"}


def test_all_labels_and_recordings_are_drawn(partitions):
    bank = measured(partitions["train"])
    drawn = {piece.recording for seed in range(30) for piece in draw_mixture(np.random.default_rng(seed), bank, SPEC)}
    assert drawn == {instance.path.relative_to(bank.folder).as_posix() for instance in bank.instances}


# How it is rendered and annotated

def test_annotation_of_two_bursts():
    # 0.5 s silence, 0.3 s tone, 0.6 s silence, 0.2 s tone, 0.1 s silence (bridged), 0.2 s tone, 0.5 s silence
    silence = [np.zeros(round(s * RATE)) for s in (0.5, 0.6, 0.1, 0.5)]
    piece = np.concatenate([silence[0], tone(0.3), silence[1], tone(0.2), silence[2], tone(0.2), silence[3]])
    spans = active_spans(piece, frame_levels(piece, RATE).max(), SPEC)
    np.testing.assert_allclose(spans, [[0.5, 0.8], [1.4, 1.9]], atol=1e-9)


@pytest.mark.parametrize("level_db, active", [(-19.0, True), (-21.0, False)])
def test_annotation_is_relative_to_the_recording(level_db, active):
    quiet = tone(0.5) * 10 ** (level_db / 20)
    reference = frame_levels(tone(0.5), RATE).max()
    assert active_spans(quiet, reference, SPEC) == ([(0.0, 0.5)] if active else [])


@pytest.mark.parametrize("seconds, gap, expected", [
    (0.02, 1.0, 0), (0.04, 1.0, 2),   # bursts of one frame are dropped, of two kept
    (0.3, 0.5, 1), (0.3, 0.52, 2)])   # gaps up to 0.5 s are bridged
def test_short_bursts_and_gaps(seconds, gap, expected):
    piece = np.concatenate([tone(seconds), np.zeros(round(gap * RATE)), tone(seconds)])
    assert len(active_spans(piece, frame_levels(piece, RATE).max(), SPEC)) == expected


def test_annotation_ignores_offset_and_noise_below_the_floor():
    constant = np.full(RATE, 0.5, np.float32)
    assert active_spans(constant, -10.0, dataclasses.replace(SPEC, threshold_db=90.0)) == []
    faint = 10 ** (-75 / 20) * np.random.default_rng(0).standard_normal(RATE)
    assert active_spans(faint, -60.0, SPEC) == []
    assert active_spans(np.zeros(0), -10.0, SPEC) == []


def test_annotation_ends_with_the_piece():
    piece = tone(0.333)
    assert active_spans(piece, frame_levels(piece, RATE).max(), SPEC) == [(0.0, 0.333)]


def test_rendering_against_a_sum_by_hand():
    recordings = {"a": tone(2.0).astype(np.float32), "b": tone(1.0, 1000).astype(np.float32)}
    pieces = [Piece("x", "a", -13.5, 0.5, 1.0, 3.0, -6.0), Piece("y", "b", -13.5, 0.0, 1.0, 3.5, 2.0)]
    waveform, events = render_mixture(pieces, recordings.get, SPEC)
    expected = np.zeros(20 * RATE)
    expected[3 * RATE:4 * RATE] += recordings["a"][RATE // 2:3 * RATE // 2] * 10 ** (-6 / 20)
    expected[7 * RATE // 2:9 * RATE // 2] += recordings["b"] * 10 ** (2 / 20)
    inner = np.ones(len(expected), bool)
    for edge in (3.0, 3.5, 4.0, 4.5):  # 5 ms of fade on either side of a cut
        inner[round((edge - 0.005) * RATE):round((edge + 0.005) * RATE)] = False
    np.testing.assert_allclose(waveform[inner], expected[inner], atol=1e-6)
    assert np.all(np.abs(waveform[~inner]) <= np.abs(expected[~inner]) + 0.6) and waveform[3 * RATE] == 0
    assert events.values.tolist() == [[3.0, 4.0, "x"], [3.5, 4.5, "y"]]


def test_no_clipping_and_relative_gains_stay():
    recordings = {"a": tone(1.0).astype(np.float32)}
    pieces = [Piece("x", "a", -13.5, 0.0, 1.0, 2.0, 40.0), Piece("y", "a", -13.5, 0.0, 1.0, 5.0, 28.0)]
    waveform, _ = render_mixture(pieces, recordings.get, SPEC)
    loud, quiet = np.abs(waveform[2 * RATE:3 * RATE]).max(), np.abs(waveform[5 * RATE:6 * RATE]).max()
    assert loud == pytest.approx(0.999, abs=1e-4)
    assert 20 * np.log10(loud / quiet) == pytest.approx(12.0, abs=1e-3)


def test_cuts_do_not_click():
    constant = {"a": np.full(RATE, 0.3, np.float32)}  # the hardest cut: from 0 to full scale at once
    waveform, _ = render_mixture([Piece("x", "a", -13.5, 0.2, 0.5, 1.0, 0.0)], constant.get, SPEC)
    assert np.abs(np.diff(waveform)).max() <= 0.3 / (0.005 * RATE) + 1e-6


# What is written

def test_layout_and_numbering(corpus):
    folder, _ = corpus
    dataset = load_dataset(folder)
    numbers = {name: [int(r.name.rsplit("-", 1)[1]) for r in part] for name, part in dataset.partitions.items()}
    assert numbers == {"test": [0, 1, 2], "validate": [3, 4], "train": [5, 6, 7, 8]}  # as in the corpus: test first
    assert dataset.labels == ("beep", "hiss", "hum", "knock", "ring", "wail")
    for recording in (r for part in dataset.partitions.values() for r in part):
        info = soundfile.info(recording.audio)
        assert (info.samplerate, info.channels, info.frames, info.subtype) == (RATE, 1, 20 * RATE, "PCM_16")
        assert read_reference(recording, dataset.labels, 20.0)["offset"].max() <= 20.0
    assert oct(folder.stat().st_mode)[-3:] == "755"


def test_partitions_use_their_own_recordings(corpus, partitions):
    drawn = json.loads((corpus[0] / "soundscapes.json").read_text())["mixtures"]
    for name, mixtures in drawn.items():
        own = {i.path.relative_to(partitions[name].folder).as_posix() for i in partitions[name].instances}
        assert mixtures and {piece["recording"] for mixture in mixtures for piece in mixture["pieces"]} <= own


def test_mixtures_are_rebuilt_from_the_instructions(corpus, bank_folder):
    folder, _ = corpus
    stored = json.loads((folder / "soundscapes.json").read_text())
    spec = SoundscapeSpec(**stored["spec"])
    assert stored["seed"] == 7 and spec == SPEC
    mixture = stored["mixtures"]["validate"][1]
    pieces = [Piece(**piece) for piece in mixture["pieces"]]
    waveform, events = render_mixture(pieces, recording_reader(bank_folder, RATE), spec)
    written, _ = soundfile.read(folder / "audio" / f"{mixture['name']}.wav")
    np.testing.assert_allclose(waveform, written, atol=2 ** -15)
    dataset = load_dataset(folder)
    assert events.equals(read_reference(dataset.partitions["validate"][1], dataset.labels))


def test_same_seed_same_bytes(corpus, partitions, tmp_path):
    folder, _ = corpus
    synthesize(partitions, tmp_path / "again", SPEC, (4, 2, 3), seed=7)
    assert digests(tmp_path / "again") == digests(folder)
    synthesize(partitions, tmp_path / "other", SPEC, (4, 2, 3), seed=8)
    theirs, ours = digests(tmp_path / "other"), digests(folder)
    assert all(theirs[name] != ours[name] for name in ours if name.startswith(("audio", "meta")))


def test_every_mixture_has_a_seed_of_its_own(corpus):
    drawn = json.loads((corpus[0] / "soundscapes.json").read_text())["mixtures"]
    onsets = [piece["onset"] for mixtures in drawn.values() for mixture in mixtures for piece in mixture["pieces"]]
    assert len(set(onsets)) == len(onsets)  # over all partitions too


def test_mixture_does_not_depend_on_the_count(corpus, partitions, tmp_path):
    synthesize(partitions, tmp_path / "more", SPEC, (5, 1, 4), seed=7)
    few, more = load_dataset(corpus[0]), load_dataset(tmp_path / "more")
    for name in ("train", "validate", "test"):
        for one, other in zip(few.partitions[name], more.partitions[name]):
            assert one.audio.read_bytes() == other.audio.read_bytes()
            assert one.annotation.read_bytes() == other.annotation.read_bytes()


@pytest.mark.parametrize("bit_depth", [24, 32])
def test_other_bit_depths_are_reproducible_too(partitions, tmp_path, bit_depth):
    spec = dataclasses.replace(SPEC, bit_depth=bit_depth, duration_seconds=3.0)
    for name in "ab":
        synthesize(partitions, tmp_path / name, spec, (0, 0, 1))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert soundfile.info(next((tmp_path / "a" / "audio").iterdir())).subtype == f"PCM_{bit_depth}"


def test_statistics_equal_an_independent_recount(corpus):
    folder, statistics = corpus
    assert json.loads((folder / "statistics.json").read_text()) == statistics
    for name, stored in statistics.items():
        frames, events, seconds = [], {}, {}
        for path in (folder / "evaluation_setup" / f"{name}.txt").read_text().split():
            annotation = path.replace("audio", "meta").replace("-mix-", "-annot-").replace(".wav", ".txt")
            degree = np.zeros(1000, int)  # 20 s of 20 ms
            active = {}
            for line in (folder / annotation).read_text().splitlines():
                onset, offset, label = line.split("\t")
                # In whole microseconds, so that no float rounds a frame's edge away.
                first, last = int(onset.replace(".", "")) // 20000, -(-int(offset.replace(".", "")) // 20000)
                active.setdefault(label, set()).update(range(first, last))
                events[label] = events.get(label, 0) + 1
                seconds[label] = seconds.get(label, 0) + float(offset) - float(onset)
            for on in active.values():
                degree[list(on)] += 1
            frames.append(degree)
        shares = np.bincount(np.concatenate(frames)) / 1000 / len(frames)
        np.testing.assert_allclose(list(stored["polyphony"].values()), shares, atol=0.51e-4)
        assert {label: cell["events"] for label, cell in stored["labels"].items() if cell["events"]} == events
        for label in seconds:
            assert stored["labels"][label]["active_seconds"] == pytest.approx(seconds[label], abs=0.006)
        assert stored["recordings"] == len(frames) and stored["minutes"] == pytest.approx(len(frames) / 3, abs=1e-3)


def test_statistics_as_text(corpus):
    text = format_statistics(corpus[1])
    assert "train 4 recordings, 1.3 min" in text and all(label in text for label in ("beep", "wail"))


def test_progress_counts_up(partitions, tmp_path):
    seen = []
    synthesize(partitions, tmp_path / "out", dataclasses.replace(SPEC, duration_seconds=1.0), (2, 0, 1),
               progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert list(load_dataset(tmp_path / "out").partitions["validate"]) == []


def test_polyphony_on_real_recordings(esc10, tmp_path):
    bank = read_soundbank(esc10)
    few = dataclasses.replace(bank, instances=bank.instances[::10])  # every tenth: one or more of most labels
    spec = SoundscapeSpec(duration_seconds=60.0, sample_rate=16000)
    partitions = {name: few for name in ("train", "validate", "test")}
    shares = synthesize(partitions, tmp_path / "out", spec, (20, 0, 0))["train"]["polyphony"]
    assert 5 <= max(map(int, shares)) <= 8
    assert 0.05 < shares["0"] < 0.3 and 0.2 < shares["1"] < 0.45 and 1 - shares["0"] - shares["1"] > 0.35


# Mistakes and bad audio

@pytest.mark.parametrize("change, message", [
    ({"duration_seconds": 0}, "duration_seconds"), ({"duration_seconds": float("nan")}, "duration_seconds"),
    ({"piece_seconds": (0.0, 3.0)}, "piece_seconds"), ({"piece_seconds": (5.0, 3.0)}, "piece_seconds"),
    ({"silence_seconds": (-1.0, 3.0)}, "silence_seconds"), ({"labels_per_mixture": (0, 3)}, "labels_per_mixture"),
    ({"sample_rate": -1}, "sample_rate"), ({"bit_depth": 8}, "bit_depth"), ({"gain_db": (1.0,)}, "gain_db")])
def test_bad_specs(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SPEC, **change)


@pytest.mark.parametrize("arguments, message", [
    ({"mixtures": (0, 0, 0)}, "mixtures"), ({"mixtures": (1, -1, 1)}, "mixtures"), ({"mixtures": (1, 1)}, "mixtures"),
    ({"seed": -1}, "seed")])
def test_bad_requests(partitions, tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        synthesize(partitions, tmp_path / "out", SPEC, **arguments)
    assert not any(tmp_path.iterdir())


def test_partition_without_recordings(tmp_path):
    (tmp_path / "bank" / "rain").mkdir(parents=True)
    soundfile.write(tmp_path / "bank" / "rain" / "1.wav", tone(1), RATE)
    partitions = partition_soundbank(read_soundbank(tmp_path / "bank"))
    with pytest.raises(InputError, match="no recordings for the validate partition"):
        synthesize(partitions, tmp_path / "out", SPEC, (1, 1, 0))
    synthesize(partitions, tmp_path / "out", SPEC, (1, 0, 0))
    assert (tmp_path / "out" / "labels.txt").read_text() == "rain\n"


def test_existing_output_is_kept(partitions, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        synthesize(partitions, tmp_path / "out", SPEC, (1, 0, 0))
    assert os.listdir(tmp_path) == ["out"] and os.listdir(tmp_path / "out") == ["mine.txt"]


def test_output_below_a_file(partitions, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        synthesize(partitions, tmp_path / "file" / "out", SPEC, (1, 0, 0))


def test_interrupted_synthesis_leaves_nothing(partitions, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        synthesize(partitions, tmp_path / "out", SPEC, (3, 0, 0), progress=stop)
    assert not any(tmp_path.iterdir())


BAD_AUDIO = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"no audio at all" * 100),
    "zero_samples": lambda path: soundfile.write(path, np.zeros(0), RATE),
    "silent": lambda path: soundfile.write(path, np.zeros(RATE), RATE),
    "constant": lambda path: soundfile.write(path, np.full(RATE, 0.5), RATE),
    "nan": lambda path: soundfile.write(path, np.where(np.arange(RATE) == 100, np.nan, tone(1)), RATE, "FLOAT"),
    "truncated_flac": lambda path: _truncate(path, format="FLAC"),
}


def _truncate(path, **options):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE)
    soundfile.write(path, noise, RATE, **options)
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


@pytest.mark.parametrize("kind", BAD_AUDIO)
def test_bad_recording_is_named_before_mixing(tmp_path, kind):
    folder = tmp_path / "bank" / "rain"
    folder.mkdir(parents=True)
    for name in ("good", "broken"):
        soundfile.write(folder / f"{name}.wav", tone(1), RATE)
    bank, progress = read_soundbank(tmp_path / "bank"), []
    BAD_AUDIO[kind](folder / "broken.wav")
    with pytest.raises(InputError, match=r"broken\.wav") as caught:
        synthesize({name: bank for name in ("train", "validate", "test")}, tmp_path / "out", SPEC, (2, 0, 0),
                   progress=lambda done, total: progress.append(done))
    assert "good.wav" not in str(caught.value) and not progress and os.listdir(tmp_path) == ["bank"]


@pytest.mark.parametrize("write", [
    lambda path: soundfile.write(path, tone(1.0, rate=8000), 8000),
    lambda path: soundfile.write(path, np.stack([tone(1.0, rate=48000)] * 6, axis=1), 48000),
    lambda path: soundfile.write(path, np.stack([tone(1.0, rate=22050)] * 2, axis=1), 22050, "PCM_24"),
], ids=["8 kHz", "six channels", "24 bit stereo"])
def test_any_rate_and_channel_count_is_mixed(tmp_path, write):
    (tmp_path / "bank" / "ring").mkdir(parents=True)
    write(tmp_path / "bank" / "ring" / "1.wav")
    bank = read_soundbank(tmp_path / "bank")
    spec = dataclasses.replace(SPEC, sample_rate=16000)
    synthesize({name: bank for name in ("train", "validate", "test")}, tmp_path / "out", spec, (1, 0, 0))
    recording = load_dataset(tmp_path / "out").partitions["train"][0]
    waveform, rate = soundfile.read(recording.audio)
    onset, offset = read_reference(recording, ["ring"]).values[0][:2]
    piece = waveform[round(onset * rate):round(offset * rate)]
    spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece))))
    assert rate == 16000 and np.argmax(spectrum) * rate / len(piece) == pytest.approx(440, abs=4)


def test_truncated_wav_is_used_as_far_as_it_goes(tmp_path, caplog):
    (tmp_path / "bank" / "rain").mkdir(parents=True)
    _truncate(tmp_path / "bank" / "rain" / "1.wav")
    bank = read_soundbank(tmp_path / "bank")
    instance, = measured(bank).instances
    assert 1.9 < instance.duration < 2.1 and "1.wav" in caplog.text
