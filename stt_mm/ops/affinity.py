"""Affinities between two frames: local (inside a window), global, and pooled from a fine to a coarse grid."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from stt_mm.ops.windows import local_correlation, window_mask


class _MaskedSoftmax(torch.autograd.Function):
    """Softmax over the cells that are not outside and, if wanted, the log-sum-exp; keeps the softmax alone."""

    @staticmethod
    def forward(ctx, correlation: Tensor, outside: Tensor | None, with_lse: bool) -> Tensor | tuple[Tensor, Tensor]:
        if outside is not None:
            correlation = correlation.masked_fill(outside, -math.inf)
        affinity = correlation.softmax(-1)
        ctx.save_for_backward(affinity)
        # The best cell of a row has at least the share 1 / K, whose logarithm is precise.
        return (affinity, correlation.amax(-1) - affinity.amax(-1).log()) if with_lse else affinity

    @staticmethod
    def backward(ctx, grad: Tensor, grad_lse: Tensor | None = None) -> tuple[Tensor, None, None]:
        (affinity,) = ctx.saved_tensors
        product = affinity * grad
        total = product.sum(-1, keepdim=True)
        if grad_lse is not None:
            total = total - grad_lse[..., None]
        return product.addcmul_(affinity, total, value=-1), None, None


def local_affinity(
    query: Tensor,
    key: Tensor | Sequence[Tensor],
    radius: int | None,
    scale: float,
    border: Literal['excluded', 'zero'] = 'excluded',
    with_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Softmax of scaled dot products inside a square window of one or several frames (STT, Eq. 2).

    Args:
        query: ``[B, C, H, W]``, target features.
        key: ``[B, C, H, W]``, reference features; ``[B, T, C, H, W]`` or a sequence of T maps for several frames, which
            share one softmax.
        radius: half width of the window, in cells; ``None``: the whole frame.
        scale: factor on the dot products; ``C ** -0.5`` in the released code.
        border: what cells of the window outside the frame are: ``excluded``, or ``zero``, cells of the logit 0 that
            keep their share.
        with_lse: return the logarithm of the sum of the exponentials of each row as well.

    Returns:
        ``[B, H * W, T * K]``, the cells of the first frame first, with ``K`` the ``(2r + 1) ** 2`` cells of a window or
        the ``H * W`` of a frame: rows sum to 1, excluded cells are exactly 0. float32 at least. With ``with_lse`` a
        pair of it and ``[B, H * W]``.

    Raises:
        ValueError: if the shapes differ, the radius is negative or there is no such border rule.
    """
    if border not in ('excluded', 'zero'):
        raise ValueError(f"border must be 'excluded' or 'zero', got {border!r}.")
    keys = [key] if isinstance(key, Tensor) and key.dim() == 4 else key.unbind(1) if isinstance(key, Tensor) else key
    if query.dtype in (torch.float16, torch.bfloat16):
        query, keys = query.float(), [key.float() for key in keys]
    scaled, outside = query * scale, None
    if radius is None:
        parts = [_whole_frame(scaled, key) for key in keys]
    else:
        parts = [local_correlation(scaled, key, radius) for key in keys]
        if border == 'excluded':
            outside = ~window_mask(*query.shape[-2:], radius, query.device)
            outside = outside if len(parts) == 1 else outside.repeat(1, len(parts))
    correlation = parts[0] if len(parts) == 1 else torch.cat(parts, -1)
    return _MaskedSoftmax.apply(correlation, outside, with_lse)


def _whole_frame(query: Tensor, key: Tensor) -> Tensor:
    if query.shape != key.shape:
        raise ValueError(f'query and key must share one shape, got {tuple(query.shape)} and {tuple(key.shape)}.')
    return query.flatten(2).transpose(1, 2) @ key.flatten(2)


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
