"""Region similarity J and boundary measure F of DAVIS, equal to the official evaluation of 2017 (semi-supervised).

One difference: the official code keeps the bin edges of the decay in eight bits, which overflow in videos of more than
256 frames. Here they do not.
"""

from functools import lru_cache

import cv2
import numpy as np

VOID = 255
MEASURES = ('J-Mean', 'J-Recall', 'J-Decay', 'F-Mean', 'F-Recall', 'F-Decay')


def region_similarity(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """J: intersection over union, 1 where both masks are empty.

    Args:
        prediction: bool ``[H, W]`` or ``[T, H, W]``.
        truth: of the same shape.

    Returns:
        float64, a scalar array or ``[T]``, in 0..1.

    Raises:
        ValueError: shapes differ or are not of two or three dimensions.
    """
    prediction, truth = _checked(prediction, truth)
    intersection = np.count_nonzero(prediction & truth, axis=(-2, -1))
    union = np.count_nonzero(prediction | truth, axis=(-2, -1))
    return np.where(union == 0, 1.0, intersection / np.maximum(union, 1))


def boundary_measure(prediction: np.ndarray, truth: np.ndarray, tolerance: float = 0.008) -> np.ndarray:
    """F: harmonic mean of boundary precision and recall, each within a disc around the other boundary.

    A pixel is on the boundary if it differs from its right, lower or lower right neighbour, so a mask that fills the
    frame has none. Both boundaries empty gives 1, one of them 0.

    Args:
        prediction: bool ``[H, W]`` or ``[T, H, W]``, at the native size of the video.
        truth: of the same shape.
        tolerance: radius of the disc as a part of the image diagonal, rounded up to whole pixels.

    Returns:
        float64, a scalar array or ``[T]``, in 0..1.

    Raises:
        ValueError: shapes differ or are not of two or three dimensions, or ``tolerance`` is not in 0..1.
    """
    prediction, truth = _checked(prediction, truth)
    if not 0 < tolerance < 1:
        raise ValueError(f'tolerance is a part of the image diagonal between 0 and 1, got {tolerance}.')
    radius = int(np.ceil(tolerance * np.linalg.norm(prediction.shape[-2:])))
    if prediction.ndim == 2:
        return np.float64(_boundary_frame(prediction, truth, radius))
    return np.array([_boundary_frame(p, t, radius) for p, t in zip(prediction, truth, strict=True)], dtype=np.float64)


def statistics(values: np.ndarray) -> tuple[float, float, float]:
    """Mean, recall and decay of one object's measure over time.

    Args:
        values: ``[N]``, one value per evaluated frame, N at least 1.

    Returns:
        The mean; the part of the frames with more than 0.5; the mean of the first quarter of the frames minus that of
        the last (neighbouring quarters share a frame).

    Raises:
        ValueError: no values.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f'Statistics need the values of at least one frame, [N], got shape {list(values.shape)}.')
    edges = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    first, last = values[edges[0] : edges[1] + 1], values[edges[3] : edges[4] + 1]
    return float(values.mean()), float((values > 0.5).mean()), float(first.mean() - last.mean())


def evaluate_video(predictions: np.ndarray, truths: np.ndarray) -> list[dict[str, float]]:
    """Scores of every object of one video. The first and the last frame do not count.

    Args:
        predictions: integer ids ``[T, H, W]``, T at least 3. An object that is never predicted scores as empty.
        truths: ids of the same shape. 255 is void and counts as background; the objects are the ids 1 to the largest
            of frame 0, whatever appears later.

    Returns:
        For object 1, 2, ... a dict of ``J-Mean``, ``J-Recall``, ``J-Decay``, ``F-Mean``, ``F-Recall`` and ``F-Decay``.

    Raises:
        ValueError: shapes differ, fewer than three frames, no object in frame 0 of ``truths``, or ``predictions``
            holds larger ids than it has objects.
    """
    if predictions.shape != truths.shape or predictions.ndim != 3:
        raise ValueError(
            f'Predictions and ground truth must both be [T, H, W], got {list(predictions.shape)} and '
            f'{list(truths.shape)}.'
        )
    if len(truths) < 3:
        raise ValueError(f'DAVIS leaves out the first and the last frame, so 3 are needed, got {len(truths)}.')
    first = truths[0]
    num_objects = int(first[first != VOID].max(initial=0))
    if num_objects == 0:
        raise ValueError('The ground truth has no object in the first frame.')
    predictions, truths = predictions[1:-1], truths[1:-1]
    if int(predictions.max()) > num_objects:
        extra = np.unique(predictions[predictions > num_objects]).tolist()
        raise ValueError(f'Predicted ids {extra}, but the ground truth has the objects 1 to {num_objects}.')
    scores = []
    for object_id in range(1, num_objects + 1):
        prediction, truth = predictions == object_id, truths == object_id
        numbers = statistics(region_similarity(prediction, truth)) + statistics(boundary_measure(prediction, truth))
        scores.append(dict(zip(MEASURES, numbers, strict=True)))
    return scores


def _checked(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if prediction.shape != truth.shape or prediction.ndim not in (2, 3):
        raise ValueError(
            f'Masks must both be [H, W] or [T, H, W], got {list(prediction.shape)} and {list(truth.shape)}.'
        )
    return prediction.astype(bool, copy=False), truth.astype(bool, copy=False)


def _boundary_frame(prediction: np.ndarray, truth: np.ndarray, radius: int) -> float:
    crop = _bounding_box(prediction | truth)
    if crop is None:
        return 1.0
    prediction, truth = _boundary(prediction[crop]), _boundary(truth[crop])
    num_prediction, num_truth = np.count_nonzero(prediction), np.count_nonzero(truth)
    if num_prediction == 0 or num_truth == 0:
        return float(num_prediction == num_truth)
    disc = _disc(radius)
    precision = np.count_nonzero(prediction & cv2.dilate(truth, disc)) / num_prediction
    recall = np.count_nonzero(truth & cv2.dilate(prediction, disc)) / num_truth
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def _bounding_box(mask: np.ndarray) -> tuple[slice, slice] | None:
    """Box of a mask with one pixel around it: it holds every boundary pixel, and no more is ever compared."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return tuple(slice(max(index[0] - 1, 0), index[-1] + 2) for index in (rows, columns))


def _boundary(mask: np.ndarray) -> np.ndarray:
    boundary = np.zeros(mask.shape, dtype=np.uint8)
    right, below = mask[:, :-1] != mask[:, 1:], mask[:-1] != mask[1:]
    boundary[:, :-1] |= right
    boundary[:-1] |= below
    boundary[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return boundary


@lru_cache(maxsize=16)
def _disc(radius: int) -> np.ndarray:
    offsets = np.arange(-radius, radius + 1)
    return (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)
