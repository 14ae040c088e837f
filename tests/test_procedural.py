"""The procedural soundbank: reproducible, varied, and its labels distinguishable."""
import hashlib

import numpy as np
import pytest
import scipy.signal
import soundfile

from polysed_keras.datasets.activity import active_spans, frame_levels
from polysed_keras.datasets.procedural import PROCEDURES, SAMPLE_RATE, make_instance, write_soundbank
from polysed_keras.datasets.soundbank import partition_soundbank, read_soundbank
from polysed_keras.datasets.soundscapes import SoundscapeSpec
from polysed_keras.errors import InputError

INSTANCES = 4


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


def test_labels_have_seeds_of_their_own(sounds):
    # Both begin by drawing a length between 6 and 14 s.
    assert [len(sound) for sound in sounds["mixer"]] != [len(sound) for sound in sounds["motorcycle"]]


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
