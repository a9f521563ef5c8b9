"""The codecs against the definitions in pure Python, closed forms, and what they do to positions."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from stt_mm.ops import gaussian_maps, label_to_points, points_to_label
from stt_mm.ops.points import rescale_points

IMAGE, INPUT, GRID = (240, 320), (320, 320), (40, 40)
GAUSS = math.exp(-2)  # one sigma of 0.5 cells is half a cell, so the next cell is two sigma away


def drawn_by_hand(x, y, size, sigma):
    """The patch of a Gaussian, pixel by pixel; ``int`` rounds towards 0."""
    height, width = size
    left, top = int(x - 3 * sigma), int(y - 3 * sigma)
    right, bottom = int(x + 3 * sigma + 1), int(y + 3 * sigma + 1)
    centre = int(6 * sigma + 1) // 2
    image = [[0.0] * width for _ in range(height)]
    for v in range(max(top, 0), min(bottom, height)):
        for u in range(max(left, 0), min(right, width)):
            image[v][u] = math.exp(-((u - left - centre) ** 2 + (v - top - centre) ** 2) / (2 * sigma**2))
    return image


def read_by_hand(channel, topk):
    """Weighted mean of the coordinates of the largest values of a channel without equal values."""
    cells = [(value, x, y) for y, row in enumerate(channel.tolist()) for x, value in enumerate(row)]
    best = sorted(cells, reverse=True)[:topk]
    total = sum(value for value, _, _ in best)
    return [sum(value * cell[axis] for value, *cell in best) / total for axis in (0, 1)]


positions = st.floats(-40, 80, width=32)


@settings(max_examples=150, deadline=None)
@given(x=positions, y=positions, height=st.integers(1, 40), width=st.integers(1, 50), sigma=st.sampled_from([4.0, 0.5]))
@example(x=-12.5, y=4.0, height=20, width=20, sigma=4.0)
@example(x=0.0, y=31.999, height=20, width=20, sigma=4.0)
def test_gaussians_are_drawn_pixel_by_pixel(x, y, height, width, sigma):
    maps = gaussian_maps(torch.tensor([[x, y], [3.0, 2.0]]), (height, width), sigma)
    assert_close(maps[0].tolist(), drawn_by_hand(x, y, (height, width), sigma), rtol=0, atol=1e-15)
    assert_close(maps[1].tolist(), drawn_by_hand(3, 2, (height, width), sigma), rtol=0, atol=1e-15)


def test_positions_are_rounded_towards_the_border_only_near_it():
    points = torch.tensor([[20.9, 30.2], [12.0, 5.3], [0.4, 0.0]])
    maps = gaussian_maps(points, (60, 60), 4.0)
    assert [divmod(int(channel.argmax()), 60) for channel in maps] == [(30, 20), (6, 12), (0, 1)]
    assert_close(maps.amax((1, 2)), torch.ones(3, dtype=torch.float64))
    row = maps[0, 30]
    assert row[7] == row[33] == 0
    assert_close(row[[8, 24, 32]], torch.tensor([math.exp(-4.5), math.exp(-0.5), math.exp(-4.5)]).double())


def test_a_patch_of_four_by_four_cells_on_the_grid_of_crw():
    label = points_to_label(torch.tensor([[160.0, 120.0]]), IMAGE, INPUT, GRID, 'grid')
    assert label.shape == (2, 40, 40)
    assert label.dtype == torch.float32
    rows, columns = label[1].nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (18, 21, 18, 21)
    profile = torch.tensor([GAUSS**4, GAUSS, 1.0, GAUSS])
    assert_close(label[1, 18:22, 18:22], profile[:, None] * profile)
    assert torch.equal(label[0], (label[1] == 0).float())


@pytest.mark.parametrize('size', [(320, 320), (120, 480), (101, 203)])
def test_the_resize_to_the_input_is_that_of_opencv(size):
    points = torch.tensor([[33.3, 200.0], [310.0, 7.0], [150.0, 100.0]])
    maps = np.ascontiguousarray(gaussian_maps(points, IMAGE, 4.0).permute(1, 2, 0))
    expected = cv2.resize(maps, size[::-1], interpolation=cv2.INTER_LINEAR)
    label = points_to_label(points, IMAGE, size, size, 'image')
    assert_close(label.permute(1, 2, 0).numpy(), expected.astype(np.float32), rtol=0, atol=3e-6)


def test_the_grid_of_stt_takes_the_mean_of_the_four_pixels_in_the_middle_of_a_cell():
    points = torch.tensor([[33.3, 200.0], [310.0, 7.0]])
    large = points_to_label(points, IMAGE, INPUT, INPUT, 'image')
    blocks = large.view(2, 40, 8, 40, 8)[:, :, 3:5, :, 3:5]
    assert_close(points_to_label(points, IMAGE, INPUT, GRID, 'image'), blocks.mean((2, 4)))


def test_each_axis_has_its_own_stride_on_a_grid_that_is_not_square():
    # The input has twice the height and four times the width of the frame, cells are 8 x 16 pixels of it: 4 x 4 of
    # the frame.
    label = points_to_label(torch.tensor([[100.0, 36.0]]), (160, 160), (320, 640), (40, 40), 'grid')
    assert divmod(int(label[1].argmax()), 40) == (9, 25)
    # In a frame of 240 x 320 and an input of 160 x 480 joint (96, 36) is at (144, 24); cells are 8 x 8 pixels of it.
    label = points_to_label(torch.tensor([[96.0, 36.0]]), (240, 320), (160, 480), (20, 60), 'grid')
    assert label.shape == (2, 20, 60)
    assert divmod(int(label[1].argmax()), 60) == (3, 18)
    # Cells of 4 x 16 pixels of the input.
    label = points_to_label(torch.tensor([[96.0, 36.0]]), (240, 320), (160, 480), (40, 30), 'grid')
    assert divmod(int(label[1].argmax()), 30) == (6, 9)


@pytest.mark.parametrize('codec', ['image', 'grid'])
def test_a_joint_in_a_frame_and_a_grid_that_are_not_square_comes_back(codec):
    points = torch.tensor([[500.0, 40.0], [60.0, 200.0]])
    image, grid = (240, 640), (20, 60)
    label = points_to_label(points, image, (160, 480), grid, codec)
    assert label.shape == (2 + (codec == 'grid'), 20, 60)
    error = (label_to_points(label, image, INPUT, codec) - points).abs()
    assert (error <= 1.5 * torch.tensor([640 / 60, 240 / 20])).all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), height=st.integers(2, 12), width=st.integers(2, 12), joints=st.integers(1, 4))
def test_joints_are_read_as_the_weighted_mean_of_the_largest_values(seed, height, width, joints):
    label = torch.rand(joints + 1, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    read = label_to_points(label, (height, width), INPUT, 'image')
    assert_close(read, torch.tensor([read_by_hand(channel, 5) for channel in label]).double())
    read = label_to_points(label, (height * 8, width * 6), INPUT, 'grid')
    expected = torch.tensor([read_by_hand(channel, 3) for channel in label[1:]]).double()
    assert_close(read, expected * torch.tensor([6.0, 8.0]))


@pytest.mark.parametrize('codec', ['image', 'grid', 'input'])
@pytest.mark.parametrize('topk', [1, 3, 5, 1000])
def test_any_number_of_largest_values_is_read(codec, topk):
    label = torch.rand(4, 9, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    read = label_to_points(label, (9, 11), (9, 11), codec, topk)
    expected = [read_by_hand(channel, topk) for channel in (label[1:] if codec == 'grid' else label)]
    assert_close(read, torch.tensor(expected).double())


@pytest.mark.parametrize('codec', ['image', 'grid', 'input'])
def test_a_gaussian_of_any_width_is_drawn(codec):
    points = torch.tensor([[12.0, 10.0]])
    label = points_to_label(points, (24, 24), (24, 24), (24, 24), codec, 1.5)[-1]
    for dy in range(-8, 9):
        for dx in range(-8, 9):
            near = max(abs(dy), abs(dx)) <= 4
            expected = np.exp(-(dy**2 + dx**2) / (2 * 1.5**2)) if near else 0.0
            # The patch begins at a whole cell, so that its peak may lie one cell before the point.
            found = [label[10 + dy - shift, 12 + dx - shift].item() for shift in (0, 1)]
            assert any(value == pytest.approx(expected, abs=1e-6) for value in found) or not near


def test_stt_reads_at_the_original_size():
    # A ramp of cells at pixel centres 1.5, 5.5, 9.5, 13.5: by bilinear interpolation pixel x from 6 to 9 holds
    # 1 + (x - 5.5) / 4 and so on up to pixel 13, then the value stays at that of the last cell, 4.
    label = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]], dtype=torch.float64)
    best = {11: 3.375, 12: 3.625, 13: 3.875, 14: 4.0, 15: 4.0}
    expected = sum(x * value for x, value in best.items()) / sum(best.values())
    assert_close(label_to_points(label, (1, 16), INPUT, 'image').tolist(), [[expected, 0.0]])


def test_the_errors_of_the_codecs():
    """Ground truth through the codecs, in pixels; root mean squares over the grid are those of the released code."""
    points = torch.rand(500, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([290.0, 210.0]) + 15
    error = {}
    for codec, grid in (('image', INPUT), ('image', GRID), ('grid', GRID)):
        label = points_to_label(points, IMAGE, INPUT, grid, codec)
        error[codec, grid] = label_to_points(label, IMAGE, INPUT, codec) - points
    # Truncation alone: uniform between -1 and 0.
    assert_close(error['image', INPUT].mean(0), torch.full((2,), -0.5), rtol=0, atol=0.05)
    assert_close(error['image', INPUT].std(0), torch.full((2,), 12**-0.5), rtol=0, atol=0.02)
    assert_close(error['image', GRID].mean(0), torch.full((2,), -0.5), rtol=0, atol=0.15)
    assert_close(error['image', GRID].square().mean(0).sqrt(), torch.tensor([2.0, 1.2]), rtol=0, atol=0.1)
    assert_close(error['grid', GRID].square().mean(0).sqrt(), torch.tensor([2.6, 1.9]), rtol=0, atol=0.2)


@pytest.mark.parametrize('codec', ['image', 'grid'])
def test_joints_that_are_not_in_the_frame_are_lost(codec):
    nan, inf = math.nan, math.inf
    points = torch.tensor([[-40.0, 100.0], [nan, nan], [100.0, nan], [100.0, 1e9], [-inf, 5.0], [100.0, 100.0]])
    label = points_to_label(points, IMAGE, INPUT, GRID, codec)
    assert label.isfinite().all()
    read = label_to_points(label, IMAGE, INPUT, codec)
    assert read[:-1].tolist() == [[-1.0, -1.0]] * 5
    assert (read[-1] - 100).abs().max() < 8


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(0, 1, width=32),
    y=st.floats(0, 1, width=32),
    height=st.integers(60, 300),
    width=st.integers(60, 300),
    codec=st.sampled_from(['image', 'grid']),
)
def test_a_joint_in_a_frame_of_any_size_comes_back_within_one_and_a_half_cells(x, y, height, width, codec):
    points = torch.tensor([[x * (width - 1), y * (height - 1)]])
    label = points_to_label(points, (height, width), INPUT, GRID, codec)
    error = (label_to_points(label, (height, width), INPUT, codec) - points)[0].abs()
    # STT: half a cell, half a pixel of the truncation, and less resolution where a cell is narrow.
    assert error[0] <= max(1.5 * width / 40, 4)
    assert error[1] <= max(1.5 * height / 40, 4)


def test_a_grid_whose_cells_are_not_square():
    """Frame 240 x 320, input 120 x 240, grid 10 x 40: cells of 12 x 6 pixels of the input, of 24 x 8 of the frame."""
    sizes = (IMAGE, (120, 240), (10, 40))
    label = points_to_label(torch.tensor([[164.0, 108.0]]), *sizes, 'grid')
    assert_close(label[1].tolist(), drawn_by_hand(164 / 8, 108 / 24, (10, 40), 0.5), rtol=0, atol=1e-6)
    assert_close(label_to_points(label, IMAGE, INPUT, 'grid'), torch.tensor([[164.0, 108.0]]), rtol=0, atol=12)
    label = points_to_label(torch.tensor([[164.0, 108.0]]), *sizes, 'image')
    row, column = divmod(int(label[0].argmax()), 40)
    assert (row, column) == (108 // 24, 164 // 8)


def test_arguments():
    with pytest.raises(ValueError, match=r"codec must be one of 'image', 'grid', 'input', got 'uvc'"):
        points_to_label(torch.zeros(1, 2), IMAGE, INPUT, GRID, 'uvc')
    with pytest.raises(ValueError, match=r'\[J, 2\].*\[2, 15\]'):
        points_to_label(torch.zeros(2, 15), IMAGE, INPUT, GRID, 'image')
    with pytest.raises(ValueError, match=r'\[K, h, w\].*\[40, 40\]'):
        label_to_points(torch.zeros(40, 40), IMAGE, INPUT, 'grid')


@pytest.mark.parametrize('codec', ['image', 'grid'])
def test_positions_are_computed_in_double_precision(codec):
    """Where a position in cells is half way between two, single precision would round to either side."""
    points = torch.cartesian_prod(torch.arange(0, 240, 4.0), torch.arange(0, 240, 60.0))
    sizes = (240, 240), (320, 320), (30, 30)
    labels = [points_to_label(value, *sizes, codec) for value in (points, points.double())]
    assert torch.equal(*labels)
    assert labels[0].dtype == labels[1].dtype == torch.float32


def test_points_beyond_the_border_lie_on_it():
    """An input of twice the frame's size, where the border is half a pixel away from the centres at it."""
    places = torch.tensor([[0.0, 0.0], [191.0, 127.0], [0.0, 64.0], [64.0, 127.0]])
    label = torch.zeros(5, 128, 192)
    for channel, (x, y) in enumerate(places.int().tolist()):
        label[channel, y, x] = 1
    points = label_to_points(label, (64, 96), (128, 192), 'input')
    assert points.tolist() == [[0, 0], [95, 63], [0, 31.75], [31.75, 63], [-1, -1]]


@pytest.mark.parametrize('kind', [torch.float32, torch.bfloat16])
def test_points_at_the_size_of_the_input_come_back_from_labels_of_any_type(kind):
    points = torch.tensor([[31.75, 31.75], [70.2, 20.1]])
    label = points_to_label(points, (64, 96), (128, 192), (16, 24), 'input').to(kind)
    assert_close(label_to_points(label, (64, 96), (128, 192), 'input').float(), points, rtol=0, atol=2)
    # Around whole pixels, so that where they lie in theirs makes no difference.
    near = points_to_label(points + 0.1, (64, 96), (128, 192), (16, 24), 'input')
    assert torch.equal(near, points_to_label(points, (64, 96), (128, 192), (16, 24), 'input'))


def test_points_keep_their_place_in_a_picture_of_another_size():
    # Pixel 3 becomes pixels 6 and 7 where there are twice as many; its centre is between theirs.
    points = torch.tensor([[0.0, 3.0], [3.5, 1.0]])
    assert_close(rescale_points(points, (4, 10), (8, 5)), torch.tensor([[-0.25, 6.5], [1.5, 2.5]]))
    assert_close(rescale_points(rescale_points(points, (4, 10), (8, 5)), (8, 5), (4, 10)), points)
