"""Networks of timm and mmpretrain: their maps against the libraries' own outputs, reshaped by hand."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from mmengine.structures import BaseDataElement
from tiny_data import moving_shapes
from torch.testing import assert_close

from stt_mm.engine import load_config
from stt_mm.models import Correspondence
from stt_mm.models.backbones import (
    Backbone,
    ColorPatches,
    CorrespondenceResNet,
    GeometricBackbone,
    LoadedBackbone,
    MMPretrainBackbone,
    StagedBackbone,
    TimmBackbone,
)
from stt_mm.models.backbones.timm import create_network
from stt_mm.models.backbones.timm_grids import use_dino_positions
from stt_mm.models.backbones.wrapped import plain, pretrained
from stt_mm.registry import MODELS
from stt_mm.utils.weights import load_backbone

init_default_scope('stt_mm')


def timm():
    return pytest.importorskip('timm')


def small_vit(name='vit_tiny_patch16_224', **settings):
    timm()
    return TimmBackbone(name, options=dict(depth=3, **settings.pop('options', {})), **settings).eval()


@pytest.mark.parametrize(
    ('name', 'prefix', 'patch', 'options'),
    [
        ('vit_small_patch16_224', 1, 16, {}),
        ('vit_small_patch8_224', 1, 8, {}),
        ('vit_small_patch14_reg4_dinov2', 5, 14, dict(img_size=56)),
        ('vit_small_patch16_dinov3', 5, 16, {}),
    ],
)
def test_a_map_of_timms_vit_is_its_tokens_without_the_first_ones(name, prefix, patch, options):
    backbone = small_vit(name, options=options)
    x = torch.randn(2, 3, 4 * patch, 7 * patch)
    tokens = backbone.network.forward_features(x)
    assert tokens.shape[1] == prefix + 28
    (feature,) = backbone(x)
    for row in range(4):
        for column in range(7):
            assert_close(feature[:, :, row, column], tokens[:, prefix + 7 * row + column])


def test_without_norm_a_map_is_what_enters_the_final_normalisation():
    backbone, plain = small_vit(stages=('blocks.0', -1)), small_vit(stages=(-1, 'blocks.0'), norm=False)
    plain.network.load_state_dict(backbone.network.state_dict())
    assert backbone.stages == plain.stages == ('blocks.0', 'blocks.2')
    for normalised, raw in zip(backbone(x := torch.randn(1, 3, 32, 48)), plain(x), strict=True):
        assert_close(normalised, backbone.network.norm(raw.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
    captured = []
    plain.network.blocks[0].register_forward_hook(lambda *arguments: captured.append(arguments[2]))
    first, _ = plain(x)
    assert torch.equal(first.flatten(2).transpose(1, 2), captured[0][:, 1:])


def test_stages_of_a_convolutional_network_are_its_layers():
    timm()
    backbone = TimmBackbone('resnet18', stages=('layer3', 'layer2')).eval()
    network, x = backbone.network, torch.randn(1, 3, 61, 93)
    expected = network.layer2(network.layer1(network.maxpool(network.act1(network.bn1(network.conv1(x))))))
    assert backbone.stages == ('layer2', 'layer3')
    network.layer4.register_forward_hook(lambda *_: pytest.fail('layer4 was run'))
    second, third = backbone(x)
    assert torch.equal(second, expected)
    assert torch.equal(third, network.layer3(expected))
    assert third.shape[-2:] == (4, 6)
    backbone.keep_stages({'layer2'})
    network.layer3.register_forward_hook(lambda *_: pytest.fail('layer3 was run'))
    assert torch.equal(backbone(x)[0], expected)


def dino_tokens(network, x):
    """DINO's forward pass in its own order: grids by (cells + 0.1) / 14, sampled point by point with Keys' kernel."""

    def keys(t, a=-0.75):
        t = t.abs()
        near, far = (a + 2) * t**3 - (a + 3) * t**2 + 1, a * (t**3 - 5 * t**2 + 8 * t - 4)
        return torch.where(t <= 1, near, torch.where(t < 2, far, torch.zeros_like(t)))

    def weights(cells, side):
        matrix = torch.zeros(cells, side)
        for cell in range(cells):
            place = torch.tensor((cell + 0.5) * side / (cells + 0.1) - 0.5)
            for tap in range(int(place.floor()) - 1, int(place.floor()) + 3):
                matrix[cell, min(max(tap, 0), side - 1)] += keys(place - tap)
        return matrix

    rows, columns = x.shape[-2] // 16, x.shape[-1] // 16
    grid = network.pos_embed[0, 1:].view(14, 14, -1)
    positions = torch.einsum('ri,cj,ijd->rcd', weights(rows, 14), weights(columns, 14), grid).flatten(0, 1)
    patches = F.unfold(x, 16, stride=16).transpose(1, 2) @ network.patch_embed.proj.weight.flatten(1).T
    tokens = patches + network.patch_embed.proj.bias + positions
    tokens = torch.cat([network.cls_token + network.pos_embed[:, :1], tokens], dim=1)
    for block in network.blocks:
        tokens = block(tokens)
    return network.norm(tokens)[:, 1:]


@pytest.mark.parametrize('grid', [(30, 52), (9, 20)])
def test_positions_can_be_resampled_as_dino_does(grid):
    backbone = small_vit(position_embedding='dino')
    torch.nn.init.normal_(backbone.network.pos_embed)
    x = torch.randn(1, 3, 16 * grid[0], 16 * grid[1])
    with torch.no_grad():
        feature = backbone(x)[0].flatten(2).transpose(1, 2)
        assert_close(feature, dino_tokens(backbone.network, x), rtol=1e-4, atol=1e-4)
        same = torch.randn(1, 3, 224, 224)
        tokens = backbone(same)[0].flatten(2).transpose(1, 2)
        assert_close(tokens, small_like(backbone)(same)[0].flatten(2).transpose(1, 2))
        assert (feature - small_like(backbone)(x)[0].flatten(2).transpose(1, 2)).abs().max() > 1e-2


def small_like(backbone):
    other = small_vit()
    other.network.load_state_dict(backbone.network.state_dict())
    return other


def test_the_positions_of_dino_need_a_plain_vit():
    timm()
    for name in ('resnet18', 'vit_small_patch14_reg4_dinov2'):
        with pytest.raises(ValueError, match=f"'dino' needs a ViT .* which {name} is not"):
            TimmBackbone(name, position_embedding='dino')


def dinov3_weights(dim=48, heads=3, depth=2, biased=True):
    """Weights under the names of DINOv3's files, with what these hold besides."""
    periods = 100 ** (torch.arange(dim // heads // 4) / (dim // heads // 4))
    weights = {
        'cls_token': torch.randn(1, 1, dim),
        'storage_tokens': torch.randn(1, 4, dim),
        'mask_token': torch.zeros(1, dim),
        'rope_embed.periods': periods.bfloat16().float(),
        'patch_embed.proj.weight': torch.randn(dim, 3, 16, 16) / 28,
        'patch_embed.proj.bias': torch.randn(dim),
        'norm.weight': torch.rand(dim) + 0.5,
        'norm.bias': torch.randn(dim),
        'local_cls_norm.weight': torch.ones(dim),
    }
    for block in range(depth):
        layers = {
            'attn.qkv': (3 * dim, dim),
            'attn.proj': (dim, dim),
            'mlp.fc1': (4 * dim, dim),
            'mlp.fc2': (dim, 4 * dim),
            'norm1': (dim,),
            'norm2': (dim,),
        }
        for name, shape in layers.items():
            weights[f'blocks.{block}.{name}.weight'] = torch.randn(shape) / (len(shape) * dim) ** 0.5
            weights[f'blocks.{block}.{name}.bias'] = torch.randn(shape[:1]) * (biased or name != 'attn.qkv')
        weights[f'blocks.{block}.attn.qkv.weight'] *= 8  # so that each token looks at few others
        weights[f'blocks.{block}.attn.qkv.bias_mask'] = (torch.arange(3 * dim) // dim != 1).float()
        weights |= {f'blocks.{block}.ls{number}.gamma': torch.rand(dim) + 0.5 for number in (1, 2)}
    return weights


def dinov3_map(weights, x, heads=3):
    """DINOv3's forward pass token by token: pairs of channels turned by what the place and the period say."""
    grid = [side // 16 for side in x.shape[-2:]]
    tokens = F.unfold(x, 16, stride=16)[0].T @ weights['patch_embed.proj.weight'].flatten(1).T
    tokens = torch.cat(
        [weights['cls_token'][0], weights['storage_tokens'][0], tokens + weights['patch_embed.proj.bias']]
    )
    width = tokens.shape[1] // heads
    places = [[2 * (row + 0.5) / grid[0] - 1, 2 * (column + 0.5) / grid[1] - 1] for row, column in np.ndindex(*grid)]
    turns = torch.tensor(places)[:, :, None] / weights['rope_embed.periods']
    # Class and register tokens are not turned.
    turns = torch.cat([torch.zeros(5, width // 2), turns.flatten(1)])
    turns = torch.polar(torch.ones_like(turns), 2 * torch.pi * turns)

    def normal(name, tokens):
        return F.layer_norm(tokens, tokens.shape[1:], weights[f'{name}.weight'], weights[f'{name}.bias'])

    def linear(name, tokens):
        return F.linear(
            tokens, weights[f'{name}.weight'], weights[f'{name}.bias'] * weights.get(f'{name}.bias_mask', 1)
        )

    def turned(part):
        first, second = part.chunk(2, dim=1)
        pairs = torch.complex(first.contiguous(), second.contiguous()) * turns
        return torch.cat([pairs.real, pairs.imag], dim=1)

    for block in (f'blocks.{index}' for index in range(2)):
        found = []
        for part in linear(f'{block}.attn.qkv', normal(f'{block}.norm1', tokens)).view(-1, 3, heads, width).unbind(2):
            query, key, value = part.unbind(1)
            found.append((turned(query) @ turned(key).T / width**0.5).softmax(1) @ value)
        found = linear(f'{block}.attn.proj', torch.cat(found, dim=1))
        tokens = tokens + weights[f'{block}.ls1.gamma'] * found
        hidden = F.gelu(linear(f'{block}.mlp.fc1', normal(f'{block}.norm2', tokens)))
        tokens = tokens + weights[f'{block}.ls2.gamma'] * linear(f'{block}.mlp.fc2', hidden)
    return normal('norm', tokens)[5:].T.reshape(1, -1, *grid)


@pytest.mark.parametrize('biased', [True, False])
def test_a_file_of_dinov3_gives_the_features_of_its_own_code(biased, tmp_path):
    """Rotary positions of frames of any shape, four registers, masked biases, and the norm of the last layer."""
    timm()
    torch.save(weights := dinov3_weights(biased=biased), tmp_path / 'file.pth')
    name = f'vit_small_patch16_dinov3{"_qkvb" if biased else ""}'
    options = dict(depth=2, embed_dim=48, num_heads=3)
    inits = dict(type='Pretrained', checkpoint=str(tmp_path / 'file.pth'))
    backbone, plain = (
        TimmBackbone(name, position_embedding=positions, options=options, init_cfg=inits).eval()
        for positions in ('dino', 'timm')
    )
    for network in (backbone, plain):
        network.init_weights()
        assert (network.report.source, network.report.ratio, network.report.unexpected) == ('DINOv3', 1.0, ())
    with torch.no_grad():
        for size in ((64, 64), (48, 112), (16, 32)):
            x = torch.randn(1, 3, *size)
            expected = dinov3_map(weights, x)
            assert_close(backbone(x)[0], expected, rtol=1e-4, atol=1e-4)
        # The periods of the files are rounded, those of timm are not; a change of the type does not bring these back.
        assert (plain(x := torch.randn(1, 3, 48, 112))[0] - backbone(x)[0]).abs().max() > 1e-3
        assert_close(backbone.bfloat16().float().network.rope.periods, weights['rope_embed.periods'])
    other = TimmBackbone('vit_small_patch16_dinov3' if biased else f'{name}_qkvb', options=options, init_cfg=inits)
    with pytest.raises(ValueError, match='unexpected: blocks.0.attn.q_bias' if biased else 'the network without _qkvb'):
        other.init_weights()


def test_dinov3_is_evaluated_under_its_protocol():
    """Both sides of a frame are rounded up to the patch, and what is given comes out again."""
    timm()
    cfg = load_config('eval/davis_dinov3_vits16')
    cfg.model.backbone.options = dict(depth=2)
    cfg.model.propagator.protocol.short_side = 72
    model = MODELS.build(cfg.model).eval()
    model.init_weights()
    frames, masks = moving_shapes(3, (60, 90), 2)
    assert model.feature(frames[0]).shape == (384, 5, 8)
    found = model.predict(list(frames), BaseDataElement(given_masks={0: masks[0]})).pred_masks
    assert np.array_equal(found[0], masks[0])
    assert set(np.unique(found)) <= {0, 1, 2}
    assert model.protocol['changed'] == ['short_side']


@pytest.mark.parametrize('name', ['convnext_atto', 'convnextv2_atto'])
def test_a_convnext_sees_the_whole_frame(name):
    """Its patches lie side by side: what they would leave out is padded, and the maps have no cell beyond the frame."""
    timm()
    backbone = TimmBackbone(name, stages=('stages.0', 'stages.2')).eval()
    captured = []
    backbone.network.stages[3].register_forward_hook(lambda *_: pytest.fail('stages.3 was run'))
    for stage in (0, 2):
        backbone.network.stages[stage].register_forward_hook(lambda *arguments: captured.append(arguments[2]))
    frame = torch.randn(1, 3, 61, 90)
    with torch.no_grad():
        maps = backbone(frame)
        assert [tuple(feature.shape[-2:]) for feature in maps] == [(16, 23), (4, 6)]
        backbone(F.pad(frame, (0, 6, 0, 3)))
        assert torch.equal(captured[2][..., :23], maps[0])
        assert torch.equal(captured[3], maps[1])
        frame[..., 60, 89] += 1
        changed = backbone(frame)
    for before, after in zip(maps, changed, strict=True):
        assert not torch.equal(before[..., -1, -1], after[..., -1, -1])
    # Its normalisation is behind the pooling.
    for norm in (True, False):
        backbone = TimmBackbone(name, norm=norm).eval()
        backbone.network.stages[3].register_forward_hook(lambda *arguments: captured.append(arguments[2]))
        assert torch.equal(backbone(torch.randn(1, 3, 64, 64))[0], captured[-1])


def test_sides_of_networks_that_pad_themselves_stay_as_they_are():
    timm()
    backbone = TimmBackbone('resnet10t', stages=('layer3',)).eval()
    backbone.network.conv1.register_forward_pre_hook(lambda module, inputs: sizes.append(tuple(inputs[0].shape[-2:])))
    sizes = []
    assert backbone(torch.randn(1, 3, 61, 90))[0].shape[-2:] == (4, 6)
    assert sizes == [(61, 90)]


@pytest.mark.parametrize('name', ['hiera_tiny_224', 'hiera_small_abswin_256'])
def test_a_hiera_takes_frames_of_every_size_that_its_windows_divide(name):
    """As one that timm builds for that size, with positions that are resampled by hand."""
    timm()
    options = dict(embed_dim=16, stages=(1, 2, 2, 1))
    stages = ('blocks.0', 'blocks.2', 'blocks.4')
    backbone = TimmBackbone(name, stages, options=options).eval()
    native = backbone.network.pos_embed
    torch.nn.init.normal_(native)
    for size in ((96, 160), (224, 224), (64, 32)):
        built = TimmBackbone(name, stages, options=dict(options, img_size=size)).eval()
        weights = backbone.network.state_dict()
        if native.dim() == 3:
            cells = native.view(1, 56, 56, 16).permute(0, 3, 1, 2)
            cells = F.interpolate(cells, [side // 4 for side in size], mode='bicubic', antialias=True)
            weights['pos_embed'] = cells.flatten(2).transpose(1, 2)
        built.network.load_state_dict(weights)
        x = torch.randn(2, 3, *size)
        with torch.no_grad():
            for found, expected, stride in zip(backbone(x), built(x), (4, 8, 16), strict=True):
                assert found.shape[-2:] == tuple(side // stride for side in size)
                assert_close(found, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=rf'{name} does not take frames of 64 x 80: .*short_side=64, multiple=32'):
        backbone(torch.zeros(1, 3, 64, 80))
    assert backbone(torch.zeros(1, 3, 64, 32))[0].shape == (1, 16, 16, 8)


def test_the_cells_of_a_hiera_lie_where_the_frame_has_them():
    """Windows are put in rows and back: without attention and positions, a cell sees its own patch alone."""
    timm()
    backbone = TimmBackbone('hiera_tiny_224', ('blocks.0',), options=dict(embed_dim=16, stages=(1, 1, 1, 1))).eval()
    network = backbone.network
    for parameter in (network.pos_embed, network.blocks[0].attn.proj.weight, network.blocks[0].attn.proj.bias):
        torch.nn.init.zeros_(parameter)
    frame = torch.randn(1, 3, 96, 160)
    with torch.no_grad():
        patches = network.patch_embed(frame)
        found = backbone(frame)[0].permute(0, 2, 3, 1).flatten(1, 2)
        assert_close(found, patches + network.blocks[0].mlp(network.blocks[0].norm2(patches)), rtol=1e-4, atol=1e-5)


def test_frames_that_do_not_suit_the_patch_are_refused_with_the_fix():
    backbone = small_vit()
    with pytest.raises(ValueError, match=r'480 x 854: .*multiples of 16.*short_side=480, multiple=16'):
        backbone(torch.zeros(1, 3, 480, 854))
    with pytest.raises(ValueError, match=r'short_side=476, multiple=14'):
        small_vit('vit_small_patch14_dinov2', options=dict(img_size=56))(torch.zeros(1, 3, 480, 840))
    with pytest.raises(ValueError, match=r'10 x 20: .*short_side=16, multiple=16'):
        backbone(torch.zeros(1, 3, 10, 20))
    with pytest.raises(ValueError, match=r'64 x 40: .*multiples of 16.*short_side=32, multiple=16'):
        backbone(torch.zeros(1, 3, 64, 40))
    fixed = small_vit('beit_base_patch16_224')
    with pytest.raises(ValueError, match=r'224 x 448: .*options=dict\(img_size=\(224, 448\)\)'):
        fixed(torch.zeros(1, 3, 224, 448))


def test_failures_of_another_kind_are_not_explained_away():
    with pytest.raises(RuntimeError, match='channels'):
        small_vit()(torch.zeros(1, 4, 32, 32))


@pytest.mark.parametrize(
    ('name', 'stages', 'message'),
    [
        ('vit_tinny_patch16_224', (-1,), 'no network .* Did you mean .*vit_tiny_patch16_224'),
        ('vit_tiny_patch16_224', ('block11',), r"no stage 'block11'.*blocks\.11, or positions from -12 to 11"),
        ('resnet18', (-6,), 'no stage -6. .*positions from -5 to 4'),
        ('resnet18', (5,), 'no stage 5. Its stages: act1, layer1'),
    ],
)
def test_names_that_do_not_exist_are_refused_with_those_that_do(name, stages, message):
    timm()
    with pytest.raises(ValueError, match=message):
        TimmBackbone(name, stages)


def test_the_colours_of_timm_are_those_of_its_config():
    timm()
    for name in ('vit_tiny_patch16_224', 'resnet18'):
        network = MODELS.build(dict(type='stt_mm.TimmBackbone', model_name=name))
        config = network.network.pretrained_cfg
        assert network.statistics == (tuple(config['mean']), tuple(config['std']))
        model = MODELS.build(
            dict(
                type='stt_mm.Correspondence',
                backbone=dict(type='stt_mm.TimmBackbone', model_name=name),
                propagator=dict(type='stt_mm.LabelPropagator', protocol=dict(name='dinov3_davis_s', color='network')),
                feature_stage=None,
            )
        )
        assert model.input_colors == (network.statistics,)


def test_without_timm_the_package_loads_and_the_error_says_what_to_install():
    code = (
        "import sys\nsys.modules['timm'] = None\nfrom stt_mm.models.backbones import TimmBackbone\n"
        "try:\n    TimmBackbone('resnet18')\nexcept ValueError as error:\n    sys.exit(str(error))"
    )
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, timeout=120)
    assert done.stderr.strip().splitlines()[-1] == 'TimmBackbone needs timm: pip install timm'


def test_the_package_does_not_import_timm():
    code = "import sys, stt_mm.models\nassert 'timm' not in sys.modules"
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True, timeout=120)


def test_init_weights_keeps_what_timm_drew_or_reads_the_checkpoint(tmp_path):
    backbone = small_vit()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone.init_weights()
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())
    torch.save(backbone.network.state_dict(), tmp_path / 'file.pth')
    other = small_vit(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'file.pth')))
    other.init_weights()
    assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())
    with pytest.raises(ValueError, match='init_cfg must be None or'):
        small_vit(init_cfg=dict(type='Kaiming'))


def test_positions_of_stages_are_counted_from_both_ends():
    timm()
    names = ('act1', 'layer1', 'layer2', 'layer3', 'layer4')
    for stages in (range(5), range(-5, 0), names):
        assert TimmBackbone('resnet18', stages=stages).stages == names


@pytest.mark.parametrize(
    ('name', 'classifier'), [('vit_tiny_patch16_224', 'head.'), ('mobilenetv3_small_050', 'classifier.')]
)
def test_the_classifier_of_a_checkpoint_is_dropped(name, classifier, tmp_path):
    weights = timm().create_model(name).state_dict()
    assert {f'{classifier}weight', f'{classifier}bias'} <= weights.keys()
    torch.save(weights, tmp_path / 'file.pth')
    backbone = TimmBackbone(name)
    assert backbone.classifier == (classifier,)
    report = load_backbone(backbone, tmp_path / 'file.pth')
    assert (report.missing, report.unexpected) == ((), ())


def test_a_network_of_mmpretrain_starts_as_there_or_from_its_checkpoint(tmp_path, capfd):
    settings = dict(type='ResNet', depth=18, out_indices=(2,))
    backbone = MMPretrainBackbone(settings)
    backbone.init_weights()
    assert backbone.network.is_init
    assert (backbone.checkpoint, backbone.report) == (None, None)
    torch.save(backbone.network.state_dict(), tmp_path / 'file.pth')
    other = MMPretrainBackbone(settings, dict(type='Pretrained', checkpoint=str(tmp_path / 'file.pth')))
    other.init_weights()
    assert all(map(torch.equal, other.state_dict().values(), backbone.state_dict().values()))
    assert other.checkpoint == str(tmp_path / 'file.pth')
    assert f'MMPretrainBackbone: {other.report}' in capfd.readouterr().out
    assert other.report.complete


def test_settings_become_plain_data():
    assert plain(dict(a=(1, 2.5), b=Path('x'), c=None)) == dict(a=[1, 2.5], b='x', c=None)


@pytest.mark.parametrize(
    'init_cfg',
    [
        dict(type='Pretrained'),
        dict(checkpoint='file.pth'),
        dict(type='Kaiming', checkpoint='file.pth'),
        dict(type='Pretrained', checkpoint='file.pth', map_location='cpu'),
        {},
    ],
)
def test_other_initialisations_of_a_wrapped_network_are_refused(init_cfg):
    with pytest.raises(ValueError, match='init_cfg must be None or'):
        MMPretrainBackbone(dict(type='ResNet', depth=18), init_cfg)


def test_a_prefix_is_handed_on():
    found = pretrained('X', dict(type='Pretrained', checkpoint='file.pth', prefix='a.'))
    assert found == dict(path='file.pth', prefix='a.')
    assert pretrained('X', dict(type='Pretrained', checkpoint='file.pth')) == dict(path='file.pth')
    assert pretrained('X', None) is None


def test_the_map_of_mmpretrains_vit_is_its_raw_tokens_without_the_first():
    settings = dict(type='VisionTransformer', arch='deit-tiny', img_size=64)
    given = dict(settings, out_indices=[3, -1])
    backbone = MMPretrainBackbone(given).eval()
    backbone.init_weights()
    assert given['out_indices'] == [3, -1]
    assert backbone.stages == ('out3', 'out11')
    raw = MODELS.build(dict(settings, type='mmpretrain.VisionTransformer', out_indices=[3, -1], out_type='raw'))
    raw.eval()
    raw.load_state_dict(backbone.network.state_dict())
    x = torch.randn(1, 3, 48, 80)
    for feature, tokens in zip(backbone(x), raw(x), strict=True):
        assert torch.equal(feature, tokens[:, 1:].view(1, 3, 5, 192).permute(0, 3, 1, 2))
    backbone.keep_stages({'out11'})
    assert torch.equal(backbone(x)[0], feature)


def test_swin_and_resnet_of_mmpretrain():
    x = torch.randn(1, 3, 224, 256)
    for network in (
        dict(type='mmpretrain.SwinTransformer', arch='tiny', out_indices=(1, 2)),
        dict(type='ResNet', depth=18, out_indices=(1, 2)),
    ):
        backbone = MMPretrainBackbone(network).eval()
        backbone.init_weights()
        assert type(backbone.network).__module__.startswith('mmpretrain.')
        maps = backbone(x)
        assert [tuple(feature.shape[-2:]) for feature in maps] == [(28, 32), (14, 16)]
        assert all(torch.equal(a, b) for a, b in zip(maps, backbone.network(x), strict=True))


def test_an_output_that_is_no_map_is_refused_with_the_fix():
    backbone = MMPretrainBackbone(dict(type='ConvNeXt', arch='atto', out_indices=(3,))).eval()
    with pytest.raises(ValueError, match=r'no map .* for out3 but \(1, 320\).*gap_before_final_norm=False'):
        backbone(torch.zeros(1, 3, 64, 64))
    with pytest.raises(ValueError, match=r'mmpretrain\.HRNet has no out_indices'):
        MMPretrainBackbone(dict(type='HRNet', arch='w18'))


class Kinds:
    """Networks that nobody runs, and the settings with which they were built."""

    class Base(torch.nn.Module):
        def __init__(self, **settings):
            super().__init__()
            self.settings, self.out_indices = settings, (2, 0)

    class WithTypes(Base):
        OUT_TYPES = ('featmap',)

    class WithArgument(Base):
        def __init__(self, out_type='cls_token', **settings):
            super().__init__(out_type=out_type, **settings)


@pytest.mark.parametrize(
    ('kind', 'given', 'found'),
    [
        (Kinds.Base, {}, {}),
        (Kinds.WithTypes, {}, dict(out_type='featmap')),
        (Kinds.WithArgument, {}, dict(out_type='featmap')),
        (Kinds.WithTypes, dict(out_type='raw'), dict(out_type='raw')),
        (Kinds.Base, dict(out_indices=(0, 2)), dict(out_indices=[0, 2])),
        (Kinds.Base, dict(out_indices=2), dict(out_indices=2)),
    ],
)
def test_networks_that_return_tokens_are_told_to_return_maps(kind, given, found, monkeypatch):
    monkeypatch.setitem(MODELS.module_dict, 'Kind', kind)
    backbone = MMPretrainBackbone(dict(given, type='stt_mm.Kind'))
    assert backbone.network.settings == found
    assert backbone.stages == ('out0', 'out2')
    with pytest.raises(ValueError, match="'mmpretrain.NoSuchNetwork' is not in the registry"):
        MMPretrainBackbone(dict(type='NoSuchNetwork'))


def test_an_output_of_lists_is_refused_too(monkeypatch):
    backbone = MMPretrainBackbone(dict(type='ResNet', depth=18, out_indices=(2,)))
    monkeypatch.setattr(backbone.network, 'forward', lambda x: ([x, x],))
    with pytest.raises(ValueError, match='no map .* for out2 but list'):
        backbone(torch.zeros(1, 3, 64, 64))


def plain_vit(**changes):
    """What marks a ViT with a class token and one learned embedding for it and each patch; ``None`` takes it away."""
    marks = (
        dict(
            _pos_embed=print, dynamic_img_size=True, num_prefix_tokens=1, cls_token=1, pos_embed=1, no_embed_class=False
        )
        | changes
    )
    return SimpleNamespace(**{name: value for name, value in marks.items() if value is not None})


@pytest.mark.parametrize(
    'changes',
    [
        dict(_pos_embed=None),
        dict(dynamic_img_size=None),
        dict(dynamic_img_size=False),
        dict(num_prefix_tokens=None),
        dict(num_prefix_tokens=0),
        dict(num_prefix_tokens=5),
        dict(cls_token=None),
        dict(pos_embed=None),
        dict(no_embed_class=True),
    ],
)
def test_the_positions_of_dino_need_all_marks_of_a_plain_vit(changes):
    use_dino_positions(whole := plain_vit(), 'x')
    assert whole._pos_embed is not print
    with pytest.raises(ValueError, match="'dino' needs a ViT .* which x is not"):
        use_dino_positions(plain_vit(**changes), 'x')


@pytest.mark.parametrize(
    ('error', 'size', 'message'),
    [
        (torch.cuda.OutOfMemoryError('memory'), (32, 32), None),
        (torch.cuda.OutOfMemoryError('memory'), (32, 33), None),
        (RuntimeError('other'), (32, 32), None),
        (RuntimeError('other'), (32, 33), 'other Both sides must be multiples'),
        (AssertionError('other'), (32, 32), 'other If it is built for one size'),
        (AssertionError('other'), (33, 32), 'other Both sides must be multiples'),
    ],
)
def test_which_failures_are_explained(error, size, message, monkeypatch):
    backbone = small_vit()

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(backbone.network, 'forward_intermediates', fail)
    with pytest.raises(Exception, match=message or str(error)) as caught:
        backbone(torch.zeros(1, 3, *size))
    assert (caught.value is error) == (message is None)


def test_options_reach_timm_and_the_record(monkeypatch):
    asked, library = [], timm()
    create = library.create_model

    def record(*args, **options):
        asked.append((args, options))
        return create(args[0].split('.')[0], False, **options)

    monkeypatch.setattr(library, 'create_model', record)
    backbone = TimmBackbone('vit_tiny_patch16_224.x', pretrained=True, norm=False, options=dict(depth=1))
    assert asked == [(('vit_tiny_patch16_224.x', True), dict(dynamic_img_size=True, num_classes=0, depth=1))]
    assert backbone.geometry() == dict(
        network='vit_tiny_patch16_224', norm=False, positions='timm', options=dict(depth=1)
    )
    asked.clear()
    TimmBackbone('resnet18')
    assert [options for _, options in asked] == [dict(dynamic_img_size=True, num_classes=0), dict(num_classes=0)]
    with pytest.raises(ValueError, match=r'timm cannot build resnet18 with options=.*shape'):
        TimmBackbone('resnet18', options=dict(shape=3))


@pytest.mark.parametrize(
    ('said', 'dropped'), [(None, ()), ('fc', ('fc.',)), (('head', 'head_dist'), ('head.', 'head_dist.')), ((), ())]
)
def test_the_classifier_is_what_the_network_calls_so(said, dropped, monkeypatch):
    def create(*args):
        network = create_network(*args)
        network.pretrained_cfg = dict(classifier=said)
        return network

    timm()
    monkeypatch.setattr('stt_mm.models.backbones.timm.create_network', create)
    assert TimmBackbone('resnet10t').classifier == dropped


def test_the_module_that_timm_lacks_is_not_hidden(monkeypatch):
    def lacking(name):
        raise ModuleNotFoundError('No module named other', name='other')

    monkeypatch.setattr('importlib.import_module', lacking)
    with pytest.raises(ModuleNotFoundError, match='other'):
        TimmBackbone('resnet10t')


def test_backbones_are_what_the_models_ask_of_them():
    resnet = CorrespondenceResNet(18)
    assert all(isinstance(resnet, kind) for kind in (StagedBackbone, LoadedBackbone, GeometricBackbone))
    patches = ColorPatches()
    assert isinstance(patches, Backbone)
    assert not any(isinstance(patches, kind) for kind in (StagedBackbone, LoadedBackbone, GeometricBackbone))
    assert isinstance(MMPretrainBackbone(dict(type='ResNet', depth=18)), LoadedBackbone)
    with pytest.raises(ValueError, match='Conv2d is no backbone: it needs stages'):
        Correspondence(dict(type=torch.nn.Conv2d, in_channels=3, out_channels=3, kernel_size=1))
