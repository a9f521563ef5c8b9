import json
import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from twins import propagate_dense, window_cells

from stt_mm.models import LabelPropagator
from stt_mm.ops import Window, propagate_many, resize_label
from stt_mm.protocols import PRESETS, get_protocol


def small(**changes):
    """STT's protocol with a small window and memory."""
    return LabelPropagator(dict(name='stt_davis_s8', **dict(dict(radius=2, num_context=3, topk=4), **changes)))


def from_params(params):
    return LabelPropagator(
        dict(
            name='stt_davis_s8',
            radius=params['neighbor_range'] // 2,
            topk=params['topk'],
            temperature=params['temperature'],
            num_context=params['precede_frames'],
        )
    )


def test_heat_maps_equal_the_released_code(data, device):
    golden = np.load(data / 'track_heatmaps.npz')
    propagator = from_params(json.loads(str(golden['params'])))
    features = torch.from_numpy(golden['features']).to(device)
    size = tuple(int(side) for side in golden['original_shape'])
    propagator.start(features[0], resize_label(torch.from_numpy(golden['first_label']).to(device), features.shape[-2:]))
    for feature, expected in zip(features[1:], golden['out'][1:], strict=True):
        assert_close(resize_label(propagator.step(feature), size).cpu(), torch.from_numpy(expected), rtol=0, atol=1e-5)


def memory_of(preset, time, context):
    """The frames in memory at a time, each with whether its window holds, as the methods' own code lists them."""
    previous = [(t, True) for t in range(max(0, time - context), time)]
    if preset.startswith(('stt', 'vfs')):
        return [(0, True), *previous]
    if preset.startswith(('mast', 'liir')):
        found = {0, *(t for t in (5, time - 1, time - 3, time - 5) if 0 < t < time)}
        return [(t, True) for t in sorted(found)]
    if preset.startswith(('crw', 'sfc', 'cropmae', 'dul')):
        return [(0, False), *((max(0, time - context + i), True) for i in range(context))]
    if preset.startswith(('timecycle', 'uvc_jhmdb')):
        return [(0, True), *((max(0, time - context + i), True) for i in range(context))]
    return [(0, True), *((t, True) for t in range(max(1, time - context), time))]


@pytest.mark.parametrize('name', PRESETS)
def test_every_protocol_equals_its_own_list_of_frames(name, device):
    context = 5 if name.startswith(('mast', 'liir')) else 3
    protocol = get_protocol(dict(name=name, num_context=context))
    if protocol.vote != 'topk':
        # Which cells vote is enough here; how they do is held elsewhere.
        changes = dict(vote='topk', topk=10**6, border='excluded', long_search=None, normalize=True, feedback='soft')
        protocol = protocol.change(changes)
    propagator = LabelPropagator(dict(name=name))
    propagator.protocol = protocol
    generator = torch.Generator().manual_seed(0)
    frames = F.normalize(torch.randn(10, 5, 14, 15, generator=generator), dim=1)
    labels = [torch.rand(2, 14, 15, generator=generator)]
    inside = torch.ones(14 * 15, 14 * 15, dtype=torch.bool)
    if protocol.window is not None:
        inside = window_cells(protocol.window, protocol.radius, protocol.strict, 14, 15)
    # A factor that cosines do not see.
    propagator.start(3 * frames[0].to(device), labels[0].to(device))
    for time in range(1, 10):
        entries = memory_of(name, time, context)
        order = [t for t, _ in entries]
        labels.append(
            propagate_dense(
                frames[time],
                frames[order],
                torch.stack(labels)[order],
                inside,
                protocol.topk,
                protocol.temperature,
                [windowed for _, windowed in entries],
                protocol.ties,
            )
        )
        assert_close(propagator.step(3 * frames[time].to(device)).cpu(), labels[-1], rtol=0, atol=1e-5)


def test_features_are_made_positive_before_their_cosines_where_the_protocol_says_so():
    features, label = torch.randn(3, 6, 4, 5), torch.rand(2, 4, 5)
    found = []
    for normalize, kind in (('relu', features), (True, features.relu()), (True, features)):
        propagator = small(normalize=normalize)
        propagator.start(kind[0], label)
        found.append(torch.stack([propagator.step(feature) for feature in kind[1:]]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_stretched_labels_come_out_and_are_fed_back():
    """As if the labels that a step gives were stretched, and put into the memory in place of what was found."""
    features, label = torch.randn(5, 6, 4, 5), torch.rand(3, 4, 5)
    label[2] = 0
    stretched, by_hand = small(feedback='stretched'), small()
    for propagator in (stretched, by_hand):
        propagator.start(features[0], label)
    for feature in features[1:]:
        expected = by_hand.step(feature)
        for channel in expected[:2]:
            channel -= channel.min().clone()
            channel /= channel.max().clone()
        by_hand.replace(0, expected)
        found = stretched.step(feature)
        assert_close(found, expected, rtol=0, atol=1e-6)
        assert not found[2].any()


def test_memory_does_not_grow_with_the_video():
    propagator = small()
    propagator.start(torch.randn(4, 5, 6), torch.rand(2, 5, 6))
    sizes = []
    for _ in range(20):
        propagator.step(torch.randn(4, 5, 6))
        sizes.append((propagator._memory.shape[2], propagator._groups[0].labels.shape[2]))
    assert sizes[:3] == [(2, 2), (3, 3), (4, 4)]
    assert set(sizes[3:]) == {(4, 4)}
    assert sorted(propagator._frames) == [0, 18, 19, 20]


def test_a_second_video_starts_with_an_empty_memory():
    frames, label = torch.randn(6, 8, 5, 5), torch.rand(2, 5, 5)
    propagator, fresh = small(), small()
    propagator.start(frames[0], label)
    propagator.step(frames[1])
    propagator.add(label)
    for one in (propagator, fresh):
        one.start(frames[3], label)
    assert torch.equal(propagator.step(frames[4]), fresh.step(frames[4]))


@settings(deadline=None, max_examples=20)
@given(
    birth=st.integers(0, 6),
    first_frame=st.sampled_from(['repeated', 'padded', 'once']),
    window=st.booleans(),
    seed=st.integers(0, 99),
)
def test_late_labels_have_a_memory_of_their_own(birth, first_frame, window, seed):
    """Each group is followed as if the video had begun with its frame and held nothing else."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randn(12, 6, 5, 7, generator=generator)
    early, late = torch.rand(2, 5, 7, generator=generator), torch.rand(3, 5, 7, generator=generator)
    together, first, second = (small(first_frame=first_frame, first_window=window) for _ in range(3))
    together.start(frames[0], early)
    first.start(frames[0], early)
    for time in range(12):
        if time:
            ours, expected = together.step(frames[time]), first.step(frames[time])
            assert_close(ours[:2], expected, rtol=0, atol=1e-6)
        if time > birth:
            assert_close(ours[2:], second.step(frames[time]), rtol=0, atol=1e-6)
        if time == birth:
            together.add(late)
            second.start(frames[time], late)


def test_out_of_memory_halves_the_tiles_and_says_so(monkeypatch, caplog):
    frames, label, tiles = torch.randn(3, 6, 9, 9), torch.rand(2, 9, 9), []

    def scarce(*args):
        tiles.append(args[3].tile)
        if tiles[-1] > 2:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory.')
        return propagate_many(*args)

    expected = small()
    expected.start(frames[0], label)
    monkeypatch.setattr('stt_mm.models.propagator.propagate_many', scarce)
    monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: pytest.fail('there is no GPU'))
    propagator = small()
    propagator.start(frames[0], label)
    with caplog.at_level(logging.WARNING):
        outs = [propagator.step(frame) for frame in frames[1:]]
    assert tiles == [8, 4, 2, 2]
    assert 'queries now go in tiles of 2 x 2, 1 at a time' in caplog.text
    monkeypatch.undo()
    for ours, frame in zip(outs, frames[1:], strict=True):
        assert_close(ours, expected.step(frame), rtol=0, atol=1e-6)


def test_out_of_memory_takes_fewer_tiles_together_before_smaller_ones(monkeypatch):
    frames, label, plans = torch.randn(2, 6, 20, 20), torch.rand(2, 20, 20), []

    def scarce(*args):
        plans.append((args[3].tile, args[3].together))
        if plans[-1] != (4, 1):
            raise torch.cuda.OutOfMemoryError('CUDA out of memory.')
        return propagate_many(*args)

    monkeypatch.setattr('stt_mm.models.propagator.propagate_many', scarce)
    propagator, expected = small(), small()
    propagator.start(frames[0], label)
    propagator._limits = 8, 3  # as on a GPU
    found = propagator.step(frames[1])
    assert plans == [(8, 3), (8, 1), (4, 1)]
    monkeypatch.undo()
    expected.start(frames[0], label)
    assert_close(found, expected.step(frames[1]), rtol=0, atol=1e-6)


def test_a_second_video_may_have_another_size_and_starts_with_large_tiles(monkeypatch):
    tiles = []

    def scarce(*args):
        tiles.append(args[3].tile)
        if len(tiles) == 1:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory.')
        return propagate_many(*args)

    monkeypatch.setattr('stt_mm.models.propagator.propagate_many', scarce)
    propagator, fresh = small(), small()
    propagator.start(torch.randn(4, 9, 9), torch.ones(1, 9, 9))
    for feature in torch.randn(2, 4, 9, 9):
        propagator.step(feature)
    assert tiles == [8, 4, 4]
    frames, label = torch.randn(2, 4, 9, 12), torch.rand(2, 9, 12)
    for one in (propagator, fresh):
        one.start(frames[0], label)
    assert torch.equal(propagator.step(frames[1]), fresh.step(frames[1]))
    assert tiles == [8, 4, 4, 8, 8]


def test_a_small_budget_gives_the_same_labels():
    frames, label = torch.randn(3, 6, 9, 9), torch.rand(2, 9, 9)
    outs = []
    for budget in (None, 2000):
        propagator = LabelPropagator(dict(name='stt_davis_s8', radius=2), max_memory=budget)
        propagator.start(frames[0], label)
        outs.append([propagator.step(frame) for frame in frames[1:]])
        side = propagator._plan.tile
    assert side < 8
    for pair in zip(*outs, strict=True):
        assert_close(*pair, rtol=0, atol=1e-6)


@pytest.mark.parametrize(('given', 'budget'), [(None, 2**28), (99, 99)])
@pytest.mark.parametrize('first_window', [True, False])
def test_tiles_are_as_large_as_the_budget_allows(monkeypatch, given, budget, first_window):
    asked = []
    monkeypatch.setattr('stt_mm.models.propagator.plan_for_memory', lambda *args: asked.append(args) or (4, 3))
    propagator = LabelPropagator(dict(name='stt_davis_s8', radius=2, first_window=first_window), max_memory=given)
    propagator.start(torch.rand(8, 5, 6), torch.rand(1, 5, 6))
    propagator.step(torch.rand(8, 5, 6))
    # A first frame that is searched as a whole decides.
    assert asked == [((5, 6), [(Window('square', 2) if first_window else None, 1)], 4, budget, 8)]
    # On a CPU tiles go one by one.
    assert (propagator._plan.tile, propagator._plan.together) == (4, 1)


@pytest.mark.parametrize(
    ('error', 'expected'),
    [
        (torch.cuda.OutOfMemoryError('CUDA out of memory.'), [8, 4, 2, 1]),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), [8, 4, 2, 1]),
        (RuntimeError('DefaultCPUAllocator: not enough memory'), [8, 4, 2, 1]),
        (RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED'), [8, 4, 2, 1]),
        (RuntimeError('some other'), [8]),
    ],
)
def test_a_lack_of_memory_that_no_tile_helps_is_raised(monkeypatch, error, expected):
    tiles = []

    def scarce(*args):
        tiles.append(args[3].tile)
        raise error

    monkeypatch.setattr('stt_mm.models.propagator.propagate_many', scarce)
    propagator = small()
    propagator.start(torch.randn(3, 9, 9), torch.rand(2, 9, 9))
    with pytest.raises(RuntimeError) as caught:
        propagator.step(torch.randn(3, 9, 9))
    assert caught.value is error
    assert tiles == expected


def test_any_other_error_is_not_taken_for_a_lack_of_memory(monkeypatch):
    def broken(*args):
        raise RuntimeError('shape mismatch')

    monkeypatch.setattr('stt_mm.models.propagator.propagate_many', broken)
    propagator = small()
    propagator.start(torch.randn(3, 4, 4), torch.rand(2, 4, 4))
    with pytest.raises(RuntimeError, match='shape mismatch'):
        propagator.step(torch.randn(3, 4, 4))


def test_wrong_use_is_explained():
    propagator = LabelPropagator()
    with pytest.raises(RuntimeError, match=r'start\(\) with the first frame'):
        propagator.step(torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match=r'grid \(2, 2\), labels \(2, 3\)'):
        propagator.start(torch.zeros(1, 2, 2), torch.zeros(1, 2, 3))
    propagator.start(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match='all frames of a video must share one size'):
        propagator.step(torch.zeros(1, 2, 3))
    with pytest.raises(RuntimeError, match='before adding others'):
        LabelPropagator().add(torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match=r'grid \(2, 2\), labels \(2, 3\)'):
        propagator.add(torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match='max_memory'):
        LabelPropagator(max_memory=0)


@pytest.mark.parametrize('wrong', [0, 1, 3])
@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_features_that_are_not_finite_name_their_frame(wrong, value):
    propagator, features = LabelPropagator('stt_davis_s8'), torch.rand(5, 8, 4, 5)
    features[wrong, 2, 1, 1] = value

    def run():
        propagator.start(features[0], torch.rand(2, 4, 5))
        return [propagator.step(feature) for feature in features[1:]]

    with pytest.raises(ValueError, match=rf'The features of frame {wrong} \(the first is 0\) are not finite'):
        run()


@pytest.mark.parametrize('normalize', [True, False])
def test_features_in_half_precision_are_normalised_in_float32(normalize):
    feature = torch.randn(6, 4, 5).half()
    propagator = small(normalize=normalize)
    propagator.start(feature, torch.rand(2, 4, 5))
    expected = F.normalize(feature.float(), dim=0).half() if normalize else feature.float()
    assert torch.equal(propagator._memory[:, :, 0].permute(2, 0, 1), expected)
    assert propagator._memory.dtype == expected.dtype


@pytest.mark.parametrize('changes', [dict(normalize=False), dict(vote='softmax'), dict(name='liir_davis')])
def test_half_precision_is_for_the_choice_among_cosines(changes):
    """Products of other features are beyond the largest float16, and a vote of all of them wants their digits."""
    features, label = 300 * torch.randn(3, 6, 4, 5).half(), torch.rand(2, 4, 5)
    found = []
    for kind in (torch.float16, torch.float32):
        propagator = LabelPropagator(dict(dict(name='stt_davis_s8', radius=2), **changes))
        propagator.start(features[0].to(kind), label)
        found.append(torch.stack([propagator.step(feature.to(kind)) for feature in features[1:]]))
    assert found[0].isfinite().all()
    if changes == dict(vote='softmax'):
        assert_close(*found, rtol=0, atol=1e-3)
    else:
        assert torch.equal(*found)


@pytest.mark.parametrize(('num_context', 'birth'), [(5, 4), (6, 2), (10, 6), (10, 15)])
def test_labels_that_come_later_are_those_of_a_video_that_begins_with_them(num_context, birth):
    """Their frames lie in the memory where others became free; which of them is the last stays the same."""
    features, labels = torch.randn(birth + 32, 4, 5, 6), torch.rand(2, 2, 5, 6)
    alone, late = (
        LabelPropagator(dict(name='mast_davis', radius=1, long_search=1, num_context=num_context)) for _ in range(2)
    )
    late.start(features[0], labels[0])
    for feature in features[1 : birth + 1]:
        late.step(feature)
    late.add(labels[1])
    alone.start(features[birth], labels[1])
    for feature in features[birth + 1 :]:
        assert_close(late.step(feature)[2:], alone.step(feature))


def test_autocast_does_not_round_what_is_propagated():
    features, label = torch.randn(2, 6, 4, 5), torch.rand(2, 4, 5)
    found = []
    for enabled in (True, False):
        propagator = small()
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            propagator.start(features[0], label)
            found.append(propagator.step(features[1]))
    assert torch.equal(*found)


def test_a_byte_is_memory_enough():
    frames, label = torch.randn(2, 6, 4, 5), torch.rand(2, 4, 5)
    outs = []
    for budget in (1, None):
        propagator = LabelPropagator(dict(name='stt_davis_s8', radius=2), max_memory=budget)
        propagator.start(frames[0], label)
        outs.append(propagator.step(frames[1]))
    assert_close(*outs, rtol=0, atol=1e-6)
