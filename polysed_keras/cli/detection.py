"""Commands that export networks, serve them and detect with them."""
import dataclasses
import pathlib
import re
import sys

from polysed_keras.cli.parsers import (
    CORRECT,
    DETECTION_FORMATS,
    EVENT_OPTIONS,
    MODEL,
    RUNTIME,
    RUNTIMES,
    USE,
    command,
    one_of,
    option,
)
from polysed_keras.errors import InputError, expect


@command("detect",
    option("audio", nargs="+", metavar="AUDIO", help="files and folders"),
    MODEL,
    option("--tags", action="store_true", help="label each recording as a whole, as models of clips do, by the mean of "
           "its posteriors; --threshold is of this mean, default: 0.5"),
    one_of(option("--out", metavar="DIR", help="write a file per recording into this folder, not to the terminal"),
           option("--table", metavar="FILE", help="write one file for all recordings; not for audacity and textgrid, "
                  "whose files hold one recording")),
    option("--format", choices=(*DETECTION_FORMATS, "scores"), default="tsv",
           help="scores: posteriors of all frames, as sed_scores_eval and polysed score read them; default: tsv"),
    option("--plot", action="store_true",
           help="draw a picture of each recording and its events too, NAME.png beside the file of events"),
    *EVENT_OPTIONS,
    RUNTIME,
    option("--workers", type=int, default=1, metavar="N",
           help="processes that detect side by side, for many short recordings; default: 1, which takes all cores for "
           "long ones"),
    option("--scheduler", metavar="tcp://HOST:PORT",
           help="a Dask scheduler, whose workers detect; they must see the same files and have this package"),
    option("--server", metavar="HOST:PORT",
           help="ask a TensorFlow Serving that has --model, by gRPC, or by REST at http://HOST:PORT"),
    option("--timeout", type=float, default=60.0, metavar="SECONDS",
           help="how long to wait for the server's answer, and for a server that is unavailable"),
    group=USE,
    examples=("detect street.wav",
              "detect recordings/ --model saved_models/mine --alarms-per-hour 5 --out events/"),
    interrupted="files that were written are whole: the same command goes on with the other recordings")
def detect(arguments):
    """Detect events, or label clips, in audio files."""
    from polysed_keras.audio import find_audio
    from polysed_keras.files import check_writable
    paths = find_audio(arguments.audio)
    if arguments.out:
        check_writable(arguments.out)
        _check_stems(paths)
    if arguments.table:
        _check_table(arguments)
    if arguments.plot:
        expect(arguments.out and arguments.format != "scores", "--plot", "--out, and a format of events",
               arguments.format if arguments.out else "no --out", "Pictures stand beside the files of events.")
    request = _request(arguments)
    if arguments.scheduler:  # Its workers have other current folders. A server's model may be a name alone.
        request = dataclasses.replace(request, out=request.out and str(pathlib.Path(request.out).absolute()),
                                      model=request.model if request.server else str(
                                          pathlib.Path(request.model).absolute()))
        paths = [path.absolute() for path in paths]
    from polysed_keras.serving import open_detector
    detector = open_detector(request)
    tagging, mistakes, table = detector.clip_level or arguments.tags, [], []
    _check_options(arguments, tagging)
    try:
        for path, found in _detected(request, paths, arguments):
            if isinstance(found, InputError):
                mistakes.append(str(found) if str(path) in str(found) else f"{path}: {found}")
            elif arguments.table:
                from polysed_keras.serving import as_detected
                table.append(as_detected(found, path, tagging, arguments.format))
            else:
                _print_found(found, path)
    except BaseException:
        print(*mistakes, sep="\n", end="\n" * bool(mistakes), file=sys.stderr)
        raise
    finally:  # an interrupted detection leaves a table of what it has found
        if table:
            _write_table(table, arguments)
    if mistakes:
        raise InputError("\n".join(mistakes))


def _request(arguments):
    from polysed_keras.export import default_model
    from polysed_keras.serving import Request
    expect(arguments.server is None or arguments.runtime is None, "--runtime", "none with --server, which has its own",
           arguments.runtime)
    expect(arguments.workers >= 1, "--workers", "at least 1", arguments.workers)
    return Request(str(arguments.model or default_model()), **{field: getattr(arguments, field) for field in (
        "runtime", "server", "timeout", "tags", "threshold", "alarms_per_hour", "min_duration", "out",
        "format", "plot")}, labels=arguments.labels and tuple(arguments.labels)).with_weights()


def _detected(request, paths, arguments):
    """Yield (path, result) of serving.detect_recordings for what is not there yet, under a bar in a terminal."""
    from polysed_keras.progress import progress_bar
    from polysed_keras.serving import detect_recordings, open_detector, unfinished
    missing = unfinished(request, paths) if request.out else paths
    if len(missing) < len(paths):
        print(f"{len(paths) - len(missing)} of {len(paths)} recordings are detected already, by the same model and "
              f"options; their files in {request.out} stay", file=sys.stderr)
    number, seconds, done, sizes = 0, 0.0, 0, [_size(path) for path in missing]

    def show(size, heard=0.0):
        bar.set_postfix_str(f"{number} of {len(missing)} recordings, {(seconds + heard) / 3600:.1f} h", refresh=False)
        bar.update(done + size - bar.n)

    def show_part(heard):
        if length := _seconds(missing[number]):
            show(sizes[number] * min(1.0, heard / length), heard)

    with progress_bar(total=sum(sizes), delay=1, leave=False,
                      bar_format="{percentage:3.0f}%|{bar}| {postfix} [{elapsed}<{remaining}]") as bar:
        # If this process detects, in one recording after the other. The detector is kept for the next request.
        alone = not bar.disable and arguments.workers == 1 and arguments.scheduler is None
        open_detector(request).progress = show_part if alone else None
        results = detect_recordings(request, missing, workers=arguments.workers, scheduler=arguments.scheduler)
        for (path, found), size in zip(results, sizes):
            number += 1
            bar.clear()
            yield path, found
            done += size
            if not bar.disable:
                seconds += _seconds(path)
                show(0)


def _size(path):
    try:
        return path.stat().st_size
    except OSError:  # It is told when it is opened.
        return 0


def _seconds(path):
    from polysed_keras.audio import audio_info
    try:
        return audio_info(path).duration or 0.0
    except InputError:
        return 0.0


def _check_options(arguments, tagging):
    expect(not tagging or arguments.alarms_per_hour is None, "--alarms-per-hour", "none for tags, which are no events",
           arguments.alarms_per_hour, "Give --threshold.")
    if arguments.format == "scores":
        expect(arguments.out and not tagging, "--format scores", "--out, and a model and options that detect events",
               "others", "A file of scores holds the posteriors of all frames of a recording.")


def event_arguments(arguments):
    """Return the arguments of Detector.detect that EVENT_OPTIONS gave."""
    return {name: value for name in ("threshold", "alarms_per_hour", "labels", "min_duration")
            if (value := getattr(arguments, name)) is not None}


def _check_stems(paths):
    stems = {}
    for path in paths:
        if stems.setdefault(path.stem, path) != path:
            raise InputError(f"{stems[path.stem]} and {path}: expected different names, because both would be written "
                             f"to {path.stem}. Detect them into different folders.")


def _check_table(arguments):
    from polysed_keras.events import TABLE_FORMATS
    from polysed_keras.files import check_writable
    expect(arguments.format in TABLE_FORMATS, "--table", "a format whose files hold several recordings",
           arguments.format, "Give --out DIR, for a file per recording.")
    expect(not pathlib.Path(arguments.table).is_dir(), "--table", "a file", arguments.table)
    check_writable(pathlib.Path(arguments.table).parent)


def _write_table(table, arguments):
    from polysed_keras.events import write_table
    write_table(table, arguments.table, arguments.format)
    print(f"{len(table)} recordings: {sum(len(detected.events) for detected in table)} events -> {arguments.table}")


def _print_found(found, path):
    """Print the lines that say what was written, or a line per event or clip."""
    if isinstance(found, str):
        print(found)
        return
    name = re.sub(r"[\0-\x1f\x7f]", lambda found: repr(found[0])[1:-1], str(path))  # A tab would be another column.
    for row in found.itertuples(index=False):
        print(name, *(f"{value:.3f}" if isinstance(value, float) else value for value in row), sep="\t")


@command("listen",
    option("source", nargs="?", choices=("microphone", "-"), default="microphone",
           help="- reads 16-bit PCM from stdin: a WAV file, or raw samples with --rate"),
    MODEL,
    option("--rate", type=int, metavar="HZ", help="rate of raw samples, or of the microphone; default: its own"),
    option("--channels", type=int, metavar="N", help="channels of raw samples, which are averaged; default: 1"),
    option("--device", help="microphone: number or part of its name, as `python -m sounddevice` lists them"),
    RUNTIME,
    *EVENT_OPTIONS,
    group=USE,
    examples=("listen",
              "listen - --model runs/mine < street.wav"))
def listen(arguments):
    """Print the events of a microphone or a pipe as they end, until Ctrl-C."""
    from polysed_keras.audio import open_microphone, open_pipe, resample_blocks, until_interrupted
    if arguments.source == "-":
        rate, blocks = open_pipe(getattr(sys.stdin, "buffer", None), arguments.rate, arguments.channels)
    else:
        rate, blocks = open_microphone(arguments.rate, arguments.device)
    from polysed_keras.detection import EventStream
    from polysed_keras.serving import load_detector
    detector = load_detector(arguments.model, runtime=arguments.runtime)
    stream = EventStream(detector, **event_arguments(arguments))
    print(f"listening; an event is printed at most {stream.latency:.2f} s after its end, and what the network takes",
          file=sys.stderr, flush=True)
    for block in resample_blocks(until_interrupted(blocks), rate, detector.sample_rate):
        _print_events(stream.feed(block))
    _print_events(stream.close())


def _print_events(events):
    for onset, offset, label, confidence in events:
        print(f"{onset:.3f}", f"{offset:.3f}", label, f"{confidence:.3f}", sep="\t", flush=True)


@command("export",
    option("run", metavar="RUN", help="a run, or the preset yamnet_audioset, which needs no training"),
    option("--out", required=True, metavar="saved_models/NAME", help="the next version is made in this folder"),
    option("--runtimes", nargs="+", choices=RUNTIMES, default=[],
           help="convert it for these too, into VERSION/runtimes/, with a report on what they lose"),
    option("--data", help="corpus on whose test recordings the report is made; default: noise and tones"),
    group=USE,
    examples=("export runs/mine --out saved_models/mine",
              "export runs/mine --out saved_models/mine --runtimes litert_int8 onnx"))
def export(arguments):
    """Export a run as a SavedModel, and for other runtimes."""
    from polysed_keras.export import export_run, export_runtimes, format_parity
    if not arguments.runtimes:
        print(export_run(arguments.run, arguments.out))
        return
    version, report = export_runtimes(arguments.run, arguments.out, arguments.runtimes, arguments.data)
    print(version, format_parity(report), sep="\n")


@command("serve-config",
    option("models", metavar="MODELS", help="folder of exports, such as saved_models/, with NAME/VERSION in it"),
    option("--out", required=True, metavar="DIR", help="the new folder"),
    option("--max-seconds", type=int, metavar="N",
           help="longest audio of a file; default: the length into which clients cut longer ones"),
    option("--max-batch", type=int, default=4, metavar="N", help="most files per request, and per batch of requests"),
    option("--max-queue", type=int, default=16, metavar="N", help="most batches that wait"),
    option("--timeout", type=int, default=120, metavar="SECONDS", help="longest time for an answer"),
    group=USE,
    examples=("serve-config saved_models/ --out deployment/",
              "serve-config saved_models/ --out deployment/ --max-batch 8"))
def serve_config(arguments):
    """Write the files with which TensorFlow Serving, compose and Kubernetes serve exports."""
    from polysed_keras.serving import write_deployment
    for path in write_deployment(arguments.models, arguments.out, arguments.max_seconds, arguments.max_batch,
                                 arguments.max_queue, arguments.timeout):
        print(path)


@command("view",
    option("audio", metavar="AUDIO", help="a file"),
    MODEL,
    option("--reference", metavar="TSV", help="reference events: lines of onset, offset (seconds) and label"),
    option("--out", required=True, metavar="PAGE", help="the page, such as page.html"),
    group=CORRECT,
    examples=("view street.wav --out street.html",
              "view street.wav --model runs/mine --reference street.tsv --out street.html"))
def view(arguments):
    """Write an HTML page to look at and listen to the events of a recording."""
    from polysed_keras.audio import find_audio
    (audio, *others), out = find_audio([arguments.audio]), pathlib.Path(arguments.out)
    if others:
        raise InputError(f"{arguments.audio}: expected one recording. Received: {1 + len(others)}. "
                         "View each by itself.")
    check_page(out)
    from polysed_keras.display import write_page
    from polysed_keras.serving import load_detector
    write_page(audio, load_detector(arguments.model), out, reference=arguments.reference)
    print(f"{audio} -> {out} ({out.stat().st_size / 1e6:.1f} MB)")


def check_page(out):
    """Raise InputError unless a page can be written to a path."""
    from polysed_keras.files import check_writable
    if out.is_dir():
        raise InputError(f"--out: expected a file, such as {out / 'page.html'}. Received: a folder.")
    check_writable(out.parent)
