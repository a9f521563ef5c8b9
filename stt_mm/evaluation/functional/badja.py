"""PCK of BADJA, as the test of PIPs computes it: joints of animals against the size of the animal in each frame.

All is measured in a picture of 320 x 512 (height x width), whatever the aspect ratio of the video. A joint is right if
its distance is smaller than 0.2 times the square root of the area of the object in that frame. Scored is each joint
that is visible in an annotated frame after the first one, where all joints are given, visible or not. A video has one
percentage over all its scored joints; the benchmark is the mean over the videos.

The area is that of the pixels whose *red* is above 0 in the colours of DAVIS: of the ids up to 7, those are the odd
ones, so that the objects 2, 4 and 6 do not count. Where no such pixel is left, no joint is right.
"""

import numpy as np

from stt_mm.errors import InputError

SIZE = (320, 512)  # height, width
THRESHOLD = 0.2
_RED = 0b01001001  # bits of an id that show in the red of DAVIS' palette


def object_area(mask: np.ndarray) -> int:
    """Pixels of the object in a mask of ids, uint8 ``[H, W]``, resized to :data:`SIZE`."""
    rows, columns = (np.arange(new) * old // new for old, new in zip(mask.shape, SIZE, strict=True))
    return int(np.count_nonzero(mask[rows][:, columns] & _RED))


def to_scored_size(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Points ``[..., 2]``, (x, y) in pixels of a frame of this (height, width), in those of :data:`SIZE`."""
    return np.asarray(points, np.float64) * (SIZE[1] / size[1], SIZE[0] / size[0])


def correct_joints(predictions: np.ndarray, truths: np.ndarray, areas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which joints of a video are right, and which are scored.

    Args:
        predictions: ``[T, J, 2]``, (x, y) in pixels of :data:`SIZE`; not finite where a joint is lost.
        truths: ``[T, J, 2]``, NaN where a joint is not annotated or not visible. Frame 0 is the first annotated one.
        areas: ``[T]``, pixels of the object, see :func:`object_area`; what stands at frames without a joint is free.

    Returns:
        Two bool ``[T, J]``; what is right is scored.
    """
    predictions, truths, areas = (np.asarray(part, np.float64) for part in (predictions, truths, areas))
    if predictions.ndim != 3 or predictions.shape != truths.shape or areas.shape != predictions.shape[:1]:
        raise InputError(
            'Expected predictions and ground truth [T, J, 2] and areas [T], got '
            f'{list(predictions.shape)}, {list(truths.shape)} and {list(areas.shape)}.'
        )
    scored = ~np.isnan(truths).any(axis=2)
    scored[0] = False
    distance = np.linalg.norm(predictions - truths, axis=2)
    return scored & (distance < THRESHOLD * np.sqrt(areas)[:, None]), scored
