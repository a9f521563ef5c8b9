import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.logging import MMLogger
from mmengine.structures import BaseDataElement
from PIL import Image
from tiny_data import moving_shapes, texture
from torch.testing import assert_close
from twins import propagate_dense, window_cells

from stt_mm.models import LabelPropagator, load_for_evaluation
from stt_mm.models.correspondence.base import _strengths
from stt_mm.ops import Window, propagate_many, resize_label
from stt_mm.protocols import PRESETS
from stt_mm.registry import MODELS


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


@pytest.mark.parametrize('name', ['masks_3obj', 'masks_short_memory'])
def test_masks_equal_the_released_code_pixel_for_pixel(name, data):
    golden = np.load(data / f'track_{name}.npz')
    propagator = from_params(json.loads(str(golden['params'])))
    features = torch.from_numpy(golden['features'])
    first = torch.from_numpy(golden['first_label'])
    assert tuple(golden['original_shape']) == first.shape
    propagator.start_mask(features[0], first)
    for feature, expected in zip(features[1:], golden['out'][1:], strict=True):
        assert np.array_equal(propagator.step_mask(feature).numpy(), expected)


def test_heat_maps_equal_the_released_code(data):
    golden = np.load(data / 'track_heatmaps.npz')
    propagator = from_params(json.loads(str(golden['params'])))
    features = torch.from_numpy(golden['features'])
    size = tuple(int(side) for side in golden['original_shape'])
    propagator.start(features[0], resize_label(torch.from_numpy(golden['first_label']), features.shape[-2:]))
    for feature, expected in zip(features[1:], golden['out'][1:], strict=True):
        assert_close(resize_label(propagator.step(feature), size), torch.from_numpy(expected), rtol=0, atol=1e-5)


def memory_of(preset, time, context):
    """The frames in memory at a time, each with whether its window holds, as the methods' own code lists them."""
    previous = [(t, True) for t in range(max(0, time - context), time)]
    if preset.startswith(('stt', 'vfs')):
        return [(0, True), *previous]
    if preset.startswith(('crw', 'sfc')):
        return [(0, False), *((max(0, time - context + i), True) for i in range(context))]
    return [(0, True), *((t, True) for t in range(max(1, time - context), time))]


@pytest.mark.parametrize('name', PRESETS)
def test_every_protocol_equals_its_own_list_of_frames(name):
    context = 3
    propagator = LabelPropagator(dict(name=name, num_context=context))
    protocol = propagator.protocol
    generator = torch.Generator().manual_seed(0)
    frames = F.normalize(torch.randn(8, 5, 14, 15, generator=generator), dim=1)
    labels = [torch.rand(2, 14, 15, generator=generator)]
    inside = window_cells(protocol.window, protocol.radius, protocol.strict, 14, 15)
    # A factor that cosines do not see.
    propagator.start(3 * frames[0], labels[0])
    for time in range(1, 8):
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
        assert_close(propagator.step(3 * frames[time]), labels[-1], rtol=0, atol=1e-5)


def expected_mask(label, ids, protocol, size):
    """The output rule in numpy."""
    target = protocol.input_size(size) if protocol.output == 'input' else size
    full = resize_label(label, target).numpy()
    if protocol.min_max:
        for k, channel in enumerate(full):
            if channel.max() > 0:
                full[k] = (channel - channel.min()) / (channel.max() - channel.min() + 1e-12)
    mask = np.array(ids, np.uint8)[full.argmax(0)]
    return np.asarray(Image.fromarray(mask).resize(size[::-1], Image.NEAREST))


@pytest.mark.parametrize('name', PRESETS)
def test_every_protocol_reads_and_writes_masks_by_its_rules(name):
    propagator = LabelPropagator(dict(name=name, num_context=2))
    protocol = propagator.protocol
    generator = torch.Generator().manual_seed(1)
    frames = torch.randn(3, 5, 9, 13, generator=generator)
    mask = np.kron(np.random.default_rng(0).integers(0, 3, (6, 7)), np.ones((11, 14))).astype(np.uint8) * 7
    first = propagator.start_mask(frames[0], torch.from_numpy(mask)).numpy()
    if protocol.first_label == 'bilinear':
        one_hot = np.stack([mask == k for k in (0, 7, 14)]).astype(np.float32)
        label = F.interpolate(torch.from_numpy(one_hot)[None], size=(9, 13), mode='bilinear')[0]
    else:
        picture = Image.fromarray(mask)
        if protocol.first_label == 'nearest_twice':
            picture = picture.resize((560, 560), Image.NEAREST)
        sampled = np.asarray(picture.resize((13, 9), Image.NEAREST))
        label = torch.from_numpy(np.stack([sampled == k for k in (0, 7, 14)])).float()
        if protocol.first_output == 'resized':
            at_input = torch.from_numpy(np.asarray(picture).copy())[None, None].float()
            assert np.array_equal(first, F.interpolate(at_input, size=mask.shape, mode='nearest')[0, 0].numpy())
    if protocol.first_output == 'given':
        assert np.array_equal(first, mask)
    by_label = LabelPropagator(dict(name=name, num_context=2))
    by_label.start(frames[0], label)
    for frame in frames[1:]:
        soft = by_label.step(frame)
        expected = expected_mask(soft, (0, 7, 14), protocol, mask.shape)
        assert np.array_equal(propagator.step_mask(frame).numpy(), expected)


def test_hard_feedback_is_the_mask_sampled_again():
    frames = torch.randn(3, 6, 6, 8)
    mask = torch.zeros(24, 32, dtype=torch.uint8)
    mask[4:16, 8:24] = 2
    hard, fresh = small(feedback='hard'), small()
    hard.start_mask(frames[0], mask)
    second = hard.step_mask(frames[1])
    # What a propagator would know that had been given both masks.
    fresh.start_mask(frames[0], mask)
    fresh.step(frames[1])
    sampled = torch.from_numpy(np.asarray(Image.fromarray(second.numpy()).resize((8, 6), Image.NEAREST)).copy())
    fresh._groups[0].labels[:, :, 1] = (sampled[..., None] == torch.tensor([0, 2])).float()
    assert_close(hard.step(frames[2]), fresh.step(frames[2]))


def test_memory_does_not_grow_with_the_video():
    propagator = small()
    propagator.start(torch.randn(4, 5, 6), torch.rand(2, 5, 6))
    sizes = []
    for _ in range(20):
        propagator.step(torch.randn(4, 5, 6))
        sizes.append((propagator._keys.shape[2], propagator._groups[0].labels.shape[2]))
    assert sizes[:3] == [(2, 2), (3, 3), (4, 4)]
    assert set(sizes[3:]) == {(4, 4)}
    assert sorted(propagator._frames) == [0, 18, 19, 20]


def test_a_second_video_starts_with_an_empty_memory():
    frames, label = torch.randn(6, 8, 5, 5), torch.rand(2, 5, 5)
    propagator, fresh = small(), small()
    propagator.start(frames[0], label)
    propagator.step(frames[1])
    propagator.add_labels(1, label)
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
            together.add_labels(time, late)
            second.start(frames[time], late)


def test_an_object_added_later_appears_and_the_first_is_unchanged():
    frames, masks = moving_shapes(16, (64, 96), 2, seed=5)
    model = color_model(short_side=None, radius=6, topk=3)
    only_first = np.where(masks[0] == 1, 1, 0).astype(np.uint8)
    second = np.where(masks[10] == 2, 2, 0).astype(np.uint8)
    alone = model.predict(list(frames), BaseDataElement(given_masks={0: only_first})).pred_masks
    both = model.predict(list(frames), BaseDataElement(given_masks={0: only_first, 10: second})).pred_masks
    assert np.array_equal(both[:10], alone[:10])
    # At its frame the given object lies over what was found.
    assert np.array_equal(both[10], np.where(second > 0, 2, alone[10]))
    for time in range(11, 16):
        assert (both[time] == 2).sum() > 0.5 * (masks[time] == 2).sum()
        elsewhere = both[time] != 2
        assert np.array_equal(both[time][elsewhere], alone[time][elsewhere])


def test_late_objects_must_be_new_and_of_one_size():
    propagator, mask = small(), torch.zeros(10, 12, dtype=torch.uint8)
    mask[2:5, 3:8] = 4
    propagator.start_mask(torch.randn(3, 5, 6), mask)
    propagator.step(torch.randn(3, 5, 6))
    with pytest.raises(ValueError, match='Object 4 is followed already'):
        propagator.add_mask(1, mask)
    with pytest.raises(ValueError, match=r'\(5, 12\) \(height, width\), the first one \(10, 12\)'):
        propagator.add_mask(1, mask[:5] * 2)
    with pytest.raises(ValueError, match='just processed, 1, not for 0'):
        propagator.add_mask(0, mask + 1)


def test_masks_and_other_labels_at_once():
    propagator, mask = small(), torch.zeros(10, 12, dtype=torch.uint8)
    mask[2:5, 3:8] = 4
    frames = torch.randn(3, 3, 5, 6)
    propagator.start_mask(frames[0], mask)
    points = torch.rand(5, 5, 6)
    propagator.add_labels(0, points)
    alone, points_alone = small(), small()
    alone.start_mask(frames[0], mask)
    points_alone.start(frames[0], points)
    for frame in frames[1:]:
        label = propagator.step(frame)
        assert torch.equal(propagator.to_mask(label)[0], alone.step_mask(frame))
        assert_close(label[2:], points_alone.step(frame))


def test_out_of_memory_halves_the_tiles_and_says_so(monkeypatch, caplog):
    frames, label, tiles = torch.randn(3, 6, 9, 9), torch.rand(2, 9, 9), []

    def scarce(*args):
        tiles.append(args[-1])
        if args[-1] > 2:
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
    assert 'tiles of 2 x 2' in caplog.text
    monkeypatch.undo()
    for ours, frame in zip(outs, frames[1:], strict=True):
        assert_close(ours, expected.step(frame), rtol=0, atol=1e-6)


def test_a_second_video_may_have_another_size_and_starts_with_large_tiles(monkeypatch):
    tiles = []

    def scarce(*args):
        tiles.append(args[-1])
        if len(tiles) == 1:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory.')
        return propagate_many(*args)

    monkeypatch.setattr('stt_mm.models.propagator.propagate_many', scarce)
    propagator, fresh = small(), small()
    propagator.start_mask(torch.randn(4, 9, 9), torch.ones(18, 18, dtype=torch.uint8))
    for feature in torch.randn(2, 4, 9, 9):
        propagator.step(feature)
    assert tiles == [8, 4, 4]
    frames, mask = torch.randn(2, 4, 9, 12), torch.zeros(27, 36, dtype=torch.uint8)
    mask[5:20, 5:20] = 1
    for one in (propagator, fresh):
        # Points come first, so that the size is that of the mask added to them.
        one.start(frames[0], torch.ones(1, 9, 12))
        one.add_mask(0, mask)
    assert torch.equal(propagator.step_mask(frames[1]), fresh.step_mask(frames[1]))
    assert tiles == [8, 4, 4, 8, 8]


def test_values_of_a_mask_decided_at_the_input_size():
    """Both are sampled from the input's size by the same rule, so that a value is that of the id it stands with."""
    propagator = LabelPropagator(dict(name='dino_davis_p8', short_side=64))
    mask = torch.zeros(100, 150, dtype=torch.uint8)
    mask[20:60, 30:90] = 3
    frames = torch.randn(2, 6, 8, 12, generator=torch.Generator().manual_seed(0))
    propagator.start_mask(frames[0], mask)
    label = propagator.step(frames[1])
    ids, values = propagator.to_mask(label)
    size = propagator.protocol.input_size((100, 150))
    assert size != (100, 150)
    full = resize_label(label, size)
    low, high = full.amin((1, 2), keepdim=True), full.amax((1, 2), keepdim=True)
    best, winner = ((full - low) / (high - low + 1e-12)).max(0)
    lines = [Image.fromarray(np.arange(side, dtype=np.int32)[None]) for side in size]
    rows, columns = (
        np.array(line.resize((new, 1), Image.NEAREST))[0] for line, new in zip(lines, (100, 150), strict=True)
    )
    assert_close(values, best[rows][:, columns])
    assert torch.equal(ids, (3 * winner[rows][:, columns]).to(torch.uint8))


def test_a_small_budget_gives_the_same_labels():
    frames, label = torch.randn(3, 6, 9, 9), torch.rand(2, 9, 9)
    outs = []
    for budget in (None, 2000):
        propagator = LabelPropagator(dict(name='stt_davis_s8', radius=2), max_memory=budget)
        propagator.start(frames[0], label)
        outs.append([propagator.step(frame) for frame in frames[1:]])
        sides = propagator._tile_side()
    assert sides < 8
    for pair in zip(*outs, strict=True):
        assert_close(*pair, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ('device', 'given', 'budget', 'largest'),
    [
        ('cpu', None, 2**28, 8),
        ('cuda', None, 250, 16),
        ('cpu', 99, 99, 8),
        ('cuda', 99, 99, 16),
        ('mps', None, 2**28, 8),
    ],
)
@pytest.mark.parametrize('first_window', [True, False])
def test_tiles_are_as_large_as_the_device_allows(monkeypatch, device, given, budget, largest, first_window):
    asked = []
    monkeypatch.setattr('stt_mm.models.propagator.tile_side', lambda *args: asked.append(args) or 4)
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda _: (1001, 4004))
    propagator = LabelPropagator(dict(name='stt_davis_s8', radius=2, first_window=first_window), max_memory=given)
    propagator._keys = SimpleNamespace(shape=(5, 6, 3, 8), device=SimpleNamespace(type=device), element_size=lambda: 2)
    assert propagator._tile_side() == 4
    # A first frame that is searched as a whole decides.
    assert asked == [((5, 6), 3, Window('square', 2) if first_window else None, 2, budget, largest)]


@pytest.mark.parametrize(
    ('error', 'expected'),
    [
        (torch.cuda.OutOfMemoryError('CUDA out of memory.'), [8, 4, 2, 1]),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), [8, 4, 2, 1]),
        (RuntimeError('DefaultCPUAllocator: not enough memory'), [8, 4, 2, 1]),
        (RuntimeError('some other'), [8]),
    ],
)
def test_a_lack_of_memory_that_no_tile_helps_is_raised(monkeypatch, error, expected):
    tiles = []

    def scarce(*args):
        tiles.append(args[-1])
        raise error

    monkeypatch.setattr('stt_mm.models.propagator.propagate_many', scarce)
    propagator = small()
    propagator.start(torch.randn(3, 9, 9), torch.rand(2, 9, 9))
    with pytest.raises(RuntimeError) as caught:
        propagator.step(torch.randn(3, 9, 9))
    assert caught.value is error
    assert tiles == expected


def test_ids_are_bytes_whatever_type_the_masks_have():
    propagator, (mask, other) = small(), torch.zeros(2, 10, 12, dtype=torch.int64)
    mask[2:5, 3:8], other[6:9, 3:8] = 4, 5
    first = propagator.start_mask(torch.randn(3, 5, 6), mask)
    second = propagator.step_mask(torch.randn(3, 5, 6))
    late = propagator.add_mask(1, other)
    assert first.dtype == second.dtype == late.dtype == torch.uint8
    # Over what was found, whatever its id.
    assert torch.equal(propagator.add_mask(1, other // 5, second), second.where(other == 0, 1).to(torch.uint8))
    with pytest.raises(ValueError, match=r'grid \(5, 6\), labels \(5, 7\)'):
        propagator.add_labels(1, torch.rand(1, 5, 7))
    with pytest.raises(RuntimeError, match='before adding others'):
        small().add_labels(0, torch.rand(1, 5, 6))


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
    with pytest.raises(RuntimeError, match='No masks were given'):
        propagator.to_mask(torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match='max_memory'):
        LabelPropagator(max_memory=0)


def color_model(**changes):
    return MODELS.build(
        dict(
            type='stt_mm.Correspondence',
            feature_stage=None,
            backbone=dict(type='stt_mm.ColorPatches', size=3, stride=4),
            propagator=dict(type='stt_mm.LabelPropagator', protocol=dict(name='stt_davis_s8', **changes)),
        )
    )


def test_a_moving_object_is_followed_through_a_video():
    frames, masks = moving_shapes(6, (96, 128), 2, seed=3)
    model = color_model(short_side=None, radius=4, topk=3)
    sample = model.predict(list(frames), BaseDataElement(given_masks={0: masks[0]}, metainfo=dict(with_scores=True)))
    assert sample.pred_masks.shape == masks.shape
    assert np.array_equal(sample.pred_masks[0], masks[0])
    overlap = [
        ((sample.pred_masks[-1] == k) & (masks[-1] == k)).sum()
        / ((sample.pred_masks[-1] == k) | (masks[-1] == k)).sum()
        for k in (1, 2)
    ]
    assert min(overlap) > 0.6
    assert sample.protocol['name'] == 'stt_davis_s8'
    assert sample.protocol['topk'] == 3
    assert sample.protocol['changed'] == ['radius', 'short_side', 'topk']
    assert sample.pred_scores[0] == {1: 1.0, 2: 1.0}
    assert all(0.3 < score <= 1 for scores in sample.pred_scores for score in scores.values())
    assert [set(scores) for scores in sample.pred_scores] == [set(np.unique(m)) - {0} for m in sample.pred_masks]
    with pytest.raises(ValueError, match='evaluated only'):
        model(inputs={}, mode='loss')


def test_joints_are_followed_through_a_video():
    # A picture that moves by two cells to the right and one down in each frame.
    picture = texture((80, 112), seed=0)
    frames = [np.roll(picture, (4 * t, 8 * t), (0, 1)) for t in range(4)]
    joints = np.array([[20.0, 16.0], [48.0, 40.0]], np.float32)
    for codec, tolerance in (('stt', 1.5), ('crw', 4.0)):
        model = color_model(short_side=None, radius=3, topk=1, keypoints=codec)
        sample = model.predict(frames, BaseDataElement(given_keypoints=joints))
        assert sample.pred_keypoints.shape == (4, 2, 2)
        expected = joints + np.arange(4)[:, None, None] * np.array([8.0, 4.0])
        assert np.abs(sample.pred_keypoints - expected).max() < tolerance
    with pytest.raises(ValueError, match='is for masks'):
        color_model().predict(frames, BaseDataElement(given_keypoints=joints))


def test_the_input_is_resized_and_coloured_as_the_protocol_says():
    frames, _ = moving_shapes(1, (30, 50), 1)
    for changes, size in (
        (dict(short_side=15), (15, 25)),
        (dict(short_side=None, size=(12, 20)), (12, 20)),
        (dict(short_side=24, multiple=16), (24, 32)),
        (dict(short_side=None), (30, 50)),
    ):
        assert color_model(**changes).prepare(frames[0]).shape == (3, *size)
    expected = (frames[0].astype(np.float32) / 255 - [0.485, 0.456, 0.406]) / [0.228, 0.224, 0.225]
    ours = color_model(short_side=None, color='rgb_dino').prepare(frames[0])
    assert_close(ours, torch.from_numpy(expected).permute(2, 0, 1).float(), rtol=0, atol=1e-6)


def test_training_and_protocol_must_agree_on_colours():
    with pytest.raises(ValueError, match=r'trained on lab, .* evaluates on rgb\. Set model\.propagator\.protocol'):
        MODELS.build(
            dict(
                type='stt_mm.Correspondence',
                data_preprocessor=dict(type='stt_mm.ClipDataPreprocessor'),
                backbone=dict(type='stt_mm.ColorPatches'),
                feature_stage=None,
                propagator=dict(type='stt_mm.LabelPropagator', protocol='vfs_davis_r18'),
            )
        )


def test_a_stride_that_the_protocol_is_not_meant_for_is_told_once(caplog):
    frames, masks = moving_shapes(3, (64, 96), 1)
    model = color_model(short_side=None)
    MMLogger.get_current_instance().addHandler(caplog.handler)
    for _ in range(2):
        model.predict(list(frames), BaseDataElement(given_masks={0: masks[0]}))
    assert caplog.text.count('stride 4, the numbers of the protocol stt_davis_s8 v1 changed: short_side=None') == 1


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


def test_the_strength_of_an_object_is_the_mean_of_its_pixels():
    mask = torch.tensor([[0, 1, 1], [7, 7, 1]], dtype=torch.uint8)
    value = torch.tensor([[0.9, 0.25, 0.5], [0.1, 0.3, 0.75]])
    assert _strengths(mask, value) == {1: pytest.approx(0.5), 7: pytest.approx(0.2)}


def test_scores_are_given_to_those_who_ask_and_a_first_mask_is_needed():
    frames, masks = moving_shapes(2, (64, 96), 1)
    model = color_model(short_side=None)
    assert 'pred_scores' not in model.predict(list(frames), BaseDataElement(given_masks={0: masks[0]}))
    with pytest.raises(ValueError, match=r'must hold a mask for frame 0, got masks for frames \[1\]'):
        model.predict(list(frames), BaseDataElement(given_masks={1: masks[1]}))
    with pytest.raises(ValueError, match='zip'):
        model([list(frames)] * 2, [BaseDataElement(given_masks={0: masks[0]})], mode='predict')


def test_a_feature_of_a_frame_is_that_of_its_input():
    frames, _ = moving_shapes(1, (64, 96), 1)
    model = color_model(short_side=None)
    feature = model.feature(frames[0])
    assert torch.equal(feature, model.feature(model.prepare(frames[0])))
    assert torch.equal(feature, model(model.prepare(frames[0])[None])[0])


@pytest.mark.parametrize(
    'given', [dict(given_masks={0: np.ones((8, 8), np.uint8)}), dict(given_keypoints=np.ones((1, 2)))]
)
def test_a_model_without_a_propagator_says_so(given):
    model = MODELS.build(
        dict(type='stt_mm.Correspondence', feature_stage=None, backbone=dict(type='stt_mm.ColorPatches'))
    )
    assert model.protocol is None
    with pytest.raises(RuntimeError, match='set model.propagator in the config'):
        model.predict([np.ones((8, 8, 3), np.uint8)], BaseDataElement(**given))


@pytest.mark.parametrize('normalize', [True, False])
def test_features_in_half_precision_are_normalised_in_float32(normalize):
    feature = torch.randn(6, 4, 5).half()
    propagator = small(normalize=normalize)
    propagator.start(feature, torch.rand(2, 4, 5))
    expected = F.normalize(feature.float(), dim=0).half() if normalize else feature
    assert torch.equal(propagator._keys[:, :, 0].permute(2, 0, 1), expected)


def test_autocast_does_not_round_what_is_propagated():
    features, label = torch.randn(2, 6, 4, 5), torch.rand(2, 4, 5)
    found = []
    for enabled in (True, False):
        propagator = small()
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            propagator.start(features[0], label)
            found.append(propagator.step(features[1]))
    assert torch.equal(*found)


@pytest.mark.parametrize('known', [True, False])
def test_weights_are_read_as_they_are_asked_for(known, monkeypatch):
    asked = []
    report = SimpleNamespace(geometry=dict(depth=1))
    monkeypatch.setattr('stt_mm.models.correspondence.base.load_backbone', lambda *args: asked.append(args) or report)
    backbone = torch.nn.Linear(2, 2)
    model = MODELS.build(
        dict(
            type='stt_mm.Correspondence',
            feature_stage=None,
            backbone=dict(type='stt_mm.CorrespondenceResNet', depth=18),
        )
    )
    if not known:
        model = SimpleNamespace(backbone=backbone)
    assert load_for_evaluation(model, 'file.pth', True, True, 'a.', True) is report
    assert load_for_evaluation(model, 'file.pth') is report
    geometry = model.geometry if known else None
    assert asked == [
        (model.backbone, 'file.pth', True, True, 'a.', geometry, True),
        (model.backbone, 'file.pth', False, False, None, geometry, False),
    ]
    for other, message in (
        (SimpleNamespace(backbones=[]), 'several networks'),
        (color_model(), 'no backbone with wei'),
        (SimpleNamespace(), 'no backbone with weights'),
    ):
        with pytest.raises(ValueError, match=message):
            load_for_evaluation(other, 'file.pth')


def test_a_byte_is_memory_enough():
    frames, label = torch.randn(2, 6, 4, 5), torch.rand(2, 4, 5)
    outs = []
    for budget in (1, None):
        propagator = LabelPropagator(dict(name='stt_davis_s8', radius=2), max_memory=budget)
        propagator.start(frames[0], label)
        outs.append(propagator.step(frames[1]))
    assert_close(*outs, rtol=0, atol=1e-6)


def test_a_mask_added_to_points_and_others_keeps_all_ids_apart():
    propagator, mask = small(), torch.zeros(10, 12, dtype=torch.uint8)
    mask[:4, :4], mask[6:, 6:] = 2, 9
    propagator.start(torch.randn(3, 5, 6), torch.rand(1, 5, 6))
    propagator.add_mask(0, mask)
    assert [group.ids for group in propagator._groups] == [None, (0, 2, 9)]
    for number in (2, 9):
        with pytest.raises(ValueError, match=rf'Object {number} is followed already: .* ids than \[2, 9\]'):
            propagator.add_mask(0, (mask == number).int() * number)
    assert torch.equal(propagator.add_mask(0, (mask == 0).int()), (mask == 0).to(torch.uint8))


def test_points_stay_soft_where_masks_are_fed_back_hard():
    frames, points = torch.randn(4, 3, 5, 6), torch.rand(2, 5, 6)
    mask = torch.zeros(10, 12, dtype=torch.uint8)
    mask[2:5, 3:8] = 4
    both, alone = small(feedback='hard'), small()
    both.start_mask(frames[0], mask)
    both.add_labels(0, points)
    alone.start(frames[0], points)
    for frame in frames[1:]:
        assert_close(both.step(frame)[2:], alone.step(frame), rtol=0, atol=1e-6)


@pytest.mark.parametrize('stage', ['res3', 'res4'])
def test_the_record_of_an_evaluation_names_the_stage(stage):
    model = MODELS.build(
        dict(
            type='stt_mm.Correspondence',
            feature_stage=stage,
            backbone=dict(type='stt_mm.CorrespondenceResNet', depth=18),
            propagator=dict(type='stt_mm.LabelPropagator', protocol='stt_davis_s8'),
        )
    )
    assert model.protocol == dict(model.propagator.protocol.record(), feature_stage=stage)
    assert [geometry['stage'] for _, geometry in model.networks()] == [stage]
    assert model(torch.zeros(1, 3, 64, 64)).shape == dict(res3=(1, 128, 16, 16), res4=(1, 256, 8, 8))[stage]
