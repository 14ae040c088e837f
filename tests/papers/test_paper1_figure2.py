"""Paper 1's Figure 2: its input, its masks, and how far they lie apart."""
import numpy as np
import pandas as pd
import pytest

from polysed_keras.errors import InputError
from polysed_keras.papers.paper1 import AttentionExample, _find_input, attention_example, mask_differences
from polysed_keras.papers.variants import Recipe, run_folder
from polysed_keras.specs.experiment import LogMelSpec
from polysed_keras.training.recordings import RecordingFeatures

from fixtures import LABELS, POWERSET, shared_corpus, shared_run


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    run_folder(out, POWERSET.name, 0).symlink_to(shared_run(POWERSET))
    return Recipe(shared_corpus(), out, {POWERSET.name: POWERSET}, (0,))


def test_an_example_is_a_segment_with_so_many_events_and_both_kinds_of_masks(recipe):
    example = attention_example(recipe, ["hum", "beep"], num_events=2)
    assert len(example.events) == 2 and set(example.masks) == set(LABELS) == set(example.untrained_masks)
    assert example.log_mel.shape == (32, 16) and example.onset % (32 * 0.02) == pytest.approx(0, abs=1e-9)
    for trained, untrained in zip(example.masks.values(), example.untrained_masks.values()):
        assert trained[0].shape == untrained[0].shape == (32, 16)
        assert np.abs(trained[0] - untrained[0]).max() > 1e-4
    assert example.masks["hum"] is example.masks["hiss"] is not example.masks["beep"]  # of one task
    figure = example.plot(["hum", "beep"])
    titles = [axes.get_title() for axes in figure.axes[2:4]]
    assert titles == ["time-frequency mask of hum", "time-frequency mask of beep"]
    with pytest.raises(InputError, match="num_events"):
        attention_example(recipe, ["hum"], num_events=40)


def test_of_segments_the_one_with_the_wanted_labels_for_the_longest_is_taken():
    labels, frames = ("a", "b", "c"), POWERSET.training.segment_frames
    roll = np.zeros((4 * frames, 3), np.uint8)
    for segment, (label, length) in enumerate([(1, 9), (2, 3), (2, 7), (2, 5)]):
        first = segment * frames
        roll[first:first + 20, 0] = roll[first + 2:first + 2 + length, label] = 1
    recording = RecordingFeatures("x", np.zeros((len(roll), 16)), roll)
    assert _find_input([recording], labels, ["a", "c"], 2, POWERSET)[1] == 2 * frames
    assert _find_input([recording], labels, ["b"], 2, POWERSET)[1] == 0
    assert _find_input([recording], labels, [], 2, POWERSET)[1] == 0


def test_masks_differ_by_so_much():
    def masks(*values):
        return {label: (np.full((4, 2), value), np.full((1, 3), value / 2)) for label, value in zip("abc", values)}

    example = AttentionExample("x", 0.0, LogMelSpec(), np.zeros((4, 2)), pd.DataFrame(), ("a", "b", "c"),
                               masks(0.1, 0.5, 0.9), masks(0.2, 0.2, 0.2))
    table = mask_differences(example, ["a", "c"])
    assert table.to_numpy().tolist() == [[0, 0, 0.8, 0.533], [0, 0, 0.4, 0.267]]
    assert table.columns[2] == "trained, a and c"
