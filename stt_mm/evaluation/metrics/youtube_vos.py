"""J and F of YouTube-VOS on splits whose truth is known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.logging import MMLogger

from stt_mm.evaluation.functional.youtube_vos import score_objects, summarise_categories
from stt_mm.evaluation.metrics.base import VideoMetric, predicted_masks, read_truth
from stt_mm.evaluation.metrics.tables import text_table
from stt_mm.registry import METRICS
from stt_mm.utils.text import read_lines, read_list

OFFICIAL = 'mean of J and F of seen and unseen categories'
PLAIN = 'mean of J and F over all objects, as not both seen and unseen categories are known'


@METRICS.register_module()
class YouTubeVOSMetric(VideoMetric):
    """J and F of each object over the frames after its first that have a truth, averaged over objects, in 0..1.

    ``Overall`` is the mean of four numbers, J and F over the objects of seen and of unseen categories. Where that
    division is unknown, or one group is empty, it is the plain mean of ``J-Mean`` and ``F-Mean``, which log and result
    file say. Which frames the benchmark's server scored is not documented. A video without a truth for all its output
    frames (``valid``) is not scored. With ``out_dir``, it writes ``ytv_results.json``, ``ytv_per_video.csv`` and
    ``ytv_per_object.csv``.

    Beyond what :class:`VideoMetric` asks for, data samples have ``pred_masks`` (original ids ``[T, H, W]`` at the
    original size), ``mask_paths`` (one per frame, ``None`` if unknown), ``output_frames`` (one bool per frame),
    ``objects``: ``dict[int, dict]``, id to ``category`` (or ``None``) and ``first_frame`` (index), and perhaps
    ``truth_known``: false where the masks show no more than the objects that are given in them.

    Args:
        out_dir, dump_masks, resume, run_id: see :class:`VideoMetric`.
        seen_categories: names of the categories of the training data, or a file with them: text, one per line, or a
            JSON list. ``None`` if unknown.
    """

    name = 'ytv'
    description = 'YouTube-VOS: J and F of each object after the frame in which it is given, mean over objects'

    def __init__(
        self,
        out_dir: str | None = None,
        dump_masks: str | None = None,
        resume: bool = False,
        run_id: str = '',
        seen_categories: str | Sequence[str] | None = None,
        dump_points: str | None = None,
    ) -> None:
        super().__init__(out_dir, dump_masks, resume, run_id, dump_points)
        if isinstance(seen_categories, str):
            seen_categories = read_list(seen_categories, 'categories', read_lines)
        self.seen_categories = None if seen_categories is None else frozenset(seen_categories)

    def score(self, sample: dict) -> dict:
        """``objects`` (id to ``category``, ``J`` and ``F``, which are ``None`` if the truth ends with the object's
        first frame); ``None`` without truth.
        """
        predictions, paths, objects = predicted_masks(sample), sample['mask_paths'], sample['objects']
        wanted = {t for t, chosen in enumerate(sample['output_frames']) if chosen}
        known = [t for t, path in enumerate(paths) if path is not None]
        if not wanted <= set(known) or not sample.get('truth_known', True):
            return dict(objects=None)
        truths = np.stack([read_truth(sample, paths[t]) for t in known])
        scores = score_objects(predictions, truths, known, {k: o['first_frame'] for k, o in objects.items()})
        rows = {k: dict(zip('JF', pair or (None, None), strict=True)) for k, pair in scores.items()}
        return dict(objects={k: dict(category=objects[k]['category'], **rows[k]) for k in rows})

    def summarise(self, records: dict[str, dict]) -> dict[str, float]:
        """``Overall``, ``J-Mean``, ``F-Mean`` and, where known, J and F of ``Seen`` and ``Unseen``."""
        unscored = [video_id for video_id, record in records.items() if record['objects'] is None]
        logger = MMLogger.get_current_instance()
        if unscored:
            logger.warning(
                'YouTube-VOS: %d of %d videos are not scored, the truth of their frames is not known: %s',
                len(unscored),
                len(records),
                ', '.join(unscored[:5]),
            )
        if not _rows(records):
            logger.warning('YouTube-VOS: no object could be scored, so there are no results.')
            return {}
        return self._summary(records)[0]

    def details(self, records: dict[str, dict]) -> dict[str, Any]:
        rows = _rows(records)
        objects = [entry for record in records.values() for entry in (record['objects'] or {}).values()]
        return dict(
            overall=self._summary(records)[1],
            num_videos=len({row['Video'] for row in rows}),
            num_objects=len(rows),
            objects_without_scored_frames=sum(entry['J'] is None for entry in objects),
            not_scored=[video_id for video_id, record in records.items() if record['objects'] is None],
            per_video={video_id: record['objects'] for video_id, record in records.items() if record['objects']},
        )

    def tables(self, records: dict[str, dict]) -> dict[str, list[dict[str, Any]]]:
        rows = _rows(records)
        videos = [[row for row in rows if row['Video'] == name] for name in dict.fromkeys(row['Video'] for row in rows)]
        means = [{key: float(np.mean([row[key] for row in video])) for key in 'JF'} for video in videos]
        per_video = [
            dict(Video=video[0]['Video'], Objects=len(video), **mean) for video, mean in zip(videos, means, strict=True)
        ]
        return dict(ytv_per_video=per_video, ytv_per_object=rows)

    def log_text(self, records: dict[str, dict], metrics: dict[str, float]) -> str:
        rows = _rows(records)
        num_videos = len({row['Video'] for row in rows})
        return (
            f'{num_videos} videos, {len(rows)} objects; Overall is the {self._summary(records)[1]}\n'
            f'{text_table({"all objects": metrics})}'
        )

    def _summary(self, records: dict[str, dict]) -> tuple[dict[str, float], str]:
        rows = _rows(records)
        seen = None
        if self.seen_categories is not None and all(row['Category'] is not None for row in rows):
            seen = [row['Category'] in self.seen_categories for row in rows]
        metrics, complete = summarise_categories([(row['J'], row['F']) for row in rows], seen)
        return metrics, OFFICIAL if complete else PLAIN


def _rows(records: dict[str, dict]) -> list[dict[str, Any]]:
    """The scored objects of all videos."""
    return [
        dict(Video=video_id, Object=int(number), Category=entry['category'], J=entry['J'], F=entry['F'])
        for video_id, record in records.items()
        for number, entry in (record['objects'] or {}).items()
        if entry['J'] is not None
    ]
