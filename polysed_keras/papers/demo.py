"""The main job on sounds that the program makes: mixtures, two networks, tables, an export, detections, pictures."""
import pathlib

from polysed_keras.datasets import format_statistics, load_dataset
from polysed_keras.display import plot_detections, plot_soundscape, plot_training, save_figure
from polysed_keras.evaluation import evaluate_run, format_tables, write_report
from polysed_keras.events import clip_events, event_roll_to_event_list, write_detections
from polysed_keras.export import export_run, load_saved_model
from polysed_keras.files import read_json
from polysed_keras.specs import get_preset, set_fields
from polysed_keras.synthesis import (
    STATISTICS,
    SoundscapeSpec,
    partition_soundbank,
    read_soundbank,
    synthesize,
    write_soundbank,
)
from polysed_keras.training import best_epoch, load_recordings, load_run, read_history, run_experiment

PRESETS = ("multilabel_small", "mcmt_2_small")
MIXTURES, DURATION_SECONDS = (18, 4, 6), 120.0
SETTINGS = ("training.epochs=16", "training.segment_hop=64")
PICTURE_SECONDS = 60.0


def make_data(folder, mixtures=None, duration_seconds=None, *, progress=print, **sounds):
    """A soundbank and mixtures of it, made where they are not there yet; the folder of the mixtures.

    Args:
        folder: of `soundbank` and `data`.
        mixtures, duration_seconds: as of synthesis.synthesize and SoundscapeSpec; None for the demo's.
        progress: called with a line of text before a step, and with the statistics of the mixtures.
        sounds: `instances`, `labels` or `seed` of synthesis.write_soundbank.

    Raises:
        InputError: the folder cannot be written.
    """
    folder = pathlib.Path(folder)
    mixtures, duration_seconds = mixtures or MIXTURES, duration_seconds or DURATION_SECONDS
    if not (folder / "soundbank").exists():
        progress("1. a soundbank made by the program")
        write_soundbank(folder / "soundbank", **sounds)
    if not (folder / "data").exists():
        progress(f"2. {sum(mixtures)} mixtures of {duration_seconds:.0f} s, no sound in two partitions")
        progress(format_statistics(make_mixtures(folder / "soundbank", folder / "data", mixtures, duration_seconds)))
    return folder / "data"


def make_mixtures(soundbank, out, mixtures, duration_seconds):
    """Mixtures of a folder of sounds, made where they are not there yet; arguments and errors as of synthesis.synthesize.

    Returns:
        dict of partition to its statistics.
    """
    if not pathlib.Path(out).exists():
        partitions = partition_soundbank(read_soundbank(soundbank))
        synthesize(partitions, out, SoundscapeSpec(duration_seconds=duration_seconds), mixtures)
    return read_json(pathlib.Path(out) / STATISTICS)


def _train(folder):
    runs = []
    for name in PRESETS:
        print(f"3. training {name}")
        runs.append(folder / "runs" / name)
        history = run_experiment(set_fields(get_preset(name), SETTINGS), folder / "data", runs[-1],
                                 resume=bool(read_history(runs[-1])))
        save_figure(plot_training(history, title=name), runs[-1] / "training.png")
    return runs


def _best_validation_f1(run):
    return best_epoch(run, "val_f1")["val_f1"]


def _draw(folder, saved_model, experiment):
    detector, dataset = load_saved_model(saved_model), load_dataset(folder / "data")
    recording, seconds = dataset.partitions["test"][0], PICTURE_SECONDS
    events = detector.detect(recording.audio)
    write_detections(events, folder / "detections" / f"{recording.name}.tsv")
    held = load_recordings(dataset, "test", dataset.labels, experiment.features, progress=False)[0]
    frames, resolution = round(seconds / experiment.features.time_resolution), experiment.features.time_resolution
    reference = event_roll_to_event_list(held.event_roll[:frames], dataset.labels, resolution)
    view = {"labels": dataset.labels, "time_resolution": resolution,
            "frequency_range": (experiment.features.fmin, experiment.features.fmax)}
    save_figure(plot_soundscape(held.log_mel[:frames], reference, title=recording.name, **view),
                folder / "soundscape.png")
    save_figure(plot_detections(held.log_mel[:frames], reference, clip_events(events, seconds), title=recording.name, **view),
                folder / "detections.png")
    return folder / "detections" / f"{recording.name}.tsv"


def run_demo(out):
    """Make sounds and mixtures, train a multi-label and a multi-task network, compare, export the better, detect.

    The better network is the one of the higher validation F1. A demo that was interrupted goes on where it stopped.

    Args:
        out: the demo's folder.

    Raises:
        InputError: the folder cannot be written.
    """
    folder = pathlib.Path(out)
    make_data(folder)
    runs = _train(folder)
    print("4. frame-based F1 on test mixtures (paper 1's Tables 2 and 3)")
    results = [evaluate_run(run, folder / "data", progress=False) for run in runs]
    print(format_tables(*write_report(results, folder / "report")))
    best = max(runs, key=_best_validation_f1)
    saved_model = export_run(best, folder / "saved_models" / best.name)
    print(f"5. {best.name} has the higher validation F1 and is exported: {saved_model}")
    events = _draw(folder, saved_model, load_run(best))
    print(f"6. events in a test mixture: {events}\n   with their reference: {folder / 'detections.png'}\n"
          f"Detect in any audio: polysed detect AUDIO --model {saved_model.parent}")
