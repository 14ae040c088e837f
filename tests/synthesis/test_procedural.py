"""The procedural soundbank: reproducible, varied, after the physics, and heard for what it is by a tagger."""
import hashlib
import importlib.util
import os
import pathlib

import numpy as np
import pytest
import scipy.signal
import soundfile

from polysed_keras.errors import InputError
from polysed_keras.synthesis.activity import active_spans, frame_levels
from polysed_keras.synthesis.drawing import SoundscapeSpec
from polysed_keras.synthesis.procedural.procedures import (
    PROCEDURAL_SAMPLE_RATE as SAMPLE_RATE,
    PROCEDURES,
    make_instance,
    write_soundbank,
)
from polysed_keras.synthesis.soundbank import partition_soundbank, read_soundbank

INSTANCES = 4
PAPER_LABELS = """alarms_and_sirens baby_crying bird_singing bus cat_meowing crowd_applause crowd_cheering dog_barking
footsteps glass_smash gun_shot horsewalk mixer motorcycle rain thunder""".split()
BENCHMARK = pathlib.Path(__file__).parents[2] / "benchmarks" / "procedural_labels.py"


@pytest.fixture(scope="module")
def sounds():
    return {label: [make_instance(label, index) for index in range(INSTANCES)] for label in PROCEDURES}


@pytest.mark.parametrize("label", PROCEDURES)
def test_sounds_are_sound(sounds, label):
    for waveform in sounds[label]:
        assert waveform.dtype == np.float32 and waveform.ndim == 1 and np.isfinite(waveform).all()
        assert 2 <= len(waveform) / SAMPLE_RATE <= 14.1 and 0.29 <= np.abs(waveform).max() <= 0.91
        assert abs(waveform.mean()) < 0.02
        spans = active_spans(waveform, frame_levels(waveform, SAMPLE_RATE).max(), SoundscapeSpec())
        assert sum(offset - onset for onset, offset in spans) > 0.1


@pytest.mark.parametrize("label", PROCEDURES)
def test_instances_differ(sounds, label):
    assert len({waveform.tobytes() for waveform in sounds[label]}) == INSTANCES
    assert make_instance(label, 0, seed=1).tobytes() != sounds[label][0].tobytes()


def test_labels_are_those_of_tut_sed_synthetic_2016():
    assert list(PROCEDURES) == PAPER_LABELS


@pytest.mark.parametrize("label", PROCEDURES)
def test_an_instance_depends_on_seed_label_and_index_alone(sounds, label):
    np.random.seed(7)  # no state from outside, and no instance before it, plays a part
    assert make_instance(label, 2).tobytes() == sounds[label][2].tobytes()


def test_labels_have_seeds_of_their_own(sounds):
    # Both begin by drawing a length between 6 and 14 s.
    assert [len(sound) for sound in sounds["mixer"]] != [len(sound) for sound in sounds["motorcycle"]]


# Physics: what is measured is not what the procedures are made of.

def spectrum(waveform):
    return scipy.signal.welch(waveform, SAMPLE_RATE, nperseg=4096)


def centroid(waveform):
    frequency, power = spectrum(waveform)
    return np.sum(frequency * power) / np.sum(power)


def flatness(waveform):
    """Of the loudest frame, 100 Hz to 10 kHz: 1 for white noise, 0 for a tone."""
    frequency, _, power = scipy.signal.spectrogram(waveform, SAMPLE_RATE, nperseg=4096)
    power = power[(frequency > 100) & (frequency < 10000), power.sum(axis=0).argmax()] + 1e-20
    return np.exp(np.mean(np.log(power))) / np.mean(power)


def beat(waveform, low, high):
    """Where the autocorrelation of the envelope has its maximum between two periods (s)."""
    rate = 200
    block = SAMPLE_RATE // rate
    blocks = np.abs(waveform[:len(waveform) // block * block]).reshape(-1, block)
    level = np.sqrt(blocks.mean(axis=1))
    level -= level.mean()
    correlation = np.correlate(level, level, "full")[len(level) - 1:]
    return (round(low * rate) + correlation[round(low * rate):round(high * rate)].argmax()) / rate


def pitch(waveform, low, high):
    """The fundamental frequency of the loudest 50 ms, by autocorrelation between two frequencies."""
    middle = scipy.signal.fftconvolve(waveform ** 2, np.ones(2048), "same").argmax()
    frame = waveform[max(middle - 1100, 0):middle + 1100]
    correlation = scipy.signal.correlate(frame, frame)[len(frame) - 1:]
    shortest, longest = round(SAMPLE_RATE / high), round(SAMPLE_RATE / low)
    return SAMPLE_RATE / (shortest + correlation[shortest:longest].argmax())


def test_rain_is_bright_and_thunder_rumbles(sounds):
    assert min(map(centroid, sounds["rain"])) > 1500
    assert max(map(centroid, sounds["thunder"])) < 500


def test_tones_and_noises(sounds):
    tonal = [flatness(waveform) for label in ("alarms_and_sirens", "bird_singing", "cat_meowing")
             for waveform in sounds[label]]
    noisy = [flatness(waveform) for label in ("rain", "crowd_applause") for waveform in sounds[label]]
    assert max(tonal) < 0.05 and min(noisy) > 0.1


def test_applause_is_broadband(sounds):
    for waveform in sounds["crowd_applause"]:
        frequency, power = spectrum(waveform)
        octaves = [(frequency >= low) & (frequency < 2 * low) for low in (500, 1000, 2000, 4000)]
        levels = [10 * np.log10(power[octave].mean()) for octave in octaves]
        assert max(levels) - min(levels) < 25


def test_gaits(sounds):
    assert all(0.4 < beat(waveform, 0.35, 0.75) < 0.68 for waveform in sounds["footsteps"])
    assert all(0.5 < beat(waveform, 0.45, 0.8) < 0.7 for waveform in sounds["horsewalk"])  # a stride


def test_voices(sounds):
    assert all(300 < pitch(waveform, 200, 800) < 650 for waveform in sounds["baby_crying"])
    assert all(380 < pitch(waveform, 250, 1300) < 1150 for waveform in sounds["cat_meowing"])


def test_glass_rings_high_and_shots_begin_at_once(sounds):
    assert min(map(centroid, sounds["glass_smash"])) > 3000
    for waveform in sounds["gun_shot"]:
        first = np.argmax(np.abs(waveform) > 0.5 * np.abs(waveform).max())
        before, after = waveform[max(first - 441, 0):max(first - 44, 1)], waveform[first:first + 441]
        assert np.abs(before).max() < 0.1 * np.abs(after).max()


def band_profile(waveform):
    """Mean and spread of the levels in 16 bands, of the frames near the loudest, with the share of such frames."""
    _, _, power = scipy.signal.spectrogram(waveform, SAMPLE_RATE, nperseg=2048, noverlap=1024)
    edges = np.unique(np.geomspace(2, power.shape[0], 17).astype(int))
    bands = 10 * np.log10(np.add.reduceat(power[:edges[-1]], edges[:-1], axis=0) + 1e-12)
    loudness = bands.max(axis=0)
    loud = bands[:, loudness > loudness.max() - 25] - loudness.max()
    return np.concatenate([loud.mean(axis=1), loud.std(axis=1), [30 * loud.shape[1] / bands.shape[1]]])


def test_labels_are_distinguishable(sounds):
    profiles = np.array([band_profile(waveform) for label in PROCEDURES for waveform in sounds[label]])
    labels = np.repeat(np.arange(len(PROCEDURES)), INSTANCES)
    profiles = (profiles - profiles.mean(axis=0)) / profiles.std(axis=0)
    distances = np.linalg.norm(profiles[:, None] - profiles[None], axis=2) + 1e9 * np.eye(len(labels))
    assert np.mean(labels[distances.argmin(axis=1)] == labels) > 0.8  # the nearest other sound has the same label


def test_written_soundbank(tmp_path, sounds):
    labels = ("rain", "gun_shot")
    write_soundbank(tmp_path / "bank", instances=3, labels=labels)
    bank = read_soundbank(tmp_path / "bank")
    assert bank.labels == ("gun_shot", "rain") and len(bank.instances) == 6
    assert all(len(part.instances) == 2 for part in partition_soundbank(bank).values())
    waveform, rate = soundfile.read(tmp_path / "bank" / "rain" / "rain-02.flac")
    assert rate == SAMPLE_RATE
    np.testing.assert_allclose(waveform, sounds["rain"][2], atol=2 ** -15)


def test_same_seed_same_bytes(tmp_path):
    for name, instances in (("a", 2), ("b", 1), ("c", 2)):
        write_soundbank(tmp_path / name, instances, seed=5, labels=["dog_barking", "glass_smash"])
    digests = [{path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / name).rglob("*.flac")}
               for name in "abc"]
    assert digests[0] == digests[2] and len(digests[1]) == 2 and digests[1].items() <= digests[0].items()


@pytest.mark.parametrize("arguments, message", [
    ({"labels": ["rain", "unicorn"]}, "unicorn"), ({"labels": []}, "none"), ({"instances": 0}, "instance"),
    ({"seed": -1}, "seed")])
def test_bad_requests(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        write_soundbank(tmp_path / "bank", **arguments)
    assert not any(tmp_path.iterdir())


def test_existing_folder_is_kept(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        write_soundbank(tmp_path, 1, labels=["rain"])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


# The judge

@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("procedural_labels", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_accepted_classes_are_specific(benchmark):
    assert list(benchmark.ACCEPTED) == PAPER_LABELS
    parents = {"Animal", "Domestic animals, pets", "Vehicle", "Motor vehicle (road)", "Music", "Speech", "Sound effect",
               "Water", "Explosion", "Silence", "Noise", "Mechanisms", "Tools", "Human voice"}
    assert not parents & {name for names in benchmark.ACCEPTED.values() for name in names}


def test_share_of_instances_heard(benchmark):
    heard = [["Dog", "Music"], ["Animal", "Domestic animals, pets"], ["Silence", "Bark"], ["Dog", "Bark"]]
    assert benchmark.share_heard("dog_barking", heard) == 0.75
    assert "| 0.75 | Dog 2, " in benchmark.format_row("dog_barking", heard)


def test_benchmark_says_what_it_needs(benchmark, monkeypatch):
    monkeypatch.delenv("POLYSED_TEST_DATA", raising=False)
    monkeypatch.setattr("sys.argv", ["procedural_labels.py"])
    with pytest.raises(SystemExit, match="POLYSED_TEST_DATA: expected a folder that holds yamnet/"):
        benchmark.main()


@pytest.mark.slow
def test_benchmark_draws_all_labels(benchmark, tmp_path):
    benchmark.draw_spectrograms(tmp_path / "all.png", per_label=1)
    assert (tmp_path / "all.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_yamnet_hears_most_labels(benchmark):
    if not os.environ.get("POLYSED_TEST_DATA"):
        pytest.skip("POLYSED_TEST_DATA is unset: it names the folder that holds yamnet/, the tagger that judges")
    folder = pathlib.Path(os.environ["POLYSED_TEST_DATA"], "yamnet")
    if not folder.is_dir():
        pytest.skip(f"{folder}: no such folder; POLYSED_TEST_DATA names the folder that holds yamnet/")
    yamnet = benchmark.load_yamnet(folder)
    assert set().union(*benchmark.ACCEPTED.values()) <= set(yamnet[1])  # no class is misspelt
    shares = {label: benchmark.share_heard(label, benchmark.heard_classes(label, yamnet, instances=5))
              for label in PROCEDURES}
    assert sum(share > 0.5 for share in shares.values()) >= 11, shares
