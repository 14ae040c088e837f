"""Atomic writes: whole or not at all, whatever the target is, and nothing left by processes that were killed."""
import errno
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import pytest

from polysed_keras import files
from polysed_keras.errors import InputError

WORKER = """
import pathlib, sys, time
from polysed_keras import files
kind, *path = sys.argv[1:]
with getattr(files, kind)(*path) as temporary:
    if kind == "kept_workplace":
        with files.atomic_file(pathlib.Path(path[0]) / "a") as inside:
            inside.write_text("half")
            print("ready", flush=True)
            time.sleep(60)
    elif kind == "atomic_directory":
        (temporary / "half").write_text("x" * 1000)
    elif kind == "atomic_file":
        temporary.write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""
COMMAND = """
import argparse, importlib, sys, time
from polysed_keras.files import atomic_directory

def work(_):
    with atomic_directory(sys.argv[1]) as temporary:
        (temporary / "half").write_text("")
        print("ready", flush=True)
        time.sleep(60)

class Parser:
    def parse_args(self, _):
        return argparse.Namespace(function=work, interrupted="this is true")

command = importlib.import_module("polysed_keras.cli.main")
command.build_parser = Parser
sys.exit(command.main())
"""


def start(program, *arguments):
    """Start a program in a process and wait until it says that it is ready."""
    process = subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE, text=True,
                               stderr=subprocess.PIPE)
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process, number=signal.SIGKILL):
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors


def test_file_replaces_an_old_one_only_when_it_is_whole(tmp_path):
    replace_a_file(tmp_path / "new" / "a.weights.h5")
    assert os.listdir(tmp_path / "new") == ["a.weights.h5"]


def replace_a_file(path):
    with files.atomic_file(path) as temporary:
        temporary.write_text("1")
    with pytest.raises(ZeroDivisionError), files.atomic_file(path) as temporary:
        assert temporary.name == path.name and temporary != path
        temporary.write_text("2")
        assert 1 / 0
    assert path.read_text() == "1"


def test_files_that_share_a_workplace_are_as_whole_as_others(tmp_path):
    with files.kept_workplace(tmp_path / "new"):
        replace_a_file(tmp_path / "new" / "a.weights.h5")
        [kept] = [name for name in os.listdir(tmp_path / "new") if name.endswith(".partial")]
        assert os.listdir(tmp_path / "new" / kept) == [".lock"]
        files.remove_leftovers(tmp_path / "new")  # by another process that works in the folder
        assert kept in os.listdir(tmp_path / "new")
        with pytest.raises(InputError, match="new/b: cannot be written .No space"), files.atomic_file(
                tmp_path / "new" / "b"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert os.listdir(tmp_path / "new") == ["a.weights.h5"]
    with files.atomic_file(tmp_path / "new" / "b") as temporary:
        temporary.write_text("by itself again")
    assert (tmp_path / "new" / "b").read_text() == "by itself again"


def test_content_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    """After a power failure a name that is there has its content."""
    done = []
    real_sync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (done.append(os.readlink(f"/proc/self/fd/{number}").split("/")[-1]),
                                                     real_sync(number)))
    monkeypatch.setattr(os, "replace", lambda old, new: (done.append(f"-> {pathlib.Path(new).name}"),
                                                         real_replace(old, new)))
    with files.atomic_file(tmp_path / "file") as temporary:
        temporary.write_text("1")
    assert done == ["file", "-> file"]
    done.clear()
    write_tree(tmp_path / "folder")
    assert sorted(done[:2]) == ["a", "c"] and done[2:] == ["-> folder"]


def test_file_is_no_folder_and_no_device(tmp_path):
    for path in (tmp_path, pathlib.Path(os.devnull)):
        with pytest.raises(InputError, match=r"cannot be written \(it is a (folder|device)"), files.atomic_file(path):
            pytest.fail("work would be lost")
    assert not pathlib.Path(os.devnull).is_file()


def test_file_has_the_permissions_that_new_files_have(tmp_path):
    (tmp_path / "plain").write_text("")
    with files.atomic_file(tmp_path / "atomic") as temporary:
        temporary.write_text("")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def write_tree(path):
    with files.atomic_directory(path) as temporary:
        (temporary / "a").write_text("1")
        (temporary / "b").mkdir()
        (temporary / "b" / "c").write_text("2")


def tree(path):
    return sorted(each.relative_to(path).as_posix() for each in pathlib.Path(path).rglob("*"))


@pytest.mark.parametrize("kind", ["new", "empty", ".", "link", "file in it"])
def test_directory_wherever_it_is(kind, tmp_path, monkeypatch):
    """An empty folder is written into: the current one or a mounted one cannot be replaced."""
    path = tmp_path / "there"
    if kind != "new":
        path.mkdir()
    number = path.stat().st_ino if path.exists() else None
    if kind == ".":
        monkeypatch.chdir(path)
        path = pathlib.Path(".")
    elif kind == "link":
        (tmp_path / "link").symlink_to(path)
        path = tmp_path / "link"
    elif kind == "file in it":
        (path / "mine").write_text("kept")
        with pytest.raises(InputError, match="exists already"):
            files.check_new_directory(path)
        with pytest.raises(InputError, match="exists already"):
            write_tree(path)
        assert tree(path) == ["mine"]
        return
    files.check_new_directory(path)
    write_tree(path)
    assert tree(path) == ["a", "b", "b/c"]
    assert number in (None, path.stat().st_ino)
    assert not [each for each in os.listdir(tmp_path) if each.startswith(".")]


@pytest.mark.parametrize("exists", [True, False])
def test_directory_that_fails_leaves_nothing(exists, tmp_path):
    path = tmp_path / "there"
    if exists:
        path.mkdir()
    with pytest.raises(ZeroDivisionError), files.atomic_directory(path) as temporary:
        (temporary / "a").write_text("1")
        assert 1 / 0
    assert tree(tmp_path) == ["there"] * exists


def test_broken_link_is_no_place_for_a_folder(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="exists already"):
        write_tree(tmp_path / "link")


@pytest.mark.parametrize("kind", ["atomic_file", "atomic_directory", "kept_workplace"])
def test_what_a_killed_process_left_is_removed_by_the_next(kind, tmp_path):
    process = start(WORKER, kind, tmp_path if kind == "kept_workplace" else tmp_path / "there")
    files.check_writable(tmp_path)
    assert len(os.listdir(tmp_path)) == 1  # another process is at work
    kill(process)
    assert len(os.listdir(tmp_path)) == 1
    files.check_writable(tmp_path)
    assert os.listdir(tmp_path) == []


def test_what_a_killed_process_left_in_the_system_s_folder_is_removed_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / ".other.partial").mkdir()  # of another program, long ago
    os.utime(tmp_path / ".other.partial", (0, 0))
    kill(start(WORKER, "temporary_folder"))
    assert len(os.listdir(tmp_path)) == 2
    with files.temporary_folder() as folder:
        assert sorted(os.listdir(tmp_path)) == sorted([".other.partial", folder.name]) and folder.is_dir()
    assert os.listdir(tmp_path) == [".other.partial"]


@pytest.mark.parametrize("kind", ["atomic_file", "atomic_directory", "locked"])
@pytest.mark.parametrize("error, name", [
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "there"),
    (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "there"),
    (RuntimeError("file write failed, error message = 'No space left on device'\nin HDF5"), "there"),  # of a library
    (InputError("elsewhere: cannot be written (No space left on device). Make room"), "elsewhere")])
def test_full_disk_is_told_with_the_final_name(kind, error, name, tmp_path):
    words = rf"{name}: cannot be written \((No space left on device|Disk quota exceeded)\). Make room"
    with pytest.raises(InputError, match=words), getattr(files, kind)(tmp_path / "there"):
        raise error
    assert tree(tmp_path) == ["there"] * (kind == "locked")


def test_full_disk_is_told_with_the_name_of_the_folder_that_was_to_be_there(tmp_path):
    with pytest.raises(InputError, match="there: cannot be written") as raised, files.atomic_directory(
            tmp_path / "there") as temporary, files.atomic_file(temporary / "a.json"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert ".partial" not in str(raised.value) and tree(tmp_path) == []


def test_folder_that_a_killed_process_half_wrote_is_written_again(tmp_path):
    kill(start(WORKER, "atomic_directory", tmp_path))
    write_tree(tmp_path)
    assert tree(tmp_path) == ["a", "b", "b/c"]


def test_one_process_at_a_time_in_a_locked_folder(tmp_path):
    process = start(WORKER, "locked", tmp_path / "run")
    with pytest.raises(InputError, match="no other process at work in it"), files.locked(tmp_path / "run"):
        pytest.fail("two at work")
    kill(process)
    with files.locked(tmp_path / "run"):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_interrupted_command_leaves_nothing(number, tmp_path):
    code, errors = kill(start(COMMAND, tmp_path / "there"), number)
    assert code == 128 + number
    assert errors == "polysed: interrupted; this is true\n"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("label, fits", [
    ("dog", True), ("speech, male", True), ("Straße/Hof", True), ("\N{DOG FACE}", True), ("a" * 200, True),
    ("", False), (" dog", False), ("a\tb", False), ("a\nb", False), ("a\0b", False), ("a\u2028b", False),
    ("\udce4", False), ("a" * 201, False), (5, False), (None, False)])
def test_labels(label, fits):
    if fits:
        files.check_label(label, "here")
        return
    with pytest.raises(InputError, match="^here: label: expected 1 to 200 characters"):
        files.check_label(label, "here")


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/a", "..", "C:\\a", "C:a", "\\\\server\\a", "a\\..\\b", "a\0"])
def test_paths_lead_nowhere_else(name, tmp_path):
    with pytest.raises(InputError, match="^list.txt: expected names of files in"):
        files.path_inside(tmp_path, name, "list.txt")
    assert files.path_inside(tmp_path, "a/b..wav", "list.txt") == tmp_path / "a" / "b..wav"


@pytest.mark.parametrize("text", ["/abs", "../x", "..", ".", "a/b", "a\\b", "C:x", "w?", "a\nb", "x" * 300, "ä" * 120])
def test_names_of_files_made_from_texts(text, tmp_path):
    name = files.short_name(text)
    (tmp_path / name).write_text("")
    assert os.listdir(tmp_path) == [name] and len(os.fsencode(name)) <= 113
    assert files.short_name(text + " ") != name


@pytest.mark.parametrize("content, kind, message", [
    ("[" * 100_000, dict, "expected a readable JSON file"),
    ("{", dict, "expected a readable JSON file"),
    ("[1]", dict[str, int], r"expected `object`. Received: `array`\."),
    ('{"a": "b"}', dict[str, int], r"\[...\]: expected `int`. Received: `str`\."),
])
def test_json_of_another_kind_is_refused(content, kind, message, tmp_path):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match=f"a.json: {message}"):
        files.read_json(tmp_path / "a.json", kind)


def test_json_that_is_too_large_is_not_read(tmp_path):
    with open(tmp_path / "a.json", "wb") as file:
        file.truncate(files.LARGEST_JSON + 1)  # takes no space
    with pytest.raises(InputError, match="expected a JSON file of at most 268435456 bytes"):
        files.read_json(tmp_path / "a.json")


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for write in (lambda path: files.check_writable(path), lambda path: files.check_new_directory(path / "new")):
        with pytest.raises(InputError, match="cannot be written"):
            write(tmp_path / "file" / "below")
