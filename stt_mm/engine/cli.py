"""What the command line tools share: arguments, progress and errors in one line."""

import argparse
import errno
import math
import os
import re
import sys
import textwrap
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from mmengine.config import Config
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from stt_mm.errors import SttMMError
from stt_mm.registry import checked_building
from stt_mm.utils.commands import as_commands

_SECONDS_FOR_RANK_0 = 5
_SECONDS_BETWEEN_BARS = 0.1
# What the operating system refuses, whatever the code does: room, rights, open files.
_OF_THE_SYSTEM = {
    getattr(errno, name)
    for name in ('ENOSPC', 'EDQUOT', 'EFBIG', 'EACCES', 'EPERM', 'EROFS', 'EIO', 'EMFILE', 'ENFILE')
    if hasattr(errno, name)
}
Item = TypeVar('Item')
_CLOSING = {'(': ')', '[': ']'}
_CONSTANTS = {'True': True, 'true': True, 'False': False, 'false': False, 'None': None}


class ConfigOptions(argparse.Action):
    """``KEY=VALUE ...`` as a dict, each value read by :func:`option_value`; later options add to earlier ones."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: list[str],
        option_string: str | None = None,
    ) -> None:
        options = dict(getattr(namespace, self.dest) or {})
        for option in values:
            key, equals, value = option.partition('=')
            if not (key and equals):
                raise argparse.ArgumentError(
                    self, f'expected KEY=VALUE, got {option!r}. No spaces around "="; quote a value with spaces.'
                )
            try:
                options[key] = option_value(value)
            except ValueError as error:
                raise argparse.ArgumentError(self, f'{key}: {error}') from None
        setattr(namespace, self.dest, options)


def option_value(text: str) -> Any:
    """The value that a text on the command line stands for.

    Numbers, ``True``, ``False`` and ``None``; ``[a,b]`` and ``a,b`` are lists, ``(a,b)`` is a tuple, and they nest.
    What stands in quotes is text as it is. So is everything else, its blanks included.
    """
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in '\'"' and text[0] not in text[1:-1]:
        return text[1:-1]
    parts = _split(text)
    if len(parts) > 1:
        return [option_value(part) for part in parts if part.strip()]
    if text and text[-1] == _CLOSING.get(text[0]):
        items = [option_value(part) for part in _split(text[1:-1]) if part.strip()]
        return tuple(items) if text[0] == '(' else items
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return _CONSTANTS.get(text, text)


def _split(text: str) -> list[str]:
    """The parts between the commas that are outside of brackets and quotes."""
    parts, closing, quote = [''], [], ''
    for character in text:
        if quote:
            quote = '' if character == quote else quote
        elif character in '\'"' and not parts[-1].strip():
            quote = character
        elif character in _CLOSING:
            closing.append(_CLOSING[character])
        elif closing and character == closing[-1]:
            closing.pop()
        elif character == ',' and not closing:
            parts.append('')
            continue
        parts[-1] += character
    if closing and (len(parts) > 1 or text[0] in _CLOSING):
        raise ValueError(
            f'{closing[-1]!r} is missing in {text!r}. Close the brackets, or put quotes inside the quotes '
            'of the shell for a text with a bracket.'
        )
    return parts


class Progress:
    """A bar on stderr; what is not a terminal gets its last state alone.

    It is drawn by rich, whose thread is left out: data workers are forked beside it. While the number of steps is not
    known, ``total`` is ``None``.
    """

    _shown: 'Progress | None' = None

    def __init__(self, total: int | None, label: str = '', done: int = 0) -> None:
        columns = (
            TextColumn('{task.description}'),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn('{task.fields[note]}'),
        )
        self._bar = RichProgress(*columns, console=Console(stderr=True), auto_refresh=False)
        self._task = self._bar.add_task(escape(label), total=total, completed=done, note='')
        self._drawn = 0.0
        self._bar.start()
        Progress._shown = self

    def update(self, steps: int = 1) -> None:
        """Go some steps further; the bar ends with the last one."""
        self._bar.update(self._task, advance=steps, refresh=self._is_due())
        if self._bar.finished:
            self.end_line()

    def reach(self, done: int, total: int | None, note: str = '') -> None:
        """Show that so many steps of so many are done, and a word on the last one."""
        self._bar.update(self._task, completed=done, total=total, note=escape(note), refresh=self._is_due())

    def _is_due(self) -> bool:
        """Whether the bar is to be drawn anew, which takes about as long as a frame on a fast GPU."""
        if time.monotonic() < self._drawn + _SECONDS_BETWEEN_BARS:
            return False
        self._drawn = time.monotonic()
        return True

    @classmethod
    def end_line(cls) -> None:
        """End the bar, if one is there, so that what is said next begins on a line of its own."""
        if Progress._shown is not None:
            Progress._shown._bar.stop()
            Progress._shown = None


def tracked(items: Collection[Item]) -> Iterator[Item]:
    """The items, with a bar of how many there are and have been."""
    bar = Progress(len(items)) if len(items) else None
    for item in items:
        yield item
        bar.update()


class ToolHelp(argparse.RawDescriptionHelpFormatter):
    """Help that keeps the lines of examples, fits paragraphs to the terminal, and has the default of each option.

    Below ``stt-mm``, examples call its commands.
    """

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Description or epilog as argparse shows it. A paragraph with an indented line is one of examples."""
        if self._prog.startswith('stt-mm '):
            text = as_commands(text)
        parts = text.split('\n\n')
        filled = (part if '\n ' in part else textwrap.fill(' '.join(part.split()), width) for part in parts)
        return super()._fill_text('\n\n'.join(filled), width, indent)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        """What argparse shows of an action."""
        silent = action.default in (None, argparse.SUPPRESS, []) or action.default is False
        if silent or not action.option_strings or action.help is None or '(default' in action.help:
            return action.help
        several = isinstance(action.default, list | tuple)
        return f'{action.help} (default: {" ".join(map(str, action.default)) if several else "%(default)s"})'


def tool_parser(description: str | None, examples: str) -> argparse.ArgumentParser:
    """A parser of a tool; see :class:`ToolHelp`."""
    return argparse.ArgumentParser(description=description, epilog=examples, formatter_class=ToolHelp)


def between(least: float, most: float = math.inf, kind: type = int) -> Callable[[str], Any]:
    """The ``type`` of an argument that is a number from a range, both ends included."""

    def number(text: str) -> Any:
        value = kind(text)
        if not least <= value <= most:
            allowed = f'{least:g} or more' if most == math.inf else f'{least:g} to {most:.10g}'
            raise argparse.ArgumentTypeError(f'must be {allowed}, got {text}')
        return value

    number.__name__ = 'integer' if kind is int else 'number'
    return number


def add_config_options(
    parser: argparse.ArgumentParser,
    name: str = '--cfg-options',
    text: str = 'override config values, e.g. train_dataloader.batch_size=8 "randomness.seed=1"',
) -> None:
    """Add ``--cfg-options``, or an argument of another name that is read alike."""
    parser.add_argument(name, nargs='+', action=ConfigOptions, metavar='KEY=VALUE', help=text)


def parse_run_arguments(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """Add what a training and an evaluation have in common, and parse; the local rank goes to the environment."""
    parser.add_argument('--work-dir', help='where log and results go (default: ./work_dirs/<config name>)')
    parser.add_argument('--seed', type=int, help='random seed (default: randomness.seed of the config)')
    add_config_options(parser)
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='what started the processes of a distributed run',
    )
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help='for launchers to set')
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def merge_run_arguments(cfg: Config, args: argparse.Namespace) -> None:
    """Write what :func:`parse_run_arguments` has added into a config, ``--cfg-options`` excepted."""
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(cfg.filename).stem)
    if args.seed is not None:
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=args.seed)


_WEIGHTS = {
    'trust-checkpoint': 'allow a checkpoint with more than tensors and plain data; it can run code, so know where it '
    'comes from',
    'prefix': "text before the backbone's names in a checkpoint of no known source, such as net.encoder",
    'allow-partial': 'accept a checkpoint that leaves parts of the backbone unfilled, or has weights that do not fit',
    'allow-other-geometry': 'accept a checkpoint that was trained with another pool, other strides, stage or colours '
    'than the config has',
}


def add_weight_arguments(parser: argparse.ArgumentParser, names: Collection[str] = tuple(_WEIGHTS)) -> None:
    """Add what says how a checkpoint is read: all that an evaluation has, or some of it."""
    for name in names:
        parser.add_argument(f'--{name}', action='store' if name == 'prefix' else 'store_true', help=_WEIGHTS[name])


def process_rank() -> int:
    """Rank of this process as its launcher set it, known before a process group exists; 0 without a launcher."""
    names = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
    return next((int(os.environ[name]) for name in names if name in os.environ), 0)


def describe(error: BaseException) -> str:
    """The message of an error on one line."""
    if isinstance(error, OSError) and error.strerror:
        path = error.filename2 or error.filename
        return f'{error.strerror}{"" if path is None else f": {path}"}.'
    text = str(error)
    if text.startswith('Caught ') and 'Original Traceback' in text:
        # What a data worker raised is of the same type and comes with its traceback, the message in its last lines.
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == 'builtins' else f'{kind.__module__}.{kind.__qualname__}'
        text = text.rpartition(f'\n{name}: ')[2]
    return ' '.join(text.split()) or type(error).__name__


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn the errors a user can cause into one ``error:`` line on stderr and exit code 1.

    These are the errors of the toolbox (:class:`SttMMError`), among them all that is wrong with a config when its
    components are built, and what the operating system refuses, such as room on a full disk. Any other is a fault of
    the code and keeps its traceback; with ``STT_MM_TRACEBACK=1`` in the environment, all do. Ctrl-C, unless something
    listens to it as a training does, ends in one line too, with exit code 130. In a distributed run rank
    0 reports; another rank does so only if rank 0 has not failed by itself within a few seconds.
    """
    try:
        with checked_building():
            yield
    except (SttMMError, OSError) as error:
        number = error.errno if isinstance(error, OSError) else None
        if number is None and (said := re.match(r'\[Errno (\d+)\]', describe(error))):
            number = int(said[1])  # of a data worker, which hands over the text alone
        expected = isinstance(error, SttMMError) or number in _OF_THE_SYSTEM
        if os.environ.get('STT_MM_TRACEBACK') == '1' or not expected:
            raise
        rank = process_rank()
        if rank > 0:
            time.sleep(_SECONDS_FOR_RANK_0)
        where = f' (rank {rank})' if rank > 0 else ''
        Progress.end_line()
        sys.stderr.write(f'error{where}: {describe(error)}\n')
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        Progress.end_line()
        sys.stderr.write('interrupted\n')
        raise SystemExit(130) from None
