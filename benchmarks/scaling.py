"""How costs grow: with tasks, with labels, with the length of a recording and with the hours of a corpus, as pictures.

    python benchmarks/scaling.py --keep build/costs --pictures docs/results

Tasks: multiply-adds, memory of a training with batches of 32 (both counted) and speed (measured, of one core) of the
`_small` presets, beside the counts of the full sizes. Labels: the same counts from 16 labels to 64. Recordings: seconds
and peak memory of the whole command `polysed detect`, from a minute to eight hours of 16 kHz with sounds in it.
Corpora: seconds to make the features of clips of 10 s, their size on disk, and the memory of a training that reads
clips from disk, or that holds recordings in memory; lines go on to 5,600 hours, which AudioSet has, by arithmetic.

With --keep, what the folder holds already is not measured again; it can be the folder of costs.py.
"""
import argparse
import json
import os
import pathlib
import tempfile
import time

import numpy as np
from costs import BATCH, in_process, measure_preset, peak_memory, run_polysed  # it makes the package importable

RATE, CLIP_RATE, CLIP_SECONDS = 16000, 44100, 10
TASKS, LABELS = (1, 2, 4, 8, 16), (16, 24, 32, 40, 48, 56, 64)
MINUTES, HOURS, MOST_HOURS = (1, 10, 60, 480), (0.25, 0.5, 1, 2, 4), 5600
DPI, SIZE = 80, (9, 3.6)


def preset_of(num_tasks, suffix=""):
    """Return the name of the preset with so many tasks."""
    return ("multilabel" if num_tasks == 1 else f"mcmt_{num_tasks}") + suffix


def count_tasks():
    """Return {preset: [million multiply-adds per second, GB to train]}."""
    from polysed_keras.models import experiment_cost, with_example_labels
    from polysed_keras.specs import get_preset
    counted = {}
    for name in [preset_of(number, suffix) for suffix in ("", "_small") for number in TASKS]:
        cost = experiment_cost(with_example_labels(get_preset(name)))
        counted[name] = [cost.multiply_adds / 1e6, cost.training_memory(BATCH) / 1e9]
    return counted


def count_labels():
    """Return {number of tasks: [[labels, million weights, GB to train], ...]} of the `_small` presets."""
    from polysed_keras.models import experiment_cost, with_num_labels
    from polysed_keras.specs import get_preset
    counted = {}
    for number in TASKS:
        counted[str(number)] = rows = []
        for labels in LABELS:
            if labels / number <= 12 or number == 1:  # A task has at most 2^12 classes.
                cost = experiment_cost(with_num_labels(get_preset(preset_of(number, "_small")), labels))
                rows.append([labels, cost.weights / 1e6, cost.training_memory(BATCH) / 1e9])
    return counted


def write_recording(path, minutes):
    """Write noise with a knock or a chirp every four seconds; minute by minute, so that it needs no memory."""
    import soundfile
    times = np.arange(RATE) / RATE
    sounds = [np.sin(2 * np.pi * (500 + 2000 * times) * times) * np.exp(-3 * times),
              np.random.default_rng(0).normal(0, 1, RATE) * np.exp(-60 * (times % 0.25))]
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for minute in range(minutes):
            rng = np.random.default_rng(minute)
            waveform = rng.normal(0, 0.003, 60 * RATE)
            for second in range(0, 60, 4):
                waveform[second * RATE:(second + 1) * RATE] += 0.3 * sounds[rng.integers(2)]
            file.write(waveform)


def detect_minutes(minutes):
    """Return the seconds and the peak MB of `polysed detect`, with the project's own model."""
    with tempfile.TemporaryDirectory() as temporary:
        recording = pathlib.Path(temporary) / "recording.wav"
        write_recording(recording, minutes)
        return run_polysed("detect", recording, "--out", temporary)


def make_features(folder, hours):
    """Make the features of so many hours of clips, on all cores; print seconds, MB of features on disk."""
    import concurrent.futures

    import soundfile

    from polysed_keras.audio import store_log_mel
    from polysed_keras.specs import get_preset
    spec, rng, seconds = get_preset("event_baseline").features, np.random.default_rng(round(100 * hours)), 0
    noise = rng.normal(0, 0.03, CLIP_RATE * (CLIP_SECONDS + 1))
    numbers = list(range(round(hours * 3600 / CLIP_SECONDS)))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool, tempfile.TemporaryDirectory() as audio:
        for first in range(0, len(numbers), 360):  # an hour at a time is on disk
            paths = [pathlib.Path(audio) / f"{number}.wav" for number in numbers[first:first + 360]]
            for path in paths:
                begin = rng.integers(CLIP_RATE)
                soundfile.write(path, noise[begin:begin + CLIP_RATE * CLIP_SECONDS] * rng.uniform(0.5, 2), CLIP_RATE)
            if not first:
                store_log_mel(paths[0], spec, pathlib.Path(folder))  # traces the front end
            begun = time.process_time()
            list(pool.map(lambda path: store_log_mel(path, spec, pathlib.Path(folder)), paths))
            seconds += time.process_time() - begun
            for path in paths:
                path.unlink()
    return [seconds, sum(path.stat().st_size for path in pathlib.Path(folder).rglob("*.npy")) / 1e6]


def read_clips(folder):
    """Read an epoch of batches of clips from disk; return its seconds and the peak MB of this process."""
    from polysed_keras.specs import AugmentSpec, Task, get_preset
    from polysed_keras.training import ClipFeatures, joint_dataset
    paths, spec = sorted(pathlib.Path(folder).rglob("*.npy")), get_preset("event_baseline").features
    activity = (np.random.default_rng(0).random((len(paths), 35)) < 0.1).astype(np.uint8)
    clips = ClipFeatures(tuple(map(str, paths)), tuple(paths), activity, 500, spec.n_mels)
    tasks = (Task("events", tuple(map(str, range(35))), "multi_label"),)
    begun = time.process_time()
    for _ in joint_dataset({"events": clips}, tasks, {"events": BATCH}, spec=AugmentSpec(), seed=0).take(
            len(paths) // BATCH):
        pass
    return [time.process_time() - begun, peak_memory()]


def hold_recordings(folder):
    """Hold all features in memory as training on recordings does, make batches, and return the peak MB."""
    from polysed_keras.models import with_example_labels
    from polysed_keras.specs import get_preset
    from polysed_keras.training.recordings import RecordingFeatures, segment_dataset
    experiment = with_example_labels(get_preset("multilabel_small"))
    recordings = [RecordingFeatures(path.stem, log_mel, np.zeros((len(log_mel), 16), np.uint8))
                  for path, log_mel in ((path, np.load(path)) for path in sorted(pathlib.Path(folder).rglob("*.npy")))]
    for _ in segment_dataset(recordings, experiment).take(20):
        pass
    return [peak_memory()]


STEPS = {"features": make_features, "clips": read_clips, "recordings": hold_recordings}


def measure_corpus(hours):
    """Return [seconds to make features, MB on disk, seconds of an epoch of clips, MB of it, MB of recordings]."""
    with tempfile.TemporaryDirectory() as folder:
        steps = [("features", folder, hours), ("clips", folder), ("recordings", folder)]
        return [value for step in steps for value in in_process(__file__, "--one", *step)]


class Kept:
    """Measurements in a file, each made once."""

    def __init__(self, path):
        self.path = path
        self.values = json.loads(path.read_text()) if path.exists() else {}

    def get(self, name, measure, *arguments):
        """Return a kept measurement, or measure and keep it."""
        if name not in self.values:
            self.values[name] = measure(*arguments)
            self.path.write_text(json.dumps(self.values))
            print(name, self.values[name], flush=True)
        return self.values[name]


def draw(path, panels):
    """Draw panels side by side into a PNG.

    Args:
        path: of the picture.
        panels: list of (title, x label, lines); a line is (x, y, label, matplotlib's format).
    """
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(1, len(panels), figsize=SIZE, layout="constrained")
    for axis, (title, x_label, lines) in zip(axes, panels):
        for x, y, label, style in lines:
            axis.plot(x, y, style, label=label, markersize=4, linewidth=1.2)
        axis.set(xlabel=x_label, xscale="log", yscale="log")
        axis.set_title(title, fontsize=9)
        axis.tick_params(labelsize=8)
        ticks = sorted({value for x, _, _, style in lines for value in (*(x if "o" in style else ()), x[-1])})
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_xticks([], minor=True)
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_locator(pyplot.LogLocator(subs=(2, 5)))
        axis.yaxis.set_minor_formatter("{x:g}")
        axis.tick_params(which="minor", labelsize=7)
        axis.grid(alpha=0.3)
        if len(lines) > 1:
            axis.legend(fontsize=7)
    figure.savefig(path, dpi=DPI)
    pyplot.close(figure)


def draw_tasks(kept, keep, pictures):
    counted = kept.get("tasks", count_tasks)
    lines = {suffix: [[counted[preset_of(number, suffix)][column] for number in TASKS] for column in range(2)]
             for suffix in ("", "_small")}
    speeds = [measure_preset(preset_of(number, "_small"), keep, ["run"])["run"]["speeds"] for number in TASKS]
    names = (("", "papers' sizes", "C0o--"), ("_small", "small presets", "C1o--"))
    draw(pictures / "scaling-tasks.png", [
        ("million multiply-adds per second (counted)", "tasks",
         [(TASKS, lines[suffix][0], label, style) for suffix, label, style in names]),
        ("GB to train, batch of 32 (estimated)", "tasks",
         [(TASKS, lines[suffix][1], label, style) for suffix, label, style in names]),
        ("x real time, small presets (measured)", "tasks",
         [(TASKS, [speed[batch] for speed in speeds], f"{batch} segment{'s' * (batch != '1')} at a time", style)
          for batch, style in (("1", "C2o-"), (str(BATCH), "C3o-"))])])


def draw_labels(kept, keep, pictures):
    counted = kept.get("labels", count_labels)
    styles = {number: f"C{index}o--" for index, number in enumerate(counted)}
    draw(pictures / "scaling-labels.png", [
        (title, "labels", [(*zip(*((row[0], row[column]) for row in rows)), f"{number} task{'s' * (number != '1')}",
                            styles[number]) for number, rows in counted.items()])
        for column, title in ((1, "million weights, small presets (counted)"),
                              (2, "GB to train, batch of 32 (estimated)"))])


def draw_length(kept, keep, pictures):
    seconds, memory = zip(*(kept.get(f"{minutes} min", detect_minutes, minutes) for minutes in MINUTES))
    draw(pictures / "scaling-length.png", [
        ("seconds of one core, polysed detect (measured)", "minutes of 16 kHz", [(MINUTES, seconds, "", "C0o-")]),
        ("MB of memory (measured)", "minutes of 16 kHz", [
            (MINUTES, memory, "polysed detect", "C0o-"),
            (MINUTES, [minutes * 60 * RATE * 4 / 1e6 for minutes in MINUTES], "the samples alone", "C7:")])])


def draw_corpus(kept, keep, pictures):
    measured = np.array([kept.get(f"{hours} h", measure_corpus, hours) for hours in HOURS])
    step = measure_preset("event_baseline_small", keep, ["train"])["train"]["step"]
    longer = np.geomspace(HOURS[-1], MOST_HOURS, 8)

    def more(column):
        """Return a column for `longer`, in proportion to the last measurement."""
        return longer * measured[-1, column] / HOURS[-1]

    slope, offset = np.polyfit(HOURS[-3:], measured[-3:, 4], 1)
    epoch = 3600 / CLIP_SECONDS / BATCH * step
    hours = np.array(HOURS)
    draw(pictures / "scaling-corpus.png", [
        ("seconds of one core", "hours of audio", [
            (hours, measured[:, 0], "features, once", "C0o-"), (longer, more(0), "", "C0--"),
            (hours, measured[:, 2], "reading an epoch of clips", "C1o-"), (longer, more(2), "", "C1--"),
            (np.append(hours, longer), epoch * np.append(hours, longer), "training an epoch, event_baseline_small",
             "C2--")]),
        ("MB", "hours of audio", [
            (hours, measured[:, 1], "features on disk", "C0o-"), (longer, more(1), "", "C0--"),
            (hours, measured[:, 3], "memory, clips read from disk", "C1o-"),
            (longer, np.full(len(longer), measured[-1, 3]), "", "C1--"),
            (hours, measured[:, 4], "memory, recordings held", "C2o-"),
            (longer, offset + slope * longer, "", "C2--")])])
    for label, value, unit in (("features", more(0)[-1] / 3600, "h"), ("disk", more(1)[-1] / 1e3, "GB"),
                               ("an epoch read", more(2)[-1] / 3600, "h"), ("trained", epoch * MOST_HOURS / 3600, "h"),
                               ("recordings held", (offset + slope * MOST_HOURS) / 1e3, "GB")):
        print(f"{MOST_HOURS} h by arithmetic: {label} {value:,.1f} {unit}")


DRAWINGS = {"tasks": draw_tasks, "labels": draw_labels, "length": draw_length, "corpus": draw_corpus}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("drawings", nargs="*", metavar="WHICH", help=f"of {', '.join(DRAWINGS)}; default: all")
    parser.add_argument("--keep", metavar="DIR", help="keep measurements here")
    parser.add_argument("--pictures", metavar="DIR", default="docs/results", help="default: %(default)s")
    parser.add_argument("--one", choices=STEPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        folder, *hours = arguments.drawings
        print(json.dumps(STEPS[arguments.one](folder, *map(float, hours))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        keep = pathlib.Path(arguments.keep or temporary)
        keep.mkdir(parents=True, exist_ok=True)
        kept = Kept(keep / "scaling.json")
        for name in arguments.drawings or DRAWINGS:
            DRAWINGS[name](kept, keep, pathlib.Path(arguments.pictures))


if __name__ == "__main__":
    main()
