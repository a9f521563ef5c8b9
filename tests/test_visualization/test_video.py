import re
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from tiny_data import numbered

from stt_mm.errors import FileError
from stt_mm.utils import VideoReader
from stt_mm.visualization import VideoWriter
from stt_mm.visualization.video import check_fps


def write_video(path, frames, fps=10.0):
    with VideoWriter(path, fps) as writer:
        for frame in frames:
            writer.write(frame)
    return writer.path


def colored_frames(count: int = 5, height: int = 48, width: int = 64) -> list[np.ndarray]:
    frames = [np.zeros((height, width, 3), np.uint8) for _ in range(count)]
    for index, frame in enumerate(frames):
        frame[..., 0] = 40 * (index + 1)
        frame[..., 2] = 20
    return frames


@pytest.mark.parametrize(
    ('suffix', 'codec'), [('.mp4', 'h264'), ('.M4V', 'h264'), ('.mov', 'h264'), ('.mkv', 'h264'), ('.webm', 'vp9')]
)
def test_video_comes_back_with_its_colours_in_order(tmp_path, suffix, codec):
    frames = colored_frames()
    path = write_video(tmp_path / 'new' / f'video{suffix}', iter(frames), fps=5)
    assert path == tmp_path / 'new' / f'video{suffix}'
    reader = VideoReader(path)
    assert len(reader) == 5
    for index, frame in enumerate(frames):
        # Compression costs a few grey levels; red and blue swapped would cost 20 or more.
        np.testing.assert_allclose(reader.read(index).mean(axis=(0, 1)), frame[0, 0], atol=6)
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == (codec, 'yuv420p'), 'what browsers play'


def test_of_odd_sizes_the_last_row_and_column_are_repeated(tmp_path):
    path = write_video(tmp_path / 'odd.mp4', [np.full((47, 63, 3), 200, np.uint8)] * 2)
    frame = VideoReader(path).read(0)
    assert frame.shape == (48, 64, 3)
    np.testing.assert_allclose(frame, 200, atol=6)


def test_video_of_frames_of_different_sizes_names_the_frame(tmp_path):
    frames = [*colored_frames(2), np.zeros((32, 32, 3), np.uint8)]
    with pytest.raises(ValueError, match='Frame 2 .*one size'):
        write_video(tmp_path / 'video.mp4', frames)
    assert len(VideoReader(tmp_path / 'video.mp4')) == 2, 'the frames before it are lost'


@pytest.mark.parametrize(
    ('name', 'frames', 'fps', 'message'),
    [
        ('a.avi', colored_frames(1), 10, r'\.mp4, .*\.webm, got .*a\.avi. Rename it, for example to a\.mp4'),
        *[
            ('a.mp4', colored_frames(1), fps, 'fps must be 0.001 to 100000 .* a .mp4 file, got')
            for fps in (0, -1, 1e9, float('nan'), float('inf'))
        ],
        ('a.mkv', colored_frames(1), 2000, 'fps must be 0.001 to 1000 .* a .mkv file'),
    ],
)
def test_video_arguments_out_of_range(tmp_path, name, frames, fps, message):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / name, frames, fps)


def test_writer_makes_the_file_with_the_first_frame_and_leaves_a_whole_video_after_an_error(tmp_path):
    path = tmp_path / 'new' / 'video.mp4'
    with VideoWriter(path, 5) as writer:
        assert not path.parent.exists()
        for frame in colored_frames(3):
            writer.write(frame)
        with pytest.raises(ValueError, match='one size'):
            writer.write(np.zeros((2, 2, 3), np.uint8))
    assert writer.num_frames == len(VideoReader(path)) == 3


def test_writer_without_frames_makes_nothing(tmp_path):
    with VideoWriter(tmp_path / 'new' / 'video.mp4'):
        pass
    assert not list(tmp_path.iterdir())


def shown_at(path):
    """Seconds at which each frame is shown, and the frames per second of the file."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        return [float(frame.pts * stream.time_base) for frame in file.decode(stream)], float(stream.average_rate)


@pytest.mark.parametrize('suffix', ['.mp4', '.webm'])
@pytest.mark.parametrize('fps', [0.5, 12.5, 29.97, 66.667, 105.611, 196.263, 211.222, 1000.0])
def test_any_frame_rate(tmp_path, fps, suffix):
    times, rate = shown_at(write_video(tmp_path / f'a{suffix}', colored_frames(), fps))
    np.testing.assert_allclose(times, np.arange(5) / fps, atol=1e-9 if suffix == '.mp4' else 5.1e-4)
    assert rate == pytest.approx(fps, rel=1e-9 if suffix == '.mp4' else 1e-3)


def test_frames_are_shown_at_their_times(tmp_path):
    given = [0, 1 / 30, 0.1, 0.1, 0.5]
    with VideoWriter(tmp_path / 'a.mp4', 25) as writer:
        for frame, time in zip(colored_frames(), given, strict=True):
            writer.write(frame, time)
    times, _ = shown_at(tmp_path / 'a.mp4')
    np.testing.assert_allclose(times, given, atol=2e-5)
    assert len(set(times)) == 5, 'two frames at one time are shown one after the other'


def test_the_index_comes_first(tmp_path):
    data = write_video(tmp_path / 'a.mp4', colored_frames()).read_bytes()
    assert data.find(b'moov') < data.find(b'mdat')


@pytest.mark.parametrize(('suffix', 'count'), [('.mp4', 12), ('.mkv', 2), ('.webm', 2)])
def test_the_same_frames_give_the_same_file(tmp_path, suffix, count):
    """The rate varies: there x264 gave another file in one of four tries, before it was told not to."""
    path, files = tmp_path / f'a{suffix}', set()
    steps = np.random.default_rng(0).integers(15, 90, 100)
    for _ in range(count):
        with VideoWriter(path, 25) as writer:
            for number, time in enumerate(np.cumsum(steps).tolist()):
                writer.write(numbered(number), time / 1000)
        files.add(path.read_bytes())
    assert len(files) == 1


def test_a_path_with_a_colon_is_no_protocol(tmp_path):
    path = write_video(tmp_path / '12:30 talk.mp4', colored_frames())
    assert [entry.name for entry in tmp_path.iterdir()] == ['12:30 talk.mp4']
    assert len(VideoReader(path)) == 5


FULL = """
import resource, signal, sys
import numpy as np
from stt_mm.errors import FileError
from stt_mm.visualization import VideoWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
noise = np.random.default_rng(0).integers(0, 256, (30, 96, 128, 3), dtype=np.uint8)
try:
    with VideoWriter(sys.argv[1]) as writer:
        for frame in noise:
            writer.write(frame)
except FileError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == 'win32', reason='the size of files cannot be limited')
@pytest.mark.parametrize('suffix', ['.mp4', '.mkv'])
def test_a_full_disk_is_told_in_one_line(tmp_path, suffix):
    """A limit on the size of files stands in for it."""
    done = subprocess.run(
        [sys.executable, '-c', FULL, str(tmp_path / f'a{suffix}')], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert re.search(rf'a{suffix} cannot be written after \d+ frames \(.*\). Make room on the disk', done.stdout)


@pytest.mark.parametrize('suffix', ['.mp4', '.mov', '.mkv'])
def test_a_file_that_cannot_even_be_begun_is_told_too(tmp_path, suffix):
    """The encoder gives its first packets after some 50 frames; to complete the file after that crashed FFmpeg."""
    path = tmp_path / f'video{suffix}'
    path.symlink_to('/dev/full')
    frames = np.random.default_rng(0).integers(0, 256, (80, 48, 64, 3), np.uint8)
    with pytest.raises(FileError, match='cannot be written after .*No space left on device'):
        write_video(path, frames)


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / 'a').write_text('')
    with pytest.raises(OSError, match=r'a/b\.mp4 cannot be written after 0 frames'):
        write_video(tmp_path / 'a' / 'b.mp4', colored_frames())


def test_ten_frames_a_second_unless_told(tmp_path):
    with VideoWriter(tmp_path / 'a.mp4') as writer:
        for frame in colored_frames():
            writer.write(frame)
    times, rate = shown_at(writer.path)
    np.testing.assert_allclose(times, np.arange(5) / 10, atol=1e-9)
    assert rate == 10


@pytest.mark.parametrize(
    ('fps', 'suffix', 'fine'),
    [
        (0.001, '.mp4', True),
        (0.00099, '.mp4', False),
        (100_000, '.mp4', True),
        (100_001, '.mov', False),
        (1000, '.MKV', True),
        (1000.5, '.mkv', False),
        (1000, '.webm', True),
        (1001, '.WebM', False),
        (1001, '.m4v', True),
    ],
)
def test_frame_rates_up_to_what_files_keep(fps, suffix, fine):
    if fine:
        check_fps(fps, suffix)
    else:
        with pytest.raises(ValueError, match='fps must be 0.001 to'):
            check_fps(fps, suffix)
    if suffix == '.mp4' and not fine:
        with pytest.raises(ValueError, match='fps must be 0.001 to'):
            check_fps(fps)


@pytest.mark.parametrize(
    ('name', 'fps', 'rate', 'ticks'),
    [
        ('a.mp4', 25, 25, 90_000),
        ('a.mp4', 0.5, Fraction(1, 2), 90_000),
        ('a.mov', 30_000 / 1001, Fraction(30_000, 1001), 90_000),
        ('a.m4v', 24_000 / 1001, Fraction(24_000, 1001), 96_000),
        ('a.mkv', 25, 25, 1000),
        ('a.webm', 25, 25, 1000),
    ],
)
def test_clocks_of_files(tmp_path, name, fps, rate, ticks):
    """Times of 90,000 parts of a second or more where the container keeps them, rates of broadcasts exactly."""
    with av.open(str(write_video(tmp_path / name, colored_frames(), fps))) as file:
        stream = file.streams.video[0]
        assert stream.time_base == Fraction(1, ticks)
        if ticks != 1000:
            assert stream.average_rate == rate
        codec = stream.codec_context
        assert (codec.colorspace, codec.color_range, codec.color_primaries, codec.color_trc) == (1, 1, 1, 1), 'BT.709'


def test_the_encoder_is_told_the_number_of_its_threads_and_its_quality(tmp_path):
    data = write_video(tmp_path / 'a.mp4', colored_frames(2, 320, 240)).read_bytes()
    assert re.search(rb' threads=4 .* mbtree=0 .*crf=18\.0 ', data)


def test_a_writer_can_be_closed_twice_and_counts_what_it_wrote(tmp_path):
    writer = VideoWriter(tmp_path / 'a.mp4')
    assert writer.num_frames == 0
    for count, frame in enumerate(colored_frames(3), start=1):
        writer.write(frame)
        assert writer.num_frames == count
    writer.close()
    writer.close()
    assert len(VideoReader(writer.path)) == 3


@pytest.mark.parametrize(
    'frame',
    [
        np.zeros((48, 64, 3)),
        np.zeros((48, 64), np.uint8),
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((0, 64, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_not_written(tmp_path, frame):
    with VideoWriter(tmp_path / 'new' / 'deep' / 'a.mp4') as writer:
        for before in (0, 1):
            with pytest.raises(ValueError, match=r'A frame must be uint8 \[H, W, 3\] RGB, got'):
                writer.write(frame)
            assert writer.num_frames == before
            writer.write(colored_frames(1)[0])
    assert len(VideoReader(writer.path)) == 2
