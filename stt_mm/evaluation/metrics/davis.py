"""The DAVIS score of whole videos, one video at a time."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from stt_mm.evaluation.functional.davis import MEASURES, evaluate_video
from stt_mm.registry import METRICS
from stt_mm.utils.masks import read_object_ids, write_mask


@METRICS.register_module()
class DAVISMetric(BaseMetric):
    """J and F of DAVIS as in the official semi-supervised evaluation: mean, recall and decay, all in 0..1.

    The first and the last frame do not count; the result is the mean over all objects of all videos, and ``J&F-Mean``
    the mean of ``J-Mean`` and ``F-Mean``. Each video is reduced to a few numbers as soon as it is there. A video whose
    truth is not known beyond the first frame (test-dev) is not scored.

    Consumes data samples with ``pred_masks`` (integer ids ``[T, H, W]`` at the original size), ``video_id``,
    ``frame_names``, ``mask_paths`` (one per frame, ``None`` if unknown), ``protocol`` (a dict with at least ``name``
    and ``version``, what the predictions were made with) and optionally ``single_object`` (every non-zero pixel of the
    truth is object 1).

    Args:
        out_dir: where to write ``davis_results.json``, ``davis_per_sequence.csv`` and ``davis_per_object.csv``;
            ``None`` writes nothing.
        dump_masks: where to write the predictions as palette PNGs, ``<dump_masks>/<video>/<frame>.png``; ``None``
            writes nothing.
        collect_device: how ranks exchange results, ``'cpu'`` (through files) or ``'gpu'``.
    """

    # An empty prefix keeps the keys plain; None would do so too, with a warning.
    default_prefix = ''

    def __init__(
        self, out_dir: str | None = None, dump_masks: str | None = None, collect_device: str = 'cpu'
    ) -> None:
        super().__init__(collect_device=collect_device)
        self.out_dir = out_dir
        self.dump_masks = dump_masks

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Scores each video and drops its masks.

        Raises:
            ValueError: predictions and frames differ in number, the truth has another size, or there are more
                predicted ids than objects; the message names the video and, where there is one, the file.
        """
        for sample in data_samples:
            video_id = sample['video_id']
            masks = sample['pred_masks']
            predictions = masks.cpu().numpy() if isinstance(masks, torch.Tensor) else masks
            names, mask_paths = sample['frame_names'], sample['mask_paths']
            if predictions.ndim != 3 or not len(predictions) == len(names) == len(mask_paths):
                raise ValueError(
                    f'Video {video_id}: expected pred_masks [T, H, W] for {len(names)} frames and {len(mask_paths)} '
                    f'mask paths, got {list(predictions.shape)}.'
                )
            if self.dump_masks is not None:
                for name, mask in zip(names, predictions, strict=True):
                    write_mask(Path(self.dump_masks, video_id, f'{name}.png'), mask)
            objects = None
            if None not in mask_paths:
                objects = _score(video_id, predictions, mask_paths, sample.get('single_object', False))
            self.results.append(dict(video_id=video_id, objects=objects, protocol=dict(sample['protocol'])))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Means over all objects; logs a table and writes the files. Runs on rank 0 only.

        Returns:
            ``J&F-Mean``, then J and F with mean, recall and decay. Empty if no video could be scored.

        Raises:
            ValueError: the videos come from different protocols.
        """
        logger = MMLogger.get_current_instance()
        # Samplers repeat videos to give each rank as many. In sorted order the sums do not depend on the ranks.
        videos = {result['video_id']: result for result in sorted(results, key=lambda result: result['video_id'])}
        protocols = [result['protocol'] for result in videos.values()]
        if any(protocol != protocols[0] for protocol in protocols):
            raise ValueError(f'Videos of one evaluation must share one protocol, got {protocols}.')
        scored = {video_id: video['objects'] for video_id, video in videos.items() if video['objects'] is not None}
        unscored = [video_id for video_id in videos if video_id not in scored]
        if unscored:
            logger.warning(
                'DAVIS: %d of %d videos are not scored, their truth is not known beyond the first frame: %s',
                len(unscored), len(videos), ', '.join(unscored),
            )  # fmt: skip
        if not scored:
            logger.warning('DAVIS: no video could be scored, so there are no results.')
            return {}
        sequences = {video_id: _mean(objects) for video_id, objects in scored.items()}
        metrics = _mean([scores for objects in scored.values() for scores in objects])
        num_objects = sum(len(objects) for objects in scored.values())
        logger.info(
            'DAVIS, protocol %s, version %s: %d videos, %d objects\n%s',
            protocols[0].get('name'), protocols[0].get('version'), len(scored), num_objects,
            _table({**sequences, 'all objects': metrics}),
        )  # fmt: skip
        if self.out_dir is not None:
            objects = {f'{name}_{i}': row for name, rows in scored.items() for i, row in enumerate(rows, start=1)}
            self._write(protocols[0], metrics, sequences, objects, unscored)
        return metrics

    def _write(self, protocol: dict, metrics: dict, sequences: dict, objects: dict, unscored: list[str]) -> None:
        folder = Path(self.out_dir)
        folder.mkdir(parents=True, exist_ok=True)
        content = dict(
            protocol=protocol,
            metric='DAVIS-2017 semi-supervised: first and last frame left out, mean over objects',
            num_videos=len(sequences),
            num_objects=len(objects),
            not_scored=unscored,
            **{'global': metrics, 'per_sequence': sequences, 'per_object': objects},
        )
        (folder / 'davis_results.json').write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
        for name, rows, measures in (('sequence', sequences, list(metrics)), ('object', objects, list(MEASURES))):
            with open(folder / f'davis_per_{name}.csv', 'w', newline='', encoding='utf-8') as file:
                writer = csv.writer(file)
                writer.writerow([name.capitalize(), *measures])
                writer.writerows([key, *(row[measure] for measure in measures)] for key, row in rows.items())
        MMLogger.get_current_instance().info('DAVIS results written to %s', folder)


def _score(
    video_id: str, predictions: np.ndarray, mask_paths: Sequence[str], single_object: bool
) -> list[dict[str, float]]:
    truths = []
    for path in mask_paths:
        truth = read_object_ids(path, single_object)
        if truth.shape != predictions.shape[1:]:
            raise ValueError(
                f'Video {video_id}: ground truth {path} is {truth.shape[0]}x{truth.shape[1]} (height x width), the '
                f'predictions are {predictions.shape[1]}x{predictions.shape[2]}. Predictions must have the original '
                'size of the video, and all its masks must come from one resolution.'
            )
        truths.append(truth)
    try:
        return evaluate_video(predictions, np.stack(truths))
    except ValueError as error:
        raise ValueError(f'Video {video_id}: {error}') from error


def _mean(objects: Sequence[dict[str, float]]) -> dict[str, float]:
    means = {measure: float(np.mean([scores[measure] for scores in objects])) for measure in MEASURES}
    return {'J&F-Mean': (means['J-Mean'] + means['F-Mean']) / 2, **means}


def _table(rows: dict[str, dict[str, float]]) -> str:
    width = max(map(len, rows))
    measures = list(next(iter(rows.values())))
    lines = [' ' * width + ''.join(f'{measure:>10}' for measure in measures)]
    for name, row in rows.items():
        lines.append(f'{name:<{width}}' + ''.join(f'{row[measure]:10.4f}' for measure in measures))
    return '\n'.join(lines)
