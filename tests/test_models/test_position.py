"""The position map of a network, and the networks of MAST and LIIR against their public code."""

import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import init_default_scope
from public_layouts import drawn_weights
from torch.testing import assert_close

from stt_mm.models import CorrespondenceResNet, PositionMap
from stt_mm.ops import draw_permutations, draw_shifts, shift_map, shuffle_map
from stt_mm.registry import MODELS
from stt_mm.utils.weights import load_backbone

init_default_scope('stt_mm')
ROOT = Path(__file__).parents[2]
DATA = ROOT / 'tests' / 'data'
KINDS = [dict(kind='sin2d'), dict(kind='abs1d'), dict(kind='abs2d'), dict(kind='abs2d', combine='add')]


def network(name, **changes):
    """The backbone of a base config."""
    cfg = Config.fromfile(ROOT / 'configs' / '_base_' / 'models' / f'{name}_r18.py').model.backbone
    return MODELS.build(dict(cfg, **changes))


def frame_of(data):
    """The golden frame ``[1, 3, H, W]``, padded as its code pads it."""
    frame = torch.from_numpy(data['lab'].astype(np.float64) * np.float64(data['lab_scale']))[None]
    height, width = json.loads(str(data['params'])).get('padded_to', frame.shape[-2:])
    return F.pad(frame, (0, width - frame.shape[3], 0, height - frame.shape[2]))


def mean_and_std(values):
    return torch.stack([values.mean(), values.std()])


@pytest.mark.parametrize('case', ['a', 'b'])
@pytest.mark.parametrize(
    ('name', 'layout', 'source'),
    [
        ('mast', 'mast', 'MAST, MAMP or CorrFlow'),
        ('liir', 'liir_u_momentum', 'unofficial LIIR'),
    ],
)
def test_the_networks_of_mast_and_liir_are_those_of_their_code(name, layout, source, case, tmp_path):
    data = np.load(DATA / f'{layout.removesuffix("_momentum")}_encoder_{case}.npz')
    weights = drawn_weights(layout, json.loads(str(data['params']))['weights_seed'])
    torch.save(dict(epoch=3, state_dict=weights), tmp_path / 'file.pth')
    backbone = network(name, out_indices=(3,), projection=64)
    report = load_backbone(backbone, tmp_path / 'file.pth')
    assert (report.source, report.ratio, report.unexpected, report.unused) == (source, 1.0, (), ())
    frame = frame_of(data)
    for dtype, tolerance in ((torch.float64, 1e-5), (torch.float32, 5e-4)):
        backbone.to(dtype).eval()
        with torch.no_grad():
            trunk, features = backbone(frame.to(dtype))
        assert_close(features[0].double(), torch.from_numpy(data['features']).double(), rtol=0, atol=tolerance)
        statistics = torch.from_numpy(data['trunk_mean_std'])
        assert_close(mean_and_std(trunk.double()), statistics, rtol=0, atol=tolerance)
    if name == 'liir':
        backbone.double()
        stem = torch.zeros(1, 64, *backbone.stem_grid(frame.shape[-2:]), dtype=torch.float64)
        expected = torch.from_numpy(data['position_resized_channel0']).double()
        assert_close(backbone.position.on_grid(stem)[0, 0], expected, rtol=0, atol=1e-6)
        backbone.position = None
        with torch.no_grad():
            trunk, _ = backbone(frame)
        without = torch.from_numpy(data['trunk_without_position_mean_std'])
        assert_close(mean_and_std(trunk), without, rtol=0, atol=1e-5)


def test_sizes_of_the_networks():
    assert sum(value.numel() for value in network('mast').parameters()) == 5_291_648
    assert sum(value.numel() for value in network('liir', projection=64).parameters()) == 5_291_648 + 64 * 128 * 128


def filled(settings, channels=8, size=(4, 6)):
    position = PositionMap(channels, size, **settings).double()
    for value in position.parameters():
        torch.nn.init.normal_(value)
    return position


@pytest.mark.parametrize('settings', KINDS)
def test_a_learned_map_starts_at_0_and_gets_a_gradient(settings):
    position = PositionMap(8, (4, 6), **settings)
    x = torch.randn(2, 8, 4, 6, requires_grad=True)
    assert torch.equal(position(x), x) is (settings['kind'] != 'sin2d')
    names = dict(sin2d=set(), abs1d={'map'}, abs2d={'columns', 'rows'})
    assert set(position.state_dict()) == names[settings['kind']]
    for frames in (x, F.pad(x, (0, 3, 0, 1), value=1.0)):
        position.zero_grad()
        position(frames).square().sum().backward()
        assert all(value.grad.abs().sum() > 0 for value in position.parameters())


@pytest.mark.parametrize('combine', ['concat', 'add'])
def test_rows_and_columns_become_one_map(combine):
    position = filled(dict(kind='abs2d', combine=combine))
    values = position.on_grid(torch.zeros(1, 8, 4, 6, dtype=torch.float64))[0]
    for y in range(4):
        for x in range(6):
            column, row = position.columns[0, :, 0, x], position.rows[0, :, y, 0]
            expected = torch.cat([column, row]) if combine == 'concat' else column + row
            assert torch.equal(values[:, y, x], expected)


@pytest.mark.parametrize('settings', KINDS)
@pytest.mark.parametrize('grid', [(4, 6), (5, 9)])
def test_moved_maps_have_no_gradient_and_are_the_map_again_afterwards(settings, grid):
    position, x = filled(settings), torch.randn(3, 8, *grid, dtype=torch.float64, requires_grad=True)
    plain = position.on_grid(x).detach()
    rng = np.random.default_rng(0)
    steps, orders = draw_shifts(rng, 3, grid), draw_permutations(rng, 3, grid)
    views = [
        (position.shifted(steps), shift_map(plain, steps)),
        (position.shuffled(orders), shuffle_map(plain, orders)),
    ]
    for view, expected in views:
        with view:
            moved = position(x)
        assert torch.equal(moved, x + expected)
        moved.sum().backward()
        assert all(value.grad is None for value in position.parameters())
        assert torch.equal(position(x), x + plain)
    assert x.grad.abs().sum() > 0


def test_an_error_inside_leaves_the_map_as_it_was_and_the_number_of_frames_is_checked():
    position = filled(dict(kind='abs1d'))
    x = torch.zeros(2, 8, 4, 6, dtype=torch.float64)
    with (
        pytest.raises(ValueError, match='moved for 3 frames, the batch has 2'),
        position.shifted(torch.ones(3, 2).long()),
    ):
        position(x)
    assert torch.equal(position(x), position.on_grid(x).expand_as(x))


def test_a_frame_is_encoded_under_its_own_shift():
    """A stored batch is what each of its frames alone is under its step; a frame and map that move together do so."""
    backbone = CorrespondenceResNet(18, 'stride4_mast', (1,), position=dict(type='PositionMap', size=(16, 24))).eval()
    torch.nn.init.normal_(backbone.position.map)
    frames = torch.randn(2, 3, 32, 48)
    steps = torch.tensor([[3, -5], [20, 0]])
    with torch.no_grad():
        plain = backbone(frames)[0]
        with backbone.position.shifted(steps):
            together = backbone(frames)[0]
        alone = []
        for frame, step in zip(frames, steps, strict=True):
            moved = deepcopy(backbone)
            moved.position.map.copy_(torch.roll(backbone.position.map, step.tolist(), (2, 3)))
            alone.append(moved(frame[None])[0])
    assert_close(together, torch.cat(alone))
    assert (together - plain).abs().max() > 0.1


def test_half_precision_stays_half_and_rounds_once():
    position = PositionMap(8, (4, 6), 'sin2d')
    half = position(torch.zeros(1, 8, 5, 7, dtype=torch.bfloat16))
    assert torch.equal(half, position(torch.zeros(1, 8, 5, 7)).bfloat16())


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(kind='none'), "kind must be one of 'sin2d', 'abs1d', 'abs2d', got 'none'"),
        (dict(combine='mean'), "combine must be one of 'concat', 'add'"),
        (dict(channels=6, kind='sin2d'), 'sin2d needs a multiple of 4 channels, got 6'),
        (dict(channels=5, kind='abs2d'), 'abs2d needs a multiple of 2 channels, got 5'),
        (dict(size=(128,)), r'size must be \(an integer, an integer\), got \(128,\)'),
        (dict(size=(0, 4)), 'size must be a whole number of at least 1'),
    ],
)
def test_a_map_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PositionMap(**settings)


def test_a_map_may_be_new_to_a_file(tmp_path):
    """Only if it is said, and only if the file is without one."""
    plain, mapped = dict(type='CorrespondenceResNet', depth=18), dict(type='PositionMap', channels=64, size=(8, 8))
    for name, settings in (('plain', {}), ('mapped', dict(position=mapped))):
        network = MODELS.build(plain | settings)
        torch.save({f'backbone.{key}': value for key, value in network.state_dict().items()}, tmp_path / f'{name}.pth')
    start = dict(type='Pretrained', checkpoint=str(tmp_path / 'plain.pth'))
    with pytest.raises(ValueError, match='must have the same position map, or none'):
        MODELS.build(dict(plain, position=mapped, init_cfg=start)).init_weights()
    network = MODELS.build(dict(plain, position=mapped, init_cfg=dict(start, new=['position'])))
    network.init_weights()
    assert network.report.missing == ()
    assert not network.position.map.any()
    start['checkpoint'] = str(tmp_path / 'mapped.pth')
    with pytest.raises(ValueError, match='must have the same position map, or none'):
        MODELS.build(dict(plain, position=mapped, init_cfg=dict(start, new=['position']))).init_weights()
    with pytest.raises(ValueError, match=r'init_cfg\.new must be'):
        MODELS.build(dict(plain, init_cfg=dict(start, new=3)))
