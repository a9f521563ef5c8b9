"""Maps that tell places apart: sines and cosines, other sizes, and the same map with its places moved."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stt_mm.errors import InputError
from stt_mm.ops.devices import kept, to_device


@kept(limit=4)
def sinusoids(channels: int, height: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Sine and cosine of each column in the first half of the channels, of each row in the second.

    Channel ``2i`` is ``sin(x f_i)``, ``2i + 1`` is ``cos(x f_i)``, and the same of ``y`` from ``channels / 2`` on, with
    ``f_i = 10000 ** (-4i / channels)`` for ``i < channels / 4``; ``x`` and ``y`` count cells from 0.

    Returns:
        ``[1, channels, height, width]``, computed in float64; not to be changed.

    Raises:
        ValueError: ``channels`` is no multiple of 4.
    """
    if channels < 4 or channels % 4:
        raise InputError(f'Sines and cosines of two axes need a multiple of 4 channels, got {channels}.')
    frequencies = 10000.0 ** (-4 * torch.arange(channels // 4, dtype=torch.float64) / channels)
    columns, rows = (
        torch.stack([angles.sin(), angles.cos()], dim=1).flatten(0, 1)
        for angles in (frequencies[:, None] * torch.arange(size) for size in (width, height))
    )
    halves = [columns[:, None].expand(-1, height, -1), rows[:, :, None].expand(-1, -1, width)]
    return to_device(torch.cat(halves)[None].to(dtype), device)


def resize_map(values: Tensor, size: Sequence[int]) -> Tensor:
    """Bicubic, ``a = -0.75``, between the centres of cells, the border repeated, not smoothed when it shrinks.

    Args:
        values: ``[B, C, H, W]``.
        size: rows and columns wanted.

    Returns:
        ``[B, C, *size]``; the map itself if it has that size.
    """
    if tuple(values.shape[-2:]) == tuple(size):
        return values
    return F.interpolate(values, tuple(size), mode='bicubic', align_corners=False)


def shift_map(values: Tensor, steps: Tensor) -> Tensor:
    """The map once per frame, moved in a circle along both axes.

    Args:
        values: ``[1, C, H, W]``.
        steps: integers ``[B, 2]``, rows and columns; negative ones and those beyond the map are allowed.

    Returns:
        ``[B, C, H, W]``, where ``out[b, :, (y + steps[b, 0]) % H, (x + steps[b, 1]) % W] = values[0, :, y, x]``.

    Raises:
        ValueError: ``steps`` is of another shape or holds no integers.
    """
    if steps.dim() != 2 or steps.shape[1] != 2 or steps.is_floating_point():
        raise InputError(f'steps must be integers [B, 2], got {steps.dtype} {list(steps.shape)}.')
    rows, columns = (
        (torch.arange(size, device=values.device) - step[:, None]) % size
        for size, step in zip(values.shape[-2:], to_device(steps, values.device).unbind(1), strict=True)
    )
    return values[0, :, rows[:, :, None], columns[:, None, :]].transpose(0, 1)


def shuffle_map(values: Tensor, permutations: Tensor) -> Tensor:
    """The map once per frame, its cells in another order.

    Args:
        values: ``[1, C, H, W]``.
        permutations: integers ``[B, HW]``: for each cell, row by row, the number of the one that comes there.

    Returns:
        ``[B, C, H, W]``.

    Raises:
        ValueError: ``permutations`` is of another shape or holds no integers.
    """
    cells = values[0].flatten(1)
    if permutations.dim() != 2 or permutations.shape[1] != cells.shape[1] or permutations.is_floating_point():
        raise InputError(
            f'permutations must be integers [B, {cells.shape[1]}] for a map of {values.shape[-2]} x '
            f'{values.shape[-1]} cells, got {permutations.dtype} {list(permutations.shape)}.'
        )
    return cells[:, to_device(permutations, values.device)].transpose(0, 1).unflatten(2, values.shape[-2:])


def draw_shifts(rng: np.random.Generator, count: int, size: Sequence[int]) -> Tensor:
    """Steps for :func:`shift_map`, each cell of the grid as likely as any other.

    Args:
        rng: source of the draws.
        count: number of frames.
        size: rows and columns of the grid.

    Returns:
        int64 ``[count, 2]`` on the host.
    """
    return torch.from_numpy(rng.integers(0, tuple(size), (count, 2)))


def draw_permutations(rng: np.random.Generator, count: int, size: Sequence[int]) -> Tensor:
    """Orders for :func:`shuffle_map`, each as likely as any other; int64 ``[count, HW]``, arguments as above."""
    cells = np.broadcast_to(np.arange(size[0] * size[1]), (count, size[0] * size[1]))
    return torch.from_numpy(rng.permuted(cells, axis=1))
