"""Write the configuration of TensorFlow Serving for exported models, and manifests that run it in containers."""
import json
import math
import os
import pathlib
import re
import string

from polysed_keras.detection import SEGMENTS_PER_BLOCK, Card
from polysed_keras.errors import InputError, expect
from polysed_keras.files import atomic_directory, check_checksums, read_json

TEMPLATES = pathlib.Path(__file__).parent / "templates"
THREADS = 2  # batches at a time, each of which uses all cores
COPIES = 7  # of a batch's audio in memory while it is answered: 3 in the graph (measured), the request and its JSON
WAITING_COPIES = 2  # of a batch's audio in memory while it waits
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
    """Find the exported models of a folder: {name: {version: dict of card.json}}, both sorted.

    Raises:
        InputError: no export there, or one whose files have changed; a name that addresses cannot hold; a card.json
            that is missing or incomplete.
    """
    found = {}
    for path in sorted(pathlib.Path(directory).glob("*/*/saved_model.pb"), key=lambda path: path.parts):
        if path.parent.name.isdecimal():
            check_checksums(path.parent)
            card = read_json(path.parent / "card.json", Card, others=True)
            missing = [key for key in ("sample_rate", "segment_frames", "hop_length") if card.get(key, 0) <= 0]
            expect(not missing, path.parent / "card.json", f"the card of an export, with {', '.join(missing)}",
                   sorted(card), "Export the run again.")
            found.setdefault(path.parents[1].name, {})[int(path.parent.name)] = card
    if not found:
        raise InputError(f"{directory}: expected exported models, NAME/VERSION/saved_model.pb. Received: none there. "
                         f"Export a run first: polysed export RUN --out {pathlib.Path(directory) / 'NAME'}.")
    odd = [name for name in found if not re.fullmatch(r"[\w.-]+", name, re.ASCII)]
    expect(not odd, directory, "names of letters, digits, '.', '_' and '-', which addresses can hold", odd,
           "Export them under other names.")
    return {name: dict(sorted(versions.items())) for name, versions in found.items()}


def write_deployment(models, out, max_seconds=None, max_batch=4, max_queue=16, timeout=120):
    """Write what serves all models of a folder.

    That is the configuration of TensorFlow Serving, and of an nginx before it that limits a request's length, and
    manifests for compose and Kubernetes.

    Args:
        models: saved_models/, the folder of exported models.
        out: folder to be made.
        max_seconds: longest audio of a file in a request, seconds; None for the length of a client's chunk.
        max_batch: int, the most files of a request, and of a batch of requests.
        max_queue: int, the most batches that wait; the next request is UNAVAILABLE, and its client tries again.
        timeout: seconds that an answer may take.

    Returns:
        List of the files' paths.

    Raises:
        InputError: no exports; a limit below 1, or below what `polysed detect --server` sends; `out` exists.

    Example:
        >>> write_deployment("saved_models", "deploy")
    """
    exports = find_exports(models)
    cards = [card for versions in exports.values() for card in versions.values()]
    # the most that a client sends in a file: its segments, and the context of the last frame
    chunk = 1 + math.ceil(max(SEGMENTS_PER_BLOCK * card["segment_frames"] * card["hop_length"] / card["sample_rate"]
                              for card in cards))
    max_seconds = chunk if max_seconds is None else max_seconds
    for name, value, least in (("max-seconds", max_seconds, chunk), ("max-batch", max_batch, 1),
                               ("max-queue", max_queue, 1), ("timeout", timeout, 1)):
        expect(value >= least, name, f"{least} or more{', a chunk of a client' * (least > 1)}", value)
    batch = 4 * max_batch * max_seconds * max(card["sample_rate"] for card in cards)  # bytes of audio
    copies = THREADS * COPIES + WAITING_COPIES * max_queue
    values = {
        "models": "\n".join(string.Template(MODEL).substitute(name=name, versions=", ".join(map(str, versions)))
                            for name, versions in exports.items()), "image": IMAGE,
        # A string of JSON is one of YAML. In compose, a $ begins a variable.
        "models_folder": json.dumps(os.path.relpath(models, out).replace("$", "$$"), ensure_ascii=False),
        "status_path": f"/v1/models/{next(iter(exports))}", "max_batch": max_batch, "max_queue": max_queue,
        "max_seconds": max_seconds, "timeout": timeout, "threads": THREADS,
        "max_megabytes": math.ceil(batch * 4 / 3 / 2 ** 20) + 1,  # of a request, MiB, as base64 in JSON
        "memory": 2 + math.ceil(copies * batch / 2 ** 30),  # of the server, GiB
    }
    with atomic_directory(out) as temporary:
        for template in sorted(TEMPLATES.iterdir()):
            (temporary / template.name).write_text(string.Template(template.read_text()).substitute(values))
    return [pathlib.Path(out) / template.name for template in sorted(TEMPLATES.iterdir())]
