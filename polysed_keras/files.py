"""Atomic file and folder writes: write under a temporary name, then rename."""
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import tempfile

from polysed_keras.errors import InputError


def short_name(name, most=100):
    """Return a file name, or if it is longer than `most` bytes, its beginning and a digest of the whole.

    File systems take 255 bytes, to which temporary names and names made from others add theirs.
    """
    content = os.fsencode(name)
    if len(content) <= most:
        return name
    return content[:most - 13].decode(errors="ignore") + "-" + hashlib.sha256(content).hexdigest()[:12]


def _temporary_beside(path, make):
    path = pathlib.Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return make(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}). Choose a writable folder.") from error


@contextlib.contextmanager
def atomic_file(path):
    """Yield a temporary path beside `path`; rename it to `path` when the block succeeds, remove it when it fails.

    Raises:
        InputError: the folder cannot be written.
    """
    def make(target):
        suffix = "".join(target.suffixes)  # libraries choose the format by it: .weights.h5
        if len(os.fsencode(suffix)) > 40:  # a name with a dot in it
            suffix = target.suffix if len(os.fsencode(target.suffix)) <= 40 else ""
        prefix = f".{short_name(target.name.removesuffix(suffix))}-"
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=target.parent)
        os.close(handle)
        os.chmod(name, 0o644)
        return pathlib.Path(name)

    temporary = _temporary_beside(path, make)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_new_directory(path):
    """Raise InputError if `path` exists and is not an empty folder, or cannot be made, as atomic_directory would."""
    _check_absent(pathlib.Path(path))
    _temporary_beside(path, lambda target: tempfile.TemporaryFile(dir=target.parent).close())


def _check_absent(path):
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path}: exists already. Choose another folder or remove it.")


@contextlib.contextmanager
def atomic_directory(path):
    """Yield a temporary folder beside `path`; rename it to `path` when the block succeeds, remove it when it fails.

    Raises:
        InputError: `path` exists and is not an empty folder, or its parent cannot be written.
    """
    path = pathlib.Path(path)
    _check_absent(path)
    temporary = _temporary_beside(
        path, lambda target: pathlib.Path(tempfile.mkdtemp(prefix=f".{short_name(target.name)}-", dir=target.parent)))
    try:
        temporary.chmod(0o755)
        yield temporary
        if path.is_dir():
            path.rmdir()
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(data, path):
    """Write `data` as indented JSON, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(data, indent=2) + "\n")


def read_json(path):
    """Read a JSON file. Raises InputError, which names the file, if it is missing or broken."""
    try:
        return json.loads(pathlib.Path(path).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a readable JSON file, received: {error}.") from error


def file_digest(path):
    """Return the first 12 hexadecimal digits of the SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def check_writable(directory):
    """Make a folder if it does not exist, and try to write in it. Raises InputError if that fails.

    Call it before hours of work whose result goes there.
    """
    _temporary_beside(pathlib.Path(directory) / "file", lambda path: tempfile.TemporaryFile(dir=path.parent).close())


def shipped_folder(installed, checkout):
    """Return a folder of the project's data: inside the package when installed, beside it in a checkout."""
    inside = pathlib.Path(__file__).resolve().parent / installed
    return inside if inside.is_dir() else inside.parents[1] / checkout


def shipped_search(name):
    """Return the path of a search that comes with the project, such as multilabel_small; another path as it is."""
    path = shipped_folder("searches", "tuning") / f"{name}.json"
    return path if path.is_file() and not pathlib.Path(name).exists() else pathlib.Path(name)
