"""Atomic file and folder writes: write under a temporary name, then rename."""
import contextlib
import errno
import hashlib
import json
import logging
import os
import pathlib
import re
import shutil
import tempfile
import time
import typing
import unicodedata

import filelock
import msgspec

from polysed_keras.errors import InputError, expect

CHECKSUMS = "checksums.json"  # in a folder: {path of a file in it: file_digest}
Checksums = dict[str, typing.Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{12}$")]]  # its content
SEAL = "sha256"  # key of a JSON file with the digest of its other keys
FORMAT_KEY = "polysed_format"  # key of a JSON file with its format; files without it are of format 1
FORMAT = 1  # of the files that are written; raise it if versions before would misread one, and go on reading the old
LARGEST_JSON = 2 ** 28
LONGEST_LABEL = 200
_UNWRITABLE = ("Cc", "Cs", "Zl", "Zp")  # Unicode's categories: controls, halves of characters, line and paragraph ends
_UNSAFE = re.compile(r'^\.|[\\/:*?"<>|\x00-\x1f]')
_PARTIAL, _LOCK = ".partial", ".lock"
_FULL = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS))
_UNLOCKED_SECONDS = 60  # A temporary folder of another process may be this old and have no lock yet.
_kept = {}  # {folder: the temporary folder in it that kept_workplace keeps}
logger = logging.getLogger(__name__)


def check_label(label, place):
    """Raise InputError unless a text may be a label: event lists have one per line, in columns."""
    expect(isinstance(label, str) and label.strip() == label != "" and len(label) <= LONGEST_LABEL
           and not any(unicodedata.category(character) in _UNWRITABLE for character in label), f"{place}: label",
           f"1 to {LONGEST_LABEL} characters, without tabs, line ends or spaces around them", label)


def path_inside(folder, name, place):
    """Return folder / name; raise InputError if a name from outside, such as a table's, leads out of the folder."""
    for kind in (pathlib.PurePosixPath, pathlib.PureWindowsPath):
        expect(not kind(name).anchor and ".." not in kind(name).parts and "\0" not in name, str(place),
               f"names of files in {folder}", name)
    return pathlib.Path(folder) / name


def short_name(name, most=100):
    """Return a text as the name of a file, with a digest of it if it must be changed.

    What leads to other folders or is refused by some system is replaced, and what is longer than `most` bytes is cut.
    File systems take 255 bytes, to which temporary names and names made from others add theirs.
    """
    content, safe = os.fsencode(name), _UNSAFE.sub("_", name)
    if safe == name and len(content) <= most:
        return name
    return os.fsencode(safe)[:most - 13].decode(errors="ignore") + "-" + hashlib.sha256(content).hexdigest()[:12]


@contextlib.contextmanager
def _workplace(parent, path):
    """Yield a temporary folder in `parent` for what becomes `path`, locked while the block runs, and removed after it.

    Raises:
        InputError: the folder cannot be made, or the disk was full before the block had ended.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder = pathlib.Path(tempfile.mkdtemp(prefix=f".{short_name(path.name)}-", suffix=_PARTIAL, dir=parent))
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}). Choose a writable folder.") from error
    try:
        with _told_if_full(path, folder), lock_file(folder / _LOCK):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def kept_workplace(parent):
    """Let atomic_file use one temporary folder for all files of a folder while the block runs, from one thread.

    A folder for each takes several times as long as writing a small file.

    Raises:
        InputError: it cannot be made.
    """
    parent = pathlib.Path(parent)
    with _workplace(parent, parent) as _kept[parent]:
        try:
            yield
        finally:
            del _kept[parent]


@contextlib.contextmanager
def _workplace_for(path):
    """Yield the temporary folder of a file: the one that is kept for its folder, or one of its own."""
    if (kept := _kept.get(path.parent)) is None:
        with _workplace(path.parent, path) as workplace:
            yield workplace
        return
    try:
        with _told_if_full(path, kept):
            yield kept
    finally:
        (kept / path.name).unlink(missing_ok=True)


@contextlib.contextmanager
def _told_if_full(path, workplace):
    """Raise InputError for `path` if the block fails because no more can be written, by whichever library.

    HDF5, TensorFlow and the converters raise exceptions of their own, with the system's words in their messages. An
    InputError names the path already, unless it is of a file in `workplace`, which becomes `path`.
    """
    try:
        yield
    except Exception as error:
        reason = next((words for words in _FULL if words in str(error)), None)
        if reason is None or isinstance(error, InputError) and str(workplace) not in str(error):
            raise
        raise InputError(f"{path}: cannot be written ({reason}). Make room, or choose another place, and start the "
                         "same command again.") from error


def check_room(path, size):
    """Raise OSError, as a full disk does, if the disk of a path's folder has less room than `size` bytes.

    It is for libraries that do not survive a disk that gets full; all others say so themselves.
    """
    if shutil.disk_usage(pathlib.Path(path).parent).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@contextlib.contextmanager
def temporary_folder():
    """Yield a folder for the time of the block, in the system's place for temporary files (TMPDIR).

    What killed processes have left there of theirs is removed first.
    """
    place = pathlib.Path(tempfile.gettempdir())
    remove_leftovers(place, "polysed-")
    with _workplace(place, place / "polysed") as folder:
        yield folder


@contextlib.contextmanager
def lock_file(path):
    """Hold the lock of a file while the block runs; raise filelock.Timeout at once if another process holds it."""
    lock = filelock.FileLock(path, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise
    except (OSError, NotImplementedError) as error:  # Some network file systems have no locks.
        logger.debug("%s: no lock: %s", path, error)
    try:
        yield
    finally:
        lock.release()


def remove_leftovers(folder, prefix=""):
    """Remove what processes that were killed while they wrote have left in a folder.

    Temporary folders in which another process is still at work are locked, and stay.

    Args:
        folder: the folder.
        prefix: str, what the names of the files that they wrote begin with; "" for all.
    """
    for left in pathlib.Path(folder).glob(f".{prefix}*{_PARTIAL}"):
        with contextlib.suppress(OSError):
            if (left / _LOCK).exists() or time.time() - left.stat().st_mtime > _UNLOCKED_SECONDS:
                with lock_file(left / _LOCK):
                    shutil.rmtree(left)


def _sync(path):
    """Have the content of a file, or of all files in a folder, written to the disk."""
    for each in [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]:
        with open(each, "rb") as file:
            os.fsync(file.fileno())


@contextlib.contextmanager
def atomic_file(path):
    """Yield a temporary path for `path`; rename it to `path` when the block succeeds, remove it when it fails.

    The temporary file has the same name, because libraries choose a format by it, in a temporary folder beside `path`.

    Raises:
        InputError: the folder cannot be written, or `path` is a folder, a device or a pipe.
    """
    path = pathlib.Path(path)
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: cannot be written (it is a {'folder' if path.is_dir() else 'device or a pipe'}).")
    with _workplace_for(path) as workplace:
        yield workplace / path.name
        _sync(workplace / path.name)
        os.replace(workplace / path.name, path)


def check_new_directory(path):
    """Raise InputError if `path` exists and is not an empty folder, or cannot be made, as atomic_directory would."""
    path = pathlib.Path(path)
    check_writable(path if path.is_dir() else path.parent)
    _check_absent(path)


def _check_absent(path):
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path}: exists already. Choose another folder or remove it.")


@contextlib.contextmanager
def atomic_directory(path):
    """Yield a temporary folder; give it the name `path` when the block succeeds, remove it when it fails.

    If `path` is an empty folder, which may be the current one, a mounted one or behind a link, it stays, and what was
    written is moved into it.

    Raises:
        InputError: `path` exists and is not an empty folder, or its parent cannot be written.
    """
    path = pathlib.Path(path)
    remove_leftovers(path if path.is_dir() else path.parent)
    _check_absent(path)
    with _workplace(path if path.is_dir() else path.parent, path) as workplace:
        content = workplace / "content"
        content.mkdir()
        yield content
        _sync(content)
        if path.is_dir():
            for each in sorted(content.iterdir()):
                os.replace(each, path / each.name)
        else:
            os.replace(content, path)


@contextlib.contextmanager
def locked(folder):
    """Keep other processes out of a folder, such as a run's, which is made if it does not exist.

    Raises:
        InputError: another process is at work in it, or it cannot be written, be it while the block runs.
    """
    folder = pathlib.Path(folder)
    check_writable(folder)
    try:
        with _told_if_full(folder, None), lock_file(folder / _LOCK):
            try:
                yield
            finally:
                (folder / _LOCK).unlink(missing_ok=True)
    except filelock.Timeout:
        raise InputError(f"{folder}: expected no other process at work in it. Received: one that is. Wait for it, or "
                         "choose another folder.") from None


def write_json(data, path, *, versioned=False, sealed=False):
    """Write `data` as indented JSON, atomically.

    Args:
        data: what JSON can hold; a dict, if it is versioned or sealed.
        path: the file.
        versioned: whether the number of the format is added, by which read_json of an older version refuses the file.
            It is for files that this package reads back.
        sealed: whether a digest of the content is added, too, by which read_json notices that it was changed since.
    """
    if versioned or sealed:
        data = data | {FORMAT_KEY: FORMAT}
    text = json.dumps(data, indent=2)
    if sealed:
        text = json.dumps(data | {SEAL: _seal(json.loads(text))}, indent=2)
    with atomic_file(path) as temporary:
        temporary.write_text(text + "\n")


def _seal(content):
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_json(path, kind=typing.Any, *, others=False):
    """Read a JSON file.

    Args:
        path: the file, at most LARGEST_JSON bytes.
        kind: type of its content, as of `as_type`.
        others: as of `as_type`.

    Returns:
        The content, of the type.

    Raises:
        InputError: the file is missing, too large, broken, of a newer format or changed since it was sealed, or its
            content is of another type; the message names the file.
    """
    path = pathlib.Path(path)
    try:
        size = path.stat().st_size
        content = parse_json(path.read_text()) if size <= LARGEST_JSON else None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a readable JSON file, received: {error}.") from error
    expect(size <= LARGEST_JSON, str(path), f"a JSON file of at most {LARGEST_JSON} bytes", size)
    if isinstance(content, dict):
        _check_added_keys(content, path)
    return as_type(content, kind, path, others=others)


def _check_added_keys(content, path):
    """Check the keys that write_json has added to a dict, if any, and remove them."""
    version = content.get(FORMAT_KEY, 1)
    expect(type(version) is int and 1 <= version <= FORMAT, str(path), f"a file of format {FORMAT} or older", version,
           "If a newer version of polysed_keras wrote it, update this one.")
    if SEAL in content:
        seal = content.pop(SEAL)
        expect(seal == _seal(content), str(path), f"the content that its {SEAL} is of", "another",
               f"If it was changed on purpose, remove the line with its {SEAL}; else bring it back from a copy.")
    content.pop(FORMAT_KEY, None)


def parse_json(text):
    """Parse JSON; raise ValueError if it is none, is nested too deeply, or holds a whole number beyond 64 bits."""
    def parse_int(digits):
        number = int(digits)
        if abs(number) >= 2 ** 63:
            raise ValueError(f"a number of {len(digits)} digits")
        return number

    try:
        return json.loads(text, parse_int=parse_int)
    except RecursionError as error:
        raise ValueError("too many levels") from error


def as_type(content, kind, place, *, others=False):
    """Turn what JSON holds into a type, and check every field.

    Args:
        content: dicts, lists, strings and numbers.
        kind: a dataclass, or an annotation such as dict[str, list[int]].
        place: what messages name first, such as a file.
        others: whether fields that the type does not have are passed over.

    Returns:
        The content, of the type.

    Raises:
        InputError: a field is missing, unknown, of another type, or refused by its dataclass.

    Example:
        >>> as_type({"labels": ["dog"]}, dict[str, list[str]], "labels.json")
        {'labels': ['dog']}
    """
    try:
        value = msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, InputError):
            raise InputError(f"{place}: {error.__cause__}") from error
        message, _, where = str(error).partition(" - at `$")
        where = where.rstrip("`").lstrip(".")
        message = re.sub("^Expected (.*), got (.*)", r"expected \1. Received: \2", message)
        message = re.sub("^Object missing required field (.*)", r"expected the field \1. Received: none", message)
        raise InputError(f"{place}: {where}{where and ': '}{message}.") from error
    except RecursionError as error:
        raise InputError(f"{place}: expected fewer levels. Received: {error}.") from error
    unknown = [] if others else _unknown_keys(content, msgspec.to_builtins(value))
    expect(not unknown, str(place), f"no other fields than {getattr(kind, '__name__', kind)} has", unknown)
    return value


def _unknown_keys(content, known):
    """Return the keys of dicts, at any depth, that a type did not take over."""
    if isinstance(content, dict) and isinstance(known, dict):
        return [key for key in content if key not in known] + [
            key for name in content.keys() & known.keys() for key in _unknown_keys(content[name], known[name])]
    if isinstance(content, (list, tuple)) and isinstance(known, (list, tuple)):
        return [key for each, other in zip(content, known) for key in _unknown_keys(each, other)]
    return []


def file_digest(path):
    """Return the first 12 hexadecimal digits of the SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def write_checksums(folder):
    """Write checksums.json into a folder whose other files are complete."""
    folder = pathlib.Path(folder)
    digests = {path.relative_to(folder).as_posix(): file_digest(path)
               for path in sorted(folder.rglob("*")) if path.is_file()}
    write_json(digests, folder / CHECKSUMS, sealed=True)


def check_checksums(folder):
    """Raise InputError if files of a folder are missing or others than when its checksums.json was written, if any."""
    folder = pathlib.Path(folder)
    if (folder / CHECKSUMS).is_file():
        for name, digest in read_json(folder / CHECKSUMS, Checksums).items():
            path = path_inside(folder, name, folder / CHECKSUMS)
            expect(path.is_file() and file_digest(path) == digest, str(path),
                   f"the file that {CHECKSUMS} has the digest of", "another" if path.is_file() else "none",
                   "It was damaged or changed: bring it back from a copy.")


def check_writable(directory):
    """Make a folder if it does not exist, try to write in it, and remove what killed processes have left there.

    Call it before hours of work whose result goes there. Raises InputError if the folder cannot be written.
    """
    with _workplace(pathlib.Path(directory), pathlib.Path(directory)):
        remove_leftovers(directory)


def shipped_folder(installed, checkout):
    """Return a folder of the project's data: inside the package when installed, beside it in a checkout."""
    inside = pathlib.Path(__file__).resolve().parent / installed
    return inside if inside.is_dir() else inside.parents[1] / checkout


def shipped_search(name):
    """Return the path of a search that comes with the project, such as multilabel_small; another path as it is."""
    path = shipped_folder("searches", "tuning") / f"{name}.json"
    return path if path.is_file() and not pathlib.Path(name).exists() else pathlib.Path(name)
