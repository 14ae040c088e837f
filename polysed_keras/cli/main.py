"""The command line: `polysed COMMAND`. Only the standard library is imported before a command runs."""
import logging
import os
import sys

from polysed_keras.cli import data, detection, training
from polysed_keras.cli.parsers import build_parser

COMMANDS = {
    "synthesize": data.synthesize, "import": data.import_corpus, "standin": data.standin, "check": data.check,
    "decompose": training.decompose, "widen": training.widen, "train": training.train, "evaluate": training.evaluate,
    "sweep": training.sweep, "tune": training.tune, "presets": training.presets, "demo": training.demo,
    "export": detection.export, "serve-config": detection.serve_config, "detect": detection.detect,
    "listen": detection.listen, "view": detection.view,
}


def main(argv=None):
    """Run a command. Returns 0 on success, 1 where `check` found something, 2 after a line on a user's mistake, 130 when
    interrupted."""
    arguments = build_parser().parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO, force=True)
    for noisy in ("tensorflow", "absl", "h5py", "matplotlib", "numba"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    from polysed_keras.errors import InputError
    try:
        return COMMANDS[arguments.command](arguments) or 0
    except (InputError, OSError) as error:
        print(f"polysed: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("polysed: interrupted; a training goes on with --resume", file=sys.stderr)
        return 130
