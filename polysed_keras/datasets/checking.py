"""What is wrong with a corpus's audio, before any training: every listed file is opened and decoded."""
import collections
import concurrent.futures
import dataclasses
import os
import pathlib

import soundfile

from polysed_keras.audio import audio_blocks
from polysed_keras.datasets.audioset import segment_seconds
from polysed_keras.datasets.loading import CLIP_CORPORA, CORPORA, PARTITIONS, load_clips, load_dataset
from polysed_keras.datasets.tut_sed_synthetic_2016 import MIXTURE_NAME
from polysed_keras.errors import InputError
from polysed_keras.events import read_events

KINDS = ("missing", "corrupt", "short", "silent", "other_rate", "other_format")
CLIP_SECONDS = 10.0
TOLERANCE_SECONDS = 0.1
SILENCE = 1e-4  # the largest sample of a file that is called silent: -80 dB of full scale
RATES = {"tut_sed_synthetic_2016": 44100, "tut_urban_acoustic_scenes_2018": 48000}  # others have any
FORMATS = {"tut_urban_acoustic_scenes_2018": "PCM_24, 2 channels"}
_AT_A_TIME = 1024  # files given to the threads: two million futures are gigabytes


@dataclasses.dataclass(frozen=True)
class _Listed:
    name: str
    audio: pathlib.Path
    labels: tuple
    partition: str
    seconds: float  # that the file should have


@dataclasses.dataclass(frozen=True)
class _Measured:
    seconds: float
    peak: float  # of the mono waveform, full scale is 1
    rate: int
    format: str


def check_corpus(corpus, folder, progress=None):
    """Decode every file of a corpus by os.cpu_count() threads; memory holds a block of each, however long it is.

    Args:
        corpus: a name of CORPORA or CLIP_CORPORA.
        folder: the corpus's folder; of a corpus of clips, also the folder that has it by its name.
        progress: None or a function of (files done, files in all).

    Returns:
        dict, which write_json takes, of
        corpus, folder: as they were found; clips: number of clips or recordings that are listed;
        missing: names of what is listed and not there (of recordings, of the original's 100);
        corrupt: {name: message} of what cannot be decoded to its end;
        short: {name: message} of clips that are more than 0.1 s shorter than 10 s, or than AudioSet's list says where
        that is less; of recordings that end more than 0.1 s before their last event;
        silent: names of those without a sample of their mono waveform above -80 dB of full scale;
        other_rate, other_format: {name: what it has} of those that have not the corpus's own, where it has one;
        rates, formats: {what was found: number};
        partitions: {partition: number}, labels: {partition: {label: number}}, of what could be decoded;
        ok: whether nothing is missing, corrupt or short.

    Raises:
        InputError: an unknown corpus, or a folder, list or annotation that its loader refuses. Not for bad audio.
    """
    listed, missing, labels, folder = _list_corpus(corpus, folder)
    report = {"corpus": corpus, "folder": str(folder), "clips": len(listed) + len(missing), "missing": list(missing),
              "corrupt": {}, "short": {}, "silent": [], "other_rate": {}, "other_format": {}}
    rates, formats, partitions = collections.Counter(), collections.Counter(), dict.fromkeys(PARTITIONS, 0)
    counts = {partition: dict.fromkeys(labels, 0) for partition in PARTITIONS}
    for done, (entry, measured) in enumerate(_measure_all(listed), start=1):
        if isinstance(measured, _Measured):
            rates[measured.rate] += 1
            formats[measured.format] += 1
            partitions[entry.partition] += 1
            for label in entry.labels:
                counts[entry.partition][label] += 1
            _judge(report, entry, measured)
        else:
            report["corrupt"][entry.name] = str(measured)
        if progress:
            progress(done, len(listed))
    return report | {"rates": dict(rates.most_common()), "formats": dict(formats.most_common()),
                     "partitions": partitions, "labels": counts,
                     "ok": not (report["missing"] or report["corrupt"] or report["short"])}


def format_check(report, names=5):
    """A report of check_corpus as lines for a terminal: of each kind the number, the share and the first names."""
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
    """What is there, as _Listed; the names of what is missing; the labels; the corpus's folder."""
    if corpus in CLIP_CORPORA:
        dataset = load_clips(folder, corpus)[CLIP_CORPORA[corpus]]
        seconds = segment_seconds(dataset.folder) if corpus == "audioset" else {}
        listed = [_Listed(clip.name, clip.audio, clip.labels, partition,
                          min(CLIP_SECONDS, seconds.get(clip.name, CLIP_SECONDS)))
                  for partition, clips in dataset.partitions.items() for clip in clips]
        return listed, dataset.missing, dataset.labels, dataset.folder
    if corpus not in CORPORA:
        raise InputError(f"corpus: expected one of {', '.join([*CORPORA, *CLIP_CORPORA])}. Received: {corpus!r}.")
    dataset = load_dataset(folder, corpus)
    listed = [_list_recording(recording, partition, dataset.labels)
              for partition, recordings in dataset.partitions.items() for recording in recordings]
    return listed, _missing_mixtures(dataset), dataset.labels, dataset.folder


def _missing_mixtures(dataset):
    """Names of the original's 100 mixtures that are not there; other lists name what they want, or do not load."""
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
    """Yield each _Listed with its _Measured, or with the error where it cannot be decoded, in their order."""
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
    except (InputError, OSError, RuntimeError) as error:  # soundfile's errors are RuntimeErrors
        return error


def _info(path):
    try:
        return soundfile.info(path)
    except RuntimeError:
        next(audio_blocks(path))  # its error says what to do
        raise


def _judge(report, entry, measured):
    """Note what is wrong with a file that could be decoded."""
    corpus, name = report["corpus"], entry.name
    if measured.seconds < entry.seconds - TOLERANCE_SECONDS:
        what = "audio to the end of the last event" if corpus in CORPORA else "a clip"
        report["short"][name] = (f"{entry.audio}: expected {what}, {entry.seconds:g} s. Received: {measured.seconds:g} "
                                 "s. Replace or remove it.")
    if measured.peak < SILENCE:
        report["silent"].append(name)
    if measured.rate != RATES.get(corpus, measured.rate):
        report["other_rate"][name] = measured.rate
    if measured.format != FORMATS.get(corpus, measured.format):
        report["other_format"][name] = measured.format
