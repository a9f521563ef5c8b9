"""Affinities between two frames: local (inside a window), global, and pooled from a fine to a coarse grid."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from stt_mm.ops.windows import local_correlation, window_mask


class _MaskedSoftmax(torch.autograd.Function):
    """Softmax over the window cells inside the frame; keeps its output alone for the backward pass."""

    @staticmethod
    def forward(ctx, correlation: Tensor, outside: Tensor) -> Tensor:
        affinity = correlation.masked_fill(outside, -math.inf).softmax(-1)
        ctx.save_for_backward(affinity)
        return affinity

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (affinity,) = ctx.saved_tensors
        product = affinity * grad
        return product.addcmul_(affinity, product.sum(-1, keepdim=True), value=-1), None


def local_affinity(query: Tensor, key: Tensor, radius: int, scale: float) -> Tensor:
    """Softmax of scaled dot products inside a square window clipped at the frame (STT, Eq. 2).

    Args:
        query: ``[B, C, H, W]``, target features.
        key: ``[B, C, H, W]``, reference features.
        radius: half width of the window, in cells.
        scale: factor on the dot products; ``C ** -0.5`` in the released code.

    Returns:
        ``[B, H * W, (2r + 1) ** 2]``: rows sum to 1, cells outside the frame are exactly 0. float32 at least.

    Raises:
        ValueError: if the shapes differ or the radius is negative.
    """
    if query.dtype in (torch.float16, torch.bfloat16):
        query, key = query.float(), key.float()
    correlation = local_correlation(query * scale, key, radius)
    outside = ~window_mask(*query.shape[-2:], radius, query.device)
    return _MaskedSoftmax.apply(correlation, outside)


def global_affinity(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """Softmax of scaled dot products over all key positions (STT, Eq. 8).

    Args:
        query: ``[B, C, H, W]``.
        key: ``[B, C, H, W]``.
        scale: factor on the dot products.

    Returns:
        ``[B, H * W, H * W]``, index order [query, key], rows sum to 1. float32 at least.
    """
    if query.dtype in (torch.float16, torch.bfloat16):
        query, key = query.float(), key.float()
    logits = (query.flatten(2) * scale).transpose(1, 2) @ key.flatten(2)
    return logits.softmax(-1)


def pool_local_affinity(affinity: Tensor, size: tuple[int, int], keep_mass: bool = False) -> Tensor:
    """Average-pool a local affinity 2 x 2 over queries and over keys, inside the windows.

    Coarse query ``I`` holds the fine queries ``2I + a`` with ``a`` in ``{0, 1}^2``; fine offset ``o`` falls into coarse
    offset ``floor((a + o) / 2)``. This equals average pooling of the full ``HW x HW`` affinity on both sides.

    Args:
        affinity: ``[B, H * W, (2R + 1) ** 2]`` on the fine grid.
        size: ``(H, W)`` of the fine grid, both even.
        keep_mass: sum over the 2 x 2 keys instead of averaging them. Averaging leaves rows that sum to 1/4.

    Returns:
        ``[B, H * W / 4, (2r + 1) ** 2]`` with ``r = (R + 1) // 2``.

    Raises:
        ValueError: if the grid is not even or does not fit the affinity.
    """
    batch, queries, cells = affinity.shape
    height, width = size
    window = math.isqrt(cells)
    if height * width != queries or height % 2 or width % 2:
        raise ValueError(f'size must be an even grid of {queries} positions, got {size}.')
    fine_radius = window // 2
    radius = (fine_radius + 1) // 2
    coarse_window = 2 * radius + 1
    fine = affinity.view(batch, height // 2, 2, width // 2, 2, window, window)
    pooled = affinity.new_zeros(batch, height // 2, width // 2, coarse_window, coarse_window)

    def padding(shift: int) -> tuple[int, int]:
        before = 2 * radius - fine_radius + shift
        return before, 2 * coarse_window - window - before

    for y in range(2):
        for x in range(2):
            part = F.pad(fine[:, :, y, :, x], (*padding(x), *padding(y)))
            pooled = pooled + part.unflatten(-1, (coarse_window, 2)).sum(-1).unflatten(-2, (coarse_window, 2)).sum(-2)
    return pooled.view(batch, -1, coarse_window**2) / (4 if keep_mass else 16)
