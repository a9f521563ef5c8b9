"""Label propagation: every query position takes the labels of its best matches in the memory.

The keys of one cell in all memory frames lie side by side, so that the neighbourhood of a tile of queries is read as a
few large matrix products without a copy. The products are computed once for any number of labels, tile by tile; neither
a mask over all pairs nor the full affinity is built.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from stt_mm.ops.search import Search, at_least_float32, with_last_places
from stt_mm.ops.tiling import LongSearch, Plan, Window
from stt_mm.ops.votes import Vote, voted


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
        query: ``[C, H, W]``, features of the new frame; L2-normalised by the caller if cosines are wanted. Half
            precision selects the matches in half precision and weighs them in float32.
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


def propagate_many(query: Tensor, keys: Tensor, voters: Sequence[Voters], plan: Plan, vote: Vote) -> list[Tensor]:
    """:func:`propagate` for groups of labels that see different frames of one memory; products are computed once.

    Args:
        query: ``[C, H, W]``.
        keys: ``[T, C, H + 2 margin, W + 2 margin]``, with the margin of the plan, which is 0 but for a border of zeros.
            Not copied if they lie in memory as ``[H, W, T, C]``.
        voters: one entry per group, whose labels have the size of the keys; the same holds for their layout.
        plan: of the grid, with all ways to search that any group uses.
        vote: how the cells that are found vote.

    Returns:
        One ``[K, H, W]`` per group.

    Raises:
        ValueError: if the shapes, numbers and ways do not fit each other.
    """
    _check(query, keys, voters, plan, vote)
    queries, memory = query.flatten(1).t(), keys.permute(2, 3, 0, 1)
    if memory.stride(3) != 1:
        memory = memory.contiguous()
    if vote.kind == 'topk' and vote.ties == 'kept':  # what is as good is told in float32
        queries, memory = at_least_float32(queries), at_least_float32(memory)
    searches = [
        Search(memory, [group.copies[place] for group in voters], plan, way, vote.temperature)
        for place, way in enumerate(plan.ways)
    ]
    labels = [at_least_float32(group.labels.permute(2, 3, 0, 1)) for group in voters]
    tables = [[search.table(part, group) for search in searches] for group, part in enumerate(labels)]
    last = any(isinstance(way, LongSearch) and way.labels == 'last' for way in plan.ways)
    outs = [part.new_empty(len(queries), part.shape[3]) for part in labels]
    for batch in plan.batches:
        block = queries[batch.queries]
        near = [
            search.near(block, area) if search.frames else None
            for search, area in zip(searches, batch.areas, strict=True)
        ]
        for group, out in enumerate(outs):
            parts = [
                search.part(found, group, table)
                for search, found, table in zip(searches, near, tables[group], strict=True)
            ]
            parts = [part for part in parts if part is not None]
            found = voted(with_last_places(parts) if last else parts, block, memory, vote)
            out[batch.queries] = found.to(out.dtype)
    return [out.t().unflatten(1, tuple(query.shape[1:])) for out in outs]


def _check(query: Tensor, keys: Tensor, voters: Sequence[Voters], plan: Plan, vote: Vote) -> None:
    frames, margin = len(keys), plan.margin
    if plan.grid != tuple(query.shape[-2:]):
        raise ValueError(f'The plan is for a grid of {plan.grid}, the query has {tuple(query.shape[-2:])}.')
    size = tuple(side + 2 * margin for side in plan.grid)
    for labels, copies in voters:
        if (
            query.dim() != 3
            or tuple(keys.shape) != (frames, len(query), *size)
            or labels.dim() != 4
            or (labels.shape[0], *labels.shape[2:]) != (frames, *size)
        ):
            raise ValueError(
                'Expected query [C, H, W], keys [T, C, H, W] and labels [T, K, H, W] of one size, the latter two with '
                f'a margin of {margin}, got {tuple(query.shape)}, {tuple(keys.shape)} and {tuple(labels.shape)}.'
            )
        numbers = [number for way in copies for number in way]
        if (
            len(copies) != len(plan.ways)
            or len(numbers) != frames * len(copies)
            or min(numbers) < 0
            or not any(numbers)
        ):
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
