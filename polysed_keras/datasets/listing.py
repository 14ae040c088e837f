"""Lists of clips: read their lines, and tell the clips that are there from those that are missing."""
import logging

from polysed_keras.datasets.loading import ClipDataset
from polysed_keras.errors import InputError

logger = logging.getLogger(__name__)


def numbered_lines(path):
    """Yield (number, text) of the lines of a text file that are not blank.

    Lines are read one after the other, so that long lists take no memory. A byte-order mark and carriage returns are
    tolerated.

    Args:
        path: text file in UTF-8.

    Raises:
        InputError: the file is missing or is no UTF-8 text.
    """
    try:
        with open(path, encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.isspace():
                    yield number, line.rstrip("\n")
    except OSError as error:
        raise InputError(f"{path}: expected a list of the corpus. Received: {error.strerror}. Put the corpus's own "
                         "file there.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8 text. Received: {error}. Save it as UTF-8.") from error


def check_folder(path, expected):
    """Raise InputError if a folder does not exist; `expected` describes it in the message."""
    if not path.is_dir():
        raise InputError(f"{path}: expected {expected}. Received: no such folder. Check --data.")


def collect_clips(folder, labels, listed, names):
    """Return the ClipDataset of all listed clips whose audio exists, and log the missing ones in one line.

    Args:
        folder: pathlib.Path of the corpus, with audio/.
        labels: tuple of str.
        listed: dict of partition to a list of Clip; `audio` is None if the file is missing.
        names: str, how audio files are named, for the message.

    Raises:
        InputError: the audio of every clip is missing.
    """
    folder_of_audio, num_listed = folder / "audio", sum(map(len, listed.values()))
    missing = tuple(clip.name for clips in listed.values() for clip in clips if clip.audio is None)
    if len(missing) == num_listed:
        raise InputError(f"{folder_of_audio}: expected clips of the lists, named {names}. Received: none of "
                         f"{num_listed}. Add the audio or check --data.")
    if missing:
        logger.warning("%s: %d of %d listed clips (%.1f %%) are not there and are left out: %s%s", folder_of_audio,
                       len(missing), num_listed, 100 * len(missing) / num_listed, ", ".join(missing[:5]),
                       ", ..." if len(missing) > 5 else "")
    partitions = {name: tuple(clip for clip in clips if clip.audio) for name, clips in listed.items()}
    return ClipDataset(folder, labels, partitions, missing)
