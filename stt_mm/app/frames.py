"""Pictures of one video for the page, decoded when they are asked for."""

import os
import threading
from collections import OrderedDict
from pathlib import Path

import cv2

from stt_mm.utils import FrameSequence, list_images
from stt_mm.utils.video import open_video

_QUALITY = 90
_KEPT = 48  # pictures as JPEG
_BACK = 12  # frames decoded at a time where one goes back: a file is decoded from a key frame on
DEFAULT_FPS = 10.0


class Frames:
    """The frames of a video by number, as JPEG; safe to be asked by several threads.

    Args:
        path: a video file or a folder of images.

    Attributes:
        path: of the video.
        size: (height, width).
        names: one per frame, see :class:`stt_mm.utils.FrameSequence`.
        fps: frames per second to play it at.
        key: changes with the video.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        stamp = self._stamp_now()
        stream = open_video(str(path))  # refuses what is no video, or holds two images for one frame
        self.fps = stream.fps or DEFAULT_FPS
        self._sequence = FrameSequence(list_images(path) if path.is_dir() else path)
        self.names = self._sequence.names
        self.size = self._sequence.original_size
        self.key = f'{stamp[0]:x}-{len(self.names)}'
        self._stamp = stamp
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._last = -1
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.names)

    def are_current(self) -> bool:
        """Whether the video is still the one that was opened."""
        return self._stamp_now() == self._stamp

    def _stamp_now(self) -> tuple[int, int]:
        found = os.stat(self.path)
        return found.st_mtime_ns, found.st_size

    def image_name(self, number: int) -> str:
        """The file name of a frame, in files of masks."""
        return os.path.basename(self._sequence.path(number)) if self.path.is_dir() else f'{self.names[number]}.jpg'

    def jpeg(self, number: int) -> bytes:
        """A frame as a file.

        Raises:
            FrameError: it cannot be decoded.
        """
        with self._lock:
            if number not in self._kept:
                backward = number == self._last - 1 and self.path.is_file()
                for each in range(max(number - _BACK + 1, 0) if backward else number, number + 1):
                    picture = cv2.cvtColor(self._sequence[each], cv2.COLOR_RGB2BGR)
                    self._kept[each] = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(number)
            self._last = number
            return self._kept[number]
