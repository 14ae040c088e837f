"""load_detector: one function for an export, a run and a server."""
import gc

import numpy as np
import pytest

from polysed_keras.errors import InputError
from polysed_keras.export import load_saved_model
from polysed_keras.export.description import DEFAULT_MODEL
from polysed_keras.export.runs import load_run_detector
from polysed_keras.serving import load_detector

from fixtures import CLIPS, MULTI_LABEL, POWERSET, RATE, shared_export, shared_run

EXPERIMENTS = pytest.mark.parametrize("experiment", [MULTI_LABEL, POWERSET, CLIPS],
                                      ids=lambda experiment: experiment.name)


def waveform_of(samples):
    rng = np.random.default_rng(samples)
    waveform = 0.1 * rng.standard_normal(samples) + 0.3 * np.sin(np.arange(samples) * rng.uniform(0.2, 2))
    return waveform.astype(np.float32)


def files_in(folder):
    return sorted(path for path in folder.rglob("*"))


@EXPERIMENTS
def test_a_run_answers_like_its_export_and_nothing_is_written(experiment):
    run, exported = shared_run(experiment), load_saved_model(shared_export(experiment))
    before = files_in(run)
    detector = load_detector(run)
    gc.collect()  # the weights must not be freed with what they were built from
    for samples in (1, 33_333, 40 * RATE):
        expected, received = exported.posteriors(waveform_of(samples)), detector.posteriors(waveform_of(samples))
        np.testing.assert_allclose(received[0], expected[0], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(received[1], expected[1])
        assert [part.dtype for part in received] == [part.dtype for part in expected]
    assert detector.description == exported.description | {"name": run.name, "version": 1}
    assert files_in(run) == before


def test_a_run_refuses_what_its_export_refuses():
    with pytest.raises(InputError, match="expected finite floats from -1 to 1"):
        load_run_detector(shared_run(POWERSET)).posteriors(np.full(9_000, 1e30, np.float32))


def test_an_export_is_loaded_and_without_a_source_the_shipped_one():
    assert load_detector(str(shared_export(POWERSET))).description["name"] == shared_export(POWERSET).name
    assert load_detector(shared_export(POWERSET) / "1").labels == load_detector(shared_run(POWERSET)).labels
    assert load_detector().description["name"] == DEFAULT_MODEL.name


def test_a_folder_of_neither_is_an_error(tmp_path):
    with pytest.raises(InputError, match="expected saved_models/NAME or saved_models/NAME/VERSION"):
        load_detector(tmp_path)


@pytest.mark.parametrize("address", ["localhost:8500", "http://localhost:8501", "https://here/models"])
def test_a_server_needs_the_name_of_a_model(address):
    with pytest.raises(InputError, match=rf"{address}: expected the name of one.*Name it: .*model='NAME'"):
        load_detector(address)


@pytest.mark.parametrize("options", [{"model": "mine"}, {"timeout": 3}])
def test_what_servers_need_is_an_error_elsewhere(options):
    with pytest.raises(InputError, match="source: expected HOST:PORT or http://HOST:PORT"):
        load_detector(shared_export(POWERSET), **options)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_a_model_of_a_server_is_loaded(protocol):
    pytest.importorskip("tensorflow_serving.apis", reason="tensorflow-serving-api is not installed")
    from model_server import ModelServer
    server = ModelServer({"tiny": {1: shared_export(POWERSET) / "1"}})
    try:
        received = load_detector(getattr(server, protocol), model="tiny", timeout=60).posteriors(waveform_of(33_333))
    finally:
        server.close()
    expected = load_saved_model(shared_export(POWERSET)).posteriors(waveform_of(33_333))
    np.testing.assert_allclose(received[0], expected[0], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(received[1], expected[1])
