"""Soundbanks: isolated recordings by label, their partitions, and a reader of their waveforms.

A soundbank is a folder with a folder of recordings per label; a folder inside a label's folder holds the takes of one
source. Folders called background, noise or silence are no labels, but hold what recordings may sound like besides; a
folder called other holds other sounds. Or the soundbank is a published collection, whose table lists the recordings
with their sources and folds: those of `soundbank_tables`.
"""
import collections
import dataclasses
import logging
import pathlib
import zlib

import numpy as np
import pandas as pd
import soxr

from polysed_keras.audio import load_audio, log_passed_over, visible_audio, walk_files
from polysed_keras.datasets import PARTITIONS
from polysed_keras.errors import InputError, expect, expect_known
from polysed_keras.files import check_label, path_inside
from polysed_keras.synthesis.soundbank_tables import TABLE_FORMATS, read_tables

BESIDES = {"background": "background", "noise": "background", "silence": "background", "other": "distractors"}
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Instance:
    """One isolated recording. Instances with the same `source` are takes of one sound and stay in one partition.

    `activity.measure_soundbank` sets the fields from `duration` on; before, they are None.

    Attributes:
        duration, onset: seconds, of the part from the first to the last active frame.
        level_dbfs: RMS of its loudest 400 ms.
        loudest_dbfs: RMS of its loudest 20 ms.
        recording: path relative to the soundbank.
        spans: (onset, offset) in seconds, the parts that sound.
    """
    path: pathlib.Path
    event_label: str
    source: str
    fold: int | None = None
    duration: float | None = None
    onset: float | None = None
    level_dbfs: float | None = None
    loudest_dbfs: float | None = None
    recording: str | None = None
    spans: tuple | None = None


@dataclasses.dataclass(frozen=True)
class Soundbank:
    """Instances below a folder. A partition of a soundbank is a Soundbank too, with the labels of the whole.

    `besides` has the folders without labels: {"background" or "distractors": list of paths}.
    """
    folder: pathlib.Path
    labels: tuple[str, ...]
    instances: tuple[Instance, ...]
    besides: dict = dataclasses.field(default_factory=dict)


def read_soundbank(folder, labels=None):
    """List the instances of a soundbank, sorted, without opening audio.

    Other files in folders of labels (texts, hidden ones, ...) are ignored and counted in one logged line.

    Args:
        folder: path of the soundbank.
        labels: list of the labels to take, in this order; None for all, sorted.

    Returns:
        Soundbank.

    Raises:
        InputError: the folder is missing or has no label folders, a label has no recording or cannot be written as a
            line of text, a table is not usable, or the soundbank lacks one of `labels`.

    Example:
        >>> read_soundbank("esc10").labels
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Expected a soundbank: a folder of recordings per label.")
    tables = read_tables(folder)
    instances, besides = _read_label_folders(folder) if tables is None else ([Instance(*each) for each in tables], {})
    known = sorted({instance.event_label for instance in instances})
    for label in known:
        check_label(label, folder)
        path_inside(folder, label, f"{folder}: label")  # Files of stems are named after labels.
    expect_known(list(labels or ()), known, "labels")
    labels = list(dict.fromkeys(labels or known))
    instances = [instance for instance in instances if instance.event_label in labels]
    return Soundbank(folder, tuple(labels), tuple(instances), besides)


def _read_label_folders(folder):
    files = walk_files(folder)
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    besides, label_folders = {}, [path for path in inside if path.name.casefold() not in BESIDES]
    for path in inside:
        if path not in label_folders:
            besides.setdefault(BESIDES[path.name.casefold()], []).append(path)
    if not label_folders:
        raise InputError(f"{folder}: no label folders. Expected a folder of recordings per label, as in rain/1.wav, or "
                         f"a table of {', '.join(TABLE_FORMATS)}.")
    instances, by_label = [], collections.defaultdict(list)
    for path in visible_audio(files, folder):
        by_label[path.relative_to(folder).parts[0]].append(path)
    for label_folder in label_folders:
        paths = by_label[label_folder.name]
        if not paths:
            raise InputError(f"{label_folder}: no recording. Expected audio files (wav, flac, ogg, ...): add some or "
                             "remove the folder.")
        # The first part below the label: the file itself, or the folder that groups the takes of a source.
        instances += [Instance(path, label_folder.name, "/".join(path.relative_to(folder).parts[:2])) for path in paths]
    used = {instance.path for instance in instances}
    log_passed_over(folder, [path for path in files if path not in used
                             and not any(path.is_relative_to(each) for each in sum(besides.values(), []))])
    return instances, besides


def partition_soundbank(soundbank, *, folds=None, fractions=(0.6, 0.2, 0.2), seed=0):
    """Split a soundbank into train, validate and test; all takes of a source go to the same one.

    A collection with folds is split by these: by `folds`, or else the last fold is for test, the one before for
    validation and the others for training (1-3, 4, 5 for ESC-50; 1-8, 9, 10 for UrbanSound8K; of FSD50K fold 1 is
    train, 2 val and 3 the evaluation set; with two folds there is no validation). A source in several folds goes with
    the lowest. A folder of labels, or a table with a single fold, is split at random, each label by itself:
    `fractions` of its sources, and at least one in each partition. A label with two sources has one in train and one in
    test, a label with a single source has it in train.

    Args:
        soundbank: Soundbank.
        folds: None or three sequences of fold numbers, for train, validate and test.
        fractions: three shares of a label's sources, for train, validate and test.
        seed: int, 0 or above, for the random split.

    Returns:
        dict of "train", "validate" and "test" to Soundbank.

    Raises:
        InputError: folds overlap, do not exist, or are given where the soundbank has none; fractions do not sum to 1;
            a negative seed.
    """
    expect(seed >= 0, "seed", "0 or a positive integer", seed)
    numbers = sorted({instance.fold for instance in soundbank.instances} - {None})
    if folds is None and len(numbers) > 1:
        folds = (numbers[:-2] or numbers[:1], numbers[-2:-1] if len(numbers) > 2 else (), numbers[-1:])
    if folds is not None:
        home = _partition_by_fold(soundbank, folds, numbers)
    else:
        home = _partition_at_random(soundbank, fractions, seed)
    partitions = {}
    for name in PARTITIONS:
        instances = tuple(instance for instance in soundbank.instances if home.get(instance.source) == name)
        partitions[name] = dataclasses.replace(soundbank, instances=instances)
        missing = sorted(set(soundbank.labels) - {instance.event_label for instance in instances})
        if missing:
            _logger.warning("%s: the %s partition has no recording of %s.", soundbank.folder, name, ", ".join(missing))
    return partitions


def count_recordings(partitions):
    """Return a DataFrame with the number of recordings per label (row) and partition (column)."""
    counts = {name: collections.Counter(each.event_label for each in bank.instances)
              for name, bank in partitions.items()}
    return pd.DataFrame(counts, index=partitions["train"].labels).fillna(0).astype(int)


def _partition_by_fold(soundbank, folds, numbers):
    if not numbers:
        raise InputError(f"folds: {soundbank.folder} has no folds, which tables of {', '.join(TABLE_FORMATS)} have. "
                         "Leave them out.")
    folds = tuple(tuple(group) for group in folds)
    flat = [number for group in folds for number in group]
    expect(len(folds) == 3 and len(set(flat)) == len(flat), "folds",
           "three lists (train, validate, test) that share no fold", folds)
    if not set(flat) <= set(numbers):
        raise InputError(f"folds: {soundbank.folder} has the folds {numbers}. Received: {folds}.")
    fold_of = {}
    for instance in soundbank.instances:
        fold_of[instance.source] = min(instance.fold, fold_of.get(instance.source, instance.fold))
    several = {instance.source for instance in soundbank.instances if instance.fold != fold_of[instance.source]}
    if several:
        _logger.warning("%s: %d sources are in several folds and go with the lowest: %s.", soundbank.folder,
                        len(several), ", ".join(sorted(several)[:5]))
    name_of = {number: name for name, group in zip(PARTITIONS, folds) for number in group}
    return {source: name_of.get(fold) for source, fold in fold_of.items()}


def _partition_at_random(soundbank, fractions, seed):
    expect(len(fractions) == 3 and min(fractions) >= 0 and abs(sum(fractions) - 1) <= 1e-6, "fractions",
           "three shares that sum to 1", tuple(fractions))
    home = {}
    for label in soundbank.labels:
        sources = sorted({instance.source for instance in soundbank.instances if instance.event_label == label})
        # Seeded by the label's name, so that labels can come and go without a change for this one.
        np.random.default_rng((seed, zlib.crc32(label.encode()))).shuffle(sources)
        home.update(zip(sources, _partition_names(len(sources), fractions)))
    return home


def _partition_names(num_sources, fractions):
    if num_sources < 3:
        return ("train", "test")[:num_sources]
    validate, test = (max(1, round(fraction * num_sources)) if fraction else 0 for fraction in fractions[1:])
    train = max(num_sources - validate - test, 1 if fractions[0] else 0)
    return (["train"] * train + ["validate"] * validate + ["test"] * test)[:num_sources]


def recording_reader(folder, sample_rate, max_bytes=2 ** 30):
    """Return a function of (recording, speed=1.0) that reads a waveform from a folder, float32 (samples,).

    A faster recording is shorter and higher. The latest waveforms are kept in memory, up to `max_bytes` in all.
    """
    kept, total = collections.OrderedDict(), 0

    def read(recording, speed=1.0):
        nonlocal total
        key = recording, speed
        if key not in kept:
            kept[key] = (load_audio(pathlib.Path(folder) / recording, sample_rate) if speed == 1.0
                         else soxr.resample(read(recording), speed * sample_rate, sample_rate))
            total += kept[key].nbytes
            while total > max_bytes and len(kept) > 1:
                total -= kept.popitem(last=False)[1].nbytes
        kept.move_to_end(key)
        return kept[key]
    return read
