"""Registry of backbones, heads, corpora and encodings: the package's own, and those of plug-in files."""
import pathlib
import sys
import types

from polysed_keras.errors import InputError, brief, expect, expect_known
from polysed_keras.files import file_digest

_REGISTRY = {kind: {} for kind in ("backbone", "head", "corpus", "encoding")}
# Backbones of frames and heads of clips, as (kind, name). An Experiment asks for heads without importing Keras, and the
# package's own heads are not registered before that: so theirs stand here.
_MARKED = {("head", "pooled")}
_PRETRAINED = set()  # names of backbones


def register(kind, name=None, *, frames=False, clips=False, pretrained=False):
    """Decorate a function or class so that experiments find it by name. Plug-in files use it, and so does the package.

    - "backbone": function (log_mel (batch, T, F), ModelSpec, use_cudnn) -> list of tuples of maps (batch, T', F', C);
      with `pretrained`, a tuple of this list and the logarithms of its class scores (batch, T'', classes).
    - "head": function (maps, tasks, ModelSpec, use_cudnn) -> one tensor per task, (batch, T', C) or (batch, C).
    - "corpus": function (folder) -> datasets.Dataset.
    - "encoding": class like specs.Encoding.

    Args:
        kind: str, one of these four.
        name: str by which experiments choose it; default: the function's or class's own name.
        frames: bool, of a backbone: T' is T divided by a whole number, so that heads of frames can use its maps.
        clips: bool, of a head: it returns (batch, C), so that clips are labelled as a whole.
        pretrained: bool, of a backbone: it sets its layers' weights itself and takes log-mel as it is, not normalised
            by the training set.

    Returns:
        The decorator, which returns what it is given.

    Raises:
        InputError: an unknown kind, a fact that the kind does not have, or a name that something else has.

    Example:
        >>> @ps.register("backbone", frames=True)
        ... def one_map(x, spec, use_cudnn):
        ...     return [(x[..., None],)]
    """
    expect_known(kind, _REGISTRY, "register")
    expect(not (frames or pretrained) or kind == "backbone", "frames and pretrained", "True for a backbone only", kind)
    expect(not clips or kind == "head", "clips", "True for a head only", kind)

    def decorate(function):
        key = name or function.__name__
        old = _REGISTRY[kind].get(key, function)
        if _identity(old) != _identity(function):
            raise InputError(f"{kind}: expected a name that nothing else has. Received: {key!r}, of both "
                             f"{' and '.join('.'.join(map(str, _identity(each))) for each in (old, function))}. "
                             "Choose another name; a changed plug-in needs a new Python process.")
        _REGISTRY[kind][key] = function
        (_MARKED.add if frames or clips else _MARKED.discard)((kind, key))
        if pretrained:
            _PRETRAINED.add(key)
        return function

    return decorate


def _identity(function):
    """Module and name, which stay the same if a notebook's cell runs again."""
    return function.__module__, getattr(function, "__qualname__", function)


def registered(kind):
    """Return a read-only view of the registry, {name: function or class}, for a kind of `register`."""
    return types.MappingProxyType(_REGISTRY[kind])


def find(kind, name, field):
    """Return what is registered under a name, or raise InputError, whose message begins with `field`."""
    expect_known(name, sorted(_REGISTRY[kind]), field,
                 "If it is a plug-in's, name the file: polysed train --plugin FILE.py, or load_plugin.")
    return _REGISTRY[kind][name]


def frame_backbones():
    """Return the sorted names of the backbones whose maps heads of frames can use."""
    return sorted(name for kind, name in _MARKED if kind == "backbone")


def is_pretrained(backbone):
    """Return whether a registered backbone brings its weights; False for unknown backbones."""
    return backbone in _PRETRAINED


def is_clip_head(name):
    """Return whether a head labels clips as a whole; False for unknown heads."""
    return ("head", name) in _MARKED


def load_plugin(path):
    """Run a Python file that registers backbones, heads, corpora or encodings.

    Its code can do anything, so load only files that you trust. A file with the same name and content as one that was
    loaded before is not run again.

    Args:
        path: a .py file.

    Raises:
        InputError: no such file, an error in it, or nothing registered by it.

    Example:
        >>> ps.load_plugin("my_backbone.py")
    """
    path = pathlib.Path(path)
    expect(path.suffix == ".py" and path.is_file(), "--plugin", "a Python file, FILE.py", str(path))
    name = f"polysed_plugin_{path.stem}_{file_digest(path)}"
    if name in sys.modules:
        return
    before = _from_outside()
    module = sys.modules[name] = types.ModuleType(name)
    module.__file__ = str(path)
    try:
        # no import by importlib: it would leave __pycache__ in the folders of runs
        exec(compile(path.read_bytes(), path, "exec"), module.__dict__)
        if before == _from_outside():
            raise InputError(f"{path}: expected a file that registers something by specs.register. "
                             "Received: none that does.")
    except Exception as error:
        del sys.modules[name]
        _forget(_from_outside() - before)
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: expected a plug-in, a Python file that runs. "
                         f"Received: {type(error).__name__}: {brief(error)}.") from error


def _from_outside():
    """Return {(kind, name)} of what the package's own modules did not register."""
    return {(kind, name) for kind, entries in _REGISTRY.items() for name, function in entries.items()
            if not (function.__module__ or "").startswith("polysed_keras.")}  # None of code without a name


def _forget(names):
    for kind, name in names:
        del _REGISTRY[kind][name]
        _MARKED.discard((kind, name))
        _PRETRAINED.discard(name)
