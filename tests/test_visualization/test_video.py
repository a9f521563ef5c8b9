import cv2
import numpy as np
import pytest
from mmengine.logging import MMLogger

from stt_mm.utils import VideoReader
from stt_mm.visualization import VideoWriter, write_video


def colored_frames(count: int = 5, height: int = 48, width: int = 64) -> list[np.ndarray]:
    frames = [np.zeros((height, width, 3), np.uint8) for _ in range(count)]
    for index, frame in enumerate(frames):
        frame[..., 0] = 40 * (index + 1)
        frame[..., 2] = 20
    return frames


@pytest.mark.parametrize('suffix', ['.mp4', '.avi'])
def test_video_comes_back_with_its_colours_in_order(tmp_path, suffix):
    frames = colored_frames()
    path = write_video(tmp_path / 'new' / f'video{suffix}', iter(frames), fps=5)
    assert path == tmp_path / 'new' / f'video{suffix}'
    reader = VideoReader(path)
    assert len(reader) == 5
    for index, frame in enumerate(frames):
        # Compression costs a few grey levels; red and blue swapped would cost 20 or more.
        np.testing.assert_allclose(reader.read(index).mean(axis=(0, 1)), frame[0, 0], atol=6)


def test_odd_sizes_are_padded_not_refused(tmp_path):
    path = write_video(tmp_path / 'odd.mp4', colored_frames(2, 47, 63))
    assert VideoReader(path).read(0).shape == (48, 64, 3)


class _Broken:
    """A VideoWriter without the encoders named in ``missing``."""

    missing: tuple[str, ...] = ()
    real = cv2.VideoWriter

    def __new__(cls, path, fourcc, fps, size):
        name = ''.join(chr(fourcc >> shift & 255) for shift in (0, 8, 16, 24))
        return cls.real() if name in cls.missing else cls.real(path, fourcc, fps, size)


def test_without_mpeg4_an_avi_is_written_and_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(_Broken, 'missing', ('mp4v',))
    monkeypatch.setattr(cv2, 'VideoWriter', _Broken)
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        path = write_video(tmp_path / 'video.mp4', colored_frames())
    finally:
        logger.removeHandler(caplog.handler)
    assert path == tmp_path / 'video.avi'
    assert [entry.name for entry in tmp_path.iterdir()] == ['video.avi']
    assert len(VideoReader(path)) == 5
    assert 'video.avi' in caplog.text


def test_without_any_encoder_the_error_names_the_file_and_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(_Broken, 'missing', ('mp4v', 'MJPG'))
    monkeypatch.setattr(cv2, 'VideoWriter', _Broken)
    with pytest.raises(OSError, match=r'video\.mp4.*mp4v, MJPG.*pip install'):
        write_video(tmp_path / 'video.mp4', colored_frames())
    assert not list(tmp_path.iterdir())


def test_video_of_frames_of_different_sizes_names_the_frame(tmp_path):
    frames = [*colored_frames(2), np.zeros((32, 32, 3), np.uint8)]
    with pytest.raises(ValueError, match='Frame 2 .*one size'):
        write_video(tmp_path / 'video.mp4', frames)
    assert len(VideoReader(tmp_path / 'video.mp4')) == 2, 'the frames before it are lost'


@pytest.mark.parametrize(
    ('name', 'frames', 'fps', 'message'),
    [('a.mp4', [], 10, 'no frames'), ('a.gif', colored_frames(1), 10, r'\.mp4 or \.avi'),
     ('a.mp4', colored_frames(1), 0, 'fps')],
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


def test_frame_rate_is_that_of_the_file(tmp_path):
    capture = cv2.VideoCapture(str(write_video(tmp_path / 'a.mp4', colored_frames(), 12.5)))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(12.5)
    capture.release()
