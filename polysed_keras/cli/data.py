"""Commands that make corpora and check them."""

from polysed_keras.cli.parsers import (
    ANNOTATION_FORMATS,
    CORPORA,
    DATA,
    FOLDS,
    MIXTURE_OPTIONS,
    PAPERS,
    PLUGIN,
    SOUNDBANK_OPTIONS,
    command,
    one_of,
    option,
    set_option,
)
from polysed_keras.errors import InputError


@command("synthesize",
    one_of(*SOUNDBANK_OPTIONS),
    option("--from", dest="instructions", metavar="CORPUS",
           help="make the mixtures of this corpus's soundscapes.json again, to the byte"),
    option("--out", required=True, metavar="DATA", help="folder of the new corpus"),
    option("--labels", nargs="+", help="of the soundbank, only these, in this order; default: all, sorted"),
    *MIXTURE_OPTIONS,
    set_option("fields of SoundscapeSpec, such as background=pink 'event_to_background_db=[6, 30]'"),
    option("--seed", type=int, default=0, help="of all that is drawn"),
    group=DATA,
    examples=("synthesize --soundbank sounds/ --out data/",
              "synthesize --procedural --mixtures 20 5 5 --duration 60 --out data/",
              "synthesize --soundbank ESC-50 --labels dog rain --recipe paper --folds 1,2 3 4 --out data/"))
def synthesize(arguments):
    """Make a corpus of mixtures from a soundbank."""
    from polysed_keras.datasets import format_statistics
    from polysed_keras.files import check_new_directory, temporary_folder
    from polysed_keras.synthesis import corpus as corpora, mix_soundbank, recipe_spec, write_soundbank
    again = corpora.read_instructions(arguments.instructions) if arguments.instructions else None
    check_new_directory(arguments.out)
    source = arguments.soundbank or again and again.soundbank
    if not source and not arguments.procedural:
        raise InputError("synthesize: expected --soundbank DIR, --procedural or --from CORPUS. Received: none of them.")
    source = source or {"procedural_seed": arguments.seed}
    recipe = arguments.recipe or ("field" if arguments.soundbank else "paper")
    recipe_spec(recipe, arguments.duration, arguments.set)  # A mistake is told before sounds are made, for minutes.
    with temporary_folder() as temporary:
        folder = source
        if isinstance(source, dict):  # of sounds that the program makes
            folder = write_soundbank(temporary / "soundbank", seed=source.get("procedural_seed", 0))
        if again:
            statistics = corpora.rebuild(arguments.instructions, folder, arguments.out, progress=True)
        else:
            statistics = mix_soundbank(folder, arguments.out, labels=arguments.labels, recipe=recipe,
                                       mixtures=arguments.mixtures, negatives=arguments.negatives,
                                       duration=arguments.duration, settings=arguments.set, folds=arguments.folds,
                                       seed=arguments.seed, source=source, progress=True)
    print(format_statistics(statistics))


@command("import",
    option("audio", metavar="AUDIO_DIR", help="folder of audio files"),
    option("annotations", metavar="ANNOTATIONS", help="a file or a folder, matched to audio by name"),
    option("--out", required=True, metavar="DATA", help="folder of the new corpus"),
    option("--format", choices=ANNOTATION_FORMATS, help="of the annotations; default: told by their content"),
    option("--label-column", metavar="NAME", help="column, TextGrid's tier or Label Studio's tag that holds the "
           "labels; default: the one with a usual name that is filled"),
    option("--encoding", metavar="NAME", help="of annotations that are not in UTF-8 or UTF-16, such as windows-1252"),
    option("--labels", nargs="+", help="only these, in this order; default: all, sorted"),
    option("--partition", metavar="FILE", help="lines of a file name, a tab, and train, validate or test; "
           "default: URBAN-SED's folders, else 60/20/20 %% of the recordings at random"),
    option("--seed", type=int, default=0, help="of the random partition"),
    group=DATA,
    examples=("import recordings/ annotations/ --out data/",
              "import recordings/ selections/ --format raven --label-column Species --out data/"))
def import_corpus(arguments):
    """Make a corpus of recordings that are annotated already."""
    from polysed_keras.datasets import format_statistics, import_recordings
    report = import_recordings(arguments.audio, arguments.annotations, arguments.out, format=arguments.format,
                               labels=arguments.labels, partition=arguments.partition, seed=arguments.seed,
                               progress=True, label_column=arguments.label_column, encoding=arguments.encoding)
    print(format_statistics(report["partitions"]))


@command("standin",
    one_of(*SOUNDBANK_OPTIONS, required=True),
    option("--out", required=True, metavar="DATA", help="folder of both new corpora"),
    FOLDS,
    set_option("fields of StandinSpec, such as scenes=8 k=10 correlation=1"),
    option("--seed", type=int, default=0, help="of all that is drawn"),
    group=PAPERS,
    examples=("standin --procedural --out clips/",
              "standin --soundbank ESC-50 --folds 1,2 3 4 --out clips/"))
def standin(arguments):
    """Make clips of scenes and of events that stand in for paper 2's corpora."""
    from polysed_keras.specs import set_spec_fields
    from polysed_keras.synthesis import StandinSpec, format_report, make_standin
    spec = set_spec_fields(StandinSpec(), arguments.set)
    print(format_report(make_standin(arguments.soundbank, arguments.out, spec, folds=arguments.folds,
                                     seed=arguments.seed, progress=True)))


@command("check",
    option("corpus", metavar="CORPUS", help=f"one of {', '.join(CORPORA)}, or the name of a plug-in's"),
    option("--data", required=True, metavar="DIR", help="folder of the corpus"),
    PLUGIN,
    option("--out", metavar="FILE", help="write the report with all names as JSON too"),
    group=DATA,
    examples=("check urban_sed --data URBAN-SED/",
              "check desed --data DESED/ --out report.json"))
def check(arguments):
    """Tell which files of a corpus are missing, corrupt, short or at another rate."""
    from polysed_keras.datasets import check_corpus, format_check
    from polysed_keras.specs import load_plugin
    for path in arguments.plugin:
        load_plugin(path)
    report = check_corpus(arguments.corpus, arguments.data, progress=True)
    print(format_check(report))
    if arguments.out:
        from polysed_keras.files import write_json
        write_json(report, arguments.out)
    return 0 if report["ok"] else 1
