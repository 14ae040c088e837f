"""Calibration: thresholds, filters and durations of made-up posteriors, known by hand, and what they let pass."""
import shutil
import types

import numpy as np
import pandas as pd
import pytest
import soundfile
from scipy.stats import binom

from polysed_keras.cli.main import main
from polysed_keras.errors import InputError
from polysed_keras.evaluation import calibration, postprocessing
from polysed_keras.evaluation.calibration import calibrate_run, expect_alarms, format_expectation
from polysed_keras.evaluation.runs import Estimate
from polysed_keras.files import read_json
from polysed_keras.specs import Task

from fixtures import CLIPS, LABELS, MULTI_LABEL, RATE, shared_corpus, shared_run

STEP = 0.5  # seconds per frame
HOUR = 7200


def made(events, frames=HOUR, labels="ab"):
    """An Estimate of events (label, first frame, frames, posterior, whether it is in the reference)."""
    reference, posteriors = np.zeros((frames, len(labels)), np.uint8), np.zeros((frames, len(labels)), np.float32)
    for label, begin, length, posterior, is_there in events:
        place = slice(begin, begin + length), labels.index(label)
        reference[place], posteriors[place] = is_there, posterior
    return Estimate(reference, posteriors, posteriors > 0.5)


def many(label, number, begin, length, posterior, is_there):
    return [(label, begin + 20 * index, length, posterior, is_there) for index in range(number)]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that gives a run's estimates for the next call, in place of its network's."""
    def predict(*estimates, labels="ab"):
        source = types.SimpleNamespace(dataset=types.SimpleNamespace(labels=tuple(labels)),
                                       experiment=types.SimpleNamespace(time_resolution=STEP))
        monkeypatch.setattr(calibration, "_estimates", lambda *arguments: (source, list(estimates)))
        experiment = types.SimpleNamespace(tasks=[Task("events", tuple(labels), "multi_label")])
        monkeypatch.setattr(calibration, "load_run", lambda _: experiment)
        return tmp_path

    monkeypatch.setattr(postprocessing, "TAIL", 0)
    monkeypatch.setattr(postprocessing, "BORROWED", 0.0)
    monkeypatch.setattr(postprocessing, "CAUTION", 1.0)
    return predict


# Of an hour: a is found 10 times at 0.9 and 5 times at 0.3, between them 3 false events at 0.5; b is always found.
BY_HAND = [*many("a", 10, 0, 4, 0.9, True), *many("a", 5, 1000, 4, 0.3, True), *many("a", 3, 2000, 4, 0.5, False),
           *many("b", 8, 4000, 6, 0.8, True)]


def test_thresholds_are_those_by_hand(run):
    found = calibrate_run(run(made(BY_HAND)), alarms_per_hour=3)
    assert found == read_json(run(made(BY_HAND)) / "calibration.json")
    assert found["labels"] == ["a", "b"] and found["alarms_per_hour"] == "3" and found["hours"] == 1
    # logits of 0.9 and 0.5 are log 9 and 0: half of it is that of 0.75
    expected = {"2": [0.75, 0.8], "3": [0.3, 0.8], "20": [0.3, 0.8], "60": [0.3, 0.8]}
    assert list(found["thresholds"]) == list(expected)
    for number, thresholds in expected.items():
        assert found["thresholds"][number] == pytest.approx(thresholds, abs=1e-6)
    assert found["median_frames"] == [1, 1] and found["edge"] == [0.5, 0.5]  # nothing that brings nothing
    assert found["step_filter"] == [0, 0] and found["max_gap"] == [0, 0]
    assert found["min_duration"] == [4 * STEP / 2, 6 * STEP / 2]


def test_a_calibration_that_was_changed_is_refused(run):
    calibrate_run(run(made(BY_HAND)), alarms_per_hour=3)
    path = run(made(BY_HAND)) / "calibration.json"
    path.write_text(path.read_text().replace("0.8", "0.9", 1))
    with pytest.raises(InputError, match="calibration.json"):
        read_json(path)


def test_caution_uses_up_a_share_of_the_number(run, monkeypatch):
    """Three false events in an hour are allowed by six per hour, of which half is used up, and not by five."""
    monkeypatch.setattr(postprocessing, "CAUTION", 0.5)
    for number, expected in ((5, [0.75, 0.8]), (6, [0.3, 0.8])):
        found = calibrate_run(run(made(BY_HAND)), alarms_per_hour=number)
        assert found["thresholds"][str(number)] == pytest.approx(expected, abs=1e-6)


def test_all_labels_share_the_false_events(run):
    events = [*many("a", 6, 0, 4, 0.6, True), *many("a", 2, 1000, 4, 0.7, False),
              *many("b", 5, 4000, 4, 0.6, True), *many("b", 1, 5000, 4, 0.7, False)]
    thresholds = calibrate_run(run(made(events)), alarms_per_hour=1)["thresholds"]
    assert thresholds["1"][0] > 0.7 and thresholds["1"][1] == pytest.approx(0.6)  # five for one; six cost two
    assert thresholds["20"] == pytest.approx([0.6, 0.6])


def test_a_median_filter_is_taken_for_all_labels_if_it_mends_events(run):
    dropouts = [(label, begin + place, length, posterior, True) for begin in range(0, 7000, 100) for label in "ab"
                for place, length, posterior in ((0, 3, 0.9), (3, 1, 0.1), (4, 4, 0.9))]
    found = calibrate_run(run(made(dropouts)))
    assert found["median_frames"] == [3, 3]
    assert found["edge"] == [0.5, 0.5] and found["step_filter"] == found["max_gap"] == [0, 0]
    outcome, _ = expect_alarms(run(made(dropouts)))
    assert outcome.false_events_per_hour.tolist() == [0, 0, 0] and outcome.recall.tolist() == [1, 1, 1]


def test_no_false_event_passes_that_is_nearly_as_sure_as_the_events(run):
    """Posteriors of saturated sigmoids: thresholds keep apart what float32 does."""
    sure, less, least = np.float32(1), np.float32(1 - 2e-7), np.float32(1 - 4e-7)
    assert least < less < sure
    for found, false in ((sure, less), (less, least)):
        estimate = made([*many("a", 9, 0, 4, found, True), *many("a", 9, 1000, 4, false, False)])
        calibrate_run(run(estimate))
        outcome, _ = expect_alarms(run(estimate))
        assert outcome.recall[0] == 1 and outcome.false_events_per_hour[0] == 0


def test_a_label_that_is_not_heard_keeps_a_threshold_and_no_duration(run):
    found = calibrate_run(run(made(BY_HAND, labels="abc"), labels="abc"))
    assert found["min_duration"][2] == 0 and found["thresholds"]["20"][2] == 0.5 and found["median_frames"][2] == 1


def test_what_to_expect_is_counted_by_hand(run):
    calibrate_run(run(made(BY_HAND)))
    heard = [*many("a", 3, 0, 4, 0.9, True), *many("a", 1, 1000, 4, 0.1, True), *many("a", 2, 2000, 4, 0.8, False),
             *many("b", 2, 4000, 6, 0.85, True), *many("a", 5, 5000, 4, 0.4, False)]
    table, by_label = expect_alarms(run(made(heard)))
    assert table.alarms_per_hour.tolist() == [2, 20, 60]
    assert table.false_events_per_hour.tolist() == [2, 7, 7]
    assert table.active_outside.tolist() == pytest.approx([8 / HOUR, 28 / HOUR, 28 / HOUR])
    assert table.recall.tolist() == pytest.approx([5 / 6] * 3)
    assert by_label.index.tolist() == ["a", "b"] and by_label["2"].tolist() == [0.75, 1]
    for name in ("false_events_per_hour", "active_outside", "recall"):  # one recording is drawn again and again
        assert table[f"{name}_low"].tolist() == table[f"{name}_high"].tolist() == pytest.approx(table[name].tolist())
    text = format_expectation((table, by_label))
    assert [line.split()[0] for line in text.splitlines()[2:5]] == ["2", "20", "60"]
    assert "2.0 [2.0, 2.0]" in text and "7.0 [7.0, 7.0]" in text and "83 [83, 83]" in text and "2 per hour" in text


def test_intervals_are_of_recordings(run):
    calibrate_run(run(made(BY_HAND)))
    parts = [made([*many("a", 4, 0, 4, 0.9, True), *many("a", number, 1000, 4, 0.8, False)]) for number in range(6)]
    table, _ = expect_alarms(run(*parts))
    row = table.iloc[0]
    assert row.false_events_per_hour == 2.5  # 15 in six hours
    assert 0 < row.false_events_per_hour_low < 2.5 < row.false_events_per_hour_high < 5
    again, _ = expect_alarms(run(*parts))
    assert again.equals(table) and not expect_alarms(run(*parts), seed=1)[0].equals(table)


@pytest.mark.parametrize("false", [range(1), range(99, 100), range(50)], ids=["first", "last", "half"])
def test_intervals_are_the_quantiles_of_a_binomial_distribution(run, false):
    """Of a hundred recordings of 36 s some have a false event: so many of those that are drawn have one."""
    calibrate_run(run(made(BY_HAND)))
    parts = [made([("a", 10, 4, 0.8, False)] * (number in false), frames=72) for number in range(100)]
    row = expect_alarms(run(*parts), resamples=20000)[0].iloc[0]
    low, high = binom.ppf([0.025, 0.975], 100, len(false) / 100)
    assert row.false_events_per_hour == len(false)
    assert (row.false_events_per_hour_low, row.false_events_per_hour_high) == (low, high)


def test_the_text_by_hand():
    names = ("false_events_per_hour", "active_outside", "recall")
    table = pd.DataFrame([{"alarms_per_hour": 2.5} | {name + suffix: value for suffix, value in (
        ("", 0.9), ("_low", 0.8), ("_high", 1.0)) for name in names}])
    by_label = pd.DataFrame({"2.5": [0.9, np.nan]}, ["dog", "cat"])
    assert [" ".join(line.split()) for line in format_expectation((table, by_label)).splitlines()] == [
        "What to expect, on test recordings [95 % interval]",
        "allowed false events per hour false events per hour time active without cause (%) events found (%)",
        "2.5 0.9 [0.8, 1.0] 90.00 [80.00, 100.00] 90 [80, 100]", "",
        "events found by label (%), with so many false events allowed", "2.5 per hour", "dog 90", "cat -"]


def test_a_corpus_may_have_its_labels_in_another_order(run):
    calibrate_run(run(made(BY_HAND)))
    table, by_label = expect_alarms(run(made(BY_HAND)))
    turned, turned_by_label = expect_alarms(run(made(BY_HAND, labels="ba"), labels="ba"))
    assert turned.equals(table) and turned_by_label.index.tolist() == ["b", "a"]
    assert turned_by_label.loc[["a", "b"]].equals(by_label)
    assert by_label["2"].tolist() == pytest.approx([10 / 15, 1])


def test_labels_without_test_recordings_have_no_share(run):
    calibrate_run(run(made(BY_HAND)))
    table, by_label = expect_alarms(run(made(many("a", 2, 0, 4, 0.9, True))))
    assert by_label["20"].isna().tolist() == [False, True] and table.recall.tolist() == [1, 1, 1]
    assert format_expectation((table, by_label)).splitlines()[-1].split() == ["b", "-", "-", "-"]


# Runs

@pytest.fixture(scope="module")
def negatives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("negatives")
    soundfile.write(folder / "hum.wav", 0.3 * np.sin(2 * np.pi * 200 / RATE * np.arange(60 * RATE)), RATE)
    return folder


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(shared_run(MULTI_LABEL), tmp_path / "run")
    return tmp_path / "run"


def test_a_run_is_calibrated_on_validation_data_and_negatives(copy, negatives, capsys):
    found = calibrate_run(copy, shared_corpus(), progress=False)
    assert found["labels"] == list(LABELS) and set(found["thresholds"]) == {"2", "20", "60"}
    seconds = sum(soundfile.info(path).duration for path in (shared_corpus() / "audio").glob("validate*.wav"))
    assert found["hours"] == pytest.approx(seconds / 3600, rel=0.01)
    more = calibrate_run(copy, shared_corpus(), negatives=negatives, progress=False)
    assert more["hours"] == pytest.approx((seconds + 60) / 3600, rel=0.01)
    assert read_json(copy / "calibration.json") == more
    hum = LABELS.index("hum")
    assert more["thresholds"]["2"][hum] > found["thresholds"]["2"][hum]  # it is heard where nobody labelled it


def test_data_in_the_runs_folder_need_not_be_named(copy, capsys):
    (copy / "data").symlink_to(shared_corpus(), target_is_directory=True)
    assert main(["calibrate", str(copy), "--alarms-per-hour", "50"]) == 0
    printed = capsys.readouterr().out
    assert "allowed false events per hour" in printed and "50 per hour" in printed and LABELS[0] in printed
    assert read_json(copy / "calibration.json")["alarms_per_hour"] == "50"


def test_negatives_that_calibrate_do_not_tell_what_to_expect(copy, negatives, monkeypatch):
    heard = []
    estimate = calibration.estimate_recordings
    monkeypatch.setattr(calibration, "estimate_recordings", lambda source, run, recordings, resolution: (
        heard.append(len(recordings)), estimate(source, run, recordings, resolution))[1])
    assert main(["calibrate", str(copy), "--data", str(shared_corpus()), "--negatives", str(negatives)]) == 0
    assert heard == [4, 3]  # three recordings for validation and one without labels; three for the test


def test_mistakes_are_told(copy, tmp_path, capsys):
    for number in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="alarms_per_hour: expected a number above 0"):
            calibrate_run(copy, shared_corpus(), alarms_per_hour=number)
    with pytest.raises(InputError, match="RUN: expected a run on recordings"):
        calibrate_run(shared_run(CLIPS))
    with pytest.raises(InputError, match="a run with a calibration .polysed calibrate.. Received: 'none'"):
        expect_alarms(copy, shared_corpus())
    for arguments, words in (([tmp_path / "no"], ["no: expected the folder of a run", "polysed train"]),
                             ([copy], ["--data: expected the folder of the corpus", str(copy / "data")]),
                             ([copy, "--data", tmp_path / "no"], ["--data", str(tmp_path / "no")]),
                             ([copy, "--data", shared_corpus(), "--negatives", tmp_path / "no"], ["nothing there"])):
        assert main(["calibrate", *map(str, arguments)]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("polysed: ") and all(word in error for word in words)
    assert not (copy / "calibration.json").exists()
