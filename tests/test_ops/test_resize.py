"""Frames at another size, against filters by loops."""

import math

import numpy as np
import pytest
from PIL import Image

from stt_mm.ops import resize_frame


def cubic(x):
    """Keys' kernel with a = -0.5."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def bicubic_line(line, new):
    """One line of bytes: the kernel is as wide as a new pixel where that is larger; rounded and clipped to 8 bits."""
    scale = len(line) / new
    width = max(scale, 1.0)
    out = []
    for i in range(new):
        centre = (i + 0.5) * scale
        first, last = max(0, int(centre - 2 * width + 0.5)), min(len(line), int(centre + 2 * width + 0.5))
        weights = [cubic((k + 0.5 - centre) / width) for k in range(first, last)]
        value = sum(w * int(line[first + k]) for k, w in enumerate(weights)) / sum(weights)
        out.append(min(255, max(0, math.floor(value + 0.5))))
    return out


@pytest.mark.parametrize('new', [(7, 9), (18, 40), (31, 25), (40, 55), (1, 1), (12, 20), (44, 8)])
def test_bicubic_smooths_where_it_makes_smaller_and_rounds_to_bytes(new):
    image = np.random.default_rng(0).integers(0, 256, (18, 25, 3), np.uint8)
    found = resize_frame(image, new, 'bicubic')
    assert (found.shape, found.dtype) == ((*new, 3), np.uint8)
    differences = []
    for channel in range(3):
        rows = image[:, :, channel]
        if new[1] != 25:
            rows = np.array([bicubic_line(row, new[1]) for row in rows])
        columns = rows.T
        if new[0] != 18:
            columns = np.array([bicubic_line(column, new[0]) for column in columns])
        differences.append(np.abs(found[:, :, channel].astype(int) - columns.T.astype(int)))
    # First along the rows, but not in all versions where only the columns become shorter. Pillow's weights are whole
    # multiples of 2 ** -22: what lies between two bytes goes either way.
    assert np.max(differences) <= 1
    assert np.mean(differences) < 0.01


def bilinear_by_loops(image, new):
    """The four pixels around each new centre, whatever the factor."""
    height, width = image.shape[:2]
    out = np.zeros((*new, 3))
    for i in range(new[0]):
        for j in range(new[1]):
            y = min(max((i + 0.5) * height / new[0] - 0.5, 0), height - 1)
            x = min(max((j + 0.5) * width / new[1] - 0.5, 0), width - 1)
            top, left = int(y), int(x)
            for dy, wy in ((0, 1 - (y - top)), (1, y - top)):
                for dx, wx in ((0, 1 - (x - left)), (1, x - left)):
                    row, column = min(top + dy, height - 1), min(left + dx, width - 1)
                    out[i, j] += wy * wx * image[row, column]
    return out


@pytest.mark.parametrize('new', [(5, 9), (30, 40), (12, 7)])
def test_bilinear_does_not_smooth(new):
    image = np.random.default_rng(0).integers(0, 256, (18, 25, 3), np.uint8)
    assert np.abs(resize_frame(image, new) - bilinear_by_loops(image, new)).max() <= 1
    smooth = np.asarray(Image.fromarray(image).resize(new[::-1], Image.BILINEAR)).astype(int)
    assert bool(np.abs(resize_frame(image, new) - smooth).max() > 10) is (min(new) < 18)


@pytest.mark.parametrize('rule', ['bilinear', 'bicubic'])
def test_a_frame_of_the_right_size_is_left_alone(rule):
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    assert resize_frame(image, (7, 9), rule) is image
