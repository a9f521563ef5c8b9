import numpy as np
import pytest
from tiny_data import texture

from stt_mm.utils.masks import display_colors
from stt_mm.visualization import RIGHT, WRONG, draw_heat, draw_mark, draw_skeleton

SIZE = (120, 160)
GREY = np.full((*SIZE, 3), 128, np.uint8)


def test_the_largest_value_is_brightest_and_the_rest_is_dark_and_grey():
    heat = np.zeros(SIZE, np.float32)
    heat[40, 50], heat[40, 100] = 1e-4, 5e-5
    frame = texture(SIZE, 0)
    picture = draw_heat(frame, heat)
    assert np.ptp(picture[0], -1).max() == 0
    assert picture[0].max() < 0.56 * 256
    assert picture[40, 50, 0] > picture[40, 100, 0] > 120
    assert picture[40, 50].sum() > picture[40, 100].sum()
    assert np.array_equal(draw_heat(frame, 1e4 * heat), picture)
    assert np.array_equal(draw_heat(frame, 0 * heat)[0], picture[0])


@pytest.mark.parametrize('color', [RIGHT, WRONG])
def test_a_ring_leaves_its_middle_free_and_a_dot_does_not(color):
    ring, dot = (draw_mark(GREY, np.array([80.4, 60.0]), color, filled) for filled in (False, True))
    assert ring[60, 80].tolist() == [128] * 3
    assert dot[60, 80].tolist() == list(color)
    for picture in (ring, dot):
        assert (picture == color).all(-1).any()
        assert (picture == 255).all(-1).any()
        rows, columns = (picture != 128).any(-1).nonzero()
        assert rows.min() + rows.max() == 2 * 60
        assert columns.min() + columns.max() == 2 * 80
    assert (GREY == 128).all()


def test_bones_join_joints_that_are_there():
    points = np.full((15, 2), -1.0)
    points[[0, 2, 3]] = (40, 60), (40, 20), (100, 60)
    picture = draw_skeleton(GREY, points)
    colors = display_colors()
    assert picture[40, 40].tolist() == colors[3].tolist()  # face on neck
    assert picture[60, 70].tolist() == colors[4].tolist()  # right shoulder
    points[7] = 140, 100  # of the right elbow, which joins the shoulder
    assert draw_skeleton(GREY, points)[80, 120].tolist() == colors[8].tolist()
    points[3] = np.nan
    assert np.array_equal(draw_skeleton(GREY, points)[60, 70], GREY[60, 70])


def test_other_joints_have_no_bones():
    points = np.array([(40.0, 60), (100, 60)])
    assert np.array_equal(draw_skeleton(GREY, points)[60, 70], GREY[60, 70])
    assert (draw_skeleton(GREY, points)[60, 40] == display_colors()[1]).all()


@pytest.mark.parametrize(
    ('draw', 'message'),
    [
        (lambda: draw_heat(GREY, np.zeros((3, 3))), r'heat must be \[120, 160\]'),
        (lambda: draw_heat(GREY.astype(float), np.zeros(SIZE)), 'uint8'),
        (lambda: draw_mark(GREY[0], np.zeros(2), RIGHT), 'uint8'),
        (lambda: draw_skeleton(GREY, np.zeros((3, 3))), r'points must be \[J, 2\]'),
    ],
)
def test_what_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
