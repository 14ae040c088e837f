"""Frozen dataclasses that describe an experiment completely: features, network, training, tasks. No TensorFlow here."""
import dataclasses
import hashlib
import json
import math

from polysed_keras.errors import expect, expect_known
from polysed_keras.files import as_type
from polysed_keras.specs.plugins import is_clip_head
from polysed_keras.specs.tasks import Decomposition, Task

EXPERIMENT = "experiment.json"  # in a run's folder: its Experiment
DATA_DIGEST = "data_digest"  # key of a run's experiment.json, beside the Experiment: digest of its training data
MEASURES = ("f1", "recall", "f1_and_recall")  # of TrainSpec.measure
CLASS_SCORES = "class_scores"  # the head whose posteriors are YAMNet's own class scores
SILENCE_DB = -100.0  # log-mel of digital silence in decibels, the default of LogMelSpec
PLUGINS = "plugins"  # key there with {file name: digest} of a run's plug-ins, and the folder beside it that holds them
RUN_KEYS = (DATA_DIGEST, PLUGINS, "mixing", "pretrained")  # all keys there that are beside the Experiment's


@dataclasses.dataclass(frozen=True)
class LogMelSpec:
    """Log-mel features. Defaults are paper 1's (section 4.2: 40 ms frames, 50 % overlap); n_fft is ours.

    Attributes:
        sample_rate: int, Hz; audio of another rate is resampled.
        win_length, hop_length, n_fft: int, samples of a frame, from frame to frame, and of the Fourier transform.
        n_mels: int, number of mel bands.
        fmin, fmax: float, Hz, where the lowest band begins and the highest one ends.
        mel_scale: "slaney", triangles of equal area (librosa's), or "htk", triangles of equal height (TensorFlow's).
        power: 2 for mels of the power spectrum, 1 for mels of the magnitude spectrum.
        log_offset: float; 0 for decibels, 10 log10(max(x, 1e-10)); otherwise the logarithm is ln(x + log_offset).
    """

    sample_rate: int = 44100
    win_length: int = 1764
    hop_length: int = 882
    n_fft: int = 2048
    n_mels: int = 64
    fmin: float = 50.0
    fmax: float = 22050.0
    mel_scale: str = "slaney"
    power: int = 2
    log_offset: float = 0.0

    def __post_init__(self):
        expect(0 < self.hop_length <= self.win_length <= self.n_fft, "features.win_length",
               "hop_length <= win_length <= n_fft", self.win_length)
        expect(0 <= self.fmin < self.fmax <= self.sample_rate / 2, "features.fmax",
               "fmin < fmax <= sample_rate / 2", self.fmax)
        expect(self.n_mels > 0, "features.n_mels", "at least 1", self.n_mels)
        expect(self.mel_scale in ("slaney", "htk"), "features.mel_scale", "slaney or htk", self.mel_scale)
        expect(self.power in (1, 2), "features.power", "1 or 2", self.power)
        expect(0 <= self.log_offset < 1, "features.log_offset", "0 to below 1", self.log_offset)

    @property
    def time_resolution(self):
        """Seconds per frame: the hop."""
        return self.hop_length / self.sample_rate

    @property
    def silence(self):
        """Log-mel value of digital silence."""
        return math.log(self.log_offset) if self.log_offset else SILENCE_DB

    def num_frames(self, num_samples):
        """Return the number of frames of a waveform, ceil(num_samples / hop_length)."""
        return -(-num_samples // self.hop_length)

    def digest(self):
        """Return 12 hexadecimal digits that identify the spec, for caches of features."""
        return hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()[:12]


# YAMNet's front end: 25 ms frames every 10 ms at 16 kHz, HTK mels of magnitudes, ln(x + 0.001).
YAMNET_FEATURES = LogMelSpec(16000, 400, 160, 512, 64, 125.0, 7500.0, mel_scale="htk", power=1, log_offset=0.001)


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """A network: the names of a backbone and a head, and their sizes.

    Attributes:
        backbone: conv_blocks, yamnet, resnet18, vgg, crnn, densenet, or a plug-in's.
        head: recurrent, attention, pooled, class_scores, or a plug-in's.
        filters: tuple of int, channels after each stage of the backbone.
        recurrent_units, dense_units: int, of a GRU per direction; tuple of int, of the layers after it.
        dropout: float, rate from 0 to below 1.
        stem_strides: (time, frequency), int; with other strides than (1, 1), a strided convolution with filters[0]
            kernels precedes the blocks of `conv_blocks`, and outputs are repeated to the frame rate.
        output_stride: int, frames per output of a network of frames: 4 for an output every 40 ms from frames every 10.
        freeze_backbone: bool, whether a pretrained backbone keeps its weights, so that only what follows it learns. If
            not, a learning rate above 1e-4 destroys in a few steps what it knows.
    """

    backbone: str = "conv_blocks"
    head: str = "recurrent"
    filters: tuple[int, ...] = (64, 64, 128, 128, 256)
    recurrent_units: int = 256
    dense_units: tuple[int, ...] = (512, 512)
    dropout: float = 0.25
    stem_strides: tuple[int, ...] = (1, 1)
    output_stride: int = 1
    freeze_backbone: bool = False

    def __post_init__(self):
        expect(0 <= self.dropout < 1, "model.dropout", "a rate from 0 to below 1", self.dropout)
        for field in ("filters", "dense_units", "stem_strides"):
            numbers = getattr(self, field)
            expect(isinstance(numbers, (list, tuple)) and all(type(number) is int and number > 0 for number in numbers),
                   f"model.{field}", "positive whole numbers", numbers)
            object.__setattr__(self, field, tuple(numbers))
        expect(self.filters, "model.filters", "positive whole numbers", self.filters)
        expect(len(self.stem_strides) == 2, "model.stem_strides", "two numbers, of time and frequency",
               self.stem_strides)
        expect(self.recurrent_units > 0, "model.recurrent_units", "at least 1", self.recurrent_units)
        expect(self.output_stride > 0, "model.output_stride", "at least 1", self.output_stride)


@dataclasses.dataclass(frozen=True)
class TrainSpec:
    """Training by Adam. For networks of clips, a segment is a clip.

    Attributes:
        batch_size: int, segments per batch; in joint batches, scene clips per batch.
        segment_frames, segment_hop: int, frames per segment, and from one training segment to the next.
        alpha: float from 0 to 1, weight of the event loss; the scene loss has 1 - alpha (paper 2, equation 1).
        seed: int, of the initial weights and of all that is random in training.
        learning_rate_schedule: "constant" (paper 1), or "cosine", which falls to 0 at the end of the last epoch.
        event_batch_size: int, event clips per joint batch (paper 2, section 2).
        event_hours: float, hours of event clips to train on; None for all.
        measure: of networks of frames, by which the best epoch is chosen: "f1", the overall frame-based F1 (paper 1),
            "recall", the share of events found at 20 false events per hour, or "f1_and_recall", their mean.
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
    measure: str = "f1"

    def __post_init__(self):
        for field in ("batch_size", "epochs", "segment_frames", "segment_hop", "event_batch_size"):
            expect(getattr(self, field) >= 1, f"training.{field}", "at least 1", getattr(self, field))
        expect(0 < self.learning_rate < float("inf"), "training.learning_rate", "a positive number", self.learning_rate)
        expect(0 <= self.seed < 2 ** 31, "training.seed", "0 to 2^31 - 1", self.seed)
        expect(self.learning_rate_schedule in ("constant", "cosine"), "training.learning_rate_schedule",
               "constant or cosine", self.learning_rate_schedule)
        expect(self.event_hours is None or self.event_hours > 0, "training.event_hours", "a positive number of hours",
               self.event_hours)
        expect_known(self.measure, MEASURES, "training.measure")
        expect(self.alpha is None or 0 <= self.alpha <= 1, "training.alpha", "0 to 1", self.alpha)


@dataclasses.dataclass(frozen=True)
class AugmentSpec:
    """Augmentation of training clips by SpecAugment and MixUp, off by default (paper 2, section 2; strengths are ours).

    Attributes:
        time_masks, frequency_masks: int, greatest number of masks per clip.
        time_mask_frames, frequency_mask_mels: int, greatest size of a mask, frames or mel bands.
        mixup: float, parameter of the symmetric Beta distribution that weights two clips of one task; 0 for no MixUp.
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
    """Everything that decides the outcome of a training.

    Attributes:
        name: str, which tells runs apart in reports.
        reference: str, the table of a paper that it belongs to.
        dataset: str, a corpus of `datasets`, several joined by "+", or a plug-in's.
        tasks: tuple of Task, or Decomposition until the labels of the data are known.
        features, model, training, augment: the specs above; augment is for networks of clips only.

    Example:
        >>> experiment = ps.Experiment("mine", tasks=ps.decompose(["rain", "wind"], 1))
        >>> experiment.training.epochs, experiment.features.time_resolution
        (10, 0.02)
    """

    name: str
    reference: str = ""
    dataset: str = "tut_sed_synthetic_2016"
    features: LogMelSpec = LogMelSpec()
    tasks: Decomposition | tuple[Task, ...] = Decomposition()
    model: ModelSpec = ModelSpec()
    training: TrainSpec = TrainSpec()
    augment: AugmentSpec = AugmentSpec()

    def __post_init__(self):
        expect(self.clip_level or self.augment == AugmentSpec(), "augment", "none, but for networks of clips",
               self.augment)
        expect(not self.clip_level or isinstance(self.tasks, tuple), "tasks",
               "a list of tasks, as the network labels clips", self.tasks)

    @property
    def input_shape(self):
        """Shape of the network's input without the batch: (segment_frames, n_mels)."""
        return self.training.segment_frames, self.features.n_mels

    @property
    def time_resolution(self):
        """Seconds per output of a network of frames."""
        return self.features.time_resolution * self.model.output_stride

    @property
    def clip_level(self):
        """Whether clips are labelled as a whole (paper 2), not frame by frame (paper 1)."""
        return is_clip_head(self.model.head)

    @property
    def learns(self):
        """Whether there is something to train: not with the head class_scores, whose posteriors are YAMNet's own."""
        return self.model.head != CLASS_SCORES

    @property
    def measure(self):
        """Key of the history by which the best epoch is chosen.

        It is training.measure for frames; for clips macro accuracy of scenes, or lwlrap of events if scenes are not
        learnt.
        """
        if not self.clip_level:
            return f"val_{self.training.measure}"
        scene = any(task.encoding == "multi_class" for task in self.tasks) and self.training.alpha != 1
        return "val_accuracy" if scene else "val_lwlrap"

    def to_dict(self):
        """Return the experiment as plain dicts, lists, strings and numbers, for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, data):
        """Return the Experiment of a dict that `to_dict` made. Raises InputError for unknown or missing fields."""
        return as_type(data, cls, "experiment")
