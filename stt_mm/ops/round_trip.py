"""Points that something hides: from where they were found, the way back leads elsewhere."""

import torch
import torch.nn.functional as F
from torch import Tensor

from stt_mm.ops.points import rescale_points


def way_back(feature: Tensor, points: Tensor, origin: Tensor, size: tuple[int, int]) -> Tensor:
    """Where points of one frame are in another one, each by its best match among all cells there.

    Args:
        feature: ``[C, h, w]`` of the frame, L2-normalised by the caller if cosines are wanted.
        points: ``[J, 2]``, (x, y) in pixels of the network's input, whose centres are whole numbers.
        origin: ``[C, h', w']`` of the other frame.
        size: (height, width) of the network's input.

    Returns:
        ``[J, 2]``, the centres of these cells, in the same pixels.
    """
    feature, origin = feature.float(), origin.float()
    # Between the cells features are mixed; beyond the outer ones, theirs hold.
    places = rescale_points(points.float(), size, (2, 2)) - 0.5
    queries = F.grid_sample(feature[None], places[None, None], padding_mode='border', align_corners=False)[0, :, 0]
    best = (queries.t() @ origin.flatten(1)).argmax(1)
    width = origin.shape[2]
    cells = torch.stack([best % width, best.div(width, rounding_mode='floor')], dim=1)
    return rescale_points(cells.float(), tuple(origin.shape[1:]), size)


def hidden_points(
    feature: Tensor,
    found: Tensor,
    origin: Tensor,
    given: Tensor,
    size: tuple[int, int],
    input_size: tuple[int, int],
    limit: float,
) -> Tensor:
    """Which points do not lead back to where they were given (forward-backward consistency).

    Args:
        feature: ``[C, h, w]`` of a frame; see :func:`way_back`.
        found: ``[J, 2]``, (x, y) in pixels of the frame, where the points were found in it; negative where lost.
        origin: ``[C, h, w]`` of the frame that they were given in.
        given: ``[J, 2]``, where they were given; NaN where unknown.
        size, input_size: (height, width) of the frames and of the network's input.
        limit: pixels of the network's input that may lie between the end of the way back and the place that was given.

    Returns:
        bool ``[J]``; true for a point that is lost or unknown. Each point is looked at by itself.
    """
    found_there, given_there = (rescale_points(points.float(), size, input_size) for points in (found, given))
    back = way_back(feature, found_there, origin, input_size)
    return (found < 0).any(1) | ~((back - given_there).norm(dim=1) <= limit)
