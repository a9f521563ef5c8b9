"""A frame comes in, masks and points go out; new labels may come with any frame."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stt_mm.errors import InputError
from stt_mm.models.point_refiner import PointRefiner
from stt_mm.models.propagator import LabelPropagator, check_finite, comparable
from stt_mm.ops import (
    hidden_points,
    id_strengths,
    ids_to_label,
    label_to_mask,
    label_to_points,
    mask_to_label,
    points_to_label,
    resize_mask_nearest,
    to_device,
)
from stt_mm.ops.devices import full_float32
from stt_mm.ops.points import INPUT, LOST

logger = logging.getLogger(__name__)

# How a mask comes to the size of the network's input, unless it does not, and how from there to the grid.
_PATHS = dict(
    nearest=(None, 'nearest'),
    nearest_twice=('nearest', 'nearest'),
    bilinear=(None, 'bilinear'),
    nearest_bilinear=('nearest', 'bilinear'),
    floor_bilinear=('floor', 'bilinear'),
    aligned=(None, 'aligned'),
    corner=('nearest', 'corner'),
)


@dataclass(frozen=True)
class FrameLabels:
    """What was found in one frame.

    Attributes:
        mask: uint8 ``[H, W]``, ids of all objects given so far, new ones over those that were there; 0 elsewhere.
        points: float32 ``[J, 2]``, (x, y) in pixels of all points given so far, in the order given, (-1, -1) where one
            is lost.
        scores: id to the mean value with which it won its pixels, if asked for.
        occluded: bool ``[J]``, whether something hides a point, or it is lost; ``None`` under a protocol that does not
            ask.
    """

    mask: np.ndarray
    points: np.ndarray
    scores: dict[int, float] | None = None
    occluded: np.ndarray | None = None


class _Group(NamedTuple):
    """Labels that came in together: their channels, and the ids of these; ``None``: points.

    Where it is asked whether points are hidden, the features of the frame that they were given in, and their places.
    """

    channels: int
    ids: tuple[int, ...] | None
    origin: tuple[Tensor, Tensor] | None = None


class Tracker:
    """Masks and points of one video, in one propagator.

    Args:
        propagator: in no other use while the video lasts. Its protocol says how labels become maps and back; where it
            has no codec of points, they travel as maps drawn at the size of the network's input.
        with_scores: whether the strength of each object is wanted.
    """

    def __init__(self, propagator: LabelPropagator, with_scores: bool = False) -> None:
        self._propagator = propagator
        self._with_scores = with_scores
        self._time = -1
        self._groups: list[_Group] = []
        self._names: Tensor | None = None  # uint8, ids of the channels of all masks, the background once
        self._refiner = None if propagator.protocol.refine is None else PointRefiner(propagator.protocol)

    @torch.no_grad()
    @full_float32()
    def step(
        self,
        feature: Tensor | None,
        size: tuple[int, int],
        mask: np.ndarray | None = None,
        points: np.ndarray | None = None,
        frame: Tensor | None = None,
    ) -> 'Pending':
        """The next frame.

        Args:
            feature: ``[C, h, w]``; ``None`` is enough before the first labels.
            size: (height, width) of the frame as decoded.
            mask: integer ``[H, W]``, ids of the objects that are new in this frame, 0 elsewhere.
            points: ``[J, 2]``, (x, y) in pixels of the points that are new in this frame; NaN where unknown.
            frame: ``[C, h', w']``, the network's input, in which points are refined if the protocol asks for it.

        Returns:
            Its labels, which on a GPU may be in work still.

        Raises:
            ValueError: a mask of another size, an id that is in use, or features that are not finite.
        """
        self._time += 1
        cut, size = size, self._propagator.protocol.padded(size)
        found, value, places, hidden = None, None, [], []
        if self._refiner is not None and feature is not None:
            self._refiner.show(frame)
        if self._groups:
            parts = self._propagator.step(feature).split([group.channels for group in self._groups])
            rows = list(zip(parts, self._groups, strict=True))
            places = [self._points(part, size) for part, group in rows if group.ids is None]
            if self._refiner is not None:
                places = self._refiner.refine(places, size)
            if self._propagator.protocol.occlusion is not None:
                origins = [group.origin for group in self._groups if group.ids is None]
                hidden = [
                    self._hidden(feature, place, *origin, size) for place, origin in zip(places, origins, strict=True)
                ]
            masks = [part for part, group in rows if group.ids is not None]
            if masks:
                found, value = self._read_out(masks, self._names, size)
                if self._propagator.protocol.feedback == 'hard':
                    self._feed_back(found, tuple(feature.shape[1:]))
        if points is not None and len(points):
            places.append(self._follow_points(feature, size, torch.as_tensor(points)))
            if self._propagator.protocol.occlusion is not None:
                hidden.append((places[-1] < 0).any(1))
        if mask is not None:
            mask = torch.as_tensor(np.asarray(mask))
            if tuple(mask.shape) != tuple(cut):
                raise InputError(
                    f'The mask for frame {self._time} is {tuple(mask.shape)} (height, width), the frame {cut}.'
                )
            mask = F.pad(mask, (0, size[1] - cut[1], 0, size[0] - cut[0]))
            found = self._follow_mask(feature, size, mask, found)
        scores = None
        if found is not None:
            found, value = (None if part is None else part[: cut[0], : cut[1]] for part in (found, value))
            if self._with_scores:
                scores = id_strengths(found, torch.ones(cut, device=found.device) if value is None else value)
        return Pending(self._time, cut, found, places, scores, self._propagator.finite, hidden)

    def _follow(
        self, feature: Tensor, label: Tensor, ids: tuple[int, ...] | None, points: Tensor | None = None
    ) -> Tensor:
        """The label on the grid that stands for this frame: the given one, or what is carried to the frame itself."""
        label = to_device(label, feature.device)
        if self._groups:
            self._propagator.add(label)
        elif self._propagator.protocol.first_output == 'propagated':
            self._propagator.start(feature, label, -1)
            label = self._propagator.step(feature)
        else:
            self._propagator.start(feature, label)
        asked = points is not None and self._propagator.protocol.occlusion is not None
        self._groups.append(
            _Group(len(label), ids, (self._compared(feature), to_device(points, feature.device)) if asked else None)
        )
        return label

    def _follow_points(self, feature: Tensor, size: tuple[int, int], points: Tensor) -> Tensor:
        """What the protocol puts out for points that are new: themselves, or what their maps leave of them."""
        protocol = self._propagator.protocol
        codec, input_size, grid = protocol.points or INPUT, protocol.input_size(size), tuple(feature.shape[1:])
        sigma, topk = protocol.point_sigma, protocol.point_topk
        label = self._follow(feature, points_to_label(points, size, input_size, grid, codec, sigma), None, points)
        if self._refiner is not None:
            self._refiner.add(to_device(points, feature.device), size)
        if protocol.first_output == 'given':
            return to_device(torch.where(points.isnan().any(1, keepdim=True), LOST, points).float(), feature.device)
        if protocol.first_output != 'resized':
            return self._points(label, size)
        # The released codes read the given points back from the maps that they draw.
        drawn_at = grid if codec == 'grid' else input_size
        drawn = points_to_label(points, size, input_size, drawn_at, codec, sigma)
        return to_device(label_to_points(drawn, size, input_size, codec, topk), feature.device)

    def _points(self, label: Tensor, size: tuple[int, int]) -> Tensor:
        protocol = self._propagator.protocol
        codec = protocol.points or INPUT
        return label_to_points(label, size, protocol.input_size(size), codec, protocol.point_topk)

    def _hidden(self, feature: Tensor, found: Tensor, origin: Tensor, given: Tensor, size: tuple[int, int]) -> Tensor:
        protocol = self._propagator.protocol
        input_size = protocol.input_size(size)
        return hidden_points(self._compared(feature), found, origin, given, size, input_size, protocol.occlusion)

    def _compared(self, feature: Tensor) -> Tensor:
        return comparable(feature, self._propagator.protocol.normalize)

    def _follow_mask(self, feature: Tensor, size: tuple[int, int], mask: Tensor, current: Tensor | None) -> Tensor:
        """The frame's mask with objects that are new over those that were there, YouTube-VOS's rule."""
        ids = torch.unique(mask).tolist()
        if ids[0] < 0 or ids[-1] > 255:
            raise InputError(
                f'The mask for frame {self._time} has ids of {ids[0]} to {ids[-1]}; objects are numbers from 1 to 255, '
                'the background 0.'
            )
        known = {number for group in self._groups for number in (group.ids or ())[1:]}
        if twice := sorted(known & set(ids)):
            raise InputError(
                f'Object {twice[0]} is followed already: the objects added at frame {self._time} need other '
                f'ids than {sorted(known)}.'
            )
        protocol, grid = self._propagator.protocol, tuple(feature.shape[1:])
        large = self._large_enough(mask)
        label, left = mask_to_label(self._on_the_way(large), grid, _PATHS[protocol.first_label][1])
        if lost := sorted({*torch.unique(large).tolist()} - {0, *left}):
            logger.warning(
                'Frame %d: object %s falls between the %dx%d cells of the features and is lost at once. Follow it as a '
                'point, or take a finer grid: a config at stride 4, or a larger model.propagator.protocol.short_side.',
                self._time,
                ', '.join(map(str, lost)),
                *grid,
            )
        label = self._follow(feature, label, left)
        names = [0, *(number for group in self._groups for number in (group.ids or ())[1:])]
        self._names = to_device(torch.tensor(names, dtype=torch.uint8), feature.device)
        mask = mask.to(torch.uint8)
        if protocol.first_output == 'resized':
            at_input = resize_mask_nearest(mask, protocol.input_size(size))
            mask = F.interpolate(at_input[None, None].float(), size=size)[0, 0].to(torch.uint8)
        if protocol.first_output in ('grid', 'propagated'):
            own = to_device(torch.tensor(left, dtype=torch.uint8), feature.device)
            mask, _ = self._read_out([label], own, size)
        mask = to_device(mask, feature.device)
        return mask if current is None else torch.where(mask > 0, mask, current)

    def _large_enough(self, mask: Tensor) -> Tensor:
        """The mask without objects that the protocol leaves out for their size."""
        protocol = self._propagator.protocol
        if protocol.least_pixels == 1:
            return mask
        at_input = resize_mask_nearest(mask, protocol.input_size(tuple(mask.shape)))
        few = torch.bincount(at_input.flatten().long(), minlength=256)[mask.long()] < protocol.least_pixels
        if left_out := torch.unique(mask[few & (mask > 0)]).tolist():
            logger.warning(
                "Frame %d: object %s has fewer than %d pixels at the size of the network's input and is left out, as "
                'the protocol %s says.',
                self._time,
                ', '.join(map(str, left_out)),
                protocol.least_pixels,
                protocol,
            )
        return torch.where(few, 0, mask)

    def _on_the_way(self, mask: Tensor) -> Tensor:
        """The mask at the size from which it comes to the grid."""
        rule, _ = _PATHS[self._propagator.protocol.first_label]
        if rule is None:
            return mask
        return resize_mask_nearest(mask, self._propagator.protocol.input_size(tuple(mask.shape)), rule)

    def _feed_back(self, mask: Tensor, grid: tuple[int, int]) -> None:
        """Let the memory hold the mask in place of the soft labels that it was made of."""
        mask, (_, rule), first = self._on_the_way(mask), _PATHS[self._propagator.protocol.first_label], 1
        for place, group in enumerate(self._groups):
            if group.ids is not None:
                ids = self._names[first : first + len(group.ids) - 1]
                self._propagator.replace(place, ids_to_label(mask, ids, grid, rule))
                first += len(ids)

    def _read_out(self, labels: list[Tensor], ids: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Mask and the values that won, of groups with channels of these ids."""
        protocol = self._propagator.protocol
        compared = tuple(size) if protocol.output == 'original' else protocol.input_size(size)
        found = label_to_mask(labels, ids, compared, protocol.min_max, protocol.gain, protocol.read_out)
        if compared == tuple(size):
            return found
        rule = 'floor' if protocol.output == 'input_floor' else 'nearest'
        return tuple(resize_mask_nearest(part, size, rule) for part in found)


class Pending:
    """The labels of a frame, perhaps on their way from a GPU, which goes on with its work meanwhile."""

    def __init__(
        self,
        time: int,
        size: tuple[int, int],
        mask: Tensor | None,
        points: list[Tensor],
        scores: Tensor | None,
        finite: Tensor | None,
        hidden: list[Tensor],
    ) -> None:
        self._time, self._size = time, size
        points = torch.cat([part.float() for part in points]) if points else None
        tensors = mask, points, scores, finite, torch.cat(hidden) if hidden else None
        self.on_gpu = any(tensor is not None and tensor.is_cuda for tensor in tensors)
        self._tensors = [
            None if tensor is None else tensor.to('cpu', non_blocking=tensor.is_cuda) for tensor in tensors
        ]
        self._arrived = torch.cuda.Event() if self.on_gpu else None
        if self._arrived is not None:
            self._arrived.record()

    def get(self) -> FrameLabels:
        """The labels, waited for.

        Raises:
            ValueError: features of this frame, or one before it, were not finite.
        """
        if self._arrived is not None:
            self._arrived.synchronize()
        mask, points, scores, finite, hidden = (None if tensor is None else tensor.numpy() for tensor in self._tensors)
        check_finite(finite is None or bool(finite), self._time)
        return FrameLabels(
            np.zeros(self._size, np.uint8) if mask is None else mask,
            np.empty((0, 2), np.float32) if points is None else points,
            None if scores is None else _by_id(*scores),
            hidden,
        )


def in_turn(steps: Iterator[Pending]) -> Iterator[FrameLabels]:
    """Results as they come; those of a GPU when the next frame is on its way, so that it never waits for the host."""
    before: Pending | None = None
    try:
        for pending in steps:
            if before is not None:
                yield before.get()
            before = pending if pending.on_gpu else None
            if before is None:
                yield pending.get()
    except Exception:
        # A frame that cannot be read takes none of those before it along.
        if before is not None:
            yield before.get()
        raise
    if before is not None:
        yield before.get()


def _by_id(sums: np.ndarray, pixels: np.ndarray) -> dict[int, float]:
    """Mean per object that has pixels."""
    return {number: float(sums[number] / pixels[number]) for number in range(1, 256) if pixels[number]}
