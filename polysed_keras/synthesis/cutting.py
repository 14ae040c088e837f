"""Soundbanks from corrections: the events that people have confirmed, cut out of their recordings."""
import collections
import pathlib

import numpy as np

from polysed_keras.audio import audio_info, load_excerpts, write_audio
from polysed_keras.errors import InputError, expect
from polysed_keras.events import confirmed_events
from polysed_keras.files import atomic_file, path_inside, short_name
from polysed_keras.synthesis.soundbank import BESIDES

OTHER = "other"  # of BESIDES: the soundbank's folder of sounds that have none of its labels
MARGIN = 0.1  # seconds before and after an event
PEAK = 0.99


def cut_events(answers, recordings, out):
    """Cut the confirmed events out of recordings into a soundbank, and what was refused into its folder `other`.

    The events of one recording go to a folder of its name, so that they count as takes of one source and stay in one
    partition. A refused sound that overlaps a confirmed event is left out.

    Args:
        answers: list of events.Answer.
        recordings: {name: path}, as of events.find_recordings.
        out: the soundbank's folder, which may hold recordings already.

    Returns:
        {label or OTHER: number of recordings that were written}, sorted.

    Raises:
        InputError: nothing was confirmed; a label cannot be the name of a folder; audio or folder as of load_excerpts
            and atomic_file.

    Example:
        >>> answers, _ = merge_corrections([read_corrections("street.corrections.json")])    # doctest: +SKIP
        >>> cut_events(answers, find_recordings(answers, "recordings"), "sounds")    # doctest: +SKIP
        {'dog': 12, 'other': 30}
    """
    out, numbers = pathlib.Path(out), collections.Counter()
    for label in sorted({answer.label for answer in answers}):
        path_inside(out, label, "corrections: label")
        expect(pathlib.PurePath(label).name == label and label.casefold() not in BESIDES, "corrections: label",
               "one that can be the name of a folder", label)
    confirmed = {name: confirmed_events(answers, name) for name in recordings}
    if not any(len(events) for events in confirmed.values()):
        raise InputError("corrections: expected events that are there. Received: none. Answer more of them by yes, or "
                         "add some.")
    for name, path in recordings.items():
        events = confirmed[name]
        cuts = list(zip(events["event_label"], events["onset"], events["offset"]))
        cuts += [(OTHER, answer.onset, answer.offset) for answer in answers
                 if answer.recording == name and answer.answer == "no" and not (
                     (events["onset"] < answer.offset) & (answer.onset < events["offset"])).any()]
        if not cuts:
            continue
        rate = audio_info(path).sample_rate
        sounds = load_excerpts(path, [(max(0.0, onset - MARGIN), offset + MARGIN) for _, onset, offset in cuts], rate)
        for (label, onset, _), sound in zip(cuts, sounds):
            peak = np.abs(sound).max(initial=0.0)
            if not len(sound):
                continue
            with atomic_file(out / label / short_name(path.stem) / f"{onset:08.2f}.wav") as temporary:
                write_audio(temporary, sound * min(1.0, PEAK / max(peak, 1e-9)), rate, "PCM_16")
            numbers[label] += 1
    return dict(sorted(numbers.items()))
