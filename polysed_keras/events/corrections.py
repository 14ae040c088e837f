"""Corrections: what people have said of a detector's events, and what is known of recordings by it."""
import dataclasses
import itertools
import typing

import msgspec
import numpy as np
import pandas as pd
from scipy.special import logit

from polysed_keras.audio import visible_audio, walk_files
from polysed_keras.errors import InputError, expect
from polysed_keras.events.event_lists import make_events
from polysed_keras.files import check_label, file_digest, read_json

KIND = "polysed corrections"  # in each file, so that another JSON file is not taken for one
FAINTEST_ASKED = 0.02  # confidence of the events that people may be asked about
YES, NO, UNSURE, OPEN = "yes", "no", "unsure", "open"
Seconds = typing.Annotated[float, msgspec.Meta(ge=0)]


@dataclasses.dataclass(frozen=True)
class Answer:
    """Answer of a person about one event.

    Attributes:
        recording: name of the audio file, without folders.
        label: the label of the event.
        onset, offset: seconds of the event as the person left it, with edges that may have been moved.
        answer: "yes" if it is there, "no" if it is not, "unsure", or "open" if there was no answer.
        heard: begin and end, in seconds, of the excerpt that the person saw and heard.
        asked: onset and offset, in seconds, of the event that was asked about; None for one that the person has added.
        confidence: confidence of the event that was asked about, if it is known.
        digest: digest of the recording's content (files.file_digest), if it is known.
    """

    recording: typing.Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    label: str
    onset: Seconds
    offset: Seconds
    answer: typing.Literal["yes", "no", "unsure", "open"]
    heard: tuple[Seconds, Seconds]
    asked: tuple[Seconds, Seconds] | None = None
    confidence: float | None = None
    digest: str | None = None


@dataclasses.dataclass(frozen=True)
class Corrections:
    """The content of one file of corrections, as the page of `polysed review` saves it.

    Attributes:
        kind: KIND.
        answers: list of Answer.
        model: name of the model whose events were asked about.
        reviewer: who answered.
    """

    kind: typing.Literal["polysed corrections"]
    answers: list[Answer]
    model: str = ""
    reviewer: str = ""


def read_corrections(path):
    """Read a file of corrections.

    Args:
        path: JSON file that the page of `polysed review` has saved.

    Returns:
        Corrections.

    Raises:
        InputError: the file is missing or holds something else; a label or time of it cannot be; it has no answer.

    Example:
        >>> read_corrections("street.corrections.json").answers[0].label    # doctest: +SKIP
        'dog'
    """
    corrections = read_json(path, Corrections)
    for answer in corrections.answers:
        check_label(answer.label, str(path))
        for begin, end in (answer.heard, (answer.onset, answer.offset), answer.asked or (0, 1)):
            expect(begin < end and np.isfinite(end), f"{path}: {answer.recording}",
                   "a begin before its end, in seconds", f"{begin:g} and {end:g}")
    if all(answer.answer == OPEN for answer in corrections.answers):
        raise InputError(f"{path}: expected at least one answer. Received: {len(corrections.answers)} events without "
                         "one. Answer some on the page, and save again.")
    return corrections


def logit_distance(confidences, thresholds):
    """Return how far confidences are above thresholds, numbers or arrays from 0 to 1, as differences of logits."""
    return np.subtract(*(logit(np.clip(np.asarray(each, float), 1e-4, 1 - 1e-4)) for each in (confidences, thresholds)))


def merge_corrections(several):
    """Merge what several people have said, and tell where they disagree.

    An event that several were asked about gets the answer of most of them, of those that are neither open nor unsure;
    without a majority it is unsure. Its edges are the medians of those who said yes. Events that people have added
    stay; where two of one label overlap, they are one. A file that is given twice counts once.

    Args:
        several: list of Corrections.

    Returns:
        List of Answer; and a DataFrame of the disagreements, a row per event, with the columns recording, label, onset,
        offset, yes and no (numbers of people).
    """
    asked, added, disagreements = {}, [], []
    for corrections in {_content(each): each for each in several}.values():
        for answer in corrections.answers:
            if answer.asked is None:
                added.append(answer)
            else:
                asked.setdefault((answer.recording, answer.label, answer.asked), []).append(answer)
    merged = []
    for (recording, label, (onset, offset)), answers in asked.items():
        votes = {each: [answer for answer in answers if answer.answer == each] for each in (YES, NO, UNSURE, OPEN)}
        yes, no = len(votes[YES]), len(votes[NO])
        if yes and no:
            disagreements.append((recording, label, onset, offset, yes, no))
        choice = YES if yes > no else NO if no > yes else UNSURE if yes or votes[UNSURE] else OPEN
        chosen = votes[choice] or answers
        merged.append(dataclasses.replace(
            chosen[0], answer=choice, onset=float(np.median([answer.onset for answer in chosen])),
            offset=float(np.median([answer.offset for answer in chosen]))))
    order = sorted(added, key=lambda answer: (answer.recording, answer.label, answer.onset))
    for _, group in itertools.groupby(order, lambda answer: (answer.recording, answer.label)):
        last = None
        for answer in group:
            if last is not None and answer.onset < merged[last].offset:
                merged[last] = dataclasses.replace(merged[last], offset=max(merged[last].offset, answer.offset),
                                                   heard=_hull(merged[last].heard, answer.heard))
            else:
                last = len(merged)
                merged.append(answer)
    return merged, pd.DataFrame(disagreements, columns=["recording", "label", "onset", "offset", "yes", "no"])


def _content(corrections):
    return tuple(corrections.answers), corrections.reviewer


def _hull(first, second):
    return min(first[0], second[0]), max(first[1], second[1])


def confirmed_events(answers, recording):
    """Return the events of a recording that are there, as of make_events: overlapping ones of a label are one.

    Args:
        answers: list of Answer.
        recording: name of the audio file.
    """
    return make_events([(answer.onset, answer.offset, answer.label) for answer in answers
                        if answer.recording == recording and answer.answer == YES], recording)


def known_activity(answers, recording, labels, num_frames, time_resolution):
    """Say of each frame of a recording, and each label, whether it is known, and whether the label is active.

    Known is the label that was asked about, in the excerpt that the person heard, but for events of the label there
    that have no answer or an unsure one; and what was confirmed, refused or added. Of other labels nothing is known.

    Args:
        answers: list of Answer, as of merge_corrections.
        recording: name of the audio file.
        labels: labels in the order of the columns.
        num_frames: number of frames of the recording.
        time_resolution: seconds per frame.

    Returns:
        known and active, bool arrays (frames, labels). A frame counts if its middle is within.
    """
    known, unknown, active = (np.zeros((num_frames, len(labels)), bool) for _ in range(3))
    middles = (np.arange(num_frames) + 0.5) * time_resolution
    for answer in answers:
        if answer.recording != recording or answer.label not in labels:
            continue
        column = labels.index(answer.label)
        inside = (answer.onset <= middles) & (middles < answer.offset)
        if answer.answer in (OPEN, UNSURE):
            unknown[inside, column] = True
        else:
            known[inside, column] = True
            if answer.asked is not None:
                known[(answer.heard[0] <= middles) & (middles < answer.heard[1]), column] = True
        if answer.answer == YES:
            active[inside, column] = True
    return (known & ~unknown) | active, active


def find_recordings(answers, folder):
    """Find the recordings of answers in a folder and its folders.

    Args:
        answers: list of Answer.
        folder: the folder.

    Returns:
        {name: pathlib.Path}.

    Raises:
        InputError: a recording is not there, is there twice, or has other content than the one that was heard.
    """
    names, found = {answer.recording: answer.digest for answer in answers}, {}
    for path in visible_audio(walk_files(folder), folder):
        if path.name in names:
            if path.name in found:
                raise InputError(f"{folder}: expected one file {path.name}. Received: {found[path.name]} and {path}. "
                                 "Move one of them elsewhere.")
            found[path.name] = path
    if missing := sorted(set(names) - set(found)):
        raise InputError(f"{folder}: expected the recordings that the corrections are of. Received: none of the name "
                         f"{', '.join(missing[:5])}{' ...' * (len(missing) > 5)}. Name their folder by --audio.")
    for name, digest in names.items():
        if digest not in (None, file_digest(found[name])):
            raise InputError(f"{found[name]}: expected the recording that was reviewed. Received: another content "
                             "under its name. Bring back the one that was reviewed, or review this one.")
    return found
