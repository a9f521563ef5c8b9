"""What tools that run other tools share: a work directory of their own, and steps that show their progress."""

import fcntl
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pprint import pformat

from mmengine.config import Config

from stt_mm.engine.cli import Progress
from stt_mm.errors import InputError, SttMMError, writing
from stt_mm.utils.checkpoint import write_atomically

_SECONDS_TO_STOP = 60
# How the log of tools/train.py and tools/test.py tells of a step: its number, and that of all.
_STEP = re.compile(r'Iter\((?:train|test)\) \[\s*(\d+)/(\d+)\]')


def own_folder(folder: Path, mark: str) -> Path:
    """Make the work directory of a tool, or find the one it has made before by a hidden file, which is returned."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not (folder / mark).is_file():
            raise InputError(f'{folder} is not empty and was not made by this tool. Give another --work-dir.')
        (folder / mark).touch()
    return folder / mark


@contextmanager
def reserved(folder: Path, mark: str) -> Iterator[int]:
    """Keep a tool's work directory for this process and those it starts; yields the descriptor that they inherit.

    Raises:
        ValueError: it is in use, or was not made by the tool.
    """
    with open(own_folder(folder, mark), 'a') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f'{folder} is in use, by another run of this tool or by a step that outlived one. Wait until it has '
                'ended, or give another --work-dir.'
            ) from None
        yield lock.fileno()


def keep_config(cfg: Config, path: Path) -> str:
    """Write a config, unless it is there; returns the name of the file.

    Raises:
        ValueError: another one is there.
    """
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        parts = (f'{key} = {pformat(value, width=120, sort_dicts=False)}\n' for key, value in cfg.to_dict().items())
        write_atomically(''.join(parts).encode(), path)
    elif Config.fromfile(path).to_dict() != cfg.to_dict():
        raise InputError(f'{path} was written for other settings. Give another --work-dir, or delete this one.')
    return str(path)


class StepFailed(SttMMError):
    """A command that a tool has started ended with an error."""


def run_step(arguments: Sequence[str], root: Path, log: Path, label: str, keep_open: Sequence[int] = ()) -> None:
    """Run ``python <arguments>``: its output goes to the end of a log, its steps and losses onto a progress bar.

    However this function is left, the command has ended: one that is told to stop may write its checkpoint first.

    Args:
        arguments: of the interpreter.
        root: folder to run in.
        keep_open: descriptors that the command inherits.

    Raises:
        StepFailed: it ended with an error; the message has its last line and the name of the log.
    """
    environment = {'OMP_WAIT_POLICY': 'PASSIVE', **os.environ, 'PYTHONUNBUFFERED': '1'}
    log.parent.mkdir(parents=True, exist_ok=True)
    bar, last = Progress(None, label), ''
    with open(log, 'a', encoding='utf-8') as file:
        child = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=root,
            env=environment,
            errors='replace',
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=keep_open,
        )
        try:
            for line in child.stdout:
                file.write(line)
                file.flush()
                last = line.strip() or last
                if step := _STEP.search(line):
                    loss = re.search(r'\sloss: ([\d.e+-]+)', line)
                    bar.reach(int(step[1]), int(step[2]), f'loss {float(loss[1]):.3f}' if loss else '')
            code = child.wait()
        finally:
            child.terminate()
            try:
                child.wait(_SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                child.kill()
            Progress.end_line()
    if code:
        reason = 'it was killed, probably for lack of memory' if code == -signal.SIGKILL else last.rstrip('.')
        raise StepFailed(f'{label} failed: {reason}. The whole output: {log}')
