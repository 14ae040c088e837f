"""The one exception for mistakes in what the user gave: the command line prints it as a line and exits with 2."""


class InputError(ValueError):
    """A file, folder or argument of the user's is not usable.

    The message names it, says what was expected and what was received, and what to do.
    """
