"""Joints to heat maps on the feature grid, and back: the two codecs behind the published numbers of JHMDB.

``'stt'`` (STT and VFS, ``jhmdb_dataset.py``): a Gaussian of 4 pixels in the original frame, resized to the network
input and on to the grid; no background. Read back at the original size as the weighted mean of the 5 largest values.

``'crw'`` (CRW, ``data/jhmdb.py`` and ``eval_pck.py``): a Gaussian of half a cell drawn on the grid, and a background
channel before the joints. Read back on the grid as the weighted mean of the 3 largest values, cell 0 being pixel 0.

Both round positions as the released code does: the patch of a Gaussian begins at the whole number next to
``position - 3 sigma`` on the side of 0. That is down, but up for joints closer than 3 sigma to the upper or left
border. STT's codec is biased by -0.5 pixels for it; to remove that would change the numbers.
"""

from typing import Literal

import torch
from torch import Tensor

from stt_mm.ops.labels import resize_label

Codec = Literal['stt', 'crw']
SIGMA = {'stt': 4.0, 'crw': 0.5}  # pixels of the original frame; cells of the grid
TOPK = {'stt': 5, 'crw': 3}
LOST = -1.0


def gaussian_maps(keypoints: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """One Gaussian per joint, peak 1, cut off at three sigma.

    Args:
        keypoints: ``[J, 2]``, (x, y) in units of the map; the centre of the first one is 0.
        size: ``(H, W)`` of the maps.
        sigma: standard deviation, in units of the map.

    Returns:
        float64 ``[J, H, W]``; all zero for a joint that is NaN or more than about three sigma outside.
    """
    profiles = []
    for axis, length in ((1, size[0]), (0, size[1])):
        position = keypoints[:, axis, None].double()
        cells = torch.arange(length, device=keypoints.device)
        first, last = (position - 3 * sigma).trunc(), (position + 3 * sigma + 1).trunc()
        offset = cells - first - (6 * sigma + 1) // 2
        inside = (cells >= first) & (cells < last)
        profiles.append(torch.where(inside, (-(offset**2) / (2 * sigma**2)).exp(), 0.0))
    rows, columns = profiles
    return rows[:, :, None] * columns[:, None]


def keypoints_to_label(
    keypoints: Tensor, image_size: tuple[int, int], input_size: tuple[int, int], grid: tuple[int, int], codec: Codec
) -> Tensor:
    """Heat maps of the joints of the first frame.

    The released STT code reads even the given frame back from its heat maps, at the size of the network input. With
    ``grid=input_size`` this function gives those maps.

    Args:
        keypoints: ``[J, 2]``, (x, y) in 0-based pixels of the original frame; NaN where unknown.
        image_size: ``(height, width)`` of the original frame.
        input_size: ``(height, width)`` of the network input.
        grid: ``(h, w)`` of the features.
        codec: ``'stt'`` or ``'crw'``.

    Returns:
        float32 ``[K, h, w]`` in 0..1: K = J (``'stt'``), or K = J + 1 with the background, which is 1 where all joints
        are 0, first (``'crw'``). The channel of a joint whose Gaussian is outside of the frame is all zero.

    Raises:
        ValueError: ``keypoints`` is not ``[J, 2]``, or there is no such codec.
    """
    _check_codec(codec)
    if keypoints.ndim != 2 or keypoints.shape[1] != 2:
        raise ValueError(f'Expected keypoints [J, 2], (x, y) per joint, got shape {list(keypoints.shape)}.')
    if codec == 'stt':
        maps = gaussian_maps(keypoints, image_size, SIGMA[codec])
        return resize_label(resize_label(maps, input_size), grid).float()
    stride = keypoints.new_tensor([input_size[1] / grid[1], input_size[0] / grid[0]], dtype=torch.float64)
    factors = [keypoints.new_tensor(size[::-1], dtype=torch.float64) for size in (input_size, image_size)]
    maps = gaussian_maps(keypoints * factors[0] / factors[1] / stride, grid, SIGMA[codec])
    background = (maps.sum(0, keepdim=True) == 0).double()
    return torch.cat([background, maps]).float()


def label_to_keypoints(label: Tensor, image_size: tuple[int, int], codec: Codec) -> Tensor:
    """Joints from their heat maps.

    Args:
        label: ``[K, h, w]``, not negative; channels as in :func:`keypoints_to_label`.
        image_size: ``(height, width)`` of the original frame.
        codec: ``'stt'`` or ``'crw'``.

    Returns:
        ``[J, 2]`` of the type of ``label``, (x, y) in pixels of the original frame; (-1, -1) where a channel sums to 0.

    Raises:
        ValueError: ``label`` is not ``[K, h, w]``, or there is no such codec.
    """
    _check_codec(codec)
    if label.ndim != 3:
        raise ValueError(f'Expected a label [K, h, w], got shape {list(label.shape)}.')
    maps = resize_label(label, image_size) if codec == 'stt' else label[1:]
    height, width = maps.shape[-2:]
    flat = maps.flatten(1)
    values, index = flat.topk(min(TOPK[codec], flat.shape[1]))
    lost = flat.sum(1, keepdim=True) == 0
    weights = values / torch.where(lost, 1.0, values.sum(1, keepdim=True))
    rows = index.div(width, rounding_mode='floor')
    position = torch.stack([(weights * (index % width)).sum(1), (weights * rows).sum(1)], dim=1)
    if codec == 'crw':
        position = position * position.new_tensor([image_size[1] / width, image_size[0] / height])
    return torch.where(lost, LOST, position)


def _check_codec(codec: str) -> None:
    if codec not in SIGMA:
        raise ValueError(f'codec must be one of {", ".join(map(repr, SIGMA))}, got {codec!r}.')
