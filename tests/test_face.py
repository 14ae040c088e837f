"""What `import polysed_keras as ps` offers: its names, their examples, and what importing it costs."""
import ast
import doctest
import inspect
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import polysed_keras as ps
from polysed_keras.specs.presets import PRESETS

from fixtures import MULTI_LABEL, RATE, shared_corpus, shared_run, tone

ROOT = pathlib.Path(__file__).parents[1]
PLUGIN = """import polysed_keras as ps

@ps.register("backbone", frames=True)
def my_backbone(x, spec, use_cudnn):
    return [(x[..., None],)]
"""
PUBLIC = sorted(set(dir(ps)) - {"__version__"})


@pytest.fixture
def somewhere(tmp_path, monkeypatch):
    """A folder with what the examples name: street.wav, a corpus in data/, a trained run in runs/mine."""
    soundfile.write(tmp_path / "street.wav", tone(2), RATE)
    (tmp_path / "my_backbone.py").write_text(PLUGIN)
    (tmp_path / "runs").mkdir()
    (tmp_path / "data").symlink_to(shared_corpus(), target_is_directory=True)
    (tmp_path / "runs" / "mine").symlink_to(shared_run(MULTI_LABEL), target_is_directory=True)
    monkeypatch.chdir(tmp_path)


def examples_of(name):
    return doctest.DocTestParser().get_examples(inspect.getdoc(getattr(ps, name)) or "")


def test_names_are_seen_by_completion_and_by_type_checkers():
    stub = ast.parse((ROOT / "polysed_keras" / "__init__.pyi").read_text())
    names = {alias.name for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert names == set(PUBLIC) and 12 <= len(names) <= 16
    assert {"Task", "build_model", "load_detector", "run_experiment"} <= names
    assert (ROOT / "polysed_keras" / "py.typed").is_file()
    with pytest.raises(AttributeError):
        getattr(ps, "no_" + "such_name")


@pytest.mark.parametrize("name", PUBLIC)
def test_examples_run_and_say_what_is_true(name, somewhere, monkeypatch):
    if name == "run_experiment":
        monkeypatch.setitem(PRESETS, "multilabel_small", MULTI_LABEL)  # learnt in seconds
    examples = examples_of(name)
    assert 1 <= len(examples) <= 4, f"ps.{name} has {len(examples)} lines of example"
    test = doctest.DocTest(examples, {"ps": ps, "np": np}, name, None, None, None)
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report = []
    runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)


@pytest.mark.parametrize("name", PUBLIC)
def test_docstrings_say_what_goes_in_and_comes_out(name):
    text = inspect.getdoc(getattr(ps, name))
    first = text.splitlines()[0]
    assert first.endswith((".", ":")) and not first.startswith(("What", "Whatever", "Where"))
    if inspect.isfunction(getattr(ps, name)):
        arguments = list(inspect.signature(getattr(ps, name)).parameters)
        for argument in arguments:
            assert f"\n    {argument}: " in text.partition("Args:")[2]
        assert "Returns:" in text or name == "load_plugin"
        assert "Raises:" in text or not arguments


def test_importing_the_package_imports_no_tensorflow():
    code = "import sys, polysed_keras as ps; dir(ps); print({'tensorflow', 'keras', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "set()\n"


def test_tensorflow_starts_quietly_from_python():
    code = "import polysed_keras as ps; ps.build_model('multilabel_small', labels=['a']); import tensorflow"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    # TensorFlow 2.20 and newer write some lines of information whatever the variable says.
    lines = [line for line in result.stderr.splitlines()
             if not line.startswith(("I0000", "WARNING: All log messages before absl::InitializeLog"))]
    assert (result.returncode, result.stdout, lines) == (0, "", [])
