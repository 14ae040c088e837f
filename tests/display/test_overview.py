"""Pictures of recordings of any length: what is drawn in which row."""
import dataclasses
import types

import numpy as np
import pandas as pd
import pytest
import soundfile

from polysed_keras.display import overview
from polysed_keras.display.overview import plot_recording, row_seconds
from polysed_keras.display.recordings import save_figure
from polysed_keras.specs import LogMelSpec

FEATURES = LogMelSpec(sample_rate=2000, win_length=400, hop_length=200, n_fft=512, n_mels=8, fmin=50, fmax=1000)
LABELS = tuple(f"label {number:02d}" for number in range(25))
DETECTOR = types.SimpleNamespace(clip_level=False, labels=LABELS, description={
    "experiment": {"features": dataclasses.asdict(FEATURES)}})


def event_list(*rows):
    return pd.DataFrame(rows, columns=["onset", "offset", "event_label"])


def recording(tmp_path, seconds, name="street $1$.wav"):
    """Noise that is loud only in the seventieth second, if there is one."""
    waveform = 0.001 * np.random.default_rng(0).standard_normal(int(2000 * seconds))
    waveform[70 * 2000:71 * 2000] *= 300
    soundfile.write(tmp_path / name, waveform, 2000)
    return tmp_path / name


def lanes(axes):
    return [text.get_text() for text in axes.get_yticklabels()]


def bars(axes):
    """{lane: (onset, offset)} of the bars inside of the axes."""
    found, (start, end) = {}, axes.get_xlim()
    for collection in axes.collections:
        for path in collection.get_paths():
            (left, low), (right, high) = path.get_extents().get_points()
            if right > start and left < end:
                found[lanes(axes)[round((low + high) / 2)]] = (round(left, 6), round(right, 6))
    return found


@pytest.mark.parametrize("duration, expected", [
    (0.3, 0.3), (60, 60), (61, 40), (187, 50), (360, 60), (361, 120), (3600, 600), (3601, 660), (86400, 14400)])
def test_rows_are_of_round_lengths_and_six_at_most(duration, expected):
    assert row_seconds(duration) == expected and np.ceil(duration / expected) <= 6


def test_an_event_is_in_the_rows_of_its_time_under_its_label(tmp_path):
    """130 s are rows of 50 s; an event over the edge of two rows is in both."""
    events = event_list((10, 20, "label 03"), (45, 55, "label 01"), (70, 71, "label 02"))
    figure = plot_recording(recording(tmp_path, 130), DETECTOR, events)
    spectrograms, rows = figure.axes[:6:2], figure.axes[1:6:2]
    assert [axes.get_xlim() for axes in rows] == [axes.get_xlim() for axes in spectrograms] == [
        (0, 50), (50, 100), (100, 150)]
    assert [lanes(axes) for axes in rows] == [["label 01", "label 03"], ["label 01", "label 02"], ["no events"]]
    assert bars(rows[0]) == {"label 01": (45, 55), "label 03": (10, 20)}
    assert bars(rows[1]) == {"label 01": (45, 55), "label 02": (70, 71)} and bars(rows[2]) == {}
    mesh = spectrograms[1].collections[0]
    loud = np.reshape(mesh.get_array(), (8, -1)).mean(axis=0).argmax()
    assert 70 <= mesh.get_coordinates()[0, loud, 0] < 71
    assert len({axes.collections[0].get_clim() for axes in spectrograms}) == 1
    assert figure.get_suptitle() == r"street \$1\$.wav" and rows[2].get_xlabel() == "time (min:s)"
    save_figure(figure, tmp_path / "street.png")
    assert {"0:50", "0:55", "1:40"} <= {text.get_text() for text in rows[1].get_xticklabels()}


def test_the_last_row_may_be_shorter_than_a_column(tmp_path, monkeypatch):
    """Columns of 1.3 s, and four rows of 120 s, of which the last holds 0.05 s."""
    monkeypatch.setattr(overview, "COLUMNS", 50)
    figure = plot_recording(recording(tmp_path, 360.05), DETECTOR, event_list())
    assert figure.axes[7].get_xlim() == (360, 480)
    assert np.reshape(figure.axes[6].collections[0].get_array(), (8, -1)).shape[1] == 1


def test_more_labels_than_lanes_are_told(tmp_path):
    events = event_list(*((0, 1 + number / 10, label) for number, label in enumerate(LABELS)))
    axes = plot_recording(recording(tmp_path, 4), DETECTOR, events).axes[1]
    assert lanes(axes) == list(LABELS[5:]) and axes.get_xlabel() == "time (s); 5 more labels have events here"


def test_silence_is_dark_and_tags_are_events(tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(8000), 2000)
    tags = pd.DataFrame({"onset": [0.0], "offset": [4.0], "scene": [""], "confidence": [np.nan],
                         "tags": ["label 07;rain"], "tag_confidences": ["0.9;0.5"]})
    figure = plot_recording(tmp_path / "silent.wav", DETECTOR, tags, title="quiet")
    mesh = figure.axes[0].collections[0]
    assert mesh.get_clim() == (-100, -20) and np.all(mesh.get_array() == -100) and figure.get_suptitle() == "quiet"
    assert bars(figure.axes[1]) == {"label 07": (0, 4), "rain": (0, 4)}


def test_events_are_detected_if_none_are_given(tmp_path):
    path = recording(tmp_path, 2)
    detector = types.SimpleNamespace(**vars(DETECTOR), detect=lambda audio: event_list((0, 1, "label 09")))
    assert lanes(plot_recording(path, detector).axes[1]) == ["label 09"]
