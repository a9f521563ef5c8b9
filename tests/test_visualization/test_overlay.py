import cv2
import numpy as np
import pytest

from stt_mm.utils import voc_palette
from stt_mm.utils.masks import display_colors
from stt_mm.visualization import draw_points, overlay, write_comparison


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
        np.testing.assert_array_equal(
            picture[y - 2 : y + 3, x - 2 : x + 3], np.broadcast_to(voc_palette()[index + 1], (5, 5, 3))
        )
        assert picture[y, [x - 4, x + 4]].min() > 180, 'the rim is not white'
        np.testing.assert_array_equal(picture[[y - 7, y + 7], x], 100)
    changed = (picture != 100).any(-1)
    assert not changed[:, :4].any(), 'the lost point was drawn'


@pytest.mark.parametrize(('size', 'radius'), [((40, 60), 3), ((300, 900), 3), ((460, 420), 4), ((1200, 1000), 10)])
def test_dots_have_a_hundredth_of_the_short_side_as_radius_and_a_rim_of_a_pixel(size, radius):
    drawn = draw_points(grey(*size), np.array([[25, 20]]))[20, 25 - radius - 3 :]
    inner, rim = (drawn[: 2 * radius + 7] == voc_palette()[1]).all(-1), (drawn[: 2 * radius + 7] != 100).any(-1)
    assert (np.flatnonzero(inner)[[0, -1]] - 3).tolist() == [0, 2 * radius]
    assert (np.flatnonzero(rim)[[0, -1]] - 3).tolist() in ([-1, 2 * radius + 1], [-2, 2 * radius + 2])


def test_a_coordinate_of_0_is_in_the_picture_and_a_negative_one_or_none_is_lost():
    for point, drawn in (([0, 5], True), ([5, 0], True), ([-0.4, 5], False), ([5, -0.4], False), ([np.nan, 5], False)):
        assert (draw_points(grey(), np.array([point])) != 100).any() == drawn


@pytest.mark.parametrize(('number', 'color'), [(255, 255), (256, 1), (280, 25)])
def test_any_number_of_points_is_drawn(number, color):
    assert (draw_points(grey(), np.full((number, 2), 4.0))[4, 4] == display_colors()[color]).all()


def test_colours_are_half_opaque_unless_told():
    frame, mask = grey(), square()
    np.testing.assert_array_equal(overlay(frame, mask), overlay(frame, mask, alpha=0.5))
    for alpha in (0, 1):
        overlay(frame, mask, alpha)
    with pytest.raises(ValueError, match=r'alpha must be 0 to 1, got -0\.1'):
        overlay(frame, mask, -0.1)


def test_dots_grow_with_the_picture():
    sizes = [(draw_points(grey(side, side), np.array([[side // 2] * 2])) != 100).any(-1).sum() for side in (50, 1000)]
    assert sizes[1] > 5 * sizes[0]


def test_a_point_at_the_border_is_drawn_as_far_as_it_goes():
    picture = draw_points(grey(20, 30), np.array([[29.4, 0.0]]))
    np.testing.assert_array_equal(picture[0, 29], voc_palette()[1])


@pytest.mark.parametrize('points', [np.zeros((2, 3)), np.zeros(2)])
def test_points_of_another_shape(points):
    with pytest.raises(ValueError, match=r'points must be \[J, 2\]'):
        draw_points(grey(), points)
    with pytest.raises(ValueError, match=r'must be uint8 \[H, W, 3\] RGB, got int64'):
        draw_points(grey().astype(np.int64), np.zeros((1, 2)))


def test_comparison_places_every_picture_under_its_labels(tmp_path):
    values = np.arange(40, 220, 30).reshape(2, 3)
    rows = [(name, [grey(20, 30, value) for value in row]) for name, row in zip('ab', values, strict=True)]
    picture = cv2.imread(str(write_comparison(tmp_path / 'a.png', rows, ['frame 0', 'frame 5', 'frame 10'])))
    boxes = {}
    for place, value in np.ndenumerate(values):
        ys, xs = np.nonzero(cv2.erode((picture == value).all(-1).astype(np.uint8), np.ones((9, 9))))
        boxes[place] = ys.min(), ys.max(), xs.min(), xs.max()
        assert len(ys) == (np.ptp(ys) + 1) * (np.ptp(xs) + 1) > 10_000
    for (row, column), (top, _, left, _) in boxes.items():
        assert column == 0 or boxes[row, column - 1][3] < left
        assert row == 0 or boxes[row - 1, column][1] < top
        above = picture[boxes[0, column][1] + 9 if row else 0 : top - 9]
        assert row and column or (above < 128).any(), 'nothing stands above the picture'
    with pytest.raises(OSError, match=r'b\.png .*cannot be written'):
        write_comparison(tmp_path / 'a.png' / 'b.png', rows, list('xyz'))
    with pytest.raises(ValueError, match='shorter'):
        write_comparison(tmp_path / 'b.png', rows, ['x', 'y'])


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


def test_colours_stay_as_they_were():
    """So that pictures of one video, made by two versions, can be compared."""
    colors, numbers = display_colors(), [255, 7, 8, 14, 15, 239, 240, 247, 248]
    assert (colors != voc_palette()).any(1).sum() == 60
    assert colors[numbers].tolist() == [
        [255, 46, 255],
        [46, 255, 255],
        [255, 116, 255],
        [116, 255, 255],
        [116, 116, 255],
        [162, 255, 23],
        [255, 0, 23],
        [0, 255, 23],
        [255, 46, 209],
    ]
