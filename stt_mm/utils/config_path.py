"""Where the config files lie, in a checkout and in an installed wheel."""

from pathlib import Path

from stt_mm.errors import MissingInputError

PACKAGE = Path(__file__).resolve().parents[1]


def config_path(name: str) -> Path:
    """Path of a shipped config.

    Args:
        name: path below ``configs/``, with or without ``.py``, such as ``stt/stt_r18_ytv_s4``; the name of the
            file will do, as no two have the same.

    Returns:
        The file in the checkout (``<repository>/configs``) or in the installed package (``stt_mm/configs``).

    Raises:
        FileNotFoundError: if no such config is shipped; the message lists those that are.
    """
    relative = Path(name if name.endswith('.py') else f'{name}.py')
    roots = [root for root in (PACKAGE.parent / 'configs', PACKAGE / 'configs') if root.is_dir()]
    for root in roots:
        found = [path for path in root.rglob(relative.name) if '_base_' not in path.parts]
        for path in [root / relative, *(found if len(relative.parts) == 1 else [])]:
            if path.is_file():
                return path
    known = sorted(
        str(path.relative_to(root))[:-3] for root in roots for path in root.rglob('*.py') if '_base_' not in path.parts
    )
    raise MissingInputError(f'No config named {name!r}. Shipped configs: {", ".join(known) or "none found"}.')
