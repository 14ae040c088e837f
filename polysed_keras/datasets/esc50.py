"""ESC-50: clips of 5 s, each of one of 50 environmental sounds.

Facts: 2,000 clips (2.8 h; 44.1 kHz, 16 bit, mono), 40 of each label, from Freesound; the ten labels of ESC-10 are a
part of them. Five folds are made for cross-validation, and clips of one source are all in one fold. Layout::

    meta/esc50.csv      header filename, fold, target, category, esc10, src_file, take
    audio/{fold}-{src_file}-{take}-{target}.wav      or the same names as flac, ogg, ...

Partitions: folds 1 to 3 for training, 4 for validation and 5 for test. A clip has one label, so that this is a corpus
for the task `scene`, which chooses one label; its macro accuracy is the accuracy that is reported of ESC-50, because
all labels have the same number of clips.
Licence: CC BY-NC 3.0, of ESC-10 CC BY 3.0; https://github.com/karolpiczak/ESC-50.
Citation: K. J. Piczak, "ESC: dataset for environmental sound classification", ACM Multimedia 2015.
"""
import pathlib

from polysed_keras.datasets.loading import Clip, ClipDataset, check_folder, index_audio, table_rows, take_present
from polysed_keras.errors import InputError, expect

TABLE = pathlib.Path("meta", "esc50.csv")
COLUMNS = ("filename", "fold", "category", "src_file")
SAMPLE_RATE, SECONDS = 44100, 5.0
FOLDS = {"1": "train", "2": "train", "3": "train", "4": "validate", "5": "test"}


def load_clips(folder):
    """Read the layout above into a ClipDataset, without opening audio; labels are sorted.

    Raises InputError if the folder or the table is missing; a row lacks a field or has another fold; a clip is listed
    twice; no clip has audio.
    """
    check_folder(folder, f"the folder of ESC-50, with audio/ and {TABLE}")
    audio, listed, seen = index_audio(folder / "audio"), {name: [] for name in FOLDS.values()}, set()
    for place, row in table_rows(folder / TABLE, COLUMNS):
        stem = pathlib.PurePath(row["filename"]).stem
        expect(row["fold"] in FOLDS, place, "a fold from 1 to 5", row["fold"], "Correct or remove the row.")
        expect(stem not in seen, place, "each clip once", row["filename"], "Remove one of the rows.")
        seen.add(stem)
        listed[FOLDS[row["fold"]]].append(Clip(stem, audio.get(stem), (row["category"],), row["src_file"], SECONDS))
    if not seen:
        raise InputError(f"{folder / TABLE}: expected a row per clip. Received: none. Put the corpus's own file there.")
    labels = sorted({label for clips in listed.values() for clip in clips for label in clip.labels})
    return ClipDataset(folder, tuple(labels), *take_present(folder / "audio", listed, "as in the table"))
