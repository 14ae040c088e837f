"""Commands that make corpora and check them."""
import pathlib

from polysed_keras.cli.parsers import MIXTURES


def synthesize(arguments):
    """Write a corpus of mixtures from a soundbank, or again from the instructions of one."""
    import tempfile

    from polysed_keras.datasets import format_statistics
    from polysed_keras.files import check_new_directory
    from polysed_keras.synthesis import corpus as corpora
    again = corpora.read_instructions(arguments.instructions) if arguments.instructions else {}
    spec = soundscape_spec(arguments, arguments.set)
    check_new_directory(arguments.out)
    with tempfile.TemporaryDirectory() as temporary:
        source = _source(arguments, again)
        folder = _soundbank_folder(source, pathlib.Path(temporary) / "soundbank")
        if again:
            statistics = corpora.rebuild(arguments.instructions, folder, arguments.out, progress=True)
        else:
            statistics = write_mixtures(arguments, folder, source, arguments.out, arguments.mixtures or MIXTURES, spec)
    print(format_statistics(statistics))


def _source(arguments, again):
    """What instructions say of the soundbank: its folder, or the seed of procedural sounds."""
    if arguments.soundbank or again:
        return arguments.soundbank or again["soundbank"]
    if arguments.procedural:
        return {"procedural_seed": arguments.seed}
    from polysed_keras.errors import InputError
    raise InputError("synthesize: expected --soundbank DIR, --procedural or --from CORPUS. Received: none of them.")


def _soundbank_folder(source, temporary):
    if not isinstance(source, dict):
        return source
    from polysed_keras.synthesis import write_soundbank
    return write_soundbank(temporary, seed=source["procedural_seed"])


def soundscape_spec(arguments, assignments):
    """The SoundscapeSpec of a command's arguments."""
    from polysed_keras.specs import set_spec_fields
    from polysed_keras.synthesis import SoundscapeSpec
    return set_spec_fields(SoundscapeSpec(duration_seconds=arguments.duration), assignments)


def write_mixtures(arguments, folder, source, out, mixtures, spec):
    """Write a corpus of a soundbank's mixtures; its statistics."""
    from polysed_keras.synthesis import corpus as corpora, partition_soundbank, read_soundbank
    partitions = partition_soundbank(read_soundbank(folder), folds=arguments.folds, seed=arguments.seed)
    return corpora.synthesize(partitions, out, spec, tuple(mixtures), seed=arguments.seed, progress=True,
                              origin={"soundbank": source, "folds": arguments.folds})


def import_corpus(arguments):
    """Write a corpus from one's own annotated recordings."""
    from polysed_keras.datasets import format_statistics, import_recordings
    report = import_recordings(arguments.audio, arguments.annotations, arguments.out, format=arguments.format,
                               labels=arguments.labels, partition=arguments.partition, seed=arguments.seed,
                               progress=True)
    print(format_statistics(report["partitions"]))


def standin(arguments):
    """Write a stand-in for paper 2's two corpora."""
    from polysed_keras.specs import set_spec_fields
    from polysed_keras.synthesis import StandinSpec, format_report, make_standin_of
    spec = set_spec_fields(StandinSpec(), arguments.set)
    print(format_report(make_standin_of(arguments.soundbank, arguments.out, spec, folds=arguments.folds,
                                        seed=arguments.seed, progress=True)))


def check(arguments):
    """Say what of a corpus is missing, corrupt, short or at another rate; exit code 1 where something is."""
    from polysed_keras.datasets import check_corpus, format_check
    report = check_corpus(arguments.corpus, arguments.data, progress=True)
    print(format_check(report))
    if arguments.out:
        from polysed_keras.files import write_json
        write_json(report, arguments.out)
    return 0 if report["ok"] else 1
