"""AudioSet: segments of videos, mostly of 10 s, each with one or more of 527 event labels.

Facts: 22,160 segments in the balanced training list, 2,041,789 in the unbalanced one and 20,371 in the evaluation
list, one segment per video. The audio is not distributed: users have what they could get of it, and some is always
missing. Layout::

    class_labels_indices.csv         index, mid, display_name: the labels, and their order
    balanced_train_segments.csv, unbalanced_train_segments.csv      training: one or both
    eval_segments.csv                test
    validate_segments.csv            not of AudioSet, optional: segments for validation, which the training lists may
                                     hold too; without it, a tenth of the training videos, always the same ones
                                     All four: comment lines of "#", then YTID, start, end (seconds), "mid,mid"
    audio/, at any depth             <id>_<start>.<suffix>, start in seconds or milliseconds, also with fractions; or
                                     Y<id>.<suffix> or <id>.<suffix>, if the lists have one segment of the video.
                                     wav, flac, mp3, ogg, ...; an m4a is found, but has to be converted to be read
    ontology.json                    optional: read_ontology

Licence: the lists CC BY 4.0, the ontology CC BY-SA 4.0; the audio belongs to the videos' owners.
Citation: J. F. Gemmeke et al., "Audio Set: an ontology and human-labeled dataset for audio events", ICASSP 2017,
https://research.google.com/audioset
"""
import collections
import csv
import math
import os
import pathlib
import re
import typing
import zlib

from polysed_keras.audio import AUDIO_SUFFIXES
from polysed_keras.datasets.loading import PARTITIONS, Clip, ClipDataset, check_folder, numbered_lines, take_present
from polysed_keras.errors import InputError, expect
from polysed_keras.files import read_json

CLASS_LABELS = "class_labels_indices.csv"
LISTS = {"train": ("balanced_train_segments.csv", "unbalanced_train_segments.csv"),
         "validate": ("validate_segments.csv",), "test": ("eval_segments.csv",)}
HELD_OUT = 10  # one video in ten is held out for validation
_SUFFIXES = (*AUDIO_SUFFIXES, ".m4a")  # in order of preference
_STARTED = re.compile(r"(.+)_(\d+(?:\.\d+)?)")


class _Segment(typing.NamedTuple):
    video: str
    start: float
    end: float
    labels: tuple


def load_clips(folder):
    """Read the layout above into a ClipDataset, without opening audio.

    A clip's name is <id>_<start>, its source the video's id; its labels are display names. Raises InputError if the
    folder, audio/, the labels or all lists are missing; a line is broken or has an unknown label; a segment has two
    lines that differ; a video is in two partitions; no clip has audio.
    """
    check_folder(folder, f"AudioSet's folder, with audio/, {CLASS_LABELS} and lists of segments")
    check_folder(folder / "audio", "the segments' recordings")
    labels = read_class_labels(folder / CLASS_LABELS)
    segments, several = _read_partitions(folder, labels)
    found = _index_audio(folder / "audio")
    listed = {partition: [Clip(f"{video}_{start:.10g}", _find_audio(video, start, found, video not in several),
                               of_segment, video, end - start) for video, start, end, of_segment in part.values()]
              for partition, part in segments.items()}
    names = "<id>_<start>.wav, Y<id>.wav or <id>.wav"
    return ClipDataset(folder, tuple(labels.values()), *take_present(folder / "audio", listed, names))


def read_class_labels(path):
    """Read class_labels_indices.csv; YAMNet's class map has the same columns.

    Args:
        path: the file.

    Returns:
        dict of mid to display name, in the order of the index.

    Raises:
        InputError: the file is missing, or a line of it (named) has no index, mid and name, or repeats one.
    """
    rows, seen = [], set()
    for place, line in numbered_lines(path):
        fields = [field.strip() for field in next(csv.reader([line]))]
        if not seen:
            expect(fields == ["index", "mid", "display_name"], place, "index,mid,display_name", line,
                   "Put AudioSet's own file there.")
        else:
            expect(len(fields) == 3 and fields[0].isdecimal() and all(fields), place, 'index,mid,"display name"', line,
                   "Correct the line.")
            expect(seen.isdisjoint(enumerate(fields)), place, "each index, mid and name once", line,
                   "Remove one of the lines.")
            rows.append((int(fields[0]), *fields[1:]))
        seen.update(enumerate(fields))
    if not rows:
        raise InputError(f"{path}: expected index,mid,display_name and a line per label. Received: no labels. Put "
                         "AudioSet's own file there.")
    return {mid: name for _, mid, name in sorted(rows)}


class Node(typing.TypedDict):
    """A class of AudioSet's ontology."""

    id: str
    name: str
    child_ids: list[str]


def read_ontology(path):
    """Read AudioSet's own ontology.json into a dict of mid to Node."""
    return {node["id"]: node for node in read_json(path, list[Node], others=True)}


def _read_partitions(folder, labels):
    """Return {partition: {(video, start): _Segment}}, and the set of videos that have several segments."""
    # Validation first: its segments are then passed over in the training lists.
    paths = [(partition, folder / file) for partition in ("validate", "test", "train") for file in LISTS[partition]
             if (folder / file).is_file()]
    if not paths:
        raise InputError(f"{folder}: expected one or more of {', '.join(sum(LISTS.values(), ()))}. Received: none. Put "
                         "AudioSet's lists there.")
    segments, home = {name: {} for name in PARTITIONS}, {}
    for partition, path in paths:
        for place, segment in _read_segments(path, labels):
            key = segment[:2]
            if partition == "train" and key in segments["validate"]:
                continue
            other = home.setdefault(segment.video, partition)
            if other != partition:
                raise InputError(f"{place}: expected videos for the {partition} partition only. "
                                 f"Received: {segment.video}, which is in {other} too. Leave it in one of the lists.")
            if segments[partition].setdefault(key, segment) != segment:
                raise InputError(f"{place}: expected what an earlier line says of this segment, "
                                 f"{segments[partition][key][2:]}. Received: {segment}. Correct one of the lines.")
    if not segments["validate"]:
        # A hash of the id chooses the same videos in any list.
        for key in [key for key in segments["train"] if zlib.crc32(key[0].encode()) % HELD_OUT == 0]:
            segments["validate"][key] = segments["train"].pop(key)
    videos = collections.Counter(video for listed in segments.values() for video, _ in listed)
    return segments, {video for video, count in videos.items() if count > 1}


def _read_segments(path, labels):
    """Yield (place for messages, _Segment) of a list.

    A loop over lines takes less memory than pandas (the unbalanced list has two million), keeps the line for messages
    and reads labels without quotes.
    """
    known = {}  # many segments have the same labels
    for place, line in numbered_lines(path):
        if line.startswith(("#", "YTID,")):
            continue
        try:
            video, start, end, mids = line.split(",", 3)
            video, start, end = video.strip(), float(start), float(end)
        except ValueError:
            video = ""
        expect(video and 0 <= start < end < math.inf, place, 'YTID, start, end (seconds), "mid,mid"', line,
               "Correct or remove the line.")
        if mids not in known:
            each = [mid.strip() for mid in mids.strip().strip('"').split(",")]
            unknown = ", ".join(repr(mid) for mid in each if mid not in labels)
            if unknown:
                raise InputError(f"{place}: expected mids of {CLASS_LABELS}. Received: {unknown}. Correct the line, or "
                                 "put the file there that it belongs to.")
            known[mids] = tuple(dict.fromkeys(labels[mid] for mid in each))
        yield place, _Segment(video, start, end, known[mids])


def _index_audio(folder):
    """Return {stem: path} of the audio files, and also {(id, start): path} if the stem ends in a start."""
    found = {}
    for directory, _, files in os.walk(folder, followlinks=True):
        for file in files:
            stem, suffix = os.path.splitext(file)
            if suffix.lower() in _SUFFIXES:
                entry = _SUFFIXES.index(suffix.lower()), os.path.join(directory, file)
                started = _STARTED.fullmatch(stem)
                for key in (stem, (started[1], float(started[2]))) if started else (stem,):
                    found[key] = min(found.get(key, entry), entry)  # by preference, in whatever order they come
    return found


def _find_audio(video, start, found, alone):
    """Return the path of a segment's audio, or None. A name without a start is enough if it is alone in its video."""
    keys = [(name, time) for time in (start, round(1000 * start)) for name in (video, "Y" + video)]
    return next((pathlib.Path(found[key][1]) for key in keys + ["Y" + video, video] * alone if key in found), None)
