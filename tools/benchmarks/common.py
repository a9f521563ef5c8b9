"""How every part is measured: in a process of its own, with the growth of its peak memory."""

import argparse
import ctypes
import gc
import multiprocessing
import os
import resource
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from torch.utils.benchmark import Timer

RESET = Path('/proc/self/clear_refs')
Prepare = Callable[[str, argparse.Namespace], Callable[[], None]]


def start_watching(device: str) -> float:
    """Forget the peak so far; returns the memory in use, in MiB: resident on a CPU, allocated on a GPU."""
    gc.collect()
    if device.startswith('cuda'):
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    if RESET.exists():
        # What was freed goes back to the system first, or it would be used again unseen.
        ctypes.CDLL(None).malloc_trim(0)
        RESET.write_text('5')
        return _status('VmRSS')
    return peak(device)


def peak(device: str) -> float:
    """Highest memory since :func:`start_watching` (outside Linux: of the process), in MiB."""
    if device.startswith('cuda'):
        return torch.cuda.max_memory_allocated() / 2**20
    if RESET.exists():
        return _status('VmHWM')
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def _status(field: str) -> float:
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 2**10


def measured(prepare: Prepare, name: str, args: argparse.Namespace) -> tuple[float, int]:
    """Median seconds of a part, and MiB by which it raised the peak; in a fresh process.

    Args:
        prepare: builds the part of a name; what it returns is run to warm up, for its memory, and for its time.
        name: of the part.
        args: with ``seconds`` (how long to repeat it at least), ``threads`` and ``device``.
    """
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        return pool.apply(_measure, (prepare, name, args))


def _measure(prepare: Prepare, name: str, args: argparse.Namespace) -> tuple[float, int]:
    warnings.filterwarnings('ignore')
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    init_default_scope('stt_mm')
    MMLogger.get_instance('benchmark', log_level='ERROR')
    run = prepare(name, args)
    run()  # what is set up once is neither counted nor timed
    before = start_watching(args.device)
    run()
    memory = round(peak(args.device) - before)
    timer = Timer('run()', globals=dict(run=run), num_threads=args.threads)
    return timer.blocked_autorange(min_run_time=args.seconds).median, memory
