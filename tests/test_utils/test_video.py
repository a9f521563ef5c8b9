"""Frames in order; reading by number is tested with FrameSequence."""

import os
import re
import shutil
import struct
import wave
from fractions import Fraction
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from tiny_data import moving_shapes, shown, texture, write_image, write_timed_video, write_video

from stt_mm.errors import InputError
from stt_mm.utils import FrameError, FrameSequence, VideoReader
from stt_mm.utils.images import read_image
from stt_mm.utils.video import open_video
from stt_mm.utils.video_file import FrameIndex, VideoFile


@pytest.fixture
def frames():
    return moving_shapes(6, (48, 64), 2)[0]


@pytest.fixture
def folder(tmp_path, frames):
    for t, frame in enumerate(frames):
        write_image(tmp_path / 'bear' / f'frame_{9 + t}.png', frame)
    return tmp_path / 'bear'


def test_folder_in_natural_order(folder, frames):
    stream = open_video(folder)
    assert (stream.name, stream.num_frames, stream.exact, stream.fps) == (str(folder), 6, True, None)
    names, read, times = zip(*stream.frames, strict=True)
    assert set(times) == {None}
    assert list(names) == [f'frame_{9 + t}' for t in range(6)]
    np.testing.assert_array_equal(read, frames)


@pytest.mark.parametrize(('suffix', 'codec'), [('.mp4', 'mp4v'), ('.avi', 'MJPG')])
def test_file_gives_the_frames_that_reading_by_number_gives(tmp_path, frames, suffix, codec):
    path = tmp_path / f'a{suffix}'
    write_video(path, frames, codec)
    stream, reader = open_video(str(path)), VideoReader(path)
    assert (stream.num_frames, stream.exact, stream.fps) == (6, False, 10.0)
    for index, (name, frame, seconds) in enumerate(stream.frames):
        assert (name, seconds) == (f'{index:05d}', pytest.approx(index / 10))
        np.testing.assert_array_equal(frame, reader.read(index))
    assert index == 5


@pytest.mark.parametrize('convert', [list, np.asarray, FrameSequence, iter], ids=['list', 'array', 'lazy', 'iterator'])
def test_given_frames(folder, frames, convert):
    if convert is FrameSequence:
        source = FrameSequence(sorted(folder.iterdir(), key=lambda path: int(path.stem.split('_')[1])))
    else:
        source = convert(frames)
    stream = open_video(source)
    assert stream.num_frames == (None if convert is iter else 6)
    assert stream.exact is (convert is not iter)
    names, read, _ = zip(*stream.frames, strict=True)
    assert names[-1] == '00005'
    np.testing.assert_array_equal(read, frames)


def test_a_stream_is_handed_back(frames):
    stream = open_video(frames)
    assert open_video(stream) is stream


def test_frames_are_read_when_they_are_asked_for(folder, frames):
    stream = open_video(folder)
    next(stream.frames)
    write_image(folder / 'frame_10.png', frames[5])
    (folder / 'frame_11.png').write_bytes(b'broken')
    np.testing.assert_array_equal(next(stream.frames)[1], frames[5])
    with pytest.raises(FrameError, match=r'frame_11\.png'):
        next(stream.frames)


def test_a_file_is_closed_at_its_end_and_when_the_reading_stops(tmp_path, frames, monkeypatch):
    closed = []
    close = VideoFile.close
    monkeypatch.setattr(VideoFile, 'close', lambda file: closed.append(True) or close(file))
    write_video(tmp_path / 'a.mp4', frames)
    assert len(list(open_video(tmp_path / 'a.mp4').frames)) == 6
    assert len(closed) == 1
    stream = open_video(tmp_path / 'a.mp4')
    next(stream.frames)
    stream.frames.close()
    assert len(closed) == 2


def test_frame_of_another_size(folder):
    write_image(folder / 'frame_11.png', texture((48, 60), 0))
    read = []
    with pytest.raises(FrameError, match=r'Frame 2 \(frame_11\) of .*bear is 48x60 .* first is 48x64.*scale'):
        read.extend(frame for _, frame, _ in open_video(folder).frames)


@pytest.mark.parametrize(
    ('frame', 'got'),
    [(np.zeros((4, 5, 3)), r'float64 \[4, 5, 3\]'), (np.zeros((4, 5), np.uint8), r'uint8 \[4, 5\]'), ('a.png', 'str')],
)
def test_what_is_no_frame(frame, got):
    with pytest.raises(ValueError, match=rf'Frame 1 of the given frames must be .*got {got}'):
        list(open_video([np.zeros((4, 5, 3), np.uint8), frame]).frames)


def test_sources_that_do_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'not found: .*none\.mp4.*folder of images'):
        open_video(tmp_path / 'none.mp4')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='empty holds no images'):
        open_video(tmp_path / 'empty')


def test_two_files_for_one_frame(folder):
    shutil.copy(folder / 'frame_9.png', folder / 'frame_9.jpg')
    with pytest.raises(ValueError, match=r'frame_9\.jpg and .*frame_9\.png are two files for one frame'):
        open_video(folder)


@pytest.mark.parametrize('kind', ['empty', 'text', 'cut'])
def test_file_that_cannot_be_opened(tmp_path, frames, kind):
    """It is empty, no video, or cut off before its index."""
    path = tmp_path / 'a.mp4'
    write_video(path, frames)
    data = path.read_bytes()
    path.write_bytes({'empty': b'', 'text': b'a diary', 'cut': data[: len(data) // 2]}[kind])
    with pytest.raises(FrameError, match=rf'{path.name} cannot be opened .* bytes.*FFmpeg does not know.*ffmpeg -i'):
        open_video(path)


@pytest.mark.parametrize('read', [VideoReader, open_video])
def test_a_file_of_sound_alone(tmp_path, read):
    with wave.open(str(tmp_path / 'a.mp4'), 'wb') as file:
        file.setparams((1, 2, 8000, 0, 'NONE', None))
        file.writeframes(bytes(800))
    with pytest.raises(FrameError, match=r'a\.mp4 holds no video stream, only audio'):
        read(tmp_path / 'a.mp4')


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / 'a.jpg').mkdir()
    with pytest.raises(FileNotFoundError, match=r'a\.jpg is a folder, no file'):
        VideoReader(tmp_path / 'a.jpg')
    with pytest.raises(FrameError, match=r'Frame .*a\.jpg cannot be read: Is a directory'):
        read_image(tmp_path / 'a.jpg')


@pytest.mark.parametrize('read', [VideoReader, lambda path: list(open_video(path).frames)], ids=['number', 'order'])
def test_file_without_a_frame_that_can_be_decoded(tmp_path, read):
    """Its pictures ask for 60,000 x 60,000 pixels, 11 GB; nothing is allocated for them."""
    write_video(tmp_path / 'a.avi', np.zeros((3, 48, 64, 3), np.uint8), 'MJPG')
    data = (tmp_path / 'a.avi').read_bytes()
    huge = struct.pack('>HH', 60_000, 60_000)
    (tmp_path / 'a.avi').write_bytes(re.sub(rb'(\xff\xc0..\x08)....', rb'\1' + huge, data, flags=re.DOTALL))
    with pytest.raises(FrameError, match=r'a\.avi holds no frame that can be decoded.*ffmpeg -i'):
        read(tmp_path / 'a.avi')


def test_file_that_is_cut_off_gives_what_it_holds_and_says_so(tmp_path):
    frames, _ = moving_shapes(40, (48, 64), 1)
    write_video(tmp_path / 'a.avi', frames, 'MJPG')
    data = (tmp_path / 'a.avi').read_bytes()
    (tmp_path / 'a.avi').write_bytes(data[: len(data) // 2])
    stream = open_video(tmp_path / 'a.avi')
    assert stream.num_frames == 40
    read = []
    with pytest.raises(FrameError, match=r'a\.avi ended after (\d+) of the 40 .* cut off.*set max_frames to \1'):
        read.extend(stream.frames)
    assert 10 < len(read) < 30
    index = VideoReader(tmp_path / 'a.avi').index
    assert (len(index.times), index.whole) == (len(read), False)


class Camera:
    """A camera that gives five frames and is then unplugged; it stands in for hardware."""

    number, opened = 7, True

    def __init__(self, number):
        assert number == self.number
        self.left = 5
        self.closed = False

    def isOpened(self):
        return self.opened

    def get(self, key):
        return 30.0 if key == cv2.CAP_PROP_FPS else 0.0

    def set(self, key, value):
        return True

    def read(self):
        self.left -= 1
        return self.left >= 0, np.full((48, 64, 3), (self.left, 0, 200), np.uint8)

    def release(self):
        self.closed = True


@pytest.mark.parametrize('number', [7, '7'])
def test_camera(monkeypatch, number):
    monkeypatch.setattr(cv2, 'VideoCapture', Camera)
    stream = open_video(number)
    assert (stream.name, stream.num_frames, stream.fps) == ('camera 7', None, 30.0)
    read = [next(stream.frames) for _ in range(5)]
    names, frames, times = zip(*read, strict=True)
    assert list(names) == [f'{t:05d}' for t in range(5)]
    assert times[0] == 0
    assert list(times) == sorted(times), 'seconds since the first frame came'
    assert [frame[0, 0].tolist() for frame in frames] == [[200, 0, t] for t in (4, 3, 2, 1, 0)]
    with pytest.raises(FrameError, match='Camera 7 gave no more frames after 5'):
        next(stream.frames)


def test_camera_that_gives_nothing(monkeypatch):
    monkeypatch.setattr(cv2, 'VideoCapture', type('Dark', (Camera,), dict(read=lambda self: (False, None))))
    with pytest.raises(FrameError, match='Camera 7 gave no more frames after 0'):
        next(open_video(7).frames)


def test_camera_that_cannot_be_opened(monkeypatch):
    monkeypatch.setattr(cv2, 'VideoCapture', type('Closed', (Camera,), dict(opened=False)))
    with pytest.raises(FrameError, match='Camera 7 cannot be opened: .*another program.*/dev/video7'):
        open_video('7')


def test_a_folder_named_by_a_number_is_reached_by_its_path(folder, monkeypatch):
    folder.rename(folder.parent / '7')
    monkeypatch.chdir(folder.parent)
    assert open_video('./7').num_frames == 6


class Film:
    """Stands in for a file whose frames come at any times, or at none."""

    fps, promised, cut, damaged, time_base, pts = 25.0, None, False, False, Fraction(1, 10), (5, 5, 7, 7, 0, 3, None, 4)

    def __init__(self, path, check=True):
        pass

    def frames(self):
        for pts in self.pts:
            yield SimpleNamespace(pts=pts)

    def rgb(self, frame):
        return np.zeros((2, 3, 3), np.uint8)

    def close(self):
        pass


def film(monkeypatch, path, **changes):
    monkeypatch.setattr('stt_mm.utils.video.VideoFile', type('Changed', (Film,), changes))
    path.touch()
    return open_video(path)


def test_times_go_on_where_they_start_anew_or_lack(monkeypatch, tmp_path):
    frames = list(film(monkeypatch, tmp_path / 'a.mp4').frames)
    assert [name for name, _, _ in frames] == [f'{number:05d}' for number in range(8)]
    assert [seconds for _, _, seconds in frames] == [0, 0, 0.2, 0.2, 0.2, 0.5, None, 0.5]
    assert [seconds for _, _, seconds in film(monkeypatch, tmp_path / 'a.mp4', pts=(9, 0, 1)).frames] == [0, 0, 0.1]


@pytest.mark.parametrize(
    ('state', 'promised', 'message'),
    [
        (dict(cut=True), 9, 'ended after 8 of the 9 frames it promises: it is cut off'),
        (dict(cut=True), 8, 'ended after 8 frames: it is cut off'),
        (dict(damaged=True), None, 'ended after 8 frames: it is damaged there'),
        ({}, 9, None),
    ],
)
def test_what_a_film_promises_is_told_where_it_ends_early(monkeypatch, tmp_path, state, promised, message):
    stream = film(monkeypatch, tmp_path / 'a.mp4', promised=promised, **state)
    assert (stream.num_frames, stream.exact, stream.fps) == (promised, False, 25)
    if message is None:
        assert len(list(stream.frames)) == 8
    else:
        with pytest.raises(FrameError, match=message):
            list(stream.frames)


def test_a_camera_keeps_one_frame_waiting_and_says_when_each_came(monkeypatch):
    kept, clock = [], iter([100, 103, 104.5, 110, 111, 112])
    watched = type(
        'Watched', (Camera,), dict(set=lambda self, key, value: kept.append((key, value)), get=lambda self, key: 0.5)
    )
    monkeypatch.setattr(cv2, 'VideoCapture', watched)
    monkeypatch.setattr('stt_mm.utils.video.time.monotonic', lambda: next(clock))
    stream = open_video(7)
    assert kept == [(cv2.CAP_PROP_BUFFERSIZE, 1)]
    assert (stream.fps, stream.exact, stream.num_frames) == (0.5, False, None)
    assert [next(stream.frames)[2] for _ in range(4)] == [0, 1.5, 7, 8]


@pytest.mark.parametrize(('fps', 'expected'), [(0.0, None), (-1.0, None), (25.0, 25.0)])
def test_a_camera_that_does_not_know_its_rate(monkeypatch, fps, expected):
    cameras = []
    silent = type('Silent', (Camera,), dict(get=lambda self, key: fps, read=lambda self: (True, None)))
    monkeypatch.setattr(cv2, 'VideoCapture', lambda number: cameras.append(silent(number)) or cameras[-1])
    stream = open_video(7)
    assert stream.fps == expected
    with pytest.raises(FrameError, match='gave no more frames after 0'):
        next(stream.frames)
    assert cameras[0].closed


@pytest.mark.parametrize(
    'frame',
    [
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((4, 5, 3, 1), np.uint8),
        np.zeros((4, 5, 3), np.int8),
        np.zeros((3,), np.uint8),
    ],
)
def test_arrays_that_are_no_frames(frame):
    with pytest.raises(ValueError, match='must be a NumPy array uint8'):
        list(open_video([frame]).frames)


def test_a_reader_opens_its_file_when_it_reads_and_anew_in_another_process(tmp_path, frames, monkeypatch):
    write_timed_video(tmp_path / 'a.mp4', range(60), options={'g': '20'}, base=(1, 30))
    reader = VideoReader(tmp_path / 'a.mp4')
    assert reader._file is None
    opened = []
    monkeypatch.setattr(
        'stt_mm.utils.video.VideoFile', lambda path, check=True: opened.append(path) or VideoFile(path, check)
    )
    assert [shown(reader.read(number)) for number in (5, 6, 45)] == [5, 6, 45]
    assert len(opened) == 1
    for pid, number in ((1, 46), (2, 25), (2, 26)):
        monkeypatch.setattr(os, 'getpid', lambda pid=pid: pid)
        assert shown(reader.read(number)) == number
    assert len(opened) == 3
    reader.close()
    assert reader._file is None
    assert shown(reader.read(27)) == 27


@pytest.mark.parametrize(
    ('late', 'asked', 'opened'), [(0, [32], 0), (1, [32, 16], 0), (2, [32, 16], 1), (None, [32], 1)]
)
def test_a_seek_that_comes_out_late_is_tried_once_more(tmp_path, monkeypatch, late, asked, opened):
    """Then all is decoded from the start, as where a container cannot seek at all (``None``)."""
    write_timed_video(tmp_path / 'a.mp4', range(60), options={'g': '20'}, base=(1, 30))
    reader, seek, sought, files = VideoReader(tmp_path / 'a.mp4'), VideoFile.seek, [], []
    times = reader.index.times
    assert list(reader.index.keys) == [0, 16, 32, 48]
    reader.read(0)

    def sloppy(file, time):
        sought.append(times.index(time))
        return late is not None and seek(file, times[48] if len(sought) <= late else time)

    monkeypatch.setattr(VideoFile, 'seek', sloppy)
    monkeypatch.setattr(
        'stt_mm.utils.video.VideoFile', lambda path, check=True: files.append(path) or VideoFile(path, check)
    )
    assert [shown(reader.read(number)) for number in (33, 34)] == [33, 34]
    assert (sought, len(files)) == (asked, opened)


def test_what_comes_before_a_known_frame_is_read_from_the_start_without_a_seek(tmp_path, monkeypatch):
    write_timed_video(tmp_path / 'a.mp4', range(30), options={'g': '20'}, base=(1, 30))
    reader, sought = VideoReader(tmp_path / 'a.mp4'), []
    monkeypatch.setattr(VideoFile, 'seek', lambda file, time: sought.append(time))
    assert [shown(reader.read(number)) for number in (3, 1, 15)] == [3, 1, 15]
    assert not sought


TIMES, DECODED = (0, 2, 3, 7, 9), FrameIndex((5, 6), (), True)


@pytest.mark.parametrize(
    ('promised', 'shown_at', 'agrees'),
    [
        (FrameIndex(TIMES, (0, 3), True), TIMES, True),
        (None, TIMES, False),
        (FrameIndex(TIMES, (), True), TIMES, False),
        (FrameIndex(TIMES, (0, 3), True), (1, 2, 3, 7, 9), False),
        (FrameIndex(TIMES, (0, 3), True), (), False),
        (FrameIndex(TIMES, (0, 3), True), (0, 2, 3, 7, 8), False),
        (FrameIndex(TIMES, (0, 3), True), TIMES[:-1], False),
        (FrameIndex(TIMES, (0, 3), True), (*TIMES, 10), False),
        (FrameIndex(TIMES, (0, 3), True), (0, 1, 3, 7, 9), True),
        (FrameIndex(TIMES, (0, 4), True), TIMES, True),
        (FrameIndex(TIMES, (0,), True), (0, 2, 3, 7, 8), False),
    ],
)
def test_packets_are_believed_if_the_first_frame_and_those_after_the_last_key_frame_come_as_they_say(
    tmp_path, monkeypatch, promised, shown_at, agrees
):
    class Fake:
        def __init__(self, path, check=True):
            self.start = 0

        def packet_index(self):
            return promised

        def decoded_index(self):
            return DECODED

        def seek(self, time):
            self.start = time
            return True

        def frames(self, from_key=False):
            return iter([SimpleNamespace(pts=time) for time in shown_at if time >= self.start])

        def rgb(self, frame):
            return frame.pts

    (tmp_path / 'a.mp4').touch()
    monkeypatch.setattr('stt_mm.utils.video.VideoFile', Fake)
    reader = VideoReader(tmp_path / 'a.mp4')
    assert reader.index is (promised if agrees else DECODED)
    if agrees and shown_at == TIMES:
        assert [reader.read(number) for number in (4, 0, 1, 3, 2)] == [9, 0, 2, 7, 3]


def test_a_frame_that_did_not_come_shifts_no_other(tmp_path, monkeypatch):
    """Frame 2 of 5 is damaged; at the end one comes without a time."""

    class Fake:
        codec = 'none'

        def __init__(self, path, check=True):
            pass

        def frames(self, from_key=False):
            return iter([SimpleNamespace(pts=time) for time in (0, 2, 7, None)])

        def rgb(self, frame):
            return frame.pts

    (tmp_path / 'a.mp4').touch()
    monkeypatch.setattr('stt_mm.utils.video.VideoFile', Fake)
    reader = VideoReader(tmp_path / 'a.mp4', FrameIndex(TIMES, (0,), True))
    assert [reader.read(number) for number in (0, 1, 3)] == [0, 2, 7]
    for number in (2, 4):
        with pytest.raises(FrameError, match=f'Frame {number} of 5 cannot be read from .*codec none'):
            reader.read(number)
        assert reader._file is None
    untimed = VideoReader(tmp_path / 'a.mp4', FrameIndex(range(4), (), True))
    assert [untimed.read(number) for number in (1, 3, 0, 2)] == [2, None, 0, 7]


@pytest.mark.parametrize('number', [-1, 3, 100])
def test_a_frame_that_a_whole_file_does_not_have(tmp_path, frames, number):
    write_video(tmp_path / 'a.mp4', frames[:3])
    with pytest.raises(InputError, match=rf'no frame {number} in .*a\.mp4: it has 3, 0 to 2'):
        VideoReader(tmp_path / 'a.mp4').read(number)


@pytest.mark.parametrize(
    ('name', 'count', 'codec', 'options'),
    [
        ('a.avi', 61, 'libx264', dict(g='12', bf='2')),
        ('long.avi', 252, 'libx264', dict(g='250', bf='2')),
        ('b.avi', 85, 'libx264', dict(g='12', bf='3')),
        ('c.avi', 61, 'mpeg4', dict(g='12', bf='2')),
        ('d.mpg', 60, 'mpeg1video', dict(g='12', bf='2')),
        ('e.mpg', 61, 'mpeg2video', dict(g='12', bf='0')),
        ('f.asf', 61, 'mpeg4', dict(g='12', bf='2')),
        ('g.ts', 61, 'mpeg2video', dict(g='12', bf='2')),
        ('h.flv', 61, 'libx264', dict(g='12', bf='2')),
    ],
)
def test_frames_by_number_where_the_container_does_not_store_their_times(tmp_path, name, count, codec, options):
    """Or does: in AVI, MPEG program streams and ASF the times of reordered frames are guesses, which a seek changes."""
    write_timed_video(tmp_path / name, range(count), codec, dict(options, sc_threshold='0'), base=(1, 30))
    reader = VideoReader(tmp_path / name)
    assert len(reader) == count
    order = np.random.default_rng(4).permutation(count)[:25].tolist()
    assert [shown(reader.read(number)) for number in order] == order
