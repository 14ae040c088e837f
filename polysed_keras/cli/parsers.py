"""Options that several commands share, and the choices that their help shows.

The choices are defined in other rooms, whose modules import NumPy and pandas. They are repeated here so that `--help`
stays quick; tests/cli and tests/export hold them equal.
"""

DETECTION_FORMATS = ("tsv", "csv", "audacity", "raven", "birdnet", "label_studio", "textgrid")
ANNOTATION_FORMATS = ("sed_eval", "audacity", "raven", "elan", "birdnet", "label_studio", "textgrid", "audioset_strong",
                      "urban_sed", "desed", "dcase_bioacoustic", "tsv", "csv")
CORPORA = ("tut_sed_synthetic_2016", "urban_sed", "desed", "maestro_real", "tut_urban_acoustic_scenes_2018",
           "audioset", "esc50")
SWEEPS = ("alpha", "events", "hours", "k", "transfer", "regularizers")
RUNTIMES = ("litert_float32", "litert_float16", "litert_int8", "onnx")
EVENT_CHOICES = ("random", "correlated", "uncorrelated")
REVIEW_ORDERS = ("informative", "confident", "loudest", "time")
DECOMPOSITIONS = ("contiguous", "random", "cooccurrence", "anti_cooccurrence", "confusion")
# Numbers of mixtures for training, validation and test by recipe; the paper's are those of TUT-SED Synthetic 2016.
MIXTURES = {"paper": (60, 20, 20), "field": (200, 60, 60)}


def command(name, *options):
    """Decorate a function of parsed arguments as a command; its docstring's first line is the help."""
    def decorate(function):
        def add_parser(commands):
            summary = function.__doc__.partition("\n")[0].removesuffix(".")
            parser = commands.add_parser(name, help=summary[0].lower() + summary[1:])
            parser.set_defaults(function=function)
            for add in options:
                add(parser)
        function.add_parser = add_parser
        return function
    return decorate


def option(*names, **settings):
    """Return a function that adds an argument to a parser; all as for `ArgumentParser.add_argument`."""
    return lambda parser: parser.add_argument(*names, **settings)


def one_of(*options, required=False):
    """Return a function that adds options of which at most one may be given."""
    def add_group(parser):
        group = parser.add_mutually_exclusive_group(required=required)
        for add in options:
            add(group)
    return add_group


def set_option(help_text):
    """Return the option `--set FIELD=VALUE ...`."""
    return option("--set", nargs="+", default=[], metavar="FIELD=VALUE", help=help_text)


def fold_lists(text):
    """Return the numbers in a text such as "1,2" as a tuple."""
    return tuple(int(number) for number in text.split(","))


SOUNDBANK_OPTIONS = (
    option("--soundbank", metavar="DIR", help="a folder of recordings per label, or ESC-50, UrbanSound8K or FSD50K"),
    option("--procedural", action="store_true", help="use sounds that the program makes"))
FOLDS = option("--folds", nargs=3, type=fold_lists, metavar=("TRAIN", "VALIDATE", "TEST"),
               help="divide a soundbank that has folds, such as ESC-50, by these, given as lists: 1,2 3 4")
MIXTURE_OPTIONS = (
    option("--mixtures", nargs=3, type=int, metavar=("TRAIN", "VALIDATE", "TEST"),
           help="numbers of mixtures; default: " + " or ".join(
               f"{' '.join(map(str, numbers))} ({name})" for name, numbers in MIXTURES.items())),
    option("--recipe", choices=tuple(MIXTURES),
           help="paper: dense mixtures of the labels alone, as in TUT-SED Synthetic 2016; field: few events, many or "
           "none, always a background, other sounds, rooms; default: field for your own soundbank, paper otherwise"),
    option("--negatives", metavar="DIR", help="recordings without the labels, as backgrounds and as other sounds; "
           "default for field: recordings that come with the program, but for those that sound like the labels"),
    option("--duration", type=float, metavar="SECONDS", help="length of a mixture; default: 340 (paper), 28.8 (field)"),
    FOLDS)
PLUGIN = option("--plugin", nargs="+", action="extend", default=[], metavar="FILE.py",
                help="run these files, which register backbones, heads, corpora or encodings; a run keeps copies")
ALARMS_PER_HOUR = option("--alarms-per-hour", type=float, default=20, metavar="N",
                         help="how many false events per hour thresholds allow by default; default: %(default)s")
MODEL = option("--model", help="an export (saved_models/NAME or saved_models/NAME/VERSION) or a run, "
               "which you trust, because models are programs; default: the project's own model, saved_models/everyday")
RUNTIME = option("--runtime", choices=("tensorflow", *RUNTIMES), help="what runs the network; default: litert_float32, "
                 "which starts at once, if the export has it, else tensorflow")
EVENT_OPTIONS = (
    one_of(option("--alarms-per-hour", type=float, metavar="N", help="how many false events per hour are allowed, of a "
                  "calibrated model; default: the number that it was calibrated for"),
           option("--threshold", type=float, help="of an event's confidence; default: the model's own thresholds")),
    option("--min-duration", type=float, metavar="SECONDS", help="leave out shorter events; default: the model's own"),
    option("--labels", nargs="+", help="only events of these labels"))
