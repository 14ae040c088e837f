"""A server under load, and an hour of audio through the client: wrong answers, memory, latency.

POLYSED_SOAK_SECONDS says how long the load lasts.
"""
import os
import pathlib
import threading
import time

import numpy as np
import pandas as pd
import pytest
import soundfile

from polysed_keras.export.saved_model import load_saved_model

from fixtures import HOP, POWERSET, RATE, run_python, shared_export, start_python

pytest.importorskip("tensorflow_serving.apis",
                    reason="tensorflow-serving-api is not installed: pip install -e '.[serving]'")

CLIENTS, NAME = 8, "tiny_tasks-export"
SECONDS = int(os.environ.get("POLYSED_SOAK_SECONDS", 60))
BLOCK = 16 * 32 * HOP

SERVE = """
import os, sys, time
from model_server import ModelServer
parent, server = os.getppid(), ModelServer({sys.argv[1]: {1: sys.argv[2]}})
print(server.grpc, flush=True)
while os.getppid() == parent:
    time.sleep(1)
"""
DETECT = """
import pathlib, sys
from polysed_keras.serving import connect
events = connect(sys.argv[1], sys.argv[2], timeout=120).detect(sys.argv[3])
events.to_csv(sys.argv[4], index=False)
print(next(line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if
line.startswith("VmHWM")).split()[1])
"""


@pytest.fixture(scope="module")
def server():
    """The in-test server in a process of its own: (process, address)."""
    process = start_python(SERVE, NAME, shared_export(POWERSET) / "1")
    yield process, process.stdout.readline().strip()
    process.kill()
    process.wait()


def noise(samples, seed):
    rng = np.random.default_rng(seed)
    tone = (
        0.3
        * np.sin(np.arange(samples) * rng.uniform(0.2, 2))
        * (np.sin(np.arange(samples) / rng.uniform(500, 2000)) > 0)
    )
    return (tone + rng.normal(0, 0.01, samples)).astype(np.float32)


def resident(pid):
    """MiB of a process."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def together(client, seconds):
    """Run client(index) again and again in CLIENTS threads; what its calls returned, and how long each took."""
    results, errors, end = [], [], time.monotonic() + seconds

    def loop(index):
        try:
            while time.monotonic() < end and not errors:
                begin = time.monotonic()
                answer = client(index)
                results.append((answer, time.monotonic() - begin))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=loop, args=(index,)) for index in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    return results


def latencies(results):
    p50, p95, p99 = 1000 * np.percentile([seconds for _, seconds in results], (50, 95, 99))
    return f"p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms"


def test_eight_clients_get_right_answers_in_flat_memory(server):
    from polysed_keras.serving.client import connect
    process, address = server
    detectors = [connect(address, NAME, timeout=300) for _ in range(CLIENTS)]
    waveforms = [noise((1 + index % 3) * BLOCK + 1000 * index, index) for index in range(CLIENTS)]
    expected = [load_saved_model(shared_export(POWERSET)).posteriors(waveform) for waveform in waveforms]

    def client(index):
        posteriors, activity = detectors[index].posteriors(waveforms[index])
        np.testing.assert_allclose(posteriors, expected[index][0], rtol=0, atol=1e-5)
        np.testing.assert_array_equal(activity, expected[index][1])
        return len(waveforms[index]) / RATE

    first, results = together(client, 10), []
    memory = [(resident(process.pid), resident("self"))]
    for _ in range(10):
        results += together(client, (SECONDS - 10) / 10)
        memory.append((resident(process.pid), resident("self")))
    audio = sum(seconds for seconds, _ in results)
    print(f"{CLIENTS} clients for {SECONDS} s, {len(first) + len(results)} recordings, each answer right: "
          f"{latencies(results)}, {audio / (SECONDS - 10):.0f} s of audio a second")
    for name, used in zip(("server", "clients"), zip(*memory)):
        print(f"MiB of the {name} after 10 s and after each tenth of the rest:", *(f"{number:.0f}" for number in used))
    assert memory[-1][0] < 1.05 * memory[0][0] and memory[-1][1] < 1.05 * memory[0][1]


def test_latency_against_the_size_of_a_batch(server):
    from polysed_keras.export.wav_bytes import encode_wav
    from polysed_keras.serving.transports import open_transport
    seconds = 10
    content = encode_wav(noise(seconds * RATE, 0), RATE)
    ways = [open_transport(server[1], NAME, 60) for _ in range(CLIENTS)]
    print(f"{CLIENTS} clients, requests of files of {seconds} s:")
    for files in (1, 2, 4, 8):
        def client(index, files=files):
            answer = ways[index].predict(1, "detect_wav", "wav_bytes", [content] * files).result()
            assert answer["num_frames"].tolist() == [seconds * 50] * files
            return files * seconds

        results = together(client, 15)
        audio = sum(audio for audio, _ in results) / 15
        print(f"{files} a request: {latencies(results)}, {audio:.0f} s of audio a second")


def write_recording(path, minutes):
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for minute in range(minutes):
            file.write(noise(60 * RATE, minute))
    return path


def test_an_hour_is_detected_in_bounded_memory_as_by_the_export(server, tmp_path):
    peaks = {}
    for minutes in (5, 60):
        recording = write_recording(tmp_path / f"{minutes}.wav", minutes)
        begin = time.monotonic()
        printed = run_python(DETECT, server[1], NAME, recording, tmp_path / "events.csv")
        peaks[minutes] = int(printed) / 1024
        print(
            f"{minutes} min: peak {peaks[minutes]:.0f} MiB, {time.monotonic() - begin:.0f} s with the start of Python"
        )
    alone = load_saved_model(shared_export(POWERSET)).detect(tmp_path / "60.wav")
    events = pd.read_csv(tmp_path / "events.csv")
    assert len(events) > 1000
    pd.testing.assert_frame_equal(events, alone, atol=1e-5)
    assert peaks[60] < peaks[5] + 40  # the hour as floats: 110 MiB
