"""Commands that train, compare and search."""
import dataclasses
import pathlib

from polysed_keras.cli.data import soundscape_spec, write_mixtures
from polysed_keras.cli.parsers import MIXTURES


def _runtime(arguments):
    import keras
    import tensorflow as tf
    if arguments.mixed_precision:
        keras.mixed_precision.set_global_policy("mixed_float16")
    if arguments.deterministic:
        tf.config.experimental.enable_op_determinism()
    return {"jit_compile": arguments.xla, "strategy": tf.distribute.MirroredStrategy() if arguments.mirrored else None}


def train(arguments):
    """Train a preset on a corpus, or on mixtures that are drawn anew every epoch."""
    from polysed_keras.specs import get_preset, load_plugin, set_fields
    for path in arguments.plugin:
        load_plugin(path)
    experiment = set_fields(get_preset(arguments.preset), arguments.set)
    data, mixing = _training_data(arguments)
    experiment = dataclasses.replace(experiment, name=" ".join([experiment.name, *arguments.mix]))
    from polysed_keras.display import MEASURE_NAMES, plot_training, save_figure
    from polysed_keras.training import run_experiment
    history = run_experiment(experiment, data, arguments.out, mixing=mixing, pretrained=arguments.pretrained,
                             plugins=arguments.plugin, resume=arguments.resume, **_runtime(arguments))
    measure = experiment.measure
    figure = plot_training(history, title=experiment.name, measure=measure)
    save_figure(figure, pathlib.Path(arguments.out) / "training.png")
    best = history.loc[history[measure].idxmax()]
    print(f"{arguments.out}: best epoch {int(best.epoch)} of {len(history)}, validation {MEASURE_NAMES[measure]} "
          f"{best[measure]:.4f}")


def _training_data(arguments):
    """The corpus to train on; with --soundbank what it validates with, and how training mixtures are drawn."""
    if not arguments.soundbank:
        if not arguments.data:
            from polysed_keras.errors import InputError
            raise InputError("train: expected --data DATA, --soundbank DIR or both. Received: neither.")
        return arguments.data, None
    from polysed_keras.training import resolve_mixing
    data, numbers = arguments.data, arguments.mixtures
    if not data:
        data, numbers = str(pathlib.Path(arguments.out) / "data"), numbers or MIXTURES
        if not pathlib.Path(data).exists():  # a resumed training has it
            write_mixtures(arguments, arguments.soundbank, arguments.soundbank, data, (0, *numbers[1:]),
                            soundscape_spec(arguments, arguments.mix))
    return data, resolve_mixing(arguments.soundbank, data, numbers and numbers[0], arguments.mix, arguments.kept_epochs)


def evaluate(arguments):
    """Evaluate runs side by side."""
    from polysed_keras.evaluation import evaluate_runs, format_tables, report_tables, write_report
    results = evaluate_runs(arguments.runs, arguments.data, arguments.partition)
    tables = write_report(results, arguments.out) if arguments.out else report_tables(results)
    print(format_tables(*tables))


def decompose(arguments):
    """Print groups of labels, one a line, and write them as train --set tasks.groups=FILE takes them."""
    from polysed_keras.evaluation import find_groups
    from polysed_keras.files import write_json
    from polysed_keras.specs import Decomposition
    spec = Decomposition(arguments.num_tasks, arguments.strategy, "multi_label", seed=arguments.seed)
    groups = find_groups(arguments.data, spec, arguments.run)
    for group in groups:
        print(", ".join(group))
    if arguments.out:
        write_json(groups, arguments.out)


def widen(arguments):
    """Print what two presets cost, and the widths at which the first costs as much as the second."""
    from polysed_keras.models import format_widening, with_num_labels
    from polysed_keras.specs import get_preset
    print(format_widening(*(with_num_labels(get_preset(name), arguments.num_labels)
                            for name in (arguments.preset, arguments.like))))


def sweep(arguments):
    """Train and test every point of one of paper 2's experiments."""
    from polysed_keras.papers import build_study, format_sweep, parse_values, run_sweep, sweep_alpha
    values = parse_values(arguments.name, arguments.points)
    study = build_study(arguments.data, values, small=arguments.small, k=arguments.k, choice=arguments.choice,
                        tagger=arguments.tagger, endpoint=arguments.endpoint, assignments=arguments.set)
    seeds = tuple(range(arguments.seeds))
    table = run_sweep(arguments.name, study, values, arguments.data, arguments.out, seeds=seeds)
    print(format_sweep(table))
    if arguments.name == "alpha":
        print(f"balanced alpha (equation 3), from the two baselines' validation losses: {sweep_alpha(table):.3f}")


def tune(arguments):
    """Search hyperparameters, or go on with a search."""
    from polysed_keras.search import read_search
    search = read_search(arguments.search, arguments.set)
    from polysed_keras.search import export_best, run_search
    table = run_search(search, arguments.data, arguments.out, workers=arguments.workers)
    if table is not None and arguments.export:
        print(export_best(search, arguments.data, arguments.out))


def presets(arguments):
    """List the presets."""
    from polysed_keras.specs import PRESETS
    for name, experiment in PRESETS.items():
        tasks = experiment.tasks
        outputs = (f"{len(tasks)} {' + '.join(task.encoding for task in tasks)}" if isinstance(tasks, tuple)
                   else f"{tasks.num_tasks} {tasks.encoding}")
        print(f"{name:29} {experiment.model.backbone:12} {experiment.model.head:10} {outputs:27} {experiment.reference}")


def demo(arguments):
    """Sounds to mixtures to detectors to events, on sounds made by the program."""
    from polysed_keras.papers import run_demo
    run_demo(arguments.out)
