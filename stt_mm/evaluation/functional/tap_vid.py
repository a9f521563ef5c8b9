"""The metrics of TAP-Vid, as its public evaluation computes them for one video.

Mode ``'first'`` scores the frames after that of a query, ``'strided'`` all but that of the query. A point is within a
threshold if its distance is *smaller*. All sums run over the tracks and frames of the video before they are divided:

* ``occlusion_accuracy``: part of the points whose occlusion is predicted right;
* ``pts_within_<d>``: part of the visible points that are predicted within d pixels, whatever is said of their
  occlusion; ``average_pts_within_thresh`` is the mean over the five thresholds;
* ``jaccard_<d>``: points that are visible, said to be so and within d pixels, over the number of visible points plus
  that of points said to be visible which are not, or not within d pixels; ``average_jaccard`` is the mean.

What is divided by 0 is NaN, and so is a mean with one of these.
"""

from typing import Literal

import numpy as np

from stt_mm.errors import InputError

THRESHOLDS = (1, 2, 4, 8, 16)
SIZE = (256, 256)  # height, width of the picture in whose pixels the thresholds are meant
MODES = ('first', 'strided')
MEASURES = (
    'occlusion_accuracy',
    'average_jaccard',
    'average_pts_within_thresh',
    *(f'jaccard_{threshold}' for threshold in THRESHOLDS),
    *(f'pts_within_{threshold}' for threshold in THRESHOLDS),
)


def tap_vid(
    query_frames: np.ndarray,
    occluded: np.ndarray,
    tracks: np.ndarray,
    pred_occluded: np.ndarray,
    pred_tracks: np.ndarray,
    mode: Literal['first', 'strided'],
    per_track: bool = False,
) -> dict[str, np.ndarray]:
    """All measures of one video.

    Args:
        query_frames: ``[N]``, the frame of each query; halves are rounded to the even number.
        occluded: bool ``[N, T]``, the truth.
        tracks: ``[N, T, 2]``, (x, y), in pixels of a picture of :data:`SIZE`.
        pred_occluded, pred_tracks: the prediction, likewise; what stands at frames that do not count is free.
        mode: which frames count.
        per_track: measure each track by itself.

    Returns:
        The measures in the order of :data:`MEASURES`, in 0..1, 0-dimensional or ``[N]``.
    """
    occluded, pred_occluded = np.asarray(occluded) != 0, np.asarray(pred_occluded) != 0
    tracks, pred_tracks, query_frames = np.asarray(tracks), np.asarray(pred_tracks), np.asarray(query_frames)
    if mode not in MODES:
        raise InputError(f'mode must be one of {", ".join(map(repr, MODES))}, got {mode!r}.')
    shapes = dict(query_frames=query_frames, occluded=occluded, tracks=tracks)
    shapes |= dict(pred_occluded=pred_occluded, pred_tracks=pred_tracks)
    if occluded.ndim != 2 or [part.shape for part in shapes.values()] != [
        occluded.shape[:1],
        *[occluded.shape, (*occluded.shape, 2)] * 2,
    ]:
        found = ', '.join(f'{name} {list(part.shape)}' for name, part in shapes.items())
        raise InputError(f'Expected query_frames [N], occlusions [N, T] and tracks [N, T, 2], got {found}.')
    born, frames = np.round(query_frames)[:, None], np.arange(occluded.shape[1])
    if not ((born >= 0) & (born < len(frames))).all():
        raise InputError(f'query_frames must be frames of 0 to {len(frames) - 1}, got {query_frames.tolist()}.')
    counted = frames > born if mode == 'first' else frames != born

    def total(points: np.ndarray) -> np.ndarray:
        return (points & counted).sum(axis=1 if per_track else None)

    visible, pred_visible = ~occluded, ~pred_occluded
    distance = ((pred_tracks - tracks) ** 2).sum(axis=-1)
    within, jaccard = {}, {}
    with np.errstate(divide='ignore', invalid='ignore'):
        accuracy = total(occluded == pred_occluded) / total(np.ones_like(occluded))
        for threshold in THRESHOLDS:
            near = distance < threshold**2
            within[f'pts_within_{threshold}'] = total(near & visible) / total(visible)
            right, wrong = near & visible & pred_visible, ~(near & visible) & pred_visible
            jaccard[f'jaccard_{threshold}'] = total(right) / (total(visible) + total(wrong))
    means = [np.mean(list(part.values()), axis=0) for part in (jaccard, within)]
    return dict(zip(MEASURES, (accuracy, *means, *jaccard.values(), *within.values()), strict=True))
