"""The calibration of a run on its way through card.json, the description of an export, and detectors."""
import io
import json

import pandas as pd
import pytest
import soundfile
import tensorflow as tf

from polysed_keras.cli.main import main
from polysed_keras.datasets.loading import load_dataset
from polysed_keras.errors import InputError
from polysed_keras.events.decoding import posteriors_to_events
from polysed_keras.export.runs import load_run_detector
from polysed_keras.export.saved_model import load_saved_model
from polysed_keras.specs.tasks import task_labels
from polysed_keras.training.checkpoints import read_calibration
from polysed_keras.training.runs import load_run

from contract import promised, signatures
from fixtures import (
    CALIBRATION,
    LABELS,
    POWERSET,
    calibrated_export,
    calibrated_run,
    shared_corpus,
    shared_export,
    shared_run,
)


@pytest.fixture(scope="module")
def recording():
    return load_dataset(shared_corpus()).partitions["test"][0].audio


def test_an_export_says_it_in_its_card_and_in_its_description():
    version = calibrated_export() / "1"
    assert json.loads((version / "card.json").read_text())["calibration"] == CALIBRATION
    signature = tf.saved_model.load(str(version)).signatures["describe"]
    assert json.loads(signature(query=tf.constant([0]))["calibration"].numpy()[0]) == CALIBRATION
    assert signatures(version) == promised(len(LABELS), POWERSET.features.n_mels)
    assert load_saved_model(calibrated_export()).description["calibration"] == CALIBRATION


def test_a_run_without_one_has_an_empty_one():
    assert json.loads((shared_export(POWERSET) / "1" / "card.json").read_text())["calibration"] == {}
    for detector in (load_saved_model(shared_export(POWERSET)), load_run_detector(shared_run(POWERSET))):
        assert detector.description["calibration"] == {}


@pytest.mark.parametrize("changes, message", [
    ({"labels": list(LABELS[:3])}, "expected the labels beep, hiss, hum, whistle. Received: "),
    ({"labels": [*LABELS[:3], "cow"]}, "expected the labels beep, hiss, hum, whistle. Received: "),
    ({"alarms_per_hour": "30"}, "thresholds for the alarms_per_hour that are the default"),
    ({"alarms_per_hour": 20}, "alarms_per_hour: expected `str`. Received: `int`"),
    ({"thresholds": {"20": [0.1] * 4, "2.0": [0.1] * 4}}, "thresholds: expected numbers of false events per hour"),
    ({"thresholds": {"20": [0.1] * 4, "few": [0.1] * 4}}, "thresholds: expected numbers of false events per hour"),
    ({"thresholds": {"20": [0.1] * 3}}, "20: expected a value per label, 4. Received: 3"),
    ({"thresholds": {"20": [None] * 4}}, "expected `float`. Received: `null`"),
    ({"thresholds": 5}, "thresholds: expected `object`. Received: `int`"),
    ({"edge": [0.5]}, "edge: expected a value per label, 4. Received: 1"),
    ({"median": [1, 1, 1, 1]}, "no other fields than Calibration has. Received: "),
])
def test_a_tampered_one_is_refused_by_name(changes, message, tmp_path):
    (tmp_path / "calibration.json").write_text(json.dumps(CALIBRATION | changes))
    with pytest.raises(InputError, match=f"calibration.json: .*{message}"):
        read_calibration(tmp_path, LABELS[::-1])


@pytest.mark.parametrize("number", [None, "2", "60"])
def test_a_run_and_its_export_detect_by_it(number, recording):
    """Thresholds, filters and durations go with their labels, which the network has in another order."""
    labels = task_labels(load_run(calibrated_run()).tasks)
    assert labels != LABELS and sorted(labels) == sorted(LABELS)
    order = [LABELS.index(label) for label in labels]
    rule = {name: [CALIBRATION[name][index] for index in order] for name in ("median_frames", "min_duration")}
    rule["threshold"] = [CALIBRATION["thresholds"][number or "20"][index] for index in order]
    options = {"alarms_per_hour": float(number)} if number else {}
    for detector in (load_saved_model(calibrated_export()), load_run_detector(calibrated_run())):
        events = detector.detect(recording, **options)
        expected = posteriors_to_events(detector.posteriors(recording)[0], labels, 0.02, **rule)
        expected["offset"] = expected.offset.clip(upper=soundfile.info(recording).duration)  # the last frame is longer
        pd.testing.assert_frame_equal(events, expected)
        assert len(events) > 2


def test_the_command_takes_a_number_of_false_events(recording, capsys):
    detector, lengths = load_saved_model(calibrated_export()), []
    for options, rule in (([], {}), (["--alarms-per-hour", "20"], {"alarms_per_hour": 20.0}),
                          (["--alarms-per-hour", "60"], {"alarms_per_hour": 60.0}),
                          (["--threshold", "0"], {"threshold": 0.0})):
        expected = detector.detect(recording, **rule)
        lengths.append(len(expected))
        for model in (calibrated_export(), calibrated_run()):
            assert main(["detect", str(recording), "--model", str(model), *options]) == 0
            events = pd.read_csv(io.StringIO(capsys.readouterr().out), sep="\t", names=list(expected))
            assert list(events["event_label"]) == list(expected["event_label"])
            assert list(events["onset"]) == pytest.approx(list(expected["onset"]))
    assert lengths[0] == lengths[1] <= lengths[2] < lengths[3]
    for arguments, message in (
            ([recording, "--model", shared_export(POWERSET), "--alarms-per-hour", "20"], "a model with a calibration"),
            ([recording, "--model", calibrated_export(), "--alarms-per-hour", "1"], "at least 2"),
            ([recording, "--model", calibrated_export(), "--alarms-per-hour", "2", "--tags"], "none for tags")):
        assert main(["detect", *map(str, arguments)]) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]
    # both would be a contradiction
    assert main(["detect", str(recording), "--alarms-per-hour", "2", "--threshold", "0.5"]) == 2
