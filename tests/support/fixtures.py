"""A corpus of tones and noise that is learnt in seconds, and a run trained on it once for all test modules."""
import fcntl
import functools
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile

import numpy as np
import soundfile

from polysed_keras.files import write_json
from polysed_keras.specs.experiment import Experiment, LogMelSpec, ModelSpec, TrainSpec
from polysed_keras.specs.tasks import Decomposition, Task

from clip_fixtures import write_clip_corpora

RATE, HOP = 8000, 160
LABELS = ("beep", "hiss", "hum", "whistle")
FEATURES = LogMelSpec(sample_rate=RATE, win_length=320, hop_length=HOP, n_fft=512, n_mels=16, fmin=50.0, fmax=4000.0)
MODEL = ModelSpec(filters=(4, 8), recurrent_units=8, dense_units=(16,), dropout=0.1, stem_strides=(4, 2))
TRAINING = TrainSpec(batch_size=8, epochs=3, learning_rate=1e-2, segment_frames=32, segment_hop=2)
MULTI_LABEL = Experiment("tiny", features=FEATURES, tasks=Decomposition(1, encoding="multi_label"), model=MODEL,
                         training=TRAINING)
# the groups are in another order than the labels of the corpus
POWERSET = Experiment("tiny_tasks", features=FEATURES, model=ModelSpec(
    head="attention", filters=(8,), recurrent_units=8, dense_units=(16,), dropout=0.1, stem_strides=(4, 2)),
    tasks=Decomposition(groups=(("whistle", "beep"), ("hum", "hiss"))), training=TRAINING)
# of POWERSET, whose labels are in another order
CALIBRATION = {"labels": list(LABELS), "alarms_per_hour": "20", "hours": 0.5,
               "thresholds": {"2": [0.95, 0.9, 0.8, 0.85], "20": [0.5, 0.6, 0.3, 0.4], "60": [0.1, 0.2, 0.05, 0.15]},
               "median_frames": [1, 3, 5, 7], "min_duration": [0.1, 0.0, 0.2, 0.06]}
# Two tasks on clips of 2 s: 25 frames of 80 ms.
CLIPS = Experiment(
    "tiny_clips", dataset="tut_urban_acoustic_scenes_2018+audioset",
    features=LogMelSpec(8000, win_length=640, hop_length=640, n_fft=1024, n_mels=32, fmin=50, fmax=4000),
    tasks=(Task("scene", (), "multi_class"), Task("events", (), "multi_label")),
    model=ModelSpec(backbone="vgg", head="pooled", filters=(8, 16), dropout=0.0),  # a ResNet-18 takes longer to trace
    training=TrainSpec(batch_size=8, event_batch_size=8, epochs=12, learning_rate=1e-2, segment_frames=25, alpha=0.5))


def sound(label, samples, rng):
    """A tone of the label's frequency, or noise."""
    if label == "hiss":
        return 0.1 * rng.standard_normal(samples)
    frequency = {"beep": 900.0, "hum": 200.0, "whistle": 2500.0}[label]
    return 0.3 * np.sin(2 * np.pi * frequency * np.arange(samples) / RATE)


def tone(seconds, frequency=440.0, amplitude=0.3, rate=RATE):
    """A sine, float64 (samples,)."""
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def write_bank(folder, labels=("beep", "hiss", "hum", "knock", "ring", "wail"), takes=6):
    """A soundbank of tones: a folder per label with recordings of 0.5 to 6 s at RATE."""
    rng = np.random.default_rng(0)
    for number, label in enumerate(labels):
        (folder / label).mkdir(parents=True)
        for index in range(takes):
            sound = tone(rng.uniform(0.3, 4), 150 * 1.6 ** number, rng.uniform(0.01, 0.9))
            gap = np.zeros(rng.integers(0, 4000))
            soundfile.write(folder / label / f"{index}.wav", np.concatenate([gap, sound, gap, sound[:2000]]), RATE)
    return folder


def write_recording(folder, name, seconds, rng):
    """A wav file of 6 random events over faint noise, and its annotation."""
    waveform, lines = 1e-3 * rng.standard_normal(round(seconds * RATE)), []
    for label in rng.choice(LABELS, 6):
        onset, duration = round(rng.uniform(0, seconds - 1), 2), round(rng.uniform(0.3, 2), 2)
        begin, end = round(onset * RATE), min(round((onset + duration) * RATE), len(waveform))
        waveform[begin:end] += sound(label, end - begin, rng)
        lines.append(f"{onset:.6f}\t{end / RATE:.6f}\t{label}\n")
    soundfile.write(folder / "audio" / f"{name}.wav", waveform, RATE)
    (folder / "meta" / f"{name}.txt").write_text("".join(lines))


def write_corpus(folder, recordings=3, seed=0):
    """A corpus laid out as TUT-SED Synthetic 2016, of 6 to 10 s recordings; the folder."""
    folder, rng = pathlib.Path(folder), np.random.default_rng(seed)
    for part in ("audio", "meta", "evaluation_setup"):
        (folder / part).mkdir(parents=True)
    for partition in ("train", "validate", "test"):
        names = [f"{partition}{index}" for index in range(recordings)]
        for name in names:
            write_recording(folder, name, rng.uniform(6, 10), rng)
        lines = "".join(f"audio/{name}.wav\n" for name in names)
        (folder / "evaluation_setup" / f"{partition}.txt").write_text(lines)
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    return folder


@functools.cache
def shared_folder():
    """A folder of this test run, the same one in all of its processes; conftest.py removes it at the end."""
    folder = pathlib.Path(tempfile.gettempdir(), f"polysed-tests-{os.environ['POLYSED_TEST_RUN']}")
    folder.mkdir(exist_ok=True)
    return folder


@functools.cache
def made_once(name, make, *arguments):
    """A folder that one process of the test run makes, by make(*arguments, folder), while others wait for it."""
    folder, done = shared_folder() / name, shared_folder() / f"{name}.done"
    with open(shared_folder() / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process in which it failed: one test, not all that need it
            make(*arguments, folder)
            done.touch()
    return folder


def shared_corpus():
    """The folder of a corpus that tests only read."""
    return made_once("corpus", write_corpus)


def shared_clips():
    """The folder of both corpora of clips that tests only read."""
    return made_once("clips", write_clip_corpora)


def shared_run(experiment):
    """The folder of a trained run of MULTI_LABEL, POWERSET or CLIPS that tests only read."""
    return made_once(experiment.name, _train, experiment)


def shared_export(experiment):
    """The folder of an exported run, as saved_models/NAME."""
    return made_once(f"{experiment.name}-export", _export, experiment)


def calibrated_run():
    """The folder of a run of POWERSET with CALIBRATION."""
    return made_once("tiny_calibrated", _calibrate)


def calibrated_export():
    """The folder of its export, as saved_models/NAME."""
    return made_once("tiny_calibrated-export", _export_calibrated)


def _calibrate(folder):
    shutil.copytree(shared_run(POWERSET), folder)
    write_json(CALIBRATION, folder / "calibration.json", sealed=True)


def _export_calibrated(folder):
    from polysed_keras.export.runs import export_run
    export_run(calibrated_run(), folder)


def _train(experiment, folder):
    from polysed_keras.training.runs import run_experiment
    run_experiment(experiment, shared_clips() if experiment.clip_level else shared_corpus(), folder, progress=False)


def _export(experiment, folder):
    from polysed_keras.export.runs import export_run
    export_run(shared_run(experiment), folder)


def free_port():
    """A port of this machine that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_python(code, *arguments, python=sys.executable):
    """Start a Python process that can import the package and this module; a subprocess.Popen."""
    here = pathlib.Path(__file__).parent
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(here.parents[1]), str(here)]),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    return subprocess.Popen([python, "-c", code, *map(str, arguments)], env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run_python(code, *arguments, python=sys.executable):
    """Run code in a Python process of its own to its end; what it printed. Fails the test where it fails."""
    process = start_python(code, *arguments, python=python)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output


def take_detector(monkeypatch, detector):
    """Have the command `detect` use a detector in place of the one that it would load."""
    from polysed_keras import export, serving
    from polysed_keras.export.description import DEFAULT_MODEL
    from polysed_keras.serving import batch
    for place in (serving, batch):  # A face keeps what it was asked for once, so it is asked before.
        monkeypatch.setattr(place, "open_detector", lambda request: detector)
    monkeypatch.setattr(export, "default_model", lambda: DEFAULT_MODEL)  # without saying so
