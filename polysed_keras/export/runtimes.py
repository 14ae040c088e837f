"""Load an exported network by LiteRT, ONNX Runtime or TensorFlow; only the last imports TensorFlow."""
import collections
import concurrent.futures
import contextlib
import functools
import importlib.util
import os
import pathlib
import queue
import sys

import numpy as np

from polysed_keras.detection import Card, Detector
from polysed_keras.errors import InputError, brief, expect
from polysed_keras.export.description import version_directory
from polysed_keras.files import check_checksums, read_json

FILES = {  # runtime: its front end and its network
    "litert_float32": ("front_end.tflite", "float32.tflite"), "litert_float16": ("front_end.tflite", "float16.tflite"),
    "litert_int8": ("front_end.tflite", "int8.tflite"), "onnx": ("front_end.onnx", "float32.onnx"),
}
TENSORFLOW, PREFERRED = "tensorflow", "litert_float32"
DIRECTORY = "runtimes"  # in the folder of a version
PACKAGES = {"onnx": ("tf2onnx", "onnx", "onnxruntime")}  # LiteRT's interpreter and TensorFlow, its converter, are there
MOST_THREADS = 8  # Each has a network of its own in memory.
TOO_LARGE = ("audio: expected samples from -1 to 1, or not far beyond. Received: some so large that their energy is "
             "infinite. Scale them down.")


def check_runtimes(runtimes):
    """Check that runtimes are known and can be converted for.

    Args:
        runtimes: list of str, keys of FILES.

    Raises:
        InputError: an unknown runtime, or one whose packages are not installed.
    """
    for runtime in runtimes:
        if runtime not in FILES:
            raise InputError(f"runtimes: expected some of {', '.join(FILES)}. Received: {runtime}.")
        missing = [name for name in PACKAGES.get(runtime, ()) if importlib.util.find_spec(name) is None]
        if missing:
            raise InputError(f"{runtime}: expected the packages {', '.join(PACKAGES[runtime])}. Received: no "
                             f"{', '.join(missing)}. Install them: pip install 'polysed_keras[runtimes]'.")


def load_export(directory, runtime=None):
    """Load an exported model as a detector.

    Args:
        directory: saved_models/NAME, whose highest version is taken, or saved_models/NAME/VERSION.
        runtime: str, `tensorflow` or a key of FILES that the export has; None for LiteRT, which starts at once, if the
            export has its files, else TensorFlow.

    Returns:
        detection.Detector.

    Raises:
        InputError: no export there, one without files for the runtime, or one whose files have changed.

    Example:
        >>> load_export("saved_models/mine").detect("street.wav")
    """
    path = version_directory(directory)
    there = [name for name, files in FILES.items() if all((path / DIRECTORY / file).is_file() for file in files)]
    if runtime is None:
        runtime = PREFERRED if PREFERRED in there else TENSORFLOW
    expect(runtime in (TENSORFLOW, *there), "runtime", f"one that {path} has: {', '.join((TENSORFLOW, *there))}",
           runtime, "polysed export RUN --runtimes makes others.")
    if runtime == TENSORFLOW:
        from polysed_keras.export.saved_model import load_saved_model
        return load_saved_model(path)
    check_checksums(path)
    return load_runtime(path / DIRECTORY, runtime, read_json(path / "card.json", Card, others=True))


def load_runtime(directory, runtime, description):
    """Load converted files as a detector, which takes audio of any length and hears segments on all cores.

    Args:
        directory: folder that conversion.convert_runtimes wrote to.
        runtime: str, a key of FILES.
        description: dict, Detector.description of the exported model.

    Returns:
        detection.Detector.

    Raises:
        InputError: the files are damaged.
    """
    files = [pathlib.Path(directory) / file for file in FILES[runtime]]
    idle = queue.LifoQueue()  # networks that no thread uses; each has memory for one segment
    idle.put([open_runtime(file) for file in files])
    threads = concurrent.futures.ThreadPoolExecutor(num_threads())
    hop, cut = description["hop_length"], description["segment_frames"] * description["hop_length"]
    reach = description["win_length"] - hop

    def answer(segment):
        try:
            front_end, network = idle.get_nowait()
        except queue.Empty:
            front_end, network = (open_runtime(file) for file in files)
        try:
            features = front_end(waveform=segment)
            # Not only checked at the end, because max-pooling may lose a NaN.
            if not np.isfinite(features["log_mel"]).all():
                raise InputError(TOO_LARGE)
            return network(**features)
        finally:
            idle.put((front_end, network))

    def start(waveform):
        segments = -(-waveform.shape[1] // cut)
        padded = np.pad(waveform, ((0, 0), (0, segments * cut + reach - waveform.shape[1])))
        if segments == 1:  # Whoever waits for it computes it.
            return [functools.partial(answer, padded)]
        return [threads.submit(answer, padded[:, begin:begin + cut + reach]).result
                for begin in range(0, segments * cut, cut)]

    return Detector(start, description, _each)


def _each(start, waveforms):
    """Yield the outputs of each waveform; the one after it is read while threads compute."""
    waiting = collections.deque()
    for waveform in waveforms:
        waiting.append(start(waveform))
        if len(waiting) > 1:
            yield _joined(waiting.popleft())
    yield from map(_joined, waiting)


def _joined(pending):
    parts = [part() for part in pending]
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}


def num_threads():
    """Return how many segments are heard at a time: OMP_NUM_THREADS if it is set, else the cores that may be used."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_THREADS)


def open_runtime(path):
    """Return a function of a file's named inputs that returns a dict of its outputs, on one thread of a CPU.

    Raises:
        InputError: the file is damaged.
    """
    try:
        return _open_onnx(path) if pathlib.Path(path).suffix == ".onnx" else _open_litert(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: expected a converted network. Received: {brief(error)}.") from error


def _open_onnx(path):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda **inputs: dict(zip(names, session.run(names, inputs)))


def _open_litert(path):
    from ai_edge_litert.interpreter import Interpreter
    with silent_stderr():
        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()  # As a function it would allocate all anew for each answer.
    inputs, outputs = ({name: detail["index"] for name, detail in details.items()}
                       for details in (runner.get_input_details(), runner.get_output_details()))

    def answer(**values):
        for name, value in values.items():
            interpreter.set_tensor(inputs[name], value)
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in outputs.items()}

    return answer


@contextlib.contextmanager
def silent_stderr():
    """Drop what C++ code writes to stderr: LiteRT says which kernels it takes, and no setting keeps it from that.

    Python's own messages of other threads are dropped too while the block runs.
    """
    sys.stderr and sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
