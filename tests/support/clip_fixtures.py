"""Files as corpora of clips have them, written byte by byte."""
import struct

import numpy as np

TUT_TRAIN, TUT_TEST = ("evaluation_setup/fold1_train.txt", "evaluation_setup/fold1_evaluate.txt")
CLASS_LABELS = ('index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/m/05zppz,"Male speech, man speaking"\n'
                '2,/t/dd00003,"Male singing"\n')
SEGMENTS = ("# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=1\n"
            "# YTID, start_seconds, end_seconds, positive_labels\n")


def wav_bytes(samples, rate, bits):
    """A WAV file of whole numbers (samples, channels), little-endian, of 16 or 24 bits."""
    num_bytes, channels = bits // 8, samples.shape[1]
    whole = np.frombuffer(samples.astype("<i4").tobytes(), np.uint8).reshape(-1, 4)
    data = whole[:, :num_bytes].tobytes()  # the lowest bytes come first
    head = struct.pack("<4sIHHIIHH4sI", b"fmt ", 16, 1, channels, rate, rate * channels * num_bytes,
                       channels * num_bytes, bits, b"data", len(data))
    return struct.pack("<4sI4s", b"RIFF", 4 + len(head) + len(data), b"WAVE") + head + data


def noise_wav(seconds, rate=8000, channels=1, bits=16, seed=0):
    """The bytes of a WAV file of noise at half of full scale."""
    limit = 2 ** (bits - 2)
    return wav_bytes(np.random.default_rng(seed).integers(-limit, limit, (round(seconds * rate), channels)), rate, bits)


def write_files(folder, files):
    """Write {path below the folder: bytes or text}; the folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def tut_list(names):
    """Lines of clip names as the corpus's lists have them."""
    return "".join(f"audio/{name}.wav\t{name.split('-')[0]}\n" for name in names)


def tut_meta(names):
    """The corpus's meta.csv of clip names."""
    rows = (name.split("-") for name in names)
    return "filename\tscene_label\tidentifier\tsource_label\n" + "".join(
        f"audio/{'-'.join(row)}.wav\t{row[0]}\t{row[1]}-{row[2]}\t{row[4]}\n" for row in rows)


def write_tut(folder, train, test, audio=b""):
    """A TUT Urban corpus of clip names, whose files all hold `audio`."""
    names = [*train, *test]
    return write_files(folder, {f"audio/{name}.wav": audio for name in names} | {
        "meta.csv": tut_meta(names), TUT_TRAIN: tut_list(train), TUT_TEST: tut_list(test)})


def write_audioset(folder, lists, audio):
    """An AudioSet of {list name: lines} and {path below audio/: bytes}."""
    return write_files(folder, {"class_labels_indices.csv": CLASS_LABELS}
                       | {f"{name}_segments.csv": SEGMENTS + lines for name, lines in lists.items()}
                       | {f"audio/{name}": content for name, content in audio.items()})


RATE = 8000
SCENES, EVENTS = ("airport", "bus", "park"), ("Speech", "Male speech, man speaking", "Male singing")
MIDS = ("/m/09x0r", "/m/05zppz", "/t/dd00003")


def tone_wav(frequencies, seconds=2.0, seed=0):
    """The bytes of a WAV file of tones in faint noise, mono, at RATE."""
    rng, times = np.random.default_rng(seed), np.arange(round(seconds * RATE)) / RATE
    waveform = 0.01 * rng.standard_normal(len(times)) + sum(0.2 * np.sin(2 * np.pi * f * times) for f in frequencies)
    return wav_bytes(np.round(20000 * waveform[:, None]).astype(int), RATE, 16)


def write_clip_corpora(folder, locations=(4, 2, 2), clips=2, events=(24, 8, 8)):
    """Both corpora of a joint experiment: clips of 2 s, whose scene is a low tone and whose events are high ones."""
    names = {part: [(f"{scene}-city-{part}{place}-{index}-a", number) for number, scene in enumerate(SCENES)
                    for place in range(count) for index in range(clips)]
             for part, count in zip(("train", "validate", "test"), locations)}
    scenes = folder / "tut_urban_acoustic_scenes_2018"
    write_tut(
        scenes, [name for part in ("train", "validate") for name, _ in names[part]], [name for name, _ in names["test"]]
    )
    write_files(scenes, {f"audio/{name}.wav": tone_wav([200 + 300 * number], seed=seed)
                         for seed, (name, number) in enumerate(sum(names.values(), []))})
    write_files(scenes, {"evaluation_setup/fold1_validate.txt": tut_list(name for name, _ in names["validate"])})
    rng, lists, audio = np.random.default_rng(0), {}, {}
    for part, count in zip(("balanced_train", "validate", "eval"), events):
        active = rng.random((count, len(EVENTS))) < 0.4
        active[np.arange(count), np.arange(count) % len(EVENTS)] = True
        ids = [f"{part[:4]}_-{index:05}" for index in range(count)]
        lists[part] = "".join(
            f'{clip}, 0.000, 10.000, "{",".join(np.array(MIDS)[row])}"\n' for clip, row in zip(ids, active)
        )
        audio |= {f"Y{clip}.wav": tone_wav(1500 + 700 * np.flatnonzero(row), seed=index)
                  for index, (clip, row) in enumerate(zip(ids, active))}
    write_audioset(folder / "audioset", lists, audio)
    return folder
