"""Label propagation: every query position takes the labels of its best matches in the memory.

The keys of one cell in all memory frames lie side by side, so that the neighbourhood of a tile of queries is read as a
few large matrix products without a copy. The products are computed once for any number of labels, tile by tile; neither
a mask over all pairs nor the full affinity is built. Where only the best pairs vote, bounds spare most of the products.
"""

from collections.abc import Sequence
from functools import cache
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stt_mm.ops.bounded import bounded_search
from stt_mm.ops.search import Part, Search, Vote, at_least_float32, with_last_places
from stt_mm.ops.tiling import Batch, LongSearch, Plan, Window
from stt_mm.ops.votes import read_compact, softmax_weights


class Voters(NamedTuple):
    """Labels in the memory, and how often each frame stands there for them.

    Args:
        labels: ``[T, K, H, W]``.
        copies: per way to search of the plan T numbers; each copy of a frame takes part, 0: the frame has no vote.
    """

    labels: Tensor
    copies: Sequence[Sequence[int]]


def propagate(
    query: Tensor,
    keys: Tensor,
    labels: Tensor,
    window: Window | None,
    vote: Vote,
    copies: Sequence[int] | None = None,
    global_copies: Sequence[int] | None = None,
    border: Literal['excluded', 'zero'] = 'excluded',
    tile: int = 8,
    together: int = 1,
) -> Tensor:
    """Attention inside a window, jointly over all memory frames.

    Args:
        query: ``[C, H, W]``, features of the new frame; L2-normalised by the caller if cosines are wanted. The best
            pairs of features in half precision are chosen by products in it; all else is done in float32.
        keys: ``[T, C, H, W]``, features of the memory frames.
        labels: ``[T, K, H, W]``, labels of the memory frames.
        window: cells that a query may match; ``None``: the whole frame.
        vote: how they vote.
        copies: how often each frame stands in the memory; once if ``None``.
        global_copies: further copies that are searched without the window; none if ``None``.
        border: cells of the window outside of the frame are ``excluded``, or take part with a correlation and labels of
            0 (``zero``).
        tile: side of the square of queries that share their neighbourhood. Sets speed and memory, not the result.
        together: tiles that are handled together; likewise.

    Returns:
        ``[K, H, W]``: convex combinations of the labels, but for a border of zeros and Gaussians whose sum is not 1.

    Raises:
        ValueError: if the shapes do not fit or a number is out of range.
    """
    once = [1] * len(keys) if copies is None else copies
    ways, copies = [window], [once]
    if global_copies is not None and any(global_copies):
        ways, copies = [window, None], [once, global_copies]
    margin = window.reach if border == 'zero' and window is not None else 0
    plan = Plan(tuple(query.shape[-2:]), ways, tile, together, query.device, margin)
    keys, labels = (F.pad(part, [margin] * 4) for part in (keys, labels))
    return propagate_many(query, keys, [Voters(labels, copies)], plan, vote)[0]


def propagate_many(
    query: Tensor,
    keys: Tensor,
    voters: Sequence[Voters],
    plan: Plan,
    vote: Vote,
    times: Sequence[int] | None = None,
    bounds: bool = True,
) -> list[Tensor]:
    """:func:`propagate` for groups of labels that see different frames of one memory; products are computed once.

    Args:
        query: ``[C, H, W]``.
        keys: ``[T, C, H + 2 margin, W + 2 margin]``, with the margin of the plan, which is 0 but for a border of zeros.
            Not copied if they lie in memory as ``[H, W, T, C]``.
        voters: one entry per group, whose labels have the size of the keys; the same holds for their layout.
        plan: of the grid, with all ways to search that any group uses.
        vote: how the cells that are found vote.
        times: T numbers, larger for later frames; in the order of the memory if ``None``.
        bounds: whether to do without the products that :mod:`stt_mm.ops.bounded` rules out, where that is faster. Sets
            speed and memory, not the result.

    Returns:
        One ``[K, H, W]`` per group.

    Raises:
        ValueError: if the shapes, numbers and ways do not fit each other.
    """
    _check(query, keys, voters, plan, vote)
    queries, memory = query.flatten(1).t(), keys.permute(2, 3, 0, 1)
    if memory.stride(3) != 1:
        memory = memory.contiguous()
    if vote.kind != 'topk' or vote.ties == 'kept':  # every product counts, or what is as good is told, in float32
        queries, memory = at_least_float32(queries), at_least_float32(memory)
    labels = [at_least_float32(group.labels.permute(2, 3, 0, 1)) for group in voters]
    outs = [part.new_empty(len(queries), part.shape[3]) for part in labels]
    batches = plan.batches
    if bounds and vote.kind == 'topk' and vote.ties == 'cut':
        batches = _by_bounds(queries, memory, voters, labels, plan, vote, outs)
    if batches:
        times = range(len(keys)) if times is None else times
        searches = [
            Search(memory, [group.copies[place] for group in voters], times, plan, way, vote.temperature)
            for place, way in enumerate(plan.ways)
        ]
        tables = [[search.table(part, group) for search in searches] for group, part in enumerate(labels)]
    last = any(isinstance(way, LongSearch) and way.labels == 'last' for way in plan.ways)
    for batch in batches:
        block = queries[batch.queries]
        near = [search.near(block, area) for search, area in zip(searches, batch.areas, strict=True)]
        for group, out in enumerate(outs):
            parts = [
                search.part(found, group, table)
                for search, found, table in zip(searches, near, tables[group], strict=True)
            ]
            parts = [part for part in parts if part is not None]
            found = _voted(with_last_places(parts) if last else parts, block, memory, vote)
            out[batch.queries] = found.to(out.dtype)
    return [out.t().unflatten(1, tuple(query.shape[1:])) for out in outs]


def _check(query: Tensor, keys: Tensor, voters: Sequence[Voters], plan: Plan, vote: Vote) -> None:
    frames, margin = len(keys), plan.margin
    if plan.grid != tuple(query.shape[-2:]):
        raise ValueError(f'The plan is for a grid of {plan.grid}, the query has {tuple(query.shape[-2:])}.')
    size = tuple(side + 2 * margin for side in plan.grid)
    for labels, copies in voters:
        fits = keys.shape == (frames, len(query), *size) and (*labels.shape[:1], *labels.shape[2:]) == (frames, *size)
        if query.dim() != 3 or not fits:
            raise ValueError(
                'Expected query [C, H, W], keys [T, C, H, W] and labels [T, K, H, W] of one size, the latter two with '
                f'a margin of {margin}, got {tuple(query.shape)}, {tuple(keys.shape)} and {tuple(labels.shape)}.'
            )
        numbers = [number for way in copies for number in way]
        if [len(way) for way in copies] != [frames] * len(plan.ways) or min(numbers) < 0 or not any(numbers):
            raise ValueError(
                f'copies are numbers from 0 for each of {len(plan.ways)} ways to search and {frames} frames, at least '
                f'one of them positive; got {[list(way) for way in copies]}.'
            )
    if margin and any(not isinstance(way, Window | LongSearch) for way in plan.ways):
        raise ValueError('Where the whole frame is searched there is no border: the margin must be 0.')
    if vote.kind == 'topk' and vote.ties == 'kept' and len(plan.ways) > 1:
        raise ValueError("With ties='kept' all copies are searched in one way: products of another differ by rounding.")
    if vote.kind == 'topk' and any(isinstance(way, LongSearch) for way in plan.ways):
        raise ValueError("A long search needs the vote of all its cells: choose another kind than 'topk'.")
    if vote.kind == 'compact' and any(isinstance(way, Window) and way.shape != 'square' for way in plan.ways):
        raise ValueError("Gaussians need square windows, got a vote of the kind 'compact' with another one.")


def _by_bounds(
    queries: Tensor,
    memory: Tensor,
    voters: Sequence[Voters],
    labels: Sequence[Tensor],
    plan: Plan,
    rule: Vote,
    outs: Sequence[Tensor],
) -> list[Batch]:
    """Vote for the queries whose best pairs are found with bounds; returns the batches that are left.

    Args:
        queries: ``[HW, C]``.
        memory: ``[H, W, T, C]``.
        voters, plan: as of :func:`propagate_many`.
        labels: per group ``[H, W, T, K]``.
        rule: how they vote.
        outs: per group ``[HW, K]``, written.
    """
    if any(values.requires_grad for values in (queries, memory, *labels)):
        return plan.batches
    frames = memory.shape[2]
    used = [frame for frame in range(frames) if any(way[frame] for group in voters for way in group.copies)]
    search = bounded_search(queries, memory, used, plan)
    if search is None:
        return plan.batches
    best, found, searched = cache(search.best), torch.ones(len(queries), dtype=torch.bool), []
    for group in voters:
        ways = [(way, numbers) for way, numbers in zip(plan.ways, group.copies, strict=True) if any(numbers)]
        searched.append([(best(way, tuple(map(bool, numbers)), rule.topk), numbers) for way, numbers in ways])
        found = torch.stack([found, *(pairs.found for pairs, _ in searched[-1])]).all(0)
        if not found.any():
            return plan.batches
    del best, search  # what it keeps of the memory is not needed any more
    for group, table, out in zip(searched, labels, outs, strict=True):
        parts = [
            _Found(pairs.scores[None], pairs.index[None], torch.tensor(numbers)[pairs.index % frames][None])
            for pairs, numbers in group
        ]
        out.copy_(_cut(_joined(parts), table.flatten(0, 2), rule)[0])
    return [batch for batch in plan.batches if not found[batch.queries].all()]


def _voted(parts: list[Part], block: Tensor, memory: Tensor, rule: Vote) -> Tensor:
    """Labels of the queries of a batch.

    Args:
        parts: what the ways to search found.
        block: ``[n, m, C]``, features of the queries.
        memory: ``[H, W, T, C]``.
        rule: how they vote.

    Returns:
        ``[n, m, K]``.
    """
    if rule.kind == 'topk':
        if rule.ties == 'kept':
            return _kept(parts, rule)
        found = _best(parts, rule.topk)
        return _cut(found._replace(scores=_exact(found, block, memory)), parts[0].labels.table.flatten(0, 1), rule)
    weights = softmax_weights(parts, rule)
    masses = [values.sum(1) for values in weights]
    total, frames = sum(mass.sum(1) for mass in masses), sum(part.copies.sum() for part in parts)
    if rule.kind == 'frame_topk':
        total = frames.expand_as(total)
    if rule.kind == 'compact':
        if rule.mass == 'equal':
            masses = [total[:, None] * (part.copies / frames)[:, None] for part in parts]
        read = [read_compact(*each, total, rule) for each in zip(parts, weights, masses, strict=True)]
    else:
        read = [part.labels.read(values) for part, values in zip(parts, weights, strict=True)]
    return sum(read) / total[..., None]


class _Found(NamedTuple):
    """The best pairs of each query."""

    scores: Tensor  # [n, m, k]
    index: Tensor  # [n, m, k], number of the cell of the memory, times T, plus that of the frame
    copies: Tensor  # [n, m, k]


def _cut(found: _Found, table: Tensor, rule: Vote) -> Tensor:
    """``[n, m, K]``: labels of exactly ``topk`` pairs, weighed; ``table`` ``[cells * T, K]``."""
    scores = found.scores.flatten(0, 1)
    ordered, order = scores.sort(dim=1, descending=True)
    number = found.copies.flatten(0, 1).gather(1, order)
    number = torch.minimum(number, (rule.topk - (number.cumsum(1) - number)).clamp(min=0))
    weights = number * ((ordered - ordered[:, :1]) / rule.temperature).exp()
    weights = torch.empty_like(scores).scatter_(1, order, weights / weights.sum(1, keepdim=True))
    return _read(table, found, weights.unflatten(0, found.scores.shape[:2]))


def _kept(parts: list[Part], rule: Vote) -> Tensor:
    """``[n, m, K]``: labels of all pairs that are as good as the last of ``topk``, weighed.

    All that are exactly as good as the last have one weight, so that nobody need know which and how many they are.
    """
    found, table = _best(parts, rule.topk), parts[0].labels.table.flatten(0, 1)
    ordered, order = found.scores.sort(dim=2, descending=True)
    number = found.copies.gather(2, order)
    best, last = ordered[..., :1], ordered.where(number.cumsum(2) - number < rule.topk, torch.inf).amin(2, keepdim=True)
    weights = ((found.scores - best) / rule.temperature).exp().where(found.scores > last, 0) * found.copies
    voted, total = _read(table, found, weights), weights.sum(2, keepdim=True)
    weight = ((last - best) / rule.temperature).exp()
    for part in parts:
        equal = part.products == last.transpose(1, 2)[:, :, None]
        if part.outside is not None:
            equal &= ~part.outside
        equal = equal.to(table.dtype) * part.copies[:, None] if part.repeated else equal.to(table.dtype)
        voted, total = voted + weight * part.labels.read(equal), total + weight * equal.sum((1, 2))[..., None]
    return voted / total


def _read(table: Tensor, found: _Found, weights: Tensor) -> Tensor:
    """``[n, m, K]``: sum of the labels ``[cells * T, K]`` of the pairs ``[n, m, k]`` with these weights."""
    weights = weights.to(table.dtype).flatten(0, 1)
    read = F.embedding_bag(found.index.flatten(0, 1), table, per_sample_weights=weights, mode='sum')
    return read.view(*found.index.shape[:2], -1)


def _best(parts: list[Part], topk: int) -> _Found:
    """The best ``topk`` pairs of each query, of each way to search."""
    return _joined([_best_of(part, topk) for part in parts])


def _joined(found: list[_Found]) -> _Found:
    return found[0] if len(found) == 1 else _Found(*(torch.cat(part, 2) for part in zip(*found, strict=True)))


def _best_of(part: Part, topk: int) -> _Found:
    """Without a sort of all: the ``k`` best pairs lie among the ``k`` cells whose best frame is best."""
    count, cells, frames, queries = part.products.shape
    per_cell = part.products.amax(2)
    if part.outside is not None:
        per_cell = per_cell.masked_fill_(part.outside[:, :, 0], -torch.inf)
    per_cell = per_cell.transpose(1, 2).contiguous()
    keep = min(topk, cells * frames)
    best, cell = per_cell.topk(min(keep, cells), dim=2)
    pairs = (cell[..., None] * frames + torch.arange(frames, device=cell.device)).flatten(2)
    scores = part.products.flatten(1, 2).gather(1, pairs.transpose(1, 2)).transpose(1, 2)
    scores = scores.masked_fill((best == -torch.inf).repeat_interleave(frames, 2), -torch.inf)
    scores, candidate = scores.topk(keep, dim=2)
    source = part.labels.cells[:, None].expand(count, queries, cells).gather(2, cell.gather(2, candidate // frames))
    chosen = candidate % frames
    return _Found(scores, source * part.labels.table.shape[1] + part.labels.frames[chosen], part.copies[chosen])


def _exact(found: _Found, block: Tensor, memory: Tensor) -> Tensor:
    """Scores in float32, computed again where the products were made in half precision."""
    if found.scores.dtype not in (torch.float16, torch.bfloat16):
        return found.scores
    keys = memory.flatten(0, 2)[found.index]
    again = torch.einsum('nmkc,nmc->nmk', keys.float(), block.float())
    return again.masked_fill(found.scores == -torch.inf, -torch.inf)
