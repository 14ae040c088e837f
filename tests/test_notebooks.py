"""What is stored in notebooks/: outputs of a whole run, with nothing of the machine that ran it, and still true."""
import ast
import contextlib
import fcntl
import importlib.util
import json
import pathlib
import re

import pytest

from fixtures import shared_folder

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MAX_BYTES = 2 * 2 ** 20
# Points of scores in per cent: another machine adds up in another order, and the demo's networks are small.
TRAINED_POINTS = 10.0
TOLERANCES = {"paper1_table_1": 0.0, "paper1_figure_2": 0.05}  # nothing is trained; masks are from 0 to 1
NOTHING = "0.0 [0.0, 0.0]"  # a score that is not defined in one run is 0 in another, which estimates absent events


def cells_of(path, kind="code"):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def python_of(cell):
    """A cell's source without lines for IPython."""
    return re.sub(r"^%.*$", "", "".join(cell["source"]), flags=re.M)


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} >= {"00_start_here", "own_classes", "paper1_table_1", "paper1_table_2",
                                                 "paper1_table_3", "paper1_figure_2"}


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return request.param


def test_a_notebook_begins_with_what_it_reproduces_and_its_parameters(notebook):
    first = json.loads(notebook.read_text())["cells"][0]
    assert first["cell_type"] == "markdown" and "arXiv" in "".join(first["source"])
    tagged = [cell for cell in cells_of(notebook) if "parameters" in cell["metadata"].get("tags", ())]
    assert len(tagged) == 1 and re.match('(data|sounds), out = "demo", "demo', "".join(tagged[0]["source"]))


def test_a_notebook_is_stored_with_the_outputs_of_a_whole_run(notebook):
    assert notebook.stat().st_size < MAX_BYTES
    cells = cells_of(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert outputs and not [output for output in outputs if output["output_type"] == "error"]
    assert not [output["text"] for output in outputs if output.get("name") == "stderr"]


def test_a_notebook_names_no_folder_of_the_machine_that_ran_it(notebook):
    assert not re.findall(r'["\' ](/[a-z]+/[^"\' ]+)', notebook.read_text())


def test_code_of_a_notebook_is_python_that_needs_the_package_alone(notebook):
    sources = [python_of(cell) for cell in cells_of(notebook)]
    for source in sources:
        compile(source, notebook.name, "exec")
    imports = [node for source in sources for node in ast.walk(ast.parse(source))
               if isinstance(node, (ast.Import, ast.ImportFrom))]
    modules = [alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module for node in imports if isinstance(node, ast.ImportFrom)]
    assert {name.split(".")[0] for name in modules} <= {"polysed_keras", "pathlib", "dataclasses", "IPython"}
    assert len(imports) <= 3


def test_names_that_a_notebook_takes_from_the_package_are_there(notebook):
    tree, faces = ast.parse("\n".join(map(python_of, cells_of(notebook)))), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            faces |= {alias.asname or alias.name: alias.name for alias in node.names if alias.name == "polysed_keras"}
        elif isinstance(node, ast.ImportFrom) and node.module == "polysed_keras":
            faces |= {alias.name: f"polysed_keras.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("polysed_keras."):
            face = set(dir(importlib.import_module(node.module)))
            assert {alias.name for alias in node.names} <= face
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in faces:
            assert node.attr in dir(importlib.import_module(faces[node.value.id]))


def test_a_notebook_calls_and_shows_but_decides_nothing(notebook):
    logic = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.If, ast.For, ast.While, ast.Try, ast.With)
    assert not [node for cell in cells_of(notebook) for node in ast.walk(ast.parse(python_of(cell)))
                if isinstance(node, logic)]


def test_the_masks_of_tasks_differ_after_training():
    texts = list(texts_of(cells_of(ROOT / "notebooks" / "paper1_figure_2.ipynb")[-1]))
    assert [text.split(",")[0] for text in texts[1:5]] == ["untrained"] * 2 + ["trained"] * 2
    assert texts[5] == "time-frequency mask" and min(map(float, texts[8:10])) > 0.05
    assert texts[10] == "channel mask" and min(map(float, texts[13:15])) > 0.02


def executor():
    """The module notebooks/execute.py."""
    spec = importlib.util.spec_from_file_location("execute", ROOT / "notebooks" / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def folder_of(path):
    """The folder that notebooks of this test run are executed in, one after the other where they share data."""
    folder, family = shared_folder() / "notebooks", "paper2" if path.stem.startswith("paper2") else "others"
    folder.mkdir(exist_ok=True)
    with open(shared_folder() / f"notebooks-{family}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?![\w])")


def texts_of(cell):
    """What a cell shows, but pictures and sounds: lines of text, or of a table the cells' texts."""
    for output in cell["outputs"]:
        data = output.get("data", {"text/plain": output.get("text", "")})  # of a print: text
        html = "".join(data.get("text/html", ""))
        if "<table" in html:
            yield from re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", html, re.S)
        elif "image/png" not in data and not html:
            yield from "".join(data["text/plain"]).splitlines()


def differences(stored, fresh, tolerance):
    """List what two runs of a notebook do not agree in.

    These are texts that differ in more than their numbers, and the numbers of a cell that differ, if they do by more
    than the tolerance in the mean. One alone may differ more: a row can be a few frames.
    """
    found = []
    for old, new in zip(stored, fresh, strict=True):
        if "varies" in old["metadata"].get("tags", ()):
            continue
        texts = [[NOTHING if text == "-" else text for text in texts_of(cell)] for cell in (old, new)]
        if len(texts[0]) != len(texts[1]):
            found.append(texts)
            continue
        apart = []
        for a, b in zip(*texts):
            if NUMBER.sub("#", a) != NUMBER.sub("#", b):
                found.append((a, b))
            else:
                numbers = zip(*(map(float, NUMBER.findall(text)) for text in (a, b)))
                apart += [(x, y) for x, y in numbers if x != y]
        if apart and sum(abs(x - y) for x, y in apart) / len(apart) > tolerance:
            found.append(apart)
    return found


def table_cell(*texts):
    html = "<table>" + "".join(f"<td>{text}</td>" for text in texts) + "</table>"
    return {"metadata": {}, "outputs": [{"data": {"text/html": [html], "text/plain": ["not looked at"]}}]}


@pytest.mark.parametrize("fresh, agrees", [
    (("dog", "57.2 [50.1, 60.0]", "-1.5", "-"), True), (("dog", "52.9 [50.1, 60.0]", "+1.5", "0.0 [0.0, 3.0]"), True),
    (("dog", "70.2 [50.1, 61.0]", "-1.6", "-"), True),  # one by more, but in the mean by less
    (("cat", "57.2 [50.1, 60.0]", "-1.5", "-"), False), (("dog", "57.2", "-1.5", "-"), False),
    (("dog", "57.2 [50.1, 60.0]", "-1.5"), False), (("dog", "57.2 [50.1, 77.1]", "-1.6", "-"), False),
    (("dog", "63.3 [57.1, 60.0]", "-1.5", "-"), False)])
def test_outputs_that_differ_are_found(fresh, agrees):
    stored = [table_cell("dog", "57.2 [50.1, 60.0]", "-1.5", "-")]
    assert (not differences(stored, [table_cell(*fresh)], 5.0)) == agrees
    assert (not differences(stored, [table_cell(*fresh)], 0.0)) == (fresh == ("dog", "57.2 [50.1, 60.0]", "-1.5", "-"))


@pytest.mark.slow
def test_a_notebook_runs_and_its_stored_numbers_agree(notebook, monkeypatch):
    execute = executor()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with folder_of(notebook) as folder:
        fresh = execute.execute(notebook, folder)
    fresh = [cell for cell in fresh.cells if cell.cell_type == "code"]
    if execute.is_of_demo(notebook):
        assert not differences(cells_of(notebook), fresh, TOLERANCES.get(notebook.stem, TRAINED_POINTS))
