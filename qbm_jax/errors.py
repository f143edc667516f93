"""The one exception that means: the user can mend this."""


class InputError(ValueError):
    """A file, column, value, config field or checkpoint that cannot be used.

    The message is one line: what was expected, what came, what to do. The command line prints it
    without a traceback and exits with code 2.
    """
