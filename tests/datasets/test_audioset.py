"""AudioSet's loader: the real lists, every usual name of a clip, our validation split, and what is wrong with lists."""
import binascii
import collections
import csv
import logging
import os
import pathlib
import re
import shutil
import time

import pytest

from polysed_keras.datasets import audioset
from polysed_keras.datasets.audioset import read_class_labels, read_ontology
from polysed_keras.datasets.loading import load_clips
from polysed_keras.errors import InputError

from clip_fixtures import CLASS_LABELS, SEGMENTS, write_audioset, write_files

SPEECH, MAN, SINGING = "Speech", "Male speech, man speaking", "Male singing"
DASHES, UNDERSCORE = "--PJHxphWEs", "02z_7DUC_74"  # real ids


@pytest.fixture(scope="session")
def real():
    """Folder of AudioSet's own lists, below the folder that POLYSED_TEST_DATA names."""
    folder = pathlib.Path(os.environ.get("POLYSED_TEST_DATA", ""), "audioset")
    if not (os.environ.get("POLYSED_TEST_DATA") and folder.is_dir()):
        pytest.skip("POLYSED_TEST_DATA names no folder that holds audioset/, AudioSet's own lists")
    return folder


@pytest.fixture(scope="module")
def real_corpus(real, tmp_path_factory):
    """The real balanced list with a file, of no bytes, for every segment."""
    folder = tmp_path_factory.mktemp("audioset")
    for path in real.glob("*.csv"):
        shutil.copy(path, folder)
    for number in range(30):
        (folder / "audio" / f"{number:02}").mkdir(parents=True)
    for number, row in enumerate(real_rows(real)):
        os.close(os.open(f"{folder}/audio/{number % 30:02}/Y{row[0]}.flac", os.O_CREAT))
    return folder


def real_rows(folder):
    """(id, start, end, mids) of the balanced list, by the csv module."""
    with open(folder / "balanced_train_segments.csv", newline="") as lines:
        rows = list(csv.reader(lines, skipinitialspace=True))[3:]
    return [(video, float(start), float(end), mids.split(",")) for video, start, end, mids in rows]


def names_of(dataset):
    return {partition: [clip.name for clip in clips] for partition, clips in dataset.partitions.items()}


def load(folder):
    return load_clips(folder, "audioset")["events"]


def line(video, start=30, mids="/m/09x0r", end=None):
    return f'{video}, {start:.3f}, {start + 10 if end is None else end:.3f}, "{mids}"\n'


# The real lists

def test_real_class_labels(real):
    labels = read_class_labels(real / "class_labels_indices.csv")
    assert len(labels) == len(set(labels.values())) == 527
    assert list(labels.items())[:2] == [("/m/09x0r", SPEECH), ("/m/05zppz", MAN)]
    with open(real / "class_labels_indices.csv", newline="") as lines:
        assert list(labels.items()) == [(row["mid"], row["display_name"]) for row in csv.DictReader(lines)]


def test_real_balanced_list(real, real_corpus):
    dataset, rows = load(real_corpus), real_rows(real)
    head = (real / "balanced_train_segments.csv").read_text().splitlines()[1]
    stated = {name: int(number) for name, number in re.findall(r"(num_\w+)=(\d+)", head)}
    train, validate, test = (dataset.partitions[name] for name in ("train", "validate", "test"))
    clips = train + validate
    assert dataset.missing == () and test == () and len(dataset.labels) == 527
    assert len(clips) == stated["num_segs"] == 22160
    assert sum(len(clip.labels) for clip in clips) == stated["num_positive_labels"] == 52882
    assert len({label for clip in clips for label in clip.labels}) == stated["num_unique_labels"] == 527
    assert 0.09 < len(validate) / len(clips) < 0.11
    names = read_class_labels(real / "class_labels_indices.csv")
    assert {clip.source: set(clip.labels) for clip in clips} == {
        video: {names[mid] for mid in mids} for video, _, _, mids in rows}
    assert all(clip.audio.name == f"Y{clip.source}.flac" for clip in clips)
    assert {clip.name: clip.seconds for clip in clips} == {
        f"{video}_{start:g}": end - start for video, start, end, _ in rows}


def test_real_list_with_a_part_of_the_audio(real_corpus, tmp_path, caplog):
    for path in real_corpus.glob("*.csv"):
        shutil.copy(path, tmp_path)
    (tmp_path / "audio" / "videos").mkdir(parents=True)
    for folder in (real_corpus / "audio").iterdir():
        if folder.name not in ("03", "07"):  # two of 30: 6.7 %
            (tmp_path / "audio" / "videos" / folder.name).symlink_to(folder)
    with caplog.at_level(logging.WARNING):
        dataset = load(tmp_path)
    whole = load(real_corpus)
    gone = {clip.name for clips in whole.partitions.values() for clip in clips
            if clip.audio.parent.name in ("03", "07")}
    assert set(dataset.missing) == gone and len(gone) == 2 * 739
    for partition, clips in dataset.partitions.items():  # the others stay where they were
        assert [clip.name for clip in clips] == [clip.name for clip in whole.partitions[partition]
                                                 if clip.name not in gone]
    lines = [record.message for record in caplog.records]
    assert len(lines) == 1 and "1478 of 22160 listed files (6.7 %) are not there" in lines[0]


def test_real_ontology(real):
    ontology = read_ontology(real / "ontology.json")
    assert len(ontology) == 632 and set(read_class_labels(real / "class_labels_indices.csv")) <= set(ontology)
    assert all(child in ontology for node in ontology.values() for child in node["child_ids"])
    assert ontology["/m/09x0r"]["name"] == "Speech"


# Names of clips

@pytest.mark.parametrize("video", [DASHES, UNDERSCORE, "Y_a-b_c-d_9", "02z_7DUC_30"])
@pytest.mark.parametrize("start, name", [
    (30, "Y{}.wav"), (30, "{}.wav"), (30, "{}.flac"), (30, "{}.mp3"), (30, "{}.ogg"), (30, "{}.m4a"), (30, "{}.WAV"),
    (30, "{}_30.wav"), (30, "{}_30.0.wav"), (30, "{}_30.000.wav"), (30, "{}_30000.wav"), (30, "Y{}_30.wav"),
    (0, "{}_0.wav"), (0, "{}_0.000.flac"), (7.25, "{}_7.25.wav"), (7.25, "{}_7250.wav"), (30, "a/b.c/{}_30.wav")])
def test_usual_names(video, start, name, tmp_path):
    write_audioset(tmp_path, {"eval": line(video, start)}, {name.format(video): b""})
    clip, = load(tmp_path).partitions["test"]
    assert clip == audioset.Clip(f"{video}_{start:g}", tmp_path / "audio" / name.format(video), (SPEECH,), video)


@pytest.mark.parametrize("name", ["{}_31.wav", "{}_30.txt", "Z{}.wav", "{}.wav.part", "{}_.wav", "._{}.wav"])
def test_other_names_are_not_taken(name, tmp_path):
    others = line("other")
    write_audioset(tmp_path, {"eval": others + line(DASHES)}, {"other.wav": b"", name.format(DASHES): b""})
    assert load(tmp_path).missing == (f"{DASHES}_30",)


def test_of_several_files_the_readable_one_is_taken(tmp_path):
    names = [f"{DASHES}.m4a", f"z/{DASHES}.wav", f"a/{DASHES}.mp3", f"{UNDERSCORE}.wav", f"Y{UNDERSCORE}_30.wav"]
    write_audioset(tmp_path, {"eval": line(DASHES) + line(UNDERSCORE)}, dict.fromkeys(names, b""))
    first, second = load(tmp_path).partitions["test"]
    assert first.audio.name == f"{DASHES}.wav" and second.audio.name == f"Y{UNDERSCORE}_30.wav"


def test_segments_of_one_video(tmp_path):
    """A file without a start could be of either of them; they stay in one partition."""
    videos = [f"video{number:06}" for number in range(100)]
    lines = "".join(line(video, 0) + line(video, 40, "/t/dd00003") for video in videos)
    write_audioset(tmp_path, {"balanced_train": lines},
                   {f"{video}_{start}.wav": b"" for video in videos for start in (0, 40)} | {f"{videos[0]}.wav": b""})
    (tmp_path / "audio" / f"{videos[0]}_40.wav").unlink()
    dataset = load(tmp_path)
    train, validate = dataset.partitions["train"], dataset.partitions["validate"]
    assert dataset.missing == (f"{videos[0]}_40",) and validate
    assert not {clip.source for clip in train} & {clip.source for clip in validate}
    assert all(clip.labels == ((SPEECH,) if clip.audio.stem.endswith("_0") else (SINGING,))
               for clip in train + validate)


# Lists

def test_spellings(tmp_path):
    """A byte-order mark, carriage returns, blank lines, no quotes, no spaces, a header instead of comments."""
    rows = "\ufeffYTID,start_seconds,end_seconds,positive_labels\r\n" \
           f'{DASHES},30,40,"/m/09x0r,/m/05zppz"\r\n\r\n{UNDERSCORE}, 0.5, 4,/t/dd00003'
    write_files(tmp_path, {"eval_segments.csv": rows, f"audio/{DASHES}.wav": b"", f"audio/{UNDERSCORE}.wav": b"",
                           "class_labels_indices.csv": "\ufeff" + CLASS_LABELS.replace("\n", "\r\n") + "\r\n"})
    dataset = load(tmp_path)
    assert [(clip.name, clip.labels) for clip in dataset.partitions["test"]] == [
        (f"{DASHES}_30", (SPEECH, MAN)), (f"{UNDERSCORE}_0.5", (SINGING,))]
    assert dataset.labels == (SPEECH, MAN, SINGING)
    assert {clip.name: clip.seconds for clip in dataset.partitions["test"]} == {
        f"{DASHES}_30": 10, f"{UNDERSCORE}_0.5": 3.5}


def test_labels_are_in_the_order_of_the_index(tmp_path):
    head, *rows = CLASS_LABELS.splitlines(keepends=True)
    (tmp_path / "labels.csv").write_text(head + "".join(rows[::-1]))
    assert list(read_class_labels(tmp_path / "labels.csv").items()) == [
        ("/m/09x0r", SPEECH), ("/m/05zppz", MAN), ("/t/dd00003", SINGING)]


def test_a_segment_in_both_training_lists_counts_once(tmp_path):
    write_audioset(tmp_path, {"balanced_train": line("a") + line("a"), "unbalanced_train": line("a") + line("b"),
                              "eval": line("c")}, {"a.wav": b"", "b.wav": b"", "c.wav": b""})
    names = names_of(load(tmp_path))
    assert sorted(names["train"] + names["validate"]) == ["a_30", "b_30"] and names["test"] == ["c_30"]


def test_own_validation_list(tmp_path):
    videos = [f"video{number:06}" for number in range(60)]
    write_audioset(tmp_path, {"balanced_train": "".join(map(line, videos[:50])),
                              "validate": "".join(map(line, videos[40:]))}, {f"{video}.wav": b"" for video in videos})
    names = names_of(load(tmp_path))  # ten of them are in the training list too
    assert names == {"train": [f"{video}_30" for video in videos[:40]],
                     "validate": [f"{video}_30" for video in videos[40:]], "test": []}


def test_validation_does_not_depend_on_the_rest_of_the_list(tmp_path):
    videos = [f"v{number}" for number in range(2000)]
    for name, part in (("all", videos), ("some", videos[::-3])):
        write_audioset(tmp_path / name, {"balanced_train": "".join(map(line, part))},
                       {f"{video}.wav": b"" for video in part})
    larger, smaller = (set(names_of(load(tmp_path / name))["validate"]) for name in ("all", "some"))
    assert smaller == larger & {f"{video}_30" for video in videos[::-3]}
    # as the first version held them out: another hash would put videos that were trained on into validation
    assert larger == {f"{video}_30" for video in videos if binascii.crc32(video.encode()) % 10 == 0}


LINE = len(SEGMENTS.splitlines())


@pytest.mark.parametrize("lists, message", [
    ({"eval": line("a") + line("b", mids="/m/09x0r,/m/nothing")},
     f"eval_segments.csv, line {LINE + 2}: expected mids of class_labels_indices.csv. Received: '/m/nothing'"),
    ({"eval": line("a", mids="")}, f"eval_segments.csv, line {LINE + 1}: expected mids"),
    ({"eval": "a, 30.000, 40.000\n"}, f"line {LINE + 1}: expected YTID, start, end"),
    ({"eval": line("a") + "\nb, thirty, 40, /m/09x0r\n"}, f"line {LINE + 3}: expected YTID, start, end"),
    ({"eval": line("a", 30, end=30)}, "expected YTID, start, end"),
    ({"eval": "a, -1.0, 9.0, /m/09x0r\n"}, "expected YTID, start, end"),
    ({"eval": "a, nan, 9.0, /m/09x0r\n"}, "expected YTID, start, end"),
    ({"eval": "a, 0, inf, /m/09x0r\n"}, "expected YTID, start, end"),
    ({"eval": ", 0, 10, /m/09x0r\n"}, "expected YTID, start, end"),
    ({"balanced_train": line("a"), "unbalanced_train": line("b") + line("a", mids="/m/05zppz")},
     f"unbalanced_train_segments.csv, line {LINE + 2}: expected what an earlier line says"),
    ({"balanced_train": line("b") + line("a", 70), "eval": line("a")},
     f"balanced_train_segments.csv, line {LINE + 2}: expected videos for the train partition .* which is in test too"),
    ({"validate": line("a"), "eval": line("a")}, "eval_segments.csv, .*which is in validate too"),
    ({"validate": line("a"), "balanced_train": line("a") + line("a", 60)},
     f"balanced_train_segments.csv, line {LINE + 2}: .*which is in validate too"),
])
def test_broken_lists_are_named(lists, message, tmp_path):
    write_audioset(tmp_path, lists, {"a.wav": b"", "b.wav": b""})
    with pytest.raises(InputError, match=message) as raised:
        load(tmp_path)
    assert "Received: " in str(raised.value)


@pytest.mark.parametrize("content, message", [
    (None, "expected a list"), ("", "expected index,mid"),
    ("mid,display_name\n", "line 1: expected index,mid,display_name"),
    (CLASS_LABELS + "3,/m/x\n", "line 5: expected index,mid"),
    (CLASS_LABELS + "three,/m/x,X\n", "line 5: expected index,mid"),
    (CLASS_LABELS + "3,/m/x,Speech\n", "line 5: expected each index, mid and name once"),
    (CLASS_LABELS + "3,/m/09x0r,X\n", "line 5: expected each index, mid and name once"),
    (CLASS_LABELS + "2,/m/x,X\n", "line 5: expected each index, mid and name once")])
def test_broken_class_labels_are_named(content, message, tmp_path):
    path = tmp_path / "class_labels_indices.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=f"class_labels_indices.csv.*{message}"):
        read_class_labels(path)


@pytest.mark.parametrize("content", ["[1, 2]", "{}x", '{"id": "a"}', '[{"name": "a"}]'])
def test_broken_ontology_is_named(content, tmp_path):
    (tmp_path / "ontology.json").write_text(content)
    with pytest.raises(InputError, match="ontology.json: .*expected"):
        read_ontology(tmp_path / "ontology.json")


@pytest.mark.parametrize("parts, message", [
    (["audio"], "audio: expected the segments' recordings"),
    (["class_labels_indices.csv"], "labels_indices.csv: expected a"),
    (["eval_segments.csv"], "expected one or more of balanced_train_segments.csv, unbalanced_train"),
    (["audio/b.wav", "audio/a.wav"], "audio: expected audio .*Received: none of 2")])
def test_missing_parts_are_named(parts, message, tmp_path):
    write_audioset(tmp_path, {"eval": line("a") + line("b")}, {"a.wav": b"", "b.wav": b""})
    for number, part in enumerate(parts):
        (tmp_path / part).rename(tmp_path / f"away{number}")
    with pytest.raises(InputError, match=message):
        load(tmp_path)
    with pytest.raises(InputError, match="nothing: expected AudioSet's folder"):
        load(tmp_path / "nothing")


# Speed

def test_a_hundred_thousand_segments_are_one_walk_and_seconds(tmp_path, monkeypatch):
    videos = [f"{number:011}" for number in range(100_000)]
    write_audioset(tmp_path, {"unbalanced_train": "".join(map(line, videos))}, {f"{videos[0]}.wav": b""})
    files = [f"Y{video}.wav" for video in videos[:90_000]]
    walks = collections.Counter()

    def walk(folder, **_):
        walks[folder] += 1
        yield str(folder), [], files

    monkeypatch.setattr(audioset.os, "walk", walk)
    begin = time.process_time()
    dataset = load(tmp_path)
    assert time.process_time() - begin < 15  # quadratic work would be minutes
    assert walks == {tmp_path / "audio": 1} and len(dataset.missing) == 10_000
    assert sum(map(len, dataset.partitions.values())) == 90_000
