"""Masks read from what was carried to a frame, and put back into the memory."""

from collections.abc import Collection, Sequence

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


def feed_back(
    propagator: LabelPropagator,
    groups: Sequence[Group],
    parts: Sequence[Tensor],
    names: Tensor,
    mask: Tensor,
    given: Tensor | None = None,
    again: Collection[int] = (),
) -> None:
    """Let the memory hold a mask in place of the soft labels that it was made of.

    Args:
        propagator: follows the groups.
        groups: all that are followed.
        parts: ``[K, h, w]``, what was found for each of them.
        names: uint8, 0 and the ids of the channels of all masks; 0 of ghosts.
        mask: uint8 ``[H, W]``, what was read from them.
        given: uint8 ``[H, W]``, ids that are given in the frame.
        again: those of them that are corrected, and not among the groups. Nobody else is fed back as being there, so
            that what they cover stays covered.
    """
    if again:
        covered = torch.isin(given, torch.tensor(sorted(again), dtype=torch.uint8))
        mask = mask.where(~to_device(covered, mask.device), 0)
    protocol, first, size = propagator.protocol, 1, tuple(mask.shape)
    for place, (group, part) in enumerate(zip(groups, parts, strict=True)):
        if not group.masks:
            continue
        ids, seen = names[first : first + group.channels - 1], mask
        if group.ghosts:
            channels = torch.arange(group.channels, dtype=torch.uint8, device=mask.device)
            alone, _ = read_mask(protocol, [part], channels, size)
            ids, seen = channels[1:], _with_ghosts(mask, alone, group)
        sampled, rule = on_the_way(seen, protocol.first_label, protocol.input_size(size))
        propagator.replace(place, ids_to_label(sampled, ids, tuple(part.shape[1:]), rule))
        first += group.channels - 1


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
