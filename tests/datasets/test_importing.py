"""Annotations written by hand as each tool writes them, read and imported; and what is wrong with them."""
import io
import json
import logging
import os
import pathlib
import shutil
import sys

import numpy as np
import pytest
import soundfile

from polysed_keras.datasets.importing.recordings import import_recordings
from polysed_keras.datasets.loading import load_dataset
from polysed_keras.errors import InputError
from polysed_keras.events.event_lists import read_events
from polysed_keras.events.formats.catalogue import ANNOTATION_FORMATS, read_annotations
from polysed_keras.files import read_json

RATE = 8000
RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"

# format: files as the tool writes them, and their events by the audio file's stem, worked out by hand
FIXTURES = {
    "sed_eval": ({"yard.txt": "0.500000\t2.250000\tdog barking\n1.000000\t9.000000\train\n",
                  "street.txt": "onset,offset,event_label\n0.25,1.5,\"car, passing\"\n",
                  "hall.txt": ""},
                 {"yard": [(0.5, 2.25, "dog barking"), (1.0, 9.0, "rain")], "street": [(0.25, 1.5, "car, passing")],
                  "hall": []}),
    # TUT Sound Events: file, scene, onset, offset, label, source, identifier
    "sed_eval list": ({"meta.txt": "audio/home/yard.wav\thome\t0.5\t2.25\tdog barking\tm\ta001\n"
                                   "audio/street/street.wav\tstreet\t0.25\t1.5\tcar\tm\ta002\n"
                                   "audio/home/yard.wav\thome\t3\t4\train\tm\ta001\n"
                                   "audio/home/hall.wav\n"},
                      {"yard": [(0.5, 2.25, "dog barking"), (3.0, 4.0, "rain")], "street": [(0.25, 1.5, "car")],
                       "hall": []}),
    "audacity": ({"yard.txt": "0.500000\t2.250000\tdog barking\n\\\t300.000000\t2969.338523\n"
                              "1.000000\t1.000000\ta point\n3.000000\t4.500000\train\n\\\t-1.000000\t6334.588867\n",
                  "street.labels.txt": "\ufeff0.250000\t1.500000\t\"car\r\n",
                  "hall.txt": "\n"},
                 {"yard": [(0.5, 2.25, "dog barking"), (1.0, 1.0, "a point"), (3.0, 4.5, "rain")],
                  "street": [(0.25, 1.5, "\"car")], "hall": []}),
    "raven": ({"yard.Table.1.selections.txt":
               f"{RAVEN}\tDelta Time (s)\tAnnotation\n"
               "1\tWaveform 1\t1\t0.500000000\t2.250000000\t0.000\t4000.000\t1.7500\tdog barking\n"
               "1\tSpectrogram 1\t1\t0.500000000\t2.250000000\t200.000\t3000.000\t1.7500\tdog barking\n"
               "2\tSpectrogram 1\t1\t3.000000000\t4.500000000\t200.000\t3000.000\t1.5000\train\n",
               "street.wav.Table.1.selections.txt": f"{RAVEN}\tSpecies\n1\tSpectrogram 1\t1\t0.25\t1.5\t0\t900\tcar\n",
               "hall.selections.txt": f"{RAVEN}\tAnnotation\n"},
              {"yard": [(0.5, 2.25, "dog barking"), (3.0, 4.5, "rain")], "street": [(0.25, 1.5, "car")], "hall": []}),
    # the sequence's time runs on over the files: street begins at 10 s of it
    "raven sequence": ({"night.txt": f"{RAVEN}\tBegin File\tFile Offset (s)\tLabel\n"
                                     "1\tSpectrogram 1\t1\t0.5\t2.25\t0\t900\tyard.wav\t0.5\tdog barking\n"
                                     "2\tSpectrogram 1\t1\t10.25\t11.5\t0\t900\tstreet.wav\t0.25\tcar\n"},
                       {"yard": [(0.5, 2.25, "dog barking")], "street": [(0.25, 1.5, "car")]}),
    "urban_sed": ({"train/yard.txt": "0.5\t2.25\tdog_bark\n1.0\t9.0\tsiren\n",
                   "validate/street.txt": "0.25 1.5 car_horn\n", "test/hall.txt": ""},
                  {"yard": [(0.5, 2.25, "dog_bark"), (1.0, 9.0, "siren")], "street": [(0.25, 1.5, "car_horn")],
                   "hall": []}),
    "desed": ({"validation.tsv": "filename\tonset\toffset\tevent_label\n"
                                 "yard.wav\t0.500\t2.250\tDog\nyard.wav\t1.000\t9.000\tFrying\n"
                                 "street.wav\t0.250\t1.500\tSpeech\nhall.wav\t\t\t\n"},
              {"yard": [(0.5, 2.25, "Dog"), (1.0, 9.0, "Frying")], "street": [(0.25, 1.5, "Speech")], "hall": []}),
}


def write_texts(folder, texts):
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return folder


def write_audio(folder, names, seconds=10.0):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(round(seconds * RATE), 0.1), RATE)
    return folder


def events_of(dataset):
    recordings = [recording for partition in dataset.partitions.values() for recording in partition]
    events = {recording.name: read_events(recording.annotation, dataset.labels, 10.0) for recording in recordings}
    return {name: list(frame.itertuples(index=False, name=None)) for name, frame in events.items()}


def small_corpus(tmp_path, text="0\t1\tdog\n", names=("a.wav", "b.wav", "c.wav")):
    audio = write_audio(tmp_path / "audio", names)
    return audio, write_texts(tmp_path / "annotations", {f"{pathlib.Path(name).stem}.txt": text for name in names})


@pytest.mark.parametrize("given", [True, False], ids=["given", "found_out"])
@pytest.mark.parametrize("name", FIXTURES)
def test_fixture_of_each_format_becomes_a_corpus(name, given, tmp_path):
    texts, expected = FIXTURES[name]
    format = name.split()[0]
    audio = write_audio(tmp_path / "audio", ["yard.wav", "street.wav", "hall.wav"])
    report = import_recordings(audio, write_texts(tmp_path / "annotations", texts), tmp_path / "data",
                               format=format if given else None)
    assert report["format"] == format
    points = sum(onset == offset for events in expected.values() for onset, offset, _ in events)
    expected = {stem: [event for event in events if event[0] < event[1]] for stem, events in expected.items()}
    dataset = load_dataset(tmp_path / "data")
    assert events_of(dataset) == expected
    assert dataset.labels == tuple(sorted({label for events in expected.values() for _, _, label in events}))
    assert report["repaired"] == ({"points_left_out": points} if points else {})
    assert len(report["left_out"]["recordings_without_annotation"]) == 3 - len(expected)
    assert read_json(tmp_path / "data" / "import.json") == json.loads(json.dumps(report))


@pytest.mark.parametrize("name", FIXTURES)
def test_a_single_file_is_read_as_the_folder_is(name, tmp_path):
    texts, expected = FIXTURES[name]
    path = write_texts(tmp_path, texts) / next(iter(texts))
    _, annotations = read_annotations(path)
    for annotation in annotations:
        stem = annotation.recording.rpartition("/")[2].removesuffix(".wav").removesuffix(".Table.1.selections")
        assert list(annotation.events) == expected[stem]
    assert len(annotations) == (1 if len(texts) > 1 else len(expected))


@pytest.mark.parametrize("line", ["a.wav\t0.5\t1.5\tspeech, male; far", 'a.wav;0.5;1.5;"speech, male; far"',
                                  'a.wav, 0.5, 1.5, "speech, male; far"'.replace(", ", ",", 3)])
@pytest.mark.parametrize("header", ["", "filename\tonset\toffset\tevent_label\n",
                                    "file\tevent_onset\tevent_offset\tlabel\n"])
def test_separators_and_headers_of_event_lists(line, header, tmp_path):
    mark = line[len("a.wav")]
    path = write_texts(tmp_path, {"list.csv": header.replace("\t", mark) + line + "\n"}) / "list.csv"
    format, (annotation,) = read_annotations(path)
    assert (annotation.recording, annotation.events) == ("a.wav", ((0.5, 1.5, "speech, male; far"),))
    assert format == ("desed" if mark == "\t" and "event_label" in header else "sed_eval")


BROKEN = {
    "no number": ("sed_eval", "0.5\t1.5\tdog\n0.5\tlate\tdog\n", 2, "seconds"),
    "decimal comma": ("sed_eval", "1.5\t2\tdog\n0,5\t1,5\tdog\n", 2, "decimal point"),
    "two columns": ("sed_eval", "0.5\t1.5\tdog\n2\t3\n", 2, "label"),
    "no label at all": ("sed_eval", "0.5\t1.5\n", 1, "label"),
    "too many columns": ("sed_eval", "0.5\t1.5\tdog\n1\t2\tdog\t0.9\n", 2, "3 fields"),
    "eight columns": ("sed_eval", "a\tb\tc\td\te\tf\tg\th\n", 1, "3 fields"),
    "no file name": ("sed_eval", "a.wav\t1\t2\tdog\n\t\t\t\n\t1\t2\tdog\n", 3, "file name"),
    "backwards": ("sed_eval", "a.wav\t1\t2\tdog\n\na.wav\t2\t1\tdog\n", 3, "onset <= offset"),
    "negative": ("audacity", "-1.000000\t2.000000\tdog\n", 1, "0 <= onset"),
    "not a number": ("audacity", "0.000000\tnan\tdog\n", 1, "finite"),
    "no text": ("audacity", "0.0\t1.0\tdog\n1.000000\t2.000000\t\n", 2, "a label"),
    "label of Audacity 1.2": ("audacity", "1.000000\tdog\n", 1, "onset, offset"),
    "frequencies alone": ("audacity", "\\\t100.0\t200.0\n", 1, "Received: \\"),
    "other separator": ("audacity", "0.0 1.0 dog\n", 1, "Received: 0.0 1.0 dog"),
    "no table": ("raven", "0.5\t1.5\tdog\n", 1, "Begin Time (s)"),
    "no label column": ("raven", f"{RAVEN}\n1\tSpectrogram 1\t1\t0\t1\t0\t900\n", 1, "species"),
    "empty label": ("raven", f"{RAVEN}\tAnnotation\n1\tSpectrogram 1\t1\t0\t1\t0\t900\t\n", 2, "a label"),
    "row too long": ("raven", f"{RAVEN}\tAnnotation\n1\tSpectrogram 1\t1\t0\t1\t0\t900\tdog\tx\n", 2, "8 fields"),
    "broken time": ("raven", f"{RAVEN}\tAnnotation\n1\tWaveform 1\t1\t0\t1:200\t0\t900\tdog\n", 2, "1:200"),
    "broken offset": ("raven", f"{RAVEN}\tBegin File\tFile Offset (s)\tLabel\n"
                               "1\tWaveform 1\t1\t0\t1\t0\t900\ta.wav\t\tdog\n", 2, "seconds"),
    "four fields": ("urban_sed", "0.5 1.5 dog bark\n", 1, "dog, bark"),
    "header": ("urban_sed", "start\tend\tlabel\n", 1, "start"),
    "weak labels": ("desed", "filename\tevent_labels\na.wav\tDog,Speech\n", 1, "strong labels"),
    "unlabelled": ("desed", "filename\na.wav\n", 1, "strong labels"),
    "no header": ("desed", "a.wav\t0\t1\tDog\n", 1, "header"),
    "header without file names": ("desed", "onset\toffset\tevent_label\n0\t1\tDog\n", 1, "header"),
    "half a row": ("desed", "filename\tonset\toffset\tevent_label\na.wav\t0.5\t\tDog\n", 2, "0.5"),
    "no label": ("desed", "filename\tonset\toffset\tevent_label\na.wav\t0.5\t1.0\t\n", 2, "a label"),
}


@pytest.mark.parametrize("format, text, line, message", BROKEN.values(), ids=BROKEN)
def test_broken_file_is_named_with_its_line_and_nothing_is_left(format, text, line, message, tmp_path):
    audio = write_audio(tmp_path / "audio", ["a.wav"])
    path = write_texts(tmp_path / "annotations", {"train/a.txt": text}) / "train" / "a.txt"
    with pytest.raises(InputError) as error:
        import_recordings(audio, tmp_path / "annotations", tmp_path / "data", format=format)
    assert str(error.value).startswith(f"{path}, line {line}: ")
    assert message in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annotations", "audio"]


def test_text_that_is_not_utf_8(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("0\t1\tv\u00f6gel\n".encode("latin-1"))
    with pytest.raises(InputError, match="a.txt, line 1: expected text in UTF-8.*--encoding"):
        read_annotations(path)


def test_weak_list_is_told_without_a_format_too(tmp_path):
    write_texts(tmp_path, {"weak.tsv": BROKEN["weak labels"][1]})
    with pytest.raises(InputError, match="strong labels"):
        read_annotations(tmp_path)


def test_raven_table_of_several_files_needs_their_offsets(tmp_path):
    write_texts(tmp_path, {"night.txt": f"{RAVEN}\tBegin File\tLabel\n1\tWaveform 1\t1\t0\t1\t0\t900\ta.wav\tdog\n"
                                        "2\tWaveform 1\t1\t9\t10\t0\t900\tb.wav\tdog\n"})
    with pytest.raises(InputError, match=r"night.txt.*File Offset \(s\)"):
        read_annotations(tmp_path)


@pytest.mark.parametrize("texts, named", [
    ({"a.txt": "a remark\n"}, "a.txt, line 1: expected onset"), ({"a.txt": "remark\n"}, "a.txt, line 1"),
    ({"a.txt": "", "b.txt": "\n"}, "empty"),
    ({"a.txt": f"{RAVEN}\tLabel\n", "b.txt": "0\t1\tdog\n"}, "raven"),
    ({"train/a.txt": "0\t1\tdog\n", "b.txt": "0\t1\tdog\n"}, "urban_sed"),
])
def test_format_that_cannot_be_told_names_all_formats(texts, named, tmp_path):
    with pytest.raises(InputError) as error:
        read_annotations(write_texts(tmp_path, texts))
    assert named in str(error.value) and all(name in str(error.value) for name in ANNOTATION_FORMATS)


def test_format_found_out_is_said(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        import_recordings(*small_corpus(tmp_path), tmp_path / "data")
    assert "sed_eval, found out" in caplog.text


@pytest.mark.parametrize("arguments, message", [
    ({"format": "jams"}, "one of .*raven.*sed_eval"), ({"seed": -1}, "seed"),
    ({"labels": ["dog", "dog"]}, "different labels"), ({"labels": []}, "labels"),
    ({"labels": ["cat"]}, "unknown labels: dog"),
])
def test_wrong_arguments(arguments, message, tmp_path):
    with pytest.raises(InputError, match=message):
        import_recordings(*small_corpus(tmp_path), tmp_path / "data", **arguments)
    assert not (tmp_path / "data").exists()


def test_sed_eval_lists_are_read_as_dcase_util_reads_them(tmp_path):
    containers = pytest.importorskip("dcase_util.containers")
    text = FIXTURES["sed_eval list"][0]["meta.txt"].replace("audio/home/hall.wav\n", "")
    path = write_texts(tmp_path, {"meta.txt": text}) / "meta.txt"
    other = {}
    for item in containers.MetaDataContainer(filename=str(path)).load():
        other.setdefault(item.filename, []).append((item.onset, item.offset, item.event_label))
    assert {annotation.recording: list(annotation.events) for annotation in read_annotations(path)[1]} == other


def test_desed_lists_are_read_as_sed_scores_eval_reads_them(tmp_path):
    other = pytest.importorskip("sed_scores_eval.base_modules.io")
    texts, _ = FIXTURES["desed"]
    path = write_texts(tmp_path, {"list.tsv": texts["validation.tsv"].replace("hall.wav\t\t\t\n", "")}) / "list.tsv"
    events = {annotation.recording.removesuffix(".wav"): [tuple(event) for event in annotation.events]
              for annotation in read_annotations(path)[1]}
    expected = other.read_ground_truth_events(path)
    assert events == {name: [tuple(event) for event in rows] for name, rows in expected.items()}


@pytest.mark.parametrize("audio, annotation", [
    ("a.wav", "a.txt"), ("a.wav", "a.wav.txt"), ("a.flac", "a_labels.txt"), ("a.wav", "a-annotations.TSV"),
    ("a.WAV", "a.Table.1.selections.txt"), ("a.wav", "a.wav.selection.table.txt"), ("a_labels.wav", "a_labels.txt"),
    ("x-mix-7.wav", "x-annot-7.txt"), ("Yab_30.000_40.000.ogg", "Yab_30.000_40.000.csv"),
    ("night 1.wav", "night 1.ann"), ("a.wav", "a.BirdNET.results.csv"), ("a.wav", "a.BirdNET.selection.table.txt"),
    ("u\u0308.wav", "\u00fc.txt"), ("\u00fc.wav", "u\u0308.txt"), ("a.wav", "0a1b2c3d-a.txt"),
    ("Yb0RFKhbpFJA_30.000_40.000.wav", "b0RFKhbpFJA_30000.txt"), ("b0RFKhbpFJA_30.flac", "b0RFKhbpFJA_30000.txt"),
    ("Yb0RFKhb-FJA.wav", "b0RFKhb-FJA_0.txt"),
])
def test_annotation_finds_its_recording(audio, annotation, tmp_path):
    write_audio(tmp_path / "audio", [f"deep/er/{audio}", "b.wav"])
    write_texts(tmp_path / "annotations", {annotation: "0\t1\tdog\n", "b.txt": ""})
    import_recordings(tmp_path / "audio", tmp_path / "annotations", tmp_path / "data")
    assert events_of(load_dataset(tmp_path / "data")) == {pathlib.Path(audio).stem: [(0.0, 1.0, "dog")], "b": []}
    assert (tmp_path / "data" / "audio" / audio).is_file()


def test_what_has_no_counterpart_is_left_out_and_told_in_few_lines(tmp_path, caplog):
    audio, annotations = small_corpus(tmp_path, names=("a.wav", "b.wav", "c.wav", "empty.wav"))
    write_texts(annotations, {"empty.txt": "", "README.md": "", "readme.txt": "Read\nme", ".hidden.txt": "x",
                              **{f"lost{index}.txt": "0\t1\tdog\n" for index in range(40)}})
    write_audio(audio, [f"gap{index}.wav" for index in range(50)] + [".trash/a.wav"], seconds=0.01)
    with caplog.at_level(logging.INFO):
        report = import_recordings(audio, annotations, tmp_path / "data")
    left_out = report["left_out"]
    assert len(left_out["recordings_without_annotation"]) == 50 and len(left_out["annotations_without_recording"]) == 40
    assert "50 recordings without annotation" in caplog.text and "40 annotations without recording" in caplog.text
    assert len(caplog.records) < 6
    assert sorted(report["sources"]) == ["a", "b", "c", "empty"] == sorted(events_of(load_dataset(tmp_path / "data")))


def test_overlaps_ends_points_and_unknown_labels(tmp_path, caplog):
    audio = write_audio(tmp_path / "audio", ["a.wav", "b.wav"])
    write_texts(tmp_path / "annotations", {
        "a.txt": "1\t3\tdog\n2\t4\tdog\n2.5\t2.7\tdog\n4\t5\tdog\n"  # overlap, inside, touch: one event of 1-5
                 "6\t7\tdog\n6.5\t8\train\n"  # other labels may overlap
                 "9\t12.5\train\n10\t11\tdog\n3e2\t4e2\train\n"  # cut at 10; two begin at or beyond the end
                 "5\t5\tdog\n5.0000001\t5.0000004\tdog\n"  # points, the second in a file's six decimals
                 "0\t1\tcat\n0\t1\tcat\n1\t2\tcow\n10\t11\tcow\n",
        "b.txt": "9.9999999\t10\tdog\n0\t10.0000004\train\n"})
    with caplog.at_level(logging.INFO):
        report = import_recordings(audio, tmp_path / "annotations", tmp_path / "data", labels=["rain", "dog"])
    assert load_dataset(tmp_path / "data").labels == ("rain", "dog")  # in the order asked for
    caplog_text = caplog.text
    caplog.clear()
    assert events_of(load_dataset(tmp_path / "data")) == {
        "a": [(1.0, 5.0, "dog"), (6.0, 7.0, "dog"), (6.5, 8.0, "rain"), (9.0, 10.0, "rain")],
        "b": [(0.0, 10.0, "rain")]}
    assert not caplog.records  # nothing is left for the loader to repair
    assert report["left_out"]["unknown_labels"] == {"cat": 2, "cow": 2}
    assert report["repaired"] == {"merged_overlaps": 3, "clipped_at_end": 1, "beyond_end_left_out": 2,
                                  "points_left_out": 3}
    assert report["repaired_recordings"]["b"] == {"points_left_out": 1}
    for words in ("cat (2), cow (2)", "3 merged overlaps", "1 clipped at end", "2 beyond end left out", "2 recordings"):
        assert words in caplog_text


@pytest.mark.parametrize("number, sizes", [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (4, (2, 1, 1)),
                                           (10, (6, 2, 2)), (23, (13, 5, 5))])
def test_random_partition(number, sizes, tmp_path):
    audio, annotations = small_corpus(tmp_path, names=[f"{index}.wav" for index in range(number)])

    def stems(out, seed):
        import_recordings(audio, annotations, tmp_path / out, seed=seed)
        return {name: [recording.name for recording in recordings]
                for name, recordings in load_dataset(tmp_path / out).partitions.items()}
    first = stems("first", 0)
    assert tuple(map(len, first.values())) == sizes
    assert first == stems("again", 0)
    assert number < 10 or first != stems("other", 1)


def test_urban_sed_is_divided_by_its_folders_and_shared_names_are_told_apart(tmp_path):
    names = ["train/a.wav", "test/a.wav", "validate/b.wav"]
    audio = write_audio(tmp_path / "audio", names)
    write_texts(tmp_path / "annotations", {name.replace(".wav", ".txt"): f"0\t{number}\tdog\n"
                                           for number, name in enumerate(names, start=1)})
    import_recordings(audio, tmp_path / "annotations", tmp_path / "data")
    dataset = load_dataset(tmp_path / "data")
    assert {name: [recording.name for recording in recordings] for name, recordings in dataset.partitions.items()} == {
        "train": ["train_a"], "test": ["test_a"], "validate": ["b"]}
    assert events_of(dataset) == {"train_a": [(0.0, 1.0, "dog")], "test_a": [(0.0, 2.0, "dog")],
                                  "b": [(0.0, 3.0, "dog")]}


def test_urban_sed_outside_of_its_folders(tmp_path):
    audio, annotations = small_corpus(tmp_path)
    with pytest.raises(InputError, match="expected a folder train, validate, test"):
        import_recordings(audio, annotations, tmp_path / "data", format="urban_sed")


@pytest.mark.parametrize("text", ["a.wav\ttrain\nb.wav\ttest\n",
                                  "filename,partition\r\nsub/a.wav,train\r\n\r\nb,test\r\n"])
def test_partition_file(text, tmp_path, caplog):
    write_audio(tmp_path / "audio", ["sub/a.wav", "b.wav", "c.wav", "gap.wav"])
    annotations = write_texts(tmp_path / "annotations", {f"{name}.txt": "0\t1\tdog\n" for name in "abc"})
    file = write_texts(tmp_path, {"partition.txt": text + "gap.wav\tvalidate\n"}) / "partition.txt"
    report = import_recordings(tmp_path / "audio", annotations, tmp_path / "data", partition=file)
    dataset = load_dataset(tmp_path / "data")
    assert {name: [recording.name for recording in recordings] for name, recordings in dataset.partitions.items()} == {
        "train": ["a"], "validate": [], "test": ["b"]}
    assert report["left_out"]["recordings_not_in_partition_file"] == ["c"]
    assert "1 recordings not in partition file: c" in caplog.text
    assert "validate partition has no event of dog" in caplog.text


@pytest.mark.parametrize("text, line, message", [
    ("a.wav\ttrain\nd.wav\ttest\n", 2, "d.wav"), ("a.wav\tdev\n", 1, "train, validate, test"),
    ("a.wav\n", 1, "tab or comma"), ("a.wav\ttrain\n\nb.wav\ttrain\na\ttest\n", 4, "train already"),
])
def test_wrong_partition_file(text, line, message, tmp_path):
    file = write_texts(tmp_path, {"partition.txt": text}) / "partition.txt"
    with pytest.raises(InputError) as error:
        import_recordings(*small_corpus(tmp_path), tmp_path / "data", partition=file)
    assert str(error.value).startswith(f"{file}, line {line}: ") and message in str(error.value)


@pytest.mark.parametrize("names", [("x/a.wav", "y/a.wav"), ("a.wav", "a.flac")])
def test_two_recordings_of_one_stem_are_both_named(names, tmp_path):
    audio = write_audio(tmp_path / "audio", names)
    with pytest.raises(InputError) as error:
        import_recordings(audio, write_texts(tmp_path / "annotations", {"a.txt": "0\t1\tdog\n"}), tmp_path / "data")
    assert all(str(audio / name) in str(error.value) for name in names)


def test_names_with_folders_that_would_become_one_file(tmp_path):
    audio = write_audio(tmp_path / "audio", ["x/a.wav", "y/a.wav"])
    text = "filename\tonset\toffset\tevent_label\nx/a.wav\t0\t1\tdog\ny/a.wav\t0\t1\tdog\n"
    with pytest.raises(InputError, match="x/a.wav and .*y/a.wav: expected different stems"):
        import_recordings(audio, write_texts(tmp_path / "annotations", {"list.tsv": text}), tmp_path / "data")


def test_recording_with_two_annotations(tmp_path):
    audio, annotations = small_corpus(tmp_path)
    write_texts(annotations, {"a_labels.txt": "0\t1\tdog\n"})
    with pytest.raises(InputError, match="a_labels.txt: .*a.wav is annotated in .*a.txt too"):
        import_recordings(audio, annotations, tmp_path / "data")


@pytest.mark.parametrize("content", [b"", b"RIFF no audio", None], ids=["empty", "no_audio", "no_samples"])
def test_unreadable_audio_is_named_and_nothing_is_written(content, tmp_path):
    audio, annotations = small_corpus(tmp_path)
    for name in ("a.wav", "c.wav"):
        if content is None:
            write_audio(audio, [name], seconds=0)
        else:
            (audio / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        import_recordings(audio, annotations, tmp_path / "data")
    assert all(str(audio / name) in str(error.value) for name in ("a.wav", "c.wav"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annotations", "audio"]


@pytest.mark.parametrize("broken", ["audio", "annotations", "names"])
def test_nothing_to_import(broken, tmp_path):
    audio, annotations = small_corpus(tmp_path)
    shutil.rmtree(audio if broken != "annotations" else annotations)
    if broken == "names":
        write_audio(audio, ["other.wav"])
    with pytest.raises(InputError, match=str(tmp_path / "audio") if broken == "audio" else "annotations"):
        import_recordings(audio, annotations, tmp_path / "data")


def test_existing_folder_is_not_touched(tmp_path):
    arguments = (*small_corpus(tmp_path), tmp_path / "data")
    import_recordings(*arguments)
    before = {path: path.stat().st_mtime_ns for path in sorted((tmp_path / "data").rglob("*"))}
    with pytest.raises(InputError, match="data: exists already"):
        import_recordings(*arguments)
    assert {path: path.stat().st_mtime_ns for path in sorted((tmp_path / "data").rglob("*"))} == before


# As people's tools write them, of a.wav, b.wav and c.wav of 10 s, and what has to be in the corpus.
CASES = {
    "birdnet": ({f"{name}.BirdNET.results.csv": "Start (s),End (s),Scientific name,Common name,Confidence,File\n"
                 f"0.0,3.0,Canis lupus,Dog,0.9,/r/{name}.wav\n9.0,12.0,Canis lupus,Dog,0.9,/r/{name}.wav\n"
                 for name in "abc"}, [(0.0, 3.0, "Dog"), (9.0, 10.0, "Dog")]),
    "decimal commas": ({f"{name}.txt": "0,5\t1,25\tdog\n" for name in "abc"}, [(0.5, 1.25, "dog")]),
    "quotes": ({f"{name}.txt": f"1\t2\t{label}\n" for name, label in zip("abc", ('"dog"', "dog", '"dog"'))},
               [(1.0, 2.0, "dog")]),
    "one table": ({"all.csv": "filename,start,end,label\na.wav,1,2,dog\nb.wav,1,2,dog\nc.wav,1,2,dog\n"},
                  [(1.0, 2.0, "dog")]),
    "textgrid": ({f"{name}.TextGrid": 'File type = "ooTextFile"\n"TextGrid"\n0\n10\n<exists>\n1\n"IntervalTier"\n'
                  '"x"\n0\n10\n3\n0\n1\n""\n1\n2\n"dog"\n2\n10\n""\n' for name in "abc"}, [(1.0, 2.0, "dog")]),
    "label_studio": ({"export.json": json.dumps([
        {"data": {"audio": f"/data/upload/1/0a1b2c3d-{name}.wav"}, "annotations": [{"result": [
            {"type": "labels", "value": {"start": 1, "end": 2, "labels": ["dog"]}}]}]} for name in "abc"])},
        [(1.0, 2.0, "dog")]),
}


@pytest.mark.parametrize("texts, events", CASES.values(), ids=CASES)
def test_annotations_of_other_tools_become_a_corpus(texts, events, tmp_path):
    audio = write_audio(tmp_path / "audio", ["a.wav", "b.wav", "c.wav"])
    report = import_recordings(audio, write_texts(tmp_path / "annotations", texts), tmp_path / "data")
    assert events_of(load_dataset(tmp_path / "data")) == dict.fromkeys("abc", events)
    assert load_dataset(tmp_path / "data").labels == (events[0][2],)
    assert not report["left_out"]["recordings_without_annotation"]


def test_labels_are_asked_for_in_any_form_of_unicode(tmp_path):
    audio, annotations = small_corpus(tmp_path, "0\t1\tHu\u0308ndin\n")
    import_recordings(audio, annotations, tmp_path / "data", labels=["H\u00fcndin"])
    assert events_of(load_dataset(tmp_path / "data")) == dict.fromkeys("abc", [(0.0, 1.0, "H\u00fcndin")])


def test_a_column_and_an_encoding_may_be_given(tmp_path):
    audio = write_audio(tmp_path / "audio", ["a.wav"])
    text = f"{RAVEN}\tAnnotation\tCall\n1\tWaveform 1\t1\t0\t1\t0\t900\tdog\tHei\u00df\n".encode("cp1252")
    write_texts(tmp_path / "annotations", {"a.txt": ""})
    (tmp_path / "annotations" / "a.txt").write_bytes(text)
    import_recordings(audio, tmp_path / "annotations", tmp_path / "data", label_column="Call", encoding="cp1252")
    assert events_of(load_dataset(tmp_path / "data")) == {"a": [(0.0, 1.0, "Hei\u00df")]}


@pytest.mark.parametrize("links", [True, False])
def test_audio_is_the_same_to_the_byte_linked_or_copied(links, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    if not links:
        def refuse(*arguments):
            raise OSError(18, "Invalid cross-device link")
        monkeypatch.setattr(os, "link", refuse)
    audio, annotations = small_corpus(tmp_path, names=("a.wav", "b.flac", "c.ogg"))
    report = import_recordings(audio, annotations, tmp_path / "data", progress=True)
    for path in audio.iterdir():
        copy = tmp_path / "data" / "audio" / path.name
        assert copy.read_bytes() == path.read_bytes() and copy.samefile(path) == links
    assert "recordings: " in (shown := capsys.readouterr().err) and "3/3" in shown
    counts = [part["labels"]["dog"] for part in report["partitions"].values()]
    assert counts == 3 * [{"events": 1, "active_seconds": 1.0}]


def test_annotations_beside_the_audio(tmp_path):
    write_texts(write_audio(tmp_path / "both", ["a.wav"]), {"a.txt": "0\t1\tdog\n"})
    import_recordings(tmp_path / "both", tmp_path / "both", tmp_path / "both" / "data")
    assert events_of(load_dataset(tmp_path / "both" / "data")) == {"a": [(0.0, 1.0, "dog")]}


@pytest.mark.parametrize("name", [os.fsdecode(b"caf\xe9"), "tab\there", "two\nlines"])
def test_names_that_file_lists_cannot_hold_are_refused_before_anything_is_written(name, tmp_path):
    for folder in ("audio", "labels"):
        (tmp_path / folder).mkdir()
    for stem in ("b", "c", name):
        soundfile.write(os.fsencode(tmp_path / "audio" / f"{stem}.wav"), np.zeros(RATE), RATE)
        (tmp_path / "labels" / f"{stem}.txt").write_text("0.1\t0.2\tdog\n")
    with pytest.raises(InputError, match="expected a name that is a line of text in UTF-8.*Rename it"):
        import_recordings(tmp_path / "audio", tmp_path / "labels", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_length_of_joined_and_unfinished_recordings_is_that_of_their_samples(tmp_path):
    """Events behind what libsndfile reads stay where they are."""
    for folder in ("audio", "labels"):
        (tmp_path / folder).mkdir()
    for stem, format in (("a", "OGG"), ("b", "FLAC"), ("c", "WAV")):
        buffer = io.BytesIO()
        soundfile.write(buffer, np.random.default_rng(0).uniform(-0.5, 0.5, 2 * RATE), RATE, format=format)
        content = bytearray(buffer.getvalue())
        if format == "FLAC":  # the number of samples in STREAMINFO
            content[21:26] = [content[21] & 0xF0, 0, 0, 0, 0]
        if format == "WAV":
            place = content.index(b"data") + 4
            content[place:place + 4] = bytes(4)
        (tmp_path / "audio" / f"{stem}.{format.lower()}").write_bytes(content * (2 if format == "OGG" else 1))
        (tmp_path / "labels" / f"{stem}.txt").write_text(f"1.5\t{9 if format == 'WAV' else 2}\tdog\n"
                                                         + "3\t3.5\tdog\n" * (format == "OGG"))
    report = import_recordings(tmp_path / "audio", tmp_path / "labels", tmp_path / "out")
    assert report["repaired"] == {"clipped_at_end": 1}
    read = {stem: read_events(tmp_path / "out" / "meta" / f"{stem}.txt").offset.tolist() for stem in "abc"}
    assert read == {"a": [2.0, 3.5], "b": [2.0], "c": [2.0]}
