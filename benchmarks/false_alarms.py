"""How often do detectors find something in audio that holds none of their labels?

    python benchmarks/false_alarms.py AUDIO_DIR MODEL [MODEL ...]

Events an hour and the share of the time with an event, for each exported model: decoded as the model's tasks say, and
at thresholds of the events' confidences with events of at least 0.2 s. Such audio: `polysed synthesize --recipe paper
--set 'labels_per_mixture=[0,0]'` with a background, rooms and distractors.
"""
import argparse
import os
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # the package need not be installed
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
from polysed_keras.audio import find_audio  # noqa: E402
from polysed_keras.events import event_list_to_event_roll  # noqa: E402
from polysed_keras.export import load_saved_model  # noqa: E402

SETTINGS = ({}, {"threshold": 0.5, "min_duration": 0.2}, {"threshold": 0.9, "min_duration": 0.2})


def count_alarms(detector, paths, settings):
    """Events, hours with an event, and hours, in all files."""
    events, active, frames = 0, 0, 0
    for path in paths:
        found, num_frames = detector.detect(path, **settings), len(detector.posteriors(path)[0])
        roll = event_list_to_event_roll(found, detector.labels, num_frames, detector.time_resolution)
        events, active, frames = events + len(found), active + np.any(roll, axis=1).sum(), frames + num_frames
    return events, active * detector.time_resolution / 3600, frames * detector.time_resolution / 3600


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("audio")
    parser.add_argument("models", nargs="+")
    arguments = parser.parse_args()
    paths = find_audio([arguments.audio])
    for model in arguments.models:
        detector = load_saved_model(model)
        for settings in SETTINGS:
            events, active, hours = count_alarms(detector, paths, settings)
            shown = " ".join(f"{name}={value}" for name, value in settings.items()) or "own decoding"
            print(
                f"{model:28} {shown:32} {events / hours:7.0f} events/h   {active / hours:6.1%} of the time", flush=True
            )
