"""How far what was carried to a frame agrees with what was read from it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from stt_mm.models.corrections import Group
from stt_mm.ops import ids_to_label, points_to_label
from stt_mm.ops.labels import on_the_way, overlap
from stt_mm.ops.points import INPUT
from stt_mm.protocols import Protocol


def confidences(
    protocol: Protocol,
    groups: Sequence[Group],
    parts: Sequence[Tensor],
    mask: Tensor | None,
    places: Sequence[Tensor],
    size: tuple[int, int],
) -> tuple[Tensor, list[Tensor]]:
    """Confidence of each object and of each point in a frame, 0 to 1.

    What was found for an object is a share of each cell. If the matches agree, these shares are nearly 1 where its mask
    is and nearly 0 elsewhere; if they contradict each other, or the object is gone, they are not. The confidence is the
    overlap, sum of the minimum over sum of the maximum, of the shares and of the label that the mask itself would be
    given as. That of a point compares its map with the one that is drawn for the point in the same way. What is given
    in the frame has 1.

    Args:
        protocol: by which labels become maps.
        groups: all that are followed.
        parts: ``[K, h, w]``, what was carried to the frame for the first of them; the others are given in it.
        mask: uint8 ``[H, W]``, what was read from those that are masks.
        places: per group of points ``[J, 2]``, what was read.
        size: (height, width) of the frame.

    Returns:
        float32 ``[256]`` by id, NaN for those that nobody follows, and per group of points ``[J]``.
    """
    given = {number for group in groups[len(parts) :] if group.masks for number in group.ids}
    objects = torch.full((256,), torch.nan)
    objects[list(given)] = 1.0
    points, read = [], iter(places)
    for number, group in enumerate(groups):
        place = None if group.masks else next(read)
        if number >= len(parts):
            points += [] if group.masks else [torch.ones(len(place), device=place.device)]
            continue
        part = group.named(parts[number])
        grid = tuple(part.shape[1:])
        if group.masks:
            sampled, rule = on_the_way(mask, protocol.first_label, protocol.input_size(size))
            ids = torch.tensor(group.ids, dtype=mask.dtype, device=mask.device)
            objects = objects.to(part.device)
            objects[ids.long()] = overlap(part, ids_to_label(sampled, ids, grid, rule)[1:])
        else:
            drawn = points_to_label(
                place, size, protocol.input_size(size), grid, protocol.points or INPUT, protocol.point_sigma
            )
            found = overlap(part, drawn.to(part.device)[-len(group.ids) :])
            points.append(torch.where((place < 0).any(1), 0, found))
    return objects, points
