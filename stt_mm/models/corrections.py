"""Labels that are followed already, taken out of those that they came with: to be given anew, or to be dropped.

What is taken out of a group stays in it as a ghost, which has no name: the others go on competing with it, so that they
are carried and read as if nothing had happened. A group of which only ghosts are left goes.
"""

from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor

from stt_mm.models.propagator import Followed, LabelPropagator


class Group(NamedTuple):
    """Labels that came in together, or were corrected together.

    Where it is asked whether points are hidden, the features of the frame that they were given in, and their places.
    """

    ids: tuple[int, ...]  # of the objects, or the numbers of the points
    masks: bool
    channels: int  # of their labels and of the ghosts: one more where the first is all else
    origin: tuple[Tensor, Tensor] | None = None
    ghosts: tuple[int, ...] = ()  # their channels, rising

    @property
    def background(self) -> bool:
        """Whether a channel for all else comes before the others."""
        return self.channels > len(self.ids) + len(self.ghosts)

    @property
    def places(self) -> list[int]:
        """The channels of the ids."""
        return [channel for channel in range(self.background, self.channels) if channel not in self.ghosts]

    @property
    def names(self) -> list[int]:
        """The id of each channel but that of all else; 0 of a ghost."""
        ids = iter(self.ids)
        return [0 if channel in self.ghosts else next(ids) for channel in range(self.background, self.channels)]

    def named(self, rows: Tensor) -> Tensor:
        """Those of the ids among ``[K, ...]`` of all channels, or of all but that of all else."""
        first = self.channels - len(rows)
        return torch.stack([rows[n - first] for n in self.places]) if self.ghosts else rows[len(rows) - len(self.ids) :]

    def without(self, ids: Collection[int]) -> 'Group':
        """The group when some of its ids have become ghosts."""
        left = [n for n, number in enumerate(self.ids) if number not in ids]
        origin = None if self.origin is None else (self.origin[0], self.origin[1][left])
        places = self.places
        ghosts = sorted({*self.ghosts, *places} - {places[n] for n in left})
        return self._replace(ids=tuple(self.ids[n] for n in left), origin=origin, ghosts=tuple(ghosts))


def take(
    propagator: LabelPropagator, groups: list[Group], parts: list[Tensor] | None, ids: Collection[int], masks: bool
) -> list[tuple[tuple[int, ...], Followed]]:
    """Take objects, or points, out of their groups.

    Args:
        propagator: follows the groups.
        groups: changed in place.
        parts: ``[K, h, w]``, what was found for each of them in the frame that was just processed, of which those of
            groups that go are removed; ``None`` before a frame.
        ids: of the objects, or numbers of the points; those that nobody follows are left out.
        masks: whether they are objects.

    Returns:
        Per group that had some, their ids and what :meth:`LabelPropagator.add` takes to follow them again.
    """
    taken = []
    for place in reversed(range(len(groups))):
        group = groups[place]
        of = {number: channel for number, channel in zip(group.ids, group.places, strict=True) if number in ids}
        if group.masks != masks or not of:
            continue
        taken.append((tuple(of), propagator.memory_of(place, list(of.values()), group.background)))
        if len(of) < len(group.ids):
            groups[place] = group.without(of)
            continue
        propagator.drop(place)
        del groups[place]
        if parts is not None:
            del parts[place]
    return taken[::-1]


def in_order(rows: list[Tensor], numbers: list[int], missing: Tensor) -> Tensor:
    """``[J, ...]``: the rows ``[N, ...]`` of the points of these numbers, and those of ``missing`` for the others."""
    if not rows:
        return missing
    found = torch.cat(rows)
    ordered = missing.to(found)
    ordered[numbers] = found
    return ordered
