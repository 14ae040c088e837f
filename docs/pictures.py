"""Make the pictures of README and docs, and the gallery of what the shipped model hears.

    python benchmarks/field_test.py halve esc50 --out data/esc50
    polysed demo --out demo
    python docs/pictures.py data/esc50 --ambience ambience --demo demo

`data/esc50` holds ESC-50's recordings whose own licence is CC0 or CC BY, with their ATTRIBUTION.txt beside audio/. What
is drawn and heard is of fold 5, which neither trained nor calibrated the model: the first minute in a city, and the
first clip of each label. Pages and terminals are drawn by Chromium.
"""
import argparse
import base64
import html
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap

import matplotlib
import numpy as np
import PIL.Image
import soundfile as sf

matplotlib.use("Agg")
ROOT = pathlib.Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
from field_test import CLASSES, active_part, make, read_rows  # noqa: E402

from polysed_keras.audio import compute_log_mel, load_audio, load_excerpts  # noqa: E402
from polysed_keras.cli.main import main as polysed  # noqa: E402
from polysed_keras.display import plot_detections  # noqa: E402
from polysed_keras.events import clip_events, read_events  # noqa: E402
from polysed_keras.serving import load_detector  # noqa: E402
from polysed_keras.specs import LogMelSpec  # noqa: E402

PICTURES, GALLERY = ROOT / "docs" / "_static" / "pictures", ROOT / "docs" / "_static" / "gallery"
PLACE, SECONDS = "city", 60.0  # of the recording that is drawn
NOTEBOOKS = {"attention": "paper1_figure_2", "polyphony": "paper1_table_3", "sweep": "paper2_figure_2"}
ATTRIBUTION = "ATTRIBUTION.txt"
COLUMNS = 103  # of a terminal's picture, 900 pixels wide
QUIET = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "NO_COLOR": "1", "COLUMNS": str(COLUMNS)}
ODD_FILE = "Startzeit (Sek.);Dauer (Sek.);Klang;Notiz\n3,5;1,25;Hund;\n12,0;0,8;Tür;zweimal\n"
PLUGIN = '''import keras
import polysed_keras as ps


@ps.register("backbone", frames=True)
def one_map(x, spec, use_cudnn):
    return [(keras.layers.Reshape((*x.shape[1:], 1))(x),)]
'''


def save(figure, name):
    """Write a figure with few colours, so that the repository stays small."""
    path = PICTURES / f"{name}.png"
    figure.savefig(path, dpi=90)
    shrink(path)


def shrink(path):
    image = PIL.Image.open(path).convert("RGB")
    image.quantize(128, dither=PIL.Image.Dither.NONE).save(path, optimize=True)


def make_field(esc50, ambience, folder):
    """Return the folder of the recordings of benchmarks/field_test.py."""
    make(esc50, "5", ambience, folder, sorted(CLASSES), recordings=6)
    return folder / "field"


def draw_detections(detector, recording):
    """Draw the beginning of a recording, with its events and those that are reported."""
    spec = LogMelSpec(sample_rate=16000, n_fft=1024, win_length=640, hop_length=320, fmax=8000)
    (waveform,) = load_excerpts(recording, [(0.0, SECONDS)], spec.sample_rate)
    log_mel = compute_log_mel(waveform, spec)
    seconds = len(log_mel) * spec.time_resolution
    lists = [clip_events(events, seconds) for events in (read_events(recording.with_suffix(".tsv")),
                                                         detector.detect(recording))]
    labels = sorted({*lists[0].event_label, *lists[1].event_label} & set(detector.labels))
    lists = [events[events.event_label.isin(labels)] for events in lists]
    save(plot_detections(log_mel, *lists, labels, spec.time_resolution, frequency_range=(spec.fmin, spec.fmax)),
         "detections")


def screenshot(page, name, width, height):
    """Write what Chromium shows of a page."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    path = PICTURES / f"{name}.png"
    subprocess.run([chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                    "--virtual-time-budget=5000", f"--window-size={width},{height}", f"--screenshot={path}",
                    page.as_uri()], check=True, capture_output=True)
    shrink(path)


def draw_pages(field, folder):
    """Take pictures of the pages of `polysed view` and `polysed review`."""
    recording = min(field.glob("*.wav"))
    polysed(["view", str(recording), "--reference", str(recording.with_suffix(".tsv")), "--out",
             str(folder / "view.html")])
    polysed(["review", str(field), "--number", "20", "--out", str(folder / "review.html")])
    screenshot(folder / "view.html", "view", 1100, 760)
    screenshot(folder / "review.html", "review", 900, 760)


def draw_terminal(name, scripts, folder):
    """Take a picture of commands with what they print, run in a folder by the shell."""
    program = shlex.join([sys.executable, "-m", "polysed_keras"])
    lines = []
    for script in scripts:
        done = subprocess.run(["bash", "-c", f"polysed() {{ {program} \"$@\"; }}; {script}"], cwd=folder, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=QUIET)
        lines += [f"$ {line}" if number == 0 else f"> {line}" for number, line in enumerate(script.splitlines())]
        lines += [done.stdout.rstrip(), ""]
    text = "\n".join(lines).rstrip()
    page = folder / f"{name}.html"
    page.write_text(f'<meta charset="utf-8"><body style="margin:0;background:#1c2128"><pre style="margin:16px;'
                    f'color:#e6edf3;font:14px/20px monospace;white-space:pre-wrap">{html.escape(text)}</pre>')
    rows = sum(max(1, len(textwrap.wrap(line, COLUMNS))) for line in text.splitlines())
    screenshot(page, name, 900, 20 * rows + 32)


def draw_terminals(esc50, field, demo, folder):
    """Take pictures of what is read, refused, checked, heard and made by a plug-in."""
    recording = min(field.glob(f"*_{PLACE}.wav"))
    recordings, annotations = folder / "recordings", folder / "annotations"
    for part in (recordings, annotations):
        part.mkdir(parents=True)
    for place in ("yard", "street", "field"):
        (recordings / f"{place}.wav").symlink_to(recording)
        (annotations / f"{place}.csv").write_text(ODD_FILE, "cp1252")
    shutil.copy(recording, folder / "street.wav")
    (folder / "one_map.py").write_text(PLUGIN)
    (folder / "saved_models").mkdir()
    (folder / "saved_models" / "everyday").symlink_to(ROOT / "saved_models" / "everyday")
    (folder / "esc50").symlink_to(esc50.resolve())
    (folder / "data").symlink_to((demo / "data").resolve())
    draw_terminal("listen", ["polysed listen - --model saved_models/everyday < street.wav | head -8"], folder)
    importing = "polysed import recordings/ annotations/ --out imported/"
    draw_terminal("import", ["iconv -f windows-1252 annotations/yard.csv", importing,
                             f"{importing} --label-column Klang --encoding windows-1252"], folder)
    draw_terminal("check", ["polysed check esc50 --data esc50/"], folder)
    draw_terminal("plugin", [
        "cat one_map.py", "polysed train multilabel_small --plugin one_map.py --data data/ --out runs/mine \\\n"
        "    --set model.backbone=one_map training.epochs=3 2>/dev/null",
        "polysed export runs/mine --out saved_models/mine 2>/dev/null",
        "polysed detect street.wav --model saved_models/mine --threshold 0.1 | head -4"], folder)


def draw_scores(field, folder):
    """Score the shipped model's events in the field recordings."""
    recordings, reference = folder / "recordings", folder / "reference"
    for path in (recordings, reference):
        path.mkdir()
    for path in field.iterdir():
        shutil.copy(path, recordings if path.suffix == ".wav" else reference)
    polysed(["detect", str(recordings), "--out", str(folder / "events")])
    polysed(["score", str(reference), str(folder / "events"), "--audio", str(recordings), "--labels", *sorted(CLASSES),
             "--out", str(folder / "scores")])
    shutil.copy(folder / "scores" / "f_scores.png", PICTURES / "f_scores.png")
    shrink(PICTURES / "f_scores.png")


def draw_search(demo, folder):
    """Search on the demo's mixtures, with fewer trials than tuning/ has: some minutes."""
    search = json.loads((ROOT / "tuning" / "multilabel_small.json").read_text())
    (folder / "search.json").write_text(json.dumps(search | {"algorithm": "random", "trials": 12, "epochs": 3}))
    polysed(["tune", str(folder / "search.json"), "--data", str(demo / "data"), "--out", str(folder / "search"),
             "--set", "model.filters=[8,8,16,16,32]", "model.dense_units=[32]"])
    shutil.copy(folder / "search" / "trials.png", PICTURES / "search.png")
    shrink(PICTURES / "search.png")


def copy_demo(demo):
    """Take pictures that `polysed demo` has drawn."""
    for name, source in (("training", "runs/multilabel_small/training.png"), ("soundscape", "soundscape.png")):
        shutil.copy(demo / source, PICTURES / f"{name}.png")
        shrink(PICTURES / f"{name}.png")


def copy_notebooks():
    """Take pictures that notebooks are stored with: the last of each."""
    for name, stem in NOTEBOOKS.items():
        cells = json.loads((ROOT / "notebooks" / f"{stem}.ipynb").read_text())["cells"]
        images = [output["data"]["image/png"] for cell in cells for output in cell.get("outputs", ())
                  if "image/png" in output.get("data", {})]
        (PICTURES / f"{name}.png").write_bytes(base64.b64decode("".join(images[-1])))
        shrink(PICTURES / f"{name}.png")


def credits_of(esc50):
    """Return {file name: who made it and its licence} of ATTRIBUTION.txt."""
    text = ((esc50 / "audio").resolve().parent / ATTRIBUTION).read_text()
    return {line.split(":")[0].strip(): line.partition(":")[2].strip() for line in text.splitlines() if ":" in line}


def make_gallery(esc50, detector):
    """Write the first clip of each label of fold 5, and docs/gallery.md with what is reported in it."""
    credit, clips = credits_of(esc50), {}
    for row in sorted(read_rows(esc50), key=lambda row: (row["category"], row["filename"])):
        if row["fold"] == "5" and row["category"] in detector.labels and row["filename"] in credit:
            clips.setdefault(row["category"], row["filename"])
    lines = ["# What the default hears", "",
             "The first clip of each label, of the half of ESC-50's fold 4 that the shipped model never heard: not "
             "chosen by how well it went. Beside each is all that `polysed detect CLIP` reports in it, with the "
             "thresholds for 60 false events per hour. How often it is right in an hour of recordings, and where it "
             "fails, says [its card](everyday.md).", "", "| the clip is | listen | reported |", "|---|---|---|"]
    shutil.rmtree(GALLERY, ignore_errors=True)
    GALLERY.mkdir(parents=True)
    sources, right = [], []
    for label, name in clips.items():
        sound = active_part(load_audio(esc50 / "audio" / name, 16000))
        sf.write(GALLERY / f"{label}.ogg", sound, 16000, format="OGG", subtype="VORBIS")
        events = detector.detect(esc50 / "audio" / name)
        right.append(label in set(events.event_label))
        said = ", ".join(f"`{event.event_label}` {event.onset:.1f} to {event.offset:.1f} s"
                         for event in events.itertuples()) or "nothing"
        player = f'<audio controls preload="none" src="_static/gallery/{label}.ogg"></audio>'
        lines.append(f"| `{label}` | {player} | {said} |")
        sources.append(f"{label}.ogg: {name} of ESC-50, cut to where it sounds; {credit[name]}")
    (GALLERY / ATTRIBUTION).write_text("\n".join(sources) + "\n")
    lines += ["", f"The label itself is reported in {np.mean(right):.0%} of these {len(clips)} clips. Who recorded "
              f"them, and under which licence: `docs/_static/gallery/{ATTRIBUTION}`."]
    (ROOT / "docs" / "gallery.md").write_text("\n".join(lines) + "\n")


def main():
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("esc50", type=pathlib.Path)
    parser.add_argument("--ambience", required=True)
    parser.add_argument("--demo", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    PICTURES.mkdir(parents=True, exist_ok=True)
    detector = load_detector()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        field = make_field(arguments.esc50, arguments.ambience, folder / "made")
        draw_detections(detector, min(field.glob(f"*_{PLACE}.wav")))
        draw_pages(field, folder)
        draw_scores(field, folder)
        draw_terminals(arguments.esc50, field, arguments.demo, folder / "terminals")
        draw_search(arguments.demo, folder)
    copy_demo(arguments.demo)
    copy_notebooks()
    make_gallery(arguments.esc50, detector)


if __name__ == "__main__":
    main()
