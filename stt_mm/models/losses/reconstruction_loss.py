"""Distance between a rebuilt and a true frame."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from stt_mm.registry import MODELS
from stt_mm.utils import check_choice, check_number


@MODELS.register_module()
class ReconstructionLoss(nn.Module):
    """Mean distance over all pixels and channels.

    Args:
        distance: ``smooth_l1`` is what the released code runs; with ``scale=20`` a difference ``d`` costs ``200 d^2``
            up to 0.05 and ``20 |d| - 0.5`` above. ``l1`` is what the paper prints (STT, Eq. 5).
        scale: both frames are multiplied by it first.
    """

    def __init__(self, distance: Literal['smooth_l1', 'l1'] = 'smooth_l1', scale: float = 20.0) -> None:
        super().__init__()
        check_choice('distance', distance, ('smooth_l1', 'l1'))
        check_number('scale', scale, above=0)
        self.distance = F.smooth_l1_loss if distance == 'smooth_l1' else F.l1_loss
        self.scale = scale

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """``[B, C, H, W]`` twice, to a scalar."""
        return self.distance(prediction * self.scale, target * self.scale)
