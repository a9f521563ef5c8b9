"""Protocols against what the published code makes of the same features: maps on the grid, masks, joints and sizes."""

import json

import numpy as np
import pytest
import torch

from stt_mm.evaluation.functional.jhmdb import count_points, pck
from stt_mm.models import LabelPropagator, Tracker
from stt_mm.ops import image_to_input, resize_frame
from stt_mm.protocols import get_protocol


def remembered(tracker):
    """``[K, h, w]``: the labels of the last frame as they are in the memory."""
    propagator = tracker._propagator
    place = propagator._frames.index(propagator._time)
    return propagator._groups[0].labels[:, :, place].permute(2, 0, 1)


# The preset of each file, and what the file changes: the sizes of its small frames.
TRACKS = {
    'dinov3_track_hard': dict(name='dinov3_davis_s', short_side=416),
    'dinov3_track_ties': dict(name='dinov3_davis_s', short_side=288),
    'dinov3_track_lost_object_p14': dict(name='dinov3_davis_s_p14', short_side=294),
    'cropmae_davis_hard': dict(name='cropmae_davis', size=(216, 352)),
    'cropmae_davis_long': dict(name='cropmae_davis', size=(192, 192)),
    'cropmae_vip': dict(name='cropmae_vip'),
    'rsp_davis': dict(name='rsp_davis'),
    'rsp_davis_p16': dict(name='rsp_davis'),
    'dift_sd_davis': dict(name='dift_sd_davis'),
    'uvc_davis': dict(name='uvc_davis', short_side=128),
    'timecycle_davis': dict(name='timecycle_davis', size=(160, 160)),
}


@pytest.mark.parametrize('name', TRACKS)
def test_masks_and_maps_are_those_of_the_published_code(name, data, device):
    golden = np.load(data / 'protocols' / f'{name}.npz')
    tracker, mask = Tracker(LabelPropagator(TRACKS[name])), golden['first_label']
    assert tracker._propagator.protocol.input_size(mask.shape) == tuple(golden['input_size'])
    wrong, off = 0, 0.0
    for time, feature in enumerate(torch.from_numpy(golden['features']).float().to(device)):
        found = tracker.step(feature, mask.shape, mask if time == 0 else None).get().mask
        wrong += (found != golden['out'][time]).sum()
        # Ids that are not on the grid have channels of zeros in the file, or there are none.
        expected, names = torch.from_numpy(golden['soft'][time]), tracker._names.tolist()
        lost = sorted({*range(len(expected))} - {*names}) if max(names) < len(expected) else []
        assert not expected[lost].any()
        there = [channel for channel in range(len(expected)) if channel not in lost]
        off = max(off, (remembered(tracker).cpu() - expected[there]).abs().max())
    assert off <= 1e-5
    assert wrong == 0


# Settings that are nearly those of a preset, and change masks or maps: the files tell them apart.
NEARLY = [
    ('dinov3_track_hard', dict(read_out='bilinear')),
    ('dinov3_track_hard', dict(num_context=8)),
    ('dinov3_track_hard', dict(strict=True)),
    ('dinov3_track_hard', dict(temperature=0.22)),
    ('dinov3_track_ties', dict(ties='cut')),
    ('cropmae_vip', dict(first_label='bilinear')),
    ('cropmae_vip', dict(first_label='nearest_bilinear')),
    ('cropmae_davis_hard', dict(strict=False)),
    ('cropmae_davis_long', dict(output='input')),
    ('cropmae_davis_long', dict(first_output='given')),
    ('cropmae_davis_long', dict(first_frame='repeated')),
    ('cropmae_davis_long', dict(first_window=True)),
    ('cropmae_vip', dict(output='input_floor')),
    ('rsp_davis_p16', dict(window=None)),
    ('rsp_davis', dict(num_context=29)),
    ('dift_sd_davis', dict(num_context=27)),
    ('uvc_davis', dict(vote='frame_softmax')),
    ('uvc_davis', dict(normalize=True)),
    ('timecycle_davis', dict(feedback='soft')),
    ('timecycle_davis', dict(normalize=True)),
    ('timecycle_davis', dict(first_frame='once')),
    ('timecycle_davis', dict(first_output='grid')),
]


@pytest.mark.parametrize(('name', 'change'), NEARLY, ids=[f'{name}-{change}' for name, change in NEARLY])
def test_what_is_nearly_the_protocol_is_told(name, change, data):
    golden = np.load(data / 'protocols' / f'{name}.npz')
    tracker, mask = Tracker(LabelPropagator(dict(TRACKS[name], **change))), golden['first_label']
    for time, feature in enumerate(torch.from_numpy(golden['features']).float()):
        found = tracker.step(feature, mask.shape, mask if time == 0 else None).get().mask
        maps, expected = remembered(tracker), torch.from_numpy(golden['soft'][time])
        if maps.shape != expected.shape or (maps - expected).abs().max() > 1e-4:
            return
        if (found != golden['out'][time]).any():
            return
    pytest.fail(f'{change} makes no difference')


def test_joints_are_those_of_the_published_code(data, device):
    golden = np.load(data / 'protocols' / 'cropmae_jhmdb.npz')
    size, joints = tuple(golden['original_shape'].tolist()), golden['joints'].transpose(2, 1, 0) - 1
    tracker, found = Tracker(LabelPropagator('cropmae_jhmdb')), []
    checked = golden['soft_frames'].tolist()
    for time, feature in enumerate(torch.from_numpy(golden['features']).float().to(device)):
        found.append(tracker.step(feature, size, points=joints[0] if time == 0 else None).get().points)
        if time in checked:
            expected = golden['soft'][checked.index(time)]
            assert np.abs(remembered(tracker).cpu().numpy() - expected).max() <= 1e-5
    found = np.stack(found)
    cells = np.where(found < 0, -1, found * 20 / np.array(size[::-1])).transpose(2, 1, 0)
    assert np.abs(cells - golden['coords'])[:, golden['stable']].max() <= 1e-4
    # From the joints of the file, as a joint of equal cells may go either way.
    points = golden['coords'].transpose(2, 1, 0).astype(np.float64)
    counts = count_points(np.where(points < 0, -1, points / 20 * np.array(size[::-1])), joints)['CRW']
    np.testing.assert_allclose(pck(counts['hits'], counts['scored']), golden['pck'], rtol=0, atol=1e-9)


@pytest.mark.parametrize('name', ['dinov3_resize_up', 'dinov3_resize_down'])
def test_frames_are_those_of_the_published_code(name, data):
    golden = np.load(data / 'protocols' / f'{name}.npz')
    protocol = get_protocol(
        dict(name='dinov3_davis_s', short_side=int(golden['short_side']), multiple=int(golden['patch']))
    )
    resized = resize_frame(golden['image'], protocol.input_size(golden['image'].shape[:2]), protocol.resize)
    assert np.array_equal(resized, golden['resized'])
    assert np.array_equal(image_to_input(resized, protocol.color).numpy(), golden['out'])


def test_sizes_are_those_of_the_published_code(data):
    for case in json.loads((data / 'protocols' / 'dinov3_input_sizes.json').read_text()):
        settings = dict(name='dinov3_davis_s', short_side=case['short_side'], multiple=case['patch'])
        assert get_protocol(settings).input_size((case['height'], case['width'])) == tuple(case['input']), case
    for case in json.loads((data / 'protocols' / 'cropmae_vip_sizes.json').read_text()):
        size = get_protocol('cropmae_vip').input_size((case['height'], case['width']))
        assert size == tuple(case['input']), case
        assert [side // 16 for side in size] == case['grid'], case
    presets = dict(rsp='rsp_davis', dift='dift_sd_davis')
    for case in json.loads((data / 'protocols' / 'dino_family_sizes.json').read_text()):
        size = get_protocol(presets[case['protocol']]).input_size((case['height'], case['width']))
        assert size == tuple(case['input']), case
