"""Import of annotated recordings, in any format of `events.formats`, into the layout of `tut_sed_synthetic_2016`.

Everything that is left out or repaired is counted in the report; nothing is changed in silence.
"""
import collections
import logging
import math
import os
import pathlib
import re
import shutil

import pandas as pd

from polysed_keras.audio import audio_info
from polysed_keras.datasets.importing.pairs import find_recordings, match_annotations, partition_pairs
from polysed_keras.datasets.loading import PARTITIONS
from polysed_keras.datasets.statistics import count_recording, summarize
from polysed_keras.datasets.tut_sed_synthetic_2016 import write_file_lists
from polysed_keras.errors import InputError, expect
from polysed_keras.events import COLUMNS, PRECISION, clean, merge_events, read_annotations, write_events
from polysed_keras.files import atomic_directory, write_json
from polysed_keras.progress import progress_bar

_HINTS = {"recordings_without_annotation": " An empty annotation would say that nothing sounds."}
_NO_TEXT = re.compile(r"[\0-\x1f\x7f\ud800-\udfff]")  # The last range stands for bytes that are not UTF-8.
_log = logging.getLogger(__name__)


def import_recordings(audio_dir, annotations, out, *, format=None, labels=None, partition=None, seed=0, progress=False,
                      **reading):
    """Write a corpus of annotated recordings: audio/, meta/, evaluation_setup/, labels.txt and import.json, the report.

    Audio files are hard links if the file system has them, else copies. Recordings without an annotation are left out;
    an empty annotation says that nothing sounds. Same-label events that overlap or touch are merged; events are cut at
    the recording's end; points and events beyond the end are left out.

    Args:
        audio_dir: folder of audio files, with any subfolders.
        annotations: file or folder of annotations.
        out: the new folder; it appears when all is done.
        format: a name of ANNOTATION_FORMATS; None to find it out from the content.
        labels: the labels to import, in the order of the network's outputs; events with others are left out. None for
            all labels, sorted.
        partition: None, or a file of lines `filename TAB train|validate|test` (or a comma); recordings that it does not
            name are left out. None divides urban_sed by its folders, the rest at random: 60, 20 and 20 % of the
            recordings, and at least one each if there are three.
        seed: int, 0 or above, for the random partition.
        progress: bool, whether bars and lines of progress are shown.
        reading: label_column and encoding, see events.read_annotations.

    Returns:
        dict, as in import.json: the arguments, `partitions` (each `statistics.summarize`'s dict), `left_out`,
        `repaired` (number of events by kind), `repaired_recordings` and `sources` (both by recording).

    Raises:
        InputError: nothing to import; files that cannot be read; lines, names or partitions that are wrong; an audio
            file with two annotations or two audio files with one stem; `out` is not empty or cannot be written.

    Example:
        >>> report = import_recordings("recordings", "labels", "data")
        >>> report["left_out"], report["repaired"]
    """
    labels = _checked_labels(labels)
    expect(seed >= 0, "seed", "0 or a positive integer", seed)
    with atomic_directory(out) as folder:
        audio = find_recordings(pathlib.Path(audio_dir))
        format_found, found = read_annotations(annotations, format, **reading)
        pairs, left_out = match_annotations(found, audio)
        home = partition_pairs(pairs, audio, format_found, partition, seed)
        left_out["recordings_not_in_partition_file"] = [pair.name for pair in pairs if pair.name not in home]
        pairs = [pair for pair in pairs if pair.name in home]
        durations = _read_durations(pairs)
        events, repairs, left_out["unknown_labels"] = _repair_all(pairs, labels, durations)
        labels = labels or sorted({label for frame in events.values() for label in frame["event_label"]})
        if not any(len(frame) for frame in events.values()):
            unknown = ", ".join(sorted(left_out["unknown_labels"])) or "none"
            raise InputError(f"{annotations}: expected events of the labels. Received: none that can be imported from "
                             f"{len(events)} recordings (unknown labels: {unknown}). Check labels and recordings.")
        counts = {name: [count_recording(frame, labels, durations[stem]) for stem, frame in sorted(events.items())
                         if home[stem] == name] for name in PARTITIONS}
        report = {"audio": str(audio_dir), "annotations": str(annotations), "format": format_found,
                  "partition_file": partition and str(partition), "seed": seed, "labels": labels,
                  "partitions": {name: summarize(found, labels) for name, found in counts.items() if found},
                  "left_out": left_out, "repaired": dict(sum(repairs.values(), collections.Counter())),
                  "repaired_recordings": {name: dict(found) for name, found in repairs.items() if found},
                  "sources": {pair.name: [str(pair.audio), str(pair.annotation.source)] for pair in pairs}}
        _write(folder, pairs, events, home, labels, progress)
        write_json(report, folder / "import.json")
    _log_report(report, format is None)
    return report


def _checked_labels(labels):
    if labels is None:
        return None
    labels = [clean(label) for label in labels]
    if not labels or len(set(labels)) < len(labels) or "" in labels:
        raise InputError(f"labels: expected different labels, at least one. Received: {', '.join(labels) or 'none'}.")
    return labels


def _read_durations(pairs):
    """Return seconds by name of a pair. All unreadable files are named in one error."""
    durations, mistakes = {}, []
    for pair in pairs:
        try:
            if _NO_TEXT.search(pair.name):
                raise InputError(f"{pair.audio}: expected a name that is a line of text in UTF-8, because file "
                                 f"lists hold it. Received: {pair.name!r}. Rename it.")
            durations[pair.name] = audio_info(pair.audio).duration
        except (InputError, OSError) as error:
            mistakes.append(str(error))
    if mistakes:
        more = [f"and {len(mistakes) - 10} others"] if len(mistakes) > 10 else []
        raise InputError("\n".join(mistakes[:10] + more + ["Replace them, or take them and their annotations away."]))
    return durations


def _repair_all(pairs, labels, durations):
    events, repairs, unknown = {}, {}, collections.Counter()
    for pair in pairs:
        known = [event for event in pair.annotation.events if labels is None or event[2] in labels]
        unknown.update(event[2] for event in pair.annotation.events if labels is not None and event[2] not in labels)
        events[pair.name], repairs[pair.name] = _repair(known, durations[pair.name])
    return events, repairs, dict(unknown)


def _repair(rows, duration):
    """Return the events (DataFrame) cut to the recording and merged, and the number of repairs by kind."""
    kept, counts = [], collections.Counter()
    end = math.floor(1e6 * duration + 1e-3) / 1e6  # an event list file has six decimals
    for onset, offset, label in ((round(onset, 6), round(offset, 6), label) for onset, offset, label in rows):
        if offset - onset < PRECISION / 2:
            counts["points_left_out"] += 1
        elif onset > end - PRECISION:
            counts["beyond_end_left_out"] += 1
        else:
            counts["clipped_at_end"] += offset > end + 2 * PRECISION
            kept.append((onset, min(offset, end), label))
    merged = merge_events(pd.DataFrame(kept, columns=COLUMNS))
    counts["merged_overlaps"] = len(kept) - len(merged)
    return merged, +counts


def _write(folder, pairs, events, home, labels, progress):
    for part in ("audio", "meta"):
        (folder / part).mkdir()
    files = {name: [] for name in PARTITIONS}
    for pair in progress_bar(pairs, "recordings", unit="recording", shown=progress):
        file = f"{pair.name}{pair.audio.suffix}"
        try:
            os.link(pair.audio.resolve(), folder / "audio" / file)
        except OSError:  # another file system, or one without links
            shutil.copyfile(pair.audio, folder / "audio" / file)
        write_events(events[pair.name], folder / "meta" / f"{pair.name}.txt")
        files[home[pair.name]].append(file)
    write_file_lists(folder, files, labels)


def _log_report(report, tell_format):
    if tell_format:
        _log.info("format: %s, found out from the content.", report["format"])
    for what, items in report["left_out"].items():
        if items:
            shown = items if isinstance(items, list) else [f"{label} ({count})" for label, count in items.items()]
            more = f" and {len(shown) - 3} others" if len(shown) > 3 else ""
            _log.warning("left out: %d %s: %s%s.%s", len(shown), what.replace("_", " "), ", ".join(shown[:3]), more,
                         _HINTS.get(what, ""))
    if report["repaired"]:
        _log.warning("events: %s, in %d recordings.", ", ".join(
            f"{count} {what.replace('_', ' ')}" for what, count in report["repaired"].items()),
            len(report["repaired_recordings"]))
    for name in PARTITIONS:
        there = report["partitions"].get(name, {"labels": {}})["labels"]
        missing = [label for label in report["labels"] if not there.get(label, {"events": 0})["events"]]
        if missing:
            _log.warning("the %s partition has no event of %s.", name, ", ".join(missing))
