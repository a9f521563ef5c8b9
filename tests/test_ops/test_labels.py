import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.testing import assert_close

from stt_mm.ops import label_to_mask, mask_to_label, normalise_label, resize_label, resize_mask_nearest


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


SIDES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@settings(deadline=None, max_examples=60)
@given(size=SIDES, new=SIDES, seed=st.integers(0, 99))
def test_the_pixel_at_or_before_is_that_of_whole_numbers(size, new, seed):
    values = np.random.default_rng(seed).random((2, *size))
    expected = np.zeros((2, *new))
    for i in range(new[0]):
        for j in range(new[1]):
            expected[:, i, j] = values[:, i * size[0] // new[0], j * size[1] // new[1]]
    assert np.array_equal(resize_mask_nearest(torch.from_numpy(values), new, 'floor').numpy(), expected)
    assert np.array_equal(resize_label(torch.from_numpy(values), new, 'nearest').numpy(), expected)


def test_the_two_rules_of_nearest_differ_on_grids_that_do_not_divide_the_mask():
    """By some per cent of the pixels on the grids of a frame of 480 x 854 at patch 16, and not at all on others."""
    label = torch.arange(30.0 * 54).view(1, 30, 54)
    first, second = resize_label(label, (480, 854), 'nearest')[0], resize_mask_nearest(label[0], (480, 854))
    assert 0.005 < (first != second).float().mean() < 0.04
    whole = resize_label(label, (480, 864), 'nearest')[0]
    assert torch.equal(whole, resize_mask_nearest(label[0], (480, 864)))


def bilinear_by_loops(label, new, aligned):
    """The four cells around each new centre; aligned: the outer centres lie on each other."""
    channels, *old = label.shape
    out = np.zeros((channels, *new))
    for i in range(new[0]):
        for j in range(new[1]):
            at = []
            for place, before, after in zip((i, j), old, new, strict=True):
                if aligned:
                    at.append(place * (before - 1) / (after - 1) if after > 1 else 0.0)
                else:
                    at.append(min(max((place + 0.5) * before / after - 0.5, 0.0), before - 1.0))
            for dy, wy in ((0, 1 - at[0] % 1), (1, at[0] % 1)):
                for dx, wx in ((0, 1 - at[1] % 1), (1, at[1] % 1)):
                    row, column = min(int(at[0]) + dy, old[0] - 1), min(int(at[1]) + dx, old[1] - 1)
                    out[:, i, j] += wy * wx * label[:, row, column]
    return out


@settings(deadline=None, max_examples=60)
@given(
    size=SIDES,
    new=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    rule=st.sampled_from(['bilinear', 'opencv', 'aligned']),
    seed=st.integers(0, 99),
)
def test_labels_between_cells(size, new, rule, seed):
    label = np.random.default_rng(seed).random((2, *size))
    expected = torch.from_numpy(bilinear_by_loops(label, new, rule == 'aligned'))
    assert_close(resize_label(torch.from_numpy(label), new, rule), expected, rtol=0, atol=1e-9)
    if rule == 'opencv':
        opened = cv2.resize(label.transpose(1, 2, 0), new[::-1]).reshape(*new, -1).transpose(2, 0, 1)
        assert_close(torch.from_numpy(np.ascontiguousarray(opened)), expected, rtol=0, atol=1e-5)


def test_aligned_labels_keep_the_corners_of_the_mask():
    mask = torch.zeros(9, 17, dtype=torch.uint8)
    mask[0, 0], mask[-1, -1] = 4, 5
    label, ids = mask_to_label(mask, (3, 5), 'aligned')
    assert ids == (0, 4, 5)
    assert label[1, 0, 0] == label[2, 2, 4] == 1
    one_hot = np.stack([mask.numpy() == number for number in ids]).astype(float)
    assert_close(label.double(), torch.from_numpy(bilinear_by_loops(one_hot, (3, 5), True)), rtol=0, atol=1e-6)


def test_channels_are_read_out_before_they_are_stretched():
    """Stretched after nearest the extremes are those of the cells that are read."""
    label = torch.tensor([[[0.2, 0.6, 0.4]], [[0.5, 0.5, 0.6]]])
    mask, value = label_to_mask([label], torch.tensor([0, 7]), (1, 2), read_out='nearest')
    # Pixel 0 reads cell 0 and pixel 1 cell 1: 0.2 and 0.6 become 0 and 1, the constant second channel 0.
    assert mask.tolist() == [[0, 0]]
    assert_close(value, torch.tensor([[0.0, 1.0]]))
    mask, _ = label_to_mask([label], torch.tensor([0, 7]), (1, 3), read_out='nearest')
    assert mask.tolist() == [[0, 0, 7]]


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


def test_each_group_is_read_by_itself_and_objects_compete_by_value():
    first = torch.tensor([[[0.1, 0.9, 0.9, 0.4, 0.55]], [[0.9, 0.1, 0.1, 0.6, 0.45]]])
    second = torch.tensor([[[0.9, 0.8, 0.2, 0.3, 0.40]], [[0.1, 0.2, 0.8, 0.7, 0.30]], [[0.0, 0.0, 0.0, 0.0, 0.30]]])
    ids = torch.tensor([0, 3, 5, 9])
    mask, value = label_to_mask([first, second], ids, (1, 5), min_max=False)
    # In the last cell both take the background for the best, though object 3 has more than the background of the other.
    assert mask.tolist() == [[3, 0, 5, 5, 0]]
    assert_close(value, torch.tensor([[0.9, 0.9, 0.8, 0.7, 0.55]]))
    equal, _ = label_to_mask([first, 1 * first], torch.tensor([0, 3, 5]), (1, 5), min_max=False)
    assert equal.tolist() == [[3, 0, 0, 3, 0]]


@pytest.mark.parametrize('min_max', [False, True])
@pytest.mark.parametrize('gain', [1, 1.05])
def test_a_group_that_comes_or_goes_changes_no_pixel_but_its_own(min_max, gain):
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        kinds = [[1, 2], [3], [4, 0, 5], [0, 6, 7, 8]]  # 0: a channel that reads as background
        labels = [torch.rand(1 + len(kind), 6, 7, generator=generator) ** 3 for kind in kinds]
        labels[1][1:] = 0  # an object that is lost

        def read(*which, labels=labels, kinds=kinds):
            ids = torch.tensor([0, *(number for n in which for number in kinds[n])], dtype=torch.uint8)
            return label_to_mask([labels[n] for n in which], ids, (13, 17), min_max, gain)[0]

        whole, found = read(0, 1, 2, 3), set()
        for left_out, kind in enumerate(kinds):
            rest = read(*(n for n in range(4) if n != left_out))
            its_own = torch.isin(whole, torch.tensor([number for number in kind if number], dtype=torch.uint8))
            assert torch.equal(rest[~its_own], whole[~its_own])
            alone = read(left_out)
            assert torch.equal(alone[its_own], whole[its_own])
            found |= set(whole[its_own].tolist())
        assert found == {1, 2, 4, 5, 6, 7, 8}


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
