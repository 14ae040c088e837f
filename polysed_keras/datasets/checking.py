"""Check the audio of a corpus before training: every listed file is opened and decoded."""
import collections
import concurrent.futures
import os
import typing

from polysed_keras.audio import audio_blocks, audio_info
from polysed_keras.datasets.loading import (
    CLIP_CORPORA,
    CORPORA,
    PARTITIONS,
    Clip,
    ClipDataset,
    corpus_module,
    load_clips,
    load_dataset,
)
from polysed_keras.errors import InputError, expect_known
from polysed_keras.progress import progress_bar
from polysed_keras.specs import registered

KINDS = ("missing", "corrupt", "short", "silent", "other_rate", "other_format")
CLIP_SECONDS = 10.0
TOLERANCE_SECONDS = 0.1
SILENCE = 1e-4  # -80 dB of full scale; a file without a larger sample is called silent
_AT_A_TIME = 1024  # files given to the threads at once: two million futures would take gigabytes


class _Measured(typing.NamedTuple):
    seconds: float
    peak: float  # of the mono waveform, full scale is 1
    rate: int
    format: str


def check_corpus(corpus, folder, *, progress=False):
    """Decode every file of a corpus and report which ones are unusable.

    Files are decoded by os.cpu_count() threads, block by block, so that long files take no memory.

    Args:
        corpus: a name of CORPORA or CLIP_CORPORA, or of a plug-in.
        folder: the corpus's folder; for a corpus of clips, also the folder that holds it under its name.
        progress: bool, whether bars and lines of progress are shown.

    Returns:
        dict that files.write_json can write:
        corpus, folder: as they were found;
        clips: number of clips or recordings that are listed;
        missing: names of those that do not exist;
        corrupt: {name: message} of files that cannot be decoded to their end;
        short: {name: message} of clips more than 0.1 s shorter than 10 s, or than the corpus says if that is less, and
        of recordings that end more than 0.1 s before their last event, or before the length that the corpus states;
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
    dataset = _list_corpus(corpus, folder)
    listed = [(partition, clip) for partition, clips in dataset.partitions.items() for clip in clips]
    report = {"corpus": corpus, "folder": str(dataset.folder), "clips": len(listed) + len(dataset.missing),
              "missing": list(dataset.missing), "corrupt": {}, "short": {}, "silent": [], "other_rate": {},
              "other_format": {}}
    rates, formats, partitions, labels = (collections.Counter() for _ in range(4))
    all_measured = _measure_all([clip.audio for _, clip in listed])
    for (partition, clip), measured in progress_bar(zip(listed, all_measured), "files", len(listed), unit="file",
                                                    shown=progress):
        if not isinstance(measured, _Measured):
            report["corrupt"][clip.name] = str(measured)
            continue
        rates[measured.rate] += 1
        formats[measured.format] += 1
        partitions[partition] += 1
        labels.update((partition, label) for label in clip.labels)
        _compare(report, clip, measured)
    return report | {"rates": dict(rates.most_common()), "formats": dict(formats.most_common()),
                     "partitions": {partition: partitions[partition] for partition in PARTITIONS},
                     "labels": {partition: {label: labels[partition, label] for label in dataset.labels}
                                for partition in PARTITIONS},
                     "ok": not (report["missing"] or report["corrupt"] or report["short"])}


def _compare(report, clip, measured):
    """Note in the report in what a file differs from what the corpus says."""
    corpus = report["corpus"]
    facts = corpus_module(corpus) if corpus in (*CORPORA, *CLIP_CORPORA) else None
    stated = getattr(facts, "SECONDS", 0.0)
    what, least = (("a clip", min(CLIP_SECONDS, clip.seconds)) if corpus in CLIP_CORPORA else
                   ("audio to the end of the last event", clip.seconds) if clip.seconds > stated else
                   ("a recording of the corpus", stated))
    if measured.seconds < least - TOLERANCE_SECONDS:
        report["short"][clip.name] = (f"{clip.audio}: expected {what}, {least:g} s. Received: {measured.seconds:g} s. "
                                      "Replace or remove it.")
    if measured.peak < SILENCE:
        report["silent"].append(clip.name)
    if measured.rate != getattr(facts, "SAMPLE_RATE", measured.rate):
        report["other_rate"][clip.name] = measured.rate
    if measured.format != getattr(facts, "SAMPLE_FORMAT", measured.format):
        report["other_format"][clip.name] = measured.format


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
    """Return a corpus as a ClipDataset; recordings are clips that last at least until the end of their last event."""
    if corpus in CLIP_CORPORA:
        return load_clips(folder, corpus)[CLIP_CORPORA[corpus]]
    known = (*CORPORA, *CLIP_CORPORA, *registered("corpus"))
    expect_known(corpus, known, "corpus")
    dataset = load_dataset(folder, corpus)
    partitions = {partition: [] for partition in dataset.partitions}
    for partition, recordings in dataset.partitions.items():
        for recording in recordings:
            events = recording.read_events(dataset.labels)
            partitions[partition].append(Clip(recording.name, recording.audio, tuple(events["event_label"].unique()),
                                              seconds=float(events["offset"].max()) if len(events) else 0.0))
    return ClipDataset(dataset.folder, dataset.labels, partitions, dataset.missing)


def _measure_all(paths):
    """Yield for each path its _Measured, or the error if it cannot be decoded."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for first in range(0, len(paths), _AT_A_TIME):
            yield from pool.map(_measure, paths[first:first + _AT_A_TIME])


def _measure(path):
    if path.suffix.lower() == ".m4a":
        return InputError(f"{path}: expected audio that libsndfile reads. Received: an m4a file, and it reads no AAC. "
                          f"Convert it, for example by: ffmpeg -i {path.name} {path.stem}.flac")
    try:
        info, num_samples, peak = audio_info(path, quiet=True), 0, 0.0  # Reading the blocks warns of what it finds.
        for block in audio_blocks(path, info.sample_rate):
            num_samples, peak = num_samples + len(block), max(peak, float(abs(block).max(initial=0)))
        return _Measured(num_samples / info.sample_rate, peak, info.sample_rate,
                         f"{info.subtype}, {info.channels} channel{'s' * (info.channels > 1)}")
    except (InputError, OSError) as error:
        return error
