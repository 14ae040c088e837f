"""Timing by turns, the machine and its measured peak, and Markdown tables, for the scripts beside this one."""
import importlib.metadata
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ("numpy", "tensorflow", "keras", "ai-edge-litert", "librosa", "sed_eval", "torch", "torchaudio")
IDLE = 1.5  # A machine of two cores is called idle below this load of a minute.

sys.path.insert(0, str(ROOT))  # the package need not be installed
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def by_turns(functions, rounds, *, calls=1, clock=time.perf_counter):
    """Time functions that take turns, so that what disturbs the machine disturbs all of them.

    Args:
        functions: dict of functions without arguments.
        rounds: number of turns of each function.
        calls: timed calls per turn; if more than one, an untimed call precedes them, in which threads of the function
            before it come to rest.
        clock: function that returns seconds.

    Returns:
        Dict of lists of seconds per call, one for each round.
    """
    seconds = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            if calls > 1:
                function()
            started = clock()
            for _ in range(calls):
                function()
            seconds[name].append((clock() - started) / calls)
    return seconds


def in_words(values, digits=3):
    """Format the median of numbers above 0 and their range, with so many digits that count."""
    def number(value):
        return f"{value:,.{max(0, digits - 1 - math.floor(math.log10(value)))}f}"

    return f"{number(statistics.median(values))} ({number(min(values))} to {number(max(values))})"


def ratios(peer, ours):
    """Return how many times as long the peer took in each round."""
    return [theirs / here for theirs, here in zip(peer, ours, strict=True)]


def verdict(values, least):
    """Say whether a median ratio reaches what it should be; a tie (15 %) is told as one."""
    median = statistics.median(values)
    if median >= least:
        return f"{least:g}: reached"
    return f"{least:g}: missed" + (" by less than the noise of 15 %" if median >= 0.85 * least else "")


def table(header, rows):
    """Return a Markdown table of a header and rows of anything."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def machine():
    """Describe the machine and the versions in one line."""
    names = [line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2 ** 30
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    return (f"{len(os.sched_getaffinity(0))} cores of {names[0] if names else platform.machine()}, {memory:.0f} GiB; "
            f"Python {platform.python_version()}, {', '.join(versions)}.")


def commit():
    """Return the short name of the commit, with a plus if files differ from it other than the pages of results."""
    def git(*arguments):
        return subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True).stdout.strip()

    name = git("rev-parse", "--short", "HEAD")
    differ = git("status", "--porcelain", "--untracked-files=no", "--", ROOT, ":(exclude)docs/results")
    return (name or "unknown") + "+" * bool(differ)


def load():
    """Return the machine's load of the last minute."""
    return os.getloadavg()[0]


def wait_until_idle(seconds):
    """Wait until the load of the last minute is below IDLE, at most so many seconds, and return it."""
    until = time.monotonic() + seconds
    while load() >= IDLE and time.monotonic() < until:
        time.sleep(5)
    return load()


def peak(size=3072, rounds=7):
    """Return the greatest GFLOP/s of a float32 matrix product, by numpy or TensorFlow, whichever is faster."""
    import numpy as np
    import tensorflow as tf
    left, right = np.random.default_rng(0).standard_normal((2, size, size)).astype(np.float32)
    tensors = tf.constant(left), tf.constant(right)
    seconds = by_turns({"numpy": lambda: left @ right, "tensorflow": lambda: tf.matmul(*tensors).numpy()}, rounds)
    return 2 * size ** 3 / min(map(min, seconds.values())) / 1e9


def use_cores(number):
    """Keep this process to so many cores; called before TensorFlow and PyTorch count them."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:number])
