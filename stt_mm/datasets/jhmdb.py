"""JHMDB: the joints of one person, given in the first frame."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.logging import MMLogger

from stt_mm.datasets.benchmark import VideoBenchmark, given_alone
from stt_mm.errors import InputError, MissingInputError
from stt_mm.registry import DATASETS
from stt_mm.utils.checks import check_choice
from stt_mm.utils.frames import FrameSequence
from stt_mm.utils.images import list_images
from stt_mm.utils.mat import read_joint_positions
from stt_mm.utils.text import check_name, check_there, read_words

LAYOUT = (
    '<data_root>/Rename_Images/<action>/<clip>/00001.png, '
    '<data_root>/joint_positions/<action>/<clip>/joint_positions.mat and <data_root>/splits, or a video_list'
)
FRAMES, JOINTS = 'Rename_Images', 'joint_positions'


@DATASETS.register_module()
class JHMDB(VideoBenchmark):
    """Test clips of JHMDB; one item is one whole clip, ``video_id`` is ``<action>/<clip>``.

    ``given_points`` are the joints of frame 0 (15 in JHMDB). The metainfo adds ``points``, float32
    ``[T, J, 2]``: (x, y) of all frames in pixels that count from 0. Joints may lie outside the image; NaN means not
    visible. A clip ends where its joints end, though there are more images in two clips.

    Args:
        data_root: folder that holds ``Rename_Images`` and ``joint_positions``, or ``JHMDB`` with both of them.
        split: 1, 2 or 3; the test clips of ``splits/<action>_test_split<split>.txt`` (lines ``<clip>.avi 2``).
        video_list: takes the place of ``split``: a text file whose lines are ``<mat file> <frame folder>`` (UVC, STT),
            the same the other way round (CRW), ``<action>/<clip>`` or ``<clip>``. Of paths, what stands before
            ``Rename_Images`` and ``joint_positions`` is ignored. Relative to ``data_root``, or to its parent.
        max_frames, indices, skip: see :class:`VideoBenchmark`.

    Raises:
        FileNotFoundError: a list, a clip or its joints are missing, or images are fewer than annotated frames.
        ValueError: an argument out of its range, a broken list or MATLAB file, or clips whose first frame shows no
            joint or whose joints are not as many as in the others.
    """

    METAINFO = dict(dataset_name='JHMDB')

    def __init__(
        self,
        data_root: str,
        split: int = 1,
        video_list: str | None = None,
        max_frames: int | None = None,
        indices: int | Sequence[int] | None = None,
        skip: Sequence[str] = (),
    ) -> None:
        check_choice('split', split, (1, 2, 3))
        self.split = split
        self.video_list = video_list
        self.folder = Path(data_root)
        if not (self.folder / JOINTS).is_dir() and (self.folder / 'JHMDB' / JOINTS).is_dir():
            self.folder = self.folder / 'JHMDB'
        title = f'JHMDB test split {split}' if video_list is None else f'JHMDB {Path(video_list).name}'
        super().__init__(data_root, title, max_frames, indices, skip)

    def load_videos(self) -> list[dict]:
        for name in (FRAMES, JOINTS):
            advice = 'Complete the download, or change data_root.'
            check_there(self.folder / name, 'folder', 'JHMDB', LAYOUT, advice)
        official = self.video_list is None
        video_ids = official_test_clips(self.folder, self.split) if official else self._ids_of_list()
        for video_id in video_ids:
            check_name(video_id, f'the list of {self.title}')
        return [self._load_video(video_id) for video_id in video_ids]

    def load_labels(self, video: dict, frames: FrameSequence) -> tuple[dict, dict]:
        points = video['points'][: len(frames)]
        return dict(given_points={0: points[0]}), dict(points=points)

    def lack(self, video: dict) -> str | None:
        joints, first = video['points'][0], self.data_list[0]
        if len(joints) != len(first['points'][0]):
            return f'{len(joints)} joints, {first["video_id"]} has {len(first["points"][0])}'
        if np.isnan(joints).any(1).all():
            return 'no joint is visible in the first frame'
        return given_alone(video, self.max_frames)

    def _ids_of_list(self) -> list[str]:
        candidates = list(
            dict.fromkeys(Path(folder, self.video_list) for folder in (self.data_root, Path(self.data_root).parent))
        )
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            raise MissingInputError(
                f'JHMDB: list not found: {" or ".join(map(str, candidates))}. Change video_list, or set it to None for '
                'the official splits.'
            )
        return [self._clip_of(path, words) for words in _lines(path)]

    def _clip_of(self, path: Path, words: list[str]) -> str:
        if len(words) == 1 and words[0].count('/') <= 1:
            found = [words[0]] if '/' in words[0] else self._find_clip(words[0])
            if len(found) == 1:
                return found[0]
            raise InputError(
                f'{path}: clip {words[0]} is in {len(found)} actions of {self.folder / JOINTS}. Expected one; write '
                '<action>/<clip>.'
            )
        clips = {clip for clip in map(_clip_of_path, words) if clip}
        if len(words) != 2 or len(clips) != 1:
            raise InputError(
                f'{path}: expected a line "<joint_positions.mat> <frame folder>" of one clip, got {" ".join(words)!r}.'
            )
        return clips.pop()

    def _find_clip(self, clip: str) -> list[str]:
        actions = sorted(entry.name for entry in (self.folder / JOINTS).iterdir() if (entry / clip).is_dir())
        return [f'{action}/{clip}' for action in actions]

    def _load_video(self, video_id: str) -> dict:
        frame_dir = self.folder / FRAMES / video_id
        joint_path = self.folder / JOINTS / video_id / 'joint_positions.mat'
        check_there(frame_dir, 'folder', 'JHMDB', LAYOUT, 'Complete the download.')
        frame_paths, points = list_images(frame_dir), read_joint_positions(joint_path)
        if len(frame_paths) < len(points):
            raise MissingInputError(
                f'JHMDB: {frame_dir} holds {len(frame_paths)} images, {joint_path} has joints of {len(points)} '
                'frames. Complete the download.'
            )
        if len(frame_paths) > len(points):
            MMLogger.get_current_instance().info(
                'JHMDB: %s has %d images and joints of %d frames; the rest is left out.',
                video_id,
                len(frame_paths),
                len(points),
            )
        return dict(video_id=video_id, frame_paths=frame_paths[: len(points)], points=points)


def official_test_clips(folder: str | Path, split: int) -> list[str]:
    """The test clips of a split, each as ``<action>/<clip>``.

    Args:
        folder: holds ``splits/<action>_test_split<split>.txt`` with lines ``<clip>.avi <part>``; part 2 is for testing.
        split: 1, 2 or 3.
    """
    paths = sorted(Path(folder, 'splits').glob(f'*_test_split{split}.txt'))
    if not paths:
        raise MissingInputError(
            f'JHMDB: no {folder}/splits/<action>_test_split{split}.txt. Unpack the splits of JHMDB there, or give a '
            'list of clips (video_list).'
        )
    video_ids = []
    for path in paths:
        action = path.name.removesuffix(f'_test_split{split}.txt')
        for words in _lines(path):
            if len(words) != 2 or words[1] not in ('0', '1', '2'):
                raise InputError(f'{path}: expected lines "<clip>.avi 1" or 2, got {" ".join(words)!r}.')
            if words[1] == '2':
                video_ids.append(f'{action}/{words[0].removesuffix(".avi")}')
    return video_ids


def _lines(path: Path) -> list[list[str]]:
    lines = read_words(path)
    if not lines:
        raise InputError(f'JHMDB: the list {path} is empty. Download it again.')
    return lines


def _clip_of_path(path: str) -> str | None:
    """``<action>/<clip>`` of a path below ``Rename_Images`` or ``joint_positions``."""
    parts = Path(path).parts
    start = next((k + 1 for k, part in enumerate(parts) if part in (FRAMES, JOINTS)), len(parts))
    return '/'.join(parts[start : start + 2]) if len(parts) >= start + 2 else None
