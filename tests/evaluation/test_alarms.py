"""False alarms of runs, from recordings with and without labels."""
import shutil

import numpy as np
import pytest
import soundfile

from polysed_keras.cli.main import main
from polysed_keras.errors import InputError
from polysed_keras.evaluation.alarms import (
    THRESHOLDS,
    alarm_tables,
    count_alarms,
    false_events_per_hour,
    recall_at_alarms,
    warn_without_background,
)
from polysed_keras.evaluation.reports import write_report
from polysed_keras.evaluation.runs import evaluate_run, evaluate_runs
from polysed_keras.evaluation.tables import format_tables
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


def test_recall_at_alarms_by_hand():
    """One event at 0.9, and two false events at 0.8 and 0.95 in an hour of two labels."""
    reference, posteriors = np.zeros((3600, 2), int), np.zeros((3600, 2), np.float32)
    reference[100:110, 0], posteriors[100:110, 0] = 1, 0.9
    posteriors[500, 0], posteriors[900, 1] = 0.95, 0.8
    counts = count_alarms(reference, posteriors, posteriors > 0.99, 1.0)
    assert counts.shape == (1 + len(THRESHOLDS), 3, 7)
    assert false_events_per_hour(counts)[0].tolist() == [0, 0, 0]
    assert recall_at_alarms(counts, 0)[-1] == 0 and recall_at_alarms(counts, 1).tolist()[::2] == [1, 1]
    assert np.isnan(recall_at_alarms(counts, 1)[1])  # the second label has no event
    low = (THRESHOLDS > 0.5) & (THRESHOLDS < 0.79)
    assert low.any() and (false_events_per_hour(counts)[1:][low, -1] == 2).all()


def test_recordings_without_labels_add_alarms_and_no_scores(negatives):
    plain = evaluate_run(shared_run(POWERSET), shared_corpus(), progress=False)
    result = evaluate_run(shared_run(POWERSET), shared_corpus(), negatives=negatives, progress=False)
    np.testing.assert_array_equal(result.counts, plain.counts)
    np.testing.assert_array_equal(result.alarms[:3], plain.alarms)
    assert result.alarms.shape == (5, 1 + len(THRESHOLDS), len(LABELS) + 1, 7)
    hum, silence = result.alarms[3, 0], result.alarms[4, 0]
    assert hum[-1, 6] == 60 and silence[-1, 6] == 120
    assert hum[-1, 1] == 0 and 400 < hum[LABELS.index("hum"), 4] <= 600  # frames of 20 ms in which it is heard


def test_tables_are_of_hours_and_shares(negatives, tmp_path):
    runs = [shared_run(MULTI_LABEL), shared_run(POWERSET)]
    results = evaluate_runs(runs, shared_corpus(), negatives=negatives, progress=False)
    false, outside, recall = alarm_tables(results, resamples=20)
    summed = results[1].alarms.sum(axis=0)[0]
    row = false[(false.run == results[1].name) & (false.row == "hum")].iloc[0]
    assert row.value == pytest.approx(3600 * summed[LABELS.index("hum"), 2] / summed[LABELS.index("hum"), 6])
    row = outside[(outside.run == results[1].name) & (outside.row == "overall")].iloc[0]
    assert row.value == pytest.approx(summed[-1, 4] / summed[-1, 5])
    assert recall.row.tolist()[:3] == ["2 per hour", "20 per hour", "60 per hour"]
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
    seconds = result.alarms[:, 0, -1, -1].sum()
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
