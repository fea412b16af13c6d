"""Errors whose message is all the user needs: one line, no traceback."""


class InputError(Exception):
    """Input from outside (a file, a folder, an option) that cannot be used.

    The message is one line that names the file, the entry and the remedy; the command line prints
    it and exits with code 2. Mistakes in calling code stay `ValueError`.
    """


class ToldElsewhere(InputError):
    """Input that cannot be used, of which another process of the same run tells."""
