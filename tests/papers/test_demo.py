"""The demo, at a size that only shows that every step hands over to the next."""
import pandas as pd
import pytest

from polysed_keras.events.event_lists import read_events
from polysed_keras.export.saved_model import load_saved_model
from polysed_keras.papers import demo


@pytest.mark.slow
def test_demo_makes_everything_it_says_and_can_be_repeated(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "MIXTURES", (2, 1, 1))
    monkeypatch.setattr(demo, "DURATION_SECONDS", 20.0)
    monkeypatch.setattr(demo, "SETTINGS", ("training.epochs=1", "model.filters=[8,8]", "model.dense_units=[16]"))
    monkeypatch.setattr("polysed_keras.synthesis.procedural.procedures.write_soundbank.__defaults__",
                        (3, 0, None))  # three recordings per label
    folder = tmp_path / "demo"
    demo.run_demo(folder)
    printed = capsys.readouterr().out
    assert "overall" in printed and "multilabel_small" in printed and "mcmt_2_small" in printed
    for picture in ("soundscape.png", "detections.png", "runs/multilabel_small/training.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    table = pd.read_csv(folder / "report" / "class_wise.csv")
    assert table.groupby("run").row.nunique().tolist() == [18, 18]  # sixteen labels, average, overall
    detections, = (folder / "detections").iterdir()
    exported, = (folder / "saved_models").iterdir()
    detector = load_saved_model(exported)
    if detections.stat().st_size:  # one epoch may detect nothing
        assert set(read_events(detections).event_label) <= set(detector.labels)
    weights = (folder / "runs" / "mcmt_2_small" / "best.weights.h5").stat().st_mtime_ns
    demo.run_demo(folder)  # what is there is not made again
    assert (folder / "runs" / "mcmt_2_small" / "best.weights.h5").stat().st_mtime_ns == weights
