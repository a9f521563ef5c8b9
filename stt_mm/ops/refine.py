"""Points to a fraction of a pixel: patches of earlier frames found again in a frame, near where points are expected.

Label maps know a point to about a cell. What is compared here are patches of the frames themselves, at a quarter, at
half and then at full resolution, by their normalised cross-correlation, which brightness and contrast do not change. A
parabola through the best shift and its neighbours gives the fraction of a pixel. What lies outside of either frame is
left out. What each step costs, and keeps in memory, is some thousand values per point, whatever the size of the frame.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# What a shift of one pixel costs, in units of the correlation: where nothing tells shifts apart, the smallest is taken.
PENALTY = 1e-3
# Shifts of half and of the full resolution, in pixels of theirs to each side of what the one before found.
REACH = 2
# By how much a further start must match better than the one before it, so that repeated patterns do not move points.
MARGIN = 0.1
# Below it a patch is one colour, and the correlation has no meaning.
FLAT = 1e-5
# Pixels of the areas that are searched together; the bound of the memory.
_TOGETHER = 2**18


_STEPS = (4, 2, 1)


class Pyramid(NamedTuple):
    """A frame ``[C, h, w]`` at a quarter, at half and at full resolution."""

    quarter: Tensor
    half: Tensor
    full: Tensor


class Patches(NamedTuple):
    """Patches ``[J, C + 1, n, n]`` around points, of each level of a :class:`Pyramid`.

    The last channel is 1 where a pixel lies in the frame and 0 outside.
    """

    quarter: Tensor
    half: Tensor
    full: Tensor


def pyramid(frame: Tensor) -> Pyramid:
    """A frame ``[C, h, w]``, and the same at lower resolutions."""
    frame = frame.float()
    half = F.avg_pool2d(frame[None], 2, ceil_mode=True)
    return Pyramid(F.avg_pool2d(half, 2, ceil_mode=True)[0], half[0], frame)


def point_patches(frame: Pyramid, points: Tensor, half_width: int) -> Patches:
    """What is around points ``[J, 2]``, (x, y) in pixels whose centres are whole numbers.

    Args:
        frame: to be cut from, between pixels bilinearly.
        points: finite.
        half_width: of the patches, which have ``2 * half_width + 1`` pixels a side at each level.
    """
    return Patches(*(_cut(level, points, step, half_width) for step, level in zip(_STEPS, frame, strict=True)))


def refined_points(
    frame: Pyramid, starts: Sequence[Tensor], references: Sequence[Patches], radius: int
) -> tuple[Tensor, Tensor]:
    """Where points are that look like their references.

    Args:
        frame: in which they are looked for.
        starts: one or more ``[J, 2]``, (x, y), where each point may be. It is looked for around each of these places;
            a later one is taken if what is there matches better by :data:`MARGIN`.
        references: one or more patches of each point; their correlations are averaged.
        radius: pixels by which a point may lie beside a start, in x and in y.

    Returns:
        ``[J, 2]``, (x, y) inside of the frame, and ``[J]``, the mean correlation there at half resolution, at most 1.
        Each point is looked for by itself.
    """
    found = []
    with torch.autocast(frame.full.device.type, enabled=False):
        reach = max(-(-radius // _STEPS[0]), REACH) + references[0].full.shape[2] // 2
        together = max(1, _TOGETHER // (2 * reach + 1) ** 2)
        for first in range(0, len(starts[0]), together):
            rows = slice(first, first + together)
            chosen = [Patches(*(level[rows] for level in patches)) for patches in references]
            found.append(_refined(frame, [start[rows].float() for start in starts], chosen, radius))
    if not found:
        return starts[0].float(), starts[0].new_zeros(0)
    points, values = (torch.cat(part) for part in zip(*found, strict=True))
    height, width = frame.full.shape[1:]
    x, y = points.unbind(1)
    return torch.stack([x.clamp(0, width - 1), y.clamp(0, height - 1)], dim=1), values


def _refined(frame: Pyramid, starts: list[Tensor], references: list[Patches], radius: int) -> tuple[Tensor, Tensor]:
    best, likeness = starts[0], torch.full_like(starts[0][:, 0], -torch.inf)
    for start in starts:
        place, _ = _best_place(0, frame, start, references, -(-radius // _STEPS[0]))
        place, value = _best_place(1, frame, place, references, REACH)
        better = value > likeness + MARGIN
        best = torch.where(better[:, None], start + (place - start).clamp(-radius, radius), best)
        likeness = torch.where(better, value, likeness)
    best, _ = _best_place(2, frame, best, references, REACH)
    return best, likeness


def _best_place(
    level: int, frame: Pyramid, points: Tensor, references: list[Patches], reach: int
) -> tuple[Tensor, Tensor]:
    """The best place ``[J, 2]`` and its value ``[J]``, among ``2 * reach + 1`` pixels of a level in x and in y."""
    half_width, step = references[0].full.shape[2] // 2, _STEPS[level]
    area = _cut(frame[level], points, step, reach + half_width)
    values = sum(_correlation(area, patches[level]) for patches in references) / len(references)
    values = values - PENALTY * (_lattice(reach, points) * step).square().sum(2)
    return points + _peak(values, reach) * step, values.flatten(1).amax(1)


def _cut(level: Tensor, points: Tensor, step: int, reach: int) -> Tensor:
    """``[J, C + 1, n, n]``: a level of a pyramid, whose pixels are ``step`` wide, around points of the frame.

    The last channel tells what is inside. Outside the outer pixels go on.
    """
    places = (points[:, None, None].float() + _lattice(reach, points) * step).flatten(1, 2)
    height, width = (side * step for side in level.shape[1:])
    x, y = (places + 0.5).unbind(2)
    grid = torch.stack([x / width * 2 - 1, y / height * 2 - 1], dim=2)
    found = F.grid_sample(level[None], grid[None], padding_mode='border', align_corners=False)[0]
    inside = (grid.abs() <= 1).all(2, keepdim=True).movedim(2, 0)
    found = torch.cat([found, inside.to(found)])
    return found.transpose(0, 1).unflatten(2, (2 * reach + 1,) * 2)


def _lattice(reach: int, like: Tensor) -> Tensor:
    """``[n, n, 2]``: (x, y) of whole numbers from ``-reach`` to ``reach``."""
    numbers = torch.arange(-reach, reach + 1, device=like.device, dtype=torch.float32)
    y, x = torch.meshgrid(numbers, numbers, indexing='ij')
    return torch.stack([x, y], dim=2)


def _correlation(area: Tensor, patch: Tensor) -> Tensor:
    """``[J, m, m]``: normalised cross-correlation of patches ``[J, C + 1, n, n]`` with all places in their areas.

    It is that of the pixels that are inside in both, whose means are those of each channel and whose deviation is that
    of all channels together.
    """
    cut = (area[:, -1].amin((1, 2)) == 0) | (patch[:, -1].amin((1, 2)) == 0)
    values = area.new_empty(len(area), *(side - patch.shape[2] + 1 for side in area.shape[2:]))
    for rows, correlate in ((~cut, _correlation_of_whole), (cut, _correlation_of_cut)):
        if rows.any():
            values[rows] = correlate(area[rows], patch[rows])
    return values


def _correlation_of_whole(area: Tensor, patch: Tensor) -> Tensor:
    area, patch = area[:, :-1], patch[:, :-1]
    count, channels, side, _ = patch.shape
    patch = patch - patch.mean((2, 3), keepdim=True)
    product = F.conv2d(area.flatten(0, 1)[None], patch, groups=count)[0]
    # Less their own mean first, so that the variance does not come from the difference of large numbers.
    area = area - area.mean((2, 3), keepdim=True)
    mean = F.avg_pool2d(area, side, stride=1)
    spread = (F.avg_pool2d(area.square(), side, stride=1) - mean.square()).sum(1).clamp(min=0) * side**2
    return product / ((spread * patch.square().sum((1, 2, 3))[:, None, None]).sqrt() + FLAT * channels * side**2)


def _correlation_of_cut(area: Tensor, patch: Tensor) -> Tensor:
    """As in a sum over pixels with weights that are 1 where both are inside, at each place others."""
    (area, weight), (patch, inside) = area.split((len(area[0]) - 1, 1), 1), patch.split((len(patch[0]) - 1, 1), 1)
    area, patch = (
        (part - (part * one).sum((2, 3), keepdim=True) / one.sum((2, 3), keepdim=True).clamp(min=1)) * one
        for part, one in ((area, weight), (patch, inside))
    )

    def summed(values: Tensor, weights: Tensor) -> Tensor:
        """``[J, N, m, m]``: sums over patches of N values, or one, times N weights, or one, per point."""
        count = max(values.shape[1], weights.shape[1])
        values, weights = (part.expand(-1, count, -1, -1).flatten(0, 1) for part in (values, weights))
        found = F.conv2d(values[None], weights[:, None], groups=len(values))
        return found.unflatten(1, (-1, count))[0]

    pixels = summed(weight, inside).clamp(min=1)
    area_sum, patch_sum = summed(area, inside), summed(weight, patch)
    product = (summed(area, patch) - area_sum * patch_sum / pixels).sum(1)
    area_spread = (summed(area.square(), inside) - area_sum.square() / pixels).sum(1).clamp(min=0)
    patch_spread = (summed(weight, patch.square()) - patch_sum.square() / pixels).sum(1).clamp(min=0)
    return product / ((area_spread * patch_spread).sqrt() + FLAT * area.shape[1] * pixels[:, 0])


def _peak(values: Tensor, reach: int) -> Tensor:
    """``[J, 2]``: (x, y) of the highest of ``[J, n, n]`` values from the middle, by a parabola between its neighbours.

    At the rim, where a neighbour is missing, it is the place itself.
    """
    flat, side = values.flatten(1), values.shape[2]
    index = flat.argmax(1)
    x, y = index % side, index.div(side, rounding_mode='floor')
    inner_x, inner_y = x.clamp(1, side - 2), y.clamp(1, side - 2)

    def between(middle: Tensor, stride: int) -> Tensor:
        low, centre, high = (flat.gather(1, (middle + d)[:, None])[:, 0] for d in (-stride, 0, stride))
        bend = low - 2 * centre + high
        return ((low - high) / torch.where(bend < 0, 2 * bend, -torch.inf)).clamp(-0.5, 0.5)

    along_x = torch.where(x == inner_x, between(y * side + inner_x, 1), 0.0)
    along_y = torch.where(y == inner_y, between(inner_y * side + x, side), 0.0)
    return torch.stack([x - reach + along_x, y - reach + along_y], dim=1)
