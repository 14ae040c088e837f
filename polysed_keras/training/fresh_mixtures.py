"""Training mixtures drawn in memory while a network trains, from the soundbank that a corpus was made of."""
import dataclasses
import json
import pathlib

from polysed_keras.audio import compute_log_mel, visible_audio, walk_files
from polysed_keras.errors import InputError, expect
from polysed_keras.specs import set_spec_fields, task_labels
from polysed_keras.synthesis import (
    INSTRUCTIONS,
    ROLES,
    SoundscapeSpec,
    draw_mixture,
    gather_sounds,
    mixture_generator,
    partition_soundbank,
    read_instructions,
    read_soundbank,
    render_mixture,
)
from polysed_keras.training.recordings import recording_features


@dataclasses.dataclass(frozen=True)
class Mixing:
    """Settings of training mixtures that are drawn anew while a network trains.

    Attributes:
        soundbank: its folder; mixtures are made of its training partition.
        spec: SoundscapeSpec.
        mixtures: number per epoch.
        folds: of the partitions, as of synthesis.partition_soundbank; None divides at random.
        seed: of the random division.
        whole: take the whole soundbank, for data that were not made of it.
        kept_epochs: number of epochs for which a mixture is used; with 3, a third of each epoch's mixtures are new.
    """

    soundbank: str
    spec: SoundscapeSpec = SoundscapeSpec()
    mixtures: int = 60
    folds: tuple | None = None
    seed: int = 0
    whole: bool = False
    kept_epochs: int = 1

    @property
    def name(self):
        """Words that a run's name ends with."""
        return "fresh" if self.kept_epochs == 1 else f"fresh kept_epochs={self.kept_epochs}"

    def to_dict(self):
        """Return the settings as plain dicts, lists and numbers, for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


def resolve_mixing(soundbank, data, mixtures=None, assignments=(), kept_epochs=1):
    """Return the Mixing that goes with a corpus: made like its own mixtures, if it has any, of the same recordings.

    Args:
        soundbank: folder of the soundbank.
        data: folder of the corpus; with a soundscapes.json, its partition, its spec and the number of its training
            mixtures are taken.
        mixtures: number per epoch; None for the corpus's, or 60.
        assignments: changes of the SoundscapeSpec, such as `background=pink`.
        kept_epochs: number of epochs for which a mixture is used.
    """
    if (pathlib.Path(data) / INSTRUCTIONS).is_file():
        content = read_instructions(data)
        mixing = Mixing(str(soundbank), content.spec, len(content.mixtures.get("train", ())) or Mixing.mixtures,
                        content.folds, content.seed)
    else:
        mixing = Mixing(str(soundbank), whole=True)
    return dataclasses.replace(mixing, spec=set_spec_fields(mixing.spec, assignments), kept_epochs=kept_epochs,
                               mixtures=mixing.mixtures if mixtures is None else mixtures)


def fresh_recordings(mixing, dataset, experiment):
    """Return a function that draws the recordings of an epoch, and the audio that it draws from.

    Mixture i depends only on i, the experiment's seed and the epoch that it is drawn in: the first epoch, and every
    epoch whose number is i modulo `kept_epochs`.

    Args:
        mixing: Mixing.
        dataset: datasets.Dataset for validation.
        experiment: Experiment with resolved tasks.

    Returns:
        Function of the epoch (0, 1, ...) to its list of RecordingFeatures; and {name: path} of all audio files of the
        soundbank and of the other folders of the spec.

    Raises:
        InputError: labels other than the corpus's, a sample rate other than the experiment's, recordings that the
            corpus validates or tests with, unusable sounds.
    """
    bank, labels = read_soundbank(mixing.soundbank), task_labels(experiment.tasks)
    spec = dataclasses.replace(mixing.spec, stems=False).with_folders(**bank.besides)
    partitions = {"train": bank} if mixing.whole else partition_soundbank(bank, folds=mixing.folds, seed=mixing.seed)
    _check(mixing, dataset, experiment, partitions["train"])
    sounds, read = gather_sounds(partitions, ["train"], spec, mixing.seed)
    kept = {}

    def draw(epoch):
        for index in range(mixing.mixtures):
            drawn_in = max(epoch - (epoch - index) % mixing.kept_epochs, 0)
            if index not in kept or kept[index][0] != drawn_in:
                generator = mixture_generator(experiment.training.seed, "train", drawn_in, index)
                kept[index] = drawn_in, draw_recording(generator, sounds["train"], read, spec, labels,
                                                       experiment.features, experiment.time_resolution)
        return [recording for _, recording in kept.values()]

    return draw, _list_sounds(bank, spec)


def _list_sounds(bank, spec):
    """Return {name: path} of a soundbank's recordings and those of the spec's other folders, wherever they are."""
    sounds = {str((instance.event_label, instance.source, instance.fold, _name(instance.path, bank.folder))):
              instance.path for instance in bank.instances}
    for role in ROLES[1:]:
        for number, folder in enumerate(map(pathlib.Path, spec.folders(role))):
            sounds |= {str((role, number, _name(path, folder))): path
                       for path in visible_audio(walk_files(folder), folder)}
    return sounds


def _name(path, folder):
    return path.relative_to(folder).as_posix()


def draw_recording(rng, sounds, read, spec, labels, features, time_resolution=None):
    """Draw a mixture, render it and turn it into RecordingFeatures, in memory.

    Args:
        rng: numpy Generator.
        sounds: of one partition, from synthesis.gather_sounds.
        read: function from synthesis.gather_sounds.
        spec: SoundscapeSpec.
        labels: of the columns of the event roll.
        features: LogMelSpec, with the sample rate of `spec`.
        time_resolution: seconds per row of the event roll; None for a row per frame.
    """
    rendering = render_mixture(draw_mixture(rng, sounds, spec), read, spec)
    log_mel = compute_log_mel(rendering.waveform, features)
    return recording_features("drawn", log_mel, rendering.events, labels, features, time_resolution)


def _check(mixing, dataset, experiment, bank):
    rate = experiment.features.sample_rate
    expect(sorted(bank.labels) == sorted(dataset.labels), mixing.soundbank,
           f"the labels of {dataset.folder}, {list(dataset.labels)}", list(bank.labels))
    expect(mixing.spec.sample_rate == rate, "sample_rate", f"that of the features, {rate} Hz", mixing.spec.sample_rate,
           f"Add --mix sample_rate={rate}.")
    for name in ("mixtures", "kept_epochs"):
        expect(getattr(mixing, name) >= 1, name, "at least one", getattr(mixing, name))
    if not mixing.whole:
        held = {piece.recording for name, mixtures in read_instructions(dataset.folder).mixtures.items()
                for mixture in mixtures for piece in mixture.pieces if name != "train" and piece.event_label}
        leaked = held & {instance.path.relative_to(bank.folder).as_posix() for instance in bank.instances}
        if leaked:
            raise InputError(f"{mixing.soundbank}: expected the soundbank that {dataset.folder} was made of. Received "
                             f"one whose training recordings are heard in its other partitions, such as {min(leaked)}.")
