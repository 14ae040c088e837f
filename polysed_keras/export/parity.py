"""Exports for other runtimes beside a SavedModel, and what they lose: a report of each against TensorFlow."""
import importlib.metadata
import os
import platform
import statistics
import time

import numpy as np
from scipy import signal

from polysed_keras.datasets import load_dataset
from polysed_keras.errors import InputError
from polysed_keras.events import event_list_to_event_roll, f_score, frame_counts, read_events
from polysed_keras.export.runtimes import FILES, convert_runtimes, load_runtime
from polysed_keras.export.saved_model import load_saved_model
from polysed_keras.files import atomic_directory, write_json
from polysed_keras.specs import task_labels
from polysed_keras.training import load_best_model, load_run

DIRECTORY, REPORT = "runtimes", "parity.json"
LATENCY_RUNS = 20
PACKAGES = ("tensorflow", "keras", "tf2onnx", "onnxruntime")


def export_runtimes(run, version, runtimes, data=None):
    """Convert a run's best epoch for runtimes, into the folder `runtimes` of its export, with parity.json beside them.

    Args:
        run: the run's folder; version: the folder that training.export_run made of it.
        runtimes: keys of export.FILES.
        data: folder of a corpus with the run's labels, whose test recordings are compared; None for noise and tones.

    Returns:
        The report, a dict. Of each runtime: files and their bytes, differences of posteriors to the SavedModel's, share
        of frames and labels with the same activity, overall F1 (None without data), milliseconds a segment.

    Raises:
        InputError: a runtime whose packages are missing or whose converter refuses the network; other labels in data,
            or a run that labels clips with data.
    """
    experiment = load_run(run)
    recordings = _read_recordings(experiment, data) if data else None
    with atomic_directory(version / DIRECTORY) as temporary:
        convert_runtimes(load_best_model(experiment, run, use_cudnn=False), experiment, temporary, runtimes)
        reference = load_saved_model(version)
        detectors = {runtime: load_runtime(temporary, runtime, reference.description) for runtime in runtimes}
        measured = _compare(reference, detectors, recordings or [(noise_and_tones(reference), None)])
        report = _describe(reference, data, recordings)
        report["tensorflow"] = {"overall_f1": measured["tensorflow"]["overall_f1"], "latency_ms": latency_ms(reference)}
        report["runtimes"] = {runtime: measured[runtime] | {
            "latency_ms": latency_ms(detectors[runtime]),
            "files": {file: (temporary / file).stat().st_size for file in FILES[runtime]}} for runtime in runtimes}
        write_json(report, temporary / REPORT)
    return report


def noise_and_tones(detector, segments=8.5):
    """A waveform of so many segments at the detector's rate, float32 (samples,): noise whose level falls, under a tone
    that rises; the last tenth is silent."""
    samples = round(segments * detector.segment_samples)
    seconds, end = np.arange(samples) / detector.sample_rate, samples / detector.sample_rate
    tone = 0.3 * signal.chirp(seconds, 50, end, detector.sample_rate / 2, method="logarithmic")
    noise = np.random.default_rng(0).standard_normal(samples) * 10 ** (-1 - 3 * seconds / end)
    return ((tone + noise) * (seconds < 0.9 * end)).astype(np.float32)


def latency_ms(detector):
    """Median milliseconds of a segment on this machine, as a Detector answers it."""
    waveform, seconds = noise_and_tones(detector, segments=1), []
    for _ in range(LATENCY_RUNS + 3):  # the first ones make ready
        begin = time.perf_counter()
        detector.posteriors(waveform)
        seconds.append(time.perf_counter() - begin)
    return 1000 * statistics.median(seconds[3:])


def _read_recordings(experiment, data):
    """(audio, events) of the test recordings."""
    if experiment.clip_level:
        raise InputError("--data: expected a run of recordings. Received: one of clips. Leave it out, and noise and tones "
                         "are compared.")
    dataset, labels = load_dataset(data, experiment.dataset), sorted(task_labels(experiment.tasks))
    if labels != sorted(dataset.labels):
        raise InputError(f"{data}: expected the labels of the run, {labels}. Received: {list(dataset.labels)}.")
    if not dataset.partitions.get("test"):
        raise InputError(f"{data}: expected recordings in partition 'test'. Received: none.")
    return [(recording.audio, read_events(recording.annotation, labels)) for recording in dataset.partitions["test"]]


def _compare(reference, detectors, recordings):
    """{name: measures} of the runtimes and, of overall_f1 alone, "tensorflow"."""
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
                total["counts"] = total["counts"] + _counts(events, answer[1], reference)
    return {name: {"max_posterior_difference": total["max"], "mean_posterior_difference": total["sum"] / size,
                   "same_activity": total["same"] / size,
                   "overall_f1": float(f_score(total["counts"].sum(axis=0))) if np.ndim(total["counts"]) else None}
            for name, total in sums.items()}


def _counts(events, activity, detector):
    roll = event_list_to_event_roll(events, detector.labels, len(activity), detector.time_resolution)
    return frame_counts(roll, activity)


def _describe(reference, data, recordings):
    installed = {}
    for package in PACKAGES:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pass
    return {"audio": f"{len(recordings)} test recordings of {data}" if data else "noise and tones", "threads": 1,
            "segment_seconds": reference.segment_samples / reference.sample_rate,
            "packages": installed, "python": platform.python_version(),
            "machine": f"{platform.machine()}, {os.cpu_count()} CPUs"}


def format_parity(report):
    """The report of export_runtimes as lines of text for a terminal."""
    reference = report["tensorflow"]
    rows = [("", "max difference", "same activity", "overall F1", "bytes", "ms a segment"),
            ("tensorflow", "", "", _per_cent(reference["overall_f1"]), "", f"{reference['latency_ms']:.2f}")]
    for name, measured in report["runtimes"].items():
        rows.append((name, f"{measured['max_posterior_difference']:.2e}", f"{100 * measured['same_activity']:.2f} %",
                     _per_cent(measured["overall_f1"]), " + ".join(map(str, measured["files"].values())),
                     f"{measured['latency_ms']:.2f}"))
    widths = [max(map(len, column)) for column in zip(*rows)]
    table = "\n".join("  ".join(cell.ljust(width) if not index else cell.rjust(width)
                                for index, (cell, width) in enumerate(zip(row, widths))) for row in rows)
    return f"compared on {report['audio']}\n{table}"


def _per_cent(value):
    return "-" if value is None else f"{100 * value:.1f}"
