"""The errors that say that something given to the toolbox cannot be used.

Every error that an argument, a config value or a file can cause derives from :class:`SttMMError`, and from the built-in
class that such an error would have anyway. The command line tools print these in one line; anything else is a fault of
the code and keeps its traceback.
"""


class SttMMError(Exception):
    """What was given cannot be used; the message names it, what was expected, what came and the way out."""


class InputError(SttMMError, ValueError):
    """An argument, a config value or the content of a file is not what it must be."""


class MissingInputError(SttMMError, FileNotFoundError):
    """A file or folder that was named does not exist."""


class FileError(SttMMError, OSError):
    """A file cannot be read or written, or must not be."""
