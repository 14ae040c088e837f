"""DESED, the parts with strong labels: clips of ten domestic sounds, real and synthetic.

Facts: real recordings from AudioSet, up to 10 s each, of which 1,168 are called validation and 692 public evaluation;
3,470 more of AudioSet's strong labels (DCASE 2022); synthetic soundscapes of 10 s, 10,000 in the set for training of
DCASE 2021. Rates and channels of the real ones differ. Here the public evaluation is the test, validation validates,
and the rest is for training. DCASE reports most numbers on validation: `evaluate --partition validate`. Layout, in
DESED's folder `dataset` or in `dataset/dcase_synth`::

    metadata/train/synthetic*/soundscapes.tsv      audio/train/synthetic*/soundscapes/     such as synthetic21_train
    metadata/train/audioset_strong.tsv             audio/train/strong_label_real/
    metadata/validation/validation.tsv             audio/validation/validation/ or audio/validation/
    metadata/eval/public.tsv                       audio/eval/public/

    All tables: tabs; header filename, onset, offset, event_label; a row of a filename alone is a clip without events.
    Audio: the file names, or the same names as flac, ogg, ... Each part may be left out, and so may be files: some of
    the real ones cannot be had. Folders named so with _16k at the end, which DCASE's baseline makes, are not read.

Weak and missing labels (weak.tsv, unlabel_in_domain.tsv), and other synthetic parts than those for training, are not
read either.

Licence: of each file, in the lists beside the data; https://zenodo.org/record/3588172 (public evaluation).
Citation: N. Turpault, R. Serizel, A. Parag Shah, J. Salamon, "Sound event detection in domestic environments with
weakly labeled data and soundscape synthesis", DCASE Workshop 2019.
"""
import logging
import pathlib

from polysed_keras.datasets.loading import Dataset, Recording, check_folder, index_audio, take_present
from polysed_keras.errors import InputError, expect
from polysed_keras.events import read_annotations

LABELS = ("Alarm_bell_ringing", "Blender", "Cat", "Dishes", "Dog", "Electric_shaver_toothbrush", "Frying",
          "Running_water", "Speech", "Vacuum_cleaner")
TABLES = {"train": ("train/synthetic*/soundscapes.tsv", "train/audioset_strong.tsv"),
          "validate": ("validation/validation.tsv",), "test": ("eval/public.tsv",)}
ROOTS = (".", "dcase_synth")
logger = logging.getLogger(__name__)


def load_dataset(folder):
    """Read the layout above into a Dataset, without opening audio. Each table is read once.

    A recording's name is its file's stem, of synthetic ones with the part before it ("synthetic21_train-16"), because
    parts number their files alike. Clips of validation and test that the training tables list too are not trained on.
    Raises InputError if the folder or all tables are missing; a table has another header, a broken row or an unknown
    label; no file of the tables is there.
    """
    check_folder(folder, "DESED's folder, with metadata/ and audio/")
    listed = {partition: [recording for root in ROOTS for pattern in patterns
                          for table in sorted((folder / root / "metadata").glob(pattern))
                          for recording in _read_table(table, folder / root)]
              for partition, patterns in TABLES.items()}
    if not any(listed.values()):
        tables = ", ".join(f"metadata/{pattern}" for patterns in TABLES.values() for pattern in patterns)
        raise InputError(f"{folder}: expected one or more of {tables}. Received: none with a recording. Check --data.")
    held = {recording.name for partition in ("validate", "test") for recording in listed[partition]}
    shared = sum(recording.name in held for recording in listed["train"])
    if shared:
        logger.warning("%s: %d recordings that are listed for training are those of validation or test, and are not "
                       "trained on.", folder, shared)
        listed["train"] = [recording for recording in listed["train"] if recording.name not in held]
    return Dataset(folder, LABELS, *take_present(folder / "audio", listed, "as in the tables"))


def _read_table(table, root):
    part = f"{table.parent.name}-" if table.name == "soundscapes.tsv" else ""
    audio, recordings, points = index_audio(_audio_folder(table, root)), [], 0
    for annotation in read_annotations(table, "desed")[1]:
        stem = pathlib.PurePath(annotation.recording).stem
        unknown = sorted({label for _, _, label in annotation.events}.difference(LABELS))
        expect(not unknown, f"{table}, {annotation.recording}", f"labels of DESED ({', '.join(LABELS)})",
               ", ".join(unknown), "Correct or remove the row.")
        rows = tuple(event for event in annotation.events if event[0] < event[1])
        points += len(annotation.events) - len(rows)
        recordings.append(Recording(part + stem, audio.get(stem), table, rows))
    if points:
        logger.warning("%s: %d events without a length are left out.", table, points)
    return recordings


def _audio_folder(table, root):
    """Return the folder with the audio of a table: named as it is, or the one around that (older releases)."""
    inside = table.with_suffix("").relative_to(root / "metadata")
    folder = root / "audio" / (inside.with_name("strong_label_real") if inside.name == "audioset_strong" else inside)
    return folder if folder.is_dir() else folder.parent
