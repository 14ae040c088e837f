"""URBAN-SED, DESED, MAESTRO Real and ESC-50: stand-ins of each layout, and what is wrong with them."""
import logging
import pathlib
import re

import pytest

from polysed_keras.datasets import desed, esc50, maestro_real, urban_sed
from polysed_keras.datasets.checking import check_corpus, format_check
from polysed_keras.datasets.loading import CLIP_CORPORA, CORPORA, content_digest, load_clips, load_dataset
from polysed_keras.errors import InputError
from polysed_keras.specs import load_plugin

from clip_fixtures import noise_wav, write_files

TENTH = noise_wav(0.1, 44100)
HEADER = "filename\tonset\toffset\tevent_label\n"
SYNTHETIC, STRONG = "metadata/train/synthetic21_train/soundscapes.tsv", "metadata/train/audioset_strong.tsv"
VALIDATION, PUBLIC = "metadata/validation/validation.tsv", "metadata/eval/public.tsv"
ESC50 = "filename,fold,target,category,esc10,src_file,take\n"


def make_urban_sed(folder, audio=TENTH):
    names = {"train/soundscape_train_bimodal0": "1.0\t2.5\tsiren\n2.0\t10.000000000000002\tdog_bark\n",
             "train/soundscape_train_uniform1736": "1.265813\t1.6759810000000002\tgun_shot\n",
             "validate/soundscape_validate_bimodal3": "0\t1\tdrilling\n",
             "test/soundscape_test_bimodal3": "0\t1\tsiren\n"}
    return write_files(folder, {f"audio/{name}.wav": audio for name in names} | {
        f"annotations/{name}.txt": text for name, text in names.items()} | {
        f"annotations/{name}.jams": "{}" for name in names})


def make_desed(folder, tables=()):
    """Two synthetic clips, three strong ones of which one is of validation and one has no audio, two of validation."""
    clip, other, third = "Y00pbt6aJV8Y_350.000_360.000", "Y-0X1juZHG6I_30.000_40.000", "Y1_10.000_20.000"
    return write_files(folder, {
        SYNTHETIC: HEADER + "16.wav\t0.5\t1.5\tDog\n16.wav\t1.25\t2.0\tDog\n16.wav\t1\t3\tCat\n17.wav\t\t\t\n",
        STRONG: HEADER + f"{third}.wav\t0\t10\tFrying\n{clip}.wav\t0\t10\tSpeech\nYgone_0_10.wav\t0\t1\tCat\n",
        VALIDATION: HEADER + f"{clip}.wav\t0.000\t9.971\tVacuum_cleaner\n{other}.wav\t2.585\t10.000\tRunning_water\n",
        PUBLIC: HEADER + "1Ro0FgMWTUE_120_130.wav\t0\t1\tBlender\n"} | dict(tables) | {
        f"audio/{name}.wav": TENTH for name in (
            "train/synthetic21_train/soundscapes/16", "train/synthetic21_train/soundscapes/17",
            f"train/strong_label_real/{clip}", f"train/strong_label_real/{third}", f"validation/validation/{clip}",
            f"validation/validation/{other}", "eval/public/1Ro0FgMWTUE_120_130")})


def make_maestro(folder, lines="0.0\t1.0\tpeople talking\t0.51\n"):
    files = {}
    for scene, number in (("cafe_restaurant", "00"), ("cafe_restaurant", "08"), ("grocery_store", "04")):
        files[f"development_audio/{scene}/{scene}_{number}.wav"] = TENTH
        files[f"development_annotation/soft_labels_{scene}/{scene}_{number}.txt"] = lines
    return write_files(folder, files)


def make_esc50(folder, rows="1-100032-A-0.wav,1,0,dog,True,100032,A\n4-1-A-1.wav,4,1,rooster,False,1,A\n"
               "5-2-A-0.wav,5,0,dog,True,2,A\n5-2-B-0.wav,5,0,dog,True,2,B\n"):
    return write_files(folder, {"meta/esc50.csv": ESC50 + rows} | {
        f"audio/{row.split(',')[0]}": noise_wav(5, 44100) for row in rows.splitlines()})


MAKERS = {"urban_sed": make_urban_sed, "desed": make_desed, "maestro_real": make_maestro}


def names_of(dataset):
    return {name: [item.name for item in items] for name, items in dataset.partitions.items()}


def events_of(recording, labels):
    return recording.read_events(labels).values.tolist()


def test_urban_sed(tmp_path):
    dataset = load_dataset(make_urban_sed(tmp_path), "urban_sed")
    assert names_of(dataset) == {
        "train": ["soundscape_train_bimodal0", "soundscape_train_uniform1736"],
        "validate": ["soundscape_validate_bimodal3"], "test": ["soundscape_test_bimodal3"]}
    assert len(dataset.labels) == 10 and dataset.labels == tuple(sorted(dataset.labels))
    first = dataset.partitions["train"][0]
    assert events_of(first, dataset.labels) == [[1.0, 2.5, "siren"], [2.0, 10.000000000000002, "dog_bark"]]
    assert first.audio == tmp_path / "audio/train/soundscape_train_bimodal0.wav"


def test_desed(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = load_dataset(make_desed(tmp_path), "desed")
    assert names_of(dataset) == {
        "train": ["synthetic21_train-16", "synthetic21_train-17", "Y1_10.000_20.000"],
        "validate": ["Y00pbt6aJV8Y_350.000_360.000", "Y-0X1juZHG6I_30.000_40.000"],
        "test": ["1Ro0FgMWTUE_120_130"]}
    assert dataset.missing == ("Ygone_0_10",) and "1 recordings that are listed for training" in caplog.text
    first, second = dataset.partitions["train"][:2]
    # Dogs that overlap are one; clips whose row is empty have no events.
    assert events_of(first, dataset.labels) == [[0.5, 2.0, "Dog"], [1.0, 3.0, "Cat"]]
    assert events_of(second, dataset.labels) == []
    assert first.audio == tmp_path / "audio/train/synthetic21_train/soundscapes/16.wav"
    with pytest.raises(InputError, match=r"soundscapes\.tsv, synthetic21_train-16: unknown label 'Dog'"):
        first.read_events(["Cat"])


def test_desed_in_other_places(tmp_path):
    """The synthetic part in dcase_synth/, and validation's audio in the folder around."""
    make_desed(tmp_path)
    (tmp_path / "dcase_synth" / "metadata").mkdir(parents=True)
    (tmp_path / "dcase_synth" / "audio").mkdir()
    for kind in ("metadata", "audio"):
        (tmp_path / kind / "train").rename(tmp_path / "dcase_synth" / kind / "train")
    for path in (tmp_path / "audio/validation/validation").iterdir():
        path.rename(path.parent.parent / path.name)
    (tmp_path / "audio/validation/validation").rmdir()
    assert {name: len(part) for name, part in load_dataset(tmp_path, "desed").partitions.items()} == {
        "train": 3, "validate": 2, "test": 1}


def test_a_table_of_many_recordings_is_read_once(tmp_path, monkeypatch):
    read, number = [], 200
    rows = "".join(f"{index}.wav\t{second}\t{second + 1}.5\tDog\n" for index in range(number) for second in (0, 4))
    write_files(tmp_path, {SYNTHETIC: HEADER + rows} | {
        f"audio/train/synthetic21_train/soundscapes/{index}.wav": b"" for index in range(number)})
    reader = desed.read_annotations
    monkeypatch.setattr(desed, "read_annotations", lambda *arguments: read.append(arguments) or reader(*arguments))
    dataset = load_dataset(tmp_path, "desed")
    recordings = dataset.partitions["train"]
    assert len(recordings) == number and sum(len(each.read_events()) for each in recordings) == 2 * number
    assert content_digest(dataset) and len(read) == 1


def test_the_digest_is_of_each_event(tmp_path):
    digests = set()
    for name, rows in (("a", "16.wav\t0\t1\tDog\n"), ("b", "16.wav\t0\t1.1\tDog\n"), ("c", "16.wav\t0\t1\tCat\n")):
        dataset = load_dataset(make_desed(tmp_path / name, {SYNTHETIC: HEADER + rows}), "desed")
        digests.add(content_digest(dataset))
    assert len(digests) == 3
    assert content_digest(load_dataset(make_desed(tmp_path / "d", {SYNTHETIC: HEADER + rows}), "desed")) in digests


def test_maestro(tmp_path):
    """Shares above 0.5 are events; seconds that touch are one event; half is none; a rare label is none."""
    lines = "".join(f"{second}.0\t{second + 1}.0\t{label}\t{share}\n" for second, label, share in (
        (0, "people talking", 0.9), (1, "people talking", 0.50001), (2, "people talking", 0.5),
        (3, "people talking", 1), (0, "cutlery and dishes", 0.22607917138849756), (1, "coffee machine", 0.9),
        (1, "wind_blowing", 1.0000001)))
    dataset = load_dataset(make_maestro(tmp_path, lines), "maestro_real")
    assert names_of(dataset) == {"train": ["cafe_restaurant_00"], "validate": ["cafe_restaurant_08"],
                                 "test": ["grocery_store_04"]}
    assert events_of(dataset.partitions["test"][0], dataset.labels) == [
        [0.0, 2.0, "people talking"], [1.0, 2.0, "wind_blowing"], [3.0, 4.0, "people talking"]]
    assert len(dataset.labels) == 11 and len(dataset.missing) == 46


def test_folds_of_maestro():
    """The dataset has 49 recordings, the baseline's first fold 26, 12 and 11 of them."""
    parts = list(zip(*maestro_real.FOLD.values()))
    assert [sum(len(numbers.split()) for numbers in part) for part in parts] == [26, 12, 11]
    scenes = [" ".join(part).split() for part in maestro_real.FOLD.values()]
    assert [len(numbers) for numbers in scenes] == [len(set(numbers)) for numbers in scenes] == [10, 10, 9, 9, 11]


def test_esc50(tmp_path):
    dataset = load_clips(make_esc50(tmp_path), "esc50")["scene"]
    assert names_of(dataset) == {"train": ["1-100032-A-0"], "validate": ["4-1-A-1"], "test": ["5-2-A-0", "5-2-B-0"]}
    assert dataset.labels == ("dog", "rooster")
    clip = dataset.partitions["test"][1]
    assert (clip.labels, clip.source, clip.seconds) == (("dog",), "2", 5.0)


def test_two_corpora_of_one_task_are_refused(tmp_path):
    with pytest.raises(InputError, match="corpora of different tasks.*tut_urban_acoustic_scenes_2018.esc50"):
        load_clips(tmp_path, "tut_urban_acoustic_scenes_2018+esc50")


def test_check_of_urban_sed(tmp_path):
    """One of ten seconds, one of another rate, one short, one that is missing; an event beyond the end."""
    make_urban_sed(tmp_path, noise_wav(10, 44100))
    write_files(tmp_path / "audio", {"validate/soundscape_validate_bimodal3.wav": noise_wav(10, 16000),
                                     "test/soundscape_test_bimodal3.wav": noise_wav(9.8, 44100)})
    write_files(tmp_path / "annotations/train", {"soundscape_train_uniform1736.txt": "1\t10.5\tsiren\n",
                                                 "soundscape_train_bimodal9.txt": "1\t2\tsiren\n"})
    report = check_corpus("urban_sed", tmp_path)
    assert report["missing"] == ["soundscape_train_bimodal9"] and report["clips"] == 5 and not report["ok"]
    assert report["other_rate"] == {"soundscape_validate_bimodal3": 16000}
    assert set(report["short"]) == {"soundscape_test_bimodal3", "soundscape_train_uniform1736"}
    assert "expected a recording of the corpus, 10 s. Received: 9.8 s" in report["short"]["soundscape_test_bimodal3"]
    assert "the end of the last event, 10.5 s" in report["short"]["soundscape_train_uniform1736"]
    assert "missing              1   20.0%  soundscape_train_bimodal9" in format_check(report)


def test_check_of_the_others(tmp_path):
    report = check_corpus("esc50", make_esc50(tmp_path / "esc50"))
    assert report["ok"] and not report["other_rate"] and report["labels"]["test"] == {"dog": 2, "rooster": 0}
    report = check_corpus("desed", make_desed(tmp_path / "desed"))
    assert report["missing"] == ["Ygone_0_10"] and len(report["short"]) == 5  # of six with 0.1 s, one has no events
    report = check_corpus("maestro_real", make_maestro(tmp_path / "maestro", "0\t0.1\tcar\t1\n"))
    assert len(report["missing"]) == 46 and not report["short"]


def remove(*parts):
    return lambda folder: [path.unlink() for path in folder.rglob(parts[0]) if path.is_file()]


def write(name, text):
    return lambda folder: write_files(folder, {name: text})


MAESTRO_FILE = "development_annotation/soft_labels_grocery_store/grocery_store_04.txt"


@pytest.mark.parametrize("corpus, damage, message", [
    ("urban_sed", remove("*.txt"), "annotations: expected annotations"),
    ("urban_sed", remove("*.wav"), "audio: expected audio .*none of 4"),
    ("urban_sed", lambda folder: (folder / "annotations").rename(folder / "other"), "annotations: .*no such folder"),
    ("desed", remove("*.tsv"), "expected one or more of metadata/train/synthetic"),
    ("desed", write(VALIDATION, "file\tfrom\nx\t1\n"), r"validation\.tsv, line 1: expected"),
    ("desed", write(VALIDATION, HEADER + "Y.wav\t0\tone\tCat\n"), r"validation\.tsv, line 2: expected"),
    ("desed", write(PUBLIC, HEADER + "Y.wav\t0\t1\tPiano\n"), r"public\.tsv, Y\.wav: expected labels of DESED.*Piano"),
    ("desed", remove("*.wav"), "audio: expected audio .*none of"),
    ("maestro_real", remove("*.txt"), "none of 49"),
    ("maestro_real", write(MAESTRO_FILE, "0\t1\tcar\n"), r"grocery_store_04\.txt, line 1: expected onset.*share"),
    ("maestro_real", write(MAESTRO_FILE, "0\tinf\tcar\t1\n"), "line 1: expected onset"),
    ("maestro_real", write(MAESTRO_FILE, "0\t1\tcar\t1\n0\t1\tpiano\t0.1\n"), "line 2: expected one of .*piano"),
])
def test_damage_is_named_in_one_line(tmp_path, corpus, damage, message):
    damage(MAKERS[corpus](tmp_path))
    with pytest.raises(InputError, match=message) as error:
        load_dataset(tmp_path, corpus)
    assert "\n" not in str(error.value)


def test_an_unknown_label_of_urban_sed_is_named(tmp_path):
    write_files(make_urban_sed(tmp_path), {"annotations/test/soundscape_test_bimodal3.txt": "0\t1\tcat\n"})
    with pytest.raises(InputError, match=r"bimodal3\.txt, line 1: unknown label 'cat'"):
        check_corpus("urban_sed", tmp_path)


@pytest.mark.parametrize("text, message", [
    (None, r"esc50\.csv: expected a list"), ("filename,fold,category\na.wav,1,dog\n", "line 1: .*src_file"),
    (ESC50, "Received: none"), (ESC50 + "a.wav,6,0,dog,True,1,A\n", "line 2: expected a fold"),
    (ESC50 + "a.wav,1,0,,True,1,A\n", "line 2: expected a row"), (ESC50 + "a.wav,1\n", "line 2: expected a row"),
    (ESC50 + 2 * "a.wav,1,0,dog,True,1,A\n", "line 3: expected each clip once"),
    (ESC50 + "a.wav,1,0,dog,True,1,A\n", "none of 1")])
def test_a_broken_table_of_esc50_is_named(tmp_path, text, message):
    make_esc50(tmp_path)
    (tmp_path / esc50.TABLE).unlink() if text is None else write_files(tmp_path, {"meta/esc50.csv": text})
    with pytest.raises(InputError, match=message):
        load_clips(tmp_path, "esc50")


@pytest.mark.parametrize("corpus", [name for name in (*CORPORA, *CLIP_CORPORA) if name != "tut_sed_synthetic_2016"])
def test_a_missing_folder_is_named(tmp_path, corpus):
    with pytest.raises(InputError, match="nothing: .*no such folder"):
        check_corpus(corpus, tmp_path / "nothing")


def test_the_guides_corpus_of_ones_own(tmp_path):
    """The example of docs/guides/real-corpora.md, run as it stands there."""
    guide = (pathlib.Path(__file__).parents[2] / "docs" / "guides" / "real-corpora.md").read_text()
    code, = re.findall(r"^```python\n(.*?)^```", guide, re.M | re.S)
    (tmp_path / "plugin.py").write_text(code)
    load_plugin(tmp_path / "plugin.py")
    tables = {"train": "a.wav\t0\t0.05\tdog\na.wav\t0.05\t0.1\tcat\n", "validate": "b.wav\t\t\t\n",
              "test": "c.wav\t0\t0.1\tdog\ngone.wav\t0\t1\tdog\n"}
    write_files(tmp_path, {f"{name}.tsv": HEADER + rows for name, rows in tables.items()} | {
        f"audio/{name}.wav": TENTH for name in "abc"})
    dataset = load_dataset(tmp_path, "my_corpus")
    assert names_of(dataset) == {"train": ["a"], "validate": ["b"], "test": ["c"]} and dataset.missing == ("gone",)
    assert events_of(dataset.partitions["train"][0], dataset.labels) == [[0, 0.05, "dog"], [0.05, 0.1, "cat"]]
    report = check_corpus("my_corpus", tmp_path)
    assert report["missing"] == ["gone"] and report["labels"]["test"] == {"cat": 0, "dog": 1}


def test_labels_are_each_once():
    assert all(len(set(module.LABELS)) == len(module.LABELS) == number
               for module, number in ((urban_sed, 10), (desed, 10), (maestro_real, 11)))
