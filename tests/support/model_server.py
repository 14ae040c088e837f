"""TensorFlow Serving's interfaces around SavedModels, for tests: official stubs by gRPC, the same by REST, faults."""

import base64
import collections
import concurrent.futures
import contextlib
import functools
import http.server
import json
import re
import socket
import threading
import time

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

STATUS = {"INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504, "INTERNAL": 500}
AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def plain(value):
    """What JSON can hold of a number, some text, or an array of them."""
    if isinstance(value, bytes):
        return value.decode()
    return np.char.decode(value.astype(bytes)).tolist() if value.dtype == object else value.tolist()


@functools.cache
def load(folder):
    """Load a SavedModel once: servers cost nothing then, so every test has its own, which no late request reaches."""
    return tf.saved_model.load(str(folder))


class Failure(Exception):
    """What the server answers instead: code and message."""


class ModelServer:
    """Serves {name: {version: folder of a SavedModel}} on loopback, until it is closed.

    Attributes:
        grpc, rest: addresses.
        faults: a function of the server and its answer for each of the next requests that run a network, None for none
        of them. hurry: what faults wait on that only take time; set as the server closes. answered: number of such
        requests; most: of those at a time; cancelled: of those that were given up.
    """

    def __init__(self, models):
        self.models = {name: {version: load(folder) for version, folder in versions.items()}
                       for name, versions in models.items()}
        self.faults, self.lock = collections.deque(), threading.Lock()
        self.breaks = False  # the next answer by REST
        self.answered = self.running = self.most = self.cancelled = 0
        self.port = self.rest_port = 0
        self.start()

    def start(self):
        self.hurry = threading.Event()
        self.server = self.make_server()
        self.port = self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        self.server.start()
        self.http = http.server.ThreadingHTTPServer(
            ("127.0.0.1", self.rest_port), type("Bound", (Rest,), {"models": self})
        )
        self.rest_port = self.http.server_port
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()
        self.grpc, self.rest = f"127.0.0.1:{self.port}", f"http://127.0.0.1:{self.rest_port}"

    def make_server(self):
        """A gRPC server of the models that has no port yet."""
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(16), options=[
            ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)])
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Prediction(self), server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(Status(self), server)
        return server

    def close(self):
        self.hurry.set()
        self.http.shutdown()
        self.http.server_close()
        self.server.stop(0).wait()

    def restart(self, seconds=0.3):
        """Vanish, with what is under way, and come back."""
        self.close()
        time.sleep(seconds)
        self.start()

    def versions(self, name):
        if name not in self.models:
            raise Failure("NOT_FOUND", f"Could not find any versions of model {name}")
        return sorted(self.models[name])

    def answer(self, name, version, signature, inputs):
        """{output: array}, of {input: array}."""
        if version not in self.versions(name):
            raise Failure("NOT_FOUND", f"Servable not found for request: Specific({name}, {version})")
        function = self.models[name][version].signatures.get(signature)
        if function is None:
            raise Failure("INVALID_ARGUMENT", f"Serving signature name: \"{signature}\" not found in signature def")
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            outputs = {key: value.numpy() for key, value in function(**inputs).items()}
            if signature != "describe":
                with self.lock:
                    fault = self.faults.popleft() if self.faults else None
                outputs = fault(self, outputs) if fault else outputs
                with self.lock:
                    self.answered += 1
            return outputs
        except tf.errors.InvalidArgumentError as error:
            raise Failure("INVALID_ARGUMENT", error.message) from error
        finally:
            with self.lock:
                self.running -= 1


class Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, models):
        self.models = models

    def Predict(self, request, context):
        context.add_callback(lambda: self.ended(context))
        spec, inputs = (
            request.model_spec,
            {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()},
        )
        try:
            version = spec.version.value if spec.HasField("version") else max(self.models.versions(spec.name))
            outputs = self.models.answer(spec.name, version, spec.signature_name or "serving_default", inputs)
        except Failure as failure:
            context.abort(getattr(grpc.StatusCode, failure.args[0]), failure.args[1])
        response = predict_pb2.PredictResponse()
        for key, value in outputs.items():
            response.outputs[key].CopyFrom(
                value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
            )
        context.completed = True
        return response

    def ended(self, context):
        if not context.code() and not getattr(context, "completed", False):
            self.models.cancelled += 1


class Status(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, models):
        self.models = models

    def GetModelStatus(self, request, context):
        try:
            versions = self.models.versions(request.model_spec.name)
        except Failure as failure:
            context.abort(getattr(grpc.StatusCode, failure.args[0]), failure.args[1])
        return get_model_status_pb2.GetModelStatusResponse(
            model_version_status=[{"version": version, "state": AVAILABLE} for version in versions])


class Rest(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.reply(lambda: {"model_version_status": [
            {"version": str(version), "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
            for version in self.models.versions(re.fullmatch(r"/v1/models/([^/]+)", self.path)[1])]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name, version = re.fullmatch(r"/v1/models/([^/]+)/versions/(\d+):predict", self.path).groups()
        values = [base64.b64decode(each["b64"]) if isinstance(each, dict) else each for each in body["instances"]]
        self.reply(lambda: self.predictions(name, int(version), body["signature_name"], values))

    def predictions(self, name, version, signature, values):
        key = {"describe": "query", "detect_wav": "wav_bytes"}.get(signature, "waveform")
        outputs = self.models.answer(name, version, signature, {key: tf.constant(values)})
        if isinstance(outputs, bytes):
            return outputs
        return {
            "predictions": [{key: plain(value[row]) for key, value in outputs.items()} for row in range(len(values))]
        }

    def reply(self, answer):
        try:
            code, content = 200, answer()
        except Failure as failure:
            code, content = STATUS[failure.args[0]], {"error": failure.args[1]}
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        breaks, self.models.breaks = self.models.breaks, False
        self.close_connection |= breaks
        with contextlib.suppress(OSError):
            self.send_response(code)
            self.send_header("Content-Length", str(len(content) * (1 + breaks)))
            self.end_headers()
            self.wfile.write(content)
