"""Label propagation: every query position takes the labels of its best matches in the memory.

The keys of one cell in all memory frames lie side by side, so that the neighbourhood of a tile of queries is read as a
few large matrix products without a copy. The best matches are found in two steps, without a sort of all of them: the
``k`` best pairs lie among the ``k`` cells whose best frame is best.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from stt_mm.ops.windows import Window, tiles


class Voters(NamedTuple):
    """Labels in the memory, and how often each frame stands there for them.

    Args:
        labels: ``[T, K, H, W]``.
        copies: T numbers; each copy of a frame takes part in the top-k inside the window, 0: the frame has no vote.
        global_copies: the same for copies that are searched as a whole, without the window.
    """

    labels: Tensor
    copies: Sequence[int]
    global_copies: Sequence[int]


def propagate(
    query: Tensor,
    keys: Tensor,
    labels: Tensor,
    window: Window | None,
    topk: int,
    temperature: float,
    copies: Sequence[int] | None = None,
    global_copies: Sequence[int] | None = None,
    ties: Literal['cut', 'kept'] = 'cut',
    tile: int = 8,
) -> Tensor:
    """Top-k attention inside a window, jointly over all memory frames.

    The correlations are computed once for any number of label channels, tile by tile; neither a mask over all pairs nor
    the full affinity is built.

    Args:
        query: ``[C, H, W]``, features of the new frame; L2-normalised by the caller if cosines are wanted. Half
            precision selects the matches in half precision and weighs them in float32.
        keys: ``[T, C, H, W]``, features of the memory frames. Not copied if they lie in memory as ``[H, W, T, C]``.
        labels: ``[T, K, H, W]``, labels of the memory frames; the same holds for their layout.
        window: cells that a query may match; ``None``: the whole frame.
        topk: number of (frame, position) pairs that vote for each query.
        temperature: divides the correlations before the softmax over the survivors.
        copies: how often each frame stands in the memory, each copy taking part in the top-k; once if ``None``.
        global_copies: further copies that are searched without the window; none if ``None``.
        ties: ``cut`` keeps exactly ``topk`` pairs, ``kept`` also all that are as good as the last of them.
        tile: side of the square of queries that are handled together. Sets speed and memory, not the result.

    Returns:
        ``[K, H, W]``, convex combinations of the labels.

    Raises:
        ValueError: if the shapes do not fit or a number is out of range.
    """
    frames = len(keys)
    voters = Voters(
        labels, [1] * frames if copies is None else copies, [0] * frames if global_copies is None else global_copies
    )
    return propagate_many(query, keys, [voters], window, topk, temperature, ties, tile)[0]


def propagate_many(
    query: Tensor,
    keys: Tensor,
    voters: Sequence[Voters],
    window: Window | None,
    topk: int,
    temperature: float,
    ties: Literal['cut', 'kept'] = 'cut',
    tile: int = 8,
) -> list[Tensor]:
    """:func:`propagate` for groups of labels that see different frames of one memory; products are computed once.

    Args:
        query: ``[C, H, W]``.
        keys: ``[T, C, H, W]``.
        voters: one entry per group.
        window: see :func:`propagate`, like all that follows.
        topk: pairs that vote for each query.
        temperature: of the softmax.
        ties: ``cut`` or ``kept``.
        tile: queries handled together.

    Returns:
        One ``[K, H, W]`` per group.
    """
    _check(query, keys, voters, topk, temperature, ties, tile)
    queries, memory = query.permute(1, 2, 0), keys.permute(2, 3, 0, 1).contiguous()
    height, width, frames, _ = memory.shape
    tables = [
        _at_least_float32(group.labels.permute(2, 3, 0, 1).reshape(height * width * frames, -1)) for group in voters
    ]
    outs = [labels.new_empty(height, width, labels.shape[1]) for labels in tables]
    searches = [
        _Search(memory, [group.copies for group in voters], window),
        _Search(memory, [group.global_copies for group in voters], None),
    ]
    for rows, columns in tiles(height, width, tile):
        block = queries[rows, columns].flatten(0, 1)
        near = [search.near(block, rows, columns) if search.frames else None for search in searches]
        for group, (table, out) in enumerate(zip(tables, outs, strict=True)):
            found = [
                _best(cells, search.votes[group], topk, ties)
                for cells, search in zip(near, searches, strict=True)
                if search.votes[group].chosen
            ]
            scores, index, counts = (torch.cat(part, 1) for part in zip(*found, strict=True))
            scores = _exact(scores, index, block, memory)
            weights = _weights(scores, counts, topk, temperature, ties).to(table.dtype)
            voted = torch.nn.functional.embedding_bag(index, table, per_sample_weights=weights, mode='sum')
            out[rows, columns] = voted.view(rows.stop - rows.start, columns.stop - columns.start, -1)
    return [out.permute(2, 0, 1) for out in outs]


def tile_side(
    grid: tuple[int, int], frames: int, window: Window | None, itemsize: int, max_memory: int, largest: int
) -> int:
    """Largest power of two, at most ``largest``, whose correlations fit into a number of bytes; at least 1.

    Args:
        grid: ``(H, W)``.
        frames: memory frames.
        window: see :func:`propagate`.
        itemsize: bytes of one feature value.
        max_memory: bytes.
        largest: side to start from, a power of two.
    """
    side = largest
    while side > 1:
        reach = max(grid) if window is None else window.reach
        cells = min(grid[0], side + 2 * reach) * min(grid[1], side + 2 * reach)
        # Besides the products there are their maxima over the frames, twice, and the mask.
        if cells * side * side * (frames * itemsize + 2 * itemsize + 1) <= max_memory:
            break
        side //= 2
    return side


class _Votes(NamedTuple):
    """Which of the frames that are searched vote for a group, their numbers in the memory, and their copies."""

    chosen: list[int]
    frames: Tensor
    copies: Tensor


class _Near(NamedTuple):
    """Correlations of ``m`` queries with the cells around them."""

    products: Tensor  # [cells, frames, m]
    outside: Tensor | None  # bool [cells, m]
    index: Tensor  # [cells], where the keys of a cell begin in the flattened memory


class _Search:
    """The frames that any group searches in one way, inside the window or as a whole."""

    def __init__(self, memory: Tensor, copies: Sequence[Sequence[int]], window: Window | None) -> None:
        self.frames = [frame for frame in range(memory.shape[2]) if any(numbers[frame] for numbers in copies)]
        self.stride = memory.shape[2]
        self.window = window
        # Nearly always all frames are searched inside the window, and one of them as a whole.
        searched = self.frames if window is None else list(range(self.stride))
        self.memory = memory if len(searched) == self.stride else memory[:, :, searched].contiguous()
        self.votes = []
        for numbers in copies:
            chosen = [place for place, frame in enumerate(searched) if numbers[frame]]
            frames = [searched[place] for place in chosen]
            self.votes.append(
                _Votes(
                    chosen,
                    torch.tensor(frames, device=memory.device),
                    torch.tensor([numbers[frame] for frame in frames], device=memory.device),
                )
            )

    def near(self, block: Tensor, rows: slice, columns: slice) -> _Near:
        """Correlations of the queries ``[m, C]`` of a tile."""
        height, width, frames, channels = self.memory.shape
        device, window = self.memory.device, self.window
        reach = max(height, width) if window is None else window.reach
        top, left = max(rows.start - reach, 0), max(columns.start - reach, 0)
        near = self.memory[top : rows.stop + reach, left : columns.stop + reach]
        tall, wide = near.shape[:2]
        queries = block.t().expand(tall, channels, len(block))
        products = torch.bmm(near.flatten(1, 2), queries).view(tall * wide, frames, len(block))
        y, x = torch.arange(top, top + tall, device=device), torch.arange(left, left + wide, device=device)
        outside = None
        if window is not None:
            dy = y[:, None] - torch.arange(rows.start, rows.stop, device=device)
            dx = x[:, None] - torch.arange(columns.start, columns.stop, device=device)
            outside = window.outside(dy[:, None, :, None], dx[None, :, None, :]).view(tall * wide, -1)
        return _Near(products, outside, ((y[:, None] * width + x) * self.stride).flatten())


def _best(near: _Near, votes: _Votes, topk: int, ties: str) -> tuple[Tensor, Tensor, Tensor]:
    """The best pairs of each query: scores ``[m, k]``, rows of the memory table ``[m, k]``, copies ``[m, k]``."""
    products = near.products
    if len(votes.chosen) < products.shape[1]:
        products = products[:, votes.chosen]
    cells, frames, block = products.shape
    per_cell = products.amax(1)
    if near.outside is not None:
        per_cell = per_cell.masked_fill_(near.outside, -torch.inf)
    per_cell = per_cell.t().contiguous()
    keep = min(topk, cells * frames)
    best, cell = per_cell.topk(min(keep, cells), dim=1)
    scores, candidate = _within(products, best, cell).topk(keep, dim=1)
    if ties == 'kept':
        inside = products >= scores[:, -1].where(scores[:, -1] > -torch.inf, torch.inf)
        if near.outside is not None:
            inside = inside & ~near.outside[:, None]
        keep = max(keep, int(inside.sum((0, 1)).max()))
        best, cell = per_cell.topk(min(keep, cells), dim=1)
        scores, candidate = _within(products, best, cell).topk(keep, dim=1)
    source = cell.gather(1, candidate // frames)
    chosen = candidate % frames
    return scores, near.index[source] + votes.frames[chosen], votes.copies[chosen]


def _within(products: Tensor, best: Tensor, cell: Tensor) -> Tensor:
    """Scores ``[m, k * T]`` of all frames of the chosen cells ``[m, k]``."""
    frames = products.shape[1]
    pairs = (cell[:, :, None] * frames + torch.arange(frames, device=cell.device)).flatten(1)
    scores = products.flatten(0, 1).gather(0, pairs.t()).t()
    return scores.masked_fill((best == -torch.inf).repeat_interleave(frames, 1), -torch.inf)


def _exact(scores: Tensor, index: Tensor, block: Tensor, memory: Tensor) -> Tensor:
    """Scores in float32, computed again where the products were made in half precision."""
    if scores.dtype not in (torch.float16, torch.bfloat16):
        return scores
    again = torch.einsum('mkc,mc->mk', memory.flatten(0, 2)[index].float(), block.float())
    return again.masked_fill(scores == -torch.inf, -torch.inf)


def _weights(scores: Tensor, counts: Tensor, topk: int, temperature: float, ties: str) -> Tensor:
    """Weights ``[m, k]`` that sum to 1: the softmax over the first ``topk`` copies in the order of their scores."""
    ordered, order = scores.sort(dim=1, descending=True)
    number = counts.gather(1, order)
    before = number.cumsum(1) - number
    if ties == 'kept':
        last = ordered.where(before < topk, torch.inf).amin(1, keepdim=True)
        number = number * (ordered >= last)
    else:
        number = torch.minimum(number, (topk - before).clamp(min=0))
    weights = number * ((ordered - ordered[:, :1]) / temperature).exp()
    return torch.empty_like(scores).scatter_(1, order, weights / weights.sum(1, keepdim=True))


def _at_least_float32(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _check(
    query: Tensor, keys: Tensor, voters: Sequence[Voters], topk: int, temperature: float, ties: str, tile: int
) -> None:
    frames = len(keys)
    for labels, copies, global_copies in voters:
        if (
            keys.dim() != 4
            or query.shape != keys.shape[1:]
            or (labels.shape[0], *labels.shape[2:]) != (frames, *query.shape[1:])
        ):
            raise ValueError(
                'Expected query [C, H, W], keys [T, C, H, W] and labels [T, K, H, W] of one size, got '
                f'{tuple(query.shape)}, {tuple(keys.shape)} and {tuple(labels.shape)}.'
            )
        if (
            not len(copies) == len(global_copies) == frames
            or min(*copies, *global_copies) < 0
            or not (any(copies) or any(global_copies))
        ):
            raise ValueError(
                f'copies and global_copies are numbers from 0 for each of {frames} frames, at least one '
                f'of them positive; got {list(copies)} and {list(global_copies)}.'
            )
    if topk < 1 or temperature <= 0 or tile < 1 or ties not in ('cut', 'kept'):
        raise ValueError(
            "Expected topk >= 1, temperature > 0, tile >= 1 and ties 'cut' or 'kept', got "
            f'{topk}, {temperature}, {tile} and {ties!r}.'
        )
