"""WAV files decoded in a graph: the samples that libsndfile reads, among any chunks, or an error that is text."""
import functools
import re
import struct

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from polysed_keras.export.wav_bytes import decode_wav, encode_wav

from contract import wav_bytes

RATE = 8000
NOISE = np.random.default_rng(0).uniform(-1, 1, (4_001, 6))


@functools.cache
def decoder():
    return tf.function(lambda content: decode_wav(content, RATE), input_signature=[tf.TensorSpec([], tf.string)])


def decode(content):
    return decoder()(tf.constant(content)).numpy()


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def riff(*chunks):
    return chunk(b"RIFF", b"WAVE" + b"".join(chunks))


def pcm(channels=1, bits=16, code=1, extra=b""):
    octets = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", code, channels, RATE, RATE * octets, octets, bits) + extra)


def extensible(code, bits=16):
    identifier = struct.pack("<H", code) + bytes.fromhex("000000001000800000aa00389b71")
    return pcm(bits=bits, code=0xFFFE, extra=struct.pack("<HHI", 22, bits, 4) + identifier)


DATA = chunk(b"data", (32767 * NOISE[:, 0]).astype("<i2").tobytes())
FLOATS = chunk(b"data", NOISE[:, 0].astype("<f4").tobytes())
FILES = {
    "plain": riff(pcm(), DATA), "longer_format": riff(pcm(extra=bytes(2)), DATA),
    "extensible": riff(extensible(1), DATA),
    "junk_first": riff(chunk(b"JUNK", bytes(28)), pcm(), DATA),
    "list_first": riff(chunk(b"LIST", b"INFOab"), pcm(), DATA),
    "odd_list": riff(pcm(), chunk(b"LIST", b"INFOa"), DATA), "list_last": riff(pcm(), DATA, chunk(b"LIST", b"INFOa")),
    "byte_left_over": riff(pcm(), DATA) + b"x", "half_a_sample": riff(pcm(), chunk(b"data", DATA[8:] + b"x")),
    "63_chunks": riff(pcm(), *[chunk(b"note", b"abc")] * 62, DATA),
    "two_channels": riff(pcm(2), DATA), "libsndfile": wav_bytes(NOISE[:, 0], RATE),
    "six_channels": wav_bytes(NOISE, RATE),
    "floats": wav_bytes(NOISE, RATE, subtype="FLOAT"), "float_extensible": riff(extensible(3, 32), FLOATS),
    "loud_floats": wav_bytes(1e6 * NOISE[:, 0], RATE, subtype="FLOAT"), "own_floats": encode_wav(NOISE[:, 0], RATE),
    "one_sample": wav_bytes(NOISE[:1, 0], RATE), "libsndfile_extensible": wav_bytes(NOISE[:, :2], RATE, "WAVEX"),
}


@pytest.mark.parametrize("name", FILES)
def test_samples_are_those_that_libsndfile_reads(name, tmp_path):
    (tmp_path / "a.wav").write_bytes(FILES[name])
    expected = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)[0].mean(axis=1)
    waveform = decode(FILES[name])
    assert waveform.dtype == np.float32 and len(waveform) == len(expected) > 0
    np.testing.assert_allclose(waveform, expected, rtol=1e-7, atol=1e-7)


def test_floats_come_back_as_they_were():
    waveform = (1e3 * NOISE[:, 0]).astype(np.float32)
    np.testing.assert_array_equal(decode(encode_wav(waveform, RATE)), waveform)


NO_WAV = "expected a WAV file. Received: {} bytes that are none"
NOT_PCM = "expected 16-bit PCM (format 1) or 32-bit floats (format 3). Received: format {}"
WITHOUT = "expected a format, then samples, among its first 64 chunks. Received: a file without"
TRUNCATED = "expected all samples that its header tells of. Received: 8002 of {} bytes. It is truncated"
NO_SAMPLES = "expected audio. Received: a file whose header tells of 0 samples"


@pytest.mark.parametrize("content, message", [
    (b"", NO_WAV.format(0)), (b"RIFF", NO_WAV.format(4)), (bytes(100_000), NO_WAV.format(100_000)),
    (bytes(range(256)), NO_WAV.format(256)), (wav_bytes(NOISE, RATE, "FLAC"), "expected a WAV file"),
    (wav_bytes(NOISE, RATE, "RF64"), "expected a WAV file"), (b"RIFX" + FILES["plain"][4:], "expected a WAV file"),
    (riff(), WITHOUT), (riff(pcm()), WITHOUT), (riff(DATA), WITHOUT), (riff(DATA, pcm()), WITHOUT),
    (riff(bytes(10 ** 6), pcm(), DATA), WITHOUT), (riff(bytes(range(255, 0, -1))), WITHOUT),
    (riff(pcm(), *[chunk(b"note", b"abc")] * 64, DATA), WITHOUT), (FILES["plain"][:30], WITHOUT),
    (wav_bytes(NOISE, RATE, subtype="PCM_24"), NOT_PCM.format("1 of 24 bits and 6 channels. Convert it")),
    (wav_bytes(NOISE, RATE, subtype="PCM_U8"), NOT_PCM.format("1 of 8 bits")),
    (wav_bytes(NOISE, RATE, subtype="DOUBLE"), NOT_PCM.format("3 of 64 bits")),
    (riff(pcm(bits=32), FLOATS), NOT_PCM.format("1 of 32 bits")),
    (wav_bytes(NOISE[:, 0], RATE, subtype="IMA_ADPCM"), NOT_PCM.format("17 of 4 bits")),
    (riff(extensible(3), DATA), NOT_PCM.format("3 of 16 bits")),
    (riff(pcm(0), DATA), NOT_PCM.format("1 of 16 bits and 0")),
    (wav_bytes(NOISE, 44100), "expected the rate of the model, 8000 Hz. Received: 44100 Hz. Resample it"),
    (riff(pcm(), b"data" + b"\x43\x1f" + DATA[6:]), TRUNCATED.format(8003)),
    (riff(pcm(), b"data" + b"\xff" * 4 + DATA[8:]), TRUNCATED.format(4294967295)),  # of a stream
    (riff(pcm(), b"data" + bytes(4) + DATA[8:]), NO_SAMPLES),  # of a recording that was not closed
    (encode_wav(np.r_[NOISE[:, 0], np.nan], RATE), "expected finite samples"),
    (encode_wav(np.r_[-np.inf, NOISE[:, 0]], RATE), "expected finite samples"),
    (encode_wav(NOISE[:0, 0], RATE), NO_SAMPLES), (encode_wav(NOISE[:, 0], RATE)[:-1], 
     "expected all samples that its header tells of. Received: 16003 of 16004 bytes. It is truncated"),
    (wav_bytes(NOISE[:0], RATE), NO_SAMPLES), (riff(pcm(), chunk(b"data", b"x")), NO_SAMPLES),
])
def test_what_is_no_such_file_is_an_error_that_says_what_it_is(content, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"wav_bytes: {re.escape(message)}"):
        decode(content)


def test_a_broken_header_is_read_or_is_an_error():
    """Fuzzing: bytes of the header replaced at random, and the file cut anywhere."""
    rng, content, errors = np.random.default_rng(0), np.frombuffer(FILES["odd_list"], np.uint8), 0
    for _ in range(300):
        broken = content[:rng.integers(1, len(content) + 1)].copy()
        places = rng.integers(0, min(70, len(broken)), rng.integers(0, 4))
        broken[places] = rng.choice([0, 1, 2, 127, 255, *rng.integers(0, 256, 2)], len(places))
        try:
            assert 0 < len(decode(broken.tobytes())) <= len(broken) // 2
        except tf.errors.InvalidArgumentError:
            errors += 1
    assert 150 < errors < 300
