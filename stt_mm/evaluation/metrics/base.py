"""What all metrics share: one small record per video, kept on disk, gathered from all ranks, written as tables."""

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from stt_mm.errors import InputError
from stt_mm.evaluation.metrics.dumped import Kind, dump_masks, dump_points
from stt_mm.evaluation.metrics.records import read_records, write_record
from stt_mm.evaluation.metrics.tables import text_table, write_csv, write_json
from stt_mm.utils.masks import read_mask, read_object_ids
from stt_mm.utils.text import check_name


class VideoMetric(BaseMetric):
    """A metric that reduces each video to a few numbers as soon as it is predicted, and drops what is dense.

    A subclass names itself (``name``) and its convention (``description``), and defines :meth:`score` and
    :meth:`summarise`; :meth:`details`, :meth:`tables` and :meth:`log_text` add to the files and to the log. Every data
    sample has ``video_id``, ``frame_names``, ``original_size`` (height, width) and ``protocol``, a JSON-able dict with
    at least ``name`` and ``version``; with ``max_frames`` it is cut to so many first frames, without or with ``None``
    it is whole.

    With ``out_dir``, the record of a video is at once in ``<out_dir>/videos/<name>/<video_id>.json``, and the result in
    ``<out_dir>/<name>_results.json`` and the CSV files of :meth:`tables`. Ranks exchange records through the process
    group. A video counts once, however often it was processed, and sums run over sorted ids, so the numbers do not
    depend on the number of processes.

    Args:
        out_dir: where to write records and results; ``None`` writes nothing.
        dump_masks: where to write ``pred_masks`` as palette PNGs, ``<dump_masks>/<video_id>/<frame>.png``: all frames,
            or those that the sample's ``output_frames`` (one bool per frame) names. The folder belongs to one run; see
            :mod:`stt_mm.utils.targets`. ``None`` writes nothing.
        dump_points: where to write ``pred_points``, see :func:`stt_mm.evaluation.metrics.dumped.dump_points`; likewise.
        resume: records of this run that are in ``out_dir`` already count as processed; of those that come with masks or
            points, the ones whose files are there too.
        run_id: what makes two runs comparable, such as a hash of checkpoint and protocol. Records of another one are
            never mixed in.

    Raises:
        ValueError: ``resume`` without ``out_dir``, ``dump_masks`` or ``dump_points`` for a metric without such, or
            ``out_dir`` holds records of another run.
    """

    # An empty prefix keeps the keys plain; None would do so too, with a warning.
    default_prefix = ''
    name: str
    description: str
    predicts: Kind = 'masks'  # whether what is scored are ``pred_masks`` or ``pred_points``

    def __init__(
        self,
        out_dir: str | None = None,
        dump_masks: str | None = None,
        resume: bool = False,
        run_id: str = '',
        dump_points: str | None = None,
    ) -> None:
        super().__init__()
        if resume and out_dir is None:
            raise InputError(f'{type(self).__name__}: resume needs out_dir, the folder that holds the records.')
        for kind, folder in (('masks', dump_masks), ('points', dump_points)):
            if folder is not None and kind != self.predicts:
                raise InputError(
                    f'{type(self).__name__} scores no {kind}, so that there are none to write to {folder}. Leave out '
                    f'dump_{kind} (--dump-{kind}).'
                )
        self.out_dir = out_dir
        self.dump = dump_masks or dump_points
        self.run_id = run_id
        self.resumed = read_records(out_dir, self.name, run_id, self.dump) if resume else []

    @abstractmethod
    def score(self, sample: dict) -> dict:
        """Reduces one video to a JSON-able record: scalars and short lists, nothing dense."""

    @abstractmethod
    def summarise(self, records: dict[str, dict]) -> dict[str, float]:
        """The result, from the records by ``video_id`` in sorted order; empty if nothing could be scored."""

    def details(self, records: dict[str, dict]) -> dict[str, Any]:
        """Further entries of the result file."""
        return dict(per_video=records)

    def tables(self, records: dict[str, dict]) -> dict[str, list[dict[str, Any]]]:
        """Rows of the CSV files by file name without suffix; all rows of a file have the same keys."""
        return {}

    def log_text(self, records: dict[str, dict], metrics: dict[str, float]) -> str:
        """What the log says, below a line with the protocol."""
        return text_table({'all videos': metrics})

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Scores each video, writes what is to be written and keeps its record.

        Raises:
            ValueError: an id that points out of the folders, or what does not fit; the message names the video.
        """
        for sample in data_samples:
            video_id = sample['video_id']
            check_name(video_id, 'A data sample')
            files = None
            try:
                if self.dump is not None:
                    write, read = _DUMPS[self.predicts]
                    files = write(self.dump, self.run_id, sample, read(sample))
                record = self.score(sample)
            except InputError as error:
                raise InputError(f'Video {video_id}: {error}') from error
            entry = dict(
                video_id=video_id,
                run_id=self.run_id,
                protocol=dict(sample['protocol']),
                max_frames=sample.get('max_frames'),
                files=files,
                record=record,
            )
            # What JSON makes of it (lists, text keys), so that a resumed record is like any other.
            entry = json.loads(json.dumps(entry))
            if self.out_dir is not None:
                write_record(self.out_dir, self.name, entry)
            self.results.append(entry)

    def evaluate(self, size: int) -> dict[str, float]:
        """Gathers the records of all ranks, writes the result on rank 0, returns it on all; ``size`` is not needed."""
        # Every rank computes the result from the same records, so an error in it is raised on all of them.
        gathered = all_gather_object((self.resumed, self.results))
        entries = [entry for part in (0, 1) for pair in gathered for entry in pair[part]]
        self.results.clear()
        return self.compute_metrics(entries)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """The result of gathered records; where a video occurs more than once, the last of them counts.

        Raises:
            ValueError: the videos differ in protocol or ``max_frames``.
        """
        entries = {entry['video_id']: entry for entry in sorted(results, key=lambda entry: entry['video_id'])}
        logger = MMLogger.get_current_instance()
        if not entries:
            logger.warning('%s: no video was processed, so there are no results.', self.name)
            return {}
        first = next(iter(entries.values()))
        for video_id, entry in entries.items():
            for key in ('protocol', 'max_frames'):
                if entry[key] != first[key]:
                    raise InputError(
                        f'Videos of one evaluation must share one {key}, got {first[key]} for {first["video_id"]} and '
                        f'{entry[key]} for {video_id}. Evaluate them alike, or into different folders.'
                    )
        records = {video_id: entry['record'] for video_id, entry in entries.items()}
        metrics = self.summarise(records)
        if is_main_process():
            if metrics:
                protocol, cut = first['protocol'], first['max_frames']
                logger.info(
                    '%s, protocol %s, version %s%s: %s',
                    self.name,
                    protocol.get('name'),
                    protocol.get('version'),
                    '' if cut is None else f', max_frames {cut}',
                    self.log_text(records, metrics),
                )
            if self.out_dir is not None:
                self._write(first, records, metrics)
        return metrics

    def _write(self, entry: dict, records: dict[str, dict], metrics: dict[str, float]) -> None:
        folder = Path(self.out_dir)
        content = dict(
            protocol=entry['protocol'],
            max_frames=entry['max_frames'],
            metric=self.description,
            run_id=self.run_id,
            num_videos=len(records),
        )
        content.update({'global': metrics, **(self.details(records) if metrics else dict(not_scored=list(records)))})
        write_json(folder / f'{self.name}_results.json', content)
        for name, rows in (self.tables(records) if metrics else {}).items():
            write_csv(folder / f'{name}.csv', rows)
        MMLogger.get_current_instance().info('%s: results written to %s', self.name, folder)


def predicted_masks(sample: dict) -> np.ndarray:
    """``pred_masks`` of a data sample as an array ``[T, H, W]``.

    Raises:
        ValueError: there are none, they are not one per frame at the original size, or what else the sample holds for
            each frame is for another number of frames.
    """
    size, frames = tuple(sample['original_size']), len(sample['frame_names'])
    if 'pred_masks' not in sample:
        raise InputError('the model returned no pred_masks; there are no masks to score or write.')
    masks = sample['pred_masks']
    masks = masks.cpu().numpy() if isinstance(masks, torch.Tensor) else np.asarray(masks)
    if masks.shape != (frames, *size):
        raise InputError(
            f'expected pred_masks [T, H, W] for {frames} frames of {size[0]}x{size[1]} (height x width), got '
            f'{list(masks.shape)}.'
        )
    for key in ('mask_paths', 'output_frames'):
        if len(sample.get(key, masks)) != frames:
            raise InputError(f'{len(sample[key])} {key} for {frames} frames.')
    return masks


def predicted_points(sample: dict) -> np.ndarray:
    """``pred_points`` of a data sample as an array ``[T, J, 2]``.

    Raises:
        ValueError: there are none.
    """
    if 'pred_points' not in sample:
        raise InputError(
            'the model returned no pred_points. Choose a dataset that gives joints and a protocol for them, such '
            'as stt_jhmdb_s8.'
        )
    return np.asarray(sample['pred_points'])


def found_points(sample: dict, shape: Sequence[int]) -> np.ndarray:
    """``pred_points`` for ground truth of a shape ``[T, J, 2]``, float64, infinitely far away where a point is lost.

    A point is lost where it is negative, or where ``pred_lost`` says so, bool ``[T, J]``, if the sample has that.

    Raises:
        ValueError: there are none, or they are of another shape.
    """
    points = predicted_points(sample).astype(np.float64)
    if points.shape != tuple(shape):
        raise InputError(f'expected pred_points {list(shape)}, as the ground truth, got {list(points.shape)}.')
    lost = sample['pred_lost'] if 'pred_lost' in sample else (points < 0).any(axis=-1)
    return np.where(np.asarray(lost)[..., None], np.inf, points)


def read_truth(sample: dict, path: str, keep_void: bool = False) -> np.ndarray:
    """One ground truth mask of a data sample, uint8 ``[H, W]``, its void pixels 0 unless they are kept.

    Raises:
        ValueError: its size is not that of the video.
    """
    truth = read_mask(path) if keep_void else read_object_ids(path, sample.get('single_object', False))
    height, width = sample['original_size']
    if truth.shape != (height, width):
        raise InputError(
            f'ground truth {path} is {truth.shape[0]}x{truth.shape[1]} (height x width), the predictions are '
            f'{height}x{width}. Predictions must have the original size of the video, and all its masks must come from '
            'one resolution.'
        )
    return truth


_DUMPS = dict(masks=(dump_masks, predicted_masks), points=(dump_points, predicted_points))
