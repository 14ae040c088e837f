"""The documentation: complete, its commands and names real, its build without a warning, its links whole."""
import ast
import html
import importlib.util
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
import yaml

import polysed_keras
from polysed_keras.cli.main import build_parser
from polysed_keras.specs import presets
from polysed_keras.specs.overrides import set_fields, set_spec_fields
from polysed_keras.specs.presets import PRESETS, get_preset
from polysed_keras.synthesis.drawing import RECIPES

from test_layers import ORDER, modules_of

ROOT = pathlib.Path(__file__).parents[1]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
FEWEST_COMMANDS = {"own-classes": 5, "real-corpora": 5, "serving": 5, "README": 5, "notebooks": 0}
SEPARATORS = "();<>|&\n"


def fences(path, language):
    """The texts of a page's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.M | re.S)


def commands_of(script):
    """Yield the arguments of every `polysed ...` in a script, which may have continuations, pipes and comments."""
    script = re.sub(r"(^|\s)#.*", "", script.replace("\\\n", " "), flags=re.M)
    lexer = shlex.shlex(script + "\n", posix=True, punctuation_chars=SEPARATORS)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " ", True, ""
    command, first = None, True
    for word in lexer:
        if set(word) <= set(SEPARATORS):
            if command is not None:
                yield command
            command, first = None, True
        elif first:
            command, first = [] if word == "polysed" else None, False
        elif command is not None:
            command.append(word)


def names_of(module):
    """Return what a module's top and a package's stub name, and what is in classes as CLASS.NAME."""
    names, path = set(), modules_of(ROOT)[module]
    stub = path.with_suffix(".pyi")
    for node in ast.parse(path.read_text()).body + (ast.parse(stub.read_text()).body if stub.exists() else []):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
            names |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.ImportFrom) and stub.exists():
            names |= {alias.asname for alias in node.names} - {None}
    return names


def is_known(dotted):
    """Whether polysed_keras.a.b is a module, or a name in one."""
    parts, modules = dotted.split(".")[1:], modules_of(ROOT)
    return any(".".join(parts[:cut]) in modules and
               (cut == len(parts) or ".".join(parts[cut:]) in names_of(".".join(parts[:cut])))
               for cut in range(len(parts), -1, -1))


@pytest.fixture(scope="module")
def generated():
    spec = importlib.util.spec_from_file_location("generated", ROOT / "docs" / "generated.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_module_is_in_the_reference_once(generated):
    pages = {path.stem for path in (ROOT / "docs" / "reference").glob("*.rst")} - {"index"}
    found = [name for page in pages
             for name in re.findall(r"^\.\. automodule:: polysed_keras\.(\S+)$", generated.reference(page), re.M)]
    assert len(found) > 70
    assert sorted(found) == sorted(set(modules_of(ROOT)) - {"", "__main__"})
    index = (ROOT / "docs" / "reference" / "index.rst").read_text()
    rooms = [room for room in ORDER if room not in ("errors", "files", "progress", "__main__")]
    assert re.findall(r"^   (\w+)$", index, re.M) == ["base", *rooms]


def test_the_architecture_names_every_module_in_order(generated):
    text = generated.architecture()
    assert re.findall(r"^### (\w+)$", text, re.M) == list(ORDER)
    inner = [name.partition(".")[2] for name in modules_of(ROOT) if "." in name]
    assert sorted(re.findall(r"^- `([\w.]+)`: \S", text, re.M)) == sorted(inner)
    assert "- `metrics`: " in text and "### events" in text


def test_the_readme_is_short_and_its_links_are_there():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 200
    links = re.findall(r"\]\(([^):#]+)\)", text)
    assert len(links) > 15 and [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("script, commands", [
    ("polysed train a --set b=[1,2] \\\n  c=d  # e\n", [["train", "a", "--set", "b=[1,2]", "c=d"]]),
    ("arecord -r 4 | polysed listen - > x; (polysed presets)", [["listen", "-"], ["presets"]]),
    ("pip install polysed; echo 'polysed a\n'\npolysed demo", [["demo"]]),
])
def test_commands_are_found_in_scripts(script, commands):
    assert list(commands_of(script)) == commands


@pytest.mark.parametrize("page", [*GUIDES, ROOT / "README.md"], ids=lambda page: page.stem)
def test_commands_of_guides_are_what_the_parsers_take(page):
    parsed = [build_parser().parse_args(command) for script in fences(page, "sh") for command in commands_of(script)]
    assert len(parsed) >= FEWEST_COMMANDS.get(page.stem, 1)
    for arguments in parsed:
        if arguments.command == "train":
            # JSON files are written by earlier commands of the page.
            preset = "multilabel_small" if arguments.preset.endswith(".json") else arguments.preset
            set_fields(get_preset(preset), [setting for setting in arguments.set if not setting.endswith(".json")])
            set_spec_fields(RECIPES[arguments.recipe or "paper"], arguments.mix)
        if arguments.command == "synthesize":
            set_spec_fields(RECIPES[arguments.recipe or "field"], arguments.set)


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_names_of_guides_are_there(page):
    text = page.read_text()
    imported = [f"{module}.{name}" for module, names in re.findall(r"from (polysed_keras[\w.]*) import ([\w, ]+)", text)
                for name in names.split(", ")]
    names = imported + [name for _, name in re.findall(r"\{py:obj\}`(~?)([\w.]+)`", text)]
    assert names
    assert [name for name in names if not is_known(name)] == []
    for code in fences(page, "python"):
        ast.parse(code)


@pytest.mark.parametrize("name, known", [
    ("polysed_keras.export.saved_model", True), ("polysed_keras.export.saved_model.load_saved_model", True),
    ("polysed_keras.detection.detector.Detector.detect", True), ("polysed_keras.export.saved_model.load", False),
    ("polysed_keras.exports", False), ("polysed_keras.get_preset", True),
    ("polysed_keras.events.read_events", True), ("polysed_keras.events.read", False)])
def test_the_check_of_names_finds_what_it_should(name, known):
    assert is_known(name) == known


def test_citation_names_the_software_and_both_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert {"message", "title", "authors"} <= set(citation)  # what the schema asks for, of references too
    assert str(citation["version"]) == polysed_keras.__version__ and citation["license"] == "MIT"
    said = " ".join(presets.__doc__.split()).lower()
    for paper, number in zip(citation["references"], ("2201.12557", "2206.13476"), strict=True):
        assert {"type", "title", "authors"} <= set(paper)
        assert paper["url"] == f"https://arxiv.org/abs/{number}" and paper["year"] == 2022
        assert f"{paper['title'].lower()}" in said and f"arxiv {number}" in said
    authors = [[author["family-names"] for author in paper["authors"]] for paper in citation["references"]]
    assert authors == [["Phan", "Nguyen", "Koch", "Mertins"], ["Parikh", "Sundar", "Sun", "Wang", "Matsoukas"]]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("docs") / "html"
    result = subprocess.run([sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", out], cwd=ROOT,
                            capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    return out


def text_of(path):
    return html.unescape(re.sub(r"<[^>]+>", " ", path.read_text()))


@pytest.mark.slow
def test_pages_say_what_they_are_made_of(built):
    rows = {name.strip(): row for row in re.findall(r"<tr.*?</tr>", (built / "zoo.html").read_text(), re.S)
            for name in re.findall(r'<span class="pre">(\w+)</span>', row)[:1]}
    assert set(rows) == set(PRESETS)
    for name, weights in {"multilabel": "3,233,360", "mcmt_2": "8,866,014", "mcmt_16": "58,223,440"}.items():
        assert weights in rows[name]  # as counted by hand from the paper
    assert "66.8\N{NO-BREAK SPACE}%" in rows["mcmt_8"] and "8 powerset" in rows["mcmt_8"]
    commands = text_of(built / "commands.html")
    assert "usage: polysed train" in commands and "--kept-epochs" in commands
    assert "event_list_to_event_roll" in text_of(built / "reference" / "events.html")


@pytest.mark.slow
def test_links_lead_somewhere(built):
    pages = {path.resolve(): path.read_text() for path in built.rglob("*.html")}
    ids = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in pages.items()}
    links = {(path, link) for path, text in pages.items() for link in re.findall(r'href="([^":]+)"', text)}
    assert len(links) > 1000
    broken = []
    for path, link in links:
        file, _, fragment = html.unescape(link).partition("#")
        target = (path.parent / file.partition("?")[0]).resolve() if file else path
        if not target.exists() or fragment and target in ids and fragment not in ids[target]:
            broken.append(f"{path.relative_to(built.resolve())}: {link}")
    assert broken == []
