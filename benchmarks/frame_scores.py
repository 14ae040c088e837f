"""How long frame-based F1 takes here and in sed_eval: 20 recordings of 340 s in frames of 20 ms, in one run.

    python benchmarks/frame_scores.py

Both get the same event lists of 16 labels and compute F1 and error rate, overall and by label, in turns, in seconds of
processor time, of which other programs take none. The scores are equal, or the script fails.
"""
import argparse
import time
import warnings

import numpy as np
import pandas as pd
from timing import by_turns, in_words, ratios, table, verdict

from polysed_keras.events import (
    COLUMNS,
    error_counts,
    error_rates,
    event_list_to_event_roll,
    f_score,
)

RESOLUTION, SECONDS, RECORDINGS, AT_LEAST = 0.02, 340.0, 20, 400
LABELS = [f"label {number:02d}" for number in range(16)]


def random_lists(rng):
    """Return a reference of 80 events and an estimate of it, with edges off the frames' (there sed_eval is one off)."""
    onsets = np.floor(rng.uniform(0, SECONDS - 21, 80) / RESOLUTION)
    lengths = np.floor(rng.uniform(0.5, 20, 80) / RESOLUTION)
    labels = rng.choice(LABELS, 80)
    shifts = rng.integers(-20, 21, (2, 80))
    lists = []
    for begin, end, names in ((onsets, onsets + lengths, labels),
                              (np.maximum(onsets + shifts[0], 0), onsets + lengths + shifts[1] + 25,
                               np.where(rng.random(80) < 0.8, labels, rng.choice(LABELS, 80)))):
        events = zip((begin + 0.25) * RESOLUTION, (end - 0.25) * RESOLUTION, names)
        lists.append(pd.DataFrame(sorted(events), columns=COLUMNS))
    return lists


def score_here(pairs):
    """Return F1 overall and by label, and the error rate, of pairs of DataFrames."""
    frames = round(SECONDS / RESOLUTION)
    counts = sum(error_counts(*(event_list_to_event_roll(events, LABELS, frames, RESOLUTION) for events in pair))
                 for pair in pairs)
    return [f_score(counts[:-1, :3]), *f_score(counts[:-1, :3], None), error_rates(counts)[-1, 0]]


def score_by_sed_eval(pairs):
    """Return the same of pairs of lists of dicts, as sed_eval takes them."""
    import sed_eval
    metrics = sed_eval.sound_event.SegmentBasedMetrics(LABELS, time_resolution=RESOLUTION)
    for pair in pairs:
        metrics.evaluate(*pair, evaluated_length_seconds=SECONDS)
    overall, by_label = metrics.results_overall_metrics(), metrics.results_class_wise_metrics()
    return [overall["f_measure"]["f_measure"], *(by_label[label]["f_measure"]["f_measure"] for label in LABELS),
            overall["error_rate"]["error_rate"]]


def main():
    """Score by turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    ours = [random_lists(rng) for _ in range(RECORDINGS)]
    theirs = [[[{"event_onset": onset, "event_offset": offset, "event_label": label, "file": str(number)}
                for onset, offset, label in events.itertuples(index=False)] for events in pair]
              for number, pair in enumerate(ours)]
    np.testing.assert_allclose(score_here(ours), score_by_sed_eval(theirs), atol=1e-9)  # and both are imported
    seconds = by_turns({"here": lambda: score_here(ours), "sed_eval": lambda: score_by_sed_eval(theirs)},
                       arguments.rounds, clock=time.process_time)
    gain = ratios(seconds["sed_eval"], seconds["here"])
    print(table(("frame-based F1 and error rate", "here, s", "sed_eval, s", "ratio", "at least"), [
        (f"{RECORDINGS * SECONDS / RESOLUTION:,.0f} frames, {len(LABELS)} labels", in_words(seconds["here"]),
         in_words(seconds["sed_eval"]), in_words(gain), verdict(gain, AT_LEAST))]))


if __name__ == "__main__":
    main()
