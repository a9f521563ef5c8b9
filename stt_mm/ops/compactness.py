"""Affinities gathered around their best matches: mixtures of Gaussians (LIIR, Eq. 7)."""

import math

import torch
from torch import Tensor

# Half width in cells of the surroundings from which the width of a Gaussian is estimated, and its least variance.
SURROUNDINGS = 2
LEAST_VARIANCE = 0.25
# A full width at half maximum of one cell.
ONE_CELL = 1 / (2 * math.sqrt(2 * math.log(2)))


def compact(
    heat: Tensor,
    rows: Tensor | None = None,
    columns: Tensor | None = None,
    components: int = 2,
    sigma: float | None = None,
) -> Tensor:
    """Each heat map as a mixture of isotropic Gaussians around its highest cells, which may lie side by side.

    A Gaussian has the share of its cell in the highest ones, and as variance half the mean squared distance of what
    lies within 2 cells and belongs to it: a cell belongs to a Gaussian as far as one of variance 1 reaches it.

    Args:
        heat: ``[N, Y, X, F, M]``, ``N * F * M`` maps of ``Y`` rows and ``X`` columns, not negative.
        rows: bool ``[N, Y, F, M]``, broadcast, rows that take part; ``None``: all.
        columns: the same of columns, ``[N, X, F, M]``.
        components: number of Gaussians; one is left out where the map has no further cell.
        sigma: standard deviation of all of them, in cells; ``None``: estimated, at least 0.5.

    Returns:
        ``[N, Y, X, F, M]``, sums 1 over the cells that take part, 0 elsewhere. No gradient goes through it.
    """
    with torch.no_grad():
        best, y, x = _peaks(heat, rows, columns, components)
        best = best.clamp(min=0)
        weights = best / best.sum(1, keepdim=True).clamp(min=torch.finfo(heat.dtype).tiny)
        variances = _variances(heat, rows, columns, weights, y, x) if sigma is None else sigma**2
        vertical, horizontal = (
            _profiles(place, variances, length, inside, heat.dtype)
            for place, length, inside in ((y, heat.shape[1], rows), (x, heat.shape[2], columns))
        )
        heights = weights / variances
        total = (heights * vertical.sum(2) * horizontal.sum(2)).sum(1, keepdim=True)
        return _mixture(heights / total.clamp(min=torch.finfo(heat.dtype).tiny), vertical, horizontal)


def peaks_of_one_cell(
    heat: Tensor,
    rows: Tensor | None = None,
    columns: Tensor | None = None,
    components: int = 2,
    sigma: float = ONE_CELL,
) -> tuple[Tensor, Tensor]:
    """The same as the public unofficial code has it: heights from the softmax of the highest values, no sum of 1.

    Args:
        heat, rows, columns: as in :func:`compact`.
        components: number of Gaussians.
        sigma: their standard deviation, in cells.

    Returns:
        ``[N, Y, X, F, M]``, and the highest value of each map, ``[N, F, M]``. No gradient goes through either.
    """
    with torch.no_grad():
        best, y, x = _peaks(heat, rows, columns, components)
        sides = ((y, heat.shape[1], rows), (x, heat.shape[2], columns))
        vertical, horizontal = (
            _profiles(place, sigma**2, length, inside, heat.dtype) for place, length, inside in sides
        )
        return _mixture(best.softmax(1), vertical, horizontal), best[:, 0]


def _peaks(heat: Tensor, rows: Tensor | None, columns: Tensor | None, components: int) -> tuple[Tensor, ...]:
    """Values, rows and columns ``[N, K, F, M]`` of the highest cells, the first of equal ones; -1 where none is."""
    if rows is not None:
        heat = heat.where(rows[:, :, None] & columns[:, None], -1)
    flat = heat.flatten(1, 2)
    best, places = [], []
    for k in range(components):
        value, place = flat.max(1)
        best.append(value)
        places.append(place)
        if k + 1 < components:
            flat = flat.scatter(1, place[:, None], -1)
    place = torch.stack(places, 1)
    return torch.stack(best, 1), place.div(heat.shape[2], rounding_mode='floor'), place % heat.shape[2]


def _variances(
    heat: Tensor, rows: Tensor | None, columns: Tensor | None, weights: Tensor, y: Tensor, x: Tensor
) -> Tensor:
    """``[N, K, F, M]``."""
    (_, tall, wide, frames, queries), flat = heat.shape, heat.flatten(1, 2)
    steps = torch.arange(-SURROUNDINGS, SURROUNDINGS + 1, device=heat.device)
    dy, dx = (step.flatten()[:, None, None] for step in torch.meshgrid(steps, steps, indexing='ij'))
    found = []
    for k in range(y.shape[1]):
        near_y, near_x = y[:, k, None] + dy, x[:, k, None] + dx
        valid = (near_y >= 0) & (near_y < tall) & (near_x >= 0) & (near_x < wide)
        near_y, near_x = near_y.clamp(0, tall - 1), near_x.clamp(0, wide - 1)
        for inside, place in ((rows, near_y), (columns, near_x)):
            if inside is not None:
                inside = inside.expand(-1, -1, frames, queries)
                valid = valid & inside.gather(1, place)
        near = flat.gather(1, near_y * wide + near_x) * valid
        distances = (near_y[:, None] - y[:, :, None]) ** 2 + (near_x[:, None] - x[:, :, None]) ** 2
        distances = distances.to(heat.dtype)
        reached = weights[:, :, None] * (-distances / 2).exp()
        near = near * (reached[:, k] / reached.sum(1).clamp(min=torch.finfo(heat.dtype).tiny))
        total = near.sum(1).clamp(min=torch.finfo(heat.dtype).tiny)
        found.append(((near * distances[:, k]).sum(1) / (2 * total)).clamp(min=LEAST_VARIANCE))
    return torch.stack(found, 1)


def _profiles(
    place: Tensor, variances: Tensor | float, length: int, inside: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """``[N, K, L, F, M]``: the Gaussians along one side."""
    cells = torch.arange(length, device=place.device)[:, None, None]
    variances = variances[:, :, None] if isinstance(variances, Tensor) else variances
    profile = (-((cells - place[:, :, None]) ** 2).to(dtype) / (2 * variances)).exp()
    return profile if inside is None else profile * inside[:, None]


def _mixture(heights: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    vertical = heights[:, :, None] * vertical
    return sum(vertical[:, k, :, None] * horizontal[:, k, None] for k in range(heights.shape[1]))
