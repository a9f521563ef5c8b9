"""Late fusion: identities of the fused cosine, and a run through tools/test.py."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from tiny_data import make_davis, moving_shapes, texture
from torch.testing import assert_close
from torchvision.models import resnet18, resnet50
from twins import window_cells

from stt_mm.engine import load_config
from stt_mm.ops.color import image_to_input
from stt_mm.registry import MODELS
from stt_mm.utils.checkpoint import sha8

ROOT = Path(__file__).parents[2]
init_default_scope('stt_mm')


def fused(first=None, second=None, protocol=None, **changes):
    """Two small networks of random weights at stride 8."""
    network = dict(type='CorrespondenceResNet', depth=18, geometry='stride8', out_indices=(1, 2))
    pooled = dict(network, geometry='stride8_maxpool')
    settings = dict(
        type='LateFusion',
        backbones=[network | (first or {}), pooled | (second or {})],
        colors=('lab', 'rgb'),
        feature_stages=('res4', 'res4'),
        propagator=dict(type='LabelPropagator', protocol=dict(name='sfc_fusion_davis', **(protocol or {}))),
    )
    torch.manual_seed(0)
    model = MODELS.build(dict(settings, **changes))
    model.init_weights()
    return model.eval()


def alone(model, number, image):
    """Unit features ``[C, h * w]`` of one of the networks, from a Correspondence of its own colours."""
    single = MODELS.build(
        dict(
            type='Correspondence',
            feature_stage='res4',
            propagator=dict(type='LabelPropagator', protocol=dict(name='sfc_fusion_davis', color=model.colors[number])),
            backbone=dict(
                type='CorrespondenceResNet',
                depth=18,
                geometry=('stride8', 'stride8_maxpool')[number],
                out_indices=(2,),
            ),
        )
    )
    single.backbone.load_state_dict(model.backbones[number].state_dict())
    return F.normalize(single.eval().feature(image).flatten(1), dim=0)


@pytest.mark.parametrize('weight', [0.0, 0.5, 1.75, 1e4])
def test_the_fused_cosine_is_the_weighted_mean_of_cosines(weight):
    model = fused(weights=(weight, 1.0))
    images = [texture((48, 72), seed) for seed in (1, 2)]
    with torch.no_grad():
        query, key = (F.normalize(model.feature(image).flatten(1), dim=0) for image in images)
        fine, semantic = ((alone(model, k, images[0]).T @ alone(model, k, images[1])) for k in (0, 1))
    expected = (weight**2 * fine + semantic) / (weight**2 + 1)
    assert_close(query.T @ key, expected, rtol=0, atol=1e-6)
    if weight in (0.0, 1e4):
        assert_close(query.T @ key, (semantic, fine)[weight > 1], rtol=0, atol=1e-6)
    # The two networks do not agree by themselves.
    assert (fine - semantic).abs().max() > 0.05


def test_a_feature_has_length_1_and_the_channels_of_all_networks():
    model = fused(feature_stages=('res3', 'res4'), first=dict(geometry=('none', (1, 4, 1))))
    feature = model.feature(texture((48, 72), 0))
    assert feature.shape == (128 + 256, 6, 9)
    assert_close(feature.norm(dim=0), torch.ones(6, 9))
    # 1.75 ** 2 / (1.75 ** 2 + 1) = 0.754 of the squared length is that of the first network.
    assert_close(feature[:128].square().sum(0), torch.full((6, 9), 0.7538461538))


def test_half_precision_is_fused_in_float32(monkeypatch):
    """Each number is rounded once, at the end; in float16 there would be another for each step."""
    model, expected = fused(), []
    for network, weight in zip(model.backbones, model.weights, strict=True):
        maps = torch.rand(1, 50, 8, 9).half()
        monkeypatch.setattr(network, 'forward', lambda frame, maps=maps: (maps,))
        expected.append(maps.double() / maps.double().norm(dim=1) * weight / sum(w**2 for w in model.weights) ** 0.5)
    feature = model.extract_feat(torch.zeros(1, 6, 16, 24))['fused']
    wrong = feature != torch.cat(expected, dim=1).half()
    assert feature.dtype == torch.float16
    assert wrong.float().mean() < 0.001


def test_labels_go_by_the_fused_affinity_before_the_top_k():
    """The propagated label equals a dense form on the weighted sum of the two networks' cosines."""
    model = fused(protocol=dict(radius=2, strict=False, topk=3, first_frame='once', first_window=True))
    frames, masks = moving_shapes(2, (48, 72), 2)
    label = F.one_hot(torch.from_numpy(masks[0][4::8, 4::8]).long(), 3).permute(2, 0, 1).float()
    features = [model.feature(frame) for frame in frames]
    model.propagator.start(features[0], label)
    found = model.propagator.step(features[1])
    cosines = [alone(model, k, frames[1]).T @ alone(model, k, frames[0]) for k in (0, 1)]
    scores = (1.75**2 * cosines[0] + cosines[1]) / (1.75**2 + 1)
    scores[~window_cells('circle', 2, False, 6, 9)] = -torch.inf
    best, index = scores.topk(3)
    votes = torch.zeros_like(scores).scatter_(1, index, (best / 0.1).softmax(1))
    assert_close(found.flatten(1), label.flatten(1) @ votes.T, rtol=0, atol=1e-5)


def test_both_networks_see_the_frame_at_the_size_of_the_protocol():
    model, image = fused(protocol=dict(short_side=24)), texture((48, 72), 0)
    found = model.prepare(image)
    assert found.shape == (6, 24, 36)
    small = cv2.resize(image, (36, 24), interpolation=cv2.INTER_LINEAR)
    assert torch.equal(found, torch.cat([image_to_input(small, 'lab'), image_to_input(small, 'rgb')]))


@pytest.mark.parametrize('channels', [3, 9])
def test_every_network_needs_a_frame_of_its_own(channels):
    with pytest.raises(ValueError, match='zip'):
        fused().extract_feat(torch.rand(1, channels, 48, 72))


def resampled(feature, grid):
    """``[C, h, w]`` at the centres of a grid's cells, cell by cell, each map over the whole frame."""
    out = torch.zeros(len(feature), *grid)
    for row in range(grid[0]):
        for column in range(grid[1]):
            for part, weight in neighbours(row, grid[0], feature.shape[1]):
                for other, share in neighbours(column, grid[1], feature.shape[2]):
                    out[:, row, column] += weight * share * feature[:, part, other]
    return out


def neighbours(cell, cells, old):
    """The two cells of a coarser side between whose centres this one's lies, and how much of each it is."""
    place = min(max((cell + 0.5) / cells * old - 0.5, 0), old - 1)
    low = int(place)
    return [(low, low + 1 - place), (min(low + 1, old - 1), place - low)]


@pytest.mark.parametrize(('second', 'grids'), [('stride4_maxpool', [(6, 9), (12, 18)]), ('standard', [(6, 9), (3, 5)])])
def test_unlike_grids_are_compared_on_the_finest(second, grids, capfd):
    """The maps, not their unit vectors, are resampled; then each has length 1 again, as in one grid."""
    model = fused(first=dict(geometry='stride8'), second=dict(geometry=second))
    image = texture((48, 72), 0)
    frames = model.prepare(image)[None]
    with torch.no_grad():
        feature = model.feature(image)
        maps = [network(frame)[-1][0] for network, frame in zip(model.backbones, frames.split(3, dim=1), strict=True)]
    assert [tuple(one.shape[1:]) for one in maps] == grids
    finest = max(grids)
    expected = [one if tuple(one.shape[1:]) == finest else resampled(one, finest) for one in maps]
    parts = [F.normalize(one, dim=0) * weight for one, weight in zip(expected, (1.75, 1), strict=True)]
    assert_close(feature, torch.cat(parts) / (1.75**2 + 1) ** 0.5, rtol=1e-4, atol=1e-5)
    assert_close(feature.norm(dim=0), torch.ones(finest))
    model.feature(image)
    texts = 'LateFusion: the networks have grids of {} x {}, {} x {}; all are resampled to {} x {}.'
    assert capfd.readouterr().out.count(texts.format(*grids[0], *grids[1], *finest)) == 1


def test_of_grids_with_as_many_cells_the_first_counts(monkeypatch):
    model = fused()
    for network, grid in zip(model.backbones, ((6, 4), (4, 6)), strict=True):
        monkeypatch.setattr(network, 'forward', lambda frame, grid=grid: (torch.rand(1, 5, *grid).half(),))
    feature = model.extract_feat(torch.zeros(1, 6, 16, 24))['fused']
    assert feature.shape == (1, 10, 6, 4)
    assert feature.dtype == torch.float16


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            dict(
                backbones=[dict(type='CorrespondenceResNet', depth=18)],
                weights=(1.0,),
                colors=('rgb',),
                feature_stages=('res4',),
            ),
            'two or more backbones',
        ),
        (dict(weights=(1.0,)), '2 backbones, 1 weights, 2 colors, 2 feature_stages'),
        (dict(weights=(1.0, -1.0)), 'weights must be 0 or larger'),
        (dict(weights=(0, 0)), 'one of the weights must be positive'),
        (dict(colors=('lab', 'hsv')), r"colors\[1\] must be one of 'lab', 'rgb', .*'network', got 'hsv'"),
        (dict(colors=('lab', ((0.5, 0.5), (0.5, 0.5)))), r'colors must be \[text or \(\(a finite number'),
        (dict(feature_stages=('res4', 'res5')), r"feature_stages\[1\] must be one of 'res3', 'res4', got 'res5'"),
    ],
)
def test_what_cannot_be_fused_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        fused(**changes)


def test_what_is_not_said_is_the_last_stage_and_the_colours_of_the_protocol():
    model = fused(colors=None, feature_stages=None, first=dict(out_indices=(0, 1)), second=dict(out_indices=(2,)))
    assert (model.feature_stages, model.colors) == (('res3', 'res4'), ('rgb', 'rgb'))
    assert [network.stages for network in model.backbones] == [('res3',), ('res4',)]
    assert fused(colors=None, propagator=None).colors == ('rgb', 'rgb')
    assert fused(colors=None, protocol=dict(color='lab')).colors == ('lab', 'lab')


def test_the_record_names_weights_colours_and_checkpoints(tmp_path):
    path = tmp_path / 'temporal.pth'
    torch.save(resnet18().state_dict(), path)
    model = fused(first=dict(init_cfg=dict(type='Pretrained', checkpoint=str(path))))
    record = json.loads(json.dumps(model.protocol))
    assert record['name'] == 'sfc_fusion_davis'
    assert record['color'] == ['lab', 'rgb']
    assert record['changed'] == ['color']
    assert record['fusion'] == [
        dict(
            network='CorrespondenceResNet',
            weight=1.75,
            color='lab',
            feature_stage='res4',
            checkpoint='temporal.pth',
            sha8=sha8(path),
        ),
        dict(network='CorrespondenceResNet', weight=1.0, color='rgb', feature_stage='res4', checkpoint=None, sha8=None),
    ]
    assert fused(colors=None).protocol['changed'] == []
    assert fused(propagator=None).protocol is None


def test_the_shipped_configs_have_stride_8_and_their_colours():
    for name, colors in (('davis_late_fusion', ('lab', 'rgb')), ('davis_sfc_fusion', ('rgb', 'rgb'))):
        model = MODELS.build(load_config(ROOT / 'configs' / 'eval' / f'{name}.py').model)
        assert (model.weights, model.colors) == ((1.75, 1.0), colors)
        # An odd size, as native frames may have.
        assert model.eval().feature(texture((47, 75), 0)).shape == (256 + 1024, 6, 10)


def test_the_network_of_sfc_is_one_and_the_same_alone_and_fused():
    """Its weights were trained with zero padding; reflect padding belongs to CRW, on whose code SFC builds."""
    alone, fusion, crw = (
        load_config(ROOT / 'configs' / 'eval' / f'davis_{name}.py').model
        for name in ('sfc_r18', 'sfc_fusion', 'crw_r18')
    )
    for cfg in fusion.backbones:
        cfg.pop('init_cfg')
    assert fusion.backbones[0] == alone.backbone
    assert fusion.backbones[1] == alone.backbone | dict(depth=50)
    found = {}
    for name, cfg in (('alone', alone.backbone), ('fused', fusion.backbones[0]), ('crw', crw.backbone)):
        modules = MODELS.build(cfg).named_modules()
        found[name] = {
            key: (module.stride, module.padding_mode)
            for key, module in modules
            if isinstance(module, torch.nn.Conv2d) and any(module.padding)
        }
    assert found['alone'] == found['fused']
    assert {mode for _, mode in found['alone'].values()} == {'zeros'}
    assert [key for key, (stride, _) in found['alone'].items() if stride == (2, 2)] == ['conv1', 'layer2.0.conv1']
    assert {mode for _, mode in found['crw'].values()} == {'reflect'}


@pytest.mark.slow
def test_tools_test_runs_the_shipped_config(tmp_path, monkeypatch, capsys):
    torch.save(resnet18().state_dict(), tmp_path / 'r18.pth')
    torch.save(resnet50().state_dict(), tmp_path / 'r50.pth')
    make_davis(tmp_path / 'DAVIS', num_videos=1, num_frames=4)
    spec = importlib.util.spec_from_file_location('tool_test', ROOT / 'tools' / 'test.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.chdir(tmp_path)
    config = str(ROOT / 'configs' / 'eval' / 'davis_late_fusion.py')
    options = [
        '--work-dir',
        'out',
        '--out',
        'result.json',
        '--cfg-options',
        'test_dataloader.dataset.data_root=DAVIS',
        'test_dataloader.num_workers=0',
    ]
    checkpoints = [f'model.backbones.{k}.init_cfg.checkpoint={name}.pth' for k, name in enumerate(('r18', 'r50'))]

    with pytest.raises(SystemExit):
        tool.main([config, 'r18.pth', *options, *checkpoints])
    assert 'error: LateFusion' in (error := capsys.readouterr().err)
    assert 'pass "none"' in error
    with pytest.raises(SystemExit):
        tool.main([config, 'none', *options, checkpoints[0].replace('r18', 'r81'), checkpoints[1]])
    assert 'Checkpoint not found: r81.pth (in its folder: r18.pth' in capsys.readouterr().err

    tool.main([config, 'none', *options, *checkpoints])
    for name in ('result.json', 'out/davis_results.json'):
        result = json.loads(Path(name).read_text())
        assert [row['sha8'] for row in result['protocol']['fusion']] == [sha8('r18.pth'), sha8('r50.pth')]
    assert np.isfinite(result['global']['J&F-Mean'])
    assert result['num_videos'] == 1


def test_each_network_may_state_its_own_colours(monkeypatch):
    statistics = ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    network = MODELS.get('CorrespondenceResNet')
    with pytest.raises(ValueError, match="color='network' takes the mean and deviation .* CorrespondenceResNet states"):
        fused(colors=('lab', 'network'))
    monkeypatch.setattr(network, 'statistics', statistics, raising=False)
    model, named = fused(colors=('lab', 'network')), fused(colors=['lab', list(map(list, statistics))])
    image = texture((48, 72), 0)
    assert torch.equal(model.prepare(image), named.prepare(image))
    assert_close(model.prepare(image)[3:], image_to_input(image, statistics))
    for one in (model, named):
        assert one.protocol['color'] == ['lab', [list(values) for values in statistics]]
        assert json.loads(json.dumps(one.protocol)) == one.protocol
        assert 'color' in one.protocol['changed']
    # What the protocol leaves to the networks, or names, and all of them see, is no change of it.
    for color in ('network', statistics):
        same = fused(colors=None, protocol=dict(color=color))
        assert same.colors == (statistics,) * 2
        assert same.protocol['changed'] == ['color']
        same.propagator.protocol = replace(same.propagator.protocol, changed=())
        assert same.protocol['changed'] == []
