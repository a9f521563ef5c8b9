"""Any collection of videos as training data."""

import os
from collections.abc import Iterator

from stt_mm.datasets.base import VideoDataset
from stt_mm.errors import MissingInputError
from stt_mm.registry import DATASETS
from stt_mm.utils.images import FrameError, list_images, natural_key, walk_folders
from stt_mm.utils.text import check_there
from stt_mm.utils.video import VIDEO_SUFFIXES, VideoReader


@DATASETS.register_module()
class VideoFolder(VideoDataset):
    """Every folder of images and every video file below ``data_root``, however deep; no list is needed.

    A folder that directly holds images is one video; its frames are in natural order (2 before 10). Video files end
    with .mp4, .mkv, .avi, .mov, .webm or .m4v. Hidden files and folders are left out, links are followed. A video is
    called by its path below ``data_root``.

    Args:
        data_root, pipeline, clip_length, interval, interval_probs, on_error, indices: see
            :class:`VideoDataset`. With ``on_error='skip'`` video files that cannot be opened, or are cut off, are
            counted and left out.
    """

    LAYOUT = '<data_root>/.../<video>/<frame>.jpg or <data_root>/.../<video>.mp4'

    def load_videos(self) -> list[dict]:
        check_there(self.data_root, 'folder', 'VideoFolder', self.LAYOUT, 'Change data_root.')
        videos = sorted(self._walk(), key=lambda video: natural_key(video['video_id']))
        if not videos and not self.num_skipped:
            raise MissingInputError(
                f'VideoFolder: neither images nor video files in {self.data_root} or below it. Expected {self.LAYOUT}. '
                'Change data_root.'
            )
        return videos

    def _walk(self) -> Iterator[dict]:
        for folder, files in walk_folders(self.data_root):
            frame_paths = list_images(folder)
            if frame_paths:
                yield dict(video_id=self._video_id(folder), frame_paths=frame_paths)
            for name in files:
                if name.lower().endswith(VIDEO_SUFFIXES) and not name.startswith('.'):
                    yield from self._video_file(os.path.join(folder, name))

    def _video_file(self, path: str) -> Iterator[dict]:
        video_id = self._video_id(path)
        try:
            index = VideoReader(path).index
            if not index.whole:
                raise FrameError(
                    f'{path} is cut off or damaged after {len(index.times)} frames. Get it again, or '
                    "leave such files out with on_error='skip'."
                )
        except OSError as error:
            if self.on_error == 'raise':
                raise
            self._log_skipped(video_id, error)
        else:
            yield dict(video_id=video_id, video_path=path, num_frames=len(index.times), frame_index=index)

    def _video_id(self, path: str) -> str:
        relative = os.path.relpath(path, self.data_root)
        return os.path.basename(os.path.realpath(path)) if relative == '.' else relative.replace(os.sep, '/')
