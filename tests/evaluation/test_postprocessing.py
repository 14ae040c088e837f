"""Which settings are chosen for made-up posteriors whose best ones are known, and how a rule's fit is measured."""
import types

import numpy as np
import pandas as pd
import pytest

from polysed_keras.evaluation import postprocessing
from polysed_keras.evaluation.postprocessing import (
    CHOICES,
    cautious_thresholds,
    choose_postprocessing,
    events_above,
    fit_of_rule,
    least_durations,
)
from polysed_keras.events.alarms import Alarms, choose_thresholds
from polysed_keras.events.event_lists import event_roll_to_event_list

STEP = 0.1  # seconds per frame
NOTHING = {"edge": 0.5, "median_frames": 1, "step_filter": 0.0, "max_gap": 0.0}


def test_events_are_kept_by_the_threshold_of_their_label():
    """A confidence that is the threshold in float32 reaches it, though 0.1 is less in float64."""
    events = pd.DataFrame({"onset": [0.0, 1.0, 2.0, 3.0], "event_label": ["b", "a", "b", "a"],
                           "confidence": [0.1, 0.3, 0.09, 0.29]})
    assert events_above(events, ["a", "b"], [0.3, float(np.float32(0.1))])["onset"].tolist() == [0.0, 1.0]
    assert events_above(events[:0], ["a", "b"], [0.3, 0.1]).empty


def recording(shape, times=12, active=slice(None)):
    """A recording in which posteriors of a shape come again and again; the reference is a part of the shape."""
    posteriors, reference = np.zeros((times, len(shape) + 20), np.float32), np.zeros((times, len(shape) + 20), np.uint8)
    posteriors[:, 10:-10] = shape
    reference[:, 10:-10][:, active] = 1
    return types.SimpleNamespace(posteriors=posteriors.reshape(-1, 1), reference=reference.reshape(-1, 1))


@pytest.mark.parametrize("shape, active, expected", [
    ([0.9] * 20, slice(None), {}),
    ([0.9] * 5 + [0.25] * 15, slice(None), {"edge": 0.2}),
    ([0.9] * 5 + [0.35] * 15, slice(None), {"edge": 0.3}),                          # 0.3 does, and 0.2 is no better
    (([0.9] * 5 + [0.0]) * 4, slice(None), {"median_frames": 3}),
    (([0.9] * 8 + [0.0] * 2) * 4, slice(None), {"median_frames": 5}),
    (([0.9] * 8 + [0.0] * 4) * 4, slice(None), {"median_frames": 9}),
    ([0.9] * 10 + [0.0] * 6 + [0.9] * 10, slice(None), {"max_gap": 0.8}),           # longer than medians fill
    (([0.9] * 2 + [0.0] * 2) * 4, slice(None), {"max_gap": 0.2}),                   # whose parts medians would remove
    (([0.9] * 2 + [0.0] * 3) * 4, slice(None), {"max_gap": 0.4}),
    # it is above half of its height half a second before it rises steeply
    ([*np.linspace(0.05, 0.6, 25), *[1.0] * 10], slice(25, 35), {"step_filter": 0.32}),
    ([0.9, 0.0, 0.0, 0.9], slice(None), {"step_filter": 0.64}),
    ([0.9, 0.0, 0.0, 0.0, 0.9], slice(None), {"step_filter": 1.28}),
], ids=["nothing", "edge 0.2", "edge 0.3", "median 3", "median 5", "median 9", "gap 0.8", "gap 0.2", "gap 0.4",
        "boxes 0.32", "boxes 0.64", "boxes 1.28"])
def test_the_settings_that_fit_are_chosen(shape, active, expected):
    assert choose_postprocessing([recording(shape, active=active)], ["cat"], STEP, 20) == NOTHING | expected


def test_a_gain_below_the_margin_is_none(monkeypatch):
    estimates = [recording(([0.9] * 5 + [0.0]) * 4)]
    monkeypatch.setattr(postprocessing, "MARGIN", 1.0)
    assert choose_postprocessing(estimates, ["cat"], STEP, 20) == NOTHING
    monkeypatch.setattr(postprocessing, "MARGIN", 0.0)  # what is as good does not replace what was before
    assert choose_postprocessing([recording([0.9] * 20)], ["cat"], STEP, 20) == NOTHING


@pytest.mark.parametrize("seconds, step, frames", [
    (0.0, 0.1, 1), (0.2, 0.1, 3), (0.8, 0.1, 9), (0.8, 0.8 / 3.6, 5), (0.8, 0.3, 3), (0.05, 0.02, 3)])
def test_medians_have_an_odd_number_of_frames(seconds, step, frames):
    """One more than the even number that is nearest to the seconds; a setting of one value is taken."""
    choices = {"median_frames": (seconds,)}
    assert choose_postprocessing([recording([0.9] * 20)], ["cat"], step, 20, choices=choices) == {
        "median_frames": frames}


def test_thresholds_use_up_half_of_the_number_and_foretell_rare_false_events():
    rng = np.random.default_rng(0)
    for number in (2, 20, 60):
        alarms = [Alarms(tuple(rng.beta(3, 1, size).astype(np.float32) for size in (6, 40)),
                         tuple(rng.beta(1, 3, size).astype(np.float32) for size in (30, 200)), 1800.0)]
        expected = choose_thresholds(alarms, number / 2, tail=20, borrowed=0.25)
        assert cautious_thresholds(alarms, number).tolist() == expected.tolist()


def test_other_choices_and_arguments_are_those_given():
    estimates = [recording([0.9] * 5 + [0.25] * 15)]
    assert choose_postprocessing(estimates, ["cat"], STEP, 20, choices={}) == {}
    assert choose_postprocessing(estimates, ["cat"], STEP, 20, choices={"edge": (0.5, 0.1)}) == {"edge": 0.1}
    edges = {"edge": CHOICES["edge"]}
    assert choose_postprocessing(estimates, ["cat"], STEP, 20, choices=edges) == {"edge": 0.2}
    # all events are too short, whatever the edge
    assert choose_postprocessing(estimates, ["cat"], STEP, 20, choices=edges, min_duration=3.0) == {"edge": 0.5}


def test_the_fit_is_the_event_based_f1_by_hand():
    """Events of 2 s, of which the posteriors have a part."""
    estimate = recording([0.9] * 11 + [0.0] * 9)
    reference = event_roll_to_event_list(estimate.reference, ["cat"], STEP)
    assert fit_of_rule([estimate], [reference], ["cat"], STEP, 20) == 1.0  # an offset may be early by half the length
    late = recording([0.0] * 3 + [0.9] * 17)
    assert fit_of_rule([late], [reference], ["cat"], STEP, 20) == 0.0      # an onset may not be late by 0.3 s
    both = types.SimpleNamespace(reference=np.repeat(estimate.reference, 2, axis=1),
                                 posteriors=np.hstack([estimate.posteriors, 0 * estimate.posteriors]))
    references = [event_roll_to_event_list(both.reference, ["cat", "dog"], STEP)]
    assert fit_of_rule([both], references, ["cat", "dog"], STEP, 20) == pytest.approx(2 / 3)  # cats, and no dog
    right, missed = recording([0.9] * 20), recording([0.0] * 20)
    assert fit_of_rule([right, missed], [reference] * 2, ["cat"], STEP, 20) == pytest.approx(2 / 3)  # half is found


def test_least_durations_are_half_of_short_events():
    estimates = [types.SimpleNamespace(reference=np.repeat([[1, 0], [0, 0], [1, 0]], [4, 2, 8], axis=0))]
    assert least_durations(estimates, STEP) == [pytest.approx(0.5 * STEP * (4 + 0.05 * 4)), 0.0]
    assert least_durations(estimates, 0.0031) == [pytest.approx(0.007, abs=1e-9), 0.0]  # 6.51 ms, in whole ones
