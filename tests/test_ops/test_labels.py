import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.testing import assert_close

from stt_mm.ops import label_to_mask, mask_to_label, normalise_label


@settings(deadline=None, max_examples=40)
@given(height=st.integers(8, 90), width=st.integers(8, 90), stride=st.sampled_from([2, 4, 8]), seed=st.integers(0, 99))
def test_sampling_of_the_mask_is_that_of_pil(height, width, stride, seed):
    mask = np.random.default_rng(seed).integers(0, 5, (height, width), dtype=np.uint8)
    size = -(-height // stride), -(-width // stride)
    expected = np.asarray(Image.fromarray(mask).resize(size[::-1], Image.NEAREST))
    label = mask_to_label(torch.from_numpy(mask), size)
    assert np.array_equal(label.argmax(0).numpy(), expected)
    assert label.shape[0] == expected.max() + 1
    assert torch.equal(label.sum(0), torch.ones(size))


@pytest.mark.parametrize('size', [(480, 854), (480, 910), (480, 1152), (560, 560)])
def test_sampling_at_the_sizes_of_the_benchmarks(size):
    mask = np.random.default_rng(0).integers(0, 4, size, dtype=np.uint8)
    grid = -(-size[0] // 8), -(-size[1] // 8)
    expected = np.asarray(Image.fromarray(mask).resize(grid[::-1], Image.NEAREST))
    assert np.array_equal(mask_to_label(torch.from_numpy(mask), grid).argmax(0).numpy(), expected)


def test_channels_are_stretched_unless_empty():
    label = torch.stack([torch.tensor([[0.2, 0.6]]), torch.zeros(1, 2), torch.full((1, 2), 0.5)])
    assert_close(normalise_label(label), torch.tensor([[[0.0, 1.0]], [[0.0, 0.0]], [[0.0, 0.0]]]))


def test_background_is_stretched_too():
    label = torch.tensor([[[0.9, 0.8]], [[0.1, 0.2]]])
    assert label_to_mask(label, (1, 2)).tolist() == [[0, 1]]
