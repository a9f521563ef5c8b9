"""Where exactly a drawn mask stops to pass for ids: shapes of which all that is counted is known."""

import contextlib

import cv2
import numpy as np
import pytest

from stt_mm.errors import InputError
from stt_mm.utils.drawn_masks import _solid, _worn, check_drawn, drop_void, made_for_ids
from stt_mm.utils.masks import voc_palette


def soft(lines, length, hard=0, ids=0):
    """Areas of 0 and 8 with ``lines`` pieces of id 1 between them, a pixel wide, of ``length`` pixels in all; an area
    that adds ``4 * hard`` pixels to the edges or so; and ``ids`` areas more."""
    mask = np.zeros((250, 400), np.uint8)
    mask[:200, 101:150] = 8
    row = 10
    for part in np.array_split(np.arange(length), lines):
        mask[row : row + len(part), 101] = 1
        row += len(part) + 5
    for number in range(ids):
        mask[220:230, 20 * number + 10 : 20 * number + 20] = 20 + 3 * number
    mask[:hard, 300:310] = 30
    return mask


def edges(mask):
    block = np.ones((3, 3), np.uint8)
    return np.count_nonzero(cv2.erode(mask, block) != cv2.dilate(mask, block))


def refused(mask, palette=None):
    try:
        check_drawn(mask, palette, 'a.png')
    except InputError:
        return True
    return False


@pytest.mark.parametrize(
    ('lines', 'length', 'ids', 'expected'),
    [
        (1, 65, 0, False),
        (1, 66, 0, True),  # Pixels between two others.
        (4, 40, 0, False),
        (5, 40, 0, True),  # Pieces.
        (5, 40, 2, True),
        (5, 40, 3, False),  # A quarter of the ids.
    ],
)
def test_smoothed_edges_are_counted_in_pixels_pieces_and_ids(lines, length, ids, expected):
    mask = soft(lines, length, ids=ids)
    if lines == 1:
        mask[100:, 101:150] = 0
        assert length > 0.07 * edges(mask), 'these are few among all edges'
    assert refused(mask) == expected


def test_seven_in_a_hundred_edges_may_lie_between_others():
    for length in (70, 100):
        few = [soft(1, length, hard) for hard in range(0, 200, 2)]
        few = [mask for mask in few if abs(length / edges(mask) - 0.07) < 0.01]
        assert len({refused(mask) for mask in few}) == 2
        for mask in few:
            assert refused(mask) == (length > 0.07 * edges(mask))


def test_specks_beside_the_next_id_are_of_a_jpeg():
    for count, number, expected in ((3, 6, True), (3, 4, True), (2, 6, False), (3, 7, False), (3, 3, False)):
        mask = np.zeros((60, 80), np.uint8)
        mask[10:40, 10:50] = 5
        for k in range(count):
            mask[10 + 6 * k : 12 + 6 * k, 50:52] = number
        assert refused(mask) == expected
        mask[50, 70] = number
        assert not refused(mask), 'one speck lies alone'
        mask[50, 70] = 0
        mask[mask == 0] = 9
        mask[:10, :20] = 0
        assert not refused(mask), 'a picture full of areas'


@pytest.mark.parametrize(('thin', 'expected'), [(9, True), (10, False)])
def test_specks_lie_beside_an_id_of_which_half_is_solid(thin, expected):
    mask = np.zeros((60, 80), np.uint8)
    mask[10:13, 10:13] = mask[20, 10 : 10 + thin] = 5
    mask[[10, 12, 11], [13, 13, 9]] = 6
    assert refused(mask) == expected


def patches(whole, half, single, others, pieces=1):
    """Areas of id 2 in one of id 1, with 4, 2, 1 and 0 corners on the grid of 8 pixels, and nothing between pieces."""
    mask = np.ones((17 * 16, 17 * 16), np.uint8)
    cells = iter([(16 * row, 16 * column) for row in range(16) for column in range(16)])
    for count, (top, left, bottom, right) in (
        (whole, (8, 8, 16, 16)),
        (half, (8, 8, 16, 13)),
        (single, (8, 8, 12, 13)),
        (others, (3, 3, 6, 7)),
    ):
        for _ in range(count):
            row, column = next(cells)
            mask[row + top : row + bottom, column + left : column + right] = 2
    for number in range(1, pieces):
        mask[17 * 16 - 3 * number] = 0
    return mask


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        ((2, 0, 1, 0), False),
        ((2, 1, 0, 0), True),  # 9 and 10 corners.
        ((3, 0, 0, 22), True),
        ((3, 0, 0, 23), False),  # 12 of 100 and of 104.
        ((3, 1, 0, 0, 3), False),
        ((3, 1, 1, 0, 3), True),  # 14 and 15 for three pieces.
        ((9, 1, 0, 0), False),
        ((4, 1, 0, 0), True),  # 38 of 40, as in a mask that was enlarged, and 18 of 20.
    ],
)
def test_corners_on_the_blocks_of_a_jpeg_are_counted(arguments, expected):
    mask = patches(*arguments)
    fault = _worn(mask, _solid(mask), np.unique(mask[mask > 0]))
    assert bool(fault) == expected
    whole, half, single, others, *_ = arguments
    if expected:
        assert fault.startswith(
            f'of the {4 * (whole + half + single + others)} corners of its areas {4 * whole + 2 * half + single} lie on'
        )


def bordered(size, top, left, height, width, border):
    """An object of id 1 with void all around it."""
    mask = np.zeros(size, np.uint8)
    mask[top - border : top + height + border, left - border : left + width + border] = 255
    mask[top : top + height, left : left + width] = 1
    return mask


@pytest.mark.parametrize(
    ('size', 'border', 'expected'),
    [((100, 300), 10, False), ((100, 300), 12, True), ((1000, 1200), 40, False), ((1000, 1200), 44, True)],
)
@pytest.mark.parametrize('place', ['inside', 'border'])
def test_void_is_as_thin_as_a_border(caplog, size, border, expected, place):
    height, width = int(0.6 * size[0]), int(0.6 * size[1])
    left = size[1] - border - width - (5 if place == 'inside' else 0)
    mask = bordered(size, border + 3, left, height, width, border)
    for rows in (slice(0, border + 3), slice(border + 3 + height, None)):  # Corners are thicker.
        mask[rows, :left] = mask[rows, left + width :] = 0
    void = np.count_nonzero(mask == 255)
    if expected:
        with pytest.raises(
            InputError,
            match=f'a.png: 255 beside other ids is void, but its {void} pixels .* '
            rf'other objects \({height * width} pixels\)',
        ):
            drop_void(mask, 'a.png')
    else:
        np.testing.assert_array_equal(drop_void(mask, 'a.png'), mask == 1)
        assert f'{void} pixels become background' in caplog.text


@pytest.mark.parametrize(('more', 'expected'), [(4, False), (5, True)])
def test_void_covers_no_more_than_what_it_borders(more, expected):
    mask = bordered((40, 60), 10, 10, 10, 10, 2)  # 100 pixels in 96.
    mask[22, 8 : 8 + more] = 255
    mask[30:, 40:] = 5  # Another object far away does not count.
    if expected:
        with pytest.raises(InputError, match='are no border'):
            drop_void(mask, 'a.png')
    else:
        assert not (drop_void(mask, 'a.png') == 255).any()


@pytest.mark.parametrize(('around', 'expected'), [(22, False), (21, True)])
def test_void_runs_along_half_of_the_outline(around, expected):
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 10:20] = 1
    mask[9, 9:21] = 255  # 12 of the 44 pixels around.
    mask[10 : 10 + around - 12, 9] = 255
    if expected:
        with pytest.raises(InputError, match='are no border'):
            drop_void(mask, 'a.png')
    else:
        np.testing.assert_array_equal(drop_void(mask, 'a.png'), mask == 1)


@pytest.mark.parametrize(('more', 'expected'), [(0, True), (1, False)])
def test_specks_have_eight_pixels_at_most(more, expected):
    mask = np.zeros((60, 80), np.uint8)
    mask[10:40, 10:50] = 5
    for top in (10, 20, 30):
        mask[top : top + 4, 50:52] = 6
    mask[34, 50 : 50 + more] = 6
    assert bool(_worn(mask, _solid(mask), np.array([5, 6]))) == expected


@pytest.mark.parametrize('rows', [slice(2, 5), slice(50, 53)])
def test_void_that_lies_apart_is_an_object(rows):
    mask = np.zeros((60, 60), np.uint8)
    mask[20:40, 20:40] = 1
    mask[rows, 10:13] = 255
    with pytest.raises(InputError, match='are no border'):
        drop_void(mask, 'a.png')


@pytest.mark.parametrize(('rows', 'expected'), [(15, True), (14, False)])
def test_specks_tell_where_a_quarter_is_background(rows, expected):
    mask = np.full((60, 80), 9, np.uint8)
    mask[:rows] = 0
    mask[20:50, 10:50] = 5
    mask[[20, 30, 40], 50] = 6
    assert bool(_worn(mask, _solid(mask), np.array([5, 6, 9]))) == expected


@pytest.mark.parametrize(
    ('first', 'second', 'expected'),
    [
        ((15, 15, 15), (9, 9, 9), False),
        ((16, 0, 0), (9, 9, 9), True),
        ((240, 255, 250), (9, 9, 9), False),
        ((239, 239, 239), (9, 9, 9), True),
        ((15, 15, 15), (0, 0, 0), True),
        ((255, 255, 255), (0, 0, 0), True),
        ((0, 0, 0), (0, 0, 0), False),
        ((0, 0, 0), (255, 255, 255), False),
        ((255, 0, 0), (255, 255, 255), True),
    ],
)
def test_the_background_is_about_black_or_white(first, second, expected):
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 10:30] = 1
    palette = np.zeros((256, 3), np.uint8)
    palette[0], palette[1] = first, second
    assert refused(mask, palette) == expected


def test_only_the_colours_that_occur_tell_what_a_palette_is_for():
    mask = np.array([[0, 1], [2, 0]], np.uint8)
    palette = voc_palette()
    palette[3:] = 1
    assert made_for_ids(mask, palette)
    assert not made_for_ids(mask, None)
    palette[2, 1] += 1
    assert not made_for_ids(mask, palette)


@pytest.mark.parametrize('channel', [None, 0, 1, 2])
def test_colours_between_others_are_smoothed_edges_whatever_their_numbers(channel):
    """A line of id 9 between 0 and 3: as numbers a ridge, in one colour of the palette a slope."""
    mask = np.zeros((100, 60), np.uint8)
    mask[:90, 30:] = 3
    mask[:90, 29] = 9
    palette = np.zeros((256, 3), np.uint8)
    if channel is not None:
        palette[9, channel], palette[3, channel] = 100, 255
    palette[9, 0 if channel else 1] = 255
    palette[3, 2 if channel == 0 else 0] = 255 if channel is None else 7
    assert refused(mask, palette) == (channel is not None)
    assert not refused(mask)


def test_a_mask_of_which_nothing_is_solid():
    assert not refused(np.eye(20, dtype=np.uint8))
    assert refused((np.arange(400) % 7).reshape(20, 20).astype(np.uint8))


@pytest.mark.parametrize('turn', range(4))
@pytest.mark.parametrize(('rows', 'refused'), [(1, False), (5, False), (6, True)])
def test_whole_rows_of_void_at_an_edge_are_padding(turn, rows, refused):
    mask = np.zeros((60, 80), np.uint8)
    mask[20:30, 20:30] = 1
    np.rot90(mask, turn)[:rows] = 255
    if refused:
        with pytest.raises(ValueError, match='no border around'):
            drop_void(mask, 'a.png')
    else:
        np.testing.assert_array_equal(drop_void(mask, 'a.png'), mask == 1)


@pytest.mark.parametrize(
    ('first', 'second', 'sigma'), [(0, 2, 2), (0, 2, 5), (0, 3, 3), (0, 5, 5), (3, 5, 5), (1, 3, 3)]
)
@pytest.mark.parametrize('place', [0, 1])
def test_an_id_that_is_only_a_wide_rim_is_told_of(first, second, sigma, place, caplog):
    mask = np.zeros((240, 320), np.uint8)
    cv2.ellipse(mask, (110, 120), (60, 40), 20, 0, 360, first, -1)
    cv2.ellipse(mask, (140 if first else 320 * place, 120), (40, 60), 0, 0, 360, second, -1)
    check_drawn(mask, None, 'a.png')
    assert not caplog.records
    smoothed = cv2.GaussianBlur(mask, (0, 0), sigma)
    with contextlib.suppress(InputError):  # Some of them can be told from objects, which have no such rims everywhere.
        check_drawn(smoothed, None, 'a.png')
        (record,) = caplog.records
        for number in sorted(set(range(first + 1, second)) - {first}):
            assert f'{number}' in record.message.split('lies')[0]


def test_walls_of_cavities_are_objects_and_told_of(caplog):
    mask = np.zeros((200, 300), np.uint8)
    cv2.circle(mask, (100, 100), 60, 1, -1)
    cv2.circle(mask, (100, 100), 40, 2, -1)  # A wheel in its tire.
    cv2.line(mask, (165, 100), (290, 20), 1, 3)
    cv2.ellipse(mask, (230, 120), (60, 50), 0, 0, 360, 3, -1)  # A rope behind something.
    check_drawn(mask, None, 'a.png')
    thin = np.zeros((200, 300), np.uint8)
    thin[50:150, 50:250] = 2
    thin[48:50, 50:250] = thin[150:152, 50:250] = 1  # Along two of four sides.
    check_drawn(thin, None, 'a.png')
    assert not caplog.records
    thin[50:150, 48:50] = thin[50:150, 250:252] = 1
    check_drawn(thin, None, 'a.png')
    assert 'a.png: id 1 lies as a thin rim between higher and lower ids' in caplog.text
