"""Corpora of mixtures: what is written, writing it again from its instructions, and what stops it."""
import dataclasses
import hashlib
import json
import os
import shutil
import sys

import numpy as np
import pytest
import soundfile
from pyroomacoustics.experimental import measure_rt60

from polysed_keras.datasets.loading import load_dataset
from polysed_keras.datasets.statistics import format_statistics
from polysed_keras.errors import InputError
from polysed_keras.events.event_lists import read_events
from polysed_keras.files import as_type
from polysed_keras.synthesis import corpus as corpora
from polysed_keras.synthesis.acoustics import Room, simulate_room
from polysed_keras.synthesis.activity import measure_soundbank
from polysed_keras.synthesis.corpus import rebuild, synthesize
from polysed_keras.synthesis.drawing import Mixture, SoundscapeSpec
from polysed_keras.synthesis.ingredients import reader
from polysed_keras.synthesis.rendering import render_mixture
from polysed_keras.synthesis.soundbank import partition_soundbank, read_soundbank, recording_reader

from fixtures import RATE, tone, write_bank

SPEC = SoundscapeSpec(sample_rate=RATE, duration_seconds=20.0, piece_seconds=(0.5, 3.0), silence_seconds=(0.2, 4.0))


@pytest.fixture(scope="module")
def partitions(tmp_path_factory):
    return partition_soundbank(read_soundbank(write_bank(tmp_path_factory.mktemp("bank"))))


@pytest.fixture(scope="module")
def corpus(partitions, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora") / "corpus"
    return folder, synthesize(partitions, folder, SPEC, (4, 2, 3), seed=7)


@pytest.fixture(scope="module")
def extras(tmp_path_factory):
    """A folder each of distractors, beds and impulse responses."""
    folder, rng = tmp_path_factory.mktemp("extras"), np.random.default_rng(1)
    sounds = {"distractors": lambda number: tone(1.5, 300 + 100 * number),
              "beds": lambda number: 0.1 * rng.standard_normal((4 + number) * RATE),
              "responses": lambda number: rng.standard_normal(RATE // 4) * np.exp(-np.arange(RATE // 4) / 200)}
    for kind, sound in sounds.items():
        (folder / kind).mkdir()
        for number in range(5):
            soundfile.write(folder / kind / f"{number}.wav", np.clip(sound(number), -1, 1), RATE)
    return folder


def digests(folder):
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


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
        assert read_events(recording.annotation, dataset.labels, 20.0)["offset"].max() <= 20.0
    assert oct(folder.stat().st_mode)[-3:] == "755"


def test_partitions_use_their_own_recordings(corpus, partitions):
    drawn = json.loads((corpus[0] / "soundscapes.json").read_text())["mixtures"]
    for name, mixtures in drawn.items():
        own = {i.path.relative_to(partitions[name].folder).as_posix() for i in partitions[name].instances}
        assert mixtures and {piece["recording"] for mixture in mixtures for piece in mixture["pieces"]} <= own


def test_a_mixture_is_rendered_from_its_instruction(corpus, partitions):
    folder, _ = corpus
    stored = json.loads((folder / "soundscapes.json").read_text())
    spec = SoundscapeSpec(**stored["spec"])
    assert stored["seed"] == 7 and spec == SPEC and stored["polysed_format"] == 1
    stored = stored["mixtures"]["validate"][1]
    rendering = render_mixture(as_type(stored, Mixture, ""), reader(partitions["train"].folder, spec), spec)
    written, _ = soundfile.read(folder / "audio" / f"{stored['name']}.wav")
    np.testing.assert_allclose(rendering.waveform, written, atol=2 ** -15)
    dataset = load_dataset(folder)
    assert rendering.events.equals(read_events(dataset.partitions["validate"][1].annotation, dataset.labels))


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


def test_progress_counts_up(partitions, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    synthesize(partitions, tmp_path / "out", dataclasses.replace(SPEC, duration_seconds=1.0), (2, 0, 1),
               progress=True)
    assert "mixtures: " in (shown := capsys.readouterr().err) and "3/3" in shown
    assert list(load_dataset(tmp_path / "out").partitions["validate"]) == []


def test_polyphony_on_real_recordings(esc10, tmp_path):
    bank = read_soundbank(esc10)
    few = dataclasses.replace(bank, instances=bank.instances[::10])  # every tenth: one or more of most labels
    spec = SoundscapeSpec(duration_seconds=60.0, sample_rate=16000)
    partitions = {name: few for name in ("train", "validate", "test")}
    shares = synthesize(partitions, tmp_path / "out", spec, (20, 0, 0))["train"]["polyphony"]
    assert 5 <= max(map(int, shares)) <= 8
    assert 0.05 < shares["0"] < 0.3 and 0.2 < shares["1"] < 0.45 and 1 - shares["0"] - shares["1"] > 0.35


# From instructions, and with everything that may be added

def everything(extras, **changes):
    return dataclasses.replace(SPEC, duration_seconds=8.0, background=str(extras / "beds"),
                               event_to_background_db=(6, 20), distractors=str(extras / "distractors"),
                               gain_change_db=(-3, 3), mean_polyphony=(1, 2), speed=(0.8, 1.25),
                               together=(("beep", "hum", 0.5),), apart=(("hiss", "wail"),), stems=True, **changes)


@pytest.mark.parametrize("rooms", ["recorded", "simulated"])
def test_a_corpus_is_written_again_to_the_byte(partitions, extras, tmp_path, rooms):
    room = {"impulse_responses": str(extras / "responses")} if rooms == "recorded" else {"rt60_seconds": (0.1, 0.2)}
    synthesize(partitions, tmp_path / "first", everything(extras, **room), (2, 1, 1), seed=3)
    rebuild(tmp_path / "first", partitions["train"].folder, tmp_path / "again")
    assert digests(tmp_path / "again") == digests(tmp_path / "first")
    names = {path.name for path in (tmp_path / "first" / "stems").iterdir()}
    assert names == {path.stem for path in (tmp_path / "first" / "audio").iterdir()}
    for path in (tmp_path / "first" / "audio").iterdir():
        stems = [soundfile.read(stem)[0] for stem in (tmp_path / "first" / "stems" / path.stem).iterdir()]
        assert len(stems) >= 3  # a label, distractors, the background
        np.testing.assert_allclose(sum(stems), soundfile.read(path)[0], atol=1e-6)


def test_a_corpus_is_written_again_from_a_soundbank_that_was_moved(corpus, partitions, tmp_path):
    shutil.copytree(partitions["train"].folder, tmp_path / "moved")
    rebuild(corpus[0] / "soundscapes.json", tmp_path / "moved", tmp_path / "again")
    assert digests(tmp_path / "again") == digests(corpus[0])


def test_changed_and_missing_recordings_are_named(corpus, partitions, tmp_path):
    shutil.copytree(partitions["train"].folder, tmp_path / "moved")
    used = sorted(json.loads((corpus[0] / "soundscapes.json").read_text())["recordings"]["soundbank"])[0]
    soundfile.write(tmp_path / "moved" / used, tone(1), RATE)
    with pytest.raises(InputError, match=f"Received 1 others: {used}"):
        rebuild(corpus[0], tmp_path / "moved", tmp_path / "again")
    (tmp_path / "moved" / used).unlink()
    with pytest.raises(InputError, match=f"{used}: expected a recording that the mixtures use"):
        rebuild(corpus[0], tmp_path / "moved", tmp_path / "again")
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"seed": 1, "spec": {}}'])
def test_broken_instructions(content, tmp_path):
    (tmp_path / "soundscapes.json").write_text(content)
    with pytest.raises(InputError, match="soundscapes.json"):
        rebuild(tmp_path / "soundscapes.json", tmp_path, tmp_path / "again")


def first_piece(content):
    return next(mixture for mixture in content["mixtures"]["train"] if mixture["pieces"])["pieces"][0]


@pytest.mark.parametrize("change, message", [
    (lambda content: content.update(labels=5), "labels: expected `array`"),
    (lambda content: content["labels"].append("two\nlines"), "label: expected 1 to 200 characters"),
    (lambda content: content.update(extra=1), r"no other fields than Instructions has. Received: \['extra'\]"),
    (lambda content: content["spec"].update(duration_seconds=float("nan")), "duration_seconds: expected a number"),
    (lambda content: content["spec"].update(sample_rate=10 ** 400), "a number of 401 digits"),
    (lambda content: first_piece(content).update(onset=-1.0), "onset: expected 0 or more seconds"),
    (lambda content: first_piece(content).update(onset=1e9), "onset: expected one within the mixture"),
    (lambda content: first_piece(content).update(duration="long"), "duration: expected `float`"),
    (lambda content: first_piece(content).update(speed=1e-9), "speed: expected 0.25 to 16"),
    (lambda content: first_piece(content).update(event_label="cow"), "event_label: expected one of the labels"),
    (lambda content: first_piece(content).update(recording="../../secret.wav"), "expected names of files in"),
    (lambda content: first_piece(content).update(recording="/etc/passwd"), "expected names of files in"),
    (lambda content: first_piece(content).update(recording="C:\\secret.wav"), "expected names of files in"),
])
def test_tampered_instructions_are_refused_before_anything_is_written(change, message, corpus, partitions, tmp_path):
    content = json.loads((corpus[0] / "soundscapes.json").read_text())
    change(content)
    (tmp_path / "soundscapes.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"soundscapes.json.*{message}"):
        rebuild(tmp_path / "soundscapes.json", partitions["train"].folder, tmp_path / "again")
    assert [path.name for path in tmp_path.iterdir()] == ["soundscapes.json"]


@pytest.mark.parametrize("label", ["/abs/dog", "../../dog", "..", "a/../../dog", "C:\\dog"])
def test_labels_that_lead_out_of_the_folder_are_refused(label, corpus, partitions, tmp_path):
    content = json.loads((corpus[0] / "soundscapes.json").read_text())
    content["labels"][0] = label
    (tmp_path / "soundscapes.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="soundscapes.json: labels: expected names of files in stems. Received: "):
        rebuild(tmp_path / "soundscapes.json", partitions["train"].folder, tmp_path / "again")
    assert [path.name for path in tmp_path.iterdir()] == ["soundscapes.json"]


@pytest.mark.parametrize("label", ["a/b", "a\\b", "CON:", ".dog", "dog.."])
def test_no_label_leads_out_of_the_folder(label, partitions, tmp_path):
    """Stems are named by labels, which may come from elsewhere and hold what leads to other folders."""
    synthesize(partitions, tmp_path / "first", dataclasses.replace(SPEC, stems=True), (0, 0, 2))
    content = json.loads((tmp_path / "first" / "soundscapes.json").read_text())
    renamed = content["labels"][0]
    content["labels"][0] = label
    for piece in (piece for mixture in content["mixtures"]["test"] for piece in mixture["pieces"]):
        piece["event_label"] = label if piece["event_label"] == renamed else piece["event_label"]
    (tmp_path / "soundscapes.json").write_text(json.dumps(content))
    rebuild(tmp_path / "soundscapes.json", partitions["train"].folder, tmp_path / "deep" / "er" / "again")
    assert {path.name for path in tmp_path.iterdir()} == {"first", "soundscapes.json", "deep"}
    assert [path.name for path in (tmp_path / "deep" / "er").iterdir()] == ["again"]
    written, first = (sorted(path.relative_to(folder).parent for path in folder.rglob("*.wav"))
                      for folder in (tmp_path / "deep" / "er" / "again", tmp_path / "first"))
    assert written == first


@pytest.mark.slow
def test_what_was_asked_is_measured_in_a_hundred_mixtures(partitions, extras, tmp_path):
    """Event-to-background ratio and mean polyphony of what was written; reverberation times of its rooms' responses."""
    spec = dataclasses.replace(SPEC, duration_seconds=20.0, background="pink", event_to_background_db=(6, 20),
                               mean_polyphony=(1.0, 2.0), rt60_seconds=(0.15, 0.4), stems=True)
    synthesize(partitions, tmp_path / "out", spec, (0, 0, 100))
    stored = json.loads((tmp_path / "out" / "soundscapes.json").read_text())["mixtures"]["test"]
    ratios, polyphony, rooms = [], [], {}
    for mixture in stored:
        stems = tmp_path / "out" / "stems" / mixture["name"]
        sounds = {path.stem: soundfile.read(path)[0] for path in stems.iterdir()}
        noise = np.mean(sounds["background"] ** 2)
        for piece in mixture["pieces"]:
            rooms[json.dumps(piece["impulse_response"])] = piece["impulse_response"]
            onset, length = round(piece["onset"] * RATE), round((piece["duration"] + 0.2) * RATE)
            energy = np.cumsum(sounds[piece["event_label"]][onset:onset + length] ** 2)
            loudest = np.max(energy[3200:] - energy[:-3200]) / 3200 if len(energy) > 6400 else np.nan  # 400 ms
            ratios.append(10 * np.log10(loudest / noise) - piece["event_to_background_db"])
        annotation = tmp_path / "out" / "meta" / f"{mixture['name'].replace('-mix-', '-annot-')}.txt"
        seconds = [float(line.split()[1]) - float(line.split()[0]) for line in annotation.read_text().splitlines()]
        polyphony.append(sum(seconds) / 20.0)
    assert len(stored) == 100 and np.nanmean(np.abs(ratios)) < 0.5 and np.nanpercentile(np.abs(ratios), 95) < 1.5
    assert 0.85 <= min(polyphony) and max(polyphony) <= 2.15 and np.ptp(polyphony) > 0.6
    rooms = [Room(**room) for room in rooms.values()]
    errors = [measure_rt60(simulate_room(room, RATE), RATE, decay_db=20) / room.rt60_seconds - 1 for room in rooms]
    assert len(rooms) > 20 and all(0.15 <= room.rt60_seconds <= 0.4 for room in rooms)
    assert abs(np.mean(errors)) < 0.1 and np.max(np.abs(errors)) < 0.5  # a place's differs from its room's


@pytest.mark.parametrize("change, words", [
    ({"background": "no/such/folder"}, "background: expected a folder with audio files, or one of white, pink, brown"),
    ({"distractors": "no/such/folder"}, "distractors: expected a folder"),
    ({"impulse_responses": "no/such/folder"}, "impulse_responses: expected a folder"),
    ({"apart": (("beep", "moo"),)}, "apart: expected labels of the soundbank.*moo"),
    ({"rt60_seconds": (0.05, 0.06)}, "rt60_seconds: expected two numbers, 0.1 <= low")])
def test_additions_that_cannot_be_had(change, words, partitions, tmp_path):
    with pytest.raises(InputError, match=words):
        synthesize(partitions, tmp_path / "out", dataclasses.replace(SPEC, **change), (1, 0, 0))
    assert not any(tmp_path.iterdir())


def test_silent_distractors_are_named(partitions, tmp_path):
    (tmp_path / "distractors").mkdir()
    soundfile.write(tmp_path / "distractors" / "quiet.wav", np.zeros(RATE), RATE)
    with pytest.raises(InputError, match="quiet.wav: silent"):
        synthesize(partitions, tmp_path / "out", dataclasses.replace(SPEC, distractors=str(tmp_path / "distractors")))


# Mistakes and bad audio

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


def test_interrupted_synthesis_leaves_nothing(partitions, tmp_path, monkeypatch):
    def stop(events, path):
        assert any(path.parents[1].rglob("*.wav"))  # in the midst of it
        raise KeyboardInterrupt
    monkeypatch.setattr(corpora, "write_events", stop)
    with pytest.raises(KeyboardInterrupt):
        synthesize(partitions, tmp_path / "out", SPEC, (3, 0, 0))
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
def test_bad_recording_is_named_before_mixing(tmp_path, kind, capsys):
    folder = tmp_path / "bank" / "rain"
    folder.mkdir(parents=True)
    for name in ("good", "broken"):
        soundfile.write(folder / f"{name}.wav", tone(1), RATE)
    bank = read_soundbank(tmp_path / "bank")
    BAD_AUDIO[kind](folder / "broken.wav")
    with pytest.raises(InputError, match=r"broken\.wav") as caught:
        synthesize({name: bank for name in ("train", "validate", "test")}, tmp_path / "out", SPEC, (2, 0, 0),
                   progress=True)
    assert "good.wav" not in str(caught.value) and "mixtures" not in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["bank"]


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
    onset, offset = read_events(recording.annotation, ["ring"]).values[0][:2]
    piece = waveform[round(onset * rate):round(offset * rate)]
    spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece))))
    assert rate == 16000 and np.argmax(spectrum) * rate / len(piece) == pytest.approx(440, abs=4)


def test_truncated_wav_is_used_as_far_as_it_goes(tmp_path, caplog):
    (tmp_path / "bank" / "rain").mkdir(parents=True)
    _truncate(tmp_path / "bank" / "rain" / "1.wav")
    bank = read_soundbank(tmp_path / "bank")
    instance, = measure_soundbank(bank, recording_reader(bank.folder, RATE), SPEC).instances
    assert 1.9 < instance.duration < 2.1 and "1.wav" in caplog.text
