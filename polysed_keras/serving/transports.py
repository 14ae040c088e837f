"""Requests to TensorFlow Serving, by gRPC or REST.

Either gives a Pending for an answer, so that several can be under way, and raises Refused if something goes wrong. REST
is by http.client: unlike libraries above it, it shows the socket, which is shut down when a request is given up.
"""
import base64
import concurrent.futures
import contextlib
import dataclasses
import http.client
import json
import socket
import threading
import typing
import urllib.parse

import numpy as np

from polysed_keras.errors import InputError, expect

HTTP_CODES = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 413: "RESOURCE_EXHAUSTED", 429: "RESOURCE_EXHAUSTED",
              502: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}
GRPC_SCHEMES = ("grpc", "grpcs")
CHANNEL_OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1),
                   ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100),
                   ("grpc.max_reconnect_backoff_ms", 2000)]


class Refused(Exception):
    """An answer that did not come; `code` is gRPC's name of the status, also for HTTP's."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


@dataclasses.dataclass(frozen=True)
class Pending:
    """An answer under way: result() waits for it or raises Refused, cancel() gives it up."""

    result: typing.Callable
    cancel: typing.Callable


@dataclasses.dataclass(frozen=True)
class Transport:
    """A connection to a model on a server.

    Attributes:
        versions: function without arguments that returns a Pending of the available versions.
        predict: function of (version, signature, input, list of bytes or numbers) to a Pending of {output: array}.
    """

    versions: typing.Callable
    predict: typing.Callable


def open_transport(server, name, timeout):
    """Return a Transport of requests to a model on a server, with arguments as in `connect`; nothing is sent yet.

    Raises:
        InputError: no such address, or gRPC without its packages.
    """
    address = _parse(server)
    expect(address, "server", "HOST:PORT for gRPC, or http://HOST:PORT for REST; grpcs:// or https:// if it has TLS",
           server)
    return (_open_grpc if address.scheme in GRPC_SCHEMES else _open_rest)(address, name, timeout)


def _parse(server):
    """Return the parts of an address, or None if it is not one."""
    try:
        address = urllib.parse.urlsplit(server if "://" in server else f"grpc://{server}")
        port = address.port  # raises ValueError if it is not a number
    except ValueError:
        return None
    known = address.scheme in ("http", "https") or (address.scheme in GRPC_SCHEMES and port)
    return address if known and address.hostname else None


# gRPC

def _open_grpc(address, name, timeout):
    grpc, status_pb2, status_grpc, predict_pb2, predict_grpc = _import_grpc()
    import tensorflow as tf
    if address.scheme == "grpcs":
        channel = grpc.secure_channel(address.netloc, grpc.ssl_channel_credentials(), CHANNEL_OPTIONS)
    else:
        channel = grpc.insecure_channel(address.netloc, CHANNEL_OPTIONS)
    predicting = predict_grpc.PredictionServiceStub(channel)
    asking = status_grpc.ModelServiceStub(channel)

    def start(method, request, read):
        call = method.future(request, timeout=timeout)

        def result():
            try:
                return read(call.result())
            except grpc.RpcError as error:
                raise Refused(error.code().name, error.details()) from error
            except (TypeError, ValueError) as error:  # an array whose content is shorter than its shape says
                raise Refused("DATA_LOSS", str(error)) from error

        return Pending(result, call.cancel)

    def versions():
        request = status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        available = status_pb2.ModelVersionStatus.AVAILABLE
        return start(asking.GetModelStatus, request, lambda answer: [
            status.version for status in answer.model_version_status if status.state == available])

    def predict(version, signature, key, values):
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = name, signature
        request.model_spec.version.value = version
        request.inputs[key].CopyFrom(tf.make_tensor_proto(values))
        return start(predicting.Predict, request, lambda answer: {
            output: tf.make_ndarray(tensor) for output, tensor in answer.outputs.items()})

    return Transport(versions, predict)


def _import_grpc():
    """Return the modules that gRPC needs, of an extra of this package; raise InputError without them."""
    try:
        import grpc
        from tensorflow_serving.apis import (
            get_model_status_pb2,
            model_service_pb2_grpc,
            predict_pb2,
            prediction_service_pb2_grpc,
        )
    except ImportError as error:
        raise InputError(f"server: expected grpcio and tensorflow-serving-api, which gRPC needs. Received: {error}. "
                         "Install them: pip install 'polysed_keras[serving]', or use REST: http://HOST:PORT."
                         ) from error
    return grpc, get_model_status_pb2, model_service_pb2_grpc, predict_pb2, prediction_service_pb2_grpc


# REST

def _open_rest(address, name, timeout):
    path = f"{address.path.rstrip('/')}/v1/models/{urllib.parse.quote(name, safe='')}"

    def versions():
        return _start_request(address, "GET", path, None, timeout, lambda answer: [
            int(status["version"]) for status in answer["model_version_status"] if status["state"] == "AVAILABLE"])

    def predict(version, signature, key, values):
        instances = [{"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
                     for value in values]
        body = json.dumps({"signature_name": signature, "instances": instances})
        return _start_request(address, "POST", f"{path}/versions/{version}:predict", body, timeout, lambda answer: {
            output: np.array([row[output] for row in answer["predictions"]]) for output in answer["predictions"][0]})

    return Transport(versions, predict)


def _start_request(address, method, path, body, timeout, read):
    """Start a request on a connection of its own, in a thread of its own that does not keep the process alive."""
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection, future = kind(address.hostname, address.port, timeout=timeout), concurrent.futures.Future()

    def run():
        try:
            future.set_result(_request(connection, method, path, body, read))
        except Exception as error:
            future.set_exception(_refusal(error))

    def result():
        try:
            return future.result(timeout)
        except TimeoutError as error:
            cancel()
            raise Refused("DEADLINE_EXCEEDED", f"no answer in {timeout} s") from error

    def cancel():
        with contextlib.suppress(OSError, AttributeError):
            connection.sock.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=run, daemon=True).start()
    return Pending(result, cancel)


def _request(connection, method, path, body, read):
    """Send a request and return what `read` makes of its JSON; raise Refused if the answer is an error."""
    with contextlib.closing(connection):
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read().decode(errors="replace")
    if response.status == 200:
        return read(json.loads(content))
    with contextlib.suppress(ValueError, KeyError, TypeError):
        content = json.loads(content)["error"]
    raise Refused(HTTP_CODES.get(response.status, "UNKNOWN"), f"HTTP {response.status}: {content}")


def _refusal(error):
    """Return the Refused that an error of a request stands for; errors of other kinds as they are."""
    if isinstance(error, Refused | TimeoutError):
        return error
    if isinstance(error, OSError | http.client.IncompleteRead):
        return Refused("UNAVAILABLE", str(error) or type(error).__name__)
    if isinstance(error, http.client.HTTPException):
        return Refused("UNKNOWN", f"no HTTP: {error!r}")
    if isinstance(error, KeyError | IndexError | TypeError | ValueError):
        return Refused("DATA_LOSS", f"no answer of TensorFlow Serving: {error!r}")
    return error
