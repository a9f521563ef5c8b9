"""Products that bounds rule out: what is found equals what all products give."""

import ctypes
import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F
from golden_steps import STEPS, read_step
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from twins import propagate_dense, window_cells

from stt_mm.ops import Plan, Vote, Voters, Window, bounded, native, propagate, propagate_many

COMPILER = next(filter(None, map(shutil.which, native.COMPILERS)), None)
pytestmark = pytest.mark.skipif(COMPILER is None, reason='there is no C compiler')
WINDOWS = st.one_of(
    st.none(),
    st.builds(
        Window, st.sampled_from(['square', 'circle']), st.sampled_from([0.5, 1, 2.5, 3, 5, 12, 40]), st.booleans()
    ),
)


@pytest.fixture
def always(monkeypatch):
    """Features of any kind are searched with bounds."""
    monkeypatch.setattr(bounded, 'FEWEST_CHANNELS', 1)
    monkeypatch.setattr(bounded, 'LARGEST_REST', torch.inf)
    monkeypatch.setattr(bounded, 'FEWEST_PAIRS', 1)


@pytest.fixture
def counted(monkeypatch):
    """What the searches found, also of few pairs."""
    monkeypatch.setattr(bounded, 'FEWEST_PAIRS', 1)
    searches, best = [], bounded.BoundedSearch.best
    monkeypatch.setattr(bounded.BoundedSearch, 'best', lambda *args: (searches.append(best(*args)), searches[-1])[1])
    return searches


def features(*shape, seed=0, directions=12, noise=0.2):
    """``[*shape, C]`` of unit length, near a subspace of some directions."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(shape[-1], min(directions, shape[-1]), generator=generator)).Q
    near = F.normalize(torch.randn(*shape[:-1], basis.shape[1], generator=generator), dim=-1) @ basis.t()
    return F.normalize(near + noise * F.normalize(torch.randn(*shape, generator=generator), dim=-1), dim=-1)


def video(frames, height, width, channels=128, classes=3, **kind):
    """query [C, H, W], keys [T, C, H, W] and labels [T, K, H, W]."""
    found = features(frames + 1, height, width, channels, **kind).permute(0, 3, 1, 2)
    return found[-1], found[:-1], torch.rand(frames, classes, height, width, generator=torch.Generator().manual_seed(1))


def both(query, keys, groups, plan, vote):
    return [propagate_many(query, keys, groups, plan, vote, bounds=bounds) for bounds in (True, False)]


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    frames=st.integers(1, 4),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    channels=st.sampled_from([1, 3, 33, 64, 100]),
    window=WINDOWS,
    topk=st.integers(1, 40),
    seed=st.integers(0, 999),
    noise=st.sampled_from([0, 0.2, 5]),
    scale=st.sampled_from([1e-3, 1, 30]),
    data=st.data(),
)
def test_every_window_and_memory_equals_the_dense_form(
    always, frames, height, width, channels, window, topk, seed, noise, scale, data
):
    query, keys, labels = (
        part.double() for part in video(frames, height, width, channels, seed=seed, directions=4, noise=noise)
    )
    numbers = st.lists(st.integers(0, 3), min_size=frames, max_size=frames)
    copies, global_copies = data.draw(numbers.filter(any)), data.draw(numbers)
    entries = [(t, True) for t in range(frames) for _ in range(copies[t])]
    entries += [(t, False) for t in range(frames) for _ in range(global_copies[t])]
    order = [t for t, _ in entries]
    cells = torch.ones(height * width, height * width, dtype=torch.bool)
    if window is not None:
        cells = window_cells(window.shape, window.radius, window.strict, height, width)
    # Labels that the features tell, so that pairs that are equal but for rounding say the same.
    labels = (keys[:, :1] * 3).cos()
    expected = propagate_dense(query, keys[order], labels[order], cells, topk, 0.07, [near for _, near in entries])
    ours = propagate(
        scale * query.float(),
        keys.float(),
        labels.float(),
        window,
        Vote('topk', 0.07 * scale, topk),
        copies,
        global_copies,
    )
    told = told_apart(query, keys, labels, cells, entries, topk)
    difference = (ours.double() - expected).flatten(1)[:, told]
    assert_close(difference, torch.zeros_like(difference), rtol=0, atol=1e-4 if channels == 1 else 2e-5)


def told_apart(query, keys, labels, cells, entries, topk):
    """Bool [HW], whether float32 tells what is among the best from what is not, or both say the same."""
    products = [keys[t].flatten(1).T @ query.flatten(1) for t, _ in entries]
    scores = torch.cat(
        [
            product.masked_fill(~cells.T, -torch.inf) if near else product
            for product, (_, near) in zip(products, entries, strict=True)
        ]
    )
    values = torch.cat([labels[t].flatten() for t, _ in entries])[:, None]
    if topk >= len(scores):
        return torch.ones(scores.shape[1], dtype=torch.bool)
    equal = (scores - scores.topk(topk, 0).values[-1]).abs() < 1e-6
    most, least = (torch.where(equal, values, sign * torch.inf) for sign in (-1, 1))
    return most.amax(0) - least.amin(0) < 1e-5


def test_a_tie_is_not_told_apart():
    """Of two keys that are alike but for 1e-8 and say otherwise, float32 may take either; if both say the same, any."""
    query, keys = torch.ones(1, 1, 1).double(), torch.tensor([1, 1 + 1e-8]).view(2, 1, 1, 1).double()
    everywhere = torch.ones(1, 1, dtype=torch.bool)
    for other, expected in ((0.0, True), (1.0, False)):
        labels = torch.tensor([0, other]).view(2, 1, 1, 1).double()
        assert told_apart(query, keys, labels, everywhere, [(0, True), (1, False)], 1).tolist() == [expected]


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 30),
    width=st.integers(1, 90),
    radius=st.integers(0, 14),
    topk=st.sampled_from([1, 5, 10, 20]),
    noise=st.sampled_from([0, 0.05, 0.2, 0.5, 5]),
    seed=st.integers(0, 999),
    border=st.booleans(),
)
def test_scores_are_the_best_of_all(always, height, width, radius, topk, noise, seed, border):
    query, keys, _ = video(3, height, width, 96, noise=noise, seed=seed)
    window = Window('square', radius)
    margin = radius if border else 0
    plan = Plan((height, width), [window], 8, margin=margin)
    memory = F.pad(keys, [margin] * 4).permute(2, 3, 0, 1).contiguous()
    queries = query.flatten(1).t().contiguous()
    search = bounded.bounded_search(queries, memory, range(3), plan)
    found = search.best(window, [True, False, True], topk)
    again = (memory.flatten(0, 2)[found.index] * queries[:, None]).sum(2)
    assert_close(found.scores.where(found.scores > -torch.inf, again), again, rtol=0, atol=1e-5)
    assert not (found.index[found.scores > -torch.inf] % 3 == 1).any()
    for number in range(0, height * width, 7):
        if not found.found[number]:
            continue
        y, x = divmod(number, width)
        rows = slice(max(y + margin - radius, 0), y + margin + radius + 1)
        columns = slice(max(x + margin - radius, 0), x + margin + radius + 1)
        products = (memory[rows, columns][:, :, [0, 2]].double() @ queries[number].double()).flatten()
        best = products.topk(min(topk, len(products))).values
        assert_close(found.scores[number, : len(best)].double(), best, rtol=0, atol=1e-5)
        assert (found.scores[number, len(best) :] == -torch.inf).all()
        there = found.index[number, : len(best)]
        assert len(there.unique()) == len(best)


@pytest.mark.parametrize('name', STEPS)
def test_golden(name, data, always, counted):
    arguments, expected = read_step(data, name)
    out = propagate(**arguments)
    assert counted
    assert_close(out, torch.from_numpy(expected), rtol=0, atol=1e-5)


def test_groups_and_frames_of_a_memory_with_room(counted):
    query, keys, labels = video(6, 21, 34, classes=4)
    window = Window('circle', 5, strict=True)
    plan = Plan((21, 34), [window, None], 8)
    room = F.pad(keys.permute(2, 3, 0, 1).contiguous(), (0, 0, 0, 3))
    room[:, :, 6:] = torch.nan  # never written
    keys = room[:, :, :6].permute(2, 3, 0, 1)
    groups = [
        Voters(labels[:, :2], ([2, 1, 0, 1, 1, 0], [0] * 6)),
        Voters(labels[:, 2:3], ([0, 0, 0, 1, 1, 0], [1, 0, 0, 0, 0, 0])),
        Voters(labels[:, 3:], ([3, 2, 0, 2, 2, 0], [0] * 6)),
    ]
    ours, expected = both(query, keys, groups, plan, Vote('topk', 0.07, 10))
    assert_close(ours, expected, rtol=0, atol=1e-5)
    assert len(counted) == 3  # the first and the last see the same frames
    assert all(each.found.all() for each in counted)


@pytest.mark.parametrize('shape', ['square', 'circle'])
def test_a_window_far_larger_than_the_frame(shape, counted):
    query, keys, labels = video(2, 9, 12)
    ours = propagate(query, keys, labels, Window(shape, 10**6), Vote())
    assert counted
    assert_close(ours, propagate(query, keys, labels, None, Vote()), rtol=0, atol=1e-5)


def test_few_products_are_made(counted):
    query, keys, labels = video(5, 40, 60)
    ours, expected = both(query, keys, [Voters(labels, [[1] * 5])], Plan((40, 60), [Window()], 8), Vote())
    assert_close(ours, expected, rtol=0, atol=1e-5)
    assert counted[0].products < 0.1 * 40 * 60 * 625 * 5


def test_tiles_where_bounds_rule_out_too_little_are_left_to_all_products(counted):
    """One half of the frame near a subspace, the other not."""
    query, keys, labels = video(4, 40, 64, noise=0.1)
    generator = torch.Generator().manual_seed(3)
    for part in (query, *keys):
        part[:, :, 44:] = F.normalize(torch.randn(128, 40, 20, generator=generator), dim=0)
    ours, expected = both(query, keys, [Voters(labels, [[1] * 4])], Plan((40, 64), [Window()], 8), Vote())
    found = counted[0].found.view(40, 64)
    assert found[:, :16].all()
    assert not found[:, 56:].any()
    assert_close(ours, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    'kind',
    ['random', 'few channels', 'few pairs', 'float64', 'half', 'gradients', 'other vote', 'not finite', 'nearly equal'],
)
def test_what_is_left_to_all_products(kind, counted, monkeypatch):
    if kind == 'few pairs':
        monkeypatch.setattr(bounded, 'FEWEST_PAIRS', 2 * 7 * 7 + 1)
    channels = 64 if kind == 'few channels' else 128
    query, keys, labels = video(2, 9, 12, channels, noise=9 if kind == 'random' else 0.2)
    if kind in ('float64', 'half'):
        query, keys = (part.to(dict(float64=torch.float64, half=torch.bfloat16)[kind]) for part in (query, keys))
    if kind == 'not finite':
        keys[1, :, 4, 4] = torch.nan
    if kind == 'nearly equal':
        query, keys = (torch.ones(128)[:, None, None] + 0.01 * torch.randn_like(part) for part in (query, keys))
    labels.requires_grad_(kind == 'gradients')
    vote = Vote('topk', 0.07, 5, ties='kept' if kind == 'other vote' else 'cut')
    with torch.set_grad_enabled(kind == 'gradients'):
        ours, expected = both(query, keys, [Voters(labels, [[1, 1]])], Plan((9, 12), [Window('square', 3)], 8), vote)
    assert not counted
    assert_close(ours, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize('value', [0.0, 0.5])
def test_features_that_are_all_equal(value):
    query, keys = torch.full((100, 9, 12), value), torch.full((2, 100, 9, 12), value)
    labels = torch.full((2, 1, 9, 12), 0.75)
    out = propagate(query, keys, labels, Window('square', 3), Vote('topk', 0.07, 5))
    assert_close(out, torch.full((1, 9, 12), 0.75))


def test_results_do_not_depend_on_threads(counted):
    query, keys, labels = video(3, 33, 150, noise=0.3)
    before, outs = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            outs.append(propagate(query, keys, labels, Window(), Vote()))
    finally:
        torch.set_num_threads(before)
    assert len(counted) == 3
    assert torch.equal(outs[0], outs[1])
    assert torch.equal(outs[0], outs[2])


def test_a_basis_holds_as_much_as_the_best_one():
    rows = features(527, 160, directions=40, noise=0.3) * torch.linspace(1, 3, 160)
    basis, rest = bounded.short_basis(rows)
    assert basis.shape == (160, 31)
    assert_close(basis.t() @ basis, torch.eye(31), rtol=0, atol=1e-5)
    values = torch.linalg.eigvalsh(rows.double().t() @ rows.double()).flip(0)
    best = float(values[31:].sum() / values.sum())
    assert best <= rest + 1e-6
    assert rest < 1.15 * best


@pytest.mark.skipif(platform.machine() != 'x86_64', reason='names processors of this kind')
@pytest.mark.parametrize('target', ['x86-64', 'x86-64-v3'])
def test_other_processors(target, monkeypatch, tmp_path, counted):
    """Vectors of four and of eight numbers; those of 16 where this machine has them."""
    path, source = tmp_path / 'bounded.so', Path(bounded.__file__).with_suffix('.c')
    command = [COMPILER, '-std=gnu11', '-O3', f'-march={target}', '-Wall', '-Wextra', '-Werror']
    subprocess.run([*command, '-shared', '-fPIC', '-o', path, source, '-lm'], check=True)
    if target != 'x86-64' and ' avx2 ' not in Path('/proc/cpuinfo').read_text():
        pytest.skip('this machine has no AVX2')
    monkeypatch.setattr(bounded, 'library', lambda name: ctypes.CDLL(str(path)))
    query, keys, labels = video(3, 20, 30, 150)
    ours, expected = both(query, keys, [Voters(labels, [[1] * 3])], Plan((20, 30), [Window()], 8), Vote())
    assert counted
    assert_close(ours, expected, rtol=0, atol=1e-5)


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """Nothing has been compiled yet."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.delenv(native.SWITCH, raising=False)
    native.library.cache_clear()
    yield tmp_path / 'stt_mm'
    native.library.cache_clear()


def test_compiled_once_and_kept(fresh, monkeypatch):
    assert native.library('bounded') is native.library('bounded')
    (kept,) = fresh.iterdir()
    assert kept.suffix == '.so'
    native.library.cache_clear()
    monkeypatch.setattr(native, '_compile', None)
    assert native.library('bounded') is not None
    monkeypatch.setattr(native, '_processor', lambda: 'another')
    native.library.cache_clear()
    with pytest.raises(TypeError):
        native.library('bounded')


def test_threads_wait_for_the_one_that_compiles(fresh, monkeypatch):
    compiled, compile_it = [], native._compile
    monkeypatch.setattr(native, '_compile', lambda *args: (compiled.append(args), compile_it(*args)))
    with ThreadPoolExecutor(4) as pool:
        assert None not in pool.map(native.library, ['bounded'] * 4)
    assert len(compiled) == 1


def test_a_damaged_library_is_made_anew(fresh, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ctypes, 'CDLL', opened := Mock())
        native.library('bounded')
    path = Path(opened.call_args.args[0])
    fresh.mkdir()
    path.write_bytes(b'not a library')
    native.library.cache_clear()
    assert native.library('bounded') is not None
    assert path.read_bytes() != b'not a library'


def test_without_a_compiler(fresh, monkeypatch, caplog, counted):
    monkeypatch.setattr(native.shutil, 'which', lambda name: None)
    for _ in range(2):
        assert native.library('bounded') is None
    (record,) = caplog.records
    assert record.levelname == 'WARNING'  # what nobody set up logging for is seen
    assert 'install gcc or clang, or set STT_MM_NATIVE=0' in record.getMessage()
    query, keys, labels = video(2, 9, 12)
    out = propagate(query, keys, labels, Window('square', 3), Vote())
    assert not counted
    assert torch.isfinite(out).all()


def test_switched_off(fresh, monkeypatch):
    monkeypatch.setenv(native.SWITCH, '0')
    assert native.library('bounded') is None
    assert not fresh.exists()


@pytest.mark.parametrize('fault', ['compiler', 'option', 'folder', 'home', 'source'])
def test_what_cannot_be_compiled_is_said_once(fault, fresh, monkeypatch, caplog, tmp_path):
    if fault == 'compiler':
        broken = tmp_path / 'broken'
        broken.write_text('#!/bin/sh\nprintf "no such target f\\374r C" >&2\nexit 1\n')  # as in Latin-1
        broken.chmod(0o755)
        monkeypatch.setenv('CC', str(broken))
    elif fault == 'option':
        monkeypatch.setenv('CC', f'{COMPILER} --no-such-option')
    elif fault == 'folder':
        fresh.write_text('a file where the folder should be')
    elif fault == 'source':
        monkeypatch.setattr(native, '__file__', str(tmp_path / 'stt_mm.zip' / 'native.py'))
    else:
        monkeypatch.delenv('XDG_CACHE_HOME')
        monkeypatch.setattr(native.Path, 'home', Mock(side_effect=RuntimeError('Could not determine home directory.')))
    for _ in range(2):
        assert native.library('bounded') is None
    (record,) = caplog.records
    reasons = dict(compiler='no such target', option='no-such-option', folder=str(fresh), home='home directory')
    assert reasons.get(fault, 'No such file') in record.getMessage()
    assert record.levelname == 'WARNING'
