"""What detectors find in the field: recordings mixed here, from sounds that they never heard, and their false events.

    python benchmarks/field_test.py halve esc50 --out data/esc50          # fold 4 becomes folds 4 and 5
    python benchmarks/field_test.py make data/esc50 --fold 5 --ambience ambience --out data/field
    python benchmarks/field_test.py score saved_models/everyday --data data/field
    python benchmarks/field_test.py score --yamnet saved_models/yamnet_audioset --data data/field

`make` writes three folders: `field`, an hour of ambience and pink noise in which sounds of the labels (the ten of
ESC-10, or --labels) come every 10 to 20 s, 6 to 18 dB above it, and other sounds of the soundbank between and over
them; `quiet`, noise of -70 to -20 dBFS and ambience, without any sound; `clips`, the sounds themselves. The mixer is
not that of `polysed synthesize`. With --voices, a folder of speech, some ambience is a babble of eight: harder.

`score` says what a model finds in hindsight, at the lowest threshold common to all labels, and by its own thresholds.
"""
import argparse
import csv
import os
import pathlib
import sys

import numpy as np
import pandas as pd
import soundfile as sf

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # the package need not be installed
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
from polysed_keras.audio import find_audio, load_audio  # noqa: E402
from polysed_keras.events import (  # noqa: E402
    ALARMS_PER_HOUR,
    COLUMNS,
    event_list_to_event_roll,
    find_alarms,
    find_posterior_alarms,
    join_alarms,
    posteriors_to_events,
    recall_at_alarms,
)
from polysed_keras.serving import load_detector  # noqa: E402
from polysed_keras.synthesis.acoustics import coloured_noise  # noqa: E402

RATE, MINUTES = 16000, 3
# The labels of ESC-10, and the classes of YAMNet that mean them: the highest score is taken.
CLASSES = {
    "chainsaw": ["Chainsaw"], "clock_tick": ["Tick", "Tick-tock", "Clock"], "crackling_fire": ["Fire", "Crackle"],
    "crying_baby": ["Baby cry, infant cry"], "dog": ["Dog", "Bark", "Yip", "Howl", "Bow-wow", "Growling"],
    "helicopter": ["Helicopter"], "rain": ["Rain", "Raindrop", "Rain on surface"],
    "rooster": ["Chicken, rooster", "Crowing, cock-a-doodle-doo"], "sea_waves": ["Waves, surf", "Ocean"],
    "sneezing": ["Sneeze"],
}


def read_rows(soundbank):
    with open(pathlib.Path(soundbank) / "meta" / "esc50.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def halve(soundbank, out):
    """Write a soundbank whose fold 4 is divided into folds 4 and 5, every source in one of them."""
    rows, numbers, chosen = read_rows(soundbank), {}, {}
    for row in sorted(rows, key=lambda row: (row["category"], row["src_file"])):
        if row["fold"] == "4":
            fewer = min("45", key=lambda fold: numbers.get((row["category"], fold), 0))
            row["fold"] = chosen.setdefault(row["src_file"], fewer)
            numbers[row["category"], row["fold"]] = numbers.get((row["category"], row["fold"]), 0) + 1
    write_rows(rows, soundbank, out)


def write_rows(rows, soundbank, out):
    """Write a soundbank of some rows of another one's table, whose audio it links to."""
    (out / "meta").mkdir(parents=True)
    (out / "audio").symlink_to((pathlib.Path(soundbank) / "audio").resolve())
    write_table(rows, out)


def write_table(rows, soundbank):
    """Write a soundbank's table, in place of the one that it has."""
    with open(soundbank / "meta" / "esc50.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def active_part(waveform):
    """Cut what lies more than 30 dB below the loudest 20 ms off both ends."""
    frames = waveform[:len(waveform) // 320 * 320].reshape(-1, 320)
    level = 10 * np.log10(np.maximum(np.mean(frames ** 2, axis=1), 1e-12))
    active = np.flatnonzero(level > max(level.max() - 30, -70))
    return waveform[active[0] * 320:(active[-1] + 1) * 320] if len(active) else waveform[:0]


def loudest(waveform):
    """The level of the loudest 0.4 s, in dB."""
    parts = np.array_split(waveform, max(1, len(waveform) // (2 * RATE // 5)))
    return 10 * np.log10(max(np.mean(part ** 2) for part in parts) + 1e-12)


def at_level(waveform, db):
    return waveform * np.float32(10 ** (db / 20) / max(np.sqrt(np.mean(waveform ** 2)), 1e-9))


def loop(waveform, length):
    """Repeat a waveform, cross-faded."""
    fade = min(RATE // 4, len(waveform) // 4)
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    piece, out = waveform.copy(), np.zeros(length + len(waveform), np.float32)
    piece[:fade] *= ramp
    piece[-fade:] *= ramp[::-1]
    for begin in range(0, length, len(waveform) - fade):
        out[begin:begin + len(waveform)] += piece
    return out[:length]


def babble(voices, length, speakers, rng):
    out = np.zeros(length, np.float32)
    for _ in range(speakers):
        begin = rng.integers(0, 3 * RATE)
        while begin < length:
            piece = at_level(load_audio(voices[rng.integers(len(voices))], RATE), 20 * np.log10(rng.uniform(0.4, 1)))
            out[begin:begin + len(piece)] += piece[:length - begin]
            begin += len(piece) + rng.integers(RATE // 5, 2 * RATE)
    return out


def mix_field(sounds, labels, background, rng):
    """Mix one recording; returns its waveform and its events (onset, offset, label)."""
    db, events = rng.uniform(-45, -28), []
    out = at_level(background, db)
    labelled = [each for each in sounds if each[0] in labels]
    others = [each for each in sounds if each[0] not in labels]
    for choices, gaps, lowest in ((labelled, (10, 20), 6), (others, (10, 30), 3)):
        begin = int(rng.uniform(2, 10) * RATE)
        while begin < len(out) - RATE:
            label, sound = choices[rng.integers(len(choices))]
            sound = sound[:int(rng.uniform(1, 5) * RATE)][:len(out) - begin]
            gain = 10 ** ((db + rng.uniform(lowest, 18) - loudest(sound)) / 20)
            out[begin:begin + len(sound)] += np.float32(gain) * sound
            events.append((begin / RATE, (begin + len(sound)) / RATE, label))
            begin += int(rng.uniform(*gaps) * RATE)
    return out / max(1, np.abs(out).max() / 0.99), sorted(events)


def make(soundbank, fold, ambience, out, labels, voices=None, recordings=20, seed=7):
    rng = np.random.default_rng(seed)
    rows = [row for row in read_rows(soundbank) if row["fold"] == fold]
    waveforms = [load_audio(pathlib.Path(soundbank) / "audio" / row["filename"], RATE) for row in rows]
    sounds = [(row["category"], sound) for row, sound in zip(rows, map(active_part, waveforms)) if len(sound)]
    places = {path.stem: load_audio(path, RATE) for path in map(pathlib.Path, find_audio([ambience]))}
    speech = find_audio([voices]) if voices else []
    kinds = [*places, "pink", *(["babble"] * 3 if speech else [])]
    for name in ("field", "quiet", "clips"):
        (out / name).mkdir(parents=True)
    (out / "labels.txt").write_text("\n".join(labels))
    length = MINUTES * 60 * RATE
    for index in range(recordings):
        kind = kinds[index % len(kinds)]
        if kind == "babble":
            pink = at_level(coloured_noise("pink", length, RATE, index), -8)
            background = babble(speech, length, 8, rng) + pink
        else:
            background = coloured_noise("pink", length, RATE, index) if kind == "pink" else loop(places[kind], length)
        waveform, events = mix_field(sounds, labels, background, rng)
        sf.write(out / "field" / f"{index:02d}_{kind}.wav", waveform, RATE, "PCM_16")
        (out / "field" / f"{index:02d}_{kind}.tsv").write_text(
            "".join(f"{onset:.4f}\t{offset:.4f}\t{label}\n" for onset, offset, label in events))
    for index, colour in enumerate(("white", "pink", "brown")):
        for db in (-70, -60, -50, -40, -30, -20):
            noise = at_level(coloured_noise(colour, 100 * RATE, RATE, 100 + index), db)
            sf.write(out / "quiet" / f"{colour}{db}.wav", noise, RATE, "FLOAT")
    for name, place in places.items():
        sf.write(out / "quiet" / f"{name}.wav", at_level(loop(place, 96 * RATE), -35), RATE, "PCM_16")
    if speech:
        for speakers in (1, 8):
            voice = at_level(babble(speech, 240 * RATE, speakers, rng), -30)
            sf.write(out / "quiet" / f"voices{speakers}.wav", voice, RATE, "PCM_16")
    for row, waveform in zip(rows, waveforms):
        sf.write(out / "clips" / f"{row['category']}__{pathlib.Path(row['filename']).stem}.wav", waveform, RATE)


def read_folder(folder, without=()):
    """Name, path and events of each recording of a folder, but for those of some places."""
    for path in sorted(folder.glob("*.wav")):
        if path.stem.split("_")[-1] in without:
            continue
        events = path.with_suffix(".tsv")
        yield path.stem, path, pd.read_csv(events, sep="\t", names=list(COLUMNS)) if events.exists() else None


class Mapped:
    """The class scores of YAMNet as posteriors of labels, {label: names of classes}, by default the ten."""

    def __init__(self, path, classes=None):
        classes, self._detector = classes or CLASSES, load_detector(path)
        self.labels, self.time_resolution = tuple(classes), self._detector.time_resolution
        self.description, self._columns = {}, [[self._detector.labels.index(name) for name in names]
                                               for names in classes.values()]

    def event_rule(self, **_):
        return {"threshold": 0.5}

    def posteriors(self, audio):
        scores = self._detector.posteriors(audio)[0]
        return np.stack([scores[:, columns].max(axis=1) for columns in self._columns], axis=1), None


def reference_roll(posteriors, events, labels, resolution):
    if events is None:
        return np.zeros((len(posteriors), len(labels)), np.uint8)
    events = events[events.event_label.isin(labels)]
    events = events.assign(offset=events.offset.clip(upper=len(posteriors) * resolution))
    return event_list_to_event_roll(events, labels, len(posteriors), resolution)


def report(detector, posteriors, rule, labels):
    """The events of some labels by thresholds of the detector's own."""
    events = posteriors_to_events(posteriors, detector.labels, detector.time_resolution, **rule)
    return events[events.event_label.isin(labels)]


def measure_recordings(detector, recordings, rule, labels):
    """False events per hour, the share of the time with an event, and the share of reference events found."""
    alarms, active = [], 0
    for _, posteriors, events in recordings:
        reported = report(detector, posteriors, rule, labels)
        reference = reference_roll(posteriors, events, labels, detector.time_resolution)
        alarms.append(find_alarms(reference, reported, labels, detector.time_resolution))
        active += (reported.offset - reported.onset).sum()
    joined = join_alarms(alarms)
    found = np.concatenate(joined.found)
    return (3600 * sum(map(len, joined.false)) / joined.seconds, active / joined.seconds,
            np.mean(found > 0) if len(found) else np.nan)


def measure_clips(detector, clips, rule, labels):
    """Whether the own label is found, of each clip that has one of the labels, and false events per minute."""
    found, false, frames = [], 0, 0
    for name, posteriors, _ in clips:
        label, reported = name.split("__")[0], report(detector, posteriors, rule, labels).event_label
        found += [label in set(reported)] if label in labels else []
        false, frames = false + (reported != label).sum(), frames + len(posteriors)
    return found, 60 * false / (frames * detector.time_resolution)


def plot_clips(detector, clips, path):
    """Draw what is reported in raw clips: the share of each category's clips in which each label is."""
    import matplotlib.pyplot as plt
    labels, rule = list(detector.labels), detector.event_rule()
    counts, numbers = np.zeros((len(labels), len(labels))), np.zeros(len(labels))
    for name, posteriors, _ in clips:
        row = labels.index(name.split("__")[0])
        numbers[row] += 1
        for label in set(report(detector, posteriors, rule, labels).event_label):
            counts[row, labels.index(label)] += 1
    figure, axes = plt.subplots(figsize=(11, 10), layout="constrained")
    image = axes.imshow(counts / np.maximum(numbers, 1)[:, None], cmap="magma_r", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
    axes.set_yticks(range(len(labels)), [f"{label} ({int(number)})" for label, number in zip(labels, numbers)],
                    fontsize=7)
    axes.set_xlabel("label that is reported")
    axes.set_ylabel("what the clip holds (number of clips)")
    figure.colorbar(image, label="share of the clips", shrink=0.6)
    figure.savefig(path, dpi=90)


def score(detector, data, wanted, picture=None, without=()):
    """Print what a detector finds in the three folders of `make`."""
    labels, resolution = [label for label in detector.labels if label in wanted], detector.time_resolution
    columns = [detector.labels.index(label) for label in labels]
    field, quiet, clips = ([(name, detector.posteriors(path)[0], events) for name, path, events
                            in read_folder(data / kind, without)] for kind in ("field", "quiet", "clips"))
    alarms = [find_posterior_alarms(reference_roll(posteriors, events, labels, resolution), posteriors[:, columns],
                                    labels, resolution) for _, posteriors, events in field]
    joined = join_alarms(alarms)
    print(f"field, {len(labels)} labels, {sum(map(len, joined.found))} events, {joined.seconds / 3600:.2f} h, "
          "in hindsight: " + ", ".join(f"{recall_at_alarms(alarms, number)[-1]:.2f} at {number} per hour"
                                       for number in (*ALARMS_PER_HOUR, 200)))
    by_label = dict(zip(labels, recall_at_alarms(alarms, 60)))
    print("  at 60 per hour: " + ", ".join(f"{label} {recall:.2f}" for label, recall in by_label.items()))
    for number in ALARMS_PER_HOUR if detector.description.get("calibration") else ():
        rule = detector.event_rule(alarms_per_hour=float(number))
        false, _, found = measure_recordings(detector, field, rule, labels)
        alone, active, _ = measure_recordings(detector, quiet, rule, labels)
        right, wrong = measure_clips(detector, clips, rule, labels)
        print(f"  promised {number} per hour: field {found:.2f} found, {false:.0f} false per hour; quiet {alone:.1f} "
              f"per hour, active {active:.2%}; clips {np.mean(right):.0%} of {len(right)}, {wrong:.2f} false per "
              "minute")
    if picture:
        plot_clips(detector, clips, picture)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    command = commands.add_parser("halve")
    command.add_argument("soundbank")
    command.add_argument("--out", type=pathlib.Path, required=True)
    command = commands.add_parser("make")
    command.add_argument("soundbank")
    command.add_argument("--fold", default="5")
    command.add_argument("--ambience", required=True)
    command.add_argument("--voices")
    command.add_argument("--labels", nargs="*", default=list(CLASSES), help="default: ESC-10's")
    command.add_argument("--out", type=pathlib.Path, required=True)
    command = commands.add_parser("score")
    command.add_argument("models", nargs="*")
    command.add_argument("--yamnet")
    command.add_argument("--data", type=pathlib.Path, required=True)
    command.add_argument("--all", action="store_true", help="all labels of the model, not those of make alone")
    command.add_argument("--picture", help="a PNG of what is reported in raw clips, of one model")
    command.add_argument("--without", nargs="*", default=[], metavar="PLACE",
                         help="ambience that is left out because it holds a label's sound, such as train")
    arguments = parser.parse_args()
    if arguments.command == "halve":
        halve(arguments.soundbank, arguments.out)
    elif arguments.command == "make":
        make(arguments.soundbank, arguments.fold, arguments.ambience, arguments.out, arguments.labels,
             arguments.voices)
    else:
        detectors = {model: load_detector(model) for model in arguments.models}
        if arguments.yamnet:
            detectors["YAMNet's scores"] = Mapped(arguments.yamnet)
        for model, detector in detectors.items():
            print(model)
            labels = (arguments.data / "labels.txt").read_text().splitlines()
            score(detector, arguments.data, detector.labels if arguments.all else labels, arguments.picture,
                  arguments.without)
