"""What TensorFlow Serving needs beside exported models: its own configuration, and manifests that run it in containers."""
import json
import math
import os
import pathlib
import re
import string

from polysed_keras.detection import SEGMENTS_PER_BLOCK
from polysed_keras.errors import InputError
from polysed_keras.files import atomic_directory, read_json

TEMPLATES = pathlib.Path(__file__).parent / "templates"
THREADS = 2  # batches at a time; each of them uses all cores
COPIES = 7  # of a batch's audio while it is answered: 3 in the graph (measured), the request, its JSON; of one that waits 2
IMAGE = "tensorflow/serving:2.18.0"
MODEL = """\
  config {
    name: "$name"
    base_path: "/models/$name"  # version $versions
    model_platform: "tensorflow"
    # two, so that clients in the middle of a file end with the version that they began with
    model_version_policy { latest { num_versions: 2 } }
  }"""


def find_exports(directory):
    """The exported models of a folder.

    Args:
        directory: saved_models/, with NAME/VERSION/saved_model.pb and card.json in it.

    Returns:
        {name: {version: what card.json says}}, both sorted.

    Raises:
        InputError: no export there, one whose name no address can hold, or whose card.json is missing or says too little.
    """
    found = {}
    for path in sorted(pathlib.Path(directory).glob("*/*/saved_model.pb"), key=lambda path: path.parts):
        if path.parent.name.isdecimal():
            found.setdefault(path.parents[1].name, {})[int(path.parent.name)] = _read_card(path.parent / "card.json")
    if not found:
        raise InputError(f"{directory}: expected exported models, NAME/VERSION/saved_model.pb. Received: none there. "
                         f"Export a run first: polysed export RUN --out {pathlib.Path(directory) / 'NAME'}.")
    odd = [name for name in found if not re.fullmatch(r"[\w.-]+", name, re.ASCII)]
    if odd:
        raise InputError(f"{directory}: expected names of letters, digits, '.', '_' and '-', which addresses can hold. "
                         f"Received: {odd}. Export them under other names.")
    return {name: dict(sorted(versions.items())) for name, versions in found.items()}


def _read_card(path):
    card = read_json(path)
    missing = [key for key in ("sample_rate", "segment_frames", "hop_length") if key not in card]
    if missing:
        raise InputError(f"{path}: expected the card of an export, with {', '.join(missing)}. Received: {sorted(card)}. "
                         "Export the run again.")
    return card


def write_deployment(models, out, max_seconds=None, max_batch=4, max_queue=16, timeout=120):
    """Write what serves all models of a folder: TensorFlow Serving's configuration, an nginx before it that limits a
    request's length, and compose and Kubernetes manifests.

    Args:
        models: saved_models/.
        out: the new folder.
        max_seconds: audio of a file of a request; by default of what a client cuts longer ones into.
        max_batch: files of a request, and of a batch of requests.
        max_queue: batches that wait; beyond them a request is UNAVAILABLE, and its client tries again.
        timeout: of an answer, seconds.

    Returns:
        Paths of the files.

    Raises:
        InputError: no exports; a limit that is no positive number, or below what `polysed detect --server` sends; out exists.
    """
    exports = find_exports(models)
    cards = [card for versions in exports.values() for card in versions.values()]
    chunk = _client_seconds(cards)
    max_seconds = chunk if max_seconds is None else max_seconds
    for name, value, least in (("max-seconds", max_seconds, chunk), ("max-batch", max_batch, 1), ("max-queue", max_queue, 1),
                               ("timeout", timeout, 1)):
        if value < least:
            raise InputError(f"{name}: expected {least} or more{', a chunk of a client' * (least > 1)}. Received: {value}.")
    values = {
        "models": "\n".join(_model(name, versions) for name, versions in exports.items()), "image": IMAGE,
        # YAML reads JSON's strings; a $ begins a variable in compose
        "models_folder": json.dumps(os.path.relpath(models, out).replace("$", "$$"), ensure_ascii=False),
        "status_path": f"/v1/models/{next(iter(exports))}", "max_batch": max_batch, "max_queue": max_queue,
        "max_seconds": max_seconds, "timeout": timeout, "threads": THREADS,
        **_sizes(4 * max_batch * max_seconds * max(card["sample_rate"] for card in cards), max_queue),
    }
    with atomic_directory(out) as temporary:
        for template in sorted(TEMPLATES.iterdir()):
            (temporary / template.name).write_text(string.Template(template.read_text()).substitute(values))
    return [pathlib.Path(out) / template.name for template in sorted(TEMPLATES.iterdir())]


def _client_seconds(cards):
    """What a client sends at most, with the context of the last frame."""
    chunks = [SEGMENTS_PER_BLOCK * card["segment_frames"] * card["hop_length"] / card["sample_rate"] for card in cards]
    return math.ceil(max(chunks)) + 1


def _sizes(audio, max_queue):
    """MiB of a request, and GiB of the server, for so many bytes of audio in a batch."""
    copies = THREADS * COPIES + 2 * max_queue
    return {"max_megabytes": math.ceil(audio * 4 / 3 / 2 ** 20) + 1, "memory": 2 + math.ceil(copies * audio / 2 ** 30)}


def _model(name, versions):
    return string.Template(MODEL).substitute(name=name, versions=", ".join(map(str, versions)))
