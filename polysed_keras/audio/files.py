"""Audio files as mono waveforms. No TensorFlow at the top, so that what only reads audio starts at once."""
import collections
import logging
import pathlib

import numpy as np

from polysed_keras.errors import InputError

logger = logging.getLogger(__name__)

BLOCK_SECONDS = 30.0
TRUNCATED = "%s: is shorter than its header says (truncated); what is there is used."
# The one list of what is taken for audio by its name; libsndfile reads them all. Raw files say nothing of their rate.
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd", ".w64", ".rf64",
                  ".caf", ".voc", ".avr", ".htk", ".ircam", ".nist", ".paf", ".pvf", ".sd2", ".sds", ".svx", ".wavex", ".wve",
                  ".xi")


def _open_audio(path):
    import soundfile
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"{path}: expected an audio file. Received: nothing there. Check the path.")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: expected audio. Received: an empty file (0 bytes). Replace or remove it.")
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise InputError(f"{path}: expected audio that libsndfile reads ({', '.join(AUDIO_SUFFIXES)}). "
                         f"Received: {error}. Convert it, for example to WAV.") from error
    if "(should be" in file.extra_info or (file.format == "OGG" and not _has_last_ogg_page(path)):
        logger.warning(TRUNCATED, path)
    return file


def _has_last_ogg_page(path):
    """Whether an Ogg file ends with a whole page that says it is the last; libsndfile is silent where it is not there."""
    with path.open("rb") as file:
        file.seek(-min(65536, path.stat().st_size), 2)  # a page is smaller
        tail = file.read()
    page = tail[tail.rfind(b"OggS"):]
    return len(page) > 26 and page[5] & 4 and len(page) >= 27 + page[26] + sum(page[27:27 + page[26]])


def _decoded_blocks(path, file, block_seconds):
    import soundfile
    num_samples, block_samples = 0, max(1, int(block_seconds * file.samplerate))
    try:
        # not SoundFile.blocks, which fills up a block that is cut short from uninitialised memory
        while len(block := file.read(block_samples, dtype="float32", always_2d=True)):
            if not np.isfinite(block).all():
                raise InputError(f"{path}: expected finite samples. Received: NaN or infinity. Repair or remove it.")
            num_samples += len(block)
            yield block.mean(axis=1)
        if num_samples < file.frames:
            logger.warning(TRUNCATED, path)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise InputError(f"{path}: expected audio to the end. Received: {error} (truncated or corrupt). "
                         "Replace or remove it.") from error


def audio_blocks(path, sample_rate=44100, block_seconds=BLOCK_SECONDS):
    """Read any audio file that libsndfile reads, block after block, as mono at `sample_rate`.

    Channels are averaged; another rate is converted by soxr, as a stream, so memory does not grow with the length.

    Args:
        path: the file.
        sample_rate: Hz, of the blocks.
        block_seconds: how much of the file is read at a time.

    Yields:
        float32 (samples,): blocks of varying length, whose concatenation is load_audio's answer.

    Raises:
        InputError: a missing, empty, unreadable or truncated file, no samples, NaN or infinite samples.
    """
    with _open_audio(path) as file:
        yield from resample_blocks(_nonempty(path, _decoded_blocks(path, file, block_seconds)), file.samplerate, sample_rate)


def _nonempty(path, blocks):
    num_samples = 0
    for block in blocks:
        num_samples += len(block)
        yield block
    if num_samples == 0:
        raise InputError(f"{path}: expected audio. Received: a file with 0 samples. Replace or remove it.")


def resample_blocks(blocks, from_rate, sample_rate):
    """Convert a stream of mono float32 blocks from one rate (Hz) to another, by soxr, in bounded memory.

    Yields:
        float32 (samples,): blocks of varying length, in the rate's own case those that came.
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


def load_audio(path, sample_rate=44100):
    """Read an audio file as one waveform: mono float32 (samples,) from -1 to 1 at `sample_rate` Hz; as audio_blocks.

    Raises:
        InputError: as audio_blocks.
    """
    return np.concatenate(list(audio_blocks(path, sample_rate)))


def decode_with_tensorflow_io(path):
    """Decode WAV, FLAC, Ogg/Vorbis or MP3 by tensorflow-io's ops: float32 (samples, channels) at the file's own rate.

    It is there for tf.data graphs that read encoded audio, on the lane that has tensorflow-io (Python 3.11 and 3.12).
    load_audio reads through soundfile on both lanes: the same samples, without TensorFlow's start-up.

    Raises:
        InputError: tensorflow-io is not installed, or the suffix is none of its decoders', or the samples have other bits
            than the 16 or 24 (of WAV also float) that they read rightly.
    """
    try:
        import tensorflow_io
    except ImportError as error:
        raise InputError("tensorflow-io: expected on Python 3.11 and 3.12 only. Received: not installed. "
                         "Use load_audio.") from error
    import soundfile
    import tensorflow as tf
    audio = tensorflow_io.audio
    decoders = {".wav": audio.decode_wav, ".flac": audio.decode_flac, ".mp3": audio.decode_mp3, ".ogg": audio.decode_vorbis}
    suffix = pathlib.Path(path).suffix.lower()
    if suffix not in decoders:
        raise InputError(f"{path}: expected one of {sorted(decoders)}. Received: {suffix}.")
    content = tf.io.read_file(str(path))
    if suffix in (".mp3", ".ogg"):
        return decoders[suffix](content).numpy()
    subtype, known = soundfile.info(path).subtype, {"PCM_16": tf.int16, "PCM_24": tf.int32, "FLOAT": tf.float32}
    if subtype not in known:  # 32 bits are taken for floats, for example
        raise InputError(f"{path}: expected samples of {', '.join(known)}. Received: {subtype}. Use load_audio.")
    samples = decoders[suffix](content, dtype=known[subtype]).numpy()
    return samples.astype(np.float32) / np.float32({"PCM_16": 2 ** 15, "PCM_24": 2 ** 31, "FLOAT": 1}[subtype])


def is_audio(path):
    """Return whether a path is a visible file with one of AUDIO_SUFFIXES."""
    return path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".") and path.is_file()


def walk_files(folder):
    """List all files below a folder, sorted. A folder that links lead to again is entered once, by its own name."""
    folders, links, entered, files = [pathlib.Path(folder)], [], set(), []
    while folders or links:
        here = folders.pop() if folders else links.pop()  # links last: what is there by its own name keeps it
        if (key := here.resolve()) in entered:
            continue
        entered.add(key)
        for path in here.iterdir():
            if path.is_dir():
                (links if path.is_symlink() else folders).append(path)
            elif path.is_file():
                files.append(path)
    return sorted(files)


def log_passed_over(folder, paths):
    """Log one line that counts, by suffix, the files of a folder that were passed over; none where there are none."""
    if paths:
        counts = collections.Counter(path.suffix.lower() or path.name for path in paths)
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        logger.info("%s: %d files are passed over, which are hidden or no recordings (%s).", folder, len(paths), kinds)


def visible_audio(files, folder):
    """Return the audio among files of walk_files(folder), without hidden ones and those in hidden folders."""
    return [path for path in files if is_audio(path)
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def search_folder(folder):
    """List the audio files below a folder, sorted; one logged line counts the files that are passed over."""
    files = walk_files(folder)
    found = visible_audio(files, folder)
    log_passed_over(folder, sorted(set(files) - set(found)))
    return found


def find_audio(paths):
    """List the audio files that files and folders stand for: files as they are, folders searched by search_folder.

    Raises:
        InputError: a path that does not exist, or a folder without audio.
    """
    found = []
    for path in map(pathlib.Path, paths):
        inside = search_folder(path) if path.is_dir() else []
        if not (path.is_file() or inside):
            what = "a folder without any" if path.is_dir() else "nothing there"
            raise InputError(f"{path}: expected an audio file or a folder of them ({', '.join(AUDIO_SUFFIXES)}). "
                             f"Received: {what}.")
        found += [path] if path.is_file() else inside
    return found
