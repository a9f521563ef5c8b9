"""Points of one video read finer than the grid of its features."""

from collections.abc import Sequence

import torch
from torch import Tensor

from stt_mm.ops import Patches, Pyramid, point_patches, pyramid, refined_points
from stt_mm.ops.points import LOST, rescale_points
from stt_mm.protocols import Protocol

# Mean correlation below which nothing looks like the point, which then is where its map has it.
LEAST = 0.5
# That from which the point is in sight, wherever the features of the place would lead.
SEEN = 0.8


class PointRefiner:
    """Finds each point again, in the frames themselves, near where its label map has it and where it was last.

    What it keeps are patches of the points, and the frame before.

    Args:
        protocol: its ``refine`` says how near, ``refine_patch`` and ``refine_from`` what is compared.
    """

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._given: Patches | None = None  # patches of all points, in the frames that they were given in
        self._last: Tensor | None = None  # [J, 2], where they were found last, in pixels of the network's input
        self._before: Pyramid | None = None
        self._frame: Pyramid | None = None

    def show(self, frame: Tensor | None) -> None:
        """The next frame ``[C, h, w]``, the network's input, needed where there are points."""
        self._before, self._frame = self._frame, None if frame is None else pyramid(frame)

    def _size(self) -> tuple[int, int]:
        """Height and width of the frame shown."""
        if self._frame is None:
            raise ValueError('The protocol has points refined in the frames: give each frame along with its features.')
        return tuple(self._frame.full.shape[1:])

    def add(self, points: Tensor, size: tuple[int, int], numbers: Sequence[int]) -> None:
        """Points ``[J, 2]`` that are given in the frame shown; what is NaN is never found.

        Args:
            points: (x, y) in pixels of a frame of ``size``.
            size: (height, width).
            numbers: of the points: those that follow all that there are, or of some that are given anew.
        """
        points = rescale_points(points.float().nan_to_num(0.0, 0.0, 0.0), size, self._size())
        given, rows = point_patches(self._frame, points, self._protocol.refine_patch), list(numbers)
        if self._given is None:
            self._given, self._last = given, points
        elif rows[0] < len(self._last):
            for kept, new in zip((*self._given, self._last), (*given, points), strict=True):
                kept[rows] = new
        else:
            self._given = Patches(*(torch.cat(levels) for levels in zip(self._given, given, strict=True)))
            self._last = torch.cat([self._last, points])

    def refine(self, coarse: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """All points in the frame shown.

        Args:
            coarse: ``[J, 2]``, (x, y) in pixels of a frame of ``size``, as their maps have them, by their numbers;
                negative where a point is lost.
            size: (height, width).

        Returns:
            ``[J, 2]``, likewise, inside of the frame; what was lost stays so. And bool ``[J]``: whether a point is in
            sight, as what is there looks like it.
        """
        protocol, input_size = self._protocol, self._size()
        references = [self._given] if protocol.refine_from != 'last' else []
        if protocol.refine_from != 'given':
            references.append(point_patches(self._before, self._last, protocol.refine_patch))
        lost = (coarse < 0).any(1, keepdim=True)
        starts = self._last, rescale_points(coarse, size, input_size)
        found, likeness = refined_points(self._frame, starts, references, protocol.refine)
        found = torch.where(likeness[:, None] < LEAST, starts[1], found)
        self._last = torch.where(lost, self._last, found)
        x, y = rescale_points(found, input_size, size).unbind(1)
        found = torch.stack([x.clamp(0, size[1] - 1), y.clamp(0, size[0] - 1)], dim=1)
        return torch.where(lost, LOST, found), (likeness >= SEEN) & ~lost[:, 0]
