"""Frozen specs that say an experiment completely: features, network, training, tasks. No TensorFlow here."""
import dataclasses
import hashlib
import json

from polysed_keras.errors import InputError, expect
from polysed_keras.specs.plugins import is_clip_head
from polysed_keras.specs.tasks import Decomposition, Task

DATA_DIGEST = "data_digest"  # stands beside an Experiment in experiment.json of a run: of the data that it was trained on


def _lists_to_tuples(spec):
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if isinstance(value, list):
            object.__setattr__(spec, field.name, tuple(value))


@dataclasses.dataclass(frozen=True)
class LogMelSpec:
    """Log-mel features; defaults: paper 1, section 4.2 (40 ms frames, 50 % overlap), n_fft ours.

    Attributes:
        sample_rate: Hz; audio of another rate is converted.
        win_length, hop_length, n_fft: samples.
        n_mels: Slaney mels from `fmin` to `fmax`, Hz.
    """

    sample_rate: int = 44100
    win_length: int = 1764
    hop_length: int = 882
    n_fft: int = 2048
    n_mels: int = 64
    fmin: float = 50.0
    fmax: float = 22050.0

    def __post_init__(self):
        expect(0 < self.hop_length <= self.win_length <= self.n_fft, "features.win_length",
               "hop_length <= win_length <= n_fft", self.win_length)
        expect(0 <= self.fmin < self.fmax <= self.sample_rate / 2, "features.fmax",
               "fmin < fmax <= sample_rate / 2", self.fmax)
        expect(self.n_mels > 0, "features.n_mels", "at least 1", self.n_mels)

    @property
    def time_resolution(self):
        """Seconds a frame."""
        return self.hop_length / self.sample_rate

    def num_frames(self, num_samples):
        """Frames of a waveform: ceil(samples / hop_length)."""
        return -(-num_samples // self.hop_length)

    def digest(self):
        """A short name for the features that this spec makes, for caches."""
        return hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()[:12]


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """A network: backbone and head by name (keys of BACKBONES and HEADS), and their sizes.

    Attributes:
        filters: channels that the backbone's stages end with.
        recurrent_units: of a GRU, a direction; dense_units: of the layers behind it.
        dropout: rate, 0 to below 1.
        stem_strides: (time, frequency); other than (1, 1) they put a strided convolution with filters[0] kernels in front
            of `conv_blocks`, and outputs are repeated to the frame rate.
    """

    backbone: str = "conv_blocks"
    head: str = "recurrent"
    filters: tuple = (64, 64, 128, 128, 256)
    recurrent_units: int = 256
    dense_units: tuple = (512, 512)
    dropout: float = 0.25
    stem_strides: tuple = (1, 1)

    def __post_init__(self):
        _lists_to_tuples(self)
        expect(0 <= self.dropout < 1, "model.dropout", "a rate from 0 to below 1", self.dropout)
        expect(self.filters, "model.filters", "positive whole numbers", self.filters)
        for field in ("filters", "dense_units", "stem_strides"):
            expect(all(type(number) is int and number > 0 for number in getattr(self, field)), f"model.{field}",
                   "positive whole numbers", getattr(self, field))
        expect(len(self.stem_strides) == 2, "model.stem_strides", "two numbers, of time and frequency", self.stem_strides)
        expect(self.recurrent_units > 0, "model.recurrent_units", "at least 1", self.recurrent_units)


@dataclasses.dataclass(frozen=True)
class TrainSpec:
    """A training by Adam. A clip is a segment.

    Attributes:
        batch_size: segments, or scene clips; a joint batch has `event_batch_size` event clips too (paper 2, section 2).
        learning_rate_schedule: `constant` (paper 1), or `cosine`, by which the rate falls to 0 at the last epoch's end.
        segment_frames: frames of a segment; segment_hop: from one training segment of a recording to the next.
        alpha: weight of the event loss, 0 to 1, beside 1 - alpha of the scene loss (paper 2, equation 1).
        event_hours: of event clips to train on; None takes all.
    """

    batch_size: int = 32
    epochs: int = 10
    learning_rate: float = 1e-4
    segment_frames: int = 128
    segment_hop: int = 1
    alpha: float | None = None
    seed: int = 0
    learning_rate_schedule: str = "constant"
    event_batch_size: int = 128
    event_hours: float | None = None

    def __post_init__(self):
        for field in ("batch_size", "epochs", "segment_frames", "segment_hop", "event_batch_size"):
            expect(getattr(self, field) >= 1, f"training.{field}", "at least 1", getattr(self, field))
        expect(0 < self.learning_rate < float("inf"), "training.learning_rate", "a positive number", self.learning_rate)
        expect(0 <= self.seed < 2 ** 31, "training.seed", "0 to 2^31 - 1", self.seed)
        expect(self.learning_rate_schedule in ("constant", "cosine"), "training.learning_rate_schedule",
               "constant or cosine", self.learning_rate_schedule)
        expect(self.event_hours is None or self.event_hours > 0, "training.event_hours", "a positive number of hours",
               self.event_hours)
        expect(self.alpha is None or 0 <= self.alpha <= 1, "training.alpha", "0 to 1", self.alpha)


@dataclasses.dataclass(frozen=True)
class AugmentSpec:
    """Augmentation of training clips, off by default (paper 2, section 2; its strengths are ours to choose).

    SpecAugment: at most so many masks of at most so many frames or mels. MixUp: the parameter of the symmetric Beta
    distribution that the weights of two clips of one task are drawn from; 0 mixes none.
    """

    time_masks: int = 0
    time_mask_frames: int = 0
    frequency_masks: int = 0
    frequency_mask_mels: int = 0
    mixup: float = 0.0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            expect(0 <= value < float("inf"), f"augment.{field.name}", "0 or more", value)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything that decides a run. `tasks` is a Decomposition until the labels of the data are known."""

    name: str
    reference: str = ""
    dataset: str = "tut_sed_synthetic_2016"
    features: LogMelSpec = LogMelSpec()
    tasks: Decomposition | tuple = Decomposition()
    model: ModelSpec = ModelSpec()
    training: TrainSpec = TrainSpec()
    augment: AugmentSpec = AugmentSpec()

    def __post_init__(self):
        expect(self.clip_level or self.augment == AugmentSpec(), "augment", "none, but for networks of clips", self.augment)

    @property
    def clip_level(self):
        """Whether clips are labelled as a whole (paper 2), not frame by frame (paper 1)."""
        return is_clip_head(self.model.head)

    @property
    def measure(self):
        """What the best epoch is chosen by: overall F1, or macro accuracy; lwlrap where nothing is learnt of scenes."""
        if not self.clip_level:
            return "val_f1"
        scene = any(task.encoding == "multi_class" for task in self.tasks) and self.training.alpha != 1
        return "val_accuracy" if scene else "val_lwlrap"

    def to_dict(self):
        """Plain dicts, lists and numbers, for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, data):
        """The inverse of to_dict. Raises InputError for unknown or missing fields."""
        parts = {"features": LogMelSpec, "model": ModelSpec, "training": TrainSpec, "augment": AugmentSpec}
        try:
            return cls(**{key: _tasks_from(value) if key == "tasks" else parts[key](**value) if key in parts else value
                          for key, value in data.items()})
        except TypeError as error:
            raise InputError(f"experiment: expected the fields of Experiment. Received: {error}.") from error


def _tasks_from(data):
    return Decomposition(**data) if isinstance(data, dict) else tuple(Task(**task) for task in data)
