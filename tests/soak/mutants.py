"""Mutation testing: do the tests of a room notice small changes to its modules?

    python tests/soak/mutants.py                           25 mutants of each module
    python tests/soak/mutants.py 25 events/decoding.py     25 mutants of one

cosmic-ray changes a comparison, an arithmetic or logical operator, a number, a True or False, a loop, an except or a
decorator. A sample of the places where it can change something is drawn for each module, and one change at each of
them. Each mutant is tested by the tests of the module's own room, until one fails: by the files whose tests run the
changed line, the one named after the module first. Tests marked slow do not run. Left out are changes within the
messages of errors, and of == to `is`, which CPython's shared objects hide.

A mutant is no file: a process forked from this one, which has imported the libraries once, compiles it in place of the
module. Tests that start Python anew see the module as it is.
"""
import argparse
import ast
import collections
import contextlib
import difflib
import functools
import gc
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

import coverage
import pytest
from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

ROOT = pathlib.Path(__file__).parents[2]
ROOMS = ("events", "specs", "evaluation")
LEAST_KILLED = 0.9  # of the mutants of a room
MEMORY = 16 * 2 ** 30  # bytes per mutant
PATIENCE = 1800  # seconds per mutant, also if it waits for something
PRELOADED = ("pandas", "scipy.signal", "sklearn.metrics", "librosa", "sed_eval", "keras")
# Mutants that no test can kill, because they behave as the module does: {module: {mutated line: reason}}.
EQUIVALENT = {
    "evaluation/alarms.py": {
        "ranks = np.unique(np.geomspace(1, max( 2, len(false)), LEVELS).round().astype(int)) - 1":
        "ranks beyond the last are left out",
        "levels = np.append(false[ranks[ranks != len(false)]], 0)": "no rank is higher but of none",
        "allowed = 3600 * counts[..., 2] < alarms_per_hour * counts[..., 3] + 1e-6": "it is there for rounding"},
    "evaluation/calibration.py": {
        'expect(0 < number != float("inf"), "alarms_per_hour", "a number above 0", number)': "none is above it",
        "found = np.array([((each != 0).sum(), len(each)) for each in alarms.found])": "no confidence is below 0"},
    "evaluation/correcting.py": {
        "track = posteriors[[each == name for each in reviewed.recordings]].reshape(- 2, len(labels))":
        "NumPy takes any negative number for -1",
        "track = posteriors[[each == name for each in reviewed.recordings]].reshape(~1, len(labels))": "likewise",
        'new_labels = sorted({answer.label for answer in answers if answer.answer >= "yes"} - set(known))':
        "yes is the last of the answers",
        "table = pd.DataFrame([(answer.recording, answer.label, answer.onset, answer.offset, answer.answer >= \"yes\")":
        "yes or no",
        'events.loc[each, "there"] = np.fmax(events["there"][each], float(answer.answer >= "yes"))': "yes or no",
        "is_false = np.diff(expected, prepend=0.0) != 0": "it only rises",
        "if number != 1:": "there is a part",
        "yield positions[(onsets < offset) * (onset < offsets)]": "a product of bool is and"},
    "evaluation/event_lists.py": {
        "return dict(zip(names if len(set(names)) >= len(names) else map(str, paths), paths))": "there are no more",
        'expect(paths and len(set(map(str, paths))) >= len(paths), "ESTIMATED", "different files or folders",':
        "there are no more",
        "lacking = sorted(set(known) ^ set(scores[name]))": "others are refused before",
        "unknown, missing = sorted(set(lists) - set(known)), sorted(set(known) ^ set(lists))":
        "unknown ones are refused",
        "nothing = files and all(file.stat().st_size <= 0 for file in files)  # by which no format can be told":
        "no file has fewer bytes than none",
        'expect(len(columns) <= 1, path, "files of scores of the same labels", f"{len(columns)} different headers")':
        "there is a file"},
    "evaluation/runs.py": {
        "if source_class(experiment) == ClipSource:": "classes are equal if they are the same",
        "if len({experiments[index].training.seed for index in indices}) >= len(indices) > 1:": "there are no more",
        "if len({experiments[index].training.seed for index in indices}) == len(indices) != 1:": "there is a run",
        'return [name if len(owners[name]) <= 1 else f"{path.parent.name}/{name}" for name, path in zip(names, paths)]':
        "each name has an owner",
        'counts = (recognised(activity, task.decode(posteriors)) if task.encoding <= "multi_class"':
        "the other is multi_label"},
    "evaluation/score_files.py": {
        'over = (events["onset"].to_numpy() <= middles[:, None]) * (middles[:, None] < events["offset"].to_numpy())':
        "a product of bool is and",
        'lasting = {name: merge_events(events[events["offset"] != events["onset"]])': "no event ends before it begins",
        """expect(set(labels) < set(table.columns), name, f"scores of the labels {', '.join(labels)}",""":
        "onset and offset are columns too",
        "if len(next(iter(scores.values())).columns) <= 3:  # of a single label there are no cross triggers":
        "onset, offset and a label are three",
        "if {label for events in own.values() for _, _, label in events} != set(labels):": "there are no others"},
    "evaluation/scoring.py": {
        '(events["offset"].max() for events in (reference, estimated) if len(events)), default= 1)':
        "nothing is counted in a second without events",
        "if set(MEASURES) < set(by_name):": "their thresholds are there too"},
    "evaluation/tables.py": {
        "highest = max(np.flatnonzero(first.reference.sum(axis=(0, 2))), default= -1)":
        "there are no rows up to 0, nor up to -1",
        "spread, seed_min, seed_max = (np.stack([by_seed.std(), by_seed.min(), by_seed.max()]) if len(runs) != 1":
        "there is a run",
        "if len(blocks) <= 1:": "there is a block",
        "if num_mixtures <= 1:": "there is a mixture",
        'percent = " in %" if scale >= 100 else ""': "the scale is 100 or 1",
        "if seeds != 1:": "there is a seed",
        "if len(columns) != 1:": "there is a column",
        "if len(columns) > 2:": "two runs have three columns, with their difference"},
    "events/decoding.py": {'if task.encoding <= "multi_class":': "no encoding's name comes before it"},
    "events/alarms.py": {
        "return np.where(np.isinf(levels), 0, number * np.exp(-rate * np.maximum(_logit(np.minimum(levels, 2)) - base, "
        "0)))": "levels are at most 1, or infinite and not used",
        "if index + 1 < len(curves[label][ -1]):": "levels, costs and gains are equally many"},
    "events/event_lists.py": {
        'if events["offset"].to_numpy().max(initial= -1.0) <= duration:': "no offset and no duration is below 0"},
    "events/extents.py": {
        "boxes, onset, offset, best, highest = [], None, None, 0, 1.0": "an onset sets it before it is used",
        "onset, offset, best = None, None, 1": "changes are whole numbers"},
    "events/score_files.py": {
        "return len(header) != 2 and header[:2] == _TIMES and COLUMNS[2] not in header":
        "a shorter one has no two times"},
    "specs/grouping.py": {
        "STARTS = 33  # divisions from which group_by_affinity searches": "one more only finds what is as good",
        "gains[place[:, None] <= place] = 0": "gains are symmetric: half of them hold all",
        "sums = np.round([affinity[end[:, None] == end].sum() for end in ends], 5)": "only ties differ, as equal ones"},
    "specs/plugins.py": {
        "if before >= _from_outside():": "what is registered is not taken back",
        'expect(not (frames or pretrained) or kind <= "backbone", "frames and pretrained", "True for a backbone only", '
        "kind)": "no kind comes before a backbone"},
    "events/metrics.py": {
        "padded = np.pad(activity.T.astype(np.int8), ((0, 0), (1, 2)))": "a second column of zeros changes nothing",
        "padded = np.pad(activity.T.astype(np.int8), ((0, 1), (1, 1)))": "nor does a row"},
}


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
        found = [(node, begin) for node in nodes for begin, _ in operator.mutation_positions(node)]
        for occurrence, (node, place) in enumerate(found):
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
    """Return at most a number of mutants, each changed at another place, (line, source); and the number of places."""
    places, draw, mutants = find_places(source), random.Random(seed), []
    for place in draw.sample(sorted(places), len(places)):
        mutant = mutate_code(source, *draw.choice(places[place]))
        try:
            changed = ast.dump(ast.parse(mutant)) != ast.dump(ast.parse(source))
        except SyntaxError:
            changed = False
        if changed:
            mutants.append((place[0], mutant))
        if len(mutants) == number:
            break
    return mutants, len(places)


class Coverage:
    """Plugin of pytest that records which lines of the package the tests of each file run."""

    def __init__(self, path):
        self._coverage = coverage.Coverage(data_file=path, source=[str(ROOT / "polysed_keras")], config_file=False)
        self._coverage.start()

    def pytest_runtest_setup(self, item):
        """Begin a context per file, not per test, because fixtures of a file run in the first of its tests."""
        self._coverage.switch_context(str(item.path.relative_to(ROOT)))

    def pytest_sessionfinish(self):
        """Write what was recorded."""
        self._coverage.stop()
        self._coverage.save()


def in_a_process(function, seconds=resource.RLIM_INFINITY):
    """Return whether a function succeeds in a process forked from this one, and the seconds of its processor time.

    The process is ended after so many of these seconds, and after PATIENCE in any case.
    """
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        signal.alarm(PATIENCE)
        os._exit(function())
    _, status, usage = os.wait4(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # What its tests have started.
    return status == 0, usage.ru_utime + usage.ru_stime


def run_tests(files, plugins=()):
    """Run test files until a test fails, and return pytest's exit code, or 0 if no test is left to run."""
    code = pytest.main(["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *files], plugins=plugins)
    return 0 if code == pytest.ExitCode.NO_TESTS_COLLECTED else int(code)


def run_mutant(module, mutant, files):
    """Run test files with a mutant in place of a module, until one fails; return pytest's exit code."""
    path, get_code = str(ROOT / "polysed_keras" / module), importlib.machinery.SourceFileLoader.get_code
    importlib.machinery.SourceFileLoader.get_code = lambda self, name: (
        compile(mutant, path, "exec") if self.path == path else get_code(self, name))
    return next(filter(None, (run_tests([file]) for file in files)), 0)


class Room:
    """The tests of a room: its files, the lines of the package that each runs, and their seconds of processor time."""

    def __init__(self, name):
        self._files = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests" / name).glob("test_*.py"))]
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "coverage")
            passed, self.seconds = in_a_process(lambda: run_tests(self._files, [Coverage(path)]))
            if not passed:
                sys.exit(f"{name}: its tests fail without a mutant.")
            data = coverage.CoverageData(path)
            data.read()
            self._contexts = {module: data.contexts_by_lineno(module) for module in data.measured_files()}

    def files(self, module, source, line):
        """Return the test files that run a line of a module, the one named after the module first."""
        contexts = self._contexts.get(str(ROOT / "polysed_keras" / module), {})
        statements = [node for node in ast.walk(ast.parse(source))
                      if isinstance(node, ast.stmt) and node.lineno <= line <= node.end_lineno]
        smallest = min(statements, key=lambda node: node.end_lineno - node.lineno, default=None)
        lines = range(smallest.lineno, smallest.end_lineno + 1) if smallest else contexts  # A decorator is in none.
        found = {context for each in lines for context in contexts.get(each, [])}
        own = f"tests/{module.removesuffix('.py').replace('/', '/test_')}.py"
        return sorted((file for file in self._files if "" in found or file in found),  # "" is while it is imported.
                      key=lambda file: file != own)


def show_change(source, mutant):
    """Return the changed lines of a mutant as a diff."""
    lines = difflib.unified_diff(source.splitlines(), mutant.splitlines(), lineterm="", n=0)
    return [line for line in lines if not line.startswith(("---", "+++"))]


def try_module(module, room, number, seed):
    """Print how many mutants of a module its room's tests kill, and the others; return (killed, tested)."""
    source = (ROOT / "polysed_keras" / module).read_text()
    mutants, places = draw_mutants(source, number, f"{module} {seed}")
    begin, killed, equivalent, left = time.monotonic(), 0, 0, []
    for line, mutant in mutants:
        change, files = show_change(source, mutant), room.files(module, source, line)
        if any(line[1:].strip() in EQUIVALENT.get(module, {}) for line in change if line.startswith("+")):
            equivalent += 1
        elif in_a_process(functools.partial(run_mutant, module, mutant, files), 20 + round(room.seconds))[0]:
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
    arguments = parser.parse_intermixed_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    os.environ["POLYSED_TEST_RUN"] = str(os.getpid())  # What the tests share is made once, for all mutants.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # No test of the rooms needs one; to load takes 1 s.
    for library in PRELOADED:
        importlib.import_module(library)
    gc.freeze()  # or each process would go over all objects of the libraries, and so copy their memory
    room, counts = functools.cache(Room), collections.defaultdict(list)
    for module in arguments.modules:
        name = module.split("/")[0]
        counts[name].append(try_module(module, room(name), arguments.number, arguments.seed))
    shutil.rmtree(pathlib.Path(tempfile.gettempdir(), f"polysed-tests-{os.getpid()}"), ignore_errors=True)
    few = False
    for name, pairs in counts.items():
        killed, tested = map(sum, zip(*pairs))
        print(f"{name}: {killed} of {tested} killed, {killed / max(1, tested):.1%}")
        few |= killed < LEAST_KILLED * tested
    sys.exit(few)


if __name__ == "__main__":
    main()
