"""J and F of long videos, whose objects may come later, may overlap, and have a truth in some frames."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.logging import MMLogger

from stt_mm.evaluation.functional.over_time import measure_frames, parts_of, variation
from stt_mm.evaluation.functional.youtube_vos import summarise_categories
from stt_mm.evaluation.metrics.base import VideoMetric, predicted_masks
from stt_mm.evaluation.metrics.tables import text_table
from stt_mm.registry import METRICS
from stt_mm.utils.checks import check_count
from stt_mm.utils.frame_masks import FrameMasks
from stt_mm.utils.text import read_lines, read_list

Frames = Sequence[FrameMasks | None]


@METRICS.register_module()
class ObjectVideoMetric(VideoMetric):
    """J and F of each object over its frames with a truth, from its first on; the mean over all objects, in 0..1.

    Of these frames the first, whose mask is given, and the last do not count, as in the evaluations of MOSE and SA-V;
    LVOS counts both (its data set has left out the last). ``V-Mean`` is the standard deviation of J&F over time.
    ``J&F-Decay`` is J&F in the first part of an object's frames less that in the last. Objects without a frame that
    counts are not scored, and neither are videos of which nothing but the given masks is known.

    With ``out_dir``, it writes ``objects_results.json``, ``objects_per_video.csv``, ``objects_per_object.csv`` and
    ``objects_over_time.csv``, a row for each part of the time.

    Beyond what :class:`VideoMetric` asks for, data samples have ``pred_masks`` (integer ids ``[T, H, W]`` at the
    original size), or ``pred_objects``, a :class:`stt_mm.utils.frame_masks.FrameMasks` or ``None`` per frame, where
    they overlap; ``truth``, the like; and ``objects``: ``dict[int, dict]``, id to ``first_frame`` (index).

    Args:
        out_dir, dump_masks, resume, run_id, dump_points: see :class:`VideoMetric`.
        given_frame, last_frame: whether the first, and the last, frame of an object counts.
        parts: of the time of an object, in which J and F are told; 4 for quarters, more for a curve.
        unseen_videos: videos of categories that are not in the training data, names or a file with one per line. Then
            ``J&F-Mean`` is the mean of J and F over the objects of seen and of unseen ones, as in LVOS.
    """

    name = 'objects'
    description = 'J and F of each object over the frames from its first on that have a truth, mean over objects'

    def __init__(
        self,
        out_dir: str | None = None,
        dump_masks: str | None = None,
        resume: bool = False,
        run_id: str = '',
        given_frame: bool = False,
        last_frame: bool = False,
        parts: int = 4,
        unseen_videos: str | Sequence[str] | None = None,
        dump_points: str | None = None,
    ) -> None:
        super().__init__(out_dir, dump_masks, resume, run_id, dump_points)
        check_count('parts', parts, 2)
        self.given_frame = given_frame
        self.last_frame = last_frame
        self.parts = parts
        if isinstance(unseen_videos, str):
            unseen_videos = read_list(unseen_videos, 'videos', read_lines)
        self.unseen_videos = None if unseen_videos is None else frozenset(unseen_videos)

    def score(self, sample: dict) -> dict:
        """``objects``: id to ``frames`` (how many count), ``J``, ``F``, ``V``, ``parts``; ``None`` if none counts."""
        truth = sample['truth']
        found = sample['pred_objects'] if 'pred_objects' in sample else predicted_masks(sample)
        scores: dict[int, dict | None] = {}
        for number, entry in sample['objects'].items():
            times = [
                t
                for t, frame in enumerate(truth)
                if t >= entry['first_frame'] and frame is not None and number in frame.objects
            ]
            times = times[0 if self.given_frame else 1 : None if self.last_frame else -1]
            scores[number] = self._scored(found, truth, number, times)
        # Where nothing but the given masks is known, the given frames are all that could count.
        if not any(row is not None for row in scores.values()) or _only_given(truth, sample['objects']):
            return dict(objects=None)
        return dict(objects=scores)

    def summarise(self, records: dict[str, dict]) -> dict[str, float]:
        """``J&F-Mean``, ``J-Mean``, ``F-Mean``, ``V-Mean``, ``J&F-Decay``; J and F of ``Seen`` and ``Unseen``."""
        rows, logger = _rows(records), MMLogger.get_current_instance()
        unscored = [video_id for video_id, record in records.items() if record['objects'] is None]
        if unscored:
            logger.warning(
                '%d of %d videos are not scored, the truth of their frames is not known: %s',
                len(unscored),
                len(records),
                ', '.join(unscored[:5]),
            )
        if not rows:
            logger.warning('No object could be scored, so there are no results.')
            return {}
        seen = None if self.unseen_videos is None else [row['video'] not in self.unseen_videos for row in rows]
        means, _ = summarise_categories([(row['J'], row['F']) for row in rows], seen)
        curve = [row['J&F'] for row in self._over_time(rows) if row['objects']]
        return {
            'J&F-Mean': means.pop('Overall'),
            **means,
            'V-Mean': float(np.mean([row['V'] for row in rows])),
            'J&F-Decay': curve[0] - curve[-1],
        }

    def details(self, records: dict[str, dict]) -> dict[str, Any]:
        """What counted, the curve over time, and the objects of each video."""
        rows = _rows(records)
        return dict(
            given_frame_counts=self.given_frame,
            last_frame_counts=self.last_frame,
            num_objects=len(rows),
            not_scored=[video_id for video_id, record in records.items() if record['objects'] is None],
            over_time=self._over_time(rows),
            per_video={video_id: record['objects'] for video_id, record in records.items() if record['objects']},
        )

    def tables(self, records: dict[str, dict]) -> dict[str, list[dict[str, Any]]]:
        """A row for each video, object and part of the time."""
        rows = _rows(records)
        columns = ('J', 'F', 'V')
        per_object = [
            {'Video': row['video'], 'Object': row['object'], 'Frames': row['frames'], 'J&F': _both(row)}
            | {key: row[key] for key in columns}
            for row in rows
        ]
        groups = {name: [row for row in per_object if row['Video'] == name] for name in records}
        per_video = [
            {'Video': name, 'Objects': len(group)}
            | {key: float(np.mean([row[key] for row in group])) for key in ('J&F', *columns)}
            for name, group in groups.items()
            if group
        ]
        return dict(objects_per_video=per_video, objects_per_object=per_object, objects_over_time=self._over_time(rows))

    def log_text(self, records: dict[str, dict], metrics: dict[str, float]) -> str:
        """The result, and J&F in each part of the time."""
        curve = ' '.join('-' if row['J&F'] is None else f'{row["J&F"]:.4f}' for row in self._over_time(_rows(records)))
        return f'{len(_rows(records))} objects; J&F over time: {curve}\n{text_table({"all objects": metrics})}'

    def _scored(
        self,
        found: np.ndarray | Sequence[FrameMasks | None],
        truth: Sequence[FrameMasks | None],
        number: int,
        times: list,
    ) -> dict | None:
        if not times:
            return None
        pairs = ((_drawn(found[t], number, truth[t].size), _drawn(truth[t], number, truth[t].size)) for t in times)
        values = measure_frames(pairs)
        region, boundary = values.mean(axis=1).tolist()
        return dict(frames=len(times), J=region, F=boundary, V=variation(values), parts=parts_of(values, self.parts))

    def _over_time(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Means over the objects that have a frame in each part of the time."""
        table = []
        for part in range(self.parts):
            pairs = [row['parts'][part] for row in rows if row['parts'][part] is not None]
            region, boundary = np.mean(pairs, axis=0).tolist() if pairs else (None, None)
            both = None if region is None else (region + boundary) / 2
            ends = {'from': part / self.parts, 'to': (part + 1) / self.parts}
            table.append({'part': part + 1, **ends, 'objects': len(pairs), 'J&F': both, 'J': region, 'F': boundary})
        return table


def _drawn(frame: np.ndarray | FrameMasks | None, number: int, size: tuple[int, int]) -> np.ndarray:
    """An object in a frame, bool ``[H, W]``."""
    if isinstance(frame, np.ndarray):
        return frame == number
    return frame.objects[number]() if frame is not None and number in frame.objects else np.zeros(size, bool)


def _only_given(truth: Frames, objects: Mapping[int, dict]) -> bool:
    """Whether no frame has a truth but those in which an object is given."""
    return {t for t, frame in enumerate(truth) if frame is not None} <= {o['first_frame'] for o in objects.values()}


def _both(row: dict[str, Any]) -> float:
    return (row['J'] + row['F']) / 2


def _rows(records: dict[str, dict]) -> list[dict[str, Any]]:
    """The scored objects of all videos."""
    return [
        dict(entry, video=video_id, object=int(number))
        for video_id, record in records.items()
        for number, entry in (record['objects'] or {}).items()
        if entry is not None
    ]
