"""Sounds made by the program in place of a corpus, networks small enough for them, and the demo of `polysed demo`."""
import pathlib

from polysed_keras.audio import cached_log_mel
from polysed_keras.datasets import format_statistics, load_dataset
from polysed_keras.display import plot_detections, plot_soundscape, plot_training, save_figure
from polysed_keras.evaluation import evaluate_run, format_tables, write_report
from polysed_keras.events import clip_events, read_events, write_detections
from polysed_keras.export import export_run, load_saved_model
from polysed_keras.files import read_json
from polysed_keras.specs import get_preset, set_fields
from polysed_keras.synthesis import (
    PROCEDURES,
    STATISTICS,
    SoundscapeSpec,
    partition_soundbank,
    read_soundbank,
    synthesize,
    write_soundbank,
)
from polysed_keras.training import best_epoch, load_run, read_history, run_experiment

# The size of `polysed demo`.
DEMO_PRESETS = ("multilabel_small", "mcmt_2_small")
MIXTURES, DURATION_SECONDS = (18, 4, 6), 120.0
SETTINGS = ("training.epochs=16", "training.segment_hop=64")
PICTURE_SECONDS = 60.0

# The size of the papers' recipes if `data` is "demo". A network of many subnets takes long until its first step, so
# there are few of them.
DEMO = "demo"
DEMO_SOUNDS = {"instances": 5, "mixtures": (6, 2, 3), "duration_seconds": 60.0}
FEW_LABELS = ("alarms_and_sirens", "dog_barking", "mixer", "rain")
DEMO_NETWORK = ("model.filters=[8,8]", "model.recurrent_units=8", "model.dense_units=[16]",
                "training.learning_rate=0.01", "training.batch_size=8", "training.segment_hop=128")
DEMO_EPOCHS = "training.epochs=10"


def is_demo(data):
    """Return whether `data`, a str or a path, is "demo": sounds made by the program in place of a folder."""
    return str(data) == DEMO


def sized_preset(name, data, settings=(), *, small=False):
    """Return a preset with changes, at demo size if `data` is "demo".

    Args:
        name: str, of a preset without `_small`.
        data: folder of a corpus, or "demo".
        settings: strings as `--set` takes them, which come after the demo's.
        small: bool, whether the preset NAME_small is taken for a folder too.
    """
    demo = is_demo(data)
    return set_fields(get_preset(name + "_small" * (small or demo)), [*DEMO_NETWORK * demo, *settings])


def make_demo_data(folder, labels=tuple(PROCEDURES)):
    """Make the few, short mixtures of the recipes' demo in a folder unless they are there, and return their folder."""
    return make_data(folder, **DEMO_SOUNDS, labels=labels, progress=False)


def make_data(folder, mixtures, duration_seconds, *, progress=True, **sounds):
    """Make a soundbank and mixtures of it, each unless it is there.

    Args:
        folder: parent of the folders `soundbank` and `data`.
        mixtures: int, int, int: number per partition, as of synthesis.synthesize.
        duration_seconds: float, of each mixture.
        progress: bool, whether a line per step and the statistics of the mixtures are shown.
        sounds: `instances`, `labels` or `seed` of synthesis.write_soundbank.

    Returns:
        Path of the folder of the mixtures.

    Raises:
        InputError: the folder cannot be written.
    """
    folder = pathlib.Path(folder)
    say = print if progress else lambda text: None
    if not (folder / "soundbank").exists():
        say("1. a soundbank made by the program")
        write_soundbank(folder / "soundbank", **sounds)
    if not (folder / "data").exists():
        say(f"2. {sum(mixtures)} mixtures of {duration_seconds:.0f} s, no sound in two partitions")
        say(format_statistics(make_mixtures(folder / "soundbank", folder / "data", mixtures, duration_seconds)))
    return folder / "data"


def make_mixtures(soundbank, out, mixtures, duration_seconds):
    """Make mixtures of a folder of sounds unless they are there.

    Args:
        soundbank: folder with a folder of recordings per label.
        out: folder of the mixtures.
        mixtures: int, int, int: number for train, validate and test.
        duration_seconds: float, of each mixture.

    Returns:
        {partition: its statistics}.

    Raises:
        InputError: as synthesis.synthesize.
    """
    if not pathlib.Path(out).exists():
        partitions = partition_soundbank(read_soundbank(soundbank))
        synthesize(partitions, out, SoundscapeSpec(duration_seconds=duration_seconds), mixtures)
    return read_json(pathlib.Path(out) / STATISTICS)


def plot_beginning(data, recording, features, estimated=None, seconds=30.0):
    """Draw the beginning of a recording with its reference events, and with estimated ones if there are any.

    Args:
        data: folder of the corpus.
        recording: datasets.Recording of it.
        features: LogMelSpec.
        estimated: event list, or None.
        seconds: float, of the beginning.

    Returns:
        matplotlib Figure.
    """
    labels = load_dataset(data).labels
    log_mel = cached_log_mel(recording.audio, features, pathlib.Path(data) / "features")
    log_mel = log_mel[:round(seconds / features.time_resolution)]
    seconds = len(log_mel) * features.time_resolution
    lists = [clip_events(events, seconds) for events in (read_events(recording.annotation, labels), estimated)
             if events is not None]
    plot = plot_soundscape if estimated is None else plot_detections
    return plot(log_mel, *lists, labels, features.time_resolution, title=recording.name,
                frequency_range=(features.fmin, features.fmax))


def run_demo(out):
    """Make sounds and mixtures, train a multi-label and a multi-task network, compare them, export the better, detect.

    The better network is the one with the higher validation F1. An interrupted demo goes on where it stopped.

    Args:
        out: folder of the demo.

    Raises:
        InputError: the folder cannot be written.
    """
    folder = pathlib.Path(out)
    data = make_data(folder, MIXTURES, DURATION_SECONDS)
    runs = [_train(name, data, folder / "runs" / name) for name in DEMO_PRESETS]
    print("4. frame-based F1 on test mixtures (paper 1's Tables 2 and 3)")
    results = [evaluate_run(run, data, progress=False) for run in runs]
    print(format_tables(*write_report(results, folder / "report")))
    best = max(runs, key=lambda run: best_epoch(run, "val_f1")["val_f1"])
    saved_model = export_run(best, folder / "saved_models" / best.name)
    print(f"5. {best.name} has the higher validation F1 and is exported: {saved_model}")
    recording = load_dataset(data).partitions["test"][0]
    events = load_saved_model(saved_model).detect(recording.audio)
    path = folder / "detections" / f"{recording.name}.tsv"
    write_detections(events, path)
    for name, estimated in (("soundscape", None), ("detections", events)):
        figure = plot_beginning(data, recording, load_run(best).features, estimated, PICTURE_SECONDS)
        save_figure(figure, folder / f"{name}.png")
    print(f"6. events in a test mixture: {path}\n   with their reference: {folder / 'detections.png'}\n"
          f"Detect in any audio: polysed detect AUDIO --model {saved_model.parent}")


def _train(name, data, run):
    print(f"3. training {name}")
    history = run_experiment(set_fields(get_preset(name), SETTINGS), data, run, resume=bool(read_history(run)))
    save_figure(plot_training(history, title=name), run / "training.png")
    return run
