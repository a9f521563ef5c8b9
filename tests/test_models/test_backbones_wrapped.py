"""Networks of timm and mmpretrain: their maps against the libraries' own outputs, reshaped by hand."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from torch.testing import assert_close

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
from stt_mm.models.backbones.timm import _use_dino_positions, create_network
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
    _use_dino_positions(whole := plain_vit(), 'x')
    assert whole._pos_embed is not print
    with pytest.raises(ValueError, match="'dino' needs a ViT .* which x is not"):
        _use_dino_positions(plain_vit(**changes), 'x')


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
