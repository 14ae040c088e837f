"""What presets and detectors cost, each measured in processes of its own.

    python benchmarks/costs.py multilabel_small mcmt_2_small --keep build/costs
    python benchmarks/costs.py saved_models/everyday runs/mine

Of a preset, with 16 labels (10 scenes, 35 events) and random weights: the peak memory of a process that makes training
steps of 32 segments or clips, and the seconds of such a step; how many times faster than real time its network is for
one segment and for 32, from log-mel to posteriors, by TensorFlow; the size of its export; and the seconds that the
whole command `polysed detect` takes for a recording of 10 s, by LiteRT and by TensorFlow. Seconds are those of one
core, the processor's time, because they depend least on what else runs. With --keep, what the folder holds already is
not measured again. With --only, some of these are measured, and the others are what the folder holds.

Of a detector, an export or a run: size on disk, seconds to load, memory, and how many times faster than real time one
core is. It detects events in five minutes of pink noise, from samples to events, three times; the median counts.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the package need not be installed
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SECONDS, REPETITIONS = 300, 3
BATCH, CLIP_SECONDS, MOST_SECONDS = 32, 10, 20
RUNTIMES = "litert_float32", "tensorflow"
WAIT = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
print([usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6])
sys.exit(process.returncode)
"""


def peak_memory():
    """Return the peak of this process's resident memory in MB."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6


def median_seconds(function, *arguments, least=REPETITIONS):
    """Return the median seconds of one core of a function's calls after the first one, which traces."""
    times, began = [], time.perf_counter()
    while len(times) <= least or time.perf_counter() - began < 2:
        begun = time.process_time()
        function(*arguments)
        times.append(time.process_time() - begun)
        if len(times) > 1 and time.perf_counter() - began > MOST_SECONDS:
            break
    return statistics.median(times[1:])


def run_polysed(*arguments):
    """Run a command of polysed and return its seconds of one core, and its peak memory in MB."""
    command = [sys.executable, "-m", "polysed_keras", *map(str, arguments)]
    # By a process that is small: the peak of one that it starts counts from its own memory.
    result = subprocess.run([sys.executable, "-c", WAIT, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if result.returncode:
        sys.exit(result.returncode)  # the process has said why
    return json.loads(result.stdout)


def measure(model):
    """Return the costs of a detector, a dict; for a process of its own."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before TensorFlow counts the cores
    from polysed_keras.serving import load_detector
    from polysed_keras.synthesis.acoustics import coloured_noise
    started = time.perf_counter()
    detector = load_detector(model)
    loaded = time.perf_counter() - started
    rate = detector.sample_rate
    noise = coloured_noise("pink", SECONDS * rate, rate, 0) * 0.03
    return {"labels": len(detector.labels), "loaded": loaded, "memory": peak_memory(),
            "speed": SECONDS / median_seconds(detector.detect, noise)}


def count(name):
    """Return what `polysed presets --costs` counts of a preset, a dict."""
    from polysed_keras.models import experiment_cost
    cost = experiment_cost(example(name))
    return {"weights": cost.weights, "multiply_adds": cost.multiply_adds, "memory": cost.training_memory(BATCH) / 1e6}


def train(name):
    """Return the peak memory and the seconds of training steps of a preset, a dict; for a process of its own."""
    from polysed_keras.models import build_model, has_prior, learning_losses, learning_tasks, separate_priors
    from polysed_keras.training.frozen import split_frozen
    experiment = example(name)
    network = build_model(experiment)
    if has_prior(experiment):  # as training does it: the maps of the frozen backbone are made once
        _, learner = split_frozen(separate_priors(network))
        losses, weights = learning_losses(experiment)
        learner.compile(network.optimizer, losses, loss_weights=weights, jit_compile=False)
        network = learner
    rng = np.random.default_rng(0)
    inputs = tuple(rng.normal(0, 1, (BATCH, *part.shape[1:])).astype(np.float32) for part in network.inputs)
    targets = {task.name: task.encode(np.zeros((BATCH, *network.output[task.name].shape[1:-1], len(task.labels))))
               for task in learning_tasks(experiment)}
    step = median_seconds(network.train_on_batch, inputs if len(inputs) > 1 else inputs[0], targets, least=2)
    return {"memory": peak_memory(), "step": step}


def export(name, folder):
    """Export a preset and return the size of the export, a dict; for a process of its own."""
    from polysed_keras.export.saved_model import export_saved_model
    from polysed_keras.models import build_model
    experiment = example(name)
    shutil.rmtree(folder, ignore_errors=True)
    export_saved_model(build_model(experiment), experiment, folder)
    return {"size": size(folder), "litert": size(folder, "float32.tflite") + size(folder, "front_end.tflite")}


def run(name):
    """Return how many times faster than real time a preset's network is, a dict; for a process of its own."""
    import tensorflow as tf

    from polysed_keras.models import build_model
    experiment = example(name)
    network, speeds = build_model(experiment, use_cudnn=False), {}
    graph = tf.function(lambda log_mel: network(log_mel, training=False))

    def predict(log_mel):
        return [posteriors.numpy() for posteriors in graph(log_mel).values()]

    seconds = experiment.training.segment_frames * experiment.features.time_resolution
    for batch in (1, BATCH):
        log_mel = tf.random.normal((batch, *experiment.input_shape))
        speeds[str(batch)] = batch * seconds / median_seconds(predict, log_mel)
    return {"speeds": speeds}


def start(folder):
    """Return the seconds of the whole command `polysed detect` for 10 s, {runtime: seconds}."""
    import soundfile

    with tempfile.TemporaryDirectory() as temporary:
        clip, seconds = pathlib.Path(temporary) / "clip.wav", {}
        soundfile.write(clip, np.random.default_rng(0).normal(0, 0.03, 16000 * CLIP_SECONDS), 16000)
        for runtime in RUNTIMES:
            if runtime == "tensorflow" or list(pathlib.Path(folder).rglob("float32.tflite")):
                seconds[runtime] = statistics.median(
                    run_polysed("detect", clip, "--model", folder, "--runtime", runtime)[0] for _ in range(REPETITIONS))
    return {"start": seconds}


def example(name):
    """Return a preset with labels."""
    from polysed_keras.models import with_example_labels
    from polysed_keras.specs import get_preset
    return with_example_labels(get_preset(name))


def size(folder, pattern="*"):
    """Return the MB of an export's files."""
    return sum(path.stat().st_size for path in pathlib.Path(folder).rglob(pattern) if path.is_file()) / 1e6


MEASURES = {"count": count, "train": train, "export": export, "run": run, "start": start}


def in_process(script, *arguments, environment=None):
    """Run a script in a process of its own and return what it prints last, JSON."""
    result = subprocess.run([sys.executable, script, *map(str, arguments)], env=environment, stdout=subprocess.PIPE,
                            text=True)
    if result.returncode:
        sys.exit(result.returncode)  # the process has said why
    return json.loads(result.stdout.splitlines()[-1])


def measure_preset(name, keep, only):
    """Return all that is measured of a preset, a dict, which is kept in a file."""
    path, folder = keep / f"{name}.json", keep / name
    measured = json.loads(path.read_text()) if path.exists() else {}
    for measure in only:
        if measure not in measured:
            arguments = {"export": [name, folder], "start": [folder]}.get(measure, [name])
            if measure == "start" and "export" not in measured:
                continue
            measured[measure] = in_process(__file__, "--one", measure, *arguments)
            path.write_text(json.dumps(measured))
    return measured


def preset_row(name, measured):
    """Format the counted and the measured costs of a preset; what was not measured stays empty."""
    counted, trained = measured.get("count", {}), measured.get("train", {})
    speeds, starts = measured.get("run", {}).get("speeds", {}), measured.get("start", {}).get("start", {})
    values = [(counted.get("weights"), ",.0f"), (counted.get("multiply_adds", 0) / 1e6, ",.1f"),
              (counted.get("memory"), ",.0f"), (trained.get("memory"), ",.0f"), (trained.get("step"), ".2f"),
              (speeds.get("1"), ",.0f"), (speeds.get(str(BATCH)), ",.0f"),
              (measured.get("export", {}).get("size"), ",.1f"),
              *((starts.get(runtime), ".1f") for runtime in RUNTIMES)]
    return f"| {name} | " + " | ".join(f"{value:{form}}" if value else "" for value, form in values) + " |"


def print_header(*names):
    """Print the first two lines of a Markdown table."""
    print("| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", help="presets; or exports, or runs with their signatures in memory")
    parser.add_argument("--keep", metavar="DIR", help="keep measurements and exports of presets here")
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES), help="measure these of presets")
    parser.add_argument("--one", choices=("measure", *MEASURES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps({"measure": measure, **MEASURES}[arguments.one](*arguments.models)))
        return
    from polysed_keras.specs import PRESETS
    presets = [model for model in arguments.models if model in PRESETS]
    detectors = [model for model in arguments.models if model not in PRESETS]
    if presets:
        print_header("preset", "weights", "million multiply-adds / s", "training, MB estimated", "measured",
                     "a step in s", "x real time of a core, 1", str(BATCH), "export in MB",
                     "detect 10 s by LiteRT in s", "by TensorFlow")
        with tempfile.TemporaryDirectory() as temporary:
            keep = pathlib.Path(arguments.keep or temporary)
            keep.mkdir(parents=True, exist_ok=True)
            for name in presets:
                print(preset_row(name, measure_preset(name, keep, arguments.only)), flush=True)
    if detectors:
        print_header("detector", "labels", "disk in MB", "load in s", "x real time, one core", "memory in MB")
    for model in detectors:
        costs = in_process(__file__, "--one", "measure", model)
        print(f"| {model} | {costs['labels']} | {size(model):.1f} | {costs['loaded']:.1f} | {costs['speed']:.0f} | "
              f"{costs['memory']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
