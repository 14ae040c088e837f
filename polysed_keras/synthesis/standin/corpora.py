"""A stand-in for TUT Urban Acoustic Scenes 2018 and AudioSet, in their layouts, from any soundbank.

Neither corpus may be passed on. A stand-in also controls the variables of paper 2: the number of event labels, the
hours of event clips, and the share of event labels that are heard in scenes too. No recording is in two partitions, or
both in scene clips and in event clips: each gets half of the sources of every label. So scene clips do not depend on
the event labels and hours, and event labels have as many sources whether scenes have them or not.
"""
import collections
import dataclasses
import math

from polysed_keras.audio import write_audio
from polysed_keras.datasets import PARTITIONS
from polysed_keras.errors import InputError, expect
from polysed_keras.files import atomic_directory, file_digest, temporary_folder, write_json
from polysed_keras.progress import progress_bar
from polysed_keras.synthesis.activity import measure_soundbank
from polysed_keras.synthesis.drawing import SoundscapeSpec
from polysed_keras.synthesis.procedural.procedures import write_soundbank
from polysed_keras.synthesis.soundbank import partition_soundbank, read_soundbank, recording_reader
from polysed_keras.synthesis.standin.clips import (
    EVENT_CORPUS,
    SCENE_CORPUS,
    draw_clips,
    generator,
    render_clip,
    write_event_lists,
    write_scene_lists,
)
from polysed_keras.synthesis.standin.scenes import StandinSpec

STANDIN_INSTRUCTIONS = "standin.json"
PROCEDURAL_INSTANCES = 20  # per label: in training 6 for scenes and 6 for events


def make_standin(soundbank, out, spec=None, *, folds=None, seed=0, origin=None, progress=False):
    """Write clips of scenes and of events, each in its corpus's layout, and standin.json, their full instructions.

    standin.json also has the digest of each recording (files.file_digest), by which its sounds are known anywhere.
    A clip depends on the seed, the corpus, the partition, its number there and the spec, but not on the hours.

    Args:
        soundbank: folder of the soundbank; None for procedural sounds.
        out: the new folder; it appears when all is done.
        spec: StandinSpec; None for its defaults.
        folds: None or three sequences of fold numbers, as for `partition_soundbank`.
        seed: int, 0 or above.
        origin: dict of `soundbank` and `folds`, for standin.json; None for those that were given.
        progress: bool, whether bars and lines of progress are shown.

    Returns:
        dict of corpus ("tut_urban_acoustic_scenes_2018", "audioset") to dict of partition to its clips, hours, sources
        (locations or videos), recordings, and labels: dict of label to the number of clips that it is heard in.

    Raises:
        InputError: too few labels for `k` and `correlation`, a label with too few sources, sounds that are not usable,
            `out` is not empty or cannot be written, or as read_soundbank and partition_soundbank.

    Example:
        >>> print(format_report(make_standin("esc10", "standin", StandinSpec(scenes=3))))
    """
    spec = spec or StandinSpec()
    origin = origin or {"soundbank": str(soundbank) if soundbank else {"procedural_seed": seed}, "folds": folds}
    with temporary_folder() as temporary, atomic_directory(out) as folder:
        bank = read_soundbank(soundbank or write_soundbank(temporary / "bank", PROCEDURAL_INSTANCES, seed))
        partitions = partition_soundbank(bank, folds=folds, seed=seed)
        labels = choose_labels(bank.labels, spec, seed)
        halves = {name: divide_sources(partitions[name], labels, name, seed) for name in PARTITIONS}
        read = recording_reader(bank.folder, spec.sample_rate)
        sounds = {name: {corpus: _measure(half, labels[corpus], read, spec) for corpus, half in halves[name].items()}
                  for name in PARTITIONS}
        scenes, clips = draw_clips(sounds, labels, spec, seed)
        _write_audio(folder, clips, read, spec, progress)
        write_scene_lists(folder / SCENE_CORPUS, clips[SCENE_CORPUS])
        write_event_lists(folder / EVENT_CORPUS, clips[EVENT_CORPUS], labels[EVENT_CORPUS], spec.clip_seconds)
        sources = {instance.recording: instance.source for corpora in sounds.values() for by_label in corpora.values()
                   for instances in by_label.values() for instance in instances}
        content = {"seed": seed, **origin, "spec": dataclasses.asdict(spec), "labels": labels, **_plain(scenes),
                   "sources": sources, "recordings": {path: file_digest(bank.folder / path) for path in sources},
                   "clips": _plain(clips)}
        write_json(content, folder / STANDIN_INSTRUCTIONS)
    return _report(clips, labels, spec)


def choose_labels(labels, spec, seed):
    """Choose the labels heard in scenes and the event labels from a soundbank's: dict of corpus to a sorted list.

    Raises:
        InputError: there are too few for the spec's scene_labels, k and correlation.
    """
    total, heard = len(labels), spec.scene_labels or math.ceil(len(labels) / 2)
    expect(heard <= total, "scene_labels", f"at most {total}, the soundbank's labels", heard)
    shared = {k: math.floor(spec.correlation * k + 0.5) for k in range(1, total + 1)}
    possible = [k for k in shared if shared[k] <= heard and k - shared[k] <= total - heard]
    k = spec.k or max(possible, default=0)
    if k not in possible:
        allowed = f"1 to {max(possible)}" if possible else "none"
        low, high = max(k - total + heard, 0) / max(k, 1), min(k, heard) / max(k, 1)
        hint = f", for which the correlation may be {low:.3g} to {high:.3g}" if 0 < k <= total else ""
        raise InputError(f"k: expected {allowed}, with a correlation of {spec.correlation:g} and {heard} of the "
                         f"soundbank's {total} labels in scenes. Received: {k}{hint}. Change k, correlation or "
                         "scene_labels.")
    order = generator(seed, "labels").permutation(sorted(labels)).tolist()
    events = order[:shared[k]] + order[heard:heard + k - shared[k]]
    return {SCENE_CORPUS: sorted(order[:heard]), EVENT_CORPUS: sorted(events)}


def divide_sources(bank, labels, partition, seed):
    """Divide the sources of a partition's Soundbank between the corpora, label by label: dict of corpus to Soundbank.

    Raises:
        InputError: a corpus's label has no source there; two are needed, also where only one corpus uses the label.
    """
    home = {}  # a source may have several labels
    for label in bank.labels:
        sources = sorted({instance.source for instance in bank.instances if instance.event_label == label})
        generator(seed, "sources", partition, label).shuffle(sources)
        for source in sources:
            counts = collections.Counter(home[other] for other in sources if other in home)
            home.setdefault(source, min((SCENE_CORPUS, EVENT_CORPUS), key=counts.__getitem__))  # scenes if equal
    halves = {}
    for corpus, wanted in labels.items():
        half = tuple(instance for instance in bank.instances
                     if instance.event_label in wanted and home[instance.source] == corpus)
        halves[corpus] = dataclasses.replace(bank, instances=half)
        missing = sorted(set(wanted) - {instance.event_label for instance in half})
        if missing:
            raise InputError(f"{bank.folder}: expected two sources or more of each label in the {partition} partition, "
                             f"one for scenes and one for events. Received: too few of {', '.join(missing)}. Add some, "
                             "or leave the label out of the soundbank.")
    return halves


def _measure(bank, labels, read, spec):
    # No gap is bridged, so that a piece that begins in a span can be heard.
    whole = SoundscapeSpec(sample_rate=spec.sample_rate, bridge_seconds=0.0, burst_seconds=0.0)
    measured = measure_soundbank(bank, read, whole).instances
    return {label: [instance for instance in measured if instance.event_label == label] for label in labels}


def _plain(value):
    """Return dataclasses in lists and dicts as dicts, for JSON."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [dataclasses.asdict(item) for item in value]


def _write_audio(folder, clips, read, spec, progress):
    for corpus in clips:
        (folder / corpus / "audio").mkdir(parents=True)
    named = [(folder / corpus / "audio" / f"{prefix}{clip.name}.wav", clip)
             for corpus, prefix in ((SCENE_CORPUS, ""), (EVENT_CORPUS, "Y"))
             for part in clips[corpus].values() for clip in part]
    for path, clip in progress_bar(named, "clips", unit="clip", shown=progress):
        write_audio(path, render_clip(clip, read, spec).waveform, spec.sample_rate, "PCM_16")


def _report(clips, labels, spec):
    def summary(part, known):
        heard = collections.Counter(label for clip in part for label in {piece.event_label for piece in clip.pieces})
        return {"clips": len(part), "hours": round(len(part) * spec.clip_seconds / 3600, 3),
                "sources": len({clip.source for clip in part}),
                "recordings": len({piece.recording for clip in part for piece in clip.pieces}),
                "labels": {label: heard[label] for label in known}}

    return {corpus: {partition: summary(part, labels[corpus]) for partition, part in partitions.items()}
            for corpus, partitions in clips.items()}


def format_report(report):
    """Format the dict that make_standin returns for a terminal: a str of several lines."""
    return "\n".join(
        f"{corpus} {name}: {part['clips']} clips, {part['hours']:.2f} h, of {part['recordings']} recordings: "
        + ", ".join(f"{label} {count}" for label, count in part["labels"].items())
        for corpus, partitions in report.items() for name, part in partitions.items())
