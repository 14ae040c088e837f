"""Warm-up requests: read by the official stubs, and answered by the signatures that they are for."""
import pytest
import tensorflow as tf

from polysed_keras.export.warmup import REQUESTS, write_warmup_requests

from fixtures import CLIPS, POWERSET, shared_export

prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2",
                                         reason="tensorflow-serving-api is not installed: pip install -e '.[serving]'")


def read_requests(directory):
    records = tf.data.TFRecordDataset(str(directory / REQUESTS)).as_numpy_iterator()
    return [prediction_log_pb2.PredictionLog.FromString(record).predict_log.request for record in records]


@pytest.mark.parametrize("experiment", [POWERSET, CLIPS], ids=lambda experiment: experiment.name)
def test_an_export_holds_a_request_for_each_signature_that_runs_the_network(experiment):
    directory = shared_export(experiment) / "1"
    assert str(REQUESTS) == "assets.extra/tf_serving_warmup_requests"
    loaded, requests = tf.saved_model.load(str(directory)), read_requests(directory)
    assert [request.model_spec.signature_name for request in requests] == ["serving_default", "detect_wav", "log_mel"]
    for request in requests:
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        answer = loaded.signatures[request.model_spec.signature_name](**inputs)
        assert answer["posteriors"].shape[:2] == (1, 1 if request.model_spec.signature_name == "detect_wav"
                                                  or experiment is CLIPS else 32)
        assert request.model_spec.name == shared_export(experiment).name


@pytest.mark.parametrize("letters", [0, 100, 20_000])
def test_requests_are_written_as_the_stubs_write_them(letters, tmp_path):
    """Lengths of one, two and three bytes."""
    write_warmup_requests(POWERSET, "ä" + "m" * letters, tmp_path)
    for request, record in zip(read_requests(tmp_path), tf.data.TFRecordDataset(str(tmp_path / REQUESTS))):
        again = prediction_log_pb2.PredictionLog(predict_log={"request": request})
        assert again.SerializeToString() == record.numpy() and request.model_spec.name == "ä" + "m" * letters


def test_requests_are_small():
    assert (shared_export(POWERSET) / "1" / REQUESTS).stat().st_size < 2000
