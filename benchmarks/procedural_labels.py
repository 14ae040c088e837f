"""Does a tagger that has learned from real recordings hear the procedural soundbank's labels for what they are?

    POLYSED_TEST_DATA=/path/to/data python benchmarks/procedural_labels.py [--out DIR]

The judge is YAMNet (521 classes of AudioSet), a SavedModel in yamnet/ of that folder. A recording's score of a class is
the mean over YAMNet's patches, as in YAMNet's own inference; a recording is heard right where one of its label's
classes is among the five of the highest scores. --out draws log-mel spectrograms of every label as one picture.
"""
import argparse
import collections
import csv
import os
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # the package need not be installed
from polysed_keras.synthesis import PROCEDURAL_SAMPLE_RATE as SAMPLE_RATE, PROCEDURES, make_instance  # noqa: E402

INSTANCES = 20
TOP = 5
YAMNET_RATE = 16000
PATCH, HOP = 15600, 7680  # samples of YAMNet's patches, 0.975 s, every 0.48 s

# Names for the sound itself, or for kinds of it. Parents such as Animal, Vehicle, Speech or Music do not count.
ACCEPTED = {
    "alarms_and_sirens": ("Siren", "Civil defense siren", "Police car (siren)", "Ambulance (siren)",
                          "Fire engine, fire truck (siren)", "Alarm", "Alarm clock", "Smoke detector, smoke alarm",
                          "Fire alarm", "Car alarm", "Reversing beeps"),
    "baby_crying": ("Baby cry, infant cry", "Crying, sobbing"),
    "bird_singing": ("Bird", "Bird vocalization, bird call, bird song", "Chirp, tweet"),
    "bus": ("Bus", "Truck", "Heavy engine (low frequency)", "Medium engine (mid frequency)", "Idling"),
    "cat_meowing": ("Cat", "Meow", "Caterwaul"),
    "crowd_applause": ("Applause", "Clapping"),
    "crowd_cheering": ("Cheering", "Crowd"),
    "dog_barking": ("Dog", "Bark", "Bow-wow", "Yip"),
    "footsteps": ("Walk, footsteps", "Run"),
    "glass_smash": ("Glass", "Shatter", "Smash, crash", "Breaking"),
    "gun_shot": ("Gunshot, gunfire", "Machine gun", "Fusillade", "Artillery fire", "Cap gun"),
    "horsewalk": ("Horse", "Clip-clop"),
    "mixer": ("Blender",),
    "motorcycle": ("Motorcycle",),
    "rain": ("Rain", "Raindrop", "Rain on surface"),
    "thunder": ("Thunder", "Thunderstorm"),
}


def load_yamnet(folder):
    """YAMNet from its SavedModel: a function of a waveform (samples,) at 16 kHz -> scores (521,), and class names."""
    import tensorflow as tf
    network = getattr(tf.saved_model.load(str(folder)), "layer-1")
    with (pathlib.Path(folder) / "assets" / "yamnet_class_map.csv").open(newline="") as file:
        names = [row["display_name"] for row in csv.DictReader(file)]

    def scores(waveform):
        # YAMNet itself fills up the last patch by zeros; done here, it is traced once a number of patches.
        length = PATCH - 1 + HOP * max((len(waveform) - PATCH) // HOP + 1, 0)
        return network(np.pad(waveform, (0, length - len(waveform)))[None])["scores"].numpy()[0].mean(axis=0)

    return scores, names


def heard_classes(label, yamnet, instances=INSTANCES, seed=0):
    """The names of the five classes of the highest scores, best first, of each instance of a label."""
    import soxr
    scores, names = yamnet
    waveforms = (make_instance(label, index, seed) for index in range(instances))
    ranks = [np.argsort(-scores(soxr.resample(waveform, SAMPLE_RATE, YAMNET_RATE))) for waveform in waveforms]
    return [[names[index] for index in rank[:TOP]] for rank in ranks]


def share_heard(label, heard):
    """The share of instances with one of the label's classes among their five."""
    return np.mean([not set(ACCEPTED[label]).isdisjoint(names) for names in heard])


def format_row(label, heard):
    first = collections.Counter(names[0] for names in heard).most_common(3)
    common = ", ".join(f"{name} {count}" for name, count in first)
    return f"| {label} | {'; '.join(ACCEPTED[label])} | {share_heard(label, heard):.2f} | {common} |"


def draw_spectrograms(path, per_label=2):
    """A picture of all labels: log-mel spectrograms (64 bands to 16 kHz, 80 dB) of the first instances of each."""
    import librosa
    from matplotlib.figure import Figure
    rows = -(-len(PROCEDURES) // 2)
    figure = Figure(figsize=(7 * per_label, 2 * rows), layout="constrained")
    axes = figure.subplots(rows, 2 * per_label).reshape(-1, per_label)
    for label, pair in zip(PROCEDURES, axes):
        for index, axis in enumerate(pair):
            waveform = make_instance(label, index)
            mel = librosa.feature.melspectrogram(y=waveform, sr=SAMPLE_RATE, n_fft=2048, hop_length=512, n_mels=64,
                                                 fmax=16000)
            axis.imshow(librosa.power_to_db(mel, ref=np.max), origin="lower", aspect="auto", cmap="magma", vmin=-80,
                        extent=(0, len(waveform) / SAMPLE_RATE, 0, 64))
            ticks = np.searchsorted(librosa.mel_frequencies(64, fmax=16000), (250, 1000, 4000, 12000))
            axis.set_yticks(ticks, ("250", "1k", "4k", "12k"), fontsize=7)
            axis.set_title(f"{label} {index}", fontsize=9)
    figure.savefig(path, dpi=80)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", nargs="*", metavar="LABEL", choices=[[], *PROCEDURES], help="all by default")
    parser.add_argument("--instances", type=int, default=INSTANCES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR", help="also draw DIR/procedural_labels.png")
    arguments = parser.parse_args()
    folder = pathlib.Path(os.environ.get("POLYSED_TEST_DATA", ""), "yamnet")
    if not os.environ.get("POLYSED_TEST_DATA") or not folder.is_dir():
        sys.exit(f"POLYSED_TEST_DATA: expected a folder that holds yamnet/, YAMNet as a SavedModel. "
                 f"Received: {os.environ.get('POLYSED_TEST_DATA', 'nothing, it is unset')}.")
    yamnet, shares = load_yamnet(folder), {}
    print(f"| label | accepted classes | share in top {TOP} | most common first class |\n|---|---|---|---|")
    for label in arguments.labels or PROCEDURES:
        heard = heard_classes(label, yamnet, arguments.instances, arguments.seed)
        shares[label] = share_heard(label, heard)
        print(format_row(label, heard), flush=True)
    print(f"\n{sum(share > 0.5 for share in shares.values())} of {len(shares)} labels are heard in more than half of "
          f"{arguments.instances} instances.")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        draw_spectrograms(arguments.out / "procedural_labels.png")


if __name__ == "__main__":
    main()
