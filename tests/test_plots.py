"""Figures: what is drawn where, and files that are whole and the same every time."""
import struct
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import same_color

from polysed_keras.errors import InputError
from polysed_keras.events import COLUMNS, event_list_to_event_roll
from polysed_keras.plots import (ESTIMATED, REFERENCE, plot_detections, plot_soundscape, plot_sweep, plot_training,
                                 save_figure)

LABELS = ["bird", "cat", "dog"]
RESOLUTION = 0.02
LOG_MEL = np.random.default_rng(0).normal(-30, 10, (200, 64))
EVENTS = pd.DataFrame([(0.5, 1.5, "cat"), (1.0, 3.0, "dog"), (3.5, 4.0, "cat")], columns=COLUMNS)
OTHERS = pd.DataFrame([(0.6, 1.4, "cat"), (2.0, 2.5, "bird")], columns=COLUMNS)
HISTORY = pd.DataFrame({"epoch": [1, 2, 3, 4], "loss": [0.5, 0.4, 0.3, 0.2], "val_loss": [0.5, 0.42, 0.4, 0.41],
                        "val_f1": [0.2, 0.5, 0.583, 0.55]})


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
    image = top.images[0]
    np.testing.assert_array_equal(image.get_array(), LOG_MEL.T)
    assert tuple(image.get_extent()) == (0, 4, 0, 64) and image.origin == "lower"
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
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["reference", "estimated"]


def test_bars_of_reference_and_estimated_events_do_not_overlap():
    lane = pd.DataFrame([(0.0, 4.0, "cat")], columns=COLUMNS)
    axes = plot_detections(LOG_MEL, lane, lane, ["cat"], RESOLUTION).axes[1]
    heights = sorted(path.get_extents().intervaly.tolist() for collection in axes.collections[:2]
                     for path in collection.get_paths())
    assert -0.5 < heights[0][0] < heights[0][1] < heights[1][0] < heights[1][1] < 0.5
    assert axes.get_ylim() == (0.5, -0.5)  # the first label and its reference on top


def test_every_axis_says_its_unit():
    figures = [plot_soundscape(LOG_MEL, EVENTS, LABELS, RESOLUTION),
               plot_detections(LOG_MEL, EVENTS, OTHERS, LABELS, RESOLUTION), plot_training(HISTORY)]
    for figure, expected in zip(figures, [["mel band", "polyphony\n(active labels)", "time (s)", "power (dB)"],
                                          ["mel band", "time (s)", "power (dB)"],
                                          ["cross-entropy loss (nats)", "validation F1, overall (%)", "epoch"]]):
        texts = [text for axes in figure.axes for text in (axes.get_ylabel(), axes.get_xlabel()) if text]
        assert texts == expected


def test_frequency_axis_equals_librosas_mel_bands():
    librosa = pytest.importorskip("librosa")
    edges = librosa.mel_frequencies(n_mels=66, fmin=50, fmax=22050)  # edge i + 1 is the centre of band i
    axes = plot_soundscape(LOG_MEL, EVENTS, LABELS, RESOLUTION, frequency_range=(50, 22050)).axes[0]
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == ["0.1", "0.5", "1", "2", "4", "8", "16"]
    for name, position in zip(names, axes.get_yticks()):
        assert position == pytest.approx(np.interp(1000 * float(name), edges, np.arange(66) - 0.5), abs=0.02)
    narrow = plot_soundscape(LOG_MEL, EVENTS, LABELS, RESOLUTION, frequency_range=(100, 4000)).axes[0]
    assert [text.get_text() for text in narrow.get_yticklabels()] == ["0.1", "0.5", "1", "2", "4"]
    assert narrow.get_ylim() == (0, 64)


def test_digital_silence_does_not_take_the_colours():
    log_mel = LOG_MEL.clip(max=-5)
    log_mel[:100] = -100
    image = plot_soundscape(log_mel, EVENTS, LABELS, RESOLUTION).axes[0].images[0]
    assert image.get_clim() == (-85, -5)


def test_nothing_to_draw_is_drawn_all_the_same(tmp_path):
    figure = plot_detections(np.full((5, 4), -100.0), EVENTS[:0], EVENTS[:0], LABELS, RESOLUTION)
    save_figure(figure, tmp_path / "none.png")
    save_figure(plot_soundscape(np.full((5, 4), -100.0), np.zeros((5, 3)), LABELS, RESOLUTION), tmp_path / "silent.png")
    assert bars(figure.axes[1], REFERENCE) == []
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("none.png", "silent.png"))


def test_training_curve_marks_the_best_epoch():
    top, bottom = plot_training(HISTORY, title="multilabel_small").axes
    for line, name in zip(top.lines, ["loss", "val_loss"]):
        np.testing.assert_array_equal(line.get_xydata(), HISTORY[["epoch", name]])
    np.testing.assert_allclose(bottom.lines[0].get_xydata(), HISTORY[["epoch", "val_f1"]] * [1, 100])
    assert [text.get_text() for text in top.get_legend().get_texts()] == ["training", "validation"]
    assert [text.get_text() for text in bottom.get_legend().get_texts()] == ["best: epoch 3, 58.3 %"]
    np.testing.assert_allclose(bottom.lines[1].get_xydata(), [[3, 58.3]])
    assert [axes.lines[-1].get_xdata() for axes in (top, bottom)] == [[3, 3], [3, 3]]


def test_a_training_of_one_epoch_has_a_curve(tmp_path):
    save_figure(plot_training(HISTORY[:1]), tmp_path / "training.png")
    assert (tmp_path / "training.png").stat().st_size > 1000


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
        save_figure(plot_training(HISTORY), tmp_path / "file" / "training.png")
    with pytest.raises(AttributeError):
        save_figure(None, tmp_path / "broken.png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_neither_pyplot_nor_tensorflow_is_imported():
    code = "import sys, polysed_keras.plots; print({'matplotlib.pyplot', 'tensorflow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


SWEEP = pd.DataFrame({"point": ["base", 0.1, 0.9] * 2, "seed": [0] * 3 + [1] * 3, "accuracy": [0.5, 0.6, 0.7, 0.54, 0.62, 0.74],
                      "lwlrap": [np.nan, 0.2, 0.3, np.nan, 0.24, 0.34]})


def points_of(axes, marker):
    """(x, y) of the points of a marker."""
    return [xy for line in axes.lines if line.get_marker() == marker for xy in np.round(line.get_xydata(), 6).tolist()]


def test_a_sweep_shows_seeds_means_and_the_baseline():
    top, bottom = plot_sweep(SWEEP, "alpha", baselines=("base",), title="x").axes
    assert points_of(top, "D") == [[0.1, 61.0], [0.9, 72.0]] and points_of(bottom, "D") == [[0.1, 22.0], [0.9, 32.0]]
    assert sorted(points_of(top, "o")) == [[0.1, 60.0], [0.1, 62.0], [0.9, 70.0], [0.9, 74.0]]
    baseline = [line for line in top.lines if line.get_label() == "base"]
    assert baseline[0].get_ydata()[0] == pytest.approx(52.0) and not [line for line in bottom.lines if line.get_label() == "base"]
    low, high = top.patches[0].get_extents().transformed(top.transData.inverted()).get_points()[:, 1]
    assert (low, high) == (pytest.approx(50.0), pytest.approx(54.0))
    assert bottom.get_xlabel() == "alpha" and "%" in top.get_ylabel()


def test_a_sweep_of_names_is_in_their_order():
    named = SWEEP.assign(point=["base", "b", "a"] * 2)
    top, bottom = plot_sweep(named, "choice", baselines=("base",)).axes
    assert points_of(top, "D") == [[0, 61.0], [1, 72.0]]
    assert [tick.get_text() for tick in bottom.get_xticklabels()] == ["b", "a"]
