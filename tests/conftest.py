"""What several tests use."""
import os
import pathlib
import shutil
import sys

import pytest

from polysed_keras.specs import plugins

os.environ.setdefault("POLYSED_TEST_RUN", str(os.getpid()))  # the processes of this run inherit it


@pytest.fixture(scope="session")
def esc10():
    """Folder of ESC-10's real recordings in ESC-50's layout, below the folder that POLYSED_TEST_DATA names."""
    return real_recordings("esc10")


@pytest.fixture(scope="session")
def esc50():
    """Folder of ESC-50's free recordings, folds 1 to 4, below the folder that POLYSED_TEST_DATA names."""
    return real_recordings("esc50")


def real_recordings(name):
    """Return the folder of this name below the one that POLYSED_TEST_DATA names; skip the test without it."""
    if not os.environ.get("POLYSED_TEST_DATA"):
        pytest.skip(f"POLYSED_TEST_DATA is unset: it names the folder that holds {name}/, real recordings")
    folder = pathlib.Path(os.environ["POLYSED_TEST_DATA"], name)
    if not folder.is_dir():
        pytest.skip(f"{folder}: no such folder; POLYSED_TEST_DATA names the folder that holds {name}/")
    return folder


@pytest.fixture(autouse=True)
def registry_without_plugins():
    """Forget after each test what plug-ins it registered: another may give something else the same name."""
    before = plugins._from_outside()
    yield
    plugins._forget(plugins._from_outside() - before)
    for name in [name for name in sys.modules if name.startswith("polysed_plugin_")]:
        del sys.modules[name]


def pytest_collection_modifyitems(config, items):
    """Let one of several processes begin with the zoo, which takes longest, so that none is left alone with it."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.name != "test_zoo.py")


def pytest_sessionfinish(session):
    """Remove what the run's processes shared, in the process that began the run."""
    if os.environ["POLYSED_TEST_RUN"] == str(os.getpid()):
        from fixtures import shared_folder
        shutil.rmtree(shared_folder(), ignore_errors=True)
