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
from mmengine.utils import import_modules_from_strings
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader

import stt_mm.registry as registry
from stt_mm.errors import InputError, MissingInputError
from stt_mm.utils.checks import check_choice, check_count
from stt_mm.utils.config_path import PACKAGE, config_path

_READ_FROM_CFG = {
    'activation_checkpointing', 'compile', 'custom_imports', 'efficient_conv_bn_eval', 'fallback_scope',
    'find_unused_parameters', 'model_wrapper_cfg', 'sync_bn',
}
# What the dicts of these top-level keys are and what they are without a type, and what those below them are, down to
# the next of the inner keys.
_OUTER = {
    'model': (registry.MODELS, None), 'optim_wrapper': (registry.OPTIM_WRAPPERS, 'OptimWrapper'),
    'param_scheduler': (registry.PARAM_SCHEDULERS, None), 'train_cfg': (registry.LOOPS, None),
    'val_cfg': (registry.LOOPS, 'ValLoop'), 'test_cfg': (registry.LOOPS, 'TestLoop'),
    'val_evaluator': (registry.METRICS, None), 'test_evaluator': (registry.METRICS, None),
    'default_hooks': (registry.HOOKS, None), 'custom_hooks': (registry.HOOKS, None),
    'visualizer': (registry.VISUALIZERS, 'Visualizer'), 'log_processor': (registry.LOG_PROCESSORS, 'LogProcessor'),
}
_INNER = {
    'optimizer': registry.OPTIMIZERS, 'dataset': registry.DATASETS, 'pipeline': registry.TRANSFORMS,
    'sampler': registry.DATA_SAMPLERS, 'batch_sampler': registry.DATA_SAMPLERS, 'collate_fn': registry.FUNCTIONS,
    'vis_backends': registry.VISBACKENDS, 'metrics': registry.METRICS, 'model': registry.MODELS,
    'network': None,  # of another library, which is looked up there when it is built
}
# Components that consist of others of their kind. A dict below another one is an argument.
_NESTED = (registry.MODELS, registry.TRANSFORMS, registry.HOOKS)
_NEEDED = {'optimizer', 'dataset', 'collate_fn'}
_LOG_LEVELS = ('CRITICAL', 'ERROR', 'WARNING', 'INFO', 'DEBUG')
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


def check_components(cfg: Config) -> None:
    """Refuse what names no component, or gives one an argument that it does not take, before anything is built.

    Looked at are this toolbox's and MMEngine's components; what is below one of another library is that library's.

    Args:
        cfg: a loaded config with full names.

    Raises:
        ValueError: with the place in the config, and the name that may have been meant.
    """
    own = {key: value for key, value in cfg.items() if key in inspect.signature(Runner.__init__).parameters}
    _refuse(cfg.filename or 'The config', registry.wrong_arguments(Runner, own, typed=True))
    clip = dict(own.get('optim_wrapper') or {}).get('clip_grad')
    if isinstance(clip, dict) and clip.get('type', 'norm') == 'norm':
        numbers = {key: value for key, value in clip.items() if key != 'norm_type'}  # which may be 'inf'
        _refuse('optim_wrapper.clip_grad', registry.wrong_arguments(clip_grad_norm_, numbers, typed=True))
    _refuse('randomness', registry.wrong_arguments(Runner.set_randomness, cfg.get('randomness') or {}))
    check_choice('log_level', cfg.get('log_level', 'INFO'), _LOG_LEVELS)
    for key in own:
        kind, usual = _OUTER.get(key, (None, None))
        _check_node(cfg[key], key, kind, usual)


def _refuse(place: str, wrong: str | None) -> None:
    if wrong:
        raise InputError(f'{place}: {wrong}')


def _check_node(node: Any, place: str, kind: Registry | None, usual: str | None = None) -> None:
    if isinstance(node, list | tuple):
        for index, item in enumerate(node):
            _check_node(item, f'{place}.{index}', kind)
    if not isinstance(node, dict):
        return
    if 'dataset' in node and 'batch_size' in node:
        _refuse(place, registry.wrong_arguments(DataLoader, node))
        if node['batch_size'] is not None:
            check_count(f'{place}.batch_size', node['batch_size'])
        check_count(f'{place}.num_workers', node.get('num_workers', 0), least=0)
        if node.get('prefetch_factor') is not None:
            check_count(f'{place}.prefetch_factor', node['prefetch_factor'])
    name = node.get('type', usual)
    if kind is not None and name is not None:
        try:
            component = registry.find_component(registry.EVALUATORS if 'metrics' in node else kind, name, 'stt_mm')
        except InputError as error:
            raise InputError(f'{place}.type: {error}') from error
        _refuse(place, registry.wrong_arguments(component, node))
        if (component.__module__ or '').partition('.')[0] not in ('stt_mm', 'mmengine', 'mmcv'):
            return
    for key in node.keys() & _INNER.keys():
        if isinstance(node[key], bool | int | float | str) or node[key] is None and key in _NEEDED:
            raise InputError(f'{place}.{key} is written as dict(type=...), got {node[key]!r}.')
    inherited = kind if kind in _NESTED else None
    for key, item in node.items():
        if key in _INNER or not key.endswith('_cfg'):
            _check_node(item, f'{place}.{key}', _INNER.get(key, inherited))


def complete_loaders(node: Any) -> None:
    """Leave out what a data loader without worker processes must not be given, in every loader of a config.

    Args:
        node: the value of a key of a config, or a part of it, changed in place.
    """
    if isinstance(node, dict):
        if 'dataset' in node and node.get('num_workers', 0) == 0:
            for key in ('persistent_workers', 'prefetch_factor'):
                node.pop(key, None)
        for item in node.values():
            complete_loaders(item)


def load_config(path: str | Path, options: dict | None = None) -> Config:
    """Load a config file, apply overrides, check keys and components, complete names (:func:`add_scopes`) and loaders.

    Args:
        path: a config file, or the name of a shipped config such as ``stt_r18_ytv``.
        options: overrides by dotted key, as ``--cfg-options`` gives them.

    Raises:
        FileNotFoundError: if there is no such file; the message lists similar names.
        ValueError: if the file is not a valid config, an override does not fit, or a key or component is unknown.
    """
    file = find_config(path)
    if file.read_bytes()[:2] in (b'\xef\xbb', b'\xff\xfe', b'\xfe\xff'):
        raise InputError(f'{file} begins with a byte order mark. Save configs as UTF-8 without one.')
    try:
        cfg = Config.fromfile(file)
    except Exception as error:
        raise InputError(f'{file} cannot be loaded as a config: {type(error).__name__}: {error}') from error
    override(cfg, options)
    check_keys(cfg)
    add_scopes(cfg)
    check_components(cfg)
    for key in cfg:
        complete_loaders(cfg[key])
    return cfg


def override(cfg: Config, options: dict | None) -> None:
    """Apply overrides by dotted key to a loaded config, in place.

    Raises:
        ValueError: one does not fit.
    """
    try:
        cfg.merge_from_dict(options or {})
        if any(key.partition('.')[0] == 'custom_imports' for key in options or {}):
            import_modules_from_strings(**cfg.custom_imports)
    except Exception as error:
        raise InputError(f'--cfg-options do not fit {cfg.filename}: {type(error).__name__}: {error}') from error


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
