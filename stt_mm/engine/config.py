"""Loading configs so that a mistake is reported where it was made."""

import inspect
from difflib import get_close_matches
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

from stt_mm.utils.config_path import PACKAGE, config_path

_READ_FROM_CFG = {
    'activation_checkpointing', 'compile', 'custom_imports', 'efficient_conv_bn_eval', 'find_unused_parameters',
    'model_wrapper_cfg', 'sync_bn',
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
        raise ValueError(f'{cfg.filename or "The config"} has top-level keys that nothing reads: {named}. '
                         'Correct or remove them; a variable of your own may start with an underscore.')


def load_config(path: str | Path, options: dict | None = None) -> Config:
    """Load a config file, apply overrides and check its keys.

    Args:
        path: a config file, or the name of a shipped config such as ``stt_r18_ytv``.
        options: overrides by dotted key, as ``--cfg-options`` gives them.

    Raises:
        FileNotFoundError: if there is no such file; the message lists similar names.
        ValueError: if the file is not a valid config, an override does not fit, or a key is unknown.
    """
    file = find_config(path)
    try:
        cfg = Config.fromfile(file)
    except Exception as error:
        raise ValueError(f'{file} cannot be loaded as a config: {type(error).__name__}: {error}') from error
    if options:
        try:
            cfg.merge_from_dict(options)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f'--cfg-options do not fit {file}: {error}') from error
    check_keys(cfg)
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
        raise FileNotFoundError(f'There is no file {path}. {similar}') from None
