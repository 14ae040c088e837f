"""Find audio files and read them as mono waveforms, without importing TensorFlow, so that commands start at once."""
import collections
import io
import logging
import os
import pathlib
import typing

import numpy as np

from polysed_keras.errors import InputError, expect

logger = logging.getLogger(__name__)

BLOCK_SECONDS = 30.0
LARGEST_BLOCK = 2 ** 24  # numbers that are read at a time at most, whatever channels and rate a header states
LOUDEST = 100  # Floats beyond it, 40 dB over full scale, were integers.
LOWEST_RATE, HIGHEST_RATE = 1000, 1_000_000  # Hz
UNKNOWN_SIZE = 0x7FFF0000  # Programs that write WAV into a pipe state a size of 0, or about the largest possible.
ENDLESS = 2 ** 62  # libsndfile's number of samples in a FLAC stream of unknown length is larger.
TRUNCATED = "%s: is shorter than its header says (truncated); what is there is used."
# The only list of suffixes that count as audio; libsndfile reads them all. Raw files are left out: they have no rate.
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd", ".w64",
                  ".rf64", ".caf", ".bwf", ".wave", ".mp2", ".mpga", ".voc", ".avr", ".htk", ".ircam", ".nist", ".sph",
                  ".paf", ".pvf", ".sd2", ".sds", ".svx", ".wavex", ".wve", ".xi")
# Recordings and videos whose sound it does not read.
UNREAD_SUFFIXES = (".m4a", ".m4b", ".mp4", ".aac", ".alac", ".wma", ".amr", ".3gp", ".ape", ".wv", ".mpc", ".tta",
                   ".ac3", ".eac3", ".dts", ".dsf", ".dff", ".mka", ".mkv", ".webm", ".weba", ".mov", ".avi", ".wmv",
                   ".asf", ".mpg", ".mpeg", ".ogv", ".spx", ".ra", ".gsm", ".wac")


def _what_is_at(path):
    """Return what is at a path at which there is no file."""
    if not os.path.exists(path):
        return "nothing there"
    return "a folder" if os.path.isdir(path) else "a special file, which is no recording"


def _find_streams(path, quiet=False):
    from polysed_keras.audio.streams import find_streams
    try:
        if not os.path.isfile(path):
            raise InputError(f"{path}: expected an audio file. Received: {_what_is_at(path)}. Check the path.")
        if os.path.getsize(path) == 0:
            raise InputError(f"{path}: expected audio. Received: an empty file (0 bytes). Replace or remove it.")
        found = find_streams(path)
    except OSError as error:
        raise InputError(f"{path}: expected a file that can be read. Received: {error.strerror}.") from error
    if quiet:
        return found
    if any(stream.is_cut for stream in found):
        logger.warning(TRUNCATED, path)
    if unread := sum(stream.unread for stream in found):
        logger.warning("%s: %d bytes behind the samples that its header tells of are no audio that is known, and are "
                       "not read.", path, unread)
    return found


def _open_stream(path, stream, quiet=False):
    import soundfile

    from polysed_keras.audio.streams import open_stream
    try:
        file = open_stream(path, stream)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        received = getattr(error, "error_string", str(error))
        raise InputError(f"{path}: expected audio that libsndfile reads ({', '.join(AUDIO_SUFFIXES)}). "
                         f"Received: {received.rstrip('.')}. Convert it, for example to WAV.") from error
    check_rate(file.samplerate, path)
    if "(should be" in file.extra_info and not quiet:
        logger.warning(TRUNCATED, path)
    return file


def check_rate(sample_rate, name):
    """Raise InputError unless a rate is from LOWEST_RATE to HIGHEST_RATE; `name` says in the message whose it is.

    Rates outside are those of broken headers: 1 Hz would make hours of silence of a few bytes, and 2 GHz nothing at all
    of any file. Recordings of bats and whales have up to 1 MHz; below 1 kHz nothing is left that could be recognised.
    """
    expect(LOWEST_RATE <= sample_rate <= HIGHEST_RATE, name,
           f"a rate from {LOWEST_RATE} to {HIGHEST_RATE} Hz", sample_rate, "Repair what states it, or convert it.")


def _decoded_blocks(path, file, block_seconds, stated=None):
    import soundfile
    num_samples = 0
    block_samples = max(1, min(int(block_seconds * file.samplerate), LARGEST_BLOCK // file.channels))
    try:
        # SoundFile.blocks would fill up the last block of a truncated file from uninitialised memory.
        while len(block := file.read(_until(stated, num_samples, _likely(file, num_samples, block_samples)),
                                     dtype="float32", always_2d=True)):
            if not np.isfinite(block).all():
                raise InputError(f"{path}: expected finite samples. Received: NaN or infinity. Repair or remove it.")
            if (peak := np.abs(block).max()) > LOUDEST:
                raise InputError(f"{path}: expected samples from -1 to 1. Received: {peak:g}, as if they were "
                                 "integers. Scale them down.")
            num_samples += len(block)
            yield block.mean(axis=1)
        if num_samples < (stated or file.frames) < ENDLESS:
            logger.warning(TRUNCATED, path)
        if stated and num_samples > stated:
            logger.warning("%s: is longer than its header says; all that is there is used.", path)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        if num_samples != stated:
            raise InputError(f"{path}: expected audio to the end. Received: {error} (truncated or corrupt). "
                             "Replace or remove it.") from error
        logger.warning("%s: what stands behind the samples that its header tells of is no audio, and is not read.",
                       path)


def _likely(file, num_samples, most):
    """Return how many samples to ask for: at most so many, and not many more than there are.

    libsndfile fills up what it lacks with zeros, which took most of the time of short files. If a header tells of too
    few, as many are asked for as were found so far.
    """
    return min(most, max(1, num_samples, file.frames - num_samples))


def _until(stated, num_samples, most):
    """Return how many samples to read: at most so many, and none of those beyond the stated number with one before."""
    return min(most, stated - num_samples) if stated and num_samples < stated else most


def audio_blocks(path, sample_rate=44100, block_seconds=BLOCK_SECONDS):
    """Read an audio file block by block as mono at `sample_rate`, in bounded memory.

    Channels are averaged. Another rate is converted by soxr as a stream. Of a file in which several stand one behind
    another (chained Ogg; MP3, FLAC or WAV that were joined), all are read, each with its own rate and channels.

    Args:
        path: audio file in any format that libsndfile reads.
        sample_rate: rate of the blocks in Hz.
        block_seconds: seconds of the file that are read at a time.

    Yields:
        float32 (samples,): blocks of varying length; load_audio returns their concatenation.

    Raises:
        InputError: the file is missing, empty, unreadable or corrupt, or has an absurd rate; or holds no samples, NaN,
            infinity or values far beyond 1.
    """
    num_samples = 0
    for stream in _find_streams(path):
        with _open_stream(path, stream) as file:
            for block in resample_blocks(_decoded_blocks(path, file, block_seconds, stream.num_samples),
                                         file.samplerate, sample_rate):
                num_samples += len(block)
                yield block
    _check_any(path, num_samples)


class AudioInfo(typing.NamedTuple):
    """The length of an audio file in seconds; and its rate in Hz, channels and libsndfile's name of its samples' type.

    If several files stand one behind another in it, the length is that of all, and the rest that of the first.
    """
    duration: float
    sample_rate: int
    channels: int
    subtype: str


def audio_info(path, *, quiet=False):
    """Return the AudioInfo of a file, from its headers where they are finished; otherwise the file is read.

    Args:
        path: audio file in any format that libsndfile reads.
        quiet: leave out the warnings of truncated files; for those who read the file too, which warns once more.

    Raises:
        InputError: see audio_blocks.
    """
    infos = []
    for stream in _find_streams(path, quiet):
        with _open_stream(path, stream, quiet) as file:
            frames = stream.num_samples or file.frames
            if frames >= ENDLESS:
                frames = sum(map(len, _decoded_blocks(path, file, BLOCK_SECONDS)))
            infos.append(AudioInfo(frames / file.samplerate, file.samplerate, file.channels, file.subtype))
    duration = sum(info.duration for info in infos)
    _check_any(path, duration)
    return infos[0]._replace(duration=duration)


def _check_any(path, amount):
    if not amount:
        raise InputError(f"{path}: expected audio. Received: a file with 0 samples. Replace or remove it.")


def resample_blocks(blocks, from_rate, sample_rate):
    """Convert a stream of mono blocks to another rate by soxr, in bounded memory.

    Args:
        blocks: iterable of float32 (samples,).
        from_rate: rate of the blocks in Hz.
        sample_rate: wanted rate in Hz.

    Yields:
        float32 (samples,): blocks of varying length; the given blocks if the rates are equal.
    """
    if from_rate == sample_rate:
        yield from blocks
        return
    import soxr
    resampler = soxr.ResampleStream(from_rate, sample_rate, 1)
    for block in blocks:
        if len(block := resampler.resample_chunk(block)):
            yield block
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def load_excerpts(path, spans, sample_rate=44100):
    """Load parts of an audio file as mono at `sample_rate`, in one pass that keeps nothing else.

    Args:
        path: as of audio_blocks.
        spans: list of (begin, end) in seconds; they may overlap, and reach beyond the ends of the file.
        sample_rate: as of audio_blocks.

    Returns:
        List of float32 (samples,), one for each span, of what the file has of it.

    Raises:
        InputError: as of audio_blocks.

    Example:
        >>> bark, = load_excerpts("street.wav", [(12.0, 13.5)])    # doctest: +SKIP
    """
    places, position = [(round(begin * sample_rate), round(end * sample_rate)) for begin, end in spans], 0
    parts = [[np.zeros(0, np.float32)] for _ in places]
    for block in audio_blocks(path, sample_rate):
        for (begin, end), part in zip(places, parts):
            if begin < position + len(block) and position < end:
                part.append(block[max(0, begin - position):end - position])
        position += len(block)
    return [np.concatenate(part) for part in parts]


def load_audio(path, sample_rate=44100):
    """Read an audio file as one mono waveform.

    Args:
        path: audio file in any format that libsndfile reads.
        sample_rate: rate of the waveform in Hz.

    Returns:
        float32 (samples,), from -1 to 1.

    Raises:
        InputError: see audio_blocks.

    Example:
        >>> waveform = load_audio("street.wav", 16000)
    """
    return np.concatenate(list(audio_blocks(path, sample_rate)))


def write_audio(path, waveform, sample_rate, subtype):
    """Write a waveform to a file whose suffix is the format.

    It is encoded in memory first, because libsndfile does not say what is wrong with a file that cannot be written.

    Args:
        path: the file, such as a .wav or .flac.
        waveform: float array (samples,) or (samples, channels), full scale is 1.
        sample_rate: Hz.
        subtype: of libsndfile, such as "PCM_16".

    Raises:
        OSError: the file cannot be written, for example because the disk is full.
    """
    import soundfile
    content = io.BytesIO()
    soundfile.write(content, waveform, sample_rate, subtype, format=pathlib.Path(path).suffix[1:])
    pathlib.Path(path).write_bytes(content.getvalue())


def check_waveform(samples, name="waveform"):
    """Return samples that are given as an array as float32, or raise InputError unless they are a mono waveform.

    Args:
        samples: finite floats (samples,) from -1 to 1. Integers are refused, because their type does not say what
            their full scale is, and so are floats that were integers: those beyond LOUDEST.
        name: str, for the message.

    Returns:
        float32 (samples,).

    Raises:
        InputError: anything else.
    """
    samples = np.asarray(samples)
    is_float = samples.dtype.kind == "f"
    peak = np.abs(samples).max(initial=0) if is_float else 0  # It is NaN if a sample is.
    if samples.ndim != 1 or not is_float or not peak <= LOUDEST:
        values = "" if peak <= LOUDEST else f", with values up to {peak:g}" if np.isfinite(peak) else (
            ", with NaN or infinity")
        raise InputError(f"{name}: expected finite floats from -1 to 1 of shape (samples,). Received: {samples.dtype} "
                         f"of shape {samples.shape}{values}. Divide integers by their full scale, which is 32768 for "
                         "16 bits.")
    return samples.astype(np.float32, copy=False)


def decode_with_tensorflow_io(path):
    """Decode WAV, FLAC, Ogg/Vorbis or MP3 by the ops of tensorflow-io, for tf.data graphs that read encoded audio.

    tensorflow-io is installed on Python 3.11 and 3.12. load_audio gives the same samples on every Python version.

    Args:
        path: audio file.

    Returns:
        float32 (samples, channels) at the file's own rate.

    Raises:
        InputError: tensorflow-io is not installed, has no decoder for the suffix, or would misread the sample format.
    """
    try:
        import tensorflow_io
    except ImportError as error:
        raise InputError("tensorflow-io: expected on Python 3.11 and 3.12 only. Received: not installed. "
                         "Use load_audio.") from error
    import soundfile
    import tensorflow as tf
    audio = tensorflow_io.audio
    decoders = {".wav": audio.decode_wav, ".flac": audio.decode_flac, ".mp3": audio.decode_mp3,
                ".ogg": audio.decode_vorbis}
    suffix = pathlib.Path(path).suffix.lower()
    if suffix not in decoders:
        raise InputError(f"{path}: expected one of {sorted(decoders)}. Received: {suffix}.")
    content = tf.io.read_file(str(path))
    if suffix in (".mp3", ".ogg"):
        return decoders[suffix](content).numpy()
    subtype, known = soundfile.info(path).subtype, {"PCM_16": tf.int16, "PCM_24": tf.int32, "FLOAT": tf.float32}
    if subtype not in known:  # The op takes integers of 32 bits for floats, for example.
        raise InputError(f"{path}: expected samples of {', '.join(known)}. Received: {subtype}. Use load_audio.")
    samples = decoders[suffix](content, dtype=known[subtype]).numpy()
    return samples.astype(np.float32) / np.float32({"PCM_16": 2 ** 15, "PCM_24": 2 ** 31, "FLOAT": 1}[subtype])


def is_audio(path):
    """Return whether a pathlib.Path is a visible file with one of AUDIO_SUFFIXES."""
    return path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".") and path.is_file()


def walk_files(folder):
    """List all files below a folder, sorted; a folder that links also lead to is entered once, under its own name."""
    folders, links, entered, files, nothing = [pathlib.Path(folder)], [], set(), [], []
    while folders or links:
        here = folders.pop() if folders else links.pop(0)  # Links come last, so that real folders keep their names.
        if (key := here.resolve()) in entered:
            continue
        entered.add(key)
        try:
            inside = sorted(here.iterdir())  # Of several links to one folder the same one is followed everywhere.
        except PermissionError:
            logger.warning("%s: cannot be read, and is passed over.", here)
            continue
        for path in inside:
            if os.path.isdir(path):
                (links if path.is_symlink() else folders).append(path)
            elif os.path.isfile(path):
                files.append(path)
            elif not path.name.startswith("."):
                nothing.append(path)
    if nothing:
        logger.warning("%s: %d links to nothing, or special files, are passed over (such as %s).", folder, len(nothing),
                       min(nothing).relative_to(folder))
    return sorted(files)


def log_passed_over(folder, paths):
    """Log lines that count by suffix the files of a folder that were passed over, if there are any.

    A line of information is about those that are hidden or no recordings, a warning about those that are recordings or
    videos but cannot be read.
    """
    unread = {path for path in paths if path.suffix.lower() in UNREAD_SUFFIXES and not _is_hidden(path, folder)}
    if others := set(paths) - unread:
        logger.info("%s: %d files are passed over, which are hidden or no recordings (%s).", folder, len(others),
                    _count_kinds(others))
    if unread:
        logger.warning("%s: %d files are passed over, whose sound libsndfile does not read (%s). Convert them, for "
                       "example by ffmpeg.", folder, len(unread), _count_kinds(unread))


def _count_kinds(paths):
    counts = collections.Counter(path.suffix.lower() or path.name for path in paths)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


def _is_hidden(path, folder):
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def visible_audio(files, folder):
    """Select the audio among the files of walk_files(folder), without hidden files and files in hidden folders."""
    return [path for path in files if is_audio(path) and not _is_hidden(path, folder)]


def search_folder(folder):
    """List the visible audio files below a folder, sorted, and log how many other files were passed over."""
    files = walk_files(folder)
    found = visible_audio(files, folder)
    log_passed_over(folder, sorted(set(files) - set(found)))
    return found


def find_audio(paths):
    """List the audio files that files and folders stand for.

    Args:
        paths: files, which are taken as they are, and folders, which are searched by search_folder.

    Returns:
        list of pathlib.Path.

    Raises:
        InputError: a path does not exist, or a folder holds no audio.
    """
    found = []
    for path in map(pathlib.Path, paths):
        inside = search_folder(path) if path.is_dir() else [path] * path.is_file()
        if not inside:
            what = "a folder without any" if path.is_dir() else _what_is_at(path)
            raise InputError(f"{path}: expected an audio file or a folder of them ({', '.join(AUDIO_SUFFIXES)}). "
                             f"Received: {what}.")
        found += inside
    return found
