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


_Span = tuple[int, int]  # first cell along one side of the frame, and number of cells


class Area(NamedTuple):
    """Where the ``n`` tiles of a batch search in one way."""

    corners: list[tuple[int, int]]  # row and column of the first cell, per tile
    size: tuple[int, int]  # cells along each side
    cells: Tensor  # [n, cells], their numbers in the frame
    outside: Tensor | None  # bool [n, cells, m], pairs with the m queries that the window forbids


class Batch(NamedTuple):
    """Tiles of one size that go together."""

    queries: Tensor  # [n, m], their numbers in the frame
    areas: tuple[Area, ...]  # one per way to search


class Plan:
    """Tiles of a frame in batches, and for each of several windows where they search.

    Args:
        grid: ``(H, W)`` of the features.
        windows: cells that a query may match, one way to search each; ``None``: the whole frame.
        tile: side of the square of queries that share their neighbourhood.
        together: tiles in a batch. With more than one all tiles have one size, so that some of them overlap.
        device: of the features.

    Attributes:
        grid, windows, tile, together: as given.
        batches: list of :class:`Batch` in which every cell of the frame is a query at least once.

    Raises:
        ValueError: ``tile`` or ``together`` below 1.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        windows: Sequence[Window | None],
        tile: int,
        together: int = 1,
        device: torch.device | None = None,
    ) -> None:
        if tile < 1 or together < 1:
            raise ValueError(f'Expected tile >= 1 and together >= 1, got {tile} and {together}.')
        self.grid = grid
        self.windows = tuple(windows)
        self.tile = tile
        self.together = together
        self._numbers = torch.arange(grid[0] * grid[1], device=device).view(grid)
        self._masks: dict[tuple, Tensor] = {}
        same = together > 1
        rows, columns = (_spans(length, tile, same) for length in grid)
        tiles = [(row, column) for row in rows for column in columns]
        self.batches = [self._batch(tiles[i : i + together], same) for i in range(0, len(tiles), together)]

    def _batch(self, tiles: list[tuple[_Span, _Span]], same: bool) -> Batch:
        queries = torch.stack([self._cells(tile) for tile in tiles])
        return Batch(queries, tuple(self._area(tiles, window, same) for window in self.windows))

    def _area(self, tiles: list[tuple[_Span, _Span]], window: Window | None, same: bool) -> Area:
        reaches = self.grid if window is None else (window.reach, window.reach)
        near = [
            tuple(
                _around(*span, reach, length, same)
                for span, reach, length in zip(tile, reaches, self.grid, strict=True)
            )
            for tile in tiles
        ]
        outside = None
        if window is not None:
            masks = [self._outside(window, tile, area) for tile, area in zip(tiles, near, strict=True)]
            outside = masks[0][None] if len(masks) == 1 else torch.stack(masks)
        corners = [(rows[0], columns[0]) for rows, columns in near]
        size = near[0][0][1], near[0][1][1]
        return Area(corners, size, torch.stack([self._cells(area) for area in near]), outside)

    def _cells(self, area: tuple[_Span, _Span]) -> Tensor:
        (top, tall), (left, wide) = area
        return self._numbers[top : top + tall, left : left + wide].flatten()

    def _outside(self, window: Window, tile: tuple[_Span, _Span], area: tuple[_Span, _Span]) -> Tensor:
        """bool ``[cells, m]``; tiles that lie alike in their neighbourhood share one."""
        alike = (
            window,
            *((start - first, size, cells) for (start, size), (first, cells) in zip(tile, area, strict=True)),
        )
        if alike not in self._masks:
            dy, dx = (
                torch.arange(first, first + cells, device=self._numbers.device)[:, None]
                - torch.arange(start, start + size, device=self._numbers.device)
                for (start, size), (first, cells) in zip(tile, area, strict=True)
            )
            outside = window.outside(dy[:, None, :, None], dx[None, :, None, :])
            self._masks[alike] = outside.flatten(0, 1).flatten(1)
        return self._masks[alike]


def plan_for_memory(
    grid: tuple[int, int], frames: int, window: Window | None, itemsize: int, max_memory: int, largest: int
) -> tuple[int, int]:
    """The side of a tile, and how many tiles together, whose correlations fit into a number of bytes.

    Args:
        grid: ``(H, W)``.
        frames: memory frames.
        window: the widest one that is searched.
        itemsize: bytes of one feature value.
        max_memory: bytes.
        largest: side to start from, a power of two.

    Returns:
        A power of two that is at most ``largest``, and at least 1, and a number from 1.
    """
    reaches = grid if window is None else (window.reach, window.reach)
    side = largest
    while True:
        tall, wide = (min(length, side + 2 * reach) for length, reach in zip(grid, reaches, strict=True))
        # Besides the products there are their maxima over the frames, twice, and the mask.
        size = tall * wide * side * side * (frames * itemsize + 2 * itemsize + 1)
        if size <= max_memory or side == 1:
            return side, max(1, max_memory // size)
        side //= 2


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
