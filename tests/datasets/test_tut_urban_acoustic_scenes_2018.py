"""The loader of TUT Urban Acoustic Scenes 2018: its layout, our validation split, and what is wrong with its lists."""
import collections
import logging

import numpy as np
import pytest
import soxr

from polysed_keras.audio.files import load_audio
from polysed_keras.datasets.loading import load_clips
from polysed_keras.datasets.tut_urban_acoustic_scenes_2018 import load_clips as load_tut
from polysed_keras.errors import InputError

from clip_fixtures import TUT_TEST, TUT_TRAIN, noise_wav, tut_list, tut_meta, wav_bytes, write_files, write_tut

SCENES = ["airport", "bus", "metro", "metro_station", "park", "public_square", "shopping_mall", "street_pedestrian",
          "street_traffic", "tram"]
TRAIN = ["bus-paris-1-1-a", "bus-paris-1-2-a", "bus-london-2-3-a", "park-paris-3-4-a", "park-vienna-4-5-a"]
TEST = ["bus-london-9-1-a", "park-paris-10-1-a"]
VALIDATE = "evaluation_setup/fold1_validate.txt"


def names_of(dataset):
    return {partition: [clip.name for clip in clips] for partition, clips in dataset.partitions.items()}


def as_the_corpus():
    """Clips of the ten scenes: 150 for training and 10 for test each, of locations of 2 to 9 clips."""
    rng, train, test = np.random.default_rng(0), [], []
    for scene in SCENES:
        for first, partition, number in ((0, train, 150), (1000, test, 10)):
            locations = first + np.repeat(np.arange(number), rng.integers(2, 10, number))[:number]
            partition += [f"{scene}-paris-{location}-{segment}-a" for segment, location in enumerate(locations)]
    return train, test


# What is read

def test_audio_of_24_bits_and_two_channels(tmp_path):
    samples = np.random.default_rng(0).integers(-2 ** 22, 2 ** 22, (48000 * 2, 2))
    samples[:3] = [[2 ** 23 - 1, 2 ** 23 - 1], [-2 ** 23, -2 ** 23], [-1, 0]]
    (tmp_path / "a.wav").write_bytes(content := wav_bytes(samples, 48000, 24))
    data = np.frombuffer(content[44:], np.uint8).reshape(-1, 2, 3).astype(np.int64)
    unsigned = data @ [1, 2 ** 8, 2 ** 16]
    assert ((decoded := np.where(unsigned < 2 ** 23, unsigned, unsigned - 2 ** 24)) == samples).all()
    mono = decoded.mean(axis=1) / 2 ** 23
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav", 48000), mono, rtol=0, atol=1e-6)
    received, expected = load_audio(tmp_path / "a.wav"), soxr.resample(mono, 48000, 44100)
    assert received.dtype == np.float32 and received.shape == expected.shape == (44100 * 2,)
    np.testing.assert_allclose(received, expected, rtol=0, atol=1e-4)


def test_layout(tmp_path):
    write_tut(tmp_path, TRAIN, TEST)
    dataset = load_clips(tmp_path, "tut_urban_acoustic_scenes_2018")["scene"]
    assert dataset.labels == ("bus", "park") and dataset.folder == tmp_path and dataset.missing == ()
    names = names_of(dataset)
    assert sorted(names["train"] + names["validate"]) == sorted(TRAIN) and names["test"] == TEST
    clip = next(clip for clips in dataset.partitions.values() for clip in clips if clip.name == "bus-paris-1-2-a")
    assert clip.audio == tmp_path / "audio" / "bus-paris-1-2-a.wav" and clip.audio.is_file()
    assert clip.labels == ("bus",) and clip.source == "bus-paris-1"


def test_spellings(tmp_path):
    """A byte-order mark, carriage returns, blank lines, other separators in paths, and audio of another format."""
    train = "\ufeffaudio\\bus-paris-1-1-a.wav\tbus\r\n\r\n./audio/bus-london-2-3-a.wav\tbus \r\nbus-x-3-1-a.wav\tbus"
    meta = "\ufeff" + tut_meta(["bus-paris-1-1-a", "bus-london-2-3-a", "bus-x-3-1-a"]).replace("\n", "\r\n")
    audio = ["bus-paris-1-1-a.wav", "bus-x-3-1-a.FLAC", "bus-london-2-3-a.flac", "bus-london-2-3-a.wav",
             "._bus-x-3-1-a.wav"]
    write_files(tmp_path, {TUT_TRAIN: train, TUT_TEST: "", "meta.csv": meta} | {f"audio/{name}": b"" for name in audio})
    clips = sum(load_tut(tmp_path).partitions.values(), ())
    assert {clip.audio.name for clip in clips} == {"bus-paris-1-1-a.wav", "bus-london-2-3-a.wav", "bus-x-3-1-a.FLAC"}


def test_meta_may_be_absent_and_a_line_may_be_there_twice(tmp_path):
    write_tut(tmp_path, TRAIN + TRAIN[:1], TEST)
    (tmp_path / "meta.csv").unlink()
    names = names_of(load_tut(tmp_path))
    assert sorted(names["train"] + names["validate"]) == sorted(TRAIN)


def test_missing_clips_are_listed(tmp_path, caplog):
    write_tut(tmp_path, TRAIN, TEST)
    for name in (TRAIN[1], TEST[0]):
        (tmp_path / "audio" / f"{name}.wav").unlink()
    with caplog.at_level(logging.WARNING):
        dataset = load_tut(tmp_path)
    assert dataset.missing == (TRAIN[1], TEST[0]) and names_of(dataset)["test"] == TEST[1:]
    assert [record.message for record in caplog.records if "not there" in record.message] == [
        f"{tmp_path / 'audio'}: 2 of 7 listed files (28.6 %) are not there and are left out: {TRAIN[1]}, {TEST[0]}"]


# Validation

def test_validation_is_whole_locations_and_a_fifth_of_each_scene(tmp_path):
    train, test = as_the_corpus()
    write_tut(tmp_path, train, test)
    dataset = load_tut(tmp_path)
    assert dataset.labels == tuple(SCENES) and names_of(dataset)["test"] == test
    validate, kept = (dataset.partitions[name] for name in ("validate", "train"))
    assert not {clip.source for clip in validate} & {clip.source for clip in kept}
    assert [clip.name for clip in kept] == [name for name in train if name in {clip.name for clip in kept}]
    assert len(validate) + len(kept) == 1500
    held_out = collections.Counter(clip.labels[0] for clip in validate)
    assert set(held_out) == set(SCENES) and all(0.17 < number / 150 < 0.23 for number in held_out.values())


def test_validation_is_always_the_same(tmp_path):
    train, test = as_the_corpus()
    few = [name for name in train if not name.startswith(("bus", "tram"))]
    write_tut(tmp_path / "all", train, test)
    write_tut(tmp_path / "few", few[::-1], test[:5])
    (tmp_path / "few" / "audio" / f"{few[0]}.wav").unlink()  # what is missing changes nothing for the others
    larger, smaller = (set(names_of(load_tut(tmp_path / name))["validate"]) for name in ("all", "few"))
    assert smaller - {few[0]} == larger & set(few[1:])


@pytest.mark.parametrize("clips, held_out", [([10, 10], 1), ([30, 1], 1), ([1, 1, 1, 1, 1], 1), ([4], 0)])
def test_a_scene_of_few_locations_is_in_both(clips, held_out, tmp_path, caplog):
    train = [f"bus-paris-{location}-{segment}-a" for location, number in enumerate(clips) for segment in range(number)]
    write_tut(tmp_path, train, TEST)
    with caplog.at_level(logging.WARNING):
        partitions = load_tut(tmp_path).partitions
    assert len({clip.source for clip in partitions["validate"]}) == held_out and partitions["train"]
    assert ("Scene bus has one location" in caplog.text) == (not held_out)


def test_own_validation_list(tmp_path):
    write_files(write_tut(tmp_path, TRAIN, TEST), {VALIDATE: tut_list(TRAIN[:2] + TRAIN[4:])})
    assert names_of(load_tut(tmp_path)) == {"train": TRAIN[2:4], "validate": TRAIN[:2] + TRAIN[4:], "test": TEST}


def test_a_location_in_training_and_test_is_told(tmp_path, caplog):
    write_tut(tmp_path, TRAIN, [*TEST, "bus-paris-1-7-a"])
    with caplog.at_level(logging.WARNING):
        load_tut(tmp_path)
    assert "1 locations are in training and in test: bus-paris-1." in caplog.text


# What is wrong with lists

@pytest.mark.parametrize("path, content, message", [
    (TUT_TRAIN, tut_list(TRAIN).replace("\tpark", "\tbus"),
     r"fold1_train.txt, line 4: expected park for park-paris-3-4-a, as \S+meta.csv, line 5 says. Received: bus"),
    (TUT_TRAIN, tut_list(TRAIN) + "audio/bus-rome-1-1-a.wav\tbus\n",
     "fold1_train.txt, line 6: expected clips of .*meta.csv"),
    (TUT_TRAIN, tut_list(TRAIN) + f"audio/{TRAIN[0]}.wav\tpark\n",
     "fold1_train.txt, line 6: expected one scene for bus-"),
    (TUT_TRAIN, "audio/bus-paris-1-1-a.wav bus\n", "fold1_train.txt, line 1: expected audio/NAME.wav, a tab"),
    (TUT_TRAIN, "\n\naudio/bus-paris-1-1-a.wav\t\n", "fold1_train.txt, line 3: expected audio/NAME.wav, a tab"),
    (TUT_TRAIN, "audio/bus-paris-1.wav\tbus\n", "fold1_train.txt, line 1: expected a file named {scene}-{city}"),
    (TUT_TRAIN, b"audio/\xff\xfe\n", "fold1_train.txt: expected UTF-8"),
    (TUT_TEST, tut_list([*TEST, TRAIN[2]]), r"fold1_evaluate.txt, line 3: .*, which \S+fold1_train.txt, line 3 has"),
    (VALIDATE, tut_list([TRAIN[2], TRAIN[0]]), "fold1_validate.txt, line 2: expected all training clips of a location"),
    (VALIDATE, tut_list(TEST), "fold1_validate.txt, line 1: expected a line of fold1_train.txt"),
    (VALIDATE, f"audio/{TRAIN[2]}.wav\tpark\n", "fold1_validate.txt, line 1: expected a line of fold1_train.txt"),
    ("meta.csv", "", "meta.csv, line 1: expected the columns filename, scene_label"),
    ("meta.csv", tut_meta(TRAIN).split("\n", 1)[1], "meta.csv, line 1: expected the columns filename, scene_label"),
    ("meta.csv", tut_meta(TRAIN).replace("\tpark\t", "\t"), "meta.csv, line 5: expected 4 columns"),
    ("meta.csv", tut_meta(TRAIN).replace("\tpark\t", "\t\t"), "meta.csv, line 5: expected 4 columns"),
    ("meta.csv", tut_meta(TRAIN) + f"audio/{TRAIN[0]}.wav\tpark\tparis-1\ta\n", "meta.csv, line 7: expected one scene"),
])
def test_broken_lists_are_named(path, content, message, tmp_path):
    write_files(write_tut(tmp_path, TRAIN, TEST), {path: content})
    with pytest.raises(InputError, match=message) as raised:
        load_tut(tmp_path)
    assert "Received: " in str(raised.value)


@pytest.mark.parametrize("part, message", [
    ("audio", "audio: expected the corpus's recordings. Received: no such folder"),
    (TUT_TRAIN, "fold1_train.txt: expected a list"), (TUT_TEST, "fold1_evaluate.txt: expected a list")])
def test_missing_parts_are_named(part, message, tmp_path):
    write_tut(tmp_path, TRAIN, TEST)
    (tmp_path / part).rename(tmp_path / "away")
    with pytest.raises(InputError, match=message):
        load_tut(tmp_path)
    with pytest.raises(InputError, match="nothing: expected the folder of TUT Urban"):
        load_tut(tmp_path / "nothing")


def test_no_audio_at_all_is_an_error(tmp_path):
    write_tut(tmp_path, TRAIN, TEST)
    for path in (tmp_path / "audio").iterdir():
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(InputError, match="audio: expected audio .*Received: none of 7"):
        load_tut(tmp_path)


def test_the_loader_opens_no_audio(tmp_path):
    write_tut(tmp_path, TRAIN, TEST, audio=noise_wav(0.01)[:20])
    assert load_tut(tmp_path).missing == ()
