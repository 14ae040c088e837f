"""One HTML page on which a person says which events of a detector are right; it needs no server and no network.

review.html, review.css and review.js are joined with short excerpts of the recordings around the events that are asked
about, so that the page of an hour stays small. The person's answers stay in the browser until they are saved as a file
of corrections (events.corrections).
"""
import collections
import dataclasses
import hashlib
import pathlib

import numpy as np

from polysed_keras.audio import audio_info, load_excerpts
from polysed_keras.datasets import by_name, match_annotations
from polysed_keras.display.viewer import (
    SAMPLE_RATE,
    encode_mp3,
    fill_template,
    printable_name,
    spectrogram_images,
    to_base64,
)
from polysed_keras.errors import InputError, expect, expect_known
from polysed_keras.events import FAINTEST_ASKED, KIND, logit_distance, read_annotations
from polysed_keras.files import FORMAT, FORMAT_KEY, atomic_file, file_digest
from polysed_keras.specs import LogMelSpec

ORDERS = ("informative", "confident", "loudest", "time")
CONTEXT = 1.5  # seconds of an excerpt before and after the event
LONGEST = 12.0  # seconds of an excerpt; of a longer event its beginning is heard


@dataclasses.dataclass(frozen=True)
class Question:
    """An event that is asked about.

    Attributes:
        path: audio file.
        label: str.
        onset, offset: seconds.
        confidence: of the detector; None if it is not known.
        threshold: which the confidence must reach for the detector to report it; None if there is none.
    """

    path: pathlib.Path
    label: str
    onset: float
    offset: float
    confidence: float | None = None
    threshold: float | None = None

    @property
    def distance(self):
        """How far the confidence is from the threshold, as a difference of logits."""
        return abs(logit_distance(self.confidence, self.threshold))

    @property
    def is_reported(self):
        """Whether the detector reports it."""
        return self.threshold is None or self.confidence >= self.threshold


def find_questions(paths, detector, *, labels=None, alarms_per_hour=None, faintest=FAINTEST_ASKED):
    """Find the events of recordings that can be asked about: those that a detector reports, and fainter ones.

    Args:
        paths: audio files.
        detector: Detector of a model that detects events.
        labels: the labels wanted; None for all.
        alarms_per_hour: as of Detector.detect, whose thresholds are those that events are near to.
        faintest: the lowest confidence.

    Yields:
        Question, recording by recording.

    Raises:
        InputError: as of Detector.detect.
    """
    rule = detector.event_rule(alarms_per_hour=alarms_per_hour)
    thresholds = np.broadcast_to(rule.get("threshold", 0.5), len(detector.labels)).tolist()
    by_label = dict(zip(detector.labels, thresholds))
    for path in paths:
        # In posteriors also where a model decodes activity, whose events have no fainter ones beside them.
        events = detector.detect(path, labels=labels, **rule | {"threshold": faintest})
        for event in events.itertuples():
            yield Question(path, event.event_label, event.onset, event.offset, event.confidence,
                           by_label[event.event_label])


def read_questions(annotations, paths, *, labels=None):
    """Read events to ask about, such as those that another program has found.

    Args:
        annotations: file or folder of events, as of events.read_annotations.
        paths: audio files.
        labels: the labels wanted; None for all.

    Returns:
        List of Question without a confidence, by recording and time.

    Raises:
        InputError: as of read_annotations; or no event is of one of the recordings.
    """
    pairs, _ = match_annotations(read_annotations(annotations)[1], by_name(paths))
    return [Question(pair.audio, label, onset, offset) for pair in pairs
            for onset, offset, label in sorted(pair.annotation.events)
            if onset < offset and (not labels or label in labels)]


def find_disagreements(questions, others):
    """Find the events on which two lists disagree: those that no event of the label in the other list overlaps.

    Args:
        questions: list of Question, such as those of find_questions that are reported.
        others: list of Question, such as that of read_questions.

    Returns:
        List of Question, by recording and time.
    """
    found = []
    for each, other in ((questions, others), (others, questions)):
        spans = collections.defaultdict(list)
        for question in other:
            spans[question.path, question.label].append((question.onset, question.offset))
        found += [question for question in each
                  if not any(onset < question.offset and question.onset < offset
                             for onset, offset in spans[question.path, question.label])]
    return sorted(found, key=lambda question: (question.path, question.onset))


def choose_questions(questions, number, order="informative"):
    """Choose and order the questions of a page.

    Args:
        questions: iterable of Question.
        number: how many at most.
        order: "informative": labels take turns, those with the fewest events first, each with the event whose
            confidence is nearest to its threshold, because an answer to it moves the threshold most; "confident":
            highest confidence first; "loudest": highest level first, the mean of the squared samples; "time": in the
            order of the recordings.

    Returns:
        List of Question.

    Raises:
        InputError: another order; unreadable audio, of which the loudest parts are wanted.
    """
    expect_known(order, ORDERS, "order")
    questions = list(questions)
    if order == "confident":
        questions.sort(key=lambda question: -(question.confidence or 0.0))
    if order == "loudest":
        questions = [questions[index] for index in np.argsort(-_powers(questions), kind="stable")]
    if order != "informative" or any(question.threshold is None for question in questions):
        return questions[:number]
    by_label = collections.defaultdict(list)
    for question in sorted(questions, key=lambda question: question.distance):
        by_label[question.label].append(question)
    turns = [(turn, len(asked), label, question) for label, asked in by_label.items()
             for turn, question in enumerate(asked)]
    return [question for *_, question in sorted(turns, key=lambda turn: turn[:3])][:number]


def _powers(questions):
    """Return the mean of the squared samples of each event, float array."""
    powers = np.zeros(len(questions))
    for path, indices in _by_recording(questions).items():
        spans = [(questions[index].onset, questions[index].offset) for index in indices]
        for index, sound in zip(indices, load_excerpts(path, spans, SAMPLE_RATE)):
            powers[index] = np.mean(np.square(sound, dtype=float)) if len(sound) else 0.0
    return powers


def _by_recording(questions):
    """Return {path: indices of its questions}."""
    by_path = collections.defaultdict(list)
    for index, question in enumerate(questions):
        by_path[question.path].append(index)
    return by_path


def build_review(questions, *, labels, model="", features=None):
    """Build the page that asks questions.

    Args:
        questions: list of Question.
        labels: list of str, the labels that the page offers; others can be typed.
        model: name of the model, which is saved with the answers.
        features: LogMelSpec of the spectrograms; None for the default.

    Returns:
        str, the HTML text, of about 100 kB per question.

    Raises:
        InputError: there is no question; two recordings have one name; unreadable audio.
    """
    if not questions:
        raise InputError("review: expected events to ask about. Received: none. Take other recordings, or ask for "
                         "other --labels.")
    features, by_path = features or LogMelSpec(), _by_recording(questions)
    names = {}
    for path in by_path:
        expect(names.setdefault(path.name, path) == path, "review", "recordings with different names",
               f"{names[path.name]} and {path}", "Review them on pages of their own.")
    items = [None] * len(questions)
    for path, numbers in by_path.items():
        length, digest = audio_info(path).duration, file_digest(path)
        spans = [_excerpt(questions[number], length) for number in numbers]
        sounds, heard = (load_excerpts(path, spans, rate) for rate in (SAMPLE_RATE, features.sample_rate))
        for number, span, sound, waveform in zip(numbers, spans, sounds, heard):
            question = questions[number]
            items[number] = {
                "recording": printable_name(path), "digest": digest, "label": question.label,
                "asked": [question.onset, question.offset], "confidence": question.confidence,
                "threshold": question.threshold, "heard": [span[0], span[0] + len(sound) / SAMPLE_RATE],
                "audio": to_base64(encode_mp3(sound)), "spectrogram": spectrogram_images(waveform, features)}
    said = "".join(f"{item['recording']}{item['digest']}{item['label']}{item['asked']}" for item in items)
    return fill_template("review", model or "events", {
        "id": hashlib.sha256(said.encode()).hexdigest()[:12], "kind": KIND, "formatKey": FORMAT_KEY, "format": FORMAT,
        "model": model, "labels": sorted({*labels, *(question.label for question in questions)}), "items": items})


def write_review(questions, path, **options):
    """Write the page of build_review to a file, atomically.

    Args:
        questions: see build_review.
        path: HTML file to write.
        options: see build_review.

    Raises:
        InputError: see build_review; or the file cannot be written.

    Example:
        >>> detector, street = ps.load_detector(), pathlib.Path("street.wav")
        >>> questions = choose_questions(find_questions([street], detector), 50)
        >>> write_review(questions, "street.html", labels=detector.labels)    # doctest: +SKIP
    """
    page = build_review(questions, **options)
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _excerpt(question, length):
    begin = max(0.0, question.onset - CONTEXT)
    end = min(question.offset + CONTEXT, begin + LONGEST)
    return begin, min(end, length) if length else end
