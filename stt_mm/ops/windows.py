"""Correlation inside a local window, computed tile by tile as matrix products.

A query tile of ``h x w`` cells needs the keys of the ``(h + 2r) x (w + 2r)`` cells around it. One matrix product gives
all pairs of the two; the window of each query is a skewed view of that product, read without a copy. Neither the
``HW x HW`` correlation nor the unfolded features ever exist.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stt_mm.ops.devices import kept

TILE = 16


def window_view(padded: Tensor, radius: int) -> Tensor:
    """All windows of a map that was padded by the radius, as a view.

    Args:
        padded: ``[..., H + 2r, W + 2r]``.
        radius: half width ``r`` of the square window, in cells.

    Returns:
        ``[..., H, W, 2r + 1, 2r + 1]``; element ``[y, x, dy, dx]`` is ``padded[y + dy, x + dx]``.
    """
    size = 2 * radius + 1
    return padded.unfold(-2, size, 1).unfold(-2, size, 1)


def window_mask(height: int, width: int, radius: int, device: torch.device | None = None) -> Tensor:
    """Cells of each window that lie inside the frame.

    Returns:
        bool ``[H * W, (2r + 1) ** 2]``, row-major over queries and over window cells. It is kept for the next call, so
        it must not be changed.
    """
    return _window_mask(height, width, radius, torch.empty(0).device if device is None else device)


@kept(limit=8)
def _window_mask(height: int, width: int, radius: int, device: torch.device) -> Tensor:
    inside = F.pad(torch.ones(height, width, device=device), [radius] * 4)
    return window_view(inside, radius).reshape(height * width, -1).bool()


def skewed(product: Tensor, tile: tuple[int, int], radius: int) -> Tensor:
    """View ``[N, h, w, 2r + 1, 2r + 1]`` of the windows inside contiguous ``[N, h * w, (h + 2r) * (w + 2r)]``."""
    height, width = tile
    size, row = 2 * radius + 1, width + 2 * radius
    batch, queries, keys = product.shape
    strides = (queries * keys, width * keys + row, keys + 1, row, 1)
    return product.as_strided((batch, height, width, size, size), strides)


def tiles(height: int, width: int, side: int) -> list[tuple[slice, slice]]:
    """Row and column slices of tiles that cover a map, at most ``side`` cells high and wide."""
    return [
        (slice(y, min(y + side, height)), slice(x, min(x + side, width)))
        for y in range(0, height, side)
        for x in range(0, width, side)
    ]


def halo(tile: tuple[slice, slice], radius: int) -> tuple[slice, slice]:
    """Slices of the padded map that hold the windows of a tile."""
    rows, columns = tile
    return slice(rows.start, rows.stop + 2 * radius), slice(columns.start, columns.stop + 2 * radius)


class _LocalCorrelation(torch.autograd.Function):
    """Dot products with the keys of the window; saves its two inputs only."""

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, radius: int) -> Tensor:
        ctx.save_for_backward(query, key)
        ctx.radius = radius
        batch, _, height, width = query.shape
        size = 2 * radius + 1
        queries = query.permute(0, 2, 3, 1).contiguous()
        keys = F.pad(key, [radius] * 4).permute(0, 2, 3, 1).contiguous()
        out = query.new_empty(batch, height, width, size, size)
        for tile in tiles(height, width, TILE):
            block = queries[:, tile[0], tile[1]]
            around = halo(tile, radius)
            product = block.flatten(1, 2) @ keys[:, around[0], around[1]].flatten(1, 2).transpose(1, 2)
            out[:, tile[0], tile[1]] = skewed(product, block.shape[1:3], radius)
        return out.view(batch, height * width, size * size)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        query, key = ctx.saved_tensors
        radius = ctx.radius
        batch, channels, height, width = query.shape
        size = 2 * radius + 1
        grad = grad.reshape(batch, height, width, size, size)
        queries = query.permute(0, 2, 3, 1).contiguous()
        keys = F.pad(key, [radius] * 4).permute(0, 2, 3, 1).contiguous()
        grad_queries = torch.empty_like(queries)
        grad_keys = torch.zeros_like(keys)
        # A compiled backward pass is traced under the autocast of the whole step.
        with torch.autocast(grad.device.type, enabled=False):
            for tile in tiles(height, width, TILE):
                around = halo(tile, radius)
                block, near = queries[:, tile[0], tile[1]], keys[:, around[0], around[1]]
                rows, columns = block.shape[1:3]
                pairs = grad.new_zeros(batch, rows * columns, near.shape[1] * near.shape[2])
                skewed(pairs, (rows, columns), radius).copy_(grad[:, tile[0], tile[1]])
                grad_queries[:, tile[0], tile[1]] = (pairs @ near.flatten(1, 2)).view_as(block)
                grad_keys[:, around[0], around[1]] += (pairs.transpose(1, 2) @ block.flatten(1, 2)).view_as(near)
        inside = slice(radius, radius + height), slice(radius, radius + width)
        return grad_queries.permute(0, 3, 1, 2), grad_keys[:, inside[0], inside[1]].permute(0, 3, 1, 2), None


def local_correlation(query: Tensor, key: Tensor, radius: int) -> Tensor:
    """Raw dot products of every query with the keys of its square window; 0 where the window leaves the frame.

    Args:
        query: ``[B, C, H, W]``, the frame whose positions ask (the target).
        key: ``[B, C, H, W]``, the frame that is searched (the reference).
        radius: half width of the window in cells; the window has ``(2r + 1) ** 2`` cells.

    Returns:
        ``[B, H * W, (2r + 1) ** 2]``, differentiable in both arguments. Cell ``(dy + r) * (2r + 1) + dx + r`` of query
        ``(y, x)`` belongs to key ``(y + dy, x + dx)``.

    Raises:
        ValueError: if the shapes differ or the radius is negative.
    """
    if query.dim() != 4 or query.shape != key.shape:
        raise ValueError(
            f'query and key must share one shape [B, C, H, W], got {tuple(query.shape)} and {tuple(key.shape)}.'
        )
    if radius < 0:
        raise ValueError(f'radius must be at least 0 cells, got {radius}.')
    return _LocalCorrelation.apply(query, key, radius)
