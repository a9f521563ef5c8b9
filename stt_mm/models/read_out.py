"""Masks read from what was carried to a frame, and put back into the memory."""

from collections.abc import Sequence

import torch
from torch import Tensor

from stt_mm.models.corrections import Group
from stt_mm.models.propagator import LabelPropagator
from stt_mm.ops import ids_to_label, label_to_mask, resize_mask_nearest, to_device
from stt_mm.ops.labels import on_the_way
from stt_mm.protocols import Protocol


def read_mask(
    protocol: Protocol,
    labels: Sequence[Tensor],
    ids: Tensor,
    size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Mask ``[H, W]`` and the values that won, as a protocol reads them; see :func:`stt_mm.ops.label_to_mask`.

    Args:
        protocol: says at which size channels are compared, and how.
        labels: ``[K, h, w]`` per group.
        ids: ``[N]``, 0 and those of the channels of all groups; 0 of those that read as background.
        size: (height, width) of the frame.
    """
    compared = tuple(size) if protocol.output == 'original' else protocol.input_size(size)
    found = label_to_mask(labels, ids, compared, protocol.min_max, protocol.gain, protocol.read_out)
    if compared == tuple(size):
        return found
    rule = 'floor' if protocol.output == 'input_floor' else 'nearest'
    return tuple(resize_mask_nearest(part, size, rule) for part in found)


def make_room(
    propagator: LabelPropagator,
    groups: Sequence[Group],
    parts: Sequence[Tensor],
    names: Tensor,
    found: Tensor,
    seen: Tensor | None,
    given: Tensor | None,
) -> None:
    """Let the memory of the frame that was just processed hold what the protocol feeds back, less what is given there.

    An object leaves room where it was seen and is given to be another one; elsewhere nothing of it changes.

    Args:
        propagator: follows the groups.
        groups: all that are followed.
        parts: ``[K, h, w]``, what was found for each of them.
        names: uint8, 0 and the ids of the channels of all masks; 0 of ghosts.
        found: uint8 ``[H, W]``, what was read from them.
        seen: the same with objects that are corrected where they were found, as they hide others; ``None``: there are
            none.
        given: uint8 ``[H, W]``, the ids that are given in the frame, 0 elsewhere; ``None``: nothing is.
    """
    covered = None if given is None else to_device(given > 0, found.device)
    if propagator.protocol.feedback == 'hard':
        _feed_back(propagator, groups, parts, names, found if covered is None else found.where(~covered, 0))
    elif covered is not None:
        lost = (found if seen is None else seen).where(covered, 0)
        for place, (group, part) in enumerate(zip(groups, parts, strict=True)):
            if group.masks:
                ids = to_device(torch.tensor(group.ids, dtype=torch.uint8), lost.device)
                propagator.give_way(place, group.places, _on_grid(propagator.protocol, lost, ids, part)[1:])


def _feed_back(
    propagator: LabelPropagator, groups: Sequence[Group], parts: Sequence[Tensor], names: Tensor, mask: Tensor
) -> None:
    """Let the memory hold a mask ``[H, W]`` in place of the soft labels that it was made of."""
    protocol, first, size = propagator.protocol, 1, tuple(mask.shape)
    for place, (group, part) in enumerate(zip(groups, parts, strict=True)):
        if not group.masks:
            continue
        ids, seen = names[first : first + group.channels - 1], mask
        if group.ghosts:
            channels = torch.arange(group.channels, dtype=torch.uint8, device=mask.device)
            alone, _ = read_mask(protocol, [part], channels, size)
            ids, seen = channels[1:], _with_ghosts(mask, alone, group)
        propagator.replace(place, _on_grid(protocol, seen, ids, part))
        first += group.channels - 1


def _on_grid(protocol: Protocol, mask: Tensor, ids: Tensor, part: Tensor) -> Tensor:
    """``[1 + N, h, w]``: a mask as labels of these ids on the grid of ``part``, the background first."""
    sampled, rule = on_the_way(mask, protocol.first_label, protocol.input_size(tuple(mask.shape)))
    return ids_to_label(sampled, ids, tuple(part.shape[1:]), rule)


def _with_ghosts(mask: Tensor, alone: Tensor, group: Group) -> Tensor:
    """The channels of a group, uint8 ``[H, W]``: its objects as in ``mask``, elsewhere its ghosts as in ``alone``.

    Args:
        mask: uint8 ``[H, W]``, ids of the objects of all groups.
        alone: uint8 ``[H, W]``, channels as the group by itself is read.
        group: of objects.
    """
    channel_of, ghost_of = torch.zeros(2, 256, dtype=torch.uint8)
    channel_of[list(group.ids)] = torch.tensor(group.places, dtype=torch.uint8)
    ghost_of[list(group.ghosts)] = torch.tensor(group.ghosts, dtype=torch.uint8)
    found = to_device(channel_of, mask.device)[mask.long()]
    return torch.where(found > 0, found, to_device(ghost_of, mask.device)[alone.long()])
