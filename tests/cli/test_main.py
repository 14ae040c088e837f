"""The command line: a chain from sounds to events at a tiny size, and what a user's mistakes get."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile

from polysed_keras.cli import parsers
from polysed_keras.cli.main import build_parser, main
from polysed_keras.datasets.loading import CLIP_CORPORA, CORPORA, load_dataset
from polysed_keras.evaluation import DEFAULT_ALARMS
from polysed_keras.events.event_lists import read_events
from polysed_keras.events.formats.catalogue import ANNOTATION_FORMATS, DETECTION_FORMATS, read_annotations
from polysed_keras.events.score_files import read_score_file
from polysed_keras.papers.event_choice import EVENT_CHOICES
from polysed_keras.papers.paper2_points import SWEEPS
from polysed_keras.serving import load_detector
from polysed_keras.specs.presets import get_preset
from polysed_keras.specs.tasks import STRATEGIES as DECOMPOSITIONS
from polysed_keras.synthesis.recipes import MIXTURES
from polysed_keras.training.recordings import load_recordings
from polysed_keras.training.runs import load_run

from fixtures import (
    FEATURES,
    LABELS,
    MULTI_LABEL,
    POWERSET,
    RATE,
    shared_corpus,
    shared_run,
    take_detector,
    write_bank,
    write_corpus,
)

TINY = ["training.epochs=1", "training.segment_hop=128", "training.batch_size=4"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("cli") / "data")


@pytest.fixture(scope="module")
def run(data):
    out = data.parent / "run"
    assert main(["train", "multilabel_small", "--data", str(data), "--out", str(out), "--set", *TINY]) == 0
    return out


@pytest.fixture(scope="module")
def model(run):
    out = run.parent / "saved_models" / "tiny"
    assert main(["export", str(run), "--out", str(out)]) == 0
    return out


def assert_mistake(capsys, arguments, *words):
    """Exit code 2, one clear line on stderr that holds `words`, no traceback."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("polysed: ")]
    assert len(errors) == 1 and errors[0] == lines[-1] and not [line for line in lines if "Traceback" in line]
    for word in words:
        assert str(word) in errors[0]


# The chain

def test_a_run_holds_what_the_readme_says(run):
    names = {path.name for path in run.iterdir()}
    assert {"experiment.json", "history.csv", "training.png", "tensorboard", "best.weights.h5", "state.json"} <= names
    assert not [name for name in names if name.startswith(".")]
    experiment = json.loads((run / "experiment.json").read_text())
    assert experiment["name"].startswith("multilabel_small") and experiment["tasks"][0]["labels"] == list(LABELS)
    assert get_preset(run / "experiment.json") == load_run(run)


def test_evaluate_prints_and_writes(run, data, tmp_path, capsys):
    assert main(["evaluate", str(run), "--data", str(data), "--out", str(tmp_path / "report")]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in (*LABELS, "average", "overall"))
    table = pd.read_csv(tmp_path / "report" / "class_wise.csv")
    assert table.row.tolist() == [*LABELS, "average", "overall"]
    assert json.loads((tmp_path / "report" / "report.json").read_text())["mixtures"] == ["test0", "test1", "test2"]


@pytest.mark.parametrize("seconds", [-1e6, 0], ids=["older", "same time"])  # tests/audio/test_digests.py has the others
def test_the_report_is_of_the_audio_that_is_there(run, data, seconds, tmp_path):
    """Not of features of other audio, whose size was the same, and its time if need be."""
    def report(folder):
        out = tmp_path / "report"
        assert main(["evaluate", str(run), "--data", str(folder), "--out", str(out)]) == 0
        content = {path.name: path.read_bytes() for path in out.iterdir()}
        shutil.rmtree(out)
        return content

    copy = shutil.copytree(data, tmp_path / "data")
    first, before = report(copy), {path: path.stat() for path in (copy / "audio").glob("test*.wav")}
    for path, status in before.items():  # half of it is silence now
        samples, rate = soundfile.read(path)
        soundfile.write(path, np.where(np.arange(len(samples)) < len(samples) / 2, samples, 0.0), rate)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + int(seconds * 1e9)))
        assert path.stat().st_size == status.st_size
    replaced = report(copy)
    assert replaced["class_wise.csv"] != first["class_wise.csv"]
    fresh = shutil.copytree(copy, tmp_path / "fresh", ignore=shutil.ignore_patterns("features"))
    assert report(fresh) == replaced
    for path in before:
        shutil.copyfile(data / "audio" / path.name, path)
    assert report(copy) == first


def test_evaluate_tells_unseen_combinations(tmp_path, capsys):
    runs = [str(shutil.copytree(shared_run(experiment), tmp_path / name))
            for experiment, name in ((MULTI_LABEL, "tiny"), (POWERSET, "run"))]
    (tmp_path / "run" / "combinations.json").write_text('{"task_1": [0], "task_2": [0, 1]}')
    assert main(["evaluate", *runs, "--data", str(shared_corpus()), "--out", str(tmp_path / "report")]) == 0
    table = pd.read_csv(tmp_path / "report" / "unseen.csv")
    rows = ["run: unseen", "run: others"]
    assert table[table.run == "tiny"].row.tolist() == table[table.run == "run"].row.tolist() == rows
    assert table[table.run == "frames"].value.between(0, 1, inclusive="neither").all()
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("run, any task", *rows))


@pytest.mark.parametrize("file_format, suffix", [("tsv", ".tsv"), ("csv", ".csv"), ("audacity", ".txt")])
def test_detect_writes_every_format(model, data, tmp_path, file_format, suffix):
    arguments = ["detect", str(data / "audio"), "--model", str(model), "--out", str(tmp_path / "events"),
                 "--format", file_format, "--threshold", "0.0", "--labels", "hum", "hiss"]
    assert main(arguments) == 0
    written = sorted(path.name for path in (tmp_path / "events").glob("[!.]*"))
    assert written == sorted(path.stem + suffix for path in (data / "audio").iterdir())
    lines = (tmp_path / "events" / f"test0{suffix}").read_text().splitlines()
    # every posterior reaches 0.0: one event of the whole recording a label
    events = [line.replace(",", "\t").split("\t") for line in lines[file_format == "csv":]]
    assert sorted(event[2] for event in events) == ["hiss", "hum"]
    seconds = soundfile.info(data / "audio" / "test0.wav").duration
    assert all(float(event[0]) == 0.0 and float(event[1]) == pytest.approx(seconds, abs=0.021) for event in events)


@pytest.mark.parametrize("file_format", ["raven", "birdnet", "label_studio", "textgrid"])
def test_detect_writes_what_import_reads(model, data, tmp_path, file_format):
    arguments = ["detect", str(data / "audio"), "--model", str(model), "--threshold", "0.0", "--labels", "hum", "hiss"]
    assert main([*arguments, "--out", str(tmp_path / "events"), "--format", file_format]) == 0
    assert main(["import", str(data / "audio"), str(tmp_path / "events"), "--out", str(tmp_path / "own")]) == 0
    report = json.loads((tmp_path / "own" / "import.json").read_text())
    assert report["format"] == file_format and report["labels"] == ["hiss", "hum"]
    for path in (data / "audio").iterdir():
        seconds = soundfile.info(path).duration
        events = read_events(tmp_path / "own" / "meta" / f"{path.stem}.txt")
        assert sorted(events.event_label) == ["hiss", "hum"] and (events.onset == 0).all()
        assert events.offset.tolist() == pytest.approx([seconds, seconds], abs=0.021)


@pytest.mark.parametrize("file_format", ["tsv", "csv", "raven", "birdnet", "label_studio"])
def test_detect_writes_one_table(model, data, tmp_path, file_format, capsys):
    folder = tmp_path / "audio"
    shutil.copytree(data / "audio", folder)
    (folder / "broken.wav").write_bytes(b"")
    arguments = ["detect", folder, "--model", model, "--threshold", "0.0", "--table", tmp_path / "new" / "table",
                 "--format", file_format]
    assert_mistake(capsys, arguments, "broken.wav", "0 bytes")
    _, annotations = read_annotations(tmp_path / "new" / "table")
    assert {pathlib.Path(annotation.recording).name for annotation in annotations} == {
        path.name for path in (data / "audio").iterdir()}
    assert all({label for *_, label in annotation.events} == set(LABELS) for annotation in annotations)


def test_an_interrupted_detection_leaves_a_table_of_what_it_found(tmp_path, monkeypatch):
    class Interrupted:
        clip_level, heard = False, 0

        def detect(self, path):
            self.heard += 1
            if self.heard == 3:
                raise KeyboardInterrupt
            return pd.DataFrame([(0.0, 0.5, "hum", 0.9)], columns=["onset", "offset", "event_label", "confidence"])

    for name in "abc":
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(RATE), RATE)
    take_detector(monkeypatch, Interrupted())
    try:
        main(["detect", str(tmp_path), "--table", str(tmp_path / "table.csv"), "--format", "csv"])
    except (KeyboardInterrupt, SystemExit):
        pass
    assert (tmp_path / "table.csv").read_text() == (
        "filename,onset,offset,event_label,confidence\n"
        f"{tmp_path}/a.wav,0.000000,0.500000,hum,0.900000\n{tmp_path}/b.wav,0.000000,0.500000,hum,0.900000\n")


def test_a_table_that_cannot_be_is_refused_before_the_work(data, tmp_path, capsys):
    detect = ["detect", data / "audio", "--model", tmp_path / "none", "--table"]
    for file_format in ("audacity", "textgrid"):
        assert_mistake(capsys, [*detect, tmp_path / "t", "--format", file_format], "--table", file_format, "--out DIR")
    assert_mistake(capsys, [*detect, tmp_path], "--table", "a file")


def test_detect_writes_scores(model, data, tmp_path, capsys):
    """The posteriors of all frames, of the labels that were asked for."""
    audio = data / "audio" / "test0.wav"
    arguments = ["detect", str(audio), "--model", str(model), "--format", "scores"]
    assert main([*arguments, "--out", str(tmp_path), "--labels", "hum", "hiss"]) == 0
    table, detector = read_score_file(tmp_path / "test0.tsv"), load_detector(model)
    assert list(table.columns) == ["onset", "offset", "hum", "hiss"]
    posteriors, _ = detector.posteriors(audio)
    columns = [detector.labels.index(label) for label in ("hum", "hiss")]
    np.testing.assert_allclose(table[["hum", "hiss"]], posteriors[:, columns], atol=1e-6)
    np.testing.assert_allclose(table["offset"], (np.arange(len(posteriors)) + 1) * detector.time_resolution, atol=1e-6)
    assert_mistake(capsys, arguments, "--format scores", "--out")
    assert_mistake(capsys, [*arguments, "--out", tmp_path, "--tags"], "--format scores", "detect events")
    assert_mistake(capsys, [*arguments, "--out", tmp_path, "--labels", "moo"], "labels", "hum", "moo")


def test_evaluate_writes_scores_that_score_reads(run, data, tmp_path, capsys):
    """Frame-based F1 from the files is that of evaluate, because a sigmoid is an event above 0.5 in both."""
    scores = tmp_path / "scores"
    assert main(["evaluate", str(run), "--data", str(data), "--out", str(tmp_path), "--scores", str(scores)]) == 0
    system, = (path for path in scores.iterdir() if path.is_dir())
    assert sorted(path.name for path in system.iterdir()) == ["test0.tsv", "test1.tsv", "test2.tsv"]
    assert main(["score", str(scores / "reference.tsv"), str(system), "--durations", str(scores / "durations.tsv"),
                 "--out", str(tmp_path / "again"), "--resamples", "20"]) == 0
    expected = pd.read_csv(tmp_path / "class_wise.csv").set_index("row")["value"]
    table = pd.read_csv(tmp_path / "again" / "scores.csv")
    found = table[table.table == "frame_based_f_score"].set_index("row")["value"]
    np.testing.assert_allclose([found[row] for row in expected.index], expected, atol=1e-6)


def test_detect_prints_without_out(model, data, capsys):
    assert main(["detect", str(data / "audio" / "test0.wav"), "--model", str(model), "--threshold", "0.0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(LABELS) and all(line.split("\t")[0].endswith("test0.wav") for line in lines)


def test_detect_drops_short_events(model, data, capsys):
    arguments = ["detect", str(data / "audio" / "test0.wav"), "--model", str(model), "--threshold", "0.0"]
    assert main([*arguments, "--min-duration", "11"]) == 0
    assert capsys.readouterr().out == ""


def test_detect_goes_on_after_a_bad_file(model, data, tmp_path, capsys):
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "good.wav").write_bytes((data / "audio" / "test0.wav").read_bytes())
    (folder / "empty.wav").write_bytes(b"")
    (folder / "notes.txt").write_text("not audio")
    assert_mistake(capsys, ["detect", folder, "--model", model, "--out", tmp_path / "events"], "empty.wav", "0 bytes")
    assert [path.name for path in (tmp_path / "events").glob("[!.]*")] == ["good.tsv"]


def test_a_run_detects_what_its_export_does(model, run, data, capsys):
    outputs = []
    for folder in (model, run):
        assert main(["detect", str(data / "audio" / "test0.wav"), "--threshold", "0.2", "--model", str(folder)]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] != ""


def test_view_writes_a_page(model, data, tmp_path, capsys):
    audio, annotation, page = data / "audio" / "test0.wav", data / "meta" / "test0.txt", tmp_path / "new" / "page.html"
    assert main(["view", str(audio), "--model", str(model), "--reference", str(annotation), "--out", str(page)]) == 0
    assert f"{audio} -> {page} (" in capsys.readouterr().out
    assert json.loads(page.read_text().split('id="data">')[1].split("<")[0])["labels"] == list(LABELS)
    assert_mistake(capsys, ["view", audio, "--model", model, "--out", tmp_path / "new"], "--out",
                   tmp_path / "new" / "page.html")
    assert_mistake(capsys, ["view", data / "audio", "--model", model, "--out", page], data / "audio", "one recording")
    assert_mistake(capsys, ["view", audio, "--model", tmp_path, "--out", page], tmp_path, "polysed export")


def test_eight_kilohertz_and_six_channels(model, tmp_path, capsys):
    time = np.arange(8000 * 3) / 8000
    soundfile.write(tmp_path / "low.wav", 0.2 * np.sin(2 * np.pi * 120 * time), 8000)
    soundfile.write(tmp_path / "wide.wav", np.zeros((48000, 6)), 48000)
    assert main(["detect", str(tmp_path), "--model", str(model), "--threshold", "0.0", "--labels", "hum"]) == 0
    ends = {line.split("\t")[0].rsplit("/")[-1]: float(line.split("\t")[2])
            for line in capsys.readouterr().out.splitlines()}
    assert ends == {"low.wav": pytest.approx(3.0, abs=0.021), "wide.wav": pytest.approx(1.0, abs=0.021)}


def test_silent_and_short_audio_is_detected_in(model, tmp_path, capsys):
    soundfile.write(tmp_path / "silent.wav", np.zeros(3 * RATE), RATE)
    soundfile.write(tmp_path / "one_sample.wav", np.zeros(1), RATE)
    arguments = ["detect", str(tmp_path), "--model", str(model), "--threshold", "0.0", "--out", str(tmp_path / "e")]
    assert main(arguments) == 0
    assert {path.name for path in (tmp_path / "e").glob("[!.]*")} == {"silent.tsv", "one_sample.tsv"}


@pytest.mark.parametrize("damage, words", [
    (lambda path: path.write_bytes(b""), ["0 bytes"]),
    (lambda path: soundfile.write(path, np.zeros(0), RATE), ["0 samples"]),
    (lambda path: soundfile.write(path, np.full(RATE, np.nan), RATE, "FLOAT"), ["NaN"])])
def test_broken_audio_gets_no_events(damage, words, model, tmp_path, capsys):
    path = tmp_path / "broken.wav"
    soundfile.write(path, np.full(RATE, 0.1), RATE)
    damage(path)
    assert_mistake(capsys, ["detect", path, "--model", model, "--out", tmp_path / "events"], "broken.wav", *words)
    assert not list((tmp_path / "events").glob("*"))


def test_what_is_left_of_a_truncated_file_is_used(model, tmp_path, capsys):
    soundfile.write(tmp_path / "cut.wav", np.full(2 * RATE, 0.1), RATE)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "cut.wav").read_bytes()[:-2 * RATE])  # 16 bit: half of it
    arguments = ["detect", str(tmp_path / "cut.wav"), "--model", str(model), "--threshold", "0", "--labels", "hum"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert float(printed.out.split("\t")[2]) == pytest.approx(1.0, abs=0.021)
    assert "cut.wav" in printed.err and "truncated" in printed.err


def test_a_byte_order_mark_and_overlapping_annotations_are_read(data, tmp_path):
    copy = write_corpus(tmp_path / "data")
    lines = (copy / "meta" / "train0.txt").read_text()
    (copy / "meta" / "train0.txt").write_text("\ufeff" + lines + lines.splitlines()[0] + "\n")
    rolls = [load_recordings(load_dataset(folder), "train", LABELS, FEATURES, progress=False)[0].event_roll
             for folder in (data, copy)]
    assert rolls[0].any() and np.array_equal(*rolls)


def test_procedural_synthesis(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("polysed_keras.synthesis.procedural.procedures.write_soundbank.__defaults__",
                        (3, 0, None))  # three recordings per label
    out = tmp_path / "data"
    arguments = ["synthesize", "--procedural", "--out", str(out), "--mixtures", "1", "1", "1", "--duration", "10"]
    assert main(arguments) == 0
    assert "polyphony" in capsys.readouterr().out
    assert len(list((out / "audio").iterdir())) == 3 and len((out / "labels.txt").read_text().split()) == 16
    assert_mistake(capsys, arguments, out, "exists")


def test_own_recordings_are_imported(data, tmp_path, capsys):
    (tmp_path / "labels").mkdir()
    for path in (data / "audio").iterdir():
        (tmp_path / "labels" / f"{path.stem}.txt").write_text("0.5\t1.5\thum\n1.0\t2.0\thum\n3.0\t4.0\thiss\n")
    arguments = ["import", str(data / "audio"), str(tmp_path / "labels"), "--out", str(tmp_path / "own")]
    assert main(arguments) == 0
    assert "hiss" in capsys.readouterr().out and (tmp_path / "own" / "labels.txt").read_text() == "hiss\nhum\n"
    recordings = load_recordings(load_dataset(tmp_path / "own"), "train", ("hiss", "hum"), FEATURES, progress=False)
    assert all(recording.event_roll[:300].sum(axis=0).tolist() == [50, 75] for recording in recordings)  # 20 ms each
    assert_mistake(capsys, arguments, "own", "exists")
    arguments = ["import", tmp_path / "no", tmp_path / "labels", "--out", tmp_path / "other"]
    assert_mistake(capsys, arguments, tmp_path / "no")


def test_a_corpus_is_made_again(data, tmp_path, capsys):
    write_bank(tmp_path / "bank", ("beep", "hum"), 3)
    bank = ["--soundbank", str(tmp_path / "bank")]
    first = ["synthesize", *bank, "--mixtures", "1", "0", "0", "--duration", "5", "--out"]
    assert main([*first, str(tmp_path / "a"), "--set", "background=pink", "event_to_background_db=[10, 20]",
                 "stems=true", "sample_rate=8000"]) == 0
    assert main(["synthesize", "--from", str(tmp_path / "a"), "--out", str(tmp_path / "b")]) == 0
    for path in (path for path in (tmp_path / "a").rglob("*") if path.is_file()):
        assert (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes() == path.read_bytes()
    assert list((tmp_path / "a" / "stems").rglob("background.wav"))
    assert_mistake(capsys, ["synthesize", "--out", tmp_path / "c"], "--soundbank DIR, --procedural or --from")
    assert_mistake(capsys, [*first, tmp_path / "c", "--set", "backgrund=pink"], "one of sample_rate", "backgrund")
    assert_mistake(capsys, [*first, tmp_path / "c", "--set", "background=7"], "background")
    assert_mistake(capsys, [*first, tmp_path / "c", "--set", "background=mauve"], "background", "mauve")
    assert_mistake(capsys, ["synthesize", "--from", data, "--out", tmp_path / "c"], "soundscapes.json")
    assert not (tmp_path / "c").exists()


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    """The limit of the size of a file stands for the disk's."""
    limited = ("import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
               "from polysed_keras.cli.main import main; sys.exit(main())")
    bank = write_bank(tmp_path / "bank")
    before = sorted(tmp_path.rglob("*"))
    result = subprocess.run([sys.executable, "-c", limited, "synthesize", "--soundbank", bank, "--recipe", "paper",
                             "--mixtures", "1", "0", "0", "--duration", "10", "--out", tmp_path / "data"],
                            capture_output=True, text=True)
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr
    assert result.stderr.splitlines()[-1].startswith("polysed: ") and "File too large" in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_settings_are_checked_before_sounds_are_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("polysed_keras.synthesis.procedural.procedures.PROCEDURES", None)
    command = ["synthesize", "--procedural", "--out", tmp_path / "data"]
    assert_mistake(capsys, [*command, "--set", "speed=[1"], "--set speed", "[1")
    assert_mistake(capsys, [*command, "--duration", "-1"], "duration", "-1")


def test_procedural_sounds_are_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr("polysed_keras.synthesis.procedural.procedures.write_soundbank.__defaults__",
                        (3, 0, ("dog_barking", "glass_smash")))
    first = ["synthesize", "--procedural", "--seed", "4", "--mixtures", "1", "0", "0", "--duration", "5", "--out"]
    assert main([*first, str(tmp_path / "a")]) == 0
    assert json.loads((tmp_path / "a" / "soundscapes.json").read_text())["soundbank"] == {"procedural_seed": 4}
    assert main(["synthesize", "--from", str(tmp_path / "a"), "--out", str(tmp_path / "b")]) == 0
    for path in (path for path in (tmp_path / "a").rglob("*") if path.is_file()):
        assert (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes() == path.read_bytes()


def test_choices_are_the_tables():
    assert set(parsers.DETECTION_FORMATS) == set(DETECTION_FORMATS)
    assert set(parsers.ANNOTATION_FORMATS) == set(ANNOTATION_FORMATS)
    assert set(parsers.CORPORA) == set(CORPORA) | set(CLIP_CORPORA)
    assert parsers.SWEEPS == tuple(SWEEPS) and parsers.EVENT_CHOICES == EVENT_CHOICES
    assert parsers.DECOMPOSITIONS == DECOMPOSITIONS and parsers.MIXTURES == MIXTURES
    assert build_parser().parse_args(["calibrate", "run"]).alarms_per_hour == DEFAULT_ALARMS


def test_listen_offers_no_option_that_it_ignores(capsys):
    for option in ("--server", "--timeout"):
        assert main(["listen", "-", option, "9"]) == 2 and f"Received: '{option}'" in capsys.readouterr().err


def test_presets_are_listed(capsys):
    assert main(["presets"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("multilabel ", "multilabel_small", "mcmt_16 ", "mcmt_5_small", "66.8"))


def test_costs_of_presets_are_counted(capsys, monkeypatch):
    names = ("multilabel", "yamnet_audioset", "scene_baseline_small")
    monkeypatch.setattr("polysed_keras.specs.PRESETS", {name: get_preset(name) for name in names})
    assert main(["presets", "--costs"]) == 0
    header, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert [row[0] for row in rows] == list(names)
    # Weights as counted by hand from the paper; YAMNet's published 3.75 million.
    assert rows[0][1] == "3,233,360" and 3.7e6 < int(rows[1][1].replace(",", "")) < 3.8e6
    assert rows[0][2] == "795,238,400" and 1.5 < float(rows[0][3]) < 4
    assert rows[1][3] == "-"  # It is not trained.


def test_groups_are_printed_and_written(data, tmp_path, capsys):
    decompose = ["decompose", str(data), "--num-tasks", "2", "--strategy"]
    assert main([*decompose, "contiguous"]) == 0 and capsys.readouterr().out == "beep, hiss\nhum, whistle\n"
    for strategy in ("random", "cooccurrence", "anti_cooccurrence"):
        assert main([*decompose, strategy, "--out", str(tmp_path / f"{strategy}.json")]) == 0
        groups = json.loads((tmp_path / f"{strategy}.json").read_text())
        assert capsys.readouterr().out.splitlines() == [", ".join(group) for group in groups]
        assert sorted(sum(groups, [])) == list(LABELS) and [len(group) for group in groups] == [2, 2]
    assert main([*decompose, "random", "--seed", "2"]) == 0
    assert capsys.readouterr().out != "".join(", ".join(group) + "\n" for group in json.loads(
        (tmp_path / "random.json").read_text()))


def test_widths_are_printed(capsys):
    assert main(["widen", "multilabel_small", "--like", "multilabel_small", "--num-labels", "4"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "--set model.filters=[16,16,32,32,64] model.recurrent_units=64 model.dense_units=[128,128]")


# Mistakes

def test_decomposition_mistakes(data, run, tmp_path, capsys):
    decompose = ["decompose", data, "--num-tasks"]
    assert_mistake(capsys, [*decompose, "5"], "1 to 4", "5")
    assert_mistake(capsys, [*decompose, "2", "--strategy", "random", "--seed", "-1"], "seed", "-1")
    assert_mistake(capsys, [*decompose, "2", "--strategy", "confusion"], "confusion", "--run RUN")
    assert_mistake(capsys, [*decompose, "2", "--strategy", "confusion", "--run", tmp_path / "no"], tmp_path / "no")
    assert_mistake(capsys, ["decompose", tmp_path / "no", "--num-tasks", "2"], tmp_path / "no")
    (tmp_path / "file").write_text("in the way")
    assert_mistake(capsys, [*decompose, "2", "--out", tmp_path / "file" / "groups.json"], "file", "cannot be written")
    assert_mistake(capsys, ["widen", "crnn", "--like", "mcmt_2", "--num-labels", "4"], "crnn", "mcmt_2")
    assert_mistake(capsys, ["widen", "multilabel", "--like", "mcmt_8", "--num-labels", "4"], "1 to 4", "8")
    assert_mistake(capsys, ["widen", "multilabel", "--like", "scene_baseline", "--num-labels", "4"], "scene_baseline")
    train = ["train", "mcmt_2_small", "--data", data, "--out", tmp_path / "a", "--set"]
    assert_mistake(capsys, [*train, "tasks.strategy=confusion"], "confusion", "polysed decompose")
    assert_mistake(capsys, [*train, f"tasks.groups={tmp_path / 'no.json'}"], "no.json")
    assert not (tmp_path / "a").exists()


def test_training_mistakes(data, run, tmp_path, capsys):
    train = ["train", "multilabel_small", "--data", data, "--out"]
    assert_mistake(capsys, ["train", "crnn", "--data", data, "--out", tmp_path / "a"], "crnn", "multilabel_small")
    assert_mistake(capsys, [*train, tmp_path / "a", "--set", "model.width=3"], "model.width", "model.filters")
    assert_mistake(capsys, [*train, tmp_path / "a", "--set", "training.epochs=many"], "training.epochs", "many")
    assert_mistake(capsys, [*train, tmp_path / "a", "--set", "model.dropout=1.5"], "model.dropout", "1.5")
    assert_mistake(capsys, ["train", "mcmt_16_small", "--data", data, "--out", tmp_path / "a"], "1 to 4", "16")
    assert_mistake(capsys, ["train", "multilabel", "--data", tmp_path / "no", "--out", tmp_path / "a"], tmp_path / "no")
    assert_mistake(capsys, [*train, run, "--set", *TINY], "--resume", run)
    assert_mistake(capsys, [*train, run, "--resume"], "another experiment", run)
    assert not (tmp_path / "a").exists()


def test_unwritable_output(data, model, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    below = tmp_path / "file" / "below"
    assert_mistake(capsys, ["train", "multilabel_small", "--data", data, "--out", below], "file")
    assert_mistake(capsys, ["train", "multilabel_small", "--data", data, "--negatives", data, "--out", tmp_path / "a"],
                   "--negatives: expected --soundbank")
    assert_mistake(capsys, ["detect", data / "audio", "--model", model, "--out", below], "file")
    assert_mistake(capsys, ["synthesize", "--procedural", "--out", below, "--mixtures", "1", "1", "1",
                            "--duration", "5"], "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_broken_annotation_stops_before_training(data, tmp_path, capsys):
    copy = write_corpus(tmp_path / "data")
    (copy / "meta" / "train1.txt").write_text("0.5\t1.0\thum\n2.0\t1.5\thiss\n")
    assert_mistake(capsys, ["train", "multilabel_small", "--data", copy, "--out", tmp_path / "run"], "train1.txt", "2")
    (copy / "meta" / "train1.txt").write_text("0.5\t1.0\tspaceship\n")
    assert_mistake(capsys, ["train", "multilabel_small", "--data", copy, "--out", tmp_path / "run"], "spaceship", "hum")
    assert not list((copy / "features").glob("*.npy"))


def test_run_and_model_mistakes(data, run, model, tmp_path, capsys):
    assert_mistake(capsys, ["evaluate", tmp_path / "no", "--data", data], tmp_path / "no", "polysed train")
    assert_mistake(capsys, ["export", tmp_path / "no", "--out", tmp_path / "m"], tmp_path / "no")
    assert_mistake(capsys, ["evaluate", run, run, "--data", data], "twice")
    assert_mistake(capsys, ["evaluate", run, "--data", data, "--time-resolution", "0"], "time_resolution", "above 0")
    assert_mistake(capsys, ["evaluate", run, "--data", data, "--negatives", tmp_path / "no"], "nothing there")
    other = write_corpus(tmp_path / "other")
    for path in [other / "labels.txt", *(other / "meta").iterdir()]:
        path.write_text(path.read_text().replace("whistle", "yodel"))
    assert_mistake(capsys, ["evaluate", run, "--data", other], "whistle", "yodel")
    audio = data / "audio" / "test0.wav"
    assert_mistake(capsys, ["detect", audio, "--model", tmp_path / "no"], tmp_path / "no", "polysed export")
    assert_mistake(capsys, ["detect", tmp_path / "no.wav", "--model", model], "no.wav", "nothing there")
    (tmp_path / "bare").mkdir()
    assert_mistake(capsys, ["detect", tmp_path / "bare", "--model", model], "bare", "a folder without any")
    assert_mistake(capsys, ["detect", audio, "--model", model, "--labels", "cow"], "cow", "whistle")
    twin = tmp_path / "twin" / "test0.flac"
    twin.parent.mkdir()
    soundfile.write(twin, np.zeros(100), RATE)
    assert_mistake(capsys, ["detect", audio, twin, "--model", model, "--out", tmp_path / "e"], "test0.flac", "names")


@pytest.mark.parametrize("name, content, words", [
    ("labels.txt", "", ["no labels"]),
    ("labels.txt", "hum\nhum\n", ["labels.txt", "twice"]),
    ("evaluation_setup/train.txt", "", ["partition 'train'"]),
    ("evaluation_setup/validate.txt", "audio/train0.wav\n", ["train0", "validate.txt"]),
    ("evaluation_setup/train.txt", "audio/nothing.wav\n", ["train.txt", "nothing.wav"]),
    ("meta/train0.txt", "0.5,1.0,hum\n", ["train0.txt, line 1", "separat"]),
    ("meta/validate1.txt", "0.5\t1.0\thum\n0.7\tnan\thum\n", ["validate1.txt, line 2"]),
    ("audio/train0.wav", "", ["train0.wav", "0 bytes"]),
    ("audio/train0.wav", "not audio", ["train0.wav", "libsndfile"]),
])
def test_broken_data_stops_before_training(name, content, words, tmp_path, capsys):
    copy = write_corpus(tmp_path / "data")
    (copy / name).write_text(content)
    assert_mistake(capsys, ["train", "multilabel_small", "--data", copy, "--out", tmp_path / "run"], *words)
    assert not list(tmp_path.rglob(".*")) and not (tmp_path / "run" / "state.json").exists()


@pytest.mark.parametrize("setting, words", [
    ("training.segment_frames=130", ["training.segment_frames", "4", "130"]),
    ("features.n_mels=16", ["features.n_mels", "64", "16"]), ("features.fmax=30000", ["features.fmax"]),
    ("model.backbone=crnn", ["model.backbone", "conv_blocks", "crnn"]), ("model.filters=[]", ["model.filters"]),
    ("tasks.num_tasks=5", ["1 to 4", "5"]), ("tasks.groups=[[\"hum\"]]", ["groups", "exactly one group"]),
    ("epochs=3", ["training.epochs"]), ("training.epochs", ["FIELD=VALUE"]), ("training.seed=-1", ["training.seed"])])
def test_impossible_settings(setting, words, data, tmp_path, capsys):
    arguments = ["train", "multilabel_small", "--data", data, "--out", tmp_path / "a", "--set", setting]
    assert_mistake(capsys, arguments, *words)
    assert not (tmp_path / "a" / "state.json").exists()


@pytest.mark.parametrize("arguments, words", [
    (["--threshold", "2"], ["threshold", "2"]), (["--threshold", "nan"], ["threshold"]),
    (["--min-duration", "-1"], ["min_duration"]), (["--min-duration", "nan"], ["min_duration"])])
def test_detection_settings_out_of_range(arguments, words, model, data, tmp_path, capsys):
    assert_mistake(capsys, ["detect", data / "audio" / "test0.wav", "--model", model, "--out", tmp_path / "events",
                            *arguments], *words)
    assert not list(tmp_path.rglob("*.tsv"))


@pytest.mark.parametrize("arguments, words", [
    (["--soundbank", "no"], ["no such folder"]), (["--duration", "0"], ["duration_seconds"]),
    (["--mixtures", "0", "0", "0"], ["mixtures"]), (["--mixtures", "-1", "1", "1"], ["mixtures"]),
    (["--folds", "1", "2", "3"], ["folds"]), (["--seed", "-1"], ["seed", "-1"]),
    (["--duration", "nan"], ["duration_seconds"])])
def test_synthesis_mistakes(arguments, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for label in ("bark", "rain"):
        (tmp_path / "bank" / label).mkdir(parents=True)
        for index in range(3):
            soundfile.write(tmp_path / "bank" / label / f"{index}.wav", np.full(RATE, 0.1), RATE)
    bank = [] if "--soundbank" in arguments else ["--soundbank", "bank"]
    assert_mistake(capsys, ["synthesize", *bank, "--out", "data", *arguments], *words)
    assert [path.name for path in tmp_path.iterdir()] == ["bank"]


def test_unwritable_reports_and_exports(run, data, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        assert_mistake(capsys, ["evaluate", run, "--data", data, "--out", place], "file", "cannot be written")
        assert_mistake(capsys, ["export", run, "--out", place], "file", "cannot be written")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_argparse_mistakes_exit_with_two(capsys):
    fold = ["synthesize", "--procedural", "--out", "d", "--folds", "one", "2", "3"]
    for arguments in ([], ["train"], ["detect", "a.wav", "--format", "xml"], fold):
        assert main(arguments) == 2
