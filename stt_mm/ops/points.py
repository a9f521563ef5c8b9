"""Points to heat maps on the feature grid, and back.

Three codecs. The first two stand behind the published numbers of JHMDB:

``'image'`` (STT and VFS, ``jhmdb_dataset.py``): a Gaussian of 4 pixels in the original frame, resized to the network
input and on to the grid; no background. Read back at the original size as the weighted mean of the 5 largest values.

``'grid'`` (CRW, ``data/jhmdb.py`` and ``eval_pck.py``): a Gaussian of half a cell drawn on the grid, and a background
channel before the points. Read back on the grid as the weighted mean of the 3 largest values, cell 0 being pixel 0.

Both round positions as the released code does: the patch of a Gaussian begins at the whole number next to
``position - 3 sigma`` on the side of 0. That is down, but up for points closer than 3 sigma to the upper or left
border. STT's codec is biased by -0.5 pixels for it; to remove that would change the numbers.

``'input'``: as ``'image'``, but drawn and read at the size of the network input, so that the width of a map does not
depend on the size of the video, and around the centre of the nearest pixel, so that nothing is rounded down.
"""

from typing import Literal

import torch
from torch import Tensor

from stt_mm.ops.labels import resize_label

Codec = Literal['image', 'grid', 'input']
IMAGE, GRID, INPUT = 'image', 'grid', 'input'
SIGMA = {IMAGE: 4.0, GRID: 0.5, INPUT: 4.0}  # pixels of the original frame; cells of the grid; pixels of the input
TOPK = {IMAGE: 5, GRID: 3, INPUT: 5}
LOST = -1.0


def gaussian_maps(points: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """One Gaussian per point, peak 1, cut off at three sigma.

    Args:
        points: ``[J, 2]``, (x, y) in units of the map; the centre of the first one is 0.
        size: ``(H, W)`` of the maps.
        sigma: standard deviation, in units of the map.

    Returns:
        float64 ``[J, H, W]``; all zero for a point that is NaN or more than about three sigma outside.
    """
    profiles = []
    for axis, length in ((1, size[0]), (0, size[1])):
        position = points[:, axis, None].double()
        cells = torch.arange(length, device=points.device)
        first, last = (position - 3 * sigma).trunc(), (position + 3 * sigma + 1).trunc()
        offset = cells - first - (6 * sigma + 1) // 2
        inside = (cells >= first) & (cells < last)
        profiles.append(torch.where(inside, (-(offset**2) / (2 * sigma**2)).exp(), 0.0))
    rows, columns = profiles
    return rows[:, :, None] * columns[:, None]


def points_to_label(
    points: Tensor,
    image_size: tuple[int, int],
    input_size: tuple[int, int],
    grid: tuple[int, int],
    codec: Codec,
    sigma: float | None = None,
) -> Tensor:
    """Heat maps of points.

    The released STT code reads even the given points back from their heat maps, at the size of the network input. With
    ``grid=input_size`` this function gives those maps.

    Args:
        points: ``[J, 2]``, (x, y) in 0-based pixels of the original frame; NaN where unknown.
        image_size: ``(height, width)`` of the original frame.
        input_size: ``(height, width)`` of the network input.
        grid: ``(h, w)`` of the features.
        codec: ``'image'``, ``'grid'`` or ``'input'``.
        sigma: standard deviation of a Gaussian, in units of the codec; ``None``: the codec's own.

    Returns:
        float32 ``[K, h, w]`` in 0..1: K = J, or for ``'grid'`` K = J + 1 with the background, which is 1 where all
        points are 0, first. The channel of a point whose Gaussian is outside of the frame is all zero.

    Raises:
        ValueError: ``points`` is not ``[J, 2]``, or there is no such codec.
    """
    _check_codec(codec)
    sigma = SIGMA[codec] if sigma is None else sigma
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f'Expected points [J, 2], (x, y) of each, got shape {list(points.shape)}.')
    if codec == INPUT:
        points, image_size = rescale_points(points.float(), image_size, input_size).round(), input_size
    if codec != GRID:
        maps = gaussian_maps(points, image_size, sigma)
        return resize_label(resize_label(maps, input_size), grid).float()
    stride = points.new_tensor([input_size[1] / grid[1], input_size[0] / grid[0]], dtype=torch.float64)
    factors = [points.new_tensor(size[::-1], dtype=torch.float64) for size in (input_size, image_size)]
    maps = gaussian_maps(points * factors[0] / factors[1] / stride, grid, sigma)
    background = (maps.sum(0, keepdim=True) == 0).double()
    return torch.cat([background, maps]).float()


def label_to_points(
    label: Tensor, image_size: tuple[int, int], input_size: tuple[int, int], codec: Codec, topk: int | None = None
) -> Tensor:
    """Points from their heat maps.

    Args:
        label: ``[K, h, w]``, not negative; channels as in :func:`points_to_label`.
        image_size: ``(height, width)`` of the original frame.
        input_size: ``(height, width)`` of the network input.
        codec: ``'image'``, ``'grid'`` or ``'input'``.
        topk: largest values that a point is the weighted mean of; ``None``: the codec's own number.

    Returns:
        ``[J, 2]`` of the type of ``label``, (x, y) in pixels of the original frame; (-1, -1) where a channel sums to 0.

    Raises:
        ValueError: ``label`` is not ``[K, h, w]``, or there is no such codec.
    """
    _check_codec(codec)
    if label.ndim != 3:
        raise ValueError(f'Expected a label [K, h, w], got shape {list(label.shape)}.')
    drawn = dict(image=image_size, input=input_size)
    maps = label[1:] if codec == GRID else resize_label(label, drawn[codec])
    height, width = maps.shape[-2:]
    flat = maps.flatten(1)
    values, index = flat.topk(min(TOPK[codec] if topk is None else topk, flat.shape[1]))
    lost = flat.sum(1, keepdim=True) == 0
    weights = values / torch.where(lost, 1.0, values.sum(1, keepdim=True))
    rows = index.div(width, rounding_mode='floor')
    x, y = (weights * (index % width)).sum(1), (weights * rows).sum(1)
    if codec == GRID:
        x, y = x * (image_size[1] / width), y * (image_size[0] / height)
    position = torch.stack([x, y], dim=1)
    if codec == INPUT:
        x, y = rescale_points(position, input_size, image_size).unbind(1)
        position = torch.stack([x.clamp(0, image_size[1] - 1), y.clamp(0, image_size[0] - 1)], dim=1)
    return torch.where(lost, LOST, position)


def rescale_points(points: Tensor, size: tuple[int, int], other: tuple[int, int]) -> Tensor:
    """Points of a picture of (height, width) ``size`` where they lie when it is resized; centres are whole numbers."""
    x, y = points.unbind(1)
    return torch.stack([(x + 0.5) * (other[1] / size[1]) - 0.5, (y + 0.5) * (other[0] / size[0]) - 0.5], dim=1)


def _check_codec(codec: str) -> None:
    if codec not in SIGMA:
        raise ValueError(f'codec must be one of {", ".join(map(repr, SIGMA))}, got {codec!r}.')
