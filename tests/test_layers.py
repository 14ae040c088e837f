"""The architecture: packages in one order, faces that say what they hold, no TensorFlow where it is not needed."""
import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = "polysed_keras"
# A package or module may import itself and what stands before it. docs/architecture.md is made from this list.
ORDER = ("errors", "files", "progress", "specs", "audio", "events", "models", "datasets", "detection", "display",
         "synthesis", "training", "evaluation", "export", "serving", "search", "papers", "cli", "__main__")
# Rooms, and modules of the other rooms, that import no TensorFlow: they have nothing to say to it.
LIGHT = ("errors", "files", "progress", "specs", "audio.files", "audio.live", "events", "datasets", "detection",
         "display.recordings", "display.results", "synthesis", "training.seen", "evaluation.event_lists",
         "evaluation.postprocessing", "evaluation.score_files", "evaluation.scoring", "evaluation.tables",
         "evaluation.unseen", "export.description", "export.runtimes", "serving.deployment", "serving.detectors", "cli")
HEAVY = {"tensorflow", "keras", "tensorflow_io", "keras_tuner"}


def modules_of(folder):
    """{"": root, "events": ..., "events.metrics": ...}: dotted names without the package's, to paths."""
    modules = {}
    for path in sorted((folder / PACKAGE).rglob("*.py")):
        parts = path.relative_to(folder / PACKAGE).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def imports_of(path):
    """Yield (line, dotted name) of every import in a file, also inside of functions; `from a import b` as a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def violations(folder):
    """A line of text per module without a place in ORDER, and per import of what stands later."""
    lines = []
    for name, path in modules_of(folder).items():
        room = name.split(".")[0]
        if name and room not in ORDER:
            lines.append(f"{name}: not in ORDER")
            continue
        for line, imported in imports_of(path):
            top, _, rest = imported.partition(".")
            other = rest.split(".")[0]
            if imported.startswith(".") or top == PACKAGE and other in ORDER and (
                    not room or other != room and ORDER.index(other) > ORDER.index(room)):
                lines.append(f"{name or PACKAGE}:{line} imports {imported}")
    return lines


def test_packages_import_what_stands_before_them():
    modules = modules_of(ROOT)
    assert len(modules) > 60
    assert violations(ROOT) == []
    assert {name.split(".")[0] for name in modules if name} == set(ORDER)


@pytest.mark.parametrize("name, code, found", [
    ("events/metrics", "from polysed_keras.errors import InputError", False),
    ("events/metrics", "from polysed_keras.events.event_lists import polyphony", False),
    ("events/metrics", "from polysed_keras.audio import load_audio", False),
    ("events/metrics", "def f():\n    from polysed_keras.models import build_model", True),
    ("events/metrics", "from polysed_keras import models", True),
    ("events/metrics", "import polysed_keras.models.network as n", True),
    ("events/metrics", "from . import event_lists", True),
    ("events/metrics", "from polysed_keras import __version__", False),
    ("errors", "import polysed_keras.files", True),
    ("training/fit", "from polysed_keras.detection import Detector", False),
    ("detection/detector", "from polysed_keras.training import fit_model", True),
    ("papers/demo", "from polysed_keras.cli import main", True),
    ("__main__", "from polysed_keras.cli import main", False),
    ("__init__", "from polysed_keras.errors import InputError", True),
    ("surprise", "import os", True),
])
def test_the_check_finds_what_it_should(tmp_path, name, code, found):
    path = tmp_path / PACKAGE / f"{name}.py"
    path.parent.mkdir(parents=True)
    path.write_text(code)
    assert bool(violations(tmp_path)) == found


def face_of(room):
    """The names that a package's stub promises, with the module that each is in."""
    tree = ast.parse((ROOT / PACKAGE / room / "__init__.pyi").read_text())
    return {alias.name: node.module for node in tree.body for alias in node.names}


@pytest.mark.parametrize("room", [room for room in ORDER if (ROOT / PACKAGE / room).is_dir()])
def test_a_face_has_a_caption_and_the_names_that_others_use(room):
    caption = ast.get_docstring(ast.parse((ROOT / PACKAGE / room / "__init__.py").read_text()))
    assert caption and "\n" not in caption and caption.endswith(".")
    face, used = face_of(room), set()
    for name, path in modules_of(ROOT).items():
        if name and name.split(".")[0] != room:
            used |= {imported.split(".")[2] for _, imported in imports_of(path)
                     if imported.startswith(f"{PACKAGE}.{room}.") and imported.count(".") == 2}
    modules = {name.split(".")[1] for name in modules_of(ROOT) if name.startswith(f"{room}.")}
    assert used - modules <= set(face)
    assert not set(face) & modules  # a name would hide the module, or the module the name


def run_python(code, *arguments):
    """Run code in a new interpreter and return what it printed."""
    result = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True,
                            timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_name_of_a_face_is_there():
    names = [f"{room}.{name}" for room in ORDER if (ROOT / PACKAGE / room).is_dir() for name in face_of(room)]
    assert len(names) > 100
    assert run_python(f"""
import importlib, sys
for name in sys.argv[1:]:
    room, name = name.split(".")
    getattr(importlib.import_module("{PACKAGE}." + room), name)
""", *names) == ""


def test_light_modules_import_no_tensorflow():
    modules = [f"{PACKAGE}.{name}".rstrip(".") for name in modules_of(ROOT)
               if name.split(".")[0] in LIGHT or name in LIGHT or "." not in name and name != "__main__"]
    assert len(modules) > len(LIGHT)
    heavy = run_python(f"""
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    heavy = {HEAVY} & set(sys.modules)
    if heavy:
        print(name, "imports", *heavy)
        break
""", *modules)
    assert heavy == ""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"], ["detect", "--help"]])
def test_help_imports_nothing_that_takes_time(arguments):
    output = run_python("""
import runpy, sys
sys.argv[0] = "polysed"
before = set(sys.modules)
try:
    runpy.run_module("polysed_keras", run_name="__main__")
except SystemExit as stop:
    assert not stop.code, stop.code
own = set(sys.stdlib_module_names) | {"polysed_keras"}
print("imported:", *{name.split(".")[0] for name in set(sys.modules) - before} - own)
""", *arguments)
    text, _, imported = output.rpartition("imported:")
    assert set(imported.split()) <= {"lazy_loader", "packaging"}
    assert text.startswith("usage: polysed") or text.strip()[0].isdigit()
