"""Pickles of arrays and plain containers, read without running any code that the file names.

What a pickle builds, it builds by calling what it names. Here the only names are those with which NumPy stores an array
of numbers, and none of them is NumPy's own: each stands for a function below, which checks what it is given. Anything
else is refused by its name before it is looked up.
"""

import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from stt_mm.errors import FileError, InputError, MissingInputError

_NUMBERS = re.compile(r'[biuf][1248]|f16')


class _Name:
    """What a name in the file stands for: it can be called, and nothing else."""

    __slots__ = ('_call',)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setstate__(self, state: Any) -> None:
        raise InputError('sets attributes of a function')


class _Type:
    """The type of an array's numbers."""

    __slots__ = ('value',)

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or not _NUMBERS.fullmatch(code):
            raise InputError(f'holds an array of {str(code)[:20]!r}, which are no numbers')
        self.value = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ('<', '>', '|', '='):
            raise InputError('holds a type of numbers that is none')
        if (state[2], state[3], state[4]) != (None, None, None):
            raise InputError('holds an array of records, not of numbers')
        self.value = self.value.newbyteorder(state[1])


class _Array:
    """An array, empty until its content comes."""

    __slots__ = ('value',)

    def __init__(self) -> None:
        self.value = np.empty(0)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise InputError('holds an array that is none')
        _, shape, kind, columns_first, content = state
        self.fill(content, kind, shape, 'F' if columns_first else 'C')

    def fill(self, content: Any, kind: Any, shape: Any, order: Any) -> None:
        whole = isinstance(shape, tuple) and all(type(side) is int and side >= 0 for side in shape)
        if not whole or not isinstance(kind, _Type) or not isinstance(content, bytes | bytearray) or len(shape) > 32:
            raise InputError('holds an array that is not of numbers')
        if math.prod(shape) * kind.value.itemsize != len(content) or order not in ('C', 'F'):
            raise InputError(f'holds an array {list(shape)} of {kind.value} in {len(content)} bytes')
        self.value = np.frombuffer(content, kind.value).reshape(shape, order=order)


def _empty(kind: Any, shape: Any, code: Any) -> _Array:
    if kind is not _NDARRAY:
        raise InputError('holds another kind of array than numpy.ndarray')
    return _Array()


def _whole(content: Any, kind: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.fill(content, kind, shape, order)
    return array


def _bytes(text: Any, encoding: Any) -> bytes:
    """Bytes as the pickles of old protocols hold them."""
    if not isinstance(text, str) or encoding != 'latin1':
        raise InputError('holds bytes in an encoding of its own')
    return text.encode('latin1')


def _uncalled(*_: Any) -> None:
    raise InputError('makes an array by itself')


_NDARRAY = _Name(_uncalled)
_NAMES = {
    ('numpy', 'ndarray'): _NDARRAY,
    ('numpy', 'dtype'): _Name(_Type),
    ('_codecs', 'encode'): _Name(_bytes),
    ('__builtin__', 'bytes'): _Name(lambda: b''),  # of the same protocols, where there are none
    **{
        (f'numpy.{core}.{module}', name): _Name(call)
        for core in ('core', '_core')
        for module, name, call in (('multiarray', '_reconstruct', _empty), ('numeric', '_frombuffer', _whole))
    },
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise InputError(f'names {module}.{name}, which is neither a numpy array of numbers nor a plain container')
        return _NAMES[module, name]


def read_pickle(path: str | Path) -> Any:
    """What a pickle holds: numbers, text, bytes, lists, tuples and dicts, and arrays.

    Arrays of numbers are in objects whose content :func:`array_of` gives, so that nothing has to be walked that may
    contain itself.

    Raises:
        ValueError: the file names anything else, or is cut off or damaged.
    """
    try:
        with open(path, 'rb') as file:
            return _Reader(file).load()
    except FileNotFoundError:
        raise MissingInputError(f'No such file: {path}.') from None
    except OSError as error:
        raise FileError(f'{path} cannot be read: {error.strerror or error}.') from error
    except InputError as error:
        raise InputError(
            f'{path} {error}. Nothing of it was run. Only pickles of arrays and plain containers are read: '
            'download the file again from where it was published, or convert it to folders.'
        ) from error
    except Exception as error:
        # A damaged pickle can fail in any operation of the format.
        raise InputError(
            f'{path} cannot be read as a pickle ({type(error).__name__}: {str(error)[:100]}): it is cut off, damaged '
            'or another kind of file. Download it again.'
        ) from error


def array_of(value: Any) -> np.ndarray | None:
    """The array that an entry of :func:`read_pickle` is; ``None`` if it is none."""
    return value.value if isinstance(value, _Array) else None
