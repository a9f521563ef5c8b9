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

    ids: tuple[int, ...]  # of the objects, or the numbers of the points
    masks: bool
    channels: int  # of their labels: one more where the first is all else
    origin: tuple[Tensor, Tensor] | None = None

    @property
    def background(self) -> bool:
        """Whether a channel for all else comes before theirs."""
        return self.channels > len(self.ids)

    def of(self, places: list[int]) -> 'Group':
        """The group of some of the ids."""
        origin = None if self.origin is None else (self.origin[0], self.origin[1][places])
        return Group(tuple(self.ids[n] for n in places), self.masks, self.background + len(places), origin)


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
        chosen = [number in ids for number in group.ids]
        if group.masks != masks or not any(chosen):
            continue
        of, left = ([n for n, is_one in enumerate(chosen) if is_one is wanted] for wanted in (True, False))
        channels, rest = [group.background + n for n in of], 0 if group.background else None
        taken.append((group.of(of).ids, propagator.take(place, channels, rest)))
        groups[place : place + 1] = [group.of(left)] if left else []
        if parts is not None:
            parts[place : place + 1] = [part_channels(parts[place], channels, rest, 0)[1]] if left else []
    return taken[::-1]


def in_order(rows: list[Tensor], numbers: list[int], missing: Tensor) -> Tensor:
    """``[J, ...]``: the rows ``[N, ...]`` of the points of these numbers, and those of ``missing`` for the others."""
    if not rows:
        return missing
    found = torch.cat(rows)
    ordered = missing.to(found)
    ordered[numbers] = found
    return ordered
