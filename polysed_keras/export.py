"""SavedModels: waveforms in, posteriors and activity out, with everything needed to use them inside."""
import json
import pathlib

import keras
import numpy as np
import tensorflow as tf

from polysed_keras.errors import InputError
from polysed_keras.features import SILENCE_DB, LogMelSpectrogram
from polysed_keras.files import atomic_directory, write_json
from polysed_keras.inference import Detector
from polysed_keras.models import build_model
from polysed_keras.tasks import task_labels

SEGMENTS_PER_STEP = 32  # bounds the memory of one request, whatever its length
DESCRIPTION_KEYS = ("labels", "sample_rate", "hop_length", "win_length", "segment_frames", "time_resolution", "experiment")


def describe(experiment):
    """What travels inside an export: labels, sample rate (Hz), hop and window (samples), frames of a segment, seconds of
    an output (a frame, or a clip where clips are labelled as a whole), Experiment."""
    features = experiment.features
    time_resolution = features.time_resolution * (experiment.training.segment_frames if experiment.clip_level else 1)
    return {
        "labels": list(task_labels(experiment.tasks)), "sample_rate": features.sample_rate,
        "hop_length": features.hop_length, "win_length": features.win_length,
        "segment_frames": experiment.training.segment_frames, "time_resolution": time_resolution,
        "experiment": experiment.to_dict(),
    }


def _serving_function(model, experiment):
    features, frames_per_segment = experiment.features, experiment.training.segment_frames
    front_end, tasks = LogMelSpectrogram(features), experiment.tasks
    num_labels = len(task_labels(tasks))
    outputs_per_segment = 1 if experiment.clip_level else frames_per_segment

    def predict(segments):
        outputs = model(segments, training=False)
        posteriors = tf.concat([task.label_posteriors(outputs[task.name]) for task in tasks], axis=-1)
        activity = tf.concat([task.decode(outputs[task.name]) for task in tasks], axis=-1)
        shape = [-1, outputs_per_segment, num_labels]
        return tf.reshape(posteriors, shape), tf.reshape(activity, shape)

    # Tracing a network of many tasks takes most of the time, and a tf.function is traced twice: this once.
    predict = tf.compat.v1.wrap_function(predict, [tf.TensorSpec([None, frames_per_segment, features.n_mels])])

    def predict_in_steps(segments):
        def step(index, posteriors, activity):
            part_posteriors, part_activity = predict(segments[index:index + SEGMENTS_PER_STEP])
            return (index + SEGMENTS_PER_STEP, tf.concat([posteriors, part_posteriors], axis=0),
                    tf.concat([activity, part_activity], axis=0))

        shape = [None, outputs_per_segment, num_labels]
        empty = [tf.zeros([0, *shape[1:]], dtype) for dtype in (tf.float32, tf.uint8)]
        _, posteriors, activity = tf.while_loop(
            lambda index, *_: index < tf.shape(segments)[0], step, [0, *empty],
            shape_invariants=[tf.TensorShape([]), tf.TensorShape(shape), tf.TensorShape(shape)])
        return posteriors, activity

    def serve(waveform):
        log_mel = front_end(waveform)
        batch, num_frames = tf.shape(log_mel)[0], tf.shape(log_mel)[1]
        segments = -(-num_frames // frames_per_segment)
        padding = segments * frames_per_segment - num_frames
        log_mel = tf.pad(log_mel, [[0, 0], [0, padding], [0, 0]], constant_values=SILENCE_DB)
        cut = tf.reshape(log_mel, [batch * segments, frames_per_segment, features.n_mels])
        num_outputs = segments if experiment.clip_level else num_frames
        joined = (tf.reshape(part, [batch, segments * outputs_per_segment, num_labels])[:, :num_outputs]
                  for part in predict_in_steps(cut))
        return dict(zip(("posteriors", "activity"), joined))

    return serve


def _describe_function(experiment):
    constants = describe(experiment) | {"experiment": json.dumps(experiment.to_dict())}
    # float64: frames times a resolution of float32 would not be the times that a reference has
    return lambda: {key: tf.constant(constants[key], tf.float64 if key == "time_resolution" else None)
                    for key in DESCRIPTION_KEYS}


def _next_version(directory):
    versions = [int(path.name) for path in pathlib.Path(directory).glob("*") if path.name.isdigit()]
    return str(max(versions, default=0) + 1)


def export_saved_model(model, experiment, directory, card=None):
    """Export a trained network as the next version of `directory`: SavedModel and card.json.

    The network is built again without cuDNN's kernels and given the weights, so that it runs on any CPU wherever it was
    trained. Its default signature takes `waveform` float32 (batch, samples) at the Experiment's sample rate, of any
    length, and returns `posteriors` float32 and `activity` uint8, both (batch, ceil(samples / hop_length), labels); of
    networks that label clips (batch, clips, labels), where a clip is a segment and the last one is filled with silence.
    The signature `describe` takes nothing and returns what export.describe says, the Experiment as JSON.

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
    portable.get_layer("normalization").finalize_state()
    target = pathlib.Path(directory) / _next_version(directory)
    with atomic_directory(target) as temporary:
        archive = keras.export.ExportArchive()
        archive.add_endpoint("serving_default", _serving_function(portable, experiment),
                             [tf.TensorSpec([None, None], tf.float32, name="waveform")])
        archive.add_endpoint("describe", _describe_function(experiment), [])
        archive.write_out(temporary, verbose=False)
        write_json({**describe(experiment), **(card or {})}, temporary / "card.json")
    return target


def _version_directory(directory):
    directory = pathlib.Path(directory)
    if (directory / "saved_model.pb").is_file():
        return directory
    versions = sorted((path for path in directory.glob("*") if (path / "saved_model.pb").is_file()
                       and path.name.isdigit()), key=lambda path: int(path.name))
    if not versions:
        raise InputError(f"{directory}: expected saved_models/NAME or saved_models/NAME/VERSION with a saved_model.pb. "
                         "Received: none there. Export a run first: polysed export RUN --out saved_models/NAME.")
    return versions[-1]


def load_saved_model(directory):
    """Load an exported detector.

    Args:
        directory: saved_models/NAME, whose highest version is taken, or saved_models/NAME/VERSION.

    Returns:
        inference.Detector.

    Raises:
        InputError: no SavedModel there, or one that was not made by export_saved_model.
    """
    path = _version_directory(directory)
    try:
        loaded = tf.saved_model.load(str(path))
        constants = loaded.signatures["describe"]()
        serve = loaded.signatures["serving_default"]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: expected a SavedModel with the signatures serving_default and describe. "
                         f"Received: {error}.") from error
    description = {key: np.asarray(constants[key].numpy()).tolist() for key in DESCRIPTION_KEYS}
    description["labels"] = [label.decode() for label in description["labels"]]
    description["experiment"] = json.loads(description["experiment"])
    detector = Detector(lambda waveform: serve(waveform=tf.constant(waveform)), description)
    detector.saved_model = loaded  # the signatures live only as long as the object they came from
    return detector


def find_saved_model(directory):
    """The only model in a folder of models. Raises InputError where there is none, or several to choose from."""
    models = sorted({path.parents[1] for path in pathlib.Path(directory).glob("*/*/saved_model.pb")})
    if len(models) != 1:
        raise InputError(f"--model: expected a choice, or one model in {directory}/. Received: none, and "
                         f"{[str(path) for path in models] or 'no models'} there. Export a run, or name one.")
    return models[0]
