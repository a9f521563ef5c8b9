"""A network that gives targets and never changes."""

from collections.abc import Callable

import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from torch import Tensor

from stt_mm.models.backbones import LoadedBackbone
from stt_mm.registry import MODELS


@MODELS.register_module()
class FrozenTeacher(BaseModule):
    """A backbone in eval mode, without gradients, outside ``parameters()`` and ``state_dict()``.

    The backbone is held out of the module tree, so that no optimizer, checkpoint, ``train()`` call or distributed
    wrapper can reach it; it follows ``.to()`` alone. Its weights come from its own ``init_cfg``, at every start.

    Args:
        backbone: config of the backbone; the last of its maps is returned.
    """

    def __init__(self, backbone: dict) -> None:
        super().__init__()
        network = MODELS.build(backbone)
        network.eval()
        self._network = (network.requires_grad_(False),)

    @property
    def network(self) -> torch.nn.Module:
        """The frozen backbone."""
        return self._network[0]

    def init_weights(self) -> None:
        """Load the backbone's weights; a teacher without a checkpoint is allowed and warned about."""
        self.network.init_weights()
        if not isinstance(self.network, LoadedBackbone) or self.network.checkpoint is None:
            MMLogger.get_current_instance().warning(
                'The teacher has no checkpoint: its targets come from random weights. Set '
                "model.teacher.backbone.init_cfg=dict(type='Pretrained', checkpoint=PATH) to stage-1 weights."
            )

    def _apply(self, fn: Callable, recurse: bool = True) -> 'FrozenTeacher':
        self.network._apply(fn, recurse)
        return super()._apply(fn, recurse)

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """``[B, 3, H, W]`` to the features ``[B, C, h, w]`` of the backbone's last map."""
        return self.network(frames)[-1]
