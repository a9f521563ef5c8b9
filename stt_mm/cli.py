"""The command ``stt-mm``: each tool by its name, from a checkout or from an installed wheel."""

import argparse
import ast
import importlib
import shutil
import sys
import textwrap
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from stt_mm.utils.commands import command_name
from stt_mm.utils.config_path import PACKAGE, shipped
from stt_mm.version import __version__

_APP = 'app'
_REPOSITORY = 'in a checkout'
_GROUPS = {
    'your own videos': ('propagate', _APP, 'convert-masks'),
    'train and score': ('train', 'test', 'eval', 'make-submission'),
    'data and checkpoints': (
        'extract-frames',
        'check-data',
        'browse',
        'make-davis-480-880',
        'convert',
        'estimate-fisher',
    ),
    'configs and results': (
        'print-config',
        'plot-losses',
        'show-matches',
        'show-results',
        'compare-results',
        'protocol-spread',
        'run-ablation',
        'doubt',
    ),
    # What works on files that only the repository has: its pages, its tests and the videos of the demo.
    _REPOSITORY: ('quickstart', 'benchmark', 'gpu-check', 'collect-results', 'model-zoo', 'docs-site'),
}
_COLUMN, _WIDEST = 23, 100


def commands() -> dict[str, Path]:
    """The file of each command, in the order of the help; that of ``app`` is a module."""
    files = [*shipped('tools').rglob('*.py'), shipped('demo') / 'propagate.py']
    found = {command_name(file.stem): file for file in files if '__main__' in file.read_text('utf-8')}
    found[_APP] = PACKAGE / _APP / '__init__.py'
    return {name: found[name] for names in _groups().values() for name in names}


def _groups() -> dict[str, tuple[str, ...]]:
    """The commands that work here, by what they are for."""
    installed = shipped('tools').parent == PACKAGE
    return {title: names for title, names in _GROUPS.items() if not (installed and title == _REPOSITORY)}


def _listing() -> str:
    """For each command its name and the first line of what its file says of itself, in two columns."""
    width = min(_WIDEST, shutil.get_terminal_size().columns)
    files, lines = commands(), []
    for title, names in _groups().items():
        lines.append(f'\n{title}:')
        for name in names:
            text = 'Paint objects and points on a page in the browser, and follow them.'
            if name != _APP:
                text = ast.get_docstring(ast.parse(files[name].read_text('utf-8'))).splitlines()[0]
            first, rest = f'  {name}'.ljust(_COLUMN), ' ' * _COLUMN
            lines.append(textwrap.fill(text.rstrip('.'), width, initial_indent=first, subsequent_indent=rest))
    return '\n'.join(lines)


def _run_app(arguments: list[str]) -> None:
    sys.argv = [f'stt-mm {_APP}', *arguments]
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
        epilog='"stt-mm COMMAND --help" has the arguments of a command, with examples.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'%(prog)s {__version__}')
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else '--help'
    if name.startswith('-'):
        parser.description += f'\n{_listing()}'
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
