"""What drawing new mixtures every epoch costs a training, against the same training on mixtures that were written.

    python benchmarks/on_the_fly.py SOUNDBANK [--folds 1,2 3 4] [--epochs 9] [--only RUN ...]

All train `multilabel_small` for as many steps an epoch: on 15 mixtures of 300 s and segments every 32 frames, or on 30
new ones and segments every 64, which repeat less of what they hold; of these all are new in every epoch, or a third, or
an eighth. A machine's speed drifts by more than what is measured, so they take turns: each is a process that trains one
epoch and is then stopped until the others have trained theirs. What counts is the ratio to the epoch of written
mixtures of the same turn; the first epoch, which traces the graph, is left out. Run it on a machine that does nothing
else.
"""
import argparse
import multiprocessing
import os
import pathlib
import signal
import statistics
import tempfile
import time

from polysed_keras.cli import fold_lists
from polysed_keras.specs import get_preset, set_fields
from polysed_keras.synthesis import SoundscapeSpec, partition_soundbank, read_soundbank, synthesize
from polysed_keras.training import fit as training, resolve_mixing, run_experiment


def train(connection, experiment, data, out, mixing):
    """Train, and say so at the end of each epoch."""
    on_epoch_end = training.Checkpoints.on_epoch_end

    def telling(self, epoch, logs=None):
        on_epoch_end(self, epoch, logs)
        connection.send(epoch)

    training.Checkpoints.on_epoch_end = telling
    run_experiment(experiment, data, out, mixing=mixing, progress=False)


def time_turns(runs, data, epochs):
    """Seconds of each epoch but the first: {name: list}."""
    context, seconds, children = multiprocessing.get_context("spawn"), {name: [] for name in runs}, {}
    for name, (experiment, mixing) in runs.items():
        connection, end = context.Pipe()
        process = context.Process(target=train, args=(end, experiment, data, data.parent / name, mixing), daemon=True)
        process.start()
        children[name] = process, connection
        connection.recv()  # the first epoch
        os.kill(process.pid, signal.SIGSTOP)
    for turn in range(1, epochs):
        for name in sorted(runs, reverse=turn % 2):
            process, connection = children[name]
            begin = time.perf_counter()
            os.kill(process.pid, signal.SIGCONT)
            connection.recv()
            seconds[name].append(time.perf_counter() - begin)
            if turn + 1 < epochs:
                os.kill(process.pid, signal.SIGSTOP)
    for process, _ in children.values():
        process.join()
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("soundbank")
    parser.add_argument("--folds", nargs=3, type=fold_lists)
    parser.add_argument("--only", nargs="+", metavar="RUN", help="beside the written ones, such as '15 new'")
    parser.add_argument("--epochs", type=int, default=9)
    arguments = parser.parse_args()
    experiment = set_fields(get_preset("multilabel_small"), [f"training.epochs={arguments.epochs}"])
    sparse = set_fields(experiment, ["training.segment_hop=64"])
    with tempfile.TemporaryDirectory() as temporary:
        data = pathlib.Path(temporary) / "data"
        partitions = partition_soundbank(read_soundbank(arguments.soundbank), folds=arguments.folds)
        synthesize(partitions, data, SoundscapeSpec(duration_seconds=300.0), (15, 1, 0), origin={
            "soundbank": arguments.soundbank, "folds": arguments.folds})
        speed = ["speed=[0.85,1.18]"]
        runs = {"written": (experiment, None), "15 new": (experiment, resolve_mixing(arguments.soundbank, data)),
                "15 new, speed": (experiment, resolve_mixing(arguments.soundbank, data, assignments=speed)),
                "30, an eighth new": (sparse, resolve_mixing(arguments.soundbank, data, 30, speed, kept_epochs=8)),
                "30, a third new": (sparse, resolve_mixing(arguments.soundbank, data, 30, speed, kept_epochs=3)),
                "30 new, speed": (sparse, resolve_mixing(arguments.soundbank, data, 30, speed))}
        names = ["written", *(arguments.only or [name for name in runs if name != "written"])]
        seconds = time_turns({name: runs[name] for name in names}, data, arguments.epochs)
    for name, values in seconds.items():
        ratios = [value / written for value, written in zip(values, seconds["written"])]
        print(
            f"{name:17} {statistics.mean(values):6.1f} s an epoch; ratio: median {statistics.median(ratios):.3f}, "
            f"of all {sum(values) / sum(seconds['written']):.3f}; turns {' '.join(f'{ratio:.2f}' for ratio in ratios)}"
        )


if __name__ == "__main__":
    main()
