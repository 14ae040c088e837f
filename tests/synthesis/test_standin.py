"""The stand-in for two corpora: its layouts, what it keeps apart, its labels, and that its scenes can be learnt."""
import csv
import dataclasses
import hashlib
import json
import re
import sys

import numpy as np
import pytest
import scipy.signal
import soundfile
from sklearn.linear_model import LogisticRegression

from polysed_keras.datasets.loading import PARTITIONS, load_clips
from polysed_keras.errors import InputError
from polysed_keras.specs.overrides import set_spec_fields
from polysed_keras.synthesis.soundbank import Instance, Soundbank, partition_soundbank, read_soundbank
from polysed_keras.synthesis.standin import corpora as standin
from polysed_keras.synthesis.standin.clips import EVENT_CORPUS, MIDS, SCENE_CORPUS, class_mids, draw_clips
from polysed_keras.synthesis.standin.corpora import (
    StandinSpec,
    choose_labels,
    divide_sources,
    format_report,
    make_standin,
)
from polysed_keras.synthesis.standin.scenes import OCTAVES, Background, background_noise, draw_scenes

from fixtures import RATE, tone, write_bank

LABELS = ("beep", "hiss", "hum", "knock", "ring", "wail")
SECOND = 1 / 3600  # hours
# clips of a second: 60, 12 and 36 of scenes, 40, 12 and 12 of events
SPEC = StandinSpec(sample_rate=RATE, clip_seconds=1.0, piece_seconds=(0.2, 0.8), scenes=4, locations=(5, 3, 3),
                   scene_hours=(60 * SECOND, 12 * SECOND, 36 * SECOND),
                   event_hours=(40 * SECOND, 12 * SECOND, 12 * SECOND))
SMALL = dataclasses.replace(SPEC, scene_hours=(8 * SECOND,) * 3, event_hours=(5 * SECOND,) * 3)


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return write_bank(tmp_path_factory.mktemp("bank"), LABELS, takes=12)


@pytest.fixture(scope="module")
def partitions(bank):
    """As they are in `made`."""
    return partition_soundbank(read_soundbank(bank), seed=3)


@pytest.fixture(scope="module")
def made(bank, tmp_path_factory):
    """A stand-in's folder and report."""
    folder = tmp_path_factory.mktemp("standin") / "data"
    return folder, make_standin(bank, folder, SPEC, seed=3)


@pytest.fixture(scope="module")
def instructions(made):
    return json.loads((made[0] / "standin.json").read_text())


def digests(folder):
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def rows(path):
    return [line.split("\t") for line in path.read_text().splitlines()]


def recordings(clips):
    return {piece["recording"] for clip in clips for piece in clip["pieces"]}


# Layouts

def test_scenes_are_laid_out_as_tut_urban_acoustic_scenes_2018(made):
    folder = made[0] / SCENE_CORPUS
    header, *meta = rows(folder / "meta.csv")
    assert header == ["filename", "scene_label", "identifier", "source_label"]
    for file, scene, identifier, source in meta:
        parts = re.fullmatch(r"audio/(\w+)-(\w+)-(\d+)-(\d+)-(\w)\.wav", file).groups()
        assert (scene, identifier, source) == (parts[0], f"{parts[1]}-{parts[2]}", parts[4])
    lists = {name: rows(folder / "evaluation_setup" / f"fold1_{name}.txt")
             for name in ("train", "validate", "test", "evaluate")}
    assert {name: len(lines) for name, lines in lists.items()} == {"train": 72, "validate": 12, "test": 36,
                                                                   "evaluate": 36}
    assert all(line in lists["train"] for line in lists["validate"])
    assert lists["test"] == [line[:1] for line in lists["evaluate"]]
    assert sorted(lists["train"] + lists["evaluate"]) == sorted(line[:2] for line in meta)
    audio = sorted(f"audio/{path.name}" for path in (folder / "audio").iterdir())
    assert audio == sorted(line[0] for line in meta)


def test_events_are_laid_out_as_audioset(made, instructions):
    folder = made[0] / EVENT_CORPUS
    with (folder / "class_labels_indices.csv").open(newline="") as file:
        classes = list(csv.DictReader(file))
    names = {row["mid"]: row["display_name"] for row in classes}
    assert [row["index"] for row in classes] == [str(index) for index in range(6)]
    assert tuple(names.values()) == LABELS and names["/standin/beep"] == "beep"
    audio = {path.stem for path in (folder / "audio").iterdir()}
    for file, partition, count in (("balanced_train", "train", 40), ("validate", "validate", 12), ("eval", "test", 12)):
        lines = (folder / f"{file}_segments.csv").read_text().splitlines()
        assert [line[0] for line in lines[:4]].count("#") == 3 and len(lines) == 3 + count
        listed = [re.fullmatch(r'([\w-]{11}), 0\.000, 1\.000, "([^"]+)"', line).groups() for line in lines[3:]]
        assert re.search(rf"num_ytids={count}, num_segs={count}, .*num_positive_labels="
                         rf"{sum(len(mids.split(',')) for _, mids in listed)}$", lines[1])
        heard = {clip["name"]: {piece["event_label"] for piece in clip["pieces"]}
                 for clip in instructions["clips"][EVENT_CORPUS][partition]}
        assert {video: {names[mid] for mid in mids.split(",")} for video, mids in listed} == heard
        found = {f"Y{video}" for video, _ in listed}
        assert found <= audio
        audio -= found
    assert not audio


def test_clips_are_16_bit_mono_of_the_spec_and_sound(made):
    for path in made[0].rglob("*.wav"):
        info = soundfile.info(path)
        assert (info.channels, info.samplerate, info.frames, info.subtype) == (1, RATE, RATE, "PCM_16")
        assert 1e-4 < np.abs(soundfile.read(path)[0]).max() < 1.0


def test_loaders_read_both_corpora(made, instructions):
    loaded = load_clips(made[0], f"{SCENE_CORPUS}+{EVENT_CORPUS}")
    scenes = tuple(f"scene{number}" for number in range(4))
    for task, corpus, labels in (("scene", SCENE_CORPUS, scenes), ("events", EVENT_CORPUS, LABELS)):
        assert loaded[task].labels == labels and not loaded[task].missing
        for partition in PARTITIONS:
            clips = instructions["clips"][corpus][partition]
            expected = {(clip["source"], frozenset(clip["labels"])) for clip in clips}
            found = loaded[task].partitions[partition]
            assert {(clip.source, frozenset(clip.labels)) for clip in found} == expected and len(found) == len(clips)


def test_report_counts_clips_and_labels(made, instructions):
    folder, report = made
    part = report[SCENE_CORPUS]["train"]
    clips = instructions["clips"][SCENE_CORPUS]["train"]
    assert (part["clips"], part["hours"], part["sources"]) == (60, 0.017, 20)
    assert part["recordings"] == len(recordings(clips))
    assert part["labels"] == {label: sum(label in {piece["event_label"] for piece in clip["pieces"]} for clip in clips)
                              for label in instructions["labels"][SCENE_CORPUS]}
    assert len(format_report(report).splitlines()) == 6


# What is kept apart

def test_partitions_and_corpora_share_no_source_and_scenes_share_no_location(partitions, instructions):
    groups = {}
    for corpus, parts in instructions["clips"].items():
        for partition, clips in parts.items():
            used = recordings(clips)
            folder = partitions[partition].folder
            assert used <= {str(i.path.relative_to(folder)) for i in partitions[partition].instances}
            groups[corpus, partition] = {instructions["sources"][recording] for recording in used}
    assert sum(map(len, groups.values())) == len(set().union(*groups.values())) > 40
    locations = [{clip["source"] for clip in clips} for clips in instructions["clips"][SCENE_CORPUS].values()]
    assert [len(part) for part in locations] == [20, 12, 12] and len(set().union(*locations)) == 44


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """A stand-in where each recording is a tone of its own frequency, and {recording: frequency}."""
    bank, frequencies = tmp_path_factory.mktemp("tones"), {}
    for label in ("a", "b", "c", "d"):
        (bank / label).mkdir()
        for take in range(12):
            frequencies[f"{label}/{take}.wav"] = 500 + 60 * len(frequencies)
            soundfile.write(bank / label / f"{take}.wav", tone(3.0, frequencies[f"{label}/{take}.wav"]), RATE)
    spec = dataclasses.replace(SMALL, clip_seconds=2.0, piece_seconds=(1.0, 2.0), event_to_background_db=(20, 20),
                               scene_hours=(24 * SECOND,) * 3, event_hours=(24 * SECOND,) * 3)
    make_standin(bank, bank.parent / "tones_out", spec)
    return bank.parent / "tones_out", frequencies


def heard_tones(path, frequencies):
    """The recordings whose frequency stands out from those around it."""
    waveform, rate = soundfile.read(path)
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    per_hertz = len(waveform) / rate

    def stands_out(frequency):
        middle, around = round(frequency * per_hertz), round(25 * per_hertz)
        return spectrum[middle] > 10 * np.median(spectrum[middle - around:middle + around + 1])
    return {recording for recording, frequency in frequencies.items() if stands_out(frequency)}


def test_recordings_are_known_by_their_content(bank, made):
    content = json.loads((made[0] / "standin.json").read_text())
    assert set(content["recordings"]) == set(content["sources"])
    for name, digest in content["recordings"].items():
        assert hashlib.sha256((bank / name).read_bytes()).hexdigest().startswith(digest) and len(digest) == 12


def test_what_is_heard_is_what_is_listed_and_is_in_one_partition_and_corpus(tones):
    folder, frequencies = tones
    content = json.loads((folder / "standin.json").read_text())
    home = {}
    for corpus, prefix in ((SCENE_CORPUS, ""), (EVENT_CORPUS, "Y")):
        for partition, clips in content["clips"][corpus].items():
            for clip in clips:
                heard = heard_tones(folder / corpus / "audio" / f"{prefix}{clip['name']}.wav", frequencies)
                assert heard == recordings([clip])
                for recording in heard:
                    assert home.setdefault(recording, (corpus, partition)) == (corpus, partition)
    assert len(home) > 20 and len(set(home.values())) == 6


def test_a_source_of_several_labels_stays_on_one_side(tmp_path):
    instances = tuple(Instance(tmp_path / f"{label}{number}.wav", label, f"source{number}")
                      for label in ("a", "b", "c") for number in range(5 if label == "c" else 4))
    labels = {SCENE_CORPUS: ("a", "b"), EVENT_CORPUS: ("b", "c")}
    halves = divide_sources(Soundbank(tmp_path, ("a", "b", "c"), instances), labels, "train", 0)
    sources = {corpus: {instance.source for instance in half.instances} for corpus, half in halves.items()}
    assert not sources[SCENE_CORPUS] & sources[EVENT_CORPUS]
    assert sources[SCENE_CORPUS] | sources[EVENT_CORPUS] >= {f"source{number}" for number in range(4)}
    assert {corpus: {i.event_label for i in half.instances} for corpus, half in halves.items()} == {
        SCENE_CORPUS: {"a", "b"}, EVENT_CORPUS: {"b", "c"}}


# Labels, k and correlation

@pytest.mark.parametrize("k, correlation, shared", [(3, 0.0, 0), (3, 1.0, 3), (2, 0.5, 1), (4, 0.5, 2), (6, 0.5, 3),
                                                    (4, 0.25, 1), (5, 0.5, 3)])
def test_correlation_is_the_share_of_event_labels_heard_in_scenes(k, correlation, shared):
    labels = choose_labels(LABELS, StandinSpec(k=k, correlation=correlation), 0)
    assert len(labels[SCENE_CORPUS]) == 3 and len(labels[EVENT_CORPUS]) == k
    assert len(set(labels[SCENE_CORPUS]) & set(labels[EVENT_CORPUS])) == shared
    assert set(labels[SCENE_CORPUS] + labels[EVENT_CORPUS]) <= set(LABELS)


@pytest.mark.parametrize("count", [2, 3, 7, 10])
def test_k_of_0_is_as_many_as_there_can_be(count):
    labels = [str(number) for number in range(count)]
    assert len(choose_labels(labels, StandinSpec(), 0)[EVENT_CORPUS]) == count
    assert len(choose_labels(labels, StandinSpec(correlation=0.0), 0)[EVENT_CORPUS]) == count // 2
    everything = StandinSpec(correlation=1.0, scene_labels=count)
    assert choose_labels(labels, everything, 0) == {SCENE_CORPUS: labels, EVENT_CORPUS: labels}


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_written_clips_hold_the_chosen_labels_only(bank, tmp_path, correlation):
    spec = dataclasses.replace(SMALL, k=2, correlation=correlation, event_hours=(30 * SECOND,) * 3)
    report = make_standin(bank, tmp_path / "out", spec)
    content = json.loads((tmp_path / "out" / "standin.json").read_text())
    heard = {corpus: {piece["event_label"] for clips in parts.values() for clip in clips for piece in clip["pieces"]}
             for corpus, parts in content["clips"].items()}
    assert heard == {corpus: set(labels) for corpus, labels in content["labels"].items()}
    assert len(heard[EVENT_CORPUS]) == 2 and len(heard[EVENT_CORPUS] & heard[SCENE_CORPUS]) == 2 * correlation
    assert load_clips(tmp_path / "out", EVENT_CORPUS)["events"].labels == tuple(sorted(heard[EVENT_CORPUS]))
    assert min(report[EVENT_CORPUS]["train"]["labels"].values()) > 5


def test_event_clips_have_one_to_three_labels_each_heard_once(instructions):
    clips = [clip for part in instructions["clips"][EVENT_CORPUS].values() for clip in part]
    assert {len(clip["labels"]) for clip in clips} == {1, 2, 3}
    assert all(clip["labels"] == sorted(piece["event_label"] for piece in clip["pieces"]) for clip in clips)
    assert all(0 <= piece["onset"] <= piece["onset"] + piece["duration"] <= 1.0 + 1e-9
               for clip in clips for piece in clip["pieces"])


def test_pieces_begin_where_a_recording_sounds(bank, instructions):
    """write_bank's recordings begin with a gap, and have one between two tones."""
    for clip in instructions["clips"][SCENE_CORPUS]["train"]:
        for piece in clip["pieces"]:
            waveform, rate = soundfile.read(bank / piece["recording"])
            start = round(piece["start"] * rate)
            assert np.abs(waveform[start:start + round(0.05 * rate)]).max() > 0.05 * np.abs(waveform).max()


def test_mids(esc10):
    """AudioSet's own names for the mids say what the labels say."""
    path = esc10.parent / "audioset" / "class_labels_indices.csv"
    if not path.is_file():
        pytest.skip(f"{path}: no such file; it is AudioSet's own")
    with path.open(newline="") as file:
        names = {row["mid"]: row["display_name"].lower() for row in csv.DictReader(file)}
    other_words = {"sea_waves": "surf", "mixer": "blender", "horsewalk": "clip-clop", "glass_smash": "shatter",
                   "dog_barking": "bark", "cat_meowing": "meow", "crowd_cheering": "cheering", "sneezing": "sneeze",
                   "gun_shot": "gunshot", "crying_baby": "baby cry", "baby_crying": "baby cry", "clock_tick": "tick",
                   "crackling_fire": "crackle", "alarms_and_sirens": "siren", "bird_singing": "bird song",
                   "crowd_applause": "applause"}
    assert len(MIDS) == 25  # "rain" is a label of both soundbanks
    for label, mid in MIDS.items():
        assert other_words.get(label, label) in names[mid]


def test_mids_of_other_labels_and_of_two_labels_of_a_class():
    assert class_mids(["crying_baby", "baby_crying", "dog", "a, b"]) == {
        "crying_baby": "/t/dd00002", "baby_crying": "/standin/baby_crying", "dog": "/m/0bt9lr",
        "a, b": "/standin/a%2C%20b"}


def test_labels_with_commas_and_quotes_survive_the_layout(tmp_path):
    labels = ("a, b", 'c "d"', "dog")
    bank = write_bank(tmp_path / "bank", labels, takes=10)
    make_standin(bank, tmp_path / "out", SMALL)
    dataset = load_clips(tmp_path / "out", EVENT_CORPUS)["events"]
    assert dataset.labels == labels
    assert {label for part in dataset.partitions.values() for clip in part for label in clip.labels} <= set(labels)


# Determinism

def test_the_same_command_gives_the_same_bytes_and_another_seed_others(bank, tmp_path):
    for name, seed in (("one", 5), ("two", 5), ("other", 6)):
        make_standin(bank, tmp_path / name, SMALL, seed=seed)
    one, two, other = (digests(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two and len(one) == 3 * (8 + 5) + 10
    audio = {digest for path, digest in one.items() if path.endswith(".wav")}
    assert not audio & set(other.values()) and len(audio) == 3 * (8 + 5)


def test_event_labels_and_hours_change_no_clip_of_a_scene_and_more_hours_no_earlier_clip(bank, tmp_path):
    make_standin(bank, tmp_path / "one", SMALL)
    changes = {"k": 2, "correlation": 0.0, "event_hours": (9 * SECOND, 5 * SECOND, 5 * SECOND)}
    make_standin(bank, tmp_path / "two", dataclasses.replace(SMALL, **changes))
    assert digests(tmp_path / "one" / SCENE_CORPUS) == digests(tmp_path / "two" / SCENE_CORPUS)
    more = dataclasses.replace(SMALL, scene_hours=(16 * SECOND,) * 3, event_hours=(9 * SECOND,) * 3)
    make_standin(bank, tmp_path / "more", more)
    for corpus in (SCENE_CORPUS, EVENT_CORPUS):
        few, many = (digests(tmp_path / name / corpus / "audio") for name in ("one", "more"))
        assert set(few.items()) < set(many.items())


# Scenes

def count_events(instructions, partition):
    """(clips, labels) true numbers of events, the kinds of background as (clips, kinds) 0/1, and scenes (clips,)."""
    clips, labels = instructions["clips"][SCENE_CORPUS][partition], instructions["labels"][SCENE_CORPUS]
    heard = [[piece["event_label"] for piece in clip["pieces"]] for clip in clips]
    counts = np.array([[events.count(label) for label in labels] for events in heard])
    kinds = np.eye(len(instructions["backgrounds"]))[[clip["background_kind"] for clip in clips]]
    return counts, kinds, np.array([clip["labels"][0] for clip in clips])


@pytest.mark.parametrize("seed", [3, 0, 1])
def test_scenes_can_be_told_by_events_and_background_but_not_by_one_of_them(seed):
    """Trained at some locations and tested at others, on what was truly there."""
    spec = dataclasses.replace(SPEC, scenes=6, locations=(10, 4, 8), event_hours=(SECOND,) * 3,
                               scene_hours=(300 * SECOND, 6 * SECOND, 240 * SECOND))
    sounds = {name: {SCENE_CORPUS: {label: [measured(label)] for label in LABELS[:5]},
                     EVENT_CORPUS: {"beep": [measured("beep")]}} for name in PARTITIONS}
    labels = {SCENE_CORPUS: list(LABELS[:5]), EVENT_CORPUS: ["beep"]}
    scenes, clips = draw_clips(sounds, labels, spec, seed)
    content = json.loads(json.dumps(scenes | {"labels": labels, "clips": clips}, default=dataclasses.asdict))
    (counts, kinds, scenes), (test_counts, test_kinds, test_scenes) = (count_events(content, name)
                                                                       for name in ("train", "test"))

    def accuracy(features, test_features):
        return LogisticRegression(max_iter=2000).fit(features, scenes).score(test_features, test_scenes)

    assert 2 / 6 < accuracy(counts, test_counts) < 0.95
    both = accuracy(np.hstack([counts, kinds]), np.hstack([test_counts, test_kinds]))
    assert 0.5 < both < 0.95
    assert accuracy(kinds, test_kinds) < both - 0.1
    for label in range(5):
        assert accuracy(counts[:, [label]], test_counts[:, [label]]) < both - 0.2


def measured(label):
    return Instance(None, label, label, None, 3.0, 0.0, -20.0, -15.0, label, ((0.0, 3.0),))


def test_no_two_scenes_are_nearly_the_same():
    """Sums of the differences in shares, at most 4 of two scenes; the closest two of a single draw have 1.2."""
    for seed in range(20):
        scenes = draw_scenes(np.random.default_rng(seed), 5, StandinSpec())
        shares = np.array([scene.label_shares + scene.background_shares for scene in scenes])
        differences = np.abs(shares[:, None] - shares).sum(axis=2)[np.triu_indices(6, 1)]
        assert differences.min() > 1.4
        assert differences.max() < 3.9  # even those that differ most share something


def test_locations_differ_less_than_scenes(instructions):
    scenes = {scene["name"]: np.array(scene["label_shares"]) for scene in instructions["scenes"]}
    places = instructions["locations"]["train"]
    own = [np.abs(np.array(place["label_shares"]) - scenes[place["name"].split("-")[0]]).sum() for place in places]
    others = [np.abs(np.array(place["label_shares"]) - scenes[name]).sum() for place in places for name in scenes
              if not place["name"].startswith(f"{name}-")]
    assert 0.05 < np.mean(own) < 0.6 * np.mean(others)
    assert all(abs(sum(place["label_shares"]) - 1) < 1e-9 and min(place["label_shares"]) > 0 for place in places)


def test_a_scenes_clips_have_its_mean_number_of_events(instructions):
    means = {place["name"]: place["events_per_clip"] for place in instructions["locations"]["train"]}
    clips = instructions["clips"][SCENE_CORPUS]["train"]
    expected = sum(means[clip["source"]] for clip in clips)
    assert abs(sum(len(clip["pieces"]) for clip in clips) - expected) < 4 * np.sqrt(expected)
    assert len({len(clip["pieces"]) for clip in clips}) > 5


def test_noise_has_the_spectrum_and_swing_of_its_background():
    bands = (-10.0, 5.0, 0.0, -20.0, -3.0, 8.0, -6.0, -12.0, -30.0)
    noise = background_noise(Background(bands, -40.0, 0.0, 0.1), 441000, 44100, seed=1)
    assert noise.dtype == np.float32 and abs(np.sqrt(np.mean(noise ** 2)) - 1) < 1e-3
    frequencies, power = scipy.signal.welch(noise, 44100, nperseg=16384)
    level = 10 * np.log10(np.interp(OCTAVES, frequencies, scipy.signal.medfilt(power, 9)))
    np.testing.assert_allclose(level - level.mean(), np.array(bands) - np.mean(bands), atol=1.5)
    swinging = background_noise(Background(bands, -40.0, 8.0, 0.3), 441000, 44100, seed=1)
    levels = 20 * np.log10(np.sqrt(np.mean(swinging.reshape(100, -1) ** 2, axis=1)))
    assert 6 < levels.max() - levels.min() < 12
    steady = 20 * np.log10(np.sqrt(np.mean(noise.reshape(100, -1) ** 2, axis=1)))
    assert steady.max() - steady.min() < 5


# Mistakes

@pytest.mark.parametrize("assignment", [
    "scenes=1", "locations=[0,1,1]", "locations=[2,2]", "locations=[2.5,1,1]", "scene_hours=[0.001,1,1]",
    "event_hours=[1,0,1]", 'event_hours=["a",1,1]', "k=-1", "correlation=1.1", "backgrounds=0", "concentration=0",
    "events_per_clip=[3,2]", "labels_per_event_clip=[0,3]", "piece_seconds=[1,11]", "clip_seconds=0",
    "background_dbfs=[-40]"])
def test_a_spec_says_what_is_wrong(assignment):
    with pytest.raises(InputError, match=f"(^|--set ){assignment.split('=')[0]}: expected .* Received: "):
        set_spec_fields(StandinSpec(), [assignment])


def test_a_spec_is_set_by_fields_and_is_the_same_from_json():
    spec = set_spec_fields(StandinSpec(), ["k=4", "correlation=1", "locations=[3,1,2]", "event_hours=[1,0.5,0.5]"])
    assert (spec.k, spec.correlation, spec.locations) == (4, 1.0, (3, 1, 2))
    assert spec.clips() == ((300, 120, 240), (360, 180, 180))
    assert StandinSpec(**json.loads(json.dumps(dataclasses.asdict(spec)))) == spec
    assert StandinSpec().clips() == ((300, 120, 240), (600, 120, 240))


@pytest.mark.parametrize("fields, message", [
    ({"k": 4, "correlation": 0.0}, "k: expected 1 to 3, .*Received: 4, for which the correlation may be 0.25 to 0.75"),
    ({"k": 4, "correlation": 1.0}, "k: expected 1 to 3, "), ({"k": 7}, "k: expected 1 to 6, .*Received: 7. Change"),
    ({"scene_labels": 7}, "scene_labels: expected at most 6"),
    ({"scene_labels": 6, "correlation": 0.0}, "k: expected none, with a correlation of 0 and 6 of the soundbank's 6")])
def test_too_few_labels_are_said_with_what_is_possible(bank, tmp_path, fields, message):
    with pytest.raises(InputError, match=message):
        make_standin(bank, tmp_path / "out", dataclasses.replace(SMALL, **fields))
    assert not list(tmp_path.iterdir())


def test_too_few_sources_are_said(tmp_path):
    bank = write_bank(tmp_path / "bank", LABELS, takes=6)  # one of six is for validation
    with pytest.raises(InputError, match="two sources or more of each label in the validate .*too few of beep"):
        make_standin(bank, tmp_path / "out", SMALL)
    assert not (tmp_path / "out").exists()


def test_a_negative_seed_and_a_folder_in_use_are_said(bank, tmp_path):
    with pytest.raises(InputError, match="seed: expected 0"):
        make_standin(bank, tmp_path / "out", SMALL, seed=-1)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="exists already"):
        make_standin(None, tmp_path, SMALL)


# From a folder, from the program's own sounds, from real recordings

def test_progress_and_origin(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    bank = write_bank(tmp_path / "bank", LABELS, takes=10)
    make_standin(bank, tmp_path / "out", SMALL, progress=True)
    assert "clips: " in (shown := capsys.readouterr().err) and "39/39" in shown
    content = json.loads((tmp_path / "out" / "standin.json").read_text())
    assert (content["soundbank"], content["folds"]) == (str(bank), None)


def test_without_a_soundbank_the_program_makes_one(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(standin, "write_soundbank", lambda folder, instances, seed: asked.append((instances, seed))
                        or write_bank(folder, LABELS, takes=10))
    make_standin(None, tmp_path / "out", SMALL, seed=2)
    content = json.loads((tmp_path / "out" / "standin.json").read_text())
    assert content["soundbank"] == {"procedural_seed": 2} and asked == [(20, 2)]


def test_real_recordings(esc10, tmp_path):
    spec = StandinSpec(scene_hours=(12 * 10 * SECOND,) * 3, event_hours=(8 * 10 * SECOND,) * 3, correlation=1.0)
    make_standin(esc10, tmp_path / "out", spec, folds=((1, 2), (3,), (4,)))
    content = json.loads((tmp_path / "out" / "standin.json").read_text())
    for corpus in (SCENE_CORPUS, EVENT_CORPUS):
        for partition, folds in (("train", "12"), ("validate", "3"), ("test", "4")):
            used = recordings(content["clips"][corpus][partition])
            assert used and {recording.removeprefix("audio/")[0] for recording in used} <= set(folds)
    events, scenes = ({content["sources"][recording] for part in content["clips"][corpus].values()
                       for recording in recordings(part)} for corpus in (EVENT_CORPUS, SCENE_CORPUS))
    assert not events & scenes and len(content["labels"][EVENT_CORPUS]) == 5
    assert load_clips(tmp_path / "out", EVENT_CORPUS)["events"].labels == tuple(content["labels"][EVENT_CORPUS])
