import cv2
import numpy as np
import pytest
from mmengine.logging import MMLogger

from stt_mm.utils import VideoReader, voc_palette
from stt_mm.visualization import comparison, overlay, write_picture, write_video


def grey(height: int = 8, width: int = 10, value: int = 100) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.uint8)


def square() -> np.ndarray:
    mask = np.zeros((8, 10), dtype=np.uint8)
    mask[2:7, 3:8] = 2
    return mask


def test_background_stays_and_inner_pixels_are_mixed_with_the_palette():
    frame, mask = grey(), square()
    picture = overlay(frame, mask, alpha=0.25)
    np.testing.assert_array_equal(picture[mask == 0], frame[mask == 0])
    # Three quarters of grey 100 and one quarter of the dark green of id 2.
    np.testing.assert_array_equal(picture[3:6, 4:7], np.broadcast_to([75, 107, 75], (3, 3, 3)))


def test_contour_is_one_pixel_inside_the_object():
    picture = overlay(grey(), square(), alpha=0.0)
    white = (picture == 255).all(axis=-1)
    expected = square() > 0
    expected[3:6, 4:7] = False
    np.testing.assert_array_equal(white, expected)


def test_the_edge_of_the_picture_is_no_contour():
    everything = np.full((8, 10), 1, dtype=np.uint8)
    np.testing.assert_array_equal(overlay(grey(), everything, alpha=1.0), np.broadcast_to(voc_palette()[1], (8, 10, 3)))


def test_touching_objects_are_separated():
    mask = np.full((8, 10), 1, dtype=np.uint8)
    mask[:, 5:] = 2
    white = (overlay(grey(), mask) == 255).all(axis=-1)
    np.testing.assert_array_equal(np.flatnonzero(white.all(axis=0)), [4, 5])
    assert white.sum() == 16


def test_arguments_are_not_written_to():
    frame, mask = grey(), square()
    frame.setflags(write=False)
    mask.setflags(write=False)
    assert overlay(frame, mask).flags.writeable


@pytest.mark.parametrize(
    ('frame', 'mask', 'alpha', 'message'),
    [
        (grey(), np.zeros((4, 5), np.uint8), 0.5, 'resize_mask'),
        (grey(), np.zeros((8, 10), np.int64), 0.5, 'int64'),
        (grey().astype(np.float32), square(), 0.5, 'float32'),
        (grey()[..., 0], square(), 0.5, r'\[8, 10\]'),
        (grey(), square(), 1.5, 'alpha'),
    ],
)
def test_overlay_refuses_what_does_not_fit(frame, mask, alpha, message):
    with pytest.raises(ValueError, match=message):
        overlay(frame, mask, alpha)


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
    with pytest.raises(ValueError, match='frame 2 .*one size'):
        write_video(tmp_path / 'video.mp4', frames)


@pytest.mark.parametrize(
    ('name', 'frames', 'fps', 'message'),
    [('a.mp4', [], 10, 'no frames'), ('a.gif', colored_frames(1), 10, r'\.mp4 or \.avi'),
     ('a.mp4', colored_frames(1), 0, 'fps')],
)
def test_video_arguments_out_of_range(tmp_path, name, frames, fps, message):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / name, frames, fps)


def test_comparison_places_every_picture_and_its_label():
    rows = [('first', [grey(20, 30, 10 * i + 10) for i in range(3)]),
            ('second', [grey(20, 30, 10 * i + 110) for i in range(3)])]
    picture = comparison(rows, ['frame 0', 'frame 5', 'frame 10'])
    for value, (row, column) in {10: (0, 0), 20: (0, 1), 30: (0, 2), 110: (1, 0), 120: (1, 1), 130: (1, 2)}.items():
        found = np.argwhere((picture == value).all(axis=-1))
        # The grey of a letter's edge may have the same value; the picture itself is a full rectangle.
        ys, xs = np.unique(found[:, 0], return_counts=True), np.unique(found[:, 1], return_counts=True)
        inside = (ys[0][ys[1] >= 30].min(), xs[0][xs[1] >= 20].min())
        assert (picture[inside[0]:inside[0] + 20, inside[1]:inside[1] + 30] == value).all()
        assert column * 30 <= inside[1] < (column + 1) * 30 + 20
        assert (inside[0] > 70) == bool(row)
    strips = (picture.min(axis=-1) < 128).any(axis=1)
    assert strips[:20].any(), 'the columns have no captions'


def test_comparison_grows_with_rows_and_columns_only():
    one = comparison([('a', [grey()])], ['x'])
    two = comparison([('a', [grey()]), ('b', [grey()])], ['x'])
    assert two.shape[1] == one.shape[1]
    assert two.shape[0] > one.shape[0] + 8


def test_long_labels_shrink_instead_of_being_cut():
    picture = comparison([('a label that is far too long for this', [grey()])], ['x'])
    np.testing.assert_array_equal(picture[:, -2:], 255)


@pytest.mark.parametrize(
    ('rows', 'columns', 'message'),
    [([], ['x'], '0 rows'), ([('a', [grey()])], ['x', 'y'], "'a' has 1 pictures for 2"),
     ([('a', [grey()]), ('b', [grey(4, 4)])], ['x'], "row 'b'.*one size")],
)
def test_comparison_refuses_what_does_not_fit(rows, columns, message):
    with pytest.raises(ValueError, match=message):
        comparison(rows, columns)


def test_picture_keeps_red_red(tmp_path):
    picture = grey()
    picture[..., 0] = 250
    path = write_picture(tmp_path / 'new' / 'a.png', picture)
    np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], picture)
    with pytest.raises(ValueError, match=r'\.png or \.jpg'):
        write_picture(tmp_path / 'a.tiff', picture)
