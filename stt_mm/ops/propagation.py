"""Label propagation: every query position takes the labels of its best matches in the memory."""

import torch
import torch.nn.functional as F
from torch import Tensor

from stt_mm.ops import windows

TILE = 8


def propagate(query: Tensor, keys: Tensor, labels: Tensor, radius: int, topk: int, temperature: float) -> Tensor:
    """Top-k attention inside a square window, jointly over all memory frames.

    The correlations are computed once for any number of label channels, tile by tile; neither a mask over all pairs nor
    the full affinity is built.

    Args:
        query: ``[C, H, W]``, features of the new frame; L2-normalised by the caller if cosines are wanted.
        keys: ``[T, C, H, W]``, features of the memory frames. A frame may stand in the memory more than once, and each
            copy takes part in the top-k.
        labels: ``[T, K, H, W]``, labels of the memory frames.
        radius: half width of the window in cells, both ends included.
        topk: number of (frame, position) pairs that vote for each query.
        temperature: divides the correlations before the softmax over the survivors.

    Returns:
        ``[K, H, W]``, convex combinations of the labels.

    Raises:
        ValueError: if the shapes do not fit or a number is out of range.
    """
    frames, channels, height, width = keys.shape
    if query.shape != keys.shape[1:] or labels.shape[0] != frames or labels.shape[2:] != query.shape[1:]:
        raise ValueError('Expected query [C, H, W], keys [T, C, H, W] and labels [T, K, H, W] of one size, got '
                         f'{tuple(query.shape)}, {tuple(keys.shape)} and {tuple(labels.shape)}.')
    if radius < 0 or topk < 1 or temperature <= 0:
        raise ValueError('Expected radius >= 0, topk >= 1 and temperature > 0, got '
                         f'{radius}, {topk} and {temperature}.')
    size = 2 * radius + 1
    topk = min(topk, frames * size * size)
    queries = query.permute(1, 2, 0)
    padded = F.pad(keys, [radius] * 4).permute(0, 2, 3, 1).contiguous()
    outside = ~windows.window_mask(height, width, radius, query.device).view(height, width, size, size)
    values = F.pad(labels, [radius] * 4).permute(0, 2, 3, 1).flatten(0, 2)
    row, frame = width + 2 * radius, (height + 2 * radius) * (width + 2 * radius)
    out = labels.new_empty(height, width, labels.shape[1])
    for tile in windows.tiles(height, width, TILE):
        rows, columns = windows.halo(tile, radius)
        block = queries[tile].flatten(0, 1)
        product = block @ padded[:, rows, columns].flatten(1, 2).transpose(1, 2)
        shape = tuple(axis.stop - axis.start for axis in tile)
        window = windows.skewed(product, shape, radius).masked_fill(outside[tile], -torch.inf)
        scores = window.permute(1, 2, 0, 3, 4).reshape(block.shape[0], -1)
        best, cell = scores.topk(topk, dim=1)
        weights = (best.float() / temperature).softmax(1)
        source, inner = cell // (size * size), cell % (size * size)
        y = torch.arange(tile[0].start, tile[0].stop, device=query.device).repeat_interleave(shape[1])
        x = torch.arange(tile[1].start, tile[1].stop, device=query.device).repeat(shape[0])
        index = source * frame + (y[:, None] + inner // size) * row + x[:, None] + inner % size
        out[tile] = (weights[..., None] * values[index].float()).sum(1).view(*shape, -1).to(out.dtype)
    return out.permute(2, 0, 1)
