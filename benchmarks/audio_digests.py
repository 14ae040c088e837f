"""How long it takes to know the content of a corpus's audio: for the first time, in a copy, and when nothing changed.

    python benchmarks/audio_digests.py ESC50/audio [--files 1000]

Files of 10 s, 16 bit, 44.1 kHz, mono, of recordings of ESC-50 joined to loops, and the clips of the collection as they
are. Read from the disk, read from memory, and unchanged: with the notes read anew, as a new process does, and in the
same process. Beside it, how long the features of some of the files take.
"""
import argparse
import os
import pathlib
import shutil
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # the package need not be installed
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
from polysed_keras.audio import (  # noqa: E402
    compute_log_mel,
    digests,
    find_audio,
    load_audio,
    write_audio,
)
from polysed_keras.datasets.loading import Clip, ClipDataset, content_digest  # noqa: E402
from polysed_keras.specs import LogMelSpec  # noqa: E402

RATE, SECONDS, REPETITIONS = 44100, 10, 9


def forget(paths):
    """Have the files' pages dropped from memory, so that they are read from the disk."""
    os.sync()
    for path in paths:
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def milliseconds(function, repetitions=REPETITIONS):
    """The median of the repetitions and the fastest one."""
    spent = []
    for _ in range(repetitions):
        started = time.perf_counter()
        function()
        spent.append(1000 * (time.perf_counter() - started))
    return f"{np.median(spent):.1f} ms (fastest of {repetitions}: {min(spent):.1f})"


def measure(folder, title):
    paths = sorted((folder / "audio").iterdir())
    dataset = ClipDataset(folder, ("a",), {"train": tuple(Clip(path.name, path, ("a",)) for path in paths)})
    size = sum(path.stat().st_size for path in paths)
    print(f"{title}: {len(paths)} files, {size / 2 ** 20:.0f} MiB")

    def anew(keep=False):
        digests._read_notes.cache_clear()
        if not keep:
            shutil.rmtree(folder / "features", ignore_errors=True)
        return content_digest(dataset)

    time.sleep(digests.SETTLED_SECONDS + 1)  # what was just written is not noted
    forget(paths)
    print("  first time, from the disk:", milliseconds(anew, 1))
    print("  first time, from memory:", milliseconds(anew, 3))
    print("  unchanged, new process:", milliseconds(lambda: anew(keep=True)))
    print("  unchanged, same process:", milliseconds(lambda: content_digest(dataset)))
    print("  only their status:", milliseconds(lambda: [os.stat(path) for path in paths]))
    print(f"  digests.txt: {(folder / 'features' / digests.DIGESTS).stat().st_size / 1024:.0f} KiB")


def features_seconds(paths):
    spec = LogMelSpec()
    compute_log_mel(load_audio(paths[0]), spec)  # traced once
    started = time.perf_counter()
    for path in paths:
        compute_log_mel(load_audio(path), spec)
    return (time.perf_counter() - started) / len(paths)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("audio")
    parser.add_argument("--files", type=int, default=1000)
    arguments = parser.parse_args()
    clips, rng = find_audio([arguments.audio]), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as temporary:
        looped, copied = (pathlib.Path(temporary) / name / "audio" for name in ("looped", "copied"))
        for folder in (looped, copied):
            folder.mkdir(parents=True)
        for index in range(arguments.files):
            waveform = load_audio(clips[index % len(clips)], RATE)
            gain = rng.uniform(0.3, 1.0)
            write_audio(looped / f"{index}.wav", gain * np.resize(waveform, RATE * SECONDS), RATE, "PCM_16")
        for path in clips[:arguments.files]:
            shutil.copyfile(path, copied / path.name)
        measure(looped.parent, "10 s, WAV")
        measure(copied.parent, "5 s, Ogg")
        seconds = features_seconds(sorted(looped.iterdir())[:50])
        print(f"features of 10 s, one thread: {1000 * seconds:.1f} ms per file")


if __name__ == "__main__":
    main()
