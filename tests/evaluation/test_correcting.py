"""Learning from corrections: what changes, what stays, and that nothing is judged by what it was learnt from."""
import dataclasses
import json
import types

import numpy as np
import pandas as pd
import pytest
import soundfile
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import binom

from polysed_keras.cli.main import main
from polysed_keras.errors import InputError
from polysed_keras.evaluation.correcting import (
    Learnt,
    _highest,
    _judge,
    _overlaps,
    _part_at,
    _parts,
    _thresholds,
    _with_new_labels,
    format_learnt,
    learn_corrections,
)
from polysed_keras.events.alarms import Alarms, choose_thresholds
from polysed_keras.events.corrections import Answer, confirmed_events
from polysed_keras.export.runs import export_run, load_run_detector, load_trained
from polysed_keras.export.saved_model import load_saved_model
from polysed_keras.files import file_digest, read_json
from polysed_keras.models.prior import RARE
from polysed_keras.specs.tasks import Task
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


# By hand

def test_all_or_nothing_has_no_interval():
    table = pd.DataFrame({"recording": "a.wav", "label": "dog", "onset": 0.0, "offset": 1.0, "there": [True] * 4,
                          "before": 0.5, "after": 0.5, "reported_before": [False] * 4, "reported_after": [True] * 4})
    *_, before, after = format_learnt(Learnt(table, 3600.0, {}, [])).splitlines()
    assert before.startswith("before: 0 % [0, 0] of the events") and after.startswith("after: 100 % [100, 100] of the")


def test_a_new_label_is_filtered_as_most_are():
    before = {"labels": [*"abcde"], "alarms_per_hour": "20", "hours": 1.0, "thresholds": {"20": [0.1, 0.2, 0.3] * 2},
              "median_frames": [5, 1, 3, 9, 7], "min_duration": [0.4, 0.1, 0.2, 0.5, 0.3]}
    before["thresholds"]["20"].pop()
    after = _with_new_labels(before, [*"abcdef"], ["f"], 60.0)
    assert after == before | {"labels": [*"abcdef"], "thresholds": {"20": [0.1, 0.2, 0.3, 0.1, 0.2, 0.5]},
                              "median_frames": [5, 1, 3, 9, 7, 5], "min_duration": [0.4, 0.1, 0.2, 0.5, 0.3, 0.3]}
    assert _with_new_labels(None, ["a", "b"], [], 1800.0) == {
        "labels": ["a", "b"], "alarms_per_hour": "20", "hours": 0.5,
        "thresholds": {number: [0.5, 0.5] for number in ("2", "20", "60")}}


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
    assert format_learnt(Learnt(table, 3.6e6, {}, [])).startswith("5 answers of 1000.00 hours")


def answered(there, reported):
    """A table of answers on events that were reported before, and none of which is after."""
    return pd.DataFrame({"recording": "a.wav", "label": "dog", "onset": 0.0, "offset": 1.0, "before": 0.5, "after": 0.5,
                         "there": np.array(there, bool), "reported_before": np.array(reported, bool),
                         "reported_after": False})


@pytest.mark.parametrize("reported", [[0], [99], range(50)], ids=["first", "last", "half"])
def test_intervals_of_answers_are_the_quantiles_of_a_binomial_distribution(reported):
    """Of a hundred events some are reported, and so many of those that are drawn are; of an hour."""
    low, high = binom.ppf([0.025, 0.975], 100, len(reported) / 100)
    hits, number = np.isin(np.arange(100), reported), len(reported)
    *_, before, _ = format_learnt(Learnt(answered([True] * 100, hits), 3600.0, {}, []), resamples=20000).splitlines()
    assert before.startswith(f"before: {number} % [{low:.0f}, {high:.0f}] of the events found, 0.0 [0.0, 0.0] refused")
    *_, before, _ = format_learnt(Learnt(answered([False] * 100, hits), 3600.0, {}, []), resamples=20000).splitlines()
    assert before == (f"before: none of the events found, {number:.1f} [{low:.1f}, {high:.1f}] refused events reported "
                      "per hour")


def test_refused_events_among_others_have_the_interval_of_their_share():
    """Of 100 answers 20 of 50 are found, and 40 of the others are reported falsely."""
    there, reported = np.arange(100) < 50, np.isin(np.arange(100) % 50, range(20)) | (np.arange(100) >= 80)
    assert (reported & ~there).sum() == 40
    low, high = binom.ppf([0.025, 0.975], 100, 0.4)
    *_, before, _ = format_learnt(Learnt(answered(there, reported), 7200.0, {}, []), resamples=20000).splitlines()
    assert before.startswith("before: 40 % [") and f" 20.0 [{low / 2:.1f}, {high / 2:.1f}] refused" in before
    # half of eight events are there, all found: in one of 256 resamples there is none, and in 9 there is one at most
    *_, before, _ = format_learnt(Learnt(answered([1, 0] * 4, [1, 0] * 4), 3600.0, {}, []), 20000).splitlines()
    assert before.startswith("before: 100 % [100, 100]")


def test_parts_by_hand():
    """Five recordings or more are kept whole; of fewer the segments are divided."""
    def parts(numbers):
        names = [f"{index}.wav" for index, number in enumerate(numbers) for _ in range(number)]
        return _parts(types.SimpleNamespace(recordings=names))

    for numbers in ([3, 1, 2, 2, 1], [2, 2, 1, 1, 1, 3]):
        found, whole = parts(numbers), np.repeat(np.arange(len(numbers)), numbers)
        assert set(found) == set(range(5)) and len(set(zip(found, whole))) == len(numbers)
    assert sorted(parts([2, 2, 2, 1])) == [0, 0, 1, 1, 2, 3, 4]
    assert sorted(parts([4])) == [0, 1, 2, 3] and sorted(parts([1, 1])) == [0, 1] and parts([1]).tolist() == [0]


def test_events_that_touch_do_not_overlap():
    events = pd.DataFrame({"recording": ["a", "a", "a", "b"], "event_label": ["dog", "dog", "cat", "dog"],
                           "onset": [1.0, 2.0, 1.0, 1.0], "offset": [2.0, 3.0, 3.0, 3.0],
                           "confidence": [0.3, 0.7, 0.9, 0.8]})
    rows = [("a", "dog", 0.5, 1.0), ("a", "dog", 0.5, 1.5), ("a", "dog", 1.5, 2.5), ("a", "dog", 3.0, 4.0),
            ("b", "dog", 2.0, 2.1), ("b", "cat", 1.0, 2.0), ("a", "cat", 2.0, 9.0), ("c", "cat", -1.0, 2.0)]
    found = list(_overlaps(rows, events))
    assert [each.tolist() for each in found] == [[], [0], [0, 1], [], [3], [], [2], []]
    assert _highest(events, found) == [0, 0.3, 0.7, 0, 0.8, 0, 0.9, 0]


def false_by_hand(events, labels, thresholds, enough):
    """How likely each event of labels with enough answers is false: a likelihood, minimised by SciPy, and the facts."""
    rows, weights, events = [], [], events[events["event_label"].isin(enough)]
    distances = logit(events["confidence"]) - [logit(thresholds[labels.index(name)]) for name in events["event_label"]]
    inputs = np.array([[distance, *(float(name == label) for label in enough)]
                       for distance, name in zip(distances, events["event_label"])])
    for row, there in zip(inputs, events["there"]):
        if there in (0, 1):
            rows.append((row, there)), weights.append(1.0)
    for place in range(len(enough)):
        for far, there in ((2.0, 1), (-2.0, 0)):
            rows.append((np.array([far, *np.eye(len(enough))[place]]), there)), weights.append(0.5)

    def cost(values):
        return 0.5 * (values[1:] ** 2).sum() + sum(
            weight * np.log1p(np.exp(-(2 * there - 1) * (values[0] + row @ values[1:])))
            for (row, there), weight in zip(rows, weights))

    best = minimize(cost, np.zeros(len(enough) + 2)).x
    false = []
    for row, (_, event) in zip(inputs, events.iterrows()):
        asked = events[(events["event_label"] == event["event_label"]) & events["there"].notna()]
        false.append(1 - event["there"] if event["there"] in (0, 1) else 1.0 if event["before"] < asked["before"].min()
                     else expit(-(best[0] + row @ best[1:])))
    return dict(zip(events.index, false))


@pytest.mark.parametrize("seed", range(3))
def test_thresholds_are_those_of_the_events_that_are_expected_to_be_false(seed):
    rng = np.random.default_rng(seed)
    events = pd.DataFrame({"event_label": ["dog"] * 40 + ["cat"] * 30 + ["owl"] * 9,
                           "confidence": rng.uniform(0.1, 0.95, 79)})
    events["before"] = (events["confidence"] + rng.normal(0, 0.1, 79)).clip(0.05, 0.97)
    there = np.full(79, np.nan)
    there[:12], there[40:50], there[70:74] = rng.random(12) < 0.5, rng.random(10) < 0.7, 1
    there[[0, 40]], events.loc[[0, 40], "confidence"] = 0, 0.97  # the surest ones are false
    events["there"] = there
    for label, last in (("dog", 39), ("cat", 69)):  # as faint as the faintest that was asked about
        asked = (events["event_label"] == label) & events["there"].notna()
        events.loc[last, ["before", "confidence"]] = events["before"][asked].min(), 0.9
    labels, thresholds, enough = ["owl", "cat", "dog"], [0.6, 0.4, 0.5], ["cat", "dog"]
    false = false_by_hand(events, labels, thresholds, enough)
    found, wrong = {label: [] for label in enough}, {label: [] for label in enough}
    for label in enough:
        total = 0.0
        for row in events[events["event_label"] == label].sort_values("confidence", ascending=False).index:
            whole, total = int(total + 0.5), total + false[row]
            (wrong if int(total + 0.5) > whole else found)[label].append(events["confidence"][row])
    alarms = Alarms(*(tuple(np.array(each[label], np.float32) for label in enough) for each in (found, wrong)), 1800.0)
    chosen = set()
    for number in range(0, 80, 4):
        cat, dog = choose_thresholds([alarms], number)
        assert _thresholds(events, labels, thresholds, number, 1800.0) == pytest.approx([0.6, cat, dog])
        chosen.add((cat, dog))
    assert len(chosen) >= 3


# Of dogs by segment, begin in frames of half a second, and (confidence before and after, answer, its confidence).
DOGS = {(0, 2): (0.6, 0.8, "yes", 0.6), (0, 8): (0.3, 0.1, "no", 0.3), (0, 14): (0.0, 0.7, None, None),
        (1, 2): (0.9, 0.95, "yes", None), (1, 8): (0.4, 0.6, "yes", 0.45), (1, 14): (0.7, 0.2, "no", 0.7),
        (2, 2): (0.55, 0.05, "no", 0.55), (2, 8): (0.2, 0.0, "yes", 0.2), (2, 14): (0.5, 0.4, "yes", 0.5),
        (3, 2): (0.8, 0.85, "yes", 0.8), (3, 8): (0.45, 0.46, "no", 0.45), (3, 14): (0.65, 0.9, "unsure", 0.65),
        (3, 18): (0.35, 0.25, "no", 0.0)}


def judged():
    """What _judge says of DOGS and a cat in four segments of 10 s, of which two are a part."""
    experiment = types.SimpleNamespace(
        tasks=[Task("events", ("cat", "dog"), "multi_label")], time_resolution=0.5,
        training=types.SimpleNamespace(segment_frames=20),
        features=types.SimpleNamespace(hop_length=4000, sample_rate=8000))
    reviewed = types.SimpleNamespace(recordings=[*"aabb"], indices=np.array([0, 1, 0, 1]))
    before, after = np.zeros((4, 20, 2), np.float32), np.zeros((4, 20, 2), np.float32)
    before[0, 4:9, 0], after[0, 4:9, 0] = 0.4, 0.5
    answers = [Answer("a", "cat", 2.0, 4.5, "yes", (2.0, 4.5), (2.0, 4.5), 0.4)]
    for (segment, begin), (first, second, answer, confidence) in DOGS.items():
        place = segment, slice(begin, begin + 2), 1
        before[place], after[place], onset = first, second, 10.0 * (segment % 2) + begin / 2
        if answer:
            times = onset + 0.25, onset + 2.0  # the answer begins later and ends later than what was found
            answers.append(Answer("ab"[segment // 2], "dog", *times, answer, times, times, confidence))
    calibration = {"labels": ["dog", "cat"], "alarms_per_hour": "90", "thresholds": {"20": [0.9] * 2, "90": [0.5] * 2}}
    parts = np.array([0, 1, 1, 0])
    return _judge(answers, before, after, parts, reviewed, experiment, calibration, 40.0)


def test_what_was_answered_of_events_by_hand():
    events = judged()[1].set_index(["recording", "event_label", "onset"]).sort_index()
    expected = {("a", "cat", 2.0): (0.5, 0.4, 1, 0)}
    for (segment, begin), (first, second, answer, confidence) in DOGS.items():
        if second:
            known = answer in ("yes", "no")
            expected["ab"[segment // 2], "dog", 10.0 * (segment % 2) + begin / 2] = (
                second, max(first, confidence or 0.0) if known else first,
                float(answer == "yes") if known else np.nan, [0, 1, 1, 0][segment] if known else np.nan)
    expected = pd.DataFrame.from_dict(expected, "index", columns=["confidence", "before", "there", "part"]).sort_index()
    assert events.index.tolist() == expected.index.tolist()
    np.testing.assert_allclose(events[expected.columns].astype(float), expected, rtol=1e-6)


def test_answers_of_a_part_are_judged_by_thresholds_of_the_others():
    table, events = judged()
    dogs = [(*values, segment) for (segment, _), values in DOGS.items() if values[2] in ("yes", "no")]
    rows = table[table["label"] == "dog"]
    np.testing.assert_allclose(rows[["before", "after"]], [values[:2] for values in dogs], rtol=1e-6)
    assert rows["there"].tolist() == [values[2] == "yes" for values in dogs]
    assert rows["reported_before"].tolist() == [values[0] >= 0.5 for values in dogs]
    thresholds = {part: _thresholds(events.assign(there=events["there"].where(events["part"] != part)), ["cat", "dog"],
                                    [0.5, 0.5], 90.0, 40.0)[1] for part in (0, 1)}
    assert rows["reported_after"].tolist() == [values[1] >= thresholds[[0, 1, 1, 0][values[-1]]] for values in dogs]
    for other in ([0.5, 0.5], [thresholds[1], thresholds[0]], [0.5, thresholds[1]], [thresholds[0], 0.5]):
        assert rows["reported_after"].tolist() != [values[1] >= other[[0, 1, 1, 0][values[-1]]] for values in dogs]
    (cat,) = table[table["label"] == "cat"].itertuples(index=False)
    assert cat.reported_after and not cat.reported_before  # too few answers: it is reported from 0.5 on


def test_an_answer_is_in_the_part_of_the_segment_in_which_it_begins():
    experiment = types.SimpleNamespace(training=types.SimpleNamespace(segment_frames=20),
                                       features=types.SimpleNamespace(hop_length=4000, sample_rate=8000))
    reviewed = types.SimpleNamespace(recordings=[*"aabb"], indices=np.array([0, 1, 0, 1]))
    found = _part_at([*"aabbb"], [9.9, 10.0, 1.0, 11.0, 20.0], reviewed, np.array([1, 2, 3, 4]), experiment)
    assert found == [1, 2, 3, 4, 0]  # at the end of a recording there is no segment


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
    answers.append(dataclasses.replace(answers[0], label="fox", answer="no"))  # nobody has heard one
    result = learn_corrections(experiment, network, answers, recordings(), tmp_path / "run", calibration=calibration)
    assert result.new_labels == ["owl"] and result.calibration["labels"] == [*experiment.tasks[0].labels, "owl"]
    detector = load_run_detector(tmp_path / "run")
    assert detector.labels == (*experiment.tasks[0].labels, "owl")
    owls = [(name, onset, offset) for name in NAMES for onset, offset, label in reference(name) if label == "whistle"]
    posteriors = {name: detector.posteriors(recordings()[name])[0][:, -1] for name in {name for name, *_ in owls}}
    inside = np.concatenate([posteriors[name][round(onset * 50):round(offset * 50)] for name, onset, offset in owls])
    assert inside.mean() > 3 * np.mean([each.mean() for each in posteriors.values()])


def test_each_part_is_judged_by_a_fit_to_the_others_and_the_run_is_fitted_to_all(trained, tmp_path, monkeypatch):
    """Nothing is learnt here, so that nothing changes; and where all was refused, the measure of the run is 0."""
    fits = []
    monkeypatch.setattr(Corrector, "fit", lambda self, segments: fits.append(segments))
    experiment, network, calibration, _ = trained
    answers = [dataclasses.replace(answer, answer="no") for answer in answers_of()]
    result = learn_corrections(experiment, network, answers, recordings(), tmp_path / "run", calibration=calibration)
    assert len(fits) == 6 and (sum(~fit for fit in fits[:-1]) == 1).all() and fits[-1].all()
    pd.testing.assert_series_equal(result.table["after"], result.table["before"], check_names=False)
    (row,) = read_history(tmp_path / "run")
    assert row[experiment.measure] == 0


def test_labels_with_enough_answers_get_thresholds_by_them(learnt):
    """Nothing was calibrated before, which leaves 0.5."""
    result = learnt[1]
    seconds = sum(soundfile.info(path).duration for path in recordings().values())
    assert result.seconds == pytest.approx(seconds)
    assert result.calibration["hours"] == pytest.approx(seconds / 3600)
    counts = result.table.label.value_counts()
    assert (counts >= 5).any()
    for label, *thresholds in zip(result.calibration["labels"], *result.calibration["thresholds"].values()):
        assert (set(thresholds) != {0.5}) == (counts.get(label, 0) >= 5)


def test_what_was_learnt_is_the_first_epoch(learnt):
    (row,) = read_history(learnt[0])
    table = learnt[1].table
    assert row["epoch"] == 1 and row[MULTI_LABEL.measure] == table["reported_after"][table["there"]].mean() > 0


@pytest.mark.parametrize("name, number", [("calibration.json", "hours"), ("experiment.json", "dropout")])
def test_what_was_learnt_and_changed_is_refused(learnt, tmp_path, name, number):
    text = (learnt[0] / name).read_text()
    (tmp_path / name).write_text(text.replace(f'"{number}": ', f'"{number}": 1', 1))
    assert (tmp_path / name).read_text() != text
    with pytest.raises(InputError, match=name):
        read_json(tmp_path / name)


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
