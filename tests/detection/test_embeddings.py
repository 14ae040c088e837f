"""Embeddings of recordings, and the sounds that are nearest to an example."""
import numpy as np
import pandas as pd
import pytest
import soundfile
from scipy.spatial.distance import cosine

from polysed_keras.cli.main import main
from polysed_keras.detection.embeddings import (
    HOP_SECONDS,
    PATCH_SECONDS,
    PATCHES_PER_BLOCK,
    Embeddings,
    embed_recordings,
    find_nearest,
    write_embeddings,
)
from polysed_keras.errors import InputError
from polysed_keras.models.yamnet import embed

RATE = 16000


def noise(seconds, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    tone = 0.3 * np.sin(2 * np.pi * (300 + 60 * time) * time)
    return (tone + 0.05 * rng.standard_normal(len(time))).astype(np.float32)


@pytest.mark.parametrize("seconds, patches", [
    (0.1, 1), (0.96, 1), (0.97, 2), (1.44, 2), (5.0, 10),
    (PATCHES_PER_BLOCK * HOP_SECONDS + 0.5, PATCHES_PER_BLOCK + 1),
    (2.5 * PATCHES_PER_BLOCK * HOP_SECONDS, round(2.5 * PATCHES_PER_BLOCK) - 1)])
def test_patches_are_those_of_yamnet_in_the_whole_recording(seconds, patches, tmp_path):
    """A patch every 0.48 s, until one reaches the end; read in blocks as in one piece."""
    waveform = noise(seconds)
    soundfile.write(tmp_path / "a.wav", waveform, RATE, subtype="FLOAT")
    embeddings = embed_recordings([tmp_path / "a.wav"], progress=False)
    assert embeddings.onsets == pytest.approx(HOP_SECONDS * np.arange(patches)) and len(embeddings.vectors) == patches
    padded = np.pad(waveform, (0, 2 * RATE))
    for number in {0, 1, patches // 2, patches - 1} & set(range(patches)):
        begin = round(number * HOP_SECONDS * RATE)
        alone = embed(padded[begin:begin + round(PATCH_SECONDS * RATE) + 240])[0][0]
        np.testing.assert_allclose(embeddings.vectors[number], alone, atol=1e-4)
        part = padded[begin:begin + round(PATCH_SECONDS * RATE)]
        assert embeddings.levels[number] == pytest.approx(20 * np.log10(np.sqrt(np.mean(part ** 2))), abs=0.01)


def made(vectors, recordings=None, levels=None):
    recordings = np.zeros(len(vectors), int) if recordings is None else np.array(recordings)
    onsets = np.concatenate([HOP_SECONDS * np.arange((recordings == each).sum()) for each in np.unique(recordings)])
    levels = np.full(len(vectors), -20.0, np.float32) if levels is None else np.array(levels, np.float32)
    return Embeddings([f"{each}.wav" for each in np.unique(recordings)], recordings, onsets,
                      np.array(vectors, np.float32), levels)


def test_the_nearest_by_hand():
    """Cosines; the better one of two that overlap; the faint patch of the example is not looked for."""
    example = made([[1, 0], [0, 1]], levels=[-10, -50])
    recordings = made([[0, 1], [1, 0.2], [1, 0.1], [0, 1], [-1, 0], [1, 0.5]], [0, 0, 0, 0, 0, 1])
    nearest = find_nearest(example, recordings)
    assert nearest.recording.tolist() == ["0.wav", "1.wav"] and nearest.onset.tolist() == [0.96, 0.0]
    expected = [1 - cosine([1, 0], [1, 0.1]), 1 - cosine([1, 0], [1, 0.5])]
    np.testing.assert_allclose(nearest.similarity, expected, atol=1e-6)
    np.testing.assert_allclose(nearest.offset - nearest.onset, 0.96)
    assert len(find_nearest(example, recordings, 1)) == 1
    with pytest.raises(InputError, match="expected a sound. Received: silence"):
        find_nearest(made([[1, 0]], levels=[-120]), recordings)


def test_files_hold_the_embeddings(tmp_path):
    embeddings = made(np.arange(12).reshape(6, 2), [0, 0, 0, 1, 1, 1])
    write_embeddings(embeddings, tmp_path / "e.npz")
    with np.load(tmp_path / "e.npz") as arrays:
        np.testing.assert_array_equal(arrays["embedding"], embeddings.vectors)
        assert arrays["recording"].tolist() == ["0.wav"] * 3 + ["1.wav"] * 3
        np.testing.assert_array_equal(arrays["onset"], embeddings.onsets)
    with pytest.raises(InputError, match="suffix"):
        write_embeddings(embeddings, tmp_path / "e.csv")
    try:
        import pyarrow  # noqa: F401 - needed by pandas
    except ImportError:
        with pytest.raises(InputError, match="pyarrow"):
            write_embeddings(embeddings, tmp_path / "e.parquet")
        assert not (tmp_path / "e.parquet").exists()
    else:
        write_embeddings(embeddings, tmp_path / "e.parquet")
        table = pd.read_parquet(tmp_path / "e.parquet")
        np.testing.assert_array_equal(table[["embedding_0", "embedding_1"]], embeddings.vectors)


def test_a_real_sound_is_found_among_others(esc10, tmp_path, capsys):
    """Two crying babies, three dogs and three clocks: the other baby comes first; and the commands, from end to end."""
    lines = [line.split(",") for line in (esc10 / "meta" / "esc50.csv").read_text().splitlines()[1:]]
    by_label = {label: [esc10 / "audio" / line[0] for line in lines if line[3] == label]
                for label in ("crying_baby", "dog", "clock_tick")}
    baby, other = by_label["crying_baby"][0], by_label["crying_baby"][1]
    (tmp_path / "in").mkdir()
    for path in (other, *by_label["dog"][:3], *by_label["clock_tick"][:3]):
        (tmp_path / "in" / path.name).symlink_to(path)
    arguments = ["find", str(baby), str(tmp_path / "in"), "--label", "baby", "--out", str(tmp_path / "page.html")]
    assert main([*arguments, "--number", "5"]) == 0
    assert capsys.readouterr().out.startswith("5 events of ")
    page = (tmp_path / "page.html").read_text()
    first = page.partition('"items":[')[2]
    assert first.startswith(f'{{"recording":"{other.name}"') and '"labels":["baby"]' in page
    assert main(["embed", str(tmp_path / "in"), "--out", str(tmp_path / "e.npz")]) == 0
    assert len(np.load(tmp_path / "e.npz")["embedding"]) == 7 * 10
    assert main(["embed", str(tmp_path / "in"), "--out", str(tmp_path / "e.txt")]) == 2
    assert main([*arguments, "--label", "a\tb"]) == 2
