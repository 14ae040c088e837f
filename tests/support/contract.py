"""What exports keep to, as saved_models/README.md says it: what their files say, and answers by TensorFlow's C API."""
import functools
import io
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import soundfile
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from polysed_keras.audio.log_mel import compute_log_mel
from polysed_keras.models.predict import decode_activity, predict_posteriors
from polysed_keras.training.fit import load_best_model
from polysed_keras.training.runs import load_run

from fixtures import shared_run

HERE = pathlib.Path(__file__).parent


def meta_graph(directory):
    """The only MetaGraphDef of a SavedModel, as its file says."""
    saved_model = saved_model_pb2.SavedModel.FromString((directory / "saved_model.pb").read_bytes())
    return saved_model.meta_graphs[0]


def nodes(directory):
    """Every node of a SavedModel's graph and of its functions."""
    graph = meta_graph(directory).graph_def
    return [*graph.node, *(node for function in graph.library.function for node in function.node_def)]


def check_operations(directory):
    """Assert that a SavedModel holds operations that any TensorFlow runs on any CPU; their names."""
    names = {node.op for node in nodes(directory)}
    assert {"RFFT", "Conv2D", "MatMul", "DecodeRaw"} <= names and names & {"While", "StatelessWhile"}
    assert not [name for name in names if not hasattr(tf.raw_ops, name)]
    assert not [
        name for name in names if "PyFunc" in name or "Cudnn" in name or "CuDNN" in name or "Xla" in name or ">" in name
    ]


def signatures(directory):
    """{signature: ({input: (dtype, shape)}, {output: (dtype, shape)})}, -1 for a dimension of any size."""
    def tensors(described):
        return {name: (types_pb2.DataType.Name(tensor.dtype), [dimension.size for dimension in tensor.tensor_shape.dim])
                for name, tensor in described.items()}

    return {name: (tensors(signature.inputs), tensors(signature.outputs))
            for name, signature in meta_graph(directory).signature_def.items() if not name.startswith("__")}


def promised(labels, n_mels):
    """As `signatures`, what the contract says of a network with so many labels and mels."""
    answer = {"posteriors": ("DT_FLOAT", [-1, -1, labels]), "activity": ("DT_UINT8", [-1, -1, labels])}
    each, text = ("DT_INT32", [-1]), ("DT_STRING", [-1])
    return {
        "serving_default": ({"waveform": ("DT_FLOAT", [-1, -1])}, answer),
        "detect_wav": ({"wav_bytes": text}, answer | {"num_frames": each}),
        "log_mel": ({"log_mel": ("DT_FLOAT", [-1, -1, n_mels])}, answer),
        "describe": (
            {"query": each},
            {
                "name": text,
                "version": each,
                "labels": ("DT_STRING", [-1, labels]),
                "sample_rate": each,
                "hop_length": each,
                "win_length": each,
                "segment_frames": each,
                "time_resolution": ("DT_DOUBLE", [-1]),
                "experiment": text,
                "calibration": text,
            },
        ),
    }


def ask(directory, requests, folder, python=sys.executable):
    """Answers of a SavedModel by TensorFlow's C API (c_api.py), in a process of its own.

    Args:
        requests: [(signature, value of its input)].
        folder: for the files between the processes.

    Returns:
        [{"code", "message", "outputs", "peak_mib"}].
    """
    described, named = meta_graph(directory).signature_def, []
    for signature, value in requests:
        (tensor,) = described[signature].inputs.values()
        named.append(({tensor.name: value}, {key: output.name for key, output in described[signature].outputs.items()}))
    (folder / "requests.pickle").write_bytes(pickle.dumps(named))
    arguments = [HERE / "c_api.py", directory, folder / "requests.pickle", folder / "answers.pickle"]
    result = subprocess.run([python, *arguments], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return pickle.loads((folder / "answers.pickle").read_bytes())


def wav_bytes(samples, rate, file_format="WAV", subtype="PCM_16"):
    """A file's bytes, of samples (samples,) or (samples, channels)."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype, format=file_format)
    return file.getvalue()


@functools.cache
def best_model(experiment):
    """The network of a shared run's best epoch."""
    return load_best_model(load_run(shared_run(experiment)), shared_run(experiment))


def evaluated(experiment, waveform):
    """Posteriors per label and activity of one waveform, by the way that `evaluate` goes."""
    tasks, log_mel = load_run(shared_run(experiment)).tasks, compute_log_mel(waveform, experiment.features)
    outputs = predict_posteriors(best_model(experiment), log_mel, tasks, experiment.training.segment_frames)
    posteriors = [task.label_posteriors(outputs[task.name]) for task in tasks]
    return np.concatenate(posteriors, axis=1), decode_activity(outputs, tasks)
