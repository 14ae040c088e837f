"""Plug-in files: what they register, what is refused, that a file runs once. Experiments with them: tests/models."""
import sys

import pytest

import polysed_keras.models.network  # noqa: F401  registers the package's own
from polysed_keras.errors import InputError
from polysed_keras.specs import plugins

BACKBONE = """
from polysed_keras.specs import register

@register("backbone", frames=True)
def halved(x, spec, use_cudnn):
    return []
"""
HEAD = """
from polysed_keras.specs import register

@register("head", clips=True)
def loudest(maps, tasks, spec, use_cudnn):
    return []
"""


def write(folder, code, name="mine.py"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(code)
    return folder / name


def facts(backbone="halved", head="loudest"):
    """Whether heads of frames can use the backbone, it brings weights, and the head is of clips."""
    return backbone in plugins.frame_backbones(), plugins.is_pretrained(backbone), plugins.is_clip_head(head)


def test_facts_of_what_is_registered(tmp_path):
    own = plugins.frame_backbones()
    assert "conv_blocks" in own and own == sorted(own) and facts() == (False, False, False)
    plugins.load_plugin(write(tmp_path, BACKBONE + HEAD))
    assert facts() == (True, False, True) and plugins.frame_backbones() == sorted([*own, "halved"])
    assert plugins.find("backbone", "halved", "model.backbone") is plugins.registered("backbone")["halved"]
    plain = plugins.register("backbone", "plain", pretrained=True)(lambda x, spec, use_cudnn: [])
    assert plugins.find("backbone", "plain", "") is plain and facts("plain", "recurrent") == (False, True, False)
    assert plugins.is_pretrained("yamnet") and plugins.is_clip_head("pooled") and not plugins.is_clip_head("nothing")
    with pytest.raises(InputError, match="model.head: expected one of attention.* Received: 'halved'.*--plugin"):
        plugins.find("head", "halved", "model.head")


def test_a_function_that_is_registered_again_has_the_last_facts():
    for frames in (True, False):  # as a notebook's cell that runs twice
        @plugins.register("backbone", frames=frames)
        def halved(x, spec, use_cudnn):
            return []
        assert facts() == (frames, False, False)


@pytest.mark.parametrize("arguments, message", [
    (("spine",), "register: expected one of backbone, head, corpus, encoding. Received: 'spine'"),
    (("head", "x", {"frames": True}), "frames and pretrained: expected True for a backbone only. Received: 'head'"),
    (("corpus", "x", {"pretrained": True}), "frames and pretrained: expected True for a backbone only"),
    (("backbone", "x", {"clips": True}), "clips: expected True for a head only"),
])
def test_facts_that_a_kind_does_not_have_are_refused(arguments, message):
    *names, facts = arguments if isinstance(arguments[-1], dict) else (*arguments, {})
    with pytest.raises(InputError, match=message):
        plugins.register(*names, **facts)


@pytest.mark.parametrize("code, message", [
    (None, "--plugin: expected a Python file.*mine.py"),
    ("def f(:", "mine.py: expected a plug-in.*SyntaxError"),
    ("1 / 0", "mine.py: expected a plug-in.*ZeroDivisionError: division by zero"),
    ("x = 1", "mine.py: expected a file that registers something"),
    (BACKBONE.replace("halved(", "conv_blocks("), "backbone: .*'conv_blocks', of both polysed_keras.models.backbones."),
    (HEAD.replace('"head"', '"backbone"'), "clips: expected True for a head only. Received: 'backbone'"),
    (BACKBONE.replace("frames", "frames=True, pretrained") + HEAD + "1 / 0", "ZeroDivisionError"),
])
def test_plugins_that_do_not_work_are_refused_and_leave_nothing(tmp_path, code, message):
    before = [dict(plugins.registered(kind)) for kind in ("backbone", "head")]
    if code is not None:
        write(tmp_path, code)
    with pytest.raises(InputError, match=message):
        plugins.load_plugin(tmp_path / "mine.py")
    assert [plugins.registered(kind) for kind in ("backbone", "head")] == before and facts() == (False, False, False)
    assert not [name for name in sys.modules if "polysed_plugin" in name]


def test_files_of_another_kind_are_refused(tmp_path):
    for path in (write(tmp_path, BACKBONE, "mine.txt"), write(tmp_path, BACKBONE, "mine.json"), tmp_path / "folder.py"):
        (tmp_path / "folder.py").mkdir(exist_ok=True)
        with pytest.raises(InputError, match="--plugin: expected a Python file"):
            plugins.load_plugin(path)


def test_a_plugin_that_fails_leaves_those_before_it(tmp_path):
    plugins.load_plugin(write(tmp_path / "a", BACKBONE))
    with pytest.raises(InputError, match="ZeroDivisionError"):
        plugins.load_plugin(write(tmp_path / "b", HEAD + "1 / 0", "broken.py"))
    assert "halved" in plugins.registered("backbone") and "halved" in plugins.frame_backbones()


def test_what_code_without_a_module_registers_is_from_outside(tmp_path):
    exec(HEAD, {})  # as a doctest's or a program's that has read the code itself
    plugins.load_plugin(write(tmp_path, BACKBONE))
    assert plugins._from_outside() >= {("head", "loudest"), ("backbone", "halved")}


def test_a_plugin_is_loaded_once_and_its_name_is_its_own(tmp_path):
    plugins.load_plugin(write(tmp_path / "a", BACKBONE))
    first = plugins.registered("backbone")["halved"]
    plugins.load_plugin(write(tmp_path / "b", BACKBONE))
    assert plugins.registered("backbone")["halved"] is first
    with pytest.raises(InputError, match="'halved', of both.*mine_.*mine_.*new Python process"):
        plugins.load_plugin(write(tmp_path / "c", BACKBONE + "# changed"))
