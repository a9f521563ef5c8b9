"""PCK of JHMDB in the two forms behind the published numbers; they are not on the same scale.

| | ``'STT'`` (STT and VFS, ``jhmdb_dataset.py``) | ``'CRW'`` (UVC and CRW, ``eval_pck.py``) |
| --- | --- | --- |
| frame 0, where the answer is given | counts | does not count |
| a joint is scored if its predicted x is | larger than 0 | 0 or larger |

Alike in both: a joint is a hit if its distance is at most the threshold times 0.6 times the diagonal of the box around
the annotated positions of the joints that are scored in that frame; the rate of each joint is taken over all frames of
all videos, and the mean over the joints follows. So a joint that the tracker gives up (x of -1) is left out instead of
missed, which raises the numbers: the lost joints are counted beside them.

Where the released scripts define nothing: a joint without annotation (NaN) takes no part, neither in the score nor in
the box nor among the lost; a joint that is never scored is left out of the mean, where the scripts divide by zero. If
the box has no size, because one joint alone is scored, the joint is missed, as in the scripts: nothing is at most
infinity times as far.
"""

from collections.abc import Sequence

import numpy as np

from stt_mm.errors import InputError

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
VARIANTS = ('STT', 'CRW')
BOX_SCALE = 0.6


def count_points(predictions: np.ndarray, truths: np.ndarray) -> dict[str, dict]:
    """Counts of one video, from which PCK of any set of videos follows by addition.

    Args:
        predictions: ``[T, J, 2]``, (x, y) in pixels, negative where a joint is lost. Frames beyond the annotated ones
            are ignored (two clips of JHMDB have such frames).
        truths: ``[T', J, 2]`` with T' at most T; NaN where a joint is not annotated.

    Returns:
        For each of :data:`VARIANTS` a dict of ``hits``, int64 ``[5, J]`` for each of :data:`THRESHOLDS`, ``scored``,
        int64 ``[J]``, and ``lost``, the number of annotated joints in counted frames that are not scored.
    """
    predictions, truths = np.asarray(predictions, np.float64), np.asarray(truths, np.float64)
    shapes = f'got {list(predictions.shape)} and {list(truths.shape)}'
    if predictions.ndim != 3 or truths.ndim != 3 or predictions.shape[2] != 2:
        raise InputError(f'Predictions and ground truth must both be [T, J, 2], {shapes}.')
    if predictions.shape[1:] != truths.shape[1:] or len(predictions) < len(truths):
        raise InputError(
            f'Predictions and ground truth must have the same joints, and there must be a prediction for every '
            f'annotated frame, {shapes}.'
        )
    predictions = predictions[: len(truths)]
    annotated = ~np.isnan(truths).any(axis=2)
    distance = np.linalg.norm(predictions - truths, axis=2)
    counts = {}
    for variant, first, visible in (('STT', 0, predictions[..., 0] > 0), ('CRW', 1, predictions[..., 0] >= 0)):
        scored = annotated & visible
        scale = BOX_SCALE * _diagonals(truths, scored)[:, None]
        ratio = np.divide(distance, scale, out=np.full(distance.shape, np.inf), where=scale > 0)
        hits = [(scored & (ratio <= threshold))[first:].sum(axis=0) for threshold in THRESHOLDS]
        counts[variant] = dict(
            hits=np.stack(hits), scored=scored[first:].sum(axis=0), lost=int((annotated & ~visible)[first:].sum())
        )
    return counts


def pck(hits: Sequence, scored: Sequence) -> np.ndarray:
    """Percentage of correct keypoints, mean over the joints that were scored at least once.

    Args:
        hits: ``[5, J]``, summed over all videos.
        scored: ``[J]``, summed over all videos.

    Returns:
        float64 ``[5]``, in 0..100, for :data:`THRESHOLDS`; NaN if no joint was ever scored.
    """
    hits, scored = np.asarray(hits), np.asarray(scored)
    valid = scored > 0
    if not valid.any():
        return np.full(len(hits), np.nan)
    return (100.0 * hits[:, valid] / scored[valid]).mean(axis=1)


def _diagonals(points: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Diagonal of the box around the valid ones of ``[T, J, 2]`` points, ``[T]``; 0 without any."""
    low = np.where(valid[..., None], points, np.inf).min(axis=1, initial=np.inf)
    high = np.where(valid[..., None], points, -np.inf).max(axis=1, initial=-np.inf)
    return np.linalg.norm(np.where(np.isfinite(low), high - low, 0.0), axis=1)
