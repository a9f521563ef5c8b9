"""Code in C that is compiled on the machine where it runs, the first time that it is needed.

Whoever has no C compiler loses nothing but time: all of it has a counterpart in PyTorch.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock

import torch

logger = logging.getLogger(__name__)

SWITCH = 'STT_MM_NATIVE'
COMPILERS = ('cc', 'gcc', 'clang')
# The first that the compiler knows: not all know this machine by name.
TARGETS = (['-march=native'], ['-mcpu=native'], [])
_one_at_a_time = Lock()


@cache
def library(name: str) -> ctypes.CDLL | None:
    """A C file of this folder as a library; ``None`` where it cannot be compiled, which is logged once.

    It is kept in ``~/.cache/stt_mm`` (or below ``XDG_CACHE_HOME``) for this source, compiler and kind of processor. The
    compiler is the command in the variable ``CC``, or the first of ``cc``, ``gcc`` and ``clang``. With
    ``STT_MM_NATIVE=0`` in the environment, and on Windows, there is none.
    """
    if os.environ.get(SWITCH) == '0' or os.name == 'nt':
        return None
    source = Path(__file__).with_name(f'{name}.c')
    commands = [command.split() for command in (os.environ.get('CC', ''), *COMPILERS)]
    compiler = next((command for command in commands if command and shutil.which(command[0])), None)
    if compiler is None:
        logger.warning(
            'There is no C compiler, so every product is made, which is slower: install gcc or clang, or set %s=0.',
            SWITCH,
        )
        return None
    try:
        key = hashlib.sha256('\0'.join((source.read_text(), *compiler, _processor())).encode()).hexdigest()[:16]
        folder = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'stt_mm'
        path = folder / f'{name}-{key}.so'
        with _one_at_a_time:
            with suppress(OSError):  # not there yet, or damaged
                return ctypes.CDLL(str(path))
            folder.mkdir(parents=True, exist_ok=True)
            _compile(compiler, source, path)
            return ctypes.CDLL(str(path))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # RuntimeError: there is no home
        reason = getattr(error, 'stderr', None) or error
        logger.warning('%s was not compiled, so every product is made, which is slower: %s', source, reason)
        return None


def _compile(compiler: list[str], source: Path, path: Path) -> None:
    """Write the library at once, as other processes may be about to do the same."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder, path.name)
        for target in TARGETS:
            command = [*compiler, '-std=gnu11', '-O3', *target, '-shared', '-fPIC', '-o', made, source, '-lm']
            result = subprocess.run(command, capture_output=True, text=True, errors='replace', timeout=120)
            if result.returncode == 0:
                return os.replace(made, path)
        raise subprocess.CalledProcessError(result.returncode, command, stderr=result.stderr.strip())


def _processor() -> str:
    """What tells processors apart that cannot run each other's code."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.startswith(('flags', 'Features'))), '')
    return f'{platform.machine()} {platform.processor()} {flags}'


def run_together(function: ctypes._CFuncPtr, task: ctypes.Structure) -> None:
    """Call a function of a library in as many threads as PyTorch has; each takes its share of the task by itself."""
    threads = torch.get_num_threads()
    if threads == 1:
        function(ctypes.byref(task))
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(function, [ctypes.byref(task)] * threads))
