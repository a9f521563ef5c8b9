"""Videos written frame by frame."""

import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from mmengine.logging import MMLogger

from ..errors import FileError, InputError
from .overlay import check_frame


class VideoWriter:
    """Writes a video: MPEG-4 at ``path`` or, where OpenCV lacks that encoder, motion JPEG in an ``.avi`` beside it.

    The file is made with the first frame. A context manager; what was written before an error stays a whole video.

    Args:
        path: ends with ``.mp4`` or ``.avi``; missing folders are made.
        fps: frames per second, above 0.

    Attributes:
        path: the file that is written; known for certain after the first frame.
        num_frames: frames written.

    Raises:
        ValueError: another suffix, or ``fps`` not above 0.
    """

    def __init__(self, path: str | Path, fps: float = 10.0) -> None:
        self.path = Path(path)
        self.num_frames = 0
        self._fps = fps
        self._shape: tuple[int, ...] = ()
        self._writer: cv2.VideoWriter | None = None
        if self.path.suffix.lower() not in ('.mp4', '.avi'):
            raise InputError(f'A video is written as .mp4 or .avi, got {path}.')
        if not fps > 0:
            raise InputError(f'fps of {path} must be above 0, got {fps}.')

    def __enter__(self) -> 'VideoWriter':
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def write(self, frame: np.ndarray) -> None:
        """Adds a frame, uint8 ``[H, W, 3]`` RGB. An odd last row or column is repeated: encoders want even sizes.

        Raises:
            ValueError: another shape or type, or another size than the first frame's.
            OSError: neither encoder works, or the file cannot be made.
        """
        check_frame(frame)
        if self._writer is None:
            self._shape = frame.shape
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer, self.path = _open_writer(self.path, frame.shape[:2], self._fps)
        if frame.shape != self._shape:
            raise InputError(f'Frame {self.num_frames} for {self.path} is {list(frame.shape)}, the first is '
                             f'{list(self._shape)}. All frames of a video have one size.')
        self._writer.write(cv2.cvtColor(_even(frame), cv2.COLOR_RGB2BGR))
        self.num_frames += 1

    def close(self) -> None:
        """Completes the file; nothing if there was no frame.

        Raises:
            OSError: nothing came to lie at ``path``.
        """
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        if not self.path.is_file() or self.path.stat().st_size == 0:
            raise FileError(f'The video {self.path} could not be written: the disk is full or the folder is read-only.')


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: float = 10.0) -> Path:
    """Writes frames, uint8 ``[H, W, 3]`` RGB, taken one by one, so a generator keeps memory small.

    Returns:
        The file that was written.

    Raises:
        ValueError: no frames, or as in :class:`VideoWriter`.
        OSError: as in :class:`VideoWriter`.
    """
    with VideoWriter(path, fps) as writer:
        for frame in frames:
            writer.write(frame)
    if writer.num_frames == 0:
        raise InputError(f'There are no frames to write to {path}.')
    return writer.path


def _even(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode='edge')


def _open_writer(path: Path, size: tuple[int, int], fps: float) -> tuple[cv2.VideoWriter, Path]:
    height, width = size[0] + size[0] % 2, size[1] + size[1] % 2
    avi = path.with_suffix('.avi')
    choices = [('MJPG', avi)] if path.suffix.lower() == '.avi' else [('mp4v', path), ('MJPG', avi)]
    for codec, file in choices:
        writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*codec), fps, (width, height))
        if writer.isOpened():
            if file != path:
                MMLogger.get_current_instance().warning(
                    'OpenCV has no encoder mp4v here: the video goes to %s (motion JPEG) instead of %s.', file, path)
            return writer, file
        writer.release()
        # A failed attempt may leave an empty file behind.
        if file.is_file() and file.stat().st_size == 0:
            os.remove(file)
    raise FileError(
        f'The video {path} cannot be written: OpenCV {cv2.__version__} opens no encoder of '
        f"{', '.join(codec for codec, _ in choices)}. Check that {path.parent} is writable, or reinstall OpenCV: "
        'pip install --force-reinstall opencv-python'
    )
