"""What the command line tools share: arguments and errors in one line."""

import argparse
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.config import DictAction

ALWAYS_USER_ERRORS = (OSError, ValueError)
BUILD_ERRORS = (TypeError, KeyError, AttributeError, ImportError, AssertionError, RuntimeError)
_BUILDERS = {'build_from_cfg', 'build_model_from_cfg', 'build_dataloader', 'from_cfg', 'build_optim_wrapper'}
_SECONDS_FOR_RANK_0 = 5


class ConfigOptions(DictAction):
    """MMEngine's ``DictAction``, whose errors are those of the command line: usage and one line, exit code 2."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: list[str],
                 option_string: str | None = None) -> None:
        for value in values:
            key, equals, _ = value.partition('=')
            if not (key and equals):
                raise argparse.ArgumentError(self, f'expected KEY=VALUE, got {value!r}. No spaces around "="; quote '
                                             'a value with spaces.')
        try:
            super().__call__(parser, namespace, values, option_string)
        except AssertionError as error:
            raise argparse.ArgumentError(self, f'{error}. Close the brackets, and quote them for the shell.') from None


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``, ``--launcher`` and ``--local-rank``."""
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE',
                        help='override config values, e.g. train_dataloader.batch_size=8 "randomness.seed=1"')
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none',
                        help='who started the processes of a distributed run (default: %(default)s)')
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0,
                        help='set by some launchers; not for you')


def add_weight_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust-checkpoint``, ``--allow-partial``, ``--prefix`` and ``--allow-other-geometry`` of an evaluation."""
    add_source_arguments(parser)
    parser.add_argument('--allow-partial', action='store_true',
                        help='accept a checkpoint that fills less than 99%% of the backbone')
    parser.add_argument('--allow-other-geometry', action='store_true',
                        help='accept a checkpoint that was trained with another pool, other strides, stage or colours '
                        'than the config has')


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust-checkpoint`` and ``--prefix``, for a checkpoint of any source."""
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='allow a checkpoint that holds more than tensors and plain data; it can run code, so know '
                        'where it comes from')
    parser.add_argument('--prefix', help="what stands before the backbone's names in a checkpoint of no known source, "
                        'such as net.encoder')


def process_rank() -> int:
    """Rank of this process as its launcher set it, known before a process group exists; 0 without a launcher."""
    names = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
    return next((int(os.environ[name]) for name in names if name in os.environ), 0)


def describe(error: BaseException) -> str:
    """The message of an error on one line."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if text.startswith('Caught ') and 'Original Traceback' in text:
        # What a data worker raised comes with its traceback; the message follows the last line that is not indented.
        text = re.split(r'\n(?=\w[\w.]*: )', text)[-1].split(': ', 1)[-1]
    text = ' '.join(text.split()) or type(error).__name__
    text = text.split(' More details can be found at')[0]
    return text if isinstance(error, ALWAYS_USER_ERRORS) else f'{type(error).__name__}: {text}'


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn the errors a user can cause into one ``error:`` line on stderr and exit code 1.

    These are missing files, wrong values, and whatever goes wrong while a component is built from the config. Other
    errors keep their traceback; with ``STT_MM_TRACEBACK=1`` in the environment, all do. In a distributed run rank 0
    reports; another rank does so only if rank 0 has not failed by itself within a few seconds.
    """
    try:
        yield
    except ALWAYS_USER_ERRORS + BUILD_ERRORS as error:
        expected = isinstance(error, ALWAYS_USER_ERRORS) or _is_from_building(error)
        if os.environ.get('STT_MM_TRACEBACK') == '1' or not expected:
            raise
        rank = process_rank()
        if rank > 0:
            time.sleep(_SECONDS_FOR_RANK_0)
        where = f' (rank {rank})' if rank > 0 else ''
        sys.stderr.write(f'error{where}: {describe(error)}\n')
        raise SystemExit(1) from None


def _is_from_building(error: BaseException) -> bool:
    return any(frame.name in _BUILDERS for frame in traceback.extract_tb(error.__traceback__))
