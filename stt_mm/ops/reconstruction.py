"""Rebuilding a frame by copying values of another one through an affinity."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from stt_mm.ops.windows import window_view


def reconstruct(affinity: Tensor, value: Tensor, whole_frame: bool = False) -> Tensor:
    """Each position takes the mean of the reference values in its window, weighted by the affinity (STT, Eq. 3).

    Args:
        affinity: ``[B, H * W, T * K]`` of :func:`stt_mm.ops.local_affinity`.
        value: ``[B, C, H, W]``, or ``[B, T, C, H, W]`` of several frames: what is copied from the reference (colours,
            labels). It is 0 outside of the frame.
        whole_frame: the affinity has the cells of the frame, not of a window.

    Returns:
        ``[B, C, H, W]``.
    """
    frames = value[:, None] if value.dim() == 4 else value
    batch, count, channels, height, width = frames.shape
    if whole_frame:
        rebuilt = affinity @ frames.transpose(2, 1).flatten(2, 4).transpose(1, 2)
        return rebuilt.transpose(1, 2).reshape(batch, channels, height, width)
    window = math.isqrt(affinity.shape[-1] // count)
    radius = window // 2
    weights = affinity.view(batch, height, width, count, window, window)
    parts = []
    for frame in range(count):
        windows = window_view(F.pad(frames[:, frame], [radius] * 4), radius)
        part = weights[:, :, :, frame]
        parts.append(torch.stack([(part * windows[:, channel]).sum((-1, -2)) for channel in range(channels)], dim=1))
    return sum(parts[1:], parts[0])


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
