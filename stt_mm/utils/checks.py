"""Checks of constructor arguments."""

from collections.abc import Collection

from stt_mm.errors import InputError


def check_choice(name: str, value: object, choices: Collection) -> None:
    """Refuse a value that is not among the choices.

    Raises:
        ValueError: naming the argument, the choices and the value.
    """
    if value not in choices:
        raise InputError(f'{name} must be one of {", ".join(map(repr, choices))}, got {value!r}.')
