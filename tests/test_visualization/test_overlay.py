import cv2
import numpy as np
import pytest

from stt_mm.utils import voc_palette
from stt_mm.utils.palette import display_colors
from stt_mm.visualization import comparison, draw_points, overlay, write_picture


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


def test_points_are_dots_in_the_colours_of_the_palette_on_a_white_rim():
    frame = grey(40, 60)
    frame.setflags(write=False)
    picture = draw_points(frame, np.array([[10, 20], [40.4, 10.6], [-1, -1]]))
    for index, (x, y) in enumerate([(10, 20), (40, 11)]):
        np.testing.assert_array_equal(picture[y - 2:y + 3, x - 2:x + 3],
                                      np.broadcast_to(voc_palette()[index + 1], (5, 5, 3)))
        assert picture[y, [x - 4, x + 4]].min() > 180, 'the rim is not white'
        np.testing.assert_array_equal(picture[[y - 7, y + 7], x], 100)
    changed = (picture != 100).any(-1)
    assert not changed[:, :4].any(), 'the lost point was drawn'


def test_dots_grow_with_the_picture():
    sizes = [(draw_points(grey(side, side), np.array([[side // 2] * 2])) != 100).any(-1).sum() for side in (50, 1000)]
    assert sizes[1] > 5 * sizes[0]


def test_a_point_at_the_border_is_drawn_as_far_as_it_goes():
    picture = draw_points(grey(20, 30), np.array([[29.4, 0.0]]))
    np.testing.assert_array_equal(picture[0, 29], voc_palette()[1])


@pytest.mark.parametrize('points', [np.zeros((2, 3)), np.zeros(2), np.zeros((256, 2))])
def test_points_of_another_shape(points):
    with pytest.raises(ValueError, match=r'points must be \[J, 2\]'):
        draw_points(grey(), points)


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


def test_every_id_is_seen_on_every_grey_and_told_from_the_others():
    colors = display_colors()
    assert len(np.unique(colors, axis=0)) == 256
    mask = np.kron(np.arange(1, 256, dtype=np.uint8)[:, None], np.ones((3, 3), np.uint8))
    for value in (0, 128, 255):
        inner = overlay(grey(*mask.shape, value), mask, alpha=0.5)[1::3, 1].astype(int)
        assert (inner.max(-1) - inner.min(-1)).min() >= 47


def test_the_object_of_a_mask_of_0_and_255_stands_out_on_a_bright_picture():
    mask = (square() > 0).astype(np.uint8) * 255
    drawn = overlay(grey(value=240), mask)[4, 5].astype(int)
    assert np.abs(drawn - 240).max() > 90


def test_vivid_colours_stay_those_of_davis():
    same = (display_colors() == voc_palette()).all(1)
    assert same[[1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13]].all()
    assert not same[[7, 8, 255]].any()
    assert same.sum() > 180
