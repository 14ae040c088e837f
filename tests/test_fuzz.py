"""Every reader of files from outside, given damaged ones: it reads them, or raises InputError in one line, quickly.

POLYSED_FUZZ_EXAMPLES says how many inputs each reader gets; `make soak` gives thousands.
"""
import dataclasses
import functools
import io
import json
import os
import pathlib
import resource
import tempfile
import time

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from polysed_keras.audio import audio_info, load_audio
from polysed_keras.errors import InputError
from polysed_keras.evaluation.event_lists import read_lists
from polysed_keras.events import confirmed_events, known_activity, merge_corrections, read_corrections
from polysed_keras.events.formats.catalogue import read_annotations
from polysed_keras.files import check_checksums, read_json
from polysed_keras.search.space import read_search
from polysed_keras.serving.deployment import find_exports
from polysed_keras.specs import Task, get_preset, set_fields, set_spec_fields
from polysed_keras.synthesis.corpus import read_instructions
from polysed_keras.synthesis.drawing import Mixture, Piece, SoundscapeSpec
from polysed_keras.synthesis.soundbank import read_soundbank
from polysed_keras.training.checkpoints import State, read_calibration
from polysed_keras.training.runs import load_run
from polysed_keras.training.seen import read_seen

EXAMPLES = int(os.environ.get("POLYSED_FUZZ_EXAMPLES", 25))
MOST_SECONDS, MOST_BYTES = 10.0, 2 ** 30
fuzzed = settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES < 1000, database=None,
                  phases=[Phase.generate], suppress_health_check=list(HealthCheck))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(
        ["", "../../x", "/abs/x", "C:\\x", "a\tb", "a\nb", "\x00", 10 ** 400, -1, 0, 1e308, 1e-320, 2 ** 63,
         float("nan")]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=8)


def places(content, path=()):
    """Yield the paths of all nodes of JSON content."""
    yield path
    for key, value in content.items() if isinstance(content, dict) else enumerate(
            content) if isinstance(content, list) else ():
        yield from places(value, (*path, key))


@st.composite
def damaged_json(draw, content):
    """Draw JSON text in which a node or two are another value, missing or twice, or of which the end is missing."""
    content = json.loads(json.dumps(content))
    for _ in range(draw(st.integers(1, 2))):
        path, value = draw(st.sampled_from(sorted(places(content), key=str))), draw(json_values)
        if not path:
            return json.dumps(value)
        parent = functools.reduce(lambda node, key: node[key], path[:-1], content)
        what = draw(st.sampled_from(["another", "another", "missing", "more"]))
        if what == "another":
            parent[path[-1]] = value
        elif what == "missing":
            del parent[path[-1]]
        elif isinstance(parent, dict):
            parent[draw(st.text(max_size=8))] = value
        else:
            parent.append(value)
    text = json.dumps(content)
    return text[:draw(st.integers(0, len(text)))] if draw(st.integers(0, 9)) == 0 else text


@st.composite
def damaged_bytes(draw, content):
    """Draw bytes of which some are others, missing or more."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content)))
        what = draw(st.sampled_from(["flip", "flip", "cut", "insert", "numbers", "end"]))
        if what == "flip" and place < len(content):
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif what == "cut":
            del content[place:place + draw(st.integers(1, 30))]
        elif what == "insert":
            content[place:place] = draw(st.binary(max_size=12) | st.sampled_from(
                [b"\t", b"\n", b"\r", b",", b";", b'"', b"\xef\xbb\xbf", b"\xff\xfe", b"nan", b"inf", b"-1",
                 b"1e400", b"9" * 400]))
        elif what == "numbers":
            content[place:place + 4] = draw(st.sampled_from(
                [b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b"\x01\0\0\0"]))
        elif draw(st.integers(0, 4)) == 0:
            del content[place:]
    return bytes(content)


def check(read, files):
    """Write {name: text or bytes} into a folder, and check that `read` of it does what the docstring above says."""
    with tempfile.TemporaryDirectory() as parent:
        folder = pathlib.Path(parent, "folder")
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content.encode(errors="surrogatepass") if isinstance(content, str) else content)
        before = sorted(path.name for path in pathlib.Path(parent).rglob("*"))
        start, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            read(folder)
        except InputError as error:
            assert "\n" not in str(error).rstrip("\n")
        assert time.process_time() - start < MOST_SECONDS
        assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) < MOST_BYTES
        assert sorted(path.name for path in pathlib.Path(parent).rglob("*")) == before


# JSON

PIECE = Piece("dog", "dog/1.wav", -20.0, 0.0, 1.0, 0.5, -3.0)
INSTRUCTIONS = {"seed": 0, "soundbank": "bank", "folds": [[1], [2], [3]], "labels": ["dog", "cat"],
                "spec": dataclasses.asdict(SoundscapeSpec(duration_seconds=4.0)),
                "recordings": {"soundbank": {"dog/1.wav": 5}},
                "mixtures": {"train": [dataclasses.asdict(Mixture((PIECE,), name="a"))]}}
EXPERIMENT = get_preset("mcmt_2_small").to_dict()
STATE = {"checkpoint": "epoch-1.weights.h5", "history": [{"epoch": 1, "loss": 0.5, "val_f1": 0.1}], "seeds": [[1, 2]]}
SEARCH = {"preset": "multilabel_small", "ranges": {"training.learning_rate": {"low": 1e-4, "high": 1e-2, "step": 2e-4},
                                                   "model.dropout": [0.1, 0.2]},
          "objective": "val_f1", "direction": "max", "algorithm": "hyperband", "trials": 23, "epochs": 9,
          "seeds": [0, 1]}
CALIBRATION = {"labels": ["cat", "dog"], "alarms_per_hour": "20", "thresholds": {"2": [0.9, 0.8], "20": [0.5, 0.4]},
               "hours": 0.5, "median_frames": [1, 3], "min_duration": [0.1, 0.0], "edge": [0.5, 0.2]}
CARD = {"name": "a", "version": 1, "labels": ["dog"], "sample_rate": 16000, "hop_length": 160, "win_length": 400,
        "segment_frames": 100, "time_resolution": 0.01, "experiment": EXPERIMENT}
LABEL_STUDIO = [{"data": {"audio": "a.wav"}, "annotations": [{"result": [
    {"id": "r1", "from_name": "label", "to_name": "audio", "type": "labels",
     "value": {"start": 0.5, "end": 1.0, "channel": 0, "labels": ["dog"]}}]}]}]
CORRECTIONS = {"polysed_format": 1, "kind": "polysed corrections", "model": "m", "reviewer": "Ann", "answers": [
    {"recording": "a.wav", "digest": "0123456789ab", "label": "dog", "onset": 1.0, "offset": 2.0, "heard": [0.0, 3.0],
     "answer": "yes", "asked": [1.0, 2.0], "confidence": 0.5},
    {"recording": "a.wav", "label": "cat", "onset": 1.5, "offset": 2.5, "heard": [0.0, 3.0], "answer": "yes"}]}
TASKS = (Task("task_1", ("dog", "cat"), "powerset"),)


def known_frames(path):
    """Read corrections as `learn` does."""
    answers, _ = merge_corrections([read_corrections(path)])
    confirmed_events(answers, "a.wav")
    return known_activity(answers, "a.wav", ["dog", "cat"], 100, 0.04)


READERS = {
    "soundscapes.json": (INSTRUCTIONS, read_instructions),
    "experiment.json": (EXPERIMENT, load_run),
    "preset.json": (EXPERIMENT, lambda folder: get_preset(str(folder / "preset.json"))),
    "state.json": (STATE, lambda folder: read_json(folder / "state.json", State)),
    "combinations.json": ({"task_1": [0, 1, 3]}, lambda folder: read_seen(folder / "combinations.json", TASKS)),
    "calibration.json": (CALIBRATION, lambda folder: read_calibration(folder, ("dog", "cat"))),
    "search.json": (SEARCH, lambda folder: read_search(folder / "search.json")),
    "a/1/card.json": (CARD, find_exports),
    "checksums.json": ({"a": "0123456789ab"}, check_checksums),
    "label_studio.json": (LABEL_STUDIO, read_annotations),
    "corrections.json": (CORRECTIONS, lambda folder: known_frames(folder / "corrections.json")),
}


@pytest.mark.parametrize("name", READERS)
def test_damaged_json(name):
    content, read = READERS[name]
    besides = {"a/1/saved_model.pb": ""} if name.endswith("card.json") else {}

    @fuzzed
    @given(damaged_json(content))
    def damage(text):
        check(read, {name: text} | besides)

    check(read, {name: json.dumps(content)} | besides)
    damage()


@fuzzed
@given(st.sampled_from(["training.epochs", "training.alpha", "model.filters", "tasks.groups", "features.fmax",
                        "dataset"]),
       st.sampled_from(["speed", "duration_seconds", "together", "labels_per_mixture", "stems", "background"]),
       json_values.map(json.dumps) | st.text(max_size=30) | st.sampled_from(["[" * 9999, "9" * 9999, "x.json"]))
def test_settings(field, spec_field, text):
    check(lambda _: set_fields(get_preset("mcmt_2_small"), [f"{field}={text}"]), {})
    check(lambda _: set_spec_fields(SoundscapeSpec(), [f"{spec_field}={text}"]), {})


# Tables and lists

TABLES = {
    "a.tsv": b"filename\tonset\toffset\tevent_label\na.wav\t0.5\t1.0\tdog\nb.wav\t\t\t\n",
    "a.csv": b"file;start (s);duration (ms);label\na.wav;0,5;500;dog\n",
    "a.txt": b"0.5\t1.0\tdog\n\\\t100\t2000\n2.0\t3.0\tcat\n",
    "raven.txt": b"Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tAnnotation\n"
                 b"1\tSpectrogram 1\t1\t0.5\t1.0\t100\t2000\tdog\n",
    "birdnet.csv": b"Start (s),End (s),Scientific name,Common name,Confidence,File\n0,3,Canis lupus,Wolf,0.9,a.wav\n",
    "a.TextGrid": b'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 2\ntiers? <exists>\n'
                  b'size = 1\nitem []:\n    item [1]:\n        class = "IntervalTier"\n        name = "x"\n'
                  b'        xmin = 0\n'
                  b'        xmax = 2\n        intervals: size = 1\n        intervals [1]:\n            xmin = 0\n'
                  b'            xmax = 2\n            text = "dog"\n',
}


@pytest.mark.parametrize("name", TABLES)
def test_damaged_annotations(name):
    @fuzzed
    @given(damaged_bytes(TABLES[name]))
    def damage(content):
        check(lambda folder: read_annotations(folder / name), {name: content})
        check(lambda folder: read_lists(folder / name), {name: content})

    check(lambda folder: read_annotations(folder / name), {name: TABLES[name]})
    damage()


@fuzzed
@given(damaged_bytes(b"filename,fold,target,category,esc10,src_file,take\na.wav,1,0,dog,True,100,A\nb.wav,2,1,cat,True,1,A\n"))
def test_damaged_soundbanks(content):
    check(read_soundbank, {"meta/esc50.csv": content, "audio/a.wav": b"", "audio/b.wav": b""})


# Audio

@pytest.mark.parametrize("format, subtype", [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"),
                                             ("AIFF", "PCM_24"), ("W64", "PCM_16"), ("MP3", "MPEG_LAYER_III")])
def test_damaged_audio(format, subtype):
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.1 * np.sin(np.arange(4000) / 5), 16000, subtype, format=format)
    name = f"a.{format.lower()}"

    def read(folder):
        audio_info(folder / name)
        waveform = load_audio(folder / name, 16000)
        assert np.isfinite(waveform).all() and abs(waveform).max(initial=0) < 1e6 or subtype == "FLOAT"

    @fuzzed
    @given(damaged_bytes(buffer.getvalue()[:3000]))
    def damage(content):
        check(read, {name: content})

    check(read, {name: buffer.getvalue()})
    damage()
