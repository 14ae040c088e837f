"""The whole chain in processes of their own: killed, on a full disk, and with bits flipped in what it has written.

POLYSED_SOAK_KILLS says how many kills there are, POLYSED_SOAK_DISKS how often the disk is full for each step, and
POLYSED_SOAK_FLIPS how many bits of each file are flipped; `make soak` asks for more of each.
"""
import contextlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from polysed_keras.audio.digests import DIGESTS
from polysed_keras.errors import InputError
from polysed_keras.evaluation.runs import evaluate_run, load_seen_combinations
from polysed_keras.events.corrections import KIND
from polysed_keras.export.parity import noise_and_tones
from polysed_keras.export.runs import load_run_detector
from polysed_keras.export.runtimes import load_export
from polysed_keras.export.saved_model import load_saved_model
from polysed_keras.files import check_checksums, read_json, write_json
from polysed_keras.models.compiling import compile_model
from polysed_keras.models.network import build_model
from polysed_keras.serving.batch import FINISHED
from polysed_keras.serving.deployment import find_exports
from polysed_keras.synthesis.corpus import MIXTURE_NAME
from polysed_keras.training.checkpoints import read_history, restore_checkpoint
from polysed_keras.training.runs import load_run

from fixtures import LABELS, MULTI_LABEL, calibrated_export, calibrated_run, shared_corpus, write_bank

KILLS, DISKS, FLIPS = (int(os.environ.get(f"POLYSED_SOAK_{name}", number))
                       for name, number in (("KILLS", 3), ("DISKS", 0), ("FLIPS", 10)))
ROOT = pathlib.Path(__file__).parents[1]
STEPS = {
    "synthesize": ("--soundbank", "bank", "--recipe", "paper", "--out", "data", "--mixtures", "4", "2", "2",
                   "--duration", "6", "--seed", "1", "--set", "stems=true", "sample_rate=8000"),
    "train": ("tiny.json", "--data", "data", "--out", "run", "--set", "training.segment_hop=8", "training.epochs=4"),
    "calibrate": ("run", "--data", "data"),
    "evaluate": ("run", "--data", "data", "--out", "report"),
    "export": ("run", "--out", "models/tiny", "--runtimes", "litert_float32"),
    "detect": ("data/audio", "--model", "models/tiny", "--out", "events", "--format", "csv"),
    "learn": ("run", "--corrections", "answers.json", "--audio", "data/audio", "--out", "corrected"),
}
AGAIN = {"train": ("--resume",)}  # how a command is given again after an interruption, if otherwise
# the rest takes longer than `make test` has; TensorFlow starts in each
CHAIN = tuple(STEPS) if KILLS > 3 or DISKS else ("synthesize", "train", "evaluate")
KILLS_PER_CHAIN = 6
EXISTS = [f"polysed: {name}: exists already. Choose another folder or remove it." for name in ("data", "corrected")]
ANSWERS = [{"recording": f"{MIXTURE_NAME.format(recording)}.wav", "label": label, "onset": place, "offset": place + 0.5,
            "answer": answer, "heard": (place, place + 1.0), "asked": (place, place + 0.5)}
           for recording in (0, 1) for label in LABELS for place, answer in ((1.0, "yes"), (3.0, "no"))]


class Chain:
    """A folder in which the steps run."""

    def __init__(self, folder, log=None):
        self.folder, self.log = pathlib.Path(folder), log or pathlib.Path(f"{folder}.log")

    def start(self, step, again=False):
        """Start a step, again after an interruption, on one thread: it adds up in one order, killed or not."""
        (self.folder / "tmp").mkdir(exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(self.folder / "tmp"),
                       "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        with open(self.log, "w") as log:
            return subprocess.Popen([sys.executable, "-m", "polysed_keras", step, *STEPS[step],
                                     *(AGAIN.get(step, ()) if again else ())],
                                    cwd=self.folder, env=environment, stdout=log, stderr=log)

    def said(self):
        """The lines that the last step printed; none of them are of a traceback."""
        lines = self.log.read_text(errors="replace").splitlines()
        assert not [line for line in lines if "Traceback" in line or "Exception ignored" in line], "\n".join(lines)
        return lines

    def finish(self, process, again=False):
        """Wait for the end of a step, which was started again after an interruption or not."""
        code, lines = process.wait(600), self.said()
        # A corpus that is there is whole: the next step can begin.
        assert code == 0 or again and code == 2 and lines[0] in EXISTS and len(lines) == 1, "\n".join(lines)
        assert self.temporary() == []

    def files(self):
        """{name: path} of the files that are the same whenever they are made."""
        return {name: path for path in sorted(self.folder.rglob("*"))
                if path.is_file() and ".partial/" not in (name := path.relative_to(self.folder).as_posix())
                and not name.startswith(("tmp/", "run/tensorboard/", "run/.lock"))
                and path.name not in (DIGESTS, FINISHED)  # notes, a line at a time, of when files were changed
                and not (path.parent.name == "runtimes" and path.suffix == ".json")}  # it holds milliseconds

    def temporary(self):
        """Temporary files and locks, but for the code that TensorFlow writes and removes only at its end."""
        return sorted({*self.folder.rglob("*.partial"), *self.folder.rglob("*.lock"),
                       *(path for path in self.folder.glob("tmp/*") if not path.name.startswith("__autograph_"))})

    def check_whole(self, final):
        """Check that no file under its final name is half a file."""
        for name, path in self.files().items():
            if name in final and path.read_bytes() == final[name].read_bytes():
                continue
            if path.suffix == ".json":
                read_json(path)
            elif path.suffix == ".h5":
                with h5py.File(path) as file:
                    file.visititems(lambda _, item: item[()] if isinstance(item, h5py.Dataset) else None)
            elif name == "run/history.csv":
                assert final[name].read_text().startswith(path.read_text()) and path.read_text().endswith("\n")
            else:
                assert name.startswith("models/tiny/2/"), f"{name} is a file that no run leaves, or half a one"
        for version in self.folder.glob("models/tiny/[0-9]*"):
            check_checksums(version)

    def check_equal(self, expected):
        """Check that the files are those of an undisturbed chain, {name: path}."""
        made = self.files()
        if any(name.startswith("models/tiny/2/") for name in made):  # killed after the export: it is exported twice
            made, expected = ({name: path for name, path in each.items() if not name.startswith("models/")}
                              for each in (made, expected))
        made, expected = ({name: path.read_bytes() for name, path in each.items()} for each in (made, expected))
        differing = {name for name in made | expected if made.get(name) != expected.get(name)}
        # Features that a full disk did not take are made anew by the next command that needs them.
        assert [name for name in sorted(differing) if name in made or not name.startswith("data/features/")] == []


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """{step: Chain as it was after the step}, and {step: seconds}, of a chain that nothing disturbs."""
    parent = tmp_path_factory.mktemp("undisturbed")
    chain, states, seconds = Chain(parent / "chain"), {}, {}
    write_bank(chain.folder / "bank", LABELS, takes=4)
    write_json(MULTI_LABEL.to_dict(), chain.folder / "tiny.json")
    write_json({"kind": KIND, "answers": ANSWERS}, chain.folder / "answers.json")
    for step in (None, *CHAIN):
        begin = time.monotonic()
        if step:
            chain.finish(chain.start(step))
            seconds[step] = time.monotonic() - begin
        states[step] = Chain(shutil.copytree(chain.folder, parent / str(step)))
    print("undisturbed:", *(f"{step} {each:.1f} s" for step, each in seconds.items()))
    return states, seconds


def draw_kills(rng, seconds, number):
    """{step: [(seconds after its start, signal)]} of kills at moments that are uniform over a chain."""
    moments, kills, begin = sorted(rng.uniform(0, sum(seconds.values())) for _ in range(number)), {}, 0
    for step, length in seconds.items():
        kills[step] = [(moment - begin, signal.SIGTERM if rng.random() < 0.25 else signal.SIGKILL)
                       for moment in moments if begin <= moment < begin + length]
        begin += length
    return kills


def kill(chain, process, step, after, number):
    """Kill a step some seconds after its start; False if it had ended before."""
    before = chain.temporary()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(after)
        print(f"{step} had ended before {after:.2f} s")
        return False
    process.send_signal(number)
    code, lines = process.wait(600), chain.said()
    if number == signal.SIGTERM:
        assert code in (128 + number, -number, 0), (code, lines)  # -15 before Python has begun; 0 if it just ended
        assert set(chain.temporary()) <= set(before)
    print(f"{step}: {number.name} {after:.2f} s after its start, exit code {code}; there are "
          f"{len(chain.files())} files, and {len(chain.temporary())} temporary ones")
    return True


@pytest.mark.parametrize("seed", range(-(-KILLS // KILLS_PER_CHAIN)))
def test_a_killed_chain_ends_as_an_undisturbed_one(seed, undisturbed, tmp_path):
    states, seconds = undisturbed
    chain = Chain(shutil.copytree(states[None].folder, tmp_path / "chain"))
    final, hits = states[CHAIN[-1]].files(), 0
    for step, kills in draw_kills(random.Random(seed), seconds, min(KILLS, KILLS_PER_CHAIN)).items():
        process, killed = chain.start(step), False
        for after, number in kills:
            if kill(chain, process, step, after, number):
                chain.check_whole(final)
                process, killed, hits = chain.start(step, again=True), True, hits + 1
        chain.finish(process, again=killed)
    chain.check_equal(final)
    print(f"{hits} kills, and the files of an undisturbed chain")
    assert hits


@contextlib.contextmanager
def small_disk(place):
    """Mount a file system in memory; a function that sets its bytes."""
    def mount(*options):
        return subprocess.run(["mount", *options, str(place)], capture_output=True, text=True)

    place.mkdir()
    made = mount("-t", "tmpfs", "-o", "size=1g", "tmpfs")
    if made.returncode:
        pytest.skip(f"no file system can be mounted, which is to be full: {made.stderr.strip()}")
    try:
        yield lambda size: mount("-o", f"remount,size={size}").check_returncode()
    finally:
        subprocess.run(["umount", str(place)], check=True)


def used(folder):
    """Bytes of a file system that are taken."""
    status = os.statvfs(folder)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


@pytest.mark.parametrize("step", CHAIN if DISKS else [])
def test_a_full_disk_is_a_line_and_the_command_goes_on_when_there_is_room(step, undisturbed, tmp_path):
    states = undisturbed[0]
    rng, before, after = random.Random(0), states[(None, *CHAIN)[CHAIN.index(step)]], states[step].files()
    final, refused = states[CHAIN[-1]].files(), 0
    grown = sum(-(-path.stat().st_size // 4096) * 4096 for name, path in after.items() if name not in before.files())
    for number in range(DISKS):
        shutil.rmtree(tmp_path / "disk", ignore_errors=True)
        with small_disk(tmp_path / "disk") as resize:
            chain = Chain(shutil.copytree(before.folder, tmp_path / "disk" / "chain"), tmp_path / "log")
            room = 4096 * int(rng.uniform(0, 1) * grown // 4096) if number else 0
            resize(used(chain.folder) + room)
            code = chain.start(step).wait(600)
            lines = chain.said()
            told = ["polysed: " + end for line in lines for _, found, end in [line.partition("polysed: ")] if found]
            print(f"{step} with room for {room} of {grown} bytes: exit {code}", *told)
            resize(2 ** 30)
            assert chain.temporary() == []
            chain.check_whole(final)
            if code:
                refused += 1
                assert code == 2 and len(told) == 1 and "cannot be written (No space left on device)" in told[0]
                chain.finish(chain.start(step, again=True))
            chain.check_equal(after)
    assert refused


# Flipped bits

NOT_READ = (".csv", ".png", ".v2")  # history.csv, training.png, TensorBoard's logs: all is loaded, which takes longest


def flip_bits(folder, paths, load):
    """Flip bits of files; load(folder) has to refuse each, or to return what it returns of undamaged files.

    Returns:
        How many were refused, and the names of the files of which bits were not read or do not matter: {name: bits}.
    """
    expected, refused, loaded = load(folder), 0, {}
    rng = np.random.default_rng(0)
    for path in paths:
        content, name = path.read_bytes(), path.relative_to(folder).as_posix()
        for place in rng.integers(8 * len(content), size=FLIPS if path.suffix not in NOT_READ else FLIPS // 10):
            damaged = bytearray(content)
            damaged[place // 8] ^= 1 << place % 8
            path.write_bytes(damaged)
            try:
                found = load(folder)
            except InputError as error:
                assert "\n" not in str(error)
                refused += 1
                continue
            np.testing.assert_equal(found, expected, f"bit {place} of {name}")
            loaded[name] = loaded.get(name, 0) + 1
        path.write_bytes(content)
    return refused, loaded


def read_run(run, model):
    """All that commands read of a run, the quickest first; `model` is a network to resume the training of."""
    history, seen = read_history(run), load_seen_combinations([run])
    restore_checkpoint(model, run)
    detector = load_run_detector(run)
    waveform = noise_and_tones(detector)
    result = evaluate_run(run, shared_corpus(), seen=seen, progress=False)
    return [history, model.get_weights(), detector.description, detector.posteriors(waveform),
            detector.detect(waveform).to_dict(), result.counts, result.alarm_counts, result.name]


def read_export(version):
    """All that commands read of an export."""
    cards, detector = find_exports(version.parents[1]), load_saved_model(version)
    waveform = noise_and_tones(detector)
    return [cards, detector.description, detector.posteriors(waveform), detector.detect(waveform).to_dict(),
            load_export(version).posteriors(waveform)]


def files_of(folder):
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def test_no_flipped_bit_of_a_run_is_loaded(tmp_path):
    run = shutil.copytree(calibrated_run(), tmp_path / "run")
    names = {path.name for path in files_of(run)}
    assert {"experiment.json", "state.json", "checksums.json", "combinations.json", "calibration.json",
            "best.weights.h5", "history.csv"} <= names
    experiment = load_run(run)
    model = build_model(experiment.model, experiment.tasks, experiment.input_shape)
    compile_model(model, experiment.tasks, learning_rate=0.01)
    refused, loaded = flip_bits(run, files_of(run), lambda run: read_run(run, model))
    print(f"{len(names)} files of a run: {refused} flipped bits refused, loaded with equal results: {loaded}")
    assert refused >= 6 * FLIPS


def test_no_flipped_bit_of_an_export_is_loaded(tmp_path):
    version = shutil.copytree(calibrated_export() / "1", tmp_path / "models" / "tiny" / "1")
    paths = files_of(version)
    assert {"saved_model.pb", "variables.index", "float32.tflite", "card.json", "checksums.json"} <= {
        path.name for path in paths}
    refused, loaded = flip_bits(version, paths, read_export)
    print(f"{len(paths)} files of an export: {refused} flipped bits refused, loaded with equal results: {loaded}")
    assert refused >= 8 * FLIPS
