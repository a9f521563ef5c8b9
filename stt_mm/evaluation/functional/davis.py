"""Region similarity J and boundary measure F of DAVIS, equal to the official evaluation of 2017 (semi-supervised).

One difference: the official code keeps the bin edges of the decay in eight bits, which overflow in videos of more than
256 frames. Here they do not.

Both are computed on masks as long integers, one bit per pixel of a box around the two. A shift then moves a whole mask,
and a disc is a few dozen of them.
"""

import math
from collections.abc import Sequence

import numpy as np

from stt_mm.errors import InputError

VOID = 255
TOLERANCE = 0.008
MEASURES = ('J-Mean', 'J-Recall', 'J-Decay', 'F-Mean', 'F-Recall', 'F-Decay')


def region_similarity(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """J: intersection over union, 1 where both masks are empty.

    Args:
        prediction: bool ``[H, W]`` or ``[T, H, W]``.
        truth: of the same shape.

    Returns:
        float64, a scalar array or ``[T]``, in 0..1.
    """
    prediction, truth = _checked(prediction, truth)
    intersection = np.count_nonzero(prediction & truth, axis=(-2, -1))
    union = np.count_nonzero(prediction | truth, axis=(-2, -1))
    return np.where(union == 0, 1.0, intersection / np.maximum(union, 1))


def boundary_measure(prediction: np.ndarray, truth: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
    """F: harmonic mean of boundary precision and recall, each within a disc around the other boundary.

    A pixel is on the boundary if it differs from its right, lower or lower right neighbour, so a mask that fills the
    frame has none. Both boundaries empty gives 1, one of them 0.

    Args:
        prediction: bool ``[H, W]`` or ``[T, H, W]``, at the native size of the video.
        truth: of the same shape.
        tolerance: radius of the disc as a part of the image diagonal, rounded up to whole pixels.

    Returns:
        float64, a scalar array or ``[T]``, in 0..1.
    """
    prediction, truth = _checked(prediction, truth)
    if not 0 < tolerance < 1:
        raise InputError(f'tolerance is a part of the image diagonal between 0 and 1, got {tolerance}.')
    radius = _radius(prediction.shape[-2:], tolerance)
    if prediction.ndim == 2:
        return np.float64(_measure(prediction, truth, radius)[1])
    frames = zip(prediction, truth, strict=True)
    return np.array([_measure(*frame, radius)[1] for frame in frames])


def statistics(values: np.ndarray) -> tuple[float, float, float]:
    """Mean, recall and decay of one object's measure over time.

    Args:
        values: ``[N]``, one value per evaluated frame, N at least 1.

    Returns:
        The mean; the part of the frames with more than 0.5; the mean of the first quarter of the frames minus that of
        the last (neighbouring quarters share a frame).
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise InputError(f'Statistics need the values of at least one frame, [N], got shape {list(values.shape)}.')
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
        raise InputError(
            f'Predictions and ground truth must both be [T, H, W], got {list(predictions.shape)} and '
            f'{list(truths.shape)}.'
        )
    if len(truths) < 3:
        raise InputError(f'DAVIS leaves out the first and the last frame, so 3 are needed, got {len(truths)}.')
    first = truths[0]
    num_objects = int(first[first != VOID].max(initial=0))
    if num_objects == 0:
        raise InputError('The ground truth has no object in the first frame.')
    predictions, truths = predictions[1:-1], truths[1:-1]
    if int(predictions.max()) > num_objects:
        extra = np.unique(predictions[predictions > num_objects]).tolist()
        raise InputError(f'Predicted ids {extra}, but the ground truth has the objects 1 to {num_objects}.')
    scores = []
    for values in measure_objects(predictions, truths, range(1, num_objects + 1)):
        numbers = [number for measure in values for number in statistics(measure)]
        scores.append(dict(zip(MEASURES, numbers, strict=True)))
    return scores


def measure_objects(predictions: np.ndarray, truths: np.ndarray, object_ids: Sequence[int]) -> np.ndarray:
    """J and F of each object in each frame, as :func:`region_similarity` and :func:`boundary_measure` of its masks.

    Args:
        predictions: integer ids ``[T, H, W]``.
        truths: ids of the same shape.
        object_ids: K ids.

    Returns:
        float64 ``[K, 2, T]``: J, then F.
    """
    radius = _radius(truths.shape[1:], TOLERANCE)
    values = np.empty((len(object_ids), 2, len(truths)))
    for row, k in zip(values, object_ids, strict=True):
        for t, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
            row[:, t] = _measure(prediction == k, truth == k, radius)
    return values


def _radius(size: tuple[int, int], tolerance: float) -> int:
    return int(np.ceil(tolerance * np.linalg.norm(size)))


def _checked(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if prediction.shape != truth.shape or prediction.ndim not in (2, 3):
        raise InputError(
            f'Masks must both be [H, W] or [T, H, W], got {list(prediction.shape)} and {list(truth.shape)}.'
        )
    return prediction.astype(bool), truth.astype(bool)


def _measure(prediction: np.ndarray, truth: np.ndarray, radius: int) -> tuple[float, float]:
    """J and F of one frame, from bool ``[H, W]``."""
    box = _box(prediction | truth)
    if box is None:
        return 1.0, 1.0
    prediction, truth = prediction[box], truth[box]
    height, width = truth.shape
    # So many bits from row to row that what the disc moves over the edge of one row does not reach the next.
    stride = -(-(width + radius) // 8) * 8
    first, second = (_to_bits(mask, stride) for mask in (prediction, truth))
    region = (first & second).bit_count() / (first | second).bit_count()
    # The last column has no neighbour to the right and the last row none below, even where they end the frame.
    has_right = int.from_bytes(((1 << width - 1) - 1).to_bytes(stride // 8, 'little') * height, 'little')
    has_below = (1 << stride * (height - 1)) - 1
    first, second = (_boundary(bits, stride, has_right, has_below) for bits in (first, second))
    num_first, num_second = first.bit_count(), second.bit_count()
    if num_first == 0 or num_second == 0:
        return region, float(num_first == num_second)
    precision = (first & _dilate(second, stride, radius)).bit_count() / num_first
    recall = (second & _dilate(first, stride, radius)).bit_count() / num_second
    return region, 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def _box(mask: np.ndarray) -> tuple[slice, slice] | None:
    """Box of a mask with one pixel around it: it holds every boundary pixel, and no more is ever compared."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return tuple(slice(max(index[0] - 1, 0), index[-1] + 2) for index in (rows, columns))


def _to_bits(mask: np.ndarray, stride: int) -> int:
    """Pixel (y, x) at bit ``y * stride + x``; ``stride`` is a multiple of 8."""
    packed = np.packbits(mask, axis=1, bitorder='little')
    rows = np.zeros((len(packed), stride // 8), dtype=np.uint8)
    rows[:, : packed.shape[1]] = packed
    return int.from_bytes(rows.tobytes(), 'little')


def _boundary(mask: int, stride: int, has_right: int, has_below: int) -> int:
    below = mask >> stride
    beside = ((mask ^ mask >> 1) | (mask ^ below >> 1) & has_below) & has_right
    return beside | (mask ^ below) & has_below


def _dilate(mask: int, stride: int, radius: int) -> int:
    """Every bit becomes a disc, x * x + y * y <= radius * radius; it may reach beyond the box."""
    dilated, run, length = 0, mask, 1
    # From the shortest row of the disc to the longest. A run reaches to one side only, so each is moved to be centred
    # on (radius, radius), which the last shift undoes.
    for y in range(radius, -1, -1):
        half = math.isqrt(radius * radius - y * y)
        while length < 2 * half + 1:
            step = min(length, 2 * half + 1 - length)
            run |= run << step
            length += step
        for row in {radius - y, radius + y}:
            dilated |= run << row * stride + radius - half
    return dilated >> radius * stride + radius
