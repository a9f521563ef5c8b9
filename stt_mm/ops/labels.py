"""Masks of object ids to label maps on the feature grid, and back."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from stt_mm.ops.devices import kept, to_device

EPS = 1e-12


LabelRule = Literal['nearest', 'bilinear', 'aligned', 'corner']
MaskRule = Literal['nearest', 'floor']
ReadOut = Literal['bilinear', 'opencv', 'aligned', 'nearest']
SMOOTH = ('bilinear', 'aligned')
# How a mask comes to the size of the network's input, unless it does not, and how from there to the grid.
PATHS: dict[str, tuple[MaskRule | None, LabelRule]] = dict(
    nearest=(None, 'nearest'),
    nearest_twice=('nearest', 'nearest'),
    bilinear=(None, 'bilinear'),
    nearest_bilinear=('nearest', 'bilinear'),
    floor_bilinear=('floor', 'bilinear'),
    aligned=(None, 'aligned'),
    corner=('nearest', 'corner'),
)


def on_the_way(mask: Tensor, path: str, input_size: tuple[int, int]) -> tuple[Tensor, LabelRule]:
    """A mask ``[H, W]`` at the size from which it comes to the grid by one of :data:`PATHS`, and the rule of that."""
    first, second = PATHS[path]
    return (mask if first is None else resize_mask_nearest(mask, input_size, first)), second


def mask_to_label(mask: Tensor, grid: tuple[int, int], rule: LabelRule = 'nearest') -> tuple[Tensor, tuple[int, ...]]:
    """One-hot label on the feature grid.

    Args:
        mask: integer ``[H, W]``, object ids, 0 the background.
        grid: ``(h, w)``.
        rule: ``nearest`` takes the nearest pixel by pixel centres (PIL's rule, not OpenCV's), ``bilinear`` makes the
            mask one-hot first and then resizes it without smoothing, ``aligned`` so that the centres of the corners
            stay where they are, ``corner`` takes the first pixel of each cell.

    Returns:
        float32 ``[K, h, w]`` and the K ids of its channels: 0, then the objects of the mask that survive the sampling,
        rising.
    """
    if rule not in SMOOTH:
        mask = _sampled(mask, grid, rule)
    ids = [number for number in torch.unique(mask).tolist() if number]
    label = ids_to_label(mask, torch.tensor(ids, dtype=mask.dtype, device=mask.device), grid, rule)
    return label, (0, *ids)


def ids_to_label(mask: Tensor, ids: Tensor, grid: tuple[int, int], rule: LabelRule = 'nearest') -> Tensor:
    """:func:`mask_to_label` for objects that are known, whether or not the mask has them.

    Args:
        mask: integer ``[H, W]``.
        ids: ``[N]``, without 0; what is none of them is background.
        grid: ``(h, w)``.
        rule: how the mask comes to the grid; none if it has that size.

    Returns:
        float32 ``[1 + N, h, w]``, the background first.
    """
    if rule not in SMOOTH and tuple(mask.shape) != tuple(grid):
        mask = _sampled(mask, grid, rule)
    objects = mask == ids[:, None, None]
    label = torch.cat([~objects.any(0, keepdim=True), objects]).float()
    return resize_label(label, grid, rule) if rule in SMOOTH else label


def _sampled(mask: Tensor, grid: tuple[int, int], rule: LabelRule) -> Tensor:
    if rule == 'nearest':
        return resize_mask_nearest(mask, grid)
    rows, columns = (
        (torch.arange(cells, device=mask.device) * _stride(side, cells)).clamp(max=side - 1)
        for side, cells in zip(mask.shape, grid, strict=True)
    )
    return mask[rows][:, columns]


def _stride(side: int, cells: int) -> int:
    """Of a network that makes so many cells: a power of two, if there is one with which convolutions do."""
    stride = 2 ** (-(-side // cells) - 1).bit_length()
    # There is one cell more where the side is no multiple.
    return stride if -(-side // stride) == cells else -(-side // cells)


def resize_mask_nearest(mask: Tensor, size: tuple[int, int], rule: MaskRule = 'nearest') -> Tensor:
    """Ids, or what goes with them, ``[..., H, W]`` at another size.

    Args:
        mask: ``[..., H, W]``.
        size: ``(height, width)``.
        rule: ``nearest`` takes the nearest pixel by pixel centres, as PIL to the pixel; ``floor`` pixel
            ``floor(i * old / new)`` for pixel i, as OpenCV and PyTorch mean by "nearest".
    """
    sources = _nearest if rule == 'nearest' else _floor
    rows, columns = (sources(old, new, mask.device) for old, new in zip(mask.shape[-2:], size, strict=True))
    return mask[..., rows, :][..., columns]


@kept(limit=64)
def _nearest(old: int, new: int, device: torch.device) -> Tensor:
    """Which of ``old`` pixels PIL takes for each of ``new``: where two are equally near, its rounding errors decide."""
    line = Image.fromarray(np.arange(old, dtype=np.int32)[None])
    taken = np.array(line.resize((new, 1), Image.Resampling.NEAREST))[0]
    return to_device(torch.from_numpy(taken.astype(np.int64)), device)


@kept(limit=64)
def _floor(old: int, new: int, device: torch.device) -> Tensor:
    return to_device(torch.arange(new) * old // new, device)


def normalise_label(label: Tensor) -> Tensor:
    """Stretch each channel to [0, 1] over space; channels without a positive value stay as they are.

    Args:
        label: ``[K, H, W]``.

    Returns:
        ``[K, H, W]``; a constant positive channel becomes 0.
    """
    low, high = label.amin((1, 2), keepdim=True), label.amax((1, 2), keepdim=True)
    return torch.where(high > 0, (label - low) / (high - low + EPS), label)


def resize_label(label: Tensor, size: tuple[int, int], rule: ReadOut = 'bilinear') -> Tensor:
    """Resize ``[K, h, w] -> [K, H, W]``.

    Args:
        label: ``[K, h, w]``.
        size: ``(H, W)``.
        rule: ``bilinear`` with half-pixel centres; ``opencv``: the same rounded as OpenCV does, once along the rows and
            once along the columns, which decides between values that are almost equal; ``aligned``: bilinear, the
            centres of the corners stay where they are; ``nearest``: the cell ``floor(i * h / H)`` for pixel i.
    """
    if rule == 'nearest':
        return resize_mask_nearest(label, size, 'floor')
    if rule == 'opencv':
        label = F.interpolate(label[None], size=(label.shape[1], size[1]), mode='bilinear')[0]
    return F.interpolate(label[None], size=size, mode='bilinear', align_corners=rule == 'aligned')[0]


def label_to_mask(
    labels: Sequence[Tensor],
    ids: Tensor,
    size: tuple[int, int],
    min_max: bool = True,
    gain: float = 1.0,
    read_out: ReadOut = 'bilinear',
) -> tuple[Tensor, Tensor]:
    """Object ids at full size: resize, min-max per channel if wanted, arg-max.

    Each group of objects that are followed apart is read by itself, background and all, as if it were alone. Where
    several groups have an object, the one with the largest value wins, of equals that of the first group. So no group
    changes what another one reads as background, whether it comes or goes.

    Args:
        labels: per group ``[K, h, w]``, soft labels on the feature grid, channel 0 the background.
        ids: uint8 ``[N]``, on the device of the labels: 0, and the ids of the other channels of all groups in their
            order; 0 for those that read as background.
        size: ``(H, W)`` of the mask.
        min_max: stretch each channel first, see :func:`normalise_label`.
        gain: factor of all objects, before.
        read_out: how the channels come to the size of the mask, see :func:`resize_label`.

    Returns:
        uint8 ``[H, W]`` ids, and float ``[H, W]``, the values that won; where all groups have background, that of the
        first.
    """
    mask, value, first = None, None, 1
    for label in labels:
        if gain != 1:
            label = torch.cat([label[:1], label[1:] * gain])
        full = resize_label(label, size, read_out)
        best, channel = (normalise_label(full) if min_max else full).max(0)
        found = torch.cat([ids[:1], ids[first : first + len(label) - 1]])[channel]
        first += len(label) - 1
        if mask is None:
            mask, value = found, best
        else:
            wins = (found > 0) & ((mask == 0) | (best > value))
            mask, value = torch.where(wins, found, mask), torch.where(wins, best, value)
    return mask, value


def overlap(label: Tensor, other: Tensor) -> Tensor:
    """``[K]``: sum of the minimum over sum of the maximum of maps ``[K, h, w]`` in 0..1; 0 where both are 0."""
    both, either = torch.minimum(label, other).sum((1, 2)), torch.maximum(label, other).sum((1, 2))
    return torch.where(either > 0, both / either, 0)


def id_strengths(mask: Tensor, value: Tensor) -> Tensor:
    """float64 ``[2, 256]``: sum of ``value`` ``[H, W]`` over the pixels of each id of a mask, and their number."""
    ids, sums = mask.flatten().long(), torch.zeros(2, 256, dtype=torch.float64, device=mask.device)
    sums[0].index_add_(0, ids, value.double().flatten())
    sums[1].index_add_(0, ids, torch.ones_like(value, dtype=torch.float64).flatten())
    return sums


def means_by_id(sums: np.ndarray, pixels: np.ndarray) -> dict[int, float]:
    """Of :func:`sums_by_id`: the mean per object that has pixels."""
    return {number: float(sums[number] / pixels[number]) for number in range(1, 256) if pixels[number]}
