"""Live sound: blocks of samples from a microphone or a pipe, until they end or Ctrl-C is pressed."""
import itertools
import logging
import math
import queue
import signal
import struct

import numpy as np

from polysed_keras.audio.files import UNKNOWN_SIZE, check_rate
from polysed_keras.errors import InputError, expect

logger = logging.getLogger(__name__)

PIPE_BYTES = 65536
MICROPHONE_SECONDS = 0.1  # The length of a block.
PATIENCE_SECONDS = 60  # The most sound that may wait for the network.
PCM, EXTENSIBLE = 1, 0xFFFE
# Other kinds of files begin like this; raw samples hardly ever do.
OTHER_FORMATS = (b"RF64", b"BW64", b"RIFX", b"riff", b"FORM", b"fLaC", b"OggS", b"caff", b".snd", b"ID3\2", b"ID3\3",
                 b"ID3\4", b"\x1aE\xdf\xa3")  # The last begins Matroska and WebM.


def open_pipe(stream, sample_rate, channels=None):
    """Begin to read a WAV file or raw samples from a pipe: 16-bit PCM, little-endian, channels interleaved.

    Args:
        stream: buffered binary stream, such as sys.stdin.buffer; a WAV file is recognised by its header. None if stdin
            is closed.
        sample_rate: rate of raw samples in Hz; for a WAV file None or the rate of its header.
        channels: number of channels in raw samples, by default 1; for a WAV file None or that of its header.

    Returns:
        The rate in Hz, and a generator of float32 (samples,) blocks, the mean of the channels, as they arrive.

    Raises:
        InputError: the stream is closed or a terminal, is empty or has another format; the rate or the channels are not
            usable.
    """
    if stream is None:
        raise InputError("stdin: expected audio from a pipe. Received: a closed one. Pipe 16-bit PCM or a WAV file in.")
    if stream.isatty():
        raise InputError("stdin: expected audio from a pipe. Received: a terminal. Pipe 16-bit PCM or a WAV file in.")
    begin, size = stream.read(12), math.inf
    if not begin or begin[:4] in OTHER_FORMATS or begin[4:8] == b"ftyp":  # the latter of MP4
        raise InputError("stdin: expected 16-bit PCM, raw or as a WAV file. Received: "
                         f"{begin[:4] or 'nothing'}. Convert it, for example by sox or ffmpeg.")
    if begin[:4] == b"RIFF" and begin[8:] == b"WAVE":
        begin, (header_channels, header_rate, size) = b"", _read_wav_header(stream)
        for name, given, header in (("--rate", sample_rate, header_rate), ("--channels", channels, header_channels)):
            expect(given in (None, header), name, f"the WAV file's, {header}, or none", given)
        sample_rate, channels = header_rate, header_channels
    for name, number in (("--rate", sample_rate), ("--channels", 1 if channels is None else channels)):
        expect(number is not None and number >= 1, name, "that of the raw samples, 1 or more", number)
    check_rate(sample_rate, "stdin")
    return sample_rate, _pcm_blocks(begin, stream, channels or 1, size)


def _read_exactly(stream, size):
    content = stream.read(size)
    if len(content) < size:
        raise InputError("stdin: expected a WAV file. Received: one that ends in its header.")
    return content


def _read_wav_header(stream):
    """Return the channels, the rate and the number of bytes of the samples, infinite if the header does not know it."""
    layout = None
    while True:
        name, size = struct.unpack("<4sI", _read_exactly(stream, 8))
        if name == b"data" and layout:
            return *layout, size if 0 < size < UNKNOWN_SIZE else math.inf
        chunk = _read_exactly(stream, size + size % 2)
        if name == b"fmt ":
            layout = _pcm_layout(chunk)


def _pcm_layout(chunk):
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", chunk[:16].ljust(16, b"\0"))
    if tag == EXTENSIBLE:
        tag = int.from_bytes(chunk[24:26], "little")
    if (tag, bits) != (PCM, 16) or not channels or not rate:
        raise InputError(f"stdin: expected a WAV file of 16-bit PCM. Received: format {tag} of {bits} bits, {channels} "
                         f"channels at {rate} Hz. Convert it, for example by sox or ffmpeg.")
    return channels, rate


def _pcm_blocks(begin, stream, channels, size):
    width, rest = 2 * channels, b""
    for content in itertools.chain([begin], _pieces(stream, size)):
        content = rest + content
        whole = len(content) - len(content) % width
        rest = content[whole:]
        if whole:
            samples = np.frombuffer(content[:whole], "<i2").astype(np.float32) / 32768
            yield samples.reshape(-1, channels).mean(axis=1)
    if rest:
        logger.warning("stdin: ends inside a sample, which is left out.")


def _pieces(stream, size):
    while content := stream.read1(min(PIPE_BYTES, size)):  # read1 does not wait until the block is full.
        size -= len(content)
        yield content


def open_microphone(sample_rate=None, device=None):
    """Begin to record one channel from a microphone.

    Args:
        sample_rate: rate in Hz; None for the device's own.
        device: number or part of a name, as `python -m sounddevice` lists them; None for the system's default.

    Returns:
        The rate in Hz, and an endless generator of float32 (samples,) blocks of a tenth of a second.

    Raises:
        InputError: sounddevice or PortAudio is not installed, or no such device records at this rate; the generator
            raises it if the network is slower than the sound.
    """
    sounddevice = _import_sounddevice()
    waiting = queue.Queue(round(PATIENCE_SECONDS / MICROPHONE_SECONDS))
    device = int(device) if str(device).isdigit() else device

    def keep(recorded, frames, time, status):
        if status:
            logger.warning("microphone: %s: samples are lost, what follows is that much too early.", status)
        if not waiting.full():  # If the queue is full, the generator stops.
            waiting.put_nowait(recorded[:, 0].copy())

    try:
        rate = sample_rate or round(sounddevice.query_devices(device, "input")["default_samplerate"])
        stream = sounddevice.InputStream(samplerate=rate, channels=1, dtype="float32", device=device, callback=keep,
                                         blocksize=round(MICROPHONE_SECONDS * rate))
    except (sounddevice.PortAudioError, ValueError) as error:
        at_rate = f" at {sample_rate} Hz" if sample_rate else ""
        raise InputError(f"microphone: expected a device that records{at_rate}. Received: {error}. "
                         "`python -m sounddevice` lists what there is; choose by --device.") from error
    return rate, _recorded_blocks(stream, waiting)


def _import_sounddevice():
    try:
        import sounddevice
    except ImportError as error:
        raise InputError("microphone: expected the package sounddevice. Received: not installed. Install it: "
                         "pip install 'polysed_keras[microphone]', or pipe the sound in: polysed listen -") from error
    except OSError as error:
        raise InputError(f"microphone: expected the library PortAudio. Received: {error}. Install it: "
                         "apt install libportaudio2, or pipe the sound in: polysed listen -") from error
    return sounddevice


def _recorded_blocks(stream, waiting):
    with stream:
        while not waiting.full():
            yield waiting.get()
    raise InputError(f"microphone: expected a network that is faster than the sound. Received: {PATIENCE_SECONDS} s of "
                     "sound that wait. Choose a smaller model, or free the machine.")


def until_interrupted(blocks):
    """Yield blocks until they end or Ctrl-C is pressed; the caller first finishes the block it works on."""
    waiting = stopped = False

    def stop(number, frame):
        nonlocal stopped
        stopped = True
        if waiting:
            raise KeyboardInterrupt

    previous, blocks = signal.signal(signal.SIGINT, stop), iter(blocks)
    try:
        while not stopped:
            waiting = True
            block = next(blocks, None)
            waiting = False
            if block is None:
                return
            yield block
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGINT, previous)
