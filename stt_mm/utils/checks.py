"""Checks of arguments."""

import inspect
import math
import numbers
import types
import typing
from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch

from stt_mm.errors import InputError

_UNIONS = (types.UnionType, typing.Union)
_PLAIN = (bool, int, float, str, types.NoneType)
_WORDS = {
    bool: 'True or False',
    int: 'an integer',
    float: 'a finite number',
    str: 'text',
    types.NoneType: 'None',
    Sequence: 'a list',
    list: 'a list',
    dict: 'a dict',
}


def check_choice(name: str, value: object, choices: Collection) -> None:
    """Refuse a value that is not among the choices."""
    if value not in list(choices):
        raise InputError(f'{name} must be one of {", ".join(map(repr, choices))}, got {value!r}.')


def check_number(
    name: str, value: object, least: float = -math.inf, most: float = math.inf, above: float = -math.inf
) -> None:
    """Refuse what is not a finite number from ``least`` to ``most`` and larger than ``above``; a bool is none."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool | np.bool_) or not math.isfinite(value):
        raise InputError(f'{name} must be a finite number, got {value!r}.')
    if not least <= value <= most or value <= above:
        words = {
            'positive': above == 0,
            f'above {above:g}': math.isfinite(above) and above != 0,
            f'{least:g} or larger': math.isfinite(least),
            f'at most {most:g}': math.isfinite(most),
        }
        raise InputError(f'{name} must be {" and ".join(word for word, said in words.items() if said)}, got {value}.')


def checked_fields(instance: Any, owner: str) -> dict[str, Any]:
    """The fields of a dataclass as its annotations want them; NumPy's numbers become Python's, lists become tuples.

    Annotations may be ``bool``, ``int``, ``float``, ``str``, ``None``, ``Literal``, ``tuple`` and unions of these. A
    ``float`` may be given as an integer; it is finite. Nothing else is converted: ``True`` and 2.0 are no ``int``.
    """
    hints = typing.get_type_hints(type(instance))
    found = {}
    for field in fields(instance):
        value = getattr(instance, field.name)
        plain = _plain(value)
        if not (_is_plain(plain) and fits(plain, hints[field.name])):
            raise InputError(f'{owner}: {field.name} must be {in_words(hints[field.name])}, got {value!r}.')
        found[field.name] = plain
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


def _is_plain(value: Any) -> bool:
    return all(map(_is_plain, value)) if isinstance(value, tuple) else isinstance(value, _PLAIN)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type, as far as a config can hold it.

    A ``float`` may be given as an integer; it is finite. ``True`` and 2.0 are no ``int``. A list stands for a tuple as
    well. A dict stands for any component, and what no config holds is not looked at.
    """
    origin, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in _UNIONS:
        return any(fits(value, part) for part in parts)
    if origin is typing.Literal:
        return any(type(value) is type(choice) and value == choice for choice in parts)
    if typing.is_typeddict(origin):
        return isinstance(value, dict)
    if hint is Any or not inspect.isclass(origin) or not isinstance(value, (*_PLAIN, list, tuple, dict)):
        return True
    if origin in (int, float):
        return isinstance(value, int | origin) and not isinstance(value, bool) and math.isfinite(value)
    if isinstance(value, str):
        return origin in (str, object)
    if isinstance(value, dict):
        return origin not in (bool, str, types.NoneType, list, tuple, Sequence)
    if not isinstance(value, list | tuple):
        return isinstance(value, origin)
    if not issubclass(list, origin) and not issubclass(tuple, origin):
        return False
    if origin is tuple and parts and parts[-1] is not Ellipsis:
        return len(value) == len(parts) and all(map(fits, value, parts))
    return not parts or all(fits(item, parts[0]) for item in value)


def in_words(hint: Any) -> str:
    """What a value must be to be of an annotated type."""
    origin, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in _UNIONS:
        return ' or '.join(map(in_words, parts))
    if origin is typing.Literal:
        return f'one of {", ".join(map(repr, parts))}'
    if origin is tuple and parts:
        return f'({", ".join("..." if part is Ellipsis else in_words(part) for part in parts)})'
    if origin in (list, Sequence) and parts:
        return f'[{in_words(parts[0])}, ...]'
    return 'a dict' if typing.is_typeddict(origin) else _WORDS.get(origin) or getattr(origin, '__name__', str(hint))


def check_value(name: str, value: object, hint: Any) -> None:
    """Refuse what is not of an annotated type; the keys of a ``TypedDict`` and of a ``dict`` are looked into."""
    inner = next(
        (
            part
            for part in (typing.get_args(hint) if typing.get_origin(hint) in _UNIONS else [hint])
            if typing.is_typeddict(part) or typing.get_origin(part) is dict
        ),
        None,
    )
    if inner is None or not isinstance(value, dict):
        if not fits(value, hint):
            raise InputError(f'{name} must be {in_words(hint)}, got {value!r}.')
        return
    known = typing.get_type_hints(inner) if typing.is_typeddict(inner) else dict.fromkeys(value, inner.__args__[1])
    for key, item in value.items():
        if key not in known:
            raise InputError(f'{name} has no key {key!r}{similar(key, known)}. It may have {", ".join(known)}.')
        check_value(f'{name}.{key}', item, known[key])


def similar(name: object, known: Iterable[str]) -> str:
    """The known names that may have been meant, as a question in brackets; empty if there are none."""
    close = get_close_matches(str(name), list(known), n=2)
    return f' (did you mean {" or ".join(map(repr, close))}?)' if close else ''


def check_count(name: str, value: object, least: int = 1) -> None:
    """Refuse what is no whole number of at least ``least``."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise InputError(f'{name} must be a whole number of at least {least}, got {value!r}.')


def is_iterable(value: object) -> bool:
    """Whether a ``for`` loop takes it, by whichever method."""
    try:
        iter(value)
    except TypeError:
        return False
    return True


def usable_device(name: str | torch.device | None) -> torch.device:
    """The device of that name; ``None``: the first GPU if there is one, or else the CPU."""
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
