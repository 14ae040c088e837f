"""The help, the mistakes and the completion of the command line."""
import argparse
import os
import pty
import subprocess
import sys

import pytest

from polysed_keras.cli.main import build_parser, main
from polysed_keras.cli.parsers import GROUPS, PrintCompletion
from polysed_keras.errors import InputError, expect_known
from polysed_keras.specs import PRESETS

COMMANDS = build_parser().commands


@pytest.fixture(params=COMMANDS)
def command(request):
    return request.param


def test_help_groups_all_commands_by_what_one_does():
    text = build_parser().format_help()
    places = [text.index(f"\n{group}:\n") for group in GROUPS]
    assert places == sorted(places) and text.index("\noptions:\n") > places[-1]
    for name, parser in COMMANDS.items():
        assert f"\n  {name} " in text[places[GROUPS.index(parser.get_default("group"))]:]


def test_examples_are_command_lines_that_are_understood(command):
    _, found, examples = COMMANDS[command].format_help().partition("\nexamples:\n")
    lines = examples.strip().splitlines()
    assert found and len(lines) >= 2
    for line in lines:
        program, *words = line.partition(" < ")[0].split()
        assert program == "polysed" and build_parser().parse_args(words).command == command


def test_each_option_has_a_help_and_its_default(command):
    for action in COMMANDS[command]._actions:
        assert action.help and action.help.strip()
        if action.default not in (None, False, [], argparse.SUPPRESS):
            assert "default" in action.help


@pytest.mark.parametrize("words, message", [
    (["detct", "a.wav"], "COMMAND: expected one of synthesize, .*. Received: 'detct'. Did you mean detect\\?$"),
    (["train", "multlabel", "--data", "x", "--out", "y"],
     "preset: expected a path .*Received: 'multlabel'. Did you mean multilabel\\?$"),
    (["train", "multilabel", "--data", "x", "--out", "y", "--set", "training.epoch=3"],
     "--set: expected one of .*Did you mean training.epochs\\?$"),
    (["detect", "a.wav", "--lables", "dog"], "detect: expected one of .*'--lables'. Did you mean --labels\\?$"),
    (["detect", "a.wav", "--format", "audacty"], "--format: expected one of .*Did you mean audacity\\?$"),
    (["presets", "all"], "presets: expected no more arguments. Received: 'all'. See polysed presets --help.$"),
    (["train", "multilabel"], "train: the following arguments are required: --out. See polysed train --help$"),
    ([], "^the following arguments are required: COMMAND")])
def test_a_mistake_is_one_line_that_says_what_was_meant(words, message, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("polysed: ") and error.count("\n") == 1
    with pytest.raises(InputError, match=message):
        raise InputError(error.removeprefix("polysed: ").rstrip())


def test_names_that_are_known_or_nearly():
    expect_known("dog", ["dog", "cat"], "label")
    expect_known(["cat", "dog"], ("dog", "cat"), "label")
    with pytest.raises(InputError, match="^label: expected one of dog, cat. Received: 'zebra'. Take another.$"):
        expect_known("zebra", ["dog", "cat"], "label", "Take another.")
    with pytest.raises(InputError, match=r"^x: expected some of dog, cat. Received: \['dig', 'cst'\]. "
                                         r"Did you mean dog\? Did you mean cat\?$"):
        expect_known(["dig", "dog", "cst"], ["dog", "cat"], "x", expected="some of {}")


@pytest.mark.parametrize("settings, coloured", [({}, True), ({"NO_COLOR": "1"}, False), (None, False)])
def test_help_is_coloured_in_a_terminal_alone(settings, coloured):
    """None: the output is no terminal."""
    environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    environment |= {"TERM": "xterm-256color", **(settings or {})}
    begin = [sys.executable, "-m", "polysed_keras"]
    reader, writer = pty.openpty() if settings is not None else os.pipe()
    try:
        process = subprocess.Popen([*begin, "presets", "--help"], stdout=writer, env=environment)
        os.close(writer)
        text = b""
        try:
            while part := os.read(reader, 65536):
                text += part
        except OSError:  # how a terminal says that it was closed
            pass
        assert process.wait() == 0
    finally:
        os.close(reader)
    assert b"--costs" in text and (b"\x1b[" in text) == coloured


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shells_complete_commands_options_and_presets(shell, capsys):
    with pytest.raises(SystemExit) as stop:
        build_parser().parse_args(["--print-completion", shell])
    script = capsys.readouterr().out
    assert not stop.value.code and {PrintCompletion} & {type(action) for action in build_parser()._actions}
    for name in (*COMMANDS, "--alarms-per-hour", *PRESETS):
        assert name in script
    if shell == "bash":
        words = "COMP_WORDS=(polysed trai) COMP_CWORD=1; _shtab_polysed; echo \"${COMPREPLY[@]}\""
        done = subprocess.run(["bash", "-c", f"{script}\n{words}"], capture_output=True, text=True)
        assert done.stdout.split() == ["train"], done.stderr
