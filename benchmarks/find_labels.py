"""New labels from one example each: found in recordings, answered by a simulated reviewer, learnt, and measured.

    python benchmarks/field_test.py halve esc50 --out data/esc50
    python benchmarks/find_labels.py data/esc50 --new new --ambience ambience --out data/find [--seeds 1 2 3]

`new` has a folder per label, which the shipped model does not know, and in it a file or a folder of files per source,
such as a speaker or a piece of music; four sources at least. One source of each label, drawn by the seed, gives the
example; the others are divided between an hour of recordings in which the example's neighbours are found (`polysed
find`) and answered from the reference, and an hour on which the model is measured that has learnt from these answers
(`polysed learn`). The sounds of the 50 known labels, from fold 5 as in loop.py, are mixed in as other sounds.

Printed: how many of the sounds found are right, of the first ten and of all; and the share of the events of the new
labels that is found with 20 false ones per hour, in hindsight and by the thresholds that the answers gave, beside that
of YAMNet's own class of this name, which knew it all along.
"""
import argparse
import pathlib
import random

import numpy as np
import soundfile as sf
from field_test import RATE, Mapped, make, read_folder, read_rows, write_table
from loop import RATE as ALARMS, SIDES, divide, learn_answers, measure, reply, spread
from timing import commit, table

from polysed_keras.audio import find_audio, load_audio
from polysed_keras.detection import embed_recordings, find_nearest
from polysed_keras.display import Question
from polysed_keras.events import merge_corrections, read_events
from polysed_keras.events.corrections import KIND, Corrections
from polysed_keras.files import temporary_folder

CLIPS, SECONDS = 8, 5  # of each source


def cut_clips(source):
    """Return clips of SECONDS of a source, all of its files one after the other."""
    paths = find_audio([source])
    sound = np.concatenate([load_audio(path, RATE) for path in paths[:40 * CLIPS]])
    length = SECONDS * RATE
    return [sound[begin:begin + length] for begin in range(0, len(sound) - length + 1, length)][:CLIPS]


def add_sounds(folder, sources):
    """Add sources of labels, {label: [path]}, to a soundbank of `divide`, whose audio is a link."""
    rows, audio = read_rows(folder), folder / "audio"
    others = audio.resolve()
    audio.unlink()
    audio.mkdir()
    for row in rows:
        (audio / row["filename"]).symlink_to(others / row["filename"])
    for label, paths in sources.items():
        for path in paths:
            for index, clip in enumerate(cut_clips(path)):
                name = f"{label}-{path.stem}-{index}.wav"
                sf.write(audio / name, clip, RATE)
                rows.append(dict(rows[0], filename=name, fold="5", category=label, src_file=path.stem))
    write_table(rows, folder)


def try_seed(arguments, labels, seed, out):
    """Return {(label, detector): (found in hindsight, by thresholds, false per hour)}, and {label: precisions}."""
    divide(arguments.soundbank, out)
    examples, sides = {}, {side: {} for side in SIDES}
    for label in labels:
        sources = sorted((arguments.new / label).iterdir())
        random.Random(f"{seed} {label}").shuffle(sources)
        sf.write(out / f"{label}.wav", cut_clips(sources[0])[0], RATE)
        examples[label] = out / f"{label}.wav"
        for side, place in SIDES.items():
            sides[side][label] = sources[1 + place::2]
    for side, place in SIDES.items():
        add_sounds(out / side / "sounds", sides[side])
        make(out / side / "sounds", "5", arguments.ambience, out / side / "field_test", labels, seed=100 * seed + place)
    reviewed, measured = (list(read_folder(out / side / "field_test" / "field")) for side in SIDES)
    embeddings, answers, right = embed_recordings([path for _, path, _ in reviewed], progress=False), [], {}
    for label, example in examples.items():
        nearest = find_nearest(embed_recordings([example], progress=False), embeddings, arguments.number)
        said = [reply(Question(row.recording, label, row.onset, row.offset, row.similarity),
                      read_events(row.recording.with_suffix(".tsv"))) for row in nearest.itertuples()]
        yes = [answer.answer == "yes" for answer in said]
        right[label] = np.mean(yes[:10]), np.mean(yes)
        answers += said
    answers, _ = merge_corrections([Corrections(KIND, answers)])
    yamnet = Mapped(arguments.yamnet, {label: [label.capitalize()] for label in labels})
    with temporary_folder() as temporary:
        detector = learn_answers(answers, {path.name: path for _, path, _ in reviewed}, temporary / "run")
        found = {(label, name): measure(each, measured, [label])
                 for label in labels for name, each in (("learnt", detector), ("YAMNet's class", yamnet))}
    return found, right


def main():
    """Print a table of the mean and the range over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("soundbank")
    parser.add_argument("--new", type=pathlib.Path, required=True)
    parser.add_argument("--ambience", required=True)
    parser.add_argument("--yamnet", default="saved_models/yamnet_audioset")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--number", type=int, default=50, help="sounds that are found and answered per label")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    labels, found, right = sorted(path.name for path in arguments.new.iterdir()), {}, {}
    for seed in arguments.seeds:
        measured, precisions = try_seed(arguments, labels, seed, arguments.out / f"seed{seed}")
        for key, values in measured.items():
            found.setdefault(key, []).append(values)
        for label, values in precisions.items():
            right.setdefault(label, []).append(values)
        print(f"seed {seed}:", measured, precisions, flush=True)
    print(f"commit {commit()}, seeds {arguments.seeds}, {arguments.number} answers per label\n")
    print(table(("label", "right of the first 10", f"right of {arguments.number}"),
                [(label, *map(spread, zip(*values))) for label, values in right.items()]), end="\n\n")
    print(table(("label", "detector", f"found at {ALARMS} false per hour, in hindsight", "found by own thresholds",
                 "false per hour by own thresholds"),
                [(*key, *map(spread, zip(*values))) for key, values in found.items()]))


if __name__ == "__main__":
    main()
