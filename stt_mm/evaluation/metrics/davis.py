"""The DAVIS score of whole videos, one video at a time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.logging import MMLogger

from stt_mm.errors import InputError
from stt_mm.evaluation.functional.davis import MEASURES, evaluate_video
from stt_mm.evaluation.metrics.base import VideoMetric, predicted_masks, read_truth
from stt_mm.evaluation.metrics.tables import text_table
from stt_mm.registry import METRICS


@METRICS.register_module()
class DAVISMetric(VideoMetric):
    """J and F of DAVIS as in the official semi-supervised evaluation: mean, recall and decay, all in 0..1.

    The first and the last frame do not count; the result is the mean over all objects of all videos, and ``J&F-Mean``
    the mean of ``J-Mean`` and ``F-Mean``. Of frames without a truth the video is taken to have none, so the first and
    the last of those with one do not count; if it is not known beyond the first frame (test-dev), the video is not
    scored. With ``out_dir``, it writes ``davis_results.json``, ``davis_per_sequence.csv`` and
    ``davis_per_object.csv``.

    Beyond what :class:`VideoMetric` asks for, data samples have ``pred_masks`` (integer ids ``[T, H, W]`` at the
    original size), ``mask_paths`` (one per frame, ``None`` if unknown) and optionally ``single_object`` (every
    non-zero pixel of the truth is object 1).

    The arguments are those of :class:`VideoMetric`.
    """

    name = 'davis'
    description = 'DAVIS-2017 semi-supervised: first and last frame left out, mean over objects'

    def score(self, sample: dict) -> dict:
        """``objects`` (the six numbers of each object; ``None`` without truth) and
        ``absent`` (ids below the largest of the first frame that it does not show).

        Raises:
            ValueError: the truth is not known in the first frame or in fewer than three, or there are more predicted
                ids than objects.
        """
        predictions, mask_paths = predicted_masks(sample), sample['mask_paths']
        objects, absent = None, []
        known = [t for t, path in enumerate(mask_paths) if path is not None]
        if known != [0] or len(mask_paths) == 1:
            if 0 not in known:
                raise InputError('the truth of the first frame is not known.')
            truths = np.stack([read_truth(sample, mask_paths[t]) for t in known])
            objects = evaluate_video(predictions[known], truths)
            absent = sorted(set(range(1, len(objects) + 1)) - set(np.unique(truths[0]).tolist()))
        return dict(objects=objects, absent=absent)

    def summarise(self, records: dict[str, dict]) -> dict[str, float]:
        """``J&F-Mean``, then J and F with mean, recall and decay."""
        scored, unscored = _split(records)
        logger = MMLogger.get_current_instance()
        if unscored:
            logger.warning(
                'DAVIS: %d of %d videos are not scored, their truth is not known beyond the first frame: %s',
                len(unscored),
                len(records),
                ', '.join(unscored),
            )
        if gaps := {video_id: record['absent'] for video_id, record in records.items() if record['absent']}:
            logger.warning(
                'DAVIS: the first masks of %d videos skip ids, which count as objects all the same, as in the official '
                'evaluation, and score 1.0 where neither truth nor prediction shows them: %s. Number the objects from '
                '1 on if they are not meant.',
                len(gaps),
                '; '.join(f'{k}: {ranges(ids)}' for k, ids in gaps.items()),
            )
        if not scored:
            logger.warning('DAVIS: no video could be scored, so there are no results.')
            return {}
        return _mean([scores for objects in scored.values() for scores in objects])

    def details(self, records: dict[str, dict]) -> dict[str, Any]:
        scored, unscored = _split(records)
        rows = _object_rows(scored)
        return dict(
            num_videos=len(scored),
            num_objects=len(rows),
            not_scored=unscored,
            per_sequence={video_id: _mean(objects) for video_id, objects in scored.items()},
            per_object=rows,
        )

    def tables(self, records: dict[str, dict]) -> dict[str, list[dict[str, Any]]]:
        scored, _ = _split(records)
        return dict(
            davis_per_sequence=[dict(Sequence=video_id, **_mean(objects)) for video_id, objects in scored.items()],
            davis_per_object=[dict(Object=name, **scores) for name, scores in _object_rows(scored).items()],
        )

    def log_text(self, records: dict[str, dict], metrics: dict[str, float]) -> str:
        scored, _ = _split(records)
        rows = {video_id: _mean(objects) for video_id, objects in scored.items()}
        num_objects = sum(map(len, scored.values()))
        return f'{len(scored)} videos, {num_objects} objects\n{text_table({**rows, "all objects": metrics})}'


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers as text, such as ``1 to 3, 7``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ', '.join(str(first) if first == last else f'{first} to {last}' for first, last in runs)


def _split(records: dict[str, dict]) -> tuple[dict[str, list[dict]], list[str]]:
    """Scores of the objects by video, and the videos without scores."""
    scored = {video_id: record['objects'] for video_id, record in records.items() if record['objects'] is not None}
    return scored, [video_id for video_id in records if video_id not in scored]


def _object_rows(scored: dict[str, list[dict]]) -> dict[str, dict[str, float]]:
    return {f'{name}_{number}': row for name, rows in scored.items() for number, row in enumerate(rows, start=1)}


def _mean(objects: Sequence[dict[str, float]]) -> dict[str, float]:
    means = {measure: float(np.mean([scores[measure] for scores in objects])) for measure in MEASURES}
    return {'J&F-Mean': (means['J-Mean'] + means['F-Mean']) / 2, **means}
