"""What is stored in notebooks/: outputs of a whole run, with nothing of the machine that ran it, and still true."""
import ast
import contextlib
import fcntl
import importlib.util
import json
import pathlib
import re

import nbformat
import pytest

from fixtures import shared_folder

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MAX_BYTES = 2 * 2 ** 20
# Parameters with which the notebooks are executed here: the demo's trainings are longer.
FEW = {"num_tasks": [2], "settings": ["training.epochs=1"]}
OWN = {"mixtures": [8, 4, 4], "settings": ["training.epochs=1"]}
SHORT = {"00_start_here": OWN, "own_classes": OWN, "paper1_table_2": FEW, "paper1_table_3": FEW,
         "paper1_figure_2": {"settings": ["training.epochs=1"]},
         "paper2": {"settings": ["training.epochs=1"]}}


def cells_of(path, kind="code"):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def python_of(cell):
    """A cell's source without lines for IPython."""
    return re.sub(r"^%.*$", "", "".join(cell["source"]), flags=re.M)


def texts_of(cell):
    """What a cell shows, but pictures and sounds: lines of text, or of a table the cells' texts."""
    for output in cell["outputs"]:
        data = output.get("data", {"text/plain": output.get("text", "")})  # of a print: text
        html = "".join(data.get("text/html", ""))
        if "<table" in html:
            yield from re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", html, re.S)
        elif "image/png" not in data and not html:
            yield from "".join(data["text/plain"]).splitlines()


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
    assert texts[5] == "time-frequency mask" and float(texts[8]) > 0.03 and float(texts[9]) > 0.05
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


def kinds_of(cell):
    """What a cell shows, however often: media types, or the name of a stream, but for warnings."""
    return {tuple(sorted(output.get("data", {output.get("name"): ""}))) for output in cell["outputs"]
            if output.get("name") != "stderr"}


@pytest.mark.slow
def test_a_notebook_runs_and_shows_what_it_is_stored_with(notebook, monkeypatch):
    """Numbers of trainings as short as these differ by tens of points where sums are added in another order."""
    execute = executor()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    parameters = SHORT.get("paper2" if notebook.stem.startswith("paper2") else notebook.stem, {})
    with folder_of(notebook) as folder:
        fresh = execute.execute(notebook, folder, parameters)
    stored, fresh = ([cell for cell in each.cells if cell.cell_type == "code" and not execute.is_injected(cell)]
                     for each in (nbformat.read(notebook, 4), fresh))
    assert len(fresh) == len(stored) and [len(cell["outputs"]) > 0 for cell in fresh] == [
        len(cell["outputs"]) > 0 for cell in stored]
    assert [kinds_of(cell) for cell in fresh if "varies" not in cell["metadata"].get("tags", ())] == [
        kinds_of(cell) for cell in stored if "varies" not in cell["metadata"].get("tags", ())]
    if notebook.stem == "paper1_table_1":  # in which nothing is trained
        assert [list(texts_of(cell)) for cell in fresh] == [list(texts_of(cell)) for cell in stored]
