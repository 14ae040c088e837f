"""Pictures of results: what is drawn where."""
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from polysed_keras.display.recordings import save_figure
from polysed_keras.display.results import (
    plot_f_scores,
    plot_points,
    plot_polyphony,
    plot_polyphony_scores,
    plot_psd_roc,
    plot_sweep,
    plot_training,
)

HISTORY = pd.DataFrame({"epoch": [1, 2, 3, 4], "loss": [0.5, 0.4, 0.3, 0.2], "val_loss": [0.5, 0.42, 0.4, 0.41],
                        "val_f1": [0.2, 0.5, 0.583, 0.55]})
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


SWEEP = pd.DataFrame({"point": ["base", 0.1, 0.9] * 2, "seed": [0] * 3 + [1] * 3,
                      "accuracy": [0.5, 0.6, 0.7, 0.54, 0.62, 0.74],
                      "lwlrap": [np.nan, 0.2, 0.3, np.nan, 0.24, 0.34]})


def points_of(axes, marker):
    """(x, y) of the points of a marker."""
    return [xy for line in axes.lines if line.get_marker() == marker for xy in np.round(line.get_xydata(), 6).tolist()]


def test_a_sweep_shows_seeds_means_and_the_baseline():
    top, bottom = plot_sweep(SWEEP, "alpha", baselines=("base",), title="x").axes
    assert points_of(top, "D") == [[0.1, 61.0], [0.9, 72.0]] and points_of(bottom, "D") == [[0.1, 22.0], [0.9, 32.0]]
    assert sorted(points_of(top, "o")) == [[0.1, 60.0], [0.1, 62.0], [0.9, 70.0], [0.9, 74.0]]
    baseline = [line for line in top.lines if line.get_label() == "base"]
    assert baseline[0].get_ydata()[0] == pytest.approx(52.0)
    assert not [line for line in bottom.lines if line.get_label() == "base"]
    low, high = top.patches[0].get_extents().transformed(top.transData.inverted()).get_points()[:, 1]
    assert (low, high) == (pytest.approx(50.0), pytest.approx(54.0))
    assert bottom.get_xlabel() == "alpha" and "%" in top.get_ylabel()


def test_a_legend_has_the_baselines_first():
    table = pd.concat([SWEEP, pd.DataFrame({"point": ["events"], "seed": [0], "accuracy": [np.nan], "lwlrap": [0.3]})])
    [legend] = plot_sweep(table, "alpha", baselines=("base", "events")).legends
    assert [text.get_text() for text in legend.get_texts()][:3] == ["base", "events", "a seed"]


def test_a_sweep_of_names_is_in_their_order():
    named = SWEEP.assign(point=["base", "b", "a"] * 2)
    top, bottom = plot_sweep(named, "choice", baselines=("base",)).axes
    assert points_of(top, "D") == [[0, 61.0], [1, 72.0]]
    assert [tick.get_text() for tick in bottom.get_xticklabels()] == ["b", "a"]


def band_of(axes, label):
    """{x: (low, high)} of what is drawn under a name."""
    [band] = [collection for collection in axes.collections if collection.get_label() == label]
    edges = np.concatenate([path.vertices for path in band.get_paths()])
    heights = {x: edges[edges[:, 0] == x, 1].round(6) for x in set(edges[:, 0])}
    return {x: (values.min(), values.max()) for x, values in heights.items()}


@pytest.mark.parametrize("points, whole", [([2, 3], True), ([2.0, 3.0], False)])
def test_between_whole_numbers_there_is_no_tick(points, whole):
    table = SWEEP.assign(point=["base", *points] * 2)
    axes = plot_points(table, "accuracy", baselines=("base",), axes=Figure().subplots())
    assert all(tick == round(tick) for tick in axes.get_xticks()) == whole


@pytest.mark.parametrize("points, places", [([0.9, 0.1], {0.1: (70.0, 74.0), 0.9: (60.0, 62.0)}),
                                            (["b", "a"], {0: (60.0, 62.0), 1: (70.0, 74.0)})])
def test_a_band_is_the_range_of_the_seeds(points, places):
    table = SWEEP.assign(point=["base", *points] * 2)
    axes = plot_points(table, "accuracy", baselines=("base",), axes=Figure().subplots())
    assert band_of(axes, "range over seeds") == places
    assert axes.get_ylabel() == "accuracy (%)"


def test_polyphony_is_a_bar_a_degree_and_partition():
    statistics = {"train": {"polyphony": {"0": 0.1, "1": 0.6, "2": 0.3}}, "test": {"polyphony": {"0": 0.25, "1": 0.75}}}
    axes = plot_polyphony(statistics)
    bars = {container.get_label(): [(round(bar.get_x() + bar.get_width() / 2, 6), round(bar.get_height(), 6))
                                    for bar in container] for container in axes.containers}
    assert bars == {"train": [(-0.2, 10), (0.8, 60), (1.8, 30)], "test": [(0.2, 25), (1.2, 75)]}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train", "test"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("polyphony (active labels)", "frames (%)")
    assert len({container[0].get_hatch() for container in axes.containers}) == 2  # told apart without colours


def test_scores_by_polyphony_are_beside_the_papers():
    table = pd.DataFrame({"row": [1, 2, 1, 2], "run": ["a", "a", "b", "b"], "value": [0.7, 0.5, 0.6, 0.4],
                          "low": [0.6, 0.4, 0.5, 0.3], "high": [0.8, 0.6, 0.7, 0.5]})
    paper = pd.DataFrame({"a": [71.0, 51.0], "c": [61.0, 41.0]}, index=[1, 2])
    ours, theirs = plot_polyphony_scores(table, paper).axes
    assert [line.get_label() for line in ours.lines] == ["a", "b"]
    assert [line.get_label() for line in theirs.lines] == ["a", "c"]
    assert ours.lines[0].get_ydata().tolist() == [70, 50] and theirs.lines[1].get_ydata().tolist() == [61, 41]
    assert ours.lines[0].get_color() == theirs.lines[0].get_color() != theirs.lines[1].get_color()
    intervals = [segment[:, 1].tolist() for segment in ours.collections[1].get_segments()]
    np.testing.assert_allclose(intervals, [[50, 70], [30, 50]])
    assert len(plot_polyphony_scores(table).axes) == 1


def score_table(name, values, rows=("cat", "dog", "average", "overall")):
    """A table of two systems, whose intervals reach 0.1 to both sides."""
    lines = [(name, row, run, value, value - 0.1, value + 0.1)
             for run, scores in values.items() for row, value in zip(rows, scores, strict=True)]
    return pd.DataFrame(lines, columns=["table", "row", "run", "value", "low", "high"])


def test_f_scores_are_bars_with_intervals_and_diamonds_at_the_best_threshold():
    values = {"a": [0.2, 0.4, 0.3, 0.35], "b": [0.6, np.nan, 0.6, 0.6]}
    tables = [score_table("event_based_f_score", values), score_table("segment_based_f_score", values),
              score_table("event_based_precision", values),
              score_table("best_event_based_f_score", {"b": [0.7, 0.5, 0.6]}, ["cat", "dog", "overall"])]
    figure = plot_f_scores(tables)
    events, segments = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "at the best threshold"]
    assert [text.get_text() for text in events.get_yticklabels()] == ["cat", "dog", "average", "overall"]
    assert (events.get_title(), segments.get_title()) == ("event-based", "segment-based")
    assert events.get_ylim() == (3.5, -0.5)
    for container, run in zip(events.containers, "ab"):
        np.testing.assert_allclose([bar.get_width() for bar in container], 100 * np.array(values[run]))
    bar, interval = events.containers[1][0], events.collections[1].get_segments()[0]
    np.testing.assert_allclose(interval, [[50, 0.2], [70, 0.2]])  # in the middle of b's bar, below a's
    assert bar.get_y() == pytest.approx(0) and bar.get_height() == pytest.approx(0.4)
    diamonds, = (line for line in events.lines if line.get_marker() == "D" and np.isfinite(line.get_xdata()).any())
    np.testing.assert_allclose(diamonds.get_xdata(), [70, 50, 60, np.nan])  # its last row is the mean over labels
    assert not [line for line in segments.lines if line.get_marker() == "D"]


def test_psd_roc_curves_are_steps_by_parameters():
    curves = {measure: {"mine": (np.array([0, 10, 100.0]), np.array([0, share, share]))}
              for measure, share in (("psds_1", 0.3), ("pipsds_1", 0.4), ("psds_2", 0.5), ("pipsds_2", 0.6))}
    for axes, title, shares in zip(plot_psd_roc(curves).axes, ("PSDS 1", "PSDS 2"), ((30, 40), (50, 60))):
        assert axes.get_title() == title and axes.get_xlim() == (0, 100)
        for line, share, style in zip(axes.lines, shares, ("-", "--"), strict=True):
            assert line.get_xdata().tolist() == [0, 10, 100] and line.get_ydata().tolist() == [0, share, share]
            assert line.get_linestyle() == style and line.get_drawstyle() == "steps-post"
