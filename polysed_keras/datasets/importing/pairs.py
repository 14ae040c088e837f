"""Pairs of an audio file and its annotation, and tables that say one thing of each recording, such as its partition.

An annotation belongs to the audio file with its name or stem. If there is none, endings that tools and people add are
taken off the annotation's name (`.Table.1.selections`, `.BirdNET.results`, `_labels`, `-annotations`, a second `.wav`),
and so is what Label Studio puts before the name of an upload; `-annot-` is read as `-mix-`, and an AudioSet segment as
the names that its audio usually has. Names are compared with composed letters (Unicode's NFC), as file systems differ.
"""
import collections
import csv
import dataclasses
import pathlib
import re
import unicodedata

import numpy as np

from polysed_keras.audio import AUDIO_SUFFIXES, search_folder
from polysed_keras.datasets.loading import PARTITIONS
from polysed_keras.errors import InputError, expect, expect_known
from polysed_keras.events import Annotation, read_source

_ENDINGS = re.compile(r"(\.birdnet)?((\.table\.\d+)?\.selections?(\.table)?|\.results)$|"
                      r"[._-](labels?|annot|annotations?|events)$", re.I)
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # before the name of a file that is uploaded to Label Studio
_SEGMENT = re.compile(r"^([\w-]{11})_(\d+)$")  # AudioSet's: a video, and milliseconds
_HEADER_NAMES = ("filename", "file", "name", "recording")


@dataclasses.dataclass(frozen=True)
class Pair:
    """An audio file, its annotation, and the name that both get in the corpus."""
    name: str
    audio: pathlib.Path
    annotation: Annotation


def find_recordings(folder):
    """Find the audio files in a folder and its subfolders. Raise InputError if there is none.

    The dict returned maps each name, and each stem, to a list of paths: several folders may have a file of that name.
    """
    found = by_name(search_folder(folder) if folder.is_dir() else ())
    if not found:
        raise InputError(f"{folder}: expected a folder with audio files (wav, flac, ogg, ...). Received: "
                         + ("a folder without any." if folder.is_dir() else "no such folder."))
    return found


def by_name(paths):
    """Return audio files by name and by stem, {text: list of paths}, as match_annotations takes them."""
    found = collections.defaultdict(list)
    for path in paths:
        for key in {path.name, path.stem}:
            found[unicodedata.normalize("NFC", key)].append(path)
    return dict(found)


def match_annotations(annotations, audio):
    """Find the audio file of every Annotation of a list, in the dict of find_recordings.

    Returns a list of Pair, sorted by name, and a dict of files without a counterpart: recordings_without_annotation and
    annotations_without_recording, lists of str.
    """
    home, without_recording = {}, []
    for annotation in annotations:
        path = _find(annotation.recording, audio, annotation.source, annotation.partition)
        if path is None:
            without_recording.append(f"{annotation.recording} ({annotation.source})")
        elif path in home:
            raise InputError(f"{annotation.source}: {path} is annotated in {home[path].source} too. Join them, or take "
                             "one away.")
        else:
            home[path] = annotation
    if not home:
        raise InputError("annotations: expected the names of audio files. Received: "
                         f"{without_recording[0]}, one of {len(without_recording)}, while there is {sorted(audio)[0]}. "
                         "Rename them.")
    everything = {path for paths in audio.values() for path in paths}
    return _name_pairs(home), {"recordings_without_annotation": sorted(str(path) for path in everything - set(home)),
                               "annotations_without_recording": without_recording}


def _find(name, audio, place, partition=None):
    """Return the audio file that `name` means, or None."""
    name = unicodedata.normalize("NFC", name.replace("\\", "/"))
    for key in _keys(name.rpartition("/")[2]):
        paths = audio.get(key, [])
        if len(paths) > 1:
            paths = [path for path in paths if path.parent.name == partition or
                     unicodedata.normalize("NFC", f"/{path.as_posix()}").endswith(f"/{name}")] or paths
        if len(paths) > 1:
            raise InputError(f"{place}: {name} may be {paths[0]} or {paths[1]}, which have one stem. Rename one, and "
                             "its annotation.")
        if paths:
            return paths[0]
    return None


def _keys(name):
    """Return the names that the audio file of an annotation called `name` may have, the likeliest first."""
    stem = _without_audio_suffix(name)
    bare = _without_audio_suffix(_ENDINGS.sub("", stem))
    return dict.fromkeys((name, stem, bare, bare.replace("-annot-", "-mix-"), _UPLOAD.sub("", bare), *_clips(stem)))


def _clips(name):
    """Return the names that audio of an AudioSet segment, such as b0RFKhbpFJA_30000, may have; () for other names."""
    segment = _SEGMENT.match(name)
    if not segment:
        return ()
    video, start = segment[1], int(segment[2]) / 1000
    names = (f"{video}_{start:.3f}_{start + 10:.3f}", f"{video}_{start:g}", name, video)
    return (*names, *(f"Y{name}" for name in names))


def recording_key(name):
    """Return the name by which lists of one recording are matched: without folders, suffixes and tools' endings."""
    return list(_keys(name.replace("\\", "/").rpartition("/")[2]))[-1]


def read_by_name(file):
    """Yield (place, name, value) of a file that has on each line a file name, a tab or comma, and a value, as text.

    The place is for messages. A header is passed over if its first column is called filename, file, name or recording.
    """
    for number, (place, line) in enumerate(read_source(file).lines):
        *name, value = [field.strip() for field in (line.split("\t") if "\t" in line else next(csv.reader([line])))]
        expect(name, place, "a file name, a tab or comma, and what is said of it", line.strip(), "Correct the line.")
        if number or name[0].lower() not in _HEADER_NAMES:
            yield place, ",".join(name), value


def _without_audio_suffix(name):
    stem, dot, suffix = name.rpartition(".")
    return stem if f".{suffix}".lower() in AUDIO_SUFFIXES else name


def _name_pairs(home):
    """Return a Pair per audio file, named by its stem, or by partition_stem if folders of partitions share the stem."""
    stems, named = collections.Counter(path.stem for path in home), {}
    for path in sorted(home):
        partition = home[path].partition
        name = f"{partition}_{path.stem}" if stems[path.stem] > 1 and partition else path.stem
        if name in named:
            raise InputError(f"{named[name].audio} and {path}: expected different stems, because both would be named "
                             f"{name}. Rename one, and its annotation.")
        named[name] = Pair(name, path, home[path])
    return [named[name] for name in sorted(named)]


def partition_pairs(pairs, audio, format, file, seed):
    """Return {name of a pair: its partition}, as `datasets.import_recordings` describes; `file` is None or a path."""
    if file is not None:
        return _read_partition(file, pairs, audio)
    if format != "urban_sed":
        return _partition_at_random([pair.name for pair in pairs], seed)
    for pair in pairs:
        if pair.annotation.partition is None:
            raise InputError(f"{pair.annotation.source}: expected a folder {', '.join(PARTITIONS)} around it, as in "
                             "URBAN-SED. Move it, give a partition file, or choose the format sed_eval.")
    return {pair.name: pair.annotation.partition for pair in pairs}


def _read_partition(file, pairs, audio):
    name_of = {pair.audio: pair.name for pair in pairs}
    home = {}
    for place, name, partition in read_by_name(file):
        expect_known(partition, PARTITIONS, place, "Correct the line.", expected="one of {} after the file name")
        path = _find(name, audio, place)
        if path is None:
            raise InputError(f"{place}: {name} is no audio file there. Correct or remove the line.")
        if home.setdefault(path, partition) != partition:
            raise InputError(f"{place}: {name} is in {home[path]} already. Leave it in one.")
    return {name_of[path]: partition for path, partition in home.items() if path in name_of}


def _partition_at_random(names, seed):
    names = sorted(names)
    np.random.default_rng(seed).shuffle(names)
    held_out = max(1, round(0.2 * len(names))) if len(names) > 2 else 0
    sizes = (held_out, held_out or len(names) - 1)  # of two recordings, one is for the test
    order = ["validate"] * sizes[0] + ["test"] * sizes[1]
    return dict(zip(names, order + ["train"] * (len(names) - len(order))))
