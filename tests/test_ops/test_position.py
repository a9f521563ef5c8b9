"""Position maps: closed forms, other sizes, and moved places."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from stt_mm.ops import draw_permutations, draw_shifts, resize_map, shift_map, shuffle_map, sinusoids

DATA = Path(__file__).parents[1] / 'data'
SIDES = st.integers(1, 7)


def sines(channels, height, width):
    return sinusoids(channels, height, width, torch.device('cpu'), torch.float64)


@pytest.mark.parametrize('name', ['a', 'b'])
def test_sines_and_their_shifts_are_those_of_the_golden_file(name):
    data = np.load(DATA / f'liir_position_sin_{name}.npz')
    values = sines(*data['map'].shape)
    assert_close(values[0], torch.from_numpy(data['map']), rtol=0, atol=1e-10)
    moved = shift_map(values, torch.from_numpy(data['shifts']))
    for number, frame in enumerate(moved):
        assert_close(frame, torch.from_numpy(data[f'shift_{number}']), rtol=0, atol=1e-10)


def test_sines_are_rounded_once():
    single = sinusoids(8, 5, 300, torch.device('cpu'), torch.float32)
    assert torch.equal(single, sines(8, 5, 300).float())
    with pytest.raises(ValueError, match='a multiple of 4 channels, got 6'):
        sines(6, 2, 2)


@pytest.mark.parametrize('name', ['a', 'b'])
def test_other_sizes_are_those_of_the_golden_file(name):
    data = np.load(DATA / f'position_resize_{name}.npz')
    values = torch.from_numpy(data['map'])[None]
    sizes = [key for key in data.files if key.startswith('out_')]
    assert len(sizes) >= 3
    for key in sizes:
        size = [int(side) for side in key.removeprefix('out_').split('x')]
        assert_close(resize_map(values, size)[0], torch.from_numpy(data[key]), rtol=0, atol=1e-10)


def cubic_weights(source, target):
    """[target, source]: how much of each cell goes into one of the new ones, along one axis."""
    weights = torch.zeros(target, source, dtype=torch.float64)
    for new in range(target):
        place = (new + 0.5) * source / target - 0.5
        first = int(np.floor(place))
        for cell in range(first - 1, first + 3):
            x = abs(place - cell)
            near, far = 1.25 * x**3 - 2.25 * x**2 + 1, -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
            weights[new, min(max(cell, 0), source - 1)] += near if x <= 1 else far
    return weights


@settings(max_examples=30, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES)
def test_other_sizes_are_cubic_along_both_axes(height, width, rows, columns):
    values = torch.randn(1, 2, height, width, dtype=torch.float64)
    expected = cubic_weights(height, rows) @ values @ cubic_weights(width, columns).T
    assert_close(resize_map(values, (rows, columns)), expected, rtol=0, atol=1e-12)


def test_the_same_size_is_the_map_itself():
    values = torch.randn(1, 2, 3, 4)
    assert resize_map(values, (3, 4)) is values


@settings(max_examples=30, deadline=None)
@given(SIDES, SIDES, st.lists(st.tuples(st.integers(-20, 20), st.integers(-20, 20)), min_size=1, max_size=3))
def test_a_shift_is_what_its_definition_says(height, width, steps):
    values = torch.randn(1, 2, height, width)
    moved = shift_map(values, torch.tensor(steps))
    assert moved.shape == (len(steps), 2, height, width)
    for frame, (dy, dx) in zip(moved, steps, strict=True):
        for y in range(height):
            for x in range(width):
                assert torch.equal(frame[:, (y + dy) % height, (x + dx) % width], values[0, :, y, x])
    back = [shift_map(frame[None], -torch.tensor([step]))[0] for frame, step in zip(moved, steps, strict=True)]
    assert torch.equal(torch.stack(back), values.expand_as(moved))


@settings(max_examples=30, deadline=None)
@given(SIDES, SIDES, st.integers(1, 3), st.integers(0, 9))
def test_shuffling_puts_each_cell_where_the_permutation_says(height, width, count, seed):
    orders = draw_permutations(np.random.default_rng(seed), count, (height, width))
    values = torch.randn(1, 2, height, width)
    moved = shuffle_map(values, orders)
    for frame, order in zip(moved, orders, strict=True):
        assert sorted(order.tolist()) == list(range(height * width))
        for cell, source in enumerate(order.tolist()):
            taken = values[0, :, source // width, source % width]
            assert torch.equal(frame[:, cell // width, cell % width], taken)


def test_a_shift_is_one_of_the_orders():
    """Of two moved views of one map both have the same cells."""
    values, steps = torch.randn(1, 3, 4, 5), torch.tensor([[2, -1]])
    order = shift_map(torch.arange(20).view(1, 1, 4, 5), steps).flatten(1)
    assert torch.equal(shuffle_map(values, order), shift_map(values, steps))


def test_a_shift_keeps_neighbours_and_shuffling_does_not():
    values = torch.arange(128 * 128.0, dtype=torch.float64).view(1, 1, 128, 128)
    shifted = shift_map(values, torch.tensor([[37, 101]]))
    assert torch.equal(shift_map(shifted, torch.tensor([[-37, -101]])), values)
    shuffled = shuffle_map(values, draw_permutations(np.random.default_rng(0), 1, (128, 128)))
    for moved in (shifted, shuffled):
        assert torch.equal(moved.flatten().sort().values, values.flatten())
    for axis, step in ((2, 128), (3, 1)):
        assert (shifted.diff(dim=axis) == step).double().mean() == 126 / 127
        assert (shuffled.diff(dim=axis).abs() == step).double().mean() < 1e-3


def test_sines_start_at_0_and_each_half_knows_one_axis():
    values = sines(64, 128, 128)[0]
    assert values[:, 0, 0].tolist() == [0, 1] * 32
    assert values.abs().max() <= 1
    assert torch.equal(values[:32], values[:32, :1].expand(-1, 128, -1))
    assert torch.equal(values[32:], values[32:, :, :1].expand(-1, -1, 128))
    assert torch.equal(values[:32], values[32:].transpose(1, 2))


def test_draws_are_uniform_over_the_grid_and_repeatable():
    size = (3, 5)
    steps = draw_shifts(np.random.default_rng(0), 6000, size)
    assert steps.shape == (6000, 2)
    assert steps.dtype == torch.int64
    counts = torch.bincount(steps[:, 0] * size[1] + steps[:, 1], minlength=15)
    assert len(counts) == 15
    assert (counts - 400).abs().max() < 100  # five deviations of a binomial draw
    assert torch.equal(draw_shifts(np.random.default_rng(0), 6000, size), steps)
    orders = draw_permutations(np.random.default_rng(0), 6000, (2, 2))
    places = torch.stack([torch.bincount(column, minlength=4) for column in orders.T])
    assert (places - 1500).abs().max() < 170
    assert torch.equal(draw_permutations(np.random.default_rng(0), 6000, (2, 2)), orders)


@pytest.mark.parametrize('steps', [torch.zeros(2), torch.zeros(2, 2), torch.zeros(1, 3, dtype=torch.long)])
def test_steps_that_are_none_are_refused(steps):
    with pytest.raises(ValueError, match=r'steps must be integers \[B, 2\]'):
        shift_map(torch.zeros(1, 1, 2, 2), steps)


@pytest.mark.parametrize('orders', [torch.zeros(1, 4), torch.zeros(4, dtype=torch.long), torch.zeros(1, 3).long()])
def test_orders_of_another_grid_are_refused(orders):
    with pytest.raises(ValueError, match=r'permutations must be integers \[B, 4\] for a map of 2 x 2 cells'):
        shuffle_map(torch.zeros(1, 1, 2, 2), orders)
