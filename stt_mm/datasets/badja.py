"""BADJA: joints of animals in videos of DAVIS, annotated in about every fifth frame."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import MMLogger

from stt_mm.datasets.benchmark import VideoBenchmark, given_alone, of_the_first
from stt_mm.errors import InputError, MissingInputError
from stt_mm.registry import DATASETS
from stt_mm.utils.frames import FrameSequence
from stt_mm.utils.images import list_images
from stt_mm.utils.text import check_name, check_there, read_json

LAYOUT = (
    '<data_root>/joint_annotations/<animal>.json, <davis_root>/JPEGImages/Full-Resolution/<animal>/00000.jpg and '
    '<davis_root>/Annotations/Full-Resolution/<animal>/00000.png'
)
NUM_POINTS = 37
# Those that the evaluation of PIPs follows and scores, of the points that an annotation has.
JOINTS = (8, 9, 10, 12, 13, 14, 15, 18, 19, 20, 22, 23, 24, 25, 28, 31, 32, 33, 35, 36)
_ELSEWHERE = 'extra_videos'


@DATASETS.register_module()
class BADJA(VideoBenchmark):
    """The animals of BADJA that are in DAVIS; one item runs from the first to the last annotated frame of one animal.

    ``given_points`` are the 20 scored joints of the first annotated frame, all of them, for the published evaluation
    asks for those too that are not visible there. The metainfo adds ``points``, float32 ``[T, 20, 2]``: (x, y) in
    pixels that count from 0, NaN where a joint is not annotated or not visible, and ``mask_paths``, one per frame,
    ``None`` where none is annotated.

    Args:
        data_root: folder that holds ``joint_annotations``. Animals whose frames are not of DAVIS (``extra_videos``) are
            left out.
        davis_root: folder of DAVIS-2017 trainval at full resolution; ``None``: ``<data_root>/DAVIS``.
        max_frames, indices, skip: see :class:`VideoBenchmark`.

    Raises:
        FileNotFoundError: annotations, frames or masks are missing.
        ValueError: an argument out of its range, or annotations of another form.
    """

    METAINFO = dict(dataset_name='BADJA')

    def __init__(
        self,
        data_root: str,
        davis_root: str | None = None,
        max_frames: int | None = None,
        indices: int | Sequence[int] | None = None,
        skip: Sequence[str] = (),
    ) -> None:
        self.davis = Path(data_root, 'DAVIS') if davis_root is None else Path(davis_root)
        super().__init__(data_root, 'BADJA', max_frames, indices, skip)

    def load_videos(self) -> list[dict]:
        folder = Path(self.data_root, 'joint_annotations')
        advice = 'Complete the download, or change data_root and davis_root.'
        for path in (folder, self.davis):
            check_there(path, 'folder', 'BADJA', LAYOUT, advice)
        videos, elsewhere = [], []
        for path in sorted(folder.glob('*.json')):
            entries = read_annotations(path)
            if any(_ELSEWHERE in entry['image_path'] for entry in entries):
                elsewhere.append(path.stem)
            else:
                videos.append(self._load_video(path, entries))
        if elsewhere:
            MMLogger.get_current_instance().info('BADJA: %s not in DAVIS, left out.', ', '.join(elsewhere))
        return videos

    def load_labels(self, video: dict, frames: FrameSequence) -> tuple[dict, dict]:
        cut = {key: video[key][: len(frames)] for key in ('points', 'mask_paths')}
        return dict(given_points={0: video['given']}), cut

    def lack(self, video: dict) -> str | None:
        if lack := given_alone(video, self.max_frames):
            return lack
        later = video['points'][1 : len(video['frame_paths'])]
        if np.isnan(later).any(axis=2).all():
            return f'no joint is visible after the first annotated frame{of_the_first(self.max_frames)}'
        return None

    def _load_video(self, path: Path, entries: list[dict]) -> dict:
        images = [place_of(entry['image_path'], 'JPEGImages', path) for entry in entries]
        masks = [place_of(entry['segmentation_path'], 'Annotations', path) for entry in entries]
        folder = self.davis / images[0].parent
        check_there(folder, 'folder', 'BADJA', LAYOUT, 'Complete DAVIS, or change davis_root.')
        frame_paths = list_images(folder)
        index = {Path(frame).name: number for number, frame in enumerate(frame_paths)}
        for image, mask in zip(images, masks, strict=True):
            if image.parent != images[0].parent:
                raise InputError(
                    f'{path} names frames of {images[0].parent} and of {image.parent}. Expected one video.'
                )
            if image.name not in index:
                raise MissingInputError(
                    f'BADJA: {path} annotates {image.name}, which {folder} has not. Complete DAVIS.'
                )
            check_there(self.davis / mask, 'file', 'BADJA', LAYOUT, 'Complete DAVIS.')
        times = [index[image.name] for image in images]
        if times != sorted(set(times)):
            raise InputError(f'{path}: the annotated frames must be in order, each once. Download it again.')
        first, last = times[0], times[-1]
        points, mask_paths = (
            np.full((last - first + 1, len(JOINTS), 2), np.nan, np.float32),
            [None] * (last - first + 1),
        )
        joints = np.array([entry['joints'] for entry in entries], np.float32)[:, JOINTS, ::-1]
        visible = np.array([entry['visibility'] for entry in entries], bool)[:, JOINTS]
        for time, mask, row, shown in zip(times, masks, joints, visible, strict=True):
            points[time - first] = np.where(shown[:, None], row, np.nan)
            mask_paths[time - first] = str(self.davis / mask)
        return dict(
            video_id=path.stem,
            frame_paths=frame_paths[first : last + 1],
            given=joints[0],
            points=points,
            mask_paths=mask_paths,
        )


def read_annotations(path: Path) -> list[dict]:
    """The annotated frames of one animal, their joints and visibilities checked."""
    entries = read_json(path)
    if not isinstance(entries, list) or not entries:
        raise InputError(f'{path} must be a list of annotated frames. Download it again.')
    for number, entry in enumerate(entries):
        joints = entry.get('joints') if isinstance(entry, dict) else None
        visibility = entry.get('visibility') if isinstance(entry, dict) else None
        if (
            not _is_list(joints, NUM_POINTS)
            or not all(_is_list(joint, 2) and all(_is_number(side) for side in joint) for joint in joints)
            or not _is_list(visibility, NUM_POINTS)
            or not all(shown in (0, 1) for shown in visibility)
            or not all(isinstance(entry.get(key), str) for key in ('image_path', 'segmentation_path'))
        ):
            raise InputError(
                f'{path}, frame {number}: expected image_path, segmentation_path, {NUM_POINTS} joints [y, x] in pixels '
                f'and {NUM_POINTS} switches as visibility. Download it again.'
            )
    return entries


def _is_list(value: Any, length: int) -> bool:
    return isinstance(value, list) and len(value) == length


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= 1e6


def place_of(name: str, kind: str, source: Path) -> Path:
    """Where a path of an annotation lies below the folder of DAVIS."""
    name = name.replace('\\', '/')
    check_name(name, source)
    parts = Path(name).parts
    if kind not in parts or len(parts) - parts.index(kind) < 3:
        raise InputError(f'{source} names {name[:200]}. Expected DAVIS/{kind}/Full-Resolution/<video>/<frame>.')
    return Path(*parts[parts.index(kind) :])
