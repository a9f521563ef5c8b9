"""Checkpoints in the key layouts of their projects become features bit by bit equal to those they were made from."""

import argparse

import pytest
import torch
from public_layouts import layout
from torchvision.models import resnet18, resnet50

from stt_mm.models.backbones import CorrespondenceResNet, MMPretrainBackbone, TimmBackbone
from stt_mm.utils.checkpoint import CheckpointError
from stt_mm.utils.key_maps import SOURCES, all_weights, find_backbone, hugging_face_to_timm, prefixes_in, vit_to_timm
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
        optimizer={},
        lr_scheduler={},
        epoch=3,
        args=argparse.Namespace(lr=1e-4, model_type='scratch'),
    ),
    # The fine-grained network and its moving average.
    'SFC': lambda w: dict(
        model={
            **prefixed('online_encoder.', w),
            **prefixed('target_encoder.', {name: torch.zeros_like(value) for name, value in w.items()}),
        }
    ),
    'VFS': lambda w: dict(
        meta={},
        state_dict={
            **{f'backbone.{vfs_name(name)}': value for name, value in w.items()},
            **head('img_head.projection_fcs.0.weight', 'img_head.predictor_fcs.0.weight'),
        },
    ),
    'DINO training': lambda w: dict(
        student=prefixed('module.backbone.', {name: torch.zeros_like(value) for name, value in w.items()}),
        teacher={**prefixed('module.backbone.', w), **head('module.head.mlp.0.weight')},
        epoch=3,
        args=argparse.Namespace(arch='resnet50'),
    ),
    # utils/checkpoints.py saves Framework(Net(ResNet, MLP)), in DataParallel, beside the optimizer.
    'DUL': lambda w: dict(
        model={
            **prefixed('module.fast_net.backbone.', w),
            **head('module.fast_net.emb_q.conv1.weight', 'module.fast_net.emb_q.bn1.weight'),
        },
        opt=dict(state={}),
        score=0.7,
        epoch=3,
    ),
    # VinceModel alone; its extractor is always in a wrapper that calls it module, and keeps torchvision's classifier.
    'VINCE': lambda w: {
        **prefixed('feature_extractor.module.model.', w),
        **head('feature_extractor.module.model.fc.weight', 'embedding.0.weight', 'imagenet_decoders.0.weight'),
    },
    # track_match_comb in DataParallel; the auto-encoder of colours and the means of ImageNet are parameters beside it.
    'UVC or ContrastCorr': lambda w: dict(
        epoch=3,
        best_loss=0.5,
        state_dict={
            **prefixed('module.gray_encoder.', w),
            **head('module.rgb_encoder.conv1.weight', 'module.decoder.conv7.weight', 'module.normalize.mean'),
        },
    ),
    'torchvision': lambda w: {**w, **head('fc.weight', 'fc.bias')},
}


@pytest.mark.parametrize(('make', 'depth'), [(resnet18, 18), (resnet50, 50)])
@pytest.mark.parametrize('source', RESNETS)
def test_resnets_load_at_100_percent(source, make, depth, tmp_path):
    original = noisy(make())
    weights = {name: value for name, value in original.state_dict().items() if not name.startswith('fc.')}
    torch.save(RESNETS[source](weights), tmp_path / 'file.pth')
    backbone = CorrespondenceResNet(depth, geometry='standard', out_indices=(3,))
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
    report = load_backbone(CorrespondenceResNet(18, out_indices=(2,)), tmp_path / 'resnet18.pth')
    assert report.ratio == 1.0
    assert all(name.startswith('layer4.') for name in report.unused)


def mast(**changes):
    """The network of MAST, with random weights."""
    settings = dict(depth=18, geometry='stride4_mast', widths=(64, 128, 256, 256), projection=64, out_indices=())
    return noisy(CorrespondenceResNet(**dict(settings, **changes)))


def public_file(layout, network):
    """The file of a layout that holds the weights of a network, matched by their order: both are in that of the layers.

    A position map is the first tensor in the file and the last in the network, the stem's norm is the second part.
    """
    weights = list(network.state_dict().items())
    weights = [item for item in weights if 'position' in item[0]] + [
        item for item in weights if not item[0].startswith(('position', 'projection'))
    ]
    weights += [item for item in network.state_dict().items() if item[0].startswith('projection')]
    extra = {name: torch.rand(shape) for name, (shape, _) in layout.items() if name.startswith(('color', 'conv_sem'))}
    names = [name for name in layout if name not in extra]
    return dict(zip(names, (value for _, value in weights), strict=True)) | extra


def liir(**changes):
    return mast(**dict(dict(position=dict(type='PositionMap')), **changes))


def same(network, path, source):
    """The network reads a file in full, bit by bit."""
    fresh = network()
    report = load_backbone(fresh, path)
    assert (report.source, report.ratio, report.unexpected, report.unused) == (source, 1.0, (), ())
    return fresh.state_dict()


MASTS = {
    # main.py saves without DataParallel's prefix in MAST, with it in CorrFlow; MAMP keeps the scaler too.
    'MAST': lambda w: dict(epoch=3, state_dict=w, optimizer=dict(state={0: dict(exp_avg=torch.zeros(2))})),
    'CorrFlow': lambda w: dict(epoch=3, state_dict=prefixed('module.', w), optimizer=dict(state={})),
    'MAMP': lambda w: dict(epoch=3, state_dict=w, optimizer=dict(state={}), scaler=None),
    'Lightning': lambda w: dict(state_dict=prefixed('model.', w) | head('criterion.weight')),
}


@pytest.mark.parametrize('method', MASTS)
def test_the_family_of_mast_loads_at_100_percent(method, tmp_path):
    original = mast()
    torch.save(MASTS[method](public_file(layout('mast'), original)), tmp_path / 'file.pth')
    source = 'MAST, MAMP or CorrFlow' + (', below model.' if method == 'Lightning' else '')
    loaded = same(mast, tmp_path / 'file.pth', source)
    assert all(torch.equal(loaded[name], value) for name, value in original.state_dict().items())


@pytest.mark.parametrize('variant', ['momentum', 'semantic', 'bank of another size'])
def test_the_unofficial_liir_loads_at_100_percent(variant, tmp_path):
    names = layout('liir_u_momentum')
    if variant == 'semantic':
        names = {name: row for name, row in names.items() if not name.startswith(('colorizer', 'conv_semantic_k'))}
    elif variant == 'bank of another size':
        names['colorizer.feats_queue'] = ([3, 4, 2, 2], 'float32')
    original = liir()
    torch.save(dict(epoch=3, state_dict=public_file(names, original)), tmp_path / 'file.pth')
    loaded = same(liir, tmp_path / 'file.pth', 'unofficial LIIR')
    assert all(torch.equal(loaded[name], value) for name, value in original.state_dict().items())


def test_a_trunk_is_read_without_its_projection_and_not_the_other_way_round(tmp_path, caplog):
    original = mast()
    weights = public_file(layout('mast'), original)
    torch.save(weights, tmp_path / 'whole.pth')
    report = load_backbone(mast(projection=None, out_indices=(3,)), tmp_path / 'whole.pth')
    assert (report.ratio, report.unused) == (1.0, ('projection.weight', 'projection.bias'))
    assert 'whole.pth has a last convolution, which the network at hand is built without' in caplog.text
    deep = dict(depth=50, widths=None)
    torch.save(mast(**deep, projection=None, out_indices=(3,)).state_dict(), tmp_path / 'trunk.pth')
    with pytest.raises(CheckpointError, match=r'99\.\d%.*missing: projection\.weight, projection\.bias'):
        load_backbone(mast(**deep), tmp_path / 'trunk.pth')


@pytest.mark.parametrize('depth', [18, 50])
@pytest.mark.parametrize('case', ['in the file alone', 'in the network alone', 'of another size'])
def test_a_position_map_stands_in_both_or_in_neither(case, depth, tmp_path):
    """It is one tensor of many, and changes every feature."""
    settings = dict(depth=depth, widths=None)
    with_map, without = mast(**settings, position=dict(type='PositionMap')), mast(**settings)
    other = mast(**settings, position=dict(type='PositionMap', size=(64, 64)))
    file, network = {
        'in the file alone': (with_map, without),
        'in the network alone': (without, with_map),
        'of another size': (with_map, other),
    }[case]
    torch.save({f'backbone.{name}': value for name, value in file.state_dict().items()}, tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match=r'position\.map.*must have the same position map, or none'):
        load_backbone(network, tmp_path / 'file.pth')
    report = load_backbone(network, tmp_path / 'file.pth', allow_partial=True)
    assert (report.ratio, report.complete) == (pytest.approx(1, abs=0.02), False)


def test_files_that_are_not_those_of_the_family_are_refused(tmp_path):
    original = mast()
    weights = public_file(layout('mast'), original)
    torch.save(prefixed('model.', weights) | prefixed('net.', wrong(weights)), tmp_path / 'two.pth')
    with pytest.raises(CheckpointError, match=r'Unknown kind.*Prefixes in the file: model\., net\.'):
        load_backbone(mast(), tmp_path / 'two.pth')
    torch.save({name: value for name, value in weights.items() if 'layer4' not in name}, tmp_path / 'part.pth')
    with pytest.raises(CheckpointError, match=r'missing: layer4\.0\.conv1\.weight'):
        load_backbone(mast(), tmp_path / 'part.pth')
    torch.save(weights, tmp_path / 'whole.pth')
    with pytest.raises(CheckpointError, match=r'layer4\.0\.conv1\.weight: \(256, 256, 3, 3\) -> \(512, 256, 3, 3\)'):
        load_backbone(CorrespondenceResNet(18), tmp_path / 'whole.pth')
    # Names that begin alike: a network of sounds, an encoder of greys without a ResNet.
    torch.save(head('feature_extractor.conv_layers.0.weight', 'encoder.weight'), tmp_path / 'sound.pth')
    with pytest.raises(CheckpointError, match='Unknown kind'):
        load_backbone(mast(), tmp_path / 'sound.pth')
    torch.save(head('gray_encoder.0.weight', 'decoder.weight'), tmp_path / 'grey.pth')
    with pytest.raises(CheckpointError, match='source: UVC or ContrastCorr; matched 0'):
        load_backbone(mast(), tmp_path / 'grey.pth')


VITS = {
    'DINO training': lambda w: dict(
        student=prefixed('module.backbone.', {name: torch.zeros_like(value) for name, value in w.items()}),
        teacher={**prefixed('backbone.', w), **head('head.mlp.0.weight', 'head.last_layer.weight_v')},
        optimizer={},
        epoch=3,
        args=argparse.Namespace(arch='vit_tiny'),
    ),
    'ViT of DINO, MAE or timm': lambda w: w,
    'stt_mm training': lambda w: dict(
        meta={}, message_hub={}, state_dict={**prefixed('backbone.network.', w), **prefixed('teacher.network.', w)}
    ),
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
    for name, extra in (
        ('timm', head('head.weight', 'head.bias')),
        ('mae', head('mask_token', 'decoder_pos_embed', 'decoder_blocks.0.attn.qkv.weight')),
    ):
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
    weights.update(
        register_tokens=registers,
        cls_token=token - shift,
        pos_embed=torch.cat([shift, positions], 1),
        mask_token=torch.zeros(1, 384),
    )
    torch.save(weights, tmp_path / 'file.pth')
    fresh = TimmBackbone('vit_small_patch14_reg4_dinov2', options=options).eval()
    report = load_backbone(fresh, tmp_path / 'file.pth')
    assert (report.source, report.ratio, report.unexpected) == ('DINOv2', 1.0, ())
    # The features of random weights differ by 3e-7 only where the position is dropped.
    loaded = fresh.network.state_dict()
    assert all(
        torch.equal(loaded[name], value) for name, value in original.network.state_dict().items() if name != 'cls_token'
    )
    torch.testing.assert_close(loaded['cls_token'], original.network.cls_token, rtol=0, atol=1e-6)


def test_the_gated_mlp_of_dinov2_giant_is_renamed():
    weights = {f'blocks.3.mlp.{part}.{leaf}': torch.rand(2) for part in ('w12', 'w3') for leaf in ('weight', 'bias')}
    assert set(vit_to_timm(weights)) == {
        'blocks.3.mlp.fc1.weight',
        'blocks.3.mlp.fc1.bias',
        'blocks.3.mlp.fc2.weight',
        'blocks.3.mlp.fc2.bias',
    }


@pytest.mark.parametrize('gated', [False, True])
@pytest.mark.parametrize('biased', [False, True])
@pytest.mark.parametrize('kind', ['bare', 'training', 'hugging face'])
def test_dinov3(kind, biased, gated, tmp_path):
    """With a gated MLP as of its larger networks, and biases of queries and values where there are some."""
    pytest.importorskip('timm')
    name = f'vit_small{"_plus" if gated else ""}_patch16_dinov3{"_qkvb" if biased else ""}'
    original, fresh = (TimmBackbone(name, options=dict(depth=2, embed_dim=48, num_heads=3)) for _ in range(2))
    weights = noisy(original).network.state_dict()
    biases = {}
    for block in range(2):
        parts = [weights.pop(f'blocks.{block}.attn.{part}_bias', torch.zeros(48)) for part in 'qv']
        # Keys have a bias that nothing reads.
        biases[block] = dict(q=parts[0], k=torch.rand(48), v=parts[1])
    file = (dinov3_file if kind != 'hugging face' else dinov3_of_hugging_face)(weights, biases, gated)
    torch.save(dict(teacher=prefixed('backbone.', file)) if kind == 'training' else file, tmp_path / 'file.pth')
    report = load_backbone(fresh.eval(), tmp_path / 'file.pth')
    source = {'bare': 'DINOv3', 'training': 'DINO training', 'hugging face': 'DINOv3 of Hugging Face'}[kind]
    assert (report.source, report.ratio, report.unexpected, report.unused) == (source, 1.0, (), ())
    loaded, expected = fresh.network.state_dict(), original.network.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())


def dinov3_file(weights, biases, gated):
    """timm's names -> those of DINOv3's files, with what these hold besides."""
    names = [('reg_token', 'storage_tokens'), ('.gamma_1', '.ls1.gamma'), ('.gamma_2', '.ls2.gamma')]
    names += [('.fc1_g.', '.w1.'), ('.fc1_x.', '.w2.'), ('.fc2.', '.w3.')] if gated else []
    file = head('local_cls_norm.weight', 'head.weight') | dict(mask_token=torch.zeros(1, 48))
    file['rope_embed.periods'] = torch.ones(4)
    for name, value in weights.items():
        for ours, theirs in names:
            name = name.replace(ours, theirs)
        file[name] = value
    for block, parts in biases.items():
        file[f'blocks.{block}.attn.qkv.bias'] = torch.cat(list(parts.values()))
        file[f'blocks.{block}.attn.qkv.bias_mask'] = torch.full((144,), torch.nan)
    return file


def dinov3_of_hugging_face(weights, biases, gated):
    """timm's names -> those of transformers; keys have no bias there."""
    names = [('reg_token', 'register_tokens'), ('blocks.', 'layer.'), ('.attn.proj.', '.attention.o_proj.')]
    names += [('.gamma_1', '.layer_scale1.lambda1'), ('.gamma_2', '.layer_scale2.lambda1'), ('.fc2.', '.down_proj.')]
    names += [('.fc1_g.', '.gate_proj.'), ('.fc1_x.', '.up_proj.'), ('.fc1.', '.up_proj.')]
    names += [('patch_embed.proj.', 'patch_embeddings.')]
    file = {'embeddings.mask_token': torch.zeros(1, 1, 48)}
    for name, value in weights.items():
        for ours, theirs in names:
            name = name.replace(ours, theirs)
        if name.endswith('.attn.qkv.weight'):
            stem = name.removesuffix('attn.qkv.weight')
            parts = zip('qkv', value.chunk(3), strict=True)
            file |= {f'{stem}attention.{part}_proj.weight': third.clone() for part, third in parts}
        else:
            file[name if name.startswith(('layer.', 'norm.')) else f'embeddings.{name}'] = value
    for block, parts in biases.items():
        file |= {f'layer.{block}.attention.{part}_proj.bias': parts[part] for part in 'qv'}
    return file


@pytest.mark.parametrize('name', ['convnext_tiny', 'convnextv2_tiny'])
def test_a_convnext_in_the_layout_of_its_authors(name, tmp_path):
    """DINOv3 has it too, with the last normalisation a second time among those of all stages."""
    pytest.importorskip('timm')
    options = dict(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32))
    original, fresh = (TimmBackbone(name, stages=(0, 2), options=options) for _ in range(2))
    file = head('head.weight', 'head.bias', 'norms.3.weight')
    for name, value in noisy(original).network.state_dict().items():
        for ours, theirs in (
            ('stem.', 'downsample_layers.0.'),
            ('.blocks.', '.'),
            ('conv_dw', 'dwconv'),
            ('mlp.fc', 'pwconv'),
            ('mlp.grn.weight', 'grn.gamma'),
            ('mlp.grn.bias', 'grn.beta'),
            ('head.norm', 'norm'),
        ):
            name = name.replace(ours, theirs)
        if '.downsample.' in name:
            _, stage, _, rest = name.split('.', 3)
            name = f'downsample_layers.{stage}.{rest}'
        file[name] = value.view(1, 1, 1, -1) if 'grn' in name else value
    torch.save(dict(model=file), tmp_path / 'file.pth')
    check_maps(fresh, original, tmp_path / 'file.pth', 'ConvNeXt')


def check_maps(fresh, original, path, source, prefix=None):
    report = load_backbone(fresh.eval(), path, prefix=prefix)
    assert (report.source, report.ratio, report.unexpected) == (source, 1.0, ())
    x = torch.rand(1, 3, 64, 96)
    assert all(torch.equal(*maps) for maps in zip(fresh(x), original.eval()(x), strict=True))


def test_hiera_in_the_layout_of_its_authors_and_of_sam_2(tmp_path):
    """No map goes through the head, so that its normalisation, which files of SAM 2 are without, is not missed."""
    pytest.importorskip('timm')
    options = dict(embed_dim=16, stages=(1, 1, 1, 1))
    for name, file, prefix in (
        ('hiera_tiny_224', lambda w: dict(model_state=w | head('norm.weight', 'head.projection.weight')), None),
        (
            'hiera_tiny_224',
            lambda w: dict(model_state=w | head('encoder_norm.weight', 'decoder_x', 'mask_token')),
            None,
        ),
        (
            'sam2_hiera_tiny',
            lambda w: dict(model=prefixed('image_encoder.trunk.', w) | head('sam_mask_decoder.x')),
            'image_encoder.trunk',
        ),
    ):
        original, fresh = (TimmBackbone(name, stages=(0, 2), options=options) for _ in range(2))
        weights = noisy(original).network.state_dict()
        weights = {name: value for name, value in weights.items() if not name.startswith('head.')}
        if prefix:
            names = [('.mlp.fc1.', '.mlp.layers.0.'), ('.mlp.fc2.', '.mlp.layers.1.')]
            for ours, theirs in names:
                weights = {name.replace(ours, theirs): value for name, value in weights.items()}
        torch.save(file(weights), tmp_path / 'file.pth')
        check_maps(fresh, original, tmp_path / 'file.pth', 'ViT of DINO, MAE or timm', prefix)


def test_a_network_with_the_names_of_a_known_source_keeps_them(tmp_path):
    """What the source is translated to fits a network of timm, and not one that has the names of the file itself."""
    names = {'register_tokens', 'cls_token', 'pos_embed', *PATCHES}
    network = torch.nn.Module()
    network.network = torch.nn.Module()
    weights = {name: torch.rand(1, 3, 2) for name in names}
    torch.save(weights, tmp_path / 'file.pth')
    network.network.state_dict = lambda: {name: torch.zeros(1, 3, 2) for name in names}
    network.network.load_state_dict = lambda found, strict: loaded.update(found)
    loaded = {}
    assert load_backbone(network, tmp_path / 'file.pth').source == 'names of the module'
    assert loaded.keys() == names
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())


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
    torch.save(
        dict(meta={}, state_dict={**prefixed('backbone.', weights), **head('head.layers.head.weight')}),
        tmp_path / 'classifier.pth',
    )
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


def wrong(weights):
    """What must not be taken."""
    return {name: torch.zeros_like(value) for name, value in weights.items()}


@pytest.fixture(scope='module')
def resnet():
    return {name: value for name, value in noisy(resnet18()).state_dict().items() if not name.startswith('fc.')}


TRAINERS = {
    # torch.compile, at any place.
    'compiled': lambda w: prefixed('_orig_mod.', w),
    'compiled, in DDP': lambda w: dict(model=prefixed('module._orig_mod.', w)),
    'compiled backbone': lambda w: dict(state_dict=prefixed('backbone._orig_mod.', w)),
    'compiled layer': lambda w: {name.replace('layer2.', 'layer2._orig_mod.'): value for name, value in w.items()},
    'Lightning': lambda w: {
        'state_dict': prefixed('model.', w) | head('criterion.weight', 'classifier.weight'),
        'pytorch-lightning_version': '2.4.0',
    },
    'Lightning, compiled': lambda w: dict(state_dict=prefixed('model._orig_mod.backbone.', w)),
    'net': lambda w: dict(net=w),
    'params': lambda w: dict(params=w, params_ema=wrong(w)),
    'MoCo v3': lambda w: dict(
        arch='resnet50',
        state_dict={
            **prefixed('module.base_encoder.', w),
            **prefixed('module.momentum_encoder.', wrong(w)),
            **head('module.base_encoder.fc.0.weight', 'module.predictor.0.weight'),
        },
    ),
    'timm with EMA': lambda w: dict(state_dict=w, state_dict_ema=wrong(w), epoch=3),
    'the target of two encoders': lambda w: dict(encoder=wrong(w), target_encoder=prefixed('module.', w), predictor=w),
    'nested': lambda w: dict(model=dict(state_dict=w), optimizer=dict(state={0: dict(momentum=torch.zeros(2))})),
    'FSDP': lambda w: prefixed('_fsdp_wrapped_module.', w),
    'ConvModules': lambda w: {vfs_name(name): value for name, value in w.items()},
}


def filled(path, **settings):
    backbone = CorrespondenceResNet(18, geometry='standard', out_indices=(3,)).eval()
    return backbone.state_dict(), load_backbone(backbone, path, **settings)


@pytest.mark.parametrize('trainer', TRAINERS)
def test_files_of_other_trainers(trainer, resnet, tmp_path):
    torch.save(TRAINERS[trainer](resnet), tmp_path / 'file.pth')
    loaded, report = filled(tmp_path / 'file.pth')
    assert (report.ratio, report.unexpected) == (1.0, ())
    assert all(torch.equal(loaded[name], value) for name, value in resnet.items())


@pytest.mark.parametrize(('trainer', 'other'), [('timm with EMA', 'state_dict_ema'), ('params', 'params_ema')])
def test_weights_that_were_not_taken_are_named_and_can_be(trainer, other, resnet, tmp_path, caplog):
    torch.save(TRAINERS[trainer](resnet), tmp_path / 'file.pth')
    filled(tmp_path / 'file.pth')
    assert f'{other} of the file not taken; --prefix {other} takes it' in caplog.text
    loaded, _ = filled(tmp_path / 'file.pth', prefix=other)
    assert not loaded['layer1.0.conv1.weight'].any()


@pytest.mark.parametrize('prefix', ['net.encoder', 'net.encoder.', 'state_dict.net.encoder'])
def test_a_prefix_names_what_no_source_has(prefix, resnet, tmp_path):
    content = dict(state_dict=prefixed('net.encoder.', resnet) | prefixed('net.target.', wrong(resnet)))
    torch.save(content, tmp_path / 'file.pth')
    with pytest.raises(
        CheckpointError,
        match=r'--prefix PREFIX .*Prefixes in the file: state_dict\.net\.encoder\., '
        r'state_dict\.net\.target\.',
    ):
        filled(tmp_path / 'file.pth')
    loaded, report = filled(tmp_path / 'file.pth', prefix=prefix)
    assert (report.ratio, report.source) == (1.0, 'torchvision')
    assert all(torch.equal(loaded[name], value) for name, value in resnet.items())
    network = CorrespondenceResNet(
        18,
        out_indices=(1,),
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'file.pth'), prefix=prefix),
    )
    network.init_weights()
    assert torch.equal(network.layer2[1].conv2.weight, resnet['layer2.1.conv2.weight'])
    with pytest.raises(CheckpointError, match=r"No name begins with the prefix 'encoder'.*net\.encoder"):
        filled(tmp_path / 'file.pth', prefix='encoder')


def test_of_two_networks_none_is_taken_by_guess(resnet, tmp_path):
    torch.save(prefixed('model.', resnet) | prefixed('net.', wrong(resnet)), tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match=r'Unknown kind.*Prefixes in the file: model\., net\.'):
        filled(tmp_path / 'file.pth')


def test_an_encoder_without_predictor_is_not_simsiam(resnet, tmp_path):
    torch.save(dict(state_dict=prefixed('encoder.', resnet)), tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match=r'Unknown kind.*encoder\.'):
        filled(tmp_path / 'file.pth')
    assert filled(tmp_path / 'file.pth', prefix='encoder')[1].ratio == 1.0


def test_an_init_cfg_of_other_keys_is_refused():
    for make in (
        lambda **settings: CorrespondenceResNet(18, **settings),
        lambda **settings: MMPretrainBackbone(dict(type='ResNet', depth=18), **settings),
    ):
        with pytest.raises(ValueError, match='init_cfg must be None or .*map_location'):
            make(init_cfg=dict(type='Pretrained', checkpoint='a.pth', map_location='cpu'))


def hugging_face_name(name):
    """timm's name -> that of transformers' DINOv2, part by part; query, key and value are split beside it."""
    top = {
        'cls_token': 'embeddings.cls_token',
        'pos_embed': 'embeddings.position_embeddings',
        'reg_token': 'embeddings.register_tokens',
    }
    if name in top:
        return top[name]
    parts = name.split('.')
    if parts[0] == 'patch_embed':
        return f'embeddings.patch_embeddings.projection.{parts[-1]}'
    if parts[0] == 'norm':
        return f'layernorm.{parts[-1]}'
    inner = {'attn.proj': 'attention.output.dense', 'ls1': 'layer_scale1', 'ls2': 'layer_scale2'}
    middle = '.'.join(parts[2:-1])
    leaf = parts[-1].replace('gamma', 'lambda1')
    return f'encoder.layer.{parts[1]}.{inner.get(middle, middle)}.{leaf}'


def hugging_face(weights, dino=True):
    renamed = {}
    for name, value in weights.items():
        if '.attn.qkv.' in name:
            for part, third in zip(('query', 'key', 'value'), value.chunk(3), strict=True):
                _, block, _, _, leaf = name.split('.')
                renamed[f'encoder.layer.{block}.attention.attention.{part}.{leaf}'] = third.clone()
            continue
        new = hugging_face_name(name)
        if not dino:
            for ours, theirs in (
                ('.norm1.', '.layernorm_before.'),
                ('.norm2.', '.layernorm_after.'),
                ('.mlp.fc1.', '.intermediate.dense.'),
                ('.mlp.fc2.', '.output.dense.'),
            ):
                new = new.replace(ours, theirs)
        renamed[new] = value
    return renamed


@pytest.mark.parametrize(
    ('prefix', 'extra'), [('', ('pooler.dense.weight',)), ('vit.', ('classifier.weight', 'decoder.mask_token'))]
)
def test_a_vit_of_hugging_face(prefix, extra, vit, tmp_path):
    weights = hugging_face(vit.network.state_dict(), dino=False)
    torch.save(prefixed(prefix, weights) | head(*extra), tmp_path / 'file.pth')
    fresh = TimmBackbone('vit_tiny_patch16_224', options=dict(depth=2))
    check(fresh, vit, tmp_path / 'file.pth', 'ViT of Hugging Face' + (f', below {prefix}' if prefix else ''))


@pytest.mark.parametrize(
    ('model', 'prefix'), [('vit_small_patch14_dinov2', ''), ('vit_small_patch14_reg4_dinov2', 'dinov2_with_registers.')]
)
def test_dinov2_of_hugging_face(model, prefix, tmp_path):
    pytest.importorskip('timm')
    options = dict(depth=2, img_size=56)
    original = noisy(TimmBackbone(model, options=options))
    weights = dict(original.network.state_dict())
    if 'reg_token' in weights:
        # There the class token has a position, which timm adds to the token.
        weights['pos_embed'] = torch.cat([torch.zeros(1, 1, 384), weights['pos_embed']], 1)
    torch.save(prefixed(prefix, hugging_face(weights) | head('embeddings.mask_token')), tmp_path / 'file.pth')
    fresh = TimmBackbone(model, options=options).eval()
    report = load_backbone(fresh, tmp_path / 'file.pth')
    assert (report.ratio, report.unexpected) == (1.0, ())
    assert all(
        torch.equal(fresh.network.state_dict()[name], value) for name, value in original.network.state_dict().items()
    )


def test_a_vit_without_class_token_says_how_to_build_it(vit, tmp_path):
    """As of I-JEPA: no class token, and no position for one."""
    weights = dict(vit.network.state_dict())
    del weights['cls_token']
    weights['pos_embed'] = weights['pos_embed'][:, 1:]
    torch.save(dict(encoder=wrong(weights), target_encoder=prefixed('module.', weights)), tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match=r"no class token.*class_token=False, global_pool='avg'"):
        load_backbone(TimmBackbone('vit_tiny_patch16_224', options=dict(depth=2)), tmp_path / 'file.pth')
    options = dict(depth=2, class_token=False, global_pool='avg', fc_norm=False)
    fresh = TimmBackbone('vit_tiny_patch16_224', options=options)
    assert load_backbone(fresh, tmp_path / 'file.pth').ratio == 1.0
    assert torch.equal(fresh.network.pos_embed, weights['pos_embed'])


def test_source_names_are_distinct():
    assert len({source.name for source in SOURCES}) == len(SOURCES)


STEM = {'conv1.weight', 'layer1.0.conv1.weight'}
CONV_STEM = {'conv1.conv.weight', 'layer1.0.conv1.conv.weight'}
PATCHES = {'patch_embed.proj.weight', 'blocks.0.attn.qkv.weight'}
# The fewest names that tell a source, what is left out of the backbone, and whether there is a dict around it.
LEAST = {
    'official MoCo': (prefixed('encoder_q.', dict.fromkeys(STEM)), {'encoder_q.fc.weight', 'queue'}, {}),
    'CRW': (prefixed('encoder.model.', dict.fromkeys(STEM)), {'encoder.model.fc.weight', 'encoder.x'}, {}),
    'SFC': (prefixed('online_encoder.', dict.fromkeys(STEM)), {'online_encoder.fc.weight', 'target_encoder.x'}, {}),
    'DUL': (
        prefixed('fast_net.backbone.', dict.fromkeys(STEM)),
        {'fast_net.backbone.fc.weight', 'fast_net.emb_q.conv1.weight'},
        {},
    ),
    'VINCE': (
        prefixed('feature_extractor.module.model.', dict.fromkeys(STEM)),
        {'feature_extractor.module.model.fc.weight', 'embedding.0.weight'},
        {},
    ),
    'UVC or ContrastCorr': (
        prefixed('gray_encoder.', dict.fromkeys(STEM)),
        {'gray_encoder.fc.weight', 'rgb_encoder.x', 'decoder.x', 'normalize.mean'},
        {},
    ),
    'MAST, MAMP or CorrFlow': (
        dict.fromkeys({'feature_extraction.conv1.0.weight', 'post_convolution.weight'}),
        set(),
        {},
    ),
    'unofficial LIIR': (
        dict.fromkeys({'feature_extraction.conv1.weight', 'post_convolution.weight'}),
        {'colorizer.feats_queue', 'conv_semantic.weight', 'conv_semantic_k.weight'},
        {},
    ),
    'MoCo v3': (
        prefixed('base_encoder.', dict.fromkeys(PATCHES)),
        {'base_encoder.fc.weight', 'base_encoder.head.weight', 'predictor.x'},
        {},
    ),
    'official SimSiam': (prefixed('encoder.', dict.fromkeys(STEM)), {'encoder.fc.weight', 'predictor.x'}, {}),
    'DINO training': (
        prefixed('backbone.', dict.fromkeys(PATCHES)),
        {'backbone.fc.weight', 'backbone.head.weight', 'backbone.mask_token', 'head.x'},
        dict(around='teacher'),
    ),
    'VFS': (prefixed('backbone.', dict.fromkeys(CONV_STEM)), {'backbone.fc.weight', 'img_head.x'}, {}),
    'released STT': (prefixed('backbone.', dict.fromkeys(CONV_STEM)), {'backbone.fc.weight', 'x'}, {}),
    'stt_mm published': (
        prefixed('backbone.', dict.fromkeys(STEM)),
        {'neck.x'},
        dict(around='state_dict', meta=dict(stt_mm_version='1')),
    ),
    'mmpretrain': (prefixed('backbone.', dict.fromkeys(STEM)), {'neck.x'}, dict(around='state_dict')),
    'stt_mm training': (prefixed('backbone.', dict.fromkeys(STEM)), {'teacher.x'}, dict(around='state_dict')),
    'DINOv2': (dict.fromkeys({*PATCHES, 'blocks.0.ls1.gamma'}), {'mask_token', 'head.weight'}, {}),
    'DINOv3': (
        dict.fromkeys({*PATCHES, 'storage_tokens'}),
        {'mask_token', 'head.weight', 'rope_embed.periods', 'local_cls_norm.bias', 'blocks.0.attn.qkv.bias_mask'},
        {},
    ),
    'DINOv3 of Hugging Face': (
        dict.fromkeys({'embeddings.patch_embeddings.weight', 'layer.0.attention.q_proj.weight'}),
        {'embeddings.mask_token'},
        {},
    ),
    'ConvNeXt': (
        dict.fromkeys({'downsample_layers.0.0.weight', 'stages.0.0.dwconv.weight'}),
        {'head.weight', 'norms.3.weight'},
        {},
    ),
    'ViT of DINO, MAE or timm': (dict.fromkeys(PATCHES), {'head.weight'}, {}),
    'torchvision names under state_dict (DetCo)': (dict.fromkeys(STEM), set(), dict(around='state_dict')),
    'torchvision': (dict.fromkeys(STEM), set(), {}),
    'ResNet of ConvModules': (dict.fromkeys(CONV_STEM), set(), {}),
    'ViT of Hugging Face': (
        dict.fromkeys(
            {'embeddings.patch_embeddings.projection.weight', 'encoder.layer.0.attention.attention.query.weight'}
        ),
        set(),
        {},
    ),
}
LEFT_OUT = {
    'ViT of DINO, MAE or timm': {'decoder_x', 'mask_token'},
    'torchvision': {'fc.weight', 'head.x'},
    'torchvision names under state_dict (DetCo)': {'fc.weight'},
    'ResNet of ConvModules': {'fc.weight'},
    'ViT of Hugging Face': {'pooler.x', 'classifier.x', 'decoder.x', 'embeddings.mask_token'},
}


def in_file(names, around=None, **beside):
    weights = {name: torch.zeros(1) for name in names}
    return {around: weights, **beside} if around else {**weights, **beside}


@pytest.mark.parametrize('source', [source.name for source in SOURCES])
def test_the_fewest_names_tell_a_source_and_heads_are_left_out(source):
    names, extra, around = LEAST[source]
    extra = extra | LEFT_OUT.get(source, set())
    wanted = {
        'VFS': STEM,
        'released STT': STEM,
        'ResNet of ConvModules': STEM,
        'ViT of DINO, MAE or timm': PATCHES,
        'DINO training': PATCHES,
        'MoCo v3': PATCHES,
        'DINOv2': {*PATCHES, 'blocks.0.ls1.gamma'},
        'MAST, MAMP or CorrFlow': {'conv1.weight', 'projection.weight'},
        'unofficial LIIR': {'conv1.weight', 'projection.weight'},
        'ViT of Hugging Face': {'patch_embed.proj.weight'},
        'DINOv3': {*PATCHES, 'reg_token'},
        'DINOv3 of Hugging Face': {'patch_embed.proj.weight'},
        'ConvNeXt': {'stem.0.weight', 'stages.0.blocks.0.conv_dw.weight'},
    }.get(source, STEM)
    for more in (extra - {'head.x'}, extra):
        found = find_backbone(in_file([*names, *more], **around))
        if source == 'torchvision' and more == extra:
            more -= {'head.x'}
            assert set(found.weights) == wanted | {'head.x'}
        else:
            assert set(found.weights) == wanted
        assert (found.source, found.others) == (source, ())


def test_names_of_one_kind_alone_tell_nothing():
    for names in (['conv1.weight'], ['patch_embed.proj.weight'], ['predictor.x', 'conv1.weight'], []):
        assert find_backbone(in_file(names)) is None
    # A teacher without a backbone in it is the network itself.
    found = find_backbone(in_file(PATCHES, around='teacher', student={name: torch.ones(1) for name in PATCHES}))
    assert (found.source, found.others) == ('ViT of DINO, MAE or timm', ())
    assert find_backbone({0: torch.zeros(1), 'epoch': 3, 'args': None, **in_file(STEM)}).weights.keys() == STEM


def test_layers_without_query_key_or_value_are_no_attention():
    whole = {
        f'encoder.layer.0.attention.attention.{part}.weight': torch.full((1, 2), float(number))
        for number, part in enumerate(('query', 'key', 'value'))
    }
    assert hugging_face_to_timm(whole)['blocks.0.attn.qkv.weight'].tolist() == [[0, 0], [1, 1], [2, 2]]
    for part in ('query', 'key', 'value'):
        rest = {name: value for name, value in whole.items() if part not in name}
        assert 'blocks.0.attn.qkv.weight' not in hugging_face_to_timm(rest)


def test_registers_alone_change_the_position_of_the_class_token():
    tokens = dict(cls_token=torch.ones(1, 1, 2), pos_embed=torch.arange(6.0).view(1, 3, 2))
    renamed = vit_to_timm(dict(tokens, register_tokens=torch.zeros(1, 4, 2)))
    assert renamed.keys() == {'cls_token', 'pos_embed', 'reg_token'}
    assert renamed['cls_token'].tolist() == [[[1, 2]]]
    assert renamed['pos_embed'].tolist() == [[[2, 3], [4, 5]]]
    assert vit_to_timm(tokens).keys() == tokens.keys()
    assert vit_to_timm(dict(register_tokens=torch.zeros(1))).keys() == {'register_tokens'}


def test_prefixes_of_known_networks_are_named_first():
    names = in_file([*prefixed('a.b.', dict.fromkeys(STEM)), 'c.x', 'd', 'e.conv1.weight'])
    assert prefixes_in(names) == ['a.b.']
    assert prefixes_in(in_file(['c.x', 'd', 'c.y', 'e.z.w'])) == ['c.', 'e.']
    assert all_weights({0: torch.zeros(1), 'a': {'b': torch.zeros(1), 'c': {'d': torch.zeros(1)}}, 'e': 3}).keys() == {
        '0',
        'a.b',
        'a.c.d',
    }
