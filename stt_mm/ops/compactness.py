"""Affinities gathered around their best matches: mixtures of Gaussians (LIIR, Eq. 7)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

# Half width in cells of the surroundings from which the width of a Gaussian is estimated, and its least variance.
SURROUNDINGS = 2
LEAST_VARIANCE = 0.25
# Exponent below which there are only numbers so small that a CPU is slow with them.
NOTHING = -40.0
# A full width at half maximum of one cell.
ONE_CELL = 1 / (2 * math.sqrt(2 * math.log(2)))


class Mixture(NamedTuple):
    """``N * F * M`` mixtures of ``K`` Gaussians on ``Y x X`` cells, each the product of two profiles."""

    heights: Tensor  # [N, K, F, M]
    vertical: Tensor  # [N, K, Y, F, M]
    horizontal: Tensor  # [N, K, X, F, M]
    best: Tensor  # [N, F, M], highest value of the map that was gathered

    def maps(self) -> Tensor:
        """``[N, Y, X, F, M]``."""
        vertical = self.heights[:, :, None] * self.vertical
        return sum(vertical[:, k, :, None] * self.horizontal[:, k, None] for k in range(self.heights.shape[1]))


@torch.no_grad()
def gathered(
    heat: Tensor,
    rows: Tensor | None = None,
    columns: Tensor | None = None,
    components: int = 2,
    sigma: float | None = None,
    normalised: bool = True,
) -> Mixture:
    """Each heat map as a mixture of isotropic Gaussians around its highest cells, which may lie side by side.

    A Gaussian has the share of its cell in the highest ones, and as variance half the mean squared distance of what
    lies within 2 cells and belongs to it: a cell belongs to a Gaussian as far as one of variance 1 reaches it.

    Args:
        heat: ``[N, Y, X, F, M]``, ``N * F * M`` maps of ``Y`` rows and ``X`` columns, not negative; scale does not
            matter if they are ``normalised``.
        rows: bool ``[N, Y, F, M]``, broadcast, rows that take part; ``None``: all. The maps are 0 in the others.
        columns: the same of columns, ``[N, X, F, M]``.
        components: number of Gaussians.
        sigma: standard deviation of all of them, in cells; ``None``: estimated, at least 0.5.
        normalised: the sum over the cells is 1. Otherwise the heights, which sum to 1, are the softmax of the highest
            values, as in the public unofficial code.

    Returns:
        The mixtures, 0 outside of the rows and columns. No gradient goes through them.
    """
    best, y, x = _peaks(heat, components)
    tiny = torch.finfo(heat.dtype).tiny
    weights = best / best.sum(1, keepdim=True).clamp(min=tiny) if normalised else best.softmax(1)
    if sigma is None:
        variances = _variances(heat, weights, y, x)
    else:
        variances = torch.full_like(weights, sigma**2)
    vertical, horizontal = (
        _profiles(place, variances, length, inside)
        for place, length, inside in ((y, heat.shape[1], rows), (x, heat.shape[2], columns))
    )
    if normalised:
        weights = weights / variances
        total = (weights * vertical.sum(2) * horizontal.sum(2)).sum(1, keepdim=True)
        weights = weights / total.clamp(min=tiny)
    return Mixture(weights, vertical, horizontal, best[:, 0])


def _peaks(heat: Tensor, components: int) -> tuple[Tensor, Tensor, Tensor]:
    """Values, rows and columns ``[N, K, F, M]`` of the highest cells, of equal ones the first.

    The maps are read once, for the maximum of each row.
    """
    of_rows = heat.amax(2)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for left in range(components, 0, -1):
        value, y = of_rows.max(1)
        row = heat.gather(1, y[:, None, None].expand(-1, -1, heat.shape[2], -1, -1))[:, 0]
        for _, earlier_y, earlier_x in found:
            taken = row.gather(1, earlier_x[:, None]).where(earlier_y[:, None] != y[:, None], -1)
            row = row.scatter(1, earlier_x[:, None], taken)
        x = row.max(1).indices
        found.append((value.clamp(min=0), y, x))
        if left > 1:
            of_rows = of_rows.scatter(1, y[:, None], row.scatter(1, x[:, None], -1).amax(1, keepdim=True))
    return tuple(torch.stack(part, 1) for part in zip(*found, strict=True))


def _variances(heat: Tensor, weights: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """``[N, K, F, M]``."""
    (_, tall, wide, *_), tiny = heat.shape, torch.finfo(heat.dtype).tiny
    steps = torch.arange(-SURROUNDINGS, SURROUNDINGS + 1, device=heat.device)[:, None, None]
    # Along each side [N, K, 5, F, M], rows against columns [N, K, 5, 5, F, M].
    near_y, near_x = y[:, :, None] + steps, x[:, :, None] + steps
    cells = near_y.clamp(0, tall - 1)[:, :, :, None] * wide + near_x.clamp(0, wide - 1)[:, :, None]
    near = heat.flatten(1, 2).gather(1, cells.flatten(1, 3)).view(cells.shape)
    inside_y, inside_x = ((near_y >= 0) & (near_y < tall), (near_x >= 0) & (near_x < wide))
    near = near * (inside_y[:, :, :, None] & inside_x[:, :, None])
    # How far Gaussian j reaches a cell around k, as a multiple of what k does: of |p - k|^2 - |p - j|^2 the difference
    # of k and j is enough, row and column apart. [N, K, J, 5, F, M]
    steps = steps.to(heat.dtype)
    apart = torch.stack([y[:, :, None] - y[:, None], x[:, :, None] - x[:, None]])[..., None, :, :].to(heat.dtype)
    down, right = (-apart * (steps + apart * 0.5)).clamp(min=NOTHING).exp()
    reached = ((down * weights[:, None, :, None])[:, :, :, :, None] * right[:, :, :, None]).sum(2)
    near = near * (weights[:, :, None, None] / reached.clamp(min=tiny))
    squared = steps * steps
    squared = squared[:, None] + squared
    return ((near * squared).sum((2, 3)) / (2 * near.sum((2, 3))).clamp(min=tiny)).clamp(min=LEAST_VARIANCE)


def _profiles(place: Tensor, variances: Tensor, length: int, inside: Tensor | None) -> Tensor:
    """``[N, K, L, F, M]``: the Gaussians along one side."""
    offset = torch.arange(length, device=place.device)[:, None, None] - place[:, :, None]
    offset = offset.to(variances.dtype)
    profile = (offset * offset * (-0.5 / variances)[:, :, None]).clamp(min=NOTHING).exp()
    return profile if inside is None else profile * inside[:, None].to(profile.dtype)
