"""SavedModels: waveforms in, posteriors and activity out, with everything needed to use them inside."""
import json
import logging
import pathlib

import keras
import numpy as np
import tensorflow as tf

from polysed_keras.detection import Detector
from polysed_keras.errors import InputError
from polysed_keras.export.signatures import build_signatures, describe
from polysed_keras.export.warmup import write_warmup_requests
from polysed_keras.files import atomic_directory, write_json
from polysed_keras.models import NORMALIZATION, build_model

DEFAULT_MODEL = pathlib.Path(__file__).resolve().parents[2] / "saved_models" / "esc10"  # comes with a clone


def _next_version(directory):
    versions = [int(path.name) for path in pathlib.Path(directory).glob("*") if path.name.isdecimal()]
    return str(max(versions, default=0) + 1)


def export_saved_model(model, experiment, directory, card=None):
    """Export a trained network as the next version of `directory`: SavedModel, warm-up requests and card.json.

    The network is built again without cuDNN's kernels and given the weights, so that it runs on any CPU wherever it was
    trained. Its default signature takes `waveform` float32 (batch, samples) at the Experiment's sample rate, of any
    length, and returns `posteriors` float32 and `activity` uint8, both (batch, ceil(samples / hop_length), labels); of
    networks that label clips (batch, clips, labels), where a clip is a segment and the last one is filled with silence.
    The other signatures are detect_wav, log_mel and describe: see saved_models/README.md.

    Args:
        model: a network of build_model for the same experiment.
        experiment: Experiment whose tasks are resolved.
        directory: saved_models/NAME; a folder 1, 2, ... is made in it.
        card: dict to be kept in card.json beside the description.

    Returns:
        Path of the version's folder.

    Raises:
        InputError: the folder cannot be written.
    """
    shape = (experiment.training.segment_frames, experiment.features.n_mels)
    portable = build_model(experiment.model, experiment.tasks, shape, use_cudnn=False)
    portable.set_weights(model.get_weights())
    portable.get_layer(NORMALIZATION).finalize_state()
    logging.getLogger("tensorflow").addFilter(_is_no_place)
    target = pathlib.Path(directory) / _next_version(directory)
    name, version = target.resolve().parent.name, int(target.name)
    with atomic_directory(target) as temporary:
        archive = keras.export.ExportArchive()
        for signature, (function, spec) in build_signatures(portable, experiment, name, version).items():
            archive.add_endpoint(signature, function, [spec])
        archive.write_out(temporary, verbose=False)
        write_warmup_requests(experiment, name, temporary)
        write_json({**describe(experiment, name, version), **(card or {})}, temporary / "card.json")
    return target


def _is_no_place(record):
    """TensorFlow says where it writes; that is a temporary name of the folder."""
    return not record.getMessage().startswith("Assets written to")


def version_directory(directory):
    """The folder of saved_models/NAME's highest version, or the folder itself where it holds a SavedModel. Raises InputError."""
    directory = pathlib.Path(directory)
    if (directory / "saved_model.pb").is_file():
        return directory
    versions = sorted((path for path in directory.glob("*") if (path / "saved_model.pb").is_file()
                       and path.name.isdecimal()), key=lambda path: int(path.name))
    if not versions:
        raise InputError(f"{directory}: expected saved_models/NAME or saved_models/NAME/VERSION with a saved_model.pb. "
                         "Received: none there. Export a run first: polysed export RUN --out saved_models/NAME.")
    return versions[-1]


def load_saved_model(directory):
    """Load an exported detector.

    Args:
        directory: saved_models/NAME, whose highest version is taken, or saved_models/NAME/VERSION.

    Returns:
        detection.Detector.

    Raises:
        InputError: no SavedModel there, or one that was not made by export_saved_model.
    """
    path = version_directory(directory)
    try:
        loaded = tf.saved_model.load(str(path))
        detector = Detector(_serve_function(loaded.signatures["serving_default"]),
                            _read_description(loaded.signatures["describe"]))
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: expected a SavedModel with the signatures serving_default and describe. "
                         f"Received: {error}.") from error
    detector.saved_model = loaded  # the signatures live only as long as the object they came from
    return detector


def _serve_function(signature):
    def serve(waveform):
        try:
            return signature(waveform=tf.constant(waveform))
        except tf.errors.InvalidArgumentError as error:
            raise InputError("audio: expected samples from -1 to 1, or not far beyond. Received: some so large that their energy "
                             "is infinite. Scale them down.") from error

    return serve


def _read_description(signature):
    """What export.describe said; exports of version 0.1.0 take no query, and say neither name nor version."""
    inputs = signature.structured_input_signature[1]
    constants = signature(**{name: tf.constant([0]) for name in inputs})
    description = {key: _plain(np.asarray(value[0] if inputs else value).tolist()) for key, value in constants.items()}
    return description | {"experiment": json.loads(description["experiment"])}


def _plain(value):
    """Text where TensorFlow has bytes."""
    if isinstance(value, list):
        return [_plain(element) for element in value]
    return value.decode() if isinstance(value, bytes) else value


def default_model():
    """The folder of the model that comes with the project, DEFAULT_MODEL; says so. Raises InputError where it is missing."""
    if not DEFAULT_MODEL.is_dir():
        raise InputError(f"--model: expected a choice. Received: none, and the project's own is not there: {DEFAULT_MODEL} "
                         "(it comes with a clone, not with an installed package). Export a run, or name a model.")
    logging.getLogger(__name__).info("no --model: taking %s, whose labels its README.md says", DEFAULT_MODEL)
    return DEFAULT_MODEL
