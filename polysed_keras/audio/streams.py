"""The streams that stand one behind another in an audio file, of which libsndfile reads only the first.

Ogg files may be chained, MP3, FLAC and WAV files are joined by `cat`, and programs that are stopped, or write into a
pipe, leave 0 or the largest number where a header says how long the sound is.
"""
import bisect
import dataclasses
import functools
import io
import itertools
import math
import mmap
import os
import pathlib
import re
import struct

import soundfile

from polysed_keras.audio.files import UNKNOWN_SIZE

LARGEST_LAYOUT = 1024  # bytes of a WAV file's chunk `fmt `, which has 16 to about 100
RIFFS = (b"RIFF", b"RIFX", b"RF64", b"BW64")
CHUNKS = (b"fmt ", b"data", b"fact", b"LIST")
FLAC_STARTS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")  # STREAMINFO always comes first, with 34 bytes.


@dataclasses.dataclass(frozen=True)
class Stream:
    """A part of an audio file that is a file by itself.

    Attributes:
        start: its first byte.
        stop: the byte after its last one.
        pieces: list of the first byte of each of its pieces and the byte after the last one, if it lies in several.
        prefix: bytes of a header that it lacks.
        patch: dict from an offset in the file to the bytes that a finished header would have there.
        num_samples: what its header says; None to ask libsndfile.
        is_cut: whether its end is missing.
        unread: bytes behind its sound that its header does not tell about, and that are nothing known.
    """
    start: int
    stop: int
    pieces: list = dataclasses.field(default_factory=list)
    prefix: bytes = b""
    patch: dict = dataclasses.field(default_factory=dict)
    num_samples: int | None = None
    is_cut: bool = False
    unread: int = 0


class SequentialFile(soundfile.SoundFile):
    """A SoundFile that is only read from its start to its end.

    SoundFile.read asks libsndfile to seek after each block, which fails at the end of a stream of unknown length.
    """

    def seekable(self):
        """Return False."""
        return False


class _Window(io.RawIOBase):
    """A stream of a file as a file of its own."""

    def __init__(self, content, stream):
        self._content, self._stream, self._place = content, stream, 0
        self._pieces = stream.pieces or [(stream.start, stream.stop)]
        # The place after each piece, if that of the prefix is 0.
        self._stops = list(itertools.accumulate((stop - start for start, stop in self._pieces),
                                                initial=len(stream.prefix)))

    def seek(self, offset, whence=os.SEEK_SET):
        origin = (0, self._place, self._stops[-1])[whence]
        self._place = max(0, origin + offset)
        return self._place

    def tell(self):
        return self._place

    def readinto(self, buffer):
        filled = 0
        while filled < len(buffer) and (part := self._read(len(buffer) - filled)):  # It must not be filled in part.
            buffer[filled:filled + len(part)] = part
            filled, self._place = filled + len(part), self._place + len(part)
        return filled

    def _read(self, size):
        """Return at most so many of the next bytes, of one piece."""
        number = bisect.bisect_right(self._stops, self._place)
        if number == 0:
            return self._stream.prefix[self._place:self._place + size]
        if number == len(self._stops):
            return b""
        start, stop = self._pieces[number - 1]
        begin = start + self._place - self._stops[number - 1]
        part = bytearray(self._content[begin:min(begin + size, stop)])
        for offset, right in self._stream.patch.items():
            for place, value in enumerate(right, start=offset - begin):
                if 0 <= place < len(part):
                    part[place] = value
        return part


def find_streams(path):
    """List the streams of an audio file; of a kind that is not known here, the whole file.

    Args:
        path: file of at least one byte.

    Returns:
        List of Stream, at least one.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        begin, tag = content[:12], _tag_size(content, 0)
        if content[tag:tag + 4] == b"OggS":
            streams = _ogg_streams(content, tag)
        elif begin[:4] in RIFFS and begin[8:] == b"WAVE":
            streams = _riff_streams(content)
        elif kind := next((kind for kind in SIZED if kind[0].match(begin)), None):
            streams = _sized_streams(content, *kind)
        elif content[tag:tag + 4] == b"fLaC":
            streams = _flac_streams(content)
        elif pathlib.Path(path).suffix.lower() in (".mp3", ".mp2") or _mpeg_frame(content, tag):
            streams = _mpeg_streams(content)
        else:
            streams = []
        return streams or [Stream(0, len(content))]


def open_stream(path, stream):
    """Open a stream of find_streams.

    Returns:
        SequentialFile, whose `frames` are about 2 ** 63 if the number of samples is not known.

    Raises:
        soundfile.LibsndfileError: libsndfile cannot read it.
    """
    if str(path).lower().endswith(".sd2"):
        return SequentialFile(path)  # Its header is another file, the resource fork, which libsndfile looks for.
    is_whole = (stream.start, stream.stop) == (0, os.path.getsize(path)) and not (
        stream.pieces or stream.prefix or stream.patch)
    with open(path, "rb") as file:
        # By number, not by name: libsndfile would take `._a.mp3` for the header of `a.mp3`.
        return SequentialFile(os.dup(file.fileno()) if is_whole else _Window(
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), stream))


# Ogg

def _ogg_streams(content, place):
    """Divide at each first page that follows another page: the first pages of streams that are mixed stand together.

    FLAC in Ogg, which libsndfile does not read, becomes FLAC by leaving out what Ogg puts around it.
    """
    streams, was_first, serial = [], False, None
    while place >= 0:
        head = content[place:place + 27]
        body = place + 27 + sum(head[26:])
        stop = body + sum(content[place + 27:body])
        is_first, is_cut = bool(head[5:6] > b"\1" and head[5] & 2), stop > len(content) or not head[5] & 4
        if is_first and content[body:body + 5] == b"\x7fFLAC" and serial is None:
            body, serial = body + 9, head[14:18]
        if is_first and not was_first:
            streams.append(_flac_stream(content, body, stop) if serial else Stream(place, stop))
        if streams:
            streams[-1] = dataclasses.replace(streams[-1], stop=min(stop, len(content)), is_cut=is_cut)
            if serial == head[14:18]:
                streams[-1].pieces.append((body, min(stop, len(content))))
        serial = serial if head[5:6] and not (serial == head[14:18] and head[5] & 4) else None
        was_first, place = is_first, content.find(b"OggS", stop)
    return streams


# FLAC

def _flac_streams(content):
    starts = []
    for mark in FLAC_STARTS:
        place = content.find(mark)
        while place >= 0:
            starts.append(place)
            place = content.find(mark, place + 1)
    starts.sort()
    return [_flac_stream(content, start, stop) for start, stop in zip(starts, [*starts[1:], len(content)])]


def _flac_stream(content, start, stop):
    """Hide the number of samples that STREAMINFO states (the last 36 of 64 bits), at which libsndfile would stop."""
    place = start + 18
    number = int.from_bytes(content[place:place + 8], "big")
    mask = (1 << 36) - 1
    return Stream(start, stop, patch={place: (number & ~mask).to_bytes(8, "big")}, num_samples=number & mask or None)


# WAV, AIFF, W64, AU and CAF

def _riff_streams(content):
    streams, start = [], 0
    while content[start:start + 4] in RIFFS and content[start + 8:start + 12] == b"WAVE":
        stream = _riff_stream(content, start)
        if content[start:start + 4] == b"BW64":  # libsndfile does not know the newer name of RF64.
            stream = dataclasses.replace(stream, patch=stream.patch | {start: b"RF64"})
        streams.append(stream)
        start = stream.stop
    return streams


def _riff_stream(content, start):
    """Follow the chunks of a WAV file to its end or the next one, and find the sound if its header is not finished.

    Chunks of an odd size have to be followed by a zero; libsndfile does not find the sound behind one that is not.
    """
    order = "big" if content[start:start + 4] == b"RIFX" else "little"
    place, long_size, ds64, layout, is_unpadded = start + 12, None, None, b"", False
    while place + 8 <= len(content):
        name, size = content[place:place + 4], int.from_bytes(content[place + 4:place + 8], order)
        if name in RIFFS and content[place + 8:place + 12] == b"WAVE":
            return Stream(start, place)
        if name == b"fmt " and size <= LARGEST_LAYOUT:  # A damaged size would take memory.
            layout = content[place:place + 8 + size].ljust(8 + size + size % 2, b"\0")
        if name == b"ds64":
            ds64, long_size = place + 8, int.from_bytes(content[place + 16:place + 24], order)
        if name == b"data":
            begin = place + 8
            size = long_size if ds64 and size == 0xFFFFFFFF else size
            rest = len(content) - begin
            if is_unpadded and not ds64:
                body = b"WAVE" + layout + content[place:begin]
                return Stream(begin, min(begin + size, len(content)),
                              prefix=content[start:start + 4] + (len(body) + size).to_bytes(4, order) + body)
            if (size == 0 or size > rest and UNKNOWN_SIZE <= size) and not _are_chunks(content, begin, order):
                return Stream(start, len(content), patch=_riff_patch(place, rest, start, ds64, order))
            if size + 8 <= rest and not _are_chunks(content, begin + size, order):
                return Stream(start, len(content), unread=rest - size)
        place += 8 + size
        unpadded = size % 2 and content[place:place + 4] in (*RIFFS, *CHUNKS)
        is_unpadded |= bool(unpadded)
        place += size % 2 and not unpadded
    return Stream(start, len(content))


def _are_chunks(content, place, order):
    """Return whether chunks follow up to the end of the file, or up to another file."""
    place += content[place:place + 1] == b"\0"  # Chunks of an odd size are followed by a zero.
    while place + 8 <= len(content):
        name = content[place:place + 4]
        if name in RIFFS:
            return True
        if not all(32 <= byte < 127 for byte in name):
            return False
        size = int.from_bytes(content[place + 4:place + 8], order)
        place += 8 + size + size % 2
    return abs(place - len(content)) <= 1


def _riff_patch(place, rest, start, ds64, order):
    if ds64:  # The sizes of the file and of the sound; the number of samples may be 0.
        sizes = (place + rest - start).to_bytes(8, order) + rest.to_bytes(8, order)
        return {place + 4: b"\xff" * 4, ds64: sizes + bytes(8)}
    return {offset + 4: min(size, 0xFFFFFFFF).to_bytes(4, order)
            for offset, size in ((start, place + rest - start), (place, rest))}


def _sized_streams(content, mark, find):
    """Divide where a file of the same kind begins behind the end of another; `mark` and `find` are those of SIZED."""
    streams = []
    while not streams or streams[-1].stop < len(content):
        start = streams[-1].stop if streams else 0
        stop, patch = find(content, start)
        stop = min(max(stop, start + 1), len(content))  # Sizes in damaged headers may be anything.
        stop = next((place for place in range(stop, stop + 9) if mark.match(content, place)), len(content))
        streams.append(Stream(start, stop, patch=patch))
    return streams


def _find_aiff(content, start):
    return start + 8 + int.from_bytes(content[start + 4:start + 8], "big"), {}


def _find_w64(content, start):
    return start + int.from_bytes(content[start + 16:start + 24], "little"), {}


def _find_au(content, start):
    header, size = struct.unpack(">II", content[start + 4:start + 12].ljust(8, b"\0"))
    if size in (0, 0xFFFFFFFF):  # The latter says that the size is not known.
        return len(content), {start + 8: b"\xff" * 4}
    return start + header + size, {}


def _find_caf(content, start):
    place = start + 8
    while place + 12 <= len(content) and not content[place:place + 4] == b"caff":
        name, size = content[place:place + 4], int.from_bytes(content[place + 4:place + 12], "big", signed=True)
        if name == b"data" and size <= 0:  # -1 says that the sound goes on to the end, which libsndfile refuses.
            return len(content), {place + 4: (len(content) - place - 12).to_bytes(8, "big")}
        place += 12 + max(0, size)
    return place, {}


# How a file begins, and a function that finds its end and what has to be patched.
SIZED = ((re.compile(rb"FORM.{4}AIF[FC]", re.DOTALL), _find_aiff), (re.compile(rb"riff\x2e\x91\xcf\x11"), _find_w64),
         (re.compile(rb"\.snd"), _find_au), (re.compile(rb"caff\0"), _find_caf))


# MPEG audio

KBITS = {  # by the first bit of the version and by the layer
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (0, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (0, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)}
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by the version


FRAME_START = re.compile(rb"\xff[\xe2-\xff][\x10-\xeb]")


def _tag_size(content, place):
    """Return the size of an ID3v2 tag that begins here, or 0."""
    if content[place:place + 3] != b"ID3" or len(head := content[place:place + 10]) < 10:
        return 0
    size = sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0)))
    return 10 + size + 10 * bool(head[5] & 16)


def _mpeg_frame(content, place):
    """Return (version, layer, rate, is mono) and the size of the frame that begins here; None if none does."""
    return _parse_frame(content[place:place + 4])


@functools.lru_cache(4096)
def _parse_frame(head):
    if len(head) < 4 or head[0] != 255 or head[1] < 224:
        return None
    version, layer, bits, rate = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or bits in (0, 15) or rate == 3:
        return None
    kbits, hertz, padding = KBITS[version & 1, layer][bits], RATES[version][rate], head[2] >> 1 & 1
    if layer == 1:
        size = 4 * (12000 * kbits // hertz + padding)
    else:
        size = (72000 if layer == 3 and version != 3 else 144000) * kbits // hertz + padding
    return (version, layer, hertz, head[3] >> 6 == 3), size


def _next_frame(content, place):
    """Return where the next frame begins that others of its kind follow up to the third or the end, or None."""
    while found := FRAME_START.search(content, place):
        place = here = found.start()
        kinds = []
        while len(kinds) < 3 and (frame := _mpeg_frame(content, here)):
            kinds.append(frame[0])
            here += frame[1]
        if len(set(kinds)) == 1 and (len(kinds) == 3 or here == len(content)):
            return place
        place += 1
    return None


def _side_size(kind):
    version, _, _, is_mono = kind
    return (17 if is_mono else 32) if version == 3 else (9 if is_mono else 17)


def _promise(content, place, kind):
    """Return what the frame that begins here says of its stream, if it is a header of LAME or Fraunhofer, or None.

    These are the number of frames with the header, infinite if it does not say it; the place where this number stands;
    and the place after the last byte, or 0.
    """
    head, side = content[place:place + 64], _side_size(kind)
    for begin in (4 + side, 6 + side):  # the latter behind a checksum
        if head[begin:begin + 4] in (b"Xing", b"Info"):
            number, size = struct.unpack(">II", head[begin + 8:begin + 16].ljust(8, b"\0"))
            return (1 + number if head[begin + 7] & 1 else math.inf, place + begin + 8,
                    place + size if head[begin + 7] & 3 == 3 and size else 0)
    if head[36:40] == b"VBRI":
        return 1 + int.from_bytes(head[50:54], "big"), place + 50, 0
    return None


def _mpeg_streams(content):
    """Divide at headers, at another rate or number of channels, and behind the frames that a header promised.

    A number of frames that ends before the bytes that are promised beside it is wrong.
    """
    found, last, left, end = [], None, math.inf, 0  # first byte, kind, promise, present frames, end
    first = place = _next_frame(content, _tag_size(content, 0))
    while place is not None:
        frame = _mpeg_frame(content, place)
        if frame is None:
            place = _next_frame(content, place + _tag_size(content, place))
            continue
        kind, size = frame
        promise = _promise(content, place, kind)
        if promise or kind != last or left <= 0 and place + size > end:
            found.append([place, kind, promise or (math.inf, 0, 0), 0, place])
            last, (left, _, end) = kind, found[-1][2]
        found[-1][3:] = found[-1][3] + (place + size <= len(content)), min(place + size, len(content))
        left, place = left - 1, place + size
    if len(found) == 1 and found[0][2][0] == found[0][3] and first == _tag_size(content, 0):
        return []  # libsndfile reads it as it is.
    return [_mpeg_stream(content, *stream) for stream in found]


def _mpeg_stream(content, start, kind, promise, number, stop):
    promised, place, _ = promise
    if promised == math.inf:
        return Stream(start, stop, prefix=_mpeg_header(kind, content[start + 3], number))
    if promised == number or number < 2:
        return Stream(start, stop)
    return Stream(start, stop, patch={place: (number - 1).to_bytes(4, "big")}, is_cut=promised > number)


def _mpeg_header(kind, last_byte, number):
    """Return a frame that says how many frames follow, without which libsndfile guesses it from the first frames."""
    version, layer, hertz, _ = kind
    if layer != 3:
        return b""
    # Of 128 kbit/s (64 in MPEG-2) it is long enough; no checksum.
    kbits, rate = 9 if version == 3 else 8, RATES[version].index(hertz)
    head = bytes([255, 224 | version << 3 | 3, kbits << 4 | rate << 2, last_byte])
    header = head + bytes(_side_size(kind)) + b"Info" + (1).to_bytes(4, "big") + number.to_bytes(4, "big")
    return header.ljust(_parse_frame(head)[1], b"\0")
