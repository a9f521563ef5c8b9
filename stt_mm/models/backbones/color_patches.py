"""Raw colour as features: the floor that any training has to beat."""

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from stt_mm.errors import InputError
from stt_mm.registry import MODELS


@MODELS.register_module()
class ColorPatches(BaseModule):
    """The normalised colours of the patch around each pixel ``stride * k``; no parameters.

    Args:
        size: odd side of the patch, in pixels.
        stride: distance of the patches, in pixels.
    """

    def __init__(self, size: int = 3, stride: int = 8) -> None:
        super().__init__()
        if size < 1 or size % 2 == 0 or stride < 1:
            raise InputError(f'size must be odd and positive, stride positive, got {size} and {stride}.')
        self.size = size
        self.stride = stride

    @property
    def stages(self) -> tuple[str, ...]:
        """One map, called ``color``."""
        return ('color',)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """``[B, 3, H, W]`` to one ``[B, 3 * size ** 2, ceil(H / stride), ceil(W / stride)]``."""
        grid = [-(-side // self.stride) for side in x.shape[-2:]]
        patches = F.unfold(F.pad(x, [self.size // 2] * 4, mode='reflect'), self.size, stride=self.stride)
        return (patches.view(len(x), -1, *grid),)
