"""Video files frame by frame, and any source of frames in order."""

import os
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

import av
import cv2
import numpy as np

from stt_mm.errors import InputError, MissingInputError
from stt_mm.utils.checks import is_iterable
from stt_mm.utils.images import FrameError, list_images, read_image
from stt_mm.utils.text import absent
from stt_mm.utils.video_file import REPAIR, FrameIndex, VideoFile

VIDEO_SUFFIXES = (
    *('.mp4', '.m4v', '.mov', '.3gp', '.mkv', '.webm', '.avi', '.flv', '.wmv', '.ogv'),
    *('.mpg', '.mpeg', '.ts', '.mts', '.m2ts'),
)

# Name, picture and seconds.
Frame = tuple[str, np.ndarray, float | None]


class VideoReader:
    """Frames of one video file by number. Picklable; each process opens its own decoder.

    A frame is found by its time stamp, so it is the same whatever the frame rate does and whatever was read before.
    In a file without time stamps all frames before it are decoded.

    Args:
        path: a file that FFmpeg can decode.
        index: where its frames are, if that is known from an earlier reader; ``None`` to find out, for which the file
            is read once, and decoded as far as it takes to be sure.

    Attributes:
        index: where its frames are.
    """

    def __init__(self, path: str | Path, index: FrameIndex | None = None) -> None:
        self._file: VideoFile | None = None
        if not os.path.isfile(path):
            raise MissingInputError(f'Video: {absent(path, "file")}.')
        self.path = str(path)
        self._frames: Iterator[av.VideoFrame] = iter(())
        self.index = index or self._find_frames()

    def __getstate__(self) -> dict:
        return dict(self.__dict__, _file=None, _frames=iter(()))

    def __len__(self) -> int:
        return len(self.index.times)

    def read(self, number: int) -> np.ndarray:
        """Frame ``number`` as uint8 ``[H, W, 3]`` RGB; in rising order nothing is decoded twice."""
        if not 0 <= number < len(self):
            raise InputError(f'There is no frame {number} in {self.path}: it has {len(self)}, 0 to {len(self) - 1}.')
        key = self.index.key_before(number)
        # After a fork the parent's decoder would share its file position with the child's.
        if self._file is None or self._pid != os.getpid() or not key <= self._next <= number:
            self._go_to(key)
        for frame in self._frames:
            found = self._number(frame)
            self._next = found + 1
            if found == number:
                return self._file.rgb(frame)
            if found > number:
                break
        codec = self._file.codec
        self.close()
        raise FrameError(
            f'Frame {number} of {len(self)} cannot be read from {self.path} (codec {codec}). The file is '
            f'cut off or damaged there; {REPAIR}'
        )

    def close(self) -> None:
        """Frees the decoder; the next read opens a new one."""
        self._file, self._frames = None, iter(())

    def _number(self, frame: av.VideoFrame) -> int:
        times = self.index.times
        if not self.index.keys or self._next < len(times) and times[self._next] == frame.pts:
            return self._next
        # Frames in between could not be decoded.
        return len(times) if frame.pts is None else bisect_left(times, frame.pts)

    def _go_to(self, key: int) -> None:
        """Let the frame that comes next be ``key`` or one before it, and ``_next`` be its number."""
        index = self.index
        if key > 0:
            if self._file is None or self._pid != os.getpid():
                self._open()
            # Containers seek by other times than those of the frames, and may come out behind the frame.
            for target in (key, index.key_before(key - 1)):
                if not self._file.seek(index.times[target]):
                    break
                frames = self._file.frames(from_key=True)
                first = next((frame for frame in frames if index.key_at(frame.pts) is not None), None)
                if first is not None and index.key_at(first.pts) <= key:
                    self._frames, self._next = chain([first], frames), index.key_at(first.pts)
                    return
        self._open()

    def _open(self) -> None:
        self._file, self._pid = VideoFile(self.path, check=False), os.getpid()
        self._frames, self._next = self._file.frames(), 0

    def _find_frames(self) -> FrameIndex:
        index = VideoFile(self.path).packet_index()
        if index is None or not self._agrees(index):
            index = VideoFile(self.path).decoded_index()
        self.close()
        if not index.times:
            raise _no_frame(self.path)
        return index

    def _agrees(self, index: FrameIndex) -> bool:
        """Whether what the packets promise is what comes out at the start and after the last key frame."""
        if not index.keys:
            return False
        self._open()
        first = next(self._frames, None)
        if first is None or first.pts != index.times[0]:
            return False
        self.index = index
        self._go_to(index.keys[-1])
        return [frame.pts for frame in self._frames] == list(index.times[self._next :])


@dataclass(frozen=True)
class VideoStream:
    """Frames of a video one after the other; see :func:`open_video`.

    Attributes:
        name: how messages call the video: its path, ``camera <index>`` or ``the given frames``.
        frames: (name, uint8 ``[H, W, 3]`` RGB, seconds since the first frame) of each frame, once, all of one size. The
            name is the stem of an image file, otherwise the number in five digits. The time is ``None`` but for a
            camera and for a file that has time stamps.
        num_frames: how many there are; of a video file what its header promises, which may be wrong; ``None`` if
            unknown.
        exact: whether ``num_frames`` has been counted.
        fps: frames per second of a file, on average, or of a camera, if it tells; otherwise ``None``.
    """

    name: str
    frames: Iterator[Frame]
    num_frames: int | None = None
    exact: bool = False
    fps: float | None = None


def open_video(source: str | Path | int | Iterable[np.ndarray] | VideoStream) -> VideoStream:
    """Frames in order from wherever they come; each is decoded when it is asked for, and none is kept.

    Args:
        source: a video file, a folder of images (in natural order), the number of a camera (as ``int`` or in digits; a
            folder of such a name is ``./0``), or uint8 RGB frames ``[H, W, 3]``. A stream is handed back as it is.

    Raises:
        FrameError: a video file or camera cannot be opened; while reading: a frame is broken or of another size than
            the first, a file holds none, or is cut off after the last one given, or a camera stops.
        ValueError: two images differ in nothing but their suffix; while reading: given frames are no uint8 RGB images.
    """
    if isinstance(source, int) or isinstance(source, str) and source.isdecimal():
        return _open_camera(int(source))
    if isinstance(source, VideoStream):
        return source
    if not isinstance(source, (str, Path)):
        if not is_iterable(source):
            raise InputError(f'A video is a file, a folder, a camera or frames, got {type(source).__name__}.')
        frames = ((f'{index:05d}', frame, None) for index, frame in enumerate(source))
        size = len(source) if isinstance(source, Sized) else None
        return VideoStream('the given frames', _of_one_size(frames, 'the given frames'), size, size is not None)
    if os.path.isdir(source):
        return _open_folder(str(source))
    if os.path.isfile(source):
        return _open_file(str(source))
    raise MissingInputError(
        f'Video not found: {source}. Expected a video file, a folder of images or the number of a camera.'
    )


def _open_folder(folder: str) -> VideoStream:
    paths = list_images(folder)
    if not paths:
        raise MissingInputError(f'Folder {folder} holds no images to take as frames.')
    by_name: dict[str, str] = {}
    for path in paths:
        other = by_name.setdefault(Path(path).stem, path)
        if other != path:
            raise InputError(f'{other} and {path} are two files for one frame. Keep one kind of file in the folder.')
    frames = ((name, read_image(path), None) for name, path in by_name.items())
    return VideoStream(folder, _of_one_size(frames, folder), len(paths), True)


def _open_file(path: str) -> VideoStream:
    file = VideoFile(path)

    def frames() -> Iterator[Frame]:
        count, elapsed, step, last = 0, 0, 0, None
        try:
            for frame in file.frames():
                if last is not None and frame.pts is not None:
                    # Where recordings were joined, time may start anew.
                    step = frame.pts - last if frame.pts >= last else step
                    elapsed += step
                last = frame.pts
                yield f'{count:05d}', file.rgb(frame), None if last is None else float(elapsed * file.time_base)
                count += 1
        finally:
            file.close()
        if count == 0:
            raise _no_frame(path)
        if file.cut or file.damaged:
            promise = f' of the {file.promised} frames it promises' if (file.promised or 0) > count else ' frames'
            raise FrameError(
                f'{path} ended after {count}{promise}: it is {"cut off" if file.cut else "damaged there"}. These are '
                f'complete; set max_frames to {count} to accept it, get the file again, or {REPAIR}'
            )

    return VideoStream(path, _of_one_size(frames(), path), file.promised, False, file.fps)


def _open_camera(index: int) -> VideoStream:
    capture, name = cv2.VideoCapture(index), f'camera {index}'
    if not capture.isOpened():
        raise FrameError(
            f'{name.capitalize()} cannot be opened: there is none of that number, another program uses '
            f'it, or you may not read it (on Linux: /dev/video{index}).'
        )
    # What waits in the driver is older than what the camera sees.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def frames() -> Iterator[Frame]:
        index, start = -1, time.monotonic()
        for index, image in enumerate(_read_on(capture)):
            now = time.monotonic()
            start = start if index else now
            yield f'{index:05d}', image, now - start
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


def _of_one_size(frames: Iterator[Frame], video: str) -> Iterator[Frame]:
    size: tuple[int, int] | None = None
    for index, (name, frame, seconds) in enumerate(frames):
        is_array = isinstance(frame, np.ndarray)
        if not is_array or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:
            got = f'{frame.dtype} {list(frame.shape)}' if is_array else type(frame).__name__
            raise InputError(f'Frame {index} of {video} must be a NumPy array uint8 [H, W, 3], RGB, got {got}.')
        size = size or frame.shape[:2]
        if frame.shape[:2] != size:
            raise FrameError(
                f'Frame {index} ({name}) of {video} is {frame.shape[0]}x{frame.shape[1]} (height x width), the first '
                f'is {size[0]}x{size[1]}. All frames of a video must have one size; scale or cut the video before.'
            )
        yield name, frame, seconds


def _no_frame(path: str) -> FrameError:
    return FrameError(f'Video {path} holds no frame that can be decoded. Get it again, or {REPAIR}')


T = TypeVar('T')
_AHEAD = 2


def prefetch(iterable: Iterable[T]) -> Iterator[T]:
    """The same items in the same order, made by a thread up to two items ahead of the one in use.

    The thread starts with the first item asked for. It ends with the items, with an error, or when the iterator is
    closed or no longer referred to; then the item in the making is waited for, and a generator is closed. An error of
    the iterable comes after the items before it.
    """
    source, end = iter(iterable), object()
    with ThreadPoolExecutor(1, 'prefetch') as pool:
        try:
            ready = deque(pool.submit(next, source, end) for _ in range(_AHEAD))
            while (item := ready.popleft().result()) is not end:
                ready.append(pool.submit(next, source, end))
                yield item
                # An item may be large: it is not kept while the next one is waited for.
                del item
        finally:
            pool.shutdown(cancel_futures=True)
            if isinstance(source, Generator):
                source.close()
