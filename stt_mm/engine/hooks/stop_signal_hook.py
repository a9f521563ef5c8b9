"""Stop cleanly when somebody asks for it."""

import os
import signal
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from stt_mm.engine.hooks.checkpoint_hook import CheckpointHook
from stt_mm.engine.hooks.finite_loss_hook import on_any_rank
from stt_mm.registry import HOOKS
from stt_mm.utils.checks import check_count


@HOOKS.register_module()
class StopSignalHook(Hook):
    """On SIGTERM, SIGINT (Ctrl-C), SIGHUP, and under Slurm SIGUSR1: save a checkpoint and exit with 128 + the signal.

    Training stops after its current iteration, a validation after its current batch; the resumed run repeats the
    validation. In a distributed training the processes agree every ``sync_interval`` iterations, so that all stop after
    the same one. A second Ctrl-C ends the process at once. A signal that is ignored already, as SIGHUP under ``nohup``,
    stays ignored. The previous signal handlers are put back when training ends.
    """

    priority = 'LOWEST'

    def __init__(self, sync_interval: int = 10) -> None:
        check_count('StopSignalHook: sync_interval', sync_interval)
        self.sync_interval = sync_interval
        self._received = 0
        self._previous: dict[int, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Listen, unless training runs in a thread, where Python allows no signal handler."""
        self._received = 0
        if threading.current_thread() is not threading.main_thread():
            runner.logger.warning('StopSignalHook does nothing: training runs outside the main thread.')
            return
        names = ['SIGTERM', 'SIGINT', 'SIGHUP'] + (['SIGUSR1'] if 'SLURM_JOB_ID' in os.environ else [])
        numbers = (getattr(signal, name) for name in names if hasattr(signal, name))
        self._previous = {
            number: signal.signal(number, self._receive)
            for number in numbers
            if signal.getsignal(number) != signal.SIG_IGN
        }

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Stop if a signal came, here or, in a distributed run, in any process."""
        step = runner.iter + 1
        if get_world_size() == 1 or step % self.sync_interval == 0:
            self._stop(runner, on_any_rank(self._received), step, f'after iteration {step}')

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence | None = None
    ) -> None:
        """Stop if a signal came; all that has to be saved was there when the validation began."""
        self._stop(
            runner,
            self._received,
            runner.iter,
            f'in the validation after iteration {runner.iter}',
            '; that validation is not finished',
        )

    def after_loop(self, runner: Runner) -> None:
        """Put the previous handlers back, and forget a signal that came too late to stop anything."""
        self._received = 0
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)

    def _stop(self, runner: Runner, number: int, step: int, where: str, unfinished: str = '') -> None:
        if not number:
            return
        hook = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
        path = hook and hook.save_now(runner, step)
        runner.logger.info(
            f'{signal.Signals(number).name}: stopped {where} and saved {path or "nothing"}{unfinished}. '
            'Continue with --resume auto.'
        )
        raise SystemExit(128 + number)
