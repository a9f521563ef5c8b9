"""The command ``stt-mm``: each tool by its name, from a checkout or from an installed wheel."""

import argparse
import ast
import importlib
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from stt_mm.utils.config_path import PACKAGE, shipped
from stt_mm.version import __version__

# Tools whose files are called otherwise.
_SHORT = {
    'eval_folder': 'eval',
    'convert_checkpoint': 'convert',
    'browse_dataset': 'browse',
    'check': 'check-data',
}
# What works on files that only the repository has: its pages, its tests and the videos of the demo.
_OF_THE_REPOSITORY = ('benchmark', 'collect-results', 'docs-site', 'gpu-check', 'model-zoo', 'quickstart')
_APP = 'app'
_FIRST = ('train', 'test', 'propagate', _APP, 'eval', 'convert', 'extract-frames')


def commands() -> dict[str, Path]:
    """The file of each command, the most used ones first; there is none for ``app``, which is a module."""
    files = [*shipped('tools').rglob('*.py'), shipped('demo') / 'propagate.py']
    found = {
        _SHORT.get(file.stem, file.stem.replace('_', '-')): file
        for file in files
        if '__main__' in file.read_text('utf-8')
    }
    found[_APP] = PACKAGE / _APP / '__init__.py'
    if shipped('tools').parent == PACKAGE:
        found = {name: file for name, file in found.items() if name not in _OF_THE_REPOSITORY}
    return {name: found[name] for name in (*_FIRST, *sorted(found.keys() - _FIRST))}


def _listing() -> str:
    """A line for each command: its name and the first line of what its file says of itself."""
    lines = []
    for name, file in commands().items():
        text = 'Draw masks and points, and follow them, on a page in the browser.'
        if name != _APP:
            text = ast.get_docstring(ast.parse(file.read_text('utf-8'))).splitlines()[0]
        lines.append(f'  {name:<20} {text}')
    return '\n'.join(lines)


def _run_app(arguments: list[str]) -> None:
    importlib.import_module(f'stt_mm.{_APP}').main(arguments)


def _run_file(file: Path, program: str, arguments: list[str]) -> None:
    """Runs a file as if it had been called, but that its help names the command."""
    sys.argv = [program, *arguments]
    sys.path.insert(0, str(file.parent))
    # Processes that a tool starts look for its functions in this module, by its file.
    module = sys.modules['__main__'] = ModuleType('__main__')
    module.__file__ = str(file)
    exec(compile(file.read_bytes(), module.__file__, 'exec'), vars(module))


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command with its arguments; ``argv`` is without the name of the program."""
    parser = argparse.ArgumentParser(
        'stt-mm',
        usage='%(prog)s COMMAND ...',
        description='Self-supervised video correspondence: train features, carry masks and points through videos.',
        epilog='"stt-mm COMMAND --help" tells the arguments of a command.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'%(prog)s {__version__}')
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else '--help'
    if name.startswith('-'):
        parser.description += f'\n\ncommands:\n{_listing()}'
        parser.parse_args([name])
        return
    known = commands()
    if name not in known:
        # Files may be meant by their own names: train.py, convert_checkpoint.
        stem = name.removesuffix('.py')
        meant = [command for command, file in known.items() if file.stem == stem]
        close = meant or get_close_matches(stem, known, n=2)
        hint = f' Did you mean {" or ".join(close)}?' if close else ''
        parser.error(f'there is no command {name!r}.{hint} "stt-mm --help" lists all.')
    if name == _APP:
        _run_app(arguments[1:])
        return
    _run_file(known[name], f'stt-mm {name}', arguments[1:])


if __name__ == '__main__':
    main()
