import cv2
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from stt_mm.ops import (
    COLORS,
    bytes_to_input,
    color_centres,
    drop_channels,
    image_to_input,
    nearest_centre,
    normalise_frames,
    rgb_to_lab,
)

KNOWN = {
    (255, 0, 0): (0.0648, 0.6307, 0.5292),
    (0, 255, 0): (0.7548, -0.6786, 0.6549),
    (0, 0, 255): (-0.3541, 0.6235, -0.8493),
    (255, 255, 255): (1, 0, 0),
    (0, 0, 0): (-1, 0, 0),
    (128, 128, 128): (0.0717, 0, 0),
}


@pytest.mark.parametrize(('rgb', 'normalised'), KNOWN.items())
def test_known_colours(rgb, normalised):
    lab = rgb_to_lab(torch.tensor(rgb).view(3, 1, 1) / 255).flatten()
    scaled = (lab - torch.tensor([50.0, 0, 0])) / torch.tensor([50.0, 127, 127])
    assert_close(scaled, torch.tensor(normalised, dtype=torch.float32), rtol=0, atol=4e-3)


def test_whole_gamut_agrees_with_opencv():
    levels = np.linspace(0, 1, 18, dtype=np.float32)
    cube = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    expected = cv2.cvtColor(cube, cv2.COLOR_RGB2LAB)[0]
    ours = rgb_to_lab(torch.from_numpy(cube).permute(2, 0, 1))[:, 0].T.numpy()
    assert (np.abs(ours - expected).max(0) < [0.3, 0.5, 0.4]).all()


def lab_by_hand(rgb):
    """sRGB to XYZ to Lab, number by number, with the constants of the standards."""
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in rgb]
    rows = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
    xyz = [
        sum(factor * value for factor, value in zip(row, linear, strict=True)) / white
        for row, white in zip(rows, (0.950456, 1, 1.088754), strict=True)
    ]
    x, y, z = (value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116 for value in xyz)
    return [116 * y - 16 if xyz[1] > 0.008856 else 903.3 * xyz[1], 500 * (x - y), 200 * (y - z)]


@pytest.mark.parametrize('scale', [0.03, 0.06, 0.1, 0.15, 1.0])
def test_lab_equals_its_definition_in_the_dark_and_in_the_light(scale):
    rgb = scale * torch.rand(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = rgb_to_lab(rgb.T[:, None])[:, 0].T
    assert_close(found, torch.tensor([lab_by_hand(row) for row in rgb.tolist()], dtype=torch.float64))


def test_flip_commutes_with_the_conversion():
    rgb = torch.rand(2, 3, 5, 7)
    assert_close(rgb_to_lab(rgb.flip(-1)), rgb_to_lab(rgb).flip(-1), rtol=0, atol=1e-4)


@pytest.mark.parametrize('value', [0.0, 1e-4, 0.003, 0.04045, 0.5, 1.0])
def test_the_gradient_is_that_of_finite_differences_from_black_to_white(value):
    rgb = torch.full((3, 1, 1), value, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(rgb_to_lab, rgb).view(3, 3)
    # Downwards, as white is the end of the range; at black upwards.
    step = 1e-6 if value == 0 else -1e-6
    moved = torch.stack(
        [rgb_to_lab(rgb + step * unit.view(3, 1, 1)).flatten() for unit in torch.eye(3, dtype=torch.float64)], dim=1
    )
    assert_close(jacobian, (moved - rgb_to_lab(rgb).view(3, 1)) / step, rtol=1e-3, atol=1e-2)


HALF = ((0.5, 0.4, 0.3), (0.5, 0.25, 2.0))


@pytest.mark.parametrize('color', [*COLORS, HALF])
def test_a_picture_becomes_what_the_frames_of_training_become(color):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    found = image_to_input(image, color)
    assert (found.shape, found.dtype) == ((3, 5, 7), torch.float32)
    expected = normalise_frames(torch.from_numpy(image).permute(2, 0, 1) / 255, color)
    # Lab differs by the tables of OpenCV, and its lightness by their rounding to bytes.
    tolerance = dict(lab=0.01, lightness=1 / 256 / 0.224).get(color if isinstance(color, str) else None, 1e-6)
    assert_close(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ('color', 'expected'),
    [
        ('rgb', [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]),
        ('rgb_dino', [(1 - 0.485) / 0.228, -0.456 / 0.224, -0.406 / 0.225]),
        ('lab', KNOWN[255, 0, 0]),
        # L of red is 53.24 of 100, which is byte 136.
        ('lightness', [(136 / 256 - mean) / std for mean, std in zip(*COLORS['lightness'], strict=True)]),
        (HALF, [1.0, -1.6, -0.15]),
    ],
)
def test_a_red_picture_becomes_known_numbers(color, expected):
    found = image_to_input(np.array([[[255, 0, 0]]], np.uint8), color)
    assert found.flatten().tolist() == pytest.approx(expected, abs=2e-3)


def test_dropping_one_channel_enlarges_the_others_and_keeps_the_original():
    frames = torch.randn(2, 2, 3, 4, 4)
    before = frames.clone()
    dropped = torch.tensor([False, True, False])
    student = drop_channels(frames, dropped)
    assert torch.equal(frames, before)
    assert not student[:, :, 1].any()
    assert_close(student[:, :, [0, 2]], 1.5 * frames[:, :, [0, 2]])
    per_sample = drop_channels(frames, torch.tensor([[False, True, False], [False, False, True]]))
    assert torch.equal(per_sample[0], student[0])
    assert not per_sample[1, :, 2].any()
    assert torch.equal(drop_channels(frames, dropped, rescale=False)[:, :, 0], frames[:, :, 0])


@pytest.mark.parametrize(
    ('dropped', 'factors'),
    [
        ([False, False, False], [1, 1, 1]),
        ([False, True, True], [3, 0, 0]),
        ([True, False, False], [0, 1.5, 1.5]),
        ([True, True, True], [0, 0, 0]),
    ],
)
def test_what_is_kept_makes_up_for_what_is_dropped(dropped, factors):
    frames = torch.randn(2, 2, 3, 4, 5)
    expected = frames * torch.tensor(factors)[:, None, None]
    assert_close(drop_channels(frames, torch.tensor(dropped)), expected)
    assert_close(drop_channels(frames, torch.tensor([dropped, [True, True, False]]))[0], expected[0])


@pytest.mark.parametrize('color', [*COLORS, HALF])
def test_a_gpu_makes_of_bytes_what_the_host_makes(color):
    image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    image[0, 0], image[0, 1] = 0, 255
    found = bytes_to_input(torch.from_numpy(image), color)
    assert torch.equal(found, image_to_input(image, color))
    # Convolutions round differently in another memory layout.
    assert found.stride() == image_to_input(image, color).stride()


def test_the_centres_of_colours_are_those_of_k_means():
    """Each is the mean of the colours that are nearest to it; one is near grey, and all lie in the gamut."""
    centres = torch.tensor(color_centres(16), dtype=torch.float64)
    assert color_centres(16) == color_centres(16)
    assert centres.norm(dim=1).min() < 0.05
    assert torch.pdist(centres).min() > 0.1
    levels = torch.linspace(0, 1, 16, dtype=torch.float64)
    rgb = torch.stack(torch.meshgrid(levels, levels, levels, indexing='ij')).flatten(2)
    lab = normalise_frames(rgb, 'lab')
    numbers = nearest_centre(lab[None], color_centres(16))[0, 0]
    for number, centre in enumerate(centres):
        mean = lab[1:, numbers == number].mean(1)
        assert (mean - centre).abs().max() < 0.02
    distances = torch.cdist(lab[1:].flatten(1).T, centres)
    assert torch.equal(distances.argmin(1), numbers.flatten())
