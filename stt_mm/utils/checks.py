"""Checks of arguments."""

import math
import numbers
import types
import typing
from collections.abc import Collection
from dataclasses import fields
from typing import Any

import numpy as np
import torch

from stt_mm.errors import InputError


def check_choice(name: str, value: object, choices: Collection) -> None:
    """Refuse a value that is not among the choices.

    Raises:
        ValueError: naming the argument, the choices and the value.
    """
    if value not in list(choices):
        raise InputError(f'{name} must be one of {", ".join(map(repr, choices))}, got {value!r}.')


def check_number(name: str, value: object, least: float = -math.inf, most: float = math.inf,
                 above: float = -math.inf) -> None:
    """Refuse what is not a finite number within its range; a bool is none.

    Args:
        name: of the argument.
        value: to be checked.
        least, most: smallest and largest value that is allowed.
        above: a value that is too small itself.

    Raises:
        ValueError: naming the argument, the range and the value.
    """
    if not isinstance(value, numbers.Real) or isinstance(value, bool | np.bool_) or not math.isfinite(value):
        raise InputError(f'{name} must be a finite number, got {value!r}.')
    if not least <= value <= most or value <= above:
        words = {'positive': above == 0, f'above {above:g}': math.isfinite(above) and above != 0,
                 f'{least:g} or larger': math.isfinite(least), f'at most {most:g}': math.isfinite(most)}
        raise InputError(f'{name} must be {" and ".join(word for word, said in words.items() if said)}, got {value}.')


def checked_fields(instance: Any, owner: str) -> dict[str, Any]:
    """The fields of a dataclass as its annotations want them; NumPy's numbers become Python's, lists become tuples.

    Annotations may be ``bool``, ``int``, ``float``, ``str``, ``None``, ``Literal``, ``tuple`` and unions of these. A
    ``float`` may be given as an integer; it is finite. Nothing else is converted: ``True`` and 2.0 are no ``int``.

    Args:
        instance: of the dataclass.
        owner: what its fields are called after in the message.

    Raises:
        ValueError: naming the field, what it may be, and the value.
    """
    hints = typing.get_type_hints(type(instance))
    found = {}
    for field in fields(instance):
        value = getattr(instance, field.name)
        plain = value.item() if isinstance(value, np.generic) else tuple(value) if isinstance(value, list) else value
        if isinstance(plain, tuple):
            plain = tuple(item.item() if isinstance(item, np.generic) else item for item in plain)
        if not _fits(plain, hints[field.name]):
            raise InputError(f'{owner}: {field.name} must be {_expected(hints[field.name])}, got {value!r}.')
        found[field.name] = plain
    return found


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return any(type(value) is type(choice) and value == choice for choice in arguments)
    if origin is tuple:
        wanted = arguments[:1] * len(value) if isinstance(value, tuple) and arguments[-1] is Ellipsis else arguments
        return isinstance(value, tuple) and len(value) == len(wanted) and all(map(_fits, value, wanted))
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    return value is None if hint in (None, types.NoneType) else type(value) is hint


def _expected(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return ' or '.join(_expected(argument) for argument in arguments)
    if origin is typing.Literal:
        return f'one of {", ".join(map(repr, arguments))}'
    if origin is tuple:
        return f'({", ".join("..." if argument is Ellipsis else _expected(argument) for argument in arguments)})'
    names = {bool: 'True or False', int: 'an integer', float: 'a finite number', str: 'text', types.NoneType: 'None'}
    return names.get(hint, str(hint))


def check_count(name: str, value: object, least: int = 1) -> None:
    """Refuse what is no whole number of at least ``least``.

    Raises:
        ValueError: naming the argument, the limit and the value.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise InputError(f'{name} must be a whole number of at least {least}, got {value!r}.')


def usable_device(name: str | torch.device | None) -> torch.device:
    """The device of that name; ``None``: the first GPU if there is one, or else the CPU.

    Raises:
        ValueError: there is no such device here.
    """
    if name is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    count = torch.cuda.device_count()
    try:
        device = torch.device(name)
        found = device.type != 'meta' and (device.type != 'cuda' or (device.index or 0) < count)
        if found:
            torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        found = False
    if not found:
        here = ['cpu', *(f'cuda:{index}' for index in range(count))]
        raise InputError(f'There is no device {str(name)!r} that can be used here. PyTorch sees: {", ".join(here)}.')
    return device
