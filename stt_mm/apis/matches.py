"""What a network takes for the same point in another frame."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from stt_mm.apis.labels import check_inside, given_points
from stt_mm.errors import InputError
from stt_mm.models.propagator import check_finite, comparable
from stt_mm.ops import Vote, Window, principal_components, resize_label, vote_weights
from stt_mm.ops.devices import full_float32

if TYPE_CHECKING:
    from stt_mm.models import Correspondence


@dataclass(frozen=True)
class Matches:
    """Matches of P points of a target frame ``[H, W]`` in a reference frame.

    Attributes:
        weights: float32 ``[P, H, W]``, the softmax over all cells that may be matched, at the size of the frame.
        gathered: likewise the Gaussians that vote in its place, where the protocol says so; else ``None``.
        points: float32 ``[P, 2]``, (x, y) in pixels, centre of the cell with the largest weight.
        largest: float32 ``[P]``, that weight.
        target, reference: uint8 ``[H, W, 3]``, the first three principal components of the features of both frames
            together, as red, green and blue.
    """

    weights: np.ndarray
    gathered: np.ndarray | None
    points: np.ndarray
    largest: np.ndarray
    target: np.ndarray
    reference: np.ndarray


@full_float32()
def find_matches(
    model: 'Correspondence', reference: np.ndarray, target: np.ndarray, points: np.ndarray, whole_frame: bool = False
) -> Matches:
    """Matches as the protocol of a model makes them, with one frame in the memory and the vote of all its cells.

    A protocol that treats frames apart (the first one, or those long past) is taken by what it says of all others.

    Args:
        model: with a propagator, such as :attr:`stt_mm.apis.VideoPropagator.model`.
        reference: uint8 ``[H, W, 3]``, RGB, the frame that is searched.
        target: likewise of one size with it, the frame that asks.
        points: ``[P, 2]``, (x, y) in pixels of the target frame.
        whole_frame: search all of it, whatever the protocol's window.

    Raises:
        ValueError: what are no frames or of two sizes, or no points or one that lies outside.
    """
    for name, image in (('reference', reference), ('target', target)):
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            got = f'{image.dtype} {list(image.shape)}' if isinstance(image, np.ndarray) else type(image).__name__
            raise InputError(f'The {name} frame must be a NumPy array uint8 [H, W, 3], RGB, got {got}.')
    points = given_points(points, 'Points of the target frame')
    if not len(points):
        raise InputError('There is nothing to match: give a point of the target frame.')
    if reference.shape != target.shape:
        raise InputError(
            f'The frames must have one size, got {list(reference.shape[:2])} and {list(target.shape[:2])} (height, '
            'width). Take two frames of one video.'
        )
    check_inside(points, target.shape[:2], ' of the target frame')
    protocol, frame = model.propagator.protocol, target.shape[:2]
    features = [model.feature(image).float() for image in (reference, target)]
    for number, feature in enumerate(features):
        check_finite(bool(torch.isfinite(feature).all()), number)
    keys, queries = (comparable(feature, protocol.normalize) for feature in features)
    size, grid = protocol.padded(frame), tuple(queries.shape[1:])
    scale = np.array(grid) / size
    cells = [tuple(int(place) for place in (point[::-1] + 0.5) * scale) for point in np.asarray(points, np.float64)]
    window = None
    if protocol.window is not None and not whole_frame:
        window = Window(protocol.window, protocol.radius, protocol.strict)

    def voted(vote: Vote) -> Tensor:
        return vote_weights(queries, keys, cells, window, vote, protocol.border)

    weights = voted(Vote('softmax', protocol.temperature))
    largest, best = weights.flatten(1).max(1)
    centres = np.stack(np.unravel_index(best.cpu().numpy(), grid), 1)
    found = np.clip((centres + 0.5) / scale - 0.5, 0, np.array(frame) - 1)[:, ::-1]
    to_frame = _to_frame(size, frame)
    gathered = None
    if protocol.vote == 'compact':
        numbers = {name: getattr(protocol, name) for name in ('components', 'sigma', 'mass', 'threshold')}
        gathered = to_frame(voted(Vote('compact', protocol.temperature, **numbers)))
    colors = principal_components(torch.cat([part.flatten(1) for part in (queries, keys)], 1).t())
    pictures = [
        np.rint(255 * to_frame(part.t().unflatten(1, grid)).transpose(1, 2, 0)).astype(np.uint8)
        for part in colors.chunk(2)
    ]
    return Matches(
        to_frame(weights), gathered, np.ascontiguousarray(found, np.float32), largest.cpu().numpy(), *pictures
    )


def _to_frame(size: tuple[int, int], frame: tuple[int, int]) -> Callable[[Tensor], np.ndarray]:
    """Maps ``[K, h, w]`` of the features to the frame, what was padded cut off."""
    return lambda maps: resize_label(maps, size)[:, : frame[0], : frame[1]].cpu().numpy()
