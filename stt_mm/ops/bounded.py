"""The best pairs of each query, found exactly without most of the products.

In a rotated basis a feature falls into a short part and a rest, and by the inequality of Cauchy and Schwarz

    q . k  <=  q_short . k_short + |q_rest| |k_rest|.

Features of a video lie near a small subspace, so that with a good basis the rests are small and the bound, 32 numbers
instead of 256, rules out nearly all pairs that are not among the best. Only the others' products are made (bounded.c).
"""

import ctypes
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stt_mm.ops.native import library, run_together
from stt_mm.ops.tiling import Plan, Way, Window

# As in bounded.c.
SHORT, BLOCK, SLACK = 32, 32, 2.5e-7
# A bound costs a product of SHORT numbers: with fewer channels than this all are made at once.
FEWEST_CHANNELS = 96
# Cells that the basis is taken from, and times that it is improved.
SAMPLE, STEPS = 2048, 2
# With fewer pairs for each of these cells, the basis takes longer than it saves.
FEWEST_PAIRS = 4096
# Of the squared distances of the features from their mean, the share that the rests may hold; beyond it most bounds
# rule out nothing. The mean is in all products alike: large as it may be, it tells no pair from another.
LARGEST_REST = 0.35


class _Task(ctypes.Structure):
    """``Task`` of bounded.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ('queries', 'memory')),
        *((name, ctypes.c_int64) for name in ('row', 'column', 'frame')),
        *((name, ctypes.c_int32) for name in ('height', 'width', 'rows', 'columns', 'margin', 'channels')),
        ('frames', ctypes.c_void_p),
        *((name, ctypes.c_int32) for name in ('count', 'capacity')),
        *((name, ctypes.c_void_p) for name in ('basis', 'shorts', 'offsets')),
        ('blocks', ctypes.c_int32),
        *((name, ctypes.c_void_p) for name in ('half', 'takes_part')),
        *((name, ctypes.c_int32) for name in ('reach', 'topk')),
        *((name, ctypes.c_void_p) for name in ('scores', 'index', 'found')),
        ('products', ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ('next', 'bad')),
    ]


class Pairs(NamedTuple):
    """The best pairs of all queries of a frame, best first."""

    scores: Tensor  # float32 [HW, k], -inf where there are fewer
    index: Tensor  # int64 [HW, k], number of the cell in the memory, times T, plus that of the frame
    found: Tensor  # bool [HW], whether the query was searched
    products: int  # that were made whole


class BoundedSearch:
    """Searches of one memory.

    Args:
        queries: float32 ``[HW, C]``.
        memory: float32 ``[H, W, T, C]``, with the margin of the plan; the channels lie side by side.
        frames: numbers of the frames that any search may ask for.
        plan: of the frame.
        basis: ``[C, n]`` with orthonormal columns, at most ``SHORT - 1`` of them.
    """

    def __init__(self, queries: Tensor, memory: Tensor, frames: Sequence[int], plan: Plan, basis: Tensor) -> None:
        rows, columns, capacity, channels = memory.shape
        (height, width), (row, column, frame, _) = plan.grid, memory.stride()
        frames = torch.tensor(frames, dtype=torch.int32)
        offsets = (torch.arange(columns)[:, None] * column + frames * frame).flatten()
        blocks = -(-len(offsets) // BLOCK)
        wide = queries.new_zeros(channels, SHORT)
        wide[:, : basis.shape[1]] = basis
        self._tensors = dict(
            queries=queries.contiguous(),
            memory=memory,
            frames=frames,
            basis=wide,
            shorts=queries.new_empty(rows, blocks, SHORT, BLOCK),
            offsets=offsets,
        )
        sizes = dict(height=height, width=width, rows=rows, columns=columns, margin=plan.margin, channels=channels)
        strides = dict(row=row, column=column, frame=frame)
        self._sizes = dict(sizes, **strides, count=len(frames), capacity=capacity, blocks=blocks)
        self.finite = not self._run('pack').bad

    def best(self, way: Way, frames: Sequence[bool], topk: int) -> Pairs:
        """The best pairs.

        Args:
            way: a window, or ``None`` for the whole frame.
            frames: whether each frame of the memory takes part.
            topk: number of pairs.
        """
        sizes, queries = self._sizes, len(self._tensors['queries'])
        side = max(sizes['rows'], sizes['columns'])
        reach = side if way is None else min(way.reach, side)
        found = dict(
            scores=torch.empty(queries, topk),
            index=torch.empty(queries, topk, dtype=torch.int64),
            found=torch.zeros(queries, dtype=torch.bool),
        )
        takes_part = torch.tensor(frames)[self._tensors['frames']].repeat(sizes['columns'])
        task = self._run(
            'search', half=_half_widths(way, reach), takes_part=takes_part, reach=reach, topk=topk, **found
        )
        index = found['index'].clamp_(min=0)
        return Pairs(found['scores'], index, found['found'], task.products)

    def _run(self, function: str, **values: Tensor | int) -> _Task:
        values = {**self._tensors, **self._sizes, **values}
        given = {name: value.data_ptr() if isinstance(value, Tensor) else value for name, value in values.items()}
        task = _Task(**given)
        run_together(getattr(library('bounded'), function), task)
        return task


def bounded_search(queries: Tensor, memory: Tensor, frames: Sequence[int], plan: Plan) -> BoundedSearch | None:
    """The search, where it is faster than plain products: of float32 features on a CPU that lie near a small subspace.

    Args:
        queries, memory, frames, plan: as of :class:`BoundedSearch`.
    """
    cells, channels = queries.shape
    near = [[side if way is None else min(2 * way.reach + 1, side) for side in plan.grid] for way in plan.ways]
    pairs = cells * len(frames) * sum(map(math.prod, near))
    suited = memory.dtype == queries.dtype == torch.float32 and queries.device.type == 'cpu'
    large = channels >= FEWEST_CHANNELS and pairs >= FEWEST_PAIRS * min(cells, SAMPLE)
    if not (suited and large) or library('bounded') is None:
        return None
    basis, rest = short_basis(queries)
    rest += SLACK * max(channels, 256)
    spread = 1 - queries.mean(0).square().sum() / queries.square().sum(1).mean()
    if not rest / spread.clamp(min=0) <= LARGEST_REST:
        return None
    search = BoundedSearch(queries, memory, frames, plan, basis)
    return search if search.finite else None


def short_basis(features: Tensor, directions: int = SHORT - 1) -> tuple[Tensor, float]:
    """Orthonormal directions that hold most of some features, by orthogonal iteration; any would give a valid bound.

    Args:
        features: ``[N, C]``.
        directions: their number; fewer if there are fewer channels or features.

    Returns:
        ``[C, directions]``, and the share of the squared norm that they leave.
    """
    sample = features[:: -(-len(features) // SAMPLE)]
    basis = sample[torch.linspace(0, len(sample) - 1, min(directions, len(sample))).long()].t()
    for _ in range(STEPS):
        basis = torch.linalg.qr(sample.t() @ (sample @ basis)).Q
    return basis, float(1 - (sample @ basis).square().sum() / sample.square().sum())


def _half_widths(way: Window | None, reach: int) -> Tensor:
    """int32 ``[2 * reach + 1]``: per row of a window the largest offset inside, up to reach, -1 if there is none."""
    steps = torch.arange(reach + 1)
    if way is None:
        return torch.full((2 * reach + 1,), reach, dtype=torch.int32)
    inside = ~way.outside(torch.arange(-reach, reach + 1)[:, None], steps)
    return (inside.sum(1) - 1).to(torch.int32)
