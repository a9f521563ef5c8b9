"""Video files, frame by frame."""

import os
from pathlib import Path

import cv2
import numpy as np

from .images import FrameError

VIDEO_SUFFIXES = ('.mp4', '.mkv', '.avi', '.mov', '.webm', '.m4v')

# Up to this many frames ahead, decoding on is cheaper than a seek, and always exact.
_MAX_SKIP = 32

# Decoders that a forked process got from its parent. Freeing one there would wait for threads that were not forked.
_INHERITED: list[cv2.VideoCapture] = []


class VideoReader:
    """Frames of one video file by number. Picklable; each process opens its own decoder.

    Args:
        path: a file that OpenCV's FFmpeg can decode.
        num_frames: the number of frames if it is known; ``None`` to ask the file and to check its answer by reading
            the last frame (many containers promise more than they hold; then all frames are counted).

    Raises:
        FileNotFoundError: there is no such file.
        FrameError: the file cannot be opened or holds no frame.
    """

    def __init__(self, path: str | Path, num_frames: int | None = None) -> None:
        self._capture: cv2.VideoCapture | None = None
        if not os.path.isfile(path):
            raise FileNotFoundError(f'Video not found: {path}.')
        self.path = str(path)
        self._pid = -1
        self._next = 0
        self.num_frames = self._count() if num_frames is None else num_frames

    def __getstate__(self) -> dict:
        return dict(self.__dict__, _capture=None, _pid=-1)

    def __del__(self) -> None:
        self.close()

    def __len__(self) -> int:
        return self.num_frames

    def read(self, index: int) -> np.ndarray:
        """Frame ``index`` as uint8 ``[H, W, 3]`` RGB; in rising order nothing is decoded twice."""
        capture = self._open()
        if not self._next <= index <= self._next + _MAX_SKIP:
            capture.set(cv2.CAP_PROP_POS_FRAMES, index)
            self._next = index
        while self._next < index and capture.grab():
            self._next += 1
        ok, image = capture.read() if self._next == index else (False, None)
        if not ok or image is None:
            codec = self._codec(capture)
            self.close()
            raise FrameError(
                f'Frame {index} of {self.num_frames} cannot be read from {self.path} (codec {codec}). The file is cut '
                'off or damaged there; encode it again, for example: ffmpeg -i <video> -c:v libx264 fixed.mp4'
            )
        self._next = index + 1
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def close(self) -> None:
        """Frees the decoder; the next read opens a new one."""
        if self._capture is not None and self._pid != os.getpid():
            _INHERITED.append(self._capture)
        elif self._capture is not None:
            self._capture.release()
        self._capture = None

    def _open(self) -> cv2.VideoCapture:
        # After a fork the parent's decoder would share its file position with the child's.
        if self._capture is None or self._pid != os.getpid():
            self.close()
            capture = cv2.VideoCapture(self.path)
            if not capture.isOpened():
                raise FrameError(
                    f'Video {self.path} cannot be opened (codec {self._codec(capture)}, {os.path.getsize(self.path)} '
                    'bytes): it is cut off, no video, or its codec is missing in OpenCV. Encode it again, for example: '
                    'ffmpeg -i <video> -c:v libx264 fixed.mp4, or extract its frames into a folder.'
                )
            self._capture, self._pid, self._next = capture, os.getpid(), 0
        return self._capture

    @staticmethod
    def _codec(capture: cv2.VideoCapture) -> str:
        code = int(capture.get(cv2.CAP_PROP_FOURCC))
        text = ''.join(chr(code >> shift & 255) for shift in (0, 8, 16, 24))
        return repr(text) if code > 0 and text.isprintable() else 'unknown'

    def _count(self) -> int:
        capture = self._open()
        promised = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if promised > 0 and capture.set(cv2.CAP_PROP_POS_FRAMES, promised - 1) and capture.grab():
            self.close()
            return promised
        self.close()
        capture, count = self._open(), 0
        while capture.grab():
            count += 1
        codec = self._codec(capture)
        self.close()
        if count == 0:
            raise FrameError(f'Video {self.path} (codec {codec}) holds no frame that can be decoded.')
        return count
