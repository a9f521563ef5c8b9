"""Masks of object ids to label maps on the feature grid, and back."""

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-12


def mask_to_label(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """One-hot label on the feature grid, sampled by pixel-centre nearest (PIL's rule, not OpenCV's).

    Args:
        mask: integer ``[H, W]``, object ids, 0 the background.
        size: ``(h, w)`` of the grid.

    Returns:
        float32 ``[K, h, w]`` with ``K`` the largest id that survives the sampling, plus one.
    """
    small = F.interpolate(mask[None, None].float(), size=size, mode='nearest-exact')[0, 0].long()
    return F.one_hot(small).permute(2, 0, 1).float()


def normalise_label(label: Tensor) -> Tensor:
    """Stretch each channel to [0, 1] over space; channels without a positive value stay as they are.

    Args:
        label: ``[K, H, W]``.

    Returns:
        ``[K, H, W]``; a constant positive channel becomes 0.
    """
    low, high = label.amin((1, 2), keepdim=True), label.amax((1, 2), keepdim=True)
    return torch.where(high > 0, (label - low) / (high - low + EPS), label)


def resize_label(label: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize ``[K, h, w] -> [K, H, W]`` with half-pixel centres."""
    return F.interpolate(label[None], size=size, mode='bilinear', align_corners=False)[0]


def label_to_mask(label: Tensor, size: tuple[int, int]) -> Tensor:
    """Object ids at full size: bilinear resize, min-max per channel, arg-max.

    Args:
        label: ``[K, h, w]``, soft labels on the feature grid.
        size: ``(H, W)`` of the video.

    Returns:
        uint8 ``[H, W]``.
    """
    return normalise_label(resize_label(label, size)).argmax(0).to(torch.uint8)
