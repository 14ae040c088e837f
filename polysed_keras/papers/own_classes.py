"""A detector of sounds of one's own: from a folder of recordings per label to events with a promise."""
import pathlib

from polysed_keras.audio import load_audio
from polysed_keras.errors import InputError, expect
from polysed_keras.evaluation import DEFAULT_ALARMS, calibrate_run, check_alarms_per_hour, expect_alarms
from polysed_keras.export import export_run, load_run_detector
from polysed_keras.models import embed
from polysed_keras.specs import EXPERIMENT, YAMNET_FEATURES, get_preset, set_fields
from polysed_keras.synthesis import ensure_mixtures, read_soundbank
from polysed_keras.training import read_history, run_experiment


class Detector:
    """Detector of sounds of one's own, made from recordings of each.

    Args:
        experiment: Experiment with a pretrained backbone that keeps its weights, such as the preset `yamnet`.
        labels: the labels to learn, folders of the soundbank; None for all of its labels.
        run: folder of a run that was trained already; None for none.

    Attributes:
        run: folder of the trained run, a Path; None before `fit`.
        expectation: result of evaluation.expect_alarms, which `polysed train` prints; None before `fit`.

    Raises:
        InputError: an Experiment without a pretrained backbone.

    Example:
        >>> detector = ps.Detector.from_preset("yamnet").fit("sounds")    # doctest: +SKIP
        >>> detector.detect("street.wav")                                 # doctest: +SKIP
    """

    def __init__(self, experiment, labels=None, run=None):
        expect(experiment.model.freeze_backbone, "preset", "one with a pretrained backbone, such as yamnet",
               experiment.name)
        self._experiment, self._labels = experiment, labels
        self.run, self.expectation, self._detector = run and pathlib.Path(run), None, None

    @classmethod
    def from_preset(cls, preset="yamnet", labels=None, settings=()):
        """Return a detector that has learnt nothing yet.

        Args:
            preset: name of a preset with a pretrained backbone.
            labels: the labels to learn, folders of the soundbank; None for all of its labels.
            settings: list of "FIELD=VALUE", changes of the preset.
        """
        return cls(set_fields(get_preset(preset), list(settings)), labels)

    def fit(self, soundbank, run=None, *, negatives=None, mixtures=None, alarms_per_hour=DEFAULT_ALARMS,
            progress=True):
        """Make mixtures of a soundbank, train on them, and choose thresholds; an interrupted fit goes on.

        Args:
            soundbank: folder with a folder of recordings per label.
            run: folder of the run; None for runs/NAME, with the soundbank's name.
            negatives: as of synthesis.mix_soundbank.
            mixtures: as of synthesis.mix_soundbank.
            alarms_per_hour: number of false events per hour that thresholds allow.
            progress: whether bars are shown.

        Returns:
            The detector itself.

        Raises:
            InputError: other labels than the soundbank's, sounds that cannot be used, a folder with another run or with
                mixtures of other sounds.
        """
        check_alarms_per_hour(alarms_per_hour)
        known = read_soundbank(soundbank).labels
        if self._labels is not None and sorted(self._labels) != sorted(known):
            raise InputError(f"labels: expected those of {soundbank}, {list(known)}. Received: {list(self._labels)}. "
                             "Put the folders of the labels wanted into a folder of their own, and others into "
                             "its folder `other`.")
        run = pathlib.Path(run or pathlib.Path("runs") / pathlib.Path(soundbank).resolve().name)
        ensure_mixtures(soundbank, run / "data", negatives=negatives, mixtures=mixtures, progress=progress,
                        settings=[f"sample_rate={self._experiment.features.sample_rate}"])
        run_experiment(self._experiment, run / "data", run, resume=bool(read_history(run)), progress=progress)
        calibrate_run(run, alarms_per_hour=alarms_per_hour, progress=progress)
        self.run, self._detector, self.expectation = run, None, expect_alarms(run, progress=progress)
        return self

    def detect(self, audio, **options):
        """Detect events in a file or waveform; arguments and result as of detection.Detector.detect."""
        if self._detector is None:
            expect(self.run and (self.run / EXPERIMENT).is_file(), "detect", "a detector after fit", "one before")
            self._detector = load_run_detector(self.run)
        return self._detector.detect(audio, **options)

    def export(self, out):
        """Export the trained network as the next version of a model in a folder, as `polysed export` does."""
        expect(self.run, "export", "a detector after fit", "one before")
        return export_run(self.run, out)

    @staticmethod
    def embed(audio):
        """Compute YAMNet's embeddings of a file or a waveform at 16 kHz: float32 (patches of 0.96 s, 1024)."""
        is_file = isinstance(audio, (str, pathlib.Path))
        return embed(load_audio(audio, YAMNET_FEATURES.sample_rate) if is_file else audio)[0]
