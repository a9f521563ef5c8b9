"""Objects that a protocol leaves out for their size."""

import logging

import torch
from torch import Tensor

from stt_mm.ops import resize_mask_nearest
from stt_mm.protocols import Protocol

logger = logging.getLogger(__name__)


def without_small(mask: Tensor, protocol: Protocol, time: int) -> Tensor:
    """A given mask, ids ``[H, W]``, without objects of fewer pixels than the protocol takes; ``time`` is its frame."""
    at_input = resize_mask_nearest(mask, protocol.input_size(tuple(mask.shape)))
    few = torch.bincount(at_input.flatten().long(), minlength=256)[mask.long()] < protocol.least_pixels
    if left_out := torch.unique(mask[few & (mask > 0)]).tolist():
        logger.warning(
            "Frame %d: object %s has fewer than %d pixels at the size of the network's input and is left out, as "
            'the protocol %s says.',
            time,
            ', '.join(map(str, left_out)),
            protocol.least_pixels,
            protocol,
        )
    return torch.where(few, 0, mask)
