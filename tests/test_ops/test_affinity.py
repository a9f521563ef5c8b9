import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from twins import affinity_by_cells, dense_affinity, dense_mask, distinctive, pool_dense, to_dense

from stt_mm.ops import (
    global_affinity,
    local_affinity,
    local_correlation,
    pool_local_affinity,
    reconstruct,
    streamed_log_sum_exp,
    window_mask,
)

double = dict(dtype=torch.float64)


@settings(deadline=None, max_examples=25)
@given(height=st.integers(1, 21), width=st.integers(1, 21), radius=st.integers(0, 5), seed=st.integers(0, 99))
def test_local_affinity_equals_the_masked_full_matrix(height, width, radius, seed):
    query, key = torch.randn(2, 2, 4, height, width, generator=torch.Generator().manual_seed(seed), **double)
    affinity = local_affinity(query, key, radius, 0.5)
    assert_close(to_dense(affinity, (height, width)), dense_affinity(query, key, radius, 0.5), rtol=0, atol=1e-12)
    assert_close(affinity.sum(-1), torch.ones(2, height * width, **double))
    assert not affinity[:, ~window_mask(height, width, radius)].any()


@pytest.mark.parametrize(('height', 'width', 'radius'), [(5, 6, 2), (17, 20, 3), (33, 18, 4), (1, 7, 2)])
def test_gradients_equal_those_of_the_full_matrix(height, width, radius):
    query, key = (torch.randn(2, 3, height, width, requires_grad=True, **double) for _ in range(2))
    value = torch.randn(2, 2, height, width, **double)
    windowed = reconstruct(local_affinity(query, key, radius, 0.7), value)
    dense = (dense_affinity(query, key, radius, 0.7) @ value.flatten(2).transpose(1, 2)).transpose(1, 2)
    assert_close(windowed.flatten(2), dense)
    for ours, twin in zip(
        torch.autograd.grad(windowed.square().sum(), (query, key)),
        torch.autograd.grad(dense.square().sum(), (query, key)),
        strict=True,
    ):
        assert_close(ours, twin)


def test_correlation_passes_gradcheck():
    query, key = (torch.randn(1, 2, 4, 5, requires_grad=True, **double) for _ in range(2))
    assert torch.autograd.gradcheck(lambda q, k: local_correlation(q, k, 2), (query, key))


@pytest.mark.parametrize(
    ('radius', 'grid', 'counts', 'total'), [(12, 64, (625, 325, 169), 2085136), (6, 32, (169, 91, 49), 139876)]
)
def test_window_mask_counts(radius, grid, counts, total):
    cells = window_mask(grid, grid, radius).sum(-1).view(grid, grid)
    assert (cells[grid // 2, grid // 2], cells[0, grid // 2], cells[0, 0]) == counts
    assert cells.sum() == total
    dense = dense_mask(grid, grid, radius)
    assert torch.equal(dense, dense.T)


def test_flat_features_spread_evenly_over_the_cells_inside_the_frame():
    affinity = local_affinity(torch.zeros(1, 4, 32, 32), torch.zeros(1, 4, 32, 32), 6, 0.5).view(32, 32, 169)
    assert_close(affinity[16, 16], torch.full((169,), 1 / 169))
    assert_close(affinity[0, 0].max(), torch.tensor(1 / 49))
    assert not affinity.isnan().any()


def test_scale_is_one_over_the_temperature():
    query, key = torch.randn(2, 1, 16, 6, 6)
    assert torch.equal(local_affinity(query, key, 2, 16**-0.5), local_affinity(query / 4, key, 2, 1.0))


@pytest.mark.parametrize(('shift', 'radius', 'found'), [((3, -5), 6, 1.0), ((6, 6), 6, 1.0), ((7, 0), 6, 0.0)])
def test_a_shifted_frame_is_matched_where_the_window_reaches(shift, radius, found):
    reference = distinctive(64, 32, 32)
    target = torch.roll(reference, shift, (2, 3))
    affinity = local_affinity(target, reference, radius, 1.0).view(32, 32, 13, 13)
    inner = slice(8, -8)
    best = affinity[inner, inner].flatten(2).argmax(-1)
    expected = (radius - shift[0]) * 13 + radius - shift[1]
    assert (best == expected).float().mean() == found
    if found:
        colours = torch.rand(1, 3, 32, 32)
        rebuilt = reconstruct(affinity.view(1, 1024, 169), colours)
        assert (rebuilt - torch.roll(colours, shift, (2, 3)))[..., inner, inner].abs().max() < 1e-5


def test_global_affinity_is_query_by_key():
    query, key = distinctive(16, 2, 3), distinctive(16, 2, 3, seed=1)
    key[0, :, 1, 2] = query[0, :, 0, 1]
    affinity = global_affinity(query, key, 1.0)
    assert affinity.shape == (1, 6, 6)
    assert affinity[0, 1].argmax() == 5
    assert_close(affinity.sum(-1), torch.ones(1, 6))


def test_half_precision_features_are_computed_in_float32():
    query, key = torch.randn(2, 1, 512, 8, 8).mul(30).half()
    affinity = local_affinity(query, key, 2, 1.0)
    assert affinity.dtype == torch.float32
    assert affinity.isfinite().all()


def test_mismatched_shapes_and_radii_are_refused():
    with pytest.raises(ValueError, match=r'\(1, 2, 3, 3\) and \(1, 2, 3, 4\)'):
        local_affinity(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 4), 1, 1.0)
    with pytest.raises(ValueError, match='radius must be at least 0'):
        local_affinity(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3), -1, 1.0)
    with pytest.raises(ValueError, match='must share one shape, got'):
        local_affinity(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 4), None, 1.0)
    with pytest.raises(ValueError, match="border must be .* got 'other'"):
        local_affinity(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3), 1, 1.0, 'other')
    with pytest.raises(ValueError, match='even grid of 9'):
        pool_local_affinity(torch.zeros(1, 9, 9), (3, 3))


@settings(deadline=None, max_examples=15)
@given(rows=st.integers(1, 5), columns=st.integers(1, 5), radius=st.integers(1, 5), seed=st.integers(0, 99))
def test_pooling_inside_windows_equals_block_means_of_the_full_matrix(rows, columns, radius, seed):
    size = 2 * rows, 2 * columns
    query, key = torch.randn(2, 1, 3, *size, generator=torch.Generator().manual_seed(seed), **double)
    affinity = local_affinity(query, key, radius, 1.0)
    pooled = pool_local_affinity(affinity, size)
    assert_close(to_dense(pooled, (rows, columns)), pool_dense(to_dense(affinity, size), size), rtol=0, atol=1e-12)
    assert_close(pooled.sum(-1), torch.full((1, rows * columns), 0.25, **double))
    assert_close(pool_local_affinity(affinity, size, keep_mass=True).sum(-1), torch.ones(1, rows * columns, **double))


def test_support_of_the_pooled_window_is_the_coarse_window():
    fine = local_affinity(torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64), 12, 1.0)
    pooled = pool_local_affinity(fine, (64, 64))
    assert pooled.shape == (1, 1024, 169)
    assert torch.equal(pooled[0] > 0, window_mask(32, 32, 6))


@pytest.mark.parametrize(
    ('shift', 'cells'),
    [
        ((4, -6), {(2, -3): 0.25}),
        ((3, 0), {(1, 0): 0.125, (2, 0): 0.125}),
        ((3, 5), {(1, 2): 0.0625, (1, 3): 0.0625, (2, 2): 0.0625, (2, 3): 0.0625}),
    ],
)
def test_a_shift_is_pooled_to_half_of_it(shift, cells):
    fine = torch.zeros(1, 64 * 64, 25, 25)
    fine[..., 12 + shift[0], 12 + shift[1]] = 1
    pooled = pool_local_affinity(fine.flatten(2), (64, 64)).view(32, 32, 13, 13)[16, 16]
    expected = torch.zeros(13, 13)
    for (dy, dx), value in cells.items():
        expected[6 + dy, 6 + dx] = value
    assert_close(pooled, expected)


def test_a_flat_window_is_not_flat_after_pooling():
    flat = torch.full((1, 64 * 64, 625), 1 / 625)
    pooled = pool_local_affinity(flat, (64, 64)).view(32, 32, 13, 13)[16, 16] * 625
    assert_close(pooled[1:-1, 1:-1], torch.ones(11, 11))
    assert_close(pooled[0, 1:-1], torch.full((11,), 0.75))
    assert_close(pooled[0, 0], torch.tensor(0.5625))
    assert_close(pooled.sum() / 625, torch.tensor(0.25))


def test_correlation_keeps_no_more_than_its_inputs_for_the_backward_pass():
    saved = []
    query, key = (torch.randn(1, 8, 32, 32, requires_grad=True) for _ in range(2))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        local_affinity(query, key, 6, 1.0)
    assert sum(saved) < 2 * 169 * 1024
    assert max(saved) < 1024 * 1024
    assert math.isclose(max(saved), 1024 * 169)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_affinities_have_single_precision_at_least(dtype):
    query, key = torch.randn(2, 1, 8, 4, 6).to(dtype)
    wide = torch.promote_types(dtype, torch.float32)
    for affinity in (lambda a, b: global_affinity(a, b, 0.5), lambda a, b: local_affinity(a, b, 2, 0.5)):
        found = affinity(query, key)
        assert found.dtype == wide
        assert torch.equal(found, affinity(query.to(wide), key.to(wide)))


@pytest.mark.parametrize(('size', 'queries'), [((2, 3), 6), ((3, 2), 6), ((2, 4), 6), ((4, 2), 9)])
def test_a_grid_that_cannot_be_halved(size, queries):
    with pytest.raises(ValueError, match=f'even grid of {queries} positions'):
        pool_local_affinity(torch.zeros(1, queries, 9), size)


@pytest.mark.parametrize('border', ['excluded', 'zero'])
@pytest.mark.parametrize(('frames', 'radius'), [(1, 2), (3, 1), (2, None)])
def test_several_frames_share_one_softmax(frames, radius, border):
    """With the log-sum-exp of each row and the gradients of both, against a loop over cells."""
    query, keys = torch.randn(2, 3, 4, 5, **double), torch.randn(2, frames, 3, 4, 5, **double)
    inputs = query.requires_grad_(), keys.requires_grad_()
    found = local_affinity(query, keys, radius, 0.7, border, with_lse=True)
    twin = affinity_by_cells(query, keys, radius, 0.7, border)
    probes = [torch.randn_like(value) for value in twin]
    for ours, theirs in zip(found, twin, strict=True):
        assert_close(ours, theirs, rtol=0, atol=1e-12)
    grads = [
        torch.autograd.grad(sum((p * v).sum() for p, v in zip(probes, pair, strict=True)), inputs)
        for pair in (found, twin)
    ]
    for ours, theirs in zip(*grads, strict=True):
        assert_close(ours, theirs, rtol=0, atol=1e-11)
    for other in (keys, keys.unbind(1)):
        assert torch.equal(local_affinity(query, other, radius, 0.7, border), found[0])
    if frames == 1:
        assert torch.equal(local_affinity(query, keys[:, 0], radius, 0.7, border), found[0])


@pytest.mark.parametrize('radius', [2, None])
def test_several_frames_rebuild_one(radius):
    query, keys, values = (torch.randn(shape, **double) for shape in ((2, 3, 4, 5), (2, 3, 3, 4, 5), (2, 3, 2, 4, 5)))
    affinity = local_affinity(query, keys, radius, 1.0)
    parts = affinity.chunk(3, -1)
    if radius is not None:
        parts = [to_dense(part, (4, 5)) for part in parts]
    expected = sum(part @ values[:, t].flatten(2).mT for t, part in enumerate(parts))
    rebuilt = reconstruct(affinity, values, radius is None)
    assert_close(rebuilt.flatten(2).mT, expected)
    single = reconstruct(local_affinity(query, keys[:, 0], radius, 1.0), values[:, 0], radius is None)
    assert single.shape == rebuilt.shape


def test_cells_outside_may_keep_their_share():
    """Zero features on an 8 x 8 grid in a window of 25 x 25: 64 of 625 cells are inside."""
    zeros = torch.zeros(1, 4, 8, 8)
    affinity = local_affinity(zeros, zeros, 12, 1.0, 'zero')
    assert_close(affinity.sum(-1), torch.ones(1, 64))
    assert_close(reconstruct(affinity, torch.ones(1, 1, 8, 8)), torch.full((1, 1, 8, 8), 0.1024))


def test_several_frames_keep_one_affinity_for_the_backward_pass():
    saved = []
    query, *keys = (torch.randn(1, 8, 16, 16, requires_grad=True) for _ in range(4))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        local_affinity(query, keys, 4, 1.0, with_lse=True)
    assert sorted(saved)[-2:] == [8 * 256, 3 * 81 * 256]


@pytest.mark.parametrize('kind', ['window', 'negatives'])
def test_gradients_of_a_compiled_step_in_mixed_precision_are_those_of_float32(kind):
    """A compiler traces the way back under the autocast of the step, also where the way there leaves it."""
    query, key = torch.randn(2, 1, 32, 8, 8)
    keys, counted = torch.randn(20, 32), torch.ones(1, 20, dtype=torch.bool)

    def loss(query, key):
        with torch.autocast('cpu', enabled=False):
            if kind == 'window':
                return local_affinity(query, key, 2, 0.1).square().sum()
            return streamed_log_sum_exp(query, keys, counted, 0.1).square().sum() + 0 * key.sum()

    found = []
    for function, amp in ((loss, False), (torch.compile(loss, backend='aot_eager'), True)):
        leaves = [value.clone().requires_grad_() for value in (query, key)]
        with torch.autocast('cpu', torch.bfloat16, enabled=amp):
            value = function(*leaves)
        found.append(torch.autograd.grad(value, leaves))
    for ours, plain in zip(*found, strict=True):
        assert_close(ours, plain, rtol=1e-4, atol=1e-6)
    torch._dynamo.reset()
