"""An embedded stand-in for TUT Urban Acoustic Scenes 2018 and AudioSet, in their layouts, from any soundbank.

Neither corpus may be passed on. Here what paper 2 varies is under control: the number of event labels, the hours of
event clips, and how many of the event labels are heard in the scenes too. No recording is in two partitions, or in
clips both of scenes and of events: half of the sources of every label are for either. So the clips of scenes stay the
same whatever the event labels and hours are, and event labels have as many sources, heard in scenes or not.
"""
import collections
import dataclasses
import math
import pathlib
import tempfile

import soundfile

from polysed_keras.datasets import PARTITIONS
from polysed_keras.errors import InputError
from polysed_keras.files import atomic_directory, check_new_directory, write_json
from polysed_keras.synthesis.activity import measure_soundbank
from polysed_keras.synthesis.drawing import SoundscapeSpec
from polysed_keras.synthesis.procedural.procedures import write_soundbank
from polysed_keras.synthesis.soundbank import partition_soundbank, read_soundbank, recording_reader
from polysed_keras.synthesis.standin.clips import EVENTS, SCENES, draw_clips, generator, render_clip
from polysed_keras.synthesis.standin.lists import write_event_lists, write_scene_lists
from polysed_keras.synthesis.standin.scenes import StandinSpec

INSTRUCTIONS = "standin.json"
PROCEDURAL_INSTANCES = 20  # of a label: 6 for scenes and 6 for events in training


def make_standin_of(soundbank, out, spec=StandinSpec(), folds=None, seed=0, progress=None):
    """Write a stand-in from a soundbank's folder, or, where it is None, from sounds that the program makes.

    Args, returns and raises: as make_standin and `synthesis.partition_soundbank`.
    """
    check_new_directory(out)
    with tempfile.TemporaryDirectory() as temporary:
        folder = soundbank or write_soundbank(pathlib.Path(temporary) / "soundbank", PROCEDURAL_INSTANCES, seed)
        partitions = partition_soundbank(read_soundbank(folder), folds=folds, seed=seed)
        origin = {"soundbank": str(soundbank) if soundbank else {"procedural_seed": seed}, "folds": folds}
        return make_standin(partitions, out, spec, seed, progress, origin)


def make_standin(partitions, out, spec=StandinSpec(), seed=0, progress=None, origin=None):
    """Write clips of scenes and of events, each in its corpus's layout, and standin.json: all that they are made of.

    A clip depends on the seed, the corpus, the partition and its number there alone, given the rest of the spec, not on
    how many hours are asked for.

    Args:
        partitions: dict of "train", "validate", "test" to Soundbank (`synthesis.partition_soundbank`).
        out: the new folder; it appears when all is done.
        spec: StandinSpec.
        seed: int, 0 or above.
        progress: None or a function of (clips done, clips in all).
        origin: what standin.json says of where the partitions came from; None for the soundbank's folder and no folds.

    Returns:
        dict of corpus ("tut_urban_acoustic_scenes_2018", "audioset") to dict of partition to its clips, hours, sources
        (locations or videos), recordings, and labels: dict of label to the number of clips that it is heard in.

    Raises:
        InputError: too few labels for `k` and `correlation`, a label with too few sources, sounds that are not usable,
            `out` is not empty or cannot be written.
    """
    if seed < 0:
        raise InputError(f"seed: expected 0 or a positive integer. Received: {seed}.")
    bank = partitions["train"]
    labels = choose_labels(bank.labels, spec, seed)
    halves = {name: divide_sources(partitions[name], labels, name, seed) for name in PARTITIONS}
    with atomic_directory(out) as folder:
        read = recording_reader(bank.folder, spec.sample_rate)
        sounds = {name: {corpus: _measure(half, labels[corpus], read, spec) for corpus, half in halves[name].items()}
                  for name in PARTITIONS}
        scenes, clips = draw_clips(sounds, labels, spec, seed)
        _write_audio(folder, clips, read, spec, progress)
        write_scene_lists(folder / SCENES, clips[SCENES])
        write_event_lists(folder / EVENTS, clips[EVENTS], labels[EVENTS], spec.clip_seconds)
        head = {"seed": seed, **(origin or {"soundbank": str(bank.folder), "folds": None}),
                "spec": dataclasses.asdict(spec), "labels": labels}
        write_json(head | _plain(scenes) | {"sources": _sources(sounds), "clips": _plain(clips)}, folder / INSTRUCTIONS)
    return _report(clips, labels, spec)


def choose_labels(labels, spec, seed):
    """The labels that are heard in scenes and the event labels, by corpus: a dict of two sorted lists.

    Raises:
        InputError: there are too few for the spec's scene_labels, k and correlation.
    """
    total, heard = len(labels), spec.scene_labels or math.ceil(len(labels) / 2)
    if heard > total:
        raise InputError(f"scene_labels: expected at most {total}, the soundbank's labels. Received: {heard}.")
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
    return {SCENES: sorted(order[:heard]), EVENTS: sorted(order[:shared[k]] + order[heard:heard + k - shared[k]])}


def divide_sources(bank, labels, partition, seed):
    """Divide the sources of a partition's Soundbank between the corpora, label by label: a dict of corpus to Soundbank.

    Raises:
        InputError: a corpus's label has no source there; two are needed, also where only one corpus uses the label.
    """
    home = {}  # of a source with several labels, too
    for label in bank.labels:
        sources = sorted({instance.source for instance in bank.instances if instance.event_label == label})
        generator(seed, "sources", partition, label).shuffle(sources)
        for source in sources:
            counts = collections.Counter(home[other] for other in sources if other in home)
            home.setdefault(source, SCENES if counts[SCENES] <= counts[EVENTS] else EVENTS)
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
    # no gap is bridged, so that a piece that begins in a span can be heard
    whole = SoundscapeSpec(sample_rate=spec.sample_rate, bridge_seconds=0.0, burst_seconds=0.0)
    measured = measure_soundbank(bank, read, whole).instances
    return {label: [instance for instance in measured if instance.event_label == label] for label in labels}


def _plain(value):
    """Dataclasses in lists and dicts as dicts, for JSON."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [dataclasses.asdict(item) for item in value]


def _sources(sounds):
    """The source of every recording there was to draw from."""
    return {instance.recording: instance.source for corpora in sounds.values() for by_label in corpora.values()
            for instances in by_label.values() for instance in instances}


def _write_audio(folder, clips, read, spec, progress):
    total, done = sum(map(sum, spec.clips())), 0
    for corpus, prefix in ((SCENES, ""), (EVENTS, "Y")):
        (folder / corpus / "audio").mkdir(parents=True)
        for clip in (clip for part in clips[corpus].values() for clip in part):
            path = folder / corpus / "audio" / f"{prefix}{clip.name}.wav"
            soundfile.write(path, render_clip(clip, read, spec).waveform, spec.sample_rate, "PCM_16")
            done += 1
            if progress:
                progress(done, total)


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
    """Text for the terminal of make_standin's answer."""
    return "\n".join(
        f"{corpus} {name}: {part['clips']} clips, {part['hours']:.2f} h, of {part['recordings']} recordings: "
        + ", ".join(f"{label} {count}" for label, count in part["labels"].items())
        for corpus, partitions in report.items() for name, part in partitions.items())
