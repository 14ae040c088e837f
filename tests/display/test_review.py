"""The page to correct detections: which events it asks about, what is in it, and what it does in a real browser."""
import json

import numpy as np
import pandas as pd
import pytest
import soundfile
import tensorflow as tf

from polysed_keras.cli import parsers
from polysed_keras.cli.main import main
from polysed_keras.datasets.importing.recordings import read_annotations
from polysed_keras.detection.detector import Detector
from polysed_keras.display.review import (
    ORDERS,
    Question,
    build_review,
    choose_questions,
    find_disagreements,
    find_questions,
    read_questions,
    write_review,
)
from polysed_keras.errors import InputError
from polysed_keras.events.corrections import read_corrections

from browser import Browser
from fixtures import HOP, MULTI_LABEL, RATE

SECONDS, RESOLUTION = 10.0, HOP / RATE
LABELS = ("dog", "cat", "</script><b>bird</b>")
NAME = "a <b>street<i> & more.wav"
DESCRIPTION = {"labels": list(LABELS), "sample_rate": RATE, "hop_length": HOP, "win_length": 320, "segment_frames": 32,
               "time_resolution": RESOLUTION, "name": "tiny",
               "experiment": MULTI_LABEL.to_dict() | {"name": "<i>tiny</i>"}}
EVENTS = [("dog", 1.0, 1.5, 0.9), ("dog", 6.0, 6.5, 0.55), ("dog", 8.0, 8.5, 0.3), ("cat", 2.5, 4.5, 0.7),
          (LABELS[2], 9.0, 10.0, 0.05), ("cat", 7.5, 8.0, 0.01)]


def posteriors():
    rows = np.zeros((round(SECONDS / RESOLUTION), len(LABELS)), np.float32)
    for label, onset, offset, confidence in EVENTS:
        rows[round(onset / RESOLUTION):round(offset / RESOLUTION), LABELS.index(label)] = confidence
    return rows


@pytest.fixture(scope="module")
def detector():
    """A Detector whose network finds EVENTS in all that it hears."""
    rows = posteriors()
    answer = {"posteriors": tf.constant(rows[None]), "activity": tf.constant((rows[None] > 0.5).astype(np.uint8))}
    calibration = {"labels": list(LABELS), "alarms_per_hour": "20",
                   "thresholds": {"20": [0.5, 0.6, 0.9], "60": [0.31, 0.6, 0.9]}}
    return Detector(lambda waveform: answer, DESCRIPTION | {"calibration": calibration})


@pytest.fixture(scope="module")
def folder(tmp_path_factory, detector):
    """A recording, and page.html that asks about it."""
    folder = tmp_path_factory.mktemp("review")
    time = np.arange(round(SECONDS * RATE)) / RATE
    soundfile.write(folder / NAME, 0.3 * np.sin(2 * np.pi * (300 + 20 * time) * time), RATE)
    questions = choose_questions(find_questions([folder / NAME], detector), 50)
    write_review(questions, folder / "page.html", labels=detector.labels, model="tiny")
    return folder


def data_of(page):
    text = page.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    return json.loads(text)


def spans(questions):
    return [(question.label, question.onset, question.offset) for question in questions]


# Which events are asked about

def test_events_near_their_threshold_come_first_and_labels_take_turns(folder, detector):
    """By hand: |logit(c) - logit(t)| of dogs is 2.2, 0.2 and 0.8; a label with one event comes before cats and dogs."""
    questions = choose_questions(find_questions([folder / NAME], detector), 50)
    order = [(LABELS[2], 9.0), ("cat", 2.5), ("dog", 6.0), ("dog", 8.0), ("dog", 1.0)]
    assert [question.label for question in questions] == [label for label, _ in order]
    assert [question.onset for question in questions] == pytest.approx([onset for _, onset in order])
    assert [question.threshold for question in questions] == [0.9, 0.6, 0.5, 0.5, 0.5]
    moved = choose_questions(find_questions([folder / NAME], detector, labels=["dog"], alarms_per_hour=60), 1)
    assert moved[0].onset == pytest.approx(8.0) and moved[0].threshold == 0.31


@pytest.mark.parametrize("order, onsets", [("confident", [1.0, 2.5, 6.0, 8.0]), ("time", [1.0, 2.5, 6.0, 8.0])])
def test_other_orders(order, onsets, folder, detector):
    questions = choose_questions(find_questions([folder / NAME], detector), 4, order)
    assert [question.onset for question in questions] == pytest.approx(onsets)
    with pytest.raises(InputError, match=", ".join(ORDERS)):
        choose_questions(questions, 4, "alphabetical")


def test_the_loudest_events_can_come_first(tmp_path):
    time = np.arange(8000) / 8000
    loudness = {"a.wav": (0.1, 0.4, 0.0), "b.wav": (0.2, 0.02, 0.3)}  # of each second
    for name, levels in loudness.items():
        sound = np.concatenate([level * np.sin(2 * np.pi * 400 * time) for level in levels])
        soundfile.write(tmp_path / name, sound, 8000)
    questions = [Question(tmp_path / name, "dog", second + 0.1, second + 0.9, confidence=0.5, threshold=0.5)
                 for name in loudness for second in range(3)]
    questions = choose_questions(questions, 6, "loudest")
    order = [loudness[question.path.name][int(question.onset)] for question in questions]
    assert order == [0.4, 0.3, 0.2, 0.1, 0.02, 0.0]
    assert choose_questions([Question(tmp_path / "a.wav", "dog", 5.0, 6.0)], 1, "loudest")  # beyond the recording's end


def test_what_two_lists_disagree_on_is_asked_about(tmp_path):
    one, other = tmp_path / "1.wav", tmp_path / "2.wav"
    found = [Question(one, "dog", 1.0, 2.0, 0.9, 0.5), Question(one, "cat", 4.0, 5.0, 0.9, 0.5),
             Question(other, "dog", 1.0, 2.0, 0.9, 0.5)]
    written = [Question(one, "dog", 1.8, 3.0), Question(one, "dog", 3.9, 5.0), Question(other, "dog", 2.0, 3.0)]
    disagreed = find_disagreements(found, written)
    assert [(question.path.name, *spans([question])[0]) for question in disagreed] == [
        ("1.wav", "dog", 3.9, 5.0), ("1.wav", "cat", 4.0, 5.0), ("2.wav", "dog", 1.0, 2.0), ("2.wav", "dog", 2.0, 3.0)]
    assert choose_questions(disagreed, 4) == disagreed and find_disagreements(found, found) == []


def test_events_of_others_are_asked_about(folder, tmp_path):
    path = folder / NAME
    path.with_suffix(".txt").write_text("2.0\t3.0\tdog\n7.0\t7.5\tcat\n5.0\t5.0\tpoint\n")
    questions = read_questions(path.with_suffix(".txt"), [path])
    assert spans(questions) == [("dog", 2.0, 3.0), ("cat", 7.0, 7.5)]
    assert spans(read_questions(path.with_suffix(".txt"), [path], labels=["cat"])) == [("cat", 7.0, 7.5)]
    assert choose_questions(questions, 1) == questions[:1]
    decomposed = path.with_name("cafe\u0301.wav")  # as macOS writes names
    (tmp_path / "caf\u00e9.txt").write_text("2.0\t3.0\tdog\n")
    assert spans(read_questions(tmp_path / "caf\u00e9.txt", [decomposed])) == [("dog", 2.0, 3.0)]
    data = data_of(build_review(questions, labels=[]))
    assert data["labels"] == ["cat", "dog"] and data["items"][0]["confidence"] is None


# What is in the page

def test_an_excerpt_is_the_recording_around_the_event(folder):
    data = data_of((folder / "page.html").read_text(encoding="utf-8"))
    assert data["labels"] == sorted(LABELS) and len(data["items"]) == 5 and data["model"] == "tiny"
    last, long = data["items"][0], data["items"][1]
    assert last["heard"] == pytest.approx([7.5, 10.0], abs=0.01) and long["heard"] == pytest.approx([1.0, 6.0])
    frames = round((long["heard"][1] - long["heard"][0]) / long["spectrogram"]["frameSeconds"])
    assert long["spectrogram"]["numFrames"] == pytest.approx(frames, abs=2)


def test_a_page_of_a_hundred_events_of_an_hour_is_below_30_mb(tmp_path):
    rate = 16000
    with soundfile.SoundFile(tmp_path / "hour.flac", "w", rate, 1) as file:
        for minute in range(60):
            file.write(np.random.default_rng(minute).uniform(-0.5, 0.5, 60 * rate))  # nothing compresses worse
    questions = [Question(tmp_path / "hour.flac", "dog", 36.0 * index, 36.0 * index + 2, 0.5, 0.5)
                 for index in range(100)]
    assert len(build_review(questions, labels=["dog"])) < 30e6


def test_mistakes_are_named_and_leave_no_page(folder, detector, tmp_path):
    with pytest.raises(InputError, match="expected events to ask about"):
        build_review([], labels=["dog"])
    with pytest.raises(InputError, match="different names"):
        build_review([Question(tmp_path / name / "x.wav", "dog", 0.0, 1.0) for name in "ab"], labels=[])
    with pytest.raises(InputError):
        write_review([Question(tmp_path / "no.wav", "dog", 0.0, 1.0)], tmp_path / "page.html", labels=[])
    assert not (tmp_path / "page.html").exists()


# The command

def test_the_options_of_help_are_those_of_the_page():
    assert parsers.REVIEW_ORDERS == ORDERS


def test_the_command_writes_a_page(folder, detector, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("polysed_keras.serving.load_detector", lambda model, runtime: detector)
    arguments = ["review", str(folder / NAME), "--out", str(tmp_path / "page.html"), "--number", "3"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("3 events of 1 recordings -> ")
    assert len(data_of((tmp_path / "page.html").read_text())["items"]) == 3
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / (NAME.removesuffix(".wav") + ".tsv")).write_text("2.0\t3.0\tdog\n")
    assert main([*arguments, "--events", str(tmp_path / "events")]) == 0
    assert [item["label"] for item in data_of((tmp_path / "page.html").read_text())["items"]] == ["dog"]


@pytest.mark.parametrize("options, message", [
    (["--number", "0"], "--number: expected at least 1"),
    (["--labels", "unicorn"], "unicorn"),
    (["--labels", "cat", "--alarms-per-hour", "1"], "at least 20"),
    (["--events", "x", "--alarms-per-hour", "5"], "none with --events"),
    (["--events", "nowhere"], "nothing there")])
def test_mistakes_in_the_command_are_a_line(options, message, folder, detector, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("polysed_keras.serving.load_detector", lambda model, runtime: detector)
    assert main(["review", str(folder / NAME), "--out", str(tmp_path / "page.html"), *options]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "page.html").exists()


# What it does in a browser

@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(params=[1280, 390], ids=["desktop", "phone"])
def page(request, browser, folder):
    """The page, shown anew. At the end its console has said nothing, and it has asked for nothing."""
    browser.open(folder / "page.html", width=request.param, height=800)
    browser.evaluate("localStorage.clear()")
    browser.open(folder / "page.html", width=request.param, height=800)
    browser.wait_for("audio.readyState >= 2 && tiles.every((tile) => tile.complete)")
    yield browser
    assert browser.problems == []
    assert browser.requests == [(folder / "page.html").as_uri()]


def press(page, keys):
    for key in keys:
        page.press(key, text=key)


def saved(page, button="saveJson"):
    page.evaluate(f"$('{button}').click()")
    return page.downloaded()


def title(page):
    return page.evaluate("$('question').textContent")


def test_events_are_answered_by_keys_and_buttons(page, tmp_path):
    assert title(page) == f"{LABELS[2]}?" and page.evaluate("document.querySelectorAll('b').length") == 0
    press(page, "n")
    assert title(page) == "cat?"
    page.wait_for("audio.played.length")  # the next one is played
    page.evaluate("$('yes').click()")
    press(page, "u")
    assert page.evaluate("$('counts').textContent") == "3 of 5 answered" and title(page) == "dog?"
    page.evaluate("$('reviewer').value = 'Ann B.'")
    read = read_corrections(saved(page))
    assert [answer.answer for answer in read.answers] == ["no", "yes", "unsure", "open", "open"]
    assert (read.reviewer, read.model) == ("Ann B.", "tiny")
    assert {(answer.recording, len(answer.digest)) for answer in read.answers} == {(NAME, 12)}
    assert [answer.asked[0] for answer in read.answers] == pytest.approx([9, 2.5, 6, 8, 1])
    assert read.answers[1].confidence == pytest.approx(0.7)


def test_answers_stay_in_the_browser(page, folder):
    press(page, "yn")
    page.open(folder / "page.html", width=800)
    assert page.evaluate("answers.map((each) => each.answer).join()") == "yes,no,open,open,open"
    assert page.evaluate("current") == 2


def test_what_was_done_is_undone_in_order(page):
    press(page, "yn")
    page.evaluate("$('label').value = 'cow'")
    press(page, "a")
    assert page.evaluate("answers[2].added.length") == 1
    press(page, "zzz")
    assert page.evaluate("answers.every((each) => each.answer === 'open' && !each.added.length)")
    assert page.evaluate("current") == 0
    press(page, "z")
    assert page.evaluate("$('status').textContent") == "There is nothing to undo."


def test_another_label_is_no_and_an_event_of_that_label(page):
    page.evaluate("open(1)")
    press(page, "o")
    assert page.evaluate("answers[1].answer") == "open"  # it is the label that was asked about
    page.evaluate("$('label').value = 'lion'")
    press(page, "o")
    first, second = [answer for answer in read_corrections(saved(page)).answers if answer.heard[0] == 1.0][:2]
    assert (first.label, first.answer, second.label, second.answer) == ("cat", "no", "lion", "yes")
    assert (second.onset, second.offset, second.asked) == (2.5, 4.5, None)


def drag(page, begin, end):
    """Drag over the picture, from one time to another."""
    left, top, scale, first = page.evaluate(
        "[canvas.getBoundingClientRect().left, canvas.getBoundingClientRect().top, scaleOf(), items[current].heard[0]]")
    places = [(left + (time - first) * scale, top + 60) for time in (begin, end)]
    page.call("Input.dispatchMouseEvent", type="mousePressed", x=places[0][0], y=places[0][1], button="left",
              clickCount=1)
    for kind in ("mouseMoved", "mouseReleased"):
        page.call("Input.dispatchMouseEvent", type=kind, x=places[1][0], y=places[1][1], button="left", clickCount=1)


def test_edges_are_dragged_and_missing_events_drawn(page):
    page.evaluate("open(1)")
    page.evaluate("canvas.scrollIntoView()")
    drag(page, 2.5, 3.0)
    assert page.evaluate("answers[1].onset") == pytest.approx(3.0, abs=0.05)
    drag(page, 4.5, 1.5)  # not beyond the other edge
    assert page.evaluate("answers[1].offset - answers[1].onset") == pytest.approx(0.02, abs=0.001)
    press(page, "z")
    assert page.evaluate("answers[1].offset") == 4.5
    page.evaluate("$('label').value = 'dog'")
    drag(page, 5.7, 5.1)
    added = page.evaluate("answers[1].added")
    assert [event["label"] for event in added] == ["dog"]
    assert (added[0]["onset"], added[0]["offset"]) == (pytest.approx(5.1, abs=0.05), pytest.approx(5.7, abs=0.05))
    page.evaluate("document.querySelector('[aria-label=\"Remove dog\"]').click()")
    assert page.evaluate("answers[1].added") == []
    press(page, "z")
    assert page.evaluate("answers[1].added.length") == 1


def test_times_are_typed(page):
    page.evaluate("open(1)")
    page.evaluate("""(() => { const input = document.querySelector('[aria-label="End of cat"]');
        input.value = '4.25'; input.dispatchEvent(new Event('change')); })()""")
    assert page.evaluate("answers[1].offset") == 4.25
    page.evaluate("$('label').focus()")
    press(page, "y")  # typed, no answer
    assert page.evaluate("answers[1].answer") == "open"


def test_events_that_are_there_are_saved_for_other_programs(page, tmp_path):
    press(page, "yy")
    expected = pd.DataFrame([[2.5, 4.5, "cat"], [9.0, 10.0, LABELS[2]]], columns=["onset", "offset", "event_label"])
    for button in ("saveTsv", "saveRaven", "saveLabelStudio"):
        path = saved(page, button)
        assert path.name.startswith("review-") and path.suffix == (".json" if "Label" in button else
                                                                   ".txt" if "Raven" in button else ".tsv")
        _, (annotation,) = read_annotations(path)
        assert annotation.recording == NAME
        events = pd.DataFrame(annotation.events, columns=expected.columns)
        pd.testing.assert_frame_equal(events.sort_values("onset", ignore_index=True), expected)


def test_everything_is_reached_and_named(page):
    reached = []
    for _ in range(40):
        page.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.getAttribute('aria-label')"))
    controls = ["audio", "yes", "no", "unsure", "label", "other", "add", "previous", "next", "play", "undo",
                "saveJson", "saveTsv", "saveRaven", "saveLabelStudio", "reviewer"]
    assert set(controls) <= set(reached)
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "textbox", "combobox", "spinbutton", "image", "progressbar"}
    unnamed = [node for node in nodes if not node["ignored"] and node["role"]["value"] in roles
               and not node.get("name", {}).get("value")]
    assert unnamed == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
