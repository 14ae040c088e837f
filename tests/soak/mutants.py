"""Mutation testing: do the tests of a room notice small changes to its modules?

    python tests/soak/mutants.py                           all modules of MODULES
    python tests/soak/mutants.py 25 events/decoding.py     25 mutants of one

cosmic-ray changes a comparison, an arithmetic or logical operator, a number, a True or False, a loop, an except or a
decorator. A sample of the places where it can change something is drawn for each module, and one change at each of
them. Each mutant is tested by the tests of the module's own room, those named after the module first, until one fails.
Left out are changes within the messages of errors, and of == to `is`, which CPython's shared objects hide.

A mutant is no file: a process forked from this one, which has imported the libraries once, compiles it in place of the
module. Tests that start Python anew see the module as it is.
"""
import argparse
import ast
import collections
import difflib
import importlib
import importlib.machinery
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time

import pytest
from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

ROOT = pathlib.Path(__file__).parents[2]
ROOMS = ("events", "specs", "evaluation")
LEAST_KILLED = 0.9  # of the mutants of a room
MEMORY = 16 * 2 ** 30
PRELOADED = ("pandas", "scipy.signal", "sklearn.metrics", "librosa", "sed_eval", "keras")
# Mutants that no test can kill, because they behave as the module does: {module: {mutated line: reason}}.
EQUIVALENT = {}


def list_modules():
    """Return the modules of ROOMS, such as events/decoding.py."""
    return [str(path.relative_to(ROOT / "polysed_keras")) for room in ROOMS
            for path in sorted((ROOT / "polysed_keras" / room).glob("*.py")) if path.name != "__init__.py"]


def find_places(source):
    """Return {place: [(operator, occurrence)]} of all changes that cosmic-ray can make to a source."""
    places, nodes = collections.defaultdict(list), list(ast_nodes(get_ast(source)))
    for name in plugins.operator_names():
        if plugins.get_operator(name).arguments() or re.search("_(Eq|NotEq)_Is(Not)?$", name):
            continue
        operator = plugins.get_operator(name)()
        for occurrence, (node, place) in enumerate((node, begin) for node in nodes
                                                   for begin, _ in operator.mutation_positions(node)):
            if not _is_message(node):
                places[place].append((operator, occurrence))
    return places


def _is_message(node):
    """Return whether a node stands in an f-string of an error or a warning."""
    while node.parent and node.type != "fstring":
        node = node.parent
    while node.parent and node.type != "raise_stmt":
        node = node.parent
        if re.match(r"\s*(expect|logger\.\w+)\(", node.get_code()) and node.type == "atom_expr":
            return True
    return node.type == "raise_stmt"


def draw_mutants(source, number, seed):
    """Return mutated sources, at most a number of them, each changed at another place."""
    places, draw, mutants = find_places(source), random.Random(seed), []
    for place in draw.sample(sorted(places), len(places)):
        mutant = mutate_code(source, *draw.choice(places[place]))
        try:
            changed = ast.dump(ast.parse(mutant)) != ast.dump(ast.parse(source))
        except SyntaxError:
            changed = False
        if changed:
            mutants.append(mutant)
        if len(mutants) == number:
            break
    return mutants, len(places)


def list_tests(module):
    """Return the test files of a module's room, those named after the module first."""
    room, name = pathlib.Path(module).parent, pathlib.Path(module).stem
    return [str(path.relative_to(ROOT)) for path in sorted(
        (ROOT / "tests" / room).glob("test_*.py"), key=lambda path: (path.stem != f"test_{name}", path.name))]


def run_tests(module, source, seconds=None):
    """Run the tests of a module's room with another source of the module, in a process forked from this one.

    Args:
        module: such as events/decoding.py.
        source: str, to be compiled in its place.
        seconds: after which the process is ended.

    Returns:
        Whether all tests passed.
    """
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        try:
            os.killpg(child, signal.SIGKILL)  # What its tests have started.
        except ProcessLookupError:
            pass
        return status == 0
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    if seconds:
        signal.alarm(seconds)
    path, get_code = str(ROOT / "polysed_keras" / module), importlib.machinery.SourceFileLoader.get_code
    importlib.machinery.SourceFileLoader.get_code = lambda self, name: (
        compile(source, path, "exec") if self.path == path else get_code(self, name))
    os._exit(pytest.main(["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *list_tests(module)]))


def show_change(source, mutant):
    """Return the changed lines of a mutant as a diff."""
    lines = difflib.unified_diff(source.splitlines(), mutant.splitlines(), lineterm="", n=0)
    return [line for line in lines if not line.startswith(("---", "+++"))]


def test_module(module, number, seed):
    """Print how many mutants of a module its tests kill, and the others; return (killed, tested)."""
    source = (ROOT / "polysed_keras" / module).read_text()
    (mutants, places), killed, equivalent, left = draw_mutants(source, number, f"{module} {seed}"), 0, 0, []
    begin = time.monotonic()
    if not run_tests(module, source):
        sys.exit(f"{module}: its tests fail without a mutant: pytest {' '.join(list_tests(module))}")
    seconds = 30 + 3 * round(time.monotonic() - begin)
    for mutant in mutants:
        change = show_change(source, mutant)
        if any(line[1:].strip() in EQUIVALENT.get(module, {}) for line in change if line.startswith("+")):
            equivalent += 1
        elif run_tests(module, mutant, seconds):
            left += change
        else:
            killed += 1
    tested = len(mutants) - equivalent
    print(f"{module}: {killed} of {tested} killed, {equivalent} equivalent, {places} places, "
          f"{time.monotonic() - begin:.0f} s", *left, sep="\n    ", flush=True)
    return killed, tested


def main():
    """Test the modules that are named, or all; exit with 1 if the tests of a room kill too few."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("number", nargs="?", type=int, default=25, help="mutants per module (25)")
    parser.add_argument("modules", nargs="*", default=list_modules(), help="such as events/decoding.py")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    os.environ["POLYSED_TEST_RUN"] = str(os.getpid())  # What the tests share is made once, for all mutants.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for library in PRELOADED:
        importlib.import_module(library)
    rooms = collections.defaultdict(list)
    for module in arguments.modules:
        rooms[module.split("/")[0]].append(test_module(module, arguments.number, arguments.seed))
    shutil.rmtree(pathlib.Path(tempfile.gettempdir(), f"polysed-tests-{os.getpid()}"), ignore_errors=True)
    few = False
    for room, counts in rooms.items():
        killed, tested = map(sum, zip(*counts))
        print(f"{room}: {killed} of {tested} killed, {killed / max(1, tested):.1%}")
        few |= killed < LEAST_KILLED * tested
    sys.exit(few)


if __name__ == "__main__":
    main()
