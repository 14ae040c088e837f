"""Commands that export networks, serve them and detect with them."""
import pathlib
import sys


def export(arguments):
    """Export a run as a SavedModel, and for other runtimes."""
    from polysed_keras.export import export_run
    if not arguments.runtimes:
        print(export_run(arguments.run, arguments.out))
        return
    from polysed_keras.export import check_runtimes, export_runtimes, format_parity
    check_runtimes(arguments.runtimes)
    print(version := export_run(arguments.run, arguments.out))
    print(format_parity(export_runtimes(arguments.run, version, arguments.runtimes, arguments.data)))


def detect(arguments):
    """Detect events, or label clips, in audio files and folders of them."""
    from polysed_keras.audio import find_audio
    from polysed_keras.errors import InputError
    from polysed_keras.files import check_writable
    paths = find_audio(arguments.audio)
    if arguments.out:
        check_writable(arguments.out)
        _check_stems(paths)
    detector = _detector(arguments)
    mistakes = []
    for path in paths:
        try:
            if detector.clip_level:
                threshold = 0.5 if arguments.threshold is None else arguments.threshold
                found = detector.tag(path, threshold=threshold, labels=arguments.labels)
            else:
                found = detector.detect(path, threshold=arguments.threshold, labels=arguments.labels,
                                        min_duration=arguments.min_duration)
        except InputError as error:
            mistakes.append(str(error) if str(path) in str(error) else f"{path}: {error}")
            continue
        _write_found(found, path, arguments, detector.clip_level)
    if mistakes:
        raise InputError("\n".join(mistakes))


def _detector(arguments):
    if not arguments.server:
        from polysed_keras.serving import load_detector
        return load_detector(arguments.model)
    from polysed_keras.export import default_model
    from polysed_keras.serving import connect
    return connect(arguments.server, arguments.model or default_model(), timeout=arguments.timeout)


def _check_stems(paths):
    from polysed_keras.errors import InputError
    stems = {}
    for path in paths:
        if stems.setdefault(path.stem, path) != path:
            raise InputError(f"{stems[path.stem]} and {path}: expected different names, because both would be written to "
                             f"{path.stem}. Detect them into different folders.")


def _write_found(found, path, arguments, clip_level):
    from polysed_keras.events import DETECTION_FORMATS, write_detections, write_tags
    if arguments.out:
        target = pathlib.Path(arguments.out) / (path.stem + DETECTION_FORMATS[arguments.format])
        (write_tags if clip_level else write_detections)(found, target, arguments.format)
        print(f"{path}: {len(found)} {'clips' if clip_level else 'events'} -> {target}")
        return
    for row in found.itertuples(index=False):
        print(path, *(f"{value:.3f}" if isinstance(value, float) else value for value in row), sep="\t")


def listen(arguments):
    """Print events as they close, of a microphone or of what is piped in, until it ends or Ctrl-C."""
    from polysed_keras.audio import open_microphone, open_pipe, resample_blocks, until_interrupted
    if arguments.source == "-":
        rate, blocks = open_pipe(sys.stdin.buffer, arguments.rate, arguments.channels)
    else:
        rate, blocks = open_microphone(arguments.rate, arguments.device)
    from polysed_keras.detection import EventStream
    from polysed_keras.serving import load_detector
    detector = load_detector(arguments.model)
    stream = EventStream(detector, threshold=arguments.threshold, labels=arguments.labels,
                         min_duration=arguments.min_duration)
    print(f"listening; an event is printed at most {stream.latency:.2f} s after its end, and what the network takes",
          file=sys.stderr, flush=True)
    for block in resample_blocks(until_interrupted(blocks), rate, detector.sample_rate):
        _print_events(stream.feed(block))
    _print_events(stream.close())


def _print_events(events):
    for onset, offset, label, confidence in events:
        print(f"{onset:.3f}", f"{offset:.3f}", label, f"{confidence:.3f}", sep="\t", flush=True)


def serve_config(arguments):
    """Write what TensorFlow Serving and the containers around it need to serve exported models."""
    from polysed_keras.serving import write_deployment
    for path in write_deployment(arguments.models, arguments.out, arguments.max_seconds, arguments.max_batch,
                                 arguments.max_queue, arguments.timeout):
        print(path)


def view(arguments):
    """Write a page to look at and listen to the events of a recording."""
    from polysed_keras.audio import find_audio
    from polysed_keras.errors import InputError
    from polysed_keras.files import check_writable
    (audio, *others), out = find_audio([arguments.audio]), pathlib.Path(arguments.out)
    if others:
        raise InputError(f"{arguments.audio}: expected one recording. Received: {1 + len(others)}. View each by itself.")
    if out.is_dir():
        raise InputError(f"--out: expected a file, such as {out / 'page.html'}. Received: a folder.")
    check_writable(out.parent)
    from polysed_keras.display import write_page
    from polysed_keras.serving import load_detector
    write_page(audio, load_detector(arguments.model), out, reference=arguments.reference)
    print(f"{audio} -> {out} ({out.stat().st_size / 1e6:.1f} MB)")
