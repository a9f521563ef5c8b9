"""J and F of one object of a long video: over all frames that count, how much they vary, and part by part."""

from collections.abc import Iterable

import numpy as np

from stt_mm.errors import InputError
from stt_mm.evaluation.functional.davis import measure_objects


def measure_frames(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """J and F of each frame, as DAVIS measures them.

    Args:
        pairs: prediction and truth of the object in each of N frames, bool ``[H, W]``.

    Returns:
        float64 ``[2, N]``: J, then F.
    """
    rows = [measure_objects(prediction[None], truth[None], [1])[0, :, 0] for prediction, truth in pairs]
    return np.array(rows, np.float64).reshape(-1, 2).T


def variation(values: np.ndarray) -> float:
    """V of LVOS: the standard deviation of the mean of J and F over the frames.

    Args:
        values: J and F of each frame, ``[2, N]``, N at least 1.
    """
    return float(_checked(values).mean(axis=0).std())


def parts_of(values: np.ndarray, parts: int) -> list[tuple[float, float] | None]:
    """Mean J and F in each of some parts of the time, of equal length but for a frame.

    Args:
        values: J and F of each frame, ``[2, N]``, N at least 1.
        parts: how many. Frame t is in part ``floor(parts * t / N)``.

    Returns:
        (J, F) of each part; ``None`` for one that no frame is in, which occurs if there are fewer frames than parts.
    """
    count = _checked(values).shape[1]
    place = parts * np.arange(count) // count
    return [
        tuple(values[:, place == part].mean(axis=1).tolist()) if (place == part).any() else None
        for part in range(parts)
    ]


def _checked(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or len(values) != 2 or not values.shape[1]:
        raise InputError(f'Expected J and F of at least one frame, [2, N], got {list(values.shape)}.')
    return values
