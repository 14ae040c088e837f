"""Event lists of systems beside a reference: read from files of any format that can be imported, matched by name."""
import dataclasses
import logging
import pathlib

import numpy as np
import pandas as pd

from polysed_keras.audio import audio_info, search_folder
from polysed_keras.datasets import read_by_name, recording_key
from polysed_keras.errors import InputError, expect
from polysed_keras.events import COLUMNS, is_score_file, read_annotations, read_score_file, scores_to_events

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class EventLists:
    """Event lists of the same recordings: a reference, and what systems estimated.

    Attributes:
        recordings: names, sorted.
        labels: sorted, or as they were asked for.
        durations: seconds per recording, or None if they are not known.
        reference: dict of recording to its DataFrame of onset, offset (seconds) and event_label, sorted by all three.
        systems: dict of a system's name to such a dict.
        scores: dict of the names of systems that were given as files of scores to a dict of recording to
            events.read_score_file.
    """

    recordings: tuple
    labels: tuple
    durations: dict | None
    reference: dict
    systems: dict
    scores: dict = dataclasses.field(default_factory=dict)


def load_event_lists(reference, estimated, *, durations=None, audio=None, labels=None, threshold=0.5):
    """Load the event lists of systems and of the reference from files or folders.

    Recordings are those of the durations or of the audio, else those of a system's files of scores, which say how long
    they are too, else those of the reference. A recording that a list lacks has no events there; files of scores are
    needed for all. Files are matched by name, without folders and suffixes.

    Args:
        reference: a file or folder of event lists, in a format of events.read_annotations.
        estimated: list of such files or folders, or of folders with files of scores, one per system.
        durations: file of lines of file name, tab and seconds, with or without the header "filename duration".
        audio: folder of the recordings, in place of `durations`.
        labels: the labels to score, others are left out; None for all that there are.
        threshold: number, above which scores are events.

    Returns:
        EventLists.

    Raises:
        InputError: files that cannot be read, or a list of a recording that is not among the recordings.
    """
    names = _system_names(estimated)
    reference_lists, seconds = read_lists(reference), None
    scores = {name: found for name, path in names.items() if (found := read_scores(path))}
    systems = {name: {recording: scores_to_events(table, threshold) for recording, table in scores[name].items()}
               if name in scores else read_lists(path) for name, path in names.items()}
    if durations or audio:
        seconds = read_durations(durations) if durations else measure_durations(audio)
    elif scores:
        seconds = {name: table["offset"].iloc[-1] for name, table in next(iter(scores.values())).items()}
    where = durations or audio or reference
    known = seconds if seconds is not None else reference_lists
    for path, lists in [(reference, reference_lists), *zip(estimated, systems.values())]:
        _check_known(path, lists, known, where)
    for name in scores:
        lacking = sorted(set(known) - set(scores[name]))
        expect(not lacking, names[name], "a file of scores for each recording", f"none for {', '.join(lacking[:3])}")
    found = {label for lists in (reference_lists, *systems.values()) for events in lists.values()
             for label in events["event_label"]}
    labels = tuple(labels) if labels else tuple(sorted(found))
    expect(found & set(labels), "labels", f"some of those in the lists ({', '.join(sorted(found)) or 'none'})",
           ", ".join(labels))

    def complete(lists):
        return {name: _only(lists.get(name, _event_list(())), labels) for name in sorted(known)}

    return EventLists(tuple(sorted(known)), labels, seconds, complete(reference_lists),
                      {name: complete(lists) for name, lists in systems.items()}, scores)


def read_lists(path):
    """Read a file or folder of event lists: a dict of recording to its DataFrame; see load_event_lists."""
    path, lists, sources = pathlib.Path(path), {}, {}
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    nothing = files and all(file.stat().st_size == 0 for file in files)  # by which no format can be told
    for annotation in read_annotations(path, "sed_eval" if nothing else None)[1]:
        name = recording_key(annotation.recording)
        if name in lists:
            raise InputError(f"{annotation.source}: expected one list per recording. Received: {name} is in "
                             f"{sources[name]} too. Score folders with the same names one by one.")
        lists[name], sources[name] = _event_list(annotation.events), annotation.source
    return lists


def read_scores(path):
    """Read a file or a folder of files of scores: a dict of recording to its table; empty if they are no such files."""
    path = pathlib.Path(path)
    files = sorted(path.glob("*.tsv")) if path.is_dir() else [path]
    if not files or not is_score_file(files[0]):
        return {}
    scores = {recording_key(file.name.removesuffix(".tsv")): read_score_file(file) for file in files}
    columns = {tuple(table.columns) for table in scores.values()}
    expect(len(columns) == 1, path, "files of scores of the same labels", f"{len(columns)} different headers")
    return scores


def read_durations(path):
    """Read the seconds of recordings from a file of names and seconds: a dict of recording to seconds."""
    seconds = {}
    for place, name, value in read_by_name(path):
        try:
            seconds[recording_key(name)] = float(value)
        except ValueError as error:
            raise InputError(f"{place}: expected seconds after the file name. Received: {value}.") from error
    expect(seconds and min(seconds.values()) > 0, path, "seconds above 0 of at least one recording", seconds)
    return seconds


def measure_durations(folder):
    """Measure the recordings in a folder: a dict of recording to seconds."""
    expect(pathlib.Path(folder).is_dir(), folder, "a folder of audio files", "no such folder")
    seconds = {}
    for path in search_folder(pathlib.Path(folder)):
        name = recording_key(path.name)
        expect(name not in seconds, path, "recordings of different names", name, "Give --durations.")
        seconds[name] = audio_info(path).duration
    expect(seconds, folder, "a folder of audio files", "a folder without any")
    return seconds


def _system_names(paths):
    """Return {name: path} of systems: the last part of each path, or all of it if two would be called the same."""
    expect(paths and len(set(map(str, paths))) == len(paths), "ESTIMATED", "different files or folders",
           ", ".join(map(str, paths)))
    names = [pathlib.Path(path).stem for path in paths]
    return dict(zip(names if len(set(names)) == len(names) else map(str, paths), paths))


def _check_known(path, lists, known, where):
    unknown, missing = sorted(set(lists) - set(known)), sorted(set(known) - set(lists))
    expect(not unknown, path, f"lists of the recordings of {where}", f"{len(unknown)} others, such as {unknown[:1]}",
           "Give --durations or --audio, which say which recordings there are, also those without events.")
    if missing:
        logger.warning("%s: has no list of %d of the %d recordings of %s, such as %s, which count as without events.",
                       path, len(missing), len(known), where, missing[0])


def _event_list(rows):
    onsets, offsets, names = zip(*sorted(rows)) if rows else ((), (), ())
    return pd.DataFrame({"onset": np.array(onsets, float), "offset": np.array(offsets, float),
                         "event_label": pd.Series(names, dtype=str)})[COLUMNS]


def _only(events, labels):
    return events[events["event_label"].isin(labels)].reset_index(drop=True)
