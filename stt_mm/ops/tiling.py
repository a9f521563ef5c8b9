"""How the queries of a frame are cut into tiles, and where each tile searches.

A CPU wants the products of a tile in its caches: tiles are small, go one by one, and at the border of the frame their
neighbourhood is cut off. A GPU wants few launches: all neighbourhoods have one size, those at the border are moved
inward, and as many tiles go together as the memory holds. What depends on sizes alone, the tables of positions and the
masks of windows, is made once for all frames of a video.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from stt_mm.ops.devices import to_device


@dataclass(frozen=True)
class Window:
    """The cells around a query that it may match.

    ``Window('square', 12)`` has 25 x 25 cells, ``Window('circle', 12, strict=True)`` the 437 cells nearer than 12.

    Args:
        shape: ``square`` measures the larger of the two offsets, ``circle`` the Euclidean distance.
        radius: half width in cells, may be fractional.
        strict: whether a cell at exactly the radius lies outside.

    Raises:
        ValueError: an unknown shape, or a radius that leaves no cell.
    """

    shape: Literal['square', 'circle'] = 'square'
    radius: float = 12
    strict: bool = False

    def __post_init__(self) -> None:
        if self.shape not in ('square', 'circle'):
            raise ValueError(f"The shape of a window is 'square' or 'circle', got {self.shape!r}.")
        if self.radius < 0 or (self.strict and self.radius == 0):
            raise ValueError(f'A {"strict " * self.strict}window of radius {self.radius} has no cell.')

    @property
    def reach(self) -> int:
        """Largest offset inside, in whole cells."""
        return math.ceil(self.radius) - 1 if self.strict else math.floor(self.radius)

    def outside(self, dy: Tensor, dx: Tensor) -> Tensor:
        """Whether offsets, broadcast against each other, lie outside; bool."""
        dy, dx, radius = dy.abs(), dx.abs(), self.radius
        if self.shape == 'circle':
            dy, dx, radius = dy**2, dx**2, radius**2
            return dy + dx >= radius if self.strict else dy + dx > radius
        return (dy >= radius) | (dx >= radius) if self.strict else (dy > radius) | (dx > radius)


@dataclass(frozen=True)
class LongSearch:
    """A square window around the place where a coarse search finds the query: for frames that are long past (MAST).

    The coarse search matches every ``dilation``-th cell in each direction. The mean of their offsets, weighted by a
    softmax, is the centre of the window; it lies between cells, so that what is there is read bilinearly.

    Args:
        radius: half width of the window in cells.
        search: cells of the coarse search in each direction.
        dilation: their distance, in cells.
        labels: where the labels are read: at the place that was found in their ``own`` frame, or as the released MAST
            does in all long searches at that of the ``last`` of their frames.
    """

    radius: int
    search: int
    dilation: int
    labels: Literal['own', 'last'] = 'own'

    @property
    def reach(self) -> int:
        """Largest offset of a cell that is read."""
        return self.dilation * self.search + self.radius + 1


Way = Window | LongSearch | None  # how the cells that a query may match are found; None: all of the frame

_Span = tuple[int, int]  # first cell along one side of the frame, and number of cells
_Block = tuple[_Span, _Span]  # rows and columns


class Area(NamedTuple):
    """Where the ``n`` tiles of a batch search in one way."""

    corners: list[tuple[int, int]]  # row and column of the first cell, per tile
    size: tuple[int, int]  # cells along each side
    cells: Tensor  # [n, cells], their numbers in the frame and its margin; of a LongSearch [n, m], those of the queries
    outside: Tensor | None  # bool [n, cells, m], pairs with the m queries that the window forbids
    inside: tuple[Tensor, Tensor] | None  # bool [n, side, m], rows and columns in the window, if that is a square


class Batch(NamedTuple):
    """Tiles of one size that go together."""

    queries: Tensor  # [n, m], their numbers in the frame
    areas: tuple[Area, ...]  # one per way to search


class Plan:
    """Tiles of a frame in batches, and for each of several windows where they search.

    Args:
        grid: ``(H, W)`` of the features.
        ways: how the cells that a query may match are found: a :class:`Window`, a :class:`LongSearch`, or ``None``,
            the whole frame.
        tile: side of the square of queries that share their neighbourhood.
        together: tiles in a batch. With more than one all tiles have one size, so that some of them overlap.
        device: of the features.
        margin: cells around the frame that are searched like those inside.

    Attributes:
        grid, ways, tile, together, margin: as given.
        far: cells around the frame that a :class:`LongSearch` may read; 0 without one.
        batches: list of :class:`Batch` in which every cell of the frame is a query at least once.

    Raises:
        ValueError: ``tile`` or ``together`` below 1.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        ways: Sequence[Way],
        tile: int,
        together: int = 1,
        device: torch.device | None = None,
        margin: int = 0,
    ) -> None:
        if tile < 1 or together < 1:
            raise ValueError(f'Expected tile >= 1 and together >= 1, got {tile} and {together}.')
        self.grid = grid
        self.ways = tuple(ways)
        self.tile = tile
        self.together = together
        self.margin = margin
        self.far = max((way.reach for way in ways if isinstance(way, LongSearch)), default=0)
        self._device = torch.empty(0, device=device).device
        self._masks: dict[tuple, tuple] = {}
        same = together > 1
        rows, columns = (_spans(length, tile, same) for length in grid)
        tiles = [(row, column) for row in rows for column in columns]
        self.batches = [self._batch(tiles[i : i + together], same) for i in range(0, len(tiles), together)]

    def _batch(self, tiles: list[_Block], same: bool) -> Batch:
        return Batch(self._cells(tiles, 0), tuple(self._area(tiles, way, same) for way in self.ways))

    def _area(self, tiles: list[_Block], way: Way, same: bool) -> Area:
        if isinstance(way, LongSearch):
            (_, tall), (_, wide) = tiles[0]
            size = tall + 2 * way.reach, wide + 2 * way.reach
            return Area(
                [(row[0], column[0]) for row, column in tiles], size, self._cells(tiles, self.far, True), None, None
            )
        tiles = [tuple((start + self.margin, size) for start, size in tile) for tile in tiles]
        sides = [length + 2 * self.margin for length in self.grid]
        reaches = sides if way is None else (way.reach, way.reach)
        near = [
            tuple(_around(*span, reach, length, same) for span, reach, length in zip(tile, reaches, sides, strict=True))
            for tile in tiles
        ]
        outside, inside = None, None
        if way is not None:
            masks = [self._mask(way, tile, area) for tile, area in zip(tiles, near, strict=True)]
            outside, rows, columns = (_stacked(part) for part in zip(*masks, strict=True))
            inside = (rows, columns) if way.shape == 'square' else None
        corners = [(rows[0], columns[0]) for rows, columns in near]
        return Area(corners, (near[0][0][1], near[0][1][1]), self._cells(near, self.margin), outside, inside)

    def _cells(self, blocks: list[_Block], margin: int, beyond: bool = False) -> Tensor:
        """``[n, cells]``: numbers of cells in a frame with a margin, where rows and columns of the blocks begin there.

        With ``beyond`` they begin in the frame itself.
        """
        width, shift = self.grid[1] + 2 * margin, margin if beyond else 0
        cells = []
        for (top, tall), (left, wide) in blocks:
            rows, columns = (
                torch.arange(first + shift, first + shift + length) for first, length in ((top, tall), (left, wide))
            )
            cells.append((rows[:, None] * width + columns).flatten())
        return to_device(torch.stack(cells), self._device)

    def _mask(self, window: Window, tile: _Block, area: _Block) -> tuple[Tensor, Tensor, Tensor]:
        """What is outside ``[cells, m]``, and rows and columns inside; tiles that lie alike share them."""
        alike = (
            window,
            *((start - first, size, cells) for (start, size), (first, cells) in zip(tile, area, strict=True)),
        )
        if alike not in self._masks:
            dy, dx = (
                torch.arange(first, first + cells, device=self._device)[:, None]
                - torch.arange(start, start + size, device=self._device)
                for (start, size), (first, cells) in zip(tile, area, strict=True)
            )
            outside = window.outside(dy[:, None, :, None], dx[None, :, None, :]).flatten(0, 1).flatten(1)
            nowhere = torch.zeros((), dtype=dy.dtype, device=self._device)
            rows = ~window.outside(dy, nowhere)[:, :, None].expand(-1, -1, dx.shape[1]).flatten(1)
            columns = ~window.outside(nowhere, dx)[:, None].expand(-1, dy.shape[1], -1).flatten(1)
            self._masks[alike] = outside, rows, columns
        return self._masks[alike]


def plan_for_memory(
    grid: tuple[int, int], searched: Sequence[tuple[Way, int]], itemsize: int, max_memory: int, largest: int
) -> tuple[int, int]:
    """The side of a tile, and how many tiles together, whose correlations fit into a number of bytes.

    Args:
        grid: ``(H, W)``.
        searched: ways to search, each with a number of frames.
        itemsize: bytes of one feature value.
        max_memory: bytes.
        largest: side to start from, a power of two.

    Returns:
        A power of two that is at most ``largest``, and at least 1, and a number from 1.
    """
    side = largest
    while True:
        size = 0
        for way, frames in searched:
            # Those at the border of the frame have less, but not of a long search, which reads zeros beyond it.
            most = [math.inf] * 2 if isinstance(way, LongSearch) else grid
            reaches = grid if way is None else (way.reach, way.reach)
            tall, wide = (min(length, side + 2 * reach) for length, reach in zip(most, reaches, strict=True))
            # Besides the products there are their maxima over the frames, twice, and the mask.
            size += tall * wide * side * side * (frames * itemsize + 2 * itemsize + 1)
        if size <= max_memory or side == 1:
            return side, max(1, max_memory // size)
        side //= 2


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    return parts[0][None] if len(parts) == 1 else torch.stack(parts)


def _spans(length: int, tile: int, same: bool) -> list[_Span]:
    """Tiles along one side; of one size if they are to be the same, which the frame bounds."""
    if same:
        tile = min(tile, length)
        return [(min(start, length - tile), tile) for start in range(0, length, tile)]
    return [(start, min(tile, length - start)) for start in range(0, length, tile)]


def _around(start: int, size: int, reach: int, length: int, same: bool) -> _Span:
    """A tile and the cells within reach along one side."""
    if same:
        cells = min(size + 2 * reach, length)
        return min(max(start - reach, 0), length - cells), cells
    first = max(start - reach, 0)
    return first, min(start + size + reach, length) - first
