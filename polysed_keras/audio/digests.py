"""Digests of the content of audio files, noted in a file so that only new and changed audio is read for them."""
import functools
import logging
import os
import pathlib
import re
import stat
import time
import urllib.parse
import zlib

from polysed_keras.errors import InputError
from polysed_keras.files import LARGEST_JSON, atomic_file, file_digest

DIGESTS = "digests.txt"  # in a folder of what is made of audio, such as features
# Within so many seconds a file may be replaced once more without another time, for times of files are coarse.
SETTLED_SECONDS = 2.0
# A line of digests.txt: a check sum of the others, the digest, the state in which the file had it, and its path.
_LINE = re.compile(r"^([0-9a-f]{8}) (([0-9a-f]{12}) (\S+) (\S+))$", re.MULTILINE | re.ASCII)
logger = logging.getLogger(__name__)


def audio_digest(path, cache):
    """Return the digest of an audio file's content, which is read only if the file is new or was changed.

    A file was changed if its size, its inode, its time of modification or its time of change (ctime) is another than
    noted. `cp -p`, rsync, tar and touch set the time of modification, but the system alone sets the time of change.
    Notes that are missing, damaged or cannot be written cost time, not the result.

    Args:
        path: audio file.
        cache: folder of what is made of the audio, in which digests.txt has the notes; it is made if need be.

    Returns:
        12 hexadecimal digits, as of files.file_digest; None if there is no file that can be read.

    Example:
        >>> audio_digest("data/audio/street.wav", "data/features")    # doctest: +SKIP
        '0b5c3f0b6a2e'
    """
    try:
        cache, path = os.path.abspath(cache), os.path.abspath(path)
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # Reading a pipe would wait for ever.
            return None
        notes, name = _read_notes(cache), urllib.parse.quote_from_bytes(os.fsencode(os.path.relpath(path, cache)))
        state = f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}"
        if notes.known.get(name, ("",))[0] != state:
            digest = file_digest(path)
            if time.time() - status.st_ctime < SETTLED_SECONDS:
                return digest
            notes.add(name, state, digest)
        return notes.known[name][1]
    except OSError:
        return None


class _Notes:
    """The content of a digests.txt, {quoted path: (state, digest)} as `known`."""

    def __init__(self, cache):
        self._path, self._writable, self.known = pathlib.Path(cache) / DIGESTS, True, {}
        try:
            content = self._read()
            self.known = {name: (state, digest) for check, text, digest, state, name in _LINE.findall(content)
                          if check == _check(text)}
            lines = content.count("\n")
            if content and not (content.endswith("\n") and len(self.known) <= lines <= 2 * len(self.known)):
                # Others are damaged or outdated. Behind half a line, a new one would be damaged too.
                with atomic_file(self._path) as temporary:
                    temporary.write_text("".join(_line(name, *noted) for name, noted in self.known.items()))
        except (OSError, InputError) as error:
            self._give_up(error)

    def _read(self):
        """Return the file's text, or a damaged line in place of something that cannot be a digests.txt."""
        if not os.path.lexists(self._path):
            return ""
        # A link is not followed: whoever made the data could have lines appended to any file by it.
        usable = self._path.is_file() and not self._path.is_symlink() and self._path.stat().st_size <= LARGEST_JSON
        return self._path.read_text("ascii", errors="replace") if usable else "\n"

    def _give_up(self, error):
        logger.warning("digests of audio are not kept in %s: %s", self._path, getattr(error, "strerror", error))
        self._writable = False

    def add(self, name, state, digest):
        """Append a line; other processes may append at the same time."""
        self.known[name] = state, digest
        if not self._writable:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
            try:
                os.write(file, _line(name, state, digest).encode())
            finally:
                os.close(file)
        except OSError as error:
            self._give_up(error)


_read_notes = functools.cache(_Notes)


def _line(name, state, digest):
    text = f"{digest} {state} {name}"
    return f"{_check(text)} {text}\n"


def _check(text):
    return f"{zlib.crc32(text.encode()):08x}"
