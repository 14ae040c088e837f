"""Detection by a server: the export's own answers, also after faults on the way, or an error that names the fault."""
import functools
import json
import shutil
import signal
import subprocess
import threading
import time

import numpy as np
import pandas as pd
import pytest
import soundfile

from polysed_keras.cli.main import main
from polysed_keras.errors import InputError
from polysed_keras.export.saved_model import load_saved_model
from polysed_keras.serving.deployment import write_deployment

from contract import evaluated
from fixtures import CALIBRATION, CLIPS, HOP, POWERSET, RATE, calibrated_export, shared_export

pytest.importorskip("tensorflow_serving.apis",
                    reason="tensorflow-serving-api is not installed: pip install -e '.[serving]'")

from polysed_keras.serving import client  # noqa: E402
from polysed_keras.serving.client import connect  # noqa: E402

from model_server import Failure, ModelServer, free_port  # noqa: E402

SEGMENT = 32 * HOP
BLOCK = 16 * SEGMENT
CONTEXT = 320 - HOP


def noise(samples, seed=0):
    """Noise with tones that come and go."""
    rng = np.random.default_rng(seed)
    time_ = np.arange(samples) / RATE
    tones = sum(np.sin(2 * np.pi * frequency * time_) * (np.sin(2 * np.pi * time_ / period) > 0.3)
                for frequency, period in ((900, 0.9), (200, 1.7), (2500, 2.3)))
    return (0.3 * tones + rng.normal(0, 0.01, samples)).astype(np.float32)


LONG = noise(5 * BLOCK + 12_345)


@pytest.fixture(scope="module")
def models():
    """What is served, as ModelServer takes it, and under other names to be mistaken for something."""
    return {"tiny_tasks-export": {1: shared_export(POWERSET) / "1", 3: shared_export(POWERSET) / "1"},
            "tiny_clips-export": {1: shared_export(CLIPS) / "1"},
            "tiny_calibrated-export": {1: calibrated_export() / "1"}}


@pytest.fixture
def running(models):
    """The in-test server."""
    server = ModelServer(models)
    yield server
    server.close()


@pytest.fixture(scope="module")
def model_server(models, tmp_path_factory):
    """TensorFlow Serving itself with the kit's configuration, where it is installed: its addresses."""
    if not shutil.which("tensorflow_model_server"):
        pytest.skip("tensorflow_model_server is not on PATH: the client is tested against the in-test server alone")
    folder = tmp_path_factory.mktemp("served")
    for name, versions in models.items():
        for version, source in versions.items():
            shutil.copytree(source, folder / "saved_models" / name / str(version))
    write_deployment(folder / "saved_models", folder / "deploy")
    config = (folder / "deploy" / "models.config").read_text().replace('"/models/', f'"{folder}/saved_models/')
    (folder / "deploy" / "models.config").write_text(config)
    files = {"model_config": "models", "batching_parameters": "batching", "monitoring_config": "monitoring"}
    ports = free_port(), free_port()
    process = subprocess.Popen([
        "tensorflow_model_server", f"--port={ports[0]}", f"--rest_api_port={ports[1]}", "--enable_batching=true",
        *[f"--{flag}_file={folder}/deploy/{name}.config" for flag, name in files.items()]])
    yield f"127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
    process.terminate()
    process.wait()


@pytest.fixture(params=["grpc", "rest", "tensorflow_model_server grpc", "tensorflow_model_server rest"])
def address(request):
    """Of each server that is there, by each protocol."""
    if request.param in ("grpc", "rest"):
        return getattr(request.getfixturevalue("running"), request.param)
    return request.getfixturevalue("model_server")[request.param.endswith("rest")]


@pytest.fixture(params=["grpc", "rest"])
def faulty(request, running):
    """The in-test server and its address."""
    return running, getattr(running, request.param)


@functools.cache
def local(experiment=POWERSET):
    """The export itself."""
    return load_saved_model(shared_export(experiment))


@pytest.fixture(scope="module")
def expected():
    """Posteriors and activity of LONG by the export itself."""
    return local().posteriors(LONG)


def assert_same(received, expected):
    np.testing.assert_allclose(received[0], expected[0], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(received[1], expected[1])
    assert [(part.dtype, part.shape) for part in received] == [(part.dtype, part.shape) for part in expected]


# The answers

def test_a_server_with_tls(running, expected, tmp_path, monkeypatch):
    if not shutil.which("openssl"):
        pytest.skip("openssl, which makes the server's certificate, is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", key, "-out", certificate, "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    import grpc
    server = running.make_server()
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(
        [(key.read_bytes(), certificate.read_bytes())]))
    server.start()
    monkeypatch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", str(certificate))  # read once per process, by nothing before
    assert_same(connect(f"grpcs://localhost:{port}", "tiny_tasks-export").posteriors(LONG), expected)
    with pytest.raises(ConnectionError):
        connect(f"localhost:{port}", "tiny_tasks-export", timeout=2)
    server.stop(0).wait()


def test_events_are_those_of_the_export(address, tmp_path):
    stereo = np.stack([noise(200_000, 1), noise(200_000, 2)], axis=1)
    soundfile.write(tmp_path / "same.wav", LONG, RATE, "FLOAT")
    soundfile.write(tmp_path / "other.flac", stereo, 11025, "PCM_24")
    detector = connect(address, shared_export(POWERSET) / "1", timeout=60)
    assert detector.description == local().description | {"name": "tiny_tasks-export", "version": 1}
    for path in tmp_path.iterdir():
        events, alone = detector.detect(path), local().detect(path)
        assert len(events) > 20 and len(set(events.event_label)) > 2
        pd.testing.assert_frame_equal(events, alone, rtol=0, atol=1e-5)


def test_a_calibration_comes_with_the_description(address):
    detector, alone = connect(address, calibrated_export(), timeout=60), load_saved_model(calibrated_export())
    assert detector.description == alone.description and detector.description["calibration"] == CALIBRATION
    numbers = []
    for options in ({}, {"alarms_per_hour": 2}, {"threshold": 0.5}):
        events = detector.detect(LONG, **options)
        pd.testing.assert_frame_equal(events, alone.detect(LONG, **options), rtol=0, atol=1e-5)
        numbers.append(len(events))
    assert len(set(numbers)) == 3 and local().description["calibration"] == {}


def test_an_export_of_an_older_version_has_no_calibration():
    experiment = json.dumps(local().description["experiment"])
    description = client._describe({"experiment": [experiment]}, "here", "old", 1)
    assert description == local().description | {"name": "old"}


def test_clips_are_labelled_as_by_the_export(address):
    tags = connect(address, "tiny_clips-export", timeout=60).tag(noise(200_000), threshold=0.2)
    pd.testing.assert_frame_equal(tags.drop(columns="tag_confidences"),
                                  local(CLIPS).tag(noise(200_000), threshold=0.2).drop(columns="tag_confidences"),
                                  atol=1e-5)


@pytest.mark.parametrize("more", [-1, 0, 1, CONTEXT - 1, CONTEXT, CONTEXT + 1, HOP, SEGMENT])
def test_there_is_no_seam_at_the_end_of_a_block(running, more):
    waveform = LONG[:2 * BLOCK + more]
    assert_same(connect(running.grpc, "tiny_tasks-export").posteriors(waveform), evaluated(POWERSET, waveform))


def test_there_is_no_seam_at_any_border_of_segments(address):
    """Every border of segments is one of blocks for some size of blocks."""
    detector, waveform = connect(address, "tiny_tasks-export", timeout=60), LONG[:23 * SEGMENT + 77]
    whole = evaluated(POWERSET, waveform)
    for segments in (1, 2, 5, 22, 23, 24):
        assert_same(detector.posteriors(waveform, segments_per_block=segments), whole)


def test_nothing_is_asked_for_nothing(faulty):
    server, address = faulty
    posteriors, activity = connect(address, "tiny_tasks-export").posteriors(LONG[:0])
    assert posteriors.shape == activity.shape == (0, 4) and server.answered == 0


def test_the_command_prints_the_same_events(address, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", LONG[:BLOCK + 7], RATE)
    command = ["detect", str(tmp_path / "a.wav"), "--model", str(shared_export(POWERSET) / "1")]
    assert main(command) == 0
    alone = capsys.readouterr().out
    assert main([*command, "--server", address]) == 0
    assert capsys.readouterr().out == alone and len(alone.splitlines()) > 3


# Several at a time, in bounded memory

def slow(seconds):
    def fault(server, outputs):
        server.hurry.wait(seconds)
        return outputs
    return fault


def together(requests):
    """So many must be under way for the first to be answered."""
    def fault(server, outputs):
        deadline = time.monotonic() + 30
        while server.most < requests and time.monotonic() < deadline:
            time.sleep(0.01)
        return slow(0.15)(server, outputs)
    return fault


@pytest.mark.parametrize("in_flight", [1, 3])
def test_requests_are_under_way_together_and_audio_is_read_no_further(faulty, in_flight, monkeypatch, expected):
    server, address = faulty
    detector = connect(address, "tiny_tasks-export", in_flight=in_flight)
    server.faults.extend([together(in_flight)] * 6)
    ahead = []

    def blocks(*_):
        for begin in range(0, len(LONG), SEGMENT):
            ahead.append(begin - server.answered * BLOCK)
            yield LONG[begin:begin + SEGMENT]

    monkeypatch.setattr(detector, "_waveform_blocks", blocks)
    assert_same(detector.posteriors(LONG), expected)
    assert (server.most, server.answered) == (in_flight, 6)
    assert max(ahead) <= (in_flight + 1) * BLOCK


# What goes wrong and is made good

def fails(code, message="the server says so"):
    def fault(*_):
        raise Failure(code, message)
    return fault


def restarts(server, outputs):
    threading.Thread(target=server.restart).start()
    time.sleep(0.2)
    return outputs


def breaks(server, outputs):
    """A connection that ends in the middle of an answer (REST)."""
    server.breaks = True
    return outputs


@pytest.mark.parametrize("faults", [
    [fails("UNAVAILABLE")] * 3, [None, fails("UNAVAILABLE", "The batch scheduling queue is full"), None] * 2,
    [slow(0.4), None, slow(0.2)], [None, restarts], [restarts, None, fails("UNAVAILABLE")],
    [None, fails("INVALID_ARGUMENT", "another's file"), fails("INVALID_ARGUMENT", "another's file")], [None, breaks],
], ids=["unavailable", "queue", "delays", "restart", "early_restart", "batch", "break"])
def test_answers_stay_right(faulty, faults, expected):
    server, address = faulty
    detector = connect(address, "tiny_tasks-export", timeout=60)
    server.faults.extend(faults)
    assert_same(detector.posteriors(LONG), expected)
    assert not server.faults and server.answered >= 6


# What goes wrong and is told

def changed(**changes):
    return lambda _, outputs: {key: changes.get(key, lambda value: value)(value) for key, value in outputs.items()}


def with_nan(posteriors):
    return np.where(np.arange(posteriors.size).reshape(posteriors.shape) == 5, np.nan, posteriors)


@pytest.mark.parametrize("fault, kind, message", [
    (changed(posteriors=with_nan), ConnectionError,
     "expected posteriors of shape .* with NaN.*What answers there is broken"),
    (changed(posteriors=lambda value: value[:, :-1]), ConnectionError,
     r"shape \(1, 513, 4\).*Received: shape \(1, 512, 4\)"),
    (changed(posteriors=lambda value: value + 1), ConnectionError, "posteriors of shape .* from 0 to 1"),
    (changed(activity=lambda value: value[..., :-1]), ConnectionError, "expected activity of shape"),
    (changed(activity=lambda value: 7 * value), ConnectionError, "expected activity .* from 0 to 1"),
    (changed(num_frames=lambda value: value - 1), ConnectionError,
     r"expected num_frames of shape \(1,\), from 513 to 513"),
    (lambda _, outputs: {"posteriors": outputs["posteriors"]}, ConnectionError, "expected num_frames"),
    (lambda _, outputs: outputs | {"posteriors": np.array([[["text"] * 4] * 513], object)}, ConnectionError,
     "expected posteriors"),
    (slow(30), TimeoutError, "expected an answer within 2 s. Received: none. Raise --timeout"),
    (fails("INTERNAL", "out of order"), ConnectionError,
     "expected an answer of the model. Received: (INTERNAL|UNKNOWN): .*out of order"),
    (fails("NOT_FOUND", "Servable not found"), InputError,
     "Servable not found.*Check --model, and whether the server has dropped its version"),
], ids=["NaN", "short", "above_1", "labels", "activity", "num_frames", "outputs", "text", "delay", "internal",
        "version"])
def test_a_wrong_answer_is_an_error(faulty, fault, kind, message):
    server, address = faulty
    detector = connect(address, "tiny_tasks-export", timeout=2 if kind is TimeoutError else 60)
    server.faults.extend([None, fault])
    with pytest.raises(kind, match=message) as raised:
        detector.posteriors(LONG)
    assert str(raised.value).startswith(f"{address}: expected")


def test_audio_that_the_model_refuses_is_an_error_of_the_file(faulty, tmp_path, capsys):
    """And the files after it are detected."""
    _, address = faulty
    soundfile.write(tmp_path / "a.wav", np.full(9_000, 1e30), RATE, "FLOAT")
    soundfile.write(tmp_path / "b.wav", LONG[:BLOCK], RATE)
    command = ["detect", str(tmp_path), "--model", str(shared_export(POWERSET) / "1")]
    for server in ([], ["--server", address]):
        assert main([*command, *server]) == 2
        captured = capsys.readouterr()
        assert f"{tmp_path}/a.wav: " in captured.err and "expected" in captured.err and "b.wav" in captured.out


def test_an_answer_whose_content_is_cut_is_an_error(running):
    def cut(_, outputs):
        import tensorflow as tf
        tensor = tf.make_tensor_proto(outputs["posteriors"])
        tensor.tensor_content = tensor.tensor_content[:-3]
        return outputs | {"posteriors": tensor}

    running.faults.append(cut)
    with pytest.raises(ConnectionError, match="DATA_LOSS"):
        connect(running.grpc, "tiny_tasks-export").posteriors(LONG[:BLOCK])


@pytest.mark.parametrize("body, message", [
    (b'{"predictions": [{"posteriors": [[0.1, ', "DATA_LOSS"), (b"<html>", "DATA_LOSS"), (b"[]", "DATA_LOSS"),
    (b'{"predictions": []}', "DATA_LOSS"), (b'{"predictions": [1]}', "DATA_LOSS"),
    (b'{"predictions": [{}]}', "num_frames")])
def test_what_is_no_answer_of_tensorflow_serving_is_an_error(running, body, message):
    detector = connect(running.rest, "tiny_tasks-export")
    running.faults.append(lambda *_: body)
    with pytest.raises(ConnectionError, match=message):
        detector.posteriors(LONG[:BLOCK])


def test_a_server_that_stays_away_is_an_error(models):
    server = ModelServer({"tiny_tasks-export": models["tiny_tasks-export"]})
    detectors = [connect(address, "tiny_tasks-export", timeout=2) for address in (server.grpc, server.rest)]
    server.close()
    for detector in detectors:
        begin = time.monotonic()
        with pytest.raises(ConnectionError, match="expected a server that is available within 2 s.*Start it"):
            detector.posteriors(LONG)
        assert time.monotonic() - begin < 10


def test_ctrl_c_gives_up_what_is_under_way(faulty):
    server, address = faulty
    detector = connect(address, "tiny_tasks-export", timeout=60)
    server.faults.extend([slow(3)] * 6)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    threading.Timer(0.5, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]).start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        detector.posteriors(LONG)
    signal.signal(signal.SIGINT, before)
    assert time.monotonic() - begin < 2.5
    while server.cancelled < 3 and time.monotonic() < begin + 2.5 and not address.startswith("http"):
        time.sleep(0.02)
    assert server.cancelled >= 3 or address.startswith("http")
    server.faults.clear()
    server.hurry.set()
    assert_same(detector.posteriors(LONG[:BLOCK]), local().posteriors(LONG[:BLOCK]))


# Another model than expected

@pytest.fixture
def another(faulty, tmp_path):
    """A folder with the card of another export of the same name and version, and the address of a server."""
    folder = tmp_path / "tiny_tasks-export" / "1"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"")
    return folder, json.loads((shared_export(POWERSET) / "1" / "card.json").read_text()), faulty[1]


@pytest.mark.parametrize("changes, message", [
    ({"labels": ["beep", "hiss", "hum", "whistle"]},
     r"expected the labels of .*tiny_tasks-export/1, \['beep'.*Received: \['whistle'"),
    ({"sample_rate": 16000}, "expected the sample_rate of .*, 16000. Received: 8000"),
    ({"segment_frames": 64}, "expected the segment_frames"),
    ({"time_resolution": 0.04}, "expected the time_resolution")])
def test_another_model_than_expected_is_an_error(another, changes, message):
    folder, card, address = another
    (folder / "card.json").write_text(json.dumps(card))
    assert connect(address, folder).labels == tuple(card["labels"])
    (folder / "card.json").write_text(json.dumps(card | changes))
    with pytest.raises(InputError, match=message):
        connect(address, folder)


def test_a_version_that_is_not_served_is_an_error(another):
    folder, card, address = another
    shutil.copytree(folder, folder.parent / "2")
    (folder.parent / "2" / "card.json").write_text(json.dumps(card))
    for model in (folder.parent, folder.parent / "2"):
        with pytest.raises(InputError, match="expected version 2 of the model 'tiny_tasks-export'. "
                           "Received: 1, 3 available"):
            connect(address, model)
    assert connect(address, "tiny_tasks-export").description["version"] == 3


def test_a_model_that_is_not_served_is_an_error(address):
    with pytest.raises(InputError, match="Check --model|expected a version of the model 'street'"):
        connect(address, "street", timeout=5)


def test_a_model_that_is_no_export_is_an_error(tmp_path):
    import tensorflow as tf
    tf.saved_model.save(tf.Module(), str(tmp_path / "1"))
    server = ModelServer({"street": {1: tmp_path / "1"}})
    for address in (server.grpc, server.rest):
        with pytest.raises(InputError, match="expected"):
            connect(address, "street", timeout=5)
    server.close()


def test_a_folder_that_is_no_export_is_an_error(running, tmp_path):
    with pytest.raises(InputError, match="expected saved_models/NAME"):
        connect(running.grpc, tmp_path / "street")


# Addresses

@pytest.mark.parametrize("server", ["localhost", "localhost:port", "ftp://localhost:21", ":8500", "", "http://",
                                    "a b:99999999"])
def test_what_is_no_address_is_an_error(server, capsys, tmp_path):
    soundfile.write(tmp_path / "a.wav", LONG[:100], RATE)
    assert main(["detect", str(tmp_path / "a.wav"), "--model", "street", "--server", server or "x"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("polysed: server: expected HOST:PORT for gRPC, or http://HOST:PORT")
    assert errors.count("\n") == 1


def test_nobody_at_an_address_is_a_line(tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", LONG[:100], RATE)
    for server in ("127.0.0.1:1", "http://127.0.0.1:1"):
        assert main(["detect", str(tmp_path / "a.wav"), "--model", "street", "--server", server, "--timeout",
                     "0.3"]) == 2
        errors = capsys.readouterr().err
        assert errors.startswith(f"polysed: {server}: expected a server that is available within 0.3 s")
        assert errors.count("\n") == 1


def test_one_protocol_at_the_port_of_the_other_is_an_error(running):
    for server in (running.rest.removeprefix("http://"), f"http://{running.grpc}"):
        with pytest.raises((ConnectionError, TimeoutError), match="expected"):
            connect(server, "tiny_tasks-export", timeout=0.5)


def test_grpc_without_its_packages_is_an_error_that_says_what_to_install(monkeypatch, running):
    monkeypatch.setitem(__import__("sys").modules, "grpc", None)
    with pytest.raises(InputError, match=r"pip install 'polysed_keras\[serving\]', or use REST"):
        connect(running.grpc, "tiny_tasks-export")
    assert connect(running.rest, "tiny_tasks-export").labels == local().labels


@pytest.mark.parametrize("options", [{"timeout": 0}, {"in_flight": 0}])
def test_what_cannot_be_waited_for_is_an_error(options, running):
    with pytest.raises(InputError, match="timeout, in_flight: expected more than 0, and 1 or more"):
        connect(running.grpc, "tiny_tasks-export", **options)


def test_several_recordings_at_a_time_share_a_detector(running):
    detector, answers = connect(running.grpc, "tiny_tasks-export"), {}
    waveforms = [noise(BLOCK + 99, seed) for seed in range(4)]

    def answer(index):
        answers[index] = detector.posteriors(waveforms[index])

    threads = [threading.Thread(target=answer, args=[index]) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, waveform in enumerate(waveforms):
        assert_same(answers[index], local().posteriors(waveform))


