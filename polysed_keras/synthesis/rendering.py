"""Render drawn mixtures: the waveform depends on the instruction, the recordings and the spec alone."""
import collections
import dataclasses

import numpy as np
import pandas as pd

from polysed_keras.events import merge_events
from polysed_keras.synthesis.acoustics import (
    coloured_noise,
    reverberate,
    simulate_room,
    trim_impulse_response,
)
from polysed_keras.synthesis.activity import active_spans, frame_levels, loudest_window

PEAK = 0.999  # largest sample of a mixture; louder ones are scaled down
SILENT_DBFS = -120.0
BACKGROUND, DISTRACTORS, MIXTURE = "background", "distractors", "mixture"


@dataclasses.dataclass(frozen=True, eq=False)
class Rendering:
    """The sound of a mixture.

    Attributes:
        waveform: float32 (samples,).
        events: DataFrame of onset, offset (seconds), event_label.
        stems: dict of name to the waveforms that sum up to the mixture: one per label, `distractors` and `background`;
            only `mixture` without spec.stems.
    """
    waveform: np.ndarray
    events: pd.DataFrame
    stems: dict


def render_mixture(mixture, read, spec):
    """Render a drawn mixture.

    Events are the spans in which the dry recording sounds (`activity.active_spans`): a room's tail is not annotated.

    Args:
        mixture: Mixture.
        read: function of a recording, its role and a speed (`ingredients.reader`) that returns float32 (samples,) at
            spec.sample_rate.
        spec: SoundscapeSpec.

    Returns:
        Rendering. It is scaled down as a whole if the sum or a stem would clip, so that pieces keep their relation.
    """
    num_samples, rows = round(spec.duration_seconds * spec.sample_rate), []
    background_dbfs = spec.background_dbfs if mixture.background_dbfs is None else mixture.background_dbfs
    stems = collections.defaultdict(lambda: np.zeros(num_samples, np.float32))

    def stem(name):
        return stems[name if spec.stems else MIXTURE]

    stem(BACKGROUND)
    for piece in mixture.pieces:
        onset = round(piece.onset * spec.sample_rate)
        cut = _cut(piece, read, spec)[:num_samples - onset]
        sound = _in_room(piece, _fade_edges(cut, spec.fade_seconds, spec), read, spec)
        sound = _with_gain(piece, sound, background_dbfs, spec)[:num_samples - onset]
        stem(piece.event_label or DISTRACTORS)[onset:onset + len(sound)] += sound
        if piece.event_label:
            rows += [(onset / spec.sample_rate + begin, onset / spec.sample_rate + end, piece.event_label)
                     for begin, end in active_spans(cut, piece.recording_dbfs, spec)]
    if spec.background:
        stem(BACKGROUND)[:] += _render_background(mixture, background_dbfs, read, spec, num_samples)
    # An event list file has six decimals, so the returned events equal those that will be read.
    events = merge_events(pd.DataFrame(rows, columns=["onset", "offset", "event_label"]).round(6))
    waveforms = list(stems.values())
    if len(waveforms) > 1:
        waveforms.append(sum(waveforms))
    peak = max(float(max(waveform.max(), -waveform.min())) for waveform in waveforms)
    if peak > PEAK:
        for waveform in waveforms:
            waveform *= np.float32(PEAK / peak)
    return Rendering(waveforms[-1], events, dict(stems))


def _cut(piece, read, spec, role=None):
    start, length = (round(seconds * spec.sample_rate) for seconds in (piece.start / piece.speed, piece.duration))
    role = role or ("soundbank" if piece.event_label else DISTRACTORS)
    return read(piece.recording, role, piece.speed)[start:start + length]


def _fade_edges(cut, seconds, spec):
    length = min(round(seconds * spec.sample_rate), len(cut) // 2)
    ramp = np.linspace(0, 1, length, endpoint=False, dtype=np.float32)
    faded = cut.copy()
    faded[:length] *= ramp
    faded[len(cut) - length:] *= ramp[::-1]
    return faded


def _in_room(piece, sound, read, spec):
    if piece.impulse_response is None or not len(sound):
        return sound
    if isinstance(piece.impulse_response, str):
        return reverberate(sound, trim_impulse_response(read(piece.impulse_response, "impulse_responses", 1.0)))
    return reverberate(sound, simulate_room(piece.impulse_response, spec.sample_rate))


def _with_gain(piece, sound, background_dbfs, spec):
    """Scale a sound in place: training waits for mixtures, and copies of long sounds take time."""
    if piece.gain_change_db:
        sound *= np.float32(10) ** np.linspace(0, piece.gain_change_db / 20, len(sound), dtype=np.float32)
    gain_db = piece.gain_db
    if piece.event_to_background_db is not None:
        level = loudest_window(frame_levels(sound, spec.sample_rate)) if len(sound) else SILENT_DBFS
        gain_db += background_dbfs + piece.event_to_background_db - level if level > SILENT_DBFS else SILENT_DBFS
    sound *= np.float32(10 ** (gain_db / 20))
    return sound


def _render_background(mixture, background_dbfs, read, spec, num_samples):
    """Return noise or beds with an RMS of `background_dbfs` over the mixture."""
    if not mixture.beds:
        colour = mixture.noise_colour or spec.background
        background = coloured_noise(colour, num_samples, spec.sample_rate, mixture.noise_seed)
    else:
        background = np.zeros(num_samples, np.float32)
        for bed in mixture.beds:
            onset = round(bed.onset * spec.sample_rate)
            sound = _fade_edges(_cut(bed, read, spec, BACKGROUND), 1.0, spec) * np.float32(10 ** (bed.gain_db / 20))
            background[onset:onset + len(sound)] += sound[:num_samples - onset]
    rms = np.sqrt(np.mean(np.square(background, dtype=np.float64)))
    return background * np.float32(10 ** (background_dbfs / 20) / max(rms, 1e-9))
