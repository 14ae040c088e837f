"""Figures: what is drawn where, and files that are whole and the same every time."""
import struct
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import same_color
from matplotlib.figure import Figure

from polysed_keras.display.recordings import (
    ESTIMATED,
    REFERENCE,
    plot_attention,
    plot_channel_masks,
    plot_detections,
    plot_events,
    plot_log_mel,
    plot_mask,
    plot_posteriors,
    plot_soundscape,
    save_figure,
)
from polysed_keras.errors import InputError
from polysed_keras.events.event_lists import COLUMNS, event_list_to_event_roll

LABELS = ["bird", "cat", "dog"]
RESOLUTION = 0.02
LOG_MEL = np.random.default_rng(0).normal(-30, 10, (200, 64))
EVENTS = pd.DataFrame([(0.5, 1.5, "cat"), (1.0, 3.0, "dog"), (3.5, 4.0, "cat")], columns=COLUMNS)
OTHERS = pd.DataFrame([(0.6, 1.4, "cat"), (2.0, 2.5, "bird")], columns=COLUMNS)
MASKS = {task: (np.random.default_rng(seed).random((200, 64)), np.random.default_rng(seed).random((2, 16)))
         for seed, task in enumerate(["cat", "dog"])}


def bars(axes, color):
    """(onset, offset, lane) of every bar of a colour, sorted; lane is the label that the bar's centre is nearest to."""
    found = []
    for collection in axes.collections:
        if len(collection.get_facecolor()) and same_color(collection.get_facecolor()[0], color):
            for path in collection.get_paths():
                (left, low), (right, high) = path.get_extents().get_points()
                found.append((round(left, 6), round(right, 6), LABELS[round((low + high) / 2)]))
    return sorted(found)


def rows_of(events):
    return [tuple(row) for row in events.itertuples(index=False)]


@pytest.mark.parametrize("as_roll", [False, True])
def test_soundscape_shows_the_mixture_its_events_and_its_polyphony(as_roll):
    events = event_list_to_event_roll(EVENTS, LABELS, 200, RESOLUTION) if as_roll else EVENTS
    figure = plot_soundscape(LOG_MEL, events, LABELS, RESOLUTION, title="mixture 7")
    top, middle, bottom = figure.axes[:3]
    np.testing.assert_array_equal(np.reshape(top.collections[0].get_array(), (64, 200)), LOG_MEL.T)
    assert top.get_xlim() == (0, 4) and top.get_ylim() == (0, 64)
    assert bars(middle, REFERENCE) == rows_of(EVENTS)
    assert [text.get_text() for text in middle.get_yticklabels()] == LABELS
    degree = bottom.patches[0].get_data()
    assert degree.values[[10, 60, 100, 160, 180]].tolist() == [0, 2, 1, 0, 1] and degree.edges[-1] == pytest.approx(4)
    assert all(axes.get_xlim() == (0, 4) for axes in (top, middle, bottom))
    assert figure.get_suptitle() == "mixture 7"


def test_detections_show_reference_and_estimated_events_in_one_lane_per_label():
    figure = plot_detections(LOG_MEL, EVENTS, OTHERS, LABELS, RESOLUTION)
    bottom = figure.axes[1]
    assert bars(bottom, REFERENCE) == rows_of(EVENTS)
    assert bars(bottom, ESTIMATED) == rows_of(OTHERS)
    assert [text.get_text() for text in bottom.get_legend().get_texts()] == ["reference", "estimated"]


def test_bars_of_reference_and_estimated_events_do_not_overlap():
    lane = pd.DataFrame([(0.0, 4.0, "cat")], columns=COLUMNS)
    axes = plot_detections(LOG_MEL, lane, lane, ["cat"], RESOLUTION).axes[1]
    heights = sorted(path.get_extents().intervaly.tolist() for collection in axes.collections[:2]
                     for path in collection.get_paths())
    assert -0.5 < heights[0][0] < heights[0][1] < heights[1][0] < heights[1][1] < 0.5
    assert axes.get_ylim() == (0.5, -0.5)  # the first label and its reference on top


def test_every_axis_says_its_unit():
    figures = [plot_soundscape(LOG_MEL, EVENTS, LABELS, RESOLUTION),
               plot_detections(LOG_MEL, EVENTS, OTHERS, LABELS, RESOLUTION, frequency_range=(50, 22050)),
               plot_posteriors(np.zeros((200, 3)), LABELS, RESOLUTION).figure,
               plot_attention(LOG_MEL, EVENTS, LABELS, MASKS, RESOLUTION)]
    for figure, expected in zip(figures, [["mel band", "polyphony\n(active labels)", "time (s)", "power (dB)"],
                                          ["frequency (Hz)", "time (s)", "power (dB)"], ["time (s)", "posterior"],
                                          ["mel band"] * 3 + ["time (s)", "channel", "power (dB)"] + ["mask"] * 3]):
        texts = [text for axes in figure.axes for text in (axes.get_ylabel(), axes.get_xlabel()) if text]
        assert texts == expected


def test_frequency_axis_equals_librosas_mel_bands():
    librosa = pytest.importorskip("librosa")
    axes = plot_log_mel(LOG_MEL, RESOLUTION, frequency_range=(50, 22050))
    rows = axes.collections[0].get_coordinates()[:, 0, 1]  # Hz
    assert len(rows) == 65 and axes.get_ylim() == (rows[0], rows[-1])
    for band, centre in enumerate(librosa.mel_frequencies(n_mels=66, fmin=50, fmax=22050)[1:-1]):
        assert rows[band] < centre < rows[band + 1]
    assert librosa.hz_to_mel(rows[32]) == pytest.approx(librosa.hz_to_mel([50, 22050]).mean())
    assert axes.get_yscale() == "symlog" and axes.get_xlim() == (0, 4)


def test_digital_silence_does_not_take_the_colours():
    log_mel = LOG_MEL.clip(max=-5)
    log_mel[:100] = -100
    image = plot_log_mel(log_mel, RESOLUTION).collections[0]
    assert image.get_clim() == (-85, -5)


def test_nothing_to_draw_is_drawn_all_the_same(tmp_path):
    figure = plot_detections(np.full((5, 4), -100.0), EVENTS[:0], EVENTS[:0], LABELS, RESOLUTION)
    save_figure(figure, tmp_path / "none.png")
    save_figure(plot_soundscape(np.full((5, 4), -100.0), np.zeros((5, 3)), LABELS, RESOLUTION), tmp_path / "silent.png")
    assert bars(figure.axes[1], REFERENCE) == []
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("none.png", "silent.png"))


def test_files_are_deterministic_png_without_time_stamps(tmp_path):
    for name in ("a.png", "b.png"):
        save_figure(plot_detections(LOG_MEL, EVENTS, OTHERS, LABELS, RESOLUTION, title="mixture 7"), tmp_path / name)
    content = (tmp_path / "a.png").read_bytes()
    assert content == (tmp_path / "b.png").read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    assert content.startswith(b"\x89PNG") and width == 1430 and height > 500
    assert not any(chunk in content for chunk in (b"tEXt", b"tIME", b"iTXt"))


def test_unwritable_outputs_are_refused_and_leave_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        save_figure(plot_events(EVENTS, LABELS, 4).figure, tmp_path / "file" / "events.png")
    with pytest.raises(AttributeError):
        save_figure(None, tmp_path / "broken.png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_posteriors_and_masks_are_drawn_as_they_are():
    posteriors = np.random.default_rng(0).random((200, 3))
    axes = plot_posteriors(posteriors, LABELS, RESOLUTION)
    image = axes.images[0]
    np.testing.assert_array_equal(image.get_array(), posteriors.T)
    assert image.get_clim() == (0, 1) and axes.get_xlim() == (0, 4) and axes.get_ylim() == (2.5, -0.5)
    assert [text.get_text() for text in axes.get_yticklabels()] == LABELS
    mask = MASKS["cat"][0]
    axes = plot_mask(mask, RESOLUTION, frequency_range=(50, 22050))
    np.testing.assert_array_equal(np.reshape(axes.collections[0].get_array(), (64, 200)), mask.T)
    assert axes.collections[0].get_clim() == (0, 1)
    axes = plot_channel_masks({"cat": np.full(16, 0.25), "dog": np.linspace(0, 1, 16)})
    np.testing.assert_array_equal(axes.images[0].get_array(), [np.full(16, 0.25), np.linspace(0, 1, 16)])
    assert axes.get_xlim() == (0, 16) and [text.get_text() for text in axes.get_yticklabels()] == ["cat", "dog"]


def test_attention_shows_the_input_its_events_and_both_masks_of_every_task():
    figure = plot_attention(LOG_MEL, EVENTS, LABELS, MASKS, RESOLUTION, frequency_range=(50, 22050), title="figure 2")
    panels = figure.axes[:5]
    assert [axes.get_title() for axes in panels] == ["", "", "time-frequency mask of cat", "time-frequency mask of dog",
                                                     "channel masks"]
    assert bars(panels[1], REFERENCE) == rows_of(EVENTS)
    for axes, task in zip(panels[2:4], MASKS):
        np.testing.assert_array_equal(np.reshape(axes.collections[0].get_array(), (64, 200)), MASKS[task][0].T)
    values = np.stack([time_frequency for time_frequency, _ in MASKS.values()])
    assert {axes.collections[0].get_clim() for axes in panels[2:4]} == {(values.min(), values.max())}
    np.testing.assert_allclose(panels[4].images[0].get_array(), [MASKS[task][1].mean(axis=0) for task in MASKS])
    assert all(axes.get_xlim() == (0, 4) for axes in panels[:4])


def test_axes_of_the_callers_are_drawn_into():
    axes = Figure().subplots()
    assert plot_events(EVENTS, LABELS, 4, axes=axes) is axes and bars(axes, REFERENCE) == rows_of(EVENTS)
    assert bars(axes, ESTIMATED) == [] and axes.get_legend() is None


def test_neither_pyplot_nor_tensorflow_is_imported():
    code = "import sys, polysed_keras.display.results; print({'matplotlib.pyplot', 'tensorflow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
