"""MAESTRO Real, development dataset: everyday recordings with soft labels of many annotators.

Facts: 49 recordings (189 minutes; 3 to 5 minutes each, 44.1 kHz) of a café or restaurant, a city centre, a grocery
store, a metro station and a residential area. Every second has for each of 17 labels the share of annotators, weighted
by their competence, that heard it. DCASE 2023 task 4B scores 11 of them, as events where the share is above 0.5; this
module has the same labels and events. The share itself is not trained on. Layout::

    development_audio/{scene}/{scene}_{number}.wav                      or the same names as flac, ogg, ...
    development_annotation/soft_labels_{scene}/{scene}_{number}.txt     onset, offset (seconds), label, share; tabs

Partitions: the first of the baseline's five folds for cross-validation (development_folds of its repository).
Licence: for experiments, not commercial; it is in README.md of https://zenodo.org/record/7244360: read it first.
Citation: I. Martín-Morató, A. Mesaros, "Strong labeling of sound events using crowdsourced weak labels and annotator
competence estimation", IEEE/ACM TASLP 31, 2023.
"""
import math

from polysed_keras.datasets.loading import PARTITIONS, Dataset, Recording, check_folder, index_audio, take_present
from polysed_keras.errors import expect, expect_known
from polysed_keras.events import read_source

LABELS = ("birds_singing", "car", "people talking", "footsteps", "children voices", "wind_blowing", "brakes_squeaking",
          "large_vehicle", "cutlery and dishes", "metro approaching", "metro leaving")
RARE_LABELS = ("furniture dragging", "coffee machine", "door opens/closes", "announcement", "shopping cart",
               "cash register beeping")  # in the annotations, but not scored
THRESHOLD = 0.5
SAMPLE_RATE = 44100
# Numbers of the recordings for training, validation and test in the baseline's fold 1.
FOLD = {"cafe_restaurant": ("00 06 10 13", "08 11 12 14", "04 07"),
        "city_center": ("06 07 10 12", "02 05 09 14", "04 11"),
        "grocery_store": ("00 01 02 03 08 11 12", "", "04 09"),
        "metro_station": ("01 04 05 11", "02 10 12", "00 07"),
        "residential_area": ("00 01 03 04 05 06 12", "14", "07 08 09")}


def load_dataset(folder):
    """Read the layout above into a Dataset, without opening audio.

    Recordings of which audio or annotation is not there are missing. Raises InputError if the folder,
    development_audio/ or development_annotation/ is missing; an annotation is not four columns with a known label and a
    share; no recording is whole.
    """
    check_folder(folder, "MAESTRO Real's folder, with development_audio/ and development_annotation/")
    for part in ("development_audio", "development_annotation"):
        check_folder(folder / part, f"the folder {part} of MAESTRO Real")
    listed = {partition: [] for partition in PARTITIONS}
    for scene, parts in FOLD.items():
        audio = index_audio(folder / "development_audio" / scene)
        for partition, numbers in zip(PARTITIONS, parts):
            for name in (f"{scene}_{number}" for number in numbers.split()):
                annotation = folder / "development_annotation" / f"soft_labels_{scene}" / f"{name}.txt"
                whole = name in audio and annotation.is_file()
                listed[partition].append(Recording(name, audio[name] if whole else None, annotation,
                                                   _read_soft_labels(annotation) if whole else ()))
    return Dataset(folder, LABELS, *take_present(folder, listed, "{scene}/{scene}_{number}.wav and .txt"))


def _read_soft_labels(path):
    """Return the rows (onset, offset, label) whose share is above the threshold."""
    rows = []
    for place, line in read_source(path).lines:
        fields = [field.strip() for field in line.split("\t")]
        try:
            onset, offset, share = float(fields[0]), float(fields[1]), float(fields[3])
        except (IndexError, ValueError):
            onset, offset, share = 0, 0, -1
        expect(len(fields) == 4 and 0 <= onset < offset < math.inf and share >= 0, place,
               "onset, offset (seconds), label and a share from 0 to 1, separated by tabs", line,
               "Put the corpus's own file there.")
        expect_known(fields[2], LABELS + RARE_LABELS, place, "Put the corpus's own file there.")
        if share > THRESHOLD and fields[2] in LABELS:
            rows.append((onset, offset, fields[2]))
    return tuple(rows)
