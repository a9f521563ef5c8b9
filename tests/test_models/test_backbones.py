import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close
from torchvision.models import resnet18, resnet50

from stt_mm.models import ColorPatches, CorrespondenceResNet


@pytest.mark.parametrize(('depth', 'twin'), [(18, resnet18), (50, resnet50)])
def test_with_standard_geometry_it_is_torchvisions_network(depth, twin):
    network = CorrespondenceResNet(depth, geometry='standard', out_indices=(0, 1, 2, 3))
    network.eval()
    reference = twin().eval()
    weights = {key: value for key, value in reference.state_dict().items() if not key.startswith('fc')}
    missing, unexpected = network.load_state_dict(weights, strict=True)
    assert not missing
    assert not unexpected
    x = torch.randn(1, 3, 64, 64)
    out = reference.maxpool(reference.relu(reference.bn1(reference.conv1(x))))
    for layer, ours in zip(
        (reference.layer1, reference.layer2, reference.layer3, reference.layer4), network(x), strict=True
    ):
        out = layer(out)
        assert_close(ours, out)


@pytest.mark.parametrize(
    ('pool', 'strides', 'grids'),
    [
        ('none', (1, 2, 2, 4), [64, 32, 16, 4]),
        ('avg', (1, 1, 1, 8), [32, 32, 32, 4]),
        ('max', (1, 2, 2, 2), [32, 16, 8, 4]),
        ('none', (1, 2, 2), [64, 32, 16]),
    ],
)
def test_geometry_changes_grids_and_never_names(pool, strides, grids):
    network = CorrespondenceResNet(18, (pool, strides), range(len(strides)))
    assert [feature.shape[-1] for feature in network(torch.zeros(1, 3, 128, 128))] == grids
    names = set(CorrespondenceResNet(18, out_indices=(3,)).state_dict())
    assert set(network.state_dict()) <= names
    if len(strides) == 4:
        assert set(network.state_dict()) == names


@pytest.mark.parametrize(('depth', 'twin'), [(18, resnet18), (50, resnet50)])
def test_reflect_padding_and_stride_1_are_those_of_crw(depth, twin):
    """In the twin, every padded convolution is a reflection of its input and then a convolution without padding."""
    network = CorrespondenceResNet(depth, geometry='stride8_maxpool', out_indices=(2,), padding_mode='reflect')
    network.eval()
    reference = twin().eval()
    network.load_state_dict(
        {name: value for name, value in reference.state_dict().items() if not name.startswith(('fc', 'layer4'))}
    )
    for module in reference.layer3.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.stride = (1, 1)
    for name, module in list(reference.named_modules()):
        if isinstance(module, torch.nn.Conv2d) and module.padding != (0, 0):
            owner, _, leaf = name.rpartition('.')
            pad = torch.nn.ReflectionPad2d(module.padding[0])
            module.padding = (0, 0)
            setattr(reference.get_submodule(owner), leaf, torch.nn.Sequential(pad, module))
    x = torch.randn(1, 3, 61, 93)
    out = reference.maxpool(reference.relu(reference.bn1(reference.conv1(x))))
    out = reference.layer3(reference.layer2(reference.layer1(out)))
    assert out.shape[-2:] == (8, 12)
    assert_close(network(x)[0], out)
    with pytest.raises(ValueError, match="padding_mode must be one of 'zeros', 'reflect', got 'mirror'"):
        CorrespondenceResNet(18, padding_mode='mirror')


@pytest.mark.parametrize(('depth', 'widths'), [(18, (64, 128, 256, 256)), (50, (64, 256, 128, 512))])
def test_widths_per_stage_change_shapes_and_no_other_name(depth, widths):
    """A shortcut stands where stride or width changes, as torchvision has it."""
    network = CorrespondenceResNet(depth, 'stride4_mast', range(4), widths=widths, projection=64)
    maps = network(torch.zeros(2, 3, 64, 96))
    assert network.stages == ('res2', 'res3', 'res4', 'res5', 'projection')
    assert [tuple(feature.shape[1:]) for feature in maps] == [
        (widths[0], 32, 48),
        *((width, 16, 24) for width in (*widths[1:], 64)),
    ]
    usual = CorrespondenceResNet(depth, 'stride4_mast', range(4))
    shortcuts = {
        f'layer{stage}.0.downsample'
        for stage, stride, before, width in zip((1, 2, 3, 4), (1, 2, 1, 1), (64, *widths), widths, strict=False)
        if stride != 1 or before != width
    }
    names = {name for name in usual.state_dict() if '.downsample.' not in name}
    names |= {
        f'{shortcut}.{leaf}'
        for shortcut in shortcuts
        for leaf in ('0.weight', *(f'1.{part}' for part in ('weight', 'bias', 'running_mean', 'running_var')))
    }
    names |= {f'{shortcut}.1.num_batches_tracked' for shortcut in shortcuts}
    assert set(network.state_dict()) == names | {'projection.weight', 'projection.bias'}
    assert network.projection(maps[3]).equal(maps[4])


def test_without_a_projection_the_stages_above_are_not_built():
    network = CorrespondenceResNet(18, 'stride4_mast', (1,), widths=(32, 64, 128, 256))
    assert [feature.shape[1] for feature in network(torch.zeros(1, 3, 32, 32))] == [64]
    assert not hasattr(network, 'layer3')
    assert CorrespondenceResNet(18, 'stride4_mast', (), projection=8).stages == ('projection',)


def test_stages_beside_a_projection_are_kept_and_dropped():
    def build():
        return CorrespondenceResNet(18, 'stride4_mast', (1, 3), widths=(64, 128, 256, 256), projection=8)

    def trained(network):
        return [name for name, part in network.named_children() if any(v.requires_grad for v in part.parameters())]

    network = build()
    network.keep_stages(['projection'])
    assert (network.stages, len(network(torch.zeros(1, 3, 32, 32)))) == (('projection',), 1)
    assert {'layer4', 'projection'} <= set(trained(network))
    network = build()
    network.keep_stages(['res3'])
    for part in (network.layer3, network.projection):
        part.register_forward_hook(lambda *_: pytest.fail('it was run'))
    assert (network.stages, len(network(torch.zeros(1, 3, 32, 32)))) == (('res3',), 1)
    assert trained(network) == ['conv1', 'bn1', 'layer1', 'layer2']
    network = build()
    network.keep_stages(['res5'])
    assert trained(network) == ['conv1', 'bn1', 'layer1', 'layer2', 'layer3', 'layer4']


def test_freezing_and_checkpointing_reach_a_position_map_and_widths():
    settings = dict(widths=(64, 128, 256, 256), projection=8, position=dict(type='PositionMap'), out_indices=())
    network = CorrespondenceResNet(18, 'stride4_mast', frozen_stages=1, padding_mode='reflect', **settings).train()
    frozen = {name for name, value in network.named_parameters() if not value.requires_grad}
    assert frozen == {
        name for name, _ in network.named_parameters() if name.startswith(('position', 'conv1', 'bn1', 'layer1'))
    }
    assert network.projection.padding_mode == 'reflect'
    plain, lean = (CorrespondenceResNet(18, 'stride4_mast', with_cp=with_cp, **settings) for with_cp in (False, True))
    lean.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 32, 32)
    for one in (plain, lean):
        one(x)[0].square().sum().backward()
    for one, other in zip(plain.parameters(), lean.parameters(), strict=True):
        assert_close(one.grad, other.grad)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(widths=(64, 128)), r'widths must be one per stride, 4, got \(64, 128\)'),
        (dict(widths=64), 'widths must be'),
        (dict(widths=(64, 128, 256, 0)), 'widths must be a whole number of at least 1, got 0'),
        (dict(depth=50, widths=(64, 128, 256, 6)), 'widths must be multiples of 4 from depth 50 on'),
        (dict(projection=0), 'projection must be a whole number of at least 1'),
        (dict(out_indices=()), r'out_indices must be stages of the geometry, 0 to 3, got \(\)'),
        (dict(position=dict(type='PositionMap', channels=32)), r'Set position\.channels=64'),
    ],
)
def test_widths_projections_and_positions_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CorrespondenceResNet(**dict(dict(depth=18), **settings))


def test_a_student_loads_into_the_evaluation_network():
    student = CorrespondenceResNet(18, geometry='stride8')
    evaluation = CorrespondenceResNet(18, geometry='stride8', out_indices=(2,))
    weights = {key: value for key, value in student.state_dict().items() if not key.startswith('layer4')}
    evaluation.load_state_dict(weights, strict=True)
    for network in (student, evaluation):
        network.eval()
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(student(x)[1], evaluation(x)[0])


def test_unused_stages_are_not_run():
    network = CorrespondenceResNet(18, out_indices=(1, 2, 3))
    network.keep_stages({'res3'})
    network.layer3.register_forward_hook(lambda *_: pytest.fail('res4 was run'))
    assert len(network(torch.zeros(1, 3, 32, 32))) == 1
    assert network.stages == ('res3',)


@pytest.mark.parametrize(
    ('pool', 'expected'),
    [('none', lambda x: x), ('max', lambda x: F.max_pool2d(x, 3, 2, 1)), ('avg', lambda x: F.avg_pool2d(x, 3, 2, 1))],
)
def test_the_pool_of_the_stem(pool, expected):
    x = torch.randn(1, 2, 13, 18)
    assert torch.equal(CorrespondenceResNet(18, (pool, (1, 2, 2, 4))).maxpool(x), expected(x))


def test_options_of_training_are_handed_on():
    network = CorrespondenceResNet(18, frozen_stages=2, norm_eval=True, with_cp=True).train()
    assert {name for name, value in network.named_parameters() if not value.requires_grad} == {
        name for name, _ in network.named_parameters() if name.startswith(('conv1', 'bn1', 'layer1', 'layer2'))
    }
    assert not any(module.training for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    assert all(block.with_cp for block in network.layer3)
    free = CorrespondenceResNet(18).train()
    assert all(value.requires_grad for value in free.parameters())
    assert all(module.training for module in free.modules())
    assert not any(block.with_cp for block in free.layer3)


def test_weights_start_as_kaiming_says_and_blocks_as_identities():
    network = CorrespondenceResNet(18)
    network.init_weights()
    assert network.report is None
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1), name
        if isinstance(module, torch.nn.BatchNorm2d):
            assert set(module.weight.tolist()) == {float(not name.endswith('bn2'))}, name
            assert not module.bias.any()
    other = CorrespondenceResNet(18, init_cfg=dict(type='Constant', val=3, layer='Conv2d'))
    other.init_weights()
    assert set(other.conv1.weight.flatten().tolist()) == {3}


@pytest.mark.parametrize('out_indices', [(3, 1), (1, 3)])
def test_maps_come_lowest_first_and_what_is_above_them_is_frozen(out_indices):
    network = CorrespondenceResNet(18, out_indices=out_indices)
    assert network.stages == ('res3', 'res5')
    assert [feature.shape[1] for feature in network(torch.zeros(1, 3, 64, 64))] == [128, 512]
    network.keep_stages(['res3'])
    assert network.res_layers == CorrespondenceResNet(18, out_indices=(1,)).res_layers == ['layer1', 'layer2']
    assert [
        any(value.requires_grad for value in layer.parameters())
        for layer in (network.layer1, network.layer2, network.layer3, network.layer4)
    ] == [True, True, False, False]


def test_pretrained_weights_are_loaded_strictly(tmp_path, capfd):
    source = CorrespondenceResNet(18, geometry='standard')
    torch.save({'state_dict': source.state_dict()}, tmp_path / 'whole.pth')
    half = {key: value for key, value in source.state_dict().items() if 'layer3' not in key and 'layer4' not in key}
    torch.save({'state_dict': half}, tmp_path / 'half.pth')

    def network(name):
        return CorrespondenceResNet(18, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / name)))

    loaded = network('whole.pth')
    loaded.init_weights()
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in loaded.state_dict().items())
    assert f'CorrespondenceResNet: {loaded.report}' in capfd.readouterr().out
    with pytest.raises(ValueError, match='layer3'):
        network('half.pth').init_weights()
    with pytest.raises(FileNotFoundError, match='absent.pth'):
        network('absent.pth').init_weights()


def test_colour_patches_are_the_pixels_around_multiples_of_the_stride():
    frame = torch.arange(3 * 16 * 24.0).view(1, 3, 16, 24)
    (feature,) = ColorPatches(size=3, stride=8)(frame)
    assert feature.shape == (1, 27, 2, 3)
    assert torch.equal(feature.view(3, 3, 3, 2, 3)[:, :, :, 1, 2], frame[0, :, 7:10, 15:18])
    assert ColorPatches(size=3, stride=8)(torch.zeros(1, 3, 17, 24))[0].shape[-2:] == (3, 3)
    # The frame is mirrored beyond its border.
    rows, columns = torch.tensor([1, 0, 1]), torch.tensor([1, 0, 1])
    assert torch.equal(feature.view(3, 3, 3, 2, 3)[..., 0, 0], frame[0][:, rows][:, :, columns])
    assert ColorPatches().stages == ('color',)
