"""The metrics of TAP-Vid."""

from typing import Any

import numpy as np

from stt_mm.evaluation.functional.tap_vid import MEASURES, SIZE, tap_vid
from stt_mm.evaluation.metrics.base import VideoMetric, found_points
from stt_mm.registry import METRICS


@METRICS.register_module()
class TAPVidMetric(VideoMetric):
    """Average Jaccard, points within a threshold, and occlusion accuracy, 0..1; the mean over the videos.

    See :mod:`stt_mm.evaluation.functional.tap_vid`. A measure that is not defined in a video, because no point is
    visible in the frames that count, is left out of the mean; ``undefined`` counts these videos. Papers call
    ``average_jaccard`` AJ, ``average_pts_within_thresh`` <delta avg and ``occlusion_accuracy`` OA, in percent.

    Consumes ``pred_points``, ``[T, Q, 2]`` (x, y) in pixels of the frame that count from 0, negative where lost,
    ``pred_occluded``, bool ``[T, Q]`` (without it a point counts as occluded where it is lost), and the metainfo
    ``points`` and ``occluded`` likewise, ``query_frames`` ``[Q]`` and ``query_mode``. The files are
    ``tap_vid_results.json``, ``tap_vid_per_video.csv`` and ``tap_vid_per_query.csv``, the arguments those of
    :class:`VideoMetric`.
    """

    name = 'tap_vid'
    predicts = 'points'
    description = (
        'TAP-Vid: distance smaller than 1, 2, 4, 8, 16 pixels at 256x256; sums over all queries and frames of a video '
        '(after that of the query in mode first, all others in mode strided), then mean over videos'
    )

    def score(self, sample: dict) -> dict:
        """All measures of one video and of each of its queries; ``None`` where one is not defined."""
        truth, size = np.asarray(sample['points'], np.float64), sample['original_size']
        found = found_points(sample, truth.shape)
        lost = np.isinf(found).any(axis=2)
        hidden = np.asarray(sample['pred_occluded']) | lost if 'pred_occluded' in sample else lost
        scale = SIZE[1] / size[1], SIZE[0] / size[0]
        tracks, predictions = ((part * scale).swapaxes(0, 1) for part in (truth, found))
        arguments = (
            np.asarray(sample['query_frames']),
            np.asarray(sample['occluded']).T,
            tracks,
            hidden.T,
            predictions,
            sample['query_mode'],
        )
        queries = tap_vid(*arguments, per_track=True)
        return dict(
            mode=sample['query_mode'],
            video={key: _plain(value) for key, value in tap_vid(*arguments).items()},
            query_frames=np.asarray(sample['query_frames']).tolist(),
            queries={key: [_plain(one) for one in value] for key, value in queries.items()},
        )

    def summarise(self, records: dict[str, dict]) -> dict[str, float]:
        """The means, without a measure that no video defines, and ``undefined``."""
        rows = [record['video'] for record in records.values()]
        defined = {key: [row[key] for row in rows if row[key] is not None] for key in MEASURES}
        means = {key: float(np.mean(values)) for key, values in defined.items() if values}
        return {**means, 'undefined': sum(None in row.values() for row in rows)} if means else {}

    def details(self, records: dict[str, dict]) -> dict[str, Any]:
        """How the queries were chosen, and the measures of each video."""
        modes = sorted({record['mode'] for record in records.values()})
        return dict(
            query_mode=' and '.join(modes),
            per_video={video_id: record['video'] for video_id, record in records.items()},
        )

    def tables(self, records: dict[str, dict]) -> dict[str, list[dict[str, Any]]]:
        """Each video and each query; empty where a measure is not defined."""
        videos = [dict(video=video_id, **record['video']) for video_id, record in records.items()]
        queries = [
            dict(
                video=video_id,
                query=number,
                frame=frame,
                **{key: row[number] for key, row in record['queries'].items()},
            )
            for video_id, record in records.items()
            for number, frame in enumerate(record['query_frames'])
        ]
        return dict(tap_vid_per_video=videos, tap_vid_per_query=queries)


def _plain(value: np.ndarray) -> float | None:
    return None if np.isnan(value) else float(value)
