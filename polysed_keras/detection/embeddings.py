"""Embeddings of recordings by the pretrained backbone, and the sounds that are nearest to an example."""
import dataclasses
import pathlib

import numpy as np
import pandas as pd

from polysed_keras.audio import audio_blocks
from polysed_keras.errors import InputError, expect
from polysed_keras.files import atomic_file
from polysed_keras.progress import progress_bar
from polysed_keras.specs import YAMNET_FEATURES

PATCH_SECONDS, HOP_SECONDS = 0.96, 0.48
PATCHES_PER_BLOCK = 64
FAINT_DB = -30.0  # Patches of an example that are quieter than its loudest by more are not looked for.
EMBEDDING_SUFFIXES = (".npz", ".parquet")


@dataclasses.dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings of several recordings, in their order and in that of time.

    Attributes:
        paths: list of pathlib.Path.
        recordings: int array (patches,), the index of the path of each patch.
        onsets: float64 array (patches,), seconds at which each patch of PATCH_SECONDS begins.
        vectors: float32 array (patches, 1024).
        levels: float32 array (patches,), root mean square of the samples of each patch in dB, full scale is 0.
    """

    paths: list
    recordings: np.ndarray
    onsets: np.ndarray
    vectors: np.ndarray
    levels: np.ndarray


def embed_recordings(paths, *, progress=True):
    """Compute the embeddings of recordings by YAMNet, a patch of 0.96 s every 0.48 s, in bounded memory.

    A vector is the mean of YAMNet's last map over its patch (models.embed).

    Args:
        paths: list of audio files.
        progress: whether a bar is shown.

    Returns:
        Embeddings.

    Raises:
        InputError: as of audio_blocks.

    Example:
        >>> embed_recordings(["street.wav"]).vectors.shape    # doctest: +SKIP
        (124, 1024)
    """
    paths, parts = [pathlib.Path(path) for path in paths], []
    for index, path in enumerate(progress_bar(paths, "embeddings", unit="recording", shown=progress)):
        for first, vectors, levels in _embed(path):
            number = np.arange(first, first + len(vectors))
            parts.append((np.full(len(vectors), index), HOP_SECONDS * number, vectors, levels))
    return Embeddings(paths, *map(np.concatenate, zip(*parts)))


def _embed(path):
    """Yield (number of the first patch, vectors, levels) of parts of a recording."""
    rate = YAMNET_FEATURES.sample_rate
    hop, reach = round(HOP_SECONDS * rate), round(PATCH_SECONDS * rate)
    context = YAMNET_FEATURES.win_length - YAMNET_FEATURES.hop_length  # which the last frame of a patch reaches into
    pending, first = np.zeros(0, np.float32), 0
    for block in audio_blocks(path, rate):
        pending = np.concatenate([pending, block])
        while len(pending) >= PATCHES_PER_BLOCK * hop + reach + context:
            yield first, *_embed_patches(pending, PATCHES_PER_BLOCK, hop, reach, context)
            pending, first = pending[PATCHES_PER_BLOCK * hop:], first + PATCHES_PER_BLOCK
    if first == 0 or len(pending) > reach - hop:  # else it is all in the patches before
        patches = max(1, -(-(len(pending) - reach) // hop) + 1)
        yield first, *_embed_patches(pending, patches, hop, reach, context)


def _embed_patches(samples, patches, hop, reach, context):
    """Return vectors and levels of overlapping patches of samples, the last of which is filled with silence."""
    from polysed_keras.models import embed  # imports TensorFlow
    samples = np.pad(samples, (0, max(0, patches * hop + reach + context - len(samples))))
    vectors = np.zeros((patches, 1024), np.float32)
    for odd in range(min(2, patches)):  # Those that begin at even and at odd hops each join without gaps.
        number = len(range(odd, patches, 2))
        vectors[odd::2] = embed(samples[odd * hop:odd * hop + number * reach + context])[0][:number]
    parts = np.lib.stride_tricks.sliding_window_view(samples, reach)[:patches * hop:hop]
    levels = 10 * np.log10(np.mean(np.square(parts, dtype=float), axis=1) + 1e-12)
    return vectors, levels.astype(np.float32)


def find_nearest(example, embeddings, number=50):
    """Find the sounds in recordings that are nearest to an example.

    The similarity of a patch is the cosine between its vector and the nearest one of the example's patches, but for
    those that are more than 30 dB fainter than the loudest. Of patches that overlap, the most similar one stays.

    Args:
        example: Embeddings of one recording.
        embeddings: Embeddings of the recordings.
        number: how many sounds at most.

    Returns:
        DataFrame with the columns recording (pathlib.Path), onset, offset (seconds) and similarity (-1 to 1), the
        most similar first.

    Raises:
        InputError: the example is silent.
    """
    from sklearn.neighbors import NearestNeighbors
    loud = example.levels >= max(example.levels.max() + FAINT_DB, -100.0)
    if not loud.any():
        raise InputError(f"{example.paths[0]}: expected a sound. Received: silence.")
    neighbours = NearestNeighbors(n_neighbors=1, metric="cosine").fit(example.vectors[loud])
    similarity = 1.0 - neighbours.kneighbors(embeddings.vectors)[0][:, 0]
    taken, rows = set(), []
    for index in np.argsort(-similarity, kind="stable"):
        recording, onset = int(embeddings.recordings[index]), float(embeddings.onsets[index])
        place = round(onset / HOP_SECONDS)
        if len(rows) == number or similarity[index] <= 0:
            break
        if not {(recording, place - 1), (recording, place + 1)} & taken:
            taken.add((recording, place))
            rows.append((embeddings.paths[recording], onset, onset + PATCH_SECONDS, float(similarity[index])))
    return pd.DataFrame(rows, columns=["recording", "onset", "offset", "similarity"])


def write_embeddings(embeddings, path):
    """Write embeddings to a file, atomically.

    Args:
        embeddings: Embeddings.
        path: file.npz, with the arrays recording (names), onset, level and embedding; or file.parquet, a table with a
            row per patch and the columns recording, onset, level and embedding_0, ..., for which pandas needs pyarrow.

    Raises:
        InputError: another suffix, pyarrow is missing, or the file cannot be written.
    """
    path = pathlib.Path(path)
    expect(path.suffix in EMBEDDING_SUFFIXES, "out", f"a file with the suffix {' or '.join(EMBEDDING_SUFFIXES)}",
           path.name)
    columns = {"recording": np.array([str(embeddings.paths[index]) for index in embeddings.recordings]),
               "onset": embeddings.onsets, "level": embeddings.levels}
    with atomic_file(path) as temporary:
        if path.suffix == ".npz":
            with open(temporary, "wb") as file:
                np.savez_compressed(file, **columns, embedding=embeddings.vectors)
            return
        values = {f"embedding_{number}": column for number, column in enumerate(embeddings.vectors.T)}
        try:
            pd.DataFrame(columns | values).to_parquet(temporary, index=False)
        except ImportError as error:
            raise InputError(f"{path}: expected pandas with pyarrow. Received: {error.args[0].splitlines()[0]}. "
                             "pip install pyarrow, or write an .npz file.") from error
