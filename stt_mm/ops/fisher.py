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
