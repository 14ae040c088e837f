"""The exception for mistakes in the user's input, which the command line prints as one line before it exits with 2."""


class InputError(ValueError):
    """A file, folder or argument from the user is not usable.

    The message names it, says what was expected and what was received, and often what to do.

    Example:
        >>> ps.get_preset("mcmt_3")
        Traceback (most recent call last):
        polysed_keras.errors.InputError: preset: expected a path of a .json file, or one of ... Received: 'mcmt_3'.
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
