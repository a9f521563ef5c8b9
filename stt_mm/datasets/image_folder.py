"""Any collection of images as training data for stage 1."""

import os
from collections.abc import Callable, Sequence
from typing import Literal

from mmengine.logging import MMLogger

from stt_mm.datasets.base import VideoDataset
from stt_mm.errors import MissingInputError
from stt_mm.registry import DATASETS
from stt_mm.utils.images import list_images, natural_key, walk_folders
from stt_mm.utils.text import check_there


@DATASETS.register_module()
class ImageFolder(VideoDataset):
    """Every image below ``data_root``, however deep, without a label or a list.

    ImageNet in its official layout (``<data_root>/<wnid>/<name>.JPEG``), a flat folder, or the frames of a tree of
    videos (``<data_root>/<video>/<frame>.jpg``). Images end with .jpg, .jpeg, .png, .bmp or .webp in upper or lower
    case and come in natural order (2 before 10), folder by folder. Hidden files and folders are left out, links are
    followed. Video files are not opened: ``VideoFolder`` with ``clip_length=1`` gives a frame of each.

    An image is a video of one frame: what the first transform receives and what happens to broken files is told in
    :class:`VideoDataset`; ``video_id`` is the path below ``data_root``.

    Args:
        data_root, pipeline, on_error, indices: see :class:`VideoDataset`.
    """

    LAYOUT = '<data_root>/.../<image>.jpg'

    def __init__(
        self,
        data_root: str,
        pipeline: Sequence[dict | Callable] = (),
        on_error: Literal['raise', 'skip'] = 'raise',
        indices: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__(data_root, pipeline, clip_length=1, on_error=on_error, indices=indices)

    def load_data_list(self) -> list[dict]:
        """All images; logs how many there are."""
        images = self.load_videos()
        MMLogger.get_current_instance().info('ImageFolder: %d images (%s)', len(images), self.data_root)
        return images

    def load_videos(self) -> list[dict]:
        """One ``dict(video_id, frame_paths)`` per image, with one path each."""
        check_there(self.data_root, 'folder', 'ImageFolder', self.LAYOUT, 'Change data_root.')
        images = [
            dict(video_id=os.path.relpath(path, self.data_root).replace(os.sep, '/'), frame_paths=[path])
            for folder in sorted((folder for folder, _ in walk_folders(self.data_root)), key=natural_key)
            for path in list_images(folder)
        ]
        if not images:
            raise MissingInputError(
                f'ImageFolder: no image in {self.data_root} or below it. Expected {self.LAYOUT}. Change data_root; '
                'frames of video files are written by tools/extract_frames.py.'
            )
        return images
