"""Export for other runtimes beside a SavedModel, and report how their answers differ from TensorFlow's."""
import importlib.metadata
import os
import platform
import statistics
import time

import numpy as np
from scipy import signal

from polysed_keras.datasets import load_dataset
from polysed_keras.errors import InputError
from polysed_keras.events import event_list_to_event_roll, f_score, frame_counts
from polysed_keras.export.runs import export_run, load_network
from polysed_keras.export.runtimes import DIRECTORY, FILES, check_runtimes, load_runtime
from polysed_keras.export.saved_model import load_saved_model
from polysed_keras.files import write_json
from polysed_keras.specs import task_labels

REPORT = "parity.json"  # beside the converted files
LATENCY_RUNS = 20
PACKAGES = ("tensorflow", "keras", "ai_edge_litert", "tf2onnx", "onnxruntime")


def export_runtimes(run, out, runtimes, data=None):
    """Export a run for other runtimes too, and compare their answers with those of its SavedModel.

    The files and the report, parity.json, are written to the folder `runtimes` of the export.

    Args:
        run: as of export_run.
        out: as of export_run.
        runtimes: list of str, as in check_runtimes.
        data: folder of a corpus with the run's labels, whose test recordings are compared; None for noise and tones.

    Returns:
        Path of the version's folder, and the report, a dict. It says for each runtime: files and their bytes,
        differences of posteriors to the SavedModel's, share of frames and labels with the same activity, overall F1
        (None without data), milliseconds per segment.

    Raises:
        InputError: a runtime whose packages are missing or whose converter refuses the network; data with other labels,
            or with a run that labels clips; or as export_run.
    """
    check_runtimes(runtimes)
    recordings = _read_recordings(load_network(run)[0], data) if data else None
    version = export_run(run, out, runtimes=runtimes)
    reference, folder = load_saved_model(version), version / DIRECTORY
    detectors = {runtime: load_runtime(folder, runtime, reference.description) for runtime in runtimes}
    measured = _compare(reference, detectors, recordings or [(noise_and_tones(reference), None)])
    installed = {name: package.version
                 for name in PACKAGES for package in importlib.metadata.distributions(name=name)}
    report = {"audio": f"{len(recordings)} test recordings of {data}" if data else "noise and tones",
              "segment_seconds": reference.segment_samples / reference.sample_rate,
              "packages": installed, "python": platform.python_version(),
              "machine": f"{platform.machine()}, {os.cpu_count()} CPUs"}
    report["tensorflow"] = {"overall_f1": measured["tensorflow"]["overall_f1"], "latency_ms": latency_ms(reference)}
    report["runtimes"] = {runtime: measured[runtime] | {
        "latency_ms": latency_ms(detectors[runtime]),
        "files": {file: (folder / file).stat().st_size for file in FILES[runtime]}} for runtime in runtimes}
    write_json(report, folder / REPORT)
    return version, report


def noise_and_tones(detector, segments=8.5):
    """Return a waveform to compare runtimes on: falling noise, a rising tone and a silent last tenth; so many segments.

    It is float32 (samples,), at the sample rate of a detector.
    """
    samples = round(segments * detector.segment_samples)
    seconds, end = np.arange(samples) / detector.sample_rate, samples / detector.sample_rate
    tone = 0.3 * signal.chirp(seconds, 50, end, detector.sample_rate / 2, method="logarithmic")
    noise = np.random.default_rng(0).standard_normal(samples) * 10 ** (-1 - 3 * seconds / end)
    return ((tone + noise) * (seconds < 0.9 * end)).astype(np.float32)


def latency_ms(detector):
    """Return the median milliseconds that a detector takes per segment on this machine."""
    waveform, seconds = noise_and_tones(detector, segments=1), []
    for _ in range(LATENCY_RUNS + 3):  # the first three are slower and not counted
        begin = time.perf_counter()
        detector.posteriors(waveform)
        seconds.append(time.perf_counter() - begin)
    return 1000 * statistics.median(seconds[3:])


def _read_recordings(experiment, data):
    """Return [(audio, events)] of the test recordings."""
    if experiment.clip_level:
        raise InputError("--data: expected a run of recordings. Received: one of clips. Leave it out, and noise and "
                         "tones are compared.")
    dataset, labels = load_dataset(data, experiment.dataset), sorted(task_labels(experiment.tasks))
    if labels != sorted(dataset.labels):
        raise InputError(f"{data}: expected the labels of the run, {labels}. Received: {list(dataset.labels)}.")
    if not dataset.partitions.get("test"):
        raise InputError(f"{data}: expected recordings in partition 'test'. Received: none.")
    return [(recording.audio, recording.read_events(labels)) for recording in dataset.partitions["test"]]


def _compare(reference, detectors, recordings):
    """Return {name: measures} of the runtimes, and of "tensorflow", where only overall_f1 says something."""
    sums = {name: {"max": 0.0, "sum": 0.0, "same": 0, "counts": 0} for name in ("tensorflow", *detectors)}
    size = 0
    for audio, events in recordings:
        expected = reference.posteriors(audio)
        size += expected[0].size
        for name, total in sums.items():
            answer = detectors[name].posteriors(audio) if name in detectors else expected
            difference = np.abs(answer[0] - expected[0])
            total["max"] = max(total["max"], float(difference.max(initial=0)))
            total["sum"] += float(difference.sum(dtype=float))
            total["same"] += int((answer[1] == expected[1]).sum())
            if events is not None:
                roll = event_list_to_event_roll(events, reference.labels, len(answer[1]), reference.time_resolution)
                total["counts"] = total["counts"] + frame_counts(roll, answer[1])
    return {name: {"max_posterior_difference": total["max"], "mean_posterior_difference": total["sum"] / size,
                   "same_activity": total["same"] / size,
                   "overall_f1": float(f_score(total["counts"].sum(axis=0))) if np.ndim(total["counts"]) else None}
            for name, total in sums.items()}


def format_parity(report):
    """Return the report of export_runtimes as a table for a terminal."""
    reference = report["tensorflow"]
    rows = [("", "max difference", "same activity", "overall F1", "bytes", "ms a segment"),
            ("tensorflow", "", "", _per_cent(reference["overall_f1"]), "", f"{reference['latency_ms']:.2f}")]
    for name, measured in report["runtimes"].items():
        rows.append((name, f"{measured['max_posterior_difference']:.2e}", f"{100 * measured['same_activity']:.2f} %",
                     _per_cent(measured["overall_f1"]), " + ".join(map(str, measured["files"].values())),
                     f"{measured['latency_ms']:.2f}"))
    widths = [max(map(len, column)) for column in zip(*rows)]
    table = "\n".join("  ".join([first.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]) for first, *cells in rows)
    return f"compared on {report['audio']}\n{table}"


def _per_cent(value):
    return "-" if value is None else f"{100 * value:.1f}"
