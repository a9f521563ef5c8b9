"""Names of a package that are imported when they are asked for."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy_names(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """What a package's ``__init__`` calls ``__getattr__``, ``__dir__`` and ``__all__``.

    Args:
        package: its ``__name__``.
        modules: the names that it offers, by the module below it that has them.
    """
    homes = {name: f'{package}.{module}' for module, names in modules.items() for name in names}

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        return getattr(import_module(homes[name]), name)

    names = sorted(homes)
    return __getattr__, lambda: names, names
