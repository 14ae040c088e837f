"""The page to look at detections: what is in it, and what it does in a real browser."""
import base64
import html.parser
import io
import json

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import soundfile
import tensorflow as tf

from polysed_keras.detection.detector import Detector
from polysed_keras.display.viewer import SAMPLE_RATE, build_page, frame_page, rows_of_events, write_page
from polysed_keras.errors import InputError
from polysed_keras.events.decoding import posteriors_to_events
from polysed_keras.events.event_lists import COLUMNS, write_events
from polysed_keras.events.formats.catalogue import write_detections

from browser import Browser
from fixtures import CLIPS, FEATURES, HOP, MULTI_LABEL, RATE

SECONDS, RESOLUTION = 10.0, HOP / RATE
LABELS = ("beep", "hiss & hum", "</script><script>document.title = 'injected'</script>", "{{data}}")
NAME = "a <b>bold<img> 'name' & \"more\".wav"  # a file name may hold all of it
DESCRIPTION = {"labels": list(LABELS), "sample_rate": RATE, "hop_length": HOP, "win_length": 320, "segment_frames": 32,
               "time_resolution": RESOLUTION, "experiment": MULTI_LABEL.to_dict() | {"name": "<i>tiny</i>"}}
REFERENCE = pd.DataFrame([(0.5, 2.0, LABELS[1]), (3.0, 4.25, "only <here>"), (9.5, 10.0, LABELS[2])], columns=COLUMNS)


def smooth_posteriors(frames, labels, seed=0):
    """Posteriors that rise and fall, with some exactly on the slider's thresholds."""
    noise = np.random.default_rng(seed).normal(0, 1, (frames + 40, labels))
    logits = np.stack([np.convolve(column, np.hanning(40), "valid")[:frames] for column in noise.T], axis=1)
    posteriors = (1 / (1 + np.exp(-logits))).astype(np.float32)
    posteriors[::7] = np.round(posteriors[::7] * 100).astype(np.float32) / np.float32(100)
    return posteriors


POSTERIORS = smooth_posteriors(round(SECONDS / RESOLUTION), len(LABELS))
ACTIVITY = (POSTERIORS[:, ::-1] > 0.6).astype(np.uint8)  # nothing that a threshold of the posteriors gives


@pytest.fixture(scope="module")
def detector():
    """A Detector whose network says the same of all that it hears."""
    answer = {"posteriors": tf.constant(POSTERIORS[None]), "activity": tf.constant(ACTIVITY[None])}
    return Detector(lambda waveform: answer, DESCRIPTION)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, detector):
    """recording and page.html, which has a reference."""
    folder = tmp_path_factory.mktemp("viewer")
    soundfile.write(folder / NAME, chirps(SECONDS), RATE)
    write_events(REFERENCE, folder / "reference.tsv")
    write_page(folder / NAME, detector, folder / "page.html", reference=folder / "reference.tsv")
    return folder


def chirps(seconds):
    time = np.arange(round(seconds * RATE)) / RATE
    return 0.3 * np.sin(2 * np.pi * (300 + 150 * np.sin(time)) * time) * (time % 2 < 1)


class Reader(html.parser.HTMLParser):
    """Elements with their attributes, and the content of scripts."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, text):
        if self.elements:
            self.texts.append((*self.elements[-1], text))


def data_of(page):
    return json.loads(next(text for tag, attributes, text in Reader(page).texts if attributes.get("id") == "data"))


# What is in the page

def test_the_page_holds_all_events_by_label_and_time(folder, detector):
    data = data_of((folder / "page.html").read_text(encoding="utf-8"))
    for name, activity, close in (("found", None, 0), ("decoded", ACTIVITY, 5.1e-5)):
        expected = posteriors_to_events(POSTERIORS, LABELS, 1.0, activity=activity, threshold=0.01)
        rows = sorted(zip([LABELS.index(label) for label in expected.event_label], expected.onset, expected.offset,
                          expected.confidence))
        assert len(rows) > 20 and data[name] == rows_of_events(detector, POSTERIORS, activity)
        assert [row[:3] for row in data[name]] == [list(row[:3]) for row in rows]
        confidences, wanted = (np.float32([row[3] for row in each]) for each in (data[name], rows))
        np.testing.assert_allclose(confidences, wanted, rtol=0, atol=close)


def test_a_calibrated_model_is_shown_as_it_detects():
    """The events of detect with the model's own thresholds, and for the slider those with any other."""
    calibration = {"labels": list(LABELS[::-1]), "alarms_per_hour": "20", "thresholds": {"20": [0.5, 0.7, 0.6, 0.55]},
                   "median_frames": [1, 3, 5, 9], "min_duration": [0.0, 0.3, 0.5, 0.1],
                   "max_gap": [0.0, 0.1, 0.06, 0.0], "edge": [0.5, 0.2, 0.5, 0.8], "step_filter": [0.0, 0.0, 0.2, 0.3]}
    answer = {"posteriors": tf.constant(POSTERIORS[None]), "activity": tf.constant(ACTIVITY[None])}
    calibrated = Detector(lambda waveform: answer, DESCRIPTION | {"calibration": calibration})
    silence = np.zeros(len(POSTERIORS) * HOP, np.float32)
    for activity, threshold in ((ACTIVITY, None), (None, 0.01)):
        rows = rows_of_events(calibrated, POSTERIORS, activity)
        events = calibrated.detect(silence, threshold=threshold)
        expected = sorted([LABELS.index(event.event_label), round(event.onset / RESOLUTION),
                           round(event.offset / RESOLUTION)] for event in events.itertuples())
        assert len(rows) > 10 and [row[:3] for row in rows] == expected


def test_events_below_the_slider_are_left_out(detector):
    posteriors = np.zeros((5, 4), np.float32)
    posteriors[1, 0], posteriors[3, 1] = 0.01, 0.0099
    assert rows_of_events(detector, posteriors) == [[0, 1, 2, 0.01]]


def test_nothing_in_the_page_comes_from_elsewhere(folder):
    reader = Reader((folder / "page.html").read_text(encoding="utf-8"))
    loading = {"src", "href", "srcset", "data"}
    assert [attributes for _, attributes in reader.elements if loading & set(attributes)] == []
    assert [tag for tag, _ in reader.elements if tag in ("link", "iframe", "object", "img", "base")] == []
    assert sum(tag == "script" for tag, _ in reader.elements) == 2
    policy = next(attributes["content"] for _, attributes in reader.elements if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'") and "http" not in policy


def test_the_page_holds_sound_spectrogram_and_reference(folder):
    data = data_of((folder / "page.html").read_text(encoding="utf-8"))
    assert data["name"] == NAME and data["labels"] == [*LABELS, "only <here>"]
    assert data["reference"] == [[0.5, 2.0, 1], [3.0, 4.25, 4], [9.5, 10.0, 2]]
    sound, rate = soundfile.read(io.BytesIO(base64.b64decode(data["audio"])))
    assert rate == SAMPLE_RATE and abs(len(sound) / rate - SECONDS) < 0.06
    assert np.abs(sound).max() == pytest.approx(0.3, abs=0.05)
    tiles = [matplotlib.image.imread(io.BytesIO(base64.b64decode(tile.partition(",")[2]))).shape
             for tile in data["spectrogram"]["tiles"]]
    assert tiles == [(FEATURES.n_mels, len(POSTERIORS), 4)]


def test_ticks_of_the_spectrogram_are_where_librosas_bands_are(folder):
    librosa = pytest.importorskip("librosa")
    ticks = data_of((folder / "page.html").read_text(encoding="utf-8"))["spectrogram"]["ticks"]
    assert [name for name, _ in ticks] == ["0.5", "1", "2"]  # 4 kHz is above the highest band's centre by half a band
    centres = librosa.mel_frequencies(FEATURES.n_mels + 2, fmin=FEATURES.fmin, fmax=FEATURES.fmax)[1:-1]
    for name, place in ticks:
        band = place * FEATURES.n_mels - 0.5  # 0 is the centre of the lowest
        assert np.interp(band, np.arange(FEATURES.n_mels), centres) == pytest.approx(1000 * float(name), rel=1e-6)


def test_ten_minutes_are_under_fifteen_megabytes(tmp_path):
    seconds = 60
    experiment = MULTI_LABEL.to_dict()
    experiment["features"] |= {"sample_rate": 44100, "win_length": 1764, "hop_length": 882, "n_fft": 2048, "n_mels": 64,
                               "fmax": 22050.0}
    labels = [f"label {index}" for index in range(16)]
    description = DESCRIPTION | {"labels": labels, "sample_rate": 44100, "hop_length": 882, "win_length": 1764,
                                 "experiment": experiment, "segment_frames": 128}
    posteriors = np.random.default_rng(0).random((1, 50 * seconds, 16), np.float32)
    answer = {"posteriors": tf.constant(posteriors), "activity": tf.constant((posteriors > 0.5).astype(np.uint8))}
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 44100 * seconds)  # nothing compresses worse
    soundfile.write(tmp_path / "noise.flac", noise, 44100)
    write_page(tmp_path / "noise.flac", Detector(lambda waveform: answer, description), tmp_path / "page.html")
    assert 10 * (tmp_path / "page.html").stat().st_size < 15e6


def test_mistakes_are_named_and_leave_no_page(detector, folder, tmp_path):
    with pytest.raises(InputError, match="nothing there"):
        write_page(tmp_path / "no.wav", detector, tmp_path / "page.html")
    (tmp_path / "broken.tsv").write_text("0.5,1.0,beep\n")
    with pytest.raises(InputError, match=r"broken\.tsv, line 1"):
        write_page(folder / NAME, detector, tmp_path / "page.html", reference=tmp_path / "broken.tsv")
    assert not (tmp_path / "page.html").exists()


def test_loud_and_silent_recordings_have_pages(detector, tmp_path):
    soundfile.write(tmp_path / "loud.wav", np.tile([2.0, -2.0], 4000), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "silent.wav", np.zeros(8000), RATE)
    loud, silent = (data_of(build_page(tmp_path / name, detector)) for name in ("loud.wav", "silent.wav"))
    assert loud["duration"] == silent["duration"] == 1.0 and loud["reference"] is None


def test_clips_are_as_long_as_the_model_says(tmp_path):
    description = DESCRIPTION | {"time_resolution": 2.0, "hop_length": 640, "win_length": 640, "segment_frames": 25,
                                 "experiment": CLIPS.to_dict()}
    answer = {"posteriors": tf.constant(POSTERIORS[None, :3]), "activity": tf.constant(ACTIVITY[None, :3])}
    soundfile.write(tmp_path / "clips.wav", chirps(5), RATE)
    data = data_of(build_page(tmp_path / "clips.wav", Detector(lambda waveform: answer, description)))
    assert (data["numFrames"], data["timeResolution"], data["duration"]) == (3, 2.0, 5.0)
    assert data["spectrogram"]["numFrames"] == 63  # of 80 ms
    expected = [[column, clip, clip + 1] for column in range(len(LABELS)) for clip in range(3)]
    assert [row[:3] for row in data["found"]] == expected
    np.testing.assert_array_equal(np.float32([row[3] for row in data["found"]]), POSTERIORS[:3].T.ravel())


# What it does in a browser

@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def page(browser, folder):
    """The page, shown anew. At the end its console has said nothing, and it has asked for nothing."""
    browser.open(folder / "page.html")
    browser.wait_for("audio.readyState >= 2 && document.querySelector('#estimatedRows tr')")
    yield browser
    assert browser.problems == []
    assert browser.requests == [(folder / "page.html").as_uri()]


def expected_events(threshold=None, min_duration=0.0):
    return posteriors_to_events(POSTERIORS, LABELS, RESOLUTION, activity=ACTIVITY if threshold is None else None,
                                threshold=0.5 if threshold is None else threshold, min_duration=min_duration)


def rows_of(events):
    return [[row.onset, row.offset, row.event_label] for row in events.itertuples()]


def position_of(page, label, time, below=25):
    """Where in the window a time and lane are."""
    lane = list((*LABELS, "only <here>")).index(label)
    return page.evaluate(f"""(() => {{ const box = canvas.getBoundingClientRect();
        return [box.left + {time} * zoom - scroller.scrollLeft,
                box.top + SPECTROGRAM + AXIS + LANE * {lane} + {below}]; }})()""")


def test_the_pages_rule_is_the_librarys(page):
    for threshold in (None, *(step / 100 for step in range(1, 101, 3)), 0.5, 1.0):
        step = "null" if threshold is None else round(100 * threshold)
        for min_duration in (0, 0.06, 0.3):
            found = page.evaluate(f"detectEvents({step}, {min_duration})")
            expected = expected_events(threshold, min_duration)
            assert [[event["onset"], event["offset"], event["label"]] for event in found] == rows_of(expected)
            np.testing.assert_allclose([event["confidence"] for event in found], expected.confidence, atol=5.1e-5)


def test_clips_one_after_the_other_are_one_event(page):
    page.evaluate("data.found = [[0, 0, 1, 0.5], [0, 1, 3, 0.8], [0, 3, 4, 0.3], [1, 4, 5, 0.7]]")
    found = page.evaluate("detectEvents(40, 0).map((event) => [event.label, event.onset, event.offset])")
    assert found == [[LABELS[0], 0, 3 * RESOLUTION], [LABELS[1], 4 * RESOLUTION, 5 * RESOLUTION]]
    assert page.evaluate("detectEvents(40, 0)[0].confidence") == pytest.approx(0.7)
    assert len(page.evaluate("detectEvents(30, 0)")) == 2 and len(page.evaluate("detectEvents(75, 0)")) == 1


def test_names_are_text_wherever_they_are_shown(page):
    assert page.evaluate("document.title") == f"{NAME}: sound events"
    assert page.evaluate("$('name').textContent") == NAME
    assert page.evaluate("$('about').textContent") == "0:10 min; 4 labels; model: <i>tiny</i>"
    shown = page.evaluate("[...document.querySelectorAll('#gutter span')].map((span) => span.textContent)")
    assert shown[-5:] == [*LABELS, "only <here>"]
    assert page.evaluate("document.querySelectorAll('b, i, script').length") == 2
    assert page.evaluate("[...$('referenceRows').rows].map((row) => row.cells[3].textContent)") == list(
        REFERENCE.event_label)


def test_a_click_on_an_event_plays_it_to_its_end(page):
    event = next(event for event in expected_events().itertuples()
                 if event.onset > 1 and 0.4 < event.offset - event.onset < 1)
    page.evaluate("""window.seen = [];
        (function look() { seen.push($('cursor').getBoundingClientRect().left); requestAnimationFrame(look); })()""")
    page.click(*position_of(page, event.event_label, (event.onset + event.offset) / 2, below=20))
    page.wait_for("audio.played.length && audio.paused")
    seen = page.evaluate("seen")
    assert len(set(seen)) > 5 and seen[-1] > seen[0]
    left = page.evaluate("canvas.getBoundingClientRect().left")
    assert (seen[-1] - left + 1) / page.evaluate("zoom") == pytest.approx(page.evaluate("audio.currentTime"), abs=0.05)
    assert page.evaluate("audio.currentTime") == pytest.approx(event.offset, abs=0.3)
    assert page.evaluate("$('status').textContent").startswith(f"Playing {event.event_label}, {event.onset:.2f} to ")
    assert page.evaluate("selected.row.getAttribute('aria-current')") == "true"


def test_a_click_on_a_reference_event_and_beside_events(page):
    page.click(*position_of(page, LABELS[1], 1.0, below=5))
    page.wait_for("audio.played.length")
    assert page.evaluate("[selected.onset, selected.offset, selected.label]") == [0.5, 2.0, LABELS[1]]
    page.evaluate("audio.pause()")
    page.click(*position_of(page, "only <here>", 6.0))
    assert page.evaluate("audio.currentTime") == pytest.approx(6.0, abs=0.03) and page.evaluate("audio.paused")


def test_the_slider_changes_events_table_and_download(page, tmp_path):
    own = expected_events()
    page.wait_for(f"$('estimatedRows').rows.length === {len(own)}")
    page.evaluate("$('threshold').focus()")
    page.press("ArrowRight")
    expected = expected_events(0.51)
    assert rows_of(expected) != rows_of(own) and not page.evaluate("$('own').checked")
    shown = [[f"{onset:.2f}", f"{offset:.2f}", label] for onset, offset, label in rows_of(expected)]
    cells = "[...$('estimatedRows').rows].map((row) => [1, 2, 3].map((cell) => row.cells[cell].textContent))"
    page.wait_for(f"JSON.stringify({cells}) === JSON.stringify({json.dumps(shown)})")
    assert page.evaluate("$('status').textContent").startswith(f"{len(expected)} estimated events of ")
    page.evaluate("$('download').click()")
    downloaded = page.downloaded()
    write_detections(expected, tmp_path / "expected.tsv")
    assert downloaded.suffix == ".tsv" and downloaded.read_bytes() == (tmp_path / "expected.tsv").read_bytes()


def test_everything_is_reached_and_named_by_keyboard(page):
    reached = []
    for _ in range(20):
        page.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.getAttribute('aria-label')"))
    controls = ["audio", "own", "threshold", "minDuration", "zoomOut", "zoomIn", "zoomAll", "scroller", "download"]
    assert [name for name in dict.fromkeys(reached) if name in controls] == controls
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "checkbox", "slider", "spinbutton", "region"}
    unnamed = [node for node in nodes if not node["ignored"] and node["role"]["value"] in roles
               and not node.get("name", {}).get("value")]
    assert unnamed == [] and sum(node["role"]["value"] == "slider" for node in nodes) >= 2


def test_the_timeline_is_used_by_keyboard(page):
    page.evaluate("scroller.focus()")
    page.press("PageUp")
    page.press("ArrowLeft")
    page.wait_for("!audio.seeking")
    assert page.evaluate("audio.currentTime") == pytest.approx(9.0, abs=0.03)
    expected = [event.event_label for event in expected_events().itertuples() if event.onset <= 9 < event.offset]
    text = f"9.0 seconds: {', '.join(expected) or 'no event'}"
    assert page.evaluate("scroller.getAttribute('aria-valuetext')") == text
    assert page.evaluate("scroller.getAttribute('aria-valuenow')") == "9.0"
    page.press("+", text="+")
    page.wait_for("scroller.scrollWidth > 1.9 * scroller.clientWidth")
    page.press(" ", code="Space", text=" ")
    page.wait_for("!audio.paused")
    page.press(" ", code="Space", text=" ")
    page.wait_for("audio.paused")


def test_a_row_plays_its_event_by_enter(page):
    page.evaluate("$('estimatedRows').rows[1].querySelector('button').focus()")
    page.press("Enter", text="\r")
    page.wait_for("audio.played.length")
    assert page.evaluate("selected === estimated[1]")


def test_times_are_rounded_before_minutes_are_counted(page):
    assert page.evaluate("[clock(59.4, 0), clock(59.7, 0), clock(119.96, 1), clock(61.5, 1), clock(3600, 0)]") == [
        "0:59", "1:00", "2:00.0", "1:01.5", "60:00"]


def test_zoom_keeps_the_middle_and_shows_more(page):
    picture = page.evaluate("draw(); canvas.toDataURL()")
    page.evaluate("$('zoomIn').click(); $('zoomIn').click()")
    assert page.evaluate("draw(); canvas.toDataURL()") != picture
    middle = page.evaluate("(scroller.scrollLeft + scroller.clientWidth / 2) / zoom")
    assert middle == pytest.approx(SECONDS / 2, abs=0.05)
    assert page.evaluate("scroller.clientWidth / zoom") == pytest.approx(SECONDS / 4, rel=0.01)
    page.evaluate("$('zoomAll').click()")
    assert page.evaluate("[scroller.scrollLeft, scroller.scrollWidth <= scroller.clientWidth]") == [0, True]
    assert page.evaluate("draw(); canvas.toDataURL()") == picture  # nothing is left of what was drawn before


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_no_width_scrolls_sideways_and_the_canvas_is_drawn(page, folder, width):
    page.open(folder / "page.html", width=width)
    page.wait_for("audio.readyState >= 2 && document.querySelector('#estimatedRows tr') && canvas.width > 0")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    colours = page.evaluate("""(() => { const pixels = context.getImageData(0, 0, canvas.width, SPECTROGRAM).data;
        return new Set(Array.from({length: 500}, (_, i) => pixels[4 * 97 * i])).size; })()""")
    assert colours > 10


def test_a_frame_in_a_notebook_shows_it(browser, folder, tmp_path):
    text = frame_page((folder / "page.html").read_text(encoding="utf-8"))
    notebook = f"<!DOCTYPE html><title>notebook</title><p>out:</p>{text}"
    (tmp_path / "notebook.html").write_text(notebook, encoding="utf-8")
    browser.open(tmp_path / "notebook.html")
    inside = "document.querySelector('iframe').contentWindow"
    browser.wait_for(f"{inside}.document.querySelectorAll('#estimatedRows tr').length === {len(expected_events())}")
    browser.wait_for(f"{inside}.document.getElementById('audio').readyState >= 2")
    assert browser.problems == []
