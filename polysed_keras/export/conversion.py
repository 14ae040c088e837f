"""Convert networks for LiteRT and ONNX, with only the built-in operations of these runtimes.

A network becomes two files. The front end, waveform -> log_mel, is always in float32, because features made with
weights of 8 bits would be noise. The network, log_mel -> posteriors and activity, has the precision of its name.
"""
import pathlib

import keras
import numpy as np
import tensorflow as tf
from scipy import signal

from polysed_keras.audio import log_of_mels, mel_matrix
from polysed_keras.errors import InputError
from polysed_keras.export.description import cut_samples
from polysed_keras.export.runtimes import FILES, check_runtimes, silent_stderr
from polysed_keras.export.signatures import join_tasks
from polysed_keras.files import temporary_folder

OPSET = 17


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
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
            for name in ("mean", "variance"):  # as tensors they would become inputs of the graph
                setattr(layer, name, np.asarray(getattr(layer, name)))
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

    The discrete Fourier transform of n_fft = rows * columns samples is a transform of each column with a rotation, and
    a transform of each row (Cooley and Tukey 1965). Sample n is at row n // columns; frequency k is at k % rows,
    k // rows. The first matrices, one per column, hold the window and the rotation, too. Samples are real, so that rows
    above the half only mirror others, and are left out, as are rows of samples behind the window, which are zeros.
    """
    reach = -(-spec.win_length // spec.hop_length)
    waveform = tf.pad(waveform, [[0, 0], [0, (frames - 1 + reach) * spec.hop_length - waveform.shape[1]]])
    hops = tf.reshape(waveform, [frames - 1 + reach, spec.hop_length])
    windows = tf.concat([hops[step:step + frames] for step in range(reach)], axis=1)[:, :spec.win_length]
    rows = _num_rows(spec)
    columns, half = spec.n_fft // rows, rows // 2 + 1
    filled = _filled_rows(spec, columns)
    behind = [[0, 0], [0, filled * columns - spec.win_length]]
    by_column = tf.transpose(tf.reshape(tf.pad(windows, behind), [frames, filled, columns]), [2, 0, 1])
    window = np.pad(signal.get_window("hann", spec.win_length).astype(np.float32), behind[1])
    first = np.concatenate(_rotation(filled * columns, half, spec.n_fft), axis=1) * window[:, None]
    turned = tf.matmul(by_column, first.reshape(filled, columns, 2 * half).transpose(1, 0, 2))
    turned = tf.reshape(tf.transpose(tf.reshape(turned, [columns, frames, 2, half]), [1, 3, 2, 0]),
                        [frames, half, 2 * columns])
    cos, sin = _rotation(columns, columns, columns)
    real, imaginary = tf.split(tf.matmul(turned, np.block([[cos, sin], [-sin, cos]])), 2, axis=-1)
    power = tf.reshape(tf.square(real) + tf.square(imaginary), [frames, half * columns])
    mels = tf.matmul(power if spec.power == 2 else tf.sqrt(power), _mels_by_row(spec, rows, columns))
    return log_of_mels(mels, spec)[None]


def _filled_rows(spec, columns):
    return -(-spec.win_length // columns)


def _num_rows(spec):
    """Return the number of rows with which the two transforms take the fewest multiply-adds."""
    def multiply_adds(rows):
        columns = spec.n_fft // rows
        return (rows // 2 + 1) * columns * (2 * _filled_rows(spec, columns) + 4 * columns)

    return min((rows for rows in range(1, spec.n_fft + 1) if spec.n_fft % rows == 0), key=multiply_adds)


def _rotation(rows, columns, period):
    """Return real and imaginary parts of exp(-2 pi i row column / period), both float32 (rows, columns)."""
    turns = np.exp(-2j * np.pi * np.outer(np.arange(rows), np.arange(columns)) / period)
    return turns.real.astype(np.float32), turns.imag.astype(np.float32)


def _mels_by_row(spec, rows, columns):
    """Return mel_matrix with its frequencies in the order of the transform above: (half * columns, n_mels)."""
    frequencies = (np.arange(rows // 2 + 1)[:, None] + rows * np.arange(columns)).ravel()
    found, places = np.unique(np.minimum(frequencies, spec.n_fft - frequencies), return_index=True)
    matrix = np.zeros((len(frequencies), spec.n_mels), np.float32)  # 0 where a frequency is there twice
    matrix[places] = mel_matrix(spec)[found]
    return matrix


def _to_litert(function, precision):
    with temporary_folder() as directory:
        tf.saved_model.save(tf.Module(), str(directory), signatures=function.get_concrete_function())
        converter = tf.lite.TFLiteConverter.from_saved_model(str(directory))
        converter.optimizations = [] if precision == "float32" else [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        with silent_stderr():
            return converter.convert()


def _to_onnx(function, precision):
    import tf2onnx
    proto, _ = tf2onnx.convert.from_function(function, input_signature=function.input_signature, opset=OPSET)
    return proto.SerializeToString()
