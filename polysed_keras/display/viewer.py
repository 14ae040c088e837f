"""One HTML page with the spectrogram, sound and events of a recording; it needs no server and no network.

viewer.html, viewer.css and viewer.js are joined with the data of the recording, among them all events with their
confidences. So the page's slider only chooses among them, and each threshold gives the same events as detect.
"""
import base64
import html
import io
import json
import pathlib
import re

import librosa
import numpy as np
from matplotlib import colormaps
from matplotlib.image import imsave

from polysed_keras.audio import compute_log_mel, decibels, load_audio
from polysed_keras.display.recordings import DYNAMIC_RANGE
from polysed_keras.errors import InputError
from polysed_keras.events import posteriors_to_events, read_events
from polysed_keras.files import atomic_file
from polysed_keras.specs import LogMelSpec

STEPS = 100  # The thresholds of the slider: 0.01 to 1.
SAMPLE_RATE = 44100  # Hz, one of the rates of MP3.
MP3_COMPRESSION = 0.89  # libsndfile's value for a constant 64 kbit/s; browsers seek exactly only at a constant rate.
TILE_FRAMES = 4096  # The frames per image, which every browser can draw.
FREQUENCY_TICKS = (100, 500, 1000, 2000, 4000, 8000, 16000)  # Hz


def build_page(audio, detector, *, reference=None):
    """Build the page of a recording, about 1.1 MB per minute.

    Args:
        audio: path of an audio file.
        detector: Detector; if it labels clips, a label that consecutive clips share is shown as one event.
        reference: path of an event list file, with any labels, to show beside the detected events; None for none.

    Returns:
        str, the HTML text.

    Raises:
        InputError: unreadable audio or reference.
    """
    waveform = load_audio(audio, SAMPLE_RATE)
    duration = len(waveform) / SAMPLE_RATE
    events = None if reference is None else read_events(reference, duration=duration)
    labels = list(detector.labels)
    if events is not None:
        labels += sorted(set(events["event_label"]) - set(labels))
        events = [[event.onset, event.offset, labels.index(event.event_label)] for event in events.itertuples()]
    heard = waveform if detector.sample_rate == SAMPLE_RATE else load_audio(audio, detector.sample_rate)
    posteriors, activity = detector.posteriors(heard)
    name = printable_name(audio)
    return fill_template("viewer", name, {
        "name": name, "model": detector.description["experiment"]["name"], "duration": duration,
        "labels": labels, "reference": events, "timeResolution": detector.time_resolution, "steps": STEPS,
        "end": len(heard) / detector.sample_rate,  # of the events, as in detect
        "numFrames": len(posteriors), "numColumns": len(detector.labels),
        "posteriors": to_base64(np.round(STEPS * posteriors).astype(np.uint8).T.tobytes()),
        "decoded": rows_of_events(detector, posteriors, activity), "found": rows_of_events(detector, posteriors),
        "spectrogram": spectrogram_images(heard, LogMelSpec(**detector.description["experiment"]["features"])),
        "audio": to_base64(encode_mp3(waveform))})


def write_page(audio, detector, path, *, reference=None):
    """Write the page of a recording to a file, atomically.

    Args:
        audio: see build_page.
        detector: see build_page.
        path: HTML file to write.
        reference: see build_page.

    Raises:
        InputError: see build_page; or the file cannot be written.

    Example:
        >>> write_page("street.wav", detector, "street.html", reference="street.tsv")
    """
    page = build_page(audio, detector, reference=reference)
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def frame_page(page, height=720):
    """Wrap a page into an HTML frame, for notebooks.

    Args:
        page: str from build_page.
        height: height of the frame in CSS pixels.

    Example:
        >>> IPython.display.HTML(frame_page(build_page("street.wav", detector)))
    """
    return (f'<iframe title="Events of a recording" style="width: 100%; height: {int(height)}px; border: 0" '
            f'srcdoc="{html.escape(page)}"></iframe>')


def rows_of_events(detector, posteriors, activity=None):
    """List all events that the page can show, in the order of labels and time.

    Args:
        detector: Detector.
        posteriors: array (frames, labels), or (clips, labels).
        activity: of the model's own decoding, of the same shape, for the events of `detect` without a threshold; None
            for the events that the slider chooses from, which are peaks of the posteriors, or each clip and label by
            itself.

    Returns:
        List of [column of the label, first frame, frame after the last one, confidence]. For the slider, events that
        its lowest threshold drops are left out, and confidences are floats of few digits that are the same as float32.
    """
    rule = {} if detector.clip_level else detector.event_rule()
    if activity is not None:
        rows = _rows(detector, posteriors, activity=None if "threshold" in rule else activity, **rule)
        return sorted([*edges, round(confidence, 4)] for *edges, confidence in rows)
    if detector.clip_level:
        clips, columns = np.indices(posteriors.shape).reshape(2, -1)
        rows = zip(columns.tolist(), clips.tolist(), (clips + 1).tolist(), posteriors.ravel())
    else:
        rows = _rows(detector, posteriors, **rule | {"threshold": 0})
    return sorted([*edges, float(str(np.float32(confidence)))] for *edges, confidence in rows
                  if np.float32(confidence) >= np.float32(1 / STEPS))


def _rows(detector, posteriors, **rule):
    events = posteriors_to_events(posteriors, detector.labels, detector.time_resolution, **rule)
    return [(detector.labels.index(event.event_label), round(event.onset / detector.time_resolution),
             round(event.offset / detector.time_resolution), event.confidence) for event in events.itertuples()]


def spectrogram_images(waveform, features):
    """Return images of TILE_FRAMES frames as data URLs, and ticks with places from the bottom (0) to the top (1)."""
    log_mel = decibels(compute_log_mel(waveform, features), features)
    edges = librosa.mel_frequencies(features.n_mels + 2, fmin=features.fmin, fmax=features.fmax)
    places = np.interp(FREQUENCY_TICKS, edges, (np.arange(features.n_mels + 2) - 0.5) / features.n_mels, -1, -1)
    top, tiles = log_mel.max(), []
    colours = colormaps["magma"].resampled(64)  # 1.25 dB each; images are a quarter smaller than with 256.
    for start in range(0, len(log_mel), TILE_FRAMES):
        buffer = io.BytesIO()
        imsave(buffer, log_mel[start:start + TILE_FRAMES].T, format="png", origin="lower", cmap=colours,
               vmin=top - DYNAMIC_RANGE, vmax=top)
        tiles.append("data:image/png;base64," + to_base64(buffer.getvalue()))
    return {"tiles": tiles, "tileSeconds": TILE_FRAMES * features.time_resolution,
            "frameSeconds": features.time_resolution, "numFrames": len(log_mel),
            "ticks": [[f"{hertz / 1000:g}", place] for hertz, place in zip(FREQUENCY_TICKS, places) if 0 <= place <= 1]}


def encode_mp3(waveform):
    """Encode a waveform at SAMPLE_RATE as MP3, which every browser plays."""
    import soundfile
    buffer = io.BytesIO()
    try:
        soundfile.write(buffer, waveform / max(1.0, np.abs(waveform).max()), SAMPLE_RATE, format="MP3",
                        subtype="MPEG_LAYER_III", bitrate_mode="CONSTANT", compression_level=MP3_COMPRESSION)
    except (soundfile.LibsndfileError, ValueError) as error:
        raise InputError(f"soundfile: expected a libsndfile that writes MP3 (1.1 or newer). Received: {error}. "
                         "Install the soundfile wheel, which brings one.") from error
    return buffer.getvalue()


def printable_name(path):
    """Return the name of a file as text, in which bytes that are none are "?"."""
    return pathlib.Path(path).name.encode("utf-8", "replace").decode()


def to_base64(content):
    """Return bytes as text in base64."""
    return base64.b64encode(content).decode("ascii")


def fill_template(page, title, data):
    """Fill in the marks of a page's .html all at once, so that nothing in the data is taken for a mark."""
    folder = pathlib.Path(__file__).parent
    text = {suffix: (folder / f"{page}.{suffix}").read_text(encoding="utf-8") for suffix in ("html", "css", "js")}
    # Inside a script element "<" could end the element or open a comment.
    data = json.dumps(data, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    parts = {"title": html.escape(title), "style": text["css"], "script": text["js"], "data": data}
    return re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], text["html"])
