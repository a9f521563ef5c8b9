"""Votes of all cells, compact ones, and long searches: MAST's and LIIR's."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from stt_mm.ops import LongSearch, Plan, Vote, Voters, Window, gathered, propagate, propagate_many

# Side of a tile, and tiles together.
TILES = [(8, 1), (4, 5), (1, 1), (16, 100)]


def read(path):
    golden = np.load(path)
    return {name: torch.from_numpy(golden[name]) for name in golden.files if name != 'params'}, json.loads(
        str(golden['params'])
    )


@pytest.mark.parametrize('tiles', TILES)
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize(
    'name',
    [
        'mast_test_small_window',
        'mast_test_long_1old',
        'mast_test_long_2old',
        'liir_u_test_plain_1ref',
        'liir_u_test_compact_small',
        'liir_u_test_long_compact_no_gain',
    ],
)
def test_golden_votes_of_all_cells(name, dtype, tiles, data, device):
    golden, params = read(data / 'mast_liir' / f'{name}.npz')
    query, keys = (golden[part].to(device, dtype) for part in ('query', 'keys'))
    labels = F.one_hot(golden['labels'][:, ::4, ::4].long(), 7).permute(0, 3, 1, 2).to(device, dtype)
    radius, dilations = params['radius'], params['dilations']
    ways, copies = [Window('square', radius)], [[int(dilation == 1) for dilation in dilations]]
    for dilation in sorted({*dilations} - {1}):
        ways.append(LongSearch(radius, params['search_radius'], dilation, 'last' if name.startswith('mast') else 'own'))
        copies.append([int(other == dilation) for other in dilations])
    vote = Vote('compact' if params['compact'] else 'softmax', 1 / params['scale'], mass='peak', threshold=0.1)
    plan = Plan(tuple(query.shape[1:]), ways, *tiles, query.device, radius)
    padded = [F.pad(part, [radius] * 4) for part in (keys, labels)]
    out = propagate_many(query, padded[0], [Voters(padded[1], copies)], plan, vote)[0]
    out[1:] *= params.get('foreground_gain') or 1
    tolerance = dict(rtol=0, atol=1e-6 if dtype == torch.float64 else 1e-4)
    assert_close(out.cpu().double(), golden['out'].double(), **tolerance)
    full = F.interpolate(out[None], size=golden['mask'].shape, mode='bilinear')[0]
    assert torch.equal(full.argmax(0).cpu(), golden['mask'].long())


def test_where_the_labels_of_old_frames_are_read_matters(data):
    """Two old frames, each at its own place: what the release's labels of the last place are not."""
    golden, params = read(data / 'mast_liir' / 'mast_test_long_2old.npz')
    query, keys = (F.pad(golden[part].double(), [0] * 4) for part in ('query', 'keys'))
    labels = F.one_hot(golden['labels'][:, ::4, ::4].long(), 7).permute(0, 3, 1, 2).double()
    ways = [Window('square', params['radius']), LongSearch(params['radius'], params['search_radius'], 3)]
    plan = Plan(tuple(query.shape[1:]), ways, 8, margin=params['radius'])
    keys, labels = (F.pad(part, [params['radius']] * 4) for part in (keys, labels))
    voters = Voters(labels, [[0, 0, 1, 1, 1], [1, 1, 0, 0, 0]])
    out = propagate_many(query, keys, [voters], plan, Vote('softmax', 1.0))[0]
    assert_close(out, golden['out_own_offset'].double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize('tiles', TILES)
@pytest.mark.parametrize(
    ('kind', 'mass', 'name'),
    [('softmax', 'share', 'out_plain'), ('compact', 'share', 'out'), ('compact', 'equal', 'out_equal_mass')],
)
def test_the_closed_form_of_compact_votes(kind, mass, name, tiles, data):
    golden, params = read(data / 'mast_liir' / 'liir_infer_2refs.npz')
    query, keys, labels = (golden[part].double() for part in ('query', 'keys', 'labels'))
    vote = Vote(kind, 1 / params['scale'], mass=mass)
    tile, together = tiles
    out = propagate(query, keys, labels, Window('square', params['radius']), vote, tile=tile, together=together)
    assert_close(out, golden[name].double(), rtol=0, atol=1e-10)


@pytest.mark.parametrize('sigma', [None, 0.42466090])
@pytest.mark.parametrize('name', ['two_peaks', 'corner', 'close_peaks'])
def test_the_closed_form_of_mixtures(name, sigma, data):
    golden, _ = read(data / 'mast_liir' / f'liir_compact_{name}.npz')
    valid = golden['valid'].bool()
    heat = (golden['heat'] * valid)[None, :, :, None, None]
    rows, columns = (valid.any(axis)[None, :, None, None] for axis in (1, 0))
    found = gathered(heat, rows, columns, 2, sigma).maps()[0, :, :, 0, 0]
    assert_close(
        found, golden['compact' if sigma is None else 'compact_fixed_width'], rtol=0, atol=1e-8 if sigma else 1e-10
    )
    assert found.sum() == pytest.approx(1)


def mixture_by_loops(heat, components):
    """The definition for one map in which all cells take part."""
    height, width = heat.shape
    cells = [(y, x) for y in range(height) for x in range(width)]
    means = sorted(cells, key=lambda cell: -heat[cell].item())[:components]
    scores = [heat[mean].item() for mean in means]
    weights = [score / sum(scores) for score in scores]
    variances = []
    for k, (my, mx) in enumerate(means):
        above = below = 0.0
        for y, x in cells:
            if abs(y - my) <= 2 and abs(x - mx) <= 2:
                reached = [
                    w * math.exp(-((y - oy) ** 2 + (x - ox) ** 2) / 2)
                    for w, (oy, ox) in zip(weights, means, strict=True)
                ]
                share = reached[k] / sum(reached) * heat[y, x].item()
                above += share * ((y - my) ** 2 + (x - mx) ** 2)
                below += 2 * share
        variances.append(max(0.25, above / below))
    found = torch.zeros_like(heat)
    for y, x in cells:
        for weight, variance, (my, mx) in zip(weights, variances, means, strict=True):
            found[y, x] += weight / variance * math.exp(-((y - my) ** 2 + (x - mx) ** 2) / (2 * variance))
    return found / found.sum()


@settings(deadline=None, max_examples=60)
@given(height=st.integers(1, 9), width=st.integers(1, 9), components=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_any_number_of_gaussians(height, width, components, seed):
    components = min(components, height * width)
    heat = torch.rand(height, width, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) ** 4
    found = gathered(heat[None], components=components).maps()[0]
    for frame in range(2):
        for query in range(3):
            expected = mixture_by_loops(heat[:, :, frame, query], components)
            assert_close(found[:, :, frame, query], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize('tiles', TILES)
@pytest.mark.parametrize('mass', ['share', 'equal'])
def test_a_threshold_is_one_of_the_softmax_over_all_frames(mass, tiles):
    """Where the highest cell of a frame exceeds it, Gaussians take the place of what the frame's cells have."""
    generator, threshold = torch.Generator().manual_seed(0), 0.2
    query, keys, labels = (
        torch.randn(*shape, 4, 5, dtype=torch.float64, generator=generator) for shape in ((3,), (2, 3), (2, 2))
    )
    heat = torch.einsum('cyx,tcvu->yxtvu', query, keys)
    heat = heat.flatten(2).softmax(-1).view_as(heat)
    replaced = heat.amax((3, 4)) > threshold
    assert replaced.any(-1).any()
    assert not replaced.any(-1).all()
    expected = torch.zeros(2, 4, 5, dtype=torch.float64)
    for y, x, t in np.ndindex(4, 5, 2):
        votes = heat[y, x, t]
        if replaced[y, x, t]:
            votes = mixture_by_loops(votes, 2) * (votes.sum() if mass == 'share' else 1 / 2)
        expected[:, y, x] += (labels[t] * votes).sum((1, 2))
    vote, (tile, together) = Vote('compact', 1.0, mass=mass, threshold=threshold), tiles
    found = propagate(query, keys, labels, None, vote, tile=tile, together=together)
    assert_close(found, expected, rtol=0, atol=1e-10)


def votes_by_loops(query, keys, labels, radius, kind, temperature, border, copies):
    """Softmax over all cells of the window, cell by cell."""
    frames, _, height, width = keys.shape
    out = torch.zeros(labels.shape[1], height, width, dtype=query.dtype)
    for y in range(height):
        for x in range(width):
            rows = [[] for _ in range(frames)]
            for t in range(frames):
                for dy in range(-radius, radius + 1):
                    for dx in range(-radius, radius + 1):
                        inside = 0 <= y + dy < height and 0 <= x + dx < width
                        if inside or border == 'zero':
                            logit = (query[:, y, x] @ keys[t, :, y + dy, x + dx]).item() if inside else 0.0
                            value = labels[t, :, y + dy, x + dx] if inside else torch.zeros_like(labels[0, :, 0, 0])
                            rows[t].append((math.exp(logit / temperature) * copies[t], value))
            sums = [sum(weight for weight, _ in row) for row in rows]
            total = sum(sums)
            for t, row in enumerate(rows):
                for weight, value in row:
                    if kind == 'softmax':
                        out[:, y, x] += weight / total * value
                    elif copies[t]:
                        out[:, y, x] += weight / sums[t] * copies[t] / sum(copies) * value
    return out


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    radius=st.integers(0, 3),
    kind=st.sampled_from(['softmax', 'frame_softmax']),
    border=st.sampled_from(['excluded', 'zero']),
    copies=st.lists(st.integers(0, 2), min_size=2, max_size=2).filter(any),
    tiles=st.sampled_from(TILES),
    seed=st.integers(0, 10**6),
)
def test_every_cell_votes(height, width, radius, kind, border, copies, tiles, seed):
    generator = torch.Generator().manual_seed(seed)
    query, keys, labels = (
        torch.randn(*shape, height, width, dtype=torch.float64, generator=generator) for shape in ((3,), (2, 3), (2, 2))
    )
    expected = votes_by_loops(query, keys, labels, radius, kind, 0.7, border, copies)
    vote, (tile, together) = Vote(kind, 0.7), tiles
    window = Window('square', radius)
    found = propagate(query, keys, labels, window, vote, copies, border=border, tile=tile, together=together)
    assert_close(found, expected, rtol=0, atol=1e-10)


def frame_votes_by_loops(query, keys, labels, radius, topk, ties, temperature, border, copies):
    """Softmax over the cells of one frame; the best of them vote with what they have; mean of the frames."""
    frames, _, height, width = keys.shape
    out = torch.zeros(labels.shape[1], height, width, dtype=query.dtype)
    for y in range(height):
        for x in range(width):
            for t in range(frames):
                row = []
                for v in range(
                    -height if radius is None else y - radius, 2 * height if radius is None else y + radius + 1
                ):
                    for u in range(
                        -width if radius is None else x - radius, 2 * width if radius is None else x + radius + 1
                    ):
                        inside = 0 <= v < height and 0 <= u < width
                        if inside or (border == 'zero' and radius is not None):
                            logit = (query[:, y, x] @ keys[t, :, v, u]).item() if inside else 0.0
                            row.append((math.exp(logit / temperature), labels[t, :, v, u] if inside else 0.0))
                total = sum(weight for weight, _ in row)
                row.sort(key=lambda pair: -pair[0])
                last = row[min(topk, len(row)) - 1][0]
                chosen = row[:topk] if ties == 'cut' else [pair for pair in row if pair[0] >= last]
                for weight, value in chosen:
                    out[:, y, x] += copies[t] / sum(copies) * weight / total * value
    return out


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    radius=st.one_of(st.none(), st.integers(0, 3)),
    topk=st.integers(1, 30),
    ties=st.sampled_from(['cut', 'kept']),
    border=st.sampled_from(['excluded', 'zero']),
    copies=st.lists(st.integers(0, 3), min_size=3, max_size=3).filter(any),
    tiles=st.sampled_from(TILES),
    seed=st.integers(0, 10**6),
)
def test_the_best_cells_of_each_frame_vote_with_their_part_of_its_softmax(
    height, width, radius, topk, ties, border, copies, tiles, seed
):
    generator = torch.Generator().manual_seed(seed)
    query, keys, labels = (
        torch.randn(*shape, height, width, dtype=torch.float64, generator=generator) for shape in ((3,), (3, 3), (3, 2))
    )
    expected = frame_votes_by_loops(query, keys, labels, radius, topk, ties, 0.7, border, copies)
    vote, (tile, together) = Vote('frame_topk', 0.7, topk, ties), tiles
    window = None if radius is None else Window('square', radius)
    border = 'excluded' if window is None else border
    found = propagate(query, keys, labels, window, vote, copies, border=border, tile=tile, together=together)
    assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize('tiles', TILES)
def test_cells_of_a_frame_that_are_as_good_as_the_last_vote_where_ties_are_kept(tiles):
    """Features of +-1, so that equal cosines are equal bits, and the votes of a frame do not reach into another."""
    generator = torch.Generator().manual_seed(3)
    query, keys = (torch.randint(0, 2, shape, generator=generator) * 2.0 - 1 for shape in ((4, 6, 7), (3, 4, 6, 7)))
    labels = torch.rand(3, 2, 6, 7, generator=generator)
    for ties in ('kept', 'cut'):
        vote, (tile, together) = Vote('frame_topk', 1.0, 5, ties), tiles
        found = propagate(query, keys, labels, None, vote, [1, 2, 1], tile=tile, together=together)
        expected = frame_votes_by_loops(query, keys, labels, None, 5, ties, 1.0, 'excluded', [1, 2, 1])
        same = torch.isclose(found, expected, rtol=0, atol=1e-5).all()
        assert same or ties == 'cut'  # which of those that are equal are cut is left open


@pytest.mark.parametrize('kind', ['softmax', 'frame_softmax', 'frame_topk', 'compact'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_where_all_cells_weigh_half_precision_is_that_of_the_features_alone(dtype, kind, device):
    """Products of features of this size are beyond the largest float16."""
    generator = torch.Generator().manual_seed(0)
    query, keys, labels = (
        torch.randn(*shape, 9, 8, generator=generator).to(device) for shape in ((8,), (3, 8), (3, 2))
    )
    rough = (200 * query).to(dtype), (200 * keys).to(dtype), labels
    found = propagate(*rough, Window('square', 3), Vote(kind, 4e4))
    assert torch.equal(found, propagate(*(part.float() for part in rough), Window('square', 3), Vote(kind, 4e4)))
    assert found.isfinite().all()


@pytest.mark.parametrize('labels', ['own', 'last'])
def test_which_frame_is_the_last_is_told_by_its_time(labels, device):
    generator = torch.Generator().manual_seed(0)
    query, keys, values = (
        torch.randn(*shape, 6, 7, generator=generator).to(device) for shape in ((4,), (4, 4), (4, 2))
    )
    plan = Plan((6, 7), [Window('square', 1), LongSearch(1, 2, 2, labels)], 4, 1, query.device)
    copies = torch.tensor([[0, 0, 0, 1], [1, 1, 1, 0]])

    def found(order, times):
        voters = Voters(values[order], copies[:, order].tolist())
        keys_of = F.pad(keys[order], [plan.margin] * 4)
        return propagate_many(query, keys_of, [voters], plan, Vote('softmax', 2.0), times)[0]

    in_order = found([0, 1, 2, 3], None)
    assert_close(found([2, 0, 3, 1], [7, 1, 9, 4]), in_order)
    assert torch.equal(found([0, 1, 2, 3], [3, 5, 6, 8]), in_order)
    assert torch.allclose(found([2, 0, 3, 1], None), in_order) is (labels == 'own')


def test_a_frame_that_has_no_weight_left_spreads_nothing():
    """Logits so far apart that a frame's softmax is 0 in float32."""
    query, keys = torch.ones(1, 3, 3), torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 1, 3, 3) * 500
    labels = torch.tensor([1.0, 0.0]).view(2, 1, 1, 1).expand(2, 1, 3, 3)
    for mass in ('share', 'peak'):
        out = propagate(query, keys, labels, Window('square', 1), Vote('compact', 1.0, mass=mass))
        assert torch.isfinite(out).all()
    assert_close(propagate(query, keys, labels, Window('square', 1), Vote('compact', 1.0)), torch.ones(1, 3, 3))
