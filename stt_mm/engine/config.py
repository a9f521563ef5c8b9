"""Loading configs so that a mistake is reported where it was made."""

import inspect
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner

import stt_mm.registry as registry
from stt_mm.errors import InputError, MissingInputError
from stt_mm.utils.config_path import PACKAGE, config_path

_READ_FROM_CFG = {
    'activation_checkpointing', 'compile', 'custom_imports', 'efficient_conv_bn_eval', 'fallback_scope',
    'find_unused_parameters', 'model_wrapper_cfg', 'sync_bn',
}
KNOWN_KEYS = frozenset(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'} | _READ_FROM_CFG


def unknown_keys(cfg: Config) -> dict[str, str | None]:
    """Top-level keys that neither MMEngine's runner nor this toolbox reads.

    Args:
        cfg: a loaded config. Keys that start with an underscore are the author's own and not looked at.

    Returns:
        Each unknown key with the known one it most resembles, or ``None`` if it resembles none.
    """
    unknown = (key for key in cfg if not key.startswith('_') and key not in KNOWN_KEYS)
    return {key: next(iter(get_close_matches(key, KNOWN_KEYS, n=1)), None) for key in unknown}


def check_keys(cfg: Config) -> None:
    """Refuse a config with unknown top-level keys, which MMEngine would pass over in silence.

    Raises:
        ValueError: with every unknown key and the one that may have been meant.
    """
    unknown = unknown_keys(cfg)
    if unknown:
        named = ', '.join(f'{key!r}' + (f' (did you mean {meant!r}?)' if meant else '')
                          for key, meant in unknown.items())
        raise InputError(f'{cfg.filename or "The config"} has top-level keys that nothing reads: {named}. '
                         'Correct or remove them; a variable of your own may start with an underscore.')


def values_of(node: Any, *keys: str) -> Iterator[str]:
    """All texts that a nested config has under these keys, such as ``data_root`` or ``checkpoint``."""
    if isinstance(node, dict):
        yield from (node[key] for key in keys if isinstance(node.get(key), str))
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ():
        yield from values_of(item, *keys)


def add_scopes(cfg: Config) -> None:
    """Write the scope before every ``type`` that only the library named by the config's ``fallback_scope`` has.

    With ``fallback_scope = 'mmpretrain'`` a config says ``type='MoCo'``. Components of this toolbox and of MMEngine
    come first; a name that neither has, in a registry of any kind, becomes ``mmpretrain.MoCo`` if the library has it
    and stays as it is if not. MMEngine itself looks up a name without a scope in ``default_scope`` alone, also where a
    model of the other library builds its parts.

    Args:
        cfg: a loaded config, changed in place; nothing happens without ``fallback_scope``.

    Raises:
        ValueError: there is no such library, or it has no registries.
    """
    scope = cfg.get('fallback_scope')
    if scope is None:
        return
    try:
        theirs = import_module(f'{scope}.registry')
    except ImportError as error:
        raise InputError(f'{cfg.filename}: fallback_scope={scope!r} names no installed library with registries '
                         f'({error}). Install it, or remove the key.') from error
    kinds = {kind: ours for kind, ours in vars(registry).items() if isinstance(ours, Registry)}

    @cache
    def full_name(name: str) -> str:
        if '.' in name or any(ours.get(name) for ours in kinds.values()):
            return name
        known = any(getattr(theirs, kind).get(name) for kind in kinds if hasattr(theirs, kind))
        return f'{scope}.{name}' if known else name

    for key in cfg:
        _rename_types(cfg[key], full_name)


def _rename_types(node: Any, full_name: Callable[[str], str]) -> None:
    if isinstance(node, dict):
        if isinstance(node.get('type'), str):
            node['type'] = full_name(node['type'])
        for item in node.values():
            _rename_types(item, full_name)
    elif isinstance(node, list | tuple):
        for item in node:
            _rename_types(item, full_name)


def load_config(path: str | Path, options: dict | None = None) -> Config:
    """Load a config file, apply overrides, check its keys and complete its names (:func:`add_scopes`).

    Args:
        path: a config file, or the name of a shipped config such as ``stt_r18_ytv``.
        options: overrides by dotted key, as ``--cfg-options`` gives them.

    Raises:
        FileNotFoundError: if there is no such file; the message lists similar names.
        ValueError: if the file is not a valid config, an override does not fit, or a key is unknown.
    """
    file = find_config(path)
    if file.read_bytes()[:2] in (b'\xef\xbb', b'\xff\xfe', b'\xfe\xff'):
        raise InputError(f'{file} begins with a byte order mark. Save configs as UTF-8 without one.')
    try:
        cfg = Config.fromfile(file)
    except Exception as error:
        raise InputError(f'{file} cannot be loaded as a config: {type(error).__name__}: {error}') from error
    if options:
        try:
            cfg.merge_from_dict(options)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f'--cfg-options do not fit {file}: {error}') from error
    check_keys(cfg)
    add_scopes(cfg)
    return cfg


def find_config(path: str | Path) -> Path:
    """The config file of that path or, if there is none, the shipped config of that name.

    Raises:
        FileNotFoundError: if there is neither; the message lists similar names.
    """
    file = Path(path)
    if file.is_file():
        return file
    try:
        return config_path(str(path))
    except FileNotFoundError as error:
        shipped = [found for root in (PACKAGE.parent, PACKAGE) for found in (root / 'configs').rglob('*.py')]
        known = {found.stem: str(found) for found in [*shipped, *file.parent.glob('*.py')]}
        close = [known[stem] for stem in get_close_matches(file.stem, known, n=3, cutoff=0.6)]
        similar = f'Similar: {", ".join(close)}.' if close else str(error)
        raise MissingInputError(f'There is no file {path}. {similar}') from None
