"""PCK of BADJA."""

from typing import Any

import numpy as np

from stt_mm.evaluation.functional.badja import correct_joints, object_area, to_scored_size
from stt_mm.evaluation.metrics.base import VideoMetric, found_points, read_truth
from stt_mm.registry import METRICS


@METRICS.register_module()
class BADJAMetric(VideoMetric):
    """Percentage of joints closer than 0.2 times the square root of the animal's area; the mean over the videos.

    See :mod:`stt_mm.evaluation.functional.badja`. A joint that the tracker gives up is wrong. Beside ``PCK@0.2`` stands
    ``lost joints``, the scored joints that were given up.

    Consumes ``pred_points``, ``[T, J, 2]`` (x, y) in pixels of the original frame, negative where lost, and the
    metainfo ``points`` likewise, NaN where not annotated, and ``mask_paths``, one per frame with joints at least. The
    arguments are those of :class:`VideoMetric`; the files are ``badja_results.json``, ``badja_per_joint.csv`` and
    ``badja_per_video.csv``.
    """

    name = 'badja'
    predicts = 'points'
    description = (
        'BADJA: PCK in percent at 320x512, distance smaller than 0.2 times the square root of the area of the object '
        'in that frame, rate over all joints of a video that are visible after the first annotated frame, then mean '
        'over videos'
    )

    def score(self, sample: dict) -> dict:
        """Right, scored and lost joints of one video, as integers."""
        truth, size = np.asarray(sample['points'], np.float64), sample['original_size']
        found = found_points(sample, truth.shape)
        annotated = ~np.isnan(truth).any(axis=2).all(axis=1)
        areas = np.zeros(len(truth))
        for time in np.flatnonzero(annotated):
            areas[time] = object_area(read_truth(sample, sample['mask_paths'][time], keep_void=True))
        right, scored = correct_joints(to_scored_size(found, size), to_scored_size(truth, size), areas)
        return dict(
            right=right.sum(axis=0).tolist(),
            scored=scored.sum(axis=0).tolist(),
            lost=int((scored & np.isinf(found).any(axis=2)).sum()),
        )

    def summarise(self, records: dict[str, dict]) -> dict[str, float]:
        """The mean rate of the videos in which a joint is scored."""
        rates = [rate for record in records.values() if (rate := _rate(record['right'], record['scored'])) is not None]
        lost = sum(record['lost'] for record in records.values())
        return {'PCK@0.2': float(np.mean(rates)), 'lost joints': lost} if rates else {}

    def tables(self, records: dict[str, dict]) -> dict[str, list[dict[str, Any]]]:
        """Each joint over all videos, and each video; empty where nothing was scored."""
        right, scored = (np.array([record[key] for record in records.values()]) for key in ('right', 'scored'))
        joints = [
            {'joint': joint + 1, 'PCK@0.2': _rate(right[:, joint], scored[:, joint])} for joint in range(right.shape[1])
        ]
        videos = [
            {'video': video_id, 'PCK@0.2': _rate(record['right'], record['scored']), 'lost joints': record['lost']}
            for video_id, record in records.items()
        ]
        return dict(badja_per_joint=joints, badja_per_video=videos)


def _rate(right: Any, scored: Any) -> float | None:
    """Percent, ``None`` if no joint was scored."""
    total = int(np.sum(scored))
    return 100.0 * int(np.sum(right)) / total if total else None
