"""Points in the form of TAP-Vid: written frame by frame, read, and given where they are first seen."""

import numpy as np
import pytest

from stt_mm.errors import InputError, MissingInputError
from stt_mm.utils.point_file import (
    PointFileWriter,
    checked_tracks,
    given_points,
    npz_bytes,
    read_point_file,
    scaled,
    to_parts,
    to_pixels,
)

SIZE = (40, 60)


def test_what_is_written_is_read_and_given_again(tmp_path):
    path = tmp_path / 'new' / 'tracks.npz'
    frames = [[[5.0, 6.0]], [[7.5, 8.25], [59.0, 39.0]], [[-1.0, -1.0], [0.0, 0.0]]]
    with PointFileWriter(path) as file:
        for number, points in enumerate(frames):
            file.add(np.array(points), SIZE, np.array([True, False]) if number == 1 else None)
    points, occluded = read_point_file(path, 3)
    assert (points.dtype, points.shape) == (np.float32, (2, 3, 2))
    # The second point is not there before it is given; the first is hidden, then lost.
    assert occluded.tolist() == [[False, True, True], [True, False, False]]
    pixels = to_pixels(points, SIZE)
    np.testing.assert_allclose(pixels[0, :2], [[5, 6], [7.5, 8.25]], atol=1e-5)
    np.testing.assert_allclose(pixels[1, 1:], [[59, 39], [0, 0]], atol=1e-5)
    given = given_points(path, SIZE)
    assert list(given) == [0, 1]
    np.testing.assert_allclose(given[0], [[5, 6]], atol=1e-5)
    np.testing.assert_allclose(given[1], [[59, 39]], atol=1e-5)


def test_corners_of_the_picture_are_half_a_pixel_outside(tmp_path):
    np.testing.assert_allclose(to_pixels(np.array([[0.0, 0.0], [1.0, 1.0]]), SIZE), [[-0.5, -0.5], [59.5, 39.5]])
    points = np.random.default_rng(0).uniform(0, 30, (4, 2))
    np.testing.assert_allclose(to_pixels(to_parts(points, SIZE), SIZE), points)
    assert scaled(points, None, SIZE) is points
    assert scaled(points, SIZE, SIZE) is points
    np.testing.assert_allclose(scaled(points, (80, 120), SIZE), (points + 0.5) / 2 - 0.5)
    # A point on the very edge is given on the last pixel.
    (tmp_path / 'a.npz').write_bytes(npz_bytes(points=np.ones((1, 2, 2)), occluded=np.zeros((1, 2))))
    assert given_points(tmp_path / 'a.npz', SIZE)[0].tolist() == [[59, 39]]


def test_without_a_point_there_is_no_file(tmp_path):
    with PointFileWriter(tmp_path / 'a.npz') as file:
        file.add(np.empty((0, 2)), SIZE)
    assert not (tmp_path / 'a.npz').exists()
    with pytest.raises(InputError, match='Points are written as .npz'):
        PointFileWriter(tmp_path / 'a.json')


def test_what_is_no_such_file_is_named(tmp_path):
    path = tmp_path / 'a.npz'
    with pytest.raises(MissingInputError, match='no file'):
        read_point_file(path)
    for arrays, message in (
        (dict(points=np.zeros((2, 3, 2))), 'occluded must be numbers .N, 3. for 3 frames, got nothing'),
        (dict(occluded=np.zeros((2, 3))), 'points must be numbers'),
        (dict(points=np.zeros((2, 3, 2)), occluded=np.zeros((1, 3))), '2 points, but occlusions of 1'),
        (dict(points=np.full((2, 3, 2), 200.0), occluded=np.zeros((2, 3))), 'Divide positions in pixels'),
    ):
        path.write_bytes(npz_bytes(**arrays))
        with pytest.raises(InputError, match=message):
            read_point_file(path)
    path.write_bytes(npz_bytes(points=np.zeros((1, 3, 2)), occluded=np.ones((1, 3))))
    with pytest.raises(InputError, match='shows no point'):
        given_points(path, SIZE)
    with pytest.raises(InputError, match='for 4 frames'):
        read_point_file(path, 4)
    # Where a point is hidden its place is free.
    points, _ = checked_tracks(np.full((1, 3, 2), np.nan), np.ones((1, 3)), 3, 'here')
    assert np.isnan(points).all()
