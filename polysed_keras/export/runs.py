"""Export the best epoch of a run, or a preset that needs no training, or load a run as a detector without an export."""
import pathlib

import tensorflow as tf

from polysed_keras.detection import Card
from polysed_keras.errors import InputError
from polysed_keras.export.description import describe, version_directory
from polysed_keras.export.saved_model import export_saved_model, make_detector
from polysed_keras.export.signatures import build_signatures, read_exported_weights
from polysed_keras.files import CHECKSUMS, check_checksums, file_digest, read_json
from polysed_keras.models import build_model, with_labels
from polysed_keras.specs import EXPERIMENT, PRESETS, Experiment, task_labels
from polysed_keras.training import BEST_WEIGHTS, best_epoch, load_best_model, load_run, read_calibration


def export_run(run, out, *, runtimes=()):
    """Export the best epoch of a run as the next version of a model, with its calibration if it has one.

    Args:
        run: the run's folder, or the name of a preset that needs no training: yamnet_audioset.
        out: saved_models/NAME; a folder 1, 2, ... is made in it.
        runtimes: list of str, as of export_saved_model.

    Returns:
        Path of the version's folder.

    Raises:
        InputError: no trained run there, or `out` cannot be written; or as export_saved_model, for `runtimes`.

    Example:
        >>> ps.export_run("runs/mine", "saved_models/mine").name
        '1'
    """
    experiment, model = load_network(run)
    if not experiment.learns:
        return export_saved_model(model, experiment, out, runtimes=runtimes)
    best = best_epoch(run, experiment.measure)
    measure = experiment.measure.replace("val_", "validation_")
    return export_saved_model(model, experiment, out, {"best_epoch": best["epoch"], measure: best[experiment.measure]},
                              read_calibration(run, task_labels(experiment.tasks)), runtimes)


def load_network(run, *, use_cudnn="auto"):
    """Load what export_run exports.

    Args:
        run: as of export_run.
        use_cudnn: as of keras.layers.GRU.

    Returns:
        Experiment with resolved tasks, and its keras.Model.

    Raises:
        InputError: no trained run there, or the name of a preset that has to be trained first.
    """
    preset = PRESETS.get(str(run))
    if preset is None or (pathlib.Path(run) / EXPERIMENT).is_file():
        experiment = load_run(run)
        return experiment, load_best_model(experiment, run, use_cudnn=use_cudnn)
    if preset.learns:
        raise InputError(f"{run}: expected the folder of a run. Received: a preset, which has no weights yet. Train it "
                         f"first: polysed train {run} --data DATA --out RUN.")
    experiment = with_labels(preset)
    return experiment, build_model(experiment, use_cudnn=use_cudnn)


def load_trained(model):
    """Load the network of a run or an export to learn further.

    Args:
        model: a run's folder; saved_models/NAME, or saved_models/NAME/VERSION.

    Returns:
        Experiment with resolved tasks, its keras.Model, its calibration (None if it has none), and a dict of the keys
        of experiment.json that say where the weights are from.

    Raises:
        InputError: neither is there, it was changed, or it needs a plug-in that is not loaded.
    """
    if (pathlib.Path(model) / EXPERIMENT).is_file():
        experiment, network = load_network(model)
        origin = {"pretrained": file_digest(pathlib.Path(model) / BEST_WEIGHTS)}
        return experiment, network, read_calibration(model, task_labels(experiment.tasks)), origin
    folder = version_directory(model)
    check_checksums(folder)
    card = read_json(folder / "card.json", Card, others=True)
    experiment = Experiment.from_dict(card["experiment"])
    network = build_model(experiment.model, experiment.tasks, experiment.input_shape)
    read_exported_weights(network, folder)
    return experiment, network, card.get("calibration") or None, {"pretrained": file_digest(folder / CHECKSUMS)}


def load_run_detector(run):
    """Load the best epoch of a run as a detector that answers like the run's export; nothing is written.

    Args:
        run: the run's folder.

    Returns:
        detection.Detector.

    Raises:
        InputError: no trained run there.
    """
    experiment, name = load_run(run), pathlib.Path(run).resolve().name
    description = describe(experiment, name, 1, read_calibration(run, task_labels(experiment.tasks)))
    model = load_best_model(experiment, run, use_cudnn=False)
    serve, spec = build_signatures(model, experiment, description)["serving_default"]
    return make_detector(tf.function(serve, input_signature=[spec]), description)
