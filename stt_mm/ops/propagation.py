"""Label propagation: every query position takes the labels of its best matches in the memory.

The keys of one cell in all memory frames lie side by side, so that the neighbourhood of a tile of queries is read as a
few large matrix products without a copy. The best matches are found in two steps, without a sort of all of them: the
``k`` best pairs lie among the ``k`` cells whose best frame is best.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from stt_mm.ops.devices import to_device
from stt_mm.ops.tiling import Area, Plan, Window


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
    together: int = 1,
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
        tile: side of the square of queries that share their neighbourhood. Sets speed and memory, not the result.
        together: tiles that are handled together; likewise.

    Returns:
        ``[K, H, W]``, convex combinations of the labels.

    Raises:
        ValueError: if the shapes do not fit or a number is out of range.
    """
    frames = len(keys)
    voters = Voters(
        labels, [1] * frames if copies is None else copies, [0] * frames if global_copies is None else global_copies
    )
    _check(query, keys, [voters], topk, temperature, ties)
    windows = [window, None] if any(voters.global_copies) else [window]
    plan = Plan(tuple(query.shape[1:]), windows, tile, together, query.device)
    return propagate_many(query, keys, [voters], plan, topk, temperature, ties)[0]


def propagate_many(
    query: Tensor,
    keys: Tensor,
    voters: Sequence[Voters],
    plan: Plan,
    topk: int,
    temperature: float,
    ties: Literal['cut', 'kept'] = 'cut',
) -> list[Tensor]:
    """:func:`propagate` for groups of labels that see different frames of one memory; products are computed once.

    Args:
        query: ``[C, H, W]``.
        keys: ``[T, C, H, W]``.
        voters: one entry per group.
        plan: of the grid, with the window of the copies first; behind it ``None`` if there are global copies.
        topk: pairs that vote for each query.
        temperature: of the softmax.
        ties: ``cut`` or ``kept``.

    Returns:
        One ``[K, H, W]`` per group.
    """
    _check(query, keys, voters, topk, temperature, ties)
    if plan.grid != tuple(query.shape[1:]) or any(any(group.global_copies) for group in voters) >= len(plan.windows):
        raise ValueError(
            f'The plan is for a grid of {plan.grid} and the windows {plan.windows}, the query has '
            f'{tuple(query.shape[1:])}; global copies need None as second window.'
        )
    if ties == 'kept' and any(any(group.global_copies) for group in voters):
        raise ValueError("With ties='kept' all copies are searched in one way: products of another differ by rounding.")
    queries, memory = query.flatten(1).t(), keys.permute(2, 3, 0, 1)
    if memory.stride(3) != 1:
        memory = memory.contiguous()
    if ties == 'kept':  # what is as good is told in float32
        queries, memory = _at_least_float32(queries), _at_least_float32(memory)
    height, width, frames, _ = memory.shape
    tables = [_at_least_float32(group.labels.permute(2, 3, 0, 1).flatten(0, 1)) for group in voters]
    outs = [labels.new_empty(height * width, labels.shape[2]) for labels in tables]
    searches = [
        _Search(memory, [group[1 + place] for group in voters], window) for place, window in enumerate(plan.windows)
    ]
    vote = _vote_cut if ties == 'cut' else _vote_kept
    for batch in plan.batches:
        block = queries[batch.queries]
        near = [
            search.near(block, area) if search.frames else None
            for search, area in zip(searches, batch.areas, strict=True)
        ]
        for group, (table, out) in enumerate(zip(tables, outs, strict=True)):
            parts = [(part, search.votes[group]) for part, search in zip(near, searches, strict=True)]
            parts = [(part, votes) for part, votes in parts if votes.places]
            out[batch.queries] = vote(parts, block, memory, table, topk, temperature)
    return [out.t().unflatten(1, (height, width)) for out in outs]


class _Votes(NamedTuple):
    """Which of the frames that are searched vote for a group: their places there, in the memory, and their copies."""

    places: list[int]
    chosen: Tensor | None  # the places, None: all
    frames: Tensor
    copies: Tensor
    repeated: bool  # whether any copy is not the only one


class _Search:
    """The frames that any group searches in one way, inside the window or as a whole."""

    def __init__(self, memory: Tensor, copies: Sequence[Sequence[int]], window: Window | None) -> None:
        self.frames = [frame for frame in range(memory.shape[2]) if any(numbers[frame] for numbers in copies)]
        # Nearly always all frames are searched inside the window, and one of them as a whole.
        searched = self.frames if window is None else list(range(memory.shape[2]))
        every = len(searched) == memory.shape[2]
        self.memory = memory if every else memory.index_select(2, to_device(torch.tensor(searched), memory.device))
        self.votes = []
        for numbers in copies:
            places = [place for place, frame in enumerate(searched) if numbers[frame]]
            frames = [searched[place] for place in places]
            self.votes.append(
                _Votes(
                    places,
                    None if len(places) == len(searched) else to_device(torch.tensor(places), memory.device),
                    to_device(torch.tensor(frames), memory.device),
                    to_device(torch.tensor([numbers[frame] for frame in frames]), memory.device),
                    any(numbers[frame] > 1 for frame in frames),
                )
            )

    def near(self, block: Tensor, area: Area) -> '_Near':
        """Correlations of the queries ``[n, m, C]`` of a batch."""
        (tall, wide), (count, queries, channels) = area.size, block.shape
        frames = self.memory.shape[2]
        products = block.new_empty(count, tall, wide * frames, queries) if count > 1 else None
        for tile, (top, left) in enumerate(area.corners):
            near = self.memory[top : top + tall, left : left + wide].flatten(1, 2)
            asked = block[tile].t().expand(tall, channels, queries)
            if products is None:
                products = torch.bmm(near, asked)
            else:
                torch.bmm(near, asked, out=products[tile])
        return _Near(products.view(count, tall * wide, frames, queries), area)


class _Near(NamedTuple):
    """Correlations of the queries of a batch with the cells around them."""

    products: Tensor  # [n, cells, frames, m]
    area: Area

    def of(self, votes: _Votes) -> Tensor:
        """Those with the frames that vote."""
        return self.products if votes.chosen is None else self.products.index_select(2, votes.chosen)


class _Found(NamedTuple):
    """The best pairs of each query."""

    scores: Tensor  # [n, m, k]
    cells: Tensor  # [n, m, k], numbers of cells of the frame
    frames: Tensor  # [n, m, k], numbers of frames of the memory
    copies: Tensor  # [n, m, k]


def _vote_cut(
    parts: list[tuple[_Near, _Votes]], block: Tensor, memory: Tensor, table: Tensor, topk: int, temperature: float
) -> Tensor:
    """``[n, m, K]``: labels of exactly ``topk`` pairs, weighed."""
    found = _best(parts, topk)
    scores = _exact(found, block, memory).flatten(0, 1)
    ordered, order = scores.sort(dim=1, descending=True)
    number = found.copies.flatten(0, 1).gather(1, order)
    number = torch.minimum(number, (topk - (number.cumsum(1) - number)).clamp(min=0))
    weights = number * ((ordered - ordered[:, :1]) / temperature).exp()
    weights = torch.empty_like(scores).scatter_(1, order, weights / weights.sum(1, keepdim=True))
    return _read(table, found, weights.unflatten(0, found.cells.shape[:2]))


def _vote_kept(
    parts: list[tuple[_Near, _Votes]], block: Tensor, memory: Tensor, table: Tensor, topk: int, temperature: float
) -> Tensor:
    """``[n, m, K]``: labels of all pairs that are as good as the last of ``topk``, weighed.

    All that are exactly as good as the last have one weight, so that nobody need know which and how many they are.
    """
    found = _best(parts, topk)
    ordered, order = found.scores.sort(dim=2, descending=True)
    number = found.copies.gather(2, order)
    best, last = ordered[..., :1], ordered.where(number.cumsum(2) - number < topk, torch.inf).amin(2, keepdim=True)
    weights = ((found.scores - best) / temperature).exp().where(found.scores > last, 0) * found.copies
    voted, total = _read(table, found, weights), weights.sum(2, keepdim=True)
    weight = ((last - best) / temperature).exp()
    for near, votes in parts:
        equal = near.of(votes) == last.transpose(1, 2)[:, :, None]
        if near.area.outside is not None:
            equal &= ~near.area.outside[:, :, None]
        equal = equal.to(table.dtype)
        if votes.repeated:
            equal = equal * votes.copies[:, None]
        equal = equal.flatten(1, 2).transpose(1, 2)
        labels = table[near.area.cells[:, :, None], votes.frames].flatten(1, 2)
        voted, total = voted + weight * (equal @ labels), total + weight * equal.sum(2, keepdim=True)
    return voted / total


def _read(table: Tensor, found: _Found, weights: Tensor) -> Tensor:
    """``[n, m, K]``: sum of the labels of the pairs ``[n, m, k]`` with these weights."""
    index = (found.cells * table.shape[1] + found.frames).flatten(0, 1)
    weights = weights.to(table.dtype).flatten(0, 1)
    read = torch.nn.functional.embedding_bag(index, table.flatten(0, 1), per_sample_weights=weights, mode='sum')
    return read.view(*found.cells.shape[:2], -1)


def _best(parts: list[tuple[_Near, _Votes]], topk: int) -> _Found:
    """The best ``topk`` pairs of each query, of each way to search."""
    found = [_best_of(near, votes, topk) for near, votes in parts]
    return found[0] if len(found) == 1 else _Found(*(torch.cat(part, 2) for part in zip(*found, strict=True)))


def _best_of(near: _Near, votes: _Votes, topk: int) -> _Found:
    products, area = near.of(votes), near.area
    count, cells, frames, queries = products.shape
    per_cell = products.amax(2)
    if area.outside is not None:
        per_cell = per_cell.masked_fill_(area.outside, -torch.inf)
    per_cell = per_cell.transpose(1, 2).contiguous()
    keep = min(topk, cells * frames)
    best, cell = per_cell.topk(min(keep, cells), dim=2)
    # Scores of all frames of the chosen cells.
    pairs = (cell[..., None] * frames + torch.arange(frames, device=cell.device)).flatten(2)
    scores = products.flatten(1, 2).gather(1, pairs.transpose(1, 2)).transpose(1, 2)
    scores = scores.masked_fill((best == -torch.inf).repeat_interleave(frames, 2), -torch.inf)
    scores, candidate = scores.topk(keep, dim=2)
    source = area.cells[:, None].expand(count, queries, cells).gather(2, cell.gather(2, candidate // frames))
    chosen = candidate % frames
    return _Found(scores, source, votes.frames[chosen], votes.copies[chosen])


def _exact(found: _Found, block: Tensor, memory: Tensor) -> Tensor:
    """Scores in float32, computed again where the products were made in half precision."""
    if found.scores.dtype not in (torch.float16, torch.bfloat16):
        return found.scores
    keys = memory.flatten(0, 1)[found.cells, found.frames]
    again = torch.einsum('nmkc,nmc->nmk', keys.float(), block.float())
    return again.masked_fill(found.scores == -torch.inf, -torch.inf)


def _at_least_float32(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _check(query: Tensor, keys: Tensor, voters: Sequence[Voters], topk: int, temperature: float, ties: str) -> None:
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
    if topk < 1 or temperature <= 0 or ties not in ('cut', 'kept'):
        raise ValueError(
            f"Expected topk >= 1, temperature > 0 and ties 'cut' or 'kept', got {topk}, {temperature} and {ties!r}."
        )
