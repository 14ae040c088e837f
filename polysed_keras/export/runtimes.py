"""Convert networks for LiteRT and ONNX, with only the built-in operations of these runtimes, and load them.

A network becomes two files. The front end, waveform -> log_mel, is always in float32, because features made with
weights of 8 bits would be noise. The network, log_mel -> posteriors and activity, has the precision of its name.
"""
import importlib.util
import pathlib
import warnings

import keras
import numpy as np
import tensorflow as tf
from scipy import signal

from polysed_keras.audio import log_of_mels, mel_matrix
from polysed_keras.detection import Detector
from polysed_keras.errors import InputError
from polysed_keras.export.signatures import cut_samples, join_tasks
from polysed_keras.files import check_checksums, temporary_folder
from polysed_keras.models import NORMALIZATION

FILES = {  # runtime: its front end and its network
    "litert_float32": ("front_end.tflite", "float32.tflite"), "litert_float16": ("front_end.tflite", "float16.tflite"),
    "litert_int8": ("front_end.tflite", "int8.tflite"), "onnx": ("front_end.onnx", "float32.onnx"),
}
PACKAGES = {"onnx": ("tf2onnx", "onnx", "onnxruntime")}  # LiteRT's converter and interpreter come with TensorFlow
OPSET = 17


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


def convert_runtimes(model, experiment, directory, runtimes):
    """Write the files of a network without cuDNN's kernels for runtimes, keys of FILES, to a folder that exists.

    Each file takes one segment: `waveform` float32 (1, samples) is as long as the windows of its frames reach, at the
    experiment's sample rate; `log_mel` float32 is (1, frames, n_mels); `posteriors` float32 and `activity` uint8 are
    (1, frames, labels), or (1, 1, labels) of networks that label clips.

    Raises:
        InputError: as check_runtimes; a network that a runtime's converter refuses.
    """
    check_runtimes(runtimes)
    inputs = tf.TensorSpec([1, cut_samples(experiment)], tf.float32, name="waveform")
    spec, frames = experiment.features, experiment.training.segment_frames
    front_end = tf.function(lambda waveform: {"log_mel": _log_mel(waveform, spec, frames)}, input_signature=[inputs])
    functions = {"front_end": front_end, "network": _network_function(model, experiment)}
    for runtime in runtimes:
        convert = _to_onnx if runtime == "onnx" else _to_litert
        for name, file in zip(functions, FILES[runtime]):
            if not (path := pathlib.Path(directory) / file).exists():
                precision = path.stem if name == "network" else "float32"
                try:
                    content = convert(functions[name], precision)
                except InputError:  # no room for what is converted
                    raise
                except Exception as error:  # the converters' own exceptions have no public classes
                    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                    raise InputError(f"{runtime}: expected a network of operations that it has. "
                                     f"Received: {reason}.") from error
                path.write_bytes(content)


def _network_function(model, experiment):
    rows = 1 if experiment.clip_level else experiment.training.segment_frames // experiment.model.output_stride
    shape = [1, rows, -1]
    normalization = model.get_layer(NORMALIZATION)
    normalization.finalize_state()
    for name in ("mean", "variance"):  # as tensors they would become inputs of the graph
        setattr(normalization, name, np.asarray(getattr(normalization, name)))
    weights = [(weight, np.asarray(weight)) for weight in model.weights]

    def network(log_mel):
        # TensorFlow 2.17's converter cannot read variables in Keras 3's graphs: they become constants.
        with keras.StatelessScope([(weight, tf.constant(value)) for weight, value in weights]):
            outputs = model(log_mel, training=False)
        posteriors, activity = join_tasks(outputs, experiment.tasks)
        return {"posteriors": tf.reshape(posteriors, shape), "activity": tf.reshape(activity, shape)}

    inputs = tf.TensorSpec([1, *experiment.input_shape], tf.float32, name="log_mel")
    return tf.function(network, input_signature=[inputs])


def _log_mel(waveform, spec, frames):
    """Compute audio.LogMelSpectrogram of one segment by matrix products alone, because not every runtime has an FFT.

    The discrete Fourier transform of n_fft = rows * columns samples is a transform of each column, a rotation, and a
    transform of each row (Cooley and Tukey 1965). Sample n is at row n // columns.
    Frequency k is at k % rows, k // rows.
    """
    reach = -(-spec.win_length // spec.hop_length)
    waveform = tf.pad(waveform, [[0, 0], [0, (frames - 1 + reach) * spec.hop_length - waveform.shape[1]]])
    hops = tf.reshape(waveform, [frames - 1 + reach, spec.hop_length])
    windows = tf.concat([hops[step:step + frames] for step in range(reach)], axis=1)[:, :spec.win_length]
    windows = tf.pad(windows * signal.get_window("hann", spec.win_length).astype(np.float32),
                     [[0, 0], [0, spec.n_fft - spec.win_length]])
    rows = max(number for number in range(1, int(spec.n_fft ** 0.5) + 1) if spec.n_fft % number == 0)
    columns, half = spec.n_fft // rows, spec.n_fft // rows // 2 + 1
    by_column = tf.transpose(tf.reshape(windows, [frames, rows, columns]), [0, 2, 1])
    real, imaginary = tf.split(tf.matmul(by_column, np.concatenate(_rotation(rows, rows, rows), axis=1)), 2, axis=-1)
    cos, sin = _rotation(columns, rows, spec.n_fft)
    turned = tf.concat([tf.transpose(real * cos - imaginary * sin, [0, 2, 1]),
                        tf.transpose(real * sin + imaginary * cos, [0, 2, 1])], axis=-1)
    cos, sin = _rotation(columns, half, columns)
    real, imaginary = tf.split(tf.matmul(turned, np.block([[cos, sin], [-sin, cos]])), 2, axis=-1)
    power = tf.reshape(tf.square(real) + tf.square(imaginary), [frames, rows * half])
    mels = tf.matmul(power if spec.power == 2 else tf.sqrt(power), _mels_by_row(spec, rows, half))
    return log_of_mels(mels, spec)[None]


def _rotation(rows, columns, period):
    """Return real and imaginary parts of exp(-2 pi i row column / period), both float32 (rows, columns)."""
    turns = np.exp(-2j * np.pi * np.outer(np.arange(rows), np.arange(columns)) / period)
    return turns.real.astype(np.float32), turns.imag.astype(np.float32)


def _mels_by_row(spec, rows, half):
    """Return mel_matrix with its frequencies in the order of the transform above: (rows * half, n_mels)."""
    frequencies = np.arange(rows)[:, None] + rows * np.arange(half)
    matrix = np.pad(mel_matrix(spec), ((0, rows * half - spec.n_fft // 2 - 1), (0, 0)))
    return matrix[frequencies.ravel()]


def _to_litert(function, precision):
    with temporary_folder() as directory:
        tf.saved_model.save(tf.Module(), str(directory), signatures=function.get_concrete_function())
        converter = tf.lite.TFLiteConverter.from_saved_model(str(directory))
        converter.optimizations = [] if precision == "float32" else [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        return converter.convert()


def _to_onnx(function, precision):
    import tf2onnx
    proto, _ = tf2onnx.convert.from_function(function, input_signature=function.input_signature, opset=OPSET)
    return proto.SerializeToString()


def open_runtime(path):
    """Return a function of a file's named inputs that returns a dict of its outputs, on one thread of a CPU."""
    if pathlib.Path(path).suffix == ".onnx":
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return lambda **inputs: dict(zip(names, session.run(names, inputs)))
    with warnings.catch_warnings():
        # It is to be replaced by the same class of another package.
        warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated.*")
        return tf.lite.Interpreter(str(path), num_threads=1).get_signature_runner()


def load_runtime(directory, runtime, description):
    """Load converted files as a detector, which takes audio of any length.

    Args:
        directory: folder that convert_runtimes wrote to.
        runtime: str, a key of FILES.
        description: dict, Detector.description of the exported model.

    Returns:
        detection.Detector.

    Raises:
        InputError: files have changed since export_runtimes wrote them.
    """
    check_checksums(directory)
    front_end, network = (open_runtime(pathlib.Path(directory) / file) for file in FILES[runtime])
    hop, cut = description["hop_length"], description["segment_frames"] * description["hop_length"]
    reach = description["win_length"] - hop

    def serve(waveform):
        segments = -(-waveform.shape[1] // cut)
        padded = np.pad(waveform, ((0, 0), (0, segments * cut + reach - waveform.shape[1])))
        parts = [network(**front_end(waveform=padded[:, begin:begin + cut + reach]))
                 for begin in range(0, segments * cut, cut)]
        return {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}

    return Detector(serve, description)
