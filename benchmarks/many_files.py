"""How long many short clips take, and an hour-long file beside the sum of its parts.

    python benchmarks/many_files.py [--clips 500] [--all-clips 3000] [--rounds 3]

`polysed detect FOLDER --out DIR` of clips of 1 s, with one worker and with two, by turns: by the shipped model, whose
segments have 9.6 s, and by multilabel_small with random weights, whose segments have 2.56 s. Then once many more clips,
by multilabel_small with two workers, to see whether a clip takes as long among many. Then, by the shipped model in two
turns at most, `polysed detect` of an hour of 44.1 kHz, with one core and with two, beside decoding with resampling, the
front end and the network, each measured alone with one core in this process.
"""
import argparse
import functools
import itertools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
from timing import ROOT, by_turns, in_words, ratios, table, use_cores, verdict

RATE, TODAY, AT_LEAST = 44100, 0.05, 5.0  # seconds a clip before, and the ratio to it
SMALL = "multilabel_small"


def detect(*arguments, cores=None):
    """Run polysed detect, on so many cores."""
    command = [sys.executable, "-m", "polysed_keras", "detect", *map(str, arguments)]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True,
                   preexec_fn=None if cores is None else lambda: use_cores(cores))


def many_clips(folder, clips, all_clips, rounds):
    """Return rows of the table, of clips of a second."""
    import soundfile

    from polysed_keras.export import default_model
    rng, events = np.random.default_rng(0), folder / "events"
    for number in {clips, all_clips}:
        (folder / str(number)).mkdir()
        for index in range(number):
            soundfile.write(folder / str(number) / f"{index:05d}.wav", 0.1 * rng.standard_normal(RATE), RATE)
    subprocess.run([sys.executable, ROOT / "benchmarks" / "networks.py", "--export", folder, SMALL], check=True)
    models = {"everyday": default_model(), SMALL: folder / SMALL}

    def run(number, name, workers):
        shutil.rmtree(events, ignore_errors=True)
        detect(folder / str(number), "--model", models[name], "--out", events, "--workers", workers)
        assert len(list(events.glob("*.tsv"))) == number

    def in_turns(turns, rounds):
        return by_turns({turn: functools.partial(run, *turn) for turn in turns}, rounds)

    seconds = in_turns(itertools.product([clips], models, (1, 2)), rounds) | in_turns([(all_clips, SMALL, 2)], 1)
    for (number, name, workers), times in seconds.items():
        each = [value / number for value in times]
        gain = [TODAY / value for value in each]
        yield (f"{number:,} clips of 1 s, {name}, --workers {workers}", in_words(times),
               f"{in_words([1e3 * value for value in each])} ms a clip", f"{1e3 * TODAY:.0f} ms a clip", in_words(gain),
               verdict(gain, AT_LEAST))


def one_hour(folder, seconds, rounds):
    """Return rows of the table, of one long file."""
    import soundfile

    from polysed_keras.audio import audio_blocks
    from polysed_keras.export import default_model, load_export, version_directory
    from polysed_keras.export.runtimes import DIRECTORY, FILES, PREFERRED, open_runtime
    path, rng = folder / "long.wav", np.random.default_rng(1)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for _ in range(0, seconds, 60):
            file.write(0.1 * rng.standard_normal(60 * RATE))
    description = load_export(default_model(), PREFERRED).description
    front_end, network = (open_runtime(version_directory(default_model()) / DIRECTORY / file)
                          for file in FILES[PREFERRED])
    cut = description["segment_frames"] * description["hop_length"]
    samples = cut + description["win_length"] - description["hop_length"]
    segments = -(-seconds * description["sample_rate"] // cut)
    waveform = (0.1 * rng.standard_normal((1, samples))).astype(np.float32)
    features = front_end(waveform=waveform)["log_mel"]

    def decode():
        for _ in audio_blocks(path, description["sample_rate"]):
            pass

    def repeat(function, **inputs):
        for _ in range(segments):
            function(**inputs)

    spent = by_turns({
        "decoding and resampling": decode, "front end": lambda: repeat(front_end, waveform=waveform),
        "network": lambda: repeat(network, log_mel=features), "one core": lambda: detect(path, cores=1),
        "two cores": lambda: detect(path, cores=2)}, rounds)
    parts = [sum(times) for times in zip(*list(spent.values())[:3])]
    said = ", ".join(f"{name} {in_words(times)}" for name, times in list(spent.items())[:3])
    for cores, least in (("one core", 1 / 1.1), ("two cores", 2 / 1.1)):
        gain = ratios(parts, spent[cores])
        yield (f"{seconds / 3600:g} h of 44.1 kHz, {cores}", in_words(spent[cores]),
               f"{in_words([seconds / value for value in spent[cores]])} x real time",
               f"{in_words(parts)} s: {said}", in_words(gain), verdict(gain, round(least, 2)))


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--all-clips", type=int, default=3000)
    parser.add_argument("--seconds", type=int, default=3600, help="of the long file")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        rows = [*many_clips(folder, arguments.clips, arguments.all_clips, arguments.rounds),
                *one_hour(folder, arguments.seconds, min(2, arguments.rounds))]
    print(table(("what", "s, the whole command", "speed", "against", "ratio", "at least"), rows))


if __name__ == "__main__":
    main()
