"""The one exception for mistakes in what the user gave: the command line prints it as a line and exits with 2."""


class InputError(ValueError):
    """A file, folder or argument of the user's is not usable.

    The message names it, says what was expected and what was received, and what to do.
    """


def expect(condition, field, expected, received, hint=""):
    """Raise InputError unless a condition holds.

    Args:
        condition: anything with a truth value.
        field: the argument, field or file that the message begins with.
        expected: what it should have been, in words.
        received: what it was, shown by its repr.
        hint: what to do about it, a sentence; "" where the message says enough.

    Raises:
        InputError: "FIELD: expected EXPECTED. Received: RECEIVED. HINT".

    Example:
        >>> expect(3 > 0, "epochs", "at least 1", 3)
    """
    if not condition:
        raise InputError(f"{field}: expected {expected}. Received: {received!r}.{hint and ' ' + hint}")
