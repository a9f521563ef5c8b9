"""Checkpoints in the key layouts of their projects become features bit by bit equal to those they were made from."""

import argparse

import pytest
import torch
from torchvision.models import resnet18, resnet50

from stt_mm.models.backbones import CorrespondenceResNet, MMPretrainBackbone, TimmBackbone
from stt_mm.utils.checkpoint import CheckpointError
from stt_mm.utils.key_maps import SOURCES, vit_to_timm
from stt_mm.utils.weights import load_backbone


def noisy(module):
    """Random weights and statistics everywhere, so that no two tensors of equal shape are exchanged unseen."""
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) * 0.2 + 0.05)
    return module.eval()


def prefixed(prefix, weights):
    return {prefix + name: value for name, value in weights.items()}


def vfs_name(name):
    """torchvision's name -> that in mmaction's ResNet of ConvModules."""
    first, _, leaf = name.rpartition('.')
    stem, _, module = first.rpartition('.')
    dot = f'{stem}.' if stem else ''
    if module.startswith('conv'):
        return f'{dot}{module}.conv.{leaf}'
    if module.startswith('bn'):
        return f'{dot}conv{module[2:]}.bn.{leaf}'
    return f'{stem}.{"conv" if module == "0" else "bn"}.{leaf}'


def head(*names):
    return {name: torch.rand(2, 2) for name in names}


RESNETS = {
    # model.py: CRW.encoder = From3D(resnet without fc); train.py saves the command line too.
    'CRW': lambda w: dict(
        model={**prefixed('encoder.model.', w), **head('selfsim_fc.0.weight', 'selfsim_fc.0.bias')},
        optimizer={}, lr_scheduler={}, epoch=3, args=argparse.Namespace(lr=1e-4, model_type='scratch')),
    # The fine-grained network and its moving average.
    'SFC': lambda w: dict(model={
        **prefixed('online_encoder.', w),
        **prefixed('target_encoder.', {name: torch.zeros_like(value) for name, value in w.items()})}),
    'VFS': lambda w: dict(meta={}, state_dict={
        **{f'backbone.{vfs_name(name)}': value for name, value in w.items()},
        **head('img_head.projection_fcs.0.weight', 'img_head.predictor_fcs.0.weight')}),
    'DINO training': lambda w: dict(
        student=prefixed('module.backbone.', {name: torch.zeros_like(value) for name, value in w.items()}),
        teacher={**prefixed('module.backbone.', w), **head('module.head.mlp.0.weight')},
        epoch=3, args=argparse.Namespace(arch='resnet50')),
    'torchvision': lambda w: {**w, **head('fc.weight', 'fc.bias')},
}


@pytest.mark.parametrize(('make', 'depth'), [(resnet18, 18), (resnet50, 50)])
@pytest.mark.parametrize('source', RESNETS)
def test_resnets_load_at_100_percent(source, make, depth, tmp_path):
    original = noisy(make())
    weights = {name: value for name, value in original.state_dict().items() if not name.startswith('fc.')}
    torch.save(RESNETS[source](weights), tmp_path / 'file.pth')
    backbone = CorrespondenceResNet(depth, strides=(1, 2, 2, 2), out_indices=(3, ), pool='max')
    backbone.eval()
    report = load_backbone(backbone, tmp_path / 'file.pth')
    assert (report.source, report.ratio, report.unexpected, report.unused) == (source, 1.0, (), ())
    x = torch.rand(1, 3, 64, 64)
    expected = original.maxpool(original.relu(original.bn1(original.conv1(x))))
    for layer in (original.layer1, original.layer2, original.layer3, original.layer4):
        expected = layer(expected)
    assert torch.equal(backbone(x)[0], expected)


def test_the_file_of_torchvisions_resnet18_fills_a_three_stage_backbone(tmp_path):
    torch.save(resnet18().state_dict(), tmp_path / 'resnet18.pth')
    report = load_backbone(CorrespondenceResNet(18, strides=(1, 2, 2), out_indices=(2, )), tmp_path / 'resnet18.pth')
    assert report.ratio == 1.0
    assert all(name.startswith('layer4.') for name in report.unused)


VITS = {
    'DINO training': lambda w: dict(
        student=prefixed('module.backbone.', {name: torch.zeros_like(value) for name, value in w.items()}),
        teacher={**prefixed('backbone.', w), **head('head.mlp.0.weight', 'head.last_layer.weight_v')},
        optimizer={}, epoch=3, args=argparse.Namespace(arch='vit_tiny')),
    'ViT of DINO, MAE or timm': lambda w: w,
    'stt_mm training': lambda w: dict(meta={}, message_hub={}, state_dict={
        **prefixed('backbone.network.', w), **prefixed('teacher.network.', w)}),
    'stt_mm published': lambda w: dict(meta=dict(stt_mm_version='1'), state_dict=prefixed('backbone.network.', w)),
}


@pytest.fixture
def vit():
    pytest.importorskip('timm')
    return noisy(TimmBackbone('vit_tiny_patch16_224', options=dict(depth=2)))


def check(backbone, original, path, source):
    report = load_backbone(backbone.eval(), path)
    assert (report.source, report.ratio, report.unexpected) == (source, 1.0, ())
    x = torch.rand(1, 3, 64, 96)
    assert torch.equal(backbone(x)[0], original(x)[0])


@pytest.mark.parametrize('source', VITS)
def test_vits_under_timms_names(source, vit, tmp_path):
    torch.save(VITS[source](vit.network.state_dict()), tmp_path / 'file.pth')
    fresh = TimmBackbone('vit_tiny_patch16_224', options=dict(depth=2))
    check(fresh, vit, tmp_path / 'file.pth', source)


def test_files_with_a_classifier_or_a_decoder(vit, tmp_path):
    weights = vit.network.state_dict()
    for name, extra in (('timm', head('head.weight', 'head.bias')),
                        ('mae', head('mask_token', 'decoder_pos_embed', 'decoder_blocks.0.attn.qkv.weight'))):
        torch.save(dict(model={**weights, **extra}), tmp_path / f'{name}.pth')
        fresh = TimmBackbone('vit_tiny_patch16_224', options=dict(depth=2))
        check(fresh, vit, tmp_path / f'{name}.pth', 'ViT of DINO, MAE or timm')


def test_dinov2_and_its_training_file_with_grouped_blocks(tmp_path):
    pytest.importorskip('timm')
    options = dict(depth=2, img_size=56)
    original = noisy(TimmBackbone('vit_small_patch14_dinov2', options=options))
    weights = original.network.state_dict()
    torch.save({**weights, **head('mask_token')}, tmp_path / 'bare.pth')
    grouped = {name.replace('blocks.', 'blocks.0.'): value for name, value in weights.items()}
    torch.save(dict(teacher={**prefixed('backbone.', grouped), **head('dino_head.mlp.0.weight')}), tmp_path / 'run.pth')
    for name, source in (('bare', 'DINOv2'), ('run', 'DINO training')):
        fresh = TimmBackbone('vit_small_patch14_dinov2', options=options).eval()
        report = load_backbone(fresh, tmp_path / f'{name}.pth')
        assert (report.source, report.ratio) == (source, 1.0)
        x = torch.rand(1, 3, 56, 84)
        assert torch.equal(fresh(x)[0], original(x)[0])


def test_dinov2_with_registers(tmp_path):
    """The file keeps a position for the class token; a token with it added in the file is the same network."""
    pytest.importorskip('timm')
    options = dict(depth=2, img_size=56)
    original = noisy(TimmBackbone('vit_small_patch14_reg4_dinov2', options=options))
    weights = dict(original.network.state_dict())
    registers, token, positions = (weights.pop(name) for name in ('reg_token', 'cls_token', 'pos_embed'))
    shift = torch.randint(1, 9, token.shape) / 8
    weights.update(register_tokens=registers, cls_token=token - shift, pos_embed=torch.cat([shift, positions], 1),
                   mask_token=torch.zeros(1, 384))
    torch.save(weights, tmp_path / 'file.pth')
    fresh = TimmBackbone('vit_small_patch14_reg4_dinov2', options=options).eval()
    report = load_backbone(fresh, tmp_path / 'file.pth')
    assert (report.source, report.ratio, report.unexpected) == ('DINOv2', 1.0, ())
    x = torch.rand(1, 3, 56, 84)
    torch.testing.assert_close(fresh(x)[0], original(x)[0])


def test_the_gated_mlp_of_dinov2_giant_is_renamed():
    weights = {f'blocks.3.mlp.{part}.{leaf}': torch.rand(2) for part in ('w12', 'w3') for leaf in ('weight', 'bias')}
    assert set(vit_to_timm(weights)) == {
        'blocks.3.mlp.fc1.weight', 'blocks.3.mlp.fc1.bias', 'blocks.3.mlp.fc2.weight', 'blocks.3.mlp.fc2.bias'}


def test_networks_of_timm_by_their_own_names(tmp_path):
    timm = pytest.importorskip('timm')
    whole = timm.create_model('convnext_atto')
    torch.save(whole.state_dict(), tmp_path / 'file.pth')
    report = load_backbone(TimmBackbone('convnext_atto'), tmp_path / 'file.pth')
    assert (report.source, report.ratio, report.unexpected) == ('names of the module', 1.0, ())


def test_networks_of_mmpretrain(tmp_path):
    network = dict(type='VisionTransformer', arch='deit-tiny', layer_cfgs=dict(), img_size=64, out_indices=[-1])
    original = noisy(MMPretrainBackbone(network))
    weights = original.network.state_dict()
    torch.save(dict(meta={}, state_dict={**prefixed('backbone.', weights), **head('head.layers.head.weight')}),
               tmp_path / 'classifier.pth')
    torch.save(weights, tmp_path / 'bare.pth')
    for name, source in (('classifier', 'mmpretrain'), ('bare', 'names of the module')):
        check(MMPretrainBackbone(network), original, tmp_path / f'{name}.pth', source)


def test_a_position_embedding_of_another_size_is_refused_with_the_fix(vit, tmp_path):
    torch.save(vit.network.state_dict(), tmp_path / 'file.pth')
    other = TimmBackbone('vit_tiny_patch16_224', options=dict(depth=2, img_size=448))
    before = other.network.cls_token.clone()
    with pytest.raises(CheckpointError, match=r'pos_embed: \(1, 197, 192\) -> \(1, 785, 192\).*img_size'):
        load_backbone(other, tmp_path / 'file.pth')
    assert torch.equal(other.network.cls_token, before)


def test_a_vit_file_does_not_fit_a_resnet_and_the_message_shows_its_names(vit, tmp_path):
    torch.save(vit.network.state_dict(), tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match='source: ViT of DINO, MAE or timm; matched 0'):
        load_backbone(CorrespondenceResNet(18), tmp_path / 'file.pth')


def test_source_names_are_distinct():
    assert len({source.name for source in SOURCES}) == len(SOURCES)
