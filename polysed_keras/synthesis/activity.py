"""Annotation of isolated recordings by signal energy: when a recording sounds, and how loud it is."""
import dataclasses

import numpy as np

from polysed_keras.errors import InputError

FRAME_SECONDS = 0.02  # time resolution of the networks
LOUDNESS_SECONDS = 0.4  # window of momentary loudness (EBU R 128), so that a short bark is as loud as it is heard


def frame_levels(waveform, sample_rate):
    """Return the level of successive 20 ms frames; the last one may be shorter.

    The level is the RMS about the frame's mean, because a constant offset is no sound. The result is float64
    (ceil(samples / frame),), in dBFS.
    """
    length = round(FRAME_SECONDS * sample_rate)
    frames = np.zeros((-(-len(waveform) // length), length))
    frames.reshape(-1)[:len(waveform)] = waveform
    counts = np.full(len(frames), length)
    counts[-1:] -= frames.size - len(waveform)
    means = frames.sum(axis=1) / counts
    powers = np.einsum("ij,ij->i", frames, frames) / counts - means ** 2
    return 10 * np.log10(np.maximum(powers, 1e-20))


def active_spans(waveform, recording_dbfs, spec):
    """Find the spans in which a piece sounds: a list of (onset, offset), in seconds from its start.

    A 20 ms frame is active if its level is at most `threshold_db` below the loudest frame of the entire recording (a
    cut from a recording's quiet background is not an event) and not below `floor_dbfs`. Gaps up to `bridge_seconds`
    between active frames are bridged; after that, spans shorter than `burst_seconds` are dropped.

    Args:
        waveform: float32 (samples,), before any gain.
        recording_dbfs: level of the recording's loudest frame.
        spec: SoundscapeSpec.
    """
    threshold = max(recording_dbfs - spec.threshold_db, spec.floor_dbfs)
    active = frame_levels(waveform, spec.sample_rate) >= threshold
    edges = np.flatnonzero(np.diff(np.concatenate([[False], active, [False]])))
    spans = np.minimum(edges * round(FRAME_SECONDS * spec.sample_rate), len(waveform)).reshape(-1, 2) / spec.sample_rate
    if not len(spans):
        return []
    apart = spans[1:, 0] - spans[:-1, 1] > spec.bridge_seconds + 1e-9
    onsets, offsets = spans[np.append(True, apart), 0], spans[np.append(apart, True), 1]
    long_enough = offsets - onsets >= spec.burst_seconds - 1e-9
    return list(zip(onsets[long_enough].tolist(), offsets[long_enough].tolist()))


def loudest_window(levels):
    """Return the level (dBFS) of the loudest 400 ms, from the levels (dBFS) of successive 20 ms frames."""
    window = np.full(round(LOUDNESS_SECONDS / FRAME_SECONDS), FRAME_SECONDS / LOUDNESS_SECONDS)
    return float(10 * np.log10(np.convolve(10 ** (levels / 10), window).max()))


def _measure(path, waveform, spec):
    levels = frame_levels(waveform, spec.sample_rate)
    loudest = float(levels.max())
    if loudest < spec.floor_dbfs:
        raise InputError(f"{path}: silent, its loudest 20 ms have {loudest:.0f} dBFS. Expected a sound.")
    active = np.flatnonzero(levels >= max(loudest - spec.threshold_db, spec.floor_dbfs))
    frame = round(FRAME_SECONDS * spec.sample_rate)
    begin, end = active[0] * frame, min((active[-1] + 1) * frame, len(waveform))
    return {"onset": begin / spec.sample_rate, "duration": (end - begin) / spec.sample_rate,
            "level_dbfs": round(loudest_window(levels), 3), "loudest_dbfs": round(loudest, 3),
            "spans": tuple(active_spans(waveform, round(loudest, 3), spec))}


def measure_soundbank(soundbank, read, spec):
    """Return a Soundbank whose recordings are measured: when they sound and how loud they are.

    Args:
        soundbank: Soundbank.
        read: function of a recording that returns float32 (samples,) at spec.sample_rate.
        spec: SoundscapeSpec.

    Raises:
        InputError: names the recordings that cannot be read, hold NaN, are empty or silent.
    """
    measured, problems = [], []
    for instance in soundbank.instances:
        try:
            recording = instance.path.relative_to(soundbank.folder).as_posix()
            measures = _measure(instance.path, read(recording), spec)
            measured.append(dataclasses.replace(instance, recording=recording, **measures))
        except InputError as error:
            problems.append(str(error))
    if problems:
        more = f"\n... and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise InputError("\n".join(problems[:5]) + more + "\nRepair these recordings of the soundbank or remove them.")
    return dataclasses.replace(soundbank, instances=tuple(measured))
