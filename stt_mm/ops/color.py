"""Colour on the device: sRGB to CIE Lab, and dropping colour channels."""

import torch
from torch import Tensor

# sRGB primaries to XYZ under D65, then divided by the white point, as OpenCV documents its RGB2Lab.
RGB_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
WHITE = (0.950456, 1.0, 1.088754)


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """CIE Lab in OpenCV's float convention.

    Args:
        rgb: ``[..., 3, H, W]``, sRGB in [0, 1].

    Returns:
        ``[..., 3, H, W]``: L in [0, 100], a in about [-86.2, 98.2], b in about [-107.9, 94.5].
    """
    linear = torch.where(rgb > 0.04045, ((rgb.clamp(min=0) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    matrix = torch.tensor(RGB_TO_XYZ, dtype=rgb.dtype, device=rgb.device)
    matrix = matrix / torch.tensor(WHITE, dtype=rgb.dtype, device=rgb.device)[:, None]
    xyz = torch.einsum('ij,...jhw->...ihw', matrix, linear)
    root = torch.where(xyz > 0.008856, xyz.clamp(min=1e-9) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = root.unbind(-3)
    lightness = torch.where(xyz[..., 1, :, :] > 0.008856, 116 * y - 16, 903.3 * xyz[..., 1, :, :])
    return torch.stack([lightness, 500 * (x - y), 200 * (y - z)], dim=-3)


def drop_channels(frames: Tensor, dropped: Tensor, rescale: bool = True) -> Tensor:
    """Set channels to 0 and enlarge the others so that the sum keeps its size.

    Args:
        frames: ``[B, T, C, H, W]``; not changed.
        dropped: bool ``[C]`` or ``[B, C]``, True where a channel is removed.
        rescale: multiply the kept channels by ``C / kept`` (3/2 for one of three).

    Returns:
        ``[B, T, C, H, W]``, a new tensor.
    """
    keep = (~dropped).to(frames.dtype)
    if rescale:
        keep = keep * (keep.shape[-1] / keep.sum(-1, keepdim=True).clamp(min=1))
    if keep.dim() == 2:
        keep = keep[:, None]
    return frames * keep[..., None, None]
