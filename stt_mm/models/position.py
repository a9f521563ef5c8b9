"""A map that tells a network where in the frame it looks."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from stt_mm.errors import InputError
from stt_mm.ops.position import resize_map, shift_map, shuffle_map, sinusoids
from stt_mm.registry import MODELS
from stt_mm.utils.checks import check_choice, check_count, check_value

KINDS = ('sin2d', 'abs1d', 'abs2d')


@MODELS.register_module()
class PositionMap(nn.Module):
    """Adds a map of positions to features; on a grid of another size it is resized by bicubic interpolation.

    A learned map starts at 0. At its own size it is added as it is; elsewhere its gradient passes the interpolation,
    which has no deterministic form on a GPU. Inside :meth:`shifted` and :meth:`shuffled` each frame of the batch gets
    the map with its places moved, and the map gets no gradient:

    .. code-block:: python

        with backbone.position.shifted(draw_shifts(rng, len(frames), backbone.stem_grid(frames.shape[-2:]))):
            keys = backbone(frames)

    Args:
        channels: of the features.
        size: rows and columns of the map that is stored, those of the features in training.
        kind: ``sin2d``: sines and cosines, nothing is learned (:func:`stt_mm.ops.position.sinusoids`); ``abs1d``: each
            cell has parameters of its own; ``abs2d``: each row and each column has.
        combine: how rows and columns of ``abs2d`` become one map: ``concat``, columns in the first half of the channels
            and rows in the second, or ``add``.

    Raises:
        ValueError: no such kind, or ``channels`` that cannot be halved (``abs2d``) or quartered (``sin2d``).
    """

    def __init__(
        self,
        channels: int = 64,
        size: tuple[int, int] = (128, 128),
        kind: Literal['sin2d', 'abs1d', 'abs2d'] = 'abs1d',
        combine: Literal['concat', 'add'] = 'concat',
    ) -> None:
        super().__init__()
        check_choice('kind', kind, KINDS)
        check_choice('combine', combine, ('concat', 'add'))
        check_count('channels', channels)
        check_value('size', size, tuple[int, int])
        for side in size:
            check_count('size', side)
        parts = dict(sin2d=4, abs1d=1, abs2d=2 if combine == 'concat' else 1)[kind]
        if channels % parts:
            raise InputError(f'A position map of kind {kind} needs a multiple of {parts} channels, got {channels}.')
        self.channels = channels
        self.size = tuple(size)
        self.kind = kind
        self.combine = combine
        if kind == 'abs1d':
            self.map = nn.Parameter(torch.zeros(1, channels, *size))
        elif kind == 'abs2d':
            self.columns = nn.Parameter(torch.zeros(1, channels // parts, 1, size[1]))
            self.rows = nn.Parameter(torch.zeros(1, channels // parts, size[0], 1))
        self._move: Callable[[Tensor], Tensor] | None = None

    @property
    def record(self) -> str:
        """What decides the map besides its parameters: ``abs1d 128 x 128``."""
        kind = f'{self.kind} {self.combine}' if self.kind == 'abs2d' else self.kind
        return f'{kind} {self.size[0]} x {self.size[1]}'

    def on_grid(self, features: Tensor) -> Tensor:
        """The map ``[1, C, H, W]`` at the size of the features, nothing moved."""
        if self.kind == 'abs1d':
            stored = self.map
        elif self.kind == 'abs2d':
            halves = [part.expand(-1, -1, *self.size) for part in (self.columns, self.rows)]
            stored = torch.cat(halves, dim=1) if self.combine == 'concat' else halves[0] + halves[1]
        else:
            dtype = torch.promote_types(features.dtype, torch.float32)
            stored = sinusoids(self.channels, *self.size, features.device, dtype)
        return resize_map(stored, features.shape[-2:])

    def shifted(self, steps: Tensor) -> AbstractContextManager[None]:
        """Inside, the map is moved in a circle, by its own step in each frame.

        Args:
            steps: integers ``[B, 2]``, rows and columns of the grid of the features
                (:func:`stt_mm.ops.position.draw_shifts`).
        """
        return self._moved(lambda values: shift_map(values, steps))

    def shuffled(self, permutations: Tensor) -> AbstractContextManager[None]:
        """Inside, the cells of the map are in another order in each frame.

        Args:
            permutations: integers ``[B, HW]`` (:func:`stt_mm.ops.position.draw_permutations`).
        """
        return self._moved(lambda values: shuffle_map(values, permutations))

    @contextmanager
    def _moved(self, move: Callable[[Tensor], Tensor]) -> Iterator[None]:
        before, self._move = self._move, move
        try:
            yield
        finally:
            self._move = before

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, H, W]`` plus the map.

        Raises:
            ValueError: the map is moved for another number of frames.
        """
        position = self.on_grid(x)
        if self._move is not None:
            position = self._move(position.detach())
            if len(position) != len(x):
                raise InputError(f'The position map is moved for {len(position)} frames, the batch has {len(x)}.')
        return x + position.to(x.dtype)

    def extra_repr(self) -> str:
        return f'{self.record}, channels={self.channels}'
