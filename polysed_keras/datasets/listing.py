"""Lists of clips: their lines, and what is listed but not there."""
import logging

from polysed_keras.errors import InputError

logger = logging.getLogger(__name__)


def numbered_lines(path):
    """Yield (number, text) of the lines of a text file that are not blank, one after the other; no more is kept of it.

    A byte-order mark and carriage returns are tolerated.

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
    """Raises InputError where a folder is not there; `expected` says of what it should be one."""
    if not path.is_dir():
        raise InputError(f"{path}: expected {expected}. Received: no such folder. Check --data.")


def warn_of_missing(folder, missing, num_listed, names):
    """Log how many of the listed clips are missing in `folder`, as one line; `names` says how files are named.

    Raises:
        InputError: all of them are missing.
    """
    if len(missing) == num_listed:
        raise InputError(f"{folder}: expected clips of the lists, named {names}. Received: none of {num_listed}. "
                         "Add the audio or check --data.")
    if missing:
        logger.warning("%s: %d of %d listed clips (%.1f %%) are not there and are left out: %s%s", folder, len(missing),
                       num_listed, 100 * len(missing) / num_listed, ", ".join(missing[:5]),
                       ", ..." if len(missing) > 5 else "")
