"""Rebuilding a frame by copying values of another one through an affinity."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from stt_mm.ops.windows import window_view


def reconstruct(affinity: Tensor, value: Tensor) -> Tensor:
    """Each position takes the mean of the reference values in its window, weighted by the affinity (STT, Eq. 3).

    Args:
        affinity: ``[B, H * W, (2r + 1) ** 2]``, rows sum to 1.
        value: ``[B, C, H, W]``, what is copied from the reference (colours, labels).

    Returns:
        ``[B, C, H, W]``.
    """
    batch, channels, height, width = value.shape
    window = math.isqrt(affinity.shape[-1])
    radius = window // 2
    weights = affinity.view(batch, height, width, window, window)
    windows = window_view(F.pad(value, [radius] * 4), radius)
    return torch.stack([(weights * windows[:, channel]).sum((-1, -2)) for channel in range(channels)], dim=1)


def subsample(frame: Tensor, stride: int) -> Tensor:
    """Values at the pixels ``stride * k``: ``[B, C, H, W] -> [B, C, H / stride, W / stride]``."""
    return frame[..., ::stride, ::stride]


def upsample(grid: Tensor, stride: int, align: Literal['half_pixel', 'aligned']) -> Tensor:
    """Bilinear enlargement of a map sampled at the pixels ``stride * k``.

    Args:
        grid: ``[B, C, h, w]``.
        stride: factor.
        align: ``half_pixel`` treats samples as pixel areas, which shifts the picture by ``(stride - 1) / 2`` pixels
            (released code); ``aligned`` puts cell ``k`` back to pixel ``stride * k`` and repeats the border.

    Returns:
        ``[B, C, h * stride, w * stride]``.
    """
    if align == 'half_pixel':
        return F.interpolate(grid, scale_factor=stride, mode='bilinear')
    height, width = grid.shape[-2:]
    inner = (height - 1) * stride + 1, (width - 1) * stride + 1
    enlarged = F.interpolate(grid, size=inner, mode='bilinear', align_corners=True)
    return F.pad(enlarged, (0, stride - 1, 0, stride - 1), mode='replicate')
