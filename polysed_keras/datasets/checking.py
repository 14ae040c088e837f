"""Check the audio of a corpus before training: every listed file is opened and decoded."""
import collections
import concurrent.futures
import os
import pathlib
import typing

import soundfile
from tqdm import tqdm

from polysed_keras.audio import audio_blocks
from polysed_keras.datasets.audioset import segment_seconds
from polysed_keras.datasets.loading import CLIP_CORPORA, CORPORA, PARTITIONS, load_clips, load_dataset
from polysed_keras.datasets.tut_sed_synthetic_2016 import MIXTURE_NAME
from polysed_keras.errors import InputError, expect
from polysed_keras.events import read_events

KINDS = ("missing", "corrupt", "short", "silent", "other_rate", "other_format")
CLIP_SECONDS = 10.0
TOLERANCE_SECONDS = 0.1
SILENCE = 1e-4  # -80 dB of full scale; a file without a larger sample is called silent
RATES = {"tut_sed_synthetic_2016": 44100, "tut_urban_acoustic_scenes_2018": 48000}  # other corpora have any
SAMPLE_FORMATS = {"tut_urban_acoustic_scenes_2018": "PCM_24, 2 channels"}
_AT_A_TIME = 1024  # files given to the threads at once: two million futures would take gigabytes


class _Listed(typing.NamedTuple):
    name: str
    audio: pathlib.Path
    labels: tuple
    partition: str
    seconds: float  # the least that the file should have


class _Measured(typing.NamedTuple):
    seconds: float
    peak: float  # of the mono waveform, full scale is 1
    rate: int
    format: str


def check_corpus(corpus, folder, *, progress=False):
    """Decode every file of a corpus and report which ones are unusable.

    Files are decoded by os.cpu_count() threads, block by block, so that long files take no memory.

    Args:
        corpus: a name of CORPORA or CLIP_CORPORA.
        folder: the corpus's folder; for a corpus of clips, also the folder that holds it under its name.
        progress: bool, whether bars and lines of progress are shown.

    Returns:
        dict that files.write_json can write:
        corpus, folder: as they were found;
        clips: number of clips or recordings that are listed;
        missing: names of those that do not exist (for recordings, of the original's 100);
        corrupt: {name: message} of files that cannot be decoded to their end;
        short: {name: message} of clips more than 0.1 s shorter than 10 s, or than AudioSet's list says if that is less,
        and of recordings that end more than 0.1 s before their last event;
        silent: names of files whose mono waveform has no sample above -80 dB of full scale;
        other_rate, other_format: {name: its rate or format} of files that differ from the corpus's own;
        rates, formats: {rate or format: number of files};
        partitions: {partition: number}, labels: {partition: {label: number}}, of files that could be decoded;
        ok: bool, whether nothing is missing, corrupt or short.

    Raises:
        InputError: an unknown corpus, or a folder, list or annotation that its loader refuses. Not for bad audio.

    Example:
        >>> print(format_check(check_corpus("audioset", "data")))
    """
    listed, missing, labels, folder = _list_corpus(corpus, folder)
    report = {"corpus": corpus, "folder": str(folder), "clips": len(listed) + len(missing), "missing": list(missing),
              "corrupt": {}, "short": {}, "silent": [], "other_rate": {}, "other_format": {}}
    rates, formats, partitions = collections.Counter(), collections.Counter(), dict.fromkeys(PARTITIONS, 0)
    counts = {partition: dict.fromkeys(labels, 0) for partition in PARTITIONS}
    for entry, measured in tqdm(_measure_all(listed), "files", len(listed), unit="file", disable=not progress):
        if isinstance(measured, _Measured):
            rates[measured.rate] += 1
            formats[measured.format] += 1
            partitions[entry.partition] += 1
            for label in entry.labels:
                counts[entry.partition][label] += 1
            _judge(report, entry, measured)
        else:
            report["corrupt"][entry.name] = str(measured)
    return report | {"rates": dict(rates.most_common()), "formats": dict(formats.most_common()),
                     "partitions": partitions, "labels": counts,
                     "ok": not (report["missing"] or report["corrupt"] or report["short"])}


def format_check(report, names=5):
    """Format a report for a terminal: number, share and first names of each kind of fault.

    Args:
        report: dict of check_corpus.
        names: int, how many names per kind are shown.

    Returns:
        str of several lines.
    """
    total = report["clips"]
    lines = [f"{report['corpus']} in {report['folder']}: {total} listed, of which can be read: "
             + ", ".join(f"{number} {partition}" for partition, number in report["partitions"].items())]
    for kind in KINDS:
        found = list(report[kind])
        shown = ", ".join(found[:names]) + (", ..." if len(found) > names else "")
        lines.append(f"{kind.replace('_', ' '):<14}{len(found):>8}{len(found) / max(total, 1):>8.1%}  {shown}".rstrip())
    lines += [f"  {message}" for message in list(report["corrupt"].values())[:names]]
    lines += [f"{kind:<14}{', '.join(f'{found}: {number}' for found, number in report[kind].items())}"
              for kind in ("rates", "formats")]
    train = report["labels"]["train"]
    if any(train.values()):
        few, most = min(train, key=train.get), max(train, key=train.get)
        lines.append(f"{'labels':<14}{len(train)}, in training from {train[few]} ({few}) to {train[most]} ({most})")
    lines.append("Nothing is missing, corrupt or short." if report["ok"] else "Not all of it can be used: see above.")
    return "\n".join(lines)


def _list_corpus(corpus, folder):
    """Return the files as _Listed, the names of missing ones, the labels and the corpus's folder."""
    if corpus in CLIP_CORPORA:
        dataset = load_clips(folder, corpus)[CLIP_CORPORA[corpus]]
        seconds = segment_seconds(dataset.folder) if corpus == "audioset" else {}
        listed = [_Listed(clip.name, clip.audio, clip.labels, partition,
                          min(CLIP_SECONDS, seconds.get(clip.name, CLIP_SECONDS)))
                  for partition, clips in dataset.partitions.items() for clip in clips]
        return listed, dataset.missing, dataset.labels, dataset.folder
    expect(corpus in CORPORA, "corpus", f"one of {', '.join([*CORPORA, *CLIP_CORPORA])}", corpus)
    dataset = load_dataset(folder, corpus)
    listed = [_list_recording(recording, partition, dataset.labels)
              for partition, recordings in dataset.partitions.items() for recording in recordings]
    return listed, _missing_mixtures(dataset), dataset.labels, dataset.folder


def _missing_mixtures(dataset):
    """Return the original's mixtures that are missing. A corpus with lists does not even load without its files."""
    setup = dataset.folder / "evaluation_setup"
    if any((setup / f"{partition}.txt").is_file() for partition in PARTITIONS):
        return []
    there = {recording.name for recordings in dataset.partitions.values() for recording in recordings}
    return [name for name in map(MIXTURE_NAME.format, range(100)) if name not in there]


def _list_recording(recording, partition, labels):
    events = read_events(recording.annotation, labels=labels)
    seconds = float(events["offset"].max()) if len(events) else 0.0
    return _Listed(recording.name, recording.audio, tuple(events["event_label"].unique()), partition, seconds)


def _measure_all(listed):
    """Yield each _Listed in turn with its _Measured, or with the error if it cannot be decoded."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for first in range(0, len(listed), _AT_A_TIME):
            part = listed[first:first + _AT_A_TIME]
            yield from zip(part, pool.map(lambda entry: _measure(entry.audio), part))


def _measure(path):
    if path.suffix.lower() == ".m4a":
        return InputError(f"{path}: expected audio that libsndfile reads. Received: an m4a file, and it reads no AAC. "
                          f"Convert it, for example by: ffmpeg -i {path.name} {path.stem}.flac")
    try:
        info = _info(path)
        num_samples, peak = 0, 0.0
        for block in audio_blocks(path, info.samplerate):
            num_samples, peak = num_samples + len(block), max(peak, float(abs(block).max()))
        return _Measured(num_samples / info.samplerate, peak, info.samplerate,
                         f"{info.subtype}, {info.channels} channel{'s' * (info.channels > 1)}")
    except (InputError, OSError, RuntimeError) as error:  # errors of soundfile are RuntimeErrors
        return error


def _info(path):
    try:
        return soundfile.info(path)
    except RuntimeError:
        next(audio_blocks(path))  # raises an error that says what to do
        raise


def _judge(report, entry, measured):
    """Note the faults of a decoded file in the report."""
    corpus, name = report["corpus"], entry.name
    if measured.seconds < entry.seconds - TOLERANCE_SECONDS:
        what = "audio to the end of the last event" if corpus in CORPORA else "a clip"
        report["short"][name] = (f"{entry.audio}: expected {what}, {entry.seconds:g} s. Received: {measured.seconds:g} "
                                 "s. Replace or remove it.")
    if measured.peak < SILENCE:
        report["silent"].append(name)
    if measured.rate != RATES.get(corpus, measured.rate):
        report["other_rate"][name] = measured.rate
    if measured.format != SAMPLE_FORMATS.get(corpus, measured.format):
        report["other_format"][name] = measured.format
