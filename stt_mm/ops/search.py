"""Where a query looks for its matches in the memory, how well each cell matches, and the rule of voting."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stt_mm.ops.compactness import Mixture
from stt_mm.ops.devices import to_device
from stt_mm.ops.tiling import Area, LongSearch, Plan, Way


@dataclass(frozen=True)
class Vote:
    """A rule of voting.

    Args:
        kind: ``topk``: the softmax over the best pairs of all frames together. ``softmax``: over all pairs.
            ``frame_softmax``: over all pairs of each frame, all frames having one weight. ``frame_topk``: the same, of
            which only the best pairs of each frame vote, with less than 1 in all (UVC). ``compact``: the softmax over
            all pairs, gathered in each frame around its highest cells (LIIR).
        temperature: divides the correlations before the softmax.
        topk: number of pairs of ``topk``, and of each frame of ``frame_topk``.
        ties: ``cut`` keeps exactly ``topk`` pairs, ``kept`` also all that are as good as the last of them.
        components: Gaussians per frame of ``compact``.
        sigma: their standard deviation in cells; ``None``: estimated.
        mass: of a frame of ``compact``: its ``share`` in the softmax over all pairs, ``equal`` ones, or what Gaussians
            have whose heights sum to 1 (``peak``, the unofficial code).
        threshold: value that the highest cell must exceed for ``compact`` to take the place of the softmax.

    Raises:
        ValueError: an unknown word, or a number out of range.
    """

    kind: Literal['topk', 'softmax', 'frame_softmax', 'frame_topk', 'compact'] = 'topk'
    temperature: float = 0.07
    topk: int = 10
    ties: Literal['cut', 'kept'] = 'cut'
    components: int = 2
    sigma: float | None = None
    mass: Literal['share', 'equal', 'peak'] = 'share'
    threshold: float = 0.0

    def __post_init__(self) -> None:
        words = dict(
            kind=('topk', 'softmax', 'frame_softmax', 'frame_topk', 'compact'),
            ties=('cut', 'kept'),
            mass=('share', 'equal', 'peak'),
        )
        for name, allowed in words.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f'{name} must be one of {", ".join(map(repr, allowed))}, got {getattr(self, name)!r}.')
        if min(self.topk, self.components) < 1 or self.temperature <= 0 or (self.sigma is not None and self.sigma <= 0):
            raise ValueError(f'Expected topk and components of at least 1, temperature and sigma above 0, got {self}.')


class Part(NamedTuple):
    """What one way to search found for a group of labels, for the ``m`` queries of each of ``n`` tiles."""

    products: Tensor  # [n, cells, f, m], correlations with the frames that vote
    outside: Tensor | None  # bool [n, cells, 1, m], pairs that the window forbids
    inside: tuple[Tensor, Tensor] | None  # bool [n, rows, 1, m] and [n, columns, 1, m], where that is a square
    size: tuple[int, int]  # rows and columns
    copies: Tensor  # [f]
    repeated: bool  # whether any copy is not the only one
    newest: int  # time of the last of the frames
    labels: 'Shared | Between'


class Shared(NamedTuple):
    """Labels of cells that all queries of a tile search."""

    table: Tensor  # [cells of the memory, T, K]
    cells: Tensor  # [n, cells]
    frames: Tensor  # [f], their places in the table

    def read(self, weights: Tensor) -> Tensor:
        """``[n, m, K]``: sum of the labels with weights ``[n, cells, f, m]``."""
        near = self.table[self.cells[:, :, None], self.frames].flatten(1, 2)
        return weights.to(near.dtype).flatten(1, 2).transpose(1, 2) @ near

    def read_mixture(self, mixture: Mixture) -> Tensor:
        """As :meth:`read`, of Gaussians: first along the rows, then along the columns."""
        tall, wide = mixture.vertical.shape[2], mixture.horizontal.shape[2]
        near = self.table[self.cells[:, :, None], self.frames].unflatten(1, (tall, wide))
        horizontal = (mixture.heights[:, :, None] * mixture.horizontal).to(near.dtype)
        # Per frame [Y K, X] x [X, k m].
        lines = near.permute(0, 3, 1, 4, 2).flatten(2, 3) @ horizontal.permute(0, 3, 2, 1, 4).flatten(3)
        vertical = mixture.vertical.to(near.dtype).permute(0, 3, 2, 1, 4).flatten(3)
        read = (lines.unflatten(2, (tall, -1)) * vertical[:, :, :, None]).sum((1, 2))
        return read.unflatten(2, mixture.heights.shape[1::2]).sum(2).transpose(1, 2)


class Between(NamedTuple):
    """Labels of windows that lie between cells, those of each query somewhere else."""

    table: Tensor  # [cells of the padded memory, T, K]
    places: 'Places'
    frames: Tensor  # [f], their places in the table

    def read(self, weights: Tensor) -> Tensor:
        """As :meth:`Shared.read`."""
        (count, cells, _, queries), places = weights.shape, self.places
        side = math.isqrt(cells)
        weights = weights.unflatten(1, (side, side))
        for dim, part in enumerate(places.fraction.unbind(1)):
            part = part[:, None, None]
            pad = [0] * (6 - 2 * dim)
            weights = F.pad(weights * (1 - part), (*pad, 0, 1)) + F.pad(weights * part, (*pad, 1, 0))
        steps = torch.arange(side + 1, device=weights.device)
        steps = (steps[:, None] * places.width + steps).flatten()
        rows = (places.first[:, None] + steps[:, None, None]) * self.table.shape[1] + self.frames[:, None]
        index, weights = (part.flatten(1, 2).transpose(1, 2).flatten(0, 1) for part in (rows, weights.flatten(1, 2)))
        table = self.table.flatten(0, 1)
        read = F.embedding_bag(index, table, per_sample_weights=weights.to(table.dtype).contiguous(), mode='sum')
        return read.view(count, queries, -1)

    def read_mixture(self, mixture: Mixture) -> Tensor:
        """As :meth:`Shared.read_mixture`."""
        return self.read(mixture.maps().flatten(1, 2))


class Places(NamedTuple):
    """Where the windows of a :class:`stt_mm.ops.tiling.LongSearch` lie."""

    first: Tensor  # [n, f, m], number of the cell of the padded memory at or before their upper left corner
    fraction: Tensor  # [n, 2, f, m], how far behind it the corner is, down and right
    width: int  # of the padded memory

    def of(self, frames: Tensor) -> 'Places':
        """Those of some of the frames."""
        return Places(self.first.index_select(1, frames), self.fraction.index_select(2, frames), self.width)


class Search:
    """The frames that any group searches in one way.

    Args:
        memory: ``[H, W, T, C]``, with the margin of the plan.
        copies: per group, how often each frame stands in the memory to be searched in this way.
        times: of the frames, which tell the last one.
        plan: of the frame.
        way: one of the plan's.
        temperature: of the coarse search.
    """

    def __init__(
        self,
        memory: Tensor,
        copies: Sequence[Sequence[int]],
        times: Sequence[int],
        plan: Plan,
        way: Way,
        temperature: float,
    ) -> None:
        self.way, self._temperature, self._times = way, temperature, times
        self.frames = [frame for frame in range(memory.shape[2]) if any(numbers[frame] for numbers in copies)]
        if isinstance(way, LongSearch):
            self.frames.sort(key=times.__getitem__)
        if not self.frames:
            memory = memory[:, :, :0]
        elif self.frames != list(range(memory.shape[2])):
            memory = memory.index_select(2, to_device(torch.tensor(self.frames), memory.device))
        if self.frames and isinstance(way, LongSearch):
            memory = F.pad(memory, (0, 0, 0, 0, *[way.reach - plan.margin] * 4))
        self._memory, self._plan = memory, plan
        self._votes = [self._votes_of(numbers) for numbers in copies]

    def _votes_of(self, numbers: Sequence[int]) -> '_Votes | None':
        places = [place for place, frame in enumerate(self.frames) if numbers[frame]]
        if not places:
            return None
        frames = [self.frames[place] for place in places]
        chosen, frames, copies = (
            to_device(torch.tensor(values), self._memory.device)
            for values in (places, frames, [numbers[frame] for frame in frames])
        )
        return _Votes(
            None if len(places) == len(self.frames) else chosen,
            frames,
            copies,
            max(numbers) > 1,
            self._times[self.frames[places[-1]]],
        )

    def near(self, block: Tensor, area: Area) -> '_Near | None':
        """Correlations of the queries ``[n, m, C]`` of a batch; ``None`` without a frame to search."""
        if not self.frames:
            return None
        (tall, wide), (count, queries, channels) = area.size, block.shape
        frames = self._memory.shape[2]
        products = block.new_empty(count, tall, wide * frames, queries) if count > 1 else None
        for tile, (top, left) in enumerate(area.corners):
            near = self._memory[top : top + tall, left : left + wide].flatten(1, 2)
            asked = block[tile].t().expand(tall, channels, queries)
            if products is None:
                products = torch.bmm(near, asked)
            else:
                torch.bmm(near, asked, out=products[tile])
        products = products.view(count, tall, wide, frames, queries)
        if isinstance(self.way, LongSearch):
            return _Near(*self._windows(products, area), area)
        return _Near(products.flatten(1, 2), None, area)

    def table(self, labels: Tensor, group: int) -> Tensor | None:
        """Labels ``[H, W, T, K]`` of a group as :meth:`part` wants them."""
        if isinstance(self.way, LongSearch) and self._votes[group] is not None:
            labels = labels.index_select(2, self._votes[group].frames)
            labels = F.pad(labels, (0, 0, 0, 0, *[self._plan.far - self._plan.margin] * 4))
        return labels.flatten(0, 1)

    def part(self, near: '_Near | None', group: int, table: Tensor) -> Part | None:
        """What there is for a group; ``None`` if none of the frames votes for it."""
        votes = self._votes[group]
        if votes is None:
            return None
        products, places, area = near
        if votes.chosen is not None:
            products = products.index_select(2, votes.chosen)
            places = None if places is None else places.of(votes.chosen)
        if places is None:
            labels, size = Shared(table, area.cells, votes.frames), area.size
        else:
            frames = torch.arange(len(votes.frames), device=table.device)
            labels, size = Between(table, places, frames), (2 * self.way.radius + 1,) * 2
        outside = None if area.outside is None else area.outside[:, :, None]
        inside = None if area.inside is None else tuple(part[:, :, None] for part in area.inside)
        return Part(products, outside, inside, size, votes.copies, votes.repeated, votes.newest, labels)

    def _windows(self, products: Tensor, area: Area) -> tuple[Tensor, Places]:
        """Correlations ``[n, cells, f, m]`` of the windows, from those of all cells in reach ``[n, Y, X, f, m]``."""
        way, (count, tall, wide, frames, queries) = self.way, products.shape
        height, width = tall - 2 * way.reach, wide - 2 * way.reach
        batch, down, right, frame, _ = products.stride()
        coarse = products.as_strided(
            (count, 2 * way.search + 1, 2 * way.search + 1, frames, height, width),
            (batch, way.dilation * down, way.dilation * right, frame, down + width, right + 1),
            products.storage_offset() + (way.reach - way.dilation * way.search) * (down + right),
        )
        weights = coarse.flatten(4).flatten(1, 2) / self._temperature
        weights = weights.softmax(1).unflatten(1, (2 * way.search + 1,) * 2)
        steps = way.dilation * torch.arange(-way.search, way.search + 1, device=weights.device, dtype=weights.dtype)
        offset = torch.stack([(weights.sum(3 - axis) * steps[:, None, None]).sum(1) for axis in (1, 2)], 1)
        whole = offset.floor()
        fraction, whole = offset - whole, whole.long() - way.radius
        # The window begins between whole cells, so that one more in each direction is read.
        steps = torch.arange(2 * way.radius + 2, device=weights.device)
        grid = torch.arange(queries, device=weights.device)
        rows, columns = whole[:, 0] + grid // width + way.reach, whole[:, 1] + grid % width + way.reach
        cells = (rows * wide + columns)[:, None] + (steps[:, None] * wide + steps).flatten()[:, None, None]
        near = products.flatten(1, 2).gather(1, cells).unflatten(1, (len(steps), len(steps)))
        for dim, part in enumerate(fraction.unbind(1), 1):
            part = part[:, None, None]
            near = near.narrow(dim, 0, len(steps) - 1) * (1 - part) + near.narrow(dim, 1, len(steps) - 1) * part
        width = self._plan.grid[1] + 2 * self._plan.far
        first = area.cells[:, None] + whole[:, 0] * width + whole[:, 1]
        return near.flatten(1, 2), Places(first, fraction, width)


class _Votes(NamedTuple):
    """Which of the frames that are searched vote for a group."""

    chosen: Tensor | None  # their places among those, None: all
    frames: Tensor  # and in the memory
    copies: Tensor
    repeated: bool
    newest: int


class _Near(NamedTuple):
    products: Tensor
    places: Places | None
    area: Area


def with_last_places(parts: list[Part]) -> list[Part]:
    """The labels of all long searches read where the last frame among theirs was found, as the released MAST does."""
    long = [part for part in parts if isinstance(part.labels, Between)]
    if not long:
        return parts
    places = max(long, key=lambda part: part.newest).labels.places

    def moved(labels: Between) -> Between:
        count = labels.places.first.shape[1]
        first, fraction = (
            places.first[:, -1:].expand(-1, count, -1),
            places.fraction[:, :, -1:].expand(-1, -1, count, -1),
        )
        return labels._replace(places=Places(first, fraction, places.width))

    return [part._replace(labels=moved(part.labels)) if isinstance(part.labels, Between) else part for part in parts]


def at_least_float32(values: Tensor) -> Tensor:
    """Half precision as float32, anything else as it is."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
