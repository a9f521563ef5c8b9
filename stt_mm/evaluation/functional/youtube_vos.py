"""J and F of YouTube-VOS: each object from the frame after the one in which it is given."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence

import numpy as np

from stt_mm.errors import InputError
from stt_mm.evaluation.functional.davis import measure_objects


def score_objects(
    predictions: np.ndarray, truths: np.ndarray, frames: Sequence[int], first_frames: Mapping[int, int]
) -> dict[int, tuple[float, float] | None]:
    """J and F of each object of one video, means over the frames after its first.

    Args:
        predictions: integer ids ``[T, H, W]``.
        truths: ids ``[N, H, W]`` of the frames whose truth is known. Void must be 0.
        frames: the N indices of these frames, ascending.
        first_frames: id to the index of the frame in which the object is given. What is predicted up to there does not
            count, and neither does the mask of that frame.

    Returns:
        Id to (J, F) in 0..1; ``None`` if no truth is known after the object's first frame.

    Raises:
        ValueError: shapes differ, ``frames`` do not ascend within the video, or an id that is
            predicted in one of them is no object.
    """
    if predictions.ndim != 3 or truths.shape != (len(frames), *predictions.shape[1:]):
        raise InputError(
            f'Predictions must be [T, H, W] and truths [{len(frames)}, H, W], got {list(predictions.shape)} and '
            f'{list(truths.shape)}.'
        )
    if list(frames) != sorted(set(frames)) or (len(frames) and not 0 <= frames[0] <= frames[-1] < len(predictions)):
        raise InputError(f'frames must ascend within 0 to {len(predictions) - 1}, got {list(frames)}.')
    predictions = predictions[list(frames)]
    extra = set().union(*(np.unique(mask).tolist() for mask in predictions)) - {0, *first_frames}
    if extra:
        raise InputError(f'Predicted ids {sorted(extra)}, but the objects are {sorted(first_frames)}.')
    scores = {}
    for object_id, first in sorted(first_frames.items()):
        start = bisect_right(frames, first)
        scores[object_id] = None
        if start < len(frames):
            region, boundary = measure_objects(predictions[start:], truths[start:], [object_id])[0].mean(axis=1)
            scores[object_id] = float(region), float(boundary)
    return scores


def summarise_categories(
    scores: Sequence[tuple[float, float]], seen: Sequence[bool] | None = None
) -> tuple[dict[str, float], bool]:
    """The numbers of the benchmark.

    Args:
        scores: (J, F) of each object, at least one.
        seen: for each object, whether its category occurs in the training data; ``None`` if that is unknown.

    Returns:
        ``Overall``, ``J-Mean`` and ``F-Mean`` over all objects, and J and F over the objects of seen and of unseen
        categories, of the groups that are not empty. Then whether ``Overall`` is that of the benchmark, the mean of the
        four numbers of both groups; it is the mean of ``J-Mean`` and ``F-Mean`` if one of them is missing.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != 2 or not len(values):
        raise InputError(f'scores must be the (J, F) of at least one object, [K, 2], got {list(values.shape)}.')
    groups = {'Mean': np.ones(len(values), dtype=bool)}
    if seen is not None:
        groups.update(Seen=np.asarray(seen, dtype=bool), Unseen=~np.asarray(seen, dtype=bool))
    means = {
        f'{measure}-{name}': float(values[chosen, column].mean())
        for name, chosen in groups.items()
        for column, measure in enumerate('JF')
        if chosen.any()
    }
    four = [means[key] for key in ('J-Seen', 'F-Seen', 'J-Unseen', 'F-Unseen') if key in means]
    complete = len(four) == 4
    overall = four if complete else [means['J-Mean'], means['F-Mean']]
    return {'Overall': float(np.mean(overall)), **means}, complete
