"""Files that libsndfile reads a part of, or not at all: joined ones, and ones whose header does not say how long."""
import io
import logging
import struct
import tracemalloc

import numpy as np
import pytest
import soundfile

from polysed_keras.audio.files import audio_blocks, audio_info, load_audio
from polysed_keras.audio.streams import find_streams
from polysed_keras.errors import InputError

from audio_bytes import RATE, decoded, encoded

ID3 = b"ID3\x04\0\0\0\0\x0f\x76" + bytes(2038)  # a tag of 2048 bytes
TRAILER = b"APETAGEX" + bytes(88) + b"TAG" + bytes(125)


def noise(seconds=1.0, rate=RATE, seed=0):
    return np.random.default_rng(seed).uniform(-0.7, 0.7, round(seconds * rate))


def saved(folder, name, content):
    (folder / name).write_bytes(content)
    return folder / name


def read_quietly(path, caplog, rate=RATE):
    with caplog.at_level(logging.WARNING):
        received = load_audio(path, rate)
    assert caplog.text == ""
    return received


STEREO = np.stack([noise(seed=5), noise(seed=6)], axis=1)
PARTS = {
    ".ogg": [encoded(noise(seed=seed), "OGG", subtype="VORBIS") for seed in range(3)],
    ".opus": [encoded(noise(seed=seed), "OGG", subtype="OPUS") for seed in range(2)],
    ".mp3": [encoded(noise(seed=seed), "MP3") for seed in range(3)],
    ".flac": [encoded(noise(seed=seed), "FLAC") for seed in range(3)],
    ".wav": [encoded(noise(seed=seed), "WAV", subtype="PCM_16") for seed in range(3)]}


# Files that stand one behind another

@pytest.mark.parametrize("suffix", PARTS)
def test_joined_files_are_read_whole(suffix, tmp_path, caplog):
    path = saved(tmp_path, f"a{suffix}", b"".join(PARTS[suffix]))
    expected = np.concatenate([decoded(part) for part in PARTS[suffix]])
    np.testing.assert_allclose(read_quietly(path, caplog), expected, atol=2e-6)
    assert audio_info(path) == (len(expected) / RATE, RATE, 1, soundfile.info(io.BytesIO(PARTS[suffix][0])).subtype)
    blocks = np.concatenate(list(audio_blocks(path, RATE, block_seconds=0.013)))
    np.testing.assert_allclose(blocks, expected, atol=2e-6)


@pytest.mark.parametrize("suffix, other", [
    (".ogg", encoded(noise(rate=8000, seed=7), "OGG", 8000, subtype="VORBIS")),
    (".mp3", encoded(noise(rate=32000, seed=7), "MP3", 32000)),
    (".mp3", encoded(noise(rate=8000, seed=7), "MP3", 8000)),
    (".flac", encoded(noise(rate=48000, seed=7), "FLAC", 48000)),
    (".wav", encoded(noise(rate=44100, seed=7), "WAV", 44100, subtype="PCM_24"))],
    ids=["ogg", "MPEG-1 behind MPEG-2", "MPEG-2.5 behind MPEG-2", "flac", "wav"])
def test_parts_keep_their_own_rates(suffix, other, tmp_path, caplog):
    path = saved(tmp_path, f"a{suffix}", PARTS[suffix][0] + other)
    received, first = read_quietly(path, caplog), decoded(PARTS[suffix][0])
    np.testing.assert_allclose(received[:len(first)], first, atol=2e-6)
    alone = load_audio(saved(tmp_path, f"b{suffix}", other), RATE)
    np.testing.assert_allclose(received[len(first):], alone, atol=2e-6)
    assert len(alone) == pytest.approx(RATE, abs=1)
    assert audio_info(path).duration == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize("suffix, format", [(".ogg", "OGG"), (".mp3", "MP3"), (".flac", "FLAC"), (".wav", "WAV")])
def test_parts_keep_their_own_channels(suffix, format, tmp_path, caplog):
    parts = [encoded(STEREO, format), PARTS[suffix][1], encoded(STEREO, format)]
    received = read_quietly(saved(tmp_path, f"a{suffix}", b"".join(parts)), caplog)
    np.testing.assert_allclose(received, np.concatenate([decoded(part) for part in parts]), atol=2e-6)


@pytest.mark.parametrize("format", ["AIFF", "AU", "W64", "CAF"])
@pytest.mark.parametrize("subtype, seconds", [("PCM_16", 0.5), ("PCM_16", 0.0313), ("PCM_24", 0.1)])
def test_joined_files_of_older_kinds_are_read_whole(format, subtype, seconds, tmp_path, caplog):
    parts = [encoded(noise(seconds, seed=seed), format, subtype=subtype) for seed in range(3)]
    path = saved(tmp_path, f"a.{format.lower()}", b"".join(parts))
    np.testing.assert_array_equal(read_quietly(path, caplog), np.concatenate(list(map(decoded, parts))))


@pytest.mark.parametrize("before", [bytes(100), b"APETAGEX" + bytes(24), ID3 + ID3, ID3 + bytes(50)],
                         ids=["zeros", "APE", "two tags", "tag and zeros"])
def test_what_stands_before_an_mp3_file_is_passed_over(before, tmp_path, caplog):
    path = saved(tmp_path, "a.mp3", before + PARTS[".mp3"][0])
    np.testing.assert_allclose(read_quietly(path, caplog), decoded(PARTS[".mp3"][0]), atol=2e-6)


@pytest.mark.parametrize("between", [ID3, TRAILER, TRAILER + ID3, bytes(1000)], ids=["ID3", "APE", "both", "zeros"])
def test_tags_between_mp3_files_are_passed_over(between, tmp_path, caplog):
    path = saved(tmp_path, "a.mp3", between.join([b"", *PARTS[".mp3"], b""]))
    expected = np.concatenate([decoded(part) for part in PARTS[".mp3"]])
    np.testing.assert_allclose(read_quietly(path, caplog), expected, atol=2e-6)


def test_a_joined_file_whose_last_part_is_cut_is_told(tmp_path, caplog):
    for suffix in (".ogg", ".mp3", ".wav"):
        first, last = PARTS[suffix][0], encoded(noise(4), suffix[1:])
        received = load_audio(saved(tmp_path, f"a{suffix}", first + last[:len(last) * 2 // 3]), RATE)
        assert 2.5 * RATE < len(received) < 4.5 * RATE
        assert f"a{suffix}: is shorter than its header says" in caplog.text
        caplog.clear()


def test_an_ogg_link_without_its_last_page_is_told_and_the_next_is_read(tmp_path, caplog):
    first, last = PARTS[".ogg"][:2]
    cut = first[:first.rindex(b"OggS")]
    received = load_audio(saved(tmp_path, "a.ogg", cut + last), RATE)
    np.testing.assert_array_equal(received[-RATE:], decoded(last))
    assert len(received) > 1.5 * RATE and "is shorter" in caplog.text


def test_a_broken_part_is_an_error_of_the_file(tmp_path):
    broken = PARTS[".flac"][1][:60] + bytes(2000)
    path = saved(tmp_path, "a.flac", PARTS[".flac"][0] + broken)
    with pytest.raises(InputError, match=f"{path}: expected audio"):
        load_audio(path, RATE)


# MP3 without a header that says how long it is

def without_header(content):
    """An MP3 file of libsndfile without its first frame, in which only the length stands."""
    begin = next(place for place in range(4, 2000) if content[place:place + 1] == b"\xff"
                 and content[place + 1] == content[1])
    assert b"Info" in content[:begin] or b"Xing" in content[:begin]
    return content[begin:]


@pytest.mark.parametrize("order", [(0.001, 0.7), (0.7, 0.001)], ids=["quiet first", "loud first"])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("channels", [1, 2])
def test_headerless_mp3_is_read_to_its_end(order, rate, channels, tmp_path, caplog):
    """Of a variable bit rate, whose first frames say nothing about the number of them all."""
    tone = np.sin(np.arange(5 * rate) * 0.05)
    samples = np.concatenate([tone * order[0], noise(5, rate) * order[1]] if order[0] < order[1] else
                             [noise(5, rate) * order[0], tone * order[1]])
    content = encoded(np.stack([samples] * channels, axis=1), "MP3", rate, bitrate_mode="VARIABLE",
                      compression_level=0.2)
    expected = decoded(content)
    for prefix in (b"", ID3, content[:0] + b"\0" * 17):
        path = saved(tmp_path, "a.mp3", prefix + without_header(content))
        received = read_quietly(path, caplog, rate)
        assert len(received) >= len(expected) and audio_info(path).duration == len(received) / rate
        lag = len(received) - len(expected)
        shift = min(range(lag + 1), key=lambda shift: np.abs(
            received[shift + 2000:shift + 4000] - expected[2000:4000]).max())
        np.testing.assert_allclose(received[shift + 2000:][:len(expected) - 4000], expected[2000:-2000], atol=1e-5)


def test_mp3_frames_behind_those_that_a_header_promised_are_read(tmp_path, caplog):
    """As if a file without a header were joined to one with it."""
    first, last = PARTS[".mp3"][0], without_header(PARTS[".mp3"][1])
    received = read_quietly(saved(tmp_path, "a.mp3", first + last), caplog)
    np.testing.assert_allclose(received[:RATE], decoded(first), atol=2e-6)
    alone = load_audio(saved(tmp_path, "b.mp3", last), RATE)
    assert len(received) == RATE + len(alone) and len(alone) >= RATE
    np.testing.assert_allclose(received[RATE:], alone, atol=2e-6)


def test_mp3_cut_out_of_a_stream_is_read(tmp_path, caplog):
    """Its first bytes are the rest of a frame; the next frame may need what stood in it."""
    whole = decoded(PARTS[".mp3"][0])
    received = read_quietly(saved(tmp_path, "a.mp3", PARTS[".mp3"][0][1000:]), caplog)
    assert 0.85 * RATE < len(received) <= RATE + 1152
    best = max(range(3000), key=lambda shift: received[3000:5000] @ whole[3000 + shift:5000 + shift])
    np.testing.assert_allclose(received[3000:9000], whole[3000 + best:9000 + best], atol=1e-5)


# Headers that were never finished

UNKNOWN = [0, 0xFFFFFFFF, 0x7FFFF000, 0x80000000]


def patched(content, *values):
    """The content with unsigned numbers written at places: (place, format, number)."""
    content = bytearray(content)
    for place, format, number in values:
        content[place:place + struct.calcsize(format)] = struct.pack(format, number)
    return bytes(content)


@pytest.mark.parametrize("data_size", UNKNOWN)
@pytest.mark.parametrize("riff_size", [*UNKNOWN, 36, None])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_a_wav_header_that_was_never_finished_is_no_hindrance(data_size, riff_size, subtype, tmp_path, caplog):
    for samples in (noise(), np.concatenate([np.zeros(1000), noise()])):
        content = encoded(samples, "WAV", subtype=subtype)
        unfinished = patched(content, (content.index(b"data") + 4, "<I", data_size),
                             (4, "<I", len(content) - 8 if riff_size is None else riff_size))
        path = saved(tmp_path, "a.wav", unfinished)
        np.testing.assert_array_equal(read_quietly(path, caplog), decoded(content))
        assert audio_info(path).duration == len(samples) / RATE


@pytest.mark.parametrize("name, content, place, format, number", [
    ("a.au", encoded(noise(), "AU", subtype="PCM_16"), 8, ">I", 0),
    ("a.au", encoded(noise(), "AU", subtype="PCM_16"), 8, ">I", 0xFFFFFFFF),
    ("a.caf", encoded(noise(), "CAF", subtype="PCM_16"), b"data", ">q", -1),
    ("a.caf", encoded(noise(), "CAF", subtype="PCM_16"), b"data", ">q", 0),
    ("a.w64", encoded(noise(), "W64", subtype="PCM_16"), None, "<q", 0),
    ("a.w64", encoded(noise(), "W64", subtype="PCM_16"), None, "<q", -1)])
def test_other_unfinished_headers_are_no_hindrance(name, content, place, format, number, tmp_path, caplog):
    if place is None:
        place = content.index(b"data") + 16  # behind its GUID
    elif isinstance(place, bytes):
        place = content.index(place) + 4
    received = read_quietly(saved(tmp_path, name, patched(content, (place, format, number))), caplog)
    np.testing.assert_array_equal(received[:RATE], decoded(content))
    assert len(received) - RATE <= 8


def test_rf64_and_bw64_are_read_with_and_without_their_sizes(tmp_path, caplog):
    content = encoded(noise(), "RF64", subtype="PCM_16")
    place = content.index(b"ds64") + 8
    unfinished = patched(content, *((place + 8 * index, "<Q", 0) for index in range(3)))
    for whole in (content, unfinished):
        for head in (b"RF64", b"BW64"):
            received = read_quietly(saved(tmp_path, "a.wav", head + whole[4:]), caplog)
            np.testing.assert_array_equal(received, decoded(content))


@pytest.mark.parametrize("samples", [1, 3, 5, 333])
def test_an_unfinished_wav_of_a_few_samples(samples, tmp_path):
    content = encoded(noise()[:samples], "WAV", subtype="PCM_16")
    path = saved(tmp_path, "a.wav", patched(content, (content.index(b"data") + 4, "<I", 0)))
    np.testing.assert_array_equal(load_audio(path, RATE), decoded(content))


def test_chunks_behind_no_samples_are_no_sound(tmp_path):
    chunk = b"LIST" + struct.pack("<I", 12) + b"INFOISFTabcd"
    path = saved(tmp_path, "a.wav", encoded(np.zeros(0), "WAV", subtype="PCM_16") + chunk)
    with pytest.raises(InputError, match="0 samples"):
        load_audio(path, RATE)


def test_chunks_behind_the_samples_are_no_matter(tmp_path, caplog):
    for size in (5, 12):
        chunk = b"LIST" + struct.pack("<I", size) + bytes(size + size % 2)
        path = saved(tmp_path, "a.wav", PARTS[".wav"][0] + chunk)
        np.testing.assert_array_equal(read_quietly(path, caplog), decoded(PARTS[".wav"][0]))


def test_samples_that_a_wav_header_does_not_tell_of_are_told(tmp_path, caplog):
    """As of a recorder that stopped before it wrote the header a last time."""
    content = PARTS[".wav"][0]
    path = saved(tmp_path, "a.wav", patched(content, (content.index(b"data") + 4, "<I", 2000)))
    assert len(load_audio(path, RATE)) == 1000
    assert caplog.messages == [f"{path}: 30000 bytes behind the samples that its header tells of are no audio that is "
                               "known, and are not read."]


def without_total(content):
    begin = content.index(b"fLaC") + 4 + 4 + 13  # the total number of samples in STREAMINFO: 36 bits
    return content[:begin] + bytes([content[begin] & 0xF0]) + bytes(4) + content[begin + 5:]


@pytest.mark.parametrize("seconds", [0.001, 0.5, 31.0])
def test_flac_of_unknown_length_is_read(seconds, tmp_path, caplog):
    content = encoded(noise(seconds), "FLAC")
    path = saved(tmp_path, "a.flac", without_total(content))
    assert soundfile.info(path).frames > 2 ** 62
    np.testing.assert_array_equal(read_quietly(path, caplog), decoded(content))
    assert audio_info(path).duration == seconds


@pytest.mark.parametrize("total, word", [(1000, "longer"), (RATE - 1, "longer"), (RATE + 1, "shorter")])
def test_flac_whose_header_states_another_length_is_read_whole_and_told(total, word, tmp_path, caplog):
    content = bytearray(without_total(PARTS[".flac"][0]))
    content[22:26] = total.to_bytes(4, "big")
    path = saved(tmp_path, "a.flac", bytes(content))
    np.testing.assert_array_equal(load_audio(path, RATE), decoded(PARTS[".flac"][0]))
    assert f"{path}: is {word} than its header says" in caplog.text


def test_joined_flac_of_unknown_length_is_read(tmp_path, caplog):
    path = saved(tmp_path, "a.flac", ID3 + b"".join(map(without_total, PARTS[".flac"])))
    np.testing.assert_array_equal(read_quietly(path, caplog), np.concatenate(list(map(decoded, PARTS[".flac"]))))


def test_flac_of_unknown_length_that_is_cut_is_an_error(tmp_path):
    content = without_total(PARTS[".flac"][0])
    path = saved(tmp_path, "a.flac", content[:len(content) // 2])
    with pytest.raises(InputError, match="truncated or corrupt"):
        load_audio(path, RATE)


# Rates, and what else is no audio

@pytest.mark.parametrize("format, place", [("WAV", 24), ("W64", 68)])
@pytest.mark.parametrize("rate", [1, 999, 1_000_001, 2 ** 31 - 1])
def test_absurd_rates_are_refused(format, place, rate, tmp_path):
    content = encoded(noise(), format, subtype="PCM_16")
    assert struct.unpack_from("<I", content, place) == (RATE,)
    path = saved(tmp_path, "a.wav", patched(content, (place, "<I", rate)))
    for read in (load_audio, audio_info):
        with pytest.raises(InputError, match=f"{path}: expected a rate from 1000 to 1000000 Hz. Received: {rate}"):
            read(path)


@pytest.mark.parametrize("rate", [1000, 1_000_000])
def test_the_lowest_and_highest_rates_are_read(rate, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(1, rate), rate)
    assert len(load_audio(path, RATE)) == pytest.approx(RATE, abs=1)


def test_floats_that_were_integers_are_refused(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, 32767 * noise(), RATE, subtype="FLOAT")
    with pytest.raises(InputError, match=f"{path}: expected samples from -1 to 1. Received: 22.*integers"):
        load_audio(path, RATE)


def test_files_that_cannot_be_opened_are_errors_that_name_them(tmp_path, monkeypatch):
    path = saved(tmp_path, "a.wav", PARTS[".wav"][0])
    for bad in (path / "b.wav", tmp_path / ("a" * 300)):
        with pytest.raises(InputError, match="a.*: expected a"):
            load_audio(bad)
    monkeypatch.setattr("builtins.open", lambda *arguments: (_ for _ in ()).throw(PermissionError(13, "Not allowed")))
    with pytest.raises(InputError, match=f"{path}: expected a file that can be read. Received: Not allowed."):
        load_audio(path)


@pytest.mark.parametrize("begin", [b"OggS", b"RIFF\0\0\0\0WAVE", b"RF64\xff\xff\xff\xffWAVEds64", b"fLaC", b"caff",
                                   b".snd", b"ID3\4\0\0\x7f\x7f\x7f\x7f", b"\xff\xfb\x90\0", b"\xff"])
@pytest.mark.parametrize("rest", [b"", b"\0" * 5, b"\xff" * 70_000, bytes(range(256)) * 300])
def test_any_bytes_are_audio_or_one_error(begin, rest, tmp_path):
    path = saved(tmp_path, "a.mp3", begin + rest)
    assert find_streams(path)
    try:
        assert np.isfinite(load_audio(path, RATE)).all()
    except InputError as error:
        assert str(error).startswith(f"{path}: expected ")


def test_samples_without_a_header_are_refused(tmp_path):
    """libsndfile opens a file named .raw as no file before it is told its rate."""
    path = saved(tmp_path, "x.raw", bytes(1000))
    for read in (load_audio, audio_info):
        with pytest.raises(InputError, match=f"{path}: expected audio that libsndfile reads"):
            read(path)


def test_a_damaged_size_takes_no_memory(tmp_path):
    """The chunk `fmt ` states 2 GiB."""
    content = io.BytesIO()
    soundfile.write(content, np.zeros(100), 16000, format="WAV")
    damaged = bytearray(content.getvalue())
    damaged[16:20] = b"\xff\xff\xff\x7f"
    (tmp_path / "a.wav").write_bytes(damaged)
    tracemalloc.start()
    with pytest.raises(InputError, match="a.wav: expected audio"):
        load_audio(tmp_path / "a.wav")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 ** 24
