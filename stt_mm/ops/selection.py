"""How sure each query is of its match, and which queries are kept for distillation."""

from typing import Literal

import torch
from torch import Tensor

from stt_mm.ops.windows import local_correlation, window_mask

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


KEEP = dict(released=keep_released, per_image=keep_per_image, batch=keep_per_batch)


def select_queries(
    query: Tensor, key: Tensor, affinity: Tensor, selection: str, measure: str, source: str, keep_ratio: float
) -> Tensor:
    """Weight of each query in distillation, by how sure it is of its match.

    A compiler gets it as one piece that it leaves as it is: raw products saturate the softmax, so that many entropies
    are equal but for their last digit, and the rules compare them. Sums in another order would keep other queries.

    Args:
        query: ``[B, C, H, W]``, features of the target.
        key: ``[B, C, H, W]``, features of the reference.
        affinity: ``[B, H * W, (2r + 1) ** 2]``, between them.
        selection: a key of :data:`KEEP`, or ``soft``, see :func:`soft_weights`.
        measure: of :func:`window_entropy`.
        source: ``window``: the softmax of raw products over all cells of the window, as the released code has it;
            ``affinity``: the affinity inside the frame.
        keep_ratio: part that is kept.

    Returns:
        ``[B, H * W]``, bool, or float from ``soft``.
    """
    function = _select_opaque if torch.compiler.is_compiling() else _select
    return function(query, key, affinity, selection, measure, source, keep_ratio)


def _select(
    query: Tensor, key: Tensor, affinity: Tensor, selection: str, measure: str, source: str, keep_ratio: float
) -> Tensor:
    inside, radius = None, round(affinity.shape[-1] ** 0.5) // 2
    if source == 'window':
        affinity = local_correlation(query, key, radius).softmax(-1)
    else:
        inside = window_mask(*query.shape[-2:], radius, query.device)
    entropy = window_entropy(affinity, measure, inside).view(-1, *query.shape[-2:])
    weight = soft_weights(entropy) if selection == 'soft' else KEEP[selection](entropy, keep_ratio)
    return weight.flatten(1)


_select_opaque = torch.library.custom_op('stt_mm::select_queries', _select, mutates_args=())


@_select_opaque.register_fake
def _(query, key, affinity, selection, measure, source, keep_ratio) -> Tensor:
    return affinity.new_empty(affinity.shape[:2], dtype=None if selection == 'soft' else torch.bool)
