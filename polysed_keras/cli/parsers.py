"""The arguments of `polysed`. Only the standard library is imported here."""
import argparse

FORMATS = ("tsv", "csv", "audacity")
ANNOTATION_FORMATS = ("sed_eval", "audacity", "raven", "urban_sed", "desed")
CORPORA = ("tut_sed_synthetic_2016", "tut_urban_acoustic_scenes_2018", "audioset")
SWEEPS = ("alpha", "events", "hours", "k", "transfer", "regularizers")
RUNTIMES = ("litert_float32", "litert_float16", "litert_int8", "onnx")
EVENT_CHOICES = ("random", "correlated", "uncorrelated")
DECOMPOSITIONS = ("contiguous", "random", "cooccurrence", "anti_cooccurrence", "confusion")
MIXTURES = (60, 20, 20)  # as TUT-SED Synthetic 2016 has them
MODEL_HELP = "saved_models/NAME, saved_models/NAME/VERSION or a run; default: the project's saved_models/esc10"


def fold_lists(text):
    """Numbers of folds, from text such as 1,2."""
    return tuple(int(number) for number in text.split(","))


def _add_training_parser(commands):
    parser = commands.add_parser("train", help="train a preset on a corpus")
    parser.add_argument("preset", help="a name that `polysed presets` lists, or a JSON file, such as a search's best.json")
    parser.add_argument("--data", help="folder of the corpus: audio/, meta/, evaluation_setup/")
    parser.add_argument("--soundbank", help="draw new training mixtures from it every epoch, as DATA's were made; "
                        "without DATA, validation and test mixtures are made first, in OUT/data")
    _add_mixture_arguments(parser)
    parser.add_argument("--mix", nargs="+", default=[], metavar="FIELD=VALUE", help="of new mixtures: as synthesize --set")
    parser.add_argument("--kept-epochs", type=int, default=1, metavar="EPOCHS",
                        help="use a new mixture for so many epochs; with 3, a third of an epoch's are new")
    parser.add_argument("--out", required=True, help="the run's folder")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="such as training.epochs=3")
    parser.add_argument("--plugin", nargs="+", action="extend", default=[], metavar="FILE.py",
                        help="run these files, which register backbones, heads, corpora or encodings; the run keeps copies")
    parser.add_argument("--pretrained", metavar="RUN", help="begin with the weights of a run, but for its outputs")
    parser.add_argument("--resume", action="store_true", help="go on from the last finished epoch")
    parser.add_argument("--mixed-precision", action="store_true", help="float16 on a GPU")
    parser.add_argument("--xla", action="store_true", help="compile by XLA; slower for several tasks on a CPU")
    parser.add_argument("--mirrored", action="store_true", help="all GPUs of this machine")
    parser.add_argument("--deterministic", action="store_true", help="the same weights to the bit; slower on a GPU")
    parser.set_defaults(seed=0)


def _add_mixture_arguments(parser):
    parser.add_argument("--mixtures", nargs=3, type=int, metavar=("TRAIN", "VALIDATE", "TEST"),
                        help=f"numbers of them; {' '.join(map(str, MIXTURES))} by default")
    parser.add_argument("--duration", type=float, default=340.0, metavar="SECONDS", help="of a mixture")
    _add_folds_argument(parser)


def _add_folds_argument(parser):
    parser.add_argument("--folds", nargs=3, type=fold_lists, metavar=("TRAIN", "VALIDATE", "TEST"),
                        help="of ESC-50's layout, as lists: 1,2 3 4")


def _add_synthesis_parser(commands):
    parser = commands.add_parser("synthesize", help="make mixtures from a soundbank")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--soundbank", help="a folder of recordings per label, or ESC-50's layout")
    source.add_argument("--procedural", action="store_true", help="a soundbank made by the program")
    parser.add_argument("--from", dest="instructions", metavar="CORPUS",
                        help="make the mixtures of a soundscapes.json again, to the byte")
    parser.add_argument("--out", required=True, help="folder of the new corpus")
    _add_mixture_arguments(parser)
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE",
                        help="such as background=pink 'event_to_background_db=[6, 30]'")
    parser.add_argument("--seed", type=int, default=0)


def _add_import_parser(commands):
    parser = commands.add_parser("import", help="make a corpus of recordings that are annotated already")
    parser.add_argument("audio", metavar="AUDIO_DIR", help="folder of audio files")
    parser.add_argument("annotations", metavar="ANNOTATIONS", help="file or folder; matched to audio by name")
    parser.add_argument("--out", required=True, help="folder of the new corpus")
    parser.add_argument("--format", choices=ANNOTATION_FORMATS, help="of the annotations; found out where it is clear")
    parser.add_argument("--labels", nargs="+", help="only these, in this order; default: all, sorted")
    parser.add_argument("--partition", metavar="FILE", help="lines of a file name, a tab, and train, validate or test; "
                        "default: URBAN-SED's folders, else 60/20/20 %% of the recordings at random")
    parser.add_argument("--seed", type=int, default=0, help="of the random partition")


def _add_clip_parsers(commands):
    parser = commands.add_parser("standin", help="make clips of scenes and of events, laid out as paper 2's corpora")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--soundbank", help="a folder of recordings per label, or ESC-50's layout")
    source.add_argument("--procedural", action="store_true", help="a soundbank made by the program")
    parser.add_argument("--out", required=True, help="folder of both new corpora")
    _add_folds_argument(parser)
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="such as scenes=8 k=10 correlation=1")
    parser.add_argument("--seed", type=int, default=0)
    parser = commands.add_parser("check", help="what of a corpus is missing, corrupt, short or at another rate")
    parser.add_argument("corpus", choices=CORPORA)
    parser.add_argument("--data", required=True, help="its folder")
    parser.add_argument("--out", metavar="FILE", help="write all names as JSON there too")


def _add_sweep_parser(commands):
    parser = commands.add_parser("sweep", help="paper 2's experiments: alpha, choice of events, hours, k, ...")
    parser.add_argument("name", choices=SWEEPS)
    parser.add_argument("--data", required=True, help="folder with both corpora of clips")
    parser.add_argument("--out", required=True, help="for runs/, NAME.csv and NAME.png; what is there is not done again")
    parser.add_argument("--points", nargs="+", help="values; the paper's by default")
    parser.add_argument("--seeds", type=int, default=4, help="trainings a point")
    parser.add_argument("--small", action="store_true", help="the presets for a CPU")
    parser.add_argument("--k", type=int, default=35, help="events of a point, or as many as there are")
    parser.add_argument("--choice", choices=EVENT_CHOICES, default="random", help="of these events")
    parser.add_argument("--tagger", metavar="MODEL", help="SavedModel that ranks the events in the scenes, such as YAMNet")
    parser.add_argument("--endpoint", help="of the tagger: where its scores are; found out where it is clear")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="of all trainings: as train --set")


def _add_task_parsers(commands):
    parser = commands.add_parser("decompose", help="divide the labels of a corpus into groups, one a task")
    parser.add_argument("data", metavar="DATA", help="folder of the corpus")
    parser.add_argument("--num-tasks", type=int, required=True, metavar="N")
    parser.add_argument("--strategy", choices=DECOMPOSITIONS, default="contiguous")
    parser.add_argument("--run", help="whose confusions of labels on the validation partition count; for confusion")
    parser.add_argument("--seed", type=int, default=0, help="of the strategy random")
    parser.add_argument("--out", metavar="FILE.json", help="write the groups, for train --set tasks.groups=FILE.json")
    parser = commands.add_parser("widen", help="the width at which a preset costs as much as another")
    parser.add_argument("preset", help="such as multilabel_small")
    parser.add_argument("--like", required=True, metavar="PRESET", help="whose cost counts, such as mcmt_8_small")
    parser.add_argument("--num-labels", type=int, required=True, metavar="N", help="of the corpus")


def _add_tuning_parser(commands):
    parser = commands.add_parser("tune", help="search hyperparameters")
    parser.add_argument("search", metavar="SEARCH", help="a JSON file: preset, ranges, objective, direction, algorithm, "
                        "trials, epochs, seeds")
    parser.add_argument("--data", required=True, help="folder of the corpus")
    parser.add_argument("--out", required=True, help="for trials.csv, trials.png, best.json and more; what is there is not "
                        "done again")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that train trials side by side; on "
                        "other machines: KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_IP, KERASTUNER_ORACLE_PORT")
    parser.add_argument("--export", action="store_true", help="train the best with all seeds and export the best of them")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="of all trials: as train --set")


def _add_detection_parser(commands):
    parser = commands.add_parser("detect", help="detect events, or label clips, in audio files")
    parser.add_argument("audio", nargs="+", help="files and folders")
    parser.add_argument("--model", help=MODEL_HELP)
    parser.add_argument("--out", help="write OUT/<stem> instead of the terminal")
    parser.add_argument("--format", choices=FORMATS, default="tsv")
    _add_event_arguments(parser)


def _add_event_arguments(parser):
    parser.add_argument("--threshold", type=float, help="of the label posteriors; default: the model's own decoding")
    parser.add_argument("--min-duration", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--labels", nargs="+", help="only these")
    parser.add_argument("--server", metavar="HOST:PORT",
                        help="ask a TensorFlow Serving that has --model, by gRPC, or http://HOST:PORT")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS",
                        help="for an answer of the server, and for one that is unavailable")


def _add_serving_parser(commands):
    parser = commands.add_parser("serve-config",
                                 help="write what serves exported models: TensorFlow Serving, compose, Kubernetes")
    parser.add_argument("models", help="saved_models/: NAME/VERSION in it")
    parser.add_argument("--out", required=True, help="the new folder")
    parser.add_argument("--max-seconds", type=int, metavar="N",
                        help="of audio in a file; by default of what clients cut longer ones into")
    parser.add_argument("--max-batch", type=int, default=4, metavar="N", help="files a request, and a batch of requests")
    parser.add_argument("--max-queue", type=int, default=16, metavar="N", help="waiting batches")
    parser.add_argument("--timeout", type=int, default=120, metavar="SECONDS", help="of an answer")


def _add_listening_parser(commands):
    parser = commands.add_parser("listen", help="print events as they close, of a microphone or a pipe, until Ctrl-C")
    parser.add_argument("source", nargs="?", choices=("microphone", "-"), default="microphone",
                        help="- reads 16-bit PCM from stdin: a WAV file, or raw samples with --rate")
    parser.add_argument("--model", help=MODEL_HELP)
    parser.add_argument("--rate", type=int, metavar="HZ", help="of raw samples; of the microphone, its own by default")
    parser.add_argument("--channels", type=int, metavar="N", help="of raw samples, 1 by default; their mean is listened to")
    parser.add_argument("--device", help="microphone: number or part of its name, as `python -m sounddevice` lists them")
    _add_event_arguments(parser)


def _add_viewer_parser(commands):
    parser = commands.add_parser("view", help="one HTML page to look at and listen to detections")
    parser.add_argument("audio", metavar="AUDIO", help="a file")
    parser.add_argument("--model", help="as of `polysed detect`")
    parser.add_argument("--reference", metavar="TSV", help="lines of onset, offset (seconds) and label")
    parser.add_argument("--out", required=True, metavar="PAGE", help="the page, such as page.html")


def build_parser():
    """The argument parser of `polysed`."""
    from polysed_keras import __version__
    parser = argparse.ArgumentParser(prog="polysed", description="Polyphonic sound event detection.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    _add_synthesis_parser(commands)
    _add_import_parser(commands)
    _add_clip_parsers(commands)
    _add_task_parsers(commands)
    _add_training_parser(commands)
    parser_evaluate = commands.add_parser("evaluate", help="Tables 2 and 3 of runs, and unseen combinations")
    parser_evaluate.add_argument("runs", nargs="+", metavar="RUN")
    parser_evaluate.add_argument("--data", required=True)
    parser_evaluate.add_argument("--partition", choices=("train", "validate", "test"), default="test")
    parser_evaluate.add_argument("--out", help="write CSV and JSON there too")
    _add_sweep_parser(commands)
    _add_tuning_parser(commands)
    parser_export = commands.add_parser("export", help="export a run as a SavedModel")
    parser_export.add_argument("run", metavar="RUN")
    parser_export.add_argument("--out", required=True, help="saved_models/NAME; the next version is made in it")
    parser_export.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=[],
                               help="convert it for these too, into VERSION/runtimes/, with a report of what they lose")
    parser_export.add_argument("--data", help="corpus whose test recordings the report compares; or noise and tones")
    _add_serving_parser(commands)
    _add_detection_parser(commands)
    _add_listening_parser(commands)
    _add_viewer_parser(commands)
    commands.add_parser("presets", help="list the presets")
    parser_demo = commands.add_parser("demo", help="the whole chain on sounds made by the program, in minutes")
    parser_demo.add_argument("--out", default="demo")
    return parser
