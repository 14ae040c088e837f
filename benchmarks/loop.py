"""What corrections bring: a simulated reviewer answers from the reference, and the model that learns is measured.

    python benchmarks/field_test.py halve esc50 --out data/esc50
    python benchmarks/loop.py data/esc50 --ambience ambience --out data/loop [--seeds 1 2 3] [--answers 20 50 100]

Fold 5 of the halved soundbank, which the shipped model never heard, is divided by sources once more: from one half an
hour of recordings is made that the reviewer hears, from the other an hour on which models are measured, both by
field_test.py's mixer. For each number of answers and each order of the questions, of which one is random, the shipped
model learns from them. Printed: the share of the events found with 20 false ones per hour, in hindsight and by the
model's own thresholds, of the ten labels of ESC-10.
"""
import argparse
import pathlib
import random

import numpy as np
from field_test import CLASSES, make, measure_recordings, read_folder, read_rows, reference_roll, write_rows
from timing import commit, table

from polysed_keras.display.review import CONTEXT, choose_questions, find_questions
from polysed_keras.evaluation import learn_corrections
from polysed_keras.events import (
    Answer,
    find_posterior_alarms,
    merge_corrections,
    read_events,
    recall_at_alarms,
)
from polysed_keras.events.corrections import KIND, Corrections
from polysed_keras.export import default_model, load_run_detector, load_trained
from polysed_keras.files import temporary_folder
from polysed_keras.serving import load_detector

RATE, LABELS = 20, sorted(CLASSES)
SIDES = {"reviewed": 0, "measured": 1}


def divide(soundbank, out):
    """Write two soundbanks with fold 5 of one, every source in one of them."""
    rows, numbers = [row for row in read_rows(soundbank) if row["fold"] == "5"], {}
    for side, place in SIDES.items():
        chosen = []
        for category in sorted({row["category"] for row in rows}):
            of_category = [row for row in rows if row["category"] == category]
            sources = sorted({row["src_file"] for row in of_category})
            kept = sources[place::2] or sources  # one source alone is in both, but never as a label that is measured
            numbers[category] = min(numbers.get(category, len(sources)), len(sources))
            chosen += [row for row in of_category if row["src_file"] in kept]
        write_rows(chosen, soundbank, out / side / "sounds")
    return [label for label in LABELS if numbers.get(label, 0) > 1]


def reply(question, events):
    """Answer a question from the reference, as a person who hears well: with the event's own edges."""
    touching = events[(events.event_label == question.label) & (events.onset < question.offset)
                      & (question.onset < events.offset)]
    asked = (question.onset, question.offset)
    heard = (max(0.0, question.onset - CONTEXT), question.offset + CONTEXT)
    if touching.empty:
        return Answer(question.path.name, question.label, *asked, "no", heard, asked, question.confidence)
    event = touching.iloc[0]
    return Answer(question.path.name, question.label, event.onset, event.offset, "yes", heard, asked,
                  question.confidence)


def measure(detector, recordings, labels):
    """Return the shares of events found at RATE false ones per hour, in hindsight and by own thresholds; false ones."""
    resolution = detector.time_resolution
    columns = [detector.labels.index(label) for label in labels]
    heard = [(name, detector.posteriors(path)[0], events) for name, path, events in recordings]
    alarms = [find_posterior_alarms(reference_roll(posteriors, events, labels, resolution), posteriors[:, columns],
                                    labels, resolution) for _, posteriors, events in heard]
    rule = detector.event_rule(alarms_per_hour=RATE)
    false, _, found = measure_recordings(detector, heard, rule, labels)
    return recall_at_alarms(alarms, RATE)[-1], found, false


def learn_answers(answers, recordings, run):
    """Return the detector that the shipped model becomes by answers about some of the recordings, {name: path}."""
    experiment, network, calibration, origin = load_trained(default_model())
    names = {answer.recording for answer in answers}
    heard = {name: path for name, path in recordings.items() if name in names}
    learn_corrections(experiment, network, answers, heard, run, calibration=calibration, extra=origin)
    return load_run_detector(run)


def spread(values):
    """Return the mean and the range of several values as a text."""
    return f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main():
    """Print a table of the mean and the range over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("soundbank")
    parser.add_argument("--ambience", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--answers", type=int, nargs="+", default=[20, 50, 100])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3],
                        help="of the recordings; with 0 the settings of the learning were chosen")
    parser.add_argument("--recordings", type=int, default=20, help="of three minutes, in each half")
    arguments = parser.parse_args()
    labels, shipped, results = divide(arguments.soundbank, arguments.out), load_detector(default_model()), {}
    for seed in arguments.seeds:
        folders = {side: arguments.out / side / f"seed{seed}" for side in SIDES}
        for side, folder in folders.items():
            make(arguments.out / side / "sounds", "5", arguments.ambience, folder, labels,
                 recordings=arguments.recordings, seed=10 * seed + SIDES[side])
        reviewed = {path.name: path for _, path, _ in read_folder(folders["reviewed"] / "field")}
        reference = {name: read_events(path.with_suffix(".tsv")) for name, path in reviewed.items()}
        measured = list(read_folder(folders["measured"] / "field"))
        results.setdefault((0, "none"), []).append(measure(shipped, measured, labels))
        print(f"seed {seed}, no answers:", results[0, "none"][-1], flush=True)
        found = list(find_questions(list(reviewed.values()), shipped, labels=labels, alarms_per_hour=RATE))
        for number in arguments.answers:
            for order in ("informative", "random"):
                asked = (choose_questions(found, number, order) if order != "random"
                         else random.Random(seed).sample(found, min(number, len(found))))
                answers = [reply(question, reference[question.path.name]) for question in asked]
                answers, _ = merge_corrections([Corrections(KIND, answers)])
                with temporary_folder() as temporary:
                    detector = learn_answers(answers, reviewed, temporary / "run")
                    results.setdefault((number, order), []).append(measure(detector, measured, labels))
                yes = sum(answer.answer == "yes" for answer in answers)
                print(f"seed {seed}, {number} answers, {order}, {yes} yes:", results[number, order][-1], flush=True)
    rows = [(number, order, *map(spread, zip(*measures))) for (number, order), measures in results.items()]
    print(f"commit {commit()}, {len(labels)} labels, seeds {arguments.seeds}\n")
    print(table(("answers", "order", f"found at {RATE} false per hour, in hindsight", "found by own thresholds",
                 "false per hour by own thresholds"), rows))


if __name__ == "__main__":
    main()
