"""One HTML page with a recording's spectrogram, sound and events: no server, no network, nothing but the file.

viewer.html, viewer.css and viewer.js are put together with the recording's data. The page decides events by the rule of
events.posteriors_to_events, on posteriors that are stored so that every threshold of its slider gives the same
events as it does here.
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

from polysed_keras.audio import compute_log_mel, load_audio
from polysed_keras.display.recordings import DYNAMIC_RANGE
from polysed_keras.errors import InputError
from polysed_keras.events import read_events
from polysed_keras.files import atomic_file
from polysed_keras.specs import Experiment

STEPS = 100  # thresholds of the slider: 0.01 to 1
ACTIVE = 128  # the bit of the model's own decoding; the others are the highest step that a posterior reaches
SAMPLE_RATE = 44100  # Hz: one that MP3 has
MP3_COMPRESSION = 0.89  # of libsndfile: 64 kbit/s, constant, because browsers seek exactly in no other
TILE_FRAMES = 4096  # of an image: what every browser draws
FREQUENCY_TICKS = (100, 500, 1000, 2000, 4000, 8000, 16000)  # Hz


def build_page(audio, detector, reference=None):
    """The page of a recording, as text: about 1.1 MB a minute.

    Args:
        audio: path of an audio file.
        detector: detection.Detector; of one that labels clips, what clips in a row share is one event.
        reference: path of an event list file, whose labels need not be the detector's; None for none.

    Returns:
        str of HTML.

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
    name = pathlib.Path(audio).name.encode("utf-8", "replace").decode()  # names that are no text are shown with "?"
    return _fill_template(name, {
        "name": name, "model": detector.description["experiment"]["name"], "duration": duration,
        "labels": labels, "reference": events, "timeResolution": detector.time_resolution, "steps": STEPS,
        "numFrames": len(posteriors), "numColumns": len(detector.labels),
        "posteriors": _base64(quantise_posteriors(posteriors, activity).T.tobytes()),
        "spectrogram": _spectrogram(heard, Experiment.from_dict(detector.description["experiment"]).features),
        "audio": _base64(_mp3(waveform))})


def write_page(audio, detector, path, reference=None):
    """Write the page of a recording to a file, atomically; arguments and errors as in `build_page`."""
    page = build_page(audio, detector, reference)
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def frame_page(page, height=720):
    """A page as text of an HTML frame, for notebooks: IPython.display.HTML(frame_page(page)).

    Args:
        page: text of `build_page`; height: of the frame, in CSS pixels.
    """
    return (f'<iframe title="Events of a recording" style="width: 100%; height: {int(height)}px; border: 0" '
            f'srcdoc="{html.escape(page)}"></iframe>')


def quantise_posteriors(posteriors, activity):
    """What the page stores: per frame and label, how many of the slider's thresholds the posterior reaches, and a bit.

    A posterior is at least threshold k / STEPS, compared as in posteriors_to_events, where its byte's lower bits are at
    least k; so nothing is lost at these thresholds.

    Args:
        posteriors: float32 (frames, labels), 0..1; activity: 0 or 1, the model's own decoding.

    Returns:
        uint8 (frames, labels).
    """
    thresholds = (np.arange(1, STEPS + 1) / STEPS).astype(np.float32)
    reached = np.searchsorted(thresholds, np.asarray(posteriors, np.float32), side="right")
    return (reached + ACTIVE * (np.asarray(activity) > 0)).astype(np.uint8)


def _spectrogram(waveform, features):
    """Images of TILE_FRAMES frames each, as data URLs, and where frequencies lie from the bottom (0) to the top (1)."""
    log_mel = compute_log_mel(waveform, features)
    edges = librosa.mel_frequencies(features.n_mels + 2, fmin=features.fmin, fmax=features.fmax)
    places = np.interp(FREQUENCY_TICKS, edges, (np.arange(features.n_mels + 2) - 0.5) / features.n_mels, -1, -1)
    top = log_mel.max()
    return {"tiles": [_image(log_mel[start:start + TILE_FRAMES], top) for start in range(0, len(log_mel), TILE_FRAMES)],
            "tileSeconds": TILE_FRAMES * features.time_resolution, "frameSeconds": features.time_resolution,
            "numFrames": len(log_mel),
            "ticks": [[f"{hertz / 1000:g}", place] for hertz, place in zip(FREQUENCY_TICKS, places) if 0 <= place <= 1]}


def _image(log_mel, top):
    buffer = io.BytesIO()
    colours = colormaps["magma"].resampled(64)  # 1.25 dB each: a quarter smaller than with 256
    imsave(buffer, log_mel.T, format="png", origin="lower", cmap=colours, vmin=top - DYNAMIC_RANGE, vmax=top)
    return "data:image/png;base64," + _base64(buffer.getvalue())


def _mp3(waveform):
    """MP3, which every browser plays, of a waveform at SAMPLE_RATE."""
    import soundfile
    buffer = io.BytesIO()
    peak = np.abs(waveform).max()
    try:
        soundfile.write(buffer, waveform / max(1.0, peak), SAMPLE_RATE, format="MP3", subtype="MPEG_LAYER_III",
                        bitrate_mode="CONSTANT", compression_level=MP3_COMPRESSION)
    except (soundfile.LibsndfileError, ValueError) as error:
        raise InputError(f"soundfile: expected a libsndfile that writes MP3 (1.1 or newer). Received: {error}. "
                         "Install the soundfile wheel, which brings one.") from error
    return buffer.getvalue()


def _base64(content):
    return base64.b64encode(content).decode("ascii")


def _fill_template(title, data):
    """viewer.html with its marks filled in, all at once, so that nothing in the data is taken for a mark."""
    folder = pathlib.Path(__file__).parent
    text = {suffix: (folder / f"viewer.{suffix}").read_text(encoding="utf-8") for suffix in ("html", "css", "js")}
    # in a script element "<" could end it or open a comment
    data = json.dumps(data, ensure_ascii=True).replace("<", "\\u003c")
    parts = {"title": html.escape(title), "style": text["css"], "script": text["js"], "data": data}
    return re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], text["html"])
