"""Guides: every command and piece of Python, in order, in a folder as the page describes it, with short trainings."""
import io
import json
import shutil
import sys
import types

import numpy as np
import pytest
import soundfile
from test_docs import GUIDES, commands_of
from test_tutorials import RATE, ROOT, blocks, sound, write_answers, write_events

from polysed_keras.cli.main import main
from polysed_keras.synthesis.negatives import NEGATIVES

from fixtures import made_once, shared_clips, shared_corpus, write_bank

LABELS = ("cat", "dog", "door_knock", "kettle", "siren")
# What is shown by tests of its own: servers, clusters and microphones, sweeps, and corpora that have to be downloaded.
ELSEWHERE = ("--server", "--scheduler", "--data-service", "listen --model", "sweep", "check tut_urban",
             "check audioset", "URBAN-SED_v2.0.0", "DESED/dataset", "MAESTRO_Real", "ESC-50-master")
PYTHON_ELSEWHERE = ("dask_jobqueue", "experimental.service", "serving import connect", "runtimes/")
SMALL = ("model.filters=[8,8]", "model.recurrent_units=8", "model.dense_units=[8]")
CLIPS = ("model.filters=[8,8]", "training.segment_frames=50", "training.batch_size=8")
FEW = ("--mixtures", "2", "1", "1", "--duration", "9.6")
SETTINGS = ["training.epochs=1"]
DRY = ("rt60_seconds=[]", "empty_share=0")
# What stands in place of parts of the guides' Python that would take long.
SHORTER = {'from_preset("yamnet")': 'from_preset("yamnet", settings=["training.epochs=1"])',
           '"runs/mine", negatives="place"': '"runs/own", negatives="place", mixtures=(2, 1, 1)'}
STREETS = ("street", "yard", "road", "park", "lane")


def write_project(folder):
    """What the guides begin with: sounds, mixtures of them, a run and its export, recordings and a place's noise."""
    folder.mkdir()
    write_bank(folder / "sounds", LABELS)
    (folder / "recordings").mkdir()
    street = np.concatenate([sound(f"other/{label}/*.ogg", 2) for label in ("dog", "rooster", "cow", "dog", "siren")])
    for name in STREETS:
        soundfile.write(folder / "recordings" / f"{name}.wav", 0.5 * street, RATE)
    shutil.copy(folder / "recordings" / "street.wav", folder)
    soundfile.write(folder / "bark.wav", 0.5 * street[:RATE], RATE)
    for place in ("place", "recordings_without_them"):
        (folder / place).mkdir()
        shutil.copy(NEGATIVES / "background" / "ambience" / "town" / "city.ogg", folder / place)
    run, data = str(folder / "runs" / "mine"), str(folder / "data")
    for command in (["synthesize", "--soundbank", str(folder / "sounds"), "--out", data, "--mixtures", "3", "2", "3",
                     "--duration", "9.6", "--set", *DRY],
                    ["train", "yamnet", "--data", data, "--out", run, "--set", *SETTINGS],
                    ["calibrate", run, "--data", data],
                    ["export", run, "--out", str(folder / "saved_models" / "mine")]):
        assert main(command) == 0


def write_own_corpus(folder):
    """Recordings of shared_corpus beside one table of events for each partition."""
    shutil.copytree(shared_corpus() / "audio", folder / "audio")
    for partition in ("train", "validate", "test"):
        lines = ["filename\tonset\toffset\tevent_label"]
        for path in sorted((shared_corpus() / "meta").glob(f"{partition}*.txt")):
            lines += [f"{path.stem}.wav\t{line}" for line in path.read_text().splitlines()]
        (folder / f"{partition}.tsv").write_text("\n".join(lines) + "\n")


def write_table(path, separator, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(separator.join(map(str, row)) + "\n" for row in rows), encoding="windows-1252")


def prepare(page, folder):
    """What the pages name beside the project."""
    write_answers(folder)
    for name in ("ann", "bob", "dogs"):
        shutil.copy(folder / "review.corrections.json", folder / f"{name}.corrections.json")
    times, column = ("filename", "onset", "offset", "event_label"), "name" if page == "odd-files" else "label"
    for name in STREETS:
        write_events(folder / "annotations" / f"{name}.tsv", (0, 2, "dog"), (8, 10, "siren"))
        write_table(folder / "labels" / f"{name}.csv", ",", ("onset", "offset", column), (0, 2, "door_knock"),
                    (3, 5, "kettle"), (8, 10, "siren"))
    shutil.copy(folder / "annotations" / "street.tsv", folder / "street.tsv")
    write_table(folder / "reference.tsv", "\t", times, ("street.wav", 0, 2, "dog"))
    write_table(folder / "events" / "other.csv", ",", times, ("street.wav", 0, 2.1, "dog"))
    write_table(folder / "durations.tsv", "\t", ("filename", "duration"), *((f"{name}.wav", 10) for name in STREETS))
    write_table(folder / "partition.txt", "\t", *((f"{name}.wav", "test") for name in STREETS))
    sounds = [(label, fold, take) for label in LABELS for fold in (1, 2, 3, 4) for take in (1, 2)]
    write_table(folder / "esc10" / "meta" / "esc50.csv", ",",
                ("filename", "fold", "target", "category", "esc10", "src_file", "take"),
                *((f"{label}{fold}{take}.wav", fold, 0, label, True, f"{label}{fold}{take}", "A")
                  for label, fold, take in sounds))
    (folder / "esc10" / "audio").mkdir()
    for label, fold, take in sounds:
        shutil.copy(folder / "sounds" / label / f"{fold}.wav", folder / "esc10" / "audio" / f"{label}{fold}{take}.wav")
    shutil.copytree(shared_corpus(), folder / "TUT-SED-synthetic-2016")
    shutil.copytree(shared_clips(), folder / "DATA")
    write_own_corpus(folder / "DATA")
    search = json.loads((ROOT / "tuning" / "mcmt_small.json").read_text())
    search |= {"trials": 1, "epochs": 1, "seeds": [0], "algorithm": "random", "ranges": {"model.dropout": [0.0, 0.1]}}
    write_table(folder / "tuning" / "mcmt_small.json", "", (json.dumps(search),))


def shorten(command):
    """Return a guide's command with a small preset and numbers that take seconds."""
    command = [word.replace("multilabel_small 0", "yamnet epochs=1 0") for word in command]  # its run
    name, *rest = command
    if name == "train":
        preset = rest[0].replace("mcmt_8", "mcmt_2")  # The folder's sounds have five labels, its corpus four.
        if not preset.endswith((".json", "_small")) and "yamnet" not in preset:
            preset += "_small"
        own = CLIPS if "scene" in preset or "event" in preset else SMALL if preset.endswith("_small") else ()
        if "--soundbank" in rest:
            rest += [*FEW, "--mix", *DRY]
        last = rest[rest.index("--set") + 1:] if "--set" in rest else ()  # The last of each field is taken.
        rest = [preset, *rest[1:], "--set", *own, *SETTINGS, *last]
    if name == "synthesize" and "--from" not in rest:
        rest += FEW
    if name == "standin":
        rest += ["--set", "scenes=2", "locations=[1,1,1]"]
    return [name, *rest]


@pytest.fixture
def folder(tmp_path, monkeypatch, request):
    """A folder as a page describes it, in which the program runs, with a recording on standard input."""
    folder = tmp_path / "project"
    shutil.copytree(made_once("project", write_project), folder)
    prepare(request.getfixturevalue("page").stem, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_does_what_it_says(page, folder, monkeypatch):
    names = {"blocks": []}
    for language, text in blocks(page):
        if language == "python":
            if "ps.register" in text:
                (folder / "FILE.py").write_text(text)
            elif not any(word in text for word in PYTHON_ELSEWHERE):
                for long, short in SHORTER.items():
                    text = text.replace(long, short)
                exec(compile(text, page.name, "exec"), names)
        for command in commands_of(text) if language == "sh" else ():
            if not any(word in " ".join(command) for word in ELSEWHERE):
                if command[0] in ("train", "synthesize", "import"):  # An alternative to what the page has done.
                    shutil.rmtree(command[command.index("--out") + 1], ignore_errors=True)
                heard = soundfile.read("street.wav", dtype="int16")[0].tobytes()  # samples, or a whole WAV file
                heard = heard if "--rate" in command else (folder / "street.wav").read_bytes()
                monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(heard)))
                assert main(shorten(command)) == 0, command
