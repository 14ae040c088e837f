"""Event lists from files to tables: against sed_eval, a naive bootstrap, and by hand; and what mistakes get."""
import json
import warnings

import numpy as np
import pandas as pd
import pytest
import soundfile

from polysed_keras.cli.main import main
from polysed_keras.errors import InputError
from polysed_keras.evaluation.event_lists import load_event_lists, read_durations
from polysed_keras.evaluation.score_files import BEST_THRESHOLDS, MEASURES
from polysed_keras.evaluation.scoring import ERRORS, KINDS, Matching, score_tables, summarize_tables
from polysed_keras.evaluation.tables import compare_scores
from polysed_keras.events import event_counts, f_score

LABELS = ["cat", "dog", "rain"]
REFERENCE = {"a": [(0.5, 1.5, "dog"), (3, 4, "cat")], "b": [(2, 3, "dog"), (2.5, 3.5, "rain")], "c": []}
ESTIMATED = {"a": [(0.6, 1.4, "dog"), (3, 4, "dog")], "b": [(2, 3, "dog"), (2, 3.5, "rain")], "c": [(8, 9, "cat")]}


def write_lists(folder, lists, suffix=".txt"):
    folder.mkdir()
    for name, rows in lists.items():
        lines = [f"{onset}\t{offset}\t{label}\n" for onset, offset, label in rows]
        (folder / f"{name}{suffix}").write_text("".join(lines))
    return folder


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "durations.tsv").write_text("filename\tduration\n" + "".join(f"{name}.wav\t10\n" for name in "abc"))
    return write_lists(tmp_path / "reference", REFERENCE), write_lists(tmp_path / "system", ESTIMATED, ".tsv")


def values(tables, run):
    """{(table, row): value} of one system."""
    joined = pd.concat(tables)
    return joined[joined["run"] == run].set_index(["table", "row"])["value"]


def test_scores_equal_sed_eval(folders):
    sound_event = pytest.importorskip("sed_eval", reason="sed_eval cannot be imported here").sound_event
    scores = values(score_tables(load_event_lists(folders[0], folders[1:]), resamples=2), "system")
    oracles = {"segment_based": sound_event.SegmentBasedMetrics(LABELS),
               "event_based": sound_event.EventBasedMetrics(LABELS),
               "frame_based": sound_event.SegmentBasedMetrics(LABELS, time_resolution=0.02)}
    for kind, oracle in oracles.items():
        for name in "abc":
            oracle.evaluate(*([{"event_onset": onset, "event_offset": offset, "event_label": label, "file": name}
                               for onset, offset, label in lists[name]] for lists in (REFERENCE, ESTIMATED)))
        overall, average = oracle.results_overall_metrics(), oracle.results_class_wise_average_metrics()
        for measure in ("f_measure", "precision", "recall"):
            name = f"{kind}_{measure.replace('measure', 'score')}"
            assert scores[name, "overall"] == pytest.approx(overall["f_measure"][measure], abs=1e-9)
            assert scores[name, "average"] == pytest.approx(average["f_measure"][measure], abs=1e-9)
        for measure in ERRORS:
            assert scores[f"{kind}_{measure}", "overall"] == pytest.approx(overall["error_rate"][measure], abs=1e-9)
            if measure != "substitution_rate":
                expected = average["error_rate"][measure]
                assert scores[f"{kind}_{measure}", "average"] == pytest.approx(expected, abs=1e-9)


def test_what_a_terminal_shows_and_what_is_drawn_anew(folders):
    lists = load_event_lists(*folders[:1], folders[1:], durations=folders[0].parent / "durations.tsv")
    tables = score_tables(lists, resamples=100)
    assert [table["table"].iloc[0] for table in summarize_tables(tables)] == [
        *(f"{kind}_f_score" for kind in KINDS), "overall error rates", "false_events_per_hour", "active_outside_events"]
    for table in tables:
        assert table.columns.tolist()[:5] == ["table", "row", "run", "seeds", "value"]
        assert table.index.tolist() == list(range(len(table)))
    rates = summarize_tables(tables)[len(KINDS)]
    assert rates["row"].tolist() == [f"{kind}_{error}" for kind in KINDS for error in ERRORS
                                     if (kind, error) != ("intersection_based", "substitution_rate")]
    assert rates.index.tolist() == list(range(len(rates)))
    lows = [[table.low.tolist() for table in score_tables(lists, resamples=3, **seed)]
            for seed in ({}, {"seed": 0}, {"seed": 1})]
    assert str(lows[0]) == str(lows[1]) != str(lows[2])


def test_scores_at_all_thresholds_are_shown_together(folders):
    """Only what holds of all labels, and the thresholds, which have no such row."""
    tables = score_tables(load_event_lists(*folders[:1], folders[1:]), resamples=2)
    for name in (*MEASURES, *BEST_THRESHOLDS, "calibration_error"):
        tables.append(compare_scores({"system": [(np.array([0.2, 0.3]), np.full((2, 2), 0.2))]}, name,
                                     ["dog", "overall"], unit="recordings"))
    shown = summarize_tables(tables)
    assert [table["table"].iloc[0] for table in shown] == [
        *(f"{kind}_f_score" for kind in KINDS), "overall error rates", "calibration_error", "at all thresholds",
        *BEST_THRESHOLDS]
    assert shown[-4]["row"].tolist() == list(MEASURES) and (shown[-4]["value"] == 0.3).all()


def test_error_rates_of_labels_that_the_reference_lacks_are_not_defined(folders):
    """Only dogs are in the reference, of which one of two is found; cats are false, and rain is on neither side."""
    lists = [write_lists(folders[0].parent / name, {"a": events}) for name, events in (
        ("dogs", [(0, 1, "dog"), (4, 5, "dog")]), ("cats", [(0, 1, "dog"), (7, 8, "cat")]), ("none", []))]
    loaded = load_event_lists(lists[0], lists[1:], labels=LABELS)
    scores = values(score_tables(loaded, resamples=2), "cats")
    for measure, value in (("error_rate", 0.5), ("deletion_rate", 0.5), ("insertion_rate", 0)):
        rates = scores[f"event_based_{measure}"]
        assert rates["dog"] == rates["average"] == value and rates[["cat", "rain"]].isna().all()
    silence = load_event_lists(lists[2], lists[1:2], labels=LABELS)
    assert values(score_tables(silence, resamples=2), "cats")[
        [(f"event_based_{error}", "average") for error in ERRORS]].isna().all()


def test_a_frame_begins_with_a_millionth_of_it(folders):
    """Ten seconds and less than that are ten frames of a second, and ten seconds and a little more are eleven."""
    for seconds, frames in ((10.0000004, 10), (10.000004, 11), (9.5, 10)):
        durations = folders[0].parent / "seconds.tsv"
        durations.write_text("".join(f"{name}\t{seconds}\n" for name in "abc"))
        lists = load_event_lists(folders[0], folders[1:], durations=durations)
        scores = values(score_tables(lists, Matching(time_resolution=1.0), resamples=2), "system")
        assert scores["false_events_per_hour", "overall"] == pytest.approx(2 * 3600 / (3 * frames))


def test_rules_of_matching_are_in_their_range():
    Matching(time_resolution=0.01, segment=0.5, collar=0, offset_share=0, detection_share=1, reference_share=0.1)
    Matching(collar=0.1)
    for name, wrong in (("collar", -0.1), ("segment", -0.1), ("time_resolution", 0), ("offset_share", -0.1),
                        ("detection_share", 1.1), ("reference_share", -1)):
        expected = "a share in 0..1" if name.endswith("share") else "seconds, more than none"
        with pytest.raises(InputError, match=f"{name}: expected {expected}"):
            Matching(**{name: wrong})


def test_scores_by_hand(folders):
    """Three labels in ten seconds each; c has a false cat and nothing else, a has a dog for a cat."""
    tables = score_tables(load_event_lists(*folders[:1], folders[1:], durations=folders[0].parent / "durations.tsv"),
                          Matching(segment=2.0), resamples=2)
    scores = values(tables, "system")
    assert scores["segment_based_f_score", "dog"] == pytest.approx(2 * 2 / (2 * 2 + 1))  # 0-2 and 2-4, and 2-4 false
    assert scores["segment_based_error_rate", "overall"] == pytest.approx(2 / 4)  # a substitution, an insertion
    assert scores["event_based_substitution_rate", "overall"] == pytest.approx(1 / 4)  # of rain the onset is 0.5 s off
    assert scores["event_based_f_score", "overall"] == pytest.approx(2 * 2 / (4 + 5))
    assert scores["intersection_based_f_score", "rain"] == 1
    assert scores["false_events_per_hour", "overall"] == pytest.approx(2 * 3600 / 30)
    assert scores["false_events_per_hour", "rain"] == 0


def test_intervals_and_differences_equal_a_naive_bootstrap(folders):
    other = write_lists(folders[0].parent / "other", {"a": REFERENCE["a"], "b": [], "c": REFERENCE["b"]})
    lists = load_event_lists(folders[0], [*folders[1:], other])
    tables = score_tables(lists, resamples=200, seed=5)
    table = next(table for table in tables if table["table"].iloc[0] == "event_based_f_score")
    rows = table[table["row"] == "overall"].set_index("run")
    draws = np.random.default_rng(5).multinomial(3, [1 / 3] * 3, size=200)
    by_run = {}
    for name, system in lists.systems.items():
        counts = [event_counts(lists.reference[each], system[each], LABELS)[:-1, :3] for each in "abc"]
        by_run[name] = np.array([f_score(sum(number * part for number, part in zip(draw, counts))) for draw in draws])
        low, high = np.nanpercentile(by_run[name], [2.5, 97.5])
        np.testing.assert_allclose(rows.loc[name, ["low", "high"]].to_numpy(float), [low, high])
    expected = np.nanpercentile(by_run["other"] - by_run["system"], [2.5, 97.5])
    np.testing.assert_allclose(rows.loc["other", ["difference_low", "difference_high"]].to_numpy(float), expected)


def test_one_list_of_all_recordings_is_a_folder_of_lists(folders):
    one = folders[0].parent / "one.tsv"
    one.write_text("filename\tonset\toffset\tevent_label\n" + "".join(
        f"sounds/{name}.wav\t{onset}\t{offset}\t{label}\n" for name, rows in REFERENCE.items()
        for onset, offset, label in rows) + "c.wav\t\t\t\n")
    expected, lists = (load_event_lists(path, folders[1:]) for path in (folders[0], one))
    assert lists.recordings == expected.recordings == ("a", "b", "c") and lists.labels == ("cat", "dog", "rain")
    for name in "abc":
        pd.testing.assert_frame_equal(lists.reference[name], expected.reference[name])


def test_durations_of_audio_say_which_recordings_there_are(folders, caplog):
    audio = folders[0].parent / "audio"
    audio.mkdir()
    for name, seconds in zip("abcd", (10, 10, 9.5, 3)):
        soundfile.write(audio / f"{name}.wav", np.zeros(int(8000 * seconds)), 8000)
    lists = load_event_lists(folders[0], folders[1:], audio=audio, labels=["dog"])
    assert lists.durations == {"a": 10, "b": 10, "c": 9.5, "d": 3} and len(lists.reference["d"]) == 0
    assert [len(lists.systems["system"][name]) for name in "abcd"] == [2, 1, 0, 0]
    assert "1 of the 4 recordings" in caplog.text


@pytest.mark.parametrize("text", ["filename\tduration\na.wav\t10\nb.wav\t2.5\n", "a.wav,10\n\nb.wav,2.5\n",
                                  "a\t10\nb\t2.5", '"a.wav",10\nb.wav,2.5'])
def test_durations_are_read_with_or_without_a_header(tmp_path, text):
    (tmp_path / "durations").write_text(text)
    assert read_durations(tmp_path / "durations") == {"a": 10, "b": 2.5}


def test_a_system_without_any_event(folders):
    silent = write_lists(folders[0].parent / "silent", {name: [] for name in "abc"})
    scores = values(score_tables(load_event_lists(folders[0], [silent]), resamples=2), "silent")
    assert scores["event_based_f_score", "overall"] == 0 and scores["event_based_deletion_rate", "overall"] == 1
    assert np.isnan(scores["event_based_precision", "overall"])


@pytest.mark.parametrize("change, words", [
    (lambda reference, system: (system / "x.tsv").write_text("1\t2\tdog\n"), "1 others.*'x'.*--durations"),
    (lambda reference, system: (system / "a.txt").write_text("1\t2\tdog\n"), "a is in .* too"),
    (lambda reference, system: (system / "a.tsv").write_text("1\t2\tdog\n1\tlate\tdog\n"), "a.tsv, line 2"),
])
def test_mistakes_in_lists(folders, change, words):
    change(*folders)
    with pytest.raises(InputError, match=words):
        load_event_lists(folders[0], folders[1:])


def test_mistakes_in_arguments(folders, tmp_path):
    durations = tmp_path / "late.tsv"
    durations.write_text("a.wav\tten\nb.wav\ttwelve\n")
    with pytest.raises(InputError, match="late.tsv, line 1: expected seconds"):
        load_event_lists(folders[0], folders[1:], durations=durations)
    with pytest.raises(InputError, match="labels: expected some of those in the lists .cat, dog, rain.*whale"):
        load_event_lists(folders[0], folders[1:], labels=["whale"])
    with pytest.raises(InputError, match="ESTIMATED: expected different"):
        load_event_lists(folders[0], [folders[1], folders[1]])
    with pytest.raises(InputError, match="offset_share: expected a share"):
        Matching(offset_share=2)
    with pytest.raises(InputError, match="segment: expected seconds"):
        Matching(segment=0)


def test_the_command(folders, capsys):
    out = folders[0].parent / "out"
    arguments = ["score", *map(str, folders), "--out", str(out), "--collar", "0.6"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(arguments) == 0
    text = capsys.readouterr().out
    for word in ("frame_based_f_score in %", "intersection_based_f_score", "event_based_substitution_rate",
                 "give --durations"):
        assert word in text
    written, table = json.loads((out / "scores.json").read_text()), pd.read_csv(out / "scores.csv")
    assert written["matching"]["collar"] == 0.6 and written["recordings"] == ["a", "b", "c"]
    assert written["systems"]["system"]["event_based_f_score"]["rain"]["value"] == 1  # now the onset is near enough
    assert len(table) == (4 * 7 - 1) * 5 and set(table["run"]) == {"system"}
    assert main([*arguments, "--durations", str(folders[0].parent / "durations.tsv")]) == 0
    assert "false_events_per_hour" in capsys.readouterr().out
