"""What detectors cost: size on disk, seconds to load, memory, and how many times faster than real time one core is.

    python benchmarks/costs.py saved_models/everyday runs/mine

Every detector, an export or a run, is loaded and used in a process of its own, which has one core. It detects events in
five minutes of pink noise, from samples to events, three times; the median counts.
"""
import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # the package need not be installed
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SECONDS, REPETITIONS = 300, 3


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

    times = []
    for _ in range(1 + REPETITIONS):  # the first call traces the network
        begun = time.perf_counter()
        detector.detect(noise)
        times.append(time.perf_counter() - begun)
    return {"labels": len(detector.labels), "loaded": loaded, "speed": SECONDS / statistics.median(times[1:]),
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def size(folder):
    """Return the MB of an export's files."""
    return sum(path.stat().st_size for path in pathlib.Path(folder).rglob("*") if path.is_file()) / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", help="exports, or runs with their signatures in memory")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.models[0])))
        return
    print("| detector | labels | disk in MB | load in s | x real time, one core | memory in MB |\n" + "|---" * 6 + "|")
    for model in arguments.models:
        output = subprocess.run([sys.executable, __file__, "--one", model], capture_output=True, text=True, check=True)
        costs = json.loads(output.stdout.splitlines()[-1])
        print(f"| {model} | {costs['labels']} | {size(model):.1f} | {costs['loaded']:.1f} | {costs['speed']:.0f} | "
              f"{costs['memory']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
