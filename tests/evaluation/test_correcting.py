"""Learning from corrections: what changes, what stays, and that nothing is judged by what it was learnt from."""
import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import soundfile
from scipy.special import expit

from polysed_keras.cli.main import main
from polysed_keras.errors import InputError
from polysed_keras.evaluation.correcting import (
    Learnt,
    _thresholds,
    _with_new_labels,
    format_learnt,
    learn_corrections,
)
from polysed_keras.events.corrections import Answer, confirmed_events
from polysed_keras.export.runs import export_run, load_run_detector, load_trained
from polysed_keras.export.saved_model import load_saved_model
from polysed_keras.files import file_digest, read_json
from polysed_keras.models.prior import RARE
from polysed_keras.training.checkpoints import read_history
from polysed_keras.training.correcting import Corrector, add_labels, check_learnable, load_reviewed
from polysed_keras.training.runs import load_run, run_plugins

from fixtures import CLIPS, HOP, LABELS, MULTI_LABEL, POWERSET, RATE, shared_corpus, shared_export, shared_run

SEGMENT = MULTI_LABEL.training.segment_frames * HOP / RATE
NAMES = ("test0.wav", "test1.wav", "test2.wav", "validate0.wav", "validate1.wav", "validate2.wav")


def recordings(names=NAMES):
    return {name: shared_corpus() / "audio" / name for name in names}


def reference(name):
    path = shared_corpus() / "meta" / name.replace(".wav", ".txt")
    return [(float(onset), float(offset), label) for onset, offset, label in
            (line.split("\t") for line in path.read_text().splitlines())]


def answers_of(names=NAMES, swapped=("beep", "hum")):
    """Each event of the reference; but of two labels, whose events are answered as if their names were swapped."""
    names_of = {label: label for label in LABELS} | dict([swapped, swapped[::-1]])
    answers = []
    for name in names:
        for onset, offset, label in reference(name):
            heard = (max(0.0, onset - 0.5), offset + 0.5)
            answers.append(Answer(name, names_of[label], onset, offset, "yes", heard, (onset, offset), 0.5))
            if label in swapped:
                answers.append(Answer(name, label, onset, offset, "no", heard, (onset, offset), 0.5))
    return answers


@pytest.fixture
def trained():
    return load_trained(shared_run(MULTI_LABEL))


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """A run that learnt that beep and hum are each other."""
    run = tmp_path_factory.mktemp("learnt") / "run"
    experiment, network, calibration, origin = load_trained(shared_run(MULTI_LABEL))
    return run, learn_corrections(experiment, network, answers_of(), recordings(), run, calibration=calibration,
                                  extra=origin)


# What can learn

def test_a_run_and_its_export_are_loaded_as_they_answer():
    waveform = 0.1 * np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    expected = load_saved_model(shared_export(MULTI_LABEL)).posteriors(waveform)[0]
    networks = [load_trained(shared_run(MULTI_LABEL)), load_trained(shared_export(MULTI_LABEL))]
    log_mel = np.random.default_rng(0).normal(-30, 10, (2, *networks[0][0].input_shape)).astype(np.float32)
    for answers in zip(*(network(log_mel).values() for _, network, _, _ in networks), strict=True):
        np.testing.assert_allclose(*answers, atol=1e-6)
    np.testing.assert_allclose(load_run_detector(shared_run(MULTI_LABEL)).posteriors(waveform)[0], expected, atol=1e-5)
    assert networks[0][0].tasks == networks[1][0].tasks
    with pytest.raises(InputError):
        load_trained(shared_corpus())


@pytest.mark.parametrize("experiment, message", [(POWERSET, "a posterior per label"), (CLIPS, "one that detects")])
def test_other_networks_are_refused(experiment, message):
    with pytest.raises(InputError, match=message):
        check_learnable(load_run(shared_run(experiment)))


def test_more_labels_leave_the_others_as_they_are(trained):
    experiment, network, *_ = trained
    log_mel = np.random.default_rng(0).normal(-30, 10, (2, *experiment.input_shape)).astype(np.float32)
    wider, grown = add_labels(experiment, network, ["owl", "fox"])
    assert wider.tasks[0].labels == (*experiment.tasks[0].labels, "owl", "fox")
    before, after = (np.array(model(log_mel)[experiment.tasks[0].name]) for model in (network, grown))
    np.testing.assert_allclose(after[..., :4], before, atol=1e-6)
    np.testing.assert_allclose(after[..., 4:], expit(RARE), atol=1e-6)
    assert add_labels(experiment, network, []) == (experiment, network)


def test_segments_are_those_that_the_network_hears(trained):
    experiment = trained[0]
    answers = [Answer("test0.wav", "beep", 2.0, 2.5, "yes", (1.5, 3.0), (2.0, 2.5)),
               Answer("test1.wav", "hum", 0.1, 0.2, "no", (0.0, 0.6), (0.1, 0.2))]
    reviewed, numbers = load_reviewed(experiment, answers, recordings(NAMES[:2])), []
    for name in NAMES[:2]:
        waveform, _ = soundfile.read(recordings()[name])
        numbers.append(-(-len(waveform) // round(SEGMENT * RATE)))
    assert reviewed.recordings == ["test0.wav"] * numbers[0] + ["test1.wav"] * numbers[1]
    assert reviewed.indices.tolist() == [*range(numbers[0]), *range(numbers[1])]
    labels = list(experiment.tasks[0].labels)
    times = (np.arange(numbers[0] * experiment.training.segment_frames) + 0.5) * HOP / RATE
    active = reviewed.active[:numbers[0], :, labels.index("beep")].ravel()
    np.testing.assert_array_equal(active, (2.0 <= times) & (times < 2.5))
    known = reviewed.known[..., labels.index("hum")]
    assert known[:numbers[0]].sum() == 0 and known[numbers[0]:].sum() == round(0.6 * RATE / HOP)


def test_what_is_known_changes_and_what_is_not_stays(trained):
    """Beeps are hums from now on; hisses, of which nothing was said, stay as they were."""
    experiment, network, *_ = trained
    answers = [answer for answer in answers_of() if answer.label in ("beep", "hum")]
    reviewed = load_reviewed(experiment, answers, recordings())
    corrector = Corrector(experiment, network, reviewed)
    before = corrector.predict()
    corrector.fit(np.ones(len(before), bool))
    after = corrector.predict()
    labels = list(experiment.tasks[0].labels)
    for label in ("beep", "hum"):
        column = labels.index(label)
        known = reviewed.known[..., column]
        errors = [np.abs(each[..., column][known] - reviewed.active[..., column][known]).mean()
                  for each in (before, after)]
        assert errors[1] < 0.6 * errors[0]
    untouched = [labels.index(label) for label in ("hiss", "whistle")]
    assert np.abs(after - before)[..., untouched].mean() < 0.05
    corrector.reset()
    np.testing.assert_array_equal(corrector.predict(), before)


# The run

def test_a_run_that_has_learnt_is_a_run(learnt, tmp_path):
    run, result = learnt
    assert set(result.table.columns) == {"recording", "label", "onset", "offset", "there", "before", "after",
                                         "reported_before", "reported_after"}
    detector = load_run_detector(run)
    answers, labels = answers_of(), [row[1] for row in result.table.itertuples(index=False)]
    assert len(result.table) == len(answers) and labels == [answer.label for answer in answers]
    beeps = confirmed_events(answers, "test0.wav").query("event_label == 'hum'")
    found = detector.detect(recordings()["test0.wav"], threshold=0.3, labels=["hum"])
    assert len(beeps) == 0 or len(found)
    version = export_run(run, tmp_path / "models" / "learnt")
    waveform = 0.1 * np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    np.testing.assert_allclose(load_saved_model(version).posteriors(waveform)[0], detector.posteriors(waveform)[0],
                               atol=1e-5)
    assert detector.description["calibration"]["labels"] == list(detector.labels)


def test_answers_that_were_not_learnt_from_are_judged_better(learnt):
    _, result = learnt
    swapped = result.table[result.table.label.isin(["beep", "hum"])]
    for there, better in ((True, 1), (False, -1)):
        part = swapped[swapped.there == there]
        assert better * (part.after.mean() - part.before.mean()) > 0.1
    text = format_learnt(result)
    assert f"{len(result.table)} answers" in text and "before: " in text and "after: " in text


def test_the_same_corrections_give_the_same_weights(learnt, trained, tmp_path):
    run, result = learnt
    experiment, network, calibration, origin = trained
    again = learn_corrections(experiment, network, answers_of(), recordings(), tmp_path / "run",
                              calibration=calibration, extra=origin)
    pd.testing.assert_frame_equal(again.table, result.table)
    assert again.calibration == result.calibration
    assert sorted(path.name for path in run.iterdir()) == sorted(path.name for path in (tmp_path / "run").iterdir())
    before, after = (load_trained(each)[1].get_weights() for each in (run, tmp_path / "run"))
    for pair in zip(before, after, strict=True):
        np.testing.assert_array_equal(*pair)
    for name in ("experiment.json", "state.json", "calibration.json"):
        assert (run / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def test_answers_that_say_neither_yes_nor_no_teach_nothing(trained, tmp_path):
    experiment, network, calibration, _ = trained
    answers = [dataclasses.replace(answer, answer="unsure") for answer in answers_of()]
    with pytest.raises(InputError, match="expected answers that are yes or no"):
        learn_corrections(experiment, network, answers, recordings(), tmp_path / "run", calibration=calibration)
    assert list(tmp_path.iterdir()) == []


def test_learning_that_is_interrupted_leaves_nothing(trained, tmp_path, monkeypatch):
    """And the same command again gives the run, as the test before says."""
    experiment, network, calibration, _ = trained
    fits, fit = [], Corrector.fit

    def interrupted(self, segments):
        fits.append(segments)
        if len(fits) == 3:
            raise KeyboardInterrupt
        fit(self, segments)

    monkeypatch.setattr(Corrector, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        learn_corrections(experiment, network, answers_of(), recordings(), tmp_path / "run", calibration=calibration)
    assert list(tmp_path.iterdir()) == []


def test_plugins_go_with_the_run(trained, tmp_path):
    experiment, network, calibration, _ = trained
    code = "from polysed_keras.specs import register\nregister('head', 'of_correcting')(lambda *_: None)"
    (tmp_path / "mine.py").write_text(code)
    learn_corrections(experiment, network, answers_of(NAMES[:1]), recordings(NAMES[:1]), tmp_path / "run",
                      calibration=calibration, plugins=[tmp_path / "mine.py"])
    (tmp_path / "mine.py").unlink()
    assert load_run(tmp_path / "run") == experiment
    assert [path.read_text() for path in run_plugins(tmp_path / "run")] == [code]
    assert run_plugins(shared_run(MULTI_LABEL)) == run_plugins(tmp_path) == []


def test_an_answer_is_judged_by_a_network_that_does_not_know_it(learnt, trained, tmp_path):
    """All answers of one recording are turned round: what the network that judges them says does not change."""
    run, result = learnt
    experiment, network, calibration, _ = trained
    turned = {"yes": "no", "no": "yes"}
    answers = [dataclasses.replace(answer, answer=turned[answer.answer]) if answer.recording == "test1.wav" else answer
               for answer in answers_of()]
    other = learn_corrections(experiment, network, answers, recordings(), tmp_path / "run", calibration=calibration)
    own = result.table.recording == "test1.wav"
    pd.testing.assert_frame_equal(other.table[own].drop(columns=["there", "reported_after"]),
                                  result.table[own].drop(columns=["there", "reported_after"]))
    assert (other.table.after[~own] - result.table.after[~own]).abs().max() > 1e-3


def test_a_label_that_the_model_does_not_know(trained, tmp_path):
    experiment, network, calibration, _ = trained
    answers = [dataclasses.replace(answer, label="owl") if answer.label == "whistle" else answer
               for answer in answers_of()]
    result = learn_corrections(experiment, network, answers, recordings(), tmp_path / "run", calibration=calibration)
    assert result.new_labels == ["owl"] and result.calibration["labels"] == [*experiment.tasks[0].labels, "owl"]
    detector = load_run_detector(tmp_path / "run")
    assert detector.labels == (*experiment.tasks[0].labels, "owl")
    owls = [(name, onset, offset) for name in NAMES for onset, offset, label in reference(name) if label == "whistle"]
    posteriors = {name: detector.posteriors(recordings()[name])[0][:, -1] for name in {name for name, *_ in owls}}
    inside = np.concatenate([posteriors[name][round(onset * 50):round(offset * 50)] for name, onset, offset in owls])
    assert inside.mean() > 3 * np.mean([each.mean() for each in posteriors.values()])


def test_labels_with_enough_answers_get_thresholds_by_them(learnt):
    """Nothing was calibrated before, which leaves 0.5."""
    result = learnt[1]
    counts = result.table.label.value_counts()
    assert (counts >= 5).any()
    for label, *thresholds in zip(result.calibration["labels"], *result.calibration["thresholds"].values()):
        assert (set(thresholds) != {0.5}) == (counts.get(label, 0) >= 5)


def test_what_was_learnt_is_the_first_epoch(learnt):
    (row,) = read_history(learnt[0])
    assert row["epoch"] == 1


def test_a_calibration_by_answers_that_was_changed_is_refused(learnt, tmp_path):
    path = tmp_path / "calibration.json"
    path.write_text((learnt[0] / path.name).read_text().replace('"hours": ', '"hours": 1', 1))
    with pytest.raises(InputError, match="calibration.json"):
        read_json(path)


def test_all_or_nothing_has_no_interval():
    table = pd.DataFrame({"recording": "a.wav", "label": "dog", "onset": 0.0, "offset": 1.0, "there": [True] * 4,
                          "before": 0.5, "after": 0.5, "reported_before": [False] * 4, "reported_after": [True] * 4})
    *_, before, after = format_learnt(Learnt(table, 3600.0, {}, [])).splitlines()
    assert before.startswith("before: 0 % [0, 0] of the events") and after.startswith("after: 100 % [100, 100] of the")


def test_a_new_label_is_filtered_as_most_are():
    before = {"labels": ["a", "b", "c"], "alarms_per_hour": "20", "hours": 1.0, "thresholds": {"20": [0.1, 0.2, 0.3]},
              "median_frames": [5, 1, 3], "min_duration": [0.4, 0.1, 0.2]}
    after = _with_new_labels(before, ["a", "b", "c", "d"], ["d"], 60.0)
    assert after == before | {"labels": ["a", "b", "c", "d"], "thresholds": {"20": [0.1, 0.2, 0.3, 0.5]},
                              "median_frames": [5, 1, 3, 3], "min_duration": [0.4, 0.1, 0.2, 0.2]}


def test_thresholds_by_hand():
    """In an hour two false events are allowed: those of 0.8 and 0.6, and not the third, of 0.5."""
    events = pd.DataFrame({"event_label": ["dog"] * 5 + ["cat"] * 4, "there": [1.0, 1, 0, 0, 0] + [1, 0, 0, 0],
                           "confidence": [0.9, 0.55, 0.8, 0.6, 0.5] + [0.5] * 4})
    events = events.assign(before=events["confidence"])
    dog, cat = _thresholds(events, ["dog", "cat"], [0.1, 0.2], 2.0, 3600.0)
    assert 0.5 < dog <= 0.55 and cat == 0.2  # of cats there are too few answers
    assert _thresholds(events, ["dog", "cat"], [0.1, 0.2], 0.5, 3600.0)[0] > 0.8


def test_events_that_nobody_was_asked_about_count_as_the_answers_say():
    """All near the threshold are there: it is lowered, but not to the hundreds of faint events that nobody heard."""
    confidences = np.r_[np.linspace(0.4, 0.6, 8), np.linspace(0.02, 0.1, 300)]
    events = pd.DataFrame({"event_label": "dog", "there": [1.0] * 8 + [np.nan] * 300, "confidence": confidences})
    (threshold,) = _thresholds(events.assign(before=events["confidence"]), ["dog"], [0.5], 20.0, 3600.0)
    assert 0.1 < threshold <= 0.4
    # what the network has only begun to find by learning is as unknown, however sure it is now
    sure = events.assign(before=events["confidence"], confidence=np.r_[confidences[:8], np.linspace(0.5, 0.9, 300)])
    assert _thresholds(sure, ["dog"], [0.5], 20.0, 3600.0)[0] > 0.8
    events = events.assign(before=events["confidence"])
    refused = events.assign(there=events["there"] * 0)
    assert _thresholds(refused, ["dog"], [0.5], 2.0, 3600.0)[0] > 0.55


def test_numbers_in_the_text_by_hand():
    table = pd.DataFrame({"recording": "a.wav", "label": ["dog"] * 4 + ["cat"], "onset": 0.0, "offset": 1.0,
                          "there": [True, True, False, False, True], "before": 0.5, "after": 0.5,
                          "reported_before": [True, False, True, True, False],
                          "reported_after": [True, True, False, True, False]})
    lines = format_learnt(Learnt(table, 1800.0, {}, [])).splitlines()
    assert lines[0] == "5 answers of 0.50 hours, each judged by a network that did not learn from it"
    assert [line.split() for line in lines[2:5]] == [["cat", "1", "0", "0", "0", "0", "0"],
                                                     ["dog", "2", "1", "2", "2", "2", "1"],
                                                     ["all", "3", "1", "2", "2", "2", "1"]]
    assert lines == format_learnt(Learnt(table, 1800.0, {}, []), resamples=1000, seed=0).splitlines()
    assert lines != format_learnt(Learnt(table, 1800.0, {}, []), resamples=50).splitlines()
    assert lines[-2].startswith("before: 33 % [") and "4.0 [" in lines[-2] and lines[-1].startswith("after: 67 % [")


# The command

def written(tmp_path, answers):
    digests = {name: file_digest(path) for name, path in recordings().items()}
    content = {"polysed_format": 1, "kind": "polysed corrections", "model": "tiny", "reviewer": "Ann",
               "answers": [dataclasses.asdict(answer) | {"digest": digests[answer.recording]} for answer in answers]}
    (tmp_path / "c.json").write_text(json.dumps(content))
    return str(tmp_path / "c.json")


def test_the_command_learns_from_an_export(tmp_path, capsys):
    arguments = ["learn", str(shared_export(MULTI_LABEL)), "--corrections", written(tmp_path, answers_of()), "--audio",
                 str(shared_corpus() / "audio"), "--out", str(tmp_path / "run")]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "each judged by a network that did not learn from it" in printed and "polysed export " in printed
    assert main(arguments) == 2 and "exists already" in capsys.readouterr().err
    assert main([*arguments[:-1], str(tmp_path / "second"), "--audio", str(tmp_path)]) == 2
    assert "none of the name" in capsys.readouterr().err
    assert main(["learn", str(shared_export(POWERSET)), *arguments[2:-1], str(tmp_path / "second")]) == 2
    assert "a posterior per label" in capsys.readouterr().err and not (tmp_path / "second").exists()
