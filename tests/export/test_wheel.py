"""The wheel: the package with its data, the shipped models and the shipped searches, found where it is installed."""
import pathlib
import subprocess
import sys
import zipfile

import pytest

from polysed_keras.files import shipped_folder, shipped_search

ROOT = pathlib.Path(__file__).parents[2]
MOVED = {"saved_models": "polysed_keras/saved_models", "tuning": "polysed_keras/searches"}
FIND = """
import logging, sys
logging.basicConfig(stream=sys.stdout, level="INFO", format="%(message)s")
from polysed_keras.files import shipped_folder
from polysed_keras.search import read_search
print(shipped_folder("saved_models", "saved_models") / "everyday")
print(read_search("multilabel_small"))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel in temporary folders, so that the checkout stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "setup.py", "-q", "egg_info", "--egg-base", folder, "build", "--build-base",
                    folder / "build", "bdist_wheel", "--dist-dir", folder / "dist"], cwd=ROOT, check=True,
                   capture_output=True)
    [path] = (folder / "dist").iterdir()
    return path


@pytest.fixture(scope="module")
def held(wheel):
    """The files of the wheel: {path: bytes}."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_it_holds_the_files_of_the_package(held):
    for name in ("display/viewer.html", "display/viewer.css", "display/viewer.js", "display/viewer.py",
                 "serving/templates/compose.yaml", "py.typed"):
        assert held[f"polysed_keras/{name}"] == (ROOT / "polysed_keras" / name).read_bytes()
    package = [path for path in (ROOT / "polysed_keras").rglob("*")
               if path.is_file() and "__pycache__" not in path.parts]
    assert {path.suffix for path in package} >= {".py", ".pyi", ".typed", ".yaml", ".config", ".conf", ".html"}
    for path in package:
        assert held[path.relative_to(ROOT).as_posix()] == path.read_bytes()


@pytest.mark.parametrize("folder", MOVED)
def test_it_holds_the_shipped_models_and_searches(held, folder):
    files = {f"{MOVED[folder]}/{path.relative_to(ROOT / folder).as_posix()}": path.read_bytes()
             for path in (ROOT / folder).rglob("*") if path.is_file()}
    assert len(files) >= 3
    assert {name: content for name, content in held.items() if name.startswith(f"{MOVED[folder]}/")} == files
    if folder == "saved_models":
        names = {name.removeprefix("polysed_keras/saved_models/everyday/") for name in files}
        assert names >= {"README.md", "ATTRIBUTION.txt", "1/saved_model.pb", "1/card.json",
                         "1/variables/variables.index", "1/variables/variables.data-00000-of-00001",
                         "1/assets.extra/tf_serving_warmup_requests"}


def test_it_finds_them_where_it_is_installed(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "elsewhere").mkdir()
    found = subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, sys.argv[1]){FIND}",
                            tmp_path / "site"], cwd=tmp_path / "elsewhere", check=True, capture_output=True,
                           text=True, env={"PATH": ""}).stdout.splitlines()
    assert found[0] == str(tmp_path.resolve() / "site" / "polysed_keras" / "saved_models" / "everyday")
    assert found[1].startswith("Search(name='multilabel_small', preset='multilabel_small'")


def test_a_checkout_has_them_beside_the_package(tmp_path, monkeypatch):
    assert shipped_folder("saved_models", "saved_models") == ROOT / "saved_models"
    assert shipped_search("multilabel_small") == ROOT / "tuning" / "multilabel_small.json"
    monkeypatch.chdir(tmp_path)
    for name in ("none", "none.json", "tuning/multilabel_small.json"):  # paths stay as they are
        assert shipped_search(name) == pathlib.Path(name)
    (tmp_path / "multilabel_small").write_text("one's own file")
    assert shipped_search("multilabel_small") == pathlib.Path("multilabel_small")
