"""Where the files beside the package lie, in a checkout and in an installed wheel."""

from difflib import get_close_matches
from pathlib import Path

from stt_mm.errors import MissingInputError

PACKAGE = Path(__file__).resolve().parents[1]
# Published networks that come with the package, in the folder demo.
BUNDLED = {'stt_r18_demo': 'stt_r18_demo-6e7ca53c.pth'}


def shipped(folder: str) -> Path:
    """The folder ``configs``, ``tools`` or ``demo``: a wheel has it in the package, a checkout beside it."""
    inside = PACKAGE / folder
    return inside if inside.is_dir() else PACKAGE.parent / folder


def bundled(name: str | Path) -> Path | None:
    """The file of a network in :data:`BUNDLED`; ``None`` if none is called so."""
    file = BUNDLED.get(str(name))
    return None if file is None else shipped('demo') / file


def config_path(name: str | Path) -> Path:
    """The config file of that path or, if there is none, the shipped config of that name.

    Args:
        name: a file; or a path below ``configs/``, with or without ``.py``, such as ``stt/stt_r18_ytv_s4``, of which
            the last part will do, as no two files have the same.

    Returns:
        The file that was named, or one in the checkout (``<repository>/configs``) or in the installed package
        (``stt_mm/configs``).
    """
    file = Path(name)
    if file.is_file():
        return file
    wanted = file if file.suffix == '.py' else Path(f'{file}.py')
    root = shipped('configs')
    known_files = {path.relative_to(root): path for path in root.rglob('*.py') if '_base_' not in path.parts}
    for short, path in known_files.items():
        if wanted in (short, Path(short.name)):
            return path
    # Each as it may be given here: a shipped one by its name, any other as a path.
    names = {short.stem: str(short.with_suffix('')) for short in known_files}
    known = names | {path.stem: str(path) for path in file.parent.glob('*.py')}
    close = [known[stem] for stem in get_close_matches(file.stem, known)]
    all_names = ', '.join(sorted(names.values())) or 'none found'
    hint = f'Similar: {", ".join(close)}.' if close else f'Shipped configs: {all_names}.'
    raise MissingInputError(f'There is no file {name}, and no shipped config of that name. {hint}')
