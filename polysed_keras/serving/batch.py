"""Detect in many recordings: one after the other, in several processes, or on a Dask cluster."""
import atexit
import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import json
import multiprocessing
import os
import pathlib
import signal
from concurrent.futures.process import BrokenProcessPool

from polysed_keras.audio import audio_digest, audio_info
from polysed_keras.errors import InputError, expect
from polysed_keras.events import (
    DETECTION_FORMATS,
    LENGTH_FORMATS,
    Detected,
    tags_to_events,
    write_detections,
    write_score_file,
    write_tags,
)
from polysed_keras.export import version_directory
from polysed_keras.files import CHECKSUMS, file_digest, kept_workplace, parse_json, remove_leftovers
from polysed_keras.serving.detectors import load_detector
from polysed_keras.specs import EXPERIMENT

SCORES = "scores"  # format of Request: posteriors of all frames
RECORD = ".detected"  # folder in that of the outputs: finished.jsonl says which are there and of what
FINISHED = "finished.jsonl"
CONNECT_SECONDS = 10  # A scheduler that is not there is told after so long.


@dataclasses.dataclass(frozen=True)
class Request:
    """Request to detect in recordings: the model, its options, and how results are written.

    Attributes:
        model: an export or a run; with a server, the model there.
        runtime: as of load_detector.
        server: address of a TensorFlow Serving; None for a model that runs here.
        timeout: seconds that a server's answer may take.
        tags: whether each recording is labelled as a whole, as models of clips do anyway.
        threshold, alarms_per_hour, min_duration, labels: as of Detector.detect; labels is a tuple.
        out: folder of the files that are written; None if what was found is returned.
        format: a name of DETECTION_FORMATS, or SCORES.
        plot: whether a picture is drawn beside each file.
        weights: digest of the model's files, which with_weights adds. By it a process that has loaded the model, such
            as a worker of a cluster, notices that another one stands in its place.
    """

    model: str
    runtime: str | None = None
    server: str | None = None
    timeout: float = 60.0
    tags: bool = False
    threshold: float | None = None
    alarms_per_hour: float | None = None
    min_duration: float | None = None
    labels: tuple[str, ...] | None = None
    out: str | None = None
    format: str = "tsv"
    plot: bool = False
    weights: str = ""

    def with_weights(self):
        """Return the request with the digest of its model's files, unless it has one or a server has the model."""
        if self.weights or self.server is not None:
            return self
        folder = pathlib.Path(self.model)
        folder = folder if (folder / EXPERIMENT).is_file() else version_directory(folder)
        # Its checksums know the weights, and stand beside its calibration.
        files = folder.glob("*.json") if (folder / CHECKSUMS).is_file() else folder.rglob("*")
        digests = [file_digest(file) for file in sorted(files) if file.is_file()]
        return dataclasses.replace(self, weights=" ".join(digests))

    def event_arguments(self):
        """Return the arguments of Detector.detect that were given."""
        return {name: value for name in ("threshold", "alarms_per_hour", "labels", "min_duration")
                if (value := getattr(self, name)) is not None}

    def outputs(self, path):
        """Return the paths of the files that are written for a recording: the detections, and the picture if any."""
        suffix = ".tsv" if self.format == SCORES else DETECTION_FORMATS[self.format]
        stem = pathlib.Path(self.out) / pathlib.Path(path).stem
        return [stem.with_name(stem.name + suffix)] + [stem.with_name(stem.name + ".png")] * self.plot


@functools.cache
def open_detector(request):
    """Load the detector that a request names, once per process."""
    if request.server is None:
        return load_detector(request.model, runtime=request.runtime)
    from polysed_keras.serving.client import connect  # imports TensorFlow
    return connect(request.server, request.model, timeout=request.timeout)


def detect_recording(request, path):
    """Detect in one recording.

    Args:
        request: Request.
        path: audio file.

    Returns:
        DataFrame of events or tags; if the request has a folder for outputs, they are written and noted there, and
        lines of text that say so are returned.

    Raises:
        InputError: as of Detector.detect and Detector.tag; or the output cannot be written.
    """
    detector, path = open_detector(request), pathlib.Path(path)
    if request.out is None:
        return _find(detector, path, request)
    with _noted(request, path):
        return (_write_scores if request.format == SCORES else _write_events)(detector, path, request)


def _find(detector, path, request):
    if not _tagging(detector, request):
        return detector.detect(path, **request.event_arguments())
    threshold = 0.5 if request.threshold is None else request.threshold
    return detector.tag(path, threshold=threshold, labels=request.labels)


def _tagging(detector, request):
    return request.tags or detector.clip_level


def _write_events(detector, path, request):
    found, tagging = _find(detector, path, request), _tagging(detector, request)
    target, *pictures = request.outputs(path)
    with _told_if_unwritable(target):
        if tagging and request.format in ("tsv", "csv", "audacity"):
            write_tags(found, target, request.format)
        else:
            write_detections(as_detected(found, path, tagging, request.format), target, request.format)
    lines = [f"{path}: {len(found)} {'clips' if tagging else 'events'} -> {target}"]
    for picture in pictures:
        from polysed_keras.display import plot_recording, save_figure
        figure = plot_recording(path, detector, found)
        with _told_if_unwritable(picture):
            save_figure(figure, picture)
        lines.append(f"{path}: picture -> {picture}")
    return "\n".join(lines)


def _write_scores(detector, path, request):
    [target] = request.outputs(path)
    known, labels = list(detector.labels), request.labels or detector.labels
    expect(set(labels) <= set(known), "labels", f"some of {', '.join(known)}", " ".join(labels))
    columns, (posteriors, _) = [known.index(label) for label in labels], detector.posteriors(path)
    write_score_file(posteriors[:, columns], labels, detector.time_resolution, target)
    return f"{path}: {len(posteriors)} frames -> {target}"


@contextlib.contextmanager
def _told_if_unwritable(target):
    try:
        yield
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror}).") from error


def as_detected(found, path, tagging, format):
    """Return events, or tags as events, with the length of their recording if the format and the file tell it."""
    events = tags_to_events(found) if tagging else found
    if format not in LENGTH_FORMATS:
        return Detected(events, path.as_posix())
    try:
        info = audio_info(path)
    except InputError:
        return Detected(events, path.as_posix())
    return Detected(events, path.as_posix(), info.duration, info.sample_rate / 2)


# Many recordings

def detect_recordings(request, paths, *, workers=1, scheduler=None):
    """Detect in recordings and yield what comes of each as soon as it is there, in the order of the paths.

    If a process ends by itself, for example because memory is short, its recordings are given to others.

    Args:
        request: Request.
        paths: audio files.
        workers: number of processes of this machine; with 1, this process detects, on all its cores.
        scheduler: address of a Dask scheduler, whose workers see the same files and have this package; None for none.

    Yields:
        (path, result): what detect_recording returned, or the InputError that it raised.

    Raises:
        InputError: no scheduler answers, or the package `distributed` is not installed.

    Example:
        >>> for path, found in detect_recordings(Request("saved_models/mine"), ["street.wav"]):
        ...     print(path, len(found))    # doctest: +SKIP
        street.wav 3
    """
    request = request.with_weights()
    if scheduler is not None:
        yield from _on_cluster(request, paths, scheduler)
    elif workers > 1:
        yield from _in_processes(request, paths, workers)
    else:
        with _writing(request):
            for path in paths:
                try:
                    yield path, detect_recording(request, path)
                except InputError as error:
                    yield path, error


def _writing(request):
    """Return a context in which this process writes the outputs of a request."""
    return contextlib.nullcontext() if request.out is None else kept_workplace(request.out)


def _in_processes(request, paths, workers):
    waiting, suspects = collections.deque(paths), 0  # One of the first so many has ended a process: each gets its own.
    while waiting:
        batch = [waiting.popleft() for _ in range(1 if suspects else len(waiting))]
        broken = []
        with _pool(request, 1 if suspects else min(workers, len(batch))) as pool:
            for path, future in [(path, pool.submit(detect_recording, request, path)) for path in batch]:
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    broken.append(path)
                elif error is None or isinstance(error, InputError):
                    yield path, error or future.result()
                else:
                    raise error
        if suspects:
            suspects -= 1
            for path in broken:
                yield path, InputError(f"{path}: the process that detected in it has ended, perhaps for lack of "
                                       "memory. Take fewer --workers.")
        else:
            waiting.extendleft(reversed(broken))
            suspects = min(workers, len(broken))


@contextlib.contextmanager
def _pool(request, processes):
    """Yield an executor whose processes share the cores and end with the block, also if that is interrupted."""
    threads = max(1, (os.cpu_count() or 1) // processes)
    pool = concurrent.futures.ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _begin,
                                                  (threads, request))
    try:
        yield pool
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.kill()
            process.join()
        raise
    finally:
        if request.out is not None:
            remove_leftovers(request.out)


def _begin(threads, request):
    """Begin a process of a pool: Ctrl-C is for the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(variable, str(threads))
    until_exit = contextlib.ExitStack()
    atexit.register(until_exit.close)
    with contextlib.suppress(InputError):  # Each output tells of it.
        until_exit.enter_context(_writing(request))


def _on_cluster(request, paths, scheduler):
    try:
        import distributed
    except ImportError as error:
        raise InputError("scheduler: expected the package distributed. Received: none. Install it: "
                         "pip install 'polysed_keras[cluster]'.") from error
    try:
        client = distributed.Client(scheduler, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise InputError(f"scheduler: expected a Dask scheduler at {scheduler}. Received: {error}.") from error
    with client:
        futures = client.map(functools.partial(detect_recording, request), paths, pure=False, retries=1)
        for path, future in zip(paths, futures):
            error = future.exception()
            if error is not None and not isinstance(error, (InputError, distributed.scheduler.KilledWorker)):
                raise error
            yield path, error and InputError(str(error)) or future.result()


# What is there already

def unfinished(request, paths):
    """Return the recordings whose outputs are not there, or are of something else, to go on with them.

    An output is of the content of its recording, of the model's weights and calibration, and of the options.

    Args:
        request: Request with a folder for outputs.
        paths: audio files.

    Returns:
        List of the paths.

    Raises:
        InputError: the model is not there.
    """
    request, known = request.with_weights(), {}
    folder, digest = _record(request), _request_digest(request)
    with contextlib.suppress(OSError):
        for line in (folder / FINISHED).read_text().splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # A line may be half of one.
                entry = parse_json(line)
                known[entry["output"]] = (entry["audio"], entry["request"])

    def is_there(path):
        outputs = request.outputs(path)
        note = known.get(outputs[0].name)  # Only of what may be there is the audio read.
        return note is not None and all(map(os.path.isfile, outputs)) and note == (audio_digest(path, folder), digest)

    return [path for path in paths if not is_there(path)]


def _record(request):
    return pathlib.Path(request.out) / RECORD


@functools.cache
def _request_digest(request):
    options = dataclasses.asdict(request) | dict.fromkeys(("runtime", "timeout", "out", "model"))
    said = json.dumps([options, open_detector(request).description], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:12]


@contextlib.contextmanager
def _noted(request, path):
    """Note that the outputs for a recording are there, which the block writes, unless it was replaced meanwhile.

    Several processes may append at the same time; without the note it is detected again, no more.
    """
    folder = _record(request)
    audio = audio_digest(path, folder)
    yield
    if audio is None or audio != audio_digest(path, folder):
        return
    entry = {"output": request.outputs(path)[0].name, "audio": audio, "request": _request_digest(request)}
    with contextlib.suppress(OSError):
        folder.mkdir(exist_ok=True)
        with open(folder / FINISHED, "a") as file:
            file.write("\n" + json.dumps(entry))  # Behind half a line, too.
