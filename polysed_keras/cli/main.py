"""The program `polysed`. Nothing slow is imported before a command runs."""
import contextlib
import logging
import os
import select
import signal
import sys

from polysed_keras import __version__
from polysed_keras.cli import data, detection, reviewing, training
from polysed_keras.cli.parsers import NOTHING_WRITTEN, Parser, PrintCompletion, Program
from polysed_keras.errors import InputError


def build_parser():
    """Return the argument parser of `polysed`. Parsed arguments hold the command's function as `function`."""
    parser = Program(prog="polysed", description="Polyphonic sound event detection: which sounds are heard, from when "
                     "to when.", epilog="polysed COMMAND --help has the options of a command, and examples. What to "
                     "begin with: polysed detect RECORDING")
    parser.add_argument("--version", action="version", version=__version__, help="print the version")
    parser.add_argument("--print-completion", action=PrintCompletion, choices=("bash", "zsh"),
                        help="print a script that completes commands, presets and options: eval \"$(polysed "
                        "--print-completion bash)\"")
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND", prog="polysed",
                                     parser_class=Parser)
    for module in (data, training, detection, reviewing):
        for function in vars(module).values():
            if hasattr(function, "add_parser"):
                function.add_parser(commands)
    return parser


def main(argv=None):
    """Run a command and return its exit code.

    Args:
        argv: list of str, the arguments; those of the process by default.

    Returns:
        0 on success, or if the reader of the output has had enough, as `head` does; 1 if `check` found something wrong,
        2 after a line on a user's mistake, 128 and the signal's number if interrupted (130 by Ctrl-C, 143 by kill).
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # Names of files may hold what the terminal's encoding does not.
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO, force=True)
    for noisy in ("tensorflow", "h5py", "matplotlib", "numba"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    for number in {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:
        if signal.getsignal(number) == signal.SIG_DFL:  # Under nohup SIGHUP is ignored, and stays so.
            with contextlib.suppress(ValueError):  # in a thread, where signals do not arrive
                signal.signal(number, _interrupt)
    interrupted = NOTHING_WRITTEN
    try:
        arguments = build_parser().parse_args(argv)
        interrupted = arguments.interrupted
        code = arguments.function(arguments) or 0
        if sys.stdout:  # It is None if it is closed.
            sys.stdout.flush()
        return code
    except (InputError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _has_no_reader(sys.stdout):
            return 0
        print(f"polysed: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(f"polysed: interrupted; {interrupted}", file=sys.stderr)
        return 128 + (error.args[0] if error.args else signal.SIGINT)


def _interrupt(number, _):
    """End the program as Ctrl-C does, so that temporary files are removed."""
    raise KeyboardInterrupt(number)


def _has_no_reader(stream):
    """Return whether nobody reads a stream any more; if so, what is still to be written to it is dropped."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), 0)
    except (AttributeError, OSError):  # Windows; or a stream that is no file
        return False
    if not poll.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return True
