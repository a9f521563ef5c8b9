import copy
import json
import logging
import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from stt_mm.models import LabelPropagator, Tracker
from stt_mm.models.corrections import Group
from stt_mm.ops import id_strengths, label_to_mask, label_to_points, points_to_label, resize_label
from stt_mm.ops.devices import in_turn
from stt_mm.ops.labels import means_by_id
from stt_mm.protocols import PRESETS


def small(**changes):
    """STT's protocol with a small window and memory, nothing in work."""
    return LabelPropagator(dict(name='stt_davis_s8', **dict(dict(radius=2, num_context=3, topk=4), **changes)))


def square(number, rows=slice(2, 5), size=(10, 12)):
    mask = np.zeros(size, np.uint8)
    mask[rows, 3:8] = number
    return mask


@pytest.mark.parametrize('name', ['masks_3obj', 'masks_short_memory'])
def test_masks_equal_the_released_code_pixel_for_pixel(name, data, device):
    golden = np.load(data / f'track_{name}.npz')
    params = json.loads(str(golden['params']))
    protocol = dict(
        name='stt_davis_s8',
        radius=params['neighbor_range'] // 2,
        topk=params['topk'],
        temperature=params['temperature'],
        num_context=params['precede_frames'],
    )
    tracker = Tracker(LabelPropagator(protocol))
    features = torch.from_numpy(golden['features']).to(device)
    first, size = golden['first_label'], tuple(golden['original_shape'].tolist())
    assert first.shape == size
    tracker.step(features[0], size, first)
    for feature, expected in zip(features[1:], golden['out'][1:], strict=True):
        assert np.array_equal(tracker.step(feature, size).get().mask, expected)


def expected_mask(label, ids, protocol, size):
    """The output rule in numpy."""
    target = size if protocol.output == 'original' else protocol.input_size(size)
    label = torch.cat([label[:1], label[1:] * protocol.gain])
    if protocol.read_out == 'nearest':
        rows, columns = (torch.arange(new) * old // new for old, new in zip(label.shape[1:], target, strict=True))
        full = label[:, rows][:, :, columns].numpy()
    elif protocol.read_out == 'opencv':
        full = cv2.resize(label.permute(1, 2, 0).numpy(), target[::-1]).reshape(*target, -1).transpose(2, 0, 1)
    else:
        aligned = protocol.read_out == 'aligned'
        full = F.interpolate(label[None], size=target, mode='bilinear', align_corners=aligned)[0].numpy()
    if protocol.min_max:
        for k, channel in enumerate(full):
            if channel.max() > 0:
                full[k] = (channel - channel.min()) / (channel.max() - channel.min() + 1e-12)
    mask = np.array(ids, np.uint8)[full.argmax(0)]
    if protocol.output == 'input_floor':
        return mask[np.ix_(*(np.arange(new) * old // new for old, new in zip(target, size, strict=True)))]
    return np.asarray(Image.fromarray(mask).resize(size[::-1], Image.NEAREST))


def cornered(mask, protocol):
    """One-hot of the first pixel of each of 9 x 13 cells at the input's size."""
    height, width = protocol.padded(mask.shape)
    mask = np.pad(mask, ((0, height - mask.shape[0]), (0, width - mask.shape[1])))
    height, width = protocol.input_size(mask.shape)
    mask = np.asarray(Image.fromarray(mask).resize((width, height), Image.NEAREST))
    step = [
        next((stride for stride in (4, 8, 16, 32, 64) if math.ceil(side / stride) == cells), math.ceil(side / cells))
        for side, cells in ((height, 9), (width, 13))
    ]
    rows, columns = (
        [min(cell * stride, side - 1) for cell in range(cells)]
        for cells, stride, side in zip((9, 13), step, mask.shape, strict=True)
    )
    return torch.from_numpy(np.stack([mask[np.ix_(rows, columns)] == k for k in (0, 7, 14)])).float()


@pytest.mark.parametrize('name', PRESETS)
def test_every_protocol_reads_and_writes_masks_by_its_rules(name, device):
    changes = dict(num_context=2, **(dict(lags=(1, 2)) if PRESETS[name].lags else {}))
    propagator = LabelPropagator(dict(name=name, **changes))
    tracker, protocol = Tracker(propagator), propagator.protocol
    generator = torch.Generator().manual_seed(1)
    frames = torch.randn(3, 5, 9, 13, generator=generator)
    mask = np.kron(np.random.default_rng(0).integers(0, 3, (6, 7)), np.ones((11, 14))).astype(np.uint8) * 7
    first = tracker.step(frames[0].to(device), mask.shape, mask).get().mask
    if protocol.first_label == 'corner':
        label = cornered(mask, protocol)
    elif protocol.first_label in ('bilinear', 'floor_bilinear', 'nearest_bilinear', 'aligned'):
        size, on_the_way = protocol.input_size(mask.shape), mask
        if protocol.first_label == 'floor_bilinear':
            rows, columns = (np.arange(new) * old // new for old, new in zip(mask.shape, size, strict=True))
            on_the_way = mask[np.ix_(rows, columns)]
        elif protocol.first_label == 'nearest_bilinear':
            on_the_way = np.asarray(Image.fromarray(mask).resize(size[::-1], Image.NEAREST))
        one_hot = np.stack([on_the_way == k for k in (0, 7, 14)]).astype(np.float32)
        aligned = protocol.first_label == 'aligned'
        label = F.interpolate(torch.from_numpy(one_hot)[None], size=(9, 13), mode='bilinear', align_corners=aligned)[0]
    else:
        picture = Image.fromarray(mask)
        if protocol.first_label == 'nearest_twice':
            picture = picture.resize((560, 560), Image.NEAREST)
        sampled = np.asarray(picture.resize((13, 9), Image.NEAREST))
        label = torch.from_numpy(np.stack([sampled == k for k in (0, 7, 14)])).float()
        if name.startswith('stt_vip'):
            assert protocol.first_output == 'resized'
            at_input = torch.from_numpy(np.asarray(picture).copy())[None, None].float()
            assert np.array_equal(first, F.interpolate(at_input, size=mask.shape, mode='nearest')[0, 0].numpy())
    if protocol.first_output == 'given':
        assert np.array_equal(first, mask)
    by_label = LabelPropagator(dict(name=name, **changes))
    by_label.start(frames[0], label)
    if protocol.first_output == 'grid':
        assert np.array_equal(first, expected_mask(label, (0, 7, 14), protocol, mask.shape))
    elif protocol.first_output == 'propagated':
        assert np.array_equal(first, expected_mask(by_label.step(frames[0]), (0, 7, 14), protocol, mask.shape))
    for frame in frames[1:]:
        soft = by_label.step(frame)
        expected = expected_mask(soft, (0, 7, 14), protocol, protocol.padded(mask.shape))
        if protocol.feedback == 'hard':
            by_label.replace(0, cornered(expected, protocol))
        expected = expected[: mask.shape[0], : mask.shape[1]]
        assert np.array_equal(tracker.step(frame.to(device), mask.shape).get().mask, expected)


def test_masks_must_be_of_the_size_of_the_frame_and_hold_ids():
    tracker, size = Tracker(small()), (10, 12)
    frames = torch.randn(2, 3, 5, 6)
    tracker.step(frames[0], size, square(4))
    for mask, message in (
        (square(4).astype(int) + 300, 'The mask for frame 1 has ids of 300 to'),
        (square(8)[:5], r'The mask for frame 1 is \(5, 12\) \(height, width\), the frame \(10, 12\)'),
    ):
        with pytest.raises(ValueError, match=message):
            copy.deepcopy(tracker).step(frames[1], size, mask)


def test_masks_and_points_at_once_are_those_of_each_alone():
    mask, size, points = square(4), (10, 12), np.array([[3.0, 4.0], [8.0, 7.0], [np.nan, np.nan]])
    frames = torch.randn(4, 3, 5, 6)
    both, masks_alone, points_alone = (Tracker(small()) for _ in range(3))
    for time, frame in enumerate(frames):
        given = dict(mask=mask) if time == 0 else {}, dict(points=points) if time == 1 else {}
        found = both.step(frame, size, **given[0], **given[1]).get()
        assert np.array_equal(found.mask, masks_alone.step(frame, size, **given[0]).get().mask)
        if time == 0:
            assert found.points.shape == (0, 2)
            continue
        alone = points_alone.step(frame, size, **given[1]).get()
        np.testing.assert_allclose(found.points, alone.points, rtol=0, atol=1e-5)
        assert not alone.mask.any()
        # What is given comes out as given; a point that nobody knows is lost.
        assert (found.points[2] == -1).all()
        assert np.array_equal(found.points[:2], points[:2]) is (time == 1)


def test_before_the_first_labels_there_are_none():
    tracker = Tracker(small(), with_scores=True)
    found = tracker.step(None, (10, 12)).get()
    assert (found.mask.shape, found.mask.any(), found.points.shape, found.scores) == ((10, 12), False, (0, 2), None)
    assert np.array_equal(tracker.step(torch.randn(3, 5, 6), (10, 12), square(3)).get().mask, square(3))


@pytest.mark.parametrize('codec', ['image', 'grid'])
def test_points_are_read_back_from_their_maps_where_the_protocol_says_so(codec, device):
    size, points = (320, 320), np.array([[100.0, 60.0], [30.0, 250.0]])
    given, resized = (
        Tracker(LabelPropagator(dict(name='stt_jhmdb_s8', points=codec, first_output=rule)))
        for rule in ('given', 'resized')
    )
    feature = torch.randn(3, 40, 40, device=device)
    assert np.array_equal(given.step(feature, size, points=points).get().points, points)
    drawn = points_to_label(torch.from_numpy(points), size, size, size if codec == 'image' else (40, 40), codec)
    expected = label_to_points(drawn, size, size, codec).numpy()
    assert not np.array_equal(expected, points)
    assert np.array_equal(resized.step(feature, size, points=points).get().points, expected)


def test_values_of_a_mask_decided_at_the_input_size():
    """Both are sampled from the input's size by the same rule, so that a value is that of the id it stands with."""
    propagator = LabelPropagator(dict(name='dino_davis_p8', short_side=64))
    mask, same = np.zeros((100, 150), np.uint8), LabelPropagator(dict(name='dino_davis_p8', short_side=64))
    mask[20:60, 30:90] = 3
    frames = torch.randn(2, 6, 8, 12, generator=torch.Generator().manual_seed(0))
    tracker = Tracker(propagator, with_scores=True)
    tracker.step(frames[0], (100, 150), mask)
    same.start(frames[0], propagator._groups[0].labels[:, :, 0].permute(2, 0, 1))
    found, label = tracker.step(frames[1], (100, 150)).get(), same.step(frames[1])
    size = propagator.protocol.input_size((100, 150))
    assert size != (100, 150)
    full = resize_label(label, size)
    low, high = full.amin((1, 2), keepdim=True), full.amax((1, 2), keepdim=True)
    best, winner = ((full - low) / (high - low + 1e-12)).max(0)
    lines = [Image.fromarray(np.arange(side, dtype=np.int32)[None]) for side in size]
    rows, columns = (
        np.array(line.resize((new, 1), Image.NEAREST))[0] for line, new in zip(lines, (100, 150), strict=True)
    )
    ids = (3 * winner[rows][:, columns]).to(torch.uint8).numpy()
    assert np.array_equal(found.mask, ids)
    assert found.scores == {3: pytest.approx(best[rows][:, columns].double().numpy()[ids == 3].mean())}


@pytest.mark.parametrize('kind', [np.uint8, np.int64])
def test_ids_are_bytes_whatever_type_the_masks_have(kind):
    tracker, size, frames = Tracker(small()), (10, 12), torch.randn(2, 3, 5, 6)
    other = square(5, slice(0, 9))
    first = tracker.step(frames[0], size, square(4).astype(kind)).get().mask
    late = tracker.step(frames[1], size, other.astype(kind)).get().mask
    assert first.dtype == late.dtype == np.uint8
    # Over what was found, whatever its id.
    assert np.array_equal(late == 5, other == 5)


def test_the_strength_of_an_object_is_the_mean_of_its_pixels():
    mask = torch.tensor([[0, 1, 1], [7, 7, 1]], dtype=torch.uint8)
    value = torch.tensor([[0.9, 0.25, 0.5], [0.1, 0.3, 0.75]])
    assert means_by_id(*id_strengths(mask, value).numpy()) == {1: pytest.approx(0.5), 7: pytest.approx(0.2)}


def test_an_object_between_the_cells_is_told(caplog):
    mask = square(4)
    mask[0, 0] = 9
    with caplog.at_level(logging.WARNING):
        Tracker(small()).step(torch.randn(3, 5, 6), (10, 12), mask)
    assert 'Frame 0: object 9 falls between the 5x6 cells of the features and is lost at once' in caplog.text
    assert 'a finer grid: a config at stride 4, or a larger' in caplog.text


def test_nobody_is_sent_to_the_stride_that_is_there_nor_through_a_long_list(caplog):
    mask = np.zeros((80, 96), np.uint8)
    mask[1::8, 1::8] = np.arange(1, 121).reshape(10, 12)
    with caplog.at_level(logging.WARNING):
        Tracker(small(short_side=None)).step(torch.randn(3, 20, 24), mask.shape, mask)
    (record,) = caplog.records
    assert record.getMessage() == (
        'Frame 0: object 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and each of 110 more falls between the 20x24 cells of the '
        'features and is lost at once. Follow it as a point, or take a finer grid: a larger '
        'model.propagator.protocol.short_side.'
    )


def test_results_of_a_gpu_are_asked_for_one_frame_late():
    log = []

    class Result:
        def __init__(self, number, on_gpu):
            self.number, self.on_gpu = number, on_gpu
            log.append(f'made {number}')

        def get(self):
            log.append(f'got {self.number}')
            return self.number

    for on_gpu, expected in (
        (True, ['made 0', 'made 1', 'got 0', 'made 2', 'got 1', 'got 2']),
        (False, ['made 0', 'got 0', 'made 1', 'got 1', 'made 2', 'got 2']),
    ):
        log.clear()
        assert list(in_turn(Result(number, on_gpu) for number in range(3))) == [0, 1, 2]
        assert log == expected


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ('name', 'protocol'), [('mast_track', 'mast_davis'), ('liir_u_track', 'liir_unofficial_davis')]
)
def test_masks_equal_those_of_the_code_of_mast_and_liir(name, protocol, dtype, data, device):
    golden = np.load(data / 'mast_liir' / f'{name}.npz')
    tracker, mask = Tracker(LabelPropagator(protocol)), golden['first_label']
    for time, feature in enumerate(torch.from_numpy(golden['features']).to(device, dtype)):
        found = tracker.step(feature, mask.shape, mask if time == 0 else None).get().mask
        wrong = (found != golden['out'][time]).sum()
        # In float32 a place that a long search found may flip a pixel.
        assert wrong <= (0 if dtype == torch.float64 else 2), time


def test_late_objects_are_fed_back_as_masks_too():
    """Each group has its own objects and takes all else for background."""
    tracker = Tracker(LabelPropagator(dict(name='mast_davis', radius=2)))
    features = torch.randn(4, 8, 6, 7)
    first, second = np.zeros((24, 28), np.uint8), np.zeros((24, 28), np.uint8)
    first[:12, :8], second[8:20, 16:] = 3, 9
    tracker.step(features[0], first.shape, first)
    tracker.step(features[1], first.shape, second)
    for feature in features[2:]:
        found = tracker.step(feature, first.shape).get().mask
        place = tracker._propagator._frames.index(tracker._propagator._time)
        for group, number in zip(tracker._propagator._groups, (3, 9), strict=True):
            kept = group.labels[2:-2, 2:-2, place]
            sampled = torch.from_numpy(found[::4, ::4] == number)
            assert torch.equal(kept, torch.stack([~sampled, sampled], -1).float())


def test_the_last_frame_before_an_error_comes_out_where_results_are_late():
    def steps(on_gpu):
        for number in range(3):
            yield SimpleNamespace(on_gpu=on_gpu, get=lambda number=number: number)
        raise OSError('broken')

    for on_gpu in (False, True):
        results = in_turn(steps(on_gpu))
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(OSError, match='broken'):
            next(results)


def test_ids_that_no_mask_can_hold_are_refused():
    for mask, got in ((-square(4).astype(int), '-4 to 0'), (square(4).astype(int) * 75, '0 to 300')):
        with pytest.raises(ValueError, match=f'mask for frame 0 has ids of {got}; objects are numbers from 1'):
            Tracker(small()).step(torch.randn(3, 5, 6), (10, 12), mask)


def test_objects_that_are_lost_leave_the_others_as_they_are():
    """One that falls between the cells, and one whose labels die out: their background is rounding errors."""
    mask, lost, frames = square(4), np.zeros((10, 12), np.uint8), torch.randn(6, 3, 5, 6)
    lost[0, 0] = 9
    alone, beside = Tracker(small()), Tracker(small())
    for time, frame in enumerate(frames):
        first = mask if time == 0 else None
        expected = alone.step(frame, mask.shape, first).get().mask
        found = beside.step(frame, mask.shape, lost if time == 2 else first).get().mask
        if time != 2:
            assert np.array_equal(found, expected), time
    ids, full = torch.tensor([0, 4, 9], dtype=torch.uint8), torch.rand(2, 5, 6)
    dead = torch.stack([1 + 1e-7 * torch.rand(5, 6), torch.zeros(5, 6)])
    for min_max in (False, True):
        expected, _ = label_to_mask([full], ids[:2], (10, 12), min_max)
        assert torch.equal(label_to_mask([full, dead], ids, (10, 12), min_max)[0], expected)


def test_objects_of_too_few_pixels_are_left_out(caplog):
    mask = np.zeros((20, 24), np.uint8)
    mask[2:4, 2:8], mask[10:12, 10:16], mask[16:20, 3:9] = 3, 5, 6
    mask[2, 2] = 0
    features = torch.randn(2, 4, 5, 6)
    left_out, without = (Tracker(small(short_side=None, least_pixels=number)) for number in (12, 1))
    with caplog.at_level(logging.WARNING):
        left_out.step(features[0], mask.shape, mask)
    assert 'Frame 0: object 3 has fewer than 12 pixels at the size of the network' in caplog.text
    without.step(features[0], mask.shape, np.where(mask == 3, 0, mask))
    found = [tracker.step(features[1], mask.shape).get().mask for tracker in (left_out, without)]
    assert np.array_equal(*found)
    assert left_out._names.tolist() == [0, 5, 6]


def test_labels_that_come_late_are_read_from_the_grid_over_those_that_were_there():
    """Where the first frame is put out as any other, so is the frame of late labels."""
    first, late = square(3), square(9, slice(5, 9))
    features = torch.randn(3, 4, 5, 6)
    for rule in ('grid', 'propagated'):
        tracker, alone = (Tracker(small(first_output=rule, read_out='nearest')) for _ in range(2))
        tracker.step(features[0], first.shape, first)
        alone.step(features[0], first.shape, first)
        expected = alone.step(features[1], first.shape).get().mask
        rows, columns = (np.arange(new) * old // new for old, new in zip((5, 6), first.shape, strict=True))
        sampled = np.asarray(Image.fromarray(late).resize((6, 5), Image.NEAREST))[np.ix_(rows, columns)]
        expected[sampled == 9] = 9
        assert np.array_equal(tracker.step(features[1], first.shape, late).get().mask, expected)


def test_a_first_frame_that_comes_twice_is_the_first_of_a_longer_video():
    features, mask = torch.randn(5, 4, 5, 6), square(3)
    twice, longer = (
        LabelPropagator(dict(name='timecycle_davis', num_context=2, topk=3, size=(40, 48))) for _ in range(2)
    )
    tracker = Tracker(twice)
    label = torch.rand(2, 5, 6)
    longer.start(features[0], label)
    tracker._follow(features[0], label, Group((3,), True, 2), None)
    longer.step(features[0])
    for feature in features[1:]:
        assert torch.equal(twice.step(feature), longer.step(feature))
    broken = torch.full((4, 5, 6), float('nan'))
    with pytest.raises(ValueError, match='features of frame 0'):
        Tracker(LabelPropagator('timecycle_davis')).step(broken, mask.shape, mask)
    tracker = Tracker(LabelPropagator(dict(name='timecycle_davis', size=(40, 48))))
    tracker.step(features[0], mask.shape, mask)
    with pytest.raises(ValueError, match='features of frame 1'):
        tracker.step(broken, mask.shape)


def test_points_that_are_read_from_the_grid_are_read_as_in_any_frame():
    size, points = (240, 320), np.array([[100.0, 60.0], [30.0, 200.0]])
    tracker = Tracker(LabelPropagator('cropmae_jhmdb'))
    found = tracker.step(torch.randn(3, 20, 20), size, points=points).get().points
    drawn = points_to_label(torch.from_numpy(points), size, (320, 320), (20, 20), 'grid', 0.5)
    assert np.array_equal(found, label_to_points(drawn, size, (320, 320), 'grid', 5).numpy())
