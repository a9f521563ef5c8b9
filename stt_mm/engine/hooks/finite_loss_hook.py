"""Stop a training that has diverged."""

from typing import Any

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from stt_mm.errors import InputError
from stt_mm.registry import HOOKS
from stt_mm.utils.checks import check_count


def advice(runner: Runner) -> str:
    """What to do about a training that has diverged."""
    last = runner.message_hub.get_info('last_ckpt')
    return (
        'Lower the learning rate, clip gradients, or train without --amp, and '
        f'{f"go on from the last checkpoint, {last}, with --resume" if last else "start again"}.'
    )


def on_any_rank(value: int) -> int:
    """The largest of all ranks' values. Every rank must call it."""
    if get_world_size() == 1:
        return value
    largest = torch.tensor(int(value), device=get_device())
    all_reduce(largest, op='max')
    return int(largest)


def loss_is_finite(runner: Runner) -> bool:
    """Whether that of the last iteration was, on all ranks. Every rank must call it."""
    return not on_any_rank(not _last_losses(runner, 1).all())


def _last_losses(runner: Runner, number: int) -> np.ndarray:
    """Which of the last losses were finite. The history has them as numbers, so no GPU is waited for."""
    history = runner.message_hub.log_scalars.get('train/loss')
    return np.isfinite(history.data[0][-number:]) if history else np.ones(0, dtype=bool)


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops training after so many iterations in a row whose loss is NaN or infinite.

    Such a loss now and then does no harm with loss scaling, which leaves out the step. Several processes look together,
    at each multiple of ``limit`` iterations.
    """

    priority = 'LOW'

    def __init__(self, limit: int = 10) -> None:
        check_count('FiniteLossHook: limit', limit)
        self.limit = limit

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Look at the last losses."""
        step = runner.iter + 1
        if get_world_size() > 1 and step % self.limit:
            return
        finite = _last_losses(runner, self.limit)
        if on_any_rank(len(finite) == self.limit and not finite.any()):
            raise InputError(f'The loss was not finite in the {self.limit} iterations up to {step}. {advice(runner)}')
