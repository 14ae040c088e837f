"""Eight hours of audio are detected in the memory that twenty minutes take. Minutes."""
import pathlib
import time

import numpy as np
import pandas as pd
import pytest
import soundfile

from fixtures import run_python

ROOT = pathlib.Path(__file__).parents[2]
RATE, MINUTES, HOURS = 16000, 20, 8
DETECT = """
import pathlib, sys
from polysed_keras.cli.main import main
assert main(["detect", *sys.argv[1:]]) == 0
print(next(line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if
line.startswith("VmHWM")).split()[1])
"""


def write_recording(path, minutes):
    """Write noise with a knock, a chirp or nothing every few seconds; minute by minute, so that it needs no memory."""
    times = np.arange(RATE) / RATE
    sounds = [np.sin(2 * np.pi * (500 + 2000 * times) * times) * np.exp(-3 * times),
              np.random.default_rng(0).normal(0, 1, RATE) * np.exp(-60 * (times % 0.25)), np.zeros(RATE)]
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for minute in range(minutes):
            rng = np.random.default_rng(minute)
            waveform = rng.normal(0, 0.003, 60 * RATE)
            for second in range(0, 60, 4):
                waveform[second * RATE:(second + 1) * RATE] += 0.3 * sounds[rng.integers(3)]
            file.write(waveform)


@pytest.mark.parametrize("runtime, most", [("litert_float32", 1024), ("tensorflow", 1200)])  # MiB
def test_eight_hours_are_detected_in_flat_memory(runtime, most, tmp_path):
    peaks, found = {}, {}
    for minutes in (MINUTES, 60 * HOURS):
        recording = tmp_path / f"{minutes}.wav"
        write_recording(recording, minutes)
        begin = time.monotonic()
        printed = run_python(DETECT, recording, "--runtime", runtime, "--format", "csv", "--out", tmp_path)
        peaks[minutes] = int(printed.splitlines()[-1]) / 1024
        found[minutes] = pd.read_csv(tmp_path / f"{minutes}.csv")
        print(f"{runtime}, {minutes} min of {RATE} Hz: peak {peaks[minutes]:.0f} MiB, {len(found[minutes])} events, "
              f"{time.monotonic() - begin:.0f} s with the start of Python")
        recording.unlink()
    assert peaks[60 * HOURS] < min(peaks[MINUTES] + 40, most)  # The samples alone would be 1,760.
    begun = [events[events.offset < 60 * MINUTES - 10] for events in found.values()]
    pd.testing.assert_frame_equal(*begun)
    assert len(begun[0]) > 20
