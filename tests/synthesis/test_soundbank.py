"""Reading soundbanks and the partition invariants."""
import collections
import csv
import logging

import numpy as np
import pytest
import soundfile

from polysed_keras.audio import is_audio
from polysed_keras.errors import InputError
from polysed_keras.synthesis.soundbank import partition_soundbank, read_soundbank, recording_reader


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def make_esc50(folder, rows):
    """`rows`: (filename, fold, category, src_file)."""
    touch(folder, *(f"audio/{row[0]}" for row in rows))
    (folder / "meta").mkdir(exist_ok=True)
    with open(folder / "meta" / "esc50.csv", "w", newline="") as file:
        csv.writer(file).writerows([("filename", "fold", "target", "category", "esc10", "src_file", "take")]
                                   + [(name, fold, 0, label, True, source, "A") for name, fold, label, source in rows])
    return folder


def esc50_rows(folds, labels=("dog", "rain")):
    return [(f"{fold}-{100 * fold + 10 * number + i}-A-{i}.wav", fold, label, 100 * fold + 10 * number + i)
            for fold in folds for i, label in enumerate(labels) for number in range(2)]


def home_of(partitions, key):
    homes = collections.defaultdict(set)
    for name, bank in partitions.items():
        for instance in bank.instances:
            homes[key(instance)].add(name)
    return homes


def test_label_folders_and_takes(tmp_path):
    touch(tmp_path, "rain/1.wav", "rain/2.FLAC", "dog/rex/a.ogg", "dog/rex/deep/b.mp3", "dog/rex.wav")
    bank = read_soundbank(tmp_path)
    assert bank.labels == ("dog", "rain")
    assert [(instance.path.relative_to(tmp_path).as_posix(), instance.event_label, instance.source)
            for instance in bank.instances] == [
        ("dog/rex/a.ogg", "dog", "dog/rex"), ("dog/rex/deep/b.mp3", "dog", "dog/rex"),
        ("dog/rex.wav", "dog", "dog/rex.wav"),
        ("rain/1.wav", "rain", "rain/1.wav"), ("rain/2.FLAC", "rain", "rain/2.FLAC")]


def test_stray_files_are_ignored_with_one_line(tmp_path, caplog):
    touch(tmp_path, "rain/1.wav", "rain/README.md", "rain/.DS_Store", "rain/._1.wav", "LICENSE", ".git/config",
          "rain/.old/2.wav")
    with caplog.at_level(logging.INFO):
        bank = read_soundbank(tmp_path)
    assert [instance.path.name for instance in bank.instances] == ["1.wav"] and bank.labels == ("rain",)
    assert len(caplog.records) == 1 and "6 files" in caplog.text and "1 .md" in caplog.text


@pytest.mark.parametrize("names, message", [
    ([], "no label folders"), (["1.wav"], "no label folders"),
    (["rain/1.wav", "dog/notes.txt"], "dog: no recording"), (["rain/1.wav", "dog/.1.wav"], "dog: no recording")])
def test_folder_without_recordings_is_named(tmp_path, names, message):
    with pytest.raises(InputError, match=message):
        read_soundbank(touch(tmp_path, *names))


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="nothing: no such folder"):
        read_soundbank(tmp_path / "nothing")


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3", "aiff", "au", "caf", "w64", "voc"])
def test_what_soundfile_writes_is_audio(tmp_path, extension):
    path = tmp_path / f"a.{extension}"
    soundfile.write(path, np.zeros(100), 8000, format=extension.upper())
    assert is_audio(path) and not is_audio(path.with_suffix(".txt"))


@pytest.mark.parametrize("seed", range(30))
def test_partition_invariants_of_random_banks(tmp_path, seed):
    rng = np.random.default_rng(seed)
    for label in range(rng.integers(1, 6)):
        for source in range(rng.integers(1, 12)):
            takes = rng.integers(1, 4)
            name = f"l{label}/s{source}"
            touch(tmp_path, *([f"{name}/{take}.wav" for take in range(takes)] if takes > 1 else [f"{name}.wav"]))
    bank = read_soundbank(tmp_path)
    partitions = partition_soundbank(bank, seed=seed)
    assert sorted(instance.path for part in partitions.values() for instance in part.instances) == sorted(
        instance.path for instance in bank.instances)
    assert all(len(homes) == 1 for homes in home_of(partitions, lambda instance: instance.source).values())
    sources = collections.Counter(label for label, _ in {(i.event_label, i.source) for i in bank.instances})
    for label, names in home_of(partitions, lambda instance: instance.event_label).items():
        assert names == ({"train"}, {"train", "test"}, {"train", "validate", "test"})[min(sources[label], 3) - 1]
    assert all(part.labels == bank.labels and part.folder == bank.folder for part in partitions.values())


def test_fractions_and_seed(tmp_path):
    bank = read_soundbank(touch(tmp_path, *(f"rain/{i}.wav" for i in range(50)), *(f"dog/{i}.wav" for i in range(9))))
    sizes = {name: collections.Counter(i.event_label for i in part.instances)
             for name, part in partition_soundbank(bank).items()}
    assert sizes == {"train": {"rain": 30, "dog": 5}, "validate": {"rain": 10, "dog": 2},
                     "test": {"rain": 10, "dog": 2}}
    assert partition_soundbank(bank, seed=3) == partition_soundbank(bank, seed=3) != partition_soundbank(bank, seed=4)
    halves = partition_soundbank(bank, fractions=(0.5, 0, 0.5))
    assert [len(part.instances) for part in halves.values()] == [30, 0, 29]


def test_another_label_does_not_move_a_source(tmp_path):
    touch(tmp_path, *(f"rain/{i}.wav" for i in range(10)))
    alone = partition_soundbank(read_soundbank(tmp_path))
    both = partition_soundbank(read_soundbank(touch(tmp_path, *(f"dog/{i}.wav" for i in range(10)))))
    for name in alone:
        assert set(alone[name].instances) == {i for i in both[name].instances if i.event_label == "rain"}


@pytest.mark.parametrize("count, warned", [(1, ("validate", "test")), (2, ("validate",))])
def test_rare_labels_are_warned_of(tmp_path, caplog, count, warned):
    touch(tmp_path, *(f"rain/{i}.wav" for i in range(count)), *(f"dog/{i}.wav" for i in range(3)))
    partition_soundbank(read_soundbank(tmp_path))
    assert [record.getMessage().split("the ")[1] for record in caplog.records] == [
        f"{name} partition has no recording of rain." for name in warned]


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.5, 0.2, 0.2), (1.2, -0.1, -0.1)])
def test_bad_fractions(tmp_path, fractions):
    with pytest.raises(InputError, match="fractions"):
        partition_soundbank(read_soundbank(touch(tmp_path, "rain/1.wav")), fractions=fractions)


def folds_by_partition(partitions):
    return {name: {instance.fold for instance in part.instances} for name, part in partitions.items()}


@pytest.mark.parametrize("folds, expected", [
    (range(1, 6), ({1, 2, 3}, {4}, {5})), (range(1, 5), ({1, 2}, {3}, {4})), ((1, 2, 3), ({1}, {2}, {3})),
    ((1, 5), ({1}, set(), {5}))])
def test_default_folds(tmp_path, folds, expected):
    partitions = partition_soundbank(read_soundbank(make_esc50(tmp_path, esc50_rows(folds))))
    assert tuple(folds_by_partition(partitions).values()) == expected


def test_single_fold_is_split_at_random_by_source(tmp_path):
    rows = [(f"1-{source}-{take}-0.wav", 1, label, source) for label, first in (("dog", 0), ("rain", 4))
            for source in range(first, first + 6) for take in "ABC"]  # sources 4 and 5 have takes of both labels
    rows = [(name.replace("-0.", f"-{label}."), fold, label, source) for name, fold, label, source in rows]
    partitions = partition_soundbank(read_soundbank(make_esc50(tmp_path, rows)))
    homes = home_of(partitions, lambda instance: instance.source)
    assert len(homes) == 10 and all(len(names) == 1 for names in homes.values())


def test_folds_as_asked(tmp_path):
    bank = read_soundbank(make_esc50(tmp_path, esc50_rows(range(1, 6))))
    partitions = partition_soundbank(bank, folds=((5, 4), (1,), (2,)))
    assert tuple(folds_by_partition(partitions).values()) == ({4, 5}, {1}, {2})  # fold 3 is left out
    assert {i.source for i in partitions["validate"].instances} == {"100", "101", "110", "111"}


def test_source_in_several_folds_goes_with_the_lowest(tmp_path, caplog):
    rows = esc50_rows(range(1, 4)) + [("3-100-B-0.wav", 3, "dog", 100)]
    partitions = partition_soundbank(read_soundbank(make_esc50(tmp_path, rows)), folds=((1,), (2,), (3,)))
    assert {i.path.name for i in partitions["train"].instances} >= {"1-100-A-0.wav", "3-100-B-0.wav"}
    assert all(len(homes) == 1 for homes in home_of(partitions, lambda instance: instance.source).values())
    assert "1 sources are in several folds" in caplog.text


@pytest.mark.parametrize("folds", [((1, 2), (2,), (3,)), ((1,), (2,), (9,)), ((1, 2), (3,))])
def test_bad_folds(tmp_path, folds):
    with pytest.raises(InputError, match="folds"):
        partition_soundbank(read_soundbank(make_esc50(tmp_path, esc50_rows(range(1, 4)))), folds=folds)


def test_some_labels_in_the_order_in_which_they_are_asked_for(tmp_path):
    folder = touch(tmp_path, "rain/1.wav", "dog/1.wav", "cat/1.wav", "noise/1.wav")
    bank = read_soundbank(folder, ["rain", "cat", "rain"])
    assert bank.labels == ("rain", "cat") and list(bank.besides) == ["background"]
    assert {each.event_label for each in bank.instances} == {"rain", "cat"}
    with pytest.raises(InputError, match="dgo.*Did you mean dog"):
        read_soundbank(folder, ["rain", "dgo"])


def test_folds_of_a_folder_of_labels(tmp_path):
    with pytest.raises(InputError, match="has no folds"):
        partition_soundbank(read_soundbank(touch(tmp_path, "rain/1.wav")), folds=((1,), (2,), (3,)))


@pytest.mark.parametrize("text, message", [
    ("filename,fold,category\na.wav,1,dog\n", "src_file"),
    ("filename,fold,category,src_file\na.wav,one,dog,3\n", "one"),
    ("filename,fold,category,src_file\nb.wav,1,dog,3\n", "b.wav"),
    ("filename,fold,category,src_file\n../secret.wav,1,dog,3\n", "line 2: expected names of files in"),
    ("filename,fold,category,src_file\n/etc/passwd,1,dog,3\n", "line 2: expected names of files in"),
    ("filename,fold,category,src_file\na.wav,1\n", "line 2: expected a row"),
    ("filename,fold,category,src_file\n", "Received: none"), ("", "Received: none")])
def test_broken_table(tmp_path, text, message):
    touch(tmp_path, "audio/a.wav", "meta/esc50.csv")
    (tmp_path / "meta" / "esc50.csv").write_text(text)
    with pytest.raises(InputError, match=rf"esc50\.csv.*{message}"):
        read_soundbank(tmp_path)


US8K = "slice_file_name,fsID,start,end,salience,fold,classID,class\n"
FSD50K = {"dev": "fname,labels,mids,split\n", "eval": "fname,labels,mids\n"}


def make_table(folder, table, text, *recordings):
    touch(folder, table, *recordings)
    (folder / table).write_text(text)
    return folder


def listed(bank):
    return [(instance.path.relative_to(bank.folder).as_posix(), instance.event_label, instance.source, instance.fold)
            for instance in bank.instances]


def test_urban_sound_8k(tmp_path, caplog):
    """Rows of the corpus; the car horn of salience 2 is in the background."""
    rows = ("100032-3-0-0.wav,100032,0,0.317551,1,5,3,dog_bark\n"
            "100648-1-0-0.wav,100648,4.823402,5.471927,2,10,1,car_horn\n100652-3-0-1.wav,100652,0.5,4.5,1,2,3,dog_bark\n")
    make_table(tmp_path, "metadata/UrbanSound8K.csv", US8K + rows, "audio/fold5/100032-3-0-0.wav",
               "audio/fold2/100652-3-0-1.wav")
    bank = read_soundbank(tmp_path)
    assert listed(bank) == [("audio/fold2/100652-3-0-1.wav", "dog_bark", "100652", 2),
                            ("audio/fold5/100032-3-0-0.wav", "dog_bark", "100032", 5)]
    assert bank.labels == ("dog_bark",) and "UrbanSound8K. 1 of 3 recordings are left out" in caplog.text


def fsd50k(folder, dev, evaluation, parts=("dev", "eval")):
    """`dev`: {name: (labels, split)}, `evaluation`: {name: labels}; names of which the recordings are there."""
    make_table(folder, "FSD50K.ground_truth/dev.csv", FSD50K["dev"] + "".join(
        f'{name},"{labels}","/m/1",{split}\n' for name, (labels, split) in dev.items()))
    make_table(folder, "FSD50K.ground_truth/eval.csv", FSD50K["eval"] + "".join(
        f'{name},"{labels}","/m/1"\n' for name, labels in evaluation.items()))
    return touch(folder, *(f"FSD50K.{part}_audio/{name}.wav" for part, names in (("dev", dev), ("eval", evaluation))
                           for name in names if part in parts))


ELECTRIC, BASS = "Electric_guitar,Guitar,Music", "Bass_guitar,Guitar,Music"


def test_fsd50k(tmp_path, caplog):
    """Clips with one narrowest label; not a guitar of no kind, nor a mixture, nor one with a broad label of others."""
    fsd50k(tmp_path, {"64760": (ELECTRIC, "train"), "345111": (ELECTRIC, "val"), "5313": (BASS, "train"),
                      "5312": ("Electric_guitar,Bass_guitar,Guitar,Music", "train"), "1": ("Guitar,Music", "train"),
                      "2": ("Bark,Dog,Animal", "train"), "3": ("Electric_guitar,Guitar,Music,Animal", "train"),
                      "6": ("Dog,Animal", "train"), "7": ("Animal", "train")},
           {"4": "Bark,Dog,Animal", "5": "Music"})
    assert listed(read_soundbank(tmp_path)) == [
        ("FSD50K.dev_audio/2.wav", "Bark", "2", 1), ("FSD50K.dev_audio/345111.wav", "Electric_guitar", "345111", 2),
        ("FSD50K.dev_audio/5313.wav", "Bass_guitar", "5313", 1),
        ("FSD50K.dev_audio/64760.wav", "Electric_guitar", "64760", 1), ("FSD50K.eval_audio/4.wav", "Bark", "4", 3)]
    assert "FSD50K. 6 of 11 recordings are left out" in caplog.text
    parts = folds_by_partition(partition_soundbank(read_soundbank(tmp_path)))
    assert parts == {"train": {1}, "validate": {2}, "test": {3}}


def test_labels_of_the_same_clips_are_one_sound(tmp_path):
    """Every crash is a cymbal and every cymbal a crash, so that none is broader: the one named first is taken."""
    fsd50k(tmp_path, {"1": ("Crash,Cymbal,Music", "train"), "2": ("Music", "train")}, {})
    assert listed(read_soundbank(tmp_path)) == [("FSD50K.dev_audio/1.wav", "Crash", "1", 1)]


def test_a_part_of_fsd50k_whose_audio_is_not_there_is_passed_over(tmp_path):
    fsd50k(tmp_path, {"1": (ELECTRIC, "train"), "2": (ELECTRIC, "val")}, {"3": ELECTRIC}, parts=("dev",))
    assert [instance.path.name for instance in read_soundbank(tmp_path).instances] == ["1.wav", "2.wav"]


@pytest.mark.parametrize("table, text, message", [
    ("metadata/UrbanSound8K.csv", "slice_file_name,fsID,fold\na.wav,1,1\n", "line 1: expected a header .*salience"),
    ("metadata/UrbanSound8K.csv", US8K + "a.wav,1,0,1,1,1,3,dog_bark\n", "not in audio/: a.wav"),
    ("metadata/UrbanSound8K.csv", US8K + "a.wav,1,0,1,1,x,3,dog_bark\n", "line 2: expected a fold"),
    ("metadata/UrbanSound8K.csv", US8K + "a.wav,1,0,1,2,1,3,dog_bark\n", "Received: 1, in which the label's sound"),
    ("FSD50K.ground_truth/dev.csv", FSD50K["dev"] + "1,Dog,/m/1,test\n", "line 2: expected the split train or val"),
    ("metadata/UrbanSound8K.csv", US8K + "../../a.wav,1,0,1,1,1,3,dog_bark\n", "line 2: expected names of files in"),
    ("FSD50K.ground_truth/dev.csv", FSD50K["dev"] + "../1,Dog,/m/1,val\n", "line 2: expected names of files in"),
    ("FSD50K.ground_truth/dev.csv", FSD50K["dev"] + "1,,/m/1,val\n", "line 2: expected a row with fname, labels"),
    ("FSD50K.ground_truth/eval.csv", FSD50K["eval"], "eval.csv: expected a row per recording")])
def test_broken_tables_are_named(tmp_path, table, text, message):
    with pytest.raises(InputError, match=message) as error:
        read_soundbank(make_table(tmp_path, table, text))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("label", ["two\nlines", "a\ttab", " dog"])
def test_folders_that_are_no_labels_are_refused(label, tmp_path):
    """A corpus of such labels could not be read back."""
    with pytest.raises(InputError, match="label: expected 1 to 200 characters, without tabs"):
        read_soundbank(touch(tmp_path, f"{label}/1.wav"))


@pytest.mark.parametrize("label", ["/abs/x", "../../x", "..", "C:\\x"])
def test_labels_of_tables_lead_nowhere_else(label, tmp_path):
    touch(tmp_path, "audio/a.wav")
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "esc50.csv").write_text("filename,fold,target,category,esc10,src_file,take\n"
                                                 f"a.wav,1,0,{label},True,100,A\n")
    with pytest.raises(InputError, match="label: expected names of files in"):
        read_soundbank(tmp_path)


def test_esc10(esc10):
    bank = read_soundbank(esc10)
    assert len(bank.instances) == 320 and len(bank.labels) == 10
    partitions = partition_soundbank(bank, folds=((1, 2), (3,), (4,)))
    assert partitions == partition_soundbank(bank)
    assert [len(part.instances) for part in partitions.values()] == [160, 80, 80]
    assert all(len(homes) == 1 for homes in home_of(partitions, lambda instance: instance.source).values())


def test_reader_is_lazy_and_keeps_little(tmp_path):
    for name in "abc":
        soundfile.write(tmp_path / f"{name}.wav", np.full(8000, 0.1), 8000)
    read = recording_reader(tmp_path, 8000, max_bytes=2 * 8000 * 4)
    first = read("a.wav")
    assert read("a.wav") is first
    second = read("b.wav")
    read("c.wav")
    assert read("b.wav") is second and read("a.wav") is not first  # a was dropped and is read again
    np.testing.assert_array_equal(read("a.wav"), first)
