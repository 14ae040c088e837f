"""How fast clips become features, by soundfile and by tensorflow-io; and whether memory stays flat over an epoch.

    python benchmarks/clip_input.py [--clips 240] [--stored 20000]

Reading: 10 s clips of 24 bit, 48 kHz, stereo, as TUT Urban Acoustic Scenes 2018 has them, to log-mel features, with as
many threads as there are cores: by load_audio (soundfile and soxr), and with tensorflow-io's decoder in its place. Both
in one run, alternating, as a ratio.

Memory: an epoch of batches of 192 clips from features on disk, many times what the process may grow by; the resident
set after the first tenth and at the end.
"""
import argparse
import concurrent.futures
import os
import pathlib
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # the package need not be installed
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
from polysed_keras.audio import (  # noqa: E402
    compute_log_mel,  # noqa: E402
    decode_with_tensorflow_io,
    load_audio,
)
from polysed_keras.errors import InputError  # noqa: E402
from polysed_keras.specs import (  # noqa: E402
    AugmentSpec,
    LogMelSpec,
    Task,  # noqa: E402
)
from polysed_keras.training import ClipFeatures, joint_dataset  # noqa: E402

RATE, SECONDS, REPETITIONS = 48000, 10, 3


def write_clips(folder, number):
    """Noise, each clip its own; their paths."""
    import soundfile
    rng, paths = np.random.default_rng(0), []
    for index in range(number):
        paths.append(folder / f"{index}.wav")
        soundfile.write(paths[-1], 0.1 * rng.standard_normal((RATE * SECONDS, 2)), RATE, "PCM_24")
    return paths


def read_by_tensorflow_io(path):
    """What load_audio returns."""
    import soxr
    return soxr.resample(decode_with_tensorflow_io(path).mean(axis=1), RATE, 44100)


def clips_a_second(read, paths):
    spec = LogMelSpec()
    compute_log_mel(read(paths[0]), spec)  # traced once
    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda path: compute_log_mel(read(path), spec), paths))
    return len(paths) / (time.perf_counter() - started)


def compare_reading(folder, number):
    paths = write_clips(folder, number)
    readers = {"soundfile": load_audio, "tensorflow-io": read_by_tensorflow_io}
    try:
        read_by_tensorflow_io(paths[0])
    except InputError as error:
        print(error)
        readers.pop("tensorflow-io")
    rates = {name: [] for name in readers}
    for _ in range(REPETITIONS):
        for name, read in readers.items():
            rates[name].append(clips_a_second(read, paths))
    for name, values in rates.items():
        print(f"{name:14} {np.median(values):6.1f} clips/s ({min(values):.1f} to {max(values):.1f})")
    if len(rates) == 2:
        print(f"tensorflow-io / soundfile: {np.median(rates['tensorflow-io']) / np.median(rates['soundfile']):.2f}")


def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2 ** 20


def watch_memory(folder, number):
    spec, frames = LogMelSpec(hop_length=1764), 250
    rng, paths = np.random.default_rng(0), []
    for index in range(number):
        paths.append(folder / f"{index}.npy")
        np.save(paths[-1], rng.standard_normal((frames, spec.n_mels), np.float32))
    activity = rng.random((number, 35)) < 0.1
    scenes = np.eye(10)[rng.integers(10, size=number)]
    clips = {name: ClipFeatures(tuple(map(str, range(number))), tuple(paths), np.asarray(labels, np.uint8), frames,
                                spec.n_mels)
             for name, labels in (("scene", scenes), ("events", activity))}
    tasks = (
        Task("scene", tuple(map(str, range(10))), "multi_class"),
        Task("events", tuple(map(str, range(35))), "multi_label"),
    )
    steps = number // 128
    dataset = joint_dataset(clips, tasks, {"scene": 64, "events": 128}, spec=AugmentSpec(2, 25, 2, 8, 0.2), seed=0)
    started, resident = time.perf_counter(), []
    for _ in dataset.take(steps):
        resident.append(resident_mib())
    seconds, early = time.perf_counter() - started, resident[steps // 10]
    print(
        f"{number} clips on disk, {number * frames * spec.n_mels * 4 / 2**20:.0f} MiB: {steps} batches of 192, "
        f"{192 * steps / seconds:.0f} clips/s; resident {early:.0f} MiB after a tenth, "
        f"{resident[-1]:.0f} MiB at the end, at most {max(resident):.0f} MiB"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=240)
    parser.add_argument("--stored", type=int, default=20000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for part in ("clips", "features"):
            (pathlib.Path(temporary) / part).mkdir()
        compare_reading(pathlib.Path(temporary) / "clips", arguments.clips)
        watch_memory(pathlib.Path(temporary) / "features", arguments.stored)
