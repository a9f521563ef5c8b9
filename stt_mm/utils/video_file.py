"""One video file, opened by PyAV: its frames in order, and where each of them is."""

import os
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from stt_mm.utils.containers import broken_at, is_cut_off
from stt_mm.utils.images import FrameError

REPAIR = 'encode it again, for example: ffmpeg -i <video> -c:v libx264 fixed.mp4'

# A damaged header may ask for any size; this is 16K, of which the picture alone takes 400 MB.
_MAX_PIXELS = 2**27

# Codecs in which every packet shows one frame, so that packets can be counted instead of frames.
_PACKET_IS_FRAME = {'h264', 'hevc', 'av1', 'vp9', 'mpeg4', 'mjpeg', 'prores', 'dnxhd', 'ffv1', 'gif', 'png', 'rawvideo'}

# Kinds of units of HEVC: key frames behind a break (BLA), the end of a sequence and of a stream.
_JOINTS = {16, 17, 18, 36, 37}

# Bytes of a packet of MPEG-4 that may say that the frame is the one before, which then is not shown again.
_NOTHING_CHANGED = 16

# Containers that store when each frame is shown. In others FFmpeg guesses it, differently after a seek.
_TIMED = {'mov', 'matroska', 'webm', 'mpegts', 'flv', 'ogg', 'nut', 'mxf', 'ivf', 'gif', 'apng'}


@dataclass(frozen=True)
class FrameIndex:
    """Where the frames of a file are.

    Attributes:
        times: when each frame is shown, in units of the stream's time base, never falling. Mere numbers if there are no
            ``keys``.
        keys: the numbers of frames at which decoding can start, rising; none in a file that must be read from its
            start. Like the times a ``range`` where they are evenly spaced, so that an index is small.
        whole: whether the file goes on to its end: it is not cut off, and no damage is known.
    """

    times: Sequence[int]
    keys: Sequence[int]
    whole: bool

    def key_before(self, number: int) -> int:
        """The last frame up to ``number`` at which decoding can start."""
        position = bisect_left(self.keys, number + 1)
        return self.keys[position - 1] if position else 0

    def key_at(self, time: int | None) -> int | None:
        """The number of the frame that is shown at ``time`` if decoding can start there."""
        if time is None:
            return None
        number = bisect_left(self.times, time)
        position = bisect_left(self.keys, number)
        is_key = position < len(self.keys) and self.keys[position] == number and self.times[number] == time
        return number if is_key else None


class VideoFile:
    """A video file that is open for decoding, in the thread that asks for frames.

    Args:
        path: the file.
        check: walk through its structure first; not needed where the frames up to a damage are known.

    Attributes:
        damaged: whether :meth:`frames` stopped where a packet is lost or cannot be decoded, or not without gaps.
        cut: whether the file claims to be longer than it is.
    """

    def __init__(self, path: str, check: bool = True) -> None:
        self.path = path
        self.damaged = False
        try:
            # So named, a path with a colon is a path; a play list cannot lead to the network.
            self._container = av.open(f'file:{path}', options={'protocol_whitelist': 'file'})
        except (av.FFmpegError, ValueError) as error:
            raise _cannot_open(path) from error
        kinds = sorted({stream.type for stream in self._container.streams})
        if kinds and 'video' not in kinds:
            self._container.close()
            raise FrameError(
                f'{path} holds no video stream, only {" and ".join(kinds)}. Name the file that has the pictures.'
            )
        streams = [stream for stream in self._container.streams.video if stream.codec_context is not None]
        if not streams:
            self._container.close()
            raise _cannot_open(path)
        # A cover picture is a stream as well.
        self._stream = min(streams, key=lambda stream: bool(stream.disposition & Disposition.attached_pic))
        self.cut = is_cut_off(path)
        self._broken = broken_at(path) if check else None
        self._codec = self._stream.codec_context
        # One thread: more would have to be stopped in forked workers, and lose frames around a damaged packet.
        self._codec.thread_count = 1
        self._codec.options = {'max_pixels': str(_MAX_PIXELS)}
        # By themselves these hide damage, or leave frames out, without a mark.
        if self._codec.name in ('mjpeg', 'hevc'):
            self._codec.options |= {'err_detect': 'explode'}
        self._to_rgb = VideoReformatter()
        names = set(self._container.format.name.split(','))
        self._timed = bool(names & _TIMED) or not (self._codec.has_b_frames or 'mpeg' in names)

    @property
    def codec(self) -> str:
        """Name of the codec."""
        return self._codec.codec.canonical_name

    @property
    def fps(self) -> float | None:
        """Frames per second on average, as the header has it."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        return float(rate) if rate else None

    @property
    def promised(self) -> int | None:
        """Number of frames in the header, which may be wrong; ``None`` if it has none."""
        return self._stream.frames or None

    @property
    def time_base(self) -> Fraction:
        """Seconds per unit of time."""
        return self._stream.time_base

    def close(self) -> None:
        """Frees the decoder."""
        self._container.close()

    def frames(self, from_key: bool = False) -> Iterator[av.VideoFrame]:
        """Frames as they are shown, from where the file stands to its end, or to where it is damaged.

        Args:
            from_key: leave out what comes before the first key frame, as is needed after :meth:`seek`.
        """
        started = False
        # These may leave out frames that are not to be shown; the decoder of HEVC says what it loses.
        waiting = _Waiting(self._timed and self.codec in _PACKET_IS_FRAME - {'mpeg4', 'hevc'})
        for packet in chain(self._packets(), [None]):  # None asks for what the decoder holds back.
            if from_key and packet is not None and not packet.is_keyframe:
                continue
            from_key = False
            waiting.add(packet)
            try:
                frames = self._codec.decode(packet)
            except av.FFmpegError:
                # A recording may start in the middle, with frames that refer to earlier ones; a key frame does not.
                self.damaged = started or packet is None or packet.is_keyframe
                if self.damaged:
                    return  # What the decoder holds back may be wrong as well.
                continue
            for frame in frames:
                lost = waiting.shown(frame)
                if frame.is_corrupt and (started or frame.key_frame) or lost and started:
                    self.damaged = True
                    return
                started |= not frame.is_corrupt
                yield frame
        self.damaged |= started and waiting.left

    def seek(self, time: int) -> bool:
        """Go to a key frame at or before ``time``, or near it; :meth:`frames` tells where that is.

        Returns:
            False if the container cannot seek.
        """
        try:
            self._container.seek(time, stream=self._stream)
        except av.FFmpegError:
            return False
        return True

    def rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """The picture as it is to be shown, uint8 ``[H, W, 3]``: in the colours that the file names, and upright.

        Pixels that are not square are left as they are stored.
        """
        try:
            picture = self._to_rgb.reformat(frame, format='rgb24', threads=1).to_ndarray()
        except (av.FFmpegError, ValueError) as error:
            raise FrameError(
                f'The pixels of {self.path} ({frame.format.name}, {frame.width}x{frame.height}) cannot be '
                f'converted to RGB; {REPAIR}'
            ) from error
        matrix = frame.side_data.get('DISPLAYMATRIX')
        if matrix is not None:
            a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
            # Where x and y go in the picture that is shown: x' = a x + c y, y' = b x + d y.
            if abs(b) + abs(c) > abs(a) + abs(d):
                picture, a, d = picture.transpose(1, 0, 2), c, b
            picture = picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
        return np.ascontiguousarray(picture)

    def _packets(self) -> Iterator[av.Packet]:
        try:
            for packet in self._container.demux(self._stream):
                # FFmpeg goes on behind what it cannot read, and packets between are lost.
                if self._broken is not None and packet.pos is not None and packet.pos >= self._broken:
                    break
                # The last packet that a file cut off holds is a part of one; one of no size stands for no frame.
                if packet.size and not (self.cut and packet.is_corrupt):
                    yield packet
            else:
                self.damaged |= self._broken is not None
                return
        except IndexError:
            # The end, where PyAV stumbles over streams that the start of the file did not announce.
            return
        except av.FFmpegError:
            pass
        self.damaged = True

    def packet_index(self) -> FrameIndex | None:
        """The index that the packets promise, without decoding; ``None`` where they do not tell what is shown."""
        if self.codec not in _PACKET_IS_FRAME or not self._timed:
            return None
        times, keys, last = [], [], None
        for packet in self._packets():
            if self.codec == 'mpeg4' and packet.size < _NOTHING_CHANGED or self.codec == 'hevc' and _is_joined(packet):
                return None
            if packet.pts is None or last is not None and packet.dts is not None and packet.dts < last:
                return None
            last = packet.dts
            if not packet.is_discard:
                times.append(packet.pts)
                if packet.is_keyframe:
                    keys.append(packet.pts)
        return _index(times, keys, not (self.cut or self.damaged))

    def decoded_index(self) -> FrameIndex:
        """The index that all frames give when they are decoded."""
        frames = [(frame.pts, frame.key_frame) for frame in self.frames()]
        times, whole = [time for time, _ in frames], not (self.cut or self.damaged)
        if not self._timed or None in times or any(second < first for first, second in pairwise(times)):
            return FrameIndex(range(len(times)), (), whole)
        return _index(times, [time for time, key in frames if key], whole)


def _is_joined(packet: av.Packet) -> bool:
    """Whether a packet of HEVC is where recordings were joined: frames after it that refer to before are not shown."""
    data, place, kinds = bytes(packet), 0, set()
    if data.startswith((b'\0\0\1', b'\0\0\0\1')):
        kinds = {part[0] >> 1 & 63 for part in data.split(b'\0\0\1')[1:] if part}
    else:
        while place + 4 < len(data):
            kinds.add(data[place + 4] >> 1 & 63)
            place += 4 + int.from_bytes(data[place : place + 4], 'big')
    return not kinds.isdisjoint(_JOINTS)


class _Waiting:
    """The times at which packets are to be shown that have not been: a decoder can lose a frame without a word.

    Nothing is expected where a packet may show no frame, or is not stamped.
    """

    def __init__(self, known: bool) -> None:
        self._known, self._times = known, []
        self._decoded = self._last = None

    @property
    def left(self) -> bool:
        """Whether a packet has not been shown."""
        return self._known and bool(self._times)

    def add(self, packet: av.Packet | None) -> None:
        """A packet goes to the decoder; ``None`` ends the file."""
        if packet is None or not self._known:
            return
        # Where recordings were joined, time may start anew.
        rises = self._decoded is None or packet.dts is None or packet.dts >= self._decoded
        self._decoded = packet.dts
        if packet.pts is None or not rises:
            self._known = False
        elif not packet.is_discard and (self._last is None or packet.pts > self._last):
            # Frames before the one that decoding began with may refer to what was not read.
            insort(self._times, packet.pts)

    def shown(self, frame: av.VideoFrame) -> bool:
        """A frame comes; whether one was lost that should have come before it."""
        if not self._known or frame.pts is None:
            self._known = False
            return False
        before = bisect_left(self._times, frame.pts)
        del self._times[: before + (self._times[before : before + 1] == [frame.pts])]
        self._last = frame.pts
        return before > 0


def _index(times: list[int], keys: list[int], whole: bool) -> FrameIndex:
    times = sorted(times)
    numbers = sorted({bisect_left(times, time) for time in keys})
    # At a time that two frames share, it cannot be told which of them decoding starts with.
    single = [number for number in numbers if number + 1 == len(times) or times[number + 1] > times[number]]
    return FrameIndex(_compact(times), _compact(single), whole)


def _compact(numbers: list[int]) -> Sequence[int]:
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    even = range(numbers[0], numbers[0] + step * len(numbers), step) if numbers and step > 0 else range(0)
    return even if list(even) == numbers else tuple(numbers)


def _cannot_open(path: str) -> FrameError:
    return FrameError(
        f'Video {path} cannot be opened ({os.path.getsize(path)} bytes): it is cut off, no video, or of '
        f'a codec that FFmpeg does not know. Get it again, or {REPAIR}'
    )
