"""Sounds made by the program in place of a corpus or of one's own, and the demo of `polysed demo`."""
import pathlib
import shutil

import numpy as np

from polysed_keras.audio import cached_log_mel, load_audio, write_audio
from polysed_keras.datasets import format_statistics, load_dataset
from polysed_keras.display import plot_detections, plot_soundscape, plot_training, save_figure
from polysed_keras.evaluation import evaluate_runs, format_tables, write_report
from polysed_keras.events import clip_events, write_detections
from polysed_keras.export import export_run, load_saved_model
from polysed_keras.files import atomic_file, read_json
from polysed_keras.specs import get_preset, set_fields
from polysed_keras.synthesis import (
    NEGATIVES,
    STATISTICS,
    SoundscapeSpec,
    check_mixtures,
    partition_soundbank,
    read_soundbank,
    synthesize,
    write_soundbank,
)
from polysed_keras.training import best_epoch, load_run, read_history, run_experiment

# The size of `polysed demo`.
DEMO_PRESETS = ("multilabel_small", "mcmt_2_small")
MIXTURES, DURATION_SECONDS = (18, 4, 6), 120.0
SETTINGS = ("training.epochs=12", "training.segment_hop=64")
MINUTES = 4  # measured on two idle cores

# The size of the papers' recipes if `data` is "demo". A network of many subnets takes long until its first step, so
# there are few of them.
DEMO_SOUNDS = {"instances": 5, "mixtures": (6, 2, 3), "duration_seconds": 60.0}
FEW_LABELS = ("alarms_and_sirens", "dog_barking", "mixer", "rain")
DEMO_NETWORK = ("model.filters=[8,8]", "model.recurrent_units=8", "model.dense_units=[16]",
                "training.learning_rate=0.01", "training.batch_size=8", "training.segment_hop=128")
DEMO_EPOCHS = "training.epochs=10"


EXAMPLE_LABELS = ("dog", "church_bells", "rooster", "clapping")


def make_example(path):
    """Write half a minute of a city, with a dog, bells, a rooster and clapping in it, and return its path.

    All of it is of the recordings that come with the package, which the shipped model has learnt from: it shows what
    detections look like, not how well the model hears.

    Args:
        path: WAV file to write, unless it is there.

    Raises:
        InputError: the file cannot be written.

    Example:
        >>> make_example("street.wav")
        PosixPath('street.wav')
    """
    path, rate = pathlib.Path(path), 16000
    if not path.exists():
        city = load_audio(NEGATIVES / "background" / "ambience" / "town" / "city.ogg", rate)
        waveform = 0.3 * np.resize(city, 30 * rate)  # It is shorter, and begins anew.
        for place, label in enumerate(EXAMPLE_LABELS):
            sound = load_audio(min((NEGATIVES / "other" / label).glob("*.ogg")), rate)[:4 * rate]
            begin = round((3 + 6.5 * place) * rate)
            waveform[begin:begin + len(sound)] += 0.4 * sound / np.abs(sound).max()
        with atomic_file(path) as temporary:
            write_audio(temporary, np.clip(waveform, -1, 1), rate, "PCM_16")
    return path


def find_example_sounds(sounds, out):
    """Return the folder of a soundbank; if `sounds` is "demo", of the example's sounds, from the package's recordings.

    Args:
        sounds: folder with a folder of recordings per label; or "demo".
        out: folder of all that is made.
    """
    if not is_demo(sounds):
        return pathlib.Path(sounds)
    folder = pathlib.Path(out) / "sounds"
    for label in EXAMPLE_LABELS:
        shutil.copytree(NEGATIVES / "other" / label, folder / label, dirs_exist_ok=True)
    return folder


def is_demo(data):
    """Return whether `data`, a str or a path, is "demo": sounds made by the program in place of a folder."""
    return str(data) == "demo"


def sized_preset(name, data, settings=(), *, small=False):
    """Return the preset NAME, or NAME_small if `small` is set, with settings as `--set` takes them.

    If `data` is "demo", it is NAME_small with the demo's settings before the others.
    """
    demo = is_demo(data)
    return set_fields(get_preset(name + "_small" * (small or demo)), [*DEMO_NETWORK * demo, *settings])


def make_demo_sounds(folder, labels):
    """Make the few recordings per label of the recipes' demo in a folder unless it is there."""
    if not folder.exists():
        write_soundbank(folder, DEMO_SOUNDS["instances"], labels=labels)


def find_sounds(sounds, out):
    """Return the folder of a soundbank; of four labels that the program makes if `sounds` is "demo".

    Args:
        sounds: folder with a folder of recordings per label; or "demo".
        out: folder of all that is made.

    Raises:
        InputError: the folder cannot be written.
    """
    if not is_demo(sounds):
        return pathlib.Path(sounds)
    folder = pathlib.Path(out) / "four_labels" / "soundbank"
    make_demo_sounds(folder, FEW_LABELS)
    return folder


def make_demo_data(folder, labels):
    """Make the few, short mixtures of the recipes' demo in a folder unless they are there, and return their folder."""
    make_demo_sounds(folder / "soundbank", labels)
    make_mixtures(folder / "soundbank", folder / "data", DEMO_SOUNDS["mixtures"], DEMO_SOUNDS["duration_seconds"])
    return folder / "data"


def make_mixtures(soundbank, out, mixtures, duration_seconds):
    """Make mixtures of a folder of sounds unless they are there, made of the same sounds.

    Args:
        soundbank: folder with a folder of recordings per label.
        out: folder of the mixtures.
        mixtures: int, int, int: number for train, validate and test.
        duration_seconds: float, of each mixture.

    Returns:
        {partition: its statistics}.

    Raises:
        InputError: as synthesis.synthesize, or synthesis.check_mixtures if they are there.
    """
    if pathlib.Path(out).exists():
        check_mixtures(soundbank, out)
    else:
        partitions = partition_soundbank(read_soundbank(soundbank))
        synthesize(partitions, out, SoundscapeSpec(duration_seconds=duration_seconds), mixtures)
    return read_json(pathlib.Path(out) / STATISTICS)


def plot_beginning(data, recording, features, estimated=None, seconds=30.0):
    """Draw the beginning of a datasets.Recording of the corpus in `data`, as a matplotlib Figure.

    It shows the reference events, and beside them an estimated event list if there is one.
    """
    labels = load_dataset(data).labels
    log_mel = cached_log_mel(recording.audio, features, pathlib.Path(data) / "features")
    log_mel = log_mel[:round(seconds / features.time_resolution)]
    seconds = len(log_mel) * features.time_resolution
    lists = [clip_events(events, seconds) for events in (recording.read_events(labels), estimated)
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
    soundbank, data = folder / "soundbank", folder / "data"
    print(f"This takes about {MINUTES} minutes on two idle cores, into {folder}; an interrupted demo goes on where it "
          "stopped.", flush=True)
    if not soundbank.exists():
        print("1. a soundbank made by the program")
        write_soundbank(soundbank)
    if not data.exists():
        print(f"2. {sum(MIXTURES)} mixtures of {DURATION_SECONDS:.0f} s, no sound in two partitions")
        print(format_statistics(make_mixtures(soundbank, data, MIXTURES, DURATION_SECONDS)))
    runs = [folder / "runs" / name for name in DEMO_PRESETS]
    for run in runs:
        print(f"3. training {run.name}")
        experiment = set_fields(get_preset(run.name), SETTINGS)
        history = run_experiment(experiment, data, run, resume=bool(read_history(run)))
        save_figure(plot_training(history, title=run.name), run / "training.png")
    print("4. frame-based F1 on test mixtures (paper 1's Tables 2 and 3)")
    results = evaluate_runs(runs, data, progress=False)
    print(format_tables(*write_report(results, folder / "report")))
    best = max(runs, key=lambda run: best_epoch(run, "val_f1")["val_f1"])
    saved_model = export_run(best, folder / "saved_models" / best.name)
    print(f"5. {best.name} has the higher validation F1 and is exported: {saved_model}")
    recording = load_dataset(data).partitions["test"][0]
    events = load_saved_model(saved_model).detect(recording.audio)
    path = folder / "detections" / f"{recording.name}.tsv"
    write_detections(events, path)
    for name, estimated in (("soundscape", None), ("detections", events)):
        figure = plot_beginning(data, recording, load_run(best).features, estimated, seconds=60.0)
        save_figure(figure, folder / f"{name}.png")
    print(f"6. events in a test mixture: {path}\n   with their reference: {folder / 'detections.png'}\n"
          f"Detect in any audio: polysed detect AUDIO --model {saved_model.parent}")
