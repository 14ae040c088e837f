"""A SavedModel by TensorFlow's C API alone, as a server in C++ runs it: nothing of TensorFlow's Python is imported.

python c_api.py SAVED_MODEL REQUESTS ANSWERS

REQUESTS is a pickle of [({tensor name: value}, {output: tensor name})], and ANSWERS becomes one of
[{"code", "message", "outputs": {output: array}, "peak_mib"}]; values are arrays, or lists of bytes.
"""
import ctypes
import importlib.util
import pathlib
import pickle
import resource
import sys

import numpy as np

ADDRESS, INT, SIZE, TEXT = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_char_p
STRING = 7
DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 4: np.uint8}  # TF_DataType
NUMBERS = {np.dtype(dtype): number for number, dtype in DTYPES.items()}


class Output(ctypes.Structure):
    """TF_Output: one output of an operation."""

    _fields_ = [("operation", ADDRESS), ("index", INT)]


OUTPUTS, ADDRESSES, SIZES = (ctypes.POINTER(kind) for kind in (Output, ADDRESS, ctypes.c_int64))
FUNCTIONS = {  # of tensorflow/c/c_api.h: what they return and take
    "TF_NewStatus": (ADDRESS, []),
    "TF_GetCode": (INT, [ADDRESS]),
    "TF_Message": (TEXT, [ADDRESS]),
    "TF_DeleteStatus": (None, [ADDRESS]),
    "TF_NewGraph": (ADDRESS, []),
    "TF_NewSessionOptions": (ADDRESS, []),
    "TF_LoadSessionFromSavedModel": (
        ADDRESS,
        [ADDRESS, ADDRESS, TEXT, ctypes.POINTER(TEXT), INT, ADDRESS, ADDRESS, ADDRESS],
    ),
    "TF_GraphOperationByName": (ADDRESS, [ADDRESS, TEXT]),
    "TF_SessionRun": (
        None,
        [ADDRESS, ADDRESS, OUTPUTS, ADDRESSES, INT, OUTPUTS, ADDRESSES, INT, ADDRESSES, INT, ADDRESS, ADDRESS],
    ),
    "TF_AllocateTensor": (ADDRESS, [INT, SIZES, INT, SIZE]),
    "TF_DeleteTensor": (None, [ADDRESS]),
    "TF_TensorData": (ADDRESS, [ADDRESS]),
    "TF_TensorType": (INT, [ADDRESS]),
    "TF_TensorByteSize": (SIZE, [ADDRESS]),
    "TF_NumDims": (INT, [ADDRESS]),
    "TF_Dim": (ctypes.c_int64, [ADDRESS, INT]),
    "TF_StringInit": (None, [ADDRESS]),
    "TF_StringCopy": (None, [ADDRESS, TEXT, SIZE]),
    "TF_StringGetDataPointer": (ADDRESS, [ADDRESS]),
    "TF_StringGetSize": (SIZE, [ADDRESS]),
}
STRING_SIZE = 24  # of TF_TString


def load_library():
    """The library inside TensorFlow's wheel, with the types of its functions."""
    folder = pathlib.Path(importlib.util.find_spec("tensorflow").submodule_search_locations[0])
    ctypes.CDLL(str(folder / "libtensorflow_framework.so.2"), mode=ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(folder / "libtensorflow_cc.so.2"))
    for name, (returned, taken) in FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = returned, taken
    return library


def take_status(library, status):
    """(code, message) of a status, which is freed; code 0 is success, 3 an invalid argument."""
    taken = library.TF_GetCode(status), library.TF_Message(status).decode()
    library.TF_DeleteStatus(status)
    return taken


def open_session(library, directory):
    """(session, graph) of a SavedModel with the tag `serve`."""
    status, graph = library.TF_NewStatus(), library.TF_NewGraph()
    session = library.TF_LoadSessionFromSavedModel(library.TF_NewSessionOptions(), None, str(directory).encode(),
                                                   (TEXT * 1)(b"serve"), 1, graph, None, status)
    code, message = take_status(library, status)
    assert code == 0, message
    return session, graph


def to_tensor(library, value):
    """A TF_Tensor of an array, or of a list of bytes."""
    strings = isinstance(value, list)
    shape = (len(value),) if strings else value.shape
    size = STRING_SIZE * len(value) if strings else value.nbytes
    tensor = library.TF_AllocateTensor(
        STRING if strings else NUMBERS[value.dtype], (ctypes.c_int64 * len(shape))(*shape), len(shape), size
    )
    data = library.TF_TensorData(tensor)
    if not strings:
        ctypes.memmove(data, np.ascontiguousarray(value).ctypes.data, size)
        return tensor
    for index, content in enumerate(value):
        library.TF_StringInit(data + STRING_SIZE * index)
        library.TF_StringCopy(data + STRING_SIZE * index, content, len(content))
    return tensor


def to_array(library, tensor):
    """The array of a TF_Tensor; of strings one of objects, bytes."""
    shape = [library.TF_Dim(tensor, axis) for axis in range(library.TF_NumDims(tensor))]
    data, kind = library.TF_TensorData(tensor), library.TF_TensorType(tensor)
    if kind != STRING:
        content = ctypes.string_at(data, library.TF_TensorByteSize(tensor))
        return np.frombuffer(content, DTYPES[kind]).reshape(shape)
    strings = [ctypes.string_at(library.TF_StringGetDataPointer(at), library.TF_StringGetSize(at))
               for at in range(data, data + STRING_SIZE * int(np.prod(shape)), STRING_SIZE)]
    return np.array(strings, object).reshape(shape)


def run(library, session, graph, feeds, fetches):
    """One request: its answer, as above."""
    def outputs_of(names):
        places = [name.rpartition(":") for name in names]
        return (Output * len(places))(*[(library.TF_GraphOperationByName(graph, operation.encode()), int(index))
                                        for operation, _, index in places])

    status, received = library.TF_NewStatus(), (ADDRESS * len(fetches))()
    sent = (ADDRESS * len(feeds))(*[to_tensor(library, value) for value in feeds.values()])
    library.TF_SessionRun(session, None, outputs_of(feeds), sent, len(sent), outputs_of(fetches.values()), received,
                          len(received), None, 0, None, status)
    code, message = take_status(library, status)
    arrays = {} if code else {name: to_array(library, tensor) for name, tensor in zip(fetches, received)}
    for tensor in [*sent, *received]:
        if tensor:
            library.TF_DeleteTensor(tensor)
    return {"code": code, "message": message, "outputs": arrays,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main(directory, requests, answers):
    """Answer the requests of one file in another, in one session."""
    library = load_library()
    session, graph = open_session(library, directory)
    answered = [run(library, session, graph, *request) for request in pickle.loads(pathlib.Path(requests).read_bytes())]
    assert not [name for name in sys.modules if name.partition(".")[0] in ("tensorflow", "keras", "polysed_keras")]
    pathlib.Path(answers).write_bytes(pickle.dumps(answered))


if __name__ == "__main__":
    main(*sys.argv[1:])
