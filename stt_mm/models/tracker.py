"""A frame comes in, masks and points go out; new labels may come with any frame."""

import logging
from collections.abc import Collection, Iterable
from itertools import count

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stt_mm.errors import InputError
from stt_mm.models.confidence import confidences
from stt_mm.models.corrections import Group, in_order, take
from stt_mm.models.frame_labels import Edits, FrameLabels
from stt_mm.models.point_refiner import PointRefiner
from stt_mm.models.propagator import Followed, LabelPropagator, check_finite, comparable
from stt_mm.models.read_out import make_room, read_mask
from stt_mm.models.small_objects import warn_of_lost, without_small
from stt_mm.ops import (
    hidden_points,
    id_strengths,
    ids_to_label,
    label_to_points,
    mask_to_label,
    points_to_label,
    resize_mask_nearest,
    to_device,
)
from stt_mm.ops.devices import OnTheWay, full_float32
from stt_mm.ops.labels import means_by_id, on_the_way
from stt_mm.ops.points import INPUT, LOST

logger = logging.getLogger(__name__)


class Tracker:
    """Masks and points of one video, in one propagator.

    Args:
        propagator: in no other use while the video lasts. Its protocol says how labels become maps and back; where it
            has no codec of points, they travel as maps drawn at the size of the network's input.
        with_scores: whether the strength of each object is wanted.
        with_confidence: whether that of each object and point is.
        numbers: by which messages call the frames; ``None``: 0, 1, and so on.
    """

    def __init__(
        self,
        propagator: LabelPropagator,
        with_scores: bool = False,
        with_confidence: bool = False,
        numbers: Iterable[int] | None = None,
    ) -> None:
        self._propagator = propagator
        self._with_scores, self._with_confidence = with_scores, with_confidence
        self._asked = propagator.protocol.occlusion is not None  # which points are hidden
        self._numbers = count() if numbers is None else iter(numbers)
        self._time = 0  # the number of the frame in work
        self._groups: list[Group] = []
        self._num_points = 0
        self._lost: set[int] = set()  # ids of objects that were given, but fell between the cells
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
        edits: Edits | None = None,
        frame: Tensor | None = None,
    ) -> 'Pending':
        """The next frame.

        What is followed already and given again is a correction: it holds from here on. What was found for it since it
        was last given has no vote any more, and the other objects leave it room in this frame.

        Args:
            feature: ``[C, h, w]``; ``None`` is enough before the first labels.
            size: (height, width) of the frame as decoded.
            mask: integer ``[H, W]``, ids of the objects that are new in this frame or corrected, 0 elsewhere.
            points: ``[J, 2]``, (x, y) in pixels of the points that are new in this frame; NaN where unknown.
            edits: points that are corrected, and what is followed no longer from this frame on.
            frame: ``[C, h', w']``, the network's input, in which points are refined if the protocol asks for it.

        Returns:
            Its labels, which on a GPU may be in work still.

        Raises:
            ValueError: a mask of another size, a point that nobody follows, or features that are not finite.
        """
        self._time = next(self._numbers)
        edits = edits or Edits()
        self._take(set(edits.delete) - self._lost, True)
        self._lost.difference_update(edits.delete)
        self._take(edits.delete_points, False)
        cut, size = size, self._propagator.protocol.padded(size)
        mask = None if mask is None else self._as_ids(mask, cut, size)
        if self._refiner is not None and feature is not None:
            self._refiner.show(frame)
        parts = []
        if self._groups:
            parts = list(self._propagator.step(feature).split([group.channels for group in self._groups]))
        objects = set() if mask is None else self._followed(True) & set(torch.unique(mask).tolist())
        seen = self._read(parts, size)[0] if objects else None  # before what is corrected goes
        again = self._take(objects, True, parts), self._take(edits.moved, False, parts)
        rows = list(zip(parts, self._groups, strict=True))
        places, hidden = [group.named(self._points(part, size)) for part, group in rows if not group.masks], []
        if self._asked:
            origins = [group.origin for group in self._groups if not group.masks]
            hidden = [self._hidden(feature, *each, size) for each in zip(places, origins, strict=True)]
        if self._refiner is not None and places:
            # Whether the way back is right was asked of the places on the maps, which the features have chosen.
            places, alike = self._refined(places, size)
            hidden = [one & ~other for one, other in zip(hidden, alike, strict=True)] if self._asked else []
        found, value = self._read(parts, size)
        if found is not None:
            make_room(self._propagator, self._groups, parts, self._names, found, seen, mask)
        carried = found
        for numbers, earlier in again[1]:
            xy = torch.tensor([list(edits.moved[number]) for number in numbers], dtype=torch.float32)
            places.append(self._follow_points(feature, size, xy, numbers, earlier))
        if points is not None and len(points):
            numbers = tuple(range(self._num_points, self._num_points + len(points)))
            places.append(self._follow_points(feature, size, torch.as_tensor(points), numbers))
            self._num_points += len(points)
        if self._asked:
            hidden += [(place < 0).any(1) for place in places[len(hidden) :]]
        if mask is not None:
            found = self._follow_objects(feature, size, mask, found, again[0])
        scores, sure = None, (None, None)
        if self._with_confidence:
            objects, of_groups = confidences(self._propagator.protocol, self._groups, parts, carried, places, size)
            sure = objects, self._in_order(of_groups, torch.nan)
        if found is not None:
            found, value = (None if part is None else part[: cut[0], : cut[1]] for part in (found, value))
            if self._with_scores:
                scores = id_strengths(found, torch.ones(cut, device=found.device) if value is None else value)
        places = self._in_order([place.float() for place in places], LOST, 2)
        hidden = self._in_order(hidden or [torch.ones(0, dtype=torch.bool)], True) if self._asked else None
        return Pending(self._time, cut, [found, places, scores, self._propagator.finite, hidden, *sure])

    def _read(self, parts: list[Tensor], size: tuple[int, int]) -> tuple[Tensor | None, Tensor | None]:
        """The mask of all objects, and the values that won; ``None`` where there are no objects."""
        masks = [part for part, group in zip(parts, self._groups, strict=True) if group.masks]
        return read_mask(self._propagator.protocol, masks, self._names, size) if masks else (None, None)

    def _followed(self, masks: bool) -> set[int]:
        """Ids of the objects, or numbers of the points."""
        return {number for group in self._groups if group.masks is masks for number in group.ids}

    def _take(
        self, ids: Collection[int], masks: bool, parts: list[Tensor] | None = None
    ) -> list[tuple[tuple[int, ...], Followed]]:
        """Take objects or points out of their groups; with their ids, what is kept of them."""
        followed, what = self._followed(masks), 'object' if masks else 'point'
        if unknown := sorted(set(ids) - followed):
            known = ', '.join(map(str, sorted(followed))) or 'none'
            raise InputError(
                f'There is no {what} {unknown[0]} to correct or delete at frame {self._time}, only: {known}.'
            )
        taken = take(self._propagator, self._groups, parts, ids, masks) if ids else []
        if taken and masks:
            self._rename(self._names.device)
        return taken

    def _rename(self, device: torch.device) -> None:
        """Note the ids of the channels of all masks."""
        names = [0, *(number for group in self._groups if group.masks for number in group.names)]
        self._names = to_device(torch.tensor(names, dtype=torch.uint8), device)

    def _in_order(self, rows: list[Tensor], missing: float | bool, *shape: int) -> Tensor | None:
        """What there is for each group of points as one row per point, in the order given; ``None`` without points."""
        numbers = [number for group in self._groups if not group.masks for number in group.ids]
        if numbers == list(range(self._num_points)):
            return torch.cat(rows) if rows else None
        return in_order(rows, numbers, torch.full((self._num_points, *shape), missing))

    def _refined(self, places: list[Tensor], size: tuple[int, int]) -> tuple[list[Tensor], list[Tensor]]:
        """The places of each group of points, read finer, and which of them are in sight."""
        found = self._refiner.refine(self._in_order([place.float() for place in places], LOST, 2), size)
        return tuple([part[list(group.ids)] for group in self._groups if not group.masks] for part in found)

    def _follow(self, feature: Tensor, label: Tensor, group: Group, earlier: Followed | None) -> Tensor:
        """The label on the grid that stands for this frame: the given one, or what is carried to the frame itself."""
        label = to_device(label, feature.device)
        if self._groups or earlier is not None:
            self._propagator.add(label, earlier)
        elif self._propagator.protocol.first_output == 'propagated':
            self._propagator.start(feature, label, -1)
            label = self._propagator.step(feature)
        else:
            self._propagator.start(feature, label)
        self._groups.append(group)
        return label

    def _follow_points(
        self,
        feature: Tensor,
        size: tuple[int, int],
        points: Tensor,
        numbers: tuple[int, ...],
        earlier: Followed | None = None,
    ) -> Tensor:
        """What the protocol puts out for points that are given: themselves, or what their maps leave of them."""
        protocol = self._propagator.protocol
        codec, input_size, grid = protocol.points or INPUT, protocol.input_size(size), tuple(feature.shape[1:])
        sigma, topk = protocol.point_sigma, protocol.point_topk
        origin = (self._compared(feature), to_device(points, feature.device)) if self._asked else None
        label = points_to_label(points, size, input_size, grid, codec, sigma)
        if self._refiner is not None:
            self._refiner.add(to_device(points, feature.device), size, numbers)
        label = self._follow(feature, label, Group(numbers, False, len(label), origin), earlier)
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

    def _hidden(self, feature: Tensor, found: Tensor, origin: tuple[Tensor, Tensor], size: tuple[int, int]) -> Tensor:
        protocol = self._propagator.protocol
        return hidden_points(
            self._compared(feature), found, *origin, size, protocol.input_size(size), protocol.occlusion
        )

    def _compared(self, feature: Tensor) -> Tensor:
        return comparable(feature, self._propagator.protocol.normalize)

    def _as_ids(self, mask: np.ndarray, cut: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """The ids of a given mask, at the size that frames are padded to."""
        mask = torch.as_tensor(np.asarray(mask))
        if tuple(mask.shape) != tuple(cut):
            raise InputError(
                f'The mask for frame {self._time} is {tuple(mask.shape)} (height, width), the frame {cut}.'
            )
        if mask.min() < 0 or mask.max() > 255:
            raise InputError(
                f'The mask for frame {self._time} has ids of {mask.min()} to {mask.max()}; objects are numbers from 1 '
                'to 255, the background 0.'
            )
        return F.pad(mask, (0, size[1] - cut[1], 0, size[0] - cut[0])).to(torch.uint8)

    def _follow_objects(
        self,
        feature: Tensor,
        size: tuple[int, int],
        mask: Tensor,
        current: Tensor | None,
        again: list[tuple[tuple[int, ...], Followed]],
    ) -> Tensor:
        """The frame's mask with what is given over what was found."""
        left = mask
        for ids, earlier in again:
            corrected = torch.isin(mask, torch.tensor(ids, dtype=torch.uint8))
            left = left.where(~corrected, 0)
            current = self._follow_mask(feature, size, mask.where(corrected, 0), current, ids, earlier)
        return current if again and not left.any() else self._follow_mask(feature, size, left, current)

    def _follow_mask(
        self,
        feature: Tensor,
        size: tuple[int, int],
        mask: Tensor,
        current: Tensor | None,
        again: tuple[int, ...] = (),
        earlier: Followed | None = None,
    ) -> Tensor:
        """The frame's mask with given objects over those that were there, YouTube-VOS's rule."""
        protocol, grid = self._propagator.protocol, tuple(feature.shape[1:])
        large = mask if protocol.least_pixels == 1 else without_small(mask, protocol, self._time)
        sampled, rule = on_the_way(large, protocol.first_label, protocol.input_size(size))
        if again:
            label = ids_to_label(sampled, torch.tensor(again, dtype=torch.uint8), grid, rule)
            ids, left = (0, *again), [number for number, map_ in zip(again, label[1:], strict=True) if map_.any()]
        else:
            label, ids = mask_to_label(sampled, grid, rule)
            left = ids
            self._lost = (self._lost | {*torch.unique(mask).tolist()}) - {0, *left}
        if lost := sorted({*torch.unique(large).tolist()} - {0, *left}):
            warn_of_lost(lost, self._time, grid, protocol.input_size(size))
        label = self._follow(feature, label, Group(ids[1:], True, len(label)), earlier)
        self._rename(feature.device)
        if protocol.first_output == 'resized':
            at_input = resize_mask_nearest(mask, protocol.input_size(size))
            mask = F.interpolate(at_input[None, None].float(), size=size)[0, 0].to(torch.uint8)
        if protocol.first_output in ('grid', 'propagated'):
            names = to_device(torch.tensor(ids, dtype=torch.uint8), feature.device)
            mask, _ = read_mask(protocol, [label], names, size)
        mask = to_device(mask, feature.device)
        return mask if current is None else torch.where(mask > 0, mask, current)


class Pending(OnTheWay):
    """The labels of a frame, perhaps on their way from a GPU, which goes on with its work meanwhile."""

    def __init__(self, time: int, size: tuple[int, int], tensors: list[Tensor | None]) -> None:
        super().__init__(tensors)
        self._time, self._size = time, size

    def get(self) -> FrameLabels:
        """The labels, waited for.

        Raises:
            ValueError: features of this frame, or one before it, were not finite.
        """
        mask, points, scores, finite, hidden, objects, sure = self.arrived()
        check_finite(finite is None or bool(finite), self._time)
        return FrameLabels(
            np.zeros(self._size, np.uint8) if mask is None else mask,
            np.empty((0, 2), np.float32) if points is None else points,
            None if scores is None else means_by_id(*scores),
            hidden,
            None if objects is None else {n: float(objects[n]) for n in np.flatnonzero(~np.isnan(objects)).tolist()},
            sure,
        )
