"""Parts of a model that learn at a constant rate."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from stt_mm.errors import InputError
from stt_mm.registry import HOOKS


@HOOKS.register_module()
class FixedRateHook(Hook):
    """Keeps the learning rate of parameters marked ``fix_lr`` at its initial value while the others follow a schedule.

    For SimSiam's predictor, whose rate the paper does not decay. mmpretrain's ``SimSiamHook`` sets a number from the
    config, which ``--auto-scale-lr`` does not reach. Parameters are marked by
    ``optim_wrapper.paramwise_cfg=dict(custom_keys=dict(predictor=dict(fix_lr=True)))``.

    Raises:
        ValueError: at the start of training, if no parameter is marked.
    """

    def before_train(self, runner: Runner) -> None:
        """Remember the rates; only a schedule does so itself, and a resumed run has them from its checkpoint."""
        if not self._marked(runner):
            raise InputError(
                'FixedRateHook: no parameter is marked fix_lr. Set optim_wrapper.paramwise_cfg.'
                'custom_keys.<part of the name>.fix_lr=True, or remove the hook.'
            )
        for group in self._marked(runner):
            group.setdefault('initial_lr', group['lr'])

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Undo what the schedule has done since the last iteration."""
        for group in self._marked(runner):
            group['lr'] = group['initial_lr']

    @staticmethod
    def _marked(runner: Runner) -> list[dict]:
        return [group for group in runner.optim_wrapper.param_groups if group.get('fix_lr')]
