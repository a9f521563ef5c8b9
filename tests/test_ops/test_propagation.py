from dataclasses import FrozenInstanceError

import pytest
import torch
import torch.nn.functional as F
from golden_steps import STEPS, read_step
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from twins import propagate_dense, window_cells

from stt_mm.ops import LongSearch, Plan, Vote, Voters, Window, plan_for_memory, propagate, propagate_many

WINDOWS = st.one_of(
    st.none(),
    st.builds(
        Window, st.sampled_from(['square', 'circle']), st.sampled_from([0.5, 1, 2, 2.5, 3, 5, 40]), st.booleans()
    ),
)


def memory(frames, height, width, classes=2, seed=0, dtype=torch.float64):
    """query [6, H, W], keys [T, 6, H, W] of unit length, labels [T, K, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    query = F.normalize(torch.randn(6, height, width, generator=generator, dtype=dtype), dim=0)
    keys = F.normalize(torch.randn(frames, 6, height, width, generator=generator, dtype=dtype), dim=1)
    return query, keys, torch.rand(frames, classes, height, width, generator=generator, dtype=dtype)


def cells(window, height, width):
    if window is None:
        return torch.ones(height * width, height * width, dtype=torch.bool)
    return window_cells(window.shape, window.radius, window.strict, height, width)


@settings(deadline=None, max_examples=80)
@given(
    frames=st.integers(1, 4),
    height=st.integers(1, 11),
    width=st.integers(1, 11),
    window=WINDOWS,
    topk=st.integers(1, 40),
    seed=st.integers(0, 999),
    tile=st.sampled_from([1, 3, 8]),
    together=st.sampled_from([1, 2, 100]),
    data=st.data(),
)
def test_every_window_and_memory_equals_the_dense_form(frames, height, width, window, topk, seed, tile, together, data):
    query, keys, labels = memory(frames, height, width, seed=seed)
    numbers = st.lists(st.integers(0, 3), min_size=frames, max_size=frames)
    copies, global_copies = data.draw(numbers.filter(any)), data.draw(numbers)
    # The twin's memory holds every copy by itself.
    entries = [(t, True) for t in range(frames) for _ in range(copies[t])]
    entries += [(t, False) for t in range(frames) for _ in range(global_copies[t])]
    order = [t for t, _ in entries]
    expected = propagate_dense(
        query, keys[order], labels[order], cells(window, height, width), topk, 0.07, [masked for _, masked in entries]
    )
    ours = propagate(
        query, keys, labels, window, Vote('topk', 0.07, topk), copies, global_copies, tile=tile, together=together
    )
    assert_close(ours, expected, rtol=0, atol=1e-9)


@settings(deadline=None, max_examples=40)
@given(
    frames=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    window=WINDOWS,
    topk=st.integers(1, 12),
    seed=st.integers(0, 999),
    together=st.sampled_from([1, 3]),
)
def test_kept_ties_all_vote(frames, height, width, window, topk, seed, together):
    query, keys, labels = memory(frames, height, width, seed=seed)
    # Features from a few integers: most correlations have equals.
    query, keys = (query * 2).round(), (keys * 2).round()
    expected = propagate_dense(query, keys, labels, cells(window, height, width), topk, 0.1, ties='kept')
    ours = propagate(query, keys, labels, window, Vote('topk', 0.1, topk, 'kept'), tile=4, together=together)
    assert_close(ours, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ('window', 'count'),
    [
        (Window('circle', 2, strict=True), 9),
        (Window('circle', 2.5, strict=True), 21),
        (Window('circle', 3, strict=True), 25),
        (Window('circle', 4, strict=True), 45),
        (Window('circle', 5, strict=True), 69),
        (Window('circle', 12, strict=True), 437),
        (Window('circle', 18, strict=True), 1005),
        (Window('circle', 24, strict=True), 1789),
        (Window('square', 5), 121),
        (Window('square', 12), 625),
        (Window('square', 16), 1089),
        (Window('square', 35), 5041),
        (Window('square', 3, strict=True), 25),
        (Window('circle', 1), 5),
        (Window('square', 0), 1),
        (Window('circle', 0), 1),
        (Window('square', 0.5, strict=True), 1),
        (Window(), 625),
    ],
)
def test_cells_of_a_window(window, count):
    offsets = torch.arange(-40, 41)
    inside = ~window.outside(offsets[:, None], offsets)
    assert inside.sum() == count
    assert inside.any(1).sum() == 2 * window.reach + 1


def test_a_window_does_not_change():
    window = Window('square', 2)
    with pytest.raises(FrozenInstanceError):
        window.radius = 3
    assert len({window, Window('square', 2), Window('circle', 2)}) == 2


@pytest.mark.parametrize('name', STEPS)
def test_golden(name, data, device):
    arguments, expected = read_step(data, name, device)
    assert_close(propagate(**arguments).cpu(), torch.from_numpy(expected), rtol=0, atol=1e-5)


def test_a_label_follows_a_shifted_frame():
    frame, label = F.normalize(torch.randn(16, 12, 12), dim=0), torch.zeros(2, 12, 12)
    label[1, 4:7, 5:8] = 1
    label[0] = 1 - label[1]
    moved = torch.roll(frame, (2, 1), (1, 2))
    out = propagate(moved, frame[None], label[None], Window('square', 3), Vote('topk', 0.07, 1))
    inner = (..., slice(3, -3), slice(3, -3))
    assert torch.equal(out[inner], torch.roll(label, (2, 1), (1, 2))[inner])


def test_each_copy_of_a_frame_takes_its_own_places():
    query = torch.tensor([1.0, 0.0]).view(2, 1, 1).expand(2, 1, 3).contiguous()
    near = torch.tensor([[1.0, 0.9, 0.8], [0.0, 0.4, 0.6]]).view(1, 2, 1, 3)
    labels = torch.tensor([[1.0, 0.0, 0.0]]).view(1, 1, 1, 3)
    assert propagate(query, near, labels, Window('square', 2), Vote('topk', 1.0, 2)).max() < 1
    twice = propagate(query, near, labels, Window('square', 2), Vote('topk', 1.0, 2), copies=[2])
    assert_close(twice, torch.ones(1, 1, 3))


def test_groups_share_the_products_and_nothing_else():
    query, keys, labels = memory(4, 9, 7, classes=5)
    groups = [Voters(labels[:, :2], ([2, 1, 0, 1], [0] * 4)), Voters(labels[:, 2:], ([0, 0, 1, 1], [0, 0, 1, 0]))]
    plan = Plan((9, 7), [Window('circle', 3), None], 8)
    for group, ours in zip(groups, propagate_many(query, keys, groups, plan, Vote('topk', 0.07, 5)), strict=True):
        alone = propagate(query, keys, group.labels, Window('circle', 3), Vote('topk', 0.07, 5), *group.copies)
        assert_close(ours, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_selects_and_float32_weighs(dtype, device):
    query, keys, labels = (part.to(device) for part in memory(3, 12, 10, dtype=torch.float32))
    rough = query.to(dtype), keys.to(dtype)
    how = Window('square', 3), Vote('topk', 0.07, 10)
    ours = propagate(*rough, labels.to(dtype), *how)
    assert ours.dtype == torch.float32
    exact = propagate(
        *(part.float() for part in rough), labels.to(dtype).float(), Window('square', 3), Vote('topk', 0.07, 10)
    )
    # Nearly all queries choose the same ten; their weights are then those of float32.
    assert ((ours - exact).abs().amax(0) < 1e-5).float().mean() > 0.8
    assert (ours - exact).abs().max() < 0.1


def test_the_memory_may_lie_in_any_order():
    query, keys, labels = memory(3, 6, 8)
    packed = keys.permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1)
    outs = [propagate(query, one, labels, Window('square', 2), Vote('topk', 0.07, 4)) for one in (keys, packed)]
    assert torch.equal(*outs)


def test_tiles_fit_into_the_memory():
    window, grid = Window('square', 35), (120, 214)
    # 78 x 78 cells, 64 queries, 21 frames and two maxima of four bytes, a mask of one.
    bytes_of_8 = 78 * 78 * 64 * (21 * 4 + 2 * 4 + 1)
    assert plan_for_memory(grid, [(window, 21)], 4, bytes_of_8, largest=16) == (8, 1)
    assert plan_for_memory(grid, [(window, 21)], 4, bytes_of_8 - 1, largest=16)[0] == 4
    assert plan_for_memory(grid, [(window, 21)], 4, 3 * bytes_of_8, largest=8) == (8, 3)
    assert plan_for_memory(grid, [(None, 21)], 4, 1, largest=16) == (1, 1)
    assert plan_for_memory((4, 4), [(window, 1)], 4, 10**9, largest=16)[0] == 16


def test_bad_arguments_are_named():
    feature, label, window, vote = torch.zeros(2, 3, 3), torch.zeros(1, 1, 3, 3), Window('square', 1), Vote()
    with pytest.raises(ValueError, match=r'\(2, 3, 3\), \(1, 2, 3, 4\)'):
        propagate(feature, torch.zeros(1, 2, 3, 4), label, window, vote)
    with pytest.raises(ValueError, match=r'at least one of them positive; got \[\[0\]\]'):
        propagate(feature, feature[None], label, window, vote, copies=[0])
    with pytest.raises(ValueError, match="'hexagon'"):
        Window('hexagon', 1)
    for shape in ('square', 'circle'):
        with pytest.raises(ValueError, match='strict window of radius 0'):
            Window(shape, 0, strict=True)
        for strict in (True, False):
            with pytest.raises(ValueError, match='window of radius -1 has no cell'):
                Window(shape, -1, strict=strict)
    for changes in (dict(temperature=0), dict(temperature=-1), dict(topk=0), dict(components=0), dict(sigma=0)):
        with pytest.raises(ValueError, match='at least 1, temperature and sigma above 0'):
            Vote(**changes)
    for changes in (dict(kind='best'), dict(ties='random'), dict(mass='half')):
        with pytest.raises(ValueError, match=f'{next(iter(changes))} must be one of'):
            Vote(**changes)
    for changes in (dict(tile=0), dict(together=0)):
        with pytest.raises(ValueError, match='tile >= 1 and together >= 1'):
            propagate(feature, feature[None], label, window, vote, **changes)
    for copies in (dict(copies=[-1]), dict(copies=[1, 1]), dict(global_copies=[-1])):
        with pytest.raises(ValueError, match='numbers from 0 for each of .* 1 frames'):
            propagate(feature, feature[None], label, window, vote, **copies)
    for wrong in (torch.zeros(1, 3, 3), torch.zeros(2, 1, 3, 3), torch.zeros(1, 1, 3, 4)):
        with pytest.raises(ValueError, match='Expected query'):
            propagate(feature, feature[None], wrong, window, vote)
    with pytest.raises(ValueError, match='Expected query'):
        propagate(feature, feature, label, window, vote)
    with pytest.raises(ValueError, match='Expected query'):
        propagate(feature[0], feature[None, 0], label[0], window, vote)
    with pytest.raises(ValueError, match='Expected query'):
        propagate(feature, feature[None], label[None], window, vote)
    with pytest.raises(ValueError, match='The plan is for a grid of'):
        propagate_many(feature, feature[None], [Voters(label, [[1]])], Plan((4, 3), [window], 8), vote)
    wide = F.pad(feature[None], [1] * 4), [Voters(F.pad(label, [1] * 4), [[1]])]
    with pytest.raises(ValueError, match='the margin must be 0'):
        propagate_many(feature, *wide, Plan((3, 3), [None], 8, margin=1), vote)
    plan = Plan((3, 3), [window, LongSearch(1, 2, 2)], 8)
    with pytest.raises(ValueError, match='long search needs'):
        propagate_many(feature, feature[None], [Voters(label, [[1], [0]])], plan, vote)
    with pytest.raises(ValueError, match='square windows'):
        propagate(feature, feature[None], label, Window('circle', 1), Vote('compact'))


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_large_products_do_not_overflow(dtype):
    query, keys, labels = memory(2, 5, 6, dtype=torch.float32)
    query, keys = (30 * query).to(dtype), (30 * keys).to(dtype)
    expected = propagate_dense(query.double(), keys.double(), labels.double(), cells(None, 5, 6), 60, 2.0)
    found = propagate(query, keys, labels, None, Vote('topk', 2.0, 60))
    assert_close(found.double(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize('grid', [(10, 300), (300, 10)])
@pytest.mark.parametrize(('window', 'cells_of_8'), [(Window('square', 35), 10 * 78), (None, 10 * 300)])
def test_no_more_cells_than_the_frame_has_are_counted(grid, window, cells_of_8):
    needed = cells_of_8 * 64 * (3 * 2 + 2 * 2 + 1)
    assert plan_for_memory(grid, [(window, 3)], 2, needed, largest=16)[0] == 8
    assert plan_for_memory(grid, [(window, 3)], 2, needed - 1, largest=16)[0] == 4
    assert plan_for_memory(grid, [(window, 3)], 2, needed, largest=8)[0] == 8
    assert plan_for_memory(grid, [(window, 3)], 2, 10**9, largest=2)[0] == 2
