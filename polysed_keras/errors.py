"""The exception for mistakes in the user's input, which the command line prints as one line before it exits with 2."""


class InputError(ValueError):
    """A file, folder or argument from the user is not usable.

    The message names it, says what was expected and what was received, and often what to do.

    Example:
        >>> ps.get_preset("mcmt_3")
        Traceback (most recent call last):
        polysed_keras.errors.InputError: preset: expected a path of a .json file, or one of ... Did you mean mcmt_8?
    """


def brief(error, most=300):
    """Return the message of a library's exception as one line, which is cut if it is long.

    Example:
        >>> brief(ValueError("no such layer.  See the log."))
        'no such layer. See the log'
    """
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= most else f"{text[:most]}..."


def expect(condition, field, expected, received, hint=""):
    """Raise InputError unless a condition holds.

    Args:
        condition: anything with a truth value.
        field: str, the argument, field or file that is wrong.
        expected: str, what it should have been.
        received: the actual value, shown by its repr.
        hint: str, a sentence about what to do; "" for none.

    Raises:
        InputError: "FIELD: expected EXPECTED. Received: RECEIVED. HINT".

    Example:
        >>> expect(3 > 0, "epochs", "at least 1", 3)
    """
    if not condition:
        raise InputError(f"{field}: expected {expected}. Received: {received!r}.{hint and ' ' + hint}")


def expect_known(names, known, field, hint="", *, expected="one of {}"):
    """Raise InputError unless a name, or each of several, is known; what is nearly the one that was received is told.

    Args:
        names: str, or a list or tuple of them.
        known: the names that are known.
        field: as of expect.
        hint: as of expect.
        expected: what is expected, with {} in place of the known names.

    Raises:
        InputError: as of expect, with "Did you mean ...?" if a known name is similar.

    Example:
        >>> expect_known("dig", ["dog", "cat"], "label")
        Traceback (most recent call last):
        polysed_keras.errors.InputError: label: expected one of dog, cat. Received: 'dig'. Did you mean dog?
    """
    known, several = list(known), isinstance(names, (list, tuple))
    unknown = [name for name in (names if several else [names]) if name not in known]
    if unknown:
        import difflib  # which no command that succeeds needs
        near = dict.fromkeys(match for name in unknown for match in difflib.get_close_matches(str(name), known, 1))
        expect(False, field, expected.format(", ".join(known)), unknown if several else names,
               " ".join(filter(None, [*(f"Did you mean {match}?" for match in near), hint])))
