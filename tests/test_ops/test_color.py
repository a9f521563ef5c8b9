import cv2
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from stt_mm.ops import drop_channels, rgb_to_lab

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
    scaled = (lab - torch.tensor([50., 0, 0])) / torch.tensor([50., 127, 127])
    assert_close(scaled, torch.tensor(normalised, dtype=torch.float32), rtol=0, atol=4e-3)


def test_whole_gamut_agrees_with_opencv():
    levels = np.linspace(0, 1, 18, dtype=np.float32)
    cube = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    expected = cv2.cvtColor(cube, cv2.COLOR_RGB2LAB)[0]
    ours = rgb_to_lab(torch.from_numpy(cube).permute(2, 0, 1))[:, 0].T.numpy()
    assert np.abs(ours - expected).max(0).tolist() < [0.3, 0.5, 0.4]


def test_flip_commutes_with_the_conversion():
    rgb = torch.rand(2, 3, 5, 7)
    assert_close(rgb_to_lab(rgb.flip(-1)), rgb_to_lab(rgb).flip(-1), rtol=0, atol=1e-4)


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
