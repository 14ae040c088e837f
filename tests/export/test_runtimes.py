"""LiteRT and ONNX: posteriors of the exported network within the tolerance of their precision, and the report."""
import functools
import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from polysed_keras.audio.log_mel import compute_log_mel
from polysed_keras.cli import parsers
from polysed_keras.cli.main import main
from polysed_keras.errors import InputError
from polysed_keras.evaluation.runs import evaluate_run
from polysed_keras.events.metrics import f_score
from polysed_keras.export import conversion, runtimes, saved_model
from polysed_keras.export.conversion import convert_runtimes
from polysed_keras.export.parity import noise_and_tones
from polysed_keras.export.runs import export_run
from polysed_keras.export.runtimes import FILES, check_runtimes, load_export, load_runtime, open_runtime
from polysed_keras.export.saved_model import load_saved_model
from polysed_keras.models.network import build_model, with_labels
from polysed_keras.specs.experiment import Experiment, LogMelSpec, ModelSpec, TrainSpec
from polysed_keras.specs.presets import get_preset
from polysed_keras.specs.tasks import Task
from polysed_keras.training.fit import load_best_model
from polysed_keras.training.runs import load_run

from fixtures import (
    CLIPS,
    FEATURES,
    HOP,
    LABELS,
    MULTI_LABEL,
    POWERSET,
    shared_clips,
    shared_corpus,
    shared_export,
    shared_run,
    write_corpus,
)

WINDOW, SEGMENT = 320, 32 * HOP
HAS_ONNX = all(importlib.util.find_spec(name) for name in runtimes.PACKAGES["onnx"])
NEEDS_ONNX = pytest.mark.skipif(not HAS_ONNX,
                                reason="tf2onnx, onnx and onnxruntime are not installed: the extra `runtimes`")
NAMES = [pytest.param(name, marks=NEEDS_ONNX) if name == "onnx" else name for name in FILES]
INSTALLED = [name for name in FILES if name != "onnx" or HAS_ONNX]
# What posteriors may differ by. Of the shared networks only the clips' has a layer large enough for weights of 8 bits.
TOLERANCES = {"litert_float32": 1e-4, "litert_float16": 2e-2, "litert_int8": 5e-2, "onnx": 1e-4}


def waveform_of(samples):
    rng = np.random.default_rng(samples)
    waveform = 0.1 * rng.standard_normal(samples) + 0.3 * np.sin(np.arange(samples) * rng.uniform(0.2, 2))
    return waveform.astype(np.float32)


@pytest.mark.parametrize("spec", [
    FEATURES, LogMelSpec(), LogMelSpec(16000, 400, 160, 512, 40, 50.0, 8000.0),
    LogMelSpec(8000, 300, 300, 450, 20, 0.0, 4000.0), LogMelSpec(8000, 250, 100, 251, 20, 50.0, 4000.0)],
    ids=["tiny", "paper", "unequal hops", "no power of two", "prime"])
def test_the_front_end_makes_the_features_that_the_network_learnt(spec):
    frames = 7
    waveform = np.append(waveform_of((frames - 2) * spec.hop_length), np.zeros(2 * spec.win_length))
    waveform = waveform[:(frames - 1) * spec.hop_length + spec.win_length].astype(np.float32)
    log_mel = conversion._log_mel(tf.constant(waveform[None]), spec, frames)
    assert log_mel.shape == (1, frames, spec.n_mels) and log_mel.dtype == tf.float32
    np.testing.assert_allclose(log_mel[0], compute_log_mel(waveform, spec)[:frames], atol=0.01)  # dB
    np.testing.assert_allclose(log_mel[0, -1], -100, atol=1e-4)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Converts a shared run once, for all installed runtimes."""
    @functools.cache
    def convert(experiment):
        folder, resolved = tmp_path_factory.mktemp(experiment.name), load_run(shared_run(experiment))
        convert_runtimes(load_best_model(resolved, shared_run(experiment), use_cudnn=False), resolved, folder,
                         INSTALLED)
        return folder

    return convert


@pytest.mark.parametrize("experiment", [MULTI_LABEL, pytest.param(POWERSET, marks=pytest.mark.slow), CLIPS],
                         ids=lambda experiment: experiment.name)
@pytest.mark.parametrize("runtime", NAMES)
def test_posteriors_are_those_of_the_saved_model(runtime, experiment, folders):
    reference = load_saved_model(shared_export(experiment))
    detector = load_runtime(folders(experiment), runtime, reference.description)
    cut = reference.description["segment_frames"] * reference.description["hop_length"]
    source = shared_clips() / "audioset" if experiment.clip_level else shared_corpus()
    recorded, _ = soundfile.read(sorted(source.rglob("*.wav"))[0], dtype="float32")
    for waveform in [recorded, *map(waveform_of, (1, cut - 1, cut, cut + 1, 3 * cut + 160))]:
        expected, answer = reference.posteriors(waveform), detector.posteriors(waveform)
        assert [part.shape for part in answer] == [part.shape for part in expected]
        assert [part.dtype for part in answer] == [part.dtype for part in expected]
        np.testing.assert_allclose(answer[0], expected[0], rtol=0, atol=TOLERANCES[runtime])
        assert (answer[1] == expected[1]).mean() >= (1 if TOLERANCES[runtime] < 1e-3 else 0.8)


@pytest.mark.slow
@NEEDS_ONNX
def test_a_pretrained_backbone_is_converted_with_what_standardises_its_maps(tmp_path):
    experiment = with_labels(get_preset("yamnet"), LABELS)
    model = build_model(experiment.model, experiment.tasks, experiment.input_shape)
    log_mel = np.random.default_rng(0).normal(-2, 2, (1, *experiment.input_shape)).astype(np.float32)
    convert_runtimes(model, experiment, tmp_path, ["onnx"])
    network = open_runtime(tmp_path / FILES["onnx"][1])
    (expected,) = model(log_mel, training=False).values()
    np.testing.assert_allclose(network(log_mel=log_mel)["posteriors"], expected, atol=1e-4)


@pytest.mark.parametrize("runtime", NAMES)
def test_files_name_their_inputs_and_outputs(runtime, folders):
    front_end, network = (open_runtime(folders(POWERSET) / file) for file in FILES[runtime])
    features = front_end(waveform=waveform_of(SEGMENT + WINDOW - HOP)[None])
    assert {name: value.shape for name, value in features.items()} == {"log_mel": (1, 32, FEATURES.n_mels)}
    answer = network(log_mel=features["log_mel"])
    assert {name: (value.shape, value.dtype) for name, value in answer.items()} == {
        "posteriors": ((1, 32, len(LABELS)), np.float32), "activity": ((1, 32, len(LABELS)), np.uint8)}


@pytest.mark.parametrize("experiment", [MULTI_LABEL, POWERSET], ids=lambda experiment: experiment.name)
def test_litert_answers_as_its_signature_does_each_time(experiment, folders):
    from ai_edge_litert.interpreter import Interpreter
    waveforms = [waveform_of(samples)[:SEGMENT + WINDOW - HOP][None] for samples in (99_998, 99_999)]
    for name, inputs in (("front_end.tflite", [{"waveform": waveform} for waveform in waveforms]), ("float32.tflite", (
            {"log_mel": compute_log_mel(waveform[0, :SEGMENT], FEATURES)[None]} for waveform in waveforms))):
        path = folders(experiment) / name
        answer, plain = open_runtime(path), Interpreter(str(path), num_threads=1).get_signature_runner()
        one, other = inputs
        first = answer(**one)
        answer(**other)  # It leaves the answer before it as it is.
        for expected, received in ((plain(**one), first), (plain(**other), answer(**other)), (first, answer(**one))):
            assert expected.keys() == received.keys()
            for key in expected:
                np.testing.assert_array_equal(received[key], expected[key])
        with pytest.raises(ValueError, match="[Dd]imension"):
            answer(**{key: value[:, 1:] for key, value in one.items()})


@NEEDS_ONNX
def test_onnx_has_its_own_operations_alone(folders):
    import onnx
    for file in FILES["onnx"]:
        model = onnx.load(folders(POWERSET) / file)
        onnx.checker.check_model(model)
        assert {node.domain for node in model.graph.node} == {""}


def test_low_precision_is_smaller_and_nearly_the_same(tmp_path):
    spec = ModelSpec(filters=(32, 32), recurrent_units=32, dense_units=(64,), stem_strides=(4, 2))
    experiment = Experiment("wide", features=FEATURES, tasks=(Task("events", LABELS, "multi_label"),), model=spec,
                            training=TrainSpec(segment_frames=32))
    model = build_model(experiment.model, experiment.tasks, (32, FEATURES.n_mels), use_cudnn=False)
    names = ["litert_float32", "litert_float16", "litert_int8"]
    convert_runtimes(model, experiment, tmp_path, names)
    sizes = [(tmp_path / FILES[name][1]).stat().st_size for name in names]
    assert sizes[1] < 0.7 * sizes[0] and sizes[2] < 0.5 * sizes[0]
    log_mel = compute_log_mel(waveform_of(SEGMENT), FEATURES)[None]
    exact, *rough = (open_runtime(tmp_path / FILES[name][1])(log_mel=log_mel)["posteriors"] for name in names)
    np.testing.assert_allclose(exact, model(log_mel)["events"], rtol=0, atol=1e-4)
    for answer, tolerance in zip(rough, (0.01, 0.1)):
        assert 0 < np.abs(answer - exact).max() < tolerance


# The report

def export(run, out, *arguments):
    return main(["export", str(run), "--out", str(out), "--runtimes", *arguments])


@pytest.mark.slow
def test_a_report_says_what_runtimes_lose(tmp_path, capsys):
    names = ["litert_float16", "onnx"] if HAS_ONNX else ["litert_float16"]
    assert export(shared_run(POWERSET), tmp_path / "model", *names, "--data", str(shared_corpus())) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in (*names, "overall F1", "3 test recordings"))
    folder = tmp_path / "model" / "1" / "runtimes"
    report = json.loads((folder / "parity.json").read_text())
    assert {path.name for path in folder.iterdir()} == {"parity.json"}.union(
        *(FILES[name] for name in (runtimes.PREFERRED, *names)))
    counts = evaluate_run(shared_run(POWERSET), shared_corpus(), progress=False).counts
    assert report["tensorflow"]["overall_f1"] == pytest.approx(f_score(counts.sum(axis=(0, 1))), abs=1e-6)
    reference = load_saved_model(tmp_path / "model")
    for name in names:
        measured, detector = report["runtimes"][name], load_runtime(folder, name, reference.description)
        answers = [(reference.posteriors(path)[0], detector.posteriors(path)[0])
                   for path in sorted((shared_corpus() / "audio").glob("test*.wav"))]
        differences = np.concatenate([np.abs(expected - answer).ravel() for expected, answer in answers])
        assert measured["max_posterior_difference"] == pytest.approx(differences.max())
        assert measured["mean_posterior_difference"] == pytest.approx(differences.mean())
        assert measured["overall_f1"] == pytest.approx(report["tensorflow"]["overall_f1"], abs=0.02)
        assert measured["files"] == {file: (folder / file).stat().st_size for file in FILES[name]}
        assert measured["latency_ms"] > 0 and 0.97 < measured["same_activity"] <= 1


def test_without_data_noise_and_tones_are_compared(tmp_path, capsys):
    assert export(shared_run(MULTI_LABEL), tmp_path / "model", "litert_int8") == 0
    assert "noise and tones" in capsys.readouterr().out
    report = json.loads((tmp_path / "model" / "1" / "runtimes" / "parity.json").read_text())
    assert report["runtimes"]["litert_int8"]["overall_f1"] is None
    assert report["runtimes"]["litert_int8"]["max_posterior_difference"] < 1e-4
    waveform = noise_and_tones(load_saved_model(tmp_path / "model"))
    assert waveform.dtype == np.float32 and len(waveform) == 8.5 * SEGMENT and 0.3 < np.abs(waveform).max() < 1
    assert not waveform[-SEGMENT // 2:].any()


# Mistakes

def test_mistakes_leave_no_files(tmp_path, capsys):
    other = write_corpus(tmp_path / "other")
    for path in [other / "labels.txt", *(other / "meta").iterdir()]:
        path.write_text(path.read_text().replace("whistle", "yodel"))
    for run, data, words in [(MULTI_LABEL, other, "yodel"), (MULTI_LABEL, tmp_path / "no", "no"),
                             (CLIPS, shared_corpus(), "clips")]:
        assert export(shared_run(run), tmp_path / "model", "litert_float32", "--data", str(data)) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("polysed: ") and words in error
    assert not (tmp_path / "model").exists()


def test_a_missing_package_is_said_before_anything_is_exported(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(runtimes.PACKAGES, "onnx", ("tf2onnx", "no_such_package"))
    assert export(shared_run(MULTI_LABEL), tmp_path / "model", "onnx") == 2
    error = capsys.readouterr().err
    assert "no_such_package" in error and "pip install 'polysed_keras[runtimes]'" in error
    assert not (tmp_path / "model").exists()


def test_a_converter_that_refuses_is_told(tmp_path, monkeypatch):
    def refuse(function, precision):
        raise RuntimeError("no operation Frobnicate\nat great length")

    monkeypatch.setattr(conversion, "_to_litert", refuse)
    resolved = load_run(shared_run(MULTI_LABEL))
    model = load_best_model(resolved, shared_run(MULTI_LABEL), use_cudnn=False)
    with pytest.raises(InputError, match="litert_int8: expected .* Received: no operation Frobnicate.$"):
        convert_runtimes(model, resolved, tmp_path, ["litert_int8"])


def test_an_export_goes_without_litert_if_its_converter_refuses(tmp_path, monkeypatch, caplog):
    def refuse(function, precision):
        raise RuntimeError("no operation Frobnicate")

    monkeypatch.setattr(conversion, "_to_litert", refuse)
    version = export_run(shared_run(MULTI_LABEL), tmp_path / "model")
    assert "used by TensorFlow only: litert_float32: expected" in caplog.text and "Frobnicate" in caplog.text
    assert not list(version.rglob("*.tflite"))
    assert load_export(version).posteriors(waveform_of(SEGMENT))[0].shape == (32, len(LABELS))


def test_large_networks_are_converted_if_asked_only(tmp_path, monkeypatch):
    monkeypatch.setattr(saved_model, "MOST_WEIGHTS", 0)
    assert not list(export_run(shared_run(MULTI_LABEL), tmp_path / "model").rglob("*.tflite"))
    version = export_run(shared_run(MULTI_LABEL), tmp_path / "model", runtimes=["litert_int8"])
    assert {path.name for path in version.rglob("*.tflite")} == set(FILES["litert_int8"])


# Detecting by LiteRT, the default

DETECT = """
import sys
from polysed_keras.cli.main import main
code = main(sys.argv[1:])
print([name for name in ("tensorflow", "keras", "librosa") if name in sys.modules])
sys.exit(code)
"""


def test_detect_imports_no_tensorflow_and_finds_what_the_saved_model_finds(tmp_path):
    recording = sorted((shared_corpus() / "audio").glob("test*.wav"))[0]
    arguments = ["detect", str(recording), "--model", str(shared_export(POWERSET))]
    result = subprocess.run([sys.executable, "-c", DETECT, *arguments], capture_output=True, text=True, timeout=120)
    *lines, imported = result.stdout.splitlines()
    assert (result.returncode, result.stderr, imported) == (0, "", "[]")
    events = load_saved_model(shared_export(POWERSET)).detect(recording)
    assert [line.split("\t")[1:] for line in lines] == [
        [f"{event.onset:.3f}", f"{event.offset:.3f}", event.event_label, f"{event.confidence:.3f}"]
        for event in events.itertuples()]
    assert len(events) > 3


@pytest.mark.parametrize("runtime", ["tensorflow", "litert_float32"])
def test_a_runtime_is_chosen(runtime, monkeypatch):
    taken = []
    monkeypatch.setattr(runtimes, "load_runtime", lambda folder, name, description: taken.append(name))
    load_export(shared_export(POWERSET), runtime)
    assert taken == [runtime] * (runtime != "tensorflow")


def test_a_runtime_that_an_export_lacks_is_told(capsys, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(800), 8000)
    arguments = ["detect", str(tmp_path / "a.wav"), "--model", str(shared_export(POWERSET)), "--runtime"]
    assert main([*arguments, "onnx"]) == 2
    assert "has: tensorflow, litert_float32. Received: 'onnx'" in capsys.readouterr().err
    assert main([*arguments, "onnx", "--server", "localhost:1"]) == 2
    assert "none with --server" in capsys.readouterr().err


@pytest.mark.parametrize("experiment", [MULTI_LABEL, POWERSET, CLIPS], ids=lambda experiment: experiment.name)
def test_the_description_is_that_of_the_saved_model(experiment):
    exported = shared_export(experiment)
    assert load_export(exported).description == load_saved_model(exported).description


def test_samples_whose_energy_is_infinite_are_refused():
    for runtime in ("litert_float32", "tensorflow"):
        with pytest.raises(InputError, match="energy is infinite"):
            list(load_export(shared_export(POWERSET), runtime)._parts([np.full(9_000, 1e30, np.float32)]))


def test_a_damaged_network_is_told(tmp_path):
    (tmp_path / "float32.tflite").write_bytes(b"TFL3" * 100)
    with pytest.raises(InputError, match="float32.tflite: expected a converted network"):
        open_runtime(tmp_path / "float32.tflite")


def test_unknown_runtimes_are_an_error():
    with pytest.raises(InputError, match="litert_float32, .*Received: coreml"):
        check_runtimes(["coreml"])
    assert parsers.RUNTIMES == tuple(FILES)
