"""The architecture: a module imports lower layers only, light ones no TensorFlow, the command line's help nothing."""
import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = "polysed_keras"
LAYERS = [
    {"errors", "files"},
    {"grouping", "tasks", "events", "metrics", "specs"},
    {"audio", "wav", "live", "features", "augment", "datasets", "models"},
    {"pipeline", "mixing", "clips", "callbacks", "training", "inference", "streaming", "postprocessing", "evaluation",
     "clip_evaluation", "unseen", "signatures", "warmup", "export", "runtimes", "deployment", "transports", "serving", "taggers",
     "tagging", "plots", "curves", "viewer"},
    {"presets", "experiments", "detectors", "parity", "studies", "sweeps", "tuning", "trials", "oracles",
     "workers", "search_report", "tuner", "decompositions", "demo", "recipes", "clip_recipes", "attention", "examples"},
    {"cli", "commands", "parsers"},
    {"__main__"},
]
LAYER = {unit: layer for layer, units in enumerate(LAYERS) for unit in units}
SAME_LAYER = {  # importing module or package: what it may import in its own layer
    "files": {"errors"}, "tasks": {"grouping"}, "specs": {"tasks"}, "datasets": {"audio"}, "features": {"audio"},
    "mixing": {"pipeline"}, "clips": {"pipeline"}, "training": {"callbacks", "clips", "inference", "pipeline"},
    "evaluation": {"inference"}, "clip_evaluation": {"evaluation"}, "unseen": {"evaluation"},
    "export": {"inference", "signatures", "warmup"}, "inference": {"postprocessing"}, "streaming": {"postprocessing"},
    "runtimes": {"inference", "signatures"}, "deployment": {"inference"}, "curves": {"plots"}, "viewer": {"plots"},
    "serving": {"export", "inference", "signatures", "transports"},
    "taggers": {"export"}, "tagging": {"taggers"},
    "cli": {"commands", "parsers"}, "commands": {"parsers"}, "experiments": {"presets"}, "detectors": {"experiments"},
    "parity": {"experiments"}, "studies": {"presets"},
    "sweeps": {"experiments", "studies"}, "decompositions": {"experiments", "presets", "recipes"}, "tuning": {"presets"},
    "trials": {"experiments"}, "oracles": {"tuning"},
    "workers": {"trials"}, "search_report": {"trials", "tuning"},
    "tuner": {"experiments", "oracles", "search_report", "trials", "tuning", "workers"},
    "demo": {"presets", "experiments"}, "recipes": {"demo", "experiments", "presets", "sweeps"},
    "clip_recipes": {"experiments", "presets", "recipes", "studies", "sweeps"}, "attention": {"experiments", "sweeps"},
    "examples": {"presets", "recipes"},
}
MODELS = {"models": {"models.backbones", "models.heads"}, "models.backbones": {"models.blocks"},
          "models.heads": {"models.blocks"}, "models.blocks": set(), "models.costs": {"models"}}
LIGHT = ("errors", "files", "events", "metrics", "specs", "grouping", "tasks", "audio", "live", "datasets", "postprocessing",
         "streaming", "evaluation", "clip_evaluation", "unseen", "plots", "curves", "commands", "cli")
HEAVY = {"tensorflow", "keras", "tensorflow_io", "keras_tuner"}


def modules_of(folder):
    """{"": root, "events": ..., "datasets": ..., "datasets.soundbank": ...}: names without the package's, to paths."""
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


def own_imports(path, modules):
    """Yield (line, module) of the imports of the package itself; the package's root is left out."""
    for line, name in imports_of(path):
        if name.startswith("."):
            yield line, name
        elif name.split(".")[0] == PACKAGE:
            name = name.removeprefix(PACKAGE).removeprefix(".")
            name = name if name in modules else name.rpartition(".")[0]  # a.b where b is no module but a name in a
            if name:
                yield line, name


def is_allowed(importer, imported):
    unit, other = importer.split(".")[0], imported.split(".")[0]
    if imported.startswith(".") or unit == "":
        return False
    if unit == "models" == other:
        return imported in MODELS.get(importer, ())
    if unit == other:
        return True
    return other in LAYER and (LAYER[other] < LAYER[unit] or other in SAME_LAYER.get(unit, ()))


def violations(folder):
    """A line of text per module without a layer and per import against the layers."""
    modules = modules_of(folder)
    lines = [f"{name}: not in a layer of LAYERS" for name in modules if name and name.split(".")[0] not in LAYER]
    known = {name: path for name, path in modules.items() if not name or name.split(".")[0] in LAYER}
    return lines + [f"{name or PACKAGE}:{line} imports {imported}" for name, path in known.items()
                    for line, imported in own_imports(path, modules) if not is_allowed(name, imported)]


def test_modules_import_lower_layers_only():
    assert len(modules_of(ROOT)) > 20
    assert violations(ROOT) == []


@pytest.mark.parametrize("name, code, found", [
    ("metrics", "from polysed_keras.errors import InputError", False),
    ("metrics", "from polysed_keras.events.event_lists import polyphony", True),
    ("metrics", "def f():\n    from polysed_keras.audio.log_mel import load", True),
    ("metrics", "from polysed_keras import features", True),
    ("metrics", "import polysed_keras.audio.log_mel as f", True),
    ("metrics", "from . import errors", True),
    ("metrics", "from polysed_keras import __version__", False),
    ("errors", "import polysed_keras.files", True),
    ("datasets/new", "from polysed_keras.synthesis.soundbank import read", False),
    ("datasets/new", "from polysed_keras.audio.files import load_audio", False),
    ("datasets/new", "from polysed_keras.audio.log_mel import cached", True),
    ("models/backbones", "from polysed_keras.models.network import blocks", False),
    ("models/backbones", "from polysed_keras.models.heads import HEADS", True),
    ("models/blocks", "from polysed_keras.models.network import build_model", True),
    ("inference", "from polysed_keras.training.fit import fit_model", True),
    ("training", "from polysed_keras.detection.detector import Detector", False),
    ("demo", "from polysed_keras.cli.main import main", True),
    ("__main__", "from polysed_keras.cli.main import main", False),
    ("__init__", "from polysed_keras.errors import InputError", True),
    ("surprise", "import os", True),
])
def test_the_check_finds_what_it_should(tmp_path, name, code, found):
    for module in ("__init__", "errors", "files", "events", "audio", "features", "inference", "training", "cli",
                   "datasets/__init__", "datasets/soundbank", "models/__init__", "models/blocks", "models/heads", name):
        path = tmp_path / PACKAGE / f"{module}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code if module == name else "")
    assert bool(violations(tmp_path)) == found


def run_python(code, *arguments):
    """Run code in a new interpreter and return what it printed."""
    result = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True,
                            timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_light_modules_import_no_tensorflow():
    modules = [f"{PACKAGE}.{name}" for name in modules_of(ROOT) if name.split(".")[0] in LIGHT]
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


@pytest.mark.parametrize("module, own", [
    ("cli", {"polysed_keras.cli.parsers", "polysed_keras.cli"}), ("parsers", set()),
    ("commands.data", {"polysed_keras.cli.parsers"}), ("commands.detection", set()),
    ("commands.training", {"polysed_keras.cli.data", "polysed_keras.cli.parsers"})])
def test_command_line_imports_the_standard_library_only_at_its_top(module, own):
    tree = ast.parse(modules_of(ROOT)[module].read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    top = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom)) and id(node) not in inside]
    names = {name for node in top for name in ([node.module] if isinstance(node, ast.ImportFrom)
                                               else [alias.name for alias in node.names])}
    assert names & {"argparse", "logging", "pathlib"}
    assert {name.split(".")[0] for name in names - own} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"], ["detect", "--help"]])
def test_help_imports_no_package_of_others(arguments):
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
    assert imported.split() == []
    assert text.startswith("usage: polysed") or text.strip()[0].isdigit()
