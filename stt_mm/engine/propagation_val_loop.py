"""Validation of a network by label propagation while something else is trained on top of it."""

from collections.abc import Sequence

import torch
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner, ValLoop
from mmengine.runner.amp import autocast
from torch import nn
from torch.utils.data import DataLoader

from stt_mm.engine.compat import bare
from stt_mm.engine.random_state import kept_random_state
from stt_mm.errors import InputError, library_errors
from stt_mm.registry import LOOPS, MODELS


@LOOPS.register_module()
class PropagationValLoop(ValLoop):
    """Carries labels through videos with the backbone that is being trained, in the geometry of the evaluation.

    For models that cannot predict videos themselves, such as the self-supervised ones of mmpretrain: stage 1 is watched
    with the metric that counts in the end. Strides and the stem pool have no parameters, so the evaluated network holds
    the very tensors of the trained one: there is no second copy, and nothing to bring up to date.

    Args:
        runner: its model has a ``backbone`` with torchvision's names.
        dataloader: of videos.
        model: config of the evaluated model, such as ``dict(type='Correspondence', backbone=..., propagator=...)``. Its
            backbone may have fewer stages than the trained one.
        fp16: evaluate in half precision.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        model: dict,
        fp16: bool = False,
    ) -> None:
        with library_errors('PropagationValLoop cannot be built'):
            super().__init__(runner, dataloader, evaluator, fp16)
        with kept_random_state():
            self.model = MODELS.build(model)
        self.model.eval()
        self._share_weights()

    def run(self) -> dict[str, float]:
        """The metrics of the network as it is now."""
        self._share_weights()
        return super().run()

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        """Predict and score one batch of videos."""
        self.runner.call_hook('before_val_iter', batch_idx=idx, data_batch=data_batch)
        with autocast(enabled=self.fp16):
            outputs = self.model.val_step(data_batch)
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook('after_val_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs)

    def _share_weights(self) -> None:
        """Let the evaluated backbone hold the tensors of the trained one, which moving it may have replaced."""
        trained = bare(self.runner.model)
        if not isinstance(getattr(trained, 'backbone', None), nn.Module):
            raise InputError(
                f'PropagationValLoop evaluates the backbone of the trained model, but '
                f'{type(trained).__name__} has none. Remove val_cfg, or pass --no-validate.'
            )
        source = trained.backbone.state_dict()
        target = self.model.backbone.state_dict()
        differing = [name for name, value in target.items() if name not in source or source[name].shape != value.shape]
        if differing:
            raise InputError(
                f'PropagationValLoop: {len(differing)} of {len(target)} weights of the evaluated '
                f'{type(self.model.backbone).__name__} are missing or of another shape in the trained '
                f'{type(trained.backbone).__name__}, first {differing[0]}. Set '
                'val_cfg.model.backbone.depth to the depth that is trained.'
            )
        self.model.backbone.load_state_dict({name: source[name] for name in target}, assign=True)
        self.model.to(next(trained.backbone.parameters()).device)
