"""False alarms of runs, from recordings with and without labels."""
import shutil
import time
import types

import numpy as np
import pytest
import soundfile

from polysed_keras.cli.main import main
from polysed_keras.errors import InputError
from polysed_keras.evaluation.alarms import (
    alarm_curve,
    alarm_tables,
    count_alarms,
    decoded_alarm_tables,
    false_events_per_hour,
    recall_of_curve,
    silent_share,
    warn_without_background,
)
from polysed_keras.evaluation.event_lists import load_event_lists
from polysed_keras.evaluation.reports import write_report
from polysed_keras.evaluation.runs import evaluate_run, evaluate_runs
from polysed_keras.evaluation.tables import RunResult, format_tables
from polysed_keras.events.alarms import Alarms, find_alarms, recall_at_alarms
from polysed_keras.events.decoding import posteriors_to_events
from polysed_keras.events.metrics import f_score

from fixtures import CLIPS, LABELS, MULTI_LABEL, POWERSET, RATE, shared_clips, shared_corpus, shared_run, sound


@pytest.fixture(scope="module")
def negatives(tmp_path_factory):
    """Two minutes of silence, and one with a hum in it that nobody labelled."""
    folder = tmp_path_factory.mktemp("negatives")
    soundfile.write(folder / "silence.wav", np.zeros(120 * RATE), RATE)
    waveform = np.zeros(60 * RATE)
    waveform[10 * RATE:20 * RATE] = sound("hum", 10 * RATE, np.random.default_rng(0))
    (folder / "deeper").mkdir()
    soundfile.write(folder / "deeper" / "hum.wav", waveform, RATE)
    (folder / "notes.txt").write_text("no audio")
    return folder


def test_alarms_of_a_recording_by_hand():
    """One event at 0.9, and two false events at 0.8 and 0.95 in an hour of two labels."""
    reference, posteriors = np.zeros((3600, 2), int), np.zeros((3600, 2), np.float32)
    reference[100:110, 0], posteriors[100:110, 0] = 1, 0.9
    posteriors[500, 0], posteriors[900, 1] = 0.95, 0.8
    for threshold, false in ((0.99, [0, 0, 0]), (0.9, [1, 0, 1]), (0.5, [1, 1, 2])):
        assert false_events_per_hour(count_alarms(reference, posteriors >= threshold, 1.0)).tolist() == false
    alarms = find_alarms(reference, posteriors_to_events(posteriors, "ab", 1.0, threshold=0), "ab", 1.0)
    curve = alarm_curve([alarms])
    assert curve[0].tolist() == [[0, 1, 0, 3600], [1, 1, 1, 3600], [1, 1, 2, 3600]]
    assert [recall_of_curve(curve[0], number) for number in (0, 0.5, 0.9999, 1, 2, 9)] == [0, 0, 0, 1, 1, 1]


def random_alarms(rng, recordings=12, labels=4):
    return [Alarms(tuple(rng.beta(2, 1, rng.integers(0, 9)).astype(np.float32) for _ in range(labels)),
                   tuple(rng.beta(1, 2, rng.integers(0, 9)).astype(np.float32) for _ in range(labels)),
                   float(rng.integers(100, 900))) for _ in range(recordings)]


@pytest.mark.parametrize("seed", range(5))
def test_curves_have_the_exact_recall_of_few_alarms_and_of_resamples(seed):
    rng = np.random.default_rng(seed)
    alarms = random_alarms(rng)
    curve = alarm_curve(alarms)
    for weights in (np.ones(12, int), *rng.multinomial(12, np.full(12, 1 / 12), 5)):
        chosen = [each for each, weight in zip(alarms, weights) for _ in range(weight)]
        for number in (0, 2, 20, 60, 1000):
            assert recall_of_curve(np.tensordot(weights, curve, axes=1), number) == pytest.approx(
                recall_at_alarms(chosen, number)[-1])
    assert np.isnan(recall_of_curve(np.nan * curve.sum(axis=0), 2))


def test_curves_without_false_events_or_events():
    silent = Alarms((np.zeros(0, np.float32),), (np.zeros(0, np.float32),), 60.0)
    assert alarm_curve([silent]).tolist() == [[[0, 0, 0, 60]]]
    assert np.isnan(recall_of_curve(alarm_curve([silent])[0], 2))
    heard = Alarms((np.array([0.5, 0], np.float32),), silent.false, 60.0)
    assert recall_of_curve(alarm_curve([silent, heard]).sum(axis=0), 0) == 0.5


def test_curves_of_many_false_events_are_close_and_never_too_high():
    rng = np.random.default_rng(0)
    alarms = [Alarms((rng.beta(2, 1, 50).astype(np.float32),), (rng.beta(1, 2, 2000).astype(np.float32),), 600.0)
              for _ in range(30)]
    summed = alarm_curve(alarms).sum(axis=0)
    assert len(summed) < 1001
    for number in (2, 20, 60, 500, 5000):
        exact = recall_at_alarms(alarms, number)[-1]
        assert exact - 0.02 < recall_of_curve(summed, number) <= exact


def test_levels_are_a_thousand_ranks_by_equal_factors():
    for number in (1, 60, 5000, 60000):
        false = np.linspace(0.1, 0.9, number)[::-1]
        ranks = {round(number ** (step / 999)) for step in range(1000)}
        curve = alarm_curve([Alarms((np.zeros(0),), (false,), 60.0)])
        assert curve[0, :, 2].tolist() == [*(rank - 1 for rank in sorted(ranks)), number]


def test_tables_of_an_hour_of_ten_labels_take_seconds():
    rng = np.random.default_rng(0)
    labels = tuple("abcdefghij")
    reference, posteriors = rng.random((60, 60, 10)) < 0.02, rng.random((60, 3000, 10)).astype(np.float32) ** 4
    begin = time.process_time()
    rolls = [each.repeat(50, axis=0) for each in reference]
    alarms = tuple(find_alarms(roll, posteriors_to_events(each, labels, 0.02, threshold=0), labels, 0.02)
                   for roll, each in zip(rolls, posteriors))
    counts = np.stack([count_alarms(roll, each > 0.5, 0.02) for roll, each in zip(rolls, posteriors)])
    result = RunResult("a", 0, labels, tuple(map(str, range(60))), np.zeros((60, 11, 10, 3), int), alarm_counts=counts,
                       alarms=alarms)
    *_, recall = alarm_tables([result])
    assert time.process_time() - begin < 20  # it takes 6
    assert ((recall.low <= recall.value) & (recall.value <= recall.high)).all() and recall.high.iloc[-1] > 0


def test_a_label_that_always_sounds_is_never_active_outside_of_it():
    always, active = np.ones((50, 1), int), np.ones((50, 1), int)
    late = (np.arange(50)[:, None] >= 26).astype(int)  # a single frame is half a second away from it
    for second, shares in ((always, [0.0, 0.0]), (late, [1.0, 0.01])):
        counts = np.stack([count_alarms(reference, active, 0.02) for reference in (always, second)])
        results = [types.SimpleNamespace(name="a", unit="recordings", counts=counts)]
        _, outside = decoded_alarm_tables(results, ["hum"], 10, 0)
        assert outside.value.tolist() == shares


def test_silence_by_hand(caplog):
    """A frame is silent if none of its bands is above the level of silence."""
    log_mel = np.array([[-80.0, -80.0], [-80.0, -90.0], [-80.0, -79.0], [-30.0, -20.0]])
    frames = [types.SimpleNamespace(log_mel=part) for part in (log_mel, log_mel[:1])]
    assert silent_share(frames, -80.0) == 3 / 5
    assert silent_share(frames[1:], -80.0) == 1 and silent_share([], -80.0) == 0
    for share, words in ((0.03, ""), (0.05, ""), (0.06, "data: 6 % of the time"), (0.9, "data: 90 % of the time")):
        caplog.clear()
        warn_without_background([types.SimpleNamespace(silent_share=each) for each in (0.0, share)], "data")
        assert words in caplog.text and bool(words) == bool(caplog.records)


def test_intervals_are_of_a_thousand_resamples():
    rng = np.random.default_rng(0)
    alarms = random_alarms(rng, recordings=6, labels=2)
    counts = rng.integers(1, 50, (6, 3, 7)).astype(float)
    result = RunResult("a", 0, ("x", "y"), tuple("abcdef"), np.zeros((6, 3, 2, 3), int), alarm_counts=counts,
                       alarms=tuple(alarms))
    tables = [[table.low.tolist() for table in alarm_tables([result], **options)]
              for options in ({}, {"resamples": 1000, "seed": 0}, {"resamples": 1000, "seed": 1}, {"resamples": 999})]
    assert tables[0] == tables[1] and tables[0] != tables[2] and tables[0] != tables[3]


def test_recordings_without_labels_add_alarms_and_no_scores(negatives, tmp_path):
    plain = evaluate_run(shared_run(POWERSET), shared_corpus(), progress=False)
    result = evaluate_run(shared_run(POWERSET), shared_corpus(), negatives=negatives, scores=tmp_path, progress=False)
    written = load_event_lists(tmp_path / "reference.tsv", [tmp_path / "tiny_tasks 0"])
    assert set(result.mixtures) < set(written.recordings) and len(written.recordings) == 5
    assert sorted(written.durations.values())[-2:] == [60.0, 120.0]
    np.testing.assert_array_equal(result.counts, plain.counts)
    np.testing.assert_array_equal(result.alarm_counts[:3], plain.alarm_counts)
    np.testing.assert_array_equal(alarm_curve(result.alarms[:3]), alarm_curve(plain.alarms))
    assert result.alarm_counts.shape == (5, len(LABELS) + 1, 7)
    assert [each.seconds for each in result.alarms] == result.alarm_counts[:, -1, 6].tolist()
    for each, counts in zip(result.alarms, result.alarm_counts):
        assert list(map(len, each.found)) == counts[:-1, 1].tolist()
    hum, silence = result.alarm_counts[3], result.alarm_counts[4]
    assert hum[-1, 6] == 60 and silence[-1, 6] == 120
    assert hum[-1, 1] == 0 and 400 < hum[LABELS.index("hum"), 4] <= 600  # frames of 20 ms in which it is heard


def test_tables_are_of_hours_and_shares(negatives, tmp_path):
    runs = [shared_run(MULTI_LABEL), shared_run(POWERSET)]
    results = evaluate_runs(runs, shared_corpus(), negatives=negatives, progress=False)
    false, outside, recall = alarm_tables(results, resamples=20)
    summed = results[1].alarm_counts.sum(axis=0)
    row = false[(false.run == results[1].name) & (false.row == "hum")].iloc[0]
    assert row.value == pytest.approx(3600 * summed[LABELS.index("hum"), 2] / summed[LABELS.index("hum"), 6])
    row = outside[(outside.run == results[1].name) & (outside.row == "overall")].iloc[0]
    assert row.value == pytest.approx(summed[-1, 4] / summed[-1, 5])
    assert recall.row.tolist()[:3] == ["2 per hour", "20 per hour", "60 per hour"]
    exact = [recall_at_alarms(results[1].alarms, number)[-1] for number in (2, 20, 60)]
    np.testing.assert_allclose(recall[recall.run == results[1].name].value, exact)
    assert recall.groupby("run").value.apply(lambda values: (np.diff(values) >= 0).all()).all()
    text = format_tables(*write_report(results, tmp_path, resamples=20))
    assert "false_events_per_hour [95 % interval over recordings]" in text
    assert "active_outside_events in % [95 %" in text
    assert (tmp_path / "alarms.csv").read_text().count("recall_at_false_events") == 6


def test_data_without_background_are_warned_of(negatives, caplog, capsys, tmp_path):
    warn_without_background([evaluate_run(shared_run(MULTI_LABEL), shared_corpus(), progress=False)], "data")
    assert "digital silence" not in caplog.text
    folder = tmp_path / "data"
    shutil.copytree(shared_corpus(), folder)
    for path in (folder / "audio").glob("test*"):
        waveform, rate = soundfile.read(path)
        soundfile.write(path, np.append(waveform, np.zeros(2 * rate)), rate)
    shutil.rmtree(folder / "features", ignore_errors=True)
    assert main(["evaluate", str(shared_run(MULTI_LABEL)), "--data", str(folder)]) == 0
    warned = capsys.readouterr().err
    assert "% of the time is digital silence" in warned and "--negatives" in warned
    result = evaluate_run(shared_run(MULTI_LABEL), folder, progress=False)
    seconds = result.alarm_counts[:, -1, -1].sum()
    assert result.silent_share == pytest.approx(3 * 2 / seconds, rel=0.05)
    assert main(["evaluate", str(shared_run(MULTI_LABEL)), "--data", str(folder), "--negatives", str(negatives)]) == 0
    assert "digital silence" not in capsys.readouterr().err


@pytest.mark.parametrize("time_resolution, close", [(0.02, 0), (0.01, 0.03), (0.04, 0.05)])
def test_scores_have_the_time_resolution_that_is_asked_for(time_resolution, close):
    native = evaluate_run(shared_run(POWERSET), shared_corpus(), progress=False)
    other = evaluate_run(shared_run(POWERSET), shared_corpus(), time_resolution=time_resolution, progress=False)
    seconds = [result.counts.sum() * resolution for result, resolution in ((native, 0.02), (other, time_resolution))]
    assert seconds[1] == pytest.approx(seconds[0], rel=0.05)
    scores = [f_score(result.counts.sum(axis=(0, 1))) for result in (native, other)]
    assert scores[1] == pytest.approx(scores[0], abs=close)


def test_negatives_are_for_recordings(negatives):
    with pytest.raises(InputError, match="negatives: expected none for a run on clips"):
        evaluate_run(shared_run(CLIPS), shared_clips(), negatives=negatives, progress=False)
    with pytest.raises(InputError, match="expected an audio file or a folder of them"):
        evaluate_run(shared_run(POWERSET), shared_corpus(), negatives=shared_corpus() / "meta", progress=False)
