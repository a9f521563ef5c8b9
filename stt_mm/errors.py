"""The errors that say that something given to the toolbox cannot be used.

Every error that an argument, a config value or a file can cause derives from :class:`SttMMError`, and from the built-in
class that such an error would have anyway. The command line tools print these in one line; anything else is a fault of
the code and keeps its traceback.

So every function raises :class:`InputError` for what is not as its docstring has it, :class:`MissingInputError` for a
file that is not there and :class:`FileError` for one that cannot be read or written. A section ``Raises`` tells more.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class SttMMError(Exception):
    """What was given cannot be used; the message names it, what was expected, what came and the way out."""


class InputError(SttMMError, ValueError):
    """An argument, a config value or the content of a file is not what it must be."""


class MissingInputError(SttMMError, FileNotFoundError):
    """A file or folder that was named does not exist."""


class FileError(SttMMError, OSError):
    """A file cannot be read or written, or must not be."""


@contextmanager
def library_errors(message: str) -> Iterator[None]:
    """Around a call of another library with values that the user gave: whatever it says about them is an InputError.

    Errors of the toolbox and of the operating system stay what they are, and so do those that :func:`bugs_stay` has
    seen.
    """
    try:
        yield
    except (SttMMError, OSError, MemoryError):
        raise
    except Exception as error:
        if getattr(error, '_is_bug', False):
            raise
        text = ' '.join(str(error).split())
        raise InputError(f'{message}: {type(error).__name__}: {text}') from error


@contextmanager
def writing(path: object) -> Iterator[None]:
    """Around what writes a file: that there is no room, or whatever else the system refuses, is said with its name."""
    try:
        yield
    except OSError as error:
        if isinstance(error, SttMMError):
            raise
        raise FileError(f'{path} cannot be written: {error.strerror or error}.') from error


@contextmanager
def bugs_stay() -> Iterator[None]:
    """Around code that checks its arguments by itself: its errors pass through every :func:`library_errors`."""
    try:
        yield
    except Exception as error:
        error._is_bug = True
        raise
