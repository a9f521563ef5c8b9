"""Videos written frame by frame."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from av.video.stream import VideoStream

from stt_mm.errors import FileError, InputError
from stt_mm.visualization.overlay import check_frame

# Suffix to container, encoder and options. Near lossless to the eye, at a speed beyond that of any network. With
# mbtree, the vector code of x264 gives another file now and then where the frame rate varies.
_X264 = ('libx264', {'preset': 'fast', 'crf': '18', 'x264-params': 'mbtree=0'})
_VP9 = ('libvpx-vp9', {'deadline': 'realtime', 'cpu-used': '6', 'crf': '20', 'b': '0'})
_KINDS = {
    '.mp4': ('mp4', *_X264),
    '.m4v': ('mp4', *_X264),
    '.mov': ('mov', *_X264),
    '.mkv': ('matroska', *_X264),
    '.webm': ('webm', *_VP9),
}
_MATROSKA = ('.mkv', '.webm')

# The number of threads is part of the result, so it is that of no machine.
_THREADS = 4

# AVCOL_SPC_BT709, for which PyAV has no name.
_BT709 = 1


class VideoWriter:
    """Writes a video that browsers and notebooks play: H.264, or VP9 in ``.webm``.

    The file is made with the first frame. A context manager; what was written before an error stays a whole video.

    Args:
        path: ends with ``.mp4``, ``.m4v``, ``.mov``, ``.mkv`` or ``.webm``; missing folders are made.
        fps: frames per second, 0.001 to 100,000, and at most 1,000 in ``.mkv`` and ``.webm``, which keep milliseconds;
            for frames that come without a time.

    Attributes:
        path: the file that is written.
        num_frames: frames written.
    """

    def __init__(self, path: str | Path, fps: float = 10.0) -> None:
        self.path = Path(path)
        self.num_frames = 0
        suffix = self.path.suffix.lower()
        if suffix not in _KINDS:
            raise InputError(
                f'A video is written as {", ".join(_KINDS)}, got {path}. Rename it, for example to '
                f'{self.path.with_suffix(".mp4").name}.'
            )
        check_fps(fps, suffix)
        self._rate = Fraction(fps).limit_denominator(1001)
        # Multiples of 1 / fps are kept exactly, other times to 6 microseconds.
        self._ticks = 1000 if suffix in _MATROSKA else self._rate.numerator * -(-90_000 // self._rate.numerator)
        self._time, self._pts = -1 / self._rate, -1
        self._shape: tuple[int, ...] = ()
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._from_rgb = VideoReformatter()

    def __enter__(self) -> 'VideoWriter':
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def write(self, frame: np.ndarray, time: float | None = None) -> None:
        """Adds a frame. An odd last row or column is repeated: players want even sizes.

        Args:
            frame: uint8 ``[H, W, 3]`` RGB.
            time: when it is shown, in seconds since the first frame; ``None``: 1 / ``fps`` after the one before. If
                that is not later than the time of the one before, it is shown a moment after it.
        """
        check_frame(frame)
        if self._container is None:
            self._shape = frame.shape
        if frame.shape != self._shape:
            raise InputError(
                f'Frame {self.num_frames} for {self.path} is {list(frame.shape)}, the first is '
                f'{list(self._shape)}. All frames of a video have one size.'
            )
        # Not rounded, so that the errors of many frames do not add up.
        self._time = self._time + 1 / self._rate if time is None else Fraction(time)
        self._pts = max(round(self._time * self._ticks), self._pts + 1)
        picture = av.VideoFrame.from_ndarray(_even(frame), format='rgb24')
        picture = self._from_rgb.reformat(
            picture, format='yuv420p', dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG, threads=1
        )
        picture.pts, picture.time_base = self._pts, Fraction(1, self._ticks)
        with self._file_errors():
            if self._container is None:
                self._open(picture.width, picture.height)
            packets = self._stream.encode(picture)
            if not self.num_frames:
                self._start()
            self._container.mux(packets)
        self.num_frames += 1

    def close(self) -> None:
        """Completes the file; nothing if there was no frame."""
        container, self._container = self._container, None
        if container is not None:
            with self._file_errors(), container:
                container.mux(self._stream.encode(None))

    def _open(self, width: int, height: int) -> None:
        kind, encoder, options = _KINDS[self.path.suffix.lower()]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # The index in front lets a browser start before it has all; bitexact leaves out Matroska's random identifiers.
        muxer = {'movflags': 'faststart'} if kind in ('mp4', 'mov') else {'fflags': 'bitexact'}
        # So named, a path with a colon is a path.
        self._container = av.open(f'file:{self.path}', 'w', format=kind, options=muxer)
        self._stream = self._container.add_stream(encoder, rate=self._rate, options=options)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, 'yuv420p'
        codec = self._stream.codec_context
        codec.time_base, codec.thread_count = Fraction(1, self._ticks), _THREADS
        codec.colorspace, codec.color_range = _BT709, ColorRange.MPEG
        codec.color_primaries, codec.color_trc = ColorPrimaries.BT709, ColorTrc.BT709

    def _start(self) -> None:
        try:
            self._container.start_encoding()
        except (OSError, av.FFmpegError):
            # As if there were no frame: where a file cannot be begun, to complete it would end the whole program.
            container, self._container = self._container, None
            container.close()
            raise

    @contextmanager
    def _file_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, av.FFmpegError) as error:
            advice = (
                'Make room on the disk, or choose another folder.'
                if isinstance(error, OSError)
                else 'Times hours apart fit no video file: give a frame rate (--fps) in place of them.'
            )
            raise FileError(
                f'The video {self.path} cannot be written after {self.num_frames} frames ({error.strerror}). {advice}'
            ) from error


def check_fps(fps: float, suffix: str = '.mp4') -> None:
    """Refuses, with a ValueError, a frame rate that is none or that files of the suffix cannot keep."""
    high = 1000 if suffix.lower() in _MATROSKA else 100_000
    if not 0.001 <= fps <= high:
        raise InputError(f'fps must be 0.001 to {high} frames per second in a {suffix} file, got {fps:g}.')


def _even(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode='edge')


def rate_of(fps: float | None, path: str | Path) -> float:
    """Frames per second of a video to be written; headers name absurd ones where what counts is each frame's time."""
    try:
        check_fps(fps or 10.0, Path(path).suffix)
    except InputError:
        return 10.0
    return fps or 10.0
