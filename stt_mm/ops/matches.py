"""What a network takes for alike: the weights with which cells vote for a query, and features as three numbers."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from stt_mm.ops.propagation import Voters, propagate_many
from stt_mm.ops.search import Vote
from stt_mm.ops.tiling import Plan, Window

# Side of the tiles; those without a query are left out.
TILE = 8


def vote_weights(
    query: Tensor,
    key: Tensor,
    cells: Sequence[tuple[int, int]],
    window: Window | None,
    vote: Vote,
    border: Literal['excluded', 'zero'] = 'excluded',
) -> Tensor:
    """How much each cell of one memory frame counts for some queries.

    Labels that are carried through a video are linear in those of the memory, and the weights are the derivative: they
    are those of :func:`stt_mm.ops.propagate`, whatever the vote.

    Args:
        query: ``[C, H, W]``, features of the frame that asks (the target).
        key: ``[C, H, W]``, features of the frame that is searched (the reference).
        cells: (row, column) of each of N queries.
        window, vote, border: as of :func:`stt_mm.ops.propagate`.

    Returns:
        float32 ``[N, H, W]``; each map sums to 1, less what lies in a border of zeros.

    Raises:
        ValueError: shapes or arguments that do not fit each other.
    """
    margin = window.reach if border == 'zero' and window is not None else 0
    (height, width), keys = query.shape[1:], F.pad(key[None], [margin] * 4)
    plan = Plan((height, width), [window], TILE, device=query.device, margin=margin)
    numbers = torch.tensor([row * width + column for row, column in cells], device=query.device)
    plan.batches = [batch for batch in plan.batches if torch.isin(numbers, batch.queries).any()]
    labels = torch.zeros(1, 1, *keys.shape[2:], device=query.device, requires_grad=True)
    with torch.enable_grad():
        found = propagate_many(query.detach(), keys.detach(), [Voters(labels, [[1]])], plan, vote)[0].flatten()
        weights = [torch.autograd.grad(found[number], labels, retain_graph=True)[0][0, 0] for number in numbers]
    return torch.stack(weights)[:, margin : margin + height, margin : margin + width]


def principal_components(rows: Tensor, number: int = 3) -> Tensor:
    """Rows of features in the directions in which they differ most.

    The sign of a direction is free; here its largest entry is positive, so that equal features give equal numbers.

    Args:
        rows: ``[N, C]``.
        number: of the components.

    Returns:
        float32 ``[N, number]``, each scaled to [0, 1]: the middle 98 % fill it, what is beyond is cut. A component that
        the features do not have is 0.5.
    """
    centred = rows.double() - rows.double().mean(0)
    values, directions = torch.linalg.eigh(centred.t() @ centred)
    values, directions = values.flip(0)[:number], directions.flip(1)[:, :number]
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    found = centred @ (directions * largest.sign())
    low, high = found.quantile(0.01, 0), found.quantile(0.99, 0)
    # What is left by rounding is no component.
    there = (values > values[0] * 1e-10) & (high > low)
    scaled = torch.where(there, ((found - low) / (high - low)).clamp(0, 1), 0.5)
    return F.pad(scaled, (0, number - scaled.shape[1]), value=0.5).float()
