"""Checks of constructor arguments."""

from collections.abc import Collection
from numbers import Integral

from stt_mm.errors import InputError


def check_choice(name: str, value: object, choices: Collection) -> None:
    """Refuse a value that is not among the choices.

    Raises:
        ValueError: naming the argument, the choices and the value.
    """
    if value not in choices:
        raise InputError(f'{name} must be one of {", ".join(map(repr, choices))}, got {value!r}.')


def check_count(name: str, value: object, least: int = 1) -> None:
    """Refuse what is no whole number of at least ``least``.

    Raises:
        ValueError: naming the argument, the limit and the value.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise InputError(f'{name} must be a whole number of at least {least}, got {value!r}.')
