"""Loading configs so that a mistake is reported where it was made."""

import inspect
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from stt_mm.engine.config_checks import check_components, check_model
from stt_mm.errors import InputError
from stt_mm.utils.checks import similar
from stt_mm.utils.config_path import config_path

# Of the shipped configs, for MMEngine's own runner; the tools make a folder for each config in it.
SHARED_WORK_DIR = 'work_dirs'
# What MMEngine's runner reads of a config: the arguments of its constructor, and what it takes from the config itself.
KNOWN_KEYS = frozenset(
    {
        'auto_scale_lr',
        'custom_hooks',
        'data_preprocessor',
        'default_hooks',
        'default_scope',
        'env_cfg',
        'experiment_name',
        'launcher',
        'load_from',
        'log_level',
        'log_processor',
        'model',
        'optim_wrapper',
        'param_scheduler',
        'randomness',
        'resume',
        'test_cfg',
        'test_dataloader',
        'test_evaluator',
        'train_cfg',
        'train_dataloader',
        'val_cfg',
        'val_dataloader',
        'val_evaluator',
        'visualizer',
        'work_dir',
        'activation_checkpointing',
        'compile',
        'custom_imports',
        'efficient_conv_bn_eval',
        'find_unused_parameters',
        'model_wrapper_cfg',
        'sync_bn',
    }
)


def check_keys(cfg: Config) -> None:
    """Refuse top-level keys that look like slips of those that are read; MMEngine would pass over them in silence.

    Other keys are the author's variables, such as ``data_root`` or ``train_pipeline``.
    """
    name = cfg.filename or 'The config'
    if 'fallback_scope' in cfg:
        raise InputError(
            f'{name} sets fallback_scope, which is no longer read. Remove it, and write the classes of that library '
            "with its name, such as type='mmpretrain.MoCo'."
        )
    own = [key for key in cfg if key not in KNOWN_KEYS and not key.startswith('_')]
    slips = [key for key in own if get_close_matches(key, KNOWN_KEYS, cutoff=0.8)]
    if slips:
        named = ', '.join(f'{key!r}{similar(key, KNOWN_KEYS)}' for key in slips)
        raise InputError(
            f'{name} has top-level keys that nothing reads: {named}. '
            'Correct or remove them; a variable of your own that is called so starts with an underscore.'
        )


def flatten(value: Any, name: str = '') -> dict[str, Any]:
    """A config, or nested dicts and lists, as one dict by dotted key; empty ones are values."""
    if isinstance(value, Config):
        value = value.to_dict()
    if isinstance(value, dict) and value:
        items = value.items()
    elif isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):
        items = enumerate(value)
    else:
        return {name: value}
    return {key: leaf for part, item in items for key, leaf in flatten(item, f'{name}.{part}'.lstrip('.')).items()}


def values_of(node: Any, *keys: str) -> list[str]:
    """All texts that a nested config has under these keys, such as ``data_root`` or ``checkpoint``."""
    return [value for key, value in flatten(node).items() if key.rpartition('.')[2] in keys and isinstance(value, str)]


def complete_loaders(node: Any) -> None:
    """Leave out what a data loader without worker processes must not be given, in every loader, in place."""
    if isinstance(node, dict):
        if 'dataset' in node and node.get('num_workers', 0) == 0:
            for key in ('persistent_workers', 'prefetch_factor'):
                node.pop(key, None)
        for item in node.values():
            complete_loaders(item)


def load_config(path: str | Path, options: dict | None = None) -> Config:
    """Load a config file, or a shipped one by its name, apply overrides by dotted key, check and complete it."""
    cfg = _read(path, options)
    check_components(cfg)
    for key in cfg:
        complete_loaders(cfg[key])
    return cfg


def load_model_config(path: str | Path, options: dict | None = None) -> Config:
    """As :func:`load_config`, of which the model alone is wanted: nothing else is checked, or imported for it."""
    cfg = _read(path, options)
    check_model(cfg)
    return cfg


def _read(path: str | Path, options: dict | None) -> Config:
    file = config_path(path)
    if file.read_bytes()[:2] in (b'\xef\xbb', b'\xff\xfe', b'\xfe\xff'):
        raise InputError(f'{file} begins with a byte order mark. Save configs as UTF-8 without one.')
    try:
        # MMEngine takes any import for its other style of configs, where nothing imported can be called.
        cfg = Config.fromfile(file, lazy_import=None if 'read_base' in file.read_text('utf-8') else False)
    except Exception as error:
        raise InputError(f'{file} cannot be loaded as a config: {type(error).__name__}: {error}') from error
    for key in [key for key, value in cfg.items() if inspect.ismodule(value) or callable(value)]:
        cfg.pop(key)  # what the file imports
    if cfg.get('work_dir') == SHARED_WORK_DIR:
        cfg.pop('work_dir')
    override(cfg, options)
    check_keys(cfg)
    return cfg


def override(cfg: Config, options: dict | None) -> None:
    """Apply overrides by dotted key to a loaded config, in place.

    Raises:
        ValueError: one does not fit, or sets a variable, which has been used by then.
    """
    for key in options or {}:
        top = key.partition('.')[0]
        if top not in KNOWN_KEYS and not top.startswith('_'):
            raise InputError(
                f'--cfg-options {key}: nothing reads {top!r}{similar(top, KNOWN_KEYS)} once the config is loaded. '
                'Name the key that it stands for in the config.'
            )
    try:
        cfg.merge_from_dict(options or {})
        if any(key.partition('.')[0] == 'custom_imports' for key in options or {}):
            import_modules_from_strings(**cfg.custom_imports)
    except Exception as error:
        raise InputError(f'--cfg-options do not fit {cfg.filename}: {type(error).__name__}: {error}') from error
