"""SavedModels: write a network with all that is needed to use it, and load it as a detector."""
import json
import logging
import pathlib

import keras
import numpy as np
import tensorflow as tf

from polysed_keras.detection import Detector
from polysed_keras.errors import InputError, brief
from polysed_keras.export.conversion import convert_runtimes
from polysed_keras.export.description import describe, list_versions, version_directory
from polysed_keras.export.runtimes import DIRECTORY, PREFERRED, TOO_LARGE
from polysed_keras.export.signatures import build_signatures
from polysed_keras.export.warmup import write_warmup_requests
from polysed_keras.files import atomic_directory, check_checksums, write_checksums, write_json
from polysed_keras.models import build_model

MOST_WEIGHTS = 20e6  # Converting sixteen tasks (58e6) takes a minute and 7 GB.
logger = logging.getLogger(__name__)


def export_saved_model(model, experiment, directory, card=None, calibration=None, runtimes=()):
    """Export a trained network as the next version of a model: SavedModel, LiteRT network and card.json.

    The network is built again without cuDNN's kernels and given the weights, so that it runs on any CPU. The default
    signature takes `waveform` float32 (batch, samples) of any length, at the experiment's sample rate, and returns
    `posteriors` float32 and `activity` uint8, both (batch, ceil(samples / hop_length), labels). A network that labels
    clips returns (batch, clips, labels): a clip is a segment, and the last one is filled up with silence.
    saved_models/README.md describes the other signatures: detect_wav, log_mel and describe.

    A network of at most MOST_WEIGHTS weights is converted for LiteRT too, by which load_export loads it without
    TensorFlow. If it holds operations that LiteRT lacks, it goes without.

    Args:
        model: a network of build_model for the same experiment.
        experiment: Experiment whose tasks are resolved.
        directory: saved_models/NAME; a folder 1, 2, ... is made in it.
        card: dict that card.json holds beside the description.
        calibration: dict of evaluation.calibrate_run, which the export describes; None for none.
        runtimes: list of str, keys of runtimes.FILES, for which it must be converted too.

    Returns:
        Path of the version's folder.

    Raises:
        InputError: the folder cannot be written; or as convert_runtimes, for `runtimes`.
    """
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")  # float16 is for training: a CPU is slow with it, and LiteRT lacks parts
    try:
        portable = build_model(experiment.model, experiment.tasks, experiment.input_shape, use_cudnn=False)
    finally:
        keras.config.set_dtype_policy(policy)
    portable.set_weights(model.get_weights())
    logging.getLogger("tensorflow").addFilter(_is_no_place)
    target = pathlib.Path(directory) / str(1 + max(map(int, list_versions(directory)), default=0))
    name = target.resolve().parent.name
    description = describe(experiment, name, int(target.name), calibration)
    with atomic_directory(target) as temporary:
        archive = keras.export.ExportArchive()
        for signature, (function, spec) in build_signatures(portable, experiment, description).items():
            archive.add_endpoint(signature, function, [spec])
        archive.write_out(temporary, verbose=False)
        write_warmup_requests(experiment, name, temporary)
        _convert(portable, experiment, temporary / DIRECTORY, runtimes)
        write_json({**description, **(card or {})}, temporary / "card.json", versioned=True)
        write_checksums(temporary)
    return target


def _convert(network, experiment, directory, wanted):
    """Write the files of the runtimes that are wanted, and those of LiteRT if that is possible."""
    directory.mkdir()
    convert_runtimes(network, experiment, directory, wanted)
    if network.count_params() <= MOST_WEIGHTS:
        try:
            convert_runtimes(network, experiment, directory, [PREFERRED])
        except InputError as error:
            logger.warning("the export can be used by TensorFlow only: %s", error)


def _is_no_place(record):
    """Drop TensorFlow's line about where it writes, because that is the temporary name of the folder."""
    return not record.getMessage().startswith("Assets written to")


def load_saved_model(directory):
    """Load an exported model as a detector that TensorFlow runs.

    A SavedModel can read and write files: load only models that you trust.

    Args:
        directory: saved_models/NAME, whose highest version is taken, or saved_models/NAME/VERSION.

    Returns:
        detection.Detector.

    Raises:
        InputError: no SavedModel there, one that was not made by export_saved_model, or one whose files have changed.

    Example:
        >>> load_saved_model("saved_models/mine").detect("street.wav")
    """
    path = version_directory(directory)
    check_checksums(path)
    loaded = load_graph(path)
    try:
        detector = make_detector(loaded.signatures["serving_default"], _read_description(loaded.signatures["describe"]))
    except (KeyError, ValueError, tf.errors.OpError) as error:
        raise InputError(f"{path}: expected a SavedModel with the signatures serving_default and describe. "
                         f"Received: {brief(error)}.") from error
    detector.saved_model = loaded  # the signatures live only as long as the object they came from
    return detector


def load_graph(directory):
    """Load a SavedModel with any signatures.

    Args:
        directory: folder with its saved_model.pb.

    Returns:
        what tf.saved_model.load returns.

    Raises:
        InputError: its files are damaged.
    """
    try:
        return tf.saved_model.load(str(directory))
    except Exception as error:  # Which kinds there are depends on the damaged byte.
        raise InputError(f"{directory}: expected a SavedModel. Received: {brief(error)}. Copy or export it "
                         "again.") from error


def make_detector(signature, description):
    """Return the Detector of a function with the default signature, and of what `describe` says of it."""
    def serve(waveform):
        try:
            return signature(waveform=tf.constant(waveform))
        except tf.errors.InvalidArgumentError as error:
            raise InputError(TOO_LARGE) from error

    return Detector(serve, description)


def _read_description(signature):
    """Return what export.describe said. Exports of version 0.1.0 take no query, and hold neither name nor version."""
    inputs = signature.structured_input_signature[1]
    constants = signature(**{name: tf.constant([0]) for name in inputs})
    description = tf.nest.map_structure(
        lambda element: element.decode() if isinstance(element, bytes) else element,
        {key: np.asarray(value[0] if inputs else value).tolist() for key, value in constants.items()})
    return description | {key: json.loads(description[key]) for key in ("experiment", "calibration")
                          if key in description}
