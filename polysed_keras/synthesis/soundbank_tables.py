"""Soundbanks whose recordings a table lists: published collections in their own layouts. A new one is one entry.

ESC-50 is described in `datasets.esc50`. UrbanSound8K (J. Salamon, C. Jacoby, J. P. Bello, "A dataset and taxonomy for
urban sound research", ACM MM 2014; CC BY-NC 3.0) has 8,732 clips of ten labels in ten folds. FSD50K (E. Fonseca et al.,
"FSD50K: an open dataset of human-labeled sound events", IEEE/ACM TASLP 30, 2022; CC BY, each clip has a licence of its
own) has 51,197 clips with 200 labels of a hierarchy.
"""
import collections
import dataclasses
import logging
import pathlib
import typing

from polysed_keras.datasets import table_rows
from polysed_keras.errors import InputError, expect
from polysed_keras.files import path_inside

FSD50K_FOLDS = {"train": 1, "val": 2}  # the evaluation set is fold 3
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class TableFormat:
    """A collection of recordings that tables list.

    Attributes:
        tables: dict of a table's path to the folder of its recordings, both below the soundbank's.
        columns: of the tables; others may be there too.
        read: function of a list of _Row that returns those that are sounds of one label as a list of (path, label,
            source, fold); fold is None for a collection without folds.
        left_out: what the other rows are, for the message that counts them.
    """
    tables: dict
    columns: tuple
    read: typing.Callable
    left_out: str = ""


class _Row(typing.NamedTuple):
    place: str  # file and line, for messages
    audio: pathlib.Path  # folder of the recordings
    fields: dict


def _read_esc50(rows):
    return [(path_inside(audio, row["filename"], place), row["category"], row["src_file"], _fold(place, row["fold"]))
            for place, audio, row in rows]


def _read_urban_sound_8k(rows):
    return [(path_inside(audio / f"fold{_fold(place, row['fold'])}", row["slice_file_name"], place), row["class"],
             row["fsID"], _fold(place, row["fold"])) for place, audio, row in rows if row["salience"] != "2"]


def _read_fsd50k(rows):
    """Return the clips whose labels are one of the narrowest and all that are broader than it.

    A label is broader than another if all clips of the other have it too, since clips have all broader labels.
    """
    clips = [set(row["labels"].split(",")) for _, _, row in rows]
    common, number = {}, collections.Counter()
    for labels in clips:
        number.update(labels)
        for label in labels:
            common[label] = common.get(label, labels) & labels
    broader = {other for label, others in common.items() for other in others if number[other] > number[label]}
    sounds = []
    for (place, audio, row), labels in zip(rows, clips):
        narrowest = [label for label in row["labels"].split(",") if label not in broader]
        if narrowest and labels == common[narrowest[0]]:
            split = row.get("split", "")
            expect(not split or split in FSD50K_FOLDS, place, "the split train or val", split, "Correct the row.")
            path = path_inside(audio, f"{row['fname']}.wav", place)
            sounds.append((path, narrowest[0], row["fname"], FSD50K_FOLDS.get(split, 3)))
    return sounds


def _fold(place, text):
    expect(text.isdecimal(), place, "a fold, which is a number", text, "Correct the row.")
    return int(text)


TABLE_FORMATS = {
    "ESC-50": TableFormat({"meta/esc50.csv": "audio"}, ("filename", "fold", "category", "src_file"), _read_esc50),
    "UrbanSound8K": TableFormat({"metadata/UrbanSound8K.csv": "audio"},
                                ("slice_file_name", "fsID", "salience", "fold", "class"), _read_urban_sound_8k,
                                "in which the label's sound is in the background"),
    "FSD50K": TableFormat({"FSD50K.ground_truth/dev.csv": "FSD50K.dev_audio",
                           "FSD50K.ground_truth/eval.csv": "FSD50K.eval_audio"}, ("fname", "labels"), _read_fsd50k,
                          "with several labels, or with none of the narrowest"),
}


def read_tables(folder):
    """List the recordings of a soundbank that is one of TABLE_FORMATS, without opening audio.

    Recordings that are no sounds of one label are left out, which is logged with their number. A table is passed over
    if another one is there and its own recordings' folder is not.

    Args:
        folder: pathlib.Path of the soundbank.

    Returns:
        Sorted list of (path, label, source, fold), or None if the soundbank has no table.

    Raises:
        InputError: a table lacks a column or rows, a row is wrong, or recordings are not there.
    """
    name = next((name for name, form in TABLE_FORMATS.items()
                 if any((folder / table).is_file() for table in form.tables)), None)
    if name is None:
        return None
    form = TABLE_FORMATS[name]
    tables = {folder / table: folder / audio for table, audio in form.tables.items() if (folder / table).is_file()}
    tables = {table: audio for table, audio in tables.items() if audio.is_dir()} or tables
    rows = [_Row(place, audio, fields) for table, audio in tables.items()
            for place, fields in table_rows(table, form.columns)]
    where = " and ".join(map(str, tables))
    if not rows:
        raise InputError(f"{where}: expected a row per recording. Received: none. Fill the table or remove it.")
    sounds = sorted(form.read(rows))
    missing = [path.name for path, *_ in sounds if not path.is_file()]
    if missing:
        raise InputError(f"{where}: names {len(missing)} recordings that are not in "
                         f"{' and '.join(audio.name for audio in tables.values())}/: {', '.join(missing[:5])}. Add "
                         "them or remove their rows.")
    if len(sounds) < len(rows):
        _logger.warning("%s: %s. %d of %d recordings are left out, %s.", folder, name, len(rows) - len(sounds),
                        len(rows), form.left_out)
    if not sounds:
        raise InputError(f"{where}: expected recordings of one label. Received: {len(rows)}, {form.left_out}.")
    return sounds
