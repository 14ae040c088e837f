"""Audio files as recorders, editors and accidents leave them; docs/guides/odd-files.md lists them."""
import logging
import os
import pathlib
import re
import struct

import numpy as np
import pytest

from polysed_keras.audio.files import audio_blocks, audio_info, find_audio, load_audio
from polysed_keras.errors import InputError

from audio_bytes import RATE, decoded, encoded

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "guides" / "odd-files.md"
NOISE = np.random.default_rng(0).uniform(-0.7, 0.7, 8000)
PCM = np.round(NOISE * 32767).astype("<i2")
GUID = b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"


def chunk(name, content, is_padded=True):
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2 and is_padded)


def wav(*chunks):
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def layout(tag=1, bits=16, extra=b""):
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, 1, RATE, RATE * bits // 8, bits // 8, bits) + extra)


def tagged(content, size=20_000):
    """The content behind an ID3v2 tag with a picture, in which frames of MP3 seem to stand."""
    picture = (b"\0image/jpeg\0\3\0" + b"\xff\xfb\x90\0" * size)[:size]
    frame = b"APIC" + struct.pack(">I", size) + b"\0\0" + picture
    return b"ID3\3\0\0" + bytes(len(frame) >> shift & 127 for shift in (21, 14, 7, 0)) + frame + content


def in_ogg(flac, page_bytes=4000):
    """FLAC in Ogg, as its mapping says: nine bytes before the header, the comment, and frames in pages."""
    place = 4
    while True:  # to the end of what stands before the frames
        is_last, place = flac[place] & 128, place + 4 + int.from_bytes(flac[place + 1:place + 4], "big")
        if is_last:
            break
    frames, comment = flac[place:], struct.pack("<I", 1) + b"x" + struct.pack("<I", 0)
    packets = [b"\x7fFLAC\1\0\0\1fLaC" + bytes([flac[4] & 127]) + flac[5:42],
               b"\x84" + len(comment).to_bytes(3, "big") + comment]
    packets += [frames[begin:begin + page_bytes] for begin in range(0, len(frames), page_bytes)]
    return b"".join(page(packet, number, 2 * (number == 0) + 4 * (number == len(packets) - 1))
                    for number, packet in enumerate(packets))


def page(packet, number, flags):
    """One page of Ogg; libsndfile sees none of it, so that its checksum may be 0."""
    lacing = bytes([255] * (len(packet) // 255) + [len(packet) % 255])
    return b"OggS\0" + struct.pack("<BqIIIB", flags, 0, 7, number, 0, len(lacing)) + lacing + packet


DATA = chunk(b"data", PCM.tobytes())
WAV, FLAC, OGG, MP3 = wav(layout(), DATA), encoded(PCM, "FLAC"), encoded(NOISE, "OGG"), encoded(NOISE, "MP3")
SAMPLES = decoded(WAV)
FRAMES = re.search(b"Info|Xing", MP3).end() + 4  # where an MP3 header says how many frames follow


def promising(number):
    return MP3[:FRAMES] + struct.pack(">I", number) + MP3[FRAMES + 4:]


# name: file name, its content, the samples, and a word of the warning or None
READ = {
    "an odd chunk": ("a.wav", wav(layout(), chunk(b"junk", b"abc"), DATA), SAMPLES, None),
    "an odd chunk without its zero": ("a.wav", wav(layout(), chunk(b"junk", b"abc", False), DATA), SAMPLES, None),
    "LIST before the layout": ("a.wav", wav(chunk(b"LIST", b"INFOISFTabcd"), layout(), DATA), SAMPLES, None),
    "WAVE_FORMAT_EXTENSIBLE": ("a.wav", wav(layout(0xFFFE, extra=struct.pack("<HHIH", 22, 16, 4, 1) + GUID), DATA),
                               SAMPLES, None),
    "a layout of 18 bytes": ("a.wav", wav(layout(extra=b"\0\0"), DATA), SAMPLES, None),
    "a wrong fact": ("a.wav", wav(layout(3, 32, b"\0\0"), chunk(b"fact", b"\5\0\0\0"),
                                  chunk(b"data", NOISE.astype("<f4").tobytes())), NOISE.astype("f4"), None),
    "more bytes promised than there are": ("a.wav", wav(layout(), b"data" + struct.pack("<I", 40_000) + PCM.tobytes()),
                                           SAMPLES, "is shorter"),
    "a tag of MP3 behind WAV": ("a.wav", WAV + b"TAG" + bytes(125), SAMPLES, "128 bytes behind"),
    **{f"WAV of {subtype}": ("a.wav", content := encoded(NOISE, "WAV", subtype=subtype), decoded(content), None)
       for subtype in ("PCM_U8", "PCM_24", "PCM_32", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610")},
    "256 channels": ("a.wav", content := encoded(np.stack([NOISE[:100]] * 256, 1), "WAV"), decoded(content), None),
    "one sample": ("a.wav", content := encoded(NOISE[:1], "WAV"), decoded(content), None),
    "one sample of MP3": ("a.mp3", content := encoded(NOISE[:1], "MP3"), decoded(content), None),
    "sound louder than full scale": ("a.wav", encoded(3 * NOISE, "WAV", subtype="FLOAT"), (3 * NOISE).astype("f4"),
                                     None),
    "WAV named MP3": ("a.mp3", WAV, SAMPLES, None),
    "WAV named FLAC": ("a.flac", WAV, SAMPLES, None),
    "MP3 named WAV": ("a.wav", MP3, decoded(MP3), None),
    "FLAC named Ogg": ("a.ogg", FLAC, SAMPLES, None),
    "MP3 with a picture": ("a.mp3", tagged(MP3), decoded(MP3), None),
    "FLAC behind a tag of MP3": ("a.flac", tagged(FLAC), SAMPLES, None),
    "Ogg behind a tag of MP3": ("a.ogg", tagged(OGG), decoded(OGG), None),
    "too few frames promised": ("a.mp3", promising(5), decoded(MP3), None),
    "one frame promised": ("a.mp3", promising(1), decoded(MP3), None),
    "too many frames promised": ("a.mp3", promising(1000), decoded(MP3), "is shorter"),
    "lyrics behind MP3": ("a.mp3", MP3 + b"LYRICSBEGIN" + b"la" * 200 + b"000411LYRICS200TAG" + bytes(125),
                          decoded(MP3), None),
    "zeros behind FLAC": ("a.flac", FLAC + bytes(1000), SAMPLES, "behind the samples"),
    "a tag of MP3 behind FLAC": ("a.flac", FLAC + b"TAG" + bytes(125), SAMPLES, "behind the samples"),
    "FLAC in Ogg": ("a.oga", in_ogg(FLAC), SAMPLES, None),
    "FLAC in Ogg, chained": ("a.ogg", 2 * in_ogg(FLAC, 60_000), np.tile(SAMPLES, 2), None),
    "Opus": ("a.opus", content := encoded(NOISE, "OGG", subtype="OPUS"), decoded(content), None),
    "AIFF-C of little ends": ("a.aifc", encoded(PCM, "AIFF", endian="LITTLE"), SAMPLES, None),
    "AU of 24 bits": ("a.au", content := encoded(NOISE, "AU", subtype="PCM_24"), decoded(content), None),
    "CAF of ALAC": ("a.caf", encoded(PCM, "CAF", subtype="ALAC_16"), SAMPLES, None),
    "RIFX": ("a.wav", encoded(PCM, "WAV", endian="BIG"), SAMPLES, None),
    "NIST": ("a.sph", encoded(PCM, "NIST"), SAMPLES, None),
}


@pytest.mark.parametrize("name, content, samples, warning", READ.values(), ids=READ)
def test_odd_files_are_read_whole(name, content, samples, warning, tmp_path, caplog):
    path = tmp_path / name
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        received = load_audio(path, RATE)
    np.testing.assert_allclose(received, samples, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(np.concatenate(list(audio_blocks(path, RATE, block_seconds=0.013))), received)
    assert audio_info(path).duration == len(samples) / RATE
    assert all(f"{path}: " in message and warning in message for message in caplog.messages if warning)
    assert bool(caplog.messages) == bool(warning)


NOT_READ = "expected audio that libsndfile reads"
# name: file name, its content, and words of the error
REFUSED = {
    "no bytes": ("a.wav", b"", "an empty file"),
    "one byte": ("a.wav", b"R", NOT_READ),
    "no samples": ("a.wav", wav(layout(), chunk(b"data", b"")), "0 samples"),
    "text named WAV": ("a.wav", b"This is no sound.\n" * 100, NOT_READ),
    "a page in place of MP3": ("a.mp3", b"<!DOCTYPE html><title>404</title>" * 20, NOT_READ),
    "a pointer of Git LFS": ("a.wav", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n", NOT_READ),
    "zeros": ("a.wav", bytes(20_000), NOT_READ),
    "no layout": ("a.wav", wav(DATA), NOT_READ),
    "no sound": ("a.wav", wav(layout()), NOT_READ),
    "no channels": ("a.wav", wav(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 0, RATE, 0, 0, 16)), DATA), NOT_READ),
    "not a number": ("a.wav", encoded(np.append(NOISE, np.nan), "WAV", subtype="FLOAT"), "NaN or infinity"),
    "infinite samples": ("a.wav", encoded(np.append(NOISE, np.inf), "WAV", subtype="DOUBLE"), "NaN or infinity"),
    "half of a FLAC file": ("a.flac", FLAC[:len(FLAC) // 2], "truncated or corrupt"),
    "WMA in WAV": ("a.wav", wav(layout(0x161, extra=b"\2\0\0\0"), chunk(b"data", bytes(2000))), NOT_READ),
    "AAC in WAV": ("a.wav", wav(layout(0xFF, extra=b"\2\0\0\0"), chunk(b"data", bytes(2000))), NOT_READ),
    "MP4 named WAV": ("a.wav", b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom" + bytes(1000), NOT_READ),
    "WebM named Ogg": ("a.ogg", b"\x1aE\xdf\xa3" + bytes(1000), NOT_READ),
    "AMR named WAV": ("a.wav", b"#!AMR\n" + bytes(1000), NOT_READ),
    "AVI named WAV": ("a.wav", b"RIFF\0\0\0\0AVI LIST" + bytes(1000), NOT_READ),
    "Speex in Ogg": ("a.ogg", page(b"Speex   1.2" + bytes(70), 0, 2) + page(bytes(100), 1, 4), NOT_READ),
}


@pytest.mark.parametrize("name, content, words", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_one_line(name, content, words, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as error:
        load_audio(path, RATE)
    assert str(error.value).startswith(f"{path}: expected ") and "\n" not in str(error.value)


@pytest.mark.parametrize("make, words", [(os.mkfifo, "a special file"), (os.mkdir, "a folder"),
                                         (lambda path: os.symlink(path, path), "nothing there")],
                         ids=["pipe", "folder", "link to itself"])
def test_what_is_no_file_is_told(make, words, tmp_path):
    """A pipe would be waited for without an end."""
    make(tmp_path / "a.wav")
    with pytest.raises(InputError, match=f"{re.escape(str(tmp_path))}/a.wav: expected .*Received: {words}"):
        load_audio(tmp_path / "a.wav")
    with pytest.raises(InputError, match=f"{re.escape(str(tmp_path))}/a.wav: expected .*Received: {words}"):
        find_audio([tmp_path / "a.wav"])


@pytest.mark.parametrize("name", ["-a", "100%s %d", "\U0001f415", "a ", " a", "a\nb", "#a", "a;b,c", '"q"', "{x}", "~",
                                  "u\u0308", "a\u200bb", os.fsdecode(b"\xff")])
def test_names_of_any_letters_are_found_and_read(name, tmp_path):
    (tmp_path / f"{name}.wav").write_bytes(WAV)
    path, = find_audio([tmp_path])
    assert len(load_audio(path, RATE)) == len(SAMPLES)


def test_the_page_of_odd_files_lists_all():
    listed = PAGE.read_text("utf-8").splitlines()
    assert [name for name in (*READ, *REFUSED) if not any(line.startswith(f"| {name} |") for line in listed)] == []
