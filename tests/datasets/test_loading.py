"""The loader of TUT-SED Synthetic 2016's layout: the original, one's own recordings, and what is wrong with them."""
import logging

import pytest

from polysed_keras.datasets.loading import Clip, ClipDataset, content_digest, load_dataset
from polysed_keras.errors import InputError
from polysed_keras.events.event_lists import read_events

MIX, ANNOT = "TUT-SED-synthetic-2016-mix-{}", "TUT-SED-synthetic-2016-annot-{}"


def make_corpus(folder, names, setup=None, labels=None):
    """`names`: audio file name -> (annotation file name, text). The loader opens no audio, so the files are empty."""
    for part in ("audio", "meta"):
        (folder / part).mkdir(parents=True)
    for audio, (annotation, text) in names.items():
        (folder / "audio" / audio).touch()
        (folder / "meta" / annotation).write_bytes(text.encode())
    if setup is not None:
        (folder / "evaluation_setup").mkdir()
        for name, text in setup.items():
            (folder / "evaluation_setup" / f"{name}.txt").write_bytes(text.encode())
    if labels is not None:
        (folder / "labels.txt").write_bytes(labels.encode())
    return folder


def original(numbers):
    return {f"{MIX.format(i)}.wav": (f"{ANNOT.format(i)}.txt", "0.5\t1.5\train\n2 3 bus\n") for i in numbers}


OWN = {"park 1.flac": ("park 1.txt", "0\t1\tbird\n"), "b.wav": ("b.txt", "0\t1\tdog\n"), "c.d.ogg": ("c.d.txt", "")}


def names_of(dataset):
    return {name: [recording.name for recording in recordings] for name, recordings in dataset.partitions.items()}


def test_original_without_setup_has_the_original_partitions(tmp_path):
    dataset = load_dataset(make_corpus(tmp_path, original(range(100))))
    assert names_of(dataset) == {"train": [MIX.format(i) for i in range(40, 100)],
                                 "validate": [MIX.format(i) for i in range(20, 40)],
                                 "test": [MIX.format(i) for i in range(20)]}
    assert dataset.labels == ("bus", "rain")
    first = dataset.partitions["test"][0]
    assert first.annotation == tmp_path / "meta" / f"{ANNOT.format(0)}.txt" and first.audio.is_file()
    assert read_events(first.annotation, dataset.labels).values.tolist() == [[0.5, 1.5, "rain"], [2.0, 3.0, "bus"]]


def test_part_of_the_original_may_be_there(tmp_path):
    assert names_of(load_dataset(make_corpus(tmp_path, original([3, 70])))) == {
        "train": [MIX.format(70)], "validate": [], "test": [MIX.format(3)]}


def test_a_digest_is_of_what_is_annotated_wherever_it_is(tmp_path):
    digest = content_digest(load_dataset(make_corpus(tmp_path / "a", original(range(100)))))
    assert digest == content_digest(load_dataset(make_corpus(tmp_path / "b", original(range(100)))))
    other_annotation = original(range(100)) | {
        f"{MIX.format(3)}.wav": (f"{ANNOT.format(3)}.txt", "0.5\t1.4\train\n2 3 bus\n")}
    other_partition = {"train": f"audio/{MIX.format(3)}.wav\n", "test": f"audio/{MIX.format(70)}.wav\n"}
    others = [make_corpus(tmp_path / "c", other_annotation), make_corpus(tmp_path / "d", original(range(99))),
              make_corpus(tmp_path / "e", original(range(100)), labels="rain\nbus\n"),
              make_corpus(tmp_path / "f", original(range(100)), other_partition)]
    assert len({digest, *(content_digest(load_dataset(folder)) for folder in others)}) == 5


def test_a_digest_of_clips_is_of_their_labels(tmp_path):
    def clips(partition, name, *labels):
        return ClipDataset(tmp_path, ("a", "b"), {partition: (Clip(name, tmp_path / name, labels),)})

    different = [clips("train", "1", "a"), clips("test", "1", "a"), clips("train", "2", "a"),
                 clips("train", "1", "a", "b")]
    assert len({content_digest(each) for each in different}) == 4
    assert content_digest(different[0]) == content_digest(clips("train", "1", "a"))
    assert content_digest(*different[:2]) != content_digest(different[0])


def test_a_digest_is_of_the_audio_in_its_second_part_alone(tmp_path):
    def digest(folder, **sounds):
        return content_digest(load_dataset(folder), sounds=sounds)

    folder = make_corpus(tmp_path / "a", original(range(100)))
    lists, audio = digest(folder).split("-")
    assert lists == "2cacd68a7632"  # what versions before this second part noted, which runs of theirs are known by
    audio_file = folder / "audio" / f"{MIX.format(70)}.wav"
    audio_file.write_bytes(b"sound")
    assert digest(folder).split("-")[0] == lists and digest(folder).split("-")[1] != audio
    (tmp_path / "bark.wav").write_bytes(b"bark")
    with_sound = digest(folder, bark=tmp_path / "bark.wav")
    (tmp_path / "bark.wav").write_bytes(b"woof")
    found = {digest(folder), with_sound, digest(folder, bark=tmp_path / "bark.wav"),
             digest(folder, woof=tmp_path / "bark.wav")}
    assert len(found) == 4 and {each.split("-")[0] for each in found} == {lists}
    audio_file.write_bytes(b"")
    assert digest(folder) == f"{lists}-{audio}"


def test_setup_wins_over_the_original_partitions(tmp_path):
    setup = {"train": f"audio/{MIX.format(3)}.wav\n", "test": f"audio/{MIX.format(70)}.wav\n"}
    dataset = load_dataset(make_corpus(tmp_path, original([3, 70]), setup))
    assert names_of(dataset) == {"train": [MIX.format(3)], "validate": [], "test": [MIX.format(70)]}


def test_own_recordings_by_any_spelling(tmp_path):
    setup = {"train": "\ufeffaudio/park 1.flac\tscene\t0.0\r\n\r\n", "test": "b\nb.wav extra\n",
             "validate": "./audio/c.d.ogg"}
    dataset = load_dataset(make_corpus(tmp_path, OWN, setup, labels="\ufeffdog\r\nbird\r\n\r\n"))
    assert names_of(dataset) == {"train": ["park 1"], "validate": ["c.d"], "test": ["b"]}
    assert dataset.labels == ("dog", "bird")  # labels.txt keeps its order
    assert read_events(dataset.partitions["validate"][0].annotation, dataset.labels).empty


def test_recordings_in_no_partition_are_told(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        load_dataset(make_corpus(tmp_path, OWN, {"train": "b.wav"}))
    assert "2 of 3 recordings" in caplog.text


def test_stray_files_in_audio_are_ignored(tmp_path, caplog):
    make_corpus(tmp_path, {"b.wav": OWN["b.wav"]}, {"train": "b.wav"})
    for name in ("README.md", ".DS_Store", "._b.wav"):
        (tmp_path / "audio" / name).touch()
    assert names_of(load_dataset(tmp_path))["train"] == ["b"] and not caplog.records


@pytest.mark.parametrize("setup, labels, message", [
    (None, None, "Write evaluation_setup/train.txt"),
    ({"train": "b.wav\nmissing.wav\n"}, None, r"train\.txt: names 'missing\.wav'"),
    ({"train": "b.flac\n"}, None, "names 'b.flac'"),
    ({"train": "b.wav\n", "test": "audio/b.wav\n"}, None, "b is in train.txt and in test.txt"),
    ({"train": "b.wav\n"}, "dog\ndog\n", "labels.txt: a label stands there twice"),
    ({"train": "c.d\n"}, None, "no labels"),
])
def test_broken_setup_is_named(tmp_path, setup, labels, message):
    with pytest.raises(InputError, match=message):
        load_dataset(make_corpus(tmp_path, OWN, setup, labels))


def test_mixture_beyond_the_originals_needs_a_setup(tmp_path):
    with pytest.raises(InputError, match="mix-100.wav is not one of the original 100"):
        load_dataset(make_corpus(tmp_path, original([100])))


@pytest.mark.parametrize("damage, message", [
    (lambda folder: (folder / "meta" / "b.txt").unlink(), r"b\.wav: has no annotation. Expected .*meta/b\.txt"),
    (lambda folder: (folder / "audio" / "b.flac").touch(), r"b\.wav: b\.flac has the same stem"),
    (lambda folder: (folder / "labels.txt").write_bytes(b"\xff\xfe"), r"labels\.txt: expected UTF-8"),
    (lambda folder: [path.unlink() for path in (folder / "audio").iterdir()], "audio: expected recordings"),
])
def test_damage_is_named(tmp_path, damage, message):
    make_corpus(tmp_path, OWN, {"train": "b.wav"}, "dog\n")
    damage(tmp_path)
    with pytest.raises(InputError, match=message):
        load_dataset(tmp_path)


@pytest.mark.parametrize("parts, missing", [([], "audio"), (["audio"], "meta"), (["meta"], "audio")])
def test_missing_folders_are_named(tmp_path, parts, missing):
    for part in parts:
        (tmp_path / part).mkdir()
    with pytest.raises(InputError, match=f"{missing}: no such folder"):
        load_dataset(tmp_path)
    with pytest.raises(InputError, match="nothing-here: no such folder"):
        load_dataset(str(tmp_path / "nothing-here"))


def test_unknown_corpus_and_unknown_label(tmp_path):
    with pytest.raises(InputError, match="expected one of tut_sed_synthetic_2016"):
        load_dataset(tmp_path, corpus="dcase")
    dataset = load_dataset(make_corpus(tmp_path, OWN, {"train": "b.wav"}, "cat\n"))
    with pytest.raises(InputError, match=r"b\.txt.*dog"):
        read_events(dataset.partitions["train"][0].annotation, dataset.labels)
