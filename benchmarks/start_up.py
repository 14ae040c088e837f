"""How long it takes until a cold process has detected a clip of 10 s, and until a SavedModel of 16 tasks is loaded.

    python benchmarks/start_up.py [--rounds 5]

The whole command `polysed detect CLIP` with the shipped model, by LiteRT and by TensorFlow in turns; with `--help` for
what Python and the package take. The files have been read before. A network of 16 tasks in full size, with random
weights, is exported, and each time loaded in a new process.
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy as np
from timing import ROOT, by_turns, in_words, ratios, table, verdict

CLIP_SECONDS, MOST_SECONDS, AT_LEAST = 10, 1.5, 4.0  # seconds of the whole command; its ratio to TensorFlow's
MOST_LOADING = 3.0
LOAD = """
import time
import tensorflow, keras
from polysed_keras.export import load_export
started = time.perf_counter()
load_export({path!r}, "tensorflow")
print(time.perf_counter() - started)
"""
EXPORT = """
import sys
import polysed_keras as ps
from polysed_keras.export.saved_model import export_saved_model
from polysed_keras.models import with_labels
experiment = with_labels(ps.get_preset("mcmt_16"), [f"label {{number:02d}}" for number in range(16)])
export_saved_model(ps.build_model(experiment), experiment, {path!r})
"""


def python(*arguments):
    """Run Python in the repository and return its output."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True,
                          text=True).stdout


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        clip, model = pathlib.Path(folder, "clip.wav"), str(pathlib.Path(folder, "mcmt_16"))
        import soundfile
        soundfile.write(clip, 0.1 * np.random.default_rng(0).standard_normal(CLIP_SECONDS * 44100), 44100)
        commands = {"litert_float32": ["detect", str(clip), "--runtime", "litert_float32"],
                    "tensorflow": ["detect", str(clip), "--runtime", "tensorflow"], "help": ["--help"]}
        functions = {name: lambda command=command: python("-m", "polysed_keras", *command)
                     for name, command in commands.items()}
        events = [functions[name]().splitlines() for name in ("litert_float32", "tensorflow")]
        assert [line.split("\t")[:4] for line in events[0]] == [line.split("\t")[:4] for line in events[1]], events
        seconds = by_turns(functions, rounds)
        python("-c", EXPORT.format(path=model))
        loading = [float(python("-c", LOAD.format(path=model)).split()[-1]) for _ in range(min(3, rounds))]
    times, median = ratios(seconds["tensorflow"], seconds["litert_float32"]), statistics.median
    print(table(("what", "s", "s by TensorFlow", "ratio", "at least, or at most"), [
        ("`polysed detect` of a clip of 10 s, by LiteRT", in_words(seconds["litert_float32"]),
         in_words(seconds["tensorflow"]), in_words(times), f"{verdict(times, AT_LEAST)}; {MOST_SECONDS} s: "
         + ("reached" if median(seconds["litert_float32"]) <= MOST_SECONDS else "missed")),
        ("`polysed --help`", in_words(seconds["help"]), "", "", ""),
        ("loading a SavedModel of 16 tasks (mcmt_16), TensorFlow imported", in_words(loading), "", "",
         f"{MOST_LOADING:g} s: " + ("reached" if median(loading) <= MOST_LOADING else "missed"))]))


if __name__ == "__main__":
    main()
