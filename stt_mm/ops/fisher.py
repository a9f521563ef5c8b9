"""Diagonal Fisher information from gradients, and the quadratic penalty that it weighs."""

from collections.abc import Mapping

import torch
from torch import Tensor


def add_squared(sums: dict[str, Tensor], gradients: Mapping[str, Tensor | None]) -> None:
    """Add the squared gradient of one sample to float64 sums, in place; ``None`` is a gradient of 0.

    The mean of these squares over samples is the diagonal of the empirical Fisher information: for a negative log
    likelihood ``-log p(x)`` it estimates ``E[(d log p / d theta) ** 2]``. The square of a *batch's* mean gradient is
    something else, and smaller.

    Args:
        sums: by name.
        gradients: of the same names and shapes.
    """
    for name, gradient in gradients.items():
        if gradient is not None:
            sums[name] += gradient.to(sums[name]).square()


def update_running(fisher: dict[str, Tensor], gradients: Mapping[str, Tensor | None], rate: float = 0.9) -> None:
    """``F <- rate * g ** 2 + (1 - rate) * F``, in place, with the mean gradient ``g`` of a batch.

    This is what the released STT code holds, not wired to its training: squares of means, and at a rate of 0.9 little
    more than the last batch.

    Args:
        fisher: by name, starting at 1.
        gradients: of the same names and shapes; ``None`` is a gradient of 0.
        rate: share of the new batch, in [0, 1].
    """
    for name, value in fisher.items():
        gradient = gradients[name]
        value.mul_(1 - rate)
        if gradient is not None:
            value.add_(gradient.to(value).square(), alpha=rate)


def scale_min_max(fisher: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor mapped to [0, 1] by its own minimum and maximum; one whose entries are all equal becomes 0."""
    scaled = {}
    for name, value in fisher.items():
        low, high = value.aminmax()
        scaled[name] = (value - low) / (high - low) if high > low else torch.zeros_like(value)
    return scaled


def quadratic_penalty(
    parameters: Mapping[str, Tensor], reference: Mapping[str, Tensor], fisher: Mapping[str, Tensor]
) -> Tensor:
    """``1/2 sum_p F_p (theta_p - theta*_p) ** 2``, a float32 scalar.

    Args:
        parameters: theta by name, at least one.
        reference: theta*, of the same names, shapes and device.
        fisher: F, likewise.
    """
    terms = [(fisher[name] * (value.float() - reference[name]).square()).sum() for name, value in parameters.items()]
    return 0.5 * torch.stack(terms).sum()
