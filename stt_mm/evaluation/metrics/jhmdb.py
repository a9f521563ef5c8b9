"""PCK of JHMDB, in both forms that the literature mixes."""

from typing import Any

import numpy as np

from stt_mm.errors import InputError
from stt_mm.evaluation.functional.jhmdb import THRESHOLDS, VARIANTS, count_points, pck
from stt_mm.evaluation.metrics.base import VideoMetric, predicted_points
from stt_mm.evaluation.metrics.tables import text_table
from stt_mm.registry import METRICS


@METRICS.register_module()
class JHMDBMetric(VideoMetric):
    """Percentage of correct keypoints, 0..100, at 0.1 to 0.5 of 0.6 times the diagonal of the person's box.

    Two forms are always reported, for they differ by about a point and published numbers come from either: ``STT/...``
    counts frame 0 and leaves out joints whose predicted x is 0 or less, ``CRW/...`` (also UVC's) skips frame 0 and
    leaves out those below 0; see :mod:`stt_mm.evaluation.functional.jhmdb`. Beside them stand ``.../lost joints``, the
    annotated joints that were left out so, and ``.../joints never scored``, the joints that are missing from the mean.

    Consumes ``pred_points``, ``[T, J, 2]`` (x, y) in pixels of the original frame, negative where lost, and the
    metainfo ``points``, ``[T', J, 2]`` with T' at most T, NaN where not annotated. The number of joints is free, but
    the same in all videos. The arguments are those of :class:`VideoMetric`; the files are ``jhmdb_results.json``,
    ``jhmdb_per_joint.csv`` and ``jhmdb_per_video.csv``.
    """

    name = 'jhmdb'
    predicts = 'points'
    description = (
        'JHMDB: PCK in percent, distance at most the threshold times 0.6 times the diagonal of the box of the scored '
        'joints, rate per joint over all frames, then mean over joints; STT: with frame 0, predicted x > 0; CRW: '
        'without frame 0, predicted x >= 0'
    )

    def score(self, sample: dict) -> dict:
        """Hits, scored and lost joints of one video, as integers."""
        counts = count_points(predicted_points(sample), np.asarray(sample['points']))
        return {
            variant: dict(hits=count['hits'].tolist(), scored=count['scored'].tolist(), lost=count['lost'])
            for variant, count in counts.items()
        }

    def summarise(self, records: dict[str, dict]) -> dict[str, float]:
        """``STT/PCK@0.1`` and so on; PCK is absent from a form in which no joint was ever scored."""
        metrics = {}
        for variant, total in _totals(records).items():
            rates = _rates(variant, total['hits'], total['scored'])
            metrics |= {key: rate for key, rate in rates.items() if rate is not None}
            metrics[f'{variant}/lost joints'] = int(total['lost'])
            metrics[f'{variant}/joints never scored'] = int((total['scored'] == 0).sum())
        return metrics

    def tables(self, records: dict[str, dict]) -> dict[str, list[dict[str, Any]]]:
        """PCK of each joint over all videos, and of each video; empty where nothing was scored."""
        totals = _totals(records)
        joints = []
        for joint in range(len(totals['STT']['scored'])):
            row: dict[str, Any] = dict(joint=joint + 1)
            for variant, total in totals.items():
                row |= _rates(variant, total['hits'][:, [joint]], total['scored'][[joint]])
            joints.append(row)
        videos = []
        for video_id, record in records.items():
            row = dict(video=video_id)
            for variant in VARIANTS:
                row |= _rates(variant, record[variant]['hits'], record[variant]['scored'])
                row[f'{variant}/lost joints'] = record[variant]['lost']
            videos.append(row)
        return dict(jhmdb_per_joint=joints, jhmdb_per_video=videos)

    def log_text(self, records: dict[str, dict], metrics: dict[str, float]) -> str:
        """One row per form."""
        rows = {variant: {} for variant in VARIANTS}
        for key, value in metrics.items():
            variant, measure = key.split('/')
            rows[variant][measure] = value
        tables = '\n'.join(text_table({variant: row}) for variant, row in rows.items())
        return f'{len(records)} videos\n{tables}'


def _totals(records: dict[str, dict]) -> dict[str, dict[str, np.ndarray]]:
    """Sums over videos by form: ``hits`` ``[5, J]``, ``scored`` ``[J]`` and ``lost``."""
    joints = {video_id: len(record['STT']['scored']) for video_id, record in records.items()}
    first = next(iter(joints))
    for video_id, number in joints.items():
        if number != joints[first]:
            raise InputError(
                f'Videos of one evaluation must have the same joints, got {joints[first]} in {first} and {number} in '
                f'{video_id}.'
            )
    return {
        variant: {
            key: np.sum([record[variant][key] for record in records.values()], axis=0)
            for key in ('hits', 'scored', 'lost')
        }
        for variant in VARIANTS
    }


def _rates(variant: str, hits: Any, scored: Any) -> dict[str, float | None]:
    """PCK by the name of its column, ``None`` if no joint was scored."""
    rates = pck(hits, scored)
    return {f'{variant}/PCK@{a}': None if np.isnan(r) else float(r) for a, r in zip(THRESHOLDS, rates, strict=True)}
