"""Labels that are followed already, taken out of those that they came with: to be given anew, or to be dropped."""

from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor

from stt_mm.models.propagator import Followed, LabelPropagator
from stt_mm.ops.labels import part_channels


class Group(NamedTuple):
    """Labels that came in together, or were corrected together.

    Where it is asked whether points are hidden, the features of the frame that they were given in, and their places.
    """

    ids: tuple[int, ...]  # of the channels: 0 for the background and then objects, or the numbers of points
    masks: bool
    origin: tuple[Tensor, Tensor] | None = None

    @property
    def rest(self) -> int | None:
        """The channel of all that has no label."""
        return 0 if self.masks else None

    def of(self, channels: list[int]) -> 'Group':
        """The group of some of the channels."""
        origin = None if self.origin is None else (self.origin[0], self.origin[1][channels])
        return Group(tuple(self.ids[channel] for channel in channels), self.masks, origin)


def take(
    propagator: LabelPropagator, groups: list[Group], parts: list[Tensor] | None, ids: Collection[int], masks: bool
) -> list[tuple[tuple[int, ...], Followed]]:
    """Take objects, or points, out of their groups.

    Args:
        propagator: follows the groups.
        groups: changed in place; a group of which nothing is left goes.
        parts: ``[K, h, w]``, what was found for each of them in the frame that was just processed, changed likewise;
            ``None`` before a frame.
        ids: of the objects, or numbers of the points; those that nobody follows are left out.
        masks: whether they are objects.

    Returns:
        Per group that had some, their ids and what :meth:`LabelPropagator.add` takes to follow them again.
    """
    taken = []
    for place in reversed(range(len(groups))):
        group = groups[place]
        channels = [c for c, number in enumerate(group.ids) if number in ids and c != group.rest]
        if group.masks != masks or not channels:
            continue
        left = [c for c in range(len(group.ids)) if c not in channels]
        taken.append((group.of(channels).ids, propagator.take(place, channels, group.rest)))
        whole = left == ([] if group.rest is None else [group.rest])
        groups[place : place + 1] = [] if whole else [group.of(left)]
        if parts is not None:
            parts[place : place + 1] = [] if whole else [part_channels(parts[place], channels, group.rest, 0)[1]]
    return taken[::-1]


def in_order(rows: list[Tensor], numbers: list[int], count: int, missing: float | bool) -> Tensor:
    """``[count, ...]``: the rows ``[N, ...]`` of the points of these numbers, and ``missing`` for those of no group."""
    if not rows:
        return torch.full((count,) if isinstance(missing, bool) else (count, 2), missing)
    found = torch.cat(rows)
    ordered = torch.full((count, *found.shape[1:]), missing, dtype=found.dtype, device=found.device)
    ordered[numbers] = found
    return ordered
