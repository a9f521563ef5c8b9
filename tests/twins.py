"""Slow forms, written from the definitions, that the package is tested against."""

import math

import torch
import torch.nn.functional as F


def dense_mask(height, width, radius):
    """bool [HW, HW]: key within the square window of the query."""
    y = torch.arange(height).repeat_interleave(width)
    x = torch.arange(width).repeat(height)
    return ((y[:, None] - y).abs() <= radius) & ((x[:, None] - x).abs() <= radius)


def dense_affinity(query, key, radius, scale):
    """[B, HW, HW] masked softmax over the full correlation."""
    logits = (query.flatten(2) * scale).transpose(1, 2) @ key.flatten(2)
    return logits.masked_fill(~dense_mask(*query.shape[-2:], radius), -math.inf).softmax(-1)


def to_dense(windowed, size):
    """[B, HW, K] over window cells to [B, HW, HW] over positions, by a loop over cells."""
    height, width = size
    side = math.isqrt(windowed.shape[-1])
    radius = side // 2
    dense = windowed.new_zeros(windowed.shape[0], height, width, height, width)
    for cell in range(side * side):
        dy, dx = cell // side - radius, cell % side - radius
        for y in range(max(0, -dy), min(height, height - dy)):
            for x in range(max(0, -dx), min(width, width - dx)):
                dense[:, y, x, y + dy, x + dx] = windowed[:, y * width + x, cell]
    return dense.view(-1, height * width, height * width)


def pool_dense(affinity, size):
    """[B, HW, HW] to the mean of each 2 x 2 x 2 x 2 block, index order [query, key]."""
    height, width = size
    blocks = affinity.view(-1, height // 2, 2, width // 2, 2, height // 2, 2, width // 2, 2)
    return blocks.mean((2, 4, 6, 8)).flatten(3, 4).flatten(1, 2)


def window_cells(shape, radius, strict, height, width):
    """bool [HW, HW]: key inside the query's window, measured pair by pair."""
    cells = [(y, x) for y in range(height) for x in range(width)]
    inside = torch.zeros(len(cells), len(cells), dtype=torch.bool)
    for i, (qy, qx) in enumerate(cells):
        for j, (ky, kx) in enumerate(cells):
            distance = max(abs(qy - ky), abs(qx - kx)) if shape == 'square' else math.hypot(qy - ky, qx - kx)
            inside[i, j] = distance < radius if strict else distance <= radius
    return inside


def propagate_dense(query, keys, labels, inside, topk, temperature, masked=None, ties='cut'):
    """The research code's form: every copy of a frame spelt out, all pairs, masked, one top-k over all frames.

    inside: bool [HW, HW]; masked: whether the window holds for each entry of the memory, all if None.
    """
    frames, _, height, width = keys.shape
    scores = torch.einsum('cq,tck->tqk', query.flatten(1), keys.flatten(2))
    for frame in range(frames):
        if masked is None or masked[frame]:
            scores[frame] = scores[frame].masked_fill(~inside, -math.inf)
    scores = scores.transpose(0, 1).flatten(1)
    last = scores.sort(1, descending=True).values[:, min(topk, scores.shape[1]) - 1 :][:, :1]
    if ties == 'kept':
        kept = scores.masked_fill(scores < last, -math.inf)
    else:
        best, index = scores.topk(min(topk, scores.shape[1]), dim=1)
        kept = torch.full_like(scores, -math.inf).scatter_(1, index, best)
    flat = labels.flatten(2).permute(0, 2, 1).flatten(0, 1)
    return ((kept / temperature).softmax(1) @ flat).T.view(-1, height, width)


def distinctive(channels, height, width, norm=40.0, seed=0):
    """[1, C, H, W] features of which no two positions resemble each other."""
    generator = torch.Generator().manual_seed(seed)
    return norm * F.normalize(torch.randn(1, channels, height, width, generator=generator), dim=1)


def affinity_by_cells(query, keys, radius, scale, border):
    """[B, HW, T * K] and log-sum-exp [B, HW], cell by cell: keys [B, T, C, H, W], radius None for the whole frame."""
    batch, frames, _, height, width = keys.shape
    rows = []
    for y in range(height):
        for x in range(width):
            logits = []
            for frame in range(frames):
                cells = [(v, u) for v in range(height) for u in range(width)]
                if radius is not None:
                    steps = range(-radius, radius + 1)
                    cells = [(y + dy, x + dx) for dy in steps for dx in steps]
                for v, u in cells:
                    if 0 <= v < height and 0 <= u < width:
                        logits.append(scale * (query[:, :, y, x] * keys[:, frame, :, v, u]).sum(1))
                    else:
                        logits.append(query.new_full((batch,), -math.inf if border == 'excluded' else 0.0))
            rows.append(torch.stack(logits, 1))
    logits = torch.stack(rows, 1)
    return logits.softmax(-1), logits.logsumexp(-1)
