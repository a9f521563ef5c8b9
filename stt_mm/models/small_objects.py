"""Objects that are too small to be followed: for the protocol, or for the cells of the features."""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from stt_mm.ops import resize_mask_nearest
from stt_mm.protocols import Protocol

logger = logging.getLogger(__name__)

_FINE = 4  # The finest stride of the configs.
_MOST = 10


def without_small(mask: Tensor, protocol: Protocol, time: int) -> Tensor:
    """A given mask, ids ``[H, W]``, without objects of fewer pixels than the protocol takes; ``time`` is its frame."""
    at_input = resize_mask_nearest(mask, protocol.input_size(tuple(mask.shape)))
    few = torch.bincount(at_input.flatten().long(), minlength=256)[mask.long()] < protocol.least_pixels
    if left_out := torch.unique(mask[few & (mask > 0)]).tolist():
        logger.warning(
            "Frame %d: object %s has fewer than %d pixels at the size of the network's input and is left out, as "
            'the protocol %s says.',
            time,
            named(left_out),
            protocol.least_pixels,
            protocol,
        )
    return torch.where(few, 0, mask)


def warn_of_lost(ids: Sequence[int], time: int, grid: tuple[int, int], size: tuple[int, int]) -> None:
    """Say which objects of a frame are on no cell of a grid (rows, columns) of an input (height, width)."""
    finer = '' if size[0] <= _FINE * grid[0] else f'a config at stride {_FINE}, or '
    logger.warning(
        'Frame %d: object %s falls between the %dx%d cells of the features and is lost at once. Follow it as a '
        'point, or take a finer grid: %sa larger model.propagator.protocol.short_side.',
        time,
        named(ids),
        *grid,
        finer,
    )


def named(ids: Sequence[int]) -> str:
    """Ids as a message lists them: some of them, and how many more there are."""
    more = f' and each of {len(ids) - _MOST} more' if len(ids) > _MOST else ''
    return ', '.join(map(str, ids[:_MOST])) + more
