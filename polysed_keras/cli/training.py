"""Commands that train, compare and search."""
import dataclasses
import pathlib

from polysed_keras.cli.parsers import (
    ALARMS_PER_HOUR,
    BEGIN,
    DECOMPOSITIONS,
    EVENT_CHOICES,
    JUDGE,
    MIXTURE_OPTIONS,
    PAPERS,
    PLUGIN,
    SEARCH,
    SWEEPS,
    TRAIN,
    command,
    one_of,
    option,
    set_option,
)
from polysed_keras.errors import InputError, expect


@command("train",
    option("preset", metavar="PRESET",
           help="a name that `polysed presets` lists, or a JSON file, such as a search's best.json"),
    option("--data", help="folder of the corpus: audio/, meta/, evaluation_setup/"),
    option("--soundbank", metavar="DIR", help="make mixtures of this soundbank in RUN/data and train on them; for a "
           "network that is not pretrained, or with DATA, new training mixtures are drawn every epoch"),
    *MIXTURE_OPTIONS,
    option("--mix", nargs="+", default=[], metavar="FIELD=VALUE",
           help="settings of new mixtures, as for synthesize --set"),
    option("--kept-epochs", type=int, default=1, metavar="N",
           help="use each new mixture for N epochs; with 3, a third of each epoch's mixtures are new"),
    option("--out", required=True, metavar="RUN", help="the run's folder"),
    ALARMS_PER_HOUR,
    set_option("fields of the preset, such as training.epochs=3"),
    PLUGIN,
    option("--pretrained", metavar="RUN", help="begin with the weights of this run, except for tasks that it lacks"),
    option("--resume", action="store_true", help="go on from the last finished epoch"),
    option("--mixed-precision", action="store_true", help="use float16 on a GPU"),
    option("--xla", action="store_true", help="compile by XLA; slower for several tasks on a CPU"),
    option("--mirrored", action="store_true", help="use all GPUs of this machine"),
    option("--data-service", metavar="HOST:PORT", help="let the workers of tf.data's service make batches, by the "
           "address of its dispatcher; with several, their order is another each time"),
    option("--deterministic", action="store_true", help="the same weights to the bit; slower on a GPU"),
    lambda parser: parser.set_defaults(seed=0),
    group=TRAIN,
    examples=("train yamnet --soundbank sounds/ --out runs/mine",
              "train mcmt_2_small --data data/ --out runs/new --set training.epochs=3"),
    interrupted="finished epochs are kept: give the same command with --resume")
def train(arguments):
    """Train a preset on a corpus, or on new mixtures every epoch."""
    from polysed_keras.specs import get_preset, load_plugin, set_fields
    for path in arguments.plugin:
        load_plugin(path)
    experiment = set_fields(get_preset(arguments.preset), arguments.set)
    data, mixing, recipe = _training_data(arguments, experiment)
    experiment = dataclasses.replace(experiment, name=" ".join([experiment.name, *arguments.mix]))
    import keras
    import tensorflow as tf

    from polysed_keras.display import MEASURE_NAMES, plot_training, save_figure
    from polysed_keras.training import run_experiment
    if arguments.mixed_precision:
        keras.mixed_precision.set_global_policy("mixed_float16")
    if arguments.deterministic:
        tf.config.experimental.enable_op_determinism()
    history = run_experiment(experiment, data, arguments.out, mixing=mixing, pretrained=arguments.pretrained,
                             plugins=arguments.plugin, resume=arguments.resume, jit_compile=arguments.xla,
                             strategy=tf.distribute.MirroredStrategy() if arguments.mirrored else None,
                             data_service=arguments.data_service)
    measure = experiment.measure
    figure = plot_training(history, title=experiment.name, measure=measure)
    save_figure(figure, pathlib.Path(arguments.out) / "training.png")
    best = history.loc[history[measure].idxmax()]
    print(f"{arguments.out}: best epoch {int(best.epoch)} of {len(history)}, validation {MEASURE_NAMES[measure]} "
          f"{best[measure]:.4f}")
    if recipe == "field":
        calibrate_and_expect(arguments.out, data, arguments.alarms_per_hour)


def calibrate_and_expect(run, data, alarms_per_hour, negatives=None):
    """Calibrate a run and print what to expect of it, on recordings that did not calibrate it."""
    from polysed_keras.evaluation import calibrate_run, expect_alarms, format_expectation
    calibrate_run(run, data, negatives=negatives, alarms_per_hour=alarms_per_hour)
    print(format_expectation(expect_alarms(run, data)))


def _training_data(arguments, experiment):
    """Return the corpus's folder, how training mixtures are drawn if they are new in every epoch, and the recipe."""
    if not arguments.soundbank:
        if not arguments.data:
            raise InputError("train: expected --data DATA, --soundbank DIR or both. Received: neither.")
        if arguments.negatives:
            raise InputError("--negatives: expected --soundbank beside it, which mixtures are made of. Received: none. "
                             "Give it to polysed synthesize, which makes DATA.")
        return arguments.data, None, None
    from polysed_keras.synthesis import MIXTURES as NUMBERS, ensure_mixtures
    from polysed_keras.training import resolve_mixing
    data, numbers = arguments.data, arguments.mixtures
    kept = experiment.model.freeze_backbone  # its maps of all mixtures are computed once
    recipe = None if data else arguments.recipe or ("field" if kept else "paper")
    if recipe == "field":  # calibrated after the training, before which a mistake has to be told
        from polysed_keras.evaluation import check_alarms_per_hour
        check_alarms_per_hour(arguments.alarms_per_hour)
    if not data:
        data, numbers = str(pathlib.Path(arguments.out) / "data"), numbers or NUMBERS[recipe]
        ensure_mixtures(arguments.soundbank, data, recipe=recipe, mixtures=numbers if kept else (0, *numbers[1:]),
                        negatives=arguments.negatives, duration=arguments.duration, folds=arguments.folds,
                        settings=[f"sample_rate={experiment.features.sample_rate}", *arguments.mix],
                        seed=arguments.seed, progress=True)
        if kept:
            return data, None, recipe
    mixing = resolve_mixing(arguments.soundbank, data, numbers and numbers[0], arguments.mix, arguments.kept_epochs)
    if arguments.negatives:
        mixing = dataclasses.replace(mixing, spec=mixing.spec.with_negatives(arguments.negatives))
    return data, mixing, recipe


@command("calibrate",
    option("run", metavar="RUN", help="the run's folder"),
    option("--data", help="folder of the corpus; default: RUN/data"),
    option("--negatives", metavar="DIR", help="recordings without the labels, whose false events count too"),
    ALARMS_PER_HOUR,
    group=TRAIN,
    examples=("calibrate runs/mine --negatives recordings_of_the_place/",
              "calibrate runs/new --data data/ --alarms-per-hour 5"))
def calibrate(arguments):
    """Choose post-processing, and thresholds that keep to a number of false events per hour, for detect and exports."""
    calibrate_and_expect(arguments.run, arguments.data, arguments.alarms_per_hour, arguments.negatives)


@command("evaluate",
    option("runs", nargs="+", metavar="RUN", help="the runs' folders"),
    option("--data", required=True, help="folder of the corpus"),
    option("--partition", choices=("train", "validate", "test"), default="test",
           help="on which recordings the runs are judged"),
    option("--negatives", metavar="DIR", help="recordings without the labels, whose false alarms count too"),
    option("--time-resolution", type=float, default=0.02, metavar="SECONDS", help="of the scores; default: 0.02"),
    option("--scores", metavar="DIR", help="write posteriors, reference and durations, for polysed score"),
    option("--out", metavar="DIR", help="write the tables as CSV and JSON too"),
    group=JUDGE,
    examples=("evaluate runs/multilabel runs/mcmt_8 --data data/",
              "evaluate runs/mine --data data/ --negatives recordings_of_the_place/ --out report/"),
    interrupted="no tables were written")
def evaluate(arguments):
    """Compare runs in tables of scores with intervals."""
    from polysed_keras.evaluation import (
        evaluate_runs,
        format_tables,
        report_tables,
        warn_without_background,
        write_report,
    )
    results = evaluate_runs(arguments.runs, arguments.data, arguments.partition, negatives=arguments.negatives,
                            time_resolution=arguments.time_resolution, scores=arguments.scores)
    tables = write_report(results, arguments.out) if arguments.out else report_tables(results)
    print(format_tables(*tables))
    if not arguments.negatives:
        warn_without_background(results, arguments.data)


@command("score",
    option("reference", metavar="REFERENCE", help="a file or folder of event lists, in a format that import reads"),
    option("estimated", nargs="+", metavar="ESTIMATED", help="such a file or folder, or a folder of sed_scores_eval's "
           "scores, per system; differences are to the first one"),
    one_of(option("--durations", metavar="FILE", help="lines of a file name, a tab and seconds"),
           option("--audio", metavar="DIR", help="folder of the recordings, whose lengths are measured")),
    option("--labels", nargs="+", help="only these; default: all in the lists"),
    option("--segment", type=float, default=1.0, metavar="SECONDS", help="of segment-based scores; default: 1"),
    option("--time-resolution", type=float, default=0.02, metavar="SECONDS",
           help="of frame-based scores and false events; default: 0.02"),
    option("--collar", type=float, default=0.2, metavar="SECONDS", help="of event-based scores; default: 0.2"),
    option("--offset-share", type=float, default=0.5, metavar="SHARE",
           help="of an event's length, by which its offset may be away if that is more than the collar; default: 0.5"),
    option("--intersection", nargs=2, type=float, default=(0.5, 0.5), metavar=("DTC", "GTC"),
           help="shares of an estimated event, and of a reference event, to be covered; default: 0.5 0.5"),
    option("--threshold", type=float, default=0.5, help="above which scores are events; default: 0.5"),
    option("--resamples", type=int, default=1000, metavar="N",
           help="of the bootstrap, a tenth of them for PSDS and the like; default: 1000"),
    option("--out", metavar="DIR", help="write all scores into scores.csv and scores.json, and "
           "pictures: f_scores.png, and of scores roc.png and psd_roc.png"),
    group=JUDGE,
    examples=("score reference/ mine/ theirs/ --audio recordings/",
              "score reference.tsv estimated.tsv --labels dog cat --out scores/"))
def score(arguments):
    """Score event lists of any program against a reference, with intervals and differences."""
    from polysed_keras.evaluation import (
        Matching,
        calibration_table,
        can_score_files,
        format_tables,
        load_event_lists,
        score_file_tables,
        score_tables,
        summarize_tables,
        write_scores,
    )
    matching = Matching(arguments.time_resolution, arguments.segment, arguments.collar, arguments.offset_share,
                        *arguments.intersection)
    lists = load_event_lists(arguments.reference, arguments.estimated, durations=arguments.durations,
                             audio=arguments.audio, labels=arguments.labels, threshold=arguments.threshold)
    expect(arguments.resamples >= 10, "--resamples", "at least 10", arguments.resamples)
    tables = score_tables(lists, matching, resamples=arguments.resamples)
    if lists.scores:
        tables.append(calibration_table(lists, resamples=arguments.resamples))
        tables += score_file_tables(lists, matching, resamples=arguments.resamples // 10) if can_score_files() else []
    print(format_tables(*summarize_tables(tables)))
    if lists.durations is None:
        print("\nfalse events per hour: give --durations or --audio")
    if lists.scores and not can_score_files():
        print("\nPSDS, piPSDS, mpAUC and F1 at the best thresholds: pip install 'polysed_keras[scores]'")
    if arguments.out:
        write_scores(tables, lists, matching, arguments.out)
        _draw_scores(tables, lists, matching, pathlib.Path(arguments.out))


def _draw_scores(tables, lists, matching, out):
    from polysed_keras.display import plot_f_scores, plot_psd_roc, plot_roc, save_figure
    from polysed_keras.evaluation import can_score_files, psd_roc_curves, roc_curves
    save_figure(plot_f_scores(tables), out / "f_scores.png")
    if lists.scores and can_score_files():
        title = f"segments of {matching.segment:g} s, mean over labels"
        save_figure(plot_roc(roc_curves(lists, matching), title=title), out / "roc.png")
        save_figure(plot_psd_roc(psd_roc_curves(lists)), out / "psd_roc.png")


@command("decompose",
    option("data", metavar="DATA", help="folder of the corpus"),
    option("--corpus", metavar="NAME", default="tut_sed_synthetic_2016",
           help="whose layout it has, such as urban_sed, and all mixtures and imports"),
    option("--num-tasks", type=int, required=True, metavar="N", help="number of groups"),
    option("--strategy", choices=DECOMPOSITIONS, default="contiguous", help="how labels are put together"),
    option("--run", help="for the strategy confusion: group labels that this run confuses in validation"),
    option("--seed", type=int, default=0, help="of the strategy random"),
    option("--out", metavar="FILE.json", help="write the groups, for train --set tasks.groups=FILE.json"),
    group=SEARCH,
    examples=("decompose data/ --num-tasks 4",
              "decompose data/ --num-tasks 4 --strategy confusion --run runs/new --out groups.json"))
def decompose(arguments):
    """Divide the labels of a corpus into groups, one per task."""
    from polysed_keras.evaluation import find_groups
    from polysed_keras.files import write_json
    from polysed_keras.specs import Decomposition
    spec = Decomposition(arguments.num_tasks, arguments.strategy, "multi_label", seed=arguments.seed)
    groups = find_groups(arguments.data, spec, arguments.run, corpus=arguments.corpus)
    for group in groups:
        print(", ".join(group))
    if arguments.out:
        write_json(groups, arguments.out)


@command("widen",
    option("preset", metavar="PRESET", help="such as multilabel_small"),
    option("--like", required=True, metavar="PRESET", help="the preset whose cost to reach, such as mcmt_8_small"),
    option("--num-labels", type=int, required=True, metavar="N", help="number of labels of the corpus"),
    group=SEARCH,
    examples=("widen multilabel --like mcmt_8 --num-labels 16",
              "widen multilabel_small --like mcmt_8_small --num-labels 10"))
def widen(arguments):
    """Find the widths at which a preset costs as much as another."""
    from polysed_keras.models import format_widening, with_num_labels
    from polysed_keras.specs import get_preset
    print(format_widening(*(with_num_labels(get_preset(name), arguments.num_labels)
                            for name in (arguments.preset, arguments.like))))


@command("sweep",
    option("name", choices=SWEEPS, help="the experiment"),
    option("--data", required=True, help="folder with both corpora of clips"),
    option("--out", required=True, help="folder for runs/, NAME.csv and NAME.png; finished trainings are not repeated"),
    option("--points", nargs="+", help="values to try; default: the paper's"),
    option("--seeds", type=int, default=4, metavar="N", help="number of trainings per point"),
    option("--small", action="store_true", help="use the presets for a CPU"),
    option("--k", type=int, default=35, help="number of events, or as many as there are"),
    option("--choice", choices=EVENT_CHOICES, default="random", help="which events are taken"),
    option("--tagger", metavar="MODEL", help="SavedModel that ranks the events in the scenes, such as YAMNet"),
    option("--endpoint", help="the tagger's output that holds its scores; default: found out"),
    set_option("fields of all trainings, as for train --set"),
    group=PAPERS,
    examples=("sweep alpha --data clips/ --out sweeps/",
              "sweep hours --data clips/ --out sweeps/ --small --seeds 2"),
    interrupted="finished trainings are kept: the same command goes on")
def sweep(arguments):
    """Run one of paper 2's experiments: alpha, events, hours, k, transfer or regularizers."""
    from polysed_keras.papers import build_study, format_sweep, parse_values, run_sweep, sweep_alpha
    values = parse_values(arguments.name, arguments.points)
    study = build_study(arguments.data, values, small=arguments.small, k=arguments.k, choice=arguments.choice,
                        tagger=arguments.tagger, endpoint=arguments.endpoint, assignments=arguments.set)
    seeds = tuple(range(arguments.seeds))
    table = run_sweep(arguments.name, study, values, arguments.data, arguments.out, seeds=seeds)
    print(format_sweep(table))
    if arguments.name == "alpha":
        print(f"balanced alpha (equation 3), from the two baselines' validation losses: {sweep_alpha(table):.3f}")


@command("tune",
    option("search", metavar="SEARCH", help="a JSON file with preset, ranges, objective, direction, algorithm, "
           "trials, epochs and seeds"),
    option("--data", required=True, help="folder of the corpus"),
    option("--out", required=True, help="folder for trials.csv, trials.png, best.json and more; finished trials are "
           "not repeated"),
    option("--workers", type=int, default=1, metavar="N", help="processes that train trials side by side; for "
           "other machines see KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT"),
    option("--export", action="store_true", help="train the best values with all seeds and export the best network"),
    set_option("fields of all trials, as for train --set"),
    group=SEARCH,
    examples=("tune search.json --data data/ --out searches/mine",
              "tune search.json --data data/ --out searches/mine --workers 2 --export"),
    interrupted="finished trials are kept: the same command goes on")
def tune(arguments):
    """Search hyperparameters, or go on with a search."""
    from polysed_keras.search import read_search
    search = read_search(arguments.search, arguments.set)
    from polysed_keras.search import export_best, run_search
    table = run_search(search, arguments.data, arguments.out, workers=arguments.workers)
    if table is not None and arguments.export:
        print(export_best(search, arguments.data, arguments.out))


@command("presets",
    option("--costs", action="store_true", help="count weights, multiply-adds per second of audio, and estimate the "
           "memory of a training with batches of 32, for 16 labels, or 10 scenes and 35 events; takes seconds"),
    group=BEGIN,
    examples=("presets",
              "presets --costs"))
def presets(arguments):
    """List the presets."""
    from polysed_keras.specs import PRESETS
    if arguments.costs:
        print(f"{'':29} {'weights':>12} {'multiply-adds / s':>18} {'GB to train':>12}", flush=True)
    for name, experiment in PRESETS.items():
        if arguments.costs:
            from polysed_keras.models import experiment_cost, with_example_labels
            cost = experiment_cost(with_example_labels(experiment))
            memory = f"{cost.training_memory() / 1e9:.1f}" if experiment.learns else "-"
            print(f"{name:29} {cost.weights:12,} {cost.multiply_adds:18,.0f} {memory:>12}", flush=True)
            continue
        tasks = experiment.tasks
        outputs = (f"{len(tasks)} {' + '.join(task.encoding for task in tasks)}" if isinstance(tasks, tuple)
                   else f"{tasks.num_tasks} {tasks.encoding}")
        print(f"{name:29} {experiment.model.backbone:12} {experiment.model.head:10} {outputs:27} "
              f"{experiment.reference}")


@command("demo", option("--out", default="demo", metavar="DIR", help="folder of all that is made"),
    group=BEGIN,
    examples=("demo",
              "demo --out /tmp/demo"),
    interrupted="what is finished is kept: the same command goes on")
def demo(arguments):
    """Run the whole chain in minutes, on sounds that the program makes."""
    from polysed_keras.papers import run_demo
    run_demo(arguments.out)
