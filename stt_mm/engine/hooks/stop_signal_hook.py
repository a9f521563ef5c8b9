"""Stop cleanly when the scheduler asks for it."""

import os
import signal
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from stt_mm.engine.hooks.checkpoint_hook import CheckpointHook
from stt_mm.engine.random_state import get_random_state, set_random_state
from stt_mm.errors import InputError
from stt_mm.registry import HOOKS

EXIT_CODE = 128 + signal.SIGTERM
# In the message hub: the iteration after which a validation was stopped; the resumed loop repeats it.
UNFINISHED_VALIDATION = 'unfinished_validation'


@HOOKS.register_module()
class StopSignalHook(Hook):
    """On SIGTERM, and under Slurm SIGUSR1: finish the iteration, save a checkpoint and exit with code 143.

    A validation is stopped after its current batch, and repeated by the resumed run. In a distributed run the processes
    agree every ``sync_interval`` iterations, so that all stop after the same one; there a validation is finished first,
    as the processes may have different numbers of batches. The previous signal handlers are put back when training
    ends.

    Args:
        sync_interval: iterations between agreements in a distributed run, at least 1.

    Raises:
        ValueError: if ``sync_interval`` is below 1.
    """

    priority = 'LOWEST'

    def __init__(self, sync_interval: int = 10) -> None:
        if sync_interval < 1:
            raise InputError(f'StopSignalHook: sync_interval must be at least 1 iteration, got {sync_interval}.')
        self.sync_interval = sync_interval
        self._received = 0
        self._previous: dict[int, Any] = {}
        self._random_state: dict[str, Any] = {}

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
        if get_world_size() > 1 and (runner.iter + 1) % self.sync_interval:
            return
        if self._agreed():
            hook = self._checkpoint_hook(runner)
            path = hook and hook.save_now(runner)
            self._stop(runner, f'after iteration {runner.iter + 1}', path)

    def before_val(self, runner: Runner) -> None:
        """Keep the random state of training, which validation may change."""
        self._random_state = get_random_state()

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                       outputs: Sequence | None = None) -> None:
        """Stop if a signal came to the only process."""
        if get_world_size() == 1 and self._received:
            runner.message_hub.update_info(UNFINISHED_VALIDATION, runner.iter)
            self._stop(runner, f'in the validation after iteration {runner.iter}', self._save_in_validation(runner),
                       '; that validation is not finished')

    def after_val(self, runner: Runner) -> None:
        """Stop if a signal came, here or, in a distributed run, in any process."""
        if self._agreed():
            self._stop(runner, f'after the validation after iteration {runner.iter}', self._save_in_validation(runner))

    def after_train(self, runner: Runner) -> None:
        """Put the previous handlers back, and forget a signal that came too late to stop anything."""
        self._received = 0
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = number

    def _agreed(self) -> bool:
        if get_world_size() == 1:
            return self._received > 0
        flag = torch.tensor(float(self._received > 0), device=get_device())
        all_reduce(flag, op='max')
        return bool(flag.item())

    def _checkpoint_hook(self, runner: Runner) -> CheckpointHook | None:
        return next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)

    def _save_in_validation(self, runner: Runner) -> str | None:
        """Write the checkpoint of the last iteration, again if there is one, as the message hub has changed since.

        The counters of the runner have passed that iteration, while ``save_now`` counts from within.
        """
        hook = self._checkpoint_hook(runner)
        if hook is None:
            return None
        set_random_state(self._random_state)
        hook._save_checkpoint_with_step(runner, runner.epoch if hook.by_epoch else runner.iter,
                                        meta=dict(epoch=runner.epoch, iter=runner.iter))
        return str(hook.last_ckpt)

    def _stop(self, runner: Runner, where: str, path: str | None, unfinished: str = '') -> NoReturn:
        saved = f'saved {path}' if path else 'saved nothing, as the config has no CheckpointHook of stt_mm'
        reason = signal.Signals(self._received).name if self._received else 'A signal to another process'
        runner.logger.info(f'{reason}: stopped {where} and {saved}{unfinished}. Continue with --resume auto.')
        self.after_train(runner)
        raise SystemExit(EXIT_CODE)
