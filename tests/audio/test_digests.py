"""Digests of audio: that every replacement is seen, that unchanged audio is not read, and damaged notes."""
import hashlib
import logging
import os
import shutil
import urllib.parse

import pytest

from polysed_keras.audio import digests
from polysed_keras.audio.digests import DIGESTS, audio_digest


def sha(content):
    return hashlib.sha256(content).hexdigest()[:12]


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder of three files; files count as settled at once, so that tests need not wait."""
    monkeypatch.setattr(digests, "SETTLED_SECONDS", -1.0)
    (tmp_path / "data" / "audio").mkdir(parents=True)
    for name in "abc":
        (tmp_path / "data" / "audio" / f"{name}.wav").write_bytes(name.encode() * 1000)
    return tmp_path / "data"


@pytest.fixture
def read(monkeypatch):
    """The list of names of the files that are read."""
    names, digest = [], digests.file_digest
    monkeypatch.setattr(digests, "file_digest", lambda path: names.append(os.path.basename(path)) or digest(path))
    return names


def digests_of(folder, new_process=True):
    if new_process:
        digests._read_notes.cache_clear()
    return [audio_digest(path, folder / "features") for path in sorted((folder / "audio").iterdir())]


EXPECTED = [sha(name * 1000) for name in (b"a", b"b", b"c")]


@pytest.mark.parametrize("new_process", [True, False])
def test_unchanged_files_are_not_read_again(data, read, new_process):
    assert digests_of(data) == EXPECTED and read == ["a.wav", "b.wav", "c.wav"]
    assert digests_of(data, new_process) == EXPECTED and len(read) == 3


def replace_in_place(path):
    path.write_bytes(b"x" * 1000)


def replace_by_renaming(path):
    other = path.with_name("other")
    other.write_bytes(b"x" * 1000)
    other.rename(path)


@pytest.mark.parametrize("replace", [replace_in_place, replace_by_renaming])
@pytest.mark.parametrize("seconds", [-1e6, 0, 1e6], ids=["older", "same time", "newer"])
@pytest.mark.parametrize("new_process", [True, False])
def test_a_file_replaced_by_one_of_its_size_and_any_time_is_read_again(data, read, replace, seconds, new_process):
    digests_of(data)
    path = data / "audio" / "b.wav"
    before = path.stat()
    replace(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + int(seconds * 1e9)))
    assert path.stat().st_size == before.st_size
    assert digests_of(data, new_process) == [EXPECTED[0], sha(b"x" * 1000), EXPECTED[2]]
    assert read[3:] == ["b.wav"]
    assert digests_of(data, new_process) == [EXPECTED[0], sha(b"x" * 1000), EXPECTED[2]] and len(read) == 4


def test_a_file_that_was_just_written_is_not_trusted(data, read, monkeypatch):
    """Times of files are coarse: a second write within the same tick would leave no trace."""
    monkeypatch.setattr(digests, "SETTLED_SECONDS", 3600.0)
    for _ in range(2):
        assert digests_of(data) == EXPECTED
    assert len(read) == 6 and not (data / "features").exists()


def test_a_moved_folder_keeps_its_notes_and_a_copy_is_read_once(data, read, tmp_path):
    digests_of(data)
    data = data.rename(tmp_path / "moved")
    assert digests_of(data) == EXPECTED and len(read) == 3
    copy = shutil.copytree(data, tmp_path / "copy")
    for _ in range(2):
        assert digests_of(copy) == EXPECTED and len(read) == 6


def damage(content):
    """Every way in which a few bytes may be damaged: cut, flipped, put between, and of another kind altogether."""
    yield from (content[:size] for size in range(0, len(content), 7))
    yield from (content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1:] for at in range(len(content)))
    yield from (b"\0" * 100 + content, content + b"\xff\xfe half a li", content.replace(b"\n", b""), b"\n" * 50, b"{}",
                content.replace(b" ", b"\t"))


def test_damaged_notes_cost_time_and_nothing_else(data, read):
    digests_of(data)
    notes = data / "features" / DIGESTS
    for damaged in damage(notes.read_bytes()):
        notes.write_bytes(damaged)
        assert digests_of(data) == EXPECTED, damaged
        before = len(read)
        assert digests_of(data) == EXPECTED and len(read) == before, damaged  # they are whole again
    lines = notes.read_text().splitlines()
    assert len(lines) < 10 and len({line.split()[-1] for line in lines}) == 3


def test_notes_stay_small_however_often_files_change(data):
    for index in range(50):
        (data / "audio" / "a.wav").write_bytes(b"%d" % index)
        digests_of(data)
    assert len((data / "features" / DIGESTS).read_text().splitlines()) <= 2 * 3 + 1


def test_notes_that_cannot_be_written_are_told_of_once(data, read, caplog):
    (data / "features").write_text("a file in the folder's place")
    with caplog.at_level(logging.WARNING):
        assert digests_of(data) == digests_of(data, new_process=False) == EXPECTED
    assert len(read) == 3 and len(caplog.records) == 1
    assert f"digests of audio are not kept in {data / 'features' / DIGESTS}: File exists" in caplog.text


def test_a_link_in_place_of_the_notes_leads_nothing_out(data, tmp_path):
    """Data of strangers may hold one."""
    target = tmp_path / "precious"
    target.write_text("mine\n")
    (data / "features").mkdir()
    (data / "features" / DIGESTS).symlink_to(target)
    assert digests_of(data) == EXPECTED
    assert target.read_text() == "mine\n" and not (data / "features" / DIGESTS).is_symlink()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("/dev/zero", path),
                                  lambda path: os.symlink("nowhere", path)], ids=["folder", "pipe", "device", "none"])
def test_other_things_in_place_of_the_notes_stop_nothing(data, make):
    (data / "features").mkdir()
    make(data / "features" / DIGESTS)
    assert digests_of(data) == digests_of(data, new_process=False) == EXPECTED


def test_a_digest_that_is_none_is_not_taken_from_the_notes(data):
    """A digest becomes part of a file's name."""
    digests_of(data)
    notes = data / "features" / DIGESTS
    lines = [line.split(" ") for line in notes.read_text().splitlines()]
    forged = [" ".join(["../../../etc", *rest]) for _, _, *rest in lines]
    notes.write_text("".join(f"{digests._check(line)} {line}\n" for line in forged))
    assert digests_of(data) == EXPECTED


@pytest.mark.parametrize("name", ["two words.wav", "tab\tnew\nline.wav", "é.wav", os.fsdecode(b"\xff.wav"), "%20.wav"])
def test_files_of_any_name_are_noted(data, read, name):
    for path in (data / "audio").iterdir():
        path.unlink()
    (data / "audio" / name).write_bytes(b"content")
    for _ in range(2):
        assert digests_of(data) == [sha(b"content")]
    assert read == [name]
    noted = (data / "features" / DIGESTS).read_text().splitlines()[0].split()[-1]
    assert urllib.parse.unquote_to_bytes(noted) == os.fsencode(f"../audio/{name}")


def test_what_cannot_be_read_has_no_digest(data, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "none.wav", data, tmp_path / "pipe"):
        assert audio_digest(path, data / "features") is None
