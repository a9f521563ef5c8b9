"""Contrastive random walk (CRW): patches of frames as nodes, steps between frames, walks there and back."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# As in the released code. The logit of a dropped edge is finite lest a row of nothing else is NaN.
DROPPED = -1e20
EPS = 1e-20
# Width / height, and how often a box is drawn, of torchvision's RandomResizedCrop, which the released code uses.
_ASPECT = (3 / 4, 4 / 3)
_ATTEMPTS = 10


def grid_boxes(size: tuple[int, int], grid: int) -> Tensor:
    """Patches that overlap by half and cover a frame.

    Args:
        size: (height, width) of the frame.
        grid: patches per side; 7 gives 64 x 64 patches at stride 32 for 256 x 256.

    Returns:
        float32 ``[grid ** 2, 4]``, row by row: top, left, height and width in pixels.

    Raises:
        ValueError: if the sides are no multiples of ``grid + 1``, or the patches smaller than 16 x 16.
    """
    cells = grid + 1
    # A patch of 16 pixels has two cells per side at stride 8, the least that reflect padding works on.
    if any(side % cells for side in size) or min(size) < 8 * cells:
        raise ValueError(
            f'{grid} x {grid} patches need frames whose sides are multiples of {cells} and at least '
            f'{8 * cells}, got {size[0]} x {size[1]}. Change size in the pipeline, or grid.'
        )
    strides = torch.tensor([side // cells for side in size])
    corners = torch.cartesian_prod(torch.arange(grid), torch.arange(grid)).view(-1, 2) * strides
    return torch.cat([corners, (2 * strides).expand_as(corners)], dim=1).float()


def draw_crops(rng: np.random.Generator, count: int, area: tuple[float, float]) -> Tensor:
    """Boxes inside a square of side 1: area uniform, width / height uniform in the logarithm, any place alike.

    Returns:
        float32 ``[count, 4]``: top, left, height and width. Where no draw fits, it is the whole square.
    """
    areas = rng.uniform(*area, (_ATTEMPTS, count))
    aspects = np.exp(rng.uniform(*np.log(_ASPECT), (_ATTEMPTS, count)))
    sides = np.sqrt([areas / aspects, areas * aspects])
    fits = (sides <= 1).all(0)
    chosen = np.where(fits.any(0), sides[:, fits.argmax(0), np.arange(count)], 1)
    corners = rng.uniform(size=(2, count)) * (1 - chosen)
    return torch.from_numpy(np.concatenate([corners, chosen]).T).float()


def cut_patches(frames: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes of frames, resized bilinearly; a box at whole pixels and of the target's size is copied.

    Args:
        frames: ``[M, C, H, W]``.
        boxes: ``[M, N, 4]``: top, left, height and width in pixels, inside the frame.
        size: (h, w) of a patch.

    Returns:
        ``[M, N, C, h, w]``.
    """
    places = []
    for axis, length in enumerate(size):
        steps = (torch.arange(length, device=boxes.device) + 0.5) / length
        pixels = boxes[..., axis, None] + boxes[..., axis + 2, None] * steps
        places.append(2 * pixels / frames.shape[axis + 2] - 1)
    y, x = torch.broadcast_tensors(places[0][..., :, None], places[1][..., None, :])
    grid = torch.stack([x, y], dim=-1).flatten(1, 2)
    patches = F.grid_sample(frames, grid, padding_mode='border', align_corners=False)
    return patches.unflatten(2, (boxes.shape[1], size[0])).transpose(1, 2)


def transitions(
    a: Tensor, b: Tensor, temperature: float, edge_dropout: float = 0.0, generator: torch.Generator | None = None
) -> Tensor:
    """Probabilities of a step from each node of one frame to the nodes of another: softmax(cosine / temperature).

    Args:
        a: ``[..., N, D]``, float32 or float64, nodes of length 1.
        b: ``[..., M, D]``, the same.
        temperature: divides the cosines.
        edge_dropout: probability with which an edge is left out; the others of its row then sum to 1. A row that loses
            all its edges is flat, 1 / M, and has no gradient.
        generator: source of the dropout, on the device of the nodes.

    Returns:
        ``[..., N, M]``, rows sum to 1.
    """
    logits = a @ b.transpose(-1, -2) / temperature
    if edge_dropout > 0:
        drawn = torch.rand(logits.shape, generator=generator, device=logits.device)
        logits = logits.masked_fill(drawn < edge_dropout, DROPPED)
    return logits.softmax(-1)


def round_trips(
    nodes: Tensor,
    temperature: float,
    edge_dropout: float = 0.0,
    one_step: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Where walks end that go from the first frame to a later one and back: ``A_1 ... A_k B_k ... B_1`` for k steps.

    Walks of all lengths share the matrices ``A_t`` there and ``B_t`` back, each of which drops edges on its own.

    Args:
        nodes: ``[B, T, N, D]``, of length 1.
        temperature, edge_dropout, generator: see :func:`transitions`.
        one_step: count k = 1 too, which the released code (``model.py``) leaves out. With T = 2 it always counts, as
            there is no other walk.

    Returns:
        ``[L, B, N, N]``, shortest walk first, L = T - 1 or T - 2; row n is where the walk from node n ends.

    Raises:
        ValueError: for fewer than two frames.
    """
    if nodes.shape[1] < 2:
        raise ValueError(
            f'A walk needs clips of 2 frames or more, got {nodes.shape[1]}. Raise clip_length of the dataset.'
        )
    earlier, later = nodes[:, :-1], nodes[:, 1:]
    ahead = transitions(earlier, later, temperature, edge_dropout, generator).unbind(1)
    back = transitions(later, earlier, temperature, edge_dropout, generator).unbind(1)
    there, home = ahead[0], back[0]
    trips = [there @ home]
    for step_ahead, step_back in zip(ahead[1:], back[1:], strict=True):
        there, home = there @ step_ahead, step_back @ home
        trips.append(there @ home)
    return torch.stack(trips if one_step or len(trips) == 1 else trips[1:])


def walk_loss(trips: Tensor) -> Tensor:
    """Cross-entropy of walks that should end where they began: mean of -log(p + 1e-20) over nodes, clips and lengths.

    The constant is all the stability that is needed: a walk whose way home is dropped, or less probable than float32
    can hold, costs 46.05 and has a finite gradient. In log space it would cost 1e20. Flat walks cost log N.

    Args:
        trips: ``[..., N, N]``, of :func:`round_trips`.
    """
    return -(trips.diagonal(dim1=-2, dim2=-1) + EPS).log().mean()
