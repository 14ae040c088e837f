"""README and tutorials: every command and piece of Python, in order, in a folder as the page describes it."""
import dataclasses
import json
import pathlib
import re
import shutil

import numpy as np
import pytest
import soundfile
from test_docs import commands_of

from polysed_keras.audio import load_audio
from polysed_keras.cli.main import main
from polysed_keras.events.corrections import KIND, Answer
from polysed_keras.files import file_digest
from polysed_keras.synthesis.negatives import NEGATIVES

from fixtures import shared_corpus, write_bank

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
RATE = 16000


def sound(name, seconds):
    """A recording that comes with the package, repeated to a length."""
    path = next(iter(sorted(NEGATIVES.rglob(name))))
    return np.resize(load_audio(path, RATE), round(seconds * RATE))


def write_events(path, *events):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join("\t".join(map(str, event)) + "\n" for event in events))


def write_answers(folder):
    """What the page of the tutorial would save: sounds of dogs, confirmed and refused."""
    path = folder / "recordings" / "street.wav"
    answers = [Answer("street.wav", "dog", begin, begin + 1.0, answer, (begin, begin + 1.5), (begin, begin + 1.0), 0.5,
                      file_digest(path)) for begin, answer in ((1.0, "yes"), (6.0, "no"), (12.0, "yes"))]
    (folder / "review.corrections.json").write_text(
        json.dumps({"polysed_format": 1, "kind": KIND, "answers": [dataclasses.asdict(answer) for answer in answers]}))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with what the pages name, in which the program runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recordings").mkdir()
    (tmp_path / "saved_models").mkdir()
    (tmp_path / "saved_models" / "everyday").symlink_to(ROOT / "saved_models" / "everyday")
    street = [sound(f"other/{label}/*.ogg", 4) for label in ("dog", "rooster", "cow", "dog", "siren")]
    soundfile.write("recordings/street.wav", 0.5 * np.concatenate(street), RATE)
    shutil.copy("recordings/street.wav", "street.wav")
    soundfile.write("owl.wav", 0.5 * street[2][:RATE], RATE)
    write_events(tmp_path / "reference" / "street.tsv", (1, 2, "dog"), (3, 4.5, "cat"))
    write_events(tmp_path / "mine" / "street.tsv", (1.1, 2, "dog"), (7, 8, "cat"))
    write_events(tmp_path / "theirs" / "street.tsv", (3, 4, "cat"))
    write_answers(tmp_path)
    shutil.copytree(shared_corpus(), tmp_path / "data")
    return tmp_path


def blocks(page):
    """(language, text) of a page's shell scripts and Python, in order."""
    return re.findall(r"^```(sh|python)\n(.*?)^```", page.read_text(), re.M | re.S)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_does_what_it_says(page, folder):
    names, ran = {}, 0
    for language, text in blocks(page):
        if language == "python":
            exec(compile(text, page.name, "exec"), names)
        for command in commands_of(text) if language == "sh" else ():
            if "--server" not in command:  # tests/serving asks servers
                assert main(command) == 0, command
        ran += 1
    assert ran >= 2
    made = {"recordist": ("events/street.tsv", "events/street.png", "street.html", "review.html", "owls.html",
                          "runs/corrected/best.weights.h5", "corrected/street.tsv"),
            "researcher": ("scores/scores.csv", "scores/f_scores.png", "posteriors/street.tsv"),
            "engineer": ("deployment/compose.yaml",), "keras_user": ("mine.keras", "saved_models/mine/1/card.json")}
    assert [path for path in made[page.stem] if not (folder / path).is_file()] == []


# How the README's trainings are made short; networks of clips are trained in tests/training, sweeps in tests/papers.
TINY = ("--mixtures", "2", "1", "1", "--duration", "9.6", "--mix", "rt60_seconds=[]", "empty_share=0", "--set",
        "training.epochs=1")
SHORT = {"yamnet": ("yamnet", TINY), "multilabel": ("multilabel_small", ("--set", "training.epochs=1")),
         "mcmt_8": ("mcmt_2_small", ("--set", "training.epochs=1"))}
ELSEWHERE = {("train", "scene_event_joint"), ("sweep", "alpha")}


@pytest.mark.slow
def test_the_readme_does_what_it_says(folder):
    """The page asks about events of one's own model, and the answers are of its labels."""
    names, commands = {}, []
    write_bank(folder / "sounds", ("dog", "cat"))
    shutil.copytree(shared_corpus(), folder / "TUT-SED-synthetic-2016")
    shutil.copy(folder / "owl.wav", folder / "bark.wav")
    for language, block in blocks(ROOT / "README.md"):
        if language == "python" and "load_detector()" in block:
            exec(compile(block, "README.md", "exec"), names)
        for command in commands_of(block) if language == "sh" else ():
            if tuple(command[:2]) in ELSEWHERE or "--server" in command:
                continue
            if command[0] == "train":
                preset, options = SHORT[command[1]]
                command = ["train", preset, *command[2:], *options]
            assert main(command) == 0, command
            commands.append(command[0])
    assert {"detect", "train", "view", "export", "review", "learn", "find", "evaluate", "serve-config"} <= set(commands)
    made = ("events/street.csv", "street.html", "saved_models/mine/1/card.json", "review.html", "dogs.html",
            "runs/corrected/best.weights.h5", "deployment/compose.yaml", "runs/mcmt_8/best.weights.h5")
    assert [path for path in made if not (folder / path).is_file()] == []
