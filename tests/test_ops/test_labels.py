import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.testing import assert_close

from stt_mm.ops import label_to_mask, mask_to_label, normalise_label, resize_mask_nearest


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    new_height=st.integers(1, 120),
    new_width=st.integers(1, 120),
    seed=st.integers(0, 99),
)
def test_sampling_of_the_mask_is_that_of_pil(height, width, new_height, new_width, seed):
    mask = np.random.default_rng(seed).integers(0, 5, (height, width), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(mask).resize((new_width, new_height), Image.NEAREST))
    assert np.array_equal(resize_mask_nearest(torch.from_numpy(mask), (new_height, new_width)).numpy(), expected)
    label, ids = mask_to_label(torch.from_numpy(mask), (new_height, new_width))
    assert ids == (0, *sorted(set(expected.flatten().tolist()) - {0}))
    assert np.array_equal(torch.tensor(ids)[label.argmax(0)].numpy(), expected)
    assert torch.equal(label.sum(0), torch.ones(new_height, new_width))


@pytest.mark.parametrize('size', [(480, 854), (480, 910), (480, 1152), (560, 560)])
@pytest.mark.parametrize('stride', [4, 8])
def test_sampling_at_the_sizes_of_the_benchmarks(size, stride):
    mask = torch.from_numpy(np.random.default_rng(0).integers(0, 4, size, dtype=np.uint8))
    grid = -(-size[0] // stride), -(-size[1] // stride)
    # At these sizes torch's own rule takes the same pixels.
    expected = torch.nn.functional.interpolate(mask[None, None].float(), size=grid, mode='nearest-exact')[0, 0]
    assert torch.equal(resize_mask_nearest(mask, grid).float(), expected)


def test_bilinear_labels_are_the_mean_of_the_central_pixels():
    mask = torch.zeros(16, 16, dtype=torch.uint8)
    mask[3, 3:5] = 9
    label, ids = mask_to_label(mask, (2, 2), 'bilinear')
    assert ids == (0, 9)
    assert label[1].tolist() == [[0.5, 0.0], [0.0, 0.0]]
    assert_close(label.sum(0), torch.ones(2, 2))


def test_channels_are_stretched_unless_empty():
    label = torch.stack([torch.tensor([[0.2, 0.6]]), torch.zeros(1, 2), torch.full((1, 2), 0.5)])
    assert_close(normalise_label(label), torch.tensor([[[0.0, 1.0]], [[0.0, 0.0]], [[0.0, 0.0]]]))


def test_background_is_stretched_too_unless_asked_otherwise():
    label = torch.tensor([[[0.9, 0.8]], [[0.1, 0.2]]])
    mask, value = label_to_mask([label], torch.tensor([0, 7]), (1, 2))
    assert mask.tolist() == [[0, 7]]
    assert_close(value, torch.ones(1, 2))
    mask, value = label_to_mask([label], torch.tensor([0, 7]), (1, 2), min_max=False)
    assert mask.tolist() == [[0, 0]]
    assert_close(value, label[0])


def test_groups_compete_by_object_and_agree_on_the_background():
    first = torch.tensor([[[0.1, 0.9, 0.9, 0.4]], [[0.9, 0.1, 0.1, 0.6]]])
    second = torch.tensor([[[0.9, 0.8, 0.2, 0.3]], [[0.1, 0.2, 0.8, 0.7]]])
    mask, value = label_to_mask([first, second], torch.tensor([0, 3, 5]), (1, 4), min_max=False)
    assert mask.tolist() == [[3, 0, 5, 5]]
    assert_close(value, torch.tensor([[0.9, 0.8, 0.8, 0.7]]))


@pytest.mark.parametrize('stride', [2, 4, 8, 16])
def test_corners_are_the_pixels_where_the_cells_of_a_convolution_begin(stride):
    """Also of sides that are no multiple, and of few cells."""
    for side in range(1, 20 * stride):
        mask = torch.arange(side)[None]
        cells = -(-side // stride)
        label, ids = mask_to_label(mask, (1, cells), 'corner')
        assert ids == (0, *range(stride, side, stride))
        assert torch.equal(label.argmax(0)[0], torch.arange(cells))


def test_corners_of_patches():
    _, ids = mask_to_label(torch.arange(140)[None], (1, 10), 'corner')
    assert ids == tuple(range(0, 140, 14))
