import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize
from torch.testing import assert_close

from stt_mm.ops import cut_patches, grid_boxes, round_trips, transitions, walk_loss


def random_nodes(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def orthonormal(number, length, dtype=torch.float64):
    """Identical frames ``[1, length, number, number]`` whose nodes are the unit vectors."""
    return torch.eye(number, dtype=dtype).expand(1, length, -1, -1)


def step(a, b, temperature):
    """Probabilities of the steps from each row of ``a`` to the rows of ``b``, one exponential after the other."""
    weights = [[math.exp(sum(x * y for x, y in zip(m, n, strict=True)) / temperature) for n in b] for m in a]
    return [[weight / sum(row) for weight in row] for row in weights]


def slow_loss(clip, temperature, shortest):
    """Every walk of nodes that ends where it began, one after the other; ``clip`` is ``[T, N, D]``."""
    length, number, _ = clip.shape
    costs = []
    for steps in range(shortest, length):
        frames = [*range(steps + 1), *reversed(range(steps))]
        matrices = [step(clip[s].tolist(), clip[t].tolist(), temperature) for s, t in itertools.pairwise(frames)]
        for start in range(number):
            total = 0.0
            for between in itertools.product(range(number), repeat=len(matrices) - 1):
                walk = (start, *between, start)
                total += math.prod(
                    matrix[m][n] for matrix, (m, n) in zip(matrices, itertools.pairwise(walk), strict=True)
                )
            costs.append(-math.log(total))
    return np.mean(costs)


@given(
    seed=st.integers(0, 10**6),
    number=st.integers(1, 3),
    length=st.integers(2, 4),
    temperature=st.floats(0.05, 2),
    one_step=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_the_loss_is_that_of_all_walks_counted_one_by_one(seed, number, length, temperature, one_step):
    nodes = random_nodes(2, length, number, 3, seed=seed)
    trips = round_trips(nodes, temperature, one_step=one_step)
    shortest = 1 if one_step or length == 2 else 2
    assert trips.shape == (length - shortest, 2, number, number)
    expected = np.mean([slow_loss(clip, temperature, shortest) for clip in nodes.numpy()])
    assert walk_loss(trips).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize('one_step', [False, True])
def test_walks_that_know_nothing_cost_the_logarithm_of_the_number_of_nodes(one_step):
    nodes = random_nodes(1, 1, 1, 8).expand(2, 4, 49, 8)
    loss = walk_loss(round_trips(nodes, 0.05, one_step=one_step))
    assert loss.item() == pytest.approx(math.log(49), abs=1e-12)
    assert loss.item() == pytest.approx(3.8918, abs=5e-5)


def test_orthonormal_nodes_that_stay_cost_nothing_at_low_temperature():
    """A = (p - q) 1 + q J, so that the diagonal of A ** 2k is (1 + (N - 1) (p - q) ** 2k) / N."""
    losses = []
    for temperature in (0.2, 0.1, 0.05, 0.02):
        p, q = (math.exp(cosine / temperature) / (math.exp(1 / temperature) + 48) for cosine in (1, 0))
        expected = np.mean([-math.log((1 + 48 * (p - q) ** (2 * k)) / 49) for k in (2, 3)])
        losses.append(walk_loss(round_trips(orthonormal(49, 4), temperature)).item())
        assert losses[-1] == pytest.approx(expected, rel=1e-6, abs=1e-14)
        single = walk_loss(round_trips(orthonormal(49, 4, torch.float32), temperature)).item()
        assert single == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert losses == sorted(losses, reverse=True)
    # 4.9e-7 at CRW's temperature of 0.05.
    assert losses[2] == pytest.approx(5 * 48 * math.exp(-20), rel=1e-3)
    assert losses[3] < 1e-12


def test_rows_are_distributions_and_direction_matters():
    a, b = random_nodes(2, 1, 5, 4)[:, 0]
    there, back = transitions(a, b, 0.3), transitions(b, a, 0.3)
    assert_close(there.sum(-1), torch.ones(5, dtype=torch.float64))
    assert (there - back.T).abs().max() > 1e-3
    assert_close(there, torch.tensor(step(a.tolist(), b.tolist(), 0.3), dtype=torch.float64))


def test_dropped_edges_have_no_probability_and_their_part_goes_to_the_others():
    nodes = random_nodes(1, 1, 8).expand(1, 400, 49, 8).float()
    matrix = transitions(nodes, nodes, 0.05, 0.1, torch.Generator().manual_seed(0))
    dropped = matrix == 0
    # 960,400 edges: one standard deviation is 0.0003.
    assert dropped.float().mean() == pytest.approx(0.1, abs=0.0015)
    kept = (~dropped).sum(-1, keepdim=True)
    assert_close(matrix, (~dropped) / kept)
    again = transitions(nodes, nodes, 0.05, 0.1, torch.Generator().manual_seed(0))
    assert torch.equal(matrix, again)
    assert not torch.equal(matrix, transitions(nodes, nodes, 0.05, 0.1, torch.Generator().manual_seed(1)))


def test_the_way_back_drops_edges_of_its_own():
    """A node comes home if its own edge is kept in both directions: 0.81, against 0.9 if they were dropped together."""
    trips = round_trips(
        orthonormal(49, 2).expand(200, -1, -1, -1), 0.01, 0.1, generator=torch.Generator().manual_seed(0)
    )
    home = (trips.diagonal(dim1=-2, dim2=-1) > 0.5).double().mean()
    assert home.item() == pytest.approx(0.81, abs=0.02)


def test_rows_without_edges_are_flat_and_have_no_gradient():
    nodes = random_nodes(1, 3, 5, 4).float().requires_grad_()
    trips = round_trips(nodes, 0.05, edge_dropout=1.0)
    assert_close(trips, torch.full((1, 1, 5, 5), 0.2))
    walk_loss(trips).backward()
    assert torch.equal(nodes.grad, torch.zeros_like(nodes))


def test_many_dropped_edges_leave_a_finite_gradient():
    nodes = random_nodes(4, 4, 3, 4).float().requires_grad_()
    loss = walk_loss(round_trips(nodes, 0.05, 0.7, generator=torch.Generator().manual_seed(0)))
    loss.backward()
    assert 0 < loss < 46.06
    assert nodes.grad.isfinite().all()


def test_a_walk_that_cannot_return_costs_46():
    """Node 0 goes to the node that is nearer to node 1; the way back to node 0 has e ** -100, less than float32."""
    angle = math.acos(0.9)
    nodes = torch.tensor([[[math.cos(angle), math.sin(angle)], [1, 0]], [[1, 0], [-1, 0]]])[None].requires_grad_()
    loss = walk_loss(round_trips(nodes, 0.001))
    assert loss.item() == pytest.approx(20 * math.log(10) / 2, rel=1e-5)
    loss.backward()
    assert nodes.grad.isfinite().all()


def test_gradients_are_those_of_finite_differences():
    nodes = random_nodes(1, 3, 3, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda value: walk_loss(round_trips(value, 0.5, one_step=True)), nodes)


def test_one_frame_is_no_walk():
    with pytest.raises(ValueError, match='2 frames or more, got 1. Raise clip_length'):
        round_trips(random_nodes(2, 1, 5, 4), 0.05)


def test_the_grid_of_crw():
    boxes = grid_boxes((256, 256), 7).tolist()
    assert len(boxes) == 49
    assert boxes[0] == [0, 0, 64, 64]
    assert boxes[1] == [0, 32, 64, 64]
    assert boxes[7] == [32, 0, 64, 64]
    assert boxes[48] == [192, 192, 64, 64]
    assert grid_boxes((48, 96), 2).tolist() == [[0, 0, 32, 64], [0, 32, 32, 64], [16, 0, 32, 64], [16, 32, 32, 64]]


@pytest.mark.parametrize('size', [(56, 64), (64, 100), (32, 32), (0, 64)])
def test_frames_that_the_grid_does_not_fit(size):
    with pytest.raises(ValueError, match=f'multiples of 8 and at least 64, got {size[0]} x {size[1]}'):
        grid_boxes(size, 7)


def test_boxes_at_whole_pixels_are_copied():
    frames = torch.rand(2, 3, 48, 96)
    boxes = grid_boxes((48, 96), 2).expand(2, -1, -1).clone()
    boxes[1, 0] = torch.tensor([5.0, 7, 32, 64])
    patches = cut_patches(frames, boxes, (32, 64))
    assert patches.shape == (2, 4, 3, 32, 64)
    for frame, row in zip(range(2), boxes.int().tolist(), strict=True):
        for number, (top, left, height, width) in enumerate(row):
            expected = frames[frame, :, top : top + height, left : left + width]
            assert_close(patches[frame, number], expected, rtol=0, atol=1e-4)


def test_other_boxes_are_resized_about_their_centre():
    """Row and column as colours: a linear picture is interpolated exactly."""
    frame = torch.stack(torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing='ij'))[None]
    top, left, height, width = 3.25, 20.5, 12.0, 30.0
    patch = cut_patches(frame, torch.tensor([[[top, left, height, width]]]), (16, 16))[0, 0]
    places = (torch.arange(16) + 0.5) / 16
    rows, columns = top + places * height - 0.5, left + places * width - 0.5
    assert_close(patch, torch.stack(torch.meshgrid(rows, columns, indexing='ij')), rtol=0, atol=1e-4)


def test_a_patch_that_is_enlarged_repeats_the_border_of_the_frame():
    boxes = torch.tensor([[[0.0, 0.0, 5.0, 6.0], [5.0, 6.0, 5.0, 6.0]]])
    patch = cut_patches(torch.ones(1, 3, 10, 12), boxes, (20, 24))
    assert_close(patch, torch.ones(1, 2, 3, 20, 24))
