"""YouTube-VOS as training data: its videos without their masks."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from stt_mm.datasets.base import VideoDataset
from stt_mm.errors import MissingInputError
from stt_mm.registry import DATASETS
from stt_mm.utils.images import list_images
from stt_mm.utils.text import absent, check_there, read_video_list


@DATASETS.register_module()
class YouTubeVOS(VideoDataset):
    """Videos of ``<data_root>/<split>/JPEGImages/<video>/*.jpg``.

    The videos are those of ``video_list`` if it is given, else of ``<split>/video_list.txt``, else of
    ``<split>/meta.json``, whichever exists, else all folders. The train split of 2018 has 3,471 videos and 94,588
    frames, 5 frames of the original video apart; ``train_all_frames`` has every frame, in the same folders.

    Args:
        data_root: folder that holds ``<split>``.
        split: ``train``, ``train_all_frames`` or any folder of that layout.
        video_list: a text file (the first word of each line is a video) or a JSON file (a list of videos, or
            ``{'videos': ...}``); relative paths count from ``data_root``.
        pipeline, clip_length, interval, interval_probs, on_error, indices: see :class:`VideoDataset`. With
            ``on_error='skip'`` listed videos that are missing are counted and left out.
    """

    LAYOUT = '<data_root>/<split>/JPEGImages/<video>/<frame>.jpg'

    def __init__(
        self,
        data_root: str,
        split: str = 'train',
        video_list: str | None = None,
        pipeline: Sequence[dict | Callable] = (),
        clip_length: int = 2,
        interval: int | Sequence[int] = 1,
        interval_probs: Sequence[float] | None = None,
        on_error: Literal['raise', 'skip'] = 'raise',
        indices: int | Sequence[int] | None = None,
    ) -> None:
        self.split = split
        self.video_list = video_list
        super().__init__(data_root, pipeline, clip_length, interval, interval_probs, on_error, indices)

    def load_videos(self) -> list[dict]:
        frame_root = Path(self.data_root, self.split, 'JPEGImages')
        advice = 'Unpack YouTube-VOS there, or change data_root or split.'
        check_there(frame_root, 'folder', 'YouTubeVOS', self.LAYOUT, advice)
        present = {entry.name for entry in os.scandir(frame_root) if entry.is_dir()}
        list_file = self._list_file()
        listed = sorted(present) if list_file is None else read_video_list(list_file)
        missing = [video_id for video_id in listed if video_id not in present]
        if missing and self.on_error == 'raise':
            raise MissingInputError(
                f'YouTubeVOS: {len(missing)} of {len(listed)} videos of {list_file} have no folder in {frame_root}: '
                f'{", ".join(missing[:5])}{", ..." if len(missing) > 5 else ""}. Complete the download, give a '
                "video_list of what is there, or set on_error='skip'."
            )
        for video_id in missing:
            self._log_skipped(video_id, f'{absent(frame_root / video_id, "folder")}, though {list_file} lists it')
        return [
            dict(video_id=video_id, frame_paths=list_images(frame_root / video_id))
            for video_id in listed
            if video_id in present
        ]

    def _list_file(self) -> Path | None:
        if self.video_list is not None:
            return Path(self.data_root, self.video_list)
        found = (Path(self.data_root, self.split, name) for name in ('video_list.txt', 'meta.json'))
        return next((path for path in found if path.is_file()), None)
