"""Video files frame by frame, and any source of frames in order."""

import os
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import InputError, MissingInputError
from .images import FrameError, list_images, read_image

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
            raise MissingInputError(f'Video not found: {path}.')
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
            codec = _codec(capture)
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
            capture = _open_capture(self.path)
            self._capture, self._pid, self._next = capture, os.getpid(), 0
        return self._capture

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
        codec = _codec(capture)
        self.close()
        if count == 0:
            raise _no_frame(self.path, codec)
        return count


@dataclass(frozen=True)
class VideoStream:
    """Frames of a video one after the other; see :func:`open_video`.

    Attributes:
        name: how messages call the video: its path, ``camera <index>`` or ``the given frames``.
        frames: (name, uint8 ``[H, W, 3]`` RGB) of each frame, once, all of one size. The name is the stem of an image
            file, otherwise the number in five digits.
        num_frames: how many there are; of a video file what its header promises, which may be wrong; ``None`` if
            unknown.
        exact: whether ``num_frames`` has been counted.
        fps: frames per second of a file or camera that tells; otherwise ``None``.
    """

    name: str
    frames: Iterator[tuple[str, np.ndarray]]
    num_frames: int | None = None
    exact: bool = False
    fps: float | None = None


def open_video(source: str | Path | int | Iterable[np.ndarray] | VideoStream) -> VideoStream:
    """Frames in order from wherever they come; each is decoded when it is asked for, and none is kept.

    Args:
        source: a video file, a folder of images (in natural order), the number of a camera (as ``int`` or in digits; a
            folder of such a name is ``./0``), or uint8 RGB frames ``[H, W, 3]``. A stream is handed back as it is.

    Raises:
        FileNotFoundError: there is no such file or folder, or no image in the folder.
        FrameError: a video file or camera cannot be opened; while reading: a frame is broken or of another size than
            the first, a file holds none, or a camera stops.
        ValueError: two images differ in nothing but their suffix; while reading: given frames are no uint8 RGB images.
    """
    if isinstance(source, int) or isinstance(source, str) and source.isdecimal():
        return _open_camera(int(source))
    if isinstance(source, VideoStream):
        return source
    if not isinstance(source, (str, Path)):
        frames = ((f'{index:05d}', frame) for index, frame in enumerate(source))
        size = len(source) if isinstance(source, Sized) else None
        return VideoStream('the given frames', _of_one_size(frames, 'the given frames'), size, size is not None)
    if os.path.isdir(source):
        return _open_folder(str(source))
    if os.path.isfile(source):
        return _open_file(str(source))
    raise MissingInputError(f'Video not found: {source}. Expected a video file, a folder of images or the number of a '
                            'camera.')


def _open_folder(folder: str) -> VideoStream:
    paths = list_images(folder)
    if not paths:
        raise MissingInputError(f'Folder {folder} holds no images to take as frames.')
    by_name: dict[str, str] = {}
    for path in paths:
        other = by_name.setdefault(Path(path).stem, path)
        if other != path:
            raise InputError(f'{other} and {path} are two files for one frame. Keep one kind of file in the folder.')
    frames = ((name, read_image(path)) for name, path in by_name.items())
    return VideoStream(folder, _of_one_size(frames, folder), len(paths), True)


def _open_file(path: str) -> VideoStream:
    capture = _open_capture(path)
    promised, fps = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), capture.get(cv2.CAP_PROP_FPS)
    codec = _codec(capture)

    def frames() -> Iterator[tuple[str, np.ndarray]]:
        index = -1
        for index, image in enumerate(_read_on(capture)):
            yield f'{index:05d}', image
        if index < 0:
            raise _no_frame(path, codec)

    return VideoStream(path, _of_one_size(frames(), path), promised if promised > 0 else None, False,
                       fps if fps > 0 else None)


def _open_camera(index: int) -> VideoStream:
    capture, name = cv2.VideoCapture(index), f'camera {index}'
    if not capture.isOpened():
        raise FrameError(f'{name.capitalize()} cannot be opened: there is none of that number, another program uses '
                         f'it, or you may not read it (on Linux: /dev/video{index}).')
    # What waits in the driver is older than what the camera sees.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def frames() -> Iterator[tuple[str, np.ndarray]]:
        index = -1
        for index, image in enumerate(_read_on(capture)):
            yield f'{index:05d}', image
        raise FrameError(f'{name.capitalize()} gave no more frames after {index + 1}: is it still plugged in?')

    fps = capture.get(cv2.CAP_PROP_FPS)
    return VideoStream(name, _of_one_size(frames(), name), fps=fps if fps > 0 else None)


def _read_on(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    try:
        while True:
            ok, image = capture.read()
            if not ok or image is None:
                return
            yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def _of_one_size(frames: Iterator[tuple[str, np.ndarray]], video: str) -> Iterator[tuple[str, np.ndarray]]:
    size: tuple[int, int] | None = None
    for index, (name, frame) in enumerate(frames):
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            got = f'{frame.dtype} {list(frame.shape)}' if isinstance(frame, np.ndarray) else type(frame).__name__
            raise InputError(f'Frame {index} of {video} must be a NumPy array uint8 [H, W, 3], RGB, got {got}.')
        size = size or frame.shape[:2]
        if frame.shape[:2] != size:
            raise FrameError(
                f'Frame {index} ({name}) of {video} is {frame.shape[0]}x{frame.shape[1]} (height x width), the first '
                f'is {size[0]}x{size[1]}. All frames of a video must have one size; scale or cut the video before.'
            )
        yield name, frame


def _open_capture(path: str) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(path)
    if not capture.isOpened():
        raise FrameError(
            f'Video {path} cannot be opened (codec {_codec(capture)}, {os.path.getsize(path)} '
            'bytes): it is cut off, no video, or its codec is missing in OpenCV. Encode it again, for example: '
            'ffmpeg -i <video> -c:v libx264 fixed.mp4, or extract its frames into a folder.'
        )
    return capture


def _codec(capture: cv2.VideoCapture) -> str:
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    text = ''.join(chr(code >> shift & 255) for shift in (0, 8, 16, 24))
    return repr(text) if code > 0 and text.isprintable() else 'unknown'


def _no_frame(path: str, codec: str) -> FrameError:
    return FrameError(f'Video {path} (codec {codec}) holds no frame that can be decoded. Encode it again, for example: '
                      'ffmpeg -i <video> -c:v libx264 fixed.mp4')
