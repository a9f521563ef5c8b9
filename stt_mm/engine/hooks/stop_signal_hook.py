"""Stop cleanly when the scheduler asks for it."""

import os
import signal
import threading
from types import FrameType
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from stt_mm.engine.hooks.checkpoint_hook import CheckpointHook
from stt_mm.registry import HOOKS

EXIT_CODE = 128 + signal.SIGTERM


@HOOKS.register_module()
class StopSignalHook(Hook):
    """On SIGTERM, and under Slurm SIGUSR1: finish the iteration, save a checkpoint and exit with code 143.

    In a distributed run the processes agree every ``sync_interval`` iterations, so that all stop after the same one.
    The previous signal handlers are put back when training ends.

    Args:
        sync_interval: iterations between agreements in a distributed run, at least 1.

    Raises:
        ValueError: if ``sync_interval`` is below 1.
    """

    priority = 'LOWEST'

    def __init__(self, sync_interval: int = 10) -> None:
        if sync_interval < 1:
            raise ValueError(f'StopSignalHook: sync_interval must be at least 1 iteration, got {sync_interval}.')
        self.sync_interval = sync_interval
        self._received = 0
        self._previous: dict[int, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Listen, unless training runs in a thread, where Python allows no signal handler."""
        self._received = 0
        if threading.current_thread() is not threading.main_thread():
            runner.logger.warning('StopSignalHook does nothing: training runs outside the main thread.')
            return
        signals = [signal.SIGTERM] + ([signal.SIGUSR1] if 'SLURM_JOB_ID' in os.environ else [])
        self._previous = {number: signal.signal(number, self._receive) for number in signals}

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        """Stop if a signal came, here or, in a distributed run, in any process."""
        if not self._agreed(runner):
            return
        path = next((hook.save_now(runner) for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
        saved = f'saved {path}' if path else 'saved nothing, as the config has no CheckpointHook of stt_mm'
        reason = signal.Signals(self._received).name if self._received else 'A signal to another process'
        runner.logger.info(f'{reason}: stopped after iteration {runner.iter + 1} and {saved}. '
                           'Continue with --resume auto.')
        self.after_train(runner)
        raise SystemExit(EXIT_CODE)

    def after_train(self, runner: Runner) -> None:
        """Put the previous handlers back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = number

    def _agreed(self, runner: Runner) -> bool:
        if get_world_size() == 1:
            return self._received > 0
        if (runner.iter + 1) % self.sync_interval:
            return False
        flag = torch.tensor(float(self._received > 0), device=get_device())
        all_reduce(flag, op='max')
        return bool(flag.item())
