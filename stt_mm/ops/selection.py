"""How sure each query is of its match, and which queries are kept for distillation."""

from typing import Literal

import torch
from torch import Tensor

EPS = 1e-12
BORDER = 3


def window_entropy(
    affinity: Tensor, measure: Literal['neg_log_sum', 'shannon'], inside: Tensor | None = None
) -> Tensor:
    """Entropy of each query's distribution over its window.

    Args:
        affinity: ``[B, Q, K]``, rows sum to 1.
        measure: ``neg_log_sum`` is the sum of ``-log(c + 1e-12)`` that the paper prints and the code runs. It is
            ``K ln K + K KL(uniform || c)``: smallest for the flat distribution, so it grows with confidence.
            ``shannon`` is the sum of ``-c log c``, largest for the flat distribution.
        inside: bool ``[Q, K]``; cells that count. ``None``: all.

    Returns:
        ``[B, Q]``, in nats.
    """
    log = (affinity + EPS).log().neg()
    terms = affinity * log if measure == 'shannon' else log
    if inside is not None:
        terms = terms * inside
    return terms.sum(-1)


def keep_per_image(entropy: Tensor, keep_ratio: float) -> Tensor:
    """The queries of each image whose value exceeds that of rank ``int(n * keep_ratio) - 1``.

    Args:
        entropy: ``[B, H, W]``.
        keep_ratio: part that is kept, in (0, 1].

    Returns:
        bool ``[B, H, W]``; without ties exactly ``int(H * W * keep_ratio) - 1`` per image.
    """
    flat = entropy.flatten(1)
    ranked = flat.sort(dim=1, descending=True).values
    rank = max(int(flat.shape[1] * keep_ratio) - 1, 0)
    return (flat > ranked[:, rank : rank + 1]).view_as(entropy)


def keep_per_batch(entropy: Tensor, keep_ratio: float) -> Tensor:
    """As :func:`keep_per_image`, with one threshold for the whole batch."""
    return keep_per_image(entropy.reshape(1, 1, -1), keep_ratio).view_as(entropy)


def keep_released(entropy: Tensor, keep_ratio: float) -> Tensor:
    """The rule of the released code: the threshold is a row of values, one per column.

    The map is sorted inside each image row, and row ``int(H * keep_ratio) - 1`` serves as the threshold of all rows, so
    the kept part rises from the left edge (about 3 %) to the right edge (about 97 %).

    Args:
        entropy: ``[B, H, W]``.
        keep_ratio: chooses the row.

    Returns:
        bool ``[B, H, W]``.
    """
    ranked = entropy.sort(dim=-1, descending=True).values
    row = max(int(entropy.shape[1] * keep_ratio) - 1, 0)
    return entropy > ranked[:, row : row + 1]


def soft_weights(entropy: Tensor) -> Tensor:
    """Entropy scaled to [0, 1] per image after a border of three cells was set to 0 (the released ``T = -1``).

    Args:
        entropy: ``[B, H, W]``.

    Returns:
        ``[B, H, W]`` weights.
    """
    inner = torch.zeros_like(entropy)
    inner[:, BORDER:-BORDER, BORDER:-BORDER] = entropy[:, BORDER:-BORDER, BORDER:-BORDER]
    flat = inner.flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    return ((flat - low) / (high - low + EPS)).view_as(entropy)
