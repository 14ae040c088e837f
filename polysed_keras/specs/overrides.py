"""Replace fields of an Experiment by name, as `--set` does."""
import dataclasses
import json
import typing

from polysed_keras.errors import InputError, expect, expect_known
from polysed_keras.files import as_type, parse_json, read_json

_SHOWN = 200  # characters of a wrong value in a message


def set_fields(experiment, assignments):
    """Replace fields by name, as `--set` does.

    Every change but the seed's is appended to the experiment's name, so that reports tell runs of a preset from runs of
    a changed preset.

    Args:
        experiment: Experiment.
        assignments: list of str such as "training.epochs=3", "model.dropout=0.3" or "dataset=my_corpus". A value is
            JSON, or the path of a JSON file ("tasks.groups=groups.json"), or text.

    Raises:
        InputError: an assignment without `=`, an unknown field, or a value of the wrong type.

    Example:
        >>> set_fields(get_preset("multilabel"), ["training.epochs=3"]).name
        'multilabel epochs=3'
    """
    known = [f"{f.name}.{g.name}" for f in dataclasses.fields(experiment)
             if dataclasses.is_dataclass(getattr(experiment, f.name))
             for g in dataclasses.fields(getattr(experiment, f.name))]
    for name, text in _parse_assignments(assignments, [*known, "dataset"]):
        part, _, field = name.rpartition(".")
        before = getattr(experiment, part) if part else experiment
        after = dataclasses.replace(before, **{field: _value(name, text, before, field)})
        if name != "training.seed" and after != before:
            experiment = dataclasses.replace(experiment, name=f"{experiment.name} {field}={text}")
        experiment = dataclasses.replace(experiment, **{part: after} if part else {field: getattr(after, field)})
    return experiment


def set_spec_fields(spec, assignments):
    """Replace fields of one dataclass by assignments such as "epochs=3"."""
    for name, text in _parse_assignments(assignments, [field.name for field in dataclasses.fields(spec)]):
        spec = dataclasses.replace(spec, **{name: _value(name, text, spec, name)})
    return spec


def _parse_assignments(assignments, known):
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        expect(equals, "--set", f"FIELD=VALUE, such as {known[0]}=...", assignment)
        expect_known(name, known, "--set")
        yield name, text


def _value(name, text, spec, field):
    """Return the value that a text is for a field of a dataclass."""
    current, shown = getattr(spec, field), text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    try:
        value = parse_json(text)
    except ValueError:
        value = read_json(text) if text.endswith(".json") and not isinstance(current, str) else text
    kind = typing.get_type_hints(type(spec))[field]
    if current is None:  # which is no example
        return as_type(value, kind, f"--set {name}={shown!r}")
    try:
        return as_type(value, kind, "")
    except InputError as error:
        raise InputError(f"--set {name}: expected a value such as {json.dumps(current)}. Received: {shown!r}."
                         ) from error
