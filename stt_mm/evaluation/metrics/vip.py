"""The scores of VIP: mean intersection over union of the parts, and AP of their instances."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from stt_mm.errors import InputError
from stt_mm.evaluation.functional.instance_ap import IOU_THRESHOLDS, instance_ap, match_instances
from stt_mm.evaluation.functional.vip import CATEGORIES, NUM_CATEGORIES, accuracies, category_iou, confusion_matrix
from stt_mm.evaluation.metrics.base import VideoMetric, predicted_masks, read_truth
from stt_mm.evaluation.metrics.tables import text_table
from stt_mm.registry import METRICS
from stt_mm.utils.text import read_instance_categories

# The record's matrix behind each number.
FRAMES = {'mIoU': 'all_frames', 'mIoU-without-first-frame': 'later_frames'}


@METRICS.register_module()
class VIPMetric(VideoMetric):
    """Mean intersection over union of the 20 categories, background included, in 0..1.

    One confusion matrix over all frames of all videos, then the mean over the categories that occur in the ground truth
    or in a prediction. The published ``mIoU`` counts frame 0, whose labels are given; ``mIoU-without-first-frame`` does
    not. Beside them stand what the released scripts print too, over all frames: ``mean-accuracy``, the part of each
    category's true pixels that is right, and ``overall-accuracy``, of all pixels.

    Consumes ``pred_masks``, integer categories 0..19 ``[T, H, W]`` at the original size, and the metainfo
    ``mask_paths``, one file per frame or ``None``; other values than 0..19 in them (255 is void) are ignored. The
    arguments are those of :class:`VideoMetric`; the files are ``vip_results.json``, ``vip_per_category.csv`` and
    ``vip_per_video.csv``.
    """

    name = 'vip'
    description = 'VIP: mean IoU over the categories that occur, one confusion matrix over all frames, frame 0 included'

    def score(self, sample: dict) -> dict:
        """Confusion matrices of one video, of all frames and of those after the first."""
        total = {key: np.zeros((NUM_CATEGORIES, NUM_CATEGORIES), np.int64) for key in FRAMES.values()}
        for frame, prediction, truth in _annotated_frames(sample):
            try:
                confusion = confusion_matrix(prediction, truth)
            except ValueError as error:
                raise InputError(f'frame {sample["frame_names"][frame]}: {error}') from error
            total['all_frames'] += confusion
            if frame > 0:
                total['later_frames'] += confusion
        return {key: confusion.tolist() for key, confusion in total.items()}

    def summarise(self, records: dict[str, dict]) -> dict[str, float]:
        """``mIoU``, ``mIoU-without-first-frame``, ``mean-accuracy`` and ``overall-accuracy``; a number is absent if no
        pixel is annotated."""
        means = {key: _mean(iou) for key, iou in _iou(records).items()}
        pair = accuracies(np.sum([record['all_frames'] for record in records.values()], axis=0))
        means |= dict(zip(('mean-accuracy', 'overall-accuracy'), map(_number, pair), strict=True))
        return {key: mean for key, mean in means.items() if mean is not None}

    def details(self, records: dict[str, dict]) -> dict[str, Any]:
        """The rows of the tables."""
        tables = self.tables(records)
        return dict(per_category=tables['vip_per_category'], per_video=tables['vip_per_video'])

    def tables(self, records: dict[str, dict]) -> dict[str, list[dict[str, Any]]]:
        """IoU of each category over all videos and mIoU of each video; ``None`` (empty) where there is none."""
        iou = _iou(records)
        categories = [
            {'category': name, **{key.replace('mIoU', 'IoU'): _number(iou[key][i]) for key in FRAMES}}
            for i, name in enumerate(CATEGORIES)
        ]
        videos = [
            {'video': video_id, **{key: _mean(values) for key, values in _iou({video_id: record}).items()}}
            for video_id, record in records.items()
        ]
        return dict(vip_per_category=categories, vip_per_video=videos)

    def log_text(self, records: dict[str, dict], metrics: dict[str, float]) -> str:
        """The categories that occur, then the means."""
        iou = _iou(records)
        rows = {
            name: {key: iou[key][i] for key in FRAMES if key in metrics}
            for i, name in enumerate(CATEGORIES)
            if not np.isnan(iou['mIoU'][i])
        }
        accuracy = ', '.join(f'{key} {metrics[key]:.4f}' for key in metrics if key not in FRAMES)
        return f'{len(records)} videos\n' + text_table({**rows, 'mean': metrics}) + f'\n{accuracy}'


@METRICS.register_module()
class VIPInstanceMetric(VideoMetric):
    """AP^r_vol of part instances, in 0..1: mean over 19 categories, then over the overlaps 0.1 to 0.9.

    As in the script behind the published numbers, frame 0 counts and matching is not one to one; see
    :mod:`stt_mm.evaluation.functional.instance_ap`. ``AP`` is the mean, ``AP@0.1`` and so on the thresholds.

    Consumes ``pred_masks``, ids of parts ``[T, H, W]``; ``pred_scores``, per frame a dict from id to score; and the
    metainfo ``categories``, from the ids of frame 0 to categories 1..19, ``mask_paths`` and ``text_paths``, per frame
    the true ids and the file with lines ``id category``.

    Args:
        out_dir, dump_masks, resume, run_id: see :class:`VideoMetric`. The files are
            ``vip_instance_results.json`` and ``vip_instance_per_category.csv``.
        drop_incomplete: where a part that has a score is missing from the mask, leave out all predictions of its
            category in that frame (UVC), instead of that part alone.
    """

    name = 'vip_instance'
    description = 'VIP: AP of part instances (AP^r_vol), best overlap without one-to-one matching, frame 0 included'

    def __init__(
        self,
        out_dir: str | None = None,
        dump_masks: str | None = None,
        resume: bool = False,
        run_id: str = '',
        drop_incomplete: bool = True,
        dump_points: str | None = None,
    ) -> None:
        super().__init__(out_dir, dump_masks, resume, run_id, dump_points)
        self.drop_incomplete = drop_incomplete

    def score(self, sample: dict) -> dict:
        """Category, score and best overlap of each prediction of one video; number of true parts by category."""
        if 'pred_scores' not in sample:
            raise InputError(
                'the model returned no pred_scores. They are asked for by the metainfo with_scores=True, which '
                "VIP(labels='instance') sets."
            )
        matches, counts = [], np.zeros(NUM_CATEGORIES, np.int64)
        for frame, prediction, truth in _annotated_frames(sample):
            try:
                parts = _predicted_parts(prediction, sample['pred_scores'][frame], sample['categories'])
                true_categories = read_instance_categories(sample['text_paths'][frame])
                found, number = match_instances(prediction, parts, truth, true_categories, self.drop_incomplete)
            except ValueError as error:
                raise InputError(f'frame {sample["frame_names"][frame]}: {error}') from error
            matches += found
            counts += number
        return dict(predictions=matches, num_true=counts.tolist())

    def summarise(self, records: dict[str, dict]) -> dict[str, float]:
        """``AP``, then ``AP@0.1`` to ``AP@0.9``."""
        means = _pooled_ap(records).mean(axis=0)
        return {'AP': float(means.mean()), **_by_threshold(means)}

    def details(self, records: dict[str, dict]) -> dict[str, Any]:
        """The rows of the table, and how much each video has."""
        videos = {
            video_id: dict(num_predicted=len(record['predictions']), num_true=sum(record['num_true']))
            for video_id, record in records.items()
        }
        return dict(per_category=self.tables(records)['vip_instance_per_category'], per_video=videos)

    def tables(self, records: dict[str, dict]) -> dict[str, list[dict[str, Any]]]:
        """AP of each category."""
        rows = [
            {'category': name, 'AP': float(row.mean()), **_by_threshold(row)}
            for name, row in zip(CATEGORIES[1:], _pooled_ap(records), strict=True)
        ]
        return dict(vip_instance_per_category=rows)


def _annotated_frames(sample: dict) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Number, prediction and truth of each frame that has a mask file; the truth keeps its void pixels."""
    for frame, (prediction, path) in enumerate(zip(predicted_masks(sample), sample['mask_paths'], strict=True)):
        if path is not None:
            yield frame, prediction, read_truth(sample, path, keep_void=True)


def _predicted_parts(
    prediction: np.ndarray, scores: dict[int, float], categories: dict[int, int]
) -> list[tuple[int, int, float]]:
    ids = set(np.unique(prediction).tolist()) - {0}
    if nameless := sorted(ids - scores.keys() | (scores.keys() - {0} - categories.keys())):
        raise InputError(
            f'Predicted parts {nameless} lack a score or a category; scores are there for {sorted(scores)}, categories '
            f'for {sorted(categories)}.'
        )
    return [(part_id, categories[part_id], scores[part_id]) for part_id in sorted(scores.keys() - {0})]


def _pooled_ap(records: dict[str, dict]) -> np.ndarray:
    """``[19, 9]``; predictions in the order of videos, frames and ids, which decides between equal scores."""
    matches = [match for video_id in sorted(records) for match in records[video_id]['predictions']]
    return instance_ap(matches, np.sum([record['num_true'] for record in records.values()], axis=0))


def _by_threshold(values: np.ndarray) -> dict[str, float]:
    return {f'AP@{threshold}': float(value) for threshold, value in zip(IOU_THRESHOLDS, values, strict=True)}


def _iou(records: dict[str, dict]) -> dict[str, np.ndarray]:
    return {
        key: category_iou(np.sum([record[frames] for record in records.values()], axis=0))
        for key, frames in FRAMES.items()
    }


def _mean(iou: np.ndarray) -> float | None:
    return None if np.isnan(iou).all() else float(np.nanmean(iou))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
