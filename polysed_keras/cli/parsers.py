"""Options that several commands share, and the choices that their help shows.

The choices are defined in other rooms, whose modules import NumPy and pandas. They are repeated here so that `--help`
stays quick; tests/cli and tests/export hold them equal.
"""
import argparse
import os
import sys

from polysed_keras.errors import InputError, expect, expect_known

# What one does with commands, in the order of `polysed --help`.
BEGIN, DATA, TRAIN, JUDGE, USE, CORRECT, SEARCH, PAPERS = GROUPS = (
    "begin", "make data", "train", "judge", "use", "look, correct, learn", "search", "experiments of the papers")
NOTHING_WRITTEN = "nothing was written"

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


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are InputErrors of one line, with what a misspelt name may have been."""

    def __init__(self, **settings):
        super().__init__(**{"formatter_class": help_formatter} | settings)

    def error(self, message):
        """Raise InputError; argparse would print all options first."""
        raise InputError(f"{self.prog}: {message}. See {self.prog} --help".removeprefix("polysed").lstrip(" :"))

    def _check_value(self, action, value):  # of argparse, for options and commands with choices
        if action.choices is not None:
            expect_known(value, action.choices, "/".join(action.option_strings) or action.metavar or action.dest)

    def parse_args(self, args=None, namespace=None):
        """Return the arguments; raise InputError of one that no command has."""
        arguments, unknown = self.parse_known_args(args, namespace)
        if unknown:
            name = arguments.parser.prog.removeprefix("polysed ")
            if unknown[0].startswith("-"):
                expect_known(unknown[0].partition("=")[0], list(arguments.parser._option_string_actions), name)
            expect(False, name, "no more arguments", unknown[0], f"See {arguments.parser.prog} --help.")
        return arguments


class Program(Parser):
    """The parser of `polysed`, whose help has the commands by what one does with them."""

    @property
    def commands(self):
        """The commands' parsers by their names."""
        return next(action.choices for action in self._actions if isinstance(action, argparse._SubParsersAction))

    def format_help(self):
        """Return usage, the commands in GROUPS, and the options."""
        formatter = self.formatter_class(self.prog)
        formatter.add_usage(self.usage, self._actions, [])
        formatter.add_text(self.description)
        for group in GROUPS:
            formatter.start_section(group)
            formatter.add_arguments([argparse.Action([], name, help=parser.get_default("summary"))
                                     for name, parser in self.commands.items() if parser.get_default("group") == group])
            formatter.end_section()
        formatter.start_section("options")
        formatter.add_arguments([action for action in self._actions if action.option_strings])
        formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()


def help_formatter(prog):
    """Return argparse's formatter of help, with colours in a terminal unless NO_COLOR is set."""
    if sys.stdout is None or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return argparse.RawDescriptionHelpFormatter(prog)
    from rich_argparse import RawDescriptionRichHelpFormatter
    return RawDescriptionRichHelpFormatter(prog)


class PrintCompletion(argparse.Action):
    """The option that prints a script by which a shell completes commands, options, presets and files."""

    def __call__(self, parser, namespace, values, option_string=None):
        """Print the script, and end the program."""
        import shtab

        from polysed_keras.specs import PRESETS
        for command_parser in parser.commands.values():
            for action in command_parser._actions:
                if action.metavar == "PRESET":
                    action.choices = list(PRESETS)
                elif action.choices is None and action.type is None and action.nargs != 0:
                    action.complete = shtab.FILE
        print(shtab.complete(parser, values))
        parser.exit()


def command(name, *options, group, examples, interrupted=NOTHING_WRITTEN):
    """Decorate a function of parsed arguments as a command; its docstring, a line, is the help.

    Args:
        name: str, the command.
        options: functions of `option` and `one_of`.
        group: str, one of GROUPS.
        examples: two or more command lines, without the name of the program.
        interrupted: str, what is true after Ctrl-C.
    """
    def decorate(function):
        def add_parser(commands):
            summary = function.__doc__.removesuffix(".")
            summary = summary[0].lower() + summary[1:]
            text = "\n  ".join(["examples:", *(f"polysed {example}" for example in examples)])
            parser = commands.add_parser(name, help=summary, description=function.__doc__, epilog=text)
            parser.set_defaults(function=function, parser=parser, interrupted=interrupted, group=group, summary=summary)
            for add in options:
                add(parser)
        function.add_parser = add_parser
        return function
    return decorate


def option(*names, help, **settings):
    """Return a function that adds an argument to a parser; all as for `ArgumentParser.add_argument`.

    The default is added to the help unless the help says what it is.
    """
    if "default:" not in help and settings.get("default") not in (None, False, []):
        help += "; default: %(default)s"
    return lambda parser: parser.add_argument(*names, help=help, **settings)


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
                         help="how many false events per hour thresholds allow if nothing else is said")
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
